"""What the networks are made of beside NumPy in float64 and Chainer's own functions, in value and gradient."""

import chainer
import chainer.functions as F
import chainer.links as L
import numpy
import pytest
from chainer import gradient_check
from conftest import send

from ddgm.fast import functions, links as fast_links, noise
from ddgm.fast.gradients import gradients
from ddgm.fast.links import batch_normalization

EPS = 2e-5
N, UNITS = 6, 4
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

# By name: ours, the same in NumPy, Chainer's.
ACTIVATIONS = {
    'relu': (functions.relu, lambda x: numpy.where(x > 0, x, 0), F.relu),
    'elu': (functions.elu, lambda x: numpy.where(x > 0, x, numpy.exp(numpy.minimum(x, 0)) - 1), F.elu),
    'tanh': (functions.tanh, lambda x: (numpy.exp(2 * x) - 1) / (numpy.exp(2 * x) + 1), F.tanh),
    'sigmoid': (functions.sigmoid, lambda x: 1 / (1 + numpy.exp(-x)), F.sigmoid),
}


def normalize_by_chainer(x, gamma, beta):
    return F.batch_normalization(x, gamma, beta, eps=EPS)


def normalize(x, gamma, beta):
    return batch_normalization(x, gamma, beta, EPS)


def normalize_and_observe(*variables, batches=1):
    """The output, and the means and variances that are told of."""
    told = []
    y = batch_normalization(*variables, EPS, batches, lambda *moments: told.extend(moments))
    return y, *told


def naive_normalize(x, gamma, beta):
    """A unit at a time."""
    y = numpy.empty_like(x)
    for unit in range(x.shape[1]):
        values = x[:, unit]
        y[:, unit] = gamma[unit] * (values - values.mean()) / numpy.sqrt(values.var() + EPS) + beta[unit]
    return y


def cases(rng):
    """Name, ours, inputs, the same in NumPy, Chainer's."""
    W, b = rng.normal(size=(5, UNITS)), rng.normal(size=5)
    W_of_images = rng.normal(size=(5, UNITS * 6))
    gamma, beta = rng.normal(size=UNITS), rng.normal(size=UNITS)
    result = {
        'linear': (functions.linear, (SHAPES['vectors'](rng), W, b), lambda x, W, b: x @ W.T + b, F.linear),
        'linear without b': (functions.linear, (SHAPES['vectors'](rng), W), lambda x, W: x @ W.T, F.linear),
    }
    for shape, make in SHAPES.items():
        if shape != 'vectors':
            result['linear of ' + shape] = (
                functions.linear, (make(rng), W_of_images, b), lambda x, W, b: x.reshape(N, -1) @ W.T + b, F.linear)
        result['batch_normalization of ' + shape] = (
            normalize, (make(rng), gamma, beta), naive_normalize, normalize_by_chainer)
        for name, (function, reference, of_chainer) in ACTIVATIONS.items():
            result['{} of {}'.format(name, shape)] = function, (make(rng),), reference, of_chainer
    return result


NAMES = list(cases(numpy.random.default_rng(0)))


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('name', NAMES)
def test_value(name, dtype, device, rng):
    function, inputs, reference, _ = cases(rng)[name]
    y = function(*(send(device, x.astype(dtype)) for x in inputs))
    assert y.dtype == dtype
    numpy.testing.assert_allclose(
        chainer.cuda.to_cpu(y.array), reference(*inputs), rtol=1e-4 if dtype == numpy.float32 else 1e-11,
        atol=1e-5 if dtype == numpy.float32 else 1e-12)


@pytest.mark.parametrize('name', NAMES)
def test_gradient(name, device, rng):
    device.xp.random.seed(0)  # check_backward draws its direction from the global generator
    function, inputs, reference, _ = cases(rng)[name]
    gradient_check.check_backward(
        function, tuple(send(device, x) for x in inputs), device.send(rng.normal(size=reference(*inputs).shape)),
        eps=1e-5, dtype=numpy.float64, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('name', NAMES)
def test_same_as_chainer(name, dtype, device, rng):
    """Value and gradients of Chainer's own function, through ``backward`` and through ``gradients``."""
    function, inputs, reference, of_chainer = cases(rng)[name]
    weights = device.send(rng.normal(size=reference(*inputs).shape).astype(dtype))
    tolerance = {'rtol': 1e-3, 'atol': 1e-4} if dtype == numpy.float32 else {'rtol': 1e-9, 'atol': 1e-11}
    variables, others = ([chainer.Variable(send(device, x.astype(dtype))) for x in inputs] for _ in range(2))
    loss, other_loss = F.sum(function(*variables) * weights), F.sum(of_chainer(*others) * weights)
    device.xp.testing.assert_allclose(loss.array, other_loss.array, **tolerance)
    loss.backward()
    other_loss.backward()
    for variable, other, gradient in zip(variables, others, gradients(loss, variables)):
        assert gradient.dtype == variable.grad.dtype == dtype
        device.xp.testing.assert_allclose(variable.grad, other.grad, **tolerance)
        device.xp.testing.assert_array_equal(gradient, variable.grad)


@pytest.mark.parametrize('name', NAMES)
def test_gradient_of_each_input_alone(name, device, rng):
    """Where only some inputs need a gradient, those get it and no other does."""
    function, inputs, _, _ = cases(rng)[name]
    together = [chainer.Variable(send(device, x)) for x in inputs]
    loss = F.sum(function(*together) ** 2)
    loss.backward()
    for i in range(len(inputs)):
        alone = [chainer.Variable(send(device, x), requires_grad=j == i) for j, x in enumerate(inputs)]
        F.sum(function(*alone) ** 2).backward()
        for j, variable in enumerate(alone):
            if j == i:
                device.xp.testing.assert_array_equal(variable.grad, together[j].grad)
            else:
                assert variable.grad is None
        gradient, = gradients(loss, [together[i]])
        device.xp.testing.assert_array_equal(gradient, together[i].grad)


@pytest.mark.parametrize('name', NAMES)
def test_inputs_and_gradients_stay_as_they_were(name, device, rng):
    """Neither pass writes into an array that it was given."""
    function, inputs, reference, _ = cases(rng)[name]
    variables = [chainer.Variable(send(device, x)) for x in inputs]
    y = function(*variables)
    y.grad = device.send(rng.normal(size=reference(*inputs).shape))
    value, grad = y.array.copy(), y.grad.copy()
    y.backward(retain_grad=True)
    for variable, x in zip(variables, inputs):
        numpy.testing.assert_array_equal(chainer.cuda.to_cpu(variable.array), x)
    device.xp.testing.assert_array_equal(y.array, value)
    device.xp.testing.assert_array_equal(y.grad, grad)


@pytest.mark.parametrize('name', [name for name in NAMES if name.endswith('as convolutions lie')])
def test_order_in_memory_is_kept(name, device, rng):
    """A result, and the gradient of x, go into the next convolution without a rearranged copy."""
    function, inputs, _, _ = cases(rng)[name]
    x, *others = (send(device, array) for array in inputs)
    x = chainer.Variable(x)
    y = function(x, *others)
    arrays = [y.array] if y.ndim == 4 else []
    grad = device.xp.zeros_like(y.array)
    assert y.ndim == 2 or grad.transpose(1, 2, 3, 0).flags.c_contiguous
    y.grad = grad
    y.backward()
    if y.ndim == 4:
        arrays.append(x.grad)
    for array in arrays:
        assert array.transpose(1, 2, 3, 0).flags.c_contiguous


# ---- activations at their edges

@pytest.mark.parametrize('dtype', DTYPES)
def test_elu_at_zero_and_far_from_it(dtype, device):
    x = chainer.Variable(device.send(numpy.array([0, -1e-30, 1e-30, -1e4, 1e4, -1e30, 1e30], dtype=dtype)))
    with numpy.errstate(over='raise', invalid='raise'):
        y = functions.elu(x)
        F.sum(y).backward()
    expected = numpy.array([0, -1e-30, 1e-30, -1, 1e4, -1, 1e30], dtype=dtype)
    numpy.testing.assert_allclose(chainer.cuda.to_cpu(y.array), expected, rtol=1e-6)
    # The slope goes through 0 without a jump.
    numpy.testing.assert_array_equal(chainer.cuda.to_cpu(x.grad), [1, 1, 1, 0, 1, 0, 1])


@pytest.mark.parametrize('dtype', DTYPES)
def test_elu_is_exact_beside_zero(dtype, device):
    """exp(x) − 1 of a small x keeps its digits, and a positive x is not touched at all."""
    x = numpy.geomspace(1e-20, 50, 100).astype(dtype)
    numpy.testing.assert_array_equal(chainer.cuda.to_cpu(functions.elu(device.send(x)).array), x)
    numpy.testing.assert_allclose(
        chainer.cuda.to_cpu(functions.elu(device.send(-x)).array), numpy.expm1(-x.astype(numpy.float64)),
        rtol=4 * numpy.finfo(dtype).eps)


@pytest.mark.parametrize('dtype', DTYPES)
def test_relu_at_zero(dtype, device):
    """The slope at 0, of either sign, is 0, as Chainer's."""
    x = chainer.Variable(device.send(numpy.array([0.0, -0.0, -1, 1, -1e30, 1e30, 1e-30, -1e-30], dtype=dtype)))
    y = functions.relu(x)
    F.sum(y).backward()
    numpy.testing.assert_array_equal(
        chainer.cuda.to_cpu(y.array), numpy.array([0, 0, 0, 1, 0, 1e30, 1e-30, 0], dtype=dtype))
    numpy.testing.assert_array_equal(chainer.cuda.to_cpu(x.grad), [0, 0, 0, 1, 0, 1, 1, 0])


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize(('function', 'lower', 'at_zero', 'slope'), [
    (functions.tanh, -1, 0, 1), (functions.sigmoid, 0, 0.5, 0.25)], ids=['tanh', 'sigmoid'])
def test_saturation(function, lower, at_zero, slope, dtype, device):
    """Far from 0 the values are the limits, the slopes 0, and nothing overflows."""
    x = chainer.Variable(device.send(numpy.array([-1e30, -1e4, -100, 0, 100, 1e4, 1e30], dtype=dtype)))
    with numpy.errstate(over='raise', invalid='raise'):
        y = function(x)
        F.sum(y).backward()
    numpy.testing.assert_array_equal(chainer.cuda.to_cpu(y.array), [lower] * 3 + [at_zero] + [1] * 3)
    numpy.testing.assert_array_equal(chainer.cuda.to_cpu(x.grad), [0, 0, 0, slope, 0, 0, 0])


@pytest.mark.parametrize('name', ACTIVATIONS)
def test_not_a_number_stays_one(name, device):
    """A run that breaks is found by its losses."""
    function, _, _ = ACTIVATIONS[name]
    y = function(device.send(numpy.array([numpy.nan, 1], dtype=numpy.float32))).array
    assert [bool(is_nan) for is_nan in device.xp.isnan(y)] == [True, False]


# ---- BatchNormalization

@pytest.mark.parametrize('shape', SHAPES)
def test_statistics_of_the_batch(shape, device, rng):
    x = SHAPES[shape](rng)
    axes = (0, 2, 3)[:x.ndim - 1]
    _, means, variances = normalize_and_observe(send(device, x), device.xp.ones(UNITS), device.xp.zeros(UNITS))
    numpy.testing.assert_allclose(chainer.cuda.to_cpu(means), [x.mean(axis=axes)], rtol=1e-10, atol=1e-12)
    numpy.testing.assert_allclose(chainer.cuda.to_cpu(variances), [x.var(axis=axes)], rtol=1e-10)


@pytest.mark.parametrize('batches', [2, 3])
@pytest.mark.parametrize('shape', SHAPES)
def test_joined_batches_are_normalized_each_by_itself(shape, batches, device, rng):
    """Values, statistics and gradients are those of each batch alone; γ and β get the sum of theirs."""
    alone = [SHAPES[shape](rng) for _ in range(batches)]
    joined = numpy.concatenate(alone)
    if not alone[0].flags.c_contiguous:
        joined = as_convolutions_lie(joined)
    upstream = rng.normal(size=joined.shape)
    gamma, beta = rng.normal(size=UNITS), rng.normal(size=UNITS)

    def values_and_gradients(x, upstream, batches):
        variables = [chainer.Variable(send(device, array)) for array in (x, gamma, beta)]
        y, means, variances = normalize_and_observe(*variables, batches=batches)
        y.grad = send(device, upstream)
        y.backward()
        arrays = y.array, means, variances, *(variable.grad for variable in variables)
        return [chainer.cuda.to_cpu(array) for array in arrays]

    results = [values_and_gradients(x, part, 1) for x, part in zip(alone, numpy.split(upstream, batches))]
    y, means, variances, grad_x, grad_gamma, grad_beta = zip(*results)
    expected = [numpy.concatenate(arrays) for arrays in (y, means, variances, grad_x)]
    expected += [sum(grad_gamma), sum(grad_beta)]
    for array, values in zip(values_and_gradients(joined, upstream, batches), expected):
        numpy.testing.assert_allclose(array, values, rtol=1e-10, atol=1e-12)


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
    monkeypatch.setattr(fast_links, '_PART', inputs[0].size // 2 // 3)  # one unit of four, then
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
    y = normalize(x, gamma, beta)
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


# ---- Linear

@pytest.mark.parametrize('nobias', [False, True])
def test_linear_link(nobias, device, rng):
    """xWᵀ + b with its own parameters, by Chainer's names."""
    link = fast_links.Linear(12, 5, nobias=nobias, initialW=rng.normal(size=(5, 12)))
    link.to_device(device)
    assert {name for name, _ in link.namedparams()} == ({'/W'} if nobias else {'/W', '/b'})
    x = device.send(rng.normal(size=(N, 3, 2, 2)).astype(numpy.float32))
    device.xp.testing.assert_allclose(
        link(x).array, F.linear(x, link.W, None if nobias else link.b).array, rtol=1e-4, atol=1e-5)


def test_normalizing_many_numbers_keeps_their_type(rng):
    """NumPy 1 divides float32 by an integer above 65,535 to float64."""
    x = rng.random((128, 2, 32, 32), dtype=numpy.float32)
    y, means, variances = normalize_and_observe(x, numpy.ones(2, numpy.float32), numpy.zeros(2, numpy.float32))
    assert {y.dtype, means.dtype, variances.dtype} == {numpy.dtype(numpy.float32)}


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('name', ACTIVATIONS)
def test_numbers_that_are_not_finite(name, dtype, device):
    """Infinity has Chainer's value and gradient, and what is not a number stays so."""
    ours, _, of_chainer = ACTIVATIONS[name]
    results = []
    for function in (ours, of_chainer):
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
    with noise.source(numpy.random.default_rng(1)):
        y, mask = functions.dropout(x, 0.25, return_mask=True)
    with noise.source(numpy.random.default_rng(1)):
        numpy.testing.assert_array_equal(y.array, functions.dropout(x, 0.25).array)
    numpy.testing.assert_array_equal(y.array, x * mask)


def test_sizes_that_do_not_fit_are_named():
    with pytest.raises(chainer.utils.type_check.InvalidType, match='2 != 3'):
        functions.linear(numpy.zeros((4, 2), dtype=numpy.float32), numpy.zeros((5, 3), dtype=numpy.float32))
