#!/usr/bin/env python3
"""Write interface.txt: what the stand-in may be asked for, read from CuPy itself.

    python tests/gpu_stand_in/write_interface.py FOLDER FOLDER

Each folder holds a CuPy (``pip install --target FOLDER cupy-cuda12x==13.*``); no GPU is needed.  A line is a function
of ``cupy`` or a method of its arrays with the parameters that all of these versions know, or a ufunc and how many
arrays it takes and gives.  Functions that NumPy does not have under this name are left out.
"""

import inspect
import json
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
PARTS = ('', 'linalg.')  # of cupy


def describe():
    """By name, what the CuPy that can be imported has: its version, ufuncs, and [parameter, kind, needed] of others."""
    import cupy
    import numpy
    found = {'version': cupy.__version__}
    for part in PARTS:
        module, of_numpy = ((xp.linalg if part else xp) for xp in (cupy, numpy))
        for name in dir(module):
            value = getattr(module, name)
            if name.startswith('_') or not hasattr(of_numpy, name) or not callable(value) or isinstance(value, type):
                continue
            if isinstance(value, cupy.ufunc):
                found[part + name] = [value.nin, value.nout]
            else:
                try:
                    found[part + name] = parameters_of(inspect.signature(value))
                except ValueError:
                    continue
    for name in dir(cupy.ndarray):
        # The first line of a method's docstring is its declaration, written by Cython.
        declared = re.match(r'\w+\.{}\(self(?:, )?(.*)\)(?: ->.*)?$'.format(name), (
            getattr(cupy.ndarray, name).__doc__ or '').partition('\n')[0])
        if declared and not name.startswith('_'):
            typed = re.sub(r'\b\w+ (?=\w+\s*(=|,|$))', '', declared[1])
            found['ndarray.' + name] = parameters_of(
                inspect.signature(eval('lambda {}: 0'.format(re.sub(r'u(?=\')', '', typed)))))
    return found


def parameters_of(signature):
    return [[name, each.kind.name, each.default is each.empty] for name, each in signature.parameters.items()]


def takes_any_name(parameters):
    return any(kind == 'VAR_KEYWORD' for _, kind, _ in parameters)


def line(name, versions):
    """The line of a name that all versions have; ``None`` where they differ in what it is."""
    first, *others = versions
    if first and isinstance(first[0], int):
        return '{} ufunc {} {}'.format(name, *first) if all(other == first for other in others) else None
    if any(other and isinstance(other[0], int) for other in others):
        return None
    first, *others = sorted(versions, key=takes_any_name)
    words, only_by_name = [], False
    for parameter, kind, needed in first:
        if not all(takes_any_name(other) or parameter in (known for known, _, _ in other) for other in others):
            continue
        if kind == 'KEYWORD_ONLY' and not only_by_name:
            words.append('*')
            only_by_name = True
        if kind == 'VAR_POSITIONAL':
            only_by_name = True
        star = {'VAR_POSITIONAL': '*', 'VAR_KEYWORD': '**'}.get(kind, '')
        words.append(star + parameter + ('' if needed or star else '=None'))
    return '{}({})'.format(name, ', '.join(words))


def main():
    if len(sys.argv) == 1:
        print(json.dumps(describe()))
        return
    found = [
        json.loads(subprocess.run(
            [sys.executable, __file__], env={'PYTHONPATH': folder}, capture_output=True, text=True, check=True).stdout)
        for folder in sys.argv[1:]]
    versions = [each.pop('version') for each in found]
    names = sorted(set.intersection(*map(set, found)))
    lines = ['# CuPy {}; written by write_interface.py'.format(' and '.join(versions))]
    lines += filter(None, (line(name, [each[name] for each in found]) for name in names))
    (HERE / 'interface.txt').write_text('\n'.join(lines) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
