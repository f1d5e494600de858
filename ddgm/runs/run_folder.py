"""The run folder: which files it holds, and how they are written so that a crash never costs one that was whole."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import re
from collections.abc import Callable

import numpy

from ddgm.data import picture_cache, picture_folder
from ddgm.data.standardization import Standardization
from ddgm.evaluation import tasks
from ddgm.evaluation.reference import Reference
from ddgm.presets import Settings
from ddgm.runs import snapshots
from ddgm.runs.log import Log
from ddgm.runs.processes import Processes, join
from ddgm.support.errors import UsageError, one_line
from ddgm.support.files import (
    Lock,
    is_within,
    leftovers,
    open_atomically,
    read_arrays,
    read_json,
    write_arrays,
    write_json,
)
from ddgm.support.serialization import arrays_of, load_arrays

FIGURES, FRAMES = 'figures', 'figures/frames'
SETTINGS, LOG, SAMPLES, METRICS = 'settings.json', 'log', 'samples.npz', 'metrics.json'
MODELS = ENERGY_MODEL, GENERATIVE_MODEL = 'energy_model.npz', 'generative_model.npz'
_DAMAGED = '.damaged'  # added to the name of a snapshot that could not be used
_RUN_FILES = (
    SETTINGS, LOG, *snapshots.NAMES, *(name + _DAMAGED for name in snapshots.NAMES), SAMPLES, METRICS, *MODELS)
_PICTURES = tuple(
    FIGURES + '/' + name
    for name in ('data.png', 'samples.png', 'nearest.png', 'energy.png', 'curves.png', 'training.gif'))
_LOCK = '.lock'


@dataclasses.dataclass(eq=False)
class RunFolder:
    """One run's files; see :func:`open_run` and :func:`read_run`.

    Attributes:
        path (pathlib.Path): The folder.
        task (str): The name of what the run learns.
        preset (str): Its name.
        settings (Settings): The run's settings.
        device (str): Chainer device specifier.
        data (str): Folder or archive of the data, or ``None`` where the task has none.
        data_fingerprint (str): Of the data that an earlier run began with, else ``None``.
        cache (str): Folder that pixels are kept in, ``'none'``, or ``None`` for the user's own.
        resume (bool), overwrite (bool): What to do with the run that the folder holds.
        log (ddgm.runs.log.Log): Its log.
        processes (ddgm.runs.processes.Processes): Those that run it.
        replay (bool): Whether networks that allow it are replayed.
        standardization (ddgm.data.standardization.Standardization): Of the user's own points, or ``None``.
        asked (frozenset): The settings that the user asked for by name, which data does not decide.
    """

    path: pathlib.Path
    task: str
    preset: str
    settings: Settings
    device: str
    data: str | None = None
    data_fingerprint: str | None = None
    cache: str | None = None
    resume: bool = False
    overwrite: bool = False
    standardization: Standardization | None = None
    asked: frozenset = frozenset()

    def __post_init__(self):
        self.path = pathlib.Path(self.path)
        self.log = Log(self.path / LOG)
        self.processes = Processes()
        self.replay = True
        self._damaged = []
        self._lock = None

    def settle(self, reference: Reference) -> None:
        """Take over what the data decides: settings that nobody asked for otherwise, and the units of points.

        A resumed run keeps what it began with.
        """
        if not self.resume:
            try:
                self.settings = dataclasses.replace(self.settings, **{
                    name: value for name, value in reference.decides.items() if name not in self.asked})
            except ValueError as error:
                raise UsageError('{}: {}'.format(self.data, error)) from error
            self.standardization = reference.standardization

    def outward(self, x: numpy.ndarray) -> numpy.ndarray:
        """Samples of the model, (N, …), in the units of the user's."""
        return self.standardization.outward(x) if self.standardization else x

    def inward(self, x: numpy.ndarray) -> numpy.ndarray:
        """Samples in the user's units as the model has them."""
        return self.standardization.inward(x) if self.standardization else x

    def taking_users_units(self, energy: Callable) -> Callable:
        """A function of arrays in the model's units as one of arrays in the user's."""
        return lambda x: energy(self.inward(x))

    def check_data(self, fingerprint: str | None) -> None:
        """Raise ``UsageError`` where a resumed run began with other data."""
        if self.data_fingerprint not in (None, fingerprint):
            raise UsageError('{} does not hold the data that the run in {} began with: give that to --data'.format(
                self.data, self.path))
        self.data_fingerprint = fingerprint

    def open_reference(self, task: tasks.Task) -> Reference:
        """What samples of the run are held against, a ``Reference`` of its :class:`Task`, from where its data was.

        Raises ``UsageError`` where that can't be read, or is not the data that the run has learned from.
        """
        reference = tasks.open_task(task, self.data, cache=self.cache)
        if reference.fingerprint != self.data_fingerprint:
            raise UsageError('{} no longer holds the data that {} has learned from'.format(self.data, self.path))
        return reference

    def lock(self) -> None:
        """Keep the folder, which exists, for this process until :meth:`unlock`.

        Raises ``UsageError`` where another process has it, or it can't be written to.
        """
        if self._lock is None:
            try:
                self._lock = Lock(self.path / _LOCK)
            except BlockingIOError as error:
                raise UsageError(
                    '{}: another process is at work on this run: wait for it, or give another --out'.format(
                        self.path)) from error
            except OSError as error:
                raise self._not_writable(error) from error

    def why_shared(self) -> str | None:
        """A line where the folder is locked but can't be kept from other processes, else ``None``."""
        if self._lock is not None and self._lock.error:
            return '{}: no locks there ({}), so two runs on this folder would not be kept apart'.format(
                self.path, self._lock.error)
        return None

    def unlock(self) -> None:
        """Let other processes have the folder."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def prepare(self, environment: dict) -> None:
        """Make the folder, remove an earlier run's files if that was asked for, and write the settings.

        ``environment`` is what ``settings.json`` says beside the settings: device and versions.  Raises ``UsageError``
        where the folder can't be written to, or another process has begun a run in it.
        """
        try:
            (self.path / FRAMES).mkdir(parents=True, exist_ok=True)
            self.lock()
            if holds_run(self.path) and not self.resume:
                if not self.overwrite:
                    raise _holds_another(self.path)
                for path in self._own_files() + self._all_frames():
                    with contextlib.suppress(FileNotFoundError):
                        path.unlink()
            for folder in (self.path, self.path / FIGURES, self.path / FRAMES):
                for leftover, path in leftovers(folder):
                    if path in self._own_files() or _is_frame(path.name):
                        leftover.unlink()
            for path in self._damaged:
                os.replace(path, path.with_name(path.name + _DAMAGED))
            data = {} if self.data is None else {'data': self.data, 'data_fingerprint': self.data_fingerprint}
            if self.cache is not None:
                data['cache'] = self.cache
            if self.standardization is not None:
                data['standardization'] = dataclasses.asdict(self.standardization)
            write_json(self.path / SETTINGS, {
                'task': self.task, 'preset': self.preset, **dataclasses.asdict(self.settings), **data,
                **environment})
        except OSError as error:
            raise self._not_writable(error) from error

    def _not_writable(self, error):
        return UsageError('{}: can\'t be written to ({}): give another folder to --out'.format(
            self.path, error.strerror))

    def figure(self, name: str) -> pathlib.Path:
        """The path of a picture."""
        return self.path / FIGURES / name

    def frame(self, iteration: int) -> pathlib.Path:
        """The path of the video's frame of this iteration."""
        return self.path / FRAMES / '{:09d}.png'.format(iteration)

    def frames(self, last: int) -> list[pathlib.Path]:
        """The paths of the video's frames in order: one an interval up to an iteration, and that iteration's."""
        interval = self.settings.figure_interval
        return [
            path for path in self._all_frames()
            if int(path.stem) == last or int(path.stem) < last and interval and int(path.stem) % interval == 0]

    def _all_frames(self):
        folder = self.path / FRAMES
        return [folder / name for name in sorted(filter(_is_frame, os.listdir(folder)))]  # quicker than sorted paths

    def _own_files(self):
        """Every path that a run writes to, but for the frames."""
        return [self.path / name for name in _RUN_FILES + _PICTURES]

    def write_samples(self, x: numpy.ndarray, z: numpy.ndarray) -> None:
        """Write samples as the model has them and their z, (N, …) and (N, d): both float32, but points float64."""
        with open_atomically(self.path / SAMPLES) as file:
            write_arrays(file, {
                'x': self.outward(x.astype(numpy.float32)), 'z': z.astype(numpy.float32)})

    def save_snapshot(self, state) -> None:
        """Save everything that a continuation needs, after the log's entries; the snapshot before it stays."""
        self.log.flush()
        snapshots.save(self.path, state, self._identity())

    def load_snapshot(self, state) -> list[str]:
        """Load the newest snapshot that is whole, if there is any, into ``state``.

        Returns lines about those that were not used, which :meth:`prepare` sets aside.  Raises ``UsageError`` where
        there are snapshots but none fits.
        """
        passed_over = snapshots.load(
            self.path, state, self._identity(), unless_told=self.settings.of_earlier_versions())
        self._damaged = list(passed_over)
        return ['{}: damaged ({}), so the run goes on from the snapshot before it'.format(path, reason)
                for path, reason in passed_over.items()]

    def _identity(self):
        """What decides the bits of a run."""
        return {
            'task': self.task, 'preset': self.preset, 'data_fingerprint': self.data_fingerprint,
            **self.settings.deciding()}

    def save(self, name: str, model) -> None:
        """Save a model; an earlier file stays until this one is whole."""
        with open_atomically(self.path / name) as file:
            write_arrays(file, arrays_of(model))

    def load(self, name: str, model, cure: str) -> bool:
        """Load what :meth:`save` wrote into ``model`` and return whether there is such a file.

        Raises ``UsageError`` where it is damaged or does not fit, with ``cure`` for what the user can do.
        """
        path = self.path / name
        if not path.exists():
            return False
        try:
            load_arrays(model, read_arrays(path))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError('{}: damaged or of another run ({}); {}'.format(
                path, one_line(error), cure)) from error
        return True


def open_run(request) -> RunFolder:
    """The folder of a new run, or of the earlier one that is to be resumed; nothing is written yet.

    Args:
        request (ddgm.runs.command_line.Request): What the user asked for.

    Returns:
        RunFolder: With the settings to run with.

    Raises:
        UsageError: Where the folder can't be used as asked.
    """
    processes, task = join(request.communicator), tasks.find(request.task)
    asked = dataclasses.replace(request, task=task.name)  # a task of one's own may not go from process to process
    if any(other != asked for other in processes.exchange(asked)):
        raise UsageError('the processes were started with different flags: give all of them the same')
    folder = processes.from_first(lambda: _open(request, task))
    folder.processes, folder.replay = processes, request.replay
    if processes.size > 1 and folder.settings.batchsize < 2 * processes.size:
        raise UsageError(
            '--batchsize {} is too small for {} processes, of which each has two samples at least: give a larger one, '
            'or start fewer'.format(folder.settings.batchsize, processes.size))
    return folder


def _open(request, task):
    path = pathlib.Path(request.out)
    if os.path.exists(path) and not path.is_dir():
        raise UsageError('{} is a file: give another folder to --out'.format(path))
    if request.resume:
        if not holds_run(path):
            raise UsageError('{} holds no run to resume: leave out --resume to start one'.format(path))
        return _resumed(request, task)
    if holds_run(path) and not request.overwrite:
        raise _holds_another(path)
    keep_apart(path, task, request.data)
    if request.preset is None and task.preset_for:
        request = dataclasses.replace(request, preset=task.preset_for(request.data))
    try:
        settings = request.settings()
    except ValueError as error:  # a flag that does not go with what suits the data
        raise UsageError(str(error)) from error
    return RunFolder(
        path, task.name, request.preset or task.default_preset, settings, request.device or '@numpy',
        request.data and os.path.abspath(request.data), cache=_cache_of(request), overwrite=request.overwrite,
        asked=frozenset(request.changes))


def _cache_of(request):
    """The folder for a cache that was asked for, as a path that holds elsewhere too."""
    return request.cache if request.cache in (None, picture_cache.NONE) else os.path.abspath(request.cache)


def keep_apart(out, task: tasks.Task | str | None, data, flag: str = '--out') -> None:
    """Raise ``UsageError`` where what is written to a folder would lie among the data of a task, if that has a folder.

    A folder of pictures is read with its sub-folders and those that links lead to, so what is written there would be
    data from then on.  A name of no task of this package, or ``None``, is that of data of another kind.
    """
    if isinstance(task, str):
        task = next((known for known in tasks.OF_THE_PACKAGE if known.name == task), None)
    of_pictures = bool(task and task.data and task.data.of_pictures)
    for folder in [] if not data else picture_folder.folders_of(pathlib.Path(data)) if of_pictures else [data]:
        if (is_within(out, folder) and (of_pictures or is_within(folder, out))
                or is_within(folder, pathlib.Path(out) / FIGURES)):
            raise UsageError('{} lies in the folder of the data, {}, or holds it: give another folder to {}'.format(
                out, folder, flag))


def keep_out(out, run, flag: str = '--out') -> None:
    """Raise ``UsageError`` where what is written to a path would lie in the folder of a run, or replace it."""
    if is_within(out, run):
        raise UsageError('{} lies in a run, {}: give another path to {}'.format(one_line(out), one_line(run), flag))


def _is_frame(name):
    return re.fullmatch(r'\d{9}\.png', name) is not None


def _holds_another(path):
    return UsageError(
        '{} holds a run: go on with it by --resume, start over by --overwrite, or give another --out'.format(path))


def holds_run(path) -> bool:
    """Whether a folder has any of a run's files."""
    return any(os.path.exists(os.path.join(path, name)) for name in _RUN_FILES)


def _resumed(request, task):
    """The run that the requested folder holds, with the changes that resuming allows."""
    folder = read_run(request.out, snapshots.START_OVER, task)
    if folder.task != task.name:
        raise UsageError('{} is a run of {}: resume it with train_{}.py'.format(
            folder.path, folder.task, folder.task))
    if request.preset not in (None, folder.preset):
        raise UsageError('{} is a run of preset {}: leave out --preset to resume it'.format(
            folder.path, folder.preset))
    for name, value in request.changes.items():
        if name not in folder.settings.CHANGEABLE and value != getattr(folder.settings, name):
            raise UsageError('{} has run with --{} {}: leave it out to resume, or give another --out'.format(
                folder.path, name, getattr(folder.settings, name)))
    folder.settings = dataclasses.replace(folder.settings, **request.changes)
    folder.device = request.device or folder.device
    folder.data = request.data and os.path.abspath(request.data) or folder.data
    folder.cache = _cache_of(request) or folder.cache
    folder.resume = True
    return folder


def _standardization_of(saved):
    """The units that ``settings.json`` tells of, or ``None``; raises ``ValueError`` where they are none."""
    told = saved.get('standardization')
    if told is None:
        return None
    units = Standardization(*(tuple(map(float, told[name])) for name in ('mean', 'scale')))
    are_finite = numpy.isfinite(units.mean + units.scale).all()
    if len(units.mean) != len(units.scale) or not are_finite or min(units.scale) <= 0:
        raise ValueError('{!r} is no standardization'.format(told))
    return units


def read_run(path, cure: str, own: tasks.Task | None = None) -> RunFolder:
    """The folder of a run that was begun, as its ``settings.json`` describes it.

    Args:
        path: The folder.
        cure: What the user can do where it is none.
        own: The task of the user's own that the run may be of, beside this package's.

    Raises ``UsageError`` where it is no run, or of another task.
    """
    settings_path = pathlib.Path(path) / SETTINGS
    try:
        saved = read_json(settings_path)
        if not isinstance(saved['task'], str):
            raise ValueError('{!r} is no task'.format(saved['task']))
        settings_type = tasks.find(saved['task'], own).settings_type
        optional = [saved[name] for name in ('data', 'data_fingerprint', 'cache') if saved.get(name) is not None]
        for text in (saved['preset'], saved['device'], *optional):
            if not isinstance(text, str) or '\0' in text:
                raise ValueError('{!r} is neither a name nor a path'.format(text))
        told = {**settings_type.of_earlier_versions(), **saved}
        return RunFolder(
            path, saved['task'], saved['preset'], settings_type(**{name: told[name] for name in settings_type.types()}),
            saved['device'], saved.get('data'), saved.get('data_fingerprint'), saved.get('cache'),
            standardization=_standardization_of(saved))
    except UsageError as error:
        raise UsageError('{}: {}'.format(settings_path, error)) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError('{}: not the settings of a run ({}); {}'.format(
            settings_path, one_line(repr(error)), cure)) from error
