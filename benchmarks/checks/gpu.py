"""Everything that a GPU is to show, in ten minutes: tests, agreement with the CPU, speed beside PyTorch, pictures.

Its steps, in this order: the GPU twins of the tests; whether a resumed run has the bits of one that was not stopped;
how long a call, a copy and a product take; the time of a step beside PyTorch on the same card, in FP32 and in TF32; 20
iterations of every preset in float64 beside the CPU's; MNIST and pictures at full width, with the command line's own
run.

Each step is recorded as soon as it has ended, and is not repeated, so this can be stopped and started at will.
--rehearse needs no GPU: a strict stand-in for CuPy, tests/gpu_stand_in, goes all the same ways on the CPU, for a few
iterations and at small sizes.  Of speed it says nothing.
"""

import dataclasses
import functools
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
from ddgm.fast.strategy import Fast
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
PRODUCTS = {'FP32': '0', 'TF32': '1'}  # what CUPY_TF32 is
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


def bits(request):
    """How many numbers of the models and optimizers differ from those of a run that is neither stopped nor captured."""
    n, rows = (4 if request.rehearsal else 50), []
    strategies = {'resumed': Fast, 'captured': lambda: Fast(graph=True)}
    for task, presets in PRESETS.items():
        preset, published = next(iter(presets.items()))
        size = TINY if request.rehearsal and task == 'images' else {}
        settings = dataclasses.replace(published.settings, iterations=n, seed=SEED, **size)
        expected = numbers_after(task, settings, Fast, n)
        rows.append(['{}, `{}`'.format(task, preset), n, sum(map(len, expected)), *(
            sum(int((x != y).sum()) for x, y in zip(
                expected, numbers_after(task, settings, make, n // 2 if name == 'resumed' else n)))
            for name, make in strategies.items())])
        print('    ' + ', '.join(map(show, rows[-1])), flush=True)
    return {'columns': ['run', 'iterations', 'numbers', *('differ when ' + name for name in strategies)], 'rows': rows}


def numbers_after(task, settings, strategy, stop):
    """All numbers of models and optimizers, arrays, after a run that is stopped and resumed where it is to be."""
    device, draw_data, kept = chainer.get_device('@cupy:0'), drawing(task, settings, numpy.float32), {}
    with chainer.using_device(device):
        for last in sorted({stop, settings.iterations}):
            state = training_state.build_state(settings, functools.partial(tasks.build_models, task), draw_data, device)
            if kept:
                state.serialize(chainer.serializers.NpzDeserializer(kept))
            loop = training_state.iterations_of(state, draw_data, settings, strategy())
            while state.iteration < last:
                state.iteration, _ = next(loop)
            serializer = chainer.serializers.DictionarySerializer()
            state.serialize(serializer)
            kept = {name: numpy.array(chainer.backends.cuda.to_cpu(x)) for name, x in serializer.target.items()}
    return [x.ravel() for _, x in sorted(kept.items()) if x.dtype == numpy.float32]


def constants(request):
    """What the model of a step's time is made of, in FP32 and in TF32."""
    found = []
    for tf32 in PRODUCTS.values():
        out = request.out / 'constants-{}.json'.format(tf32)
        run('constants', '-m', 'benchmarks.speed.gpu_constants', out, *(['--small'] if request.rehearsal else []),
            tf32=tf32)
        found.append(json.loads(out.read_text(encoding='utf-8')))
    return {'columns': ['constant', *PRODUCTS], 'rows': [
        [name, *(rounded(each[name]) for each in found)] for name in found[0]]}


def agreement(request):
    """The largest difference of all losses from the CPU's, in float64, relative to those of more than a nat."""
    n, rows = (2, []) if request.rehearsal else (20, [])
    for task, presets in PRESETS.items():
        differences = []
        on_gpu = {name: preset for name, preset in presets.items() if not getattr(preset.settings, 'restarts', 0)}
        for name, preset in on_gpu.items():
            size = {} if task != 'images' else TINY if request.rehearsal else SMALL
            settings = dataclasses.replace(preset.settings, iterations=n, seed=SEED, **size)
            expected, losses = (losses_of(task, settings, device) for device in ('@numpy', '@cupy:0'))
            differences.append((abs(losses - expected) / numpy.maximum(1, abs(expected))).max())
            print('    {}, {}: {:.1e}'.format(task, name, differences[-1]), flush=True)
        rows.append([task, len(on_gpu), n, rounded(max(differences), 2)])
    return {'columns': ['task', 'presets', 'iterations', 'largest relative difference of a loss'], 'rows': rows}


def losses_of(task, settings, device):
    """All losses of a run in float64: (iterations, losses)."""
    def build(settings, rng):
        energy_model, generative_model = tasks.build_models(task, settings, rng)
        draw_latent = generative_model.draw_latent
        generative_model.draw_latent = lambda n, rng: draw_latent(n, rng).astype(numpy.float64)
        return energy_model, generative_model

    draw_data = drawing(task, settings, numpy.float64)
    device = chainer.get_device(device)
    with chainer.using_config('dtype', numpy.float64), chainer.using_config('noise_from_host', True), \
            chainer.using_device(device):
        state = training_state.build_state(settings, build, draw_data, device)
        return numpy.array([
            [float(value) for _, value in sorted(observed.items())]
            for _, observed in training_state.iterations_of(state, draw_data, settings)])


def drawing(task, settings, dtype):
    """``draw_data(n, rng)`` of a task, as arrays of this type; without files."""
    def draw_data(n, rng):
        return {
            'mnist': lambda: (rng.random((n, 784)) < 0.2).astype(dtype),
            'images': lambda: rng.random((n, 3, 64, 64)).astype(dtype),
            'points': lambda: rng.standard_normal((n, settings.n_visible)).astype(dtype)}.get(
                task, lambda: tasks.open_task(task).draw_data(n, rng).astype(dtype))()
    return draw_data


def speed(request):
    """The time of a step beside PyTorch on the same card: the median of the rounds, and the range of its ratios."""
    rows = []
    device, few, size = 0, ['--rounds', '5'], []
    sides = ['ours_captured', 'pytorch_tuned', 'pytorch_graphed']
    if request.rehearsal:  # PyTorch has no stand-in
        device, sides, size = -1, ['pytorch'], flags_of(TINY)
        few = ['--rounds', '1', '--seconds', '0.01', '--check', '1']
    for products, tf32 in PRODUCTS.items():
        for task, flags in (('gaussian_mixture', []), ('mnist', []), ('images', size)):
            measured = request.out / 'speed-{}-{}.json'.format(task, products)
            if not measured.exists():
                run('speed of ' + task, '-m', 'benchmarks.speed', '--task', task, '--device', device, *flags, *few,
                    '--sides', *sides, '--out', measured, tf32=tf32)
            case, = json.loads(measured.read_text(encoding='utf-8'))['cases']
            rows.append([
                '{}, {}'.format(tables.describe(case), products), rounded(1e3 * case['sides']['ours']['step']),
                *(tables.ratio_cell(case['sides'][name]) for name in sides)])
            print('    ' + ', '.join(map(show, rows[-1])), flush=True)
    names = {**tables.PEERS, **tables.ON_GPU}
    return {'columns': ['case', 'ms a step', *('over ' + names[name] for name in sides)], 'rows': rows}


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


def run(what, *words, tf32='0'):
    """Start a script of this project, with products in TF32 where ``tf32`` is '1'.

    Raises ``RunFailed`` with the last line that it says.
    """
    outcome = subprocess.run(
        [sys.executable, *map(str, words)], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, 'CUPY_TF32': tf32})
    if outcome.returncode:
        raise RunFailed('{}: {}'.format(what, (outcome.stderr.strip().splitlines() or ['no word'])[-1]))


STEPS = {
    'tests': tests, 'bits': bits, 'constants': constants, 'speed': speed, 'agreement': agreement, 'mnist': digits,
    'images': images}


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
        if parsed.record:  # at once, since a machine that is lent may go away
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
