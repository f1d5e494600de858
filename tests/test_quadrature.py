"""log Z and divergences by quadrature where they are known."""

import math

import chainer
import numpy
import pytest

from ddgm.evaluation import quadrature, sampling
from ddgm.evaluation.plane import score_energy
from ddgm.evaluation.quadrature import log_partition
from ddgm.models import DeepEnergyModel


def energy_of_gaussians(*parts):
    """−log of a sum of Gaussians (mass, mean, standard deviation), so that log Z is log of the sum of masses."""
    def energy(x):
        return -numpy.logaddexp.reduce([
            math.log(mass / (2 * math.pi * deviation ** 2)) - 0.5 * (((x - mean) / deviation) ** 2).sum(axis=1)
            for mass, mean, deviation in parts])
    return energy


@pytest.mark.parametrize('deviation', [0.005, 0.02, 0.3, 2.0])
def test_narrow_and_wide(deviation, rng):
    """Tilted Gaussians four times as long as wide, from a quarter of an interval to beyond the first square."""
    centre, angle = rng.uniform(-2, 2, size=2), rng.uniform(0, math.pi)
    turn = numpy.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    scale = numpy.array([deviation, min(4 * deviation, 5.0)])

    def energy(x):
        return 0.5 * (((x - centre) @ turn / scale) ** 2).sum(axis=1)
    assert log_partition(energy) == pytest.approx(math.log(2 * math.pi * scale.prod()), abs=1e-5)


@pytest.mark.parametrize('parts', [
    [(1, (0, 0), 0.5), (1, (12, 0), 0.5)],  # an empty frame between them
    [(1, (0, 0), 1), (1, (20, -15), 0.05)],  # narrower than the intervals there
    [(0.5, (0, 0), 0.3), (0.9, (30, 40), 3), (0.2, (-7, 2), 0.01), (0.4, (100, -100), 20)],
    [(1, (400, -300), 0.7)],  # nothing near the origin
    [(1, (0.3, -0.2), 1e-4)],
    [(1, (0, 0), 1000)],
    [(0.5, (0, 0), 1), (0.5, (1.5, 0.7), 0.005)],
])
def test_gaussians_far_apart(parts):
    assert log_partition(energy_of_gaussians(*parts)) == pytest.approx(
        math.log(sum(mass for mass, _, _ in parts)), abs=1e-5)


def test_a_sample_tells_of_a_needle():
    """The tiles can't see it, the valley around it is as narrow; one of two thousand samples lies on it."""
    place, deviation = (1.2345, 2.3456), 1e-5
    energy = energy_of_gaussians((1, (0, 0), 1), (1, place, deviation))
    samples = numpy.random.default_rng(0).standard_normal((2000, 2))
    samples[1234] = numpy.array(place) + 1.5 * deviation
    assert log_partition(energy) == pytest.approx(0, abs=1e-5)
    assert log_partition(energy, samples) == pytest.approx(math.log(2), abs=1e-5)


def test_a_deep_energy_model_far_from_the_origin():
    """exp(−E)/Z = N(σ²b/2, (σ²/2)I) around (300, −200)."""
    b = numpy.array([600.0, -400.0])
    with chainer.using_config('dtype', numpy.float64):
        model = DeepEnergyModel(None, None, n_visible=2, sigma=1.0, initial_bias=b)
    assert log_partition(sampling.energy_function(model)) == pytest.approx(math.log(math.pi) + b @ b / 4, abs=1e-5)


def test_tails():
    """exp(−|x₁| − |x₂|) has an edge at its peak, and (1 + xᵀx)⁻² a heavy tail."""
    assert log_partition(lambda x: abs(x).sum(axis=1)) == pytest.approx(math.log(4), abs=1e-5)
    assert log_partition(lambda x: 2 * numpy.log1p((x ** 2).sum(axis=1))) == pytest.approx(math.log(math.pi), abs=1e-5)


def turned(x, angle, centre):
    c, s = math.cos(angle), math.sin(angle)
    return (x - centre) @ [[c, -s], [s, c]]


@pytest.mark.parametrize(('rate', 'angle', 'centre'), [
    (12, 0, (0, 0)), (78.5, 0, (-1.112, 0.564)), (50, 0.6, (0.3, 0.2)), (360, 1.0, (0, 0))])
def test_edges_of_the_slope(rate, angle, centre):
    """Along lines where the places of a tile lie, and along others; and a cone, whose tip is one point."""
    assert log_partition(lambda x: rate * abs(turned(x, angle, centre)).sum(axis=1)) == pytest.approx(
        math.log(4 / rate ** 2), abs=1e-5)
    assert log_partition(lambda x: rate * numpy.hypot(*turned(x, angle, centre).T)) == pytest.approx(
        math.log(2 * math.pi / rate ** 2), abs=1e-5)


@pytest.mark.parametrize('half', [0.305, 1.2346, 2.0, 2.0025])
@pytest.mark.parametrize('angle', [0, 0.3])
@pytest.mark.parametrize('deviation', [0.4, 5])
def test_a_gaussian_cut_off_at_the_edge_of_a_square(half, angle, deviation, monkeypatch):
    """It is right or refused, wherever the edge lies between the places."""
    monkeypatch.setattr(quadrature, '_MOST', 2 ** 17)  # so that it gives up sooner

    def energy(x):
        x = turned(x, angle, (0, 0))
        return numpy.where(abs(x).max(axis=1) < half, 0.5 * ((x / deviation) ** 2).sum(axis=1), numpy.inf)
    try:
        found = log_partition(energy)
    except ValueError as error:
        found = str(error)
    log_z = 2 * math.log(deviation * math.sqrt(2 * math.pi) * math.erf(half / deviation / math.sqrt(2)))
    assert 'too steep' in found if isinstance(found, str) else found == pytest.approx(log_z, abs=1e-5)


def test_a_step_in_a_small_square(monkeypatch):
    """As many places lie in it as if it were a little wider, whether all are counted, or every other one."""
    monkeypatch.setattr(quadrature, '_MOST', 2 ** 17)  # so that it gives up sooner
    with pytest.raises(ValueError, match='too steep'):
        log_partition(lambda x: 0.5 * (x ** 2).sum(axis=1) - 3 * (abs(x) < [0.03008, 0.016]).all(axis=1))


def test_energies_in_float32():
    assert log_partition(lambda x: (x ** 2).sum(axis=1).astype(numpy.float32)) == pytest.approx(
        math.log(math.pi), abs=1e-5)


@pytest.mark.parametrize(('mean', 'deviation'), [
    ((1, -0.5), 0.7), ((0.3, 0.2), 0.05), ((2, 1), 1.5), ((-1.2, 0.4), 0.004)])
def test_divergences_of_gaussians(mean, deviation):
    """From N((0.5, 0), 0.8²I), in closed form; P may be far narrower than an interval, and reach out of the square."""
    def log_data_density(x):
        return -0.5 * (((x - [0.5, 0]) / 0.8) ** 2).sum(axis=1) - math.log(2 * math.pi * 0.8 ** 2)

    def divergence(deviation, other, square):
        return 2 * math.log(other / deviation) - 1 + (2 * deviation ** 2 + square) / (2 * other ** 2)
    density = quadrature.density(energy_of_gaussians((3, mean, deviation)))
    square = (mean[0] - 0.5) ** 2 + mean[1] ** 2
    assert density.masses.sum() == pytest.approx(1, abs=1e-5)
    assert density.divergence_from(log_data_density) == pytest.approx(divergence(deviation, 0.8, square), abs=1e-4)
    assert density.divergence_of(log_data_density) == pytest.approx(divergence(0.8, deviation, square), rel=1e-4)


def band(length, width, offset=0.0041, angle=0.3):
    """A Gaussian of these standard deviations, and its log Z; tiles that lie across it miss it."""
    c, s = math.cos(angle), math.sin(angle)

    def energy(x):
        return 0.5 * ((x @ [c, s]) / length) ** 2 + 0.5 * ((x @ [-s, c] - offset) / width) ** 2
    return energy, math.log(2 * math.pi * length * width)


def ring(radius, width):
    """A thin ring, and its log Z."""
    return (lambda x: 0.5 * ((numpy.hypot(*x.T) - radius) / width) ** 2,
            math.log(2 * math.pi * radius * width * math.sqrt(2 * math.pi)))


@pytest.mark.parametrize(('energy', 'log_z'), [
    band(10, 0.01), band(0.5, 0.001), band(0.1, 0.0001, 7.123), ring(15, 0.05), ring(3, 0.01),
    (lambda x: 50 * abs(x).sum(axis=1), math.log(4 / 50 ** 2))])
def test_thin_bands(energy, log_z):
    """Far narrower than the intervals there, in the middle and further out, without a point that tells of them."""
    assert log_partition(energy) == pytest.approx(log_z, abs=1e-5)


def test_a_thin_band_among_samples(rng):
    energy, log_z = band(10, 0.01)
    x = rng.standard_normal((2500, 2)) * [10, 0.01] + [0, 0.0041]
    c, s = math.cos(0.3), math.sin(0.3)
    assert log_partition(energy, x @ [[c, s], [-s, c]]) == pytest.approx(log_z, abs=1e-5)


def test_ripples_that_look_the_same_at_all_places():
    with pytest.raises(ValueError, match='narrower than cells'):
        log_partition(lambda x: 0.5 * (x ** 2).sum(axis=1) - 3 * numpy.cos(2 * math.pi * x[:, 0] / 0.005))


def test_an_infinite_divergence():
    """A density whose variance is infinite, from a Gaussian."""
    density = quadrature.density(lambda x: 2 * numpy.log1p((x ** 2).sum(axis=1)))
    with pytest.raises(ValueError, match='infinite'):
        density.divergence_from(lambda x: -0.5 * (x ** 2).sum(axis=1) - math.log(2 * math.pi))
    scores = score_energy(lambda x: 2 * numpy.log1p((x ** 2).sum(axis=1)), numpy.zeros((3, 2)), numpy.zeros((3, 2)),
                          lambda x: -0.5 * (x ** 2).sum(axis=1) - math.log(2 * math.pi))
    assert scores['kl_energy_data'] is None
    assert 'infinite' in scores['kl_energy_data_missing']


@pytest.mark.parametrize(('energy', 'reason'), [
    (lambda x: numpy.zeros(len(x)), 'still has mass 12,288 away from the origin'),
    (lambda x: numpy.log1p((x ** 2).sum(axis=1)), 'still has mass'),
    (lambda x: x[:, 0], 'still has mass'),
    (energy_of_gaussians((1, (0, 0), 1), (1, (30_000, 0), 3000)), 'still has mass'),
    (lambda x: 0.5 * (x ** 2).sum(axis=1) / 1e-9 ** 2, 'too steep'),
    (lambda x: numpy.where(numpy.hypot(*x.T) < 1, 0, numpy.inf), 'too steep'),  # an edge that no tiles follow
    (lambda x: numpy.full(len(x), numpy.nan), 'not finite'),
    (lambda x: numpy.full(len(x), -numpy.inf), 'not finite'),
    (lambda x: numpy.full(len(x), numpy.inf), '0 everywhere'),
], ids=['flat', 'logarithm', 'slope', 'beyond', 'steep', 'disc', 'nan', 'minus infinity', 'infinity'])
def test_says_when_it_fails(energy, reason, monkeypatch):
    monkeypatch.setattr(quadrature, '_MOST', 2 ** 18)  # so that it gives up sooner
    with pytest.raises(ValueError, match=reason):
        log_partition(energy)
