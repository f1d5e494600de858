"""Products of matrices that a CUDA graph can hold: cuBLAS called without CuPy, which refuses that while it captures.

CuPy looks up the two functions of cuBLAS that it takes for products whenever it needs one.  Others take their place
here, with the same arguments but for a handle of their own.  That is bound to one stream and has its own workspace, so
that cuBLAS chooses the same kernels whether they are captured or not.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import os
import weakref
from collections.abc import Iterator

_WORKSPACE = 2 ** 25  # bytes, what cuBLAS takes by itself on the largest cards
# By the name that CuPy has for it, a function of cuBLAS and its arguments after the handle: numbers, long numbers and
# pointers, the last but one the type to compute in.
_FUNCTIONS = {
    'gemmEx': ('cublasGemmEx', 'iiiiippiipiippiiii'),
    'gemmStridedBatchedEx': ('cublasGemmStridedBatchedEx', 'iiiiippiilpiilppiiliii')}
_TYPES = {'i': ctypes.c_int, 'l': ctypes.c_longlong, 'p': ctypes.c_void_p}
# Of many products CuPy tells the type of the numbers, float32 or float64, which the header of cuBLAS turns into these.
_COMPUTE_TYPES = {0: 68, 1: 70}
_NO_MEMORY = 3  # a status of cuBLAS


class OwnHandle:
    """A handle of cuBLAS for the products of one stream.

    Args:
        xp: CuPy, which has loaded cuBLAS.
        stream: CuPy's stream.

    Raises ``OSError`` or ``AttributeError`` where cuBLAS is not found, or CuPy does not call it in the known way.
    """

    def __init__(self, xp, stream):
        library = load(xp.cuda.runtime.runtimeGetVersion() // 1000)
        self._module = importlib.import_module('cupy_backends.cuda.libs.cublas')
        self._originals = {name: getattr(self._module, name) for name in _FUNCTIONS}
        self._workspace, handle = xp.cuda.alloc(_WORKSPACE), ctypes.c_void_p()
        _check('cublasCreate', library.cublasCreate_v2(ctypes.byref(handle)))
        weakref.finalize(self, library.cublasDestroy_v2, handle).atexit = False
        _check('cublasSetStream', library.cublasSetStream_v2(handle, ctypes.c_void_p(stream.ptr)))
        _check('cublasSetWorkspace', library.cublasSetWorkspace_v2(
            handle, ctypes.c_void_p(self._workspace.ptr), ctypes.c_size_t(_WORKSPACE)))
        self._replacements = {}
        for name, (c_name, kinds) in _FUNCTIONS.items():
            function = getattr(library, c_name)
            function.argtypes = [ctypes.c_void_p, *[_TYPES[kind] for kind in kinds]]
            self._replacements[name] = functools.partial(_multiply, c_name, function, handle)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """A context in which CuPy's products go to this handle."""
        vars(self._module).update(self._replacements)
        try:
            yield
        finally:
            vars(self._module).update(self._originals)


def load(version: int) -> ctypes.CDLL:
    """cuBLAS of this version of CUDA, the one that is loaded already."""
    return ctypes.CDLL(('cublas64_{}.dll' if os.name == 'nt' else 'libcublas.so.{}').format(version))


def _multiply(name, function, handle, _, *arguments):
    *arguments, compute_type, algorithm = arguments
    _check(name, function(handle, *arguments, _COMPUTE_TYPES.get(compute_type, compute_type), algorithm))


def _check(name, status):
    if status:
        raise (MemoryError if status == _NO_MEMORY else RuntimeError)('{}: status {}'.format(name, status))
