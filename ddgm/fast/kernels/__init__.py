"""What functions and optimizers compute on arrays, once for each kind of array: ``kernels.of(x)`` has those for x.

``on_cpu`` computes with NumPy and is the reference; ``on_gpu`` has the same names for CuPy.  Nothing outside of this
folder asks which one it is.  What a function of the graph keeps for its gradient is its backend's own affair: a forward
function returns it last, and the gradient takes it.

==========================================  ===========================================================================
``relu``, ``elu``, ``tanh``, ``sigmoid``    (x) to the result, kept; ``…_gradient(kept, gy)`` to gx
``linear``, ``linear_gradients``            x (N, in), W (out, in), b (out,) to (N, out); the gradients of W and b
``quadratic_term``, ``bias_term``           x to (N,), with σ or b; ``…_gradient`` to that of x, or of b
``expert_term``                             a (N, experts) to (N,); ``…_gradient(a, genergy)`` to ga
``gaussian_entropy``                        several γ to (), kept; ``…_gradient(γ, kept, g, …)`` to that of each γ
``weight_normalization``                    V (out, …), g (out,) to W, kept; ``…_gradient(V, g, kept, gW)`` to gV, gg
``batch_normalization``                     see there; ``moments`` and ``unit_gradients`` are its parts, for ranks
``sums_over_batches``                       of two arrays (batches, units)
``add_noise``, ``dropout``                  x and 16 random bits for each of its numbers to the result, kept
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
``one_beside``                              the gradient of a loss in itself
``add_observation``                         numbers into their sums and sums of squares, in place
``neighbours``                              points (N, D) and others to what tells of the k nearest
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
