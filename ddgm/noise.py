"""Noise inside a network, in training only, drawn from the generator that the surrounding ``source`` names.

Chainer's own ``F.dropout`` and ``F.gaussian`` draw from a global generator, which no iteration can repeat.
"""

import chainer
import chainer.functions as F
import numpy


def source(rng):
    """A context in which networks draw their noise from ``rng``, a NumPy generator, whatever their device."""
    return chainer.using_config('noise_generator', rng)


def gaussian(x, standard_deviation):
    """x + ε with ε ~ N(0, standard_deviation²) while training, else x.  Raises ``RuntimeError`` without a source."""
    if not chainer.config.train:
        return x
    return x + _draw(x, lambda rng, shape: rng.standard_normal(shape, dtype=numpy.float32) * standard_deviation)


def dropout(x, ratio):
    """x with a share ``ratio`` of its numbers set to 0, the others enlarged by 1/(1 − ratio), while training; else x.

    Raises ``RuntimeError`` without a source.
    """
    if not chainer.config.train:
        return x
    mask = _draw(x, lambda rng, shape: (rng.random(shape, dtype=numpy.float32) >= ratio) * (1 / (1 - ratio)))
    return F.dropout(x, mask=mask)


def _draw(x, draw):
    rng = getattr(chainer.config, 'noise_generator', None)
    if rng is None:
        raise RuntimeError('a network with noise is trained outside "with noise.source(rng):"')
    # In the order in which x lies in memory: what NumPy computes from arrays of different orders is slow.
    order = sorted(range(x.ndim), key=lambda axis: -x.array.strides[axis])
    drawn = draw(rng, tuple(x.shape[axis] for axis in order)).transpose(numpy.argsort(order))
    return x.device.send(drawn.astype(x.dtype, copy=False))
