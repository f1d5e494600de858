"""Snapshots: the newest two, each with a checksum, so that one that is damaged costs iterations and never the run."""

from __future__ import annotations

import json
import pathlib
import warnings

import numpy

from ddgm.support.errors import UsageError, one_line
from ddgm.support.files import checksum, open_atomically, read_arrays, write_arrays
from ddgm.support.serialization import arrays_of, load_arrays

NAMES = NEWEST, EARLIER = 'snapshot.npz', 'snapshot_earlier.npz'

# Of the file, raised where an older program could not go on from it or would go on to other bits.
FORMAT = 2
_FORMAT, _RUN, _CHECKSUM = 'format', 'run', 'sha256'

START_OVER = 'start over with --overwrite'  # the cure for a run that can't be resumed


def save(folder: pathlib.Path, state, run: dict) -> None:
    """Save the state of a run; the snapshot before it stays, by the name :data:`EARLIER`.

    Args:
        folder (pathlib.Path): The run folder.
        state: Something with a ``serialize``, as :class:`ddgm.runs.training_state.TrainingState`.
        run (dict): What tells this run from others, JSON values by name.

    Raises:
        FloatingPointError: With the name of a number that is not finite; no file has changed.
    """
    arrays = arrays_of(state)
    _check_finite(arrays)
    arrays[_FORMAT], arrays[_RUN] = numpy.array(FORMAT), numpy.array(json.dumps(run))
    arrays[_CHECKSUM] = checksum(arrays)
    with open_atomically(folder / NEWEST, keep_as=folder / EARLIER) as file:
        write_arrays(file, arrays)


def load(folder: pathlib.Path, state, run: dict, unless_told: dict | tuple = ()) -> dict:
    """Load the newest snapshot that is whole into a state; see :func:`save`.

    Args:
        unless_told (dict): Parts of ``run`` that a snapshot of an earlier version may lack, and what it then means.

    Returns:
        dict: By the paths of those that had to be passed over, the reason.  All are untouched.  Where there is no
        snapshot at all nothing is loaded.

    Raises:
        UsageError: None is whole, or the newest that is whole is not this run's.
    """
    passed_over = {}
    for path in (folder / name for name in NAMES):
        if not path.exists():
            continue
        try:
            arrays = _read(path)
        except UsageError:  # which is a ValueError
            raise
        except ValueError as error:
            passed_over[path] = str(error)
            continue
        _check_run(path, arrays, run, unless_told)
        try:
            _check_finite(arrays)
            with warnings.catch_warnings():
                warnings.simplefilter('error')  # Chainer's, of numbers that it misses
                load_arrays(state, arrays)
        except (ArithmeticError, ValueError, LookupError, TypeError, AttributeError, RecursionError, Warning) as error:
            raise UsageError('{}: does not fit this run ({}): {}'.format(
                path, one_line(error), START_OVER)) from error
        return passed_over
    if passed_over:
        raise UsageError('{}: {}'.format('; '.join(
            '{}: damaged ({})'.format(path, reason) for path, reason in passed_over.items()), START_OVER))
    return {}


def _read(path):
    """The arrays of a snapshot; raises ``ValueError`` where it is damaged."""
    try:
        with open(path, 'rb'):
            pass
    except OSError as error:  # it may be whole all the same
        raise UsageError('{}: can\'t be read ({}): make it readable, or {}'.format(
            path, error.strerror, START_OVER)) from error
    arrays = read_arrays(path)
    if _FORMAT not in arrays and _CHECKSUM not in arrays:
        raise UsageError('{}: not a snapshot, or one of an older version of this project: {}'.format(path, START_OVER))
    if not numpy.array_equal(arrays.pop(_CHECKSUM, None), checksum(arrays)):
        raise ValueError('its checksum is wrong')
    if not numpy.array_equal(arrays.get(_FORMAT), FORMAT):
        raise UsageError('{}: a snapshot of another version of this project: go on with that, or {}'.format(
            path, START_OVER))
    return arrays


def _check_finite(arrays):
    for name, array in arrays.items():
        if array.dtype.kind == 'f' and not numpy.isfinite(array).all():
            raise FloatingPointError(name)


def _check_run(path, arrays, run, unless_told):
    try:
        theirs = {**dict(unless_told), **json.loads(str(arrays.get(_RUN)))}
    except (ValueError, TypeError, RecursionError):
        theirs = {}
    if theirs != run:
        differences = ', '.join(
            '{} {:.40}, not {}'.format(name, repr(theirs.get(name)).strip("'"), run[name])
            for name in sorted(run) if theirs.get(name) != run[name])
        raise UsageError('{}: the snapshot of another run ({}): change settings.json back, or give another '
                         '--out'.format(path, differences or 'of other settings'))
