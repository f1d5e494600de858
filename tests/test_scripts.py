"""Each script as a user runs it: a tiny run from end to end, going on, stopping, failing, and every bad input.

What does not depend on scores and pictures is tried by ``quick_script``, which does without.
"""

import fcntl
import functools
import io
import json
import os
import pathlib
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import types

import fault_runs
import numpy
import pytest
from chainer import serializers
from conftest import GPU_STAND_IN, HANGS_AFTER, ROOT, assert_same_run, is_stand_in, read_run, run_script_in
from PIL import Image

import ddgm
import train_gaussian_mixture
from ddgm.data.distributions import GaussianMixture
from ddgm.evaluation import sampling
from ddgm.figures import post
from ddgm.networks.toy import build_models
from ddgm.presets import PRESETS
from ddgm.runs import execution
from ddgm.support import randomness
from ddgm.support.terminal import Progress

TASKS = ['gaussian_mixture', 'swiss_roll']
TINY = ['-n', '12', '-b', '20', '--log_interval', '5', '--snapshot_interval', '5', '--figure_interval', '4']
STOPPED = ['-b', '20', '--log_interval', '5', '--snapshot_interval', '0', '--figure_interval', '0']
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]

METRICS = {
    'gaussian_mixture': {
        'hq_2sigma', 'hq_3sigma', 'modes_2sigma', 'mode_kl', 'entropy_knn', 'cross_entropy', 'kl_generator_data',
        'sliced_wasserstein_2', 'mmd2', 'coverage', 'log_z', 'log_likelihood', 'kl_data_energy',
        'kl_energy_data', 'energy_gap'},
    'swiss_roll': {
        'within_0.05', 'within_0.1', 'median_distance', 'blurred_js', 'arc_kl', 'sliced_wasserstein_2', 'mmd2',
        'coverage', 'log_z', 'log_likelihood', 'energy_gap'},
}
LOG = {
    'iteration', 'elapsed_time', 'energy/positive', 'energy/negative', 'energy/loss', 'generator/loss',
    'generator/energy', 'generator/entropy'}


@pytest.fixture(scope='module')
def tiny_run(tmp_path_factory):
    """``tiny_run(task)``: what a run by ``TINY`` said, and its folder, the same for every test: only to be read."""
    @functools.lru_cache(None)
    def run(task):
        folder = tmp_path_factory.mktemp(task)
        return run_script_in(folder, task, *TINY), folder / 'result' / task
    return run


@pytest.fixture(scope='module')
def quick_run(tmp_path_factory):
    """``quick_run(task)``: the folder of the same run without scores and pictures."""
    @functools.lru_cache(None)
    def run(task):
        folder = tmp_path_factory.mktemp(task)
        assert fault_runs.run_script_in(folder, task, *TINY, '-o', 'run').returncode == 0
        return folder / 'run'
    return run


def assert_refused(result, *words):
    """Exit status 2, one line on standard error that has all the words, nothing on standard output."""
    assert result.returncode == 2, result.stderr
    assert result.stderr.count('\n') == 1, result.stderr
    for word in words:
        assert word in result.stderr
    assert result.stdout == ''


def wait_for(process, beginning):
    """Until a process has written a line that begins so."""
    while not process.stdout.readline().strip().startswith(beginning):
        assert process.poll() is None


def interrupt(process, *numbers):
    """Send signals: exit status 130, one line on standard error that says how to go on; returns the line."""
    for number in numbers:
        process.send_signal(number)
    _, errors = process.communicate(timeout=HANGS_AFTER)
    assert process.returncode == 130
    assert errors.count('\n') == 1
    assert 'a snapshot is saved' in errors
    return errors


def saved_iteration(run):
    with numpy.load(run / 'snapshot.npz') as snapshot:
        return int(snapshot['iteration'])


def assert_goes_on(quick_script, folder, iterations):
    """The run in ``folder/split``, by ``STOPPED``, goes on to the bits of one without a stop."""
    assert quick_script('gaussian_mixture', '-o', 'split', '-r', '-n', iterations).returncode == 0
    assert quick_script('gaussian_mixture', '-o', 'straight', '-n', iterations, *STOPPED).returncode == 0
    assert_same_run(folder / 'straight', folder / 'split')


# ---- from end to end

@pytest.mark.parametrize('task', TASKS)
def test_tiny_run(task, tiny_run):
    result, run = tiny_run(task)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ''

    lines = result.stdout.splitlines()
    assert lines[:2] == ['Device: @numpy', '# Minibatch-size: 20']
    assert [line.split()[0] for line in lines if 'E(x+)' in line] == ['5', '10', '12']
    for name in METRICS[task]:
        assert any(line.startswith(name + ' ') for line in lines), name

    settings = json.loads((run / 'settings.json').read_text())
    assert (settings['task'], settings['preset'], settings['iterations'], settings['seed']) == (task, 'default', 12, 0)
    assert set(settings['versions']) == {'ddgm', 'python', 'chainer', 'numpy', 'cupy'}
    assert settings['versions']['ddgm'] == ddgm.__version__
    log = json.loads((run / 'log').read_text())
    assert [entry['iteration'] for entry in log] == [5, 10, 12]
    assert all(set(entry) == LOG for entry in log)
    metrics = json.loads((run / 'metrics.json').read_text())
    assert set(metrics) == METRICS[task] | {'iterations', 'seed', 'n_samples'}
    assert (metrics['iterations'], metrics['seed'], metrics['n_samples']) == (12, 0, 2500)
    assert all(numpy.isfinite(value) for value in metrics.values())
    with numpy.load(run / 'samples.npz') as samples:
        assert (samples['x'].shape, samples['z'].shape) == ((2500, 2), (2500, 4))
        assert samples['x'].dtype == samples['z'].dtype == numpy.float32

    for name, size in (('samples', (800, 800)), ('energy', (800, 800)), ('curves', (800, 1000))):
        with Image.open(run / 'figures' / (name + '.png')) as image:
            assert image.size == size
    with Image.open(run / 'figures' / 'training.gif') as image:
        assert image.n_frames == 3
    assert sorted(path.name for path in (run / 'figures' / 'frames').iterdir()) == [
        '000000004.png', '000000008.png', '000000012.png']
    assert not list(run.rglob('*.tmp'))


def test_models_of_a_run_give_its_samples(tiny_run):
    """generative_model.npz, loaded as any Chainer model, turns the z of samples.npz into its x."""
    _, run = tiny_run('gaussian_mixture')
    energy_model, generative_model = build_models(
        PRESETS['gaussian_mixture']['default'].settings, numpy.random.default_rng(0))
    serializers.load_npz(run / 'energy_model.npz', energy_model)
    serializers.load_npz(run / 'generative_model.npz', generative_model)
    with numpy.load(run / 'samples.npz') as samples:
        # The script runs with one thread, this test perhaps with more, which round differently.
        numpy.testing.assert_allclose(sampling.sample(generative_model, samples['z']), samples['x'], atol=1e-5)
        gap = sampling.energy_function(energy_model)(samples['x']).mean() - sampling.energy_function(energy_model)(
            GaussianMixture().sample(2500, randomness.metric_generator(randomness.REFERENCE_DATA))).mean()
    assert read_run(run)['metrics']['energy_gap'] == pytest.approx(gap, rel=1e-4)


def test_resuming_a_finished_run_finishes_its_pictures(tiny_run, run_script, tmp_path):
    before = read_run(shutil.copytree(tiny_run('gaussian_mixture')[1], tmp_path / 'run'))
    (tmp_path / 'run' / 'figures' / 'energy.png').unlink()
    (tmp_path / 'run' / 'metrics.json').unlink()
    shutil.rmtree(tmp_path / 'run' / 'figures' / 'frames')
    result = run_script('gaussian_mixture', '-o', 'run', '--resume')
    assert result.returncode == 0
    assert result.stdout.splitlines()[3:7] == [
        'Run folder: run', 'All iterations were done before: drawn and scored anew; a larger --iterations goes on',
        'Trained: 12 iterations in 0:00:00', 'Drawing ...']
    assert (tmp_path / 'run' / 'figures' / 'energy.png').exists()
    after = read_run(tmp_path / 'run')
    assert before['log'] == after['log']
    assert before['metrics'] == after['metrics']


def test_times_leave_pictures_out(tmp_path, monkeypatch):
    """By a clock that goes on by a second at each look and by a day while a frame is drawn."""
    now = [0]

    def look():
        now[0] += 1
        return now[0]

    def draw(self, path, samples):
        now[0] += 86_400
    monkeypatch.setattr(execution, 'time', types.SimpleNamespace(perf_counter=look))
    monkeypatch.setattr(execution, '_draw_and_score', lambda *arguments: None)
    monkeypatch.setattr(post.PointsPicture, 'draw', draw)
    train_gaussian_mixture.main([*TINY, '-o', str(tmp_path / 'run')])
    assert now[0] > 3 * 86_400
    times = [entry['elapsed_time'] for entry in json.loads((tmp_path / 'run' / 'log').read_text())]
    with numpy.load(tmp_path / 'run' / 'snapshot.npz') as snapshot:
        assert 0 < times[0] < times[1] < times[2] <= snapshot['elapsed_time'] < 1000


# ---- the same bits

@pytest.mark.parametrize('task', TASKS)
def test_split_run_is_the_straight_run(task, quick_run, quick_script, tmp_path):
    """Stopped at 5, 7 and 11 by a smaller --iterations, on and off the intervals: the same bits as straight."""
    for n, more in (('5', []), ('7', ['--resume']), ('11', ['-r']), ('12', ['-r'])):
        result = quick_script(task, *TINY, '-n', n, '-o', 'split', *more)
        assert result.returncode == 0, result.stderr
    assert_same_run(quick_run(task), tmp_path / 'split')
    times = [entry['elapsed_time'] for entry in json.loads((tmp_path / 'split' / 'log').read_text())]
    assert times == sorted(times)  # a resumed run goes on counting


def test_intervals_change_nothing(quick_script, tmp_path):
    for name, intervals in (('a', '0 0 0'), ('b', '3 4 2')):
        log, snapshot, figure = intervals.split()
        result = quick_script(
            'gaussian_mixture', '-n', 9, '-o', name, '--log_interval', log, '--snapshot_interval', snapshot,
            '--figure_interval', figure)
        assert result.returncode == 0
    a, b = read_run(tmp_path / 'a'), read_run(tmp_path / 'b')
    assert [entry['iteration'] for entry in a['log']] == [9]
    assert [entry['iteration'] for entry in b['log']] == [3, 6, 9]
    assert a['metrics'] == b['metrics']
    for name in a['snapshot']:
        if not name.startswith(('summary', 'n_logged')):
            numpy.testing.assert_array_equal(a['snapshot'][name], b['snapshot'][name], err_msg=name)
    # The log holds means over its interval.
    for name in ('energy/positive', 'generator/entropy'):
        assert a['log'][0][name] == pytest.approx(numpy.mean([entry[name] for entry in b['log']]))


@pytest.mark.slow
@pytest.mark.gpu
@pytest.mark.parametrize('task', TASKS)
def test_split_run_on_a_gpu(task, run_script, tmp_path, monkeypatch):
    """The GPU twin of a whole run: trains, stops, resumes without being told the device, scores and draws."""
    if is_stand_in():
        monkeypatch.setenv('PYTHONPATH', str(GPU_STAND_IN))
    assert run_script(task, *TINY, '-d', 0, '-o', 'straight').returncode == 0
    for n, more in (('7', ['-d', '0']), ('12', ['--resume'])):
        assert run_script(task, *TINY, '-n', n, '-o', 'split', *more).returncode == 0
    first, second = read_run(tmp_path / 'straight'), read_run(tmp_path / 'split')
    assert json.loads((tmp_path / 'split' / 'settings.json').read_text())['device'] == '@cupy:0'
    numpy.testing.assert_allclose(first['samples']['x'], second['samples']['x'], atol=1e-4)


def test_seeds_differ(quick_run, quick_script, tmp_path):
    assert quick_script('gaussian_mixture', *TINY, '-s', 1, '-o', 'run').returncode == 0
    a, b = read_run(quick_run('gaussian_mixture')), read_run(tmp_path / 'run')
    assert (a['samples']['x'] != b['samples']['x']).any()
    numpy.testing.assert_array_equal(a['samples']['z'], b['samples']['z'])  # the metrics' own


def test_overwrite(quick_run, quick_script, tmp_path):
    shutil.copytree(quick_run('gaussian_mixture'), tmp_path / 'run')
    assert quick_script('gaussian_mixture', *TINY, '-o', 'run', '-s', 5, '--overwrite').returncode == 0
    assert quick_script('gaussian_mixture', *TINY, '-o', 'other', '-s', 5).returncode == 0
    assert_same_run(tmp_path / 'run', tmp_path / 'other')


# ---- stopped

def test_interrupt_saves_and_resumes_to_the_same_bits(start_script, quick_script, tmp_path):
    """Other signals, and processes that are killed: tests/test_faults.py."""
    process = start_script('gaussian_mixture', '-o', 'split', '-n', '1000000', *STOPPED)
    wait_for(process, '5 ')
    errors = interrupt(process, signal.SIGINT)
    assert '--resume' in errors
    done = int(errors.split('iteration ')[1].split(',')[0])
    assert saved_iteration(tmp_path / 'split') == done
    assert_goes_on(quick_script, tmp_path, done + 3)


def test_demo_names_itself(tmp_path):
    """Of `make demo` a user need not know --resume."""
    makefile = (ROOT / 'Makefile').read_text()
    name, value = re.search(r'^demo: export (\w+) = (.*)$', makefile, re.MULTILINE).groups()
    recipe, = (line.strip() for line in makefile.splitlines() if '--out result/demo' in line)
    command = re.sub(r'\$\(if .*\)$', '-n 1000000 --log_interval 5', recipe).replace(
        '$(RUN)', 'exec {}'.format(sys.executable)).replace('train_', str(ROOT / 'train_'))
    process = subprocess.Popen(
        ['sh', '-c', command], cwd=tmp_path, env={**os.environ, name: value}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True)
    wait_for(process, '5 ')
    assert interrupt(process, signal.SIGINT).endswith(', a snapshot is saved: go on with make demo\n')


def test_impatient_interrupts_still_save(start_script, tmp_path):
    """Signals that come while an iteration is at work, again and again: it is finished and saved all the same."""
    process = start_script(
        'gaussian_mixture', '-o', 'run', '-n', '1000000', *STOPPED, '-b', '20000', '--log_interval', '1')
    wait_for(process, '1 ')
    interrupt(process, *5 * SIGNALS)
    assert saved_iteration(tmp_path / 'run') > 0


@pytest.mark.parametrize('number', SIGNALS)
def test_interrupt_while_scoring(number, start_script, quick_script, tmp_path):
    process = start_script('gaussian_mixture', *TINY, '-o', 'run')
    wait_for(process, 'Scoring')
    assert '--resume' in interrupt(process, number)
    for name in ('figures/samples.png', 'figures/curves.png', 'figures/training.gif', 'samples.npz'):
        assert (tmp_path / 'run' / name).exists()
    assert not (tmp_path / 'run' / 'metrics.json').exists()
    assert quick_script('gaussian_mixture', '-o', 'run', '--resume').returncode == 0
    assert (tmp_path / 'run' / 'metrics.json').exists()


def test_metrics_left_out(quick_script, tmp_path):
    """What is in metrics.json tells of the samples beside it; scores are made when they are first asked for."""
    about = {'iterations': 12, 'seed': 0, 'n_samples': 100}
    for flags, expected, is_scored in (
            ([*TINY, '--no_score'], about, False), (['--resume'], about, True),
            (['--resume', '--no_score'], about, True),
            (['--resume', '--no_score', '-n', '14'], {**about, 'iterations': 14}, False)):
        result = quick_script('gaussian_mixture', '-o', 'run', *flags)
        assert result.returncode == 0, result.stderr
        assert ('Scoring' in result.stdout) is ('--no_score' not in flags)
        metrics = json.loads((tmp_path / 'run' / 'metrics.json').read_text())
        assert ('mean' in metrics) is is_scored
        assert {name: metrics[name] for name in expected} == expected
        assert len(metrics) == len(expected) + is_scored


@pytest.mark.parametrize('task', TASKS)
def test_divergence(task, quick_script, tmp_path):
    """A loss that is not finite: exit status 1, one line with the iteration; the snapshot and the log of 5 stay."""
    result = quick_script(task, *TINY, '-o', 'run', fault=(fault_runs.break_data, (20, 8)))
    assert result.returncode == 1, result.stderr
    assert result.stderr.count('\n') == 1
    assert 'not finite at iteration 8' in result.stderr
    assert saved_iteration(tmp_path / 'run') == 5
    with numpy.load(tmp_path / 'run' / 'snapshot.npz') as snapshot:
        assert all(numpy.isfinite(snapshot[name]).all() for name in snapshot if snapshot[name].dtype.kind == 'f')
    assert [entry['iteration'] for entry in json.loads((tmp_path / 'run' / 'log').read_text())] == [5]
    # With the cause gone, the run goes on.
    assert quick_script(task, '-o', 'run', '--resume').returncode == 0


# ---- bad input

@pytest.mark.parametrize(('arguments', 'words'), [
    ('--preset nothing', ['--preset', 'nothing', 'post']),
    ('-n 0', ['--iterations', 'from 1 on']),
    ('-n ten', ['--iterations', "'ten'"]),
    ('-b -4', ['--batchsize']),
    ('-b 1', ['--batchsize', 'from 2 on']),
    ('-s -1', ['--seed']),
    ('--log_interval -1', ['--log_interval']),
    ('--snapshot_interval x', ['--snapshot_interval']),
    ('--figure_interval 0.5', ['--figure_interval']),
    ('-d gpu', ['--device', '@cupy:0']),
    ('-d 97', ['--device 97', '--device -1']),
    ('-d @cupy:97', ['--device @cupy:97', 'no such GPU']),
    ('--resume', ['holds no run to resume', 'leave out --resume']),
    ('--resume --overwrite', ['--resume', '--overwrite']),
    ('--out=', ['--out', 'give a path']),
    ('-o afile', ['afile is a file', '--out']),
    ('-o afile/run', ['afile/run', 'written to', '--out']),
    ('-o /proc/run', ['/proc/run', 'written to', '--out']),
])
@pytest.mark.parametrize('task', TASKS)
def test_bad_input(task, arguments, words, quick_script, tmp_path):
    """One line with the cure, exit status 2, nothing written."""
    (tmp_path / 'afile').write_text('precious')
    assert_refused(quick_script(task, *arguments.split()), *words)
    assert [path.name for path in tmp_path.iterdir()] == ['afile']
    assert (tmp_path / 'afile').read_text() == 'precious'


def test_folder_that_holds_another_run(quick_run, quick_script, tmp_path):
    shutil.copytree(quick_run('gaussian_mixture'), tmp_path / 'run')
    files = {path: path.read_bytes() for path in (tmp_path / 'run').rglob('*') if path.is_file()}

    assert_refused(quick_script('gaussian_mixture', '-o', 'run'), 'holds a run', '--resume', '--overwrite')
    assert_refused(quick_script('swiss_roll', '-o', 'run', '--resume'), 'gaussian_mixture', 'train_gaussian_mixture.py')
    assert_refused(quick_script('gaussian_mixture', '-o', 'run', '-r', '--preset', 'post'), 'preset default')
    assert_refused(quick_script('gaussian_mixture', '-o', 'run', '-r', '-b', 21), '--batchsize 20')
    assert_refused(quick_script('gaussian_mixture', '-o', 'run', '-r', '-s', 1), '--seed 0')
    assert_refused(quick_script('gaussian_mixture', '-o', 'run', '-r', '-n', 11), '12 iterations', '--iterations')
    assert_refused(quick_script('gaussian_mixture', '-o', 'run', '-r', '-d', '97'), '--device 97')
    assert {path: path.read_bytes() for path in (tmp_path / 'run').rglob('*') if path.is_file()} == files
    # Saying again what the run has is no contradiction.
    assert quick_script('gaussian_mixture', '-o', 'run', '-r', '-b', 20, '-s', 0, '--preset', 'default').returncode == 0


HELP = '''
import runpy, sys
sys.argv = ['x', '--help']
try:
    runpy.run_path({script!r}, run_name='__main__')
except SystemExit as exit:
    print(exit.code, sorted({{'chainer', 'matplotlib', 'PIL'}} & set(sys.modules)))
'''


@pytest.mark.parametrize('task', TASKS)
def test_help_is_quick_to_import(task, run_script):
    """--help needs neither Chainer nor matplotlib."""
    script = pathlib.Path(ROOT, 'train_{}.py'.format(task))
    code = HELP.format(script=str(script))
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=HANGS_AFTER, cwd=ROOT)
    assert result.stdout.splitlines()[-1] == '0 []'


# ---- terminals and pipes

def start_on_terminal(folder, *arguments):
    """A script in a session of its own, on a terminal: the process and the terminal's other end."""
    primary, secondary = pty.openpty()
    fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack('HHHH', 50, 80, 0, 0))
    other = ('COLUMNS', 'JPY_PARENT_PID', 'MPLBACKEND')  # what would say something else of the terminal
    process = subprocess.Popen(
        [sys.executable, str(ROOT / 'train_gaussian_mixture.py'), *map(str, arguments)], cwd=folder, stdin=secondary,
        stdout=secondary, stderr=secondary, start_new_session=True,
        env={**{name: value for name, value in os.environ.items() if name not in other}, 'TERM': 'xterm'})
    os.close(secondary)
    return process, primary


def on_terminal(folder, *arguments):
    """What a script that does not fail writes to a terminal."""
    process, primary = start_on_terminal(folder, *arguments)
    text = b''
    while True:
        try:
            part = os.read(primary, 10_000)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        text += part
    os.close(primary)
    assert process.wait(timeout=HANGS_AFTER) == 0
    return text.decode()


def screens(text, columns):
    """What a terminal that wide shows, as lists of lines: before each time that a part is erased, and at the end."""
    rows, row, column = [''], 0, 0
    for up, erase, line_end, letter in re.findall('\033\\[(\\d+)A|(\033\\[J)|(\\r|\\n)|(.)', text):
        if erase:
            yield rows[:]
            rows[row:] = [rows[row][:column]]
        elif up:
            row -= int(up)
        elif line_end == '\r':
            column = 0
        else:
            if line_end or column == columns:
                row, column = row + 1, column if line_end else 0
                rows += [''] * (row == len(rows))
            if letter:
                rows[row] = rows[row][:column].ljust(column) + letter + rows[row][column + 1:]
                column += 1
    yield rows


ENTRY = {
    'iteration': 7, 'elapsed_time': 0.2, 'energy/positive': -1.5, 'energy/negative': 2, 'generator/entropy': 3}


@pytest.mark.parametrize('columns', [20, 40, 58, 80])
def test_progress_bar_leaves_no_trail(columns, monkeypatch, capsys):
    """However narrow the terminal is."""
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: True)
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setenv('COLUMNS', str(columns))
    monkeypatch.setattr(Progress, '_seconds', {True: 0})
    print('before')
    with Progress(300) as progress:
        for iteration in (1, 2, 150):
            progress.update(iteration)
            progress.log(ENTRY)
    *during, end = screens(capsys.readouterr().out.replace('\n', '\r\n'), columns)
    assert end == ['before', '']
    assert {shown[0] for shown in during} == {'before'}
    first, _, last = bars = [shown[1:-1] for shown in during if len(shown) > 2]
    for bar, share in zip(bars, (1, 2, 150)):
        assert re.fullmatch(r'\[#*\.*\] +{:.1%}'.format(share / 300), bar[0])
        assert len(bar[0]) == min(columns - 1, 59)
        assert all(bar)  # no empty line
        assert max(map(len, bar)) < columns
    assert ' '.join(first[1:]) == '1 of 300 iterations'  # no speed yet
    assert re.fullmatch(
        r'150 of 300 iterations, [\d.e+]+ a second, 0:00:0\d left '
        r'E\(x\+\)    -1.500 +E\(x-\)     2.000 +H     3.000', ' '.join(last[1:]))


@pytest.mark.parametrize('name', ['TERM', 'JPY_PARENT_PID', 'MPLBACKEND', 'OMPI_COMM_WORLD_RANK', None])
def test_no_bar_where_none_can_be_drawn(name, monkeypatch, capsys):
    """An editor's, a notebook's or Open MPI's output may say that it is a terminal, and TERM that it can do nothing."""
    class Output(io.StringIO):
        def isatty(self):
            return True
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: True)
    if name:
        monkeypatch.setenv(name, {
            'TERM': 'dumb', 'MPLBACKEND': 'module://matplotlib_inline.backend_inline'}.get(name, '123'))
    else:
        monkeypatch.setattr(sys, 'stdout', Output())
    with Progress(1000) as progress:
        progress.update(1)
        progress.log(ENTRY)
    output = capsys.readouterr().out if name else sys.stdout.getvalue()
    assert output == '   7  E(x+)    -1.500  E(x-)     2.000  H     3.000  0.2 s\n'


def test_closed_terminal(quick_script, tmp_path):
    """Its end is a SIGHUP: a snapshot is saved, and the run goes on to the same bits."""
    process, primary = start_on_terminal(tmp_path, '-o', 'split', '-n', 1_000_000, *STOPPED)
    text = b''
    while b'E(x+)' not in text:
        text += os.read(primary, 10_000)
    os.close(primary)
    assert process.wait(timeout=HANGS_AFTER) == 130
    assert_goes_on(quick_script, tmp_path, saved_iteration(tmp_path / 'split') + 3)


def test_closed_pipe(start_script, quick_script, tmp_path):
    """Nobody reads on: as an interrupt, with a line that says so."""
    process = start_script('gaussian_mixture', '-o', 'run', '-n', 1_000_000, *STOPPED)
    wait_for(process, '5 ')
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(timeout=HANGS_AFTER) == 130
    done = saved_iteration(tmp_path / 'run')
    assert errors == (
        'train_gaussian_mixture.py: nobody reads standard output (Broken pipe), so the run stopped at iteration {}, a '
        'snapshot is saved: go on with --resume\n'.format(done))
    assert quick_script('gaussian_mixture', '-o', 'run', '-r', '-n', done + 1).returncode == 0


@pytest.mark.parametrize('command', [
    'train_images.py --help', '-m ddgm.compare --help', '-m ddgm.weights --help', '-m ddgm.studies --help'])
def test_commands_whose_pipe_is_closed(command):
    """A quiet end."""
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [sys.executable, *command.split()], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True,
        timeout=HANGS_AFTER, env={**os.environ, 'PYTHONUNBUFFERED': ''})
    os.close(writer)
    assert (result.returncode, result.stderr) == (130, '')


def test_without_standard_streams(tmp_path):
    """As a service starts it: with none of the three."""
    script = 'exec {} {} -n 3 -o {} <&- >&- 2>&-'.format(
        sys.executable, ROOT / 'train_gaussian_mixture.py', tmp_path / 'run')
    assert subprocess.run(['sh', '-c', script], timeout=HANGS_AFTER).returncode == 0
    assert (tmp_path / 'run' / 'metrics.json').exists()


def test_nohup(start_script):
    """SIGHUP stays ignored where it was at the start."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = start_script('gaussian_mixture', '-o', 'run', '-n', 2000, *STOPPED)
    finally:
        signal.signal(signal.SIGHUP, before)
    wait_for(process, '5 ')
    process.send_signal(signal.SIGHUP)
    output, errors = process.communicate(timeout=HANGS_AFTER)
    assert (process.returncode, errors) == (0, '')
    assert 'Pictures: ' in output


def test_terminal(tiny_run, tmp_path):
    """A bar in place of a line for each log entry, and the same bits; else the screen is as in a pipe."""
    result, run = tiny_run('gaussian_mixture')
    text = on_terminal(tmp_path, *TINY)
    assert re.search(r'\[#*\.+\] +\d+\.\d%', text)
    *_, end = screens(text, 80)
    lines = [line.rstrip() for line in end if not line.startswith('Trained')]
    assert lines[:-1] == [
        line for line in result.stdout.splitlines() if 'E(x+)' not in line and not line.startswith('Trained')]
    assert_same_run(tmp_path / 'result' / 'gaussian_mixture', run)
