"""A batch that several processes share: the mathematics are those of one.  Threads stand for the processes here."""

import dataclasses
import threading

import chainer
import numpy
import pytest
from test_costs import draw_digits, draw_images

from ddgm.data.distributions import GaussianMixture
from ddgm.evaluation import tasks
from ddgm.fast import sharding
from ddgm.fast.strategy import Fast
from ddgm.presets import PRESETS
from ddgm.runs import training_state

DRAW = {'gaussian_mixture': GaussianMixture().sample, 'mnist': draw_digits, 'images': draw_images}
SMALL = {
    'gaussian_mixture': {'batchsize': 30}, 'mnist': {'batchsize': 30, 'start_size': 60},
    'images': {'batchsize': 9, 'width': 0.1, 'start_size': 9}}


class Meeting:
    """Where threads add up arrays."""

    def __init__(self, size):
        self.size, self.barrier, self.arrays, self.n_sums = size, threading.Barrier(size), [None] * size, 0


class Rank:
    """What is used of a ChainerMN communicator."""

    def __init__(self, meeting, rank):
        self.meeting, self.rank, self.size = meeting, rank, meeting.size

    def allreduce(self, x):
        self.meeting.arrays[self.rank] = x.copy()
        self.meeting.barrier.wait()
        total = sum(self.meeting.arrays[1:], self.meeting.arrays[0])
        self.meeting.n_sums += not self.rank
        self.meeting.barrier.wait()
        return total


def train(task, preset, iterations, communicator=None):
    """What each iteration observes, and all parameters at the end."""
    settings = dataclasses.replace(PRESETS[task][preset].settings, iterations=iterations, **SMALL[task])
    state = training_state.build_state(
        settings, lambda settings, rng: tasks.build_models(task, settings, rng), DRAW[task],
        chainer.get_device('@numpy'))
    strategy = Fast(communicator, settings.batchsize)
    observed = [
        strategy.mean_of([float(value) for value in observation.values()])
        for _, observation in training_state.iterations_of(state, DRAW[task], settings, strategy)]
    return numpy.array(observed), numpy.concatenate([
        parameter.array.ravel() for model in state.models for parameter in model.params()])


def train_in(size, task, preset, iterations):
    """The same of each of several ranks, and how often they have added up."""
    meeting, results = Meeting(size), [None] * size

    def work(rank):
        try:
            results[rank] = train(task, preset, iterations, Rank(meeting, rank))
        except BaseException:
            meeting.barrier.abort()
            raise
    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results, meeting.n_sums


@pytest.mark.parametrize(('task', 'preset', 'size', 'n_sums'), [
    # Two models' gradients, the statistics of each BatchNormalization forward and back, what is observed.
    ('gaussian_mixture', 'default', 4, 2 + 6 + 1),
    ('gaussian_mixture', 'calibrated', 2, None),
    ('gaussian_mixture', 'density', 4, None),
    ('mnist', 'post', 4, 2 + 6 + 1),
    ('mnist', 'batch_normalized_energy', 4, None),
    ('mnist', 'last_commit', 2, None),
    ('images', 'post', 2, 2 + 21 + 1),
    ('images', 'last_commit', 4, None),
    ('images', 'author', 2, None),
])
def test_the_mathematics_of_one_process(task, preset, size, n_sums):
    """Uneven shares too: 30 rows of four, 9 rows of two."""
    observed, parameters = train(task, preset, 1)
    results, n = train_in(size, task, preset, 1)
    for other_observed, other_parameters in results[1:]:
        assert numpy.array_equal(other_observed, results[0][0])
        assert numpy.array_equal(other_parameters, results[0][1])
    assert n_sums in (None, n)
    numpy.testing.assert_allclose(results[0][0], observed, rtol=2e-5, atol=1e-6 * abs(observed).max())
    # Adam's first step is as long for the smallest gradient, whose sign may be rounding's.
    assert numpy.median(abs(results[0][1] - parameters)) <= 1e-7


def test_each_row_is_somewhere_once():
    x = numpy.arange(14).reshape(7, 2)
    parts = []
    for rank in range(3):
        with chainer.using_config('shard', sharding.Shard(Rank(Meeting(3), rank), 7)):
            parts.append(sharding.shard_of(x))
            assert sharding.n_rows(len(parts[-1])) == 7
    numpy.testing.assert_array_equal(numpy.concatenate(parts), x)
    assert sharding.shard_of(x) is x
