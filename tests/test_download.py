"""Fetching the handwritten digits, from servers on this machine that misbehave."""

import errno
import hashlib
import http.server
import os
import re
import shutil
import socket
import sys
import threading
import urllib.error
import urllib.request

import pytest
from conftest import refusal

from ddgm.data import mnist
from ddgm.data.mnist import CHECKSUMS, MNIST, fetch

NAMES = list(CHECKSUMS)
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = NAMES
# Stand-ins; the third comes in more than two parts.
FILES = {name: name.encode() * n for name, n in zip(NAMES, (5, 1, 8000, 2))}
STAND_INS = {name: hashlib.md5(content).hexdigest() for name, content in FILES.items()}


class Mirror(http.server.BaseHTTPRequestHandler):
    """Serves ``/<behaviour>/<name>``."""

    def do_GET(self):
        _, behaviour, name = self.path.split('/')
        self.server.requests.append(self.path)
        content, length = FILES[name], None
        if behaviour.isdigit():
            self.send_error(int(behaviour))
            return
        if behaviour == 'garbled':
            self.wfile.write(b'nonsense\r\n\r\n')
            return
        if behaviour == 'silent':
            self.connection.settimeout(5)
            self.rfile.read(1)  # until the other side gives up
            return
        if behaviour == 'page':
            content = b'<!DOCTYPE html>\n<title>Log in first</title>'
        elif behaviour == 'damaged':
            content = content[:-1] + b'!'
        elif behaviour == 'short':
            content, length = content[:-5], len(content)
        elif behaviour == 'promising':
            length = 10 ** 12
        elif behaviour == 'wordy':
            length = 'many'
        self.send_response(200)
        if behaviour != 'unsized':
            self.send_header('Content-Length', str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def site(monkeypatch):
    """A server on this machine; ``site.mirror(behaviour)`` is an address, ``site.requests`` what was asked for."""
    monkeypatch.setenv('no_proxy', '*')
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Mirror) as server:
        server.requests = []
        server.mirror = lambda behaviour: 'http://127.0.0.1:{}/{}/'.format(server.server_port, behaviour)
        thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def closed_port():
    """An address at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        yield 'http://127.0.0.1:{}/'.format(taken.getsockname()[1])


def assert_whole(folder, names=NAMES):
    """Assert that these stand-ins lie in the folder as they should, and nothing else."""
    assert sorted(os.listdir(folder)) == sorted(names)
    for name in names:
        assert (folder / name).read_bytes() == FILES[name]


@pytest.mark.parametrize('behaviour', ['good', 'unsized'])
def test_fetch(site, tmp_path, behaviour):
    folder = tmp_path / 'new' / 'folder'
    mirrors = [site.mirror(behaviour), site.mirror('404')]
    fetch(str(folder), mirrors=mirrors, checksums=STAND_INS)
    assert_whole(folder)
    assert site.requests == ['/{}/{}'.format(behaviour, name) for name in NAMES]
    # Only what is missing is asked for.
    (folder / TRAIN_LABELS).unlink()
    for _ in range(2):
        fetch(folder, mirrors=mirrors, checksums=STAND_INS)
        assert_whole(folder)
        assert site.requests[4:] == ['/{}/{}'.format(behaviour, TRAIN_LABELS)]


FAILURES = {
    '404': 'HTTP Error 404: Not Found',
    '500': 'HTTP Error 500: Internal Server Error',
    'garbled': 'nonsense',
    'page': '43 bytes that are not the file (wrong checksum)',
    'damaged': '130 bytes that are not the file (wrong checksum)',
    'short': 'the connection ended after 125 of 130 bytes',
    'promising': '1,000,000,000,000 bytes promised',
    'wordy': "'many'",
}


@pytest.mark.parametrize(('behaviour', 'reason'), FAILURES.items())
def test_mirrors_that_fail(site, closed_port, tmp_path, behaviour, reason):
    """The next one is asked; after the last, a line says what each did."""
    mirrors = [site.mirror(behaviour), closed_port]
    message = refusal(fetch, tmp_path, mirrors=mirrors, checksums=STAND_INS)
    assert message.startswith('{} is missing and can\'t be fetched ('.format(tmp_path / TRAIN_IMAGES))
    assert message.endswith('): put the four IDX files of MNIST there')
    first, second = message.split('; ')
    assert '({}: '.format(mirrors[0] + TRAIN_IMAGES) in first
    assert reason in first
    assert second.startswith('{}: '.format(mirrors[1] + TRAIN_IMAGES))
    assert 'refused' in second
    assert os.listdir(tmp_path) == []
    site.requests.clear()
    fetch(tmp_path, mirrors=[site.mirror(behaviour), site.mirror('good')], checksums=STAND_INS)
    assert_whole(tmp_path)
    assert site.requests == ['/{}/{}'.format(mirror, name) for name in NAMES for mirror in (behaviour, 'good')]


def test_refusing_mirrors_connection_is_closed(site, tmp_path, monkeypatch):
    answers = []

    class Answer(urllib.error.HTTPError):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            answers.append(self)
    monkeypatch.setattr(urllib.request, 'HTTPError', Answer)
    refusal(fetch, tmp_path, mirrors=[site.mirror('404'), site.mirror('500')], checksums=STAND_INS)
    assert [answer.code for answer in answers] == [404, 500]
    assert all(answer.fp.isclosed() for answer in answers)


def test_silent_mirror(site, tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, '_SECONDS', 0.2)
    assert 'timed out' in refusal(fetch, tmp_path, mirrors=[site.mirror('silent')], checksums=STAND_INS)
    assert os.listdir(tmp_path) == []


def test_interrupted(site, tmp_path, monkeypatch):
    class Interrupted(mnist.CountingBar):
        def update(self, done, share):
            if 0 < done < len(FILES[TEST_IMAGES]) and len(site.requests) == 3:
                raise KeyboardInterrupt
    with monkeypatch.context() as patch:
        patch.setattr(mnist, 'CountingBar', Interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch(tmp_path, mirrors=[site.mirror('good'), site.mirror('good')], checksums=STAND_INS)
    assert site.requests == ['/good/' + name for name in NAMES[:3]]
    assert_whole(tmp_path, NAMES[:2])
    fetch(tmp_path, mirrors=[site.mirror('good')], checksums=STAND_INS)
    assert_whole(tmp_path)
    assert site.requests[3:] == ['/good/' + name for name in NAMES[2:]]


def test_full_disk(site, tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(os, 'fsync', fail)
    message = refusal(fetch, tmp_path, mirrors=[site.mirror('good')], checksums=STAND_INS)
    assert message == '{}: can\'t be written (No space left on device): give another folder to --data'.format(
        tmp_path / TRAIN_IMAGES)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason='root writes everywhere')
def test_folder_that_can_not_be_written(site, tmp_path):
    tmp_path.chmod(0o500)
    try:
        for folder in (tmp_path, tmp_path / 'new'):
            message = refusal(fetch, folder, mirrors=[site.mirror('good')], checksums=STAND_INS)
            assert message.startswith('{}'.format(folder / TRAIN_IMAGES))
            assert message.endswith(': can\'t be written (Permission denied): give another folder to --data')
    finally:
        tmp_path.chmod(0o700)


def test_data_of_another_kind(digits_folder, tmp_path):
    """Four files of MNIST's names are taken as they are; beside three of them the fourth would not belong."""
    folder = shutil.copytree(digits_folder, tmp_path / 'data')
    fetch(folder, mirrors=())
    MNIST(folder)
    (folder / TEST_LABELS).unlink()
    message = refusal(fetch, folder, mirrors=())
    assert message.startswith('{}: not the compressed file of MNIST, so {} is not fetched beside it: '.format(
        folder / TRAIN_IMAGES, TEST_LABELS))
    assert sorted(os.listdir(folder)) == sorted(NAMES[:3])


def test_nothing_is_fetched_beside_unpacked_files(site, tmp_path):
    """Of which it is not known what they are."""
    (tmp_path / TEST_IMAGES[:-3]).write_bytes(b'unpacked')
    message = refusal(fetch, tmp_path, mirrors=[site.mirror('good')], checksums=STAND_INS)
    assert message.startswith('{}: not the compressed file of MNIST'.format(tmp_path / TEST_IMAGES[:-3]))
    assert site.requests == []


def test_missing_files_go_beside_those_that_are_there(site, tmp_path, capsys):
    """As in a folder of torchvision that was copied in part."""
    raw = tmp_path / 'MNIST' / 'raw'
    raw.mkdir(parents=True)
    for name in NAMES[1:]:
        (raw / name).write_bytes(FILES[name])
    fetch(tmp_path, mirrors=[site.mirror('good')], checksums=STAND_INS)
    assert_whole(raw)
    assert os.listdir(tmp_path) == ['MNIST']
    assert capsys.readouterr().out.splitlines()[1] == 'Read from {}: {}'.format(raw, ', '.join(NAMES))


@pytest.mark.parametrize('found', [
    ['emnist-letters-train-images-idx3-ubyte.gz'], ['QMNIST/raw/qmnist-train-images-idx3-ubyte'],
    ['mnist_train.csv'], ['archive.zip', 'notes.txt'], ['mnist_png/training/0/1.png'],
    ['train-images-idx3-ubyte.1.tmp.zip']])
def test_nothing_is_fetched_into_a_folder_of_something_else(site, tmp_path, found):
    for name in found:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b'')
    message = refusal(fetch, tmp_path, mirrors=[site.mirror('good')], checksums=STAND_INS)
    assert message == (
        '{} holds {}, and none of train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, '
        't10k-labels-idx1-ubyte (compressed or not): give the folder of these to --data, or a new one, into which '
        'MNIST is fetched{}'.format(
                tmp_path, ', '.join(sorted({name.split('/')[0] for name in found})),
                '; of EMNIST, name the four of one split so, t10k for test, and transpose their digits, which lie on '
                'their side' if 'emnist' in found[0] else ''))
    assert site.requests == []
    assert 'a, b, c, d, e and 2 more' in refusal(fetch, fill(tmp_path / 'many', 'gfedcba'))


def fill(folder, names):
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(b'')
    return folder


def test_what_an_interruption_left_is_nothing_else(site, tmp_path):
    fill(tmp_path / 'data', ['.hidden', TRAIN_IMAGES + '.123.tmp'])
    fetch(tmp_path / 'data', mirrors=[site.mirror('good')], checksums=STAND_INS)
    assert len(site.requests) == 4


def test_closed_output_is_not_the_mirrors_fault(site, tmp_path, monkeypatch):
    class Closed(mnist.CountingBar):
        def __enter__(self):
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
    monkeypatch.setattr(mnist, 'CountingBar', Closed)
    with pytest.raises(BrokenPipeError):
        fetch(tmp_path, mirrors=[site.mirror('good'), site.mirror('good')], checksums=STAND_INS)
    assert len(site.requests) == 1
    assert os.listdir(tmp_path) == []


def test_progress_in_a_pipe(site, tmp_path, capsys):
    fetch(tmp_path, mirrors=[site.mirror('good')], checksums=STAND_INS)
    output, errors = capsys.readouterr()
    assert output == ''.join('Fetching {} from 127.0.0.1 ...\n'.format(name) for name in NAMES)
    assert errors == ''


def test_progress_on_a_terminal(site, tmp_path, capsys, monkeypatch):
    """A line for each file, and below it, while it comes, a bar; both no wider than the terminal."""
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: True)
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setenv('COLUMNS', '40')
    monkeypatch.setattr(mnist.CountingBar, '_seconds', {True: 0})
    fetch(tmp_path, mirrors=[site.mirror('good')], checksums=STAND_INS)
    output, errors = capsys.readouterr()
    states = output.split('\033[J')
    for name in NAMES:
        assert output.count('Fetching {} from 127.0.0.1 ...\n'.format(name)) == 1
    bars = [state.splitlines() for state in states if state.startswith('[')]
    assert len(bars) == sum(-(-len(FILES[name]) // (1 << 16)) for name in NAMES)
    for bar, size, up in bars:
        assert len(bar) == 39
        assert re.fullmatch(r'[\d,]+ bytes, \d:\d\d:\d\d left', size)
        assert up.startswith('\033[2A')
    assert sum(bar == '[{}] 100.0%'.format(30 * '#') for bar, _, _ in bars) == 4
    assert errors == ''


@pytest.mark.parametrize('behaviour', ['stalled', 'dead'])
def test_proxy(behaviour, closed_port, tmp_path, capsys, monkeypatch):
    """It is named before the waiting, and in the error; its password is not."""
    monkeypatch.setattr(mnist, '_SECONDS', 0.2)
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        server.listen()
        address = '127.0.0.1:{}'.format(server.getsockname()[1]) if behaviour == 'stalled' else closed_port[7:-1]
        for name in ('http_proxy', 'HTTP_PROXY'):
            monkeypatch.setenv(name, 'http://somebody:secret@{}/'.format(address))
        for name in ('no_proxy', 'NO_PROXY'):
            monkeypatch.setenv(name, '')
        message = refusal(fetch, tmp_path / 'data', ['http://mirror.invalid/'], STAND_INS)
    way = 'mirror.invalid through the proxy {} ...\n'.format(address)
    assert capsys.readouterr().out == 'Fetching {} from {}'.format(TRAIN_IMAGES, way)
    assert '/{} through the proxy {}: '.format(TRAIN_IMAGES, address) in message
    assert 'secret' not in message
