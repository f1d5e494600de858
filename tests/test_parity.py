"""PyTorch computes the same: energies, samples, gradients and iterations of every preset's models.

Number by number that is in float64, where only rounding tells the two apart; a whole run of the script is in float32.
The other side is torch_twin.py, which shares no code with ddgm; weights go there and back as a ``state_dict``.
"""

import csv
import dataclasses
import functools
import json
import pathlib
import re
import typing

import chainer
import numpy
import pytest
from conftest import ROOT
from test_pytorch_names import assert_same

from benchmarks.results import beside_pytorch
from benchmarks.speed.sides import problem
from ddgm import objectives, training
from ddgm.evaluation import sampling, tasks
from ddgm.fast.links import BatchNormalization
from ddgm.presets import PRESETS
from ddgm.runs import training_state
from ddgm.studies import study
from ddgm.support.files import read_arrays
from ddgm.weights import pytorch_names

torch = pytest.importorskip('torch', reason='PyTorch is not installed: make test-parity')

import torch_twin  # noqa: E402  (which needs it)

SMALL_DIGITS = {'batchsize': 16, 'start_size': 500}
SMALL_IMAGES = {'batchsize': 6, 'start_size': 32, 'width': 0.125}


class Case(typing.NamedTuple):
    """A preset, and what is changed of it."""

    task: str
    preset: str
    changes: dict


CASES = [
    Case('gaussian_mixture', 'default', {}),
    Case('mnist', 'post', SMALL_DIGITS),
    # With seed 0 the 1e-6 that PyTorch adds to a norm before it clips becomes 4e-4, with 2 it becomes 1e-6.
    Case('mnist', 'grey', {**SMALL_DIGITS, 'seed': 2}),
    *(Case('mnist', preset, SMALL_DIGITS) for preset in (
        'batch_normalized_energy', 'weight_normalized_energy', 'last_commit')),
    *(Case('images', preset, SMALL_IMAGES) for preset in (
        'post', 'post_softplus', 'weight_normalized', 'last_commit')),
    Case('images', 'author', {**SMALL_IMAGES, 'batchsize': 4, 'width': 0.05}),
]
every_case = pytest.mark.parametrize('case', CASES, ids=lambda case: '{}-{}'.format(case.task, case.preset))


@pytest.fixture(autouse=True)
def dtype(request):
    """Of weights and data, but for a whole run's."""
    name = 'float32' if 'tmp_path' in request.fixturenames else 'float64'
    with chainer.using_config('dtype', numpy.dtype(name)):
        yield


# ---- the same models twice

def settings_of(case):
    return dataclasses.replace(PRESETS[case.task][case.preset].settings, **case.changes)


def data_of(case):
    """``draw_data`` for :func:`ddgm.training.train`, in the present number type."""
    return lambda n, rng: problem.draw_data(case.task, settings_of(case), n, rng).astype(chainer.config.dtype)


def build_models(case, settings, rng):
    """Our models as the preset says, for the present number type."""
    energy_model, generative_model = tasks.build_models(case.task, settings, rng)
    if case.task == 'images':
        # With the preset's weights hardly anything of x gets through networks as narrow as these.
        for model in (energy_model, generative_model):
            for parameter in model.params():
                if parameter.name in ('W', 'V'):
                    parameter.array /= settings.width ** 0.5
    draw_latent = generative_model.draw_latent
    generative_model.draw_latent = lambda n, rng: draw_latent(n, rng).astype(chainer.config.dtype)
    return energy_model, generative_model


def start(case):
    """Our models before the first iteration and their optimizers."""
    return training_state.build_state(
        settings_of(case), functools.partial(build_models, case), data_of(case), chainer.get_device('@numpy'))


def twins_of(case, models):
    """The twin of each model, with its weights."""
    twins = torch_twin.build_models(case.task, settings_of(case))
    for twin, model in zip(twins, models):
        twin.to(getattr(torch, next(model.params()).dtype.name))
        arrays = pytorch_names.export(model)
        twin.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()}, strict=True)
    return twins


def arrays_of(twin):
    """Its ``state_dict``."""
    return {name: tensor.numpy() for name, tensor in twin.state_dict().items()}


def stirred_pair(case):
    """Both models and their twins, with weights and statistics that are unlike those of any start."""
    models, rng = start(case).models, numpy.random.default_rng(1)
    for model in models:
        for parameter in model.params():
            parameter.array *= rng.uniform(0.8, 1.2, size=parameter.shape)
            if parameter.ndim == 1:
                parameter.array += 0.2 * rng.standard_normal(parameter.shape)
        for link in model.links():
            if isinstance(link, BatchNormalization):
                link.avg_mean[...] = 0.3 * rng.standard_normal(link.avg_mean.shape)
                link.avg_var[...] = rng.uniform(0.5, 2, size=link.avg_var.shape)
    return models, twins_of(case, models)


def inputs_of(case, model):
    """Data and z of one batch."""
    settings, rng = settings_of(case), numpy.random.default_rng(2)
    return data_of(case)(settings.batchsize, rng), model.draw_latent(settings.batchsize, rng)


def energies_of(twin, x):
    """In test mode."""
    with torch.no_grad():
        return twin.eval()(torch.from_numpy(x)).numpy()


samples_of = energies_of  # of the other twin, from z


def noise_source():
    return numpy.random.default_rng(3)


def assert_close(ours, theirs, tolerance, name=''):
    """No number may differ by more than ``tolerance`` times the largest of all."""
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    assert abs(ours - theirs).max() <= tolerance * abs(theirs).max(), name


# ---- energies, samples, gradients

@every_case
@pytest.mark.parametrize('train', [True, False], ids=['train', 'test'])
def test_energies_and_samples(case, train):
    models, twins = stirred_pair(case)
    x, z = inputs_of(case, models[1])
    for twin in twins:
        twin.train(train)
    with chainer.using_config('train', train), chainer.using_config('noise_generator', noise_source()), torch.no_grad():
        assert_close(models[0](x).array, twins[0](torch.from_numpy(x), torch_twin.Noise(noise_source())).numpy(), 1e-9)
        assert_close(models[1](z).array, twins[1](torch.from_numpy(z)).numpy(), 1e-9)
    for model, twin in zip(models, twins):
        assert_same_statistics(model, twin, 1e-9)


@every_case
def test_gradients(case):
    """Of both losses in the weights, and of E in x."""
    (energy_model, generative_model), (energy_twin, generative_twin) = stirred_pair(case)
    x, z = inputs_of(case, generative_model)
    x, x_of_twin = chainer.Variable(x), torch.from_numpy(x).requires_grad_()
    generative_model.cleargrads()
    with chainer.using_config('noise_generator', noise_source()):
        x_negative = generative_model(z)
        objectives.generator_loss(
            objectives.mean_energy(energy_model(x_negative)), generative_model.entropy()).backward()
        energy_model.cleargrads()
        objectives.energy_model_loss(
            objectives.mean_energy(energy_model(x)), objectives.mean_energy(energy_model(x_negative.array))).backward()

    noise_of_twin = torch_twin.Noise(noise_source())
    x_negative = generative_twin(torch.from_numpy(z))
    (energy_twin(x_negative, noise_of_twin).mean() - torch_twin.entropy(generative_twin)).backward()
    energy_twin.zero_grad()
    (energy_twin(x_of_twin, noise_of_twin).mean() - energy_twin(x_negative.detach(), noise_of_twin).mean()).backward()
    assert_same_gradients(energy_model, energy_twin)
    assert_same_gradients(generative_model, generative_twin)
    assert_close(x.grad, x_of_twin.grad.numpy(), 1e-9)


def assert_same_gradients(model, twin):
    """Those of biases before a BatchNormalization, which subtracts them again, are rounding in both."""
    gradients = {name: parameter.grad.numpy() for name, parameter in twin.named_parameters()}
    rounding = 1e-12 * max(abs(gradient).max() for gradient in gradients.values())
    for parameter in model.params():
        parameter.array = parameter.grad
    ours = pytorch_names.export(model)
    assert gradients.keys() <= ours.keys()
    for name, gradient in gradients.items():
        numpy.testing.assert_allclose(
            ours[name], gradient, rtol=0, atol=rounding + 1e-9 * abs(gradient).max(), err_msg=name)


def assert_same_statistics(model, twin, tolerance):
    ours, theirs = pytorch_names.export(model), arrays_of(twin)
    for name in ours:
        if name.endswith(('running_mean', 'running_var')):
            assert_close(ours[name], theirs[name], tolerance, name=name)


# ---- training

def train_ours(case, state, iterations):
    """The six losses of each iteration."""
    settings = settings_of(case)
    return [
        {name: float(value) for name, value in observation.items()}
        for _, observation in training.train(
            state.energy_optimizer, state.generator_optimizer, draw_data=data_of(case), batchsize=settings.batchsize,
            seed=settings.seed, iterations=iterations, generator_first=settings.generator_first)]


def train_twins(case, twins, iterations):
    """The same of the twins."""
    settings = settings_of(case)
    return list(torch_twin.train(
        *twins, settings, data_of(case), functools.partial(training.random_generator, settings.seed), iterations))


@every_case
def test_iterations(case):
    """A hundred in the plane, twenty of digits and images: apart mainly by the 1e-6 that PyTorch clips by."""
    iterations = 100 if case.task == 'gaussian_mixture' else 20
    state = start(case)
    twins = twins_of(case, state.models)
    ours, theirs = train_ours(case, state, iterations), train_twins(case, twins, iterations)
    assert [set(losses) for losses in ours] == [set(losses) for losses in theirs]
    assert len(ours[0]) == 6
    for losses, others in zip(ours, theirs):
        for name, loss in losses.items():
            assert loss == pytest.approx(others[name], rel=1e-5, abs=1e-5), name
    for model, twin in zip(state.models, twins):
        assert_same_statistics(model, twin, 1e-4)
    z = state.models[1].draw_latent(100, numpy.random.default_rng(4))
    assert_close(sampling.sample(state.models[1], z), samples_of(twins[1], z), 1e-4)
    # The way back, and there again to the bit.
    loaded = fresh_models(case)
    for model, twin in zip(loaded, twins):
        arrays = arrays_of(twin)
        pytorch_names.load(model, arrays)
        again = pytorch_names.export(model)
        assert_same(again, arrays)
        assert all(again[name].dtype == array.dtype for name, array in arrays.items())
    assert_same_in_test_mode(case, loaded, twins)


def fresh_models(case):
    """Our models with other weights, before weight normalization has seen a batch."""
    return build_models(case, settings_of(case), numpy.random.default_rng(5))


@every_case
def test_twin_with_the_eps_of_pytorch(case):
    """Where variances are so small that eps shows."""
    models, _ = stirred_pair(case)
    for model in models:
        for link in model.links():
            if isinstance(link, BatchNormalization):
                link.avg_var *= 1e-4
                link.gamma.array *= 1e-2  # so that what follows stays as large as it was
    twins = twins_of(case, models)
    for twin in twins:
        for module in twin.modules():
            if isinstance(module, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
                module.eps = 1e-5
    _, z = inputs_of(case, models[1])
    assert abs(sampling.sample(models[1], z) - samples_of(twins[1], z)).max() > 1e-3
    loaded = fresh_models(case)
    for model, twin in zip(loaded, twins):
        pytorch_names.load(model, arrays_of(twin), eps=1e-5)
    assert_same_in_test_mode(case, loaded, twins)


def assert_same_in_test_mode(case, models, twins):
    x, z = inputs_of(case, models[1])
    assert_close(sampling.in_test_mode(models[0], x, len(x)), energies_of(twins[0], x), 1e-9)
    assert_close(sampling.sample(models[1], z), samples_of(twins[1], z), 1e-9)


# ---- docs/comparing.md

def test_whole_runs(tmp_path):
    """Of the script and of PyTorch: the same losses for a hundred iterations, and both are scored."""
    run = study.run_of(beside_pytorch, 'gaussian_mixture', 0, 100, {}, {}, tmp_path)
    found = beside_pytorch.measure(run)
    folder = run.path.with_suffix('')
    ours, = json.loads((folder / 'log').read_text())
    with open(str(folder) + '-pytorch.csv', newline='') as file:
        theirs, = csv.DictReader(file)
    assert ours['iteration'] == int(theirs.pop('iteration')) == 100
    assert len(theirs) == 6
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(float(value), abs=1e-4)
    table = beside_pytorch.tables({'gaussian_mixture': [found]})['gaussian_mixture']
    assert [row[0] for row in table['rows']] == ['`{}`'.format(name) for name in beside_pytorch.SHOWN]
    samples = pathlib.Path(str(folder) + '-pytorch.npy')
    before = samples.stat().st_mtime_ns
    assert beside_pytorch.measure(run) == found  # nothing is trained again
    assert samples.stat().st_mtime_ns == before


def test_lines_for_pytorch(tmp_path, monkeypatch):
    """They load a run's weights in PyTorch and write them back."""
    page = (ROOT / 'docs' / 'comparing.md').read_text(encoding='utf-8')
    lines, = (block for block in re.findall(r'```python\n(.*?)```', page, re.DOTALL) if 'import torch' in block)
    (_, generative_model), _ = stirred_pair(CASES[0])
    arrays = pytorch_names.export(generative_model)
    (tmp_path / 'torch').mkdir()
    numpy.savez(tmp_path / 'torch' / 'generative_model.npz', **arrays)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(lines, 'comparing.md', 'exec'), names)
    z = inputs_of(CASES[0], generative_model)[1]
    assert_close(sampling.sample(generative_model, z), samples_of(names['generator'], z), 1e-5)
    assert names['samples'].shape == (2500, 2)
    assert_same(read_arrays('torch/generative_model.npz'), arrays)
