"""Noise inside a network, in training only, drawn from the generator that ``chainer.config.noise_generator`` names.

Chainer's own ``F.dropout`` and ``F.gaussian`` draw from a global generator, which no iteration can repeat.  Here every
number takes 16 random bits, which is several times faster than drawing 32-bit floats and normals by rejection, and
which are all that is sent to a GPU.
"""

from __future__ import annotations

import chainer
import numpy

from ddgm.fast import sharding
from ddgm.fast.elementary import FirstOrderFunction, Input


class _Gaussian(FirstOrderFunction):

    needs_inputs = False

    def __init__(self, standard_deviation):
        self.standard_deviation = standard_deviation

    def forward_array(self, x):
        return self.kernels.add_noise(x, _draw_bits(self.xp, x), self.standard_deviation)

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
        y, self.mask = self.kernels.dropout(x, _draw_bits(self.xp, x), self.ratio)
        return y

    def backward_arrays(self, indexes, inputs, grad_output):
        return self.kernels.dropout_gradient(self.mask, grad_output),


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
