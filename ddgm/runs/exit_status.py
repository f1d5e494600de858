"""How every script and command ends: its outcome as an exit status and one line, its streams, what stops it.

It imports neither Chainer nor matplotlib, so ``--help`` and a mistyped flag answer at once.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable

from ddgm.runs import processes, stop_signals
from ddgm.support import compatibility
from ddgm.support.errors import Interrupted, RunFailed, UsageError, lacks_memory, one_line, printable

_INTERRUPTED = 130  # the exit status


def run_script(main: Callable[[], None]) -> None:
    """Call a script's ``main`` and exit with the status that its outcome stands for, one line on stderr.

    0 done; 1 the run failed; 2 bad usage or bad input; 130 interrupted by Ctrl-C, SIGTERM or SIGHUP, or, without a
    line, since nobody reads its output any more.
    """
    processes.prepare()
    _prepare_streams()
    line, is_known = None, False
    try:
        with stop_signals.handled_by(signal.default_int_handler):  # the same as Ctrl-C: KeyboardInterrupt
            compatibility.settle_variables()
            main()
        status = 0
    except UsageError as error:
        status, line = 2, str(error)
    except RunFailed as error:
        status, line = 1, str(error)
    except BrokenPipeError:
        status = _INTERRUPTED
    except OSError as error:  # the disk is full, a folder went away
        status, line = 1, 'stopped by the system: {}'.format(one_line(error))
    except Interrupted as error:
        status, line = _INTERRUPTED, str(error)
    except KeyboardInterrupt:
        status, line = _INTERRUPTED, 'interrupted'
    except SystemExit as error:  # of --help
        status = error.code
    except processes.FailedElsewhere as error:
        status, line, is_known = error.status, error.line, True
    except Exception as error:
        status = 1
        if lacks_memory(error):
            line = 'not enough memory ({})'.format(one_line(error))
        elif processes.are_several():  # a defect of this program
            traceback.print_exc()
        else:
            raise
    if not is_known:
        status, line = processes.outcome_of_all(status, line)
    if line is not None:
        program = os.path.basename(sys.argv[0].replace(os.sep + '__main__.py', ''))  # of a package, its name
        if os.path.basename(os.path.dirname(sys.argv[0])) == 'commands':  # "ddgm sample" is typed, not sample.py
            program = program.replace('.py', '')
        with contextlib.suppress(OSError):  # the terminal may be gone
            print('{}: {}'.format(program, printable(line)), file=sys.stderr)
    if not _finish_streams():
        status = status or _INTERRUPTED
    processes.end_others(status)
    sys.exit(status)


def _prepare_streams():
    """Make standard output and errors what can be printed to."""
    for name in ('stdout', 'stderr'):
        stream = getattr(sys, name)
        if stream is None or getattr(stream, 'closed', False):  # by ">&-" or pythonw
            setattr(sys, name, open(os.devnull, 'w', encoding='utf-8'))  # noqa: SIM115 (it stays)
        elif isinstance(stream, io.TextIOWrapper):  # and not a notebook's
            stream.reconfigure(errors='backslashreplace')  # a folder's name may have letters that the terminal lacks


def _finish_streams():
    """Bring out what was printed; returns whether somebody could read it."""
    is_read = True
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            is_read = False
            # What is left in its buffer would be tried once more, and told of, when Python ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return is_read
