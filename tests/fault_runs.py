"""Runs without scores and pictures, and faults that happen to them.

They are real processes, forked from one that has imported everything, so that they start at once.  That one imports
this module (see ``multiprocessing``'s forkserver), which is why it imports so much.
"""

import copy
import dataclasses
import functools
import importlib
import multiprocessing
import os
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile
from multiprocessing import forkserver
from unittest import mock

import ddgm  # noqa: F401  (before Chainer)

import matplotlib.backends.backend_agg  # noqa: F401, isort: skip
import train_gaussian_mixture  # noqa: F401
import train_images  # noqa: F401
import train_mnist  # noqa: F401
import train_swiss_roll  # noqa: F401
from ddgm.compare import comparison  # noqa: F401
from ddgm.data import distributions
from ddgm.figures import plots, post
from ddgm.runs import execution, exit_status, training_state

_context = multiprocessing.get_context('forkserver')
_context.set_forkserver_preload(['fault_runs'])
_N_SCORED = 100  # samples


@functools.lru_cache(None)
def _start_server():
    """The process that forks; before Python 3.12 it is not told where modules are, and silently imports nothing."""
    before = os.environ.get('PYTHONPATH')
    os.environ['PYTHONPATH'] = os.pathsep.join(filter(None, sys.path))
    try:
        forkserver.ensure_running()
    finally:
        del os.environ['PYTHONPATH']
        if before is not None:
            os.environ['PYTHONPATH'] = before


def start(function, *arguments):
    """A process that calls a function."""
    _start_server()
    process = _context.Process(target=function, args=arguments)
    process.start()
    return process


def start_script(folder, output, task, *arguments, fault=None):
    """A training script's process.

    Args:
        folder (pathlib.Path), output (pathlib.Path): Where it is started; where its ``stdout`` and ``stderr`` go.
        task (str), arguments: The script and its flags.
        fault: A pair of a function of this module and its argument, called before the script.
    """
    return start(_run, str(folder), str(output), task, [*map(str, arguments)], fault)


def finish(process, output):
    """Wait for what :func:`start_script` gave: how it ended, as :func:`subprocess.run` says it."""
    process.join(300)
    assert process.exitcode is not None, 'it hangs'
    return subprocess.CompletedProcess(
        None, process.exitcode, *((output / name).read_text() for name in ('stdout', 'stderr')))


def run_script_in(folder, task, *arguments, fault=None):
    """Run a training script to its end."""
    with tempfile.TemporaryDirectory() as output:
        output = pathlib.Path(output)
        return finish(start_script(folder, output, task, *arguments, fault=fault), output)


def _run(folder, output, task, arguments, fault):
    os.chdir(folder)
    for name in ('stdout', 'stderr'):
        descriptor = os.open(os.path.join(output, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(descriptor, getattr(sys, name).fileno())
        os.close(descriptor)
    if fault:
        function, argument = fault
        function(argument)
    sys.argv = ['train_{}.py'.format(task), *arguments]
    execution.N_SCORED = training_state.N_SCORED = _N_SCORED
    module = importlib.import_module('train_' + task)
    with without_scores():
        exit_status.run_script(lambda: module.main(arguments))


def without_scores():
    """A context in which runs have a mean in place of metrics, and of pictures only frames, of numbers as grey levels.

    The others would take most of the time.
    """
    return mock.patch.object(execution, 'execute', functools.partial(_execute_quickly, execution.execute))


def _execute_quickly(execute, folder, experiment):
    task = copy.copy(experiment.task)
    task.score = lambda x, *others: {'mean': float(x.mean())}
    task.real_data = lambda n: None
    with mock.patch.object(plots, 'draw_curves'):
        execute(folder, dataclasses.replace(
            experiment, task=task, draw_figures=lambda *arguments: None, draw_scored=None,
            draw_frame=lambda path, x: post.draw_small_grid(path, x.reshape(1, len(x), -1) / 8 + 0.5, 1)))


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


def break_data(place):
    """From the n-th batch of a size on, the points of the plane are infinite; a pair of the size and n."""
    batchsize, n = place
    left = [n]

    def broken(sample):
        def sample_until_broken(self, n, rng):
            left[0] -= n == batchsize
            return sample(self, n, rng) * (1 if left[0] > 0 else float('inf'))
        return sample_until_broken
    for data in (distributions.GaussianMixture, distributions.SwissRoll):
        data.sample = broken(data.sample)
