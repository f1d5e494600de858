"""The rows of logs that other programs write, as dicts by the column's name: CSV, JSON, TensorBoard's event files."""

from __future__ import annotations

import csv
import itertools
import json
import pathlib

from ddgm.support.errors import UsageError, one_line

EVENTS = 'events.out.tfevents.*'
_LARGEST = 10 ** 8  # bytes of a file of JSON, which takes some times as much memory


def of_csv(path: pathlib.Path) -> list[dict]:
    """The rows of a file with a line of column names."""
    with open(path, encoding='utf-8-sig', newline='') as file:
        first = file.readline()
        separator = max(';\t,', key=first.count)
        file.seek(0)
        rows = [{name: cell for name, cell in row.items() if name is not None}
                for row in csv.DictReader(file, delimiter=separator)]
    # A program that goes on with a file may begin with the names once more.
    return [row for row in rows if any(name != cell for name, cell in row.items())]


def of_json(path: pathlib.Path) -> list[dict]:
    """The rows of a list of objects as Chainer's LogReport writes it, of an object a line, or of an object of lists."""
    with open(path, 'rb') as file:
        text = file.read(_LARGEST + 1)
    if len(text) > _LARGEST:
        raise ValueError('it has more than {:,} bytes'.format(_LARGEST))
    text = text.decode('utf-8-sig')
    try:
        content = json.loads(text)
    except ValueError:
        content = _of_lines(path, text)
    if isinstance(content, dict):
        lists = {name: cells for name, cells in content.items() if isinstance(cells, list)}
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
        print('{}: its last line is cut short and passed over'.format(path))
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
            print('{}: its last {:,} bytes are no whole event and passed over'.format(file, left))
    return [rows[step] for step in sorted(rows)]
