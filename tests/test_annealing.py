"""log Z in many dimensions between two ends: where it is known, and where one end alone would mislead."""

import functools
import math
import re

import chainer
import numpy
import pytest
from chainer import functions as F, links as L

from ddgm.evaluation import annealing, quadrature, sampling
from ddgm.links import MinibatchDiscrimination
from ddgm.models import DeepEnergyModel

N = 32


@pytest.fixture(autouse=True)
def fewer_steps(monkeypatch):
    monkeypatch.setattr(annealing, 'bracket', functools.partial(annealing.bracket, n_steps=100))


def mixture(means, variance, log_masses):
    """E and its gradient where exp(−E) sums over K Gaussians of such means (K, d), variances and masses, (K,) each."""
    log_heights = log_masses - means.shape[1] / 2 * numpy.log(2 * math.pi * variance)

    def energy_and_gradient(x):
        squares = numpy.maximum((x ** 2).sum(axis=1)[:, None] - 2 * x @ means.T + (means ** 2).sum(axis=1), 0)
        log_parts = log_heights - squares / (2 * variance)
        log_p = numpy.logaddexp.reduce(log_parts, axis=1)
        shares = numpy.exp(log_parts - log_p[:, None]) / variance
        return -log_p, shares.sum(axis=1)[:, None] * x - shares @ means
    return energy_and_gradient


def bracket(energy_and_gradient, x, rng):
    return annealing.bracket(
        energy_and_gradient, annealing.Gaussian(numpy.zeros(x.shape[1]), math.sqrt(0.5)), x, rng)


def refusal(found):
    with pytest.raises(ValueError, match='^annealing leaves log Z open: ') as error:
        found.log_z  # noqa: B018
    return str(error.value)


@pytest.mark.parametrize('sigma', [0.7, numpy.geomspace(0.05, 20, 192)])
def test_linear_experts(sigma, device):
    """They only tilt the Gaussian, so log Z is D/2·log(πσ²) + σ²aᵀa/4 with a = b − Σᵢ Wᵢ, less Σᵢ cᵢ."""
    rng = numpy.random.default_rng(0)
    b, W, c = (rng.normal(scale=0.4, size=shape) for shape in (192, (5, 192), 5))
    b, W = 0.7 / sigma * b, 0.7 / sigma * W  # as steep beside the Gaussian
    model = DeepEnergyModel(
        F.identity, L.Linear(192, 5, initialW=W, initial_bias=c), 192, sigma, b.astype('f'), linear_experts=True)
    model.to_device(device)
    tilt = b - W.sum(axis=0)
    log_z = 192 * numpy.log(math.pi * sigma ** 2).mean() / 2 + ((sigma * tilt) ** 2).sum() / 4 - c.sum()
    x = sigma ** 2 * tilt / 2 + sigma / math.sqrt(2) * rng.normal(size=(N, 192))
    found = annealing.of_model(model, x.reshape(N, 3, 8, 8))
    for end in (found.lower, found.upper_of_samples, found.upper_of_ends):
        assert end.log_z == pytest.approx(log_z, abs=0.5)
        assert 1 / N < end.largest_share < 0.3
        assert 5 < end.n_effective < N
    assert found.log_z == pytest.approx(log_z, abs=0.3)


def test_a_gaussian_alone(rng):
    """There is nothing to be turned on."""
    b = rng.normal(size=100).astype('f')
    found = annealing.of_model(DeepEnergyModel(None, None, 100, 0.7, b), rng.normal(size=(8, 100)))
    assert found.log_z == pytest.approx(50 * math.log(math.pi * 0.49) + 0.49 * b @ b / 4, abs=0.01)


@pytest.mark.parametrize('norm', [3, 8])
def test_64_gaussians_in_784_dimensions(norm):
    """As wide as the one that chains begin with, they are found wherever they lie around it."""
    rng = numpy.random.default_rng(norm)
    means = rng.standard_normal((64, 784))
    means *= norm / numpy.linalg.norm(means, axis=1, keepdims=True)
    x = means[rng.integers(64, size=N)] + math.sqrt(0.5) * rng.standard_normal((N, 784))
    found = bracket(mixture(means, numpy.full(64, 0.5), numpy.zeros(64)), x, rng)
    assert found.log_z == pytest.approx(math.log(64), abs=0.5)


def test_a_transition_that_is_stepped_over(rng):
    """Forward chains alone would say log Z = 0 with confidence; those from samples in a narrow well know better."""
    means = numpy.zeros((2, 100))
    means[1, 0] = 4
    found = bracket(
        mixture(means, numpy.array([0.5, 0.08]), numpy.array([0.0, 60.0])),
        means[1] + math.sqrt(0.08) * rng.standard_normal((N, 100)), rng)
    assert found.lower.log_z == pytest.approx(0, abs=0.1)
    assert found.upper_of_ends.log_z == pytest.approx(0, abs=0.1)
    assert found.lower.n_effective > N / 2
    lower, upper = map(float, re.findall(r'-?\d+\.\d', refusal(found))[:2])
    assert lower < 1
    assert 60 < upper < 90


def test_ends_alone_are_no_upper_bound():
    """Where samples say less than the forward chains, the ends of those don't take their place."""
    forward, less = annealing.End(500.0, 0.1, 20.0), annealing.End(300.0, 0.1, 20.0)
    assert annealing.Bracket(forward, forward, less, 784).log_z == 500
    assert refusal(annealing.Bracket(forward, less, forward, 784)) == (
        'annealing leaves log Z open: at least 500.0 nats forward, at most 300.0 back from samples, which miss a part '
        'of the density: so there is no upper bound')


def test_in_the_plane(rng):
    """Beside the quadrature, with experts that cut the plane into cells."""
    model = DeepEnergyModel(
        chainer.Sequential(L.Linear(2, 16, initialW=chainer.initializers.Normal(1, rng=rng)), F.tanh),
        L.Linear(16, 8, initialW=chainer.initializers.Normal(1, rng=rng)), 2, 2.0, numpy.array([0.5, -1], 'f'))
    found, log_z = annealing.of_model(model, rng.normal(size=(500, 2))), quadrature.log_partition(
        sampling.energy_function(model))
    assert found.lower.log_z == pytest.approx(log_z, abs=0.2)
    assert found.upper.log_z == pytest.approx(log_z, abs=0.2)


def coupled(n_numbers):
    return DeepEnergyModel(
        chainer.Sequential(MinibatchDiscrimination(n_numbers, 2, 2, chainer.initializers.Normal(1)), F.tanh),
        L.Linear(n_numbers + 2, 3), n_numbers)


@pytest.mark.parametrize(('model', 'reason'), [
    (lambda: DeepEnergyModel(F.tanh, L.Linear(5, 3), 5, experts_alone=True), 'no finite integral'),
    (lambda: coupled(5), 'depends on the others of its batch'),
    (lambda: DeepEnergyModel(lambda x: x * numpy.float32(numpy.nan), L.Linear(5, 3), 5), 'is not finite, or too steep'),
    (lambda: DeepEnergyModel(lambda x: x, L.Linear(5, 3, initialW=1e25), 5), 'is not finite, or too steep')])
def test_no_density(model, reason, rng):
    with pytest.raises(ValueError, match=reason):
        annealing.of_model(model(), rng.normal(size=(N, 5)))
