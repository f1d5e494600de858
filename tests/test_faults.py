"""Faults that really happen to runs: none is lost, and each ends with the bits that it would have had.

``--thorough`` tries more of them, for some minutes more, and both print a table of what was tried.
"""

import contextlib
import json
import os
import resource
import signal
import subprocess
import time
import tracemalloc

import fault_runs
import numpy
import pytest
from conftest import assert_same_run, newest_iteration, until

from ddgm.runs import snapshots
from ddgm.runs.log import Log, curves_of

pytestmark = pytest.mark.skipif(not os.path.isdir('/proc/self'), reason='what happens to processes is read from /proc')

PLANE = ['-b', '20', '--log_interval', '2', '--snapshot_interval', '3', '--figure_interval', '0']


def start_run(folder, task, *arguments, fault=None):
    """A training script's process, with its output, as ``stdout`` and ``stderr``, beside the run folder ``run``."""
    return fault_runs.start_script(folder, folder, task, *arguments, '-o', folder / 'run', fault=fault)


def run_script(folder, task, *arguments, fault=None):
    """The same to its end."""
    return fault_runs.finish(start_run(folder, task, *arguments, fault=fault), folder)


@pytest.fixture
def flags(digits_folder, pictures_folder):
    """By task, those of a tiny run."""
    return {
        'gaussian_mixture': PLANE, 'swiss_roll': PLANE,
        'mnist': [*PLANE, '--data', digits_folder],
        'images': [*PLANE, '--data', pictures_folder, '--width', '0.02']}


@pytest.fixture
def new_folder(tmp_path):
    """``new_folder(name)`` makes one, for a run's output and its run folder ``run``."""
    def make(name):
        (tmp_path / name).mkdir()
        return tmp_path / name
    return make


def go_on(folder, flags):
    """The flags that begin the run in a folder, or go on with it."""
    return [*flags, '--resume'] if (folder / 'run' / 'settings.json').exists() else flags


def wait_for(folder, text):
    """Until a run has written that."""
    path = folder / 'stdout'
    until(lambda: path.exists() and text in path.read_text())


def assert_ends_like_a_straight_run(folder, straight, task, flags, iterations):
    """Let the run go on to an iteration, and another one go there without a stop; both have the same bits."""
    for place, its_flags in ((folder, go_on(folder, flags)), (straight, flags)):
        outcome = run_script(place, task, *its_flags, '-n', iterations)
        assert (outcome.returncode, outcome.stderr) == (0, '')
    assert_same_run(folder / 'run', straight / 'run')


def assert_one_line(outcome, *statuses):
    assert outcome.returncode in statuses, outcome.stderr
    assert outcome.stderr.count('\n') == 1, outcome.stderr


# ---- processes that end

def test_killed_before_each_file_operation(new_folder, tell):
    """Opening, renaming or removing any file of the run folder: at the start, between and within snapshots, at the end.

    The n-th attempt gets n operations far.
    """
    folder, straight, n_kills = new_folder('killed'), new_folder('straight'), 0
    while True:
        outcome = run_script(
            folder, 'gaussian_mixture', *go_on(folder, PLANE), '-n', 8,
            fault=(fault_runs.kill_at, (str(folder / 'run'), n_kills + 1)))
        if outcome.returncode != -signal.SIGKILL:
            break
        n_kills += 1
    assert (outcome.returncode, outcome.stderr) == (0, '')
    assert n_kills > 25
    assert list((folder / 'run').rglob('*.tmp')) == []
    assert_ends_like_a_straight_run(folder, straight, 'gaussian_mixture', PLANE, 8)
    tell('faults', 'SIGKILL before each file operation of a run', n_kills, 0, 'went on, same bits')


@pytest.mark.parametrize('task', ['gaussian_mixture', 'swiss_roll', 'mnist', 'images'])
def test_killed_at_random(task, flags, new_folder, rng, thorough, tell):
    folder, straight = new_folder('killed'), new_folder('straight')
    n_kills, least, done, in_snapshots = 0, 30 if thorough else 5, 0, 0
    while n_kills < least or not done:  # on a busy machine it takes more of them, later, until there is a snapshot
        assert n_kills < 10 * least
        n_kills += 1
        (folder / 'stdout').unlink(missing_ok=True)
        process = start_run(folder, task, *go_on(folder, flags[task]), '-n', 1_000_000)
        if rng.random() < 0.8:  # else while it reads what it needs
            wait_for(folder, 'Run folder')
        time.sleep(rng.uniform(0, 0.4 * max(1, n_kills / least)))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        before, done = done, newest_iteration(folder / 'run')
        assert done >= before
        in_snapshots += any(folder.rglob('snapshot.npz.*.tmp'))
    assert done > 0
    assert_ends_like_a_straight_run(folder, straight, task, flags[task], done + 4)
    tell('faults', 'SIGKILL at a random moment, {}'.format(task), n_kills, 0,
         'went on, same bits ({} while a snapshot was written)'.format(in_snapshots))


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stopped_at_random(number, new_folder, rng, thorough, tell):
    folder, straight, n_stops = new_folder('stopped'), new_folder('straight'), 20 if thorough else 3
    for _ in range(n_stops):
        (folder / 'stdout').unlink(missing_ok=True)
        process = start_run(folder, 'gaussian_mixture', *go_on(folder, PLANE), '-n', 1_000_000)
        wait_for(folder, 'Device')
        time.sleep(rng.uniform(0, 0.3))
        os.kill(process.pid, number)
        outcome = fault_runs.finish(process, folder)
        assert_one_line(outcome, 130)
    assert_ends_like_a_straight_run(folder, straight, 'gaussian_mixture', PLANE, newest_iteration(folder / 'run') + 4)
    tell('faults', '{} at a random moment'.format(number.name), n_stops, 0,
         'status 130, a snapshot, went on, same bits')


def test_two_processes(new_folder, tell):
    """The second is refused whatever it asks for, and the first never notices."""
    folder, straight, other = map(new_folder, ('run', 'straight', 'other'))
    process = start_run(folder, 'gaussian_mixture', *PLANE, '-n', 1_000_000)
    wait_for(folder, 'E(x+)')
    os.symlink(folder / 'run', other / 'run')
    for flag in ('--resume', '--overwrite'):
        outcome = run_script(other, 'gaussian_mixture', *PLANE, flag)
        assert_one_line(outcome, 2)
        assert 'another process is at work' in outcome.stderr
    process.kill()
    process.join()
    assert_ends_like_a_straight_run(folder, straight, 'gaussian_mixture', PLANE, newest_iteration(folder / 'run') + 4)
    tell('faults', 'a second process on the run folder', 2, 0, 'refused, status 2')


# ---- disks

def test_limited_size_of_files(new_folder, thorough, tell):
    """As on a full disk, at whatever file the limit is met; those of the snapshots among them."""
    folder, straight = new_folder('limited'), new_folder('straight')
    run_script(straight, 'gaussian_mixture', *PLANE, '-n', 8)
    sizes = sorted({path.stat().st_size for path in (straight / 'run').rglob('*') if path.is_file()})
    limits = [max(4000, size - 1) for size in sizes] if thorough else [4000, 30_000, sizes[-1] // 2, sizes[-1] - 1]
    for limit in limits:
        outcome = run_script(
            folder, 'gaussian_mixture', *go_on(folder, PLANE), '-n', 8, fault=(fault_runs.limit_file_size, limit))
        assert_one_line(outcome, 1)
        assert 'File too large' in outcome.stderr
    assert list((folder / 'run').rglob('*.tmp')) == []
    outcome = run_script(folder, 'gaussian_mixture', *PLANE, '-n', 8, '--resume')
    assert (outcome.returncode, outcome.stderr) == (0, '')
    assert_same_run(folder / 'run', straight / 'run')
    tell('faults', 'a file that must not grow larger', len(limits), 0, 'status 1, went on, same bits')


@pytest.fixture
def mounted(new_folder):
    """``mounted(options)`` mounts a tmpfs, again with other ones, at the run folder of a folder, which it returns."""
    folder = new_folder('disk')
    (folder / 'run').mkdir()

    def mount(options):
        done = subprocess.run(
            ['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', str(folder / 'run')], capture_output=True, text=True)
        if done.returncode:
            pytest.skip('this user may not mount a file system: {}'.format(done.stderr.strip()))
        return folder
    try:
        yield mount
    finally:
        subprocess.run(['umount', str(folder / 'run')], capture_output=True)


def test_full_disk(mounted, new_folder, thorough, tell):
    """Of any size, from one that takes no settings to one that a picture at the end is too much for."""
    straight = new_folder('straight')
    run_script(straight, 'gaussian_mixture', *PLANE, '-n', 8)
    needed = sum(path.stat().st_size for path in (straight / 'run').rglob('*') if path.is_file()) // 1024
    sizes = range(8, needed, needed // (20 if thorough else 4))
    for i, size in enumerate(sizes):
        folder = mounted('{}size={}k'.format('remount,' if i else '', size))
        outcome = run_script(folder, 'gaussian_mixture', *go_on(folder, PLANE), '-n', 8)
        assert_one_line(outcome, 1, 2)
        assert 'No space left' in outcome.stderr
    mounted('remount,ro')
    outcome = run_script(folder, 'gaussian_mixture', *go_on(folder, PLANE), '-n', 8)
    assert_one_line(outcome, 2)
    assert 'Read-only' in outcome.stderr
    mounted('remount,rw,size=100m')
    assert_ends_like_a_straight_run(folder, new_folder('again'), 'gaussian_mixture', PLANE, 8)
    tell('faults', 'a full disk', len(sizes), 0, 'status 1 or 2, went on, same bits')
    tell('faults', 'a disk that became read-only', 1, 0, 'status 2, went on, same bits')


# ---- snapshots

@pytest.mark.parametrize(
    'damage', ['flipped', *(pytest.param(damage, marks=pytest.mark.slow) for damage in ('truncated', 'empty'))])
def test_damaged_snapshot(damage, new_folder, tell):
    """The one before it is used, a line says so, and the damaged one is set aside.  More: tests/test_snapshots.py."""
    folder, straight = new_folder('damaged'), new_folder('straight')
    assert run_script(folder, 'gaussian_mixture', *PLANE, '-n', 8).returncode == 0
    path = folder / 'run' / snapshots.NEWEST
    content = bytearray(path.read_bytes())
    if damage == 'flipped':  # in an array: an archive also has bytes that no program reads
        with numpy.load(path) as file:
            largest = max(file.values(), key=lambda array: array.nbytes)
        content[content.index(largest.tobytes())] ^= 1
    path.write_bytes({'truncated': content[:len(content) // 2], 'empty': b''}.get(damage, content))
    assert_ends_like_a_straight_run(folder, straight, 'gaussian_mixture', PLANE, 12)
    printed = (folder / 'stdout').read_text()
    assert '{}: damaged ('.format(path) in printed
    assert '6 of 12 done' in printed
    assert (folder / 'run' / 'snapshot.npz.damaged').exists()
    tell('faults', 'a snapshot {}'.format(damage), 1, 0, 'recognised, went on from the one before, same bits')


def test_lost_log_is_told(new_folder):
    folder = new_folder('run')
    assert run_script(folder, 'gaussian_mixture', *PLANE, '-n', 8).returncode == 0
    log = folder / 'run' / 'log'
    log.write_bytes(log.read_bytes()[:100])
    for iterations, n_entries in ((8, 0), (9, 1)):  # with nothing to train, and on
        outcome = run_script(folder, 'gaussian_mixture', *PLANE, '-n', iterations, '--resume')
        assert (outcome.returncode, outcome.stderr) == (0, '')
        assert '{}: only 0 of its 4 entries are left'.format(log) in outcome.stdout
        assert len(json.loads(log.read_text())) == n_entries


# ---- long runs

def test_memory_is_flat(new_folder, thorough, tell):
    """Of a run that logs each iteration, past the first thousand."""
    folder, iterations, memory = new_folder('run'), 100_000 if thorough else 2_500, {}
    process = start_run(
        folder, 'gaussian_mixture', '-b', 2, '-n', iterations, '--log_interval', 1, '--snapshot_interval', 500,
        '--figure_interval', 0)
    wait_for(folder, 'E(x+)')
    while process.is_alive() and 'Scoring' not in (last := (folder / 'stdout').read_text()[-500:]):
        with contextlib.suppress(OSError, ValueError, IndexError), open('/proc/{}/statm'.format(process.pid)) as file:
            memory[int(last.splitlines()[-2].split()[0])] = int(file.read().split()[1]) * resource.getpagesize()
        time.sleep(0.05)
    process.kill()
    process.join()
    first = max(n for i, n in memory.items() if i <= 1_000)
    growth = max(n for i, n in memory.items() if i > 1_000) - first
    assert max(memory) > 0.9 * iterations
    assert growth < 3e6
    tell('long_logs', '{:,} iterations, each logged'.format(iterations),
         '{:.1f} MB more than after the first 1,000, of {:.0f}'.format(growth / 1e6, first / 1e6))


def test_long_log(tmp_path, thorough, tell):
    """Adding to it reads and writes what the entry needs; going on, and drawing it, take little memory."""
    n = 1_000_000 if thorough else 100_000
    line = '{{"iteration": {}, "elapsed_time": 0.125, "energy/positive": -1.5, "energy/loss": 0.25}}'
    path = tmp_path / 'log'
    with open(path, 'w') as file:
        file.write('[\n')
        file.writelines(line.format(i) + ',\n' for i in range(1, n))
        file.write(line.format(n) + '\n]\n')
    log = Log(path)
    tracemalloc.start()
    assert log.keep(n) == n
    _, kept = tracemalloc.get_traced_memory()
    columns = curves_of(log)
    _, drawn = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1e6
    assert drawn < 100 * n  # bytes, of which its numbers are 56
    assert len(columns.x) < 50_000
    assert (columns.x[0], columns.x[-1]) == (1, n)

    def bytes_moved():
        with open('/proc/self/io') as file:
            return sum(int(text.split()[1]) for text in file.readlines()[:2])
    before = bytes_moved()
    reading = bytes_moved() - before
    before = bytes_moved()
    log.append({'iteration': n + 1})
    assert bytes_moved() - before - reading < 200
    assert sum(1 for _ in log) == n + 1
    tell('long_logs', 'a log of {:,} entries'.format(n), 'an entry more moves as many bytes as in a log of one')
