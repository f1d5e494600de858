"""What Chainer 7.8.1 (the last release, January 2022) needs from a newer Python or NumPy than it was written for.

The only module that knows of it.  Chainer's own files stay as they were installed, and nothing here imports Chainer.
"""

import sys
import types
import warnings

import numpy


def prepare_for_chainer():
    """Make ``import chainer`` work on Python 3.9 to 3.13 with NumPy 1 or 2; calling it again changes nothing."""
    if 'chainer' in sys.modules:
        return
    _restore_sctypes()
    _leave_out_environment_check()
    # CuPy 14 has no cuDNN at all, so Chainer's advice to reinstall CuPy with it can't be followed; and NCCL, whose
    # absence CuPy reports in eight lines, is for several GPUs.
    warnings.filterwarnings('ignore', message='cuDNN is not enabled', category=UserWarning)
    warnings.filterwarnings('ignore', message=r'\s*nccl library could not be loaded', category=UserWarning)


def _restore_sctypes():
    """NumPy 2 dropped the table from which ``chainer.functions.as_strided`` takes its number types."""
    if not hasattr(numpy, 'sctypes'):
        numpy.sctypes = {
            'int': [numpy.int8, numpy.int16, numpy.int32, numpy.int64],
            'float': [numpy.float16, numpy.float32, numpy.float64],
        }


def _leave_out_environment_check():
    """Give Chainer an environment check that checks nothing.

    The original imports ``numpy.distutils`` (gone from Python 3.12 on) and ``pkg_resources`` (gone from setuptools 81
    on; before that it warns and takes longer to import than Chainer itself).  All it does with them is to compare
    installed packages with the versions of 2019.
    """
    name = 'chainer._environment_check'
    replacement = types.ModuleType(name, 'Replaced by ddgm.support.compatibility.')
    replacement.check = lambda: None
    sys.modules[name] = replacement
