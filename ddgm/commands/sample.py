"""Draw samples of what a run has learned, or of a model that comes with this package.

MODEL is the folder of a run, or a name that "ddgm models" lists.  The file is an array x, .npz or .npy, or a picture:
a grid of images, or points in the plane over those of the data.
"""

from __future__ import annotations

import argparse
import os

from ddgm.evaluation import tasks
from ddgm.presets import Settings
from ddgm.runs import command_line, exit_status
from ddgm.support.errors import UsageError

_SUFFIXES = '.npz', '.npy', '.png'
_MOST_SHOWN = 2_500  # samples in one picture


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line: ``model``, ``n``, ``seed``, ``out``, ``overwrite``, ``device`` and ``task``."""
    parser = command_line.OneLineParser(prog='ddgm sample', description=__doc__, allow_abbrev=False)
    parser.add_argument(
        'model', metavar='MODEL', type=command_line.path_name, help='folder of a run, or name of a model')
    parser.add_argument(
        '-n', metavar='N', type=command_line.whole_number(1), default=100, help='samples (default: %(default)s)')
    parser.add_argument(
        '-s', '--seed', metavar='N', type=command_line.whole_number(*Settings.limits('seed')), default=0,
        help='another one gives other samples (default: %(default)s)')
    parser.add_argument(
        '-o', '--out', metavar='FILE', type=command_line.as_path, required=True,
        help='a new file, .npz, .npy or .png')
    parser.add_argument('--overwrite', action='store_true', help='replace the file, where there is one')
    parser.add_argument(
        '-d', '--device', metavar='DEV', type=command_line.device, default='-1',
        help='-1 or @numpy: the CPU (default); 0 or @cupy:0: the first GPU')
    parser.add_argument('--task', metavar='FILE', type=command_line.path_name, help=command_line.TASK_HELP)
    request = parser.parse_args(arguments)
    if request.out.suffix not in _SUFFIXES:
        parser.error('{}: give --out a name that ends in {}'.format(request.out, ', '.join(_SUFFIXES)))
    if request.out.suffix == '.png' and request.n > _MOST_SHOWN:
        parser.error('a picture shows {:,} samples at most: give a smaller -n, or an .npz to --out'.format(_MOST_SHOWN))
    if os.path.lexists(request.out) and not (request.overwrite and request.out.is_file()):
        raise UsageError('{} is there already: give another name to --out{}'.format(
            request.out, ', or --overwrite' if request.out.is_file() else ''))
    return request


def main(arguments: list[str] | None = None) -> None:
    request = parse(arguments)

    # Only now Chainer, so that --help and a mistyped flag answer at once.
    from ddgm.runs import run_files
    from ddgm.trained import loading
    own = request.task and tasks.load_task(request.task)
    run = loading.open_run(request.model, own)
    for folder in (run.path, request.out.parent):
        if (folder / run_files.SETTINGS).exists():
            run_files.keep_out(request.out, folder)
    run_files.keep_apart(request.out, tasks.find(run.task, own), run.data)
    model = loading.load_run(run, own, request.device)
    x = model.sample(request.n, request.seed)
    try:
        request.out.parent.mkdir(parents=True, exist_ok=True)
        _write(request.out, x, model, run)
    except OSError as error:
        raise UsageError('{}: can\'t be written ({}): give another file to --out'.format(
            request.out, error.strerror)) from error
    print('{}: {:,} samples of the shape {}, from {:.3g} to {:.3g}'.format(
        request.out, len(x), x.shape[1:], x.min(), x.max()))


def _write(path, x, model, run):
    import numpy

    from ddgm.support.files import open_atomically, write_arrays
    if path.suffix == '.png':
        _draw(path, model.as_shown(x), model, run)
        return
    with open_atomically(path) as file:
        if path.suffix == '.npz':
            write_arrays(file, {'x': x})
        else:
            numpy.lib.format.write_array(file, x, allow_pickle=False)


def _draw(path, shown, model, run):
    """Samples as a run draws its own; points stand alone where the data is gone, which is said."""
    if shown.ndim > 2:
        from ddgm.figures import post
        post.draw_grid(path, shown)
        return
    from ddgm.evaluation.points import window_of
    from ddgm.figures import points
    try:
        reference = run.open_reference(model.task)
        data, window = reference.shown_data(600), reference.window
    except UsageError as error:
        print('Drawn without the data: {}'.format(error))
        data, window = shown[:0], window_of(shown)
    points.draw_samples(path, data, shown, window)


if __name__ == '__main__':
    exit_status.run_script(main)
