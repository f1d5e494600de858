"""log Z of an energy in many dimensions, between two ends: annealed importance sampling (Neal 2001), both ways.

Chains go from a Gaussian, whose Z is known, to exp(−E) by way of exp(−(1 − β)·E₀ − β·E), with E₀ the Gaussian's energy.
The mean of their weights is an unbiased estimate of Z, so its logarithm falls short on average: the lower end.  Chains
that go back from exp(−E) to the Gaussian estimate 1/Z, which gives the upper end (Grosse, Ghahramani & Adams 2015).
That one is as good as what its chains begin with.  Samples of exp(−E) are what nobody has; here they begin with
samples of a generator, or data, after many steps at β = 1, and a second time with the ends of the forward chains.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import chainer
import numpy

from ddgm.fast import functions as F
from ddgm.fast.gradients import gradients
from ddgm.links import MinibatchDiscrimination
from ddgm.models import DeepEnergyModel

LARGEST_GAP = 0.01  # nats a dimension between both ends, above which there is no value
_SMALLEST_GAP = 0.1  # nats that are allowed in few dimensions, too

_PILOT_LENGTH = 1.0  # nats by which log weights spread in one step of the pilot
_MOST_PILOT = 5_000  # its steps
_TAKEN = 0.7  # share of moves that are to be taken
_LEAPS = 4  # of one move
_LARGEST_ANGLE = math.pi / 2 / _LEAPS  # with which a move leaves nothing of where it began


class _Path:
    """The energies between a Gaussian and E, in units in which the Gaussian is N(0, 1): y = (x − mean)/deviation."""

    def __init__(self, energy_and_gradient, mean, deviation):
        self._energy_and_gradient, self._mean, self._deviation = energy_and_gradient, mean, deviation

    def inward(self, x):
        return (numpy.asarray(x, dtype=numpy.float64) - self._mean) / self._deviation

    def chains(self, y):
        """Chains at places (N, …): these, and U = E − E₀ with its gradient there."""
        energy, gradient = self._energy_and_gradient(self._mean + self._deviation * y)
        return y, energy - _half_squares(y), gradient * self._deviation - y

    def moved(self, chains, beta, angle, rng):
        """Chains after one move under E₀ + β·U, and the share of them that took it.

        It is Hamiltonian, and exact where U is 0: kicks by U between turns under E₀ (Shahbaba et al. 2014).
        """
        y, u, slope = chains
        p = rng.standard_normal(y.shape)
        before = beta * u + _half_squares(y) + _half_squares(p)
        for _ in range(_LEAPS):
            p = p - 0.5 * angle * beta * slope
            y, p = math.cos(angle) * y + math.sin(angle) * p, math.cos(angle) * p - math.sin(angle) * y
            y, u, slope = self.chains(y)
            p = p - 0.5 * angle * beta * slope
        after = beta * u + _half_squares(y) + _half_squares(p)
        taken = numpy.log1p(-rng.random(len(y))) < before - after  # which NaN is not
        return [
            numpy.where(taken.reshape((-1,) + (1,) * (new.ndim - 1)), new, old)
            for new, old in zip((y, u, slope), chains)], taken.mean()


def _half_squares(y):
    return 0.5 * (y * y).reshape(len(y), -1).sum(axis=1)


# ---- both ways

@dataclasses.dataclass(frozen=True)
class End:
    """What chains of one direction say of log Z.

    Attributes:
        log_z (float): In nats.
        largest_share (float): What one chain carries of the weight of all.
        effective (float): Chains of equal weight that would tell as much.
    """

    log_z: float
    largest_share: float
    effective: float


@dataclasses.dataclass(frozen=True)
class Bracket:
    lower: End
    upper: End
    upper_of_ends: End
    n_numbers: int


def _end(log_weights, log_z_of_gaussian, sign):
    highest = log_weights.max()
    weights = numpy.exp(log_weights - highest)
    return End(
        log_z_of_gaussian + sign * float(highest + math.log(weights.mean())),
        float(weights.max() / weights.sum()), float(weights.sum() ** 2 / (weights ** 2).sum()))


def _schedule(path, shape, n_steps, rng):
    chains, beta, angle, length = path.chains(rng.standard_normal(shape)), 0.0, _LARGEST_ANGLE, 0.0
    betas, lengths, angles = [0.0], [0.0], [angle]
    while beta < 1:
        spread = float(chains[1].std())
        step = min(1 - beta, _PILOT_LENGTH / spread)
        beta, length = (1.0 if step == 1 - beta else beta + step), length + step * spread
        for _ in range(2):
            chains, taken = path.moved(chains, beta, angle, rng)
            angle = min(_LARGEST_ANGLE, angle * math.exp(0.5 * (taken - _TAKEN)))
        betas.append(beta), lengths.append(length), angles.append(angle)
    places = numpy.linspace(0, length, n_steps + 1)
    return numpy.interp(places, lengths, betas), numpy.exp(numpy.interp(places, lengths, numpy.log(angles))), length


def forward(path, y, betas, angles, rng):
    chains, log_weights = path.chains(y), numpy.zeros(len(y))
    acc = []
    for before, beta, angle in zip(betas, betas[1:], angles[1:]):
        log_weights -= (beta - before) * chains[1]
        chains, t = path.moved(chains, beta, angle, rng)
        acc.append(t)
    print('acc', numpy.mean(acc), numpy.min(acc))
    return chains, log_weights


def backward(path, chains, betas, angles, rng):
    log_weights = numpy.zeros(len(chains[0]))
    for beta, after, angle in zip(betas[::-1], betas[-2::-1], angles[::-1]):
        chains, t = path.moved(chains, beta, angle, rng)
        log_weights -= (after - beta) * chains[1]
    return chains, log_weights


def of_model(energy_model):
    if energy_model.b is None:
        raise ValueError('exp(-E) has no finite integral')
    b = chainer.cuda.to_cpu(energy_model.b.array).astype(numpy.float64)

    def energy_and_gradient(x):
        variable = chainer.Variable(energy_model.device.send(x.astype(numpy.float32)))
        with chainer.using_config('train', False):
            energy = energy_model(variable)
            gradient, = gradients(F.sum(energy), [variable])
        return [chainer.cuda.to_cpu(a).astype(numpy.float64) for a in (energy.array, gradient)]
    return energy_and_gradient, energy_model.sigma ** 2 * b / 2, energy_model.sigma / math.sqrt(2)
