"""A network's list of functions as few compiled calls: what lies between two large matrix products is one.

A small network spends its time in calls, so the functions that it is known to call become a program, a table of
numbers, for :func:`ddgm.fast.kernels.operations.run`.  All values lie in one array, and what is done sample by sample
is done for some samples at a time, so that what is between stays in the processor's cache.
"""

import functools
import math

import numpy

from ddgm.fast.kernels import loops, operations

FEW = 8  # up to as many inputs or outputs a linear map is one of the loops, else a product
_ROWS = 64  # that pass several functions at a time
_ALIGNED = 16  # numbers of 4 bytes: a line of the cache


class NotKnown(Exception):
    """A function that no program can compute."""


class Block:
    """The functions of a graph on float32 arrays, as one.

    Args:
        steps (list): For each function its name, its attributes and where its inputs stand, as
            :func:`ddgm.fast.kernels.block` has them.
        shapes (list): Of all values: what is given, then what each function returns.
        results (list): Where the results stand among all values; gradients are those of the first one.

    Raises:
        NotKnown: For a function, or a shape, that there are no loops for.
    """

    def __init__(self, steps, shapes, results):
        if not all(len(shape) <= 2 for shape in shapes) or not all(name in _FUNCTIONS for name, *_ in steps):
            raise NotKnown
        self.shapes, self.results, self._first = shapes, results, len(shapes) - len(steps)
        self._program, self._backward, self._free, self.functions = _Program(), {}, [], []
        self.places = [self._program.allocate(shape) for shape in shapes[:self._first]]
        last_use = {i: number for number, (_, _, inputs) in enumerate(steps) for i in inputs}
        kept = {*range(self._first), *results}
        for number, (name, attributes, inputs) in enumerate(steps):
            function = _FUNCTIONS[name](attributes, *[(self.places[i], shapes[i]) for i in inputs])
            self.functions.append(function)
            self.places.append(self._program.allocate(shapes[self._first + number]))
            function.forward(self._program, self.places[-1])
            kept.update(inputs if function.keeps_inputs else (), [self._first + number] * function.keeps_output)
            for i in set(inputs) - kept:
                if last_use[i] == number:
                    self._program.release(self.places[i], shapes[i])
        self.stages, self._released = self._program.stages(), self._program.released

    def forward(self, arrays):
        """The results, and what :meth:`backward` takes."""
        memory = self._free.pop() if self._free else _Memory(self, self._program.size)
        for view, array in zip(memory.inputs, arrays):
            view[...] = array
        for stage in memory.stages:
            stage()
        return [result.copy() for result in memory.results], _Pass(memory, self._free)

    def backward(self, its_pass, grad_output, indexes, plan):
        """An array, (n,), and the gradients of the inputs of these indexes: views of it, one after the other.

        ``plan`` names the functions that they come through; where there is none, ``None`` takes the gradient's place.
        """
        if indexes not in self._backward:
            self._backward[indexes] = self._backward_of(indexes, plan)
        memory = its_pass.memory
        if len(memory.numbers) < self._program.size:
            memory = its_pass.memory = _Memory(self, self._program.size, memory.numbers)
        if indexes not in memory.backward:
            memory.backward[indexes] = memory.bound(*self._backward[indexes])
        given, stages, gradients = memory.backward[indexes]
        given[...] = grad_output
        for stage in stages:
            stage()
        found = [each for each in gradients if each is not None]
        whole, first, views = numpy.concatenate([memory.numbers[:0], *found], axis=None), 0, []  # of none, too
        for each in gradients:
            last = first if each is None else first + each.size
            views.append(None if each is None else whole[first:last].reshape(each.shape))
            first = last
        return whole, views

    def _backward_of(self, indexes, plan):
        """Where the gradient of the result is put, what is done then, and where those of the inputs are."""
        result = self.results[0]
        self._program.released = {shape: [*places] for shape, places in self._released.items()}
        given = self._program.allocate(self.shapes[result]), self.shapes[result]
        gradient_of = {result: given}
        for number, leads, inputs in plan:
            output = self._first + number
            gradient, shape = gradient_of.pop(output)
            places = self.functions[number].backward(self._program, self.places[output], gradient, leads)
            if gradient not in (*places, *[place for place, _ in gradient_of.values()]):
                self._program.release(gradient, shape)
            for i, place in zip(inputs, places):
                if i in gradient_of:
                    place = self._program.sum(gradient_of[i][0], place, self.shapes[i])
                gradient_of[i] = place, self.shapes[i]
        return given, self._program.stages(), [gradient_of.get(i) for i in indexes]


class _Memory:
    """All values of a pass through a block, and what is done with them."""

    def __init__(self, block, size, numbers=()):
        self.numbers = numpy.empty(size, dtype=numpy.float32)
        self.numbers[:len(numbers)] = numbers
        self.inputs = [self.view(matrix) for matrix in zip(block.places, block.shapes)]
        self.results = [self.inputs[i] for i in block.results]
        self.stages = [stage(self.view) for stage in block.stages]
        self.backward = {}

    def view(self, matrix):
        """Of a place and a shape; ``None``: of all numbers."""
        if matrix is None:
            return self.numbers
        place, shape = matrix
        return self.numbers[place:place + math.prod(shape)].reshape(shape)

    def bound(self, given, stages, gradients):
        return (self.view(given), [stage(self.view) for stage in stages],
                [gradient and self.view(gradient) for gradient in gradients])


class _Pass:
    """Holds memory until nobody can ask for its gradients any more."""

    def __init__(self, memory, free):
        self.memory, self._free = memory, free

    def __del__(self):
        self._free.append(self.memory)


class _Program:
    """What is to be done, in order: :mod:`operations`, and matrix products."""

    def __init__(self):
        self.size = 0  # of memory, in numbers
        self.released = {}  # places by shape
        self._entries = []

    def allocate(self, shape):
        """A place that no value needs any more, which may still be in the cache, or a new one."""
        if self.released.get(shape):
            return self.released[shape].pop()
        place, self.size = self.size, self.size + -(-math.prod(shape) // _ALIGNED) * _ALIGNED
        return place

    def release(self, place, shape):
        """What was in a matrix is needed no more.  A matrix of its shape takes its place row by row, as it is used.

        So what is summed over rows needs a place of its own, a shape of one axis.
        """
        if len(shape) == 2:
            self.released.setdefault(shape, []).append(place)

    def add(self, code, rows, k, *places, u=0, number=0.0, whole=False):
        """An operation on each of so many rows by itself, or on all at once."""
        row = [code, k, u, *places]
        self._entries.append((row + [0] * (9 - len(row)), number, rows, rows if whole else _ROWS))

    def product(self, x, y, out, x_is_turned=False, y_is_turned=False):
        """x·y, or with one of them turned, of matrices, each a place and a shape."""
        def stage(view):
            first, second = view(x), view(y)
            return functools.partial(
                numpy.dot, first.T if x_is_turned else first, second.T if y_is_turned else second, view(out))
        self._entries.append(stage)

    def call(self, function, matrix, *others):
        """A function of a matrix, a place and a shape, and of others that are not in memory."""
        self._entries.append(lambda view: functools.partial(function, view(matrix), *others))

    def sum(self, first, second, shape):
        place = self.allocate(shape)
        self.add(operations.ADD, 1, math.prod(shape), first, second, place, number=1, whole=True)
        return place

    def stages(self):
        """What was added since the last call, as functions of :meth:`_Memory.view` that return what is to be called."""
        stages, compiled = [], []
        for entry in [*self._entries, None]:
            if isinstance(entry, tuple):
                compiled.append(entry)
                continue
            if compiled:
                stages.append(_compiled_stage(compiled))
                compiled = []
            if entry:
                stages.append(entry)
        self._entries = []
        return stages


def _compiled_stage(entries):
    groups = []
    for i, (_, _, rows, step) in enumerate(entries):
        if groups and step == _ROWS and groups[-1][2:] == [rows, step]:
            groups[-1][1] = i + 1
        else:
            groups.append([i, i + 1, rows, step])
    program, numbers, groups = (
        numpy.array(values, dtype=dtype) for values, dtype in (
            ([row for row, *_ in entries], numpy.int64), ([number for _, number, *_ in entries], numpy.float32),
            (groups, numpy.int64)))
    return lambda view: functools.partial(operations.run, view(None), program, numbers, groups)


# ---- functions: forward adds what computes the result; backward what computes gradients, and returns their places

class _Function:

    keeps_inputs, keeps_output = True, False  # for the gradients

    def __init__(self, attributes, *inputs):
        self.attributes, self.places, self.shapes = attributes, [place for place, _ in inputs], [s for _, s in inputs]
        self.n, self.k = (self.shapes[0] or (1,))[0], math.prod(self.shapes[0][1:])

    def allocate(self, program, i):
        return program.allocate(self.shapes[i])


class _Activation(_Function):

    keeps_inputs, keeps_output = False, True
    code = property(lambda self: getattr(operations, self.attributes['name'].upper()))

    def forward(self, program, out):
        program.add(self.code, self.n, self.k, self.places[0], out)

    def backward(self, program, out, gradient, leads):
        place = self.allocate(program, 0)
        program.add(self.code + operations.RELU_GRADIENT - operations.RELU, self.n, self.k, out, gradient, place)
        return [place]


class _Sum(_Function):

    keeps_inputs = False
    factor = 1  # of the second term

    def forward(self, program, out):
        program.add(operations.ADD, self.n, self.k, *self.places, out, number=self.factor)

    def backward(self, program, out, gradient, leads):
        return [self._scaled(program, gradient) if i and self.factor != 1 else gradient for i in leads]

    def _scaled(self, program, gradient):
        place = self.allocate(program, 0)
        program.add(operations.SCALE, self.n, self.k, gradient, place, number=self.factor)
        return place


class _Difference(_Sum):

    factor = -1


class _Multiple(_Sum):

    factor = property(lambda self: self.attributes['factor'])

    def forward(self, program, out):
        program.add(operations.SCALE, self.n, self.k, *self.places, out, number=self.factor)

    def backward(self, program, out, gradient, leads):
        return [self._scaled(program, gradient)]


class _Joined(_Function):

    keeps_inputs = False

    def forward(self, program, out):
        for place, shape in zip(self.places, self.shapes):
            program.add(operations.SCALE, shape[0], self.k, place, out, number=1, whole=True)
            out += math.prod(shape)


class _Rows(_Function):

    keeps_inputs = False

    def __init__(self, attributes, *inputs):
        super().__init__(attributes, *inputs)
        self.first, last, step = attributes['rows'].indices(self.n)
        self.n_rows = last - self.first
        if step != 1 or self.n_rows < 1:
            raise NotKnown

    def forward(self, program, out):
        place = self.places[0] + self.first * self.k
        program.add(operations.SCALE, self.n_rows, self.k, place, out, number=1, whole=True)

    def backward(self, program, out, gradient, leads):
        whole = self.allocate(program, 0)
        program.add(operations.REPEAT, 1, self.n * self.k, gradient, whole, whole=True)
        program.add(operations.SCALE, self.n_rows, self.k, gradient, whole + self.first * self.k, number=1, whole=True)
        return [whole]


class _Mean(_Function):

    keeps_inputs = False

    def forward(self, program, out):
        size = self.n * self.k
        program.add(operations.MEAN, 1, size, *self.places, out, number=1 / size, whole=True)

    def backward(self, program, out, gradient, leads):
        place, size = self.allocate(program, 0), self.n * self.k
        program.add(operations.REPEAT, 1, size, gradient, place, number=1 / size, whole=True)
        return [place]


class _GaussianEntropy(_Function):

    def forward(self, program, out):
        for i, place in enumerate(self.places):
            program.add(operations.ENTROPY, 1, math.prod(self.shapes[i]), place, out, u=int(i > 0), whole=True)

    def backward(self, program, out, gradient, leads):
        found = [self.allocate(program, i) for i in leads]
        for i, place in zip(leads, found):
            program.add(
                operations.ENTROPY_GRADIENT, 1, math.prod(self.shapes[i]), self.places[i], gradient, place, whole=True)
        return found


class _Linear(_Function):

    def __init__(self, attributes, *inputs):
        super().__init__(attributes, *inputs)
        self.u = self.shapes[1][0]

    def forward(self, program, out):
        x, W, *b = self.places
        if self.k <= FEW:
            self.turned = program.allocate((self.u * self.k,))
            program.add(operations.TURN, self.u, self.k, W, self.turned, whole=True)
            program.add(operations.SPREAD, self.n, self.k, x, self.turned, out, u=self.u, number=1)
        elif self.u <= FEW:
            program.add(operations.GATHER, self.n, self.k, x, W, out, u=self.u, number=1)
        else:
            program.product(
                (x, (self.n, self.k)), (W, (self.u, self.k)), (out, (self.n, self.u)), y_is_turned=True)
        if b:
            program.add(operations.ADD_BIAS, self.n, self.u, out, *b)

    def backward(self, program, out, gradient, leads):
        return [(self._of_x, self._of_W, self._of_b)[i](program, gradient) for i in leads]

    def _of_x(self, program, gradient):
        place = self.allocate(program, 0)
        if self.k <= FEW:
            program.add(operations.GATHER, self.n, self.u, gradient, self.turned, place, u=self.k, number=1)
        elif self.u <= FEW:
            program.add(operations.SPREAD, self.n, self.u, gradient, self.places[1], place, u=self.k, number=1)
        else:
            program.product(
                (gradient, (self.n, self.u)), (self.places[1], (self.u, self.k)), (place, (self.n, self.k)))
        return place

    def _of_W(self, program, gradient):
        place, turned = [program.allocate((self.u * self.k,)) for _ in range(2)]  # of sums
        if self.k <= FEW:
            program.add(operations.ADD_OUTER, self.n, self.k, self.places[0], gradient, turned, u=self.u, number=1)
            program.add(operations.TURN, self.k, self.u, turned, place, whole=True)
        elif self.u <= FEW:
            program.add(operations.ADD_OUTER, self.n, self.u, gradient, self.places[0], place, u=self.k, number=1)
        else:
            program.product(
                (gradient, (self.n, self.u)), (self.places[0], (self.n, self.k)), (place, (self.u, self.k)),
                x_is_turned=True)
        return place

    def _of_b(self, program, gradient):
        place = self.allocate(program, 2)
        program.add(operations.ADD_ROWS, self.n, self.u, gradient, place)
        return place


class _WeightNormalization(_Function):

    def forward(self, program, out):
        self.norm = self.allocate(program, 1)
        program.add(operations.WEIGHTS, self.n, self.k, *self.places, out, self.norm, whole=True)

    def backward(self, program, out, gradient, leads):
        found = [self.allocate(program, 0), self.allocate(program, 1)]
        program.add(operations.WEIGHTS_GRADIENT, self.n, self.k, *self.places, self.norm, gradient, *found, whole=True)
        return [found[i] for i in leads]


class _BatchNormalization(_Function):

    def __init__(self, attributes, *inputs):
        super().__init__(attributes, *inputs)
        if attributes['n_splits'] > 1:
            raise NotKnown

    def forward(self, program, out):
        self.moments = program.allocate((2 * self.k,))  # mean, then variance
        program.add(
            operations.NORMALIZE, self.n, self.k, *self.places, self.moments, out, number=self.attributes['eps'],
            whole=True)
        if self.attributes['running'] is not None:
            program.call(loops.running_statistics, (self.moments, (2, 1, self.k)), *self.attributes['running'])

    def backward(self, program, out, gradient, leads):
        x, gamma, _ = self.places
        of_x, of_units = self.allocate(program, 0), program.allocate((2 * self.k,))
        program.add(
            operations.NORMALIZE_GRADIENT, self.n, self.k, gradient, x, gamma, self.moments, of_units, of_x,
            number=self.attributes['eps'], whole=True)
        return [(of_x, of_units, of_units + self.k)[i] for i in leads]


class _ExpertTerm(_Function):

    def forward(self, program, out):
        program.add(operations.EXPERTS, self.n, self.k, *self.places, out)

    def backward(self, program, out, gradient, leads):
        place = self.allocate(program, 0)
        program.add(operations.EXPERTS_GRADIENT, self.n, self.k, *self.places, gradient, place)
        return [place]


class _QuadraticTerm(_Function):

    def forward(self, program, out):
        self.factor = 1 / self.attributes['sigma'] ** 2
        program.add(operations.QUADRATIC, self.n, self.k, *self.places, out, number=self.factor)

    def backward(self, program, out, gradient, leads):
        place = self.allocate(program, 0)
        program.add(
            operations.QUADRATIC_GRADIENT, self.n, self.k, *self.places, gradient, place, number=2 * self.factor)
        return [place]


class _BiasTerm(_Function):

    def forward(self, program, out):
        program.add(operations.GATHER, self.n, self.k, *self.places, out, u=1, number=-1)

    def backward(self, program, out, gradient, leads):
        found = []
        for i in leads:
            found.append(self.allocate(program, i))
            if i == 0:
                program.add(operations.SPREAD, self.n, 1, gradient, self.places[1], found[-1], u=self.k, number=-1)
            else:
                program.add(operations.ADD_OUTER, self.n, 1, gradient, self.places[0], found[-1], u=self.k, number=-1)
        return found


_FUNCTIONS = {
    'activation': _Activation, 'batch_normalization': _BatchNormalization, 'bias_term': _BiasTerm,
    'difference': _Difference, 'expert_term': _ExpertTerm, 'gaussian_entropy': _GaussianEntropy, 'joined': _Joined,
    'linear': _Linear, 'mean': _Mean, 'multiple': _Multiple, 'quadratic_term': _QuadraticTerm, 'rows': _Rows,
    'sum': _Sum, 'weight_normalization': _WeightNormalization}
