"""A finished run's samples moved under its own energy model, scored beside what they were."""

from __future__ import annotations

import pathlib

from ddgm.evaluation import tasks
from ddgm.evaluation.metrics import N_SCORED
from ddgm.figures import points, post
from ddgm.runs import run_files
from ddgm.support.errors import UsageError, one_line
from ddgm.support.files import keep_theirs, listed, not_writable, open_atomically, read_arrays, write_arrays, write_json
from ddgm.support.terminal import print_table
from ddgm.trained import loading, refinement

_SHOWN = 'samples.png'
_FILES = run_files.SAMPLES, run_files.METRICS, _SHOWN
_CURE = 'give the folder of a finished run'


def refine_run(
        path: str, n_steps: int, step_size: float | None, n_proposals: int, out: str,
        own: tasks.Task | None = None) -> None:
    """Refine a run's samples and write ``samples.npz``, ``metrics.json`` and ``samples.png``.

    Args:
        path: The run's folder, or the name of a model of the package.
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
    out = pathlib.Path(out)
    run_files.keep_out_of_run(out)
    run = loading.open_run(path, own)
    refinement.check_proposals(n_proposals, run.settings)
    run_files.keep_out(out, run.path)
    keep_theirs(out, _FILES, listed(out / run_files.METRICS, ('run', 'step_size', 'proposals'), _FILES))
    run_files.keep_apart(out, tasks.find(run.task, own), run.data)
    model = loading.load_run(run, own)
    reference = run.open_reference(model.task)
    x = _samples_of(run) if (run.path / run_files.SAMPLES).exists() else model.sample(N_SCORED)

    def tell(line):
        print(line, flush=True)
    presets = model.task.presets
    length = presets[model.preset].settings.iterations if model.preset in presets else 0
    if run.settings.iterations < length / 2:
        tell('The run has {:,} of the {:,} iterations of its preset: its energy may not be a density yet'.format(
            run.settings.iterations, length))
    model.form = reference.form  # which knows the range of a user's own data in any case
    refined, step_size = model.refined(x, n_steps, step_size, n_proposals, tell=tell, warn=tell)
    scores = {
        name: reference.score(samples, model.energy, run.settings)
        for name, samples in (('samples', x), ('refined', refined))}
    real = reference.real_data(len(x))
    print_table([*scores.items(), *([] if real is None else [(reference.real_name, reference.score(real))])])
    _write(out, reference, refined, {
        **scores['refined'], 'run': str(path), 'steps': n_steps, 'step_size': step_size, 'proposals': n_proposals,
        'n_samples': len(x)})


def _samples_of(run):
    path = run.path / run_files.SAMPLES
    try:
        return read_arrays(path)['x']
    except (ValueError, KeyError) as error:
        raise UsageError('{}: no samples ({}); {}'.format(path, one_line(error), _CURE)) from error


def _write(out, reference, x, metrics):
    written = [out / name for name in _FILES]
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_json(written[1], {**metrics, 'files': _FILES})
        with open_atomically(written[0]) as file:
            write_arrays(file, {'x': x})
        if reference.as_shown(x).ndim == 2:
            points.draw_samples(written[2], reference.shown_data(600), x[:400], reference.window)
        else:
            post.draw_grid(written[2], reference.as_shown(x[:100]))
    except OSError as error:
        raise not_writable(out, error) from error
    print(', '.join(map(str, written)))
