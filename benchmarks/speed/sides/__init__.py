"""The programs that ``python -m benchmarks.speed`` measures, called sides: this project, compiled or not, and peers.

====================  ====================================================================
``ours``              this project, as a run calls it that NumPy computes
``ours_compiled``     the same with numba
``ours_captured``     the same as captured iterations, on a GPU alone
``chainer``           the same networks and losses composed of what Chainer 7.8.1 ships
``pytorch``           the same in PyTorch as it is usually written
``pytorch_tuned``     the same with what makes a training step in PyTorch faster
``pytorch_compiled``  that under ``torch.compile``
``pytorch_graphed``   the tuned one as a CUDA graph, on a GPU alone
``products``          nothing but the matrix products of this project's step, on the CPU
``memory``            nothing but the reading and writing around them, on the CPU
====================  ====================================================================

A side is a class, called with a :class:`case.Case` and the folder of its files:

``step(draws=None)``
    One iteration of both models on the next batch of the pool: z and noise are drawn, both models updated, and the six
    losses read back, a list of floats in the order of :data:`case.LOSSES`.  ``draws``, a :class:`problem.Draws`, says
    what is used in place of random numbers of its own.
``noise_calls()``
    What noise the energy model takes, a list of :class:`problem.NoiseCall`, or ``None`` for a side that draws what the
    check needs by itself.
``context()``
    In which it is used.
``notes``
    What it chose by measuring, a line that may be empty.
``work``
    Of the last two, which are the floor: what a step does, in operations or bytes.
``device_memory()``
    Bytes that it has taken of a GPU, ``None`` on the CPU.

Each side's module imports its libraries itself, so that no process holds those of another.
"""

import importlib

# By name: the class, and what is imported before its module: this project before NumPy, as in a run, or after it, which
# then stays as it is without this project; before Chainer in any case.
SIDES = {
    'ours': ('ours.Ours', ('ddgm',)),
    'ours_compiled': ('ours.Compiled', ('ddgm',)),
    'ours_captured': ('ours.Captured', ('ddgm',)),
    'chainer': ('plain_chainer.PlainChainer', ('numpy', 'ddgm')),
    'pytorch': ('plain_pytorch.PlainPyTorch', ()),
    'pytorch_tuned': ('tuned_pytorch.TunedPyTorch', ()),
    'pytorch_compiled': ('compiled_pytorch.CompiledPyTorch', ()),
    'pytorch_graphed': ('graphed_pytorch.GraphedPyTorch', ()),
    'products': ('floor.Products', ('ddgm',)),
    'memory': ('floor.Memory', ('ddgm',)),
}

ON_GPU = 'ours_captured', 'pytorch_graphed'  # which are measured where they are asked for
FLOOR = 'products', 'memory'  # which compute no losses


class NotMeasured(Exception):
    """This side can't run here; the message says why."""


def build(name, case, folder, *choices):
    """A side by its name; raises :class:`NotMeasured`."""
    path, first = SIDES[name]
    module, class_name = path.split('.')
    for package in first:
        importlib.import_module(package)
    try:
        side_class = getattr(importlib.import_module('{}.{}'.format(__name__, module)), class_name)
    except ModuleNotFoundError as error:
        if error.name != 'torch':
            raise
        raise NotMeasured('PyTorch is not installed: pip install -r requirements-pytorch.txt') from error
    return side_class(case, folder, *choices)
