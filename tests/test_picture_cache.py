"""The cache of many pictures: the same pixels as without, made once, gone on with, and never believed where damaged."""

import contextlib
import itertools
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys

import numpy
import pytest
from conftest import HANGS_AFTER, ROOT, refusal, until
from PIL import Image

from ddgm.data import decoders, images, picture_cache, picture_index, picture_reading
from ddgm.data.image_folder import ImageFolder

N = 36


@pytest.fixture
def folder(tmp_path, rng):
    """Pictures of noise in two folders, with what is no picture among them."""
    folder = tmp_path / 'pictures'
    for i in range(N):
        path = folder / 'ab'[i % 2] / '{:02}.{}'.format(i, ('png', 'jpg', 'bmp')[i % 3])
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(256, size=(64 + i, 70, 3), dtype=numpy.uint8)).save(path)
    (folder / 'a' / 'notes.txt').write_text('no picture')
    (folder / 'b' / 'cut.png').write_bytes((folder / 'a' / '00.png').read_bytes()[:3000])
    (folder / 'gone').symlink_to('nowhere')
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A folder for the cache, which is used for few pictures too, read in small parts."""
    monkeypatch.setattr(images, '_FEW', 0)
    monkeypatch.setattr(picture_reading, '_PER_CHUNK', 5)
    monkeypatch.setattr(decoders, 'n_cores', lambda: 2)
    return tmp_path / 'cache'


@pytest.fixture
def plain(folder):
    """The pictures of the folder, read without a cache and in this process."""
    with pytest.MonkeyPatch.context() as context:
        context.setattr(images, '_FEW', N + 3)
        return ImageFolder(folder)


@pytest.fixture
def decoded(monkeypatch):
    """The files that were decoded, by their names, as far as they are handed to the processes."""
    names, through = [], decoders.decoded

    def note(chunks, n_processes=None):
        for chunk, sources in chunks:
            names.extend(pathlib.Path(source).name for source in sources)
            yield next(through(iter([(chunk, sources)]), 0))
    monkeypatch.setattr(decoders, 'decoded', note)
    return names


def assert_same(data, other):
    assert data.paths == other.paths
    assert data.left_out == other.left_out
    assert data.fingerprint == other.fingerprint
    assert data.images.dtype == numpy.uint8
    numpy.testing.assert_array_equal(data.images, other.images)
    numpy.testing.assert_array_equal(
        data.sample(7, numpy.random.default_rng(3)), other.sample(7, numpy.random.default_rng(3)))


def files_in(folder):
    return sorted(path.suffix for path in folder.iterdir())


# ---- what is in it

def test_few_pictures_leave_no_cache(folder, tmp_path):
    data = ImageFolder(folder, cache=tmp_path / 'cache')
    assert data.cache is None
    assert not (tmp_path / 'cache').exists()


def test_the_same_as_without(folder, cache, plain, capsys):
    assert len(plain) == N
    assert [name for name, _ in plain.left_out] == ['a/notes.txt', 'b/cut.png', 'gone']
    first = ImageFolder(folder, cache=cache)
    assert str(cache) in capsys.readouterr().out
    assert files_in(cache) == ['.lock', '.npz', '.pixels']
    assert_same(first, plain)
    again = ImageFolder(folder, cache=cache)
    assert capsys.readouterr().out == ''
    assert_same(again, plain)
    assert again.cache.parent == cache
    assert isinstance(again.images.base, numpy.memmap)
    with pytest.raises(ValueError, match='read-only'):
        again.images[0] = 0


@pytest.mark.parametrize('n', [1, 3])
def test_any_number_of_processes(folder, cache, plain, monkeypatch, n):
    monkeypatch.setattr(decoders, 'n_cores', lambda: n)
    assert_same(ImageFolder(folder, cache=cache), plain)
    assert_same(ImageFolder(folder, cache=picture_cache.NONE), plain)


def test_none_writes_nothing(folder, cache, plain, tmp_path):
    before = sorted(tmp_path.rglob('*'))
    data = ImageFolder(folder, cache=picture_cache.NONE)
    assert_same(data, plain)
    assert data.cache is None
    assert sorted(tmp_path.rglob('*')) == before


@pytest.mark.usefixtures('cache')
def test_by_default_in_the_cache_of_the_user(folder):
    data = ImageFolder(folder)
    assert data.cache.parent == pathlib.Path(os.environ['XDG_CACHE_HOME']) / 'ddgm' / 'pictures'


def test_of_no_picture_at_all(cache, tmp_path):
    (tmp_path / 'texts').mkdir()
    (tmp_path / 'texts' / 'a.txt').write_text('text')
    for _ in range(2):
        assert 'no picture that can be read (1 file left out: a.txt' in refusal(
            ImageFolder, tmp_path / 'texts', 2, cache)


def test_cache_among_the_pictures_is_refused(folder, cache):
    assert refusal(ImageFolder, folder, 2, folder / 'a' / 'cache').endswith('give another folder to --cache')
    assert not (folder / 'a' / 'cache').exists()


# ---- what has changed

def changed(folder):
    (folder / 'a' / '02.bmp').unlink()
    shutil.copy(folder / 'a' / '00.png', folder / 'b' / 'new.png')
    Image.new('RGB', (64, 64), 'red').save(folder / 'b' / '03.png')
    shutil.copy(folder / 'a' / '04.jpg', folder / 'b' / 'cut.png')


def test_only_what_is_new_is_decoded(folder, cache, decoded):
    ImageFolder(folder, cache=cache)
    assert len(decoded) == N + 3
    decoded.clear()
    changed(folder)
    data = ImageFolder(folder, cache=cache)
    assert sorted(decoded) == ['03.png', 'cut.png', 'gone', 'new.png', 'notes.txt']
    assert_same(data, ImageFolder(folder, cache=picture_cache.NONE))
    assert files_in(cache) == ['.lock', '.npz', '.pixels']
    decoded.clear()
    ImageFolder(folder, cache=cache)
    assert decoded == []


def test_other_rights_are_a_change_of_what_was_left_out(folder, cache, decoded):
    ImageFolder(folder, cache=cache)
    decoded.clear()
    (folder / 'a' / '00.png').chmod(0o600)
    ImageFolder(folder, cache=cache)
    assert decoded == []
    (folder / 'b' / 'cut.png').chmod(0o600)
    ImageFolder(folder, cache=cache)
    assert sorted(decoded) == ['cut.png', 'gone', 'notes.txt']


def test_two_folders_in_one_cache(folder, cache, tmp_path, plain):
    shutil.copytree(folder, tmp_path / 'other', symlinks=True)
    changed(tmp_path / 'other')
    for _ in range(2):
        assert_same(ImageFolder(folder, cache=cache), plain)
        assert_same(ImageFolder(tmp_path / 'other', cache=cache), ImageFolder(
            tmp_path / 'other', cache=picture_cache.NONE))
    assert files_in(cache) == 2 * ['.lock'] + 2 * ['.npz'] + 2 * ['.pixels']


# ---- what is wrong

@pytest.fixture
def made(folder, cache, capsys):
    """A cache: its list and its pixels."""
    ImageFolder(folder, cache=cache)
    capsys.readouterr()
    (index,), (pixels,) = cache.glob('*.npz'), cache.glob('*.pixels')
    return index, pixels


def assert_made_anew(folder, cache, plain, capsys, reason):
    assert_same(ImageFolder(folder, cache=cache), plain)
    lines = capsys.readouterr().out.splitlines()
    assert reason in lines[0]
    assert lines[0].endswith('so it is made anew')
    assert_same(ImageFolder(folder, cache=cache), plain)
    assert capsys.readouterr().out == ''
    assert files_in(cache) == ['.lock', '.npz', '.pixels']


@pytest.mark.parametrize('damage', [b'', b'PK', b'no archive'])
def test_list_that_is_none(folder, cache, made, plain, capsys, damage):
    made[0].write_bytes(damage)
    assert_made_anew(folder, cache, plain, capsys, 'damaged: ')


def test_list_with_a_wrong_bit(folder, cache, made, plain, capsys):
    with numpy.load(made[0]) as file:
        arrays = dict(file)
    arrays['rows'][0] ^= 1
    numpy.savez(made[0], **arrays)
    assert_made_anew(folder, cache, plain, capsys, 'damaged: its checksum is wrong')


def test_cut_anywhere(folder, cache, made, plain, capsys):
    content = made[0].read_bytes()
    for share in (0.1, 0.5, 0.99):
        made[0].write_bytes(content[:int(share * len(content))])
        assert_made_anew(folder, cache, plain, capsys, 'damaged: ')


def test_pixels_that_are_not_all_there(folder, cache, made, plain, capsys):
    with open(made[1], 'rb+') as file:
        file.truncate(N * 12288 - 1)
    assert_made_anew(folder, cache, plain, capsys, 'damaged: its pixels have 442,367 bytes in the place of 442,368')


def test_pixels_that_are_gone(folder, cache, made, plain, capsys):
    made[1].unlink()
    assert_made_anew(folder, cache, plain, capsys, 'No such file')


def test_pixels_that_are_others(folder, cache, made, plain, capsys):
    with open(made[1], 'rb+') as file:
        file.seek(5 * 12288 + 77)
        file.write(bytes([file.read(1)[0] ^ 1]))
    with open(made[1], 'rb+') as file:
        file.seek(5 * 12288 + 77)
        file.write(b'\1\2\3')
    assert_made_anew(folder, cache, plain, capsys, 'the pixels of its picture 6 are others')


def test_cache_of_another_folder(folder, cache, made, plain, capsys, tmp_path):
    shutil.copytree(folder, tmp_path / 'other', symlinks=True)
    data = ImageFolder(tmp_path / 'other', cache=cache)
    capsys.readouterr()
    os.replace(data.cache, made[0])
    next(path for path in cache.glob('*.pixels') if path != made[1]).unlink()
    (cache / data.cache.with_suffix('.lock').name).unlink()
    assert_made_anew(folder, cache, plain, capsys, 'made from {}'.format(tmp_path / 'other'))


def test_cache_of_another_version(folder, cache, plain, capsys, monkeypatch):
    with monkeypatch.context() as context:
        context.setattr(picture_index, '_VERSION', '0, Pillow 9')
        ImageFolder(folder, cache=cache)
    capsys.readouterr()
    assert_made_anew(folder, cache, plain, capsys, 'made by another version (0, Pillow 9) than ')


@pytest.mark.parametrize('where', ['afile', 'afile/within'])
def test_cache_that_can_not_be_there(folder, cache, plain, capsys, tmp_path, where):
    (tmp_path / 'afile').write_text('precious')
    data = ImageFolder(folder, cache=tmp_path / where)
    assert_same(data, plain)
    assert data.cache is None
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith('{}: the cache can\'t be written ('.format(tmp_path / where))
    assert 'stay in memory' in line
    assert (tmp_path / 'afile').read_text() == 'precious'


def test_folder_without_permission(folder, cache, made, plain, capsys, monkeypatch):
    """What is there is used; a new cache is not made."""
    def forbid(path, *arguments):
        raise PermissionError(13, 'Permission denied')
    monkeypatch.setattr(picture_cache, 'Lock', forbid)
    assert ImageFolder(folder, cache=cache).cache == made[0]
    assert capsys.readouterr().out == ''
    (folder / 'gone').unlink()
    assert ImageFolder(folder, cache=cache).cache is None
    assert '(Permission denied), so the pictures stay in memory' in capsys.readouterr().out


def test_disk_with_too_little_room(folder, cache, plain, capsys, monkeypatch):
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage._replace(free=400_000))
    assert_same(ImageFolder(folder, cache=cache), plain)
    assert '0 MB are free and 0 needed' in capsys.readouterr().out
    assert files_in(cache) == ['.lock']


@pytest.mark.skipif(sys.platform == 'win32', reason='no limits of files there')
def test_disk_that_fills_up(folder, cache, plain, capsys, monkeypatch):
    """In the middle: nothing of it stays there."""
    monkeypatch.setattr(picture_reading, '_SECONDS', 0)  # a list after each chunk
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        data = ImageFolder(folder, cache=cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert_same(data, plain)
    assert data.cache is None
    assert '(File too large), so the pictures stay in memory' in capsys.readouterr().out
    assert files_in(cache) == ['.lock']


# ---- what is interrupted

class Interrupting:
    """Paths that raise in the middle."""

    def __init__(self, monkeypatch, after):
        add, n = picture_reading.Reading._add, itertools.count()

        def add_or_raise(*arguments):
            if next(n) == after:
                raise KeyboardInterrupt
            add(*arguments)
        monkeypatch.setattr(picture_reading.Reading, '_add', add_or_raise)


@pytest.mark.parametrize('after', [0, 1, 17, N + 2])
def test_interruption_is_gone_on_from(folder, cache, plain, capsys, monkeypatch, decoded, after):
    with monkeypatch.context() as context:
        Interrupting(context, after)
        with pytest.raises(KeyboardInterrupt):
            ImageFolder(folder, cache=cache)
    kept = max(0, after - (after > 18) - (after > 37))  # without what is no picture: a/notes.txt, b/cut.png
    out = capsys.readouterr().out
    assert ('Interrupted: {} pictures are kept'.format(kept) in out) == bool(kept)
    assert files_in(cache) == (['.lock', '.npz', '.pixels'] if kept else ['.lock'])
    decoded.clear()
    assert_same(ImageFolder(folder, cache=cache), plain)
    assert len(decoded) == N + 3 - kept
    assert files_in(cache) == ['.lock', '.npz', '.pixels']


def test_interrupted_renewal_leaves_what_is_of_more_use(folder, cache, made, decoded, monkeypatch):
    changed(folder)
    with monkeypatch.context() as context:
        Interrupting(context, 20)
        with pytest.raises(KeyboardInterrupt):
            ImageFolder(folder, cache=cache)
    assert [*cache.glob('*.pixels')] == [made[1]]
    decoded.clear()
    ImageFolder(folder, cache=cache)
    assert sorted(decoded) == ['03.png', 'cut.png', 'gone', 'new.png', 'notes.txt']


READ = '''
import sys
sys.path.insert(0, {!r})
from ddgm.data import images, picture_reading
images._FEW, picture_reading._SECONDS, picture_reading._PER_CHUNK = 0, 0, 2
print(images.ImageFolder(sys.argv[1], cache=sys.argv[2]).fingerprint)
'''.format(str(ROOT))


@pytest.fixture
def reader(folder, cache):
    """``reader()`` starts a process that reads the pictures; its script has no guard for those who import it."""
    script = folder.parent / 'read.py'
    script.write_text(READ)  # once: what starts beside its writing would find it empty
    with contextlib.ExitStack() as stack:
        def start():
            process = stack.enter_context(subprocess.Popen(
                [sys.executable, str(script), str(folder), str(cache)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                text=True, start_new_session=True))
            stack.callback(process.kill)  # where the test has failed; nothing where it has ended
            return process
        yield start


def test_script_without_a_guard(reader, plain):
    process = reader()
    out, error = process.communicate(timeout=HANGS_AFTER)
    assert (error, process.returncode) == ('', 0)
    assert out.splitlines()[-1] == plain.fingerprint


def test_two_at_once(reader, cache, plain):
    processes = [reader() for _ in range(3)]
    for process in processes:
        out, error = process.communicate(timeout=HANGS_AFTER)
        assert (error, process.returncode) == ('', 0)
        assert out.splitlines()[-1] == plain.fingerprint
    assert files_in(cache) == ['.lock', '.npz', '.pixels']


def children_of(process):
    with open('/proc/{0}/task/{0}/children'.format(process.pid)) as file:
        return [int(number) for number in file.read().split()]


def is_alive(number):
    with contextlib.suppress(OSError), open('/proc/{}/stat'.format(number)) as file:
        return file.read().rpartition(')')[2].split()[0] != 'Z'
    return False


@pytest.mark.skipif(not os.path.exists('/proc/self/task'), reason='a system that does not list processes')
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_processes_end_with_the_one_that_started_them(reader, folder, cache, plain, number):
    """However it ends; and the next one goes on."""
    for i in range(1500):
        shutil.copy(folder / 'a' / '00.png', folder / 'c{:04}.png'.format(i))
    process = reader()
    until(lambda: list(cache.glob('*.npz')))
    children = children_of(process)
    assert children
    os.killpg(process.pid, number)
    process.communicate(timeout=HANGS_AFTER)
    assert process.returncode != 0
    until(lambda: not any(map(is_alive, children)))
    assert_same(ImageFolder(folder, cache=cache), ImageFolder(folder, cache=picture_cache.NONE))
    assert files_in(cache) == ['.lock', '.npz', '.pixels']


# ---- the processes

def test_process_that_dies(folder, cache, plain, capsys, monkeypatch):
    """This one does its work, and says so."""
    started, start = [], decoders._start

    def start_and_note():
        started.append(start())
        return started[-1]

    def submit(self, sources):
        started[0].kill()
        return self._threads.submit(self._decode, sources)
    monkeypatch.setattr(decoders, '_start', start_and_note)
    monkeypatch.setattr(decoders._Decoders, 'submit', submit)
    assert_same(ImageFolder(folder, cache=cache), plain)
    assert len(started) == 2
    assert all(process.returncode is not None for process in started)


def test_decoded_in_order():
    chunks = [(i, [b'%d' % j for j in range(i)]) for i in range(20)]
    for n in (0, 1, 3):
        found = list(decoders.decoded(iter(chunks), n))
        assert [chunk for chunk, _ in found] == list(range(20))
        assert [outcomes for _, outcomes in found] == [i * ['not a readable picture'] for i in range(20)]


def test_progress_in_a_pipe(folder, cache, capsys, monkeypatch):
    from ddgm.support import terminal
    monkeypatch.setattr(terminal.CountingBar, '_seconds', {True: 0, False: 0})
    ImageFolder(folder, cache=cache)
    lines = capsys.readouterr().out.splitlines()[1:]
    assert len(lines) == 8
    assert lines[0].startswith(' 12.8%  5 pictures read, ')
    assert lines[-1] == '100.0%  36 pictures read, 0:00:00 left'
