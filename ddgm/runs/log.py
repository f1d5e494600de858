"""The log of a run in Chainer LogReport's format: a JSON list of flat dicts, an entry a line, extended in place."""

from __future__ import annotations

import array
import contextlib
import dataclasses
import itertools
import json
import math
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence

import numpy

from ddgm.support.files import free_name, open_atomically

# What the loop observes, by the names that the log has for it.
QUANTITIES = (
    'energy/positive', 'energy/negative', 'energy/loss', 'generator/loss', 'generator/energy', 'generator/entropy')
_AXIS = 'iteration'
_END = b'\n]\n'
_BEGINNING, _COMMA = re.compile(r'\ufeff?\s*\[\s*'), re.compile(r'\s*,\s*')  # perhaps behind a byte-order mark
_CUT_SHORT = re.compile(r'[\ufeff\s,\[\]]*(\{[^}\n]*)?')  # what a crash may have left behind the last entry
_LONGEST = 2 ** 16  # letters that may be a single entry
_SHOWN = 2 ** 15  # entries that are all shown, many for each pixel of a page


class Log:
    """The log at a path.  Its millionth entry takes as long as the first.

    Iterating over it reads the entries, one at a time, of any JSON list of them, however it is laid out.  A crash may
    have cut the last one short; what is no entry ends the log.
    """

    def __init__(self, path: str | os.PathLike):
        self._path = pathlib.Path(path)
        self._is_empty = True

    def __iter__(self) -> Iterator[dict]:
        with contextlib.suppress(OSError, ValueError):
            yield from _entries(self._path)

    def count(self, last: int) -> int:
        """How many entries up to the iteration ``last`` there are."""
        return sum(1 for _ in self._up_to(last))

    def _up_to(self, last):
        return itertools.takewhile(lambda entry: entry['iteration'] <= last, self)

    def keep(self, last: int) -> int:
        """Leave the entries up to the iteration ``last`` and no others, or begin a log; returns how many they are.

        A log that has to be written anew takes its name once it is whole.  If there is more in the earlier one than
        can be read, that stays as ``log.damaged``, or ``log.damaged.1`` and so on.
        """
        n, is_damaged, is_to_be_cut = 0, False, False
        try:
            for entry in _entries(self._path):
                is_to_be_cut = is_to_be_cut or entry['iteration'] > last
                n += not is_to_be_cut
        except FileNotFoundError:
            pass
        except (OSError, ValueError):
            is_damaged = True
        if is_damaged or is_to_be_cut or not n or not self._is_as_appended():
            with open_atomically(self._path, free_name(self._path) if is_damaged else None) as file:
                file.write(b'[')
                for i, entry in enumerate(self._up_to(last)):
                    file.write(_line(entry, is_first=not i))
                file.write(_END)
        self._is_empty = not n
        return n

    def _is_as_appended(self):
        """Whether a log with entries, of which all can be read, begins and ends as :meth:`append` leaves it."""
        with open(self._path, 'rb') as file:
            begins = file.read(1) == b'['
            file.seek(-len(b'}' + _END), os.SEEK_END)
            return begins and file.read() == b'}' + _END

    def append(self, entry: dict) -> None:
        """Add an entry to a log that :meth:`keep` left; where it does not fit on the disk the log stays as it was."""
        with open(self._path, 'r+b', buffering=0) as file:
            end = file.seek(-len(_END), os.SEEK_END)
            try:
                _write(file, _line(entry, self._is_empty) + _END)
            except OSError:
                file.seek(end)
                file.truncate()
                _write(file, _END)
                raise
        self._is_empty = False

    def flush(self) -> None:
        """Have all entries on the disk, as far as the system can tell."""
        with open(self._path, 'rb') as file:
            os.fsync(file.fileno())


def _line(entry, is_first):
    return (b'\n' if is_first else b',\n') + json.dumps(entry).encode()


def _write(file, content):
    while content:  # a file without a buffer may take a part only
        content = content[file.write(content):]


def _entries(path):
    """The entries of a file, which is read line by line; raises ``ValueError`` behind the last where there is more."""
    decode, text, place, before = json.JSONDecoder().raw_decode, '', 0, _BEGINNING
    with open(path, 'rb') as file:
        for line in file:
            text, place = text[place:] + line.decode(), 0
            while (gap := before.match(text, place)) and gap.end() < len(text):
                try:
                    entry, place = decode(text, gap.end())
                except json.JSONDecodeError:
                    break  # it may go on in the next line
                except RecursionError as error:
                    raise ValueError('lists that are nested too deeply') from error
                if not isinstance(entry, dict) or type(entry.get('iteration')) is not int:
                    raise ValueError('no entry')
                yield entry
                before = _COMMA
            if len(text) - place > _LONGEST:
                break
    if not _CUT_SHORT.fullmatch(text, place):
        raise ValueError('no entry')


# ---- as curves

@dataclasses.dataclass(frozen=True)
class Curves:
    """Several quantities over one axis.

    Attributes:
        unit (str): Of the axis: ``'iteration'``, ``'epoch'`` or ``'row'`` where the file has neither.
        x (sequence of float): The axis.
        values (dict): By the names of this project's log, sequences of floats as long as ``x``; NaN where there is
            none.
        own (dict): By the names in ``values``, what another program calls a loss that is its own, and not ours.
    """

    unit: str
    x: Sequence[float]
    values: dict[str, Sequence[float]]
    own: dict[str, str] = dataclasses.field(default_factory=dict)

    def points(self, name: str) -> tuple[list[float], list[float]]:
        """x and the values of one quantity, where both are finite as float32: larger ones no picture has room for."""
        points = numpy.array([self.x, self.values[name]], dtype=float)
        x, values = points[:, (abs(points) <= numpy.finfo(numpy.float32).max).all(axis=0)].tolist()
        return x, values


def curves_of(entries: Iterable[dict]) -> Curves | None:
    """The curves of a log, dicts as Chainer's LogReport writes them; ``None`` where it is empty.

    Of more entries than a picture can show, two stand for several neighbours, with the lowest and the highest value of
    each quantity, so that the curves look as they would with all.
    """
    columns, names = {name: array.array('d') for name in (_AXIS, *QUANTITIES)}, set()  # 8 bytes a number
    for entry in entries:
        names.update(entry)
        for name, column in columns.items():
            column.append(number(entry.get(name)))
    n = len(columns[_AXIS])
    if not n:
        return None
    size = 2 * -(-n // _SHOWN) if n > _SHOWN else None
    thin = {name: _thin(column, size) for name, column in columns.items() if name in names}
    return Curves(_AXIS, thin.pop(_AXIS), thin)


def _thin(column, size):
    """A column as a list: of every ``size`` neighbours the lowest and the highest, in the order in which they stand."""
    column = numpy.asarray(column)
    if size is None:
        return column.tolist()
    whole = len(column) // size * size
    groups = column[:whole].reshape(-1, size)
    is_gap = numpy.isnan(groups)
    ends = numpy.stack([
        numpy.where(is_gap, numpy.inf, groups).argmin(axis=1), numpy.where(is_gap, -numpy.inf, groups).argmax(axis=1),
    ], axis=1)
    return [*numpy.take_along_axis(groups, numpy.sort(ends, axis=1), axis=1).ravel().tolist(), *column[whole:].tolist()]


def number(value: object) -> float:
    """A float of whatever a log holds, NaN where it is no number."""
    if type(value) is float:
        return value
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
