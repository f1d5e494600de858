"""A folder or an archive of pictures as 64×64 RGB: any size, mode and format that Pillow reads."""

import numpy

from ddgm.data import picture_cache
from ddgm.data.archives import Archive, is_archive
from ddgm.data.picture_files import Folder
from ddgm.support.errors import UsageError, counted, one_line, some
from ddgm.support.files import is_within

_CURE = 'give a folder of pictures to --data'
_FEW = 2000  # files, which are decoded in a second or two


class ImageFolder:
    """The pictures in a folder, its sub-folders and those that links lead to, each once, without what is hidden.

    In the place of a folder there may be a .zip or .tar archive.

    Up to 2,000 files are decoded at every start, and their pixels are in memory: that takes a second or two, and leaves
    nothing behind.  The pixels of more are kept in a cache and mapped from there.

    Attributes:
        images: (N, 3, 64, 64) uint8.
        left_out (list of (str, str)): Relative path and reason of each file that is not among them.
        fingerprint (str): Says whether two folders hold the same.
        cache (pathlib.Path): The list of the cache; ``None`` where there is none.
    """

    def __init__(self, folder, batchsize=2, cache=None):
        """Read all pictures; what can't be read is left out.

        Args:
            folder: The folder's or archive's path.
            batchsize (int): How many pictures there have to be.
            cache: The folder for the cache; see :func:`ddgm.data.picture_cache.read`.

        Raises ``UsageError`` where the folder can't be read, or where too few pictures are in it.
        """
        source = Archive(folder) if is_archive(folder) else Folder(folder)
        if cache not in (None, picture_cache.NONE) and is_within(cache, folder):
            raise UsageError('{} lies in {}, which is read: give another folder to --cache'.format(
                one_line(cache), one_line(folder)))
        pictures = (
            picture_cache.read_into_memory(source, 0) if source.most <= _FEW else picture_cache.read(source, cache))
        self._index = pictures.index
        self.images = pictures.images
        self.cache = pictures.path
        self.fingerprint = pictures.index.fingerprint
        self.left_out = sorted([*pictures.index.left_out(), *source.unread])
        self._check(source.path, batchsize)

    @property
    def paths(self):
        """Where each image came from, relative to the folder; sorted (list of str)."""
        return self._index.pictures()

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

    def __len__(self):
        return len(self.images)

    def report(self):
        """The line that tells the user which files were left out and why; empty where none was."""
        if not self.left_out:
            return ''
        return '{} left out: {}'.format(counted(len(self.left_out), 'file'), some(
            '{} ({})'.format(path, reason) for path, reason in self.left_out))

    def sample(self, n, rng):
        """Draw n images, or all where there are fewer, from a NumPy generator: (n, 3, 64, 64) float32 in 0…1.

        None is drawn twice.
        """
        return self.images[rng.choice(len(self), min(n, len(self)), replace=False)].astype(numpy.float32) / 255
