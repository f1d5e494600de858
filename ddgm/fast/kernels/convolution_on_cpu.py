"""Ways to compute convolutions as matrix products: windows of the image, rows that overlap, and minimal filtering.

A scheme knows a geometry: N images of some size, and a kernel that gives results of ``result_size``.  Its methods
``from_image`` and ``from_result`` prepare images (N, C, H, W) and results (N, O, H', W') for three products:

- ``product(image, W, b)`` is the convolution with W (O, C, ksize, ksize), a result, plus b (O,) unless ``None``;
- ``transposed_product(result, W, b)`` is its transpose as a map of the image, an image, plus b (C,) unless ``None``;
- ``weight_gradient(image, result)`` is its transpose as a map of W.

What ``from_image`` and ``from_result`` return takes several times the memory of what they are given.  It is never kept:
what needs it again makes it again, in memory that all calls share (:mod:`ddgm.fast.memory`).  So it is good until the
next call of the same method.  What products return is new.
"""

import math

import numpy
from numpy.lib.stride_tricks import as_strided

from ddgm.fast.kernels.layout_on_cpu import channels_first
from ddgm.fast.memory import buffer
from ddgm.fast.threads import for_each

# Minimal filtering multiplies matrices (O, 4·channels) and (4·channels, tiles·N).  Where 4·channels or tiles·N is less
# than this, as where the image has only three colours, its additions cost more than it saves.
SMALLEST_PRODUCT = 64
# How many bytes of what is made of an image are made at a time, for a cache of 1 MB.
PART = 3 * 2 ** 20


def convolution_scheme(n, size, W, stride, pad, filtering=None, windows=None):
    """The faster way for n images of this size and kernels W (O, C, ksize, ksize): of the two here, or of other two."""
    _, channels, ksize, _ = W.shape
    if (ksize, stride) == (4, 2):
        scheme = (filtering or Winograd)(n, size, pad)
        if min(4 * channels, n * math.prod(scheme.tiles)) >= SMALLEST_PRODUCT:
            return scheme
    return (windows or Im2col)(n, size, ksize, stride, pad)


def _parts(channels, n_bytes):
    """Slices of the channels, for an array that takes ``n_bytes`` for all of them."""
    step = max(1, channels * PART // n_bytes)
    return [slice(first, first + step) for first in range(0, channels, step)]


def _plus(images, b):
    """Images (N, channels, H, W) with b (channels,) added in place, unless ``None``."""
    if b is not None:
        images += b[:, None, None]
    return images


class Im2col:
    """One product of W with the windows of the image; a strided copy for each place of the kernel makes them."""

    def __init__(self, n, size, ksize, stride, pad):
        self.n, self.size, self.ksize, self.stride, self.pad = n, size, ksize, stride, pad
        self.result_size = tuple([(length + 2 * pad - ksize) // stride + 1 for length in size])

    def from_image(self, x):
        """The windows of x, (C·ksize², H'·W'·N)."""
        channels = x.shape[1]
        padded = numpy.zeros(self._padded_shape(channels), dtype=x.dtype)
        self._inside(padded)[...] = channels_first(x)
        columns = buffer('image', (channels, *[self.ksize] * 2, *self.result_size, self.n), x.dtype)

        def copy(channels):
            for i, j in numpy.ndindex(self.ksize, self.ksize):
                columns[channels, i, j] = self._under(padded[channels], i, j)
        for_each(copy, _parts(channels, columns.nbytes))
        return columns.reshape(channels * self.ksize ** 2, -1)

    def from_result(self, y):
        """(O, H'·W'·N), without a copy for what a product returned."""
        return channels_first(y).reshape(y.shape[1], -1)

    def product(self, image, W, b=None):
        y = numpy.dot(W.reshape(len(W), -1), image)
        return _plus(y.reshape(len(W), *self.result_size, self.n).transpose(3, 0, 1, 2), b)

    def transposed_product(self, result, W, b=None):
        channels = W.shape[1]
        columns = buffer('products', (channels * self.ksize ** 2, result.shape[1]), result.dtype)
        numpy.dot(W.reshape(len(W), -1).T, result, out=columns)
        columns = columns.reshape(channels, self.ksize, self.ksize, *self.result_size, self.n)
        padded = numpy.zeros(self._padded_shape(channels), dtype=result.dtype)

        def add(channels):
            for i, j in numpy.ndindex(self.ksize, self.ksize):
                self._under(padded[channels], i, j)[...] += columns[channels, i, j]
        for_each(add, _parts(channels, columns.nbytes))
        return _plus(self._inside(padded).transpose(3, 0, 1, 2), b)

    def weight_gradient(self, image, result):
        return numpy.dot(result, image.T).reshape(len(result), -1, self.ksize, self.ksize)

    def _padded_shape(self, channels):
        return (channels, *[length + 2 * self.pad for length in self.size], self.n)

    def _inside(self, padded):
        """The image without its border."""
        return padded[:, self.pad:self.pad + self.size[0], self.pad:self.pad + self.size[1]]

    def _under(self, padded, i, j):
        """What the place (i, j) of the kernel is multiplied with, for every number of the result."""
        height, width = self.result_size
        return padded[:, i:i + self.stride * height:self.stride, j:j + self.stride * width:self.stride]


class OverlappingRows:
    """A product for each row of the result; stride 1, ``pad`` less than ``ksize``.

    Windows one below the other have all their rows but one in common.  So a row of the image is copied once for each
    column of the kernel, where :class:`Im2col` copies it once for each place.  ``ksize`` rows of such copies, one after
    the other in memory, are what a row of the result is made of.  Sums are rounded in another order than there.
    """

    def __init__(self, n, size, ksize, pad):
        self.n, self.size, self.ksize, self.pad = n, size, ksize, pad
        self.result_size = tuple([length + 2 * pad - ksize + 1 for length in size])

    def from_image(self, x):
        """What each row of the result is made of, (H', ksize·C·ksize, W'·N): a view of memory that they share."""
        return self._rows(x, self.pad, self.result_size, 'image')

    def from_result(self, y):
        """(O, H', W', N), without a copy for what a product returned."""
        return channels_first(y)

    def product(self, image, W, b=None):
        return _plus(self._product(image, W, self.result_size), b)

    def transposed_product(self, result, W, b=None):
        rows = self._rows(result.transpose(3, 0, 1, 2), self.ksize - 1 - self.pad, self.size, 'result')
        return _plus(self._product(rows, W[:, :, ::-1, ::-1].transpose(1, 0, 2, 3), self.size), b)

    def weight_gradient(self, image, result):
        height, width = self.result_size
        rows = result.reshape(len(result), height, width * self.n).transpose(1, 0, 2)
        products = numpy.matmul(rows, image.transpose(0, 2, 1)).sum(axis=0)
        return numpy.ascontiguousarray(
            products.reshape(len(result), self.ksize, -1, self.ksize).transpose(0, 2, 1, 3))

    def _rows(self, x, pad, size, name):
        """What each row of a result of some size is made of, where images (N, C, H, W) have so wide a border."""
        x = channels_first(x)
        channels, height, width, n = x.shape
        rows = buffer(name, (height + 2 * pad, channels, self.ksize, size[1], n), x.dtype)
        inside = rows[pad:pad + height]
        rows[:pad] = rows[pad + height:] = 0

        def copy(some):
            for j in range(self.ksize):
                # The columns of the image that lie under the place j of the kernel.
                first = max(0, pad - j)
                last = max(first, min(size[1], width + pad - j))
                place = inside[:, some, j]
                place[:, :, :first] = place[:, :, last:] = 0
                place[:, :, first:last] = x[some, :, first + j - pad:last + j - pad].transpose(1, 0, 2, 3)
        for_each(copy, _parts(channels, rows.nbytes))
        return as_strided(
            rows, (size[0], self.ksize * channels * self.ksize, size[1] * n),
            (rows.strides[0], rows.strides[2], rows.itemsize), writeable=False)

    def _product(self, rows, W, size):
        """Images (N, O, *size) of what their rows are made of, and of kernels (O, C, ksize, ksize)."""
        y = numpy.empty((len(W), size[0], size[1] * self.n), dtype=rows.dtype)
        matrix = W.transpose(0, 2, 1, 3).reshape(len(W), -1)
        numpy.matmul(matrix, rows, out=y.transpose(1, 0, 2))
        return y.reshape(len(W), *size, self.n).transpose(3, 0, 1, 2)


class Winograd:
    """9 multiplications where windows take 16: kernels of 4, stride 2.

    By parity of rows and columns such a convolution is the sum of four convolutions of kernels of 2, stride 1.  There,
    in one dimension, two neighbours of the result cost two multiplications each, but three together (Winograd 1980,
    Arithmetic Complexity of Computations; Lavin and Gray 2016, https://arxiv.org/abs/1509.09308)::

        y[2t]   = g[0] x[2t]   + g[1] x[2t+1] = M[0] + M[1]
        y[2t+1] = g[0] x[2t+1] + g[1] x[2t+2] = M[1] + M[2]
        M[i] = G[i] D[i],   G = (g[0], g[0] + g[1], g[1]),   D = (x[2t] - x[2t+1], x[2t+1], x[2t+2] - x[2t+1])

    In two dimensions G, D and M have 3×3 parts for a tile of 2×2 neighbours, and each part of M is one matrix product
    over channels and parities.  Gradients are the same steps transposed, in reverse order.  Nothing is multiplied but G
    and D, so that rounding stays close to that of windows.

    Axes are named i, j for the 3×3 parts, p, q for the parities of row and column, t, s for the tiles.  Rows and
    columns have their turn one after the other, a few channels at a time so that what is between stays in the cache.
    """

    def __init__(self, n, size, pad):
        self.n, self.size, self.pad = n, size, pad
        self.result_size = tuple([(length + 2 * pad - 4) // 2 + 1 for length in size])
        self.tiles = tuple([(length + 1) // 2 for length in self.result_size])  # the last may be half outside

    def from_image(self, x):
        """D, (i·j, p·q·C, t·s·N)."""
        x = channels_first(x)
        D = buffer('image', self._shape_of_D(len(x)), x.dtype)

        def make(part):
            padded, columns = self._between_image_and_D(len(x[part]), x.dtype)
            padded[...] = 0
            self._inside(padded)[...] = x[part]
            self._differences(self._pairs_of_columns(padded), columns)
            self._differences(self._pairs_of_rows(columns), D[:, :, :, :, part])
        for_each(make, _parts(D.shape[4], D.nbytes))
        return D.reshape(9, 4 * len(x), -1)

    def from_result(self, y):
        """What :meth:`_result` does, transposed: (N, O, H', W') to (i·j, O, t·s·N)."""
        y = self._complete(channels_first(y))
        height, width = self.tiles
        M = buffer('result', (3, 3, len(y), height, width * self.n), y.dtype)

        def make(part):
            channels = len(y[part])
            columns = buffer('columns', (3, channels, 2 * height, width, self.n), y.dtype)
            pairs = y[part].reshape(channels, 2 * height, width, 2, self.n)
            self._sums(pairs[:, :, :, 0], pairs[:, :, :, 1], columns)
            pairs = columns.reshape(3, channels, height, 2, width * self.n)
            self._sums(pairs[:, :, :, 0], pairs[:, :, :, 1], M[:, :, part])
        for_each(make, _parts(len(y), M.nbytes))
        return M.reshape(9, len(y), -1)

    def product(self, image, W, b=None):
        M = buffer('products', (9, len(W), image.shape[2]), image.dtype)
        numpy.matmul(self._from_kernels(W), image, out=M)
        return _plus(self._result(M), b)

    def transposed_product(self, result, W, b=None):
        D = buffer('products', (9, 4 * W.shape[1], result.shape[2]), result.dtype)
        numpy.matmul(self._from_kernels(W).transpose(0, 2, 1), result, out=D)
        return _plus(self._image(D), b)

    def weight_gradient(self, image, result):
        G = buffer('kernels', (result.shape[1], 9, image.shape[1]), image.dtype)
        numpy.matmul(result, image.transpose(0, 2, 1), out=G.transpose(1, 0, 2))
        kernels = numpy.empty((len(G), G.shape[2] // 4, 16), dtype=G.dtype)
        matrix = self._kernel_matrix(G.dtype)
        places = G.reshape(len(G), 36, -1).transpose(0, 2, 1)

        def make(part):
            numpy.matmul(places[part], matrix, out=kernels[part])
        for_each(make, _parts(len(G), G.nbytes))
        return kernels.reshape(*kernels.shape[:2], 4, 4)

    def _from_kernels(self, W):
        """G, (i·j, O, p·q·C)."""
        G = buffer('kernels', (len(W), 36, W.shape[1]), W.dtype)
        matrix = self._kernel_matrix(W.dtype)
        kernels = W.reshape(*W.shape[:2], 16).transpose(0, 2, 1)

        def make(part):
            numpy.matmul(matrix, kernels[part], out=G[part])
        for_each(make, _parts(len(W), G.nbytes))
        return G.reshape(len(W), 9, -1).transpose(1, 0, 2)

    def _kernel_matrix(self, dtype):
        """From the places (2a + p, 2b + q) of a kernel to i, j, p, q."""
        sums, one = numpy.array([[1, 0], [1, 1], [0, 1]]), numpy.eye(2)
        return numpy.asarray(numpy.einsum('ia,jb,pr,qs->ijpqarbs', sums, sums, one, one).reshape(36, 16), dtype=dtype)

    def _image(self, D):
        """What :meth:`from_image` does, transposed."""
        D = D.reshape(self._shape_of_D(D.shape[1] // 4))
        x = numpy.empty((D.shape[4], *self.size, self.n), dtype=D.dtype)

        def make(part):
            padded, columns = self._between_image_and_D(len(x[part]), x.dtype)
            self._differences_transposed(D[:, :, :, :, part], self._pairs_of_rows(columns))
            self._differences_transposed(columns, self._pairs_of_columns(padded))
            x[part] = self._inside(padded)
        for_each(make, _parts(len(x), D.nbytes))
        return x.transpose(3, 0, 1, 2)

    def _result(self, M):
        """y of M."""
        M = M.reshape(3, 3, M.shape[1], *self.tiles, self.n)
        y = numpy.empty((M.shape[2], *self.result_size, self.n), dtype=M.dtype)

        def make(part):
            rows = buffer('columns', (2, 3, len(y[part]), *self.tiles, self.n), y.dtype)
            numpy.add(M[:2, :, part], M[1:, :, part], out=rows)
            for row, column in numpy.ndindex(2, 2):
                place = y[part, row::2, column::2]
                inside = (slice(None), *map(slice, place.shape[1:3]))
                numpy.add(rows[row, column][inside], rows[row, column + 1][inside], out=place)
        for_each(make, _parts(len(y), M.nbytes))
        return y.transpose(3, 0, 1, 2)

    def _sums(self, first, second, out):
        """(first, first + second, second)."""
        out[0] = first
        numpy.add(first, second, out=out[1])
        out[2] = second

    def _differences(self, pairs, out):
        """D of (x[2t], x[2t+1]), where t is the last axis but one and has one more in ``pairs``."""
        even, odd = pairs
        middle = odd[..., :-1, :]
        numpy.subtract(even[..., :-1, :], middle, out=out[0])
        out[1] = middle
        numpy.subtract(even[..., 1:, :], middle, out=out[2])

    def _differences_transposed(self, D, out):
        first, middle, last = D
        even, odd = out
        even[..., 0, :] = first[..., 0, :]
        numpy.add(first[..., 1:, :], last[..., :-1, :], out=even[..., 1:-1, :])
        even[..., -1, :] = last[..., -1, :]
        numpy.subtract(middle, first, out=odd[..., :-1, :])
        odd[..., :-1, :] -= last
        odd[..., -1, :] = 0

    def _shape_of_D(self, channels):
        """i, j, p, q, channels, t, and s with N."""
        return 3, 3, 2, 2, channels, self.tiles[0], self.tiles[1] * self.n

    def _between_image_and_D(self, channels, dtype):
        """Memory for the image with a border and one tile more than all, and for j, q, channels, rows, s, N."""
        height, width = [4 * length + 4 for length in self.tiles]
        return (buffer('padded', (channels, height, width, self.n), dtype),
                buffer('columns', (3, 2, channels, height, self.tiles[1], self.n), dtype))

    def _pairs_of_columns(self, padded):
        """The two columns of a parity in each tile: 2, q, channels, rows, s, N."""
        return padded.reshape(*padded.shape[:2], -1, 2, 2, self.n).transpose(3, 4, 0, 1, 2, 5)

    def _pairs_of_rows(self, columns):
        """The two rows of a parity in each tile: 2, j, p, q, channels, t, and s with N."""
        return columns.reshape(*columns.shape[:3], -1, 2, 2, self.tiles[1] * self.n).transpose(4, 0, 5, 1, 2, 3, 6)

    def _inside(self, padded):
        """The image without its border."""
        return padded[:, self.pad:self.pad + self.size[0], self.pad:self.pad + self.size[1]]

    def _complete(self, y):
        """y (O, H', W', N) with zeros where tiles are half outside."""
        size = tuple([2 * length for length in self.tiles])
        if self.result_size == size:
            return y
        complete = buffer('complete', (len(y), *size, self.n), y.dtype)
        complete[...] = 0
        complete[:, :y.shape[1], :y.shape[2]] = y
        return complete
