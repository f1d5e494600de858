"""Losses and energies over a run, from the rows of a log by the names that other programs give their columns."""

from __future__ import annotations

import itertools
import math
import pathlib
import re

import numpy

from ddgm.runs.log import Curves
from ddgm.support.errors import UsageError, one_line, some

THEIR = 'their_'  # begins the name of what another program measured by its own definition

# What others call the quantities of this project's log, in lower case.
_NAMES = {
    'energy/positive': ('e_real', 'dem_energy_x', 'energy_positive', 'energy_real', 'e_pos', 'e_data'),
    'energy/negative': ('e_fake', 'dem_energy_g', 'energy_negative', 'energy_fake', 'e_neg', 'e_samples'),
    'energy/loss': ('e_loss', 'dem_loss', 'energy_loss', 'loss_e', 'loss_dem', 'dem/loss', 'energy_model/loss'),
    'generator/loss': (
        'g_loss', 'dgm_loss', 'generator_loss', 'loss_g', 'loss_dgm', 'dgm/loss', 'gen/loss', 'generative_model/loss'),
    'generator/energy': ('generator_energy', 'g_energy'),
    'generator/entropy': ('entropy', 'generator_entropy', 'g_entropy'),
    'loss': (),  # of whatever
    **{THEIR + name: (name,) for name in ('fid', 'kid', 'inception_score', 'precision', 'recall', 'coverage')},
}
_QUANTITIES = {name: quantity for quantity, names in _NAMES.items() for name in (quantity, *names)}
# Each program weighs and sums these in its own way.
_OWN = {'energy/loss', 'generator/loss', 'generator/entropy'}
_AXES = {
    'iteration': ('iteration', 'iterations', 'iter', 'step', 'global_step', '_step'), 'epoch': ('epoch', 'epochs')}
_EXPERIMENT = 'exp_name'

# What a column's name ends with.  A compound name, as e_loss, may follow anything but a letter or digit: train/e_loss,
# Train_dem_loss.  One word, as loss, follows only what parts names: main/loss.  Lightning adds _step and _epoch.
_AT_THE_END = re.compile(
    r'(?:(?:^|[^a-z0-9])(?P<compound>{})|(?:^|[/.:]| - |-tag-)(?P<word>{}))(?P<over>_step|_epoch)?$'.format(
        '|'.join(re.escape(name) for name in _QUANTITIES if re.search('[/_]', name)),
        '|'.join(re.escape(name) for name in _QUANTITIES if not re.search('[/_]', name))))
_HELD_OUT = re.compile(r'(?:^|[^a-z])(?:val|valid|validation|test|eval)(?:[^a-z]|$)')
_DECIMAL = re.compile(r'\s*[-+]?(0,\d+|\d+,(?!\d{3}\b)\d+)(e[-+]?\d+)?\s*', re.IGNORECASE)  # by its comma
NO_NUMBER = {'', 'nan', 'none', 'null', 'n/a', 'na'}


def curves_of(path: pathlib.Path, rows: list[dict]) -> dict[str, Curves]:
    """The curves of a log's rows, by experiment where it has a column ``exp_name``; ``''`` where there is only one.

    Columns that are not known are passed over.  What is guessed is printed.  Raises ``UsageError`` where no column is
    known, or text stands where a number should be.
    """
    columns = dict.fromkeys(itertools.chain.from_iterable(rows))
    known = _known(path, columns)
    plain = {name.strip().lower(): name for name in columns}
    if not known and {'step', 'value'} <= plain.keys():  # TensorBoard's export of the scalar in the file's name
        known = {quantity: (plain['value'], name) for quantity, (_, name) in _known(path, [path.stem]).items()}
    if not known:
        raise UsageError(
            '{}: has no rows with a column that is known, as {} are{}: leave it out, or write it under such a name, of '
            'TensorBoard by add_scalar'.format(
                path, ', '.join(names[0] for quantity, names in _NAMES.items() if quantity.count('/')),
                ' (it has {})'.format(some(columns, 8)) if columns else ''))
    experiments = {}
    for row in rows:
        experiments.setdefault(one_line(row.get(plain.get(_EXPERIMENT)) or ''), []).append(row)
    if len(experiments) == 1:
        experiments = {'': rows}
    own = {quantity: name for quantity, (_, name) in known.items() if name}
    curves = {}
    for name, of_one in experiments.items():
        unit, x = _axis(path, of_one, columns)
        values = {quantity: _numbers(path, of_one, column) for quantity, (column, _) in known.items()}
        curves[name] = Curves(unit, *_in_order(path, unit, x, values), own)
    return curves


def _known(path, columns):
    """By quantity its column, and its own name where only its program knows how it is defined, or ``''``.

    Of several columns that is taken for which least speaks against it: that it is of other data than for training, a
    mean over an epoch, longer than the known name, and not our name.
    """
    candidates, guesses, unclear = {}, [], []
    for column in columns:
        name = one_line(column).lower()
        match = _AT_THE_END.search(name)
        if match:
            found = match['compound'] or match['word']
            quantity = _QUANTITIES[found]
            doubts = bool(_HELD_OUT.search(name)), match['over'] == '_epoch', name != found, found != quantity
            own = one_line(column) if quantity == 'loss' else found if quantity in _OWN and found != quantity else ''
            candidates.setdefault(quantity, []).append((doubts, column, own))
    known = {}
    for quantity, found in candidates.items():
        fewest, column, own = min(found)
        equals = [other for doubts, other, _ in found if doubts == fewest]
        if len(equals) > 1:
            unclear += equals
            continue
        known[quantity] = column, own
        if one_line(column).lower() not in _QUANTITIES:
            guesses.append('{} as {}'.format(one_line(column), quantity))
    if guesses:
        print('{}: takes {}'.format(one_line(path), ', '.join(guesses)))
    if unclear:
        print('{}: passes over {}: which of them is meant?'.format(one_line(path), ', '.join(map(one_line, unclear))))
    return known


def is_axis(column: str, names: tuple[str, ...] = tuple(itertools.chain(*_AXES.values()))) -> bool:
    """Whether a column is called as one of the axes, whatever parts its name has before."""
    return re.split('[/.]', column.strip().lower())[-1] in names


def _axis(path, rows, columns):
    """The unit and the values, (rows,), of the first axis that has any; the number of the row where none has.

    Steps that begin again are of no use by themselves where epochs tell of the order; prints what is taken then.
    """
    found = {}
    for unit, names in _AXES.items():
        for name, column in itertools.product(names, columns):
            if unit not in found and is_axis(column, (name,)):
                values = numpy.array(_numbers(path, rows, column))
                if numpy.isfinite(values).any():
                    found[unit] = one_line(column), values
    if not found:
        return 'row', numpy.arange(1.0, len(rows) + 1)
    unit, (name, x) = next(iter(found.items()))
    if len(found) == 2:
        epoch_name, epochs = found['epoch']
        has_both = numpy.isfinite(x) & numpy.isfinite(epochs)
        step_falls, epoch_falls = _falls(x[has_both]), _falls(epochs[has_both])
        step_rises, epoch_rises = _falls(-x[has_both]), _falls(-epochs[has_both])
        if epoch_rises.any() and not step_rises[epoch_rises].any():
            print('{}: its {} begins again in each {}: both together are the axis'.format(
                one_line(path), name, epoch_name))
            places = numpy.unique(x[has_both])
            room = places[-1] - places[0] + (numpy.diff(places).min() if len(places) > 1 else 1)
            return 'epoch', epochs + (x - places[0]) / room
        if step_falls.any() and not epoch_falls.any():
            print('{}: its {} begins again: the axis is its {}'.format(one_line(path), name, epoch_name))
            return 'epoch', epochs
    return unit, x


def _falls(x):
    return x[1:] < x[:-1]


def _in_order(path, unit, x, values):
    """An axis (rows,) and the values over it, lists by name, in the order of the axis.

    What a program did over again, from a step before the last on, takes the place of what it had there; prints so.
    """
    places = numpy.flatnonzero(numpy.isfinite(x))
    of_run = numpy.cumsum([False, *_falls(x[places])])
    if not of_run[-1]:
        return x.tolist(), values
    print('{}: its {}s begin again at {:g}: of those that are there twice the later count'.format(
        one_line(path), unit, x[places][of_run.argmax()]))
    columns = numpy.array(list(values.values()))[:, places]
    for column in columns:
        has = numpy.isfinite(column)
        last = dict(zip(x[places][has], of_run[has]))
        column[[last.get(place) != run for place, run in zip(x[places], of_run)]] = math.nan
    order = x[places].argsort(kind='stable')
    order = order[numpy.isfinite(columns[:, order]).any(axis=0)]
    return x[places][order].tolist(), dict(zip(values, columns[:, order].tolist()))


def _numbers(path, rows, column):
    """The floats of a column, NaN where a row has none; with decimal commas where they can't separate thousands."""
    numbers, cells = [], [row.get(column) for row in rows]
    texts = [cell for cell in cells if isinstance(cell, str)]
    if any(map(_DECIMAL.fullmatch, texts)) and not any('.' in text or text.count(',') > 1 for text in texts):
        cells = [cell.replace(',', '.') if isinstance(cell, str) else cell for cell in cells]
    for cell in cells:
        if cell is None or isinstance(cell, str) and cell.strip().lower() in NO_NUMBER:
            cell = math.nan
        try:
            numbers.append(float(cell))
        except (TypeError, ValueError, OverflowError):
            raise UsageError('{}: {!r} in its column {} is no number: mend it, or leave it out'.format(
                path, one_line(cell)[:40], one_line(column))) from None
    return numbers
