"""What numba compiles computes what NumPy does, to rounding; where it can't be used, NumPy goes on, and it is told."""

import contextlib
import dataclasses
import importlib
import json
import os
import shutil
import subprocess
import sys

import chainer
import numpy
import pytest
import test_costs
from conftest import HANGS_AFTER, ROOT, assert_same_run
from test_network_replay import Network, everything, models_of, of_layers

from ddgm.evaluation import tasks
from ddgm.fast import functions as F, kernels, links as L, threads
from ddgm.fast.gradients import value_and_gradient
from ddgm.fast.kernels import on_cpu
from ddgm.fast.kernels.convolution_on_cpu import Im2col
from ddgm.fast.replay import Replay
from ddgm.presets import PRESETS
from ddgm.runs import training_state

pytest.importorskip('numba', reason='numba is not installed: make test-compiled', exc_type=ImportError)


@pytest.fixture(autouse=True)
def compiled():
    with chainer.using_config('use_numba', 'always'):
        yield kernels.of(numpy.empty(0, dtype=numpy.float32))


def assert_close(results, expected, tolerance=2e-6):
    for array, other in zip(results, expected):
        assert (array is None) == (other is None)
        if array is not None:
            numpy.testing.assert_allclose(array, other, rtol=10 * tolerance, atol=tolerance)


def images(rng, *shape):
    """Images as a convolution leaves them."""
    return rng.normal(size=(*shape[1:], shape[0])).astype('f').transpose(3, 0, 1, 2)


# ---- kernels

ARRAYS = {
    'number': lambda rng: numpy.array(rng.normal(), dtype='f'),
    'row': lambda rng: rng.normal(size=7).astype('f'), 'matrix': lambda rng: rng.normal(size=(5, 3)).astype('f'),
    'turned': lambda rng: rng.normal(size=(5, 3)).astype('f').T, 'images': lambda rng: images(rng, 3, 2, 5, 7),
    'every other': lambda rng: rng.normal(size=(6, 8)).astype('f')[::2, 1::3],
    'large': lambda rng: rng.normal(size=threads.PART + 77).astype('f')}


@pytest.mark.parametrize('array', ARRAYS)
@pytest.mark.parametrize('name', ['relu', 'elu', 'tanh', 'sigmoid'])
def test_activations(name, array, compiled, rng):
    x, grad_y = 3 * ARRAYS[array](rng), numpy.array(ARRAYS[array](rng), order='C')
    results = []
    for module in (compiled, on_cpu):
        y, kept = getattr(module, name)(x)
        results.append([y, getattr(module, name + '_gradient')(kept, grad_y)])
    assert_close(*results)


@pytest.mark.parametrize('name', ['relu', 'elu', 'tanh', 'sigmoid'])
def test_extremes_of_activations(name, compiled):
    x = numpy.array([0, -0.0, 1e-30, -1e-30, 88, -88, 1e4, -1e4, numpy.inf, -numpy.inf, numpy.nan], dtype='f')
    with numpy.errstate(all='ignore'):
        results = [getattr(module, name)(x)[0] for module in (compiled, on_cpu)]
    assert_close(*[[array] for array in results])
    if name == 'elu':
        numpy.testing.assert_array_equal(*[numpy.signbit(array) for array in results])


def test_logarithm_is_as_exact_as_a_float(compiled):
    """Of the expert term, log(1 + exp(a)) = log(2)…0 for a ≤ 0."""
    a = -numpy.geomspace(1e-8, 86, 10 ** 6).astype('f')[:, None]
    energy = numpy.empty(len(a), dtype='f')
    compiled.loops.expert_term(a, energy)
    exact = -numpy.log1p(numpy.exp(a[:, 0].astype(numpy.float64)))
    assert abs(energy / exact - 1).max() < 6e-7


def test_exponential_is_as_exact_as_a_float(compiled):
    x = -numpy.geomspace(1e-8, 86, 10 ** 6).astype('f')
    exact = numpy.expm1(x.astype(numpy.float64))
    error = abs(compiled.elu(x)[0] - exact) / abs(exact)
    assert error.max() < 2e-7  # a float32 has steps of 1.2e-7
    exact = 1 / (1 + numpy.exp(-x.astype(numpy.float64)))
    assert (abs(compiled.sigmoid(x)[0] - exact) / exact).max() < 1e-6


@pytest.mark.parametrize('array', ARRAYS)
def test_dropout(array, compiled, rng):
    x = ARRAYS[array](rng)
    bits = numpy.empty_like(x, dtype=numpy.uint16)
    bits[...] = rng.integers(2 ** 16, size=x.shape)
    results = []
    for module in (compiled, on_cpu):
        y, kept = module.dropout(x, bits, 0.3)
        results.append([y, module.dropout_gradient(kept, x)])
    assert_close(*results)


@pytest.mark.parametrize('n_splits', [1, 2])
@pytest.mark.parametrize('shape', [(6, 5), (6, 3, 5, 3), (4, 1, 2, 2), (2, 300, 16, 16)], ids=str)
def test_batch_normalization(shape, n_splits, compiled, rng):
    x, grad_y = images(rng, *shape) if len(shape) == 4 else rng.normal(size=shape).astype('f'), rng.normal(
        size=shape).astype('f')
    gamma, beta = rng.normal(size=(2, shape[1])).astype('f')
    n, results = float(x.size // shape[1] // n_splits), []
    for module in (compiled, on_cpu):
        running = numpy.ones((2, shape[1]), dtype='f')
        y, kept = module.batch_normalization(
            3 + x, gamma, beta, 1e-5, n_splits, running=(n / max(n - 1, 1), 0.9, *running))
        results.append([y, running, *module.batch_normalization_gradient(grad_y, gamma, n, n_splits, kept)])
    assert_close(*results, tolerance=2e-5)


@pytest.mark.parametrize(('n', 'size', 'pad', 'channels'), [
    (5, (9, 7), 1, 3), (1, (4, 4), 0, 1), (3, (10, 13), 0, 2), (2, (6, 8), 3, 4), (33, (32, 32), 1, 70)])
def test_minimal_filtering(n, size, pad, channels, compiled, rng):
    W, b, c = (rng.normal(size=shape).astype('f') for shape in ((6, channels, 4, 4), 6, channels))
    windows = Im2col(n, size, 4, 2, pad)
    x, y = images(rng, n, channels, *size), images(rng, n, 6, *windows.result_size)
    results = [[
        scheme.product(scheme.from_image(x), W, b), scheme.transposed_product(scheme.from_result(y), W, c),
        scheme.weight_gradient(scheme.from_image(x), scheme.from_result(y))]
        for scheme in (compiled.convolution_scheme(n, size, W, 2, pad), windows)]
    assert_close(*results, tolerance=1e-3 if channels > 9 else 1e-5)


def test_adam(compiled, rng):
    results = []
    for module in (compiled, on_cpu):
        rng = numpy.random.default_rng(0)
        parameters, gradient, m, v = rng.random((4, 77), dtype='f')
        module.adam(parameters, gradient, 0.3, 1e-2, 0.5, 0.999, 1e-8, m, v)
        results.append([parameters, m, v])
    assert_close(*results)


def test_only_float32_is_compiled(compiled):
    assert kernels.of(numpy.empty(0)) is on_cpu
    assert compiled is not on_cpu
    with chainer.using_config('use_numba', 'never'):
        assert kernels.of(numpy.empty(0, dtype='f')) is on_cpu
        # Its threads follow the one that calls them.
        assert set(threads.for_each(lambda _: kernels.of(numpy.empty(0, dtype='f')), range(9))) == {on_cpu}


@pytest.mark.parametrize(('n', 'm', 'k', 'd'), [(5, 7, 7, 2), (50, 333, 10, 2), (1, 1, 1, 1), (9, 40, 3, 5)])
def test_neighbours(n, m, k, d, compiled, rng):
    x, others = rng.normal(size=(n, d)).astype('f'), rng.normal(size=(m, d)).astype('f')
    exact = x.astype(numpy.float64), others.astype(numpy.float64)
    assert_close(compiled.neighbours(x, others, k), on_cpu.neighbours(*exact, k))
    density = compiled.mean_of_gaussians(9 * x, others, 0.7)
    expected = on_cpu.mean_of_gaussians(9 * exact[0], exact[1], 0.7)
    is_told = expected > 1e-36
    numpy.testing.assert_allclose(density[is_told], expected[is_told], rtol=1e-4)  # far from all, too


# ---- networks

def as_in_float64(network, x):
    """What a twin of a network computes in float64, by NumPy."""
    network = network.copy(mode='copy')
    for parameter in network.params():
        parameter.array = parameter.array.astype(numpy.float64)
    for link in network.links():
        for name in link._persistent:
            if isinstance(getattr(link, name), numpy.ndarray):
                setattr(link, name, getattr(link, name).astype(numpy.float64))
    return everything(network, x.astype(numpy.float64), contextlib.nullcontext())


def with_a_layer_twice(network, x):
    return F.elu(network.l1(x)) + network.bn(F.sigmoid(network.l1(F.relu(x))))


class NarrowBetween(chainer.Chain):
    """Layers whose weights and gradients have the shape of what passes."""

    replayable = True

    def __init__(self, n=70):
        super().__init__()
        rng = numpy.random.default_rng(0)
        with self.init_scope():
            self.l1, self.l2, self.l3 = [
                L.Linear(*size, initialW=rng.normal(size=size[::-1]).astype('f')) for size in ((2, n), (n, 2), (2, n))]

    def forward(self, x):
        return F.tanh(self.l3(F.tanh(self.l2(F.tanh(self.l1(x))))))


NETWORKS = {
    **{'{} of {}'.format(('energy', 'generator')[i], preset): (lambda preset=preset, i=i: (
        lambda pair: (pair[i], pair[1].n_latent if i else 2))(models_of('gaussian_mixture', preset)))
       for preset in ('default', 'density') for i in (0, 1)},
    'narrow between': lambda: (NarrowBetween(), 2),
    'layers': lambda: (Network(of_layers), 2), 'a layer twice': lambda: (Network(with_a_layer_twice), 2)}


@pytest.mark.parametrize('name', NETWORKS)
def test_networks_as_blocks(name, rng):
    network, size = NETWORKS[name]()
    x = rng.normal(size=(70, size)).astype('f')  # more rows than pass at a time
    replay = Replay()
    expected = as_in_float64(network, x)
    assert_close(everything(network, x, replay.of(network)), expected, tolerance=1e-4)
    graphs = replay._networks[network]._graphs.values()
    assert graphs
    assert all(graph.block is not None for graph in graphs)


def test_value_and_gradient_by_a_block(rng):
    """After the first pass, which is recorded, no graph is made."""
    energy_model, _ = models_of('gaussian_mixture', 'density')
    x = rng.normal(size=(70, 2)).astype('f')
    with chainer.using_config('use_numba', 'never'):
        expected = value_and_gradient(energy_model, x)
    with Replay().of(energy_model):
        first, second = value_and_gradient(energy_model, x), energy_model.forward.with_gradient(x)
    assert_close(first, expected)
    assert_close(second, first, tolerance=0)


def test_two_passes_before_their_gradients(rng):
    network = Network(of_layers)
    first, second = rng.normal(size=(2, 5, 2)).astype('f')

    def gradients_of(*passes):
        y = [network(chainer.Variable(x)) for x in passes]
        found = []
        for each in y:
            network.cleargrads()
            F.mean(each * each).backward()
            found += [parameter.grad for parameter in network.params()]
        return found
    with Replay().of(network):
        gradients_of(first)
        assert_close(gradients_of(first, second, first), gradients_of(first) + gradients_of(second) + gradients_of(
            first), tolerance=0)


# ---- runs

SMALL = {
    'gaussian_mixture': {}, 'swiss_roll': {}, 'mnist': {'batchsize': 20},
    'images': {'batchsize': 4, 'size': 32, 'width': 0.05, 'start_size': 20}}


@pytest.mark.parametrize(('task', 'preset'), [
    (task, preset) for task in SMALL for preset in PRESETS[task] if preset != 'long'])
def test_losses_of_the_published_presets(task, preset):
    settings = PRESETS[task][preset].settings
    changes = {name: value for name, value in SMALL[task].items() if name in settings.types()}
    settings = dataclasses.replace(settings, iterations=6, **changes)
    if getattr(settings, 'proposals_from', 0):
        settings = dataclasses.replace(settings, proposals_from=3)

    def losses(choice):
        with chainer.using_config('use_numba', choice):
            state = training_state.build_state(
                settings, tasks.find(task).build_models, draw_data, chainer.get_device('@numpy'))
            return [[float(value) for value in losses.values()]
                    for _, losses in training_state.iterations_of(state, draw_data, settings)]

    def draw_data(n, rng):
        shape = {'mnist': (784,), 'images': (3, 32, 32)}.get(task, (2,))
        return rng.random((n, *shape), dtype='f')
    if preset in ('calibrated', 'density'):  # which choose among x⁻, and rounding may decide what is chosen
        settings = dataclasses.replace(settings, iterations=1)
        (computed, *_), = losses('always')
        assert computed == pytest.approx(losses('never')[0][0], rel=1e-5)
    else:
        numpy.testing.assert_allclose(losses('always'), losses('never'), rtol=1e-5, atol=1e-4)


def test_a_run_goes_on_to_the_same_bits(run_script, tmp_path):
    flags = '--numba', '--no_score', '--log_interval', '2'
    whole = run_script('gaussian_mixture', *flags, '-n', 6, '-o', 'whole')
    assert 'Compiled by numba ' in whole.stdout, whole.stderr
    run_script('gaussian_mixture', *flags, '-n', 3, '-o', 'parts')
    run_script('gaussian_mixture', *flags, '-n', 6, '-o', 'parts', '--resume')
    assert_same_run(tmp_path / 'whole', tmp_path / 'parts')
    settings = json.loads((tmp_path / 'parts' / 'settings.json').read_text())
    assert settings['versions']['numba']
    assert 'went_on' not in settings
    other = run_script('gaussian_mixture', '--no_score', '--no-numba', '-n', 8, '-o', 'parts', '--resume')
    assert 'Goes on with numba None in place of ' in other.stdout


# ---- what an iteration costs, in counts as tests/test_costs.py has them without numba

class Costs(test_costs.Costs):
    """Counts what is compiled, too, and arrays that are made by name."""

    NAMES = (*test_costs.Costs.NAMES, 'compiled calls', 'passes over arrays', 'arrays made')

    def _see(self, frame, event, argument):
        super()._see(frame, event, argument)
        if event == 'c_call' and argument.__name__ in ('copy', 'astype') and isinstance(
                argument.__self__, numpy.ndarray):
            self.counts['arrays made'] += 1

    def counting_passes(self, name, loop):
        """Of a program each operation is a pass, of another loop each call."""
        def counted(*arguments):
            self.counts['passes over arrays'] += len(arguments[1]) if name == 'run' else 1
            return loop(*arguments)
        return self.counting('compiled calls', counted)


COMPILED_LIMITS = {
    'gaussian_mixture': {
        # Only x⁻ passes through Chainer's graph; an update of a model is a block, its gradients included.
        'functions forward': 1, 'functions backward': 0,
        # Those with more inputs and outputs than a few.
        'matrix products': 9,
        'calls in Python': 550,
        # What is between two products is one, and each optimizer's step.
        'compiled calls': 22, 'passes over arrays': 117,
        # Results and gradients of blocks, which live in memory of their own; noise, data.
        'arrays made': 20,
        'parts of the parameters': 2, 'largest memory in parameters': 0.57, 'memory left in parameters': 0.05,
    },
    'mnist': {
        'functions forward': 52, 'functions backward': 43, 'matrix products': 58, 'calls in Python': 4100,
        'compiled calls': 36, 'passes over arrays': 36, 'arrays made': 69,
        'parts of the parameters': 9, 'largest memory in parameters': 1.5, 'memory left in parameters': 0.01,
    },
    'images': {
        'functions forward': 77, 'functions backward': 59, 'matrix products': 119, 'calls in Python': 6800,
        'compiled calls': 127, 'passes over arrays': 127, 'arrays made': 186,
        'parts of the parameters': 3, 'largest memory in parameters': 2.1, 'memory left in parameters': 0.01,
    },
}


@pytest.fixture
def costs_of(compiled, monkeypatch):
    """A function of a task: what an iteration costs."""
    def costs_of(task):
        next(test_costs.build_loop(task)[1])  # after which nothing is compiled any more
        costs = Costs()
        for name in ('empty', 'zeros', 'ones', 'empty_like', 'zeros_like', 'ones_like', 'concatenate'):
            monkeypatch.setattr(numpy, name, costs.counting('arrays made', getattr(numpy, name)))
        for module in (compiled.loops, importlib.import_module('ddgm.fast.kernels.operations')):
            for name, loop in list(vars(module).items()):
                if hasattr(loop, 'py_func'):
                    monkeypatch.setattr(module, name, costs.counting_passes(name, loop))
        return test_costs.measure(task, costs)
    return costs_of


@pytest.mark.parametrize('task', test_costs.TASKS)
def test_costs_of_an_iteration(task, costs_of):
    costs, limits = costs_of(task), COMPILED_LIMITS[task]
    assert costs.pop('passes over the parameters') == 1
    assert costs.keys() == limits.keys()
    too_much = {name: (value, limits[name]) for name, value in costs.items() if value > limits[name]}
    assert not too_much, 'measured, limit'


def no_blocks(patch):
    patch.setattr(kernels, 'block', lambda *arguments: None)


def no_update_as_a_block(patch):
    patch.setattr(Replay, 'update', lambda self, function, strategy, *arguments, **options: function(
        *arguments, strategy=strategy, **options))


def no_loops_for_few_inputs(patch):
    patch.setattr('ddgm.fast.kernels.blocks.FEW', 0)


@pytest.mark.parametrize(('undo', 'task', 'guards'), [
    (no_blocks, 'gaussian_mixture', {'calls in Python', 'functions forward', 'arrays made'}),
    (no_update_as_a_block, 'gaussian_mixture', {'calls in Python', 'functions forward', 'compiled calls'}),
    (no_loops_for_few_inputs, 'gaussian_mixture', {'matrix products'})])
def test_limits_find_what_is_undone(undo, task, guards, costs_of, monkeypatch):
    undo(monkeypatch)
    costs = costs_of(task)
    assert guards <= {name for name, limit in COMPILED_LIMITS[task].items() if costs[name] > limit}


# ---- a machine that does not let it

def run_python(program, *flags, folder=ROOT, **variables):
    return subprocess.run(
        [sys.executable, *flags, '-c', program], cwd=folder, capture_output=True, text=True, timeout=HANGS_AFTER,
        env={**os.environ, 'DDGM_USE_NUMBA': 'auto', 'NUMBA_CACHE_DIR': '', **variables})


COMPUTES = '''
import numpy, os
from ddgm.fast import kernels
x = numpy.ones(3, dtype='f')
print(kernels.compiler()[1], kernels.of(x).relu(x)[0].tolist())
'''
FORKS = COMPUTES + '''
if os.fork() == 0:
    os._exit(int(kernels.of(x).tanh(x)[0][0] < 0.7))
assert os.wait()[1] == 0
'''


@pytest.mark.parametrize('case', ['as it is', 'optimized', 'no cache', 'forked', 'jit disabled', 'numpy too new'])
def test_whatever_the_machine_lets_it_do(case, tmp_path):
    (tmp_path / 'file').touch()
    (tmp_path / 'numba').mkdir()
    (tmp_path / 'numba' / '__init__.py').write_text('raise ImportError("Numba needs NumPy 1.0 or less.\\nGot 2.0")')
    variables = {
        'no cache': {'XDG_CACHE_HOME': str(tmp_path / 'file')}, 'jit disabled': {'NUMBA_DISABLE_JIT': '1'},
        'numpy too new': {'PYTHONPATH': str(tmp_path)}}.get(case, {'XDG_CACHE_HOME': str(tmp_path)})
    result = run_python(FORKS if case == 'forked' else COMPUTES, *['-O'] * (case == 'optimized'), **variables)
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith('[1.0, 1.0, 1.0]\n')
    expected = {'jit disabled': "numba can't be used (NUMBA_DISABLE_JIT is set), so NumPy computes",
                'numpy too new': "numba can't be used (Numba needs NumPy 1.0 or less. Got 2.0), so NumPy computes"}
    assert result.stdout.startswith(expected.get(case, 'Compiled by numba'))
    if case != 'no cache':  # then numba may find what it has left beside the sources before
        assert ('numba compiles' in result.stderr) == (case not in expected)


def test_two_processes_compile_at_once(tmp_path):
    program = [sys.executable, '-c', COMPUTES]
    variables = {**os.environ, 'DDGM_USE_NUMBA': 'auto', 'NUMBA_CACHE_DIR': '', 'XDG_CACHE_HOME': str(tmp_path)}
    processes = [subprocess.Popen(program, cwd=ROOT, env=variables, stderr=subprocess.PIPE) for _ in range(2)]
    assert [process.communicate(timeout=HANGS_AFTER)[0] or process.returncode for process in processes] == [0, 0]
    assert 'numba compiles' not in run_python(COMPUTES, XDG_CACHE_HOME=str(tmp_path)).stderr  # it is kept


@pytest.mark.slow
def test_a_change_of_the_sources_compiles_anew(tmp_path):
    """Of one file of them, what another one's functions call."""
    shutil.copytree(ROOT / 'ddgm', tmp_path / 'ddgm', ignore=shutil.ignore_patterns('models', '__pycache__'))
    program = """
import numpy
from ddgm.fast.kernels import operations
memory = numpy.ones(32, dtype='f')
operations.run(
    memory, numpy.array([[operations.SCALE, 1, 0, 0, 16, 0, 0, 0, 0]]), numpy.array([3], dtype='f'),
    numpy.array([[0, 1, 1, 1]]))
print(memory[16])
"""
    source = tmp_path / 'ddgm' / 'fast' / 'kernels' / 'loops.py'
    text, printed = source.read_text(encoding='utf-8'), []
    for content in (text, text, text.replace('y[i] = factor * x[i]', 'y[i] = factor * x[i] + 1')):
        source.write_text(content, encoding='utf-8')
        result = run_python(program, folder=tmp_path, XDG_CACHE_HOME=str(tmp_path))
        printed.append((result.stdout, 'numba compiles' in result.stderr))
    assert printed == [('3.0\n', True), ('3.0\n', False), ('4.0\n', True)]


def test_what_is_asked_for_is_there_or_refused():
    assert run_python(COMPUTES, DDGM_USE_NUMBA='yes').stderr.endswith(
        "UsageError: use_numba is 'yes': give 'always', 'auto' or 'never', as DDGM_USE_NUMBA too\n")
    result = run_python(COMPUTES, DDGM_USE_NUMBA='always', NUMBA_DISABLE_JIT='1')
    assert result.stderr.endswith(
        "UsageError: numba can't be used (NUMBA_DISABLE_JIT is set): leave out --numba\n")
    assert 'numba' not in run_python(
        'import sys, ddgm.training\nprint(*sys.modules)', DDGM_USE_NUMBA='never').stdout.split()
