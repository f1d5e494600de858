"""The tools beside the package: what they decide and the commands that they run; not how long anything takes."""

import json
import sys

import numpy
import pytest
from conftest import ROOT
from PIL import Image

from ddgm import command_line, training
from ddgm.data.toy import GaussianMixture
from ddgm.networks import toy
from ddgm.presets import PRESETS

import chainer  # isort: skip

sys.path.insert(0, str(ROOT / 'benchmarks'))

import differences  # noqa: E402
import failures  # noqa: E402
import post_pictures  # noqa: E402


@pytest.mark.parametrize(('diversities', 'expected'), [
    ([0.1, 0.5, 0.6, 0.7, 0.7], None),  # recovers
    ([0.1, 0.5, 0.6, 0.2, 0.24, 0.1], 1000),
    ([0.1, 0.2, 0.1, 0.1, 0.2], 250),
    ([0.5, 0.1, 0.1, 0.6, 0.1], 500),  # a spike
    ([0.5, 0.1, 0.1, 0.1, 0.6], 500),  # at the end too
    ([0.5, 0.1, 0.1, 0.6, 0.6], None),
])
def test_collapse(diversities, expected):
    assert failures.collapse([(250 * (i + 1), diversity) for i, diversity in enumerate(diversities)]) == expected


def test_studied_settings_are_published_ones():
    for task, rows in failures.ROWS.items():
        for preset in rows:
            command_line.parse(task, '', ['--preset', preset, '--data', 'somewhere'])


@pytest.mark.parametrize('run', post_pictures.RUNS, ids=lambda run: run.name)
def test_commands_of_the_posts_pictures(run, tmp_path):
    script, *flags = run.command(tmp_path, 'somewhere' if run.task in command_line.DATA_FOLDERS else None)
    assert (ROOT / script).exists()
    request = command_line.parse(run.task, '', flags)
    assert request.settings().iterations == run.iterations()
    assert (request.preset, request.resume) == (run.preset(), False)
    (tmp_path / 'settings.json').touch()
    assert run.command(tmp_path, None)[-1] == '--resume'


def test_finished_runs_are_known(tmp_path):
    """By preset, length and the last picture, not by the mere presence of metrics."""
    run = post_pictures.RUNS[2]
    assert not run.is_done(tmp_path)
    (tmp_path / 'figures').mkdir()
    (tmp_path / 'settings.json').write_text(json.dumps({'preset': run.preset()}))
    (tmp_path / 'metrics.json').write_text(json.dumps({'iterations': run.iterations()}))
    assert not run.is_done(tmp_path)
    for name in (*run.copies, 'training.gif'):
        (tmp_path / 'figures' / name).touch()
    assert run.is_done(tmp_path)
    (tmp_path / 'metrics.json').write_text(json.dumps({'iterations': run.iterations() - 1}))
    assert not run.is_done(tmp_path)
    (tmp_path / 'metrics.json').write_text(json.dumps({'iterations': run.iterations()}))
    (tmp_path / 'settings.json').write_text(json.dumps({'preset': 'grey'}))
    assert not run.is_done(tmp_path)


def test_small_copies(tmp_path, rng):
    frames = tmp_path / 'figures' / 'frames'
    frames.mkdir(parents=True)
    for i in range(120):
        Image.fromarray(numpy.full((50, 50, 3), i, dtype=numpy.uint8)).save(frames / '{:09d}.png'.format(i))
    post_pictures.make_small(frames.parent / 'training.gif', tmp_path / 'small.gif')
    with Image.open(tmp_path / 'small.gif') as image:
        assert image.size == (240, 240)
        assert image.n_frames == 30
        image.seek(image.n_frames - 1)
        assert image.convert('RGB').getpixel((100, 100)) == (119, 119, 119)
    page = Image.new('RGB', (200, 300), 'white')
    page.paste((0, 0, 0), (50, 100, 150, 150))  # twice as wide as high
    page.save(tmp_path / 'page.png')
    post_pictures.make_small(tmp_path / 'page.png', tmp_path / 'small.png')
    with Image.open(tmp_path / 'small.png') as image:
        assert image.size == (440, 220)


def changed(change, rng):
    """Both models of the plane with a change of the table of differences, and points that have passed them."""
    models = toy.build_models(PRESETS['gaussian_mixture']['default'].settings, rng)
    differences.CHANGES[change](*models)
    x = rng.normal(size=(7, 2)).astype(numpy.float32)
    training.start_from_batch(models[0], x, rng)
    return (*models, x)


@pytest.mark.parametrize(('change', 'in_training', 'in_test_mode'), [
    ('none', lambda x, f: (x ** 2).sum(axis=1), lambda x, f: (x ** 2).sum(axis=1)),
    ('gram_matrix', lambda x, f: (x @ x.T).sum(axis=1), lambda x, f: (x ** 2).sum(axis=1)),
    ('per_dimension', lambda x, f: (x ** 2).mean(axis=1), lambda x, f: (x ** 2).mean(axis=1)),
    ('on_features', lambda x, f: (f ** 2).mean(axis=1), lambda x, f: (f ** 2).mean(axis=1)),
])
def test_changed_energies(change, in_training, in_test_mode, rng):
    energy_model, _, x = changed(change, rng)
    features = energy_model.feature_extractor(x).array
    others = (energy_model.bias_term(x) + energy_model.expert_term(x)).array
    for train, expected in ((True, in_training), (False, in_test_mode)):
        with chainer.using_config('train', train):
            numpy.testing.assert_allclose(
                energy_model(x).array, expected(x, features) + others, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(('change', 'weight'), [
    ('none', 1), ('mean_entropy', 1 / 256), ('entropy_0.02', 0.02), ('entropy_0.0002', 2e-4), ('entropy_0', 0)])
def test_changed_entropies(change, weight, rng):
    """As much of dH/dγ = 1/γ reaches γ, which is 1 at first."""
    _, generative_model, _ = changed(change, rng)
    gammas = [generative_model.bn1.gamma, generative_model.bn2.gamma]
    for gradient in chainer.grad([generative_model.entropy()], gammas):
        numpy.testing.assert_allclose(gradient.array, numpy.full(128, weight), rtol=1e-5)


def test_no_gamma(rng):
    _, generative_model, _ = changed('no_gamma', rng)
    assert not [name for name, _ in generative_model.namedparams() if 'gamma' in name or 'beta' in name]
    assert generative_model.entropy().array == 0
    h = generative_model.bn1(rng.normal(3, 4, size=(500, 128)).astype(numpy.float32)).array
    numpy.testing.assert_allclose(h.std(axis=0), 1, rtol=1e-3)


@pytest.mark.parametrize('change', differences.CHANGES)
def test_every_change_trains(change, rng):
    energy_model, generative_model, _ = changed(change, rng)
    before = generative_model.l3.W.array.copy(), energy_model.b.array.copy()
    optimizers = training.make_optimizer(energy_model), training.make_optimizer(generative_model)
    for _, losses in training.train(*optimizers, GaussianMixture().sample, 20, seed=0, done=0, iterations=2):
        assert all(numpy.isfinite(float(loss)) for loss in losses.values())
    assert (generative_model.l3.W.array != before[0]).any()
    assert (energy_model.b.array != before[1]).any()


def test_measured_and_kept(tmp_path):
    differences.measure('swiss_roll', 'none', 0, 2, tmp_path / 'scores.json')
    assert set(differences.SHOWN['swiss_roll']) <= json.loads((tmp_path / 'scores.json').read_text()).keys()


def test_shown_medians():
    assert differences.show([0.5, 0.25, 1.0]) == '**0.5** (0.5, 0.25, 1)'
    assert differences.show([0.5, None, 1.0]) == '– (0.5, –, 1)'
