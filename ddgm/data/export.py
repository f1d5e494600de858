"""Data as PNG files, for other programs."""

import os
import pathlib
import shutil

from PIL import Image, PngImagePlugin

from ddgm.data.mnist import SIDE
from ddgm.support.errors import UsageError, one_line
from ddgm.support.files import is_within, keep_theirs

_SOFTWARE = 'ddgm.prepare'  # stands in each file


def png_names(paths):
    """Names for the pictures of some files, in their order: the same, with .png at the end, no two alike."""
    taken, names = {*paths, *(str(folder) for path in paths for folder in pathlib.PurePosixPath(path).parents)}, []
    for path in paths:
        name = path
        while not name.lower().endswith('.png') or (name != path and name in taken):
            name += '.png'
        taken.add(name)
        names.append(name)
    return names


def digits(data):
    """Name and pixels of each image of a ``MNIST``, in its order."""
    for part, images, labels in (
            ('train', data.train_images, data.train_labels), ('test', data.test_images, data.test_labels)):
        for i, (image, label) in enumerate(zip(images, labels)):
            yield '{}/{}/{:05}.png'.format(part, label, i), image.reshape(SIDE, SIDE)


def check(out, folders):
    """Raise ``UsageError`` where ``write`` will refuse a folder, or where it is, holds or lies in one that is read."""
    for folder in folders:
        if is_within(out, folder) or is_within(folder, out):
            raise UsageError('{} and {}, which is read, are not apart: give another folder to --out'.format(
                one_line(out), one_line(folder)))
    _check_ours(pathlib.Path(os.path.realpath(out)))


def write(pictures, out):
    """Write pairs of a name and uint8 pixels into a folder, which gets all of them or none.

    Pixels are (H, W), (H, W, 1) or (H, W, 3).  Returns how many pairs.  Raises ``UsageError`` where the folder can't be
    written, or holds anything but what was written here earlier, which is replaced.
    """
    out = pathlib.Path(os.path.realpath(out))
    _check_ours(out)
    software = PngImagePlugin.PngInfo()
    software.add_text('Software', _SOFTWARE)
    unfinished, earlier = (out.with_name('{}.{}.{}'.format(out.name, os.getpid(), end)) for end in ('tmp', 'old'))
    n = 0
    try:
        unfinished.mkdir(parents=True)
        for name, pixels in pictures:
            path = unfinished / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels).save(path, 'PNG', pnginfo=software)
            n += 1
        if out.exists():
            out.rename(earlier)
        unfinished.rename(out)
        shutil.rmtree(earlier, ignore_errors=True)
    except OSError as error:
        raise _unwritable(out, error) from error
    finally:
        if earlier.exists() and not out.exists():
            earlier.rename(out)
        shutil.rmtree(unfinished, ignore_errors=True)  # there no longer where all went well
    return n


def _check_ours(out):
    """Raise ``UsageError`` where a folder holds a file that ``write`` has not written."""
    def refuse(error):
        raise _unwritable(out, error) from error
    for parent, subfolders, names in os.walk(out, onerror=refuse) if os.path.lexists(out) else ():
        for path in (os.path.join(parent, name) for name in names + subfolders):
            if os.path.islink(path) or not (os.path.isdir(path) or _is_ours(path)):
                keep_theirs(out, [os.path.relpath(path, out)])


def _is_ours(path):
    if not os.path.isfile(path):
        return False  # opening a named pipe would wait for ever
    try:
        with open(path, 'rb') as file, Image.open(file, formats=['PNG']) as picture:
            return picture.info.get('Software') == _SOFTWARE
    except Exception:  # of other files Pillow raises about anything
        return False


def _unwritable(out, error):
    return UsageError('{}: can\'t be written ({}): give another folder to --out'.format(
        one_line(out), error.strerror or one_line(error)))
