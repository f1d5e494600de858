"""Measure what many pictures and a long run cost, and write docs/results/large_data.json.

It makes a folder of random pictures if that is missing, some gigabytes with the caches: ten minutes or so.
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

import numpy

from benchmarks import ROOT
from benchmarks.results import record
from benchmarks.speed import random_pictures
from ddgm.runs import command_line, exit_status
from ddgm.support.tables import rounded

FEW, MANY, CELEBA = 10_000, 100_000, 202_599
SEARCHED_SAMPLES = 2_500
ENTRIES, FRAMES, SIDE = 1_000_000, 500_000, 332

START = '''
import sys, time
from ddgm.data.images import ImageFolder
start = time.perf_counter()
data = ImageFolder(sys.argv[1], cache=sys.argv[2])
print(time.perf_counter() - start)
'''
SCORE = '''
import sys, time
import ddgm, numpy
from ddgm.evaluation.images import Pictures
task = Pictures(sys.argv[1], cache=sys.argv[2])
x = numpy.random.default_rng(0).random(({}, 3, 64, 64), dtype=numpy.float32)
start = time.perf_counter()
task.score(x)
task.nearest_training(x[:50])
print(time.perf_counter() - start)
'''.format(SEARCHED_SAMPLES)
BATCH = '''
import sys, time
from ddgm.data.images import ImageFolder
from ddgm.support.randomness import generator
data = ImageFolder(sys.argv[1], cache=sys.argv[2])
start = time.perf_counter()
for i in range(200):
    data.sample(64, generator(0, i))
print((time.perf_counter() - start) / 200)
'''
RESUME = '''
import sys, time
import ddgm
from ddgm.runs.log import Log
log, last = Log(sys.argv[1]), int(sys.argv[2])
start = time.perf_counter()
log.count(last), log.keep(last)
print(time.perf_counter() - start)
'''
CURVES = '''
import sys, time
import ddgm
from ddgm.figures import plots
from ddgm.runs.log import Log, curves_of
start = time.perf_counter()
plots.draw_curves(sys.argv[2], curves_of(Log(sys.argv[1])))
print(time.perf_counter() - start)
'''
VIDEO = '''
import sys, time
import ddgm
from ddgm.figures import post
from ddgm.runs import command_line, run_folder
folder = run_folder.open_run(command_line.parse('images', '', [
    '--data', 'docs', '--out', sys.argv[1], '--figure_interval', '1', '--iterations', sys.argv[2]]))
start = time.perf_counter()
post.write_gif(sys.argv[1] + '.gif', folder.frames(int(sys.argv[2])))
print(time.perf_counter() - start)
'''


def private(process):
    """Bytes that belong to a process and its children alone, or that they share with one another only in part."""
    n, waiting = 0, [process]
    while waiting:
        number = waiting.pop()
        try:
            with open('/proc/{0}/task/{0}/children'.format(number)) as file:
                waiting += [int(child) for child in file.read().split()]
            with open('/proc/{}/smaps_rollup'.format(number)) as file:
                n += sum(1024 * int(line.split()[1]) for line in file if line.startswith('Private_Dirty:'))
        except OSError:  # it has ended
            continue
    return n


def measure(code, *arguments):
    """Seconds that a piece of code prints, and the most private memory of its process and their children, in MB."""
    with tempfile.TemporaryFile('w+') as out:
        process = subprocess.Popen(
            [sys.executable, '-c', code, *map(str, arguments)], cwd=ROOT, stdout=out)
        most = 0
        while process.poll() is None:
            most = max(most, private(process.pid))
            time.sleep(0.05)
        if process.returncode:
            raise SystemExit('a measurement ended with status {}'.format(process.returncode))
        out.seek(0)
        seconds = float(out.read().split()[-1])
    print('{:.3g} s, {:.0f} MB'.format(seconds, most / 1e6), flush=True)
    return seconds, most / 1e6


def write_log(path):
    """A log of so many entries, as a run writes it."""
    from ddgm.runs.log import QUANTITIES
    rng = numpy.random.default_rng(0)
    with open(path, 'w') as file:
        file.write('[\n')
        for first in range(0, ENTRIES, 1000):
            for i, values in enumerate(rng.normal(size=(1000, len(QUANTITIES))).tolist(), first + 1):
                entry = {'iteration': i, 'elapsed_time': i / 100, **dict(zip(QUANTITIES, values))}
                file.write(json.dumps(entry) + (',\n' if i < ENTRIES else '\n]\n'))


def write_frames(run):
    """A frame for each iteration; a hundred pictures by many names."""
    from ddgm.figures import post
    frames, rng = run / 'figures' / 'frames', numpy.random.default_rng(0)
    frames.mkdir(parents=True)
    pictures = []
    for i in range(100):
        pictures.append(run / '{}.png'.format(i))
        post.draw_small_grid(pictures[-1], rng.random((25, 3, 8, 8)).repeat(8, axis=2).repeat(8, axis=3), columns=5)
    for i, picture in zip(range(1, FRAMES + 1), itertools.cycle(pictures)):
        os.symlink(picture, frames / '{:09}.png'.format(i))


def measure_pictures(pictures, scratch):
    """Rows of the table of starts, and of that of ends."""
    cache, some = scratch / 'cache', scratch / 'some'
    first, first_memory = measure(START, pictures, cache)
    second, second_memory = measure(START, pictures, cache)
    batch, _ = measure(BATCH, pictures, cache)
    some.mkdir()
    for folder in sorted(path for path in pictures.iterdir() if path.is_dir())[:FEW // random_pictures.IN_A_FOLDER]:
        (some / folder.name).symlink_to(folder)
    few_first, few_first_memory = measure(START, some, cache)
    few_second, few_second_memory = measure(START, some, cache)
    few_batch, _ = measure(BATCH, some, cache)
    few_score, few_score_memory = measure(SCORE, some, cache)
    score, score_memory = measure(SCORE, pictures, cache)
    names = ['{:,} pictures'.format(FEW), '{:,} pictures'.format(MANY), '{:,} (CelebA), reckoned'.format(CELEBA)]
    starts = [
        ['first start, s', few_first, first, first * CELEBA / MANY],
        ['every other start, s', few_second, second, second * CELEBA / MANY],
        ['memory at the first, all processes, MB', few_first_memory, first_memory, None],
        ['memory at every other, MB', few_second_memory, second_memory, None],
        ['a batch of 64, ms', 1e3 * few_batch, 1e3 * batch, None],
        ['scoring 2,500 samples, s', few_score, score, score + (CELEBA / MANY - 1) * (score - few_score)],
        ['memory of scoring, MB', few_score_memory, score_memory, None]]
    return {'columns': ['what', *names], 'rows': [[what, *rounded(figures)] for what, *figures in starts]}


def measure_run(scratch):
    """Rows of the table of long runs."""
    write_log(scratch / 'log')
    rows = []
    for what, code, arguments in (
            ('`--resume` looks at the log', RESUME, (scratch / 'log', ENTRIES)),
            ('the same, where it is longer than the snapshot', RESUME, (scratch / 'log', ENTRIES - 1)),
            ('the curves', CURVES, (scratch / 'log', scratch / 'curves.png'))):
        rows.append(['{:,} entries: {}'.format(ENTRIES, what), *rounded(measure(code, *arguments))])
    write_frames(scratch / 'run')
    rows.append(['{:,} frames: the video'.format(FRAMES), *rounded(measure(VIDEO, scratch / 'run', FRAMES))])
    return {'columns': ['what', 's', 'MB'], 'rows': rows}


def main():
    parser = command_line.OneLineParser(prog='python -m benchmarks.speed.large_data', description=__doc__)
    parser.add_argument(
        '--pictures', metavar='DIR', type=command_line.as_path, default='data/random_pictures',
        help='made if missing (default: %(default)s)')
    parser.add_argument(
        '--scratch', metavar='DIR', type=command_line.as_path, default='data/large_data',
        help='a new folder for what is measured, removed afterwards (default: %(default)s)')
    request = parser.parse_args()
    pictures, scratch = request.pictures.absolute(), request.scratch.absolute()
    if not pictures.exists():
        random_pictures.main([str(pictures), '-n', str(MANY)])
    scratch.mkdir(parents=True)
    try:
        tables = {'pictures': measure_pictures(pictures, scratch), 'runs': measure_run(scratch)}
    finally:
        shutil.rmtree(scratch)
    record.write('large_data', tables, packages=('Chainer', 'NumPy', 'Pillow'), command='make large-data')


if __name__ == '__main__':
    exit_status.run_script(main)
