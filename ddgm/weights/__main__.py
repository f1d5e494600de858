"""Carry weights to PyTorch and back, as .npz files under the names of a state_dict (see ddgm/weights/pytorch_names.py).

"export RUN DIR" writes the finished models of a run as energy_model.npz and generative_model.npz into DIR.
"import DIR OUT --like RUN" makes a run folder OUT of two such files, with the networks and settings of RUN: its samples
can be compared, and --resume trains it on from these weights.
"""

import argparse
import pathlib

from ddgm.runs import command_line


def parse(arguments=None):
    """Read the command line: ``action`` and the arguments of either."""
    parser = command_line.OneLineParser(
        prog='python -m ddgm.weights', description=__doc__, allow_abbrev=False)
    actions = parser.add_subparsers(dest='action', metavar='export|import', required=True)
    export = actions.add_parser('export', help='from a run to files for PyTorch', allow_abbrev=False)
    export.add_argument('run', metavar='RUN', type=command_line.folder_name, help='run folder')
    export.add_argument('directory', metavar='DIR', type=command_line.folder_name, help='where the two files go')
    import_ = actions.add_parser('import', help='from files that PyTorch wrote to a run folder', allow_abbrev=False)
    import_.add_argument('directory', metavar='DIR', type=command_line.folder_name, help='where the two files are')
    import_.add_argument('out', metavar='OUT', type=command_line.folder_name, help='a new run folder')
    import_.add_argument(
        '--like', metavar='RUN', type=command_line.folder_name, required=True,
        help='run folder whose networks and settings these are')
    import_.add_argument(
        '--eps', metavar='EPS', type=_eps, default=2e-5,
        help="of the BatchNorm modules in PyTorch, whose own default is 1e-5 (default: %(default)s, this project's)")
    return parser.parse_args(arguments)


def _eps(text):
    number = command_line.number_of(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError('give a small number like 1e-5, not {!r}'.format(text))
    return number


def main(arguments=None):
    request = parse(arguments)

    # Only now Chainer, so that --help and a mistyped flag answer at once.
    from ddgm.weights import transfer
    if request.action == 'export':
        transfer.export_weights(request.run, pathlib.Path(request.directory))
    else:
        transfer.import_weights(pathlib.Path(request.directory), request.out, request.like, request.eps)


if __name__ == '__main__':
    command_line.run_script(main)
