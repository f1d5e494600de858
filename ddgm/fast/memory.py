"""Memory that is used again, since the operating system takes longer to hand out new memory than a copy takes."""

from __future__ import annotations

import math
import threading

import numpy

_buffers = threading.local()


def buffer(name: str, shape: tuple, dtype: numpy.dtype) -> numpy.ndarray:
    """An array of any content, good until the next call of this thread with this name."""
    n_bytes = dtype.itemsize * math.prod(shape)
    buffer = getattr(_buffers, name, None)
    if buffer is None or buffer.nbytes < n_bytes:
        buffer = numpy.empty(n_bytes, dtype=numpy.uint8)
        setattr(_buffers, name, buffer)
    return buffer[:n_bytes].view(dtype).reshape(shape)


def keep_freed() -> None:
    """Let the process keep up to 64 MB that it has freed, for the next iteration.

    The C library of Linux hands free memory back as soon as it is twice as much as the largest block that was ever
    freed, blocks of up to 32 MB (mallopt(3), M_MMAP_THRESHOLD), and so it does after each iteration whose arrays are
    larger.  Freeing one of that size is all it takes, and nothing elsewhere.
    """
    numpy.empty(2 ** 25 - 2 ** 16, dtype=numpy.uint8)
