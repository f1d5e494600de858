"""Files that are whole or absent, files that nothing is believed of, and folders that belong to one process."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import math
import os
import pathlib
import re
import zipfile
from collections.abc import Container, Iterable, Iterator
from typing import IO

import numpy

from ddgm.support.errors import UsageError, one_line

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

# Bytes that the arrays of a file may take unless the file itself is nearly as large.
_LARGEST = 2 ** 29
# What a file begins with that stands for another one, or has it within; what it is, and how to come to the other.
_INSTEAD = {
    rb'version https://git-lfs': 'a pointer of Git LFS: "git lfs pull" brings the file',
    rb'\S*/annex/objects/': 'a pointer of git-annex: "git annex get" brings the file',
    rb'\x1f\x8b': 'compressed, perhaps twice: unpack it by "gunzip"',
    rb'\x80[\x02-\x05]': 'a pickle, which is not loaded; of CIFAR give the binary version',
    rb'PK\x03\x04|Rar!|7z\xbc\xaf|(?s:.{257})ustar': 'an archive: unpack it, if it holds what is wanted',
}


# ---- whole or absent

@contextlib.contextmanager
def open_atomically(path: str | os.PathLike, keep_as: pathlib.Path | None = None) -> Iterator[IO[bytes]]:
    """Open a file for writing bytes that takes its final name only once it is whole and on the disk.

    An earlier file of that name stays until then; with ``keep_as`` it stays for good, by that name.
    """
    path = pathlib.Path(path)
    temporary = path.with_name('{}.{}.tmp'.format(path.name, os.getpid()))
    try:
        with open(temporary, 'wb') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if keep_as is not None and path.exists():
            os.replace(path, keep_as)
        os.replace(temporary, path)
        _write_names(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def leftovers(folder: pathlib.Path) -> Iterator[tuple[pathlib.Path, pathlib.Path]]:
    """What processes that were killed in :func:`open_atomically` left in a folder: pairs of its path and the file's."""
    for name in sorted(os.listdir(folder)):  # names, since a long run has very many frames
        match = re.fullmatch(r'(.+)\.\d+\.tmp', name)
        if match:
            yield folder / name, folder / match.group(1)


def is_within(path: str | os.PathLike, folder: str | os.PathLike) -> bool:
    """Whether a path is a folder or lies in it, however either is spelled; neither has to be there."""
    path, folder = pathlib.Path(path).resolve(), pathlib.Path(folder).resolve()
    return any(
        parent == folder or os.path.exists(parent) and os.path.exists(folder) and os.path.samefile(parent, folder)
        for parent in (path, *path.parents))


def counting_order(path: pathlib.Path) -> tuple:
    """A key that sorts paths by their names as people count, 2.png before 10.png."""
    return [int(part) if part.isdecimal() else part for part in re.split(r'(\d+)', path.name)], path.name


def _write_names(folder):
    """Have a folder's names on the disk, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def free_name(path: pathlib.Path) -> pathlib.Path:
    """Where a damaged file is set aside: ``NAME.damaged``, or ``NAME.damaged.1`` and so on where that is taken."""
    names = itertools.chain([''], map('.{}'.format, itertools.count(1)))
    paths = (path.with_name(path.name + '.damaged' + name) for name in names)
    return next(path for path in paths if not os.path.lexists(path))


def write_json(path: str | os.PathLike, content: dict) -> None:
    """Write a dict as a JSON file."""
    with open_atomically(path) as file:
        file.write((json.dumps(content, indent=4) + '\n').encode())


def write_arrays(file: IO[bytes], arrays: dict) -> None:
    """Write arrays by name into an open file, as .npz.

    NumPy 1's ``savez`` leaves its archive open where the disk is full, which ends in a traceback.
    """
    with zipfile.ZipFile(file, 'w') as archive:
        for name, array in arrays.items():
            with archive.open(name + '.npy', 'w', force_zip64=True) as member:
                numpy.lib.format.write_array(member, numpy.asarray(array), allow_pickle=False)


def user_cache() -> pathlib.Path:
    """Where a user's programs keep what they can make anew: ``$XDG_CACHE_HOME/ddgm``, by default ``~/.cache/ddgm``."""
    return pathlib.Path(os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')) / 'ddgm'


# ---- the user's

def keep_theirs(
        folder: str | os.PathLike, names: Iterable[str], ours: Container[str] = (),
        cure: str = 'give another folder to --out') -> None:
    """Raise ``UsageError`` where a folder has one of ``names``, which would be replaced, that is not among ``ours``.

    Every command asks this before it writes: what no run or command of this program has written stays.
    """
    for name in names:
        if name not in ours and os.path.lexists(os.path.join(folder, name)):
            raise UsageError('{} holds {}, which is not known to be of this program: {}'.format(
                one_line(folder), one_line(name), cure))


def not_writable(
        folder: str | os.PathLike, error: OSError, cure: str = 'give another folder to --out') -> UsageError:
    """The line for a folder that the system refuses to write to."""
    return UsageError('{}: can\'t be written to ({}): {}'.format(folder, error.strerror, cure))


def listed(path: str | os.PathLike, marks: Iterable[str], unless_told: Iterable[str]) -> list[str]:
    """The names of the files that a command of ours wrote: a JSON file of its own, and those that are listed there.

    One that has all of ``marks``, but no list, is of an earlier version, which wrote ``unless_told``.  Where it is no
    such file, there are none.
    """
    try:
        content = read_json(path)
    except ValueError:
        return []
    if not isinstance(content, dict) or not content.keys() >= set(marks):
        return []
    files = content.get('files', unless_told)
    files = [name for name in files if isinstance(name, str)] if isinstance(files, (list, tuple)) else []
    return list(dict.fromkeys([os.path.basename(path), *files]))


# ---- from anybody

def instead(source: str | os.PathLike | bytes) -> str:
    """What stands in the place of a file that is wanted, and the cure; empty where that is not known.

    Args:
        source: The path of what can't be read as it should, or its first bytes.

    Raises ``OSError`` where it can't be read at all.
    """
    if not isinstance(source, bytes):
        if os.path.isfile(source):
            with open(source, 'rb') as file:
                source = file.read(512)
        else:  # git-annex makes links, which lead nowhere until the file is there
            source = os.fsencode(os.readlink(source)) if os.path.islink(source) else b''
    return next((words for pattern, words in _INSTEAD.items() if re.match(pattern, source)), '')


def read_json(path: str | os.PathLike, largest: int = 2 ** 20) -> object:
    """What a JSON file of at most so many bytes holds; raises ``ValueError`` with the reason where it can't be read."""
    try:
        with open(path, 'rb') as file:
            content = file.read(largest + 1)
        if len(content) > largest:
            raise ValueError('it has more than {:,} bytes'.format(largest))
        return json.loads(content)  # in whatever encoding of Unicode, perhaps behind a byte-order mark
    except OSError as error:
        raise ValueError(error.strerror) from error
    except RecursionError as error:
        raise ValueError('its lists are nested too deeply') from error


def read_arrays(path: str | os.PathLike) -> dict[str, numpy.ndarray]:
    """The arrays of an .npz file by name; that of an .npy file by the name ``x``.

    Raises ``ValueError`` with the reason where it can't be read.  What its headers promise is compared with what is
    there before memory is taken, and pickled objects, which could hold a file's own code, are not loaded.
    """
    try:
        with open(path, 'rb') as file:
            size = os.fstat(file.fileno()).st_size
            first = file.read(1)
            file.seek(0)
            if first == b'\x93':
                return {'x': _read_array(file, size)}
            if first == b'\x80':
                raise ValueError('it is a pickle, and pickles are not loaded')
            if first != b'P':
                raise ValueError(instead(path) or 'it is neither an .npy nor an .npz file, whatever its name says')
            with zipfile.ZipFile(file) as archive:
                return _read_archive(archive, size)
    except Exception as error:  # of damaged files NumPy, zipfile and zlib raise errors of many kinds
        raise ValueError(one_line(error) or type(error).__name__) from error


def mapped(path: str | os.PathLike) -> numpy.ndarray:
    """The array of an .npy file, mapped into memory; read into it, with a line, where the file system maps nothing.

    Raises ``OSError`` or ``ValueError`` where it can't be read.
    """
    try:
        return numpy.lib.format.open_memmap(path, mode='r').view(numpy.ndarray)
    except OSError as error:
        array = numpy.load(path, allow_pickle=False)
        print('{}: can\'t be mapped there ({}), so it is read into memory'.format(one_line(path), error.strerror))
        return array


def _read_archive(archive, size):
    members = archive.infolist()
    unpacked = sum(member.file_size for member in members)
    if unpacked > max(_LARGEST, 4 * size):
        raise ValueError('it would unpack to {:,} bytes'.format(unpacked))
    arrays = {}
    for member in members:
        name, extension = os.path.splitext(member.filename)
        if extension != '.npy' or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError('it holds {!r}, which is no array'.format(member.filename))
        with archive.open(member) as file:
            arrays[name] = _read_array(file, member.file_size)
    return arrays


def _read_array(file, size):
    """The array that an open .npy file of that many bytes holds, and nothing behind it."""
    read_header = {(1, 0): numpy.lib.format.read_array_header_1_0, (2, 0): numpy.lib.format.read_array_header_2_0}
    shape, _, dtype = read_header[numpy.lib.format.read_magic(file)](file)
    if dtype.hasobject:
        raise ValueError('it holds a pickle of Python objects, which is no array of numbers')
    if not dtype.itemsize:
        raise ValueError('it holds what is no array of numbers')
    if any(n < 0 for n in shape) or dtype.itemsize * math.prod(shape) != size - file.tell():
        raise ValueError('its header promises the shape {}, and {:,} bytes follow'.format(shape, size - file.tell()))
    file.seek(0)
    return numpy.lib.format.read_array(file, allow_pickle=False)


def checksum(arrays: dict) -> numpy.ndarray:
    """SHA-256 of arrays by name, their types and shapes included: (32,) uint8."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        array = numpy.ascontiguousarray(array)
        digest.update('{} {} {}\n'.format(name, array.dtype.str, array.shape).encode())
        digest.update(array.tobytes())
    return numpy.frombuffer(digest.digest(), dtype=numpy.uint8)


# ---- for one process

class Lock:
    """Keeps a folder for one process; a file in it that stays there, but means nothing once that process has ended.

    Args:
        path: The file.

    Attributes:
        error (str): Why it keeps nobody out: the system or the file system has no such locks; else ``None``.

    Raises:
        BlockingIOError: Another process has it.
    """

    def __init__(self, path: pathlib.Path):
        self.error = None
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if fcntl is None:
                raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise
        except OSError as error:  # ENOSYS, ENOLCK or EOPNOTSUPP, on file systems of a network or of a container
            self.error = error.strerror

    def release(self) -> None:
        """Let others have it."""
        os.close(self._descriptor)
