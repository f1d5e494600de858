"""First derivatives without Chainer's cost of a call: functions of arrays, and the gradients of a loss.

Chainer's ``FunctionNode`` and graph stay what they are: ``Variable.backward`` and ``chainer.grad`` work with these
functions, function hooks and debug mode see them computed, and :func:`gradients` passes through any function of
Chainer's, though without hooks.
"""

import contextlib
import threading
import typing
import weakref

import chainer
import numpy
from chainer import backend

_kept = threading.local()  # the calls of this thread that somebody asked for


class FirstOrderFunction(chainer.FunctionNode):
    """A function of arrays with one output, whose gradients are computed on arrays.

    Subclasses implement ``forward_array(*inputs)`` and ``backward_arrays(indexes, inputs, grad_output)``, which returns
    the gradient of every input whose index is in ``indexes``, in that order.  ``self.xp`` is NumPy or CuPy.  An array
    that was given or returned is not changed afterwards.

    Attributes:
        needs_inputs (bool): Whether ``backward_arrays`` is given the inputs, or ``None`` so that their memory is free.
    """

    needs_inputs = True

    def __call__(self, *inputs):
        """The output, a variable, of variables or arrays."""
        if chainer.config.debug or chainer.get_function_hooks():  # Chainer's own way lets them see what happens
            return self.apply(inputs)[0]
        calls = getattr(_kept, 'calls', None)
        attributes = None if calls is None else self.__dict__.copy()
        output, = self.forward([x.raw_array if isinstance(x, chainer.Variable) else x for x in inputs])
        if chainer.config.enable_backprop:
            nodes = [chainer.as_variable(x).node for x in inputs]
            output = Variable(output, requires_grad=any(node.requires_grad for node in nodes))
            self.rank = max([node.rank for node in nodes])
            self.inputs = tuple(nodes)
            output.creator_node = self
            self.outputs = weakref.ref(output.node),
        else:
            output = Variable(output, requires_grad=False)
        if calls is not None:
            calls.append(Call(self, attributes, inputs, output))
        return output

    def forward(self, inputs):
        self.arrays = inputs if self.needs_inputs else None
        self.xp = numpy if isinstance(inputs[0], numpy.ndarray) else backend.get_array_module(*inputs)
        return self.xp.asarray(self.forward_array(*inputs)),

    def backward(self, target_input_indexes, grad_outputs):
        if chainer.config.enable_backprop:
            raise RuntimeError('{} has no second derivative: leave out enable_double_backprop'.format(self.label))
        gradients = self.backward_arrays(target_input_indexes, self.arrays, grad_outputs[0].array)
        return tuple(chainer.Variable(gradient, requires_grad=False) for gradient in gradients)


class Call(typing.NamedTuple):
    """A call of a :class:`FirstOrderFunction`: what it was given, and what its attributes were before."""

    function: FirstOrderFunction
    attributes: dict
    inputs: tuple
    output: chainer.Variable


@contextlib.contextmanager
def calls_kept():
    """A context whose value is a list of what is called within it, in order, of first-order functions."""
    _kept.calls = calls = []
    try:
        yield calls
    finally:
        _kept.calls = None


class Variable(chainer.Variable):
    """What a :class:`FirstOrderFunction` returns: its sums, differences, multiples and slices are such functions too.

    Anything else, a sum of two shapes for instance, is Chainer's.
    """

    def __add__(self, other):
        return _Sum()(self, other) if self._is_like(other) else super().__add__(other)

    def __sub__(self, other):
        return _Difference()(self, other) if self._is_like(other) else super().__sub__(other)

    def __mul__(self, other):
        return _Multiple(other)(self) if isinstance(other, (int, float)) else super().__mul__(other)

    __rmul__ = __mul__

    def __getitem__(self, key):
        return _Rows(key)(self) if isinstance(key, slice) else super().__getitem__(key)

    def _is_like(self, other):
        return isinstance(other, chainer.Variable) and other.shape == self.shape and other.dtype == self.dtype


class _Sum(FirstOrderFunction):

    def forward_array(self, x, y):
        return x + y

    def backward_arrays(self, indexes, inputs, grad_output):
        return [grad_output] * len(indexes)


class _Difference(FirstOrderFunction):

    def forward_array(self, x, y):
        return x - y

    def backward_arrays(self, indexes, inputs, grad_output):
        return [self.xp.asarray(-grad_output) if i else grad_output for i in indexes]


class _Multiple(FirstOrderFunction):

    needs_inputs = False

    def __init__(self, factor):
        self.factor = factor

    def forward_array(self, x):
        self.factor = x.dtype.type(self.factor)  # a NumPy number would bring its own type along
        return x * self.factor

    def backward_arrays(self, indexes, inputs, grad_output):
        return self.xp.asarray(grad_output * self.factor),


class _Rows(FirstOrderFunction):

    def __init__(self, rows):
        self.rows = rows

    def forward_array(self, x):
        return x[self.rows]

    def backward_arrays(self, indexes, inputs, grad_output):
        gradient = self.xp.zeros_like(inputs[0])
        gradient[self.rows] = grad_output
        return gradient,


def gradients(loss, variables):
    """∂loss/∂v for each of ``variables``: a list of arrays, of ``None`` where the loss does not depend on v.

    ``loss`` is a variable of one number.  Only what lies between it and ``variables`` is passed, so weights that are
    not among them cost nothing.
    """
    wanted = {variable.node for variable in variables}
    gradient_of = {loss.node: backend.get_array_module(loss).ones_like(loss.array)}
    with chainer.no_backprop_mode():
        for function, indexes in functions_between(loss.node, wanted):
            grad_outputs = [
                gradient_of.get(node) if node in wanted else gradient_of.pop(node, None)
                for node in [output() for output in function.outputs]]
            accumulate(
                gradient_of, [function.inputs[index] for index in indexes], _backward(function, indexes, grad_outputs))
    return [gradient_of.get(variable.node) for variable in variables]


def accumulate(gradient_of, inputs, gradients):
    """Add gradients, arrays or ``None``, to those that a dict has of the same inputs."""
    for variable, gradient in zip(inputs, gradients):
        if gradient is not None and variable in gradient_of:
            gradient = backend.get_array_module(gradient).asarray(gradient_of[variable] + gradient)
        if gradient is not None:
            gradient_of[variable] = gradient


def functions_between(loss, wanted):
    """Functions from a node back to any wanted node, each with the indexes of its inputs that lead there."""
    # A dict keeps the order of its keys, which decides in what order gradients are added up, to the last bit.
    found, stack = {}, [loss.creator_node]
    while stack:
        function = stack.pop()
        if function is not None and function not in found:
            found[function] = True
            stack += [node.creator_node for node in function.inputs]
    leading, between = set(wanted), []
    for function in sorted(found, key=lambda function: function.rank):
        indexes = tuple([i for i, node in enumerate(function.inputs) if node in leading])
        if indexes:
            leading.update(output() for output in function.outputs)
            between.append((function, indexes))
    return reversed(between)


def _backward(function, indexes, grad_outputs):
    """Gradients of the inputs of these indexes, arrays or ``None``."""
    if all(gradient is None for gradient in grad_outputs):
        return [None] * len(indexes)
    if isinstance(function, FirstOrderFunction):
        return function.backward_arrays(indexes, function.arrays, grad_outputs[0])
    variables = function.backward_accumulate(
        indexes, tuple([None if gradient is None else chainer.Variable(gradient) for gradient in grad_outputs]),
        (None,) * len(indexes))
    return [None if variable is None else variable.array for variable in variables]
