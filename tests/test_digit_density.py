"""A density of digits: pixels beside sums, chains that go on, a run of the preset, and the study of it."""

import dataclasses
import json
import types

import chainer
import numpy
import pytest
from chainer import initializers
from conftest import refusal

import ddgm
import train_mnist
from benchmarks.results import digit_density as measured
from ddgm.beyond_the_paper import hamiltonian
from ddgm.beyond_the_paper.persistent_chains import PersistentChains
from ddgm.evaluation import annealing, likelihood, sampling
from ddgm.evaluation.digits import Digits
from ddgm.models import DeepEnergyModel
from ddgm.networks import digit_density
from ddgm.networks.mnist import FeatureExtractor, _linear
from ddgm.runs import devices, run_files, run_folder, training_state
from ddgm.runs.command_line import Request
from ddgm.studies import study
from ddgm.support import tables
from ddgm.support.files import read_arrays
from ddgm.trained import packaged

TINY = [
    '--preset', 'density', '-n', '3', '-b', '8', '--snapshot_interval', '2', '--no_score', '--set', 'start_size=300',
    'population_batches=1', 'annealing_steps=5']


@pytest.fixture
def levels(rng):
    """Five pixels that are black more or less often, the first always."""
    ink = rng.integers(100, 256, size=(400, 5))
    return (ink * (rng.random((400, 5)) < numpy.linspace(0, 0.8, 5))).astype(numpy.uint8)


def density_of(levels, rng):
    """One of five pixels that has seen such levels, and whose experts of features say nothing."""
    initial_weight = initializers.Normal(0.05, rng=rng)
    energy_model = digit_density.DigitDensity(
        FeatureExtractor((10, 4, 3), _linear, 0.0, initial_weight), 3, 5, initial_weight)
    with chainer.using_config('train', False):
        energy_model(likelihood.dequantized(levels))
    energy_model.experts.experts.W.array[:] = 0
    return energy_model


# ---- pixels by themselves

@pytest.mark.parametrize('wells', [False, True])
def test_pixels_by_themselves_have_densities(wells, levels):
    known = *digit_density.moments(levels), *(digit_density.depths_of_wells(levels) if wells else ())
    for i in range(5):
        mean, deviation = known[0][i], known[1][i] ** 0.5
        grid = numpy.linspace(mean - 8 * deviation, mean + 8 * deviation, 4_001)
        density = numpy.exp([
            measured.log_likelihood_of_pixels(numpy.array([[x]]), *(array[i:i + 1] for array in known))
            for x in grid])
        assert (density * (grid[1] - grid[0])).sum() == pytest.approx(1, abs=1e-3)


def test_moments_are_those_of_levels_with_noise(levels):
    x = numpy.concatenate([likelihood.dequantized(levels), 1 - likelihood.dequantized(255 - levels)]).astype(float)
    for found, expected in zip(digit_density.moments(levels), (x.mean(axis=0), x.var(axis=0))):
        numpy.testing.assert_allclose(found, expected, rtol=0.1)


def test_wells_say_more(levels):
    x, known = likelihood.dequantized(levels), digit_density.moments(levels)
    alone = measured.log_likelihood_of_pixels(x, *known)
    assert measured.log_likelihood_of_pixels(x, *known, *digit_density.depths_of_wells(levels)) > alone + 1


def test_log_z_before_anything_is_learned(levels, rng):
    """A sum over pixels, as long as the experts of features say nothing; annealing finds it as well."""
    energy_model = density_of(levels, rng)
    x = likelihood.dequantized(levels[:100])
    _, variance = digit_density.moments(levels)
    depths, kept = digit_density.depths_of_wells(levels)
    mean = energy_model.sigma.astype(float) ** 2 * energy_model.b.array / 2
    log_z = (0.5 * numpy.log(2 * numpy.pi * variance) + mean ** 2 / (2 * variance)
             + numpy.log1p(numpy.exp(depths) * kept)).sum() + 3 * numpy.log(2)
    log_p = [
        measured.log_likelihood_of_pixels(point[None], *digit_density.moments(levels), depths, kept) for point in x]
    numpy.testing.assert_allclose(-sampling.energy_function(energy_model)(x) - log_z, log_p, rtol=1e-3, atol=1e-2)
    found = annealing.of_model(energy_model, x, n_steps=50)
    assert found.lower.log_z == pytest.approx(log_z, abs=0.3)
    assert found.upper.log_z == pytest.approx(found.lower.log_z, abs=0.3)


# ---- chains

def test_some_chains_begin_anew(levels, rng, monkeypatch):
    """At the samples that are handed in; without a move the others stay."""
    monkeypatch.setattr(hamiltonian.Path, 'moved', lambda self, chains, beta, angle, rng: (chains, 0.7))
    energy_model, chains = density_of(levels, rng), PersistentChains(0.25)
    first, second = (likelihood.dequantized(levels[start:start + 200]) for start in (0, 200))
    numpy.testing.assert_allclose(chains(energy_model, first, rng), first, rtol=1e-5)
    x = chains(energy_model, second, rng)
    anew = abs(x - second).max(axis=1) < 1e-6
    numpy.testing.assert_allclose(x[~anew], first[~anew], rtol=1e-5)
    assert 30 < anew.sum() < 70
    assert x.dtype == numpy.float32
    assert chains.angle == hamiltonian.LARGEST_ANGLE


def test_chains_follow_the_density(rng):
    """A Gaussian of two widths, from far outside."""
    energy_model = DeepEnergyModel(
        None, None, 2, sigma=numpy.array([0.02, 3.0]), initial_bias=numpy.array([100, 1], dtype=numpy.float32))
    chains = PersistentChains(0.0)
    x = numpy.full((2_000, 2), 5, dtype=numpy.float32)
    for _ in range(20):
        x = chains(energy_model, x, rng)
    numpy.testing.assert_allclose(x.mean(axis=0), [0.02, 4.5], rtol=0.05)
    numpy.testing.assert_allclose(x.std(axis=0), numpy.array([0.02, 3.0]) / 2 ** 0.5, rtol=0.07)


# ---- the preset

def test_a_run_goes_on_to_the_same_bits(digits_folder, tmp_path, monkeypatch):
    """Chains and all, and the folder is opened with a density."""
    monkeypatch.chdir(tmp_path)
    data = '--data', str(digits_folder)
    train_mnist.main([*TINY, *data, '-o', 'straight'])
    train_mnist.main([*TINY, *data, '-o', 'stopped', '-n', '2'])
    train_mnist.main(['--resume', '-o', 'stopped', '-n', '3', '--no_score'])
    for name in (*run_files.MODELS, 'snapshot.npz'):
        straight, stopped = (read_arrays(tmp_path / run / name) for run in ('straight', 'stopped'))
        assert straight.keys() == stopped.keys()
        for key in straight.keys() - {'elapsed_time', 'sha256', 'run'}:
            numpy.testing.assert_array_equal(stopped[key], straight[key], err_msg=key)
    assert straight['chains/x'].shape == (8, 784)

    model = ddgm.load('straight')
    x = model.sample(10)
    assert x.shape == (10, 784)
    assert numpy.isfinite(model.energy(x)).all()
    asked = []
    monkeypatch.setattr(annealing, 'of_model', lambda *given, **more: asked.append(more) or types.SimpleNamespace(
        log_z=3.0))
    numpy.testing.assert_array_equal(model.log_prob(x), -model.energy(x) - 3)
    assert asked == [{'n_steps': 5}]


@pytest.mark.parametrize('learning_rate', [0.0, 3e-5])
def test_the_generator_begins_as_that_of_the_package(learning_rate, digits_folder, tmp_path):
    """It goes on learning from there, or stays as it is, statistics and all."""
    run = tmp_path / 'run'
    train_mnist.main([*TINY, '--data', str(digits_folder), '-o', str(run), '--set', 'generator_learning_rate={}'.format(
        learning_rate)])
    before, after = (
        read_arrays(folder / run_files.GENERATIVE_MODEL) for folder in (packaged.FOLDER / 'digits', run))
    distances = {key: abs(after[key] - before[key]).max() for key in before}
    if learning_rate:
        assert all(0 < distances[key] < 1e-3 for key in before if key.endswith(('W', 'gamma'))), distances
    else:
        assert set(distances.values()) == {0}


def test_its_likelihood_is_told_unless_it_is_not_wanted(tmp_path):
    def tells(preset='density', **options):
        return run_folder.open_run(Request(
            task='mnist', preset=preset, data='d', out=str(tmp_path / 'run'), **options)).tells_likelihood
    assert tells()
    assert not tells(likelihood=False)
    assert not tells(score=False)
    assert not tells(preset='post')
    assert tells(preset='post', likelihood=True)


@pytest.mark.parametrize(('arguments', 'reason'), [
    (['--convolutional'], 'wells has networks of its own'),
    (['--set', 'generator_normalization=weight'], 'wells has networks of its own'),
    (['--langevin_steps', '1'], 'restarts makes chains of x⁻'),
    (['--restarts', '1.5'], 'from 0 to 1'),
    (['--generator_from', 'digit'], 'did you mean digits?'),
    (['--generator_from', 'icons'], 'give another run to --generator_from'),
    (['--set', 'n_latent=10'], 'give another run to --generator_from'),
])
def test_what_does_not_go_together(arguments, reason, digits_folder, tmp_path):
    assert reason in refusal(
        train_mnist.main, [*TINY, '--data', str(digits_folder), '-o', str(tmp_path / 'run'), *arguments])
    assert not (tmp_path / 'run').exists()


def test_chains_are_for_one_process_on_the_cpu(digits_folder, tmp_path, monkeypatch):
    arguments = [*TINY, '--data', str(digits_folder), '-o', str(tmp_path / 'run')]
    with monkeypatch.context() as patched:
        patched.setattr(devices, 'open_device', lambda *given: types.SimpleNamespace(xp=None))
        assert 'on the CPU, in one process: leave out --device' in refusal(train_mnist.main, arguments)
    several = run_folder.Processes()
    several.size = 2
    monkeypatch.setattr(run_folder, 'join', lambda name: several)
    assert 'leave out --communicator' in refusal(train_mnist.main, arguments)


# ---- the study

def test_a_short_study(digits_folder, tmp_path, monkeypatch):
    """From what it measures to the tables; chains for log Z are left out."""
    monkeypatch.setattr(likelihood.annealing, 'of_model', lambda *given, **more: types.SimpleNamespace(
        lower=types.SimpleNamespace(log_z=1.0, largest_share=0.5, n_effective=2.0),
        upper=types.SimpleNamespace(log_z=2.0, largest_share=0.5, n_effective=2.0), log_z=1.5))
    monkeypatch.setattr(training_state, 'N_SCORED', 60)
    monkeypatch.setattr(Digits, 'score', lambda self, x: dict.fromkeys(measured.OF_SAMPLES, 0.5))
    results = {}
    for case in measured.CASES:
        run = study.run_of(measured, case, 0, 2, {'mnist': str(digits_folder)}, {'mnist': 'a'}, tmp_path)
        run = dataclasses.replace(run, settings=dataclasses.replace(run.settings, batchsize=8, population_batches=1))
        results[case] = [json.loads(json.dumps(measured.measure(run)))]
    found = measured.tables(results)
    assert list(found) == ['grey_levels', 'samples']
    for table in found.values():
        assert {len(row) for row in table['rows']} == {len(table['columns'])}
        assert '| --- |' in tables.markdown(table)
    rows = {row[0]: row[1:] for row in found['grey_levels']['rows']}
    lower, upper = rows['density'][:2]
    assert upper[0] - lower[0] == pytest.approx(1, abs=0.2)


def test_one_gaussian_for_each_cluster(monkeypatch, rng):
    """Of two clusters far apart, beside the densities written out."""
    pytest.importorskip('sklearn')
    monkeypatch.setattr(measured, 'N_GAUSSIANS', 2)
    x = rng.standard_normal((600, 2)) + 50 * (numpy.arange(600) % 3 == 0)[:, None]
    found = measured.one_gaussian_for_each_cluster(x, x)
    entropy_of_choice = numpy.log(3) / 3 + numpy.log(1.5) * 2 / 3
    assert found == pytest.approx(-(1 + numpy.log(2 * numpy.pi)) - entropy_of_choice, abs=0.1)
