"""Chainer's functions, faster: linear map, convolutions, activations, dropout, mean; the rest is Chainer's own.

Named and called as :mod:`chainer.functions` has them, of which this is a part at a fraction of the cost of its calls:
``from ddgm.fast import functions as F`` takes the place of ``import chainer.functions as F``.  NumPy's minimum and
maximum of an array and a number are slower than those of two arrays, so they are avoided where arrays are large.  On a
GPU the kernels of :mod:`ddgm.fast.kernels` compute the same.
"""

import functools

import chainer.functions
import numpy

from ddgm.fast import convolution, kernels, noise
from ddgm.fast.differentiation import FirstOrderFunction
from ddgm.fast.layout import matrix
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
    if n_batch_axes != 1 or x.dtype != W.dtype:
        return chainer.functions.linear(x, W, b, n_batch_axes)
    try:
        return _Linear()(*((x, W) if b is None else (x, W, b)))
    except ValueError:
        return chainer.functions.linear(x, W, b)  # whose error names the sizes that don't fit


def convolution_2d(x, W, b=None, stride=1, pad=0, cover_all=False, *, dilate=1, groups=1):
    """That of :mod:`ddgm.fast.convolution`; Chainer computes what it does not know of, a dilated one for instance."""
    if cover_all or not _is_plain(x, W, stride, pad, dilate, groups):
        return chainer.functions.convolution_2d(x, W, b, stride, pad, cover_all, dilate=dilate, groups=groups)
    return convolution.convolution_2d(x, W, b, _pair(stride)[0], _pair(pad)[0])


def deconvolution_2d(x, W, b=None, stride=1, pad=0, outsize=None, *, dilate=1, groups=1):
    """That of :mod:`ddgm.fast.convolution`; Chainer computes what it does not know of."""
    (stride_of_rows, _), (pad_of_rows, _) = _pair(stride), _pair(pad)
    is_plain = _is_plain(x, W, stride, pad, dilate, groups) and (outsize is None or all(
        (size + 2 * pad_of_rows - W.shape[2]) // stride_of_rows + 1 == length
        for size, length in zip(outsize, x.shape[2:])))
    if not is_plain:
        return chainer.functions.deconvolution_2d(x, W, b, stride, pad, outsize, dilate=dilate, groups=groups)
    return convolution.deconvolution_2d(x, W, b, stride_of_rows, pad_of_rows, outsize)


def _is_plain(x, W, stride, pad, dilate, groups):
    """Whether a convolution has one dtype, square kernels, and one stride and padding for both directions."""
    return (
        x.dtype == W.dtype and W.shape[2] == W.shape[3] and len(set(_pair(stride))) == len(set(_pair(pad))) == 1
        and _pair(dilate) == (1, 1) and groups == 1)


def _pair(numbers):
    """Two numbers, where one may have been given for both."""
    return tuple(numbers) if hasattr(numbers, '__len__') else (numbers, numbers)


def dropout(x, ratio=0.5, *, mask=None, return_mask=False):
    """That of :mod:`ddgm.fast.noise`, or with a mask (the shape of x) of what numbers are multiplied with."""
    if mask is None and not return_mask:
        return noise.dropout(chainer.as_variable(x), ratio)
    if mask is None and chainer.config.train:
        mask = noise.dropout(chainer.as_variable(x).xp.ones_like(chainer.as_variable(x).array), ratio).array
    return chainer.functions.dropout(x, ratio, mask=mask, return_mask=return_mask)


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


def elu(x, alpha=1.0):
    """x where it is positive, alpha·(exp(x) − 1) elsewhere (Clevert et al. 2016); other alphas by Chainer."""
    return _ELU()(x) if alpha == 1 else chainer.functions.elu(x, alpha)


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


def mean(x, axis=None, weights=None, keepdims=False):
    """The mean of all numbers of an array, (); over some axes, or weighted, as Chainer has it."""
    if axis is not None or weights is not None or keepdims or x.dtype == numpy.float16:  # whose sum may be infinite
        return chainer.functions.mean(x, axis, weights, keepdims)
    return _Mean()(x)


def sum_of_rows(x):
    """x.sum(axis=0), on the CPU as a product, which is several times as fast."""
    return _ones(len(x), x.dtype).dot(x) if isinstance(x, numpy.ndarray) else x.sum(axis=0)


@functools.lru_cache(maxsize=16)
def _ones(n, dtype):
    return numpy.ones(n, dtype=dtype)
