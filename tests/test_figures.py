"""The pictures hold what they should: colours, places, sizes, frames."""

import numpy
import pytest
from PIL import Image

from ddgm import figures

GREY, RED, WHITE = (0xbe, 0xc3, 0xc7), (0xe8, 0x4c, 0x3d), (255, 255, 255)


def pixel_of(x, y, pixels=800):
    """Where the post's layout has the point (x, y): the plane's −4…4 is 100…720 pixels wide and 720…80 high of 800."""
    return round((100 + (x + 4) / 8 * 620) * pixels / 800), round((720 - (y + 4) / 8 * 640) * pixels / 800)


@pytest.mark.parametrize('pixels', [800, 400])
def test_points(tmp_path, pixels):
    path = tmp_path / 'samples.png'
    figures.draw_points(
        path, numpy.array([[-3.0, 2.0], [1.0, 1.0]]), numpy.array([[2.0, -1.5], [1.0, 1.0]]), pixels)
    with Image.open(path) as image:
        image = image.convert('RGB')
        assert image.size == (pixels, pixels)
        assert image.getpixel(pixel_of(-3, 2, pixels)) == pytest.approx(GREY, abs=1)
        assert image.getpixel(pixel_of(2, -1.5, pixels)) == pytest.approx(RED, abs=1)
        assert image.getpixel(pixel_of(1, 1, pixels)) == pytest.approx(RED, abs=1)  # samples lie over the data
        assert image.getpixel(pixel_of(0, 0, pixels)) == WHITE
        # the frame of the plane
        assert sum(image.getpixel(pixel_of(-4, 0.5, pixels))) < 450
        assert sum(image.getpixel(pixel_of(0.5, 4, pixels))) < 450


def test_same_picture_same_bytes(tmp_path, rng):
    data, samples = rng.normal(size=(2, 30, 2))
    for name in ('a.png', 'b.png'):
        figures.draw_points(tmp_path / name, data, samples)
    assert (tmp_path / 'a.png').read_bytes() == (tmp_path / 'b.png').read_bytes()


def test_energy_map_has_its_peak_where_the_density_has(tmp_path):
    path = tmp_path / 'energy.png'
    figures.draw_energy(
        path, lambda x: 2 * ((x - [2, -1]) ** 2).sum(axis=1), 0.0, numpy.array([[-3.0, 3.0], [0.0, 0.0]]))
    with Image.open(path) as image:
        image = image.convert('RGB')
        # viridis: yellow at the peak, dark violet far away
        red, green, blue = image.getpixel(pixel_of(2, -1))
        assert min(red, green) > 200
        assert blue < 60
        assert image.getpixel(pixel_of(-3.9, 3.9)) == pytest.approx((68, 1, 84), abs=1)
        assert image.getpixel(pixel_of(-3, 3)) == RED


def test_energy_map_without_log_z(tmp_path):
    figures.draw_energy(tmp_path / 'energy.png', lambda x: x[:, 0], None, numpy.array([[-3.0, 3.0], [0.0, 0.0]]))
    with Image.open(tmp_path / 'energy.png') as image:
        assert image.size == (800, 800)


@pytest.mark.parametrize('n_entries', [1, 40])
def test_curves(tmp_path, n_entries):
    entries = [
        {'iteration': i + 1, 'elapsed_time': i, 'energy/positive': -i, 'energy/negative': i, 'energy/loss': -2 * i,
         'generator/loss': i, 'generator/energy': i, 'generator/entropy': 360 + i} for i in range(n_entries)]
    figures.draw_curves(tmp_path / 'curves.png', entries)
    with Image.open(tmp_path / 'curves.png') as image:
        colours = {colour for _, colour in image.convert('RGB').getcolors(1 << 20)}
    assert RED in colours
    assert (0x2c, 0xa0, 0x2c) in colours  # the entropy's green


def test_gif(tmp_path):
    frames = []
    for i in range(5):
        frames.append(tmp_path / '{}.png'.format(i))
        samples = numpy.array([[i - 2.0, y] for y in numpy.linspace(-2, 2, 40)])
        figures.draw_points(frames[-1], numpy.zeros((1, 2)), samples, pixels=400)
    figures.write_gif(tmp_path / 'training.gif', frames)
    with Image.open(tmp_path / 'training.gif') as image:
        assert image.n_frames == 5
        assert image.size == (400, 400)
        assert image.info['loop'] == 0
        for i in range(5):
            image.seek(i)
            red = image.convert('RGB').getpixel(pixel_of(i - 2, 2, 400))
            assert red == pytest.approx(RED, abs=20)
        assert image.info['duration'] == 2000


def test_gif_of_one_frame(tmp_path):
    figures.draw_points(tmp_path / 'a.png', numpy.zeros((1, 2)), numpy.zeros((1, 2)), pixels=400)
    figures.write_gif(tmp_path / 'training.gif', [tmp_path / 'a.png'])
    with Image.open(tmp_path / 'training.gif') as image:
        assert image.n_frames == 1


def test_grid_has_the_posts_layout(tmp_path):
    """10×10 images at the places of the post's picture, measured there in pixels; square, not smoothed."""
    images = numpy.zeros((100, 28, 28))
    images[37, 0, 27] = 1  # fourth row, eighth column; top right corner
    figures.draw_grid(tmp_path / 'grid.png', images)
    with Image.open(tmp_path / 'grid.png') as image:
        assert image.size == (1600, 1600)
        grey = numpy.asarray(image.convert('L')).astype(int)
    rows, columns = numpy.flatnonzero((grey < 128).any(axis=1)), numpy.flatnonzero((grey < 128).any(axis=0))
    assert (columns[0], columns[-1]) == (pytest.approx(200, abs=2), pytest.approx(1439, abs=2))
    assert (rows[0], rows[-1]) == (pytest.approx(163, abs=3), pytest.approx(1437, abs=3))
    # Black cells, each as wide as high; the bright pixel in the right one of them, 1/28 of its side.
    starts = columns[numpy.flatnonzero(numpy.diff(columns, prepend=-9) > 1)]
    assert len(starts) == 10
    top = rows[numpy.flatnonzero(numpy.diff(rows, prepend=-9) > 1)][3]
    cell = grey[top:top + 105, starts[7]:starts[7] + 105]
    assert cell[1, 103] == 255
    assert cell[1, 99] == cell[6, 103] == 0


def test_grid_of_colours_and_a_short_last_row(tmp_path):
    images = numpy.zeros((13, 3, 8, 8))
    images[12, 1] = 2  # clipped
    figures.draw_grid(tmp_path / 'grid.png', images)
    with Image.open(tmp_path / 'grid.png') as image:
        width, height = image.size
        colours = {colour for _, colour in image.getcolors()}
    assert width == 1600
    assert height < 600
    assert colours == {(255, 255, 255), (0, 0, 0), (0, 255, 0)}


def test_small_grid(tmp_path, rng):
    images = rng.random((20, 28, 28))
    figures.draw_small_grid(tmp_path / 'grid.png', images)
    with Image.open(tmp_path / 'grid.png') as image:
        assert image.size == (10 * 30 + 2, 2 * 30 + 2)
        grey = numpy.asarray(image.convert('L')).astype(float)
    numpy.testing.assert_allclose(grey[32:60, 92:120] / 255, images[13], atol=0.51 / 255)


def test_images_beside_each_other(rng):
    a, b = rng.random((2, 4, 3, 5, 5))
    both = figures.beside(a, b)
    numpy.testing.assert_array_equal(both[::2], a)
    numpy.testing.assert_array_equal(both[1::2], b)
