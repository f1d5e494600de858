"""The gradients of a loss in some variables, without Chainer's cost of a call.

Chainer's graph stays what it is, and any function of Chainer's may lie on the way, though its hooks don't see it.
"""

from __future__ import annotations

from collections.abc import Iterator

import chainer
import numpy
from chainer import backend

from ddgm.fast import kernels
from ddgm.fast.elementary import FirstOrderFunction, mean


def gradients(loss: chainer.Variable, variables: list[chainer.Variable]) -> list[numpy.ndarray | None]:
    """∂loss/∂v for each of ``variables``: a list of arrays, of ``None`` where the loss does not depend on v.

    ``loss`` is a variable of one number.  Only what lies between it and ``variables`` is passed, so weights that are
    not among them cost nothing.
    """
    wanted = {variable.node for variable in variables}
    kernels_of_loss = kernels.of(loss.array)
    gradient_of = {loss.node: kernels_of_loss.one_beside(loss.array)}
    with chainer.no_backprop_mode():
        for function, indexes in functions_between(loss.node, wanted):
            grad_outputs = [
                gradient_of.get(node) if node in wanted else gradient_of.pop(node, None)
                for node in [output() for output in function.outputs]]
            accumulate(
                gradient_of, [function.inputs[index] for index in indexes], _backward(function, indexes, grad_outputs))
    return kernels_of_loss.for_parameters([gradient_of.get(variable.node) for variable in variables])


def value_and_gradient(model: chainer.Link, x: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """A model's result of an array x (N, …), and the gradient of its mean in x, both arrays."""
    found = getattr(getattr(model, 'forward', None), 'with_gradient', lambda x: None)(x)
    if found is not None:
        return found
    variable = chainer.Variable(x)
    y = model(variable)
    gradient, = gradients(mean(y), [variable])
    return y.array, gradient


def accumulate(gradient_of: dict, inputs: list, gradients: list) -> None:
    """Add gradients, arrays or ``None``, to those that a dict has of the same inputs."""
    for variable, gradient in zip(inputs, gradients):
        if gradient is not None and variable in gradient_of:
            gradient = backend.get_array_module(gradient).asarray(gradient_of[variable] + gradient)
        if gradient is not None:
            gradient_of[variable] = gradient


def functions_between(loss: chainer.variable.VariableNode, wanted: set) -> Iterator[tuple]:
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
