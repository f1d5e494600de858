"""Are samples of the plane as good where numba compiles, which rounds otherwise, as with NumPy alone?

The same seeds as those of ``benchmarks.results.plane``, whose figures are the row below.
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
    """For each task, medians and quartiles of all seeds at the end."""
    found = {}
    for task, runs in results.items():
        names = plane.CODE_OF_2016[task]
        found[task] = {
            'columns': ['run', 'iterations', *map('`{}`'.format, names)],
            'rows': [['with numba', runs[0]['iterations'], *(
                plane.quartiles([run.get(name) for run in runs]) for name in names)]]}
    return found


def draw(results: dict, out) -> None:
    """No pictures."""
