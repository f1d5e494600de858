"""Work on NumPy arrays in parts, on all cores: NumPy itself uses more than one for matrix products only.

Into what parts work falls does not depend on the number of threads, so neither do the bits of its results.
"""

from __future__ import annotations

import concurrent.futures
import functools
import os
import threading
from collections.abc import Callable, Iterable

import chainer
import numpy

from ddgm.support import ranks

PART = 2 ** 17  # numbers; of several arrays that many stay in a cache of 1 MB or more
_in_for_each = threading.local()  # whether this thread is at work in for_each


def in_parts(function: Callable, *arrays: numpy.ndarray) -> None:
    """``function(*arrays)`` for parts of the arrays, which have one shape; it works on each number by itself.

    The parts are slices along the axis along which the first array's numbers lie farthest apart.
    """
    first = arrays[0]
    if first.size <= PART:
        function(*arrays)
        return
    axis = max(range(first.ndim), key=lambda axis: first.strides[axis])
    before = (slice(None),) * axis
    step = max(1, first.shape[axis] * PART // first.size)
    slices = [before + (slice(start, start + step),) for start in range(0, first.shape[axis], step)]
    for_each(lambda part: function(*[array[part] for array in arrays]), slices)


def for_each(function: Callable, items: Iterable) -> list:
    """``[function(item) for item in items]``, spread over the threads.

    The functions must not write to what another one reads or writes, and spend their time in NumPy, where threads run
    side by side.  What one raises is raised when all have ended.  A call from within one of the functions stays in its
    thread: if those of the pool waited for one another, they could wait for ever.
    """
    items = list(items)
    n_helpers = min(number(), len(items)) - 1
    if n_helpers <= 0 or getattr(_in_for_each, 'now', False):
        return [function(item) for item in items]
    results, indexes, use_numba = [None] * len(items), iter(range(len(items))), chainer.config.use_numba

    def work():
        _in_for_each.now = True
        try:
            with chainer.using_config('use_numba', use_numba):  # which is that of one thread
                for i in indexes:
                    results[i] = function(items[i])
        finally:
            _in_for_each.now = False
    helpers = [_pool(os.getpid()).submit(work) for _ in range(n_helpers)]
    try:
        work()
    finally:
        concurrent.futures.wait(helpers)
    for helper in helpers:
        helper.result()
    return results


@functools.lru_cache(maxsize=1)
def number() -> int:
    """How many threads work at once: those that NumPy has for products, at most 4.

    More gain nothing: what is done element by element waits for the memory then.
    """
    try:
        n = int(os.environ['OMP_NUM_THREADS'].split(',')[0])
    except (KeyError, ValueError):
        n = ranks.n_cores()
    return max(1, min(n, 4))


@functools.lru_cache(maxsize=1)
def _pool(process):
    """Of this process: threads don't survive a fork."""
    return concurrent.futures.ThreadPoolExecutor(4, thread_name_prefix='ddgm')
