"""Samples that any program wrote: arrays and pictures, a file or a folder of them, and what they are taken for."""

import collections
import re

import numpy

from ddgm.compare import pictures
from ddgm.support.errors import UsageError, counted, one_line, some
from ddgm.support.files import counting_order, read_arrays

_ARRAYS = ('.npy', '.npz')
SUFFIXES = _ARRAYS + pictures.SUFFIXES
SAVE = 'save numbers, as numpy.save(\'samples.npy\', x) does'
_NUMBER = re.compile(r'\d+')
# What stands before a number that does not count the parts of a set: what it counts instead, or a decimal point.
_COUNTS = r'(^|[^a-z])({})s?[^a-z]*$'
_COUNTS_TIME = re.compile(_COUNTS.format('epoch|ep|iteration|iter|it|step|kimg'))
_COUNTS_RUNS = re.compile(_COUNTS.format('seed|run|trial|exp|version|v|model|method') + r'|\d\.$')


class NoSamples(UsageError):
    """A sound file that holds something else, as labels or a plot."""


# ---- one file

def read_file(path, in_plane=False):
    """The samples of a file: (N, …) numbers, all finite.  Prints what it was taken for where that is not certain.

    ``in_plane`` says that they are points (N, 2).  Raises ``UsageError`` for anything else.
    """
    x, note = _read(path, True, in_plane)
    if note:
        print('{}: {}'.format(one_line(path), note))
    if path.suffix.lower() not in _ARRAYS and len(x) == 1:
        raise UsageError('{}: a picture of one sample: give the folder of all'.format(path))
    return x


def _read(path, alone, in_plane):
    """The samples of a file, and what it was taken for where that is not certain; ``alone``: in its folder."""
    if path.suffix.lower() in _ARRAYS:
        return _read_array(path, in_plane)
    found = pictures.read(path, alone)
    if found is None:
        raise NoSamples('{}: neither a sample of 28×28 or 64×64 pixels nor certainly a grid of them, {}{}'.format(
            path, 'with lines of one colour between all: ' if path.suffix.lower() == '.png' else
            'whose edges a JPEG blurs: save a PNG, or ', SAVE))
    return found


def _read_array(path, in_plane):
    try:
        arrays = read_arrays(path)
    except ValueError as error:
        raise UsageError('{}: can\'t be read as samples ({}): leave it out, or {}'.format(path, error, SAVE)) from error
    name, note = _chosen(path, arrays, in_plane)
    x = arrays[name]
    if not _can_be_samples(x):
        raise NoSamples('{}: samples are numbers of the shape (N, …), these are {} of the shape {}'.format(
            path, x.dtype, x.shape))
    finite = (abs(x.reshape(len(x), -1)) <= numpy.finfo(numpy.float32).max).all(axis=1)  # NaN is not
    if not finite.all():
        raise UsageError('{}: {:,} of {:,} samples are not finite: leave it out or give another path'.format(
            path, len(x) - finite.sum(), len(x)))
    return x, note


def _can_be_samples(x):
    return x.ndim >= 2 and x.size and x.dtype.kind in 'fiub'


def _chosen(path, arrays, in_plane):
    """Which of a file's arrays holds the samples, and a note where nothing but the array itself tells."""
    if 'x' in arrays or len(arrays) == 1:
        return 'x' if 'x' in arrays else next(iter(arrays)), None
    fit = [name for name, x in arrays.items() if _can_be_samples(x)]
    points = [name for name in fit if in_plane and arrays[name].ndim == 2 and arrays[name].shape[1] == 2]
    name = 'samples' if 'samples' in fit else fit[0] if len(fit) == 1 else points[0] if len(points) == 1 else None
    if name is not None:
        return name, 'its array {} is taken for the samples, not {}'.format(
            one_line(name), some(other for other in arrays if other != name))
    raise NoSamples('{}: the samples have to be its array x, or samples, and it has {}'.format(path, some(
        '{} ({} of the shape {})'.format(name, x.dtype, x.shape) for name, x in arrays.items()) or 'none at all'))


# ---- a folder

def read_folder(path, files, in_plane=False, only_last=False):
    """The sets of samples that these files of a folder hold: titles, sources and arrays.

    Also the files that were read, and the errors of others.  Pictures are read where there are no arrays.  ``in_plane``
    is that of :func:`read_file`.  With ``only_last`` the last set counts of those that a program has written in the
    course of one run.  Prints what was taken for what.  Raises ``UsageError`` for a damaged file of arrays.
    """
    arrays = [file for file in files if file.suffix.lower() in _ARRAYS]
    found, errors = _read_each(arrays, NoSamples, in_plane)
    sets = _series(found)
    if not found:
        found, more = _read_each(
            [file for file in files if file.suffix.lower() not in _ARRAYS], UsageError, in_plane)
        errors += more
        shapes = collections.Counter(x.shape for x, _ in found.values() if len(x) == 1)
        if shapes:  # a sample each; what is of another size, or a grid of them, is not one more
            shape = shapes.most_common(1)[0][0]
            found = {file: of_file for file, of_file in found.items() if of_file[0].shape == shape}
            sets = [('*', tuple(found))]
        else:
            sets = _series(found)
    read = list(found)
    if only_last:
        sets = _last_of_each(path, sets)
        found = {file: found[file] for _, of_set in sets for file in of_set}
    notes = {}
    for file, (_, note) in found.items():
        notes.setdefault(note, []).append(file.name)
    for note, names in notes.items():
        if note:
            print('{}: {}: {}'.format(one_line(path), some(names), note))
    sets = [(title, _source(of_set), numpy.concatenate([found[file][0] for file in of_set])) for title, of_set in sets]
    if len(found) > 1:
        print('{}: taken for {}: {}'.format(
            one_line(path), 'one set' if len(sets) == 1 else '{:,} sets, a column each'.format(len(sets)),
            some('{} of {}'.format(counted(len(x), 'sample'), source) for _, source, x in sets)))
    return sets, read, errors


def _source(files):
    return files[0].name if len(files) == 1 else '{} to {} ({:,} files)'.format(
        files[0].name, files[-1].name, len(files))


def _read_each(files, passed_over, in_plane):
    """By file the samples and what it was taken for; and the errors, of the class that is passed over."""
    found, errors = {}, []
    for file in files:
        try:
            found[file] = _read(file, len(files) == 1, in_plane)
        except passed_over as error:
            errors.append(error)
    return found, errors


def _series(found):
    """Titles and files of sets of samples: the parts of a numbered series are one set, any other file is its own."""
    alike = {}
    for file, (x, _) in found.items():
        for number in reversed([*_NUMBER.finditer(file.stem)]):
            title = '{}*{}'.format(file.stem[:number.start()], file.stem[number.end():])
            alike.setdefault((title, x.shape[1:], x.dtype.kind), []).append((int(number[0]), file))
    sets, left = [], set(found)
    for (title, *_), parts in alike.items():
        numbers, files = zip(*sorted(parts))
        if left.issuperset(files) and _are_parts(title, numbers, [len(found[file][0]) for file in files]):
            sets.append((title, files))
            left.difference_update(files)
    return sorted(
        sets + [(file.stem, (file,)) for file in left], key=lambda titled: [*map(counting_order, titled[1])])


def _are_parts(title, numbers, lengths):
    """Whether numbers count the parts of one set, or the samples before each; those of epochs or seeds count sets."""
    steps = [after - before for before, after in zip(numbers, numbers[1:])]
    before = title.partition('*')[0].lower()
    return bool(steps) and all(steps) and (min(steps) == 1 or steps == lengths[:-1]) and not (
        _COUNTS_RUNS.search(before) or _COUNTS_TIME.search(before))


def _last_of_each(path, sets):
    """Titles and files of sets without those that were followed by another, of a later epoch, say; prints which."""
    def without(number):
        before = number.string[:number.start()].lower()
        return number[0] if _COUNTS_RUNS.search(before) else '#'
    followed = {}
    for title, files in sets:  # in the order of their numbers
        followed.setdefault(_NUMBER.sub(without, title), []).append((title, files))
    for alike in followed.values():
        if len(alike) > 1:
            print('{}: of {:,} sets that are numbered, as of epochs, the last is taken: {}'.format(
                one_line(path), len(alike), one_line(_source(alike[-1][1]))))
    return [alike[-1] for alike in followed.values()]
