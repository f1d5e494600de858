"""What no step of this project falls below on a machine: its matrix products alone, and the memory that they need.

Both are counted in one step by NumPy, and take their turns like the other sides, with as many threads.
"""

import contextlib
import functools
import math
from unittest import mock

import numpy

from benchmarks.speed.sides import ours
from ddgm.fast import threads
from ddgm.fast.kernels import convolution_on_cpu


class Floor(ours.Ours):
    """A part of this project's step.

    Attributes:
        work: What a step does of it, in operations or bytes.
    """

    def __init__(self, case, folder):
        super().__init__(case, folder)
        with self.context():
            super().step()  # networks are recorded and buffers made
            with products_seen() as products:
                super().step()
        self.iterations = None  # whose memory is free then
        self._prepare(products)

    def _write(self, folder, pool, models):
        """Nothing: the others start from what NumPy made."""
        self.sizes = [sum(parameter.size for parameter in model.params()) for model in models]

    def step(self, draws=None):
        for call in self.calls:
            call()
        return []


class Products(Floor):
    """The step's matrix products in their order, of arrays that lie as the step's do; ``work`` counts two a sum."""

    def _prepare(self, products):
        buffers = [
            numpy.ones(max(math.prod(shapes[i]) for _, shapes, _ in products), dtype=numpy.float32) for i in range(3)]
        self.calls, self.work = [], 0
        for function, shapes, orders in products:
            x, y, out = map(_lying, buffers, shapes, orders)
            self.calls.append(functools.partial(function, x, y, out=out))
            self.work += 2 * out.size * x.shape[-1]


class Memory(Floor):
    """What follows a product reads its result and writes as many numbers; Adam reads a weight, and both its moments.

    It writes the moments again, and the weight in place of the gradient, which was counted as a result.  Numbers that
    fit a cache are copied within it.
    """

    def _prepare(self, products):
        sizes = [math.prod(shapes[2]) for _, shapes, _ in products] + [5 * size // 2 for size in self.sizes]
        source, copy = numpy.ones((2, max(sizes)), dtype=numpy.float32)
        self.calls = [functools.partial(threads.in_parts, numpy.copyto, copy[:size], source[:size]) for size in sizes]
        self.work = 2 * source.itemsize * sum(sizes)


@contextlib.contextmanager
def products_seen():
    """A context whose value is a list of the products of matrices within it: a function, shapes and orders of axes.

    They are those of both factors and of the result.  Left out are products with a vector, which are passes over a
    matrix, and small ones that are spread over the threads, as kernels are transformed.
    """
    seen, spread = [], []

    def watched(function):
        def call(x, y, out=None):
            result = function(x, y, out=out)
            if not spread and 1 not in result.shape[-2:]:
                arrays = x, y, result
                seen.append((function, [array.shape for array in arrays], [_order(array) for array in arrays]))
            return result
        return call

    def for_each(function, items, original=convolution_on_cpu.for_each):
        spread.append(function)
        try:
            return original(function, items)
        finally:
            spread.pop()
    with mock.patch.multiple(numpy, dot=watched(numpy.dot), matmul=watched(numpy.matmul)), \
            mock.patch.object(convolution_on_cpu, 'for_each', for_each):
        yield seen


def _order(array):
    """The axes in the order in which they lie."""
    return sorted(range(array.ndim), key=lambda axis: -array.strides[axis])


def _lying(buffer, shape, order):
    """An array of this shape and order in a buffer."""
    return buffer[:math.prod(shape)].reshape([shape[axis] for axis in order]).transpose(numpy.argsort(order))
