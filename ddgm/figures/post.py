"""The post's pictures and its video, in its layout and colours; they keep no state and need no display."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Sequence

import numpy
from PIL import Image

from ddgm.data.distributions import cells_of_square
from ddgm.fast.threads import for_each
from ddgm.support.files import open_atomically

# The post's.
DATA_COLOUR, SAMPLE_COLOUR = '#bec3c7', '#e84c3d'
PLANE = 4  # half the width of the square that pictures of the plane show
_WINDOW = (0, 0, PLANE, PLANE)
INCHES = 8  # the width of a page
_MARKER_SIZE = 20
_MOST_FRAMES = 1000  # of a video
_AT_A_TIME = 16  # of them, which are read on all cores


@contextlib.contextmanager
def defaults() -> Iterator[None]:
    """A context, or a decorator, in which matplotlib has its own defaults, whatever its user's file or style says."""
    import matplotlib  # only where it draws: a grid of images is Pillow's alone, and there at once
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def _post_axes(window=None):
    """The post's page: 8×8 inches, x and y in −4…4, integer ticks on all four sides, pointing inwards."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure(figsize=(INCHES, INCHES))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.125, 0.1, 0.775, 0.8))
    show_plane(axes, window)
    return figure, axes


def show_plane(axes, window: tuple | None = None) -> None:
    """Limits and ticks of matplotlib axes that show the plane: −4…4 twice, or a window's middle and half its widths."""
    x, y, half_width, half_height = window or _WINDOW
    axes.set(xlim=(x - half_width, x + half_width), ylim=(y - half_height, y + half_height))
    if window is None:
        axes.set(xticks=range(-PLANE, PLANE + 1), yticks=range(-PLANE, PLANE + 1))
    axes.tick_params(direction='in', top=True, right=True)


def scatter(axes, points: numpy.ndarray, colour: str, size: float = _MARKER_SIZE):
    """Points (N, 2) as dots of one colour, a collection of matplotlib's; ``size`` in its squared points."""
    return axes.scatter(points[:, 0], points[:, 1], s=size, color=colour, edgecolors='none')


def save(figure, path: str | os.PathLike, pixels_per_inch: float = 100) -> None:
    """A matplotlib figure as a PNG file that is there as a whole or not at all."""
    buffer = io.BytesIO()
    # Without the version of matplotlib in it, the same picture is the same file.
    figure.savefig(buffer, format='png', dpi=pixels_per_inch, metadata={'Software': None})
    with open_atomically(path) as file:
        file.write(buffer.getvalue())


class PointsPicture:
    """Data in the plane, (N, 2), and samples that change, in the post's layout and colours.

    For a video: making figure and axes takes nearly as long as drawing them, so they are kept.  They are made, and
    matplotlib is imported, with the first picture.  ``window`` is that of :func:`show_plane`.
    """

    def __init__(self, data: numpy.ndarray, pixels: int = 800, window: tuple | None = None):
        self._data, self._pixels_per_inch, self._window = data, pixels / INCHES, window
        self._figure = self._samples = None

    @defaults()
    def draw(self, path: str | os.PathLike, samples: numpy.ndarray) -> None:
        """The picture with samples (M, 2), as a PNG file."""
        if self._figure is None:
            self._figure, axes = _post_axes(self._window)
            scatter(axes, self._data, DATA_COLOUR)
            self._samples = scatter(axes, self._data, SAMPLE_COLOUR)  # until there are some
        self._samples.set_offsets(samples)
        save(self._figure, path, self._pixels_per_inch)


def draw_points(
        path: str | os.PathLike, data: numpy.ndarray, samples: numpy.ndarray, pixels: int = 800,
        window: tuple | None = None) -> None:
    """Data and samples in the plane, both (N, 2), in the post's layout and colours."""
    PointsPicture(data, pixels, window).draw(path, samples)


def draw_grid(path: str | os.PathLike, images: numpy.ndarray, columns: int = 10) -> None:
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


def beside(images: numpy.ndarray, others: numpy.ndarray) -> numpy.ndarray:
    """Two equally long series of images as one that takes from both in turn."""
    return numpy.stack([images, others], axis=1).reshape(-1, *images.shape[1:])


def draw_small_grid(path: str | os.PathLike, images: numpy.ndarray, columns: int = 10) -> None:
    """The same images as tiles of their own size, close together: a frame of the video."""
    _save_image(tiled(images, columns), path)


def tiled(images: numpy.ndarray, columns: int) -> Image.Image:
    """Images (N, H, W) or (N, 3, H, W) in 0…1 as one Pillow image, in rows with two white pixels between them."""
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


@defaults()
def draw_energy(
        path: str | os.PathLike, energy: Callable, log_z: float | None, samples: numpy.ndarray,
        window: tuple | None = None) -> None:
    """log P(x) = −E(x) − log Z on the plane in nats, the samples (N, 2) over it; −E(x) where ``log_z`` is ``None``.

    The colours reach down to where all but a twentieth of the samples lie, so that the map shows where the energy
    model and the generator disagree.
    """
    figure, axes = _post_axes(window)
    image, quantity = show_energy(axes, energy, log_z, samples, window)
    scatter(axes, samples, SAMPLE_COLOUR)
    figure.colorbar(image, cax=figure.add_axes((0.915, 0.1, 0.02, 0.8)), extend='min')
    axes.set_title(quantity + ' of the energy model, nats; dots: samples of the generator')
    save(figure, path)


def show_energy(
        axes, energy: Callable, log_z: float | None, samples: numpy.ndarray, window: tuple | None = None) -> tuple:
    """The map of :func:`draw_energy` alone, in axes of the plane; returns its image and the name of what it shows."""
    offset, quantity = (0, '−E(x)') if log_z is None else (log_z, 'log P(x)')
    return _show_map(
        axes, lambda x: -energy(x) - offset, window,
        vmin=numpy.percentile(-energy(samples) - offset, 5)), quantity


def _show_map(axes, function, window=None, **colours):
    """A function of points, (N, 2) to (N,), as colours over the plane: matplotlib's image."""
    cells = 400
    x, y, half_width, half_height = window or _WINDOW
    centres = cells_of_square(1, cells)[0] * (half_width, half_height) + (x, y)
    return axes.imshow(
        function(centres).reshape(cells, cells), origin='lower',
        extent=(x - half_width, x + half_width, y - half_height, y + half_height), aspect='auto', cmap='viridis',
        interpolation='bilinear', **colours)


@defaults()
def draw_log_densities(
        path: str | os.PathLike, log_densities: dict[str, Callable], data: numpy.ndarray, lowest: float,
        highest: float) -> None:
    """log P(x) of several densities of the plane, beside one another on one scale from ``lowest`` to ``highest``, nats.

    ``log_densities`` has functions of points, (N, 2) to (N,), by the titles of their maps.  Data (M, 2) lies over each.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure(figsize=(4 * len(log_densities), 4.5), layout='constrained')
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(log_densities), sharey=True, squeeze=False)[0]
    for axes, (title, log_density) in zip(panels, log_densities.items()):
        show_plane(axes)
        axes.set_box_aspect(1)
        axes.set_title(title, fontsize='x-large')
        image = _show_map(axes, log_density, vmin=lowest, vmax=highest)
        scatter(axes, data, DATA_COLOUR, size=1.5)
    bar = figure.colorbar(image, ax=list(panels), extend='both', pad=0.01, aspect=30)
    bar.set_label('log P(x), nats', fontsize='large')
    save(figure, path)


def write_gif(
        path: str | os.PathLike, frame_paths: Sequence, colours: int = 64, seconds: float = 20.0) -> None:
    """Join PNG files to an endless GIF of about ``seconds``, the last frame held longer; ``colours`` a frame.

    Of more than 1,000 files, a frame an epoch in the post's video, it has 1,000 at equal distances, the last one among
    them.
    """
    chosen = numpy.linspace(0, len(frame_paths) - 1, min(_MOST_FRAMES, len(frame_paths))).round().astype(int)
    frame_paths = [frame_paths[i] for i in chosen]

    def frame_of(path):
        with Image.open(path) as image:
            # One palette for all frames would need all of them in memory.
            return image.convert('RGB').quantize(colours, dither=Image.Dither.NONE)

    def frames():
        for first in range(0, len(frame_paths), _AT_A_TIME):
            yield from for_each(frame_of, frame_paths[first:first + _AT_A_TIME])
    Image.preinit()  # before threads do
    images = frames()
    first = next(images)
    # Browsers show frames of less than 20 ms slowly, so a long video takes longer instead.
    duration = min(200, max(20, 1000 * seconds / len(frame_paths)))
    durations = [duration] * (len(frame_paths) - 1) + [2000]
    with open_atomically(path) as file:
        first.save(file, format='GIF', save_all=True, append_images=images, duration=durations, loop=0)
