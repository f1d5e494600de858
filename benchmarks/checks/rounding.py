"""From which iteration on a run has other bits elsewhere, and write docs/results/rounding.json.

The same short runs are repeated with another number of threads, with the products that OpenBLAS has for another
processor, and with another NumPy, which is fetched.  Checksums of both models are compared after every iteration.
"""

import dataclasses
import functools
import os
import pathlib
import subprocess
import sys
import tempfile

import chainer
import numpy

from benchmarks import ROOT
from benchmarks.results import record
from ddgm import presets
from ddgm.evaluation import tasks
from ddgm.runs import training_state
from ddgm.runs.command_line import OneLineParser, path_name
from ddgm.runs.exit_status import run_script
from ddgm.support.errors import RunFailed
from ddgm.support.files import checksum
from ddgm.support.serialization import arrays_of

RUNS = {  # what the table says of it, iterations, and what differs from the preset
    'gaussian_mixture': ('mixture, {} iterations', 400, {}),
    'mnist': ('digits, {} iterations', 20, {}),
    'images': ('icons at full width, batches of 16, {} iterations', 6, {'batchsize': 16}),
}
THREADS = '1'
OTHER_NUMPY = '1.26.4'  # the last one before 2
# OpenBLAS's name for processors with narrower vectors than those here, theirs, and those here.
NARROWER = {True: ('Haswell', 'AVX2', 'AVX-512'), False: ('Sandybridge', 'AVX', 'AVX2')}


def print_checksums(task, data, seed=0):
    """One line an iteration, of the parameters and statistics of both models after it."""
    _, iterations, changes = RUNS[task]
    settings = dataclasses.replace(
        presets.PRESETS[task][tasks.find(task).default_preset].settings, seed=seed, iterations=iterations, **changes)
    draw_data = tasks.open_task(task, data.get(task), settings).draw_data
    state = training_state.build_state(
        settings, functools.partial(tasks.build_models, task), draw_data, chainer.get_device('@numpy'))
    with numpy.errstate(all='ignore'), chainer.using_config('type_check', False):
        for _ in training_state.iterations_of(state, draw_data, settings):
            print(*(checksum(arrays_of(model)).tobytes().hex() for model in state.models), flush=True)


def checksums(task, data, **environment):
    """The lines of :func:`print_checksums` in a process of its own."""
    flags = [word for name, folder in data.items() for word in ('--' + name, folder)]
    ended = subprocess.run(
        [sys.executable, '-m', 'benchmarks.checks.rounding', '--of', task, *flags], cwd=ROOT, stdout=subprocess.PIPE,
        text=True, env={**os.environ, 'OMP_NUM_THREADS': THREADS, **environment})
    if ended.returncode:
        raise RunFailed('{} failed with {}'.format(task, environment))
    return ended.stdout.splitlines()


def verdict(first, second):
    for iteration, (one, other) in enumerate(zip(first, second), 1):
        if one != other:
            return 'differ from iteration {} on'.format(iteration)
    return 'the same bits'


def main():
    parser = OneLineParser(prog='python -m benchmarks.checks.rounding', description=__doc__)
    parser.add_argument('--images', metavar='DIR', type=path_name, required=True, help='folder of the icons')
    parser.add_argument('--mnist', metavar='DIR', type=path_name, default='data/mnist', help='the four IDX files')
    parser.add_argument('--of', metavar='TASK', choices=RUNS, help='only print the checksums of one run')
    given = parser.parse_args()
    data = {'mnist': os.path.abspath(given.mnist), 'images': os.path.abspath(given.images)}
    if given.of:
        print_checksums(given.of, data)
        return
    core, *kinds = NARROWER['avx512f' in pathlib.Path('/proc/cpuinfo').read_text(encoding='utf-8')]
    with tempfile.TemporaryDirectory() as folder:
        fetched = subprocess.run([
            sys.executable, '-m', 'pip', 'install', '-q', '--only-binary', 'numpy', '--target', folder,
            'numpy=={}'.format(OTHER_NUMPY)])
        if fetched.returncode:
            raise RunFailed('NumPy {} can\'t be installed for this Python: take 3.9 to 3.12'.format(OTHER_NUMPY))
        others = {
            'nothing': {},
            '`OMP_NUM_THREADS`, 2 instead of {}'.format(THREADS): {'OMP_NUM_THREADS': '2'},
            'processor (OpenBLAS\'s products for {} instead of {})'.format(*kinds): {'OPENBLAS_CORETYPE': core},
            'NumPy {} instead of {}'.format(OTHER_NUMPY, numpy.__version__): {'PYTHONPATH': folder},
        }
        heads, rows = ['what is another'], {name: [name] for name in others}
        for task, (head, iterations, _) in RUNS.items():
            heads.append(head.format(iterations))
            here = checksums(task, data)
            for name, environment in others.items():
                found = verdict(here, checksums(task, data, **environment))
                rows[name].append(found)
                print('{}; {}: {}'.format(heads[-1], name, found), flush=True)
    record.write('rounding', {'same_bits': {'columns': heads, 'rows': [*rows.values()]}}, seeds=[0])


if __name__ == '__main__':
    run_script(main)
