"""Are samples of the plane as good where numba compiles, which rounds otherwise, as with NumPy alone?

The same seeds as those of ``benchmarks.results.plane``, whose result stands beside them.
"""

from benchmarks.results import plane
from ddgm.fast import kernels
from ddgm.studies import study
from ddgm.support.errors import UsageError

CASES, ITERATIONS, NEEDS, CODE = plane.CASES, plane.ITERATIONS, plane.NEEDS, (plane.__file__,)


def measure(run: study.Run) -> dict:
    """The metrics of the samples at the end; raises ``UsageError`` where nothing is compiled."""
    if not kernels.compiler()[0]:
        raise UsageError('this needs numba: pip install -r requirements-compiled.txt')
    _, _, _, x, energy = run.finished()
    return {'iterations': run.settings.iterations, **run.reference.score(x, energy, run.settings)}


def tables(results: dict) -> dict:
    """For each task, medians and quartiles of all seeds with numba, and those of the result without."""
    found = {}
    for task, runs in results.items():
        iterations = runs[0]['iterations']
        found[task] = {
            'columns': ['metric', 'with numba', 'NumPy alone'],
            'rows': [
                ['`{}`'.format(name), plane.quartiles([run.get(name) for run in runs]),
                 {'from': 'plane.{}_{}.{}.ours'.format(task, iterations, name)}]
                for name in plane.CODE_OF_2016[task]],
            'made': {'iterations': iterations}}
    return found


def draw(results: dict, out) -> None:
    """No pictures."""
