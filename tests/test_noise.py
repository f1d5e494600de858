"""Noise is there in training only, as large as it says, and comes from the generator of its source alone."""

import chainer
import chainer.functions as F
import numpy
import pytest

from ddgm import noise

KINDS = {'gaussian': lambda x: noise.gaussian(x, 0.3), 'dropout': lambda x: noise.dropout(x, 0.4)}


def variable(array, device, dtype=numpy.float32):
    return chainer.Variable(device.send(numpy.asarray(array, dtype=dtype)))


def with_noise(kind, x, seed):
    with noise.source(numpy.random.default_rng(seed)):
        return KINDS[kind](x)


def test_gaussian_has_its_standard_deviation(device):
    x = numpy.linspace(-1, 1, 200_000).reshape(100, 2000)
    added = chainer.cuda.to_cpu(with_noise('gaussian', variable(x, device), 1).array) - x
    assert added.mean() == pytest.approx(0, abs=0.003)
    assert added.std() == pytest.approx(0.3, rel=0.01)
    assert (abs(added) < 0.3).mean() == pytest.approx(0.6827, abs=0.005)
    assert abs(numpy.corrcoef(added.ravel()[1:], added.ravel()[:-1])[0, 1]) < 0.01


def test_dropout_drops_its_share_and_keeps_the_mean(device):
    x = numpy.linspace(1, 2, 200_000).reshape(100, 20, 10, 10)
    y = chainer.cuda.to_cpu(with_noise('dropout', variable(x, device), 1).array)
    assert (y == 0).mean() == pytest.approx(0.4, abs=0.005)
    assert y.mean() == pytest.approx(1.5, abs=0.01)
    numpy.testing.assert_allclose(y[y != 0], x[y != 0] / 0.6, rtol=1e-6)


@pytest.mark.parametrize('kind', KINDS)
def test_no_noise_in_test_mode(kind, device, rng):
    x = variable(rng.normal(size=(4, 3)), device)
    state = rng.bit_generator.state
    with chainer.using_config('train', False):
        device.xp.testing.assert_array_equal(KINDS[kind](x).array, x.array)
        with noise.source(rng):
            device.xp.testing.assert_array_equal(KINDS[kind](x).array, x.array)
    assert rng.bit_generator.state == state


@pytest.mark.parametrize('kind', KINDS)
def test_needs_a_source(kind, device):
    x = variable(numpy.ones((2, 3)), device)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r'noise\.source'):
            KINDS[kind](x)
        with_noise(kind, x, 0)  # which ends with its context


@pytest.mark.parametrize('dtype', [numpy.float32, numpy.float64])
@pytest.mark.parametrize('kind', KINDS)
def test_follows_its_generator_alone(kind, dtype, device):
    """The same generator gives the same noise for every device and number type, whatever the global generators do."""
    x = numpy.ones((50, 40))
    device.xp.random.seed(0)
    first = with_noise(kind, variable(x, device, dtype), 3)
    device.xp.random.seed(1)
    again = with_noise(kind, variable(x, device, dtype), 3)
    other = with_noise(kind, variable(x, device, dtype), 4)
    assert first.dtype == dtype
    device.xp.testing.assert_array_equal(first.array, again.array)
    assert (first.array != other.array).any()
    on_the_cpu = with_noise(kind, variable(x, chainer.get_device('@numpy')), 3).array
    numpy.testing.assert_allclose(chainer.cuda.to_cpu(first.array), on_the_cpu, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('kind', KINDS)
def test_two_draws_differ(kind, device, rng):
    x = variable(numpy.ones((50, 40)), device)
    with noise.source(rng):
        assert (KINDS[kind](x).array != KINDS[kind](x).array).any()


def test_inner_source_ends(device):
    """A source inside another one takes over until its end."""
    x = variable(numpy.zeros((3, 2)), device)
    with noise.source(numpy.random.default_rng(5)):
        with noise.source(numpy.random.default_rng(6)):
            inner = noise.gaussian(x, 1.0)
        outer = noise.gaussian(x, 1.0)
    numpy.testing.assert_array_equal(
        chainer.cuda.to_cpu(inner.array), numpy.random.default_rng(6).standard_normal((3, 2), dtype=numpy.float32))
    numpy.testing.assert_array_equal(
        chainer.cuda.to_cpu(outer.array), numpy.random.default_rng(5).standard_normal((3, 2), dtype=numpy.float32))


def test_gradient_of_gaussian_passes_unchanged(device, rng):
    x, weights = variable(rng.normal(size=(6, 5)), device), device.send(rng.normal(size=(6, 5)).astype(numpy.float32))
    F.sum(with_noise('gaussian', x, 0) * weights).backward()
    device.xp.testing.assert_array_equal(x.grad, weights)


def test_gradient_of_dropout_passes_through_its_mask(device, rng):
    x, weights = variable(numpy.ones((60, 50)), device), device.send(rng.normal(size=(60, 50)).astype(numpy.float32))
    y = with_noise('dropout', x, 0)
    F.sum(y * weights).backward()
    # Of ones, y is the mask.
    assert 0 < (y.array == 0).sum() < y.size
    device.xp.testing.assert_array_equal(x.grad, y.array * weights)


@pytest.mark.parametrize('kind', [lambda x: noise.gaussian(x, 0.0), lambda x: noise.dropout(x, 0.0)], ids=KINDS)
def test_noise_of_size_zero_draws_but_changes_nothing(kind, device, rng):
    x = variable(rng.normal(size=(4, 3)), device)
    state = rng.bit_generator.state
    with noise.source(rng):
        device.xp.testing.assert_array_equal(kind(x).array, x.array)
    assert rng.bit_generator.state != state
