"""Trained models from the folders of runs."""

from __future__ import annotations

import numpy

from ddgm.evaluation import tasks
from ddgm.runs import run_folder
from ddgm.support.errors import UsageError
from ddgm.trained.model import Model

_CURE = 'give the folder of a finished run'


def load(path, task: tasks.Task | None = None) -> Model:
    """The model of a finished run.

    Args:
        path: The run's folder.
        task: Its task where that is the user's own.

    Raises ``UsageError`` where there is no finished run.
    """
    run = run_folder.read_run(path, _CURE, task)
    models = tasks.find(run.task, task).build_models(run.settings, numpy.random.default_rng(0))
    for name, model in zip(run_folder.MODELS, models):
        if not run.load(name, model, _CURE):
            raise UsageError('{} has no finished models: finish the run by --resume first'.format(path))
    return Model(tasks.find(run.task, task), run.settings, *models, run.standardization)
