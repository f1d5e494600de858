"""What Chainer's checks of gradients draw from: a generator of its own."""

import numpy

import cupy

_state = numpy.random.RandomState()


def seed(seed=None):
    _state.seed(seed)


def normal(loc=0.0, scale=1.0, size=None, dtype=float):
    return cupy.array(_state.normal(loc, scale, size), dtype)


def uniform(low=0.0, high=1.0, size=None, dtype=float):
    return cupy.array(_state.uniform(low, high, size), dtype)


def randn(*size, dtype=float):
    return normal(size=size, dtype=dtype)


def rand(*size, dtype=float):
    return uniform(size=size, dtype=dtype)
