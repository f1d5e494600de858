"""Today's libraries beside the presets: by the libraries where they are installed, else by stand-ins of theirs."""

import dataclasses
import importlib.util
import inspect
import json
import math
import sys
import time

import libraries_stand_in
import numpy
import pytest

from benchmarks.results import beside_libraries as beside, catalogue
from ddgm.data.distributions import GaussianMixture
from ddgm.evaluation import quadrature
from ddgm.presets import PRESETS
from ddgm.studies import study
from ddgm.support.errors import UsageError
from ddgm.support.tables import markdown

MIXTURE = GaussianMixture()


def draw_data(n):
    return MIXTURE.sample(n, numpy.random.default_rng(1)).astype(float)


def true_energy(x):
    return -MIXTURE.log_density(x)


@pytest.fixture
def few(monkeypatch):
    """Few samples and points, so that a method takes no time."""
    monkeypatch.setattr(beside, 'N_SCORED', 400)
    monkeypatch.setattr(beside, 'N_OF_P', 400)
    monkeypatch.setattr(beside, 'FIRST', 1)
    monkeypatch.setattr(beside, 'N_PROPOSALS', 20_000)
    for name, (method, settings) in beside.LEARNERS.items():
        if 'points' in settings:
            monkeypatch.setitem(beside.LEARNERS, name, (method, {'points': 50}))


def run_of(name, tmp_path, iterations=1, seed=0):
    return study.run_of(beside, name, seed, iterations, {}, {beside.TASK: 'a'}, tmp_path)


def learned(**changes):
    return dataclasses.replace(beside.Learned(true_energy, draw_data, 1), **changes)


# ---- each method

@pytest.mark.parametrize('name', beside.LEARNERS)
def test_a_method(name, few, tmp_path, monkeypatch):
    """It learns for as long as it is told, and is scored."""
    packages = beside.LEARNERS[name][0].packages
    modules = [beside.MODULES.get(package, package) for package in packages]
    if any(importlib.util.find_spec(module) is None for module in modules):
        assert 'sklearn' not in modules, 'pip install scikit-learn'
        for module in modules:
            monkeypatch.setitem(sys.modules, module, libraries_stand_in.stand_in(module))
    iterations = 2  # some hundredths of a second
    begun = time.process_time()
    found = json.loads(json.dumps(beside.measure(run_of(name, tmp_path, iterations))))
    assert time.process_time() - begun >= found['seconds']
    assert (found['updates'] is None) == ('sklearn' in modules)
    if found['updates'] is not None:
        assert found['updates'] > 0
        assert found['seconds'] >= beside.SECONDS * iterations / beside.ITERATIONS
    assert set(found['density']) == {*beside.COLUMNS[:3], 'cut_off'}
    assert math.isfinite(found['density']['log_likelihood'])
    assert found['samples']['drawn']['seconds'] > 0


@pytest.mark.parametrize('name', beside.PRESETS)
def test_a_preset(name, few, tmp_path, monkeypatch):
    """Those whose energy is a density have refined samples too."""
    monkeypatch.setattr(quadrature, 'density', lambda *given: quadrature.Density(
        0.0, (numpy.zeros((1, 2)), numpy.zeros(1), numpy.zeros(1)), (numpy.zeros((1, 2)), 1.0, numpy.zeros(1))))
    settings = study.Case.settings
    monkeypatch.setattr(study.Case, 'settings', lambda case, *given: dataclasses.replace(
        settings(case, *given), iterations=2, start_size=8, population_batches=2))
    run = run_of(name, tmp_path)
    found = json.loads(json.dumps(beside.measure(run)))
    assert run.settings.iterations == found['updates'] == 2
    assert set(found['samples']) == {'drawn', 'refined'} if name in beside.REFINED else {'drawn'}
    assert found['seconds'] > 0


def test_a_missing_package_is_one_line(tmp_path, monkeypatch):
    for module in ('torch', 'ebm'):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError) as refused:
        beside.measure(run_of('ebmkit, NCE', tmp_path))
    assert str(refused.value) == 'this needs torch and ebmkit: pip install torch ebmkit; or choose other --cases'


def test_tuned_settings_are_those_of_the_method():
    """One that it does not know would show after minutes only."""
    for name, (method, settings) in beside.LEARNERS.items():
        known = inspect.signature(method.learn).parameters
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
            assert settings.keys() <= known.keys(), name
        assert not name.endswith(beside.TUNED) or method.tuned, name


def test_a_shorter_preset_keeps_its_phases(tmp_path):
    for name, case in beside.CASES.items():
        if name in beside.PRESETS:
            run = run_of(name, tmp_path, beside.ITERATIONS)
            assert beside.shortened(run, run.settings.iterations).settings == run.settings
            assert run.settings.iterations == PRESETS[beside.TASK][case.preset].settings.iterations
    assert run_of('default', tmp_path).settings.iterations == 20_000
    shorter = beside.shortened(run_of('density', tmp_path), 1_000).settings
    assert (shorter.iterations, shorter.proposals_from, shorter.decay_from) == (1_000, 150, 150)


# ---- scores

def test_the_truth_is_perfect():
    """As an energy, by quadrature, and as a density whose log Z is 0."""
    for exact in (False, True):
        found = beside.scores_of_density(learned(exact=exact), draw_data(500))
        assert found['cut_off'] is None
        assert found['kl_data_energy'] == pytest.approx(0, abs=1e-5)
        assert found['kl_energy_data'] == pytest.approx(0, abs=1e-5)
        assert found['log_likelihood'] == pytest.approx(-1.4, abs=0.05)
    assert 0 < beside.scores_of_samples(draw_data(2_500))['kl_generator_data'] < 0.1


def test_a_wider_density_has_the_divergences_of_the_quadrature():
    """Exactly told it has those of its energy, as far as samples tell."""
    rng = numpy.random.default_rng(2)

    def energy(x):
        return (x ** 2).sum(axis=1) / 4.5 + math.log(4.5 * math.pi)
    found = [beside.scores_of_density(
        learned(energy=energy, draw=lambda n: 1.5 * rng.standard_normal((n, 2)), exact=exact), draw_data(500))
        for exact in (False, True)]
    for name in beside.COLUMNS[:2]:
        assert found[1][name] == pytest.approx(found[0][name], rel=1e-3)
    assert found[1]['kl_energy_data'] == pytest.approx(found[0]['kl_energy_data'], rel=0.05)


@pytest.mark.parametrize('inside', [true_energy, lambda x: numpy.zeros(len(x))], ids=['the truth', 'flat'])
def test_an_energy_without_an_integral_is_cut_off_at_a_square(inside):
    """Flat further out than the square: what lies there is left out, and the energy may be flat within it too."""
    def energy(x):
        return numpy.where(abs(x).max(axis=1) <= beside.SQUARE, inside(x), 0.0)
    x = numpy.concatenate([draw_data(500), [[math.nan, 0], [1e30, 0]]])
    found = beside.scores_of_density(learned(energy=energy), x)
    assert 'away from the origin' in found['cut_off']
    area = (2 * beside.SQUARE) ** 2
    expected = 0 if inside is true_energy else math.log(area) - MIXTURE.entropy
    assert found['kl_data_energy'] == pytest.approx(expected, abs=1e-4)
    if inside is true_energy:
        assert found['kl_energy_data'] == pytest.approx(0, abs=1e-5)
    else:
        assert found['log_likelihood'] == pytest.approx(-math.log(area))


def test_chains_that_ran_away_have_no_score():
    assert beside.scores_of_samples(numpy.full((100, 2), math.nan)) == {'kl_generator_data': None}


# ---- tables

def test_tables(tmp_path):
    """A row a case, another where samples are refined, and the data itself; what has no value is a dash."""
    def result(case):
        return {
            'seconds': 1.25, 'updates': 3,
            'density': {**dict.fromkeys(beside.COLUMNS[:3], -1.0), 'kl_energy_data': None, 'cut_off': 'why'},
            'samples': dict.fromkeys(
                ('drawn', 'refined') if case in beside.REFINED else ('drawn',),
                {'kl_generator_data': 0.5, 'seconds': 0.125})}
    results = {case: 3 * [result(case)] for case in beside.CASES}
    found = beside.tables(results)
    names = [row[0] for row in found['scores']['rows']]
    assert len(names) == len(set(names)) == len(beside.CASES) + len(beside.REFINED) + 1
    assert {'`density`', '`density`, refined', 'zuko, spline flow, tuned', 'real data'} <= set(names)
    text = markdown(found['scores'])
    assert '| `default` | 1.2 | 3 | **−1** (−1, −1, −1) | **−1** (−1, −1, −1) | **–** (–, –, –) | ' in text
    assert '0 of 3' in text
    assert len(found['settings']['rows']) == len(beside.METHODS)
    assert '`step_size=0.001`' in markdown(found['settings'])


def test_the_catalogue_names_its_packages():
    result, = (result for result in catalogue.ALL if result.name == 'beside_libraries')
    needed = {package for method in beside.METHODS.values() for package in method.packages}
    assert set(result.packages) == {'Chainer', 'NumPy', 'numba', *needed}
