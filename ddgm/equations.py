"""The equations of the paper and of the layers that its code took from others, one function each.

Each is a differentiable function of NumPy or CuPy arrays of any float type.  It has an analytic backward pass on plain
arrays (:class:`ddgm.fast.elementary.FirstOrderFunction`), so it can't be differentiated once more; trying to
raises ``RuntimeError``.  What is many steps on arrays is one of :mod:`ddgm.fast.kernels`.
"""

from __future__ import annotations

import math

import chainer
import numpy

from ddgm.fast.elementary import FirstOrderFunction, Input, as_matrix


class _QuadraticTerm(FirstOrderFunction):

    name_in_block = 'quadratic_term'

    def __init__(self, sigma):
        self.sigma = sigma

    def forward_array(self, x):
        return self.kernels.quadratic_term(x, self.sigma)

    def backward_arrays(self, indexes, inputs, grad_output):
        return self.kernels.quadratic_term_gradient(inputs[0], self.sigma, grad_output),


def quadratic_term(x: Input, sigma: float | Input = 1.0) -> chainer.Variable:
    """xᵀx/σ², the first term of the energy, in nats.

    ``x`` is (N, …) and every axis but the first is summed over; the result is (N,).  With one σᵢ for each of the
    D numbers of a sample, an array (D,), it is Σᵢ xᵢ²/σᵢ².
    """
    if numpy.ndim(sigma):
        x, sigma = x.reshape(len(x), -1) / sigma, 1.0
    return _QuadraticTerm(sigma)(x)


class _BiasTerm(FirstOrderFunction):

    name_in_block = 'bias_term'

    def forward_array(self, x, b):
        return self.kernels.bias_term(as_matrix(x), b)

    def backward_arrays(self, indexes, inputs, grad_output):
        x, b = inputs
        gradients = []
        if 0 in indexes:
            gradients.append(self.kernels.bias_term_gradient_of_x(as_matrix(x), b, grad_output).reshape(x.shape))
        if 1 in indexes:
            gradients.append(self.kernels.bias_term_gradient_of_b(as_matrix(x), grad_output))
        return gradients


def bias_term(x: Input, b: Input) -> chainer.Variable:
    """−bᵀx, the second term of the energy, in nats.

    ``x`` is (N, …) with D numbers a sample, ``b`` (D,), the result (N,).
    """
    return _BiasTerm()(x, b)


class _ExpertTerm(FirstOrderFunction):

    name_in_block = 'expert_term'

    def forward_array(self, a):
        return self.kernels.expert_term(a)

    def backward_arrays(self, indexes, inputs, grad_output):
        return self.kernels.expert_term_gradient(inputs[0], grad_output),


def expert_term(a: Input) -> chainer.Variable:
    """−Σᵢ log(1 + exp(aᵢ)) with aᵢ = Wᵢᵀf(x) + cᵢ, the third term of the energy: a product of experts, in nats.

    ``a`` is (N, experts), the result (N,).
    """
    return _ExpertTerm()(a)


class _GaussianEntropy(FirstOrderFunction):

    name_in_block = 'gaussian_entropy'

    # ½ log(2πe γ² + 1e-8): the small number keeps the entropy finite where γ = 0.
    numbers = 2 * math.pi * math.e, 1e-8

    def forward_array(self, *gammas):
        entropy, self.kept = self.kernels.gaussian_entropy(gammas, *self.numbers)
        return entropy

    def backward_arrays(self, indexes, inputs, grad_output):
        gradients = self.kernels.gaussian_entropy_gradient(inputs, self.kept, grad_output, *self.numbers)
        return [gradients[i] for i in indexes]


def gaussian_entropy(*gammas: Input) -> chainer.Variable:
    """Σ ½ log(2πe γ² + 1e-8), the entropy of independent Gaussians of standard deviations |γ|, in nats.

    Each of ``gammas`` is (units, …), the result ().  Section 3.2 of the paper: each batch-normalized unit is read as
    Gaussian, its scale γ as the standard deviation.
    """
    return _GaussianEntropy()(*gammas)


class _WeightNormalization(FirstOrderFunction):

    name_in_block = 'weight_normalization'

    def forward_array(self, V, g):
        W, self.norm = self.kernels.weight_normalization(V, g)
        return W

    def backward_arrays(self, indexes, inputs, grad_output):
        gradients = self.kernels.weight_normalization_gradient(*inputs, self.norm, grad_output, wants_V=0 in indexes)
        return [gradients[i] for i in indexes]


def weight_normalization(V: Input, g: Input) -> chainer.Variable:
    """W = g·V/‖V‖ with one norm for each output unit (Salimans & Kingma 2016, equation 2).

    ``V`` is (out, …), ``g`` (out,), the result has the shape of ``V``.
    """
    return _WeightNormalization()(V, g)


class _MinibatchSimilarity(FirstOrderFunction):

    def __init__(self, n_splits):
        self.n_splits = n_splits

    def forward_array(self, M):
        # (batches, n, n, kernels)
        self.similarity = self.xp.exp(-sum(abs(difference) for difference in self._differences(M)))
        return (self.similarity.sum(axis=2) - 1).reshape(M.shape[:2])  # exp(0) = 1 is each sample beside itself

    def backward_arrays(self, indexes, inputs, grad_output):
        M, = inputs
        grad_output = grad_output.reshape(self.n_splits, -1, M.shape[1])
        weighted = (grad_output[:, :, None] + grad_output[:, None]) * self.similarity
        return self.xp.stack(
            [-(weighted * self.xp.sign(difference)).sum(axis=2) for difference in self._differences(M)],
            axis=3).reshape(M.shape),

    def _differences(self, M):
        # A dimension at a time, so that (batches, n, n, kernels) is the largest array.
        M = M.reshape(self.n_splits, -1, *M.shape[1:])
        return (M[:, :, None, :, i] - M[:, None, :, :, i] for i in range(M.shape[3]))


def minibatch_similarity(M: Input, n_splits: int = 1) -> chainer.Variable:
    """oᵢₖ = Σ_{j≠i} exp(−‖Mᵢₖ − Mⱼₖ‖₁), how much sample i is like the others (Salimans et al. 2016, section 3.2).

    ``M`` is (N, kernels, dimensions), the result (N, kernels).  M is that many batches of one size, one after the
    other; a sample's others are those of its batch.  Raises ``ValueError`` where N is no multiple of ``n_splits``.
    """
    if n_splits < 1 or len(M) % n_splits:
        raise ValueError('{} batches of one size are not {} samples'.format(n_splits, len(M)))
    return _MinibatchSimilarity(n_splits)(M)
