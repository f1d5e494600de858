"""Every metric on cases whose value is known, or beside a slow and plain computation of it."""

import math

import chainer
import chainer.functions as F
import numpy
import pytest

from ddgm import training
from ddgm.data.distributions import GaussianMixture, SwissRoll
from ddgm.evaluation import metrics, plane, sampling
from ddgm.fast import threads
from ddgm.models import DeepEnergyModel
from ddgm.networks.toy import build_models
from ddgm.presets import PRESETS
from ddgm.support import randomness

mixture, roll = GaussianMixture(), SwissRoll()


def test_perfect_samples_of_the_mixture():
    scores = plane.score_gaussian_mixture(mixture.sample(2500, numpy.random.default_rng(1)))
    # Outside the overlap the shares are those of a 2-D Gaussian, 1 − exp(−k²/2); a point counts for its nearest mode.
    assert scores['hq_2sigma'] == pytest.approx(1 - math.exp(-2), abs=0.025)
    assert scores['hq_3sigma'] == pytest.approx(1 - math.exp(-4.5), abs=0.01)
    assert scores['modes_2sigma'] == 10
    assert scores['mode_kl'] < 0.0045
    assert scores['entropy_knn'] == pytest.approx(mixture.entropy, abs=0.06)
    assert scores['cross_entropy'] == pytest.approx(mixture.entropy, abs=0.06)
    assert scores['kl_generator_data'] == pytest.approx(0, abs=0.06)
    assert scores['sliced_wasserstein_2'] < 0.09
    assert abs(scores['mmd2']) < 0.001
    assert scores['coverage'] > 0.94


def test_collapse_at_the_origin():
    """Three sigma alone calls it perfect; every other metric does not."""
    x = 0.001 * numpy.random.default_rng(0).standard_normal((2500, 2))
    scores = plane.score_gaussian_mixture(x)
    assert scores['hq_3sigma'] == 1
    assert scores['hq_2sigma'] == 0
    assert scores['modes_2sigma'] == 0
    assert scores['kl_generator_data'] > 10
    assert scores['coverage'] < 0.01


def test_collapse_to_one_point_is_still_a_number():
    scores = plane.score_gaussian_mixture(numpy.tile([1.4, 0.0], (50, 1)))
    assert all(math.isfinite(value) for value in scores.values())
    assert scores['modes_2sigma'] == 1
    assert scores['mode_kl'] == pytest.approx(math.log(10))
    assert scores['entropy_knn'] < -40


@pytest.mark.parametrize(('n', 'm'), [(2, 2), (3, 2), (40, 31), (300, 299), (2, 400)])
@pytest.mark.parametrize('decimals', [9, 0], ids=['all differ', 'many are equal'])
def test_median_of_pairs(n, m, decimals, rng):
    """To the bit that of all pairs, each of them once."""
    x, reference = (rng.normal(size=(size, 2)).round(decimals) for size in (n, m))
    within = [metrics.pairwise_distances(points, points) for points in (x, reference)]
    between = metrics.pairwise_distances(x, reference)
    pairs = numpy.concatenate([*(each[numpy.triu_indices(len(each), 1)] for each in within), between.ravel()])
    assert metrics._median_of_pairs(within, between) == (numpy.median(pairs) or numpy.median(pairs[pairs > 0]))


@pytest.mark.parametrize('task', [plane.gaussian_mixture(), plane.swiss_roll()], ids=['mixture', 'roll'])
def test_scores_have_the_same_bits_with_any_number_of_threads(task, monkeypatch, rng):
    x, scores = task.draw_data(400, rng) + 0.1 * rng.normal(size=(400, 2)), []
    for number in (1, 3):
        monkeypatch.setattr(threads, 'number', lambda number=number: number)
        scores.append(task.score(x, lambda x: 2 * (x ** 2).sum(axis=1)))
    assert scores[0] == scores[1]


def test_five_of_ten_modes(rng):
    angles = 2 * numpy.pi * 2 * numpy.arange(5).repeat(500) / 10
    scores = plane.score_gaussian_mixture(
        1.6 * numpy.stack([numpy.cos(angles), numpy.sin(angles)], axis=1) + 0.02 * rng.standard_normal((2500, 2)))
    assert scores['hq_2sigma'] == 1
    assert scores['modes_2sigma'] == 5
    assert scores['mode_kl'] == pytest.approx(math.log(2), abs=1e-12)


def test_samples_far_from_everything():
    scores = plane.score_gaussian_mixture(50 + numpy.random.default_rng(0).standard_normal((100, 2)))
    assert scores['hq_3sigma'] == 0
    assert scores['mode_kl'] == pytest.approx(math.log(10))  # the worst that a histogram can be
    assert scores['coverage'] == 0


def test_perfect_samples_of_the_roll():
    scores = plane.score_swiss_roll(roll.sample(2500, numpy.random.default_rng(1)))
    assert scores['within_0.05'] == scores['within_0.1'] == 1
    assert scores['median_distance'] < 1e-4
    assert scores['arc_kl'] < 0.01
    assert scores['coverage'] > 0.94


def test_half_of_the_roll_shifted(rng):
    """Only the first half of the data's arc, moved by 0.07 along the normal."""
    s = numpy.sqrt(rng.uniform(0.2, 0.6, size=2000))
    tangent = (roll.curve(s + 1e-6) - roll.curve(s - 1e-6)) / 2e-6
    normal = numpy.stack([-tangent[:, 1], tangent[:, 0]], axis=1) / numpy.linalg.norm(tangent, axis=1, keepdims=True)
    x = roll.curve(s) + 0.07 * normal
    scores = plane.score_swiss_roll(x)
    assert scores['within_0.05'] == 0
    assert scores['within_0.1'] == 1
    assert scores['median_distance'] == pytest.approx(0.07, abs=1e-4)
    # u in 0.2…0.6 holds 8 of 20 bins of equal mass: the data there is uniform in u.
    assert scores['arc_kl'] == pytest.approx(math.log(20 / 8), abs=0.01)


def blurred_js(x):
    return metrics.jensen_shannon(plane.blurred_shares(x), plane.blurred_shares(*roll.pieces()))


def test_jensen_shannon():
    """Against both KL divergences from the mean; log 2 of what has nothing in common."""
    p, q = numpy.array([0.5, 0.2, 0.3, 0]), numpy.array([0.1, 0.6, 0, 0.3])
    m = (p + q) / 2
    expected = sum(0.5 * a * math.log(a / c) for b in (p, q) for a, c in zip(b, m) if a)
    assert metrics.jensen_shannon(p, q) == pytest.approx(expected, rel=1e-12)
    assert metrics.jensen_shannon(p, p) == pytest.approx(0, abs=1e-15)
    assert metrics.jensen_shannon([1, 0], [0, 1]) == pytest.approx(math.log(2))
    smallest = numpy.array([1, 5e-324])
    assert metrics.jensen_shannon(smallest, smallest) == pytest.approx(0, abs=1e-15)


def test_blurred_shares(rng):
    """The blurred density times the cells' area, point by point; the moments of a far and a near point."""
    x, shares = rng.uniform(-2, 2, size=(7, 2)), rng.dirichlet(numpy.ones(7))
    places = (numpy.arange(180) + 0.5) * 0.05 - 4.5
    expected = [
        sum(share * math.exp(-((a - u) ** 2 + (b - v) ** 2) / 0.02) / (0.02 * math.pi) * 0.05 ** 2
            for (u, v), share in zip(x, shares))
        for b in places[60:70] for a in places]
    found = plane.blurred_shares(x, shares)
    assert found.shape == (180 ** 2 + 1,)
    numpy.testing.assert_allclose(found[60 * 180:70 * 180], expected, rtol=1e-9, atol=1e-300)
    assert found.sum() == pytest.approx(1, abs=1e-12)
    assert found[-1] == pytest.approx(0, abs=1e-12)
    assert plane.blurred_shares(numpy.array([[0.3, 0.1], [100, 0]]))[-1] == pytest.approx(0.5)
    assert plane.blurred_shares(numpy.array([[4.5, 0]]))[-1] == pytest.approx(0.5)


def test_blurred_divergence_by_another_quadrature(rng):
    """On a finer grid, from 20,000 pieces of the curve and all samples one by one."""
    x = roll.sample(40, rng) + 0.1 * rng.standard_normal((40, 2))
    u = (numpy.arange(20_000) + 0.5) / 20_000 * 1.2
    weights = numpy.minimum(numpy.minimum(numpy.floor(u * 10) + 1, 3), 12 - numpy.floor(u * 10))
    curve = roll.curve(numpy.sqrt(u))
    places = numpy.linspace(-4.2, 4.2, 281)

    def density(points, weights):
        counts = numpy.zeros((281, 281))
        for part, weight in zip(numpy.array_split(points, 100), numpy.array_split(weights, 100)):
            first, second = (numpy.exp(-(places - part[:, i, None]) ** 2 / 0.02) for i in (0, 1))
            counts += numpy.einsum('ni,nj,n->ij', first, second, weight, optimize=True)
        return counts / counts.sum()
    p, q = density(x, numpy.ones(len(x))), density(curve, weights)
    m = numpy.maximum((p + q) / 2, 1e-300)
    expected = 0.5 * sum((a * numpy.log(numpy.maximum(a, 1e-300) / m)).sum() for a in (p, q))
    assert blurred_js(x) == pytest.approx(expected, abs=1e-4)


def test_blurred_divergence_where_it_is_known(rng):
    data = roll.sample(2500, rng)
    assert 0.002 < blurred_js(data) < 0.005
    # Half of the data's arc, twice as dense: ½ log(4/3) + ½ (½ log(2/3) + ½ log 2), but for the ends.
    half = data[roll.nearest(data)[1] < 0.5]
    assert blurred_js(half) == pytest.approx(0.5 * math.log(4 / 3) + 0.25 * math.log(4 / 3), abs=0.005)
    assert blurred_js(data + [100, 0]) == pytest.approx(math.log(2))
    # Half of the samples are elsewhere: ½ (½ log 2 + ½ log(2/3)) + ½ log(4/3).
    away = numpy.concatenate([data, data + [100, 0]])
    assert blurred_js(away) == pytest.approx(0.75 * math.log(4 / 3), abs=0.005)


def test_blurred_divergence_ranks_clouds(rng):
    """Where arc_kl or mmd2 ranks the worse one first it does not."""
    data = roll.sample(2500, rng).astype(numpy.float64)
    share, noise, cloud = roll.nearest(data)[1], rng.standard_normal(data.shape), rng.uniform(-3.3, 3.3, (2500, 2))
    gap = (data + 0.05 * noise)[(share < 0.5) | (share > 0.6)]
    half_cloud, few = (numpy.concatenate([data[:n], cloud[n:]]) for n in (1250, 125))
    ranked = [data, data + 0.05 * noise, data + 0.1 * noise, gap, half_cloud, few, cloud, numpy.zeros((2500, 2))]
    values = [blurred_js(x) for x in ranked]
    assert values == sorted(values)
    assert values[4] > 3 * values[3]
    better, *worse = map(plane.score_swiss_roll, (gap, half_cloud, data + 0.4 * noise))
    assert all(better['arc_kl'] > 4 * scores['arc_kl'] for scores in worse)
    assert better['mmd2'] > 4 * worse[1]['mmd2']
    assert better['blurred_js'] == values[3]
    assert all(3 * better['blurred_js'] < scores['blurred_js'] for scores in worse)


@pytest.mark.parametrize('k', [1, 5])
def test_entropy_of_known_densities(k, rng):
    gaussian = rng.standard_normal((4000, 2)) * [0.3, 2.0]
    assert metrics.entropy_knn(gaussian, k) == pytest.approx(
        math.log(2 * math.pi * math.e) + math.log(0.3 * 2.0), abs=0.08)
    # Against the boundary, small: uniform on a square of side 3
    assert metrics.entropy_knn(rng.uniform(0, 3, size=(4000, 2)), k) == pytest.approx(math.log(9), abs=0.08)
    assert metrics.entropy_knn(rng.uniform(0, 3, size=(4000, 1)), k) == pytest.approx(math.log(3), abs=0.08)
    assert metrics.entropy_knn(10 * gaussian, k) == pytest.approx(
        metrics.entropy_knn(gaussian, k) + 2 * math.log(10), abs=1e-9)


def test_neighbour_distances(rng):
    x = rng.standard_normal((40, 2))
    expected = [sorted(math.dist(a, b) for j, b in enumerate(x) if j != i)[2] for i, a in enumerate(x)]
    numpy.testing.assert_allclose(metrics.neighbour_distances(x, 3), expected, rtol=1e-12)
    with pytest.raises(ValueError, match='no neighbour number 5'):
        metrics.neighbour_distances(x[:5], 5)


def number_types(x):
    """The same small whole numbers in each type and layout."""
    yield x.tolist()
    for dtype in (numpy.uint8, numpy.int64, numpy.float16, numpy.float32):
        yield x.astype(dtype)
    yield numpy.asfortranarray(numpy.repeat(x, 2, axis=0))[::2]


@pytest.mark.parametrize('dimension', [1, 2, 5])
@pytest.mark.parametrize('metric', [
    metrics.frechet_distance, metrics.sliced_wasserstein_2, metrics.mmd2, metrics.coverage, metrics.neighbour_scores,
    metrics.diversity, metrics.pairwise_distances, metrics.canonical_correlations,
    lambda x, y: metrics.nearest(x, y)[0], lambda x, y: metrics.entropy_knn(x)])
def test_any_number_type(metric, dimension, rng):
    x, y = rng.integers(0, 100, size=(2, 20, dimension)).astype(numpy.float64)
    expected = metric(x, y)
    for others in zip(number_types(x), number_types(y)):
        value = metric(*others)
        if isinstance(expected, dict):
            assert value == expected
        else:
            numpy.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)


def test_frechet_distance_in_one_dimension(rng):
    """(μ₁ − μ₂)² + (s₁ − s₂)²."""
    x, y = rng.normal(3, 2, size=(30, 1)), rng.normal(-1, 0.5, size=(40, 1))
    assert metrics.frechet_distance(x, y) == pytest.approx(
        (x.mean() - y.mean()) ** 2 + (x.std(ddof=1) - y.std(ddof=1)) ** 2, rel=1e-12)


@pytest.mark.parametrize(('metric', 'least'), [
    (metrics.pairwise_distances, 1), (metrics.sliced_wasserstein_2, 1), (metrics.frechet_distance, 2),
    (metrics.mmd2, 2), (metrics.diversity, 2), (metrics.coverage, 1), (metrics.neighbour_scores, 6),
    (lambda x, y: metrics.entropy_knn(x), 6), (lambda x, y: plane.score_gaussian_mixture(x), 6),
    (lambda x, y: plane.score_swiss_roll(x), 6), (lambda x, y: metrics.mode_score(x, [0.5, 0.5]), 1)])
def test_too_few_points(metric, least, rng):
    x, y = rng.uniform(0.1, 1, size=(2, 10, 2))
    values = metric(x[:least], y)
    assert numpy.isfinite(list(values.values()) if isinstance(values, dict) else values).all()
    for n in range(least):
        with pytest.raises(ValueError, match='points are too few|points have no neighbour'):
            metric(x[:n], y)


def test_points_of_other_dimensions(rng):
    """Not the first columns of them."""
    for shapes in [((9, 2), (9, 3)), ((9, 1), (9, 3)), ((9,), (9,)), ((9, 2, 2), (9, 2, 2)), ((9, 0), (9, 0))]:
        for metric in (metrics.pairwise_distances, metrics.frechet_distance, metrics.mmd2,
                       metrics.sliced_wasserstein_2, metrics.coverage):
            with pytest.raises(ValueError, match='points have the shape'):
                metric(*map(rng.standard_normal, shapes))


def test_area_under_curve_of_two_gaussians(rng):
    """P(a < b) = Φ((μ_b − μ_a)/√2): at a distance of √2·0.8416 it is 0.8."""
    a, b = rng.standard_normal(20_000), rng.standard_normal(30_000) + 2 ** 0.5 * 0.8416
    assert metrics.area_under_curve(a, b) == pytest.approx(0.8, abs=0.01)
    assert metrics.area_under_curve(numpy.array([1, 2], dtype=numpy.uint8), [2, 3]) == 7 / 8  # a tie counts half
    assert metrics.area_under_curve([1, 2], [0]) == 0
    with pytest.raises(ValueError, match='1 scores and 0 others'):
        metrics.area_under_curve([1], [])


@pytest.mark.parametrize(('x', 'y', 'expected'), [
    (numpy.array([200, 0], dtype=numpy.uint8), numpy.array([200, 200], dtype=numpy.uint8), 0.5 ** 0.5),
    (numpy.full(3, 300, dtype=numpy.float16), numpy.ones(3), 1), ([1.0, 0], [2.0, 2], 0.5 ** 0.5), ([0, 0], [1, 1], 0)])
def test_cosine(x, y, expected):
    assert metrics.cosine(x, y) == pytest.approx(expected)


def test_canonical_correlations_of_known_ones(rng):
    """Two pairs of variables with correlations 0.9 and 0.3, hidden by linear maps."""
    z = rng.standard_normal((50_000, 4))
    x, y = z[:, :2], numpy.array([0.9, 0.3]) * z[:, :2] + (1 - numpy.array([0.9, 0.3]) ** 2) ** 0.5 * z[:, 2:]
    found = metrics.canonical_correlations(x @ rng.normal(size=(2, 2)) + 5, y @ rng.normal(size=(2, 3)))
    numpy.testing.assert_allclose(found, [0.9, 0.3], atol=0.02)
    numpy.testing.assert_allclose(metrics.canonical_correlations(x, x[:, ::-1]), 1)


def test_mmd_against_loops(rng):
    x, y = rng.standard_normal((30, 2)), 1 + rng.standard_normal((25, 2))
    points = numpy.concatenate([x, y])
    h = numpy.median([math.dist(points[i], points[j]) for i in range(55) for j in range(i)])

    def kernel(a, b):
        return math.exp(-math.dist(a, b) ** 2 / (2 * h * h))
    expected = (
        numpy.mean([kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
        + numpy.mean([kernel(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
        - 2 * numpy.mean([kernel(a, b) for a in x for b in y]))
    assert metrics.mmd2(x, y) == pytest.approx(expected, rel=1e-10)
    assert metrics.mmd2(numpy.ones((3, 2)), numpy.ones((4, 2))) == 0
    # Most pairs coincide, and still a collapse is not perfect.
    assert metrics.mmd2(numpy.zeros((60, 2)), y) > 0.1


def test_sliced_wasserstein_of_a_shift(rng):
    """Points moved by v: each projection moves by v·θ, and the mean of (v·θ)² over the circle is |v|²/2."""
    x = rng.standard_normal((300, 2))
    assert metrics.sliced_wasserstein_2(x, x) == 0
    moved = metrics.sliced_wasserstein_2(x + [3, 4], x, n_directions=4000)
    assert moved == pytest.approx(5 / math.sqrt(2), rel=0.03)
    assert metrics.sliced_wasserstein_2(x, x + 1) == metrics.sliced_wasserstein_2(x, x + 1)  # fixed directions


def test_sliced_wasserstein_of_unequal_numbers(rng):
    x, y = rng.standard_normal((60, 2)), rng.standard_normal((40, 2))
    # Each point repeated leaves the distribution as it was, and makes the numbers equal.
    assert metrics.sliced_wasserstein_2(x, y) == pytest.approx(
        metrics.sliced_wasserstein_2(x.repeat(2, axis=0), y.repeat(3, axis=0)), rel=1e-9)


def test_divergence_from_uniform():
    assert metrics.divergence_from_uniform([5, 5, 5, 5]) == pytest.approx(0, abs=1e-15)
    assert metrics.divergence_from_uniform([9, 0, 0]) == pytest.approx(math.log(3))
    assert metrics.divergence_from_uniform([3, 1]) == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert metrics.divergence_from_uniform([0, 0]) == pytest.approx(math.log(2))


def test_mode_kl_floor():
    """The floor at 2,500 perfect samples: 0.0018 on average."""
    rng = numpy.random.default_rng(2)
    floors = [metrics.divergence_from_uniform(rng.multinomial(2500, [0.1] * 10)) for _ in range(300)]
    assert numpy.mean(floors) == pytest.approx(0.0018, abs=0.0002)


def test_score_of_the_true_energy(rng):
    """E = 3 − log p_data: log Z is −3, and the likelihood that of the data."""
    held_out, x = mixture.sample(5000, rng), mixture.sample(5000, rng)
    scores = plane.score_energy(lambda x: 3 - mixture.log_density(x), x, held_out, mixture.log_density)
    assert scores['log_z'] == pytest.approx(-3, abs=1e-3)
    assert scores['log_likelihood'] == pytest.approx(-mixture.entropy, abs=0.05)
    assert scores['kl_data_energy'] == pytest.approx(0, abs=1e-4)
    assert scores['kl_energy_data'] == pytest.approx(0, abs=1e-4)
    assert scores['energy_gap'] == pytest.approx(0, abs=0.08)


def test_score_of_a_gaussian_energy(rng):
    model = DeepEnergyModel(None, None, n_visible=2, sigma=2 ** 0.5, initial_bias=0)  # N(0, I)
    held_out = rng.standard_normal((20_000, 2))
    scores = plane.score_energy(sampling.energy_function(model), held_out + [2, 0], held_out)
    assert scores['log_likelihood'] == pytest.approx(-math.log(2 * math.pi * math.e), abs=0.03)
    assert scores['energy_gap'] == pytest.approx(2 * 2 / 2, abs=0.06)
    assert scores.keys() == {'log_z', 'log_likelihood', 'energy_gap'}


def test_score_without_log_z():
    """E = 0 has no log Z in the plane: what depends on it is missing, and why; the rest is there."""
    x = numpy.zeros((5, 2))
    assert plane.score_energy(lambda x: numpy.zeros(len(x)), x, x, mixture.log_density) == {
        'log_z': None, 'log_likelihood': None, 'kl_data_energy': None, 'kl_energy_data': None, 'energy_gap': 0,
        'log_z_missing': 'exp(-E) still has mass 12,288 away from the origin'}


def test_metrics_leave_the_models_as_they_are(rng):
    """Sampling and scoring change no running statistics, build no graph, and draw the same data for every run."""
    energy_model, generative_model = build_models(
        PRESETS['gaussian_mixture']['default'].settings, rng)
    energy_model(mixture.sample(100, rng))
    before = [p.copy() for p in (generative_model.bn1.avg_mean, generative_model.bn1.avg_var)]
    z = generative_model.draw_latent(300, rng)
    x = sampling.sample(generative_model, z)
    energy = sampling.energy_function(energy_model)
    first, second = (plane.score_gaussian_mixture(x, energy) for _ in range(2))
    assert first == second
    numpy.testing.assert_array_equal(generative_model.bn1.avg_mean, before[0])
    numpy.testing.assert_array_equal(generative_model.bn1.avg_var, before[1])
    # In test mode a sample depends on its own z alone.
    numpy.testing.assert_allclose(sampling.sample(generative_model, z[:7]), x[:7], atol=1e-6)


def test_population_statistics(rng):
    """The first layer's are known: W·0 + b and |W row|²/3 for z ~ U(−1, 1); the model keeps its own and its weights."""
    _, model = build_models(PRESETS['gaussian_mixture']['default'].settings, rng)
    model.l1.b.array[...] = rng.normal(size=128)
    before = {path + name: getattr(link, name).copy() for path, link in model.namedlinks()
              if path.startswith('/bn') for name in ('avg_mean', 'avg_var')}
    finished = sampling.with_population_statistics(model, batchsize=100, n_batches=400)
    W = model.l1.W.array.astype(numpy.float64)
    numpy.testing.assert_allclose(finished.bn1.avg_mean, model.l1.b.array, atol=0.003)
    numpy.testing.assert_allclose(finished.bn1.avg_var, (W ** 2).sum(axis=1) / 3, rtol=0.05)
    for path, link in model.namedlinks():
        if path.startswith('/bn'):
            assert link.decay == 0.9
            for name in ('avg_mean', 'avg_var'):
                numpy.testing.assert_array_equal(getattr(link, name), before[path + name])
    for (_, p), (_, q) in zip(sorted(model.namedparams()), sorted(finished.namedparams())):
        numpy.testing.assert_array_equal(p.array, q.array)
    # Normalized by them, a large batch has mean 0 and variance 1 in every unit of both layers.
    with chainer.using_config('train', False), chainer.no_backprop_mode():
        z = finished.draw_latent(20_000, rng)
        normalized = finished.bn2(finished.l2(F.relu(finished.bn1(finished.l1(z))))).array
    numpy.testing.assert_allclose(normalized.mean(axis=0), 0, atol=0.05)
    numpy.testing.assert_allclose(normalized.var(axis=0), 1, rtol=0.1)


def test_generators_have_streams_of_their_own():
    draws = [
        generator.integers(1 << 60) for generator in (
            training.random_generator(0, 0), training.random_generator(0, 1), training.random_generator(1, 0),
            randomness.picture_generator(0), randomness.picture_generator(1),
            randomness.metric_generator(0), randomness.metric_generator(1))]
    assert len(set(draws)) == len(draws)
    assert training.random_generator(3, 4).integers(1 << 60) == training.random_generator(3, 4).integers(1 << 60)
