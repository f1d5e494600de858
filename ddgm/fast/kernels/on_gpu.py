"""The kernels of :mod:`ddgm.fast.kernels` in CuPy: sums are CuPy's, the rest is one CUDA kernel each.

Nothing here reads back what a GPU has computed, so that nothing waits for it.
"""

from __future__ import annotations

import functools
import operator

from chainer import backend

from ddgm.fast.kernels import cuda_kernels, on_cpu
from ddgm.fast.kernels.convolution_on_gpu import (  # noqa: F401
    channels_first,
    convolution_scheme,
    from_levels,
    joined,
    sums_of_channels,
)

_LEVELS = 2 ** 16  # of what 16 random bits tell apart


# ---- activations: each keeps its result, or its slope

def relu(x):
    y = cuda_kernels.relu(x)
    return y, y


def elu(x):
    return cuda_kernels.elu(x)


def tanh(x):
    y = cuda_kernels.tanh(x)
    return y, y


def sigmoid(x):
    y = cuda_kernels.sigmoid(x)
    return y, y


relu_gradient = cuda_kernels.relu_gradient
elu_gradient = cuda_kernels.product
tanh_gradient = cuda_kernels.tanh_gradient
sigmoid_gradient = cuda_kernels.sigmoid_gradient


# ---- the energy

def expert_term(a):
    return cuda_kernels.expert(a).sum(axis=1)


def expert_term_gradient(a, grad_energy):
    return cuda_kernels.expert_gradient(a, grad_energy[:, None])


def mean(x):
    return backend.get_array_module(x).asarray(x.sum() / x.size, dtype=x.dtype)


def mean_gradient(x, grad_output):
    xp = backend.get_array_module(x)
    return xp.broadcast_to(xp.asarray(grad_output / x.size, dtype=x.dtype), x.shape)


# ---- weight normalization

def weight_normalization(V, g):
    norm = backend.get_array_module(V).linalg.norm(V.reshape(len(V), -1), axis=1)
    return cuda_kernels.weight_normalization(V, _beside(g, V), _beside(norm, V)), norm


def weight_normalization_gradient(V, g, norm, grad_W, wants_V=True):
    """Gradients of V, or ``None``, and of g."""
    norm = _beside(norm, V)
    along = cuda_kernels.weight_normalization_along(V, norm, grad_W).reshape(len(V), -1).sum(axis=1)
    if not wants_V:
        return None, along
    return cuda_kernels.weight_normalization_gradient(V, _beside(g, V), norm, grad_W, _beside(along, V)), along


def _beside(values, V):
    """A number for each row of V as an array beside V."""
    return values.reshape((-1,) + (1,) * (V.ndim - 1))


# ---- batch normalization: (N, units, …), n_splits batches of one size one after the other

def batch_normalization(x, gamma, beta, eps, n_splits, known=None):
    """γ·(x − mean)/√(variance + eps) + β, means, variances, kept; ``known`` moments take the place of the batches'."""
    means, variances = moments(x, n_splits) if known is None else known
    gamma, beta = _spread(gamma, x), _spread(beta, x)
    y, kept = _for_each_batch(lambda i, x: cuda_kernels.batch_normalization(
        x, _spread(means[i], x), _spread(variances[i], x), gamma, beta, eps), n_splits, x)
    return y, means, variances, (kept, variances, eps)


def batch_normalization_gradient(grad_y, gamma, n, n_splits, kept, totals=None):
    """Gradients of x, and of γ and β from each batch, whose place ``totals`` take, over n numbers a unit."""
    grad_gammas, grad_betas = unit_gradients(grad_y, n_splits, kept) if totals is None else totals
    normalized, variances, eps = kept
    grad_x, = _for_each_batch(lambda i, grad_y, normalized: (cuda_kernels.batch_normalization_gradient(
        normalized, grad_y, *[_spread(values, grad_y) for values in (
            variances[i], gamma, grad_gammas[i], grad_betas[i])], 1 / n, eps),), n_splits, grad_y, normalized)
    return grad_x, grad_gammas, grad_betas


def moments(x, n_splits):
    """The mean and the biased variance of each batch's units."""
    def of_batch(i, x):
        mean = x.mean(axis=_axes(x))
        return mean, cuda_kernels.squared_deviation(x, _spread(mean, x)).mean(axis=_axes(x))
    return [backend.get_array_module(x).stack(values) for values in zip(*_each(of_batch, n_splits, x))]


def unit_gradients(grad_y, n_splits, kept):
    """The gradients of γ and β from each batch."""
    def of_batch(i, grad_y, normalized):
        axes = _axes(grad_y)
        return cuda_kernels.product(normalized, grad_y).sum(axis=axes), grad_y.sum(axis=axes)
    found = _each(of_batch, n_splits, grad_y, kept[0])
    return [backend.get_array_module(grad_y).stack(values) for values in zip(*found)]


def running_statistics(means, variances, unbiased, decay, running_mean, running_variance):
    """Add those of each batch to the running ones, in place."""
    for mean, variance in zip(means, variances):
        cuda_kernels.running_statistics(mean, variance, unbiased, decay, running_mean, running_variance)


def sum_of_rows(x):
    return x.sum(axis=0)


def _axes(x):
    return (0, 2, 3)[:x.ndim - 1]


def _spread(values, x):
    return values.reshape((1, -1, 1, 1)[:x.ndim])


def _each(compute, n_splits, *arrays):
    n = len(arrays[0]) // n_splits
    return [compute(i, *[x[i * n:(i + 1) * n] for x in arrays]) for i in range(n_splits)]


def _for_each_batch(compute, n_splits, *arrays):
    """The results of all batches, each as one array that lies as the first of ``arrays``."""
    found = _each(compute, n_splits, *arrays)
    if n_splits == 1:
        return found[0]
    wholes, n = [backend.get_array_module(y).empty_like(arrays[0]) for y in found[0]], len(arrays[0]) // n_splits
    for i, results in enumerate(found):
        for whole, y in zip(wholes, results):
            whole[i * n:(i + 1) * n] = y
    return wholes


# ---- noise: from 16 random bits a number

def add_noise(x, bits, standard_deviation):
    return cuda_kernels.gaussian(x, bits, _quantiles(backend.get_device_from_array(x), x.dtype, standard_deviation))


@functools.lru_cache(maxsize=8)
def _quantiles(device, dtype, standard_deviation):
    return device.send(on_cpu.quantiles(dtype, standard_deviation))


def dropout(x, bits, ratio):
    return cuda_kernels.dropout(x, bits, ratio * _LEVELS, 1 / (1 - ratio))


dropout_gradient = cuda_kernels.product


# ---- optimizers: all parameters, their states in place

def clipping_rate(squared_norms, limit):
    """What gradients, whose parts have these squared norms, are multiplied with, an array."""
    return cuda_kernels.clipping_rate(functools.reduce(operator.add, squared_norms), limit)


def adam(parameters, gradient, factor, step_size, beta1, beta2, eps, m, v):
    cuda_kernels.adam(gradient, factor, step_size, beta1, 1 - beta1, beta2, 1 - beta2, eps, parameters, m, v)


def adagrad(parameters, gradient, factor, lr, eps, h):
    cuda_kernels.adagrad(gradient, factor, lr, eps, parameters, h)
