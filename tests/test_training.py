"""The loop: on problems with a known answer, and its promises."""

import dataclasses

import chainer
import chainer.functions as F
import numpy
import pytest

from ddgm import objectives, training
from ddgm.beyond_the_paper.energy_penalty import energy_penalty
from ddgm.beyond_the_paper.importance import mean_of_gaussians, sample_by_importance
from ddgm.beyond_the_paper.options import handed_to_the_loop
from ddgm.data.toy import GaussianMixture
from ddgm.evaluation import sampling
from ddgm.fast import noise
from ddgm.fast.links import BatchNormalization
from ddgm.fast.strategy import Fast
from ddgm.links import MinibatchDiscrimination
from ddgm.models import DeepEnergyModel, DeepGenerativeModel
from ddgm.networks import toy
from ddgm.presets import PRESETS

SETTINGS = PRESETS['gaussian_mixture']['default'].settings


def test_energy_model_of_a_gaussian_reaches_its_bias(rng):
    """Quadratic and bias terms alone, x⁻ drawn exactly from the model: b goes to 2μ/σ²."""
    mean, sigma = numpy.array([0.7, -0.4]), 0.8
    model = DeepEnergyModel(None, None, n_visible=2, sigma=sigma)
    optimizer = training.make_optimizer(model, learning_rate=0.03)
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
    generative_model = toy.GenerativeModel(2, 16, initial_weight)
    energy_model = DeepEnergyModel(None, None, n_visible=2)
    optimizers = [training.make_optimizer(model, learning_rate=1e-2) for model in (energy_model, generative_model)]
    for _ in training.train(
            *optimizers, draw_data=lambda n, rng: mean + (rng.standard_normal((n,
            2)) * 0.5 ** 0.5).astype(numpy.float32),
            batchsize=100, seed=0, iterations=600):
        pass
    x = sampling.sample(generative_model, generative_model.draw_latent(5000, rng))
    numpy.testing.assert_allclose(x.mean(axis=0), mean, atol=0.15)
    numpy.testing.assert_allclose(energy_model.b.array, 2 * mean, atol=0.5)


def started_pair(seed, sampler):
    rng = numpy.random.default_rng(seed)
    models = toy.build_models(SETTINGS, rng)
    training.start_from_batch(models[0], sampler(200, rng), rng)
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
        energy_optimizer, generator_optimizer, draw_data=GaussianMixture().sample, batchsize=10, seed=0, iterations=1))
    assert len(seen) == 1
    assert all(seen[0].values())


def test_generator_step_leaves_the_energy_model_alone():
    """The DGM's step changes no weight of the DEM and leaves no gradient there."""
    energy_model, generative_model = started_pair(0, GaussianMixture().sample)

    def state():
        return {name: (p.array.copy(), p.grad.copy()) for name, p in energy_model.namedparams()}
    after_own_step = []

    class Watched(chainer.optimizers.SGD):
        def update(self, *arguments):
            super().update(*arguments)
            after_own_step.append(state())
    before = generative_model.l3.W.array.copy()
    for _ in training.train(
            Watched(lr=0.01).setup(energy_model), training.make_optimizer(generative_model),
            draw_data=GaussianMixture().sample,
            batchsize=10, seed=0, iterations=1):
        pass
    after, = after_own_step
    assert any(gradient.any() for _, gradient in after.values())
    for name, (array, gradient) in state().items():
        numpy.testing.assert_array_equal(array, after[name][0], err_msg=name)
        numpy.testing.assert_array_equal(gradient, after[name][1], err_msg=name)
    assert (generative_model.l3.W.array != before).any()


@pytest.mark.parametrize('generator_first', [False, True])
def test_order_of_the_two_updates(generator_first):
    """The model that comes second is updated against the updated first one."""
    models = energy_model, generative_model = started_pair(0, GaussianMixture().sample)
    updated = []

    class Watched(chainer.optimizers.SGD):
        def update(self, *arguments):
            super().update(*arguments)
            updated.append(self.target)
    for _ in training.train(
            *(Watched(lr=0.01).setup(model) for model in models), draw_data=GaussianMixture().sample, batchsize=10,
            seed=0, iterations=2, generator_first=generator_first):
        pass
    order = [generative_model, energy_model] if generator_first else [energy_model, generative_model]
    assert updated == order * 2


def test_the_two_steps_never_share_noise(monkeypatch):
    models = started_pair(0, GaussianMixture().sample)
    drawn = []
    draw_latent = models[1].draw_latent

    def watched(n, rng):
        drawn.append(draw_latent(n, rng))
        return drawn[-1]
    monkeypatch.setattr(models[1], 'draw_latent', watched)
    for _ in training.train(
            *map(training.make_optimizer, models), draw_data=GaussianMixture().sample, batchsize=10, seed=0,
            iterations=3):
        pass
    assert len(drawn) == 6
    assert len({z.tobytes() for z in drawn}) == 6


def draws_of_noise(seed, done, iterations, device, strategy):
    """What a DEM with noise in it drew in training, call by call, for batches of ten."""
    draws = []

    def noisy(x):
        draws.append(chainer.cuda.to_cpu(noise.add_noise(0 * chainer.as_variable(x), 1.0).array))
        return x
    models = DeepEnergyModel(noisy, linear_experts(), n_visible=2, joinable=True), toy.GenerativeModel(
        2, 4, 0.1)
    for model in models:
        model.to_device(device)
    for _ in training.train(
            *map(training.make_optimizer, models), draw_data=GaussianMixture().sample, batchsize=10, seed=seed,
            start=done, iterations=iterations, strategy=strategy):
        pass
    return draws


def linear_experts():
    return chainer.links.Linear(2, 3, initialW=0.1)


@pytest.mark.parametrize(('make_strategy', 'sizes'), [(training.AsWritten, [10, 10, 10]), (Fast, [20, 10])])
def test_networks_draw_new_noise_that_the_seed_repeats(make_strategy, sizes, device):
    """In x⁺, in both x⁻ and in each iteration another; the same again for the same seed, and by iteration."""
    def drawn(*arguments):
        return draws_of_noise(*arguments, device, make_strategy())
    draws = drawn(0, 0, 3)
    assert [len(draw) for draw in draws] == sizes * 3
    rows = [row.tobytes() for draw in draws for row in draw]
    assert len(set(rows)) == len(rows) == 3 * 30
    for again, expected in ((drawn(0, 0, 3), draws), (drawn(0, 2, 3), draws[2 * len(sizes):])):
        assert [draw.tobytes() for draw in again] == [draw.tobytes() for draw in expected]
    assert not {row.tobytes() for draw in drawn(1, 0, 3) for row in draw} & set(rows)


def extractor(*between):
    return chainer.Sequential(chainer.links.Linear(2, 4), *between, F.tanh)


# By name: a feature extractor, and whether both phases take one pass of it.
EXTRACTORS = {
    'independent samples': (extractor, True),
    'BatchNormalization': (lambda: extractor(BatchNormalization(4)), True),
    'BatchNormalization without γ': (lambda: extractor(BatchNormalization(4, use_gamma=False)), True),
    'BatchNormalization of Chainer': (lambda: extractor(chainer.links.BatchNormalization(4)), False),
    'minibatch discrimination': (
        lambda: chainer.Sequential(MinibatchDiscrimination(2, 2, 3, chainer.initializers.Normal()), F.tanh), True),
}


@pytest.mark.parametrize('sizes', [(6, 6), (7, 5)], ids=str)
@pytest.mark.parametrize('name', EXTRACTORS)
def test_phases_do_not_change_one_another(name, sizes, rng, monkeypatch, device):
    """E(x⁺), E(x⁻), gradients and running statistics are those of two passes, though a pass may be of both."""
    make_extractor, joinable = EXTRACTORS[name]
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


def pair_of_numbers(device):
    """A model of two parameters, 1 and −2, whose gradients are 30 and 40."""
    model = chainer.Chain(a=chainer.links.Bias(shape=(1,)), b=chainer.links.Bias(shape=(1,)))
    for parameter, value in ((model.a.b, 1), (model.b.b, -2)):
        parameter.array[...] = value
    model.to_device(device)
    for parameter, gradient in ((model.a.b, 30), (model.b.b, 40)):
        parameter.grad = device.xp.array([gradient], dtype=numpy.float32)
    return model


def gradient_that_counted(model, **options):
    """After one update, what is left of the two gradients: AdaGrad sums their squares from 0 on."""
    before = model.a.b.array.copy(), model.b.b.array.copy()
    training.make_optimizer(model, name='adagrad', **options).update()
    states = [parameter.update_rule.state['h'] for parameter in (model.a.b, model.b.b)]
    signs = [float(old[0] - parameter.array[0]) > 0 or -1 for old, parameter in zip(before, (model.a.b, model.b.b))]
    return tuple(sign * float(state[0]) ** 0.5 for sign, state in zip(signs, states))


def test_gradient_is_clipped_as_a_whole(device):
    """One norm over all parameters of a model: a gradient of norm 50 becomes one of norm 10."""
    assert gradient_that_counted(pair_of_numbers(device)) == pytest.approx((6, 8), rel=1e-5)


@pytest.mark.parametrize('gradient_norm', [0, 51])
def test_gradient_is_not_clipped_where_its_norm_may_be_larger(gradient_norm, device):
    assert gradient_that_counted(pair_of_numbers(device), gradient_norm=gradient_norm) == pytest.approx((30, 40))


def test_gradient_itself_stays_as_it_was(device):
    """Clipping and penalty go into the update only."""
    model = pair_of_numbers(device)
    gradient_that_counted(model, weight_decay=0.5)
    assert (float(model.a.b.grad[0]), float(model.b.b.grad[0])) == (30, 40)


@pytest.mark.parametrize(('gradient_norm', 'clipped'), [(0, (30, 40)), (10.0, (6, 8))])
def test_weight_decay(gradient_norm, clipped, device):
    """The penalty's gradient is rate · weight, added to what the clipping left."""
    assert gradient_that_counted(
        pair_of_numbers(device), gradient_norm=gradient_norm, weight_decay=0.5) == pytest.approx(
            (clipped[0] + 0.5 * 1, clipped[1] + 0.5 * -2), rel=1e-5)


def test_clipping_and_weight_decay_with_adam(device):
    """Its averages start with (1 − β₁)g and (1 − β₂)g², g what clipping left plus rate · weight."""
    model = pair_of_numbers(device)
    training.make_optimizer(model, beta1=0.5, beta2=0.999, gradient_norm=10.0, weight_decay=0.5).update()
    for parameter, gradient in ((model.a.b, 6.5), (model.b.b, 7.0)):
        state = parameter.update_rule.state
        assert float(state['m'][0]) == pytest.approx(0.5 * gradient, rel=1e-5)
        assert float(state['v'][0]) == pytest.approx(0.001 * gradient ** 2, rel=1e-5)


def test_adam(device):
    """The first step of Adam is the learning rate, whatever the gradient; the second by its equations."""
    model, learning_rate, beta1, beta2, eps = pair_of_numbers(device), 0.1, 0.5, 0.999, 0.01
    optimizer = training.make_optimizer(
        model, learning_rate=learning_rate, beta1=beta1, beta2=beta2, eps=eps, gradient_norm=0)
    m = v = 0
    expected = 1.0
    for step, gradient in enumerate((30, -3), 1):
        model.a.b.grad[...] = gradient
        optimizer.update()
        m, v = beta1 * m + (1 - beta1) * gradient, beta2 * v + (1 - beta2) * gradient ** 2
        # Chainer adds eps before it corrects the bias of v.
        expected -= learning_rate * (1 - beta2 ** step) ** 0.5 / (1 - beta1 ** step) * m / (v ** 0.5 + eps)
        assert float(model.a.b.array[0]) == pytest.approx(expected, rel=1e-5)


def test_adagrad_with_weight_decay(device):
    """Steps of learning rate · g/√(Σ g²), g with the penalty's."""
    model = pair_of_numbers(device)
    optimizer = training.make_optimizer(
        model, learning_rate=0.1, gradient_norm=0, weight_decay=0.5, name='adagrad')
    squares, expected = 0, 1.0
    for gradient in (30, -3):
        model.a.b.grad[...] = gradient
        optimizer.update()
        with_penalty = gradient + 0.5 * expected
        squares += with_penalty ** 2
        expected -= 0.1 * with_penalty / squares ** 0.5
        assert float(model.a.b.array[0]) == pytest.approx(expected, rel=1e-5)


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
    _, observed = next(training.train(
        *map(training.make_optimizer, models), draw_data=lambda n, rng: wide[0], batchsize=10, seed=0, iterations=1,
        strategy=strategy))
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
        next(training.train(
            *map(training.make_optimizer, models), draw_data=GaussianMixture().sample, batchsize=50, seed=3,
            iterations=1, strategy=strategy))
        started.append(models[0].feature_extractor.l1)
    rng = training.random_generator(3, training.START)
    expected = toy.build_models(SETTINGS, numpy.random.default_rng(0))[0]
    expected(GaussianMixture().sample(50, rng))
    for link in started:  # one step of Adam later
        numpy.testing.assert_allclose(link.g.array, expected.feature_extractor.l1.g.array, atol=1e-3)


def test_same_seed_same_bits_and_split_runs():
    """Ten iterations, and four then six by new calls, give the same weights; another seed gives others."""
    def weights(seed, *stops):
        models = started_pair(seed, GaussianMixture().sample)
        optimizers = [training.make_optimizer(model) for model in models]
        done = 0
        for stop in stops:
            for _ in training.train(*optimizers, draw_data=GaussianMixture().sample, batchsize=20, seed=seed,
            start=done, iterations=stop):
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
        *map(training.make_optimizer, models), draw_data=GaussianMixture().sample, batchsize=10, seed=0, start=5,
        iterations=6))
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
            *map(training.make_optimizer, (energy_model, Own())), draw_data=GaussianMixture().sample, batchsize=10,
            seed=0, iterations=3):
        assert numpy.isfinite(float(observation['generator/loss']))


# ---- beyond the paper

@pytest.mark.parametrize(('entropy', 'weight'), [
    ('neighbour_entropy_weight', 1.0), ('neighbour_entropy_weight', 0.5), ('volume_entropy_weight', 1.0)])
def test_true_entropy_gives_the_generator_the_density_of_the_energy(entropy, weight, rng):
    """Against a Gaussian energy that stays as it is, the least E − w·H is a Gaussian of w times its variance."""
    settings = dataclasses.replace(SETTINGS, batchsize=200, n_latent=2, entropy_weight=0.0, **{entropy: weight})
    energy_model = DeepEnergyModel(None, None, n_visible=2)  # of variance ½
    generative_model = toy.GenerativeModel(2, 32, chainer.initializers.Normal(0.3, rng=rng))
    for _ in training.train(
            chainer.optimizers.SGD(lr=0).setup(energy_model),
            training.make_optimizer(generative_model, 1e-2, decay_from=150),
            draw_data=lambda n, rng: rng.standard_normal((n, 2)).astype(numpy.float32), batchsize=200, seed=0,
            iterations=1000, **handed_to_the_loop(settings)):
        pass
    x = sampling.sample(generative_model, generative_model.draw_latent(5000, rng))
    numpy.testing.assert_allclose(x.var(axis=0), weight / 2, rtol=0.24)
    numpy.testing.assert_allclose(x.mean(axis=0), 0, atol=0.15)


def test_penalty_of_both_phases(rng):
    energies = [rng.normal(size=n).astype(numpy.float32) for n in (5, 7)]
    penalty = energy_penalty(*map(chainer.Variable, energies), 0.3)
    assert float(penalty.array) == pytest.approx(0.3 * sum((e ** 2).mean() for e in energies), rel=1e-5)


def test_penalty_keeps_the_energy_small():
    """The same run with a penalty ends with smaller energies, and its loss is still the difference of the phases."""
    sizes = []
    for penalty in (0.0, 1.0):
        models = started_pair(0, GaussianMixture().sample)
        *_, (_, losses) = training.train(
            *map(training.make_optimizer, models), draw_data=GaussianMixture().sample, batchsize=50, seed=0,
            iterations=150,
            **handed_to_the_loop(dataclasses.replace(SETTINGS, energy_penalty=penalty)))
        sizes.append(sum(abs(float(losses[name])) for name in ('energy/positive', 'energy/negative')))
    assert sizes[1] < 0.5 * sizes[0]


def test_refined_samples_are_what_the_energy_model_sees():
    """With Langevin steps E(x⁻) of the negative phase is lower than that of the generator's samples."""
    refined = handed_to_the_loop(dataclasses.replace(SETTINGS, langevin_steps=20, langevin_step_size=1e-2))
    models = started_pair(0, GaussianMixture().sample)
    _, losses = next(training.train(
        *(chainer.optimizers.SGD(lr=0).setup(model) for model in models), draw_data=GaussianMixture().sample,
        batchsize=500, seed=0, iterations=1, **refined))
    models[1].l3.W.array *= 30  # far out
    _, wide = next(training.train(
        *(chainer.optimizers.SGD(lr=0).setup(model) for model in models), draw_data=GaussianMixture().sample,
        batchsize=500, seed=0, iterations=1, **refined))
    assert float(wide['energy/negative']) < float(wide['generator/energy'])
    assert numpy.isfinite(float(losses['energy/negative']))


@pytest.mark.parametrize(('deviation', 'near_deviation'), [(1.0, 0.0), (2.0, 0.0), (2.0, 0.5)])
def test_chosen_proposals_follow_the_energy_model(deviation, near_deviation, device, rng):
    """A Gaussian energy of another mean and width than the proposals', wherever G's samples lie."""
    model = DeepEnergyModel(None, None, n_visible=2, sigma=2 ** 0.5 * 0.5, initial_bias=0)  # N(σ²b/2, 0.25 I)
    model.b.array[...] = [2.0, -4.0]
    model.to_device(device)
    samples = rng.uniform(-3, 1, (40, 2)).astype(numpy.float32)
    x = numpy.concatenate([chainer.cuda.to_cpu(sample_by_importance(
        model, device.send(samples), 8_000, deviation, near_deviation, rng)) for _ in range(125)])
    assert (x.shape, x.dtype) == ((5000, 2), numpy.float32)
    numpy.testing.assert_allclose(x.mean(axis=0), [0.5, -1.0], atol=0.03)
    numpy.testing.assert_allclose(x.std(axis=0), 0.5, atol=0.02)
    assert abs(numpy.corrcoef(x[:-1, 0], x[1:, 0])[0, 1]) < 0.05  # in no order, whatever rows a process has of them


def test_mean_of_gaussians(device, rng):
    """Beside float64, one centre at a time."""
    x, centres = (rng.uniform(-3, 3, (n, 2)).astype(numpy.float32) for n in (50, 7))
    expected = numpy.mean([
        numpy.exp(-0.5 * ((x.astype(numpy.float64) - centre) ** 2).sum(axis=1) / 0.3 ** 2) / 0.3 ** 2
        for centre in centres], axis=0)
    found = mean_of_gaussians(device.send(x), device.send(centres), 0.3)
    numpy.testing.assert_allclose(chainer.cuda.to_cpu(found), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('near_deviation', [0.0, 0.5])
def test_proposals_learn_the_maximum_of_the_likelihood(near_deviation, rng):
    """Of a Gaussian energy that is the mean of the data, wherever the generator's samples lie."""
    settings = dataclasses.replace(SETTINGS, batchsize=200, proposals=4000, near_deviation=near_deviation)
    energy_model = DeepEnergyModel(None, None, n_visible=2)
    generative_model = toy.GenerativeModel(2, 8, chainer.initializers.Normal(0.3, rng=rng))
    for _ in training.train(
            training.make_optimizer(energy_model, 0.05, decay_from=50),
            chainer.optimizers.SGD(lr=0).setup(generative_model),
            draw_data=lambda n, rng: (rng.standard_normal((n, 2)) + [1, -0.5]).astype(numpy.float32), batchsize=200,
            seed=0,
            iterations=300, **handed_to_the_loop(settings)):
        pass
    numpy.testing.assert_allclose(energy_model.b.array / 2, [1, -0.5], atol=0.05)


def test_weighted_entropies():
    one, other = (chainer.Variable(numpy.array(value, dtype=numpy.float32)) for value in (2.0, 5.0))
    assert objectives.weighted_sum([one], [1]) is one
    assert float(objectives.weighted_sum([one, other], [0.5, 2.0]).array) == 11
