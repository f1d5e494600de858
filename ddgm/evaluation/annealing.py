"""log Z of an energy in many dimensions, between two ends: annealed importance sampling (Neal 2001), both ways.

Chains go from a Gaussian, whose Z is known, to exp(−E) by way of exp(−(1 − β)·E₀ − β·E), where E₀ is the Gaussian's own
energy.  The mean of their weights is an unbiased estimate of Z, so its logarithm falls short on average: the lower end.
Chains that go back from exp(−E) to the Gaussian estimate 1/Z, which gives the upper end (Grosse, Ghahramani & Adams
2015).

The upper end is a bound as far as its chains begin with samples of exp(−E), which nobody has.  Some begin with samples
of a generator, or data, after many moves under E.  Others begin with the ends of the forward chains, and can raise the
upper end, but are never the only ones: what the forward chains have missed they miss too.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import chainer
import numpy

from ddgm.beyond_the_paper.hamiltonian import LARGEST_ANGLE, Gaussian, Path, adapted, parts_of
from ddgm.models import DeepEnergyModel
from ddgm.support import randomness

_CHAINS, _CHAINS_OF_POINTS, _POINT = 50, 1_000, 64  # each way, and of how few numbers x is a point
LARGEST_GAP = 0.01  # nats for each number of x, between both ends, above which there is no value
_SMALLEST_GAP = 0.1  # nats that are allowed in few dimensions, too

_STEPS = 250  # of β
_PILOT_STEP = 1.0  # nats by which the logarithms of weights spread in one step of the pilot
_PILOT_MOVES = 3  # in one of its steps
_MOST_PILOT_STEPS, _LARGEST_SPREAD = 2_000, 1e9  # nats


@dataclasses.dataclass(frozen=True)
class End:
    """What chains that went one way say of log Z.

    Attributes:
        log_z (float): In nats.
        largest_share (float): What one chain carries of the weight of all.
        n_effective (float): How many chains of equal weight would tell as much.
    """

    log_z: float
    largest_share: float
    n_effective: float

    @classmethod
    def of(cls, log_weights: numpy.ndarray, log_z: float, sign: int = 1) -> End:
        """Of chains whose log weights (N,) are those of Z over exp(``log_z``); of its inverse where ``sign`` is −1."""
        shares = _shares(log_weights)
        log_mean = numpy.logaddexp.reduce(log_weights) - math.log(len(shares))
        return cls(float(log_z + sign * log_mean), float(shares.max()), float(1 / (shares ** 2).sum()))


@dataclasses.dataclass(frozen=True)
class Bracket:
    """Both ends of log Z; the lower one can lie above the upper one by chance, as far as they are noisy.

    Attributes:
        lower (End): Of chains from the Gaussian to exp(−E).
        upper_of_samples (End): Of chains back that began with samples.
        upper_of_ends (End): Of chains back that began where the forward ones ended.
        n_numbers (int): In one x.
    """

    lower: End
    upper_of_samples: End
    upper_of_ends: End
    n_numbers: int

    @property
    def upper(self) -> End:
        """The higher one of the two."""
        return max(self.upper_of_samples, self.upper_of_ends, key=lambda end: end.log_z)

    @property
    def log_z(self) -> float:
        """The middle.  Raises ``ValueError`` with both ends and the reason where it is no value."""
        lower, upper, of_samples = self.lower.log_z, self.upper.log_z, self.upper_of_samples.log_z
        allowed = max(LARGEST_GAP * self.n_numbers, _SMALLEST_GAP)
        if not lower - of_samples <= allowed:
            raise ValueError(
                'annealing leaves log Z open: at least {:,.1f} nats forward, at most {:,.1f} back from samples, which '
                'miss a part of the density: so there is no upper bound'.format(lower, of_samples))
        if not upper - lower <= allowed:
            raise ValueError(
                'annealing leaves log Z open: {:,.1f} nats forward, {:,.1f} back, and a gap above {:.1f} is no value '
                'for {:,} numbers'.format(lower, upper, allowed, self.n_numbers))
        return (lower + upper) / 2


def bracket(
        energy_and_gradient: Callable, gaussian: Gaussian, x: numpy.ndarray, rng: numpy.random.Generator,
        n_steps: int = _STEPS) -> Bracket:
    """log Z = log ∫ exp(−E(x)) dx between two ends.

    A pilot finds the steps of β and the sizes of moves, with chains of its own.

    Args:
        energy_and_gradient: E and ∇E as a function of arrays, (N, …) to (N,) and (N, …), float64.
        gaussian: Where the chains begin.
        x: Samples of something near to exp(−E), (N, …).  There are N chains each way.
        rng: Of all noise.
        n_steps: Of β, each with one move of all chains.

    Raises ``ValueError`` where E is not finite, or too steep.
    """
    path = Path(energy_and_gradient, gaussian)
    betas, angles = _schedule(path, x.shape, n_steps, rng)
    chains, log_weights = _forward(path, x.shape, betas, angles, rng)
    lower = End.of(log_weights, gaussian.log_z)
    chosen = rng.choice(len(x), len(x), p=_shares(log_weights))
    of_ends = _back(path, [array[chosen] for array in chains], betas, angles, rng)
    chains, angle = path.chains(path.inward(x)), angles[-1]
    for _ in betas:
        chains, taken = path.moved(chains, 1.0, angle, rng)
        angle = adapted(angle, taken)
    of_samples = _back(path, chains, betas, angles, rng)
    return Bracket(
        lower, End.of(of_samples, gaussian.log_z, -1), End.of(of_ends, gaussian.log_z, -1), gaussian.mean.size)


def of_model(
        energy_model: DeepEnergyModel, x: numpy.ndarray, log_volume: float = 0.0, **annealed: int) -> Bracket:
    """log Z of a DEM in test mode, from the Gaussian of its first two terms; see :func:`bracket`.

    ``x`` are samples of its generator, say, (N, …): of points 1,000 of them, and 50 where x has more than 64 numbers.
    ``log_volume`` is added, where the user has other units than x; ``annealed`` may be ``n_steps``.

    Raises ``ValueError`` where its energy is that of no density.
    """
    x = x[:_CHAINS_OF_POINTS if x[0].size <= _POINT else _CHAINS]
    with chainer.using_device(energy_model.device):
        return bracket(
            *parts_of(energy_model, x.shape[1:], log_volume), x, randomness.metric_generator(randomness.LOG_Z),
            **annealed)


def _shares(log_weights):
    """What each of N chains carries of the weight of all, (N,)."""
    shares = numpy.exp(log_weights - log_weights.max())
    return shares / shares.sum()


def _schedule(path, shape, n_steps, rng):
    """β from 0 to 1 and the angles of moves there, (n_steps + 1,) each, as a pilot finds them.

    In each step the logarithms of weights spread equally, and about as many moves are taken.
    """
    chains, beta, angle, passed = path.chains(rng.standard_normal(shape)), 0.0, LARGEST_ANGLE, 0.0
    found = [(passed, beta, math.log(angle))]
    while beta < 1:
        spread = float(chains[1].std())
        if not spread < _LARGEST_SPREAD or len(found) > _MOST_PILOT_STEPS:
            raise ValueError('exp(-E) is not finite, or too steep for annealing')
        spread = max(spread, 1e-9)  # none, where U is the same everywhere
        step = min(1 - beta, _PILOT_STEP / spread)
        beta, passed = beta + step if beta + step < 1 else 1.0, passed + step * spread
        # So that a chain that was left behind is gone, which would ask for needless steps.
        chosen = rng.choice(shape[0], shape[0], p=_shares(-step * chains[1]))
        chains = [array[chosen] for array in chains]
        for _ in range(_PILOT_MOVES):
            chains, taken = path.moved(chains, beta, angle, rng)
            angle = adapted(angle, taken)
        found.append((passed, beta, math.log(angle)))
    lengths, betas, angles = zip(*found)
    places = numpy.linspace(0, passed, n_steps + 1)
    return numpy.interp(places, lengths, betas), numpy.exp(numpy.interp(places, lengths, angles))


def _forward(path, shape, betas, angles, rng):
    """Chains from the Gaussian to exp(−E), and the logarithms (N,) of their weights."""
    chains, log_weights = path.chains(rng.standard_normal(shape)), numpy.zeros(shape[0])
    for before, beta, angle in zip(betas, betas[1:], angles[1:]):
        log_weights -= (beta - before) * chains[1]
        chains, _ = path.moved(chains, beta, angle, rng)
    return chains, log_weights


def _back(path, chains, betas, angles, rng):
    """The logarithms (N,) of the weights of chains that go back to the Gaussian."""
    log_weights = numpy.zeros(len(chains[0]))
    for beta, after, angle in zip(betas[::-1], betas[-2::-1], angles[::-1]):
        chains, _ = path.moved(chains, beta, angle, rng)
        log_weights += (beta - after) * chains[1]
    return log_weights
