"""The little of it that Chainer calls."""

from cupy import _outside, _taken


def rsqrt(x, dtype=None):
    return _outside((1 / _taken(x) ** 0.5).astype(dtype or x.dtype))
