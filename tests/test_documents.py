"""README.md, CHANGELOG.md and docs/*.md: figures come out of docs/results, links lead somewhere, sentences are short.

Each check takes the documents as {path: text} and returns what is wrong; on a broken copy it has to say so.
"""

import doctest
import itertools
import json
import re
import statistics

import pytest
from conftest import ROOT

import ddgm
from benchmarks.pictures import site
from benchmarks.results import tables
from ddgm.presets import PRESETS

DOCUMENTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding='utf-8')
    for path in [*ROOT.glob('*.md'), *sorted((ROOT / 'docs').glob('*.md'))]}
FILLED = re.compile(r'(?<!`)<!-- (table|figure) .*?<!-- end -->', re.DOTALL)
CODE = re.compile(r'^```.*?^```|`[^`\n]+`', re.DOTALL | re.MULTILINE)
LINK = re.compile(r'(!?)\[([^\]]*)\]\(([^)\s]+)\)')
# Decimal numbers that are no results: versions, and the paper's number.
NO_RESULT = re.compile(
    r'(Version|Python|Chainer|PyTorch|NumPy|CUDA|CuPy|Apache) \d+(\.\d+)+( (to|and) \d+(\.\d+)+)?|arXiv:[\d.]+')
# Its hand-written tables list settings of other programs, not results.
TABLES_OF_SETTINGS = {'docs/differences.md'}
LONG, MEAN_WORDS, LONG_SHARE = 35, 18, 1 / 20


def differing(documents, results=ROOT / 'docs' / 'results'):
    """Tables and figures that are not what docs/results says, or that Markdown would not show."""
    wrong = []
    for path, text in documents.items():
        try:
            wrong += ['{}: {} differs: run make tables'.format(path, name)
                      for name in tables.fill(text, results)[1]]
        except SystemExit as missing:
            wrong.append('{}: {}'.format(path, missing))
        # A comment that begins a line is a block of its own.
        wrong += ['{}: {} begins a line'.format(path, name)
                  for name in re.findall(r'^\s*<!-- (figure [^>\n]+) -->', text, re.MULTILINE)]
    return wrong


def anchors(text):
    """The anchors that GitHub gives to a document's headings."""
    titles = re.findall(r'^#+ (.*)$', re.sub(r'^```.*?^```', '', text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', LINK.sub(r'\2', title).lower()).strip().replace(' ', '-') for title in titles}


def dead_links(documents):
    """Relative links and pictures that lead nowhere."""
    wrong = []
    for path, text in documents.items():
        for _, _, target in LINK.findall(CODE.sub('', text)):
            if re.match(r'\w+:', target):
                continue
            name, _, anchor = target.partition('#')
            file = ((ROOT / path).parent / name).resolve() if name else ROOT / path
            page = str(file.relative_to(ROOT)) if ROOT in file.parents else name
            if not (file.exists() or page in documents):
                wrong.append('{}: {} does not exist'.format(path, target))
            elif anchor and anchor not in anchors(documents.get(page, '')):
                wrong.append('{}: no heading of {} is #{}'.format(path, page, anchor))
    return wrong


def written(path, text):
    """What somebody wrote: without filled tables and figures, code, and where links lead."""
    text = LINK.sub(lambda link: '' if link[1] else link[2], CODE.sub('code', FILLED.sub('', text)))
    return re.sub(r'^\|.*$', '', text, flags=re.MULTILINE) if path in TABLES_OF_SETTINGS else text


def typed_figures(documents):
    """Decimal numbers and percentages that no program put there."""
    return [
        '{}: {!r} is typed: move it to docs/results'.format(path, match[0])
        for path, text in documents.items()
        for match in re.finditer(
            r'\S*\d+(\.\d+|e[-−]?\d+| ?%)\S*', NO_RESULT.sub('', written(path, text)))]


def sentences(path, text):
    """The sentences of a document, in words; no headings and no tables."""
    blocks = re.split(r'\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )|(?<=\|)\n|\n(?=\|)', written(path, text))
    blocks = [' '.join(block.split()) for block in blocks if not re.match(r'\s*(#|\||<)', block)]
    return [
        sentence.split() for block in blocks
        for sentence in re.split(r'(?<=[.!?])[)*_]* (?=[\W_]*[A-Zα-ω\d]|code)', re.sub(r'^([-*]|\d+\.) ', '', block))
        if sentence.split()]


def hard_sentences(documents):
    """Whether the sentences are too long, over all pages."""
    pages = {path: [len(words) for words in sentences(path, text)] for path, text in documents.items()}
    pages = {path: lengths for path, lengths in pages.items() if lengths}
    wrong, means = [], {path: statistics.mean(lengths) for path, lengths in pages.items()}
    if statistics.median(means.values()) > MEAN_WORDS:
        wrong.append('the median page has more than {} words a sentence: {}'.format(
            MEAN_WORDS, {path: round(mean, 1) for path, mean in means.items()}))
    lengths = list(itertools.chain.from_iterable(pages.values()))
    if sum(length > LONG for length in lengths) > LONG_SHARE * len(lengths):
        wrong.append('more than 1 sentence in {:.0f} has over {} words: {}'.format(1 / LONG_SHARE, LONG, [
            '{}: {} ...'.format(path, ' '.join(words[:8]))
            for path, text in documents.items() for words in sentences(path, text) if len(words) > LONG]))
    return wrong


@pytest.mark.parametrize('check', [differing, dead_links, typed_figures, hard_sentences])
def test_documents(check):
    assert check(DOCUMENTS) == []


# Those of ddgm.trained are about a run, and tried where there is one: tests/test_trained.py.
@pytest.mark.parametrize('name', [name for name, module in ddgm._EXPORTS.items() if 'trained' not in module])
def test_example_of_a_public_name(name, capsys):
    example, = doctest.DocTestFinder(recurse=False).find(getattr(ddgm, name), name, globs={})
    outcome = doctest.DocTestRunner().run(example)
    assert outcome.attempted > 0
    assert outcome.failed == 0, capsys.readouterr().out


@pytest.mark.parametrize(('shown', 'dead'), [
    ('<a href="other.html#there">', []), ('<a href="https://x.org/y#z">', []), ('<h2 id="a"><a href="#a">', []),
    ('<img src="none.png">', ['none.png']), ('<a href="other.html#here">', ['other.html#here']),
    ('<a href="#a">', ['#a']), ('<a href="../site">', ['../site'])])
def test_dead_links_of_the_site(shown, dead, tmp_path):
    (tmp_path / 'site').mkdir()
    (tmp_path / 'site' / 'other.html').write_text('<p id="there">')
    (tmp_path / 'site' / 'page.html').write_text(shown)
    assert site.dead_links(tmp_path / 'site') == ['page.html: {} leads nowhere'.format(link) for link in dead]


def test_changed_figure_is_named(tmp_path):
    (tmp_path / 'x.json').write_text(json.dumps({
        'made': {'command': 'make x', 'commit': None, 'seeds': [0, 1, 2], 'iterations': 1000},
        'tables': {'t': {'columns': ['run', '`a.b`', 'c'], 'rows': [
            ['`one`', [0.5, -1.25, 3], {'value': 2, 'from': 1, 'to': 4000}],
            ['two', {'from': 'x.t.one.a.b'}, None]]}}}))
    page, changed = tables.fill(
        'As <!-- figure x.t.two.a.b --><!-- end --> says:\n\n<!-- table x.t -->\n<!-- end -->\n', tmp_path)
    assert changed == ['x.t', 'x.t.two.a.b']
    assert page == (
        'As <!-- figure x.t.two.a.b -->0.5<!-- end --> says:\n\n<!-- table x.t -->\n'
        '| run | `a.b` | c |\n| --- | --- | --- |\n'
        '| `one` | **0.5** (0.5, −1.25, 3) | 2 (1 to 4,000) |\n| two | **0.5** (0.5, −1.25, 3) | – |\n\n'
        '<sub>`make x`; seeds 0, 1, 2; 1,000 iterations; '
        'machine, versions, commit: before this was recorded.</sub>\n<!-- end -->\n')
    assert differing({'page.md': page}, tmp_path) == []
    assert differing({'page.md': page.replace('−1.25', '−1.26', 1)}, tmp_path) == [
        'page.md: x.t differs: run make tables']
    assert differing({'page.md': page.replace('-->0.5', '-->0.6')}, tmp_path) == [
        'page.md: x.t.two.a.b differs: run make tables']
    assert differing({'page.md': page.replace('As ', '')}, tmp_path) == ['page.md: figure x.t.two.a.b begins a line']
    assert 'page.md: x.t.two.d: not in' in differing({'page.md': page.replace('two.a.b', 'two.d')}, tmp_path)[0]


def test_command_fills_and_checks(tmp_path, capsys):
    (tmp_path / 'docs' / 'results').mkdir(parents=True)
    (tmp_path / 'docs' / 'results' / 'x.json').write_text(
        '{"made": {}, "tables": {"t": {"columns": ["a"], "rows": [["b"]]}}}')
    (tmp_path / 'README.md').write_text('<!-- table x.t -->\n<!-- end -->\n')
    assert tables.main(['--check'], tmp_path) == 1
    assert capsys.readouterr().out == 'README.md: x.t differs\n'
    assert tables.main([], tmp_path) == tables.main(['--check'], tmp_path) == 0
    assert '| b |' in (tmp_path / 'README.md').read_text()


def test_dead_links_are_named():
    page = '# Some page: *yes*\n\n[a](#some-page-yes) [b](https://x.org) ![c](README.md) `[d](e)`\n'
    assert dead_links({'x.md': page}) == []
    assert dead_links({'x.md': page.replace('README', 'REEDME')}) == ['x.md: REEDME.md does not exist']
    assert dead_links({'x.md': page.replace('#some', '#same')}) == ['x.md: no heading of x.md is #same-page-yes']
    assert dead_links({'docs/x.md': '[a](y.md#z)', 'docs/y.md': '# Y'}) == ['docs/x.md: no heading of docs/y.md is #z']


@pytest.mark.parametrize('figure', ['0.29', '−1.45', '12 %', '1e-4', '| a | 0.3 |'])
def test_typed_figures_are_named(figure):
    page = 'Python 3.9, Chainer 7.8.1, 2016, `0.5`, <!-- figure x.t.a.b -->0.5<!-- end -->, [one](p0.5.png), 20,000.\n'
    assert typed_figures({'x.md': page}) == []
    assert len(typed_figures({'x.md': page + '\n' + figure + '\n'})) == 1


def test_long_sentences_are_named():
    short, long = 'It is short.  ', 'It {} long.\n'.format('is ' * LONG)
    assert hard_sentences({'x.md': '# A heading\n\n| a | table |\n\n' + 40 * short + long}) == []
    assert 'more than 1 sentence in 20' in hard_sentences({'x.md': 10 * short + long})[0]
    assert 'the median page' in hard_sentences({'x.md': 'It {} so.\n'.format('is ' * MEAN_WORDS)})[0]


def test_a_page_lists_every_script_and_preset():
    """With its iterations; a preset that is shared by two scripts stands there once."""
    rows = (ROOT / 'docs' / 'scripts.md').read_text(encoding='utf-8').splitlines()
    for task, presets in PRESETS.items():
        assert any('`train_{}.py`'.format(task) in row for row in rows)
        for name, preset in presets.items():
            assert any(
                row.startswith('|') and '`{}`'.format(name) in row and '{:,}'.format(preset.settings.iterations) in row
                for row in rows), '{} of {}'.format(name, task)
