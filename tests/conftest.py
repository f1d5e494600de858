import json
import os
import pathlib
import subprocess
import sys

import numpy
import pytest

import ddgm  # noqa: F401  (before Chainer)

import chainer  # isort: skip

ROOT = pathlib.Path(__file__).parent.parent


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


@pytest.fixture
def run_script(tmp_path):
    """Run a training script as a user would, in an empty folder: ``run_script('gaussian_mixture', '-n', '4')``."""
    def run(task, *arguments, **options):
        return subprocess.run(
            [sys.executable, str(ROOT / 'train_{}.py'.format(task)), *map(str, arguments)],
            cwd=tmp_path, capture_output=True, text=True, timeout=300, **options)
    return run


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
        snapshot = {name: file[name] for name in file if name != 'elapsed_time'}
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
