"""The fast functions and links stand in the place of Chainer's: with one line changed every network runs on those."""

import dataclasses
import inspect
import types

import chainer
import numpy
import pytest

from ddgm import training
from ddgm.fast import functions, links
from ddgm.networks import images, mnist, toy
from ddgm.presets import PRESETS

NETWORKS = {'gaussian_mixture': toy, 'mnist': mnist, 'images': images}
OURS = 'from ddgm.fast import functions as F, links as L\n'
CHAINERS = 'import chainer.functions as F, chainer.links as L\n'
# Dropout draws from a generator of its own in each, and noise in the order in which images lie in memory, which is
# another in each: so there is none of either.
CHANGES = {'images': {'width': 0.03, 'dropout': 0.0}, 'convolutional': {'noise': 0.0}}  # of a task or a preset


def on_chainer(module):
    """A module of networks with the one line changed."""
    source = inspect.getsource(module)
    assert source.count(OURS) == 1
    changed = types.ModuleType('changed')
    exec(compile(source.replace(OURS, CHAINERS), module.__file__, 'exec'), vars(changed))
    return changed


@pytest.mark.parametrize('train', [False, True])
@pytest.mark.parametrize(('task', 'preset'), [
    (task, preset) for task in NETWORKS for preset in PRESETS[task]])
def test_every_network_on_chainers_own(task, preset, train):
    """In float64, where only rounding tells the two apart."""
    settings = dataclasses.replace(
        PRESETS[task][preset].settings, **CHANGES.get(task, {}), **CHANGES.get(preset, {}))
    outputs = []
    for module in (NETWORKS[task], on_chainer(NETWORKS[task])):
        rng = numpy.random.default_rng(1)
        with chainer.using_config('dtype', numpy.dtype(numpy.float64)):
            energy_model, generative_model = module.build_models(settings, rng)
        z = rng.uniform(-1, 1, size=(16, generative_model.n_latent))
        x = rng.random((16, *{'mnist': (784,), 'images': (3, 64, 64)}.get(task, (2,))))
        for model, batch in ((energy_model, x), (generative_model, z)):
            training.start_from_batch(model, batch, rng)
        with chainer.using_config('train', train), chainer.using_config('noise_generator', numpy.random.default_rng(2)):
            samples = generative_model(z)
            outputs.append([samples.array, energy_model(x).array, energy_model(samples).array])
    for ours, theirs in zip(*outputs):
        numpy.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-10)


def test_what_is_not_here_is_chainers(rng):
    x, W = rng.normal(size=(4, 2, 5)), rng.normal(size=(3, 5))
    numpy.testing.assert_array_equal(functions.mean(x, axis=1).array, chainer.functions.mean(x, axis=1).array)
    numpy.testing.assert_array_equal(
        functions.linear(x, W, n_batch_axes=2).array, chainer.functions.linear(x, W, n_batch_axes=2).array)
    assert functions.reshape is chainer.functions.reshape
    assert links.EmbedID is chainer.links.EmbedID
    with pytest.raises(AttributeError, match='no_such_function'):
        functions.no_such_function  # noqa: B018


@pytest.mark.parametrize(('make', 'shape'), [
    (lambda L: L.Linear(None, 3), (4, 5)),
    (lambda L: L.Linear(5, 3), (4, 2, 5)),
    (lambda L: L.Linear(12, 5, nobias=True), (4, 3, 2, 2)),
    (lambda L: L.Convolution2D(None, 4, 3, 1, 1), (2, 3, 8, 8)),
    (lambda L: L.Convolution2D(4, 6, 3, groups=2), (2, 4, 8, 8)),
    (lambda L: L.Convolution2D(3, 4, 3, dilate=2), (2, 3, 8, 8)),
    (lambda L: L.Convolution2D(3, 4, (3, 5), (1, 2), (0, 1)), (2, 3, 8, 8)),
    (lambda L: L.Deconvolution2D(3, 4, 3, groups=1, pad=(0, 1)), (2, 3, 8, 8)),
    (lambda L: L.BatchNormalization(5, use_beta=False), (6, 5)),
    (lambda L: L.BatchNormalization(axis=(0,)), (6, 3, 2)),
])
def test_links_as_chainer_users_call_them(make, shape, rng):
    """What the fast ones don't know of, Chainer computes."""
    x = rng.normal(size=shape).astype(numpy.float32)
    ours, theirs = make(links), make(chainer.links)
    options = {'n_batch_axes': 2} if isinstance(ours, chainer.links.Linear) and x.ndim == 3 else {}
    ours(x, **options), theirs(x, **options)
    ours.copyparams(theirs)
    numpy.testing.assert_allclose(ours(x, **options).array, theirs(x, **options).array, rtol=1e-4, atol=1e-5)
