"""What stands in for CuPy on machines without a GPU is as strict as CuPy, so that the GPU twins can fail here."""

import contextlib

import chainer
import numpy
import pytest
from conftest import is_stand_in

from ddgm.fast.kernels import cuda_kernels
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


# ---- what is counted

@pytest.mark.parametrize(('call', 'launched'), [
    (lambda x: x[:, 1:].reshape(-1), [('copies', 128)]),
    (lambda x: x.T.T.reshape(-1)[2:4], []),
    (lambda x: x + x[0], [('elementwise', 96 + 24 + 96)]),
    (lambda x: x.__setitem__(0, 1), [('copies', 24)]),
    (lambda x: x[0].__iadd__(1), [('elementwise', 48)]),
    (lambda x: x[1:].__iadd__(x[:-1]), [('elementwise', 3 * 72), ('copies', 144)]),
    (lambda x: x.sum(axis=0), [('reductions', 96 + 24)]),
    (lambda x: x.T.dot(x), [('products', 96 + 96 + 72)]),
    (lambda x: x[:, ::2].dot(x[:2]), [('copies', 128), ('products', 64 + 48 + 96)]),
    (lambda x: chainer.backends.cuda.cupy.matmul(x[0:1], x.reshape(2, 2, 3).transpose(0, 2, 1)), [
        ('copies', 192), *3 * [('elementwise', 16)], ('products', 24 + 96 + 32)]),
    (lambda x: chainer.backends.cuda.cupy.concatenate([x, x]), 2 * [('copies', 192)]),
    (lambda x: chainer.backends.cuda.cupy.concatenate(9 * [x]), [('elementwise', 18 * 96)]),
    (lambda x: chainer.backends.cuda.cupy.zeros(3), [('copies', 24)]),
    (lambda x: cuda_kernels.quotient(x, 2.0, x.copy()), [('copies', 192), ('elementwise', 2 * 96)]),
    (lambda x: cuda_kernels.average(x, 0.5, x.copy()), [('copies', 192), ('elementwise', 3 * 96)]),
])
def test_counts_launches(call, launched, xp):
    from gpu_costs import Counts
    x = xp.arange(12.0).reshape(4, 3)
    with Counts() as counts:
        call(x)
    assert [(launch.kind, launch.moved) for launch, _ in counts.launches] == launched


def test_counts_transfers(xp):
    from gpu_costs import Counts
    with Counts() as counts:
        x = xp.asarray(numpy.ones(3))
        float(x.sum())
        xp.concatenate(9 * [x])
    assert (len(counts.sent), counts.bytes_sent, len(counts.read)) == (4, 24, 1)


# ---- what is captured

@contextlib.contextmanager
def capturing(xp, pool, graphs):
    """A context whose calls are captured into a graph, which is added to a list."""
    stream = xp.cuda.Stream(non_blocking=True)
    with stream, xp.cuda.using_allocator(pool.malloc):
        stream.begin_capture()
        try:
            yield
        finally:
            graphs.append(stream.end_capture())


def descend(xp, x, weights, momentum, rate):
    """A step of something like training; the mean of what it computes on its way."""
    gradient = xp.tanh(x * weights) - x.mean(axis=0)
    Kernel('momentum', 'T g', 'T m', 'm = T(0.9) * m + g')(gradient.sum(axis=0), momentum)
    weights -= rate * momentum
    return xp.concatenate([gradient, x.T.T]).mean()


@pytest.mark.parametrize('frozen', [False, True])
def test_replays_to_the_bits_of_an_eager_step(frozen, xp):
    """Unless the capture froze a number that changes from step to step."""
    def run(captured):
        rng, pool, graphs = numpy.random.default_rng(0), xp.cuda.MemoryPool(), []
        x, weights, momentum, rate = xp.zeros((4, 3)), xp.ones(3), xp.zeros(3), xp.zeros(())
        means = []
        for t in range(1, 6):
            x.set(rng.normal(size=x.shape))
            rate.fill(1 / t)
            if captured and t == 2:
                with capturing(xp, pool, graphs):
                    mean = descend(xp, x, weights, momentum, 1 / t if frozen else rate)
            if graphs:
                graphs[0].launch()
            else:
                mean = descend(xp, x, weights, momentum, rate)
            means.append(float(mean))
        return [*means, *weights.get(), *momentum.get()]
    assert (run(captured=True) == run(captured=False)) is not frozen


@pytest.mark.parametrize(('call', 'error', 'message'), [
    (lambda xp, x: float(x[0, 0]), RuntimeError, 'D2H'),
    (lambda xp, x: x.get(), RuntimeError, 'D2H'),
    (lambda xp, x: x[x > 0], RuntimeError, 'D2H'),
    (lambda xp, x: xp.asarray(numpy.ones(3)), RuntimeError, 'H2D'),
    (lambda xp, x: x[[0, 1]], RuntimeError, 'H2D'),
    (lambda xp, x: xp.concatenate(9 * [x]), RuntimeError, 'H2D'),
    (lambda xp, x: x.dot(x), NotImplementedError, 'cuBLAS'),
    (lambda xp, x: x @ x, NotImplementedError, 'cuBLAS'),
    (lambda xp, x: xp.einsum('ij,ij->i', x, x), NotImplementedError, 'cuBLAS'),
    (lambda xp, x: xp.linalg.inv(x), NotImplementedError, 'cuBLAS'),
])
def test_refuses_to_capture(call, error, message, xp):
    x = xp.ones((2, 2))
    with capturing(xp, xp.cuda.MemoryPool(), []), pytest.raises(error, match=message):
        call(xp, x)


@pytest.mark.parametrize('wait', [lambda xp: xp.cuda.get_current_stream().synchronize(), lambda xp: xp.ones(3).sort()])
def test_waiting_loses_a_capture(wait, xp):
    with pytest.raises(RuntimeError, match='Invalidated'), capturing(xp, xp.cuda.MemoryPool(), []), \
            pytest.raises(RuntimeError, match='Unsupported'):
        wait(xp)
    assert float(xp.ones(3).sum()) == 3


def test_captures_products_where_cublas_is_called_directly(xp, monkeypatch):
    from cupy_backends.cuda.libs import cublas
    monkeypatch.setattr(cublas, 'gemmEx', lambda *arguments: None)
    x, pool, graphs = xp.ones((2, 2)), xp.cuda.MemoryPool(), []
    with capturing(xp, pool, graphs):
        y = x.dot(x)
        with pytest.raises(NotImplementedError):
            xp.matmul(xp.ones((2, 2, 2)), xp.ones((2, 2, 2)))
    graphs[0].launch()
    assert float(y.sum()) == 8


def test_a_graph_uses_the_memory_of_its_capture(xp):
    x, y, pool, graphs = xp.ones(3), xp.ones(3), xp.cuda.MemoryPool(), []
    with capturing(xp, pool, graphs):
        y += 1
        z = x + y
    numpy.testing.assert_array_equal(y.get(), numpy.ones(3))  # nothing was computed
    assert numpy.isnan(z.get()).all()
    graphs[0].launch()
    numpy.testing.assert_array_equal(z.get(), numpy.full(3, 3.0))
    del x  # its memory is anybody's
    graphs[0].launch()
    numpy.testing.assert_array_equal(y.get(), numpy.full(3, 3.0))
    assert numpy.isnan(z.get()).all()
    del pool
    with pytest.raises(RuntimeError, match='pool'):
        graphs[0].launch()


def test_captures_only_with_a_stream_and_a_pool_of_its_own(xp):
    with pytest.raises(RuntimeError, match='legacy'):
        xp.cuda.Stream.null.begin_capture()
    with pytest.raises(RuntimeError, match='pool'):
        xp.cuda.Stream(non_blocking=True).begin_capture()
