"""Models as functions of arrays: samples, energies and the statistics that BatchNormalization uses for them."""

from __future__ import annotations

import functools
from collections.abc import Callable

import chainer
import numpy

from ddgm.fast.kernels import as_numbers
from ddgm.fast.threads import for_each
from ddgm.models import DeepEnergyModel, DeepGenerativeModel
from ddgm.support import randomness

_POINTS, _IMAGES = 2_000, 100  # of the plane, or images, that pass a network at a time
_FEW = 3  # numbers of one point up to which layers are so narrow that NumPy leaves other cores idle


def in_test_mode(model: chainer.Link, inputs: numpy.ndarray, at_a_time: int) -> numpy.ndarray:
    """A model's outputs in test mode, for inputs that pass it a part at a time: NumPy arrays whatever its device."""
    def outputs(first):
        with chainer.using_config('train', False), chainer.no_backprop_mode():  # Chainer has a configuration a thread
            return chainer.cuda.to_cpu(model(model.device.send(inputs[first:first + at_a_time])).array)
    several = model.xp is numpy and inputs.ndim == 2 and inputs.shape[1] <= _FEW
    parts = (for_each if several else map)(outputs, range(0, max(1, len(inputs)), at_a_time))
    # In the order that a file of them has, since sums round otherwise in another.
    return numpy.ascontiguousarray(numpy.concatenate(list(parts)))


def sample(generative_model: DeepGenerativeModel, z: numpy.ndarray) -> numpy.ndarray:
    """x = G(z) in test mode: (N, d) to (N, …), NumPy arrays of the model's number type whatever its device.

    >>> import ddgm, numpy
    >>> from ddgm.networks import toy
    >>> from ddgm.presets import PRESETS
    >>> rng = numpy.random.default_rng(0)
    >>> _, generator = toy.build_models(PRESETS['gaussian_mixture']['default'].settings, rng)
    >>> ddgm.sample(generator, generator.draw_latent(2500, rng)).shape
    (2500, 2)
    """
    return in_test_mode(generative_model, z, _IMAGES)


def with_population_statistics(
        generative_model: DeepGenerativeModel, batchsize: int, n_batches: int) -> DeepGenerativeModel:
    """A copy of a DGM whose BatchNormalization has averaged its statistics over many batches of z.

    Algorithm 2 of Ioffe & Szegedy 2015.  The running statistics of training remember some ten batches; the copy differs
    from the model, which stays as it is, by being rid of their noise.  ``n_batches`` batches of ``batchsize`` pass it.
    """
    rng = randomness.metric_generator(randomness.POPULATION_Z)
    noise_rng, = rng.spawn(1)
    return _averaged_over(
        generative_model, (generative_model.draw_latent(batchsize, rng) for _ in range(n_batches)), noise_rng)


def with_statistics_of_both_phases(
        energy_model: DeepEnergyModel, generative_model: DeepGenerativeModel, draw_data: Callable, batchsize: int,
        n_batches: int) -> DeepEnergyModel:
    """A copy of a DEM whose BatchNormalization has averaged its statistics over batches of data and of samples in turn.

    They are what training feeds it.  ``draw_data`` is that of :func:`ddgm.training.train`.
    """
    _, rng = randomness.metric_generator(randomness.POPULATION_Z).spawn(2)
    phases = draw_data, lambda n, rng: sample(generative_model, generative_model.draw_latent(n, rng))
    return _averaged_over(energy_model, (phases[n % 2](batchsize, rng) for n in range(n_batches)), rng)


def _averaged_over(model, batches, noise_rng):
    """A copy of a model whose BatchNormalization averages the statistics of batches of its inputs."""
    copy = model.copy(mode='copy')
    links = batch_normalizations(copy)
    for n, inputs in enumerate(batches, 1):
        for link in links:
            link.decay = 1 - 1 / n  # the running mean of all batches so far
        with chainer.using_config('train', True), chainer.no_backprop_mode(), \
                chainer.using_config('noise_generator', noise_rng):
            copy(as_numbers(copy.device.send(inputs)))
    return copy


def batch_normalizations(model: chainer.Link) -> list:
    """The BatchNormalization links of a model."""
    return [link for link in model.links() if isinstance(link, chainer.links.BatchNormalization)]


def energy_function(energy_model: DeepEnergyModel) -> Callable:
    """E of a DEM in test mode as a function of NumPy arrays, (N, …) to (N,) float64."""
    return functools.partial(_energies, energy_model)  # which can be pickled


def _energies(energy_model, x):
    x = numpy.asarray(x, dtype=next((p.dtype for p in energy_model.params()), chainer.get_dtype()))
    return in_test_mode(energy_model, x, _POINTS if x.ndim == 2 else _IMAGES).astype(numpy.float64)
