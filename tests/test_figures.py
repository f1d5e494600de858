"""The pictures hold what they should: colours, places, sizes, frames, panels."""

import math
import os
import subprocess
import sys

import matplotlib
import numpy
import pytest
from conftest import HANGS_AFTER, ROOT
from matplotlib import colors
from PIL import Image

from ddgm.figures import plots, post
from ddgm.runs.log import Curves, curves_of

GREY, RED, WHITE = (0xbe, 0xc3, 0xc7), (0xe8, 0x4c, 0x3d), (255, 255, 255)


def pixel_of(x, y, pixels=800):
    """Where the post's layout has the point (x, y): the plane's −4…4 is 100…720 pixels wide and 720…80 high of 800."""
    return round((100 + (x + 4) / 8 * 620) * pixels / 800), round((720 - (y + 4) / 8 * 640) * pixels / 800)


@pytest.mark.parametrize('pixels', [800, 400])
def test_points(tmp_path, pixels):
    path = tmp_path / 'samples.png'
    post.draw_points(
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


def test_one_picture_draws_as_many_do(tmp_path, rng):
    """Of samples after others the same file as of a picture of their own, whatever number they are."""
    data = rng.normal(size=(20, 2))
    picture = post.PointsPicture(data, pixels=400)
    for n in (30, 0, 50):
        samples = rng.normal(size=(n, 2)).astype(numpy.float32)
        picture.draw(tmp_path / 'one.png', samples)
        post.draw_points(tmp_path / 'many.png', data, samples, pixels=400)
        assert (tmp_path / 'one.png').read_bytes() == (tmp_path / 'many.png').read_bytes()


def test_energy_map_has_its_peak_where_the_density_has(tmp_path):
    path = tmp_path / 'energy.png'
    post.draw_energy(
        path, lambda x: 2 * ((x - [2, -1]) ** 2).sum(axis=1), 0.0, numpy.array([[-3.0, 3.0], [0.0, 0.0]]))
    with Image.open(path) as image:
        image = image.convert('RGB')
        # viridis: yellow at the peak, dark violet far away
        red, green, blue = image.getpixel(pixel_of(2, -1))
        assert min(red, green) > 200
        assert blue < 60
        assert image.getpixel(pixel_of(-3.9, 3.9)) == pytest.approx((68, 1, 84), abs=1)
        assert image.getpixel(pixel_of(-3, 3)) == RED


@pytest.mark.parametrize('n_entries', [1, 40])
def test_curves(tmp_path, n_entries):
    entries = [
        {'iteration': i + 1, 'elapsed_time': i, 'energy/positive': -i, 'energy/negative': i, 'energy/loss': -2 * i,
         'generator/loss': i, 'generator/energy': i, 'generator/entropy': 360 + i} for i in range(n_entries)]
    plots.draw_curves(tmp_path / 'curves.png', curves_of(entries))
    with Image.open(tmp_path / 'curves.png') as image:
        colours = {colour for _, colour in image.convert('RGB').getcolors(1 << 20)}
    assert RED in colours
    assert (0x2c, 0xa0, 0x2c) in colours  # the entropy's green


def test_gif(tmp_path):
    frames = []
    for i in range(5):
        frames.append(tmp_path / '{}.png'.format(i))
        samples = numpy.array([[i - 2.0, y] for y in numpy.linspace(-2, 2, 40)])
        post.draw_points(frames[-1], numpy.zeros((1, 2)), samples, pixels=400)
    post.write_gif(tmp_path / 'training.gif', frames)
    with Image.open(tmp_path / 'training.gif') as image:
        assert image.n_frames == 5
        assert image.size == (400, 400)
        assert image.info['loop'] == 0
        for i in range(5):
            image.seek(i)
            red = image.convert('RGB').getpixel(pixel_of(i - 2, 2, 400))
            assert red == pytest.approx(RED, abs=20)
        assert image.info['duration'] == 2000


@pytest.mark.parametrize(('n', 'shown'), [(1, [0]), (3, [0, 10, 20]), (21, [0, 50, 100, 150, 200])])
def test_frames_of_a_gif(n, shown, tmp_path, monkeypatch):
    """Of many, the first, the last, and others at equal distances between them."""
    assert post._MOST_FRAMES == 1000
    monkeypatch.setattr(post, '_MOST_FRAMES', 5)
    frames = []
    for level in range(0, 10 * n, 10):
        frames.append(tmp_path / '{}.png'.format(level))
        Image.new('RGB', (20, 20), (level, 0, 0)).save(frames[-1])
    post.write_gif(tmp_path / 'training.gif', frames)
    with Image.open(tmp_path / 'training.gif') as image:
        assert image.n_frames == len(shown)
        for i, level in enumerate(shown):
            image.seek(i)
            assert image.convert('RGB').getpixel((9, 9)) == (level, 0, 0)


def test_grid_has_the_posts_layout(tmp_path):
    """10×10 images at the places of the post's picture, measured there in pixels; square, not smoothed."""
    images = numpy.zeros((100, 28, 28))
    images[37, 0, 27] = 1  # fourth row, eighth column; top right corner
    post.draw_grid(tmp_path / 'grid.png', images)
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
    post.draw_grid(tmp_path / 'grid.png', images)
    with Image.open(tmp_path / 'grid.png') as image:
        width, height = image.size
        colours = {colour for _, colour in image.getcolors()}
    assert width == 1600
    assert height < 600
    assert colours == {(255, 255, 255), (0, 0, 0), (0, 255, 0)}


def test_small_grid(tmp_path, rng):
    images = rng.random((20, 28, 28))
    post.draw_small_grid(tmp_path / 'grid.png', images)
    with Image.open(tmp_path / 'grid.png') as image:
        assert image.size == (10 * 30 + 2, 2 * 30 + 2)
        grey = numpy.asarray(image.convert('L')).astype(float)
    numpy.testing.assert_allclose(grey[32:60, 92:120] / 255, images[13], atol=0.51 / 255)


def test_images_beside_each_other(rng):
    a, b = rng.random((2, 4, 3, 5, 5))
    both = post.beside(a, b)
    numpy.testing.assert_array_equal(both[::2], a)
    numpy.testing.assert_array_equal(both[1::2], b)


# ---- comparisons

@pytest.fixture
def draw(monkeypatch, tmp_path):
    """Draw a comparison and return the parts of its page, each a list of its panels in use."""
    pages = []
    monkeypatch.setattr(plots, 'save', lambda figure, path, pixels_per_inch: pages.append(figure))

    def draw(data, panels, curves=()):
        plots.draw_comparison(tmp_path / 'comparison.png', data, panels, list(curves))
        return [
            [axes for axes in part.axes if axes.axison or axes.get_images()] for part in pages[-1].subfigs]
    return draw


def titles_of(part):
    return [axes.get_title() for axes in part]


def points(n, seed):
    return numpy.random.default_rng(seed).normal(size=(n, 2))


def bowl(x):
    """The energy of a Gaussian around (2, −1), but for log Z."""
    return ((x - [2, -1]) ** 2).sum(axis=1)


def test_comparison_of_points(draw):
    data, a, b = (plots.Panel(name, points(20, seed)) for seed, name in enumerate(['data', 'a', 'b']))
    part, = draw(data, [a, b])
    assert titles_of(part) == ['data', 'a', 'b']
    for axes, panel in zip(part, (data, a, b)):
        assert (axes.get_xlim(), axes.get_ylim()) == ((-4, 4), (-4, 4))
        assert axes.get_box_aspect() == 1
        behind, *over = axes.collections  # the data is behind all samples
        numpy.testing.assert_array_equal(behind.get_offsets(), data.x)
        assert colors.to_hex(behind.get_facecolor()[0]) == post.DATA_COLOUR
        assert len(over) == (panel is not data)
        for dots in over:
            numpy.testing.assert_array_equal(dots.get_offsets(), panel.x)
            assert colors.to_hex(dots.get_facecolor()[0]) == post.SAMPLE_COLOUR


@pytest.mark.parametrize(('n', 'in_rows'), [(1, [2]), (3, [4]), (4, [4, 1]), (8, [4, 4, 1])])
def test_comparison_of_many(n, in_rows, draw):
    parts = draw(plots.Panel('data', points(9, 0)), [plots.Panel(str(i), points(9, i)) for i in range(n)])
    assert [len(part) for part in parts] == in_rows
    assert [title for part in parts for title in titles_of(part)] == ['data', *map(str, range(n))]


def test_comparison_in_another_window(draw):
    """The square around the data is shown for all, of samples and of energies."""
    data = plots.Panel('data', 10 * points(20, 0) + [100, -50], window=(100, -50, 30, 30))
    a = plots.Panel('a', 10 * points(20, 1) + [100, -50], lambda x: ((x - [110, -65]) ** 2).sum(axis=1), 0.5)
    samples, maps = draw(data, [a])
    shown = [axes for axes in maps if axes.get_title()]
    for axes in [*samples, *shown]:
        assert (axes.get_xlim(), axes.get_ylim()) == ((70, 130), (-80, -20))
    image, = shown[0].get_images()
    values = numpy.asarray(image.get_array())
    assert image.get_extent() == [70, 130, -80, -20]
    row, column = numpy.unravel_index(values.argmax(), values.shape)
    x, y = 70.075 + 0.15 * column, -79.925 + 0.15 * row
    assert (x, y) == (pytest.approx(110, abs=0.15), pytest.approx(-65, abs=0.15))


@pytest.mark.parametrize('shape', [(28, 28), (3, 64, 64)])
def test_comparison_of_images(shape, draw, rng):
    data, a = (plots.Panel(name, rng.random((20, *shape))) for name in ('data', 'a'))
    part, = draw(data, [a])
    assert titles_of(part) == ['data', 'a']
    side = shape[-1]
    for axes, panel in zip(part, (data, a)):
        image, = axes.get_images()
        pixels = numpy.asarray(image.get_array())
        assert pixels.shape == (3 * (side + 2) + 2, 8 * (side + 2) + 2, 3)
        # The tenth one: second row, second column.
        tile = pixels[side + 4:2 * side + 4, side + 4:2 * side + 4] / 255
        expected = panel.x[9][..., None] if len(shape) == 2 else panel.x[9].transpose(1, 2, 0)
        numpy.testing.assert_allclose(tile, numpy.broadcast_to(expected, tile.shape), atol=0.51 / 255)


def test_maps_are_below_their_samples(draw):
    data = plots.Panel('data', points(20, 0), bowl, 0.5)
    a, b, c = (
        plots.Panel('a', points(20, 1)), plots.Panel('b', points(20, 2), bowl, 1.5),
        plots.Panel('c', points(20, 3), bowl))
    samples, maps = draw(data, [a, b, c])
    assert titles_of(samples) == ['data', 'a', 'b', 'c']
    shown = [axes for axes in maps if axes.get_title()]
    assert titles_of(shown) == ['log P(x) of data, nats', 'log P(x) of b, nats', '−E(x) of c, nats']
    assert len(maps) == 2 * len(shown)  # each with its colours' scale
    for axes, log_z, panel in zip(shown, (0.5, 1.5, 0), (data, b, c)):
        image, = axes.get_images()
        assert (axes.get_xlim(), axes.get_ylim()) == ((-4, 4), (-4, 4))
        values = numpy.asarray(image.get_array())
        row, column = numpy.unravel_index(values.argmax(), values.shape)
        x, y = numpy.linspace(-3.99, 3.99, 400)[[column, row]]
        assert (x, y) == (pytest.approx(2, abs=0.02), pytest.approx(-1, abs=0.02))
        assert values.max() == pytest.approx(-log_z, abs=1e-3)
        assert image.get_clim()[0] == pytest.approx(numpy.percentile(-bowl(panel.x) - log_z, 5))


def test_maps_only_where_a_model_has_an_energy(draw):
    data = plots.Panel('data', points(20, 0), bowl, 0.0)
    panels = [plots.Panel(str(i), points(20, i), bowl if i == 4 else None) for i in range(5)]
    assert len(draw(data, panels[:4])) == 2  # the data's density alone is no news
    assert [len([axes for axes in part if axes.get_title()]) for part in draw(data, panels)] == [4, 2, 1]


def test_curves_over_one_another(draw):
    a = Curves('iteration', [10.0, 20.0, 30.0], {
        'energy/positive': [1.0, 2.0, 3.0], 'energy/loss': [4.0, math.nan, 6.0], 'generator/energy': [0.0, 0.0, 0.0]})
    b = Curves('iteration', [5.0], {'energy/positive': [7.0], 'generator/entropy': [8.0]})
    part, = draw(None, [], [('a', a), ('b', b)])
    assert titles_of(part) == ['E(x⁺), data, nats', 'DEM loss: E(x⁺) − E(x⁻), nats', 'entropy proxy H, nats']
    assert {axes.get_xlabel() for axes in part} == {'iteration'}
    assert [[line.get_label() for line in axes.lines] for axes in part] == [['a', 'b'], ['a'], ['b']]
    assert [[text.get_text() for text in axes.get_legend().get_texts()] for axes in part] == [['a', 'b'], ['a'], ['b']]
    first, second = part[0].lines
    assert (list(first.get_xdata()), list(first.get_ydata())) == ([10, 20, 30], [1, 2, 3])
    assert (list(second.get_xdata()), list(second.get_ydata())) == ([5], [7])
    assert first.get_marker() == 'None'
    assert second.get_marker() == '.'  # a line of one point would not be seen
    # One colour for one program in all panels.
    assert first.get_color() == part[1].lines[0].get_color() != second.get_color() == part[2].lines[0].get_color()


def test_logs_of_one_program_have_one_colour(draw):
    """TensorBoard exports a file a quantity."""
    part, = draw(None, [], [
        ('a', Curves('iteration', [1.0, 2.0], {'energy/loss': [1.0, 2.0], 'generator/loss': [1.0, 2.0]})),
        ('b', Curves('iteration', [1.0, 2.0], {'energy/loss': [3.0, 4.0]})),
        ('b', Curves('iteration', [1.0, 2.0], {'generator/loss': [3.0, 4.0]}))])
    first, second = ([line.get_color() for line in axes.lines] for axes in part)
    assert first == second
    assert len(set(first)) == 2


def test_curves_of_different_units(draw):
    """Iterations of one and epochs of another have no common length: each goes from 0 to 1.

    A first epoch, counted from 0, is a run of no length; a row without its epoch is left out alone.
    """
    part, = draw(None, [], [(name, Curves(unit, x, {'energy/loss': [float(i) for i in range(len(x))]}))
                            for name, unit, x in (
        ('a', 'iteration', [500.0, 1000.0]), ('b', 'epoch', [0.0, 1.0, 2.0, 4.0]), ('c', 'row', [1.0, 2.0]),
        ('d', 'epoch', [0.0]), ('e', 'epoch', [math.nan, 1.0, 2.0]))])
    axes, = part
    assert axes.get_xlabel() == 'share of the run'
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines] == [
        ([0.5, 1], [0, 1]), ([0, 0.25, 0.5, 1], [0, 1, 2, 3]), ([0.5, 1], [0, 1]), ([0], [0]), ([0.5, 1], [1, 2])]
    assert [line.get_label() for line in axes.lines] == [
        'a (1000 iterations)', 'b (4 epochs)', 'c (2 rows)', 'd (0 epochs)', 'e (2 epochs)']


def test_curves_go_through_their_own_values(draw):
    """Gaps in every row, as Lightning writes them: each line is whole, and one without a value is none."""
    part, = draw(None, [], [('a', Curves('iteration', [1.0, 2.0, 3.0, 4.0], {
        'energy/loss': [1.0, math.nan, 3.0, math.nan], 'generator/loss': [math.nan, 5.0, math.nan, math.inf],
        'energy/positive': [math.nan] * 4}))])
    assert [[(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines] for axes in part] == [
        [([1, 3], [1, 3])], [([2], [5])]]
    assert part[1].lines[0].get_marker() == '.'


def test_losses_of_another_kind_have_panels_of_their_own(draw):
    values = {'energy/positive': [1.0], 'generator/loss': [2.0]}
    part, = draw(None, [], [
        ('ours', Curves('epoch', [1.0], values)), ('a', Curves('epoch', [1.0], values, {'generator/loss': 'g_loss'})),
        ('b', Curves('epoch', [1.0], values, {'generator/loss': 'g_loss'})),
        ('c', Curves('epoch', [1.0], {'loss': [3.0]}, {'loss': 'main/loss'}))])
    assert [(axes.get_title(), [line.get_label() for line in axes.lines]) for axes in part] == [
        ('E(x⁺), data, nats', ['ours', 'a', 'b']), ('DGM loss: E(G(z)) − H, nats', ['ours']),
        ('DGM loss, another program\'s own:\ng_loss', ['a', 'b']),
        ('a loss, another program\'s own:\nmain/loss', ['c'])]


@pytest.mark.parametrize(('n', 'letters', 'units', 'last'), [
    (5, 20, ['epoch'], '4' + 19 * 'x'), (40, 15, ['epoch'], '39' + 13 * 'x'), (40, 200, ['epoch'], 'and 17 more'),
    (40, 15, ['epoch', 'row'], None), (400, 3, ['epoch'], 'and 293 more'), (400, 3, ['epoch', 'row'], None)])
def test_legend_of_many(n, letters, units, last, tmp_path, monkeypatch):
    """Below the panels, within the page, in colours that differ; a warning of matplotlib's would be an error."""
    pages = []
    save = plots.save
    monkeypatch.setattr(plots, 'save', lambda figure, *arguments: pages.append(figure) or save(figure, *arguments))
    plots.draw_comparison(tmp_path / 'a.png', None, [], [
        ('{:x<{}}'.format(i, letters), Curves(
            units[i % len(units)], [1.0, 2.0], {'energy/loss': [i, i], 'energy/positive': [i, 0]})) for i in range(n)])
    part, = pages[0].subfigs
    legend, = part.legends
    assert not any(axes.get_legend() for axes in part.axes)
    labels = [text.get_text() for text in legend.get_texts()]
    assert last is None or labels[-1] == last
    box, page = legend.get_window_extent(), pages[0].bbox
    assert page.x0 <= box.x0 < box.x1 <= page.x1
    assert page.y0 <= box.y0 < box.y1 < min(axes.get_window_extent().y0 for axes in part.axes if axes.axison)
    assert all(axes.get_window_extent().height > 0.5 * 2.4 * pages[0].dpi for axes in part.axes)
    assert len({line.get_color() for line in part.axes[0].lines}) == min(n, 256)


def test_curves_that_no_panel_shows(draw):
    """Nothing is known of them but their name."""
    other = Curves('epoch', [1.0, 2.0], {'generator/energy': [1.0, 2.0]})
    samples, = draw(plots.Panel('data', points(9, 0)), [plots.Panel('a', points(9, 1))], [('a', other)])
    assert titles_of(samples) == ['data', 'a']
    part, = draw(None, [], [('a', other), ('b', Curves('iteration', [50.0, 100.0], {'energy/loss': [1.0, 2.0]}))])
    assert titles_of(part) == ['DEM loss: E(x⁺) − E(x⁻), nats']


def test_every_program_is_in_the_legend(draw):
    """Below the samples; a long name is cut in the middle."""
    samples, curves = draw(plots.Panel('data', points(9, 0)), [plots.Panel('a', points(9, 1))], [
        (name, Curves('epoch', [1.0, 2.0], {'energy/loss': [1.0, 2.0]}))
        for name in ('_mine', 'theirs', 100 * 'a' + 100 * 'b')])
    assert titles_of(samples) == ['data', 'a']
    assert [axes.get_xlabel() for axes in curves] == ['epoch']
    assert [text.get_text() for text in curves[0].get_legend().get_texts()] == [
        ' _mine', 'theirs', 20 * 'a' + '…' + 19 * 'b']


def test_names_are_no_formulas(tmp_path):
    """A name is shown as it is, whatever matplotlib makes of a pair of dollars elsewhere."""
    names = ['a$\\b$c', '$x_a^b{', 'not UTF-8: \udcff', '実験1', 'two\nlines']
    plots.draw_comparison(
        tmp_path / 'a.png', plots.Panel('data', points(9, 0), bowl, 0.0),
        [plots.Panel(name, points(9, 1), bowl, 1.0) for name in names],
        [(name, Curves('epoch', [1.0, 2.0], {'energy/loss': [1.0, 2.0]})) for name in names])
    with Image.open(tmp_path / 'a.png') as image:
        assert image.width == 4 * 336


# Draws each kind of picture into the folder that it is given.
EVERY_KIND = '''
import pathlib, sys
import numpy
from ddgm.figures import plots, post
from ddgm.runs.log import Curves
out = pathlib.Path(sys.argv[1])
rng = numpy.random.default_rng(0)
points = rng.normal(size=(50, 2))
energy = lambda x: (x ** 2).sum(axis=1)
curves = Curves('iteration', [1, 2, 3], {'energy/loss': [1, -2, 3], 'generator/entropy': [3, 1, 2]})
post.draw_points(out / 'points.png', points, points + 1)
post.draw_energy(out / 'energy.png', energy, 0.0, points)
plots.draw_curves(out / 'curves.png', curves)
data = plots.Panel('data', points)
plots.draw_comparison(out / 'comparison.png', data, [plots.Panel('a_$1', points, energy, 0.0)], [('a', curves)])
plots.draw_plots(out / 'plots.png', [plots.Plot('t', 'x', {'a': ([1, 2], [3, 4])}, True)])
plots.draw_matrix(out / 'matrix.png', rng.random((4, 5)), 'title', 'x', 'y')
'''


def test_set_up_of_the_user_changes_no_picture(tmp_path):
    """Neither a matplotlibrc nor the backend that a notebook names, which the Python of a script lacks."""
    (tmp_path / 'rc').mkdir()
    (tmp_path / 'rc' / 'matplotlibrc').write_text('''
text.usetex: True
savefig.bbox: tight
savefig.dpi: 30
savefig.transparent: True
savefig.facecolor: black
figure.facecolor: black
figure.autolayout: True
axes.facecolor: green
axes.prop_cycle: cycler(color=["red"])
axes.formatter.use_locale: True
font.size: 25
font.family: serif
lines.linewidth: 7
image.cmap: gray
image.origin: lower
xtick.labelsize: 3
legend.frameon: True
''')
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith(('MPL', 'MATPLOTLIB'))}
    surroundings['PYTHONPATH'] = str(ROOT)
    pictures = []
    for name, more in (
            ('plain', {}),
            ('hostile', {'MATPLOTLIBRC': str(tmp_path / 'rc'), 'MPLBACKEND': 'module://no_such_module'})):
        (tmp_path / name).mkdir()
        # What matplotlib itself calls by an older name is not what this looks for.
        result = subprocess.run(
            [sys.executable, '-W', 'error', '-W', 'ignore::DeprecationWarning', '-c', EVERY_KIND, name], cwd=tmp_path,
            env={**surroundings, **more}, capture_output=True, text=True, timeout=HANGS_AFTER)
        assert (result.returncode, result.stderr) == (0, '')
        pictures.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert len(pictures[0]) == 6
    assert pictures[0] == pictures[1]


def test_backend_of_the_user_stays():
    """What a notebook draws after a run is still drawn as it wants."""
    code = 'import ddgm.figures, matplotlib, os; print(matplotlib.rcParams["backend"], os.environ["MPLBACKEND"])'
    result = subprocess.run(
        [sys.executable, '-c', code], env={**os.environ, 'MPLBACKEND': 'svg', 'PYTHONPATH': str(ROOT)},
        capture_output=True, text=True, timeout=HANGS_AFTER)
    assert result.stdout == 'svg svg\n'
    with matplotlib.rc_context({'font.size': 25}):
        with post.defaults():
            assert matplotlib.rcParams['font.size'] == 10
        assert matplotlib.rcParams['font.size'] == 25
