"""The process that a side lives in, and the handle by which the command asks it for something.

A process of its own gives each side its own libraries, threads and memory.  It is idle but while it is asked: both ends
wait for each other.
"""

import contextlib
import math
import os
import pickle
import subprocess
import sys
import time
import traceback

from benchmarks import ROOT
from benchmarks.speed.sides import NotMeasured, build

# ---- the command's end

class WorkerFailed(Exception):
    """A side stopped with an error, which its process has written to standard error."""


class Worker:
    """A side in a process of its own.

    Args:
        name (str): A key of ``benchmarks.speed.sides.SIDES``.
        case (benchmarks.speed.sides.case.Case): What it computes.
        folder (pathlib.Path): Of the case's files.
        variables (str): More of its environment, by name.

    Raises:
        NotMeasured: It can't run here.
    """

    def __init__(self, name, case, folder, **variables):
        self.name = name
        threads = {
            name: str(case.threads) for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS')}
        # What importing ddgm set for this process is not the other sides'; this project's sets it again.
        others = {name: value for name, value in os.environ.items() if name != 'OPENBLAS_THREAD_TIMEOUT'}
        self.process = subprocess.Popen(
            [sys.executable, '-m', 'benchmarks.speed.sides.worker'], cwd=ROOT, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env={**others, **threads, **variables})
        try:
            self.notes = self._exchange((name, case, folder))
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        """End the process."""
        self.process.kill()
        self.process.communicate()

    def losses(self, iterations):
        """The losses of the first iterations from the common weights, data, z and noise: a list of lists."""
        return self._exchange(('losses', iterations))

    def turn(self, warm_up, steps):
        """Seconds of each of some steps, after others that are not timed."""
        return self._exchange(('turn', warm_up, steps))

    def forget_peak_memory(self):
        """Let the peak begin anew, so that trials and the check's noise don't count; only Linux can."""
        self._exchange(('forget_peak_memory',))

    def peak_memory(self):
        """Bytes: of the process, its libraries included, and of the GPU or ``None``."""
        return self._exchange(('peak_memory',))

    def work(self):
        """What a step does, of a side that is part of the floor."""
        return self._exchange(('work',))

    def _exchange(self, request):
        try:
            pickle.dump(request, self.process.stdin)
            self.process.stdin.flush()
            kind, answer = pickle.load(self.process.stdout)
        except (OSError, EOFError) as error:
            raise WorkerFailed('{}: its process ended with status {}'.format(
                self.name, self.process.wait())) from error
        if kind == 'error':
            raise answer
        return answer


# ---- the side's end

def serve(requests, answers):
    """Build a side and answer the requests of a :class:`Worker` until there are no more."""
    def answer(kind, content):
        pickle.dump((kind, content), answers)
        answers.flush()
    name, case, folder = pickle.load(requests)
    try:
        side = build(name, case, folder)
        answer('answer', side.notes)
        while True:
            try:
                request, *arguments = pickle.load(requests)
            except EOFError:
                return
            answer('answer', ANSWERS[request](side, case, *arguments))
    except NotMeasured as error:
        answer('error', error)
    except Exception as error:
        traceback.print_exc()
        answer('error', WorkerFailed('{}: {}: {}'.format(name, type(error).__name__, error)))


def losses_of(side, case, iterations):
    """See :meth:`Worker.losses`."""
    from benchmarks.speed.sides.problem import draw  # only now NumPy, after what a side imports before it

    calls = side.noise_calls()
    with side.context():
        losses = [
            side.step(None if calls is None else draw(case, calls, iteration))
            for iteration in range(1, iterations + 1)]
    return losses


def turn_of(side, case, warm_up, steps):
    """See :meth:`Worker.turn`."""
    times = []
    with side.context():
        for i in range(warm_up + steps):
            start = time.perf_counter()
            losses = side.step()
            if i >= warm_up:
                times.append(time.perf_counter() - start)
    if not all(map(math.isfinite, losses)):
        raise ArithmeticError('a loss is not finite any more: {}'.format(losses))
    return times


def peak_memory_of(side, case):
    """See :meth:`Worker.peak_memory`."""
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == 'darwin' else 1024), side.device_memory()


def forget_peak_memory_of(side, case):
    """See :meth:`Worker.forget_peak_memory`."""
    with contextlib.suppress(OSError), open('/proc/self/clear_refs', 'w') as file:
        file.write('5')


def work_of(side, case):
    """See :meth:`Worker.work`."""
    return side.work


ANSWERS = {
    'losses': losses_of, 'turn': turn_of, 'forget_peak_memory': forget_peak_memory_of, 'peak_memory': peak_memory_of,
    'work': work_of}


if __name__ == '__main__':
    # What a library prints goes to standard error, since standard output is the way back.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), 'wb')
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    from benchmarks.speed.sides import worker  # as the command knows it, so that its exceptions are the same
    worker.serve(sys.stdin.buffer, answers)
