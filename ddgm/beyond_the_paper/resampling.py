"""Samples of a density in the plane without a Markov chain: drawn broadly or near G's, and chosen by their energy."""

import chainer
import numpy

from ddgm.fast import kernels, sharding
from ddgm.fast.captured import drawn

_SMALLEST = 1e-37  # density of a proposal, as float32 still tells it from 0


def sampling_importance_resampling(energy_model, x, n_proposals, deviation, near_deviation, rng):
    """As many points as ``x`` that follow P(x) = exp(−E(x))/Z, up to what few proposals miss.

    Sampling–importance resampling (Rubin 1988): proposals come from a density q, and are chosen in proportion to
    exp(−E(x))/q(x), whose sum stands for Z.  The choice is systematic: a point of weight w comes n·w times, rounded up
    or down.  One half of q is a Gaussian around the origin, which reaches what the generator never visits; the other
    half are Gaussians around the generator's samples, which fall where P is high, however narrow it is.  The number of
    proposals that it takes grows with the dimension, so this is for the plane.

    Args:
        energy_model (DeepEnergyModel): The DEM, of points (N, D).
        x: (N, D), the generator's samples, an array on the model's device.
        n_proposals (int): Points drawn from q.
        deviation (float): Standard deviation of the Gaussian around the origin.
        near_deviation (float): Of those around the samples; 0: there are none.
        rng: NumPy generator.

    Returns:
        (N, D) on the model's device, of the type of ``x``; some points may be the same.
    """
    device, centres = energy_model.device, sharding.all_gather(x)
    n, n_near = len(centres), n_proposals // 2 if near_deviation else 0
    shape = n_proposals, *x.shape[1:]
    noise = drawn(device, rng, lambda rng: rng.standard_normal(shape, dtype=numpy.float32)).astype(x.dtype, copy=False)
    proposals = deviation * noise
    proposals[:n_near] = centres[device.xp.arange(n_near) % n] + near_deviation * noise[:n_near]
    with chainer.using_config('train', False), chainer.no_backprop_mode():
        energies = energy_model(proposals).array
    share = n_near / n_proposals
    density = (1 - share) * mean_of_gaussians(proposals, device.xp.zeros_like(proposals[:1]), deviation)
    if n_near:
        density += share * mean_of_gaussians(proposals, centres, near_deviation)
    log_weights = (-energies - device.xp.log(density + _SMALLEST)).astype(numpy.float64)
    weights = device.xp.exp(log_weights - log_weights.max()).cumsum()
    places = drawn(device, rng, lambda rng: (numpy.arange(n) + rng.random()) / n) * weights[-1]
    chosen = device.xp.searchsorted(weights, places).clip(0, n_proposals - 1)
    return proposals[chosen[drawn(device, rng, lambda rng: sharding.shard_of(rng.permutation(n)))]]


def mean_of_gaussians(x, centres, deviation):
    """The mean of Gaussian densities of one standard deviation around ``centres``, (M, D), at ``x``: (N,) from (N, D).

    They lack the factor (2π)^(−D/2).
    """
    return kernels.of(x).mean_of_gaussians(x, centres, deviation)
