"""What all sides of a case are given: a pool of data, and for the check z and noise."""

import functools
import math
import statistics
import typing

import numpy

# ---- data

_POOL_BATCHES, _POOL_BYTES = 64, 2 ** 26


def draw_data(task, settings, n, rng):
    """n data points, float32: the mixture itself, or synthetic digits or pictures, which take as long as real ones."""
    if task == 'gaussian_mixture':
        from ddgm.data.distributions import GaussianMixture
        return GaussianMixture().sample(n, rng)
    if task == 'mnist':  # dark grey squares, five hundred different images
        squares = numpy.random.default_rng(1).random((500, 7, 7), dtype=numpy.float32).repeat(4, 1).repeat(4, 2)
        x = (0.05 + 0.3 * squares.reshape(500, 784))[rng.integers(500, size=n)]
        return (rng.random(x.shape) < x).astype(numpy.float32) if settings.binarized else x
    squares = rng.random((n, 3, 8, 8), dtype=numpy.float32).repeat(8, 2).repeat(8, 3)  # pale, under some noise
    return 0.3 + 0.5 * squares + 0.2 * rng.random(squares.shape, dtype=numpy.float32)


def draw_pool(case, rng):
    """Batches drawn beforehand, (batches, N, …): at most 64, and at most 64 MiB, but for a batch that is larger."""
    def batch():
        return draw_data(case.task, case.settings, case.settings.batchsize, rng)
    first = batch()
    n = max(1, min(_POOL_BATCHES, _POOL_BYTES // first.nbytes))
    return numpy.stack([first] + [batch() for _ in range(n - 1)])


# ---- z and noise for the check: those that this project draws, from the same generator

class NoiseCall(typing.NamedTuple):
    """Where an energy model takes noise.

    ``kind`` is ``'gaussian'``, with ``strength`` its standard deviation, or ``'dropout'``, with the share that becomes
    0; ``shape`` is that of one sample.
    """

    kind: str
    shape: tuple
    strength: float


class NoiseRecorder:
    """Adds no noise, and notes where an energy model asks for it: its ``calls``."""

    def __init__(self):
        self.calls = []

    def gaussian(self, x, standard_deviation):
        self.calls.append(NoiseCall('gaussian', tuple(x.shape[1:]), standard_deviation))
        return x

    def dropout(self, x, ratio):
        self.calls.append(NoiseCall('dropout', tuple(x.shape[1:]), ratio))
        return x


class GivenNoise:
    """Arrays or tensors to add, or to multiply with, in the order in which a network asks for them."""

    def __init__(self, values):
        self.values = iter(values)

    def gaussian(self, x, standard_deviation):
        return x + next(self.values)

    def dropout(self, x, ratio):
        return x * next(self.values)


class Draws(typing.NamedTuple):
    """The random numbers of one iteration, NumPy arrays.

    Noise is a list of arrays, one for each :class:`NoiseCall`: what is added for ``gaussian``, and the factors for
    ``dropout``.
    """

    energy_z: numpy.ndarray
    positive_noise: list
    negative_noise: list
    generator_z: numpy.ndarray
    generator_noise: list


def draw(case, calls, iteration):
    """What an iteration of this project draws, as :class:`Draws`."""
    settings = case.settings
    n = settings.batchsize
    rng = numpy.random.default_rng((settings.seed, iteration))

    def latent():
        return 2 * rng.random((n, settings.n_latent), dtype=numpy.float32) - 1

    def noise(n):
        return [_noise(rng, n, call) for call in calls]
    energy_z = latent()
    both = noise(2 * n)  # one batch of both phases, positive first
    positive, negative = [values[:n] for values in both], [values[n:] for values in both]
    return Draws(energy_z, positive, negative, latent(), noise(n))


def _noise(rng, n, call):
    """For n samples.  Of 16 random bits a number."""
    if call.kind == 'gaussian':
        return numpy.float32(call.strength) * _quantiles()[_bits(rng, (n, *call.shape))]
    # In the order in which this project's images lie in memory: (channels, height, width, N).
    kept = numpy.moveaxis(_bits(rng, (*call.shape, n)) >= call.strength * 2 ** 16, -1, 0)
    return numpy.ascontiguousarray(kept, dtype=numpy.float32) / numpy.float32(1 - call.strength)


def _bits(rng, shape):
    n = math.prod(shape)
    return rng.bit_generator.random_raw((n + 3) // 4).view(numpy.uint16)[:n].reshape(shape)


@functools.lru_cache(maxsize=1)
def _quantiles():
    """The normal distribution's values at 65,536 equal steps of probability, as a table of variance 1."""
    normal = statistics.NormalDist()
    table = numpy.array([normal.inv_cdf((i + 0.5) / 2 ** 16) for i in range(2 ** 16)])
    return (table / numpy.sqrt((table * table).mean())).astype(numpy.float32)
