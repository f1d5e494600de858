#!/usr/bin/env python3
"""Whole runs of ten Gaussians here and in PyTorch, held against one another: a table and the picture of comparing.md.

The other side is tests/torch_twin.py, which shares no code with this project.  It starts from the same weights and
draws the same numbers, so what tells the two apart is rounding, until each is a run of its own.  What is there is not
repeated, so this can be stopped and started at will.  It needs PyTorch.
"""

import csv
import dataclasses
import functools
import importlib.util
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / 'benchmarks'), str(ROOT / 'tests'), str(ROOT)]

import ddgm  # noqa: E402, F401, I001  (before Chainer)
import chainer  # noqa: E402
import numpy  # noqa: E402
import record  # noqa: E402
import several_seeds  # noqa: E402
from ddgm.data.toy import GaussianMixture  # noqa: E402
from ddgm.evaluation.metrics import N_SCORED  # noqa: E402
from ddgm.networks.toy import build_models  # noqa: E402
from ddgm.presets import PRESETS, default_preset  # noqa: E402
from ddgm.runs import training_state  # noqa: E402
from ddgm.runs.command_line import OneLineParser, whole_number  # noqa: E402
from ddgm.runs.exit_status import run_script  # noqa: E402
from ddgm.support import randomness  # noqa: E402
from ddgm.support.errors import UsageError  # noqa: E402
from ddgm.support.files import open_atomically  # noqa: E402
from ddgm.support.tables import markdown, rounded  # noqa: E402
from ddgm.weights import pytorch_names  # noqa: E402
from density import start  # noqa: E402
from post_pictures import make_small  # noqa: E402

TASK = 'gaussian_mixture'
SETTINGS = PRESETS[TASK][default_preset(TASK)].settings
SHOWN = (
    'hq_2sigma', 'hq_3sigma', 'modes_2sigma', 'mode_kl', 'entropy_knn', 'kl_generator_data', 'sliced_wasserstein_2',
    'coverage')


def train_in_pytorch(seed, iterations, samples, log):
    """Train the twin of a run, and write its samples and its losses.

    Its samples are drawn with BatchNormalization's running statistics, as PyTorch has them.
    """
    import torch
    import torch_twin
    torch.set_num_threads(1)
    settings, data = dataclasses.replace(SETTINGS, seed=seed), GaussianMixture()
    models = training_state.build_state(settings, build_models, data.sample, chainer.get_device('@numpy')).models
    twins = torch_twin.build_models(TASK, settings)
    for model, twin in zip(models, twins):
        twin.load_state_dict({name: torch.from_numpy(array) for name, array in pytorch_names.export(model).items()})
    entries, summary = [], chainer.DictSummary()
    for iteration, losses in enumerate(torch_twin.train(
            *twins, settings, data.sample, functools.partial(randomness.generator, seed), iterations), 1):
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


def run(seed, iterations, out):
    """The metrics of a run, of its twin in PyTorch, and of real data."""
    ours, samples, log, comparison = (
        out / name.format(seed) for name in ('seed{}', 'pytorch-seed{}.npy', 'pytorch-seed{}.csv', 'comparison-seed{}'))
    if not (comparison / 'comparison.html').exists():  # which is written last
        if not (ours / 'metrics.json').exists():
            resume = ['--resume'] if (ours / 'settings.json').exists() else []
            start('train_{}.py'.format(TASK), '--seed', seed, '--iterations', iterations, '--figure_interval', 0,
                  '--out', ours, *resume)
        if not samples.exists():
            train_in_pytorch(seed, iterations, samples, log)
        start('-m', 'ddgm.compare', '{}={}'.format(TASK, ours), 'theirs={}'.format(samples), 'theirs={}'.format(log),
              '--out', comparison)
    found = json.loads((comparison / 'comparison.json').read_text(encoding='utf-8'))
    return [*(entry['metrics'] for entry in found['entries']), found['real_data']]


def main():
    parser = OneLineParser(description=__doc__)
    several_seeds.add_flags(parser, 'result/beside_pytorch')
    parser.add_argument(
        '--iterations', type=whole_number(1), default=SETTINGS.iterations, metavar='N',
        help='of each run (default: %(default)s)')
    parser.add_argument(
        '--record', action='store_true', help='write docs/results/beside_pytorch.json and docs/comparison.png')
    arguments = parser.parse_args()
    if importlib.util.find_spec('torch') is None:
        raise UsageError('this needs PyTorch: pip install torch')
    out = arguments.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    found = several_seeds.side_by_side(
        lambda _, seed: run(seed, arguments.iterations, out), [(TASK, seed) for seed in range(arguments.seeds)],
        arguments.jobs)
    ours, theirs, (real, *_) = zip(*(found[TASK, seed] for seed in range(arguments.seeds)))
    table = {'columns': ['metric', 'this project', 'in PyTorch', 'real data'], 'rows': [
        ['`{}`'.format(name), *(rounded([run[name] for run in runs]) for runs in (ours, theirs)), rounded(real[name])]
        for name in SHOWN]}
    print('\n{}'.format(markdown(table)), end='')
    if arguments.record:
        record.write(
            'beside_pytorch', {TASK: table}, packages=('Chainer', 'NumPy', 'torch'),
            seeds=list(range(arguments.seeds)), iterations=arguments.iterations)
        make_small(out / 'comparison-seed0' / 'comparison.png', ROOT / 'docs' / 'comparison.png', 720)


if __name__ == '__main__':
    run_script(main)
