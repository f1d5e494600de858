"""What all studies share: runs of several seeds side by side, their results on disk.

A study is a module with

- ``CASES``: by name, the settings that a case changes (a dict), or whatever its ``measure`` wants; where the tasks
  differ, a name begins with the task and a slash;
- ``ITERATIONS``: how long its runs are; ``NEEDS``: of ``'mnist'`` and ``'images'``, whose data all cases read, whatever
  their names begin with;
- ``measure(case, seed, iterations, data, out)``: one run; returns what JSON can hold;
- ``tables(results)``: by name, what is printed, as ``ddgm.support.tables`` has it; ``results`` are ``{case: [what
  measure returned, one a seed]}``;
- ``draw(results, out)``: pictures of the same.

``out`` is the study's own folder; what it trains it may keep in :func:`trained`, where other studies find it.
"""

import concurrent.futures
import dataclasses
import hashlib
import importlib
import json
import multiprocessing
import multiprocessing.resource_tracker
import signal

import chainer
import numpy
from chainer import serializers

from ddgm import presets
from ddgm.data import mnist
from ddgm.evaluation.tasks import build_models, open_task
from ddgm.runs import run_folder, stop_signals, training_state
from ddgm.support.errors import RunFailed, UsageError
from ddgm.support.files import open_atomically, write_json
from ddgm.support.tables import markdown, rounded

KEEP_INTERVAL = 1_000  # iterations between two states that are kept for other studies


def carry_out(module, data, seeds, jobs, iterations, out, cases=None):
    """Measure all cases of a study with seeds 0 to ``seeds`` − 1, ``jobs`` at a time, then print tables and draw.

    The tables are also written to ``tables.json``, with the cases that they lack.

    Args:
        module: The study.
        data (dict): Folders of data, ``None`` where none was given, by ``'mnist'`` and ``'images'``.
        seeds (int), jobs (int): Runs of a case; processes.
        iterations (int): Length of a run, or ``None`` for the study's own.
        out (pathlib.Path): The study's folder, where results and pictures go.
        cases (list of str): Only these; ``None``: all whose data was given.

    Raises ``UsageError`` where data is missing, a case is unknown or nothing can be written, ``RunFailed`` where a
    process was killed.  However it ends, no process goes on and finished runs stay.
    """
    for task, folder in data.items():
        run_folder.keep_apart(out, task, folder)
    cases, iterations = _cases_to_measure(module, data, cases), iterations or module.ITERATIONS
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError('{}: can\'t be written to ({}): give another folder to --out'.format(
            out, error.strerror)) from error

    def path_of(case, seed):
        return out / '{}-seed{}-{}.json'.format(case.replace('/', '-'), seed, iterations)
    due = [(case, seed) for seed in range(seeds) for case in cases if not path_of(case, seed).exists()]
    if hasattr(signal, 'SIGHUP'):  # and not on Windows
        with stop_signals.handled_by(signal.SIG_IGN):  # else it would end multiprocessing's helper in a traceback
            multiprocessing.resource_tracker.ensure_running()
    with concurrent.futures.ProcessPoolExecutor(
            jobs, mp_context=multiprocessing.get_context('spawn'), initializer=_leave_interrupts_to_parent) as pool:
        futures = {
            pool.submit(_measure, module.__name__, case, seed, iterations, data, out): (case, seed)
            for case, seed in due}
        try:
            for n, future in enumerate(concurrent.futures.as_completed(futures), 1):
                write_json(path_of(*futures[future]), future.result())
                print('{} of {}: {}, seed {}'.format(n, len(due), *futures[future]), flush=True)
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            if isinstance(error, concurrent.futures.BrokenExecutor):
                raise RunFailed(
                    'a run was killed, perhaps for want of memory: the same command goes on, --jobs 1 needs less'
                ) from error
            raise
    results = {
        case: [json.loads(path_of(case, seed).read_text(encoding='utf-8')) for seed in range(seeds)]
        for case in cases}
    print('\nSeeds 0 to {}, {:,} iterations: medians, and in brackets each seed'.format(seeds - 1, iterations))
    tables = module.tables(results)
    for name, table in tables.items():
        print('\n{}{}\n\n{}'.format(name, ', medians' * (not table.get('seeds', True)), markdown(table)), end='')
    write_json(out / 'tables.json', {
        'seeds': list(range(seeds)), 'iterations': iterations,
        'left_out': [case for case in module.CASES if case not in cases], 'tables': tables})
    module.draw(results, out)
    print('\nTables and pictures: {}'.format(out))


def _cases_to_measure(module, data, cases):
    """Those that were asked for, once their data was looked at, so that a mistake shows now and not after an hour."""
    unknown = [case for case in cases or () if case not in module.CASES]
    if unknown:
        raise UsageError('no case {}: there are {}'.format(', '.join(unknown), ', '.join(module.CASES)))
    needs = {case: {*module.NEEDS, case.split('/')[0]} & data.keys() for case in cases or module.CASES}
    needed = set().union(*needs.values())
    missing = {name for name in needed if data[name] is None}
    ready = [case for case in needs if not needs[case] & missing]
    if missing:
        flags = ' and '.join('--' + name for name in sorted(missing))
        if cases or not ready:
            raise UsageError('this needs data: give its folder to {}'.format(flags))
        print('Without {} left out: {}'.format(flags, ', '.join(case for case in needs if case not in ready)))
    for name in sorted(needed - missing):
        if name == 'mnist':
            mnist.fetch(data[name])
        open_data(name, data, settings_of(name, presets.default_preset(name), 0, 1))
    return ready


def _leave_interrupts_to_parent():
    for name in ('SIGINT', 'SIGHUP'):  # of a terminal, which sends them to both; Windows lacks the second
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _measure(module, case, seed, iterations, data, out):
    """One run, in a process of its own."""
    with numpy.errstate(all='ignore'), chainer.using_config('type_check', False):
        return importlib.import_module(module).measure(case, seed, iterations, data, out)


def trained(out):
    """The folder of trained models that all studies share, beside a study's own."""
    return out.parent / 'trained'


def settings_of(task, preset, seed, iterations, **changes):
    """A preset's settings with changes."""
    return dataclasses.replace(
        presets.PRESETS[task][preset].settings, seed=seed, iterations=iterations, **changes)


def open_data(task, data, settings):
    """What draws data points: ``draw_data(n, rng)``; raises ``UsageError`` where they can't be read."""
    return open_task(task, data.get(task), settings).draw_data


def states(task, settings, draw_data, marks, change=None, kept=None):
    """Train, yielding the ``TrainingState`` at each of ``marks``; 0 is before the first iteration.

    Args:
        change: ``change(energy_model, generative_model)`` may change the models before they start.
        kept (pathlib.Path): A folder of what was trained before, by this study or another, to go on from to the same
            bits; states at multiples of 1,000 iterations are added to it.  Not together with ``change``.
    """
    def build(settings, rng):
        models = build_models(task, settings, rng)
        if change:
            change(*models)
        return models

    def path_at(iteration):
        return kept / '{}-{}-{}.npz'.format(task, _fingerprint(settings), iteration)
    state = training_state.build_state(settings, build, draw_data, chainer.get_device('@numpy'))
    keeps = range(KEEP_INTERVAL, marks[-1] + 1, KEEP_INTERVAL) if kept else ()
    known = [iteration for iteration in keeps if path_at(iteration).exists()]
    for mark in marks:
        newest = max((iteration for iteration in known if iteration <= mark), default=0)
        if newest > state.iteration:
            serializers.load_npz(path_at(newest), state)
        if mark > state.iteration:
            until_mark = dataclasses.replace(settings, iterations=mark)
            for iteration, _ in training_state.iterations_of(state, draw_data, until_mark):
                state.iteration = iteration
                if iteration in keeps:
                    kept.mkdir(parents=True, exist_ok=True)
                    with open_atomically(path_at(iteration)) as file:
                        serializers.save_npz(file, state, compression=False)
        yield state


def _fingerprint(settings):
    """Of all settings that decide what is computed up to an iteration."""
    return hashlib.sha256(json.dumps(settings.deciding(), sort_keys=True).encode()).hexdigest()[:16]


def marks_of(iterations, n):
    """n iterations at equal distances, the last one among them, and 0."""
    return sorted({round(iterations * i / n) for i in range(n + 1)})


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
