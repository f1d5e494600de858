"""The run folder: files whole or absent, a log that survives a crash, snapshots that are refused when damaged."""

import json
import os

import chainer
import numpy
import pytest

from ddgm import run_folder
from ddgm.command_line import Request
from ddgm.errors import UsageError


class State:
    """Something with Chainer's ``serialize``."""

    def __init__(self, value):
        self.value = value

    def serialize(self, serializer):
        self.value = serializer('value', self.value)


@pytest.fixture
def folder(tmp_path):
    folder = run_folder.open_run(Request(task='gaussian_mixture', out=str(tmp_path / 'run'), device='-1'))
    folder.prepare({'device': '@numpy'})
    folder.keep_log([])
    return folder


def test_opening_writes_nothing(tmp_path):
    run_folder.open_run(Request(task='gaussian_mixture', out=str(tmp_path / 'run'), device='-1'))
    assert list(tmp_path.iterdir()) == []


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / 'file'
    path.write_text('old')

    def write_and_fail():
        with run_folder.open_atomically(path) as file:
            file.write(b'half of the ne')
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        write_and_fail()
    assert path.read_text() == 'old'
    assert os.listdir(tmp_path) == ['file']


def test_log_is_a_json_list_at_all_times(folder):
    entries = [{'iteration': i, 'energy/loss': i / 3} for i in range(1, 6)]
    for n, entry in enumerate(entries, 1):
        folder.append_log(entry)
        assert json.loads((folder.path / 'log').read_text()) == entries[:n]
    assert folder.entries == folder.read_log() == entries
    folder.keep_log(entries[:2])
    folder.append_log(entries[4])
    assert json.loads((folder.path / 'log').read_text()) == [entries[0], entries[1], entries[4]]


@pytest.mark.parametrize('missing', [1, 3, 10, 40])
def test_log_cut_short(folder, missing):
    for i in range(1, 4):
        folder.append_log({'iteration': i, 'energy/loss': 0.25})
    path = folder.path / 'log'
    path.write_bytes(path.read_bytes()[:-missing])
    entries = folder.read_log()
    assert len(entries) >= 2
    assert entries == [{'iteration': i, 'energy/loss': 0.25} for i in range(1, len(entries) + 1)]


@pytest.mark.parametrize('line', ['[3]', '7', '{"epoch": 3}', '{"iteration": "3"}'])
def test_log_that_others_wrote_to(folder, line):
    folder.append_log({'iteration': 1})
    path = folder.path / 'log'
    path.write_text(path.read_text().replace('\n]', ',\n{}\n]'.format(line)))
    assert folder.read_log() == [{'iteration': 1}]


def test_log_that_is_not_there(folder):
    (folder.path / 'log').unlink()
    assert folder.read_log() == []


def test_snapshot_round_trip(folder):
    state = State(numpy.arange(5.0))
    assert not folder.load(run_folder.SNAPSHOT, state, run_folder.START_OVER)
    folder.save('snapshot.npz', state)
    other = State(numpy.zeros(5))
    assert folder.load(run_folder.SNAPSHOT, other, run_folder.START_OVER)
    numpy.testing.assert_array_equal(other.value, numpy.arange(5.0))


@pytest.mark.parametrize('damage', ['truncated', 'empty', 'other keys', 'other shape', 'pickle', 'npy'])
def test_damaged_snapshot_is_one_clear_error(folder, damage):
    path = folder.path / 'snapshot.npz'
    folder.save('snapshot.npz', State(numpy.arange(5.0)))
    if damage == 'truncated':
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == 'empty':
        path.write_bytes(b'')
    elif damage == 'other keys':
        numpy.savez(path, other=1)
    elif damage == 'other shape':
        numpy.savez(path, value=numpy.zeros(7))
    elif damage == 'npy':
        with open(path, 'wb') as file:
            numpy.save(file, numpy.arange(5.0))
    else:
        numpy.savez(path, value=numpy.array({'a': 1}, dtype=object))
    with pytest.raises(UsageError, match='start over with --overwrite') as caught:
        folder.load(run_folder.SNAPSHOT, State(numpy.zeros(5)), run_folder.START_OVER)
    assert str(path) in str(caught.value)
    assert '\n' not in str(caught.value)


def test_overwriting_removes_what_runs_write_and_nothing_else(folder):
    folder.append_log({'iteration': 1})
    chainer.serializers.save_npz(folder.path / 'snapshot.npz', chainer.links.Linear(2, 2))
    for name in ('notes.txt', 'figures/samples.png', 'figures/frames/000000001.png', 'figures/holiday.png'):
        (folder.path / name).write_text('x')
    again = run_folder.open_run(
        Request(task='gaussian_mixture', out=str(folder.path), device='-1', overwrite=True))
    again.prepare({'device': '@numpy'})
    left = {str(path.relative_to(folder.path)) for path in folder.path.rglob('*') if path.is_file()}
    assert left == {'notes.txt', 'figures/holiday.png', 'settings.json'}


@pytest.mark.parametrize('overwrite', [False, True])
def test_pictures_of_others_stay(tmp_path, overwrite):
    """A folder without a run may hold anything, even pictures by a name of ours; nothing is deleted unasked."""
    (tmp_path / 'figures').mkdir()
    (tmp_path / 'figures' / 'samples.png').write_text('x')
    run_folder.open_run(
        Request(task='gaussian_mixture', out=str(tmp_path), overwrite=overwrite)).prepare({})
    assert (tmp_path / 'figures' / 'samples.png').exists()


def test_frames_are_one_an_interval_and_the_last(folder):
    """Neither what a lost part of the run drew, nor the last one of a run that was extended."""
    assert folder.settings.figure_interval == 200
    for iteration in (200, 300, 400, 450, 600):
        folder.frame(iteration).write_text('x')
    (folder.path / 'figures' / 'frames' / 'holiday.png').write_text('x')
    assert [int(path.stem) for path in folder.frames(450)] == [200, 400, 450]
    assert [int(path.stem) for path in folder.frames(500)] == [200, 400]


def test_settings_explain_the_run(folder):
    settings = json.loads((folder.path / 'settings.json').read_text())
    assert settings['task'] == 'gaussian_mixture'
    assert settings['preset'] == 'default'
    assert settings['energy_learning_rate'] == 2e-4
    assert settings['device'] == '@numpy'
    resumed = run_folder.open_run(
        Request(task='gaussian_mixture', out=str(folder.path), device='-1', resume=True, changes={'iterations': 77}))
    assert resumed.settings.iterations == 77
    assert resumed.settings.energy_learning_rate == 2e-4


@pytest.mark.parametrize(('name', 'value'), [
    ('batchsize', '20'), ('batchsize', 0), ('sigma', None), ('n_hidden', -1), ('iterations', 12.5), ('seed', True)])
def test_settings_changed_by_hand(folder, name, value):
    path = folder.path / 'settings.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with pytest.raises(UsageError, match=name):
        run_folder.open_run(Request(task='gaussian_mixture', out=str(folder.path), resume=True))


def test_resumed_run_keeps_its_device(folder):
    """Unless it is given another."""
    path = folder.path / 'settings.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), 'device': '@cupy:0'}))
    for given, device in ((None, '@cupy:0'), ('-1', '-1')):
        request = Request(task='gaussian_mixture', out=str(folder.path), device=given, resume=True)
        assert run_folder.open_run(request).device == device


@pytest.mark.parametrize('content', ['', '{', '[]', '{"task": "gaussian_mixture"}'])
def test_unreadable_settings(folder, content):
    (folder.path / 'settings.json').write_text(content)
    with pytest.raises(UsageError, match='not the settings of a run'):
        run_folder.open_run(Request(task='gaussian_mixture', out=str(folder.path), device='-1', resume=True))
