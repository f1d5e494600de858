"""The run folder: which files it holds, whose it is, and what its settings may be changed to."""

import errno
import json
import os
import types

import numpy
import pytest

import train_gaussian_mixture
from ddgm.evaluation import pictures, tasks
from ddgm.presets import ToySettings
from ddgm.runs import run_folder
from ddgm.runs.command_line import Request
from ddgm.support import files
from ddgm.support.errors import UsageError


@pytest.fixture
def folder(tmp_path):
    folder = run_folder.open_run(Request(task='gaussian_mixture', out=str(tmp_path / 'run'), device='-1'))
    folder.prepare({'device': '@numpy'})
    folder.log.keep(0)
    yield folder
    folder.unlock()


def test_what_a_run_is_held_against(tmp_path, monkeypatch):
    """Opened from where its data was and with its cache; another fingerprint is refused."""
    asked = []
    reference = types.SimpleNamespace(fingerprint='a')
    monkeypatch.setattr(pictures, 'Pictures', lambda *folder, cache: asked.append((*folder, cache)) or reference)
    data = tmp_path / 'data'
    folder = run_folder.open_run(Request(task='images', out=str(tmp_path / 'run'), data=str(data), cache='none'))
    folder.check_data('a')
    folder.prepare({'device': '@numpy'})
    folder.unlock()
    again = run_folder.read_run(tmp_path / 'run', '')
    assert again.open_reference(tasks.IMAGES) is reference
    assert asked == [(str(data), 'none')]
    reference.fingerprint = 'b'
    with pytest.raises(UsageError, match='data no longer holds the data that .*run has learned from'):
        again.open_reference(tasks.IMAGES)


def test_opening_writes_nothing(tmp_path):
    run_folder.open_run(Request(task='gaussian_mixture', out=str(tmp_path / 'run'), device='-1'))
    assert list(tmp_path.iterdir()) == []


def test_overwriting_removes_what_runs_write_and_nothing_else(folder):
    folder.log.append({'iteration': 1})
    folder.unlock()
    for name in (
            'snapshot.npz', 'snapshot_earlier.npz', 'snapshot.npz.damaged', 'snapshot.npz.123.tmp', 'samples.npz',
            'notes.txt', 'notes.123.tmp', 'figures/samples.png', 'figures/frames/000000001.png', 'figures/holiday.png'):
        (folder.path / name).write_text('x')
    again = run_folder.open_run(
        Request(task='gaussian_mixture', out=str(folder.path), device='-1', overwrite=True))
    again.prepare({'device': '@numpy'})
    again.unlock()
    left = {str(path.relative_to(folder.path)) for path in folder.path.rglob('*') if path.is_file()}
    assert left == {'notes.txt', 'notes.123.tmp', 'figures/holiday.png', 'settings.json', '.lock'}


def test_one_process_at_a_time(folder):
    """Whoever asks is refused while the folder is kept, and takes it up afterwards."""
    again = run_folder.open_run(Request(task='gaussian_mixture', out=str(folder.path), resume=True))
    with pytest.raises(UsageError, match='another process is at work'):
        again.lock()
    with pytest.raises(UsageError, match='another process is at work'):
        again.prepare({})
    folder.unlock()
    again.lock()
    assert again.why_shared() is None
    again.unlock()


def test_two_new_runs_of_one_name(tmp_path):
    """Both find no run there; the one that begins first has the folder."""
    request = Request(task='gaussian_mixture', out=str(tmp_path / 'run'))
    first, second = run_folder.open_run(request), run_folder.open_run(request)
    first.prepare({})
    first.unlock()
    with pytest.raises(UsageError, match='holds a run'):
        second.prepare({})
    second.unlock()


@pytest.mark.parametrize(('task', 'data', 'out'), [
    ('images', 'data', 'data'), ('images', 'data', 'link'), ('images', 'link', 'data/'), ('mnist', 'data', 'link'),
    ('images', 'data', 'link/run'), ('images', 'data', 'data/sub/../other/run'), ('images', 'run/figures', 'run'),
    ('images', 'run/figures/frames', 'run')])
@pytest.mark.parametrize('overwrite', [False, True])
def test_a_run_among_its_data(task, data, out, overwrite, tmp_path):
    (tmp_path / 'data').mkdir()
    (tmp_path / 'link').symlink_to(tmp_path / 'data')
    (tmp_path / 'run' / 'figures' / 'frames').mkdir(parents=True)
    with pytest.raises(UsageError, match='the folder of the data, .*: give another folder to --out$'):
        run_folder.open_run(Request(
            task=task, data=str(tmp_path / data), out=str(tmp_path / out), overwrite=overwrite))


@pytest.mark.parametrize(('task', 'data', 'out'), [
    ('mnist', '', 'run'), ('images', 'data', 'run'), ('images', 'run/data', 'run'), ('images', 'data', 'data_of_mine')])
def test_a_run_beside_its_data(task, data, out, tmp_path):
    (tmp_path / 'data').mkdir()
    run_folder.open_run(Request(task=task, data=str(tmp_path / data), out=str(tmp_path / out)))


@pytest.mark.parametrize('overwrite', [False, True])
def test_pictures_of_others_stay(tmp_path, overwrite):
    """A folder without a run may hold anything, even pictures by a name of ours; nothing is deleted unasked."""
    (tmp_path / 'figures').mkdir()
    (tmp_path / 'figures' / 'samples.png').write_text('x')
    folder = run_folder.open_run(Request(task='gaussian_mixture', out=str(tmp_path), overwrite=overwrite))
    folder.prepare({})
    folder.unlock()
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


def test_settings_of_an_earlier_version(folder):
    """It had none of what leads beyond the paper, so its runs are the paper; other settings must be there."""
    path = folder.path / 'settings.json'
    saved, settings = json.loads(path.read_text()), folder.settings
    later = settings.of_earlier_versions()
    path.write_text(json.dumps({name: value for name, value in saved.items() if name not in later}))
    assert run_folder.read_run(folder.path, '').settings == settings
    path.write_text(json.dumps({name: value for name, value in saved.items() if name != 'batchsize'}))
    with pytest.raises(UsageError, match='batchsize'):
        run_folder.read_run(folder.path, '')


def test_resumed_run_keeps_its_device(folder):
    """Unless it is given another."""
    path = folder.path / 'settings.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), 'device': '@cupy:0'}))
    for given, device in ((None, '@cupy:0'), ('-1', '-1')):
        request = Request(task='gaussian_mixture', out=str(folder.path), device=given, resume=True)
        assert run_folder.open_run(request).device == device


@pytest.mark.parametrize('content', [
    '', '{', '[]', '{"task": "gaussian_mixture"}', '{"task": []}', 100_000 * '[', 3_000_000 * ' '])
def test_unreadable_settings(folder, content):
    (folder.path / 'settings.json').write_text(content)
    with pytest.raises(UsageError, match='not the settings of a run'):
        run_folder.open_run(Request(task='gaussian_mixture', out=str(folder.path), device='-1', resume=True))


@pytest.mark.usefixtures('without_scores')
@pytest.mark.parametrize('number', [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_file_system_without_locks(number, tmp_path, monkeypatch, capsys):
    """A run goes on, and says in a line what it lacks."""
    def flock(*arguments):
        raise OSError(number, os.strerror(number))
    monkeypatch.setattr(files.fcntl, 'flock', flock)
    train_gaussian_mixture.main(['-n', '3', '-o', str(tmp_path / 'run')])
    assert (tmp_path / 'run' / 'metrics.json').exists()
    line = '{}: no locks there ({}), so two runs on this folder would not be kept apart'.format(
        tmp_path / 'run', os.strerror(number))
    assert capsys.readouterr().out.splitlines()[3] == line


def test_system_without_locks(folder, monkeypatch):
    """Windows."""
    folder.unlock()
    monkeypatch.setattr(files, 'fcntl', None)
    folder.lock()
    assert 'no locks there' in folder.why_shared()


@pytest.mark.usefixtures('without_scores')
def test_run_of_an_earlier_version_goes_on(tmp_path):
    """Neither its settings nor its snapshot tell of what leads beyond the paper."""
    folder, later = tmp_path / 'run', ToySettings.of_earlier_versions()
    train_gaussian_mixture.main(['-n', '2', '-o', str(folder)])
    saved = files.read_json(folder / 'settings.json')
    files.write_json(folder / 'settings.json', {name: value for name, value in saved.items() if name not in later})
    arrays = files.read_arrays(folder / 'snapshot.npz')
    run = json.loads(str(arrays['run']))
    assert later.keys() < run.keys()
    arrays['run'] = numpy.array(json.dumps({name: value for name, value in run.items() if name not in later}))
    del arrays['sha256']
    arrays['sha256'] = files.checksum(arrays)
    with files.open_atomically(folder / 'snapshot.npz') as file:
        files.write_arrays(file, arrays)
    train_gaussian_mixture.main(['-n', '4', '-o', str(folder), '--resume'])
    assert files.read_json(folder / 'settings.json')['iterations'] == 4
    with pytest.raises(UsageError, match='energy_penalty'):
        train_gaussian_mixture.main(['-n', '6', '-o', str(folder), '--resume', '--energy_penalty', '1'])


def test_versions_that_a_run_went_on_with(quick_script, tmp_path):
    """What it began with stays, and from which iteration on there were others is told and kept."""
    path = tmp_path / 'run' / 'settings.json'

    def resumed(iterations, numpy_was=None):
        if numpy_was:
            saved = json.loads(path.read_text())
            (saved['went_on'][-1] if 'went_on' in saved else saved)['versions']['numpy'] = numpy_was
            path.write_text(json.dumps(saved))
        result = quick_script('gaussian_mixture', '-n', iterations, '-b', '20', '-o', 'run', '--resume')
        assert result.returncode == 0, result.stderr
        return json.loads(path.read_text()), 'numpy {} in place of'.format(numpy.__version__) in result.stdout
    assert quick_script('gaussian_mixture', '-n', '2', '-b', '20', '-o', 'run').returncode == 0
    now = json.loads(path.read_text())['versions']
    saved, is_told = resumed('3')
    assert (saved['versions'], saved.get('went_on'), is_told) == (now, None, False)
    saved, is_told = resumed('4', '1.26.4')
    assert (saved['versions'], is_told) == ({**now, 'numpy': '1.26.4'}, True)
    assert saved['went_on'] == [{'iteration': 3, 'versions': now}]
    saved, is_told = resumed('5')
    assert ([part['iteration'] for part in saved['went_on']], is_told) == ([3], False)
    saved, is_told = resumed('6', '1.25.0')
    assert ([part['iteration'] for part in saved['went_on']], is_told) == ([3, 5], True)
