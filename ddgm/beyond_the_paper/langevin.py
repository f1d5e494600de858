"""Langevin refinement: samples of the generator that are moved towards the energy model's own density."""

import math

import chainer
import numpy

from ddgm.fast import sharding
from ddgm.fast.captured import drawn
from ddgm.fast.gradients import value_and_gradient


def refine(energy_model, x, n_steps, step_size, rng):
    """Move samples by Metropolis-adjusted Langevin steps, which leave P(x) = exp(−E(x))/Z as it is.

    One step proposes y = x − ε∇E(x) + √(2ε)·noise and takes it with probability
    min(1, P(y)q(x|y)/(P(x)q(y|x))) (Roberts & Tweedie 1996), so ε may be large beside the finest structure without a
    wrong density.  E is that of test mode, so that a network's own noise does not enter.

    Args:
        energy_model (DeepEnergyModel): The DEM.
        x: (N, …), an array on the model's device; it stays as it is.
        n_steps (int): Steps; 0 returns ``x``.
        step_size (float): ε, in squared units of x.
        rng: NumPy generator of the noise.

    Returns:
        (N, …) of the same number type.
    """
    if not n_steps:
        return x
    device, per_sample = energy_model.device, (-1,) + (1,) * (x.ndim - 1)
    n_rows, shape = sharding.n_rows(len(x)), x.shape[1:]

    def at(x):
        energy, gradient = value_and_gradient(energy_model, x)
        return x, energy, len(x) * gradient

    def half_square(x):
        return 0.5 * (x * x).reshape(len(x), -1).sum(axis=1)

    with chainer.using_config('train', False):
        here = at(x)
        for _ in range(n_steps):
            x, energy, gradient = here
            noise = drawn(device, rng, lambda rng: sharding.shard_of(
                rng.standard_normal((n_rows, *shape), dtype=numpy.float32)))
            there = at((x - step_size * gradient + (2 * step_size) ** 0.5 * noise).astype(x.dtype))
            back = (x - there[0] + step_size * there[2]) / (2 * step_size) ** 0.5
            log_ratio = energy - there[1] + half_square(noise) - half_square(back)
            # log of a uniform number in (0, 1]
            taken = drawn(device, rng, lambda rng: numpy.log1p(
                -sharding.shard_of(rng.random(n_rows, dtype=numpy.float32)))) < log_ratio
            xp = device.xp
            here = tuple(
                xp.where(taken.reshape(per_sample) if new.ndim > 1 else taken, new, old)
                for new, old in zip(there, here))
    return here[0]


def tune_step_size(energy_model, x, step_size, rng, n_steps=100):
    """Samples moved by so many steps, and a size of which about 57 in a hundred moves are taken.

    That is the best for this kind of step in many dimensions, and no bad choice in few (Roberts & Rosenthal 1998).
    The size follows the share that was taken in the last step, less and less (Robbins & Monro 1951).
    """
    for step in range(n_steps):
        moved = refine(energy_model, x, 1, step_size, rng)
        taken = float((moved != x).reshape(len(x), -1).any(axis=1).mean())
        x, step_size = moved, step_size * math.exp((taken - 0.574) * 3 / (1 + step / 5))
    return x, step_size
