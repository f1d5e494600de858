"""Chains under an energy beside its own Gaussian: Hamiltonian moves that Metropolis' rule accepts.

An energy E is split into that of a Gaussian, E₀, which a move follows exactly, and the rest, U = E − E₀.  So the size
of a move depends on U, and not on how many numbers x has or how narrow some of them are.
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

_TAKEN = 0.7  # share of the moves that are to be taken
_LEAPS = 4  # of one move
LARGEST_ANGLE = math.pi / 2 / _LEAPS  # of a leap, with which a move leaves nothing of where it began


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """Where chains begin: N(mean, deviation²) of independent numbers.

    Attributes:
        mean (numpy.ndarray): (…), the shape of one x.
        deviation (float | numpy.ndarray): Of all numbers, or one for each, in the shape of the mean.
    """

    mean: numpy.ndarray
    deviation: float | numpy.ndarray

    @property
    def log_z(self) -> float:
        """log ∫ exp(−½‖(x − mean)/deviation‖²) dx."""
        return self.mean.size * (0.5 * math.log(2 * math.pi) + float(numpy.log(self.deviation).mean()))


def parts_of(energy_model: DeepEnergyModel, shape: tuple, log_volume: float = 0.0) -> tuple[Callable, Gaussian]:
    """Of a DEM in test mode, what :class:`Path` takes: E and ∇E of x of a shape, and its Gaussian.

    Raises ``ValueError`` where its energy is that of no density.
    """
    if energy_model.b is None:
        raise ValueError('exp(-E) has no finite integral: this energy is made of experts alone')
    if any(isinstance(link, MinibatchDiscrimination) for link in energy_model.links()):
        raise ValueError('the energy of one x depends on the others of its batch, so that exp(-E) is no density')
    sigma, b = energy_model.sigma, chainer.cuda.to_cpu(energy_model.b.array).astype(numpy.float64).reshape(shape)
    if numpy.ndim(sigma):
        sigma = chainer.cuda.to_cpu(sigma).astype(numpy.float64).reshape(shape)

    def energy_and_gradient(x):
        variable = chainer.Variable(energy_model.device.send(x.astype(energy_model.b.dtype)))
        with chainer.using_config('train', False):
            energy = energy_model(variable)
            gradient, = gradients(F.sum(energy), [variable])
        energy, slope = (chainer.cuda.to_cpu(array).astype(numpy.float64) for array in (energy.array, gradient))
        return energy - log_volume, slope
    return energy_and_gradient, Gaussian(sigma ** 2 * b / 2, sigma / math.sqrt(2))


class Path:
    """The energies E₀ + β·U between a Gaussian and E = E₀ + U, where x = mean + deviation·y, so that E₀ = ½‖y‖².

    Moves at β = 1 leave exp(−E) as it is, wherever chains begin.
    """

    def __init__(self, energy_and_gradient, gaussian):
        self._energy_and_gradient, self._gaussian = energy_and_gradient, gaussian

    def inward(self, x):
        """x as y: (N, …), float64."""
        return (numpy.asarray(x, dtype=numpy.float64) - self._gaussian.mean) / self._gaussian.deviation

    def outward(self, y):
        """y as x: (N, …), float64."""
        return self._gaussian.mean + self._gaussian.deviation * y

    def chains(self, y):
        """Chains at some places: y (N, …), U (N,) and its slope ∂U/∂y (N, …)."""
        energy, slope = self._energy_and_gradient(self.outward(y))
        return y, energy - _half_squares(y), self._gaussian.deviation * slope - y

    def moved(self, chains, beta, angle, rng):
        """Chains after one move under E₀ + β·U, and the share of them that took it.

        The move is a Hamiltonian one of some leaps.  A leap turns (y, p) by an angle, which is what E₀ alone would do,
        and U kicks p before and after (Shahbaba et al. 2014).  So the angle depends on U, and not on how many numbers
        there are.  Each chain has its own below the given one, so that some suit where U is steep.
        """
        y, u, slope = chains
        per_chain = (-1,) + (1,) * (y.ndim - 1)
        angle = (angle * numpy.exp(-rng.exponential(0.5, len(y)))).reshape(per_chain)
        p = rng.standard_normal(y.shape)
        before = beta * u + _half_squares(y) + _half_squares(p)
        for _ in range(_LEAPS):
            p = p - 0.5 * angle * beta * slope
            y, p = numpy.cos(angle) * y + numpy.sin(angle) * p, numpy.cos(angle) * p - numpy.sin(angle) * y
            y, u, slope = self.chains(y)
            p = p - 0.5 * angle * beta * slope
        after = beta * u + _half_squares(y) + _half_squares(p)
        taken = numpy.log1p(-rng.random(len(y))) < before - after  # which NaN is not
        return [
            numpy.where(taken.reshape(per_chain) if new.ndim > 1 else taken, new, old)
            for new, old in zip((y, u, slope), chains)], taken.mean()


def _half_squares(y):
    """½‖y‖² of each of N: (N, …) to (N,)."""
    return 0.5 * (y * y).reshape(len(y), -1).sum(axis=1)


def adapted(angle, taken):
    """The angle of the next move, after one that such a share of the chains took."""
    return min(LARGEST_ANGLE, angle * math.exp(taken - _TAKEN))
