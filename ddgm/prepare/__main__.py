"""Write data as PNG files for other programs: the very pixels that training sees.

"images" writes the pictures of a folder, an archive or an array as squares of pixels, on white, under their own names.
"mnist" writes the digits as 28×28 grey pixels, as train/LABEL/NUMBER.png and test/LABEL/NUMBER.png.
"""

import argparse
import pathlib

from ddgm.presets import ImageSettings
from ddgm.runs import command_line, exit_status
from ddgm.support.errors import printable

_FOLDERS = {task: known for task, known in command_line.DATA_FOLDERS.items() if task != 'points'}


def parse(arguments=None):
    """Read the command line: ``task``, ``data`` and ``out``; of images ``cache``, ``size`` and ``grey`` too."""
    parser = command_line.OneLineParser(
        prog='python -m ddgm.prepare', description=__doc__, allow_abbrev=False)
    tasks = parser.add_subparsers(dest='task', metavar='|'.join(sorted(_FOLDERS)), required=True)
    for task, known in _FOLDERS.items():
        flags = tasks.add_parser(task, help=known.description, allow_abbrev=False)
        flags.add_argument(
            '--data', metavar='DIR', type=command_line.path_name, default=known.default,
            required=known.default is None, help=known.description)
        if task == 'images':
            flags.add_argument('--cache', metavar='DIR', type=command_line.path_name, help=command_line.CACHE_HELP)
            flags.add_argument(
                '--size', metavar='N', type=int, default=ImageSettings.size,
                choices=ImageSettings.told_of('size').choices, help='pixels of a side (default: %(default)s)')
            flags.add_argument(
                '--grey', action=argparse.BooleanOptionalAction,
                help='without colours (default: where no picture has any)')
        flags.add_argument(
            '-o', '--out', metavar='DIR', type=command_line.path_name, required=True,
            help='a new folder, or one that this command has written, whose files are replaced')
    return parser.parse_args(arguments)


def main(arguments=None):
    request = parse(arguments)

    # Only now NumPy and Pillow, so that --help and a mistyped flag answer at once.
    from ddgm.data import export, image_folder, mnist, picture_folder
    folder, out = pathlib.Path(request.data), pathlib.Path(request.out)
    export.check(out, picture_folder.folders_of(folder) if request.task == 'images' else [folder])
    if request.task == 'images':
        data = image_folder.ImageFolder(folder, 1, request.cache, request.size, request.grey)
        pictures = zip(export.png_names(data.paths), data.images.transpose(0, 2, 3, 1))
        report = data.report()
    else:
        mnist.fetch(folder)
        data = mnist.MNIST(folder)
        pictures, report = export.digits(data), data.report
    n = export.write(pictures, out)
    print('{}: {:,} pictures{}'.format(printable(out), n, report and '; ' + report))


if __name__ == '__main__':
    exit_status.run_script(main)
