"""The two tasks in the plane, where the data's density or curve is known: how good samples and an energy are."""

from __future__ import annotations

import numpy
from numpy.random import Generator

from ddgm.data.distributions import GaussianMixture, SwissRoll
from ddgm.evaluation import metrics, quadrature
from ddgm.evaluation.reference import Reference
from ddgm.support import randomness

_TOLERANCE = 1e-4  # of log Z, in nats: a fraction of what another draw of the samples changes

# ---- metrics of an energy

def score_energy(energy, x: numpy.ndarray, held_out: numpy.ndarray, log_data_density=None) -> dict:
    """How good a density exp(−E)/Z is: of samples ``x`` and held-out data, both (N, 2).

    Where the data's own log density is given, a function of points, there are the divergences in both directions too.
    Where :func:`ddgm.evaluation.quadrature.density` can't find log Z, what depends on it is ``None``, and
    ``log_z_missing`` says why; ``kl_energy_data`` is ``None`` as well where it is infinite.
    """
    energy_of_data = energy(held_out).mean()
    scores = dict.fromkeys(['log_z', 'log_likelihood'])
    scores['energy_gap'] = float(energy(x).mean() - energy_of_data)
    if log_data_density is not None:
        scores.update(dict.fromkeys(['kl_data_energy', 'kl_energy_data']))
    try:
        density = quadrature.density(energy, numpy.concatenate([x, held_out]), _TOLERANCE)
    except ValueError as error:
        return {**scores, 'log_z_missing': str(error)}
    scores.update(log_z=density.log_z, log_likelihood=float(-energy_of_data - density.log_z))
    if log_data_density is not None:
        scores['kl_data_energy'] = density.divergence_of(log_data_density)
        try:
            scores['kl_energy_data'] = density.divergence_from(log_data_density)
        except ValueError as error:
            scores['kl_energy_data_missing'] = str(error)
    return scores


# ---- all metrics of a task

def blurred_shares(x: numpy.ndarray, shares: numpy.ndarray | None = None, deviation: float = 0.1) -> numpy.ndarray:
    """What the cells of a square hold of points (N, 2) that are blurred by a Gaussian; last what lies outside of it.

    The square |x₁|, |x₂| ≤ 4.5 holds all of the swiss roll.  The cells are half a standard deviation wide, so that they
    tell a blurred density exactly.  ``shares`` (N,) of the points are equal where they are not given.
    """
    half_width, n = 4.5, round(4 * 4.5 / deviation)
    width = 2 * half_width / n
    places = (numpy.arange(n) + 0.5) * width - half_width
    height = width / (deviation * (2 * numpy.pi) ** 0.5)
    first, second = (height * numpy.exp(-0.5 * ((places - axis[:, None]) / deviation) ** 2) for axis in x.T)
    shares = numpy.full(len(x), 1 / len(x)) if shares is None else shares
    inside = ((second.T * shares) @ first).ravel()
    return numpy.append(inside, max(0, 1 - inside.sum()))


def score_gaussian_mixture(x: numpy.ndarray, energy=None) -> dict:
    """All metrics of samples (N, 2) against the Gaussian mixture, by name; with an energy function those of E too."""
    mixture = GaussianMixture()
    x, = metrics.as_points(x, least=metrics.NEIGHBOUR + 1)
    reference = mixture.sample(len(x), randomness.metric_generator(randomness.REFERENCE_DATA)).astype(numpy.float64)
    distances = mixture.mahalanobis(x)
    nearest, distance = distances.argmin(axis=1), distances.min(axis=1)
    entropy, cross_entropy = metrics.entropy_knn(x), float(-mixture.log_density(x).mean())
    scores = {
        # 3 alone is a trap: the components overlap at the origin, where a collapsed generator scores 1.
        'hq_2sigma': float((distance <= 2).mean()),
        'hq_3sigma': float((distance <= 3).mean()),
        'modes_2sigma': len(numpy.unique(nearest[distance <= 2])),
        'mode_kl': metrics.divergence_from_uniform(
            numpy.bincount(nearest[distance <= 3], minlength=mixture.n_components)),
        'entropy_knn': entropy,
        'cross_entropy': cross_entropy,
        'kl_generator_data': cross_entropy - entropy,
        'sliced_wasserstein_2': metrics.sliced_wasserstein_2(x, reference),
        'mmd2': metrics.mmd2(x, reference),
        'coverage': metrics.coverage(x, reference),
    }
    if energy is not None:
        scores.update(score_energy(energy, x, reference, mixture.log_density))
    return scores


def score_swiss_roll(x: numpy.ndarray, energy=None) -> dict:
    """All metrics of samples (N, 2) against the swiss roll, by name; with an energy function those of E too."""
    roll = SwissRoll()
    x, = metrics.as_points(x, least=metrics.NEIGHBOUR + 1)
    reference = roll.sample(len(x), randomness.metric_generator(randomness.REFERENCE_DATA)).astype(numpy.float64)
    distance, data_share = roll.nearest(x)
    n_bins = 20
    scores = {
        'within_0.05': float((distance <= 0.05).mean()),
        'within_0.1': float((distance <= 0.1).mean()),
        'median_distance': float(numpy.median(distance)),
        # arc_kl tells nothing of samples off the curve, and mmd2's kernel is as wide as the roll.
        'blurred_js': metrics.jensen_shannon(blurred_shares(x), blurred_shares(*roll.pieces())),
        'arc_kl': metrics.divergence_from_uniform(
            numpy.histogram(data_share[distance <= 0.1], bins=n_bins, range=(0, 1))[0]),
        'sliced_wasserstein_2': metrics.sliced_wasserstein_2(x, reference),
        'mmd2': metrics.mmd2(x, reference),
        'coverage': metrics.coverage(x, reference),
    }
    if energy is not None:
        scores.update(score_energy(energy, x, reference))
    return scores


# ---- the tasks

class Plane(Reference):
    """Points of the plane, (N, 2), and what samples of them are held against."""

    shape = 2,

    def __init__(self, distribution, score, exact_energy=None):
        self._distribution, self._score, self.exact_energy = distribution, score, exact_energy

    def draw_data(self, n: int, rng: Generator) -> numpy.ndarray:
        return self._distribution.sample(n, rng)

    def score(self, x: numpy.ndarray, energy=None, settings=None) -> dict:
        return self._score(x, energy)


def gaussian_mixture() -> Plane:
    """The task of the Gaussian mixture."""
    mixture = GaussianMixture()
    return Plane(mixture, score_gaussian_mixture, lambda x: -mixture.log_density(x))


def swiss_roll() -> Plane:
    """The task of the swiss roll."""
    return Plane(SwissRoll(), score_swiss_roll)
