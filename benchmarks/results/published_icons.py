"""How good are icons of the published presets?  They are trained no longer than tells the presets apart."""

from benchmarks.results import aims, published
from ddgm.studies import study

CASES = {
    preset: study.Case('images', preset, {'width': 0.25, 'batchsize': 64}) for preset in ('post', 'calibrated')}
ITERATIONS, NEEDS = 2_500, ()
CODE = (published.__file__,)
METRICS = ('collapsed', 'diversity', 'frechet', 'coverage', 'recall', 'nearest_train')
AIMS = {
    'post': {'collapsed': '0 of 3', 'diversity': '≥ 0.7'},
    'calibrated': {'collapsed': '0 of 3', **aims.AIMS['images']['calibrated']},
}
measure = published.measure


def tables(results: dict) -> dict:
    """Of real data there is what a run's metrics tell of one half of them beside the other."""
    (first, *_), *_ = results.values()
    return {'published': published.table(
        results, METRICS, AIMS, {'frechet': first['scores'][0]['frechet_between_halves']})}


def draw(results: dict, out) -> None:
    """No pictures."""
