"""The command that measures training steps: that all sides compute the same, and what it makes of times; no times."""

import contextlib
import importlib.util
import json
import math
import pathlib
import subprocess
import sys

import numpy
import pytest
from conftest import HANGS_AFTER, ROOT

from benchmarks.speed import __main__ as command, earlier, measuring, sides, tables
from benchmarks.speed.sides import problem, worker
from ddgm.figures import plots
from ddgm.support.errors import RunFailed, UsageError
from ddgm.support.tables import markdown

needs_pytorch = pytest.mark.skipif(
    importlib.util.find_spec('torch') is None,
    reason='PyTorch is not installed: pip install -r requirements-pytorch.txt')

CASES = {
    'plane': {'task': 'gaussian_mixture'},
    'digits': {'task': 'mnist', 'batchsize': 8},
    'images': {'task': 'images', 'batchsize': 4, 'width': 0.05},
}
ITERATIONS = 20


@pytest.fixture(scope='session')
def expected(tmp_path_factory):
    """Of a case's name, the case, its folder and this project's losses; computed once."""
    known = {}

    def compute(name):
        if name not in known:
            case, folder = measuring.make_case(threads=1, **CASES[name]), tmp_path_factory.mktemp('case')
            ours = sides.build('ours', case, folder)
            known[name] = case, folder, worker.losses_of(ours, case, ITERATIONS)
        return known[name]
    return compute


# ---- what is compared

@pytest.mark.parametrize('name', CASES)
@pytest.mark.parametrize(('side', 'channels_last'), [
    ('chainer', None), pytest.param('pytorch', None, marks=needs_pytorch),
    *(pytest.param('pytorch_tuned', value, marks=needs_pytorch) for value in (False, True))])
def test_peers_compute_the_same(side, channels_last, name, expected):
    """Tuned PyTorch by both ways between which it chooses."""
    case, folder, losses = expected(name)
    options = [] if channels_last is None else [channels_last and case.task == 'images']
    peer = sides.build(side, case, folder, *options)
    assert measuring.compare_losses(side, losses, worker.losses_of(peer, case, ITERATIONS))[0] < measuring.TOLERANCE


@needs_pytorch
def test_choice_by_trial(expected):
    """Only images lie in memory in one way or another."""
    case, folder, _ = expected('plane')
    assert sides.build('pytorch_tuned', case, folder).channels_last is False


# ---- what does not agree

class WorkerHere(worker.Worker):
    """A worker without a process, whose sides may be spoilt."""

    spoil = {}

    def __init__(self, name, case, folder):
        self.case, self.side = case, sides.build(name, case, folder)
        self.spoil.get(name, lambda side: None)(self.side)
        self.notes = self.side.notes

    def close(self):
        """There is no process to end."""

    def _exchange(self, request):
        return worker.ANSWERS[request[0]](self.side, self.case, *request[1:])


@pytest.fixture
def worker_here(monkeypatch):
    monkeypatch.setattr(measuring, 'Worker', WorkerHere)
    monkeypatch.setattr(measuring, 'PAUSE', 0)
    monkeypatch.setattr(WorkerHere, 'spoil', {})
    return WorkerHere


def measure(sides, case=None, check=5):
    case = case or measuring.make_case('gaussian_mixture', threads=1)
    return measuring.measure(case, sides, rounds=1, seconds=1e-6, late=0, check=check)


def change_a_weight(side):
    side.energy_model.experts.b.array[0] += 0.01


def hold_a_gamma(side):
    side.generator_optimizer.target.bn1.gamma.update_rule.enabled = False


@pytest.mark.parametrize('spoil', [change_a_weight, hold_a_gamma])
def test_other_numbers_stop_the_command(spoil, worker_here):
    worker_here.spoil = {'chainer': spoil}
    with pytest.raises(RunFailed, match=r'gaussian_mixture.*chainer has .* of iteration \d.* apart, where 1e-03'):
        measure(['chainer'], check=20)


@needs_pytorch
def test_a_loss_without_entropy_stops_the_command(worker_here, monkeypatch):
    from tests import torch_twin
    entropy = torch_twin.entropy
    monkeypatch.setattr(torch_twin, 'entropy', lambda model: entropy(model).detach())
    with pytest.raises(RunFailed, match='pytorch has'):
        measure(['pytorch'], check=20)


def test_other_noise_stops_the_command(worker_here, monkeypatch):
    draw = problem.draw
    monkeypatch.setattr(problem, 'draw', lambda case, calls, iteration: draw(case, calls, iteration + 1))
    with pytest.raises(RunFailed, match='chainer has'):
        measure(['chainer'], case=measuring.make_case('mnist', threads=1, batchsize=8))


def test_what_is_not_a_number_does_not_agree():
    largest, line = measuring.compare_losses('side', [[1.0] * 6, [2.0] * 6], [[1.0] * 6, [2.0] * 5 + [math.nan]])
    assert math.isnan(largest)
    assert 'generator/loss of iteration 2' in line


def test_differences_are_relative_to_a_nat_at_least():
    assert measuring.compare_losses('side', [[0.0] * 6], [[0.5] + [0.0] * 5])[0] == 0.5
    largest, line = measuring.compare_losses('side', [[0.0, -100.0] + [0.0] * 4], [[0.0, -101.0] + [0.0] * 4])
    assert largest == pytest.approx(0.01)
    assert line.startswith('side has energy/negative of iteration 1 = -101, this project -100')


# ---- times

def test_ratios():
    result = {'sides': {
        'ours': {'turns': [[1.0, 3.0, 2.0], [4.0], [6.0]]},
        'pytorch': {'turns': [[4.0], [4.0, 4.0], [4.0]]},
        'pytorch_compiled': {'not_measured': 'reason'}},
        'floor': {'products': {'turns': [[0.5], [1.5, 1.5], [1.0]]}, 'memory': {'turns': [[0.5], [0.5], [1.0]]}}}
    measuring.add_ratios(result)
    assert result['sides']['ours']['medians'] == [2.0, 4.0, 6.0]
    assert result['sides']['ours']['step'] == 4.0
    assert result['sides']['pytorch']['ratios'] == [0.5, 1.0, 1.5]
    assert result['sides']['pytorch']['ratio'] == 1.0
    assert result['sides']['pytorch']['floor_ratios'] == [4.0, 2.0, 2.0]
    assert 'ratio' not in result['sides']['ours']


def test_everyone_begins_and_ends_a_round():
    orders = [measuring.order_of_turns(['a', 'b', 'c'], i) for i in range(6)]
    assert all(sorted(order) == ['a', 'b', 'c'] for order in orders)
    assert {order[0] for order in orders} == {order[-1] for order in orders} == {'a', 'b', 'c'}


def measured(task='mnist', **changes):
    case = measuring.make_case(task, **changes)
    entry = {'notes': '', 'peak_memory': 123456789, 'peak_device_memory': None, 'losses': []}
    result = {'task': case.task, 'threads': case.threads, 'settings': vars(case.settings), 'sides': {
        'ours': {**entry, 'turns': [[0.010], [0.012], [0.011]], 'largest_difference': 0.0},
        'pytorch_tuned': {
            **entry, 'notes': 'chose', 'turns': [[0.020], [0.016], [0.022]], 'largest_difference': 4e-6},
        'pytorch': {'not_measured': 'PyTorch is not installed'}}, 'floor': {
            'products': {'turns': [[0.001], [0.003], [0.002]], 'work': 3e8, 'peak_memory': 1},
            'memory': {'turns': [[0.001], [0.003], [0.002]], 'work': 4e6, 'peak_memory': 1}}, 'title': case.describe(),
        'preset': case.preset, 'device': case.device}
    measuring.add_ratios(result)
    return result


def test_table_of_a_case():
    case = measured()
    assert markdown(tables.case_table(case)) == (
        '| side | ms a step | ours over its | peak memory, MB | largest difference |\n'
        '| --- | --- | --- | --- | --- |\n'
        '| ours | 11 | – | 123 | – |\n'
        '| pytorch_tuned | 20 | 0.5 (0.5 to 0.75) | 123 | 4e-06 |\n')
    assert tables.lines_of(case) == [
        'pytorch_tuned: chose', 'pytorch: not measured (PyTorch is not installed)',
        'products: 2 ms of the floor, 150 GFLOP/s', 'memory: 2 ms of the floor, 2 GB/s']


def test_tables_of_the_documents():
    images = measured('images', width=0.25, threads=1)
    assert markdown(tables.size_tables({'a': [images], 'b': [images, measured()]})['sizes']) == (
        '| case | ms a step | over PyTorch as written | over PyTorch tuned |\n| --- | --- | --- | --- |\n'
        '| icons, width 0.25, batches of 128, 1 thread | 11 | – | 0.5 |\n'
        '| MNIST, batches of 128, 2 threads | 11 | – | 0.5 |\n')
    found = tables.step_tables([measured()])
    assert found['steps']['rows'] == [[
        'MNIST, batches of 128, 3 rounds', 2, 11.0, None, None, None, {'value': 0.5, 'from': 0.5, 'to': 0.75}, None,
        None, '≤ 1']]
    assert found['floor']['rows'] == [[
        'MNIST, batches of 128', 2, 0.3, 150.0, 4.0, 2.0, 4.0, {'value': 0.182, 'from': 0.1, 'to': 0.375},
        {'value': 2.75, 'from': 2.0, 'to': 5.0}, None]]
    assert found['memory']['rows'] == [['MNIST, batches of 128', 123, None, 123]]


@pytest.mark.parametrize('has_numba', [True, False])
def test_tables_of_starts(has_numba):
    case = {name: measured()[name] for name in ('task', 'settings')}
    found = tables.start_tables({
        'startup': {'python a': [0.25, 0.125, 0.5], 'python b': 'no module'},
        'demo': {
            'NumPy': {'scoring': [3.0, 1.0]}, **({'compiled': {'scoring': [1.0, 0.5]}} if has_numba else {})},
        'numba': {'bytes': dict.fromkeys(['numba', 'llvmlite'], 123456789 if has_numba else None), 'starts': [{
            **case, 'seconds': {'without': [1.0, 1.0], **dict.fromkeys(
                ['first', 'later'], [9.0, 7.0] if has_numba else None)}}]}})
    assert found['startup']['rows'] == [['`python a`', 0.25], ['`python b`', 'no module']]
    assert found['demo']['columns'] == ['part', 'seconds, NumPy', *['seconds, compiled'] * has_numba]
    assert found['demo']['rows'] == [['scoring', 2.0, *[0.75] * has_numba]]
    assert found['numba']['rows'] == [['MNIST, batches of 128', 1.0, *[8.0 if has_numba else None] * 2]]
    assert found['size_of_numba']['rows'] == [[name, 123 if has_numba else None] for name in ('numba', 'llvmlite')]


# ---- the floor

def test_floor_of_the_plane(expected):
    """Energy model 2 → 128 → 128 → 10, 200 rows for the DEM and 100 for G; generator 4 → 128 → 128 → 2."""
    case, folder, _ = expected('plane')
    n, hidden = case.settings.batchsize, case.settings.n_hidden
    energy, generator = 2 * hidden + hidden ** 2 + hidden * case.settings.n_experts, (
        case.settings.n_latent * hidden + hidden ** 2 + hidden * 2)
    floor = {name: sides.build(name, case, folder) for name in sides.FLOOR}
    # Of a layer a product forward, one for its weights, and one for its input but for the first.  DEM's step: both
    # phases and x⁻; G's: through the DEM to x, whose weights have none.
    of_energy = 2 * n * (3 * energy - 2 * hidden) + n * generator
    of_generator = n * (3 * generator - case.settings.n_latent * hidden) + n * 2 * energy
    assert floor['products'].work == 2 * (of_energy + of_generator)
    assert all(side.step() == [] for side in floor.values())


def test_floor_of_images(tmp_path):
    """In the shapes of minimal filtering, transposed factors as they lie."""
    floor = sides.build('products', measuring.make_case('images', batchsize=4, width=0.25, threads=1), tmp_path)
    stacks = [call.args for call in floor.calls if call.args[0].ndim == 3]
    assert {len(x) for x, _ in stacks} == {9}
    assert not all(array.flags.c_contiguous for factors in stacks for array in factors)
    assert floor.step() == []


# ---- at another time

def run_before(tmp_path, **changes):
    report = {'cases': [measured(), measured('gaussian_mixture')], 'machine': measuring.describe_machine(), **changes}
    path = tmp_path / 'before.json'
    path.write_text(json.dumps(report))
    return path


NOW = {'machine': measuring.describe_machine(), 'commit': None}


def test_rounds_of_two_times(tmp_path):
    case = measuring.make_case('mnist')
    before = earlier.read(run_before(tmp_path), [case], NOW)
    assert before['date'][:2] == '20'  # the file's, where it tells none
    assert earlier.read(run_before(tmp_path, date='then'), [case], NOW)['date'] == 'then'
    now = measured()
    now['sides']['ours']['turns'] = [[0.020], [0.024], [0.022]]
    measuring.add_ratios(now)
    del before['cases'][0]['floor']
    row, = tables.step_tables([earlier.joined(now, before)])['steps']['rows']
    assert row[:3] == ['MNIST, batches of 128, 6 rounds', 2, 16.0]
    assert row[6] == {'value': 0.875, 'from': 0.5, 'to': 1.5}
    assert len(now['sides']['ours']['turns']) == 3  # what --out writes stays that of one time


@pytest.mark.parametrize(('changes', 'line'), [
    ({'machine': {'cores': 9}}, 'of another machine, None, 9 cores'), ({'cases': []}, 'has no mnist, preset `post`'),
    ({'cases': [3]}, 'not what --out writes of cases'), ({'commit': 'none such'}, 'of other code, that of commit no')])
def test_another_time_of_something_else(changes, line, tmp_path):
    path = run_before(tmp_path, **changes)
    with pytest.raises(UsageError, match=line):
        earlier.read(path, [measuring.make_case('mnist')], {**NOW, 'commit': 'HEAD'})


def test_record_of_two_times(tmp_path, monkeypatch):
    written = {}
    monkeypatch.setattr(measuring, 'published_cases', lambda device: [measuring.make_case('mnist')])
    monkeypatch.setattr(measuring, 'measure', lambda *arguments: measured())
    monkeypatch.setattr(command.record, 'write', lambda name, tables, **made: written.update({name: (tables, made)}))
    monkeypatch.setattr(command.record, 'commit', lambda: None)
    path = run_before(tmp_path, date='then')
    monkeypatch.setattr(sys, 'argv', ['speed.py', '--record', '--earlier', str(path)])
    command.main()
    found, made = written['speed']
    assert made['date'].startswith('then and 20')
    assert found['steps']['rows'][0][0] == 'MNIST, batches of 128, 6 rounds'
    assert found['floor']['rows'][0][6] == 4.0


def test_no_file_of_another_time(tmp_path):
    with pytest.raises(UsageError, match='No such file'):
        earlier.read(tmp_path / 'missing.json', [], NOW)


# ---- where a side can't run

def test_without_pytorch(monkeypatch, worker_here):
    monkeypatch.setitem(sys.modules, 'torch', None)
    for module in ('plain_pytorch', 'tuned_pytorch', 'compiled_pytorch'):
        monkeypatch.delitem(sys.modules, 'benchmarks.speed.sides.' + module, raising=False)
    result = measure([name for name in measuring.PEERS if name != measuring.COMPILED])
    assert tables.lines_of(result)[:-2] == [
        '{}: not measured (PyTorch is not installed: pip install -r requirements-pytorch.txt)'.format(name)
        for name in ('pytorch', 'pytorch_tuned', 'pytorch_compiled')]
    assert [row[0] for row in tables.case_table(result)['rows']] == ['ours', 'chainer']


@needs_pytorch
def test_without_a_compiler(expected, monkeypatch):
    case, folder, _ = expected('plane')
    monkeypatch.setenv('CXX', 'no-such-compiler')
    with pytest.raises(sides.NotMeasured, match='needs a C\\+\\+ compiler: there is no no-such-compiler'):
        sides.build('pytorch_compiled', case, folder)


def test_a_run_whose_losses_are_no_longer_finite():
    class Side:
        def context(self):
            return numpy.errstate()

        def step(self):
            return [1.0, math.inf]
    with pytest.raises(ArithmeticError, match='not finite'):
        worker.turn_of(Side(), None, 0, 1)


# ---- the command

def run_command(*arguments):
    return subprocess.run(
        [sys.executable, '-m', 'benchmarks.speed', *arguments], cwd=ROOT, capture_output=True, text=True,
        timeout=HANGS_AFTER)


def test_one_case_from_the_command_line(tmp_path):
    """In processes of their own, plain Chainer alone: PyTorch takes longest to import."""
    path = tmp_path / 'speed.json'
    process = run_command(
        '--task', 'gaussian_mixture', '--sides', 'chainer', '--rounds', '2', '--seconds', '0.01', '--check', '2',
        '--late', '1', '--batchsize', '10', '--out', str(path))
    assert (process.returncode, process.stderr) == (0, '')
    assert 'gaussian_mixture, preset `default`, batches of 10, 1 thread\n' in process.stdout
    report = json.loads(path.read_text())
    sides = report['cases'][0]['sides']
    assert list(sides) == ['ours', 'chainer']
    for entry in sides.values():
        assert len(entry['turns']) == 2
        assert all(len(times) >= 2 for times in entry['turns'])
        assert entry['peak_memory'] > 1e7
    assert sides['chainer']['largest_difference'] < 1e-4
    assert len(sides['chainer']['ratios']) == 2
    assert all(len(sides[name]['floor_ratios']) == 2 for name in sides)
    assert 'products: ' in process.stdout
    assert report['machine']['cores']


def test_a_side_that_stops(tmp_path):
    """Its process says what happened, and the command knows of it."""
    (tmp_path / 'case').mkdir()
    case = measuring.make_case('gaussian_mixture', threads=1)
    with pytest.raises(measuring.WorkerFailed, match='chainer: FileNotFoundError'), \
            worker.Worker('chainer', case, tmp_path / 'nowhere'):
        pass


@pytest.mark.parametrize(('arguments', 'line'), [
    (['--rounds', '0'], "argument --rounds: give a whole number from 1 on, not '0' (see --help)"),
    (['--device', '-5'], "argument --device: give a whole number from -1 on, not '-5' (see --help)"),
    (['--width', '0.1'], '--width needs --task (see --help)'),
    (['--task', 'mnist', '--width', '0.1'], '--width is for --task images'),
    (['--task', 'mnist', '--scaling'], 'give one of --task, --scaling, --startup and --busy (see --help)'),
    (['--earlier', 'x.json'], '--earlier is for --record of steps (see --help)'),
    (['--task', 'chess'], "argument --task: invalid choice: 'chess'"),
    (['--sides', 'tensorflow'], "argument --sides: invalid choice: 'tensorflow'"),
])
def test_bad_usage(arguments, line, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['speed.py', *arguments])
    with pytest.raises(UsageError) as raised:
        command.main()
    assert str(raised.value).startswith(line)


def test_missing_gpu_is_one_line_and_status_2():
    process = run_command('--task', 'gaussian_mixture', '--sides', 'chainer', '--device', '999')
    assert process.returncode == 2
    assert process.stderr.startswith('speed: --device @cupy:999: no such GPU here')
    assert process.stderr.count('\n') == 1


def test_published_cases():
    assert [case.describe() for case in measuring.published_cases(-1)] == [
        'gaussian_mixture, preset `default`, batches of 100, 1 thread',
        'mnist, preset `post`, batches of 128, 2 threads',
        'images, preset `post`, width 1, batches of 32, 2 threads',
        'images, preset `post`, width 0.25, batches of 32, 2 threads',
        'images, preset `post`, width 0.25, batches of 64, 2 threads']
    assert 'width 1, batches of 128' in measuring.published_cases(0)[3].describe()
    for series in measuring.scaling_series(-1).values():
        assert len(series) > 1


def test_series_from_the_command_line(tmp_path, monkeypatch, capsys):
    """Every case of every series, all peers, few rounds, a short check."""
    seen = []

    def measure(case, sides, rounds, seconds, late, check):
        assert (sides, rounds, check) == (measuring.PEERS, 3, 5)
        seen.append(case.task)
        return measured(case.task, threads=case.threads)
    monkeypatch.setattr(measuring, 'measure', measure)
    monkeypatch.setattr(sys, 'argv', ['speed.py', '--scaling', '--out', str(tmp_path / 'new' / 'speed.json')])
    command.main()
    series = measuring.scaling_series(-1)
    assert seen == [case.task for cases in series.values() for case in cases]
    report = json.loads((tmp_path / 'new' / 'speed.json').read_text())
    assert report['series'].keys() == series.keys()
    printed = capsys.readouterr().out
    assert all('\n{}\n\n| case |'.format(title) in printed for title in series)


def test_cases_beside_another_process(monkeypatch, capsys):
    """Each alone first; the other process ends with the case."""
    events = []

    @contextlib.contextmanager
    def beside_another():
        events.append('begun')
        yield
        events.append('ended')

    def measure(case, *more):
        events.append((case.task, case.threads))
        return measured(case.task, threads=case.threads)
    monkeypatch.setattr(measuring, 'measure', measure)
    monkeypatch.setattr(measuring, 'beside_another', beside_another)
    monkeypatch.setattr(sys, 'argv', ['speed.py', '--busy'])
    command.main()
    assert events == [event for case in (('mnist', 1), ('mnist', 2), ('images', 1), ('images', 2))
                      for event in (case, 'begun', case, 'ended')]
    printed = capsys.readouterr().out
    assert '| ms a step | ours | ours, beside another |' in printed
    assert printed.count('2 threads |') == 2


def test_the_other_process_computes_and_ends(monkeypatch):
    started, popen = [], subprocess.Popen
    monkeypatch.setattr(subprocess, 'Popen', lambda *words: started.append(popen(*words)) or started[-1])
    with measuring.beside_another():
        assert started[0].poll() is None
    assert started[0].poll() is not None


def test_each_number_of_threads_has_a_plot(monkeypatch):
    """Of the sides that were measured; what grows with the threads is in the table alone."""
    def case(threads, batchsize, step):
        return {'task': 'mnist', 'threads': threads, 'settings': {'batchsize': batchsize, 'width': 1},
                'sides': {'ours': {'step': step}, 'pytorch': {}, 'pytorch_tuned': {'step': 2 * step}}}
    drawn = []
    monkeypatch.setattr(plots, 'draw_plots', lambda path, shown: drawn.extend(shown))
    cases = [case(1, 8, 0.25), case(1, 16, 0.5), case(2, 8, 0.125)]
    tables.draw_sizes('x.png', {'mnist, batches': cases, 'mnist, threads': cases})
    assert [plot.title for plot in drawn] == ['MNIST, 1 thread: ms a step', 'MNIST, 2 threads: ms a step']
    assert [plot.lines for plot in drawn] == [
        {'ours': ([8, 16], [250, 500]), 'PyTorch tuned': ([8, 16], [500, 1000])},
        {'ours': ([8], [125]), 'PyTorch tuned': ([8], [250])}]


@pytest.mark.parametrize('has_numba', [True, False])
def test_what_numba_costs(has_numba, monkeypatch):
    started = []

    class Worker:
        def __init__(self, name, case, folder, **variables):
            started.append((name, case.task, variables['NUMBA_CACHE_DIR']))

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

        def losses(self, iterations):
            pass
    monkeypatch.setattr(measuring, 'Worker', Worker)
    monkeypatch.setattr(measuring, 'has_numba', lambda: has_numba)
    monkeypatch.setattr(measuring, 'size_of', lambda package: 5)
    found = measuring.measure_numba(2)
    assert found['bytes'] == dict.fromkeys(('numba', 'llvmlite'), 5 if has_numba else None)
    for case in found['starts']:
        assert {name: times and len(times) for name, times in case['seconds'].items()} == {
            'without': 2, **dict.fromkeys(['first', 'later'], 2 if has_numba else None)}
    if has_numba:  # the second start of a round finds what the first one has compiled
        assert [name for name, *_ in started[:3]] == ['ours', 'ours_compiled', 'ours_compiled']
        assert len({cache for *_, cache in started[:3]}) == 1
        assert len({cache for *_, cache in started}) == 6


def test_start_of_the_commands(monkeypatch):
    class Finished:
        returncode, stderr = 0, ''

    def run(arguments, **options):
        finished = Finished()
        if arguments[1:] == ['-c', 'import torch']:
            finished.returncode, finished.stderr = 1, 'Traceback\nModuleNotFoundError: No module named torch\n'
        else:
            assert arguments[1] == '-c' or pathlib.Path(ROOT, arguments[1]).exists()
        return finished
    monkeypatch.setattr(subprocess, 'run', run)
    seconds = measuring.measure_startup(3)
    assert seconds.pop('python -c "import torch"') == 'ModuleNotFoundError: No module named torch'
    assert len(seconds) == 7
    assert all(len(times) == 3 for times in seconds.values())


def test_parts_of_the_demo(monkeypatch):
    """Of a short run: frames are not counted as training, and all parts are the whole."""
    monkeypatch.setattr(measuring, 'has_numba', lambda: False)
    measured, seconds_of_demo = [], measuring.seconds_of_demo

    def of_short_run(flags):
        measured.append(seconds_of_demo([*flags, '--iterations', '20', '--figure_interval', '1']))
        return measured[-1]
    monkeypatch.setattr(measuring, 'seconds_of_demo', of_short_run)
    found = measuring.measure_demo(1)
    assert found == {'NumPy': {part: [number] for part, number in zip(measuring.PARTS, measured[1])}}
    *parts, whole = measured[1]
    assert sum(parts) == pytest.approx(whole)
    assert all(number > 0 for number in parts)
    assert parts[2] > parts[1]  # twenty frames take longer than twenty steps
