"""What can be compared: runs, samples and logs, of this project and of others, read from their files."""

import contextlib
import dataclasses
import os
import pathlib
import re

import numpy

from ddgm.compare import loss_logs, samples
from ddgm.runs import run_folder
from ddgm.runs.log import curves_of
from ddgm.support.errors import UsageError, one_line, some
from ddgm.support.files import counting_order, is_within, read_json

_KINDS = 'samples ({}) nor a log ({}, log of Chainer, {})'.format(
    ', '.join(samples.SUFFIXES), ', '.join(loss_logs.SUFFIXES), loss_logs.EVENTS)
_CURE = 'leave it out or give another path'
POINTS = 'points'  # of a file, as the reference
PLANE = ('gaussian_mixture', 'swiss_roll', POINTS)  # what has samples (N, 2), and a map of its energy
_SUBFOLDER = 'samples'  # where some programs put them, beside a log and weights


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


def read(arguments, out=None, task=None):
    """The entries that a user names by ``PATH`` or ``NAME=PATH``; what has one NAME is one entry.

    A path is a run folder, a file of samples (.npy, .npz with an array x, or a picture of many), a log (see
    ``loss_logs``) or a folder of such files.  ``task`` is what their samples are of, by default what the first run has
    learned.  Prints what a path was taken for where that is not certain.  Raises ``UsageError`` for a path that is none
    of these, is given twice or is the folder ``out`` that is written to, or a file that can't be read.
    """
    entries, named, unnamed = [], {}, []
    names_and_paths = [_name_and_path(argument) for argument in arguments]
    in_plane = (task or _task_of_runs(path for _, path in names_and_paths)) in PLANE
    for name, path in names_and_paths:
        if out and is_within(path, out) and is_within(out, path):
            raise UsageError('{} is to be compared: give another folder to --out'.format(path))
        found = _read_path(path, in_plane)
        if name is None:
            unnamed += found
            entries += found
            continue
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


def _name_and_path(argument):
    """The NAME, or ``None``, and the path; either may hold equals signs, and the path that exists is the one meant."""
    if not argument:
        raise UsageError('one of the paths is empty: {}'.format(_CURE))
    splits = [(None, os.path.expanduser(argument))] + [  # no shell replaces the ~ in NAME=~/x
        (argument[:sign.start()], os.path.expanduser(argument[sign.end():])) for sign in re.finditer('=', argument)]
    for name, path in splits:
        if path and name != '' and os.path.exists(path):
            return name, path
    if len(splits) > 1:
        raise UsageError('{}: there is no such file or folder, with or without a NAME= before it: give NAME=PATH or a '
                         'path'.format(argument))
    return splits[0]


def _task_of_runs(paths):
    """What the first run among some paths has learned; ``None`` where none is a run."""
    runs = (path for path in paths if os.path.exists(os.path.join(path, run_folder.SETTINGS)))
    return next((run_folder.read_run(path, _CURE).task for path in runs), None)


def _with_path(entry):
    paths, first = ', '.join(entry.sources), pathlib.Path(entry.sources[0])
    return paths if entry.name in (first.stem, first.name) else '{}: {}'.format(paths, entry.name)


def _read_path(argument, in_plane):
    """The entries that one path holds, under names of their own."""
    try:
        return _entries_of(pathlib.Path(argument), in_plane)
    except OSError as error:
        raise UsageError('{}: can\'t be read ({}): {}'.format(argument, error.strerror, _CURE)) from error


def _entries_of(path, in_plane):
    name = os.path.basename(os.path.abspath(path))
    if (path / run_folder.SETTINGS).exists():
        return [_read_run(path, name)]
    if path.is_dir():
        return _read_folder(path, name, in_plane)
    if not path.exists():
        raise UsageError('{}: there is no such file or folder'.format(path))
    if path.suffix.lower() in samples.SUFFIXES:
        return [Entry(path.stem, [str(path)], x=samples.read_file(path, in_plane))]
    if loss_logs.is_log(path):
        return _read_log(path)
    raise UsageError('{}: neither a run folder nor {}: {}, or {}'.format(path, _KINDS, _CURE, samples.SAVE))


def _read_run(path, name):
    run = run_folder.read_run(path, _CURE)
    entry = Entry(name, [str(path)], run=run)
    log = curves_of(run.log)
    if log:
        entry.logs.append(log)
    if (path / run_folder.SAMPLES).exists():
        entry.x = samples.read_file(path / run_folder.SAMPLES)
    with contextlib.suppress(ValueError, KeyError, TypeError):  # a run that is not finished has none
        entry.iterations = int(read_json(path / run_folder.METRICS)['iterations'])
    return entry


def _read_folder(path, name, in_plane):
    items, files = _items_of(path)
    sets, told, errors = samples.read_folder(path, _of_samples(files), in_plane)
    where = path
    if not sets and (path / _SUBFOLDER).is_dir():
        inside, files_inside = _items_of(path / _SUBFOLDER)
        sets, told_inside, more = samples.read_folder(
            path / _SUBFOLDER, _of_samples(files_inside), in_plane, only_last=True)
        errors += more
        if sets:
            where = path / _SUBFOLDER
            _tell_passed_over(where, inside, told_inside)
            told.append(where)
    logs, told_too = _read_logs(path, name, files, bool(sets))
    if not sets and not logs:
        raise errors[0] if errors else UsageError('{}: holds neither a run nor {}{}: {}'.format(
            path, _KINDS, items and ', but ' + _named(items) or '', _CURE))
    _tell_passed_over(path, items, told + told_too)
    entries = [Entry(title, [str(where / source)], x=x) for title, source, x in sets]
    if len(entries) != 1:
        return entries + logs
    entries[0].name = name
    for log in logs:
        entries[0].take(log)
    return entries


def _items_of(path):
    """What is in a folder and not hidden, in the order of numbers; and the files among it."""
    items = sorted((item for item in path.iterdir() if not item.name.startswith('.')), key=counting_order)
    return items, [item for item in items if item.is_file()]


def _of_samples(files):
    return [file for file in files if file.suffix.lower() in samples.SUFFIXES]


def _tell_passed_over(path, items, told):
    told = set(told)
    left = [item for item in items if item not in told]
    if left:
        print('{}: {:,} passed over: {}'.format(one_line(path), len(left), _named(left)))


def _named(items):
    """The first of many, folders before files, since more may be in them."""
    folders = [item.name + '/' for item in items if item.is_dir()]
    return some(folders + [item.name for item in items if not item.is_dir()])


def _read_logs(path, name, files, has_samples):
    """The logs of a folder: CSV files, others that hold what is known, event files in it and one folder below.

    Also what was read, or told of in a line since it is no log.
    """
    logs, told, left = [], [], []
    for file in files:
        if loss_logs.is_log(file) and not file.match(loss_logs.EVENTS):
            told.append(file)
            try:
                logs += _read_log(file)
            except UsageError as error:
                if file.suffix.lower() in ('.csv', '.tsv'):
                    raise
                print('Passed over:', error)  # most JSON files are no logs, and nobody has named this one
    events = [file for depth in ('', '*/') for file in path.glob(depth + loss_logs.EVENTS)]
    told += events
    for folder in sorted({file.parent for file in events}):
        told.append(folder)
        try:
            logs += _read_log(folder, name if folder == path else folder.name)
        except UsageError as error:
            left.append((folder, error))
    if left and not logs and not has_samples:
        _raise_all(path, left)
    for _, error in left:
        print('Passed over:', error)
    return logs, told


def _raise_all(path, left):
    """Raise one error for all event files of a folder and those below it: pairs of each folder and its error."""
    found = []
    for folder, error in left:
        if not isinstance(error, loss_logs.NothingKnown):
            raise error
        found += [column if folder == path else '{}/{}'.format(folder.name, column) for column in error.columns]
    raise loss_logs.NothingKnown(path, found, of_events=True)


def _read_log(path, name=None):
    if name is None:  # many are called log, or events and a number
        name = path.stem if path.suffix.lower() in loss_logs.SUFFIXES else path.resolve().parent.name
    return [
        Entry(experiment or name, [str(path)], logs=[log]) for experiment, log in loss_logs.read(path).items()]
