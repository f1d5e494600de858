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

from ddgm.fast import functions, noise

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


@pytest.mark.parametrize('dtype', [numpy.float32, numpy.float64])
@pytest.mark.parametrize('lies', [numpy.ascontiguousarray, as_convolutions_lie])
def test_noisy_elu_is_one_after_the_other(lies, dtype, device, rng):
    x = variable(lies(rng.normal(size=(2, 3, 4, 5))), device, dtype)

    def results(function):
        with chainer.using_config('noise_generator', numpy.random.default_rng(3)):
            y = function(x)
        gradient, = chainer.grad([chainer.functions.sum(y * y)], [x])
        with chainer.using_config('train', False):
            return y.array, gradient.array, function(x).array
    for found, expected in zip(
            results(lambda x: noise.noisy_elu(x, 0.3)), results(lambda x: noise.add_noise(functions.elu(x), 0.3))):
        device.xp.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize('draw', [noise.add_noise, noise.dropout])
def test_noise_of_size_zero_draws_but_changes_nothing(draw, device, rng):
    x = variable(rng.normal(size=(4, 3)), device)
    state = rng.bit_generator.state
    with chainer.using_config('noise_generator', rng):
        device.xp.testing.assert_array_equal(draw(x, 0.0).array, x.array)
    assert rng.bit_generator.state != state


# ---- what a GPU draws itself

def draw_on_gpu(kind, x, rng, dtype=numpy.float32, from_host=False):
    """The noise of a GPU, there, of an array of NumPy's."""
    device = chainer.get_device('@cupy:0')
    with chainer.using_device(device), chainer.using_config('noise_generator', rng), \
            chainer.using_config('noise_from_host', from_host):
        return chainer.cuda.to_cpu(KINDS[kind](variable(x, device, dtype)).array)


class Philox:
    """A generator of the bits that a GPU draws after these numbers of an iteration's, in the order of its threads."""

    def __init__(self, rng):
        state = rng.bit_generator.state['state']['state']
        self.bits = numpy.random.Philox(key=numpy.array([state >> 64, state % 2 ** 64], dtype=numpy.uint64))

    def integers(self, high, size, dtype):
        n = 4 * size
        words = self.bits.random_raw(4 * math.ceil(n / 16)).view(numpy.uint16)
        bits = words.reshape(-1, 16).T.ravel()[:n]
        return numpy.ascontiguousarray(bits).view(dtype)


@pytest.mark.gpu
@pytest.mark.parametrize('dtype', [numpy.float32, numpy.float64])
@pytest.mark.parametrize('shape', [(4,), (12, 3), (3, 32, 7), (2, 3, 4, 6)])
@pytest.mark.parametrize('kind', KINDS)
def test_a_gpu_draws_the_bits_of_numpys_philox(kind, shape, dtype, rng):
    """Of the generator's state as the key; another at the next call."""
    x = rng.normal(size=shape)
    if len(shape) == 4:
        x = as_convolutions_lie(x)
    mine, others = numpy.random.default_rng((3, 5)), numpy.random.default_rng((3, 5))
    for _ in range(2):
        found = draw_on_gpu(kind, x, mine, dtype)
        expected = draw_on_gpu(kind, x, Philox(others), dtype)
        numpy.testing.assert_array_equal(found, expected)
        others.integers(2 ** 64, size=math.ceil(x.size / 4), dtype=numpy.uint64)


@pytest.mark.gpu
@pytest.mark.parametrize('n', [1, 15, 16, 17, 100])
def test_drawn_bits_are_those_of_numpy(n):
    """As ranks draw them before they take their rows."""
    from cupy import asnumpy

    from ddgm.fast.kernels import on_gpu
    key = numpy.array([2 ** 63 + 12345, 2 ** 64 - 1], dtype=numpy.uint64)
    xp = chainer.get_device('@cupy:0').xp
    words = numpy.random.Philox(key=key).random_raw(4 * math.ceil(n / 16)).view(numpy.uint16)
    numpy.testing.assert_array_equal(
        asnumpy(on_gpu.drawn_bits(xp, tuple(key), n)), words.reshape(-1, 16).T.ravel()[:n])


@pytest.mark.gpu
@pytest.mark.parametrize('n', [1, 6, 64])
@pytest.mark.parametrize('kind', KINDS)
def test_what_is_drawn_later_is_the_same_for_every_device(kind, n):
    """Also the half of a word that waits for the next number of 32 bits."""
    states = []
    for from_host in (True, False):
        rng = numpy.random.default_rng(0)
        rng.random(dtype=numpy.float32)
        draw_on_gpu(kind, numpy.ones(n), rng, from_host=from_host)
        states.append(rng.bit_generator.state)
    assert states[0] == states[1]
    assert states[0]['has_uint32']


@pytest.mark.gpu
def test_dropout_on_a_gpu_drops_the_same_numbers_of_the_gradient(rng):
    """They are drawn once more: in the order in which x lies, also where the gradient lies otherwise."""
    device = chainer.get_device('@cupy:0')
    x = chainer.Variable(send(device, as_convolutions_lie(numpy.ones((4, 3, 2, 5)))))
    with chainer.using_config('noise_generator', rng):
        y = noise.dropout(x, 0.4)
    y.grad = device.xp.ones(y.shape)
    y.backward()
    device.xp.testing.assert_array_equal(x.grad, y.array)
    assert 0 < int((y.array == 0).sum()) < y.size
