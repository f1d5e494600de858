"""The log of a run in Chainer LogReport's format: a JSON list of flat dicts, an entry a line, extended in place."""

import array
import contextlib
import dataclasses
import io
import json
import math
import os
from collections.abc import Sequence

import numpy

from ddgm.support.files import open_atomically

# What the loop observes, by the names that the log has for it.
QUANTITIES = (
    'energy/positive', 'energy/negative', 'energy/loss', 'generator/loss', 'generator/energy', 'generator/entropy')
_START, _END = b'[\n', b'\n]\n'
_LONGEST = 2 ** 16  # bytes of a line that may be an entry
_BLOCK = 2 ** 16  # bytes that are parsed, or looked at, at a time
_AXIS = 'iteration'
_SHOWN = 2 ** 15  # entries that are all shown, many for each pixel of a page
_OF_NUMBERS = numpy.frombuffer(b'0123456789.-+e', dtype=numpy.uint8)


class Log:
    """The log at a path.  Entries are never in memory all at once, and the millionth takes as long as the first.

    Iterating over it reads the entries.  A crash may have cut the last line short: what is no entry ends the log.
    """

    def __init__(self, path):
        self._path = path
        self._is_empty = True

    def __iter__(self):
        with contextlib.suppress(OSError), open(self._path, 'rb') as file:
            while block := file.read(_BLOCK):
                entries = _parse_block(block + file.readline(_LONGEST))
                yield from (entry for entry in entries if entry is not None)
                if entries[-1:] == [None]:
                    return

    def count(self, last):
        """How many entries up to the iteration ``last`` there are, or lines that look like some."""
        found = self._find(last)
        return found[1] if found else sum(entry['iteration'] <= last for entry in self)

    def keep(self, last):
        """Leave the entries up to the iteration ``last`` and no others, or begin a log; returns how many they are.

        A log that is as :meth:`append` leaves it is parsed and cut.  A crash between two steps of that costs none of
        them.  Any other is written anew.
        """
        found = self._find(last)
        is_sound = found and found[1] == sum(entry['iteration'] <= last for entry in self)
        n = self._cut(*found) if is_sound else self._write_anew(last)
        self._is_empty = not n
        return n

    def _find(self, last):
        """Where the entries up to an iteration end, and how many they are, by bisection.

        ``None`` where the log is not as :meth:`append` leaves it.  Few lines are parsed, but all are looked at: they
        have to have the same bytes as the first one, apart from those of numbers and from their order.
        """
        try:
            with open(self._path, 'rb') as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - len(_END)))
                if file.read() != _END:
                    return None
                file.seek(0)
                if file.read(len(_START)) != _START:
                    return None
                end = _bisect(file, last, len(_START), size - len(_END) + 1)
                return end, _count_lines(file, len(_START), end, is_whole=end == size - len(_END) + 1)
        except (OSError, ValueError):
            return None

    def _cut(self, end, n):
        with open(self._path, 'r+b', buffering=0) as file:
            if end < file.seek(0, os.SEEK_END) - len(_END) + 1:
                # First shorter, then closed: in between it ends with an entry, and is read as far.
                file.truncate(end - len(b',\n') if n else len(b'['))
                file.seek(0, os.SEEK_END)
                _write(file, _END)
                os.fsync(file.fileno())
        return n

    def _write_anew(self, last):
        n = 0
        with open_atomically(self._path) as file:
            file.write(b'[')
            for entry in self:
                if entry['iteration'] > last:
                    break
                file.write((b',\n' if n else b'\n') + json.dumps(entry).encode())
                n += 1
            file.write(_END)
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


def _parse(line):
    """The entry of a line, or ``None`` where it is none."""
    try:
        entry = json.loads(line.decode().rstrip(',\n'))
    except (ValueError, RecursionError):
        return None
    return entry if _is_entry(entry) else None


def _is_entry(entry):
    return isinstance(entry, dict) and type(entry.get('iteration')) is int


def _parse_block(block):
    """The entries of some lines; ``None`` ends the list in the place of the first line that is none."""
    with contextlib.suppress(ValueError, RecursionError):
        # All at once, which is quicker.
        inner = block[len(b'['):] if block.startswith(_START) else block
        inner = inner[:1 - len(_END)] if inner.endswith(_END) else inner
        entries = json.loads('[' + inner.decode().rstrip(',\n') + ']')
        if all(map(_is_entry, entries)):
            return entries
    entries = []
    for line in io.BytesIO(block):
        if line.strip() not in (b'[', b']'):
            entries.append(_parse(line))
            if entries[-1] is None:
                break
    return entries


def _bisect(file, last, low, high):
    """Where the first line of an iteration after ``last`` begins, between two beginnings of lines, the second beyond.

    Raises ``ValueError`` for a line that is no entry.
    """
    def entry_at(place):
        file.seek(place)
        line = file.readline(_LONGEST)
        entry = _parse(line)
        if entry is None:
            raise ValueError('no entry at byte {:,}'.format(place))
        return entry, place + len(line)
    while low < high:
        file.seek((low + high) // 2)
        file.readline(_LONGEST)
        middle = file.tell()
        if middle >= high:  # there is no more than a line or two
            middle = low
        entry, after = entry_at(middle)
        if entry['iteration'] > last:
            high = middle
        else:
            low = after
    return low


def _count_lines(file, start, end, is_whole):
    """How many lines lie between two places of a log; the last one has a comma unless it ends the whole.

    Raises ``ValueError`` where they are not all of the same bytes apart from those of numbers.
    """
    if end == start:
        return 0
    file.seek(start)
    line = file.readline(_LONGEST)
    line = line if line.endswith(b',\n') else line.rstrip(b'\n') + b',\n'
    of_one, found = _counts(line), numpy.zeros(256, dtype=numpy.int64)
    file.seek(start)
    for place in range(start, end, _BLOCK):
        found += _counts(file.read(min(_BLOCK, end - place)))
    found[ord(',')] += is_whole
    n = int(found[ord('\n')])
    of_one[_OF_NUMBERS] = found[_OF_NUMBERS] = 0
    if not numpy.array_equal(found, n * of_one):
        raise ValueError('lines that are no entries')
    return n


def _counts(content):
    """How often each byte occurs: (256,)."""
    return numpy.bincount(numpy.frombuffer(content, dtype=numpy.uint8), minlength=256)


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
    """The curves of a log, an iterable of dicts as Chainer's LogReport writes them; ``None`` where it is empty.

    Of more entries than a picture can show, two stand for several neighbours, with the lowest and the highest value of
    each quantity.  So the curves look as they would with all, and take no more memory the longer the log is.
    """
    columns = {name: array.array('d') for name in (_AXIS, *QUANTITIES)}  # 8 bytes a number
    x, thinned, names, size = columns[_AXIS], None, set(), 4
    for entry in entries:
        if len(x) >= max(_SHOWN, size):
            thinned, size = _fold(thinned, columns, size)
            columns = {name: array.array('d') for name in columns}
            x = columns[_AXIS]
        names.update(entry)
        x.append(number(entry['iteration']))
        for name in QUANTITIES:
            columns[name].append(number(entry.get(name)))
    if thinned is not None:
        whole = len(x) // size * size
        rest = {name: column[whole:] for name, column in columns.items()}
        columns = {name: column[:whole] for name, column in columns.items()}
        columns = _joined(thinned, _thin(columns, size), rest)
    x = columns.pop(_AXIS)
    return Curves('iteration', x, {name: columns[name] for name in QUANTITIES if name in names}) if len(x) else None


def _fold(thinned, columns, size):
    """Add columns to what is thinned, and thin it all once more where it is long; returns the new ``size`` as well."""
    thin = _thin(columns, size)
    thinned = thin if thinned is None else _joined(thinned, thin)
    if len(thinned[_AXIS]) > 3 * _SHOWN // 4:
        thinned, size = _thin(thinned, 4), 2 * size
    return thinned, size


def _joined(*parts):
    return {name: array.array('d', numpy.concatenate([part[name] for part in parts]).tobytes()) for name in parts[0]}


def _thin(columns, size):
    """Of every ``size`` neighbours two: first and last of the axis, lowest and highest of the rest in their order."""
    thin = {}
    for name, column in columns.items():
        groups = numpy.asarray(column).reshape(-1, size)
        if name == _AXIS:
            thin[name] = groups[:, [0, -1]].ravel()
            continue
        is_number = ~numpy.isnan(groups)
        ends = [numpy.where(is_number, groups, numpy.inf).argmin(axis=1),
                numpy.where(is_number, groups, -numpy.inf).argmax(axis=1)]
        thin[name] = numpy.take_along_axis(groups, numpy.sort(numpy.stack(ends, axis=1), axis=1), axis=1).ravel()
    return thin


def number(value):
    """A float of whatever a log holds, NaN where it is no number."""
    if type(value) is float:
        return value
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
