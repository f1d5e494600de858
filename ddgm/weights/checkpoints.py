"""Weights out of anybody's files: arrays by name, whichever program wrote them.

What a file is, its first bytes say, not its name.  Nothing in it is run, and no header is believed before it fits the
file.  PyTorch's files are left to PyTorch's reader for weights alone, and what they hold beside weights is not made.
"""

import contextlib
import json
import math
import os
import re
import warnings
import zipfile

import numpy

from ddgm.support.errors import UsageError, one_line, some
from ddgm.support.files import read_arrays

_N_NAMED = 12  # of a file's parts
SUFFIXES = ('.npz', '.pt', '.pth', '.ckpt', '.bin', '.safetensors', '.hdf5', '.h5')
_LARGEST_HEADER = 100_000_000  # bytes, as safetensors itself has it
_SAFETENSORS_TYPES = {
    'F64': '<f8', 'F32': '<f4', 'F16': '<f2', 'BF16': '<u2', 'I64': '<i8', 'I32': '<i4', 'I16': '<i2', 'I8': '<i1',
    'U64': '<u8', 'U32': '<u4', 'U16': '<u2', 'U8': '<u1', 'BOOL': '?'}
# What PyTorch may meet in its files, by the module that it is in; NumPy 1 and 2, and Python, have some in two.
_BESIDE_WEIGHTS = (
    ('numpy', 'dtype ndarray'), ('numpy.core.multiarray', 'scalar _reconstruct'),
    ('numpy._core.multiarray', 'scalar _reconstruct'), ('argparse', 'Namespace'),
    ('pathlib', 'PosixPath WindowsPath'), ('pathlib._local', 'PosixPath WindowsPath'))
_CONVERT = (
    'where it is installed, run: python -c "import numpy, torch; numpy.savez(\'weights.npz\', **{{name: x.numpy() for '
    'name, x in torch.load(\'{}\', \'cpu\').items()}})"  (of a file of several models, one: .load(…)[\'KEY\'])')


# ---- which file, and which part of it

def find(folder, stem, others, name=None):
    """The file in which a model's weights are, and the name of the part that they are there, or ``None``.

    Args:
        folder (pathlib.Path): A folder of such files, or one file that holds the model.
        stem (str): What its file is called but for the suffix; also the flag that names another one.
        others: What the files of other models are called.
        name (str): What the user called it: a file of the folder, FILE:PART, or a part of the one file.

    Raises ``UsageError`` where that is not certain.
    """
    if not folder.exists():
        raise UsageError('{}: there is no such file or folder'.format(folder))
    if not folder.is_dir():
        return folder, name
    if name is not None:
        file, _, part = name.partition(':')
        for found in ((folder / name, None), (folder / file, part)):
            if found[0].is_file():
                return found
        raise UsageError('{}: there is no such file: give one of {} to --{}'.format(folder / name, folder, stem))
    found = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES and path.is_file()]
    own = [path for path in found if path.stem == stem]
    own = own or [path for path in found if path.stem not in others]  # one file of both models
    if len(own) == 1:
        return own[0], None
    if not own:
        raise UsageError('{}: holds no file of weights{} ({}): give another folder, or name the file by --{}'.format(
            folder, ' but those of other models' if found else '', ', '.join(SUFFIXES), stem))
    raise UsageError('{}: holds {}, so it is not clear which is the {}: name one by --{}'.format(
        folder, some([path.name for path in own]), stem, stem))


def part_of(arrays, name):
    """Those arrays whose names begin with another name, without it; all of them for ``None``."""
    if name is None:
        return arrays
    for beginning in (name + '.', name + '/', name):
        part = {other[len(beginning):]: array for other, array in arrays.items() if other.startswith(beginning)}
        if part:
            return part
    raise UsageError('there is no {!r}: it holds {}'.format(name, summary(arrays)))


def summary(arrays):
    """What arrays are there, in words: the first parts of their names that tell them apart."""
    names, start = list(arrays), 0
    while True:
        heads = [re.match(r'[^./]*[./]?', name[start:]).group() for name in names]
        if len(set(heads)) != 1 or not heads[0].endswith(('.', '/')):
            break
        start += len(heads[0])
    parts = {}
    for name, head in zip(names, heads):
        part = (name[:start] + head).rstrip('./')
        parts[part] = parts.get(part, 0) + 1
    counted = ['{} ({} arrays)'.format(part, n) if n > 1 else part for part, n in parts.items()]
    return some(counted, _N_NAMED) or 'no arrays'


# ---- the formats

def read(path):
    """The arrays of a file by name; what lies in dicts or lists within others has their names before its own.

    Raises ``UsageError`` where the file can't be read.
    """
    try:
        with open(path, 'rb') as file:
            head = file.read(9)
        return _reader_of(path, head)(path)
    except OSError as error:
        raise UsageError('{}: can\'t be read ({})'.format(path, error.strerror or one_line(error))) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise UsageError('{}: can\'t be read ({})'.format(path, one_line(error) or type(error).__name__)) from error


def _reader_of(path, head):
    if head.startswith(b'PK'):
        with contextlib.suppress(Exception), zipfile.ZipFile(path) as archive:  # what is damaged, read_arrays refuses
            if any(os.path.basename(name) == 'data.pkl' for name in archive.namelist()):
                return _read_pytorch
    if head.startswith((b'PK', b'\x93NUMPY')):
        return read_arrays
    if head.startswith(b'\x80'):  # a pickle: PyTorch's format until 2020
        return _read_pytorch
    if head.startswith(b'\x89HDF'):
        return _read_hdf5
    if head[8:9] == b'{':
        return _read_safetensors
    raise ValueError('it is of none of the formats {}'.format(', '.join(SUFFIXES)))


def _read_safetensors(path):
    """Eight bytes, the length of a header in JSON, then all arrays one after the other."""
    with open(path, 'rb') as file:
        content = file.read()
    start = 8 + int.from_bytes(content[:8], 'little')
    if start > min(len(content), 8 + _LARGEST_HEADER):
        raise ValueError('its header promises to be {:,} bytes long'.format(start - 8))
    header = json.loads(content[8:start].decode())
    places = []
    for name, entry in header.items():
        if name == '__metadata__':
            continue
        try:
            number_type, shape, (first, last) = entry['dtype'], entry['shape'], entry['data_offsets']
            if not isinstance(shape, list) or any(type(n) is not int or n < 0 for n in (*shape, first, last)):
                raise ValueError(shape)
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError('its header has no type, shape and place of {}'.format(name)) from error
        if not isinstance(number_type, str) or number_type not in _SAFETENSORS_TYPES:
            raise ValueError('{} is of type {}'.format(name, number_type))
        dtype = numpy.dtype(_SAFETENSORS_TYPES[number_type])
        if last - first != dtype.itemsize * math.prod(shape):
            raise ValueError('its header promises the shape {} of {}, in {:,} bytes'.format(
                tuple(shape), name, last - first))
        places.append((first, last, name, number_type, dtype, shape))
    places.sort(key=lambda place: place[:2])
    ends = [0, *(last for _, last, *_ in places)]
    if ends[-1] != len(content) - start or [first for first, *_ in places] != ends[:-1]:
        raise ValueError('its {:,} bytes of arrays are not those that its header promises'.format(
            len(content) - start))
    arrays = {}
    for first, last, name, number_type, dtype, shape in places:
        array = numpy.frombuffer(content[start + first:start + last] or bytearray(), dtype).reshape(shape)
        if number_type == 'BF16':  # the upper half of a float32
            array = (array.astype(numpy.uint32) << 16).view(numpy.float32)
        arrays[name] = array
    return arrays


def _read_pytorch(path):
    """What ``torch.save`` wrote, without running what the file says."""
    try:
        import torch
    except ImportError as error:
        raise UsageError('{}: only PyTorch reads its own format, and it is not installed here: {}'.format(
            path, _CONVERT.format(path))) from error
    try:
        with warnings.catch_warnings(), _harmless(torch):
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


def _harmless(torch):
    """What checkpoints often hold beside weights, and PyTorch by itself refuses: NumPy's numbers, arguments, paths."""
    if not hasattr(torch.serialization, 'safe_globals'):  # PyTorch before 2.5
        return contextlib.nullcontext()
    return torch.serialization.safe_globals([
        type(name, (_Nothing,), {'__module__': module}) for module, names in _BESIDE_WEIGHTS for name in names.split()])


def _tensors(torch, content, name, seen):
    """Every tensor below some dicts and lists as an array, with its name."""
    if isinstance(content, torch.Tensor):
        content = content.detach()
        if content.is_floating_point() and content.element_size() < 4:  # some of these NumPy does not have
            content = content.float()
        yield name, content.numpy()
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
