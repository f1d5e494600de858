"""One HTML file that holds everything it shows: it needs no network, no script and no other file.

A page is a list of parts, each a text in HTML from one of these functions.  Whatever they are given is plain text.
"""

from __future__ import annotations

import base64
import html
import os
import pathlib
from collections.abc import Iterable

from ddgm.support.files import open_atomically
from ddgm.support.terminal import is_sentence, shown

_STYLE = '''
:root { color-scheme: light dark; --page: #fff; --text: #222; --quiet: #555; --line: #ccc; --code: #f4f4f4;
        --edge: #0004; }
@media (prefers-color-scheme: dark) {
  :root { --page: #181818; --text: #ddd; --quiet: #aaa; --line: #444; --code: #262626; --edge: #fff4; }
}
body { max-width: 56rem; margin: 0 auto; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif; color: var(--text);
       background: var(--page); overflow-wrap: anywhere; }
h1, h2, h3 { line-height: 1.2; break-after: avoid; }
h2 { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
pre { white-space: pre-wrap; background: var(--code); padding: .6rem; border-radius: .3rem; }
pre span { display: inline-block; max-width: 100%; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; flex: 1 1 18rem; max-width: 100%; }
img { max-width: 100%; height: auto; }
figcaption { font-size: .875rem; color: var(--quiet); }
.wide { overflow-x: auto; background:
        linear-gradient(to right, var(--page) 1rem, transparent) left / 2rem 100% no-repeat local,
        linear-gradient(to left, var(--page) 1rem, transparent) right / 2rem 100% no-repeat local,
        linear-gradient(to right, var(--edge), transparent) left / .7rem 100% no-repeat,
        linear-gradient(to left, var(--edge), transparent) right / .7rem 100% no-repeat; }
table { border-collapse: collapse; font-size: .875rem; }
th, td { padding: .2rem .8rem .2rem 0; text-align: right; border-bottom: 1px solid var(--line);
         overflow-wrap: normal; }
th:first-child { text-align: left; }
th[scope=row] { font-weight: normal; }
blockquote { margin: 1rem 0; padding-left: 1rem; border-left: .25rem solid var(--line); color: var(--quiet); }
figure, pre, tr, blockquote { break-inside: avoid; }
@media print {
  :root { --page: #fff; --text: #000; --quiet: #444; --line: #ccc; --code: #fff; --edge: transparent; }
  body { max-width: none; padding: 0; }
  .wide { overflow: visible; }
}
'''
_PAGE = '''<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{}</title>
<style>{}</style>
</head>
<body>
{}
</body>
</html>
'''
_KINDS = {'.png': 'image/png', '.gif': 'image/gif', '.jpg': 'image/jpeg'}


def heading(text: str, level: int = 2) -> str:
    """A heading; the page's title is of level 1."""
    return '<h{0}>{1}</h{0}>'.format(level, html.escape(text))


def paragraph(text: str) -> str:
    """A paragraph."""
    return '<p>{}</p>'.format(html.escape(text))


def quotation(text: str) -> str:
    """What another says."""
    return '<blockquote>{}</blockquote>'.format(html.escape(text))


def command(text: str) -> str:
    """What is typed in a terminal; a line ends between two words of it."""
    return '<pre><code>{}</code></pre>'.format(
        ' '.join('<span>{}</span>'.format(html.escape(word)) for word in text.split(' ')))


def pictures(*paths_and_captions: tuple, of: str = '') -> str:
    """Pictures beside one another, or below where there is no room: pairs of a PNG, GIF or JPEG file and a caption.

    ``of`` says to those who don't see them what they are of, beside the caption.
    """
    return '<div class="pictures">\n{}\n</div>'.format('\n'.join(
        '<figure><img src="data:{};base64,{}" alt="{}"><figcaption>{}</figcaption></figure>'.format(
            _KINDS[pathlib.Path(path).suffix.lower()], base64.b64encode(pathlib.Path(path).read_bytes()).decode(),
            html.escape(of and of + ': ') + html.escape(caption), html.escape(caption))
        for path, caption in paths_and_captions))


def table(columns: list) -> str:
    """Metrics by name, a column for each pair of a title and a dict, as ``print_table`` shows them in a terminal."""
    names = list(dict.fromkeys(
        name for _, values in columns for name, value in values.items()
        if not isinstance(value, list) and not is_sentence(value)))
    rows = [[''] + [title for title, _ in columns]]
    rows += [[name] + [shown(values.get(name)).replace('-', '−') for _, values in columns] for name in names]
    lines = [
        '<tr>{}</tr>'.format(''.join(
            ('<td>{}</td>' if scope == 'row' and i else '<th scope="{}">{{}}</th>'.format(scope)).format(
                html.escape(text)) for i, text in enumerate(row)))
        for scope, row in zip(['col'] + ['row'] * len(names), rows)]
    return '<div class="wide" tabindex="0"><table>\n{}\n</table></div>'.format('\n'.join(lines)) + ''.join(
        paragraph('{}, {}: {}'.format(title, name, value))
        for title, values in columns for name, value in values.items() if is_sentence(value))


def links(folder: str | os.PathLike, paths_and_texts: Iterable[tuple]) -> str:
    """A line of links to files or folders, pairs of a path and a text, as seen from the page's own folder."""
    def address(path):
        relative = pathlib.Path(os.path.relpath(path, folder)).as_posix()
        return pathlib.PurePosixPath('/', relative).as_uri()[len('file:///'):]
    return '<p>{}</p>'.format(' · '.join(
        '<a href="{}">{}</a>'.format(address(path), html.escape(text)) for path, text in paths_and_texts))


def write(path: str | os.PathLike, title: str, parts: Iterable[str], style: str = '') -> None:
    """Write a page, which is there as a whole or not at all; ``style`` adds to that of all pages."""
    text = _PAGE.format(html.escape(title), _STYLE + style, '\n'.join([heading(title, 1), *parts]))
    with open_atomically(path) as file:
        file.write(text.encode('utf-8'))
