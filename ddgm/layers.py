"""What the networks are made of, as functions: linear map, BatchNormalization, activations.

The same as Chainer's, at a fraction of the cost of their calls.  NumPy's minimum and maximum of an array and a number
are four times as slow as its sums and products, so they are avoided where arrays are large.  On a GPU the kernels of
:mod:`ddgm.kernels` compute the same.
"""

import functools

import numpy

from ddgm import kernels
from ddgm.differentiation import FirstOrderFunction


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

    def __init__(self, eps):
        self.eps = eps

    def forward_array(self, x, gamma, beta):
        self.gamma = gamma
        if self.xp is not numpy:
            return self._forward_on_gpu(x, gamma, beta)
        n = x.size // gamma.size
        self.mean = self._sum(x) / n
        self.centred = x - self._spread(self.mean, x)
        self.variance = self._sum_of_products(self.centred, self.centred) / n
        self.inverse_deviation = 1 / self.xp.sqrt(self.variance + self.eps)
        y = self.centred * self._spread(gamma * self.inverse_deviation, x)
        y += self._spread(beta, x)
        return y

    def backward_arrays(self, indexes, inputs, grad_output):
        if self.xp is not numpy:
            return self._backward_on_gpu(indexes, self.gamma, grad_output)
        n = grad_output.size // self.gamma.size
        grad_gamma = self._sum_of_products(grad_output, self.centred) * self.inverse_deviation
        grad_beta = self._sum(grad_output)
        gradients = {1: grad_gamma, 2: grad_beta}
        if 0 in indexes:
            # Less what the batch's mean and deviation would follow.
            grad_x = self.centred * self._spread(grad_gamma * self.inverse_deviation / -n, grad_output)
            grad_x += grad_output
            grad_x -= self._spread(grad_beta / n, grad_output)
            grad_x *= self._spread(self.gamma * self.inverse_deviation, grad_output)
            gradients[0] = grad_x
        return [gradients[i] for i in indexes]

    def _forward_on_gpu(self, x, gamma, beta):
        self.axes = (0, 2, 3)[:x.ndim - 1]
        mean = x.mean(axis=self.axes, keepdims=True)
        variance = kernels.squared_deviation(x, mean).mean(axis=self.axes, keepdims=True)
        y, self.normalized = kernels.batch_normalization(
            x, mean, variance, gamma.reshape(mean.shape), beta.reshape(mean.shape), self.eps)
        self.mean, self.variance = mean.reshape(gamma.shape), variance.reshape(gamma.shape)
        return y

    def _backward_on_gpu(self, indexes, gamma, grad_output):
        grad_gamma = kernels.product(self.normalized, grad_output).sum(axis=self.axes)
        grad_beta = grad_output.sum(axis=self.axes)
        gradients = {1: grad_gamma, 2: grad_beta}
        if 0 in indexes:
            units = [
                values.reshape((1, -1) + (1,) * (grad_output.ndim - 2))
                for values in (self.variance, gamma, grad_gamma, grad_beta)]
            gradients[0] = kernels.batch_normalization_gradient(
                self.normalized, grad_output, *units, gamma.size / grad_output.size, self.eps)
        return [gradients[i] for i in indexes]

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


def batch_normalization(x, gamma, beta, eps):
    """γ·(x − mean)/√(variance + eps) + β over a batch, and its mean and variance (Ioffe & Szegedy 2015, algorithm 1).

    ``x`` is (N, units) or (N, units, H, W), ``gamma`` and ``beta`` (units,); the result is a variable of x's shape and
    two arrays (units,).  The variance is the biased one, Σ(x − mean)²/n.
    """
    function = _BatchNormalization(eps)
    y = function(x, gamma, beta)
    return y, function.mean, function.variance


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
