"""Measure what many pictures and a long run cost, and write docs/results/large_data.json.

It makes a folder of random pictures if that is missing, some gigabytes with the caches: ten minutes or so.
"""

import functools
import itertools
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time

import numpy
from PIL import Image

from benchmarks import ROOT
from benchmarks.results import record
from ddgm.runs import command_line, exit_status
from ddgm.support.tables import rounded

FEW, MANY, CELEBA = 10_000, 100_000, 202_599
IN_A_FOLDER = 10_000
SMALLEST, LARGEST = 64, 200  # pixels along a side of a picture
SEARCHED_SAMPLES = 2_500
ENTRIES, FRAMES, SIDE = 1_000_000, 500_000, 332

# Of each measurement what comes before, and what is timed, in a process of its own; ``given`` are its arguments.
PIECES = {
    'start': ('from ddgm.data.image_folder import ImageFolder', 'ImageFolder(given[0], cache=given[1])'),
    'batch': ('''
from ddgm.data.image_folder import ImageFolder
from ddgm.training import random_generator
data = ImageFolder(given[0], cache=given[1])''', 'for i in range(200): data.sample(64, random_generator(0, i))'),
    'score': ('''
import ddgm, numpy
from ddgm.evaluation.pictures import Pictures
task = Pictures(given[0], cache=given[1])
x = numpy.random.default_rng(0).random(({}, 3, 64, 64), dtype=numpy.float32)'''.format(SEARCHED_SAMPLES), '''
task.score(x)
task.nearest_training(x[:50])'''),
    'resume': ('''
import ddgm
from ddgm.runs.log import Log
log, last = Log(given[0]), int(given[1])''', 'log.count(last), log.keep(last)'),
    'curves': ('''
import ddgm
from ddgm.figures import plots
from ddgm.runs.log import Log, curves_of''', 'plots.draw_curves(given[1], curves_of(Log(given[0])))'),
    'video': ('''
import ddgm
from ddgm.figures import post
from ddgm.runs import command_line, run_folder
request = command_line.parse('images', '', [
    '--data', 'docs', '--out', given[0], '--figure_interval', '1', '--iterations', given[1]])
folder = run_folder.RunFolder(request.out, 'images', 'post', request.settings(), '@numpy')''',
              "post.write_gif(given[0] + '.gif', folder.frames(int(given[1])))"),
}
TIMED = (
    'import sys, time\ngiven = sys.argv[1:]\n{}\n'
    'start = time.perf_counter()\n{}\nprint(time.perf_counter() - start)')


def make_picture(folder, number):
    """One random picture: blurred colours under a little noise, as a file of some kilobytes, JPEG or PNG by turns."""
    rng = numpy.random.default_rng((0, number))
    width, height = (int(side) for side in rng.integers(SMALLEST, LARGEST + 1, size=2))
    blurred = Image.fromarray(rng.integers(256, size=(6, 6, 3), dtype=numpy.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC)
    pixels = numpy.asarray(blurred) + rng.integers(-4, 5, size=(height, width, 1))
    picture = Image.fromarray(pixels.clip(0, 255).astype(numpy.uint8))
    path = folder / '{:03}'.format(number // IN_A_FOLDER) / '{:06}.{}'.format(number, 'png' if number % 2 else 'jpg')
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **({} if number % 2 else {'quality': 90}))


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


def measure(piece, *arguments):
    """Seconds that one of ``PIECES`` takes, and the most private memory of its process and their children, in MB."""
    with tempfile.TemporaryFile('w+') as out:
        process = subprocess.Popen(
            [sys.executable, '-c', TIMED.format(*PIECES[piece]), *map(str, arguments)], cwd=ROOT, stdout=out)
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
    """The table of pictures: of few, of many, and what follows for CelebA where it grows with their number."""
    some = scratch / 'some'
    some.mkdir()
    for folder in sorted(path for path in pictures.iterdir() if path.is_dir())[:FEW // IN_A_FOLDER]:
        (some / folder.name).symlink_to(folder)
    many, few = (
        [measure(piece, folder, scratch / 'cache') for piece in ('start', 'start', 'batch', 'score')]
        for folder in (pictures, some))

    def row(what, i, kind, reckon=lambda few, many: None, factor=1):
        few_cell, many_cell = factor * few[i][kind], factor * many[i][kind]
        return [what, *rounded([few_cell, many_cell, reckon(few_cell, many_cell)])]

    def in_proportion(few, many):
        return many * CELEBA / MANY
    return {
        'columns': ['what', '{:,} pictures'.format(FEW), '{:,} pictures'.format(MANY),
                    '{:,} (CelebA), reckoned'.format(CELEBA)],
        'rows': [
            row('first start, s', 0, 0, in_proportion),
            row('every other start, s', 1, 0, in_proportion),
            row('memory at the first, all processes, MB', 0, 1),
            row('memory at every other, MB', 1, 1),
            row('a batch of 64, ms', 2, 0, factor=1e3 / 200),
            row('scoring 2,500 samples, s', 3, 0, lambda few, many: many + (CELEBA / MANY - 1) * (many - few)),
            row('memory of scoring, MB', 3, 1)]}


def measure_run(scratch):
    """Rows of the table of long runs."""
    write_log(scratch / 'log')
    rows = []
    for what, piece, arguments in (
            ('`--resume` looks at the log', 'resume', (scratch / 'log', ENTRIES)),
            ('the same, where it is longer than the snapshot', 'resume', (scratch / 'log', ENTRIES - 1)),
            ('the curves', 'curves', (scratch / 'log', scratch / 'curves.png'))):
        rows.append(['{:,} entries: {}'.format(ENTRIES, what), *rounded(measure(piece, *arguments))])
    write_frames(scratch / 'run')
    rows.append(['{:,} frames: the video'.format(FRAMES), *rounded(measure('video', scratch / 'run', FRAMES))])
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
        with multiprocessing.get_context('spawn').Pool(os.cpu_count()) as pool:
            pool.map(functools.partial(make_picture, pictures), range(MANY), chunksize=200)
    scratch.mkdir(parents=True)
    try:
        tables = {'pictures': measure_pictures(pictures, scratch), 'runs': measure_run(scratch)}
    finally:
        shutil.rmtree(scratch)
    record.write('large_data', tables, packages=('Chainer', 'NumPy', 'Pillow'), command='make large-data')


if __name__ == '__main__':
    exit_status.run_script(main)
