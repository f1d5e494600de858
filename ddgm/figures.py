"""The pictures.  The only module that knows matplotlib; it keeps no state and needs no display."""

import dataclasses
import io
import itertools
import math

import numpy
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from ddgm.data.toy import cells_of_square
from ddgm.files import open_atomically

# The post's.
DATA_COLOUR, SAMPLE_COLOUR = '#bec3c7', '#e84c3d'
PLANE = 4  # half the width of the square that pictures of the plane show
_MARKER_SIZE = 20
_INCHES = 8
# What of the log is drawn.
QUANTITIES = {
    'energy/positive': 'E(x⁺), data',
    'energy/negative': 'E(x⁻), samples',
    'energy/loss': 'DEM loss: E(x⁺) − E(x⁻)',
    'generator/loss': 'DGM loss: E(G(z)) − H',
    'generator/entropy': 'entropy proxy H',
}


def _post_axes():
    """The post's page: 8×8 inches, x and y in −4…4, integer ticks on all four sides, pointing inwards."""
    figure = Figure(figsize=(_INCHES, _INCHES))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.125, 0.1, 0.775, 0.8))
    _show_plane(axes)
    return figure, axes


def _show_plane(axes):
    axes.set(xlim=(-PLANE, PLANE), ylim=(-PLANE, PLANE))
    axes.set(xticks=range(-PLANE, PLANE + 1), yticks=range(-PLANE, PLANE + 1))
    axes.tick_params(direction='in', top=True, right=True)


def _scatter(axes, points, colour, size=_MARKER_SIZE):
    axes.scatter(points[:, 0], points[:, 1], s=size, color=colour, edgecolors='none')


def _save(figure, path, pixels_per_inch=100):
    buffer = io.BytesIO()
    # Without the version of matplotlib in it, the same picture is the same file.
    figure.savefig(buffer, format='png', dpi=pixels_per_inch, metadata={'Software': None})
    with open_atomically(path) as file:
        file.write(buffer.getvalue())


def draw_points(path, data, samples, pixels=800):
    """Data and samples in the plane, both (N, 2), in the post's layout and colours."""
    figure, axes = _post_axes()
    _scatter(axes, data, DATA_COLOUR)
    _scatter(axes, samples, SAMPLE_COLOUR)
    _save(figure, path, pixels / _INCHES)


def draw_grid(path, images, columns=10):
    """Images in rows, (N, H, W) grey or (N, 3, H, W) RGB in 0…1, in the layout of the post's 10×10 pictures.

    The page is 1600 pixels wide, with the margins and gaps of a matplotlib figure of 16×16 inches; pixels stay square.
    """
    page = 1600
    rows = -(-len(images) // columns)
    # matplotlib's defaults: the picture reaches from 0.125 to 0.9 and 0.1 to 0.9 of the page, gaps are 0.2 of a cell.
    left, top, width, height = 0.125 * page, 0.1 * page, 0.775 * page, 0.8 * page
    cell_width, cell_height = width / (1.2 * columns - 0.2), height / (1.2 * columns - 0.2)
    side = round(min(cell_width, cell_height))
    canvas = Image.new('RGB', (page, round(2 * top + cell_height * (1.2 * rows - 0.2))), 'white')
    for i, image in enumerate(_to_pillow(images)):
        row, column = divmod(i, columns)
        place = (
            round(left + 1.2 * cell_width * column + (cell_width - side) / 2),
            round(top + 1.2 * cell_height * row + (cell_height - side) / 2))
        canvas.paste(image.resize((side, side), Image.Resampling.NEAREST), place)
    _save_image(canvas, path)


def beside(images, others):
    """Two equally long series of images as one that takes from both in turn."""
    return numpy.stack([images, others], axis=1).reshape(-1, *images.shape[1:])


def draw_small_grid(path, images, columns=10):
    """The same images as tiles of their own size, close together: a frame of the video."""
    _save_image(_tiled(images, columns), path)


def _tiled(images, columns):
    tiles = list(_to_pillow(images))
    width, height = tiles[0].width + 2, tiles[0].height + 2
    canvas = Image.new('RGB', (columns * width + 2, -(-len(tiles) // columns) * height + 2), 'white')
    for i, tile in enumerate(tiles):
        row, column = divmod(i, columns)
        canvas.paste(tile, (2 + column * width, 2 + row * height))
    return canvas


def _to_pillow(images):
    levels = numpy.rint(255 * numpy.clip(images, 0, 1)).astype(numpy.uint8)
    return (Image.fromarray(level if level.ndim == 2 else level.transpose(1, 2, 0)) for level in levels)


def _save_image(image, path):
    buffer = io.BytesIO()
    image.save(buffer, format='png')
    with open_atomically(path) as file:
        file.write(buffer.getvalue())


def draw_energy(path, energy, log_z, samples):
    """log P(x) = −E(x) − log Z on the plane in nats, the samples (N, 2) over it; −E(x) where ``log_z`` is ``None``.

    The colours reach down to where all but a twentieth of the samples lie, so that the map shows where the energy
    model and the generator disagree.
    """
    figure, axes = _post_axes()
    image, quantity = _show_energy(axes, energy, log_z, samples)
    _scatter(axes, samples, SAMPLE_COLOUR)
    figure.colorbar(image, cax=figure.add_axes((0.915, 0.1, 0.02, 0.8)), extend='min')
    axes.set_title(quantity + ' of the energy model, nats; dots: samples of the generator')
    _save(figure, path)


def _show_energy(axes, energy, log_z, samples):
    """The map alone; returns it with the name of what it shows."""
    cells = 400
    centres, _ = cells_of_square(PLANE, cells)
    offset, quantity = (0, '−E(x)') if log_z is None else (log_z, 'log P(x)')
    image = axes.imshow(
        (-energy(centres) - offset).reshape(cells, cells), origin='lower', extent=(-PLANE, PLANE, -PLANE, PLANE),
        aspect='auto', cmap='viridis', vmin=numpy.percentile(-energy(samples) - offset, 5), interpolation='bilinear')
    return image, quantity


def draw_curves(path, curves):
    """Energies, both losses and the entropy proxy over the iterations: those that a :class:`ddgm.curves.Curves` has."""
    figure = Figure(figsize=(_INCHES, 1.25 * _INCHES), layout='constrained')
    FigureCanvasAgg(figure)
    panels = (
        (('energy/positive', 'tab:gray'), ('energy/negative', SAMPLE_COLOUR)),
        (('energy/loss', 'tab:blue'),),
        (('generator/loss', 'tab:blue'),),
        (('generator/entropy', 'tab:green'),),
    )
    for axes, names in zip(figure.subplots(len(panels), 1, sharex=True), panels):
        axes.set_ylabel('nats')
        axes.grid(alpha=0.3)
        for name, colour in names:
            if name in curves.values:
                axes.plot(
                    curves.x, curves.values[name], color=colour, label=QUANTITIES[name], linewidth=1,
                    marker='.' if len(curves.x) == 1 else None)
        if axes.lines:
            axes.legend(loc='best', frameon=False)
    axes.set_xlabel('iteration')
    _save(figure, path)


@dataclasses.dataclass(frozen=True)
class Panel:
    """One series of samples in a comparison.

    Attributes:
        title (str): Its name.
        x: Points (N, 2), or images (N, H, W) or (N, 3, H, W) in 0…1.
        energy: A function of points, or ``None``.
        log_z (float): Of that energy; ``None``: not known.
    """

    title: str
    x: numpy.ndarray
    energy: object = None
    log_z: float = None


def draw_comparison(path, data, panels, curves):
    """Samples side by side beside data, maps of their energies below them, and curves over one another.

    Args:
        path: Of the PNG.
        data (Panel): Shown first; points also behind all samples.  ``None`` where there are no panels.
        panels (list of Panel): All of one kind.
        curves (list): Pairs of a name and :class:`ddgm.curves.Curves`.
    """
    shown = [data, *panels] if panels else []
    columns = min(4, max(2, len(shown)))
    bands = [shown[first:first + columns] for first in range(0, len(shown), columns)]
    quantities = [name for name in QUANTITIES if any(name in curve.values for _, curve in curves)]
    parts = []  # of the page: a height in inches, what draws it, and its arguments
    for band in bands:
        parts.append((4.4, _show_samples, (band, columns, data)))
        if any(panel.energy for panel in band if panel is not data):
            parts.append((5.0, _show_energies, (band, columns)))
    if quantities:
        parts.append((2.4 * -(-len(quantities) // 2) + 0.5, _show_curves, (quantities, curves)))
    heights = [height for height, _, _ in parts]
    figure = Figure(figsize=(4.2 * columns, sum(heights)), layout='constrained')
    figure.get_layout_engine().set(h_pad=0.1, w_pad=0.1)
    FigureCanvasAgg(figure)
    for part, (_, show, arguments) in zip(
            figure.subfigures(len(parts), 1, height_ratios=heights, squeeze=False).flat, parts):
        show(part, *arguments)
    _save(figure, path, 80)


def _show_samples(figure, panels, columns, data):
    for axes, panel in itertools.zip_longest(figure.subplots(1, columns, squeeze=False).flat, panels):
        if panel is None:
            axes.set_axis_off()
            continue
        axes.set_title(_verbatim(panel.title))
        if panel.x.ndim == 2:
            _show_plane(axes)
            axes.set_aspect('equal')
            _scatter(axes, data.x, DATA_COLOUR, 6)
            if panel is not data:
                _scatter(axes, panel.x, SAMPLE_COLOUR, 6)
        else:
            axes.imshow(_tiled(panel.x, 8))
            axes.set_axis_off()


def _show_energies(figure, panels, columns):
    for axes, panel in itertools.zip_longest(figure.subplots(1, columns, squeeze=False).flat, panels):
        if panel is None or not panel.energy:
            axes.set_axis_off()
            continue
        _show_plane(axes)
        image, quantity = _show_energy(axes, panel.energy, panel.log_z, panel.x)
        axes.set_aspect('equal')
        axes.set_title('{} of {}, nats'.format(quantity, _verbatim(panel.title)))
        figure.colorbar(image, ax=axes, extend='min', location='bottom', shrink=0.7, aspect=30)


def _verbatim(name):
    """A name as matplotlib shows it and nothing else: no formula, no line that is left out of the legend."""
    name = name.encode('utf-8', 'replace').decode().replace('$', r'\$')
    return ' ' + name if name.startswith('_') else name


def _show_curves(figure, quantities, curves):
    units, names = {curve.unit for _, curve in curves}, list(dict.fromkeys(name for name, _ in curves))
    grid = figure.subplots(-(-len(quantities) // 2), 2, squeeze=False)
    for axes, quantity in itertools.zip_longest(grid.flat, quantities):
        if quantity is None:
            axes.set_axis_off()
            continue
        for name, curve in curves:
            if quantity in curve.values:
                label, scale = _verbatim(name), 1
                if len(units) > 1:  # iterations of one program and epochs of another have no common length
                    length = max(filter(math.isfinite, curve.x), default=0)
                    label, scale = '{} ({:g} {}s)'.format(label, length, curve.unit), length or 1
                axes.plot(
                    [x / scale for x in curve.x], curve.values[quantity], color='C{}'.format(names.index(name)),
                    label=label, linewidth=1, marker='.' if len(curve.x) == 1 else None)
        axes.set_title(QUANTITIES[quantity] + ', nats')
        axes.set_xlabel(units.copy().pop() if len(units) == 1 else 'share of the run')
        axes.grid(alpha=0.3)
        axes.legend(loc='best', frameon=False)


@dataclasses.dataclass(frozen=True)
class Plot:
    """Lines over one quantity.

    Attributes:
        title (str), x_label (str): What is shown, over what.
        lines (dict): By name, pairs of x (N,) and y (N,) or (runs, N); of several runs the median is drawn, and the
            range of them lightly behind it.
        logarithmic (bool): Whether y runs in powers of ten.
    """

    title: str
    x_label: str
    lines: dict
    logarithmic: bool = False


def draw_plots(path, plots, columns=2):
    """Plots beside one another."""
    rows = -(-len(plots) // columns)
    columns = min(columns, len(plots))
    figure = Figure(figsize=(5 * columns, 3.6 * rows), layout='constrained')
    FigureCanvasAgg(figure)
    for axes, plot in itertools.zip_longest(figure.subplots(rows, columns, squeeze=False).flat, plots):
        if plot is None:
            axes.set_axis_off()
            continue
        for i, (name, (x, y)) in enumerate(plot.lines.items()):
            y = numpy.atleast_2d(numpy.asarray(y, dtype=float))
            axes.plot(x, numpy.median(y, axis=0), color='C{}'.format(i), label=_verbatim(name), linewidth=1.2)
            axes.fill_between(x, y.min(axis=0), y.max(axis=0), color='C{}'.format(i), alpha=0.15, linewidth=0)
        axes.set_title(plot.title, loc='left', fontsize='medium')
        axes.set_xlabel(plot.x_label)
        if plot.logarithmic:
            axes.set_yscale('log')
        axes.grid(alpha=0.3)
        beside = {'loc': 'upper left', 'bbox_to_anchor': (1, 1)} if len(plot.lines) > 5 else {'loc': 'best'}
        axes.legend(**beside, frameon=False, fontsize='small')
    _save(figure, path)


def draw_matrix(path, matrix, title, x_label, y_label):
    """Numbers from 0 on as colours, (rows, columns)."""
    figure = Figure(figsize=(6, 5), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    image = axes.imshow(matrix, aspect='auto', cmap='viridis', vmin=0, interpolation='nearest')
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    figure.colorbar(image, ax=axes)
    _save(figure, path)


def write_gif(path, frame_paths, colours=64, seconds=20.0):
    """Join PNG files to an endless GIF of about ``seconds``, the last frame held longer; ``colours`` a frame."""
    def frames():
        for frame_path in frame_paths:
            with Image.open(frame_path) as image:
                # One palette for all frames would need all of them in memory.
                yield image.convert('RGB').quantize(colours, dither=Image.Dither.NONE)
    images = frames()
    first = next(images)
    # Browsers show frames of less than 20 ms slowly, so a long video takes longer instead.
    duration = min(200, max(20, 1000 * seconds / len(frame_paths)))
    durations = [duration] * (len(frame_paths) - 1) + [2000]
    with open_atomically(path) as file:
        first.save(file, format='GIF', save_all=True, append_images=images, duration=durations, loop=0)
