"""What likelihood has an energy of digits with one σ and a well at black for each pixel?  What can a generator add?

Means and variances of the Gaussian part are those of the training images.  Each pixel has an expert of its own, which
makes a well at black, and then all experts are trained.  x⁻ are chains that go on from iteration to iteration (Tieleman
2008) by moves under E that Metropolis' rule accepts.  Some begin anew in each iteration, so that no well is overlooked:
at training images, or at a generator's samples.

The generator has learned before, against an energy of its own, and stays as it is: that of the package.  Or it learns
beside the chains, by the paper's second phase against the same energy.

Beside grey levels with their uniform noise stand the same blurred by N(0, 0.1²), of which pixels that are always black
tell nothing.
"""

from __future__ import annotations

import dataclasses

import chainer
import numpy
from chainer import initializers, links as L

import ddgm
from ddgm import training
from ddgm.evaluation import annealing, likelihood, sampling
from ddgm.evaluation.metrics import N_SCORED
from ddgm.fast import functions as F
from ddgm.networks.mnist import N_PIXELS, FeatureExtractor, GenerativeModel
from ddgm.studies import study
from ddgm.support import randomness
from ddgm.support.errors import UsageError
from ddgm.support.tables import rounded


@dataclasses.dataclass(frozen=True)
class Way:
    """How an energy is trained.

    Attributes:
        blur (float): Standard deviation of normal noise on data, in 0…1.
        wells (bool): Whether each pixel has an expert of its own, which makes a well at black.
        generator (str): ``'packaged'``, or ``'beside'`` the chains; ``None``: there is none.
        of_data, of_samples (float): Shares of the chains that begin anew at data, and at G's samples, an iteration.
    """

    blur: float = 0.0
    wells: bool = True
    generator: str | None = None
    of_data: float = 0.05
    of_samples: float = 0.0


ITERATIONS, NEEDS = 120, ()
WAYS = {
    "mnist/chains begin anew at the packaged generator's samples": Way(
        generator='packaged', of_data=0.0, of_samples=0.05),
    'mnist/at data': Way(),
    'mnist/at data and at samples of a generator that learns': Way(generator='beside', of_samples=0.2),
    'mnist/blurred': Way(blur=0.1, wells=False),
}
CASES = {name: study.Case('mnist', 'calibrated', {
    'batchsize': 128, 'energy_learning_rate': 5e-4, 'decay_from': 60}) for name in WAYS}
PACKAGED = 'digits'
HIDDEN = 300, 100
SMALLEST_SCALE = 0.1  # of a pixel as f sees it, so that rare ones are not all it sees
# Of a well: where tanh bends, and its slope, which is how deep it can be.  Narrower ones say more of digits, but the
# chains that find log Z then take far more steps.
BLACK, WELL_WIDTH, WELL_SLOPE = 0.5 / likelihood.GREY_LEVELS, 0.3, 4.0
N_STEPS = 600  # of annealing, from the Gaussian part to the wells
N_GAUSSIANS, LEAST_VARIANCE = 50, 1e-6
COLUMNS = 'log_likelihood_lower', 'log_likelihood_upper', 'bits_per_pixel_lower', 'bits_per_pixel_upper'
AIMED = 'frechet', 'class_kl'
OF_SAMPLES = *AIMED, 'coverage'
LADDER = {
    'isotropic': 'Gaussian, the same in all directions', 'ppca': 'ten principal components',
    'pixels': 'the Gaussian part alone', 'gaussian': 'Gaussian',
    'clusters': '{} Gaussians, one for each cluster'.format(N_GAUSSIANS), 'wells': 'the Gaussian part with wells'}
# Of Wu et al. 2017, as they round: test digits with uniform noise under generators with Gaussian noise, by annealing.
PUBLISHED = {'a GAN with ten numbers of z (Wu et al. 2017)': 'some 330', 'a VAE with 50 (the same)': 'some 990'}


# ---- the energy

class WithWells(chainer.Chain):
    """Features of x and, beside them, how far each pixel is from black: tanh(((x − black)/width)²), (N, 784) to (N, …).

    Args:
        features: From (N, 1568) to (N, features): of x, and of the same.
        standardized: From x to what these see of it.
    """

    def __init__(self, features, standardized):
        super().__init__()
        self.standardized = standardized
        with self.init_scope():
            self.features = features

    def forward(self, x):
        distances = distance_from_black(x)
        return F.concat([self.features(F.concat([self.standardized(x), distances])), distances])


class ExpertsOfPixels(chainer.Chain):
    """Experts of the features, and one for each pixel: cᵢ − w·tanh(…), (N, features + 784) to (N, experts + 784)."""

    def __init__(self, experts, depths):
        super().__init__()
        with self.init_scope():
            self.experts = experts
            self.slopes = chainer.Parameter(numpy.full(N_PIXELS, WELL_SLOPE, dtype=numpy.float32))
            self.depths = chainer.Parameter(depths.astype(numpy.float32))

    def forward(self, features):
        wells = F.bias(-F.scale(features[:, -N_PIXELS:], self.slopes), self.depths)
        return F.concat([self.experts(features[:, :-N_PIXELS]), wells])


def distance_from_black(x):
    """0 where a pixel is black, and nearly 1 where it has ink; (…) to (…), of variables."""
    return F.tanh(((x - BLACK) / WELL_WIDTH) ** 2)


def build_model(learned, way, n_experts, rng) -> ddgm.DeepEnergyModel:
    """A DEM whose Gaussian part has the means and variances of levels (M, 784), and whose f has them taken out."""
    mean, variance = moments(learned, way.blur)
    initial_weight = initializers.Normal(0.05, rng=rng)
    scale = (1 / numpy.sqrt(variance + SMALLEST_SCALE ** 2)).astype(numpy.float32)

    def linear(n_in, n_out, initial_weight):
        return L.Linear(n_in, n_out, initialW=initial_weight)

    def standardized(x):
        return (x - mean.astype(numpy.float32)) * scale
    features = FeatureExtractor(
        ((1 + way.wells) * N_PIXELS, *HIDDEN, n_experts), linear, 0.0, initial_weight)
    experts = linear(n_experts, n_experts, initial_weight)
    if way.wells:
        features, experts = WithWells(features, standardized), ExpertsOfPixels(experts, depths_of_wells(learned)[0])
    else:
        features = chainer.Sequential(standardized, features)
    return ddgm.DeepEnergyModel(
        features, experts, N_PIXELS, sigma=numpy.sqrt(2 * variance),
        initial_bias=(mean / variance).astype(numpy.float32))


def depths_of_wells(levels: numpy.ndarray, n_rounds: int = 100) -> tuple[numpy.ndarray, numpy.ndarray]:
    """cᵢ of each pixel by itself, (784,), of greatest likelihood, and how much of its Gaussian's mass a well keeps.

    (1 + exp(cᵢ − w·t))·N(x) is N(x) + exp(cᵢ)·exp(−w·t)·N(x), a mixture whose shares expectation maximization finds.
    """
    mean, variance = moments(levels, 0.0)
    deviation, step = numpy.sqrt(variance), 1e-3
    y = numpy.arange(-5, 5, step)
    kept = numpy.array([
        (well(m + s * y) * numpy.exp(-0.5 * y * y)).sum() * step / numpy.sqrt(2 * numpy.pi)
        for m, s in zip(mean, deviation)])
    counts = numpy.stack([numpy.bincount(pixel, minlength=likelihood.GREY_LEVELS) for pixel in levels.T], axis=1)
    grid = ((numpy.arange(likelihood.GREY_LEVELS) + 0.5) / likelihood.GREY_LEVELS)[:, None]
    ratio, share = well(grid) / kept, numpy.full(N_PIXELS, 0.5)
    for _ in range(n_rounds):
        of_well = share * ratio
        share = (counts * of_well / (of_well + 1 - share)).sum(axis=0) / len(levels)
        share = share.clip(1e-4, 1 - 1e-4)
    return numpy.log(share / (1 - share)) - numpy.log(kept), kept


def well(x):
    """exp(−w·t) of a pixel, (…) to (…)."""
    return numpy.exp(-WELL_SLOPE * numpy.tanh(((x - BLACK) / WELL_WIDTH) ** 2))


def log_likelihood_of_pixels(x, mean, variance, depths=None, kept=None) -> float:
    """The mean log-likelihood of x (N, 784) under the Gaussian part, or under that and the first wells, in nats."""
    log_p = -0.5 * ((x - mean) ** 2 / variance + numpy.log(2 * numpy.pi * variance))
    if depths is not None:
        log_p += numpy.log1p(numpy.exp(depths) * well(x)) - numpy.log1p(numpy.exp(depths) * kept)
    return float(log_p.mean(axis=0).sum())


# ---- data, chains, and both updates

def blurred(levels: numpy.ndarray, deviation: float, rng: numpy.random.Generator) -> numpy.ndarray:
    """Grey levels with noise of the width of one, and normal noise: (N, 784) uint8, or float32 in 0…255, to float32."""
    x = (levels + rng.random(levels.shape, dtype=numpy.float32)) / numpy.float32(likelihood.GREY_LEVELS)
    return x + numpy.float32(deviation) * rng.standard_normal(levels.shape, dtype=numpy.float32)


def moments(levels: numpy.ndarray, deviation: float) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Mean and variance of each pixel of such x, (784,) each."""
    mean = levels.mean(axis=0)
    variance = numpy.square(levels, dtype=numpy.uint16).mean(axis=0) - mean ** 2 + 1 / 12
    return (mean + 0.5) / likelihood.GREY_LEVELS, variance / likelihood.GREY_LEVELS ** 2 + deviation ** 2


class Chains:
    """x⁻: chains that go on from iteration to iteration, of which some begin anew.

    Args:
        x: Where they begin, (N, 784).
        beginnings: Pairs of a share of the chains, in each iteration, and a function ``draw(n, rng)`` of where these
            begin anew, (n, 784).
    """

    def __init__(self, x, beginnings):
        self.x, self._beginnings, self._angle = x, beginnings, annealing.LARGEST_ANGLE

    def moved(self, energy_model, rng) -> numpy.ndarray:
        """All chains after one move under E, (N, 784) float32."""
        path = annealing.Path(*annealing.parts_of(energy_model, (N_PIXELS,)))
        for share, draw in self._beginnings:
            anew = rng.random(len(self.x)) < share
            self.x = numpy.where(anew[:, None], draw(len(self.x), rng), self.x)
        (y, _, _), taken = path.moved(path.chains(path.inward(self.x)), 1.0, self._angle, rng)
        self.x, self._angle = path.outward(y), annealing.adapted(self._angle, taken)
        return self.x.astype(numpy.float32)


def measure(run: study.Run) -> dict:
    way, settings = WAYS[run.name], run.settings
    learned, held_out = run.reference.likelihood_data()
    rng = training.random_generator(settings.seed, training.START)
    energy_model = build_model(learned, way, settings.n_experts, rng)
    energy_optimizer = ddgm.make_optimizer(
        energy_model, settings.energy_learning_rate, decay_from=settings.decay_from, averaged=settings.averaged)
    generator, generator_optimizer, strategy = None, None, training.AsWritten()
    if way.generator == 'packaged':
        generator = ddgm.load(PACKAGED).generator
    elif way.generator == 'beside':
        generator = build_generator(learned, settings, rng)
        generator_optimizer = ddgm.make_optimizer(
            generator, settings.generator_learning_rate, averaged=settings.averaged)

    def data(n, rng):
        return blurred(learned[rng.choice(len(learned), n)], way.blur, rng)

    def generated(n, rng):
        with chainer.no_backprop_mode(), chainer.using_config('train', way.generator == 'beside'):
            return blurred(255 * generator(generator.draw_latent(n, rng)).array, way.blur, rng)

    def work(rng):
        x_positive, x_negative = data(settings.batchsize, rng), chains.moved(energy_model, rng)
        training.update_energy_model(energy_optimizer, x_positive, x_negative, strategy)
        if generator_optimizer:
            z = generator.draw_latent(settings.batchsize, rng)
            training.update_generative_model(
                generator_optimizer, energy_model, z, rng, strategy, {'entropy': (training.gamma_entropy, 1.0)})
    # Each pixel by itself, from an image of its own, which the energy with wells that has not learned yet nearly is.
    alone = learned[rng.choice(len(learned), (settings.batchsize, N_PIXELS)), numpy.arange(N_PIXELS)]
    chains = Chains(blurred(alone, way.blur, rng), [
        (share, draw) for share, draw in ((way.of_data, data), (way.of_samples, generated)) if share])
    for iteration in range(1, settings.iterations + 1):
        with chainer.using_config('train', True):
            strategy.iteration(work, training.random_generator(settings.seed, iteration))
    if generator_optimizer:
        generator = sampling.with_population_statistics(
            generator_optimizer.averaged_model(), settings.batchsize, settings.population_batches)
    return {**scores_of_samples(run, generator),
            **scores_of_energy(run, energy_optimizer.averaged_model(), chains.x, learned, held_out)}


def scores_of_samples(run, generator) -> dict:
    """How good the generator's samples are, by name; nothing where there is none."""
    if generator is None:
        return {}
    z = generator.draw_latent(N_SCORED, randomness.metric_generator(randomness.SCORED_Z))
    scores = run.reference.score(sampling.sample(generator, z))
    return {name: scores[name] for name in OF_SAMPLES}


def scores_of_energy(run, energy_model, x, learned, held_out) -> dict:
    """Both ends of the likelihood, whose chains back begin at x (N, 784), and that of other densities, by name."""
    way = WAYS[run.name]
    rng = randomness.metric_generator(randomness.GREY_LEVELS)
    test = blurred(held_out, way.blur, rng) if way.blur else likelihood.dequantized(held_out)
    mean, variance = moments(learned, way.blur)
    means = {'pixels': log_likelihood_of_pixels(test, mean, variance)}
    if way.wells:
        means['wells'] = log_likelihood_of_pixels(test, mean, variance, *depths_of_wells(learned))
    if run.name == next(iter(WAYS)) and run.settings.seed == 0:
        means['clusters'] = one_gaussian_for_each_cluster(likelihood.dequantized(learned), test)
    if way.blur:
        learned, held_out = blurred(learned, way.blur, rng), test
    scores = likelihood.score(energy_model, x, learned, held_out, n_steps=N_STEPS)
    scores.update(('log_likelihood_' + name, value) for name, value in means.items())
    if not way.blur:
        scores.update(('bits_per_pixel_' + name, likelihood.bits(value, N_PIXELS)) for name, value in means.items())
    return scores


def one_gaussian_for_each_cluster(learned, test) -> float:
    """The mean log-likelihood of x (N, 784) under 50 Gaussians, each that of a cluster of k-means, in nats."""
    try:
        from sklearn.cluster import KMeans
    except ImportError as error:
        raise UsageError('this needs scikit-learn: pip install scikit-learn') from error
    cluster = KMeans(N_GAUSSIANS, n_init=1, max_iter=30, random_state=0).fit_predict(learned)
    log_p = []
    for k in range(N_GAUSSIANS):
        x = learned[cluster == k].astype(numpy.float64)
        factor = numpy.linalg.cholesky(numpy.cov(x.T, bias=True) + LEAST_VARIANCE * numpy.eye(N_PIXELS))
        y = numpy.linalg.solve(factor, (test - x.mean(axis=0)).T)
        log_p.append(
            numpy.log(len(x) / len(learned)) - 0.5 * ((y * y).sum(axis=0) + N_PIXELS * numpy.log(2 * numpy.pi))
            - numpy.log(numpy.diag(factor)).sum())
    return float(numpy.logaddexp.reduce(log_p).mean())


def build_generator(learned, settings, rng) -> GenerativeModel:
    """A DGM as the preset has it, which begins at the mean of levels (M, 784)."""
    def linear(n_in, n_out, initial_weight):
        return L.Linear(n_in, n_out, initialW=initial_weight)
    generator = GenerativeModel(settings.n_latent, 500, N_PIXELS, linear, initializers.Normal(0.05, rng=rng))
    mean, _ = moments(learned, 0.0)
    generator.l3.b.array[:] = numpy.log(mean / (1 - mean))
    return generator


# ---- tables

def tables(results: dict) -> dict:
    cases = {name.split('/', 1)[1]: (WAYS[name], runs) for name, runs in results.items()}
    found = {}
    for table, is_blurred in (('grey_levels', False), ('blurred', True)):
        chosen = {case: runs for case, (way, runs) in cases.items() if bool(way.blur) == is_blurred}
        if not chosen:
            continue
        columns = COLUMNS[:2] if is_blurred else COLUMNS
        first = next(iter(chosen.values()))[0]
        ladder = sorted(
            (name for name in LADDER if 'log_likelihood_' + name in first),
            key=lambda name: first['log_likelihood_' + name])
        found[table] = {
            'columns': ['energy, or other density', *map('`{}`'.format, columns)],
            'rows': [
                *([case, *(rounded([run.get(name) for run in runs], 5) for name in columns)]
                  for case, runs in chosen.items()),
                *([LADDER[name], *(
                    rounded(first['{}_{}'.format(column.rsplit('_', 1)[0], name)], 5) for column in columns)]
                  for name in reversed(ladder)),
                *([name, value, value, None, None] for name, value in PUBLISHED.items() if not is_blurred)]}
    with_generator = {case: runs for case, (way, runs) in cases.items() if way.generator}
    if with_generator:
        found['samples'] = study.table_of_metrics(
            'generator', OF_SAMPLES,
            {case: [{'metrics': run} for run in runs] for case, runs in with_generator.items()})
        found['samples']['rows'].append([
            'aim of `calibrated`',
            *({'from': 'calibrated_digits.mnist.aim, calibrated.' + name} for name in AIMED), None])
    return found


def draw(results: dict, out) -> None:
    """No pictures."""
