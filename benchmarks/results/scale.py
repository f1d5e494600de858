"""What data and a bad model score by the metrics of the README, into docs/results/scale.json.

The bad model is data whose numbers are shuffled: each number of a sample comes from a data point of its own.  It knows
how often each number is had, and nothing of how they go together.
"""

import numpy

from benchmarks.results import record
from ddgm.data.distributions import GaussianMixture
from ddgm.evaluation.metrics import N_SCORED
from ddgm.evaluation.tasks import open_task
from ddgm.presets import PRESETS
from ddgm.runs.command_line import OneLineParser, path_name
from ddgm.runs.exit_status import run_script
from ddgm.support.tables import rounded

SHUFFLED, FITTED = 'data, its numbers shuffled', 'one Gaussian, fitted to data'
COLUMNS = ['metric', 'of', 'better', 'real data', 'a bad model', 'which one']


def shuffled(x: numpy.ndarray, rng) -> numpy.ndarray:
    """x (N, …), each of the numbers of a row in another order of the rows."""
    return rng.permuted(x.reshape(len(x), -1), axis=0).reshape(x.shape)


def log_likelihood_of_a_gaussian(x: numpy.ndarray) -> float:
    """The mean log density of points (N, d) under the Gaussian that fits them best, in nats."""
    return float(-(x.shape[1] * (1 + numpy.log(2 * numpy.pi)) + numpy.linalg.slogdet(numpy.cov(x.T))[1]) / 2)


def rows(mnist: str, images: str) -> list:
    """A row for each metric, with what data and the bad model score."""
    def scores(reference):
        rng = numpy.random.default_rng(0)
        real = reference.real_data(N_SCORED)
        real = reference.draw_data(N_SCORED, rng) if real is None else real
        return reference.score(real, reference.exact_energy), reference.score(shuffled(real, rng))

    def row(metric, of, better, real, bad, which=SHUFFLED):
        return ['`{}`'.format(metric), of, better, rounded(real), rounded(bad), which]
    mixture, mixed = scores(open_task('gaussian_mixture'))
    roll, unrolled = scores(open_task('swiss_roll'))
    grey, noisy = scores(open_task('mnist', mnist))
    binarized, noise = scores(open_task('mnist', mnist, PRESETS['mnist']['post'].settings))
    icons, pixels = scores(open_task('images', images))
    rng, data = numpy.random.default_rng(0), GaussianMixture()
    points = data.sample(100_000, rng).astype(float)
    likelihood = log_likelihood_of_a_gaussian(points)
    # The Gaussian's mean log density at its own samples is the same as at the points that it is fitted to.
    of_its_own = rng.multivariate_normal(points.mean(axis=0), numpy.cov(points.T), len(points))
    divergence = likelihood - float(data.log_density(of_its_own).mean())
    return [
        row('kl_generator_data', 'ten Gaussians', 'lower', mixture['kl_generator_data'], mixed['kl_generator_data']),
        row('log_likelihood', 'ten Gaussians', 'higher', mixture['log_likelihood'], likelihood, FITTED),
        row('kl_energy_data', 'ten Gaussians', 'lower', 0.0, divergence, FITTED),
        row('within_0.1', 'swiss roll', 'higher', roll['within_0.1'], unrolled['within_0.1']),
        row('frechet', 'digits, binarized', 'lower', binarized['frechet'], noise['frechet']),
        row('frechet', 'digits, grey', 'lower', grey['frechet'], noisy['frechet']),
        # The icons are held against themselves, so of them there is only what halves score.
        row('frechet', 'icons', 'lower', icons['frechet_between_halves'], pixels['frechet']),
        row('diversity', 'icons', 'near 1', 1.0, pixels['diversity']),
        row('coverage', 'icons', 'higher', None, pixels['coverage'])]


def main(arguments=None):
    parser = OneLineParser(prog='python -m benchmarks.results.scale', description=__doc__)
    parser.add_argument('--mnist', metavar='DIR', type=path_name, default='data/mnist', help='(default: %(default)s)')
    parser.add_argument('--images', metavar='DIR', type=path_name, required=True, help='folder of the icons')
    folders = parser.parse_args(arguments)
    record.write('scale', {'metrics': {
        'columns': COLUMNS, 'rows': rows(folders.mnist, folders.images)}}, seeds=[0])


if __name__ == '__main__':
    run_script(main)
