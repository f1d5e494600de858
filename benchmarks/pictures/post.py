"""A picture and a video for each of the post's, run after run, a page of them, and small copies for the documents.

Each run is the command that is printed, so it can be repeated alone.  What is finished is not run again and what was
interrupted goes on, so this can be stopped and started at will.
"""

import dataclasses
import datetime
import json
import pathlib
import subprocess
import sys
import time

from PIL import Image, ImageChops

from benchmarks import ROOT
from ddgm.evaluation import tasks
from ddgm.presets import PRESETS
from ddgm.runs import run_files
from ddgm.runs.command_line import OneLineParser, as_path, parse, path_name
from ddgm.runs.exit_status import run_script


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of a training script.

    Attributes:
        shows (str): What of the post it is.
        task (str): Whose script.
        flags (tuple of pairs): Its flags but for --out and --data.
        copies (dict): Small pictures by the name of the run's picture.
        seconds (float): Of an iteration on two cores, for the time left.
    """

    shows: str
    name: str
    task: str
    flags: tuple
    copies: dict
    seconds: float

    def preset(self):
        return dict(self.flags).get('--preset', tasks.find(self.task).default_preset)

    def iterations(self):
        return int(dict(self.flags).get('--iterations', PRESETS[self.task][self.preset()].settings.iterations))

    def settings(self):
        """Those of the run, its flags included."""
        data = ['--data', '.'] if tasks.find(self.task).data else []
        return parse(self.task, '', [*(word for flag in self.flags for word in flag), *data]).settings()

    def command(self, out, data):
        """What starts this run, or goes on with it."""
        flags = {
            '--preset': self.preset(), **dict(self.flags), '--iterations': str(self.iterations()), '--out': str(out)}
        if data:
            flags['--data'] = data
        resume = ['--resume'] if (out / 'settings.json').exists() else []
        return ['train_{}.py'.format(self.task), *(word for flag in flags.items() for word in flag), *resume]

    def is_done(self, out):
        """Whether a run folder holds this run, finished to its last picture."""
        try:
            settings = json.loads((out / 'settings.json').read_text())
            metrics = json.loads((out / 'metrics.json').read_text())
            deciding = self.settings().deciding()
            return (settings['preset'], metrics['iterations']) == (self.preset(), self.iterations()) and all(
                settings.get(name, value) == value for name, value in deciding.items()) and all(
                (out / 'figures' / name).exists() for name in (*self.copies, 'training.gif'))
        except (OSError, ValueError, KeyError):
            return False


TOY = ('samples.png', 'energy.png', 'training.gif')
RUNS = (
    Run('ten Gaussians, picture and video', 'gaussian_mixture', 'gaussian_mixture', (),
        {name: 'gaussian_mixture_' + name for name in TOY}, 0.005),
    Run('the swiss roll, picture and video', 'swiss_roll', 'swiss_roll', (),
        {name: 'swiss_roll_' + name for name in TOY}, 0.005),
    Run('MNIST, the good picture', 'mnist', 'mnist', (),
        {name: 'mnist_' + name for name in ('data.png', 'samples.png', 'nearest.png', 'training.gif')}, 0.06),
    Run('MNIST, the failure', 'mnist_failure', 'mnist', (('--preset', 'last_commit'),),
        {'samples.png': 'mnist_failure.png'}, 0.065),
    Run('icons: the data and the samples', 'icons', 'images', (('--width', '0.25'), ('--batchsize', '64')),
        {name: 'icons_' + name for name in ('data.png', 'samples.png', 'nearest.png', 'training.gif')}, 0.3),
    Run('icons, the failure', 'icons_failure', 'images',
        (('--preset', 'last_commit'), ('--width', '0.125'), ('--batchsize', '32'), ('--iterations', '1000')),
        {'samples.png': 'icons_failure.png'}, 0.08),
)
WIDTH = {'.png': 440, '.gif': 240}
N_FRAMES, N_COLOURS = 30, 128


def make_small(source, target, width=None):
    """A copy of a picture without its white margin, or of some frames of a video's folder, in the documents' size."""
    width = width or WIDTH[target.suffix]

    def shrink(image):
        return image.resize((width, round(width * image.height / image.width)), Image.Resampling.LANCZOS)
    if target.suffix == '.png':
        with Image.open(source) as image:
            image = image.convert('RGB')
            image = image.crop(ImageChops.invert(image).getbbox())
            shrink(image).quantize(N_COLOURS, dither=Image.Dither.NONE).save(target, optimize=True)
        return
    paths = sorted((source.parent / 'frames').glob('*.png'))
    paths = paths[::-max(1, len(paths) // N_FRAMES)][::-1]  # the last one is always among them
    frames = []
    for path in paths:
        with Image.open(path) as image:
            frames.append(shrink(image.convert('RGB')).quantize(32, dither=Image.Dither.NONE))
    frames[0].save(target, save_all=True, append_images=frames[1:], duration=160, loop=0)


def run_to_its_end(command):
    """The exit status of a command, which after Ctrl-C gets the time to save its snapshot."""
    process = subprocess.Popen(command)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # the terminal sends it to the command too
            print('waiting for the run to save its snapshot ...', flush=True)


def main(arguments=None):
    parser = OneLineParser(prog='python -m benchmarks.pictures.post', description=__doc__)
    parser.add_argument(
        '--mnist', metavar='DIR', type=path_name, default='data/mnist',
        help='fetched if missing (default: %(default)s)')
    parser.add_argument(
        '--images', metavar='DIR', type=path_name,
        help='folder of pictures; without it those of images are left out')
    parser.add_argument('--out', type=as_path, default=pathlib.Path('result/post'), metavar='DIR')
    parser.add_argument('--small', type=as_path, metavar='DIR', help='where small copies go, for example docs')
    parser.add_argument('--page', action='store_true', help='only the page, of what runs there are')
    arguments = parser.parse_args(arguments)
    # Before the first run, not after hours, when it comes to the icons.
    run_files.keep_apart(arguments.out, 'images', arguments.images)
    if arguments.small:
        run_files.keep_apart(arguments.small, 'images', arguments.images, '--small')
    data = {'mnist': arguments.mnist, 'images': arguments.images}
    runs = [] if arguments.page else [run for run in RUNS if run.task != 'images' or arguments.images]
    left = [run for run in runs if not run.is_done(arguments.out / run.name)]
    if arguments.small:
        arguments.small.mkdir(parents=True, exist_ok=True)
    for i, run in enumerate(runs, 1):
        out = arguments.out / run.name
        print('[{} of {}] {}'.format(i, len(runs), run.shows), flush=True)
        if run in left:
            command = run.command(out, data.get(run.task))
            seconds = sum(other.iterations() * other.seconds for other in left)
            print('python {}\nabout {} for this one, {} for all that is left'.format(
                ' '.join(command), *(datetime.timedelta(seconds=round(s)) for s in (
                    run.iterations() * run.seconds, seconds))), flush=True)
            start = time.time()
            status = run_to_its_end([sys.executable, str(ROOT / command[0]), *command[1:]])
            if status:
                sys.exit(status)
            print('took {}'.format(datetime.timedelta(seconds=round(time.time() - start))), flush=True)
            left.remove(run)
        for name, copy in run.copies.items():
            print('    {}'.format(out / 'figures' / name))
            if arguments.small:
                make_small(out / 'figures' / name, arguments.small / copy)
    from benchmarks.pictures import beyond_the_post, page  # only now Chainer: a mistyped flag is told of at once
    arguments.out.mkdir(parents=True, exist_ok=True)
    if not arguments.page:
        beyond_the_post.draw(arguments.out, arguments.out / 'gaussian_mixture')
        for name in beyond_the_post.PICTURES:
            print('    {}'.format(arguments.out / name))
            if arguments.small:
                make_small(arguments.out / name, arguments.small / name, beyond_the_post.WIDTHS.get(name))
    print('The page: {}'.format(page.write(arguments.out, RUNS)))
    if not arguments.images and not arguments.page:
        print('The pictures of icons were left out: give a folder of pictures to --images.')


if __name__ == '__main__':
    run_script(main)
