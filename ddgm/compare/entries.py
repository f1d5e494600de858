"""What can be compared: runs, samples and logs, of this project and of others, read from their files."""

from __future__ import annotations

import collections
import contextlib
import csv
import dataclasses
import os
import pathlib
import re

import numpy

from ddgm.compare import forms, loss_logs, rows, samples
from ddgm.data.arrays import SAVE
from ddgm.evaluation import likelihood, tasks
from ddgm.runs import run_files, run_folder, snapshots
from ddgm.runs.log import Curves, curves_of
from ddgm.support.errors import UsageError, one_line, printable, some
from ddgm.support.files import counting_order, instead, is_within, read_json

_CURE = 'leave it out or give another path'
POINTS = 'points'  # of a file, as the reference
PLANE = ('gaussian_mixture', 'swiss_roll', POINTS)  # what has samples (N, 2), and a map of its energy
_WEIGHTS = *run_files.MODELS, *snapshots.NAMES  # which may have (N, 2), but are no samples
_SUBFOLDER = 'samples'  # where some programs put them, beside a log and weights


@dataclasses.dataclass
class Entry:
    """One column of a comparison; what it lacks is ``None``, or an empty list.

    Attributes:
        name (str): Its title.
        sources (list of str): Where it comes from.
        run (ddgm.runs.run_folder.RunFolder): Where it is a run of this project.
        iterations (int): That this run's samples have behind them.
        likelihood (dict): What the run has told of that of its data, as ``--likelihood`` makes it.
        x: Samples as they are in the file, (N, …).
        logs (list of ddgm.runs.log.Curves): Losses over the run.
        is_named (bool): Whether the user gave the name.
    """

    name: str
    sources: list[str]
    run: run_folder.RunFolder | None = None
    iterations: int | None = None
    likelihood: dict = dataclasses.field(default_factory=dict)
    x: numpy.ndarray | None = None
    logs: list[Curves] = dataclasses.field(default_factory=list)
    is_named: bool = False

    def __post_init__(self):
        self.name = printable(self.name)  # of a file, perhaps

    def take(self, other: Entry) -> None:
        """Add what another entry of the same name holds; raises ``UsageError`` where both hold samples or a run."""
        if self.run and other.run or self.x is not None and other.x is not None:
            raise UsageError('{}: two sets of samples have this name: give each its own, as in NAME=PATH'.format(
                self.name))
        self.run, self.iterations = self.run or other.run, self.iterations or other.iterations
        self.likelihood = self.likelihood or other.likelihood
        self.x = other.x if self.x is None else self.x
        self.logs += other.logs
        self.sources += other.sources


def read(
        arguments: list[str], out: str | None = None, task: str | None = None,
        own: tasks.Task | None = None) -> list[Entry]:
    """The entries that a user names by ``PATH`` or ``NAME=PATH``; what has one NAME is one entry.

    A path is of one of the ``forms``, or a folder of such files.  ``task`` is what their samples are of, by default
    what the first run has learned; ``own`` is a task of the user's that runs may be of.  Prints what a path was taken
    for where that is not certain.  Raises ``UsageError`` for a path that is none of these, is given twice or is the
    folder ``out`` that is written to, or a file that can't be read.
    """
    entries, named = [], {}
    names_and_paths = [_name_and_path(argument) for argument in arguments]
    runs = (path for _, path in names_and_paths if os.path.exists(os.path.join(path, run_files.SETTINGS)))
    in_plane = (task or next((forms.RUN.read(path, _CURE, own).task for path in runs), None)) in PLANE
    for name, path in names_and_paths:
        if out and is_within(path, out) and is_within(out, path):
            raise UsageError('{} is to be compared: give another folder to --out'.format(path))
        found = _read_path(path, in_plane, own)
        for entry in found:
            if name is not None:
                entry.name, entry.is_named = name if len(found) == 1 else '{}/{}'.format(name, entry.name), True
                first = named.setdefault(entry.name, entry)
                if first is not entry:
                    first.take(entry)
                    continue
            entries.append(entry)
    # Where two have the same name, the path tells them apart.
    times = collections.Counter(entry.name for entry in entries)
    for entry in entries:
        if times[entry.name] > 1 and not entry.is_named:
            entry.name = _with_path(entry)
    (name, n), = collections.Counter(entry.name for entry in entries).most_common(1)
    if n > 1:
        raise UsageError('{}: given twice: leave one out'.format(name))
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


def _with_path(entry):
    paths, first = printable(', '.join(entry.sources)), pathlib.Path(entry.sources[0])
    return paths if entry.name in (first.stem, first.name) else '{}: {}'.format(paths, entry.name)


def _read_path(argument, in_plane, own):
    """The entries that one path holds, under names of their own."""
    path, name = pathlib.Path(argument), os.path.basename(os.path.abspath(argument))
    try:
        form = forms.form_of(path)
        if form is forms.RUN:
            return [_read_run(path, name, own)]
        whole = pathlib.Path(os.path.abspath(path))
        for part in (whole, *whole.parents) if form is None else ():
            if part.name == rows.METRICS and forms.form_of(part.parent) is forms.MLFLOW:
                raise UsageError('{}: is a part of a run of MLflow: give {}'.format(path, part.parent))
        if path.is_dir():
            return _read_folder(path, name, in_plane)
        if not path.exists():
            raise UsageError('{}: there is no such file or folder'.format(path))
        if form is None:
            raise UsageError('{}: neither a run folder nor {}: {}, or {}'.format(path, _known_forms(), _CURE, SAVE))
        if form.what == 'samples':
            return [Entry(path.stem, [str(path)], x=samples.read_file(path, in_plane))]
        return _read_log(path, form)
    except OSError as error:
        raise UsageError('{}: can\'t be read ({}): {}'.format(argument, error.strerror, _CURE)) from error


def _known_forms():
    return 'samples ({}) nor a log ({})'.format(forms.names_of('samples'), forms.names_of('log'))


def _read_run(path, name, own):
    run = forms.RUN.read(path, _CURE, own)
    entry = Entry(name, [str(path)], run=run)
    log = curves_of(run.log)
    if log:
        entry.logs.append(log)
    if (path / run_files.SAMPLES).exists():
        entry.x = samples.read_file(path / run_files.SAMPLES)
    with contextlib.suppress(ValueError, KeyError, TypeError):  # a run that is not finished has none
        metrics = read_json(path / run_files.METRICS)
        entry.iterations, entry.likelihood = int(metrics['iterations']), likelihood.recorded(metrics)
    return entry


def _read_folder(path, name, in_plane):
    """The entries of a folder: one of all, unless there are several sets of samples, or none."""
    items = _items_of(path)
    sets, told, errors = samples.read_folder(path, [item for item in items if item.name not in _WEIGHTS], in_plane)
    where, below = path, path / _SUBFOLDER
    if not sets and below.is_dir():
        inside = _items_of(below)
        sets, told_inside, more = samples.read_folder(below, inside, in_plane, only_last=True)
        errors += more
        if sets:
            where = below
            told.append(below)
            _tell_passed_over(below, inside, told_inside)
    logs, told_too, more = _read_logs(path, items)
    if not sets and not logs:
        raise (errors + more or [UsageError('{}: holds neither a run nor {}{}: {}'.format(
            path, _known_forms(), items and ', but ' + _named(items) or '', _CURE))])[0]
    if any((path / name).exists() for name in (run_files.LOG, run_files.SAMPLES, *_WEIGHTS)):
        print('{}: no run of this program, since it has no {}: only samples and logs are read'.format(
            one_line(path), run_files.SETTINGS))
    for error in more:
        print('Passed over:', printable(error))
    _tell_passed_over(path, items, told + told_too)
    entries = [Entry(of_set.title, [str(where / of_set.source)], x=of_set.x) for of_set in sets]
    if len(entries) != 1:
        return entries + logs
    entries[0].name = name
    for log in logs:
        entries[0].take(log)
    return entries


def _items_of(path):
    """What is in a folder and not hidden, in the order of numbers."""
    return sorted((item for item in path.iterdir() if not item.name.startswith('.')), key=counting_order)


def _tell_passed_over(path, items, told):
    left = [item for item in items if item not in set(told)]
    if left:
        print('{}: {:,} passed over: {}'.format(one_line(path), len(left), _named(left)))


def _named(items):
    """The first of many, folders before files, since more may be in them."""
    folders = [item.name + '/' for item in items if item.is_dir()]
    return some(folders + [item.name for item in items if not item.is_dir()])


def _read_logs(path, items):
    """The logs of a folder: files, and as one log each the event files in it and in those below.

    Also what was read, or told of in an error since it is no log; and these errors.
    """
    logs, told, errors = [], [], []
    for item in [*items, path]:
        form = forms.form_of(item)
        if form is forms.EVENTS and not item.is_dir():
            told.append(item)
        elif form and form.what == 'log':
            told.append(item)
            try:
                logs += _read_log(item, form)
            except UsageError as error:
                if form is forms.TABLE:
                    raise
                errors.append(error)  # most JSON files are no logs, and nobody has named this one
    return logs, told, errors


def _read_log(path, form):
    """The entries of a log; a name such as that of event files says less than that of the folder."""
    try:
        pointer = instead(path)
        if pointer:
            raise ValueError(pointer)
        found = form.read(path)
    except UsageError:  # which is a ValueError
        raise
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise UsageError('{}: can\'t be read as a log ({}): leave it out'.format(
            path, getattr(error, 'strerror', None) or one_line(error))) from error
    folder = path if path.is_dir() else path.parent
    name = folder.resolve().name if form is forms.EVENTS or path.name == 'log' else path.stem
    return [
        Entry(experiment or name, [str(path)], logs=[log])
        for experiment, log in loss_logs.curves_of(path, found).items()]
