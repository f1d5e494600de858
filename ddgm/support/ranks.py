"""What a process may know before NumPy is imported: its cores and memory; its rank, and how many share its machine."""

from __future__ import annotations

import contextlib
import os
import sys

FLAG = '--communicator'
_RANKS = 'PMI_RANK', 'OMPI_COMM_WORLD_RANK', 'PMIX_RANK'
_SIZES = 'PMI_SIZE', 'OMPI_COMM_WORLD_SIZE'
_COUNTS = 'MPI_LOCALNRANKS', 'OMPI_COMM_WORLD_LOCAL_SIZE'


def rank() -> int | None:
    """The number of this process among those that were started together for one run, or ``None``."""
    if not any(argument.split('=')[0] == FLAG for argument in sys.argv):
        return None  # others that were started together may be runs of their own
    return _first_number(_RANKS)


def number_and_size() -> tuple[int, int]:
    """The number of this process among those that mpiexec started together, whatever for, and how many these are."""
    return _first_number(_RANKS) or 0, _first_number(_SIZES) or 1


def share_cores() -> None:
    """Let the ranks of one machine share its cores evenly, unless the user has said how many threads there are.

    OpenBLAS reads the variable once, when NumPy is imported.
    """
    if rank() is not None:
        os.environ.setdefault('OMP_NUM_THREADS', str(max(1, n_cores() // (_first_number(_COUNTS) or 1))))


def load_of_others() -> float | None:
    """How many processes want a core at a time, on average over a minute, where that is more than there are cores."""
    load = os.getloadavg()[0] if hasattr(os, 'getloadavg') else 0
    return load if load > n_cores() else None


def n_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def free_memory() -> int | None:
    """Bytes that programs can still have, or, where the system does not tell, all there are; ``None``: not known."""
    with contextlib.suppress(OSError), open('/proc/meminfo', encoding='ascii') as file:
        for line in file:
            if line.startswith('MemAvailable:'):
                return 1024 * int(line.split()[1])
    with contextlib.suppress(AttributeError, ValueError):  # Windows
        return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    return None


def _first_number(names):
    return next((int(os.environ[name]) for name in names if os.environ.get(name, '').isdigit()), None)
