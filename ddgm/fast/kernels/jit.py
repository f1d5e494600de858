"""How numba compiles ``loops.py`` and ``operations.py``: once for a processor, for all runs that have these sources."""

import hashlib
import os
import pathlib
import sys

import numba
from numba.core import event

from ddgm.support import files

_SOURCES = [pathlib.Path(__file__).parent / name for name in ('jit.py', 'loops.py', 'operations.py')]


def _cache():
    """A folder for what was compiled from these very sources, whose functions call each other.

    numba itself looks at one file to tell whether what it has compiled before is still good.
    """
    sources = b''.join(path.read_bytes() for path in _SOURCES if path.exists())
    return os.path.join(
        numba.config.CACHE_DIR or files.user_cache() / 'numba', hashlib.sha256(sources).hexdigest()[:12])


_CACHE = _cache()


def jit(function):
    """As ``numba.njit``, kept in the user's cache; in memory where nothing can be written."""
    options = {'nogil': True, 'error_model': 'numpy', 'fastmath': {'reassoc', 'contract', 'nsz', 'arcp'}}
    theirs = numba.config.CACHE_DIR  # NUMBA_CACHE_DIR; numba reads it when a function is made
    numba.config.CACHE_DIR = _CACHE
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # "cannot cache function"
        return numba.njit(**options)(function)
    finally:
        numba.config.CACHE_DIR = theirs


class _Told(event.Listener):
    """Says once in a process that numba compiles, which takes its time."""

    is_told = False

    def on_start(self, event):
        if not self.is_told and event.data['dispatcher'].py_func.__module__.startswith(__package__ + '.'):
            self.is_told = True
            print('numba compiles what this machine has not run yet: some seconds, once', file=sys.stderr, flush=True)

    def on_end(self, event):
        pass


event.register('numba:compile', _Told())
