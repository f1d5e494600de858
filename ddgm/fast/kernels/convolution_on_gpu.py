"""The two ways of :mod:`ddgm.fast.kernels.convolution_on_cpu` for a GPU: matrix products, and kernels before and after.

A product takes three or four launches: its operands are gathered into the order in memory that cuBLAS takes, and its
bias is added where the result is gathered.  What is prepared is new memory, which CuPy keeps at hand by itself.  Of the
classes for a CPU these take over what they know of their geometry.
"""

from __future__ import annotations

import math

import numpy
from chainer import backend

from ddgm.fast.kernels import convolution_on_cpu, cuda_convolution, cuda_kernels

# ---- how images lie

def channels_first(x):
    """(N, C, H, W) as a contiguous (C, H, W, N): without a copy for what a product returned."""
    return backend.get_array_module(x).ascontiguousarray(x.transpose(1, 2, 3, 0))


def joined(x, others):
    """Two batches one after the other, an array; of images one that lies as convolutions take it."""
    xp = backend.get_array_module(x)
    if x.ndim != 4:
        both = xp.empty((len(x) + len(others), *x.shape[1:]), dtype=numpy.promote_types(x.dtype, others.dtype))
        return cuda_kernels.concatenation(2)(x, x.size, others, both.size, both)
    n, dtype = len(x), numpy.promote_types(x.dtype, others.dtype)
    both = xp.empty((*x.shape[1:], n + len(others)), dtype=dtype).transpose(3, 0, 1, 2)
    both[:n] = x
    both[n:] = others
    return both


def from_levels(x):
    """Levels of 0…255, uint8, as float32 in 0…1; of images, as convolutions take them."""
    levels = x.transpose(1, 2, 3, 0) if x.ndim == 4 else x
    result = backend.get_array_module(x).empty(levels.shape, dtype=numpy.float32)
    cuda_convolution.from_levels(levels, result, size=x.size)
    return result.transpose(3, 0, 1, 2) if x.ndim == 4 else result


def sums_of_channels(x):
    """Over everything but the channels: (N, C, H, W) to (C,)."""
    return channels_first(x).reshape(x.shape[1], -1).sum(axis=1)


# ---- convolution

def convolution_scheme(n, size, W, stride, pad):
    """The faster way for n images of this size and kernels W (O, C, ksize, ksize)."""
    return convolution_on_cpu.convolution_scheme(n, size, W, stride, pad, Winograd, Im2col)


def _empty(like, *shape):
    return backend.get_array_module(like).empty(shape, dtype=like.dtype)


def _bias(b, like):
    """As kernels take it: an array, and whether it is one; where there is none, any number of another array."""
    return (like.ravel()[:1], 0) if b is None else (b, 1)


class Im2col(convolution_on_cpu.Im2col):
    """One product of W with the windows of the image."""

    def from_image(self, x):
        x = channels_first(x)
        n_places = math.prod(self.result_size) * self.n
        columns = _empty(x, len(x) * self.ksize ** 2, n_places)
        return cuda_convolution.windows(x, *self._geometry(), columns, size=len(x) * n_places)

    def from_result(self, y):
        return channels_first(y).reshape(y.shape[1], -1)

    def product(self, image, W, b=None):
        y = W.reshape(len(W), -1).dot(image)
        if b is not None:
            y += b[:, None]
        return y.reshape(len(W), *self.result_size, self.n).transpose(3, 0, 1, 2)

    def transposed_product(self, result, W, b=None):
        columns = W.reshape(len(W), -1).T.dot(result)
        x = _empty(result, W.shape[1], *self.size, self.n)
        cuda_convolution.windows_transposed(columns, *_bias(b, columns), *self._geometry(), x, size=x.size)
        return x.transpose(3, 0, 1, 2)

    def _geometry(self):
        return (self.ksize, self.stride, self.pad, *self.size, *self.result_size, self.n)


class Winograd(convolution_on_cpu.Winograd):
    """Minimal filtering, by one kernel for each of its sums and differences in two dimensions."""

    def from_image(self, x):
        x = channels_first(x)
        n_places = 4 * len(x) * self._n_tiles()
        D = _empty(x, 9, 4 * len(x), self._n_tiles())
        return cuda_convolution.differences(
            x, self.pad, len(x), *self.size, *self.tiles, self.n, n_places, D, size=n_places)

    def from_result(self, y):
        y = y.transpose(1, 2, 3, 0)  # each number is read once, so however they lie
        n_places = len(y) * self._n_tiles()
        M = _empty(y, 9, len(y), self._n_tiles())
        return cuda_convolution.sums_transposed(
            y, *self.result_size, *self.tiles, self.n, n_places, M, size=n_places)

    def product(self, image, W, b=None):
        M = backend.get_array_module(W).matmul(self._from_kernels(W), image)
        n_places = len(W) * self._n_tiles()
        y = _empty(M, len(W), *self.result_size, self.n)
        cuda_convolution.sums(
            M, *_bias(b, M), *self.result_size, *self.tiles, self.n, n_places, y, size=n_places)
        return y.transpose(3, 0, 1, 2)

    def transposed_product(self, result, W, b=None):
        D = backend.get_array_module(W).matmul(self._from_kernels(W, transposed=True), result)
        channels = W.shape[1]
        x = _empty(D, channels, *self.size, self.n)
        height, width = self.tiles
        cuda_convolution.differences_transposed(
            D, *_bias(b, D), self.pad, channels, *self.size, height, width, self.n, x,
            size=4 * channels * (height + 1) * (width + 1) * self.n)
        return x.transpose(3, 0, 1, 2)

    def weight_gradient(self, image, result):
        n_out, channels = result.shape[1], image.shape[1] // 4
        G = _empty(image, 9, n_out, 4 * channels)
        for i in range(9):  # a batched product would copy the operand that is transposed
            backend.get_array_module(image).dot(result[i], image[i].T, out=G[i])
        W = _empty(G, n_out, channels, 4, 4)
        return cuda_convolution.kernel_sums_transposed(G, channels, G[0].size, W, size=n_out * channels)

    def _from_kernels(self, W, transposed=False):
        """G, (i·j, O, p·q·C), or (i·j, p·q·C, O) as a product with its transpose takes it without a copy."""
        n_out, channels = W.shape[:2]
        W = backend.get_array_module(W).ascontiguousarray(W)
        if transposed:
            G, n_inner = _empty(W, 9, 4 * channels, n_out), n_out
            steps = 1, channels, n_out, channels * n_out
        else:
            G, n_inner = _empty(W, 9, n_out, 4 * channels), channels
            steps = channels, 1, 4 * channels, channels
        return cuda_convolution.kernel_sums(W, n_inner, *steps, G[0].size, G, size=n_out * channels)

    def _n_tiles(self):
        return math.prod(self.tiles) * self.n
