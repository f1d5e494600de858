"""The samplers beside their definitions, the mixture's density and the roll's curve beside brute force."""

import math

import numpy
import pytest

from ddgm.data.distributions import GaussianMixture, SwissRoll

mixture, roll = GaussianMixture(), SwissRoll()


@pytest.mark.parametrize('sampler', [mixture, roll])
def test_sampler_follows_its_generator(sampler):
    numpy.random.seed(0)
    x = sampler.sample(50, numpy.random.default_rng(7))
    assert x.dtype == numpy.float32
    assert x.shape == (50, 2)
    numpy.testing.assert_array_equal(x, sampler.sample(50, numpy.random.default_rng(7)))
    assert (x != sampler.sample(50, numpy.random.default_rng(8))).any()
    assert sampler.sample(0, numpy.random.default_rng(7)).shape == (0, 2)


def test_mixture_moments(rng):
    """Ten-fold symmetry: mean 0 and covariance ½(1.4² + 0.5² + 0.05²)I."""
    x = mixture.sample(400_000, rng).astype(numpy.float64)
    numpy.testing.assert_allclose(x.mean(axis=0), 0, atol=0.006)
    numpy.testing.assert_allclose(numpy.cov(x.T), (1.4 ** 2 + 0.5 ** 2 + 0.05 ** 2) / 2 * numpy.eye(2), atol=0.008)


def test_mixture_components(rng):
    """Each component turned back: N((1.4, 0), diag(0.5², 0.05²)), a tenth of the points each."""
    x = mixture.sample(200_000, rng).astype(numpy.float64)
    nearest = mixture.mahalanobis(x).argmin(axis=1)
    for k in range(10):
        angle = 2 * math.pi * k / 10
        # Far from the origin, where the components are apart, so that the nearest one is the one drawn from.
        far = x[(nearest == k) & (numpy.linalg.norm(x, axis=1) > 1.4)]
        u = far @ [math.cos(angle), math.sin(angle)]
        v = far @ [-math.sin(angle), math.cos(angle)]
        assert len(far) / len(x) == pytest.approx(0.1 * 0.5, rel=0.05)
        assert v.mean() == pytest.approx(0, abs=0.002)
        assert v.std() == pytest.approx(0.05, rel=0.03)
        assert (u - 1.4).mean() == pytest.approx(0.5 * math.sqrt(2 / math.pi), rel=0.03)


def test_mixture_log_density_against_the_sum(rng):
    for x in rng.normal(scale=1.5, size=(20, 2)):
        density = 0.0
        for k in range(10):
            angle = 2 * math.pi * k / 10
            rotation = numpy.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
            covariance = rotation @ numpy.diag([0.25, 0.0025]) @ rotation.T
            difference = x - rotation @ [1.4, 0]
            density += 0.1 * math.exp(-0.5 * difference @ numpy.linalg.inv(covariance) @ difference) / (
                2 * math.pi * math.sqrt(numpy.linalg.det(covariance)))
        assert math.exp(mixture.log_density(x[None])[0]) == pytest.approx(density, rel=1e-9)


def test_mixture_density_integrates_to_one_and_has_its_entropy():
    places = (numpy.arange(900) + 0.5) / 100 - 4.5
    log_density = mixture.log_density(numpy.stack(numpy.meshgrid(places, places), axis=-1).reshape(-1, 2))
    shares = numpy.exp(log_density) * 0.01 ** 2
    assert shares.sum() == pytest.approx(1, abs=1e-6)
    assert -(shares * log_density).sum() == pytest.approx(mixture.entropy, abs=1e-5)


def test_roll_lies_on_its_curve(rng):
    x = roll.sample(2000, rng).astype(numpy.float64)
    radius = numpy.linalg.norm(x, axis=1)
    # On r = 3√u, θ = 4π√u the angle is 4πr/3.
    numpy.testing.assert_allclose(
        x, numpy.stack([radius * numpy.cos(4 * math.pi * radius / 3), radius * numpy.sin(4 * math.pi * radius / 3)], 1),
        atol=1e-5)
    assert radius.max() <= 3 * math.sqrt(1.2)
    distance, _ = roll.nearest(x)
    assert distance.max() < 1e-4


def test_roll_shares(rng):
    """u is a tenth of k + U(0, 3): shares before u by the definition's mixture of uniforms, and uniform for data."""
    for u in (0.0, 0.03, 0.1, 0.25, 0.7, 1.05, 1.1999, 1.2):
        expected = numpy.mean([min(max((10 * u - k) / 3, 0), 1) for k in range(10)])
        assert roll.data_share(numpy.array([math.sqrt(u)]))[0] == pytest.approx(expected, abs=1e-12)
    _, share = roll.nearest(roll.sample(4000, rng))
    numpy.testing.assert_allclose(numpy.histogram(share, bins=10, range=(0, 1))[0] / 400, 1, atol=0.2)


def test_distance_to_roll_against_brute_force(rng):
    x = rng.uniform(-4, 4, size=(200, 2))
    s = numpy.linspace(0, math.sqrt(1.2), 200_001)
    curve = numpy.stack([3 * s * numpy.cos(4 * math.pi * s), 3 * s * numpy.sin(4 * math.pi * s)], axis=1)
    distance, share = roll.nearest(x)
    for point, d, where in zip(x, distance, share):
        distances = numpy.hypot(*(curve - point).T)
        assert d == pytest.approx(distances.min(), abs=1e-4)
        assert where == pytest.approx(roll.data_share(s[[distances.argmin()]])[0], abs=2e-3)


def test_nearest_of_nothing():
    distance, share = roll.nearest(numpy.empty((0, 2)))
    assert distance.shape == share.shape == (0,)
