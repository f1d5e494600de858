"""The rows of logs that other programs write, as dicts by the column's name: CSV, JSON, TensorBoard's and MLflow's."""

from __future__ import annotations

import csv
import io
import itertools
import json
import pathlib
import re

from ddgm.compare.loss_logs import NO_NUMBER, is_axis
from ddgm.support.errors import UsageError, counted, one_line, some

EVENTS = 'events.out.tfevents.*'
METRICS = 'metrics'
MLFLOW = 'meta.yaml', METRICS  # in the folder of a run
_LARGEST = 10 ** 8  # bytes of a file of JSON, which takes some times as much memory
# As some countries write numbers.
_COMMA, _GROUPS = re.compile(r'[-+]?[\d.]*\d,\d+'), re.compile(r'[-+]?[1-9]\d{0,2}(\.\d{3})+')


def of_csv(path: pathlib.Path) -> list[dict]:
    """The rows of a file with a line of column names, which may come again further down, with other columns too.

    Lines that begin with ``#`` are passed over, unless one has the names.  Raises ``UsageError`` for a row with more
    cells than names, and for numbers that mean one thing in one country and another elsewhere.
    """
    content = path.read_bytes()
    text = content.decode(json.detect_encoding(content))
    told = re.match(r'sep=(.)\r?\n', text)  # by a spreadsheet
    first = next((line for line in text.splitlines() if line and not line.startswith(('#', 'sep='))), '')
    separator = told[1] if told else max(';\t,', key=first.count)
    reader = csv.reader(io.StringIO(text[told.end():] if told else text, newline=''), delimiter=separator)
    comment = header = None
    rows, short = [], []
    for cells in filter(None, reader):
        if cells[0].startswith('#'):
            comment = [cells[0].lstrip('# '), *cells[1:]]
            continue
        if header is None and comment and len(comment) == len(cells) and all(map(_is_number, cells)):
            header = _names(path, comment)  # as numpy.savetxt writes them
        elif header is None or _are_names(cells, header):
            header = _names(path, cells)
            continue
        number = reader.line_num + bool(told)
        if any(cell.strip() for cell in cells[len(header):]):
            raise UsageError(
                '{}: line {} has {} cells, and {}: name every column, quote cells with {!r} in them, or leave it '
                'out'.format(path, number, len(cells), counted(len(header), 'name'), separator))
        if len(cells) < len(header):
            short.append(number)
        rows.append({name: cell for name, cell in zip(header, cells) if name})
    if short[:1] not in ([], [reader.line_num + bool(told)]):  # the last line may have been cut short
        print('{}: lines with fewer cells than names, whose last columns count as empty: {}'.format(
            one_line(path), some(short)))
    _check_numbers(path, rows, separator)
    return rows


def _is_number(cell):
    try:
        float(cell)
    except ValueError:
        return cell.strip().lower() in NO_NUMBER
    return True


def _are_names(cells, header):
    """Whether these are names of columns again: as a program writes them that goes on with a file."""
    names, known = {cell.strip() for cell in cells} - {''}, {*header} - {''}
    return bool(names) and (names <= known or names >= known)


def _names(path, cells):
    """The names of columns, empty where several have the same."""
    names = [cell.strip() for cell in cells]
    twice = [name for name in dict.fromkeys(names) if name and names.count(name) > 1]
    if twice:
        print('{}: passes over {}: which of its columns of that name is meant?'.format(one_line(path), some(twice)))
    return ['' if name in twice else name for name in names]


def _check_numbers(path, rows, separator):
    """Raise ``UsageError`` where a point in a number may separate thousands."""
    has_commas = any(_COMMA.fullmatch(cell.strip()) for row in rows for cell in row.values())
    for name in dict.fromkeys(itertools.chain.from_iterable(rows)):
        if has_commas or separator != ',' and is_axis(name):
            cells = [cell for cell in (row.get(name, '').strip() for row in rows) if cell.lower() not in NO_NUMBER]
            grouped = [cell for cell in cells if _GROUPS.fullmatch(cell)]
            if grouped and all(_GROUPS.fullmatch(cell) or re.fullmatch(r'\d{1,3}', cell) for cell in cells):
                raise UsageError(
                    '{}: does the point of {} in its column {} separate thousands?  Write numbers with no point but '
                    'that of decimals, or leave it out'.format(path, grouped[0], one_line(name)))


def of_json(path: pathlib.Path) -> list[dict]:
    """The rows of a list of objects as Chainer's LogReport writes it, of an object a line, or of an object of lists."""
    with open(path, 'rb') as file:
        text = file.read(_LARGEST + 1)
    if len(text) > _LARGEST:
        raise ValueError('it has more than {:,} bytes'.format(_LARGEST))
    text = text.decode(json.detect_encoding(text))
    try:
        content = json.loads(text)
    except ValueError:
        content = _of_lines(path, text)
    if isinstance(content, dict):
        lists = {name: cells for name, cells in content.items() if isinstance(cells, list)}
        if len({*map(len, lists.values())}) > 1:
            print('{}: its lists have different lengths, and are all read from the first row on: {}'.format(
                one_line(path), some('{} of {}'.format(len(cells), name) for name, cells in lists.items())))
        content = [dict(zip(lists, cells)) for cells in itertools.zip_longest(*lists.values())] if lists else [content]
    if not (isinstance(content, list) and all(isinstance(row, dict) for row in content)):
        raise ValueError('it holds other things than objects')
    return content


def _of_lines(path, text):
    """What each line holds; the last one may have been cut short."""
    lines = [line for line in (line.strip().rstrip(',') for line in text.splitlines()) if line not in ('', '[', ']')]
    content = [json.loads(line) for line in lines[:-1]]
    try:
        return [*content, *map(json.loads, lines[-1:])]
    except ValueError:
        if not content:
            raise
        print('{}: its last line is cut short and passed over'.format(one_line(path)))
        return content


def of_events(path: pathlib.Path) -> list[dict]:
    """The scalars of an event file, or of all in a folder, a row a step; of a resumed run the later ones count."""
    try:
        from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.util.tensor_util import make_ndarray
    except ImportError as error:
        raise UsageError('{}: event files are read by the package tensorboard: pip install tensorboard, or leave it '
                         'out'.format(path)) from error
    rows = {}
    for file in sorted(path.glob(EVENTS)) if path.is_dir() else [path]:
        left = file.stat().st_size
        try:
            for record in RawEventFileLoader(str(file)).Load():
                left -= len(record) + 16  # with its length and two checksums
                event = Event.FromString(record)
                for value in event.summary.value:
                    number = value.simple_value if value.HasField('simple_value') else None
                    if value.HasField('tensor') and not value.tensor.tensor_shape.dim:
                        number = make_ndarray(value.tensor).item()
                    if isinstance(number, (int, float)):
                        rows.setdefault(event.step, {'step': event.step})[value.tag] = number
        except Exception as error:  # of damaged files it raises errors of many kinds
            raise ValueError(one_line(error) or type(error).__name__) from error
        if left:
            print('{}: its last {:,} bytes are no whole event and passed over'.format(one_line(file), left))
    return [rows[step] for step in sorted(rows)]


def of_mlflow(path: pathlib.Path) -> list[dict]:
    """The metrics of a run of MLflow, from its folder, a row a step; of a resumed run the later ones count."""
    rows = {}
    for file in sorted((path / METRICS).rglob('*')):
        if file.is_file():
            for line in file.read_text(encoding='utf-8').splitlines():
                _, value, step = line.split()  # behind the time
                rows.setdefault(int(step), {'step': int(step)})[file.relative_to(path / METRICS).as_posix()] = value
    return [rows[step] for step in sorted(rows)]
