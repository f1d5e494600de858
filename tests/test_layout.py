"""Images that lie in memory one after the other, and as convolutions return them: the same numbers, few copies."""

import chainer
import numpy
import pytest
from test_fast_functions import as_convolutions_lie

from ddgm.fast import kernels
from ddgm.fast.elementary import as_matrix
from ddgm.fast.kernels import layout_on_cpu

SHAPES = [(4, 3, 8, 8), (3, 2, 5, 7), (64, 3, 64, 64), (2, 1, 1, 1), (0, 3, 4, 4)]


@pytest.fixture(params=SHAPES, ids=str)
def x(request, rng):
    return rng.normal(size=request.param).astype(numpy.float32)


def test_channels_first(x, device):
    for images in (x, as_convolutions_lie(x), x[:, ::-1]):
        sent = device.send(images)
        result = kernels.of(sent).channels_first(sent)
        assert result.flags.c_contiguous
        numpy.testing.assert_array_equal(chainer.cuda.to_cpu(result), images.transpose(1, 2, 3, 0))


def test_what_convolutions_return_is_not_copied(rng):
    x = as_convolutions_lie(rng.normal(size=(4, 3, 8, 8)))
    assert numpy.shares_memory(layout_on_cpu.channels_first(x), x)
    assert numpy.shares_memory(as_matrix(x), x)


def test_joined(x, device):
    """Of two layouts; points too."""
    joined = kernels.of(device.send(x)).joined
    both = joined(device.send(x), device.send(as_convolutions_lie(x + 1)))
    assert both.transpose(1, 2, 3, 0).flags.c_contiguous
    numpy.testing.assert_array_equal(chainer.cuda.to_cpu(both), numpy.concatenate([x, x + 1]))
    both = joined(device.send(x), device.send(x.astype(numpy.float64)))
    assert both.dtype == numpy.float64
    points = x[:, :, 0, 0]
    both = joined(device.send(points), device.send(points))
    numpy.testing.assert_array_equal(chainer.cuda.to_cpu(both), numpy.concatenate([points, points]))


def test_matrix(x):
    for images in (x, as_convolutions_lie(x), x[:, ::-1]):
        numpy.testing.assert_array_equal(as_matrix(images), images.reshape(len(x), x[0].size if len(x) else 48))


def test_sums_of_channels(x, device):
    """Beside float64, of each layout; of many numbers around 1,000, too."""
    y = x + 1000
    for first, second in ((x, y), (as_convolutions_lie(x), as_convolutions_lie(y)), (x, as_convolutions_lie(y))):
        sent = device.send(second)
        sums = kernels.of(sent).sums_of_channels(sent)
        products = layout_on_cpu.sums_of_channels(first, second)
        exact, other = first.astype(numpy.float64), second.astype(numpy.float64)
        assert sums.dtype == products.dtype == numpy.float32
        numpy.testing.assert_allclose(chainer.cuda.to_cpu(sums), other.sum(axis=(0, 2, 3)), rtol=1e-6)
        numpy.testing.assert_allclose(
            products, (exact * other).sum(axis=(0, 2, 3)), atol=1e-6 * max(1.0, abs(exact * other).sum() / 3))


@pytest.mark.parametrize('shape', [(2, 8, 4, 4), (4, 64)])
def test_levels(shape, device, rng):
    """All 256 levels as NumPy divides them, to the last bit; images may lie as convolutions take them."""
    levels = rng.permutation(256).astype(numpy.uint8).reshape(shape)
    x = kernels.as_numbers(device.send(levels))
    assert x.dtype == numpy.float32
    numpy.testing.assert_array_equal(chainer.cuda.to_cpu(x), levels / numpy.float32(255))
