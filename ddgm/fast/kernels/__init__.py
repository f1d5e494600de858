"""What functions and optimizers compute on arrays, once for each kind of array: ``kernels.of(x)`` has those for x.

``on_cpu`` computes with NumPy and is the reference; ``on_gpu`` has the same names for CuPy.  Nothing outside of this
folder asks which one it is.  What a function of the graph keeps for its gradient is its backend's own affair: a forward
function returns it last, and the gradient takes it.

==========================================  ===========================================================================
``relu``, ``elu``, ``tanh``, ``sigmoid``    (x) to the result, kept; ``…_gradient(kept, gy)`` to gx
``expert_term``                             a (N, experts) to (N,); ``…_gradient(a, genergy)`` to ga
``weight_normalization``                    V (out, …), g (out,) to W, kept; ``…_gradient(V, g, kept, gW)`` to gV, gg
``batch_normalization``                     see there; ``moments`` and ``unit_gradients`` are its parts, for ranks
``running_statistics``                      means and variances of batches into the running ones
``add_noise``, ``dropout``                  x and 16 random bits for each of its numbers to the result, kept
``sum_of_rows``, ``sums_of_channels``       (N, units) to (units,); (N, C, H, W) to (C,)
``channels_first``                          images (N, C, H, W) as a contiguous (C, H, W, N)
``joined``                                  two batches one after the other, images as convolutions take them
``from_levels``                             levels of 0…255, uint8, to float32 in 0…1
``convolution_scheme``                      how convolutions of a geometry are computed
``clipping_rate``                           gradients and the largest norm to what they are multiplied with
``adam``, ``adagrad``                       a part of all parameters and states, in place
``mean``, ``mean_gradient``                 over all numbers of an array
==========================================  ===========================================================================
"""

import numpy

from ddgm.fast.kernels import on_cpu, on_gpu


def of(array):
    """The module whose functions take this array, NumPy's or CuPy's."""
    return on_cpu if isinstance(array, numpy.ndarray) else on_gpu


def as_numbers(x):
    """A model's inputs (N, …) where it takes them: levels of 0…255, uint8, become float32 in 0…1."""
    return of(x).from_levels(x) if x.dtype == numpy.uint8 else x
