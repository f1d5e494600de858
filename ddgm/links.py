"""Chainer links that the paper's networks need and Chainer lacks."""

import chainer
import numpy

from ddgm.equations import minibatch_similarity, weight_normalization
from ddgm.fast import functions as F, links as L, sharding


class WeightNormalized(chainer.Link):
    """y = layer(x, W) + b with W = g·V/‖V‖, one norm an output unit, started from data (Salimans & Kingma 2016).

    The first batch that passes sets ``g`` and ``b`` so that each output unit has mean 0 and variance 1 on it; ``V``
    stays as drawn.  Until then ``g`` and ``b`` are uninitialized parameters.
    """

    def __init__(self, shape, initial_weight):
        super().__init__()
        with self.init_scope():
            self.V = chainer.Parameter(initial_weight, shape)
            self.g = chainer.Parameter(chainer.initializers.NaN(self.V.dtype))
            self.b = chainer.Parameter(chainer.initializers.NaN(self.V.dtype))

    def weight(self, g):
        """W = g·V/‖V‖."""
        return weight_normalization(self.V, g)

    def forward(self, x):
        """y.  Raises ``ValueError`` where the first batch leaves an output unit constant."""
        if not self.g.is_initialized:
            self._start_from(x)
        return self.apply(x, self.weight(self.g), self.b)

    def _start_from(self, x):
        with chainer.no_backprop_mode():
            ones = self.xp.ones(self.n_out, dtype=self.V.dtype)
            outputs = self.apply(x, self.weight(ones), None).array
        all_but_units = (0,) + tuple(range(2, outputs.ndim))
        spread = outputs.max(axis=all_but_units) - outputs.min(axis=all_but_units)
        # Rounding may spread a constant, and its standard deviation is hardly ever exactly 0.
        rounding = 100 * numpy.finfo(outputs.dtype).eps * abs(outputs).max(axis=all_but_units)
        if not (spread > rounding).all():
            raise ValueError(
                'weight normalization: the first batch, of shape {}, has to vary in every unit'.format(x.shape))
        standard_deviation = outputs.std(axis=all_but_units)
        for parameter, start in (
                (self.g, 1 / standard_deviation), (self.b, -outputs.mean(axis=all_but_units) / standard_deviation)):
            parameter.initialize(start.shape)
            parameter.array[...] = start


class WeightNormalizedLinear(WeightNormalized):
    """A linear layer under weight normalization: (N, in_size) to (N, out_size).  ``initial_weight`` is for V."""

    def __init__(self, in_size, out_size, initial_weight):
        super().__init__((out_size, in_size), initial_weight)
        self.n_out = out_size

    def apply(self, x, W, b):
        return F.linear(x, W, b)


class WeightNormalizedConvolution2D(WeightNormalized):
    """A convolution under weight normalization: (N, in_channels, H, W) to (N, out_channels, H', W').

    The norm is that of the weights that lead to one output channel.
    """

    def __init__(self, in_channels, out_channels, ksize, stride, pad, initial_weight):
        super().__init__((out_channels, in_channels, ksize, ksize), initial_weight)
        self.n_out, self.stride, self.pad = out_channels, stride, pad

    def apply(self, x, W, b):
        return F.convolution_2d(x, W, b, self.stride, self.pad)


class WeightNormalizedDeconvolution2D(WeightNormalized):
    """A transposed convolution under weight normalization: (N, in_channels, H, W) to (N, out_channels, H', W').

    V is (in_channels, out_channels, ksize, ksize), as in Chainer; the norm is that of the weights that lead to one
    output channel.
    """

    def __init__(self, in_channels, out_channels, ksize, stride, pad, initial_weight):
        super().__init__((in_channels, out_channels, ksize, ksize), initial_weight)
        self.n_out, self.stride, self.pad = out_channels, stride, pad

    def weight(self, g):
        return F.swapaxes(weight_normalization(F.swapaxes(self.V, 0, 1), g), 0, 1)

    def apply(self, x, W, b):
        return F.deconvolution_2d(x, W, b, self.stride, self.pad)


class MinibatchDiscrimination(chainer.Chain):
    """Appends to each sample's features how much it is like the other samples of its batch (Salimans et al. 2016).

    (N, in_size) to (N, in_size + n_kernels).  A sample's result depends on its batch.
    """

    def __init__(self, in_size, n_kernels, n_dimensions, initial_weight):
        super().__init__()
        self.shape = n_kernels, n_dimensions
        with self.init_scope():
            self.T = L.Linear(in_size, n_kernels * n_dimensions, initialW=initial_weight)

    def forward(self, x):
        M = F.reshape(self.T(x), (len(x), *self.shape))
        similarity = minibatch_similarity(sharding.all_gather(M), chainer.config.n_splits)
        return F.concat((x, sharding.shard_of(similarity)))
