"""The study of an energy of digits with wells: densities of one pixel beside sums, chains, and a short run."""

import json
import types

import numpy
import pytest

from benchmarks.results import digit_density
from benchmarks.results.digit_density import Chains, Way
from ddgm.evaluation import likelihood, sampling
from ddgm.studies import study
from ddgm.support import tables


@pytest.fixture
def levels(rng):
    """Five pixels that are black more or less often, the first always."""
    ink = rng.integers(100, 256, size=(400, 5))
    return (ink * (rng.random((400, 5)) < numpy.linspace(0, 0.8, 5))).astype(numpy.uint8)


@pytest.mark.parametrize('wells', [False, True])
def test_pixels_by_themselves_have_densities(wells, levels, monkeypatch):
    monkeypatch.setattr(digit_density, 'N_PIXELS', 5)
    known = *digit_density.moments(levels, 0.0), *(digit_density.depths_of_wells(levels) if wells else ())
    for i in range(5):
        mean, deviation = known[0][i], known[1][i] ** 0.5
        grid = numpy.linspace(mean - 8 * deviation, mean + 8 * deviation, 4_001)
        density = numpy.exp([
            digit_density.log_likelihood_of_pixels(numpy.array([[x]]), *(array[i:i + 1] for array in known))
            for x in grid])
        assert (density * (grid[1] - grid[0])).sum() == pytest.approx(1, abs=1e-3)


def test_wells_say_more(levels, monkeypatch):
    monkeypatch.setattr(digit_density, 'N_PIXELS', 5)
    x, known = likelihood.dequantized(levels), digit_density.moments(levels, 0.0)
    alone = digit_density.log_likelihood_of_pixels(x, *known)
    assert digit_density.log_likelihood_of_pixels(x, *known, *digit_density.depths_of_wells(levels)) > alone + 1


def test_the_energy_begins_as_the_pixels_by_themselves(levels, monkeypatch, rng):
    """Where the experts of all pixels say nothing, up to a constant."""
    monkeypatch.setattr(digit_density, 'N_PIXELS', 5)
    energy_model = digit_density.build_model(levels, Way(), 3, rng)
    energy_model.experts.experts.W.array[:] = 0
    x = likelihood.dequantized(levels[:20])
    log_p = [
        digit_density.log_likelihood_of_pixels(
            point[None], *digit_density.moments(levels, 0.0), *digit_density.depths_of_wells(levels)) for point in x]
    log_z = -sampling.energy_function(energy_model)(x) - log_p
    assert numpy.ptp(log_z) < 1e-2


def test_some_chains_begin_anew(levels, monkeypatch, rng):
    monkeypatch.setattr(digit_density, 'N_PIXELS', 5)
    energy_model, asked = digit_density.build_model(levels, Way(wells=False), 3, rng), []

    def draw(n, rng):
        asked.append(n)
        return numpy.full((n, 5), 0.5)
    chains = Chains(likelihood.dequantized(levels[:30]), [(1.0, draw), (0.0, lambda n, rng: numpy.full((n, 5), 9.0))])
    x = chains.moved(energy_model, rng)
    assert asked == [30]
    assert x.shape == (30, 5)
    assert x.dtype == numpy.float32
    assert abs(x).max() < 5  # none from where a share of 0 would have put it


def test_a_short_run(digits_folder, tmp_path, monkeypatch):
    """From what it measures to the tables; chains for log Z are left out."""
    monkeypatch.setattr(likelihood.annealing, 'of_model', lambda *given, **more: types.SimpleNamespace(
        lower=types.SimpleNamespace(log_z=1.0, largest_share=0.5, n_effective=2.0),
        upper=types.SimpleNamespace(log_z=2.0, largest_share=0.5, n_effective=2.0), log_z=1.5))
    results = {}
    for case in ('mnist/at data', 'mnist/blurred'):
        run = study.run_of(digit_density, case, 0, 2, {'mnist': str(digits_folder)}, {'mnist': 'a'}, tmp_path)
        results[case] = [json.loads(json.dumps(digit_density.measure(run)))]
    found = digit_density.tables(results)
    assert list(found) == ['grey_levels', 'blurred']
    for table in found.values():
        assert {len(row) for row in table['rows']} == {len(table['columns'])}
        assert '| --- |' in tables.markdown(table)
    rows = {row[0]: row[1:] for row in found['grey_levels']['rows']}
    lower, upper = rows['at data'][:2]
    assert upper[0] - lower[0] == pytest.approx(1, abs=0.2)


def test_one_gaussian_for_each_cluster(monkeypatch, rng):
    """Of two clusters far apart, beside the densities written out."""
    pytest.importorskip('sklearn')
    monkeypatch.setattr(digit_density, 'N_PIXELS', 2)
    monkeypatch.setattr(digit_density, 'N_GAUSSIANS', 2)
    x = rng.standard_normal((600, 2)) + 50 * (numpy.arange(600) % 3 == 0)[:, None]
    found = digit_density.one_gaussian_for_each_cluster(x, x)
    entropy_of_choice = numpy.log(3) / 3 + numpy.log(1.5) * 2 / 3
    assert found == pytest.approx(-(1 + numpy.log(2 * numpy.pi)) - entropy_of_choice, abs=0.1)
