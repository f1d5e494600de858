"""Chainer's links, computed by the functions of this folder; the rest is Chainer's own.

Named and called as :mod:`chainer.links` has them, so ``from ddgm.fast import links as L`` takes the place of
``import chainer.links as L``.  What these don't know of, a dilated convolution for instance, Chainer computes.
"""

from __future__ import annotations

import chainer
import chainer.functions
import chainer.links
import numpy

from ddgm.fast import functions as F, sharding
from ddgm.fast.elementary import FirstOrderFunction, Input


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
        running = n / max(n - 1, 1), self.decay, self.avg_mean, self.avg_var
        return batch_normalization(x, self.gamma, self.beta, self.eps, n_splits, running)


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

class _BatchNormalization(FirstOrderFunction):

    needs_inputs = False
    name_in_block = 'batch_normalization'

    def __init__(self, eps, n_splits, running):
        self.eps = eps
        self.n_splits = n_splits
        self.running = running

    def forward_array(self, x, gamma, beta):
        self.gamma, shard = gamma, chainer.config.shard
        self.n, self.is_sharded = float(x.size // gamma.size // self.n_splits), shard is not None
        known = self._moments_over_ranks(x, shard.share) if self.is_sharded else None
        y, self.kept = self.kernels.batch_normalization(
            x, gamma, beta, self.eps, self.n_splits, known, self.running)
        return y

    def backward_arrays(self, indexes, inputs, grad_output):
        totals = here = None
        if self.is_sharded:
            here = self.kernels.unit_gradients(grad_output, self.n_splits, self.kept)
            totals = self._all_reduce(*here)
        grad_x, *of_batches = self.kernels.batch_normalization_gradient(
            grad_output, self.gamma, self.n, self.n_splits, self.kept, totals)
        gradients = grad_x, *self.kernels.sums_over_batches(*(here or of_batches))
        return [gradients[i] for i in indexes]

    def _moments_over_ranks(self, x, share):
        """Mean and variance of each batch's units over the rows of all ranks."""
        mean, variance = self.kernels.moments(x, self.n_splits)
        mean = mean.astype(numpy.float64)  # squares of a mean leave no digits of a small variance in float32
        self.n /= share
        mean, square = self._all_reduce(share * mean, share * (variance + mean * mean))
        return mean.astype(x.dtype), self.xp.maximum(square - mean * mean, 0).astype(x.dtype)

    def _all_reduce(self, *pair):
        """The sums over all ranks of two arrays, in one reduction."""
        return sharding.all_reduce(self.xp.stack(pair))


def batch_normalization(
        x: Input, gamma: Input, beta: Input, eps: float, n_splits: int = 1,
        running: tuple | None = None) -> chainer.Variable:
    """γ·(x − mean)/√(variance + eps) + β over a batch (Ioffe & Szegedy 2015, algorithm 1).

    ``x`` is (N, units) or (N, units, H, W), ``gamma`` and ``beta`` (units,), the result has the shape of x: that many
    batches of one size, one after the other.  Of ``running``, (n/(n − 1), decay, means, variances), the last two are
    arrays (units,), to which those of each batch are added, in place; the variance of a batch is the biased one,
    Σ(x − mean)²/n.  Raises ``ValueError`` where N is no multiple of ``n_splits``.
    """
    if len(x) % n_splits:
        raise ValueError('{} batches of one size are not {} samples'.format(n_splits, len(x)))
    return _BatchNormalization(eps, n_splits, running)(x, gamma, beta)
