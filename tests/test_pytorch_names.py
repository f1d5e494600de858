"""Weights under PyTorch's names: every layer there and back, and errors that say all that does not fit."""

import dataclasses

import chainer
import chainer.functions as F
import chainer.links as L
import numpy
import pytest
from chainer import initializers

from ddgm import links, training
from ddgm.evaluation import sampling, tasks
from ddgm.fast import links as fast_links
from ddgm.presets import PRESETS
from ddgm.support.errors import UsageError
from ddgm.support.serialization import arrays_of
from ddgm.weights import pytorch_names

CASES = [(task, preset) for task in ('gaussian_mixture', 'mnist', 'images') for preset in PRESETS[task]]


def build(task, preset, rng):
    settings = PRESETS[task][preset].settings
    if task == 'images':
        settings = dataclasses.replace(settings, width=0.03)
    return tasks.build_models(task, settings, rng)


def assert_same(arrays, others):
    """Assert that two dicts hold the same arrays."""
    assert arrays.keys() == others.keys()
    for name in arrays:
        numpy.testing.assert_array_equal(arrays[name], others[name], err_msg=name)


def inputs_of(models, task, n, rng):
    shape = {'gaussian_mixture': (2,), 'mnist': (784,), 'images': (3, 64, 64)}[task]
    return rng.random((n, *shape), dtype=numpy.float32), models[1].draw_latent(n, rng)


def started(task, preset, rng):
    """Both models after a batch has passed them in training: nothing is at its initial value by chance."""
    models = build(task, preset, rng)
    for model, inputs in zip(models, inputs_of(models, task, 20, rng)):
        training.start_from_batch(model, inputs, rng)
        for parameter in model.params():
            parameter.array += rng.normal(0, 0.01, parameter.shape).astype(numpy.float32)
    return models


@pytest.mark.parametrize(('task', 'preset'), CASES)
def test_there_and_back(task, preset, rng, device):
    """Into models whose weight normalization has seen no data; to the same bits."""
    models, others = started(task, preset, rng), build(task, preset, rng)
    for model, other, inputs in zip(models, others, inputs_of(models, task, 6, rng)):
        exported = pytorch_names.export(model)
        other.to_device(device)
        pytorch_names.load(other, exported)
        assert_same(pytorch_names.export(other), exported)
        other.to_device('@numpy')
        numpy.testing.assert_array_equal(
            sampling.in_test_mode(model, inputs, 100), sampling.in_test_mode(other, inputs, 100))
        assert len(exported) == sum(len(link._params | link._persistent) for link in model.links())


def test_names_and_shapes_of_the_plane(rng):
    energy_model, generative_model = (
        {name: (array.shape, str(array.dtype)) for name, array in pytorch_names.export(model).items()}
        for model in started('gaussian_mixture', 'default', rng))
    assert energy_model == {
        'b': ((2,), 'float32'),
        'feature_extractor.l1.parametrizations.weight.original0': ((128, 1), 'float32'),
        'feature_extractor.l1.parametrizations.weight.original1': ((128, 2), 'float32'),
        'feature_extractor.l1.bias': ((128,), 'float32'),
        'feature_extractor.l2.parametrizations.weight.original0': ((128, 1), 'float32'),
        'feature_extractor.l2.parametrizations.weight.original1': ((128, 128), 'float32'),
        'feature_extractor.l2.bias': ((128,), 'float32'),
        'experts.parametrizations.weight.original0': ((4, 1), 'float32'),
        'experts.parametrizations.weight.original1': ((4, 128), 'float32'),
        'experts.bias': ((4,), 'float32'),
    }
    batch_normalization = {
        'weight': ((128,), 'float32'), 'bias': ((128,), 'float32'), 'running_mean': ((128,), 'float32'),
        'running_var': ((128,), 'float32'), 'num_batches_tracked': ((), 'int64')}
    assert generative_model == {
        'l1.weight': ((128, 4), 'float32'), 'l1.bias': ((128,), 'float32'),
        'l2.weight': ((128, 128), 'float32'), 'l2.bias': ((128,), 'float32'),
        'l3.weight': ((2, 128), 'float32'), 'l3.bias': ((2,), 'float32'),
        **{'{}.{}'.format(bn, name): value for bn in ('bn1', 'bn2') for name, value in batch_normalization.items()},
    }


def test_shapes_of_convolutions(rng):
    """PyTorch has (out, in, k, k), of transposed ones (in, out, k, k), and one norm for each output channel."""
    model = chainer.Sequential(
        links.WeightNormalizedConvolution2D(3, 5, 4, 2, 1, initializers.Normal(rng=rng)),
        links.WeightNormalizedDeconvolution2D(5, 7, 4, 2, 1, initializers.Normal(rng=rng)),
        fast_links.Deconvolution2D(7, 2, 4, 2, 1))
    model(rng.random((4, 3, 8, 8), dtype=numpy.float32))
    shapes = {name: array.shape for name, array in pytorch_names.export(model).items()}
    assert shapes['0.parametrizations.weight.original0'] == (5, 1, 1, 1)
    assert shapes['0.parametrizations.weight.original1'] == (5, 3, 4, 4)
    assert shapes['1.parametrizations.weight.original0'] == (1, 7, 1, 1)
    assert shapes['1.parametrizations.weight.original1'] == (5, 7, 4, 4)
    assert shapes['2.weight'] == (7, 2, 4, 4)
    wrong = pytorch_names.export(model)
    wrong['1.parametrizations.weight.original0'] = numpy.ones((5, 1, 1, 1))  # PyTorch's own dim=0
    with pytest.raises(UsageError, match=r'original0 is \(5, 1, 1, 1\), where \(1, 7, 1, 1\) is needed'):
        pytorch_names.load(model, wrong)


def test_exported_arrays_are_copies(rng):
    _, model = started('gaussian_mixture', 'default', rng)
    before = model.l1.W.array.copy()
    for array in pytorch_names.export(model).values():
        array[...] = 7
    numpy.testing.assert_array_equal(model.l1.W.array, before)
    assert (model.bn1.avg_var != 7).all()


def test_what_is_refused(rng):
    """Weight normalization that was not started, a layer that PyTorch lacks, a model without arrays."""
    energy_model, _ = build('gaussian_mixture', 'default', rng)
    with pytest.raises(ValueError, match='first batch'):
        pytorch_names.export(energy_model)
    with pytest.raises(ValueError, match='EmbedID'):
        pytorch_names.export(chainer.Sequential(L.EmbedID(3, 2)))
    with pytest.raises(UsageError, match='^Sequential has no arrays'):
        pytorch_names.load(chainer.Sequential(F.relu), {'l1.weight': numpy.ones((3, 2))})


def test_all_that_does_not_fit_is_listed(rng):
    """In one line, and the model stays as it was."""
    _, model = started('gaussian_mixture', 'default', rng)
    before = pytorch_names.export(model)
    wrong = pytorch_names.export(model)
    del wrong['l1.weight'], wrong['bn2.running_var']
    wrong.update({
        'l4.weight': numpy.zeros(3), 'l2.weight': numpy.zeros((3, 128)), 'l2.bias': wrong['l2.bias'].astype(int),
        'l3.bias': numpy.array([1, numpy.nan]), 'bn1.running_var': -wrong['bn1.running_var'],
        'l3.weight': numpy.full((2, 128), 1e300), 'bn1.bias': numpy.zeros(128)})
    with pytest.raises(UsageError) as caught:
        pytorch_names.load(model, wrong)
    message = str(caught.value)
    assert '\n' not in message
    for part in (
            'missing: bn2.running_var, l1.weight', 'extra: l4.weight',
            'l2.weight is (3, 128), where (128, 128) is needed', 'l2.bias is of type int64', 'l3.bias is not finite',
            'l3.weight has numbers beyond float32', 'bn1.running_var is negative'):
        assert part in message
    assert 'bn1.bias' not in message
    assert_same(pytorch_names.export(model), before)


def test_other_number_types_and_old_names(rng):
    """float16 and float64 are converted; torch.nn.utils.weight_norm said weight_g and weight_v."""
    energy_model, generative_model = started('gaussian_mixture', 'default', rng)
    other_energy, other_generative = build('gaussian_mixture', 'default', rng)
    old = {
        name.replace('parametrizations.weight.original0', 'weight_g').replace(
            'parametrizations.weight.original1', 'weight_v'): array.astype(numpy.float64)
        for name, array in pytorch_names.export(energy_model).items()}
    assert 'experts.weight_g' in old
    pytorch_names.load(other_energy, old)
    x = rng.normal(size=(5, 2)).astype(numpy.float32)
    numpy.testing.assert_array_equal(
        sampling.energy_function(energy_model)(x), sampling.energy_function(other_energy)(x))
    assert other_energy.experts.g.dtype == numpy.float32

    half = {
        name: array if array.dtype.kind == 'i' else array.astype(numpy.float16)
        for name, array in pytorch_names.export(generative_model).items() if not name.startswith('bn1.num')}
    pytorch_names.load(other_generative, half)
    numpy.testing.assert_allclose(other_generative.l2.W.array, generative_model.l2.W.array, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('eps', [1e-5, 2e-5, 1e-3])
def test_eps_of_the_other_side(eps, rng):
    """(x − mean)/√(var + eps) is the same in test mode, whichever eps the numbers were made with."""
    _, model = started('gaussian_mixture', 'default', rng)
    exported = pytorch_names.export(model)
    exported['bn1.running_var'][:3] = [0, 1e-6, 1]
    exported['bn2.running_var'][:] = 1e-4  # where eps counts
    pytorch_names.load(model, exported, eps)
    z = model.draw_latent(5, rng)

    def normalized(h, name):
        deviation = numpy.sqrt(exported[name + '.running_var'].astype(numpy.float64) + eps)
        return numpy.maximum(
            (h - exported[name + '.running_mean']) / deviation * exported[name + '.weight'] + exported[name + '.bias'],
            0)

    def linear(h, name):
        return h @ exported[name + '.weight'].T.astype(numpy.float64) + exported[name + '.bias']
    expected = linear(normalized(linear(normalized(linear(z, 'l1'), 'bn1'), 'l2'), 'bn2'), 'l3')
    numpy.testing.assert_allclose(sampling.sample(model, z), expected, rtol=1e-4, atol=1e-4 * abs(expected).max())
    # and so it travels on: a variance of 0 has become less than that
    _, other = started('gaussian_mixture', 'default', rng)
    for arrays in (pytorch_names.export(model), arrays_of(model)):
        pytorch_names.load(other, arrays)
        numpy.testing.assert_array_equal(sampling.sample(other, z), sampling.sample(model, z))


def test_batch_normalization_of_others(rng):
    """Chainer's own link, whatever its eps; statistics of images too."""
    model = chainer.Sequential(L.Convolution2D(3, 4, 3), L.BatchNormalization(4, eps=1e-3), F.relu, L.Linear(144, 2))
    x = rng.random((5, 3, 8, 8), dtype=numpy.float32)
    model(x)
    # A torch.nn.Sequential counts the function too.
    assert {name.split('.')[0] for name in pytorch_names.export(model)} == {'0', '1', '3'}
    other = chainer.Sequential(L.Convolution2D(3, 4, 3), L.BatchNormalization(4, eps=1e-4), F.relu, L.Linear(144, 2))
    other(x)
    pytorch_names.load(other, pytorch_names.export(model), eps=1e-3)
    numpy.testing.assert_allclose(
        sampling.in_test_mode(other, x, 5), sampling.in_test_mode(model, x, 5), rtol=1e-4, atol=1e-5)
