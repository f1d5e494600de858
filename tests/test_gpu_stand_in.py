"""What stands in for CuPy on machines without a GPU is as strict as CuPy, so that the GPU twins can fail here."""

import chainer
import numpy
import pytest
from conftest import is_stand_in

from ddgm.fast.kernels.cuda_kernels import Kernel

pytestmark = pytest.mark.skipif(not is_stand_in(), reason='CuPy itself, or no C++ compiler')


@pytest.fixture
def xp():
    return chainer.get_device('@cupy:0').xp


@pytest.mark.parametrize('mixed', [
    lambda xp, x, y: x + y, lambda xp, x, y: y + x, lambda xp, x, y: numpy.multiply(y, x),
    lambda xp, x, y: xp.maximum(x, y), lambda xp, x, y: xp.concatenate([x, y]), lambda xp, x, y: x.__setitem__(0, y),
    lambda xp, x, y: x.__iadd__(y), lambda xp, x, y: y.__setitem__(slice(None), x), lambda xp, x, y: numpy.array(x),
    lambda xp, x, y: numpy.testing.assert_array_equal(x, y), lambda xp, x, y: x[y.astype(int)],
    lambda xp, x, y: xp.exp([1.0]), lambda xp, x, y: Kernel('sum', 'T x, T y', 'T z', 'z = x + y')(x, y)])
def test_refuses_to_mix(mixed, xp):
    with pytest.raises(TypeError):
        mixed(xp, xp.ones(3), numpy.ones(3))


def test_moves_where_it_is_asked_to(xp):
    x = numpy.arange(6.0).reshape(2, 3)
    there = xp.asarray(x)
    there[0, 0] = 7
    assert x[0, 0] == 0
    numpy.testing.assert_array_equal(there.get(), [[7, 1, 2], [3, 4, 5]])
    assert float(there.sum()) == 22
    row, = there[1:]
    row[:] = numpy.float64(1)  # a view
    assert float(there.sum()) == 13


@pytest.mark.parametrize(('order', 'kept'), [((0, 1, 2), True), ((2, 1, 0), True), ((2, 0, 1), False)])
def test_moves_into_an_order_of_its_own(order, kept, xp):
    """CuPy's copy of an array of NumPy lies in C or in Fortran's order, whatever was given."""
    x = numpy.zeros((2, 3, 4)).transpose(order)
    there = xp.asarray(x)
    assert (there.strides == x.strides) == kept
    assert there.flags.c_contiguous != (order == (2, 1, 0))


@pytest.mark.parametrize(('unknown', 'error', 'message'), [
    (lambda xp: xp.nonsense, AttributeError, 'nonsense'),
    (lambda xp: xp.vecdot(xp.ones(3), xp.ones(3)), AttributeError, 'vecdot'),
    (lambda xp: xp.linalg.cond(xp.eye(2)), AttributeError, 'cond'),
    (lambda xp: xp.ones(3).byteswap(), AttributeError, 'byteswap'),
    (lambda xp: xp.ones(3).sum(initial=1), TypeError, 'initial'),
    (lambda xp: xp.stack([xp.ones(3)], where=0), TypeError, 'where'),
    (lambda xp: xp.add(xp.ones(3), 1, casting='unsafe'), TypeError, 'casting'),
])
def test_knows_what_cupy_knows(unknown, error, message, xp):
    with pytest.raises(error, match=message):
        unknown(xp)


def test_kernels_take_one_type_alone(xp):
    kernel = Kernel('sum', 'T x, T y', 'T z', 'z = x + y')
    half = kernel(xp.ones((2, 1), dtype=numpy.float32), 0.5)
    assert half.dtype == numpy.float32
    numpy.testing.assert_array_equal(kernel(half, xp.zeros(3, dtype=numpy.float32)).get(), numpy.full((2, 3), 1.5))
    with pytest.raises(TypeError, match='mismatch'):
        kernel(half, xp.ones(1))


def test_reductions_along_axes(xp):
    largest = chainer.backends.cuda.reduce('T x', 'T y', 'x * x', 'a < b ? b : a', 'y = sqrt(a)', '0', 'largest')
    x = numpy.random.default_rng(0).normal(size=(3, 4, 5))
    numpy.testing.assert_allclose(largest(xp.asarray(x), axis=(0, 2)).get(), abs(x).max(axis=(0, 2)))
    assert float(largest(xp.asarray(x))) == pytest.approx(abs(x).max())
