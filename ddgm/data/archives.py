"""Archives of pictures, .zip and .tar, read as they are: nothing of them is unpacked onto the disk."""

import itertools
import pathlib
import tarfile
import zipfile
import zlib

import numpy

from ddgm.data.decoding import Unsuitable
from ddgm.data.picture_files import PictureFile
from ddgm.support.errors import UsageError, one_line

try:
    import lzma
    _DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, ValueError)
except ImportError:  # a Python that was built without it
    _DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, ValueError)

_LARGEST = 1 << 26  # bytes of one picture's file; a few bytes of an archive can promise any number
_COUNTED = 10_000  # files of a tar: to count all would take as long as to read it
# With what a .zip, and a tar compressed by gzip, bzip2 or xz, begins.
_BEGINNINGS = b'PK\3\4', b'\x1f\x8b', b'BZh', b'\xfd7zXZ'
_CURE = 'give a sound archive, or a folder of pictures, to --data'


def is_archive(path):
    """Whether a path is that of a file, which an archive has to be then."""
    return pathlib.Path(path).is_file()


class Archive:
    """A source of pictures: the files in an archive, without what is hidden.

    Attributes:
        path (pathlib.Path): The archive's.
        unread (list): Empty: what can't be read is among the files.
        most (int): How many files there are; of a tar not above 10,000, which are enough to know that they are many.
        stamp: (1, 2) int64: its size and the time of its last change.
    """

    unread = ()

    def __init__(self, path):
        """Raises ``UsageError`` where it is no archive that can be read."""
        self.path = pathlib.Path(path)
        try:
            status = self.path.stat()
            with open(self.path, 'rb'):
                pass
            # In this order: a tar may end with a zip.
            self._is_zip = not _is_tar(self.path) and zipfile.is_zipfile(self.path)
            if not (self._is_zip or _is_tar(self.path)):
                with open(self.path, 'rb') as file:
                    if file.read(5).startswith(_BEGINNINGS):
                        raise UsageError('{} is damaged (its beginning or its end): {}'.format(one_line(path), _CURE))
                raise UsageError('{} is neither a folder nor a .zip or .tar: give one of these with pictures to '
                                 '--data'.format(one_line(path)))
        except OSError as error:
            raise UsageError('{} can\'t be read ({}): {}'.format(one_line(path), error.strerror, _CURE)) from error
        self.stamp = numpy.array([[status.st_size, status.st_mtime_ns]], dtype=numpy.int64)
        self.most = self._n_members()

    def _n_members(self):
        with self._refusing():
            if self._is_zip:
                with zipfile.ZipFile(self.path) as archive:
                    return len(archive.infolist())
            return sum(1 for _ in itertools.islice(self._of_tar(), _COUNTED))

    def _refusing(self):
        return _Refusing(self.path)

    def is_listed_in(self, index):
        """Whether an index of earlier tells of this very archive."""
        return index.source_stamp.shape == self.stamp.shape and bool((index.source_stamp == self.stamp).all())

    def files(self):
        """Yields the :class:`PictureFile` of each file in the archive's order, and the share of it that is read.

        Of a file that is there twice the last one counts.  Raises ``UsageError`` where the archive is damaged.
        """
        with self._refusing():
            yield from self._of_zip() if self._is_zip else self._of_tar()

    def _of_zip(self):
        with zipfile.ZipFile(self.path) as archive:
            members = archive.infolist()
            for i, member in enumerate(members, 1):
                if member.is_dir() or _is_hidden(member.filename):
                    continue
                reason = _reason(member.filename, member.file_size)
                if member.flag_bits & 1:
                    reason = 'encrypted'
                yield PictureFile(
                    _plain(member.filename), (member.file_size, member.CRC, 0), reason,
                    lambda member=member: _read_zipped(archive, member)), i / len(members)

    def _of_tar(self):
        with open(self.path, 'rb') as raw, tarfile.open(fileobj=raw, mode='r:*', tarinfo=_Member) as archive:
            if archive.firstmember is None:
                return  # Python 3.9's `next` would seek to before the beginning of an empty archive
            for member in iter(archive.next, None):
                archive.members.clear()  # it would keep them all
                if member.isdir() or _is_hidden(member.name):
                    continue
                reason = _reason(member.name, member.size)
                if not member.isfile():
                    reason = 'a link' if member.issym() or member.islnk() else 'not a file'
                yield PictureFile(
                    _plain(member.name), (member.size, int(member.mtime), member.chksum), reason,
                    lambda member=member: archive.extractfile(member).read(member.size)), (
                        raw.tell() / max(1, int(self.stamp[0, 0])))


class _Refusing:
    """A context that turns what a damaged archive raises into the line that the user reads."""

    def __init__(self, path):
        self._path = path

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if isinstance(error, (*_DAMAGE, OSError)):
            raise UsageError('{} is damaged ({}): {}'.format(
                one_line(self._path), one_line(error)[:80] or kind.__name__, _CURE)) from error


class _Member(tarfile.TarInfo):
    """A header that is damaged is an error, where :mod:`tarfile` would take it for the end of the archive."""

    @classmethod
    def fromtarfile(cls, archive):
        try:
            return super().fromtarfile(archive)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError, tarfile.EmptyHeaderError) as error:
            raise tarfile.ReadError('a header at byte {:,}: {}'.format(archive.offset, error)) from error


def _is_tar(path):
    try:
        return tarfile.is_tarfile(path)
    except _DAMAGE:
        return False


def _read_zipped(archive, member):
    """The bytes of one picture; raises ``Unsuitable`` where they are damaged: the others may be sound."""
    try:
        with archive.open(member) as file:
            return file.read(_LARGEST)
    except (*_DAMAGE, NotImplementedError, RuntimeError) as error:
        raise Unsuitable('damaged: {}'.format(one_line(error)[:80] or type(error).__name__)) from error


def _plain(name):
    """A member's name as a relative path."""
    return '/'.join(part for part in name.replace('\0', '?').split('/') if part not in ('', '.'))


def _is_hidden(name):
    return any(part.startswith('.') and part not in ('.', '..') or part == '__MACOSX' for part in name.split('/'))


def _reason(name, size):
    """Why a file is left out before it is read, else ``None``."""
    windows = pathlib.PureWindowsPath(name)
    if name.startswith('/') or windows.anchor or '..' in windows.parts:
        return 'its name leads out of the archive'
    return 'too large: {:,} bytes'.format(size) if size > _LARGEST else None
