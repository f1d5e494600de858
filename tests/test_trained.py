"""ddgm.load and what it returns, ddgm sample, ddgm models, and the models that come with the package."""

import doctest
import json
import math
import pathlib
import re
import shutil
import subprocess
import sys
import tracemalloc

import chainer
import numpy
import pytest
from conftest import ROOT, refusal
from PIL import Image

import ddgm
import train_gaussian_mixture
import train_mnist
from benchmarks.results import package_models
from ddgm.commands import models as models_command, sample as sample_command
from ddgm.data.mnist import MNIST
from ddgm.data.standardization import Standardization
from ddgm.evaluation import metrics, tasks
from ddgm.figures import plots, post
from ddgm.refine import refinement as refine
from ddgm.runs import execution, training_state
from ddgm.support.errors import UsageError
from ddgm.support.files import read_arrays, read_json
from ddgm.trained import loading, model as model_module, packaged

N = 60  # samples of a tiny run
EXAMPLE = ROOT / 'examples' / 'own_data.py'
DATA = ROOT.parent / 'shared' / 'data'
PACKAGED = packaged.names()


@pytest.fixture(scope='module')
def tiny(tmp_path_factory, digits_folder):
    """A folder with tiny runs of three tasks, and two models of a package; only to be copied."""
    folder = tmp_path_factory.mktemp('trained')
    with pytest.MonkeyPatch.context() as patch:
        for module in (execution, training_state, package_models):
            patch.setattr(module, 'N_SCORED', N)
        for name in ('draw_points', 'draw_energy', 'draw_grid', 'draw_small_grid', 'draw_curves', 'write_gif'):
            patch.setattr(plots if name == 'draw_curves' else post, name, lambda *arguments, **options: None)
        flags = ['-n', '20', '--snapshot_interval', '10', '--figure_interval', '0', '-o']
        train_gaussian_mixture.main([*flags, str(folder / 'plane')])
        train_mnist.main([
            '--data', str(digits_folder), '--preset', 'batch_normalized_energy', '--averaged', '-b', '8', *flags,
            str(folder / 'digits'), '-n', '2'])
        sys.modules[tasks.load_task(EXAMPLE).build_models.__module__].main(
            ['-b', '8', '--channels=2', *flags, str(folder / 'shapes'), '-n', '2'])
        for run, name in (('plane', 'ten_gaussians'), ('digits', 'digits')):
            package_models.main([str(folder / run), name, '--out', str(folder / 'models'), '--commit', 'abc'])
    return folder


@pytest.fixture
def folder(tiny, tmp_path, monkeypatch):
    """A copy of that, the current folder, where the models are those of the package."""
    shutil.copytree(tiny, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(packaged, 'FOLDER', tmp_path / 'models')
    return tmp_path


def samples_of(run):
    with numpy.load(run / 'samples.npz') as file:
        return file['x']


def test_samples_energies_and_densities_of_a_run(folder):
    """Held beside the run's files, Chainer's own call of the network, and a sum over a grid."""
    model = ddgm.load('plane')
    assert (model.task, model.preset, model.settings.iterations) == (tasks.GAUSSIAN_MIXTURE, 'default', 20)
    x = model.sample(N)
    numpy.testing.assert_array_equal(x, samples_of(folder / 'plane'))
    numpy.testing.assert_array_equal(model.sample(N, seed=0), x)
    assert (model.sample(N, seed=1) != x).all(axis=1).all()
    with chainer.using_config('train', False):
        energy = model.energy_model(x).array
    numpy.testing.assert_allclose(model.energy(x.astype('f8')), energy, rtol=1e-6)
    axis = numpy.linspace(-15, 15, 301)
    grid = numpy.stack(numpy.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    assert numpy.exp(model.log_prob(grid)).sum() * 0.1 ** 2 == pytest.approx(1, abs=1e-3)
    assert model.log_z == read_json('plane/metrics.json')['log_z']


def test_log_z_is_found_once(folder, monkeypatch):
    """Where the metrics don't tell it; and where they tell why they can't, that is the reason."""
    told = read_json('plane/metrics.json')
    log_z = told.pop('log_z')
    pathlib.Path('plane/metrics.json').write_text(json.dumps(told))
    model = ddgm.load('plane')
    assert model.log_z == pytest.approx(log_z, abs=1e-4)
    monkeypatch.setattr(model_module.normalization, 'log_z', None)
    assert model.log_prob([[0, 1]]).shape == (1,)
    pathlib.Path('plane/metrics.json').write_text(json.dumps({**told, 'log_z': None, 'log_z_missing': 'too steep'}))
    model = ddgm.load('plane')
    assert 'log P(x) is not known: too steep' in refusal(lambda: model.log_z)
    assert 'log P(x) is not known: too steep' in refusal(model.log_prob, [[0, 1]])


def test_units_of_the_user(folder, rng):
    """Of points that were standardized the density is one over the user's volume."""
    model = ddgm.load('plane')
    units = Standardization((100.0, -7.0), (10.0, 0.5))
    theirs = ddgm.trained.model.Model(model.task, model.settings, model.energy_model, model.generator, units)
    x = model.sample(5)
    numpy.testing.assert_allclose(theirs.sample(5), x * [10, 0.5] + [100, -7])
    numpy.testing.assert_allclose(
        theirs.log_prob(theirs.sample(5)), model.log_prob(x) - math.log(10 * 0.5), rtol=1e-4)
    assert theirs.refine(theirs.sample(5), 2).dtype == numpy.float64
    assert 'the shape (N, 2), these have (5, 1)' in refusal(theirs.energy, theirs.sample(5)[:, :1])


@pytest.mark.parametrize('name', ['plane', 'ten_gaussians'])
def test_refinement_is_that_of_the_command(name, folder, monkeypatch):
    """A model of the package has no samples.npz, and its samples are those all the same."""
    monkeypatch.setattr(refine, 'N_SCORED', N)
    refine.refine_run(name, 5, None, 0, 'refined')
    numpy.testing.assert_array_equal(
        ddgm.load('plane').refine(samples_of(folder / 'plane'), steps=5), samples_of(folder / 'refined'))


def test_digits_in_every_form_and_without_data(folder, digits_folder, monkeypatch):
    """The data is gone, and nobody looks for it."""
    settings = read_json('digits/settings.json')
    pathlib.Path('digits/settings.json').write_text(json.dumps({**settings, 'data': 'nowhere'}))
    model = ddgm.load('digits')
    x = numpy.rint(255 * model.sample(4)).astype(numpy.uint8)
    pictures = model.as_shown(x)
    assert pictures.shape == (4, 28, 28)
    energies = model.energy(x / 255)
    for form in (x, pictures, pictures[:, None], numpy.stack(3 * [pictures], axis=-1), pictures / 255):
        numpy.testing.assert_allclose(model.energy(form), energies, rtol=1e-5)
    refined = model.refine(255 * (pictures > 127), steps=2, step_size=1e-3)  # which alone would leave the range
    assert (refined.min(), refined.max()) == (0, 1)
    assert 'leave proposals out' in refusal(model.refine, x, proposals=10)


@pytest.mark.parametrize('task', [EXAMPLE, 'the task itself'])
def test_own_task(task, folder):
    task = tasks.load_task(EXAMPLE) if task != EXAMPLE else task
    model = ddgm.load('shapes', task=task)
    x = model.sample(N)
    numpy.testing.assert_array_equal(x, samples_of(folder / 'shapes'))
    assert model.energy(numpy.rint(255 * x).astype('u1')).shape == (N,)
    assert model.as_shown(x).shape == (N, 32, 32)
    assert model.refine(x[:3], 2, 0.005).min() >= 0
    assert "'shapes' is a task of somebody's own" in refusal(ddgm.load, 'shapes')
    assert 'plane is a run of gaussian_mixture, and --task defines shapes' in refusal(ddgm.load, 'plane', task=task)


# ---- runs that have not come to their end

def test_newest_snapshot_of_a_run_that_goes_on(folder, capsys):
    """Here at its end, so that the files of the finished models tell what its models are."""
    finished = ddgm.load('plane')
    settings = read_json('plane/settings.json')
    pathlib.Path('plane/settings.json').write_text(json.dumps({**settings, 'iterations': 30}))  # it is extended
    capsys.readouterr()
    model = ddgm.load('plane')
    line = 'plane: not finished, the models of its snapshot at iteration {} of 30\n'
    assert capsys.readouterr().out == line.format(20)
    x = model.sample(N)
    numpy.testing.assert_array_equal(x, finished.sample(N))
    numpy.testing.assert_array_equal(model.energy(x), finished.energy(x))
    assert model.log_z == pytest.approx(finished.log_z, abs=1e-4)
    content = bytearray(pathlib.Path('plane/snapshot.npz').read_bytes())
    content[len(content) // 2] ^= 1
    pathlib.Path('plane/snapshot.npz').write_bytes(content)
    assert (ddgm.load('plane').sample(N) != x).any()
    assert re.fullmatch(r'plane/snapshot\.npz: damaged .*\n' + line.format(10), capsys.readouterr().out)


def test_averaged_energy_of_a_snapshot_takes_its_data(folder, capsys):
    finished = ddgm.load('digits')
    for name in ('energy_model.npz', 'metrics.json'):
        (folder / 'digits' / name).unlink()
    x = finished.sample(5)
    numpy.testing.assert_array_equal(ddgm.load('digits').energy(x), finished.energy(x))
    settings = read_json('digits/settings.json')
    pathlib.Path('digits/settings.json').write_text(json.dumps({**settings, 'data': 'nowhere'}))
    pathlib.Path('nowhere').write_text('')
    assert 'digits: not finished, and its averaged energy model has its statistics from data: ' in refusal(
        ddgm.load, 'digits')


# ---- bad input

@pytest.mark.parametrize(('call', 'message'), [
    (lambda model: model.sample(0), 'n is 0: give a whole number from 1 on'),
    (lambda model: model.sample(2.5), 'n is 2.5: give a whole number'),
    (lambda model: model.sample(10 ** 13), '10,000,000,000,000 samples take 80,000.0 GB, and '),
    (lambda model: model.sample(3, seed=-1), 'seed is -1'),
    (lambda model: model.energy(numpy.zeros((7, 3))), 'the shape (N, 2), these have (7, 3)'),
    (lambda model: model.energy([1, 2]), 'the shape (N, 2), these have (2,)'),
    (lambda model: model.log_prob([[0, math.nan], [1, 2], [math.inf, 0]]), '2 of 3 x are not finite'),
    (lambda model: model.energy([[1e300, 0]]), '1 of 1 x are not finite'),
    (lambda model: model.energy(['a']), 'give numbers (N, …)'),
    (lambda model: model.energy(numpy.zeros((0, 2))), 'x is float64 of the shape (0, 2): give numbers'),
    (lambda model: model.refine([[0, 1]], steps=-1), 'steps is -1'),
    (lambda model: model.refine([[0, 1]], step_size=0), 'step_size is 0: give a number above 0'),
])
def test_bad_arguments(call, message, folder):
    assert message in refusal(call, ddgm.load('plane'))


def damage(path):
    content = pathlib.Path(path).read_bytes()
    pathlib.Path(path).write_bytes(content[:len(content) // 2])


def of_another_version():
    settings = read_json('plane/settings.json')
    settings['versions']['ddgm'] = '0.1'
    del settings['sigma']
    pathlib.Path('plane/settings.json').write_text(json.dumps(settings))


def without_models():
    for name in ('energy_model.npz', 'snapshot.npz', 'snapshot_earlier.npz'):
        pathlib.Path('plane', name).unlink()


@pytest.mark.parametrize(('before', 'arguments', 'message'), [
    (None, ['nowhere'], 'nowhere: neither the folder of a run nor a model of the package: give one of digits, '
                        'ten_gaussians'),
    (None, ['Ten-Gaussian'], 'Ten-Gaussian: neither the folder of a run nor a model of the package: did you mean '
                             'ten_gaussians?'),
    (None, ['plane/log'], 'neither the folder of a run'),
    (None, ['models'], 'it has no settings.json'),
    (None, ['plane', 99], 'no such GPU here'),
    (of_another_version, ['plane'], '; it is a run of ddgm 0.1, and this is ' + ddgm.__version__),
    (without_models, ['plane'], 'no finished energy model, and no snapshot'),
    (lambda: damage('plane/energy_model.npz'), ['plane'], 'plane/energy_model.npz: damaged or of another run'),
    (lambda: damage('models/ten_gaussians/metrics.json'), ['ten_gaussians'],
     'models/ten_gaussians: damaged (the checksum of metrics.json is wrong): install the package anew'),
    (lambda: damage('models/ten_gaussians/metrics.json'), ['models/ten_gaussians'], 'the checksum of metrics.json'),
    (lambda: pathlib.Path('models/ten_gaussians/SHA256SUMS').unlink(), ['ten_gaussians'], 'damaged (['),
    (lambda: pathlib.Path('ten_gaussians').mkdir(), ['ten_gaussians'],
     'ten_gaussians is a folder here that holds no run, and hides the model of this name: give '),
])
def test_what_can_not_be_loaded(before, arguments, message, folder):
    if before:
        before()
    assert message in refusal(ddgm.load, *arguments)


def test_bad_input_is_a_value_error():
    with pytest.raises(ValueError, match='no model'):
        raise UsageError('no model')


# ---- in parts

@pytest.mark.parametrize(('call', 'bytes_of_a_point', 'more'), [
    (lambda model, n: model.sample(n), 2 * 4, 2 ** 20),
    # x as it is handed in and as it passes the network, energies in both types; hidden layers of 4,000 points
    (lambda model, n: model.energy(numpy.ones((n, 2))), 2 * 8 + 2 * 4 + 2 * 4 + 8, 2 ** 24)])
def test_many_points_take_their_own_memory(call, bytes_of_a_point, more, folder):
    model, n = ddgm.load('plane'), 300_000
    call(model, 1)
    tracemalloc.start()
    call(model, n)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < bytes_of_a_point * n + more


def test_parts_of_a_refinement(folder, monkeypatch):
    """Each sample passes the energy with those of its part alone, and the step keeps its size."""
    model, sizes = ddgm.load('plane'), []
    refine = model_module.refinement.langevin.refine

    def noted(energy_model, x, n_steps, step_size, rng):
        sizes.append((len(x), step_size))
        return refine(energy_model, x, n_steps, step_size, rng)
    monkeypatch.setattr(model_module.refinement.langevin, 'refine', noted)
    assert model.refine(model.sample(6000), 1).shape == (6000, 2)
    *_, first, second, third = sizes
    assert [first[0], second[0], third[0]] == [2500, 2500, 1000]
    assert first[1] == second[1] == third[1]


def test_on_a_device(device, folder):
    """The models lie there, arrays come out as NumPy's, and all is what the CPU finds; the current device stays."""
    ours, there = ddgm.load('plane'), ddgm.load('plane', device=device)
    assert chainer.get_device(device) == there.energy_model.device == there.generator.device
    x = there.sample(300)
    assert isinstance(x, numpy.ndarray)
    numpy.testing.assert_allclose(x, ours.sample(300), atol=1e-5)
    numpy.testing.assert_allclose(there.energy(x), ours.energy(x), rtol=1e-4)
    assert there.log_prob(x).shape == (300,)
    for options in ({}, {'proposals': 1000}):
        numpy.testing.assert_allclose(
            numpy.median(there.refine(x, 3, 1e-4, **options), axis=0),
            numpy.median(ours.refine(x, 3, 1e-4, **options), axis=0), atol=0.05)


# ---- the commands

@pytest.mark.parametrize('name', ['x.npz', 'x.npy', 'new/x.npz'])
def test_command_writes_samples(name, folder, capsys):
    sample_command.main(['plane', '-n', '70', '--seed', '3', '-o', name])
    read, = read_arrays(name).values()
    numpy.testing.assert_array_equal(read, ddgm.load('plane').sample(70, 3))
    assert name + ': 70 samples of the shape (2,)' in capsys.readouterr().out
    before = pathlib.Path(name).read_bytes()
    assert 'is there already: give another name to --out, or --overwrite' in refusal(
        sample_command.main, ['plane', '-o', name])
    assert pathlib.Path(name).read_bytes() == before
    sample_command.main(['plane', '-o', name, '--overwrite'])
    assert pathlib.Path(name).read_bytes() != before


def test_command_draws(folder, monkeypatch):
    """Images as a grid, which takes no matplotlib; points over those of the data."""
    code = 'import sys; from ddgm.commands.sample import main; main(); assert "matplotlib" not in sys.modules'
    program = code + '; assert not {"ddgm.studies", "ddgm.compare"} & {*sys.modules}'
    subprocess.run(
        [sys.executable, '-c', program, str(folder / 'models' / 'digits'), '-n', '20', '-o', 'digits.png'], check=True,
        cwd=folder, env={'PYTHONPATH': str(ROOT)})
    with Image.open('digits.png') as image:
        assert image.width == 1600
        lit = numpy.asarray(image.convert('L'))
    post.draw_grid('expected.png', ddgm.load('models/digits').as_shown(ddgm.load('models/digits').sample(20)))
    with Image.open('expected.png') as image:
        assert abs(lit - numpy.asarray(image.convert('L')).astype(float)).mean() < 0.1
    drawn = []
    monkeypatch.setattr(post, 'draw_points', lambda path, data, x, pixels, window: drawn.append((len(data), x)))
    sample_command.main(['plane', '-n', '9', '-o', 'points.png'])
    (n_data, x), = drawn
    assert n_data == 600
    numpy.testing.assert_array_equal(x, ddgm.load('plane').sample(9))


@pytest.mark.parametrize(('arguments', 'message'), [
    ('plane -o plane/new.npz', 'lies in a run, plane: give another path to --out'),
    ('digits -o plane/new.npz', 'lies in a run, plane'),
    ('plane -o new.txt', 'new.txt: give --out a name that ends in .npz, .npy, .png'),
    ('plane -o models', 'give --out a name'), ('plane', '--out'),
    ('plane -o x.npz -n 0', "give a whole number from 1 on, not '0'"),
    ('plane -o x.png -n 2501', 'a picture shows 2,500 samples at most'),
    ('models/digits -o x.npz -n 999999999', '999,999,999 samples take 3,136.0 GB'),
    ('plane -o x.npz -d cuda', "'cuda' is 0 or @cupy:0 here"),
    ('plane -o plane/log/x.npz', 'lies in a run'), ('models/ten_gaussians/card.md -o x.npz', 'neither the folder'),
])
def test_bad_usage_of_the_command(arguments, message, folder):
    assert message in refusal(sample_command.main, arguments.split())
    assert not list(folder.glob('x.*'))


def test_command_lists_models(folder, capsys, monkeypatch):
    models_command.main([])
    first, second, hint = capsys.readouterr().out.splitlines()
    assert first == 'digits          handwritten digits, 28×28 pixels in grey; preset batch_normalized_energy'
    assert second.startswith('ten_gaussians   ten Gaussians')
    models_command.main(['digits'])
    assert 'CC BY-SA 3.0' in capsys.readouterr().out
    assert "'digit' is no model of the package: did you mean digits?" in refusal(models_command.main, ['digit'])
    monkeypatch.setattr(packaged, 'FOLDER', folder / 'empty')
    models_command.main([])
    assert 'no models' in capsys.readouterr().out


# ---- models of the package

def numbers_of(card):
    """By metric, what a card says that samples score."""
    return {
        name: float(cell.replace('−', '-').replace(',', ''))
        for name, cell in re.findall(r'^\| `(\w[\w.]*)` \| ([−\d.,e]+) \|', card, re.MULTILINE)}


def test_packaged_model_is_the_run(folder):
    """Slim, without paths, with a card of the run's numbers."""
    for run, name in (('plane', 'ten_gaussians'), ('digits', 'digits')):
        model, x = ddgm.load('models/' + name), samples_of(folder / run)
        numpy.testing.assert_array_equal(model.sample(N), x)
        numpy.testing.assert_array_equal(model.energy(x), ddgm.load(run).energy(x))
        files = {path.name: path for path in (folder / 'models' / name).iterdir()}
        assert set(files) == {
            'settings.json', 'energy_model.npz', 'generative_model.npz', 'metrics.json', 'card.md', 'SHA256SUMS'}
        for path in (files['settings.json'], files['card.md'], files['metrics.json']):
            assert not re.search(r'"/|\\\\|`/', path.read_text())
        for file in ('energy_model.npz', 'generative_model.npz'):
            with numpy.load(files[file]) as arrays:
                assert {array.dtype for array in arrays.values() if array.dtype.kind == 'f'} == {numpy.dtype('f4')}
        card, scores = files['card.md'].read_text(), read_json(folder / run / 'metrics.json')
        for metric, number in numbers_of(card).items():
            assert scores[metric] == pytest.approx(number, rel=1e-3)
        assert '| abc |' in card
    assert re.search('`ddgm mnist --preset batch_normalized_energy --iterations 2 .*--batchsize 8 .*--averaged`', card)
    assert 'is there already' in refusal(
        package_models.main, ['plane', 'ten_gaussians', '--out', str(folder / 'models')])
    assert 'is a run of gaussian_mixture, and icons one of images' in refusal(package_models.main, ['plane', 'icons'])


@pytest.mark.parametrize('name', PACKAGED)
def test_packaged_models_score_what_their_cards_say(name):
    """Up to the rounding of another machine."""
    model, told = ddgm.load(name), numbers_of(packaged.card_of(name))
    x = model.sample(metrics.N_SCORED)
    folder = {'mnist': DATA / 'mnist', 'images': DATA / 'icons'}.get(model.task.name)
    if folder is not None and not folder.exists():
        pytest.skip('{} is not there'.format(folder))
    if model.task is tasks.MNIST:  # a classifier, for the other metrics, may take minutes
        scores = {'diversity': metrics.diversity(x, MNIST(folder).test_images[:len(x)].reshape(len(x), -1) / 255)}
    else:
        scores = tasks.open_task(model.task, folder).score(x, model.energy)
    shared = {metric for metric in scores if metric in told}
    assert shared
    for metric in shared:
        assert scores[metric] == pytest.approx(told[metric], rel=0.05, abs=0.01), metric


# ---- what is told of it

def test_examples(folder, capsys):
    """Those of docstrings, and of the page."""
    (folder / 'result').mkdir()
    shutil.copytree('plane', 'result/gaussian_mixture')
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    examples = [
        example for thing in (loading.load, model_module.Model)
        for example in finder.find(thing, globs={'ddgm': ddgm, 'model': ddgm.load('plane')})]
    told = {example.name for example in examples if example.examples}
    assert told == {'load', *('Model.' + name for name in (
        'sample', 'energy', 'log_z', 'log_prob', 'refine', 'as_shown'))}
    for example in examples:
        runner.run(example)
    assert runner.summarize().failed == 0, capsys.readouterr().out

    page = (ROOT / 'docs' / 'using.md').read_text(encoding='utf-8')
    shutil.rmtree('digits')
    names = {}
    for block in re.findall(r'```python\n(.*?)```', page, re.DOTALL):
        exec(compile(block.replace('100_000', '1000').replace('steps=100', 'steps=2'), 'using.md', 'exec'), names)
    assert names['mass'] == pytest.approx(1, abs=0.3)
    assert names['pictures'].shape == (100, 28, 28)
    for line in re.findall(r'^python -m ddgm sample (.*)$', page, re.MULTILINE):
        sample_command.main(line.split())
    assert pathlib.Path('digits.png').exists()
