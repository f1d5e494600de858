"""log Z of an energy, by whatever tells it for data of one shape; see METRICS for its place among the metrics.

In the plane and on a line it is found by quadrature.  Points of more numbers have it by importance sampling: the
proposals are a mixture of multivariate t distributions, which follows the samples at first, and then exp(−E) itself
(population Monte Carlo, Cappé et al. 2008).
"""

from __future__ import annotations

import math

import numpy

from ddgm.evaluation import quadrature
from ddgm.support import randomness

_MOST_COLUMNS = 64
_EDGES = numpy.concatenate([numpy.linspace(0, 6, 3_000, endpoint=False), numpy.geomspace(6, 24_576, 2_000)])
_TOLERANCE, _LARGEST_CHANGE = 1e-8, 1e-5  # of one piece's share of Z: until it is halved no more; at its shortest
_SHORTEST = 1e-7  # length of a piece; float32 tells apart little more

LARGEST_ERROR = 0.1  # of log Z, in nats
_SMALL_ERROR = 0.01  # after which nothing more is drawn
_N_AT_A_TIME, _N_DRAWN = 20_000, 400_000
_N_ADAPTED = 10_000  # draws that the proposals are fitted to
_ROUNDS, _ENOUGH = 8, 0.3  # of fitting, unless so large a share of equal weights would tell as much
_PARTS, _STEPS = 32, 10  # of the mixture, and of fitting it
_FREEDOM = 5  # degrees of freedom of t, whose tails are heavier than those of exp(−xᵀx/σ²)
_BROAD = 0.1  # share of the proposals that are as broad as all that was fitted


def log_z(energy, x: numpy.ndarray) -> float:
    """log Z = log ∫ exp(−E(x)) dx, in nats.

    Args:
        energy: E as a function of arrays, (N, …) to (N,) float64.
        x: Samples (N, …), which show where the mass lies.

    Raises ``ValueError`` with the reason where it can't be told, or only with a standard error above 0.1.
    """
    return estimate(energy, x)[0]


def estimate(energy, x: numpy.ndarray) -> tuple[float, float]:
    """log Z and its standard error, which is 0 where it comes by quadrature; see :func:`log_z`."""
    if x.ndim != 2 or x.shape[1] > _MOST_COLUMNS:
        raise ValueError('log Z is known of points of up to {} numbers alone'.format(_MOST_COLUMNS))
    if x.shape[1] == 1:
        return _on_a_line(energy, x), 0.0
    if x.shape[1] == 2:
        return quadrature.density(energy, x).log_z, 0.0
    return importance_sampling(energy, x)


# ---- on a line

def _on_a_line(energy, x):
    """log Z of points (N, 1) by Simpson's rule, on pieces that are halved until that changes nothing.

    The first pieces are 0.002 long up to 6 from the origin, a 250th of their distance up to 24,576, and end at samples.
    """
    edges = numpy.unique(numpy.concatenate([_EDGES, -_EDGES, x[:, 0]]))
    left, right, log_settled = edges[:-1], edges[1:], -math.inf
    while len(left):
        width = right - left
        places = left + numpy.linspace(0, 1, 5)[:, None] * width  # both ends, the middle and the quarters
        log_densities = -energy(places.reshape(-1, 1)).reshape(places.shape)
        coarse = numpy.log(width / 6) + _log_sums(log_densities[::2], [1, 4, 1])
        fine = numpy.log(width / 12) + _log_sums(log_densities, [1, 4, 2, 4, 1])
        log_z = numpy.logaddexp(log_settled, numpy.logaddexp.reduce(fine))
        if not log_z < math.inf:
            raise ValueError('exp(-E) is not finite')
        if log_z == -math.inf:
            raise ValueError('exp(-E) is 0 everywhere')
        if (fine[abs(left) > _EDGES[-1] / 2] > log_z + math.log(_TOLERANCE)).any():
            raise ValueError('exp(-E) still has mass {:,.0f} away from the origin'.format(_EDGES[-1] / 2))
        change = abs(numpy.exp(fine - log_z) - numpy.exp(coarse - log_z))
        if (change[width < _SHORTEST] > _LARGEST_CHANGE).any():
            raise ValueError('exp(-E) is too steep for pieces of {:.0e}'.format(_SHORTEST))
        unsettled = (change > _TOLERANCE) & (width >= _SHORTEST)
        log_settled = numpy.logaddexp(log_settled, numpy.logaddexp.reduce(fine[~unsettled], initial=-math.inf))
        left, right = (
            numpy.concatenate([left[unsettled], places[2, unsettled]]),
            numpy.concatenate([places[2, unsettled], right[unsettled]]))
    return float(log_settled)


def _log_sums(logarithms, factors):
    """log Σ f·exp(a) over the first axis: (K, N), (K,) to (N,)."""
    return numpy.logaddexp.reduce(logarithms + numpy.log(factors)[:, None])


# ---- importance sampling

def importance_sampling(energy, x: numpy.ndarray) -> tuple[float, float]:
    """log Z of points (N, d) and its standard error: log of the mean of exp(−E)/q over draws of q.

    q is fitted to the samples, and in some rounds to draws of itself that are weighted by exp(−E)/q.  What counts are
    fresh draws of the q whose weights vary least.

    Raises ``ValueError`` where the error stays above 0.1, or exp(−E) is 0 or not finite.
    """
    rng = randomness.metric_generator(randomness.LOG_Z)
    draws, weights = numpy.asarray(x, dtype=numpy.float64), numpy.full(len(x), 1 / len(x))
    best, most = None, 0.0
    for _ in range(_ROUNDS):
        proposal = _fitted(draws, weights, rng)
        draws = proposal.draw(_N_ADAPTED, rng)
        log_weights = _log_weights(energy, proposal, draws)
        weights = numpy.exp(log_weights - log_weights.max())
        weights /= weights.sum()
        effective = 1 / (weights ** 2).sum()  # draws of equal weight that would tell as much
        if effective > most:
            best, most = proposal, effective
        if most > _ENOUGH * _N_ADAPTED:
            break
        # No draw counts for more than a thousandth, so that few of them don't become the whole of the next proposals.
        weights = numpy.minimum(weights, 1e-3)
        weights /= weights.sum()
    log_weights, error = numpy.empty(0), math.inf
    while error > _SMALL_ERROR and len(log_weights) < _N_DRAWN:
        drawn = _log_weights(energy, best, best.draw(_N_AT_A_TIME, rng))
        log_weights = numpy.concatenate([log_weights, drawn])
        weights = numpy.exp(log_weights - log_weights.max())
        error = float(weights.std() / weights.mean() / math.sqrt(len(weights)))
    if error > LARGEST_ERROR:
        raise ValueError('log Z has a standard error of {:.2g} nats after {:,} draws, and more than {} says '
                         'nothing'.format(error, len(log_weights), LARGEST_ERROR))
    return float(log_weights.max() + math.log(weights.mean())), error


def _log_weights(energy, proposal, x):
    """log of exp(−E)/q at points (N, d): (N,)."""
    log_weights = -energy(x) - proposal.log_density(x)
    if not log_weights.max() < math.inf:
        raise ValueError('exp(-E) is not finite')
    if log_weights.max() == -math.inf:
        raise ValueError('exp(-E) is 0 everywhere')
    return log_weights


class _Mixture:
    """Multivariate t distributions: shares (K,), means (K, d), and scale matrices (K, d, d)."""

    def __init__(self, shares, means, scales):
        self.shares, self.means, self.scales = shares, means, scales
        self._factors = numpy.linalg.cholesky(scales)
        self._inverses = numpy.linalg.inv(self._factors)
        self._log_determinants = numpy.log(numpy.diagonal(self._factors, axis1=1, axis2=2)).sum(axis=1)

    def draw(self, n, rng):
        """n points, (n, d)."""
        chosen = rng.choice(len(self.shares), n, p=self.shares)
        noise = rng.standard_normal((n, self.means.shape[1]))
        noise *= numpy.sqrt(_FREEDOM / rng.chisquare(_FREEDOM, n))[:, None]
        return self.means[chosen] + numpy.einsum('nij,nj->ni', self._factors[chosen], noise)

    def log_density(self, x):
        """log q in nats, (N, d) to (N,)."""
        d = x.shape[1]
        constant = (
            math.lgamma((_FREEDOM + d) / 2) - math.lgamma(_FREEDOM / 2) - d / 2 * math.log(_FREEDOM * math.pi))
        log_parts = -(_FREEDOM + d) / 2 * numpy.log1p(self._squares(x) / _FREEDOM) - self._log_determinants
        return numpy.logaddexp.reduce(log_parts + numpy.log(self.shares), axis=1) + constant

    def responsibilities(self, x):
        """Which share of each point belongs to which part, were these Gaussians: (N, d) to (N, K)."""
        log_parts = -0.5 * self._squares(x) - self._log_determinants + numpy.log(self.shares)
        return numpy.exp(log_parts - numpy.logaddexp.reduce(log_parts, axis=1, keepdims=True))

    def _squares(self, x):
        """Squared Mahalanobis distances, (N, d) to (N, K)."""
        return numpy.stack([
            (((x - mean) @ inverse.T) ** 2).sum(axis=1) for mean, inverse in zip(self.means, self._inverses)], axis=1)


def _fitted(x, weights, rng):
    """A mixture like points (N, d) of weights (N,), whose sum is 1, and a broad part around all of them.

    Its parts are Gaussians that expectation maximization fits, from random points on.  A part counts ``d`` points more
    of a round one of its size, so that few points don't make it flat.
    """
    d, n_points = x.shape[1], 1 / (weights ** 2).sum()  # as many of equal weight tell as much
    n_parts = int(min(_PARTS, max(1, n_points // (5 * d))))
    broad = _covariances(x, weights[:, None], weights[None] @ x)
    round_ones = numpy.repeat(broad / n_parts ** (2 / d), n_parts, axis=0)
    mixture = _Mixture(
        numpy.full(n_parts, 1 / n_parts), x[rng.choice(len(x), n_parts, p=weights)], round_ones)
    for _ in range(_STEPS):
        shares = weights[:, None] * mixture.responsibilities(x)
        sums = shares.sum(axis=0) + 1e-12
        means = (shares.T @ x) / sums[:, None]
        counts = (n_points * sums)[:, None, None]
        scales = (counts * _covariances(x, shares / sums, means) + d * round_ones) / (counts + d)
        mixture = _Mixture(sums / sums.sum(), means, scales)
    return _Mixture(
        numpy.append((1 - _BROAD) * mixture.shares, _BROAD), numpy.concatenate([mixture.means, weights[None] @ x]),
        numpy.concatenate([mixture.scales, 2 * broad]))


def _covariances(x, weights, means):
    """Covariances of points (N, d) around means (K, d), with weights (N, K): (K, d, d)."""
    return numpy.stack([
        ((x - mean) * weight[:, None]).T @ (x - mean) + 1e-9 * numpy.eye(x.shape[1])
        for mean, weight in zip(means, weights.T)])
