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

from ddgm import training
from ddgm.data.toy import GaussianMixture
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


@pytest.fixture(params=[numpy.float32, numpy.float64], ids=lambda dtype: dtype.__name__)
def dtype(request):
    with chainer.using_config('dtype', request.param):
        yield request.param


# Of all losses of all iterations, relative to those of more than a nat.  Only rounding tells the sides apart: the
# largest differences are 3e-6 and 5e-15, some twenty units in the last place.
TOLERANCES = {numpy.float32: 3e-5, numpy.float64: 1e-13}


def both_pairs(dtype):
    """The models of this project and the example's: from the same V, each side starts g and b from the same data."""
    rng = numpy.random.default_rng(0)
    ours, theirs = build_models(SETTINGS, rng), example.build_models(numpy.random.default_rng(1))
    for source, target in zip(ours, theirs):
        target.copyparams(source)
    x = example.draw_data(SETTINGS.start_size, rng).astype(dtype)
    training.start_from_batch(ours[0], x, rng)
    with chainer.no_backprop_mode():
        theirs[0](x)
    return ours, theirs


def given(dtype):
    """x⁺, and z of the energy model's update and of the generator's, for each iteration."""
    rng = numpy.random.default_rng(2)
    return [
        tuple(array.astype(dtype) for array in (
            example.draw_data(SETTINGS.batchsize, rng), example.draw_latent(SETTINGS.batchsize, rng),
            example.draw_latent(SETTINGS.batchsize, rng)))
        for _ in range(ITERATIONS)]


def our_losses(models, batches, monkeypatch):
    _, generative_model = models
    data, latent = iter([x for x, _, _ in batches]), iter([z for _, *both in batches for z in both])
    monkeypatch.setattr(generative_model, 'draw_latent', lambda n, rng: next(latent))
    optimizers = [training.make_optimizer(model) for model in models]
    return [
        {name: float(loss) for name, loss in observation.items()} for _, observation in training.train(
            *optimizers, draw_data=lambda n, rng: next(data), batchsize=SETTINGS.batchsize, seed=0,
            iterations=len(batches))]


def their_losses(models, batches):
    energy_model, generative_model = models
    energy_optimizer, generator_optimizer = map(example.make_optimizer, models)
    observations = [
        {**example.update_energy_model(energy_optimizer, generative_model, x_positive, energy_z),
         **example.update_generative_model(generator_optimizer, energy_model, generator_z)}
        for x_positive, energy_z, generator_z in batches]
    return [{name: float(loss) for name, loss in observation.items()} for observation in observations]


def test_the_losses_are_those_of_this_project(dtype, monkeypatch):
    ours, theirs = both_pairs(dtype)
    batches = given(dtype)
    expected, losses = our_losses(ours, batches, monkeypatch), their_losses(theirs, batches)
    assert len(losses) == len(expected) == ITERATIONS
    for iteration, (one, other) in enumerate(zip(losses, expected), 1):
        assert one.keys() == other.keys()
        for name in one:
            difference = abs(one[name] - other[name]) / max(1, abs(other[name]))
            assert difference < TOLERANCES[dtype], (iteration, name)


def test_weight_normalization_starts_as_in_this_project(dtype):
    (ours, _), (theirs, _) = both_pairs(dtype)
    expected = dict(ours.namedparams())
    for name, parameter in theirs.namedparams():
        assert parameter.dtype == dtype
        numpy.testing.assert_allclose(
            parameter.array, expected[name].array, rtol=TOLERANCES[dtype], atol=TOLERANCES[dtype], err_msg=name)


def test_data_is_the_mixture():
    data = [draw(1000, numpy.random.default_rng(0)) for draw in (example.draw_data, GaussianMixture().sample)]
    assert data[0].dtype == numpy.float32
    numpy.testing.assert_allclose(*data, rtol=1e-6, atol=1e-6)


def test_numbers_are_those_of_the_default_preset():
    for name in ('n_latent', 'n_hidden', 'n_experts', 'batchsize', 'start_size'):
        assert getattr(example, name.upper()) == getattr(SETTINGS, name), name
    energy_model, generative_model = example.build_models(numpy.random.default_rng(0))
    assert energy_model.sigma == SETTINGS.sigma
    for model, learning_rate in (
            (energy_model, SETTINGS.energy_learning_rate), (generative_model, SETTINGS.generator_learning_rate)):
        optimizer = example.make_optimizer(model)
        assert (optimizer.alpha, optimizer.beta1, optimizer.beta2, optimizer.eps) == (
            learning_rate, SETTINGS.beta1, SETTINGS.beta2, SETTINGS.eps)
        # The whole model's gradient is clipped to that norm.
        parameters = [parameter for parameter in model.params() if parameter.is_initialized]
        for parameter in parameters:
            parameter.grad = numpy.full_like(parameter.array, 3)
        optimizer.call_hooks('pre')
        norm = sum((parameter.grad ** 2).sum() for parameter in parameters) ** 0.5
        assert norm == pytest.approx(SETTINGS.gradient_norm, rel=1e-5)


def test_energy_step_is_cut_off_from_the_generator():
    rng = numpy.random.default_rng(0)
    energy_model, generative_model = example.build_models(rng)
    generative_model.cleargrads()
    x_positive, z = example.draw_data(10, rng), example.draw_latent(10, rng)
    example.update_energy_model(example.make_optimizer(energy_model), generative_model, x_positive, z)
    assert all(parameter.grad is None for parameter in generative_model.params())


@pytest.mark.slow
def test_the_script_runs_by_itself(tmp_path):
    """From another folder: it finds this project, prints a line each 500 iterations and draws both clouds."""
    process = subprocess.run(
        [sys.executable, str(SCRIPT), '--iterations', '500', '--out', 'new/picture.png'], cwd=tmp_path,
        capture_output=True, text=True, timeout=HANGS_AFTER)
    assert (process.returncode, process.stderr) == (0, '')
    line, = process.stdout.splitlines()
    assert line.startswith('   500  energy of data ')
    with Image.open(tmp_path / 'new' / 'picture.png') as image:
        colours = {colour for _, colour in image.convert('RGB').getcolors(2 ** 24)}
    assert {(0xbe, 0xc3, 0xc7), (0xe8, 0x4c, 0x3d)} <= colours


def test_the_seed_decides_the_picture(tmp_path, capsys):
    """Nothing is drawn from NumPy's global generator."""
    before, pictures = pickle.dumps(numpy.random.get_state()), []
    for seed in (0, 0, 1):
        path = tmp_path / 'picture.png'
        example.main(['--iterations', '3', '--seed', str(seed), '--out', str(path)])
        with Image.open(path) as image:
            pictures.append(image.tobytes())
    assert pictures[0] == pictures[1] != pictures[2]
    assert pickle.dumps(numpy.random.get_state()) == before
    assert capsys.readouterr().out == ''
