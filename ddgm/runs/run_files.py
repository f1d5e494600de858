"""Whose a folder's files are: those of a run by name, what a run may replace or delete, and who may write where."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
from collections.abc import Container, Iterable

from ddgm.data import picture_folder
from ddgm.evaluation import tasks
from ddgm.runs import event_file, snapshots
from ddgm.support.errors import UsageError, one_line
from ddgm.support.files import Lock, is_within, keep_theirs, leftovers, listed, not_writable

FIGURES, FRAMES = 'figures', 'figures/frames'
SETTINGS, LOG, SAMPLES, METRICS = 'settings.json', 'log', 'samples.npz', 'metrics.json'
MODELS = ENERGY_MODEL, GENERATIVE_MODEL = 'energy_model.npz', 'generative_model.npz'
FIRST = SETTINGS, LOG, *snapshots.NAMES, FRAMES  # what a run lists from its beginning on; all frames are one name
_REPLACED = (  # what every run may write, and replace by that
    *FIRST[:-1], SAMPLES, METRICS, *MODELS,
    *('{}/{}'.format(FIGURES, name)
      for name in ('data.png', 'samples.png', 'nearest.png', 'energy.png', 'curves.png', 'training.gif')))
# The list of a run of an earlier version, which has none.
_OF_EARLIER_VERSIONS = *_REPLACED, FRAMES, *(name + '.damaged' for name in snapshots.NAMES)
# Whatever a list says, no other file is deleted; that of the settings is replaced.
_DELETABLE = re.compile('|'.join([
    *map(re.escape, _REPLACED[1:]), r'snapshot(_earlier)?\.npz\.damaged(\.\d+)?',
    FIGURES + r'/(?!frames$)[^/\\.][^/\\]*', event_file.FOLDER + r'/events\.out\.tfevents\.\d+\.ddgm']))
_MARKS = 'task', 'preset', 'energy_learning_rate', 'generator_learning_rate'  # of a run's settings.json
_LOCK = '.lock'


# ---- those of a run

def files_of(path: str | os.PathLike) -> list[str]:
    """The files that the run in a folder lists, none where there is no run; frames are one name."""
    return listed(os.path.join(path, SETTINGS), _MARKS, _OF_EARLIER_VERSIONS)


def holds_run(path: str | os.PathLike) -> bool:
    """Whether a folder has the settings of a run of this program."""
    return bool(files_of(path))


def frames_in(path: str | os.PathLike) -> list[str]:
    """The names of a folder's frames in order, which is quicker than that of paths."""
    try:
        return sorted(filter(_is_frame, os.listdir(os.path.join(path, FRAMES))))
    except OSError:
        return []


def _is_frame(name):
    return re.fullmatch(r'\d{9}\.png', name) is not None


def delete(path: pathlib.Path, names: Iterable[str]) -> None:
    """Delete those files of a run's list that a run may delete, and all frames where they are listed."""
    for name in names:
        if name == FRAMES:
            for frame in frames_in(path):
                (path / FRAMES / frame).unlink()
        elif _DELETABLE.fullmatch(name):
            with contextlib.suppress(FileNotFoundError):
                (path / name).unlink()


def delete_unfinished(path: pathlib.Path, names: Container[str]) -> None:
    """Delete what a killed process left unfinished of the files that a run lists."""
    for folder in (path, path / FIGURES, path / FRAMES):
        for leftover, whole in leftovers(folder):
            name = whole.relative_to(path).as_posix()
            if name == SETTINGS or name in names or FRAMES in names and _is_frame(whole.name):
                leftover.unlink()


# ---- who may write where

def check_new(path: str | os.PathLike, overwrite: bool) -> None:
    """Raise ``UsageError`` where a folder holds what a new run must not take the place of."""
    ours = files_of(path)
    if ours and not overwrite:
        raise UsageError(
            '{} holds a run: go on with it by --resume, start over by --overwrite, or give another --out'.format(path))
    keep_theirs(path, _REPLACED, ours)
    if FRAMES not in ours:
        keep_theirs(path, ['{}/{}'.format(FRAMES, name) for name in frames_in(path)])


def keep_apart(out, task: tasks.Task | str | None, data, flag: str = '--out') -> None:
    """Raise ``UsageError`` where what is written to a folder would lie among the data of a task, if that has a folder.

    A folder of pictures is read with its sub-folders and those that links lead to, so what is written there would be
    data from then on.  A name of no task of this package, or ``None``, is that of data of another kind.
    """
    if isinstance(task, str):
        task = next((known for known in tasks.OF_THE_PACKAGE if known.name == task), None)
    of_pictures = bool(task and task.data and task.data.of_pictures)
    for folder in [] if not data else picture_folder.folders_of(pathlib.Path(data)) if of_pictures else [data]:
        if (is_within(out, folder) and (of_pictures or is_within(folder, out))
                or is_within(folder, pathlib.Path(out) / FIGURES)):
            raise UsageError('{} lies in the folder of the data, {}, or holds it: give another folder to {}'.format(
                out, folder, flag))


def keep_out(out, run, flag: str = '--out') -> None:
    """Raise ``UsageError`` where what is written to a path would lie in the folder of a run, or replace it."""
    if is_within(out, run):
        raise UsageError('{} lies in a run, {}: give another path to {}'.format(one_line(out), one_line(run), flag))


def keep_out_of_run(out, flag: str = '--out') -> None:
    """Raise ``UsageError`` where what is written to a folder would lie beside the files of a run there."""
    if holds_run(out):
        raise UsageError('{} holds a run: give another folder to {}'.format(one_line(out), flag))


def lock(path: pathlib.Path) -> Lock:
    """Keep a folder, which exists, for this process.

    Raises ``UsageError`` where another process has it, or it can't be written to.
    """
    try:
        return Lock(path / _LOCK)
    except BlockingIOError as error:
        raise UsageError(
            '{}: another process is at work on this run: wait for it, or give another --out'.format(path)) from error
    except OSError as error:
        raise not_writable(path, error) from error
