"""Curves of a run, and comparisons and studies of several."""

import dataclasses
import itertools
import math

import numpy
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ddgm.figures.post import (
    DATA_COLOUR,
    INCHES,
    SAMPLE_COLOUR,
    defaults,
    save,
    scatter,
    show_energy,
    show_plane,
    tiled,
)

# What of the log is drawn.
QUANTITIES = {
    'energy/positive': 'E(x⁺), data',
    'energy/negative': 'E(x⁻), samples',
    'energy/loss': 'DEM loss: E(x⁺) − E(x⁻)',
    'generator/loss': 'DGM loss: E(G(z)) − H',
    'generator/entropy': 'entropy proxy H',
}


@defaults()
def draw_curves(path, curves):
    """Energies, both losses and the entropy proxy over the iterations: those that ``curves`` has (``Curves``)."""
    figure = Figure(figsize=(INCHES, 1.25 * INCHES), layout='constrained')
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
    save(figure, path)


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


@defaults()
def draw_comparison(path, data, panels, curves):
    """Samples side by side beside data, maps of their energies below them, and curves over one another.

    Args:
        path: Of the PNG.
        data (Panel): Shown first; points also behind all samples.  ``None`` where there are no panels.
        panels (list of Panel): All of one kind.
        curves (list): Pairs of a name and :class:`ddgm.runs.log.Curves`.
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
    save(figure, path, 80)


def _show_samples(figure, panels, columns, data):
    for axes, panel in itertools.zip_longest(figure.subplots(1, columns, squeeze=False).flat, panels):
        if panel is None:
            axes.set_axis_off()
            continue
        axes.set_title(_verbatim(panel.title))
        if panel.x.ndim == 2:
            show_plane(axes)
            axes.set_aspect('equal')
            scatter(axes, data.x, DATA_COLOUR, 6)
            if panel is not data:
                scatter(axes, panel.x, SAMPLE_COLOUR, 6)
        else:
            axes.imshow(tiled(panel.x, 8))
            axes.set_axis_off()


def _show_energies(figure, panels, columns):
    for axes, panel in itertools.zip_longest(figure.subplots(1, columns, squeeze=False).flat, panels):
        if panel is None or not panel.energy:
            axes.set_axis_off()
            continue
        show_plane(axes)
        image, quantity = show_energy(axes, panel.energy, panel.log_z, panel.x)
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


@defaults()
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
    save(figure, path)


@defaults()
def draw_matrix(path, matrix, title, x_label, y_label):
    """Numbers from 0 on as colours, (rows, columns)."""
    figure = Figure(figsize=(6, 5), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    image = axes.imshow(matrix, aspect='auto', cmap='viridis', vmin=0, interpolation='nearest')
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    figure.colorbar(image, ax=axes)
    save(figure, path)
