"""The run folder: which files it holds, whose it is, and what its settings may be changed to."""

import errno
import json
import os
import types

import numpy
import pytest
from conftest import refusal

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
    """Opened from where its data was, with its cache and in its form; another fingerprint is refused."""
    asked = []
    reference = types.SimpleNamespace(fingerprint='a')
    monkeypatch.setattr(pictures, 'Pictures', lambda *arguments: asked.append(arguments) or reference)
    data = tmp_path / 'data'
    folder = run_folder.open_run(Request(task='images', out=str(tmp_path / 'run'), data=str(data), cache='none'))
    folder.check_data('a')
    folder.prepare({'device': '@numpy'})
    folder.unlock()
    again = run_folder.read_run(tmp_path / 'run', '')
    assert again.open_reference(tasks.IMAGES) is reference
    assert asked == [(str(data), 2, 'none', 64, False)]
    reference.fingerprint = 'b'
    with pytest.raises(UsageError, match='data no longer holds the data that .*run has learned from'):
        again.open_reference(tasks.IMAGES)


def test_opening_writes_nothing(tmp_path):
    run_folder.open_run(Request(task='gaussian_mixture', out=str(tmp_path / 'run'), device='-1'))
    assert list(tmp_path.iterdir()) == []


def test_overwriting_removes_what_the_run_lists_and_nothing_else(folder):
    folder.log.append({'iteration': 1})
    for name in ('snapshot.npz', 'samples.npz', 'figures/samples.png', 'figures/own.png'):
        folder.file(name).write_text('x')
    folder.frame(1).write_text('x')
    folder.unlock()
    path = folder.path / 'settings.json'  # that somebody has edited, to files that no run writes
    saved = json.loads(path.read_text())
    path.write_text(json.dumps({**saved, 'files': [*saved['files'], 'notes.txt', '../notes.txt', 'figures/../x', 1]}))
    for name in (
            'notes.txt', '../notes.txt', 'x', 'notes.123.tmp', 'snapshot.npz.123.tmp', 'snapshot.npz.damaged',
            'figures/holiday.png', 'tensorboard/events.out.tfevents.1.host'):
        (folder.path / name).parent.mkdir(exist_ok=True)
        (folder.path / name).write_text('x')
    again = run_folder.open_run(
        Request(task='gaussian_mixture', out=str(folder.path), device='-1', overwrite=True))
    again.prepare({'device': '@numpy'})
    again.unlock()
    left = {str(path.relative_to(folder.path)) for path in folder.path.rglob('*') if path.is_file()}
    assert left == {
        'notes.txt', 'x', 'notes.123.tmp', 'snapshot.npz.damaged', 'figures/holiday.png',
        'tensorboard/events.out.tfevents.1.host', 'settings.json', '.lock'}
    assert (folder.path.parent / 'notes.txt').exists()


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


def contents(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob('*')}


@pytest.mark.parametrize('flag', ['overwrite', 'resume', None])
@pytest.mark.parametrize('files', [
    {'figures/samples.png': 'x', 'figures/curves.png': 'x', 'figures/training.gif': 'x'}, {'figures/curves.png': 'x'},
    {'samples.npz': 'x'}, {'figures/frames/000000001.png': 'x'}, {'log': '[]', 'metrics.json': '{}'},
    {'settings.json': '{"editor.fontSize": 12, "task": "x", "preset": "y"}', 'log': 'x', 'figures/energy.png': 'x'},
    {'settings.json': '[]'}, {'settings.json': '{'}])
def test_what_is_not_ours_stays(tmp_path, files, flag):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    before = contents(tmp_path)
    line = refusal(run_folder.open_run, Request(
        task='gaussian_mixture', out=str(tmp_path), **{flag: True} if flag else {}))
    if flag != 'resume':
        assert line == '{} holds {}, which is not known to be of this program: give another folder to --out'.format(
            tmp_path, 'settings.json' if 'settings.json' in files else next(iter(files)))
    assert contents(tmp_path) == before


def test_a_link_to_nothing_is_not_ours_either(tmp_path):
    (tmp_path / 'samples.npz').symlink_to('elsewhere')
    assert 'holds samples.npz' in refusal(run_folder.open_run, Request(task='gaussian_mixture', out=str(tmp_path)))


def test_a_file_that_came_during_the_run_stays(folder):
    """Whether the run would write it at its end, or another that starts over."""
    for name in ('samples.npz', 'figures/energy.png'):
        (folder.path / name).write_text('x')
        assert 'holds {}, which'.format(name) in refusal(folder.file, name)
        assert 'holds {}, which'.format(name) in refusal(run_folder.open_run, Request(
            task='gaussian_mixture', out=str(folder.path), overwrite=True))
        assert (folder.path / name).read_text() == 'x'
        (folder.path / name).unlink()


def test_a_run_may_begin_beside_other_files(tmp_path):
    """As the output of a queue, or an empty folder for figures."""
    (tmp_path / 'figures' / 'frames').mkdir(parents=True)
    (tmp_path / 'figures' / 'holiday.png').write_text('x')
    (tmp_path / 'slurm.out').write_text('x')
    folder = run_folder.open_run(Request(task='gaussian_mixture', out=str(tmp_path)))
    folder.prepare({})
    folder.unlock()
    assert (tmp_path / 'figures' / 'holiday.png').exists()
    assert (tmp_path / 'slurm.out').exists()


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


def as_jq(saved):
    """With 1 for 1.0."""
    return {name: int(value) if type(value) is float and value.is_integer() else value for name, value in saved.items()}


def as_spreadsheet(saved):
    """With 1.0 for 1."""
    return {name: float(value) if type(value) is int else value for name, value in saved.items()}


@pytest.mark.usefixtures('without_scores')
@pytest.mark.parametrize('edited', [
    lambda saved: json.dumps(as_jq(saved), sort_keys=True).encode(),
    lambda saved: json.dumps(as_spreadsheet(saved)).encode(),
    lambda saved: b'\xef\xbb\xbf' + json.dumps(saved, indent=2).encode(),
    lambda saved: json.dumps(saved, indent=1).replace('\n', '\r\n').encode(),
    lambda saved: json.dumps(saved).encode('utf-16'), lambda saved: json.dumps({'why': 'a try', **saved}).encode()])
def test_settings_that_a_tool_has_touched(tmp_path, edited):
    """The run goes on from its snapshot, and what somebody has noted there stays."""
    path = tmp_path / 'settings.json'
    train_gaussian_mixture.main(['-n', '2', '-o', str(tmp_path)])
    saved = json.loads(path.read_text())
    content = edited(saved)
    path.write_bytes(content)
    train_gaussian_mixture.main(['-n', '4', '-o', str(tmp_path), '--resume'])
    written = json.loads(path.read_text())
    assert written.pop('why', None) == ('a try' if b'why' in content else None)
    assert set(written['files']) == set(saved['files'])
    assert written == {**saved, 'iterations': 4, 'files': written['files']}
    assert [type(written[name]) for name in written] == [type(saved[name]) for name in written]
    with numpy.load(tmp_path / 'snapshot.npz') as file:
        assert int(file['iteration']) == 4


@pytest.mark.usefixtures('without_scores')
@pytest.mark.parametrize(('change', 'named'), [
    (lambda saved: saved.update(batchsize=50), 'batchsize 100, not 50'),
    (lambda saved: saved.update(sigma=1.5), 'sigma 1.0, not 1.5'),
    (lambda saved: saved.update(batchsize='100'), "batchsize is '100'"),
    (lambda saved: saved.update(n_experts=4.5), 'n_experts is 4.5'),
    (lambda saved: saved.update(sigma=float('nan')), 'sigma is nan'),
    (lambda saved: saved.pop('sigma'), 'it has no sigma')])
def test_settings_that_somebody_has_changed(tmp_path, change, named):
    """What differs is named, and nothing tells the user to throw a run away that is whole."""
    path = tmp_path / 'settings.json'
    train_gaussian_mixture.main(['-n', '2', '-o', str(tmp_path)])
    saved = json.loads(path.read_text())
    change(saved)
    path.write_text(json.dumps(saved))
    before = contents(tmp_path)
    line = refusal(train_gaussian_mixture.main, ['-n', '4', '-o', str(tmp_path), '--resume'])
    assert named in line
    assert 'settings.json' in line
    assert 'overwrite' not in line
    assert contents(tmp_path) == before


@pytest.mark.usefixtures('without_scores')
def test_run_of_an_earlier_version_goes_on(tmp_path):
    """Neither its settings nor its snapshot tell of what leads beyond the paper, and it lists no files."""
    folder, later = tmp_path / 'run', ToySettings.of_earlier_versions()
    train_gaussian_mixture.main(['-n', '2', '-o', str(folder)])
    saved = files.read_json(folder / 'settings.json')
    files.write_json(folder / 'settings.json', {
        name: value for name, value in saved.items() if name not in later and name != 'files'})
    arrays = files.read_arrays(folder / 'snapshot.npz')
    run = json.loads(str(arrays['run']))
    assert later.keys() - {*ToySettings.CHANGEABLE} < run.keys()
    arrays['run'] = numpy.array(json.dumps({name: value for name, value in run.items() if name not in later}))
    del arrays['sha256']
    arrays['sha256'] = files.checksum(arrays)
    with files.open_atomically(folder / 'snapshot.npz') as file:
        files.write_arrays(file, arrays)
    train_gaussian_mixture.main(['-n', '4', '-o', str(folder), '--resume'])
    assert files.read_json(folder / 'settings.json')['iterations'] == 4
    with pytest.raises(UsageError, match='energy_penalty'):
        train_gaussian_mixture.main(['-n', '6', '-o', str(folder), '--resume', '--energy_penalty', '1'])
    files.write_json(folder / 'settings.json', {name: value for name, value in saved.items() if name != 'files'})
    train_gaussian_mixture.main(['-n', '1', '-o', str(folder), '--overwrite'])
    assert not (folder / 'snapshot_earlier.npz').exists()


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
    saved, is_told = resumed('4', '1.0.0')
    assert (saved['versions'], is_told) == ({**now, 'numpy': '1.0.0'}, True)
    assert saved['went_on'] == [{'iteration': 3, 'versions': now}]
    saved, is_told = resumed('5')
    assert ([part['iteration'] for part in saved['went_on']], is_told) == ([3], False)
    saved, is_told = resumed('6', '1.1.0')
    assert ([part['iteration'] for part in saved['went_on']], is_told) == ([3, 5], True)
