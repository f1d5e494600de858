"""Gradients beside Chainer's two ways, and what Chainer sees of our functions."""

import gc
import weakref

import chainer
import chainer.functions as F
import numpy
import pytest

from ddgm import equations
from ddgm.fast import functions
from ddgm.fast.elementary import FirstOrderFunction
from ddgm.fast.gradients import gradients

N, UNITS = 5, 4


def ours(x, W, b):
    return functions.mean(equations.expert_term(functions.tanh(functions.linear(x, W, b))))


def of_chainer(x, W, b):
    return F.mean(F.sum(F.softplus(F.tanh(F.linear(x, W, b))), axis=1))


def mixed(x, W, b):
    h = functions.relu(F.linear(x, W, b) * 1.5)
    return F.sum(functions.sigmoid(F.sin(functions.elu(h - 0.3)))) / 3


def used_several_times(x, W, b):
    """x in four places, one of them twice in the same function, W in two."""
    h = functions.linear(x, W, b)
    again = functions.linear(functions.tanh(h), W) * h
    return functions.mean(again) + F.sum(x * x) + functions.mean(functions.tanh(x) - F.exp(x))


def several_outputs(x, W, b):
    """Of three outputs the first is used twice, the second once, the third not at all."""
    first, second, _ = F.split_axis(functions.linear(x, W, b), [1, 3], axis=1)
    return F.sum(first * first) + functions.mean(functions.tanh(second)) * 0.5


def residual(x, W, b):
    """Paths of different length from a variable to the loss."""
    h = functions.linear(x, W, b)
    for _ in range(3):
        h = h + functions.tanh(h) + F.sin(h)
    return functions.mean(h)


GRAPHS = {function.__name__: function for function in (
    ours, of_chainer, mixed, used_several_times, several_outputs, residual)}


def draw(rng, device, dtype=numpy.float64):
    """Variables x, W and b with as many units as numbers in a sample."""
    return [chainer.Variable(device.send(rng.normal(size=shape).astype(dtype)))
            for shape in ((N, UNITS), (UNITS, UNITS), (UNITS,))]


@pytest.mark.parametrize('name', GRAPHS)
def test_same_as_both_ways_of_chainer(name, device, rng):
    """And no trace of them is left: no ``grad`` is set, and the graph can be used again."""
    variables = draw(rng, device)
    loss = GRAPHS[name](*variables)
    computed = gradients(loss, variables)
    assert all(variable.grad is None for variable in [*variables, loss])
    by_grad = chainer.grad([loss], variables)
    loss.backward()
    for gradient, other, variable in zip(computed, by_grad, variables):
        assert isinstance(gradient, device.xp.ndarray)
        assert (gradient.dtype, gradient.shape) == (numpy.float64, variable.shape)
        device.xp.testing.assert_allclose(gradient, other.array, rtol=1e-11, atol=1e-13)
        device.xp.testing.assert_allclose(gradient, variable.grad, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize('name', GRAPHS)
def test_some_of_the_variables_in_any_order(name, rng):
    variables = draw(rng, chainer.get_device('@numpy'))
    loss = GRAPHS[name](*variables)
    every = gradients(loss, variables)
    for wanted in ([0], [1], [2], [2, 0], [1, 2], [2, 1, 0], [1, 1]):
        for i, gradient in zip(wanted, gradients(loss, [variables[i] for i in wanted])):
            numpy.testing.assert_array_equal(gradient, every[i])


def test_no_gradient_where_the_loss_does_not_depend(device, rng):
    x, W, b = draw(rng, device)
    other = chainer.Variable(W.array)
    after = functions.tanh(functions.linear(x, W, b))
    loss = functions.mean(functions.linear(x, W, b))
    computed = gradients(loss, [other, W, after])
    assert computed[0] is None
    assert computed[2] is None
    device.xp.testing.assert_array_equal(computed[1], gradients(loss, [W])[0])
    assert gradients(loss, []) == []


def test_intermediate_variables_and_the_loss_itself(device, rng):
    """Beside what lies behind them, as when one half of a graph is looked at."""
    x, W, b = draw(rng, device)
    h = functions.linear(x, W, b)
    y = functions.tanh(h)
    loss = functions.mean(y) + F.sum(h * h)
    grad_y, grad_W, grad_h, grad_loss = gradients(loss, [y, W, h, loss])
    device.xp.testing.assert_array_equal(grad_loss, 1)
    device.xp.testing.assert_allclose(grad_y, device.xp.full(y.shape, 1 / y.size), rtol=1e-12)
    device.xp.testing.assert_allclose(grad_h, (1 - y.array ** 2) / y.size + 2 * h.array, rtol=1e-12)
    device.xp.testing.assert_allclose(grad_W, grad_h.T.dot(x.array), rtol=1e-10)
    # The loss may be a leaf.
    number = chainer.Variable(device.send(numpy.array(3.0)))
    assert float(gradients(number, [number])[0]) == 1


@pytest.mark.parametrize('dtype', [numpy.float32, numpy.float64])
def test_single_number_used_several_times(dtype, device, rng):
    """The sum of two gradients () is an array too, which Chainer's functions insist on."""
    x = chainer.Variable(device.send(rng.normal(size=N).astype(dtype)))
    number = F.sum(x)
    mean = functions.mean(x)
    loss = number + F.exp(number) - mean + number
    grad_number, grad_x = gradients(loss, [number, x])
    for gradient in (grad_number, grad_x):
        assert isinstance(gradient, device.xp.ndarray)
        assert gradient.dtype == dtype
    expected = 2 + float(device.xp.exp(x.array.sum()))
    assert float(grad_number) == pytest.approx(expected, rel=1e-5)
    numpy.testing.assert_allclose(chainer.cuda.to_cpu(grad_x), expected - 1 / N, rtol=1e-5)


def test_variable_that_needs_no_gradient_for_chainer(device, rng):
    """What is asked for is computed, ``requires_grad`` or not."""
    _, W, b = draw(rng, device)
    x = chainer.Variable(device.send(rng.normal(size=(N, UNITS))), requires_grad=False)
    loss = ours(x, W, b)
    as_usual = chainer.Variable(x.array)
    device.xp.testing.assert_array_equal(gradients(loss, [x])[0], gradients(ours(as_usual, W, b), [as_usual])[0])


class Watched(FirstOrderFunction):
    """x + y + z; notes which gradients it is asked for."""

    def __init__(self):
        self.asked = []

    def forward_array(self, *inputs):
        return sum(inputs)

    def backward_arrays(self, indexes, inputs, grad_output):
        self.asked.append(tuple(indexes))
        return [grad_output] * len(indexes)


def test_weights_that_are_not_wanted_cost_nothing(device, rng):
    """A function is asked for the gradients that lead to a wanted variable, once, and not at all where none does."""
    x, y, z, w = (chainer.Variable(device.send(rng.normal(size=N))) for _ in range(4))
    inner, aside, outer = Watched(), Watched(), Watched()
    h = inner(x, y, z)
    loss = functions.mean(outer(h, aside(w, w, w), h))
    for wanted, of_inner, of_aside, of_outer in (
            ([x], [(0,)], [], [(0, 2)]), ([z, x], [(0, 2)], [], [(0, 2)]), ([w], [], [(0, 1, 2)], [(1,)]),
            ([h], [], [], [(0, 2)]), ([y, w], [(1,)], [(0, 1, 2)], [(0, 1, 2)])):
        for function in (inner, aside, outer):
            function.asked.clear()
        gradients(loss, wanted)
        assert (inner.asked, aside.asked, outer.asked) == (of_inner, of_aside, of_outer)


def test_functions_of_chainer_are_asked_for_no_more_either(monkeypatch, device, rng):
    x, W, b = draw(rng, device)
    asked = []
    backward_accumulate = chainer.FunctionNode.backward_accumulate

    def watched(function, indexes, *arguments):
        asked.append((function.label, indexes))
        assert not chainer.config.enable_backprop  # no graph of the gradients' own
        return backward_accumulate(function, indexes, *arguments)
    monkeypatch.setattr(chainer.FunctionNode, 'backward_accumulate', watched)
    gradients(functions.mean(F.linear(F.tanh(x), W, b)), [W])
    assert asked == [('LinearFunction', (1,))]


@pytest.mark.parametrize('name', GRAPHS)
def test_same_bits_each_time(name, rng):
    """The order in which gradients are added does not hang on where Python puts its objects."""
    arrays = [variable.array for variable in draw(rng, chainer.get_device('@numpy'), numpy.float32)]
    seen, kept = set(), []
    for i in range(30):
        kept.append([object() for _ in range(7 * i % 50)])  # so that addresses, and what is hashed by them, change
        variables = [chainer.Variable(array) for array in arrays]
        loss = GRAPHS[name](*variables)
        seen.add(tuple(gradient.tobytes() for gradient in gradients(loss, variables)))
    assert len(seen) == 1


# ---- our functions in Chainer's graph

def test_function_hooks_see_our_functions(rng):
    variables = draw(rng, chainer.get_device('@numpy'))
    without = gradients(ours(*variables), variables)
    with chainer.function_hooks.TimerHook() as hook:
        loss = ours(*variables)
        computed = gradients(loss, variables)
        loss.backward()
    assert {'_Linear', '_Activation', '_ExpertTerm', '_Mean'} <= set(hook.summary())
    assert hook.summary()['_Linear']['occurrence'] == 2  # forward and, by Chainer's backward, back
    for gradient, expected, variable in zip(computed, without, variables):
        numpy.testing.assert_array_equal(gradient, expected)
        numpy.testing.assert_array_equal(variable.grad, expected)


def test_debug_mode_finds_what_is_not_a_number(rng):
    x, W, b = draw(rng, chainer.get_device('@numpy'))
    with chainer.using_config('debug', True):
        loss = ours(x, W, b)
        loss.backward()
        numpy.testing.assert_array_equal(gradients(loss, [x])[0], x.grad)
        x.array[0, 0] = numpy.nan
        with pytest.raises(RuntimeError, match='NaN is detected on forward computation of _Linear'):
            ours(x, W, b)


def test_output_requires_a_gradient_where_an_input_does(device, rng):
    x, W, b = draw(rng, device)
    fixed = [chainer.Variable(variable.array, requires_grad=False) for variable in (x, W, b)]
    assert functions.linear(x, *fixed[1:]).requires_grad
    assert functions.linear(fixed[0], W, fixed[2]).requires_grad
    assert not functions.linear(*fixed).requires_grad
    assert functions.linear(x.array, W.array, b).requires_grad
    with chainer.no_backprop_mode():
        assert not functions.linear(x, W, b).requires_grad


def test_no_graph_where_none_is_built(rng):
    """Without backpropagation an output holds none of the arrays that it was computed from."""
    with chainer.no_backprop_mode():
        h = functions.tanh(rng.normal(size=(N, UNITS)))
        y = functions.relu(functions.linear(h, rng.normal(size=(UNITS, UNITS))))
    assert y.creator_node is None
    array, node = weakref.ref(h.array), weakref.ref(h.node)
    del h
    assert array() is None
    assert node() is None


def test_graph_goes_with_its_last_variable(rng):
    """Nothing refers to itself, so memory is free at once and not when Python looks for cycles."""
    gc.collect()
    gc.disable()
    try:
        x, W, b = draw(rng, chainer.get_device('@numpy'))
        h = functions.linear(x, W, b)
        loss = functions.mean(functions.linear(h, W))
        gradients(loss, [W])
        array, function = weakref.ref(h.array), weakref.ref(h.creator_node)
        del h
        assert array() is not None
        del loss
        assert array() is None
        assert function() is None
    finally:
        gc.enable()


@pytest.mark.parametrize('function', [functions.relu, functions.elu, functions.tanh, functions.sigmoid])
def test_inputs_that_no_gradient_needs_are_let_go(function, rng):
    """What a function computes its gradients from is its own affair; x is not kept beside it."""
    x = chainer.Variable(rng.normal(size=(N, UNITS)))
    h = functions.linear(x, rng.normal(size=(UNITS, UNITS)))
    y = functions.mean(function(h))
    expected, = gradients(y, [x])
    array = weakref.ref(h.array)
    del h
    assert array() is None
    numpy.testing.assert_array_equal(gradients(y, [x])[0], expected)
    y.backward()
    numpy.testing.assert_array_equal(x.grad, expected)


def test_no_second_derivative(rng):
    x = chainer.Variable(rng.normal(size=(N, UNITS)))
    loss = functions.mean(functions.tanh(x))
    with pytest.raises(RuntimeError, match='no second derivative'):
        chainer.grad([loss], [x], enable_double_backprop=True)
    with pytest.raises(RuntimeError, match='no second derivative'):
        loss.backward(enable_double_backprop=True)


@pytest.mark.parametrize('loss', [functions.mean, lambda x: functions.mean(x[:2]) - functions.mean(x[2:])])
def test_gradients_may_be_changed_in_place(loss, device):
    """By hooks of an optimizer, though those of a mean are the same in every step."""
    found = []
    for _ in range(2):
        x = chainer.Variable(device.send(numpy.ones(4, dtype=numpy.float32)))
        found += [gradient.copy() for gradient in gradients(loss(x), [x])]
        for gradient in gradients(loss(x), [x]):
            gradient *= 2
    device.xp.testing.assert_array_equal(*found)
