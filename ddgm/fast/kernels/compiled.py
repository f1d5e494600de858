"""The kernels of :mod:`ddgm.fast.kernels` for float32 in NumPy arrays, compiled by numba; what it lacks is NumPy's."""

import numpy

from ddgm.fast.kernels import loops, on_cpu
from ddgm.fast.kernels.blocks import Block, NotKnown  # noqa: F401


def __getattr__(name):
    return getattr(on_cpu, name)


def adam(parameters, gradient, factor, step_size, beta1, beta2, eps, m, v):
    numbers = map(numpy.float32, (factor, step_size, beta1, 1 - beta1, beta2, 1 - beta2, eps))
    loops.adam(parameters, gradient, *numbers, m, v)


def running_statistics(means, variances, unbiased, decay, running_mean, running_variance):
    loops.running_statistics(means, variances, unbiased, decay, running_mean, running_variance)
