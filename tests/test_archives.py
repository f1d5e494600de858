"""Archives of pictures: the same pictures as unpacked, whatever packed them, and a line for each that is damaged."""

import gzip
import io
import os
import pickle
import shutil
import struct
import tarfile
import zipfile

import numpy
import pytest
from conftest import refusal
from PIL import Image

from ddgm.data import archives, picture_cache
from ddgm.data.image_folder import ImageFolder
from ddgm.prepare.__main__ import main as prepare

N = 12
KINDS = 'faces.zip', 'stored.zip', 'faces.tar', 'faces.tar.gz', 'faces.tgz', 'faces.tar.bz2', 'faces.tar.xz'


@pytest.fixture
def folder(tmp_path, rng):
    """Pictures in two sub-folders, hidden files, and what is no picture."""
    folder = tmp_path / 'faces'
    for i in range(N):
        path = folder / 'ba'[i % 2] / '{:02}.{}'.format(N - i, ('png', 'jpg')[i % 2])
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(256, size=(70, 64 + i, 3), dtype=numpy.uint8)).save(path)
    for name in ('.DS_Store', '.hidden/a.png', '__MACOSX/a/._02.png'):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / 'b' / '12.png', folder / name)
    (folder / 'notes.txt').write_text('text')
    return folder


def packed(folder, path, names=None):
    """An archive of a folder, in an order that is not that of the names."""
    files = [file.relative_to(folder).as_posix() for file in folder.rglob('*') if file.is_file()]
    names = names or sorted(files, key=lambda name: name[::-1])
    if path.suffix == '.zip':
        method = zipfile.ZIP_STORED if 'stored' in path.name else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(path, 'w', method) as archive:
            for name in names:
                archive.write(folder / name, name)
    else:
        with tarfile.open(path, 'w:' + {'.tar': '', '.tgz': 'gz'}.get(path.suffix, path.suffix[1:])) as archive:
            for name in names:
                archive.add(folder / name, name)
    return path


@pytest.fixture
def plain(folder):
    """What the unpacked folder holds."""
    shutil.rmtree(folder / '__MACOSX')
    data = ImageFolder(folder, cache=picture_cache.NONE)
    assert len(data) == N
    return data


def assert_same(data, plain):
    numpy.testing.assert_array_equal(data.images, plain.images)
    assert (data.paths, data.left_out, data.fingerprint) == (plain.paths, plain.left_out, plain.fingerprint)


@pytest.fixture
def cached(monkeypatch):
    """All decoding takes long enough for a cache."""
    monkeypatch.setattr(picture_cache, '_LONG', 0)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.usefixtures('cached')
def test_the_same_as_unpacked(folder, tmp_path, kind, request, monkeypatch):
    """With a cache and without; the second start does not read the archive."""
    path = packed(folder, tmp_path / kind)
    plain = request.getfixturevalue('plain')
    assert_same(ImageFolder(path, cache=picture_cache.NONE), plain)
    assert_same(ImageFolder(path, cache=tmp_path / 'cache'), plain)
    monkeypatch.delattr(archives.Archive, 'files')
    data = ImageFolder(path, cache=tmp_path / 'cache')
    assert_same(data, plain)
    assert data.cache is not None


@pytest.mark.usefixtures('cached')
@pytest.mark.parametrize('kind', ['faces.zip', 'faces.tar.gz'])
def test_changed_archive(folder, tmp_path, kind):
    path = packed(folder, tmp_path / kind)
    ImageFolder(path, cache=tmp_path / 'cache')
    Image.new('RGB', (64, 64), 'red').save(folder / 'a' / 'red.png')
    path.unlink()
    packed(folder, path)
    data = ImageFolder(path, cache=tmp_path / 'cache')
    assert len(data) == N + 1
    assert_same(data, ImageFolder(path, cache=picture_cache.NONE))


def test_of_a_name_that_is_there_twice_the_last_counts(tmp_path):
    with tarfile.open(tmp_path / 'a.tar', 'w') as archive:
        for colour in ('red', 'blue'):
            for name in ('a.png', './b/../c.png' if colour == 'red' else './b.png'):
                content = io.BytesIO()
                Image.new('RGB', (64, 64), colour).save(content, 'PNG')
                member = tarfile.TarInfo(name)
                member.size = len(content.getvalue())
                archive.addfile(member, io.BytesIO(content.getvalue()))
    data = ImageFolder(tmp_path / 'a.tar')
    assert data.paths == ['a.png', 'b.png']
    assert [tuple(image[:, 0, 0]) for image in data.images] == 2 * [(0, 0, 255)]
    assert data.left_out == [('b/../c.png', 'its name leads out of the archive')]


# ---- what is left out

def zipped(path, *members):
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def red(colour='red'):
    content = io.BytesIO()
    Image.new('RGB', (64, 64), colour).save(content, 'PNG')
    return content.getvalue()


def test_encrypted_pictures(tmp_path):
    path = zipped(tmp_path / 'a.zip', ('a.png', red()), ('b.png', red()), ('c.png', red()))
    content = bytearray(path.read_bytes())
    local, central = content.index(b'PK\3\4'), content.index(b'PK\1\2')
    content[local + 6] |= 1
    content[central + 8] |= 1
    path.write_bytes(content)
    assert ImageFolder(path).left_out == [('a.png', 'encrypted')]


def test_bomb(tmp_path):
    """A picture's file that would unpack to 65 MiB is not unpacked; nor is one whose header lies about that."""
    path = zipped(tmp_path / 'a.zip', ('a.png', red()), ('b.png', red()), ('c.bmp', bytes(65 << 20)))
    assert path.stat().st_size < 100_000
    data = ImageFolder(path)
    assert data.left_out == [('c.bmp', 'too large: 68,157,440 bytes')]
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack('<I', 65 << 20), struct.pack('<I', 1000)))
    (name, reason), = ImageFolder(path).left_out
    assert name == 'c.bmp'
    assert reason.startswith('damaged: ')


def test_picture_with_a_wrong_checksum(tmp_path):
    path = zipped(tmp_path / 'a.zip', ('a.png', red()), ('b.png', red()), ('c.png', red() + b'x'))
    content = bytearray(path.read_bytes())
    content[content.rindex(b'PK\3\4') + 40] ^= 0xff
    path.write_bytes(content)
    (name, reason), = ImageFolder(path).left_out
    assert name == 'c.png'
    assert reason.startswith('damaged: ')


def test_what_is_no_file_in_a_tar(folder, tmp_path):
    os.mkfifo(folder / 'pipe')
    (folder / 'link.png').symlink_to('b/12.png')
    os.link(folder / 'b' / '12.png', folder / 'hard.png')
    path = packed(folder, tmp_path / 'a.tar', ['b/12.png', 'b/10.png', 'hard.png', 'link.png'])
    with tarfile.open(path, 'a') as archive:
        archive.add(folder / 'pipe', 'pipe')
    data = ImageFolder(path)
    assert data.paths == ['b/10.png', 'b/12.png', 'hard.png']
    numpy.testing.assert_array_equal(data.images[1], data.images[2])
    assert data.left_out == [
        ('link.png', 'a link: pack the file itself, by "tar --dereference"'), ('pipe', 'not a file')]


def test_hard_links_of_a_tar(tmp_path):
    """A link whose file is hidden is read; not those that nothing is behind, or whose own name leads out."""
    with tarfile.open(tmp_path / 'a.tgz', 'w:gz') as archive:
        for name, target in (
                ('.a.png', None), ('../b.png', '.a.png'), ('c.png', './.a.png'), ('d.png', '.a.png'), ('d.png', None),
                ('e.png', 'gone.png')):
            member = tarfile.TarInfo(name)
            content = red() if name == '.a.png' else red('blue')
            member.type, member.linkname = (tarfile.LNKTYPE, target) if target else (tarfile.REGTYPE, '')
            member.size = 0 if target else len(content)
            archive.addfile(member, None if target else io.BytesIO(content))
    data = ImageFolder(tmp_path / 'a.tgz')
    assert data.paths == ['c.png', 'd.png']
    assert [tuple(image[:, 0, 0]) for image in data.images] == [(255, 0, 0), (0, 0, 255)]
    assert [name for name, reason in data.left_out if reason == 'a link to no file in the archive'] == [
        '../b.png', 'e.png']


@pytest.mark.parametrize('name', ['/etc/a.png', '../a.png', 'a/../../b.png', 'C:\\a.png', 'a\\..\\..\\b.png'])
def test_names_that_lead_out(tmp_path, name):
    """Neither are they read, nor does anything write there."""
    path = zipped(tmp_path / 'a.zip', (name, red()), ('b.png', red()))
    data = ImageFolder(path, 1)
    assert data.paths == ['b.png']
    assert [reason for _, reason in data.left_out] == ['its name leads out of the archive']
    prepare(['images', '--data', str(path), '--out', str(tmp_path / 'new' / 'out')])
    assert sorted(file.name for file in (tmp_path / 'new').rglob('*')) == ['b.png', 'out']


# ---- what stands in the place of pictures

LFS = b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n', 'a pointer of Git LFS: "git lfs pull"'
ANNEX = b'/annex/objects/SHA256E-s9--0.png\n', 'a pointer of git-annex: "git annex get"'
INNER = 'an archive: unpack it'
PICKLE = pickle.dumps({b'data': b'x'}, 2), 'a pickle, which is not loaded; of CIFAR give the binary version'


@pytest.mark.parametrize(('name', 'content', 'reason'), [
    ('b.png', *LFS), ('b.png', *ANNEX), ('b.png', b'../.git/annex/objects/0', ANNEX[1]), ('b.zip', b'PK\3\4', INNER),
    ('b.tar', bytes(257) + b'ustar', INNER), ('b.tgz', b'\x1f\x8b', 'compressed, perhaps twice: unpack it'),
    ('data_batch_1.bin', bytes(9), 'pictures of CIFAR: unpack the archive'), ('c.zip', bytes(65 << 20), INNER),
    ('data_batch_1', *PICKLE), ('train', bytes(65 << 20), PICKLE[1])])
def test_what_stands_among_pictures(tmp_path, name, content, reason):
    (tmp_path / 'in').mkdir()
    (tmp_path / 'in' / 'a.png').write_bytes(red())
    (tmp_path / 'in' / name).write_bytes(content)
    sources = [packed(tmp_path / 'in', tmp_path / kind, ['a.png', name]) for kind in ('a.zip', 'a.tar')]
    if name not in ('data_batch_1.bin', 'c.zip', 'train'):  # whose names alone tell of them in an archive
        sources.append(tmp_path / 'in')
    for source in sources:
        (left_out, told), = ImageFolder(source, 1).left_out
        assert (left_out, told[:len(reason)]) == (name, reason)


def test_member_without_a_name(tmp_path):
    path = zipped(tmp_path / 'a.zip', ('a.png', red()), ('b.txt', b'text'))
    path.write_bytes(path.read_bytes().replace(b'b.txt', b'\0.txt'))
    assert ImageFolder(path, 1).left_out == [('', 'not a readable picture')]


def test_links_of_git_annex(tmp_path):
    (tmp_path / 'a.png').write_bytes(red())
    (tmp_path / 'b.png').symlink_to('../.git/annex/objects/0')
    with tarfile.open(tmp_path.with_suffix('.tar'), 'w') as archive:
        archive.add(tmp_path, '')
    for source in (tmp_path, tmp_path.with_suffix('.tar')):
        assert ImageFolder(source, 1).left_out == [('b.png', ANNEX[1] + ' brings the file')]


def test_deflate64(tmp_path):
    path = zipped(tmp_path / 'a.zip', ('a.png', red()), ('b.png', red()))
    content = bytearray(path.read_bytes())
    content[content.index(b'PK\3\4') + 8] = content[content.index(b'PK\1\2') + 10] = 9
    path.write_bytes(content)
    assert ImageFolder(path, 1).left_out == [
        ('a.png', 'packed by deflate64: unpack the archive and give the folder')]


@pytest.mark.parametrize(('name', 'content', 'reason'), [
    (name, *pointer) for name in ('a.zip', 'a.npz', 'a.npy', 'a.bin', 'x-idx3-ubyte') for pointer in (LFS, ANNEX)] + [
    (name, gzip.compress(gzip.compress(b'text', mtime=0), mtime=0), 'compressed, perhaps twice: unpack it by "gunzip"')
    for name in ('a.tgz', 'x-idx3-ubyte.gz')] + [
    ('data_batch_1', *PICKLE), ('a.zip.gz', gzip.compress(b'PK\3\4', mtime=0), INNER)])
def test_what_stands_in_the_place_of_all(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    message = refusal(ImageFolder, tmp_path / name)
    assert message.startswith(str(tmp_path / name))
    assert reason in message


# ---- what is damaged

@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('share', [0.3, 0.6, 0.98])
def test_cut_short(folder, tmp_path, kind, share):
    path = packed(folder, tmp_path / kind)
    os.truncate(path, int(share * path.stat().st_size) // 512 * 512)
    message = refusal(ImageFolder, path)
    assert message.startswith(('{} is damaged ('.format(path), '{} is neither a folder nor a sound '.format(path)))
    assert ': give ' in message


@pytest.mark.parametrize('kind', ['faces.tar', 'faces.tgz', 'faces.tar.xz'])
def test_a_tar_that_ends_early_is_refused_before_it_is_decoded(folder, tmp_path, kind, monkeypatch):
    path = packed(folder, tmp_path / kind)
    os.truncate(path, int(0.9 * path.stat().st_size))
    monkeypatch.setattr(picture_cache, 'outcome', None)
    assert refusal(ImageFolder, path).startswith('{} is damaged ('.format(path))


def on_volumes(path, first):
    """As a split .zip has its list: the members from the first one on begin in the last part, the others in others."""
    content, place = bytearray(path.read_bytes()), 0
    for i in range(N + 4):
        place = content.index(b'PK\1\2', place + 1)
        content[place + 34:place + 36] = struct.pack('<H', int(i >= first))
    return content


@pytest.mark.parametrize(('name', 'part'), [
    ('faces.zip', lambda path: on_volumes(path, 3)),  # the last part, or all of them by `cat`
    ('faces.z01', lambda path: b'PK\7\x08' + path.read_bytes()[:-3000]),
    ('faces.z02', lambda path: path.read_bytes()[3000:-3000]),
    ('faces.zip.001', lambda path: path.read_bytes()[:-3000]),
    ('faces.zip.002', lambda path: path.read_bytes()[30_000:]),
    ('faces.tar.001', lambda path: packed(path.parent / 'faces', path.with_suffix('.tar')).read_bytes()[:-30_000]),
    ('faces.tgz.partaa', lambda path: packed(path.parent / 'faces', path.with_suffix('.tgz')).read_bytes()[:-30_000]),
    ('last', lambda path: path.read_bytes()[30_000:])])
def test_parts_of_a_split_archive(folder, tmp_path, name, part):
    content = part(packed(folder, tmp_path / 'whole.zip'))
    (tmp_path / name).write_bytes(content)
    message = refusal(ImageFolder, tmp_path / name)
    assert message.startswith('{} is a part of a split archive'.format(tmp_path / name))
    assert 'join those called .z01, .z02, ... by "zip -s 0 LAST.zip --out whole.zip"' in message


def test_later_volume_of_a_tar(folder, tmp_path):
    """GNU tar begins it with the rest of a file, and whole ones follow."""
    path = packed(folder, tmp_path / 'faces.tar')
    with tarfile.open(path) as archive:
        offset = archive.getmember('b/12.png').offset
    content = bytearray(path.read_bytes())
    content[offset + 156:offset + 157] = b'M'
    content[offset + 148:offset + 156] = b'%06o\0 ' % (sum(content[offset:offset + 148]) + 8 * 32 + sum(
        content[offset + 156:offset + 512]))
    path.write_bytes(content)
    assert 'is damaged (a file that begins in another volume)' in refusal(ImageFolder, path)


def test_damaged_header_in_the_middle_of_a_tar(folder, tmp_path):
    path = packed(folder, tmp_path / 'faces.tar')
    content = bytearray(path.read_bytes())
    content[content.index(b'notes.txt')] ^= 1
    path.write_bytes(content)
    assert 'is damaged (a header at byte' in refusal(ImageFolder, path)


@pytest.mark.parametrize('content', [b'', b'hello', b'PK\3\4' + bytes(600)], ids=['empty', 'text', 'cut'])
def test_what_is_no_archive(tmp_path, content):
    (tmp_path / 'a.zip').write_bytes(content)
    assert refusal(ImageFolder, tmp_path / 'a.zip') == (
        '{} is neither a folder nor a sound .zip or .tar: give one of these with pictures to --data'.format(
            tmp_path / 'a.zip'))


def test_empty_archives(tmp_path):
    zipped(tmp_path / 'a.zip')
    tarfile.open(tmp_path / 'a.tar', 'w').close()
    for name in ('a.zip', 'a.tar'):
        assert refusal(ImageFolder, tmp_path / name) == '{} holds no files: give a folder of pictures to --data'.format(
            tmp_path / name)


def test_prepare_takes_an_archive(folder, plain, tmp_path, capsys):
    path = packed(folder, tmp_path / 'faces.tar.gz')
    prepare(['images', '--data', str(path), '--out', str(tmp_path / 'out'), '--cache', 'none'])
    assert '12 pictures; 1 file left out: notes.txt' in capsys.readouterr().out
    again = ImageFolder(tmp_path / 'out')
    assert again.fingerprint  # of pictures in another order, since their names end otherwise
    assert {image.tobytes() for image in again.images} == {image.tobytes() for image in plain.images}
