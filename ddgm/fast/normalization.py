"""Batch normalization of one or several batches at once, in parts that stay in the processor's cache."""

import numpy

from ddgm.fast import kernels
from ddgm.fast.batches import are_shared, n_rows, total
from ddgm.fast.differentiation import FirstOrderFunction
from ddgm.fast.functions import sum_of_rows
from ddgm.fast.layout import sums_of_channels
from ddgm.fast.threads import for_each

_PART = 2 ** 19  # numbers of 4 bytes


class _OnCPU:
    """The steps for a part of a batch, NumPy arrays (N, units, …) and (units,)."""

    @classmethod
    def moments(cls, x, n_units):
        """Mean and variance of each unit, and x less the mean."""
        n = float(x.size // n_units)  # NumPy 1 makes float64 of float32 by a large integer
        mean = cls._sum(x) / n
        centred = x - cls._spread(mean, x)
        return mean, cls._sum_of_products(centred, centred) / n, centred

    @classmethod
    def normalize(cls, x, centred, mean, variance, gamma, beta, eps):
        """y, in the place of ``centred``, and what the gradients want of it."""
        inverse_deviation = 1 / numpy.sqrt(variance + eps)
        centred *= cls._spread(gamma * inverse_deviation, x)
        centred += cls._spread(beta, x)
        return centred, (x, mean, inverse_deviation)

    @classmethod
    def unit_gradients(cls, grad_output, x, mean, inverse_deviation):
        """Gradients of γ and β, and x less the mean."""
        centred = x - cls._spread(mean, x)
        return cls._sum_of_products(grad_output, centred) * inverse_deviation, cls._sum(grad_output), centred

    @classmethod
    def input_gradient(cls, grad_output, centred, gamma, grad_gamma, grad_beta, n, eps, x, mean, inverse_deviation):
        """The gradient of x, in the place of ``centred``: less what mean and deviation of n numbers would follow."""
        grad_x = centred
        grad_x *= cls._spread(grad_gamma * inverse_deviation / -n, x)
        grad_x += grad_output
        grad_x -= cls._spread(grad_beta / n, x)
        grad_x *= cls._spread(gamma * inverse_deviation, x)
        return grad_x

    @classmethod
    def centred(cls, x, mean):
        return x - cls._spread(mean, x)

    @staticmethod
    def _sum(x):
        """For each unit, over everything else."""
        return sum_of_rows(x) if x.ndim == 2 else sums_of_channels(x)

    @staticmethod
    def _sum_of_products(x, y):
        if x.ndim == 2:
            return numpy.einsum('ij,ij->j', x, y)
        return sums_of_channels(x, y)

    @staticmethod
    def _spread(values, x):
        """A number for each unit as an array beside x."""
        return values if x.ndim == 2 else values[:, None, None]


class _OnGPU:
    """The same for a batch on a GPU."""

    @classmethod
    def moments(cls, x, n_units):
        mean = x.mean(axis=cls._axes(x), keepdims=True)
        variance = kernels.squared_deviation(x, mean).mean(axis=cls._axes(x))
        return mean.reshape(n_units), variance, None

    @classmethod
    def normalize(cls, x, centred, mean, variance, gamma, beta, eps):
        mean, variance, gamma, beta = (cls._spread(values, x) for values in (mean, variance, gamma, beta))
        y, normalized = kernels.batch_normalization(x, mean, variance, gamma, beta, eps)
        return y, (normalized, variance)

    @classmethod
    def unit_gradients(cls, grad_output, normalized, variance):
        axes = cls._axes(grad_output)
        return kernels.product(normalized, grad_output).sum(axis=axes), grad_output.sum(axis=axes), None

    @classmethod
    def input_gradient(cls, grad_output, centred, gamma, grad_gamma, grad_beta, n, eps, normalized, variance):
        units = [values.reshape(variance.shape) for values in (gamma, grad_gamma, grad_beta)]
        return kernels.batch_normalization_gradient(normalized, grad_output, variance, *units, 1 / n, eps)

    @classmethod
    def centred(cls, x, mean):
        return None

    @staticmethod
    def _axes(x):
        return (0, 2, 3)[:x.ndim - 1]

    @staticmethod
    def _spread(values, x):
        return values.reshape((1, -1, 1, 1)[:x.ndim])


class _BatchNormalization(FirstOrderFunction):

    needs_inputs = False

    def __init__(self, eps, batches, observe):
        self.eps = eps
        self.batches = batches
        self.observe = observe

    def forward_array(self, x, gamma, beta):
        self.gamma, self.parts = gamma, self._parts_of(x)
        self.steps = steps = _OnCPU if self.xp is numpy else _OnGPU
        self.n, self.is_shared = float(x.size // gamma.size // self.batches), are_shared()
        shared = self._shared_moments(x) if self.is_shared else None

        def normalize(i):
            rows, units = self.parts[i]
            part = self._part(x, rows, units)
            if shared is None:
                mean, variance, centred = steps.moments(part, len(gamma[units]))
            else:
                mean, variance = shared[i]
                centred = steps.centred(part, mean)
            y, kept = steps.normalize(part, centred, mean, variance, gamma[units], beta[units], self.eps)
            return y, mean, variance, kept
        y, means, variances, self.kept = self._for_each_part(normalize, x)
        if self.observe is not None:
            self.observe(self._of_batches(means), self._of_batches(variances))
        return y

    def backward_arrays(self, indexes, inputs, grad_output):
        steps, shared = self.steps, self._shared_gradients(grad_output) if self.is_shared else None

        def differentiate(i):
            rows, units = self.parts[i]
            part = self._part(grad_output, rows, units)
            if shared is None:
                grad_gamma, grad_beta, centred = steps.unit_gradients(part, *self.kept[i])
                over_all = grad_gamma, grad_beta
            else:
                (grad_gamma, grad_beta), over_all = shared[i]
                centred = steps.centred(*self.kept[i][:2])
            grad_x = steps.input_gradient(part, centred, self.gamma[units], *over_all, self.n, self.eps, *self.kept[i])
            return grad_x, grad_gamma, grad_beta
        grad_x, grad_gammas, grad_betas = self._for_each_part(differentiate, grad_output)
        gradients = grad_x, self._of_batches(grad_gammas).sum(axis=0), self._of_batches(grad_betas).sum(axis=0)
        return [gradients[i] for i in indexes]

    def _shared_moments(self, x):
        """Mean and variance of each part's units over the rows of all processes."""
        def moments_here(i):
            rows, units = self.parts[i]
            mean, variance, _ = self.steps.moments(self._part(x, rows, units), len(self.gamma[units]))
            mean = mean.astype(numpy.float64)  # squares of a mean leave no digits of a small variance in float32
            return mean, variance + mean * mean
        share = len(x) / n_rows(len(x))
        self.n /= share
        totals = self._total([(share * mean, share * square) for mean, square in self._each(moments_here)])
        return [
            (mean.astype(x.dtype), self.xp.maximum(square - mean * mean, 0).astype(x.dtype)) for mean, square in totals]

    def _shared_gradients(self, grad_output):
        """Gradients of γ and β of each part, a pair: from the rows here, and from those of all processes."""
        def gradients_here(i):
            rows, units = self.parts[i]
            return self.steps.unit_gradients(self._part(grad_output, rows, units), *self.kept[i])[:2]
        here = self._each(gradients_here)
        return list(zip(here, self._total(here)))

    def _total(self, pairs):
        """The sums over all processes of a pair of arrays for each part, in one reduction."""
        joined = total(self.xp.concatenate([values for pair in pairs for values in pair]))
        ends = numpy.cumsum([len(values) for pair in pairs for values in pair])[:-1].tolist()
        totals = self.xp.split(joined, ends)
        return list(zip(totals[::2], totals[1::2]))

    def _parts_of(self, x):
        """Rows and units of each part: of one batch, and on the CPU so small that it stays in the cache."""
        n, n_units = len(x) // self.batches, x.shape[1]
        step = max(1, _PART * n_units // (x.size // self.batches)) if self.xp is numpy else n_units
        return [
            (slice(row, row + n), slice(unit, unit + step))
            for row in range(0, len(x), n) for unit in range(0, n_units, step)]

    def _part(self, x, rows, units):
        """The part of x; images of one batch do not lie side by side in memory, so a copy of them does."""
        part = x[rows, units]
        return part.copy(order='K') if self.xp is numpy and self.batches > 1 and x.ndim > 2 else part

    def _for_each_part(self, compute, like):
        """What ``compute(i)`` returns for each part: the first as one array that lies as ``like``, others as lists."""
        if len(self.parts) == 1:
            whole, *others = compute(0)
            return whole, *[[other] for other in others]
        whole = self.xp.empty_like(like)

        def compute_part(i):
            whole[self.parts[i]], *others = compute(i)
            return others
        return whole, *zip(*self._each(compute_part))

    def _each(self, compute):
        """``[compute(i) for each part i]``; CuPy's device is that of one thread."""
        return list((for_each if self.xp is numpy else map)(compute, range(len(self.parts))))

    def _of_batches(self, parts):
        """(batches, units) of an array for each part."""
        return self.xp.concatenate(parts).reshape(self.batches, -1)


def batch_normalization(x, gamma, beta, eps, batches=1, observe=None):
    """γ·(x − mean)/√(variance + eps) + β over a batch (Ioffe & Szegedy 2015, algorithm 1).

    ``x`` is (N, units) or (N, units, H, W), ``gamma`` and ``beta`` (units,), the result has the shape of x: that many
    batches of one size, one after the other.  ``observe(means, variances)`` is given two arrays (batches, units); the
    variance is the biased one, Σ(x − mean)²/n.  Raises ``ValueError`` where N is no multiple of ``batches``.
    """
    if len(x) % batches:
        raise ValueError('{} batches of one size are not {} samples'.format(batches, len(x)))
    return _BatchNormalization(eps, batches, observe)(x, gamma, beta)
