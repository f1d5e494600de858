"""Noise is there in training only, as large as it says, and comes from its generator alone.

Gradients, and a GPU beside the CPU, are test_fast_functions.py's.
"""

import math
import statistics

import chainer
import numpy
import pytest
from conftest import send
from test_fast_functions import as_convolutions_lie

from ddgm.fast import noise

KINDS = {'gaussian': lambda x: noise.add_noise(x, 0.3), 'dropout': lambda x: noise.dropout(x, 0.4)}


def variable(array, device, dtype=numpy.float32):
    return chainer.Variable(send(device, numpy.asarray(array, dtype=dtype)))


def with_noise(kind, x, seed):
    with chainer.using_config('noise_generator', numpy.random.default_rng(seed)):
        return KINDS[kind](x)


def test_gaussian_has_its_standard_deviation(device):
    x = numpy.linspace(-1, 1, 200_000).reshape(100, 2000)
    added = chainer.cuda.to_cpu(with_noise('gaussian', variable(x, device), 1).array) - x
    assert added.mean() == pytest.approx(0, abs=0.003)
    assert added.std() == pytest.approx(0.3, rel=0.01)
    assert (abs(added) < 0.3).mean() == pytest.approx(0.6827, abs=0.005)
    assert abs(numpy.corrcoef(added.ravel()[1:], added.ravel()[:-1])[0, 1]) < 0.01


@pytest.mark.parametrize('kind', KINDS)
def test_no_noise_in_test_mode(kind, device, rng):
    x = variable(rng.normal(size=(4, 3)), device)
    state = rng.bit_generator.state
    with chainer.using_config('train', False):
        device.xp.testing.assert_array_equal(KINDS[kind](x).array, x.array)
        with chainer.using_config('noise_generator', rng):
            device.xp.testing.assert_array_equal(KINDS[kind](x).array, x.array)
    assert rng.bit_generator.state == state


@pytest.mark.parametrize('kind', KINDS)
def test_needs_a_source(kind, device):
    x = variable(numpy.ones((2, 3)), device)
    for _ in range(2):
        with pytest.raises(RuntimeError, match='noise_generator'):
            KINDS[kind](x)
        with_noise(kind, x, 0)  # which ends with its context


@pytest.mark.parametrize('dtype', [numpy.float32, numpy.float64])
@pytest.mark.parametrize('kind', KINDS)
def test_follows_its_generator_alone(kind, dtype, device):
    """The same generator gives the same noise, whatever the global generators do; its next draw is another."""
    x = numpy.ones((50, 40))
    device.xp.random.seed(0)
    first = with_noise(kind, variable(x, device, dtype), 3)
    device.xp.random.seed(1)
    again = with_noise(kind, variable(x, device, dtype), 3)
    assert first.dtype == dtype
    device.xp.testing.assert_array_equal(first.array, again.array)
    assert (first.array != with_noise(kind, variable(x, device, dtype), 4).array).any()
    with chainer.using_config('noise_generator', numpy.random.default_rng(3)):
        KINDS[kind](variable(x, device, dtype))
        assert (first.array != KINDS[kind](variable(x, device, dtype)).array).any()


class EveryNumberOnce:
    """A generator whose 16-bit numbers are 0 to 65,535, in this order."""

    def integers(self, high, size, dtype):
        assert (high, size, dtype) == (2 ** 64, 2 ** 14, numpy.uint64)
        return numpy.arange(2 ** 16, dtype=numpy.uint16).view(numpy.uint64)


@pytest.mark.parametrize('dtype', [numpy.float32, numpy.float64])
def test_every_level_of_the_gaussian(dtype, device):
    """Steps of equal probability: increasing, symmetric, their middles the quantiles but for the exact variance."""
    x = variable(numpy.zeros((2 ** 8, 2 ** 8)), device, dtype)
    with chainer.using_config('noise_generator', EveryNumberOnce()):
        levels = chainer.cuda.to_cpu(noise.add_noise(x, 0.3).array).ravel()
    assert levels.dtype == dtype
    levels = levels.astype(numpy.float64)
    assert (numpy.diff(levels) > 0).all()
    numpy.testing.assert_array_equal(levels, -levels[::-1])
    assert levels.var() == pytest.approx(0.3 ** 2, rel=1e-6)
    assert levels.max() == pytest.approx(4.3 * 0.3, rel=0.01)
    normal = statistics.NormalDist(sigma=0.3)
    for i in (0, 10, 1000, 32767, 50000, 65535):
        assert levels[i] == pytest.approx(normal.inv_cdf((i + 0.5) / 2 ** 16), rel=1e-3)


@pytest.mark.parametrize('ratio', [0.0, 0.25, 0.4, 0.999])
def test_dropout_drops_the_lowest_numbers(ratio, device):
    """Of all 65,536 numbers its share, exact to one of them."""
    with chainer.using_config('noise_generator', EveryNumberOnce()):
        y = chainer.cuda.to_cpu(noise.dropout(variable(numpy.ones(2 ** 16), device), ratio).array)
    assert (y == 0).sum() == math.ceil(ratio * 2 ** 16)
    assert (numpy.diff(y) >= 0).all()
    assert y[-1] == pytest.approx(1 / (1 - ratio), rel=1e-6)


@pytest.mark.parametrize('kind', KINDS)
def test_result_lies_in_memory_as_x_does(kind, device):
    """Noise is drawn in the order in which x lies, so that what follows needs no rearranged copy."""
    x = numpy.ones((2, 3, 4, 5))
    plain = with_noise(kind, variable(x, device), 1).array
    other = with_noise(kind, variable(as_convolutions_lie(x), device), 1).array
    assert plain.flags.c_contiguous
    assert other.transpose(1, 2, 3, 0).flags.c_contiguous
    device.xp.testing.assert_array_equal(other.transpose(1, 2, 3, 0).ravel(), plain.ravel())


@pytest.mark.parametrize('kind', KINDS)
def test_any_number_of_numbers(kind, device):
    """Four of them share the 64 bits of a draw, and the last draw need not be used up."""
    of_eight = with_noise(kind, variable(numpy.ones(8), device), 1).array
    for size in (1, 2, 3, 4, 5, 7):
        y = with_noise(kind, variable(numpy.ones(size), device), 1).array
        device.xp.testing.assert_array_equal(y, of_eight[:size])


@pytest.mark.parametrize('draw', [noise.add_noise, noise.dropout])
def test_noise_of_size_zero_draws_but_changes_nothing(draw, device, rng):
    x = variable(rng.normal(size=(4, 3)), device)
    state = rng.bit_generator.state
    with chainer.using_config('noise_generator', rng):
        device.xp.testing.assert_array_equal(draw(x, 0.0).array, x.array)
    assert rng.bit_generator.state != state
