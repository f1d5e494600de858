"""What Chainer 7.8.1 (the last release, January 2022) needs from a newer Python or NumPy than it was written for.

The only module that knows of it.  Nothing here imports Chainer; its files stay as they were installed, and NumPy is as
before once Chainer is imported.
"""

import os
import sys
import types
import warnings

import numpy

from ddgm.support.errors import UsageError

# Variables that Chainer reads as a number while it is imported, and the number types that it knows.
_NUMBERS = tuple('CHAINER_' + name for name in (
    'CUDNN', 'CUDNN_FAST_BATCH_NORMALIZATION', 'DEBUG', 'KEEP_GRAPH_ON_REPORT', 'LAZY_GRAD_SUM', 'TYPE_CHECK'))
_TYPES = 'float16', 'mixed16', 'float32', 'float64'
# The number types of Chainer's as_strided, in a table that NumPy 2 dropped.
_SCTYPES = {
    'int': [numpy.int8, numpy.int16, numpy.int32, numpy.int64], 'float': [numpy.float16, numpy.float32, numpy.float64]}


def prepare_for_chainer():
    """Make ``import chainer`` work on Python 3.9 to 3.15 with NumPy 1 or 2; calling it again changes nothing."""
    if 'chainer' in sys.modules:
        return
    if not hasattr(numpy, 'sctypes'):
        numpy.sctypes = _SCTYPES  # Chainer reads it while it is imported
    _replace_environment_check()
    # CuPy 14 has no cuDNN at all, so Chainer's advice to reinstall CuPy with it can't be followed; and NCCL, whose
    # absence CuPy reports in eight lines, is for several GPUs.
    warnings.filterwarnings('ignore', message='cuDNN is not enabled', category=UserWarning)
    warnings.filterwarnings('ignore', message=r'\s*nccl library could not be loaded', category=UserWarning)


def settle_variables():
    """Have a script compute in float32, whatever the environment says to other programs of Chainer's.

    Raises ``UsageError`` for a variable that Chainer could not be imported with.
    """
    for name in _NUMBERS:
        if not os.environ.get(name, '0').strip().lstrip('+-').isdecimal():
            raise UsageError('{} is {!r} in the environment, which Chainer can\'t read: give 0 or 1, or unset '
                             'it'.format(name, os.environ[name]))
    if os.environ.get('CHAINER_DTYPE', 'float32') not in _TYPES:
        raise UsageError('CHAINER_DTYPE is {!r} in the environment, which Chainer does not know: unset it, or give '
                         '{}'.format(os.environ['CHAINER_DTYPE'], ', '.join(_TYPES)))
    os.environ['CHAINER_DTYPE'] = 'float32'
    if 'chainer' in sys.modules:
        sys.modules['chainer'].global_config.dtype = numpy.dtype('float32')


def _replace_environment_check():
    """Give Chainer an environment check that checks nothing and mends instead; Chainer calls it when it is imported.

    The original imports ``numpy.distutils`` (gone from Python 3.12 on) and ``pkg_resources`` (gone from setuptools 81
    on; before that it warns and takes longer to import than Chainer itself).  All it does with them is to compare
    installed packages with the versions of 2019.
    """
    name = 'chainer._environment_check'
    replacement = types.ModuleType(name, 'Replaced by ddgm.support.compatibility.')
    replacement.check = _mend
    sys.modules[name] = replacement


def _mend():
    """Mend those functions of Chainer that fail or warn with today's NumPy: each gets the NumPy that it knows."""
    if getattr(numpy, 'sctypes', None) is _SCTYPES:
        del numpy.sctypes
    older = types.ModuleType('numpy', 'NumPy with what Chainer 7.8.1 expects of it.')
    vars(older).update(
        vars(numpy), float=float, sctypes=_SCTYPES,
        meshgrid=lambda *arrays, **options: list(numpy.meshgrid(*arrays, **options)),  # a tuple since NumPy 2
        maximum=lambda x, y, out: numpy.maximum(x, y, out=out))  # out by position: deprecated

    def with_older(function):
        return types.FunctionType(function.__code__, {**function.__globals__, 'numpy': older}, function.__name__)

    def wrapped(number, dtype):
        # NumPy 2 refuses whole numbers that don't fit, of which NumPy 1 kept the last bits: −1 as 255.
        return numpy.asarray(number).astype(dtype)[()] if isinstance(number, int) and dtype.kind in 'iu' else number
    as_strided, resize_images, pad_sequence, basic_math, categorical, convert = (
        sys.modules['chainer.' + name] for name in (
            'functions.array.as_strided', 'functions.array.resize_images', 'functions.array.pad_sequence',
            'functions.math.basic_math', 'distributions.categorical', 'dataset.convert'))
    as_strided.np = older
    resize_images.compute_indices_and_weights = with_older(resize_images.compute_indices_and_weights)
    categorical.Categorical.log_prob = with_older(categorical.Categorical.log_prob)

    preprocess = basic_math._preprocess_const
    basic_math._preprocess_const = lambda x, value: preprocess(x, wrapped(value, x.dtype))
    concatenate = with_older(convert._concat_arrays_with_padding)
    convert._concat_arrays_with_padding = lambda arrays, padding: concatenate(
        arrays, wrapped(padding, arrays[0].dtype))
    forward = pad_sequence.PadSequence.forward

    def forward_wrapped(self, xs):
        self.padding = wrapped(self.padding, xs[0].dtype)
        return forward(self, xs)
    pad_sequence.PadSequence.forward = forward_wrapped
