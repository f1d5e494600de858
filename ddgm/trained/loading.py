"""Trained models from the folders of runs, and those of the package by their names."""

from __future__ import annotations

import contextlib
import math
import os
import pathlib
from collections.abc import Callable

import chainer
import numpy

import ddgm
from ddgm.evaluation import tasks
from ddgm.runs import devices, run_files, run_folder, training_state
from ddgm.runs.run_folder import RunFolder
from ddgm.support.errors import UsageError, one_line
from ddgm.support.files import read_json
from ddgm.trained import packaged
from ddgm.trained.model import Model

_CURE = 'give the folder of a run'


def load(
        folder_or_name: str | os.PathLike, device: str | int | None = None, task: tasks.Task | str | None = None,
) -> Model:
    """The model that a run has learned, or one of the package.

    Args:
        folder_or_name: The folder of a run, or a name that ``ddgm models`` lists; of a run that has not come to its end
            the newest snapshot that is whole, which is printed.
        device: Chainer device specifier, such as 0 for a GPU; ``None``: the CPU.
        task: That of a run of your own task: the ``Task``, or the Python file that defines it as ``TASK``.

    Raises ``ValueError`` where there is no such run or model, or it is damaged or doesn't fit the task.

    >>> model = ddgm.load('result/gaussian_mixture')
    >>> model.preset, model.settings.batchsize
    ('default', 100)
    """
    own = task if task is None or isinstance(task, tasks.Task) else tasks.load_task(task)
    return load_run(open_run(folder_or_name, own), own, device)


def open_run(folder_or_name: str | os.PathLike, own: tasks.Task | None = None) -> RunFolder:
    """The folder of a run, or of a model of the package, which is found undamaged.

    Raises ``UsageError`` where it is none, or of another task than the user's own.
    """
    path, is_name = pathlib.Path(folder_or_name), str(folder_or_name) in packaged.names()
    if is_name and path.is_dir() and not (path / run_files.SETTINGS).exists():
        raise UsageError('{} is a folder here that holds no run, and hides the model of this name: give {}'.format(
            path, packaged.FOLDER / path))
    if not path.is_dir():
        if not is_name:
            raise UsageError('{}: neither the folder of a run nor a model of the package: {}'.format(
                one_line(path), packaged.meant(str(path))))
        path = packaged.FOLDER / path
    if packaged.FOLDER in path.parents or (path / packaged.CHECKSUMS).exists():
        packaged.verify(path)
    with _telling_of_its_version(path):
        run = run_folder.read_run(path, _CURE, own)
    if own and own.name != run.task:
        raise UsageError('{} is a run of {}, and --task defines {}: leave it out'.format(path, run.task, own.name))
    return run


def load_run(run: RunFolder, own: tasks.Task | None = None, device: str | int | None = None) -> Model:
    """The model of a run in a folder; see :func:`load`."""
    task, metrics = tasks.find(run.task, own), _metrics_of(run)
    with _telling_of_its_version(run.path), chainer.using_device('@numpy'):  # of the caller's stays what it was
        device = devices.open_device(str(-1 if device is None else device))
        models, log_z = None, None
        if metrics.get('iterations') != run.settings.iterations:
            models = _of_snapshot(run, task)
        if models is None:
            models, log_z = _finished(run, task), _log_z_of(metrics)
        if models is None:
            models, log_z = _of_snapshot(run, task), None
        if models is None:
            raise UsageError('{} has no finished energy model, and no snapshot: let the run come to its end'.format(
                run.path))
        for model in models:
            model.to_device(device)
    return Model(task, run.settings, *models, run.standardization, log_z, run.preset)


def beginning(build_models: Callable) -> Callable:
    """``build_models(settings, rng)`` whose generator begins as that of the run that ``generator_from`` names, if any.

    What it returns raises ``UsageError`` where there is no such run or model, or its generator is another network.
    """
    def build(settings, rng):
        energy_model, generator = build_models(settings, rng)
        if getattr(settings, 'generator_from', ''):  # a setting of some tasks
            run, cure = open_run(settings.generator_from), 'give another run to --generator_from'
            if not run.load(run_files.GENERATIVE_MODEL, generator, cure):
                raise UsageError('{} has no {}: {}'.format(run.path, run_files.GENERATIVE_MODEL, cure))
        return energy_model, generator
    return build


def _finished(run, task):
    """Both models as the run has left them, or ``None``."""
    models = task.build_models(run.settings, numpy.random.default_rng(0))
    return models if all(run.load(name, model, _CURE) for name, model in zip(run_files.MODELS, models)) else None


def _of_snapshot(run, task):
    """Both models of the newest snapshot that is whole, finished as those of a run, or ``None``."""
    state = training_state.start_state(run.settings, *task.build_models(run.settings, numpy.random.default_rng(0)))
    for line in run.load_snapshot(state):
        print(line)
    if not state.iteration:
        return None
    draw_data = None
    if training_state.finishing_takes_data(run.settings, state.models[0]):
        try:
            draw_data = run.open_reference(task, to_learn=True).draw_data
        except UsageError as error:
            raise UsageError('{}: not finished, and its averaged energy model has its statistics from data: {}'.format(
                run.path, error)) from error
    print('{}: not finished, the models of its snapshot at iteration {:,} of {:,}'.format(
        one_line(run.path), state.iteration, run.settings.iterations))
    return training_state.finish_models(state, run.settings, draw_data)


def _metrics_of(run):
    """What the run has found out by name; nothing where it has not come so far, or that can't be read."""
    with contextlib.suppress(ValueError):
        metrics = read_json(run.path / run_files.METRICS)
        return metrics if isinstance(metrics, dict) else {}
    return {}


def _log_z_of(metrics):
    """log Z, or why it is not known; ``None`` where the metrics don't tell."""
    log_z, reason = metrics.get('log_z'), metrics.get('log_z_missing')
    if isinstance(log_z, float) and math.isfinite(log_z):
        return log_z
    return one_line(reason) if isinstance(reason, str) else None


@contextlib.contextmanager
def _telling_of_its_version(path):
    """Where a run of another version can't be read, its error says so."""
    try:
        yield
    except UsageError as error:
        version = None
        with contextlib.suppress(ValueError, LookupError, TypeError):
            version = read_json(path / run_files.SETTINGS)['versions']['ddgm']
        if version in (None, ddgm.__version__):
            raise
        raise UsageError('{}; it is a run of ddgm {}, and this is {}'.format(
            error, one_line(version), ddgm.__version__)) from error
