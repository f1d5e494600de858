"""Data as PNG files for other programs: the pixels of training, and folders that are left as they are."""

import errno
import os
import shutil

import numpy
import pytest
from conftest import refusal
from PIL import Image

from ddgm.data import export
from ddgm.data.image_folder import ImageFolder
from ddgm.data.mnist import MNIST
from ddgm.evaluation.pictures import Pictures
from ddgm.prepare.__main__ import main


def read(path):
    with Image.open(path) as picture:
        return picture.mode, numpy.asarray(picture)


def names_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*') if path.is_file())


@pytest.fixture
def mixed(tmp_path, rng):
    """Pictures of several kinds and sizes, and a file that is none."""
    folder = tmp_path / 'data'
    (folder / 'sub').mkdir(parents=True)
    for name, mode, size in (
            ('a.png', 'RGBA', (64, 64)), ('b.jpg', 'RGB', (90, 130)), ('b.jpg.png', 'L', (64, 70)),
            ('sub/c.tif', 'LA', (200, 100)), ('sub/d.PNG', 'RGB', (64, 64)), ('sub/e.bmp', 'RGB', (8, 9))):
        pixels = rng.integers(256, size=(*size, len(mode)), dtype=numpy.uint8)
        Image.fromarray(pixels.squeeze()).save(folder / name)
    (folder / 'notes.txt').write_text('text')
    return folder


def test_pictures_are_those_of_training(mixed, tmp_path, capsys, rng):
    out = tmp_path / 'new' / 'out'
    main(['images', '--data', str(mixed), '--out', str(out)])
    assert capsys.readouterr().out == (
        '{}: 6 pictures; 1 file left out: notes.txt (not a readable picture); 1 picture is smaller than 64×64 pixels '
        'and enlarged\n'.format(out))
    assert os.listdir(tmp_path / 'new') == ['out']
    # By the name that was read, the one that was written; a second b.jpg.png gets another.
    written = {
        'a.png': 'a.png', 'b.jpg': 'b.jpg.png.png', 'b.jpg.png': 'b.jpg.png', 'sub/c.tif': 'sub/c.tif.png',
        'sub/d.PNG': 'sub/d.PNG', 'sub/e.bmp': 'sub/e.bmp.png'}
    assert names_in(out) == sorted(written.values())
    data = ImageFolder(mixed)
    assert data.paths == list(written)
    for name, image in zip(written.values(), data.images):
        mode, pixels = read(out / name)
        assert mode == 'RGB'
        numpy.testing.assert_array_equal(pixels, image.transpose(1, 2, 0))
    # What a run draws, and what it would draw from the folder that was written.
    drawn, again = (
        {image.tobytes() for image in numpy.rint(Pictures(folder).draw_data(6, rng) * 255).astype(numpy.uint8)}
        for folder in (mixed, out))
    assert drawn == again == {image.tobytes() for image in data.images}
    main(['images', '--data', str(out), '--out', str(tmp_path / 'again')])
    assert ImageFolder(tmp_path / 'again').fingerprint == ImageFolder(out).fingerprint


def test_digits(digits_folder, tmp_path, capsys):
    out = tmp_path / 'out'
    main(['mnist', '--data', str(digits_folder), '-o', str(out)])
    assert capsys.readouterr().out == '{}: 420 pictures\n'.format(out)
    data = MNIST(digits_folder)
    for part, images, labels in (
            ('train', data.train_images, data.train_labels), ('test', data.test_images, data.test_labels)):
        assert len(names_in(out / part)) == len(images)
        for i, (image, label) in enumerate(zip(images, labels)):
            mode, pixels = read(out / part / str(label) / '{:05}.png'.format(i))
            assert mode == 'L'
            numpy.testing.assert_array_equal(pixels, image.reshape(28, 28))


def test_what_was_written_is_replaced(mixed, tmp_path):
    out = tmp_path / 'out'
    out.mkdir()
    main(['images', '--data', str(mixed), '-o', str(out)])
    (mixed / 'a.png').unlink()
    shutil.rmtree(mixed / 'sub')
    main(['images', '--data', str(mixed), '-o', str(out)])
    assert names_in(out) == ['b.jpg.png', 'b.jpg.png.png']
    assert not (out / 'sub').exists()


@pytest.mark.parametrize('make', [
    lambda path: path.write_bytes(b''), lambda path: Image.new('RGB', (64, 64)).save(path, 'PNG'), os.mkfifo,
    lambda path: path.symlink_to('b.jpg.png'), lambda path: path.symlink_to('..', target_is_directory=True)])
@pytest.mark.parametrize('name', ['other.png', 'sub/other'])
def test_nothing_else_is_replaced(mixed, tmp_path, make, name):
    out = tmp_path / 'out'
    main(['images', '--data', str(mixed), '-o', str(out)])
    make(out / name)
    before = sorted(out.rglob('*'))
    assert refusal(main, ['images', '--data', str(mixed), '-o', str(out)]) == (
        '{} holds {}, which is not known to be of this program: give another folder to --out'.format(out, name))
    assert sorted(out.rglob('*')) == before
    with pytest.raises(Exception, match='is not known to be of this program'):
        export.write([], out)
    assert sorted(out.rglob('*')) == before


@pytest.mark.parametrize(('data', 'out'), [
    ('data', 'data'), ('data', 'data/out'), ('data/sub', 'data'), ('data', '.'), ('data', 'link'),
    ('linked', 'prepared'), ('linked', 'prepared/within'), ('deep/up', 'deep'), ('deep/up', 'deep/new')])
def test_no_folder_that_is_read_is_written_to(mixed, tmp_path, monkeypatch, data, out):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'link').symlink_to('data', target_is_directory=True)
    # Pictures that were written earlier, and are read through a link.
    main(['images', '--data', 'data', '-o', 'prepared'])
    (tmp_path / 'linked').mkdir()
    (tmp_path / 'linked' / 'pictures').symlink_to(tmp_path / 'prepared', target_is_directory=True)
    # A link back up: from then on the whole of deep is read.
    shutil.copytree(mixed, tmp_path / 'deep' / 'up')
    (tmp_path / 'deep' / 'up' / 'link').symlink_to('..', target_is_directory=True)
    before = sorted(tmp_path.rglob('*'))
    message = refusal(main, ['images', '--data', data, '-o', out])
    assert message.startswith('{} and {}'.format(out, data))
    assert message.endswith(', which is read, are not apart: give another folder to --out')
    assert sorted(tmp_path.rglob('*')) == before


def test_folder_that_can_not_be_written(mixed, tmp_path, monkeypatch):
    (tmp_path / 'file').write_bytes(b'')
    for out in (tmp_path / 'file', tmp_path / 'file' / 'within'):
        assert refusal(main, ['images', '--data', str(mixed), '-o', str(out)]) == (
            '{}: can\'t be written (Not a directory): give another folder to --out'.format(out))

    def fail(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    main(['images', '--data', str(mixed), '-o', str(tmp_path / 'out')])
    before = sorted(tmp_path.rglob('*'))
    monkeypatch.setattr(Image.Image, 'save', fail)
    assert ': can\'t be written (No space left on device): ' in refusal(
        main, ['images', '--data', str(mixed), '-o', str(tmp_path / 'out')])
    assert sorted(tmp_path.rglob('*')) == before


@pytest.mark.parametrize(('arguments', 'part'), [
    ([], 'images|mnist'), (['images', '-o', 'out'], '--data'), (['mnist'], '--out'),
    (['images', '--data', 'nowhere', '-o', 'out'], 'nowhere can\'t be read (No such file or directory)')])
def test_bad_usage(tmp_path, monkeypatch, arguments, part):
    monkeypatch.chdir(tmp_path)
    assert part in refusal(main, arguments)
    assert os.listdir(tmp_path) == []
