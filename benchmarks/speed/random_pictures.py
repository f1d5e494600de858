"""Make a folder of random pictures, half JPEG, half PNG, to try large data with; the same ones from the same seed."""

import functools
import multiprocessing
import os
import pathlib

import numpy
from PIL import Image

from ddgm.runs import command_line, exit_status

IN_A_FOLDER = 10_000
_SMALLEST, _LARGEST = 64, 200  # pixels along a side


def make(folder, seed, number):
    """One picture: blurred colours under a little noise, as a file of some kilobytes."""
    rng = numpy.random.default_rng((seed, number))
    width, height = (int(side) for side in rng.integers(_SMALLEST, _LARGEST + 1, size=2))
    blurred = Image.fromarray(rng.integers(256, size=(6, 6, 3), dtype=numpy.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC)
    pixels = numpy.asarray(blurred) + rng.integers(-4, 5, size=(height, width, 1))
    picture = Image.fromarray(pixels.clip(0, 255).astype(numpy.uint8))
    path = pathlib.Path(folder) / '{:03}'.format(number // IN_A_FOLDER) / '{:06}.{}'.format(
        number, 'png' if number % 2 else 'jpg')
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **({} if number % 2 else {'quality': 90}))


def parse(arguments=None):
    parser = command_line.OneLineParser(
        prog='python -m benchmarks.speed.random_pictures', description=__doc__)
    parser.add_argument('folder', metavar='DIR', type=command_line.path_name, help='a new folder, or one to go on with')
    parser.add_argument(
        '-n', metavar='N', type=command_line.whole_number(1, 10 ** 7), default=100_000,
        help='pictures (default: 100,000)')
    parser.add_argument(
        '-s', '--seed', metavar='N', type=command_line.whole_setting('seed'), default=0, help='(default: 0)')
    return parser.parse_args(arguments)


def main(arguments=None):
    request = parse(arguments)
    with multiprocessing.get_context('spawn').Pool(os.cpu_count()) as pool:
        for _ in pool.imap_unordered(
                functools.partial(make, request.folder, request.seed), range(request.n), chunksize=200):
            pass
    print('{}: {:,} pictures'.format(request.folder, request.n))


if __name__ == '__main__':
    exit_status.run_script(main)
