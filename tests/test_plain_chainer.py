"""The example in plain Chainer: that it computes what this project computes, and that it runs by itself."""

import importlib.util
import pickle
import subprocess
import sys

import chainer
import numpy
import pytest
from conftest import HANGS_AFTER, ROOT
from PIL import Image
from test_training import run

from ddgm import training
from ddgm.data.distributions import GaussianMixture
from ddgm.networks.toy import build_models
from ddgm.presets import PRESETS

SETTINGS = PRESETS['gaussian_mixture']['default'].settings
SCRIPT = ROOT / 'examples' / 'plain_chainer.py'
ITERATIONS = 20


def import_example():
    spec = importlib.util.spec_from_file_location('example_in_plain_chainer', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


example = import_example()


def both_pairs():
    """The models of this project and the example's: from the same V, each side starts g and b from the same data."""
    rng = numpy.random.default_rng(0)
    ours, theirs = build_models(SETTINGS, rng), example.build_models(numpy.random.default_rng(1))
    for source, target in zip(ours, theirs):
        target.copyparams(source)
    x = example.draw_data(SETTINGS.start_size, rng).astype(numpy.float64)
    training.start_from_batch(ours[0], x, rng)
    with chainer.no_backprop_mode():
        theirs[0](x)
    return ours, theirs


def given():
    """x⁺, and z of the energy model's update and of the generator's, for each iteration."""
    rng = numpy.random.default_rng(2)
    return [
        tuple(array.astype(numpy.float64) for array in (
            example.draw_data(SETTINGS.batchsize, rng), example.draw_latent(SETTINGS.batchsize, rng),
            example.draw_latent(SETTINGS.batchsize, rng)))
        for _ in range(ITERATIONS)]


def our_losses(models, batches, monkeypatch):
    _, generative_model = models
    data, latent = iter([x for x, _, _ in batches]), iter([z for _, *both in batches for z in both])
    monkeypatch.setattr(generative_model, 'draw_latent', lambda n, rng: next(latent))
    return [{name: float(loss) for name, loss in observation.items()} for observation in run(
        models, draw_data=lambda n, rng: next(data), batchsize=SETTINGS.batchsize, iterations=len(batches))]


def their_losses(models, batches):
    energy_model, generative_model = models
    energy_optimizer, generator_optimizer = map(example.make_optimizer, models)
    observations = [
        {**example.update_energy_model(energy_optimizer, generative_model, x_positive, energy_z),
         **example.update_generative_model(generator_optimizer, energy_model, generator_z)}
        for x_positive, energy_z, generator_z in batches]
    return [{name: float(loss) for name, loss in observation.items()} for observation in observations]


def test_the_losses_are_those_of_this_project(monkeypatch):
    """In float64, where they differ by 5e-15 of those of more than a nat: some twenty units in the last place."""
    with chainer.using_config('dtype', numpy.dtype(numpy.float64)):
        ours, theirs = both_pairs()
        batches = given()
        expected, losses = our_losses(ours, batches, monkeypatch), their_losses(theirs, batches)
    assert len(losses) == len(expected) == ITERATIONS
    for iteration, (one, other) in enumerate(zip(losses, expected), 1):
        assert one.keys() == other.keys()
        for name in one:
            assert one[name] == pytest.approx(other[name], rel=1e-13, abs=1e-13), (iteration, name)


def test_data_is_the_mixture():
    data = [draw(1000, numpy.random.default_rng(0)) for draw in (example.draw_data, GaussianMixture().sample)]
    assert data[0].dtype == numpy.float32
    numpy.testing.assert_allclose(*data, rtol=1e-6, atol=1e-6)


def test_sizes_are_those_of_the_default_preset():
    for name in ('n_latent', 'n_hidden', 'n_experts', 'batchsize', 'start_size'):
        assert getattr(example, name.upper()) == getattr(SETTINGS, name), name


def test_energy_step_is_cut_off_from_the_generator():
    rng = numpy.random.default_rng(0)
    energy_model, generative_model = example.build_models(rng)
    generative_model.cleargrads()
    x_positive, z = example.draw_data(10, rng), example.draw_latent(10, rng)
    example.update_energy_model(example.make_optimizer(energy_model), generative_model, x_positive, z)
    assert all(parameter.grad is None for parameter in generative_model.params())


@pytest.mark.slow
def test_the_script_runs_by_itself(tmp_path):
    """From another folder: it finds this project and draws both clouds."""
    process = subprocess.run(
        [sys.executable, str(SCRIPT), '--iterations', '5', '--out', 'new/picture.png'], cwd=tmp_path,
        capture_output=True, text=True, timeout=HANGS_AFTER)
    assert (process.returncode, process.stderr, process.stdout) == (0, '', '')
    with Image.open(tmp_path / 'new' / 'picture.png') as image:
        colours = {colour for _, colour in image.convert('RGB').getcolors(2 ** 24)}
    assert {(0xbe, 0xc3, 0xc7), (0xe8, 0x4c, 0x3d)} <= colours


def test_a_line_each_500_iterations(tmp_path, monkeypatch, capsys):
    for name, losses in (
            ('energy_model', {'energy/positive': 1.5, 'energy/negative': 2.5}),
            ('generative_model', {'generator/entropy': 3.5})):
        monkeypatch.setattr(example, 'update_' + name, lambda *arguments, losses=losses: dict(losses))
    example.main(['--iterations', '1000', '--out', str(tmp_path / 'picture.png')])
    assert [' '.join(line.split()) for line in capsys.readouterr().out.splitlines()] == [
        iteration + ' energy of data 1.500, of samples 2.500, entropy 3.500' for iteration in ('500', '1000')]


def test_the_seed_decides_the_picture(tmp_path):
    """Nothing is drawn from NumPy's global generator."""
    before, pictures = pickle.dumps(numpy.random.get_state()), []
    for seed in (0, 0, 1):
        path = tmp_path / 'picture.png'
        example.main(['--iterations', '3', '--seed', str(seed), '--out', str(path)])
        with Image.open(path) as image:
            pictures.append(image.tobytes())
    assert pictures[0] == pictures[1] != pictures[2]
    assert pickle.dumps(numpy.random.get_state()) == before
