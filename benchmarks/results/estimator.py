"""How good is ddgm.DensityEstimator beside scikit-learn's densities, on points that none of them has seen?

Mean log-likelihood in nats of 2,000 held-out points, after 2,000 to learn from.  ``KernelDensity`` has its bandwidth,
and ``GaussianMixture`` its number of components, from a grid search with five folds.
"""

import numpy

import ddgm
from ddgm.data.distributions import GaussianMixture, SwissRoll
from ddgm.studies import study
from ddgm.support.errors import UsageError
from ddgm.support.tables import rounded

N = 2_000  # to learn from, and held out
NOISE = 0.1  # of the roll and of the surface


def ten_gaussians(n, rng):
    return GaussianMixture().sample(n, rng).astype(float)


def noisy_roll(n, rng):
    return SwissRoll().sample(n, rng) + NOISE * rng.standard_normal((n, 2))


def noisy_surface(n, rng):
    """A curved surface in five dimensions."""
    u, v = rng.uniform(-1, 1, (2, n))
    surface = numpy.stack([u, v, numpy.sin(3 * u), numpy.cos(3 * v), u * v], axis=1)
    return surface + NOISE * rng.standard_normal((n, 5))


DATA = {'ten Gaussians': ten_gaussians, 'swiss roll with noise': noisy_roll, 'surface with noise': noisy_surface}
CASES = {
    'ten Gaussians': study.Case('points', 'density'), 'swiss roll with noise': study.Case('points', 'density'),
    'surface with noise': study.Case('points', 'calibrated')}
ITERATIONS, NEEDS = 2_000, ()  # a fifth of the presets': some minutes a fit


def measure(run: study.Run) -> dict:
    try:
        from sklearn import mixture, neighbors
        from sklearn.model_selection import GridSearchCV
    except ImportError as error:
        raise UsageError('this needs scikit-learn: pip install scikit-learn') from error
    seed, draw = run.settings.seed, DATA[run.name]
    rng = numpy.random.default_rng((seed, 1))
    x, held_out = draw(N, rng), draw(N, rng)
    kernels = GridSearchCV(neighbors.KernelDensity(), {'bandwidth': numpy.geomspace(0.01, 1, 25)}, cv=5).fit(x)
    gaussians = GridSearchCV(
        mixture.GaussianMixture(random_state=seed), {'n_components': [1, 2, 5, 10, 15, 20, 30, 40]}, cv=5).fit(x)
    ours = ddgm.DensityEstimator(run.case.preset, run.settings.iterations, random_state=seed).fit(x)
    return {
        'columns': x.shape[1], 'ours': ours.score(held_out), 'gaussians': gaussians.score(held_out),
        'kernels': float(kernels.best_estimator_.score_samples(held_out).mean()),
        'exact': float(GaussianMixture().log_density(held_out).mean()) if draw is ten_gaussians else None}


def tables(results: dict) -> dict:
    return {'log_likelihood': {
        'columns': ['data', 'columns', '`ddgm.DensityEstimator`', '`GaussianMixture`', '`KernelDensity`', 'exact'],
        'rows': [[name, runs[0]['columns'], *(
            rounded([run[key] for run in runs]) if runs[0][key] is not None else None
            for key in ('ours', 'gaussians', 'kernels', 'exact'))] for name, runs in results.items()]}}


def draw(results: dict, out) -> None:
    """No pictures."""
