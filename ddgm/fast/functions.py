"""Chainer's functions, faster: linear map, convolutions, activations, dropout, mean; the rest is Chainer's own.

Named and called as :mod:`chainer.functions` has them, of which this is a part at a fraction of the cost of its calls:
``from ddgm.fast import functions as F`` takes the place of ``import chainer.functions as F``.  NumPy's minimum and
maximum of an array and a number are slower than those of two arrays, so they are avoided where arrays are large.  On a GPU the kernels of :mod:`ddgm.fast.kernels` compute the same.
"""

import functools

import chainer.functions
import numpy

from ddgm.fast import kernels
from ddgm.fast.convolution import convolution_2d, deconvolution_2d  # noqa: F401
from ddgm.fast.differentiation import FirstOrderFunction
from ddgm.fast.layout import matrix
from ddgm.fast.noise import dropout  # noqa: F401
from ddgm.fast.threads import in_parts


def __getattr__(name):
    return getattr(chainer.functions, name)


class _Linear(FirstOrderFunction):

    def forward_array(self, x, W, b=None):
        y = matrix(x).dot(W.T)
        if b is not None:
            y += b
        return y

    def backward_arrays(self, indexes, inputs, grad_output):
        x, W = inputs[:2]
        gradients = []
        if 0 in indexes:
            gradients.append(grad_output.dot(W).reshape(x.shape))
        if 1 in indexes:
            gradients.append(grad_output.T.dot(matrix(x)))
        if 2 in indexes:
            gradients.append(sum_of_rows(grad_output))
        return gradients


def linear(x, W, b=None, n_batch_axes=1):
    """xWᵀ + b, a sample a row: (N, …) with ``in`` numbers a sample, (out, in) and (out,) to (N, out)."""
    if n_batch_axes != 1:
        return chainer.functions.linear(x, W, b, n_batch_axes)
    return _Linear()(*((x, W) if b is None else (x, W, b)))


class _Activation(FirstOrderFunction):
    """A function of each number by itself, and its gradient from what it keeps: its result, or its slope.

    On the CPU ``compute(x, y, kept)`` and ``compute_gradient(kept, grad_y, grad_x)`` set their last arguments, of which
    the first one's are the same array where the result is kept.  On a GPU kernels return y, or y and the slope, and
    the gradient.
    """

    needs_inputs = False
    keeps_result = True

    def forward_array(self, x):
        if self.xp is not numpy:
            y = self.kernel(x)
            y, self.kept = (y, y) if self.keeps_result else y
            return y
        y = numpy.empty_like(x)
        self.kept = y if self.keeps_result else numpy.empty_like(x)
        in_parts(self.compute, x, y, self.kept)
        return y

    def backward_arrays(self, indexes, inputs, grad_output):
        if self.xp is not numpy:
            return self.gradient_kernel(self.kept, grad_output),
        grad_x = numpy.empty_like(self.kept)
        in_parts(self.compute_gradient, self.kept, grad_output, grad_x)
        return grad_x,


class _ReLU(_Activation):

    kernel, gradient_kernel = kernels.relu, kernels.relu_gradient

    @staticmethod
    def compute(x, y, kept):
        # Of a maximum of two zeros NumPy returns the second, so a zero keeps the sign of x, as in a product with 0.
        y.fill(-0.0)
        numpy.maximum(y, x, out=y)

    @staticmethod
    def compute_gradient(y, grad_y, grad_x):
        numpy.multiply(grad_y, y > 0, out=grad_x)


def relu(x):
    """max(x, 0), any shape."""
    return _ReLU()(x)


class _ELU(_Activation):

    kernel, gradient_kernel = kernels.elu, kernels.product
    keeps_result = False

    @staticmethod
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

    @staticmethod
    def compute_gradient(slope, grad_y, grad_x):
        numpy.multiply(slope, grad_y, out=grad_x)


def elu(x):
    """x where it is positive, exp(x) − 1 elsewhere (Clevert et al. 2016); any shape."""
    return _ELU()(x)


class _Tanh(_Activation):

    kernel, gradient_kernel = kernels.tanh, kernels.tanh_gradient

    @staticmethod
    def compute(x, y, kept):
        numpy.tanh(x, out=y)

    @staticmethod
    def compute_gradient(y, grad_y, grad_x):
        numpy.multiply(y, y, out=grad_x)
        numpy.subtract(1, grad_x, out=grad_x)
        grad_x *= grad_y


def tanh(x):
    """tanh(x), any shape."""
    return _Tanh()(x)


class _Sigmoid(_Activation):

    kernel, gradient_kernel = kernels.sigmoid, kernels.sigmoid_gradient

    @staticmethod
    def compute(x, y, kept):
        numpy.multiply(x, 0.5, out=y)
        numpy.tanh(y, out=y)
        y *= 0.5
        y += 0.5

    @staticmethod
    def compute_gradient(y, grad_y, grad_x):
        numpy.multiply(y, y, out=grad_x)
        numpy.subtract(y, grad_x, out=grad_x)
        grad_x *= grad_y


def sigmoid(x):
    """1/(1 + exp(−x)), any shape."""
    return _Sigmoid()(x)


class _Mean(FirstOrderFunction):

    def forward_array(self, x):
        return self.xp.asarray(x.sum() / x.size, dtype=x.dtype)

    def backward_arrays(self, indexes, inputs, grad_output):
        x, = inputs
        if self.xp is not numpy:  # where a number of an array would have to be read back
            return self.xp.broadcast_to(self.xp.asarray(grad_output / x.size, dtype=x.dtype), x.shape),
        return numpy.full(x.shape, grad_output / x.size, dtype=x.dtype),


def mean(x, axis=None, **options):
    """The mean of all numbers of an array, (); over some axes, or weighted, as Chainer has it."""
    if axis is not None or options:
        return chainer.functions.mean(x, axis, **options)
    return _Mean()(x)


def sum_of_rows(x):
    """x.sum(axis=0), on the CPU as a product, which is several times as fast."""
    return _ones(len(x), x.dtype).dot(x) if isinstance(x, numpy.ndarray) else x.sum(axis=0)


@functools.lru_cache(maxsize=16)
def _ones(n, dtype):
    return numpy.ones(n, dtype=dtype)
