"""The likelihood of held-out data under an energy whose log Z annealing finds, beside that of fitted Gaussians."""

from __future__ import annotations

import math

import numpy

from ddgm.data.standardization import Standardization
from ddgm.evaluation import annealing, sampling
from ddgm.fast import noise
from ddgm.fast.noise import GREY_LEVELS
from ddgm.models import DeepEnergyModel
from ddgm.support import randomness

_COMPONENTS = 10  # of probabilistic principal component analysis
_PART = 1_000  # points that become float64 at a time


def score(
        energy_model: DeepEnergyModel, x: numpy.ndarray, learned: numpy.ndarray, held_out: numpy.ndarray,
        standardization: Standardization | None = None, **annealed: int) -> dict:
    """By name: both ends of log Z and of the mean log-likelihood of held-out data in nats, and that of Gaussians.

    Of pictures the likelihood is told in bits for each number as well, after uniform noise has made real numbers of
    their grey levels.  Where there is no value ``log_z_missing`` says why; where annealing fails, the ends are missing.

    Args:
        energy_model: The DEM.
        x: Samples of its generator (N, …), in its own units.
        learned: What Gaussians are fitted to, (M, …): uint8 levels of pictures, or points in the user's units.
        held_out: What the likelihood is of, in the same way.
        standardization: The units of the model, where they are not the user's.
        annealed: ``n_steps`` of :func:`ddgm.evaluation.annealing.of_model`, where its default is not meant.
    """
    n_numbers, of_pictures = held_out[0].size, held_out.dtype == numpy.uint8
    test = dequantized(held_out) if of_pictures else held_out
    scores, means = _of_model(energy_model, x, test, standardization, annealed)
    means.update(('_' + name, value) for name, value in _of_gaussians(learned, test).items())
    scores.update(('log_likelihood' + name, value) for name, value in means.items())
    if of_pictures:  # the fewest bits are those of the highest likelihood
        other = {'_lower': '_upper', '_upper': '_lower'}
        scores.update(
            ('bits_per_pixel' + other.get(name, name), None if value is None else bits(value, n_numbers))
            for name, value in means.items())
    return scores


def dequantized(levels: numpy.ndarray) -> numpy.ndarray:
    """Grey levels 0 to 255 with uniform noise of the width of one, in 0…1, always the same: uint8 to float32."""
    return noise.dequantized(levels, randomness.metric_generator(randomness.GREY_LEVELS))


def bits(log_likelihood: float, n_numbers: int) -> float:
    """Bits for each number of grey levels 0 to 256, from nats for all of them in 0…1."""
    return math.log2(GREY_LEVELS) - log_likelihood / n_numbers / math.log(2)


def recorded(metrics: dict) -> dict:
    """Of the metrics of a run those that :func:`score` has found; none where it was not asked."""
    if 'log_likelihood_isotropic' not in metrics:
        return {}
    return {name: value for name, value in metrics.items() if name.startswith(('log_', 'bits_per_pixel'))}


def beside(found: dict, metrics: dict) -> dict:
    """What :func:`score` has found, if anything, and other metrics, whose log Z stays where they have one."""
    first, last = (found, metrics) if metrics.get('log_z') is not None else (metrics, found)
    if found:  # either tells why it has no log Z
        first = {name: value for name, value in first.items() if name != 'log_z_missing'}
    return {**first, **last}


def _of_model(energy_model, x, test, standardization, annealed):
    """What is known of log Z, by name, and the mean log-likelihoods of a test by what follows that word."""
    volume = standardization.log_volume if standardization else 0.0
    mean = -sampling.energy_function(energy_model)(
        standardization.inward(test) if standardization else test).mean()
    scores, means = {}, {}
    try:
        bracket = annealing.of_model(energy_model, x, volume, **annealed)
        for name, end in (('lower', bracket.lower), ('upper', bracket.upper)):
            scores['log_z_' + name] = end.log_z
            scores['log_z_{}_largest_share'.format(name)] = end.largest_share
            scores['log_z_{}_n_effective'.format(name)] = end.n_effective
        means['_lower'], means['_upper'] = mean - bracket.upper.log_z, mean - bracket.lower.log_z
        scores['log_z'], means[''] = bracket.log_z, mean - bracket.log_z
    except ValueError as error:
        scores.update(log_z=None, log_z_missing=str(error))
        means[''] = None
    return scores, {name: None if value is None else float(value) for name, value in means.items()}


# ---- fitted Gaussians

def _of_gaussians(learned, test):
    """Mean log-likelihoods, by name, of the Gaussians of greatest likelihood: the same in all directions, and others.

    Probabilistic principal component analysis has ten directions with variances of their own (Tipping & Bishop 1999);
    a full covariance takes more points than numbers.
    """
    mean, variances, directions, total = _principal_components(learned.reshape(len(learned), -1))
    d = len(mean)
    sizes = {'isotropic': 0, **({'ppca': _COMPONENTS} if d > _COMPONENTS < len(learned) else {}),
             **({'gaussian': d} if len(learned) > d else {})}
    squares, along = 0.0, 0.0  # mean squares of distances from the mean, of all and along each direction
    for part in numpy.array_split(test.reshape(len(test), -1), math.ceil(len(test) / _PART)):
        deviations = part - mean
        squares += (deviations ** 2).sum() / len(test)
        along += ((deviations @ directions) ** 2).sum(axis=0) / len(test)
    found = {}
    for name, n in sizes.items():
        rest = (total - variances[:n].sum()) / max(1, d - n)  # variance in all other directions
        found[name] = float(-0.5 * (
            d * math.log(2 * math.pi) + numpy.log(variances[:n]).sum() + (along[:n] / variances[:n]).sum()
            + ((d - n) * math.log(rest) + (squares - along[:n].sum()) / rest if n < d else 0)))
    return found


def _principal_components(x):
    """Of points (M, d): mean (d,), variances (K,) with their directions (d, K), largest first, and the sum of all.

    Of grey levels, those of the same with uniform noise.
    """
    scale, shift, uniform = (GREY_LEVELS, 0.5, 1 / 12) if x.dtype == numpy.uint8 else (1, 0.0, 0.0)
    parts = numpy.array_split(x, math.ceil(len(x) / _PART))
    mean = sum(part.sum(axis=0, dtype=numpy.float64) for part in parts) / len(x)
    if len(x) > len(mean):
        covariance = sum((part - mean).T @ (part - mean) for part in parts) / len(x)
        variances, directions = numpy.linalg.eigh(covariance)
    else:
        _, roots, directions = numpy.linalg.svd(x - mean, full_matrices=False)
        variances, directions = roots[::-1] ** 2 / len(x), directions[::-1].T
    variances = variances[::-1].clip(0) + uniform
    total = variances.sum() + uniform * (len(mean) - len(variances))
    return (mean + shift) / scale, variances / scale ** 2, directions[:, ::-1], total / scale ** 2
