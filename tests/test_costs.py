"""What one iteration of training costs, in counts that need no quiet machine: calls, products, passes, memory.

Every limit is what was measured when it was written; calls have a tenth to spare, memory a fiftieth or more.  What
makes training slower on every machine makes a count grow; where it has to, the limit is raised with the change that
needs it.
"""

import collections
import contextlib
import dataclasses
import functools
import os
import sys
import tracemalloc

import chainer
import chainer.functions as F
import chainer.links as L
import numpy
import pytest
from conftest import is_stand_in

import ddgm
from ddgm import objectives, training
from ddgm.data.distributions import GaussianMixture
from ddgm.evaluation import tasks
from ddgm.fast import functions, kernels, links as fast_links, optimizers, strategy
from ddgm.fast.elementary import FirstOrderFunction
from ddgm.presets import PRESETS
from ddgm.runs import training_state

WARM_UP = 2  # iterations after which buffers and tables exist
FOLDERS = tuple(os.path.dirname(package.__file__) + os.sep for package in (ddgm, chainer))


def draw_digits(n, rng):
    return numpy.uint8(255) * (rng.random((n, 784)) < 0.2)


def draw_images(n, rng):
    return rng.integers(256, size=(n, 3, 64, 64), dtype=numpy.uint8)


# By task: what its published preset is changed by, and its data.
TASKS = {
    'gaussian_mixture': ({}, GaussianMixture().sample),
    'mnist': ({}, draw_digits),
    'images': ({'width': 0.1, 'batchsize': 4}, draw_images),
}

LIMITS = {
    'gaussian_mixture': {
        # Ours and Chainer's: one pass of the DEM for both phases, one of G for x⁻ without a graph, one of each for G.
        # In them is W = g·V/‖V‖ once a layer and step.  Each pass counts once more, as a replay.
        'functions forward': 52,
        # One for each function between a loss and the weights that learn; none leads to x.
        'functions backward': 40,
        # One forward, one for x, W and b each, and only for those that are wanted: the generator learns through the
        # DEM, whose own weights get no gradient then.  The sums of BatchNormalization.
        'matrix products': 52,
        # Of Python functions of ddgm and Chainer, comprehensions aside: what small networks spend their time in.
        'calls in Python': 1870,
        # Each optimizer passes over all its parameters in parts that fit the processor's cache, not one by one.
        'parts of the parameters': 2,
        # As multiples of all parameters.  No graph leads from x⁻ back into G in the DEM's step; functions keep only
        # the arrays that their gradients need.
        'largest memory in parameters': 5.2,
        # An iteration's graphs go with it.
        'memory left in parameters': 0.1,
    },
    'mnist': {
        'functions forward': 58, 'functions backward': 49, 'matrix products': 58, 'calls in Python': 3600,
        'parts of the parameters': 9, 'largest memory in parameters': 1.53, 'memory left in parameters': 0.01,
    },
    'images': {
        'functions forward': 77, 'functions backward': 59, 'matrix products': 113, 'calls in Python': 6800,
        'parts of the parameters': 3, 'largest memory in parameters': 3.05, 'memory left in parameters': 0.05,
    },
}


class Costs:
    """Counts what happens in a ``with`` block, by ``sys.setprofile`` and by functions that count."""

    NAMES = 'functions forward', 'functions backward', 'matrix products', 'calls in Python'

    def __init__(self):
        self.counts = collections.Counter()
        self.parts = collections.defaultdict(list)  # of each optimizer, where they lie

    def __enter__(self):
        self._previous = sys.getprofile()
        sys.setprofile(self._see)
        return self

    def __exit__(self, *exception):
        sys.setprofile(self._previous)

    def clear(self):
        self.counts.clear()
        self.parts.clear()

    def counting(self, name, function):
        """A function that counts its calls; the profiler is not told of all of NumPy's."""
        def counted(*arguments, **options):
            self.counts[name] += 1
            return function(*arguments, **options)
        return counted

    def _see(self, frame, event, argument):
        if event == 'c_call' and argument.__name__ in ('dot', 'vdot') and isinstance(argument.__self__, numpy.ndarray):
            self.counts['matrix products'] += 1
        elif event == 'call' and frame.f_code.co_filename.startswith(FOLDERS):
            name = frame.f_code.co_name
            if not name.startswith('<'):  # comprehensions are calls in some versions of Python only
                self.counts['calls in Python'] += 1
            see = getattr(self, '_see_' + name, None)
            if see is not None:
                see(frame.f_locals)

    def _see_forward_array(self, variables):
        self.counts['functions forward'] += 1

    def _see_apply(self, variables):
        if isinstance(variables['self'], chainer.FunctionNode):
            self.counts['functions forward'] += not hasattr(variables['self'], 'forward_array')

    def _see_backward_arrays(self, variables):
        self.counts['functions backward'] += 1

    def _see_backward_accumulate(self, variables):
        self.counts['functions backward'] += not hasattr(variables['self'], 'backward_arrays')

    def _see_update_part(self, variables):
        array = variables['parameters']
        first = array.__array_interface__['data'][0]
        self.parts[id(variables['self'])].append((first, first + array.nbytes))


def build_loop(task):
    """Both optimizers, and the loop behind its warm-up."""
    changes, draw_data = TASKS[task]
    settings = dataclasses.replace(next(iter(PRESETS[task].values())).settings, **changes)
    state = training_state.build_state(
        settings, functools.partial(tasks.build_models, task), draw_data, chainer.get_device('@numpy'))
    loop = training_state.iterations_of(state, draw_data, settings)
    for _ in range(WARM_UP):
        next(loop)
    return [state.energy_optimizer, state.generator_optimizer], loop


def measure(task, costs=None):
    """What an iteration costs, by name."""
    costs = costs or Costs()
    with pytest.MonkeyPatch.context() as patch:
        for name in ('dot', 'matmul', 'tensordot', 'einsum'):
            patch.setattr(numpy, name, costs.counting('matrix products', getattr(numpy, name)))
        pair, loop = build_loop(task)  # whose blocks keep what they call
        costs.clear()
        with costs:
            next(loop)
    result = {name: costs.counts[name] for name in costs.NAMES}
    n_bytes = sum(parameter.array.nbytes for optimizer in pair for parameter in optimizer.target.params())
    passed = sum(last - first for parts in costs.parts.values() for first, last in parts)
    result['passes over the parameters'] = passed / n_bytes
    for parts in map(sorted, costs.parts.values()):  # none of them twice
        assert all(last == first for (_, last), (first, _) in zip(parts, parts[1:]))
    result['parts of the parameters'] = sum(map(len, costs.parts.values()))
    result['largest memory in parameters'], result['memory left in parameters'] = (
        n / n_bytes for n in memory_of(loop))
    return result


def memory_of(loop):
    """Bytes beyond those at its start that an iteration has at most, and that two of them leave."""
    tracemalloc.start()
    try:
        next(loop)  # of which the last things are thrown away in the next iteration
        start, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        next(loop)
        _, peak = tracemalloc.get_traced_memory()
        next(loop)
        end, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak - start, end - start


@pytest.fixture(autouse=True)
def as_without_numba(monkeypatch):
    """Where it is installed and turned off, that is asked again and again."""
    monkeypatch.setattr(kernels, '_IS_INSTALLED', False)


@pytest.mark.parametrize('task', TASKS)
def test_costs_of_an_iteration(task):
    costs = measure(task)
    assert costs.pop('passes over the parameters') == 1
    assert costs.keys() == LIMITS[task].keys()
    too_much = {name: (value, LIMITS[task][name]) for name, value in costs.items() if value > LIMITS[task][name]}
    assert not too_much, 'measured, limit'


# ---- what it costs a GPU, counted on the stand-in for CuPy; python tests/gpu_costs.py lists what is counted here

# In the order of gpu_costs.STEP_COSTS.
GPU_LIMITS = {  # the aims are 120, 120 and 300 launches, 8 GB for images, 2 transfers, and no noise or read
    'gaussian_mixture': (107, 9.1e6, 2, 0, 0),
    'mnist': (119, 191e6, 2, 0, 0),
    'images': (286, 12.6e9, 2, 0, 0),
}


@pytest.mark.gpu
@pytest.mark.skipif(not is_stand_in(), reason='counted on the stand-in for CuPy')
@pytest.mark.skipif(numpy.__version__ < '2', reason='NumPy 1 makes float64 of float32 without axes, CuPy does not')
@pytest.mark.parametrize('task', TASKS)
def test_costs_of_an_iteration_on_a_gpu(task):
    import gpu_costs
    costs = gpu_costs.step_costs(task, TASKS[task][1])
    too_much = {name: each for name, *each in zip(gpu_costs.STEP_COSTS, costs, GPU_LIMITS[task]) if each[0] > each[1]}
    assert not too_much, 'counted, limit'


# ---- what a reader steps through

# The arithmetic on arrays, which all functions and optimizers call, and nothing else.
KERNELS = {'fast/kernels/__init__.py', 'fast/kernels/on_cpu.py', 'fast/kernels/normalization_on_cpu.py'}


def files_of_a_step(strategy):
    """The files of ddgm that are called in an iteration of the ten Gaussians, without the data's own."""
    pair = tasks.build_models(
        'gaussian_mixture', PRESETS['gaussian_mixture']['default'].settings, training.random_generator(0, 0))
    points = GaussianMixture().sample(100, numpy.random.default_rng(0))
    loop = training.train(
        *map(training.make_optimizer, pair), draw_data=lambda n, rng: points, batchsize=100, seed=0, iterations=9,
        strategy=strategy)
    next(loop)
    files, previous = set(), sys.getprofile()

    def see(frame, event, argument):
        if event == 'call' and frame.f_code.co_filename.startswith(FOLDERS[0]):
            files.add(frame.f_code.co_filename[len(FOLDERS[0]):].replace(os.sep, '/'))
    sys.setprofile(see)
    try:
        next(loop)
    finally:
        sys.setprofile(previous)
    return files


def test_a_step_as_it_is_written_calls_nine_files_and_kernels():
    assert files_of_a_step(None) == {
        'training.py', 'objectives.py', 'models.py', 'equations.py', 'links.py', 'networks/toy.py',
        'fast/elementary.py', 'fast/links.py', 'fast/optimizers.py', *KERNELS}


def test_a_fast_step_calls_few_more():
    more = files_of_a_step(strategy.Fast()) - files_of_a_step(None)
    assert more <= {
        'fast/strategy.py', 'fast/replay.py', 'fast/gradients.py', 'fast/kernels/layout_on_cpu.py', 'fast/sharding.py'}


# ---- every limit is there for an optimization: without it the limit is passed

def two_passes(patch):
    patch.setattr(strategy.Fast, 'energies', training.AsWritten.energies)


def gradients_of_everything(patch):
    def by_backward(loss, variables):
        for variable in variables:
            variable.cleargrad()
        loss.backward()
        return [variable.grad for variable in variables]
    patch.setattr(strategy, 'gradients', by_backward)


def layers_of_chainer(patch):
    for name in ('linear', 'relu', 'elu', 'tanh', 'sigmoid'):
        patch.setattr(functions, name, getattr(F, name))
    patch.setattr(fast_links.Linear, 'forward', L.Linear.forward)
    patch.setattr(fast_links.BatchNormalization, 'forward', L.BatchNormalization.forward)


def optimizers_of_chainer(patch):
    def make(gradient_norm, weight_decay, decay_from, decay_power, averaged, **hyperparameters):
        class Adam(chainer.optimizers.Adam):
            def setup(self, link):
                super().setup(link)
                self.add_hook(chainer.optimizer_hooks.GradientClipping(gradient_norm))
                return self
        return Adam(**hyperparameters)
    patch.setattr(optimizers, 'Adam', make)


def small_parts(patch):
    patch.setattr(optimizers, '_PART', 2 ** 13)


def inputs_kept(patch):
    classes = [FirstOrderFunction]
    for each in classes:
        classes += each.__subclasses__()
        patch.setattr(each, 'needs_inputs', True)


def nothing_replayed(patch):
    patch.setattr(strategy.Replay, 'of', lambda *models: contextlib.nullcontext())


def losses_kept(patch):
    kept, mean_energy = [], objectives.mean_energy

    def keep(energy):
        kept.append(mean_energy(energy))
        return kept[-1]
    patch.setattr(objectives, 'mean_energy', keep)


def convolutions_of_chainer(patch):
    patch.setattr(fast_links.Convolution2D, 'forward', L.Convolution2D.forward)
    patch.setattr(fast_links.Deconvolution2D, 'forward', L.Deconvolution2D.forward)


CALLS = {'functions forward', 'functions backward', 'matrix products', 'calls in Python'}
WITHOUT = [
    (two_passes, 'gaussian_mixture', CALLS),
    (two_passes, 'images', CALLS),
    (gradients_of_everything, 'gaussian_mixture', CALLS - {'functions forward'}),
    (layers_of_chainer, 'gaussian_mixture', {'calls in Python'}),
    (nothing_replayed, 'gaussian_mixture', {'calls in Python'}),
    (optimizers_of_chainer, 'gaussian_mixture', {'calls in Python'}),
    (small_parts, 'mnist', {'parts of the parameters'}),
    (inputs_kept, 'gaussian_mixture', {'largest memory in parameters'}),
    (inputs_kept, 'images', {'largest memory in parameters'}),
    (losses_kept, 'gaussian_mixture', {'memory left in parameters'}),
    (convolutions_of_chainer, 'images', {'largest memory in parameters'}),
]


@pytest.mark.parametrize(
    ('undo', 'task', 'guards'), WITHOUT, ids=['{}-{}'.format(undo.__name__, task) for undo, task, _ in WITHOUT])
def test_limits_find_what_is_undone(undo, task, guards, monkeypatch):
    undo(monkeypatch)
    costs = measure(task)
    passed = {name for name, limit in LIMITS[task].items() if costs[name] > limit}
    assert guards <= passed
