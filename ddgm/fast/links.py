"""Chainer's links, computed by the functions of this folder; the rest is Chainer's own.

Named and called as :mod:`chainer.links` has them, so ``from ddgm.fast import links as L`` takes the place of
``import chainer.links as L``.  What these don't know of, a dilated convolution for instance, Chainer computes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import chainer
import chainer.functions
import chainer.links
import numpy

from ddgm.fast import functions as F, kernels, sharding
from ddgm.fast.elementary import FirstOrderFunction, Input, sum_of_rows
from ddgm.fast.layout import sums_of_channels
from ddgm.fast.threads import for_each

_PART = 2 ** 19  # numbers of 4 bytes of a batch that is normalized: they stay in the processor's cache


def __getattr__(name):
    return getattr(chainer.links, name)


class Linear(chainer.links.Linear):
    """(N, …) with ``in_size`` numbers a sample to (N, out_size)."""

    def forward(self, x, n_batch_axes=1):
        if not self.W.is_initialized or n_batch_axes != 1:
            return super().forward(x, n_batch_axes)
        return F.linear(x, self.W, self.b)


class BatchNormalization(chainer.links.BatchNormalization):
    """(N, size) to (N, size), or (N, size, H, W) to the same; eps and decay are those of the 2016 code, too."""

    def forward(self, x, **options):
        if not chainer.config.train or options or getattr(x, 'layout', None) is not None:
            return super().forward(x, **options)
        n_splits, is_sharded = chainer.config.n_splits, chainer.config.shard is not None
        if self.gamma is None or self.beta is None or not self.gamma.is_initialized or x.ndim not in (2, 4) \
                or self.axis is not None or x.shape[1:2] != self.gamma.shape:
            if is_sharded:
                raise ValueError('several processes need a BatchNormalization with γ and β over all axes but the units')
            parts = chainer.functions.split_axis(x, n_splits, axis=0)
            return chainer.functions.concat(list(map(super().forward, parts)), axis=0)
        n = (sharding.n_numbers(x) if is_sharded else x.size) // self.gamma.size // n_splits
        observe = functools.partial(self._keep_statistics, n / max(n - 1, 1))
        return batch_normalization(x, self.gamma, self.beta, self.eps, n_splits, observe)

    def _keep_statistics(self, unbiased, means, variances):
        """Add a batch's, or those of each of several, to the running ones."""
        for mean, variance in zip(means, variances):
            if self.xp is not numpy:
                kernels.running_statistics(mean, variance, unbiased, self.decay, self.avg_mean, self.avg_var)
                continue
            for running, present in ((self.avg_mean, mean), (self.avg_var, variance * unbiased)):
                running *= self.decay
                running += (1 - self.decay) * present


class Convolution2D(chainer.links.Convolution2D):
    """(N, in_channels, H, W) to (N, out_channels, H', W')."""

    def forward(self, x):
        if not self.W.is_initialized:
            return super().forward(x)
        return F.convolution_2d(x, self.W, self.b, self.stride, self.pad, dilate=self.dilate, groups=self.groups)


class Deconvolution2D(chainer.links.Deconvolution2D):
    """(N, in_channels, H, W) to (N, out_channels, H', W')."""

    def forward(self, x):
        if not self.W.is_initialized:
            return super().forward(x)
        return F.deconvolution_2d(
            x, self.W, self.b, self.stride, self.pad, None if None in self.outsize else self.outsize,
            dilate=self.dilate, groups=self.groups)


# ---- batch normalization

class _OnCPU:
    """The steps for a part of a batch, NumPy arrays (N, units, …) and (units,)."""

    @classmethod
    def moments(cls, x, n_units):
        """Mean and variance of each unit, and x less the mean."""
        n = float(x.size // n_units)  # NumPy 1 makes float64 of float32 by a large integer
        mean = cls._sum(x) / n
        centred = x - cls._spread(mean, x)
        return mean, cls._sum_of_products(centred, centred) / n, centred

    @classmethod
    def normalize(cls, x, centred, mean, variance, gamma, beta, eps):
        """y, in the place of ``centred``, and what the gradients want of it."""
        inverse_deviation = 1 / numpy.sqrt(variance + eps)
        centred *= cls._spread(gamma * inverse_deviation, x)
        centred += cls._spread(beta, x)
        return centred, (x, mean, inverse_deviation)

    @classmethod
    def unit_gradients(cls, grad_output, x, mean, inverse_deviation):
        """Gradients of γ and β, and x less the mean."""
        centred = x - cls._spread(mean, x)
        return cls._sum_of_products(grad_output, centred) * inverse_deviation, cls._sum(grad_output), centred

    @classmethod
    def input_gradient(cls, grad_output, centred, gamma, grad_gamma, grad_beta, n, eps, x, mean, inverse_deviation):
        """The gradient of x, in the place of ``centred``: less what mean and deviation of n numbers would follow."""
        grad_x = centred
        grad_x *= cls._spread(grad_gamma * inverse_deviation / -n, x)
        grad_x += grad_output
        grad_x -= cls._spread(grad_beta / n, x)
        grad_x *= cls._spread(gamma * inverse_deviation, x)
        return grad_x

    @classmethod
    def centred(cls, x, mean):
        return x - cls._spread(mean, x)

    @staticmethod
    def _sum(x):
        """For each unit, over everything else."""
        return sum_of_rows(x) if x.ndim == 2 else sums_of_channels(x)

    @staticmethod
    def _sum_of_products(x, y):
        if x.ndim == 2:
            return numpy.einsum('ij,ij->j', x, y)
        return sums_of_channels(x, y)

    @staticmethod
    def _spread(values, x):
        """A number for each unit as an array beside x."""
        return values if x.ndim == 2 else values[:, None, None]


class _OnGPU:
    """The same for a batch on a GPU."""

    @classmethod
    def moments(cls, x, n_units):
        mean = x.mean(axis=cls._axes(x), keepdims=True)
        variance = kernels.squared_deviation(x, mean).mean(axis=cls._axes(x))
        return mean.reshape(n_units), variance, None

    @classmethod
    def normalize(cls, x, centred, mean, variance, gamma, beta, eps):
        mean, variance, gamma, beta = (cls._spread(values, x) for values in (mean, variance, gamma, beta))
        y, normalized = kernels.batch_normalization(x, mean, variance, gamma, beta, eps)
        return y, (normalized, variance)

    @classmethod
    def unit_gradients(cls, grad_output, normalized, variance):
        axes = cls._axes(grad_output)
        return kernels.product(normalized, grad_output).sum(axis=axes), grad_output.sum(axis=axes), None

    @classmethod
    def input_gradient(cls, grad_output, centred, gamma, grad_gamma, grad_beta, n, eps, normalized, variance):
        units = [values.reshape(variance.shape) for values in (gamma, grad_gamma, grad_beta)]
        return kernels.batch_normalization_gradient(normalized, grad_output, variance, *units, 1 / n, eps)

    @classmethod
    def centred(cls, x, mean):
        return None

    @staticmethod
    def _axes(x):
        return (0, 2, 3)[:x.ndim - 1]

    @staticmethod
    def _spread(values, x):
        return values.reshape((1, -1, 1, 1)[:x.ndim])


class _BatchNormalization(FirstOrderFunction):

    needs_inputs = False

    def __init__(self, eps, n_splits, observe):
        self.eps = eps
        self.n_splits = n_splits
        self.observe = observe

    def forward_array(self, x, gamma, beta):
        self.gamma, self.parts = gamma, self._parts_of(x)
        self.steps = steps = _OnCPU if self.xp is numpy else _OnGPU
        self.n, self.is_sharded = float(x.size // gamma.size // self.n_splits), chainer.config.shard is not None
        shared = self._moments_over_ranks(x) if self.is_sharded else None

        def normalize(i):
            rows, units = self.parts[i]
            part = self._part(x, rows, units)
            if shared is None:
                mean, variance, centred = steps.moments(part, len(gamma[units]))
            else:
                mean, variance = shared[i]
                centred = steps.centred(part, mean)
            y, kept = steps.normalize(part, centred, mean, variance, gamma[units], beta[units], self.eps)
            return y, mean, variance, kept
        y, means, variances, self.kept = self._for_each_part(normalize, x)
        if self.observe is not None:
            self.observe(self._of_batches(means), self._of_batches(variances))
        return y

    def backward_arrays(self, indexes, inputs, grad_output):
        steps, shared = self.steps, self._gradients_over_ranks(grad_output) if self.is_sharded else None

        def differentiate(i):
            rows, units = self.parts[i]
            part = self._part(grad_output, rows, units)
            if shared is None:
                grad_gamma, grad_beta, centred = steps.unit_gradients(part, *self.kept[i])
                over_all = grad_gamma, grad_beta
            else:
                (grad_gamma, grad_beta), over_all = shared[i]
                centred = steps.centred(*self.kept[i][:2])
            grad_x = steps.input_gradient(part, centred, self.gamma[units], *over_all, self.n, self.eps, *self.kept[i])
            return grad_x, grad_gamma, grad_beta
        grad_x, grad_gammas, grad_betas = self._for_each_part(differentiate, grad_output)
        gradients = grad_x, self._of_batches(grad_gammas).sum(axis=0), self._of_batches(grad_betas).sum(axis=0)
        return [gradients[i] for i in indexes]

    def _moments_over_ranks(self, x):
        """Mean and variance of each part's units over the rows of all ranks."""
        def moments_here(i):
            rows, units = self.parts[i]
            mean, variance, _ = self.steps.moments(self._part(x, rows, units), len(self.gamma[units]))
            mean = mean.astype(numpy.float64)  # squares of a mean leave no digits of a small variance in float32
            return mean, variance + mean * mean
        share = chainer.config.shard.share
        self.n /= share
        totals = self._all_reduce([(share * mean, share * square) for mean, square in self._each(moments_here)])
        return [
            (mean.astype(x.dtype), self.xp.maximum(square - mean * mean, 0).astype(x.dtype)) for mean, square in totals]

    def _gradients_over_ranks(self, grad_output):
        """Gradients of γ and β of each part, a pair: from the rows here, and from those of all ranks."""
        def gradients_here(i):
            rows, units = self.parts[i]
            return self.steps.unit_gradients(self._part(grad_output, rows, units), *self.kept[i])[:2]
        here = self._each(gradients_here)
        return list(zip(here, self._all_reduce(here)))

    def _all_reduce(self, pairs):
        """The sums over all ranks of a pair of arrays for each part, in one reduction."""
        joined = sharding.all_reduce(self.xp.concatenate([values for pair in pairs for values in pair]))
        ends = numpy.cumsum([len(values) for pair in pairs for values in pair])[:-1].tolist()
        totals = self.xp.split(joined, ends)
        return list(zip(totals[::2], totals[1::2]))

    def _parts_of(self, x):
        """Rows and units of each part: of one batch, and on the CPU so small that it stays in the cache."""
        n, n_units = len(x) // self.n_splits, x.shape[1]
        step = max(1, _PART * n_units // (x.size // self.n_splits)) if self.xp is numpy else n_units
        return [
            (slice(row, row + n), slice(unit, unit + step))
            for row in range(0, len(x), n) for unit in range(0, n_units, step)]

    def _part(self, x, rows, units):
        """The part of x; images of one batch do not lie side by side in memory, so a copy of them does."""
        part = x[rows, units]
        return part.copy(order='K') if self.xp is numpy and self.n_splits > 1 and x.ndim > 2 else part

    def _for_each_part(self, compute, like):
        """What ``compute(i)`` returns for each part: the first as one array that lies as ``like``, others as lists."""
        if len(self.parts) == 1:
            whole, *others = compute(0)
            return whole, *[[other] for other in others]
        whole = self.xp.empty_like(like)

        def compute_part(i):
            whole[self.parts[i]], *others = compute(i)
            return others
        return whole, *zip(*self._each(compute_part))

    def _each(self, compute):
        """``[compute(i) for each part i]``; CuPy's device is that of one thread."""
        several = self.xp is numpy and len(self.parts) > 1
        return list((for_each if several else map)(compute, range(len(self.parts))))

    def _of_batches(self, parts):
        """(batches, units) of an array for each part."""
        return self.xp.concatenate(parts).reshape(self.n_splits, -1)


def batch_normalization(
        x: Input, gamma: Input, beta: Input, eps: float, n_splits: int = 1,
        observe: Callable | None = None) -> chainer.Variable:
    """γ·(x − mean)/√(variance + eps) + β over a batch (Ioffe & Szegedy 2015, algorithm 1).

    ``x`` is (N, units) or (N, units, H, W), ``gamma`` and ``beta`` (units,), the result has the shape of x: that many
    batches of one size, one after the other.  ``observe(means, variances)`` is given two arrays (batches, units); the
    variance is the biased one, Σ(x − mean)²/n.  Raises ``ValueError`` where N is no multiple of ``n_splits``.
    """
    if len(x) % n_splits:
        raise ValueError('{} batches of one size are not {} samples'.format(n_splits, len(x)))
    return _BatchNormalization(eps, n_splits, observe)(x, gamma, beta)
