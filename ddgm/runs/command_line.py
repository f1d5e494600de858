"""The flags of the training scripts, and what all commands share of theirs.

It imports neither Chainer nor matplotlib, so ``--help`` and a mistyped flag answer at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import math
import os
import pathlib
import re
import shutil
import sys
import textwrap

import ddgm
from ddgm.evaluation import tasks
from ddgm.presets import Settings, text_of
from ddgm.runs import processes
from ddgm.support.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        task (ddgm.evaluation.tasks.Task): What is to be learned; one of the four may stand by its name.
        out (str): Run folder.
        device (str): Chainer device specifier, or ``None`` where none was asked for.
        resume (bool), overwrite (bool): What to do with a run that ``out`` holds.
        preset (str): Name of the preset, or ``None`` where none was asked for.
        data (str): Folder or archive of the data, or ``None`` where none was given.
        cache (str): Where pixels are kept, or ``None`` where that was not given.
        communicator (str): Name of ChainerMN's communicator, or ``None`` for one process.
        replay (bool): Whether networks that allow it are replayed in place of being called.
        graph (bool): Whether a GPU replays whole iterations.
        tf32 (bool): Whether a GPU multiplies matrices in TF32.
        numba (bool): Whether numba compiles; ``None``: where it can, see ``chainer.config.use_numba``.
        tensorboard (bool): Whether event files are written; ``None``: as the run that is resumed does, else not.
        score (bool): Whether samples are scored at the end.
        likelihood (bool): Whether log Z is bracketed then, for the likelihood of data; ``None``: as the preset says.
        changes (dict): Those settings that were given as flags, or by ``--set``.
    """

    task: tasks.Task | str
    out: str
    device: str | None = None
    resume: bool = False
    overwrite: bool = False
    preset: str | None = None
    data: str | None = None
    cache: str | None = None
    communicator: str | None = None
    replay: bool = True
    graph: bool = False
    tf32: bool = False
    numba: bool | None = None
    tensorboard: bool | None = None
    score: bool = True
    likelihood: bool | None = None
    changes: dict = dataclasses.field(default_factory=dict)

    def settings(self) -> Settings:
        """The settings of a new run: the preset's, with the flags that were given."""
        task = tasks.find(self.task)
        return dataclasses.replace(task.presets[self.preset or task.default_preset].settings, **self.changes)


# Of the tasks of this package that read data, by name.
DATA_FOLDERS = {task.name: task.data for task in tasks.OF_THE_PACKAGE if task.data}

CACHE_HELP = (
    'where the pixels of pictures are kept that take more than 5 seconds to decode, so that it is done once (default: '
    'ddgm/pictures in $XDG_CACHE_HOME or ~/.cache); none: in memory')

TASK_HELP = 'Python file, which is run, that defines TASK: for a run of a task of your own'

VERSION = 'ddgm ' + ddgm.__version__  # as --version prints it

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
    **dict.fromkeys(('lr', 'learningrate'), '--set energy_learning_rate=VALUE generator_learning_rate=VALUE'),
    **dict.fromkeys(('nz', 'zdim', 'latentdim'), '--set n_latent=VALUE'),
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

    def flags(self):
        """Every flag that there is so far, as it is typed."""
        return re.findall(r'--?[\w-]+', self.format_help())

    def error(self, message):
        raise UsageError('{} (see --help)'.format(message))


def whole_number(minimum: int, maximum: float = Settings.LARGEST):
    """The type of a flag that takes a whole number in a range."""
    def convert(text):
        number = int(text) if re.fullmatch(r'[+-]?[0-9]{1,999}', text) else minimum - 1
        if not minimum <= number <= maximum:
            raise argparse.ArgumentTypeError('give a whole number {}, not {!r}'.format(
                'from {} on'.format(minimum) if number < minimum else 'up to {:,}'.format(maximum), text))
        return number
    return convert


def whole_setting(name: str):
    """The type of a flag that takes a setting of all tasks that is a whole number."""
    return whole_number(*Settings.limits(name))


def number_of(text: str) -> float:
    """A number, which is in no range where the text is none; Python's 1_000 and the digits of other scripts are not."""
    try:
        return float(text) if text.isascii() and '_' not in text else math.nan
    except ValueError:
        return math.nan


def _number(minimum, maximum, name):
    """The type of a flag that takes any number in a range, by whatever name."""
    def convert(text):
        if not minimum <= number_of(text) <= maximum:
            raise argparse.ArgumentTypeError('give a {} from {:g} {}, not {!r}'.format(
                name, minimum, 'on' if maximum == sys.float_info.max else 'to {:g}'.format(maximum), text))
        return float(text)
    return convert


def positive_number(text: str) -> float:
    """The type of a flag that takes a number above 0."""
    number = number_of(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError('give a number above 0, not {!r}'.format(text))
    return number


def _one_of(choices):
    """The type of a flag that takes one of some words or numbers, or any word where there are no choices."""
    by_name = {str(choice): choice for choice in choices or ()}

    def convert(text):
        if by_name and text not in by_name:
            raise argparse.ArgumentTypeError('give one of {}, not {!r}'.format(', '.join(by_name), text))
        return by_name.get(text, text)
    return convert


def _truth(text):
    if text not in ('true', 'false'):
        raise argparse.ArgumentTypeError('give true or false, not {!r}'.format(text))
    return text == 'true'


def _type_of(settings_type, name):
    """The type of a flag that takes a setting."""
    kind, told = settings_type.types()[name], settings_type.told_of(name)
    if kind is bool:
        return _truth
    if kind is str or told.choices:
        return _one_of(told.choices)
    if kind is int:
        return whole_number(*settings_type.limits(name))
    return _number(*settings_type.limits(name), (told.metavar or 'number').lower())


def _change(settings_type, flags):
    """The type of ``--set``, which takes ``NAME=VALUE``: a pair of a setting's name and its value."""
    names = settings_type.types()

    def convert(text):
        name, sign, value = text.partition('=')
        if not sign:
            raise argparse.ArgumentTypeError('give NAME=VALUE, not {!r}'.format(text))
        if name not in names:
            if '--' + name in flags:
                raise argparse.ArgumentTypeError('{} is no setting, but a flag: --{}'.format(name, name))
            bare = name.lower().replace('-', '_')
            meant = [known for known in names if bare and bare in known] or difflib.get_close_matches(bare, names)
            raise argparse.ArgumentTypeError('there is no setting {!r}: {}'.format(
                name, 'did you mean {}?'.format(' or '.join(meant[:3])) if meant else
                '--help with --preset NAME lists all'))
        try:
            return name, _type_of(settings_type, name)(value)
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentTypeError('{}: {}'.format(name, error)) from error
    return convert


def path_name(text: str) -> str:
    """The type of a flag that takes a path; ``~`` is the home folder, which no shell puts into ``--out=~/x``."""
    if not text:
        raise argparse.ArgumentTypeError('give a path')
    return os.path.expanduser(text)


def as_path(text: str) -> pathlib.Path:
    """The same as a :class:`pathlib.Path`; it suits a file as well."""
    return pathlib.Path(path_name(text))


def device(text: str) -> str:
    """The type of a flag that takes a Chainer device specifier."""
    if re.fullmatch(r'-1|\d+|@numpy|@cupy:\d+|auto', text, re.ASCII):
        return text
    torch = re.fullmatch(r'(cpu)|(?:cuda|gpu)(?::(\d+))?', text.lower())
    if torch:
        raise argparse.ArgumentTypeError('{!r} is {} here'.format(
            text, '-1 or @numpy' if torch[1] else '{0} or @cupy:{0}'.format(torch[2] or 0)))
    raise argparse.ArgumentTypeError(
        'give -1 or @numpy for the CPU, 0 or @cupy:0 for a GPU, auto for whichever is there, not {!r}'.format(text))


def _meant(unknown, flags, settings):
    """What to say of arguments that are unknown: the flag or the setting that is meant, where that is clear."""
    def bare(flag):
        return re.sub('[-_]', '', flag.lower())
    known = {bare(name): '--set {}=VALUE'.format(name) for name in settings}
    known.update((bare(flag), flag) for flag in flags if flag.startswith('--'))
    for flag in (argument.partition('=')[0] for argument in unknown if re.match('--?[A-Za-z]', argument)):
        name = bare(flag)
        close = [whole for whole in known if len(name) > 2 and whole.startswith(name)]
        close = close if len(close) == 1 else difflib.get_close_matches(name, known, 1, 0.8)
        meant = _FLAGS_ELSEWHERE.get(name) or close and known[close[0]]
        if meant and re.match(r'[\w-]+', meant)[0] in flags:
            return '{} is {} here'.format(flag, meant)
    return 'unrecognized arguments: {}'.format(' '.join(unknown))


def parse(task: tasks.Task | str, description: str, arguments=None) -> Request:
    """Read the command line of a task's script into a :class:`Request`; raises ``UsageError``."""
    task = tasks.find(task)
    needs_data = task.data is not None and task.data.default is None
    parser = OneLineParser(
        description=description, allow_abbrev=False, add_help=False,
        usage='%(prog)s {}[options]'.format('--data {} '.format(task.data.metavar) if needs_data else ''),
        epilog='presets, and how long they take on two cores:\n' + '\n'.join(
            '  {}: {:,} iterations, batches of {}, {}\n      {}'.format(
                name, preset.settings.iterations, preset.settings.batchsize, preset.takes, preset.description)
            for name, preset in task.presets.items()))
    _add_flags_of_a_run(parser, task)
    _add_flags_of_settings(parser, task.settings_type, beyond=False)
    parser.add_argument(
        '--set', metavar='NAME=VALUE', nargs='+', action='extend', default=[],
        type=_change(task.settings_type, parser.flags()),
        help='any settings of the preset, in place of its own; --help with --preset NAME lists them')
    _add_flags_of_settings(
        parser.add_argument_group('beyond the paper', 'each has its default from the preset'), task.settings_type,
        beyond=True)
    given, unknown = parser.parse_known_args(arguments)
    if given.help:
        if given.preset:
            parser.epilog += '\n\n' + '\n'.join(_listed(task, given.preset))
        parser.print_help()
        parser.exit()
    if unknown:
        parser.error(_meant(unknown, parser.flags(), task.settings_type.types()))
    del given.help
    return _request(parser, task, vars(given))


def _listed(task, name):
    """The lines of ``--help`` about all settings of a preset."""
    settings, default = (task.presets[preset].settings for preset in (name, task.default_preset))
    yield 'all settings of preset {}, which --set NAME=VALUE changes'.format(name)
    if settings != default:
        yield '  (* differs from preset {})'.format(task.default_preset)
    for beyond in False, True:
        yield '  beyond the paper' if beyond else '  the paper'
        for setting in settings.types():
            told, value = settings.told_of(setting), getattr(settings, setting)
            if told.beyond == beyond:
                others = [str(choice) for choice in told.choices or () if choice != value]
                yield '  {} {} = {}{}'.format(
                    ' ' if value == getattr(default, setting) else '*', setting, text_of(value),
                    others and '  (or {})'.format(', '.join(others)) or '')


def _add_flags_of_a_run(parser, task):
    parser.add_argument(
        '-h', '--help', action='store_true', help='list all flags, and with --preset NAME all settings of that preset')
    parser.add_argument(
        '-o', '--out', metavar='DIR', type=path_name, default='result/' + task.name,
        help='run folder (default: %(default)s)')
    parser.add_argument(
        '-r', '--resume', action='store_true',
        help='go on with the run in --out from its last snapshot; a larger --iterations extends it')
    parser.add_argument('--overwrite', action='store_true', help='start over where --out holds another run')
    parser.add_argument(
        '--preset', metavar='NAME', choices=task.presets,
        help='a configuration by name, listed below (default: {})'.format(
            'what suits the data' if task.preset_for else task.default_preset))
    if task.data:
        parser.add_argument(
            '--data', metavar=task.data.metavar, type=path_name,
            help=task.data.description + ('; needed, but for --resume' if task.data.default is None else ''))
        if task.data.of_pictures:
            parser.add_argument('--cache', metavar='DIR', type=path_name, help=CACHE_HELP)
    parser.add_argument(
        '-d', '--device', metavar='DEV', type=device,
        help='-1 or @numpy: the CPU (default); 0 or @cupy:0: the first GPU; auto: a GPU where there is one; a resumed '
             'run keeps its own')
    parser.add_argument(
        '--tf32', action='store_true',
        help='let a GPU multiply matrices in TF32 where CuPy does: faster, with products of three digits instead of '
             'seven; a resumed run has to be told again')
    parser.add_argument(
        processes.FLAG, metavar='NAME', choices=processes.NAMES,
        help="under mpiexec -n N, the processes of which share each batch: naive on CPUs, pure_nccl on GPUs, of "
             'which each process takes its own, from --device on')
    parser.add_argument(
        '--replay', action=argparse.BooleanOptionalAction, default=True,
        help='repeat what a small network has computed without calling its forward (default); --no-replay: for '
             'breakpoints there, slower, the same bits unless numba compiles')
    parser.add_argument(
        '--numba', action=argparse.BooleanOptionalAction,
        help='compile what NumPy would compute on the CPU (default: where the package numba is installed); other bits')
    parser.add_argument(
        '--graph', action=argparse.BooleanOptionalAction, default=False,
        help='let a GPU repeat whole iterations, each as one CUDA graph: the same bits; off, since it has not run on a '
             'card yet; a resumed run has to be told again')
    parser.add_argument(
        '--tensorboard', action=argparse.BooleanOptionalAction,
        help='write the log and the frames of the video as event files, too, into the folder tensorboard of the run; '
             'needs the package tensorboard; a resumed run does as before')
    parser.add_argument(
        '--no_score', dest='score', action='store_false',
        help='leave the metrics out, and what pictures show of them; --resume without it makes them')
    if task.data:
        parser.add_argument(
            '--likelihood', action=argparse.BooleanOptionalAction,
            help='bracket log Z by annealing, and tell the likelihood of held-out data beside that of Gaussians (of '
                 'pictures from a folder: of those that were learned); may take minutes{}'.format(''.join(
                     '; on with preset ' + name for name, preset in task.presets.items() if preset.likelihood)))
    parser.add_argument('--version', action='version', version=VERSION)


def _add_flags_of_settings(parser, settings_type, beyond):
    """Those of the settings that lead beyond the paper, or of the others."""
    for name, kind in settings_type.types().items():
        told = settings_type.told_of(name)
        if not told.flag or told.beyond != beyond:
            continue
        if kind is bool:
            takes = {'action': argparse.BooleanOptionalAction}
        else:
            takes = {'metavar': told.metavar or {str: 'NAME', int: 'N', float: 'X'}[kind],
                     'type': _type_of(settings_type, name)}
        short = ['-' + told.short] if told.short else []
        parser.add_argument(*short, '--' + name, help=told.flag, **takes)


def _request(parser, task, given):
    """The :class:`Request` that flags by name make, which go together."""
    if given['resume'] and given['overwrite']:
        parser.error('--resume and --overwrite contradict each other: give one of them')
    if not given['score'] and given.get('likelihood'):
        parser.error('--likelihood and --no_score contradict each other: give one of them')
    if task.data and given['data'] is None and not given['resume']:
        given['data'] = task.data.default
        if given['data'] is None:
            parser.error('--data is needed: ' + task.data.description)
    names = task.settings_type.types()
    changes = {name: value for name, value in given.items() if name in names and value is not None}
    for name, value in given.pop('set'):
        if changes.setdefault(name, value) != value:
            parser.error('{} is to be both {} and {}: give it once'.format(
                name, text_of(changes[name]), text_of(value)))
    request = Request(task=task, changes=changes, **{name: given[name] for name in given if name not in names})
    if not request.resume:
        try:
            request.settings()
        except ValueError as error:  # settings that don't go together
            parser.error(str(error))
    return request
