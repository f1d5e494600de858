"""Chainer links that the paper's networks need and Chainer lacks."""

import chainer
import chainer.functions as F

from ddgm import functions


class WeightNormalizedLinear(chainer.Link):
    """y = xWᵀ + b with W = g·V/‖V‖, started from data (Salimans & Kingma 2016).

    The first batch that passes sets ``g`` and ``b`` so that each output has mean 0 and variance 1 on it; ``V`` stays
    as drawn.  Until then ``g`` and ``b`` are uninitialized parameters.

    Args:
        in_size (int), out_size (int): Numbers of units.
        initial_weight: Chainer initializer of ``V``.
    """

    def __init__(self, in_size, out_size, initial_weight):
        super().__init__()
        with self.init_scope():
            self.V = chainer.Parameter(initial_weight, (out_size, in_size))
            self.g = chainer.Parameter()
            self.b = chainer.Parameter()

    def forward(self, x):
        """(N, in) to (N, out).  Raises ``ValueError`` where the first batch leaves an output constant."""
        if not self.g.is_initialized:
            self._start_from(x)
        return F.linear(x, functions.weight_normalization(self.V, self.g), self.b)

    def _start_from(self, x):
        V = self.V.array
        ones = self.xp.ones(len(V), dtype=V.dtype)
        with chainer.no_backprop_mode():
            outputs = F.linear(x, functions.weight_normalization(V, ones)).array
        standard_deviation = outputs.std(axis=0)
        if not (standard_deviation > 0).all():
            raise ValueError(
                'weight normalization: the first batch, of shape {}, has to vary in every unit'.format(x.shape))
        for parameter, start in (
                (self.g, 1 / standard_deviation), (self.b, -outputs.mean(axis=0) / standard_deviation)):
            parameter.initialize(start.shape)
            parameter.array[...] = start
