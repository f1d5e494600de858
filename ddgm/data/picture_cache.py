"""All pictures of a source, decoded on all cores; where that takes long, their pixels are kept for the next start.

A cache is two files in a folder: NAME.FINGERPRINT.npy, the pixels, which are mapped into memory, and NAME.json, the
list of what was read.  NAME stands for the path of the source and the form of the pixels, FINGERPRINT for the pixels.
The list is written last, and each atomically, so that a cache is whole or absent.

A *source* is a :class:`ddgm.data.picture_folder.Folder`, an :class:`ddgm.data.archives.Archive` or an
:class:`ddgm.data.picture_arrays.Arrays`.
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

from ddgm.data.picture_file import WHITE, Unsuitable, outcome, pillow_ready
from ddgm.support import ranks
from ddgm.support.errors import counted, one_line
from ddgm.support.files import Lock, mapped, open_atomically, read_json, user_cache, write_json
from ddgm.support.terminal import CountingBar

NONE = 'none'  # in the place of a folder: pictures are kept in memory

_LONG = 5  # seconds of decoding after which pixels go to the disk
_AHEAD = 4  # files for each core that are read before their turn
_AT_A_TIME = 4096  # pictures that are copied
_LOOKED_AT = 64  # pictures that are compared with the list when a cache is opened
_LONGEST = 2 ** 30  # bytes of a list
# What decides the pixels and the form of the list.  To be counted up where decoding makes other pixels than before.
_VERSION = '3, Pillow {}'.format(PIL.__version__)
# By bits, the brightest of all numbers that shows for certain what white is: that of masks of 0 and 1, of 8, 10, 12 or
# 14 bits in 16.  Where the brightest is any other below this share of the range, it is told.
_WHITES = {8: (1,), 16: (1, 255, 1023, 4095, 16383)}
_DARK = 1 / 4


@dataclasses.dataclass
class Pixels:
    """What was read from a source.

    Attributes:
        images: (N, 3, size, size) uint8, or (N, 1, size, size) where they are grey; perhaps mapped.
        names (list of str): Those of the pictures, sorted.
        left_out (list of (str, str)): The name of each file that is no picture, and the reason.
        notes (list of str): What the user should know of the pictures.
        is_grey (bool): Whether none of them has colours in its file.
        fingerprint (str): Says whether two sources hold the same pictures.
        path (pathlib.Path): Of the cache's list, ``None`` where the pixels are in memory.
    """

    images: numpy.ndarray
    names: list[str]
    left_out: list[tuple[str, str]]
    notes: list[str]
    is_grey: bool
    fingerprint: str
    path: pathlib.Path | None = None


def read(source, folder: str | os.PathLike | None = None, size: int = 64, grey: bool | None = False) -> Pixels:
    """All pictures of a source, from its cache where that is of the very same files.

    Where decoding takes more than 5 seconds, a cache is made.  Tells the user where one can't be used or written; then
    the pixels are in memory, as they are where decoding is quick.

    Args:
        source: See above.
        folder: Of the cache, by default ``$XDG_CACHE_HOME/ddgm/pictures`` or ``~/.cache/ddgm/pictures``; ``NONE``:
            there is to be no cache.
        size (int): Pixels of a side.
        grey (bool): Whether pictures are read as grey levels; ``None``: where none of them has colours.
    """
    if str(folder) == NONE:
        return _read(source, size, grey)
    folder = pathlib.Path(folder or user_cache() / 'pictures')
    # Which one will be needed is known where it was found out before.
    caches = {is_grey: _Cache(source, folder, size, is_grey) for is_grey in (True, False) if grey in (None, is_grey)}
    for is_grey, cache in caches.items():
        found = cache.open()
        if found is not None and (grey is not None or found.is_grey == is_grey):
            return found
    try:
        return _read(source, size, grey, caches)
    except BlockingIOError:
        print('Waiting for another process, which reads the same pictures ...', flush=True)
        caches[bool(grey)].wait()
        return read(source, folder, size, grey)
    except OSError as error:
        print('{}: the cache can\'t be written ({}), so the pictures stay in memory: give another folder to --cache, '
              'or set XDG_CACHE_HOME'.format(one_line(folder), error.strerror), flush=True)
        return _read(source, size, grey)


# ---- reading

def _read(source, size, grey, caches=None, white=WHITE):
    """Decode all.  Raises ``OSError`` where a cache can't be written, ``BlockingIOError`` where another writes it."""
    # What has a cache already is known to take long.
    is_known = caches is not None and any(os.path.exists(cache.path) for cache in caches.values())
    due = time.monotonic() + (0 if is_known else _LONG)
    results, found = {}, _Found(grey)
    pixels = in_memory = io.BytesIO()
    with contextlib.ExitStack() as stack:
        with contextlib.closing(_decoded(source, size, bool(grey), white)) as decoded, \
                CountingBar('pictures read') as bar:
            for file, result in decoded:
                if not isinstance(result, str):
                    if caches is not None and pixels is in_memory and time.monotonic() >= due:
                        pixels = stack.enter_context(caches[bool(grey)].unfinished())
                        pixels.write(in_memory.getbuffer())
                    pixels.write(result.pixels.tobytes())
                    result = found.count(result, size)
                results[file.name] = result  # of a name that comes twice the last file counts
                bar.update(found.n, file.share)
        stretched = white is WHITE and found.white()
        if not stretched and pixels is not in_memory:
            pixels.flush()
            return caches[found.as_grey].keep(*_listed(results, _numbers_in(pixels), size, found, white))
    if stretched:  # before they are made smaller, which would round few levels away
        return _read(source, size, grey, caches, {**WHITE, **stretched})
    listed, rows = _listed(results, numpy.frombuffer(pixels.getbuffer(), numpy.uint8), size, found, white)
    if found.as_grey and not grey:  # as it has come out
        listed.images = listed.images[:, :1]
    if not (numpy.array_equal(rows, numpy.arange(found.n)) and listed.images.flags.c_contiguous):
        listed.images = listed.images[rows]
    return listed


class _Found:
    """What was found of pictures in their files: how many, how bright, whether all are grey, how many are small."""

    def __init__(self, grey):
        self.n = self._n_smaller = 0
        self.is_grey = True
        self.n_channels = 1 if grey else 3  # as they are decoded
        self._grey = grey
        self._brightest = collections.Counter()

    @property
    def as_grey(self):
        """Whether their pixels are grey levels."""
        return self.is_grey if self._grey is None else self._grey

    def count(self, result, size):
        """Take what a file came to; returns how many came before."""
        self._brightest |= collections.Counter({result.bits: result.brightest})  # the larger one
        self.is_grey &= result.is_grey
        self._n_smaller += result.side < size
        self.n += 1
        return self.n - 1

    def white(self):
        """By bits the number that is certainly white, where that is not the largest one."""
        return {bits: level for bits, level in self._brightest.items() if level in _WHITES[bits]}

    def notes(self, size, white):
        """What the user should know of the pictures."""
        notes = ['{} smaller than {}×{} pixels and enlarged'.format(
            counted(self._n_smaller, 'picture is', 'pictures are'), size, size)] if self._n_smaller else []
        for bits, level in self._brightest.items():
            if white[bits] != WHITE[bits]:
                notes.append('values run from 0 to {:,}, which is taken as white'.format(white[bits]))
            elif level < _DARK * WHITE[bits]:
                notes.append('no value is above {:,} of {:,}, so the pictures are dark: multiply the values, if their '
                             'range is another'.format(level, WHITE[bits]))
        return notes


def _decoded(source, *form):
    """Yields each file of a source and its ``Outcome`` in this form, or why it has none, in the source's order."""
    n_cores, waiting = ranks.n_cores(), collections.deque()
    # Threads are enough: others go on while Pillow decodes and resizes.
    pool = concurrent.futures.ThreadPoolExecutor(n_cores)
    with pillow_ready(), contextlib.ExitStack() as stack:
        stack.callback(pool.shutdown, cancel_futures=True)
        for file in source.files():
            try:
                future = pool.submit(outcome, file.read(), *form)
            except Unsuitable as error:
                future = pool.submit(str, error)
            waiting.append((file, future))
            if len(waiting) > _AHEAD * n_cores:
                file, future = waiting.popleft()
                yield file, future.result()
        for file, future in waiting:
            yield file, future.result()


def _listed(results, images, size, found, white):
    """The ``Pixels`` with images as they came, and the rows of these that make the order of the names."""
    images = images.reshape(found.n, found.n_channels, size, size)
    pictures = sorted((name, row) for name, row in results.items() if not isinstance(row, str))
    rows = numpy.array([row for _, row in pictures], dtype=numpy.int64)
    digest = hashlib.sha256()
    for part in _in_parts(images, rows, found.as_grey):
        digest.update(part)
    return Pixels(
        images, [name for name, _ in pictures],
        sorted((name, reason) for name, reason in results.items() if isinstance(reason, str)),
        found.notes(size, white), found.is_grey, digest.hexdigest()[:16]), rows


def _numbers_in(file):
    """The bytes of an open file as an array, mapped where its file system can do that."""
    try:
        return numpy.memmap(file, mode='r')
    except OSError:
        file.seek(0)
        return numpy.fromfile(file, numpy.uint8)


def _in_parts(images, rows, as_grey):
    """Yields the pixels of some rows as bytes, many at a time; as grey levels those of the first channel."""
    for first in range(0, len(rows), _AT_A_TIME):
        yield images[rows[first:first + _AT_A_TIME], :1 if as_grey else None].tobytes()


# ---- the files

class _Cache:
    """The cache of a source in a folder, of pixels of one form."""

    def __init__(self, source, folder, size, is_grey):
        name = '{}-{}-{}'.format(
            hashlib.sha256(os.fsencode(os.path.realpath(source.path))).hexdigest()[:16], size,
            'grey' if is_grey else 'rgb')
        self._shape = (1 if is_grey else 3), size, size
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
            images = mapped(self._path_of_pixels(listed['fingerprint']))
            if images.shape != (len(listed['names']), *self._shape) or _checksum_of_some(images) != listed['checksum']:
                raise ValueError('its pixels are others')
            return Pixels(
                images, listed['names'], list(map(tuple, listed['left_out'])), listed['notes'], listed['is_grey'],
                listed['fingerprint'], self.path)
        except (OSError, ValueError, LookupError, TypeError) as error:  # about anything may stand there
            print('{}: can\'t be used ({}), so it is made anew'.format(
                one_line(self.path), getattr(error, 'strerror', None) or one_line(error)), flush=True)
            return None

    def keep(self, pixels, rows):
        """Write pixels, those rows of them in turn, and their list; returns what was written."""
        path = self._path_of_pixels(pixels.fingerprint)
        with open_atomically(path) as file:
            numpy.lib.format.write_array_header_1_0(
                file, {'descr': '|u1', 'fortran_order': False, 'shape': (len(rows), *self._shape)})
            for part in _in_parts(pixels.images, rows, self._shape[0] == 1):
                file.write(part)
        images = mapped(path)
        write_json(self.path, {
            'version': _VERSION, 'key': self._key, 'fingerprint': pixels.fingerprint,
            'checksum': _checksum_of_some(images), 'names': pixels.names, 'left_out': pixels.left_out,
            'notes': pixels.notes, 'is_grey': pixels.is_grey})
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


def _checksum_of_some(images):
    rows = numpy.linspace(0, len(images) - 1, min(_LOOKED_AT, len(images))).astype(int)
    return zlib.crc32(images[rows].tobytes())
