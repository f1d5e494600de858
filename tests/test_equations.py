"""The equations, the entropies and what joins them: against float64 NumPy, their gradients against numerical ones."""

import chainer
import numpy
import pytest
from chainer import gradient_check

from ddgm import equations
from ddgm.beyond_the_paper import entropies
from ddgm.beyond_the_paper.energy_penalty import mean_square
from ddgm.evaluation import metrics
from ddgm.fast import functions
from ddgm.fast.gradients import gradients

N, D, UNITS = 5, 3, 4


def cases(rng):
    """Name, function, inputs and the same written in NumPy."""
    x, b, a = rng.normal(size=(N, D)), rng.normal(size=D), 3 * rng.normal(size=(N, UNITS))
    images = rng.normal(size=(N, 3, 2, 2))
    gammas = rng.normal(size=D), rng.normal(size=UNITS)
    V, g = rng.normal(size=(UNITS, D)), rng.normal(size=UNITS)
    kernels = rng.normal(size=(UNITS, 2, 3, 3))
    return {
        'quadratic_term': (
            lambda x: equations.quadratic_term(x, 0.7), (x,), lambda x: [v @ v / 0.7 ** 2 for v in x]),
        'quadratic_term of images': (
            equations.quadratic_term, (images,), lambda x: [(v * v).sum() for v in x]),
        'bias_term': (equations.bias_term, (x, b), lambda x, b: [-(v @ b) for v in x]),
        'bias_term of images': (
            equations.bias_term, (images, rng.normal(size=12)), lambda x, b: [-(v.ravel() @ b) for v in x]),
        'expert_term': (
            equations.expert_term, (a,), lambda a: [-sum(numpy.log(1 + numpy.exp(u)) for u in v) for v in a]),
        'gaussian_entropy': (
            equations.gaussian_entropy, gammas,
            lambda *gammas: sum(0.5 * numpy.log(2 * numpy.pi * numpy.e * v ** 2 + 1e-8) for g in gammas for v in g)),
        'weight_normalization': (
            equations.weight_normalization, (V, g),
            lambda V, g: [g_row * V_row / numpy.linalg.norm(V_row) for V_row, g_row in zip(V, g)]),
        'weight_normalization of kernels': (
            equations.weight_normalization, (kernels, g),
            lambda V, g: [g_row * V_row / numpy.linalg.norm(V_row) for V_row, g_row in zip(V, g)]),
        'minibatch_similarity': (
            equations.minibatch_similarity, (rng.normal(size=(N, UNITS, D)),),
            lambda M: [
                [sum(numpy.exp(-abs(M[i, k] - M[j, k]).sum()) for j in range(N) if j != i) for k in range(UNITS)]
                for i in range(N)]),
        'sum': (lambda x, y: 1 * functions.tanh(x) + y, (x, x[::-1] ** 2), lambda x, y: numpy.tanh(x) + y),
        'mean': (functions.mean, (images,), numpy.mean),
        'mean_square': (mean_square, (images,), lambda x: numpy.mean(x ** 2)),
        'multiple': (lambda x: functions.tanh(x) * -0.3, (images,), lambda x: -0.3 * numpy.tanh(x)),
        'log_volume': (
            entropies.log_volume, (rng.normal(size=(N, D, D)),),
            lambda J: [numpy.log(abs(numpy.linalg.det(j))) for j in J]),
        'log_volume of a surface': (
            entropies.log_volume, (rng.normal(size=(N, UNITS, 2)),),
            lambda J: [numpy.log(numpy.linalg.svd(j, compute_uv=False)).sum() for j in J]),
        'difference': (lambda x, y: functions.tanh(x) - y, (x, x[::-1] ** 2), lambda x, y: numpy.tanh(x) - y),
        'difference of single numbers': (
            lambda x, y: functions.tanh(x) - y, (numpy.array(2.5), numpy.array(-1.0)), lambda x, y: numpy.tanh(x) - y),
        'rows': (lambda x: functions.tanh(x)[1:4], (images,), lambda x: numpy.tanh(x[1:4])),
    }


NAMES = list(cases(numpy.random.default_rng(0)))


@pytest.mark.parametrize('dtype', [numpy.float32, numpy.float64])
@pytest.mark.parametrize('name', NAMES)
def test_value(name, dtype, device, rng):
    function, inputs, reference = cases(rng)[name]
    y = function(*(device.send(x.astype(dtype)) for x in inputs))
    assert y.dtype == dtype
    numpy.testing.assert_allclose(
        chainer.cuda.to_cpu(y.array), reference(*inputs), rtol=1e-12 if dtype == numpy.float64 else 1e-5, atol=1e-6)


@pytest.mark.parametrize('name', NAMES)
def test_gradient(name, device, rng):
    device.xp.random.seed(0)  # check_backward draws its direction from the global generator
    function, inputs, reference = cases(rng)[name]
    grad = numpy.asarray(rng.normal(size=numpy.shape(reference(*inputs))))
    gradient_check.check_backward(
        function, tuple(map(device.send, inputs)), device.send(grad), eps=1e-5, dtype=numpy.float64, rtol=1e-6,
        atol=1e-7)


@pytest.mark.parametrize('name', NAMES)
def test_gradient_of_each_input_alone(name, device, rng):
    """Where only some inputs need a gradient, those get it and no other does."""
    function, inputs, _ = cases(rng)[name]
    together = [chainer.Variable(device.send(x)) for x in inputs]
    chainer.functions.sum(function(*together)).backward()
    for i in range(len(inputs)):
        alone = [
            chainer.Variable(device.send(x), requires_grad=j == i) for j, x in enumerate(inputs)]
        chainer.functions.sum(function(*alone)).backward()
        for j, variable in enumerate(alone):
            if j == i:
                device.xp.testing.assert_array_equal(variable.grad, together[j].grad)
            else:
                assert variable.grad is None


def test_no_second_derivative(rng):
    x = chainer.Variable(rng.normal(size=(N, D)))
    with pytest.raises(RuntimeError, match='no second derivative'):
        chainer.grad([chainer.functions.sum(equations.quadratic_term(x))], [x], enable_double_backprop=True)


@pytest.mark.parametrize('shape', [(N, UNITS), ()])
@pytest.mark.parametrize('factor', [-0.3, 2, numpy.float64(-0.3), numpy.int64(2)], ids=repr)
def test_multiples_keep_the_number_type(factor, shape, device, rng):
    """As Chainer's do, whatever the type of the factor."""
    x = chainer.Variable(device.send(rng.normal(size=shape).astype(numpy.float32)))
    for multiple in (factor * functions.tanh(x), functions.tanh(x) * factor):
        gradient, = gradients(chainer.functions.sum(multiple), [x])
        assert multiple.dtype == gradient.dtype == numpy.float32
        expected = float(factor) * chainer.functions.tanh(x)
        device.xp.testing.assert_allclose(multiple.array, expected.array, rtol=1e-6)


def test_expert_term_of_large_arguments(device):
    a = device.send(numpy.array([[1000, -1000], [-1000, -1000]], dtype=numpy.float32))
    numpy.testing.assert_array_equal(chainer.cuda.to_cpu(equations.expert_term(a).array), [-1000, 0])


@pytest.mark.parametrize('dtype', [numpy.float32, numpy.float64])
@pytest.mark.parametrize('name', NAMES)
def test_gradients_have_the_number_type_of_their_inputs(name, dtype, device, rng):
    """Also where a single number goes with an array, of which NumPy 1 and 2 make different types."""
    function, inputs, _ = cases(rng)[name]
    variables = [chainer.Variable(device.send(numpy.asarray(x, dtype=dtype))) for x in inputs]
    y = functions.mean(function(*variables))
    assert y.dtype == dtype
    assert y.shape == ()
    for gradient, variable in zip(gradients(y, variables), variables):
        assert isinstance(gradient, device.xp.ndarray)
        assert (gradient.dtype, gradient.shape) == (dtype, variable.shape)


@pytest.mark.parametrize(('distance', 'similarity'), [(0, 4), (1e30, 0)])
def test_minibatch_similarity_of_equal_and_of_distant_samples(distance, similarity, device):
    """Equal samples are each like the four others, in any number of dimensions; distant ones like none."""
    M = distance * numpy.arange(5, dtype=numpy.float32)[:, None, None] * numpy.ones((1, 2, 3), dtype=numpy.float32)
    M = chainer.Variable(device.send(M))
    y = equations.minibatch_similarity(M)
    chainer.functions.sum(y).backward()
    numpy.testing.assert_array_equal(chainer.cuda.to_cpu(y.array), numpy.full((5, 2), similarity))
    numpy.testing.assert_array_equal(chainer.cuda.to_cpu(M.grad), 0)


def test_minibatch_similarity_of_joined_batches(device, rng):
    """A sample is compared with its own batch only: values and gradients are those of each batch alone."""
    batches = [chainer.Variable(device.send(rng.normal(size=(N, UNITS, D)))) for _ in range(3)]
    joined = chainer.Variable(device.xp.concatenate([batch.array for batch in batches]))
    upstream = device.send(rng.normal(size=(3 * N, UNITS)))
    y = equations.minibatch_similarity(joined, 3)
    y.grad = upstream
    y.backward()
    for batch, values, gradient, grad_y in zip(
            batches, *(device.xp.split(array, 3) for array in (y.array, joined.grad, upstream))):
        alone = equations.minibatch_similarity(batch)
        alone.grad = grad_y
        alone.backward()
        device.xp.testing.assert_allclose(values, alone.array, rtol=1e-12)
        device.xp.testing.assert_allclose(gradient, batch.grad, rtol=1e-12, atol=1e-14)
    with pytest.raises(ValueError, match='2 batches of one size are not {} samples'.format(3 * N)):
        equations.minibatch_similarity(joined, 2)


def test_gaussian_entropy_is_that_of_a_gaussian(rng):
    """Against a direct estimate: −mean log density of samples from N(0, γ²)."""
    gamma = numpy.array([0.3, -1.7, 2.5])
    x = gamma * rng.normal(size=(200_000, 3))
    log_density = (-0.5 * (x / gamma) ** 2 - numpy.log(abs(gamma)) - 0.5 * numpy.log(2 * numpy.pi)).sum(axis=1)
    assert float(equations.gaussian_entropy(gamma).array) == pytest.approx(-log_density.mean(), abs=0.01)


def test_gaussian_entropy_of_zero_is_finite():
    gamma = chainer.Variable(numpy.zeros(2))
    entropy = equations.gaussian_entropy(gamma)
    entropy.backward()
    assert float(entropy.array) == pytest.approx(numpy.log(1e-8))
    numpy.testing.assert_array_equal(gamma.grad, 0)


# ---- the entropy that nearest neighbours tell

DEVIATIONS = numpy.array([1.0, 0.1])


def gaussian_points(rng, n):
    return (DEVIATIONS * rng.standard_normal((n, 2))).astype(numpy.float32)


def test_neighbour_entropy_of_a_gaussian(device, rng):
    """Kozachenko & Leonenko's estimate against the closed form log(2πe σ₁σ₂)."""
    x, others = (device.send(gaussian_points(rng, n)) for n in (2000, 20_000))
    entropy = entropies.neighbour_entropy(x, others, 5)
    assert entropy.dtype == numpy.float32
    assert float(entropy.array) == pytest.approx(numpy.log(2 * numpy.pi * numpy.e * DEVIATIONS.prod()), abs=0.06)


def test_neighbour_entropy_is_that_of_the_metric(rng):
    """Among its own points, each of which is its own first neighbour, the estimate is that of the metric."""
    x = gaussian_points(rng, 300).astype(numpy.float64)
    mine = float(entropies.neighbour_entropy(x, x, 6).array)
    # digamma(n + 1) − digamma(6) here, digamma(n) − digamma(5) there
    assert mine == pytest.approx(metrics.entropy_knn(x, 5) + 1 / 300 - 1 / 5, abs=1e-9)


def test_gradient_of_neighbour_entropy_is_the_score(device, rng):
    """−∇ log p = x/σ² of a Gaussian, where there are neighbours enough in a small ball."""
    x, others = (rng.standard_normal((n, 2)).astype(numpy.float32) for n in (400, 40_000))
    variable = chainer.Variable(device.send(x))
    gradient, = gradients(entropies.neighbour_entropy(variable, device.send(others), 1500), [variable])
    score = len(x) * chainer.cuda.to_cpu(gradient)
    near = (abs(x) < 1.5).all(axis=1)
    for i in range(2):
        assert numpy.polyfit(x[near, i], score[near, i], 1) == pytest.approx([1, 0], abs=0.1)


@pytest.mark.parametrize('M', [10, 64, 200, 203])
@pytest.mark.parametrize('k', [1, 3, 10])
def test_indexes_of_smallest(k, M, device, rng):
    """Some values twice, and the last column, which may be in no group, among the smallest."""
    values = rng.integers(0, 1000, (50, M)).astype(numpy.float32)
    values[::2, -1] = -1
    indexes = chainer.cuda.to_cpu(entropies.indexes_of_smallest(device.send(values), k))
    assert all(len(set(row)) == k for row in indexes.tolist())
    numpy.testing.assert_array_equal(
        numpy.sort(numpy.take_along_axis(values, indexes, axis=1), axis=1), numpy.sort(values, axis=1)[:, :k])


def test_neighbour_entropy_wants_enough_others(rng):
    with pytest.raises(ValueError, match='4 points'):
        entropies.neighbour_entropy(gaussian_points(rng, 3), gaussian_points(rng, 4), 5)


def test_neighbour_entropy_of_one_point_is_finite(device, rng):
    """Points that all coincide give a low entropy and a gradient that is a number."""
    x = chainer.Variable(device.send(numpy.zeros((4, 2), dtype=numpy.float32)))
    entropy = entropies.neighbour_entropy(x, device.send(numpy.zeros((20, 2), dtype=numpy.float32)), 5)
    gradient, = gradients(entropy, [x])
    assert -40 < float(entropy.array) < -10
    assert not chainer.cuda.to_cpu(gradient).any()
