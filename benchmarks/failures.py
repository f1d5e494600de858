#!/usr/bin/env python3
"""How often, and when, each published setting of MNIST and images collapses: the README's table of failures.

Each row is a preset, run with several seeds.  Now and then 1,000 samples from fixed z are compared with data; a run has
collapsed where ``diversity`` ends below 0.25.  A run that was measured before is not measured again, so an interrupted
study goes on where it was.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ddgm import command_line  # noqa: E402
from ddgm.files import write_json  # noqa: E402
from ddgm.metrics import COLLAPSED  # noqa: E402

ROWS = {  # preset and iterations
    'mnist': {
        'batch_normalized_energy': 3_000, 'last_commit': 4_500, 'weight_normalized_energy': 4_500, 'post': 3_000,
        'grey': 6_000},
    'images': {'post': 1_000, 'post_softplus': 1_000, 'weight_normalized': 1_000, 'last_commit': 1_000},
}
INTERVAL = {'mnist': 250, 'images': 100}
N_SAMPLES = 1000
WIDTH, BATCHSIZE = 0.125, 32  # of the images


def collapse(trace):
    """The iteration from which on the diversity stays below the threshold to the end, or ``None``.

    Many runs look collapsed in their first thousands of iterations and recover, so the end of the run decides.
    """
    diversities = [diversity for _, diversity in trace]
    # The middle one of three neighbouring checks, so that a single spike is passed over.
    smooth = diversities[:1] + [
        sorted(diversities[start:start + 3])[1]
        for start in (min(i - 1, len(trace) - 3) for i in range(1, len(trace)))]
    low = [diversity < COLLAPSED for diversity in smooth]
    if not low[-1]:
        return None
    return trace[len(low) - low[::-1].index(False) if False in low else 0][0]


def measure(task, preset, seed, folder, path):
    """Train one run and write its trace of ``[iteration, diversity]`` as JSON."""
    import ddgm  # noqa: F401, I001  (before Chainer)
    import chainer
    import dataclasses
    from ddgm import metrics, presets, randomness, run, sampling, training

    settings = dataclasses.replace(presets.PRESETS[task][preset].settings, seed=seed)
    reference_rng = randomness.metric_generator(stream=2)
    if task == 'mnist':
        from ddgm.data.mnist import MNIST
        from ddgm.networks.mnist import build_models
        data = MNIST(folder)
        reference = data.held_out(N_SAMPLES, reference_rng)

        def draw_data(n, rng):
            return data.sample(n, rng, settings.binarized)
    else:
        from ddgm.data.images import ImageFolder
        from ddgm.networks.images import build_models
        settings = dataclasses.replace(settings, width=WIDTH, batchsize=BATCHSIZE)
        data = ImageFolder(folder, settings.batchsize)
        draw_data = data.sample
        reference = draw_data(N_SAMPLES, reference_rng).reshape(-1, 3 * 64 * 64)

    state = run.build_state(settings, build_models, draw_data, chainer.get_device('@numpy'))
    generative_model = state.models[1]
    z = generative_model.draw_latent(N_SAMPLES, randomness.metric_generator(stream=0))
    trace, start = [], time.time()
    with chainer.using_config('type_check', False):
        for iteration, _ in training.train(
                state.energy_optimizer, state.generator_optimizer, draw_data, settings.batchsize, settings.seed,
                done=0, iterations=ROWS[task][preset], generator_first=settings.generator_first):
            if iteration % INTERVAL[task] == 0:
                x = sampling.sample(generative_model, z).reshape(N_SAMPLES, -1)
                trace.append((iteration, metrics.diversity(x, reference)))
    write_json(path, {'trace': trace, 'seconds': time.time() - start})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--task', choices=ROWS, default='mnist')
    parser.add_argument('--data', metavar='DIR', required=True, help='what the script would read')
    parser.add_argument('--presets', nargs='+', metavar='NAME', help='only these (default: all)')
    parser.add_argument('--seeds', type=int, default=5, metavar='N', help='seeds 0 to N − 1 (default: %(default)s)')
    parser.add_argument('--jobs', type=int, default=2, metavar='N', help='runs at a time (default: %(default)s)')
    parser.add_argument('--out', type=pathlib.Path, default=pathlib.Path('result/failures'), metavar='DIR')
    parser.add_argument('--one', nargs=2, metavar=('PRESET', 'SEED'), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    def path_of(preset, seed):
        return arguments.out / '{}-{}-seed{}.json'.format(arguments.task, preset, seed)
    if arguments.one:
        preset, seed = arguments.one
        return measure(arguments.task, preset, int(seed), arguments.data, path_of(preset, seed))

    if arguments.task == 'mnist':
        from ddgm.data import mnist
        mnist.fetch(arguments.data)
    presets = arguments.presets or list(ROWS[arguments.task])
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        futures = [
            pool.submit(
                subprocess.run,
                [sys.executable, __file__, '--task', arguments.task, '--data', arguments.data, '--out',
                 str(arguments.out), '--one', preset, str(seed)],
                check=True, env={**os.environ, 'OMP_NUM_THREADS': '1'})
            for seed in range(arguments.seeds) for preset in presets if not path_of(preset, seed).exists()]
    for future in futures:
        future.result()

    print('| preset | iterations | collapsed | from iteration | diversity at the end |')
    print('| --- | --- | --- | --- | --- |')
    for preset in presets:
        traces = [json.loads(path_of(preset, seed).read_text())['trace'] for seed in range(arguments.seeds)]
        collapses = [collapse(trace) for trace in traces]
        print('| `{}` | {:,} | {} of {} | {} | {} |'.format(
            preset, ROWS[arguments.task][preset], sum(c is not None for c in collapses), len(traces),
            ', '.join('–' if c is None else '{:,}'.format(c) for c in collapses),
            ', '.join('{:.2f}'.format(sorted(d for _, d in trace[-3:])[1]) for trace in traces)))


if __name__ == '__main__':
    command_line.run_script(main)
