"""Networks that compute the same functions at every call: found out once, then called one after the other.

Small networks spend their time in Chainer's bookkeeping: links, configuration, variables and their nodes.  A network
that is *replayable* is computed as it is written the first time, and the functions that it calls are kept as a list.
From then on the list is one function of Chainer's graph.  The arithmetic and its order stay, and so do the bits.

Within an iteration a breakpoint in ``forward`` is hit once for each shape and way in which it is called.
``--no-replay`` of the scripts turns replay off, and so do Chainer's debug mode and its hooks; the loop by itself does
not replay at all.
"""

from __future__ import annotations

import contextlib
import itertools
import operator
from collections.abc import Iterator

import chainer
import numpy

from ddgm.fast import elementary, gradients
from ddgm.fast.elementary import FirstOrderFunction

# What a network may depend on beside its input and its links.
_CONFIGURATION = 'train', 'enable_backprop', 'n_splits', 'shard'


class Replay:
    """What is kept of the networks of a run, from one iteration to the next.

    A link that has a true attribute ``replayable`` promises that its ``forward(x)`` calls the same functions of
    :mod:`ddgm.fast` whenever x has the same shape and type, on x, on the parameters of its links and on what came of
    them; and that it reads nothing else than attributes of its links, numbers for instance.  When one of these is
    assigned, the next call is computed as it is written.  Where ``forward`` uses anything else, an array of its own or
    a function of Chainer's, it is so computed every time.
    """

    def __init__(self):
        self._networks = {}

    @contextlib.contextmanager
    def of(self, *models: chainer.Link) -> Iterator[None]:
        """A context in which those of ``models`` that are replayable are replayed when they are called."""
        chosen = [
            model for model in models if getattr(model, 'replayable', False) and 'forward' not in vars(model)]
        for model in chosen:
            if model not in self._networks:
                self._networks[model] = _Network(model)
            model.forward = self._networks[model]
        try:
            yield
        finally:
            for model in chosen:
                del model.forward


class _Network:
    """Takes the place of a model's ``forward``."""

    def __init__(self, model):
        self._model, self._as_written, self._graphs, self._attributes = model, model.forward, {}, Attributes(model)

    def __call__(self, x):
        if chainer.config.debug or chainer.get_function_hooks() or chainer._get_link_hooks():
            return self._as_written(x)
        if self._attributes.were_assigned():
            self._graphs.clear()
        if sum([link._n_local_link_hooks for link in self._attributes.links]):
            return self._as_written(x)
        is_variable = isinstance(x, chainer.Variable)
        array = x.array if is_variable else x
        key = (
            type(array), array.shape, array.dtype, is_variable and x.requires_grad,
            *[getattr(chainer.config, name) for name in _CONFIGURATION])
        if key not in self._graphs:
            return self._recorded(x, key)
        graph = self._graphs[key]
        return self._as_written(x) if graph is None else _Replayed(graph)(x, *graph.parameters)

    def _recorded(self, x, key):
        if any(not parameter.is_initialized for parameter in self._model.params()):  # the first call may do more
            return self._as_written(x)
        with elementary.calls_kept() as calls:
            y = self._as_written(x)
        self._graphs[key] = _graph(x, y, calls)
        return y


class Attributes:
    """Those of a model's links, and the elements of their lists.

    Attributes:
        links (list): The links, as :meth:`were_assigned` found them.
    """

    def __init__(self, model: chainer.Link):
        self._model, self.links, self._lists, self._values = model, [], [], []

    def were_assigned(self) -> bool:
        """Whether any is not the object that it was when this was called before; true at the first call."""
        values = self._values and [*itertools.chain(*[vars(link).values() for link in self.links], *self._lists)]
        if values and len(values) == len(self._values) and all(map(operator.is_, values, self._values)):
            return False
        self.links = list(self._model.links())
        values = [value for link in self.links for value in vars(link).values()]
        self._lists = [
            value.values() if isinstance(value, dict) else value for value in values
            if isinstance(value, (list, tuple, dict))]
        self._values = [*itertools.chain(values, *self._lists)]  # which keeps them alive, and so apart
        return True


class _Graph:
    """The functions that lead from x and the parameters to y.

    Attributes:
        parameters (list): In the order in which they are needed.
        steps (list): For each function its class, its attributes before it is called, and where its inputs stand: x is
            number 0, then the parameters, then what each function returns.
        backward_order (list): The numbers of the functions in the order in which gradients come back through them.
    """

    def __init__(self, parameters, steps, backward_order):
        self.parameters, self.steps, self.backward_order = parameters, steps, backward_order
        self._plans = {}

    def plan(self, indexes):
        """For the gradients of these inputs: each function that they come through, with the inputs that lead there."""
        if indexes not in self._plans:
            leading, inputs_of = set(indexes), {}
            for number, (_, _, places) in enumerate(self.steps):
                leads = tuple([i for i, place in enumerate(places) if place in leading])
                if leads:
                    leading.add(self.place_of_output(number))
                    inputs_of[number] = leads
            self._plans[indexes] = [
                (number, inputs_of[number], [self.steps[number][2][i] for i in inputs_of[number]])
                for number in self.backward_order if number in inputs_of]
        return self._plans[indexes]

    def place_of_output(self, number):
        return 1 + len(self.parameters) + number


def _graph(x, y, calls):
    """What was called on the way from x to y as a graph; ``None`` where some of it is not known."""
    parameters = list({id(value): value for call in calls for value in call.inputs
                       if isinstance(value, chainer.Parameter)}.values())
    outputs = [call.output for call in calls]
    place_of = {id(value): place for place, value in enumerate([x, *parameters, *outputs])}
    if not calls or outputs[-1] is not y or not all(
            id(value) in place_of for call in calls for value in call.inputs) or any(
            isinstance(value, (numpy.ndarray, chainer.Variable))
            for call in calls for value in call.attributes.values()):
        return None
    steps = [(type(call.function), call.attributes, [place_of[id(value)] for value in call.inputs]) for call in calls]
    number_of = {call.function: number for number, call in enumerate(calls)}
    wanted = {value.node for value in (x, *parameters) if isinstance(value, chainer.Variable)}
    between = gradients.functions_between(y.node, wanted)
    return _Graph(parameters, steps, [number_of[function] for function, _ in between])


class _Replayed(FirstOrderFunction):
    """All functions of a graph as one."""

    needs_inputs = False

    def __init__(self, graph):
        self.graph = graph

    def forward_array(self, *arrays):
        values, self.functions = list(arrays), []
        for kind, attributes, places in self.graph.steps:
            function = kind.__new__(kind)
            function.__dict__.update(attributes)
            values += function.forward([values[place] for place in places])
            self.functions.append(function)
        return values[-1]

    def backward_arrays(self, indexes, inputs, grad_output):
        graph = self.graph
        gradient_of = {graph.place_of_output(len(graph.steps) - 1): grad_output}
        for number, leads, places in graph.plan(indexes):
            function = self.functions[number]
            found = function.backward_arrays(
                leads, function.arrays, gradient_of.pop(graph.place_of_output(number)))
            gradients.accumulate(gradient_of, places, found)
        return [gradient_of.get(index) for index in indexes]
