"""The device of a run: what ``auto`` takes, what a start line tells, and what is said of a GPU that is not there."""

import os

import chainer
import pytest

from ddgm.runs import devices
from ddgm.support.errors import UsageError


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.setenv('CUPY_TF32', '0')


@pytest.mark.gpu
def test_auto_takes_a_gpu():
    device = devices.open_device('auto', tf32=True)
    assert device == chainer.get_device('@cupy:0')
    assert os.environ['CUPY_TF32'] == '1'
    assert devices.versions(device)['products'] == 'TF32'
    assert devices.described(device, 'auto').startswith('@cupy:0 (')
    assert ' GiB, CUDA ' in devices.described(device, 'auto')


@pytest.mark.gpu
@pytest.mark.parametrize(('message', 'told'), [
    ('cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version', 'update it'),
    ('cudaErrorNoDevice: no CUDA-capable device is detected', 'nvidia-smi'),
    ('cudaErrorInvalidDevice: invalid device ordinal', 'CUDA_VISIBLE_DEVICES'),
    ('libcuda.so.1: cannot open shared object file', 'no driver'),
    ('cudaErrorMemoryAllocation: out of memory', 'another program'), ('something else', 'docs/gpu.md')])
def test_a_gpu_that_can_not_be_used(message, told, monkeypatch):
    def fail(self):
        if self.xp is not chainer.get_device('@numpy').xp:
            raise RuntimeError(message)
    monkeypatch.setattr(chainer.backends.cuda.GpuDevice, 'use', fail)
    with pytest.raises(UsageError) as error:
        devices.open_device('0')
    assert told in str(error.value)
    assert message in str(error.value)
    device = devices.open_device('auto')
    assert device == chainer.get_device('@numpy')
    assert devices.described(device, 'auto').startswith('@numpy, no GPU: ')


@pytest.mark.parametrize('name', ['tf32', 'graph'])
def test_what_is_for_a_gpu(name):
    with pytest.raises(UsageError, match='--{} is for a GPU'.format(name)):
        devices.open_device('@numpy', **{name: True})


def test_a_cpu_is_described():
    assert devices.versions(chainer.get_device('@numpy')) == {}
    assert devices.described(chainer.get_device('@numpy'), '@numpy') == '@numpy'
