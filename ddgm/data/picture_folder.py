"""The files of a folder of pictures, its sub-folders and those that links lead to."""

from __future__ import annotations

import collections.abc
import hashlib
import os
import pathlib

from ddgm.data.picture_file import PictureFile
from ddgm.support.errors import UsageError, one_line

_CURE = 'give a folder of pictures to --data'


class Folder:
    """A source of pictures: the files in a folder, its sub-folders and those that links lead to, each once.

    What is hidden is left out.

    Attributes:
        path (pathlib.Path): The folder's.
        unread (list of (str, str)): Sub-folders that can't be read, with the reason.
        key (str): The same as long as names, sizes and times of all files are.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        """Raises ``UsageError`` where the folder can't be read."""
        self.path = pathlib.Path(path)
        names, self.unread, _ = _files_of(self.path)
        self._names = sorted(names)
        self._top = os.path.join(os.fspath(self.path), '')
        digest = hashlib.sha256()
        for name in self._names:
            digest.update('{!r} {}\n'.format(name, _stamp_of(self._top + name)).encode())
        self.key = digest.hexdigest()

    def files(self) -> collections.abc.Iterator[PictureFile]:
        """Yields each file in the order of the names."""
        for i, name in enumerate(self._names, 1):
            yield PictureFile(name, lambda name=name: self._top + name, i / len(self._names))


def _stamp_of(path):
    """What changes with a file: size, time of the content's last change, and time of that of anything."""
    try:
        status = os.stat(path)
    except OSError:
        return None  # a broken link
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def folders_of(path: str | os.PathLike) -> list[str | os.PathLike]:
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
