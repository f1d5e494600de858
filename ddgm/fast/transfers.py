"""Several arrays as one, so that they are sent to a GPU at once."""

from __future__ import annotations

import itertools
import math

import numpy

_ALIGNED = 256  # bytes, to which arrays on a GPU are aligned


def packed(arrays: list[numpy.ndarray]) -> numpy.ndarray:
    """All of NumPy's arrays one after the other, as bytes."""
    kinds = kinds_of(arrays)
    places = _places(kinds)
    whole = numpy.empty(n_bytes(kinds), dtype=numpy.uint8)
    for place, x in zip(places, arrays):
        whole[place] = numpy.ascontiguousarray(x).reshape(-1).view(numpy.uint8)
    return whole


def unpacked(whole: numpy.ndarray, kinds: list[tuple]) -> list[numpy.ndarray]:
    """Views of the arrays of these kinds in an array of bytes, on whatever device."""
    return [whole[place].view(dtype).reshape(shape) for place, (shape, dtype) in zip(_places(kinds), kinds)]


def kinds_of(arrays: list[numpy.ndarray]) -> list[tuple]:
    """The shape and the type of each."""
    return [(x.shape, x.dtype) for x in arrays]


def n_bytes(kinds: list[tuple]) -> int:
    """How many all of these kinds take."""
    return sum(map(_room, kinds))


def _room(kind):
    return -(-_size(kind) // _ALIGNED) * _ALIGNED


def _size(kind):
    shape, dtype = kind
    return math.prod(shape) * dtype.itemsize


def _places(kinds):
    starts = [0, *itertools.accumulate(map(_room, kinds))]
    return [slice(start, start + _size(kind)) for start, kind in zip(starts, kinds)]
