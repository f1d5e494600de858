"""One picture as 64×64 RGB: any size, mode and format that Pillow reads, on white, the middle square."""

import contextlib
import io
import logging
import os
import struct
import warnings
import zlib

import numpy
from PIL import Image, UnidentifiedImageError

from ddgm.support.errors import one_line

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

# Without a handler of its own, what Pillow logs of a damaged file would go to standard error.
logging.getLogger('PIL').addHandler(logging.NullHandler())


class Unsuitable(Exception):
    """A picture that is not damaged, but not wanted; the message is the reason that the user reads."""


class _File(io.BufferedReader):
    """An open file, of which a read takes no more memory than there is left, whatever a damaged header promises."""

    def read(self, size=-1):
        if size > _PART:
            size = max(0, min(size, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)


def decode(source):
    """Read one file, by its path or its bytes: its first frame, upright, on white, a PIL image of mode RGB.

    Raises whatever Pillow raises for a file that it can't read, and ``Unsuitable`` for a picture of a wrong size.
    """
    if not (isinstance(source, bytes) or os.path.isfile(source)):
        raise Unsuitable('not a file')  # a pipe would be waited for, a broken link has nothing to open
    # Opened here, not by Pillow, which maps some files into memory and leaves others open after an error.
    with io.BytesIO(source) if isinstance(source, bytes) else _File(io.FileIO(source)) as file:
        try:
            return _decode(file)
        except Unsuitable:
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
            raise Unsuitable('a PostScript program')  # Pillow would run it, in Ghostscript
        if min(picture.size) < _SMALLEST:
            raise Unsuitable('too small: {}×{} pixels'.format(*picture.size))
        if picture.width * picture.height > _LARGEST:
            raise Unsuitable('too large: {:,}×{:,} pixels'.format(*picture.size))
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
        raise Unsuitable('of floating-point numbers, whose range is not known')
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


# ---- whatever is in it

def reason_of(error):
    """Why a picture is left out, for an error that its decoding has raised."""
    if isinstance(error, Unsuitable):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return 'not a readable picture'
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return 'too large'
    if isinstance(error, OSError) and error.strerror:
        return 'can\'t be read: {}'.format(error.strerror)
    return 'damaged: {}'.format(one_line(error)[:80] or type(error).__name__)


@contextlib.contextmanager
def pillow_quiet():
    """A context in which Pillow says nothing of what it can still read, and raises where a picture is too large."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        warnings.simplefilter('error', Image.DecompressionBombWarning)
        yield


def outcome(source):
    """What a file comes to, by its path or its bytes: its pixels (3, 64, 64) uint8 as bytes, or why there are none."""
    try:
        return to_64x64(decode(source)).tobytes()
    except Exception as error:  # Pillow's decoders raise about anything
        return reason_of(error)


def read_pixels(path):
    """One picture file, upright and on white: (H, W, 3) uint8; raises ``ValueError`` with the reason for any other."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of what Pillow can still read
        try:
            return numpy.asarray(decode(path))
        except Exception as error:  # Pillow's decoders raise about anything
            raise ValueError(reason_of(error)) from error
