"""What a user sees on the terminal: a progress bar, in a pipe a line for each log entry; metrics in columns."""

from __future__ import annotations

import datetime
import io
import os
import shutil
import sys
import textwrap
import time

from chainer.training.extensions import util

_COLUMNS = 120  # of a table in a pipe or a file
_NO_BREAK = '\N{NO-BREAK SPACE}'  # where a narrow terminal shall not break a line


def _is_terminal():
    """Whether standard output goes to a screen that a bar can be drawn on; a notebook's or an editor's is none."""
    # What a notebook starts by "!" has a terminal, whose text the notebook shows without moving a cursor.
    in_notebook = 'JPY_PARENT_PID' in os.environ or 'inline' in os.environ.get('MPLBACKEND', '')
    # Open MPI gives each rank a terminal, wherever the output of its mpiexec goes.
    in_notebook = in_notebook or 'OMPI_COMM_WORLD_RANK' in os.environ
    return (isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.isatty() and os.environ.get('TERM') != 'dumb'
            and not in_notebook)


class _Bar(util.ProgressBar):
    """Chainer's progress bar, without its Trainer, and no wider than the terminal."""

    def show(self, share, *texts):
        """Draw a bar that is full at a share of 1, with texts below it."""
        columns = max(12, shutil.get_terminal_size().columns) - 1
        length, share = min(50, columns - len('[] 100.0%')), min(1, share)
        self._lines = ['[{:.<{}}] {:6.1%}'.format('#' * int(length * share), length, share)]
        for text in texts:
            self._lines += textwrap.wrap(text, columns)
        self.update()

    def get_lines(self):
        return [line.replace(_NO_BREAK, ' ') + '\n' for line in self._lines]


class _Shown:
    """A bar, where there is a terminal, that is drawn anew now and then; a context manager that leaves it clean."""

    _seconds = {True: 0.2, False: 10}  # between two updates, on a terminal or elsewhere

    def __init__(self):
        self._bar = _Bar() if _is_terminal() else None
        self._due = 0.0

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self._bar is not None:
            self._bar.close()

    def _is_due(self):
        """Whether it is time for another update, which then counts as made."""
        now = time.monotonic()
        if now < self._due:
            return False
        self._due = now + self._seconds[self._bar is not None]
        return True


class Progress(_Shown):
    """Shows how far a run is.

    Args:
        iterations: Length of the whole run.

    Attributes:
        error (OSError): Why nothing can be shown any more: the pipe or the terminal was closed, say; else ``None``.
    """

    def __init__(self, iterations: int):
        super().__init__()
        self._iterations = iterations
        self._entry = ''
        self.error = None

    def __exit__(self, *exception):
        self._try(super().__exit__)

    def update(self, iteration: int) -> None:
        """Call once an iteration."""
        if self._bar is not None and self._is_due():
            text = '{:,} of {:,} iterations'.format(iteration, self._iterations)
            speed, _ = self._bar.update_speed(iteration, 0)
            if 0 < speed < float('inf'):  # infinite where there is only one point in time
                text += ', {:.3g} a second, {} left'.format(speed, duration((self._iterations - iteration) / speed))
            self._try(self._bar.show, iteration / self._iterations, text, self._entry)

    def log(self, entry: dict) -> None:
        """Show a new log entry."""
        line = '  '.join(
            (name + ' {:9.3f}'.format(entry[key])).replace(' ', _NO_BREAK) for name, key in (
                ('E(x+)', 'energy/positive'), ('E(x-)', 'energy/negative'), ('H', 'generator/entropy')))
        if self._bar is not None:
            self._entry = line
        else:
            self._try(print, '{:{}}  {}  {:.1f} s'.format(
                entry['iteration'], len(str(self._iterations)), line.replace(_NO_BREAK, ' '), entry['elapsed_time']),
                flush=True)

    def tell(self, line: str) -> None:
        """Print a line."""
        self._try(print, line, flush=True)

    def _try(self, show, *arguments, **options):
        try:
            show(*arguments, **options)
        except OSError as error:
            self.error = error


def duration(seconds: float) -> str:
    """As hours, minutes and seconds: 0:01:02."""
    return str(datetime.timedelta(seconds=round(seconds)))


class CountingBar(_Shown):
    """Shows how many things of a long work are done; in a pipe it is a line now and then.

    Args:
        things: What is counted.
    """

    def __init__(self, things: str):
        super().__init__()
        self._things = things
        self._start = time.monotonic()
        self._due = self._start + self._seconds[self._bar is not None]

    def update(self, done: int, share: float) -> None:
        """Call with how many are done, and with what share of the work that is, which may be all that is known."""
        if not self._is_due():
            return
        text = '{:,} {}'.format(done, self._things)
        if share > 0:
            text += ', {} left'.format(duration((time.monotonic() - self._start) * max(0, 1 - share) / share))
        if self._bar is not None:
            self._bar.show(share, text)
        else:
            print('{:6.1%}  {}'.format(min(1, share), text), flush=True)


def print_table(columns: list) -> None:
    """Print numbers in columns: pairs of a title and a dict of values by name; ``None`` and what is missing as ``-``.

    Where a terminal, or 120 letters in a pipe, are too narrow for all of them, some stand below the others.  Lists are
    left out.  Sentences, such as why a number is missing, stand below the table.
    """
    names = dict.fromkeys(
        name for _, values in columns for name, value in values.items()
        if not isinstance(value, list) and not is_sentence(value))
    left = max(24, *(len(name) + 2 for name in names))
    for i, block in enumerate(_blocks(columns, shutil.get_terminal_size((_COLUMNS, 0)).columns - left)):
        if i:
            print()
        print(' ' * left + ''.join('{:>{}}'.format(title, _width(title)) for title, _ in block))
        for name in names:
            print('{:<{}}'.format(name, left) + ''.join(
                '{:>{}}'.format(shown(values.get(name)), _width(title)) for title, values in block))
    for title, values in columns:
        for name, value in values.items():
            if is_sentence(value):
                print('{}, {}: {}'.format(title, name, value))


def _blocks(columns, room):
    """The columns in groups, each as many as find room, one at least."""
    blocks, left = [], 0
    for column in columns:
        width = _width(column[0])
        if not blocks or width > left:
            blocks.append([])
            left = room
        blocks[-1].append(column)
        left -= width
    return blocks


def _width(title):
    return max(14, len(title) + 2)


def is_sentence(value: object) -> bool:
    """Whether a value is words, such as why a number is missing."""
    return isinstance(value, str) and ' ' in value


def shown(value: object) -> str:
    """A value of a table as text."""
    return '-' if value is None else '{:.4g}'.format(value) if isinstance(value, float) else str(value)
