"""Carry weights to PyTorch and back, under the names of a state_dict (docs/comparing.md has them).

"export RUN DIR" writes the finished models of a run as energy_model.npz and generative_model.npz into DIR.

"import FROM OUT --like RUN" makes a run folder OUT of such weights, with the networks and settings of RUN: its samples
can be compared, and --resume trains it on from these weights.

"sample FROM OUT.npz --generator FILE:NAME" draws samples, for ddgm.compare, from the weights of any other generator,
which the class NAME of the Python file FILE describes in Chainer.

FROM is a file of weights, or a folder of them: .npz, .safetensors, PyTorch's .pt, .pth and .ckpt, Chainer's .hdf5.
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Sequence

from ddgm.runs import command_line, exit_status


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line: ``action`` and the arguments of each."""
    parser = command_line.OneLineParser(
        prog='python -m ddgm.weights', description=__doc__, allow_abbrev=False)
    actions = parser.add_subparsers(dest='action', metavar='export|import|sample', required=True)
    export = actions.add_parser('export', help='from a run to files for PyTorch', allow_abbrev=False)
    export.add_argument('run', metavar='RUN', type=command_line.path_name, help='run folder')
    export.add_argument('directory', metavar='DIR', type=command_line.path_name, help='where the two files go')
    import_ = actions.add_parser('import', help='from files of weights to a run folder', allow_abbrev=False)
    sample = actions.add_parser('sample', help="from any generator's weights to samples", allow_abbrev=False)
    for action, out in ((import_, 'a new run folder'), (sample, 'a new .npz file')):
        action.add_argument('source', metavar='FROM', type=command_line.path_name, help='file or folder of weights')
        action.add_argument('out', metavar='OUT', type=command_line.path_name, help=out)
    import_.add_argument(
        '--like', metavar='RUN', type=command_line.path_name, required=True,
        help='run folder whose networks and settings these are')
    sample.add_argument(
        '--generator', metavar='FILE:NAME', type=_network, required=True,
        help='the class, in a Python file, that describes the network')
    for action, models, eps, whose in (
            (import_, ('energy_model', 'generative_model'), 2e-5, "this project's"),
            (sample, ('generative_model',), 1e-5, "PyTorch's own; files of export have 2e-5")):
        for model in models:
            action.add_argument(
                '--' + model, metavar='NAME', type=command_line.path_name,
                help='where FROM has it: FILE or FILE:PART of a folder, PART of a file (default: what fits)')
        action.add_argument(
            '--eps', metavar='EPS', type=_eps, default=eps,
            help='of the BatchNorm modules in PyTorch (default: %(default)s, {})'.format(whose))
    return parser.parse_args(arguments)


def _network(text):
    file, _, name = text.rpartition(':')
    if not file or not name:
        raise argparse.ArgumentTypeError('give FILE:NAME, as in network.py:Generator, not {!r}'.format(text))
    return '{}:{}'.format(command_line.path_name(file), name)


def _eps(text):
    number = command_line.number_of(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError('give a small number like 1e-5, not {!r}'.format(text))
    return number


def main(arguments: Sequence[str] | None = None) -> None:
    request = parse(arguments)

    # Only now Chainer, so that --help and a mistyped flag answer at once.
    from ddgm.weights import transfer
    if request.action == 'export':
        transfer.export_weights(request.run, pathlib.Path(request.directory))
    elif request.action == 'import':
        transfer.import_weights(
            pathlib.Path(request.source), request.out, request.like, (request.energy_model, request.generative_model),
            request.eps)
    else:
        transfer.sample_weights(
            pathlib.Path(request.source), pathlib.Path(request.out), request.generator, request.generative_model,
            request.eps)


if __name__ == '__main__':
    exit_status.run_script(main)
