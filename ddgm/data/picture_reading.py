"""Reading the files of a source: each decoded or, where an earlier cache has its pixels, copied.

A *source* is a :class:`ddgm.data.picture_files.Folder` or an :class:`ddgm.data.archives.Archive`.
"""

import contextlib
import hashlib
import os
import time
import zlib

import numpy

from ddgm.data import decoders
from ddgm.data.decoding import Unsuitable
from ddgm.data.picture_index import Index, joined

_PER_CHUNK = 100  # pictures that a process decodes at a time,
_BYTES_PER_CHUNK = 1 << 24  # or fewer where they come as so many bytes
_SECONDS = 20  # between two lists of what was read so far
_AT_A_TIME = 4096  # pictures whose pixels are copied


class Reading:
    """The files of a source in turn, each decoded or, where that is already done, copied.

    Args:
        source: See above.
        known (dict): By name, a pair of a file's stamp and its row in ``earlier``.
        earlier (ddgm.data.picture_cache.Pixels): Of an earlier cache.
    """

    def __init__(self, source, known=None, earlier=None):
        self._source = source
        self._known = known or {}
        self._earlier = earlier
        self._names, self._stamps, self._rows, self._reasons, self._checksums = [], [], [], [], []
        self._digest = hashlib.sha256()

    def run(self, write, n_processes=None, tell=lambda n, share: None, keep=lambda: None):
        """Read all.

        Args:
            write: A function of the pixels of one picture, as bytes.
            n_processes: See :func:`ddgm.data.decoders.decoded`.
            tell: A function of the number of pictures and the share of the work, called now and then.
            keep: A function that is called now and then.
        """
        due = time.monotonic() + _SECONDS
        with contextlib.closing(decoders.decoded(self._chunks(), n_processes)) as decoded:
            for chunk, outcomes in decoded:
                outcomes = iter(outcomes)
                for file, known, _ in chunk:
                    self._add(file, known or file.reason or next(outcomes), write)
                tell(len(self._checksums), chunk[-1][2])
                if time.monotonic() >= due:
                    keep()
                    due = time.monotonic() + _SECONDS

    def _chunks(self):
        """Pairs for :func:`ddgm.data.decoders.decoded`: files with their pixels where these are known, and the rest."""
        chunk, sources, n_bytes = [], [], 0
        for file, share in self._source.files():
            known = self._pixels_known(file)
            if not (known or file.reason):
                try:
                    content = file.read()
                except Unsuitable as error:
                    file = file._replace(reason=str(error))
                else:
                    sources.append(content)
                    n_bytes += len(content)
            chunk.append((file, known, share))
            if len(chunk) == _PER_CHUNK or n_bytes >= _BYTES_PER_CHUNK:
                yield chunk, sources
                chunk, sources, n_bytes = [], [], 0
        if chunk:
            yield chunk, sources

    def _pixels_known(self, file):
        """The pixels of a file as bytes where an earlier cache has them, else ``None``."""
        stamp, row = self._known.get(file.name, (None, None))
        if stamp is None or stamp[:2] != file.stamp[:2]:
            return None
        pixels = self._earlier.images[row].tobytes()
        return pixels if zlib.crc32(pixels) == self._earlier.index.checksums[row] else None

    def _add(self, file, outcome, write):
        self._names.append(file.name)
        self._stamps.append(file.stamp)
        if isinstance(outcome, str):
            self._rows.append(-1)
            self._reasons.append(outcome)
        else:
            write(outcome)
            self._digest.update(outcome)
            self._rows.append(len(self._checksums))
            self._checksums.append(zlib.crc32(outcome))

    def __len__(self):
        return len(self._checksums)

    def fingerprint(self):
        """Of all pixels in the order in which they came."""
        return self._digest.hexdigest()[:16]

    def index(self):
        """Of what was read so far."""
        return Index(
            os.path.realpath(self._source.path), self._source.stamp, joined(self._names),
            numpy.array(self._stamps, dtype=numpy.int64).reshape(-1, 3), numpy.array(self._rows, dtype=numpy.int64),
            list(self._reasons), numpy.array(self._checksums, dtype=numpy.uint32))

    def order(self):
        """Which files make the source, sorted by their names; ``None`` where they have come so.

        Of a name that came twice the last file counts.
        """
        if all(first < second for first, second in zip(self._names, self._names[1:])):
            return None
        last = {name: i for i, name in enumerate(self._names)}
        return numpy.array([last[name] for name in sorted(last)])


def fingerprint(images):
    """Of pixels (N, 3, 64, 64) uint8, the same as :meth:`Reading.fingerprint` of as many pictures in this order."""
    digest = hashlib.sha256()
    for first in range(0, len(images), _AT_A_TIME):
        digest.update(images[first:first + _AT_A_TIME].tobytes())
    return digest.hexdigest()[:16]
