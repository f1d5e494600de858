"""The state of a run: every published setting trains, and goes on from a snapshot to the same bits."""

import dataclasses

import chainer
import numpy
import pytest

from ddgm import training
from ddgm.networks import images, mnist, toy
from ddgm.presets import PRESETS, ToySettings
from ddgm.runs import run_folder, training_state
from ddgm.runs.command_line import Request
from ddgm.support.serialization import arrays_of

BUILD = {
    'gaussian_mixture': toy.build_models, 'swiss_roll': toy.build_models, 'mnist': mnist.build_models,
    'images': images.build_models}
SHAPE = {'gaussian_mixture': (2,), 'swiss_roll': (2,), 'mnist': (784,), 'images': (3, 64, 64)}


@pytest.mark.parametrize(('task', 'preset'), [(task, preset) for task in PRESETS for preset in PRESETS[task]])
def test_every_preset_goes_on_to_the_same_bits(task, preset, tmp_path, device):
    """Weights and their start from data, running statistics, noise, both optimizers, the order of the updates."""
    changes = {'batchsize': 6, 'start_size': 12, **({'width': 0.02} if task == 'images' else {})}
    settings = dataclasses.replace(PRESETS[task][preset].settings, **changes)
    request = Request(task=task, out=str(tmp_path), preset=preset, data='somewhere')

    def draw_data(n, rng):
        return rng.random((n, *SHAPE[task]), dtype=numpy.float32)

    def build():
        return training_state.build_state(settings, BUILD[task], draw_data, device)

    def train(state, iterations):
        for iteration, losses in training.train(
                state.energy_optimizer, state.generator_optimizer, draw_data, settings.batchsize, settings.seed,
                state.iteration, iterations, settings.generator_first):
            state.iteration = iteration
            state.summary.add(losses)
            assert all(numpy.isfinite(float(loss)) for loss in losses.values())

    folder = run_folder.open_run(request)
    straight, split, resumed = build(), build(), build()
    train(straight, 5)
    train(split, 2)
    folder.log.keep(0)
    folder.save_snapshot(split)
    assert folder.load_snapshot(resumed) == []
    assert resumed.iteration == 2
    train(resumed, 5)
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
        found = []
        for end in ends:
            until_end = dataclasses.replace(settings, iterations=end)
            for iteration, losses in training_state.iterations_of(state, draw_data, until_end):
                state.iteration = iteration
                found.append([float(losses['energy/' + name]) for name in ('positive', 'negative', 'loss')])
        return found
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
