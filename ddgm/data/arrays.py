"""Samples as arrays of numbers, in .npy and .npz files that any program wrote."""

from __future__ import annotations

import pathlib

import numpy

from ddgm.support.errors import UsageError, one_line, some
from ddgm.support.files import read_arrays

SAVE = 'save numbers, as numpy.save(\'samples.npy\', x) does'


class NoSamples(UsageError):
    """A sound file that holds something else, as labels or a plot."""


def read(path: pathlib.Path, in_plane: bool) -> tuple[numpy.ndarray, str]:
    """The samples of a file, (N, …) numbers that are all finite, and what it was taken for, ``''`` where that is clear.

    ``in_plane`` says that they are points (N, 2).  Raises ``NoSamples`` for a sound file of anything else,
    ``UsageError`` for a damaged one.
    """
    try:
        arrays = read_arrays(path)
    except ValueError as error:
        raise UsageError('{}: can\'t be read as samples ({}): leave it out, or {}'.format(path, error, SAVE)) from error
    name = _chosen(path, arrays, in_plane)
    x = arrays[name]
    if not _can_be_samples(x):
        raise NoSamples('{}: samples are numbers of the shape (N, …), these are {} of the shape {}'.format(
            path, x.dtype, x.shape))
    finite = (abs(x.reshape(len(x), -1)) <= numpy.finfo(numpy.float32).max).all(axis=1)  # NaN is not
    if not finite.all():
        raise UsageError('{}: {:,} of {:,} samples are not finite, the first is row {:,}, counted from 0: leave it '
                         'out or give another path'.format(path, len(x) - finite.sum(), len(x), finite.argmin()))
    return x, '' if name == 'x' or len(arrays) == 1 else 'its array {} is taken for the samples, not {}'.format(
        one_line(name), some(other for other in arrays if other != name))


def _can_be_samples(x):
    return x.ndim >= 2 and x.size and x.dtype.kind in 'fiub'


def _chosen(path, arrays, in_plane):
    """The name of that of a file's arrays which holds the samples."""
    fit = [name for name, x in arrays.items() if _can_be_samples(x)]
    points = [name for name in fit if in_plane and arrays[name].ndim == 2 and arrays[name].shape[1] == 2]
    for names in ({'x'} & arrays.keys(), arrays, {'samples'} & {*fit}, fit, points):
        if len(names) == 1:
            return next(iter(names))
    raise NoSamples('{}: the samples have to be its array x, or samples, and it has {}'.format(path, some(
        '{} ({} of the shape {})'.format(name, x.dtype, x.shape) for name, x in arrays.items()) or 'none at all'))
