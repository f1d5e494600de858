"""Samples as pictures: one each, or many in a grid as torchvision's ``save_image`` lays them out."""

import itertools

import numpy

from ddgm.data import mnist, picture_file
from ddgm.support.errors import UsageError, counted

SUFFIXES = ('.png', '.jpg', '.jpeg')
_SIDES = (mnist.SIDE, picture_file.SIDE)
_WIDEST = 16  # pixels between two tiles


def read(path, alone):
    """The samples of one picture file, (N, S, S, 3) uint8 with S = 28 or 64, and what it was taken for.

    ``None`` for what is neither a sample nor certainly a grid of samples.  ``alone`` says that no other picture lies
    beside it: then its tiles may also touch.  Raises ``UsageError`` for a file that can't be read.
    """
    try:
        pixels = picture_file.read_pixels(path)
    except ValueError as error:
        raise UsageError('{}: can\'t be read as a picture ({}): leave it out or give another path'.format(
            path, error)) from error
    if pixels.shape in ((side, side, 3) for side in _SIDES):
        return pixels[None], None
    grids = [(side, padding) for side, padding in itertools.product(_SIDES, range(1, _WIDEST + 1))
             if _is_grid(pixels, side, padding)]
    if alone and not grids:
        grids = [(side, 0) for side in _SIDES if _is_grid_without_lines(pixels, side)]
    if len(grids) != 1:
        return None
    (side, padding), = grids
    x = _cut(pixels, side, padding)
    return x, 'taken for a grid of {} of {}×{} pixels, {}'.format(
        counted(len(x), 'sample'), side, side,
        'with lines of {} between them'.format(padding) if padding else 'which touch each other')


def _lines(length, side, padding):
    """Which rows, or columns, of a grid lie between its tiles: (length,) bool."""
    return numpy.arange(length) % (side + padding) < padding


def _fits(pixels, side, padding):
    """Whether whole tiles, with a line before each and behind the last, have the picture's size; two at least."""
    height, width = pixels.shape[:2]
    return (height - padding) % (side + padding) == (width - padding) % (side + padding) == 0 and (
        min(height, width) >= side + 2 * padding and max(height, width) > side + 2 * padding)


def _is_grid(pixels, side, padding):
    """Whether all pixels between the tiles have one colour."""
    if not _fits(pixels, side, padding):
        return False
    height, width = pixels.shape[:2]
    rows, columns = _lines(height, side, padding), _lines(width, side, padding)
    return (pixels[rows] == pixels[0, 0]).all() and (pixels[:, columns] == pixels[0, 0]).all()


def _is_grid_without_lines(pixels, side):
    """Whether neighbouring pixels differ most, or least, where tiles would touch: in both directions."""
    if not _fits(pixels, side, 0):
        return False
    if len(pixels) > 2 * side:
        pixels = pixels[:-side]  # the last row may be filled up
    return _stands_out(pixels, side) and _stands_out(pixels.swapaxes(0, 1), side)


def _stands_out(pixels, side):
    if len(pixels) == side:
        return True
    steps = numpy.array([  # a row at a time, since a picture may be large
        abs(after.astype(int) - before).mean() for before, after in zip(pixels, pixels[1:])])
    within = [steps[i::side].mean() for i in range(side - 1)]
    slack = 0.05 * (max(within) - min(within))
    between = steps[side - 1::side].mean()
    return between >= max(within) - slack or between <= min(within) + slack


def _cut(pixels, side, padding):
    """The tiles, row by row, without those that fill up the last row."""
    height, width = pixels.shape[:2]
    inside = pixels[~_lines(height, side, padding)][:, ~_lines(width, side, padding)]
    n_columns = inside.shape[1] // side
    tiles = inside.reshape(-1, side, n_columns, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
    ground = pixels[0, 0] if padding else tiles[-1, -1, -1]
    is_empty = (tiles[-n_columns:] == ground).all(axis=(1, 2, 3))
    n_empty = 0 if is_empty.all() else is_empty[::-1].argmin()
    return tiles[:len(tiles) - n_empty]
