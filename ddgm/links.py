"""Chainer links that the paper's networks need and Chainer lacks."""

import chainer
import chainer.functions as F
import chainer.links as L
import numpy

from ddgm import functions, kernels, layers
from ddgm.convolution import convolution, deconvolution


def joined_batches(n):
    """A context in which what passes is n batches of one size, one after the other.

    What couples the samples of a batch, BatchNormalization and minibatch discrimination, keeps them apart.
    """
    return chainer.using_config('joined_batches', n)


def _n_batches():
    return getattr(chainer.config, 'joined_batches', 1)


class Linear(L.Linear):
    """Chainer's Linear, computed by :mod:`ddgm.layers`."""

    def forward(self, x):
        return layers.linear(x, self.W, self.b)


class BatchNormalization(L.BatchNormalization):
    """Chainer's BatchNormalization with the eps and decay of the 2016 code, computed by :mod:`ddgm.layers`.

    (N, size) to (N, size), or (N, size, H, W) to the same.
    """

    eps_2016, decay_2016 = 2e-5, 0.9

    def __init__(self, size, **options):
        super().__init__(size, eps=self.eps_2016, decay=self.decay_2016, **options)

    def forward(self, x):
        if not chainer.config.train:
            return super().forward(x)
        batches = _n_batches()
        if self.gamma is None or self.beta is None or x.ndim not in (2, 4):  # Chainer's own knows of more kinds
            return F.concat(list(map(super().forward, F.split_axis(x, batches, axis=0))), axis=0)
        y, means, variances = layers.batch_normalization(x, self.gamma, self.beta, self.eps, batches)
        n = x.size // self.gamma.size // batches
        unbiased = n / max(n - 1, 1)
        for mean, variance in zip(means, variances):
            if self.xp is not numpy:
                kernels.running_statistics(mean, variance, unbiased, self.decay, self.avg_mean, self.avg_var)
                continue
            for running, present in ((self.avg_mean, mean), (self.avg_var, variance * unbiased)):
                running *= self.decay
                running += (1 - self.decay) * present
        return y


class Convolution2D(L.Convolution2D):
    """Chainer's Convolution2D, computed by :mod:`ddgm.convolution`."""

    def forward(self, x):
        return convolution(x, self.W, self.b, self.stride[0], self.pad[0])


class Deconvolution2D(L.Deconvolution2D):
    """Chainer's Deconvolution2D, computed by :mod:`ddgm.convolution`."""

    def forward(self, x):
        size = None if None in self.outsize else self.outsize
        return deconvolution(x, self.W, self.b, self.stride[0], self.pad[0], size)


class WeightNormalized(chainer.Link):
    """y = layer(x, W) + b with W = g·V/‖V‖, one norm an output unit, started from data (Salimans & Kingma 2016).

    The first batch that passes sets ``g`` and ``b`` so that each output unit has mean 0 and variance 1 on it; ``V``
    stays as drawn.  Until then ``g`` and ``b`` are uninitialized parameters.
    """

    def __init__(self, shape, initial_weight):
        super().__init__()
        with self.init_scope():
            self.V = chainer.Parameter(initial_weight, shape)
            self.g = chainer.Parameter()
            self.b = chainer.Parameter()

    def weight(self, g):
        """W = g·V/‖V‖."""
        return functions.weight_normalization(self.V, g)

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
        return layers.linear(x, W, b)


class WeightNormalizedConvolution2D(WeightNormalized):
    """A convolution under weight normalization: (N, in_channels, H, W) to (N, out_channels, H', W').

    The norm is that of the weights that lead to one output channel.
    """

    def __init__(self, in_channels, out_channels, ksize, stride, pad, initial_weight):
        super().__init__((out_channels, in_channels, ksize, ksize), initial_weight)
        self.n_out, self.stride, self.pad = out_channels, stride, pad

    def apply(self, x, W, b):
        return convolution(x, W, b, self.stride, self.pad)


class WeightNormalizedDeconvolution2D(WeightNormalized):
    """A transposed convolution under weight normalization: (N, in_channels, H, W) to (N, out_channels, H', W').

    V is (in_channels, out_channels, ksize, ksize), as in Chainer; the norm is that of the weights that lead to one
    output channel.
    """

    def __init__(self, in_channels, out_channels, ksize, stride, pad, initial_weight):
        super().__init__((in_channels, out_channels, ksize, ksize), initial_weight)
        self.n_out, self.stride, self.pad = out_channels, stride, pad

    def weight(self, g):
        return F.swapaxes(functions.weight_normalization(F.swapaxes(self.V, 0, 1), g), 0, 1)

    def apply(self, x, W, b):
        return deconvolution(x, W, b, self.stride, self.pad)


class MinibatchDiscrimination(chainer.Chain):
    """Appends to each sample's features how much it is like the other samples of its batch (Salimans et al. 2016).

    (N, in_size) to (N, in_size + n_kernels).  A sample's result depends on its batch.
    """

    def __init__(self, in_size, n_kernels, n_dimensions, initial_weight):
        super().__init__()
        self.shape = n_kernels, n_dimensions
        with self.init_scope():
            self.T = Linear(in_size, n_kernels * n_dimensions, initialW=initial_weight)

    def forward(self, x):
        M = F.reshape(self.T(x), (len(x), *self.shape))
        return F.concat((x, functions.minibatch_similarity(M, _n_batches())))
