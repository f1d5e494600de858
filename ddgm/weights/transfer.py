"""From the folder of a run to files of weights for PyTorch, and from such files to the folder of a run."""

import dataclasses

import chainer
import numpy

from ddgm.evaluation import metrics, sampling, tasks
from ddgm.runs import run_folder, training_state
from ddgm.runs.command_line import Request
from ddgm.support import randomness
from ddgm.support.errors import UsageError
from ddgm.support.files import open_atomically, read_arrays, write_arrays
from ddgm.weights import pytorch_names


def export_weights(run, directory):
    """Write the finished models of a run folder into a directory.

    Raises ``UsageError`` where the run is not finished, or the directory can't be written to or holds such files.
    """
    folder = run_folder.read_run(run, 'give the folder of a run')
    if run_folder.holds_run(directory):
        raise UsageError('{} holds a run, or weights: give another folder to DIR'.format(directory))
    models = tasks.build_models(folder.task, folder.settings, numpy.random.default_rng(0))
    for name, model in zip(run_folder.MODELS, models):
        if not folder.load(name, model, 'repeat the run'):
            raise UsageError('{} has no {}: let the run come to its end first'.format(folder.path, name))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, model in zip(run_folder.MODELS, models):
            with open_atomically(directory / name) as file:
                write_arrays(file, pytorch_names.export(model))
            print(directory / name)
    except OSError as error:
        raise UsageError('{}: can\'t be written to ({}): give another folder'.format(
            directory, error.strerror)) from error


def import_weights(directory, out, like, eps):
    """Make a run folder of two files of weights.

    Raises ``UsageError`` where they can't be read or don't fit the networks of ``like``, or ``out`` holds a run.
    """
    like = run_folder.read_run(like, 'give the folder of a run to --like')
    if run_folder.holds_run(out):
        raise UsageError('{} holds a run: give another folder to OUT'.format(out))
    folder = run_folder.open_run(Request(
        task=like.task, out=out, preset=like.preset, data=like.data, changes=dataclasses.asdict(like.settings)))
    folder.check_data(like.data_fingerprint)
    models = tasks.build_models(folder.task, folder.settings, numpy.random.default_rng(0))
    for name, model in zip(run_folder.MODELS, models):
        try:
            pytorch_names.load(model, read_arrays(directory / name), eps)
        except ValueError as error:
            raise UsageError('{}: can\'t be read ({})'.format(directory / name, error)) from error
        except UsageError as error:
            raise UsageError('{}: {}'.format(directory / name, error)) from error
    state = training_state.start_state(folder.settings, *models)
    try:
        folder.prepare(training_state.environment(chainer.get_device(folder.device)))
        folder.log.keep(0)
        folder.save_snapshot(state)
        for name, model in zip(run_folder.MODELS, models):
            folder.save(name, model)
        z = models[1].draw_latent(metrics.N_SCORED, randomness.metric_generator(randomness.SCORED_Z))
        folder.write_samples(sampling.sample(models[1], z), z)
    finally:
        folder.unlock()
    print('Run folder: {}'.format(folder.path))
