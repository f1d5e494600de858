"""Work in parts is all done, in the same bits whatever the number of threads."""

import os
import threading
import time
import warnings

import numpy
import pytest
from test_sharding import train

from ddgm.fast import optimizers, threads
from ddgm.fast.kernels import convolution_on_cpu, normalization_on_cpu


@pytest.fixture
def three_threads(monkeypatch):
    monkeypatch.setattr(threads, 'number', lambda: 3)


@pytest.mark.parametrize('n', [0, 1, 2, 7])
def test_results_are_in_order(n, three_threads):
    assert threads.for_each(lambda i: i * i, iter(range(n))) == [i * i for i in range(n)]


def test_functions_run_side_by_side(three_threads):
    """Each waits for the two others."""
    barrier = threading.Barrier(3, timeout=30)
    names = threads.for_each(lambda i: barrier.wait() >= 0 and threading.current_thread().name, range(3))
    assert len(set(names)) == 3
    assert threading.current_thread().name in names


def test_errors_are_raised_when_all_have_ended(three_threads):
    ended = []

    def fail_or_end(i):
        if i == 1:
            raise ArithmeticError('the second one')
        ended.append(i)
    with pytest.raises(ArithmeticError, match='the second one'):
        threads.for_each(fail_or_end, range(20))
    assert sorted(ended) == [0, *range(2, 20)]


def test_calls_within_calls_from_two_threads_end(monkeypatch):
    """With all four threads of the pool at work, each would wait for helpers that none is left to be."""
    monkeypatch.setattr(threads, 'number', lambda: 4)

    def nested(_):
        return sum(threads.for_each(lambda i: time.sleep(0.02) or i, range(5)))
    results = []
    callers = [threading.Thread(  # daemons, so that a failure ends as well
        target=lambda: results.append(threads.for_each(nested, range(8))), daemon=True) for _ in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert results == 2 * [8 * [10]]


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no fork on this system')
def test_threads_work_in_a_process_that_was_forked(three_threads):
    threads.for_each(str, range(9))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)  # of forks beside threads, which this is about
        child = os.fork()
    if child == 0:
        os._exit(0 if threads.for_each(str, range(9)) == list(map(str, range(9))) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(('text', 'n'), [
    ('1', 1), ('3', 3), ('64', 4), ('2,1', 2), ('0', 1), (None, 2), ('', 2), ('many', 2)])
def test_number_is_that_of_the_products_or_of_the_cores(text, n, monkeypatch):
    monkeypatch.delenv('OMP_NUM_THREADS')
    if text is not None:
        monkeypatch.setenv('OMP_NUM_THREADS', text)
    monkeypatch.setattr(os, 'sched_getaffinity', lambda process: {0, 5}, raising=False)
    assert threads.number.__wrapped__() == n


@pytest.mark.parametrize('order', [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
@pytest.mark.parametrize('part', [1, 7, 1000])
def test_parts_are_the_whole(order, part, three_threads, monkeypatch, rng):
    """Whatever the order in memory, each number has its turn once; arrays that lie in another order go with it."""
    monkeypatch.setattr(threads, 'PART', part)
    x = rng.normal(size=(4, 5, 6)).transpose(order).transpose(numpy.argsort(order))
    y, z = numpy.zeros((4, 5, 6)), numpy.zeros_like(x)
    sizes = []

    def add(x, y, z):
        sizes.append(x.size)
        y += x
        z += 2 * x
    threads.in_parts(add, x, y, z)
    numpy.testing.assert_array_equal(y, x)
    numpy.testing.assert_array_equal(z, 2 * x)
    assert max(sizes) <= max(part, 120 // 4)


@pytest.mark.parametrize('shape', [(), (0,), (3, 0, 2)], ids=str)
def test_numbers_alone_and_none_at_all(shape):
    y = numpy.zeros(shape)
    threads.in_parts(lambda x, y: numpy.add(x, 1, out=y), numpy.ones(shape), y)
    numpy.testing.assert_array_equal(y, numpy.full(shape, 2))


@pytest.mark.parametrize('task', ['mnist', 'images'])
def test_training_has_the_same_bits_with_any_number_of_threads(task, monkeypatch):
    for module, name, size in (
            (threads, 'PART', 2 ** 10), (optimizers, '_PART', 2 ** 12), (normalization_on_cpu, '_PART', 2 ** 10),
            (convolution_on_cpu, 'PART', 2 ** 14)):
        monkeypatch.setattr(module, name, size)
    results = []
    for number in (1, 4):
        monkeypatch.setattr(threads, 'number', lambda number=number: number)
        results.append(train(task, 'post', 3))
    for one, other in zip(*results):  # what is observed, and the parameters
        numpy.testing.assert_array_equal(one, other)
