"""Processes that decode pictures side by side, on all cores.

They are Python interpreters of their own with a pipe to and from each, and import :mod:`ddgm.data.decoding` alone.
:mod:`multiprocessing` would import the user's script anew in each of them, whether or not it expects that.  A process
ends when its pipe does, however the one that started it ends, and Ctrl-C does not reach it.
"""

import collections
import concurrent.futures
import contextlib
import os
import pickle
import queue
import subprocess
import sys

from ddgm.data import decoding

_MOST = 16  # processes: the one that joins what they have decoded is not faster than these
_AHEAD = 3  # chunks for each process that are decoded or wait for their turn

_START = 'import sys; sys.path[:] = {!r}; from ddgm.data import decoders; decoders.serve()'


def n_cores():
    """How many processes can work at once."""
    n = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    return min(n, _MOST)


def decoded(chunks, n_processes=None):
    """Decode chunks in their order: yields each with a list of what its pictures come to.

    What a picture comes to does not depend on the number of processes.  To be closed where it is not read to its end.

    Args:
        chunks: An iterable of pairs: anything, and a list of paths and bytes; see :func:`ddgm.data.decoding.outcome`.
        n_processes (int): 0: all is done in this process; ``None``: as many as there are cores.
    """
    n_processes = n_cores() if n_processes is None else n_processes
    if not (n_processes and sys.executable):  # a program that Python is a part of has no interpreter
        with decoding.pillow_quiet():
            for chunk, sources in chunks:
                yield chunk, _outcomes(sources)
        return
    with decoding.pillow_quiet(), _Decoders(n_processes) as decoders:
        waiting = collections.deque()
        for chunk, sources in chunks:
            waiting.append((chunk, decoders.submit(sources)))
            if len(waiting) >= _AHEAD * n_processes:
                chunk, future = waiting.popleft()
                yield chunk, future.result()
        for chunk, future in waiting:
            yield chunk, future.result()


class _Decoders:
    """Some processes, each fed by a thread of its own."""

    def __init__(self, n):
        self._processes = [_start() for _ in range(n)]
        self._idle = queue.SimpleQueue()
        for process in self._processes:
            self._idle.put(process)
        self._threads = concurrent.futures.ThreadPoolExecutor(n, thread_name_prefix='decoders')
        self._is_closed = False

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._is_closed = True
        for process in self._processes:
            process.kill()
        self._threads.shutdown()
        for process in self._processes:
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):  # what is left to be written can't be any more
                    pipe.close()
            process.wait()

    def submit(self, sources):
        return self._threads.submit(self._decode, sources)

    def _decode(self, sources):
        if not sources or self._is_closed:
            return []
        process = self._idle.get()
        try:
            if process.poll() is not None:
                return _outcomes(sources)
            pickle.dump(sources, process.stdin, pickle.HIGHEST_PROTOCOL)
            process.stdin.flush()
            return pickle.load(process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError):
            if self._is_closed:
                return []
            process.kill()
            print('A process that decodes pictures has ended ({}): this one does its work'.format(
                _exit_of(process)), flush=True)
            return _outcomes(sources)
        finally:
            self._idle.put(process)


def _exit_of(process):
    status = process.wait()
    return 'signal {}'.format(-status) if status < 0 else 'exit status {}'.format(status)


def _start():
    # A process group of its own: Ctrl-C in a terminal is for this process alone, which then ends those.
    apart = {'start_new_session': True} if os.name == 'posix' else {
        'creationflags': subprocess.CREATE_NEW_PROCESS_GROUP}
    return subprocess.Popen(
        [sys.executable, '-c', _START.format(sys.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, 'OMP_NUM_THREADS': '1'}, **apart)


def serve():
    """What one of the processes does: decode the lists of pictures that come, until none comes any more."""
    received, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), 'wb')
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a decoder may print is no answer
    with decoding.pillow_quiet(), contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            sources = pickle.load(received)
            pickle.dump(_outcomes(sources), answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()
    os._exit(0)  # what nobody reads any more would be tried once more, and told of


def _outcomes(sources):
    return [decoding.outcome(source) for source in sources]
