#!/usr/bin/env python3
"""From which iteration on a run has other bits elsewhere, and write docs/results/rounding.json.

The same short runs are repeated with another number of threads, with the products that OpenBLAS has for another
processor, and with another NumPy, which is fetched.  Checksums of both models are compared after every iteration.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import ddgm  # noqa: E402, F401, I001  (before Chainer)
import chainer  # noqa: E402
import record  # noqa: E402
from ddgm import presets  # noqa: E402
from ddgm.runs.exit_status import run_script  # noqa: E402
from ddgm.studies import study  # noqa: E402
from ddgm.support.errors import RunFailed  # noqa: E402
from ddgm.support.files import checksum  # noqa: E402
from ddgm.support.serialization import arrays_of  # noqa: E402

RUNS = {  # what the table says of it, iterations, and what differs from the preset
    'gaussian_mixture': ('mixture, {} iterations', 400, {}),
    'mnist': ('digits, {} iterations', 20, {}),
    'images': ('icons at full width, batches of 16, {} iterations', 6, {'batchsize': 16}),
}
THREADS = '1'
OTHER_NUMPY = '1.26.4'  # the last one before 2
# OpenBLAS's name for processors with narrower vectors than those here, theirs, and those here.
NARROWER = {True: ('Haswell', 'AVX2', 'AVX-512'), False: ('Sandybridge', 'AVX', 'AVX2')}


def print_checksums(task, data):
    """One line an iteration, of the parameters and statistics of both models after it."""
    _, iterations, changes = RUNS[task]
    settings = study.settings_of(task, presets.default_preset(task), 0, iterations, **changes)
    draw_data = study.open_data(task, data, settings)
    with numpy.errstate(all='ignore'), chainer.using_config('type_check', False):
        for state in study.states(task, settings, draw_data, range(1, iterations + 1)):
            print(*(checksum(arrays_of(model)).tobytes().hex() for model in state.models), flush=True)


def checksums(task, data, **environment):
    """The lines of :func:`print_checksums` in a process of its own."""
    flags = [word for name, folder in data.items() for word in ('--' + name, folder)]
    ended = subprocess.run(
        [sys.executable, __file__, '--of', task, *flags], stdout=subprocess.PIPE, text=True,
        env={**os.environ, 'OMP_NUM_THREADS': THREADS, **environment})
    if ended.returncode:
        raise RunFailed('{} failed with {}'.format(task, environment))
    return ended.stdout.splitlines()


def verdict(first, second):
    for iteration, (one, other) in enumerate(zip(first, second), 1):
        if one != other:
            return 'differ from iteration {} on'.format(iteration)
    return 'the same bits'


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', metavar='DIR', required=True, help='folder of the icons')
    parser.add_argument('--mnist', metavar='DIR', default='data/mnist', help='folder of the four IDX files')
    parser.add_argument('--of', metavar='TASK', choices=RUNS, help='only print the checksums of one run')
    given = parser.parse_args()
    data = {'mnist': given.mnist, 'images': given.images}
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
