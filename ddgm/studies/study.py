"""What all studies share: runs of several seeds side by side, their results on disk, tables.

A study is a module with

- ``CASES``: by name, the settings that a case changes (a dict), or whatever its ``measure`` wants;
- ``ITERATIONS``: how long its runs are; ``NEEDS``: whose data all of its cases read, of ``'mnist'`` and ``'images'``;
- ``measure(case, seed, iterations, data, out)``: one run; returns what JSON can hold;
- ``report(results, out)``: prints tables and draws pictures from ``{case: [what measure returned, one a seed]}``.
"""

import concurrent.futures
import dataclasses
import importlib
import json
import multiprocessing
import statistics

import chainer
import numpy

from ddgm import presets, randomness, run, sampling
from ddgm.data import mnist, toy
from ddgm.data.images import ImageFolder
from ddgm.errors import UsageError
from ddgm.files import write_json
from ddgm.metrics import N_SCORED
from ddgm.tasks import build_models


def carry_out(module, data, seeds, jobs, iterations, out, cases=None):
    """Measure all cases of a study with seeds 0 to ``seeds`` − 1, ``jobs`` at a time, then report.

    Args:
        module: The study.
        data (dict): Folders of data, ``None`` where none was given, by ``'mnist'`` and ``'images'``.
        seeds (int), jobs (int): Runs of a case; processes.
        iterations (int): Length of a run, or ``None`` for the study's own.
        out (pathlib.Path): Where results and pictures go.
        cases (list of str): Only these; ``None``: all.

    Raises ``UsageError`` where data is missing or a case is unknown.
    """
    unknown = [case for case in cases or () if case not in module.CASES]
    if unknown:
        raise UsageError('no case {}: there are {}'.format(', '.join(unknown), ', '.join(module.CASES)))
    missing = [name for name in module.NEEDS if data[name] is None]
    if missing:
        raise UsageError('this study needs data: give its folder to --{}'.format(missing[0]))
    cases, iterations = list(cases or module.CASES), iterations or module.ITERATIONS
    out.mkdir(parents=True, exist_ok=True)

    def path_of(case, seed):
        return out / '{}-seed{}-{}.json'.format(case.replace('/', '-'), seed, iterations)
    due = [(case, seed) for seed in range(seeds) for case in cases if not path_of(case, seed).exists()]
    with concurrent.futures.ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context('spawn')) as pool:
        futures = {
            pool.submit(_measure, module.__name__, case, seed, iterations, data, out): (case, seed)
            for case, seed in due}
        try:
            for n, future in enumerate(concurrent.futures.as_completed(futures), 1):
                write_json(path_of(*futures[future]), future.result())
                print('{} of {}: {}, seed {}'.format(n, len(due), *futures[future]), flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    results = {
        case: [json.loads(path_of(case, seed).read_text(encoding='utf-8')) for seed in range(seeds)]
        for case in cases}
    print('\nSeeds 0 to {}, {:,} iterations: medians, and in brackets each seed\n'.format(seeds - 1, iterations))
    module.report(results, out)
    print('\nPictures: {}'.format(out))


def _measure(module, case, seed, iterations, data, out):
    """One run, in a process of its own."""
    with numpy.errstate(all='ignore'), chainer.using_config('type_check', False):
        return importlib.import_module(module).measure(case, seed, iterations, data, out)


def settings_of(task, preset, seed, iterations, **changes):
    """A preset's settings with changes."""
    return dataclasses.replace(
        presets.PRESETS[task][preset].settings, seed=seed, iterations=iterations, **changes)


def open_data(task, data, settings):
    """What draws data points: ``draw_data(n, rng)``; raises ``UsageError`` where their folder was not given."""
    if task in data and data[task] is None:
        raise UsageError('{} needs data: give its folder to --{}'.format(task, task))
    if task == 'mnist':
        digits = mnist.MNIST(data['mnist'], settings.batchsize)
        return lambda n, rng: digits.sample(n, rng, settings.binarized)
    if task == 'images':
        return ImageFolder(data['images'], settings.batchsize).sample
    return (toy.GaussianMixture if task == 'gaussian_mixture' else toy.SwissRoll)().sample


def states(task, settings, draw_data, marks, change=None):
    """Train, yielding the :class:`ddgm.run.TrainingState` at each of ``marks``; 0 is before the first iteration.

    ``change(energy_model, generative_model)`` may change the models before they start.
    """
    def build(settings, rng):
        models = build_models(task, settings, rng)
        if change:
            change(*models)
        return models
    state = run.build_state(settings, build, draw_data, chainer.get_device('@numpy'))
    if 0 in marks:
        yield state
    for iteration, _ in run.iterations_of(state, draw_data, settings):
        state.iteration = iteration
        if iteration in marks:
            yield state


def marks_of(iterations, n):
    """n iterations at equal distances, the last one among them, and 0."""
    return sorted({round(iterations * i / n) for i in range(n + 1)})


def finished(state, settings):
    """The DEM, the DGM as it samples, z and x of the samples that are scored, and E as a function of arrays."""
    energy_model, generative_model = state.finished_models()
    generative_model = sampling.with_population_statistics(
        generative_model, settings.batchsize, settings.population_batches)
    z = generative_model.draw_latent(N_SCORED, randomness.metric_generator(stream=0))
    x = sampling.sample(generative_model, z)
    return energy_model, generative_model, z, x, sampling.energy_function(energy_model)


def show(values, digits=3):
    """The median of several seeds, then each; a dash where a run has no such number."""
    def text(value):
        return '–' if value is None else '{:.{}g}'.format(value, digits)
    known = [value for value in values if value is not None]
    median = statistics.median(known) if len(known) == len(values) else None
    return '**{}** ({})'.format(text(median), ', '.join(map(text, values)))


def print_table(names, rows):
    """A table in Markdown; ``rows`` are lists of texts."""
    print('| {} |\n|{}'.format(' | '.join(names), ' --- |' * len(names)))
    for row in rows:
        print('| {} |'.format(' | '.join(row)))
    print()
