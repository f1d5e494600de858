"""Convolution and its transpose beside their definitions and Chainer's own, in value and gradient."""

import chainer
import chainer.functions as F
import numpy
import pytest
from chainer import gradient_check

from ddgm.convolution import convolution, deconvolution

# stride, padding, kernel; the published ones first
CASES = [(2, 1, 4), (2, 0, 4), (2, 2, 5), (1, 0, 3), (3, 2, 3), (1, 2, 5)]


@pytest.fixture(params=CASES, ids=str)
def case(request, rng):
    stride, pad, ksize = request.param
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
    y = convolution(*(device.send(array.astype(dtype)) for array in (x, W, b)), stride, pad)
    assert y.dtype == dtype
    numpy.testing.assert_allclose(
        chainer.cuda.to_cpu(y.array), naive_convolution(x, W, b, stride, pad),
        atol=1e-4 if dtype == numpy.float32 else 1e-12)


def test_deconvolution_is_the_transpose(case, device):
    """⟨convolution(x), y⟩ = ⟨x, deconvolution(y)⟩, and the value Chainer computes."""
    stride, pad = case[:2]
    x, W = map(device.send, case[2:4])
    y = convolution(x, W, None, stride, pad).array
    other = y[::-1] ** 2
    back = deconvolution(other, W, None, stride, pad, x.shape[2:]).array
    assert float((y * other).sum()) == pytest.approx(float((x * back).sum()))
    assert back.shape == x.shape
    expected = F.deconvolution_2d(other, W, None, stride, pad, x.shape[2:]).array
    device.xp.testing.assert_allclose(back, expected, atol=1e-10)


def test_default_size_of_deconvolution(rng):
    x, W, b = rng.normal(size=(2, 3, 7, 6)), rng.normal(size=(3, 4, 4, 4)), rng.normal(size=4)
    for stride, pad in ((2, 1), (2, 0), (1, 1)):
        y = deconvolution(x, W, b, stride, pad).array
        numpy.testing.assert_allclose(y, F.deconvolution_2d(x, W, b, stride, pad).array, atol=1e-10)


@pytest.mark.parametrize('function', [convolution, deconvolution])
def test_gradients(function, case, device, rng):
    device.xp.random.seed(0)  # check_backward draws its direction from the global generator
    stride, pad, x, W, b = case
    if function is deconvolution:
        W = W[:, :4].transpose(1, 0, 2, 3)  # from x's four channels to five
    x, W, b = (device.send(numpy.ascontiguousarray(array)) for array in (x, W, b))
    shape = function(x, W, b, stride, pad).shape
    gradient_check.check_backward(
        lambda x, W, b: function(x, W, b, stride, pad), (x, W, b), device.send(rng.normal(size=shape)), eps=1e-4,
        dtype=numpy.float64, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize('function', [convolution, deconvolution])
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


def test_order_in_memory_is_kept(rng):
    """A result goes into the next convolution without a copy, also through element-by-element functions."""
    y = convolution(rng.normal(size=(2, 3, 8, 8)), rng.normal(size=(4, 3, 4, 4)), None, 2, 1)
    for array in (y.array, F.relu(y).array, F.tanh(y).array):
        assert array.transpose(1, 2, 3, 0).flags.c_contiguous
