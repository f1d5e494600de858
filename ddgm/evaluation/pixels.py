"""What one data point is, and how arrays that other programs made become arrays of them; it takes no data to tell."""

from __future__ import annotations

import numpy

from ddgm.data.picture_arrays import check_range
from ddgm.support.errors import UsageError


def from_0_to_1(array: numpy.ndarray) -> numpy.ndarray:
    """Pixels as float32 in 0…1; raises ``UsageError`` where they are neither that nor the levels of a picture file."""
    if array.dtype.kind in 'iu' and array.min() >= 0 and array.max() > 1:  # the levels of a picture file
        array = array / 255
    array = array.astype(numpy.float32)
    check_range(array.min(), array.max())
    return array.clip(0, 1)


class Form:
    """What one data point is.

    Attributes:
        shape (tuple): Of one.
        value_range (tuple): The lowest and the highest number that it can have; ``None``: there are none.
    """

    def __init__(self, shape: tuple, value_range: tuple | None = None):
        self.shape, self.value_range = shape, value_range

    def check(self, array: numpy.ndarray) -> None:
        """Raise ``UsageError`` where these are no points of this shape."""
        if array.shape[1:] != self.shape:
            raise UsageError('samples of this data have the shape (N, {}), these have {}'.format(
                ', '.join(map(str, self.shape)), array.shape))

    def conform(self, array: numpy.ndarray) -> numpy.ndarray:
        """Samples from elsewhere as float32 in this project's shape; raises ``UsageError`` where they can't be that."""
        self.check(array)
        return from_0_to_1(array) if self.value_range == (0, 1) else array.astype(numpy.float32)

    def as_shown(self, x: numpy.ndarray) -> numpy.ndarray:
        """Samples as the pictures take them: points (N, 2), or images (N, H, W) or (N, 3, H, W)."""
        return x[:, 0] if x.ndim == 4 and x.shape[1] == 1 else x


class _Digits(Form):
    def conform(self, array: numpy.ndarray) -> numpy.ndarray:
        if array.shape[1:] in ((3, 28, 28), (28, 28, 3)):
            array = _without_colours(array, 'digits')
        if array.shape[1:] not in ((784,), (28, 28), (1, 28, 28), (28, 28, 1)):
            raise UsageError(
                'digits have the shape (N, 784), (N, 28, 28) or (N, 1, 28, 28), these have {}'.format(array.shape))
        return from_0_to_1(array.reshape(len(array), -1))

    def as_shown(self, x: numpy.ndarray) -> numpy.ndarray:
        return x.reshape(-1, 28, 28)


class _Pictures(Form):
    def conform(self, array: numpy.ndarray) -> numpy.ndarray:
        n_channels, size, _ = self.shape
        square = size, size
        if n_channels == 1 and array.shape[1:] in ((3, *square), (*square, 3)):
            array = _without_colours(array, 'pictures of this data')
        fit = [(1, *square), (*square, 1), square] if n_channels == 1 else [(3, *square), (*square, 3)]
        if array.shape[1:] not in fit:
            raise UsageError('{} have the shape {}, these have {}'.format(
                'grey pictures' if n_channels == 1 else 'pictures',
                ' or '.join('(N, {})'.format(', '.join(map(str, shape))) for shape in fit), array.shape))
        if n_channels == 3 and array.shape[1:] == fit[1]:
            array = array.transpose(0, 3, 1, 2)
        return from_0_to_1(array.reshape(len(array), *self.shape))


DIGITS = _Digits((784,), (0, 1))  # 28×28 in grey


def pictures(size: int, grey: bool) -> Form:
    """Square images of so many pixels a side, (1, size, size) where they are grey, else (3, size, size)."""
    return _Pictures((1 if grey else 3, size, size), (0, 1))


def _without_colours(array, what):
    """Grey images that were saved in three equal channels, in one."""
    grey = array.take([0], axis=1 if array.shape[1] == 3 else 3)
    if (array != grey).any():
        raise UsageError('{} are grey, and these have colours: save the mean of their channels'.format(what))
    return grey
