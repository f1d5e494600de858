"""What a task is, the four of the post, that of a user's own points, and how one of a user's own is found.

It imports neither Chainer nor matplotlib, so that ``--help`` and a mistyped flag answer at once: the five import what
they are made of where it is called.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import pathlib
import sys
import traceback
import types
from collections.abc import Callable

from ddgm.presets import PRESETS, Preset, Settings
from ddgm.support.errors import UsageError, one_line


@dataclasses.dataclass(frozen=True)
class DataFolder:
    """Where the data of a task lies.

    Attributes:
        default (str): Its folder; ``None`` where ``--data`` has to say it.
        description (str): The help of that flag.
        metavar (str): What the help calls its value.
        of_pictures (bool): Whether :class:`ddgm.data.image_folder.ImageFolder` reads it: with its sub-folders, and
            keeping pixels in a cache, which ``--cache`` names.
    """

    default: str | None
    description: str
    of_pictures: bool = False
    metavar: str = 'DIR'


@dataclasses.dataclass(frozen=True)
class Task:
    """What is learned, by which networks and with which numbers.

    Attributes:
        name (str): What its runs are called.
        presets (dict): :class:`ddgm.presets.Preset` by name; the first is the default.
        build_models: ``build_models(settings, rng)`` returns a DEM and a DGM, weights drawn from the NumPy generator.
        open: ``open(folder, settings, cache)`` returns a :class:`ddgm.evaluation.reference.Reference`, from data in a
            folder where there is one.  ``settings`` are those of the run that is to learn from it, ``None`` where
            nothing does, but for pictures: theirs say size and colours.  ``cache`` is what ``--cache`` says.  Raises
            ``UsageError`` where the data can't be read.
        data (DataFolder): What ``--data`` takes; ``None``: there is no such flag.
        form: ``form(settings)`` returns the :class:`ddgm.evaluation.pixels.Form` of a data point, without any data;
            ``None``: it has no range, and the shape of a sample.
        preset_for: ``preset_for(folder)`` returns the name of the preset that suits the data, for a run that asks for
            none; ``None``: that is the first, whatever the data.
    """

    name: str
    presets: dict[str, Preset]
    build_models: Callable
    open: Callable
    data: DataFolder | None = None
    form: Callable | None = None
    preset_for: Callable | None = None

    @property
    def default_preset(self) -> str:
        """The name of the preset of a run that asks for no other."""
        return next(iter(self.presets))

    @property
    def settings_type(self) -> type[Settings]:
        """The class of its settings."""
        return type(self.presets[self.default_preset].settings)


# ---- those of this package

def _build_toy(settings, rng):
    from ddgm.networks.toy import build_models
    return build_models(settings, rng)


def _build_mnist(settings, rng):
    from ddgm.networks.mnist import build_models
    return build_models(settings, rng)


def _build_images(settings, rng):
    from ddgm.networks.images import build_models
    return build_models(settings, rng)


def _gaussian_mixture(folder, settings, cache):
    from ddgm.evaluation import plane
    return plane.gaussian_mixture()


def _swiss_roll(folder, settings, cache):
    from ddgm.evaluation import plane
    return plane.swiss_roll()


def _digits(folder, settings, cache):
    from ddgm.evaluation.digits import Digits
    return Digits(folder, *((settings.binarized, settings.batchsize, settings.wells) if settings else ()))


def _pictures(folder, settings, cache):
    from ddgm.evaluation.pictures import Pictures
    if settings is None:
        return Pictures(folder, cache=cache)
    return Pictures(folder, settings.batchsize, cache, settings.size, settings.grey)


def _form_of_digits(settings):
    from ddgm.evaluation import pixels
    return pixels.DIGITS


def _form_of_pictures(settings):
    from ddgm.evaluation import pixels
    return pixels.pictures(settings.size, settings.grey)


def _points(folder, settings, cache):
    from ddgm.evaluation.points import Points
    return Points(folder)


def _preset_for_points(folder):
    from ddgm.evaluation.points import preset_for
    return preset_for(folder)


GAUSSIAN_MIXTURE = Task('gaussian_mixture', PRESETS['gaussian_mixture'], _build_toy, _gaussian_mixture)
SWISS_ROLL = Task('swiss_roll', PRESETS['swiss_roll'], _build_toy, _swiss_roll)
MNIST = Task('mnist', PRESETS['mnist'], _build_mnist, _digits, DataFolder(
    'data/mnist', 'folder of the four IDX files; those of MNIST are fetched into a new one (default: data/mnist)'),
    _form_of_digits)
IMAGES = Task('images', PRESETS['images'], _build_images, _pictures, DataFolder(
    None, 'folder of pictures, sub-folders count too; or a .zip or .tar of them, an array (.npy, .npz), or the binary '
    'files of CIFAR-10', of_pictures=True), _form_of_pictures)
POINTS = Task('points', PRESETS['points'], _build_toy, _points, DataFolder(
    None, 'file of points (N, d): .npy, .npz, or .csv with or without a line of names', metavar='FILE'),
    preset_for=_preset_for_points)
OF_THE_PACKAGE = GAUSSIAN_MIXTURE, SWISS_ROLL, MNIST, IMAGES, POINTS


# ---- finding one

def find(task: str | Task, own: Task | None = None) -> Task:
    """A task by its name: ``own``, or one of this package; a :class:`Task` is returned as it is.

    Raises ``UsageError`` where it is none of these.  Nothing is imported because of a name.
    """
    if isinstance(task, Task):
        return task
    for known in (own, *OF_THE_PACKAGE):
        if known is not None and known.name == task:
            return known
    raise UsageError(
        '{!r} is a task of somebody\'s own: its own script goes on with a run of it; give the Python file that defines '
        'it to other commands by --task'.format(one_line(task)))


def load_task(path: str) -> Task:
    """The ``TASK`` that a Python file of the user's defines.

    Raises ``UsageError`` where it can't be imported or defines none.
    """
    path = os.path.abspath(path)
    module = import_file(path, 'give the one that defines TASK to --task')
    task = getattr(module, 'TASK', None)
    if not isinstance(task, Task):
        raise UsageError('{}: defines no TASK: name its ddgm.evaluation.tasks.Task so'.format(path))
    return task


def import_file(path: str, cure: str) -> types.ModuleType:
    """The module that a Python file of the user's makes; it finds what lies beside it, as where Python itself runs it.

    Raises ``UsageError`` where there is no such file, or it can't be imported.
    """
    path = os.path.abspath(path)
    if not path.endswith('.py') or not os.path.isfile(path):
        raise UsageError('{}: there is no such Python file: {}'.format(path, cure))
    spec = importlib.util.spec_from_file_location(pathlib.Path(path).stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(spec.name, module)  # dataclasses look for it there
    sys.path.insert(0, os.path.dirname(path))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise UsageError('{}: can\'t be imported ({}: {})'.format(
            place_of(error, path), type(error).__name__, one_line(error))) from error
    return module


def place_of(error: BaseException, path: str) -> str:
    """Where in a file an error was raised, as ``FILE, line N``; the file alone where it came from elsewhere."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__)
        if os.path.abspath(frame.filename) == os.path.abspath(path)]
    return '{}, line {}'.format(path, lines[-1]) if lines else path


def build_models(task: str | Task, settings: Settings, rng):
    """The DEM and the DGM of a task, as ``settings`` say, weights drawn from the NumPy generator ``rng``."""
    return find(task).build_models(settings, rng)


def open_task(task: str | Task, folder=None, settings: Settings | None = None, cache: str | None = None):
    """A task's data and what its samples are held against; see :class:`Task`."""
    return find(task).open(folder, settings, cache)


def open_reference(task: str | Task, folder, settings: Settings | None, cache: str | None = None):
    """The same for samples of a run of these ``settings``, where nothing learns from the data."""
    task = find(task)
    of_pictures = task.data is not None and task.data.of_pictures
    return open_task(task, folder, dataclasses.replace(settings, batchsize=2) if of_pictures else None, cache)
