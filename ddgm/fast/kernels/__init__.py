"""What functions and optimizers compute on arrays, once for each kind of array: ``kernels.of(x)`` has those for x.

``on_cpu`` computes with NumPy and is the reference; ``on_gpu`` has the same names for CuPy, and ``compiled`` for
float32 where numba is installed.  Nothing outside of this folder asks which one it is.  What a function of the graph
keeps for its gradient is its backend's own affair: a forward function returns it last, and the gradient takes it.

==========================================  ===========================================================================
``relu``, ``elu``, ``tanh``, ``sigmoid``    (x) to the result, kept; ``…_gradient(kept, gy)`` to gx
``linear``, ``linear_gradients``            x (N, in), W (out, in), b (out,) to (N, out); the gradients of W and b
``leaves_bias``                             on a GPU alone: whether to leave b to activations, which take it after x
``quadratic_term``, ``bias_term``           x to (N,), with σ or b; ``…_gradient`` to that of x, or of b
``expert_term``                             a (N, experts) to (N,); ``…_gradient(a, genergy)`` to ga
``gaussian_entropy``                        several γ to (), kept; ``…_gradient(γ, kept, g, …)`` to that of each γ
``weight_normalization``                    V (out, …), g (out,) to W, kept; ``…_gradient(V, g, kept, gW)`` to gV, gg
``batch_normalization``                     see there; ``moments`` and ``unit_gradients`` are its parts, for ranks
``sums_over_batches``                       of two arrays (batches, units)
``add_noise``, ``dropout``                  x and 16 random bits for each of its numbers to the result, kept
``noisy_elu``                               of x and its bits, kept; the gradient is that of ``elu``
``drawn_bits``                              on a GPU alone: those bits by Philox, as a key has them
``concatenated``, ``rows_gradient``         arrays one after the other; the gradient of x by that of some of its rows
``sum_of_rows``, ``sums_of_channels``       (N, units) to (units,); (N, C, H, W) to (C,)
``channels_first``                          images (N, C, H, W) as a contiguous (C, H, W, N)
``joined``                                  two batches one after the other, images as convolutions take them
``from_levels``                             levels of 0…255, uint8, to float32 in 0…1
``convolution_scheme``                      how convolutions of a geometry are computed
``clipping_rate``                           gradients and the largest norm to what they are multiplied with
``adam``, ``adagrad``                       a part of all parameters and states, in place
``average``, ``decayed``                    of a part: its average, in place; its gradient with weight decay
``mean``, ``mean_gradient``                 over all numbers of an array
``one_beside``, ``negative``                the gradient of a loss in itself; that of what is taken away
``for_parameters``                          gradients as optimizers take them
``add_observation``                         numbers into their sums and sums of squares, in place
``neighbours``, ``mean_of_gaussians``       points (N, D) and others to what tells of the k nearest, or to a density
==========================================  ===========================================================================
"""

import functools
import importlib.util

import chainer
import numpy

from ddgm.fast.kernels import on_cpu, on_gpu
from ddgm.support.errors import UsageError

_IS_INSTALLED = importlib.util.find_spec('numba') is not None


def of(array):
    """The module whose functions take this array, NumPy's or CuPy's."""
    if not isinstance(array, numpy.ndarray):
        return on_gpu
    return _in_use() or on_cpu if _IS_INSTALLED and array.dtype == numpy.float32 else on_cpu


def as_numbers(x):
    """A model's inputs (N, …) where it takes them: levels of 0…255, uint8, become float32 in 0…1."""
    return of(x).from_levels(x) if x.dtype == numpy.uint8 else x


def _in_use():
    """The module of what numba compiles, or ``None``."""
    return None if chainer.config.use_numba == 'never' else _compiled()[0]


@functools.lru_cache(maxsize=1)
def _compiled():
    """The module and the version of numba, or ``None`` and why there is none."""
    if not _IS_INSTALLED:
        return None, 'it is not installed: pip install numba'
    try:
        import numba
        is_disabled = numba.config.DISABLE_JIT
    except Exception as error:  # "Numba needs NumPy 2.3 or less", a library that does not load, a folder of its name
        return None, ' '.join(str(error).split())
    if is_disabled:
        return None, 'NUMBA_DISABLE_JIT is set'
    from ddgm.fast.kernels import compiled
    return compiled, numba.__version__


def compiler():
    """The version of numba, or ``None`` where it does not compile; and a line for the user, or ``None``.

    Raises ``UsageError`` where ``chainer.config.use_numba`` asks for what is not there, or is none of its values.
    """
    choice = chainer.config.use_numba
    if choice not in ('always', 'auto', 'never'):
        raise UsageError("use_numba is {!r}: give 'always', 'auto' or 'never', as DDGM_USE_NUMBA too".format(choice))
    if choice == 'never' or choice == 'auto' and not _IS_INSTALLED:
        return None, None
    module, told = _compiled()
    if module is not None:
        return told, 'Compiled by numba {}, to other bits than without it'.format(told)
    if choice == 'always':
        raise UsageError("numba can't be used ({}): leave out --numba".format(told))
    return None, "numba can't be used ({}), so NumPy computes".format(told)


def block(steps, arrays, results):
    """Functions of a graph as one: what has ``forward`` and ``backward`` as :class:`ddgm.fast.kernels.blocks.Block`.

    ``None`` where nothing compiles these functions, or not for such arrays.  ``steps`` are the functions, each a name,
    its attributes and where its inputs stand among ``arrays``, which are all values of one pass; ``results`` are the
    places of those that are asked for.
    """
    module = of(arrays[0])
    if not hasattr(module, 'Block') or any(of(array) is not module for array in arrays):
        return None
    try:
        return module.Block(steps, [array.shape for array in arrays], results)
    except module.NotKnown:
        return None
