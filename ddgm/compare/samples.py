"""Samples that any program wrote, a file or a folder of them: which files are one set, and which sets there are."""

from __future__ import annotations

import collections
import pathlib
import re
import typing

import numpy

from ddgm.compare.forms import ARRAYS, PICTURES, form_of
from ddgm.data.arrays import SAVE, NoSamples
from ddgm.support.errors import UsageError, counted, one_line, some
from ddgm.support.files import counting_order

_NUMBER = re.compile(r'\d+')
# What stands before a number that does not count the parts of a set: what it counts instead, or a decimal point.
_COUNTS = r'(^|[^a-z])({})s?[^a-z]*$'
_COUNTS_TIME = re.compile(_COUNTS.format('epoch|ep|iteration|iter|it|step|kimg'))
_COUNTS_RUNS = re.compile(_COUNTS.format('seed|run|trial|exp|version|v|model|method') + r'|\d\.$')


class Set(typing.NamedTuple):
    """Samples (N, …) of one file or of several, under a title."""

    title: str
    files: tuple[pathlib.Path, ...]
    x: numpy.ndarray

    @property
    def source(self) -> str:
        """The name of its file, or of the first and the last."""
        first, last = self.files[0].name, self.files[-1].name
        return first if first == last else '{} to {} ({:,} files)'.format(first, last, len(self.files))


def read_file(path: pathlib.Path, in_plane: bool = False) -> numpy.ndarray:
    """The samples of a file: (N, …) numbers, all finite.  Prints what it was taken for where that is not certain.

    ``in_plane`` says that they are points (N, 2).  Raises ``UsageError`` for anything else.
    """
    form = form_of(path)
    x, note = form.read(path, in_plane)
    if note:
        print('{}: {}'.format(one_line(path), note))
    if form is PICTURES and len(x) == 1:
        raise UsageError(
            '{}: a picture of one sample, or of several without lines between them: give the folder of all, or '
            '{}'.format(path, SAVE))
    return x


def read_folder(
        path: pathlib.Path, files: list[pathlib.Path], in_plane: bool, only_last: bool = False,
) -> tuple[list[Set], list[pathlib.Path], list[UsageError]]:
    """The sets of samples that these files of a folder hold, the files that were read, and the errors of others.

    Pictures are read where there are no arrays.  ``in_plane`` is that of :func:`read_file`.  With ``only_last`` the
    last set counts of those that a program has written in the course of one run.  Prints what was taken for what.
    Raises ``UsageError`` for a damaged file of arrays.
    """
    found, errors = _read_each([file for file in files if form_of(file) is ARRAYS], in_plane, NoSamples)
    if not found:
        found, more = _read_each([file for file in files if form_of(file) is PICTURES], in_plane, UsageError)
        errors += more
    sets = _sets_of({file: x for file, (x, _) in found.items()})
    read = [file for of_set in sets for file in of_set.files]
    if only_last:
        sets = _last_of_each(path, sets)
    notes = collections.defaultdict(list)
    for of_set in sets:
        for file in of_set.files:
            notes[found[file][1]].append(file.name)
    notes.pop('', None)
    for note, names in notes.items():
        print('{}: {}: {}'.format(one_line(path), some(names), note))
    if sum(len(of_set.files) for of_set in sets) > 1:
        print('{}: taken for {}: {}'.format(
            one_line(path), 'one set' if len(sets) == 1 else '{:,} sets, a column each'.format(len(sets)),
            some('{} of {}'.format(counted(len(of_set.x), 'sample'), of_set.source) for of_set in sets)))
    for of_set in sets:
        if len(of_set.x) == len(of_set.files) and form_of(of_set.files[0]) is PICTURES:
            print('{}: each picture counts as one sample of {}×{} pixels'.format(one_line(path), *of_set.x.shape[1:3]))
    return sets, read, errors


def _read_each(files, in_plane, passed_over):
    """By file the samples and what it was taken for; and the errors, of the class that is passed over."""
    found, errors = {}, []
    for file in files:
        try:
            found[file] = form_of(file).read(file, in_plane)
        except passed_over as error:
            errors.append(error)
    return found, errors


def _sets_of(found):
    """Sets of samples by file: the parts of a numbered series are one, single samples too; any other file is its own.

    Single samples that are not of the commonest shape, and what lies beside them, are of none.
    """
    def joined(title, files):
        return Set(title, tuple(files), numpy.concatenate([found[file] for file in files]))
    shapes = collections.Counter(x.shape for file, x in found.items() if len(x) == 1 and form_of(file) is PICTURES)
    if shapes:
        (shape, _), = shapes.most_common(1)
        return [joined('*', [file for file, x in found.items() if x.shape == shape])]
    alike = collections.defaultdict(list)
    for file, x in found.items():
        for number in reversed([*_NUMBER.finditer(file.stem)]):
            title = '{}*{}'.format(file.stem[:number.start()], file.stem[number.end():])
            alike[title, x.shape[1:], x.dtype.kind].append((int(number[0]), file))
    sets, left = [], set(found)
    for (title, *_), parts in alike.items():
        numbers, files = zip(*sorted(parts))
        if left.issuperset(files) and _are_parts(title, numbers):
            sets.append(joined(title, files))
            left.difference_update(files)
    sets += [joined(file.stem, [file]) for file in left]
    return sorted(sets, key=lambda of_set: [*map(counting_order, of_set.files)])


def _are_parts(title, numbers):
    """Whether numbers count the parts of one set; those of epochs or seeds count sets."""
    steps = {after - before for before, after in zip(numbers, numbers[1:])}
    before = title.partition('*')[0].lower()
    return bool(steps) and min(steps) == 1 and not (_COUNTS_RUNS.search(before) or _COUNTS_TIME.search(before))


def _last_of_each(path, sets):
    """The sets without those that were followed by another, of a later epoch, say; prints which."""
    def without(number):
        before = number.string[:number.start()].lower()
        return number[0] if _COUNTS_RUNS.search(before) else '#'
    followed = collections.defaultdict(list)
    for of_set in sets:  # in the order of their numbers
        followed[_NUMBER.sub(without, of_set.title)].append(of_set)
    for alike in followed.values():
        if len(alike) > 1:
            print('{}: of {:,} sets that are numbered, as of epochs, the last is taken: {}'.format(
                one_line(path), len(alike), one_line(alike[-1].source)))
    return [alike[-1] for alike in followed.values()]
