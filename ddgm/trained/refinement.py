"""Samples moved under an energy model until they follow its density."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import chainer
import numpy

from ddgm.beyond_the_paper import langevin
from ddgm.beyond_the_paper.resampling import sampling_importance_resampling
from ddgm.models import DeepEnergyModel
from ddgm.presets import Settings, ToySettings
from ddgm.support.errors import UsageError

_AT_ONCE = 2_500  # samples that pass the energy model together, and among whom proposals are shared
_N_PARTS = 10  # of these, where they are chosen among proposals, so that the memory stays small


def check_proposals(n_proposals: int, settings: Settings) -> None:
    """Raise ``UsageError`` where there are proposals for what is no point of the plane."""
    if n_proposals and not (isinstance(settings, ToySettings) and settings.n_visible <= 2):
        raise UsageError('this is no run in the plane: leave proposals out')


def refine(
        energy_model: DeepEnergyModel, x: numpy.ndarray, settings: Settings, n_steps: int, step_size: float | None,
        n_proposals: int, rng: numpy.random.Generator, tell: Callable = lambda line: None,
        warn: Callable = warnings.warn,
) -> tuple[numpy.ndarray, float]:
    """Samples after Metropolis-adjusted Langevin steps, and the size that these had.

    Args:
        energy_model: The DEM.
        x: (N, …), a NumPy array in the model's units.
        settings: Of its run.
        n_steps: Steps.
        step_size: Their size ε, in squared units of x; ``None``: tuned with the first 2,500 samples.
        n_proposals: Points of the plane, among which each 2,500 samples are chosen that the steps begin with; 0: these
            are ``x``.
        rng: Of noise and choices.
        tell: Called with lines about what is going on.
        warn: Called with those about samples that hardly follow the density.
    """
    device, refined = energy_model.device, numpy.empty_like(x)
    for first in range(0, len(x), _AT_ONCE):
        part = device.send(x[first:first + _AT_ONCE])
        if n_proposals:
            tell('Choosing {:,} of {:,} proposals ...'.format(len(part), n_proposals))
            part = _chosen(energy_model, part, settings, n_proposals, rng)
            n_different = len(numpy.unique(chainer.cuda.to_cpu(part).reshape(len(part), -1), axis=0))
            if n_different < len(part) / 10:
                warn('{:,} samples come from {:,} of {:,} proposals: take more; where that does not help, the energy '
                     'is too narrow for them'.format(len(part), n_different, n_proposals))
        before = part
        if step_size is None:
            tell('Looking for the size of a step ...')
            part, step_size = langevin.tune_step_size(energy_model, part, settings.langevin_step_size or 1e-3, rng)
        tell('Refining {:,} samples by {:,} steps of size {:.2g} ...'.format(len(part), n_steps, step_size))
        part = langevin.refine(energy_model, part, n_steps, step_size, rng)
        unmoved = float((part == before).reshape(len(part), -1).all(axis=1).mean())
        if n_steps and unmoved > 1 / 2:
            warn('{:.0%} of the samples were never moved: give a smaller step_size, or none, or train longer'.format(
                unmoved))
        refined[first:first + _AT_ONCE] = chainer.cuda.to_cpu(part)
    return refined, step_size


def _chosen(energy_model, x, settings, n_proposals, rng):
    """As many points as ``x``, chosen among proposals by their energy."""
    xp, n_parts = energy_model.xp, min(_N_PARTS, n_proposals)
    return xp.concatenate([
        sampling_importance_resampling(
            energy_model, part, len(range(index, n_proposals, n_parts)),
            settings.proposal_deviation or ToySettings.proposal_deviation, settings.near_deviation, rng)
        for index, part in enumerate(xp.array_split(x, n_parts)) if len(part)])


def within(value_range: tuple | None, x: numpy.ndarray, tell: Callable = lambda line: None) -> numpy.ndarray:
    """Samples in the data's range, which the energy model does not know of; tells what was clipped."""
    if value_range is None:
        return x
    clipped = x.clip(*value_range)
    if (clipped != x).any():
        tell('Clipped to {:g} … {:g}: {:.2%} of the numbers, which ran from {:.3g} to {:.3g}'.format(
            *value_range, (clipped != x).mean(), x.min(), x.max()))
    return clipped
