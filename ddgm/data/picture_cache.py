"""The pixels of many pictures, decoded once and kept in a file that is mapped into memory.

A cache is two files in a folder: NAME.npz, which lists the files that were read, and NAME.NUMBER.pixels, the pixels of
those that are pictures, in order.  NAME stands for the path of the source.  The list is written last and atomically, so
that a cache is whole or absent.  While pictures are read it is written now and then, for as many files as there are by
then: what was interrupted goes on from there.  The same serves a source that has changed: what is still the same is
copied, anything else decoded.

A *source* is a :class:`ddgm.data.picture_files.Folder` or an :class:`ddgm.data.archives.Archive`.
"""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import shutil
import time
import zlib

import numpy

from ddgm.data.decoding import SIDE
from ddgm.data.picture_index import Index, Unusable
from ddgm.data.picture_reading import Reading, fingerprint
from ddgm.support.errors import one_line
from ddgm.support.files import Lock, leftovers, user_cache
from ddgm.support.terminal import CountingBar

NONE = 'none'  # in the place of a folder: pictures are kept in memory

_SHAPE = (3, SIDE, SIDE)
_BYTES = 3 * SIDE * SIDE
_LOOKED_AT = 64  # pictures whose checksums are tried when a cache is opened
_COPIED = 4096  # pictures at a time, where they are brought into order


def default_folder():
    """Where pixels are kept: ``$XDG_CACHE_HOME/ddgm/pictures``, by default ``~/.cache/ddgm/pictures``."""
    return user_cache() / 'pictures'


@dataclasses.dataclass
class Pixels:
    """What was read from a source.

    Attributes:
        images: (N, 3, 64, 64) uint8, perhaps mapped.
        index (Index): The files.
        path (pathlib.Path): Of the cache, ``None`` where the pixels are in memory.
    """

    images: numpy.ndarray
    index: Index
    path: pathlib.Path = None


class _NotWritten(Exception):
    """Why a cache can't be written."""


# ---- reading a source

def read(source, folder=None):
    """All pictures of a source: from its cache, which is made or brought up to date before.

    Tells the user where it is.  In memory where it can't be written, which is told as well.

    Args:
        source: See above.
        folder: Of the cache; ``None``: the :func:`default_folder`; ``NONE``: there is to be no cache.
    """
    if str(folder) == NONE:
        return read_into_memory(source)
    cache = _Cache(source, pathlib.Path(folder or default_folder()))
    with contextlib.suppress(Unusable):
        found = cache.open()
        if found.index.is_of(source):
            return found
    try:
        with cache.locked():
            return cache.brought_up_to_date()
    except _NotWritten as error:
        print('{}: the cache can\'t be written ({}), so the pictures stay in memory: give another folder to --cache, '
              'or set XDG_CACHE_HOME'.format(one_line(cache.folder), error), flush=True)
        return read_into_memory(source)


def read_into_memory(source, n_processes=None):
    """The same without a cache; see :func:`ddgm.data.decoders.decoded`."""
    reading, pixels = Reading(source), bytearray()
    if n_processes == 0:
        reading.run(pixels.extend, 0)
    else:
        with CountingBar('pictures read') as bar:
            reading.run(pixels.extend, n_processes, bar.update)
    images = numpy.frombuffer(pixels, dtype=numpy.uint8).reshape(-1, *_SHAPE)
    index, order = reading.index(), reading.order()
    if order is not None:
        images, index = images[index.rows[order][index.rows[order] >= 0]], index.ordered(order)
    index.fingerprint = reading.fingerprint() if order is None else fingerprint(images)
    return Pixels(images, index)


# ---- the files

class _Cache:
    """The cache of a source in a folder."""

    def __init__(self, source, folder):
        self._source = source
        self._where = os.path.realpath(source.path)
        self._name = hashlib.sha256(os.fsencode(self._where)).hexdigest()[:16]
        self.folder = folder
        self.path = folder / (self._name + '.npz')
        self._locks_work = True
        self._new_paths = []

    def open(self):
        """What it holds; raises ``Unusable``."""
        if not self.path.exists():
            raise Unusable('')
        index = Index.load(self.path)
        if index.source != self._where:
            raise Unusable('made from {}'.format(one_line(index.source)))
        # Of one that is not finished, pixels may have been written behind those that are listed.
        images = _mapped(
            self.folder / pathlib.Path(index.pixels).name, len(index.checksums), is_finished=bool(index.fingerprint))
        for row in numpy.linspace(0, len(images) - 1, min(_LOOKED_AT, len(images))).astype(int):
            if zlib.crc32(images[row].tobytes()) != index.checksums[row]:
                raise Unusable('damaged: the pixels of its picture {:,} are others'.format(row + 1))
        return Pixels(images, index, self.path)

    @contextlib.contextmanager
    def locked(self):
        """A context in which no other process writes it; waits for one that does."""
        with _writing():
            self.folder.mkdir(parents=True, exist_ok=True)
        lock = self._lock()
        if lock is None:
            print('Waiting for another process, which reads the same pictures ...', flush=True)
        while lock is None:
            time.sleep(0.1)
            lock = self._lock()
        self._locks_work = lock.error is None
        try:
            yield
        finally:
            lock.release()

    def _lock(self):
        with _writing(), contextlib.suppress(BlockingIOError):
            return Lock(self.path.with_suffix('.lock'))

    def brought_up_to_date(self):
        """What the source holds, from a cache that is made new where something has changed; raises ``_NotWritten``."""
        earlier = None
        try:
            earlier = self.open()
            if earlier.index.is_of(self._source):
                return earlier  # another process has made it
        except Unusable as error:
            if str(error):
                print('{}: {}, so it is made anew'.format(one_line(self.path), error), flush=True)
        self._check_room()
        print('Reading the pictures of {}, once: their pixels are kept in {}'.format(
            one_line(self._source.path), one_line(self.folder)), flush=True)
        return self._made(earlier)

    def _check_room(self):
        with _writing():
            needed, free = self._source.most * _BYTES, shutil.disk_usage(self.folder).free
        if needed > free:
            raise _NotWritten('{:,} MB are free and {:,} needed'.format(free // 10 ** 6, needed // 10 ** 6))

    def _made(self, earlier):
        known = {}
        if earlier is not None:
            known = {
                name: (tuple(stamp), row) for name, stamp, row in zip(
                    earlier.index.names(), earlier.index.stamps.tolist(), earlier.index.rows.tolist()) if row >= 0}
        reading, pixels, is_kept = Reading(self._source, known, earlier), self._new_path(), False

        def write(content):
            with _writing():
                file.write(content)

        def keep():
            nonlocal is_kept
            if len(reading) > len(known):  # of more use than what was there before
                with _writing():
                    file.flush()
                    dataclasses.replace(reading.index(), pixels=pixels.name).save(self.path)
                is_kept = True
        try:
            with _writing():
                file = open(pixels, 'wb')  # noqa: SIM115 (closed below)
            with _closing(file), CountingBar('pictures read') as bar:
                try:
                    reading.run(write, None, bar.update, keep)
                except KeyboardInterrupt:
                    with contextlib.suppress(_NotWritten):
                        keep()
                    if is_kept:
                        print('Interrupted: {:,} pictures are kept, and the next start goes on'.format(
                            len(reading)), flush=True)
                    raise
                keep()
            with _writing():
                return self._finished(reading, pixels)
        except BaseException as error:
            if isinstance(error, _NotWritten) and is_kept:
                self._remove(self.path)
                is_kept = False
            if not is_kept:
                self._remove(pixels)
            raise

    def _finished(self, reading, pixels):
        """Bring the pixels into the order of the names, have them on the disk, and write the list."""
        index, order = reading.index(), reading.order()
        index.fingerprint = reading.fingerprint()
        if order is not None:
            index, pixels = self._in_order(index, order, pixels)
        index.pixels = pixels.name
        with open(pixels, 'rb+') as file:
            os.fsync(file.fileno())
        index.save(self.path)
        if self._locks_work:
            for path in self.folder.glob(self._name + '.*.pixels'):
                if path != pixels:
                    self._remove(path)
            for leftover, path in leftovers(self.folder):
                if path == self.path:
                    self._remove(leftover)
        return Pixels(_mapped(pixels, len(index.checksums)), index, self.path)

    def _in_order(self, index, order, pixels):
        images, rows, sorted_path = _mapped(pixels, len(index.checksums)), index.rows[order], self._new_path()
        rows, index = rows[rows >= 0], index.ordered(order)
        with open(sorted_path, 'wb') as file:
            for first in range(0, len(rows), _COPIED):
                file.write(images[rows[first:first + _COPIED]].tobytes())
        index.fingerprint = fingerprint(_mapped(sorted_path, len(index.checksums)))
        return index, sorted_path

    def _new_path(self):
        path = self.folder / '{}.{}-{}.pixels'.format(self._name, os.getpid(), time.time_ns())
        self._new_paths.append(path)
        return path

    @staticmethod
    def _remove(path):
        with contextlib.suppress(OSError):  # on Windows what another process has mapped can't be
            path.unlink()


@contextlib.contextmanager
def _closing(file):
    """A context that closes a file, whose last bytes may not fit on the disk."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # there is an error already
            file.close()
        raise
    with _writing():
        file.close()


@contextlib.contextmanager
def _writing():
    """A context in which an error of the system is one of writing the cache."""
    try:
        yield
    except OSError as error:
        raise _NotWritten(error.strerror) from error


def _mapped(path, n, is_finished=True):
    """The pixels of n pictures in a file, (n, 3, 64, 64), read-only; raises ``Unusable``."""
    try:
        size = path.stat().st_size
        if size < n * _BYTES or is_finished and size != n * _BYTES:
            raise Unusable('damaged: its pixels have {:,} bytes in the place of {:,}'.format(size, n * _BYTES))
        if not n:
            return numpy.zeros((0, *_SHAPE), dtype=numpy.uint8)
        return numpy.memmap(path, dtype=numpy.uint8, mode='r', shape=(n, *_SHAPE)).view(numpy.ndarray)
    except OSError as error:
        raise Unusable('damaged: {}: {}'.format(path.name, error.strerror)) from error
