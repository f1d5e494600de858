"""The forms of what can be compared, in one table: what each is, how it is told apart, and who reads it."""

from __future__ import annotations

import fnmatch
import pathlib
import typing
from collections.abc import Callable

from ddgm.compare import pictures, rows
from ddgm.data import arrays
from ddgm.runs import run_files, run_folder


class Form(typing.NamedTuple):
    """One of them.

    Attributes:
        what (str): ``'run'``, ``'samples'`` or ``'log'``.
        names (tuple of str): Patterns for the name of a file, in small letters.
        holds (tuple of str): Patterns for what makes a folder as a whole one of this form; none: nothing does.
        read: ``read(path, in_plane)`` returns samples and what they were taken for, ``read(path)`` the rows of a log.
    """

    what: str
    names: tuple[str, ...]
    holds: tuple[str, ...]
    read: Callable


RUN = Form('run', (), (run_files.SETTINGS,), run_folder.read_run)
ARRAYS = Form('samples', ('*.npy', '*.npz'), (), arrays.read)
PICTURES = Form('samples', ('*.png', '*.jpg', '*.jpeg'), (), pictures.read)
TABLE = Form('log', ('*.csv', '*.tsv'), (), rows.of_csv)
JSON = Form('log', ('*.json', '*.jsonl', 'log'), (), rows.of_json)
EVENTS = Form('log', (rows.EVENTS,), (rows.EVENTS,), rows.of_events)
MLFLOW = Form('log', (), rows.MLFLOW, rows.of_mlflow)
_FORMS = (RUN, ARRAYS, PICTURES, TABLE, JSON, EVENTS, MLFLOW)


def form_of(path: pathlib.Path) -> Form | None:
    """The form of a file, or of a folder as a whole, by names alone; ``None`` where it has none of these."""
    if path.is_dir():
        return next((
            form for form in _FORMS if form.holds and all(any(path.glob(pattern)) for pattern in form.holds)), None)
    name = path.name.lower()
    return next((form for form in _FORMS if any(fnmatch.fnmatchcase(name, pattern) for pattern in form.names)), None)


def names_of(what: str) -> str:
    """The patterns of all files that are ``'samples'`` or a ``'log'``, for a message."""
    return ', '.join(pattern for form in _FORMS if form.what == what for pattern in form.names)
