"""What likelihood has an energy of digits whose Gaussian part has one σ for each pixel, with and without experts?

Means and variances of the Gaussian part are those of the training images, and then experts are trained.  x⁻ are chains
that go on from iteration to iteration (Tieleman 2008) by moves under E that Metropolis' rule accepts; some begin anew
at training images, so that no well around these is overlooked.  No generator takes part.  Beside grey levels with their
uniform noise stand the same blurred by N(0, 0.1²), of which pixels that are always black tell nothing.
"""

import chainer
import numpy
from chainer import initializers, links as L

import ddgm
from ddgm import training
from ddgm.evaluation import annealing, likelihood
from ddgm.networks.mnist import N_PIXELS, FeatureExtractor
from ddgm.studies import study
from ddgm.support import randomness
from ddgm.support.tables import rounded

ITERATIONS, NEEDS = 1_000, ()
BLURS = {'mnist/grey levels': 0.0, 'mnist/blurred': 0.1}  # standard deviations, in 0…1
CASES = {
    name: study.Case('mnist', 'calibrated', {'batchsize': 128, 'energy_learning_rate': 5e-4, 'decay_from': 400})
    for name in BLURS}
HIDDEN = 300, 100
BEGUN_ANEW = 0.05  # share of the chains, in each iteration
SMALLEST_SCALE = 0.1  # of a pixel as f sees it, so that rare ones are not all it sees
GAUSSIANS = {
    'isotropic': 'Gaussian, the same in all directions', 'ppca': 'ten principal components',
    'pixels': 'the Gaussian part alone', 'gaussian': 'Gaussian'}
COLUMNS = 'log_likelihood_lower', 'log_likelihood_upper', 'bits_per_pixel_lower', 'bits_per_pixel_upper'


def measure(run: study.Run) -> dict:
    blur, settings = BLURS[run.name], run.settings
    learned, held_out = run.reference.likelihood_data()
    mean, variance = moments(learned, blur)
    rng = training.random_generator(settings.seed, training.START)
    energy_model, y = build_model(mean, variance, settings, rng), rng.standard_normal((settings.batchsize, N_PIXELS))
    optimizer = ddgm.make_optimizer(
        energy_model, settings.energy_learning_rate, decay_from=settings.decay_from, averaged=settings.averaged)
    path, angle = annealing.Path(*annealing.parts_of(energy_model, mean.shape)), annealing.LARGEST_ANGLE
    strategy = training.AsWritten()
    for iteration in range(1, settings.iterations + 1):
        rng = training.random_generator(settings.seed, iteration)
        x_positive, fresh = (
            blurred(learned[rng.choice(len(learned), settings.batchsize)], blur, rng) for _ in range(2))
        anew = rng.random(len(y)) < BEGUN_ANEW
        y = numpy.where(anew[:, None], path.inward(fresh), y)
        (y, _, _), taken = path.moved(path.chains(y), 1.0, angle, rng)
        angle = annealing.adapted(angle, taken)
        x_negative = path.outward(y).astype(numpy.float32)
        with strategy.iteration(rng):
            training.update_energy_model(optimizer, x_positive, x_negative, strategy)
    if blur:
        rng = randomness.metric_generator(randomness.GREY_LEVELS)
        learned, held_out = (blurred(levels, blur, rng) for levels in (learned, held_out))
    scores = likelihood.score(optimizer.averaged_model(), x_negative, learned, held_out)
    test = likelihood.dequantized(held_out) if held_out.dtype == numpy.uint8 else held_out
    scores['log_likelihood_pixels'] = float(
        -0.5 * (((test - mean) ** 2 / variance).mean(axis=0) + numpy.log(2 * numpy.pi * variance)).sum())
    if not blur:
        scores['bits_per_pixel_pixels'] = likelihood.bits(scores['log_likelihood_pixels'], N_PIXELS)
    return scores


def blurred(levels: numpy.ndarray, deviation: float, rng: numpy.random.Generator) -> numpy.ndarray:
    """Grey levels with noise of the width of one, and normal noise: (N, 784) uint8 to float32."""
    x = (levels + rng.random(levels.shape, dtype=numpy.float32)) / likelihood.GREY_LEVELS
    return x + numpy.float32(deviation) * rng.standard_normal(levels.shape, dtype=numpy.float32)


def moments(levels: numpy.ndarray, deviation: float) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Mean and variance of each pixel of such x, (784,) each."""
    mean = levels.mean(axis=0)
    variance = numpy.square(levels, dtype=numpy.uint16).mean(axis=0) - mean ** 2 + 1 / 12
    return (mean + 0.5) / likelihood.GREY_LEVELS, variance / likelihood.GREY_LEVELS ** 2 + deviation ** 2


def build_model(mean, variance, settings, rng) -> ddgm.DeepEnergyModel:
    """A DEM whose Gaussian part has these means and variances, (784,) each, and whose f has them taken out."""
    initial_weight = initializers.Normal(0.05, rng=rng)

    def linear(n_in, n_out, initial_weight):
        return L.Linear(n_in, n_out, initialW=initial_weight)

    def standardized(x):
        return (x - mean.astype(numpy.float32)) * scale
    scale = (1 / numpy.sqrt(variance + SMALLEST_SCALE ** 2)).astype(numpy.float32)
    features = FeatureExtractor((N_PIXELS, *HIDDEN, settings.n_experts), linear, 0.0, initial_weight)
    return ddgm.DeepEnergyModel(
        chainer.Sequential(standardized, features), linear(settings.n_experts, settings.n_experts, initial_weight),
        N_PIXELS, sigma=numpy.sqrt(2 * variance), initial_bias=(mean / variance).astype(numpy.float32))


def tables(results: dict) -> dict:
    found = {}
    for _, _, cases in study.by_task(results, {'mnist': COLUMNS}):
        for case, runs in cases.items():
            found[case] = {
                'columns': ['energy, or Gaussian', *map('`{}`'.format, COLUMNS)],
                'rows': [
                    ['with experts', *(rounded([run.get(name) for run in runs], 5) for name in COLUMNS)],
                    *([title, *2 * [rounded(runs[0].get('log_likelihood_' + name), 5)],
                       *2 * [rounded(runs[0].get('bits_per_pixel_' + name), 5)]]
                      for name, title in GAUSSIANS.items())]}
    return found


def draw(results: dict, out) -> None:
    """No pictures."""
