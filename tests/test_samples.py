"""Samples as pictures, one each or in grids: what is cut where, value by value, and what is not."""

import numpy
import pytest
from PIL import Image

from ddgm.compare import entries
from ddgm.data.mnist import MNIST
from ddgm.evaluation import tasks
from ddgm.figures import post
from ddgm.support.errors import UsageError


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def digits(n, seed=0):
    """Strokes on black, with an empty margin as MNIST's have: (n, 28, 28) uint8."""
    x = numpy.zeros((n, 28, 28), dtype=numpy.uint8)
    rng = numpy.random.default_rng(seed)
    x[:, 4:24, 4:24] = numpy.repeat(numpy.repeat(rng.integers(256, size=(n, 5, 5)), 4, axis=1), 4, axis=2)
    return x


def pictures(n, seed=0):
    """Colours that change slowly within each: (n, 64, 64, 3) uint8."""
    rng = numpy.random.default_rng(seed)
    corners = rng.integers(256, size=(2, 2, n, 1, 1, 3))
    down, right = numpy.linspace(0, 1, 64)[:, None, None], numpy.linspace(0, 1, 64)[None, :, None]
    return sum(
        corners[i, j] * (down if i else 1 - down) * (right if j else 1 - right)
        for i in (0, 1) for j in (0, 1)).astype(numpy.uint8)


def grid(x, columns=8, padding=2, ground=0):
    """The layout that torchvision documents for ``make_grid``, in three channels as ``save_image`` has them.

    Rows of ``columns`` images (``nrow``), each with ``padding`` pixels of ``pad_value`` before it and behind the last.
    """
    x = numpy.stack([x] * 3, axis=-1) if x.ndim == 3 else x
    n, side = x.shape[:2]
    columns = min(columns, n)
    rows = -(-n // columns)
    canvas = numpy.full(
        (rows * (side + padding) + padding, columns * (side + padding) + padding, 3), ground, dtype=numpy.uint8)
    for i, image in enumerate(x):
        top, left = (place * (side + padding) + padding for place in divmod(i, columns))
        canvas[top:top + side, left:left + side] = image
    return canvas


def save(name, pixels, folder='.', **options):
    path = '{}/{}'.format(folder, name)
    Image.fromarray(pixels).save(path, **options)


def read_one(*arguments):
    entry, = entries.read(arguments)
    return entry


def refusal(argument):
    with pytest.raises(UsageError) as caught:
        entries.read([argument])
    assert '\n' not in str(caught.value)
    return str(caught.value)


# ---- one grid

@pytest.mark.parametrize('make', [digits, pictures])
@pytest.mark.parametrize('padding', [1, 2, 8])
@pytest.mark.parametrize(('n', 'columns'), [(64, 8), (60, 8), (3, 8), (2, 1), (5, 5)])
@pytest.mark.parametrize('ground', [0, 255])
def test_grid(make, padding, n, columns, ground, capsys):
    x = make(n)
    save('grid.png', grid(x, columns, padding, ground))
    entry = read_one('grid.png')
    assert (entry.name, entry.sources) == ('grid', ['grid.png'])
    numpy.testing.assert_array_equal(entry.x, numpy.stack([x] * 3, axis=-1) if make is digits else x)
    side = x.shape[1]
    assert capsys.readouterr().out == (
        'grid.png: taken for a grid of {} samples of {}×{} pixels, with lines of {} between them{}\n'.format(
            n, side, side, padding, '; without its last 4 places, of the colour of the lines' if n == 60 else ''))


@pytest.mark.parametrize('mode', ['L', 'RGB', 'RGBA', 'P', '1', 'I;16'])
def test_grid_in_any_mode(mode):
    x = numpy.where(digits(20) > 127, 255, 0).astype(numpy.uint8)
    picture = Image.fromarray(grid(x))
    picture = Image.fromarray(numpy.asarray(picture.convert('L')).astype(numpy.uint16) * 257) if mode == 'I;16' else (
        picture.convert(mode))
    picture.save('grid.png')
    numpy.testing.assert_array_equal(read_one('grid.png').x, numpy.stack([x] * 3, axis=-1))


def test_grids_of_this_project():
    """Its frames have such lines in white."""
    x = digits(64)
    post.draw_small_grid('frame.png', x / 255, columns=10)
    numpy.testing.assert_array_equal(read_one('frame.png').x[..., 1], x)


def test_last_tiles_that_are_empty():
    """What fills up the last row is no sample; a row of nothing else would not be there."""
    x = digits(16)
    x[12:] = 0
    save('grid.png', grid(x))
    assert len(read_one('grid.png').x) == 12
    x[:8] = digits(8)
    x[8:] = 0
    save('grid.png', grid(x))
    assert len(read_one('grid.png').x) == 16


@pytest.mark.parametrize(('name', 'pixels'), [
    ('page', numpy.full((480, 640, 3), 255)), ('another size', grid(digits(64))[:-1]),
    ('tiles of 48', grid(numpy.pad(digits(64), ((0, 0), (10, 10), (10, 10))))),
    ('tiles that touch', grid(digits(64), padding=0)), ('a line with a dot', grid(digits(64))),
    ('sample of another size', pictures(1)[0][:48, :48])])
def test_pictures_that_are_no_grid(name, pixels):
    if name == 'a line with a dot':
        pixels[31, 100] = 1
    save('it.png', pixels.astype(numpy.uint8))
    message = refusal('it.png')
    assert message.startswith('it.png: neither a sample of 28, 32, 64 or 128 pixels a side nor certainly a grid')
    assert "numpy.save('samples.npy', x)" in message


def test_grid_of_one(capsys):
    """What fills up its only row is no sample."""
    x = digits(2)
    x[1] = 0
    save('grid.png', grid(x))
    assert refusal('grid.png').startswith('grid.png: a picture of one sample')
    assert capsys.readouterr().out == (
        'grid.png: taken for a grid of 1 sample of 28×28 pixels, with lines of 2 between them; without its last 1 '
        'place, of the colour of the lines\n')


def test_last_row_of_black_samples(capsys):
    """Which of its places only fill it up can't be told."""
    x = digits(5)
    x[4] = 0
    save('grid.png', grid(x, columns=2))
    assert len(read_one('grid.png').x) == 6
    assert capsys.readouterr().out.endswith('; its last row, of the colour of the lines, counts as samples\n')


def test_grid_as_jpeg():
    """Blurred lines don't tell where tiles begin."""
    for name in ('grid.jpg', 'grid.JPEG'):
        save(name, grid(pictures(64)), quality=90)
        assert refusal(name) == (
            '{}: neither a sample of 28, 32, 64 or 128 pixels a side nor certainly a grid of them, whose edges '
            'a JPEG blurs: save a PNG, or save numbers, as numpy.save(\'samples.npy\', x) does'.format(name))


def test_one_sample_alone():
    save('one.png', digits(1)[0])
    assert refusal('one.png') == (
        'one.png: a picture of one sample, or of several without lines between them: give the folder of all, or save '
        'numbers, as numpy.save(\'samples.npy\', x) does')


@pytest.mark.parametrize('content', [b'', b'text', b'\x89PNG\r\n\x1a\n'])
def test_damaged_picture(content, tmp_path):
    (tmp_path / 'grid.png').write_bytes(content)
    assert refusal('grid.png').startswith("grid.png: can't be read as a picture (")


# ---- folders

@pytest.mark.parametrize(('make', 'suffix'), [(digits, 'png'), (pictures, 'PNG')])
def test_folder_of_pictures(make, suffix, tmp_path, capsys):
    """A sample each, whatever they are called, in the order of numbers."""
    x = make(12)
    (tmp_path / 'theirs').mkdir()
    for i, image in enumerate(x):
        save('epoch {}.{}'.format(i, suffix), image, 'theirs')
    entry = read_one('theirs')
    files = 'epoch 0.{0} to epoch 11.{0} (12 files)'.format(suffix)
    assert (entry.name, entry.sources) == ('theirs', ['theirs/' + files])
    numpy.testing.assert_array_equal(entry.x, numpy.stack([x] * 3, axis=-1) if make is digits else x)
    assert capsys.readouterr().out == (
        'theirs: taken for one set: 12 samples of {}\n'
        'theirs: each picture counts as one sample of {}×{} pixels\n'.format(files, *x.shape[1:3]))


def test_folder_of_jpegs(tmp_path):
    (tmp_path / 'theirs').mkdir()
    for i, image in enumerate(digits(7)):
        save('{}.jpeg'.format(i), image, 'theirs')
    x = read_one('theirs').x
    assert x.shape == (7, 28, 28, 3)
    assert abs(x.astype(float) - digits(7)[..., None]).mean() < 5
    assert (x == x[..., :1]).all()


def test_folder_of_pictures_and_more(tmp_path, capsys):
    """Plots, grids of the same samples, and what can't be read are not among the samples; beside arrays none is."""
    (tmp_path / 'theirs').mkdir()
    for i, image in enumerate(digits(9)):
        save('{}.png'.format(i), image, 'theirs')
    save('grid.png', grid(digits(9)), 'theirs')
    save('icon.png', pictures(1)[0], 'theirs')
    save('loss.png', numpy.full((480, 640, 3), 255, dtype=numpy.uint8), 'theirs')
    (tmp_path / 'theirs' / 'damaged.png').write_bytes(b'text')
    (tmp_path / 'theirs' / 'metrics.csv').write_text('epoch,e_loss\n1,2\n')
    entry = read_one('theirs')
    assert entry.x.shape == (9, 28, 28, 3)
    assert [log.x for log in entry.logs] == [[1]]
    assert capsys.readouterr().out.splitlines() == [
        'theirs: taken for one set: 9 samples of 0.png to 8.png (9 files)',
        'theirs: each picture counts as one sample of 28×28 pixels',
        'theirs: 4 passed over: damaged.png, grid.png, icon.png, loss.png']
    numpy.save('theirs/samples.npy', digits(10))
    assert read_one('theirs').x.shape == (10, 28, 28)
    assert capsys.readouterr().out.startswith('theirs: 13 passed over: 0.png, 1.png,')


def test_folder_of_grids(tmp_path, capsys):
    """Numbered ones are one set; those of epochs, as PyTorch's examples write them, are a set each."""
    for folder in ('parts', 'epochs'):
        (tmp_path / folder).mkdir()
    for i in (1, 2, 3):
        save('grid_{}.png'.format(i), grid(digits(10, i), 5), 'parts')
        save('fake_samples_epoch_00{}.png'.format(i), grid(digits(10, i), 5), 'epochs')
    save('loss.png', numpy.full((480, 640, 3), 255, dtype=numpy.uint8), 'epochs')
    numpy.testing.assert_array_equal(
        read_one('parts').x[..., 0], numpy.concatenate([digits(10, i) for i in (1, 2, 3)]))
    assert capsys.readouterr().out.splitlines() == [
        'parts: grid_1.png, grid_2.png, grid_3.png: taken for a grid of 10 samples of 28×28 pixels, with lines of 2 '
        'between them', 'parts: taken for one set: 30 samples of grid_1.png to grid_3.png (3 files)']
    found = entries.read(['epochs'])
    assert [(entry.name, len(entry.x)) for entry in found] == [
        ('fake_samples_epoch_00{}'.format(i), 10) for i in (1, 2, 3)]
    assert capsys.readouterr().out.splitlines()[1:] == [
        'epochs: taken for 3 sets, a column each: 10 samples of fake_samples_epoch_001.png, 10 samples of '
        'fake_samples_epoch_002.png, 10 samples of fake_samples_epoch_003.png', 'epochs: 1 passed over: loss.png']


def test_output_folder_of_crisp79(tmp_path, capsys):
    """One command: its log, and the grid of its last epoch."""
    for name in ('samples', 'checkpoints'):
        (tmp_path / 'outputs' / 'final' / name).mkdir(parents=True)
    for i in range(1, 12):
        save('epoch_{:03}.png'.format(i), grid(pictures(64, i)), 'outputs/final/samples')
    (tmp_path / 'outputs' / 'final' / 'checkpoints' / 'latest.pt').write_bytes(b'weights')
    (tmp_path / 'outputs' / 'final' / 'metrics.csv').write_text(
        'exp_name,epoch,e_real,e_fake,e_loss,g_loss\nfinal,1,0.5,0.25,0.25,1\nfinal,2,0.5,0.25,0.25,1\n')
    entry = read_one('theirs=outputs/final')
    assert (entry.name, entry.sources) == (
        'theirs', ['outputs/final/samples/epoch_011.png', 'outputs/final/metrics.csv'])
    numpy.testing.assert_array_equal(entry.x, pictures(64, 11))
    assert [log.x for log in entry.logs] == [[1, 2]]
    assert capsys.readouterr().out.splitlines() == [
        'outputs/final/samples: of 11 sets that are numbered, as of epochs, the last is taken: epoch_011.png',
        'outputs/final/samples: epoch_011.png: taken for a grid of 64 samples of 64×64 pixels, with lines of 2 '
        'between them', 'outputs/final: 1 passed over: checkpoints/']


# ---- the same samples, however they are saved

def test_samples_are_scored_alike(digits_folder, pictures_folder, tmp_path):
    """As an array, as pictures, as a grid: bit for bit the same samples."""
    data = MNIST(digits_folder)
    x = data.test_images[:20].reshape(-1, 28, 28)
    reference = tasks.open_task('mnist', str(digits_folder))
    (tmp_path / 'each').mkdir()
    for i, image in enumerate(x):
        save('{:02}.png'.format(i), image, 'each')
    save('grid.png', grid(x))
    for path in ('each', 'grid.png'):
        numpy.testing.assert_array_equal(
            reference.conform(read_one(path).x), data.test_images[:20] / numpy.float32(255))
    save('coloured.png', grid(pictures(20)))
    numpy.testing.assert_array_equal(
        tasks.open_task('images', str(pictures_folder)).conform(read_one('coloured.png').x),
        pictures(20).transpose(0, 3, 1, 2) / numpy.float32(255))
