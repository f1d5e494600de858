"""The files of a folder of pictures, and whether they are the same as earlier."""

import collections
import os
import pathlib
import stat

import numpy

from ddgm.support.errors import UsageError, one_line

_CURE = 'give a folder of pictures to --data'
_NO_FILE = (-1, -1, -1)

# A file among pictures: its relative path, (size, time of its last change, time of the last change of its rights) or
# what else tells it from others of its name, why it is left out before it is read or ``None``, and a function that
# returns its path or its bytes, or raises ``Unsuitable``.
PictureFile = collections.namedtuple('PictureFile', 'name stamp reason read')


class Folder:
    """A source of pictures: the files in a folder, its sub-folders and those that links lead to, each once.

    What is hidden is left out.

    Attributes:
        path (pathlib.Path): The folder's.
        names (list of str): The files' relative paths, sorted.
        stamps: (N, 3) int64: size, and both times in nanoseconds; -1 for what is no file.
        unread (list of (str, str)): Sub-folders that can't be read, with the reason.
        most (int): How many files there are.
    """

    # Of an archive alone.
    stamp = numpy.zeros((0, 2), dtype=numpy.int64)

    def __init__(self, path):
        """Raises ``UsageError`` where the folder can't be read."""
        self.path = pathlib.Path(path)
        names, self.unread, _ = _files_of(self.path)
        self.names = sorted(names)
        self.most = len(self.names)
        top = os.path.join(os.fspath(self.path), '')
        self.stamps = numpy.array(
            [_stamp_of(top + name) for name in self.names], dtype=numpy.int64).reshape(-1, len(_NO_FILE))

    def is_listed_in(self, index):
        """Whether an index of earlier lists the very same files.

        A file that was left out counts as another one also where its rights were changed, so that it may be read now.
        """
        if index.stamps.shape != self.stamps.shape or index.source_stamp.size or not index.has_names(self.names):
            return False
        same = index.stamps == self.stamps
        return bool((same[:, :2].all(axis=1) & (same[:, 2] | (index.rows >= 0))).all())

    def files(self):
        """Yields the :class:`PictureFile` of each file in order, and the share of them that has come."""
        top = os.path.join(os.fspath(self.path), '')
        for i, (name, stamp) in enumerate(zip(self.names, self.stamps.tolist()), 1):
            yield PictureFile(name, tuple(stamp), None, lambda name=name: top + name), i / len(self.names)


def _stamp_of(path):
    try:
        status = os.stat(path)
    except OSError:
        return _NO_FILE
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns) if stat.S_ISREG(status.st_mode) else _NO_FILE


def folders_of(path):
    """The folder itself and those that links in it lead to: what lies in one of them, and is not hidden, is read."""
    try:
        return _files_of(pathlib.Path(path))[2]
    except UsageError:  # an archive, or whoever reads it says why that can't be
        return [path]


def _files_of(folder):
    """The relative paths of all files, those of sub-folders that can't be read, with the reason, and folders.

    The folders are this one and those that links lead to.
    """
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise UsageError('{} can\'t be read ({}): {}'.format(one_line(folder), error.strerror, _CURE)) from error
    tops, seen, names, errors = [folder], set(), [], []
    for top in tops:  # first the folder itself, then where the links in it lead, and those in there
        for parent, subfolders, files in os.walk(top, onerror=errors.append):
            real = os.path.realpath(parent)
            if real in seen:  # a link back up, or a second one
                subfolders.clear()
                continue
            seen.add(real)
            subfolders[:] = sorted(name for name in subfolders if not name.startswith('.'))
            parent = pathlib.Path(parent)
            tops += [parent / name for name in subfolders if (parent / name).is_symlink()]
            within = (parent.relative_to(folder) / 'x').as_posix()[:-1]
            names += [within + name for name in files if not name.startswith('.')]
    return names, [
        (pathlib.Path(error.filename).relative_to(folder).as_posix(), 'can\'t be read: {}'.format(error.strerror))
        for error in errors], tops
