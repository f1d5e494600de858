"""The log of a run in Chainer LogReport's format: a JSON list of flat dicts, an entry a line, extended in place."""

import array
import contextlib
import dataclasses
import json
import math
import os
from collections.abc import Sequence

import numpy

from ddgm.support.files import open_atomically

# What the loop observes, by the names that the log has for it.
QUANTITIES = (
    'energy/positive', 'energy/negative', 'energy/loss', 'generator/loss', 'generator/energy', 'generator/entropy')
_END = b'\n]\n'
_LONGEST = 2 ** 16  # bytes of a line that may be an entry


class Log:
    """The log at a path.  Entries are never in memory all at once, and the millionth takes as long as the first.

    Iterating over it reads the entries.  A crash may have cut the last line short: what is no entry ends the log.
    """

    def __init__(self, path):
        self._path = path
        self._is_empty = True

    def __iter__(self):
        with contextlib.suppress(OSError), open(self._path, 'rb') as file:
            for line in iter(lambda: file.readline(_LONGEST), b''):
                if line.strip() in (b'[', b']'):
                    continue
                try:
                    entry = json.loads(line.decode().rstrip(',\n'))
                except (ValueError, RecursionError):
                    return
                if not isinstance(entry, dict) or type(entry.get('iteration')) is not int:
                    return
                yield entry

    def keep(self, last):
        """Write the log anew, with the entries up to the iteration ``last``; returns how many they are."""
        n = 0
        with open_atomically(self._path) as file:
            file.write(b'[')
            for entry in self:
                if entry['iteration'] > last:
                    break
                file.write((b',\n' if n else b'\n') + json.dumps(entry).encode())
                n += 1
            file.write(_END)
        self._is_empty = not n
        return n

    def append(self, entry):
        """Add an entry; where it does not fit on the disk the log stays as it was."""
        with open(self._path, 'r+b', buffering=0) as file:
            end = file.seek(-len(_END), os.SEEK_END)
            try:
                _write(file, (b'\n' if self._is_empty else b',\n') + json.dumps(entry).encode() + _END)
            except OSError:
                file.seek(end)
                file.truncate()
                _write(file, _END)
                raise
        self._is_empty = False

    def flush(self):
        """Have all entries on the disk, as far as the system can tell."""
        with open(self._path, 'rb') as file:
            os.fsync(file.fileno())


def _write(file, content):
    while content:  # a file without a buffer may take a part only
        content = content[file.write(content):]


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
    x: Sequence
    values: dict
    own: dict = dataclasses.field(default_factory=dict)

    def points(self, name):
        """x and the values of one quantity, two lists, where both are finite."""
        points = numpy.array([self.x, self.values[name]], dtype=float)
        x, values = points[:, numpy.isfinite(points).all(axis=0)].tolist()
        return x, values


def curves_of(entries):
    """The curves of a log, an iterable of dicts as Chainer's LogReport writes them; ``None`` where it is empty."""
    x, values, names = array.array('d'), {name: array.array('d') for name in QUANTITIES}, set()  # 8 bytes a number
    for entry in entries:
        names.update(entry)
        x.append(number(entry['iteration']))
        for name, column in values.items():
            column.append(number(entry.get(name)))
    return Curves('iteration', x, {name: values[name] for name in QUANTITIES if name in names}) if x else None


def number(value):
    """A float of whatever a log holds, NaN where it is no number."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
