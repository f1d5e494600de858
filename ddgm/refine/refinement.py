"""A finished run's samples moved under its own energy model, scored beside what they were."""

import pathlib

import numpy

from ddgm.beyond_the_paper import langevin
from ddgm.beyond_the_paper.importance import sample_by_importance
from ddgm.evaluation import sampling, tasks
from ddgm.figures import post
from ddgm.presets import ToySettings
from ddgm.runs import run_folder
from ddgm.support import randomness
from ddgm.support.errors import UsageError, one_line
from ddgm.support.files import open_atomically, read_arrays, write_arrays, write_json
from ddgm.support.terminal import print_table

_SHOWN = 'samples.png'
_CURE = 'give the folder of a finished run'
_N_PARTS = 10  # of the samples that are chosen among proposals, so that the memory stays small


def refine_run(path, n_steps, step_size, n_proposals, out):
    """Refine a run's samples and write ``samples.npz``, ``metrics.json`` and ``samples.png``.

    Args:
        path (str): The run's folder.
        n_steps (int): Langevin steps.
        step_size (float): Their size, or ``None``: tuned.
        n_proposals (int): Points of the plane, among which those are chosen that the steps begin with; 0: these are the
            run's samples.
        out (str): The folder, which is made where it is missing.

    Raises:
        UsageError: There is no finished run, or its data is gone; the folder can't be written to, or holds a run;
            there are proposals, and the run is not in the plane.
    """
    run, out = run_folder.read_run(path, _CURE), pathlib.Path(out)
    if (out / run_folder.SETTINGS).exists():
        raise UsageError('{} holds a run: give another folder to --out'.format(out))
    run_folder.keep_out(out, run.path)
    run_folder.keep_apart(out, run.task, run.data)
    if n_proposals and not isinstance(run.settings, ToySettings):
        raise UsageError('{} is no run in the plane: leave --proposals out'.format(path))
    energy_model, _ = tasks.build_models(run.task, run.settings, numpy.random.default_rng(0))
    if not run.load(run_folder.ENERGY_MODEL, energy_model, _CURE):
        raise UsageError('{} has no finished energy model: finish the run by --resume first'.format(path))
    x, task = _samples_of(run), tasks.open_task(run.task, run.data)
    rng = randomness.metric_generator(randomness.REFINEMENT)
    refined = x
    if n_proposals:
        print('Choosing {:,} of {:,} proposals ...'.format(len(x), n_proposals), flush=True)
        n_parts = min(_N_PARTS, n_proposals)
        refined = numpy.concatenate([
            sample_by_importance(
                energy_model, part, len(range(index, n_proposals, n_parts)),
                run.settings.proposal_deviation or ToySettings.proposal_deviation, run.settings.near_deviation, rng)
            for index, part in enumerate(numpy.array_split(x, n_parts))])
    if step_size is None:
        print('Looking for the size of a step ...', flush=True)
        refined, step_size = langevin.tune_step_size(
            energy_model, refined, run.settings.langevin_step_size or 1e-3, rng)
    print('Refining {:,} samples by {:,} steps of size {:.2g} ...'.format(len(x), n_steps, step_size), flush=True)
    refined = langevin.refine(energy_model, refined, n_steps, step_size, rng)
    energy = sampling.energy_function(energy_model)
    scores = {
        name: task.score(samples, energy, run.settings) for name, samples in (('samples', x), ('refined', refined))}
    real = task.real_data(len(x))
    print_table([*scores.items(), *([] if real is None else [(task.real_name, task.score(real))])])
    _write(out, task, refined, {
        **scores['refined'], 'run': str(path), 'steps': n_steps, 'step_size': step_size, 'proposals': n_proposals,
        'n_samples': len(x)})


def _samples_of(run):
    path = run.path / run_folder.SAMPLES
    try:
        return read_arrays(path)['x']
    except (ValueError, KeyError) as error:
        raise UsageError('{}: no samples ({}); {}'.format(path, one_line(error), _CURE)) from error


def _write(out, task, x, metrics):
    try:
        out.mkdir(parents=True, exist_ok=True)
        with open_atomically(out / run_folder.SAMPLES) as file:
            write_arrays(file, {'x': x})
        write_json(out / run_folder.METRICS, metrics)
        if x.ndim == 2 and x.shape[1] == 2:
            post.draw_points(out / _SHOWN, task.shown_data(600), x[:400])
        else:
            post.draw_grid(out / _SHOWN, task.as_shown(x[:100]))
    except OSError as error:
        raise UsageError('{}: can\'t be written to ({}): give another folder to --out'.format(
            out, error.strerror)) from error
    print('{}, {}, {}'.format(*(out / name for name in (run_folder.SAMPLES, run_folder.METRICS, _SHOWN))))
