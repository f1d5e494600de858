"""The links and the two models beside their equations."""

import chainer
import chainer.functions as F
import chainer.links as L
import numpy
import pytest
from chainer import initializers

from ddgm import networks
from ddgm.links import WeightNormalizedLinear
from ddgm.models import DeepEnergyModel, DeepGenerativeModel
from ddgm.presets import PRESETS

SETTINGS = PRESETS['gaussian_mixture']['default'].settings


@pytest.fixture
def models(rng, device):
    models = networks.build_toy_models(SETTINGS, rng)
    for model in models:
        model.to_device(device)
    return models


def test_weight_normalization_starts_from_data(device, rng):
    link = WeightNormalizedLinear(3, 6, initializers.Normal(0.05, rng=rng))
    link.to_device(device)
    x = device.send((2 + 3 * rng.normal(size=(500, 3))).astype(numpy.float32))
    V = link.V.array.copy()
    y = chainer.cuda.to_cpu(link(x).array)
    numpy.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-5)
    numpy.testing.assert_allclose(y.var(axis=0), 1, rtol=1e-4)
    device.xp.testing.assert_array_equal(link.V.array, V)
    # The second batch changes nothing any more.
    g, b = link.g.array.copy(), link.b.array.copy()
    link(x[:10])
    device.xp.testing.assert_array_equal(link.g.array, g)
    device.xp.testing.assert_array_equal(link.b.array, b)


def test_weight_normalization_refuses_a_constant_start(rng):
    link = WeightNormalizedLinear(3, 6, initializers.Normal(0.05, rng=rng))
    with pytest.raises(ValueError, match='has to vary'):
        link(numpy.ones((4, 3), dtype=numpy.float32))


def test_all_layers_of_the_energy_model_start_from_data(models, device, rng):
    energy_model, _ = models
    x = device.send(rng.normal(size=(1000, 2)).astype(numpy.float32))
    energy_model(x)
    a = energy_model.experts(energy_model.feature_extractor(x)).array
    numpy.testing.assert_allclose(chainer.cuda.to_cpu(a.mean(axis=0)), 0, atol=1e-4)
    numpy.testing.assert_allclose(chainer.cuda.to_cpu(a.var(axis=0)), 1, rtol=1e-3)


def test_gradients_of_weight_normalization_reach_V_g_and_b(device, rng):
    """By finite differences through the whole link, in float64."""
    with chainer.using_config('dtype', numpy.float64):
        link = WeightNormalizedLinear(3, 2, initializers.Normal(1.0, rng=rng))
        link.to_device(device)
        x = device.send(rng.normal(size=(7, 3)))
        link(x)
        weights = device.send(rng.normal(size=(7, 2)))
        link.cleargrads()
        F.sum(link(x) * weights).backward()
        for parameter in link.params():
            flat, gradient = parameter.array.reshape(-1), parameter.grad.reshape(-1)
            for i in range(flat.size):
                values = []
                for shift in (1e-6, -1e-6):
                    flat[i] += shift
                    values.append(float((link(x).array * weights).sum()))
                    flat[i] -= shift
                assert float(gradient[i]) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-6, abs=1e-7)


def test_energy_of_the_published_networks(models, device, rng):
    """E against the equation in float64 NumPy, from the weights."""
    energy_model, _ = models
    x = rng.normal(size=(30, 2))
    energy = energy_model(device.send(x.astype(numpy.float32)))

    def linear(link, h):
        V, g, b = (chainer.cuda.to_cpu(p.array).astype(numpy.float64) for p in (link.V, link.g, link.b))
        return h @ (g[:, None] * V / numpy.linalg.norm(V, axis=1, keepdims=True)).T + b
    h = linear(energy_model.feature_extractor.l1, x)
    h = numpy.where(h > 0, h, numpy.exp(h) - 1)
    f = numpy.tanh(linear(energy_model.feature_extractor.l2, h))
    experts = numpy.log1p(numpy.exp(linear(energy_model.experts, f))).sum(axis=1)
    expected = (x ** 2).sum(axis=1) - x @ chainer.cuda.to_cpu(energy_model.b.array) - experts
    numpy.testing.assert_allclose(chainer.cuda.to_cpu(energy.array), expected, rtol=1e-4, atol=1e-4)


def test_published_sizes(models, device, rng):
    energy_model, generative_model = models
    energy_model(device.send(rng.normal(size=(10, 2)).astype(numpy.float32)))
    # V, g and b of three weight-normalized layers, and b of the energy
    assert energy_model.count_params() == (2 + 2) * 128 + (128 + 2) * 128 + (128 + 2) * 4 + 2
    assert generative_model.count_params() == (4 + 1) * 128 + 2 * 128 + (128 + 1) * 128 + 2 * 128 + (128 + 1) * 2
    names = {name for name, _ in energy_model.namedparams()}
    assert {'/feature_extractor/l1/V', '/experts/g', '/b'} <= names


def test_entropy_reads_every_scale(models, device):
    _, generative_model = models
    generative_model.bn1.gamma.array[...] = 2
    generative_model.bn2.gamma.array[...] = 0.5
    generative_model.cleargrads()
    entropy = generative_model.entropy()
    entropy.backward()
    # 128 Gaussians of standard deviation 2 and 128 of 0.5: log 2 + log 0.5 = 0
    assert float(entropy.array) == pytest.approx(256 * 0.5 * numpy.log(2 * numpy.pi * numpy.e), rel=1e-5)
    numpy.testing.assert_allclose(chainer.cuda.to_cpu(generative_model.bn1.gamma.grad), 1 / 2, rtol=1e-5)
    numpy.testing.assert_allclose(chainer.cuda.to_cpu(generative_model.bn2.gamma.grad), 1 / 0.5, rtol=1e-5)
    assert all(
        parameter.grad is None for name, parameter in generative_model.namedparams() if not name.endswith('gamma'))


def test_half_an_expert_term_is_refused():
    for f, experts in ((F.identity, None), (None, L.Linear(2, 2))):
        with pytest.raises(ValueError, match='give both'):
            DeepEnergyModel(f, experts, n_visible=2)


def test_entropy_needs_batch_normalization():
    class Plain(DeepGenerativeModel):
        pass
    with pytest.raises(ValueError, match='BatchNormalization'):
        Plain(n_latent=2).entropy()


def test_entropy_finds_nested_scales():
    class Nested(DeepGenerativeModel):
        def __init__(self):
            super().__init__(n_latent=2)
            with self.init_scope():
                self.blocks = chainer.ChainList(L.BatchNormalization(3), chainer.Sequential(L.BatchNormalization(2)))
    assert float(Nested().entropy().array) == pytest.approx(5 * 0.5 * numpy.log(2 * numpy.pi * numpy.e), rel=1e-6)


def test_latent_is_uniform_and_the_same_everywhere(models, rng):
    _, generative_model = models
    z = generative_model.draw_latent(20_000, numpy.random.default_rng(3))
    assert z.dtype == numpy.float32
    assert z.shape == (20_000, 4)
    assert abs(z).max() <= 1
    numpy.testing.assert_allclose(z.mean(axis=0), 0, atol=0.02)
    numpy.testing.assert_allclose(z.var(axis=0), 1 / 3, rtol=0.03)
    numpy.testing.assert_array_equal(z, generative_model.draw_latent(20_000, numpy.random.default_rng(3)))


def test_weights_follow_the_generator_alone():
    """No hidden global state: the same generator gives the same weights, and NumPy's global one is untouched."""
    numpy.random.seed(1)
    state = numpy.random.get_state()[1].copy()
    first, second = (networks.build_toy_models(SETTINGS, numpy.random.default_rng(5)) for _ in range(2))
    numpy.testing.assert_array_equal(numpy.random.get_state()[1], state)
    for a, b in zip(first, second):
        for (name, p), (_, q) in zip(sorted(a.namedparams()), sorted(b.namedparams())):
            numpy.testing.assert_array_equal(p.array, q.array, err_msg=name)
    weights = first[1].l2.W.array
    assert weights.std() == pytest.approx(0.05, rel=0.02)
