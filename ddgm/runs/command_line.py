"""The flags of the training scripts, and what all commands share of theirs.

It imports neither Chainer nor matplotlib, so ``--help`` and a mistyped flag answer at once.
"""

import argparse
import dataclasses
import difflib
import math
import os
import pathlib
import re
import shutil
import textwrap

import ddgm
from ddgm.presets import PRESETS, Settings, default_preset, settings_class
from ddgm.runs import processes
from ddgm.support.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        task (str): Name of the task, a key of ``PRESETS``.
        out (str): Run folder.
        device (str): Chainer device specifier, or ``None`` where none was asked for.
        resume (bool), overwrite (bool): What to do with a run that ``out`` holds.
        preset (str): Name of the preset, or ``None`` where none was asked for.
        data (str): Folder or archive of the data, or ``None`` where none was given.
        cache (str): Where pixels are kept, or ``None`` where that was not given.
        communicator (str): Name of ChainerMN's communicator, or ``None`` for one process.
        replay (bool): Whether networks that allow it are replayed in place of being called.
        changes (dict): Those settings that were given as flags.
    """

    task: str
    out: str
    device: str = None
    resume: bool = False
    overwrite: bool = False
    preset: str = None
    data: str = None
    cache: str = None
    communicator: str = None
    replay: bool = True
    changes: dict = dataclasses.field(default_factory=dict)

    def settings(self):
        """The settings of a new run: the preset's, with the flags that were given."""
        preset = PRESETS[self.task][self.preset or default_preset(self.task)]
        return dataclasses.replace(preset.settings, **self.changes)


@dataclasses.dataclass(frozen=True)
class DataFolder:
    """Where the data of a task lies by default, ``None`` where --data has to say it, and the help of that flag."""

    default: str
    description: str


# Of the tasks that read one.
DATA_FOLDERS = {
    'mnist': DataFolder(
        'data/mnist', 'folder of the four IDX files; those of MNIST are fetched into a new one (default: data/mnist)'),
    'images': DataFolder(None, 'folder of pictures, sub-folders count too; or a .zip or .tar of them'),
}

CACHE_HELP = (
    'where the pixels of pictures are kept that take more than 5 seconds to decode, so that it is done once (default: '
    'ddgm/pictures in $XDG_CACHE_HOME or ~/.cache); none: in memory')

VERSION = 'ddgm ' + ddgm.__version__  # as --version prints it

# Flags that lead beyond the paper, which is what their defaults are.
_BEYOND_THE_PAPER = {
    'energy_penalty': "weight of the energies' squares in the energy model's loss",
    'langevin_steps': 'Langevin steps that refine x⁻ before the energy model sees it',
    'langevin_step_size': 'their size ε, in squared units of x',
    'entropy_weight': "of the paper's entropy, which is read from γ",
    'volume_entropy_weight': "of the entropy that the generator's Jacobian tells",
    'neighbour_entropy_weight': 'of the entropy that nearest neighbours tell',
    'neighbours': 'how many of them',
    'neighbour_batches': 'of fresh samples, among which they are looked for',
    'proposals': 'points drawn in each iteration, among which x⁻ of the energy model are chosen',
    'proposal_deviation': 'standard deviation of the Gaussian around the origin that they are drawn from',
    'near_deviation': "of Gaussians around the generator's samples, for one half of them; 0: for none",
    'proposals_from': 'iterations before the proposals take the place of Langevin steps and of the penalty',
    'decay_from': 'iteration from which on the learning rates fall; 0: they stay',
    'decay_power': 'they fall as the iteration to the minus this power',
    'averaged': 'finish with averages over the last part of the run',
    'feature_layers': 'layers of f(x)',
    'generator_layers': 'hidden layers of G(z)',
    'binary_latents': 'numbers of z, besides the others, that are −1 or 1',
    'convolutional': 'both networks of convolutions',
}


# What users of Chainer's and PyTorch's examples type, without dashes and underscores, and what it is here.
_FLAGS_ELSEWHERE = {
    **dict.fromkeys(('g', 'gpu', 'gpus', 'gpuid'), '--device'),
    **dict.fromkeys(('cuda', 'usecuda', 'usegpu'), '--device 0'),
    **dict.fromkeys(('nocuda', 'cpu', 'nogpu'), '--device -1'),
    **dict.fromkeys(('e', 'epoch', 'epochs', 'nepoch', 'nepochs', 'numepochs'), '--iterations, which counts updates,'),
    **dict.fromkeys(('f', 'frequency'), '--snapshot_interval'),
    **dict.fromkeys(('i', 'dataset', 'datadir', 'dataroot'), '--data'),
    **dict.fromkeys(('outf', 'outdir', 'output', 'outputdir', 'savedir'), '--out'),
    **dict.fromkeys(('manualseed', 'randomseed'), '--seed'),
}
_COLUMNS = 80  # of --help, where the terminal has as many


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog, **options):
        super().__init__(prog, **{**options, 'width': _help_columns()})


def _help_columns():
    return min(_COLUMNS, shutil.get_terminal_size().columns) - 2


class OneLineParser(argparse.ArgumentParser):
    """A parser that raises ``UsageError`` where argparse prints the usage and exits.

    Its help has lines of 80 columns at most: the paragraphs of ``description`` are filled, and lines of ``epilog``
    that are too long are wrapped.
    """

    def __init__(self, description=None, epilog=None, **options):
        columns = _help_columns()
        super().__init__(
            formatter_class=_HelpFormatter,
            description=description and '\n\n'.join(
                textwrap.fill(paragraph, columns) for paragraph in description.strip().split('\n\n')),
            epilog=epilog and '\n'.join(
                textwrap.fill(line, columns, subsequent_indent='      ') for line in epilog.splitlines()), **options)

    def error(self, message):
        raise UsageError('{} (see --help)'.format(message))


def whole_number(minimum, maximum=Settings.LARGEST):
    """The type of a flag that takes a whole number in a range."""
    def convert(text):
        try:
            number = int(text)
        except ValueError:
            number = minimum - 1
        if not minimum <= number <= maximum:
            raise argparse.ArgumentTypeError('give a whole number {}, not {!r}'.format(
                'from {} on'.format(minimum) if number < minimum else 'up to {:,}'.format(maximum), text))
        return number
    return convert


def whole_setting(name):
    """The type of a flag that takes a setting that is a whole number."""
    return whole_number(*Settings.limits(name))


def number_of(text):
    """A number, which is in no range where the text is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _factor(text):
    number = number_of(text)
    if not 0 < number <= 16:
        raise argparse.ArgumentTypeError('give a factor like 0.25, above 0 and up to 16, not {!r}'.format(text))
    return number


def _number(text):
    number = number_of(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError('give a number from 0 on, not {!r}'.format(text))
    return number


def positive_number(text):
    """The type of a flag that takes a number above 0."""
    number = number_of(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError('give a number above 0, not {!r}'.format(text))
    return number


def path_name(text):
    """The type of a flag that takes a path; ``~`` is the home folder, which no shell puts into ``--out=~/x``."""
    if not text:
        raise argparse.ArgumentTypeError('give a path')
    return os.path.expanduser(text)


def as_path(text):
    """The same as a :class:`pathlib.Path`; it suits a file as well."""
    return pathlib.Path(path_name(text))


def _device(text):
    if re.fullmatch(r'-1|\d+|@numpy|@cupy:\d+', text):
        return text
    torch = re.fullmatch(r'(cpu)|(?:cuda|gpu)(?::(\d+))?', text.lower())
    if torch:
        raise argparse.ArgumentTypeError('{!r} is {} here'.format(
            text, '-1 or @numpy' if torch[1] else '{0} or @cupy:{0}'.format(torch[2] or 0)))
    raise argparse.ArgumentTypeError('give -1 or @numpy for the CPU, 0 or @cupy:0 for a GPU, not {!r}'.format(text))


def _meant(unknown, flags):
    """What to say of arguments that are unknown: the flag that is meant, where that is clear."""
    def bare(flag):
        return re.sub('[-_]', '', flag.lower())
    known = {bare(flag): flag for flag in flags if flag.startswith('--')}
    for flag in (argument.partition('=')[0] for argument in unknown if re.match('--?[A-Za-z]', argument)):
        name = bare(flag)
        close = [whole for whole in known if len(name) > 2 and whole.startswith(name)]
        close = close if len(close) == 1 else difflib.get_close_matches(name, known, 1, 0.8)
        meant = _FLAGS_ELSEWHERE.get(name) or close and known[close[0]]
        if meant and re.match(r'[\w-]+', meant)[0] in flags:
            return '{} is {} here'.format(flag, meant)
    return 'unrecognized arguments: {}'.format(' '.join(unknown))


def parse(task, description, arguments=None):
    """Read the command line of one task's script into a :class:`Request`; raises ``UsageError``."""
    presets = PRESETS[task]
    needs_data = task in DATA_FOLDERS and DATA_FOLDERS[task].default is None
    parser = OneLineParser(
        description=description, allow_abbrev=False,
        usage='%(prog)s {}[options]'.format('--data DIR ' if needs_data else ''),
        epilog='presets, and how long they take on two cores:\n' + '\n'.join(
            '  {}: {:,} iterations, batches of {}, {}\n      {}'.format(
                name, preset.settings.iterations, preset.settings.batchsize, preset.takes, preset.description)
            for name, preset in presets.items()))
    parser.add_argument(
        '-o', '--out', metavar='DIR', type=path_name, default='result/' + task,
        help='run folder (default: %(default)s)')
    parser.add_argument(
        '-n', '--iterations', metavar='N', type=whole_setting('iterations'),
        help="updates of each of the two models (default: the preset's)")
    parser.add_argument(
        '-b', '--batchsize', metavar='N', type=whole_setting('batchsize'),
        help="data and samples an iteration, from 2 on (default: the preset's)")
    parser.add_argument(
        '-d', '--device', metavar='DEV', type=_device,
        help='-1 or @numpy: the CPU (default); 0 or @cupy:0: the first GPU; a resumed run keeps its own')
    parser.add_argument(
        '-s', '--seed', metavar='N', type=whole_setting('seed'), help='of all random numbers (default: 0)')
    parser.add_argument(
        '-r', '--resume', action='store_true',
        help='go on with the run in --out from its last snapshot; a larger --iterations extends it')
    parser.add_argument('--overwrite', action='store_true', help='start over where --out holds another run')
    parser.add_argument(
        '--preset', metavar='NAME', choices=presets,
        help='a configuration by name, listed below (default: {})'.format(default_preset(task)))
    if task in DATA_FOLDERS:
        parser.add_argument(
            '--data', metavar='DIR', type=path_name,
            help=DATA_FOLDERS[task].description + ('; needed, but for --resume' if needs_data else ''))
    if task == 'images':
        parser.add_argument(
            '--cache', metavar='DIR', type=path_name, help=CACHE_HELP)
    if any(field.name == 'width' for field in dataclasses.fields(settings_class(task))):
        parser.add_argument(
            '--width', metavar='FACTOR', type=_factor,
            help='of all numbers of channels; 0.25 suits a machine without a GPU (default: 1)')
    for name, what in (
            ('log', 'log entries'), ('snapshot', 'snapshots'), ('figure', 'frames of the video')):
        parser.add_argument(
            '--{}_interval'.format(name), metavar='N', type=whole_setting(name + '_interval'),
            help="iterations between {}; 0: only at the end (default: the preset's)".format(what))
    parser.add_argument(
        processes.FLAG, metavar='NAME', choices=processes.NAMES,
        help="under mpiexec -n N, the processes of which share each batch: naive on CPUs, pure_nccl on GPUs, of "
             'which each process takes its own, from --device on')
    parser.add_argument(
        '--replay', action=argparse.BooleanOptionalAction, default=True,
        help='repeat what a small network has computed without calling its forward (default); --no-replay: for '
             'breakpoints there, slower, the same bits')
    parser.add_argument('--version', action='version', version=VERSION)
    beyond = parser.add_argument_group('beyond the paper', 'each has its default from the preset')
    types = {field.name: field.type for field in dataclasses.fields(settings_class(task))}
    for name in settings_class(task).BEYOND_THE_PAPER:
        if types[name] is bool:
            kind = {'action': argparse.BooleanOptionalAction}
        else:
            kind = {'metavar': 'N' if types[name] is int else 'X',
                    'type': whole_setting(name) if types[name] is int else _number}
        beyond.add_argument('--' + name, help=_BEYOND_THE_PAPER[name], **kind)
    given, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.error(_meant(unknown, re.findall(r'--?[\w-]+', parser.format_help())))
    given = vars(given)
    if given['resume'] and given['overwrite']:
        parser.error('--resume and --overwrite contradict each other: give one of them')
    if task in DATA_FOLDERS and given['data'] is None and not given['resume']:
        given['data'] = DATA_FOLDERS[task].default
        if given['data'] is None:
            parser.error('--data is needed: ' + DATA_FOLDERS[task].description)
    names = {field.name for field in dataclasses.fields(settings_class(task))}
    changes = {name: value for name, value in given.items() if name in names and value is not None}
    request = Request(task=task, changes=changes, **{name: given[name] for name in given if name not in names})
    if not request.resume:
        try:
            request.settings()
        except ValueError as error:  # settings that don't go together
            parser.error(str(error))
    return request
