"""The energy where exp(−E)/Z is a known density, the DGM loss where the divergence is known, float64 throughout."""

import itertools

import chainer
import chainer.functions as F
import chainer.links as L
import numpy
import pytest

from ddgm import objectives
from ddgm.evaluation import sampling
from ddgm.models import DeepEnergyModel, DeepGenerativeModel


@pytest.fixture(autouse=True)
def _float64():
    with chainer.using_config('dtype', numpy.float64):
        yield


def gaussian_energy_model(b, sigma):
    return DeepEnergyModel(
        None, None, n_visible=len(b), sigma=sigma, initial_bias=numpy.asarray(b, dtype=numpy.float64))


def log_gaussian(x, mean, variance):
    variance = numpy.broadcast_to(variance, x.shape[-1:])
    return -0.5 * ((x - mean) ** 2 / variance + numpy.log(2 * numpy.pi * variance)).sum(axis=-1)


@pytest.mark.parametrize(('sigma', 'b'), [
    (0.5, [1.3]), (1.7, [0.3, 0.0, -1.0, 2.2, 0.7]), ([0.5], [1.3]),
    ([0.002, 0.4, 1.0, 1.7, 30.0], [500.0, 0.0, -1.0, 2.2, 0.7])])
def test_energy_without_experts_is_gaussian(sigma, b, device, rng):
    """exp(−E)/Z = N(σ²b/2, (σ²/2)I) with log Z = D/2·log(πσ²) + σ²bᵀb/4, and ∇E = 2x/σ² − b; so for each σᵢ."""
    b, sigma = numpy.array(b), numpy.array(sigma)[()]
    model = gaussian_energy_model(b, sigma)
    model.to_device(device)
    x = chainer.Variable(device.send(rng.normal(scale=2, size=(50, len(b)))))
    energy = model(x)
    log_z = (numpy.log(numpy.pi * sigma ** 2) / 2 + sigma ** 2 * b ** 2 / 4).sum()
    numpy.testing.assert_allclose(
        -chainer.cuda.to_cpu(energy.array) - log_z,
        log_gaussian(chainer.cuda.to_cpu(x.array), sigma ** 2 * b / 2, sigma ** 2 / 2), rtol=1e-12, atol=1e-12)
    F.sum(energy).backward()
    numpy.testing.assert_allclose(
        chainer.cuda.to_cpu(x.grad), 2 * chainer.cuda.to_cpu(x.array) / sigma ** 2 - b, rtol=1e-12, atol=1e-12)


def restricted_boltzmann_machine(n_visible, n_hidden, sigma, rng):
    """f = identity: exp(−E) sums over hidden states h ∈ {0, 1}ⁿ, each a Gaussian of mean σ²(b + Wᵀh)/2."""
    experts = L.Linear(n_visible, n_hidden, initialW=rng.normal(size=(n_hidden, n_visible)))
    experts.b.array[...] = rng.normal(size=n_hidden)
    model = DeepEnergyModel(
        F.identity, experts, n_visible, sigma=sigma, initial_bias=rng.normal(size=n_visible))
    hidden = numpy.array(list(itertools.product([0, 1], repeat=n_hidden)))
    slopes = model.b.array + hidden @ experts.W.array
    log_weights = (
        hidden @ experts.b.array + sigma ** 2 / 4 * (slopes ** 2).sum(axis=1)
        + n_visible / 2 * numpy.log(numpy.pi * sigma ** 2))
    log_z = numpy.logaddexp.reduce(log_weights)
    return model, log_z, sigma ** 2 / 2 * slopes, log_weights - log_z


@pytest.mark.parametrize(('n_visible', 'n_hidden', 'sigma'), [(1, 1, 1.0), (2, 3, 0.8), (2, 6, 1.0), (4, 5, 1.4)])
def test_identity_features_give_a_boltzmann_machine(n_visible, n_hidden, sigma, rng):
    model, log_z, means, log_shares = restricted_boltzmann_machine(n_visible, n_hidden, sigma, rng)
    x = rng.normal(scale=2, size=(40, n_visible))
    expected = numpy.logaddexp.reduce(
        log_shares + log_gaussian(x[:, None], means, sigma ** 2 / 2), axis=1)
    numpy.testing.assert_allclose(-sampling.energy_function(model)(x) - log_z, expected, rtol=1e-10, atol=1e-10)


class LinearGaussianGenerator(DeepGenerativeModel):
    """x = β + γ·z: where a batch of z has mean 0 and variance 1, x has the moments of N(β, γ²)."""

    def __init__(self, beta, gamma):
        super().__init__(n_latent=len(beta))
        with self.init_scope():
            self.bn = L.BatchNormalization(len(beta), eps=1e-12)
        self.bn.beta.array[...] = beta
        self.bn.gamma.array[...] = gamma

    def forward(self, z):
        return self.bn(z)


@pytest.mark.parametrize('sigma', [0.6, 1.0])
def test_generator_loss_is_the_divergence_up_to_log_z(sigma, rng):
    """loss + log Z = KL(N(β, γ²) ‖ N(σ²b/2, σ²/2)), and its gradients in β and γ are those of the KL."""
    b, beta, gamma = numpy.array([0.5, -1.0]), numpy.array([0.2, 0.3]), numpy.array([0.4, -1.2])
    energy_model, generator = gaussian_energy_model(b, sigma), LinearGaussianGenerator(beta, gamma)
    loss = objectives.generator_loss(
        objectives.mean_energy(energy_model(generator(rng.normal(size=(64, 2))))), generator.entropy())
    generator.cleargrads()
    loss.backward()
    mean, variance = sigma ** 2 * b / 2, sigma ** 2 / 2
    log_z = numpy.log(numpy.pi * sigma ** 2) + sigma ** 2 * b @ b / 4
    divergence = 0.5 * (
        gamma ** 2 / variance + (beta - mean) ** 2 / variance - 1 + numpy.log(variance / gamma ** 2)).sum()
    assert float(loss.array) + log_z == pytest.approx(divergence, abs=1e-6)
    numpy.testing.assert_allclose(generator.bn.beta.grad, (beta - mean) / variance, rtol=1e-6)
    numpy.testing.assert_allclose(generator.bn.gamma.grad, gamma / variance - 1 / gamma, rtol=1e-6)


def test_energy_model_loss_gradient_is_that_of_the_likelihood(rng):
    """With x⁻ from the model itself, ∂loss/∂b = −(mean of data − mean of the model)."""
    b, sigma = numpy.array([1.0, -0.5]), 1.3
    model = gaussian_energy_model(b, sigma)
    x_positive = rng.normal(loc=2.0, size=(1000, 2))
    x_negative = sigma ** 2 * b / 2 + sigma / numpy.sqrt(2) * rng.normal(size=(1000, 2))
    loss = objectives.energy_model_loss(
        objectives.mean_energy(model(x_positive)), objectives.mean_energy(model(x_negative)))
    model.cleargrads()
    loss.backward()
    numpy.testing.assert_allclose(model.b.grad, x_negative.mean(axis=0) - x_positive.mean(axis=0), rtol=1e-10)
