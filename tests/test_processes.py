"""Several processes on one run, started by mpiexec for real: one folder, one line, one exit status."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import numpy
import pytest
from conftest import HANGS_AFTER, ROOT, assert_same_run, newest_iteration, read_run, until

pytest.importorskip('mpi4py', reason='no mpi4py: make test-mpi')
MPIEXEC = shutil.which('mpiexec', path=os.pathsep.join([os.path.dirname(sys.executable), os.environ['PATH']]))
if MPIEXEC is None:
    pytest.skip('no mpiexec: make test-mpi', allow_module_level=True)

TINY = ['-n', '12', '-b', '20', '--log_interval', '5', '--snapshot_interval', '5', '--figure_interval', '4']
ENDLESS = ['-n', '100000000', '-b', '20', '--log_interval', '10', '--snapshot_interval', '20']


def command(n, task, *arguments):
    return ['-n', str(n), sys.executable, str(ROOT / 'train_{}.py'.format(task)), '--communicator', 'naive',
            *map(str, arguments)]


@pytest.fixture(autouse=True)
def what_open_mpi_needs(monkeypatch):
    """To be run by root, as in a container, and with more processes than cores, in two of its versions."""
    for name in ('OMPI_ALLOW_RUN_AS_ROOT', 'OMPI_ALLOW_RUN_AS_ROOT_CONFIRM', 'OMPI_MCA_rmaps_base_oversubscribe'):
        monkeypatch.setenv(name, '1')
    monkeypatch.setenv('PRTE_MCA_rmaps_default_mapping_policy', ':oversubscribe')


@pytest.fixture
def mpiexec(tmp_path):
    """Start a script in n processes and wait: ``mpiexec(2, 'gaussian_mixture', '-n', '4')``."""
    def run(*arguments, **options):
        return subprocess.run(
            [MPIEXEC, *command(*arguments)], cwd=tmp_path, capture_output=True, text=True,
            timeout=HANGS_AFTER, **options)
    return run


@pytest.fixture
def begun(tmp_path):
    """A run of two processes without an end, in its folder ``run``: mpiexec's process, and both by their numbers."""
    mpiexec = subprocess.Popen(
        [MPIEXEC, *command(2, 'gaussian_mixture', *ENDLESS, '-o', 'run')], cwd=tmp_path, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: (tmp_path / 'run' / 'snapshot_earlier.npz').exists())
        yield mpiexec, {number: process for process, number in ranks_below(mpiexec.pid)}
    finally:
        mpiexec.kill()
        mpiexec.communicate()


def ranks_below(pid):
    """Process and number of each rank that a process has started."""
    for path in pathlib.Path('/proc').glob('[0-9]*'):
        try:
            status, environment = (path / 'status').read_text(), (path / 'environ').read_bytes().decode()
            parent = int(re.search(r'PPid:\t(\d+)', status)[1])
        except OSError:  # it has ended
            continue
        number = re.search(r'\0(?:PMI_RANK|OMPI_COMM_WORLD_RANK)=(\d+)', '\0' + environment)
        if parent == pid:
            if number:
                yield int(path.name), int(number[1])
            else:
                yield from ranks_below(int(path.name))


def own_lines(text):
    """Those that a script has written; mpiexec has lines of its own."""
    return [line for line in text.splitlines() if line.startswith('train_')]


@pytest.mark.parametrize('task', ['gaussian_mixture', 'swiss_roll', 'mnist', 'images'])
def test_every_script_runs_to_its_pictures(task, mpiexec, run_script, digits_folder, pictures_folder, tmp_path):
    flags = {
        'mnist': ['--data', digits_folder], 'images': ['--data', pictures_folder, '--width', '0.1', '-b', '8']}
    flags = [*TINY, *flags.get(task, [])]
    for out in ('several', 'again'):
        result = mpiexec(2, task, *flags, '-o', out)
        assert result.returncode == 0, result.stderr
        assert result.stdout.count('Device: @numpy') == 1  # told once
        assert '# processes: 2, communicator naive' in result.stdout
    assert_same_run(tmp_path / 'several', tmp_path / 'again')
    assert run_script(task, *flags, '-o', 'alone').returncode == 0
    several, alone = read_run(tmp_path / 'several'), read_run(tmp_path / 'alone')
    for entry, other in zip(several['log'], alone['log']):
        numpy.testing.assert_allclose(list(entry.values()), list(other.values()), rtol=5e-3, atol=5e-2)
    assert sorted(path.name for path in (tmp_path / 'several' / 'figures').iterdir()) == sorted(
        path.name for path in (tmp_path / 'alone' / 'figures').iterdir())
    settings = json.loads((tmp_path / 'several' / 'settings.json').read_text())
    assert (settings.pop('communicator'), settings.pop('processes')) == ('naive', 2)
    assert settings == json.loads((tmp_path / 'alone' / 'settings.json').read_text())


def test_resumed_by_another_number(mpiexec, run_script, tmp_path):
    """And a run that was stopped and resumed by as many is the uninterrupted one, to the last bit."""
    whole = [*TINY[:1], '12', *TINY[2:]]
    assert mpiexec(2, 'gaussian_mixture', *whole, '-o', 'whole').returncode == 0
    for n, out in ((2, 'same'), (4, 'four'), (1, 'one')):
        assert mpiexec(2, 'gaussian_mixture', *TINY[:1], '5', *TINY[2:], '-o', out).returncode == 0
        resumed = mpiexec(n, 'gaussian_mixture', '--resume', '-n', '12', '-o', out) if n > 1 else run_script(
            'gaussian_mixture', '--resume', '-n', '12', '-o', out)
        assert resumed.returncode == 0, resumed.stderr
        assert [entry['iteration'] for entry in read_run(tmp_path / out)['log']] == [5, 10, 12]
    assert_same_run(tmp_path / 'whole', tmp_path / 'same')


@pytest.mark.parametrize('number', [0, 1])
def test_a_signal_to_any_process(number, begun, mpiexec, tmp_path, tell):
    process, ranks = begun
    os.kill(ranks[number], signal.SIGTERM)
    _, errors = process.communicate(timeout=HANGS_AFTER)
    assert process.returncode == 130
    line, = own_lines(errors)
    iteration = int(re.search(r'interrupted at iteration (\d+), a snapshot is saved', line)[1])
    resumed = mpiexec(2, 'gaussian_mixture', '--resume', '-n', iteration + 1, '-o', 'run')
    assert resumed.returncode == 0, resumed.stderr
    assert '# iterations: {} of {} done'.format(iteration, iteration + 1) in resumed.stdout
    tell('faults', 'SIGTERM to process {} of two'.format(number), 1, 0, 'status 130, a snapshot, went on')


@pytest.mark.parametrize('number', [0, 1])
def test_a_process_that_dies(number, begun, mpiexec, tmp_path, tell):
    """All end, the last snapshot stays, and the run goes on from there."""
    process, ranks = begun
    os.kill(ranks[number], signal.SIGKILL)
    process.communicate(timeout=HANGS_AFTER)
    assert process.returncode != 0
    until(lambda: not pathlib.Path('/proc', str(ranks[1 - number])).exists())
    iteration = newest_iteration(tmp_path / 'run')
    assert iteration >= 20
    resumed = mpiexec(2, 'gaussian_mixture', '--resume', '-n', iteration + 5, '-o', 'run')
    assert resumed.returncode == 0, resumed.stderr
    tell('faults', 'SIGKILL of process {} of two'.format(number), 1, 0, 'both ended, went on from the last snapshot')


@pytest.mark.parametrize(('arguments', 'words'), [
    ([2, 'gaussian_mixture', '--seed', 'x'], ['--seed', 'whole number']),
    ([2, 'gaussian_mixture', '-b', '3'], ['--batchsize 3', '2 processes']),
    ([2, 'gaussian_mixture', '--device', '0'], ['--communicator naive is for CPUs', 'pure_nccl']),
    ([2, 'gaussian_mixture', '--resume'], ['holds no run to resume']),
    ([2, 'gaussian_mixture', '-n', '4', '-b', '4', '--volume_entropy_weight', '1'], ['volume_entropy_weight']),
    ([2, 'images', '--data', '/nonexistent'], ['/nonexistent', '--data']),
    ([2, 'gaussian_mixture', ':', *command(1, 'gaussian_mixture', '--seed', '1')], ['different flags']),
    ([2, 'gaussian_mixture', ':', *command(1, 'gaussian_mixture', '--seed', 'x')], ['--seed', 'whole number']),
])
def test_bad_input(arguments, words, mpiexec, tmp_path):
    """One line, once, whoever has found it, and nothing is written."""
    result = mpiexec(*arguments)
    assert result.returncode == 2, result.stderr
    line, = own_lines(result.stderr)
    for word in words:
        assert word in line
    assert 'Traceback' not in result.stderr
    assert result.stdout == ''
    assert not (tmp_path / 'result').exists()


def test_a_folder_that_holds_a_run(mpiexec):
    for n, status in ((2, 0), (2, 2)):
        result = mpiexec(n, 'gaussian_mixture', *TINY)
        assert result.returncode == status
    line, = own_lines(result.stderr)
    assert '--resume' in line


def test_what_the_first_can_not_write_ends_all(begun, tmp_path, tell):
    """What one process alone meets in training."""
    process, ranks = begun
    log = tmp_path / 'run' / 'log'
    log.rename(tmp_path / 'log')
    log.mkdir()
    _, errors = process.communicate(timeout=HANGS_AFTER)
    assert process.returncode == 1
    line, = own_lines(errors)
    assert 'the run stopped' in line
    until(lambda: not any(pathlib.Path('/proc', str(pid)).exists() for pid in ranks.values()))
    tell('faults', 'a log that the first of two processes can not write', 1, 0, 'status 1, both ended')


def test_ranks_share_the_cores(tmp_path):
    """Asked of NumPy's own threads, within each rank, where nobody has named a number."""
    pytest.importorskip('threadpoolctl', reason='no threadpoolctl: make test-mpi')
    script = tmp_path / 'asked.py'
    script.write_text(
        'import ddgm, json, numpy, threadpoolctl\n'
        'from ddgm.fast import threads\n'
        'print(json.dumps([threads.number(), *[pool["num_threads"] for pool in threadpoolctl.threadpool_info()]]))\n')
    environment = {name: value for name, value in os.environ.items() if not name.endswith('_NUM_THREADS')}
    printed = subprocess.run(
        [MPIEXEC, '-n', '2', sys.executable, str(script), '--communicator', 'naive'], capture_output=True, text=True,
        check=True, timeout=HANGS_AFTER, env={**environment, 'PYTHONPATH': str(ROOT)}).stdout
    share = max(1, len(os.sched_getaffinity(0)) // 2)
    told = [json.loads(each) for each in re.findall(r'\[.*?\]', printed)]  # mpiexec may put both on one line
    assert len(told) == 2
    for ours, *of_numpy in told:
        assert ours == min(share, 4)
        assert of_numpy
        assert set(of_numpy) == {share}


def test_no_communicator(tmp_path):
    """Each would take the other's run for one of before."""
    result = subprocess.run(
        [MPIEXEC, '-n', '2', sys.executable, str(ROOT / 'train_gaussian_mixture.py'), *TINY], cwd=tmp_path,
        capture_output=True, text=True, timeout=HANGS_AFTER)
    assert result.returncode != 0
    line, = own_lines(result.stderr + result.stdout)
    assert 'mpiexec has started 2 processes' in line
    assert '--communicator' in line
    assert os.listdir(tmp_path) == []


def test_a_line_for_each_entry(mpiexec):
    """Open MPI's ranks have a terminal, whoever reads."""
    result = mpiexec(2, 'gaussian_mixture', *TINY)
    assert '\033' not in result.stdout
    assert re.search(r'^ *10  E\(x\+\)', result.stdout, re.MULTILINE)


def test_help_comes_once(mpiexec):
    result = mpiexec(2, 'gaussian_mixture', '--help')
    assert result.returncode == 0
    assert result.stdout.count('usage:') == 1
