"""Captured calls: what CuPy refuses while it captures, and what a replay computes."""

import weakref

import numpy
from cupy_backends.cuda.libs import cublas

import cupy
from cupy import _watch


class Graph:
    """Calls on the GPU in their order, which :meth:`launch` computes again in place, with the numbers of the capture.

    A capture computes nothing: what it wrote is put back, and its results hold NaN until the first launch.  Memory that
    it used and that no array holds any more holds NaN at each launch.
    """

    def __init__(self, stream, pool):
        self._stream, self._pool = stream, weakref.ref(pool)
        self._calls, self._before, self._made = [], {}, {}  # the latter two: memory, by its identity
        self.is_lost = False

    def launch(self, stream=None):
        if self._pool() is None:
            raise RuntimeError('the memory pool of this graph is gone')
        held = {id(owner(array._array)) for array in list(cupy._LIVING.values())}
        for memory in (*(memory for memory, _ in self._before.values()), *self._made.values()):
            if id(memory) not in held:
                poison(memory)
        with _watch.unseen():
            for call, arguments, options, result in self._calls:
                write(call(*arguments, **options), result)

    def keep(self, name, call, arguments, options):
        """Compute a call, and keep it: the watcher of a capture."""
        if cupy.cuda.get_current_stream() is not self._stream:
            return call(*arguments, **options)
        refuse(name, arguments)
        for array in _watch.arrays_in([*arguments, *options.values()]):
            memory = owner(array)
            if id(memory) not in self._made:
                self._before.setdefault(id(memory), (memory, memory.copy()))
        result = call(*arguments, **options)
        for array in _watch.arrays_in([result]):
            if id(owner(array)) not in self._before:
                self._made[id(owner(array))] = owner(array)
        self._calls.append((call, *map(unheld, (arguments, options, result))))
        return result

    def finish(self):
        """Leave the memory as after a capture."""
        for memory, content in self._before.values():
            if memory.flags.writeable:
                memory[...] = content
        for memory in self._made.values():
            poison(memory)


def refuse(name, arguments):
    """Raise where CuPy does not capture a call."""
    arrays = list(_watch.arrays_in(arguments))
    function = _watch.cublas_function(name, arrays)
    if name in _watch.READS or name == '__getitem__' and any(array.dtype == bool for array in arrays[1:]):
        raise RuntimeError('the current stream is capturing, so D2H transfers are disallowed')
    if _watch.sends(name, arguments) or _watch.tables_sent(name, arguments):
        raise RuntimeError('the current stream is capturing, so H2D transfers are disallowed')
    if function and getattr(cublas, function, None) in (None, *cublas.REFUSED):
        raise NotImplementedError('calling cuBLAS API during stream capture is currently unsupported')
    if name in _watch.SORTS:
        refuse_to_wait()


def refuse_to_wait():
    """Raise as CUDA does where a capturing stream would be waited for; the capture is lost by that."""
    cupy.cuda.Stream.capturing.is_lost = True
    raise cupy.cuda.runtime.CUDARuntimeError(
        'cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing')


def owner(array):
    """The array whose memory this one views."""
    while isinstance(array.base, numpy.ndarray):
        array = array.base
    return array


def unheld(value):
    """Arguments or results whose arrays are others, of the same memory."""
    if isinstance(value, cupy.ndarray):
        new = cupy.ndarray.__new__(cupy.ndarray)
        new._array = value._array.view()
        return new
    if isinstance(value, dict):
        return {name: unheld(each) for name, each in value.items()}
    return type(value)(map(unheld, value)) if type(value) in (list, tuple) else value


def poison(memory):
    """What may lie in memory that nobody wrote."""
    if memory.flags.writeable:
        memory.fill(numpy.nan if memory.dtype.kind == 'f' else ~memory.dtype.type(0))


def write(new, result):
    """Put the result of a call where that of the captured call lies."""
    for source, place in zip(_watch.arrays_in([new]), _watch.arrays_in([result])):
        if not numpy.may_share_memory(source, place):
            place[...] = source
