"""One device, and streams that are always done, but where they capture."""

import contextlib

import numpy
from cupy_backends.cuda.libs import cublas  # noqa: F401

from cupy import _watch
from cupy.cuda import runtime

cudnn_enabled = nccl_enabled = False


class _Done:
    """What may be used and waited for, and has nothing to do."""

    def use(self):
        return self

    def synchronize(self):
        if Stream.capturing:
            graph.refuse_to_wait()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


class Device(_Done):
    """The only device, number 0."""

    def __init__(self, device=None):
        self.id = int(device or 0)
        if self.id:
            raise runtime.CUDARuntimeError('cudaErrorInvalidDevice: invalid device ordinal')

    def __int__(self):
        return self.id

    def __eq__(self, other):
        return isinstance(other, Device)

    def __hash__(self):
        return 0


class Stream(_Done):
    """A stream of work, which is done as soon as it is asked for."""

    capturing = None  # the graph of the present capture

    def __init__(self, null=False, non_blocking=False):
        self.ptr = 0 if null else id(self)
        self._previous = []

    def use(self):
        Stream.current = self
        return self

    def __enter__(self):
        self._previous.append(Stream.current)
        return self.use()

    def __exit__(self, *error):
        self._previous.pop().use()

    def record(self, event=None):
        return event or Event()

    def wait_event(self, event):
        if not isinstance(event, Event):
            raise TypeError('an event is waited for, not {!r}'.format(event))

    def begin_capture(self, mode=None):
        if not self.ptr:
            raise RuntimeError('cannot capture on the default (legacy) stream')
        if not MemoryPool.current:
            raise RuntimeError('this stand-in captures only into a memory pool of its own, by using_allocator')
        Stream.capturing = graph.Graph(self, MemoryPool.current)
        self._watcher, _watch.watcher = _watch.watcher, Stream.capturing.keep

    def end_capture(self):
        captured, Stream.capturing, _watch.watcher = Stream.capturing, None, self._watcher
        captured.finish()
        if captured.is_lost:
            raise runtime.CUDARuntimeError(
                'cudaErrorStreamCaptureInvalidated: operation failed due to a previous error during capture')
        return captured

    def is_capturing(self):
        return Stream.capturing is not None and Stream.capturing._stream is self


Stream.null = Stream.current = Stream(null=True)


class Event(_Done):
    """A point in a stream."""

    def record(self, stream=None):
        pass


class MemoryPool:
    """Memory that is kept for those who were given its ``malloc``."""

    current = None

    def malloc(self, size):
        raise NotImplementedError('this stand-in has no memory of a card')

    def free_all_blocks(self, stream=None):
        pass


class MemoryPointer:
    """Memory that no array holds."""

    def __init__(self, size):
        self._memory = numpy.empty(size, numpy.uint8)
        self.ptr = self._memory.ctypes.data


alloc = MemoryPointer


@contextlib.contextmanager
def using_allocator(allocator=None):
    previous, MemoryPool.current = MemoryPool.current, getattr(allocator, '__self__', None)
    try:
        yield
    finally:
        MemoryPool.current = previous


def set_allocator(allocator=None):
    pass


set_pinned_memory_allocator = set_allocator


def get_current_stream():
    return Stream.current


from cupy.cuda import graph  # noqa: E402
from cupy.cuda.graph import Graph  # noqa: E402, F401
