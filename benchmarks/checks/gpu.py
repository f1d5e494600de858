"""Everything that a GPU is to show, in ten minutes: tests, agreement with the CPU, speed beside PyTorch, pictures.

Its steps, in this order: the GPU twins of the tests; 20 iterations of every preset in float64 beside the CPU's; the
time of a step beside PyTorch on the same card; MNIST and pictures at full width, with the command line's own run.  A
step that has ended is not repeated, so this can be stopped and started at will.  --rehearse needs no GPU: a strict
stand-in for CuPy, tests/gpu_stand_in, goes all the same ways on the CPU, for a few iterations and at small sizes.  Of
speed it says nothing.
"""

import dataclasses
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import time
import xml.etree.ElementTree

import chainer
import numpy

from benchmarks import ROOT
from benchmarks.results import record
from benchmarks.speed import tables
from ddgm.evaluation import tasks
from ddgm.presets import PRESETS
from ddgm.runs import devices, training_state
from ddgm.runs.command_line import OneLineParser, as_path, path_name
from ddgm.runs.exit_status import run_script
from ddgm.support.errors import RunFailed
from ddgm.support.files import write_json
from ddgm.support.tables import rounded, show
from ddgm.support.terminal import duration

STAND_IN = str(ROOT / 'tests' / 'gpu_stand_in')
SEED = 0
SMALL, TINY = {'width': 0.25, 'batchsize': 16}, {'width': 0.05, 'batchsize': 4}  # so that the CPU takes seconds


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked for: how much, the data, and the folder of the results."""

    rehearsal: bool
    mnist: str
    images: str
    out: pathlib.Path


# ---- the steps: each returns a table, {'columns', 'rows'}

def tests(request):
    """The GPU twins of the tests: how many pass; tests.txt has what pytest says of the others."""
    report = request.out / 'tests.xml'
    chosen = ['tests/test_layout.py'] if request.rehearsal else [
        '-n', str(min(8, os.cpu_count())), '--dist', 'worksteal']  # each process takes half a gigabyte of the card
    with open(request.out / 'tests.txt', 'w', encoding='utf-8') as said:
        subprocess.run(
            [sys.executable, '-m', 'pytest', '-q', '-m', 'gpu', '--junitxml', str(report), *chosen], cwd=ROOT,
            stdout=said, stderr=subprocess.STDOUT)
    try:
        suite = next(xml.etree.ElementTree.parse(str(report)).iter('testsuite'))
    except (OSError, StopIteration, xml.etree.ElementTree.ParseError) as error:
        raise RunFailed('the tests could not be started: {}'.format(error)) from error
    n, *others = (int(suite.get(name)) for name in ('tests', 'failures', 'errors', 'skipped'))
    return {'columns': ['tests', 'passed', 'failed', 'skipped'], 'rows': [
        ['GPU twins', n - sum(others), others[0] + others[1], others[2]]]}


def agreement(request):
    """The largest difference of all losses from the CPU's, in float64, relative to those of more than a nat."""
    n, rows = (2, []) if request.rehearsal else (20, [])
    for task, presets in PRESETS.items():
        differences = []
        for name, preset in presets.items():
            size = {} if task != 'images' else TINY if request.rehearsal else SMALL
            settings = dataclasses.replace(preset.settings, iterations=n, seed=SEED, **size)
            expected, losses = (losses_of(task, settings, device) for device in ('@numpy', '@cupy:0'))
            differences.append((abs(losses - expected) / numpy.maximum(1, abs(expected))).max())
            print('    {}, {}: {:.1e}'.format(task, name, differences[-1]), flush=True)
        rows.append([task, len(presets), n, rounded(max(differences), 2)])
    return {'columns': ['task', 'presets', 'iterations', 'largest relative difference of a loss'], 'rows': rows}


def losses_of(task, settings, device):
    """All losses of a run in float64: (iterations, losses)."""
    def build(settings, rng):
        energy_model, generative_model = tasks.build_models(task, settings, rng)
        draw_latent = generative_model.draw_latent
        generative_model.draw_latent = lambda n, rng: draw_latent(n, rng).astype(numpy.float64)
        return energy_model, generative_model

    def draw_data(n, rng):
        return {
            'mnist': lambda: (rng.random((n, 784)) < 0.2).astype(numpy.float64),
            'images': lambda: rng.random((n, 3, 64, 64)),
            'points': lambda: rng.standard_normal((n, settings.n_visible))}.get(
                task, lambda: tasks.open_task(task).draw_data(n, rng).astype(numpy.float64))()
    device = chainer.get_device(device)
    with chainer.using_config('dtype', numpy.float64), chainer.using_config('noise_from_host', True), \
            chainer.using_device(device):
        state = training_state.build_state(settings, build, draw_data, device)
        return numpy.array([
            [float(value) for _, value in sorted(observed.items())]
            for _, observed in training_state.iterations_of(state, draw_data, settings)])


def speed(request):
    """The time of a step beside PyTorch on the same card: the median of the rounds, and the range of its ratios."""
    rows = []
    device, few, size = 0, ['--rounds', '5'], []
    sides = ['pytorch', 'pytorch_tuned', 'pytorch_compiled']
    if request.rehearsal:  # PyTorch has no stand-in
        device, sides, size = -1, ['pytorch'], flags_of(TINY)
        few = ['--rounds', '1', '--seconds', '0.01', '--check', '1']
    for task, flags in (('gaussian_mixture', []), ('mnist', []), ('images', size)):
        measured = request.out / 'speed-{}.json'.format(task)
        run('speed of ' + task, '-m', 'benchmarks.speed', '--task', task, '--device', device, *flags, *few,
            '--sides', *sides, '--out', measured)
        case, = json.loads(measured.read_text(encoding='utf-8'))['cases']
        rows.append([tables.describe(case), rounded(1e3 * case['sides']['ours']['step']), *(
            tables.ratio_cell(case['sides'][name]) for name in sides)])
    return {'columns': ['case', 'ms a step', *('over ' + tables.PEERS[name] for name in sides)], 'rows': rows}


def digits(request):
    """MNIST with the preset `post`, to its pictures."""
    return pictures(request, 'mnist', request.mnist, ('frechet', 'class_kl', 'coverage'), ['post'])


def images(request):
    """Pictures at full width, the post's and calibrated, after as many iterations as docs/results/icons.json has."""
    return pictures(
        request, 'images', request.images, ('frechet', 'diversity', 'coverage'), ['post', 'calibrated'],
        flags_of({'iterations': 2500}), flags_of(TINY))


def flags_of(settings):
    return [word for name, value in settings.items() for word in ('--' + name, str(value))]


def pictures(request, task, data, names, presets, flags=(), in_rehearsal=()):
    """A run of each preset, from the command line: a row for each.  One that was there is not repeated either."""
    if request.rehearsal:
        flags = [*in_rehearsal, *flags_of({'iterations': 2})]
    rows = []
    for preset in presets:
        folder = request.out / '{}_{}'.format(task, preset)
        if not (folder / 'metrics.json').exists():
            started = (folder / 'settings.json').exists()
            run('{}, {}'.format(task, preset), 'train_{}.py'.format(task), '--data', data, '--out', folder,
                *(['--resume'] if started else ['--device', 0, '--preset', preset, *flags]))
        scores = json.loads((folder / 'metrics.json').read_text(encoding='utf-8'))
        rows.append(['{}, `{}`'.format(task, preset), scores['iterations'], *(
            rounded(scores.get(name), 4) for name in names)])
    return {'columns': ['run', 'iterations', *map('`{}`'.format, names)], 'rows': rows}


def run(what, *words):
    """Start a script of this project; raises ``RunFailed`` with the last line that it says."""
    outcome = subprocess.run(
        [sys.executable, *map(str, words)], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if outcome.returncode:
        raise RunFailed('{}: {}'.format(what, (outcome.stderr.strip().splitlines() or ['no word'])[-1]))


STEPS = {'tests': tests, 'agreement': agreement, 'speed': speed, 'mnist': digits, 'images': images}


# ---- the command

def machine(device):
    """The card and what drives it."""
    runtime = device.xp.cuda.runtime
    return '{}, CuPy {}, CUDA {}.{}'.format(
        runtime.getDeviceProperties(0)['name'].decode(), device.xp.__version__,
        *divmod(runtime.runtimeGetVersion() // 10, 100))


def main():
    parser = OneLineParser(prog='python -m benchmarks.checks.gpu', description=__doc__)
    parser.add_argument('--mnist', metavar='DIR', type=path_name, default='data/mnist', help='fetched if missing')
    parser.add_argument('--images', metavar='DIR', type=path_name, help='folder of pictures (default: left out)')
    parser.add_argument('--out', type=as_path, default=None, metavar='DIR', help='(default: result/gpu)')
    parser.add_argument('--rehearse', action='store_true', help='a stand-in for CuPy, on the CPU, and few iterations')
    parser.add_argument(
        '--only', nargs='+', metavar='STEP', choices=STEPS, default=[*STEPS],
        help='some of {} (default: all)'.format(', '.join(STEPS)))
    parser.add_argument('--record', action='store_true', help='write docs/results/gpu.json')
    parsed = parser.parse_args()
    if parsed.rehearse and parsed.record:
        parser.error('a rehearsal has nothing to --record')
    if parsed.record and set(parsed.only) != set(STEPS):
        parser.error('--record is for all steps: leave out --only, and those that have ended are not repeated')
    out = parsed.out or pathlib.Path('result/gpu_rehearsal' if parsed.rehearse else 'result/gpu')
    folders = [folder and os.path.abspath(folder) for folder in (parsed.mnist, parsed.images)]
    request = Request(parsed.rehearse, *folders, out.absolute())
    device = devices.open_device('@cupy:0')
    print('Device: {}'.format(machine(device)))
    out.mkdir(parents=True, exist_ok=True)
    results = {}
    for name in parsed.only:
        kept = out / (name + '.json')
        if name == 'images' and not request.images:
            print('images: left out, give a folder of pictures to --images')
            continue
        start = time.perf_counter()
        if not kept.exists():
            print('{} ...'.format(name), flush=True)
            write_json(kept, STEPS[name](request))
        results[name] = json.loads(kept.read_text(encoding='utf-8'))
        print('{}: {}'.format(name, duration(time.perf_counter() - start)))
        for row in results[name]['rows']:
            print('    ' + ', '.join(map(show, row)))
    if parsed.record:
        packages = ['Chainer', 'NumPy', *(['torch'] if importlib.util.find_spec('torch') else [])]
        record.write('gpu', results, packages=packages, machine=machine(device), seeds=[SEED])


def find_stand_in_first(module):
    """Begin a module anew with the stand-in before CuPy, should there be one, here and in what it starts."""
    paths = os.environ.get('PYTHONPATH', '').split(os.pathsep)
    if STAND_IN not in paths:
        os.environ['PYTHONPATH'] = os.pathsep.join(filter(None, [STAND_IN, *paths]))
        os.execv(sys.executable, [sys.executable, '-m', module, *sys.argv[1:]])


if __name__ == '__main__':
    if '--rehearse' in sys.argv:
        find_stand_in_first('benchmarks.checks.gpu')
    with chainer.using_config('type_check', False):
        run_script(main)
