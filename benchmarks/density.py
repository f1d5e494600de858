#!/usr/bin/env python3
"""How good a density of the plane is, and what samples of it are worth: tables and pictures of docs/beyond-the-post.md.

Runs of both tasks with the preset `density`, by the training scripts; then `python -m ddgm.refine` draws samples of
each run's energy model.  What is there is not repeated, so this can be stopped and started at will.
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
from post_pictures import make_small  # noqa: E402
from ddgm.evaluation.metrics import N_SCORED  # noqa: E402
from ddgm.evaluation.tasks import open_task  # noqa: E402
from ddgm.presets import PRESETS  # noqa: E402
from ddgm.runs.command_line import OneLineParser  # noqa: E402
from ddgm.runs.exit_status import run_script  # noqa: E402
from ddgm.support.tables import markdown, rounded  # noqa: E402

SHOWN = {
    'gaussian_mixture': (
        'log_likelihood', 'kl_data_energy', 'kl_energy_data', 'kl_generator_data', 'hq_2sigma', 'entropy_knn',
        'coverage'),
    'swiss_roll': ('within_0.05', 'within_0.1', 'arc_kl', 'blurred_js', 'coverage'),
}
# Of the generator's samples, and of the refined ones.
AIMS = {
    'gaussian_mixture': (
        {'log_likelihood': '≥ −1.45', 'kl_energy_data': '≤ 0.05', 'kl_generator_data': '≤ 0.15'},
        {'log_likelihood': '≥ −1.45', 'kl_energy_data': '≤ 0.05', 'kl_generator_data': '≤ 0.1',
         'hq_2sigma': '0.855 to 0.885', 'entropy_knn': '1.38 to 1.46', 'coverage': '≥ 0.96'}),
    'swiss_roll': ({}, {'within_0.1': '≥ 0.99', 'coverage': '≥ 0.95'}),
}


def run(task, seed, out):
    """Metrics of a run's own samples and of the refined ones."""
    name = '{}-seed{}'.format(task, seed)
    folder, refined = out / name, out / (name + '-refined')
    if not (folder / 'metrics.json').exists():
        resume = ['--resume'] if (folder / 'settings.json').exists() else []
        start('train_{}.py'.format(task), '--preset', 'density', '--seed', seed, '--figure_interval', 0,
              '--out', folder, *resume)
    if not (refined / 'metrics.json').exists():
        start('-m', 'ddgm.refine', folder, '--proposals', 400_000, '--out', refined)
    return [json.loads((path / 'metrics.json').read_text(encoding='utf-8')) for path in (folder, refined)]


def start(*words):
    subprocess.run(
        [sys.executable, *map(str, words)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL,
        env={**os.environ, 'OMP_NUM_THREADS': '1'})


def main():
    parser = OneLineParser(description=__doc__)
    several_seeds.add_flags(parser, 'result/density')
    parser.add_argument('--record', action='store_true', help='write docs/results/density.json and docs/density_*.png')
    arguments = parser.parse_args()
    out = arguments.out.absolute()
    scores = several_seeds.side_by_side(
        lambda task, seed: run(task, seed, out), [(task, seed) for task in SHOWN for seed in range(arguments.seeds)],
        arguments.jobs)
    tables = {}
    for task, names in SHOWN.items():
        reference = open_task(task)
        real = reference.score(reference.real_data(N_SCORED), reference.exact_energy)
        rows = []
        for i, kind in enumerate(('samples of the generator', 'refined under the energy model')):
            rows.append([
                kind, *([rounded(scores[task, seed][i][name]) for seed in range(arguments.seeds)] for name in names)])
            if AIMS[task][i]:
                rows.append(['aim' if i == 0 else 'aim, refined', *map(AIMS[task][i].get, names)])
        rows.append(['real data', *(several_seeds.without_rounding(real.get(name)) for name in names)])
        tables[task] = {
            'columns': ['samples', *map('`{}`'.format, names)], 'rows': rows,
            'made': {'iterations': PRESETS[task]['density'].settings.iterations}}
        print('\n{}\n\n{}'.format(task, markdown(tables[task])), end='')
    if arguments.record:
        record.write('density', tables, seeds=list(range(arguments.seeds)))
        for task in SHOWN:
            make_small(
                out / '{}-seed0-refined'.format(task) / 'samples.png', ROOT / 'docs' / 'density_{}.png'.format(task))


if __name__ == '__main__':
    run_script(main)
