"""The loop: on problems with a known answer, and its promises.

What a step computes is held to PyTorch, to the 2016 code and to plain Chainer elsewhere; here it is held to itself.
"""

import contextlib
import dataclasses
import functools

import chainer
import chainer.functions as F
import numpy
import pytest

from ddgm import objectives, training
from ddgm.beyond_the_paper.options import handed_to_the_loop
from ddgm.beyond_the_paper.resampling import mean_of_gaussians, sampling_importance_resampling
from ddgm.data.distributions import GaussianMixture
from ddgm.evaluation import sampling, tasks
from ddgm.fast import noise, optimizers
from ddgm.fast.links import BatchNormalization
from ddgm.fast.strategy import Fast
from ddgm.links import MinibatchDiscrimination
from ddgm.models import DeepEnergyModel, DeepGenerativeModel
from ddgm.networks import toy
from ddgm.presets import PRESETS

SETTINGS = PRESETS['gaussian_mixture']['default'].settings

strategies = pytest.mark.parametrize('make_strategy', [training.AsWritten, Fast])


def run(models, make_optimizer=training.make_optimizer, **options):
    """What each iteration observes: of one, and of small batches of the ten Gaussians, where nothing else is said."""
    options = {'draw_data': GaussianMixture().sample, 'batchsize': 10, 'seed': 0, 'iterations': 1, **options}
    return [observation for _, observation in training.train(*map(make_optimizer, models), **options)]


def noting(note):
    """What makes optimizers that call ``note(model)`` after each of their updates."""
    class Noting(chainer.optimizers.SGD):
        def update(self, *arguments):
            super().update(*arguments)
            note(self.target)
    return lambda model: Noting(lr=0.01).setup(model)


def still(model):
    """An optimizer that leaves its model as it is."""
    return chainer.optimizers.SGD(lr=0).setup(model)


def started_pair(seed):
    rng = numpy.random.default_rng(seed)
    models = toy.build_models(SETTINGS, rng)
    training.start_from_batch(models[0], GaussianMixture().sample(200, rng), rng)
    return models


@strategies
def test_pair_on_a_gaussian_recovers_its_mean(make_strategy, rng):
    mean = numpy.array([1.0, -0.5], dtype=numpy.float32)
    models = DeepEnergyModel(None, None, n_visible=2), toy.GenerativeModel(2, 16, chainer.initializers.Normal(
        0.5, rng=rng))
    run(models, functools.partial(training.make_optimizer, learning_rate=2e-2, decay_from=100),
        draw_data=lambda n, rng: mean + (rng.standard_normal((n, 2)) * 0.5 ** 0.5).astype(numpy.float32),
        batchsize=100, iterations=300, strategy=make_strategy())
    x = sampling.sample(models[1], models[1].draw_latent(5000, rng))
    numpy.testing.assert_allclose(x.mean(axis=0), mean, atol=0.15)
    numpy.testing.assert_allclose(models[0].b.array, 2 * mean, atol=0.5)


@strategies
def test_each_step_is_that_of_its_own_model(make_strategy):
    """No graph leads from x⁻ into G in the DEM's step, and the DGM's leaves weights and gradients of the DEM alone."""
    models = started_pair(0)
    models[1].cleargrads()

    def state(model):
        return {name: (p.array.copy(), None if p.grad is None else p.grad.copy()) for name, p in model.namedparams()}
    before, after = state(models[1]), []
    run(models, noting(lambda _: after.append([state(model) for model in models])), strategy=make_strategy())
    (energy, generator), (energy_at_last, generator_at_last) = after
    assert all(gradient is None for _, gradient in generator.values())
    assert any(gradient.any() for _, gradient in energy.values())
    for one, other in ((before, generator), (energy, energy_at_last)):
        for name, (array, gradient) in one.items():
            numpy.testing.assert_array_equal(array, other[name][0], err_msg=name)
            numpy.testing.assert_array_equal(gradient, other[name][1], err_msg=name)
    assert (generator_at_last['/l3/W'][0] != generator['/l3/W'][0]).any()


@pytest.mark.parametrize('generator_first', [False, True])
def test_order_of_the_two_updates(generator_first):
    """The model that comes second is updated against the updated first one."""
    models, updated = started_pair(0), []
    run(models, noting(updated.append), iterations=2, generator_first=generator_first)
    assert updated == [*(reversed(models) if generator_first else models)] * 2


@strategies
@pytest.mark.parametrize('switch', ['enable_backprop', 'train'])
def test_what_surrounds_the_loop_does_not_turn_learning_off(make_strategy, switch):
    def learned(**config):
        models = started_pair(0)
        with contextlib.ExitStack() as stack:
            for name, value in config.items():
                stack.enter_context(chainer.using_config(name, value))
            run(models, iterations=2, strategy=make_strategy())
        return numpy.concatenate([parameter.array.ravel() for model in models for _, parameter in sorted(
            model.namedparams())])
    numpy.testing.assert_array_equal(learned(**{switch: False}), learned())


def test_the_two_steps_never_share_noise(monkeypatch):
    models = started_pair(0)
    drawn, draw_latent = [], models[1].draw_latent

    def watched(n, rng):
        drawn.append(draw_latent(n, rng))
        return drawn[-1]
    monkeypatch.setattr(models[1], 'draw_latent', watched)
    run(models, iterations=3)
    assert len(drawn) == 6
    assert len({z.tobytes() for z in drawn}) == 6


TASKS = {
    'gaussian_mixture': ({'n_hidden': 16}, (2,)),
    'mnist': ({'noise': 0.0}, (784,)),
    'images': ({'width': 0.03, 'dropout': 0.0}, (3, 64, 64)),
}


@pytest.mark.parametrize('task', TASKS)
def test_a_step_is_the_same_in_every_way(task, device):
    """As the scripts compute it, on any device, beside what is written; noise apart, of which each draws another.

    The scripts draw levels, which what is written has as numbers.
    """
    changes, shape = TASKS[task]
    settings = dataclasses.replace(next(iter(PRESETS[task].values())).settings, n_experts=8, **changes)

    def draw_levels(n, rng):
        return rng.integers(256, size=(n, *shape), dtype=numpy.uint8)

    def draw(n, rng):
        return draw_levels(n, rng) / numpy.float32(255)

    def step(device, strategy, draw):
        """What is observed, and how far each weight has gone."""
        models = tasks.build_models(task, settings, numpy.random.default_rng(5))
        training.start_from_batch(models[0], draw(8, numpy.random.default_rng(6)), numpy.random.default_rng(7))
        for model in models:
            model.to_device(device)
        before = [parameter.array.copy() for model in models for parameter in model.params()]
        # With Adam's own eps, gradients that are 0 but for rounding become whole steps in any direction.
        observed, = run(
            models, functools.partial(training.make_optimizer, eps=0.1), draw_data=draw, batchsize=8,
            strategy=strategy)
        parameters = [parameter.array for model in models for parameter in model.params()]
        return observed, numpy.concatenate([
            chainer.cuda.to_cpu(array - other).ravel() for array, other in zip(parameters, before)])
    observed, steps = step(device, Fast(), draw_levels)
    expected, expected_steps = step(chainer.get_device('@numpy'), training.AsWritten(), draw)
    assert observed.keys() == expected.keys()
    for name, value in observed.items():  # nothing is read back
        assert isinstance(value, device.xp.ndarray), name
        assert value.shape == ()
        assert float(value) == pytest.approx(float(expected[name]), rel=1e-4, abs=1e-3), name
    assert float(observed['energy/loss']) == pytest.approx(
        float(observed['energy/positive']) - float(observed['energy/negative']), rel=1e-4)
    assert float(observed['generator/loss']) == pytest.approx(
        float(observed['generator/energy']) - float(observed['generator/entropy']), rel=1e-4)
    assert abs(expected_steps).max() > 1e-6
    rounding = numpy.finfo(numpy.float32).eps  # of a γ of 1
    numpy.testing.assert_allclose(steps, expected_steps, rtol=0, atol=1e-3 * abs(expected_steps).max() + rounding)


def draws_of_noise(seed, start, iterations, strategy):
    """What a DEM with noise in it drew in training, call by call, for batches of ten."""
    draws = []

    def noisy(x):
        draws.append(noise.add_noise(0 * chainer.as_variable(x), 1.0).array)
        return x
    models = (
        DeepEnergyModel(noisy, chainer.links.Linear(2, 3, initialW=0.1), n_visible=2, joinable=True),
        toy.GenerativeModel(2, 4, 0.1))
    run(models, seed=seed, start=start, iterations=iterations, strategy=strategy)
    return draws


@pytest.mark.parametrize(('make_strategy', 'sizes'), [(training.AsWritten, [10, 10, 10]), (Fast, [20, 10])])
def test_networks_draw_new_noise_that_the_seed_repeats(make_strategy, sizes):
    """In x⁺, in both x⁻ and in each iteration another; the same again for the same seed, and by iteration."""
    def drawn(*arguments):
        return draws_of_noise(*arguments, make_strategy())
    draws = drawn(0, 0, 3)
    assert [len(draw) for draw in draws] == sizes * 3
    rows = [row.tobytes() for draw in draws for row in draw]
    assert len(set(rows)) == len(rows) == 3 * 30
    for again, expected in ((drawn(0, 0, 3), draws), (drawn(0, 2, 3), draws[2 * len(sizes):])):
        assert [draw.tobytes() for draw in again] == [draw.tobytes() for draw in expected]
    assert not {row.tobytes() for draw in drawn(1, 0, 3) for row in draw} & set(rows)


def extractor(*between):
    return chainer.Sequential(chainer.links.Linear(2, 4), *between, F.tanh)


# By name: a feature extractor, whether it is joinable, and how many samples each phase has.
EXTRACTORS = {
    'independent samples': (extractor, True, (6, 6)),
    'phases of two sizes': (extractor, True, (7, 5)),
    'BatchNormalization': (lambda: extractor(BatchNormalization(4)), True, (6, 6)),
    'BatchNormalization without γ': (
        lambda: extractor(BatchNormalization(4, use_gamma=False)), True, (6, 6)),
    'BatchNormalization of Chainer': (
        lambda: extractor(chainer.links.BatchNormalization(4)), False, (6, 6)),
    'minibatch discrimination': (
        lambda: chainer.Sequential(MinibatchDiscrimination(2, 2, 3, chainer.initializers.Normal()), F.tanh), True,
        (6, 6)),
}


@pytest.mark.parametrize('name', EXTRACTORS)
def test_phases_do_not_change_one_another(name, rng, monkeypatch, device):
    """E(x⁺), E(x⁻), gradients and running statistics are those of two passes, though a pass may be of both."""
    make_extractor, joinable, sizes = EXTRACTORS[name]
    model = DeepEnergyModel(make_extractor(), chainer.links.Linear(4, 3), n_visible=2, joinable=joinable)
    model.to_device(device)
    passes, forward = [], DeepEnergyModel.forward
    monkeypatch.setattr(DeepEnergyModel, 'forward', lambda self, x: passes.append(len(x)) or forward(self, x))
    x_positive, x_negative = (device.send(rng.normal(size=(n, 2)).astype(numpy.float32)) for n in sizes)

    def energies_gradients_statistics(energies):
        twin = model.copy(mode='copy')
        twin.to_device(device)
        positive, negative = energies(twin)
        twin.cleargrads()
        (F.sum(positive) - F.sum(negative)).backward()
        return positive.array, negative.array, {
            **{path: parameter.grad for path, parameter in twin.namedparams()},
            **{path + name: getattr(link, name) for path, link in twin.namedlinks()
               for name in ('avg_mean', 'avg_var') if hasattr(link, name)}}

    *phases, together = energies_gradients_statistics(lambda twin: Fast().energies(twin, x_positive, x_negative))
    assert passes == ([sum(sizes)] if joinable and sizes[0] == sizes[1] else list(sizes))
    *alone, separately = energies_gradients_statistics(lambda twin: (twin(x_positive), twin(x_negative)))
    for phase, expected in zip(phases, alone):
        device.xp.testing.assert_allclose(phase, expected, rtol=1e-5, atol=1e-6)
    for path, expected in separately.items():
        device.xp.testing.assert_allclose(together[path], expected, rtol=1e-4, atol=1e-4, err_msg=path)


@pytest.mark.parametrize(('name', 'kind', 'untold', 'told'), [
    ('adam', optimizers.Adam, {'alpha': 2e-4, 'beta1': 0.5, 'beta2': 0.999, 'eps': 1e-8},
     {'alpha': 0.1, 'beta1': 0.6, 'beta2': 0.95, 'eps': 0.01}),
    ('adagrad', optimizers.AdaGrad, {'lr': 2e-4, 'eps': 1e-8}, {'lr': 0.1, 'eps': 0.01})])
def test_optimizers_are_made_as_they_are_told(name, kind, untold, told):
    """What they do with it is test_optimizers.py's."""
    model = chainer.links.Bias(shape=(2,))
    ours = {'gradient_norm': 5.0, 'weight_decay': 0.5, 'decay_from': 3, 'decay_power': 2.0, 'averaged': True}
    for options, expected in (
            ({}, {**untold, 'gradient_norm': 10.0, 'weight_decay': 0.0, 'decay_from': 0, 'averaged': False}),
            ({'learning_rate': 0.1, 'beta1': 0.6, 'beta2': 0.95, 'eps': 0.01, **ours}, {**told, **ours})):
        made = training.make_optimizer(model, name=name, **options)
        assert type(made) is kind
        assert made.target is model
        assert {each: getattr(made, each) for each in expected} == expected
    with pytest.raises(ValueError, match="name is 'sgd': give 'adam' or 'adagrad'"):
        training.make_optimizer(model, name='sgd')


@pytest.mark.parametrize('strategy', [None, Fast()], ids=['as written', 'fast'])
@pytest.mark.parametrize('couple', [
    lambda h: chainer.links.BatchNormalization(4)(h), lambda h: F.batch_normalization(h, *numpy.eye(2, 4, dtype='f')),
    lambda h: chainer.links.DecorrelatedBatchNormalization(4, groups=2)(h),
    lambda h: h - F.broadcast_to(F.mean(h, axis=0), h.shape)], ids=['link', 'function', 'decorrelated', 'mean'])
def test_a_model_of_ones_own_sees_one_phase_at_a_time(couple, strategy, rng):
    """However it couples the samples of a batch: what is observed are the energies of each batch by itself."""
    x = rng.normal(size=(2, 10, 2)).astype(numpy.float32) * numpy.array([[[1]], [[3]]], dtype=numpy.float32)
    models = [
        DeepEnergyModel(chainer.Sequential(couple), chainer.Sequential(F.tanh), n_visible=4), MovedLatent(x[1])]
    models[0].b.array = numpy.zeros(4, dtype=numpy.float32)
    models[0].quadratic_term = models[0].bias_term = lambda x: F.sum(0 * x, axis=1)
    wide = [numpy.concatenate([part, part], axis=1) for part in x]
    models[1].x = wide[1]
    expected = [float(F.mean(models[0](part)).array) for part in wide]
    observed, = run(models, draw_data=lambda n, rng: wide[0], strategy=strategy)
    assert [float(observed['energy/' + phase]) for phase in ('positive', 'negative')] == pytest.approx(
        expected, rel=1e-5)


class MovedLatent(DeepGenerativeModel):
    """A generator whose samples are given; one weight keeps it trainable."""

    def __init__(self, x):
        super().__init__(n_latent=2)
        self.x = x
        with self.init_scope():
            self.bn = BatchNormalization(x.shape[1])

    def forward(self, z):
        return self.x + 0 * F.sum(self.bn.gamma)


def test_weight_normalization_that_has_seen_no_batch_starts_from_data():
    """Not from data and samples joined, whatever the strategy."""
    started = []
    for strategy in (training.AsWritten(), Fast()):
        models = toy.build_models(SETTINGS, numpy.random.default_rng(0))
        run(models, batchsize=50, seed=3, strategy=strategy)
        started.append(models[0].feature_extractor.l1)
    rng = training.random_generator(3, training.START)
    expected = toy.build_models(SETTINGS, numpy.random.default_rng(0))[0]
    expected(GaussianMixture().sample(50, rng))
    for link in started:  # one step of Adam later
        numpy.testing.assert_allclose(link.g.array, expected.feature_extractor.l1.g.array, atol=1e-3)


# ---- beyond the paper

@pytest.mark.parametrize(('entropy', 'weight'), [('neighbour_entropy_weight', 0.5), ('volume_entropy_weight', 1.0)])
def test_true_entropy_gives_the_generator_the_density_of_the_energy(entropy, weight, rng):
    """Against a Gaussian energy that stays as it is, the least E − w·H is a Gaussian of w times its variance."""
    settings = dataclasses.replace(SETTINGS, batchsize=100, n_latent=2, entropy_weight=0.0, **{entropy: weight})
    energy_model = DeepEnergyModel(None, None, n_visible=2)  # of variance ½
    generative_model = toy.GenerativeModel(2, 16, chainer.initializers.Normal(0.3, rng=rng))
    run((energy_model, generative_model), lambda model: (
            still(model) if model is energy_model else training.make_optimizer(model, 2e-2, decay_from=100)),
        draw_data=lambda n, rng: rng.standard_normal((n, 2)).astype(numpy.float32), batchsize=100, iterations=300,
        strategy=Fast(), **handed_to_the_loop(settings))
    x = sampling.sample(generative_model, generative_model.draw_latent(5000, rng))
    numpy.testing.assert_allclose(x.var(axis=0), weight / 2, rtol=0.24)
    numpy.testing.assert_allclose(x.mean(axis=0), 0, atol=0.15)


def test_penalty_is_part_of_the_loss():
    handed, seen = handed_to_the_loop(dataclasses.replace(SETTINGS, energy_penalty=0.3)), []

    def energy_term(*energies):
        seen.extend(energy.array for energy in energies)
        return handed['energy_term'](*energies)
    observed, = run(started_pair(0), **{**handed, 'energy_term': energy_term})
    assert len(seen) == 2
    assert float(observed['energy/loss']) == pytest.approx(
        float(observed['energy/positive']) - float(observed['energy/negative'])
        + 0.3 * sum(float((energies ** 2).mean()) for energies in seen), rel=1e-5)


def test_refined_samples_are_what_the_energy_model_sees():
    """With Langevin steps E(x⁻) of the negative phase is lower than that of the generator's samples."""
    models = started_pair(0)
    models[1].l3.W.array *= 30  # far out
    observed, = run(models, still, batchsize=500, **handed_to_the_loop(
        dataclasses.replace(SETTINGS, langevin_steps=20, langevin_step_size=1e-2)))
    assert float(observed['energy/negative']) < float(observed['generator/energy'])


@pytest.mark.parametrize(('deviation', 'near_deviation'), [(1.0, 0.0), (2.0, 0.0), (2.0, 0.5)])
def test_chosen_proposals_follow_the_energy_model(deviation, near_deviation, device, rng):
    """A Gaussian energy of another mean and width than the proposals', wherever G's samples lie."""
    model = DeepEnergyModel(None, None, n_visible=2, sigma=2 ** 0.5 * 0.5, initial_bias=0)  # N(σ²b/2, 0.25 I)
    model.b.array[...] = [2.0, -4.0]
    model.to_device(device)
    samples = rng.uniform(-3, 1, (40, 2)).astype(numpy.float32)
    x = numpy.concatenate([chainer.cuda.to_cpu(sampling_importance_resampling(
        model, device.send(samples), 8_000, deviation, near_deviation, rng)) for _ in range(50)])
    assert (x.shape, x.dtype) == ((2000, 2), numpy.float32)
    numpy.testing.assert_allclose(x.mean(axis=0), [0.5, -1.0], atol=0.03)
    numpy.testing.assert_allclose(x.std(axis=0), 0.5, atol=0.02)
    # Where there are few proposals one is chosen several times; in no order, whatever rows a process has of them.
    x = chainer.cuda.to_cpu(sampling_importance_resampling(model, device.send(samples), 100, 2.0, 0.0, rng))
    repeated = len(x) - len(numpy.unique(x, axis=0))
    assert (x[1:] == x[:-1]).all(axis=1).sum() < repeated / 2


def test_mean_of_gaussians(device, rng):
    """Beside float64, one centre at a time."""
    x, centres = (rng.uniform(-3, 3, (n, 2)).astype(numpy.float32) for n in (50, 7))
    expected = numpy.mean([
        numpy.exp(-0.5 * ((x.astype(numpy.float64) - centre) ** 2).sum(axis=1) / 0.3 ** 2) / 0.3 ** 2
        for centre in centres], axis=0)
    found = mean_of_gaussians(device.send(x), device.send(centres), 0.3)
    numpy.testing.assert_allclose(chainer.cuda.to_cpu(found), expected, rtol=1e-4, atol=1e-6)


def test_proposals_learn_the_maximum_of_the_likelihood(rng):
    """Of a Gaussian energy that is the mean of the data, wherever the generator's samples lie."""
    settings = dataclasses.replace(SETTINGS, batchsize=200, proposals=2000, near_deviation=0.5)
    energy_model = DeepEnergyModel(None, None, n_visible=2)
    generative_model = toy.GenerativeModel(2, 8, chainer.initializers.Normal(0.3, rng=rng))
    run((energy_model, generative_model), lambda model: (
            still(model) if model is generative_model else training.make_optimizer(model, 0.2, decay_from=20)),
        draw_data=lambda n, rng: (rng.standard_normal((n, 2)) + [1, -0.5]).astype(numpy.float32), batchsize=200,
        iterations=100, strategy=Fast(), **handed_to_the_loop(settings))
    numpy.testing.assert_allclose(energy_model.b.array / 2, [1, -0.5], atol=0.05)


def test_weighted_entropies():
    one, other = (chainer.Variable(numpy.array(value, dtype=numpy.float32)) for value in (2.0, 5.0))
    assert objectives.weighted_sum([one], [1]) is one
    assert float(objectives.weighted_sum([one, other], [0.5, 2.0]).array) == 11
