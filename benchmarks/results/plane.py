"""How good are samples of the plane, half-way and at the end, beside the 2016 code?

Beside the metrics of finished runs, those of the samples that the generator gives with the running statistics of
training, as the 2016 code drew them.
"""

import numpy

from ddgm.evaluation import sampling
from ddgm.evaluation.metrics import N_SCORED
from ddgm.evaluation.tasks import open_task
from ddgm.studies import study
from ddgm.support import tables as cells

# What a run should reach, and what the 2016 code itself reached with its seeds 0 and 1 (Python 2.7, Chainer 1.17.0),
# after 10,000 and 20,000 iterations; ``None`` where that is not known.
AIMS = {
    'gaussian_mixture': {
        'hq_2sigma': ('≥ 0.67', '≥ 0.73'), 'hq_3sigma': ('≥ 0.84', '≥ 0.89'), 'modes_2sigma': (10, 10),
        'kl_generator_data': ('≤ 1.75', '≤ 1.4')},
    'swiss_roll': {
        'within_0.1': (None, '≥ 0.74'), 'median_distance': (None, '≤ 0.055'), 'coverage': (None, '≥ 0.45')},
}
CODE_OF_2016 = {
    'gaussian_mixture': {
        'hq_2sigma': ((0.69, 0.684), (0.73, 0.775)), 'hq_3sigma': ((0.851, 0.862), (0.89, 0.904)),
        'modes_2sigma': ((10, 10), (10, 10)), 'mode_kl': None, 'entropy_knn': ((1.52, 1.43), (1.27, 1.25)),
        'kl_generator_data': ((1.6, 1.72), (1.37, 1.01)),
        'sliced_wasserstein_2': ((0.097, 0.091), (0.109, 0.087)), 'coverage': ((0.86, 0.807), (0.781, 0.872)),
        'log_likelihood': ((-14.5,), (-24.6,)), 'kl_data_energy': None, 'kl_energy_data': None},
    'swiss_roll': {
        'within_0.05': ((0.322, 0.591), (0.638, 0.402)), 'within_0.1': ((0.644, 0.842), (0.849, 0.698)),
        'median_distance': ((0.075, 0.041), (0.037, 0.064)), 'blurred_js': None,
        'arc_kl': ((0.084, 0.039), (0.039, 0.111)), 'sliced_wasserstein_2': ((0.09, 0.081), (0.054, 0.108)),
        'coverage': ((0.342, 0.568), (0.577, 0.379)), 'log_likelihood': ((-3.9,), (-11.7,))},
}
CASES = {task: study.Case(task) for task in CODE_OF_2016}
ITERATIONS, NEEDS = 20_000, ()


def measure(run: study.Run) -> dict:
    scores = []
    for state in run.states(run.marks(2)[1:]):
        _, _, z, x, energy = run.finish(state)
        scores.append({
            'iterations': state.iteration, 'finished': run.reference.score(x, energy, run.settings),
            'running': run.reference.score(sampling.sample(state.models[1], z))})
    return {'seed': run.settings.seed, 'scores': scores}


def quartiles(values: list):
    """Median and quartiles as a cell of a table; ``None`` where a run lacks the number."""
    if None in values:
        return None
    low, middle, high = numpy.percentile(values, [25, 50, 75])
    return {'value': cells.rounded(middle), 'from': cells.rounded(low), 'to': cells.rounded(high)}


def rank_sum_p(values: list, others: list) -> float:
    """The two-sided p-value of the rank-sum test, exact: whether ``others`` come from the distribution of ``values``.

    Mann & Whitney 1947.  The share of all choices of as many ranks whose sum is at least as far from the middle; ties
    have their mean rank.
    """
    pooled = numpy.concatenate([values, others])
    ranks = [2 * (pooled < value).sum() + (pooled == value).sum() + 1 for value in pooled]  # doubled, so all are whole
    ways = numpy.zeros((len(others) + 1, sum(ranks) + 1))  # to choose so many ranks with such a sum
    ways[0, 0] = 1
    for rank in ranks:
        ways[1:, rank:] += ways[:-1, :-rank]
    distances = abs(len(pooled) * numpy.arange(ways.shape[1]) - len(others) * sum(ranks))
    return float(ways[-1, distances >= distances[sum(ranks[len(values):])]].sum() / ways[-1].sum())


def real_scores(task: str) -> dict:
    """The metrics of real data of a task in the plane, rounded; 0 where one is no more than that of an integral."""
    reference = open_task(task)
    scores = reference.score(reference.real_data(N_SCORED), reference.exact_energy)
    return {name: 0.0 if value is not None and abs(value) < 1e-9 else cells.rounded(value)
            for name, value in scores.items()}


def table(task: str, i: int, runs: list, real_data: dict) -> dict:
    """The table of one task and length, of the scores of all seeds there."""
    rows = []
    for name, of_2016 in CODE_OF_2016[task].items():
        finished, running = ([run[kind].get(name) for run in runs] for kind in ('finished', 'running'))
        theirs = list(of_2016[i]) if of_2016 else None
        comparable = theirs and None not in finished and len(set(finished) | set(theirs)) > 1
        rows.append([
            '`{}`'.format(name), quartiles(finished), AIMS[task].get(name, (None, None))[i],
            '{} (seed 1 alone)'.format(cells.number(theirs[0])) if theirs and len(theirs) == 1 else theirs,
            round(rank_sum_p(finished, theirs), 2) if comparable else None, real_data.get(name),
            None if None in running else cells.rounded(float(numpy.median(running)))])
    return {
        'columns': ['metric', 'ours', 'aim', '2016 code, seeds 0, 1', 'p', 'real data', 'running statistics'],
        'rows': rows, 'made': {'iterations': runs[0]['iterations']}}


def table_of_seeds(task: str, seeds: list, runs: list) -> dict:
    """What each seed scored, a row each, at one length of one task."""
    names = CODE_OF_2016[task]
    return {
        'columns': ['seed', *map('`{}`'.format, names)],
        'rows': [[seed, *(cells.rounded(run['finished'].get(name)) for name in names)]
                 for seed, run in zip(seeds, runs)],
        'made': {'iterations': runs[0]['iterations']}}


def tables(results: dict) -> dict:
    """For each task and length, what all seeds scored beside the 2016 code, and what each of them scored."""
    found = {}
    for task, runs in results.items():
        real_data, seeds = real_scores(task), [run['seed'] for run in runs]
        for i, scores in enumerate(zip(*(run['scores'] for run in runs))):
            name = '{}_{}'.format(task, scores[0]['iterations'])
            found[name] = table(task, i, scores, real_data)
            found[name + '_seeds'] = table_of_seeds(task, seeds, scores)
    return found


def draw(results: dict, out) -> None:
    """No pictures."""
