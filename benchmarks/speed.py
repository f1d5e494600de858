#!/usr/bin/env python3
"""How long a training step takes, beside Chainer's own parts and beside PyTorch.

A step is one iteration of both models, its six losses read back.  Each side (benchmarks/speed_sides) is a process of
its own with its own library, all of them alive and idle but one: in each round every side has its turn of some untimed
and some timed steps, so that whatever else the machine does falls on all alike.  A round's ratio is this project's
median step over the other's; the tables show the median of all rounds, the smallest and the largest.  Before that all
sides have to compute the same: all losses of the first iterations, from the same weights, data, z and noise; otherwise
the command ends with status 1.
"""

import argparse
import contextlib
import dataclasses
import itertools
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import types

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / 'benchmarks'), str(ROOT)]

import record  # noqa: E402
from speed_sides import NAMES, NotMeasured  # noqa: E402
from speed_sides.case import LOSSES, Case  # noqa: E402
from speed_sides.worker import Worker, WorkerFailed  # noqa: E402

from ddgm import presets  # noqa: E402
from ddgm.runs.command_line import OneLineParser, as_path, whole_number  # noqa: E402
from ddgm.runs.exit_status import run_script  # noqa: E402
from ddgm.support.errors import RunFailed, UsageError  # noqa: E402
from ddgm.support.files import write_json  # noqa: E402

OURS = 'ours'
PEERS = [name for name in NAMES if name != OURS]
TASKS = 'gaussian_mixture', 'mnist', 'images'

# Of all losses of the iterations that are compared, relative to those of more than a nat.  Only rounding tells the
# sides apart, and it grows from iteration to iteration.
TOLERANCE = 1e-3
PAUSE = 0.1  # seconds between two turns, in which the threads of the side before go to sleep
SLOW = 0.3  # seconds a step from which on fewer steps do


# ---- what is measured

def make_case(task, preset=None, batchsize=None, width=None, threads=None, device=-1, seed=None):
    """A case from a preset and what is changed of it; raises ``UsageError``."""
    preset = preset or presets.default_preset(task)
    known = presets.PRESETS[task]
    # The paper author's own has another optimizer and another order of the updates, which the other sides lack.
    possible = [name for name in known if known[name].settings.optimizer == 'adam']
    if preset not in possible:
        raise UsageError('--preset {} of {}: give one of {}'.format(preset, task, ', '.join(possible)))
    changes = {'batchsize': batchsize, 'width': width, 'seed': seed}
    changes = {name: value for name, value in changes.items() if value is not None}
    if 'width' in changes and task != 'images':
        raise UsageError('--width is for --task images')
    try:
        settings = dataclasses.replace(known[preset].settings, **changes)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if threads is None:
        threads = 1 if task == 'gaussian_mixture' else 2
    return Case(task, preset, threads, device, types.SimpleNamespace(**dataclasses.asdict(settings)))


def published_cases(device):
    """Those of docs/performance.md."""
    return [
        make_case('gaussian_mixture', device=device), make_case('mnist', device=device),
        *(make_case('images', batchsize=batchsize, width=width, device=device)
          for width, batchsizes in ((1.0, (32, 128)), (0.25, (32, 64))) for batchsize in batchsizes)]


def scaling_series(device):
    """By title, the cases of a series, each with one number that grows."""
    def cases(task, **growing):
        names = list(growing)
        return [
            make_case(task, device=device, **dict(zip(names, values)))
            for values in itertools.product(*growing.values())]
    return {
        'gaussian_mixture, batches': cases('gaussian_mixture', batchsize=(25, 100, 400, 1600)),
        'gaussian_mixture, threads': cases('gaussian_mixture', threads=(1, 2)),
        'mnist, threads and batches': cases('mnist', threads=(1, 2), batchsize=(32, 128, 512)),
        'images, threads and batches': cases('images', width=(0.25,), threads=(1, 2), batchsize=(8, 32, 128)),
        'images, width': cases('images', width=(0.125, 0.25, 0.5), batchsize=(32,)),
    }


# ---- measuring

def measure(case, sides, rounds, seconds, late, check, tolerance=TOLERANCE):
    """Everything about one case, as it is written to the JSON file.

    Args:
        case (Case): What each side computes.
        sides (list): Names of the peers.
        rounds (int): Turns of each side.
        seconds (float): That a turn is to take.
        late (int): Steps that each side does untimed before.
        check (int): Iterations whose losses are compared first.
        tolerance (float): Within which they have to agree.

    Raises:
        UsageError: This machine lacks the GPU.
        RunFailed: A side computes something else, or stopped with an error.
    """
    result = {
        'task': case.task, 'preset': case.preset, 'threads': case.threads, 'device': case.device,
        'settings': vars(case.settings), 'title': case.describe(), 'tolerance': tolerance, 'sides': {}}
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        workers, expected = {}, None
        for name in [OURS, *sides]:  # this project first: it writes what the others start from
            entry = result['sides'][name] = {}
            try:
                say('{}: {} ...'.format(case.describe(), name))
                worker = stack.enter_context(Worker(name, case, folder))
                losses = worker.losses(check)
            except NotMeasured as error:
                if name == OURS:
                    raise UsageError(str(error)) from error
                entry['not_measured'] = str(error)
                continue
            except WorkerFailed as error:
                raise RunFailed(str(error)) from error
            expected = expected or losses
            entry.update(versions=worker.versions, notes=worker.notes, losses=losses)
            entry['largest_difference'], line = compare_losses(name, expected, losses)
            if not entry['largest_difference'] <= tolerance:  # nor where it is not a number
                raise RunFailed('{}: {}, where {:.0e} is allowed'.format(case.describe(), line, tolerance))
            workers[name] = worker
        try:
            take_turns(case, workers, result, rounds, seconds, late)
        except (NotMeasured, WorkerFailed) as error:
            raise RunFailed(str(error)) from error
    add_ratios(result)
    return result


def compare_losses(name, expected, losses):
    """The largest difference of all losses, relative to those of more than a nat, and a line that says where it is."""
    differences = [
        (abs(b - a) / max(1, abs(a)), '{} has {} of iteration {} = {:.6g}, this project {:.6g}: {:.1e} apart'.format(
            name, loss, iteration, b, a, abs(b - a) / max(1, abs(a))))
        for iteration, (ours, theirs) in enumerate(zip(expected, losses), 1)
        for loss, a, b in zip(LOSSES, ours, theirs)]
    not_a_number = [pair for pair in differences if pair[0] != pair[0]]
    return not_a_number[0] if not_a_number else max(differences)


def take_turns(case, workers, result, rounds, seconds, late):
    """Let the sides have their turns; adds the times and the memory to the result."""
    steps, warm_up = {}, {}
    for name, worker in workers.items():
        say('{}: {}, untimed steps ...'.format(case.describe(), name))
        if late:
            worker.turn(late, 0)
        step, = worker.turn(2, 1)
        worker.forget_peak_memory()
        steps[name] = max(2, min(1000, round(seconds / step)))
        warm_up[name] = 1 if step > SLOW else 2
        result['sides'][name]['turns'] = []
    for i in range(rounds):
        say('{}: round {} of {} ...'.format(case.describe(), i + 1, rounds))
        for name in order_of_turns(list(workers), i):
            time.sleep(PAUSE)
            result['sides'][name]['turns'].append(workers[name].turn(warm_up[name], steps[name]))
    for name, worker in workers.items():
        memory, device_memory = worker.peak_memory()
        result['sides'][name].update(peak_memory=memory, peak_device_memory=device_memory)


def order_of_turns(names, i):
    """Of round i: another side begins each time, and every other round goes backwards."""
    first = i % len(names)
    order = names[first:] + names[:first]
    return order[::-1] if i % 2 else order


def add_ratios(result):
    """To each measured side its median step of each round, and this project's over that."""
    sides = {name: entry for name, entry in result['sides'].items() if 'turns' in entry}
    for entry in sides.values():
        entry['medians'] = [statistics.median(times) for times in entry['turns']]
        entry['step'] = statistics.median(entry['medians'])
    for name, entry in sides.items():
        if name != OURS:
            entry['ratios'] = [ours / theirs for ours, theirs in zip(sides[OURS]['medians'], entry['medians'])]
            entry['ratio'] = statistics.median(entry['ratios'])


def measure_startup(rounds):
    """By command, the seconds that it takes, once a round; a list, or a string that says why there is none."""
    commands = {
        'python train_{}.py --help'.format(task): ['train_{}.py'.format(task), '--help'] for task in presets.PRESETS}
    for statement in ('import ddgm.training', 'import ddgm, chainer', 'import torch'):
        commands['python -c "{}"'.format(statement)] = ['-c', statement]
    seconds = {title: [] for title in commands}
    for i in range(rounds + 1):  # the first one reads the files from the disk
        say('start of the commands, round {} of {} ...'.format(i, rounds))
        for title, arguments in commands.items():
            if isinstance(seconds[title], str):
                continue
            start = time.perf_counter()
            process = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)
            if process.returncode:
                seconds[title] = (process.stderr.strip().splitlines() or ['status {}'.format(process.returncode)])[-1]
            elif i:
                seconds[title].append(time.perf_counter() - start)
    return seconds


def measure_demo(rounds):
    """By part of the run that `make demo` starts, the seconds that it takes, once a round."""
    ends = {  # by how its first line begins
        'Device:': 'start and imports', 'Trained:': 'training, 20,000 iterations, and frames of the video',
        'Drawing': 'scoring', 'Pictures:': 'drawing'}
    seconds = {part: [] for part in ends.values()}
    for i in range(rounds):
        say('the whole run, round {} of {} ...'.format(i + 1, rounds))
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            command = [sys.executable, '-u', 'train_gaussian_mixture.py', '--out', os.path.join(folder, 'run')]
            with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
                for line in process.stdout:
                    part = next((part for begin, part in ends.items() if line.startswith(begin)), None)
                    if part:
                        seconds[part].append(time.perf_counter() - start)
                        start = time.perf_counter()
            if process.returncode:
                raise RunFailed('train_gaussian_mixture.py: status {}'.format(process.returncode))
    return seconds


def describe_machine():
    """What the times depend on beside the programs; ``busy`` is the load of the last minute."""
    return {
        'system': platform.system(), 'machine': platform.machine(), 'processor': record.processor(),
        'cores': os.cpu_count(),
        'busy': os.getloadavg()[0] if hasattr(os, 'getloadavg') else None,
        'environment': {
            name: value for name, value in sorted(os.environ.items())
            if name.startswith(('OMP_', 'GOMP_', 'KMP_', 'OPENBLAS_', 'MKL_', 'MALLOC_', 'TORCH'))}}


# ---- tables

def print_table(heads, rows):
    """In markdown."""
    print('| {} |\n|{}'.format(' | '.join(heads), ' --- |' * len(heads)))
    for row in rows:
        print('| {} |'.format(' | '.join(row)))


def print_case(result):
    """The table of one case, and a line for each side that was not measured or chose something."""
    print('\n{}\n'.format(result['title']))
    sides = {name: entry for name, entry in result['sides'].items() if 'step' in entry}
    heads = ['side', 'ms a step', 'ours / its', 'smallest to largest of {} rounds'.format(
        len(sides[OURS]['turns'])), 'peak memory, MB', 'largest difference']
    on_gpu = any(entry['peak_device_memory'] for entry in sides.values())
    rows = []
    for name, entry in sides.items():
        ratios = entry.get('ratios')
        rows.append([
            name, '{:.4g}'.format(1e3 * entry['step']), '{:.3f}'.format(entry['ratio']) if ratios else '',
            '{:.3f} to {:.3f}'.format(min(ratios), max(ratios)) if ratios else '',
            '{:.0f}'.format(entry['peak_memory'] / 1e6),
            '{:.0e}'.format(entry['largest_difference']) if ratios else ''])
        if on_gpu:
            rows[-1].append('{:.0f}'.format(entry['peak_device_memory'] / 1e6))
    print_table(heads + ['of the GPU'] * on_gpu, rows)
    print_lines(result)


def print_lines(result):
    """What the table leaves out."""
    lines = [
        '{}: not measured ({})'.format(name, entry['not_measured']) if 'not_measured' in entry
        else '{}: {}'.format(name, entry['notes'])
        for name, entry in result['sides'].items() if entry.get('not_measured') or entry.get('notes')]
    if lines:
        print('\n' + '\n'.join(lines), flush=True)


def print_series(title, results):
    """A row for each case: milliseconds a step of each side, and this project's over that."""
    print('\n{}\n'.format(title))
    names = list(results[0]['sides'])

    def cell(entry):
        if 'step' not in entry:
            return '–'
        ratio = ' ({:.2f})'.format(entry['ratio']) if 'ratio' in entry else ''
        return '{:.4g}{}'.format(1e3 * entry['step'], ratio)
    print_table(['threads', 'width', 'batch', *names], [
        [str(result['threads']), '{:g}'.format(result['settings'].get('width', 1)),
         str(result['settings']['batchsize']), *(cell(result['sides'][name]) for name in names)]
        for result in results])
    for line in sorted({
            '{}: not measured ({})'.format(name, entry['not_measured'])
            for result in results for name, entry in result['sides'].items() if 'not_measured' in entry}):
        print(line)


def print_startup(seconds):
    print('\nStart\n')
    print_table(['command', 'median, ms', 'smallest to largest'], [
        [title, '{:.0f}'.format(1e3 * statistics.median(times)),
         '{:.0f} to {:.0f}'.format(1e3 * min(times), 1e3 * max(times))]
        for title, times in seconds.items() if not isinstance(times, str)])
    for title, reason in seconds.items():
        if isinstance(reason, str):
            print('{}: not measured ({})'.format(title, reason))


def print_demo(seconds):
    print('\nThe whole run of the plane\n')
    print_table(['part', 'median, s', 'smallest to largest'], [
        [part, '{:.2f}'.format(statistics.median(times)), '{:.2f} to {:.2f}'.format(min(times), max(times))]
        for part, times in seconds.items()])


def say(text):
    """What goes on, on standard error where that is a terminal."""
    if sys.stderr.isatty():
        print('\r\033[K' + text[:110], end='', file=sys.stderr, flush=True)


# ---- the command

def positive(text):
    with contextlib.suppress(ValueError):
        if 0 < float(text) < 1e6:
            return float(text)
    raise argparse.ArgumentTypeError('give a number above 0, not {!r}'.format(text))


def parse(arguments=None):
    parser = OneLineParser(
        description=__doc__, allow_abbrev=False,
        epilog='Without --task: gaussian_mixture and mnist as published, and images at full width and at a quarter.')
    parser.add_argument('--task', choices=TASKS)
    parser.add_argument('--preset', metavar='NAME', help="of the training scripts (default: the task's first)")
    parser.add_argument('--batchsize', type=whole_number(2), nargs='+', metavar='N', help="(default: the preset's)")
    parser.add_argument('--width', type=positive, nargs='+', metavar='F', help='of images (default: 1)')
    parser.add_argument(
        '--threads', type=whole_number(1), nargs='+', metavar='N', help='(default: 2, of gaussian_mixture 1)')
    parser.add_argument('--seed', type=whole_number(0), metavar='N', help='of weights and random numbers (default: 0)')
    parser.add_argument(
        '--sides', choices=PEERS, nargs='+', default=PEERS, metavar='NAME', help='{} (default: all)'.format(
            ', '.join(PEERS)))
    parser.add_argument(
        '--rounds', type=whole_number(1), metavar='N', help='(default: 15, of images 5, with --scaling 3)')
    parser.add_argument(
        '--seconds', type=positive, default=1.0, metavar='S', help='that a turn takes (default: %(default)s)')
    parser.add_argument(
        '--late', type=whole_number(0), default=0, metavar='N', help='untimed steps of each side before (default: 0)')
    parser.add_argument(
        '--check', type=whole_number(1), metavar='N',
        help='iterations in which all sides have to compute the same (default: 20, with --scaling 5)')
    parser.add_argument(
        '--device', type=whole_number(-1), default=-1, metavar='N', help='-1: the CPU (default); or the GPU')
    parser.add_argument('--scaling', action='store_true', help='series of batch sizes, widths and threads instead')
    parser.add_argument(
        '--startup', action='store_true', help='starts of the commands and parts of a whole run instead')
    parser.add_argument('--record', action='store_true', help='write docs/results/speed*.json')
    parser.add_argument('--out', type=as_path, metavar='FILE', help='everything that was measured, as JSON')
    parsed = parser.parse_args(arguments)
    changes = [
        '--' + name for name in ('preset', 'batchsize', 'width', 'threads', 'seed')
        if getattr(parsed, name) is not None]
    if changes and not parsed.task:
        parser.error('{} needs --task'.format(changes[0]))
    if parsed.scaling + parsed.startup + bool(parsed.task) > 1:
        parser.error('give one of --task, --scaling and --startup')
    if parsed.record and parsed.task:
        parser.error('--record is for all published cases, not for --task')
    return parsed


def cases_of(parsed):
    """Those that the command line asks for."""
    if not parsed.task:
        return published_cases(parsed.device)
    return [
        make_case(parsed.task, parsed.preset, batchsize, width, threads, parsed.device, parsed.seed)
        for threads in parsed.threads or [None] for width in parsed.width or [None]
        for batchsize in parsed.batchsize or [None]]


def main():
    parsed = parse()
    cases = cases_of(parsed)
    machine = describe_machine()
    print('{processor}, {cores} cores, {system}'.format(**machine))
    if machine['busy'] and machine['busy'] > 0.5:
        print('In the last minute {:.1f} cores were busy: if they still are, the times will say little'.format(
            machine['busy']))
    report = {'machine': machine}

    def measure_case(case, rounds, check):
        result = measure(
            case, parsed.sides, parsed.rounds or rounds, parsed.seconds, parsed.late, parsed.check or check)
        say('')
        return result

    def keep():
        if parsed.out:
            parsed.out.parent.mkdir(parents=True, exist_ok=True)
            write_json(parsed.out, report)

    if parsed.startup:
        report['startup'] = measure_startup(parsed.rounds or 15)
        say('')
        print_startup(report['startup'])
        report['demo'] = measure_demo(min(parsed.rounds or 5, 5))
        say('')
        print_demo(report['demo'])
    elif parsed.scaling:
        report['series'] = {}
        for title, series in scaling_series(parsed.device).items():
            report['series'][title] = [measure_case(case, 3, 5) for case in series]
            print_series(title, report['series'][title])
            keep()
    else:
        report['cases'] = []
        for case in cases:
            report['cases'].append(measure_case(case, 5 if case.task == 'images' else 15, 20))
            print_case(report['cases'][-1])
            keep()
    keep()
    if parsed.record:
        keep_results(report)


def keep_results(report):
    """What was measured as the documents take it."""
    import speed_results  # only now matplotlib
    made = {'packages': ('Chainer', 'NumPy', 'torch'), 'seeds': [0]}
    if 'startup' in report:
        record.write('speed_startup', speed_results.start_tables(report['startup'], report['demo']), **made)
    elif 'series' in report:
        record.write('speed_sizes', speed_results.size_tables(report['series']), **made)
        speed_results.draw_sizes(ROOT / 'docs' / 'speed_sizes.png', report['series'])
    else:
        record.write('speed', speed_results.step_tables(report['cases']), **made)


if __name__ == '__main__':
    run_script(main)
