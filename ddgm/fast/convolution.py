"""Convolution and transposed convolution of square kernels, one stride and one padding for both directions.

Arrays are (N, channels, H, W) to their callers and lie in memory as (channels, H, W, N), so that every copy moves whole
runs of N numbers and no matrix product needs a rearranged operand.  What NumPy computes element by element keeps that
order.
"""

from __future__ import annotations

from collections.abc import Callable

import chainer

from ddgm.fast.elementary import FirstOrderFunction, Input


class _Convolution(FirstOrderFunction):

    def __init__(self, stride, pad, choose=None):
        self.stride, self.pad, self.choose = stride, pad, choose

    def forward_array(self, x, W, b=None):
        choose = self.choose or self.kernels.convolution_scheme
        self.scheme = choose(len(x), x.shape[2:], W, self.stride, self.pad)
        return self.scheme.product(self.scheme.from_image(x), W, b)

    def backward_arrays(self, indexes, inputs, grad_output):
        x, W = inputs[:2]
        gradients = []
        if 0 in indexes or 1 in indexes:
            result = self.scheme.from_result(grad_output)
        if 0 in indexes:
            gradients.append(self.scheme.transposed_product(result, W))
        if 1 in indexes:
            gradients.append(self.scheme.weight_gradient(self.scheme.from_image(x), result))
        if 2 in indexes:
            gradients.append(self.kernels.sums_of_channels(grad_output))
        return gradients


class _Deconvolution(FirstOrderFunction):

    def __init__(self, stride, pad, size):
        self.stride, self.pad, self.size = stride, pad, size

    def forward_array(self, x, W, b=None):
        n, _, *result_size = x.shape
        ksize = W.shape[2]
        size = self.size or tuple((length - 1) * self.stride + ksize - 2 * self.pad for length in result_size)
        self.scheme = self.kernels.convolution_scheme(n, size, W, self.stride, self.pad)
        return self.scheme.transposed_product(self.scheme.from_result(x), W, b)

    def backward_arrays(self, indexes, inputs, grad_output):
        x, W = inputs[:2]
        gradients = []
        if 0 in indexes or 1 in indexes:
            image = self.scheme.from_image(grad_output)
        if 0 in indexes:
            gradients.append(self.scheme.product(image, W))
        if 1 in indexes:
            gradients.append(self.scheme.weight_gradient(image, self.scheme.from_result(x)))
        if 2 in indexes:
            gradients.append(self.kernels.sums_of_channels(grad_output))
        return gradients


def convolution_2d(
        x: Input, W: Input, b: Input | None = None, stride: int = 1, pad: int = 0,
        choose: Callable | None = None) -> chainer.Variable:
    """Cross-correlation of (N, in, H, W) with the kernels W (out, in, k, k), plus b (out,) unless ``None``.

    The result is (N, out, H', W') with H' = (H + 2·pad − k) // stride + 1.  ``choose`` takes the place of the kernels'
    own ``convolution_scheme``.
    """
    return _Convolution(stride, pad, choose)(*((x, W) if b is None else (x, W, b)))


def deconvolution_2d(
        x: Input, W: Input, b: Input | None = None, stride: int = 1, pad: int = 0,
        outsize: tuple[int, int] | None = None) -> chainer.Variable:
    """The transpose of :func:`convolution_2d` as a map of x, plus b (out,) unless ``None``; W is (in, out, k, k).

    (N, in, H, W) to (N, out, *outsize); ``outsize`` defaults to (H − 1)·stride + k − 2·pad for each length.
    """
    return _Deconvolution(stride, pad, outsize)(*((x, W) if b is None else (x, W, b)))
