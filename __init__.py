"""Not the package, which is the folder ``ddgm`` beside this file; this hands over to it.

Python that is started in the folder above a clone named ``ddgm`` takes the clone for the package.
"""

import importlib
import os
import sys

if __name__ == 'ddgm':
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    del sys.modules[__name__]
    importlib.import_module(__name__)
