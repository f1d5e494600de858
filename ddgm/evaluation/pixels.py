"""Images that other programs made, as this project has them."""

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
