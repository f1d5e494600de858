"""Chainer's functions, some of them faster; the rest is Chainer's own.

``from ddgm.fast import functions as F`` takes the place of ``import chainer.functions as F``.  What the faster ones
don't know of, a dilated convolution for instance, Chainer computes.
"""

import chainer
import chainer.functions

from ddgm.fast import convolution, noise
from ddgm.fast.elementary import elu, linear, mean, relu, sigmoid, tanh

__all__ = [
    'convolution_2d', 'deconvolution_2d', 'dropout', 'elu', 'linear', 'mean', 'relu', 'sigmoid', 'tanh']


def __getattr__(name):
    return getattr(chainer.functions, name)


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
