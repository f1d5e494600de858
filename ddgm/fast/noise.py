"""Noise inside a network, in training only, drawn from the generator that ``chainer.config.noise_generator`` names.

Chainer's own ``F.dropout`` and ``F.gaussian`` draw from a global generator, which no iteration can repeat.  Here every
number takes 16 random bits, which is several times faster than drawing 32-bit floats and normals by rejection.

A GPU draws them where it needs them, by Philox (Salmon et al. 2011).  Its key is the state of the generator, another at
each call of each iteration of each seed.  The generator then passes over what the CPU would have drawn, so that all
that is drawn from it later, such as z, is the same for every device.
"""

from __future__ import annotations

import chainer
import numpy

from ddgm.fast import sharding
from ddgm.fast.elementary import AddsBias, FirstOrderFunction, Input, elu

GREY_LEVELS = 256


class _Gaussian(FirstOrderFunction):

    needs_inputs = False

    def __init__(self, standard_deviation):
        self.standard_deviation = standard_deviation

    def forward_array(self, x):
        return self.kernels.add_noise(x, _draw_bits(self, x), self.standard_deviation)

    def backward_arrays(self, indexes, inputs, grad_output):
        return grad_output,


def add_noise(x: Input, standard_deviation: float) -> Input:
    """x + ε with ε ~ N(0, standard_deviation²) while training, else x.  Raises ``RuntimeError`` without a generator.

    ε takes 65,536 values of equal probability, the largest of them 4.3 standard deviations; its variance is exact.
    """
    if not chainer.config.train:
        return x
    return _Gaussian(standard_deviation)(x)


class _NoisyElu(AddsBias):

    def __init__(self, standard_deviation):
        self.standard_deviation = standard_deviation

    def forward_array(self, x):
        arguments = x, _draw_bits(self, x), self.standard_deviation
        y, self.kept = self.kernels.noisy_elu(*arguments, *(() if self.b is None else (self.b,)))
        return y

    def backward_arrays(self, indexes, inputs, grad_output):
        return self.kernels.elu_gradient(self.kept, grad_output),


def noisy_elu(x: Input, standard_deviation: float) -> Input:
    """``add_noise(elu(x), standard_deviation)``, which a GPU computes at once."""
    return _NoisyElu(standard_deviation)(x) if chainer.config.train else elu(x)


class _Dropout(FirstOrderFunction):

    needs_inputs = False

    def __init__(self, ratio):
        self.ratio = ratio

    def forward_array(self, x):
        y, self.kept = self.kernels.dropout(x, _draw_bits(self, x), self.ratio)
        return y

    def backward_arrays(self, indexes, inputs, grad_output):
        return self.kernels.dropout_gradient(self.kept, grad_output),


def dropout(x: Input, ratio: float = 0.5) -> Input:
    """x with a share ``ratio`` of its numbers set to 0, the others enlarged by 1/(1 − ratio), while training; else x.

    Raises ``RuntimeError`` without a generator.
    """
    if not chainer.config.train:
        return x
    return _Dropout(ratio)(x)


def dequantized(levels: Input, rng: numpy.random.Generator) -> Input:
    """Grey levels 0 to 255 with uniform noise of the width of one, in 0…1: (N, …) to float32 (N, …)."""
    device = chainer.backend.get_device_from_array(getattr(levels, 'array', levels))
    return (levels + device.send(rng.random(levels.shape, dtype=numpy.float32))) / GREY_LEVELS


def _draw_bits(function, x):
    """Sixteen random bits for each number of x, lying as x does: what NumPy mixes of orders is slow.

    On a GPU they are the key, two numbers or an array of them, from which its kernels draw them.
    """
    rng = chainer.config.noise_generator
    if rng is None:
        raise RuntimeError(
            "a network with noise is trained outside \"with chainer.using_config('noise_generator', rng):\"")
    n = sharding.n_numbers(x)
    n_words, recording = (n + 3) // 4, chainer.config.recording
    draw_there = getattr(function.kernels, 'drawn_bits', None)
    if draw_there and not chainer.config.noise_from_host and _kind(rng) == 'PCG64':
        if recording is not None:
            return recording.drawn(rng, lambda rng: numpy.array(_key_of(rng.bit_generator, n_words))),
        key = _key_of(rng.bit_generator, n_words)
        # Ranks have the key in common: each draws the numbers of all, and takes its own.
        return key if chainer.config.shard is None else sharding.in_the_order_of(x, draw_there(function.xp, key, n))

    def draw(rng):
        return rng.integers(2 ** 64, size=n_words, dtype=numpy.uint64).view(numpy.uint16)[:n]
    bits = function.xp.asarray(draw(rng)) if recording is None else recording.drawn(rng, draw)
    return sharding.in_the_order_of(x, bits)


def _kind(rng):
    """The name of a generator's bit generator, ``None`` of what is no generator of NumPy's."""
    return rng.bit_generator.state['bit_generator'] if isinstance(rng, numpy.random.Generator) else None


def _key_of(bit_generator, n_words):
    """The state of a generator as two numbers of 64 bits; it passes over as many words of 64 bits."""
    before = bit_generator.state
    bit_generator.advance(n_words)
    # Of the half of a word that may be left for the next number of 32 bits, ``advance`` knows nothing.
    bit_generator.state = {**before, 'state': bit_generator.state['state']}
    state = before['state']['state']
    return numpy.uint64(state >> 64), numpy.uint64(state & (2 ** 64 - 1))
