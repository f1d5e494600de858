"""The list of a cache of pictures: which files were read, and what they came to.

It is a file of its own beside the pixels; see :mod:`ddgm.data.picture_cache`.
"""

import dataclasses

import numpy
import PIL

from ddgm.support.errors import one_line
from ddgm.support.files import checksum, open_atomically, read_arrays, write_arrays

# What decides the pixels and the form of the list.  To be counted up where decoding makes other pixels than before.
_VERSION = '1, Pillow {}'.format(PIL.__version__)


class Unusable(Exception):
    """Why a cache is not used; the message is for the user."""


@dataclasses.dataclass
class Index:
    """Which files were read, and what they came to.

    Attributes:
        source (str): The absolute path of their folder or archive.
        source_stamp: Of an archive, (1, 2) int64; of a folder (0, 2).
        name_bytes (bytes): The names of all files, each followed by a zero, in order.
        stamps: (files, 3) int64; see :class:`ddgm.data.picture_files.PictureFile`.
        rows: (files,) int64, where the pixels of each are; -1 for what was left out.
        reasons (list of str): Why, in the order of the files that were.
        checksums: (pictures,) uint32 of their pixels.
        fingerprint (str): Says whether two sources hold the same; empty as long as not all was read.
        pixels (str): The name of the file with the pixels.
    """

    source: str
    source_stamp: numpy.ndarray
    name_bytes: bytes
    stamps: numpy.ndarray
    rows: numpy.ndarray
    reasons: list
    checksums: numpy.ndarray
    fingerprint: str = ''
    pixels: str = ''

    _TEXTS = 'source', 'fingerprint', 'pixels'

    def is_of(self, source):
        """Whether it lists all that a source holds now."""
        return bool(self.fingerprint) and source.is_listed_in(self)

    def names(self):
        """The names of all files."""
        return [name.decode('utf-8', 'surrogatepass') for name in self.name_bytes.split(b'\0')[:-1]]

    def has_names(self, names):
        """Whether these are the names of all files."""
        return self.name_bytes == joined(names)

    def pictures(self):
        """The names of the pictures."""
        return [name for name, row in zip(self.names(), self.rows.tolist()) if row >= 0]

    def left_out(self):
        """Pairs of the name of each file that is no picture, and the reason."""
        if not self.reasons:
            return []
        return list(zip([name for name, row in zip(self.names(), self.rows.tolist()) if row < 0], self.reasons))

    def ordered(self, order):
        """That of the files that ``order`` counts alone, in that order, for pixels that are in it too."""
        names, rows = self.names(), self.rows[order]
        is_picture = rows >= 0
        reasons = dict(zip(numpy.flatnonzero(self.rows < 0).tolist(), self.reasons))
        return dataclasses.replace(
            self, name_bytes=joined(names[i] for i in order), stamps=self.stamps[order],
            rows=numpy.where(is_picture, numpy.cumsum(is_picture) - 1, -1), checksums=self.checksums[rows[is_picture]],
            reasons=[reasons[i] for i in order.tolist() if i in reasons])

    def save(self, path):
        """Write it to a file that is whole or as before."""
        arrays = {
            'version': _bytes_of(_VERSION), **{name: _bytes_of(getattr(self, name)) for name in self._TEXTS},
            'source_stamp': self.source_stamp, 'name_bytes': numpy.frombuffer(self.name_bytes, dtype=numpy.uint8),
            'stamps': self.stamps, 'rows': self.rows, 'reasons': _bytes_of(''.join(
                reason + '\0' for reason in self.reasons)), 'checksums': self.checksums}
        with open_atomically(path) as file:
            write_arrays(file, {**arrays, 'sha256': checksum(arrays)})

    @classmethod
    def load(cls, path):
        """Read what :meth:`save` wrote; raises ``Unusable`` with the reason where it can't be used."""
        try:
            arrays = read_arrays(path)
        except ValueError as error:
            raise Unusable('damaged: {}'.format(error)) from error
        found = arrays.pop('sha256', None)
        if found is None or not numpy.array_equal(found, checksum(arrays)):
            raise Unusable('damaged: its checksum is wrong')
        version = arrays.get('version', numpy.zeros(0)).tobytes().decode(errors='replace')
        if version != _VERSION:
            raise Unusable('made by another version ({}) than {}'.format(one_line(version), _VERSION))
        texts = {name: arrays[name].tobytes().decode('utf-8', 'surrogatepass') for name in cls._TEXTS}
        return cls(
            **texts, source_stamp=arrays['source_stamp'], name_bytes=arrays['name_bytes'].tobytes(),
            stamps=arrays['stamps'], rows=arrays['rows'], checksums=arrays['checksums'],
            reasons=arrays['reasons'].tobytes().decode('utf-8', 'surrogatepass').split('\0')[:-1])


def joined(names):
    """Names as bytes, each followed by a zero."""
    return ''.join(name + '\0' for name in names).encode('utf-8', 'surrogatepass')


def _bytes_of(text):
    return numpy.frombuffer(text.encode('utf-8', 'surrogatepass'), dtype=numpy.uint8)
