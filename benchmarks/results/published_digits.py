"""How good are digits of the published presets?"""

from benchmarks.results import published
from ddgm.studies import study

CASES = {
    'post': study.Case('mnist', 'post'),
    'batch_normalized_energy': study.Case('mnist', 'batch_normalized_energy', length=1 / 6),
    'last_commit': study.Case('mnist', 'last_commit', length=1 / 3),
}
ITERATIONS, NEEDS = 24_000, ()
CODE = (published.__file__,)
METRICS = (
    'collapsed', 'diversity', 'class_kl', 'mode_score', 'frechet', 'precision', 'recall', 'density', 'coverage',
    'nearest_train', 'classifier')
AIMS = {'post': {'collapsed': '0 of 3', 'class_kl': '≤ 0.15', 'frechet': '≤ half of `post`, 2,400 iterations'}}


def measure(run: study.Run) -> dict:
    """The preset of the post is scored at a tenth of its length too."""
    n = run.settings.iterations
    return published.measure(run, [round(n / 10), n] if run.name == 'post' else [n])


def tables(results: dict) -> dict:
    (first, *_), *_ = results.values()
    return {'published': published.table(results, METRICS, AIMS, first['real'])}


def draw(results: dict, out) -> None:
    """No pictures."""
