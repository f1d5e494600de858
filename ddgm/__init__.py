"""Deep Directed Generative Models with Energy-Based Probability Estimation, in Chainer.

Kim & Bengio 2016, arXiv:1606.03439.  To read the paper in code, take the modules in this order:

1. :mod:`ddgm.equations`   the equations, one function each;
2. :mod:`ddgm.models`      the Deep Energy Model and the Deep Generative Model;
3. :mod:`ddgm.objectives`  the two losses;
4. :mod:`ddgm.training`    the loop: positive phase, negative phase, two updates.

Importing this package prepares the process for Chainer 7.8.1 on today's Python and NumPy, so import it before Chainer.
What a model of one's own needs is here by name: ``ddgm.train``, ``ddgm.make_optimizer``, ``ddgm.DeepEnergyModel``,
``ddgm.DeepGenerativeModel``, ``ddgm.sample``.
"""

import importlib
import os

__version__ = '1.0.0'

# By name, the module of each.  They import Chainer, so they come when they are asked for: --help answers at once.
_EXPORTS = {
    'load': 'ddgm.trained.loading', 'DensityEstimator': 'ddgm.trained.estimator',
    'train': 'ddgm.training', 'make_optimizer': 'ddgm.training',
    'DeepEnergyModel': 'ddgm.models', 'DeepGenerativeModel': 'ddgm.models', 'sample': 'ddgm.evaluation.sampling'}
__all__ = [*_EXPORTS]

# OpenBLAS reads it when NumPy is imported.  Its threads otherwise hold on to their cores for 30 ms after a product, and
# those of ddgm.fast.threads wait for them.
os.environ.setdefault('OPENBLAS_THREAD_TIMEOUT', '20')  # 2²⁰ cycles of the processor, half a millisecond

from ddgm.support import ranks  # noqa: E402

ranks.share_cores()

from ddgm.support import compatibility  # noqa: E402

compatibility.prepare_for_chainer()


def __getattr__(name):
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError('module {!r} has no attribute {!r}'.format(__name__, name))


def __dir__():
    return [*globals(), *_EXPORTS]
