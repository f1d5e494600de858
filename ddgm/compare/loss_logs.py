"""Losses and energies over a run, from the CSV files that other programs write."""

import csv
import os
import re

from ddgm.runs.log import Curves, number
from ddgm.support.errors import UsageError

# What others call the columns of this project's log, in lower case.
_NAMES = {
    'energy/positive': ('e_real', 'dem_energy_x', 'energy_positive', 'energy_real', 'e_pos', 'e_data'),
    'energy/negative': ('e_fake', 'dem_energy_g', 'energy_negative', 'energy_fake', 'e_neg', 'e_samples'),
    'energy/loss': ('e_loss', 'dem_loss', 'energy_loss', 'loss_e', 'loss_dem'),
    'generator/loss': ('g_loss', 'dgm_loss', 'generator_loss', 'loss_g', 'loss_dgm'),
    'generator/energy': ('generator_energy', 'g_energy'),
    'generator/entropy': ('entropy', 'generator_entropy', 'g_entropy'),
}
_OURS = {name: ours for ours, names in _NAMES.items() for name in (ours, *names)}
_ITERATIONS, _EPOCHS = ('iteration', 'iterations', 'iter', 'step', 'global_step'), ('epoch', 'epochs')
_EXPERIMENT = 'exp_name'


def read_csv(path):
    """The curves of a CSV file with a line of column names, by experiment where it has a column ``exp_name``.

    Columns that are not known are passed over.  A file of TensorBoard's, with the columns Wall time, Step and Value,
    holds the one quantity that its own name ends with.

    Returns:
        dict: :class:`Curves` by the experiment's name; ``''`` where there is only one.

    Raises:
        UsageError: The file can't be read, or has no column that is known.
    """
    try:
        with open(path, encoding='utf-8-sig', newline='') as file:
            first = file.readline()
            separator = max(',;\t', key=first.count)
            file.seek(0)
            rows = list(csv.DictReader(file, delimiter=separator))
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError('{}: can\'t be read as CSV ({}): leave it out'.format(
            path, getattr(error, 'strerror', None) or error)) from error
    columns = {name.strip().lower(): name for name in csv.reader([first], delimiter=separator).__next__()}
    quantities = {_OURS[name]: column for name, column in columns.items() if name in _OURS}
    if not quantities and {'step', 'value'} <= columns.keys():
        quantity = _at_the_end(os.path.splitext(os.path.basename(path))[0])
        quantities = {quantity: columns['value']} if quantity else {}
    if not quantities or not rows:
        raise UsageError('{}: has no rows with a column that is known ({}): leave it out, or rename its columns'.format(
            path, ', '.join(sorted(_OURS))))
    unit, axis = next(
        ((unit, columns[name]) for unit, names in (('iteration', _ITERATIONS), ('epoch', _EPOCHS)) for name in names
         if name in columns), ('row', None))
    experiments = {}
    for row in rows:
        experiment = row[columns[_EXPERIMENT]] if _EXPERIMENT in columns else None
        experiments.setdefault((experiment or '').strip(), []).append(row)
    if len(experiments) == 1:
        experiments = {'': rows}
    return {
        experiment: Curves(
            unit, [number(row[axis]) if axis else float(i) for i, row in enumerate(of_one, 1)],
            {name: [number(row[column]) for row in of_one] for name, column in quantities.items()})
        for experiment, of_one in experiments.items()}


def _at_the_end(stem):
    """The quantity whose name a file's ends with, as TensorBoard's do: ``run-.-tag-dem_loss``."""
    found = [name for name in _OURS if re.search(r'(^|[^a-z]){}$'.format(re.escape(name)), stem.lower())]
    return _OURS[max(found, key=len)] if found else None
