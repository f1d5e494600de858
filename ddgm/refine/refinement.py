"""A finished run's samples moved under its own energy model, scored beside what they were."""

from __future__ import annotations

import pathlib

import numpy

from ddgm.beyond_the_paper import langevin
from ddgm.beyond_the_paper.resampling import sampling_importance_resampling
from ddgm.evaluation import sampling, tasks
from ddgm.figures import points, post
from ddgm.presets import ToySettings
from ddgm.runs import run_folder
from ddgm.support import randomness
from ddgm.support.errors import UsageError, one_line
from ddgm.support.files import open_atomically, read_arrays, write_arrays, write_json
from ddgm.support.terminal import print_table

_SHOWN = 'samples.png'
_CURE = 'give the folder of a finished run'
_N_PARTS = 10  # of the samples that are chosen among proposals, so that the memory stays small


def refine_run(
        path: str, n_steps: int, step_size: float | None, n_proposals: int, out: str,
        own: tasks.Task | None = None) -> None:
    """Refine a run's samples and write ``samples.npz``, ``metrics.json`` and ``samples.png``.

    Args:
        path: The run's folder.
        n_steps: Langevin steps.
        step_size: Their size, or ``None``: tuned.
        n_proposals: Points of the plane, among which those are chosen that the steps begin with; 0: these are the run's
            samples.
        out: The folder, which is made where it is missing.
        own: The task of the run where it is the user's own.

    Raises:
        UsageError: There is no finished run, or its data is gone; the folder can't be written to, or holds a run;
            there are proposals, and the run is not in the plane; the run is of a task that is not known.
    """
    run, out = run_folder.read_run(path, _CURE, own), pathlib.Path(out)
    if own and own.name != run.task:
        raise UsageError('{} is a run of {}, and --task defines {}: leave it out'.format(path, run.task, own.name))
    task = tasks.find(run.task, own)
    if (out / run_folder.SETTINGS).exists():
        raise UsageError('{} holds a run: give another folder to --out'.format(out))
    run_folder.keep_out(out, run.path)
    run_folder.keep_apart(out, task, run.data)
    if n_proposals and not (isinstance(run.settings, ToySettings) and run.settings.n_visible <= 2):
        raise UsageError('{} is no run in the plane: leave --proposals out'.format(path))
    energy_model, _ = task.build_models(run.settings, numpy.random.default_rng(0))
    if not run.load(run_folder.ENERGY_MODEL, energy_model, _CURE):
        raise UsageError('{} has no finished energy model: finish the run by --resume first'.format(path))
    x, reference = _samples_of(run), run.open_reference(task)
    refined, step_size = _refined(energy_model, run.inward(x), run.settings, n_steps, step_size, n_proposals)
    refined = _within(reference.value_range, run.outward(refined))
    energy = run.taking_users_units(sampling.energy_function(energy_model))
    scores = {
        name: reference.score(samples, energy, run.settings)
        for name, samples in (('samples', x), ('refined', refined))}
    real = reference.real_data(len(x))
    print_table([*scores.items(), *([] if real is None else [(reference.real_name, reference.score(real))])])
    _write(out, reference, refined, {
        **scores['refined'], 'run': str(path), 'steps': n_steps, 'step_size': step_size, 'proposals': n_proposals,
        'n_samples': len(x)})


def _refined(energy_model, x, settings, n_steps, step_size, n_proposals):
    """The samples after the steps, and the size that these had."""
    rng = randomness.metric_generator(randomness.REFINEMENT)
    if n_proposals:
        print('Choosing {:,} of {:,} proposals ...'.format(len(x), n_proposals), flush=True)
        n_parts = min(_N_PARTS, n_proposals)
        x = numpy.concatenate([
            sampling_importance_resampling(
                energy_model, part, len(range(index, n_proposals, n_parts)),
                settings.proposal_deviation or ToySettings.proposal_deviation, settings.near_deviation, rng)
            for index, part in enumerate(numpy.array_split(x, n_parts))])
    if step_size is None:
        print('Looking for the size of a step ...', flush=True)
        x, step_size = langevin.tune_step_size(energy_model, x, settings.langevin_step_size or 1e-3, rng)
    print('Refining {:,} samples by {:,} steps of size {:.2g} ...'.format(len(x), n_steps, step_size), flush=True)
    return langevin.refine(energy_model, x, n_steps, step_size, rng), step_size


def _within(value_range, x):
    """Samples in the data's range, which the energy model does not know of; says what was clipped."""
    if value_range is None:
        return x
    clipped = x.clip(*value_range)
    if (clipped != x).any():
        print('Clipped to {:g} … {:g}: {:.2%} of the numbers, which ran from {:.3g} to {:.3g}'.format(
            *value_range, (clipped != x).mean(), x.min(), x.max()))
    return clipped


def _samples_of(run):
    path = run.path / run_folder.SAMPLES
    try:
        return read_arrays(path)['x']
    except (ValueError, KeyError) as error:
        raise UsageError('{}: no samples ({}); {}'.format(path, one_line(error), _CURE)) from error


def _write(out, reference, x, metrics):
    written = [out / run_folder.SAMPLES, out / run_folder.METRICS]
    try:
        out.mkdir(parents=True, exist_ok=True)
        with open_atomically(written[0]) as file:
            write_arrays(file, {'x': x})
        write_json(written[1], metrics)
        written.append(out / _SHOWN)
        if reference.as_shown(x).ndim == 2:
            points.draw_samples(written[-1], reference.shown_data(600), x[:400], reference.window)
        else:
            post.draw_grid(written[-1], reference.as_shown(x[:100]))
    except OSError as error:
        raise UsageError('{}: can\'t be written to ({}): give another folder to --out'.format(
            out, error.strerror)) from error
    print(', '.join(map(str, written)))
