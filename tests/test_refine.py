"""python -m ddgm.refine: samples of an energy model itself."""

import dataclasses
import json
import math
import shutil

import numpy
import pytest
from chainer import serializers
from conftest import ROOT, refusal

import ddgm
import train_gaussian_mixture
import train_mnist
from ddgm.beyond_the_paper import langevin
from ddgm.evaluation import sampling, tasks
from ddgm.models import DeepEnergyModel
from ddgm.networks import toy
from ddgm.presets import PRESETS
from ddgm.refine.__main__ import main
from ddgm.runs import execution, training_state
from ddgm.trained import refinement


@pytest.fixture(scope='module')
def short_run(tmp_path_factory):
    """A short run that has ended; only to be copied."""
    folder = tmp_path_factory.mktemp('short') / 'run'
    train_gaussian_mixture.main(['-n', '20', '-o', str(folder)])
    return folder


@pytest.fixture
def run(short_run, tmp_path, monkeypatch):
    """A short run that has ended, in the current folder."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(short_run, tmp_path / 'run')


def test_tuned_steps_leave_the_density(rng):
    """Of a Gaussian of known width: the law stays, and a little more than half of the moves are taken."""
    model = DeepEnergyModel(None, None, n_visible=2, sigma=0.2 * 2 ** 0.5, initial_bias=0)  # N(0, 0.2²I)
    x = (0.2 * rng.standard_normal((4000, 2))).astype(numpy.float32)
    for step_size in (1e-5, 1.0):
        moved, tuned = langevin.tune_step_size(model, x, step_size, rng)
        assert float((langevin.refine(model, moved, 1, tuned, rng) != moved).any(axis=1).mean()) == pytest.approx(
            0.574, abs=0.05)
        moved = langevin.refine(model, moved, 50, tuned, rng)
        assert moved.std(axis=0) == pytest.approx([0.2, 0.2], rel=0.05)
        assert abs(numpy.corrcoef(moved[:, 0], x[:, 0])[0, 1]) < 0.1  # and it has forgotten where it started


def test_refined_samples_follow_the_energy_model(run, capsys):
    """A narrow start spreads to the density; the run stays as it is, and the same command writes the same bits."""
    before = {path: path.read_bytes() for path in run.rglob('*') if path.is_file()}
    main(['run', '-n', '30', '-o', 'first'])
    out = capsys.readouterr().out
    assert 'Refining 2,500 samples by 30 steps' in out
    assert [line.split()[0] for line in out.splitlines() if line.startswith('coverage')] == ['coverage']
    main(['run', '-n', '30', '-o', 'second'])
    assert {path: path.read_bytes() for path in run.rglob('*') if path.is_file()} == before
    folders = [run.parent / name for name in ('first', 'second')]
    assert {path.name for path in folders[0].iterdir()} == {'samples.npz', 'metrics.json', 'samples.png'}
    first, second = (numpy.load(folder / 'samples.npz')['x'] for folder in folders)
    numpy.testing.assert_array_equal(first, second)
    assert first.shape == (2500, 2)
    assert first.dtype == numpy.float32
    metrics = json.loads((folders[0] / 'metrics.json').read_text())
    assert (metrics['steps'], metrics['run'], metrics['n_samples']) == (30, 'run', 2500)
    assert math.isfinite(metrics['kl_generator_data'])
    assert metrics['log_z'] == json.loads((run / 'metrics.json').read_text())['log_z']


def test_chosen_proposals_follow_the_energy_model(run, capsys):
    """Though G draws one narrow cloud, and steps that hardly move keep what was chosen; by sums over a grid."""
    main(['run', '-n', '1', '--step_size', '1e-9', '--proposals', '100000', '-o', 'refined'])
    told = capsys.readouterr().out
    assert 'never moved' not in told
    assert 'too narrow' not in told
    metrics = json.loads((run.parent / 'refined' / 'metrics.json').read_text())
    assert (metrics['proposals'], metrics['step_size']) == (100_000, 1e-9)
    with numpy.load(run.parent / 'refined' / 'samples.npz') as file:
        x = file['x']
    energy_model, _ = toy.build_models(
        PRESETS['gaussian_mixture']['default'].settings, numpy.random.default_rng(0))
    serializers.load_npz(run / 'energy_model.npz', energy_model)
    axis = numpy.linspace(-8, 8, 321, dtype=numpy.float32)
    grid = numpy.stack(numpy.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    weights = numpy.exp(-sampling.energy_function(energy_model)(grid).astype(numpy.float64))
    mean = numpy.average(grid, axis=0, weights=weights)
    deviation = numpy.average((grid - mean) ** 2, axis=0, weights=weights) ** 0.5
    assert x.shape == (2500, 2)
    assert x.mean(axis=0) == pytest.approx(mean, abs=0.1)
    assert x.std(axis=0) == pytest.approx(deviation, rel=0.05)


@pytest.mark.parametrize('n_proposals', [1, 3])
def test_no_more_proposals_than_asked_for(n_proposals, rng):
    settings = PRESETS['gaussian_mixture']['default'].settings
    energy_model = DeepEnergyModel(None, None, n_visible=2)
    x, _ = refinement.refine(
        energy_model, rng.standard_normal((2500, 2)).astype('f'), settings, 1, 1e-12, n_proposals, rng, warn=print)
    assert x.shape == (2500, 2)
    assert len(numpy.unique(x.round(2), axis=0)) <= n_proposals


@pytest.mark.parametrize(('flags', 'line'), [
    (['--step_size', '1e6'], '100% of the samples were never moved: give a smaller step_size, or none, or train'),
    (['--proposals', '3'], ' of 3 proposals: take more; where that does not help, the energy is too narrow for')])
def test_what_hardly_follows_the_density_is_told(flags, line, run, capsys):
    main(['run', '-n', '2', '--step_size', '1e-6', *flags])
    told = capsys.readouterr().out
    assert line in told
    assert 'The run has 20 of the 20,000 iterations of its preset: its energy may not be a density yet\n' in told
    number, name = flags[1], flags[0][2:]
    with pytest.warns(UserWarning, match=line):
        ddgm.load('run').refine(numpy.zeros((2500, 2)), 2, **{'step_size': 1e-6, name: json.loads(number)})


def test_proposals_are_for_the_plane(run):
    settings = {
        **json.loads((run / 'settings.json').read_text()), 'task': 'mnist', 'preset': 'post', 'data': 'x',
        **dataclasses.asdict(PRESETS['mnist']['post'].settings)}
    (run / 'settings.json').write_text(json.dumps(settings))
    assert 'no run in the plane' in refusal(main, ['run', '--proposals', '10'])


@pytest.mark.parametrize(('arguments', 'message'), [
    (['nowhere'], 'neither the folder of a run nor a model of the package'),
    (['run', '-o', 'run/refined'], 'lies in a run'),
    (['run', '-o', 'run'], 'run holds a run: give another folder to --out'),
    (['run', '-o', 'run/log/x'], 'lies in a run'),
    (['run', '--step_size', '0'], 'give a number above 0'),
    (['run', '-n', '0'], 'give a whole number from 1 on'),
    (['run', '--proposals', '0'], 'give a whole number from 1 on'),
    (['unfinished'], 'no finished energy model'),
    (['damaged'], 'no samples'),
    (['run', '-o', 'run.txt'], 'give another folder to --out'),
    (['run', '--task', str(ROOT / 'examples' / 'own_data.py')],
     'run is a run of gaussian_mixture, and --task defines shapes: leave it out'),
])
def test_bad_input_has_one_line(arguments, message, run):
    (run.parent / 'run.txt').touch()
    (run.parent / 'unfinished').mkdir()
    shutil.copy(run / 'settings.json', run.parent / 'unfinished')
    (run.parent / 'damaged').mkdir()
    for file in ('settings.json', 'energy_model.npz', 'generative_model.npz'):
        shutil.copy(run / file, run.parent / 'damaged')
    (run.parent / 'damaged' / 'samples.npz').write_text('none')
    assert message in refusal(main, arguments)


@pytest.mark.parametrize('files', [
    {'samples.png': 'x'}, {'samples.npz': 'x', 'metrics.json': '{"samples": 1, "run": "a"}'}, {'metrics.json': 'x'}])
def test_what_no_refinement_has_written_stays(files, run):
    out = run.parent / 'out'
    out.mkdir()
    for name, text in files.items():
        (out / name).write_text(text)
    line = refusal(main, ['run', '-o', 'out'])
    assert line.startswith('out holds {}, which'.format(next(iter(files))))
    assert line.endswith('give another folder to --out')
    assert {path.name: path.read_text() for path in out.iterdir()} == files
    main(['run', '-n', '1', '--step_size', '1e-9', '-o', 'new'])
    main(['run', '-n', '1', '--step_size', '1e-9', '-o', 'new'])  # which takes the place of an earlier one


def test_refined_digits_are_digits(digits_folder, tmp_path, monkeypatch, capsys):
    """The energy knows of no edge, and what left 0 to 1 under it is clipped: compare takes what refine has written."""
    monkeypatch.chdir(tmp_path)
    for module in (execution, training_state):
        monkeypatch.setattr(module, 'N_SCORED', 30)
    train_mnist.main(['-n', '2', '-b', '8', '--data', str(digits_folder), '-o', 'run'])
    capsys.readouterr()
    main(['run', '-n', '3', '--step_size', '0.01'])
    assert 'Clipped to 0 … 1: ' in capsys.readouterr().out
    with numpy.load(tmp_path / 'result' / 'refined' / 'samples.npz') as file:
        x = file['x']
    numpy.testing.assert_array_equal(tasks.open_task('mnist', digits_folder).conform(x), x)
    with open(tmp_path / 'run' / 'settings.json') as file:
        settings = json.load(file)
    (tmp_path / 'run' / 'settings.json').write_text(json.dumps({**settings, 'data_fingerprint': 'of others'}))
    assert 'no longer holds the data that run has learned from' in refusal(main, ['run'])
