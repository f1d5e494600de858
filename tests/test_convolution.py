"""The two ways to compute a convolution: that they agree, round alike, and are chosen by size.

Their values and gradients beside Chainer's are test_fast_functions.py's.
"""

import chainer
import chainer.functions as F
import numpy
import pytest

from ddgm.fast.convolution import convolution_2d, deconvolution_2d
from ddgm.fast.kernels.convolution_on_cpu import Im2col, Winograd


@pytest.mark.parametrize('smallest_product', [0, 10 ** 9], ids=['minimal filtering', 'windows'])
@pytest.mark.parametrize('function', [convolution_2d, deconvolution_2d])
def test_calls_do_not_touch_each_other(function, smallest_product, monkeypatch):
    """All calls share memory: results stay what they were, and are the same after calls with larger arrays."""
    monkeypatch.setattr('ddgm.fast.kernels.convolution_on_cpu.SMALLEST_PRODUCT', smallest_product)

    def value_and_gradients(n, side):
        rng = numpy.random.default_rng(0)
        x, W = (chainer.Variable(rng.normal(size=shape)) for shape in ((n, 4, side, side), (4, 4, 4, 4)))
        y = function(x, W, None, 2, 1)
        F.sum(y ** 2).backward()
        return [y.array, x.grad, W.grad]

    first = value_and_gradients(2, 7)
    copies = [array.copy() for array in first]
    value_and_gradients(5, 12)
    for array, copy, again in zip(first, copies, value_and_gradients(2, 7)):
        numpy.testing.assert_array_equal(array, copy)
        numpy.testing.assert_array_equal(again, copy)


def products(scheme, x, y, W):
    return [
        scheme.product(scheme.from_image(x), W), scheme.transposed_product(scheme.from_result(y), W),
        scheme.weight_gradient(scheme.from_image(x), scheme.from_result(y))]


@pytest.mark.parametrize('pad', range(4))
@pytest.mark.parametrize('n', [1, 2])
def test_schemes_agree(n, pad, device, rng):
    """For every remainder of height and width, in all three products, and in either order of memory."""
    for size in ((4, 11), (5, 10), (6, 9), (7, 8)):
        schemes = Winograd(device.xp, n, size, pad), Im2col(device.xp, n, size, 4, 2, pad)
        assert schemes[0].result_size == schemes[1].result_size
        x, W, y = (device.send(rng.normal(size=shape)) for shape in (
            (n, 3, *size), (5, 3, 4, 4), (n, 5, *schemes[0].result_size)))
        expected = products(schemes[1], x, y, W)
        for array in (x, device.xp.asfortranarray(x)):
            for product, other in zip(products(schemes[0], array, y, W), expected):
                device.xp.testing.assert_allclose(product, other, atol=1e-12)


def test_rounding(rng):
    """Rounding of float32, as a share of the result's size: measured 6e-7, 4e-7 and 4e-7 where windows have 3, 2, 3."""
    schemes = Winograd(numpy, 8, (16, 16), 1), Im2col(numpy, 8, (16, 16), 4, 2, 1)
    arrays = [rng.normal(size=shape) for shape in ((8, 64, 16, 16), (8, 96, 8, 8), (96, 64, 4, 4))]
    exact = products(schemes[1], *arrays)
    errors, errors_of_windows = (
        numpy.array([numpy.std(product - other) / numpy.std(other) for product, other in zip(
            products(scheme, *(array.astype('f') for array in arrays)), exact)])
        for scheme in schemes)
    assert (errors < 1e-6).all()
    assert (errors < 3 * errors_of_windows).all()


@pytest.mark.parametrize(
    ('n', 'channels', 'expected'), [(16, 16, Winograd), (15, 16, Im2col), (16, 15, Im2col)])
def test_choice_of_scheme(n, channels, expected, rng):
    y = convolution_2d(rng.normal(size=(n, channels, 8, 8)), rng.normal(size=(5, channels, 4, 4)), None, 2, 1)
    assert isinstance(y.creator.scheme, expected)
