"""Measure what several processes on one machine cost and win, and write docs/results/processes.json.

The same scripts are run in turn: one process of two threads, two of one thread with the same batch, and two with twice
the batch beside one.  It needs mpi4py, an MPI, two idle cores and a quarter of an hour.
"""

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

from benchmarks import ROOT
from benchmarks.results import record
from ddgm.runs.command_line import OneLineParser, path_name
from ddgm.runs.exit_status import run_script
from ddgm.support.errors import counted


def main():
    parser = OneLineParser(prog='python -m benchmarks.speed.processes', description=__doc__)
    parser.add_argument('--images', metavar='DIR', type=path_name, required=True, help='a folder of pictures')
    parser.add_argument('--mnist', metavar='DIR', type=path_name, default='data/mnist', help='the four IDX files')
    parser.add_argument('--rounds', type=int, default=5)
    given = parser.parse_args()
    images, digits = ['images', '--data', given.images], ['mnist', '--data', given.mnist]
    cases = [  # name, script and flags, iterations, batch of one process and of two, threads of the one
        ('64×64 pictures at full width, 32', images, 8, 32, 32, 2),
        ('MNIST, 100', digits, 100, 100, 100, 2),
        ('64×64 pictures at full width, 64 a process', images, 5, 64, 128, 1),
    ]
    rows = []
    for name, script, iterations, one, two, threads in cases:
        alone, several = [], []
        for _ in range(given.rounds):
            alone.append(step(script, iterations, one, 1, threads))
            several.append(step(script, iterations, two, 2, 1))
            print('{}: {:.1f} ms, {:.1f} ms'.format(name, alone[-1], several[-1]), flush=True)
        ratios = [b / a for a, b in zip(alone, several)]
        rows.append([
            name, '1 of ' + counted(threads, 'thread'), statistics.median(alone), statistics.median(several),
            {'value': statistics.median(ratios), 'from': min(ratios), 'to': max(ratios)}])
    record.write('processes', {'step': {
        'columns': ['case', 'one process', 'one, ms', 'two of one thread, ms', 'two over one (all rounds)'],
        'rows': rows}}, packages=('Chainer', 'NumPy', 'mpi4py'))


def step(script, iterations, batchsize, n, threads):
    """Milliseconds of an iteration, the median of a run, of one process with so many threads or of n that share all."""
    task, *flags = script
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / 'train_{}.py'.format(task)), *flags, '-b', str(batchsize),
                   '-n', str(iterations + 2), '--log_interval', '1', '--snapshot_interval', '0',
                   '--figure_interval', '0', '-o', os.path.join(folder, 'run')]
        if n > 1:
            mpiexec = shutil.which('mpiexec', path=os.pathsep.join([
                os.path.dirname(sys.executable), os.environ['PATH']]))
            command = [mpiexec, '-n', str(n), *command, '--communicator', 'naive']
        environment = {**os.environ, 'OMP_NUM_THREADS': str(threads)}
        if n > 1:  # ranks share the cores by themselves, which is measured as well
            del environment['OMP_NUM_THREADS']
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for line in process.stdout:  # what comes after training is not measured
            if line.startswith('Trained'):
                process.terminate()
        process.wait()
        log = json.loads(pathlib.Path(folder, 'run', 'log').read_text())
    times = [entry['elapsed_time'] for entry in log]
    return 1000 * statistics.median([b - a for a, b in zip(times[1:], times[2:])])


if __name__ == '__main__':
    run_script(main)
