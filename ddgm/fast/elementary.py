"""Functions of arrays with first derivatives: sums, products, linear map, activations, mean.

Named and called as :mod:`chainer.functions` has them, at a fraction of the cost of Chainer's calls.  ``FunctionNode``
and graph stay Chainer's: ``Variable.backward`` and ``chainer.grad`` work with these functions, function hooks and debug
mode see them computed.  What is many steps on arrays is one of :mod:`ddgm.fast.kernels`.
"""

from __future__ import annotations

import contextlib
import math
import threading
import typing
import weakref
from collections.abc import Iterator

import chainer
import chainer.functions
import numpy
from chainer import backend

from ddgm.fast import kernels

Input = typing.Union[chainer.Variable, numpy.ndarray]  # of a function; an array of CuPy's on a GPU
_kept = threading.local()  # the calls of this thread that somebody asked for


class FirstOrderFunction(chainer.FunctionNode):
    """A function of arrays with one output, whose gradients are computed on arrays.

    Subclasses implement ``forward_array(*inputs)`` and ``backward_arrays(indexes, inputs, grad_output)``, which returns
    the gradient of every input whose index is in ``indexes``, in that order.  ``self.xp`` is NumPy or CuPy, and
    ``self.kernels`` what :mod:`ddgm.fast.kernels` has for its arrays.  An array that was given or returned is not
    changed afterwards.

    Attributes:
        needs_inputs (bool): Whether ``backward_arrays`` is given the inputs, or ``None`` so that their memory is free.
        name_in_block (str): By which a compiled block of several functions knows it; ``None``: it does not.
    """

    needs_inputs = True
    name_in_block = None

    def __call__(self, *inputs):
        """The output, a variable, of variables or arrays."""
        if _is_watched():
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
        self.kernels = kernels.of(inputs[0])
        return self.xp.asarray(self.forward_array(*inputs)),

    def backward(self, target_input_indexes, grad_outputs):
        if chainer.config.enable_backprop:
            raise RuntimeError('{} has no second derivative: leave out enable_double_backprop'.format(self.label))
        gradients = self.backward_arrays(target_input_indexes, self.arrays, grad_outputs[0].array)
        return tuple(chainer.Variable(gradient, requires_grad=False) for gradient in gradients)


def _is_watched():
    """Whether functions are called in Chainer's own way, which lets its debug mode and hooks see what happens."""
    return chainer.config.debug or chainer.get_function_hooks()


class Call(typing.NamedTuple):
    """A call of a :class:`FirstOrderFunction`: what it was given, and what its attributes were before."""

    function: FirstOrderFunction
    attributes: dict
    inputs: tuple
    output: chainer.Variable


@contextlib.contextmanager
def calls_kept() -> Iterator[list[Call]]:
    """A context whose value is a list of what is called within it, in order, of first-order functions."""
    _kept.calls = calls = []
    try:
        yield calls
    finally:
        _kept.calls = None


def are_calls_kept() -> bool:
    """Whether somebody asked for what is called."""
    return getattr(_kept, 'calls', None) is not None


class Joined(FirstOrderFunction):
    """Two batches one after the other, arrays, as convolutions take them; without a gradient."""

    name_in_block = 'joined'

    def forward_array(self, x, others):
        return self.kernels.joined(x, others)


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


class WithoutBias(Variable):
    """The product of a linear map on a GPU: the next function adds the bias, or whoever looks at the array before.

    Who looks for the first time after an update of the bias finds the new one added; so it is for within an iteration.

    Attributes:
        lacks: The bias (units,), an array; ``None`` once it was added.
    """

    lacks = None

    @property
    def _data(self):
        held = vars(self)['_data']
        if self.lacks is not None:
            b, self.lacks = self.lacks, None
            held[0] += b
        return held

    @_data.setter
    def _data(self, held):
        vars(self)['_data'] = held


class AddsBias(FirstOrderFunction):
    """A function of an array (N, units) that adds the bias that its input lacks, ``self.b``; ``None``: it has its own.

    Subclasses keep no inputs, which others may still add it to.
    """

    needs_inputs = False
    b = None

    def __call__(self, x):
        b = getattr(x, 'lacks', None)
        if b is None or _is_watched():
            return super().__call__(x)
        self.b, x.lacks = b, None
        try:
            return super().__call__(x)
        finally:
            x.lacks = b


class _Sum(FirstOrderFunction):

    name_in_block = 'sum'

    def forward_array(self, x, y):
        return x + y

    def backward_arrays(self, indexes, inputs, grad_output):
        return [grad_output] * len(indexes)


class _Difference(FirstOrderFunction):

    name_in_block = 'difference'

    def forward_array(self, x, y):
        return x - y

    def backward_arrays(self, indexes, inputs, grad_output):
        return [self.kernels.negative(grad_output) if i else grad_output for i in indexes]


class _Multiple(FirstOrderFunction):

    needs_inputs = False
    name_in_block = 'multiple'

    def __init__(self, factor):
        self.factor = factor

    def forward_array(self, x):
        self.factor = x.dtype.type(self.factor)  # a NumPy number would bring its own type along
        return x * self.factor

    def backward_arrays(self, indexes, inputs, grad_output):
        return self.xp.asarray(grad_output * self.factor),


class _Rows(FirstOrderFunction):

    name_in_block = 'rows'

    def __init__(self, rows):
        self.rows = rows

    def forward_array(self, x):
        return x[self.rows]

    def backward_arrays(self, indexes, inputs, grad_output):
        return self.kernels.rows_gradient(inputs[0], self.rows, grad_output),


def as_matrix(x: numpy.ndarray) -> numpy.ndarray:
    """(N, …) as (N, numbers of a sample), without a copy for images that lie as data or as convolutions return them."""
    if x.ndim == 2:
        return x
    n_numbers = math.prod(x.shape[1:])
    if x.ndim == 4 and not x.flags.c_contiguous:
        turned = x.transpose(1, 2, 3, 0)
        if turned.flags.c_contiguous:
            return turned.reshape(n_numbers, len(x)).T
    return x.reshape(len(x), n_numbers)


class _Linear(FirstOrderFunction):

    name_in_block = 'linear'

    def forward_array(self, x, W, b=None):
        return self.kernels.linear(as_matrix(x), W, b)

    def backward_arrays(self, indexes, inputs, grad_output):
        x, W = inputs[:2]
        gradients = []
        if 0 in indexes:
            gradients.append(self.kernels.linear(grad_output, W.T, None).reshape(x.shape))
        if 1 in indexes or 2 in indexes:
            gradients += self.kernels.linear_gradients(as_matrix(x), grad_output, 1 in indexes, 2 in indexes)
        return gradients


class _Product(_Linear):
    """A linear map whose bias is left to the next function."""

    name_in_block = None

    def __call__(self, x, W, b):
        y = super().__call__(x, W, b)
        y.__class__, y.lacks = WithoutBias, b.array if isinstance(b, chainer.Variable) else b
        return y

    def forward_array(self, x, W, b):
        return self.kernels.linear(as_matrix(x), W, None)


def linear(x: Input, W: Input, b: Input | None = None, n_batch_axes: int = 1) -> chainer.Variable:
    """xWᵀ + b, a sample a row: (N, …) with ``in`` numbers a sample, (out, in) and (out,) to (N, out)."""
    if n_batch_axes != 1 or x.dtype != W.dtype:
        return chainer.functions.linear(x, W, b, n_batch_axes)
    try:
        if b is not None and b.shape == W.shape[:1] and b.dtype == W.dtype and _leaves_bias(W):
            return _Product()(x, W, b)
        return _Linear()(*((x, W) if b is None else (x, W, b)))
    except ValueError:
        return chainer.functions.linear(x, W, b)  # whose error names the sizes that don't fit


def _leaves_bias(W):
    """Whether the bias of a linear map costs a kernel that the next function may save; what is replayed adds it."""
    if not chainer.config.leaves_bias or are_calls_kept() or _is_watched():
        return False
    leaves_bias = getattr(kernels.of(W.array if isinstance(W, chainer.Variable) else W), 'leaves_bias', None)
    return leaves_bias is not None and leaves_bias(W)


class _Activation(AddsBias):
    """A function of each number by itself, by its name among the kernels."""

    name_in_block = 'activation'

    def __init__(self, name):
        self.name = name

    def forward_array(self, x):
        y, self.kept = getattr(self.kernels, self.name)(*((x,) if self.b is None else (x, self.b)))
        return y

    def backward_arrays(self, indexes, inputs, grad_output):
        return getattr(self.kernels, self.name + '_gradient')(self.kept, grad_output),


def relu(x: Input) -> chainer.Variable:
    """max(x, 0), any shape."""
    return _Activation('relu')(x)


def elu(x: Input, alpha: float = 1.0) -> chainer.Variable:
    """x where it is positive, alpha·(exp(x) − 1) elsewhere (Clevert et al. 2016); other alphas by Chainer."""
    return _Activation('elu')(x) if alpha == 1 else chainer.functions.elu(x, alpha)


def tanh(x: Input) -> chainer.Variable:
    """tanh(x), any shape."""
    return _Activation('tanh')(x)


def sigmoid(x: Input) -> chainer.Variable:
    """1/(1 + exp(−x)), any shape."""
    return _Activation('sigmoid')(x)


class _Mean(FirstOrderFunction):

    name_in_block = 'mean'

    def forward_array(self, x):
        return self.kernels.mean(x)

    def backward_arrays(self, indexes, inputs, grad_output):
        return self.kernels.mean_gradient(inputs[0], grad_output),


def mean(x: Input, axis=None, weights=None, keepdims: bool = False) -> chainer.Variable:
    """The mean of all numbers of an array, (); over some axes, or weighted, as Chainer has it."""
    if axis is not None or weights is not None or keepdims or x.dtype == numpy.float16:  # whose sum may be infinite
        return chainer.functions.mean(x, axis, weights, keepdims)
    return _Mean()(x)
