"""The models that come with this package: slim run folders, each with a card and a checksum of every file."""

from __future__ import annotations

import difflib
import hashlib
import pathlib

from ddgm.support.errors import UsageError, one_line

FOLDER = pathlib.Path(__file__).parent / 'models'
CARD = 'card.md'
CHECKSUMS = 'SHA256SUMS'  # lines as sha256sum writes and checks them


def names() -> list[str]:
    """What there is."""
    return sorted(path.parent.name for path in FOLDER.glob('*/' + CARD))


def meant(name: str) -> str:
    """What to do where somebody gave the name of none."""
    close = difflib.get_close_matches(name.lower(), names(), 1)
    return 'did you mean {}?'.format(*close) if close else (
        'give one of ' + ', '.join(names()) if names() else 'there is none')


def card_of(name: str) -> str:
    """The card of a model, Markdown."""
    return (FOLDER / name / CARD).read_text(encoding='utf-8')


def summary_of(name: str) -> str:
    """What the card of a model says in its first line, after the name."""
    return card_of(name).splitlines()[0].partition(': ')[2]


def checksums_of(folder: pathlib.Path) -> str:
    """Of every file in a folder, but for themselves."""
    return ''.join(
        '{}  {}\n'.format(_checksum(path), path.name) for path in sorted(folder.iterdir()) if path.name != CHECKSUMS)


def verify(folder: pathlib.Path) -> None:
    """Raise ``UsageError`` where a file of a model is not as it was packaged."""
    try:
        lines = (folder / CHECKSUMS).read_text(encoding='ascii').splitlines()
        for checksum, name in (line.split('  ') for line in lines):
            if _checksum(folder / name) != checksum:
                raise ValueError('the checksum of {} is wrong'.format(name))
    except (OSError, ValueError) as error:
        raise UsageError('{}: damaged ({}): install the package anew'.format(folder, one_line(error))) from error


def _checksum(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()
