"""Points of a user's own: their files, what can't be learned from, a run of them in their own units."""

import json
import re
import shlex

import numpy
import pytest
from conftest import ROOT, refusal

import ddgm
import train_points
from ddgm.compare import __main__ as compare
from ddgm.data import points
from ddgm.evaluation import tasks
from ddgm.evaluation.points import OwnPoints, Points
from ddgm.refine import __main__ as refine
from ddgm.runs import command_line
from ddgm.support.files import read_arrays
from ddgm.weights import __main__ as weights

ROWS = [[1.5, -2.0], [3.0, 1e3], [0.25, 7.0]]


@pytest.mark.parametrize('text', [
    '1.5,-2\n3,1e3\n.25,7\n', 'a,b\n1.5,-2\n3,1e3\n.25,7', '\ufeffa;b\r\n1.5;-2\r\n3;1e3\r\n\r\n.25;7\r\n',
    '"a"\t"b"\n1.5\t-2\n3\t1e3\n.25\t7\n', '# a b c\n1.5 -2\n3  1e3\n.25 7\n'])
def test_tables(text, tmp_path):
    (tmp_path / 'x.csv').write_bytes(text.encode())
    numpy.testing.assert_array_equal(points.load(tmp_path / 'x.csv')[0], ROWS)


@pytest.mark.parametrize(('text', 'told'), [
    ('a,b\n1,2\n3,\n', "line 3, column 2: '' is no number"), ('1,2\nnan,3\n', "line 2, column 1: 'nan' is no number"),
    ('a;b\n1,5;2\n', "line 2, column 1: '1,5' is no number"), ('1,2\n1_0,3\n', "line 2, column 1: '1_0' is no"),
    ('a,b\n1,2,3\n', 'line 2: 3 cells where 2 are expected'), ('1,2\n3\n', 'line 2: 1 cells where 2 are expected'),
    ('1,x\n2,3\n', "line 1, column 2: 'x' is no number"), ('a,b\n', 'no numbers in it'), ('', 'no numbers in it'),
    ('1,2\n3,١\n', "line 2, column 2: '١' is no number")])
def test_damaged_tables(text, told, tmp_path):
    (tmp_path / 'x.csv').write_text(text, encoding='utf-8')
    message = refusal(points.load, tmp_path / 'x.csv')
    assert message.startswith('{}'.format(tmp_path / 'x.csv'))
    assert told in message


@pytest.mark.parametrize('dtype', ['f2', 'f4', 'f8', 'i4', 'u1'])
def test_arrays_are_cast(dtype, tmp_path):
    x = numpy.arange(12).reshape(6, 2).astype(dtype)
    numpy.save(tmp_path / 'x.npy', x)
    numpy.savez(tmp_path / 'x.npz', labels=numpy.arange(6), samples=x)
    for name, note in (('x.npy', ''), ('x.npz', 'its array samples is taken for the samples, not labels')):
        loaded = points.load(tmp_path / name)
        assert loaded[0].dtype == numpy.float64
        numpy.testing.assert_array_equal(loaded[0], x)
        assert loaded[1] == note


def with_value(value, row=7):
    x = numpy.random.default_rng(0).normal(size=(60, 3))
    x[row, 1] = value
    return x


@pytest.mark.parametrize(('x', 'told'), [
    (with_value(numpy.nan), 'row 7, counted from 0, is missing a number or not finite, as 1 of 60 are'),
    (with_value(numpy.inf, 59), 'row 59, counted from 0'),
    (numpy.ones((60, 2)), 'all 60 points are one'), (numpy.eye(2), '2 points are too few to learn from: give 50'),
    (numpy.arange(100.0).reshape(50, 2) * [1, 0] + [0, 4], 'column 1, counted from 0, is 4 in all points'),
    (numpy.random.default_rng(0).normal(size=(60, 65)), '65 columns are too many, at most 64 fit'),
    (numpy.zeros(60), r'(N, d), these have (60,): x.reshape(-1, 1) is one column'),
    (numpy.zeros((60, 2, 2)), '(N, d), these have (60, 2, 2)'), (numpy.zeros((60, 0)), '(N, d), these have (60, 0)'),
    (numpy.array([['a', 'b']] * 60), 'points are numbers, these are <U1'),
    (numpy.full((60, 2), None), 'points are numbers, these are object')])
def test_what_can_not_be_learned_from(x, told):
    assert told in refusal(points.check, x)
    with pytest.raises(ValueError, match='^X: '):
        ddgm.DensityEstimator().fit(x)


@pytest.mark.parametrize(('arrays', 'told'), [
    ({'x': numpy.zeros(60)}, 'x.reshape(-1, 1) is one column'),
    ({'a': with_value(0), 'b': with_value(1)}, 'the samples have to be its array x, or samples'),
    ({'x': with_value(numpy.nan)}, '1 of 60 samples are not finite, the first is row 7')])
def test_files_that_can_not_be_learned_from(arrays, told, tmp_path):
    numpy.savez(tmp_path / 'x.npz', **arrays)
    assert told in refusal(Points, tmp_path / 'x.npz')
    assert 'there is no such file' in refusal(Points, tmp_path / 'y.npz')


def test_far_from_0(rng):
    """Survey coordinates, of spread 0.1 at 500,000, have the scores of the same points around 0."""
    x, reference = 0.1 * rng.normal(size=(2, 300, 2))
    near = OwnPoints(reference).score(x)
    for middle in (5e5, 1e9):
        far = OwnPoints(reference + middle).score(OwnPoints(reference + middle).conform(x + middle))
        assert far == pytest.approx(near, rel=1e-4, abs=1e-5)


def test_split(tmp_path):
    """Every row is learned from or held out, and the same ones each time."""
    x = numpy.random.default_rng(0).normal(size=(200, 3)) * [1, 100, 1] + [0, 5e5, 3]
    numpy.save(tmp_path / 'x.npy', x)
    first, second = (Points(tmp_path / 'x.npy') for _ in range(2))
    held_out = first.held_against(2500)
    assert first.description == '180 points of 3 columns to learn from, 20 held out'
    assert sorted(map(tuple, [*first.real_data(2500), *held_out])) == sorted(map(tuple, x))
    numpy.testing.assert_array_equal(held_out, second.held_against(2500))
    assert first.fingerprint == second.fingerprint
    drawn = first.draw_data(5000, numpy.random.default_rng(0))
    assert drawn.dtype == numpy.float32
    numpy.testing.assert_allclose(drawn.mean(axis=0), 0, atol=0.06)
    numpy.testing.assert_allclose(drawn.std(axis=0), 1, atol=0.06)


def run(folder, x, *flags):
    numpy.save(folder / 'x.npy', x)
    train_points.main([
        '--data', str(folder / 'x.npy'), '--out', str(folder / 'run'), '-n', '4', '-b', '20', '--log_interval', '2',
        '--figure_interval', '2', *flags])
    return json.loads((folder / 'run' / 'metrics.json').read_text())


@pytest.mark.parametrize(('d', 'preset', 'pictures'), [
    (1, 'density', {'samples.png', 'energy.png', 'curves.png', 'training.gif', 'frames'}),
    pytest.param(
        2, 'density', {'samples.png', 'energy.png', 'curves.png', 'training.gif', 'frames'}, marks=pytest.mark.slow),
    (5, 'calibrated', {'samples.png', 'curves.png', 'training.gif', 'frames'})])
def test_a_run(d, preset, pictures, tmp_path, capsys):
    """In the units of the user, far from 0; the model of the run says the same."""
    scale, middle = 10.0 ** numpy.arange(d), 1e6
    x = numpy.random.default_rng(0).normal(size=(300, d)) * scale + middle
    metrics = run(tmp_path, x)
    assert '270 points of {} column{} to learn from, 30 held out'.format(d, 's' * (d > 1)) in capsys.readouterr().out
    settings = json.loads((tmp_path / 'run' / 'settings.json').read_text())
    assert (settings['preset'], settings['n_visible'], settings['n_latent']) == (preset, d, max(2, d))
    assert {path.name for path in (tmp_path / 'run' / 'figures').iterdir()} == pictures
    samples = read_arrays(tmp_path / 'run' / 'samples.npz')['x']
    assert samples.dtype == numpy.float64
    assert (abs(samples - middle) < 20 * scale).all()
    model, held_out = ddgm.load(tmp_path / 'run'), Points(tmp_path / 'x.npy').held_against(2500)
    assert model.log_prob(held_out).mean() == pytest.approx(metrics['log_likelihood'], abs=0.05)
    assert model.log_z == pytest.approx(metrics['log_z'], abs=0.05)
    assert ('log_z_error' in metrics) == (d > 2)
    assert len(model.sample(3)) == 3
    refine.main([str(tmp_path / 'run'), '-n', '2', '--step_size', '0.01', '--out', str(tmp_path / 'refined')])
    refined = read_arrays(tmp_path / 'refined' / 'samples.npz')['x']
    assert 0 < (abs(refined - samples) / scale).max() < 2


def test_runs_that_are_refused(tmp_path, capsys):
    x = numpy.random.default_rng(0).normal(size=(100, 3))
    numpy.save(tmp_path / 'x.npy', x)
    flags = ['--data', str(tmp_path / 'x.npy'), '--out', str(tmp_path / 'run'), '-n', '2']
    assert 'give --preset calibrated' in refusal(train_points.main, [*flags, '--preset', 'density'])
    assert not (tmp_path / 'run').exists()
    run(tmp_path, x[:, :2])
    numpy.save(tmp_path / 'x.npy', x[:, 1:])
    assert 'does not hold the data' in refusal(train_points.main, ['--out', str(tmp_path / 'run'), '--resume'])


def test_examples_of_the_page(tmp_path, monkeypatch, capsys):
    """docs/own-points.md: the Python is run, for few iterations; the commands are read."""
    text = (ROOT / 'docs' / 'own-points.md').read_text(encoding='utf-8')
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'result').mkdir()
    run(tmp_path, numpy.random.default_rng(0).normal(size=(100, 1)))
    (tmp_path / 'run').rename(tmp_path / 'result' / 'points')
    examples = re.findall(r'```python\n(.*?)```', text, re.DOTALL)
    assert len(examples) == 3
    names = {}
    for example in examples:
        if 'sklearn' in example:
            pytest.importorskip('sklearn', reason='the last example needs scikit-learn')
        shorter = example.replace('iterations=1000', 'iterations=2').replace('search.fit(x)', 'search.fit(x[:, :1])')
        exec(compile(shorter, 'own-points.md', 'exec'), names)
    assert "{'preset': 'density'}" in capsys.readouterr().out.replace('calibrated', 'density')
    parsers = {
        'train_points.py': lambda words: command_line.parse(tasks.POINTS, '', words), 'ddgm.compare': compare.parse,
        'ddgm.refine': refine.parse, 'ddgm.weights': weights.parse}
    commands = re.findall(r'^python (?:-m )?(\S+) (.*)$', text, re.MULTILINE)
    assert {name for name, _ in commands} == set(parsers)
    for name, words in commands:
        parsers[name](shlex.split(words, comments=True))
