"""Files that are whole or absent."""

import contextlib
import json
import os
import pathlib

import numpy


@contextlib.contextmanager
def open_atomically(path):
    """Open a file for writing bytes that takes its final name only once it is whole and on the disk."""
    path = pathlib.Path(path)
    temporary = path.with_name(path.name + '.tmp')
    try:
        with open(temporary, 'wb') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def write_json(path, content):
    """Write a dict as a JSON file."""
    with open_atomically(path) as file:
        file.write((json.dumps(content, indent=4) + '\n').encode())


def read_arrays(path):
    """The arrays of an .npz file by name; that of an .npy file by the name ``x``.

    Raises ``ValueError`` with the reason where it can't be read.  Pickled objects, which could hold a file's own code,
    are not loaded.
    """
    try:
        with open(path, 'rb') as file:
            content = numpy.load(file, allow_pickle=False)
            if isinstance(content, numpy.ndarray):
                return {'x': content}
            with content:
                arrays = dict(content)
        if not all(isinstance(array, numpy.ndarray) for array in arrays.values()):
            raise ValueError('it holds what is no array')
        return arrays
    except Exception as error:  # of damaged files NumPy, zipfile and zlib raise errors of many kinds
        raise ValueError(' '.join(str(error).split()) or type(error).__name__) from error
