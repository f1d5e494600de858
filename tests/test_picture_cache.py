"""The cache of pictures whose decoding takes long: the same pixels as without, and never believed where damaged."""

import concurrent.futures
import errno
import itertools
import json
import mmap
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy
import pytest
from conftest import HANGS_AFTER, ROOT, refusal, until
from PIL import Image

from ddgm.data import picture_cache, picture_folder
from ddgm.data.image_folder import ImageFolder

N = 12
FILES = ['.json', '.lock', '.npy']


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
    """A folder for the cache, for which all decoding takes long enough."""
    monkeypatch.setattr(picture_cache, '_LONG', 0)
    return tmp_path / 'cache'


@pytest.fixture
def plain(folder):
    """The pictures of the folder, read without a cache."""
    return ImageFolder(folder, cache=picture_cache.NONE)


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


# ---- whether there is one

def test_quick_decoding_leaves_no_cache(folder, plain, tmp_path, capsys):
    data = ImageFolder(folder, cache=tmp_path / 'cache')
    assert_same(data, plain)
    assert data.cache is None
    assert not (tmp_path / 'cache').exists()
    assert capsys.readouterr().out == ''


def test_few_pictures_that_take_long(folder, plain, tmp_path, capsys, monkeypatch):
    """By the time that they take, not by their number: with a bar, and the next start is quick."""
    monkeypatch.setattr(time, 'monotonic', itertools.count().__next__)  # a second at each look
    assert_same(ImageFolder(folder, cache=tmp_path / 'cache'), plain)
    out = capsys.readouterr().out
    assert ' pictures read, ' in out
    assert str(tmp_path / 'cache') in out.splitlines()[-1]
    again = ImageFolder(folder, cache=tmp_path / 'cache')
    assert again.cache is not None
    assert capsys.readouterr().out == ''


def test_none_writes_nothing(folder, plain, tmp_path, capsys, monkeypatch):
    before = sorted(tmp_path.rglob('*'))
    monkeypatch.setattr(time, 'monotonic', itertools.count().__next__)
    data = ImageFolder(folder, cache=picture_cache.NONE)
    assert_same(data, plain)
    assert data.cache is None
    assert ' pictures read, ' in capsys.readouterr().out
    assert sorted(tmp_path.rglob('*')) == before


def test_the_same_as_without(folder, cache, plain, capsys):
    assert len(plain) == N
    assert [name for name, _ in plain.left_out] == ['a/notes.txt', 'b/cut.png', 'gone']
    first = ImageFolder(folder, cache=cache)
    assert str(cache) in capsys.readouterr().out
    again = ImageFolder(folder, cache=cache)
    assert capsys.readouterr().out == ''
    for data in (first, again):
        assert_same(data, plain)
        assert data.cache.parent == cache
        assert isinstance(data.images.base, numpy.memmap)
        with pytest.raises(ValueError, match='read-only'):
            data.images[0] = 0
    assert files_in(cache) == FILES


@pytest.mark.usefixtures('cache')
def test_by_default_in_the_cache_of_the_user(folder):
    data = ImageFolder(folder)
    assert data.cache.parent == pathlib.Path(os.environ['XDG_CACHE_HOME']) / 'ddgm' / 'pictures'


def test_cache_among_the_pictures_is_refused(folder, cache):
    assert refusal(ImageFolder, folder, 2, folder / 'a' / 'cache').endswith('give another folder to --cache')
    assert not (folder / 'a' / 'cache').exists()


def test_all_cores_decode(folder, plain, monkeypatch):
    """Each waits for the others before it decodes its first picture."""
    at_once, first, outcome = threading.Barrier(3), threading.local(), picture_cache.outcome

    def outcome_with_the_others(*arguments):
        if not hasattr(first, 'is_past'):
            first.is_past = True
            at_once.wait(HANGS_AFTER)
        return outcome(*arguments)
    monkeypatch.setattr(os, 'sched_getaffinity', lambda process: {0, 1, 2}, raising=False)
    monkeypatch.setattr(picture_cache, 'outcome', outcome_with_the_others)
    assert_same(ImageFolder(folder, cache=picture_cache.NONE), plain)


def test_formats_are_known_before_threads_start(folder, monkeypatch):
    """Pillow loads most of them when they are first needed, and another thread that needs them then has them not."""
    threads, init = [], Image.init

    def note_and_init():
        threads.append(threading.current_thread())
        return init()
    monkeypatch.setattr(Image, 'init', note_and_init)
    ImageFolder(folder)
    assert threads[0] is threading.main_thread()
    assert len(set(threads)) > 1


# ---- what has changed

def replaced(folder):
    """A picture of the same size and time."""
    path = folder / 'b' / '05.bmp'
    before, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:100] + content[100:][::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize('change', [
    lambda folder: (folder / 'a' / '02.bmp').unlink(),
    lambda folder: shutil.copy(folder / 'a' / '00.png', folder / 'b' / 'new.png'),
    lambda folder: shutil.copy(folder / 'a' / '04.jpg', folder / 'b' / 'cut.png'),
    lambda folder: (folder / 'a' / '00.png').rename(folder / 'b' / '00.png'),
    replaced])
def test_change(folder, cache, plain, capsys, change):
    ImageFolder(folder, cache=cache)
    change(folder)
    data = ImageFolder(folder, cache=cache)
    assert (data.paths, data.fingerprint) != (plain.paths, plain.fingerprint)
    capsys.readouterr()
    again = ImageFolder(folder, cache=cache)
    assert capsys.readouterr().out == ''
    plain = ImageFolder(folder, cache=picture_cache.NONE)
    assert_same(data, plain)
    assert_same(again, plain)
    assert files_in(cache) == FILES


def test_changed_pictures_that_had_a_cache_have_one_again(folder, tmp_path, monkeypatch):
    """However quickly they are decoded now."""
    with monkeypatch.context() as context:
        context.setattr(picture_cache, '_LONG', 0)
        ImageFolder(folder, cache=tmp_path / 'cache')
    (folder / 'a' / '02.bmp').unlink()
    assert ImageFolder(folder, cache=tmp_path / 'cache').cache is not None


def test_two_folders_in_one_cache(folder, cache, tmp_path, plain):
    shutil.copytree(folder, tmp_path / 'other', symlinks=True)
    (tmp_path / 'other' / 'a' / '02.bmp').unlink()
    for _ in range(2):
        assert_same(ImageFolder(folder, cache=cache), plain)
        assert_same(ImageFolder(tmp_path / 'other', cache=cache), ImageFolder(
            tmp_path / 'other', cache=picture_cache.NONE))
    assert files_in(cache) == sorted(2 * FILES)


# ---- what is wrong

def list_of(change):
    """Change a cache's list as JSON."""
    def damage(listed, pixels):
        listed.write_text(json.dumps(change(json.loads(listed.read_text()))))
    return damage


def written(name, content):
    return lambda listed, pixels: {'listed': listed, 'pixels': pixels}[name].write_bytes(content)


def cut(name, share):
    def damage(listed, pixels):
        path = {'listed': listed, 'pixels': pixels}[name]
        os.truncate(path, int(share * path.stat().st_size))
    return damage


def other_pixels(listed, pixels):
    content = bytearray(pixels.read_bytes())
    content[128 + 5 * 12288 + 77] ^= 1
    pixels.write_bytes(content)


@pytest.mark.parametrize(('damage', 'reason'), [
    (written('listed', b''), ''), (written('listed', b'PK'), ''), (written('listed', b'[]'), ''),
    (written('listed', b'{}'), ''), (cut('listed', 0.1), ''), (cut('listed', 0.99), ''),
    (list_of(lambda listed: {**listed, 'names': None}), ''),
    (list_of(lambda listed: {**listed, 'names': listed['names'][1:]}), 'its pixels are others'),
    (list_of(lambda listed: {**listed, 'fingerprint': '../' + listed['fingerprint']}), ''),
    (list_of(lambda listed: {**listed, 'version': '0, Pillow 9'}), 'made by another version, 0, Pillow 9, than '),
    (written('pixels', b''), ''), (written('pixels', b'PK'), ''), (cut('pixels', 0.99), ''),
    (lambda listed, pixels: pixels.unlink(), 'No such file or directory'), (other_pixels, 'its pixels are others')])
def test_damage(folder, cache, plain, capsys, damage, reason):
    """It is told, and made anew."""
    path = ImageFolder(folder, cache=cache).cache
    pixels, = cache.glob('*.npy')
    damage(path, pixels)
    capsys.readouterr()
    assert_same(ImageFolder(folder, cache=cache), plain)
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith('{}: can\'t be used ('.format(path))
    assert reason in line
    assert line.endswith('), so it is made anew')
    assert_same(ImageFolder(folder, cache=cache), plain)
    assert capsys.readouterr().out == ''
    assert files_in(cache) == FILES


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


def test_folder_without_permission(folder, cache, capsys, monkeypatch):
    """What is there is used; a new cache is not made."""
    made = ImageFolder(folder, cache=cache).cache
    capsys.readouterr()

    def forbid(path):
        raise PermissionError(13, 'Permission denied')
    monkeypatch.setattr(picture_cache, 'Lock', forbid)
    assert ImageFolder(folder, cache=cache).cache == made
    assert capsys.readouterr().out == ''
    (folder / 'gone').unlink()
    assert ImageFolder(folder, cache=cache).cache is None
    assert '(Permission denied), so the pictures stay in memory' in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == 'win32', reason='no limits of files there')
@pytest.mark.parametrize('largest', [100, 100_000, N * 12288 + 64])
def test_disk_that_fills_up(folder, cache, plain, capsys, largest):
    """At the start, in the middle, in the last picture of what is kept: nothing of it stays there."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
    try:
        data = ImageFolder(folder, cache=cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert_same(data, plain)
    assert data.cache is None
    assert '(File too large), so the pictures stay in memory' in capsys.readouterr().out
    assert files_in(cache) == ['.lock']


def test_file_system_that_maps_nothing(folder, cache, plain, capsys, monkeypatch):
    """As some of networks: all is kept, and read into memory, which a line tells; the next start decodes nothing."""
    def refuse(*arguments, **options):
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
    monkeypatch.setattr(mmap, 'mmap', refuse)
    assert_same(ImageFolder(folder, cache=cache), plain)
    assert files_in(cache) == FILES
    capsys.readouterr()
    monkeypatch.delattr(picture_folder.Folder, 'files')
    again = ImageFolder(folder, cache=cache)
    assert_same(again, plain)
    assert again.cache is not None
    assert capsys.readouterr().out == '{}: can\'t be mapped there (No such device), so it is read into memory\n'.format(
        next(cache.glob('*.npy')))


def test_interruption_leaves_nothing(folder, cache, plain, monkeypatch):
    outcome = picture_cache.outcome

    def interrupt(source, *form):
        if os.path.basename(source) == '07.jpg':
            raise KeyboardInterrupt
        return outcome(source, *form)
    with monkeypatch.context() as context:
        context.setattr(picture_cache, 'outcome', interrupt)
        with pytest.raises(KeyboardInterrupt):
            ImageFolder(folder, cache=cache)
    assert files_in(cache) == ['.lock']
    assert_same(ImageFolder(folder, cache=cache), plain)


# ---- several processes

READ = '''
import sys, time
sys.path.insert(0, {!r})
from ddgm.data import image_folder, picture_cache
outcome, picture_cache._LONG = picture_cache.outcome, 0
def slowly(*arguments):
    time.sleep(float(sys.argv[3]))
    return outcome(*arguments)
picture_cache.outcome = slowly
print(image_folder.ImageFolder(sys.argv[1], cache=sys.argv[2]).fingerprint)
'''.format(str(ROOT))


@pytest.fixture
def reader(folder, cache):
    """``reader(seconds)`` starts a process that reads the pictures, each of which takes so long."""
    processes = []

    def start(seconds=0.05):
        processes.append(subprocess.Popen(
            [sys.executable, '-c', READ, str(folder), str(cache), str(seconds)], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True))
        return processes[-1]
    yield start
    for process in processes:
        process.kill()  # where the test has failed; nothing where it has ended
        process.communicate()


def test_three_at_once(reader, cache, plain):
    """One makes the cache, and the others wait for it."""
    processes = [reader() for _ in range(3)]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        outputs = list(pool.map(lambda process: process.communicate(timeout=HANGS_AFTER), processes))
    for process, (out, error) in zip(processes, outputs):
        assert (error, process.returncode) == ('', 0)
        assert out.splitlines()[-1] == plain.fingerprint
    assert files_in(cache) == FILES


def test_the_second_waits_and_takes_what_the_first_has_made(reader, folder, cache, plain, capsys, monkeypatch):
    process = reader(0.3)
    until(lambda: list(cache.glob('*.lock')))
    assert_same(ImageFolder(folder, cache=cache), plain)
    assert capsys.readouterr().out == 'Waiting for another process, which reads the same pictures ...\n'
    assert process.wait(timeout=HANGS_AFTER) == 0


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_killed_in_the_middle(reader, folder, cache, plain, number):
    """The next one neither waits nor finds half of it."""
    process = reader(1)
    until(lambda: list(cache.glob('*.lock')))
    process.send_signal(number)
    process.communicate(timeout=HANGS_AFTER)
    assert process.returncode != 0
    assert_same(ImageFolder(folder, cache=cache), plain)
    assert files_in(cache) == FILES
