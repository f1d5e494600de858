"""Whole runs of ten Gaussians here and in PyTorch, held against one another: a table and a picture.

The other side is tests/torch_twin.py, which shares no code with this project.  It starts from the same weights and
draws the same numbers, so what tells the two apart is rounding, until each is a run of its own.  It needs PyTorch.
"""

import csv
import functools
import importlib.util
import json
import shutil

import chainer
import numpy

from benchmarks import ROOT
from benchmarks.results import density
from ddgm import training
from ddgm.compare import __main__ as compare
from ddgm.data.distributions import GaussianMixture
from ddgm.evaluation.metrics import N_SCORED
from ddgm.networks.toy import build_models
from ddgm.runs import training_state
from ddgm.studies import study
from ddgm.support import randomness
from ddgm.support.errors import UsageError
from ddgm.support.files import open_atomically
from ddgm.support.tables import rounded
from ddgm.weights import pytorch_names

TASK = 'gaussian_mixture'
CASES = {TASK: study.Case(TASK)}
ITERATIONS, NEEDS = 20_000, ()
CODE = (
    density.__file__, ROOT / 'tests' / 'torch_twin.py', ROOT / 'train_gaussian_mixture.py', pytorch_names.__file__,
    *sorted((ROOT / 'ddgm' / 'compare').glob('*.py')))
SHOWN = (
    'hq_2sigma', 'hq_3sigma', 'modes_2sigma', 'mode_kl', 'entropy_knn', 'kl_generator_data', 'sliced_wasserstein_2',
    'coverage')


def train_in_pytorch(settings, samples, log):
    """Train the twin of a run, and write its samples and its losses.

    Its samples are drawn with BatchNormalization's running statistics, as PyTorch has them.
    """
    import torch

    from tests import torch_twin
    torch.set_num_threads(1)
    data, iterations = GaussianMixture(), settings.iterations
    models = training_state.build_state(settings, build_models, data.sample, chainer.get_device('@numpy')).models
    twins = torch_twin.build_models(TASK, settings)
    for model, twin in zip(models, twins):
        twin.load_state_dict({name: torch.from_numpy(array) for name, array in pytorch_names.export(model).items()})
    entries, summary = [], chainer.DictSummary()
    for iteration, losses in enumerate(torch_twin.train(
            *twins, settings, data.sample, functools.partial(training.random_generator, settings.seed), iterations), 1):
        summary.add(losses)
        if iteration % settings.log_interval == 0 or iteration == iterations:
            entries.append({'iteration': iteration, **summary.compute_mean()})
            summary = chainer.DictSummary()
    with open(log, 'w', newline='') as file:
        writer = csv.DictWriter(file, entries[0])
        writer.writeheader()
        writer.writerows(entries)
    z = models[1].draw_latent(N_SCORED, randomness.metric_generator(randomness.SCORED_Z))
    with torch.no_grad(), open_atomically(samples) as file:  # last: where they are, the log is too
        numpy.save(file, twins[1].eval()(torch.from_numpy(z)).numpy())


def measure(run: study.Run) -> dict:
    """The metrics of a run, of its twin in PyTorch, and of real data."""
    if importlib.util.find_spec('torch') is None:
        raise UsageError('this needs PyTorch: pip install torch')
    ours = density.train_by_script(run)
    samples, log, comparison = (
        ours.with_name(ours.name + ending) for ending in ('-pytorch.npy', '-pytorch.csv', '-comparison'))
    if not samples.exists():
        train_in_pytorch(run.settings, samples, log)
    density.quietly(
        compare.main, '{}={}'.format(TASK, ours), 'theirs={}'.format(samples), 'theirs={}'.format(log), '--out',
        comparison)
    found = json.loads((comparison / 'comparison.json').read_text(encoding='utf-8'))
    ours, theirs = (entry['metrics'] for entry in found['entries'])
    return {
        'ours': ours, 'theirs': theirs, 'real': found['real_data'],
        'picture': '{}/comparison.png'.format(comparison.name)}


def tables(results: dict) -> dict:
    runs = results[TASK]
    return {TASK: {'columns': ['metric', 'this project', 'in PyTorch', 'real data'], 'rows': [
        ['`{}`'.format(name), *(rounded([run[side][name] for run in runs]) for side in ('ours', 'theirs')),
         rounded(runs[0]['real'][name])] for name in SHOWN]}}


def draw(results: dict, out) -> None:
    shutil.copy(out / results[TASK][0]['picture'], out / 'comparison.png')
