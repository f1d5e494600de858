"""Chainer's links, computed by :mod:`ddgm.fast.functions`; the rest is Chainer's own.

Named and called as :mod:`chainer.links` has them, so ``from ddgm.fast import links as L`` takes the place of
``import chainer.links as L``.  What these don't know of, a dilated convolution for instance, Chainer computes.
"""

import functools

import chainer
import chainer.functions
import chainer.links
import numpy

from ddgm.fast import batches, functions as F, kernels
from ddgm.fast.normalization import batch_normalization


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
        n_batches = batches.n_joined_batches()
        if not chainer.config.train or options or getattr(x, 'layout', None) is not None:
            return super().forward(x, **options)
        if self.gamma is None or self.beta is None or not self.gamma.is_initialized or x.ndim not in (2, 4) \
                or self.axis is not None or x.shape[1:2] != self.gamma.shape:
            if batches.are_shared():
                raise ValueError('several processes need a BatchNormalization with γ and β over all axes but the units')
            parts = chainer.functions.split_axis(x, n_batches, axis=0)
            return chainer.functions.concat(list(map(super().forward, parts)), axis=0)
        n = batches.n_numbers(x) // self.gamma.size // n_batches
        observe = functools.partial(self._keep_statistics, n / max(n - 1, 1))
        return batch_normalization(x, self.gamma, self.beta, self.eps, n_batches, observe)

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
