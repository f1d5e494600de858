"""What all studies share: runs of several seeds side by side, their results on disk.

A study is a module with

- ``CASES``: by name, a :class:`Case`; where the tasks differ, a name begins with the task and a slash;
- ``ITERATIONS``: how long its runs are; ``NEEDS``: of ``'mnist'`` and ``'images'``, whose data all cases read, beside
  that of their own task;
- ``measure(run)``: what is found of one :class:`Run`; returns what JSON can hold;
- ``tables(results)``: by name, what is printed, as ``ddgm.support.tables`` has it; ``results`` are ``{case: [what
  measure returned, one a seed]}``;
- ``draw(results, out)``: pictures of the same, in the study's own folder;
- ``CODE``, if it has it: files outside of this package that decide what is measured.

Results and trained models are kept under a hash of what decides them: data, settings and code.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import hashlib
import importlib
import json
import multiprocessing
import multiprocessing.resource_tracker
import os
import pathlib
import re
import signal
from collections.abc import Callable

import chainer
import numpy
from chainer import serializers

import ddgm
from ddgm import presets
from ddgm.data import mnist
from ddgm.evaluation.tasks import find, open_task
from ddgm.fast import kernels
from ddgm.runs import run_files, stop_signals, training_state
from ddgm.support.errors import RunFailed, UsageError
from ddgm.support.files import keep_theirs, not_writable, open_atomically, write_json
from ddgm.support.tables import markdown, rounded
from ddgm.trained.loading import beginning

KEEP_INTERVAL = 1_000  # iterations between two states that are kept for other studies
_TABLES, _RESULT = 'tables.json', re.compile(r'-seed\d+-[0-9a-f]{16}\.')
# Rooms of the package that decide nothing of a result; of the studies, only its own module does.
SHOWING = ('compare', 'figures', 'prepare', 'studies', 'weights')


# ---- what a study is made of

@dataclasses.dataclass(frozen=True)
class Case:
    """What the runs of a case train.

    Attributes:
        task (str), preset (str): Of ``ddgm.presets.PRESETS``.
        changes (dict): Settings by name, in place of the preset's.
        length (float): Their iterations, over those of the study.
        least (int): Iterations that they have in any case.
        change_models: ``change_models(energy_model, generative_model)`` may change both before they start.
    """

    task: str
    preset: str = 'default'
    changes: dict = dataclasses.field(default_factory=dict)
    length: float = 1.0
    least: int = 1
    change_models: Callable | None = None

    def settings(self, seed: int, iterations: int) -> presets.Settings:
        """Those of a run, in a study of so many iterations."""
        return dataclasses.replace(
            presets.PRESETS[self.task][self.preset].settings, seed=seed,
            iterations=max(self.least, round(self.length * iterations)), **self.changes)


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of a study, which ``measure`` is handed.

    Attributes:
        study (str): The module.
        name (str): Of the case.
        settings (ddgm.presets.Settings): What it trains with.
        data (dict): Folders of data, by ``'mnist'`` and ``'images'``.
        out (pathlib.Path): The study's folder.
        key (str): Hash of what decides what is measured.
    """

    study: str
    name: str
    settings: presets.Settings
    data: dict
    out: pathlib.Path
    key: str

    @property
    def case(self) -> Case:
        """What the study says of it."""
        return importlib.import_module(self.study).CASES[self.name]

    @property
    def path(self) -> pathlib.Path:
        """Where its result is kept; what else it keeps has that name too, with another ending."""
        return self.out / '{}-seed{}-{}.json'.format(self.name.replace('/', '-'), self.settings.seed, self.key)

    @functools.cached_property
    def reference(self):
        """Its task's data, and what samples are held against: see ``ddgm.evaluation.tasks.open_task``."""
        return open_task(self.case.task, self.data.get(self.case.task), self.settings)

    def marks(self, n: int) -> list:
        """n iterations at equal distances, the last one among them, and 0."""
        return sorted({round(self.settings.iterations * i / n) for i in range(n + 1)})

    def finished(self) -> tuple:
        """Train to the end: the finished models with what is scored of them, see ``training_state.finish``."""
        state, = self.states([self.settings.iterations])
        return self.finish(state)

    def finish(self, state: training_state.TrainingState) -> tuple:
        """The models of a state as a run would leave them, with what is scored of them: ``training_state.finish``."""
        return training_state.finish(state, self.settings, self.reference.draw_data)

    def states(self, marks: list, keeps: bool = True):
        """Train, yielding the ``TrainingState`` at each of ``marks``, iterations in order; 0 is before the first one.

        With ``keeps``, and unless the case changes the models, states at multiples of 1,000 iterations are kept beside
        the folder of the study.  What was trained before, by this study or another, is gone on from to the same bits.
        """
        task, draw_data, kept = self.case.task, self.reference.draw_data, self.out.parent / 'trained'
        key = hash_of(self.settings.deciding(), self.reference.fingerprint, code())

        def path_at(iteration):
            return kept / '{}-{}-{}.npz'.format(task, key, iteration)
        state = training_state.build_state(self.settings, self._build, draw_data, chainer.get_device('@numpy'))
        keeps = keeps and not self.case.change_models
        keeps = range(KEEP_INTERVAL, marks[-1] + 1, KEEP_INTERVAL) if keeps else ()
        known = [iteration for iteration in keeps if path_at(iteration).exists()]
        for mark in marks:
            newest = max((iteration for iteration in known if iteration <= mark), default=0)
            if newest > state.iteration:
                serializers.load_npz(path_at(newest), state)
            if mark > state.iteration:
                until_mark = dataclasses.replace(self.settings, iterations=mark)
                for iteration, _ in training_state.iterations_of(state, draw_data, until_mark):
                    state.iteration = iteration
                    if iteration in keeps:
                        kept.mkdir(parents=True, exist_ok=True)
                        with open_atomically(path_at(iteration)) as file:
                            serializers.save_npz(file, state, compression=False)
            yield state

    def _build(self, settings, rng):
        models = beginning(find(self.case.task).build_models)(settings, rng)
        if self.case.change_models:
            self.case.change_models(*models)
        return models


# ---- what decides a result

def hash_of(*parts) -> str:
    """A short hash of what JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def code(*files: str) -> str:
    """A hash of the package's files that decide a result, of others, and of numba in use, which rounds otherwise."""
    return hash_of(_hashes_of(files), kernels.compiler()[0])


@functools.cache
def _hashes_of(files):
    package = pathlib.Path(ddgm.__file__).parent
    own = [path for path in package.rglob('*.py') if path.relative_to(package).parts[0] not in SHOWING]
    return [
        (path.name, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in [*sorted(own), pathlib.Path(__file__), *map(pathlib.Path, files)]]


# ---- carrying it out

def carry_out(
        module, data: dict, seeds: range, jobs: int, iterations: int | None, out: pathlib.Path,
        cases: list | None = None) -> None:
    """Measure all cases of a study with all ``seeds``, ``jobs`` at a time, then print tables and draw.

    The tables are also written to ``tables.json``, with the cases that they lack.

    Args:
        module: The study.
        data: Folders of data, ``None`` where none was given, by ``'mnist'`` and ``'images'``.
        seeds: One for each run of a case.
        jobs: Processes.
        iterations: Length of a run, or ``None`` for the study's own.
        out: The study's folder, where results and pictures go.
        cases: Names; only these; ``None``: all whose data was given.

    Raises ``UsageError`` where data is missing, a case is unknown or nothing can be written, ``RunFailed`` where a
    process was killed.  However it ends, no process goes on and finished runs stay.
    """
    for task, folder in data.items():
        run_files.keep_apart(out, task, folder)
    run_files.keep_out_of_run(out)
    keep_theirs(out, _shown_in(out), _shown_in(out) if any(map(_RESULT.search, _names_in(out))) else ())
    cases, iterations = _cases_to_measure(module, data, cases), iterations or module.ITERATIONS
    fingerprints = _fingerprints(module, data, cases)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_writable(out, error) from error
    runs = {
        case: [run_of(module, case, seed, iterations, data, fingerprints, out) for seed in seeds]
        for case in cases}
    _measure_side_by_side(
        [run for of_a_seed in zip(*runs.values()) for run in of_a_seed if not run.path.exists()], jobs)
    results = {
        case: [json.loads(run.path.read_text(encoding='utf-8')) for run in of_a_case]
        for case, of_a_case in runs.items()}
    _tell(module, results, seeds, iterations, out)


def _names_in(folder):
    try:
        return os.listdir(folder)
    except OSError:  # it is not there yet
        return []


def _shown_in(out):
    """The names of what a study draws and writes anew each time; its results are never replaced."""
    return [name for name in _names_in(out) if name == _TABLES or name.endswith('.png')]


def _needs(module, case, data):
    """The names of the data that a case reads."""
    return {module.CASES[case].task, *module.NEEDS} & data.keys()


def _cases_to_measure(module, data, cases):
    """Those that were asked for, as far as their data was given."""
    unknown = [case for case in cases or () if case not in module.CASES]
    if unknown:
        raise UsageError('no case {}: there are {}'.format(', '.join(unknown), ', '.join(module.CASES)))
    missing = {
        case: {name for name in _needs(module, case, data) if data[name] is None} for case in cases or module.CASES}
    ready = [case for case in missing if not missing[case]]
    if len(ready) < len(missing):
        flags = ' and '.join('--' + name for name in sorted(set().union(*missing.values())))
        if cases or not ready:
            raise UsageError('this needs data: give its folder to {}'.format(flags))
        print('Without {} left out: {}'.format(flags, ', '.join(case for case in missing if case not in ready)))
    return ready


def _fingerprints(module, data, cases):
    """Of each data set that is read.  All are opened, so that a mistake shows now and not after an hour."""
    found = {}
    for name in sorted(set().union(*(_needs(module, case, data) for case in cases))):
        if name == 'mnist':
            mnist.fetch(data[name])
        task = find(name)
        found[name] = task.open(data[name], task.presets[task.default_preset].settings, None).fingerprint
    return found


def run_of(module, case: str, seed: int, iterations: int, data: dict, fingerprints: dict, out: pathlib.Path) -> Run:
    """A run of a study whose runs have so many iterations; ``fingerprints`` are those of the data, by its name."""
    settings = module.CASES[case].settings(seed, iterations)
    read = {name: fingerprints[name] for name in _needs(module, case, data)}
    key = hash_of(case, dataclasses.asdict(settings), read, code(module.__file__, *getattr(module, 'CODE', ())))
    return Run(module.__name__, case, settings, data, out, key)


def _measure_side_by_side(due, jobs):
    """Each of ``due`` in a process, ``jobs`` at a time, and its result on disk; however it ends, no process goes on."""
    if hasattr(signal, 'SIGHUP'):  # and not on Windows
        with stop_signals.handled_by(signal.SIG_IGN):  # else it would end multiprocessing's helper in a traceback
            multiprocessing.resource_tracker.ensure_running()
    with concurrent.futures.ProcessPoolExecutor(
            jobs, mp_context=multiprocessing.get_context('spawn'), initializer=_leave_interrupts_to_parent) as pool:
        futures = {pool.submit(_measure, run): run for run in due}
        try:
            for n, future in enumerate(concurrent.futures.as_completed(futures), 1):
                run = futures[future]
                write_json(run.path, future.result())
                print('{} of {}: {}, seed {}'.format(n, len(due), run.name, run.settings.seed), flush=True)
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            if isinstance(error, concurrent.futures.BrokenExecutor):
                raise RunFailed(
                    'a run was killed, perhaps for want of memory: the same command goes on, --jobs 1 needs less'
                ) from error
            raise


def _leave_interrupts_to_parent():
    for name in ('SIGINT', 'SIGHUP'):  # of a terminal, which sends them to both; Windows lacks the second
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _measure(run):
    """One run, in a process of its own."""
    with numpy.errstate(all='ignore'), chainer.using_config('type_check', False):
        return importlib.import_module(run.study).measure(run)


def _tell(module, results, seeds, iterations, out):
    """Print the tables, write them, and draw."""
    print('\nSeeds {} to {}, {:,} iterations: medians, and in brackets each seed'.format(
        seeds[0], seeds[-1], iterations))
    tables = module.tables(results)
    for name, table in tables.items():
        print('\n{}{}\n\n{}'.format(name, ', medians' * (not table.get('seeds', True)), markdown(table)), end='')
    write_json(out / _TABLES, {
        'seeds': list(seeds), 'iterations': iterations,
        'left_out': [case for case in module.CASES if case not in results], 'tables': tables})
    module.draw(results, out)
    print('\nTables and pictures: {}'.format(out))


# ---- tables

def curve(runs, key, first=0):
    """What a plot shows of runs that have a ``'trace'``: iterations from an entry on, and each run's values there."""
    return ([entry['iteration'] for entry in runs[0]['trace'][first:]],
            [[entry[key] for entry in run['trace'][first:]] for run in runs])


def by_task(results, shown):
    """For each task that has cases: its name, what ``shown`` has of it, and its cases by what follows the name."""
    for task, names in shown.items():
        cases = {case.split('/', 1)[1]: runs for case, runs in results.items() if case.startswith(task + '/')}
        if cases:
            yield task, names, cases


def table_of_metrics(head, names, cases):
    """A table of the ``'metrics'`` of runs that have these names; a run may have ``None``."""
    return {
        'columns': [head, *map('`{}`'.format, names)],
        'rows': [[case, *(rounded([run['metrics'] and run['metrics'][name] for run in runs]) for name in names)]
                 for case, runs in cases.items()]}
