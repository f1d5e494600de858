"""Entries held against one another: one reference, one number of samples, one table, one picture."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import tempfile

import numpy

from ddgm.compare import loss_logs
from ddgm.compare.entries import PLANE, POINTS, Entry
from ddgm.data import mnist, points as point_files
from ddgm.evaluation import likelihood, metrics, sampling, tasks
from ddgm.evaluation.points import OwnPoints
from ddgm.figures import page, plots
from ddgm.presets import ImageSettings
from ddgm.runs import run_files
from ddgm.support import randomness
from ddgm.support.errors import UsageError, counted, one_line, printable, some
from ddgm.support.files import keep_theirs, listed, not_writable, write_json
from ddgm.support.terminal import print_table

_FILES = 'comparison.json', 'comparison.png', 'comparison.html'  # the first lists those that were written
_POINTS_SHOWN, _IMAGES_SHOWN = 400, 64
# Samples of which more than this share lie far from all data, or whose spread is so many times the data's or the
# inverse of that, are perhaps not of that data.
_FAR, _WIDER = 1 / 2, 4 / 3
_COPIED = 1 / 10  # share of samples that no model would have in common with its data


def compare(
        entries: list[Entry], task: str | None, data_folder: str | None, out: str,
        own: tasks.Task | None = None) -> None:
    """Score entries, print the table, and write ``comparison.json``, ``.png`` and ``.html``.

    Args:
        entries (list of ddgm.compare.entries.Entry): At least one.
        task (str), data_folder (str): What their samples are of; ``None``: what the runs among them have learned.  With
            the task 'points' a file of points.
        out (str): The folder, which is made where it is missing.
        own: A task of the user's, that runs and samples may be of.

    Raises:
        UsageError: It is not clear what to compare with; samples are not of that kind, or too few; the folder can't be
            written to, or holds a run or data.
    """
    runs = [entry.run for entry in entries if entry.run]
    _check_output(out, task, data_folder, runs, own)
    out = _make_folder(out)
    for entry in entries:
        print('{}: {}'.format(entry.name, _described(entry)))
    result, data, panels = {'entries': [_facts(entry) for entry in entries]}, None, []
    reference = None
    with_samples = [entry for entry in entries if entry.x is not None]
    if with_samples:
        task, reference = _open_reference(task, data_folder, runs, own, [entry.x for entry in with_samples])
        samples = _equally_many(with_samples, reference)
        _doubt({entry.name: samples[entry.name] for entry in with_samples if task == POINTS or not entry.run},
               reference, task)
        n, of_file = len(samples[with_samples[0].name]), task == POINTS and data_folder is not None
        print('\n{:,} samples of each{}, held against {}'.format(
            n, _why_so_many(n, with_samples), printable(data_folder if of_file else task)), flush=True)
        result.update(task=task, n_samples=n, **{'reference': data_folder} if of_file else {})
        data, panels = _score(entries, samples, task, reference, result, own)
    columns = _columns(result, reference)
    _print_table(columns)
    _write(out, entries, result, columns, data, panels)


def _score(entries, samples, task, reference, result, own):
    """Add the metrics of samples, and of as many fresh data, to ``result``; returns panels of the data and of each."""
    panels, n_shown = [], _POINTS_SHOWN if task in PLANE else _IMAGES_SHOWN
    for entry, facts in zip(entries, result['entries']):
        if entry.name in samples:
            x, energy = samples[entry.name], _energy(entry.run, own)
            facts['metrics'] = reference.score(x, energy, entry.run and entry.run.settings)
            if entry.likelihood:
                facts['metrics'] = likelihood.beside(entry.likelihood, facts['metrics'])
            panels.append(plots.Panel(
                entry.name, reference.as_shown(x[:n_shown]), energy if task in PLANE and x.shape[1:] == (2,) else None,
                facts['metrics'].get('log_z')))
    real = reference.real_data(result['n_samples'])
    if real is not None:
        result['real_data'] = reference.score(real)
    return plots.Panel(
        'data', reference.as_shown(reference.shown_data(n_shown)), reference.exact_energy, 0.0,
        reference.window), panels


def _columns(result, reference):
    """The columns of the table; what logs of other programs say of metrics of their own has names of its own."""
    columns = [(facts['name'], {
        'iterations': facts['iterations'], **facts['metrics'],
        **{name: value for name, value in facts['last'].items() if name.startswith(loss_logs.THEIR)},
    }) for facts in result['entries']]
    if 'real_data' in result:
        columns.append((reference.real_name, result['real_data']))
    return columns


def _print_table(columns):
    """Print the table if there is anything in it."""
    names = set().union(*(column for _, column in columns)) - {'iterations'}
    theirs = {name for name in names if name.startswith(loss_logs.THEIR)}
    if names == theirs != set():
        print()
    if names:
        print_table(columns)
    if theirs:
        print('\n{}…: from the logs of other programs, by their own definitions'.format(loss_logs.THEIR))


def _write(out, entries, result, columns, data, panels):
    """Write the files, and tell their names."""
    logs = [
        (entry.name, log) for entry in entries for log in entry.logs
        if any(log.points(name)[0] for name in plots.QUANTITIES.keys() & log.values.keys())]
    written, picture, whole = [out / _FILES[0]], out / _FILES[1], out / _FILES[2]
    lists_all = panels or logs or picture.exists()  # of an earlier comparison
    try:
        write_json(written[0], {**result, 'files': [name for name in _FILES if lists_all or name != picture.name]})
        if panels or logs:
            written.append(picture)
            plots.draw_comparison(picture, data, panels, logs)
        names = some(entry.name for entry in entries)
        pictures = [page.pictures((path, 'samples and losses'), of=names) for path in written[1:]]
        sources = [(source, entry.name) for entry in entries for source in entry.sources]
        written.append(whole)
        page.write(whole, 'Comparison', [
            *(page.paragraph('{}: {}'.format(entry.name, _described(entry))) for entry in entries), *pictures,
            page.table(columns), page.links(out, [*sources, (written[0], 'all figures')])])
    except OSError as error:
        raise not_writable(out, error) from error
    print('\n{}'.format(printable(', '.join(map(str, written)))))


def _check_output(out, task, data_folder, runs, own):
    """Raise ``UsageError`` where a folder holds a run, lies in one of ``runs`` or among data of them or of the task."""
    run_files.keep_out_of_run(out)
    keep_theirs(out, _FILES, listed(pathlib.Path(out) / _FILES[0], ('entries',), _FILES))
    run_files.keep_apart(out, task, data_folder)
    for run in runs:
        run_files.keep_out(out, run.path)
        run_files.keep_apart(out, tasks.find(run.task, own), run.data)


def _make_folder(path):
    path = pathlib.Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()  # before some minutes of scoring
    except OSError as error:
        raise not_writable(path, error) from error
    return path


def _described(entry):
    """What a user reads of an entry before it is scored."""
    parts = ['a run of {}, preset {}'.format(entry.run.task, entry.run.told_preset)] if entry.run else []
    parts.append('no samples' if entry.x is None else counted(len(entry.x), 'sample'))
    for log in entry.logs:
        empty = [name for name in log.values if not log.points(name)[0]]
        parts.append('a log of {}{}'.format(
            counted(len(log.x), 'entry', 'entries'),
            ' without a finite value of {}'.format(' or '.join(empty)) if empty else ''))
    return ', '.join(parts)


def _facts(entry):
    """What ``comparison.json`` says of an entry; its metrics are added."""
    settings = entry.run and entry.run.settings
    return {
        'name': entry.name, 'sources': entry.sources, 'preset': entry.run and entry.run.told_preset,
        'seed': settings and settings.seed, 'iterations': entry.iterations,
        'last': {
            name: next(filter(math.isfinite, reversed(values)), None)
            for log in entry.logs for name, values in log.values.items()},
        'own': {name: own for log in entry.logs for name, own in log.own.items()},
        'metrics': {}}


def _open_reference(task, data_folder, runs, own, samples):
    """What all samples are of, and its reference."""
    found = sorted({run.task for run in runs} | {task} - {None})
    if own and not found:
        return own.name, own.open(None, None, None)
    if task == POINTS and {*found} <= {*PLANE}:
        return task, _own_points(data_folder)
    if len(found) > 1:
        raise UsageError('samples of {} can\'t be compared: leave some out'.format(' and '.join(found)))
    if not found:
        raise UsageError('what are these samples of?  Say it by --reference (see --help)')
    cache = runs[0].cache if runs else None
    try:
        if task:
            if task == 'mnist':
                mnist.fetch(data_folder)
            settings = runs[0].settings if runs else _form_of(samples) if task == tasks.IMAGES.name else None
            return task, tasks.open_reference(task, data_folder, settings, cache)
        task = runs[0].task
        if len({run.data_fingerprint for run in runs}) > 1:
            raise UsageError('these runs have learned from different data: choose one to compare with')
        return task, runs[0].open_reference(tasks.find(task, own))
    except UsageError as error:
        raise UsageError('{}; or name the data by --reference {}:DIR'.format(error, task)) from error


def _form_of(samples):
    """Settings with the size of pictures (N, S, S), (N, C, S, S) or (N, S, S, C), and whether none has colours."""
    sizes = [x.shape[2] for x in samples if x.shape[2:] and x.shape[2] in ImageSettings.told_of('size').choices]
    return dataclasses.replace(
        tasks.IMAGES.presets[tasks.IMAGES.default_preset].settings, size=sizes[0] if sizes else ImageSettings.size,
        grey=not any(3 in (x.shape[1], x.shape[-1]) for x in samples))


def _own_points(path):
    try:
        points, note = point_files.load(path, in_plane=True)
        if note:
            print('{}: {}'.format(one_line(path), note))
        return OwnPoints(points)
    except UsageError as error:
        raise UsageError('{}{}'.format('' if str(path) in str(error) else '{}: '.format(path), error)) from error


def _equally_many(entries, reference):
    """As many samples of each, by name: all of the smallest set, and chosen at random from larger ones."""
    n, samples = min(metrics.N_SCORED, *(len(entry.x) for entry in entries)), {}
    for entry in entries:
        x = entry.x
        if len(x) > n:  # before they are conformed, which may take some times their memory
            x = x[randomness.metric_generator(randomness.CHOSEN_SAMPLES).permutation(len(x))[:n]]
        try:
            samples[entry.name] = reference.conform(x)
        except UsageError as error:
            raise UsageError('{}: {}'.format(', '.join(entry.sources), error)) from error
        if len(entry.x) <= metrics.NEIGHBOUR:
            raise UsageError('{}: {} samples are too few, the metrics need more than {}'.format(
                entry.name, len(entry.x), metrics.NEIGHBOUR))
    return samples


def _why_so_many(n, entries):
    """Which entries have too few for the others, in words that follow their number; empty where none has."""
    fewest = [entry.name for entry in entries if len(entry.x) == n]
    if n == metrics.N_SCORED or len(fewest) == len(entries):
        return ''
    return ', as many as {} {}'.format(some(fewest), 'has' if len(fewest) == 1 else 'have')


def _doubt(samples, reference, task):
    """Say which samples, by name, are so unlike the data that they may be of other data, or are the data itself."""
    if not samples:
        return
    data = reference.measured(reference.shown_data(metrics.N_SCORED))
    reach, width = metrics.neighbour_distances(data, metrics.NEIGHBOUR).max(), metrics.spread(data)
    for name, x in samples.items():
        copied = _copied_share(x, reference)
        if copied > _COPIED:
            print('{}: {:.0%} of the samples are data themselves, number by number: was the file of the data '
                  'given?'.format(name, copied))
        x, signs = reference.measured(x), []
        far, wider = metrics.far_share(x, data, reach), metrics.spread(x) / width
        if far > _FAR:
            signs.append('{:.0%} of the samples lie farther from all data than any of it from its neighbours'.format(
                far))
        if task in PLANE and not 1 / _WIDER < wider < _WIDER:
            signs.append('its samples spread {:.3g} times as wide as the data'.format(wider))
        if signs:
            print('{}: {}: are they of this data, and in its range?'.format(name, ', and '.join(signs)))


def _copied_share(x, reference):
    """The share of samples (N, …) that are among the data; pixels are told apart by their 256 values."""
    def keys(array):
        if reference.value_range == (0, 1) and array.dtype != numpy.uint8:
            array = numpy.rint(255 * array).astype(numpy.uint8)
        return (row.tobytes() for row in array.reshape(len(array), -1))
    known = {hash(key) for array in reference.known_data(len(x)) for key in keys(array)}
    return numpy.mean([hash(key) in known for key in keys(x)])


def _energy(run, own):
    """The energy of a run as a function of arrays, or ``None``."""
    if not run:
        return None
    energy_model, _ = tasks.find(run.task, own).build_models(run.settings, numpy.random.default_rng(0))
    if not run.load(run_files.ENERGY_MODEL, energy_model, 'leave the run out'):
        return None
    return run.units.taking_users(sampling.energy_function(energy_model))
