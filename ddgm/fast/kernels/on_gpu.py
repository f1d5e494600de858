"""The kernels of :mod:`ddgm.fast.kernels` in CuPy: one CUDA kernel each, or a fixed small number of them.

Nothing here reads back what a GPU has computed, so that nothing waits for it, and nothing is sent to it.
"""

from __future__ import annotations

import functools
import itertools
import math

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
_SHORT = 256  # numbers of a row of weights, which each of its numbers may add up by itself
_FEW = 16  # numbers that a linear map takes, for which a product of matrices is not worth its launch


# ---- arrays

def concatenated(arrays):
    """All numbers of arrays of one type, one after the other; CuPy would upload tables of more than eight."""
    first, *_ = arrays
    ends = list(itertools.accumulate([array.size for array in arrays]))
    y = backend.get_array_module(first).empty(ends[-1], dtype=first.dtype)
    return cuda_kernels.concatenation(len(arrays))(*itertools.chain(*zip(arrays, ends)), y)


def one_beside(x):
    """An array of ones as x has it, the gradient of a loss in itself; nobody changes it."""
    return _one(backend.get_device_from_array(x), x.shape, x.dtype)


@functools.cache  # never freed, as a graph that was captured may read it
def _one(device, shape, dtype):
    return _lasting(device.xp.ones(shape, dtype=dtype))


_LASTING = {}  # by their ids, arrays that nobody changes


def _lasting(x):
    _LASTING[id(x)] = x
    return x


def _once(compute):
    """A gradient's function, whose last argument is that of its output: computed once of what lasts.

    What lies between a loss and the first numbers of a batch is the same in every step.
    """
    results = {}

    @functools.wraps(compute)
    def computed(*arguments):
        *others, grad_y = arguments
        if id(grad_y) not in _LASTING:
            return compute(*arguments)
        key = id(grad_y), *[getattr(other, 'shape', str(other)) for other in others]
        if key not in results:
            results[key] = _lasting(compute(*arguments))
        return results[key]
    return computed


def for_parameters(gradients):
    """Gradients, or ``None``, which hooks of an optimizer may change in place."""
    return [gradient.copy() if id(gradient) in _LASTING else gradient for gradient in gradients]


@_once
def negative(x):
    return -x


@_once
def rows_gradient(x, rows, grad_y):
    """The gradient of x by that of x[rows]."""
    first, last, step = rows.indices(len(x))
    if step != 1:
        grad_x = backend.get_array_module(x).zeros_like(x)
        grad_x[rows] = grad_y
        return grad_x
    n = math.prod(x.shape[1:])
    grad_x = backend.get_array_module(x).empty(x.shape, dtype=x.dtype)
    return cuda_kernels.rows_gradient(grad_y, first * n, last * n, grad_x)


# ---- activations: each keeps its result; b (units,) is a bias that x still lacks

def _activation(kernel):
    def activation(x, b=0):
        y = kernel(x, b)
        return y, y
    return activation


relu, elu, tanh, sigmoid = map(_activation, (
    cuda_kernels.relu, cuda_kernels.elu, cuda_kernels.tanh, cuda_kernels.sigmoid))
relu_gradient = cuda_kernels.relu_gradient
elu_gradient = cuda_kernels.elu_gradient
tanh_gradient = cuda_kernels.tanh_gradient
sigmoid_gradient = cuda_kernels.sigmoid_gradient


# ---- linear maps

def leaves_bias(W):
    """Whether a linear map of these weights is a product, whose bias is a kernel by itself, or part of the next one."""
    return W.shape[1] > _FEW


def linear(x, W, b):
    """xWᵀ + b, or without b where that is ``None``; x is a matrix."""
    if b is None or leaves_bias(W) or (x.shape[1], *b.shape) != W.shape[::-1]:
        y = x.dot(W.T)  # raises ValueError where sizes don't fit
        if b is not None:
            y += b
        return y
    y = backend.get_array_module(x).empty((len(x), len(W)), dtype=x.dtype)
    return cuda_kernels.linear(x, W, b, W.shape[1], len(W), y)


def linear_gradients(x, grad_y, of_W, of_b):
    """The gradients of W and of b, those that are wanted."""
    n_in, n_out = x.shape[1], grad_y.shape[1]
    if of_W and of_b and n_in <= _FEW:
        both = backend.get_array_module(x).empty((n_out, n_in + 1), dtype=x.dtype)
        both = cuda_kernels.linear_gradients(x, grad_y, len(x), n_in, n_out, both)
        return [both[:, :-1], both[:, -1]]
    return [*([grad_y.T.dot(x)] if of_W else []), *([sum_of_rows(grad_y)] if of_b else [])]


# ---- the energy

def quadratic_term(x, sigma):
    return cuda_kernels.quadratic_term(x, 1 / sigma ** 2, axis=tuple(range(1, x.ndim)))


def quadratic_term_gradient(x, sigma, grad_energy):
    return cuda_kernels.quadratic_term_gradient(x, _beside(grad_energy, x), 2 / sigma ** 2)


def bias_term(x, b):
    return cuda_kernels.bias_term(x, b[None], axis=1)


def bias_term_gradient_of_x(x, b, grad_energy):
    return cuda_kernels.bias_term_gradient(x, grad_energy[:, None], b[None])


def bias_term_gradient_of_b(x, grad_energy):
    return cuda_kernels.bias_term(x, grad_energy[:, None], axis=0)


def expert_term(a):
    return cuda_kernels.expert_term(a, axis=1)


def expert_term_gradient(a, grad_energy):
    return cuda_kernels.expert_term_gradient(a, grad_energy[:, None])


def gaussian_entropy(gammas, two_pi_e, epsilon):
    gamma = concatenated(gammas)
    return cuda_kernels.gaussian_entropy(gamma, two_pi_e, epsilon), gamma


def gaussian_entropy_gradient(gammas, gamma, grad_entropy, two_pi_e, epsilon):
    gradient = cuda_kernels.gaussian_entropy_gradient(gamma, grad_entropy, two_pi_e, epsilon)
    ends = itertools.accumulate([each.size for each in gammas])
    return [gradient[end - each.size:end].reshape(each.shape) for each, end in zip(gammas, ends)]


def mean(x):
    return cuda_kernels.mean(x, 1 / x.size)


@_once
def mean_gradient(x, grad_output):
    return backend.get_array_module(x).broadcast_to(cuda_kernels.quotient(grad_output, x.size), x.shape)


def add_observation(numbers, sums, sums_of_squares):
    """Add numbers, arrays (), to (n,) and their squares to (n,), in place."""
    cuda_kernels.add_observation(concatenated(numbers), sums, sums_of_squares)


# ---- weight normalization

def weight_normalization(V, g):
    n = V[0].size
    if n <= _SHORT:
        xp = backend.get_array_module(V)
        return cuda_kernels.short_weight_normalization(V, g, n, xp.empty(V.shape, dtype=V.dtype), xp.empty_like(g))
    norm = cuda_kernels.norm(V, axis=tuple(range(1, V.ndim)))
    return cuda_kernels.weight_normalization(V, _beside(g, V), _beside(norm, V)), norm


def weight_normalization_gradient(V, g, norm, grad_W, wants_V=True):
    """Gradients of V, or ``None``, and of g."""
    n = V[0].size
    if n <= _SHORT and wants_V:
        xp = backend.get_array_module(V)
        return cuda_kernels.short_weight_normalization_gradient(
            V, g, norm, grad_W, n, xp.empty(V.shape, dtype=V.dtype), xp.empty_like(g))
    norm = _beside(norm, V)
    along = cuda_kernels.along(V, norm, grad_W, axis=tuple(range(1, V.ndim)))
    if not wants_V:
        return None, along
    return cuda_kernels.weight_normalization_gradient(V, _beside(g, V), norm, grad_W, _beside(along, V)), along


def _beside(values, V):
    """A number for each row of V as an array beside V."""
    return values.reshape((-1,) + (1,) * (V.ndim - 1))


# ---- batch normalization: (N, units, …), n_splits batches of one size one after the other

def batch_normalization(x, gamma, beta, eps, n_splits, known=None, running=None):
    """γ·(x − mean)/√(variance + eps) + β, kept; ``known`` moments take the place of the batches'.

    Of ``running``, (n/(n − 1), decay, means, variances), the last two follow those of each batch, in place.
    """
    means, variances = moments(x, n_splits) if known is None else known
    batches = _batches(x, n_splits)
    order, back = cuda_kernels.orders(batches)
    batches = batches.transpose(order)
    values = [_spread(values, x).transpose(order) for values in (means, variances, gamma, beta)]
    n_inside = math.prod(batches.shape[order.index(2) + 1:])
    unbiased, decay, *arrays = running or (1, 1, means[0], variances[0])
    y, *_ = cuda_kernels.batch_normalization(
        batches, *values, eps, means, variances, n_splits if running else 0, x.shape[1], n_inside, unbiased, decay,
        backend.get_array_module(x).empty(batches.shape, dtype=x.dtype), *arrays)
    return y.transpose(back).reshape(x.shape), (x, means, variances, eps)


def batch_normalization_gradient(grad_y, gamma, n, n_splits, kept, totals=None):
    """Gradients of x, and of γ and β from each batch, whose place ``totals`` take, over n numbers a unit."""
    grad_gammas, grad_betas = unit_gradients(grad_y, n_splits, kept) if totals is None else totals
    x, means, variances, eps = kept
    grad_x = cuda_kernels.batch_normalization_gradient(
        _batches(x, n_splits), _batches(grad_y, n_splits),
        *[_spread(values, x) for values in (means, variances, gamma, grad_gammas, grad_betas)], 1 / n, eps)
    return grad_x.reshape(grad_y.shape), grad_gammas, grad_betas


def moments(x, n_splits):
    """The mean and the biased variance of each batch's units."""
    if x.ndim == 2:
        return cuda_kernels.moments(x, len(x) // n_splits, x.shape[1], *_two_for_units(x, n_splits))
    batches, share = _batches(x, n_splits), n_splits * x.shape[1] / x.size
    both = _two_for_units(x, n_splits)
    cuda_kernels.moments_of_images(batches, batches[:, :1, :, :1, :1], share, *both, axis=(1, 3, 4))
    return both


def unit_gradients(grad_y, n_splits, kept):
    """The gradients of γ and β from each batch."""
    x, means, variances, eps = kept
    if x.ndim == 2:
        return cuda_kernels.unit_gradients(
            x, grad_y, len(x) // n_splits, x.shape[1], means, variances, eps, *_two_for_units(x, n_splits))
    both = _two_for_units(x, n_splits)
    cuda_kernels.unit_gradients_of_images(
        _batches(x, n_splits), _batches(grad_y, n_splits), _spread(means, x), _spread(variances, x), eps, *both,
        axis=(1, 3, 4))
    return both


def sums_over_batches(grad_gammas, grad_betas):
    """Both, (batches, units), as (units,)."""
    n, n_units = grad_gammas.shape
    if n == 1:
        return grad_gammas[0], grad_betas[0]
    xp = backend.get_array_module(grad_gammas)
    return cuda_kernels.sums_over_batches(
        grad_gammas, grad_betas, n, *[xp.empty(n_units, dtype=grad_gammas.dtype) for _ in range(2)])


def sum_of_rows(x):
    return x.sum(axis=0)


def _batches(x, n_splits):
    """(batches, n, units, …), a view."""
    return x.reshape(n_splits, -1, *x.shape[1:])


def _spread(values, x):
    """Numbers for each unit, (units,) or (batches, units), as an array beside the batches of x."""
    return values.reshape(values.size // x.shape[1], 1, -1, *[1] * (x.ndim - 2))


def _two_for_units(x, n_splits):
    """Two arrays (batches, units), to be filled."""
    return [backend.get_array_module(x).empty((n_splits, x.shape[1]), dtype=x.dtype) for _ in range(2)]


# ---- noise: from 16 random bits a number, an array of them, or a key, from which they are drawn: a tuple of its two
# numbers, or of one array of both

def drawn_bits(xp, key, n):
    """The 16 random bits of n numbers: Philox's words, of all fours the first bits, of all the second, and so on."""
    return cuda_kernels.drawn_bits(*key, n, xp.empty(n, dtype=xp.uint16), size=_n_fours(n))


def add_noise(x, bits, standard_deviation):
    table = _quantiles(backend.get_device_from_array(x), x.dtype, standard_deviation)
    if isinstance(bits, tuple):
        return _drawn(cuda_kernels.drawn_gaussian, x, cuda_kernels.orders(x), bits, table)
    return cuda_kernels.gaussian(x, bits, table)


def noisy_elu(x, bits, standard_deviation, b=None):
    """elu(x) with noise, kept; b (units,) is a bias that x still lacks."""
    if not isinstance(bits, tuple):
        y, kept = elu(x, 0 if b is None else b)
        return add_noise(y, bits, standard_deviation), kept
    table = _quantiles(backend.get_device_from_array(x), x.dtype, standard_deviation)
    order, back = cuda_kernels.orders(x)
    x = x.transpose(order)
    noisy, y = [backend.get_array_module(x).empty(x.shape, dtype=x.dtype) for _ in range(2)]
    bias, n_units = (table, 0) if b is None else (b, len(b))
    kernel = cuda_kernels.drawn_noisy_elu
    if len(bits) == 1:
        kernel = cuda_kernels.with_key_from_memory(kernel)
    kernel(x, bias, n_units, *bits, x.size, table, noisy, y, size=_n_fours(x.size))
    return noisy.transpose(back), y.transpose(back)


@functools.cache  # as above
def _quantiles(device, dtype, standard_deviation):
    return device.send(on_cpu.quantiles(dtype, standard_deviation))


def dropout(x, bits, ratio):
    # Of 16 bits as many values lie below a number as below the whole number above it.
    chosen = math.ceil(ratio * _LEVELS), 1 / (1 - ratio)
    if isinstance(bits, tuple):
        orders = cuda_kernels.orders(x)
        return _drawn(cuda_kernels.drawn_dropout, x, orders, bits, *chosen), (orders, bits, *chosen)
    return cuda_kernels.dropout(x, bits, *chosen)


def dropout_gradient(kept, grad_y):
    if isinstance(kept, tuple):
        return _drawn(cuda_kernels.drawn_dropout, grad_y, *kept)
    return cuda_kernels.product(kept, grad_y)


def _drawn(kernel, x, orders, key, *arguments):
    """What a kernel makes of x, whose numbers take the bits of this key in the order in which they lie."""
    order, back = orders
    x = x.transpose(order)
    if len(key) == 1:
        kernel = cuda_kernels.with_key_from_memory(kernel)
    y = backend.get_array_module(x).empty(x.shape, dtype=x.dtype)
    return kernel(x, *key, x.size, *arguments, y, size=_n_fours(x.size)).transpose(back)


def _n_fours(n):
    """How many fours of 64 bits n numbers take."""
    return -(-n // 16)


# ---- optimizers: all parameters, their states in place

def clipping_rate(gradients, limit):
    """What gradients are multiplied with to have a norm of at most ``limit``, an array."""
    if len(gradients) > 1:
        gradients = [concatenated([gradient.astype(gradients[0].dtype, copy=False) for gradient in gradients])]
    return cuda_kernels.clipping_rate(gradients[0], limit)


def adam(parameters, gradient, factor, step_size, beta1, beta2, eps, m, v):
    cuda_kernels.adam(gradient, factor, step_size, beta1, 1 - beta1, beta2, 1 - beta2, eps, parameters, m, v)


def adagrad(parameters, gradient, factor, lr, eps, h):
    cuda_kernels.adagrad(gradient, factor, lr, eps, parameters, h)


def average(averages, parameters, newest):
    cuda_kernels.average(parameters, newest, averages)


def decayed(gradient, factor, parameters, weight_decay):
    """``factor`` times the gradient, and that of the L2 penalty."""
    return cuda_kernels.decayed(gradient, factor, parameters, weight_decay)


# ---- the nearest of other points

def mean_of_gaussians(x, centres, deviation):
    """The mean over the centres (M, D) of exp(−‖x − c‖²/2 deviation²)/deviationᴰ, of x (N, D): (N,)."""
    xp = backend.get_array_module(x)
    return on_cpu.mean_of_exponentials(xp, x / deviation, centres / deviation) / deviation ** x.shape[1]


def neighbours(x, others, k):
    """The square of the distance to the k-th nearest, (N, 1), and the middle of the k nearest less x, (N, D)."""
    xp = backend.get_array_module(x)
    return cuda_kernels.neighbours(k)(
        x, others, len(others), x.shape[1], xp.empty((len(x), 1), dtype=x.dtype), xp.empty(x.shape, dtype=x.dtype))
