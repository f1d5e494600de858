"""Where every call that takes or makes arrays on the GPU passes, so that it can be counted, or kept by a capture."""

import contextlib
import functools
import threading

watcher = None  # called as watcher(name, call, arguments, options), and returns what call(*arguments, **options) does
_thread = threading.local()

READS = {
    'get', 'item', 'tolist', '__bool__', '__int__', '__index__', '__float__', 'nonzero', 'argwhere', 'flatnonzero',
    'unique', 'allclose', 'array_equal'}
PRODUCTS = {'dot', 'matmul', '__matmul__', '__rmatmul__', '__imatmul__', 'tensordot', 'inner', 'einsum'}
SORTS = {'sort', 'argsort', 'partition', 'argpartition', 'lexsort', 'median', 'percentile', 'quantile'}
JOINED = {'concatenate', 'stack', 'hstack', 'vstack', 'column_stack', 'dstack'}


def watched(call):
    """``call``, as the watcher sees it where there is one; what it calls in turn is part of it."""
    @functools.wraps(call)
    def passed(*arguments, **options):
        if watcher is None or getattr(_thread, 'is_inside', False):
            return call(*arguments, **options)
        name = call.__name__
        if name == '_method':
            name = arguments[1].partition('.')[2]
        elif name == '__call__':
            name = arguments[0].name
        with unseen():
            return watcher(name, call, arguments, options)
    return passed


@contextlib.contextmanager
def unseen():
    """A context for calls that nobody watches."""
    _thread.is_inside = True
    try:
        yield
    finally:
        _thread.is_inside = False


def arrays_in(values):
    """The NumPy arrays behind those on the GPU in arguments or results."""
    for value in values:
        if hasattr(value, '_array'):
            yield value._array
        elif isinstance(value, (list, tuple)):
            yield from arrays_in(value)


def sends(name, arguments):
    """Whether a call sends an array to the GPU."""
    return name == 'set' or name in ('array', 'asarray', 'ascontiguousarray') and not list(arrays_in(arguments))


def tables_sent(name, arguments):
    """How many tables of places CuPy sends to the GPU: where it joins many small arrays, and for lists of indices."""
    if name in ('__getitem__', '__setitem__'):
        key = arguments[1]
        return sum(isinstance(each, list) for each in (key if isinstance(key, tuple) else (key,)))
    arrays = list(arrays_in(arguments[:1])) if name in JOINED else []
    is_small = sum(array.nbytes for array in arrays) < 2 ** 21 * len(arrays)
    return 3 if len(arrays) > 8 and is_small and len({array.dtype for array in arrays}) == 1 else 0


def cublas_function(name, arrays):
    """What of cuBLAS computes a product, the empty string for what no product is."""
    if name.startswith('linalg.') and name != 'linalg.norm':
        return 'cusolver'
    if name not in PRODUCTS or len(arrays) < 2 or all(array.ndim == 1 for array in arrays[:2]):
        return ''
    x, y = arrays[:2]
    if name == 'einsum':
        return 'gemmStridedBatchedEx'
    if 'matmul' not in name or max(x.ndim, y.ndim) == 2:
        return 'gemmEx'
    return 'gemmStridedBatchedEx' if x.shape[:-2] == y.shape[:-2] else 'gemmBatched'
