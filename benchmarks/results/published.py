"""What the studies of digits and of icons share: runs of published presets, scored, and a table of them."""

from ddgm.evaluation.metrics import N_SCORED
from ddgm.studies import study
from ddgm.support.tables import rounded


def measure(run: study.Run, marks=None) -> dict:
    """The metrics at each of ``marks``, or at the end, and those of real data, ``None`` where none is to spare."""
    scores = []
    for state in run.states(marks or [run.settings.iterations]):
        _, _, _, x, energy = run.finish(state)
        scores.append({'iterations': state.iteration, **run.reference.score(x, energy, run.settings)})
    real = run.reference.real_data(N_SCORED)
    return {'scores': scores, 'real': None if real is None else run.reference.score(real)}


def table(results: dict, names: tuple, aims: dict, real_data: dict) -> dict:
    """A column for each preset and length, for the aims of presets, and behind the first preset's for real data."""
    def cell(runs, name):
        if name == 'collapsed':
            return '{} of {}'.format(sum(run[name] for run in runs), len(runs))
        if name == 'classifier':  # by which digits are judged: one for all
            return ', '.join(sorted({run[name] for run in runs}))
        return rounded([run[name] for run in runs])

    def real_cell(name):
        if name in real_data and name not in ('collapsed', 'classifier'):
            return rounded(real_data[name], 4)
        return cell([real_data], name) if name in real_data else None

    columns = {'metric': ['`{}`'.format(name) for name in names]}
    for i, (preset, runs) in enumerate(results.items()):
        for scores in zip(*(run['scores'] for run in runs)):
            columns['`{}`, {:,} iterations'.format(preset, scores[0]['iterations'])] = [
                cell(scores, name) for name in names]
        if preset in aims:
            columns["`{}`'s aim".format(preset) if i else 'aim'] = [aims[preset].get(name) for name in names]
        if i == 0:
            columns['real data'] = [real_cell(name) for name in names]
    return {'columns': [*columns], 'rows': [list(row) for row in zip(*columns.values())],
            'made': {'iterations': None}}  # which the columns tell
