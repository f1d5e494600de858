"""The ways to compute a convolution: that they agree, round alike, are chosen by size, and are the same on a GPU.

Their values and gradients beside Chainer's are test_fast_functions.py's.
"""

import itertools

import chainer
import chainer.functions as F
import numpy
import pytest

from ddgm.fast.convolution import convolution_2d, deconvolution_2d
from ddgm.fast.kernels import convolution_on_cpu, convolution_on_gpu
from ddgm.fast.kernels.convolution_on_cpu import Im2col, OverlappingRows, Winograd

SIZES = [(4, 11), (5, 10), (6, 9), (7, 8)]  # every remainder of height and width


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


def products(scheme, x, y, W, b=None, b_of_x=None):
    return [
        scheme.product(scheme.from_image(x), W, b), scheme.transposed_product(scheme.from_result(y), W, b_of_x),
        scheme.weight_gradient(scheme.from_image(x), scheme.from_result(y))]


@pytest.mark.parametrize('pad', range(4))
@pytest.mark.parametrize('n', [1, 2])
def test_schemes_agree(n, pad, device, rng):
    """In all three products, and in either order of memory."""
    backend = convolution_on_cpu if device.xp is numpy else convolution_on_gpu
    for size in SIZES:
        schemes = backend.Winograd(n, size, pad), backend.Im2col(n, size, 4, 2, pad)
        assert schemes[0].result_size == schemes[1].result_size
        x, W, y = (device.send(rng.normal(size=shape)) for shape in (
            (n, 3, *size), (5, 3, 4, 4), (n, 5, *schemes[0].result_size)))
        expected = products(schemes[1], x, y, W)
        for array in (x, device.xp.asfortranarray(x)):
            for product, other in zip(products(schemes[0], array, y, W), expected):
                device.xp.testing.assert_allclose(product, other, atol=1e-12)


def test_rounding(rng):
    """Rounding of float32, as a share of the result's size: measured 6e-7, 4e-7 and 4e-7 where windows have 3, 2, 3."""
    schemes = Winograd(8, (16, 16), 1), Im2col(8, (16, 16), 4, 2, 1)
    arrays = [rng.normal(size=shape) for shape in ((8, 64, 16, 16), (8, 96, 8, 8), (96, 64, 4, 4))]
    exact = products(schemes[1], *arrays)
    errors, errors_of_windows = (
        numpy.array([numpy.std(product - other) / numpy.std(other) for product, other in zip(
            products(scheme, *(array.astype('f') for array in arrays)), exact)])
        for scheme in schemes)
    assert (errors < 1e-6).all()
    assert (errors < 3 * errors_of_windows).all()


@pytest.mark.parametrize('n', [1, 3])
@pytest.mark.parametrize(('ksize', 'pad'), [(5, 2), (3, 1), (3, 0), (4, 3), (1, 0), (7, 2)])
def test_overlapping_rows(ksize, pad, n, rng):
    """Beside windows, also after larger arrays in the same memory; images in either order."""
    for size in ((12, 9), (3, 5)):
        schemes = OverlappingRows(n, size, ksize, pad), Im2col(n, size, ksize, 1, pad)
        assert schemes[0].result_size == schemes[1].result_size
        if min(schemes[0].result_size) < 1:
            continue
        x, W, y, b, c = (rng.normal(size=shape) for shape in (
            (n, 3, *size), (5, 3, ksize, ksize), (n, 5, *schemes[0].result_size), 5, 3))
        for biases in ((None, None), (b, c)):
            expected = products(schemes[1], x, y, W, *biases)
            for array in (x, numpy.asfortranarray(x)):
                for product, other in zip(products(schemes[0], array, y, W, *biases), expected):
                    numpy.testing.assert_allclose(product, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ('n', 'channels', 'expected'), [(16, 16, Winograd), (15, 16, Im2col), (16, 15, Im2col)])
def test_choice_of_scheme(n, channels, expected, rng):
    y = convolution_2d(rng.normal(size=(n, channels, 8, 8)), rng.normal(size=(5, channels, 4, 4)), None, 2, 1)
    assert isinstance(y.creator.scheme, expected)


@pytest.mark.gpu
@pytest.mark.parametrize('dtype', [numpy.float32, numpy.float64])
@pytest.mark.parametrize('n', [1, 3])
@pytest.mark.parametrize(('way', 'geometries'), [
    ('Winograd', [(4, 2, pad) for pad in range(4)]),
    ('Im2col', [(4, 2, 1), (5, 2, 2), (4, 1, 0), (3, 1, 1), (2, 3, 0), (3, 2, 3)])])
def test_on_a_gpu(way, geometries, n, dtype, rng):
    """What operands are made of has the bits of the CPU, and products are the same up to their rounding."""
    device = chainer.get_device('@cupy:0')
    for (ksize, stride, pad), size in itertools.product(geometries, [*SIZES, (16, 16)]):
        arguments = (n, size, pad) if way == 'Winograd' else (n, size, ksize, stride, pad)
        here, there = (getattr(module, way)(*arguments) for module in (convolution_on_cpu, convolution_on_gpu))
        x, y, W, *biases = (rng.normal(size=shape).astype(dtype) for shape in (
            (n, 3, *size), (n, 5, *here.result_size), (5, 3, ksize, ksize), 5, 3))
        for array, method in ((x, 'from_image'), (y, 'from_result')):
            made = getattr(there, method)(device.send(array))
            assert made.flags.c_contiguous
            numpy.testing.assert_array_equal(made.get(), getattr(here, method)(array))
        for given in ((None, None), biases):
            expected = products(here, x, y, W, *given)
            for result, other in zip(products(there, *map(device.send, (x, y, W)), *map(device.send, given)), expected):
                assert result.dtype == dtype
                scale = numpy.finfo(dtype).eps * abs(other).max()
                numpy.testing.assert_allclose(result.get(), other, rtol=0, atol=20 * scale)
                assert result.shape[2:] == (ksize, ksize) or result.transpose(1, 2, 3, 0).flags.c_contiguous
