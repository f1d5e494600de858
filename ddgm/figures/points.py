"""Pictures of points of any number of columns: in the plane the post's, else histograms and pairs of columns."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ddgm.figures import post
from ddgm.figures.post import DATA_COLOUR, INCHES, SAMPLE_COLOUR, defaults, save, scatter

_MOST_COLUMNS = 4  # that have room beside one another
_BINS = 40


def draw_samples(
        path: str | os.PathLike, data: numpy.ndarray, samples: numpy.ndarray, window: tuple | None,
        pixels: int = 800) -> None:
    """Data and samples, both (N, d): a histogram of one column, the plane of two, pairs of the first four of more.

    ``window`` is that of :func:`ddgm.figures.post.show_plane`.
    """
    if data.shape[1] == 2:
        post.draw_points(path, data, samples, pixels, window)
    else:
        _draw_columns(path, data, samples, pixels)


@defaults()
def _draw_columns(path, data, samples, pixels):
    d = data.shape[1]
    n = min(d, _MOST_COLUMNS)
    figure = Figure(figsize=(INCHES, INCHES), layout='constrained')
    FigureCanvasAgg(figure)
    if d > n:
        figure.suptitle('columns 0 to {} of {}'.format(n - 1, d))
    for i, row in enumerate(figure.subplots(n, n, squeeze=False, sharex='col')):
        for j, axes in enumerate(row):
            axes.tick_params(labelsize='small')
            if j > i:
                axes.set_axis_off()
            elif j == i:
                show_histograms(axes, data[:, i], samples[:, i])
            else:
                scatter(axes, data[:, [j, i]], DATA_COLOUR, 20 / n)
                scatter(axes, samples[:, [j, i]], SAMPLE_COLOUR, 20 / n)
    save(figure, path, pixels / INCHES)


def show_histograms(axes, data: numpy.ndarray, samples: numpy.ndarray | None) -> None:
    """Histograms of data and samples, (N,) and (M,), over the same bins, whose areas are 1."""
    bins = numpy.histogram_bin_edges(data, _BINS)
    axes.hist(data, bins, density=True, color=DATA_COLOUR)
    if samples is not None and ((samples >= bins[0]) & (samples <= bins[-1])).any():
        axes.hist(samples, bins, density=True, color=SAMPLE_COLOUR, histtype='step', linewidth=1.5)
    axes.tick_params(direction='in')


@defaults()
def draw_density(
        path: str | os.PathLike, energy: Callable, log_z: float, data: numpy.ndarray, samples: numpy.ndarray) -> None:
    """P(x) = exp(−E(x))/Z of points (N, 1) as a curve, over histograms of data and samples."""
    figure = Figure(figsize=(INCHES, 0.6 * INCHES), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    show_histograms(axes, data[:, 0], samples[:, 0])
    lowest, highest = data.min(), data.max()
    margin = 0.1 * (highest - lowest)
    x = numpy.linspace(lowest - margin, highest + margin, 2_000)
    axes.plot(x, numpy.exp(-energy(x[:, None]) - log_z), color='tab:blue', linewidth=1.5)
    axes.set_title('density of the energy model (blue), samples of the generator (red), data (grey)')
    save(figure, path)
