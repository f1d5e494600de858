"""Batch normalization of one or several batches at once, in parts that stay in the processor's cache."""

import numpy

from ddgm.fast import kernels
from ddgm.fast.differentiation import FirstOrderFunction
from ddgm.fast.functions import sum_of_rows
from ddgm.fast.threads import for_each

_PART = 2 ** 19  # numbers of 4 bytes


class _BatchNormalization(FirstOrderFunction):

    needs_inputs = False

    def __init__(self, eps, batches):
        self.eps = eps
        self.batches = batches

    def forward_array(self, x, gamma, beta):
        self.gamma, self.parts = gamma, self._parts_of(x)
        compute = self._forward_part if self.xp is numpy else self._forward_part_on_gpu

        def normalize(i):
            rows, units = self.parts[i]
            return compute(self._part(x, rows, units), gamma[units], beta[units])
        y, means, variances, self.kept = self._for_each_part(normalize, x)
        self.means, self.variances = self._of_batches(means), self._of_batches(variances)
        return y

    def backward_arrays(self, indexes, inputs, grad_output):
        compute = self._backward_part if self.xp is numpy else self._backward_part_on_gpu

        def differentiate(i):
            rows, units = self.parts[i]
            return compute(self._part(grad_output, rows, units), self.gamma[units], *self.kept[i])
        grad_x, grad_gammas, grad_betas = self._for_each_part(differentiate, grad_output)
        gradients = grad_x, self._of_batches(grad_gammas).sum(axis=0), self._of_batches(grad_betas).sum(axis=0)
        return [gradients[i] for i in indexes]

    def _forward_part(self, x, gamma, beta):
        """A part of y, its mean and variance, and what :meth:`_backward_part` wants of them."""
        n = float(x.size // gamma.size)  # NumPy 1 makes float64 of float32 by a large integer
        mean = self._sum(x) / n
        centred = x - self._spread(mean, x)
        variance = self._sum_of_products(centred, centred) / n
        inverse_deviation = 1 / numpy.sqrt(variance + self.eps)
        centred *= self._spread(gamma * inverse_deviation, x)
        centred += self._spread(beta, x)
        return centred, mean, variance, (x, mean, inverse_deviation)

    def _backward_part(self, grad_output, gamma, x, mean, inverse_deviation):
        """Gradients of a part of x, and of its γ and β."""
        centred = x - self._spread(mean, x)
        grad_gamma = self._sum_of_products(grad_output, centred) * inverse_deviation
        grad_beta = self._sum(grad_output)
        # Less what the batch's mean and deviation would follow.
        n = float(x.size // gamma.size)
        grad_x = centred
        grad_x *= self._spread(grad_gamma * inverse_deviation / -n, x)
        grad_x += grad_output
        grad_x -= self._spread(grad_beta / n, x)
        grad_x *= self._spread(gamma * inverse_deviation, x)
        return grad_x, grad_gamma, grad_beta

    def _forward_part_on_gpu(self, x, gamma, beta):
        axes = (0, 2, 3)[:x.ndim - 1]
        mean = x.mean(axis=axes, keepdims=True)
        variance = kernels.squared_deviation(x, mean).mean(axis=axes, keepdims=True)
        y, normalized = kernels.batch_normalization(
            x, mean, variance, gamma.reshape(mean.shape), beta.reshape(mean.shape), self.eps)
        return y, mean.reshape(gamma.shape), variance.reshape(gamma.shape), (normalized, variance)

    def _backward_part_on_gpu(self, grad_output, gamma, normalized, variance):
        axes = (0, 2, 3)[:grad_output.ndim - 1]
        grad_gamma = kernels.product(normalized, grad_output).sum(axis=axes)
        grad_beta = grad_output.sum(axis=axes)
        units = [values.reshape(variance.shape) for values in (gamma, grad_gamma, grad_beta)]
        grad_x = kernels.batch_normalization_gradient(
            normalized, grad_output, variance, *units, gamma.size / grad_output.size, self.eps)
        return grad_x, grad_gamma, grad_beta

    def _parts_of(self, x):
        """Rows and units of each part: of one batch, and on the CPU so small that it stays in the cache."""
        n, n_units = len(x) // self.batches, x.shape[1]
        step = max(1, _PART * n_units // (x.size // self.batches)) if self.xp is numpy else n_units
        return [
            (slice(row, row + n), slice(unit, unit + step))
            for row in range(0, len(x), n) for unit in range(0, n_units, step)]

    def _part(self, x, rows, units):
        """The part of x; images of one batch do not lie side by side in memory, so a copy of them does."""
        part = x[rows, units]
        return part.copy(order='K') if self.xp is numpy and self.batches > 1 and x.ndim > 2 else part

    def _for_each_part(self, compute, like):
        """What ``compute(i)`` returns for each part: the first as one array that lies as ``like``, others as lists."""
        if len(self.parts) == 1:
            whole, *others = compute(0)
            return whole, *[[other] for other in others]
        whole = self.xp.empty_like(like)

        def compute_part(i):
            whole[self.parts[i]], *others = compute(i)
            return others
        each = for_each if self.xp is numpy else map  # CuPy's device is that of one thread
        return whole, *zip(*each(compute_part, range(len(self.parts))))

    def _of_batches(self, parts):
        """(batches, units) of an array for each part."""
        return self.xp.concatenate(parts).reshape(self.batches, -1)

    def _sum(self, x):
        """For each unit, over everything else."""
        return sum_of_rows(x) if x.ndim == 2 else channels(x).sum(axis=1)

    def _sum_of_products(self, x, y):
        if x.ndim == 2:
            return self.xp.einsum('ij,ij->j', x, y)
        return channels(x * y).sum(axis=1)  # in pairs: einsum's rounding adds up over as many numbers

    @staticmethod
    def _spread(values, x):
        """A number for each unit as an array beside x."""
        return values if x.ndim == 2 else values[:, None, None]


def batch_normalization(x, gamma, beta, eps, batches=1):
    """γ·(x − mean)/√(variance + eps) + β over a batch, and its mean and variance (Ioffe & Szegedy 2015, algorithm 1).

    ``x`` is (N, units) or (N, units, H, W), ``gamma`` and ``beta`` (units,); the result is a variable of x's shape and
    two arrays (batches, units): x is that many batches of one size, one after the other.  The variance is the biased
    one, Σ(x − mean)²/n.  Raises ``ValueError`` where N is no multiple of ``batches``.
    """
    if len(x) % batches:
        raise ValueError('{} batches of one size are not {} samples'.format(batches, len(x)))
    function = _BatchNormalization(eps, batches)
    y = function(x, gamma, beta)
    return y, function.means, function.variances


def channels(x):
    """(N, C, H, W) as (C, H·W·N), without a copy for what a convolution returned."""
    return x.transpose(1, 2, 3, 0).reshape(x.shape[1], -1)
