"""The device that a run computes on: found, opened and described, or told in a line why it is not there."""

from __future__ import annotations

import os

import chainer

from ddgm.support.errors import UsageError, one_line

AUTO = 'auto'  # a GPU where there is one, else the CPU

_NO_CUPY = 'CuPy is not installed: pip install -r requirements-cuda12.txt, or requirements-cuda13.txt'
# What errors of CuPy's tell, by what they contain in small letters, and the cure.
_CURES = (
    ('insufficient', 'the driver is older than this CUDA: update it, or install the requirements of an older CUDA'),
    ('no cuda-capable device', 'the driver sees no GPU: nvidia-smi lists those that it sees'),
    ('invalid device ordinal', 'there are fewer GPUs: nvidia-smi lists them, and CUDA_VISIBLE_DEVICES hides some'),
    ('libcuda', 'there is no driver: nvidia-smi has to list the GPU first'),
    ('out of memory', 'another program has its memory: nvidia-smi lists which'),
)


def open_device(specifier: str, tf32: bool = False, graph: bool = False) -> chainer.backend.Device:
    """Make a Chainer device current and return it; raises ``UsageError`` where this machine lacks it.

    ``'auto'`` is the first GPU, or the CPU where that can't be used.  With ``tf32`` a GPU multiplies matrices in TF32
    where CuPy does: its numbers have 10 bits of fraction.  That, and a ``graph`` of an iteration, is for a GPU alone.
    """
    if tf32:
        os.environ['CUPY_TF32'] = '1'  # which CuPy reads at its first product
    is_auto = specifier == AUTO
    found = '@cupy:0' if is_auto else specifier
    why_not = _why_not(found)
    if is_auto and why_not is not None:
        found, why_not = '@numpy', _why_not('@numpy')
    if why_not is not None:
        raise UsageError('--device {}: no such GPU here: {}; --device -1 is the CPU'.format(found, why_not))
    device = chainer.get_device(found)
    if (tf32 or graph) and not on_gpu(device):
        raise UsageError('--{} is for a GPU: add --device 0, or leave it out'.format('tf32' if tf32 else 'graph'))
    return device


def _why_not(specifier):
    """Why a device can't be used, or ``None``: then it is the current one."""
    try:
        device = chainer.get_device(specifier)
        device.use()
        float(device.xp.ones((2, 2)).dot(device.xp.ones(2)).sum())  # CuPy looks for cuBLAS and the compiler only now
    except Exception as error:  # CuPy missing, no driver, no such GPU: each raises a type of its own
        if not chainer.backends.cuda.available and 'No module named' in str(error):
            return _NO_CUPY
        cure = next((cure for sign, cure in _CURES if sign in str(error).lower()), 'see docs/gpu.md')
        return '{} ({})'.format(cure, one_line(error))
    return None


def on_gpu(device: chainer.backend.Device) -> bool:
    """Whether a device is a GPU."""
    return device.xp is chainer.backends.cuda.cupy


def described(device: chainer.backend.Device, asked: str) -> str:
    """The device as its start line names it: a GPU with its model and memory."""
    if not on_gpu(device):
        return str(device) if asked != AUTO else '{}, no GPU: {}'.format(device, _why_not('@cupy:0'))
    properties = device.xp.cuda.runtime.getDeviceProperties(device.device.id)
    return '{} ({}, {:.1f} GiB, CUDA {cuda}, {products})'.format(
        device, properties['name'].decode(), properties['totalGlobalMem'] / 2 ** 30, **versions(device))


def versions(device: chainer.backend.Device) -> dict:
    """Of a GPU, what decides its bits beside CuPy: CUDA's version, and the numbers in which matrices are multiplied."""
    if not on_gpu(device):
        return {}
    return {
        'cuda': '{}.{}'.format(*divmod(device.xp.cuda.runtime.runtimeGetVersion() // 10, 100)),
        'products': 'FP32' if os.environ.get('CUPY_TF32', '0') in ('', '0') else 'TF32'}
