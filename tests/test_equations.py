"""The equations and the entropies where more is known of them than their formula, which test_fast_functions.py has."""

import chainer
import numpy
import pytest

from ddgm import equations
from ddgm.beyond_the_paper import entropies
from ddgm.evaluation import metrics
from ddgm.fast import kernels
from ddgm.fast.gradients import gradients
from ddgm.fast.kernels import on_cpu


def test_expert_term_of_large_arguments(device):
    a = device.send(numpy.array([[1000, -1000], [-1000, -1000]], dtype=numpy.float32))
    numpy.testing.assert_array_equal(chainer.cuda.to_cpu(equations.expert_term(a).array), [-1000, 0])


@pytest.mark.parametrize(('distance', 'similarity'), [(0, 4), (1e30, 0)])
def test_minibatch_similarity_of_equal_and_of_distant_samples(distance, similarity, device):
    """Equal samples are each like the four others, in any number of dimensions; distant ones like none."""
    M = distance * numpy.arange(5, dtype=numpy.float32)[:, None, None] * numpy.ones((1, 2, 3), dtype=numpy.float32)
    M = chainer.Variable(device.send(M))
    y = equations.minibatch_similarity(M)
    chainer.functions.sum(y).backward()
    numpy.testing.assert_array_equal(chainer.cuda.to_cpu(y.array), numpy.full((5, 2), similarity))
    numpy.testing.assert_array_equal(chainer.cuda.to_cpu(M.grad), 0)


def test_batches_of_minibatch_similarity_are_of_one_size():
    with pytest.raises(ValueError, match='2 batches of one size are not 5 samples'):
        equations.minibatch_similarity(numpy.zeros((5, 2, 3)), 2)


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
def test_indexes_of_smallest(k, M, rng):
    """Some values twice, and the last column, which may be in no group, among the smallest."""
    values = rng.integers(0, 1000, (50, M)).astype(numpy.float32)
    values[::2, -1] = -1
    indexes = on_cpu.indexes_of_smallest(values, k)
    assert all(len(set(row)) == k for row in indexes.tolist())
    numpy.testing.assert_array_equal(
        numpy.sort(numpy.take_along_axis(values, indexes, axis=1), axis=1), numpy.sort(values, axis=1)[:, :k])


@pytest.mark.gpu
@pytest.mark.parametrize('dtype', [numpy.float32, numpy.float64])
@pytest.mark.parametrize('k', [1, 3, 10])
def test_neighbours_on_a_gpu(k, dtype, rng):
    """Those that NumPy finds, by one kernel."""
    gpu = chainer.get_device('@cupy:0')
    x, others = (rng.normal(size=(n, 3)).astype(dtype) for n in (20, 60))
    tolerance = 1e-12 if dtype == numpy.float64 else 1e-5
    for found, expected in zip(
            kernels.of(gpu.xp.ones(1)).neighbours(gpu.send(x), gpu.send(others), k), on_cpu.neighbours(x, others, k)):
        assert found.dtype == dtype
        numpy.testing.assert_allclose(chainer.cuda.to_cpu(found), expected, rtol=tolerance, atol=tolerance)


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
