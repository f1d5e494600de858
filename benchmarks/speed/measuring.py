"""What is measured of training steps and of starts, and that all sides compute the same."""

import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import itertools
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import types

from benchmarks import ROOT
from benchmarks.results import record
from benchmarks.speed.sides import FLOOR, ON_GPU, SIDES, NotMeasured
from benchmarks.speed.sides.case import LOSSES, Case
from benchmarks.speed.sides.worker import Worker, WorkerFailed
from ddgm import presets
from ddgm.evaluation import tasks
from ddgm.support.errors import RunFailed, UsageError

OURS, COMPILED = 'ours', 'ours_compiled'
PEERS = [name for name in SIDES if name not in (OURS, *ON_GPU, *FLOOR)]
TASKS = 'gaussian_mixture', 'mnist', 'images'

# Of all losses of the iterations that are compared, relative to those of more than a nat.  Only rounding tells the
# sides apart, and it grows from iteration to iteration.
TOLERANCE = 1e-3 if os.environ.get('CUPY_TF32', '0') in ('', '0') else 3e-2  # which has ten bits of fraction
PAUSE = 0.1  # seconds between two turns, in which the threads of the side before go to sleep
SLOW = 0.3  # seconds a step from which on fewer steps do

# Of the run of `make demo`: its parts, and how the lines begin that end the first of them.
PARTS = (
    'start and imports', 'training, 20,000 iterations', 'frames of the video, snapshots', 'drawing',
    'scoring, map of the energy', 'all')
ENDS = 'Device:', 'Trained:', 'Scoring'


# ---- what is measured

def make_case(task, batchsize=None, width=None, threads=None, device=-1, seed=None) -> Case:
    """A case from a task's first preset and what is changed of it; raises ``UsageError``."""
    preset = tasks.find(task).default_preset
    changes = {'batchsize': batchsize, 'width': width, 'seed': seed}
    changes = {name: value for name, value in changes.items() if value is not None}
    if 'width' in changes and task != 'images':
        raise UsageError('--width is for --task images')
    settings = dataclasses.replace(presets.PRESETS[task][preset].settings, **changes)
    if threads is None:
        threads = 1 if task == 'gaussian_mixture' else 2
    of_class = {'n_visible': settings.n_visible} if hasattr(settings, 'n_visible') else {}
    return Case(task, preset, threads, device, types.SimpleNamespace(**{**of_class, **dataclasses.asdict(settings)}))


def published_cases(device: int) -> list:
    """Those of docs/performance.md; on a CPU without icons whose steps take every side seconds."""
    at_full_width = (32,) if device < 0 else (32, 128)
    return [
        make_case('gaussian_mixture', device=device), make_case('mnist', device=device),
        *(make_case('images', batchsize=batchsize, width=width, device=device)
          for width, batchsizes in ((1.0, at_full_width), (0.25, (32, 64))) for batchsize in batchsizes)]


def scaling_series(device: int) -> dict:
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


def busy_cases(device: int) -> list:
    """Those that are measured beside another process too, with one thread and with two."""
    return [
        make_case(task, device=device, threads=threads, **changes)
        for task, changes in (('mnist', {}), ('images', {'width': 0.25, 'batchsize': 32})) for threads in (1, 2)]


# ---- measuring

@contextlib.contextmanager
def beside_another():
    """Within it another process computes without end."""
    with subprocess.Popen([sys.executable, '-c', 'while True: pass']) as process:
        try:
            yield
        finally:
            process.kill()


def measure(case: Case, sides: list, rounds: int, seconds: float, late: int, check: int) -> dict:
    """Everything about one case, as it is written to the JSON file.

    Args:
        case: What each side computes.
        sides: Names of the peers.
        rounds: Turns of each side.
        seconds: That a turn is to take.
        late: Steps that each side does untimed before.
        check: Iterations whose losses are compared first.

    Raises ``UsageError`` where this machine lacks the GPU, ``RunFailed`` where a side computes something else or
    stopped with an error.
    """
    result = {
        'task': case.task, 'preset': case.preset, 'threads': case.threads, 'device': case.device,
        'settings': vars(case.settings), 'title': case.describe(), 'tolerance': TOLERANCE, 'sides': {}, 'floor': {}}
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        try:
            workers = start_sides(case, [OURS, *sides], folder, stack, result, check)
            if case.device < 0:
                workers.update(start_floor(case, folder, stack, result))
            take_turns(case, workers, result, rounds, seconds, late)
        except (NotMeasured, WorkerFailed) as error:
            raise RunFailed(str(error)) from error
    add_ratios(result)
    return result


def start_sides(case, names, folder, stack, result, check):
    """The sides that can be measured, by name; this project first, since it writes what the others start from."""
    workers, expected = {}, None
    for name in names:
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
        expected = expected or losses
        entry.update(notes=worker.notes, losses=losses)
        entry['largest_difference'], line = compare_losses(name, expected, losses)
        if not entry['largest_difference'] <= TOLERANCE:  # nor where it is not a number
            raise RunFailed('{}: {}, where {:.0e} is allowed'.format(case.describe(), line, TOLERANCE))
        workers[name] = worker
    return workers


def start_floor(case, folder, stack, result):
    """What is below any step of this project on this machine, by name."""
    say('{}: the floor ...'.format(case.describe()))
    workers = {name: stack.enter_context(Worker(name, case, folder)) for name in FLOOR}
    result['floor'] = {name: {'work': worker.work()} for name, worker in workers.items()}
    return workers


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
    steps, warm_up, entries = {}, {}, {**result['sides'], **result['floor']}
    for name, worker in workers.items():
        say('{}: {}, untimed steps ...'.format(case.describe(), name))
        if late:
            worker.turn(late, 0)
        step, = worker.turn(2, 1)
        worker.forget_peak_memory()
        steps[name] = max(2, min(1000, round(seconds / step)))
        warm_up[name] = 1 if step > SLOW else 2
        entries[name]['turns'] = []
    for i in range(rounds):
        say('{}: round {} of {} ...'.format(case.describe(), i + 1, rounds))
        for name in order_of_turns(list(workers), i):
            time.sleep(PAUSE)
            entries[name]['turns'].append(workers[name].turn(warm_up[name], steps[name]))
    for name, worker in workers.items():
        memory, device_memory = worker.peak_memory()
        entries[name].update(peak_memory=memory, peak_device_memory=device_memory)


def order_of_turns(names, i):
    """Of round i: another side begins each time, and every other round goes backwards."""
    first = i % len(names)
    order = names[first:] + names[:first]
    return order[::-1] if i % 2 else order


def add_ratios(result):
    """To each measured side its median step of each round, this project's over that, and that over the floor."""
    sides = {name: entry for name, entry in result['sides'].items() if 'turns' in entry}
    for entry in (*sides.values(), *result['floor'].values()):
        entry['medians'] = [statistics.median(times) for times in entry['turns']]
        entry['step'] = statistics.median(entry['medians'])
    floor = [sum(parts) for parts in zip(*[entry['medians'] for entry in result['floor'].values()])]
    for name, entry in sides.items():
        if floor:
            entry['floor_ratios'] = [step / lowest for step, lowest in zip(entry['medians'], floor)]
        if name != OURS:
            entry['ratios'] = [ours / theirs for ours, theirs in zip(sides[OURS]['medians'], entry['medians'])]
            entry['ratio'] = statistics.median(entry['ratios'])
        if COMPILED in sides and name not in (OURS, COMPILED):
            entry['compiled_ratios'] = [
                ours / theirs for ours, theirs in zip(sides[COMPILED]['medians'], entry['medians'])]


def measure_startup(rounds: int) -> dict:
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


def measure_demo(rounds: int) -> dict:
    """By side, NumPy alone and where numba compiles, and by part of what `make demo` starts its seconds, once a round.

    Training is what the log tells of it; frames and snapshots are what passes beside that until its end.
    """
    sides = {'NumPy': '--no-numba', **({'compiled': '--numba'} if has_numba() else {})}
    seconds = {side: {part: [] for part in PARTS} for side in sides}
    for i in range(rounds + 1):  # the first one reads the files from the disk, and compiles
        for side, flag in sides.items():
            say('the whole run, {}, round {} of {} ...'.format(side, i, rounds))
            measured = seconds_of_demo([flag, *(['--iterations', '2'] if i == 0 else [])])
            if i:
                for part, number in zip(PARTS, measured):
                    seconds[side][part].append(number)
    return seconds


def has_numba():
    return importlib.util.find_spec('numba') is not None


def measure_numba(rounds: int) -> dict:
    """What numba costs: ``bytes`` on the disk by package, and ``starts``.

    These are by case the seconds from a start to the end of two steps, once a round: without numba, with it for the
    first time on a machine, and with what is compiled.  ``None`` stands for what can't be measured without it.
    """
    found = {'bytes': {name: size_of(name) if has_numba() else None for name in ('numba', 'llvmlite')}, 'starts': []}
    for task, changes in (('gaussian_mixture', {}), ('mnist', {}), ('images', {'width': 0.25, 'batchsize': 32})):
        case = make_case(task, **changes)
        seconds = {'without': [], **{name: [] if has_numba() else None for name in ('first', 'later')}}
        for i in range(rounds):
            say('{}: starts, round {} of {} ...'.format(case.describe(), i + 1, rounds))
            with tempfile.TemporaryDirectory() as cache:
                for name, times in seconds.items():
                    if times is not None:
                        times.append(seconds_to_start(OURS if name == 'without' else COMPILED, case, cache))
        found['starts'].append({'task': task, 'settings': vars(case.settings), 'seconds': seconds})
    return found


def seconds_to_start(side, case, cache):
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        with Worker(side, case, pathlib.Path(folder), NUMBA_CACHE_DIR=cache) as worker:
            worker.losses(2)
            return time.perf_counter() - start


def size_of(package):
    """Bytes that the files of an installed package take."""
    paths = [file.locate() for file in importlib.metadata.files(package)]
    return sum(os.path.getsize(path) for path in paths if os.path.exists(path))


def seconds_of_demo(flags: list) -> list:
    """What the ``PARTS`` of a run take; raises ``RunFailed``."""
    with tempfile.TemporaryDirectory() as folder:
        run = pathlib.Path(folder, 'run')
        command = [sys.executable, '-u', 'train_gaussian_mixture.py', '--out', str(run), '--seed', '1', *flags]
        times = [time.perf_counter()]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            ends = iter(ENDS)
            end = next(ends)
            for line in process.stdout:
                if end and line.startswith(end):
                    times.append(time.perf_counter())
                    end = next(ends, None)
        times.append(time.perf_counter())
        if process.returncode:
            raise RunFailed('train_gaussian_mixture.py: status {}'.format(process.returncode))
        training = json.loads((run / 'log').read_text(encoding='utf-8'))[-1]['elapsed_time']
    start, until_trained, drawing, scoring = (last - first for first, last in zip(times, times[1:]))
    return [start, training, until_trained - training, drawing, scoring, times[-1] - times[0]]


def describe_machine() -> dict:
    """What the times depend on beside the programs; ``busy`` is the load of the last minute."""
    return {
        'system': platform.system(), 'machine': platform.machine(), 'processor': record.processor(),
        'cores': os.cpu_count(),
        'busy': os.getloadavg()[0] if hasattr(os, 'getloadavg') else None,
        'environment': {
            name: value for name, value in sorted(os.environ.items())
            if name.startswith(('OMP_', 'GOMP_', 'KMP_', 'OPENBLAS_', 'MKL_', 'MALLOC_', 'TORCH'))}}


def say(text):
    """What goes on, on standard error where that is a terminal."""
    if sys.stderr.isatty():
        print('\r\033[K' + text[:110], end='', file=sys.stderr, flush=True)
