"""The studies: quick versions of each, and what they compute beside closed forms."""

import dataclasses
import gzip
import importlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import types

import chainer
import chainer.functions as F
import ending_study
import numpy
import pytest
from conftest import HANGS_AFTER, ROOT, until

from benchmarks.results import published_icons
from ddgm import presets, training
from ddgm.data.distributions import GaussianMixture
from ddgm.evaluation import quadrature
from ddgm.fast.links import BatchNormalization
from ddgm.models import DeepEnergyModel, DeepGenerativeModel
from ddgm.networks import toy
from ddgm.studies import (
    __main__,
    analogies,
    calibration,
    correlations,
    detector,
    differences,
    digits,
    entropy,
    failures,
    study,
)
from ddgm.support import tables
from ddgm.support.errors import RunFailed, UsageError

MODULES = {name: importlib.import_module('ddgm.studies.' + name) for name in __main__.STUDIES}


# ---- each study, short

@pytest.mark.parametrize(('name', 'case', 'pictures'), [
    ('entropy', 'swiss_roll/neighbours', ['entropy.png']),
    ('activations', 'swiss_roll/ELU in the DGM', ['activations_swiss_roll.png']),
    ('calibration', 'swiss_roll/calibrated', ['calibration.png']),
    ('differences', 'gaussian_mixture/gram_matrix', []),
    ('digits', 'batch_normalized_energy', ['digits.png', 'digits_samples.png']),
    ('correlations', 'mnist/post', ['correlations.png', 'correlations_mnist_post.png']),
    ('detector', 'calibrated', ['detector.png']),
    ('analogies', 'mnist/post', ['analogies_mnist_post.png']),
    ('analogies', 'images/post', ['analogies_images_post.png']),
    ('failures', 'mnist/last_commit', ['failures.png']),
    ('failures', 'images/weight_normalized', ['failures.png']),
])
def test_quick_study(name, case, pictures, digits_folder, pictures_folder, tmp_path, monkeypatch):
    """From what it measures to tables and pictures, on few samples."""
    class Small:  # a classifier that took no time
        def features_and_probabilities(self, x):
            brightness = x.mean(axis=1)
            return x[:, :64], numpy.eye(10)[10 * brightness.argsort().argsort() // len(x)]
    monkeypatch.setattr(analogies, 'load_or_train', lambda data: (Small(), 'none'))
    monkeypatch.setattr(analogies, 'skin_tones', lambda paths: numpy.arange(len(paths)) % 3)
    monkeypatch.setattr(study.training_state, 'N_SCORED', 300)
    monkeypatch.setattr(failures, 'N_SAMPLES', 50)
    monkeypatch.setattr(quadrature, 'density', lambda *given: types.SimpleNamespace(
        log_z=0.0, divergence_of=lambda log_density: 0.0, divergence_from=lambda log_density: 0.0))
    settings_of = study.Case.settings

    def settings(case, *arguments):
        few = {'start_size': 8, 'population_batches': 2, **({'width': 0.02} if case.task == 'images' else {})}
        return dataclasses.replace(settings_of(case, *arguments), **few, **(
            {'batchsize': 4} if case.task in ('mnist', 'images') else {}))
    monkeypatch.setattr(study.Case, 'settings', settings)
    module, data = MODULES[name], {'mnist': str(digits_folder), 'images': str(pictures_folder)}
    run = study.run_of(module, case, 0, 4, data, {'mnist': 'a', 'images': 'b'}, tmp_path)
    results = {case: [json.loads(json.dumps(module.measure(run)))]}
    for table in module.tables(results).values():
        assert {len(row) for row in table['rows']} == {len(table['columns'])}
        assert '| --- |' in tables.markdown(table)
    module.draw(results, tmp_path)
    for picture in pictures:
        assert (tmp_path / picture).stat().st_size > 500


def test_averaged_energy_models_of_a_study_are_finished_with_data(pictures_folder, tmp_path, monkeypatch):
    """Their BatchNormalization takes its statistics from data and samples, as in a run."""
    monkeypatch.setattr(study.training_state, 'N_SCORED', 20)
    settings = study.Case.settings
    monkeypatch.setattr(study.Case, 'settings', lambda case, *given: dataclasses.replace(
        settings(case, *given), width=0.02, batchsize=4, start_size=4, population_batches=2))
    run = study.run_of(
        published_icons, 'calibrated', 0, 2, {'images': str(pictures_folder)}, {'images': 'a'}, tmp_path)
    assert run.settings.averaged
    scores, = published_icons.measure(run)['scores']
    assert numpy.isfinite(scores['energy_gap'])


def test_cases_train_what_is_published():
    for module in MODULES.values():
        for name, case in module.CASES.items():
            assert case.task in presets.PRESETS
            assert case.preset in presets.PRESETS[case.task]
            assert '/' not in name or name.split('/')[0] == case.task
            assert case.settings(3, module.ITERATIONS).seed == 3


# ---- from the command line

def test_a_study_of_ones_own_from_the_command_line(tmp_path, capsys):
    """A module on the path; a second call measures nothing anew."""
    arguments = ['tests.ending_study', '--cases', 'quick', '--seeds', '2', '-o', str(tmp_path)]
    __main__.main(arguments)
    printed = capsys.readouterr().out
    assert '2 of 2: quick, seed' in printed
    kept = json.loads((tmp_path / 'ending_study' / 'tables.json').read_text())
    assert (kept['seeds'], kept['iterations']) == ([0, 1], 1)
    assert tables.markdown(kept['tables']['runs']) in printed
    __main__.main(arguments)
    again = capsys.readouterr().out
    assert ' of 2: ' not in again
    assert again.split('medians')[1] == printed.split('medians')[1]


def test_other_seeds_than_the_first_ones(tmp_path, capsys):
    """Each is found in the tables, and beside runs of the first ones."""
    arguments = ['tests.ending_study', '--cases', 'quick', '--jobs', '1', '-o', str(tmp_path)]
    for flags, seeds, measured in (([], [0, 1, 2], 3), (['--seeds', '4', '--first_seed', '2'], [2, 3, 4, 5], 3)):
        __main__.main([*arguments, *flags])
        printed = capsys.readouterr().out
        assert printed.count(' of {}: quick, seed '.format(measured)) == measured
        assert '\nSeeds {} to {}, '.format(seeds[0], seeds[-1]) in printed
        kept = json.loads((tmp_path / 'ending_study' / 'tables.json').read_text())
        assert (kept['seeds'], kept['tables']['runs']['rows']) == (seeds, [['quick', seeds]])


@pytest.mark.parametrize('name', ['tables.json', 'entropy.png'])
def test_what_no_study_has_drawn_stays(name, tmp_path):
    path = tmp_path / 'entropy' / name
    path.parent.mkdir()
    path.write_text('x')
    with pytest.raises(UsageError, match='entropy holds {}, which .*: give another folder to --out'.format(name)):
        __main__.main(['entropy', '-o', str(tmp_path)])
    assert path.read_text() == 'x'


def test_cases_whose_data_is_missing_are_left_out_and_told(capsys):
    data = {'mnist': None, 'images': None}
    assert study._cases_to_measure(correlations, data, None) == ['gaussian_mixture/default', 'swiss_roll/default']
    assert capsys.readouterr().out == 'Without --mnist left out: mnist/post\n'


def test_mistakes_are_told_in_a_line(tmp_path):
    for flags, arguments in (
            ('--mnist', ['digits']), ('--images and --mnist', ['detector']),
            ('--mnist', ['calibration', '--cases', 'swiss_roll/calibrated', 'mnist/post'])):
        with pytest.raises(UsageError, match='give its folder to {}$'.format(flags)):
            __main__.main([*arguments, '-o', str(tmp_path)])
    with pytest.raises(UsageError, match='nowhere'):
        __main__.main(['failures', '--images', str(tmp_path / 'nowhere'), '-o', str(tmp_path)])
    assert not list(tmp_path.iterdir())
    (tmp_path / 'file').touch()
    with pytest.raises(UsageError, match='give another folder to --out'):
        __main__.main(['entropy', '-o', str(tmp_path / 'file')])
    with pytest.raises(UsageError, match='the folder of the data, .*: give another folder to --out'):
        __main__.main(['failures', '--images', str(tmp_path), '-o', str(tmp_path / 'studies')])
    assert [path.name for path in tmp_path.iterdir()] == ['file']
    with pytest.raises(UsageError, match='no case nonsense'):
        __main__.main(['entropy', '-o', str(tmp_path), '--cases', 'nonsense'])
    for name in ('nonsense', 'json.nonsense', 'nonsense.json'):
        with pytest.raises(UsageError, match='no study \'{}\': there are activations, '.format(name)):
            __main__.main([name])
    assert __main__.parse(['benchmarks.results.plane']).name == 'benchmarks.results.plane'


# ---- what is kept, and by what it is found again

def test_results_of_other_data_are_measured_anew(digits_folder, tmp_path, capsys):
    other = tmp_path / 'other'
    shutil.copytree(digits_folder, other)
    path = other / 'train-images-idx3-ubyte.gz'
    with gzip.open(path) as file:
        content = file.read()
    with gzip.open(path, 'wb') as file:
        file.write(content[:16] + bytes(255 - byte for byte in content[16:]))
    found = []
    for folder, times in ((digits_folder, 1), (other, 1), (digits_folder, 0)):
        study.carry_out(ending_study, {'mnist': str(folder)}, range(1), 1, None, tmp_path / 'out', ['mnist/brightness'])
        assert capsys.readouterr().out.count('1 of 1: ') == times
        (_, (brightness,)), = json.loads((tmp_path / 'out' / 'tables.json').read_text())['tables']['runs']['rows']
        found.append(brightness)
    assert found[0] + found[1] == pytest.approx(255)
    assert found[0] == found[2]


def test_what_decides_a_result(tmp_path, monkeypatch):
    """Data that it reads, settings and code; not what only shows it, nor data of other tasks."""
    def path(module=correlations, case='mnist/post', iterations=9, **fingerprints):
        study._hashes_of.cache_clear()
        return study.run_of(module, case, 0, iterations, {'mnist': 'x', 'images': 'y'}, fingerprints, tmp_path).path
    first = path(mnist='a')
    assert first == path(mnist='a', images='b') != path(mnist='c')
    assert first != path(iterations=8, mnist='a')
    monkeypatch.setattr(study.Case, 'settings', lambda case, *given: dataclasses.replace(
        presets.PRESETS[case.task][case.preset].settings, sigma=2.0))
    assert path(mnist='a') != first
    monkeypatch.undo()
    assert path(detector, 'post', mnist='a', images='b') != path(detector, 'post', mnist='a', images='c')
    package = tmp_path / 'ddgm'
    shutil.copytree(ROOT / 'ddgm', package)
    monkeypatch.setattr(study.ddgm, '__file__', str(package / '__init__.py'))
    assert path(mnist='a') == first
    for name, decides in (('figures/plots.py', False), ('studies/digits.py', False), ('fast/links.py', True)):
        (package / name).write_text('changed')
        assert (path(mnist='a') != first) == decides
    shutil.copy(ROOT / 'ddgm' / 'fast' / 'links.py', package / 'fast')
    assert path(mnist='a') == first
    known = study.code()
    monkeypatch.setattr(study.kernels, 'compiler', lambda: ('0.1', 'compiled'))
    assert known != study.code()  # within one process
    assert path(mnist='a') != first
    study._hashes_of.cache_clear()


def test_what_one_study_trained_another_goes_on_from(tmp_path, monkeypatch):
    """To the same bits as without, and nothing is trained twice; with other data or settings it is trained anew."""
    monkeypatch.setattr(study, 'KEEP_INTERVAL', 2)
    small_settings = dataclasses.replace(
        presets.PRESETS['swiss_roll']['calibrated'].settings, iterations=5, batchsize=20, n_hidden=8)

    def weights(marks, fingerprint=None, seed=0, **options):
        run = study.Run(
            calibration.__name__, 'swiss_roll/calibrated', dataclasses.replace(small_settings, seed=seed), {},
            tmp_path / 'study', '')
        run.reference.fingerprint = fingerprint
        for state in run.states(marks, **options):
            yield state.iteration, [p.array.copy() for model in state.finished_models() for p in model.params()]
    alone, first = list(weights([0, 3, 5], keeps=False)), list(weights([5]))
    assert len(list((tmp_path / 'trained').iterdir())) == 2
    trained = []
    iterations_of = study.training_state.iterations_of

    def noted(state, *arguments):
        for iteration, losses in iterations_of(state, *arguments):
            trained.append(iteration)
            yield iteration, losses
    monkeypatch.setattr(study.training_state, 'iterations_of', noted)
    again = list(weights([0, 3, 5]))
    assert trained == [3, 5]
    for one, other in zip([*alone, alone[-1]], [*again, *first]):
        assert one[0] == other[0]
        for a, b in zip(one[1], other[1]):
            numpy.testing.assert_array_equal(a, b)
    list(weights([2], seed=1))
    list(weights([2], 'other data'))
    assert trained == [3, 5, 1, 2, 1, 2]


@pytest.mark.parametrize(('case', 'error'), [('killed', RunFailed), ('interrupting', KeyboardInterrupt)])
def test_a_study_that_is_ended_leaves_its_results_and_no_process(case, error, tmp_path, capsys):
    with pytest.raises(error):
        study.carry_out(ending_study, {}, range(2), 1, None, tmp_path, ['quick', case])
    until(lambda: not multiprocessing.active_children())
    study.carry_out(ending_study, {}, range(2), 1, None, tmp_path, ['quick'])
    assert '| quick | 0, 1 |' in capsys.readouterr().out
    kept = json.loads((tmp_path / 'tables.json').read_text())
    assert kept['left_out'] == [name for name in ending_study.CASES if name != 'quick']
    assert kept['tables']['runs']['rows'] == [['quick', [0, 1]]]


def test_lost_connection(tmp_path):
    """SIGHUP comes to all processes of a study: one line, and none goes on."""
    code = 'import ending_study, pathlib; from ddgm.runs import exit_status; from ddgm.studies import study; ' \
        'exit_status.run_script(lambda: study.carry_out(ending_study, {}, range(2), 2, None, pathlib.Path("x"), ' \
        '["quick", "hanging_up"]))'
    result = subprocess.run(
        [sys.executable, '-c', code], cwd=tmp_path, start_new_session=True, capture_output=True, text=True,
        timeout=HANGS_AFTER, env={**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), str(ROOT / 'tests')])})
    assert (result.returncode, result.stderr) == (130, '-c: interrupted\n')


# ---- what they compute

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


def test_halving_the_last_layer_escapes_the_proxy(rng):
    settings = presets.PRESETS['gaussian_mixture']['default'].settings
    _, model = toy.build_models(settings, rng)
    proxy, true = entropy.shrunk(model, model.draw_latent(1000, rng), 0.5)
    assert proxy == 0
    assert true == pytest.approx(2 * numpy.log(0.5), abs=1e-3)


def test_gradient_angles_look_only(rng):
    """Cosines within −1…1; where only γ matters the neighbours' gradient is the proxy's direction."""
    class Scales(DeepGenerativeModel):
        """x = γ·(z normalized): of standard deviations γ, so H(γ) is the true entropy but for a constant."""
        def __init__(self):
            super().__init__(2)
            with self.init_scope():
                self.bn = BatchNormalization(2)
            self.bn.gamma.array[...] = 1.0, 0.5

        def forward(self, z):
            return self.bn(z)
    model = Scales()
    angles = entropy.gradient_angles(model, model.draw_latent(2000, rng), model.draw_latent(20_000, rng))
    assert angles['cosine_gamma'] > 0.95
    assert 0 < angles['share_in_gamma'] <= 1


def test_gradients_of_a_slope_behind_sigmoids():
    """E(x) = s·x of samples that are all sigmoid(a), and an entropy that is the sum of a."""
    class Constant(chainer.Link):
        def __init__(self):
            super().__init__()
            with self.init_scope():
                self.a = chainer.Parameter(numpy.array([0, 3], dtype=numpy.float32))

        def forward(self, z):
            return F.sigmoid(F.broadcast_to(self.a, (len(z), 2)))

        def entropy(self):
            return F.sum(self.a)
    slope = numpy.array([[2], [1]], dtype=numpy.float32)
    norms = digits.gradient_norms(lambda x: F.matmul(x, slope)[:, 0], Constant(), numpy.zeros((5, 1)))
    passed = numpy.hypot(2 * 0.25, numpy.exp(-3) / (1 + numpy.exp(-3)) ** 2)
    assert norms == pytest.approx({
        'gradient_of_energy': passed, 'gradient_of_entropy': 2 ** 0.5, 'pull': 5 ** 0.5, 'spread_of_pull': 1,
        'passed': passed / 5 ** 0.5}, rel=1e-5)


def test_analogies_of_a_generator_that_is_linear(rng):
    """Where the class is the sign of z₁ and x is z, arithmetic is right more often than chance, on pixels as often."""
    z = (2 * rng.random((2000, 3)) - 1).astype(numpy.float32)
    found = analogies.answers(lambda z: z / 2 + 0.5, z, z / 2 + 0.5, lambda x: (x[:, 0] > 0.5).astype(int), rng)
    for name in analogies.METHODS[:2]:
        assert found[name]['chance'] == pytest.approx(0.5, abs=0.03)
        assert found[name]['z'] > 0.8
        assert found[name]['pixels'] == pytest.approx(found[name]['z'], abs=0.08)
    assert found['half-way'] == pytest.approx({**found['half-way'], 'z': 1, 'pixels': 1, 'chance': 1})


def test_analogies_need_two_classes(rng):
    z = numpy.zeros((10, 2), dtype=numpy.float32)
    assert analogies.answers(lambda z: z, z, z, lambda x: numpy.zeros(len(x), dtype=int), rng) is None


def test_skin_tones_of_names():
    assert analogies.skin_tones(['a/emoji_u1f466_1f3fb.png', 'emoji_u1f466.png', 'emoji_u1f468_1f3ff_200d_1f33e.png']
                                ).tolist() == [1, 0, 5]


def test_moved_experts_of_a_known_energy(rng):
    """Experts that each hear one number of z, through f(x) = x and G(z) = z."""
    class Identity(DeepGenerativeModel):
        def forward(self, z):
            return chainer.Variable(z)

    class Scaled(chainer.Link):
        def forward(self, f):
            return chainer.Variable(f * numpy.array([1, 3], dtype=numpy.float32))
    energy_model = DeepEnergyModel(Identity(2), Scaled(), n_visible=2)
    moved = correlations.moved_experts(energy_model, Identity(2), numpy.zeros((5, 2), dtype=numpy.float32))
    numpy.testing.assert_allclose(moved, [[0.5, 0], [0, 1.5]], atol=0.01)  # the slope of log(1 + exp a) at 0 is ½
    assert correlations.concentration(moved) == 1


def test_held_out_share_of_a_linear_relation(rng):
    z = rng.standard_normal((200, 2))
    f = z @ rng.normal(size=(2, 5)) + 1
    assert correlations.held_out_share(f[:100], z[:100], f[100:], z[100:]) == pytest.approx(1)
    other = rng.standard_normal((200, 2))
    assert correlations.held_out_share(f[:100], other[:100], f[100:], other[100:]) < 0.1


# ---- the study of differences

def changed(change, rng):
    """Both models of the plane with a change of the table of differences, and points that have passed them."""
    models = toy.build_models(presets.PRESETS['gaussian_mixture']['default'].settings, rng)
    differences.CHANGES[change](*models)
    x = rng.normal(size=(7, 2)).astype(numpy.float32)
    training.start_from_batch(models[0], x, rng)
    return (*models, x)


@pytest.mark.parametrize(('change', 'in_training', 'in_test_mode'), [
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
    for _, losses in training.train(
            *optimizers, draw_data=GaussianMixture().sample, batchsize=20, seed=0, iterations=2):
        assert all(numpy.isfinite(float(loss)) for loss in losses.values())
    assert (generative_model.l3.W.array != before[0]).any()
    assert (energy_model.b.array != before[1]).any()
