"""Hold runs of this project, and samples and logs of any other program, against one another.

Each A is a run folder, samples (.npy, .npz with an array x, or a .png of many), a log (.csv, .json, .jsonl, the log of
Chainer's LogReport, event files of TensorBoard), or a folder of such files, where a .png or .jpg may also be one
sample.  NAME=PATH names a column; what has one NAME is one column.  All are scored alike: the same metrics, the same
number of samples, the same reference data.  Prints a table; writes comparison.json, .png and .html.
"""

from __future__ import annotations

import argparse

from ddgm.evaluation import tasks
from ddgm.presets import PRESETS
from ddgm.runs import command_line, exit_status

_REFERENCES = ', '.join(
    task + (':' + command_line.DATA_FOLDERS[task].metavar if task in command_line.DATA_FOLDERS else '')
    for task in PRESETS)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line: ``paths``, ``reference`` (task, folder), ``task`` and ``out``."""
    parser = command_line.OneLineParser(
        prog='python -m ddgm.compare', description=__doc__, allow_abbrev=False,
        epilog='examples:\n'
               '  python -m ddgm.compare result/gaussian_mixture result/another_seed\n'
               '  python -m ddgm.compare samples.npy --reference gaussian_mixture\n'
               '  python -m ddgm.compare samples.npy --reference points.npy\n'
               '  python -m ddgm.compare result/mnist theirs=samples.npy theirs=metrics.csv')
    parser.add_argument('paths', metavar='A', nargs='+', help='what to compare')
    parser.add_argument(
        '--reference', metavar='TASK[:DIR]', type=_reference, default=(None, None),
        help='what samples from elsewhere are of: {}, with the folder of the data; or FILE, an .npy, .npz or .csv '
             'of points (N, d)'.format(_REFERENCES))
    parser.add_argument(
        '-o', '--out', metavar='DIR', type=command_line.path_name, default='result/comparison',
        help='where the files go, in place of those of an earlier comparison (default: %(default)s)')
    parser.add_argument('--task', metavar='FILE', type=command_line.path_name, help=command_line.TASK_HELP)
    return parser.parse_intermixed_args(arguments)


def _reference(text):
    """A task and the folder of its data, or the default one, which may be ``None``; 'points' and a file of points."""
    task, colon, folder = text.partition(':')
    known = command_line.DATA_FOLDERS.get(task)
    if text.lower().endswith(('.npy', '.npz', '.csv', '.tsv')) and not (colon and known):
        return 'points', command_line.path_name(text)
    if task not in PRESETS or colon and not (folder and known) or not colon and known and not known.default:
        raise argparse.ArgumentTypeError(
            'give one of {}, or an .npy, .npz or .csv file of points (N, d), not {!r}'.format(_REFERENCES, text))
    return task, command_line.path_name(folder) if folder else known and known.default


def main(arguments: list[str] | None = None) -> None:
    request = parse(arguments)

    # Only now Chainer and matplotlib, so that --help and a mistyped flag answer at once.
    from ddgm.compare import comparison, entries
    own = request.task and tasks.load_task(request.task)
    comparison.compare(
        entries.read(request.paths, request.out, request.reference[0], own), *request.reference, request.out, own)


if __name__ == '__main__':
    exit_status.run_script(main)
