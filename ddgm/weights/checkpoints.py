"""Weights out of anybody's files: arrays by name, whichever program wrote them.

What a file is, its first bytes say, not its name.  Nothing in it is run, and no header is believed before it fits the
file.  PyTorch's files are left to PyTorch's reader for weights alone, and what they hold beside weights is not made.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import json
import math
import os
import pathlib
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable

import numpy

from ddgm.support.errors import UsageError, one_line, some
from ddgm.support.files import instead, read_arrays

SUFFIXES = ('.npz', '.pt', '.pth', '.ckpt', '.bin', '.safetensors', '.hdf5', '.h5')
_N_NAMED = 12  # of a file's parts
_SAFETENSORS_TYPES = {
    'F64': '<f8', 'F32': '<f4', 'F16': '<f2', 'BF16': '<u2', 'I64': '<i8', 'I32': '<i4', 'I16': '<i2', 'I8': '<i1',
    'U64': '<u8', 'U32': '<u4', 'U16': '<u2', 'U8': '<u1', 'BOOL': '?'}
# What checkpoints often hold beside weights; NumPy 1 and 2, and Python, have some in two modules.
_BESIDE_WEIGHTS = (
    'numpy.ndarray', 'numpy.core.multiarray.scalar', 'numpy._core.multiarray.scalar', 'argparse.Namespace',
    'pathlib.PosixPath', 'pathlib.WindowsPath', 'pathlib._local.PosixPath', 'pathlib._local.WindowsPath')
_ARRAYS = 'numpy.core.multiarray._reconstruct', 'numpy._core.multiarray._reconstruct'
_CONVERT = (
    'where it is installed, run: python -c "import numpy, torch; numpy.savez(\'weights.npz\', **{{name: x.numpy() for '
    'name, x in torch.load(\'{}\', \'cpu\').items()}})"  (of a file of several models, one: .load(…)[\'KEY\'])')


# ---- which file, and which part of it

def find(
        folder: pathlib.Path, stem: str, others: Iterable[str],
        name: str | None = None) -> tuple[pathlib.Path, str | None]:
    """The file in which a model's weights are, and the name of the part that they are there, or ``None``.

    Args:
        folder: A folder of such files, or one file that holds the model.
        stem: What its file is called but for the suffix; also the flag that names another one.
        others: What the files of other models are called.
        name: What the user called it: a file of the folder, FILE:PART, or a part of the one file.

    Raises ``UsageError`` where that is not certain.
    """
    if not folder.exists():
        raise UsageError('{}: {}'.format(folder, instead(folder) or 'there is no such file or folder'))
    if not folder.is_dir():
        return folder, name
    if name is not None:
        file, _, part = name.partition(':')
        for found in ((folder / name, None), (folder / file, part)):
            if found[0].is_file():
                return found
        raise UsageError('{}: there is no such file: give one of {} to --{}'.format(folder / name, folder, stem))
    found = [path for path in sorted(folder.iterdir())
             if path.suffix.lower() in SUFFIXES and (path.is_file() or not path.exists())]
    own = [path for path in found if path.stem == stem]
    own = own or [path for path in found if path.stem not in others]  # one file of both models
    if len(own) == 1:
        return own[0], None
    if not own:
        raise UsageError('{}: holds no file of weights{} ({}): give another folder, or name the file by --{}'.format(
            folder, ' but those of other models' if found else '', ', '.join(SUFFIXES), stem))
    raise UsageError('{}: holds {}, so it is not clear which is the {}: name one by --{}'.format(
        folder, some([path.name for path in own]), stem, stem))


def part_of(arrays: dict, name: str | None) -> dict:
    """Those arrays whose names begin with another name, without it; all of them for ``None``."""
    if name is None:
        return arrays
    for beginning in (name + '.', name + '/', name):
        part = {other[len(beginning):]: array for other, array in arrays.items() if other.startswith(beginning)}
        if part:
            return part
    raise UsageError('there is no {!r}: it holds {}'.format(name, summary(arrays)))


def summary(arrays: Iterable[str]) -> str:
    """What arrays are there, in words: the first parts of their names that tell them apart."""
    common = re.match(r'(.*[./])?', os.path.commonprefix(list(arrays)), re.DOTALL).group()
    parts = collections.Counter(common + re.match(r'[^./]*', name[len(common):]).group() for name in arrays)
    counted = ['{} ({} arrays)'.format(part, n) if n > 1 else part for part, n in parts.items()]
    return some(counted, _N_NAMED) or 'no arrays'


# ---- the formats

def read(path: str | os.PathLike) -> dict[str, numpy.ndarray]:
    """The arrays of a file by name; what lies in dicts or lists within others has their names before its own.

    Raises ``UsageError`` where the file can't be read.
    """
    try:
        with open(path, 'rb') as file:
            head = file.read(9)
        return _reader_of(path, head)(path)
    except UsageError:  # which is a ValueError
        raise
    except OSError as error:
        raise UsageError('{}: can\'t be read ({})'.format(
            path, not os.path.exists(path) and instead(path) or error.strerror or one_line(error))) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise UsageError('{}: can\'t be read ({})'.format(path, one_line(error) or type(error).__name__)) from error


def _reader_of(path, head) -> Callable:
    if head.startswith(b'PK'):
        with contextlib.suppress(Exception), zipfile.ZipFile(path) as archive:  # what is damaged, read_arrays refuses
            names = {os.path.basename(name) for name in archive.namelist()}
            kinds = {'constants.pkl': 'jit', 'archive_format': 'export'}  # of programs, which are not run here
            program = next((kind for name, kind in kinds.items() if name in names), None)
            if program:
                return functools.partial(_refuse_program, program)
            if 'data.pkl' in names:
                return _read_pytorch
        if head.startswith(b'PK\x03\x04') and not zipfile.is_zipfile(path):
            raise ValueError('its end is missing: copy it again')
    if head.startswith((b'PK', b'\x93NUMPY')):
        return read_arrays
    if head.startswith(b'\x80'):  # a pickle: PyTorch's format until 2020
        return _read_pytorch
    if head.startswith(b'\x89HDF'):
        return _read_hdf5
    if head[8:9] == b'{':
        return _read_safetensors
    raise ValueError(instead(path) or 'it is of none of the formats {}'.format(', '.join(SUFFIXES)))


def _refuse_program(kind, path):
    weights = {'jit': 'torch.jit.load({!r}, \'cpu\').state_dict()', 'export': 'torch.export.load({!r}).state_dict'}
    raise ValueError('it holds a program of torch.{}, which is not run here: save {} by torch.save'.format(
        kind, weights[kind].format(str(path))))


def _read_safetensors(path):
    """Eight bytes, the length of a header in JSON, then all arrays one after the other."""
    with open(path, 'rb') as file:
        content = file.read()
    end = 8 + int.from_bytes(content[:8], 'little')
    if end > len(content):
        raise ValueError('its header promises to be {:,} bytes long'.format(end - 8))
    entries = json.loads(content[8:end].decode())
    entries.pop('__metadata__', None)
    arrays, start = {}, end
    try:
        for name, entry in sorted(entries.items(), key=lambda item: item[1]['data_offsets']):
            kind, shape, place = entry['dtype'], entry['shape'], [end - start]
            if kind not in _SAFETENSORS_TYPES:
                raise ValueError('{} is of type {}'.format(name, kind))
            dtype = numpy.dtype(_SAFETENSORS_TYPES[kind])
            end += dtype.itemsize * math.prod(shape)
            if min(shape, default=0) < 0 or entry['data_offsets'] != place + [end - start] or end > len(content):
                raise ValueError('its header promises the shape {} of {}, where that does not lie'.format(shape, name))
            array = numpy.frombuffer(bytearray(content[start + place[0]:end]), dtype).reshape(shape)
            if kind == 'BF16':  # the upper half of a float32
                array = (array.astype(numpy.uint32) << 16).view(numpy.float32)
            arrays[name] = array
    except (KeyError, TypeError) as error:
        raise ValueError('its header lacks a type, a shape or a place') from error
    if end != len(content):
        raise ValueError('{:,} bytes follow that its header does not promise'.format(len(content) - end))
    return arrays


def _read_pytorch(path):
    """What ``torch.save`` wrote, without running what the file says."""
    try:
        import torch
    except ImportError as error:
        raise UsageError('{}: only PyTorch reads its own format, and it is not installed here: {}'.format(
            path, _CONVERT.format(path))) from error
    beside = contextlib.nullcontext()
    if torch.__version__ >= '2.6':  # before, PyTorch refuses what is no weight
        beside = torch.serialization.safe_globals([
            (_NumberType, 'numpy.dtype'), *((_Array, name) for name in _ARRAYS),
            *((_Nothing, name) for name in _BESIDE_WEIGHTS)])
    try:
        with warnings.catch_warnings(), beside:
            warnings.simplefilter('ignore')
            return dict(_tensors(torch, torch.load(path, map_location='cpu', weights_only=True), '', set()))
    except Exception as error:  # of damaged files PyTorch raises errors of many kinds
        found = re.search(r'GLOBAL (\S+)', str(error))
        if found:
            raise UsageError(
                '{}: holds more than weights ({}), which only its own program may load: save there what the '
                'state_dict() of each model returns'.format(path, one_line(found.group(1)))) from error
        raise ValueError(re.split(r'\. |\n', str(error))[0] or type(error).__name__) from error


class _Nothing:
    """Stands for what is no weight, and makes nothing of what the file says of it."""

    def __init__(self, *arguments):
        pass

    def __setstate__(self, state):
        pass


class _NumberType:
    """Stands for a type of NumPy, which would believe whatever the file says of it."""

    def __init__(self, name, *arguments):
        self.name = str(name)

    def __setstate__(self, state):
        self.name = str(state[1]) + self.name  # the order of its bytes


class _Array:
    """Stands for an array of NumPy.  ``array()`` makes it, where it is one of numbers."""

    def __init__(self, *arguments):
        self.state = None

    def __setstate__(self, state):
        self.state = state

    def array(self):
        _, shape, dtype, is_turned, content = self.state
        if not isinstance(dtype, _NumberType) or not re.fullmatch(r'[<>=|]?[fiub]\d+', dtype.name):
            return None
        return numpy.frombuffer(bytearray(content), dtype.name).reshape(shape, order='F' if is_turned else 'C')


def _tensors(torch, content, name, seen):
    """Every tensor and array below some dicts and lists as an array, with its name."""
    if isinstance(content, torch.Tensor):
        content = content.detach()
        if content.is_floating_point() and content.element_size() < 4:  # some of these NumPy does not have
            content = content.float()
        yield name, content.numpy()
        return
    if isinstance(content, _Array):
        array = content.array()
        if array is not None:
            yield name, array
        return
    if isinstance(content, (dict, list, tuple)) and id(content) not in seen:  # what is there twice counts once
        seen.add(id(content))
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from _tensors(torch, value, '{}.{}'.format(name, key) if name else str(key), seen)


def _read_hdf5(path):
    """What Chainer's ``save_hdf5`` wrote."""
    try:
        import h5py
    except ImportError as error:
        raise UsageError('{}: is read by the package h5py, which is not installed here: pip install h5py'.format(
            path)) from error
    arrays = {}

    def add(name, item):
        if isinstance(item, h5py.Dataset):
            if item.nbytes > max(2 ** 29, 4 * os.path.getsize(path)):
                raise ValueError('{} would unpack to {:,} bytes'.format(name, item.nbytes))
            arrays[name] = item[()]
    try:
        with h5py.File(path, 'r') as file:
            file.visititems(add)
    except Exception as error:  # of damaged files h5py raises errors of many kinds
        raise ValueError(one_line(error)) from error
    return arrays
