"""Noise inside a network, in training only, drawn from the generator that ``chainer.config.noise_generator`` names.

Chainer's own ``F.dropout`` and ``F.gaussian`` draw from a global generator, which no iteration can repeat.  Here every
number takes 16 random bits, which is several times faster than drawing 32-bit floats and normals by rejection, and
which are all that is sent to a GPU.
"""

from __future__ import annotations

import functools
import statistics

import chainer
import numpy
from chainer import backend

from ddgm.fast import kernels, sharding
from ddgm.fast.elementary import FirstOrderFunction, Input
from ddgm.fast.threads import in_parts

_LEVELS = 2 ** 16


class _Gaussian(FirstOrderFunction):

    needs_inputs = False

    def __init__(self, standard_deviation):
        self.standard_deviation = standard_deviation

    def forward_array(self, x):
        bits = _draw_bits(self.xp, x)
        quantiles = _quantiles(backend.get_device_from_array(x), x.dtype, self.standard_deviation)
        if self.xp is not numpy:
            return kernels.gaussian(x, bits, quantiles)
        y = numpy.empty_like(x)
        in_parts(lambda x, bits, y: numpy.add(x, quantiles.take(bits), out=y), x, bits, y)
        return y

    def backward_arrays(self, indexes, inputs, grad_output):
        return grad_output,


def add_noise(x: Input, standard_deviation: float) -> Input:
    """x + ε with ε ~ N(0, standard_deviation²) while training, else x.  Raises ``RuntimeError`` without a generator.

    ε takes 65,536 values of equal probability, the largest of them 4.3 standard deviations; its variance is exact.
    """
    if not chainer.config.train:
        return x
    return _Gaussian(standard_deviation)(x)


class _Dropout(FirstOrderFunction):

    needs_inputs = False

    def __init__(self, ratio):
        self.ratio = ratio

    def forward_array(self, x):
        bits = _draw_bits(self.xp, x)
        if self.xp is not numpy:
            y, self.mask = kernels.dropout(x, bits, self.ratio * _LEVELS, 1 / (1 - self.ratio))
            return y
        y, self.mask = numpy.empty_like(x), numpy.empty_like(x)
        in_parts(self._compute, x, bits, self.mask, y)
        return y

    def _compute(self, x, bits, mask, y):
        numpy.multiply(bits >= self.ratio * _LEVELS, x.dtype.type(1 / (1 - self.ratio)), out=mask)
        numpy.multiply(x, mask, out=y)

    def backward_arrays(self, indexes, inputs, grad_output):
        if self.xp is not numpy:
            return kernels.product(self.mask, grad_output),
        grad_x = numpy.empty_like(self.mask)
        in_parts(numpy.multiply, grad_output, self.mask, grad_x)
        return grad_x,


def dropout(x: Input, ratio: float = 0.5) -> Input:
    """x with a share ``ratio`` of its numbers set to 0, the others enlarged by 1/(1 − ratio), while training; else x.

    Raises ``RuntimeError`` without a generator.
    """
    if not chainer.config.train:
        return x
    return _Dropout(ratio)(x)


def _draw_bits(xp, x):
    """Sixteen random bits for each number of x, lying as x does: what NumPy mixes of orders is slow."""
    rng = chainer.config.noise_generator
    if rng is None:
        raise RuntimeError(
            "a network with noise is trained outside \"with chainer.using_config('noise_generator', rng):\"")
    n = sharding.n_numbers(x)
    bits = rng.integers(2 ** 64, size=(n + 3) // 4, dtype=numpy.uint64).view(numpy.uint16)[:n]
    return sharding.in_the_order_of(x, xp.asarray(bits))


@functools.lru_cache(maxsize=8)
def _quantiles(device, dtype, standard_deviation):
    """The normal distribution's values at 65,536 equal steps of probability."""
    normal = statistics.NormalDist()
    half = numpy.array([normal.inv_cdf((i + 0.5) / _LEVELS) for i in range(_LEVELS // 2)])
    table = numpy.concatenate([half, -half[::-1]])
    return device.send((standard_deviation / numpy.sqrt((table * table).mean()) * table).astype(dtype))
