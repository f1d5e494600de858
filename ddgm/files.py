"""Files that are whole or absent."""

import contextlib
import os
import pathlib


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
