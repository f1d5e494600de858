"""Entries held against one another: one reference, one number of samples, one table, one picture."""

import math
import pathlib
import tempfile

import numpy

from ddgm.compare import loss_logs, samples as sample_files
from ddgm.compare.entries import PLANE, POINTS
from ddgm.data import mnist
from ddgm.evaluation import metrics, sampling, tasks
from ddgm.evaluation.points import OwnPoints
from ddgm.figures import page, plots
from ddgm.runs import run_folder
from ddgm.support import randomness
from ddgm.support.errors import UsageError, counted, some
from ddgm.support.files import write_json
from ddgm.support.terminal import print_table

_N_SHOWN = {'gaussian_mixture': 400, 'swiss_roll': 400, POINTS: 400, 'mnist': 64, 'images': 64}
# Samples of which more than this share lie far from all data, or whose spread is so many times the data's or the
# inverse of that, are perhaps not of that data.
_FAR, _WIDER = 1 / 2, 4 / 3


def compare(entries, task, data_folder, out):
    """Score entries, print the table, and write ``comparison.json``, ``.png`` and ``.html``.

    Args:
        entries (list of ddgm.compare.entries.Entry): At least one.
        task (str), data_folder (str): What their samples are of; ``None``: what the runs among them have learned.  With
            the task 'points' a file of points.
        out (str): The folder, which is made where it is missing.

    Raises:
        UsageError: It is not clear what to compare with; samples are not of that kind, or too few; the folder can't be
            written to, or holds a run or data.
    """
    _check_output(out, task, data_folder, [entry.run for entry in entries if entry.run])
    out = _make_folder(out)
    for entry in entries:
        print('{}: {}'.format(entry.name, _described(entry)))
    result = {'entries': [_facts(entry) for entry in entries]}
    panels, data, real_columns = [], None, []
    if any(entry.x is not None for entry in entries):
        task, reference = _open_reference(task, data_folder, entries)
        samples = _equally_many(entries, reference)
        n = len(next(iter(samples.values())))
        doubted = {  # but for a run that has learned from this data
            entry.name: samples[entry.name] for entry in entries
            if entry.name in samples and (task == POINTS or not entry.run)}
        if doubted:
            _doubt(doubted, reference.shown_data(metrics.N_SCORED), task)
        print('\n{:,} samples of each{}, held against {}'.format(
            n, _why_so_many(n, entries), data_folder if task == POINTS else task), flush=True)
        result.update(task=task, n_samples=n)
        if task == POINTS:
            result['reference'] = data_folder
        for entry, facts in zip(entries, result['entries']):
            if entry.name in samples:
                x, energy = samples[entry.name], _energy(entry)
                facts['metrics'] = reference.score(x, energy, entry.run and entry.run.settings)
                panels.append(plots.Panel(
                    entry.name, reference.as_shown(x[:_N_SHOWN[task]]), energy if task in PLANE else None,
                    facts['metrics'].get('log_z')))
        real = reference.real_data(n)
        if real is not None:
            result['real_data'] = reference.score(real)
            real_columns.append(('real data', result['real_data']))
        data = plots.Panel(
            'data', reference.as_shown(reference.shown_data(_N_SHOWN[task])), reference.exact_energy, 0.0,
            reference.window if task == POINTS else None)
    columns = _columns(result['entries'], real_columns)
    _print_table(columns, result['entries'])
    logs = [
        (entry.name, log) for entry in entries for log in entry.logs if plots.QUANTITIES.keys() & log.values.keys()]
    written = [out / 'comparison.json']
    try:
        write_json(written[0], result)
        if panels or logs:
            written.append(out / 'comparison.png')
            plots.draw_comparison(written[-1], data, panels, logs)
        pictures = [page.pictures((path, 'samples and losses')) for path in written[1:]]
        sources = [(source, entry.name) for entry in entries for source in entry.sources]
        written.append(out / 'comparison.html')
        page.write(written[-1], 'Comparison', [
            *(page.paragraph('{}: {}'.format(entry.name, _described(entry))) for entry in entries), *pictures,
            page.table(columns), page.links(out, [*sources, (written[0], 'all figures')])])
    except OSError as error:
        raise _not_writable(out, error) from error
    print('\n{}'.format(', '.join(map(str, written))))


def _columns(entries, real_columns):
    """The columns of the table: what ``_facts`` says of entries, and real data where samples were scored."""
    columns = [
        (facts['name'], {'iterations': facts['iterations'], **facts['metrics'], **_theirs(facts)}) for facts in entries]
    return columns + real_columns


def _theirs(facts):
    """What the logs of other programs say last of metrics of their own."""
    return {name: value for name, value in facts['last'].items() if name.startswith(loss_logs.THEIR)}


def _print_table(columns, entries):
    """Print the table if there is anything in it."""
    any_theirs, any_metrics = any(map(_theirs, entries)), any(facts['metrics'] for facts in entries)
    if any_theirs and not any_metrics:
        print()
    if any_theirs or any_metrics:
        print_table(columns)
    if any_theirs:
        print('\n{}…: from the logs of other programs, by their own definitions'.format(loss_logs.THEIR))


def _check_output(out, task, data_folder, runs):
    """Raise ``UsageError`` where a folder holds a run, lies in one of ``runs`` or among data of them or of the task."""
    if (pathlib.Path(out) / run_folder.SETTINGS).exists():
        raise UsageError('{} holds a run: give another folder to --out'.format(out))
    run_folder.keep_apart(out, task, data_folder)
    for run in runs:
        run_folder.keep_out(out, run.path)
        run_folder.keep_apart(out, run.task, run.data)


def _make_folder(path):
    path = pathlib.Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()  # before some minutes of scoring
    except OSError as error:
        raise _not_writable(path, error) from error
    return path


def _not_writable(path, error):
    return UsageError('{}: can\'t be written to ({}): give another folder to --out'.format(path, error.strerror))


def _described(entry):
    """What a user reads of an entry before it is scored."""
    parts = ['a run of {}, preset {}'.format(entry.run.task, entry.run.preset)] if entry.run else []
    parts.append('no samples' if entry.x is None else counted(len(entry.x), 'sample'))
    parts += ['a log of {}'.format(counted(len(log.x), 'entry', 'entries')) for log in entry.logs]
    return ', '.join(parts)


def _facts(entry):
    """What ``comparison.json`` says of an entry; its metrics are added."""
    settings = entry.run and entry.run.settings
    return {
        'name': entry.name, 'sources': entry.sources, 'preset': entry.run and entry.run.preset,
        'seed': settings and settings.seed, 'iterations': entry.iterations,
        'last': {
            name: next(filter(math.isfinite, reversed(values)), None)
            for log in entry.logs for name, values in log.values.items()},
        'own': {name: own for log in entry.logs for name, own in log.own.items()},
        'metrics': {}}


def _open_reference(task, data_folder, entries):
    """What all samples are of, and its reference."""
    runs = [entry.run for entry in entries if entry.run]
    of_runs = {run.task for run in runs}
    if task == POINTS and of_runs <= set(PLANE):
        return task, _own_points(data_folder)
    if len(of_runs | {task} - {None}) > 1:
        raise UsageError('samples of {} can\'t be compared: leave some out'.format(
            ' and '.join(sorted(of_runs | {task} - {None}))))
    if not (task or runs):
        raise UsageError('what are these samples of?  Say it by --reference (see --help)')
    try:
        if task:
            if task == 'mnist':
                mnist.fetch(data_folder)
            return task, tasks.open_task(task, data_folder)
        task, folder, fingerprint = runs[0].task, runs[0].data, runs[0].data_fingerprint
        if any(run.data_fingerprint != fingerprint for run in runs):
            raise UsageError('these runs have learned from different data: choose one to compare with')
        reference = tasks.open_task(task, folder)
        if reference.fingerprint != fingerprint:
            raise UsageError('{} no longer holds the data that {} has learned from'.format(folder, runs[0].path))
        return task, reference
    except UsageError as error:
        raise UsageError('{}; or name the data by --reference {}:DIR'.format(error, task)) from error


def _own_points(path):
    path = pathlib.Path(path)
    if not path.is_file():
        raise UsageError('{}: there is no such file: give the file of points to --reference'.format(path))
    try:
        return OwnPoints(sample_files.read_file(path, in_plane=True))
    except UsageError as error:
        raise UsageError('{}{}'.format('' if str(path) in str(error) else '{}: '.format(path), error)) from error


def _equally_many(entries, reference):
    """As many samples of each, by name: all of the smallest set, and chosen at random from larger ones."""
    entries = [entry for entry in entries if entry.x is not None]
    n = min(metrics.N_SCORED, *(len(entry.x) for entry in entries))
    samples = {}
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
    lengths = {entry.name: len(entry.x) for entry in entries if entry.x is not None}
    fewest = [name for name, length in lengths.items() if length == n]
    if n == metrics.N_SCORED or len(fewest) == len(lengths):
        return ''
    return ', as many as {} {}'.format(some(fewest), 'has' if len(fewest) == 1 else 'have')


def _doubt(samples, data, task):
    """Say which samples, by name, are so unlike the data that they may be of other data, or of another scale."""
    data = data.reshape(len(data), -1)
    reach, width = metrics.neighbour_distances(data, metrics.NEIGHBOUR).max(), metrics.spread(data)
    for name, x in samples.items():
        x = x.reshape(len(x), -1)
        far, wider = metrics.far_share(x, data, reach), metrics.spread(x) / width
        signs = ['{:.0%} of the samples lie farther from all data than any of it from its neighbours'.format(far)] * (
            far > _FAR)
        if task in PLANE and not 1 / _WIDER < wider < _WIDER:
            signs.append('its samples spread {:.3g} times as wide as the data'.format(wider))
        if signs:
            print('{}: {}: are they of this data, and in its range?'.format(name, ', and '.join(signs)))


def _energy(entry):
    """The energy of an entry's run as a function of arrays, or ``None``."""
    if not entry.run:
        return None
    energy_model, _ = tasks.build_models(entry.run.task, entry.run.settings, numpy.random.default_rng(0))
    if not entry.run.load(run_folder.ENERGY_MODEL, energy_model, 'leave the run out'):
        return None
    return sampling.energy_function(energy_model)
