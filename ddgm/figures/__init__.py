"""Pictures, by matplotlib and Pillow: no display is needed, and a user's settings of matplotlib don't matter."""

import contextlib
import os
import sys

# A notebook's MPLBACKEND names a backend of its own, which the Python of a script may lack; pictures need none.
if 'matplotlib' not in sys.modules and os.environ.get('MPLBACKEND'):
    _backend = os.environ.pop('MPLBACKEND')
    import matplotlib
    os.environ['MPLBACKEND'] = _backend
    with contextlib.suppress(ValueError):
        matplotlib.rcParams['backend'] = _backend
