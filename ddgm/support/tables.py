"""A table of results as data, and in Markdown.

A table is a dict of ``columns``, texts, and ``rows``, lists of cells; the first cell of a row names it.  A cell is a
text, a number, ``None``, a list with a number a seed, or {'value', 'from', 'to'} for a figure and its range.  Where
``seeds`` is false, medians stand alone.  ``made`` may tell what it was measured with, where tables of a file differ.
"""

import statistics


def rounded(value, digits=3):
    """Of a number, or of each of a list, as many digits as a table shows; ``None`` stays."""
    if isinstance(value, (list, tuple)):
        return [rounded(each, digits) for each in value]
    return None if value is None else float('{:.{}g}'.format(value, digits))


def number(value):
    """A number as text, with a true minus and commas between thousands; a text as it is; a dash for ``None``."""
    if value is None or isinstance(value, str):
        return value or '–'
    return ('{:,.4g}' if isinstance(value, float) and abs(value) < 1000 else '{:,.0f}').format(value).replace('-', '−')


def show(cell, seeds=True):
    """A cell as text; ``seeds``: with the seeds behind a median, the range of a figure."""
    if isinstance(cell, dict):
        return number(cell['value']) + (' ({} to {})'.format(number(cell['from']), number(cell['to'])) if seeds else '')
    if not isinstance(cell, list):
        return number(cell)
    each = ', '.join(map(number, cell))
    if len(cell) < 3:
        return each
    median = number(None if None in cell else statistics.median(cell))
    return '**{}** ({})'.format(median, each) if seeds else median


def markdown(table, show=show):
    """The lines of a table in Markdown, the last with its end; ``show`` makes text of a cell."""
    rows = [table['columns'], ['---'] * len(table['columns'])]
    rows += [[show(cell, table.get('seeds', True)) for cell in row] for row in table['rows']]
    return ''.join('| {} |\n'.format(' | '.join(row)) for row in rows)
