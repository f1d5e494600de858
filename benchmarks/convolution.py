#!/usr/bin/env python3
"""How long a training step of icons takes with this project's convolutions, and with Chainer's in the same loop.

Both sides start from the same weights and take turns, step by step, on a machine that does nothing else.
"""

import argparse
import dataclasses
import pathlib
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import ddgm  # noqa: E402, F401, I001  (before Chainer)
import chainer  # noqa: E402
import record  # noqa: E402
from ddgm import presets  # noqa: E402
from ddgm.evaluation import tasks  # noqa: E402
from ddgm.fast import links  # noqa: E402
from ddgm.runs import training_state  # noqa: E402
from ddgm.runs.command_line import path_name  # noqa: E402

CASES = [  # preset, width, batch, rounds
    ('post', 0.25, 64, 15), ('last_commit', 0.25, 64, 9), ('author', 0.25, 64, 7),
    ('post', 1.0, 32, 9), ('last_commit', 1.0, 32, 7), ('author', 1.0, 32, 4)]
LINKS = 'Convolution2D', 'Deconvolution2D'
SIDES = {name: [getattr(module, link).forward for link in LINKS] for name, module in (
    ('ours', links), ("Chainer's", chainer.links))}


def use(side):
    """Let both kinds of links compute as a side does."""
    for link, forward in zip(LINKS, SIDES[side]):
        getattr(links, link).forward = forward


def build_loop(preset, width, batchsize, task):
    """A training loop from its first iteration on."""
    settings = dataclasses.replace(
        presets.PRESETS['images'][preset].settings, width=width, batchsize=batchsize, iterations=10 ** 6)
    state = training_state.build_state(
        settings, lambda *arguments: tasks.build_models('images', *arguments), task.draw_data,
        training_state.open_device('@numpy'))
    return training_state.iterations_of(state, task.draw_data, settings)


def measure(preset, width, batchsize, rounds, task):
    """Seconds of each step by side, in the order of the rounds, after two steps that are not counted."""
    loops, seconds = {}, {side: [] for side in SIDES}
    for side in SIDES:
        use(side)
        loops[side] = build_loop(preset, width, batchsize, task)
        next(loops[side]), next(loops[side])
    for i in range(rounds):
        for side in sorted(SIDES, reverse=i % 2):
            use(side)
            start = time.perf_counter()
            next(loops[side])
            seconds[side].append(time.perf_counter() - start)
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', metavar='DIR', type=path_name, required=True, help='folder of pictures')
    parser.add_argument('--record', action='store_true', help='write docs/results/convolution.json')
    arguments = parser.parse_args()
    task = tasks.open_task('images', arguments.images)
    rows = []
    for preset, width, batchsize, rounds in CASES:
        seconds = measure(preset, width, batchsize, rounds, task)
        ratios = [theirs / ours for ours, theirs in zip(*seconds.values())]
        low, middle, high = (round(ratio, 2) for ratio in statistics.quantiles(ratios, n=4, method='inclusive'))
        rows.append([
            '`{}`, width {:g}, batches of {}'.format(preset, width, batchsize),
            *(round(1000 * statistics.median(values)) for values in seconds.values()),
            {'value': middle, 'from': low, 'to': high}, rounds])
        print(*rows[-1], flush=True)
    if arguments.record:
        columns = [
            'preset, on icons', 'ms a step, ours', "ms a step, Chainer's", 'theirs over ours (quartiles)', 'rounds']
        record.write('convolution', {'steps': {'columns': columns, 'rows': rows}})


if __name__ == '__main__':
    with chainer.using_config('type_check', False):
        main()
