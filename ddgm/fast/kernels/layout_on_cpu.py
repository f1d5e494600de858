"""How images (N, C, H, W) lie in memory: one after the other as data does, or as (C, H, W, N) out of a convolution.

The second lets every copy of a convolution move whole runs of N numbers.
"""

from __future__ import annotations

import math

import numpy

from ddgm.fast.threads import for_each

_STEP = 512  # numbers of each image that are copied at a time
_LONGEST, _SHORTEST = 1024, 64  # products of as many numbers are faster than sums


def channels_first(x: numpy.ndarray) -> numpy.ndarray:
    """(N, C, H, W) as a contiguous (C, H, W, N): without a copy for what a product returned.

    Images that lie one after the other are copied by way of a few rows of numbers that lie side by side.  Read one
    below the other, as many of them share a place in the processor's cache as images have a power of two for a size.
    """
    turned = x.transpose(1, 2, 3, 0)
    if turned.flags.c_contiguous or not x.flags.c_contiguous:
        return numpy.ascontiguousarray(turned)
    n, m, step = len(x), x[0].size, _STEP
    result, rows = numpy.empty(turned.shape, dtype=x.dtype), x.reshape(n, m)
    columns = result.reshape(m, n)

    def copy(first):
        some = numpy.empty((n, step + 16), dtype=x.dtype)[:, :min(step, m - first)]
        some[...] = rows[:, first:first + step]
        columns[first:first + step] = some.T
    for_each(copy, range(0, m, step))
    return result


def sums_of_channels(x: numpy.ndarray, y: numpy.ndarray | None = None) -> numpy.ndarray:
    """Of x, or of x·y, over everything but the channels: (N, C, H, W) to (C,).

    As products with up to 1,024 numbers each, whose sums are added up in pairs: no product of both arrays is stored,
    and rounding does not add up as it would in one product.
    """
    x, n_channels = channels_first(x), x.shape[1]
    n = math.gcd(x[0].size, _LONGEST)
    if n < _SHORTEST:
        return (x if y is None else x * channels_first(y)).sum(axis=(1, 2, 3))
    x = x.reshape(-1, 1, n)
    y = numpy.ones((n, 1), dtype=x.dtype) if y is None else channels_first(y).reshape(-1, n, 1)
    return numpy.matmul(x, y).reshape(n_channels, -1).sum(axis=1)


def joined(x: numpy.ndarray, others: numpy.ndarray) -> numpy.ndarray:
    """Two batches one after the other, an array; of images one that lies as convolutions take it."""
    if x.ndim != 4:
        return numpy.concatenate([x, others])
    return numpy.concatenate([channels_first(x), channels_first(others)], axis=3).transpose(3, 0, 1, 2)


def from_levels(x: numpy.ndarray) -> numpy.ndarray:
    """Levels of 0…255, uint8, as float32 in 0…1."""
    return x.astype(numpy.float32) / 255
