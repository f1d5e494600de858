"""Convolution and its transpose beside their definitions and Chainer's own, in value and gradient."""

import chainer
import chainer.functions as F
import numpy
import pytest
from chainer import gradient_check

from ddgm.fast.convolution import convolution_2d, deconvolution_2d
from ddgm.fast.convolution_schemes import MinimalFiltering, Windows

# how kernels of 4 with stride 2 are computed; stride, padding, kernel; the published ones first
CASES = [(scheme, 2, pad, 4) for scheme in (MinimalFiltering, Windows) for pad in (1, 0, 2, 3)]
CASES += [(Windows, *case) for case in ((2, 2, 5), (1, 0, 3), (3, 2, 3), (1, 2, 5))]


def choose(scheme, monkeypatch):
    """Have arrays as small as those here computed this way."""
    monkeypatch.setattr('ddgm.fast.convolution.SMALLEST_PRODUCT', 0 if scheme is MinimalFiltering else 10 ** 9)


@pytest.fixture(params=[MinimalFiltering, Windows])
def scheme(request, monkeypatch):
    choose(request.param, monkeypatch)


@pytest.fixture(params=CASES, ids=str)
def case(request, monkeypatch, rng):
    scheme, stride, pad, ksize = request.param
    choose(scheme, monkeypatch)
    return stride, pad, rng.normal(size=(3, 4, 9, 8)), rng.normal(size=(5, 4, ksize, ksize)), rng.normal(size=5)


def naive_convolution(x, W, b, stride, pad):
    """The definition, a number at a time."""
    padded = numpy.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    ksize = W.shape[2]
    height, width = ((length - ksize) // stride + 1 for length in padded.shape[2:])
    y = numpy.empty((len(x), len(W), height, width))
    for n, unit, i, j in numpy.ndindex(y.shape):
        window = padded[n, :, i * stride:i * stride + ksize, j * stride:j * stride + ksize]
        y[n, unit, i, j] = (window * W[unit]).sum() + b[unit]
    return y


@pytest.mark.parametrize('dtype', [numpy.float32, numpy.float64])
def test_convolution(case, dtype, device):
    stride, pad, x, W, b = case
    y = convolution_2d(*(device.send(array.astype(dtype)) for array in (x, W, b)), stride, pad)
    assert y.dtype == dtype
    numpy.testing.assert_allclose(
        chainer.cuda.to_cpu(y.array), naive_convolution(x, W, b, stride, pad),
        atol=1e-4 if dtype == numpy.float32 else 1e-12)


def test_deconvolution_is_the_transpose(case, device):
    """⟨convolution_2d(x), y⟩ = ⟨x, deconvolution_2d(y)⟩, and the value Chainer computes."""
    stride, pad = case[:2]
    x, W = map(device.send, case[2:4])
    y = convolution_2d(x, W, None, stride, pad).array
    other = y[::-1] ** 2
    back = deconvolution_2d(other, W, None, stride, pad, x.shape[2:]).array
    assert float((y * other).sum()) == pytest.approx(float((x * back).sum()))
    assert back.shape == x.shape
    expected = F.deconvolution_2d(other, W, None, stride, pad, x.shape[2:]).array
    device.xp.testing.assert_allclose(back, expected, atol=1e-10)


@pytest.mark.usefixtures('scheme')
def test_default_size_of_deconvolution(rng):
    x, W, b = rng.normal(size=(2, 3, 7, 6)), rng.normal(size=(3, 4, 4, 4)), rng.normal(size=4)
    for stride, pad in ((2, 1), (2, 0), (1, 1)):
        y = deconvolution_2d(x, W, b, stride, pad).array
        numpy.testing.assert_allclose(y, F.deconvolution_2d(x, W, b, stride, pad).array, atol=1e-10)


@pytest.mark.parametrize('function', [convolution_2d, deconvolution_2d])
def test_gradients(function, case, device, rng):
    device.xp.random.seed(0)  # check_backward draws its direction from the global generator
    stride, pad, x, W, b = case
    if function is deconvolution_2d:
        W = W[:, :4].transpose(1, 0, 2, 3)  # from x's four channels to five
    x, W, b = (device.send(numpy.ascontiguousarray(array)) for array in (x, W, b))
    shape = function(x, W, b, stride, pad).shape
    gradient_check.check_backward(
        lambda x, W, b: function(x, W, b, stride, pad), (x, W, b), device.send(rng.normal(size=shape)), eps=1e-4,
        dtype=numpy.float64, rtol=1e-6, atol=1e-7)


@pytest.mark.usefixtures('scheme')
@pytest.mark.parametrize('function', [convolution_2d, deconvolution_2d])
def test_gradient_of_each_input_alone(function, device, rng):
    """Where only some inputs need a gradient, as when the generator learns through the DEM, those get it."""
    inputs = [device.send(array) for array in (
        rng.normal(size=(2, 4, 6, 6)), rng.normal(size=(4, 4, 4, 4)), rng.normal(size=4))]
    together = [chainer.Variable(array) for array in inputs]
    F.sum(function(*together, 2, 1) ** 2).backward()
    for i in range(len(inputs)):
        alone = [chainer.Variable(array, requires_grad=j == i) for j, array in enumerate(inputs)]
        F.sum(function(*alone, 2, 1) ** 2).backward()
        for j, variable in enumerate(alone):
            if j == i:
                device.xp.testing.assert_allclose(variable.grad, together[j].grad, rtol=1e-12)
            else:
                assert variable.grad is None


@pytest.mark.usefixtures('scheme')
def test_order_in_memory_is_kept(rng):
    """A result goes into the next convolution without a copy, also through element-by-element functions."""
    y = convolution_2d(rng.normal(size=(2, 3, 8, 8)), rng.normal(size=(4, 3, 4, 4)), None, 2, 1)
    for array in (y.array, F.relu(y).array, F.tanh(y).array):
        assert array.transpose(1, 2, 3, 0).flags.c_contiguous


@pytest.mark.usefixtures('scheme')
@pytest.mark.parametrize('function', [convolution_2d, deconvolution_2d])
def test_calls_do_not_touch_each_other(function, rng):
    """All calls share memory: results stay what they were, and are the same after calls with larger arrays."""
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
        schemes = MinimalFiltering(device.xp, n, size, pad), Windows(device.xp, n, size, 4, 2, pad)
        assert schemes[0].result_size == schemes[1].result_size
        x, W, y = (device.send(rng.normal(size=shape)) for shape in (
            (n, 3, *size), (5, 3, 4, 4), (n, 5, *schemes[0].result_size)))
        expected = products(schemes[1], x, y, W)
        for array in (x, device.xp.asfortranarray(x)):
            for product, other in zip(products(schemes[0], array, y, W), expected):
                device.xp.testing.assert_allclose(product, other, atol=1e-12)


def test_rounding(rng):
    """Rounding of float32, as a share of the result's size: measured 6e-7, 4e-7 and 4e-7 where windows have 3, 2, 3."""
    schemes = MinimalFiltering(numpy, 8, (16, 16), 1), Windows(numpy, 8, (16, 16), 4, 2, 1)
    arrays = [rng.normal(size=shape) for shape in ((8, 64, 16, 16), (8, 96, 8, 8), (96, 64, 4, 4))]
    exact = products(schemes[1], *arrays)
    errors, errors_of_windows = (
        numpy.array([numpy.std(product - other) / numpy.std(other) for product, other in zip(
            products(scheme, *(array.astype('f') for array in arrays)), exact)])
        for scheme in schemes)
    assert (errors < 1e-6).all()
    assert (errors < 3 * errors_of_windows).all()


@pytest.mark.parametrize(
    ('n', 'channels', 'expected'), [(16, 16, MinimalFiltering), (15, 16, Windows), (16, 15, Windows)])
def test_choice_of_scheme(n, channels, expected, rng):
    y = convolution_2d(rng.normal(size=(n, channels, 8, 8)), rng.normal(size=(5, channels, 4, 4)), None, 2, 1)
    assert isinstance(y.creator.scheme, expected)
