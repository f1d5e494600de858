"""README.md, CHANGELOG.md and docs/ as a site in result/site, with an API reference made from the docstrings.

Links lead where they lead in the repository.  One that leads nowhere ends it, and so does a warning of pdoc's.
"""

import html.parser
import pathlib
import pkgutil
import re
import shutil
import sys
import urllib.parse
import warnings
from unittest import mock

import ddgm
from benchmarks import ROOT
from ddgm.fast import functions, links
from ddgm.figures import page

SITE = ROOT / 'result' / 'site'
# These pages have tables of words, and programs.
STYLE = '''
body { max-width: 64rem; }
pre { white-space: pre; overflow-x: auto; }
.wide { margin: 1rem 0; }
th, td { text-align: left; vertical-align: top; }
td img { min-width: 8rem; }
nav a { margin-right: 1rem; }
'''
# What a class has of Chainer's is in Chainer's own reference.
TEMPLATE = '''{% extends "default/module.html.jinja2" %}
{% macro inherited(cls) %}{% endmacro %}
{% block nav_title %}<a href="{{ "../" * module.modulename.count(".") }}../index.html">ddgm's pages</a>{% endblock %}
'''
ON_TOP = {'README.md': 'ddgm', 'docs/README.md': 'all pages', 'CHANGELOG.md': 'changes', 'api/ddgm.html': 'API'}


class Reader(html.parser.HTMLParser):
    """Where a page leads, and where others may lead in it, as a browser reads it."""

    def __init__(self, text):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name == 'id':
                self.anchors.add(value)
            elif name in ('href', 'src'):
                self.links.append(value)


def main():
    shutil.rmtree(SITE, ignore_errors=True)
    write_reference(SITE / 'api')
    write_pages([ROOT / name for name in ('README.md', 'CHANGELOG.md')] + sorted((ROOT / 'docs').glob('*.md')))
    wrong = dead_links(SITE)
    if wrong:
        sys.exit('\n'.join(wrong))
    print(SITE / 'index.html')


def write_reference(folder: pathlib.Path) -> None:
    """All modules, by what their docstrings say; a warning of pdoc's is an error."""
    import jinja2  # which make docs installs, as it does the next one
    import pdoc
    for name in ddgm.__all__:
        setattr(ddgm, name, getattr(ddgm, name))  # pdoc looks at what a module holds, not at what it is asked for
    ddgm.__all__ += [module.name for module in pkgutil.iter_modules(ddgm.__path__) if module.name != '__main__']
    functions.__path__ = links.__path__ = []  # otherwise they are Chainer's, as all that these two don't have
    pdoc.render.configure(docformat='google')
    pdoc.render.env.loader = jinja2.ChoiceLoader([
        jinja2.DictLoader({'module.html.jinja2': TEMPLATE}), pdoc.render.env.loader])
    numba = mock.MagicMock()  # which may be missing, and whose functions would have no text of their own
    numba.njit = lambda **options: lambda function: function
    numba.core.event.Listener = object
    numba.config.CACHE_DIR = ''
    with warnings.catch_warnings(), mock.patch.dict(sys.modules, {'numba': numba, 'numba.core': numba.core}):
        warnings.simplefilter('error', UserWarning)
        # The types in a NamedTuple are looked for outside of its module, and shown as they are written.
        warnings.filterwarnings('ignore', 'Error parsing type annotation ForwardRef')
        pdoc.pdoc('ddgm', output_directory=folder)
    for path in folder.rglob('*.html'):
        path.write_text(without_dead_anchors(path.read_text(encoding='utf-8')), encoding='utf-8')


def without_dead_anchors(text: str) -> str:
    """A page of pdoc's, which links what a class inherits to where the page would have it."""
    anchors = Reader(text).anchors
    return re.sub('<a href="#([^"]+)">(.*?)</a>', lambda link: link[0] if link[1] in anchors else link[2], text)


def write_pages(paths: list) -> None:
    """Pages of Markdown as HTML, at the same places below ``SITE``, with the pictures and files that they link to."""
    import markdown_it
    reader = markdown_it.MarkdownIt().enable('table')
    reader.add_render_rule('table_open', lambda *_: '<div class="wide"><table>')
    reader.add_render_rule('table_close', lambda *_: '</table></div>')
    for path in paths:
        tokens = reader.parse(path.read_text(encoding='utf-8'))
        for token, text in zip(tokens, tokens[1:]):
            if token.type == 'heading_open':
                token.attrSet('id', anchor(''.join(child.content for child in text.children)))
            for child in token.children or []:
                name = {'link_open': 'href', 'image': 'src'}.get(child.type)
                if name and not re.match(r'\w+:', child.attrs[name]):
                    copy(path.parent / child.attrs[name])
                    child.attrSet(name, address(child.attrs[name]))
        target = SITE / address(str(path.relative_to(ROOT)))
        up = '../' * len(path.relative_to(ROOT).parent.parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        page.write(target, tokens[1].content, [
            '<nav>{}</nav>'.format('\n'.join(
                '<a href="{}">{}</a>'.format(up + address(name), text) for name, text in ON_TOP.items())),
            reader.renderer.render(tokens[3:], reader.options, {})], STYLE)  # the first three are the title


def address(name: str) -> str:
    """Where a link between files of the repository leads in the site."""
    path, mark, part = name.partition('#')
    return re.sub(r'\.md$', '.html', re.sub(r'README\.md$', 'index.html', path)) + mark + part


def anchor(title: str) -> str:
    """The anchor of a heading, by GitHub's rule."""
    return re.sub(r'[^\w\- ]', '', title.lower()).strip().replace(' ', '-')


def copy(path: pathlib.Path) -> None:
    """A picture or another file that a page links to, to its place in the site."""
    path = path.resolve()
    if path.is_file() and path.suffix != '.md':
        target = SITE / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def dead_links(site: pathlib.Path) -> list:
    """What the pages of a site link to or show, and is not there; other hosts are not asked."""
    pages = {path.resolve(): Reader(path.read_text(encoding='utf-8')) for path in site.rglob('*.html')}
    wrong = []
    for path, reader in pages.items():
        for link in dict.fromkeys(reader.links):  # each once
            if re.match(r'\w+:', link):
                continue
            name, _, part = urllib.parse.unquote(link).partition('#')
            target = (path.parent / name).resolve() if name else path
            if not target.is_file() or part and part not in getattr(pages.get(target), 'anchors', ()):
                wrong.append('{}: {} leads nowhere'.format(path.relative_to(site.resolve()), link))
    return wrong


if __name__ == '__main__':
    main()
