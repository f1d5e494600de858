#!/usr/bin/env python3
"""The tables of quality: both 2-D tasks, many seeds, scored at 10,000 and 20,000 iterations, beside the 2016 code.

Each run is the training script's own; between the two lengths it is resumed.  Beside the script's own metrics, those of
the samples that the generator gives with the running statistics of training, as the 2016 code drew them.  A run that is
there is not repeated, so this can be stopped and started at will.
"""

import itertools
import json
import pathlib
import subprocess
import sys

import numpy

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / 'benchmarks'), str(ROOT)]

import ddgm  # noqa: E402, F401, I001  (before Chainer)
import record  # noqa: E402
import several_seeds  # noqa: E402
from chainer import serializers  # noqa: E402
from ddgm import presets  # noqa: E402
from ddgm.evaluation import sampling  # noqa: E402
from ddgm.evaluation.metrics import N_SCORED  # noqa: E402
from ddgm.evaluation.tasks import build_models, open_task  # noqa: E402
from ddgm.runs.command_line import OneLineParser  # noqa: E402
from ddgm.runs.exit_status import run_script  # noqa: E402
from ddgm.support import tables  # noqa: E402
from ddgm.support.files import write_json  # noqa: E402

LENGTHS = (10_000, 20_000)
# What a run should reach, and what the 2016 code itself reached with its seeds 0 and 1 (Python 2.7, Chainer 1.17.0),
# for both lengths; ``None`` where that is not known.
AIMS = {
    'gaussian_mixture': {
        'hq_2sigma': ('≥ 0.67', '≥ 0.73'), 'hq_3sigma': ('≥ 0.84', '≥ 0.89'), 'modes_2sigma': (10, 10),
        'kl_generator_data': ('≤ 1.75', '≤ 1.4')},
    'swiss_roll': {
        'within_0.1': (None, '≥ 0.74'), 'median_distance': (None, '≤ 0.055'), 'coverage': (None, '≥ 0.45')},
}
CODE_OF_2016 = {
    'gaussian_mixture': {
        'hq_2sigma': ((0.69, 0.684), (0.73, 0.775)), 'hq_3sigma': ((0.851, 0.862), (0.89, 0.904)),
        'modes_2sigma': ((10, 10), (10, 10)), 'mode_kl': None, 'entropy_knn': ((1.52, 1.43), (1.27, 1.25)),
        'kl_generator_data': ((1.6, 1.72), (1.37, 1.01)),
        'sliced_wasserstein_2': ((0.097, 0.091), (0.109, 0.087)), 'coverage': ((0.86, 0.807), (0.781, 0.872)),
        'log_likelihood': ((-14.5,), (-24.6,)), 'kl_data_energy': None, 'kl_energy_data': None},
    'swiss_roll': {
        'within_0.05': ((0.322, 0.591), (0.638, 0.402)), 'within_0.1': ((0.644, 0.842), (0.849, 0.698)),
        'median_distance': ((0.075, 0.041), (0.037, 0.064)), 'blurred_js': None,
        'arc_kl': ((0.084, 0.039), (0.039, 0.111)), 'sliced_wasserstein_2': ((0.09, 0.081), (0.054, 0.108)),
        'coverage': ((0.342, 0.568), (0.577, 0.379)), 'log_likelihood': ((-3.9,), (-11.7,))},
}


def score_with_running_statistics(task, folder):
    """The metrics of the same z through the generator as its last snapshot has it."""
    settings = presets.PRESETS[task][presets.default_preset(task)].settings
    _, generative_model = build_models(task, settings, numpy.random.default_rng(0))
    with numpy.load(folder / 'snapshot.npz', allow_pickle=False) as snapshot:
        serializers.NpzDeserializer(snapshot, path='generator_model/').load(generative_model)
    with numpy.load(folder / 'samples.npz', allow_pickle=False) as samples:
        return open_task(task).score(sampling.sample(generative_model, samples['z']))


def run(task, seed, out):
    """Run one task with one seed through all lengths: a list of its metrics of both kinds, one for each length."""
    folder, result = out / '{}-seed{}'.format(task, seed), out / '{}-seed{}.json'.format(task, seed)
    if result.exists():
        return json.loads(result.read_text(encoding='utf-8'))
    scores = []
    for length in LENGTHS:
        subprocess.run(
            [sys.executable, str(ROOT / 'train_{}.py'.format(task)), '--out', str(folder), '--seed', str(seed),
             '--iterations', str(length), '--figure_interval', '0', '--resume' if scores else '--overwrite'],
            check=True, stdout=subprocess.DEVNULL)
        scores.append({
            'finished': json.loads((folder / 'metrics.json').read_text(encoding='utf-8')),
            'running': score_with_running_statistics(task, folder)})
    write_json(result, scores)
    return scores


def quartiles(values):
    """Median and quartiles as a cell of a table; ``None`` where a run lacks the number."""
    if None in values:
        return None
    low, middle, high = numpy.percentile(values, [25, 50, 75])
    return {'value': tables.rounded(middle), 'from': tables.rounded(low), 'to': tables.rounded(high)}


def rank_sum_p(values, others):
    """The two-sided p-value of the rank-sum test, exact: whether ``others`` come from the distribution of ``values``.

    Mann & Whitney 1947.  The share of all choices of as many ranks whose sum is at least as far from the middle; ties
    have their mean rank.
    """
    pooled = numpy.concatenate([values, others])
    ranks = [(pooled < value).sum() + ((pooled == value).sum() + 1) / 2 for value in pooled]
    middle = len(others) * numpy.mean(ranks)
    sums = numpy.array([sum(chosen) for chosen in itertools.combinations(ranks, len(others))])
    return float((abs(sums - middle) >= abs(sum(ranks[len(values):]) - middle) - 1e-9).mean())


def table(task, i, runs, real_data):
    """A table of one task and length, from the scores of all seeds."""
    columns = ['metric', 'ours', 'aim', '2016 code, seeds 0, 1', 'p', 'real data', 'running statistics']
    rows = []
    for name, of_2016 in CODE_OF_2016[task].items():
        finished, running = ([run[i][kind].get(name) for run in runs] for kind in ('finished', 'running'))
        theirs = list(of_2016[i]) if of_2016 else None
        comparable = theirs and None not in finished and len(set(finished) | set(theirs)) > 1
        rows.append([
            '`{}`'.format(name), quartiles(finished), AIMS[task].get(name, (None, None))[i],
            '{} (seed 1 alone)'.format(tables.number(theirs[0])) if theirs and len(theirs) == 1 else theirs,
            round(rank_sum_p(finished, theirs), 2) if comparable else None,
            several_seeds.without_rounding(real_data.get(name)),
            None if None in running else tables.rounded(float(numpy.median(running)))])
    return {'columns': columns, 'rows': rows, 'made': {'iterations': LENGTHS[i]}}


def main():
    parser = OneLineParser(description=__doc__)
    several_seeds.add_flags(parser, 'result/quality', seeds=16, smallest=2)
    parser.add_argument('--record', action='store_true', help='write docs/results/plane.json')
    arguments = parser.parse_args()
    scores = several_seeds.side_by_side(
        lambda task, seed: run(task, seed, arguments.out),
        [(task, seed) for seed in range(arguments.seeds) for task in CODE_OF_2016], arguments.jobs)
    results = {}
    for task in CODE_OF_2016:
        reference = open_task(task)
        real_data = reference.score(reference.real_data(N_SCORED), reference.exact_energy)
        runs = [scores[task, seed] for seed in range(arguments.seeds)]
        for i, length in enumerate(LENGTHS):
            name = '{}_{}'.format(task, length)
            results[name] = table(task, i, runs, real_data)
            print('\n{}, {:,} iterations\n'.format(task, length))
            print(tables.markdown(results[name]), end='')
    if arguments.record:
        record.write('plane', results, seeds=list(range(arguments.seeds)))


if __name__ == '__main__':
    run_script(main)
