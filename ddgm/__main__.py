"""Every command of this package under one name: "ddgm mnist" is "python train_mnist.py", from any folder."""

import importlib
import sys
import textwrap

from ddgm.runs import command_line
from ddgm.support.errors import UsageError

# By name, the module whose main it is.
COMMANDS = {
    'gaussian_mixture': 'train_gaussian_mixture',
    'swiss_roll': 'train_swiss_roll',
    'mnist': 'train_mnist',
    'images': 'train_images',
    'compare': 'ddgm.compare.__main__',
    'weights': 'ddgm.weights.__main__',
    'prepare': 'ddgm.prepare.__main__',
    'studies': 'ddgm.studies.__main__',
}


def parse(arguments):
    """The name of a command; ``None`` where --help or --version is all that was asked for, and was answered."""
    name = arguments[0] if arguments else '--help'
    if name in ('-h', '--help'):
        print('usage: ddgm COMMAND ...; "ddgm COMMAND --help" lists its flags\n')
        for name, module in COMMANDS.items():
            line = '  {:<18}{}'.format(name, importlib.import_module(module).__doc__.splitlines()[0])
            print(textwrap.fill(line, 79, subsequent_indent=20 * ' '))
        return None
    if name == '--version':
        print(command_line.VERSION)
        return None
    if name not in COMMANDS:
        raise UsageError('{!r} is no command: give one of {}'.format(name, ', '.join(COMMANDS)))
    return name


def main():
    """The entry point of ``ddgm`` and of ``python -m ddgm``: hands what follows a command's name to that command."""
    def chosen():
        name = parse(sys.argv[1:])
        if name is not None:
            sys.argv = ['ddgm ' + name, *sys.argv[2:]]
            importlib.import_module(COMMANDS[name]).main()
    command_line.run_script(chosen)


if __name__ == '__main__':
    main()
