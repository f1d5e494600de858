"""The handwritten digits: four IDX files, read, checked and, where they are missing, fetched."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import math
import os
import pathlib
import re
import struct
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Mapping, Sequence

import numpy

from ddgm.support.errors import UsageError, one_line, printable, some
from ddgm.support.files import instead, leftovers, open_atomically
from ddgm.support.terminal import CountingBar

MIRRORS = (
    'https://ossci-datasets.s3.amazonaws.com/mnist/',
    'https://storage.googleapis.com/cvdf-datasets/mnist/',
)
# MD5 of the canonical compressed files, images before labels.
CHECKSUMS = {
    'train-images-idx3-ubyte.gz': 'f68b3c2dcbeaaa9fbdd348bbdeb94873',
    'train-labels-idx1-ubyte.gz': 'd53e105ee54ea40749a09fcbcd1e9432',
    't10k-images-idx3-ubyte.gz': '9fb629c4189551a2d022fa330f9573f3',
    't10k-labels-idx1-ubyte.gz': 'ec29112dd5afa0611ce80d1b7f02629c',
}
SIDE = 28
N_CLASSES = 10
_UNSIGNED_BYTES = 8  # IDX's code of the number type
_LARGEST = 1 << 28  # bytes of one file's content: more than five times MNIST's
_PART = 1 << 20  # bytes read at a time, so that a false promise costs no memory
_SECONDS = 30  # without a byte until a mirror is given up


# ---- the files

def read_idx(path: str | os.PathLike, n_dimensions: int) -> numpy.ndarray:
    """Read an IDX file of unsigned bytes, compressed by gzip or not: a uint8 array of ``n_dimensions`` axes.

    Raises ``UsageError`` where the file is missing, of another kind, or does not hold what its header promises.
    """
    kind = 'images' if n_dimensions == 3 else 'labels'
    try:
        with open(path, 'rb') as raw:
            is_compressed = raw.read(2) == b'\x1f\x8b'
            raw.seek(0)
            with (gzip.open(raw) if is_compressed else raw) as file:
                magic, sizes = file.read(4), file.read(4 * n_dimensions)
                if magic != bytes([0, 0, _UNSIGNED_BYTES, n_dimensions]) or len(sizes) < 4 * n_dimensions:
                    raise ValueError(instead(magic + sizes + file.read(100)) or (
                        'not an IDX file of {} (it begins with 0x{})'.format(kind, magic.hex())))
                shape = struct.unpack('>{}I'.format(n_dimensions), sizes)
                promised = math.prod(shape)  # in Python's integers: NumPy's would overflow
                if not 0 < promised <= _LARGEST:
                    raise ValueError('its header promises {:,} numbers'.format(promised))
                content = bytearray()
                for part in iter(lambda: file.read(_PART), b''):
                    content += part
                    if len(content) > promised:
                        break
        if len(content) != promised:
            raise ValueError('its header promises {:,} numbers and {} follow'.format(
                promised, 'more' if len(content) > promised else '{:,}'.format(len(content))))
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UsageError(
            '{}: {}; put the IDX file of the {} there (or, for MNIST itself, remove it and it is fetched again)'.format(
                path, getattr(error, 'strerror', None) or error, kind)) from error
    return numpy.frombuffer(content, dtype=numpy.uint8).reshape(shape)


def _read_copies(paths, n_dimensions):
    """The content of a file that may be there packed and unpacked."""
    array = read_idx(paths[0], n_dimensions)
    for path in paths[1:]:
        if not numpy.array_equal(read_idx(path, n_dimensions), array):
            raise UsageError('{} and {} hold different data: remove one, or give another folder to --data'.format(
                paths[0], path))
    return array


def _read_pair(images_paths, labels_paths):
    images, labels = _read_copies(images_paths, 3), _read_copies(labels_paths, 1)
    images_path, labels_path = images_paths[0], labels_paths[0]
    if images.shape[1:] != (SIDE, SIDE):
        raise UsageError('{}: images of {}×{} pixels, where {}×{} are needed: give another folder to --data'.format(
            images_path, *images.shape[1:], SIDE, SIDE))
    if len(images) != len(labels):
        raise UsageError('{} holds {:,} images and {} {:,} labels: give a folder to --data where they belong '
                         'together'.format(images_path, len(images), labels_path, len(labels)))
    if labels.max() >= N_CLASSES:
        raise UsageError('{}: label {} where 0 to {} are known: give another folder to --data'.format(
            labels_path, labels.max(), N_CLASSES - 1))
    return images.reshape(len(images), -1), labels


def _name_of(entry):
    """Which of the four files a file's or a folder's name means; ``None`` for any other.

    Unpackers and data sets at Kaggle write a dot in the place of a dash.
    """
    match = re.fullmatch(r'(train|t10k)-(images|labels)[-.](idx[13])[-.]ubyte(\.gz)?', entry)
    name = match and '{}-{}-{}-ubyte.gz'.format(*match.groups())
    return name if name in CHECKSUMS else None


def _visible(folder):
    return sorted(entry for entry in os.listdir(folder) if not entry.startswith('.'))


def _idx_files(folder, depth=0):
    """IDX files in a folder and, as torchvision has them, in NAME or NAME/raw of it: pairs of their folder and path.

    What lies in a folder of its own name, as some unpackers leave it, counts as if it lay in that one's place.
    """
    for entry in _visible(folder):
        path, name = folder / entry, _name_of(entry)
        if not os.path.isdir(path):
            if name or re.search(r'[-.]idx\d', entry):
                yield folder, path
        elif name:
            within = [path / inner for inner in _visible(path) if _name_of(inner) == name]
            yield from ((folder, file) for file in within or [path])
        elif depth == 0 or (depth == 1 and entry == 'raw'):
            with contextlib.suppress(OSError):  # the folder of something else
                yield from _idx_files(path, depth + 1)


def _present(folder):
    """Where a folder's data set is, and by their names the paths of those of the four files that are there.

    A file can have several paths, packed and unpacked.  Raises ``UsageError`` where the folder can't be read or holds
    more than one data set.
    """
    try:
        found = list(_idx_files(folder))
    except FileNotFoundError:
        found = []
    except OSError as error:
        raise UsageError('{}: can\'t be read ({}): give another folder to --data'.format(
            folder, error.strerror)) from error
    homes = {os.path.realpath(home): home for home, _ in found}  # links can lead twice to the same
    if len(homes) > 1:
        raise UsageError('{} holds more than one data set, in {}: give a folder of one alone to --data'.format(
            folder, ' and '.join(sorted(one_line(home) for home in homes.values()))))
    paths = {}
    for _, path in found:
        if _name_of(path.name):
            if not os.path.isfile(path):  # opening a named pipe would wait for ever
                raise UsageError('{}: {}'.format(
                    path, instead(path) or 'not a file: remove it, or give another folder to --data'))
            paths.setdefault(_name_of(path.name), []).append(path)
    return next(iter(homes.values()), folder), {name: paths[name] for name in CHECKSUMS if name in paths}


# ---- fetching

def fetch(
        folder: str | os.PathLike, mirrors: Sequence[str] = MIRRORS, checksums: Mapping[str, str] = CHECKSUMS) -> None:
    """Bring those of the four files that ``folder`` lacks from the first mirror, an address up to '/', that has them.

    Says what is read where the files lie or are called in another way.  A file gets its name only when it is whole and
    its checksum is right.  Raises ``UsageError`` where no mirror gives it, or where anything is there already but
    MNIST's own compressed files, so that what is fetched would not belong to it.
    """
    folder = pathlib.Path(folder)
    home, present = _present(folder)
    missing = [name for name in checksums if name not in present]
    if missing and not present:
        _check_empty(folder)
    for name, paths in present.items() if missing else ():
        for path in paths:
            if _checksum(path) != checksums[name]:
                raise UsageError(
                    '{}: not the compressed file of MNIST, so {} is not fetched beside it: add the missing file, '
                    'remove this one, or give another folder to --data'.format(path, missing[0]))
    for name in missing:
        _fetch_file(home / name, [mirror + name for mirror in mirrors], checksums[name])
    if any(paths[0] not in (folder / name, folder / name.removesuffix('.gz')) for name, paths in present.items()):
        print('Read from {}: {}'.format(printable(home), ', '.join(
            (present[name][0] if name in present else home / name).relative_to(home).as_posix() for name in checksums)))


def _check_empty(folder):
    """Raise ``UsageError`` where a folder holds anything but what an interrupted process left there."""
    if not folder.exists():
        return
    ours = {path.name for path, _ in leftovers(folder)}
    others = [entry for entry in _visible(folder) if entry not in ours]
    if others:
        raise UsageError(
            '{} holds {}, and none of {} (compressed or not): give the folder of these to --data, or a new one, into '
            'which MNIST is fetched{}'.format(
                folder, some(others), ', '.join(name.removesuffix('.gz') for name in CHECKSUMS),
                '; of EMNIST, name the four of one split so, t10k for test, and transpose their digits, which lie on '
                'their side' if any('emnist' in name.lower() for name in others) else ''))


def _checksum(path):
    try:
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    except OSError as error:
        raise UsageError('{}: can\'t be read ({}): remove it, or give another folder to --data'.format(
            path, error.strerror)) from error


def _fetch_file(path, addresses, checksum):
    reasons = []
    for address in addresses:
        try:
            content = _download(address, path.name)
        except BrokenPipeError:  # not the mirror's but standard output's: urllib wraps its own
            raise
        except (OSError, ValueError, http.client.HTTPException) as error:
            reasons.append('{}{}: {}'.format(address, _by_way_of(address), one_line(error) or type(error).__name__))
            if isinstance(error, urllib.error.HTTPError):
                error.close()  # it is an answer, too, whose connection would stay open
            continue
        if hashlib.md5(content, usedforsecurity=False).hexdigest() == checksum:
            break
        reasons.append('{}: {:,} bytes that are not the file (wrong checksum)'.format(address, len(content)))
    else:
        raise UsageError('{} is missing and can\'t be fetched ({}): put the four IDX files of MNIST there'.format(
            path, '; '.join(reasons)))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_atomically(path) as file:
            file.write(content)
    except OSError as error:
        raise UsageError('{}: can\'t be written ({}): give another folder to --data'.format(
            path, error.strerror)) from error


def _by_way_of(address):
    """Words for the proxy that leads to an address, without its user and password; empty where there is none."""
    parts = urllib.parse.urlsplit(address)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if not proxy or urllib.request.proxy_bypass(parts.netloc):
        return ''
    return ' through the proxy {}'.format(one_line(re.sub(r'^(.*://)?(.*@)?', '', proxy).rstrip('/')))


def _download(address, name):
    """The bytes at an address; says what is waited for and what comes, and on a terminal shows a progress bar."""
    print('Fetching {} from {}{} ...'.format(
        name, urllib.parse.urlsplit(address).hostname, _by_way_of(address)), flush=True)
    with urllib.request.urlopen(address, timeout=_SECONDS) as response:
        promised = int(response.headers.get('Content-Length') or 0)
        if promised > _LARGEST:
            raise ValueError('{:,} bytes promised'.format(promised))
        parts, size = [], 0
        with CountingBar('bytes') as bar:
            while size <= _LARGEST:
                part = response.read(1 << 16)
                if not part:
                    break
                parts.append(part)
                size += len(part)
                bar.update(size, size / promised if promised else 0)
    if promised and size != promised:
        raise ValueError('the connection ended after {:,} of {:,} bytes'.format(size, promised))
    return b''.join(parts)


# ---- the data set

class MNIST:
    """60,000 + 10,000 digits, or any data of the same form: 28×28 grey images with labels 0 to 9.

    Attributes:
        train_images, test_images: (N, 784) uint8.
        train_labels, test_labels: (N,) uint8.
        fingerprint (str): Says whether two folders hold the same.
        report (str): What the user should know of them; empty where that is nothing.
    """

    def __init__(self, folder: str | os.PathLike, batchsize: int = 1):
        """Read the four files.

        Raises ``UsageError`` where one of them is not what it should be, or where there are fewer training images than
        ``batchsize``.
        """
        folder = pathlib.Path(folder)
        home, present = _present(folder)
        missing = [name for name in CHECKSUMS if name not in present]
        if missing:
            raise UsageError('{} lacks {}: put the four IDX files there'.format(home, ', '.join(missing)))
        train_images, train_labels, test_images, test_labels = (present[name] for name in CHECKSUMS)
        self.train_images, self.train_labels = _read_pair(train_images, train_labels)
        self.test_images, self.test_labels = _read_pair(test_images, test_labels)
        if len(self.train_images) < batchsize:
            raise UsageError(
                '{} holds {:,} training images, fewer than a batch of {:,}: give a smaller --batchsize or another '
                'folder to --data'.format(folder, len(self.train_images), batchsize))
        notes = []
        brightest = max(self.train_images.max(), self.test_images.max())
        if brightest == 1:  # as of masks
            self.train_images, self.test_images = 255 * self.train_images, 255 * self.test_images
            notes.append('their values are 0 and 1, which is taken as white')
        elif brightest < 64:
            notes.append(
                'no value is above {} of 255, so the digits are dark: multiply the values, if their range is '
                'another'.format(brightest))
        if self._lies_on_its_side():
            notes.append('its ones are wider than high: EMNIST\'s digits lie on their side until they are transposed')
        self.report = '; '.join(notes)
        digest = hashlib.sha256()
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(str(array.shape).encode())
            digest.update(array.tobytes())
        self.fingerprint = digest.hexdigest()[:16]

    def _lies_on_its_side(self) -> bool:
        """Whether the ones among the training images are wider than high, as those of EMNIST are."""
        ones = self.train_images[self.train_labels == 1].reshape(-1, SIDE, SIDE).sum(axis=0, dtype=float)
        places = numpy.arange(SIDE)
        high, wide = (
            numpy.average((places - numpy.average(places, weights=ink)) ** 2, weights=ink)
            for ink in (ones.sum(axis=1) + 1e-9, ones.sum(axis=0) + 1e-9))
        return bool(wide > 2 * high)

    def sample(self, n: int, rng: numpy.random.Generator, binarized: bool = True) -> numpy.ndarray:
        """Draw n training images, or all where there are fewer, from a NumPy generator: (n, 784) float32 in 0…1.

        None is drawn twice.  ``binarized``: each pixel is drawn anew, 1 with the probability that is its value, else 0.
        """
        return self.sample_levels(n, rng, binarized).astype(numpy.float32) / 255

    def sample_levels(self, n: int, rng: numpy.random.Generator, binarized: bool = True) -> numpy.ndarray:
        """The same as uint8 in 0…255."""
        return _draw_levels(self.train_images, n, rng, binarized)

    def held_out(self, n: int, rng: numpy.random.Generator, binarized: bool = False) -> numpy.ndarray:
        """The same from the test images."""
        return _draw_levels(self.test_images, n, rng, binarized).astype(numpy.float32) / 255


def _draw_levels(images, n, rng, binarized):
    levels = images[rng.choice(len(images), min(n, len(images)), replace=False)]
    if binarized:
        shares = levels.astype(numpy.float32) / 255
        levels = numpy.uint8(255) * (rng.random(shares.shape, dtype=numpy.float32) < shares)
    return levels
