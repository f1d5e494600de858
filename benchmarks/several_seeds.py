"""What the benchmarks of several seeds share: their flags, runs side by side, and what they make of real data."""

import concurrent.futures
import pathlib

from ddgm.runs.command_line import as_path, whole_number
from ddgm.support.tables import rounded


def add_flags(parser, out, seeds=3, smallest=1):
    """--seeds, --jobs and --out of an argument parser; ``out`` and ``seeds`` are the defaults."""
    parser.add_argument(
        '--seeds', type=whole_number(smallest), default=seeds, metavar='N',
        help='seeds 0 to N − 1 (default: %(default)s)')
    parser.add_argument(
        '--jobs', type=whole_number(1), default=2, metavar='N', help='runs at a time (default: %(default)s)')
    parser.add_argument('--out', type=as_path, default=pathlib.Path(out), metavar='DIR')


def side_by_side(run, due, jobs):
    """Of each of ``due`` what ``run`` makes of it, ``jobs`` at a time: a dict.

    ``due`` are tuples of arguments, the seed the last; each is told of when it ends.
    """
    found = {}
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(run, *each): each for each in due}
        for n, future in enumerate(concurrent.futures.as_completed(futures), 1):
            *names, seed = futures[future]
            found[futures[future]] = future.result()
            print('{} of {}: {}, seed {}'.format(n, len(due), ', '.join(names), seed), flush=True)
    return found


def without_rounding(value):
    """A number as tables have it, 0 where it is no more than the rounding of an integral."""
    return 0.0 if value is not None and abs(value) < 1e-9 else rounded(value)
