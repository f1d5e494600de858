"""The state of a run: both models with their optimizers, from the first weights to the finished models."""

from __future__ import annotations

import platform
from collections.abc import Callable

import chainer
import numpy

import ddgm
from ddgm import training
from ddgm.beyond_the_paper import options
from ddgm.evaluation import sampling
from ddgm.evaluation.metrics import N_SCORED
from ddgm.fast import kernels
from ddgm.fast.strategy import Fast
from ddgm.presets import Settings
from ddgm.runs import devices
from ddgm.support import randomness
from ddgm.support.errors import UsageError


class TrainingState:
    """Everything that a bit-exact continuation needs; the randomness follows from seed and iteration.

    Attributes:
        models (tuple): The DEM and the DGM.
        iteration (int): Iterations done.
        elapsed_time (float): Seconds spent training.
        n_logged (int): Entries in the log.
        summary (chainer.DictSummary): Of the iterations since the last log entry.
        chains (ddgm.beyond_the_paper.persistent_chains.PersistentChains): x⁻ where they go on from one iteration to the
            next, else ``None``.
    """

    def __init__(self, energy_optimizer, generator_optimizer, chains=None):
        self.models = energy_optimizer.target, generator_optimizer.target
        self.energy_optimizer = energy_optimizer
        self.generator_optimizer = generator_optimizer
        self.chains = chains
        self.iteration = 0
        self.elapsed_time = 0.0
        self.n_logged = 0
        self.summary = chainer.DictSummary()

    def finished_models(self) -> tuple:
        """The DEM and the DGM as a run leaves them: averages where it keeps some, else as they are."""
        return self.energy_optimizer.averaged_model(), self.generator_optimizer.averaged_model()

    def serialize(self, serializer) -> None:
        """Save or load through a Chainer serializer; raises ``ValueError`` where a run can't be in that state."""
        self.iteration = serializer('iteration', self.iteration)
        for name, optimizer in (('energy', self.energy_optimizer), ('generator', self.generator_optimizer)):
            optimizer.target.serialize(serializer[name + '_model'])
            if self.iteration:  # before the first one an optimizer has no state
                optimizer.serialize(serializer[name + '_optimizer'])
        if self.iteration and self.chains:
            self.chains.serialize(serializer['chains'])
        self.elapsed_time = serializer('elapsed_time', self.elapsed_time)
        self.n_logged = serializer('n_logged', self.n_logged)
        self.summary.serialize(serializer['summary'])
        for mean in self.summary.compute_mean().values():
            float(mean)  # raises where the sums are none, which Chainer would find out at the next log entry
        if self.iteration < 0 or {self.energy_optimizer.t, self.generator_optimizer.t} != {self.iteration}:
            raise ValueError('{} iterations, {} and {} updates'.format(
                self.iteration, self.energy_optimizer.t, self.generator_optimizer.t))
        updates = [parameter.update_rule.t for model in self.models for parameter in model.params()]
        if not 0 <= min(updates) <= max(updates) <= self.iteration:  # one that was frozen for a while has fewer
            raise ValueError('{} iterations, {} to {} updates of a parameter'.format(
                self.iteration, min(updates), max(updates)))


def environment(device: chainer.backend.Device) -> dict:
    """What ``settings.json`` says beside the settings: the device and versions."""
    cupy = chainer.backends.cuda.cupy if chainer.backends.cuda.available else None
    numba, _ = kernels.compiler() if device.xp is numpy else (None, None)
    return {
        'device': device.name,
        'versions': {
            'ddgm': ddgm.__version__, 'python': platform.python_version(), 'chainer': chainer.__version__,
            'numpy': numpy.__version__, 'cupy': cupy and cupy.__version__, **({'numba': numba} if numba else {}),
            **devices.versions(device)}}


def build_state(settings, build_models, draw_data, device):
    """Both models and their optimizers before the first iteration, weights and start drawn from the run's seed."""
    rng = training.random_generator(settings.seed, training.START)
    models = build_models(settings, rng)
    for model in models:
        model.to_device(device)
    try:
        training.start_models(*models, draw_data, settings.start_size, rng)
    except UsageError:  # which is a ValueError
        raise
    except ValueError as error:
        raise UsageError('the data can\'t start this preset ({}): give other data or another --preset'.format(
            error)) from error
    return start_state(settings, *models)


def start_state(settings: Settings, energy_model, generative_model) -> TrainingState:
    """Two models, whatever their weights, with the optimizers that ``settings`` name, before the first iteration."""
    return TrainingState(*(
        training.make_optimizer(
            model, learning_rate, settings.beta1, settings.beta2, settings.eps, settings.gradient_norm, weight_decay,
            settings.optimizer, settings.decay_from, settings.decay_power, settings.averaged)
        for model, learning_rate, weight_decay in (
            (energy_model, settings.energy_learning_rate, settings.energy_weight_decay),
            (generative_model, settings.generator_learning_rate, 0.0))), options.chains_of(settings))


def iterations_of(state, draw_data, settings, strategy=None):
    """The loop of :func:`ddgm.training.train` from a state on, as ``settings`` say; the caller counts in the state.

    ``strategy`` is what the loop is handed, or ``None`` for :class:`ddgm.fast.strategy.Fast` in this process alone.
    """
    start, strategy = state.iteration, strategy or Fast()
    for last, handed in options.parts_of(settings, state.chains):
        if start < last:
            yield from training.train(
                state.energy_optimizer, state.generator_optimizer, draw_data=draw_data, batchsize=settings.batchsize,
                seed=settings.seed, start=start, iterations=last, generator_first=settings.generator_first,
                strategy=strategy, **handed)
            start = last


def finish_models(state: TrainingState, settings: Settings, draw_data: Callable | None = None) -> tuple:
    """The finished DEM and DGM, the second as it samples, with population statistics.

    An average of DEMs has no use for the running statistics of the last of them: its BatchNormalization, where there is
    one, takes its own from data, which ``draw_data(n, rng)`` draws, and from samples.
    """
    energy_model, generative_model = state.finished_models()
    generative_model = sampling.with_population_statistics(
        generative_model, settings.batchsize, settings.population_batches)
    if finishing_takes_data(settings, energy_model):
        if draw_data is None:
            raise ValueError('an averaged energy model with BatchNormalization is finished with data: give draw_data')
        energy_model = sampling.with_statistics_of_both_phases(
            energy_model, generative_model, draw_data, settings.batchsize, settings.population_batches)
    return energy_model, generative_model


def finishing_takes_data(settings: Settings, energy_model) -> bool:
    """Whether a DEM can't be finished without data."""
    return settings.averaged and bool(sampling.batch_normalizations(energy_model))


def finish(state: TrainingState, settings: Settings, draw_data: Callable | None = None) -> tuple:
    """The models of :func:`finish_models`; z (N, d) and x (N, …) of their samples; E as a function of arrays."""
    energy_model, generative_model = finish_models(state, settings, draw_data)
    z = generative_model.draw_latent(N_SCORED, randomness.metric_generator(randomness.SCORED_Z))
    x = sampling.sample(generative_model, z)
    return energy_model, generative_model, z, x, sampling.energy_function(energy_model)
