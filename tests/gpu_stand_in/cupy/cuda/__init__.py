"""One device, and streams that are always done."""

import contextlib

from cupy.cuda import cublas, runtime  # noqa: F401

cudnn_enabled = nccl_enabled = False


class _Done:
    """What may be used and waited for, and has nothing to do."""

    def use(self):
        return self

    def synchronize(self):
        pass

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

    ptr = 0

    def __init__(self, null=False, non_blocking=False):
        pass


Stream.null = Stream(null=True)


class Event:
    """A point in a stream."""

    def record(self, stream=None):
        pass

    def synchronize(self):
        pass


@contextlib.contextmanager
def using_allocator(allocator=None):
    yield


def set_allocator(allocator=None):
    pass


set_pinned_memory_allocator = set_allocator


def get_current_stream():
    return Stream.null
