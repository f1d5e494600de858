"""Convolution and transposed convolution, each one matrix product and a strided copy for each place of the kernel.

Arrays are (N, channels, H, W) to their callers and lie in memory as (channels, H, W, N), so that every copy moves whole
runs of N numbers and no product needs a rearranged operand.  What NumPy computes element by element keeps that order.
Square kernels, one stride and one padding for both directions.
"""

from ddgm.functions import FirstOrderFunction


def _to_columns(xp, x, ksize, stride, pad):
    """The windows of x: (N, C, H, W) to (C·ksize², H'·W'·N) and (H', W')."""
    n, channels, *size = x.shape
    height, width = ((length + 2 * pad - ksize) // stride + 1 for length in size)
    padded = xp.zeros((channels, size[0] + 2 * pad, size[1] + 2 * pad, n), dtype=x.dtype)
    padded[:, pad:pad + size[0], pad:pad + size[1]] = x.transpose(1, 2, 3, 0)
    columns = xp.empty((channels, ksize, ksize, height, width, n), dtype=x.dtype)
    for i in range(ksize):
        for j in range(ksize):
            columns[:, i, j] = padded[:, i:i + stride * height:stride, j:j + stride * width:stride]
    return columns.reshape(channels * ksize ** 2, -1), (height, width)


def _from_columns(xp, columns, shape, windows, ksize, stride, pad):
    """The sum of all windows at their places, the transpose of :func:`_to_columns`: back to ``shape``, (N, C, H, W)."""
    n, channels, *size = shape
    height, width = windows
    columns = columns.reshape(channels, ksize, ksize, height, width, n)
    padded = xp.zeros((channels, size[0] + 2 * pad, size[1] + 2 * pad, n), dtype=columns.dtype)
    for i in range(ksize):
        for j in range(ksize):
            padded[:, i:i + stride * height:stride, j:j + stride * width:stride] += columns[:, i, j]
    return padded[:, pad:pad + size[0], pad:pad + size[1]].transpose(3, 0, 1, 2)


def _by_channel(x):
    """(N, C, H, W) to (C, H·W·N), without a copy for what this module returned."""
    return x.transpose(1, 2, 3, 0).reshape(x.shape[1], -1)


def _by_image(rows, n, windows):
    """The opposite: (C, H·W·N) to (N, C, H, W)."""
    return rows.reshape(len(rows), *windows, n).transpose(3, 0, 1, 2)


class _Convolution(FirstOrderFunction):

    def __init__(self, stride, pad):
        self.stride, self.pad = stride, pad

    def forward_array(self, x, W, b=None):
        self.columns, self.windows = _to_columns(self.xp, x, W.shape[2], self.stride, self.pad)
        y = W.reshape(len(W), -1).dot(self.columns)
        if b is not None:
            y += b[:, None]
        return _by_image(y, len(x), self.windows)

    def backward_arrays(self, indexes, inputs, grad_output):
        x, W = inputs[:2]
        gy = _by_channel(grad_output)
        gradients = []
        if 0 in indexes:
            columns = W.reshape(len(W), -1).T.dot(gy)
            gradients.append(
                _from_columns(self.xp, columns, x.shape, self.windows, W.shape[2], self.stride, self.pad))
        if 1 in indexes:
            gradients.append(gy.dot(self.columns.T).reshape(W.shape))
        if 2 in indexes:
            gradients.append(gy.sum(axis=1))
        return gradients


class _Deconvolution(FirstOrderFunction):

    def __init__(self, stride, pad, size):
        self.stride, self.pad, self.size = stride, pad, size

    def forward_array(self, x, W, b=None):
        n, _, *windows = x.shape
        ksize = W.shape[2]
        size = self.size or tuple((length - 1) * self.stride + ksize - 2 * self.pad for length in windows)
        columns = W.reshape(len(W), -1).T.dot(_by_channel(x))
        y = _from_columns(self.xp, columns, (n, W.shape[1], *size), windows, ksize, self.stride, self.pad)
        if b is not None:
            y += b[:, None, None]
        return y

    def backward_arrays(self, indexes, inputs, grad_output):
        x, W = inputs[:2]
        gradients = []
        if 0 in indexes or 1 in indexes:
            columns, windows = _to_columns(self.xp, grad_output, W.shape[2], self.stride, self.pad)
        if 0 in indexes:
            gradients.append(_by_image(W.reshape(len(W), -1).dot(columns), len(x), windows))
        if 1 in indexes:
            gradients.append(_by_channel(x).dot(columns.T).reshape(W.shape))
        if 2 in indexes:
            gradients.append(grad_output.sum(axis=(0, 2, 3)))
        return gradients


def convolution(x, W, b, stride, pad):
    """Cross-correlation of (N, in, H, W) with the kernels W (out, in, k, k), plus b (out,) unless ``None``.

    The result is (N, out, H', W') with H' = (H + 2·pad − k) // stride + 1.
    """
    return _Convolution(stride, pad).apply((x, W) if b is None else (x, W, b))[0]


def deconvolution(x, W, b, stride, pad, size=None):
    """The transpose of :func:`convolution` as a map of x, plus b (out,) unless ``None``; W is (in, out, k, k).

    (N, in, H, W) to (N, out, *size); ``size`` defaults to (H − 1)·stride + k − 2·pad for each length.
    """
    return _Deconvolution(stride, pad, size).apply((x, W) if b is None else (x, W, b))[0]
