"""A user's own points, from a file of arrays or a table of numbers, and what can't be learned from."""

from __future__ import annotations

import csv
import math
import pathlib

import numpy

from ddgm.data import arrays
from ddgm.support.errors import UsageError, one_line

TABLES = ('.csv', '.tsv')
LEAST, MOST_COLUMNS = 50, 64


def load(path, in_plane: bool = False) -> tuple[numpy.ndarray, str]:
    """The points of a file of numbers, .npy, .npz, .csv or .tsv: (N, d) float64; and what it was taken for.

    ``in_plane`` is that of :func:`ddgm.data.arrays.read`.  Raises ``UsageError`` where it can't be read as points.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise UsageError('{}: there is no such file of points: give another path'.format(path))
    if path.suffix.lower() in TABLES:
        return _table(path), ''
    try:
        points, note = arrays.read(path, in_plane)
    except arrays.NoSamples as error:
        raise UsageError('{}; points have the shape (N, d), and x.reshape(-1, 1) is one column'.format(
            error)) from error
    return as_points(points, path), note


def check(points, name='X') -> numpy.ndarray:
    """Points that a model can learn from, as float64 (N, d); ``name`` is what a message calls them.

    Raises ``UsageError`` where they are no numbers, not all finite, too few, or there is a column that is constant.
    """
    points = as_points(points, name)
    if len(points) < LEAST:
        raise UsageError('{}: {:,} points are too few to learn from: give {} or more'.format(
            name, len(points), LEAST))
    if points.shape[1] > MOST_COLUMNS:
        raise UsageError('{}: {} columns are too many, at most {} fit: give some of them, or projections'.format(
            name, points.shape[1], MOST_COLUMNS))
    constant = (points == points[0]).all(axis=0)
    if constant.all():
        raise UsageError('{}: all {:,} points are one: give others'.format(name, len(points)))
    if constant.any():
        column = constant.argmax()
        raise UsageError('{}: column {}, counted from 0, is {:g} in all points, which has no density: leave it '
                         'out'.format(name, column, points[0, column]))
    return points


def as_points(points, name='X', n_columns=None) -> numpy.ndarray:
    """Any numbers (N, d), all finite, as float64; ``n_columns`` is what d has to be, ``None``: anything.

    Raises ``UsageError`` for anything else; it names the first row that is not finite.
    """
    points = numpy.asarray(points)
    if points.dtype.kind not in 'fiub':
        raise UsageError('{}: points are numbers, these are {}'.format(name, points.dtype))
    if points.ndim != 2 or points.shape[1] < 1 or n_columns not in (None, points.shape[1]):
        raise UsageError('{}: points have the shape (N, {}), these have {}{}'.format(
            name, n_columns or 'd', points.shape, ': x.reshape(-1, 1) is one column' * (points.ndim == 1)))
    points = points.astype(numpy.float64)
    finite = (abs(points) < numpy.finfo(numpy.float32).max).all(axis=1)  # NaN is not
    if not finite.all():
        raise UsageError('{}: row {:,}, counted from 0, is missing a number or not finite, as {:,} of {:,} are: leave '
                         'them out or fill them'.format(name, finite.argmin(), len(points) - finite.sum(), len(points)))
    return points


# ---- tables

def _table(path):
    """The numbers of a table with or without a line of names, between commas, semicolons, tabs or spaces."""
    try:
        with open(path, encoding='utf-8-sig', newline='') as file:
            first = file.readline()
            separator = max(';\t,', key=first.count)
            file.seek(0)
            rows = csv.reader(file, delimiter=separator) if separator in first else map(str.split, file)
            rows = [(i, row) for i, row in enumerate(rows, 1) if any(cell.strip() for cell in row)]
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError('{}: can\'t be read as a table ({}): save it as UTF-8'.format(
            path, one_line(error))) from error
    names = rows[0][1] if rows and all(math.isnan(_number(cell)) for cell in rows[0][1]) else None
    rows = rows[1:] if names else rows
    if not rows:
        raise UsageError('{}: there are no numbers in it'.format(path))
    width = len(names if names and not names[0].startswith('#') else rows[0][1])
    points = numpy.empty((len(rows), width))
    for values, (line, cells) in zip(points, rows):
        if len(cells) != width:
            raise UsageError('{}, line {:,}: {} cells where {} are expected: mend that line'.format(
                path, line, len(cells), width))
        values[:] = [_number(cell) for cell in cells]
        if not numpy.isfinite(values).all():
            column = numpy.isfinite(values).argmin()
            raise UsageError('{}, line {:,}, column {}: {!r} is no number: leave that line or column out, and write '
                             'points in decimals'.format(path, line, column + 1, one_line(cells[column])))
    return points


def _number(cell):
    """A cell's number, NaN where it is none."""
    try:
        return float(cell) if cell.isascii() and '_' not in cell else math.nan
    except ValueError:
        return math.nan
