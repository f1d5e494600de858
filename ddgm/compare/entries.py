"""What can be compared: runs, samples and logs, of this project and of others, read from their files."""

import contextlib
import dataclasses
import os
import pathlib

import numpy

from ddgm.compare import loss_logs
from ddgm.runs import run_folder
from ddgm.runs.log import curves_of
from ddgm.support.errors import UsageError
from ddgm.support.files import read_arrays, read_json

_SAMPLES = ('.npy', '.npz')
_LOGS = 'a log ({}, log of Chainer, {})'.format(', '.join(loss_logs.SUFFIXES), loss_logs.EVENTS)
# A folder's files of fewer samples are batches of one program and not a program each: a tenth of what is scored.
_BATCH = 250
_CURE = 'leave it out or give another path'


@dataclasses.dataclass
class Entry:
    """One column of a comparison; what it lacks is ``None``, or an empty list.

    Attributes:
        name (str): Its title.
        sources (list of str): Where it comes from.
        run (ddgm.runs.run_folder.RunFolder): Where it is a run of this project.
        iterations (int): That this run's samples have behind them.
        x: Samples as they are in the file, (N, …).
        logs (list of ddgm.runs.log.Curves): Losses over the run.
    """

    name: str
    sources: list
    run: run_folder.RunFolder = None
    iterations: int = None
    x: numpy.ndarray = None
    logs: list = dataclasses.field(default_factory=list)

    def take(self, other):
        """Add what another entry of the same name holds; raises ``UsageError`` where both hold samples or a run."""
        if self.run and other.run or self.x is not None and other.x is not None:
            raise UsageError('{}: two sets of samples have this name: give each its own, as in NAME=PATH'.format(
                self.name))
        self.run, self.iterations = self.run or other.run, self.iterations or other.iterations
        self.x = other.x if self.x is None else self.x
        self.logs += other.logs
        self.sources += other.sources


def read(arguments):
    """The entries that a user names by ``PATH`` or ``NAME=PATH``; what has one NAME is one entry.

    A path is a run folder, a file of samples (.npy, or .npz with an array x), a log (see ``loss_logs``) or a folder of
    such files.
    Raises ``UsageError`` for a path that is none of these or is given twice, or a file that can't be read.
    """
    entries, named, unnamed = [], {}, []
    for argument in arguments:
        name, equals, path = argument.partition('=')
        if not equals or os.path.exists(argument):
            found = _read_path(argument)
            unnamed += found
            entries += found
            continue
        if not name:
            raise UsageError('{}: give NAME=PATH or a path'.format(argument))
        found = _read_path(path)
        for entry in found:
            entry.name = name if len(found) == 1 else '{}/{}'.format(name, entry.name)
            if entry.name in named:
                named[entry.name].take(entry)
            else:
                named[entry.name] = entry
                entries.append(entry)
    # Where two have the same name, the path tells them apart.
    names = [entry.name for entry in entries]
    for entry, name in zip(entries, names):
        if names.count(name) > 1 and any(entry is other for other in unnamed):
            entry.name = _with_path(entry)
    names = [entry.name for entry in entries]
    doubled = [name for name in names if names.count(name) > 1]
    if doubled:
        raise UsageError('{}: given twice: leave one out'.format(doubled[0]))
    return entries


def _with_path(entry):
    path = pathlib.Path(', '.join(entry.sources))
    return str(path) if entry.name in (path.stem, path.name) else '{}: {}'.format(path, entry.name)


def _read_path(argument):
    """The entries that one path holds, under names of their own."""
    if not argument:
        raise UsageError('one of the paths is empty: {}'.format(_CURE))
    try:
        return _entries_of(pathlib.Path(argument))
    except OSError as error:
        raise UsageError('{}: can\'t be read ({}): {}'.format(argument, error.strerror, _CURE)) from error


def _entries_of(path):
    name = os.path.basename(os.path.abspath(path))
    if (path / run_folder.SETTINGS).exists():
        return [_read_run(path, name)]
    if path.is_dir():
        return _read_folder(path, name)
    if not path.exists():
        raise UsageError('{}: there is no such file or folder'.format(path))
    if path.suffix in _SAMPLES:
        return [Entry(path.stem, [str(path)], x=_read_samples(path))]
    if loss_logs.is_log(path):
        return _read_log(path)
    raise UsageError('{}: neither a run folder nor a file of samples ({}) nor {}: {}'.format(
        path, ', '.join(_SAMPLES), _LOGS, _CURE))


def _read_run(path, name):
    run = run_folder.read_run(path, _CURE)
    entry = Entry(name, [str(path)], run=run)
    log = curves_of(run.log)
    if log:
        entry.logs.append(log)
    if (path / run_folder.SAMPLES).exists():
        entry.x = _read_samples(path / run_folder.SAMPLES)
    with contextlib.suppress(ValueError, KeyError, TypeError):  # a run that is not finished has none
        entry.iterations = int(read_json(path / run_folder.METRICS)['iterations'])
    return entry


def _read_folder(path, name):
    files = sorted(file for file in path.iterdir() if file.is_file())
    samples = [Entry(file.stem, [str(file)], x=_read_samples(file)) for file in files if file.suffix in _SAMPLES]
    logs = _read_logs(path, name, files)
    if not samples and not logs:
        raise UsageError('{}: holds neither a run nor samples ({}) nor {}: {}'.format(
            path, ', '.join(_SAMPLES), _LOGS, _CURE))
    if len({entry.x.shape[1:] for entry in samples}) == 1 and all(len(entry.x) < _BATCH for entry in samples):
        samples = [Entry(
            name, ['{} ({} files)'.format(path, len(samples))], x=numpy.concatenate([entry.x for entry in samples]))]
    if len(samples) != 1:
        return samples + logs
    samples[0].name = name
    for log in logs:
        samples[0].take(log)
    return samples


def _read_logs(path, name, files):
    """The logs of a folder: CSV files, others that hold what is known, event files in it and one folder below."""
    logs = []
    for file in files:
        if loss_logs.is_log(file) and not file.match(loss_logs.EVENTS):
            try:
                logs += _read_log(file)
            except UsageError as error:
                if file.suffix in ('.csv', '.tsv'):
                    raise
                print('Passed over:', error)  # most JSON files are no logs, and nobody has named this one
    for folder in sorted({file.parent for depth in ('', '*/') for file in path.glob(depth + loss_logs.EVENTS)}):
        try:
            logs += _read_log(folder, name if folder == path else folder.name)
        except UsageError as error:
            if folder == path:
                raise
            print('Passed over:', error)
    return logs


def _read_log(path, name=None):
    if name is None:  # many are called log, or events and a number
        name = path.stem if path.suffix in loss_logs.SUFFIXES else path.resolve().parent.name
    return [
        Entry(experiment or name, [str(path)], logs=[log]) for experiment, log in loss_logs.read(path).items()]


def _read_samples(path):
    """(N, …) numbers, all finite; raises ``UsageError`` for anything else."""
    try:
        arrays = read_arrays(path)
    except ValueError as error:
        raise UsageError('{}: can\'t be read as samples ({}): {}'.format(path, error, _CURE)) from error
    if 'x' not in arrays and len(arrays) != 1:
        raise UsageError('{}: the samples have to be its array x, and it has {}'.format(
            path, ', '.join(arrays) or 'none at all'))
    x = arrays.get('x', next(iter(arrays.values())))
    if x.ndim < 2 or not x.size or x.dtype.kind not in 'fiub':
        raise UsageError('{}: samples are numbers of the shape (N, …), these are {} of the shape {}'.format(
            path, x.dtype, x.shape))
    finite = (abs(x.reshape(len(x), -1)) <= numpy.finfo(numpy.float32).max).all(axis=1)  # NaN is not
    if not finite.all():
        raise UsageError('{}: {:,} of {:,} samples are not finite: {}'.format(
            path, len(x) - finite.sum(), len(x), _CURE))
    return x
