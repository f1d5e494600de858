"""log Z on a line and of points of many columns, where it is known."""

import math

import numpy
import pytest

from ddgm.evaluation import normalization

LOG_Z = 2.5


class Mixture:
    """Tilted Gaussians; E is −log of their mean, less ``LOG_Z``."""

    def __init__(self, d, n, spread, size):
        self.rng = numpy.random.default_rng(d)
        self.means = spread * self.rng.standard_normal((n, d))
        self.roots = size * (numpy.eye(d) + 0.5 * self.rng.standard_normal((n, d, d)) / math.sqrt(d))

    def sample(self, n):
        chosen = self.rng.integers(len(self.means), size=n)
        return self.means[chosen] + (self.roots[chosen] @ self.rng.standard_normal((n, self.means.shape[1], 1)))[..., 0]

    def energy(self, x):
        log_parts = [
            -0.5 * (numpy.linalg.solve(root, (x - mean).T) ** 2).sum(axis=0)
            - math.log(abs(numpy.linalg.det(root))) - len(mean) / 2 * math.log(2 * math.pi)
            for mean, root in zip(self.means, self.roots)]
        return math.log(len(log_parts)) - LOG_Z - numpy.logaddexp.reduce(log_parts)


@pytest.mark.parametrize(('d', 'n', 'spread', 'size'), [
    (3, 1, 0, 1), (3, 10, 1, 0.2), (3, 5, 2, 0.05), (5, 5, 1, 0.3), (10, 5, 1, 0.3)])
def test_mixtures_of_gaussians(d, n, spread, size):
    mixture = Mixture(d, n, spread, size)
    log_z, error = normalization.estimate(mixture.energy, mixture.sample(2500))
    assert 0 < error < 0.02
    assert abs(log_z - LOG_Z) < 4 * error


def test_samples_of_half_the_mass():
    """The proposals find what the samples miss, where it is near."""
    def energy(x):
        return 0.5 * (x ** 2).sum(axis=1)
    x = numpy.random.default_rng(0).standard_normal((2500, 4)) * 0.5
    log_z, error = normalization.estimate(energy, x)
    assert log_z == pytest.approx(2 * math.log(2 * math.pi), abs=4 * error)


def test_an_error_that_is_too_large_is_refused():
    """Ten numbers, and energies that differ by hundreds of nats within a hundredth."""
    x = numpy.random.default_rng(0).standard_normal((2500, 10))
    with pytest.raises(ValueError, match=r'^log Z has a standard error of \S+ nats after 400,000 draws, and more'):
        normalization.log_z(lambda x: 30 * numpy.cos(300 * x).sum(axis=1), x)


@pytest.mark.parametrize(('energies', 'reason'), [(math.inf, 'is 0 everywhere'), (math.nan, 'is not finite')])
def test_what_has_no_density(energies, reason, rng):
    with pytest.raises(ValueError, match=reason):
        normalization.log_z(lambda x: numpy.full(len(x), energies), rng.standard_normal((100, 3)))


@pytest.mark.parametrize('deviations', [(1.0, 0.01), (0.3, 1e-4), (20.0, 1.0)])
def test_on_a_line(deviations, rng):
    means = 3.0, -1.0

    def energy(x):
        return -LOG_Z - numpy.logaddexp.reduce([
            -0.5 * ((x[:, 0] - mean) / deviation) ** 2 - math.log(2 * deviation * math.sqrt(2 * math.pi))
            for mean, deviation in zip(means, deviations)])
    x = rng.normal(means, deviations, (500, 2)).reshape(-1, 1)
    assert normalization.estimate(energy, x) == (pytest.approx(LOG_Z, abs=1e-5), 0)


def test_steps_on_a_line():
    with numpy.errstate(invalid='ignore'):
        assert normalization.log_z(
            lambda x: numpy.where(abs(x[:, 0] - 1.2345) < 0.1, 0, numpy.inf), numpy.zeros((3, 1))) == pytest.approx(
                math.log(0.2), abs=1e-5)


@pytest.mark.parametrize(('energy', 'reason'), [
    (lambda x: 0 * x[:, 0], 'still has mass 12,288 away'),
    (lambda x: numpy.full(len(x), numpy.inf), 'is 0 everywhere'),
    (lambda x: numpy.full(len(x), numpy.nan), 'is not finite'),
    (lambda x: 0.5 * (x[:, 0] / 1e-9) ** 2, 'is too steep')])
def test_what_has_no_density_on_a_line(energy, reason):
    with numpy.errstate(invalid='ignore'), pytest.raises(ValueError, match=reason):
        normalization.log_z(energy, numpy.zeros((3, 1)))


@pytest.mark.parametrize('shape', [(3, 8, 8), (784,)])
def test_pictures_have_none(shape):
    with pytest.raises(ValueError, match='points of up to 64 numbers alone'):
        normalization.log_z(None, numpy.zeros((5, *shape)))
