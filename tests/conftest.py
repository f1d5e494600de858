import contextlib
import functools
import gzip
import json
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import sys
import time

# Before NumPy is imported, for the tests and the scripts that they start: with small arrays, and several tests at a
# time, threads only wait for each other.
os.environ.setdefault('OMP_NUM_THREADS', '1')
# Records were made without it; what is compiled has tests of its own.
os.environ.setdefault('DDGM_USE_NUMBA', 'never')
os.environ.setdefault('NUMBA_CACHE_DIR', str(pathlib.Path(__file__).parent.parent / '.pytest_cache' / 'numba'))

import numpy  # noqa: E402
import pytest  # noqa: E402
from PIL import Image  # noqa: E402

# Where there is no CuPy, GPU twins run on a strict stand-in that computes on the CPU.
GPU_STAND_IN = pathlib.Path(__file__).parent / 'gpu_stand_in'
if any(map(shutil.which, ('c++', 'g++', 'clang++'))):  # which compiles its kernels
    sys.path.append(str(GPU_STAND_IN))

import ddgm  # noqa: E402, F401  (before Chainer)
from ddgm.runs import snapshots  # noqa: E402
from ddgm.support.errors import UsageError  # noqa: E402

import chainer  # noqa: E402  # isort: skip

ROOT = pathlib.Path(__file__).parent.parent
HANGS_AFTER = 300  # seconds: where other work is done beside the tests, a process takes its time

# Some tests send Ctrl-C.  A shell starts what it runs in the background with that ignored, and its processes inherit
# it.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, 'SIGHUP') and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    # After nohup: the tests outlive a lost connection, but what they start does not begin with the signal ignored.
    signal.signal(signal.SIGHUP, lambda *_: None)


def refusal(function, *arguments, **options):
    """The one line with which a call refuses."""
    with pytest.raises(UsageError) as caught:
        function(*arguments, **options)
    message = str(caught.value)
    assert message.isprintable()  # no end of a line either
    return message


def pytest_addoption(parser):
    parser.addoption('--thorough', action='store_true', help='more faults, more damaged files, longer runs')
    parser.addoption('--record', action='store_true', help='write what was tried into docs/results/reliability.json')


@pytest.fixture
def thorough(request):
    """Whether ``--thorough`` was given."""
    return request.config.getoption('thorough')


# What the tests tell of, as docs/results/reliability.json has it.
TOLD = {
    'faults': ['fault', 'tried', 'runs lost', 'how it ended'],
    'damaged_files': ['damaged files', 'tried', 'refused in a line', 'read', 'MB the process grew'],
    'long_logs': ['log', 'how it ended'],
}


@pytest.fixture
def tell(record_property):
    """``tell(table, cell, …)`` adds a row to one of the tables that end the tests."""
    def tell(table, *cells):
        assert len(cells) == len(TOLD[table])
        record_property('told', json.dumps([table, cells]))
    return tell


def pytest_terminal_summary(terminalreporter, config):
    """The tables of what was tried (``test_faults.py``, ``test_fuzz.py``)."""
    rows = {}
    for report in sorted(terminalreporter.getreports('passed'), key=lambda report: report.location):
        for name, value in report.user_properties:
            if name == 'told':
                table, cells = json.loads(value)
                rows.setdefault(table, []).append(cells)
    for table in rows:
        terminalreporter.section(table)
        for line in (TOLD[table], len(TOLD[table]) * ['---'], *rows[table]):
            terminalreporter.write_line('| {} |'.format(' | '.join(map(str, line))))
    if rows and config.getoption('record'):
        from benchmarks.results import record
        kept = json.loads((ROOT / 'docs' / 'results' / 'reliability.json').read_text(encoding='utf-8'))['tables']
        record.write('reliability', {**kept, **{
            table: {'columns': TOLD[table], 'rows': of_it} for table, of_it in rows.items()}}, command='make faults')


def send(device, array):
    """To the device, lying there as it does here."""
    order = numpy.argsort([-stride for stride in array.strides])
    return device.send(numpy.ascontiguousarray(array.transpose(order))).transpose(*numpy.argsort(order))


def is_stand_in():
    """Whether the CuPy here is only the stand-in for it."""
    cuda = chainer.backends.cuda
    return cuda.available and pathlib.Path(cuda.cupy.__file__).parent.parent == GPU_STAND_IN


def pytest_report_header():
    return 'GPU: a stand-in for CuPy that computes on the CPU' if is_stand_in() else None


def pytest_collection_modifyitems(items):
    try:
        chainer.get_device('@cupy:0').use()
    except Exception as error:
        reason = 'no GPU: {}'.format(' '.join(str(error).split()))
        for item in items:
            if 'gpu' in item.keywords:
                item.add_marker(pytest.mark.skip(reason=reason))
    finally:
        chainer.get_device('@numpy').use()


@pytest.fixture(params=['@numpy', pytest.param('@cupy:0', marks=pytest.mark.gpu)])
def device(request):
    """The device of a test and of its GPU twin."""
    device = chainer.get_device(request.param)
    with chainer.using_device(device):
        yield device


@pytest.fixture
def rng():
    return numpy.random.default_rng(20161028)


@pytest.fixture(scope='session', autouse=True)
def cache_of_their_own(tmp_path_factory):
    """Where classifiers are kept: the user's are neither used nor added to."""
    os.environ['XDG_CACHE_HOME'] = str(tmp_path_factory.mktemp('cache'))


@pytest.fixture(scope='session')
def digits_folder(tmp_path_factory):
    """The four IDX files of a small data set: the label, plus 1, in binary, a bright or dark quarter for each digit."""
    folder = tmp_path_factory.mktemp('digits')
    rng = numpy.random.default_rng(0)
    for name, n in (('train', 300), ('t10k', 120)):
        labels = rng.integers(10, size=n).astype(numpy.uint8)
        images = numpy.zeros((n, 28, 28), dtype=numpy.uint8)
        for image, label in zip(images, labels):
            for bit in range(4):
                if int(label) + 1 >> bit & 1:
                    row, column = 4 + 11 * (bit // 2), 4 + 11 * (bit % 2)
                    image[row:row + 9, column:column + 9] = rng.integers(100, 256, size=(9, 9))
        for kind, array in (('images-idx3', images), ('labels-idx1', labels)):
            with gzip.open(folder / '{}-{}-ubyte.gz'.format(name, kind), 'wb') as file:
                file.write(bytes([0, 0, 8, array.ndim]) + struct.pack('>{}I'.format(array.ndim), *array.shape))
                file.write(array.tobytes())
    return folder


@pytest.fixture(scope='session')
def pictures_folder(tmp_path_factory):
    """Forty pictures of discs in all colours."""
    folder = tmp_path_factory.mktemp('pictures')
    rng = numpy.random.default_rng(0)
    y, x = numpy.mgrid[:64, :64]
    for i in range(40):
        (centre_x, centre_y), radius = rng.uniform(24, 40, size=2), rng.uniform(8, 20)
        pixels = numpy.full((64, 64, 3), 255, dtype=numpy.uint8)
        pixels[(x - centre_x) ** 2 + (y - centre_y) ** 2 < radius ** 2] = rng.integers(256, size=3)
        Image.fromarray(pixels).save(folder / '{:02d}.png'.format(i))
    return folder


def until(is_so):
    """Wait for something, and fail where it does not come."""
    end = time.monotonic() + HANGS_AFTER
    while not is_so():
        assert time.monotonic() < end, 'it hangs'
        time.sleep(0.01)


def newest_iteration(run):
    """That of the newest snapshot in a run folder, 0 where there is none; between two renames it is the earlier one."""
    for name in snapshots.NAMES:
        with contextlib.suppress(FileNotFoundError), numpy.load(run / name) as file:
            return int(file['iteration'])
    return 0


def run_script_in(folder, task, *arguments, **options):
    """Run a training script as a user would, in a folder."""
    return subprocess.run(
        [sys.executable, str(ROOT / 'train_{}.py'.format(task)), *map(str, arguments)],
        cwd=folder, capture_output=True, text=True, timeout=HANGS_AFTER, **options)


@pytest.fixture
def run_script(tmp_path):
    """Run a training script in an empty folder: ``run_script('gaussian_mixture', '-n', '4')``."""
    return functools.partial(run_script_in, tmp_path)


@pytest.fixture
def quick_script(tmp_path):
    """The same without scores and pictures, and without the start of a Python: for what does not depend on these."""
    import fault_runs
    return functools.partial(fault_runs.run_script_in, tmp_path)


@pytest.fixture
def without_scores():
    """What this process runs by ``train_….main`` makes no scores and pictures either."""
    import fault_runs
    with fault_runs.without_scores():
        yield


@pytest.fixture
def start_script(tmp_path):
    """Start a training script and return its process, with standard output as a pipe."""
    processes = []

    def start(task, *arguments):
        process = subprocess.Popen(
            [sys.executable, str(ROOT / 'train_{}.py'.format(task)), *map(str, arguments)],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, 'PYTHONUNBUFFERED': '1'})
        processes.append(process)
        return process
    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def read_run(path):
    """What a run computed: log and snapshot without times, models, samples, metrics, the video."""
    path = pathlib.Path(path)
    log = json.loads((path / 'log').read_text())
    for entry in log:
        del entry['elapsed_time']
    with numpy.load(path / 'snapshot.npz') as file:
        snapshot = {name: file[name] for name in file if name not in ('elapsed_time', 'sha256')}
    arrays = {'snapshot': snapshot}
    for name in ('samples', 'energy_model', 'generative_model'):
        with numpy.load(path / (name + '.npz')) as file:
            arrays[name] = dict(file)
    metrics = json.loads((path / 'metrics.json').read_text())
    return {'log': log, 'metrics': metrics, 'video': (path / 'figures' / 'training.gif').read_bytes(), **arrays}


def assert_same_run(first, second):
    """Assert that two runs computed the same bits."""
    first, second = read_run(first), read_run(second)
    assert first['log'] == second['log']
    assert first['metrics'] == second['metrics']
    assert first['video'] == second['video']
    for part in ('snapshot', 'samples', 'energy_model', 'generative_model'):
        assert first[part].keys() == second[part].keys()
        for name in first[part]:
            numpy.testing.assert_array_equal(first[part][name], second[part][name], err_msg=name)
