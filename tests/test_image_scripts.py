"""``train_mnist.py`` and ``train_images.py`` as their users run them, on almost nothing."""

import json
import os
import pathlib
import shutil
import sys

import numpy
import pytest
from conftest import assert_same_run, run_script_in
from PIL import Image
from test_scripts import LOG, assert_refused

import train_mnist
from benchmarks.results import classifier as classifier_command
from ddgm.evaluation import classifier
from ddgm.evaluation.pictures import Pictures
from ddgm.support.errors import Interrupted

TINY = ['-n', '6', '-b', '16', '--log_interval', '3', '--snapshot_interval', '3', '--figure_interval', '2']
METRICS = {
    'mnist': {
        'collapsed', 'diversity', 'class_kl', 'class_histogram', 'mode_score', 'frechet', 'frechet_train_test',
        'precision', 'recall', 'density', 'coverage', 'nearest_train', 'classifier', 'energy_gap'},
    'images': {'collapsed', 'diversity', 'nearest_train', 'energy_gap'} | {
        name + suffix for suffix in ('', '_pixels')
        for name in ('frechet', 'frechet_between_halves', 'precision', 'recall', 'density', 'coverage')},
}


@pytest.fixture(scope='module')
def tiny(digits_folder, pictures_folder):
    """The flags of a tiny run of a task."""
    return {
        'mnist': [*TINY, '--data', digits_folder],
        'images': [*TINY, '--data', pictures_folder, '--width', '0.02'],
    }


@pytest.fixture(scope='module', params=['mnist', 'images'])
def straight(request, tiny, tmp_path_factory):
    """A task, its uninterrupted tiny run, and how that has ended."""
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, folder / 'result' / request.param, run_script_in(folder, request.param, *tiny[request.param])


def test_tiny_run(straight, tiny):
    task, run, result = straight
    assert result.returncode == 0, result.stderr
    assert result.stderr == ''

    lines = result.stdout.splitlines()
    assert lines[:2] == ['Device: @numpy', '# Minibatch-size: 16']
    assert 'preset post' in lines[2]
    assert lines[3].startswith({'mnist': '300 images in ', 'images': '40 pictures in '}[task])
    assert [line.split()[0] for line in lines if 'E(x+)' in line] == ['3', '6']

    settings = json.loads((run / 'settings.json').read_text())
    assert (settings['task'], settings['preset'], settings['iterations']) == (task, 'post', 6)
    assert settings['data'] == str(tiny[task][-1 if task == 'mnist' else -3])
    log = json.loads((run / 'log').read_text())
    assert [entry['iteration'] for entry in log] == [3, 6]
    assert all(set(entry) == LOG for entry in log)
    metrics = json.loads((run / 'metrics.json').read_text())
    assert set(metrics) == METRICS[task] | {'iterations', 'seed', 'n_samples'}
    assert metrics['collapsed'] is (metrics['diversity'] < 0.25)
    with numpy.load(run / 'samples.npz') as samples:
        assert samples['x'].shape == {'mnist': (2500, 784), 'images': (2500, 3, 64, 64)}[task]
        assert samples['z'].shape == (2500, 10)
        assert 0 <= samples['x'].min() < samples['x'].max() <= 1

    for name in ('data', 'samples', 'nearest'):
        with Image.open(run / 'figures' / (name + '.png')) as image:
            # There are only forty pictures, in four rows.
            assert image.size == ((1600, 819) if (task, name) == ('images', 'data') else (1600, 1600))
    with Image.open(run / 'figures' / 'training.gif') as image:
        assert image.n_frames == 3
        assert image.size == {'mnist': (302, 302), 'images': (332, 332)}[task]
    assert (run / 'figures' / 'curves.png').exists()
    assert not list(run.rglob('*.tmp'))


def test_split_run_is_the_straight_run(straight, tiny, run_script, tmp_path):
    """It knows its data: an archive need not be said again, digits elsewhere are the same, other data is not.

    Every preset: tests/test_training_state.py.
    """
    task, run, _ = straight
    data = pathlib.Path(tiny[task][tiny[task].index('--data') + 1])
    other = shutil.copytree(data, tmp_path / 'other')
    archive = shutil.make_archive(tmp_path / 'pictures', 'zip', data)
    first, second = {'mnist': ([], ['--data', other]), 'images': (['--data', archive], [])}[task]
    assert run_script(task, *tiny[task], '-o', 'split', '-n', 4, *first).returncode == 0
    result = run_script(task, '-o', 'split', '-r', '-n', 6, *second)
    assert result.returncode == 0, result.stderr
    assert_same_run(run, tmp_path / 'split')

    if task == 'mnist':
        for kind in ('images-idx3', 'labels-idx1'):
            shutil.copy(other / 't10k-{}-ubyte.gz'.format(kind), other / 'train-{}-ubyte.gz'.format(kind))
    else:
        (other / '07.png').unlink()
        os.truncate(archive, os.path.getsize(archive) - 30)
        assert_refused(run_script(task, '-o', 'split', '-r'), archive, '--data')
    assert_refused(run_script(task, '-o', 'split', '-r', '--data', other), str(other), '--data')


@pytest.mark.parametrize(('task', 'arguments', 'words'), [
    ('images', '', ['--data', 'folder of pictures']),
    ('images', '--data nowhere', ['nowhere', '--data']),
    ('images', '--data empty', ['empty', '--data']),
    ('images', '--data texts', ['texts', 'notes.txt', '--data']),
    ('images', '--data one', ['one', '1 picture', '--batchsize']),
    ('images', '--data one --width 0', ['--width', 'factor']),
    ('images', '--data one --width wide', ['--width', 'factor']),
    ('images', '--data one --preset nothing', ['--preset', 'post_softplus', 'author']),
    ('mnist', '--data swapped', ['train-images-idx3-ubyte', '0x00000801']),
    ('mnist', '--data afile', ['afile', '--data']),
    ('mnist', '--width 0.5', ['--width']),
])
def test_bad_input(task, arguments, words, run_script, tmp_path, pictures_folder, digits_folder):
    """One line with the cure, exit status 2, nothing written."""
    (tmp_path / 'afile').write_text('precious')
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'texts').mkdir()
    (tmp_path / 'texts' / 'notes.txt').write_text('no picture')
    (tmp_path / 'one').mkdir()
    shutil.copy(pictures_folder / '00.png', tmp_path / 'one')
    shutil.copytree(digits_folder, tmp_path / 'swapped')
    shutil.copy(digits_folder / 'train-labels-idx1-ubyte.gz', tmp_path / 'swapped' / 'train-images-idx3-ubyte.gz')
    before = sorted(tmp_path.rglob('*'))
    assert_refused(run_script(task, *arguments.split()), *words)
    assert sorted(tmp_path.rglob('*')) == before


def test_batch_larger_than_the_data(tiny, run_script, tmp_path):
    assert_refused(run_script('mnist', *tiny['mnist'], '-b', 301), '300', '--batchsize')
    assert_refused(run_script('images', *tiny['images'], '-b', 41), '40 pictures', '--batchsize')


def test_data_that_nothing_can_be_compared_with(tiny, pictures_folder, run_script, tmp_path):
    """Refused before the training, not after it."""
    (tmp_path / 'few').mkdir()
    (tmp_path / 'copies').mkdir()
    for i in range(5):
        shutil.copy(pictures_folder / '0{}.png'.format(i), tmp_path / 'few')
    for i in range(20):
        shutil.copy(pictures_folder / '00.png', tmp_path / 'copies' / '{}.png'.format(i))
    assert_refused(run_script('images', *tiny['images'], '-b', 2, '--data', 'few'), 'more than 5', '--data')
    assert_refused(run_script('images', *tiny['images'], '--data', 'copies'), '20 times the same', '--data')


def test_cache_that_cannot_be_written(tiny, run_script, tmp_path):
    (tmp_path / 'ddgm').write_text('a file where the folder should be')
    result = run_script('mnist', *tiny['mnist'], env={**os.environ, 'XDG_CACHE_HOME': str(tmp_path)})
    assert_refused(result, 'XDG_CACHE_HOME', str(tmp_path / 'ddgm'))


def test_bad_picture_among_good_ones(pictures_folder, tmp_path):
    """It is named and counted in what a run says of its data, and the run goes on without it."""
    folder = tmp_path / 'pictures'
    shutil.copytree(pictures_folder, folder)
    (folder / '05.png').write_bytes((folder / '05.png').read_bytes()[:100])
    Image.new('RGB', (1, 1)).save(folder / 'dot.png')
    line = Pictures(folder, 16).description
    assert line.startswith('39 pictures in {}; 2 files left out: 05.png ('.format(folder))
    assert 'dot.png (too small' in line


def test_interrupted_while_the_classifier_is_trained(digits_folder, tiny, tmp_path, monkeypatch):
    """The pictures are there, a line says how to go on, and so does the command that trains it alone."""
    def interrupted(*arguments):
        raise KeyboardInterrupt
    monkeypatch.setattr(classifier, 'train', interrupted)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    run = tmp_path / 'run'
    with pytest.raises(Interrupted, match='interrupted after training, a snapshot is saved: draw and score with '):
        train_mnist.main([*map(str, tiny['mnist']), '-o', str(run)])
    assert {'samples.png', 'curves.png', 'training.gif'} <= {path.name for path in (run / 'figures').iterdir()}
    assert not (run / 'metrics.json').exists()

    monkeypatch.setattr(sys, 'argv', ['classifier', '--data', str(digits_folder)])
    with pytest.raises(Interrupted, match='the same command goes on after the last whole epoch'):
        classifier_command.main()
