"""Batch normalization in NumPy: a batch in parts that stay in the processor's cache, on all cores.

x is (N, units) or (N, units, H, W), ``n_splits`` batches of one size one after the other.  What there is of each batch
is (batches, units).
"""

from __future__ import annotations

import functools

import numpy

from ddgm.fast.kernels.layout_on_cpu import sums_of_channels
from ddgm.fast.threads import for_each

_PART = 2 ** 19  # numbers of 4 bytes of a batch that is normalized


def batch_normalization(x, gamma, beta, eps, n_splits, known=None, running=None):
    """γ·(x − mean)/√(variance + eps) + β, kept; ``known`` moments take the place of the batches'.

    Of ``running``, (n/(n − 1), decay, means, variances), the last two follow those of each batch, in place.
    """
    def normalize(part, batch, units):
        if known is None:
            mean, variance, centred = _moments(part)
        else:
            mean, variance = (values[batch, units] for values in known)
            centred = part - _spread(mean, part)
        inverse_deviation = 1 / numpy.sqrt(variance + eps)
        centred *= _spread(gamma[units] * inverse_deviation, part)
        centred += _spread(beta[units], part)
        return centred, mean, variance, (part, mean, inverse_deviation)
    y, means, variances, kept = _for_each_part(normalize, x, n_splits)
    if running is not None:
        unbiased, decay, *arrays = running
        for mean, variance in zip(_of_batches(means, n_splits), _of_batches(variances, n_splits)):
            for array, present in zip(arrays, (mean, variance * unbiased)):
                array *= decay
                array += (1 - decay) * present
    return y, kept


def batch_normalization_gradient(grad_y, gamma, n, n_splits, kept, totals=None):
    """Gradients of x, and of γ and β from each batch, whose place ``totals`` take, over n numbers a unit."""
    def differentiate(part, batch, units, x, mean, inverse_deviation):
        if totals is None:
            grad_gamma, grad_beta, centred = _unit_gradients(part, x, mean, inverse_deviation)
        else:
            grad_gamma, grad_beta = (values[batch, units] for values in totals)
            centred = x - _spread(mean, x)
        grad_x = centred  # less what mean and deviation of n numbers would follow
        grad_x *= _spread(grad_gamma * inverse_deviation / -n, part)
        grad_x += part
        grad_x -= _spread(grad_beta / n, part)
        grad_x *= _spread(gamma[units] * inverse_deviation, part)
        return grad_x, grad_gamma, grad_beta
    grad_x, grad_gammas, grad_betas = _for_each_part(differentiate, grad_y, n_splits, kept)
    return grad_x, _of_batches(grad_gammas, n_splits), _of_batches(grad_betas, n_splits)


def moments(x, n_splits):
    """The mean and the biased variance, Σ(x − mean)²/n, of each batch's units."""
    found = _each(lambda part, batch, units: _moments(part)[:2], x, n_splits)
    return [_of_batches(values, n_splits) for values in zip(*found)]


def unit_gradients(grad_y, n_splits, kept):
    """The gradients of γ and β from each batch."""
    found = _each(lambda part, batch, units, *kept: _unit_gradients(part, *kept)[:2], grad_y, n_splits, kept)
    return [_of_batches(values, n_splits) for values in zip(*found)]


def sums_over_batches(grad_gammas, grad_betas):
    """Both, (batches, units), as (units,)."""
    return grad_gammas.sum(axis=0), grad_betas.sum(axis=0)


def sum_of_rows(x):
    """x.sum(axis=0) as a product, which is several times as fast."""
    return _ones(len(x), x.dtype).dot(x)


@functools.lru_cache(maxsize=16)
def _ones(n, dtype):
    return numpy.ones(n, dtype=dtype)


# ---- of a part of one batch: (n, units, …) and (units,)

def _moments(x):
    """Mean and variance of each unit, and x less the mean."""
    n = float(x.size // x.shape[1])  # NumPy 1 makes float64 of float32 by a large integer
    mean = (sum_of_rows(x) if x.ndim == 2 else sums_of_channels(x)) / n
    centred = x - _spread(mean, x)
    return mean, _sum_of_products(centred, centred) / n, centred


def _unit_gradients(grad_y, x, mean, inverse_deviation):
    """Gradients of γ and β, and x less the mean."""
    centred = x - _spread(mean, x)
    grad_beta = sum_of_rows(grad_y) if grad_y.ndim == 2 else sums_of_channels(grad_y)
    return _sum_of_products(grad_y, centred) * inverse_deviation, grad_beta, centred


def _sum_of_products(x, y):
    return numpy.einsum('ij,ij->j', x, y) if x.ndim == 2 else sums_of_channels(x, y)


def _spread(values, x):
    """A number for each unit as an array beside x."""
    return values if x.ndim == 2 else values[:, None, None]


# ---- parts

def _each(compute, x, n_splits, kept=None, places=None, whole=None):
    """What ``compute(part of x, batch, units, *kept of the part)`` returns for each part, as a list.

    Where there is a ``whole``, the first of what it returns is put there instead.
    """
    places = places or _places(x, n_splits)

    def compute_part(i):
        batch, rows, units = places[i]
        part = x[rows, units]
        if n_splits > 1 and x.ndim > 2:  # images of one batch do not lie side by side in memory, a copy of them does
            part = part.copy(order='K')
        found = compute(part, batch, units, *(kept[i] if kept else ()))
        if whole is None:
            return found
        whole[rows, units], *others = found
        return others
    return [compute_part(0)] if len(places) == 1 else for_each(compute_part, range(len(places)))


def _for_each_part(compute, x, n_splits, kept=None):
    """As :func:`_each`: the first that it returns as one array that lies as x, the others as lists."""
    places = _places(x, n_splits)
    if len(places) == 1:
        whole, *others = _each(compute, x, n_splits, kept, places)[0]
        return whole, *[[other] for other in others]
    whole = numpy.empty_like(x)
    return whole, *zip(*_each(compute, x, n_splits, kept, places, whole))


def _places(x, n_splits):
    """The number of the batch, the rows and the units of each part."""
    n, n_units = len(x) // n_splits, x.shape[1]
    step = max(1, _PART * n_units // (x.size // n_splits))
    return [
        (batch, slice(batch * n, (batch + 1) * n), slice(unit, unit + step))
        for batch in range(n_splits) for unit in range(0, n_units, step)]


def _of_batches(parts, n_splits):
    """(batches, units) of an array for each part."""
    return numpy.concatenate(parts).reshape(n_splits, -1)
