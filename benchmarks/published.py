#!/usr/bin/env python3
"""Digits and pictures, several seeds each: the tables of docs/results.md.

Each run is the training script's own; one that is scored on the way is resumed.  What is there is not repeated, so this
can be stopped and started at will.
"""

import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / 'benchmarks'), str(ROOT)]

import ddgm  # noqa: E402, F401, I001  (before Chainer)
import record  # noqa: E402
import several_seeds  # noqa: E402
from ddgm.data.mnist import MNIST  # noqa: E402
from ddgm.evaluation.classifier import load_or_train  # noqa: E402
from ddgm.evaluation.metrics import N_SCORED  # noqa: E402
from ddgm.evaluation.tasks import open_task  # noqa: E402
from ddgm.presets import PRESETS, default_preset  # noqa: E402
from ddgm.runs.command_line import OneLineParser, path_name  # noqa: E402
from ddgm.runs.exit_status import run_script  # noqa: E402
from ddgm.support.files import write_json  # noqa: E402
from ddgm.support.tables import markdown, rounded  # noqa: E402

# By task, in order of worth: a preset, and the iterations at which it is scored.  Pictures are trained no longer than
# they need to tell the presets apart.
RUNS = {
    'mnist': (('post', (2_400, 24_000)), ('batch_normalized_energy', (4_000,)), ('last_commit', (8_000,))),
    'images': (('post', (2_500,)), ('calibrated', (2_500,))),
}
FLAGS = {'mnist': (), 'images': ('--width', '0.25', '--batchsize', '64')}
METRICS = {
    'mnist': (
        'collapsed', 'diversity', 'class_kl', 'mode_score', 'frechet', 'precision', 'recall', 'density', 'coverage',
        'nearest_train', 'classifier'),
    'images': ('collapsed', 'diversity', 'frechet', 'coverage', 'recall', 'nearest_train'),
}
# By task and preset, after its last iteration.
AIMS = {
    ('mnist', 'post'): {'collapsed': '0 of 3', 'class_kl': '≤ 0.15', 'frechet': '≤ 111, half of that at 2,400'},
    ('images', 'post'): {'collapsed': '0 of 3', 'diversity': '≥ 0.7'},
    ('images', 'calibrated'): {
        'collapsed': '0 of 3', 'diversity': '≥ 0.9', 'coverage': '≥ 0.6', 'frechet': '≤ half of `post`'},
}


def run(task, preset, lengths, seed, data, out):
    """Train with one seed through all lengths: the metrics at each."""
    folder, scores = out / '{}-{}-seed{}'.format(task, preset, seed), []
    for length in lengths:
        kept = out / '{}-{}-seed{}-{}.json'.format(task, preset, seed, length)
        if not kept.exists():
            resume = ['--resume'] if (folder / 'settings.json').exists() else []
            subprocess.run(
                [sys.executable, str(ROOT / 'train_{}.py'.format(task)), '--preset', preset, '--data', str(data),
                 *FLAGS[task], '--seed', str(seed), '--iterations', str(length), '--figure_interval', '0', '--out',
                 str(folder), *resume],
                check=True, stdout=subprocess.DEVNULL, env={**os.environ, 'OMP_NUM_THREADS': '1'})
            write_json(kept, json.loads((folder / 'metrics.json').read_text(encoding='utf-8')))
        scores.append(json.loads(kept.read_text(encoding='utf-8')))
    return scores


def table(task, scores, real_data):
    """A column for each preset and length, and for aims; ``scores`` by both, the metrics of each seed."""
    def cell(runs, name):
        if name == 'collapsed':
            return '{} of {}'.format(sum(run[name] for run in runs), len(runs))
        if name == 'classifier':  # by which digits are judged: one for all
            return ', '.join(sorted({run[name] for run in runs}))
        return rounded([run[name] for run in runs])

    def real_cell(name):
        if name in real_data and name not in ('collapsed', 'classifier'):
            return rounded(real_data[name], 4)
        return cell([real_data], name) if name in real_data else None

    columns = {'metric': ['`{}`'.format(name) for name in METRICS[task]]}
    for i, (preset, lengths) in enumerate(RUNS[task]):
        for length in lengths:
            columns['`{}`, {:,} iterations'.format(preset, length)] = [
                cell(scores[preset, length], name) for name in METRICS[task]]
        if (task, preset) in AIMS:
            columns["`{}`'s aim".format(preset) if i else 'aim'] = [
                AIMS[task, preset].get(name) for name in METRICS[task]]
        if i == 0:
            columns['real data'] = [real_cell(name) for name in METRICS[task]]
    return {'columns': [*columns], 'rows': [list(row) for row in zip(*columns.values())]}


def real_data_of(task, folder, run):
    """The metrics of training digits; of pictures only what a run's tell of one half of them beside the other."""
    if 'frechet_between_halves' in run:
        return {'frechet': run['frechet_between_halves']}
    reference = open_task(task, folder, PRESETS[task][default_preset(task)].settings)
    return reference.score(reference.real_data(N_SCORED))


def main():
    parser = OneLineParser(description=__doc__)
    parser.add_argument('--mnist', metavar='DIR', type=path_name, help='folder of the four IDX files')
    parser.add_argument('--images', metavar='DIR', type=path_name, help='folder of pictures')
    several_seeds.add_flags(parser, 'result/published')
    parser.add_argument('--record', action='store_true', help='write docs/results/digits.json and icons.json')
    arguments = parser.parse_args()
    data = {task: folder for task, folder in (('mnist', arguments.mnist), ('images', arguments.images)) if folder}
    if not data:
        parser.error('this needs data: give its folder to --mnist or --images')
    arguments.out.mkdir(parents=True, exist_ok=True)
    lengths = {(task, preset): marks for task in data for preset, marks in RUNS[task]}
    if 'mnist' in data:
        load_or_train(MNIST(data['mnist']))  # once, before runs that go side by side would each train one
    found = several_seeds.side_by_side(
        lambda task, preset, seed: run(
            task, preset, lengths[task, preset], seed, data[task], arguments.out.absolute()),
        [(*each, seed) for each in lengths for seed in range(arguments.seeds)], arguments.jobs)
    for task, name in (('mnist', 'digits'), ('images', 'icons')):
        if task not in data:
            continue
        scores = {
            (preset, length): [found[task, preset, seed][i] for seed in range(arguments.seeds)]
            for preset, marks in RUNS[task] for i, length in enumerate(marks)}
        first, *_ = scores.values()
        result = table(task, scores, real_data_of(task, data[task], first[0]))
        print('\n{}\n\n{}'.format(task, markdown(result)), end='')
        if arguments.record:
            record.write(name, {'published': result}, seeds=list(range(arguments.seeds)))


if __name__ == '__main__':
    run_script(main)
