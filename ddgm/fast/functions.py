"""Chainer's functions, some of them faster; the rest is Chainer's own.

``from ddgm.fast import functions as F`` takes the place of ``import chainer.functions as F``.
"""

import chainer.functions

from ddgm.fast.convolution import convolution_2d, deconvolution_2d
from ddgm.fast.elementary import elu, linear, mean, relu, sigmoid, tanh
from ddgm.fast.noise import dropout

__all__ = [
    'convolution_2d', 'deconvolution_2d', 'dropout', 'elu', 'linear', 'mean', 'relu', 'sigmoid', 'tanh']


def __getattr__(name):
    return getattr(chainer.functions, name)
