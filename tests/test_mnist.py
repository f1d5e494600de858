"""The reader on files made by hand and on every kind of bad one; the draws."""

import gzip
import hashlib
import os
import struct
import tracemalloc

import numpy
import pytest
from conftest import ROOT, refusal

from ddgm.data.mnist import CHECKSUMS, MNIST, N_CLASSES, SIDE, fetch, read_idx
from ddgm.evaluation.digits import Digits

NAMES = list(CHECKSUMS)
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = NAMES
SHARED = ROOT.parent / 'shared' / 'data' / 'mnist'


def idx(array, number_type=8):
    """The bytes of an IDX file: two zeros, number type, number of axes, sizes from the high byte on, numbers."""
    sizes = struct.pack('>{}I'.format(array.ndim), *array.shape)
    return bytes([0, 0, number_type, array.ndim]) + sizes + array.tobytes()


def draw_arrays():
    """30 + 20 images and labels, all of them different."""
    rng = numpy.random.default_rng(1)
    return {
        TRAIN_IMAGES: rng.integers(0, 256, size=(30, SIDE, SIDE), dtype=numpy.uint8),
        TRAIN_LABELS: rng.permutation(numpy.arange(30, dtype=numpy.uint8) % N_CLASSES),
        TEST_IMAGES: rng.integers(0, 256, size=(20, SIDE, SIDE), dtype=numpy.uint8),
        TEST_LABELS: rng.permutation(numpy.arange(20, dtype=numpy.uint8) % N_CLASSES),
    }


def write(folder, arrays, compressed=True):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        if compressed:
            (folder / name).write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name[:-3]).write_bytes(idx(array))
    return folder


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / 'data', draw_arrays())


# ---- reading

@pytest.mark.parametrize('compressed', [True, False])
def test_idx_by_hand(tmp_path, compressed):
    pack = gzip.compress if compressed else bytes
    path = tmp_path / 'file'
    path.write_bytes(pack(bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 1, 2, 3, 40, 50, 255])))
    images = read_idx(path, 3)
    assert images.dtype == numpy.uint8
    assert images.tolist() == [[[1, 2, 3]], [[40, 50, 255]]]
    path.write_bytes(pack(bytes([0, 0, 8, 1, 0, 0, 1, 1]) + bytes(range(256)) + b'\x07'))
    assert read_idx(path, 1).tolist() == [*range(256), 7]


@pytest.mark.parametrize('compressed', [True, False])
def test_four_files(tmp_path, compressed):
    """Some of them may be of the other kind, or of both, as when they are unpacked one at a time."""
    arrays = draw_arrays()
    data = MNIST(write(tmp_path, arrays, compressed))
    for name, read in zip(NAMES, (data.train_images, data.train_labels, data.test_images, data.test_labels)):
        assert read.dtype == numpy.uint8
        numpy.testing.assert_array_equal(read, arrays[name].reshape(len(arrays[name]), -1).squeeze())
    assert data.train_images.shape == (30, 784)
    assert data.test_labels.shape == (20,)
    (tmp_path / (TRAIN_IMAGES if compressed else TRAIN_IMAGES[:-3])).unlink()
    for name in (TRAIN_IMAGES, TEST_LABELS):
        write(tmp_path, {name: arrays[name]}, not compressed)
    assert MNIST(str(tmp_path)).fingerprint == data.fingerprint


# By name: where torchvision, unpackers and others put a file, given its usual name without and with .gz.
LAYOUTS = {
    'torchvision': ['FashionMNIST/raw/{0}'],
    'torchvision, with what it has fetched': ['KMNIST/raw/{0}', 'KMNIST/raw/{1}'],
    'its folder of one data set': ['raw/{0}'],
    'a sub-folder': ['fashion/{1}'],
    'dots': ['{2}'],
    'dots, packed': ['{2}.gz'],
    'folders': ['{0}/{0}'],
    'folders of packed names': ['{1}/{0}'],
    'dots and folders, as at Kaggle': ['{2}', '{0}/{0}'],
    'dots in folders in a sub-folder': ['digits/{0}/{2}'],
}


def write_layout(folder, layout, arrays):
    for name, array in arrays.items():
        plain = name[:-3]
        for form in layout:
            path = folder / form.format(plain, name, plain.replace('-idx', '.idx'))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(gzip.compress(idx(array)) if path.name.endswith('.gz') else idx(array))
    return folder


@pytest.mark.parametrize('layout', LAYOUTS)
def test_layouts(tmp_path, capsys, layout):
    fingerprint = MNIST(write(tmp_path / 'plain', draw_arrays())).fingerprint
    folder = write_layout(tmp_path / 'data', LAYOUTS[layout], draw_arrays())
    fetch(folder, mirrors=())
    line, = capsys.readouterr().out.splitlines()
    first = min(LAYOUTS[layout]).format(TRAIN_IMAGES[:-3], TRAIN_IMAGES, 'train-images.idx3-ubyte')
    assert line.startswith('Read from {}'.format(folder))
    assert line.split(',')[0].replace(': ', '/') == 'Read from {}/{}'.format(folder, first)
    assert MNIST(folder).fingerprint == fingerprint


def test_the_usual_layout_needs_no_words(folder, capsys):
    fetch(folder, mirrors=())
    assert capsys.readouterr().out == ''


def test_links_to_the_same_files(tmp_path, folder):
    (tmp_path / 'root').mkdir()
    for name in ('first', 'second'):
        (tmp_path / 'root' / name).symlink_to(folder, target_is_directory=True)
    assert MNIST(tmp_path / 'root').fingerprint == MNIST(folder).fingerprint


@pytest.mark.parametrize(('first', 'second'), [('MNIST/raw', 'FashionMNIST/raw'), ('.', 'FashionMNIST/raw')])
def test_two_data_sets(tmp_path, first, second):
    for place in (first, second):
        write_layout(tmp_path, [place + '/{0}'], draw_arrays())
    for load in (MNIST, fetch):
        assert refusal(load, tmp_path) == (
            '{} holds more than one data set, in {}: give a folder of one alone to --data'.format(
                tmp_path, ' and '.join(sorted(str(tmp_path / place) for place in (first, second)))))
    MNIST(tmp_path / second)


def test_a_data_set_beside_files_of_another_kind(tmp_path):
    """Of EMNIST torchvision's folder holds several sets, under other names."""
    write_layout(tmp_path, ['MNIST/raw/{0}'], draw_arrays())
    (tmp_path / 'EMNIST' / 'raw').mkdir(parents=True)
    (tmp_path / 'EMNIST' / 'raw' / 'emnist-letters-train-images-idx3-ubyte').write_bytes(b'')
    assert ' holds more than one data set, in ' in refusal(fetch, tmp_path)


def test_packed_and_unpacked_that_differ(folder):
    """As when files of Fashion-MNIST were unpacked beside MNIST."""
    path = folder / TRAIN_LABELS[:-3]
    path.write_bytes(idx(draw_arrays()[TRAIN_LABELS]))
    MNIST(folder)
    path.write_bytes(idx(draw_arrays()[TRAIN_LABELS][::-1].copy()))
    assert refusal(MNIST, folder) == (
        '{} and {} hold different data: remove one, or give another folder to --data'.format(
            path, folder / TRAIN_LABELS))


def test_fingerprint_says_what_is_inside(tmp_path):
    """A pixel, a label, the order; not how it is packed."""
    fingerprint = MNIST(write(tmp_path / 'packed', draw_arrays())).fingerprint
    assert MNIST(write(tmp_path / 'unpacked', draw_arrays(), compressed=False)).fingerprint == fingerprint
    pixel, label, order = (draw_arrays() for _ in range(3))
    pixel[TEST_IMAGES][-1, -1, -1] ^= 1
    label[TRAIN_LABELS][0] = (label[TRAIN_LABELS][0] + 1) % N_CLASSES
    order[TRAIN_IMAGES][:2] = order[TRAIN_IMAGES][1::-1].copy()
    for i, changed in enumerate((pixel, label, order)):
        assert MNIST(write(tmp_path / str(i), changed)).fingerprint != fingerprint


@pytest.mark.parametrize(('brightest', 'report'), [
    (1, 'their values are 0 and 1, which is taken as white'),
    (16, 'no value is above 16 of 255, so the digits are dark'),
    (64, '')])
def test_range_that_is_used(tmp_path, brightest, report):
    """Of digits that are 0 and 1 white is certain; whether 16 is white is not."""
    arrays = draw_arrays()
    for name in (TRAIN_IMAGES, TEST_IMAGES):
        arrays[name] %= brightest + 1
    data = MNIST(write(tmp_path / 'data', arrays))
    assert data.report.startswith(report)
    assert bool(data.report) == bool(report)
    assert data.train_images.max() == data.test_images.max() == (255 if brightest == 1 else brightest)


def test_fingerprint_says_which_images_are_held_out(tmp_path):
    """The same zeros, divided in another way."""
    fingerprints = set()
    for n in (10, 20, 30):
        images, labels = numpy.zeros((40, SIDE, SIDE), numpy.uint8), numpy.zeros(40, numpy.uint8)
        fingerprints.add(MNIST(write(tmp_path / str(n), dict(
            zip(NAMES, (images[:n], labels[:n], images[n:], labels[n:]))))).fingerprint)
    assert len(fingerprints) == 3


# ---- bad input

IMAGES, LABELS = idx(draw_arrays()[TRAIN_IMAGES]), idx(draw_arrays()[TRAIN_LABELS])
PACKED = gzip.compress(IMAGES, mtime=0)


def with_sizes(*sizes):
    return IMAGES[:4] + struct.pack('>3I', *sizes) + IMAGES[16:]


NO_IMAGES, NO_LABELS = 'not an IDX file of images (it begins with 0x', 'not an IDX file of labels (it begins with 0x'
# By name: what lies in the place of the training images, and a part of the message.
BAD_IMAGES = {
    'empty': (b'', NO_IMAGES + ')'),
    'nothing, packed': (gzip.compress(b''), NO_IMAGES + ')'),
    'packed, truncated': (PACKED[:-2000], 'ended before'),
    'packed, checksum truncated': (PACKED[:-3], 'ended before'),
    'packed, wrong checksum': (PACKED[:-8] + bytes([PACKED[-8] ^ 1]) + PACKED[-7:], 'CRC'),
    'packed, damaged': (PACKED[:10] + b'\xff' + PACKED[11:], 'invalid block type'),
    'packed, extra bytes inside': (gzip.compress(IMAGES + b'x'), '23,520 numbers and more follow'),
    'packed, extra bytes behind': (PACKED + b'x', 'gzip'),
    'packed, short inside': (gzip.compress(IMAGES[:-1]), '23,520 numbers and 23,519 follow'),
    'packed twice': (gzip.compress(PACKED), ': compressed, perhaps twice: unpack it by "gunzip"; '),
    'pointer': (b'version https://git-lfs.github.com/spec/v1\noid', ': a pointer of Git LFS: "git lfs pull" brings'),
    'truncated': (IMAGES[:-1], '23,520 numbers and 23,519 follow'),
    'header truncated': (IMAGES[:15], NO_IMAGES),
    'two files in one': (IMAGES + IMAGES, '23,520 numbers and more follow'),
    'labels': (LABELS, NO_IMAGES + '00000801)'),
    'wrong magic': (b'\1' + IMAGES[1:], NO_IMAGES + '01000803)'),
    'high byte last': (IMAGES[3::-1] + IMAGES[4:], NO_IMAGES),
    'a page': (b'<!DOCTYPE html>\n<title>Gone</title>', NO_IMAGES),
    'signed bytes': (idx(draw_arrays()[TRAIN_IMAGES], number_type=9), NO_IMAGES + '00000903)'),
    'no images': (with_sizes(0, SIDE, SIDE)[:16], 'promises 0 numbers;'),
    'absurd, 0 in 64 bits': (with_sizes(2 ** 31, 2 ** 31, 4), 'promises 18,446,744,073,709,551,616 numbers;'),
    'absurd, packed': (gzip.compress(with_sizes(2 ** 20, 2 ** 20, 1)), 'promises 1,099,511,627,776 numbers;'),
    'transposed': (with_sizes(SIDE, SIDE, 30), 'images of 28×30 pixels, where 28×28 are needed'),
    'too few': (with_sizes(29, SIDE, SIDE)[:-SIDE * SIDE], 'holds 29 images and'),
}
BAD_LABELS = {
    'packed, truncated': (gzip.compress(LABELS)[:-9], 'ended before'),
    'truncated': (LABELS[:-1], '30 numbers and 29 follow'),
    'images': (PACKED, NO_LABELS + '00000803)'),
    'integers': (idx(draw_arrays()[TRAIN_LABELS].astype('>i4'), number_type=12), NO_LABELS),
    'too many': (idx(numpy.zeros(31, numpy.uint8)), 'holds 30 images and'),
    'a letter': (LABELS[:-1] + b'\x0a', 'label 10 where 0 to 9 are known'),
}


@pytest.mark.parametrize(('name', 'content', 'part'), [
    pytest.param(name, *bad, id='{}: {}'.format(kind, what))
    for name, kind, cases in ((TRAIN_IMAGES, 'images', BAD_IMAGES), (TRAIN_LABELS, 'labels', BAD_LABELS))
    for what, bad in cases.items()])
def test_bad_content(folder, name, content, part):
    path = folder / name
    path.write_bytes(content)
    message = refusal(MNIST, folder)
    assert str(path) in message
    assert part in message
    assert 'put the IDX file of the ' in message or 'folder to --data' in message


def test_memory_follows_the_content(tmp_path):
    """Neither a header's false promise nor a small file that unpacks to 200 MiB takes memory."""
    path = tmp_path / 'labels.gz'
    for content, part in (
            (b'\0\0\x08\1\x0f\xff\xff\xff' + b'abc', '268,435,455 numbers and 3 follow'),
            (gzip.compress(LABELS) + 200 * gzip.compress(bytes(1 << 20)), '30 numbers and more follow')):
        path.write_bytes(content)
        tracemalloc.start()
        try:
            message = refusal(read_idx, path, 1)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert part in message
        assert peak < 8 << 20


@pytest.mark.parametrize(('make', 'part'), [
    (os.mkdir, 'Is a directory'), (lambda path: os.symlink(path.name, path), 'symbolic links'),
    (lambda path: os.symlink('nowhere', path), 'No such file'), (os.mkfifo, None)],
    ids=['folder', 'loop', 'broken link', 'pipe'])
def test_no_file(make, part, folder):
    path = folder / TRAIN_LABELS
    path.unlink()
    make(path)
    for load in (MNIST, lambda folder: fetch(folder, mirrors=())):
        assert refusal(load, folder) == '{}: not a file: remove it, or give another folder to --data'.format(path)
    if part:  # reading a pipe would wait
        message = refusal(read_idx, path, 3)
        assert message.startswith('{}: '.format(path))
        assert part in message
        assert 'put the IDX file of the images there' in message


@pytest.mark.skipif(os.geteuid() == 0, reason='root reads everything')
def test_unreadable(folder):
    path = folder / TEST_LABELS
    path.chmod(0)
    message = refusal(MNIST, folder)
    assert message.startswith('{}: Permission denied; put '.format(path))
    for name in NAMES[:3]:
        (folder / name).unlink()
    assert refusal(fetch, folder, mirrors=()).startswith('{}: can\'t be read (Permission denied): '.format(path))
    folder.chmod(0o400)
    try:
        assert refusal(fetch, folder, mirrors=()).startswith('{}: not a file: '.format(path))
        folder.chmod(0)
        assert refusal(MNIST, folder).startswith('{}: can\'t be read (Permission denied): '.format(folder))
    finally:
        folder.chmod(0o700)


def test_missing(folder):
    (folder / TRAIN_LABELS).unlink()
    assert refusal(MNIST, folder) == '{} lacks {}: put the four IDX files there'.format(folder, TRAIN_LABELS)
    (folder / TEST_IMAGES).unlink()
    assert '{} lacks {}, {}: put'.format(folder, TRAIN_LABELS, TEST_IMAGES) in refusal(MNIST, folder)
    assert 'lacks {}: put'.format(', '.join(NAMES)) in refusal(MNIST, folder / 'absent')


def test_file_in_place_of_the_folder(tmp_path):
    path = tmp_path / 'file'
    path.write_bytes(b'')
    for place in (path, path / 'below'):
        for load in (MNIST, fetch):
            message = refusal(load, place)
            assert message == '{}: can\'t be read (Not a directory): give another folder to --data'.format(place)


# ---- draws

@pytest.fixture
def counted(tmp_path):
    """The first pixel of training image i is i, of test image i 100 + i; the second ones are 255."""
    arrays = draw_arrays()
    arrays[TRAIN_IMAGES][:, 0, 0] = numpy.arange(30)
    arrays[TEST_IMAGES][:, 0, 0] = 100 + numpy.arange(20)
    for name in (TRAIN_IMAGES, TEST_IMAGES):
        arrays[name][:, 0, 1] = 255
    return MNIST(write(tmp_path, arrays))


def indices(x):
    return numpy.rint(x[:, 0] * 255).astype(int)


def test_grey_sample(counted, rng):
    x = counted.sample(30, rng, binarized=False)
    assert x.shape == (30, 784)
    assert x.dtype == numpy.float32
    numpy.testing.assert_allclose(x, counted.train_images[indices(x)] / 255, rtol=1e-7)
    assert (x[:, 1] == 1).all()
    # Each image once, in an order of its own each time.
    assert sorted(indices(x)) == list(range(30))
    assert list(indices(x)) != list(range(30))
    assert (indices(counted.sample(30, rng, binarized=False)) != indices(x)).any()


@pytest.mark.parametrize('binarized', [False, True])
def test_training_draws_levels(tmp_path, binarized):
    digits = Digits(write(tmp_path, draw_arrays()), binarized)
    levels, x = (draw(20, numpy.random.default_rng(7)) for draw in (digits.draw_inputs, digits.draw_data))
    assert levels.dtype == numpy.uint8
    numpy.testing.assert_array_equal(levels / numpy.float32(255), x)


def test_held_out(counted, rng):
    x = counted.held_out(20, rng)
    assert x.dtype == numpy.float32
    assert sorted(indices(x)) == list(range(100, 120))
    numpy.testing.assert_allclose(x, counted.test_images[indices(x) - 100] / 255, rtol=1e-7)
    assert set(numpy.unique(counted.held_out(20, rng, binarized=True))) == {0, 1}


def test_binarized_sample(tmp_path, rng):
    """Each pixel is 1 as often as its value says, apart from the others and from draw to draw."""
    arrays = draw_arrays()
    values = numpy.arange(784) % 256
    arrays[TRAIN_IMAGES][:] = values.reshape(SIDE, SIDE)
    data = MNIST(write(tmp_path, arrays))
    draws = numpy.stack([data.sample(30, rng) for _ in range(100)])
    assert draws.shape == (100, 30, 784)
    assert draws.dtype == numpy.float32
    assert set(numpy.unique(draws)) == {0, 1}
    assert (draws[..., values == 0] == 0).all()
    assert (draws[..., values == 255] == 1).all()
    p = values / 255
    within = (p > 0) & (p < 1)
    # Over draws, images and pixels in turn, each mean is a standard normal number once it is scaled.
    for axes in ((0, 1), (0, 2), (1, 2)):
        squares = (((draws - p)[..., within].sum(axis=axes) / numpy.sqrt(
            (p * (1 - p) * numpy.ones(draws.shape))[..., within].sum(axis=axes))) ** 2)
        assert squares.max() < 5 ** 2
        assert squares.mean() == pytest.approx(1, abs=5 * (2 / squares.size) ** 0.5)


@pytest.mark.parametrize('binarized', [True, False])
@pytest.mark.parametrize('draw', [MNIST.sample, MNIST.held_out])
def test_draws_follow_their_generator(counted, draw, binarized):
    numpy.random.seed(0)
    x = draw(counted, 5, numpy.random.default_rng(7), binarized=binarized)
    numpy.testing.assert_array_equal(x, draw(counted, 5, numpy.random.default_rng(7), binarized=binarized))
    assert (x != draw(counted, 5, numpy.random.default_rng(8), binarized=binarized)).any()
    assert draw(counted, 0, numpy.random.default_rng(7), binarized=binarized).shape == (0, 784)


def test_more_than_there_are(counted, rng):
    """All of them, in another order."""
    for draw, images in ((counted.sample, counted.train_images), (counted.held_out, counted.test_images)):
        drawn = numpy.rint(draw(len(images) + 5, rng, binarized=False) * 255)
        numpy.testing.assert_array_equal(numpy.unique(drawn, axis=0), numpy.unique(images, axis=0))
        assert len(drawn) == len(images)


def test_fewer_than_a_batch(folder):
    message = refusal(MNIST, folder, batchsize=31)
    assert '30 training images' in message
    assert '--batchsize' in message


# ---- MNIST itself

@pytest.mark.skipif(not SHARED.is_dir(), reason='MNIST is not at {}'.format(SHARED))
def test_mnist_itself():
    fetch(SHARED, mirrors=())
    for name in NAMES:
        assert hashlib.md5((SHARED / name).read_bytes()).hexdigest() == CHECKSUMS[name]
    data = MNIST(SHARED)
    assert data.train_images.shape == (60_000, 784)
    assert data.test_images.shape == (10_000, 784)
    assert numpy.bincount(data.train_labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert numpy.bincount(data.test_labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert data.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    # The mean grey by which MNIST is usually centred.
    assert data.train_images.mean() / 255 == pytest.approx(0.1307, abs=1e-4)


def test_digits_on_their_side(tmp_path):
    """As all of EMNIST's: told by the ones, where names and numbers are right."""
    arrays = draw_arrays()
    ones = arrays[TRAIN_LABELS] == 1
    arrays[TRAIN_IMAGES][ones] = 0
    arrays[TRAIN_IMAGES][ones, 5:23, 12:15] = 200
    upright = write(tmp_path / 'upright', arrays)
    arrays[TRAIN_IMAGES] = arrays[TRAIN_IMAGES].swapaxes(1, 2)
    turned = write(tmp_path / 'turned', arrays)
    assert Digits(upright).description == '30 images in {}'.format(upright)
    assert 'EMNIST\'s digits lie on their side' in Digits(turned).description
