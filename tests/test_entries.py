"""What can be compared, read from its files: runs, samples, logs, folders of them, and what is none of these."""

import json
import pickle
import sys

import numpy
import pytest

from ddgm.compare import entries
from ddgm.runs import run_folder
from ddgm.runs.command_line import Request
from ddgm.support.errors import UsageError

LOG = 'epoch,e_loss\n1,2\n2,3\n'


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def save(tmp_path):
    """Save an array, or a text, under a name and return it; folders are made."""
    def save(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(content)
        elif isinstance(content, dict):
            numpy.savez(path, **content)
        else:
            numpy.save(path, content)
        return content
    return save


def points(n, start=0):
    """n different points."""
    return numpy.arange(start, start + 2 * n, dtype=numpy.float32).reshape(n, 2)


def make_run(path, task='gaussian_mixture', log=(), x=None, metrics=None, data=None, fingerprint=None, **changes):
    """A run folder with what is given."""
    folder = run_folder.open_run(Request(task=task, out=str(path), data=data and str(data), changes=changes))
    folder.check_data(fingerprint)
    folder.prepare({'device': '@numpy'})
    if log:
        folder.log.keep(0)
    for entry in log:
        folder.log.append(entry)
    folder.unlock()
    if x is not None:
        folder.write_samples(x, numpy.zeros((len(x), 4)))
    if metrics is not None:
        (folder.path / 'metrics.json').write_text(metrics if isinstance(metrics, str) else json.dumps(metrics))


def read_one(*arguments):
    entry, = entries.read(arguments)
    return entry


def names_of(*arguments):
    return [entry.name for entry in entries.read(arguments)]


def refusal(*arguments):
    """The one line with which something is refused."""
    with pytest.raises(UsageError) as caught:
        entries.read(arguments)
    assert '\n' not in str(caught.value)
    return str(caught.value)


# ---- one path

def test_run(tmp_path, monkeypatch):
    x = points(10)
    make_run('result/a', log=[{'iteration': 5, 'energy/loss': 1.5}], x=x, metrics={'iterations': 7}, seed=3)
    for argument in ('result/a', 'result/a/', str(tmp_path / 'result' / 'a'), '.'):
        monkeypatch.chdir(tmp_path / 'result/a' if argument == '.' else tmp_path)
        entry = read_one(argument)
        assert (entry.name, entry.iterations) == ('a', 7)
        assert (entry.run.task, entry.run.settings.seed) == ('gaussian_mixture', 3)
        numpy.testing.assert_array_equal(entry.x, x)
        log, = entry.logs
        assert (log.unit, [*log.x], [*log.values['energy/loss']]) == ('iteration', [5], [1.5])
        assert len(entry.sources) == 1


@pytest.mark.parametrize('metrics', [None, '', '{', '[]', '{}', '{"iterations": null}', '{"iterations": "many"}'])
def test_run_without_a_part(metrics):
    """What is missing, or can't be read, is missing."""
    make_run('a', metrics=metrics)
    entry = read_one('a')
    assert entry.run.task == 'gaussian_mixture'
    assert (entry.x, entry.logs, entry.iterations) == (None, [], None)


def test_damaged_run(save):
    make_run('a')
    save('a/samples.npz', 'text')
    assert 'a/samples.npz' in refusal('a')
    save('a/settings.json', '{"task": "gaussian_mixture"')
    assert 'a/settings.json' in refusal('a')


def test_samples_and_log(save):
    x = save('deep/s.npy', points(300))
    save('deep/m.csv', LOG)
    samples, log = entries.read(['deep/s.npy', 'my log=deep/m.csv'])
    assert (samples.name, samples.sources, samples.run, samples.logs) == ('s', ['deep/s.npy'], None, [])
    numpy.testing.assert_array_equal(samples.x, x)
    assert (log.name, log.sources, log.run, log.x) == ('my log', ['deep/m.csv'], None, None)
    assert [log.x for log in log.logs] == [[1, 2]]


def test_log_of_chainer(save):
    """Its file is called log whatever the run is."""
    save('result/b/log', '[{"iteration": 100, "main/loss": 0.5}]')
    assert names_of('result/b/log', 't=result/b/log') == ['b', 't']
    make_run('a', log=[{'iteration': 5, 'energy/loss': 1.5}])
    run, log = entries.read(['a', 't=a/log'])
    assert run.logs[0].points('energy/loss') == log.logs[0].points('energy/loss') == ([5], [1.5])
    assert names_of('a', 'a/log') == ['a', 'a/log: a']


def test_suffixes_in_capitals(save):
    save('LOSS.CSV', LOG)
    save('theirs/LOSS.JSON', '{"epoch": [1, 2], "e_loss": [2, 3]}')
    for argument, name in (('LOSS.CSV', 'LOSS'), ('theirs/LOSS.JSON', 'LOSS'), ('theirs', 'LOSS')):
        entry = read_one(argument)
        assert (entry.name, [log.x for log in entry.logs]) == (name, [[1, 2]])
    save('folder/LABELS.TSV', 'name\tlabel\na\tb\n')
    assert 'folder/LABELS.TSV: has no rows' in refusal('folder')


def test_log_of_several_experiments(save):
    save('m.csv', 'exp_name,epoch,e_loss\na,1,2\nb,1,3\na,2,4\n')
    a, b = entries.read(['m.csv'])
    assert (a.name, a.logs[0].x, a.sources) == ('a', [1, 2], ['m.csv'])
    assert (b.name, b.logs[0].x, b.sources) == ('b', [1], ['m.csv'])


# ---- names

@pytest.mark.parametrize(('argument', 'name', 'n'), [
    ('lr=0.1=s.npy', 'lr=0.1', 10), ('a=b=s.npy', 'a', 20), ('b=s.npy', 'b=s', 20), ('c=c=b=s.npy', 'c=c', 20),
    ('lr=0.2', 'lr=0.2', 30)])
def test_equals_signs(argument, name, n, save):
    """The path is what exists; the longest, where several do."""
    for path, length in (('s.npy', 10), ('b=s.npy', 20), ('lr=0.2/s.npy', 30)):
        save(path, points(length))
    entry = read_one(argument)
    assert (entry.name, len(entry.x)) == (name, n)


@pytest.mark.parametrize(('argument', 'name'), [
    ('~/a=b.npy', 'a=b'), ('lr=0.1=~/a=b.npy', 'lr=0.1'), ('theirs=~/c', 'theirs'), ('x~.npy', 'x~')])
def test_home_folder(argument, name, save, monkeypatch, tmp_path):
    """``~`` in any path, for no shell replaces that of ``NAME=~/x``."""
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    monkeypatch.setenv('USERPROFILE', str(tmp_path / 'home'))  # Windows
    for file in ('home/a=b.npy', 'home/c/d.npy', 'x~.npy'):
        save(file, points(10))
    assert names_of(argument) == [name]
    assert refusal('~/nowhere.npy') == '{}: there is no such file or folder'.format(tmp_path / 'home' / 'nowhere.npy')


def test_same_name_is_one_entry(save):
    make_run('a', log=[{'iteration': 5, 'energy/loss': 1.5}], metrics={'iterations': 7})
    x = save('s.npy', points(10))
    save('m.csv', LOG)
    for order in (['t=a', 't=s.npy', 't=m.csv'], ['t=m.csv', 't=s.npy', 't=a']):
        entry = read_one(*order)
        assert (entry.name, entry.sources) == ('t', [argument[2:] for argument in order])
        assert (entry.run.task, entry.iterations, len(entry.logs)) == ('gaussian_mixture', 7, 2)
        numpy.testing.assert_array_equal(entry.x, x)


def test_two_sets_of_samples_can_not_have_one_name(save):
    save('s.npy', points(10))
    save('t.npy', points(20))
    make_run('a', x=points(10))
    make_run('b')
    make_run('c')
    for arguments in (('t=s.npy', 't=t.npy'), ('t=a', 't=s.npy'), ('t=b', 't=c'), ('t=s.npy', 't=s.npy')):
        message = refusal(*arguments)
        assert message.startswith('t: ')
        assert 'NAME=PATH' in message


def test_same_name_unasked_is_told_apart(save):
    """Two programs often call their file the same: each keeps its column."""
    for folder in 'ab':
        save(folder + '/s.npy', points(10))
        save(folder + '/m.csv', LOG)
    assert names_of('a/s.npy', 'b/s.npy', 'a/m.csv', 'b/m.csv') == ['a/s.npy', 'b/s.npy', 'a/m.csv', 'b/m.csv']
    assert names_of('s=a/s.npy', 'b/s.npy') == ['s', 'b/s.npy']
    assert names_of('a/s.npy', 't=a/s.npy') == ['s', 't']
    assert refusal('a/s.npy', 'a/s.npy') == 'a/s.npy: given twice: leave one out'
    assert names_of('b/s.npy', 's=a/s.npy') == ['b/s.npy', 's']
    make_run('x/run')
    make_run('y/run')
    assert names_of('x/run', 'y/run') == ['x/run', 'y/run']


def test_event_files_without_their_package(save, monkeypatch, capsys):
    """Beside samples they are passed over, in the folder as in one below; alone they are refused."""
    monkeypatch.setitem(sys.modules, 'tensorboard.backend.event_processing.event_file_loader', None)
    save('theirs/s.npy', points(10))
    for folder in ('theirs', 'theirs/runs', 'alone'):
        save(folder + '/events.out.tfevents.1.host', 'events')
    assert (len(read_one('theirs').x), read_one('theirs').logs) == (10, [])
    assert [line.split(':')[1] for line in capsys.readouterr().out.splitlines()] == [' theirs/runs', ' theirs'] * 2
    assert 'pip install tensorboard' in refusal('alone')


def test_same_experiments_in_two_files(save):
    """Each name still says which experiment it is."""
    for name in ('one.csv', 'two.csv'):
        save(name, 'exp_name,epoch,e_loss\nring,1,2\ngrid,1,3\n')
    names = names_of('one.csv', 'two.csv')
    assert len(set(names)) == 4
    for name, file, experiment in zip(names, ('one', 'one', 'two', 'two'), ('ring', 'grid', 'ring', 'grid')):
        assert file in name
        assert experiment in name


def test_named_folder_and_named_log_of_several(save):
    save('f/a.npy', points(300))
    save('f/b.npy', points(300))
    save('m.csv', 'exp_name,epoch,e_loss\na,1,2\nc,1,3\n')
    found = entries.read(['t=f', 't=m.csv'])
    assert [entry.name for entry in found] == ['t/a', 't/b', 't/c']
    assert [len(entry.logs) for entry in found] == [1, 0, 1]


# ---- folders

def test_folder_of_one_file(save):
    x = save('theirs/samples.npy', points(100))
    for name, argument in (('theirs', 'theirs'), ('theirs', 'theirs/'), ('t', 't=theirs')):
        entry = read_one(argument)
        assert entry.name == name
        assert entry.sources[0].startswith('theirs')
        numpy.testing.assert_array_equal(entry.x, x)


@pytest.mark.parametrize('names', [
    ['1.npy', '2.npz', '3.npy'], ['batch_009.npy', 'batch_010.npy', 'batch_011.npy'],
    ['samples9.npz', 'samples10.npz', 'samples11.npz'], ['0_of_3.npy', '1_of_3.npy', '2_of_3.npy'],
    ['x_0.npy', 'x_1.npy', 'x_7.npy'],
    ['Epoch 5 part 0.npy', 'Epoch 5 part 1.npy', 'Epoch 5 part 2.npy']])
def test_folder_of_batches(names, save, capsys):
    """Names that are alike but for a number that counts: parts of one set, in the number's order."""
    parts = [points(1000), points(1000, start=2000), points(8, start=4000)]
    for name, x in zip(names, parts):
        save('theirs/' + name, {'x': x, 'z': numpy.zeros(len(x))} if name.endswith('z') else x)
    entry = read_one('theirs')
    assert entry.name == 'theirs'
    numpy.testing.assert_array_equal(entry.x, numpy.concatenate(parts))
    source = '{} to {} (3 files)'.format(names[0], names[2])
    assert entry.sources == ['theirs/' + source]
    assert capsys.readouterr().out == 'theirs: taken for one set: 2,008 samples of {}\n'.format(source)


@pytest.mark.parametrize('names', [
    ['a', 'b', 'c'], ['epoch_1', 'epoch_2', 'epoch_3'], ['seed0', 'seed1', 'seed2'],
    ['epoch=1-step=1', 'epoch=1-step=2', 'epoch=1-step=3'], ['lr0.1', 'lr0.2', 'lr0.3'],
    ['x_1000', 'x_2000', 'x_3000'], ['iter 5', 'iter 6', 'iter 7'], ['model1', 'model2', 'model3'],
    ['run-1', 'run-2', 'run-3']])
def test_folder_of_sets(names, save, capsys):
    """Other names, and numbers of what makes a set each."""
    for name in reversed(names):
        save('theirs/{}.npy'.format(name), points(20))
    found = entries.read(['theirs'])
    assert [entry.name for entry in found] == names
    assert [entry.sources for entry in found] == [['theirs/{}.npy'.format(name)] for name in names]
    assert capsys.readouterr().out == 'theirs: taken for 3 sets, a column each: {}\n'.format(
        ', '.join('20 samples of {}.npy'.format(name) for name in names))
    assert names_of('t=theirs') == ['t/' + name for name in names]


def test_folder_of_several_series(save, capsys):
    """Of two epochs the batches each, a set alone, and parts that can't belong together."""
    for epoch in (1, 2):
        for part in range(3):
            save('theirs/epoch_{}_part_{}.npy'.format(epoch, part), points(10 * epoch))
    save('theirs/epoch_1_part_3.npy', (255 * points(10)).astype(int))
    save('theirs/alone.npy', points(7))
    assert [(entry.name, len(entry.x)) for entry in entries.read(['theirs'])] == [
        ('alone', 7), ('epoch_1_part_*', 30), ('epoch_1_part_3', 10), ('epoch_2_part_*', 60)]
    assert capsys.readouterr().out == (
        'theirs: taken for 4 sets, a column each: 7 samples of alone.npy, 30 samples of epoch_1_part_0.npy to '
        'epoch_1_part_2.npy (3 files), 10 samples of epoch_1_part_3.npy, 60 samples of epoch_2_part_0.npy to '
        'epoch_2_part_2.npy (3 files)\n')
    assert [entry.name for entry in entries.read(['t=theirs'])][1] == 't/epoch_1_part_*'


@pytest.mark.parametrize(('samples', 'logs', 'expected'), [
    ('0', 'metrics m', [('theirs', 10, 2)]), ('0 1 2', 'metrics', [('theirs', 30, 1)]),
    ('a b', 'metrics', [('a', 10, 0), ('b', 10, 0), ('metrics', None, 1)]),  # nobody knows whose it is
    ('', 'a b', [('a', None, 1), ('b', None, 1)])])
def test_logs_beside_samples(samples, logs, expected, save):
    for name in samples.split():
        save('theirs/{}.npy'.format(name), points(10))
    for name in logs.split():
        save('theirs/{}.csv'.format(name), LOG)
    assert [(entry.name, None if entry.x is None else len(entry.x), len(entry.logs))
            for entry in entries.read(['theirs'])] == expected


def test_logs_that_are_named_after_their_samples(save):
    for name in 'ab':
        save('theirs/{}.npy'.format(name), points(300))
        save('theirs/{}.csv'.format(name), LOG)
    found = entries.read(['t=theirs'])
    assert [(entry.name, len(entry.x), len(entry.logs)) for entry in found] == [('t/a', 300, 1), ('t/b', 300, 1)]


def test_samples_below_an_output_folder(save, capsys):
    """Where the folder has none of its own: of each series of epochs the last set, of seeds all."""
    for epoch in (2, 9, 10):
        save('final/samples/epoch_{}.npy'.format(epoch), points(10, start=epoch))
        save('final/samples/seed1_epoch_{:03}.npy'.format(epoch), points(20, start=epoch))
        save('final/samples/seed2_epoch_{:03}.npy'.format(epoch), points(30, start=epoch))
    save('final/samples/notes.txt', 'text')
    save('final/metrics.csv', LOG)
    save('final/checkpoints/latest.pt', 'weights')
    found = entries.read(['theirs=final'])
    assert [(entry.name, 0 if entry.x is None else len(entry.x)) for entry in found] == [
        ('theirs/epoch_10', 10), ('theirs/seed1_epoch_010', 20), ('theirs/seed2_epoch_010', 30), ('theirs/metrics', 0)]
    for entry in found[:3]:
        numpy.testing.assert_array_equal(entry.x, points(len(entry.x), start=10))
    assert found[0].sources == ['final/samples/epoch_10.npy']
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        'final/samples: of 3 sets that are numbered, as of epochs, the last is taken: {}.npy'.format(name)
        for name in ('epoch_10', 'seed1_epoch_010', 'seed2_epoch_010')]
    assert lines[4:] == ['final/samples: 1 passed over: notes.txt', 'final: 1 passed over: checkpoints/']
    save('final/own.npy', points(7))
    assert len(read_one('theirs=final').x) == 7
    assert capsys.readouterr().out == 'final: 2 passed over: checkpoints/, samples/\n'


def test_parts_below_an_output_folder(save, capsys):
    """Parts of one set are not epochs; a folder of nothing that is known is passed over."""
    for i in (1, 2, 10):
        save('a/samples/{}.npy'.format(i), points(10, start=i))
    numpy.testing.assert_array_equal(
        read_one('a').x, numpy.concatenate([points(10, start=i) for i in (1, 2, 10)]))
    assert capsys.readouterr().out == 'a/samples: taken for one set: 30 samples of 1.npy to 10.npy (3 files)\n'
    save('b/samples/notes.txt', 'text')
    assert 'but samples/: ' in refusal('b')
    save('b/metrics.csv', LOG)
    assert read_one('b').x is None
    assert capsys.readouterr().out == 'b: 1 passed over: samples/\n'


def test_json_files_of_a_folder(save, capsys):
    """Most are no logs: those are named and passed over."""
    save('theirs/a.npy', points(10))
    save('theirs/parameters.json', '{"learning_rate": 1}')
    save('theirs/metrics.jsonl', '{"step": 1, "e_loss": 2}\n')
    entry = read_one('theirs')
    assert (entry.sources, entry.logs[0].x) == (['theirs/a.npy', 'theirs/metrics.jsonl'], [1])
    assert capsys.readouterr().out.startswith('Passed over: theirs/parameters.json: has no rows with a column')
    save('others/parameters.json', '{"learning_rate": 1}')
    assert 'others' in refusal('others')


def test_other_files_of_a_folder_are_named(save, tmp_path, capsys):
    for name in ('curves.tfrecord', 'notes.txt', 'model.pt', 'deeper/b.npy', '.hidden'):
        save('theirs/' + name, 'text' if '.npy' not in name else points(10))
    (tmp_path / 'theirs' / 'folder.npy').mkdir()
    message = refusal('theirs')
    assert message.startswith('theirs: holds neither a run nor samples (*.npy,')
    assert 'but deeper/, folder.npy/, curves.tfrecord, model.pt, notes.txt: ' in message
    assert capsys.readouterr().out == ''
    save('theirs/a.npy', points(20))
    save('theirs/labels.npy', numpy.arange(20))
    save('theirs/plot.png', 'no picture at all')
    assert len(read_one('theirs').x) == 20
    assert capsys.readouterr().out == (
        'theirs: 7 passed over: deeper/, folder.npy/, curves.tfrecord, labels.npy, model.pt and 2 more\n')


@pytest.mark.parametrize('name', ['losses.csv', 'metrics.json', 'log'])
def test_log_that_is_a_pointer(name, save):
    save(name, 'version https://git-lfs.github.com/spec/v1\n')
    assert refusal(name) == (
        name + ': can\'t be read as a log (a pointer of Git LFS: "git lfs pull" brings the file): leave it out')


def test_folder_with_names_of_a_run(save, capsys):
    save('theirs/samples.npz', {'x': points(20)})
    save('theirs/energy_model.npz', {'V': points(30)})
    assert len(entries.read(['theirs'], task='swiss_roll')[0].x) == 20
    assert capsys.readouterr().out.splitlines() == [
        'theirs: no run of this program, since it has no settings.json: only samples and logs are read',
        'theirs: 1 passed over: energy_model.npz']


def test_folder_of_what_is_no_samples(save):
    save('theirs/labels.npy', numpy.arange(20))
    assert refusal('theirs').startswith('theirs/labels.npy: samples are numbers of the shape (N, …)')
    save('theirs/m.csv', LOG)
    assert read_one('theirs').x is None


def test_several_files_whose_arrays_are_guessed(save, capsys):
    """One line for all."""
    for i in range(8):
        save('theirs/{}.npz'.format(i), {'images': points(3), 'labels': numpy.arange(3)})
    assert len(read_one('theirs').x) == 24
    assert capsys.readouterr().out.splitlines() == [
        'theirs: 0.npz, 1.npz, 2.npz, 3.npz, 4.npz and 3 more: its array images is taken for the samples, not labels',
        'theirs: taken for one set: 24 samples of 0.npz to 7.npz (8 files)']


# ---- arrays

@pytest.mark.parametrize('arrays', [
    {'x': points(10)}, {'samples': points(10)}, {'arr_0': points(10)},
    {'z': points(12), 'x': points(10), 'labels': numpy.arange(10)}])
def test_npz(arrays, save):
    save('s.npz', arrays)
    entry = read_one('s.npz')
    assert entry.name == 's'
    numpy.testing.assert_array_equal(entry.x, points(10))


@pytest.mark.parametrize(('arrays', 'said'), [
    ({'samples': points(10), 'labels': numpy.arange(10)}, 'samples is taken for the samples, not labels'),
    ({'arr_0': points(10), 'arr_1': numpy.arange(10)}, 'arr_0 is taken for the samples, not arr_1'),
    ({'seed': 3, 'who': 'me', 'fake': points(10)}, 'fake is taken for the samples, not seed, who'),
    ({'z': points(12), 'samples': points(10)}, 'samples is taken for the samples, not z')])
def test_npz_of_which_one_array_can_be_samples(arrays, said, save, capsys):
    save('s.npz', arrays)
    numpy.testing.assert_array_equal(read_one('s.npz').x, points(10))
    assert capsys.readouterr().out == 's.npz: its array {}\n'.format(said)


def test_npz_of_which_no_array_is_meant(save):
    save('s.npz', {'fake': points(10), 'real': points(11)})
    assert refusal('s.npz') == (
        's.npz: the samples have to be its array x, or samples, and it has fake (float32 of the shape (10, 2)), '
        'real (float32 of the shape (11, 2))')
    save('s.npz', {'a': numpy.arange(3), 'b': numpy.arange(4)})
    assert 'a (int64 of the shape (3,)), b' in refusal('s.npz')
    save('s.npz', {})
    assert 'none' in refusal('s.npz')


POINTS_AND_MORE = {'points': points(10), 'labels': numpy.arange(10), 'z': numpy.zeros((10, 4))}


@pytest.mark.parametrize(('task', 'other'), [
    ('gaussian_mixture', {}), ('swiss_roll', {'images': numpy.zeros((10, 28, 28))}), ('points', {})])
def test_only_array_of_points(task, other, save, capsys):
    """In the plane it is meant, in a file as in a folder, and where a run says what the task is."""
    save('s.npz', {**POINTS_AND_MORE, **other})
    save('theirs/s.npz', {**POINTS_AND_MORE, **other})
    said = 's.npz: its array points is taken for the samples, not {}\n'.format(', '.join(['labels', 'z', *other]))
    for path in ('s.npz', 'theirs'):
        entry, = entries.read([path], task=task)
        numpy.testing.assert_array_equal(entry.x, points(10))
    assert capsys.readouterr().out == said + 'theirs: ' + said
    if task != 'points':
        make_run('run', task=task)
        for order in (['s.npz', 'run'], ['run', 't=s.npz']):
            assert sorted(len(entry.x) for entry in entries.read(order) if entry.x is not None) == [10]
        assert capsys.readouterr().out == 2 * said


@pytest.mark.parametrize(('task', 'arrays'), [
    ('mnist', POINTS_AND_MORE), (None, POINTS_AND_MORE), ('swiss_roll', {**POINTS_AND_MORE, 'w': points(3)}),
    ('swiss_roll', {'a': numpy.zeros((10, 4)), 'b': numpy.zeros((10, 3))})])
def test_no_array_of_points(task, arrays, save):
    """Of another task, of none, two of them, none."""
    save('s.npz', arrays)
    with pytest.raises(UsageError, match='its array x, or samples, and it has') as caught:
        entries.read(['s.npz'], task=task)
    for name, x in arrays.items():
        assert '{} ({} of the shape {})'.format(name, x.dtype, x.shape) in str(caught.value)


@pytest.mark.parametrize('dtype', ['f2', '>f8', 'u1', 'bool'])
def test_numbers_are_left_as_they_are(dtype, save):
    x = save('s.npy', numpy.array([[0, 1], [1, 1], [1, 0]], dtype=dtype))
    entry = read_one('s.npy')
    assert entry.x.dtype == x.dtype
    numpy.testing.assert_array_equal(entry.x, x)


@pytest.mark.parametrize('x', [
    points(10) + 1j, numpy.array([['a', 'b'], ['c', 'd']]), numpy.zeros((3, 2), dtype='M8[s]'),
    numpy.zeros((3, 2), dtype=[('a', 'f4')]), numpy.zeros((0, 2)), numpy.zeros((10, 0)), numpy.zeros(()),
    numpy.zeros(30), numpy.zeros(0)], ids=lambda x: '{} {}'.format(x.dtype.kind, x.shape))
def test_arrays_that_are_no_samples(x, save):
    save('s.npy', x)
    message = refusal('s.npy')
    assert 's.npy' in message
    assert str(x.shape) in message
    assert str(x.dtype) in message


@pytest.mark.parametrize('value', [numpy.nan, numpy.inf, -numpy.inf])
def test_samples_that_are_not_finite(value, save):
    x = points(1200)
    x[[3, 700], 1] = value
    x[3, 0] = value
    save('s.npy', x)
    message = refusal('s.npy')
    assert 's.npy' in message
    assert '2 of 1,200' in message


@pytest.mark.parametrize(('content', 'words'), [
    (lambda path: numpy.save(path, numpy.array([[1.0, None]], dtype=object)), 'a pickle of Python objects'),
    (lambda path: path.write_bytes(pickle.dumps(points(10).tolist())), 'it is a pickle'),
    (lambda path: path.write_text('0.5 0.25\n'), 'it is neither an .npy nor an .npz file'),
    (lambda path: path.write_text('version https://git-lfs.github.com/spec/v1\n'), '"git lfs pull" brings the file'),
    (lambda path: path.write_bytes(b''), 'it is neither')])
def test_files_that_are_no_arrays(content, words, tmp_path):
    """Nothing is unpickled."""
    content(tmp_path / 's.npy')
    message = refusal('s.npy')
    assert message.startswith("s.npy: can't be read as samples (")
    assert words in message
    assert "numpy.save('samples.npy', x)" in message


def changed(content, place, new):
    return content[:place] + new + content[place + len(new):]


def with_flag(content, place, flag):
    """With a bit in the archive's list of its parts."""
    place += content.index(b'PK\1\2')
    return changed(content, place, bytes([content[place] | flag]))


@pytest.mark.parametrize(('name', 'damaged'), [
    ('s.npy', lambda content: content[:-100]), ('s.npy', lambda content: content[:40]),
    ('s.npy', lambda content: content.replace(b'}', b' ')), ('s.npz', lambda content: content[:-100]),
    ('s.npz', lambda content: changed(content, 300, bytes(20))),
    ('s.npz', lambda content: changed(content, 60, bytes(20))),
    ('s.npz', lambda content: with_flag(content, 8, 1)),  # a password
    ('s.npz', lambda content: with_flag(content, 10, 99)),  # packed in another way
    ('s.npz', lambda content: content.replace(b'x.npy', b'x.txt'))])
def test_damaged_arrays(name, damaged, tmp_path):
    path = tmp_path / name
    numpy.savez_compressed(path, x=points(200)) if name == 's.npz' else numpy.save(path, points(200))
    path.write_bytes(damaged(path.read_bytes()))
    assert refusal(name).startswith(name + ": can't be read as samples (")


# ---- what is none of these

@pytest.mark.parametrize(('name', 'words'), [
    ('=s.npy', []), ('theirs=', []), ('', []),  # what an unset variable of the shell leaves
    ('nowhere', ['nowhere', 'no such file']), ('t=nowhere.npy', ['nowhere.npy', 'no such file']),
    ('s.npy/x', ['s.npy/x', 'no such file']), ('empty', ['empty', '.npy', '.csv']),
    ('lr=0.1=nowhere.npy', ['lr=0.1=nowhere.npy: there is no such file', 'NAME=PATH']),
    ('theirs.pt', ['theirs.pt', 'run folder', '*.npz', '*.png', '*.csv', 'numpy.save']),
    ('picture.png', ['picture.png', "can't be read as a picture"]),
    pytest.param('x' * 5000, ['xxx'], id='too long')])
def test_other_paths(name, words, save, tmp_path):
    save('s.npy', points(10))
    save('picture.png', 'picture')
    save('theirs.pt', 'weights')
    (tmp_path / 'empty').mkdir()
    message = refusal(name)
    for word in words:
        assert word in message


def test_folder_that_can_not_be_read(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, 'Permission denied', str(self))
    (tmp_path / 'theirs').mkdir()
    monkeypatch.setattr(entries.pathlib.Path, 'iterdir', refuse)
    assert 'theirs' in refusal('theirs')
