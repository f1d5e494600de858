"""``python -m ddgm.compare`` from end to end: one reference, one N, the table, the JSON file, the picture."""

import json
import os
import re
import shutil
import subprocess
import sys
import types

import numpy
import pytest
from conftest import HANGS_AFTER, ROOT, refusal
from PIL import Image
from test_entries import make_run
from test_image_scripts import METRICS as IMAGE_METRICS
from test_scripts import METRICS as PLANE_METRICS

import train_gaussian_mixture
import train_images
import train_mnist
import train_swiss_roll
from ddgm.compare import __main__ as compare, comparison
from ddgm.data import picture_cache
from ddgm.data.distributions import GaussianMixture, SwissRoll
from ddgm.data.image_folder import ImageFolder
from ddgm.data.mnist import MNIST
from ddgm.evaluation import plane as plane_evaluation, points as points_evaluation, quadrature, tasks
from ddgm.evaluation.reference import Reference
from ddgm.figures import plots, post
from ddgm.runs import execution, exit_status, training_state
from ddgm.support import randomness

METRICS = {**PLANE_METRICS, **IMAGE_METRICS}
OF_ENERGY = {'log_z', 'log_likelihood', 'energy_gap', 'kl_data_energy', 'kl_energy_data'}
SCRIPTS = {
    'gaussian_mixture': train_gaussian_mixture, 'swiss_roll': train_swiss_roll, 'mnist': train_mnist,
    'images': train_images}
TINY = ['-n', '4', '-b', '16', '--log_interval', '2', '--snapshot_interval', '0', '--figure_interval', '0']
N_OF_A_RUN = execution.N_SCORED
N = 60  # samples of a tiny run
CSV = 'epoch,e_loss,g_loss\n1,2,3\n2,4,5\n'


@pytest.fixture(scope='module', autouse=True)
def short_work():
    """Fewer samples and pictures of a run, a coarser quadrature."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quadrature, '_GRIDS', [(half_width, n // 3) for half_width, n in quadrature._GRIDS])
        for module in (execution, training_state):
            patch.setattr(module, 'N_SCORED', N)
        for name in ('draw_points', 'draw_energy', 'draw_grid', 'draw_small_grid', 'draw_curves', 'write_gif'):
            patch.setattr(plots if name == 'draw_curves' else post, name, lambda *arguments, **options: None)
        yield


@pytest.fixture(scope='module')
def trained(tmp_path_factory, digits_folder, pictures_folder):
    """A tiny run of each task, made by its script when it is first asked for: ``trained('mnist')``."""
    folder = tmp_path_factory.mktemp('trained')
    more = {'mnist': ['--data', digits_folder], 'images': ['--data', pictures_folder, '--width', '0.02']}

    def train(task):
        out = folder / (task + '_0')
        if not out.exists():
            SCRIPTS[task].main([*TINY, '-o', str(out), *map(str, more.get(task, ()))])
        return out
    return train


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def drawn(monkeypatch):
    """What would be drawn, in place of the picture."""
    drawn = types.SimpleNamespace()

    def draw(path, data, panels, logs):
        path.write_text('a picture')
        drawn.data, drawn.panels, drawn.logs = data, panels, logs
    monkeypatch.setattr(plots, 'draw_comparison', draw)
    return drawn


class Quick(Reference):
    """What compares arrays of any shape, at once."""

    def __init__(self):
        self.scored = []

    def conform(self, x):
        return x

    def score(self, x, energy=None, settings=None):
        self.scored.append(x)
        return {'mean': float(x.mean())}

    def real_data(self, n):
        return None

    def known_data(self, n):
        return []

    def shown_data(self, n):
        return points(n)

    def as_shown(self, x):
        return x


@pytest.fixture
def reference(monkeypatch):
    """Takes the place of all tasks' references."""
    reference = Quick()
    monkeypatch.setattr(tasks, 'open_task', lambda *arguments, **options: reference)
    return reference


def compared(*arguments, out='out'):
    """Compare and return what comparison.json says."""
    compare.main([*map(str, arguments), '--out', str(out)])
    return read_strictly(out)


def read_strictly(out):
    def refuse(constant):
        raise AssertionError('{} is no JSON'.format(constant))
    with open(os.path.join(str(out), 'comparison.json'), encoding='utf-8') as file:
        return json.load(file, parse_constant=refuse)


def points(n, seed=0):
    return numpy.random.default_rng(seed).normal(size=(n, 2)).astype(numpy.float32)


def metrics_of(run_folder):
    """Those of metrics.json that are metrics."""
    metrics = json.loads((run_folder / 'metrics.json').read_text())
    return {name: value for name, value in metrics.items() if name not in ('iterations', 'seed', 'n_samples')}


def columns_of(text):
    """The table on the terminal as a dict of dicts: by title, then by the metric's name."""
    lines = text.split('held against')[1].splitlines()[1:]
    lines = lines[:lines.index('')]
    titles = [title for title in lines[0].split('  ') if title.strip()]
    table = {title.strip(): {} for title in titles}
    for line in lines[1:]:
        name, *cells = line.split()
        assert len(cells) == len(titles), line
        for title, cell in zip(table, cells):
            table[title][name] = cell
    return table


# ---- a run is scored as it was at its end

@pytest.mark.parametrize('task', list(SCRIPTS))
def test_metrics_of_a_run_are_its_own(task, trained, drawn, capsys):
    folder = trained(task)
    capsys.readouterr()
    result = compared(folder)
    entry, = result['entries']
    assert set(entry['metrics']) == METRICS[task]
    assert entry['metrics'] == metrics_of(folder)
    assert (result['task'], result['n_samples']) == (task, N)
    assert set(result.get('real_data', ())) == (METRICS[task] - OF_ENERGY if task != 'images' else set())
    assert (entry['name'], entry['sources']) == (task + '_0', [str(folder)])
    settings = json.loads((folder / 'settings.json').read_text())
    preset = settings['preset'] + ', with batchsize 16' + ', width 0.02' * (task == 'images')
    assert (entry['preset'], entry['seed'], entry['iterations']) == (preset, 0, 4)
    last = json.loads((folder / 'log').read_text())[-1]
    assert entry['last'] == {
        name: value for name, value in last.items() if name not in ('iteration', 'elapsed_time')}

    text = capsys.readouterr().out
    assert '{}_0: a run of {}, preset {}, 60 samples, a log of 2 entries'.format(
        task, task, preset) in text
    table = columns_of(text)
    assert list(table) == [task + '_0'] + ['real data'] * (task != 'images')
    column = table[task + '_0']
    assert set(column) == METRICS[task] - {'class_histogram'} | {'iterations'}
    assert column['iterations'] == '4'
    for name, cell in column.items():
        value = entry['metrics'].get(name)
        if isinstance(value, float):
            assert float(cell) == pytest.approx(value, rel=1e-3)
    assert text.splitlines()[-1] == 'out/comparison.json, out/comparison.png, out/comparison.html'

    panel, = drawn.panels
    assert panel.title == task + '_0'
    assert (panel.energy is None) is (task in ('mnist', 'images'))
    assert panel.x.shape[1:] == drawn.data.x.shape[1:] == {
        'mnist': (28, 28), 'images': (3, 64, 64)}.get(task, (2,))
    (name, log), = drawn.logs
    assert (name, [*log.x]) == (task + '_0', [2, 4])


def test_as_many_are_scored_as_at_the_end_of_a_run():
    assert comparison.metrics.N_SCORED == N_OF_A_RUN == 2500


def test_order_changes_nobodys_metrics(trained, drawn):
    numpy.save('more.npy', points(200))
    numpy.save('fewer.npy', points(50, seed=1))
    paths = [trained('swiss_roll'), 'more.npy', 'fewer.npy']
    first, second = (
        {entry['name']: entry for entry in compared(*order)['entries']} for order in (paths, paths[::-1]))
    assert list(first) == list(second)[::-1] == ['swiss_roll_0', 'more', 'fewer']
    assert first == second
    # As if it were alone.
    alone, = compared('fewer.npy', '--reference', 'swiss_roll')['entries']
    assert first['fewer'] == alone


def test_data_is_scored_beside_samples(drawn, capsys):
    numpy.save('s.npy', points(30))
    result = compared('s.npy', '--reference', 'gaussian_mixture')
    data = GaussianMixture().sample(30, randomness.metric_generator(randomness.FRESH_DATA))
    assert result['real_data'] == plane_evaluation.score_gaussian_mixture(data)
    assert result['entries'][0]['metrics'] == plane_evaluation.score_gaussian_mixture(points(30))
    table = columns_of(capsys.readouterr().out)
    assert list(table) == ['s', 'real data']
    assert table['s']['iterations'] == table['real data']['iterations'] == '-'


def test_data_is_called_what_it_is(reference, drawn, capsys):
    reference.real_name, reference.real_data = 'training data', points
    numpy.save('s.npy', points(30))
    compared('s.npy', '--reference', 'swiss_roll')
    assert list(columns_of(capsys.readouterr().out)) == ['s', 'training data']


# ---- what a run lacks leaves dashes

@pytest.mark.parametrize('missing', ['energy_model.npz', 'log', 'metrics.json', 'samples.npz'])
def test_run_without_a_file(missing, trained, drawn, capsys):
    whole = trained('gaussian_mixture')
    shutil.copytree(whole, 'part')
    os.remove('part/' + missing)
    numpy.save('s.npy', points(N))
    capsys.readouterr()
    entry, other = compared('part', 's.npy', '--reference', 'gaussian_mixture')['entries']
    text = capsys.readouterr().out
    column = columns_of(text)['part']
    expected = metrics_of(whole)
    if missing == 'energy_model.npz':
        expected = {name: value for name, value in expected.items() if name not in OF_ENERGY}
        assert not OF_ENERGY & set(column)  # nobody has them
    elif missing == 'samples.npz':
        expected = {}
        assert set(column.values()) == {'-', '4'}
        assert 'no samples' in text
    assert entry['metrics'] == expected
    assert other['metrics']['hq_2sigma'] == plane_evaluation.score_gaussian_mixture(points(N))['hq_2sigma']
    assert (entry['iterations'] is None) is (missing == 'metrics.json')
    assert (column['iterations'] == '-') is (missing == 'metrics.json')
    assert [name for name, _ in drawn.logs] == ([] if missing == 'log' else ['part'])
    assert ('a log' in text) is (missing != 'log')
    assert [panel.title for panel in drawn.panels] == (['s'] if missing == 'samples.npz' else ['part', 's'])
    if missing != 'samples.npz':
        assert (drawn.panels[0].energy is None) is (missing == 'energy_model.npz')


def test_one_has_an_energy_and_the_other_has_none(trained, drawn, capsys):
    numpy.save('s.npy', points(N))
    compared(trained('gaussian_mixture'), 's.npy')
    table = columns_of(capsys.readouterr().out)
    for name in OF_ENERGY:
        assert table['s'][name] == table['real data'][name] == '-'
        assert table['gaussian_mixture_0'][name] != '-'
    assert [panel.energy is None for panel in drawn.panels] == [False, True]
    metrics = metrics_of(trained('gaussian_mixture'))
    assert [panel.log_z for panel in drawn.panels] == [metrics['log_z'], None]
    assert drawn.data.log_z == 0
    x = points(5)
    numpy.testing.assert_allclose(drawn.data.energy(x), -GaussianMixture().log_density(x))
    compared('s.npy', '--reference', 'swiss_roll')  # which has no thickness, and so no density
    assert [panel.energy for panel in [drawn.data, *drawn.panels]] == [None, None]


def test_runs_that_hold_nothing_but_their_settings(drawn, capsys):
    make_run('a')
    make_run('b', task='swiss_roll')
    result = compared('a', 'b')
    assert [entry['name'] for entry in result['entries']] == ['a', 'b']
    for entry in result['entries']:
        assert (entry['metrics'], entry['last'], entry['iterations']) == ({}, {}, None)
    assert 'a: a run of gaussian_mixture, preset default, no samples' in capsys.readouterr().out
    assert not hasattr(drawn, 'panels')  # there is nothing to be drawn
    assert sorted(os.listdir('out')) == ['comparison.html', 'comparison.json']


def test_log_of_which_nothing_is_known(tmp_path):
    """Entries of a log, and columns of a CSV file, that no panel shows."""
    make_run('a', log=[{'iteration': 1}, {'iteration': 2, 'accuracy': 0.5}])
    (tmp_path / 'm.csv').write_text('epoch,g_energy\n1,2\n')
    assert len(compared('a', 'm.csv')['entries']) == 2


@pytest.mark.parametrize('is_sound', [False, True])
def test_energy_model_that_does_not_fit(is_sound, drawn, tmp_path):
    make_run('part', x=points(30))
    path = tmp_path / 'part' / 'energy_model.npz'
    numpy.savez(path, x=points(10)) if is_sound else path.write_text('text')
    message = refusal(compared, 'part')
    assert message.startswith('part/energy_model.npz: damaged or of another run')
    assert 'leave the run out' in message
    assert not os.path.exists('out/comparison.json')


# ---- as many samples of each

def test_as_many_as_the_smallest_set_has(reference, drawn, capsys):
    for name, n in (('a', 300), ('b', 270), ('c', 400)):
        numpy.save(name + '.npy', points(n, seed=n))
    result = compared('a.npy', 'b.npy', 'c.npy', '--reference', 'gaussian_mixture')
    assert result['n_samples'] == 270
    assert '270 samples of each, as many as b has, held against' in capsys.readouterr().out
    a, b, c = reference.scored
    assert len(a) == len(b) == len(c) == 270
    numpy.testing.assert_array_equal(b, points(270, seed=270))  # as they are, all of them
    for chosen, n in ((a, 300), (c, 400)):
        assert len(numpy.unique(chosen, axis=0)) == 270
        assert {tuple(x) for x in chosen} < {tuple(x) for x in points(n, seed=n)}
    compared('c.npy', 'a.npy', 'b.npy', '--reference', 'gaussian_mixture')
    numpy.testing.assert_array_equal(reference.scored[3], c)


@pytest.mark.parametrize(('lengths', 'why'), [
    ([300, 300], ''), ([300], ''), ([2500, 4000], ''), ([3000, 4000], ''), ([8, 300, 8], ', as many as 0, 2 have'),
    ([8, 300], ', as many as 0 has'), ([9] * 6 + [10], ', as many as 0, 1, 2, 3, 4 and 1 more have')])
def test_why_so_many_are_scored(lengths, why, reference, drawn, capsys):
    """Who has the fewest, where others have more."""
    for i, n in enumerate(lengths):
        numpy.save('{}.npy'.format(i), points(n))
    compared(*('{}.npy'.format(i) for i in range(len(lengths))), '--reference', 'swiss_roll')
    assert '\n{:,} samples of each{}, held against swiss_roll\n'.format(
        min(2500, *lengths), why) in capsys.readouterr().out


def test_samples_sorted_by_class(reference, drawn):
    """The first ones would be of one class alone, and pictures too show all."""
    numpy.save('sorted.npy', numpy.repeat(numpy.arange(10.0), 200)[:, None] * numpy.ones(2))
    numpy.save('few.npy', points(400))
    compared('sorted.npy', 'few.npy', '--reference', 'gaussian_mixture')
    _, counts = numpy.unique(reference.scored[0][:, 0], return_counts=True)
    assert len(counts) == 10
    assert counts.min() > 20
    assert len(drawn.panels[0].x) == len(drawn.data.x) == 400
    assert set(drawn.panels[0].x[:, 0]) == set(range(10))


def test_too_few_samples(reference, drawn):
    numpy.save('five.npy', points(5))
    numpy.save('six.npy', points(6))
    message = refusal(compared, 'six.npy', 'five.npy', '--reference', 'gaussian_mixture')
    assert message.startswith('five: 5 samples are too few')
    assert compared('six.npy', '--reference', 'gaussian_mixture')['n_samples'] == 6


@pytest.mark.parametrize(('task', 'shape'), [
    ('gaussian_mixture', (2,)), ('swiss_roll', (2,)), ('mnist', (784,)), ('images', (3, 64, 64))])
def test_any_samples_have_metrics(task, shape, drawn, rng, digits_folder, pictures_folder):
    """The fewest, a generator that makes all of them alike, points far away: the file is JSON, without NaN."""
    numpy.save('six.npy', rng.random((6, *shape)))
    numpy.save('equal.npy', numpy.full((20, *shape), 0.5))
    numpy.save('far.npy', 1e20 * points(30).astype(float))
    folder = {'mnist': ':' + str(digits_folder), 'images': ':' + str(pictures_folder)}.get(task, '')
    for entry in compared('six.npy', 'equal.npy', *['far.npy'] * (shape == (2,)), '--reference', task + folder)[
            'entries']:
        assert set(entry['metrics']) == METRICS[task] - OF_ENERGY


@pytest.mark.parametrize('shape', [(3, 64, 64), (32, 32, 3), (3, 32, 32), (1, 32, 32), (32, 32)])
def test_pictures_of_every_form(shape, drawn, rng, tmp_path):
    """The data is read in the size and with the channels that the samples have."""
    numpy.save('data.npy', rng.integers(256, size=(20, 40, 40, 3), dtype=numpy.uint8))
    numpy.save('s.npy', rng.random((20, *shape)))
    result = compared('s.npy', '--reference', 'images:data.npy')
    assert set(result['entries'][0]['metrics']) == METRICS['images'] - OF_ENERGY
    assert 0 < result['entries'][0]['metrics']['frechet'] < numpy.inf
    numpy.save('other.npy', rng.random((20, 16, 16)))
    assert 'these have (20, 16, 16)' in refusal(compared, 's.npy', 'other.npy', '--reference', 'images:data.npy')


def test_digits_that_are_all_training_images(digits_folder, drawn, rng):
    """A folder whose test images are its training images again: distances to the nearest one have no unit."""
    shutil.copytree(digits_folder, 'digits')
    for kind in ('images-idx3', 'labels-idx1'):
        shutil.copy('digits/t10k-{}-ubyte.gz'.format(kind), 'digits/train-{}-ubyte.gz'.format(kind))
    numpy.save('s.npy', rng.random((20, 784)))
    result = compared('s.npy', '--reference', 'mnist:digits')
    assert result['entries'][0]['metrics']['nearest_train'] is None
    assert result['real_data']['nearest_train'] is None


# ---- what samples are of

def test_reference_is_that_of_the_runs(reference, drawn):
    make_run('a', task='swiss_roll')
    numpy.save('s.npy', points(30))
    assert compared('s.npy', 'a')['task'] == 'swiss_roll'


def test_tasks_that_contradict_each_other(drawn):
    make_run('a', x=points(30))
    make_run('b', task='swiss_roll', x=points(30))
    for arguments in (('a', 'b'), ('b', 'a'), ('a', '--reference', 'swiss_roll')):
        message = refusal(compared, *arguments)
        assert 'gaussian_mixture and swiss_roll' in message
    assert compared('a', '--reference', 'gaussian_mixture')['task'] == 'gaussian_mixture'


def test_runs_whose_data_is_not_what_it_was(pictures_folder, drawn, rng):
    """Their metrics would be those of other data, and nobody would know."""
    x = rng.random((8, 3, 64, 64))
    for name, folder, fingerprint in (
            ('a', pictures_folder, 'one'), ('b', pictures_folder, 'two'), ('c', '/nowhere/pictures', 'one')):
        make_run(name, task='images', x=x, data=folder, fingerprint=fingerprint)
    for arguments, words in (
            ('a b', 'different data'), ('a', str(pictures_folder)), ('c', '/nowhere/pictures')):
        message = refusal(compared, *arguments.split())
        assert words in message
        assert '--reference images:DIR' in message
    a, b, c = compared('a', 'b', 'c', '--reference', 'images:{}'.format(pictures_folder))['entries']
    assert a['metrics'] == b['metrics'] == c['metrics'] != {}


def test_run_without_a_cache_leaves_none(trained, pictures_folder, drawn, tmp_path, monkeypatch):
    """Whether its data is opened for it or is named; one that was trained without ``--cache none`` does."""
    shutil.copytree(trained('images'), 'run')
    settings = json.loads((tmp_path / 'run' / 'settings.json').read_text())
    (tmp_path / 'run' / 'settings.json').write_text(json.dumps({**settings, 'cache': 'none'}))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr(picture_cache, '_LONG', 0)  # so that few pictures are kept, too
    compared('run')
    compared('run', '--reference', 'images:{}'.format(pictures_folder))
    assert not (tmp_path / 'cache').exists()
    compared(trained('images'))
    assert [*(tmp_path / 'cache').rglob('*.npy')]


@pytest.mark.parametrize(('reference', 'word'), [
    ('images:nowhere', 'nowhere'), ('images:empty', 'empty'), ('mnist:afile', 'afile')])
def test_reference_that_can_not_be_read(reference, word, drawn, tmp_path):
    os.mkdir('empty')
    (tmp_path / 'afile').write_text('precious')
    numpy.save('s.npy', numpy.zeros((10, 784)))
    message = refusal(compared, 's.npy', '--reference', reference)
    assert word in message
    assert '--reference' in message


def test_samples_of_the_wrong_kind_are_named(drawn):
    numpy.save('good.npy', points(30))
    numpy.save('bad.npy', numpy.zeros((30, 784)))
    message = refusal(compared, 'good.npy', 'theirs=bad.npy', '--reference', 'gaussian_mixture')
    assert message.startswith('bad.npy: ')
    assert '(30, 784)' in message
    numpy.save('bad.npy', 1e39 * points(30).astype(float))  # more than float32 has numbers for
    assert 'bad.npy' in refusal(compared, 'bad.npy', '--reference', 'gaussian_mixture')


# ---- points of one's own

def spiral(n, seed=0):
    """Five arms around the origin, as peers use them."""
    rng = numpy.random.default_rng(seed)
    arm, radius = rng.integers(5, size=n), 2 + 0.6 * rng.normal(size=n)
    angle = 2 * numpy.pi * arm / 5 + 0.25 * numpy.exp(radius / 2)
    return numpy.stack([radius * numpy.cos(angle), radius * numpy.sin(angle)], axis=1).astype(numpy.float32)


OF_POINTS = {'sliced_wasserstein_2', 'mmd2', 'precision', 'recall', 'density', 'coverage'}


def test_points_as_the_reference(drawn, capsys):
    numpy.save('points.npy', 30 * spiral(3000) + 100)
    numpy.save('near.npy', 30 * spiral(200, seed=1) + 100)
    numpy.save('off.npy', 30 * points(200) + 100)
    result = compared('near.npy', 'off.npy', '--reference', 'points.npy')
    assert (result['task'], result['reference'], result['n_samples']) == ('points', 'points.npy', 200)
    near, off = (entry['metrics'] for entry in result['entries'])
    assert set(near) == set(off) == set(result['real_data']) == OF_POINTS
    assert near == points_evaluation.OwnPoints(30 * spiral(3000) + 100).score(30 * spiral(200, seed=1) + 100)
    for name in ('sliced_wasserstein_2', 'mmd2'):
        assert off[name] > 2 * near[name]
    for name in ('precision', 'coverage'):
        assert off[name] < near[name] - 0.2
    text = capsys.readouterr().out
    assert '200 samples of each, held against points.npy' in text
    assert list(columns_of(text)) == ['near', 'off', 'real data']
    middle, half = numpy.split(numpy.array(drawn.data.window), 2)
    assert (abs(30 * spiral(3000) + 100 - middle) <= half).all()
    assert (half < 120).all()
    assert len(drawn.data.x) == 400


def test_points_beside_a_run(trained, drawn):
    """Its energy is scored on them, and mapped where they lie."""
    numpy.savez('points.npz', samples=spiral(50), labels=numpy.arange(50))
    numpy.save('s.npy', spiral(50, seed=1))
    run, other = compared(trained('gaussian_mixture'), 's.npy', '--reference', 'points.npz')['entries']
    assert set(run['metrics']) == OF_POINTS | {'log_z', 'log_likelihood', 'energy_gap'}
    assert set(other['metrics']) == OF_POINTS
    assert run['metrics']['log_z'] == pytest.approx(metrics_of(trained('gaussian_mixture'))['log_z'], abs=1e-4)
    assert [panel.energy is None for panel in drawn.panels] == [False, True]


@pytest.mark.parametrize(('name', 'words'), [
    ('nowhere.npy', ['nowhere.npy', 'no such file', 'give another']),
    ('flat.npy', ['flat.npy', '(N, d), these have (30, 784, 2)']),
    ('few.npy', ['few.npy', 'more than 5 points']), ('text.npz', ['text.npz', "can't be read"])])
def test_points_that_can_not_be_the_reference(name, words, drawn, tmp_path):
    numpy.save('s.npy', points(30))
    numpy.save('flat.npy', numpy.zeros((30, 784, 2)))
    numpy.save('few.npy', points(5))
    (tmp_path / 'text.npz').write_text('text')
    message = refusal(compared, 's.npy', '--reference', name)
    for word in words:
        assert word in message
    assert message.count(name) == 1


def test_points_can_not_be_the_reference_of_digits(drawn):
    make_run('a', task='mnist')
    numpy.save('s.npy', points(30))
    assert 'mnist and points' in refusal(compared, 'a', 's.npy', '--reference', 's.npy')


# ---- samples that are perhaps of other data

@pytest.mark.parametrize(('x', 'task', 'signs'), [
    (spiral(500), 'swiss_roll', 'lie farther'),
    (GaussianMixture().sample(500, numpy.random.default_rng(0)), 'swiss_roll', 'lie farther'),
    (GaussianMixture().sample(500, numpy.random.default_rng(0)) / 2, 'gaussian_mixture',
     'theirs: its samples spread 0.49'),
    (SwissRoll().sample(500, numpy.random.default_rng(0)) * 10, 'swiss_roll', '100% of the samples'),
    (GaussianMixture().sample(500, numpy.random.default_rng(0)), 'gaussian_mixture', None),
    (SwissRoll().sample(500, numpy.random.default_rng(0)) + 0.1 * points(500), 'swiss_roll', None)])
def test_samples_unlike_the_data(x, task, signs, drawn, capsys):
    numpy.save('theirs.npy', x)
    compared('theirs.npy', '--reference', task)
    lines = [line for line in capsys.readouterr().out.splitlines() if 'are they of this data' in line]
    assert len(lines) == (signs is not None)
    if signs:
        assert lines[0].startswith('theirs: ')
        assert signs in lines[0]


def test_samples_that_are_the_data(digits_folder, pictures_folder, drawn, capsys):
    """They score perfectly, and a line says why; what is only like the data is not meant."""
    digits, icons = MNIST(digits_folder), ImageFolder(pictures_folder)
    numpy.save('points.npy', points(3000))
    numpy.save('like.npy', points(500, seed=1))
    numpy.save('test.npy', digits.test_images[:20] / numpy.float32(255))
    numpy.save('training.npy', digits.train_images[:20])
    numpy.save('other.npy', digits.train_images[:20] ^ 1)
    numpy.save('icons.npy', numpy.array(icons.images[:20]))
    for names, reference in ((('points.npy', 'like.npy'), 'points.npy'), (('icons.npy',), 'images:{}'.format(
            pictures_folder)), (('test.npy', 'training.npy', 'other.npy'), 'mnist:{}'.format(digits_folder))):
        compared(*names, '--reference', reference)
    lines = [line for line in capsys.readouterr().out.splitlines() if 'are data themselves' in line]
    assert [line.split(' of the')[0] for line in lines] == [
        'points: 100%', 'icons: 100%', 'test: 100%', 'training: 100%']


def test_names_that_a_terminal_would_obey(tmp_path, capsys):
    name = 'a\033]0;b\a\r\nc'
    (tmp_path / (name + '.csv')).write_text('step,train/e_loss\n2,1\n1,2\n')
    compare.main([name + '.csv', '--out', name])
    with pytest.raises(SystemExit):
        exit_status.run_script(lambda: compare.main([name + '.npy', '--out', name]))
    for line in ''.join(capsys.readouterr()).splitlines():
        assert line.isprintable()


def test_run_is_of_the_data_that_it_has_learned(drawn, capsys):
    """However bad it is; of points that somebody names it may not be."""
    make_run('a', task='swiss_roll', x=10 * points(50))
    numpy.save('points.npy', points(50))
    compared('a')
    assert 'are they of this data' not in capsys.readouterr().out
    compared('a', '--reference', 'points.npy')
    assert 'a: ' in capsys.readouterr().out.split('are they of this data')[0].splitlines()[-1]


def test_digits_dark_on_light(digits_folder, drawn, capsys):
    x = MNIST(digits_folder).test_images[:20]
    numpy.save('light.npy', x)
    numpy.save('dark.npy', 255 - x)
    compared('light.npy', 'dark.npy', '--reference', 'mnist:{}'.format(digits_folder))
    assert [line for line in capsys.readouterr().out.splitlines() if 'lie farther' in line] == [
        'dark: 100% of the samples lie farther from all data than any of it from its neighbours: are they of this '
        'data, and in its range?']


# ---- curves alone

def test_curves_alone(capsys, tmp_path):
    (tmp_path / 'theirs.csv').write_text('exp_name,epoch,e_loss,g_loss\nring,1,4,\nring,2,nan,inf\ngrid,1,3,6\n')
    result = compared('theirs.csv')
    assert result == {'files': ['comparison.json', 'comparison.png', 'comparison.html'], 'entries': [
        {'name': name, 'sources': ['theirs.csv'], 'preset': None, 'seed': None, 'iterations': None, 'last': last,
         'own': {'energy/loss': 'e_loss', 'generator/loss': 'g_loss'}, 'metrics': {}}
        for name, last in (
            ('ring', {'energy/loss': 4, 'generator/loss': None}), ('grid', {'energy/loss': 3, 'generator/loss': 6}))]}
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        'ring: no samples, a log of 2 entries without a finite value of generator/loss',
        'grid: no samples, a log of 1 entry', '',
        'out/comparison.json, out/comparison.png, out/comparison.html']
    with Image.open('out/comparison.png') as image:
        assert image.format == 'PNG'


@pytest.mark.parametrize('numbers', ['nan inf', '-inf', '1e308 -1e308'])
def test_curves_without_a_number_that_can_be_drawn(numbers, tmp_path, capsys):
    """A line says so, and there is a picture of the others alone."""
    for name, entropy in (('alone', ''), ('beside', '7')):
        (tmp_path / (name + '.csv')).write_text('step,e_loss,entropy\n' + ''.join(
            '{},{},{}\n'.format(i, number, entropy) for i, number in enumerate(numbers.split())))
        compare.main([name + '.csv', '--out', name])
    told = capsys.readouterr().out
    for name, empty in (('alone', 'energy/loss or generator/entropy\n'), ('beside', 'energy/loss\n')):
        assert '{}: no samples, a log of {}'.format(name, len(numbers.split())) in told
        assert 'without a finite value of ' + empty in told
    assert not (tmp_path / 'alone' / 'comparison.png').exists()
    assert (tmp_path / 'beside' / 'comparison.png').exists()


def test_curves_of_a_run_that_has_no_samples_yet(drawn):
    make_run('a', log=[{'iteration': 3, 'energy/loss': 1.5}])
    entry, = compared('a')['entries']
    assert entry['last'] == {'energy/loss': 1.5}
    assert drawn.data is None
    assert drawn.panels == []
    assert [name for name, _ in drawn.logs] == ['a']


THEIR_METRICS = 'epoch,e_loss,fid,precision,recall\n1,2,25.5,0.875,0.5\n2,3,nan,nan,nan\n'


def test_metrics_of_another_program(trained, drawn, capsys, tmp_path):
    """They never stand in a row of ours."""
    (tmp_path / 'm.csv').write_text(THEIR_METRICS)
    numpy.save('s.npy', points(N))
    run, theirs = compared(trained('gaussian_mixture'), 'theirs=s.npy', 'theirs=m.csv')['entries']
    assert theirs['last'] == {
        'energy/loss': 3, 'their_fid': 25.5, 'their_precision': 0.875, 'their_recall': 0.5}
    assert set(theirs['metrics']) == METRICS['gaussian_mixture'] - OF_ENERGY
    text = capsys.readouterr().out
    assert 'theirs: 60 samples, a log of 2 entries' in text
    table = columns_of(text)
    assert list(table) == ['gaussian_mixture_0', 'theirs', 'real data']
    assert {name: cell for name, cell in table['theirs'].items() if name.startswith('their_')} == {
        'their_fid': '25.5', 'their_precision': '0.875', 'their_recall': '0.5'}
    assert {table[title]['their_fid'] for title in ('gaussian_mixture_0', 'real data')} == {'-'}
    assert not {'fid', 'precision', 'recall'} & set(table['theirs'])
    assert '\ntheir_…: from the logs of other programs, by their own definitions\n' in text
    compared('m.csv')  # alone
    assert [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith('their_')][:3] == [
        ['their_fid', '25.5'], ['their_precision', '0.875'], ['their_recall', '0.5']]


# ---- where the files go

def test_earlier_comparison_is_replaced(drawn, tmp_path):
    numpy.save('a.npy', points(30))
    numpy.save('b.npy', points(20))
    compared('a.npy', '--reference', 'swiss_roll', out='deep/er')
    (tmp_path / 'deep/er' / 'notes.txt').write_text('mine')
    result = compared('b.npy', '--reference', 'swiss_roll', out='deep/er')
    assert [entry['name'] for entry in result['entries']] == ['b']
    assert sorted(os.listdir('deep/er')) == ['comparison.html', 'comparison.json', 'comparison.png', 'notes.txt']


@pytest.mark.parametrize('out', ['afile', 'afile/out', '/proc/out', '/proc', 'taken'])
def test_folder_that_can_not_be_written_to(out, drawn, tmp_path):
    (tmp_path / 'afile').write_text('precious')
    os.makedirs('taken/comparison.json')
    numpy.save('a.npy', points(30))
    message = refusal(compared, 'a.npy', '--reference', 'swiss_roll', out=out)
    assert message.startswith(out)
    assert '--out' in message
    assert (tmp_path / 'afile').read_text() == 'precious'


@pytest.mark.parametrize('files', [
    {'comparison.png': 'x'}, {'comparison.html': 'x', 'comparison.json': '{}'}, {'comparison.json': '[1, 2]'},
    {'comparison.json': '{"entries": [], "files": ["comparison.json"]}', 'comparison.png': 'x'}])
def test_what_no_comparison_has_written_stays(files, drawn, tmp_path):
    numpy.save('a.npy', points(30))
    os.mkdir('out')
    for name, text in files.items():
        (tmp_path / 'out' / name).write_text(text)
    assert re.match('out holds comparison.*: give another folder to --out$', refusal(
        compared, 'a.npy', '--reference', 'swiss_roll'))
    assert {path.name: path.read_text() for path in (tmp_path / 'out').iterdir()} == files


@pytest.mark.parametrize(('arguments', 'out'), [
    ('samples --reference swiss_roll', 'samples'), ('a=samples --reference swiss_roll', 'samples/'),
    ('samples --reference swiss_roll', 'link'), ('samples --reference swiss_roll', 'run'),
    ('run', 'run'), ('run', 'run/new'), ('run', 'link_to_run/figures'), ('r=run', 'samples/../run/'),
    ('lr=0.1=samples --reference swiss_roll', 'samples'),
    ('samples/a.npy --reference images:pictures', 'pictures'),
    ('samples/a.npy --reference images:pictures', 'pictures/comparison'),
    ('samples/a.npy --reference images:pictures', 'read_too/comparison')])
def test_output_over_an_input(arguments, out, drawn, tmp_path):
    """Nothing is written into a run, a folder that is compared, or a folder of pictures that are data."""
    make_run(tmp_path / 'run', x=points(30))
    os.mkdir('samples')
    os.mkdir('pictures')
    os.symlink('samples', 'link')
    os.symlink('run', 'link_to_run')
    os.mkdir('read_too')
    os.symlink('../read_too', 'pictures/link')
    numpy.save('samples/a.npy', points(30))
    before = sorted(tmp_path.rglob('*'))
    assert re.search('give another (folder|path) to --out', refusal(compared, *arguments.split(), out=out))
    assert sorted(tmp_path.rglob('*')) == before


# ---- as a user runs it

@pytest.fixture
def run_compare(tmp_path):
    """Run the command as a user would, in an empty folder: ``run_compare('s.npy', '--reference', 'swiss_roll')``."""
    def run_compare(*arguments):
        return subprocess.run(
            [sys.executable, '-m', 'ddgm.compare', *map(str, arguments)], cwd=tmp_path, capture_output=True, text=True,
            timeout=HANGS_AFTER, env={**os.environ, 'PYTHONPATH': str(ROOT)})
    return run_compare


def test_folder_of_samples_in_one_command(run_compare, tmp_path):
    """What a newcomer has: batches of samples in a folder, a log beside them."""
    folder = tmp_path / 'my samples'
    folder.mkdir()
    for i in range(3):
        numpy.save(folder / '{}.npy'.format(i), points(20, seed=i))
    (folder / 'metrics.csv').write_text(CSV)
    result = run_compare('my samples', '--reference', 'gaussian_mixture')
    assert result.returncode == 0, result.stderr
    assert result.stderr == ''
    lines = result.stdout.splitlines()
    assert lines[:4] == [
        'my samples: taken for one set: 60 samples of 0.npy to 2.npy (3 files)',
        'my samples: 60 samples, a log of 2 entries', '', '60 samples of each, held against gaussian_mixture']
    assert lines[-1].split(', ') == ['result/comparison/comparison.' + kind for kind in ('json', 'png', 'html')]
    table = columns_of(result.stdout)
    assert set(table) == {'my samples', 'real data'}
    assert set(table['my samples']) == METRICS['gaussian_mixture'] - OF_ENERGY | {'iterations'}
    out = tmp_path / 'result' / 'comparison'
    assert sorted(os.listdir(out)) == ['comparison.html', 'comparison.json', 'comparison.png']
    assert set(read_strictly(out)) == {'entries', 'task', 'n_samples', 'real_data', 'files'}
    with Image.open(out / 'comparison.png') as image:
        assert image.width == 2 * 336
        assert image.height > 336


@pytest.mark.parametrize(('arguments', 'words'), [
    ('', 'A'), ('s.npy --reference moons', "--reference: give one of gaussian_mixture"), ('nowhere', 'no such file'),
    ('s.npy --reference points.txt', "points (N, d), not 'points.txt'"),
    ('s.npy --seed 3', '--help'), ('text.npy', "can't be read")])
def test_bad_input(arguments, words, tmp_path):
    """One line, nothing written."""
    (tmp_path / 'text.npy').write_text('text')
    assert words in refusal(compare.main, arguments.split())
    assert sorted(os.listdir()) == ['text.npy']


def test_samples_of_what(run_compare, tmp_path):
    """Refused after the entries were told: exit status 2, and one line on standard error all the same."""
    numpy.save(tmp_path / 's.npy', points(30))
    result = run_compare('s.npy')
    assert result.returncode == 2
    assert result.stderr.startswith('compare: what are these samples of?  Say it by --reference')
    assert result.stderr.count('\n') == 1
    assert result.stdout == 's: 30 samples\n'


def test_flags_are_quick_to_read():
    """For --help, or where one is mistyped, neither Chainer nor matplotlib is imported."""
    code = ("import sys; from ddgm.compare.__main__ import parse; parse(['a']); "
            "print(sorted({'chainer', 'matplotlib', 'PIL'} & set(sys.modules)))")
    result = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT, timeout=HANGS_AFTER)
    assert result.stdout == '[]\n'
