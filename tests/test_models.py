"""The links, the two models and the published networks beside their equations.

What the networks of the ten Gaussians compute is test_replay.py's, of all networks in PyTorch test_parity.py's.
"""

import dataclasses
import functools

import chainer
import chainer.functions as F
import chainer.links as L
import numpy
import pytest
from chainer import gradient_check, initializers

from ddgm import links
from ddgm.beyond_the_paper.entropies import volume_entropy
from ddgm.evaluation import sampling, tasks
from ddgm.fast import functions, links as fast_links
from ddgm.fast.gradients import gradients
from ddgm.models import DeepEnergyModel, DeepGenerativeModel
from ddgm.networks import mnist
from ddgm.presets import PRESETS

# ---- links

# By name: from an initializer of V to a layer of three inputs and five outputs, the shape of one input, the axis of V
# that counts the outputs, and Chainer's plain layer.
WEIGHT_NORMALIZED = {
    'linear': (lambda initial_weight: links.WeightNormalizedLinear(3, 5, initial_weight), (3,), 0, F.linear),
    'convolution': (
        lambda initial_weight: links.WeightNormalizedConvolution2D(3, 5, 4, 2, 1, initial_weight), (3, 6, 4), 0,
        functools.partial(F.convolution_2d, stride=2, pad=1)),
    'deconvolution': (
        lambda initial_weight: links.WeightNormalizedDeconvolution2D(3, 5, 4, 2, 1, initial_weight), (3, 4, 3), 1,
        functools.partial(F.deconvolution_2d, stride=2, pad=1)),
}


@pytest.mark.parametrize('name', WEIGHT_NORMALIZED)
def test_weight_normalization_starts_from_data(name, device, rng):
    make, shape, _, _ = WEIGHT_NORMALIZED[name]
    link = make(initializers.Normal(0.05, rng=rng))
    link.to_device(device)
    x = device.send((2 + 3 * rng.normal(size=(500, *shape))).astype(numpy.float32))
    V = link.V.array.copy()
    y = chainer.cuda.to_cpu(link(x).array)
    all_but_units = (0, 2, 3)[:y.ndim - 1]
    numpy.testing.assert_allclose(y.mean(axis=all_but_units), 0, atol=2e-5)
    numpy.testing.assert_allclose(y.var(axis=all_but_units), 1, rtol=1e-4)
    device.xp.testing.assert_array_equal(link.V.array, V)
    # The second batch changes nothing any more.
    g, b = link.g.array.copy(), link.b.array.copy()
    link(x[:10])
    device.xp.testing.assert_array_equal(link.g.array, g)
    device.xp.testing.assert_array_equal(link.b.array, b)


@pytest.mark.parametrize('name', WEIGHT_NORMALIZED)
def test_weight_normalized_layer_is_the_plain_one_with_its_weights(name, device, rng):
    """W = g·V/‖V‖ with the norm of all weights that lead to one output, then the layer itself, in float64."""
    make, shape, unit_axis, plain = WEIGHT_NORMALIZED[name]
    with chainer.using_config('dtype', numpy.float64):
        link = make(initializers.Normal(1.0, rng=rng))
        link.to_device(device)
        x = rng.normal(size=(7, *shape))
        link(device.send(x))
        g, b = rng.normal(size=5), rng.normal(size=5)
        link.g.array[...], link.b.array[...] = device.send(g), device.send(b)
        V = chainer.cuda.to_cpu(link.V.array)
        of_units = numpy.moveaxis(V, unit_axis, 0)
        W = numpy.stack(
            [g_unit * V_unit / numpy.sqrt((V_unit ** 2).sum()) for g_unit, V_unit in zip(g, of_units)], axis=unit_axis)
        numpy.testing.assert_allclose(chainer.cuda.to_cpu(link.weight(link.g).array), W, rtol=1e-12)
        y = link(device.send(x))
        assert y.dtype == numpy.float64
        numpy.testing.assert_allclose(chainer.cuda.to_cpu(y.array), plain(x, W, b).array, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize('name', WEIGHT_NORMALIZED)
def test_gradients_of_weight_normalization_reach_V_g_and_b(name, rng):
    make, shape, _, _ = WEIGHT_NORMALIZED[name]
    with chainer.using_config('dtype', numpy.float64):
        link = make(initializers.Normal(1.0, rng=rng))
        x = rng.normal(size=(3, *shape))
        y = link(x)
        numpy.random.seed(0)  # check_backward draws its direction from the global generator
        gradient_check.check_backward(
            link, x, rng.normal(size=y.shape), (link.V, link.g, link.b), eps=1e-6, dtype=numpy.float64, rtol=1e-5,
            atol=1e-6)


# At the margin of an image only black is a constant.
@pytest.mark.parametrize(('name', 'value'), [('linear', 0.3), *((name, 0.0) for name in WEIGHT_NORMALIZED)])
def test_weight_normalization_refuses_a_constant_start(name, value, device, rng):
    """Whether or not rounding spreads the constant."""
    make, shape, _, _ = WEIGHT_NORMALIZED[name]
    link = make(initializers.Normal(0.05, rng=rng))
    link.to_device(device)
    for n in (4, 1000):
        with pytest.raises(ValueError, match='has to vary'):
            link(device.send(numpy.full((n, *shape), value, dtype=numpy.float32)))
    assert not link.g.is_initialized


def test_minibatch_discrimination(device, rng):
    """x beside Σ_{j≠i} exp(−‖Mᵢₖ − Mⱼₖ‖₁) with M = T(x), in float64."""
    with chainer.using_config('dtype', numpy.float64):
        link = links.MinibatchDiscrimination(6, 4, 3, initializers.Normal(0.5, rng=rng))
        link.T.b.array[...] = rng.normal(size=12)
        W, b = link.T.W.array.copy(), link.T.b.array.copy()
        link.to_device(device)
        x = rng.normal(size=(5, 6))
        M = (x @ W.T + b).reshape(5, 4, 3)
        similarity = numpy.zeros((5, 4))
        for i in range(5):
            for j in range(5):
                if j != i:
                    similarity[i] += numpy.exp(-abs(M[i] - M[j]).sum(axis=1))
        y = link(device.send(x)).array
        numpy.testing.assert_allclose(chainer.cuda.to_cpu(y), numpy.hstack([x, similarity]), rtol=1e-12)
        # In another batch the same sample gets other numbers.
        assert (link(device.send(x[:3])).array[:, 6:] < y[:3, 6:]).all()


# ---- the two models

@pytest.mark.parametrize('linear_experts', [False, True])
@pytest.mark.parametrize('experts_alone', [False, True])
def test_energy_with_other_experts(linear_experts, experts_alone, rng):
    """E = [xᵀx/σ² − bᵀx] − Σᵢ log(1 + exp(aᵢ)), or + Σᵢ aᵢ where the experts are linear, in float64."""
    with chainer.using_config('dtype', numpy.float64):
        experts = L.Linear(12, 5, initialW=rng.normal(size=(5, 12)), initial_bias=rng.normal(size=5))
        b = rng.normal(size=12)
        model = DeepEnergyModel(
            F.tanh, experts, n_visible=12, sigma=0.8, initial_bias=b, linear_experts=linear_experts,
            experts_alone=experts_alone)
        x = rng.normal(size=(7, 3, 2, 2))
        rows = x.reshape(7, 12)
        a = numpy.tanh(rows) @ experts.W.array.T + experts.b.array
        expected = a.sum(axis=1) if linear_experts else -numpy.log(1 + numpy.exp(a)).sum(axis=1)
        if not experts_alone:
            expected = expected + (rows ** 2).sum(axis=1) / 0.8 ** 2 - rows @ b
        energy = model(x)
        numpy.testing.assert_allclose(energy.array, expected, rtol=1e-12)
        # What the energy does without is no parameter that an optimizer would see.
        names = {name for name, _ in model.namedparams()}
        assert names == {'/experts/W', '/experts/b'} | (set() if experts_alone else {'/b'})


@pytest.mark.parametrize(('parts', 'options', 'message'), [
    ((F.identity, None), {}, 'give both'), ((None, L.Linear(2, 2)), {}, 'give both'),
    ((None, None), {'experts_alone': True}, 'there are no experts'),
    *(((None, None), {'sigma': sigma}, 'sigma is') for sigma in (0, -1, float('nan'), [1.0, 0.0], [1.0] * 3))])
def test_no_energy_of_half_a_model(parts, options, message):
    with pytest.raises(ValueError, match=message):
        DeepEnergyModel(*parts, n_visible=2, **options)


@pytest.mark.parametrize('batch_normalization', [L.BatchNormalization, fast_links.BatchNormalization])
def test_entropy_needs_a_scale(batch_normalization):
    """A γ that isn't there, or has no size yet; beside others, however deep these lie, it is left out."""
    def model(*links):
        model = DeepGenerativeModel(n_latent=2)
        with model.init_scope():
            model.layers = chainer.Sequential(*links)
        return model
    without, deferred = batch_normalization(3, use_gamma=False), batch_normalization(axis=0)
    for links_without, missing in (([], ''), ([without], ' with a γ')):
        with pytest.raises(ValueError, match='DeepGenerativeModel has no BatchNormalization{} to read'.format(missing)):
            model(*links_without).entropy()
    with pytest.raises(ValueError, match='a γ of DeepGenerativeModel has no size before a first batch has passed'):
        model(deferred).entropy()
    deferred(numpy.zeros((5, 4), dtype=numpy.float32))
    of_each = 0.5 * numpy.log(2 * numpy.pi * numpy.e)
    assert float(model(without, deferred).entropy().array) == pytest.approx(4 * of_each, rel=1e-6)
    nested = chainer.ChainList(batch_normalization(3), chainer.Sequential(batch_normalization((3, 2))))
    assert float(model(deferred, nested).entropy().array) == pytest.approx(13 * of_each, rel=1e-6)


def test_energies_of_no_points_at_all():
    model = DeepEnergyModel(chainer.Sequential(L.Linear(2, 3), F.tanh), L.Linear(3, 2), n_visible=2)
    nothing = numpy.zeros((0, 2), dtype=numpy.float32)
    assert sampling.energy_function(model)(nothing).shape == (0,)
    energy = F.sum(model(chainer.Variable(nothing)))
    model.cleargrads()
    energy.backward()
    assert (model.b.grad == 0).all()


def test_latent_is_uniform_and_the_same_everywhere(rng):
    _, generative_model = build('gaussian_mixture', 'default', rng)
    z = generative_model.draw_latent(20_000, numpy.random.default_rng(3))
    assert z.dtype == numpy.float32
    assert z.shape == (20_000, 4)
    assert abs(z).max() <= 1
    numpy.testing.assert_allclose(z.mean(axis=0), 0, atol=0.02)
    numpy.testing.assert_allclose(z.var(axis=0), 1 / 3, rtol=0.03)
    numpy.testing.assert_array_equal(z, generative_model.draw_latent(20_000, numpy.random.default_rng(3)))


# ---- the published networks

def build(task, preset, rng, **changes):
    """Both models of a preset, some of its settings changed."""
    return tasks.build_models(task, dataclasses.replace(PRESETS[task][preset].settings, **changes), rng)


def count(model):
    """How many numbers a model's parameters have, those aside that a first batch will bring."""
    return sum(parameter.array.size for parameter in model.params() if parameter.array is not None)


def test_binary_latents_join_the_others(rng):
    """Beside the same others as without them; G may have any number of layers."""
    drawn = []
    for changes in ({'n_latent': 10}, {'n_latent': 4, 'binary_latents': 6}):
        energy_model, generative_model = models = build('gaussian_mixture', 'default', rng, **changes)
        passed_through(models, (2,), rng)
        assert generative_model.n_latent == 10
        assert generative_model.l1.W.shape == (128, 10)
        assert {name for name, _ in generative_model.namedparams()} == {
            '/l1/W', '/l1/b', '/bn1/gamma', '/bn1/beta', '/l2/W', '/l2/b', '/bn2/gamma', '/bn2/beta', '/l3/W', '/l3/b'}
        drawn.append(generative_model.draw_latent(1000, numpy.random.default_rng(0)))
    plain, binary = drawn
    assert binary.dtype == numpy.float32
    numpy.testing.assert_array_equal(binary[:, :4], plain[:, :4])
    numpy.testing.assert_array_equal(binary[:, 4:], numpy.sign(plain[:, 4:]))


def passed_through(models, shape, rng):
    """Four data points and four latent vectors pass: f(x), E(x) and G(z); returns f(x)."""
    energy_model, generative_model = models
    x = rng.random((4, *shape), dtype=numpy.float32)
    with chainer.using_config('noise_generator', rng):
        f = energy_model.feature_extractor(x)
        energy = energy_model(x)
    samples = generative_model(generative_model.draw_latent(4, rng))
    assert energy.shape == (4,)
    assert samples.shape == (4, *shape)
    assert energy.dtype == samples.dtype == numpy.float32
    assert abs(f.array).max() <= 1
    if shape != (2,):  # pixels
        assert samples.array.min() >= 0
        assert samples.array.max() <= 1
    return f.array


# Numbers beside the weights that lead to one unit: b, or under weight normalization g and b.
PLAIN, WEIGHT = 1, 2


def layers(beside, *sizes):
    """Numbers of fully connected layers that follow each other."""
    return sum((n_in + beside) * n_out for n_in, n_out in zip(sizes, sizes[1:]))


def convolutions(kernel, *channels):
    """Weights and biases of convolutions, or of transposed ones, that follow each other."""
    return sum((n_in * kernel ** 2) * n_out + n_out for n_in, n_out in zip(channels, channels[1:]))


# Of digits: features, experts and b; the generator with its BatchNormalizations.
ENERGY = {beside: layers(beside, 784, 1000, 500, 250, 128, 128) + 784 for beside in (PLAIN, WEIGHT)}
GENERATOR = {beside: layers(beside, 10, 500, 500, 784) + 2 * (500 + 500) for beside in (PLAIN, WEIGHT)}


@pytest.mark.parametrize(('preset', 'energy', 'generator'), [
    ('post', ENERGY[PLAIN], GENERATOR[PLAIN]), ('grey', ENERGY[WEIGHT], GENERATOR[WEIGHT]),
    ('batch_normalized_energy', ENERGY[PLAIN] + 2 * (1000 + 500 + 250), GENERATOR[PLAIN]),
    ('weight_normalized_energy', ENERGY[WEIGHT], GENERATOR[PLAIN]),
    ('last_commit', ENERGY[WEIGHT], GENERATOR[WEIGHT]),
    (
        'convolutional', convolutions(4, 1, 32, 64) + layers(PLAIN, 64 * 7 * 7, 256, 128, 128) + 784,
        layers(PLAIN + 2, 32, 64 * 7 * 7) + convolutions(4, 64, 32, 1) + 2 * 32),
])
def test_published_networks_of_mnist(preset, energy, generator, rng):
    models = build('mnist', preset, rng)
    f = passed_through(models, (784,), rng)
    assert f.shape == (4, 128)
    assert tuple(map(count, models)) == (energy, generator)


def test_convolutional_features_of_a_pixel(rng):
    """x is read as rows of 28 pixels: without noise, another corner changes other places of the first convolution."""
    f = mnist.ConvolutionalFeatureExtractor(3, 0.0, initializers.Normal(1.0, rng=rng))
    x = numpy.zeros((2, 784), dtype=numpy.float32)
    x[1, 28 * 20 + 9] = 1
    shown = {}
    f.c1.forward = lambda h: shown.setdefault('h', type(f.c1).forward(f.c1, h))
    with chainer.using_config('noise_generator', rng):
        f(x)
    changed = numpy.argwhere((shown['h'].array[1] != shown['h'].array[0]).any(axis=0))
    assert {tuple(place) for place in changed} == {(9, 4), (9, 5), (10, 4), (10, 5)}


def test_batch_normalization_comes_before_each_elu(rng):
    """f against its equation in float64, in training with noise of size 0."""
    with chainer.using_config('dtype', numpy.float64):
        f = mnist.BatchNormalizedFeatureExtractor((6, 5, 4, 3), 0.0, initializers.Normal(1.0, rng=rng))
        first, second, last = f
        for link in (first, second):
            link.bn.gamma.array[...], link.bn.beta.array[...] = rng.normal(size=(2, link.bn.beta.size))
        h = x = rng.normal(size=(8, 6))
        for link in (first, second):
            h = h @ link.l.W.array.T + link.l.b.array
            h = link.bn.gamma.array * (h - h.mean(axis=0)) / numpy.sqrt(h.var(axis=0) + 2e-5) + link.bn.beta.array
            h = numpy.where(h > 0, h, numpy.exp(h) - 1)
        expected = numpy.tanh(h @ last.W.array.T + last.b.array)
        with chainer.using_config('noise_generator', rng):
            y = f(x).array
    numpy.testing.assert_allclose(y, expected, rtol=1e-10)


@pytest.mark.parametrize(('preset', 'energy', 'generator'), [
    (
        'post',
        convolutions(4, 3, 32, 96, 256, 1024) + 2 * (32 + 96 + 256) + (1024 * 4 * 4 + 1) * 128 + 3 * 64 * 64,
        (10 + 1 + 2) * 512 * 7 * 7 + convolutions(4, 512, 256, 128, 3) + 2 * (256 + 128)),
    (
        'last_commit',
        convolutions(4, 3, 32, 64, 192, 256) + 2 * (32 + 64 + 192) + (256 * 4 * 4 + 1) * 50 * 5
        + (256 * 4 * 4 + 50 + 1) * 512 + 3 * 64 * 64,
        (10 + 1 + 2) * 512 * 7 * 7 + convolutions(4, 512, 256, 128, 3) + 2 * (256 + 128)),
    (
        'author',
        convolutions(5, 3, 128, 256, 512, 1024) + (1024 * 4 * 4 + 1) * 1024,
        # No biases before BatchNormalization.
        (100 + 2) * 1024 * 4 * 4 + convolutions(5, 1024, 512, 256, 128, 3) + 512 + 256 + 128),
])
def test_published_sizes_of_image_networks(preset, energy, generator, rng, monkeypatch):
    monkeypatch.setattr(initializers.Normal, '__call__', lambda self, array: None)  # of up to 50 million numbers
    energy_model, generative_model = build('images', preset, rng)
    assert count(energy_model) == energy
    assert count(generative_model) == generator


# At a twentieth of the width: channels of the energy model after x, those of the generator before x, the shape of f(x).
NARROW = {
    'post': ([2, 5, 13, 51], [26, 13, 6], (51, 4, 4)),
    'post_softplus': ([2, 5, 13, 51], [26, 13, 6], (51, 4, 4)),
    'weight_normalized': ([2, 5, 13, 51], [26, 13, 6], (51, 4, 4)),
    'last_commit': ([2, 3, 10, 13], [26, 13, 6], (13 * 4 * 4 + 50,)),
    'calibrated': ([2, 5, 13, 51], [26, 13, 6], (51, 4, 4)),
    'author': ([6, 13, 26, 51], [51, 26, 13, 6], (51, 4, 4)),
}


@pytest.mark.parametrize(('size', 'grey'), [(64, False), (64, True), (32, False), (32, True), (128, False)])
@pytest.mark.parametrize('preset', PRESETS['images'])
def test_image_networks(preset, size, grey, rng):
    """Of x with a side half as long they lack the layer at x; where it is twice as long, there is one more."""
    energy_channels, generator_channels, features = NARROW[preset]
    if size == 32:
        energy_channels, generator_channels = energy_channels[1:], generator_channels[:-1]
    elif size == 128:
        energy_channels = [3 if preset == 'author' else 1, *energy_channels]
        generator_channels = [*generator_channels, 3]
    energy_model, generative_model = models = build('images', preset, rng, width=0.05, size=size, grey=grey)
    n_channels = 1 if grey else 3
    f = passed_through(models, (n_channels, size, size), rng)
    assert f.shape == (4, *features)

    def kernels(model):
        return {parameter.shape for parameter in model.params() if len(parameter.shape) == 4}
    side = 5 if preset == 'author' else 4
    channels = [n_channels, *energy_channels]
    assert kernels(energy_model) == {(n_out, n_in, side, side) for n_in, n_out in zip(channels, channels[1:])}
    channels = [*generator_channels, n_channels]
    assert kernels(generative_model) == {(n_in, n_out, side, side) for n_in, n_out in zip(channels, channels[1:])}
    assert energy_model.linear_experts == (preset in ('post', 'weight_normalized', 'calibrated'))
    assert (energy_model.b is None) == (preset == 'author')


@pytest.mark.parametrize(('task', 'preset', 'kind', 'size', 'shapes'), [
    ('mnist', 'post', 'gaussian', 0.3, [(4, 1000), (4, 500), (4, 250)]),
    ('mnist', 'batch_normalized_energy', 'gaussian', 0.3, [(4, 1000), (4, 500), (4, 250)]),
    ('images', 'post', 'dropout', 0.5, [(4, 2, 32, 32), (4, 5, 16, 16), (4, 13, 8, 8)]),
    ('images', 'last_commit', 'dropout', 0.5, [(4, 2, 32, 32), (4, 3, 16, 16), (4, 10, 8, 8)]),
    ('images', 'author', 'dropout', 0.5, []),
])
def test_noise_is_where_published(task, preset, kind, size, shapes, rng, monkeypatch):
    """After each layer of the energy model but the last; what it returns goes on, and the generator has none."""
    calls = []

    def instead(x, given_size):
        calls.append((x.shape, given_size))
        return 0 * x
    module, name = {'gaussian': (mnist, 'noisy_elu'), 'dropout': (functions, 'dropout')}[kind]
    monkeypatch.setattr(module, name, instead)
    changes, shape = ({'width': 0.05}, (3, 64, 64)) if task == 'images' else ({}, (784,))
    f = passed_through(build(task, preset, rng, **changes), shape, rng)
    # f(x) was computed twice, the second time for E(x).
    assert calls == [(expected, size) for expected in shapes] * 2
    if shapes:
        numpy.testing.assert_allclose(f, numpy.broadcast_to(f[:1], f.shape), atol=1e-6)


def test_no_layer_vanishes_at_the_smallest_width(rng):
    for preset in PRESETS['images']:
        for model in build('images', preset, rng, width=0.001):
            assert all(parameter.array.size for parameter in model.params() if parameter.array is not None)


@pytest.mark.parametrize(('task', 'preset', 'changes'), [
    *(('mnist', preset, {}) for preset in PRESETS['mnist'] if preset != 'density'),  # it starts from data
    *(('images', preset, {'width': 0.05}) for preset in PRESETS['images'])])
def test_weights_start_as_published(task, preset, changes, rng):
    """N(0, 0.05²), the author's N(0, 0.01²); biases 0 and γ 1, the author's biases and β before ReLU 0.1."""
    deviation = 0.01 if preset == 'author' else 0.05
    for model in build(task, preset, rng, **changes):
        for path, link in model.namedlinks():
            for name in link._params:
                array = getattr(link, name).array
                if array is None:
                    assert name in ('g', 'b')  # the first batch's
                elif name in ('W', 'V') or link is model and name == 'b':
                    tolerance = 5 / numpy.sqrt(array.size)
                    assert array.std() == pytest.approx(deviation, rel=tolerance), path
                    assert array.mean() == pytest.approx(0, abs=deviation * tolerance), path
                elif name == 'gamma':
                    assert (array == 1).all()
                elif preset == 'author' and (name == 'beta' or path.startswith('/feature_extractor/hidden')):
                    assert (array == numpy.float32(0.1)).all()
                else:
                    assert name in ('b', 'beta')
                    assert (array == 0).all()


@pytest.mark.parametrize(('task', 'preset', 'changes'), [
    ('gaussian_mixture', 'default', {}), ('mnist', 'last_commit', {}), ('mnist', 'batch_normalized_energy', {}),
    *(('images', preset, {'width': 0.05}) for preset in PRESETS['images'])])
def test_weights_follow_the_generator_alone(task, preset, changes):
    """No hidden global state: the same generator gives the same weights, and NumPy's global one is untouched."""
    numpy.random.seed(1)
    state = numpy.random.get_state()[1].copy()
    first, second, other = (build(task, preset, numpy.random.default_rng(seed), **changes) for seed in (5, 5, 6))
    numpy.testing.assert_array_equal(numpy.random.get_state()[1], state)
    for a, b, c in zip(first, second, other):
        drawn = 0
        for (name, p), (_, q), (_, r) in zip(*(sorted(model.namedparams()) for model in (a, b, c))):
            if p.array is not None:
                numpy.testing.assert_array_equal(p.array, q.array, err_msg=name)
                drawn += (p.array != r.array).any()
        assert drawn


# ---- the entropy that the Jacobian tells

class _Affine(DeepGenerativeModel):
    """x = Az, whose entropy is log 2ᵈ + log of the volume that A makes of 1."""

    def __init__(self, matrix):
        super().__init__(matrix.shape[1])
        with self.init_scope():
            self.A = chainer.Parameter(matrix.astype(numpy.float32))

    def forward(self, z):
        return F.matmul(z, F.transpose(self.A))


@pytest.mark.parametrize('shape', [(2, 2), (5, 3)])
def test_volume_entropy_of_a_linear_map(shape, device, rng):
    model = _Affine(rng.normal(size=shape))
    model.to_device(device)
    matrix = chainer.cuda.to_cpu(model.A.array)
    entropy = volume_entropy(model, device.send(model.draw_latent(7, rng)))
    expected = shape[1] * numpy.log(2) + numpy.log(numpy.linalg.svd(matrix, compute_uv=False)).sum()
    assert float(entropy.array) == pytest.approx(expected, abs=1e-3)
    gradient, = gradients(entropy, [model.A])
    numpy.testing.assert_allclose(chainer.cuda.to_cpu(gradient), numpy.linalg.pinv(matrix).T, rtol=1e-2, atol=1e-3)


def test_volume_entropy_needs_room(rng):
    with pytest.raises(ValueError, match='2 numbers from 3'):
        volume_entropy(_Affine(rng.normal(size=(2, 3))), numpy.zeros((4, 3), dtype=numpy.float32))
