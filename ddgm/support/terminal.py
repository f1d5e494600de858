"""What a user sees on the terminal: a progress bar, in a pipe a line for each log entry; metrics in columns."""

import datetime
import sys
import time

from chainer.training.extensions import util


class _Bar(util.ProgressBar):
    """Chainer's progress bar, without its Trainer."""

    def __init__(self, iterations):
        super().__init__(bar_length=50)
        self._iterations = iterations
        self.iteration = 0
        self.status = ''

    def get_lines(self):
        speed, _ = self.update_speed(self.iteration, 0)
        marks = '#' * int(self._bar_length * self.iteration / self._iterations)
        left = '?'
        if 0 < speed < float('inf'):
            left = datetime.timedelta(seconds=round((self._iterations - self.iteration) / speed))
        return [
            '[{:.<{}}] {:6.1%}\n'.format(marks, self._bar_length, self.iteration / self._iterations),
            '{:,} of {:,} iterations, {:.3g} a second, {} left\n'.format(
                self.iteration, self._iterations, speed, left),
            self.status + '\n',
        ]


class Progress:
    """Shows how far a run is; a context manager that leaves a clean terminal.

    Args:
        iterations (int): Length of the whole run.
    """

    _seconds = 0.2  # between two updates of the bar

    def __init__(self, iterations):
        self._width = len(str(iterations))
        self._bar = _Bar(iterations) if sys.stdout.isatty() else None
        self._due = 0.0

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self._bar is not None:
            self._bar.close()

    def update(self, iteration):
        """Call once an iteration."""
        if self._bar is not None and time.monotonic() >= self._due:
            self._bar.iteration = iteration
            self._bar.update()
            self._due = time.monotonic() + self._seconds

    def log(self, entry):
        """Show a new log entry."""
        line = 'E(x+) {energy/positive:9.3f}  E(x-) {energy/negative:9.3f}  H {generator/entropy:9.3f}'.format(**entry)
        if self._bar is not None:
            self._bar.status = line
        else:
            print(
                '{:{}}  {}  {:.1f} s'.format(entry['iteration'], self._width, line, entry['elapsed_time']), flush=True)


class DownloadBar:
    """Shows how much of a file has come; a context manager.  In a pipe it is one line.

    Args:
        name (str): The file's.
        size (int): Its bytes, or 0 where they are not known.
    """

    def __init__(self, name, size):
        self._name, self._size = name, size
        self._is_terminal = sys.stdout.isatty()

    def __enter__(self):
        if not self._is_terminal:
            size = ' ({:,} bytes)'.format(self._size) if self._size else ''
            print('Fetching {}{} ...'.format(self._name, size), flush=True)
        return self

    def __exit__(self, *exception):
        if self._is_terminal:
            print(flush=True)

    def update(self, done):
        """Call with the number of bytes that have come."""
        if self._is_terminal:
            share = min(1, done / self._size) if self._size else 0
            print(
                '\rFetching {}  [{:.<30}] {:,} bytes'.format(self._name, '#' * int(30 * share), done),
                end='', flush=True)


def print_table(columns):
    """Print numbers in columns: pairs of a title and a dict of values by name; ``None`` and what is missing as ``-``.

    Lists are left out.
    """
    names = dict.fromkeys(
        name for _, values in columns for name, value in values.items() if not isinstance(value, list))
    left = max(24, *(len(name) + 2 for name in names))
    widths = [max(14, len(title) + 2) for title, _ in columns]
    print(' ' * left + ''.join('{:>{}}'.format(title, width) for (title, _), width in zip(columns, widths)))
    for name in names:
        cells = [_shown(values.get(name)) for _, values in columns]
        print('{:<{}}'.format(name, left) + ''.join('{:>{}}'.format(cell, width) for cell, width in zip(cells, widths)))


def _shown(value):
    return '-' if value is None else '{:.4g}'.format(value) if isinstance(value, float) else str(value)
