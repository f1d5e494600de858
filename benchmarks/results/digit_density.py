"""What likelihood does the preset `density` of digits reach, and what becomes of a generator that learns beside it?

In the preset the generator of the packaged digits goes on learning against the energy, by the paper's second phase.  In
other cases it stays as it is, or learns faster, or a new one learns from nothing beside the chains.
"""

from __future__ import annotations

import numpy

from ddgm.evaluation import likelihood
from ddgm.networks import digit_density
from ddgm.studies import study
from ddgm.support.errors import UsageError
from ddgm.support.tables import rounded

ITERATIONS, NEEDS = 120, ()
CASES = {
    'mnist/density': study.Case('mnist', 'density'),
    'mnist/the generator stays as it is': study.Case('mnist', 'density', {'generator_learning_rate': 0.0}),
    'mnist/a new generator': study.Case(
        'mnist', 'density', {'generator_from': '', 'generator_learning_rate': 1e-3, 'restarts': 0.2}),
    'mnist/the generator learns three times as fast': study.Case('mnist', 'density', {'generator_learning_rate': 1e-4}),
}
N_GAUSSIANS, LEAST_VARIANCE = 50, 1e-6
SEED_OF_CLUSTERS = 3  # the first one that is measured, since they are the same for all
COLUMNS = 'log_likelihood_lower', 'log_likelihood_upper', 'bits_per_pixel_lower', 'bits_per_pixel_upper'
OF_SAMPLES = 'frechet', 'class_kl', 'coverage', 'energy_of_samples', 'energy_of_data'
LADDER = {
    'isotropic': 'Gaussian, the same in all directions', 'ppca': 'ten principal components',
    'pixels': 'the Gaussian part alone', 'gaussian': 'Gaussian',
    'clusters': '{} Gaussians, one for each cluster'.format(N_GAUSSIANS), 'wells': 'the Gaussian part with wells'}
# Of Wu et al. 2017, as they round: test digits with uniform noise under generators with Gaussian noise, by annealing.
PUBLISHED = {'a GAN with ten numbers of z (Wu et al. 2017)': 'some 330', 'a VAE with 50 (the same)': 'some 990'}


def measure(run: study.Run) -> dict:
    """Both ends of the likelihood and what other densities have, and how good the generator's samples are, by name."""
    energy_model, _, _, x, energy = run.finished()
    learned, held_out = run.reference.likelihood_data()
    scores = {
        **run.reference.score(x), 'energy_of_samples': float(energy(likelihood.dequantized(255 * x)).mean()),
        'energy_of_data': float(energy(likelihood.dequantized(held_out)).mean())}
    found = {'iterations': run.settings.iterations, **{name: scores[name] for name in OF_SAMPLES}}
    found.update(likelihood.score(energy_model, x, learned, held_out, n_steps=run.settings.annealing_steps))
    for name, value in of_pixels(run, learned, likelihood.dequantized(held_out)).items():
        found['log_likelihood_' + name] = value
        found['bits_per_pixel_' + name] = likelihood.bits(value, held_out.shape[1])
    return found


def of_pixels(run, learned, test) -> dict:
    """Mean log-likelihoods, by name, of densities that need no training; that of the clusters in one run alone."""
    mean, variance = digit_density.moments(learned)
    found = {'pixels': log_likelihood_of_pixels(test, mean, variance),
             'wells': log_likelihood_of_pixels(test, mean, variance, *digit_density.depths_of_wells(learned))}
    if run.name == next(iter(CASES)) and run.settings.seed == SEED_OF_CLUSTERS:
        found['clusters'] = one_gaussian_for_each_cluster(likelihood.dequantized(learned), test)
    return found


def log_likelihood_of_pixels(x, mean, variance, depths=None, kept=None) -> float:
    """The mean log-likelihood of x (N, D) under the Gaussian part, or under that and the first wells, in nats."""
    log_p = -0.5 * ((x - mean) ** 2 / variance + numpy.log(2 * numpy.pi * variance))
    if depths is not None:
        log_p += numpy.log1p(numpy.exp(depths) * digit_density.well(x)) - numpy.log1p(numpy.exp(depths) * kept)
    return float(log_p.mean(axis=0).sum())


def one_gaussian_for_each_cluster(learned, test) -> float:
    """The mean log-likelihood of x (N, D) under 50 Gaussians, each that of a cluster of k-means, in nats."""
    try:
        from sklearn.cluster import KMeans
    except ImportError as error:
        raise UsageError('this needs scikit-learn: pip install scikit-learn') from error
    cluster = KMeans(N_GAUSSIANS, n_init=1, max_iter=30, random_state=0).fit_predict(learned)
    log_p = []
    for k in range(N_GAUSSIANS):
        x = learned[cluster == k].astype(numpy.float64)
        factor = numpy.linalg.cholesky(numpy.cov(x.T, bias=True) + LEAST_VARIANCE * numpy.eye(x.shape[1]))
        y = numpy.linalg.solve(factor, (test - x.mean(axis=0)).T)
        log_p.append(
            numpy.log(len(x) / len(learned)) - 0.5 * ((y * y).sum(axis=0) + x.shape[1] * numpy.log(2 * numpy.pi))
            - numpy.log(numpy.diag(factor)).sum())
    return float(numpy.logaddexp.reduce(log_p).mean())


# ---- tables

def tables(results: dict) -> dict:
    cases = {name.split('/', 1)[1]: runs for name, runs in results.items()}
    first = next(iter(cases.values()))[0]
    ladder = [name for name in LADDER if 'log_likelihood_' + name in first]
    ladder.sort(key=lambda name: first['log_likelihood_' + name])
    return {
        'grey_levels': {
            'columns': ['energy, or other density', *map('`{}`'.format, COLUMNS)],
            'rows': [
                *([case, *(rounded([run.get(name) for run in runs], 5) for name in COLUMNS)]
                  for case, runs in cases.items()),
                *([LADDER[name], *(
                    rounded(first['{}_{}'.format(column.rsplit('_', 1)[0], name)], 5) for column in COLUMNS)]
                  for name in reversed(ladder)),
                *([name, value, value, None, None] for name, value in PUBLISHED.items())]},
        'samples': {
            'columns': ['generator', 'iterations', *map('`{}`'.format, OF_SAMPLES)],
            'rows': [
                [case, runs[0]['iterations'], *(rounded([run[name] for run in runs]) for name in OF_SAMPLES)]
                for case, runs in cases.items()],
            'made': {'iterations': None}}}


def draw(results: dict, out) -> None:
    """No pictures."""
