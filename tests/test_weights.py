"""The command that carries weights: a run's models out, others' in, and the run that goes on from them."""

import json
import re
import shutil

import fault_runs
import numpy
import pytest
from conftest import refusal
from test_entries import make_run
from test_pytorch_names import assert_same

import train_gaussian_mixture
from ddgm.evaluation import sampling, tasks
from ddgm.runs.run_files import MODELS
from ddgm.runs.run_folder import read_run
from ddgm.weights import __main__ as weights

TINY = ('-n', '3', '-b', '20', '--snapshot_interval', '0', '--figure_interval', '0', '--log_interval', '1')


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A short run of the mixture, called as the script does it."""
    path = tmp_path_factory.mktemp('run') / 'run'
    with fault_runs.without_scores():
        train_gaussian_mixture.main([*TINY, '-o', str(path)])
    return path


def read(path):
    with numpy.load(path) as file:
        return dict(file)


def test_out_and_in_again(run, tmp_path, capsys):
    """The imported run draws the very samples of the exported one, and has its settings."""
    weights.main(['export', str(run), str(tmp_path / 'torch')])
    assert capsys.readouterr().out.split() == [str(tmp_path / 'torch' / name) for name in MODELS]
    assert sorted(path.name for path in (tmp_path / 'torch').iterdir()) == sorted(MODELS)
    assert 'l1.weight' in read(tmp_path / 'torch' / 'generative_model.npz')
    weights.main(['import', str(tmp_path / 'torch'), str(tmp_path / 'imported'), '--like', str(run)])
    for name in ('samples.npz', *MODELS):
        assert_same(read(run / name), read(tmp_path / 'imported' / name))
    ours, theirs = (json.loads((path / 'settings.json').read_text()) for path in (run, tmp_path / 'imported'))
    assert {**ours, 'files': theirs['files']} == theirs  # it has no pictures
    assert json.loads((tmp_path / 'imported' / 'log').read_text()) == []


def test_training_goes_on_from_imported_weights(run, tmp_path, quick_script):
    weights.main(['export', str(run), str(tmp_path / 'torch')])
    # Weights that no start from data gives: with them G draws one point, and E is the quadratic term but for log 2.
    for name in MODELS:
        arrays = read(tmp_path / 'torch' / name)
        numpy.savez(tmp_path / 'torch' / name, **{
            key: array if key.endswith('original1') else 0 * array for key, array in arrays.items()})
    out = tmp_path / 'imported'
    weights.main(['import', str(tmp_path / 'torch'), str(out), '--like', str(run)])
    assert not read(out / 'samples.npz')['x'].any()
    folder = read_run(out, 'cure')
    energy_model, _ = tasks.build_models(folder.task, folder.settings, numpy.random.default_rng(0))
    assert folder.load('energy_model.npz', energy_model, 'cure')
    x = numpy.array([[3, 4]])
    numpy.testing.assert_allclose(
        sampling.energy_function(energy_model)(x), 25 - 4 * numpy.log(2), rtol=1e-6)  # four experts of log(1 + exp(0))

    done = quick_script('gaussian_mixture', '-o', out, '--resume', '-n', '1')
    assert done.returncode == 0, done.stderr
    assert '0 of 1 done' in done.stdout
    entry, = json.loads((out / 'log').read_text())
    assert entry['energy/negative'] == pytest.approx(-4 * numpy.log(2), rel=1e-6)


def test_eps_is_passed_on(run, tmp_path):
    weights.main(['export', str(run), str(tmp_path / 'torch')])
    weights.main(['import', str(tmp_path / 'torch'), str(tmp_path / 'other'), '--like', str(run), '--eps', '1e-2'])
    ours, theirs = (read(path / 'generative_model.npz') for path in (run, tmp_path / 'other'))
    numpy.testing.assert_allclose(theirs['bn1/avg_var'] - ours['bn1/avg_var'], 1e-2 - 2e-5, rtol=1e-4)
    numpy.testing.assert_array_equal(theirs['bn1/avg_mean'], ours['bn1/avg_mean'])


def test_samples_of_an_export(run, tmp_path, capsys):
    """The eps that the help names gives the very samples of the run."""
    weights.main(['export', str(run), str(tmp_path / 'torch')])
    (tmp_path / 'net.py').write_text(
        'import numpy\nfrom ddgm.networks import toy\nfrom ddgm.presets import PRESETS\n'
        "settings = PRESETS['gaussian_mixture']['default'].settings\n"
        'def Generator():\n    return toy.build_models(settings, numpy.random.default_rng(0))[1]\n')
    weights.main(['sample', str(tmp_path / 'torch'), str(tmp_path / 'samples.npz'), '--eps', '2e-5', '--generator',
                  str(tmp_path / 'net.py') + ':Generator'])
    numpy.testing.assert_array_equal(read(tmp_path / 'samples.npz')['x'], read(run / 'samples.npz')['x'])
    capsys.readouterr()
    with pytest.raises(SystemExit):
        weights.parse(['sample', '--help'])
    assert 'files of export have 2e-5' in ' '.join(capsys.readouterr().out.split())


def refused(arguments):
    """The one line with which the command refuses."""
    return refusal(weights.main, [str(argument) for argument in arguments])


def test_refused_exports(run, tmp_path):
    """A folder of something else, a run that has only begun; over this run, one that has begun, or earlier weights."""
    assert 'settings.json' in refused(['export', tmp_path, tmp_path / 'torch'])
    begun = tmp_path / 'begun'
    begun.mkdir()
    shutil.copy(run / 'settings.json', begun)
    assert 'has no energy_model.npz' in refused(['export', begun, tmp_path / 'torch'])
    (begun / 'energy_model.npz').write_bytes(b'PK')
    assert 'damaged' in refused(['export', begun, tmp_path / 'torch'])
    assert not (tmp_path / 'torch').exists()
    (tmp_path / 'file').touch()
    assert 'can\'t be written' in refused(['export', run, tmp_path / 'file'])

    run = shutil.copytree(run, tmp_path / 'run')
    weights.main(['export', str(run), str(tmp_path / 'weights')])
    before = {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()}
    for directory in ('run', 'begun/../run', 'begun', 'weights'):
        message = refused(['export', run, '{}/{}'.format(tmp_path, directory)])
        assert re.search(
            '(holds a run|_model.npz, which .*|lies in a run, .*): give another (folder|path) to DIR', message)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()}


@pytest.mark.parametrize('out', ['figures', 'new', 'deep/new', '../link/new', '../run/figures/../new'])
def test_nothing_is_written_into_a_run(out, run, tmp_path):
    """Nor into a folder in it, of any name, by any of the three."""
    shutil.copytree(run, tmp_path / 'run')
    (tmp_path / 'link').symlink_to(tmp_path / 'run')
    weights.main(['export', str(run), str(tmp_path / 'torch')])
    (tmp_path / 'net.py').touch()
    run, out = tmp_path / 'run', tmp_path / 'run' / out
    before = sorted(tmp_path.rglob('*'))
    for arguments, flag in (
            (['export', run, out], 'DIR'), (['import', tmp_path / 'torch', out, '--like', run], 'OUT'),
            (['import', run, out, '--like', run], 'OUT'),
            (['sample', run, out / 'x.npz', '--generator', tmp_path / 'net.py:G'], 'OUT'),
            (['sample', run / 'generative_model.npz', out / 'x.npz', '--generator', tmp_path / 'net.py:G'], 'OUT')):
        assert refused(arguments) == '{} lies in a run, {}: give another path to {}'.format(arguments[2], run, flag)
    assert sorted(tmp_path.rglob('*')) == before


def test_refused_imports(run, tmp_path):
    """Nothing is made of them, and a run that is there stays."""
    out = tmp_path / 'out'
    assert 'holds no file of weights' in refused(['import', tmp_path, out, '--like', run])
    weights.main(['export', str(run), str(tmp_path / 'torch')])
    path = tmp_path / 'torch' / 'generative_model.npz'
    arrays = read(path)
    numpy.savez(path, **{('l9.weight' if name == 'l2.weight' else name): array for name, array in arrays.items()})
    message = refused(['import', path.parent, out, '--like', run])
    assert all(part in message for part in ('generative_model.npz', 'missing: l2.weight', 'extra: l9.weight'))
    numpy.savez(path, x=numpy.array([{}], dtype=object))
    assert 'can\'t be read' in refused(['import', path.parent, out, '--like', run])
    assert not out.exists()
    before = (run / 'snapshot.npz').read_bytes()
    assert 'holds a run or weights: give another folder to OUT' in refused(['import', path.parent, run, '--like', run])
    assert (run / 'snapshot.npz').read_bytes() == before
    (tmp_path / 'models').mkdir()
    (tmp_path / 'link').symlink_to(tmp_path / 'models')
    path.rename(tmp_path / 'models' / 'both.npz')
    for source, target in (('models', 'models'), ('models', 'link'), ('models/both.npz', 'models/both.npz')):
        assert 'is the input or a file' in refused(['import', tmp_path / source, tmp_path / target, '--like', run])
    assert [file.name for file in (tmp_path / 'models').iterdir()] == ['both.npz']


def test_import_among_the_data(tmp_path):
    (tmp_path / 'pictures').mkdir()
    make_run(tmp_path / 'run', task='images', data=tmp_path / 'pictures', fingerprint='of some pictures')
    message = refused(['import', tmp_path / 'torch', tmp_path / 'pictures' / 'out', '--like', tmp_path / 'run'])
    assert 'lies in the folder of the data' in message
    assert message.endswith('give another folder to OUT')


@pytest.mark.parametrize('arguments', [
    '', 'export', 'export a', 'import a b', 'import a b --like', 'import a b --like c --eps 0', 'export a b c',
    'import a b --like c --eps x', 'carry a b'])
def test_bad_usage_is_one_line(arguments):
    assert '--help' in refusal(weights.parse, arguments.split())
