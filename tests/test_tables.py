"""Tables of the terminal, letter by letter and in blocks where a line has no room for all; and those in Markdown."""

import json

import pytest

from benchmarks.results import tables as filling
from ddgm.support import tables
from ddgm.support.terminal import print_table

COLUMNS = [
    ('run_{}'.format(i), {'iterations': i, 'sliced_wasserstein_2': i / 8, 'list': [1], 'why': 'it has no data'})
    for i in range(1, 8)]


@pytest.fixture
def printed(monkeypatch, capsys):
    """The lines of a table on a terminal so wide; 0: in a pipe."""
    def printed(columns, width=0):
        monkeypatch.setenv('COLUMNS', str(width))
        monkeypatch.setattr('os.get_terminal_size', refuse)
        print_table(columns)
        return capsys.readouterr().out.splitlines()

    def refuse(descriptor):
        raise OSError(25, 'Inappropriate ioctl for device')
    return printed


def test_narrow_table(printed):
    table = [
        '                                 run_1         run_2',
        'iterations                           1             2',
        'sliced_wasserstein_2             0.125             -',
        'run_1, why: it has no data']
    columns = [COLUMNS[0], ('run_2', {'iterations': 2, 'sliced_wasserstein_2': None})]
    assert printed(columns) == printed(columns, 52) == printed(columns, 500) == table


@pytest.mark.parametrize(('width', 'blocks'), [
    (0, [6, 1]), (122, [7]), (121, [6, 1]), (65, [2, 2, 2, 1]), (20, [1] * 7)])
def test_wide_table(width, blocks, printed):
    """Some columns stand below the others, each beside the names of its rows."""
    lines = printed(COLUMNS, width)
    assert lines[-7:] == ['{}, why: it has no data'.format(title) for title, _ in COLUMNS]
    tables = '\n'.join(lines[:-7]).split('\n\n')
    assert [len(table.splitlines()[0].split()) for table in tables] == blocks
    assert sum((table.splitlines()[0].split() for table in tables), []) == [title for title, _ in COLUMNS]
    first = 1
    for table, n in zip(tables, blocks):
        numbers = range(first, first + n)
        assert [line.split() for line in table.splitlines()[1:]] == [
            ['iterations', *map(str, numbers)],
            ['sliced_wasserstein_2', *('{:.4g}'.format(number / 8) for number in numbers)]]
        assert {len(line) for line in table.splitlines()} == {24 + 14 * n}
        first += n


def test_long_title(printed):
    """A column that is wider than the terminal stands alone."""
    title = 'a' * 150
    lines = printed([COLUMNS[0], (title, {'iterations': 3}), COLUMNS[1]])
    assert [lines[i].strip() for i in (0, 4, 8)] == ['run_1', title, 'run_2']
    assert lines[5] == 'iterations' + '3'.rjust(14 + 152)


# ---- in Markdown

@pytest.mark.parametrize(('cell', 'shown', 'alone'), [
    ([0.5, 0.25, 1.0], '**0.5** (0.5, 0.25, 1)', '0.5'), ([0.5, None, 1.0], '**–** (0.5, –, 1)', '–'),
    ([1.5, 2.0], '1.5, 2', '1.5, 2'), (None, '–', '–'), ('a text', 'a text', 'a text'), (-1234.5, '−1,234', '−1,234'),
    (12345, '12,345', '12,345'), (-0.25, '−0.25', '−0.25'),
    ({'value': 0.5, 'from': 0.25, 'to': 1.0}, '0.5 (0.25 to 1)', '0.5')])
def test_cells(cell, shown, alone):
    assert tables.show(cell) == shown
    assert tables.show(cell, seeds=False) == alone


def test_rounded():
    assert tables.rounded([0.12345, None, 123456.0]) == [0.123, None, 123000]
    assert tables.rounded(0.12345, 2) == 0.12


def test_table_in_markdown():
    table = {'columns': ['run', 'score'], 'rows': [['a', [1, 2, 4]], ['b', None]], 'seeds': False}
    assert tables.markdown(table) == '| run | score |\n| --- | --- |\n| a | 2 |\n| b | – |\n'


@pytest.mark.parametrize(('value', 'aim', 'shown'), [
    (0.409, '≤ 0.3', '≤ 0.3, missed'), ([0.2, 0.9, 0.25], '≤ 0.3', '≤ 0.3'), (-1.7, '≥ −1.6', '≥ −1.6, missed'),
    ({'value': 0.5, 'from': 0.1, 'to': 0.9}, '≥ 0.4', '≥ 0.4'), (None, '≤ 0.3', '≤ 0.3'),
    ([0.2, None, 0.25], '≤ 0.1', '≤ 0.1'), (0.9, '≤ half of it', '≤ half of it'), (10, 10, 10),
    (0.9, '≤ 0.8, half of `post`', '≤ 0.8, half of `post`, missed'), (1234, '≤ 1,233', '≤ 1,233, missed'),
    (0.9, '0.855 to 0.885', '0.855 to 0.885, missed'), (0.86, '0.855 to 0.885', '0.855 to 0.885')])
def test_missed_aims_are_marked(value, aim, shown, tmp_path):
    """In a column by that of our figures; in a row by the one that it names, or that above."""
    table = {'columns': ['metric', 'ours', 'aim'], 'rows': [['x', value, aim]]}
    assert filling.with_misses(table, tmp_path)['rows'] == [['x', value, shown]]
    table = {'columns': ['preset', 'score'], 'rows': [['`a`', value], ['b', 'x'], ['aim, `a`', aim]]}
    assert filling.with_misses(table, tmp_path)['rows'][2] == ['aim, `a`', shown]
    for head in ('aim', 'aim, refined'):
        table['rows'][1:] = [[head, aim]]
        assert filling.with_misses(table, tmp_path)['rows'] == [['`a`', value], [head, shown]]


def test_an_aim_may_be_a_share_of_a_column_or_a_row(tmp_path):
    """Of a median, another result's too; where the table has no such name, it is no table."""
    (tmp_path / 'x.json').write_text(json.dumps({'made': {}, 'tables': {
        'columns': {'columns': ['metric', '`post`, 9 iterations', '`new`', 'aim'], 'rows': [
            ['frechet', [5, 1, 3], [1, 2, 2], '≤ half of `post`'], ['other', [4, 4, 4], 1, None]]},
        'rows': {'columns': ['preset', 'frechet'], 'rows': [
            ['`post`, half-way', 99], ['`post`', {'from': 'x.columns.frechet.post, 9 iterations'}],
            ['`new`', 0.9], ['aim', '≤ a third of `post`']]},
        'wrong': {'columns': ['preset', 'frechet'], 'rows': [['`new`', 0.9], ['aim', '≤ half of `post`']]},
        'readme': {'columns': ['run', 'ours', 'aim'], 'rows': [
            ['new', {'from': 'x.rows.new.frechet'}, {'from': 'x.rows.aim.frechet'}]]}}}))
    assert '| ≤ 1.5, half of `post`, missed |' in filling.markdown('x.columns', tmp_path)
    assert '| aim | ≤ 1, a third of `post` |' in filling.markdown('x.rows', tmp_path)
    assert '| new | 0.9 | ≤ 1, a third of `post` |' in filling.markdown('x.readme', tmp_path)
    with pytest.raises(SystemExit, match='x.wrong: not in'):
        filling.fill('<!-- table x.wrong -->\n<!-- end -->\n', tmp_path)


def test_seeds_of_another_table(tmp_path):
    """Those that it was measured with, so that a row need not say them; a column of them is judged by no aim."""
    (tmp_path / 'x.json').write_text(json.dumps({'made': {'seeds': [0, 1, 2]}, 'tables': {
        'few': {'columns': ['run'], 'rows': []}, 'many': {'columns': ['run'], 'rows': [], 'made': {
            'seeds': [*range(16)]}},
        'readme': {'columns': ['run', 'seeds', 'aim'], 'rows': [
            ['a', {'seeds': 'x.few', 'note': ', which chose'}, '≤ 1'], ['b', {'seeds': 'x.many'}, None]]}}}))
    shown = filling.markdown('x.readme', tmp_path)
    assert '| a | 0, 1, 2, which chose | ≤ 1 |\n| b | 0 to 15 | – |' in shown
