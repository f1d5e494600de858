"""Archives of pictures, .zip and .tar, read as they are: nothing of them is unpacked onto the disk."""

from __future__ import annotations

import collections
import collections.abc
import contextlib
import functools
import gzip
import hashlib
import os
import pathlib
import posixpath
import re
import tarfile
import zipfile
import zlib

from ddgm.data.picture_arrays import CIFAR_TRAINING
from ddgm.data.picture_file import PictureFile, Unsuitable
from ddgm.support.errors import UsageError, one_line
from ddgm.support.files import instead

try:
    import lzma
    _DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, ValueError)
except ImportError:  # a Python that was built without it
    _DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, ValueError)

_LARGEST = 1 << 26  # bytes of one picture's file; a few bytes of an archive can promise any number
_PART = re.compile(r'\.(z?\d\d|\d{3}|part\d+|(part)?a[a-d])$', re.IGNORECASE)  # ends the name of a part of an archive
_PACKED = re.compile(r'\.(zip|7z|rar|t?gz|tar(\.\w+)?)$', re.IGNORECASE)
_CURE = 'give a sound archive, or a folder of pictures, to --data'


class Archive:
    """A source of pictures: the files in an archive, without what is hidden.

    Attributes:
        path (pathlib.Path): The archive's.
        unread (list): Empty: what can't be read is among the files.
        key (str): The same as long as its size and times are.
    """

    unread = ()

    def __init__(self, path: str | os.PathLike) -> None:
        """Raises ``UsageError`` where it is no archive that can be read."""
        self.path = pathlib.Path(path)
        try:
            status = self.path.stat()
            is_tar = _is_tar(self.path)
            self._is_zip = not is_tar and zipfile.is_zipfile(self.path)  # in this order: a tar may end with a zip
        except OSError as error:
            raise UsageError('{} can\'t be read ({}): {}'.format(one_line(path), error.strerror, _CURE)) from error
        if not (is_tar or self._is_zip):
            with open(self.path, 'rb') as file:
                first = file.read(512)
            if first.startswith(b'PK\7\x08') or _PART.search(self.path.name):
                raise self._part()
            raise UsageError('{} is {}'.format(one_line(path), _known_of(self.path, first) or (
                'neither a folder nor a sound .zip or .tar: give one of these with pictures to --data')))
        self._size = max(1, status.st_size)
        self.key = hashlib.sha256(repr((status.st_size, status.st_mtime_ns, status.st_ctime_ns)).encode()).hexdigest()

    def _part(self):
        """The error for one of the parts of an archive, of which the last has the list, or for all that are not joined.
        """
        return UsageError(
            '{} is a part of a split archive, or its parts behind one another: join those called .z01, .z02, ... by '
            '"zip -s 0 LAST.zip --out whole.zip", those called .001, .002, ... or .aa, .ab, ... by "cat", and give the '
            'whole to --data'.format(one_line(self.path)))

    def files(self) -> collections.abc.Iterator[PictureFile]:
        """Yields each file, those of a .zip in the order of their names; of a name that is there twice the last counts.

        Raises ``UsageError`` where the archive is damaged.
        """
        with self._refusing():
            yield from self._of_zip() if self._is_zip else self._of_tar()

    @contextlib.contextmanager
    def _refusing(self):
        """A context that turns what a damaged archive raises into the line that the user reads."""
        try:
            yield
        except UsageError:
            raise
        except (*_DAMAGE, OSError, NotImplementedError) as error:
            if _PART.search(self.path.name):
                raise self._part() from error
            raise UsageError('{} is damaged ({}): {}'.format(
                one_line(self.path), one_line(error)[:80] or type(error).__name__, _CURE)) from error

    def _of_zip(self):
        with zipfile.ZipFile(self.path) as archive:
            if any(member.volume not in (0, 0xffff) or member.header_offset < 0 for member in archive.infolist()):
                raise self._part()
            members = {
                _plain(member.filename): member for member in archive.infolist()
                if not (member.filename.endswith('/') or _is_hidden(member.filename))}
            for i, (name, member) in enumerate(sorted(members.items(), key=lambda item: item[0]), 1):
                yield PictureFile(name, lambda member=member: _read_zipped(archive, member), i / len(members))

    def _of_tar(self):
        if _may_be_cut(self.path):
            for _ in self._members():  # raises what it raises before anything is decoded
                pass
        links = {}  # hard ones: their names, and those of the files
        for archive, member, share in self._members():
            if not (member.isdir() or _is_hidden(member.name)):
                name = _plain(member.name)
                links.pop(name, None)
                if member.islnk() and not _leads_out(member.name):
                    links[name] = _plain(member.linkname)
                yield PictureFile(name, functools.partial(self._read_taped, archive, member), share)
        names = collections.defaultdict(list)
        for name, target in links.items():
            names[target].append(name)
        for archive, member, _ in self._members() if links else ():  # once more: the files lie before the links
            for name in names.get(_plain(member.name), ()):
                yield PictureFile(name, functools.partial(self._read_taped, archive, member), 1)

    def _members(self):
        """Yields a tar, each of its members, and the share of it that is read then."""
        with open(self.path, 'rb') as raw, tarfile.open(fileobj=raw, mode='r:*', tarinfo=_Member) as archive:
            if archive.firstmember is None:
                return  # Python 3.9's `next` would seek to before the beginning of an empty archive
            for member in iter(archive.next, None):
                archive.members.clear()  # it would keep them all
                if member.type == b'M':
                    raise tarfile.ReadError('a file that begins in another volume')
                yield archive, member, raw.tell() / self._size

    def _read_taped(self, archive, member):
        """The bytes of one picture; raises ``UsageError`` where the tar is damaged: nothing behind can be found."""
        if not member.isfile():
            raise Unsuitable(instead(os.fsencode(member.linkname)) or (
                'a link to no file in the archive' if member.islnk() else
                'a link: pack the file itself, by "tar --dereference"' if member.issym() else 'not a file'))
        _check(member.name, member.size)
        with self._refusing():
            return archive.extractfile(member).read()


class _Member(tarfile.TarInfo):
    """A header that is damaged is an error, where :mod:`tarfile` would take it for the end of the archive."""

    @classmethod
    def fromtarfile(cls, archive):
        try:
            return super().fromtarfile(archive)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError, tarfile.EmptyHeaderError) as error:
            raise tarfile.ReadError('a header at byte {:,}: {}'.format(archive.offset, error)) from error


def _may_be_cut(path):
    """Whether the end of a tar looks as if more had stood there; of bzip2's that can't be told."""
    with open(path, 'rb') as file:
        first = file.read(6)
        file.seek(-min(512, os.fstat(file.fileno()).st_size), os.SEEK_END)
        last = file.read()
    if first.startswith(b'\x1f\x8b'):
        return int.from_bytes(last[-4:], 'little') % 512 > 0  # the length of what is packed, which is in blocks
    if first == b'\xfd7zXZ\0':
        return not last.endswith(b'YZ')
    return not first.startswith(b'BZh') and any(last)  # the last block is of zeros


def _known_of(path, first):
    """What is known, by its first bytes, of a file that is no sound archive; empty where that is nothing."""
    if first.startswith(b'\x1f\x8b'):
        first = b''
        with contextlib.suppress(*_DAMAGE, OSError), gzip.open(path) as file:
            first = file.read(512)
    elif first.startswith(b'PK'):
        return ''  # a .zip that is not whole
    return instead(first)


def _is_tar(path):
    with contextlib.suppress(*_DAMAGE):
        return tarfile.is_tarfile(path)
    return False


def _read_zipped(archive, member):
    """The bytes of one picture; raises ``Unsuitable`` also where they are damaged: the others may be sound."""
    _check(member.filename, member.file_size)
    if member.flag_bits & 1:
        raise Unsuitable('encrypted')
    try:
        with archive.open(member) as file:
            return file.read(_LARGEST)
    except NotImplementedError as error:
        raise Unsuitable('packed by {}: unpack the archive and give the folder'.format(
            zipfile.compressor_names.get(member.compress_type, 'an unknown method'))) from error
    except (*_DAMAGE, OSError, RuntimeError) as error:
        raise Unsuitable('damaged: {}'.format(one_line(error)[:80] or type(error).__name__)) from error


def _check(name, size):
    """Raise ``Unsuitable`` where a file is left out before it is read."""
    if _leads_out(name):
        raise Unsuitable('its name leads out of the archive')
    file = posixpath.basename(name)
    if CIFAR_TRAINING.fullmatch(file):
        raise Unsuitable('pictures of CIFAR: unpack the archive and give the folder that has this file')
    if size > _LARGEST:
        first = b'PK\3\4' if _PACKED.search(name) else b'\x80\2' if CIFAR_TRAINING.fullmatch(file + '.bin') else b''
        raise Unsuitable(instead(first) or 'too large: {:,} bytes'.format(size))


def _leads_out(name):
    windows = pathlib.PureWindowsPath(name)
    return name.startswith('/') or bool(windows.anchor) or '..' in windows.parts


def _plain(name):
    """A member's name as a relative path."""
    return '/'.join(part for part in name.replace('\0', '?').split('/') if part not in ('', '.'))


def _is_hidden(name):
    return any(part.startswith('.') and part not in ('.', '..') or part == '__MACOSX' for part in name.split('/'))
