"""Pictures of every mode beside colours worked out by hand, and whatever else a folder can hold."""

import io
import os
import struct
import tracemalloc
import zlib

import numpy
import pytest
from conftest import ROOT, refusal
from PIL import Image, PngImagePlugin

from ddgm.data import picture_file
from ddgm.data.image_folder import ImageFolder

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def solid(colour, size=(64, 64), mode='RGB'):
    return Image.new(mode, size, colour)


def quarters(half=32, colours=(RED, GREEN, BLUE, BLACK)):
    """A square of four colours: top left, top right, bottom left, bottom right."""
    rows = numpy.array(colours, dtype=numpy.uint8).reshape(2, 2, 3)
    return Image.fromarray(rows.repeat(half, axis=0).repeat(half, axis=1))


def colours_of(image):
    """The colours in the middle of an image's quarters, as a list of four."""
    return [tuple(int(value) for value in image[:, y, x]) for y in (16, 48) for x in (16, 48)]


@pytest.fixture
def read(tmp_path):
    """Save a picture and read it back as ``ImageFolder`` does: (3, 64, 64)."""
    def read(picture, name='a.png', **options):
        picture.save(str(tmp_path / name), **options)
        return ImageFolder(tmp_path, 1).images[0]
    return read


@pytest.fixture
def folder(tmp_path):
    """Five pictures, each of one grey level: 10, 60, 110, 160, 210."""
    for level in range(10, 260, 50):
        solid((level,) * 3).save(str(tmp_path / '{:03}.png'.format(level)))
    return tmp_path


def refused(folder, minimum=2):
    """The line that the user reads."""
    message = refusal(ImageFolder, folder, minimum)
    assert message.startswith(str(folder))
    return message


def png(width, height, *chunks, depth=8, colour_type=2):
    """A PNG from its header and any chunks, each a name and its content."""
    header = struct.pack('>IIBBBBB', width, height, depth, colour_type, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))
        for name, content in [(b'IHDR', header), *chunks, (b'IEND', b'')])


# ---- modes

def test_attributes(folder):
    data = ImageFolder(folder)
    assert len(data) == 5
    assert data.images.shape == (5, 3, 64, 64)
    assert data.images.dtype == numpy.uint8
    assert data.paths == ['010.png', '060.png', '110.png', '160.png', '210.png']
    assert (data.images == numpy.arange(10, 260, 50).reshape(5, 1, 1, 1)).all()
    assert data.left_out == []
    assert data.report() == ''


@pytest.mark.parametrize('half', [4, 16, 64, 75, 320])
@pytest.mark.parametrize('name', ['a.png', 'a.jpg', 'a.webp', 'a.bmp', 'a.tif', 'a.tga', 'a.ppm'])
def test_solid_blocks_of_any_size(read, half, name):
    options = {'quality': 100} if name in ('a.jpg', 'a.webp') else {}
    # Enlarged, each block has the ripples of the filter.
    tolerance = 16 if half == 4 else 6 if options else 0
    image = read(quarters(half), name, **options)
    numpy.testing.assert_allclose(colours_of(image), [RED, GREEN, BLUE, BLACK], atol=tolerance)


def test_alpha_on_white(read):
    picture = quarters().convert('RGBA')
    alpha = numpy.repeat([0, 128, 255, 51], 32).reshape(2, 64).repeat(32, axis=0)
    picture.putalpha(Image.fromarray(alpha.astype(numpy.uint8)))
    assert colours_of(read(picture)) == [WHITE, (127, 255, 127), BLUE, (204, 204, 204)]


def test_grey(read):
    assert (read(solid(77, mode='L')) == 77).all()


@pytest.mark.parametrize(('depth', 'transparent'), [
    (depth, level) for depth in (1, 2, 4, 8, 16) for level in {0, 1, 2 ** depth // 3, 2 ** depth - 1}])
def test_grey_level_that_stands_for_transparent(tmp_path, depth, transparent):
    levels = 0, 2 ** depth // 3, 2 ** depth - 1, 1
    (tmp_path / 'a.png').write_bytes(png(
        64, 64, (b'tRNS', struct.pack('>H', transparent)), (b'IDAT', packed_quarters(levels, depth)), depth=depth,
        colour_type=0))
    expected = [round(level * 255 / (2 ** depth - 1)) for level in levels]
    assert colours_of(ImageFolder(tmp_path, 1).images[0]) == [
        WHITE if level == transparent else (grey,) * 3 for level, grey in zip(levels, expected)]


def packed_quarters(levels, depth):
    """The rows of a square of four levels, 64 pixels a side and ``depth`` bits a pixel, as a PNG holds them."""
    rows = ([left] * 32 + [right] * 32 for left, right in (levels[:2], levels[2:]))
    texts = [''.join('{:0{}b}'.format(level, depth) for level in row) for row in rows]
    return zlib.compress(b''.join(b'\0' + int(text, 2).to_bytes(8 * depth, 'big') for text in texts for _ in range(32)))


@pytest.mark.parametrize(('name', 'transparency', 'expected'), [
    ('a.png', None, [RED, GREEN, BLUE, BLACK]),
    ('a.png', 1, [RED, WHITE, BLUE, BLACK]),
    ('a.png', bytes([51, 255, 0, 128]), [(255, 204, 204), GREEN, WHITE, (127, 127, 127)]),
    ('a.gif', 1, [RED, WHITE, BLUE, BLACK]),
])
def test_palette(read, name, transparency, expected):
    picture = Image.fromarray(numpy.repeat([0, 1, 2, 3], 32).reshape(2, 64).repeat(32, axis=0).astype(numpy.uint8))
    picture.putpalette([*RED, *GREEN, *BLUE, *BLACK])
    assert picture.mode == 'P'
    options = {} if transparency is None else {'transparency': transparency}
    assert colours_of(read(picture, name, **options)) == expected


@pytest.mark.parametrize(('name', 'dtype'), [
    ('a.png', '<u2'), ('a.tif', '<u2'), ('a.tif', '>u2'), ('a.tif', '<i4')])
def test_sixteen_bits(read, name, dtype):
    """Scaled by 255/65535, where Pillow alone would clip to white."""
    levels = numpy.repeat([0, 257, 32768, 65535], 32).reshape(2, 64).repeat(32, axis=0)
    image = read(Image.fromarray(levels.astype(dtype)), name)
    assert colours_of(image) == [(0, 0, 0), (1, 1, 1), (128, 128, 128), (255, 255, 255)]


def test_more_than_sixteen_bits_is_white(read):
    assert (read(Image.fromarray(numpy.full((64, 64), 70_000, dtype=numpy.int32)), 'a.tif') == 255).all()


@pytest.mark.parametrize('depth', [8, 16])
@pytest.mark.parametrize(('transparent', 'expected'), [
    ((0x12, 0x56, 0x9a), [WHITE, BLUE, BLACK, RED]), ((0, 0, 0), [(0x12, 0x56, 0x9a), BLUE, WHITE, RED])])
def test_colour_of_any_depth_that_stands_for_transparent(tmp_path, depth, transparent, expected):
    colours = (0x12, 0x56, 0x9a), BLUE, BLACK, RED
    size = depth // 8
    rows = [b''.join(bytes([value] * size) for colour in pair for value in colour * 32) for pair in (
        colours[:2], colours[2:])]
    (tmp_path / 'a.png').write_bytes(png(
        64, 64, (b'tRNS', b''.join(bytes([value] * size).rjust(2, b'\0') for value in transparent)),
        (b'IDAT', zlib.compress(b''.join(b'\0' + row for row in rows for _ in range(32)))), depth=depth))
    assert colours_of(ImageFolder(tmp_path, 1).images[0]) == expected


@pytest.mark.parametrize(('mode', 'name', 'options'), [
    *((mode, name, options) for mode in ('RGBA', 'LA') for name, options in [
        ('a.png', {}), ('a.webp', {'lossless': True}), ('a.tif', {}), ('a.tif', {'compression': 'tiff_lzw'}),
        ('a.tga', {})]),
    ('RGBA', 'a.ico', {'sizes': [(64, 64)]}), ('RGBA', 'a.ico', {'sizes': [(64, 64)], 'bitmap_format': 'bmp'}),
    ('RGBA', 'a.sgi', {}), ('PA', 'a.tif', {})])
def test_opacities_of_every_format(read, mode, name, options):
    picture = quarters(colours=(BLACK, WHITE, BLACK, BLACK)).convert(mode)
    picture.putalpha(Image.fromarray(quarter_levels(0, 51, 51, 255)))
    assert colours_of(read(picture, name, **options)) == [WHITE, WHITE, (204,) * 3, BLACK]


def quarter_levels(*levels):
    return numpy.array(levels, dtype=numpy.uint8).reshape(2, 2).repeat(32, axis=0).repeat(32, axis=1)


def test_palette_with_opacities():
    """As some TGA files have; Pillow reads them since later than 9.1."""
    picture = solid(1, mode='P')
    picture.putpalette([*RED, 255, *BLUE, 51], 'RGBA')
    assert picture_file._on_white(picture).getpixel((0, 0)) == (204, 204, 255)


def test_floating_point_is_left_out(tmp_path):
    """Whether 1.0 is white or nearly black is not known."""
    Image.fromarray(numpy.full((64, 64), 0.5, dtype=numpy.float32)).save(tmp_path / 'a.tif')
    assert 'a.tif (of floating-point numbers' in refused(tmp_path)


def test_cmyk(read):
    assert colours_of(read(solid((0, 255, 255, 0), mode='CMYK'), 'a.tif')) == [RED] * 4
    numpy.testing.assert_allclose(
        colours_of(read(solid((0, 255, 255, 0), mode='CMYK'), 'a.jpg', quality=100)), [RED] * 4, atol=3)


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize(('name', 'options'), [
    ('a.png', {}), ('a.jpg', {}), ('a.webp', {'lossless': True}), ('a.tif', {}),
    ('a.tif', {'compression': 'tiff_lzw'})])  # which Pillow turns itself
def test_upright(read, orientation, name, options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    a, b, c, d = RED, GREEN, BLUE, BLACK
    expected = {1: [a, b, c, d], 2: [b, a, d, c], 3: [d, c, b, a], 4: [c, d, a, b],
                5: [a, c, b, d], 6: [c, a, d, b], 7: [d, b, c, a], 8: [b, d, a, c]}[orientation]
    image = read(quarters(), name, exif=exif.tobytes(), **options)
    numpy.testing.assert_allclose(colours_of(image), expected, atol=3 if name == 'a.jpg' else 0)


@pytest.mark.parametrize('exif', [
    # A width that is text, on which exif_transpose raises struct.error.
    struct.pack('<4sIHHHI4sHHI4sI', b'II*\0', 8, 2, 0x0100, 2, 4, b'abc\0', 0x0112, 3, 1, b'\6\0\0\0', 0),
    b'not EXIF', b'II*\0\xff\xff\xff\x7f'])
def test_damaged_exif_costs_no_picture(read, exif):
    image = read(quarters(), 'a.jpg', exif=b'Exif\0\0' + exif, quality=100)
    numpy.testing.assert_allclose(colours_of(image), [RED, GREEN, BLUE, BLACK], atol=3)


def test_exif_as_text_that_cannot_be_read_costs_no_picture(read):
    text = PngImagePlugin.PngInfo()
    text.add_text('Raw profile type exif', 'no hexadecimal digits,\nwhere\nthey\nbelong')
    assert colours_of(read(quarters(), pnginfo=text)) == [RED, GREEN, BLUE, BLACK]


@pytest.mark.parametrize('name', [b'IDAT', b'zTXt'])
def test_memory_follows_the_content(tmp_path, name):
    """A length of 4 GiB takes none, nor does a text that unpacks to much."""
    text = b'a\0\0' + zlib.compress(bytes(50_000_000))
    content = png(64, 64, (b'zTXt', text), (b'IDAT', packed_quarters((0, 77, 255, 1), 8)), colour_type=0)
    start = content.index(name)
    (tmp_path / 'a.png').write_bytes(content)
    (tmp_path / 'b.png').write_bytes(content[:start - 4] + b'\xff\xff\xff\xf0' + content[start:])
    tracemalloc.start()
    try:
        refused(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_memory_of_a_picture_that_is_read(tmp_path):
    """Where the pixels are all there, Pillow asks for the rest of a length of 4 GiB."""
    content = png(64, 64, (b'IDAT', packed_quarters((0, 77, 255, 1), 8)), colour_type=0)
    start = content.index(b'IDAT')
    (tmp_path / 'a.png').write_bytes(content[:start - 4] + b'\xff\xff\xff\xf0' + content[start:])
    tracemalloc.start()
    try:
        assert len(ImageFolder(tmp_path, 1)) == 1
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize('name', ['a.gif', 'a.png', 'a.webp'])
def test_first_frame(read, name):
    options = {'lossless': True} if name == 'a.webp' else {}
    image = read(quarters(), name, save_all=True, append_images=[solid(BLUE), solid(GREEN)], **options)
    assert colours_of(image) == [RED, GREEN, BLUE, BLACK]


@pytest.mark.parametrize('scale', [1, 2, 3])
def test_middle_square(read, scale):
    wide = solid(WHITE, (101 * scale, 64 * scale))
    wide.paste(quarters(32 * scale), (18 * scale, 0))
    assert colours_of(read(wide)) == [RED, GREEN, BLUE, BLACK]
    assert colours_of(read(wide.transpose(Image.Transpose.TRANSPOSE))) == [RED, BLUE, GREEN, BLACK]


@pytest.mark.parametrize(('height', 'width'), [(64, 64), (64, 100), (64, 101), (101, 64)])
def test_middle_square_of_the_exact_size_is_not_resampled(read, rng, height, width):
    noise = rng.integers(256, size=(height, width, 3), dtype=numpy.uint8)
    top, left = (height - 64) // 2, (width - 64) // 2
    numpy.testing.assert_array_equal(
        read(Image.fromarray(noise)), noise[top:top + 64, left:left + 64].transpose(2, 0, 1))


def test_large_jpeg_is_not_decoded_whole(tmp_path):
    quarters(1000).save(str(tmp_path / 'a.jpg'))
    assert picture_file.decode(tmp_path / 'a.jpg').picture.size == (500, 500)


# ---- folders

def test_sub_folders_in_an_order_of_their_own(tmp_path):
    names = ['a.png', 'B.png', 'b/c.png', 'b/a/z.png', 'a-1.png', 'a/1.png', 'ä.png']
    folders = tmp_path / '1', tmp_path / '2'
    for folder, order in zip(folders, (names, names[::-1])):
        for name in order:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            solid((10 * names.index(name),) * 3).save(str(folder / name))
    first, second = (ImageFolder(folder) for folder in folders)
    assert first.paths == second.paths == [
        'B.png', 'a-1.png', 'a.png', 'a/1.png', 'b/a/z.png', 'b/c.png', 'ä.png']
    assert [image[0, 0, 0] for image in first.images] == [10 * names.index(name) for name in first.paths]
    assert first.fingerprint == second.fingerprint


def test_hidden_ones_are_skipped(folder):
    (folder / '.DS_Store').write_bytes(b'text')
    (folder / '.cache').mkdir()
    solid(RED).save(str(folder / '.cache' / 'a.png'))
    data = ImageFolder(folder)
    assert len(data) == 5
    assert data.left_out == []


def test_links_to_folders_are_followed(folder, tmp_path_factory):
    """Those within linked folders too; and neither a circle nor a second way to a folder shows a picture twice."""
    other, third = tmp_path_factory.mktemp('other'), tmp_path_factory.mktemp('third')
    (other / 'sub').mkdir()
    for path, colour in ((other / 'a.png', RED), (other / 'sub' / 'b.png', GREEN), (third / 'c.png', BLUE)):
        solid(colour).save(str(path))
    before = ImageFolder(folder)
    (folder / 'again').symlink_to(folder, target_is_directory=True)
    (folder / 'itself').symlink_to('itself', target_is_directory=True)
    (folder / 'gone').symlink_to('nowhere', target_is_directory=True)
    data = ImageFolder(folder)
    assert data.fingerprint == before.fingerprint
    assert data.left_out == [('gone', 'not a file'), ('itself', 'not a file')]
    (folder / 'link').symlink_to(other, target_is_directory=True)
    (folder / 'more').symlink_to(other / 'sub', target_is_directory=True)
    (other / 'sub' / 'third').symlink_to(third, target_is_directory=True)
    (third / 'back').symlink_to(folder, target_is_directory=True)
    data = ImageFolder(folder)
    assert data.paths == [*before.paths, 'link/a.png', 'link/sub/b.png', 'link/sub/third/c.png']
    assert [tuple(image[:, 9, 9]) for image in data.images[5:]] == [RED, GREEN, BLUE]
    assert ImageFolder(third).paths == [
        *('back/' + path for path in before.paths), 'back/link/a.png', 'back/link/sub/b.png', 'c.png']


def test_relative_folder(folder, monkeypatch):
    (folder / 'sub').mkdir()
    solid(RED).save(str(folder / 'sub' / 'a.png'))
    monkeypatch.chdir(folder)
    assert ImageFolder('.').paths == ImageFolder(folder).paths
    assert ImageFolder('sub', 1).paths == ['a.png']


def test_fingerprint_says_whether_the_images_are_the_same(folder):
    before = ImageFolder(folder).fingerprint
    assert len(before) == 16
    assert ImageFolder(str(folder)).fingerprint == before
    (folder / 'notes.txt').write_text('not a picture')
    assert ImageFolder(folder).fingerprint == before
    solid((210, 211, 210)).save(str(folder / '210.png'))
    assert ImageFolder(folder).fingerprint != before


# ---- what is left out

def icon(content):
    """A Windows icon of, it says, 64×64 pixels around a PNG."""
    return struct.pack('<HHHBBBBHHII', 0, 1, 1, 64, 64, 0, 0, 1, 32, len(content), 22) + content


BAD_FILES = {
    'empty.png': (b'', 'not a readable picture'),
    'text.txt': (b'hello', 'not a readable picture'),
    'text.png': (b'hello', 'not a readable picture'),
    'corrupt.png': (png(64, 64, (b'IDAT', b'not compressed')), 'damaged: '),
    'large.png': (png(9000, 8000), 'too large: 9,000×8,000 pixels'),
    'pillow_warns.png': (png(10_000, 10_000), 'too large'),
    'pillow_refuses.png': (png(20_000, 20_000), 'too large'),
    'large_within.ico': (icon(png(10_000, 10_000)), 'too large'),
    'much_text.png': (png(64, 64, (b'zTXt', b'a\0\0' + zlib.compress(bytes(2_000_000)))), 'damaged: '),
    'drawing.eps': (
        b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n', 'a PostScript program'),
}


@pytest.mark.parametrize('name', BAD_FILES)
def test_bad_files_are_left_out(folder, name):
    content, reason = BAD_FILES[name]
    (folder / name).write_bytes(content)
    data = ImageFolder(folder)
    assert len(data) == 5
    (found, why), = data.left_out
    assert found == name
    assert why.startswith(reason)
    assert data.report() == '1 file left out: {} ({})'.format(name, why)


@pytest.mark.parametrize('name', ['a.png', 'a.jpg', 'a.gif', 'a.webp', 'a.tif', 'a.bmp'])
def test_truncated_files_are_left_out(folder, rng, name):
    content = io.BytesIO()
    Image.fromarray(rng.integers(256, size=(64, 64, 3), dtype=numpy.uint8)).save(content, Image.registered_extensions()[
        os.path.splitext(name)[1]])
    content = content.getvalue()
    (folder / name).write_bytes(content)
    assert len(ImageFolder(folder)) == 6
    for share in (0.02, 0.5, 0.9):
        (folder / name).write_bytes(content[:int(share * len(content))])
        data = ImageFolder(folder)
        assert len(data) == 5
        assert [path for path, reason in data.left_out] == [name]


@pytest.mark.parametrize('size', [(1, 1), (7, 64), (64, 7)])
def test_small_pictures_are_left_out(folder, size):
    solid(RED, size).save(str(folder / 'a.png'))
    assert ImageFolder(folder).left_out == [('a.png', 'too small: {}×{} pixels'.format(*size))]
    solid(RED, (8, 8)).save(str(folder / 'a.png'))
    assert ImageFolder(folder).left_out == []


@pytest.mark.parametrize('error', [
    OSError, SyntaxError, ValueError, struct.error, EOFError, TypeError, IndexError, KeyError, zlib.error,
    OverflowError, MemoryError, AttributeError, RuntimeError, AssertionError, RecursionError])
def test_any_error_of_a_decoder_leaves_out_the_file(folder, monkeypatch, error):
    def load(self):
        raise error('of several\n lines, and \x1b[31mred' + 100 * ' and long')
    monkeypatch.setattr(PngImagePlugin.PngImageFile, 'load', load)
    solid(RED).save(str(folder / 'a.bmp'))
    data = ImageFolder(folder, 1)
    assert data.paths == ['a.bmp']
    assert len(data.left_out) == 5
    path, reason = data.left_out[0]
    assert path == '010.png'
    assert reason.startswith('damaged: ')
    assert 'of several' in reason
    assert len(reason) < 100
    assert data.report().isprintable()


def test_interruption_is_not_an_error_of_a_decoder(folder, monkeypatch):
    def load(self):
        raise KeyboardInterrupt
    monkeypatch.setattr(PngImagePlugin.PngImageFile, 'load', load)
    with pytest.raises(KeyboardInterrupt):
        ImageFolder(folder)


def test_what_is_no_file_is_left_out(folder):
    os.mkfifo(str(folder / 'pipe.png'))
    (folder / 'broken.png').symlink_to('nowhere')
    assert ImageFolder(folder).left_out == [('broken.png', 'not a file'), ('pipe.png', 'not a file')]


def test_sub_folder_that_cannot_be_read_is_left_out(folder, monkeypatch):
    (folder / 'locked').mkdir()
    (folder / 'a.txt').write_text('text')
    forbid(monkeypatch, folder / 'locked')
    data = ImageFolder(folder)
    assert len(data) == 5
    assert data.left_out == [('a.txt', 'not a readable picture'), ('locked', 'can\'t be read: Permission denied')]


def forbid(monkeypatch, folder):
    """Let a folder be unreadable, for root as well."""
    scandir = os.scandir

    def scan(path='.'):
        if os.fspath(path) == str(folder):
            raise PermissionError(13, 'Permission denied', str(path))
        return scandir(path)
    monkeypatch.setattr(os, 'scandir', scan)


def test_report_names_five(folder):
    for letter in 'gfedcba':
        (folder / (letter + '.txt')).write_text('text')
    (folder / 'h.txt').write_text('version https://git-lfs')
    assert ImageFolder(folder).report() == (
        '8 files left out: a.txt, b.txt, c.txt, d.txt, e.txt and 2 more (not a readable picture), '
        'h.txt (a pointer of Git LFS: "git lfs pull" brings the file)')


@pytest.mark.parametrize('name', [b'two\nlines', b'\x1b[31mred', b'\xff\xfe'])
def test_report_is_a_line_whatever_the_names(folder, name):
    with open(os.path.join(os.fsencode(str(folder)), name), 'wb'):
        pass
    report = ImageFolder(folder).report()
    assert report.isprintable()
    assert report.encode()


# ---- refusals

@pytest.mark.parametrize(('files', 'path', 'line'), [
    ([], 'a', '{} can\'t be read (No such file or directory): give a folder of pictures to --data'),
    (['a'], 'a', '{} is neither a folder nor a sound .zip or .tar: give one of these with pictures to --data'),
    (['.hidden'], '', '{} holds no files: give a folder of pictures to --data'),
    (['b.txt', 'a.txt'], '',
     '{} holds no picture that can be read (2 files left out: a.txt, b.txt (not a readable picture)): give a folder '
     'of pictures to --data')])
def test_refusals(tmp_path, files, path, line):
    (tmp_path / 'sub').mkdir()
    for name in files:
        (tmp_path / name).write_text('text')
    assert refused(tmp_path / path) == line.format(tmp_path / path)


def test_folder_that_cannot_be_read(folder, monkeypatch):
    forbid(monkeypatch, folder)
    assert refused(folder) == (
        '{} can\'t be read (Permission denied): give a folder of pictures to --data'.format(folder))


def test_fewer_than_a_batch(folder):
    assert refused(folder, 64) == (
        '{} holds 5 pictures, fewer than a batch of 64: add pictures or give a smaller --batchsize'.format(folder))
    (folder / 'a.txt').write_text('text')
    assert refused(folder, 6) == (
        '{} holds 5 pictures, fewer than a batch of 6 (1 file left out: a.txt (not a readable picture)): add pictures '
        'or give a smaller --batchsize'.format(folder))
    assert len(ImageFolder(folder, 5)) == 5


# ---- samples

def test_sample(folder):
    data = ImageFolder(folder)
    x = data.sample(3, numpy.random.default_rng(7))
    assert x.shape == (3, 3, 64, 64)
    assert x.dtype == numpy.float32
    numpy.testing.assert_array_equal(x, data.sample(3, numpy.random.default_rng(7)))
    draws = [data.sample(3, numpy.random.default_rng(seed))[:, 0, 0, 0] for seed in range(20)]
    assert len({tuple(draw) for draw in draws}) > 5
    assert all(len(set(draw)) == 3 for draw in draws)


@pytest.mark.parametrize('n', [5, 6])
def test_sample_of_all_is_all_in_0_to_1(folder, rng, n):
    solid(WHITE).save(str(folder / '010.png'))
    solid(BLACK).save(str(folder / '060.png'))
    x = ImageFolder(folder).sample(n, rng)
    assert (x == x[:, :1, :1, :1]).all()
    numpy.testing.assert_allclose(numpy.sort(x[:, 0, 0, 0]), numpy.array([0, 110, 160, 210, 255]) / 255, rtol=1e-6)


# ---- real pictures

def test_icons():
    """Runs and snapshots name their data by the fingerprint, so it is the same for ever."""
    icons = ROOT.parent / 'shared' / 'data' / 'icons'
    if not icons.is_dir():
        pytest.skip('{} is not there: pictures of 128×128 RGBA'.format(icons))
    data = ImageFolder(icons, 64)
    assert len(data) == 686
    assert data.left_out == []
    # Transparent corners, whatever colour lies beneath.
    assert (data.images[:, :, [0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()
    assert data.fingerprint == '7b2e962349598fd5'
