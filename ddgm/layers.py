"""What the networks are made of, as functions: linear map, BatchNormalization, activations.

The same as Chainer's, at a fraction of the cost of their calls.  NumPy's minimum and maximum of an array and a number
are four times as slow as its sums and products, so they are avoided where arrays are large.  On a GPU the kernels of
:mod:`ddgm.kernels` compute the same.
"""

import functools

import numpy

from ddgm import kernels
from ddgm.differentiation import FirstOrderFunction

_PART = 2 ** 19  # numbers of 4 bytes


class _Linear(FirstOrderFunction):

    def forward_array(self, x, W, b=None):
        y = _matrix(x).dot(W.T)
        if b is not None:
            y += b
        return y

    def backward_arrays(self, indexes, inputs, grad_output):
        x, W = inputs[:2]
        gradients = []
        if 0 in indexes:
            gradients.append(grad_output.dot(W).reshape(x.shape))
        if 1 in indexes:
            gradients.append(grad_output.T.dot(_matrix(x)))
        if 2 in indexes:
            gradients.append(_sum_of_rows(grad_output))
        return gradients


def linear(x, W, b=None):
    """xWᵀ + b, a sample a row: (N, …) with ``in`` numbers a sample, (out, in) and (out,) to (N, out)."""
    return _Linear()(*((x, W) if b is None else (x, W, b)))


class _BatchNormalization(FirstOrderFunction):

    needs_inputs = False

    def __init__(self, eps, batches):
        self.eps = eps
        self.batches = batches

    def forward_array(self, x, gamma, beta):
        forward_part = self._forward_part if self.xp is numpy else self._forward_part_on_gpu
        self.gamma, self.parts = gamma, self._parts_of(x)
        y, means, variances, self.kept = None, [], [], []
        for rows, units in self.parts:
            part, mean, variance, kept = forward_part(self._part(x, rows, units), gamma[units], beta[units])
            y = self._with_part(y, x, rows, units, part)
            means.append(mean)
            variances.append(variance)
            self.kept.append(kept)
        self.means, self.variances = [
            self.xp.concatenate(of_parts).reshape(self.batches, -1) for of_parts in (means, variances)]
        return y

    def backward_arrays(self, indexes, inputs, grad_output):
        backward_part = self._backward_part if self.xp is numpy else self._backward_part_on_gpu
        grad_x, grad_gammas, grad_betas = None, [], []
        for (rows, units), kept in zip(self.parts, self.kept):
            part, grad_gamma, grad_beta = backward_part(
                0 in indexes, self._part(grad_output, rows, units), self.gamma[units], *kept)
            if part is not None:
                grad_x = self._with_part(grad_x, grad_output, rows, units, part)
            grad_gammas.append(grad_gamma)
            grad_betas.append(grad_beta)
        gradients = [grad_x] + [
            self.xp.concatenate(of_parts).reshape(self.batches, -1).sum(axis=0)
            for of_parts in (grad_gammas, grad_betas)]
        return [gradients[i] for i in indexes]

    def _forward_part(self, x, gamma, beta):
        """A part of y, its mean and variance, and what :meth:`_backward_part` wants of them."""
        n = x.size // gamma.size
        mean = self._sum(x) / n
        centred = x - self._spread(mean, x)
        variance = self._sum_of_products(centred, centred) / n
        inverse_deviation = 1 / numpy.sqrt(variance + self.eps)
        centred *= self._spread(gamma * inverse_deviation, x)
        centred += self._spread(beta, x)
        return centred, mean, variance, (x, mean, inverse_deviation)

    def _backward_part(self, wants_x, grad_output, gamma, x, mean, inverse_deviation):
        """Gradients of a part of x, or ``None``, and of its γ and β."""
        centred = x - self._spread(mean, x)
        grad_gamma = self._sum_of_products(grad_output, centred) * inverse_deviation
        grad_beta = self._sum(grad_output)
        if not wants_x:
            return None, grad_gamma, grad_beta
        # Less what the batch's mean and deviation would follow.
        n = x.size // gamma.size
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

    def _backward_part_on_gpu(self, wants_x, grad_output, gamma, normalized, variance):
        axes = (0, 2, 3)[:grad_output.ndim - 1]
        grad_gamma = kernels.product(normalized, grad_output).sum(axis=axes)
        grad_beta = grad_output.sum(axis=axes)
        grad_x = None
        if wants_x:
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

    def _with_part(self, whole, like, rows, units, part):
        """``whole``, at first ``None``, with a part of it; the only part is it."""
        if len(self.parts) == 1:
            return part
        whole = self.xp.empty_like(like) if whole is None else whole
        whole[rows, units] = part
        return whole

    def _sum(self, x):
        """For each unit, over everything else."""
        return _sum_of_rows(x) if x.ndim == 2 else _channels(x).sum(axis=1)

    def _sum_of_products(self, x, y):
        if x.ndim == 2:
            return self.xp.einsum('ij,ij->j', x, y)
        return _channels(x * y).sum(axis=1)  # in pairs: einsum's rounding adds up over as many numbers

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


class _ReLU(FirstOrderFunction):

    needs_inputs = False

    def forward_array(self, x):
        if self.xp is not numpy:
            self.y = kernels.relu(x)
            return self.y
        self.positive = x > 0
        return x * self.positive

    def backward_arrays(self, indexes, inputs, grad_output):
        if self.xp is not numpy:
            return kernels.relu_gradient(self.y, grad_output),
        return grad_output * self.positive,


def relu(x):
    """max(x, 0), any shape."""
    return _ReLU()(x)


class _ELU(FirstOrderFunction):

    needs_inputs = False

    def forward_array(self, x):
        if self.xp is not numpy:
            y, self.slope = kernels.elu(x)
            return y
        slope = x - abs(x)
        slope *= 0.5  # min(x, 0) without rounding
        self.xp.expm1(slope, out=slope)
        y = self.xp.maximum(x, slope)
        slope += 1
        self.slope = slope
        return y

    def backward_arrays(self, indexes, inputs, grad_output):
        if self.xp is not numpy:
            return kernels.product(self.slope, grad_output),
        return grad_output * self.slope,


def elu(x):
    """x where it is positive, exp(x) − 1 elsewhere (Clevert et al. 2016); any shape."""
    return _ELU()(x)


class _Tanh(FirstOrderFunction):

    needs_inputs = False

    def forward_array(self, x):
        self.y = self.xp.tanh(x)
        return self.y

    def backward_arrays(self, indexes, inputs, grad_output):
        if self.xp is not numpy:
            return kernels.tanh_gradient(self.y, grad_output),
        slope = self.y * self.y
        self.xp.subtract(1, slope, out=slope)
        slope *= grad_output
        return slope,


def tanh(x):
    """tanh(x), any shape."""
    return _Tanh()(x)


class _Sigmoid(FirstOrderFunction):

    needs_inputs = False

    def forward_array(self, x):
        if self.xp is not numpy:
            self.y = kernels.sigmoid(x)
            return self.y
        y = x * 0.5
        self.xp.tanh(y, out=y)
        y *= 0.5
        y += 0.5
        self.y = y
        return y

    def backward_arrays(self, indexes, inputs, grad_output):
        if self.xp is not numpy:
            return kernels.sigmoid_gradient(self.y, grad_output),
        slope = self.y * self.y
        self.xp.subtract(self.y, slope, out=slope)
        slope *= grad_output
        return slope,


def sigmoid(x):
    """1/(1 + exp(−x)), any shape."""
    return _Sigmoid()(x)


def _matrix(x):
    return x if x.ndim == 2 else x.reshape(len(x), -1)


def _channels(x):
    """(N, C, H, W) as (C, H·W·N), without a copy for what :mod:`ddgm.convolution` returned."""
    return x.transpose(1, 2, 3, 0).reshape(x.shape[1], -1)


def _sum_of_rows(x):
    """x.sum(axis=0), on the CPU as a product, which is several times as fast."""
    return _ones(len(x), x.dtype).dot(x) if isinstance(x, numpy.ndarray) else x.sum(axis=0)


@functools.lru_cache(maxsize=16)
def _ones(n, dtype):
    return numpy.ones(n, dtype=dtype)
