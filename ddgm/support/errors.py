"""The three ways in which a run ends early; each carries the one line that its user reads.

:mod:`ddgm.runs.exit_status` turns them into exit statuses: 2, 1 and 130.
"""


def printable(text):
    """A text, or a path, in which each letter that a terminal would obey or stumble over is a question mark."""
    return ''.join(letter if letter.isprintable() else '?' for letter in str(text))


def one_line(text):
    """A message or name in one line, with single spaces, and printable."""
    return printable(' '.join(str(text).split()))


def some(names, most=5):
    """The first of many names in one line, and how many more there are."""
    names = list(names)
    more = ' and {:,} more'.format(len(names) - most) if len(names) > most else ''
    return one_line(', '.join(map(str, names[:most]))) + more


def counted(n, thing, things=None):
    """1 sample, 2 samples; ``things`` where an s is not all that many of them need."""
    return '{:,} {}'.format(n, thing if n == 1 else things or thing + 's')


def lacks_memory(error):
    """Whether an exception tells of too little memory, as Python and NumPy do, or CuPy for CUDA and its libraries."""
    return isinstance(error, MemoryError) or type(error).__module__.startswith('cupy') and any(
        words in str(error) for words in ('MemoryAllocation', 'OUT_OF_MEMORY', 'ALLOC_FAILED'))


class UsageError(ValueError):
    """Bad usage or bad input: the message names the flag or file, and the cure."""


class RunFailed(Exception):
    """The run itself failed, for example because a loss was no longer finite."""


class Interrupted(Exception):
    """Ctrl-C, SIGTERM, SIGHUP or a closed pipe; a snapshot was saved first."""
