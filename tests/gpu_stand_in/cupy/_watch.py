"""Where every call that takes or makes arrays on the GPU passes, so that it can be counted, or kept by a capture."""

import functools
import threading

watcher = None  # called as watcher(name, call, arguments, options), and returns what call(*arguments, **options) does
_thread = threading.local()


def watched(call):
    """``call``, as the watcher sees it where there is one; what it calls in turn is part of it."""
    @functools.wraps(call)
    def passed(*arguments, **options):
        if watcher is None or getattr(_thread, 'is_inside', False):
            return call(*arguments, **options)
        name = {'_method': lambda: arguments[1].partition('.')[2], '__call__': lambda: arguments[0].name}.get(
            call.__name__, lambda: call.__name__)()
        _thread.is_inside = True
        try:
            return watcher(name, call, arguments, options)
        finally:
            _thread.is_inside = False
    return passed
