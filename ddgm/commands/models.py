"""List the models that come with this package, or show the card of one.

A card says what a model has learned from, how good it is and what it is not good for.
"""

from __future__ import annotations

import argparse

from ddgm.runs import command_line, exit_status
from ddgm.trained import packaged


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line: ``name``."""
    parser = command_line.OneLineParser(prog='ddgm models', description=__doc__, allow_abbrev=False)
    parser.add_argument('name', metavar='NAME', nargs='?', help='the model whose card is shown (default: list all)')
    request = parser.parse_args(arguments)
    if request.name is not None and request.name not in packaged.names():
        parser.error('{!r} is no model of the package: {}'.format(request.name, packaged.meant(request.name)))
    return request


def main(arguments: list[str] | None = None) -> None:
    request = parse(arguments)
    if request.name is not None:
        print(packaged.card_of(request.name), end='')
        return
    for name in packaged.names():
        print('{:<16}{}'.format(name, packaged.summary_of(name)))
    print('"ddgm models NAME" shows the card of one, "ddgm sample NAME --out samples.npz" draws of it'
          if packaged.names() else 'no models in this package: install it anew')


if __name__ == '__main__':
    exit_status.run_script(main)
