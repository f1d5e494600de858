"""The equations of the paper, one differentiable function each, for NumPy and CuPy arrays of any float type.

Every function has an analytic backward pass.  The gradients are plain arrays, so they can't be differentiated once
more; trying to raises ``RuntimeError``.
"""

import math

import chainer
from chainer import backend


class FirstOrderFunction(chainer.FunctionNode):
    """A function whose gradients are computed on arrays.

    Subclasses implement ``forward_array(*inputs)`` and ``backward_arrays(indexes, inputs, grad_output)``, which returns
    the gradient of every input whose index is in ``indexes``, in that order.
    """

    def forward(self, inputs):
        self.retain_inputs(range(len(inputs)))
        self.xp = backend.get_array_module(*inputs)
        return self.forward_array(*inputs),

    def backward(self, target_input_indexes, grad_outputs):
        if chainer.config.enable_backprop:
            raise RuntimeError('{} has no second derivative: leave out enable_double_backprop'.format(self.label))
        inputs = [variable.array for variable in self.get_retained_inputs()]
        gradients = self.backward_arrays(target_input_indexes, inputs, grad_outputs[0].array)
        return tuple(chainer.Variable(gradient, requires_grad=False) for gradient in gradients)


class _QuadraticTerm(FirstOrderFunction):

    def __init__(self, sigma):
        self.sigma = sigma

    def forward_array(self, x):
        x = x.reshape(len(x), -1)
        return self.xp.einsum('ij,ij->i', x, x) / self.sigma ** 2

    def backward_arrays(self, indexes, inputs, grad_output):
        x, = inputs
        column = grad_output.reshape((-1,) + (1,) * (x.ndim - 1))
        return (2 / self.sigma ** 2) * column * x,


def quadratic_term(x, sigma=1.0):
    """xᵀx/σ², the first term of the energy, in nats.

    ``x`` is (N, …) and every axis but the first is summed over; the result is (N,).
    """
    return _QuadraticTerm(sigma).apply((x,))[0]


class _BiasTerm(FirstOrderFunction):

    def forward_array(self, x, b):
        return -x.reshape(len(x), -1).dot(b)

    def backward_arrays(self, indexes, inputs, grad_output):
        x, b = inputs
        gradients = []
        if 0 in indexes:
            gradients.append((-grad_output[:, None] * b).reshape(x.shape))
        if 1 in indexes:
            gradients.append(-grad_output.dot(x.reshape(len(x), -1)))
        return gradients


def bias_term(x, b):
    """−bᵀx, the second term of the energy, in nats.

    ``x`` is (N, …) with D numbers a sample, ``b`` (D,), the result (N,).
    """
    return _BiasTerm().apply((x, b))[0]


class _ExpertTerm(FirstOrderFunction):

    def forward_array(self, a):
        # log(1 + exp(a)) without overflow
        return -(self.xp.maximum(a, 0) + self.xp.log1p(self.xp.exp(-abs(a)))).sum(axis=1)

    def backward_arrays(self, indexes, inputs, grad_output):
        a, = inputs
        sigmoid = 0.5 * self.xp.tanh(0.5 * a) + 0.5
        return -grad_output[:, None] * sigmoid,


def expert_term(a):
    """−Σᵢ log(1 + exp(aᵢ)) with aᵢ = Wᵢᵀf(x) + cᵢ, the third term of the energy: a product of experts, in nats.

    ``a`` is (N, experts), the result (N,).
    """
    return _ExpertTerm().apply((a,))[0]


class _ELU(FirstOrderFunction):

    def forward_array(self, x):
        self.y = self.xp.maximum(x, self.xp.expm1(self.xp.minimum(x, 0)))
        return self.y

    def backward_arrays(self, indexes, inputs, grad_output):
        return (self.xp.minimum(self.y, 0) + 1) * grad_output,


def elu(x):
    """x where it is positive, exp(x) − 1 elsewhere (Clevert et al. 2016); any shape."""
    return _ELU().apply((x,))[0]


class _GaussianEntropy(FirstOrderFunction):

    # ½ log(2πe γ² + 1e-8): the small number keeps the entropy finite where γ = 0.
    epsilon = 1e-8

    def forward_array(self, *gammas):
        gamma = self.xp.concatenate(gammas)
        return self.xp.asarray((0.5 * self.xp.log(2 * math.pi * math.e * gamma * gamma + self.epsilon)).sum())

    def backward_arrays(self, indexes, inputs, grad_output):
        two_pi_e = 2 * math.pi * math.e
        return [
            grad_output * two_pi_e * inputs[i] / (two_pi_e * inputs[i] * inputs[i] + self.epsilon) for i in indexes]


def gaussian_entropy(*gammas):
    """Σ ½ log(2πe γ² + 1e-8), the entropy of independent Gaussians of standard deviations |γ|, in nats.

    Each of ``gammas`` is (units,), the result ().  Section 3.2 of the paper: each batch-normalized unit is read as
    Gaussian, its scale γ as the standard deviation.
    """
    return _GaussianEntropy().apply(gammas)[0]


class _WeightNormalization(FirstOrderFunction):

    def forward_array(self, V, g):
        return self._rows(g / self._norm(V), V) * V

    def backward_arrays(self, indexes, inputs, grad_output):
        V, g = inputs
        norm = self._norm(V)
        direction = V / self._rows(norm, V)
        along = (grad_output * direction).reshape(len(V), -1).sum(axis=1)  # the part of the gradient that changes g
        gradients = []
        if 0 in indexes:
            gradients.append(self._rows(g / norm, V) * (grad_output - self._rows(along, V) * direction))
        if 1 in indexes:
            gradients.append(along)
        return gradients

    def _norm(self, V):
        rows = V.reshape(len(V), -1)
        return self.xp.sqrt(self.xp.einsum('ij,ij->i', rows, rows))

    @staticmethod
    def _rows(values, V):
        return values.reshape((-1,) + (1,) * (V.ndim - 1))


def weight_normalization(V, g):
    """W = g·V/‖V‖ with one norm for each output unit (Salimans & Kingma 2016, equation 2).

    ``V`` is (out, …), ``g`` (out,), the result has the shape of ``V``.
    """
    return _WeightNormalization().apply((V, g))[0]


class _MinibatchSimilarity(FirstOrderFunction):

    def forward_array(self, M):
        self.similarity = self.xp.exp(-sum(abs(difference) for difference in self._differences(M)))
        return self.similarity.sum(axis=1) - 1  # exp(0) = 1 is each sample beside itself

    def backward_arrays(self, indexes, inputs, grad_output):
        M, = inputs
        weighted = (grad_output[:, None] + grad_output[None]) * self.similarity
        return self.xp.stack(
            [-(weighted * self.xp.sign(difference)).sum(axis=1) for difference in self._differences(M)], axis=2),

    @staticmethod
    def _differences(M):
        # A dimension at a time, so that (N, N, kernels) is the largest array.
        return (M[:, None, :, i] - M[None, :, :, i] for i in range(M.shape[2]))


def minibatch_similarity(M):
    """oᵢₖ = Σ_{j≠i} exp(−‖Mᵢₖ − Mⱼₖ‖₁), how much sample i is like the others (Salimans et al. 2016, section 3.2).

    ``M`` is (N, kernels, dimensions), the result (N, kernels).
    """
    return _MinibatchSimilarity().apply((M,))[0]
