"""Networks that compute the same functions at every call: found out once, then called one after the other.

Small networks spend their time in Chainer's bookkeeping: links, configuration, variables and their nodes.  A network
that is *replayable* is computed as it is written the first time, and the functions that it calls are kept as a list.
From then on the list is one function of Chainer's graph.  The arithmetic and its order stay, and so do the bits.
Where numba compiles, the list is a block (:mod:`ddgm.fast.kernels.blocks`), and so is a whole update of a model, its
losses and gradients included.  A block's first pass is computed by it as well, so a run that goes on repeats its bits.

Within an iteration a breakpoint in ``forward`` is hit once for each shape and way in which it is called.
``--no-replay`` of the scripts turns replay off, and so do Chainer's debug mode and its hooks; the loop by itself does
not replay at all.
"""

from __future__ import annotations

import contextlib
import itertools
import operator
from collections.abc import Callable, Iterator

import chainer
import numpy

from ddgm.fast import elementary, gradients, kernels
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
        self._networks, self._chosen, self._updates, self._descended = {}, [], {}, None
        self._use_numba = chainer.config.use_numba

    @contextlib.contextmanager
    def of(self, *models: chainer.Link) -> Iterator[None]:
        """A context in which those of ``models`` that are replayable are replayed when they are called."""
        if chainer.config.use_numba != self._use_numba:
            self._networks, self._updates, self._use_numba = {}, {}, chainer.config.use_numba
        chosen = [
            model for model in models if getattr(model, 'replayable', False) and 'forward' not in vars(model)]
        for model in chosen:
            if model not in self._networks:
                self._networks[model] = _Network(model)
            model.forward = self._networks[model]
        self._chosen = chosen
        try:
            yield
        finally:
            self._chosen = []
            for model in chosen:
                del model.forward

    def update(self, function: Callable, strategy, *arguments, **options) -> dict:
        """``function(*arguments, strategy=strategy, **options)``, which updates a model and returns observations.

        Where the functions that it calls make a block, that is what is called from then on.  All models among the
        arguments have to be replayable then, and other functions among them must have a true attribute ``replayable``,
        by which they promise the same.
        """
        given = [value for value in arguments if isinstance(value, numpy.ndarray)]
        if not given or not hasattr(kernels.of(given[0]), 'Block'):
            return function(*arguments, strategy=strategy, **options)

        def as_written():
            return function(*arguments, strategy=strategy, **options)
        if chainer.config.debug or chainer.get_function_hooks() or chainer._get_link_hooks() or (
                chainer.config.shard is not None):
            return as_written()
        networks = [self._networks[model] for model in self._chosen]
        changed = [network.forget_where_changed() for network in networks]
        if any(changed):
            self._updates.clear()
        if sum([link._n_local_link_hooks for network in networks for link in network.links]):
            return as_written()
        try:
            key = function, *[part for value in (*arguments, *options.values()) for part in self._parts_of_key(value)]
        except TypeError:
            return as_written()
        if key not in self._updates:
            statistics = [pair for network in networks for pair in network.statistics()]
            self._updates[key], observation = self._recorded(as_written, given, strategy)
            if self._updates[key] is None:
                return observation
            return _first_pass(lambda: self._updates[key](given), statistics)
        return as_written() if self._updates[key] is None else self._updates[key](given)

    def takes_over(self, optimizer: chainer.Optimizer, loss: chainer.Variable) -> bool:
        """Whether the step down the gradient of a loss is left to the end of :meth:`update`."""
        if self._descended is not None:
            self._descended.append((optimizer, loss))
        return self._descended is not None

    def _parts_of_key(self, value):
        """What of an argument decides which functions are called; raises ``TypeError`` where that is not known."""
        if isinstance(value, numpy.ndarray):
            return kernels.of(value), value.shape
        if isinstance(value, numpy.random.Generator):  # what is drawn from it makes no block
            return ()
        if isinstance(value, dict):  # of functions and their weights, by name
            return [part for name, (function, weight) in value.items()
                    for part in (name, weight, *self._parts_of_key(function))]
        is_known = value is None or getattr(value, 'target', value) in self._chosen or getattr(
            value, 'replayable', False)
        if not is_known:
            raise TypeError
        return value,

    def _recorded(self, as_written, given, strategy):
        """The update as a block, whose step is still to be made; or ``None``, and what it observed."""
        self._descended, replayed = [], {model: vars(model).pop('forward') for model in self._chosen}
        try:
            with elementary.calls_kept() as calls:
                observation = as_written()
            (optimizer, loss), = self._descended
        finally:
            self._descended = None
            for model, forward in replayed.items():
                model.forward = forward
        output_of = {id(call.output.array): call.output for call in calls}
        results = [loss, *[output_of.get(id(value)) for value in observation.values()]]
        graph = _graph(given, calls, results) if all(value is not None for value in results) else None
        if graph is None or graph.block is None:
            strategy.descend(optimizer, loss)
            return None, observation
        return _Update(graph, list(observation), optimizer), None


class _Network:
    """Takes the place of a model's ``forward``."""

    def __init__(self, model):
        self._model, self._as_written, self._graphs, self._attributes = model, model.forward, {}, Attributes(model)

    def __call__(self, x):
        if self._is_watched():
            return self._as_written(x)
        is_variable = isinstance(x, chainer.Variable)
        key = _key(x.array if is_variable else x, is_variable and x.requires_grad)
        if key not in self._graphs:
            return self._recorded(x, key)
        graph = self._graphs[key]
        return self._as_written(x) if graph is None else _Replayed(graph)(x, *graph.parameters)

    def with_gradient(self, x):
        """See :func:`ddgm.fast.gradients.value_and_gradient`; ``None`` where x passes no block that is known."""
        graph = None if self._is_watched() else self._graphs.get(_key(x, True))
        if graph is None or graph.block is None:
            return None
        (y,), its_pass = graph.block.forward([x, *[parameter.raw_array for parameter in graph.parameters]])
        _, (gradient,) = graph.block.backward(its_pass, 1 / y.size, (0,), graph.plan((0,)))
        return y, gradient

    def _is_watched(self):
        if chainer.config.debug or chainer.get_function_hooks() or chainer._get_link_hooks():
            return True
        self.forget_where_changed()
        return sum([link._n_local_link_hooks for link in self.links]) > 0

    @property
    def links(self):
        """The model's links."""
        return self._attributes.links

    def forget_where_changed(self):
        """Forget all graphs where an attribute was assigned; returns whether that is so."""
        changed = self._attributes.were_assigned()
        if changed:
            self._graphs.clear()
        return changed

    def _recorded(self, x, key):
        if any(not parameter.is_initialized for parameter in self._model.params()):  # the first call may do more
            return self._as_written(x)
        statistics = self.statistics()
        with elementary.calls_kept() as calls:
            y = self._as_written(x)
        graph = self._graphs[key] = _graph([x], calls, [y])
        if graph is None or graph.block is None:
            return y
        return _first_pass(lambda: _Replayed(graph)(x, *graph.parameters), statistics)

    def statistics(self):
        """What links keep of the batches that pass, as pairs of an array and a copy of it."""
        arrays = [getattr(link, name) for link in self.links for name in link._persistent]
        return [(array, array.copy()) for array in arrays if isinstance(array, numpy.ndarray)]


def _key(x, requires_grad):
    """What decides which functions a network calls."""
    return (type(x), x.shape, x.dtype, requires_grad, *[getattr(chainer.config, name) for name in _CONFIGURATION])


def _first_pass(block, statistics):
    """What a block returns in place of what was computed as written, so that the first pass has its bits as well."""
    for array, before in statistics:
        array[...] = before
    return block()


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
    """The functions that lead from what is given and the parameters to results, the first of which has gradients.

    Attributes:
        n_given (int): Arrays or variables that are given.
        parameters (list): In the order in which they are needed.
        steps (list): For each function its class, its attributes before it is called, and where its inputs stand: first
            comes what is given, then the parameters, then what each function returns.
        results (list): Where they stand.
        backward_order (list): The numbers of the functions in the order in which gradients come back through them.
        block: All of it as :func:`ddgm.fast.kernels.block` compiles it, or ``None``.
    """

    def __init__(self, n_given, parameters, steps, results, backward_order, block):
        self.n_given, self.parameters, self.steps, self.results = n_given, parameters, steps, results
        self.backward_order, self.block = backward_order, block
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
        return self.n_given + len(self.parameters) + number


def _graph(given, calls, results):
    """What was called on the way from what is given to results as a graph; ``None`` where some of it is not known."""
    parameters = list({id(value): value for call in calls for value in call.inputs
                       if isinstance(value, chainer.Parameter)}.values())
    values = [*given, *parameters, *[call.output for call in calls]]
    place_of = {id(value): place for place, value in enumerate(values)}
    if not calls or not all(
            id(value) in place_of for call in calls for value in call.inputs) or any(
            isinstance(value, (numpy.ndarray, chainer.Variable))
            for call in calls for value in call.attributes.values()):
        return None
    if not all(place_of.get(id(value), -1) >= len(given) + len(parameters) for value in results):
        return None
    steps = [(type(call.function), call.attributes, [place_of[id(value)] for value in call.inputs]) for call in calls]
    number_of = {call.function: number for number, call in enumerate(calls)}
    wanted = {value.node for value in (*given, *parameters) if isinstance(value, chainer.Variable)}
    between = gradients.functions_between(results[0].node, wanted)
    places = [place_of[id(value)] for value in results]
    block = None if chainer.config.shard is not None else kernels.block(
        [(kind.name_in_block, attributes, inputs) for kind, attributes, inputs in steps],
        [value.array if isinstance(value, chainer.Variable) else value for value in values], places)
    return _Graph(len(given), parameters, steps, places, [number_of[function] for function, _ in between], block)


class _Update:
    """An update of a model as a block: its losses, their gradients, and the optimizer's step."""

    def __init__(self, graph, names, optimizer):
        self._graph, self._names, self._optimizer = graph, names, optimizer
        place_of = {id(parameter): graph.n_given + i for i, parameter in enumerate(graph.parameters)}
        parameters = list(optimizer.target.params())
        self._without = [parameter for parameter in parameters if id(parameter) not in place_of]
        self._parameters = [parameter for parameter in parameters if id(parameter) in place_of]
        self._indexes = tuple([place_of[id(parameter)] for parameter in self._parameters])

    def __call__(self, given):
        graph = self._graph
        (_, *observed), its_pass = graph.block.forward([*given, *[value.raw_array for value in graph.parameters]])
        whole, views = graph.block.backward(its_pass, 1, self._indexes, graph.plan(self._indexes))
        for parameter, gradient in zip(self._parameters, views):
            parameter._set_grad_without_check(gradient)  # whose shape and type are the parameter's
        for parameter in self._without:
            parameter.grad = None
        self._optimizer.whole_gradient = whole, views
        self._optimizer.update()
        return dict(zip(self._names, observed))


class _Replayed(FirstOrderFunction):
    """All functions of a graph as one."""

    needs_inputs = False

    def __init__(self, graph):
        self.graph = graph

    def forward_array(self, *arrays):
        if self.graph.block is not None:
            (y,), self.its_pass = self.graph.block.forward(arrays)
            return y
        values, self.functions = list(arrays), []
        for kind, attributes, places in self.graph.steps:
            function = kind.__new__(kind)
            function.__dict__.update(attributes)
            values += function.forward([values[place] for place in places])
            self.functions.append(function)
        return values[self.graph.results[0]]

    def backward_arrays(self, indexes, inputs, grad_output):
        graph = self.graph
        if graph.block is not None:
            return graph.block.backward(self.its_pass, grad_output, indexes, graph.plan(indexes))[1]
        gradient_of = {graph.results[0]: grad_output}
        for number, leads, places in graph.plan(indexes):
            function = self.functions[number]
            found = function.backward_arrays(
                leads, function.arrays, gradient_of.pop(graph.place_of_output(number)))
            gradients.accumulate(gradient_of, places, found)
        return [gradient_of.get(index) for index in indexes]
