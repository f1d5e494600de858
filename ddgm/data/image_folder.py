"""Pictures of any size, mode and format as squares of one size: a folder or an archive of files, or arrays."""

from __future__ import annotations

import collections
import os
import pathlib

import numpy

from ddgm.data import picture_arrays, picture_cache
from ddgm.data.archives import Archive
from ddgm.data.picture_folder import Folder
from ddgm.support.errors import UsageError, counted, one_line, some
from ddgm.support.files import is_within

_CURE = 'give a folder of pictures to --data'


class ImageFolder:
    """The pictures in a folder, its sub-folders and those that links lead to, each once, without what is hidden.

    In the place of a folder there may be a .zip or .tar archive, or one of the forms of
    :mod:`ddgm.data.picture_arrays`.

    Pictures are decoded on all cores, and their pixels are in memory.  Where that takes more than 5 seconds, they are
    kept in a cache and mapped from there, so that the next start does not decode them.

    Attributes:
        images: (N, 3, size, size) uint8, or (N, 1, size, size) where they are grey.
        paths (list of str): Where each image came from, relative to the folder; sorted.
        left_out (list of (str, str)): Relative path and reason of each file that is not among them.
        fingerprint (str): Says whether two folders hold the same.
        cache (pathlib.Path): The list of the cache; ``None`` where there is none.
    """

    def __init__(
            self, folder: str | os.PathLike, batchsize: int = 2, cache: str | os.PathLike | None = None,
            size: int = 64, grey: bool | None = False) -> None:
        """Read all pictures; what can't be read is left out.

        Args:
            folder: Its path.
            batchsize (int): How many pictures there have to be.
            cache: The folder for the cache; see :func:`ddgm.data.picture_cache.read`.
            size, grey: The form of the pixels; see there.

        Raises ``UsageError`` where the folder can't be read, or where too few pictures are in it.
        """
        source = _source_of(pathlib.Path(folder))
        if cache not in (None, picture_cache.NONE) and is_within(cache, folder):
            raise UsageError('{} lies in {}, which is read: give another folder to --cache'.format(
                one_line(cache), one_line(folder)))
        pixels = picture_cache.read(source, cache, size, grey)
        self.images = pixels.images
        self.paths = pixels.names
        self.left_out = sorted([*pixels.left_out, *source.unread])
        self.fingerprint = pixels.fingerprint
        self.cache = pixels.path
        self._notes = pixels.notes
        self._check(source.path, batchsize)

    def _check(self, folder, batchsize):
        folder = one_line(folder)
        report = self.report()
        if not len(self) and not self.left_out:
            raise UsageError('{} holds no files: {}'.format(folder, _CURE))
        if not len(self):
            raise UsageError('{} holds no picture that can be read ({}): {}'.format(folder, report, _CURE))
        if len(self) < batchsize:
            raise UsageError(
                '{} holds {}, fewer than a batch of {:,}{}: add pictures or give a smaller --batchsize'.format(
                    folder, counted(len(self), 'picture'), batchsize, report and ' ({})'.format(report)))

    def __len__(self) -> int:
        return len(self.images)

    def report(self) -> str:
        """The line that tells the user which files were left out and why, and what is unusual; empty where nothing is.
        """
        paths = collections.defaultdict(list)
        for path, reason in self.left_out:
            paths[reason].append(path)
        left_out = ['{} left out: {}'.format(counted(len(self.left_out), 'file'), some(
            '{} ({})'.format(some(alike), reason) for reason, alike in paths.items()))] if paths else []
        return '; '.join([*left_out, *self._notes])

    def sample(self, n: int, rng) -> numpy.ndarray:
        """Draw n images, or all where there are fewer, from a NumPy generator: (n, …) float32 in 0…1.

        None is drawn twice.
        """
        return self.sample_levels(n, rng).astype(numpy.float32) / 255

    def sample_levels(self, n: int, rng) -> numpy.ndarray:
        """The same as uint8 in 0…255."""
        return self.images[rng.choice(len(self), min(n, len(self)), replace=False)]


def _source_of(path):
    files = picture_arrays.files_of(path)
    if files:
        return picture_arrays.Arrays(path, files)
    return Archive(path) if path.is_file() else Folder(path)
