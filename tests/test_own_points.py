"""Points of one's own as the reference: their metrics beside slow and plain computations, and what can't be one."""

import math

import numpy
import pytest

from ddgm.evaluation import metrics
from ddgm.evaluation.points import OwnPoints
from ddgm.support.errors import UsageError


def distance(a, b):
    return math.hypot(a[0] - b[0], a[1] - b[1])


def reach(points, i, k=5):
    """The distance of a point to its k-th neighbour."""
    return sorted(distance(points[i], other) for j, other in enumerate(points) if j != i)[k - 1]


def loops(x, reference):
    """Precision, recall, density and coverage as Naeem et al. 2020 write them, pair by pair."""
    reference_reach, x_reach = ([reach(points, i) for i in range(len(points))] for points in (reference, x))
    inside = [[distance(sample, real) <= radius for real, radius in zip(reference, reference_reach)] for sample in x]
    return {
        'precision': sum(map(any, inside)) / len(x),
        'recall': sum(
            any(distance(real, sample) <= radius for sample, radius in zip(x, x_reach)) for real in reference
        ) / len(reference),
        'density': sum(map(sum, inside)) / (5 * len(x)),
        'coverage': sum(map(any, zip(*inside))) / len(reference),
    }


def wasserstein_on_lines(x, reference, n=2000):
    """Root mean square over evenly spread directions, of sorted projections of equally many points."""
    angles = numpy.pi * (numpy.arange(n) + 0.5) / n
    directions = numpy.stack([numpy.cos(angles), numpy.sin(angles)])
    return math.sqrt(((numpy.sort(x @ directions, axis=0) - numpy.sort(reference @ directions, axis=0)) ** 2).mean())


def mmd2_in_loops(x, reference):
    everything = [*map(tuple, x), *map(tuple, reference)]
    distances = sorted(
        distance(a, b) for i, a in enumerate(everything) for b in everything[:i])
    width = numpy.median(distances)

    def mean(first, second, same):
        pairs = [(a, b) for i, a in enumerate(first) for j, b in enumerate(second) if not (same and i == j)]
        return sum(math.exp(-distance(a, b) ** 2 / (2 * width ** 2)) for a, b in pairs) / len(pairs)
    return mean(x, x, True) + mean(reference, reference, True) - 2 * mean(x, reference, False)


@pytest.mark.parametrize('scale', [1e-3, 1, 500])
def test_scores_against_loops(scale, rng):
    reference = (scale * rng.normal(size=(60, 2)) + 3 * scale).astype(numpy.float32)
    x = (scale * rng.normal(size=(60, 2)) + 3.5 * scale).astype(numpy.float32)
    scores = OwnPoints(reference).score(x)
    for name, value in loops(x.astype(float), reference.astype(float)).items():
        assert scores.pop(name) == pytest.approx(value, abs=1e-12), name
    assert scores.pop('sliced_wasserstein_2') == pytest.approx(
        wasserstein_on_lines(x.astype(float), reference.astype(float)), rel=0.05)
    assert scores.pop('mmd2') == pytest.approx(mmd2_in_loops(x.astype(float), reference.astype(float)), rel=1e-6)
    assert scores == {}


def test_what_is_there_is_used_at_most_once(rng):
    """Of 5,001 points 2,500 are the reference and the others may be scored beside the samples."""
    points = rng.normal(size=(5001, 2)).astype(numpy.float32)
    reference = OwnPoints(points)
    fresh = reference.real_data(2501)
    compared = reference.shown_data(2500)
    rows = [tuple(row) for row in numpy.concatenate([fresh, compared])]
    assert sorted(rows) == sorted(map(tuple, points))
    assert reference.real_data(2502) is None
    assert reference.score(fresh)['coverage'] > 0.9
    assert reference.score(compared)['sliced_wasserstein_2'] == 0
    assert OwnPoints(points[:2500]).real_data(1) is None


def test_energy_is_scored_on_the_points(rng):
    """A Gaussian's, whose log Z is known."""
    points = rng.normal(size=(400, 2)).astype(numpy.float32)
    scores = OwnPoints(points).score(points, lambda x: (numpy.asarray(x, dtype=float) ** 2).sum(axis=1) / 2)
    assert scores['log_z'] == pytest.approx(math.log(2 * math.pi), abs=1e-4)
    assert scores['log_likelihood'] == pytest.approx(
        -(points.astype(float) ** 2).sum(axis=1).mean() / 2 - math.log(2 * math.pi), abs=1e-4)
    assert scores['energy_gap'] == pytest.approx(0, abs=1e-6)


def test_window_shows_all():
    points = numpy.array([[100, -5], [120, -5], [110, 5], [101, 0], [102, 0], [103, 0]])
    assert OwnPoints(points).window == pytest.approx((110, 0, 11, 11))


@pytest.mark.parametrize('points', [numpy.zeros((5, 2)), numpy.ones((50, 2)), numpy.arange(10).reshape(5, 2)])
def test_points_that_are_too_few_or_one(points):
    with pytest.raises(UsageError, match='more than 5 points to compare with, which are not all one'):
        OwnPoints(points)


@pytest.mark.parametrize('shape', [(20,), (20, 2, 1)])
def test_points_of_another_space(shape):
    with pytest.raises(UsageError, match=r'\(N, d\)'):
        OwnPoints(numpy.zeros(shape))


def test_far_share_and_spread_against_loops(rng):
    reference, x = rng.normal(size=(40, 2)), 2 * rng.normal(size=(30, 2))
    furthest = max(reach(reference, i) for i in range(40))
    far = [min(distance(sample, real) for real in reference) > furthest for sample in x]
    assert 0 < sum(far) < 30
    assert metrics.far_share(x, reference, furthest) == sum(far) / 30
    middle = x.sum(axis=0) / 30
    assert metrics.spread(x) == pytest.approx(math.sqrt(sum(distance(sample, middle) ** 2 for sample in x) / 30))
    for points in (x[0], x[:0]):
        with pytest.raises(ValueError, match='points'):
            metrics.spread(points)
