"""The state of a run: every published setting trains, and goes on from a snapshot to the same bits."""

import dataclasses

import chainer
import numpy
import pytest

from ddgm import training
from ddgm.networks import images, mnist, toy
from ddgm.presets import PRESETS
from ddgm.runs import run_folder, training_state
from ddgm.runs.command_line import Request

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

    def arrays(state):
        saved = {}
        chainer.serializers.DictionarySerializer(saved).save(state)
        return saved
    folder = run_folder.open_run(request)
    straight, split, resumed = build(), build(), build()
    train(straight, 5)
    train(split, 2)
    folder.log.keep(0)
    folder.save_snapshot(split)
    assert folder.load_snapshot(resumed) == []
    assert resumed.iteration == 2
    train(resumed, 5)
    expected, actual = arrays(straight), arrays(resumed)
    assert expected.keys() == actual.keys()
    assert len(expected) > 40
    for name in expected:
        numpy.testing.assert_array_equal(
            chainer.cuda.to_cpu(actual[name]), chainer.cuda.to_cpu(expected[name]), err_msg=name)
