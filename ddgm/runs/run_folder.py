"""The run folder: what a run has on the disk, and how it is written so that a crash never costs a whole file."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import pathlib
import time

import numpy

from ddgm.data import picture_cache
from ddgm.data.standardization import Standardization, Units
from ddgm.evaluation import tasks
from ddgm.evaluation.reference import Reference
from ddgm.presets import Settings, text_of
from ddgm.runs import event_file, run_files, snapshots
from ddgm.runs.log import Log
from ddgm.runs.processes import Processes, join
from ddgm.runs.run_files import FIGURES, FRAMES, LOG, METRICS, SAMPLES, SETTINGS, frames_in
from ddgm.support.errors import UsageError, one_line
from ddgm.support.files import (
    free_name,
    keep_theirs,
    not_writable,
    open_atomically,
    read_arrays,
    read_json,
    write_arrays,
    write_json,
)
from ddgm.support.serialization import arrays_of, load_arrays

_KEYS = {  # of settings.json, beside the settings
    'task', 'preset', 'data', 'data_fingerprint', 'cache', 'standardization', 'tensorboard', 'device', 'versions',
    'went_on', 'communicator', 'processes', 'files'}


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
        graph (bool): Whether a GPU replays whole iterations.
        tf32 (bool): Whether a GPU multiplies matrices in TF32.
        numba (bool): Whether numba compiles, or ``None`` for where it can.
        is_scored (bool): Whether samples are scored at the end.
        tells_likelihood (bool): Whether the likelihood of data is told then.
        standardization (ddgm.data.standardization.Standardization): Of the user's own points, or ``None``.
        asked (frozenset): The settings that the user asked for by name, which data does not decide.
        published (Settings): The preset's own settings, as far as data does not decide them; ``None``: it is not known.
        tensorboard (bool): Whether it writes event files.
        files (list of str): What it has written, by paths within the folder.
        notes (dict): What somebody else has added to ``settings.json``.
        events (ddgm.runs.event_file.EventFile): Where it writes one, see :meth:`begin_log`.
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
    published: Settings | None = None
    tensorboard: bool = False
    files: list[str] = dataclasses.field(default_factory=list)
    notes: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        self.path = pathlib.Path(self.path)
        self.log = Log(self.path / LOG)
        self.processes = Processes()
        self.replay = self.is_scored = True
        self.graph = self.tf32 = self.tells_likelihood = False
        self.numba = None
        self.events = None
        self._environment = None
        self._damaged = []
        self._lock = None

    @property
    def told_preset(self) -> str:
        """The preset's name, and how the run changes it: "post, with n_experts 64"."""
        return self.settings.told_beside(self.preset, self.published)

    @property
    def units(self) -> Units:
        """Those of x, as the user has them."""
        return self.standardization or Units()

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
        if self.published:
            self.published = dataclasses.replace(self.published, **reference.decides)

    def check_data(self, fingerprint: str | None) -> None:
        """Raise ``UsageError`` where a resumed run began with other data."""
        if self.data_fingerprint not in (None, fingerprint):
            raise UsageError('{} does not hold the data that the run in {} began with: give that to --data'.format(
                self.data, self.path))
        self.data_fingerprint = fingerprint

    def open_reference(self, task: tasks.Task, to_learn: bool = False) -> Reference:
        """What samples of the run are held against, a ``Reference`` of its :class:`Task`, from where its data was.

        With ``to_learn`` its ``draw_data`` is what the run has learned from.
        Raises ``UsageError`` where that can't be read, or is not the data that the run has learned from.
        """
        if task.data and self.data is None:
            raise UsageError('{} does not tell where its data lies'.format(self.path))
        opened = tasks.open_task if to_learn else tasks.open_reference
        reference = opened(task, self.data, self.settings, self.cache)
        if reference.fingerprint != self.data_fingerprint:
            raise UsageError('{} no longer holds the data that {} has learned from'.format(self.data, self.path))
        return reference

    def lock(self) -> None:
        """Keep the folder, which exists, for this process until :meth:`unlock`, as :func:`run_files.lock` does."""
        if self._lock is None:
            self._lock = run_files.lock(self.path)

    def why_shared(self) -> str | None:
        """A line where the folder is locked but can't be kept from other processes, else ``None``."""
        if self._lock is not None and self._lock.error:
            return '{}: no locks there ({}), so two runs on this folder would not be kept apart'.format(
                self.path, self._lock.error)
        return None

    def unlock(self) -> None:
        """Let other processes have the folder."""
        if self.events is not None:
            self.events.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def prepare(self, environment: dict) -> None:
        """Make the folder, remove what an earlier run lists if that was asked for, and write the settings.

        ``environment`` is what ``settings.json`` says beside the settings: device and versions.  Raises ``UsageError``
        where the folder can't be written to, holds files of somebody else's by the names of a run's, or another process
        has begun a run in it.
        """
        try:
            (self.path / FRAMES).mkdir(parents=True, exist_ok=True)
            self.lock()
            if not self.resume:
                run_files.check_new(self.path, self.overwrite)
                self.files = run_files.files_of(self.path)
            run_files.delete_unfinished(self.path, self.files)
            if not self.resume:
                run_files.delete(self.path, self.files)
                self.files = []
            for path in self._damaged:
                aside = free_name(path)
                os.replace(path, aside)
                self.files.append(aside.name)
            self._environment = environment
            self._list(*run_files.FIRST)
        except OSError as error:
            raise not_writable(self.path, error) from error

    def _list(self, *names):
        """Have some files among those that ``settings.json`` lists, before they are written."""
        self.files = list(dict.fromkeys([*self.files, *names]))
        data = {} if self.data is None else {'data': self.data, 'data_fingerprint': self.data_fingerprint}
        optional = {
            'cache': self.cache, 'standardization': self.standardization and dataclasses.asdict(self.standardization),
            'tensorboard': self.tensorboard or None}
        write_json(self.path / SETTINGS, {
            'task': self.task, 'preset': self.preset, **dataclasses.asdict(self.settings), **data,
            **{name: value for name, value in optional.items() if value is not None}, **self._environment,
            'files': self.files, **self.notes})

    def file(self, name: str) -> pathlib.Path:
        """The path of a file that the run writes, by its path within the folder.

        Raises ``UsageError`` where somebody else's is there.
        """
        if self._environment is not None and name not in self.files:
            keep_theirs(self.path, [name], cure='move it away, and go on with --resume')
            self._list(name)
        return self.path / name

    def with_earlier_versions(self, environment: dict, iteration: int) -> tuple[dict, str | None]:
        """What ``settings.json`` says of a run that goes on from an iteration, and a line where its bits may be others.

        ``versions`` are those that the run began with.  ``went_on`` is a list of the iterations from which on there
        were others, with these.
        """
        saved = read_json(self.path / SETTINGS) if self.resume else {}
        first, went_on = saved.get('versions'), saved.get('went_on') or []
        try:
            before, now, line = dict(went_on[-1]['versions'] if went_on else first), environment['versions'], None
        except (TypeError, ValueError, KeyError):  # of a version that did not tell them, or changed by somebody
            return environment, None
        if before != now:
            went_on = [*went_on, {'iteration': iteration, 'versions': now}]
            line = 'Goes on with {}: from here on the bits may be others'.format(one_line(', '.join(
                '{} {} in place of {}'.format(name, now.get(name), before.get(name))
                for name in {**now, **before} if now.get(name) != before.get(name))))
        return {**environment, 'versions': first, **({'went_on': went_on} if went_on else {})}, line

    def figure(self, name: str) -> pathlib.Path:
        """The path of a picture that the run draws, as :meth:`file` has it."""
        return self.file('{}/{}'.format(FIGURES, name))

    def frame(self, iteration: int) -> pathlib.Path:
        """The path of the video's frame of this iteration."""
        return self.path / FRAMES / '{:09d}.png'.format(iteration)

    def frames(self, last: int) -> list[pathlib.Path]:
        """The paths of the video's frames in order: one an interval up to an iteration, and that iteration's."""
        interval, paths = self.settings.figure_interval, map((self.path / FRAMES).joinpath, frames_in(self.path))
        return [
            path for path in paths
            if int(path.stem) == last or int(path.stem) < last and interval and int(path.stem) % interval == 0]

    def begin_log(self, state) -> int:
        """Leave of the log what a state has behind it, and begin an event file with that if the run writes one.

        Returns how many entries there are.
        """
        # A closing entry leaves the summary full, for the entry that is due later where a run is extended.
        is_closed = state.iteration < self.settings.iterations and state.summary.compute_mean()
        n = self.log.keep(state.iteration - 1 if is_closed else state.iteration)
        if self.tensorboard:
            # Made anew of the log and the frames, it has no step twice, whatever the earlier one held.
            (self.path / event_file.FOLDER).mkdir(exist_ok=True)
            earlier = [name for name in self.files if name.startswith(event_file.FOLDER + '/')]
            names = ('{}/events.out.tfevents.{}.ddgm'.format(event_file.FOLDER, number)
                     for number in itertools.count(int(time.time())))
            name = next(name for name in names if not os.path.lexists(self.path / name))
            self.events = event_file.EventFile(self.file(name), time.time() - state.elapsed_time)
            for entry in self.log:
                self.events.add_entry(entry)
            for path in self.frames(state.iteration):
                self.events.add_frame(path)
            run_files.delete(self.path, earlier)
            self.files = [name for name in self.files if name not in earlier]
            self._list()
        return n

    def append(self, entry: dict) -> None:
        """Add an entry to the log, and to the event file where there is one."""
        self.log.append(entry)
        if self.events is not None:
            self.events.add_entry(entry)

    def write_samples(self, x: numpy.ndarray, z: numpy.ndarray) -> None:
        """Write samples as the model has them and their z, (N, …) and (N, d): both float32, but points float64."""
        with open_atomically(self.file(SAMPLES)) as file:
            write_arrays(file, {'x': self.units.outward(x.astype(numpy.float32)), 'z': z.astype(numpy.float32)})

    def drop_metrics_of_others(self, iterations: int) -> None:
        """Remove the metrics of earlier samples, which had another number of iterations behind them."""
        with contextlib.suppress(ValueError, KeyError, TypeError):  # there are none, or they say nothing
            if read_json(self.path / METRICS)['iterations'] == iterations:
                return
        (self.path / METRICS).unlink(missing_ok=True)

    def save_snapshot(self, state) -> None:
        """Save everything that a continuation needs, after the log's entries; the snapshot before it stays."""
        self.log.flush()
        snapshots.save(self.path, state, self._identity())

    def load_snapshot(self, state) -> list[str]:
        """Load the newest snapshot that is whole, if there is any, into ``state``.

        Returns lines about those that were not used, which :meth:`prepare` sets aside.  Raises ``UsageError`` where
        there are snapshots but none fits.
        """
        deciding = self.settings.deciding()
        passed_over = snapshots.load(self.path, state, self._identity(), unless_told={
            name: value for name, value in self.settings.of_earlier_versions().items() if name in deciding})
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
        with open_atomically(self.file(name)) as file:
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
    folder.processes, folder.replay, folder.is_scored = processes, request.replay, request.score
    folder.graph, folder.tf32, folder.numba = request.graph, request.tf32, request.numba
    preset = task.presets.get(folder.preset)
    folder.tells_likelihood = request.likelihood if request.likelihood is not None else bool(
        request.score and preset and preset.likelihood)
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
        if not any(os.path.lexists(path / name) for name in run_files.FIRST[:-1]):
            raise UsageError('{} holds no run to resume: leave out --resume to start one'.format(path))
        return _resumed(request, task)
    run_files.check_new(path, request.overwrite)
    run_files.keep_apart(path, task, request.data)
    if request.tensorboard:
        event_file.require()
    if request.preset is None and task.preset_for:
        request = dataclasses.replace(request, preset=task.preset_for(request.data))
    try:
        settings = request.settings()
    except ValueError as error:  # a flag that does not go with what suits the data
        raise UsageError(str(error)) from error
    preset = request.preset or task.default_preset
    return RunFolder(
        path, task.name, preset, settings, request.device or '@numpy',
        request.data and os.path.abspath(request.data), cache=_cache_of(request), overwrite=request.overwrite,
        asked=frozenset(request.changes), published=task.presets[preset].settings,
        tensorboard=bool(request.tensorboard))


def _cache_of(request):
    """The folder for a cache that was asked for, as a path that holds elsewhere too."""
    return request.cache if request.cache in (None, picture_cache.NONE) else os.path.abspath(request.cache)


def _resumed(request, task):
    """The run that the requested folder holds, with the changes that resuming allows."""
    folder = read_run(
        request.out, 'put that right: a run with the same flags elsewhere begins with the same file', task)
    if folder.task != task.name:
        raise UsageError('{} is a run of {}: resume it with train_{}.py'.format(
            folder.path, folder.task, folder.task))
    if request.preset not in (None, folder.preset):
        raise UsageError('{} is a run of preset {}: leave out --preset to resume it'.format(
            folder.path, folder.preset))
    for name, value in request.changes.items():
        if name not in folder.settings.CHANGEABLE and value != getattr(folder.settings, name):
            has_flag = folder.settings.told_of(name).flag
            raise UsageError('{} has run with {}{}: leave it out to resume, or give another --out'.format(
                folder.path, '--{} '.format(name) if has_flag else '--set {}='.format(name),
                text_of(getattr(folder.settings, name))))
    folder.settings = dataclasses.replace(folder.settings, **request.changes)
    folder.device = request.device or folder.device
    folder.data = request.data and os.path.abspath(request.data) or folder.data
    folder.cache = _cache_of(request) or folder.cache
    if request.tensorboard is not None:
        folder.tensorboard = request.tensorboard
    if folder.tensorboard:
        event_file.require()
    folder.resume = True
    return folder


def read_run(path, cure: str, own: tasks.Task | None = None) -> RunFolder:
    """The folder of a run that was begun, as its ``settings.json`` describes it.

    Args:
        path: The folder.
        cure: What the user can do where it is none.
        own: The task of the user's own that the run may be of, beside this package's.

    Raises ``UsageError`` where it is no run, or of another task.
    """
    settings_path = pathlib.Path(path) / SETTINGS
    if not settings_path.exists():
        raise UsageError('{} is no run\'s folder: {}; {}'.format(
            one_line(path), 'it has no ' + SETTINGS if os.path.isdir(path) else 'there is no such folder', cure))
    try:
        saved = read_json(settings_path)
        if not isinstance(saved['task'], str):
            raise ValueError('{!r} is no task'.format(saved['task']))
        task = tasks.find(saved['task'], own)
        optional = [saved[name] for name in ('data', 'data_fingerprint', 'cache') if saved.get(name) is not None]
        for text in (saved['preset'], saved['device'], *optional):
            if not isinstance(text, str) or '\0' in text:
                raise ValueError('{!r} is neither a name nor a path'.format(text))
        types, preset = task.settings_type.types(), task.presets.get(saved['preset'])
        return RunFolder(
            path, saved['task'], saved['preset'], task.settings_type.of_json(saved), saved['device'], saved.get('data'),
            saved.get('data_fingerprint'), saved.get('cache'),
            standardization=Standardization.of_json(saved.get('standardization')),
            published=preset and preset.settings, tensorboard=saved.get('tensorboard') is True,
            files=[
                name for name in run_files.files_of(path)
                if name in run_files.FIRST or os.path.lexists(os.path.join(path, name))],
            notes={name: saved[name] for name in saved if name not in types and name not in _KEYS})
    except UsageError as error:
        raise UsageError('{}: {}'.format(settings_path, error)) from error
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        reason = 'it has no {}'.format(*error.args) if isinstance(error, KeyError) else error
        raise UsageError('{}: not the settings of a run ({}); {}'.format(
            settings_path, one_line(reason), cure)) from error
