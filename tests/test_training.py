"""The loop: beside the 2016 code iteration by iteration, on problems with a known answer, and its promises."""

import pathlib

import chainer
import numpy
import pytest

from ddgm import evaluation, networks, objectives, training
from ddgm.data.toy import GaussianMixture
from ddgm.models import DeepEnergyModel, DeepGenerativeModel
from ddgm.presets import PRESETS

SETTINGS = PRESETS['gaussian_mixture']['default'].settings
FIXTURE = pathlib.Path(__file__).parent / 'fixtures' / 'mixture_2016.npz'

# Our parameters and running statistics under the 2016 code's names: its layers are numbered by their position in the
# sequence, activations counted.
ENERGY_NAMES = {
    '/feature_extractor/l1': 'feature_extractor_0', '/feature_extractor/l2': 'feature_extractor_2',
    '/experts': 'experts_0'}
GENERATOR_NAMES = {'/l1': 'link_0', '/bn1': 'link_1', '/l2': 'link_3', '/bn2': 'link_4', '/l3': 'link_6'}


def arrays_of_2016(model, names, record, when):
    """Pairs of our array and the recorded one, for all parameters and running statistics of a model."""
    for path, link in model.namedlinks():
        if path in names:
            for name in list(link._params) + [name for name in link._persistent if name != 'N']:
                value = getattr(link, name)
                array = value.array if isinstance(value, chainer.Parameter) else value
                yield path + '/' + name, array, record['{}/{}/{}'.format(when, names[path], name)].reshape(array.shape)
    if isinstance(model, DeepEnergyModel):
        yield '/b', model.b.array, record[when + '/b_0/W'].reshape(-1)


class RecordedLatent:
    """Stands in for a model's ``draw_latent``: returns the recorded z of both steps in turn."""

    def __init__(self, record):
        self._recorded = iter([
            z for pair in zip(record['z_energy_step'], record['z_generator_step']) for z in pair])

    def __call__(self, n, rng):
        return next(self._recorded).astype(chainer.config.dtype)


@pytest.fixture(scope='module')
def record():
    with numpy.load(FIXTURE) as file:
        record = dict(file)
    # Chainer 1.17 counted eps into the running variance and left it out in test mode; Chainer 7 does the opposite.
    for layer in ('link_1', 'link_4'):
        record['generator_after/{}/avg_var'.format(layer)] -= numpy.float32(networks.BATCH_NORMALIZATION['eps'])
    return record


def replay(record, device):
    """Train from the recorded start on the recorded data and noise: both models and the trace of what they computed."""
    energy_model, generative_model = networks.build_toy_models(SETTINGS, numpy.random.default_rng(0))
    # This gives g and b their shape; the values come from the record.
    training.start_from_data(energy_model, record['x_start'].astype(chainer.config.dtype))
    for names, model, when in (
            (ENERGY_NAMES, energy_model, 'energy_before'), (GENERATOR_NAMES, generative_model, 'generator_before')):
        for _, array, recorded in arrays_of_2016(model, names, record, when):
            array[...] = recorded
        model.to_device(device)
    generative_model.draw_latent = RecordedLatent(record)
    recorded_x = iter(record['x_positive'])
    trace = [
        {name: float(value) for name, value in observation.items()}
        for _, observation in training.train(
            training.make_optimizer(energy_model), training.make_optimizer(generative_model),
            lambda n, rng: next(recorded_x).astype(chainer.config.dtype), 100, seed=0, done=0,
            iterations=len(record['x_positive']))]
    return energy_model, generative_model, trace


def test_start_is_that_of_the_2016_code(record, rng):
    """g and b of weight normalization follow from V and the starting batch."""
    energy_model, _ = networks.build_toy_models(SETTINGS, rng)
    for path, link in energy_model.namedlinks():
        if path in ENERGY_NAMES:
            link.V.array[...] = record['energy_before/{}/V'.format(ENERGY_NAMES[path])]
    training.start_from_data(energy_model, record['x_start'])
    energy_model.b.array[...] = record['energy_before/b_0/W'].reshape(-1)
    compared = list(arrays_of_2016(energy_model, ENERGY_NAMES, record, 'energy_before'))
    assert len(compared) == 3 * 3 + 1
    for name, array, recorded in compared:
        numpy.testing.assert_allclose(array, recorded, rtol=1e-4, atol=1e-5, err_msg=name)


RECORDED_LOSSES = {
    'energy/positive': 'energy_positive', 'energy/negative': 'energy_negative', 'generator/loss': 'kld',
    'generator/entropy': 'entropy'}


def largest_difference(record, trace, names):
    """The largest of these losses' differences from the record, for each iteration."""
    return numpy.max([
        abs(numpy.array([observation[name] for observation in trace]) - record['trace/' + RECORDED_LOSSES[name]])
        for name in names], axis=0)


def test_replay_of_the_2016_code(record, device):
    """60 iterations from the same weights, data and noise: losses, final weights and test-mode samples within 1e-4.

    In float64, since in float32 one rounding may flip a ReLU.  A bias before BatchNormalization has the gradient 0;
    what rounding left of it in 2016 Adam made into steps as large as any other, and the running means followed.  The
    two cancel in the samples, which are drawn with the recorded ones.
    """
    with chainer.using_config('dtype', numpy.float64):
        energy_model, generative_model, trace = replay(record, device)
        assert len(trace) == 60
        assert largest_difference(record, trace, RECORDED_LOSSES).max() < 1e-4

        compared = 0
        for model, names, when in (
                (energy_model, ENERGY_NAMES, 'energy_after'), (generative_model, GENERATOR_NAMES, 'generator_after')):
            for name, array, recorded in arrays_of_2016(model, names, record, when):
                if name in ('/l1/b', '/l2/b'):
                    numpy.testing.assert_allclose(chainer.cuda.to_cpu(array), 0, atol=1e-9, err_msg=name)
                elif name not in ('/bn1/avg_mean', '/bn2/avg_mean'):
                    numpy.testing.assert_allclose(
                        chainer.cuda.to_cpu(array), recorded, atol=1e-4, rtol=0, err_msg=name)
                # Chainer 1.17 had eps in what it multiplied by 100/99 for an unbiased variance, Chainer 7 has not.
                if name in ('/l1/b', '/l2/b') or 'avg_' in name:
                    array[...] = device.send(recorded)
                compared += 1
        assert compared == 3 * 3 + 1 + 3 * 2 + 2 * 4
        numpy.testing.assert_allclose(
            evaluation.sample(generative_model, record['z_test'].astype(numpy.float64)), record['x_test'], atol=1e-4,
            rtol=0)
        numpy.testing.assert_allclose(
            evaluation.energy_function(energy_model)(record['x_positive'][0]), record['energy_test'], atol=1e-4, rtol=0)


def test_replay_in_float32(record, device):
    """The same in the number type of training: close until a ReLU flips, and not far off to the end."""
    _, _, trace = replay(record, device)
    assert largest_difference(record, trace, ['energy/positive', 'energy/negative'])[:10].max() < 1e-4
    # The entropy of some 370 nats is known to 3e-5.
    assert largest_difference(record, trace, ['generator/entropy', 'generator/loss'])[:10].max() < 3e-4
    assert largest_difference(record, trace, RECORDED_LOSSES).max() < 0.02


def test_energy_model_of_a_gaussian_reaches_its_bias(rng):
    """Quadratic and bias terms alone, x⁻ drawn exactly from the model: b goes to 2μ/σ²."""
    mean, sigma = numpy.array([0.7, -0.4]), 0.8
    model = DeepEnergyModel(None, None, n_visible=2, sigma=sigma)
    optimizer = training.make_optimizer(model, alpha=0.03)
    for _ in range(600):
        x_positive = rng.normal(loc=mean, scale=sigma / numpy.sqrt(2), size=(500, 2)).astype(numpy.float32)
        x_negative = (sigma ** 2 * model.b.array / 2 + sigma / numpy.sqrt(2) * rng.normal(size=(500, 2))).astype(
            numpy.float32)
        optimizer.update(
            lambda positive, negative: objectives.energy_model_loss(
                objectives.mean_energy(model(positive)), objectives.mean_energy(model(negative))),
            x_positive, x_negative)
        optimizer.alpha *= 0.995
    numpy.testing.assert_allclose(model.b.array, 2 * mean / sigma ** 2, atol=0.05)


def test_pair_on_a_gaussian_recovers_its_mean(rng):
    mean = numpy.array([1.0, -0.5], dtype=numpy.float32)
    initial_weight = chainer.initializers.Normal(0.5, rng=rng)
    generative_model = networks.ToyGenerativeModel(2, 16, initial_weight)
    energy_model = DeepEnergyModel(None, None, n_visible=2)
    optimizers = [training.make_optimizer(model, alpha=1e-2) for model in (energy_model, generative_model)]
    for _ in training.train(
            *optimizers, lambda n, rng: mean + (rng.standard_normal((n, 2)) * 0.5 ** 0.5).astype(numpy.float32),
            batchsize=100, seed=0, done=0, iterations=600):
        pass
    x = evaluation.sample(generative_model, generative_model.draw_latent(5000, rng))
    numpy.testing.assert_allclose(x.mean(axis=0), mean, atol=0.15)
    numpy.testing.assert_allclose(energy_model.b.array, 2 * mean, atol=0.5)


def started_pair(seed, sampler):
    rng = numpy.random.default_rng(seed)
    models = networks.build_toy_models(SETTINGS, rng)
    training.start_from_data(models[0], sampler(200, rng))
    return models


def test_energy_step_is_cut_off_from_the_generator():
    """The DEM's step neither builds a graph through G nor leaves a gradient there."""
    energy_model, generative_model = started_pair(0, GaussianMixture().sample)
    generative_model.cleargrads()
    seen = []

    class Watched(chainer.optimizers.SGD):
        def update(self, *arguments):
            seen.append({name: p.grad is None for name, p in generative_model.namedparams()})
            super().update(*arguments)
    energy_optimizer, generator_optimizer = Watched(lr=0).setup(energy_model), training.make_optimizer(generative_model)
    next(training.train(
        energy_optimizer, generator_optimizer, GaussianMixture().sample, 10, seed=0, done=0, iterations=1))
    assert len(seen) == 1
    assert all(seen[0].values())


def test_the_two_steps_never_share_noise(monkeypatch):
    models = started_pair(0, GaussianMixture().sample)
    drawn = []
    draw_latent = models[1].draw_latent

    def watched(n, rng):
        drawn.append(draw_latent(n, rng))
        return drawn[-1]
    monkeypatch.setattr(models[1], 'draw_latent', watched)
    for _ in training.train(
            *map(training.make_optimizer, models), GaussianMixture().sample, 10, seed=0, done=0, iterations=3):
        pass
    assert len(drawn) == 6
    assert len({z.tobytes() for z in drawn}) == 6


def test_gradient_is_clipped_as_a_whole():
    """One norm over all parameters of a model: with a gradient of norm 50, plain steps have norm 10."""
    model = chainer.Chain(a=chainer.links.Bias(shape=(1,)), b=chainer.links.Bias(shape=(1,)))
    optimizer = training.make_optimizer(model)
    for parameter, gradient in ((model.a.b, 30), (model.b.b, 40)):
        parameter.grad = numpy.array([gradient], dtype=numpy.float32)
    optimizer.call_hooks('pre')
    assert (model.a.b.grad[0], model.b.b.grad[0]) == pytest.approx((6, 8), rel=1e-5)


def test_same_seed_same_bits_and_split_runs():
    """Ten iterations, and four then six by new calls, give the same weights; another seed gives others."""
    def weights(seed, *stops):
        models = started_pair(seed, GaussianMixture().sample)
        optimizers = [training.make_optimizer(model) for model in models]
        done = 0
        for stop in stops:
            for _ in training.train(*optimizers, GaussianMixture().sample, 20, seed, done, stop):
                pass
            done = stop
        return numpy.concatenate([p.array.ravel() for model in models for _, p in sorted(model.namedparams())])
    straight = weights(0, 10)
    numpy.testing.assert_array_equal(straight, weights(0, 4, 10))
    assert (straight != weights(1, 10)).any()


def test_observation_stays_on_the_device(device):
    models = started_pair(0, GaussianMixture().sample)
    for model in models:
        model.to_device(device)
    iteration, observation = next(training.train(
        *map(training.make_optimizer, models), GaussianMixture().sample, 10, seed=0, done=5, iterations=6))
    assert iteration == 6
    for name, value in observation.items():
        assert isinstance(value, device.xp.ndarray), name
        assert value.shape == ()
    assert float(observation['energy/loss']) == pytest.approx(
        float(observation['energy/positive']) - float(observation['energy/negative']), rel=1e-5)
    assert float(observation['generator/loss']) == pytest.approx(
        float(observation['generator/energy']) - float(observation['generator/entropy']), rel=1e-5)


def test_any_generative_model_trains():
    """A DGM of the user's own: one layer with BatchNormalization in the middle."""
    class Own(DeepGenerativeModel):
        def __init__(self):
            super().__init__(n_latent=3)
            with self.init_scope():
                self.bn = chainer.links.BatchNormalization(3)
                self.out = chainer.links.Linear(3, 2)

        def forward(self, z):
            return self.out(self.bn(z))
    energy_model, _ = started_pair(0, GaussianMixture().sample)
    for _, observation in training.train(
            *map(training.make_optimizer, (energy_model, Own())), GaussianMixture().sample, 10, 0, 0, 3):
        assert numpy.isfinite(float(observation['generator/loss']))
