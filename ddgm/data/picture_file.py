"""One picture as 64×64 RGB: any size, mode and format that Pillow reads, on white, the middle square."""

from __future__ import annotations

import collections
import collections.abc
import contextlib
import io
import logging
import os
import warnings

import numpy
from PIL import Image, ImageOps, UnidentifiedImageError

from ddgm.support.errors import one_line

SIDE = 64
_SMALLEST = 8  # pixels along a side
_LARGEST = 64_000_000  # pixels; a few bytes of header can promise any number
# Where a PNG calls a grey level or colour transparent, what Pillow multiplies its pixels by in loading, but not that
# level or colour: few bits are spread over 0…255, of 16 the lower half is cut off.
_SCALES = {'L;2': 85, 'L;4': 17, 'RGB;16B': 1 / 256}

# Without a handler of its own, what Pillow logs of a damaged file would go to standard error.
logging.getLogger('PIL').addHandler(logging.NullHandler())

# A file among pictures: its relative path, a function that returns its path or its bytes, or raises ``Unsuitable``, and
# the share of all that is read once it is.
PictureFile = collections.namedtuple('PictureFile', 'name read share')


class Unsuitable(Exception):
    """A picture that is not damaged, but not wanted; the message is the reason that the user reads."""


def decode(source: str | os.PathLike | bytes) -> Image.Image:
    """Read one file, by its path or its bytes: its first frame, upright, on white, a PIL image of mode RGB.

    Raises whatever Pillow raises for a file that it can't read, and ``Unsuitable`` for a picture of a wrong size.
    """
    if not (isinstance(source, bytes) or os.path.isfile(source)):
        raise Unsuitable('not a file')  # a pipe would be waited for, a broken link has nothing to open
    # Opened here, not by Pillow, which maps some files into memory and leaves others open after an error.
    with io.BytesIO(source) if isinstance(source, bytes) else open(source, 'rb') as file, Image.open(file) as picture:
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


def _scale_transparent_colour(picture):
    """Let the colour that stands for transparent in a PNG that is not loaded yet be what its pixels will be."""
    scale = _SCALES.get(picture.tile[0][3]) if picture.tile else None
    colour = picture.info.get('transparency')
    if scale is not None and colour is not None:
        picture.info['transparency'] = (
            tuple(int(scale * level) for level in colour) if isinstance(colour, tuple) else scale * colour)


def _upright(picture):
    if picture.format == 'TIFF':
        return picture  # Pillow has turned it in loading, and older releases don't remember that
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:
        return picture  # the pixels are sound, only what is said about them is damaged


def _on_white(picture):
    if picture.mode == 'F':
        raise Unsuitable('of floating-point numbers, whose range is not known')
    if picture.mode.startswith('I'):
        picture = _from_16_bits(picture)
    # A palette's colours can have an opacity each; elsewhere one colour can stand for transparent.
    if not (picture.mode == 'P' or picture.getbands()[-1] == 'A' or 'transparency' in picture.info):
        return picture.convert('RGB')
    picture = picture.convert('RGBA')
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


def to_64x64(picture: Image.Image) -> numpy.ndarray:
    """The middle square of a PIL image of mode RGB: (3, 64, 64) uint8."""
    # ``ImageOps.fit`` would cut between two pixels where an odd number is too many, and blur what has the size already.
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    small = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))
    return numpy.asarray(small).transpose(2, 0, 1)


# ---- whatever is in it

def _reason_of(error):
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
def pillow_ready() -> collections.abc.Iterator[None]:
    """A context in which threads can decode, and Pillow warns of nothing, but raises where a picture is too large."""
    Image.init()  # all formats, which a thread would not wait for while another one loads them
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        warnings.simplefilter('error', Image.DecompressionBombWarning)
        yield


def outcome(source: str | os.PathLike | bytes) -> bytes | str:
    """What a file comes to, by its path or its bytes: its pixels (3, 64, 64) uint8 as bytes, or why there are none."""
    try:
        return to_64x64(decode(source)).tobytes()
    except Exception as error:  # Pillow's decoders raise about anything
        return _reason_of(error)


def read_pixels(path: str | os.PathLike) -> numpy.ndarray:
    """One picture file, upright and on white: (H, W, 3) uint8; raises ``ValueError`` with the reason for any other."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of what Pillow can still read
        try:
            return numpy.asarray(decode(path))
        except Exception as error:  # Pillow's decoders raise about anything
            raise ValueError(_reason_of(error)) from error
