"""Pictures as arrays of numbers: .npy and .npz, the binary files of CIFAR-10 and CIFAR-100, IDX files of images."""

from __future__ import annotations

import collections.abc
import hashlib
import os
import pathlib
import re

import numpy
from PIL import Image

from ddgm.data.mnist import read_idx
from ddgm.data.picture_file import WHITE, PictureFile
from ddgm.support.errors import UsageError, one_line, some
from ddgm.support.files import counting_order, instead, mapped, read_arrays

_CHANNELS = 1, 3, 4  # grey, colours, colours and opacity
_CIFAR_SHAPE = 3, 32, 32
_LABELS = 1, 2  # bytes before each picture of CIFAR-10, of CIFAR-100
# Of CIFAR what is learned from; the rest is for testing.
CIFAR_TRAINING = re.compile(r'(data_batch_\d+|train)\.bin')
_CURE = 'give an array of pictures, (N, H, W), (N, H, W, 3) or (N, 3, H, W), to --data'
_SLACK = 0.01  # what an interpolation may add


def files_of(path: pathlib.Path) -> list[pathlib.Path]:
    """The files of arrays at a path: it itself, or those of CIFAR's training data in a folder; none for any other."""
    if path.is_dir():
        try:
            names = os.listdir(path)
        except OSError:  # whoever reads it as a folder of pictures says so
            return []
        return sorted((path / name for name in names if CIFAR_TRAINING.fullmatch(name)), key=counting_order)
    is_array = path.suffix.lower() in ('.npy', '.npz', '.bin') or re.search(r'[-.]idx3\b', path.name)
    return [path] if is_array and path.is_file() else []


class Arrays:
    """A source of pictures: one or several arrays, each in one file.

    Attributes:
        path (pathlib.Path): That of the file, or of the folder of several.
        unread (list): Empty.
        key (str): The same as long as sizes and times of the files are.
    """

    unread = ()

    def __init__(self, path: pathlib.Path, files: list[pathlib.Path]) -> None:
        """Raises ``UsageError`` where a file holds no pictures."""
        self.path = path
        digest = hashlib.sha256()
        self._parts = []
        for file in files:
            try:
                status = file.stat()
                pictures = _pictures_of(file)
            except UsageError:
                raise
            except (OSError, ValueError) as error:
                raise UsageError('{}: {}: {}'.format(
                    one_line(file), getattr(error, 'strerror', None) or one_line(error), _CURE)) from error
            digest.update(repr((status.st_size, status.st_mtime_ns, status.st_ctime_ns)).encode())
            self._parts.append(('' if len(files) == 1 else file.stem + '/', pictures, _conversion_of(file, pictures)))
        self.key = digest.hexdigest()

    def files(self) -> collections.abc.Iterator[PictureFile]:
        """Yields each picture of the arrays, in their order."""
        n, done = sum(len(pictures) for _, pictures, _ in self._parts), 0
        for prefix, pictures, convert in self._parts:
            for i, picture in enumerate(pictures):
                done += 1
                yield PictureFile(
                    '{}{:08}'.format(prefix, i),
                    lambda picture=picture, convert=convert: Image.fromarray(convert(picture)), done / n)


def _pictures_of(path):
    """The pictures of a file, (N, H, W) or (N, H, W, channels); raises ``ValueError`` with the reason for others."""
    suffix = path.suffix.lower()
    if suffix == '.bin':
        return _cifar(path)
    if suffix not in ('.npy', '.npz'):
        return read_idx(path, 3)
    with open(path, 'rb') as file:
        is_npy = file.read(1) == b'\x93'
    arrays = {'x': mapped(path)} if is_npy else read_arrays(path)
    fit = {name: pictures for name, pictures in ((name, _channels_last(x)) for name, x in arrays.items())
           if pictures is not None}
    for names in (arrays, {'x'}, {'samples'}, fit, {'arr_0'}, {'x_train'}, {'train_images'}):
        if len(names) == 1 and fit.keys() >= {*names}:
            return fit[next(iter(names))]
    raise ValueError('not certainly pictures: {}'.format(some(
        '{} of the shape {}'.format(x.dtype, x.shape) if is_npy else '{} ({} of the shape {})'.format(
            name, x.dtype, x.shape) for name, x in arrays.items()) or 'it is empty'))


def _channels_last(x):
    """The same array as (N, H, W) or (N, H, W, channels); ``None`` where it can't be pictures."""
    if not x.size or x.dtype.kind not in 'fiub' or x.ndim not in (3, 4):
        return None
    if x.ndim == 4 and x.shape[3] not in _CHANNELS:
        if x.shape[1] not in _CHANNELS:
            return None
        x = x.transpose(0, 2, 3, 1)
    return x[..., 0] if x.ndim == 4 and x.shape[3] == 1 else x


def _cifar(path):
    """The pictures of one of CIFAR's binary files, (N, 32, 32, 3) uint8."""
    content, n_numbers = numpy.fromfile(path, numpy.uint8), int(numpy.prod(_CIFAR_SHAPE))
    for n_labels, n_classes in zip(_LABELS, (10, 100)):
        if len(content) and len(content) % (n_labels + n_numbers) == 0:
            rows = content.reshape(-1, n_labels + n_numbers)
            if rows[:, :n_labels].max() < n_classes:
                return rows[:, n_labels:].reshape(-1, *_CIFAR_SHAPE).transpose(0, 2, 3, 1)
    raise ValueError(instead(path) or (
        '{:,} bytes, which are no pictures of CIFAR-10, {:,} each with a label, or CIFAR-100'.format(
            len(content), 1 + n_numbers)))


def _conversion_of(path, pictures):
    """What makes 8-bit levels, or 16-bit ones, of one of these pictures; raises ``UsageError`` where its range is none.
    """
    kind = pictures.dtype.kind
    if kind == 'b':
        return lambda picture: picture.astype(numpy.uint8) * 255
    if pictures.dtype == numpy.uint8:
        return numpy.ascontiguousarray
    lowest, highest = pictures.min(), pictures.max()
    if kind == 'f':
        try:
            check_range(lowest, highest)
        except UsageError as error:
            raise UsageError('{}: {}'.format(one_line(path), error)) from error
        if 0 < highest < 1.5 / 255:  # of 8 bits only 0 and 1 would be left
            raise UsageError('{}: pixels run from 0 to 1, these from {:.3g} to {:.3g}: save 255 * x, if they were '
                             'divided twice'.format(one_line(path), lowest, highest))
        return lambda picture: numpy.rint(255 * picture.clip(0, 1).astype(numpy.float32)).astype(numpy.uint8)
    if lowest < 0 or highest > WHITE[16] or highest > WHITE[8] and pictures.ndim == 4:
        raise UsageError('{}: levels run from 0 to 255, or of grey pictures to 65,535, these from {:,} to {:,}: bring '
                         'them there'.format(one_line(path), lowest, highest))
    return lambda picture: picture.astype(numpy.uint8 if highest <= WHITE[8] else numpy.uint16)


def check_range(lowest: float, highest: float) -> None:
    """Raise ``UsageError`` with the cure where pixels with this range don't run from 0 to 1."""
    if lowest >= -_SLACK and highest <= 1 + _SLACK:
        return
    if lowest >= -1 - _SLACK and highest <= 1 + _SLACK:
        cure = 'save (x + 1) / 2'
    elif lowest >= -_SLACK and 16 < highest <= 255 + _SLACK:
        cure = 'save x / 255'
    else:
        cure = 'undo what was done to them before training'
    raise UsageError('pixels run from 0 to 1, these from {:.3g} to {:.3g}: {}'.format(lowest, highest, cure))
