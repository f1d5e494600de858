"""A folder of pictures as 64×64 RGB: any size, mode and format that Pillow reads, on white, the middle square."""

import hashlib
import io
import logging
import os
import pathlib
import struct
import warnings
import zlib

import numpy
from PIL import Image, UnidentifiedImageError

from ddgm.support.errors import UsageError, counted, one_line, some

SIDE = 64
_SMALLEST = 8  # pixels along a side
_LARGEST = 64_000_000  # pixels; a few bytes of header can promise any number
_PART = 1 << 20  # bytes that are read without a look at how many there are
_ORIENTATION = 0x0112  # the EXIF tag; what to do for each of its values
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# By how a PNG's pixels are stored: from the grey level or colour channel that it calls transparent to what Pillow makes
# of such a pixel.  It spreads few bits over 0…255 and cuts off the lower half of 16; bits beyond these mean nothing.
_AS_DECODED = {
    'L;2': lambda level: (level & 3) * 85,
    'L;4': lambda level: (level & 15) * 17,
    'L': lambda level: level & 255,
    'RGB': lambda level: level & 255,
    'RGB;16B': lambda level: level >> 8,
}
_PNG = b'\x89PNG\r\n\x1a\n'
_CURE = 'give a folder of pictures to --data'

# Without a handler of its own, what Pillow logs of a damaged file would go to standard error.
logging.getLogger('PIL').addHandler(logging.NullHandler())


class _Unsuitable(Exception):
    """A picture that is not damaged, but not wanted; the message is the reason that the user reads."""


# ---- one picture

class _File(io.BufferedReader):
    """An open file, of which a read takes no more memory than there is left, whatever a damaged header promises."""

    def read(self, size=-1):
        if size > _PART:
            size = max(0, min(size, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)


def decode(path):
    """Read one file: its first frame, upright, on white, as a PIL image of mode RGB and of any size.

    Raises whatever Pillow raises for a file that it can't read, and ``_Unsuitable`` for a picture of a wrong size.
    """
    if not os.path.isfile(path):
        raise _Unsuitable('not a file')  # a pipe would be waited for, a broken link has nothing to open
    # Opened here, not by Pillow, which maps some files into memory and leaves others open after an error.
    with _File(io.FileIO(path)) as file:
        try:
            return _decode(file)
        except _Unsuitable:
            raise
        except Exception:
            file.seek(0)
            if file.read(len(_PNG)) != _PNG:
                raise
            pixels = _pixels_alone(file)  # they may be sound
    return _decode(pixels)


def _decode(file):
    with Image.open(file) as picture:
        if picture.format == 'EPS':
            raise _Unsuitable('a PostScript program')  # Pillow would run it, in Ghostscript
        if min(picture.size) < _SMALLEST:
            raise _Unsuitable('too small: {}×{} pixels'.format(*picture.size))
        if picture.width * picture.height > _LARGEST:
            raise _Unsuitable('too large: {:,}×{:,} pixels'.format(*picture.size))
        if picture.format == 'PNG':
            _scale_transparent_colour(picture)
        # A large JPEG is decoded at a fraction of its size, still fine enough for the filter to come.
        picture.draft(None, (4 * SIDE, 4 * SIDE))
        picture.load()
        return _on_white(_upright(picture))


def _pixels_alone(file):
    """A PNG without what surrounds its pixels, where Pillow stops at damage and at texts that unpack to more than 1 MB.

    ``file`` is open behind the signature.  Orientation stays where it is sound.
    """
    kept = [_PNG]
    while len(header := file.read(8)) == 8:
        length, name = struct.unpack('>I4s', header)
        if name not in (b'IHDR', b'PLTE', b'tRNS', b'IDAT', b'IEND', b'eXIf'):
            file.seek(length + 4, os.SEEK_CUR)
            continue
        content, checksum = file.read(length), file.read(4)
        if name != b'eXIf' or zlib.crc32(name + content) == int.from_bytes(checksum, 'big'):
            kept += header, content, checksum
    return io.BytesIO(b''.join(kept))


def _scale_transparent_colour(picture):
    """Let the colour that stands for transparent in a PNG that is not loaded yet be what its pixels will be."""
    scale = _AS_DECODED.get(picture.tile[0][3]) if picture.tile else None
    colour = picture.info.get('transparency')
    if scale and colour is not None:
        picture.info['transparency'] = tuple(map(scale, colour)) if isinstance(colour, tuple) else scale(colour)


def _upright(picture):
    """What ``ImageOps.exif_transpose`` does, which also rewrites the EXIF and stops at any damage there."""
    if picture.format == 'TIFF':
        return picture  # Pillow has turned it in loading
    try:
        turn = _TURNS.get(picture.getexif().get(_ORIENTATION))
    except Exception:
        turn = None  # the pixels are sound, only what is said about them is damaged
    return picture if turn is None else picture.transpose(turn)


def _on_white(picture):
    if picture.mode == 'F':
        raise _Unsuitable('of floating-point numbers, whose range is not known')
    if picture.mode.startswith('I'):
        picture = _from_16_bits(picture)
    # A palette's colours can have an opacity each; elsewhere one colour can stand for transparent.
    if not (picture.mode == 'P' or picture.getbands()[-1] in ('A', 'a') or 'transparency' in picture.info):
        return picture.convert('RGB')
    picture = (picture.convert('LA') if picture.mode == 'La' else picture).convert('RGBA')
    white = Image.new('RGB', picture.size, 'white')
    white.paste(picture, mask=picture)
    return white


def _from_16_bits(picture):
    """Grey levels from 0…65535 to 0…255, which Pillow would clip instead."""
    values = numpy.asarray(picture.convert('I')).clip(0, 65535)
    grey = Image.fromarray(((values + 128) // 257).astype(numpy.uint8))
    if 'transparency' in picture.info:
        opaque = values != picture.info['transparency']
        grey.putalpha(Image.fromarray(opaque.astype(numpy.uint8) * 255))
    return grey


def to_64x64(picture):
    """The middle square of a PIL image of mode RGB: (3, 64, 64) uint8."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    small = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))
    return numpy.asarray(small).transpose(2, 0, 1)


# ---- the files

def folders_of(folder):
    """The folder itself and those that links in it lead to: what lies in one of them, and is not hidden, is read."""
    try:
        return _files_of(folder)[2]
    except UsageError:
        return [folder]  # whoever reads it says why that can't be


def _files_of(folder):
    """The relative paths of all files, sorted, those of sub-folders that can't be read, with the reason, and folders.

    The folders are this one and those that links lead to.
    """
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise UsageError('{} can\'t be read ({}): {}'.format(one_line(folder), error.strerror, _CURE)) from error
    tops, seen, paths, errors = [folder], set(), [], []
    for top in tops:  # first the folder itself, then where the links in it lead, and those in there
        for parent, subfolders, names in os.walk(top, onerror=errors.append):
            real = os.path.realpath(parent)
            if real in seen:  # a link back up, or a second one
                subfolders.clear()
                continue
            seen.add(real)
            subfolders[:] = sorted(name for name in subfolders if not name.startswith('.'))
            parent = pathlib.Path(parent)
            tops += [parent / name for name in subfolders if (parent / name).is_symlink()]
            parent = parent.relative_to(folder)
            paths += [(parent / name).as_posix() for name in names if not name.startswith('.')]
    unread = [(pathlib.Path(error.filename).relative_to(folder).as_posix(), _reason(error)) for error in errors]
    return sorted(paths), unread, tops


def _reason(error):
    if isinstance(error, _Unsuitable):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return 'not a readable picture'
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return 'too large'
    if isinstance(error, OSError) and error.strerror:
        return 'can\'t be read: {}'.format(error.strerror)
    return 'damaged: {}'.format(one_line(error)[:80] or type(error).__name__)


def read_pixels(path):
    """One picture file, upright and on white: (H, W, 3) uint8; raises ``ValueError`` with the reason for any other."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of what Pillow can still read
        try:
            return numpy.asarray(decode(path))
        except Exception as error:  # Pillow's decoders raise about anything
            raise ValueError(_reason(error)) from error


# ---- the data set

class ImageFolder:
    """The pictures in a folder, its sub-folders and those that links lead to, each once, without what is hidden.

    Attributes:
        images: (N, 3, 64, 64) uint8.
        paths (list of str): Where each image came from, relative to the folder; sorted.
        left_out (list of (str, str)): Relative path and reason of each file that is not among them.
        fingerprint (str): Says whether two folders hold the same.
    """

    def __init__(self, folder, batchsize=2):
        """Read all pictures; what can't be read is left out.

        Raises ``UsageError`` where the folder can't be read, or where fewer than ``batchsize`` pictures are in it.
        """
        folder = pathlib.Path(folder)
        paths, self.left_out, _ = _files_of(folder)
        self.paths, pixels = [], bytearray()
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of what Pillow can still read
            warnings.simplefilter('error', Image.DecompressionBombWarning)
            for path in paths:
                try:
                    image = to_64x64(decode(folder / path))
                except Exception as error:  # Pillow's decoders raise about anything
                    self.left_out.append((path, _reason(error)))
                else:
                    self.paths.append(path)
                    pixels += image.tobytes()
        self.left_out.sort()
        self._check(folder, batchsize)
        self.images = numpy.frombuffer(pixels, dtype=numpy.uint8).reshape(-1, 3, SIDE, SIDE)
        self.fingerprint = hashlib.sha256(pixels).hexdigest()[:16]

    def _check(self, folder, batchsize):
        folder = one_line(folder)
        report = self.report()
        if not self.paths and not self.left_out:
            raise UsageError('{} holds no files: {}'.format(folder, _CURE))
        if not self.paths:
            raise UsageError('{} holds no picture that can be read ({}): {}'.format(folder, report, _CURE))
        if len(self.paths) < batchsize:
            raise UsageError(
                '{} holds {}, fewer than a batch of {:,}{}: add pictures or give a smaller --batchsize'.format(
                    folder, counted(len(self.paths), 'picture'), batchsize, report and ' ({})'.format(report)))

    def __len__(self):
        return len(self.images)

    def report(self):
        """The line that tells the user which files were left out and why; empty where none was."""
        if not self.left_out:
            return ''
        return '{} left out: {}'.format(counted(len(self.left_out), 'file'), some(
            '{} ({})'.format(path, reason) for path, reason in self.left_out))

    def sample(self, n, rng):
        """Draw n images, or all where there are fewer, from a NumPy generator: (n, 3, 64, 64) float32 in 0…1.

        None is drawn twice.
        """
        return self.images[rng.choice(len(self), min(n, len(self)), replace=False)].astype(numpy.float32) / 255
