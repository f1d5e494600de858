"""The metrics, each a plain function of arrays, so that samples made by any other program can be scored too.

All compute in float64.  Entropies and divergences are in nats.  Points are (N, D) of any number type; ``ValueError`` is
raised where they are too few for what is asked, or those of two sets have not the same D.
"""

import math

import numpy

from ddgm.fast.threads import PART, for_each, in_parts
from ddgm.support import randomness
from ddgm.support.errors import UsageError

N_SCORED = 2500  # samples of a run, and at most of any other program
NEIGHBOUR = 5  # k of the nearest-neighbour metrics
_PART = 500  # points that are worked on at a time, where they have many numbers each
COLLAPSED = 0.25  # the diversity below which samples are all alike


def as_points(*sets, least=1):
    """Sets of points as float64 arrays (N, D), each of ``least`` points or more."""
    sets = [numpy.asarray(points, dtype=numpy.float64) for points in sets]
    for points in sets:
        if points.ndim != 2 or points.shape[1:] != sets[0].shape[1:] or not points.shape[1]:
            raise ValueError('points have the shape (N, D) with one D, these have {}'.format(
                ' and '.join(str(points.shape) for points in sets)))
        if len(points) < least:
            raise ValueError('{} points are too few: it takes {}'.format(len(points), least))
    return sets


def pairwise_distances(x, y):
    """Euclidean distances: (N, D) and (M, D) to (N, M), float64."""
    x, y = as_points(x, y) if y is not x else 2 * as_points(x)  # with one copy as float64
    if x.shape[1] <= 3:
        distances, coordinates = numpy.empty((len(x), len(y))), y.T.copy()

        def fill(rows):
            # A coordinate at a time: exact for near points, unlike the below.
            squares = distances[rows]
            numpy.subtract.outer(x[rows, 0], coordinates[0], out=squares)
            squares *= squares
            for i in range(1, x.shape[1]):
                differences = numpy.subtract.outer(x[rows, i], coordinates[i])
                differences *= differences
                squares += differences
            numpy.sqrt(squares, out=squares)
        for_each(fill, _few_rows(distances))
        return distances
    # Of a matrix with itself NumPy has another product, which rounds otherwise; of a copy it does not know.
    squares = (x.copy() if y is x else x) @ y.T
    norms = squared_norms(x), squared_norms(y)

    def finish(rows):
        part = squares[rows]
        part *= -2
        part += numpy.add.outer(norms[0][rows], norms[1])
        numpy.sqrt(numpy.maximum(part, 0, out=part), out=part)
    for_each(finish, _few_rows(squares))
    return squares


def squared_norms(x):
    """‖x‖² of each point: (N, D) to (N,); a part at a time, since the squares take as much memory as the points."""
    return numpy.concatenate(for_each(lambda part: (part ** 2).sum(axis=1), _parts(x)))


def _parts(x, n=_PART):
    """Points (N, D) as several arrays, of n each but for the last."""
    return [x[rows] for rows in _rows(x, n)]


def _rows(x, n=_PART):
    """The rows of each part of x, as slices."""
    return [slice(first, first + n) for first in range(0, max(1, len(x)), n)]


def _few_rows(x):
    """The same of a matrix, so few that they stay in a processor's cache."""
    return _rows(x, max(1, PART // max(1, x.shape[1])))


def neighbour_distances(x, k):
    """Distance of each point to its k-th neighbour among the others: (N, D) to (N,).

    Raises ``ValueError`` if N ≤ k.
    """
    x, = as_points(x)
    if len(x) <= k:
        raise ValueError('{} points have no neighbour number {}'.format(len(x), k))
    distances = pairwise_distances(x, x)
    for_each(lambda rows: distances[rows].partition(k, axis=1), _few_rows(distances))
    return distances[:, k]


def entropy_knn(x, k=NEIGHBOUR):
    """Differential entropy by Kozachenko & Leonenko 1987 from distances to k-th neighbours; (N, D).

    Distances below 1e-12 count as 1e-12, so a collapse to one point is a very low number and not −∞.
    """
    x, = as_points(x)
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


def divergence(shares, reference_shares):
    """KL of one histogram from another, both (bins,) of shares; infinite where the reference lacks a bin."""
    shares, reference_shares = (numpy.asarray(x, dtype=numpy.float64) for x in (shares, reference_shares))
    full = shares > 0
    with numpy.errstate(divide='ignore'):
        return float((shares[full] * numpy.log(shares[full] / reference_shares[full])).sum())


def jensen_shannon(shares, others):
    """The Jensen–Shannon divergence of two histograms, both (bins,) of shares: 0 where equal, log 2 where apart.

    It is the mean of both KL divergences from their mean.
    """
    together = numpy.add(shares, others)
    return math.log(2) + 0.5 * (divergence(shares, together) + divergence(others, together))


def inside_balls(centres, x, k=NEIGHBOUR):
    """Which points lie in which centre's ball to its k-th neighbour: (M, D), (N, D) to (M, N) bool."""
    return pairwise_distances(centres, x) <= neighbour_distances(centres, k)[:, None]


def coverage(x, reference, k=NEIGHBOUR):
    """Share of reference points whose ball to their k-th neighbour holds a sample (Naeem et al. 2020)."""
    return float(inside_balls(reference, x, k).any(axis=1).mean())


def neighbour_scores(x, reference, k=NEIGHBOUR):
    """Precision, recall, density and coverage by name (Naeem et al. 2020); (N, D), (M, D).

    Precision: share of samples in the ball of some reference point; recall: the same the other way round; density: in
    how many balls a sample lies, over k.  Even a perfect model's precision and recall stay well below 1.
    """
    inside = inside_balls(reference, x, k)
    return {
        'precision': float(inside.any(axis=0).mean()),
        'recall': float(inside_balls(x, reference, k).any(axis=0).mean()),
        'density': float(inside.sum(axis=0).mean() / k),
        'coverage': float(inside.any(axis=1).mean()),
    }


def far_share(x, reference, reach):
    """Share of samples that lie farther than ``reach`` from all reference points; (N, D), (M, D)."""
    return float((pairwise_distances(x, reference).min(axis=1) > reach).mean())


def spread(x):
    """Root mean square distance of points (N, D) from their mean."""
    x, = as_points(x)
    return float(numpy.sqrt(((x - x.mean(axis=0)) ** 2).sum(axis=1).mean()))


def frechet_distance(x, reference):
    """‖μ₁ − μ₂‖² + Tr(C₁ + C₂ − 2(C₁C₂)^½), the squared distance of Gaussians with the moments of (N, D), (M, D)."""
    means, covariances = zip(*(
        (points.mean(axis=0), numpy.atleast_2d(numpy.cov(points, rowvar=False)))
        for points in as_points(x, reference, least=2)))
    # C₁C₂ has the eigenvalues of the symmetric C₁^½ C₂ C₁^½.
    values, vectors = numpy.linalg.eigh(covariances[0])
    root = vectors * numpy.sqrt(numpy.maximum(values, 0)) @ vectors.T
    root_trace = numpy.sqrt(numpy.maximum(numpy.linalg.eigvalsh(root @ covariances[1] @ root), 0)).sum()
    return float(
        ((means[0] - means[1]) ** 2).sum() + numpy.trace(covariances[0]) + numpy.trace(covariances[1])
        - 2 * root_trace)


def mode_score(probabilities, data_shares):
    """exp(E KL(p(y|x) ‖ p_G(y)) − KL(p_G(y) ‖ p_data(y))) of a classifier's (N, classes) (Che et al. 2017)."""
    probabilities, = as_points(probabilities)
    shares = probabilities.mean(axis=0)
    full = probabilities[probabilities > 0], shares[shares > 0]
    mean_divergence = (full[0] * numpy.log(full[0])).sum() / len(probabilities) - (full[1] * numpy.log(full[1])).sum()
    return float(numpy.exp(mean_divergence - divergence(shares, data_shares)))


def nearest(x, others):
    """The nearest of the others for each point: (N, D), (M, D) to the distances (N,) float64 and indexes (N,).

    Which one is nearest is found in float32, so of two that are as near either may be taken.  ``others`` may be of any
    number type and is converted a part at a time.
    """
    x, others = numpy.asarray(x, dtype=numpy.float32), numpy.asarray(others)
    best, indexes, first = numpy.full(len(x), numpy.inf), numpy.zeros(len(x), dtype=int), 0
    for part in _parts(others, 5000):  # the width of a product can change its rounding, and so what is nearest
        part = numpy.asarray(part, dtype=numpy.float32)
        scores = x @ part.T  # to be squared distances but for ‖x‖²
        scores *= -2
        scores += numpy.einsum('ij,ij->i', part, part)
        nearest_here = scores.argmin(axis=1)
        score = scores[numpy.arange(len(x)), nearest_here]
        better = score < best
        best[better], indexes[better] = score[better], first + nearest_here[better]
        first += len(part)
    distances = numpy.concatenate([
        numpy.linalg.norm(part.astype(numpy.float64) - others[chosen], axis=1)
        for part, chosen in zip(_parts(x), _parts(indexes))])
    return distances, indexes


def sliced_wasserstein_2(x, reference, n_directions=256):
    """Root mean square, over random directions, of the 2-Wasserstein distance between projections."""
    x, reference = as_points(x, reference)
    directions = randomness.metric_generator(randomness.PROJECTIONS).standard_normal((x.shape[1], n_directions))
    directions /= numpy.linalg.norm(directions, axis=0)
    # Both quantile functions are steps: compare them between all their jumps.
    edges = numpy.union1d(numpy.arange(len(x) + 1) / len(x), numpy.arange(len(reference) + 1) / len(reference))
    middles = (edges[1:] + edges[:-1]) / 2
    quantiles = [
        numpy.sort(points @ directions, axis=0)[(middles * len(points)).astype(int)]
        for points in (x, reference)]
    return float(numpy.sqrt((numpy.diff(edges) @ (quantiles[0] - quantiles[1]) ** 2).mean()))


def mmd2(x, reference):
    """Unbiased squared maximum mean discrepancy (Gretton et al. 2012, equation 3).

    The kernel is exp(−d²/(2h²)) with h the median distance of all pairs of points, samples and reference together.
    """
    x, reference = as_points(x, reference, least=2)
    n, m = len(x), len(reference)
    within_x, within_reference, between = (
        pairwise_distances(x, x), pairwise_distances(reference, reference), pairwise_distances(x, reference))
    bandwidth = _median_of_pairs([within_x, within_reference], between)
    if not bandwidth:
        return 0.0  # all points are one

    def kernel(distances):  # in their place
        distances /= bandwidth
        distances *= distances
        distances *= -0.5
        numpy.exp(distances, out=distances)

    def kernel_sum(distances):
        in_parts(kernel, distances)
        return sum(for_each(lambda rows: distances[rows].sum(), _rows(distances)))
    return float(
        (kernel_sum(within_x) - n) / (n * (n - 1)) + (kernel_sum(within_reference) - m) / (m * (m - 1))
        - 2 * kernel_sum(between) / (n * m))


def _median_of_pairs(within, between):
    """The median of distances above the diagonals of some matrices, and of all in another one.

    Where most pairs coincide it is that of the others; 0 where all do.  All numbers are looked at, but only those are
    put in order that lie near the median of some of them.
    """
    parts = [(distances, rows) for distances in (*within, between) for rows in _few_rows(distances)]

    def rows_of(distances, rows):
        return [row if distances is between else row[i + 1:] for i, row in enumerate(distances[rows], rows.start)]
    # Of each row others, so that all points have a part in it.
    some = numpy.sort(numpy.concatenate(
        [row[i % 101::101] for part in parts for i, row in enumerate(rows_of(*part), part[1].start)]))
    lowest, highest = some[[int(0.48 * len(some)), int(0.52 * len(some))]] if len(some) else (0, 0)

    def look(part):
        distances, rows = part
        taken = distances[rows]
        is_below, is_near = taken < lowest, (lowest <= taken) & (taken <= highest)
        if distances is not between:
            counts = numpy.arange(rows.start, rows.start + len(taken))[:, None] < numpy.arange(len(distances))
            is_below &= counts
            is_near &= counts
        return numpy.count_nonzero(is_below), taken.ravel()[numpy.flatnonzero(is_near)]
    n_below, near = zip(*for_each(look, parts))
    n = sum(len(distances) * (len(distances) - 1) // 2 for distances in within) + between.size
    near, first, last = numpy.concatenate(near), (n - 1) // 2 - sum(n_below), n // 2 - sum(n_below)
    if first >= 0 and last < len(near) and lowest > 0 and numpy.isfinite(some).all():
        near.partition([first, last])
        return numpy.mean(near[[first, last]])
    pairs = numpy.concatenate([row for part in parts for row in rows_of(*part)])
    return numpy.median(pairs) or (numpy.median(pairs[pairs > 0]) if pairs.any() else 0.0)


def check_reference(x):
    """Raise ``UsageError`` where (N, …) data can't be a reference: too few points, or copies of one."""
    if len(x) <= NEIGHBOUR:
        raise UsageError('the metrics need more than {} images to compare with, and the data holds {}: give other data '
                         'to --data'.format(NEIGHBOUR, len(x)))
    if all((part == x[0]).all() for part in _parts(x)):  # the first part tells it of most data
        raise UsageError('the data holds {:,} times the same image: give other data to --data'.format(len(x)))


def mean_distance(x):
    """Mean Euclidean distance of two different points of x: (N, D) to a float."""
    x, = as_points(x, least=2)
    return float(pairwise_distances(x, x).sum() / (len(x) * (len(x) - 1)))


def diversity(x, reference):
    """Mean distance of two samples over that of two reference points: (N, D), (M, D); 0 where all samples are one."""
    return mean_distance(x) / mean_distance(reference)


def area_under_curve(scores, others):
    """The probability that one of ``others`` scores higher than one of ``scores``, ties half: (N,), (M,) to 0…1.

    With energies of held-out data and of something else it is the AUROC of the energy as a detector of the else.
    """
    scores, others = (numpy.asarray(values, dtype=numpy.float64) for values in (scores, others))
    if not (len(scores) and len(others)):
        raise ValueError('{} scores and {} others have no order'.format(len(scores), len(others)))
    scores = numpy.sort(scores)
    below = numpy.searchsorted(scores, others, side='left') + numpy.searchsorted(scores, others, side='right')
    return float(below.mean() / (2 * len(scores)))


def canonical_correlations(x, y, tolerance=1e-6):
    """The canonical correlations of two series of N paired points (Hotelling 1936): (N, P), (N, Q) to (≤ min(P, Q),).

    Largest first.  Directions whose variance is below ``tolerance`` of the largest count as constant.
    """
    def orthonormal(points):
        points, = as_points(points)
        u, s, _ = numpy.linalg.svd(points - points.mean(axis=0), full_matrices=False)
        return u[:, s ** 2 > tolerance * s[:1] ** 2]
    return numpy.linalg.svd(orthonormal(x).T @ orthonormal(y), compute_uv=False).clip(0, 1)


def cosine(x, y):
    """The cosine of the angle between two vectors; 0 where one of them is 0."""
    x, y = (numpy.asarray(vector, dtype=numpy.float64) for vector in (x, y))
    norms = numpy.linalg.norm(x) * numpy.linalg.norm(y)
    return float(numpy.dot(x, y) / norms) if norms else 0.0
