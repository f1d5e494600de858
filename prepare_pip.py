"""Make pip build Chainer in the environment whose Python runs this: "python prepare_pip.py", once.

Chainer 7.8.1 is published as source only.  Building it needs pkg_resources, which setuptools 81 and later lack.  This
puts constraints.txt into pip's settings of this one environment, under the names that old and new releases of pip read.
Nothing outside of it changes.  It runs before anything is installed, so it needs nothing but Python.
"""

import pathlib
import shutil
import subprocess
import sys

OLDEST, NEWEST = (3, 9), (3, 15)


def main():
    version = sys.version_info[:2]
    if version < OLDEST:
        sys.exit('Python {}.{} is too old: 3.9 or later is needed'.format(*version))
    if version > NEWEST:
        print('Python {}.{} is newer than 3.15, the newest that was tried: packages may be missing for it'.format(
            *version))
    if subprocess.call([sys.executable, '-c', 'import pip'], stderr=subprocess.DEVNULL):  # uv makes environments so
        subprocess.check_call([sys.executable, '-m', 'ensurepip'], stdout=subprocess.DEVNULL)
    constraints = pathlib.Path(sys.prefix) / 'ddgm-constraints.txt'  # a copy, so that the sources may move
    try:
        shutil.copyfile(str(pathlib.Path(__file__).with_name('constraints.txt')), str(constraints))
    except OSError as error:
        sys.exit('{}: {}: make an environment of your own, with python3 -m venv .venv'.format(
            constraints, error.strerror))
    for name in ('constraint', 'build-constraint'):  # pip splits a path at its spaces, but not an address
        subprocess.check_call(
            [sys.executable, '-m', 'pip', 'config', '--quiet', '--site', 'set', 'global.' + name, constraints.as_uri()])


if __name__ == '__main__':
    main()
