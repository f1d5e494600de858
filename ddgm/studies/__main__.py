"""Answer one of the questions that the post left open, by experiments of several seeds.

Prints tables and draws pictures into a folder of its own in that of --out.  What was measured before, with the same
data, settings and code, is not measured again, nor trained again what another study trained there; so a study that was
interrupted goes on where it was.
"""

import argparse
import contextlib
import importlib
import importlib.util
import os
import pathlib
import pkgutil

from ddgm.runs import command_line, exit_status

# Each a module of this folder.
STUDIES = sorted(
    module.name for module in pkgutil.iter_modules([os.path.dirname(__file__)])
    if module.name not in ('__main__', 'study'))


def study_name(text: str) -> str:
    """The type of NAME: one of ours, or a module of a package on the path."""
    with contextlib.suppress(ImportError):
        if text in STUDIES or '.' in text and importlib.util.find_spec(text):
            return text
    raise argparse.ArgumentTypeError('no study {!r}: there are {}'.format(text, ', '.join(STUDIES)))


def parse(arguments=None):
    """Read the command line: ``name``, the folders of data, and how much to measure."""
    parser = command_line.OneLineParser(
        prog='python -m ddgm.studies', description=__doc__, allow_abbrev=False)
    parser.add_argument(
        'name', metavar='NAME', type=study_name,
        help='{}; or a module of your own, as in package.module'.format(', '.join(STUDIES)))
    parser.add_argument(
        '--mnist', metavar='DIR', type=command_line.path_name,
        help='folder of the four IDX files, fetched where they are missing')
    parser.add_argument('--images', metavar='DIR', type=command_line.path_name, help='folder of the icons')
    parser.add_argument('--cases', metavar='CASE', nargs='+', help='only these (default: all whose data is given)')
    parser.add_argument(
        '--seeds', metavar='N', type=command_line.whole_number(1), default=3,
        help='runs of each case, by seeds that follow one another (default: %(default)s)')
    parser.add_argument(
        '--first_seed', metavar='N', type=command_line.whole_number(0), default=0,
        help='the first of them; settings that were tuned with some seeds are judged by others (default: %(default)s)')
    parser.add_argument(
        '--jobs', metavar='N', type=command_line.whole_number(1), default=2,
        help='runs at a time, of one thread each (default: %(default)s)')
    parser.add_argument(
        '-n', '--iterations', metavar='N', type=command_line.whole_setting('iterations'), help='of each run')
    parser.add_argument(
        '-o', '--out', metavar='DIR', type=command_line.path_name, default='result/studies',
        help='folder of all studies (default: %(default)s)')
    return parser.parse_args(arguments)


def main(arguments=None):
    request = parse(arguments)
    # For the processes of the runs, which import NumPy anew: as many go side by side as there are jobs.
    os.environ['OMP_NUM_THREADS'] = '1'

    from ddgm.studies import study
    module = importlib.import_module(request.name if '.' in request.name else 'ddgm.studies.' + request.name)
    study.carry_out(
        module, {'mnist': request.mnist, 'images': request.images},
        range(request.first_seed, request.first_seed + request.seeds), request.jobs, request.iterations,
        pathlib.Path(request.out) / request.name.rpartition('.')[2], request.cases)


if __name__ == '__main__':
    exit_status.run_script(main)
