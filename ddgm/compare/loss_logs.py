"""Losses and energies over a run, from the logs that other programs write: CSV, JSON, event files of TensorBoard."""

import csv
import itertools
import json
import math
import pathlib
import re
import typing

from ddgm.runs.log import Curves
from ddgm.support.errors import UsageError, one_line, some

SUFFIXES = ('.csv', '.tsv', '.json', '.jsonl')
EVENTS = 'events.out.tfevents.*'
THEIR = 'their_'  # begins the name of what another program measured by its own definition

# What others call the quantities of this project's log, in lower case.
_NAMES = {
    'energy/positive': ('e_real', 'dem_energy_x', 'energy_positive', 'energy_real', 'e_pos', 'e_data'),
    'energy/negative': ('e_fake', 'dem_energy_g', 'energy_negative', 'energy_fake', 'e_neg', 'e_samples'),
    'energy/loss': ('e_loss', 'dem_loss', 'energy_loss', 'loss_e', 'loss_dem', 'dem/loss', 'energy_model/loss'),
    'generator/loss': (
        'g_loss', 'dgm_loss', 'generator_loss', 'loss_g', 'loss_dgm', 'dgm/loss', 'gen/loss', 'generative_model/loss'),
    'generator/energy': ('generator_energy', 'g_energy'),
    'generator/entropy': ('entropy', 'generator_entropy', 'g_entropy'),
    'loss': (),  # of whatever
    **{THEIR + name: (name,) for name in ('fid', 'kid', 'inception_score', 'precision', 'recall', 'coverage')},
}
_QUANTITIES = {name: quantity for quantity, names in _NAMES.items() for name in (quantity, *names)}
# Each program weighs and sums these in its own way.
_OWN = {'energy/loss', 'generator/loss', 'generator/entropy'}
_AXES = {
    'iteration': ('iteration', 'iterations', 'iter', 'step', 'global_step', '_step'), 'epoch': ('epoch', 'epochs')}
_EXPERIMENT = 'exp_name'

# What a column's name ends with.  A compound name, as e_loss, may follow anything but a letter or digit: train/e_loss,
# Train_dem_loss.  One word, as loss, follows only what parts names: main/loss.  Lightning adds _step and _epoch.
_AT_THE_END = re.compile(
    r'(?:(?:^|[^a-z0-9])(?P<compound>{})|(?:^|[/.:]| - |-tag-)(?P<word>{}))(?P<over>_step|_epoch)?$'.format(
        '|'.join(re.escape(name) for name in _QUANTITIES if re.search('[/_]', name)),
        '|'.join(re.escape(name) for name in _QUANTITIES if not re.search('[/_]', name))))
_HELD_OUT = re.compile(r'(?:^|[^a-z])(?:val|valid|validation|test|eval)(?:[^a-z]|$)')
_NO_NUMBER = {'', 'nan', 'none', 'null', 'n/a', 'na'}
_CURE = 'leave it out'
_LARGEST = 10 ** 8  # bytes of a file of JSON, which takes some times as much memory


class _Doubts(typing.NamedTuple):
    """Why a column is less surely meant than another of its quantity; the first that differs decides."""

    is_held_out: bool  # of data other than for training
    is_mean: bool  # over an epoch, where each iteration may be there too
    is_longer: bool  # than the known name, which it ends with
    is_theirs: bool  # not our name


class NothingKnown(UsageError):
    """A log without a column that is known; ``columns`` are the names of those that it has."""

    def __init__(self, path, columns, of_events):
        super().__init__('{}: has no {} that is known, as {} are{}: {}, or {}'.format(
            path, 'scalar' if of_events else 'rows with a column',
            ', '.join(names[0] for quantity, names in _NAMES.items() if names and not quantity.startswith(THEIR)),
            ' (it has {})'.format(some(columns, 8)) if columns else '', _CURE,
            'write each by add_scalar under such a name' if of_events else 'rename its columns'))
        self.columns = columns


def is_log(path):
    """Whether a file's name says that it is a log."""
    return path.suffix.lower() in SUFFIXES or path.name == 'log' or path.match(EVENTS)


def read(path):
    """The curves of a log, by experiment where it has a column ``exp_name``; of a folder those of its event files.

    Columns that are not known are passed over.  What is guessed is printed.

    Returns:
        dict: :class:`Curves` by the experiment's name; ``''`` where there is only one.

    Raises:
        UsageError: The file can't be read, has no column that is known, or text where a number should be.
    """
    path, comma = pathlib.Path(path), '.'
    of_events = path.is_dir() or path.match(EVENTS)
    try:
        if of_events:
            rows = _read_events(path)
        elif path.suffix.lower() in ('.csv', '.tsv'):
            rows, comma = _read_csv(path)
        else:
            rows = _read_json(path)
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise UsageError('{}: can\'t be read as a log ({}): {}'.format(
            path, getattr(error, 'strerror', None) or one_line(error), _CURE)) from error
    columns = dict.fromkeys(itertools.chain.from_iterable(rows))
    known = _known(path, columns)
    plain = {name.strip().lower(): name for name in columns}
    if not known and {'step', 'value'} <= plain.keys():  # TensorBoard's export of the scalar in the file's name
        known = {quantity: (plain['value'], name) for quantity, (_, name) in _known(path, [path.stem]).items()}
    if not known:
        raise NothingKnown(path, list(columns)[of_events:], of_events)  # an event's step comes first
    if comma == ',':
        decimals = [row[column] for column, _ in known.values() for row in rows if comma in (row[column] or '')]
        if decimals:
            print('{}: its commas stand before decimals, as in {}'.format(path, one_line(decimals[0])))
    experiments = {}
    for row in rows:
        name = row.get(plain[_EXPERIMENT]) if _EXPERIMENT in plain else None
        experiments.setdefault(one_line(name or ''), []).append(row)
    if len(experiments) == 1:
        experiments = {'': rows}
    return {
        name: Curves(*_axis(path, of_one, columns, comma), {
            quantity: _numbers(path, of_one, column, comma) for quantity, (column, _) in known.items()},
            {quantity: own for quantity, (_, own) in known.items() if own})
        for name, of_one in experiments.items()}


# ---- forms of logs: rows, as dicts by the column's name

def _read_csv(path):
    """The rows of a file with a line of column names, and what stands before decimals: ``','`` where it may."""
    with open(path, encoding='utf-8-sig', newline='') as file:
        first = file.readline()
        separator = max(';\t,', key=first.count)
        file.seek(0)
        rows = [{name: cell for name, cell in row.items() if name is not None}
                for row in csv.DictReader(file, delimiter=separator)]
    # A program that goes on with a file may begin with the names once more.
    return [row for row in rows if any(name != cell for name, cell in row.items())], '.' if separator == ',' else ','


def _read_json(path):
    """The rows of a list of objects as Chainer's LogReport writes it, of an object a line, or of an object of lists."""
    with open(path, 'rb') as file:
        text = file.read(_LARGEST + 1)
    if len(text) > _LARGEST:
        raise ValueError('it has more than {:,} bytes'.format(_LARGEST))
    text = text.decode('utf-8-sig')
    try:
        content = json.loads(text)
    except ValueError:
        content = _json_lines(path, text.splitlines())
    if isinstance(content, dict):
        lists = {name: cells for name, cells in _flat(content) if isinstance(cells, list)}
        content = [dict(zip(lists, cells)) for cells in itertools.zip_longest(*lists.values())] if lists else [content]
    if not isinstance(content, list):
        raise ValueError('it holds {} instead of objects'.format(type(content).__name__))
    if content and all(isinstance(row, list) and len(row) == 3 for row in content):  # TensorBoard's export
        content = [dict(zip(('wall time', 'step', 'value'), row)) for row in content]
    if not all(isinstance(row, dict) for row in content):
        raise ValueError('it holds other things than objects')
    return [dict(_flat(row)) for row in content]


def _json_lines(path, lines):
    """What each line holds; the last one may have been cut short."""
    rows = []
    for i, line in enumerate(lines, 1):
        line = line.strip().rstrip(',')
        if line in ('', '[', ']'):
            continue
        try:
            rows.append(json.loads(line))
        except ValueError:
            if i < len(lines) or not rows:
                raise ValueError('line {} is no JSON'.format(i)) from None
            print('{}: its last line is cut short and passed over'.format(path))
    return rows


def _flat(row, before=''):
    """{'train': {'e_loss': 1}} as train/e_loss."""
    for name, cell in row.items():
        if isinstance(cell, dict):
            yield from _flat(cell, before + name + '/')
        else:
            yield before + name, cell


def _read_events(path):
    """The scalars of TensorBoard's event files, a row a step; where a run was resumed the later ones count."""
    paths = sorted(path.glob(EVENTS)) if path.is_dir() else [path]
    try:
        from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.util.tensor_util import make_ndarray
    except ImportError as error:
        raise UsageError('{}: event files are read by the package tensorboard: pip install tensorboard, or {}'.format(
            path, _CURE)) from error
    rows = {}
    for file in paths:
        left = file.stat().st_size
        try:
            for record in RawEventFileLoader(str(file)).Load():
                left -= len(record) + 16  # with its length and two checksums
                event = Event.FromString(record)
                for value in event.summary.value:
                    number = None
                    if value.HasField('simple_value'):
                        number = value.simple_value
                    elif value.HasField('tensor') and not value.tensor.tensor_shape.dim:
                        number = make_ndarray(value.tensor).item()
                    if isinstance(number, (int, float)):
                        rows.setdefault(event.step, {'step': event.step})[value.tag] = number
        except Exception as error:  # of damaged files it raises errors of many kinds
            raise ValueError(one_line(error) or type(error).__name__) from error
        if left:
            print('{}: its last {:,} bytes are no whole event and passed over'.format(file, left))
    return [rows[step] for step in sorted(rows)]


# ---- what the rows hold

def _known(path, columns):
    """By quantity its column, and its own name where only its program knows how it is defined, or ``''``."""
    candidates, guesses, unclear = {}, [], []
    for column in columns:
        name = one_line(column).lower()
        match = _AT_THE_END.search(name)
        if match:
            found = match['compound'] or match['word']
            quantity = _QUANTITIES[found]
            doubts = _Doubts(
                is_held_out=bool(_HELD_OUT.search(name)), is_mean=match['over'] == '_epoch', is_longer=name != found,
                is_theirs=found != quantity)
            own = one_line(column) if quantity == 'loss' else found if quantity in _OWN and found != quantity else ''
            candidates.setdefault(quantity, []).append((doubts, column, own))
    known = {}
    for quantity, found in candidates.items():
        fewest, column, own = min(found)
        equals = [other for doubts, other, _ in found if doubts == fewest]
        if len(equals) > 1:
            unclear += equals
            continue
        known[quantity] = column, own
        if fewest.is_longer:
            guesses.append('{} as {}'.format(one_line(column), quantity))
    if guesses:
        print('{}: takes {}'.format(path, ', '.join(guesses)))
    if unclear:
        print('{}: passes over {}: which of them is meant?'.format(path, ', '.join(map(one_line, unclear))))
    return known


def _axis(path, rows, columns, comma):
    """The unit and the values of the first axis that has any; the number of the row where none has."""
    for unit, names in _AXES.items():
        for name in names:
            for column in columns:
                if re.split('[/.]', column.strip().lower())[-1] == name:
                    values = _numbers(path, rows, column, comma)
                    if any(map(math.isfinite, values)):
                        return unit, values
    return 'row', [float(i) for i in range(1, len(rows) + 1)]


def _numbers(path, rows, column, comma):
    """The floats of a column, NaN where a row has none."""
    numbers = []
    for row in rows:
        cell = row.get(column)
        if isinstance(cell, str) and cell.strip().lower() in _NO_NUMBER:
            cell = None
        try:
            numbers.append(math.nan if cell is None else float(
                cell.replace(comma, '.') if isinstance(cell, str) and cell.count(comma) == 1 else cell))
        except (TypeError, ValueError, OverflowError):
            raise UsageError('{}: {!r} in its column {} is no number: mend it, or {}'.format(
                path, one_line(cell)[:40], one_line(column), _CURE)) from None
    return numbers
