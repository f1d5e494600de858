"""Fill the tables and figures of README.md and docs/*.md from docs/results/*.json; --check only compares.

    <!-- table NAME.TABLE -->                a table and what it was measured on, up to <!-- end -->
    <!-- figure NAME.TABLE.ROW.COLUMN -->    one figure within a sentence, up to <!-- end --> on the same line

docs/results/NAME.json holds ``made`` (command, commit, date, seeds, iterations, machine, versions) and ``tables``,
which are as ddgm/support/tables.py has them.  Here a cell may also be {"from": "NAME.TABLE.ROW.COLUMN"}: another's; or
{"seeds": "NAME.TABLE"}, with which seeds that was measured, and {"note": TEXT} behind them.
"""

import argparse
import json
import re
import statistics
import sys

from benchmarks import ROOT
from ddgm.support import tables

TABLE = re.compile(r'((?<!`)<!-- table (\S+) -->\n)(.*?)(<!-- end -->)', re.DOTALL)
FIGURE = re.compile(r'((?<!`)<!-- figure ([^>\n]+) -->)([^\n]*?)(<!-- end -->)')
SHARES = {'half': 1 / 2, 'a third': 1 / 3}
SHARE = re.compile('([≤≥]) ({}) of (.+)'.format('|'.join(SHARES)))
MADE = ('command', 'seeds', 'iterations', 'machine', 'versions', 'classifier', 'date', 'commit', 'same_bits')


def find_table(name, results):
    """The table NAME.TABLE, and how it was made."""
    file, table = name.split('.')
    content = json.loads((results / (file + '.json')).read_text(encoding='utf-8'))
    made = {**content['made'], **content['tables'][table].get('made', {})}
    if made.get('moved'):  # its command is that of an older commit
        made['command'] = 'make measure ONLY={}`, then `{}'.format(file, made['command'])
    return with_shares(content['tables'][table], results), made


def find_cell(name, results):
    """The cell NAME.TABLE.ROW.COLUMN; rows and columns may have points in their names, marks of code are left out."""
    file, table, rest = name.split('.', 2)
    content = find_table(file + '.' + table, results)[0]
    return {
        '{}.{}'.format(cells[0], title).replace('`', ''): cell
        for cells in content['rows'] for title, cell in zip(content['columns'], cells)}[rest]


def show(cell, results, seeds=True):
    """A cell as text, another's where it refers to one, or with which seeds a table was measured."""
    if isinstance(cell, dict) and 'seeds' in cell:
        return told_seeds(find_table(cell['seeds'], results)[1]['seeds']) + cell.get('note', '')
    if isinstance(cell, dict) and 'value' not in cell:
        cell = find_cell(cell['from'], results)
    return tables.show(cell, seeds)


def median(cell, results):
    """The number that a cell is judged by, another's where it refers to one; ``None`` where it has none."""
    if isinstance(cell, dict):
        return median(find_cell(cell['from'], results), results) if 'from' in cell and 'value' not in cell else (
            cell.get('value'))
    if isinstance(cell, list):
        return None if None in cell else statistics.median(cell)
    return cell if isinstance(cell, (int, float)) else None


def with_shares(table, results):
    """The table with a number in each aim that is a share of another column or row of it."""
    heads, columns = [row[0] for row in table['rows']], table['columns']

    def found(titles, name):
        """The place of a name, or of what it begins."""
        return min((i for i, title in enumerate(titles) if title == name or title.startswith(name + ',')),
                   key=lambda i: titles[i] != name, default=None)

    def computed(i, j, cell):
        match = isinstance(cell, str) and SHARE.fullmatch(cell)
        if not match:
            return cell
        column, row = found(columns, match[3]), found(heads, match[3])
        if column is None and row is None:
            raise LookupError(match[3])
        whole = median(table['rows'][i][column] if row is None else table['rows'][row][j], results)
        return '{} {}, {} of {}'.format(
            match[1], tables.number(tables.rounded(SHARES[match[2]] * whole)), match[2], match[3])
    return {**table, 'rows': [
        [computed(i, j, cell) for j, cell in enumerate(row)] for i, row in enumerate(table['rows'])]}


def is_missed(value, aim):
    """Whether a number misses an aim, the text that a table shows of it: ≤ or ≥ a number, or from one to another."""
    limits = re.match(r'([≤≥]) ([−\d.,e]*\d)|([−\d.]+) to ([−\d.]+)$', aim)
    if limits is None or value is None:
        return False
    most, least = {'≤': (limits[2], None), '≥': (None, limits[2])}.get(limits[1], (limits[4], limits[3]))

    def number(text):
        return float(text.replace('−', '-').replace(',', ''))
    return bool(most and value > number(most) or least and value < number(least))


def with_misses(table, results):
    """The table with "missed" behind each aim that is not reached.

    In a column of aims by the median in the column "ours", or in that on the left; in a row of aims by that of the row
    which its head names behind "aim, ", or of that above.
    """
    columns = [i for i, title in enumerate(table['columns']) if i > 1 and re.search(r'\baim$', title)]
    of_head = {row[0]: row for row in table['rows']}

    def marked(value, aim):
        text = show(aim, results, seeds=False)
        return text + ', missed' if is_missed(median(value, results), text) else aim
    rows = []
    for above, row in zip([None, *table['rows']], table['rows']):
        is_aim = re.match(r'aim\b(?:, )?(.*)', str(row[0]))
        if is_aim:
            above = of_head.get(is_aim[1], above)
            rows.append([row[0], *map(marked, above[1:], row[1:])])
            continue
        rows.append(list(row))
        for i in columns:
            # In the README another program's figures stand between.
            rows[-1][i] = marked(
                row[table['columns'].index('ours')] if 'ours' in table['columns'] else row[i - 1], row[i])
    return {**table, 'rows': rows}


def told_seeds(seeds):
    """Seeds as text: each, or the first and the last of many that follow one another."""
    first, last = seeds[0], seeds[-1]
    return ', '.join(map(str, seeds)) if seeds != [*range(first, last + 1)] or len(seeds) < 6 else (
        '{} to {}'.format(first, last))


def describe(made, medians):
    """The small line below a table: what it was measured on."""
    def text(name):
        value = made.get(name)
        if not value or isinstance(value, str):
            return value and {
                'command': '`{}`', 'classifier': 'classifier {}', 'commit': 'commit {}',
                'same_bits': 'the same bits at {}'}.get(name, '{}').format(value)
        if name == 'iterations':
            return '{:,} iterations'.format(value)
        return ('medians of ' if medians else '') + 'seeds ' + told_seeds(value)
    unknown = ', '.join(name for name in ('machine', 'versions', 'commit') if not made.get(name))
    parts = [*map(text, MADE), unknown and unknown + ': before this was recorded']
    return '<sub>{}.</sub>'.format('; '.join(filter(None, parts)))


def markdown(name, results):
    """The table NAME.TABLE with the line below it."""
    table, made = find_table(name, results)
    lines = tables.markdown(with_misses(table, results), lambda cell, seeds: show(cell, results, seeds))
    return lines + '\n' + describe(made, not table.get('seeds', True)) + '\n'


def fill(text, results):
    """A document's text with its tables and figures filled, and the names of those that were different."""
    changed = []

    def replace(match, make):
        try:
            new = make(match[2])
        except (OSError, LookupError, ValueError):
            raise SystemExit('{}: not in {}'.format(match[2], results)) from None
        if new != match[3]:
            changed.append(match[2])
        return match[1] + new + match[4]
    text = TABLE.sub(lambda match: replace(match, lambda name: markdown(name, results)), text)
    text = FIGURE.sub(lambda match: replace(match, lambda name: show(find_cell(name, results), results, False)), text)
    return text, changed


def main(arguments=None, root=ROOT):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', action='store_true', help='write nothing; exit status 1 where something differs')
    check, status = parser.parse_args(arguments).check, 0
    for path in [root / 'README.md', *sorted((root / 'docs').glob('*.md'))]:
        text, changed = fill(path.read_text(encoding='utf-8'), root / 'docs' / 'results')
        for name in changed:
            print('{}: {} {}'.format(path.relative_to(root), name, 'differs' if check else 'filled'))
        status = max(status, int(check and bool(changed)))
        if changed and not check:
            path.write_text(text, encoding='utf-8')
    return status


if __name__ == '__main__':
    sys.exit(main())
