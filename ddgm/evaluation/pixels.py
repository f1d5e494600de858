"""What one data point is, and how arrays that other programs made become arrays of them; it takes no data to tell."""

from __future__ import annotations

import numpy

from ddgm.support.errors import UsageError


def from_0_to_1(array: numpy.ndarray) -> numpy.ndarray:
    """Pixels as float32 in 0…1; raises ``UsageError`` where they are neither that nor the levels of a picture file."""
    if array.dtype.kind in 'iu' and array.min() >= 0 and array.max() > 1:  # the levels of a picture file
        array = array / 255
    array = array.astype(numpy.float32)
    slack = 0.01  # what an interpolation may add
    if array.min() < -slack or array.max() > 1 + slack:
        lowest, highest = array.min(), array.max()
        if lowest >= -1 - slack and highest <= 1 + slack:
            cure = 'save (x + 1) / 2'
        elif lowest >= -slack and 16 < highest <= 255 + slack:
            cure = 'save x / 255'
        else:
            cure = 'undo what was done to them before training'
        raise UsageError('pixels run from 0 to 1, these from {:.3g} to {:.3g}: {}'.format(lowest, highest, cure))
    return array.clip(0, 1)


class Form:
    """What one data point is.

    Attributes:
        shape (tuple): Of one.
        value_range (tuple): The lowest and the highest number that it can have; ``None``: there are none.
    """

    def __init__(self, shape: tuple, value_range: tuple | None = None):
        self.shape, self.value_range = shape, value_range

    def conform(self, array: numpy.ndarray) -> numpy.ndarray:
        """Samples from elsewhere as float32 in this project's shape; raises ``UsageError`` where they can't be that."""
        if array.shape[1:] != self.shape:
            raise UsageError('samples of this data have the shape (N, {}), these have {}'.format(
                ', '.join(map(str, self.shape)), array.shape))
        return from_0_to_1(array) if self.value_range == (0, 1) else array.astype(numpy.float32)

    def as_shown(self, x: numpy.ndarray) -> numpy.ndarray:
        """Samples as the pictures take them: points (N, 2), or images (N, H, W) or (N, 3, H, W)."""
        return x[:, 0] if x.ndim == 4 and x.shape[1] == 1 else x


class _Digits(Form):
    def conform(self, array: numpy.ndarray) -> numpy.ndarray:
        if array.shape[1:] in ((3, 28, 28), (28, 28, 3)):
            array = _without_colours(array)
        if array.shape[1:] not in ((784,), (28, 28), (1, 28, 28), (28, 28, 1)):
            raise UsageError(
                'digits have the shape (N, 784), (N, 28, 28) or (N, 1, 28, 28), these have {}'.format(array.shape))
        return from_0_to_1(array.reshape(len(array), -1))

    def as_shown(self, x: numpy.ndarray) -> numpy.ndarray:
        return x.reshape(-1, 28, 28)


class _Pictures(Form):
    def conform(self, array: numpy.ndarray) -> numpy.ndarray:
        if array.shape[1:] == (64, 64, 3):
            array = array.transpose(0, 3, 1, 2)
        if array.shape[1:] != (3, 64, 64):
            raise UsageError(
                'pictures have the shape (N, 3, 64, 64) or (N, 64, 64, 3), these have {}'.format(array.shape))
        return from_0_to_1(array)


DIGITS = _Digits((784,), (0, 1))  # 28×28 in grey
PICTURES = _Pictures((3, 64, 64), (0, 1))


def _without_colours(array):
    """Grey digits that were saved in three equal channels."""
    grey = array.take([0], axis=1 if array.shape[1] == 3 else 3)
    if (array != grey).any():
        raise UsageError('digits are grey, and these have colours: save the mean of their channels')
    return grey
