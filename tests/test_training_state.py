"""The state of a run: every published setting trains, and goes on from a snapshot to the same bits."""

import dataclasses

import chainer
import numpy
import pytest

from ddgm.data.distributions import GaussianMixture
from ddgm.evaluation import sampling, tasks
from ddgm.fast import functions as F, noise
from ddgm.networks import toy
from ddgm.presets import PRESETS, ToySettings
from ddgm.runs import run_folder, training_state
from ddgm.runs.command_line import Request
from ddgm.runs.execution import add_at_once
from ddgm.support.serialization import arrays_of

SHAPE = {'gaussian_mixture': (2,), 'swiss_roll': (2,), 'points': (2,), 'mnist': (784,), 'images': (3, 64, 64)}


def go_on(state, draw_data, settings, end):
    """Train to an iteration; returns the losses of each on the way."""
    seen = []
    for iteration, losses in training_state.iterations_of(
            state, draw_data, dataclasses.replace(settings, iterations=end)):
        state.iteration = iteration
        state.summary.add(losses)
        seen.append({name: float(loss) for name, loss in losses.items()})
    return seen


@pytest.mark.parametrize(('task', 'preset'), [(task, preset) for task in PRESETS for preset in PRESETS[task]])
def test_every_preset_goes_on_to_the_same_bits(task, preset, tmp_path, device):
    """Weights and their start from data, running statistics, noise, both optimizers, the order of the updates."""
    changes = {'batchsize': 6, 'start_size': 12, **({'width': 0.02} if task == 'images' else {})}
    settings = dataclasses.replace(PRESETS[task][preset].settings, **changes)
    request = Request(task=task, out=str(tmp_path), preset=preset, data='somewhere')

    def draw_data(n, rng):
        return rng.random((n, *SHAPE[task]), dtype=numpy.float32)

    def build():
        return training_state.build_state(settings, tasks.find(task).build_models, draw_data, device)

    folder = run_folder.open_run(request)
    straight, split, resumed = build(), build(), build()
    losses = go_on(straight, draw_data, settings, 5)
    assert numpy.isfinite([list(of_iteration.values()) for of_iteration in losses]).all()
    go_on(split, draw_data, settings, 2)
    folder.log.keep(0)
    folder.save_snapshot(split)
    assert folder.load_snapshot(resumed) == []
    assert resumed.iteration == 2
    go_on(resumed, draw_data, settings, 5)
    expected, actual = arrays_of(straight), arrays_of(resumed)
    assert expected.keys() == actual.keys()
    assert len(expected) > 40
    for name in expected:
        numpy.testing.assert_array_equal(
            chainer.cuda.to_cpu(actual[name]), chainer.cuda.to_cpu(expected[name]), err_msg=name)


def test_proposals_take_over_on_the_way():
    """Until then a run is one without them, and it goes on from anywhere to the same bits."""
    settings = ToySettings(
        iterations=4, log_interval=1, snapshot_interval=0, figure_interval=0, batchsize=8, n_hidden=8, start_size=20,
        energy_penalty=0.1, langevin_steps=2, langevin_step_size=0.01, proposals=50, proposals_from=2)

    def draw_data(n, rng):
        return rng.random((n, 2), dtype=numpy.float32)

    def energies(settings, *ends):
        state = training_state.build_state(settings, toy.build_models, draw_data, chainer.get_device('@numpy'))
        return [
            [losses['energy/' + name] for name in ('positive', 'negative', 'loss')]
            for end in ends for losses in go_on(state, draw_data, settings, end)]
    straight = energies(settings, 4)
    assert len(straight) == 4
    for ends in ((1, 4), (2, 4), (3, 4), (1, 2, 3, 4)):
        assert energies(settings, *ends) == straight
    without = energies(dataclasses.replace(settings, proposals=0), 4)
    assert straight[:2] == without[:2]
    assert straight[2][1] != without[2][1]
    for positive, negative, loss in straight[2:]:  # without the penalty
        assert loss == pytest.approx(positive - negative, rel=1e-5)
    assert straight[1][2] != pytest.approx(straight[1][0] - straight[1][1], rel=1e-5)


SMALL = {'iterations': 6, 'log_interval': 1, 'snapshot_interval': 0, 'figure_interval': 0}


def trained(settings, build_models, draw_data):
    state = training_state.build_state(settings, build_models, draw_data, chainer.get_device('@numpy'))
    go_on(state, draw_data, settings, settings.iterations)
    return state


class NoisyGenerator(toy.GenerativeModel):
    def forward(self, z):
        return super().forward(noise.add_noise(F.dropout(z, 0.2), 0.1))


def test_a_generator_with_noise_is_finished():
    """The first layer's statistics are those of z with noise; the same z is scored as without."""
    settings = ToySettings(**SMALL, n_hidden=8, start_size=20)

    def build(settings, rng):
        weight = chainer.initializers.Normal(0.05, rng=rng)
        return toy.build_models(settings, rng)[0], NoisyGenerator(settings.n_latent, settings.n_hidden, weight)
    state = trained(settings, build, GaussianMixture().sample)
    _, finished, z, x, _ = training_state.finish(state, settings)
    numpy.testing.assert_array_equal(x, training_state.finish(state, settings)[3])
    assert z.shape == (2500, settings.n_latent)
    variance = (1 / 3) / 0.8 + 0.1 ** 2  # of one number of z
    numpy.testing.assert_allclose(
        finished.bn1.avg_var, variance * (finished.l1.W.array ** 2).sum(axis=1), rtol=0.1)


def test_averaged_energies_have_statistics_of_their_own():
    """Of data and samples, one half each, under the averaged weights; not those of the weights that came last."""
    settings = dataclasses.replace(
        PRESETS['mnist']['batch_normalized_energy'].settings, **SMALL, averaged=True, batchsize=30,
        energy_learning_rate=0.02, population_batches=60)

    def draw_data(n, rng):
        return rng.random((n, 784), dtype=numpy.float32)
    state = trained(settings, tasks.MNIST.build_models, draw_data)
    energy_model, generative_model, _, x, _ = training_state.finish(state, settings, draw_data)
    with chainer.no_backprop_mode(), chainer.using_config('train', False):
        h = energy_model.feature_extractor[0].l(numpy.concatenate([draw_data(2500, numpy.random.default_rng(0)), x]))
    means = h.array.reshape(2, 2500, -1).mean(axis=1).mean(axis=0)
    deviation = h.array.std()
    of_last = sampling.batch_normalizations(state.models[0])[0].avg_mean
    assert abs(sampling.batch_normalizations(energy_model)[0].avg_mean - means).max() < 0.1 * deviation
    assert abs(of_last - means).max() > 0.3 * deviation
    with pytest.raises(ValueError, match='give draw_data'):
        training_state.finish(state, settings)


@pytest.mark.skipif(numpy.__version__ < '2', reason='NumPy 1 makes float64 of float32 without axes, CuPy does not')
def test_a_summary_on_a_device_is_chainers(device, tmp_path, rng):
    """Means and what a snapshot holds, also after it was loaded, and of other names later on."""
    def observation(*names):
        return {name: device.send(numpy.array(rng.normal(), dtype=numpy.float32)) for name in names}
    observations = [observation(*names) for names in ('ab', 'ab', 'abc', 'c')]
    expected, summary = chainer.DictSummary(), chainer.DictSummary()
    for observed in observations[:2]:
        expected.add(observed)
        add_at_once(summary, observed, device)
    chainer.serializers.save_npz(tmp_path / 'summary.npz', summary)
    summary = chainer.DictSummary()
    chainer.serializers.load_npz(tmp_path / 'summary.npz', summary)
    for observed in observations[2:]:
        expected.add(observed)
        add_at_once(summary, observed, device)
    found = arrays_of(summary)
    assert found.keys() == arrays_of(expected).keys()
    for name, value in arrays_of(expected).items():
        numpy.testing.assert_array_equal(chainer.cuda.to_cpu(found[name]), chainer.cuda.to_cpu(value), err_msg=name)
    for name, mean in expected.compute_mean().items():
        assert float(summary.compute_mean()[name]) == float(mean)
