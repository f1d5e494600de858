"""The likelihood of pictures and points: Gaussians beside NumPy's, the flag, and what else shows what it has told."""

import json
import math

import numpy
import pytest
from conftest import refusal

import ddgm
import train_mnist
import train_points
from ddgm.compare import __main__ as compare
from ddgm.evaluation import annealing, likelihood
from ddgm.runs import execution, training_state

TINY = ['-n', '2', '-b', '16', '--log_interval', '0', '--snapshot_interval', '0', '--figure_interval', '0']
TOLD = {'log_z_lower', 'log_z_upper', 'log_likelihood_lower', 'log_likelihood_upper'}


def log_density(x, mean, covariance):
    deviations = x - mean
    return -0.5 * (
        (deviations @ numpy.linalg.inv(covariance) * deviations).sum(axis=1)
        + numpy.linalg.slogdet(2 * math.pi * covariance)[1])


@pytest.mark.parametrize('n', [400, 15])
@pytest.mark.parametrize('levels', [False, True])
def test_gaussians(n, levels, rng):
    """With their covariances written out, of more and of fewer points than numbers."""
    d = 20
    learned, test = (40 * rng.standard_normal((m, d)) @ numpy.diag(numpy.linspace(0.2, 1, d)) + 128 for m in (n, 50))
    if levels:
        learned = learned.clip(0, 255).astype(numpy.uint8)
        test = test / 256
    x = (learned + 0.5) / 256 if levels else learned
    covariance = numpy.cov(x.T, bias=True) + numpy.eye(d) * (levels / 12 / 256 ** 2)
    values, vectors = numpy.linalg.eigh(covariance)
    found = likelihood._of_gaussians(learned, test)
    for name, kept in (('isotropic', 0), ('ppca', 10), ('gaussian', d)):
        spread = numpy.where(numpy.arange(d) < d - kept, values[:d - kept].mean() if kept < d else 0, values)
        if name == 'gaussian' and n < d:
            assert name not in found
        else:
            assert found[name] == pytest.approx(
                log_density(test, x.mean(axis=0), vectors * spread @ vectors.T).mean(), rel=1e-6)


def test_bits_of_uniform_noise_are_eight(rng):
    levels = rng.integers(256, size=(100, 30)).astype(numpy.uint8)
    x = likelihood.dequantized(levels)
    numpy.testing.assert_array_equal((256 * x).astype(numpy.uint8), levels)
    assert 0 <= x.min() < 0.01 < 0.99 < x.max() < 1
    assert likelihood.bits(0.0, 30) == 8  # of the density that is 1 everywhere in 0…1
    assert likelihood.bits(30 * math.log(2), 30) == 7


@pytest.mark.parametrize(('found', 'metrics', 'together'), [
    ({}, {'log_z': None, 'log_z_missing': 'steep'}, {'log_z': None, 'log_z_missing': 'steep'}),
    ({'log_z': 2.0}, {'log_z': None, 'log_z_missing': 'steep'}, {'log_z': 2.0}),
    ({'log_z': 2.0, 'log_z_lower': 1.0}, {'log_z': 1.5}, {'log_z': 1.5, 'log_z_lower': 1.0}),
    ({'log_z': None, 'log_z_missing': 'wide'}, {'log_z': 1.5}, {'log_z': 1.5}),
    ({'log_z': None, 'log_z_missing': 'wide'}, {'frechet': 1.5},
     {'log_z': None, 'log_z_missing': 'wide', 'frechet': 1.5})])
def test_which_log_z_stays(found, metrics, together):
    assert likelihood.beside(found, metrics) == together


@pytest.fixture
def quick(monkeypatch):
    """Few chains for pictures, and few samples that a run scores."""
    monkeypatch.setattr(annealing, '_CHAINS', 8)
    for module in (execution, training_state):
        monkeypatch.setattr(module, 'N_SCORED', 60)


def test_a_run_of_digits(quick, digits_folder, tmp_path, capsys, monkeypatch):
    """Its metrics, those of the loaded model, and the table of a comparison say the same."""
    monkeypatch.chdir(tmp_path)
    train_mnist.main([*TINY, '--data', str(digits_folder), '--out', 'run', '--likelihood', '--annealing_steps', '5'])
    metrics = json.loads((tmp_path / 'run' / 'metrics.json').read_text())
    bits = {'bits_per_pixel' + name for name in ('', '_lower', '_upper', '_isotropic', '_ppca')}
    assert metrics.keys() >= TOLD | bits | {'frechet', 'log_z_lower_largest_share', 'log_z_upper_n_effective'}
    assert metrics['bits_per_pixel_lower'] == pytest.approx(
        8 - metrics['log_likelihood_upper'] / 784 / math.log(2))
    assert metrics['log_z'] == pytest.approx((metrics['log_z_lower'] + metrics['log_z_upper']) / 2)
    model = ddgm.load('run')
    assert model.log_z == metrics['log_z']
    compare.main(['run', '--out', 'compared'])
    compared, = json.loads((tmp_path / 'compared' / 'comparison.json').read_text())['entries']
    assert compared['metrics']['bits_per_pixel'] == metrics['bits_per_pixel']
    train_mnist.main(['--out', 'run', '--resume'])
    assert json.loads((tmp_path / 'run' / 'metrics.json').read_text()) == metrics
    assert '--likelihood and --no_score contradict' in refusal(
        train_mnist.main, ['--likelihood', '--no_score', '--data', str(digits_folder)])


def test_a_run_of_points(quick, tmp_path, rng):
    """In the units of the user; what importance sampling finds stays, between both ends of annealing."""
    numpy.save(tmp_path / 'x.npy', rng.normal(size=(300, 3)) * [1, 10, 100])
    train_points.main([
        *TINY, '--data', str(tmp_path / 'x.npy'), '--out', str(tmp_path / 'run'), '--likelihood',
        '--annealing_steps', '100'])
    metrics = json.loads((tmp_path / 'run' / 'metrics.json').read_text())
    assert metrics['log_z_error'] < 0.1
    for end in ('lower', 'upper'):
        assert metrics['log_likelihood_' + end] == pytest.approx(metrics['log_likelihood'], abs=0.3)
    assert metrics['log_likelihood_gaussian'] > metrics['log_likelihood_isotropic']


def test_a_bracket_that_is_too_wide(quick, digits_folder, tmp_path, monkeypatch):
    """There is no value then, and both ends are told."""
    train_mnist.main([
        *TINY, '--data', str(digits_folder), '--out', str(tmp_path / 'run'), '--no_score', '--annealing_steps', '5'])
    monkeypatch.setattr(annealing, 'LARGEST_GAP', -1.0)
    monkeypatch.setattr(annealing, '_SMALLEST_GAP', -1.0)
    model = ddgm.load(tmp_path / 'run')
    said = refusal(lambda: model.log_z)
    assert said.startswith('log P(x) is not known: annealing leaves log Z open: ')
    assert said == refusal(model.log_prob, model.sample(2))
