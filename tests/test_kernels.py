"""The CUDA kernels on a machine without a GPU: that they compile, and their numbers beside NumPy's.

Each declaration is written out as a plain function, as CuPy would, for nvcc and for the C++ compiler.  With what the
latter makes in place of CuPy, functions, links and optimizers go the way that they go on a GPU, on NumPy arrays.
"""

import ctypes
import pathlib
import re
import shutil
import subprocess
import types

import chainer
import numpy
import pytest
from conftest import ROOT

from ddgm import equations, training
from ddgm.fast import differentiation, functions, kernels, links as fast_links, noise, optimizers
from ddgm.fast.normalization import batch_normalization
from ddgm.networks import images, mnist, toy
from ddgm.presets import PRESETS

DECLARED = {name: kernel for name, kernel in vars(kernels).items() if isinstance(kernel, kernels.Kernel)}
TYPES = {'float': numpy.float32, 'double': numpy.float64}
OTHER_TYPES = {'uint16': ('unsigned short', numpy.uint16), 'float64': ('double', numpy.float64)}

CUDA = '''
#define EACH(i, n) for (long i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
'''
HOST = '''
#include <cmath>
using namespace std;
#define __global__
#define EACH(i, n) for (long i = 0; i < n; ++i)
'''
FUNCTION = '''
extern "C" __global__ void {kernel}_{T}(long n_, {arguments}) {{
    using T = {T};
    EACH(i_, n_) {{
        {numbers}
        {operation};
    }}
}}
'''


def parameters_of(declaration):
    """(raw, type, name) of each parameter that 'T x, raw T table' declares."""
    return [(words[0] == 'raw', *words[-2:]) for words in (part.split() for part in declaration.split(','))]


def source(head):
    """A translation unit of all kernels for both number types."""
    parts = [head]
    for name, kernel in DECLARED.items():
        for T in TYPES:
            arguments, numbers = [], []
            for constant, declaration in (('const ', kernel.in_params), ('', kernel.out_params)):
                for raw, kind, parameter in parameters_of(declaration):
                    c_type = constant + (T if kind == 'T' else OTHER_TYPES[kind][0])
                    arguments.append('{} *{}{}'.format(c_type, parameter, '' if raw else '_'))
                    if not raw:
                        numbers.append('{0} &{1} = {1}_[i_];'.format(c_type, parameter))
            parts.append(FUNCTION.format(
                kernel=name, T=T, arguments=', '.join(arguments), numbers=' '.join(numbers),
                operation=kernel.operation))
    return ''.join(parts)


@pytest.fixture(scope='module')
def library(tmp_path_factory):
    """All kernels, compiled for the CPU."""
    compiler = next(filter(None, map(shutil.which, ('c++', 'g++', 'clang++'))), None)
    if compiler is None:
        pytest.skip('no C++ compiler')
    folder = tmp_path_factory.mktemp('kernels')
    (folder / 'kernels.cpp').write_text(source(HOST))
    subprocess.run(
        [compiler, '-std=c++14', '-O1', '-fPIC', '-shared', 'kernels.cpp', '-o', 'kernels.so'], cwd=folder, check=True)
    return ctypes.CDLL(str(folder / 'kernels.so'))


class OnTheCPU:
    """What CuPy makes of a declaration, for NumPy arrays: they are broadcast, T is the type of all that have it.

    Like CuPy's kernels, it refuses arrays of other types, and returns new arrays in C order.
    """

    def __init__(self, library, used, in_params, out_params, operation, name):
        self.name = name[len('ddgm_'):]
        assert DECLARED[self.name] == (self.name, in_params, out_params, operation)
        self.library, self.used = library, used
        self.inputs, self.outputs = parameters_of(in_params), parameters_of(out_params)

    def __call__(self, *arguments):
        self.used.add(self.name)
        assert len(arguments) in (len(self.inputs), len(self.inputs) + len(self.outputs))
        declared = list(zip(self.inputs + self.outputs, arguments))
        shape = numpy.broadcast_shapes(*(numpy.shape(argument) for (raw, _, _), argument in declared if not raw))
        dtype, = {argument.dtype for (_, kind, _), argument in declared if kind == 'T' and hasattr(argument, 'dtype')}
        given, arrays = arguments[len(self.inputs):], []
        for (raw, kind, _), argument in declared[:len(self.inputs)]:
            number_type = dtype if kind == 'T' else OTHER_TYPES[kind][1]
            if hasattr(argument, 'dtype'):
                assert argument.dtype == number_type
            array = numpy.asarray(argument, dtype=number_type)
            arrays.append(numpy.ascontiguousarray(array if raw else numpy.broadcast_to(array, shape)))
        results = [numpy.full(shape, numpy.nan, dtype=dtype) for _ in self.outputs]
        for result, array in zip(results, given):
            assert array.shape == shape
            result[...] = array
        T, = (name for name, number_type in TYPES.items() if number_type == dtype)
        function = getattr(self.library, '{}_{}'.format(self.name, T))
        function(ctypes.c_long(results[0].size), *(ctypes.c_void_p(array.ctypes.data) for array in arrays + results))
        for result, array in zip(results, given):
            array[...] = result
        results = given or results
        return results[0] if len(results) == 1 else tuple(results)


class Module(types.ModuleType):
    """NumPy under another name, which is not ``numpy`` to those who ask."""

    def __getattr__(self, name):
        return getattr(numpy, name)


@pytest.fixture
def as_on_gpu(library, monkeypatch):
    """Called as ``as_on_gpu(function)``: its result by the way of a GPU, and the names of the kernels in use."""
    def call(function):
        xp, used = Module('not_numpy'), set()
        with monkeypatch.context() as patch:
            # What tells a GPU's array, parameter or link from others.
            patch.setattr(differentiation, 'numpy', types.SimpleNamespace(ndarray=()))
            patch.setattr(differentiation.backend, 'get_array_module', lambda *arrays: xp)
            patch.setattr(chainer.Variable, 'xp', xp)
            patch.setattr(chainer.Link, 'xp', xp, raising=False)
            patch.setattr(
                kernels.cuda, 'elementwise', lambda *declaration: OnTheCPU(library, used, *declaration))
            return function(), used
    return call


def test_nvcc_compiles_them(tmp_path):
    if not shutil.which('nvcc'):
        pytest.skip('no nvcc')
    (tmp_path / 'kernels.cu').write_text(source(CUDA))
    subprocess.run(['nvcc', '-std=c++17', '-ptx', 'kernels.cu', '-o', 'kernels.ptx'], cwd=tmp_path, check=True)
    entries = re.findall(r'\.entry (\w+)', (tmp_path / 'kernels.ptx').read_text())
    assert sorted(entries) == sorted('{}_{}'.format(name, T) for name in DECLARED for T in TYPES)


def as_convolutions_lie(x):
    """The same (N, C, H, W), in memory (C, H, W, N)."""
    return numpy.ascontiguousarray(x.transpose(1, 2, 3, 0)).transpose(3, 0, 1, 2)


EXTREMES = numpy.array([[0, -0.0, 1e-30, -1e-30, 80, -80], [200, -200, 1e4, -1e4, 1e30, -1e30]])
ROWS, UNITS = 30, 6
SHAPES = {
    'rows': lambda rng: 3 * rng.normal(size=(ROWS, UNITS)),
    'images': lambda rng: 3 * rng.normal(size=(ROWS, UNITS, 4, 5)),
    'images as convolutions lie': lambda rng: as_convolutions_lie(3 * rng.normal(size=(ROWS, UNITS, 4, 5))),
}


def with_noise(function, *arguments):
    def call(x):
        with noise.source(numpy.random.default_rng(4)):
            return function(x, *arguments)
    return call


def vectors(rng, *sizes):
    return [rng.normal(size=size) for size in sizes]


ACTIVATIONS = {
    'relu': (functions.relu, {'relu', 'relu_gradient'}),
    'elu': (functions.elu, {'elu', 'product'}),
    'tanh': (functions.tanh, {'tanh', 'tanh_gradient'}),
    'sigmoid': (functions.sigmoid, {'sigmoid', 'sigmoid_gradient'}),
    'gaussian': (with_noise(noise.add_noise, 0.3), {'gaussian'}),
    'dropout': (with_noise(noise.dropout, 0.4), {'dropout', 'product'}),
}
NORMALIZATION = {'squared_deviation', 'batch_normalization', 'product', 'batch_normalization_gradient'}
WEIGHTS = {'weight_normalization', 'weight_normalization_along', 'weight_normalization_gradient'}
EXPERTS = {'expert', 'expert_gradient'}


def cases(rng):
    """Name, function, inputs and the kernels that it uses, forward and backward."""
    result = {
        'expert_term': (equations.expert_term, [SHAPES['rows'](rng)], EXPERTS),
        'expert_term of extremes': (equations.expert_term, [EXTREMES], EXPERTS),
        'weight_normalization': (
            equations.weight_normalization, [SHAPES['rows'](rng), *vectors(rng, ROWS)], WEIGHTS),
        'weight_normalization of kernels': (
            equations.weight_normalization, [SHAPES['images'](rng), *vectors(rng, ROWS)], WEIGHTS),
        'weight_normalization of turned kernels': (
            equations.weight_normalization, [SHAPES['images'](rng).swapaxes(0, 1), *vectors(rng, UNITS)], WEIGHTS),
    }
    for name in ('relu', 'elu', 'tanh', 'sigmoid'):
        result[name + ' of extremes'] = ACTIVATIONS[name][0], [EXTREMES], ACTIVATIONS[name][1]
    for shape, make in SHAPES.items():
        for name, (function, used) in ACTIVATIONS.items():
            result['{} of {}'.format(name, shape)] = function, [make(rng)], used
        result['batch_normalization of ' + shape] = (
            lambda x, gamma, beta: batch_normalization(x, gamma, beta, 2e-5),
            [make(rng) + 2, *vectors(rng, UNITS, UNITS)], NORMALIZATION)
    return result


CASES = cases(numpy.random.default_rng(0))


@pytest.mark.parametrize('dtype', TYPES.values(), ids=TYPES)
@pytest.mark.parametrize('name', CASES)
def test_functions(name, dtype, as_on_gpu, rng):
    """Value, gradients and order in memory are those of NumPy's way."""
    function, inputs, used = CASES[name]
    inputs = [x.astype(dtype) for x in inputs]
    with chainer.no_backprop_mode():
        grad = numpy.asarray(rng.normal(size=function(*inputs).shape)).astype(dtype)

    def run():
        variables = [chainer.Variable(x) for x in inputs]
        y = function(*variables)
        y.grad = grad
        y.backward()
        return [y.array] + [variable.grad for variable in variables]
    with numpy.errstate(over='raise', invalid='raise'):
        expected = run()
    found, really_used = as_on_gpu(run)
    assert really_used == used
    for i, (x, y) in enumerate(zip(found, expected)):
        assert x.dtype == dtype
        numpy.testing.assert_allclose(
            x, y, rtol=1e-5 if dtype == numpy.float32 else 1e-12, atol=1e-5 if dtype == numpy.float32 else 1e-13,
            err_msg=str(i))
        if x.shape == inputs[0].shape and x is not grad:
            assert x.strides == inputs[0].strides


@pytest.mark.parametrize('function', [functions.relu, functions.elu, functions.tanh, functions.sigmoid])
def test_what_is_not_a_number_remains_one(function, as_on_gpu):
    y, _ = as_on_gpu(lambda: function(numpy.full((2, 3), numpy.nan, dtype=numpy.float32)))
    assert numpy.isnan(y.array).all()


@pytest.mark.parametrize('shape', SHAPES)
def test_running_statistics(shape, as_on_gpu, rng):
    batches = [SHAPES[shape](rng).astype(numpy.float32) for _ in range(3)]

    def run(link):
        for x in batches:
            link(x)
        return link.avg_mean, link.avg_var
    link = fast_links.BatchNormalization(UNITS)
    found, used = as_on_gpu(lambda: run(link))
    assert used == {'squared_deviation', 'batch_normalization', 'running_statistics'}
    for x, y in zip(found, run(fast_links.BatchNormalization(UNITS))):
        numpy.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


def parameters(dtype):
    rng = numpy.random.default_rng(1)
    model = chainer.Link()
    with model.init_scope():
        for name, shape in (('W', (4, 3)), ('kernels', (2, 3, 4, 4)), ('scale', ())):
            setattr(model, name, chainer.Parameter(rng.normal(size=shape).astype(dtype)))
    return model


UPDATES = {'adam': {'alpha': 0.03, 'beta1': 0.6, 'beta2': 0.95, 'eps': 1e-3}, 'adagrad': {'lr': 0.1, 'eps': 1e-3}}
OPTIMIZERS = {'adam': optimizers.Adam, 'adagrad': optimizers.AdaGrad}


@pytest.mark.parametrize('dtype', TYPES.values(), ids=TYPES)
@pytest.mark.parametrize('weight_decay', [0, 0.1])
@pytest.mark.parametrize('gradient_norm', [0, 0.5, 1000])
@pytest.mark.parametrize('name', UPDATES)
def test_updates(name, gradient_norm, weight_decay, dtype, as_on_gpu):
    def run():
        model, rng = parameters(dtype), numpy.random.default_rng(2)
        optimizer = OPTIMIZERS[name](gradient_norm, weight_decay, **UPDATES[name]).setup(model)
        for _ in range(4):
            for parameter in model.params():
                parameter.grad = numpy.asarray(rng.normal(size=parameter.shape)).astype(dtype)
            optimizer.update()
        return [array for p in model.params() for array in (p.array, *p.update_rule.state.values())]
    found, used = as_on_gpu(run)
    assert used == ({name, 'clipping_rate'} if gradient_norm else {name})
    for x, y in zip(found, run()):
        assert x.dtype == dtype
        numpy.testing.assert_allclose(x, y, rtol=1e-5 if dtype == numpy.float32 else 1e-12, atol=1e-7)


def test_clipping_of_a_gradient_of_zero(as_on_gpu):
    rate, _ = as_on_gpu(lambda: kernels.clipping_rate(numpy.zeros((), dtype=numpy.float32), 10.0))
    assert rate == 1


PAIRS = {
    'gaussian_mixture': (toy, {'n_hidden': 16}, (2,)),
    'mnist': (mnist, {}, (784,)),
    'images': (images, {'width': 0.03}, (3, 64, 64)),
}


@pytest.mark.parametrize('task', PAIRS)
def test_training(task, as_on_gpu):
    """Two iterations of both models, noise and all, end with the same weights."""
    network, changes, shape = PAIRS[task]
    preset = next(iter(PRESETS[task].values()))
    settings = type(preset.settings)(**{**vars(preset.settings), 'n_experts': 8, **changes})

    def draw(n, rng):
        return rng.random((n, *shape), dtype=numpy.float32)

    def build():
        rng = numpy.random.default_rng(5)
        models = network.build_models(settings, rng)
        training.start_from_batch(models[0], draw(8, rng), rng)
        return models

    def run(models):
        # With Adam's own eps, gradients that are 0 but for rounding become whole steps in any direction.
        adams = [training.make_optimizer(model, eps=0.1) for model in models]
        for _ in training.train(*adams, draw, 8, seed=0, done=0, iterations=2):
            pass

    def numbers(models):
        return numpy.concatenate([parameter.array.ravel() for model in models for parameter in model.params()])
    pair, pair_on_gpu = build(), build()
    start = numbers(pair)
    run(pair)
    as_on_gpu(lambda: run(pair_on_gpu))
    step = abs(numbers(pair) - start).max()
    assert step > 1e-5
    numpy.testing.assert_allclose(numbers(pair_on_gpu), numbers(pair), rtol=0, atol=1e-3 * step)


def test_none_is_forgotten():
    """Each kernel is called by the package, and compared with NumPy's way above; its name is that of its variable."""
    text = ''.join(path.read_text(encoding='utf-8') for path in pathlib.Path(ROOT, 'ddgm').rglob('*.py'))
    assert DECLARED
    for name, kernel in DECLARED.items():
        assert kernel.name == name
        assert re.search(r'\bkernels\.{}\b'.format(name), text), name
    compared = set().union(*(used for *_, used in CASES.values()), UPDATES, {'running_statistics', 'clipping_rate'})
    assert compared == set(DECLARED)
