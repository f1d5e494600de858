"""Are samples of the plane as good where numba compiles, which rounds otherwise, as with NumPy alone?

The preset `default`, with and without numba on the same seeds, and the rank-sum test of each metric at the end.
"""

import chainer

from benchmarks.results import plane
from ddgm.studies import study

HOW = {'numba': 'always', 'numpy': 'never'}  # chainer.config.use_numba
SHOWN = {'numba': 'with numba', 'numpy': 'NumPy alone'}
CASES = {'{}/{}'.format(task, how): study.Case(task) for task in plane.CASES for how in HOW}
ITERATIONS, NEEDS, CODE = plane.ITERATIONS, plane.NEEDS, (plane.__file__,)


def measure(run: study.Run) -> dict:
    """The metrics of the samples at the end; raises ``UsageError`` where numba can't compile."""
    with chainer.using_config('use_numba', HOW[run.name.split('/')[1]]):
        _, _, _, x, energy = run.finished()
        return {'iterations': run.settings.iterations, **run.reference.score(x, energy, run.settings)}


def tables(results: dict) -> dict:
    """For each task, medians and quartiles of all seeds both ways, and the p-value of the rank-sum test."""
    found = {}
    for task, _, cases in study.by_task(results, dict.fromkeys(plane.CASES)):
        rows = []
        for name in plane.CODE_OF_2016[task]:
            scores = [[run.get(name) for run in runs] for runs in cases.values()]
            comparable = len(scores) == 2 and not any(None in values for values in scores)
            rows.append(['`{}`'.format(name), *map(plane.quartiles, scores),
                         round(plane.rank_sum_p(*scores), 2) if comparable else None])
        found[task] = {'columns': ['metric', *(SHOWN[how] for how in cases), 'p'], 'rows': rows}
    return found


def draw(results: dict, out) -> None:
    """No pictures."""
