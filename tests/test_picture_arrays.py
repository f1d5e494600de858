"""Pictures as arrays, grey ones and those of every size: the same pixels in whatever form they come."""

import json
import os
import shutil

import numpy
import pytest
from conftest import refusal
from PIL import Image

from ddgm.data import picture_cache, picture_folder
from ddgm.data.image_folder import ImageFolder
from ddgm.evaluation.pictures import Pictures, RandomFeatures
from ddgm.evaluation.pixels import pictures as form_of
from ddgm.prepare.__main__ import main as prepare

N = 12


@pytest.fixture
def coloured(rng):
    return rng.integers(256, size=(N, 32, 32, 3), dtype=numpy.uint8)


@pytest.fixture
def grey(rng):
    return rng.integers(256, size=(N, 40, 32), dtype=numpy.uint8)


def save_pictures(folder, pictures):
    folder.mkdir()
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / '{:02}.png'.format(i))
    return folder


def save_cifar(folder, pictures, n_labels=1):
    """As the page of CIFAR-10 describes it: a label, then 1,024 bytes each of red, green and blue, row by row."""
    folder.mkdir()
    rows = [bytes(n_labels) + b''.join(picture[..., i].tobytes() for i in range(3)) for picture in pictures]
    parts = {'train.bin': rows} if n_labels == 2 else {
        'data_batch_1.bin': rows[:5], 'data_batch_2.bin': rows[5:], 'test_batch.bin': rows}
    for name, part in parts.items():
        (folder / name).write_bytes(b''.join(part))
    return folder


FORMS = {
    'a.npy': lambda path, x: numpy.save(path, x),
    'channels first.npy': lambda path, x: numpy.save(path, x.transpose(0, 3, 1, 2)),
    'floats.npy': lambda path, x: numpy.save(path, (x / 255).astype(numpy.float32)),
    'opaque.npy': lambda path, x: numpy.save(path, numpy.concatenate([x, numpy.full_like(x[..., :1], 255)], axis=3)),
    'as guided-diffusion.npz': lambda path, x: numpy.savez(path, x, numpy.arange(len(x))),
    'samples of a run.npz': lambda path, x: numpy.savez(path, x=x.transpose(0, 3, 1, 2) / 255, z=numpy.ones((N, 4))),
    'as keras.npz': lambda path, x: numpy.savez(path, x_test=x[:2], x_train=x, y_train=numpy.arange(N)),
    'cifar-10': save_cifar,
    'cifar-100': lambda path, x: save_cifar(path, x, 2),
}


@pytest.mark.parametrize('name', FORMS)
def test_the_same_as_files(coloured, tmp_path, name):
    expected = ImageFolder(save_pictures(tmp_path / 'files', coloured), size=32)
    numpy.testing.assert_array_equal(expected.images, coloured.transpose(0, 3, 1, 2))
    FORMS[name](tmp_path / name, coloured)
    data = ImageFolder(tmp_path / name, size=32)
    numpy.testing.assert_array_equal(data.images, expected.images)
    assert (data.fingerprint, data.report()) == (expected.fingerprint, '')


@pytest.mark.parametrize(('save', 'n_channels'), [
    (lambda path, x: numpy.save(path, x), 1), (lambda path, x: numpy.save(path, x[:, None]), 1),
    (lambda path, x: numpy.save(path, numpy.stack([x] * 3, axis=-1)), 1),
    (lambda path, x: numpy.save(path, numpy.append(
        numpy.stack([x[1:]] * 3, axis=-1), numpy.uint8([1, 2, 3]) * numpy.ones_like(x[:1, ..., None]), axis=0)), 3),
], ids=['(N, H, W)', '(N, 1, H, W)', 'equal channels', 'one coloured'])
def test_grey_is_found_out(grey, tmp_path, save, n_channels):
    """The middle square, as files have it; one coloured picture makes all of them coloured."""
    save(tmp_path / 'x.npy', grey)
    data = ImageFolder(tmp_path / 'x.npy', size=32, grey=None)
    assert data.images.shape == (N, n_channels, 32, 32)
    assert data.images.flags.c_contiguous
    if n_channels == 1:
        numpy.testing.assert_array_equal(data.images[:, 0], grey[:, 4:36])
    assert ImageFolder(tmp_path / 'x.npy', size=32).images.shape == (N, 3, 32, 32)


def test_colours_as_grey_levels(coloured, tmp_path):
    """By the weights of ITU-R 601."""
    numpy.save(tmp_path / 'x.npy', coloured)
    levels = ImageFolder(tmp_path / 'x.npy', size=32, grey=True).images[:, 0]
    numpy.testing.assert_allclose(levels, coloured @ [0.299, 0.587, 0.114], atol=0.51)


@pytest.mark.parametrize('size', [32, 64, 128])
def test_small_pictures_are_enlarged_and_counted(tmp_path, size):
    folder = save_pictures(tmp_path / 'files', [numpy.full((side, 64), side, numpy.uint8) for side in (31, 64, 127)])
    data = ImageFolder(folder, size=size)
    assert (data.images == numpy.array([31, 64, 127]).reshape(3, 1, 1, 1)).all()
    assert data.report() == {
        32: '1 picture is smaller than 32×32 pixels and enlarged',
        64: '1 picture is smaller than 64×64 pixels and enlarged',
        128: '3 pictures are smaller than 128×128 pixels and enlarged'}[size]


def test_a_cache_for_each_form(coloured, tmp_path, monkeypatch):
    """What was found out is found again, by a resumed run too, which says it; nothing is decoded twice."""
    monkeypatch.setattr(picture_cache, '_LONG', 0)
    grey = save_pictures(tmp_path / 'grey', coloured[..., 0])
    colours = save_pictures(tmp_path / 'colours', coloured)
    made = [(folder, size, form) for folder, size, form in (
        (grey, 32, None), (grey, 32, False), (grey, 64, None), (colours, 32, None), (colours, 32, True))]
    first = {case: ImageFolder(case[0], 2, tmp_path / 'cache', *case[1:]).images.copy() for case in made}
    assert len({images.tobytes() for images in first.values()}) == len(made)
    assert len(list((tmp_path / 'cache').glob('*.npy'))) == len(made)
    monkeypatch.delattr(picture_folder.Folder, 'files')
    for case, like in [*zip(made, made), ((grey, 32, True), made[0]), ((colours, 32, False), made[3])]:
        again = ImageFolder(case[0], 2, tmp_path / 'cache', *case[1:])
        numpy.testing.assert_array_equal(again.images, first[like])


@pytest.mark.parametrize('name', ['a.npy', 'a.zip', 'cifar-10'])
def test_replaced_by_what_has_the_same_size_and_time(coloured, tmp_path, monkeypatch, name):
    """As `cp -p` and `rsync -t` leave it."""
    monkeypatch.setattr(picture_cache, '_LONG', 0)
    if name == 'a.zip':
        shutil.make_archive(tmp_path / 'a', 'zip', save_pictures(tmp_path / 'files', coloured))
    else:
        FORMS[name](tmp_path / name, coloured)
    first = ImageFolder(tmp_path / name, 2, tmp_path / 'cache').fingerprint
    path = tmp_path / name / 'data_batch_2.bin' if name == 'cifar-10' else tmp_path / name
    before, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    data = ImageFolder(tmp_path / name, 2, tmp_path / 'cache')
    assert (data.fingerprint, len(data)) != (first, N)


# ---- the range that is used

def levels(brightest, dtype):
    """Pictures with all levels up to the brightest one, which one pixel of one picture has."""
    x = numpy.arange(N * 64 * 64).reshape(N, 64, 64) % max(1, brightest)
    x[3, 5, 6] = brightest
    return x.astype(dtype)


@pytest.mark.parametrize(('brightest', 'dtype'), [
    (1, 'u1'), (1, 'u2'), (255, 'u2'), (1023, 'u2'), (4095, 'u2'), (16383, 'u2')])
@pytest.mark.parametrize('as_array', [False, True])
def test_certain_ranges_are_stretched(tmp_path, brightest, dtype, as_array):
    x, path = levels(brightest, dtype), tmp_path / 'files'
    if as_array:
        path = tmp_path / 'x.npy'
        numpy.save(path, x)
    else:
        save_pictures(path, x)
    data = ImageFolder(path, grey=None)
    numpy.testing.assert_allclose(data.images[:, 0], x / brightest * 255, atol=0.51)
    # An array of whole numbers up to 255 is of 8 bits, whatever its type; a file of 16 bits may hold few of them.
    assert data.report() == ('' if brightest == 255 and as_array else
                             'values run from 0 to {:,}, which is taken as white'.format(brightest))


@pytest.mark.parametrize(('brightest', 'dtype', 'limit'), [(20, 'u1', '255'), (3801, 'u2', '65,535')])
def test_uncertain_ranges_are_told(tmp_path, brightest, dtype, limit, monkeypatch):
    """Also where the pixels come from the cache."""
    monkeypatch.setattr(picture_cache, '_LONG', 0)
    folder = save_pictures(tmp_path / 'files', levels(brightest, dtype))
    for _ in range(2):
        data = ImageFolder(folder, 2, tmp_path / 'cache')
        assert data.report() == 'no value is above {:,} of {}, so the pictures are dark: multiply the values, if ' \
            'their range is another'.format(brightest, limit)
    assert data.images.max() == (20 if dtype == 'u1' else 15)


def test_masks_are_smoothed_when_they_shrink(tmp_path):
    """Stretched before, not after: a half-covered pixel is grey."""
    x = numpy.zeros((N, 128, 128), numpy.uint8)
    x[:, ::2] = 1
    assert abs(ImageFolder(save_pictures(tmp_path / 'files', x)).images[:, :, 8:-8].astype(int) - 128).max() < 10


# ---- what is no pictures

@pytest.mark.parametrize(('name', 'content', 'words'), [
    ('x.npy', numpy.ones((N, 64)), 'not certainly pictures: float64 of the shape (12, 64)'),
    ('x.npy', numpy.ones((N, 5, 64, 64)), 'not certainly pictures'),
    ('x.npy', numpy.zeros((0, 64, 64)), 'not certainly pictures'),
    ('x.npy', numpy.full((N, 64, 64), 'a'), 'not certainly pictures'),
    ('x.npy', numpy.full((N, 64, 64), -0.9), 'save (x + 1) / 2'),
    ('x.npy', numpy.full((N, 64, 64), 200.0), 'save x / 255'),
    ('x.npy', numpy.full((N, 64, 64), numpy.nan), 'pixels run from 0 to 1, these from nan to nan'),
    ('x.npy', numpy.full((N, 64, 64), 1 / 255), 'save 255 * x, if they were divided twice'),
    ('x.npy', numpy.full((N, 64, 64), -1), 'these from -1 to -1'),
    ('x.npy', numpy.full((N, 64, 64), 70_000), 'these from 70,000 to 70,000'),
    ('x.npy', numpy.arange(N * 4 * 4).reshape(N, 4, 4), '00000004 and 7 more (too small: 4×4 pixels)'),
    ('x.npy', b'\x93NUMPY\1\0v\0', 'give an array of pictures'),
    ('x.npy', b'', 'give an array of pictures'),
    ('x.npz', {'a': numpy.ones((N, 64, 64)), 'b': numpy.ones((N, 64, 64))}, 'b (float64 of the shape (12, 64, 64))'),
    ('x.bin', bytes(3072), '3,072 bytes, which are no pictures of CIFAR-10'),
    ('data_batch_1.bin', b'\xff' * 3073, 'no pictures of CIFAR-10'),
])
def test_bad_arrays(tmp_path, name, content, words):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        numpy.savez(path, **content)
    else:
        numpy.save(path, content)
    message = refusal(ImageFolder, path)
    assert message.startswith(str(path))
    assert words in message


# ---- everything behind

def test_samples_of_other_programs(rng):
    form, x = form_of(32, True), rng.integers(2, 256, size=(5, 32, 32), dtype=numpy.uint8)
    for samples in (x, x[:, None], x[..., None], numpy.stack([x] * 3, axis=-1), x / 255):
        numpy.testing.assert_allclose(form.conform(samples), x[:, None] / 255, atol=1e-6)
    assert 'have colours: save the mean' in refusal(form.conform, rng.random((5, 3, 32, 32)))
    assert '(N, 1, 32, 32) or (N, 32, 32, 1) or (N, 32, 32), these have (5, 64, 64)' in refusal(
        form.conform, rng.random((5, 64, 64)))
    coloured = rng.random((5, 32, 32, 3))
    numpy.testing.assert_allclose(form_of(32, False).conform(coloured), coloured.transpose(0, 3, 1, 2), atol=1e-6)


@pytest.mark.parametrize('size', [32, 64, 128])
def test_features_of_grey_are_those_of_equal_channels(rng, size):
    x = rng.random((4, 1, size, size)).astype(numpy.float32)
    features = RandomFeatures().features_of(x)
    assert features.shape == (4, 64)
    numpy.testing.assert_array_equal(features, RandomFeatures().features_of(x.repeat(3, axis=1)))


@pytest.mark.parametrize('size', [32, 128])
def test_scores_of_the_data_itself(grey, tmp_path, size):
    numpy.save(tmp_path / 'x.npy', grey)
    pictures = Pictures(tmp_path / 'x.npy', size=size, grey=None)
    assert pictures.decides == {'grey': True}
    levels, x = (draw(N, numpy.random.default_rng(7)) for draw in (pictures.draw_inputs, pictures.draw_data))
    assert levels.dtype == numpy.uint8
    numpy.testing.assert_array_equal(levels / numpy.float32(255), x)
    scores = pictures.score(pictures.shown_data(N))
    assert scores['precision'] == scores['coverage_pixels'] == 1
    assert scores['diversity'] == pytest.approx(1)
    assert scores['frechet'] == pytest.approx(0, abs=1e-6)
    assert pictures.as_shown(pictures.nearest_training(pictures.shown_data(3))).shape == (3, size, size)


def test_prepare(coloured, tmp_path):
    save_cifar(tmp_path / 'cifar', coloured)
    for flags, mode, size in ((['--size', '32'], 'RGB', 32), (['--grey'], 'L', 64)):
        prepare(['images', '--data', str(tmp_path / 'cifar'), '--out', str(tmp_path / 'out'), *flags])
        paths = sorted((tmp_path / 'out').rglob('*.png'))
        assert len(paths) == N
        with Image.open(paths[0]) as picture:
            assert (picture.mode, picture.size) == (mode, (size, size))


TINY = ['-n', 4, '-b', 4, '--snapshot_interval', 2, '--width', 0.02]


@pytest.mark.parametrize(('flags', 'form'), [
    (['--size', 32], (1, 32, 32)), (['--size', 128, '--preset', 'author', '--width', 0.01], (1, 128, 128)),
    (['--no-grey'], (3, 64, 64))])
def test_run(grey, tmp_path, quick_script, flags, form):
    """What the data has decided is in the settings, and a resumed run repeats the uninterrupted one."""
    numpy.save(tmp_path / 'x.npy', grey)
    run = [*TINY, '--data', tmp_path / 'x.npy', *flags]
    assert quick_script('images', *run).returncode == 0
    assert quick_script('images', *run, '-o', 'split', '-n', 2).returncode == 0
    assert quick_script('images', '-o', 'split', '-r', '-n', 4).returncode == 0
    settings = json.loads((tmp_path / 'split' / 'settings.json').read_text())
    assert (settings['size'], settings['grey']) == (form[1], form[0] == 1)
    assert samples_of(tmp_path / 'split').shape[1:] == form
    numpy.testing.assert_array_equal(samples_of(tmp_path / 'split'), samples_of(tmp_path / 'result' / 'images'))


def samples_of(run):
    with numpy.load(run / 'samples.npz') as file:
        return file['x']


def test_run_of_an_earlier_version(grey, tmp_path, quick_script):
    """Its settings tell neither size nor colours: 64×64 in colours, whatever the pictures are."""
    folder = save_pictures(tmp_path / 'files', grey)
    assert quick_script('images', *TINY, '--data', folder, '--no-grey').returncode == 0
    path = tmp_path / 'result' / 'images' / 'settings.json'
    settings = json.loads(path.read_text())
    assert settings.pop('size') == 64
    assert settings.pop('grey') is False
    path.write_text(json.dumps(settings))
    assert quick_script('images', '-r', '-n', 6).returncode == 0
    assert samples_of(path.parent).shape[1:] == (3, 64, 64)
