"""The metrics, each a plain function of arrays, so that samples made by any other program can be scored too.

All score in float64.  Random numbers (reference data, projection directions) come from a generator of the metrics' own
that is the same for every run.  Entropies, energies and divergences are in nats.
"""

import math

import chainer
import numpy

from ddgm import randomness
from ddgm.data.toy import GaussianMixture, SwissRoll, cells_of_square

_CHUNK = 10_000  # points that pass a network at a time
_NEIGHBOUR = 5  # k of the nearest-neighbour metrics


# ---- models as functions of arrays

def _in_test_mode(model, inputs):
    with chainer.using_config('train', False), chainer.no_backprop_mode():
        return numpy.concatenate([
            chainer.cuda.to_cpu(model(model.device.send(inputs[first:first + _CHUNK])).array)
            for first in range(0, len(inputs), _CHUNK)])


def sample(generative_model, z):
    """x = G(z) in test mode: (N, d) to (N, …), NumPy arrays of the model's number type whatever its device."""
    return _in_test_mode(generative_model, z)


def with_population_statistics(generative_model, batchsize, n_batches=400):
    """A copy of a DGM whose BatchNormalization has averaged its statistics over many batches of z.

    Algorithm 2 of Ioffe & Szegedy 2015.  The running statistics of training remember some ten batches; the copy differs
    from the model, which stays as it is, by being rid of their noise.  ``n_batches`` batches of ``batchsize`` pass it.
    """
    copy = generative_model.copy(mode='copy')
    links = [link for link in copy.links() if isinstance(link, chainer.links.BatchNormalization)]
    rng = randomness.metric_generator(stream=4)
    with chainer.using_config('train', True), chainer.no_backprop_mode():
        for n in range(1, n_batches + 1):
            for link in links:
                link.decay = 1 - 1 / n  # the running mean of all batches so far
            copy(copy.device.send(copy.draw_latent(batchsize, rng)))
    return copy


def energy_function(energy_model):
    """E of a DEM in test mode as a function of NumPy arrays, (N, …) to (N,) float64."""
    def energy(x):
        return _in_test_mode(energy_model, numpy.asarray(x, dtype=energy_model.b.dtype)).astype(numpy.float64)
    return energy


# ---- metrics of samples

def pairwise_distances(x, y):
    """Euclidean distances: (N, D) and (M, D) to (N, M), float64."""
    x, y = numpy.asarray(x, dtype=numpy.float64), numpy.asarray(y, dtype=numpy.float64)
    # A coordinate at a time: exact for near points, unlike ‖x‖² − 2xᵀy + ‖y‖².
    return numpy.sqrt(sum(numpy.subtract.outer(x[:, i], y[:, i]) ** 2 for i in range(x.shape[1])))


def neighbour_distances(x, k):
    """Distance of each point to its k-th neighbour among the others: (N, D) to (N,).

    Raises ``ValueError`` if N ≤ k.
    """
    if len(x) <= k:
        raise ValueError('{} points have no neighbour number {}'.format(len(x), k))
    return numpy.partition(pairwise_distances(x, x), k, axis=1)[:, k]


def entropy_knn(x, k=_NEIGHBOUR):
    """Differential entropy by Kozachenko & Leonenko 1987 from distances to k-th neighbours; (N, D).

    Distances below 1e-12 count as 1e-12, so a collapse to one point is a very low number and not −∞.
    """
    n, dimension = x.shape
    log_ball = dimension / 2 * math.log(math.pi) - math.lgamma(dimension / 2 + 1)
    log_distances = numpy.log(numpy.maximum(neighbour_distances(x, k), 1e-12))
    harmonic = sum(1 / i for i in range(k, n))  # digamma(n) − digamma(k)
    return float(harmonic + log_ball + dimension * log_distances.mean())


def divergence_from_uniform(counts):
    """KL of a histogram from the uniform one over its bins; that of a single full bin where all are empty."""
    counts = numpy.asarray(counts, dtype=numpy.float64)
    if not counts.any():
        return math.log(len(counts))
    shares = counts[counts > 0] / counts.sum()
    return float((shares * numpy.log(shares * len(counts))).sum())


def coverage(x, reference, k=_NEIGHBOUR):
    """Share of reference points whose ball to their k-th neighbour holds a sample (Naeem et al. 2020)."""
    return float((pairwise_distances(reference, x).min(axis=1) <= neighbour_distances(reference, k)).mean())


def sliced_wasserstein_2(x, reference, n_directions=256):
    """Root mean square, over random directions, of the 2-Wasserstein distance between projections."""
    directions = randomness.metric_generator(stream=3).standard_normal((x.shape[1], n_directions))
    directions /= numpy.linalg.norm(directions, axis=0)
    # Both quantile functions are steps: compare them between all their jumps.
    edges = numpy.union1d(numpy.arange(len(x) + 1) / len(x), numpy.arange(len(reference) + 1) / len(reference))
    middles = (edges[1:] + edges[:-1]) / 2
    quantiles = [
        numpy.sort(numpy.asarray(points, dtype=numpy.float64) @ directions, axis=0)[(middles * len(points)).astype(int)]
        for points in (x, reference)]
    return float(numpy.sqrt((numpy.diff(edges) @ (quantiles[0] - quantiles[1]) ** 2).mean()))


def mmd2(x, reference):
    """Unbiased squared maximum mean discrepancy (Gretton et al. 2012, equation 3).

    The kernel is exp(−d²/(2h²)) with h the median distance of all pairs of points, samples and reference together.
    """
    n, m = len(x), len(reference)
    within_x, within_reference, between = (
        pairwise_distances(x, x), pairwise_distances(reference, reference), pairwise_distances(x, reference))
    pairs = numpy.concatenate([
        within_x[numpy.triu_indices(n, 1)], within_reference[numpy.triu_indices(m, 1)], between.ravel()])
    if not pairs.any():
        return 0.0  # all points are one
    # Where most pairs coincide, the others tell the scale.
    bandwidth = numpy.median(pairs) or numpy.median(pairs[pairs > 0])

    def kernel_sum(distances):
        return numpy.exp(-0.5 * (distances / bandwidth) ** 2).sum()
    return float(
        (kernel_sum(within_x) - n) / (n * (n - 1)) + (kernel_sum(within_reference) - m) / (m * (m - 1))
        - 2 * kernel_sum(between) / (n * m))


# ---- metrics of an energy

def log_partition(energy, tolerance=1e-5):
    """log Z = log ∫ exp(−E(x)) dx over the plane, by the midpoint rule on a square around the origin.

    Cells that hold mass are halved until that changes log Z by less than ``tolerance``, and the square (at first
    |x₁|, |x₂| ≤ 6) is widened until a frame of half its width around it adds less than that.  Raises ``ValueError``
    where it is still not enough.  Structure narrower than about 0.005 may escape the first cells, of width 0.02.
    """
    for half_width in 6 * 1.5 ** numpy.arange(5):
        log_z = _log_mass_of_square(energy, half_width, tolerance)
        around, width = cells_of_square(1.5 * half_width, 300)
        around = around[abs(around).max(axis=1) > half_width]
        if numpy.logaddexp(log_z, _log_sum(-energy(around) + 2 * math.log(width))) - log_z < tolerance:
            return log_z
    raise ValueError('exp(-E) still has mass {:.0f} away from the origin'.format(half_width))


def _log_mass_of_square(energy, half_width, tolerance):
    centres, width = cells_of_square(half_width, 600)
    log_masses = -energy(centres) + 2 * math.log(width)
    log_z, settled = _log_sum(log_masses), -math.inf
    for _ in range(16):
        # All cells together that are not halved any more hold less than the tolerance, even if each holds exp(10) times
        # what its centre says.
        halved = log_masses > log_z + math.log(tolerance / len(log_masses)) - 10
        if not halved.all():
            settled = numpy.logaddexp(settled, _log_sum(log_masses[~halved]))
        width /= 2
        corners = numpy.array([[-1, -1], [-1, 1], [1, -1], [1, 1]]) * width / 2
        centres = (centres[halved][:, None] + corners).reshape(-1, 2)
        log_masses = -energy(centres) + 2 * math.log(width)
        previous, log_z = log_z, float(numpy.logaddexp(settled, _log_sum(log_masses)))
        if abs(log_z - previous) < tolerance:
            return log_z
    raise ValueError('exp(-E) is too steep for cells of {:.0e}'.format(width))


def _log_sum(logarithms):
    highest = logarithms.max()
    return float(highest + numpy.log(numpy.exp(logarithms - highest).sum()))


def score_energy(energy, x, held_out, data_entropy=None):
    """How good a density exp(−E)/Z is: of samples ``x`` and held-out data, both (N, 2).

    Where :func:`log_partition` can't find log Z, what depends on it is ``None``.
    """
    try:
        log_z = log_partition(energy)
    except ValueError:
        log_z = None
    energy_of_data = energy(held_out).mean()
    log_likelihood = None if log_z is None else float(-energy_of_data - log_z)
    scores = {
        'log_z': log_z,
        'log_likelihood': log_likelihood,
        'energy_gap': float(energy(x).mean() - energy_of_data),
    }
    if data_entropy is not None:
        scores['kl_data_energy'] = None if log_z is None else -data_entropy - log_likelihood
    return scores


# ---- all metrics of a task

def score_gaussian_mixture(x, energy=None):
    """All metrics of samples (N, 2) against the Gaussian mixture, by name; with an energy function those of E too."""
    mixture = GaussianMixture()
    x = numpy.asarray(x, dtype=numpy.float64)
    reference = mixture.sample(len(x), randomness.metric_generator(stream=2)).astype(numpy.float64)
    distances = mixture.mahalanobis(x)
    nearest, distance = distances.argmin(axis=1), distances.min(axis=1)
    entropy, cross_entropy = entropy_knn(x), float(-mixture.log_density(x).mean())
    scores = {
        # 3 alone is a trap: the components overlap at the origin, where a collapsed generator scores 1.
        'hq_2sigma': float((distance <= 2).mean()),
        'hq_3sigma': float((distance <= 3).mean()),
        'modes_2sigma': len(numpy.unique(nearest[distance <= 2])),
        'mode_kl': divergence_from_uniform(
            numpy.bincount(nearest[distance <= 3], minlength=mixture.n_components)),
        'entropy_knn': entropy,
        'cross_entropy': cross_entropy,
        'kl_generator_data': cross_entropy - entropy,
        'sliced_wasserstein_2': sliced_wasserstein_2(x, reference),
        'mmd2': mmd2(x, reference),
        'coverage': coverage(x, reference),
    }
    if energy is not None:
        scores.update(score_energy(energy, x, reference, mixture.entropy))
    return scores


def score_swiss_roll(x, energy=None):
    """All metrics of samples (N, 2) against the swiss roll, by name; with an energy function those of E too."""
    roll = SwissRoll()
    x = numpy.asarray(x, dtype=numpy.float64)
    reference = roll.sample(len(x), randomness.metric_generator(stream=2)).astype(numpy.float64)
    distance, data_share = roll.nearest(x)
    n_bins = 20
    scores = {
        'within_0.05': float((distance <= 0.05).mean()),
        'within_0.1': float((distance <= 0.1).mean()),
        'median_distance': float(numpy.median(distance)),
        'arc_kl': divergence_from_uniform(
            numpy.histogram(data_share[distance <= 0.1], bins=n_bins, range=(0, 1))[0]),
        'sliced_wasserstein_2': sliced_wasserstein_2(x, reference),
        'mmd2': mmd2(x, reference),
        'coverage': coverage(x, reference),
    }
    if energy is not None:
        scores.update(score_energy(energy, x, reference))
    return scores
