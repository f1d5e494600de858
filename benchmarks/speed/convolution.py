"""How long a training step of icons takes with this project's convolutions, and with Chainer's in the same loop.

Both sides start from the same weights and take turns, step by step, on a machine that does nothing else.
"""

import dataclasses
import functools
import statistics
import time

from benchmarks.results import record
from ddgm import presets
from ddgm.evaluation import tasks
from ddgm.fast import links
from ddgm.runs import devices, training_state
from ddgm.runs.command_line import OneLineParser, path_name
from ddgm.runs.exit_status import run_script

CASES = [  # preset, width, batch, rounds
    ('post', 0.25, 64, 15), ('last_commit', 0.25, 64, 9), ('author', 0.25, 64, 7),
    ('post', 1.0, 32, 9), ('last_commit', 1.0, 32, 7), ('author', 1.0, 32, 4)]
LINKS = links.Convolution2D, links.Deconvolution2D
SIDES = {'ours': [link.forward for link in LINKS], "Chainer's": [link.__base__.forward for link in LINKS]}


def use(side):
    """Let both kinds of links compute as a side does."""
    for link, forward in zip(LINKS, SIDES[side]):
        link.forward = forward


def build_loop(preset, width, batchsize, task):
    """A training loop from its first iteration on."""
    settings = dataclasses.replace(
        presets.PRESETS['images'][preset].settings, width=width, batchsize=batchsize, iterations=10 ** 6)
    state = training_state.build_state(
        settings, functools.partial(tasks.build_models, 'images'), task.draw_data,
        devices.open_device('@numpy'))
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
    parser = OneLineParser(prog='python -m benchmarks.speed.convolution', description=__doc__)
    parser.add_argument('--images', metavar='DIR', type=path_name, required=True, help='folder of pictures')
    parser.add_argument('--record', action='store_true', help='write docs/results/convolution.json')
    arguments = parser.parse_args()
    import chainer  # after this project
    task, rows = tasks.open_task('images', arguments.images), []
    for preset, width, batchsize, rounds in CASES:
        with chainer.using_config('type_check', False):
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
    run_script(main)
