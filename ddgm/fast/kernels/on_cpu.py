"""The kernels of :mod:`ddgm.fast.kernels` in NumPy, the reference of all others.

NumPy's minimum and maximum of an array and a number are slower than those of two arrays, so they are avoided where
arrays are large.
"""

from __future__ import annotations

import functools
import operator
import statistics

import numpy

from ddgm.fast import threads
from ddgm.fast.kernels.convolution_on_cpu import convolution_scheme  # noqa: F401
from ddgm.fast.kernels.layout_on_cpu import channels_first, from_levels, joined, sums_of_channels  # noqa: F401
from ddgm.fast.kernels.normalization_on_cpu import (  # noqa: F401
    batch_normalization,
    batch_normalization_gradient,
    moments,
    sum_of_rows,
    sums_over_batches,
    unit_gradients,
)

_LEVELS = 2 ** 16  # of what 16 random bits tell apart


def _in_parts(function, *arrays):
    """``function(*arrays)``, of large arrays in parts on all cores."""
    (function if arrays[0].size <= threads.PART else functools.partial(threads.in_parts, function))(*arrays)


def _gradient(compute, kept, grad_y):
    grad_x = numpy.empty_like(kept)
    _in_parts(compute, kept, grad_y, grad_x)
    return grad_x


# ---- activations: each keeps its result, or its slope

def relu(x):
    def compute(x, y):
        # Of a maximum of two zeros NumPy returns the second, so a zero keeps the sign of x, as in a product with 0.
        y.fill(-0.0)
        numpy.maximum(y, x, out=y)
    y = numpy.empty_like(x)
    _in_parts(compute, x, y)
    return y, y


def relu_gradient(y, grad_y):
    return _gradient(lambda y, grad_y, grad_x: numpy.multiply(grad_y, y > 0, out=grad_x), y, grad_y)


def elu(x):
    def compute(x, y, slope):
        slope.fill(0)
        numpy.minimum(slope, x, out=slope)
        slope *= 0.5
        # exp(x) − 1 = 2t/(1 − t) with t = tanh(x/2): without AVX-512 NumPy has a fast tanh, but no fast expm1.
        numpy.tanh(slope, out=slope)
        numpy.subtract(1, slope, out=y)
        slope *= 2
        slope /= y
        numpy.maximum(x, slope, out=y)
        slope += 1
    y, slope = numpy.empty_like(x), numpy.empty_like(x)
    _in_parts(compute, x, y, slope)
    return y, slope


def elu_gradient(slope, grad_y):
    return _gradient(lambda slope, grad_y, grad_x: numpy.multiply(slope, grad_y, out=grad_x), slope, grad_y)


def tanh(x):
    y = numpy.empty_like(x)
    _in_parts(lambda x, y: numpy.tanh(x, out=y), x, y)
    return y, y


def tanh_gradient(y, grad_y):
    def compute(y, grad_y, grad_x):
        numpy.multiply(y, y, out=grad_x)
        numpy.subtract(1, grad_x, out=grad_x)
        grad_x *= grad_y
    return _gradient(compute, y, grad_y)


def sigmoid(x):
    def compute(x, y):
        numpy.multiply(x, 0.5, out=y)
        numpy.tanh(y, out=y)
        y *= 0.5
        y += 0.5
    y = numpy.empty_like(x)
    _in_parts(compute, x, y)
    return y, y


def sigmoid_gradient(y, grad_y):
    def compute(y, grad_y, grad_x):
        numpy.multiply(y, y, out=grad_x)
        numpy.subtract(y, grad_x, out=grad_x)
        grad_x *= grad_y
    return _gradient(compute, y, grad_y)


# ---- arrays

def concatenated(arrays):
    """All numbers of arrays of one type, one after the other."""
    return numpy.concatenate([array.ravel() for array in arrays])


def one_beside(x):
    """An array of ones as x has it, the gradient of a loss in itself; nobody changes it."""
    return numpy.ones_like(x)


def for_parameters(gradients):
    return gradients


def negative(x):
    return numpy.asarray(-x)


def rows_gradient(x, rows, grad_y):
    """The gradient of x by that of x[rows]."""
    grad_x = numpy.zeros_like(x)
    grad_x[rows] = grad_y
    return grad_x


# ---- linear maps

def linear(x, W, b):
    """xWᵀ + b, or without b where that is ``None``; x is a matrix."""
    y = numpy.dot(x, W.T)
    if b is not None:
        y += b
    return y


def linear_gradients(x, grad_y, of_W, of_b):
    """The gradients of W and of b, those that are wanted."""
    return [*([numpy.dot(grad_y.T, x)] if of_W else []), *([sum_of_rows(grad_y)] if of_b else [])]


# ---- the energy

def quadratic_term(x, sigma):
    squares = x * x
    while squares.ndim > 1:  # an axis at a time, so that rounding doesn't add up
        squares = squares.sum(axis=-1)
    return squares / sigma ** 2


def quadratic_term_gradient(x, sigma, grad_energy):
    return (2 / sigma ** 2) * _beside(grad_energy, x) * x


def bias_term(x, b):
    return -x.dot(b)


def bias_term_gradient_of_x(x, b, grad_energy):
    return -grad_energy[:, None] * b


def bias_term_gradient_of_b(x, grad_energy):
    return -grad_energy.dot(x)


def expert_term(a):
    # log(1 + exp(a)) without overflow
    return -(numpy.maximum(a, 0) + numpy.log1p(numpy.exp(-abs(a)))).sum(axis=1)


def expert_term_gradient(a, grad_energy):
    return -grad_energy[:, None] * (0.5 * numpy.tanh(0.5 * a) + 0.5)


def gaussian_entropy(gammas, two_pi_e, epsilon):
    gamma = concatenated(gammas)
    return numpy.asarray((0.5 * numpy.log(two_pi_e * gamma * gamma + epsilon)).sum()), None


def gaussian_entropy_gradient(gammas, kept, grad_entropy, two_pi_e, epsilon):
    return [grad_entropy * two_pi_e * gamma / (two_pi_e * gamma * gamma + epsilon) for gamma in gammas]


def mean(x):
    return numpy.asarray(x.sum() / x.size, dtype=x.dtype)


def mean_gradient(x, grad_output):
    return numpy.full(x.shape, grad_output / x.size, dtype=x.dtype)


def add_observation(numbers, sums, sums_of_squares):
    """Add numbers, arrays (), to (n,) and their squares to (n,), in place."""
    numbers = numpy.array(numbers)
    sums += numbers
    sums_of_squares += numbers * numbers


# ---- weight normalization

def weight_normalization(V, g):
    rows = V.reshape(len(V), -1)
    norm = numpy.sqrt(numpy.einsum('ij,ij->i', rows, rows))
    return _beside(g / norm, V) * V, norm


def weight_normalization_gradient(V, g, norm, grad_W, wants_V=True):
    """Gradients of V, or ``None``, and of g."""
    direction = V / _beside(norm, V)
    along = (grad_W * direction).reshape(len(V), -1).sum(axis=1)  # the part of the gradient that changes g
    return _beside(g / norm, V) * (grad_W - _beside(along, V) * direction) if wants_V else None, along


def _beside(values, V):
    """A number for each row of V as an array beside V."""
    return values.reshape((-1,) + (1,) * (V.ndim - 1))


# ---- noise: from 16 random bits a number

def add_noise(x, bits, standard_deviation):
    table, y = quantiles(x.dtype, standard_deviation), numpy.empty_like(x)
    threads.in_parts(lambda x, bits, y: numpy.add(x, table.take(bits), out=y), x, bits, y)
    return y


def noisy_elu(x, bits, standard_deviation):
    y, kept = elu(x)
    return add_noise(y, bits, standard_deviation), kept


@functools.lru_cache(maxsize=8)
def quantiles(dtype, standard_deviation):
    """The normal distribution's values at 65,536 equal steps of probability; their variance is exact."""
    normal = statistics.NormalDist()
    half = numpy.array([normal.inv_cdf((i + 0.5) / _LEVELS) for i in range(_LEVELS // 2)])
    table = numpy.concatenate([half, -half[::-1]])
    return (standard_deviation / numpy.sqrt((table * table).mean()) * table).astype(dtype)


def dropout(x, bits, ratio):
    def compute(x, bits, mask, y):
        numpy.multiply(bits >= ratio * _LEVELS, x.dtype.type(1 / (1 - ratio)), out=mask)
        numpy.multiply(x, mask, out=y)
    y, mask = numpy.empty_like(x), numpy.empty_like(x)
    threads.in_parts(compute, x, bits, mask, y)
    return y, mask


def dropout_gradient(mask, grad_y):
    grad_x = numpy.empty_like(mask)
    threads.in_parts(numpy.multiply, grad_y, mask, grad_x)
    return grad_x


# ---- optimizers: a part of all parameters, their states in place

def clipping_rate(gradients, limit):
    """What gradients, arrays of any shapes, are multiplied with to have a norm of at most ``limit``."""
    norm = numpy.sqrt(functools.reduce(operator.add, [numpy.vdot(gradient, gradient) for gradient in gradients]))
    return limit / float(norm) if norm > limit else 1


def adam(parameters, gradient, factor, step_size, beta1, beta2, eps, m, v):
    m *= beta1
    new = gradient * ((1 - beta1) * factor)
    m += new
    v *= beta2
    numpy.multiply(gradient, gradient, out=new)
    new *= (1 - beta2) * factor ** 2
    v += new
    step = numpy.sqrt(v, out=new)
    step += eps
    numpy.divide(m, step, out=step)
    step *= step_size
    parameters -= step


def adagrad(parameters, gradient, factor, lr, eps, h):
    gradient = gradient * factor
    h += gradient * gradient
    gradient *= lr
    gradient /= numpy.sqrt(h) + eps
    parameters -= gradient


def average(averages, parameters, newest):
    averages += newest * (parameters - averages)


def decayed(gradient, factor, parameters, weight_decay):
    """``factor`` times the gradient, and that of the L2 penalty."""
    return gradient * factor + weight_decay * parameters


# ---- the nearest of other points

def neighbours(x, others, k):
    """The square of the distance to the k-th nearest, (N, 1), and the middle of the k nearest less x, (N, D)."""
    # A coordinate at a time: exact for near points.
    squares = sum((x[:, i:i + 1] - others[:, i]) ** 2 for i in range(x.shape[1]))
    nearest = indexes_of_smallest(squares, k)
    return numpy.take_along_axis(squares, nearest, axis=1).max(axis=1, keepdims=True), others[nearest].mean(axis=1) - x


def mean_of_gaussians(x, centres, deviation):
    """The mean over the centres (M, D) of exp(−‖x − c‖²/2 deviation²)/deviationᴰ, of x (N, D): (N,)."""
    return mean_of_exponentials(numpy, x / deviation, centres / deviation) / deviation ** x.shape[1]


def mean_of_exponentials(xp, x, centres):
    """The mean over the centres of exp(−‖x − c‖²/2), on arrays of NumPy or CuPy."""
    def half_squares(x):
        return 0.5 * (x * x).sum(axis=1, keepdims=True)
    exponents = x @ centres.T  # one matrix, which all that follows changes in place
    exponents -= half_squares(x)
    exponents -= half_squares(centres).T
    return xp.exp(exponents, out=exponents).mean(axis=1)


def indexes_of_smallest(values, k):
    """The indexes (N, k), in any order, of the k smallest numbers in each row of an array (N, M).

    A row falls into groups of 16.  The smallest numbers lie in the k groups with the smallest minima, so only those are
    searched; partitioning whole rows takes several times as long.
    """
    size = 16
    n_groups = values.shape[1] // size
    if k >= n_groups:
        return numpy.argpartition(values, k - 1, axis=1)[:, :k]
    minima = values[:, :size * n_groups].reshape(-1, size, n_groups).min(axis=1)
    groups = numpy.argpartition(minima, k - 1, axis=1)[:, :k]
    members = groups[:, None] + n_groups * numpy.arange(size)[:, None]
    alone = numpy.arange(size * n_groups, values.shape[1])  # in no group
    places = numpy.concatenate(
        [members.reshape(len(values), -1), numpy.broadcast_to(alone, (len(values), len(alone)))], axis=1)
    smallest = numpy.argpartition(numpy.take_along_axis(values, places, axis=1), k - 1, axis=1)[:, :k]
    return numpy.take_along_axis(places, smallest, axis=1)
