"""Curves of a run, and comparisons and studies of several."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
from collections.abc import Callable

import numpy
from matplotlib import colormaps, font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ddgm.figures.points import show_histograms
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
    'loss': 'a loss',
}
_FEW = 4  # names that a legend in each panel has room for
_LEGEND_ROWS = 12
_LONGEST = 40  # letters of a name
_LETTER, _LINE = 0.075, 0.7  # inches: a small letter of a legend, and the line with the gaps beside it
_LENGTH = 20  # letters of a run's length, as in " (100,000 iterations)"
_COLUMN = 4.2  # inches of the page


@defaults()
def draw_curves(path: str | os.PathLike, curves) -> None:
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
        x: Points (N, d), or images (N, H, W) or (N, 3, H, W) in 0…1.
        energy: A function of points, or ``None``.
        log_z (float): Of that energy; ``None``: not known.
        window (tuple): Where the plane is shown: the middle (x₁, x₂) and half the widths; ``None``: −4…4.  That of the
            data counts for all.
    """

    title: str
    x: numpy.ndarray
    energy: Callable | None = None
    log_z: float | None = None
    window: tuple | None = None


@defaults()
def draw_comparison(path: str | os.PathLike, data: Panel | None, panels: list[Panel], curves: list) -> None:
    """Samples side by side beside data, maps of their energies below them, and curves over one another.

    Args:
        path: Of the PNG.
        data: Shown first; points also behind all samples.  ``None`` where there are no panels.
        panels: All of one kind.
        curves: Pairs of a name and :class:`ddgm.runs.log.Curves`.
    """
    shown = [data, *panels] if panels else []
    columns = min(4, max(2, len(shown)))
    bands = [shown[first:first + columns] for first in range(0, len(shown), columns)]
    # A panel each; what other programs define in their own way is not drawn over ours.
    quantities = sorted(
        {(name, curve.own.get(name)) for _, curve in curves for name in curve.values
         if name in QUANTITIES and curve.points(name)[0]},
        key=lambda panel: (list(QUANTITIES).index(panel[0]), panel[1] or ''))
    parts = []  # of the page: a height in inches, what draws it, and its arguments
    for band in bands:
        parts.append((4.4, _show_samples, (band, columns, data)))
        if any(panel.energy for panel in band if panel is not data):
            parts.append((5.0, _show_energies, (band, columns, data.window)))
    if quantities:
        across, down = _legend_of_all(curves, _COLUMN * columns)
        parts.append((
            2.4 * -(-len(quantities) // 2) + 0.5 + 0.2 * down, _show_curves, (quantities, curves, across, down)))
    heights = [height for height, _, _ in parts]
    figure = Figure(figsize=(_COLUMN * columns, sum(heights)), layout='constrained')
    figure.get_layout_engine().set(h_pad=0.1, w_pad=0.1)
    FigureCanvasAgg(figure)
    for part, (_, show, arguments) in zip(
            figure.subfigures(len(parts), 1, height_ratios=heights, squeeze=False).flat, parts):
        show(part, *arguments)
    save(figure, path, 80)


def _legend_of_all(curves, width):
    """How many names stand side by side on a page of so many inches, in how many rows: 0, each panel has its own."""
    names = {name for name, _ in curves}
    letters = min(_LONGEST, max(map(len, names)))
    if len({curve.unit for _, curve in curves}) > 1:  # then each name has the length of its run behind it
        letters += _LENGTH
    across = max(1, int(width / (_LINE + _LETTER * letters)))
    return across, min(_LEGEND_ROWS, -(-len(names) // across)) if len(names) > _FEW else 0


def _show_samples(figure, panels, columns, data):
    for axes, panel in itertools.zip_longest(figure.subplots(1, columns, squeeze=False).flat, panels):
        if panel is None:
            axes.set_axis_off()
            continue
        axes.set_title(_verbatim(panel.title))
        if panel.x.ndim == 2 and panel.x.shape[1] == 1:
            show_histograms(axes, data.x[:, 0], panel.x[:, 0] if panel is not data else None)
        elif panel.x.ndim == 2:
            if panel.x.shape[1] == 2:
                show_plane(axes, data.window)
            else:
                axes.set(xlabel='columns 0 and 1 of {}'.format(panel.x.shape[1]))
            axes.set_box_aspect(1)
            scatter(axes, data.x, DATA_COLOUR, 6)
            if panel is not data:
                scatter(axes, panel.x, SAMPLE_COLOUR, 6)
        else:
            axes.imshow(tiled(panel.x, 8))
            axes.set_axis_off()


def _show_energies(figure, panels, columns, window):
    for axes, panel in itertools.zip_longest(figure.subplots(1, columns, squeeze=False).flat, panels):
        if panel is None or not panel.energy:
            axes.set_axis_off()
            continue
        show_plane(axes, window)
        image, quantity = show_energy(axes, panel.energy, panel.log_z, panel.x, window)
        axes.set_box_aspect(1)
        axes.set_title('{} of {}, nats'.format(quantity, _verbatim(panel.title)))
        figure.colorbar(image, ax=axes, extend='min', location='bottom', shrink=0.7, aspect=30)


def _verbatim(name):
    """A name as matplotlib can show it: no formula, no letter that its font lacks, no line that a legend leaves out."""
    font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties()))
    name = ''.join(letter if font.get_char_index(ord(letter)) else ascii(letter)[1:-1] for letter in name)
    if len(name) > _LONGEST:
        name = '{}…{}'.format(name[:_LONGEST // 2], name[1 - _LONGEST // 2:])
    name = name.replace('$', r'\$')
    return ' ' + name if name.startswith('_') else name


def _show_curves(figure, quantities, curves, across, down):
    units, names = {curve.unit for _, curve in curves}, list(dict.fromkeys(name for name, _ in curves))
    colours = ['C{}'.format(i) for i in range(10)] if len(names) <= 10 else [
        colormaps['turbo'](i / (len(names) - 1)) for i in range(len(names))]
    grid, legend = figure.subplots(-(-len(quantities) // 2), 2, squeeze=False), {}
    for axes, panel in itertools.zip_longest(grid.flat, quantities):
        if panel is None:
            axes.set_axis_off()
            continue
        quantity, own = panel
        for name, curve in curves:
            if quantity not in curve.values or curve.own.get(quantity) != own:
                continue
            label, scale = _verbatim(name), 1
            if len(units) > 1:  # iterations of one program and epochs of another have no common length
                length = max(filter(math.isfinite, curve.x), default=0)
                label, scale = '{} ({:g} {}s)'.format(label, length, curve.unit), length or 1
            x, values = curve.points(quantity)
            legend[label], = axes.plot(
                [number / scale for number in x], values, color=colours[names.index(name)], label=label, linewidth=1,
                marker='.' if len(x) == 1 else None)
        title = QUANTITIES[quantity] + ', nats'
        if own:
            title = '{}, another program\'s own:\n{}'.format(
                QUANTITIES[quantity].split(':')[0], _verbatim(own))
        axes.set_title(title)
        axes.set_xlabel(units.copy().pop() if len(units) == 1 else 'share of the run')
        axes.grid(alpha=0.3)
        if not down:
            axes.legend(loc='best', frameon=False)
    if down:
        labels = list(legend)[:across * down]
        if len(legend) > len(labels):
            labels[-1] = 'and {:,} more'.format(len(legend) - len(labels) + 1)
            legend[labels[-1]] = Line2D([], [], linestyle='none')
        figure.legend(
            [legend[label] for label in labels], labels, loc='outside lower center', ncols=across, frameon=False,
            fontsize='small')


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
def draw_plots(path: str | os.PathLike, plots: list[Plot], columns: int = 2) -> None:
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
def draw_matrix(path: str | os.PathLike, matrix: numpy.ndarray, title: str, x_label: str, y_label: str) -> None:
    """Numbers from 0 on as colours, (rows, columns)."""
    figure = Figure(figsize=(6, 5), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    image = axes.imshow(matrix, aspect='auto', cmap='viridis', vmin=0, interpolation='nearest')
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    figure.colorbar(image, ax=axes)
    save(figure, path)
