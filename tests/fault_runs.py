"""Runs that faults happen to: real processes, forked from one that has imported everything, so that they start at once.

Imported by the process that forks (see ``multiprocessing``'s forkserver), which is why it imports so much.
"""

import contextlib
import copy
import dataclasses
import functools
import importlib
import multiprocessing
import os
import resource
import signal
import sys

import ddgm  # noqa: F401  (before Chainer)

import matplotlib.backends.backend_agg  # noqa: F401, isort: skip
import train_gaussian_mixture  # noqa: F401
import train_images  # noqa: F401
import train_mnist  # noqa: F401
import train_swiss_roll  # noqa: F401
from ddgm.compare import comparison  # noqa: F401
from ddgm.runs import execution, exit_status  # noqa: F401

_context = multiprocessing.get_context('forkserver')
_context.set_forkserver_preload(['fault_runs'])


class Outcome:
    """How a process ended: its exit ``status``, negative for a signal, and what it wrote on ``stdout``, ``stderr``."""

    def __init__(self, status, stdout, stderr):
        self.status, self.stdout, self.stderr = status, stdout, stderr


def start(function, *arguments):
    """A process that calls a function."""
    process = _context.Process(target=function, args=arguments)
    process.start()
    return process


def start_run(folder, task, *arguments, fault=None):
    """A training script's process.

    Args:
        folder (pathlib.Path): Where its output goes, as ``stdout`` and ``stderr``, beside the run folder ``run``.
        task (str), arguments: The script and its flags.
        fault: A pair of a function of this module and its argument, called before the script.
    """
    return start(_run, str(folder), task, [*map(str, arguments), '-o', str(folder / 'run')], fault)


def finish(process, folder):
    """Wait for what :func:`start_run` gave: its :class:`Outcome`."""
    process.join(300)
    assert process.exitcode is not None, 'it hangs'
    return Outcome(process.exitcode, *((folder / name).read_text() for name in ('stdout', 'stderr')))


def run_script(folder, task, *arguments, fault=None):
    """Run a training script to its end: its :class:`Outcome`."""
    return finish(start_run(folder, task, *arguments, fault=fault), folder)


def _run(folder, task, arguments, fault):
    with contextlib.ExitStack() as stack:
        for name in ('stdout', 'stderr'):
            file = stack.enter_context(open(os.path.join(folder, name), 'w'))
            os.dup2(file.fileno(), getattr(sys, name).fileno())
        if fault:
            function, argument = fault
            function(argument)
        sys.argv = ['train_{}.py'.format(task), *arguments]
        execution.execute = functools.partial(_execute_without_metrics, execution.execute)
        module = importlib.import_module('train_' + task)
        exit_status.run_script(lambda: module.main(arguments))


def _execute_without_metrics(execute, folder, experiment):
    """``execute`` with a mean in place of metrics and without pictures, which would take most of the time."""
    task = copy.copy(experiment.task)
    task.score = lambda x, *others: {'mean': float(x.mean())}
    task.real_data = lambda n: None
    execute(folder, dataclasses.replace(experiment, task=task, draw_figures=lambda *arguments: None))


# ---- faults

def limit_file_size(n_bytes):
    """No file may grow larger, as on a disk that is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))


def kill_at(place):
    """SIGKILL just before the n-th time that a file of a folder is opened, renamed or removed; a pair of both."""
    folder, n = place
    left = [n]

    def audit(event, arguments):
        if event in ('open', 'os.rename', 'os.remove') and str(arguments[0]).startswith(folder):
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(audit)
