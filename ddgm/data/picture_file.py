"""One picture as a square of pixels: any size, mode and format that Pillow reads, on white, its middle."""

from __future__ import annotations

import collections
import collections.abc
import contextlib
import io
import logging
import os
import typing
import warnings

import numpy
from PIL import Image, ImageOps, UnidentifiedImageError

from ddgm.support.errors import one_line
from ddgm.support.files import instead

_SMALLEST = 8  # pixels along a side
_LARGEST = 64_000_000  # pixels; a few bytes of header can promise any number
# Where a PNG calls a grey level or colour transparent, what Pillow multiplies its pixels by in loading, but not that
# level or colour: few bits are spread over 0…255, of 16 the lower half is cut off.
_SCALES = {'L;2': 85, 'L;4': 17, 'RGB;16B': 1 / 256}

WHITE = {8: 255, 16: 65535}  # by the bits of a number

# Without a handler of its own, what Pillow logs of a damaged file would go to standard error.
logging.getLogger('PIL').addHandler(logging.NullHandler())

# A file among pictures: its relative path, a function that returns its path, its bytes or a PIL image, or raises
# ``Unsuitable``, and the share of all that is read once it is.
PictureFile = collections.namedtuple('PictureFile', 'name read share')


class Unsuitable(Exception):
    """A picture that is not damaged, but not wanted; the message is the reason that the user reads."""


class _Reader(io.BufferedReader):
    """A file that takes memory for no more bytes than it has, however many a damaged header has Pillow ask for."""

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, os.fstat(self.fileno()).st_size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))


class Decoded(typing.NamedTuple):
    """What a file holds.

    Attributes:
        picture (Image.Image): Its first frame, upright, on white, of mode RGB.
        side (int): The shorter side in the file, in pixels.
        bits (int): 8 or 16, of the file's numbers.
        brightest (int): The largest of these.
    """

    picture: Image.Image
    side: int
    bits: int
    brightest: int


def decode(
        source: str | os.PathLike | bytes | Image.Image, finest: int = 256,
        white: collections.abc.Mapping[int, int] = WHITE) -> Decoded:
    """Read one file, by its path or its bytes; a PIL image stands for a file as well.

    Args:
        source: One of these.
        finest (int): Pixels of a side of a JPEG that are enough, so that a large one is decoded more quickly.
        white: By bits the number that stands for white.

    Raises whatever Pillow raises for a file that it can't read, and ``Unsuitable`` for a picture of a wrong size.
    """
    if isinstance(source, Image.Image):
        return _decoded(source, finest, white)
    if not (isinstance(source, bytes) or os.path.isfile(source)):
        raise Unsuitable(instead(source) or 'not a file')  # a pipe would be waited for
    # Opened here, not by Pillow, which maps some files into memory and leaves others open after an error.
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else _Reader(io.FileIO(source)) as file, \
                Image.open(file) as picture:
            return _decoded(picture, finest, white)
    except UnidentifiedImageError as error:
        raise Unsuitable(instead(source) or 'not a readable picture') from error


def _decoded(picture, finest, white):
    side = min(picture.size)
    if picture.format == 'EPS':
        raise Unsuitable('a PostScript program')  # Pillow would run it, in Ghostscript
    if side < _SMALLEST:
        raise Unsuitable('too small: {}×{} pixels'.format(*picture.size))
    if picture.width * picture.height > _LARGEST:
        raise Unsuitable('too large: {:,}×{:,} pixels'.format(*picture.size))
    if picture.format == 'PNG':
        _scale_transparent_colour(picture)
    picture.draft(None, (finest, finest))
    picture.load()
    picture = _upright(picture)
    if picture.mode == 'F':
        raise Unsuitable('of floating-point numbers, whose range is not known')
    if picture.mode.startswith('I'):
        picture, brightest = _from_16_bits(picture, white[16])
        return Decoded(_on_white(picture), side, 16, brightest)
    picture = _on_white(picture)
    brightest = max(high for _, high in picture.getextrema())
    if white[8] < 255:
        picture = picture.point([min(255, 255 * level // white[8]) for level in range(256)] * 3)
    return Decoded(picture, side, 8, brightest)


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
    # A palette's colours can have an opacity each; elsewhere one colour can stand for transparent.
    if not (picture.mode == 'P' or picture.getbands()[-1] == 'A' or 'transparency' in picture.info):
        return picture.convert('RGB')
    picture = picture.convert('RGBA')
    white = Image.new('RGB', picture.size, 'white')
    white.paste(picture, mask=picture)
    return white


def _from_16_bits(picture, white):
    """Grey levels from 0 to ``white`` as 0…255, where Pillow would clip 0…65535 instead; and the brightest of them."""
    values = numpy.asarray(picture.convert('I')).clip(0, WHITE[16])
    grey = Image.fromarray(((255 * values.clip(0, white) + white // 2) // white).astype(numpy.uint8))
    if 'transparency' in picture.info:
        opaque = values != picture.info['transparency']
        grey.putalpha(Image.fromarray(opaque.astype(numpy.uint8) * 255))
    return grey, int(values.max())


def to_square(picture: Image.Image, size: int) -> Image.Image:
    """The middle square of a PIL image of mode RGB, ``size`` pixels a side."""
    # ``ImageOps.fit`` would cut between two pixels where an odd number is too many, and blur what has the size already.
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.resize((size, size), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))


# ---- whatever is in it

def _reason_of(error):
    """Why a picture is left out, for an error that its decoding has raised."""
    if isinstance(error, Unsuitable):
        return str(error)
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


class Outcome(typing.NamedTuple):
    """What a picture comes to.

    Attributes:
        pixels (numpy.ndarray): (3, size, size) uint8, or (1, size, size) where grey was asked for.
        is_grey (bool): Whether it has no colours.
        side, bits, brightest: Those of :class:`Decoded`.
    """

    pixels: numpy.ndarray
    is_grey: bool
    side: int
    bits: int
    brightest: int


def outcome(
        source: str | os.PathLike | bytes | Image.Image, size: int, grey: bool,
        white: collections.abc.Mapping[int, int] = WHITE) -> Outcome | str:
    """What a file comes to, or why it comes to nothing.

    Args:
        source, white: See :func:`decode`.
        size (int): Of a side of the pixels.
        grey (bool): Whether these are to be grey levels.
    """
    try:
        picture, *facts = decode(source, 4 * size, white)  # still fine enough for the filter to come
        small = to_square(picture, size)
        pixels = numpy.asarray(small).transpose(2, 0, 1)
        is_grey = bool((pixels == pixels[:1]).all())
        return Outcome(numpy.asarray(small.convert('L'))[None] if grey else pixels, is_grey, *facts)
    except Exception as error:  # Pillow's decoders raise about anything
        return _reason_of(error)


def read_pixels(path: str | os.PathLike) -> numpy.ndarray:
    """One picture file, upright and on white: (H, W, 3) uint8; raises ``ValueError`` with the reason for any other."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of what Pillow can still read
        try:
            return numpy.asarray(decode(path).picture)
        except Exception as error:  # Pillow's decoders raise about anything
            raise ValueError(_reason_of(error)) from error
