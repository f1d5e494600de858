"""The CUDA kernels: that nvcc compiles them, and their numbers beside NumPy's, on a GPU or what stands in for one."""

import pathlib
import re
import shutil
import subprocess

import chainer
import numpy
import pytest
from conftest import ROOT, send

from ddgm import equations, training
from ddgm.fast import functions, kernels, links as fast_links, noise, optimizers
from ddgm.fast.links import batch_normalization
from ddgm.networks import images, mnist, toy
from ddgm.presets import PRESETS

DECLARED = {name: kernel for name, kernel in vars(kernels).items() if isinstance(kernel, kernels.Kernel)}
TYPES = {'float': numpy.float32, 'double': numpy.float64}
OTHER_TYPES = {'uint16': 'unsigned short', 'float64': 'double'}

FUNCTION = '''
extern "C" __global__ void {kernel}_{T}(long n_, {arguments}) {{
    using T = {T};
    for (long i_ = blockIdx.x * blockDim.x + threadIdx.x; i_ < n_; i_ += gridDim.x * blockDim.x) {{
        {numbers}
        {operation};
    }}
}}
'''


def parameters_of(declaration):
    """(raw, type, name) of each parameter that 'T x, raw T table' declares."""
    return [(words[0] == 'raw', *words[-2:]) for words in (part.split() for part in declaration.split(','))]


def source():
    """A translation unit of all kernels for both number types, each a plain function, as CuPy would write it."""
    parts = []
    for name, kernel in DECLARED.items():
        for T in TYPES:
            arguments, numbers = [], []
            for constant, declaration in (('const ', kernel.in_params), ('', kernel.out_params)):
                for raw, kind, parameter in parameters_of(declaration):
                    c_type = constant + OTHER_TYPES.get(kind, T)
                    arguments.append('{} *{}{}'.format(c_type, parameter, '' if raw else '_'))
                    if not raw:
                        numbers.append('{0} &{1} = {1}_[i_];'.format(c_type, parameter))
            parts.append(FUNCTION.format(
                kernel=name, T=T, arguments=', '.join(arguments), numbers=' '.join(numbers),
                operation=kernel.operation))
    return ''.join(parts)


@pytest.fixture
def used(monkeypatch):
    """The names of the kernels in use."""
    names, call = set(), kernels.Kernel.__call__

    def noted(kernel, *arguments):
        names.add(kernel.name)
        return call(kernel, *arguments)
    monkeypatch.setattr(kernels.Kernel, '__call__', noted)
    return names


@pytest.fixture
def gpu():
    return chainer.get_device('@cupy:0')


def test_nvcc_compiles_them(tmp_path):
    if not shutil.which('nvcc'):
        pytest.skip('no nvcc')
    (tmp_path / 'kernels.cu').write_text(source())
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
        with chainer.using_config('noise_generator', numpy.random.default_rng(4)):
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


def to_cpu(arrays):
    return [chainer.cuda.to_cpu(array) for array in arrays]


@pytest.mark.gpu
@pytest.mark.parametrize('dtype', TYPES.values(), ids=TYPES)
@pytest.mark.parametrize('name', CASES)
def test_functions(name, dtype, gpu, used, rng):
    """Value, gradients and order in memory are those of NumPy's way."""
    function, inputs, expected_kernels = CASES[name]
    inputs = [x.astype(dtype) for x in inputs]
    with chainer.no_backprop_mode():
        grad = numpy.asarray(rng.normal(size=function(*inputs).shape)).astype(dtype)

    def run(device):
        variables = [chainer.Variable(send(device, x)) for x in inputs]
        y = function(*variables)
        y.grad = send(device, grad)
        y.backward()
        return [y.array] + [variable.grad for variable in variables]
    with numpy.errstate(over='raise', invalid='raise'):
        expected = run(chainer.get_device('@numpy'))
    assert not used
    with numpy.errstate(all='ignore'):
        found = run(gpu)
    assert used == expected_kernels
    for i, (x, y) in enumerate(zip(found, expected)):
        assert x.dtype == dtype
        numpy.testing.assert_allclose(
            chainer.cuda.to_cpu(x), y, rtol=1e-5 if dtype == numpy.float32 else 1e-12,
            atol=1e-5 if dtype == numpy.float32 else 1e-13, err_msg=str(i))
        if x.shape == inputs[0].shape and i == 0:
            assert x.strides == inputs[0].strides


@pytest.mark.gpu
@pytest.mark.parametrize('function', [functions.relu, functions.elu, functions.tanh, functions.sigmoid])
def test_what_is_not_a_number_remains_one(function, gpu):
    y = function(gpu.send(numpy.full((2, 3), numpy.nan, dtype=numpy.float32)))
    assert numpy.isnan(chainer.cuda.to_cpu(y.array)).all()


@pytest.mark.gpu
@pytest.mark.parametrize('shape', SHAPES)
def test_running_statistics(shape, gpu, used, rng):
    batches = [SHAPES[shape](rng).astype(numpy.float32) for _ in range(3)]

    def run(device):
        link = fast_links.BatchNormalization(UNITS)
        link.to_device(device)
        for x in batches:
            link(send(device, x))
        return to_cpu([link.avg_mean, link.avg_var])
    found = run(gpu)
    assert used == {'squared_deviation', 'batch_normalization', 'running_statistics'}
    for x, y in zip(found, run(chainer.get_device('@numpy'))):
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


@pytest.mark.gpu
@pytest.mark.parametrize('dtype', TYPES.values(), ids=TYPES)
@pytest.mark.parametrize('weight_decay', [0, 0.1])
@pytest.mark.parametrize('gradient_norm', [0, 0.5, 1000])
@pytest.mark.parametrize('name', UPDATES)
def test_updates(name, gradient_norm, weight_decay, dtype, gpu, used):
    def run(device):
        model, rng = parameters(dtype), numpy.random.default_rng(2)
        model.to_device(device)
        optimizer = OPTIMIZERS[name](
            gradient_norm=gradient_norm, weight_decay=weight_decay, **UPDATES[name]).setup(model)
        for _ in range(4):
            for parameter in model.params():
                parameter.grad = device.send(numpy.asarray(rng.normal(size=parameter.shape)).astype(dtype))
            optimizer.update()
        return to_cpu(array for p in model.params() for array in (p.array, *p.update_rule.state.values()))
    found = run(gpu)
    assert used == ({name, 'clipping_rate'} if gradient_norm else {name})
    for x, y in zip(found, run(chainer.get_device('@numpy'))):
        assert x.dtype == dtype
        numpy.testing.assert_allclose(x, y, rtol=1e-5 if dtype == numpy.float32 else 1e-12, atol=1e-7)


@pytest.mark.gpu
def test_clipping_of_a_gradient_of_zero(gpu):
    assert float(kernels.clipping_rate(gpu.xp.zeros((), dtype=numpy.float32), 10.0)) == 1


PAIRS = {
    'gaussian_mixture': (toy, {'n_hidden': 16}, (2,)),
    'mnist': (mnist, {}, (784,)),
    'images': (images, {'width': 0.03}, (3, 64, 64)),
}


@pytest.mark.gpu
@pytest.mark.parametrize('task', PAIRS)
def test_training(task, gpu):
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
        for _ in training.train(*adams, draw_data=draw, batchsize=8, seed=0, iterations=2):
            pass

    def numbers(models):
        return numpy.concatenate([
            chainer.cuda.to_cpu(parameter.array).ravel() for model in models for parameter in model.params()])
    pair, pair_on_gpu = build(), build()
    for model in pair_on_gpu:
        model.to_device(gpu)
    start = numbers(pair)
    run(pair)
    run(pair_on_gpu)
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
