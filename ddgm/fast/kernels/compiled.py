"""The kernels of :mod:`ddgm.fast.kernels` for float32 in NumPy arrays, compiled by numba; what it lacks is NumPy's."""

import numpy

from ddgm.fast import threads
from ddgm.fast.kernels import convolution_on_cpu, loops, on_cpu
from ddgm.fast.kernels.blocks import Block, NotKnown  # noqa: F401
from ddgm.fast.kernels.layout_on_cpu import channels_first
from ddgm.fast.memory import buffer

_PART = 2 ** 16  # numbers of a batch whose units are normalized at a time


def __getattr__(name):
    return getattr(on_cpu, name)


def _for_each_number(loop, x, *others, between=()):
    """A new array of what a loop over numbers makes of x and others like it, in the order in which x lies."""
    order = sorted(range(x.ndim), key=lambda axis: -x.strides[axis])
    turned = [numpy.asarray(numpy.transpose(array, order or None), order='C') for array in (x, *others)]
    y = numpy.empty_like(turned[0])
    threads.in_parts(
        lambda *parts: loop(*parts[:-1], *between, parts[-1]), *[array.reshape(-1) for array in (*turned, y)])
    return numpy.transpose(y, numpy.argsort(order) if order else None)


def _parts(n, step):
    return [(first, min(first + step, n)) for first in range(0, n, step)]


# ---- each number by itself: an activation keeps its result

def _activation(name):
    def activation(x):
        y = _for_each_number(getattr(loops, name), x)
        return y, y
    return activation, lambda y, grad_y: _for_each_number(getattr(loops, name + '_gradient'), y, grad_y)


relu, relu_gradient = _activation('relu')
elu, elu_gradient = _activation('elu')
tanh, tanh_gradient = _activation('tanh')
sigmoid, sigmoid_gradient = _activation('sigmoid')


def noisy_elu(x, bits, standard_deviation):
    y, kept = elu(x)  # keeps what the gradient of this module takes
    return on_cpu.add_noise(y, bits, standard_deviation), kept


def dropout(x, bits, ratio):
    between = numpy.uint16(numpy.ceil(ratio * 2 ** 16)), numpy.float32(1 / (1 - ratio))
    return _for_each_number(loops.dropout, x, bits, between=between), (bits, between)


def dropout_gradient(kept, grad_y):
    bits, between = kept
    return _for_each_number(loops.dropout, grad_y, bits, between=between)


# ---- batch normalization of images, (N, units, H, W)

def batch_normalization(x, gamma, beta, eps, n_splits, known=None, running=None):
    if known is not None or x.ndim == 2:
        return on_cpu.batch_normalization(x, gamma, beta, eps, n_splits, known, running)
    moments, eps, x_in_order = (
        numpy.empty((2, n_splits, x.shape[1]), dtype=x.dtype), numpy.float32(eps), _in_order(x))
    y = numpy.empty_like(x_in_order)
    threads.for_each(
        lambda units: loops.batch_normalization_of_images(x_in_order, gamma, beta, eps, *units, *moments, y), _units(x))
    if running is not None:
        loops.running_statistics(moments, *running)
    return _as_before(y, x), (x_in_order, moments, eps)


def batch_normalization_gradient(grad_y, gamma, n, n_splits, kept, totals=None):
    if totals is not None or grad_y.ndim == 2:
        return on_cpu.batch_normalization_gradient(grad_y, gamma, n, n_splits, kept, totals)
    x, moments, eps = kept
    grad_x, of_units, grad_y_in_order = numpy.empty_like(x), numpy.empty_like(moments), _in_order(grad_y)
    threads.for_each(
        lambda units: loops.batch_normalization_of_images_gradient(
            grad_y_in_order, x, gamma, eps, *units, *moments, *of_units, grad_x), _units(grad_y))
    return _as_before(grad_x, grad_y), *of_units


def _in_order(x):
    """(units, H·W, N)"""
    return channels_first(x).reshape(x.shape[1], -1, len(x))


def _as_before(y, x):
    return y.reshape(x.shape[1], *x.shape[2:], len(x)).transpose(3, 0, 1, 2)


def _units(x):
    return _parts(x.shape[1], max(1, _PART * x.shape[1] // x.size))


# ---- convolution

def convolution_scheme(n, size, W, stride, pad):
    if W.shape[2] == 4 and stride == 2:
        return Winograd(n, size, pad)
    return on_cpu.convolution_scheme(n, size, W, stride, pad)


class Winograd(convolution_on_cpu.Winograd):
    """One pass over images and results, where NumPy makes one for each operation; good for small products too."""

    def from_image(self, x):
        x = channels_first(x)
        D = buffer('image', (3, 3, 2, 2, len(x), *self.tiles, self.n), x.dtype)
        self._for_each_channel(lambda channels: loops.image_to_parts(x, self.pad, D, *channels), D, len(x))
        return D.reshape(9, 4 * len(x), -1)

    def from_result(self, y):
        y = channels_first(y)
        M = buffer('result', (3, 3, len(y), *self.tiles, self.n), y.dtype)
        self._for_each_channel(lambda channels: loops.result_to_parts(y, M, *channels), M, len(y))
        return M.reshape(9, len(y), -1)

    def _image(self, D):
        D = D.reshape(3, 3, 2, 2, -1, *self.tiles, self.n)
        x = numpy.empty((D.shape[4], *self.size, self.n), dtype=D.dtype)
        self._for_each_channel(lambda channels: loops.parts_to_image(D, self.pad, x, *channels), D, len(x))
        return x.transpose(3, 0, 1, 2)

    def _result(self, M):
        M = M.reshape(3, 3, -1, *self.tiles, self.n)
        y = numpy.empty((M.shape[2], *self.result_size, self.n), dtype=M.dtype)
        self._for_each_channel(lambda channels: loops.parts_to_result(M, y, *channels), M, len(y))
        return y.transpose(3, 0, 1, 2)

    def _for_each_channel(self, function, parts, n_channels):
        threads.for_each(function, _parts(n_channels, max(1, n_channels * convolution_on_cpu.PART // parts.nbytes)))


# ---- neighbours

def neighbours(x, others, k):
    centre, radius = numpy.empty(x.shape, dtype=x.dtype), numpy.empty((len(x), 1), dtype=x.dtype)
    loops.nearest(numpy.ascontiguousarray(x), numpy.ascontiguousarray(others.T), k, centre, radius)
    return radius, centre - x


def mean_of_gaussians(x, centres, deviation):
    mean = numpy.empty(len(x), dtype=x.dtype)
    loops.mean_of_gaussians(
        numpy.ascontiguousarray(x), numpy.ascontiguousarray(centres.T), numpy.float32(-0.5 / deviation ** 2), mean)
    return mean / deviation ** x.shape[1]


# ---- optimizers

def adam(parameters, gradient, factor, step_size, beta1, beta2, eps, m, v):
    numbers = map(numpy.float32, (factor, step_size, beta1, 1 - beta1, beta2, 1 - beta2, eps))
    loops.adam(parameters, gradient, *numbers, m, v)
