"""Networks that compute the same functions at every call: found out once, then called one after the other.

Small networks spend their time in Chainer's bookkeeping: links, configuration, variables and their nodes.  A
``forward`` under :func:`static_graph` is carried out as it is written the first time; the functions that it called are
kept as a list.  From then on the list is one function of Chainer's graph.  The arithmetic and its order stay, and so
do the bits.
"""

import functools

import chainer
import numpy

from ddgm.fast import differentiation
from ddgm.fast.differentiation import FirstOrderFunction

# What a network may depend on beside its input.
_CONFIGURATION = 'train', 'enable_backprop', 'joined_batches', 'share'


def recorded(graphs):
    """A context in which networks under :func:`static_graph` are recorded in the dict ``graphs``, and replayed from it.

    Outside of it they are computed as they are written.  The dict has to go where a link is changed or replaced.
    """
    return chainer.using_config('static_graphs', graphs)


def static_graph(forward):
    """Decorates a ``forward(self, x)`` of a link that calls the same functions whenever x has the same shape and type.

    It may use :mod:`ddgm.fast`'s functions on x, the link's parameters and what came of them.  Where it uses anything
    else, an array of its own or a function of Chainer's, it is computed as it is written, every time.
    """
    @functools.wraps(forward)
    def recorded_forward(self, x):
        graphs = getattr(chainer.config, 'static_graphs', None)
        if graphs is None or chainer.config.debug or chainer.get_function_hooks() or chainer._get_link_hooks():
            return forward(self, x)
        is_variable = isinstance(x, chainer.Variable)
        array = x.array if is_variable else x
        key = (
            self, type(array), array.shape, array.dtype, is_variable and x.requires_grad,
            *[getattr(chainer.config, name, None) for name in _CONFIGURATION])
        if key in graphs:
            graph = graphs[key]
            as_written = graph is None or sum([link._n_local_link_hooks for link in graph.links])
            return forward(self, x) if as_written else _Replay(graph)(x, *graph.parameters)
        if any(not parameter.is_initialized for parameter in self.params()):  # the first call may do more than others
            return forward(self, x)
        with recorded(None), differentiation.calls_kept() as calls:
            y = forward(self, x)
        graphs[key] = _graph(list(self.links()), x, y, calls)
        return y
    return recorded_forward


class _Graph:
    """The functions that lead from x and the parameters to y.

    Attributes:
        links (list): Those whose parameters they are.
        parameters (list): In the order in which they are needed.
        steps (list): For each function its class, its attributes before it is called, and where its inputs stand: x is
            number 0, then the parameters, then what each function returns.
        backward_order (list): The numbers of the functions in the order in which gradients come back through them.
    """

    def __init__(self, links, parameters, steps, backward_order):
        self.links, self.parameters, self.steps, self.backward_order = links, parameters, steps, backward_order
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


def _graph(links, x, y, calls):
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
    between = differentiation.functions_between(y.node, wanted)
    return _Graph(links, parameters, steps, [number_of[function] for function, _ in between])


class _Replay(FirstOrderFunction):
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
            gradients = function.backward_arrays(
                leads, function.arrays, gradient_of.pop(graph.place_of_output(number)))
            differentiation.accumulate(gradient_of, places, gradients)
        return [gradient_of.get(index) for index in indexes]
