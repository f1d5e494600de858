"""A network's list of functions as few compiled calls: what lies between two large matrix products is one.

A small network spends its time in calls, so the functions that it is known to call become a program, a table of
numbers, for :func:`ddgm.fast.kernels.loops.run`.  All values lie in one array, and what is done sample by sample is
done for some samples at a time, so that what is between stays in the processor's cache.
"""

import functools
import math

import numpy

from ddgm.fast.kernels import loops

FEW = 8  # up to as many inputs or outputs a linear map is one of the loops, else a product
_ROWS = 64  # that pass several functions at a time
_ALIGNED = 16  # numbers of 4 bytes: a line of the cache


class NotKnown(Exception):
    """A function that no program can compute."""


class Block:
    """The functions of a graph on float32 arrays, as one.

    Args:
        steps (list): For each function its name, its attributes and where its inputs stand, as
            :class:`ddgm.fast.replay.Graph` has them.
        shapes (list): Of all values: what is given, then what each function returns.

    Raises:
        NotKnown: For a function, or a shape, that there are no loops for.
    """

    def __init__(self, steps, shapes):
        self._steps, self._shapes, self._backward = steps, shapes, {}
        if not all(1 <= len(shape) <= 2 for shape in shapes):
            raise NotKnown
        self._n_inputs = len(shapes) - len(steps)
        self._program = _Program(0)
        self._places = [self._program.allocate(math.prod(shape)) for shape in shapes]
        self._kept = []  # of each function, where that lies which only its gradient needs
        self._observed = []
        for number, (name, attributes, inputs) in enumerate(steps):
            if name not in _FUNCTIONS:
                raise NotKnown
            function = _FUNCTIONS[name](attributes, *[(self._places[i], shapes[i]) for i in inputs])
            function.forward(self._program, self._places[self._n_inputs + number])
            self._kept.append(function)
        self._stages = self._program.stages()
        self._size = self._program.size

    def forward(self, arrays):
        """The result, and what :meth:`backward` takes."""
        memory = numpy.empty(self._size, dtype=numpy.float32)
        for place, shape, array in zip(self._places, self._shapes, arrays):
            _view(memory, place, shape)[...] = array
        for stage in self._stages:
            stage(memory)
        for function in self._kept:
            function.observe(memory)
        return _view(memory, self._places[-1], self._shapes[-1]).copy(), memory

    def backward(self, memory, grad_output, indexes, plan):
        """The gradients of the inputs of these indexes; ``plan`` names the functions that they come through."""
        if indexes not in self._backward:
            self._backward[indexes] = self._backward_stages(indexes, plan)
        given, stages, places, size = self._backward[indexes]
        if len(memory) < size:
            self._size = max(self._size, size)
            memory = numpy.concatenate([memory, numpy.empty(size - len(memory), dtype=memory.dtype)])
        _view(memory, given, self._shapes[-1])[...] = grad_output
        for stage in stages:
            stage(memory)
        return [None if place is None else _view(memory, place, self._shapes[i]) for i, place in zip(indexes, places)]

    def _backward_stages(self, indexes, plan):
        program = _Program(self._program.size)
        given = program.allocate(math.prod(self._shapes[-1]))
        gradient_of = {len(self._shapes) - 1: given}
        for number, leads, inputs in plan:
            output = self._n_inputs + number
            found = self._kept[number].backward(program, self._places[output], gradient_of.pop(output), leads)
            for i, gradient in zip(inputs, found):
                if i in gradient_of:
                    gradient = program.sum(gradient_of[i], gradient, self._shapes[i], is_batch=i == 0 or i >= self._n_inputs)
                gradient_of[i] = gradient
        return given, program.stages(), [gradient_of.get(i) for i in indexes], program.size


def _view(memory, place, shape):
    return memory[place:place + math.prod(shape)].reshape(shape)


class _Program:
    """What is to be done, in order: operations of :mod:`loops`, and matrix products."""

    def __init__(self, size):
        self.size = size
        self._entries = []

    def allocate(self, n):
        place, self.size = self.size, self.size + -(-n // _ALIGNED) * _ALIGNED
        return place

    def add(self, code, rows, k, *places, u=0, number=0.0, whole=False):
        """An operation on each of so many rows by itself, or on all at once."""
        row = [code, k, u, *places]
        self._entries.append((row + [0] * (9 - len(row)), number, rows, rows if whole else _ROWS))

    def product(self, x, y, out):
        """x·y of three matrices, each a place, a shape, and whether it is turned."""
        self._entries.append(functools.partial(_multiply, x, y, out))

    def sum(self, first, second, shape, is_batch):
        place, rows = self.allocate(math.prod(shape)), shape[0] if is_batch else 1
        self.add(loops.ADD, rows, math.prod(shape) // rows, first, second, place, whole=not is_batch)
        return place

    def stages(self):
        """Functions of memory."""
        stages, operations = [], []
        for entry in [*self._entries, None]:
            if isinstance(entry, tuple):
                operations.append(entry)
                continue
            if operations:
                stages.append(_compiled_stage(operations))
                operations = []
            if entry:
                stages.append(entry)
        return stages


def _multiply(x, y, out, memory):
    (x, y, out) = [_view(memory, place, shape).T if turned else _view(memory, place, shape)
                   for place, shape, turned in (x, y, out)]
    numpy.dot(x, y, out=out)


def _compiled_stage(operations):
    groups = []
    for i, (_, _, rows, step) in enumerate(operations):
        if groups and step == _ROWS and groups[-1][2:] == [rows, step]:
            groups[-1][1] = i + 1
        else:
            groups.append([i, i + 1, rows, step])
    program, numbers, groups = (
        numpy.array(values, dtype=dtype) for values, dtype in (
            ([row for row, *_ in operations], numpy.int64), ([number for _, number, *_ in operations], numpy.float32),
            (groups, numpy.int64)))
    return lambda memory: loops.run(memory, program, numbers, groups)


# ---- functions: forward adds what computes the result; backward what computes gradients, and returns their places

class _Function:

    def __init__(self, attributes, *inputs):
        self.attributes, self.places, self.shapes = attributes, [place for place, _ in inputs], [s for _, s in inputs]
        self.n, self.k = self.shapes[0][0], math.prod(self.shapes[0][1:])

    def observe(self, memory):
        """What is done with the values after each pass."""

    def allocate(self, program, i):
        return program.allocate(math.prod(self.shapes[i]))


class _Activation(_Function):

    code = property(lambda self: getattr(loops, self.attributes['name'].upper()))

    def forward(self, program, out):
        program.add(self.code, self.n, self.k, self.places[0], out)

    def backward(self, program, out, gradient, leads):
        place = self.allocate(program, 0)
        program.add(self.code + loops.RELU_GRADIENT - loops.RELU, self.n, self.k, out, gradient, place)
        return [place]


class _Sum(_Function):

    def forward(self, program, out):
        program.add(loops.ADD, self.n, self.k, *self.places, out)

    def backward(self, program, out, gradient, leads):
        return [gradient] * len(leads)


class _Linear(_Function):

    def __init__(self, attributes, *inputs):
        super().__init__(attributes, *inputs)
        self.u = self.shapes[1][0]

    def forward(self, program, out):
        x, W, *b = self.places
        if self.k <= FEW:
            self.turned = self.allocate(program, 1)
            program.add(loops.TURN, self.u, self.k, W, self.turned, whole=True)
            program.add(loops.SPREAD, self.n, self.k, x, self.turned, out, u=self.u, number=1)
        elif self.u <= FEW:
            program.add(loops.GATHER, self.n, self.k, x, W, out, u=self.u, number=1)
        else:
            program.product((x, (self.n, self.k), False), (W, (self.u, self.k), True), (out, (self.n, self.u), False))
        if b:
            program.add(loops.ADD_BIAS, self.n, self.u, out, *b)

    def backward(self, program, out, gradient, leads):
        return [(self._of_x, self._of_W, self._of_b)[i](program, gradient, self.allocate(program, i)) for i in leads]

    def _of_x(self, program, gradient, place):
        if self.k <= FEW:
            program.add(loops.GATHER, self.n, self.u, gradient, self.turned, place, u=self.k, number=1)
        elif self.u <= FEW:
            program.add(loops.SPREAD, self.n, self.u, gradient, self.places[1], place, u=self.k, number=1)
        else:
            program.product((gradient, (self.n, self.u), False), (self.places[1], (self.u, self.k), False),
                            (place, (self.n, self.k), False))
        return place

    def _of_W(self, program, gradient, place):
        if self.k <= FEW:
            turned = self.allocate(program, 1)
            program.add(loops.ADD_OUTER, self.n, self.k, self.places[0], gradient, turned, u=self.u, number=1)
            program.add(loops.TURN, self.k, self.u, turned, place, whole=True)
        elif self.u <= FEW:
            program.add(loops.ADD_OUTER, self.n, self.u, gradient, self.places[0], place, u=self.k, number=1)
        else:
            program.product((gradient, (self.n, self.u), True), (self.places[0], (self.n, self.k), False),
                            (place, (self.u, self.k), False))
        return place

    def _of_b(self, program, gradient, place):
        program.add(loops.ADD_ROWS, self.n, self.u, gradient, place)
        return place


class _WeightNormalization(_Function):

    def forward(self, program, out):
        self.norm = self.allocate(program, 1)
        program.add(loops.WEIGHTS, self.n, self.k, *self.places, out, self.norm, whole=True)

    def backward(self, program, out, gradient, leads):
        found = [self.allocate(program, 0), self.allocate(program, 1)]
        program.add(loops.WEIGHTS_GRADIENT, self.n, self.k, *self.places, self.norm, gradient, *found, whole=True)
        return [found[i] for i in leads]


class _BatchNormalization(_Function):

    def __init__(self, attributes, *inputs):
        super().__init__(attributes, *inputs)
        self.n_splits = attributes['n_splits']

    def forward(self, program, out):
        x, gamma, beta = self.places
        self.moments = program.allocate(2 * self.n_splits * self.k)  # means, then variances
        program.add(
            loops.NORMALIZE, self.n, self.k, x, gamma, beta, self.moments, self.moments + self.n_splits * self.k, out,
            u=self.n_splits, number=self.attributes['eps'], whole=True)

    def observe(self, memory):
        if self.attributes['observe'] is not None:
            self.attributes['observe'](*_view(memory, self.moments, (2, self.n_splits, self.k)))

    def backward(self, program, out, gradient, leads):
        x, gamma, _ = self.places
        of_batches = program.allocate(2 * self.n_splits * self.k)
        found = [self.allocate(program, i) for i in range(3)]
        program.add(
            loops.NORMALIZE_GRADIENT, self.n, self.k, x, gamma, self.moments, gradient, of_batches, found[0],
            u=self.n_splits, number=self.attributes['eps'], whole=True)
        for i, place in enumerate(found[1:]):
            program.add(loops.ADD_ROWS, self.n_splits, self.k, of_batches + i * self.n_splits * self.k, place, whole=True)
        return [found[i] for i in leads]


class _ExpertTerm(_Function):

    def forward(self, program, out):
        program.add(loops.EXPERTS, self.n, self.k, *self.places, out)

    def backward(self, program, out, gradient, leads):
        place = self.allocate(program, 0)
        program.add(loops.EXPERTS_GRADIENT, self.n, self.k, *self.places, gradient, place)
        return [place]


class _QuadraticTerm(_Function):

    def forward(self, program, out):
        self.factor = 1 / self.attributes['sigma'] ** 2
        program.add(loops.QUADRATIC, self.n, self.k, *self.places, out, number=self.factor)

    def backward(self, program, out, gradient, leads):
        place = self.allocate(program, 0)
        program.add(loops.QUADRATIC_GRADIENT, self.n, self.k, *self.places, gradient, place, number=2 * self.factor)
        return [place]


class _BiasTerm(_Function):

    def forward(self, program, out):
        program.add(loops.GATHER, self.n, self.k, *self.places, out, u=1, number=-1)

    def backward(self, program, out, gradient, leads):
        found = []
        for i in leads:
            found.append(self.allocate(program, i))
            if i == 0:
                program.add(loops.SPREAD, self.n, 1, gradient, self.places[1], found[-1], u=self.k, number=-1)
            else:
                program.add(loops.ADD_OUTER, self.n, 1, gradient, self.places[0], found[-1], u=self.k, number=-1)
        return found


_FUNCTIONS = {
    'activation': _Activation, 'sum': _Sum, 'linear': _Linear, 'weight_normalization': _WeightNormalization,
    'batch_normalization': _BatchNormalization, 'expert_term': _ExpertTerm, 'quadratic_term': _QuadraticTerm,
    'bias_term': _BiasTerm}
