"""Every function with a gradient of its own beside Chainer's or NumPy and numerical gradients; what holds at its edges.

On a GPU, or what stands in for one, they are the kernels of ``ddgm.fast.kernels``.
"""

import contextlib
import functools
import typing
import unittest.mock

import chainer
import chainer.functions as F
import chainer.links as L
import numpy
import pytest
from chainer import gradient_check
from conftest import send

from ddgm import equations
from ddgm.beyond_the_paper import entropies
from ddgm.beyond_the_paper.energy_penalty import mean_square
from ddgm.fast import functions, kernels, links as fast_links, noise
from ddgm.fast.convolution import convolution_2d, deconvolution_2d
from ddgm.fast.gradients import gradients
from ddgm.fast.kernels import cuda_kernels, normalization_on_cpu
from ddgm.fast.kernels.convolution_on_cpu import Im2col, Winograd
from ddgm.fast.links import batch_normalization

EPS = 2e-5
N, D, UNITS = 6, 3, 4
DTYPES = [numpy.float32, numpy.float64]


def as_convolutions_lie(x):
    """The same (N, C, H, W), in memory (C, H, W, N)."""
    return numpy.ascontiguousarray(x.transpose(1, 2, 3, 0)).transpose(3, 0, 1, 2)


# From a generator to x, in every shape and order in memory in which the networks have it.
SHAPES = {
    'vectors': lambda rng: 2 * rng.normal(size=(N, UNITS)),
    'images': lambda rng: 2 * rng.normal(size=(N, UNITS, 3, 2)),
    'images as convolutions lie': lambda rng: as_convolutions_lie(2 * rng.normal(size=(N, UNITS, 3, 2))),
}


class Case(typing.NamedTuple):
    """A function and its inputs in float64; the same in Chainer, or in NumPy; the kernels that it uses on a GPU."""

    function: typing.Callable
    inputs: tuple
    in_chainer: typing.Optional[typing.Callable] = None
    in_numpy: typing.Optional[typing.Callable] = None
    kernels: set = frozenset()


def equation_cases(rng):
    """Of the paper, the layers that its code took from others, and what lies beyond."""
    x, images = rng.normal(size=(N, D)), rng.normal(size=(N, 3, 2, 2))

    def rows_of_norm_g(V, g):
        return [g_row * V_row / numpy.sqrt((V_row ** 2).sum()) for V_row, g_row in zip(V, g)]

    def similarity(M):
        return [[sum(numpy.exp(-abs(M[i, k] - M[j, k]).sum()) for j in range(len(M)) if j != i)
                 for k in range(UNITS)] for i in range(len(M))]
    result = {
        'quadratic_term': Case(
            lambda x: equations.quadratic_term(x, 0.7), (x,), in_numpy=lambda x: [v @ v / 0.7 ** 2 for v in x],
            kernels=with_gradient('quadratic_term')),
        'quadratic_term of images': Case(
            equations.quadratic_term, (as_convolutions_lie(images),), in_numpy=lambda x: [(v * v).sum() for v in x],
            kernels=with_gradient('quadratic_term')),
        'bias_term': Case(
            equations.bias_term, (x, rng.normal(size=D)), in_numpy=lambda x, b: [-(v @ b) for v in x],
            kernels=with_gradient('bias_term')),
        'bias_term of images': Case(
            equations.bias_term, (as_convolutions_lie(images), rng.normal(size=12)),
            in_numpy=lambda x, b: [-(v.ravel() @ b) for v in x], kernels=with_gradient('bias_term')),
        'expert_term': Case(
            equations.expert_term, (3 * rng.normal(size=(N, UNITS)),), kernels=with_gradient('expert_term'),
            in_numpy=lambda a: [-sum(numpy.log(1 + numpy.exp(u)) for u in v) for v in a]),
        'gaussian_entropy': Case(
            equations.gaussian_entropy, (rng.normal(size=D), rng.normal(size=UNITS)), in_numpy=lambda *gammas: sum(
                0.5 * numpy.log(2 * numpy.pi * numpy.e * v ** 2 + 1e-8) for g in gammas for v in g),
            kernels={'concatenation_2', *with_gradient('gaussian_entropy')}),
        'minibatch_similarity': Case(
            equations.minibatch_similarity, (rng.normal(size=(N, UNITS, D)),), in_numpy=similarity),
        'minibatch_similarity of joined batches': Case(
            lambda M: equations.minibatch_similarity(M, 3), (rng.normal(size=(N, UNITS, D)),),
            in_numpy=lambda M: numpy.concatenate([similarity(part) for part in numpy.split(M, 3)])),
        'mean_square': Case(mean_square, (images,), in_numpy=lambda x: numpy.mean(x ** 2)),
        'log_determinant': Case(
            entropies.log_determinant, (rng.normal(size=(N, D, D)),),
            in_numpy=lambda J: [numpy.log(abs(numpy.linalg.det(j))) for j in J]),
        'log_determinant of a surface': Case(
            entropies.log_determinant, (rng.normal(size=(N, UNITS, 2)),),
            in_numpy=lambda J: [numpy.log(numpy.linalg.svd(j, compute_uv=False)).sum() for j in J]),
    }
    of_kernels, of_long_rows = rng.normal(size=(UNITS, 2, 3, 5)), rng.normal(size=(UNITS, 2, 150))
    for of, V, used in (
            ('', rng.normal(size=(UNITS, D)), with_gradient('short_weight_normalization')),
            (' of kernels', of_kernels, with_gradient('short_weight_normalization')),
            (' of turned kernels', of_kernels.swapaxes(0, 1), with_gradient('short_weight_normalization')),
            (' of long rows', of_long_rows, {'norm', 'along', *with_gradient('weight_normalization')})):
        result['weight_normalization' + of] = Case(
            equations.weight_normalization, (V, rng.normal(size=len(V))), in_numpy=rows_of_norm_g, kernels=used)
    return result


def with_gradient(name):
    """A kernel and that of its gradient."""
    return {name, name + '_gradient'}


def operator_cases(rng):
    """Of variables that our functions return."""
    x = rng.normal(size=(N, D)), rng.normal(size=(N, D))
    images, number = rng.normal(size=(N, 3, 2, 2)), numpy.array(-1.5)
    tanh = with_gradient('tanh')
    result = {
        'sum': Case(lambda x, y: 1 * functions.tanh(x) + y, x, lambda x, y: F.tanh(x) + y, kernels=tanh),
        'multiple': Case(lambda x: functions.tanh(x) * -0.3, x[:1], lambda x: F.tanh(x) * -0.3, kernels=tanh),
        'multiple by a number of NumPy': Case(
            lambda x: numpy.float64(-0.3) * functions.tanh(x), x[:1], lambda x: -0.3 * F.tanh(x), kernels=tanh),
        'multiple of a number': Case(
            lambda x: functions.tanh(x) * numpy.int64(2), (number,), lambda x: 2 * F.tanh(x), kernels=tanh),
        'rows': Case(
            lambda x: functions.tanh(x)[1:4], (images,), lambda x: F.tanh(x)[1:4], kernels={'rows_gradient', *tanh}),
        'every other row': Case(
            lambda x: functions.tanh(x)[::2], (images,), lambda x: F.tanh(x)[::2], kernels=tanh),
        'mean': Case(functions.mean, (images,), F.mean, kernels={'mean', 'quotient'}),
    }
    for of, inputs in (('', x), (' of numbers', (numpy.array(2.5), number))):
        result['difference' + of] = Case(
            lambda x, y: functions.tanh(x) - y, inputs, lambda x, y: F.tanh(x) - y, kernels=tanh)
    return result


def with_noise(function, *arguments):
    """The same noise at every call, on every device."""
    def call(x):
        with chainer.using_config('noise_generator', numpy.random.default_rng(4)), \
                chainer.using_config('noise_from_host', True):
            return function(x, *arguments)
    return call


def layer_cases(rng):
    """What networks are made of, but for convolutions."""
    W, W_of_images, b = rng.normal(size=(5, UNITS)), rng.normal(size=(5, UNITS * 6)), rng.normal(size=5)
    gamma, beta = rng.normal(size=UNITS), rng.normal(size=UNITS)
    result = {'linear without b': Case(functions.linear, (SHAPES['vectors'](rng), W), F.linear)}
    for shape, make in SHAPES.items():
        result['linear of ' + shape] = Case(
            functions.linear, (make(rng), W if shape == 'vectors' else W_of_images, b), F.linear,
            kernels={'linear', 'linear_gradients'} if shape == 'vectors' else set())
        result['batch_normalization of ' + shape] = Case(
            functools.partial(batch_normalization, eps=EPS), (make(rng) + 2, gamma, beta),
            functools.partial(F.batch_normalization, eps=EPS),
            kernels={
                *(each if shape == 'vectors' else each + '_of_images' for each in ('moments', 'unit_gradients')),
                *with_gradient('batch_normalization')})
        for name in ACTIVATIONS:
            result['{} of {}'.format(name, shape)] = Case(
                getattr(functions, name), (make(rng),), getattr(F, name),
                kernels=with_gradient(name))
    for name, function, used in (
            ('add_noise', with_noise(noise.add_noise, 0.3), {'gaussian'}),
            ('noisy_elu', with_noise(noise.noisy_elu, 0.3), {'gaussian', *with_gradient('elu')}),
            ('dropout', with_noise(noise.dropout, 0.4), {'dropout', 'product'})):
        result[name] = Case(
            function, (rng.normal(size=(N, D, 3)),), in_numpy=lambda x, function=function: function(x).array,
            kernels=used)
    return result


ACTIVATIONS = 'relu', 'elu', 'tanh', 'sigmoid'


def by_scheme(scheme, function, **options):
    """A convolution of arrays as small as those here, computed this way."""
    def call(*inputs):
        n = 0 if scheme is Winograd else 10 ** 9
        with unittest.mock.patch('ddgm.fast.kernels.convolution_on_cpu.SMALLEST_PRODUCT', n):
            return function(*inputs, **options)
    return call


KERNELS_OF = {Im2col: {'windows', 'windows_transposed'}, Winograd: {
    name + transposed for name in ('differences', 'sums', 'kernel_sums') for transposed in ('', '_transposed')}}


def convolution_cases(rng):
    """How they are computed; stride, padding, kernel: the published ones first."""
    result = {}
    for scheme, stride, pad, ksize in (
            *((scheme, 2, pad, 4) for scheme in (Winograd, Im2col) for pad in (1, 0, 2, 3)),
            *((Im2col, *case) for case in ((2, 2, 5), (1, 0, 3), (3, 2, 3), (1, 2, 5)))):
        x, W, b = rng.normal(size=(2, 3, 7, 6)), rng.normal(size=(4, 3, ksize, ksize)), rng.normal(size=4)
        options = {'stride': stride, 'pad': pad}
        size = F.convolution_2d(x, W, **options).shape[2:]
        for name, function, in_chainer, inputs, changes in (
                ('convolution', convolution_2d, F.convolution_2d, (x, W, b), {}),
                ('deconvolution', deconvolution_2d, F.deconvolution_2d, (x[:, :, :4, :3], W.swapaxes(0, 1), b), {}),
                ('deconvolution to a size', deconvolution_2d, F.deconvolution_2d,
                 (rng.normal(size=(2, 4, *size)), W, b[:3]), {'outsize': (7, 6)})):
            result['{} {} {}{}{}'.format(name, scheme.__name__, stride, pad, ksize)] = Case(
                by_scheme(scheme, function, **options, **changes), tuple(map(numpy.ascontiguousarray, inputs)),
                functools.partial(in_chainer, **options, **changes), kernels=KERNELS_OF[scheme])
    x, W = rng.normal(size=(2, 3, 8, 8)), rng.normal(size=(4, 3, 4, 4))
    result['convolution without b'] = Case(
        functools.partial(convolution_2d, stride=2), (x, W), functools.partial(F.convolution_2d, stride=2),
        kernels=KERNELS_OF[Im2col])
    return result


def cases():
    rng = numpy.random.default_rng(20161028)
    return {**equation_cases(rng), **operator_cases(rng), **layer_cases(rng), **convolution_cases(rng)}


CASES = cases()
every_function = pytest.mark.parametrize('name', CASES)


@contextlib.contextmanager
def kernels_used():
    """A context whose value is the set of names of the kernels used in it."""
    names = set()

    def noted(call):
        def call_and_note(kernel, *arguments, **options):
            names.add(kernel.name)
            return call(kernel, *arguments, **options)
        return call_and_note
    with contextlib.ExitStack() as patches:
        for kind in (cuda_kernels.Kernel, cuda_kernels.Reduction):
            patches.enter_context(unittest.mock.patch.object(kind, '__call__', noted(kind.__call__)))
        yield names


def sent(device, x, dtype):
    x = numpy.asarray(x, dtype=dtype, order='K')
    return send(device, x) if x.ndim else device.send(x)


def variables_of(case, device, dtype=numpy.float64):
    return [chainer.Variable(sent(device, x, dtype)) for x in case.inputs]


def upstream_of(name, y):
    """A gradient of the output, lying as it comes from the next convolution where x does."""
    grad = numpy.random.default_rng(1).normal(size=y.shape)
    return as_convolutions_lie(grad) if name.endswith('as convolutions lie') and y.ndim == 4 else grad


@pytest.mark.parametrize('dtype', DTYPES)
@every_function
def test_value_and_gradients(name, dtype, device):
    """By ``backward`` and by ``gradients``; neither pass writes into an array that it was given."""
    case = CASES[name]
    others = variables_of(case, chainer.get_device('@numpy'))
    expected = (case.in_chainer or case.function)(*others)
    upstream = expected.grad = upstream_of(name, expected)
    expected.backward()
    value = case.in_numpy(*case.inputs) if case.in_numpy else expected.array

    variables = variables_of(case, device, dtype)
    with kernels_used() as used:
        y = case.function(*variables)
        y.grad = sent(device, upstream, dtype)
        kept = [array.copy() for array in (y.array, y.grad)]
        y.backward(retain_grad=True)
    assert used == (set() if device.xp is numpy else case.kernels)
    tolerance = {'rtol': 1e-4, 'atol': 3e-5} if dtype == numpy.float32 else {'rtol': 1e-10, 'atol': 1e-11}
    assert y.dtype == dtype
    numpy.testing.assert_allclose(chainer.cuda.to_cpu(y.array), value, **tolerance)
    for variable, other, gradient in zip(
            variables, others, gradients(F.sum(y * sent(device, upstream, dtype)), variables)):
        assert isinstance(gradient, device.xp.ndarray)
        assert gradient.dtype == dtype
        numpy.testing.assert_allclose(chainer.cuda.to_cpu(variable.grad), other.grad, **tolerance)
        device.xp.testing.assert_array_equal(gradient, variable.grad)
        numpy.testing.assert_array_equal(chainer.cuda.to_cpu(variable.array), other.array.astype(dtype))
    for array, before in zip((y.array, y.grad), kept):
        device.xp.testing.assert_array_equal(array, before)
    # What goes into the next convolution does so without a rearranged copy.
    onwards = [y.array, variables[0].grad] if name.endswith('as convolutions lie') else [y.array]
    if y.ndim == 4 and (name.endswith('as convolutions lie') or name.startswith('convolution')):
        assert all(array.transpose(1, 2, 3, 0).flags.c_contiguous for array in onwards)


@every_function
def test_gradient_is_that_of_differences(name, rng):
    numpy.random.seed(0)  # check_backward draws its direction from the global generator
    case = CASES[name]
    gradient_check.check_backward(
        case.function, case.inputs, rng.normal(size=case.function(*case.inputs).shape), eps=1e-5, dtype=numpy.float64,
        rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('name', [name for name, case in CASES.items() if len(case.inputs) > 1])
def test_gradient_of_each_input_alone(name, device):
    """Where only some inputs need a gradient, those get it and no other does."""
    case = CASES[name]
    together = variables_of(case, device)
    F.sum(case.function(*together) ** 2).backward()
    for i in range(len(case.inputs)):
        alone = [chainer.Variable(variable.array, requires_grad=j == i) for j, variable in enumerate(together)]
        F.sum(case.function(*alone) ** 2).backward()
        for j, variable in enumerate(alone):
            if j == i:
                device.xp.testing.assert_allclose(variable.grad, together[j].grad, rtol=1e-12)
            else:
                assert variable.grad is None


# ---- activations at their edges

FAR = [-1e30, -1e4, -100, 0, 100, 1e4, 1e30]


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize(('name', 'x', 'y', 'slope'), [
    ('relu', [0.0, -0.0, -1, 1, -1e30, 1e30, 1e-30, -1e-30], [0, 0, 0, 1, 0, 1e30, 1e-30, 0], [0, 0, 0, 1, 0, 1, 1, 0]),
    # The slope goes through 0 without a jump.
    ('elu', [0, -1e-30, 1e-30, -1e4, 1e4, -1e30, 1e30], [0, -1e-30, 1e-30, -1, 1e4, -1, 1e30], [1, 1, 1, 0, 1, 0, 1]),
    ('tanh', FAR, [-1] * 3 + [0] + [1] * 3, [0, 0, 0, 1, 0, 0, 0]),
    ('sigmoid', FAR, [0] * 3 + [0.5] + [1] * 3, [0, 0, 0, 0.25, 0, 0, 0])], ids=['relu', 'elu', 'tanh', 'sigmoid'])
def test_activations_at_zero_and_far_from_it(name, x, y, slope, dtype, device):
    """Far from 0 the values are the limits, and nothing overflows."""
    x = chainer.Variable(device.send(numpy.array(x, dtype=dtype)))
    with numpy.errstate(over='raise', invalid='raise'):
        found = getattr(functions, name)(x)
        F.sum(found).backward()
    numpy.testing.assert_allclose(
        chainer.cuda.to_cpu(found.array), numpy.array(y, dtype=dtype), rtol=1e-6 if name == 'elu' else 0)
    numpy.testing.assert_array_equal(chainer.cuda.to_cpu(x.grad), slope)


@pytest.mark.parametrize('dtype', DTYPES)
def test_elu_is_exact_beside_zero(dtype, device):
    """exp(x) − 1 of a small x keeps its digits, and a positive x is not touched at all."""
    x = numpy.geomspace(1e-20, 50, 100).astype(dtype)
    numpy.testing.assert_array_equal(chainer.cuda.to_cpu(functions.elu(device.send(x)).array), x)
    numpy.testing.assert_allclose(
        chainer.cuda.to_cpu(functions.elu(device.send(-x)).array), numpy.expm1(-x.astype(numpy.float64)),
        rtol=4 * numpy.finfo(dtype).eps)


# ---- BatchNormalization

def normalize_and_observe(*variables, batches=1, running=None):
    """The output, and the mean and variance of each batch."""
    x = chainer.as_variable(variables[0]).array
    return batch_normalization(*variables, EPS, batches, running), *kernels.of(x).moments(x, batches)


@pytest.mark.parametrize('shape', SHAPES)
def test_joined_batches_are_normalized_each_by_itself(shape, device, rng):
    """Values, statistics and gradients are those of each batch alone; γ and β get the sum of theirs."""
    alone = [SHAPES[shape](rng) for _ in range(3)]
    joined = numpy.concatenate(alone)
    if not alone[0].flags.c_contiguous:
        joined = as_convolutions_lie(joined)
    upstream = rng.normal(size=joined.shape)
    gamma, beta = rng.normal(size=UNITS), rng.normal(size=UNITS)

    def values_and_gradients(x, upstream, batches, running):
        variables = [chainer.Variable(send(device, array)) for array in (x, gamma, beta)]
        y, means, variances = normalize_and_observe(*variables, batches=batches, running=running)
        y.grad = send(device, upstream)
        y.backward()
        arrays = y.array, means, variances, *(variable.grad for variable in variables)
        return [chainer.cuda.to_cpu(array) for array in arrays]

    running = [(1.2, 0.9, device.xp.zeros(UNITS), device.xp.ones(UNITS)) for _ in range(2)]
    results = [values_and_gradients(x, part, 1, running[0]) for x, part in zip(alone, numpy.split(upstream, 3))]
    y, means, variances, grad_x, grad_gamma, grad_beta = zip(*results)
    expected = [numpy.concatenate(arrays) for arrays in (y, means, variances, grad_x)]
    expected += [sum(grad_gamma), sum(grad_beta)]
    for array, values in zip(values_and_gradients(joined, upstream, 3, running[1]), expected):
        numpy.testing.assert_allclose(array, values, rtol=1e-10, atol=1e-12)
    for array, values in zip(running[1][2:], running[0][2:]):
        device.xp.testing.assert_allclose(array, values, rtol=1e-10)


def test_images_without_their_border(device, rng):
    """As transposed convolutions return them, in memory that has a border; the result and the gradient have none."""
    x = as_convolutions_lie(rng.normal(size=(N, UNITS, 5, 4)))
    gamma, beta = (device.send(rng.normal(size=UNITS)) for _ in range(2))
    cut, copied = (chainer.Variable(array) for array in (
        send(device, x)[:, :, 1:-1, 1:-1], send(device, as_convolutions_lie(x[:, :, 1:-1, 1:-1]))))
    results = [batch_normalization(variable, gamma, beta, EPS, 2) for variable in (cut, copied)]
    for y in results:
        F.sum(y * y * y).backward()
    for array, expected in ((results[0].array, results[1].array), (cut.grad, copied.grad)):
        device.xp.testing.assert_allclose(array, expected, rtol=1e-10)
        assert array.transpose(1, 2, 3, 0).flags.c_contiguous


def test_batches_that_are_not_of_one_size():
    with pytest.raises(ValueError, match='4 batches of one size are not 6 samples'):
        batch_normalization(numpy.ones((N, UNITS)), numpy.ones(UNITS), numpy.zeros(UNITS), EPS, 4)


@pytest.mark.parametrize('shape', SHAPES)
def test_parts_of_many_units_change_nothing(shape, rng, monkeypatch):
    """What is worked through a few units at a time, for the processor's cache, keeps its bits."""
    def everything():
        variables = [chainer.Variable(array) for array in inputs]
        y, means, variances = normalize_and_observe(*variables, batches=2)
        F.sum(y * y).backward()
        return [y.array, means, variances] + [variable.grad for variable in variables]

    inputs = SHAPES[shape](rng), rng.normal(size=UNITS), rng.normal(size=UNITS)
    whole = everything()
    monkeypatch.setattr(normalization_on_cpu, '_PART', inputs[0].size // 2 // 3)  # one unit of four, then
    for array, expected in zip(everything(), whole):
        numpy.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize('shape', [(2000, UNITS), (40, UNITS, 32, 32)], ids=str)
def test_variance_beside_a_large_mean(shape, device, rng):
    """In float32 the variance of numbers around 1,000 has its digits: they are centred before they are squared."""
    x = (1000 + rng.normal(size=shape)).astype(numpy.float32)
    axes = (0, 2, 3)[:x.ndim - 1]
    ones, zeros = (device.send(numpy.full(UNITS, value, dtype=numpy.float32)) for value in (1, 0))
    y, _, variances = normalize_and_observe(device.send(x), ones, zeros)
    exact = x.astype(numpy.float64)
    numpy.testing.assert_allclose(chainer.cuda.to_cpu(variances), [exact.var(axis=axes)], rtol=1e-4)
    normalized = chainer.cuda.to_cpu(y.array).astype(numpy.float64)
    numpy.testing.assert_allclose(normalized.std(axis=axes), 1, rtol=1e-3)
    numpy.testing.assert_allclose(normalized.mean(axis=axes), 0, atol=5e-3)


def test_constant_unit(device):
    """Where a unit has one value in the whole batch, β is left of it and nothing flows back into x."""
    x = chainer.Variable(device.send(numpy.full((N, UNITS), 3, dtype=numpy.float32)))
    gamma, beta = (device.send(numpy.full(UNITS, value, dtype=numpy.float32)) for value in (2, 0.5))
    y = batch_normalization(x, gamma, beta, EPS)
    F.sum(y).backward()
    numpy.testing.assert_allclose(chainer.cuda.to_cpu(y.array), 0.5)
    numpy.testing.assert_allclose(chainer.cuda.to_cpu(x.grad), 0, atol=1e-4)


def link_and_twin(dtype, device):
    """Our BatchNormalization and Chainer's with the same eps and decay."""
    with chainer.using_config('dtype', dtype):
        pair = fast_links.BatchNormalization(UNITS), L.BatchNormalization(UNITS, eps=2e-5, decay=0.9)
        for link in pair:
            link.gamma.array[...], link.beta.array[...] = numpy.linspace(0.5, 2, UNITS), numpy.linspace(-1, 1, UNITS)
            link.to_device(device)
    return pair


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('shape', SHAPES)
def test_link_keeps_the_running_statistics_of_chainer(shape, dtype, device, rng):
    """Over several batches of several sizes, in training; test mode uses them and leaves them alone."""
    link, twin = link_and_twin(dtype, device)
    tolerance = {'rtol': 1e-4, 'atol': 1e-5} if dtype == numpy.float32 else {'rtol': 1e-9, 'atol': 1e-12}
    for step in range(6):
        x = send(device, (3 + SHAPES[shape](rng)).astype(dtype)[:N - step % 3])
        train = step not in (2, 5)
        before = link.avg_mean.copy(), link.avg_var.copy()
        with chainer.using_config('train', train):
            y, expected = link(x), twin(x)
        assert y.dtype == dtype
        device.xp.testing.assert_allclose(y.array, expected.array, **tolerance)
        assert link.avg_mean.dtype == link.avg_var.dtype == dtype
        device.xp.testing.assert_allclose(link.avg_mean, twin.avg_mean, **tolerance)
        device.xp.testing.assert_allclose(link.avg_var, twin.avg_var, **tolerance)
        assert bool((link.avg_mean == before[0]).all()) != train
        assert bool((link.avg_var == before[1]).all()) != train


def test_gradient_in_test_mode(device, rng):
    """Of the fixed statistics: γ/√(variance + eps)."""
    link, _ = link_and_twin(numpy.float64, device)
    for _ in range(3):
        link(device.send(3 + 2 * rng.normal(size=(N, UNITS))))
    x = chainer.Variable(device.send(rng.normal(size=(N, UNITS))))
    with chainer.using_config('train', False):
        F.sum(link(x)).backward()
    expected = link.gamma.array / device.xp.sqrt(link.avg_var + 2e-5)
    device.xp.testing.assert_allclose(x.grad, device.xp.broadcast_to(expected, x.shape), rtol=1e-10)


def test_running_statistics_of_single_samples(device):
    """One vector has no variance; n/(n − 1) does not divide by 0."""
    link, _ = link_and_twin(numpy.float32, device)
    y = link(device.send(numpy.ones((1, UNITS), dtype=numpy.float32)))
    device.xp.testing.assert_allclose(y.array[0], link.beta.array)
    numpy.testing.assert_allclose(chainer.cuda.to_cpu(link.avg_var), 0.9, rtol=1e-6)


def test_normalizing_many_numbers_keeps_their_type(rng):
    """NumPy 1 divides float32 by an integer above 65,535 to float64."""
    x = rng.random((128, 2, 32, 32), dtype=numpy.float32)
    y, means, variances = normalize_and_observe(x, numpy.ones(2, numpy.float32), numpy.zeros(2, numpy.float32))
    assert {y.dtype, means.dtype, variances.dtype} == {numpy.dtype(numpy.float32)}


# ---- what Chainer's own do beyond the table

@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('name', ACTIVATIONS)
def test_numbers_that_are_not_finite(name, dtype, device):
    """Infinity has Chainer's value and gradient, and what is not a number stays so."""
    results = []
    for function in (getattr(functions, name), getattr(F, name)):
        x = chainer.Variable(device.send(numpy.array([numpy.inf, -numpy.inf, numpy.nan, 2, -2, 0], dtype=dtype)))
        y = function(x)
        y.grad = device.xp.full_like(y.array, 3)
        y.backward()
        results.append([chainer.cuda.to_cpu(array) for array in (y.array, x.grad)])
    for found, expected in zip(*results):
        numpy.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('step', [1, 3])
def test_zeros_of_relu_and_elu_have_a_sign(dtype, step, rng):
    """That of x, whatever lies where, so that files keep their bits."""
    x = rng.choice(numpy.array([0, -0.0, -1, 1], dtype=dtype), size=301)[::step]
    assert (numpy.signbit(functions.relu(x).array) == numpy.signbit(x)).all()
    assert (numpy.signbit(functions.elu(x).array) == numpy.signbit(x)).all()


@pytest.mark.parametrize('call', [
    lambda F, x, W, mask: F.elu(x, 0.5),
    lambda F, x, W, mask: F.mean(x, None, None, True),
    lambda F, x, W, mask: F.mean(x.astype(numpy.float16) * 0 + 6e4),
    lambda F, x, W, mask: F.dropout(x, 0.5, mask=mask),
    lambda F, x, W, mask: F.dropout(x, 0.5, mask=mask, return_mask=True)[0],
    lambda F, x, W, mask: F.convolution_2d(x, W, stride=(1, 2), dilate=2),
    lambda F, x, W, mask: F.convolution_2d(x, W, None, 2, 0, True),
    lambda F, x, W, mask: F.deconvolution_2d(x, W.transpose(1, 0, 2, 3), groups=1, outsize=(9, 9), stride=(1, 1)),
    lambda F, x, W, mask: F.deconvolution_2d(x, W.transpose(1, 0, 2, 3), stride=2, outsize=(16, 16)),
    lambda F, x, W, mask: F.linear(x, W.astype(numpy.float64).reshape(3, -1)[:, :2].repeat(49, axis=1)),
])
def test_options_of_chainers_functions(call, rng):
    """What ours do not know of is Chainer's."""
    x, W = (rng.normal(size=shape).astype(numpy.float32) for shape in ((5, 2, 7, 7), (3, 2, 3, 3)))
    mask = (rng.normal(size=x.shape) > 0).astype(numpy.float32)
    found, expected = call(functions, x, W, mask), call(F, x, W, mask)
    assert found.dtype == expected.dtype
    numpy.testing.assert_allclose(found.array, expected.array, rtol=1e-4, atol=1e-5)


def test_mask_of_dropout(rng):
    """Drawn from the source of noise."""
    x = rng.normal(size=(4, 5)).astype(numpy.float32)
    with chainer.using_config('noise_generator', numpy.random.default_rng(1)):
        y, mask = functions.dropout(x, 0.25, return_mask=True)
    with chainer.using_config('noise_generator', numpy.random.default_rng(1)):
        numpy.testing.assert_array_equal(y.array, functions.dropout(x, 0.25).array)
    numpy.testing.assert_array_equal(y.array, x * mask)


@pytest.mark.parametrize(('shapes', 'sizes'), [
    (((4, 2), (5, 3)), '2 != 3'), (((4, 2), (5, 3), (5,)), '2 != 3'), (((4, 3), (5, 3), (4,)), '4 != 5')])
def test_sizes_that_do_not_fit_are_named(shapes, sizes, device):
    """By Chainer, also where one kernel would compute them."""
    with pytest.raises(chainer.utils.type_check.InvalidType, match=sizes):
        functions.linear(*[device.send(numpy.zeros(shape, dtype=numpy.float32)) for shape in shapes])


# ---- the bias that a GPU leaves to the next function

def noisy(x):
    with chainer.using_config('noise_generator', numpy.random.default_rng(3)):
        return noise.noisy_elu(x, 0.3)


def test_bias_is_left_in_the_loop_alone(device, rng):
    """Elsewhere somebody may keep a result, and look at it when the bias has learned."""
    x, W, b = [device.send(rng.normal(size=shape).astype(numpy.float32)) for shape in ((6, 20), (5, 20), (5,))]
    y, expected = functions.linear(x, W, b), F.linear(x, W, b.copy())
    b += 1
    device.xp.testing.assert_allclose(y.array, expected.array, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('look', [False, True], ids=['as it is', 'somebody looks'])
@pytest.mark.parametrize('activation', [
    *(getattr(functions, name) for name in ACTIVATIONS), noisy, F.softplus, lambda h: functions.elu(h) * h])
def test_bias_is_added_once(activation, look, device, rng):
    arrays = [device.send(rng.normal(size=shape).astype(numpy.float32)) for shape in ((6, 20), (5, 20), (5,))]

    def results(function, look):
        variables = x, W, b = [chainer.Variable(array.copy()) for array in arrays]
        h = function(x, W, b)
        assert h.array.shape == (6, 5) if look else True
        y = activation(h)
        return [each.array for each in (y, h, *chainer.grad([F.sum(y * y)], variables))]
    with chainer.using_config('leaves_bias', True):
        left = results(functions.linear, look)
    for found, expected in zip(left, results(F.linear, True)):
        device.xp.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
