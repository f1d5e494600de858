"""The signals that end a run: Ctrl-C, SIGTERM, and SIGHUP, which a lost connection sends."""

import contextlib
import signal
import threading

_SIGNALS = [getattr(signal, name) for name in ('SIGINT', 'SIGTERM', 'SIGHUP') if hasattr(signal, name)]  # Windows


@contextlib.contextmanager
def handled_by(handler):
    """A context in which ``handler(number, frame)`` is called for them.

    Those that were ignored at the start, as by nohup, stay so.  Python handles signals in its main thread only;
    elsewhere this changes nothing.
    """
    previous = {}
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                previous[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, its_handler in previous.items():
            signal.signal(number, its_handler)


@contextlib.contextmanager
def noted():
    """A context in which they only fill a list, so that what is at work can be finished however often they come."""
    received = []
    with handled_by(lambda number, frame: received.append(number)):
        yield received
