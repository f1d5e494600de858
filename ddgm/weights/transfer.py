"""From the folder of a run to files of weights for PyTorch, and from such files to the folder of a run, or samples."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import sys

import chainer
import numpy

from ddgm.evaluation import metrics, sampling, tasks
from ddgm.runs import run_files, run_folder, training_state
from ddgm.runs.command_line import Request
from ddgm.support import randomness
from ddgm.support.errors import UsageError, one_line, printable
from ddgm.support.files import is_within, keep_theirs, not_writable, open_atomically, write_arrays
from ddgm.weights import checkpoints, pytorch_names

_STEMS = [os.path.splitext(name)[0] for name in run_files.MODELS]


def export_weights(run: str, directory: pathlib.Path) -> None:
    """Write the finished models of a run folder into a directory.

    Raises ``UsageError`` where the run is not finished, or the directory can't be written to, holds such files or lies
    in the run.
    """
    folder = run_folder.read_run(run, 'give the folder of a run')
    run_files.keep_out(directory, run, 'DIR')
    run_files.keep_out_of_run(directory, 'DIR')
    keep_theirs(directory, run_files.MODELS, cure='give another folder to DIR')
    models = tasks.build_models(folder.task, folder.settings, numpy.random.default_rng(0))
    for name, model in zip(run_files.MODELS, models):
        if not folder.load(name, model, 'repeat the run'):
            raise UsageError('{} has no {}: let the run come to its end first'.format(folder.path, name))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, model in zip(run_files.MODELS, models):
            with open_atomically(directory / name) as file:
                write_arrays(file, pytorch_names.export(model))
            print(printable(directory / name))
    except OSError as error:
        raise not_writable(directory, error, 'give another folder') from error


def import_weights(
        source: pathlib.Path, out: str, like: str, names: tuple[str | None, str | None], eps: float) -> None:
    """Make a run folder of the weights of both models.

    Args:
        source: A folder of their files, or one file that holds both.
        out, like: The new run folder, and the run whose networks and settings these are.
        names: What each model is called in ``source``, as :func:`ddgm.weights.checkpoints.find` has it.
        eps: Of PyTorch's BatchNorm.

    Raises ``UsageError`` where they can't be read or don't fit the networks of ``like``, or ``out`` holds a run or lies
    in one of these.
    """
    like = run_folder.read_run(like, 'give the folder of a run to --like')
    if (run_files.holds_run(out) or any(os.path.lexists(os.path.join(out, name)) for name in run_files.MODELS)
            or os.path.isfile(out) or is_within(out, source) and is_within(source, out)):
        raise UsageError('{} is the input or a file, or holds a run or weights: give another folder to OUT'.format(out))
    _keep_out_of_runs(out, like.path, source, source.parent)
    run_files.keep_apart(out, like.task, like.data, flag='OUT')
    folder = run_folder.open_run(Request(
        task=like.task, out=out, preset=like.preset, data=like.data, changes=dataclasses.asdict(like.settings)))
    folder.check_data(like.data_fingerprint)
    folder.standardization = like.standardization
    models = tasks.build_models(folder.task, folder.settings, numpy.random.default_rng(0))
    for stem, model, name in zip(_STEMS, models, names):
        _load(model, source, stem, name, eps)
    state = training_state.start_state(folder.settings, *models)
    try:
        folder.prepare(training_state.environment(chainer.get_device(folder.device)))
        folder.log.keep(0)
        folder.save_snapshot(state)
        for name, model in zip(run_files.MODELS, models):
            folder.save(name, model)
        z = models[1].draw_latent(metrics.N_SCORED, randomness.metric_generator(randomness.SCORED_Z))
        folder.write_samples(sampling.sample(models[1], z), z)
    finally:
        folder.unlock()
    print('Run folder: {}'.format(printable(folder.path)))


def sample_weights(source: pathlib.Path, out: pathlib.Path, network: str, name: str | None, eps: float) -> None:
    """Draw samples from the weights of a generator that a user describes, into a file for ``compare``.

    Args:
        source: The file of its weights, or their folder.
        out: A new .npz file.
        network: ``FILE:NAME`` of a class, or of a function, that makes the generator: a ``chainer.Link`` with
            ``draw_latent(n, rng)``, as :class:`ddgm.models.DeepGenerativeModel` has it.
        name, eps: As in :func:`import_weights`.

    Raises ``UsageError`` where something can't be read, doesn't fit or fails, or ``out`` is there already.
    """
    if out.suffix != '.npz' or os.path.lexists(out):
        raise UsageError('{}: {}: give the name of a new .npz file to OUT'.format(
            out, 'is there already' if os.path.lexists(out) else 'is no .npz file'))
    _keep_out_of_runs(out, source, source.parent)
    file, _, maker = network.rpartition(':')
    with _told_in_a_line(file):
        cure = 'give FILE:NAME to --generator'
        module = tasks.import_file(file, cure)
        if not hasattr(module, maker):
            raise UsageError('{}: has no {!r}: {}'.format(file, maker, cure))
        generator = getattr(module, maker)()
        if not isinstance(generator, chainer.Link) or not hasattr(generator, 'draw_latent'):
            raise UsageError('{}: {} is no generator: derive it from ddgm.models.DeepGenerativeModel'.format(
                file, maker))
        _load(generator, source, _STEMS[1], name, eps)
        z = generator.draw_latent(metrics.N_SCORED, randomness.metric_generator(randomness.SCORED_Z))
        z = numpy.asarray(z, dtype=numpy.float32)
        with numpy.errstate(all='ignore'):  # the line below says it
            x = sampling.sample(generator, z)
        finite = numpy.isfinite(x.reshape(len(x), -1)).all(axis=1)
    if not finite.all():
        raise UsageError('{}: {:,} of the {:,} samples from {} are not finite: mend its forward, or give other '
                         'weights'.format(file, len(x) - finite.sum(), len(x), source))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with open_atomically(out) as written:
            write_arrays(written, {'x': x, 'z': z})
    except OSError as error:
        raise UsageError('{}: can\'t be written ({}): give another file'.format(out, error.strerror)) from error
    print('{}: x {}, from {:.3g} to {:.3g}'.format(printable(out), x.shape, x.min(), x.max()))


def _keep_out_of_runs(out, *folders):
    """Raise ``UsageError`` where a path lies in one of these, and that is a run."""
    for folder in folders:
        if run_files.holds_run(folder):
            run_files.keep_out(out, folder, 'OUT')


def _load(model, source, stem, name, eps):
    """Load a model from what ``source`` holds of it, and say so where a part of a file was taken."""
    path, part = checkpoints.find(source, stem, _STEMS, name)
    arrays = checkpoints.read(path)
    try:
        taken = checkpoints.part_of(arrays, part)
        beginning = pytorch_names.load(model, taken, eps, 'say which part by --' + stem)
    except UsageError as error:
        raise UsageError('{}: {}'.format(path, error)) from error
    if part or beginning:
        print('{}: {} of {} arrays are taken as the {}, without {!r} before their names'.format(
            printable(path), sum(name.startswith(beginning) for name in taken), len(arrays), stem,
            '.'.join(filter(None, [part, beginning]))))


@contextlib.contextmanager
def _told_in_a_line(file):
    """A context in which a user's file may be run; whatever is raised there is told in a line."""
    before = list(sys.path)
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        raise UsageError('{}: {}: {}'.format(
            tasks.place_of(error, file), type(error).__name__, one_line(error))) from error
    finally:
        sys.path[:] = before
