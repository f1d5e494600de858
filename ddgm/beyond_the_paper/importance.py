"""Samples of a density in the plane without a Markov chain: drawn broadly, and chosen by their energy."""

import chainer
import numpy

from ddgm.fast import batches


def sample_by_importance(energy_model, x, n_proposals, deviation, rng):
    """As many points as ``x`` that follow P(x) = exp(−E(x))/Z, up to what few proposals miss.

    Sampling–importance resampling (Rubin 1988): proposals come from a Gaussian q around the origin, and are chosen in
    proportion to exp(−E(x))/q(x), whose sum stands for Z.  The choice is systematic: a point of weight w comes n·w
    times, rounded up or down.  Proposals reach what the generator never visits, but the number of them that it takes
    grows with the dimension, so this is for the plane.

    Args:
        energy_model (DeepEnergyModel): The DEM, of points (N, D).
        x: (N, D), an array on the model's device; of it only the shape counts.
        n_proposals (int): Points drawn from q.
        deviation (float): q's standard deviation.
        rng: NumPy generator.

    Returns:
        (N, D) float32 on the model's device; some points may be the same.
    """
    device, n = energy_model.device, batches.n_rows(len(x))
    proposals = deviation * rng.standard_normal((n_proposals, *x.shape[1:]), dtype=numpy.float32)
    with chainer.using_config('train', False), chainer.no_backprop_mode():
        energies = chainer.cuda.to_cpu(energy_model(device.send(proposals)).array).astype(numpy.float64)
    log_weights = 0.5 * (proposals.astype(numpy.float64) ** 2).sum(axis=1) / deviation ** 2 - energies
    weights = numpy.exp(log_weights - log_weights.max()).cumsum()
    places = (numpy.arange(n) + rng.random()) / n * weights[-1]
    chosen = rng.permutation(weights.searchsorted(places).clip(max=n_proposals - 1))
    return device.send(batches.share_of(proposals[chosen]))
