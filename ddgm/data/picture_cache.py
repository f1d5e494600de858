"""All pictures of a source, decoded on all cores; where that takes long, their pixels are kept for the next start.

A cache is two files in a folder: NAME.FINGERPRINT.npy, the pixels, which are mapped into memory, and NAME.json, the
list of what was read.  NAME stands for the path of the source, FINGERPRINT for the pixels.  The list is written last,
and each atomically, so that a cache is whole or absent.

A *source* is a :class:`ddgm.data.picture_folder.Folder` or an :class:`ddgm.data.archives.Archive`.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import io
import os
import pathlib
import tempfile
import time
import zlib

import numpy
import PIL

from ddgm.data.picture_file import SIDE, Unsuitable, outcome, pillow_ready
from ddgm.support import ranks
from ddgm.support.errors import one_line
from ddgm.support.files import Lock, open_atomically, read_json, user_cache, write_json
from ddgm.support.terminal import CountingBar

NONE = 'none'  # in the place of a folder: pictures are kept in memory

_LONG = 5  # seconds of decoding after which pixels go to the disk
_AHEAD = 4  # files for each core that are read before their turn
_SHAPE = (3, SIDE, SIDE)
_AT_A_TIME = 4096  # pictures that are copied
_LOOKED_AT = 64  # pictures that are compared with the list when a cache is opened
_LONGEST = 2 ** 30  # bytes of a list
# What decides the pixels and the form of the list.  To be counted up where decoding makes other pixels than before.
_VERSION = '2, Pillow {}'.format(PIL.__version__)


@dataclasses.dataclass
class Pixels:
    """What was read from a source.

    Attributes:
        images: (N, 3, 64, 64) uint8, perhaps mapped.
        names (list of str): Those of the pictures, sorted.
        left_out (list of (str, str)): The name of each file that is no picture, and the reason.
        fingerprint (str): Says whether two sources hold the same pictures.
        path (pathlib.Path): Of the cache's list, ``None`` where the pixels are in memory.
    """

    images: numpy.ndarray
    names: list[str]
    left_out: list[tuple[str, str]]
    fingerprint: str
    path: pathlib.Path | None = None


def read(source, folder: str | os.PathLike | None = None) -> Pixels:
    """All pictures of a source, from its cache where that is of the very same files.

    Where decoding takes more than 5 seconds, a cache is made.  Tells the user where one can't be used or written; then
    the pixels are in memory, as they are where decoding is quick.

    Args:
        source: See above.
        folder: Of the cache, by default ``$XDG_CACHE_HOME/ddgm/pictures`` or ``~/.cache/ddgm/pictures``; ``NONE``:
            there is to be no cache.
    """
    if str(folder) == NONE:
        return _read(source)
    cache = _Cache(source, pathlib.Path(folder or user_cache() / 'pictures'))
    found = cache.open()
    if found is not None:
        return found
    try:
        return _read(source, cache)
    except BlockingIOError:
        print('Waiting for another process, which reads the same pictures ...', flush=True)
        cache.wait()
        return read(source, folder)
    except OSError as error:
        print('{}: the cache can\'t be written ({}), so the pictures stay in memory: give another folder to --cache, '
              'or set XDG_CACHE_HOME'.format(one_line(cache.folder), error.strerror), flush=True)
        return _read(source)


# ---- reading

def _read(source, cache=None):
    """Decode all.  Raises ``OSError`` where the cache can't be written, ``BlockingIOError`` where another writes it."""
    # What has a cache already is known to take long.
    due = time.monotonic() + (0 if cache is not None and os.path.exists(cache.path) else _LONG)
    results, n = {}, 0
    pixels = in_memory = io.BytesIO()
    with contextlib.ExitStack() as stack:
        with contextlib.closing(_decoded(source)) as decoded, CountingBar('pictures read') as bar:
            for file, result in decoded:
                if isinstance(result, bytes):
                    if cache is not None and pixels is in_memory and time.monotonic() >= due:
                        pixels = stack.enter_context(cache.unfinished())
                        pixels.write(in_memory.getbuffer())
                    pixels.write(result)
                    result, n = n, n + 1
                results[file.name] = result  # of a name that comes twice the last file counts
                bar.update(n, file.share)
        if pixels is not in_memory:
            pixels.flush()
            return cache.keep(*_listed(results, numpy.memmap(pixels, mode='r')))
    listed, rows = _listed(results, numpy.frombuffer(pixels.getbuffer(), numpy.uint8))
    if not numpy.array_equal(rows, numpy.arange(n)):
        listed.images = listed.images[rows]
    return listed


def _decoded(source):
    """Yields each file of a source and its pixels, as bytes, or why it has none, in the source's order."""
    n_cores, waiting = ranks.n_cores(), collections.deque()
    # Threads are enough: others go on while Pillow decodes and resizes.
    pool = concurrent.futures.ThreadPoolExecutor(n_cores)
    with pillow_ready(), contextlib.ExitStack() as stack:
        stack.callback(pool.shutdown, cancel_futures=True)
        for file in source.files():
            try:
                future = pool.submit(outcome, file.read())
            except Unsuitable as error:
                future = pool.submit(str, error)
            waiting.append((file, future))
            if len(waiting) > _AHEAD * n_cores:
                file, future = waiting.popleft()
                yield file, future.result()
        for file, future in waiting:
            yield file, future.result()


def _listed(results, images):
    """The ``Pixels`` with images as they came, and the rows of these that make the order of the names."""
    images = images.reshape(-1, *_SHAPE)
    pictures = sorted((name, row) for name, row in results.items() if not isinstance(row, str))
    rows = numpy.array([row for _, row in pictures], dtype=numpy.int64)
    digest = hashlib.sha256()
    for part in _in_parts(images, rows):
        digest.update(part)
    return Pixels(
        images, [name for name, _ in pictures],
        sorted((name, reason) for name, reason in results.items() if isinstance(reason, str)),
        digest.hexdigest()[:16]), rows


def _in_parts(images, rows):
    """Yields the pixels of some rows as bytes, many at a time."""
    for first in range(0, len(rows), _AT_A_TIME):
        yield images[rows[first:first + _AT_A_TIME]].tobytes()


# ---- the files

class _Cache:
    """The cache of a source in a folder."""

    def __init__(self, source, folder):
        name = hashlib.sha256(os.fsencode(os.path.realpath(source.path))).hexdigest()[:16]
        self._key = source.key
        self.folder = folder
        self.path = folder / (name + '.json')
        self._lock_path = folder / (name + '.lock')

    def open(self):
        """The ``Pixels`` of these very files; ``None`` where it has none, or can't be used, which is told."""
        if not os.path.exists(self.path):
            return None
        try:
            listed = read_json(self.path, _LONGEST)
            if listed['version'] != _VERSION:
                raise ValueError('made by another version, {}, than {}'.format(listed['version'], _VERSION))
            if listed['key'] != self._key:
                return None
            images = _mapped(self._path_of_pixels(listed['fingerprint']))
            if len(images) != len(listed['names']) or _checksum_of_some(images) != listed['checksum']:
                raise ValueError('its pixels are others')
            return Pixels(
                images, listed['names'], list(map(tuple, listed['left_out'])), listed['fingerprint'], self.path)
        except (OSError, ValueError, LookupError, TypeError) as error:  # about anything may stand there
            print('{}: can\'t be used ({}), so it is made anew'.format(
                one_line(self.path), getattr(error, 'strerror', None) or one_line(error)), flush=True)
            return None

    def keep(self, pixels, rows):
        """Write pixels, those rows of them in turn, and their list; returns what was written."""
        path = self._path_of_pixels(pixels.fingerprint)
        with open_atomically(path) as file:
            numpy.lib.format.write_array_header_1_0(
                file, {'descr': '|u1', 'fortran_order': False, 'shape': (len(rows), *_SHAPE)})
            for part in _in_parts(pixels.images, rows):
                file.write(part)
        images = _mapped(path)
        write_json(self.path, {
            'version': _VERSION, 'key': self._key, 'fingerprint': pixels.fingerprint,
            'checksum': _checksum_of_some(images), 'names': pixels.names, 'left_out': pixels.left_out})
        for other in self.folder.glob(self.path.stem + '.*'):
            if other not in (path, self.path, self._lock_path):
                with contextlib.suppress(OSError):  # on Windows what another process has mapped can't be removed
                    other.unlink()
        print('The pixels are kept in {}, so that the next start is quick'.format(one_line(self.folder)), flush=True)
        return dataclasses.replace(pixels, images=images, path=self.path)

    def _path_of_pixels(self, fingerprint):
        return self.path.with_suffix('.{}.npy'.format(fingerprint))

    @contextlib.contextmanager
    def unfinished(self):
        """A context with a file for pixels, which vanishes at its end, and in which no other process writes the cache.

        Raises ``BlockingIOError`` where one does.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = Lock(self._lock_path)
        try:
            with tempfile.TemporaryFile(dir=self.folder) as file:
                yield file
        finally:
            lock.release()

    def wait(self):
        """Return when no other process writes it any more."""
        while True:
            with contextlib.suppress(BlockingIOError):
                return Lock(self._lock_path).release()
            time.sleep(0.1)


def _mapped(path):
    return numpy.lib.format.open_memmap(path, mode='r').view(numpy.ndarray)


def _checksum_of_some(images):
    rows = numpy.linspace(0, len(images) - 1, min(_LOOKED_AT, len(images))).astype(int)
    return zlib.crc32(images[rows].tobytes())
