"""Every command of this package under one name: "ddgm mnist" is "python train_mnist.py", from any folder."""

from __future__ import annotations

import ast
import os
import pathlib
import subprocess
import sys
import textwrap

from ddgm.presets import PRESETS
from ddgm.runs import command_line, exit_status
from ddgm.support.errors import UsageError

COMMANDS = *PRESETS, 'sample', 'models', 'refine', 'compare', 'weights', 'prepare', 'studies'
_PACKAGE = pathlib.Path(__file__).parent
# In a wheel the scripts lie within this package, else beside it.
_SCRIPTS = _PACKAGE / 'scripts' if (_PACKAGE / 'scripts').is_dir() else _PACKAGE.parent


def parse(arguments: list[str]) -> str | None:
    """The name of a command; ``None`` where --help or --version is all that was asked for, and was answered."""
    name = arguments[0] if arguments else '--help'
    if name in ('-h', '--help'):
        print('usage: ddgm COMMAND ...; "ddgm COMMAND --help" lists its flags\n')
        for name in COMMANDS:
            source = _file_of(name).read_text(encoding='utf-8')
            line = '  {:<18}{}'.format(name, ast.get_docstring(ast.parse(source)).splitlines()[0])
            print(textwrap.fill(line, 79, subsequent_indent=20 * ' '))
        return None
    if name == '--version':
        print(command_line.VERSION)
        return None
    if name not in COMMANDS:
        raise UsageError('{!r} is no command: give one of {}'.format(name, ', '.join(COMMANDS)))
    return name


def main() -> None:
    """The entry point of ``ddgm`` and of ``python -m ddgm``: starts a command, as if it had been typed."""
    def chosen():
        name = parse(sys.argv[1:])
        if name is not None:
            start(name, sys.argv[2:])
    exit_status.run_script(chosen)


def start(name: str, arguments: list[str]) -> None:
    """Go on as the process of a command: the scripts of the plane set NumPy's threads before it is imported."""
    # A module by its name, or the modules beside its file would hide others of their names.
    file = _file_of(name)
    module = '.'.join(file.relative_to(_PACKAGE.parent).with_suffix('').parts).replace('.__main__', '')
    started = [str(file)] if name in PRESETS else ['-m', module]
    command = [sys.executable, *started, *arguments]
    if os.name == 'posix':
        os.execv(sys.executable, command)
    sys.exit(subprocess.call(command))  # Windows would give the prompt back before the command ends


def _file_of(name):
    if name in PRESETS:
        return _SCRIPTS / 'train_{}.py'.format(name)
    command = _PACKAGE / 'commands' / (name + '.py')
    return command if command.exists() else _PACKAGE / name / '__main__.py'


if __name__ == '__main__':
    main()
