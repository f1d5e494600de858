#!/usr/bin/env python3
"""The tables of quality: both 2-D tasks, several seeds, scored at 10,000 and 20,000 iterations.

Each run is the training script's own; between the two lengths it is resumed.  Beside the script's own metrics, those of
the samples that the generator gives with the running statistics of training, as the 2016 code drew them.
"""

import concurrent.futures
import json
import pathlib
import platform
import statistics
import subprocess
import sys

import numpy

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import ddgm  # noqa: E402, F401, I001  (before Chainer)
from chainer import serializers  # noqa: E402
from ddgm import presets  # noqa: E402
from ddgm.evaluation import sampling  # noqa: E402
from ddgm.evaluation.tasks import build_models, open_task  # noqa: E402
from ddgm.runs.command_line import OneLineParser, as_path, whole_number  # noqa: E402
from ddgm.runs.exit_status import run_script  # noqa: E402

LENGTHS = (10_000, 20_000)
SHOWN = {
    'gaussian_mixture': (
        'hq_2sigma', 'hq_3sigma', 'modes_2sigma', 'mode_kl', 'entropy_knn', 'kl_generator_data',
        'sliced_wasserstein_2', 'coverage', 'log_likelihood'),
    'swiss_roll': (
        'within_0.05', 'within_0.1', 'median_distance', 'blurred_js', 'arc_kl', 'sliced_wasserstein_2', 'coverage',
        'log_likelihood'),
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
    folder = out / '{}-seed{}'.format(task, seed)
    scores = []
    for length in LENGTHS:
        subprocess.run(
            [sys.executable, str(ROOT / 'train_{}.py'.format(task)), '--out', str(folder), '--seed', str(seed),
             '--iterations', str(length), '--resume' if scores else '--overwrite'],
            check=True, stdout=subprocess.DEVNULL)
        scores.append({
            'finished': json.loads((folder / 'metrics.json').read_text()),
            'running': score_with_running_statistics(task, folder)})
    return scores


def text(value):
    """A number as the table shows it; a dash for one that a run does not have."""
    return '–' if value is None else '{:.4g}'.format(value)


def median(values):
    return None if None in values else statistics.median(values)


def main():
    parser = OneLineParser(description=__doc__)
    parser.add_argument(
        '--seeds', type=whole_number(1), default=3, metavar='N', help='seeds 0 to N − 1 (default: %(default)s)')
    parser.add_argument(
        '--jobs', type=whole_number(1), default=2, metavar='N', help='runs at a time (default: %(default)s)')
    parser.add_argument('--out', type=as_path, default=pathlib.Path('result/quality'), metavar='DIR')
    arguments = parser.parse_args()

    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        futures = {
            (task, seed): pool.submit(run, task, seed, arguments.out)
            for task in SHOWN for seed in range(arguments.seeds)}
        scores = {key: future.result() for key, future in futures.items()}

    print('Seeds 0 to {}, {} {}, Python {}'.format(
        arguments.seeds - 1, platform.system(), platform.machine(), platform.python_version()))
    for task, names in SHOWN.items():
        for i, length in enumerate(LENGTHS):
            print('\n{}, {:,} iterations\n'.format(task, length))
            print('| metric | median | each seed | median with running statistics |\n| --- | --- | --- | --- |')
            for name in names:
                finished, running = (
                    [scores[task, seed][i][kind].get(name) for seed in range(arguments.seeds)]
                    for kind in ('finished', 'running'))
                print('| `{}` | {} | {} | {} |'.format(
                    name, text(median(finished)), ' / '.join(map(text, finished)), text(median(running))))


if __name__ == '__main__':
    run_script(main)
