"""Samples as pictures: one each, or many in a grid as torchvision's ``save_image`` lays them out."""

from __future__ import annotations

import itertools
import pathlib

import numpy

from ddgm.data import mnist, picture_file
from ddgm.data.arrays import SAVE, NoSamples
from ddgm.presets import ImageSettings
from ddgm.support.errors import UsageError, counted

_SIDES = (mnist.SIDE, *ImageSettings.told_of('size').choices)
_WIDEST = 16  # pixels between two tiles


def read(path: pathlib.Path, in_plane: bool) -> tuple[numpy.ndarray, str]:
    """The samples of a file, (N, S, S, 3) uint8, and what it was taken for, ``''`` for one sample.

    Raises ``NoSamples`` for what is neither a sample nor certainly a grid of samples, ``UsageError`` for a file that
    can't be read.
    """
    try:
        pixels = picture_file.read_pixels(path)
    except ValueError as error:
        raise UsageError('{}: can\'t be read as a picture ({}): leave it out or give another path'.format(
            path, error)) from error
    if pixels.shape in ((side, side, 3) for side in _SIDES):
        return pixels[None], ''
    grids = [grid for grid in itertools.product(_SIDES, range(1, _WIDEST + 1)) if _is_grid(pixels, *grid)]
    if grids == [(28, 8), (64, 8)]:  # two digits and a line have the side of one picture
        grids.pop()
    if len(grids) != 1:
        raise NoSamples('{}: neither a sample of {} pixels a side nor certainly a grid of them, {}{}'.format(
            path, '{}, {}, {} or {}'.format(*_SIDES),
            'with lines of one colour between all: ' if path.suffix.lower() == '.png' else
            'whose edges a JPEG blurs: save a PNG, or ', SAVE))
    (side, padding), = grids
    x, n_empty = _cut(pixels, side, padding)
    note = 'taken for a grid of {} of {}×{} pixels, with lines of {} between them'.format(
        counted(len(x), 'sample'), side, side, padding)
    if n_empty:
        note += '; without its last {}, of the colour of the lines'.format(counted(n_empty, 'place'))
    elif (x[-1] == pixels[0, 0]).all():
        note += '; its last row, of the colour of the lines, counts as samples'
    return x, note


def _fits(pixels, side, padding):
    """Whether whole tiles, with a line before each and behind the last, have the picture's size; two at least."""
    lengths = [(length - padding) / (side + padding) for length in pixels.shape[:2]]
    return all(length.is_integer() for length in lengths) and min(lengths) >= 1 and max(lengths) > 1


def _lines(length, side, padding):
    """Which rows, or columns, of a grid lie between its tiles: (length,) bool."""
    return numpy.arange(length) % (side + padding) < padding


def _is_grid(pixels, side, padding):
    """Whether all pixels between the tiles have one colour."""
    return _fits(pixels, side, padding) and all(
        (turned[_lines(len(turned), side, padding)] == pixels[0, 0]).all()
        for turned in (pixels, pixels.swapaxes(0, 1)))


def _cut(pixels, side, padding):
    """The tiles, row by row, without those that fill up the last row, and how many these are."""
    height, width = pixels.shape[:2]
    inside = pixels[~_lines(height, side, padding)][:, ~_lines(width, side, padding)]
    n_columns = inside.shape[1] // side
    tiles = inside.reshape(-1, side, n_columns, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
    is_empty = (tiles[-n_columns:] == pixels[0, 0]).all(axis=(1, 2, 3))
    n_empty = 0 if is_empty.all() else is_empty[::-1].argmin()
    return tiles[:len(tiles) - n_empty], int(n_empty)
