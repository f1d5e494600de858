#!/usr/bin/env python3
"""Deep Directed Generative Models with Energy-Based Probability Estimation, in one file of plain Chainer.

Kim & Bengio 2016, arXiv:1606.03439, on ten Gaussians in the plane.  An energy model learns a low energy where data is,
a generator learns to draw where the energy is low.  The generator's samples are all that the energy model needs for its
negative phase, which otherwise takes a Markov chain.  Energies, entropies and losses are in nats.

For reading and for changing; train_gaussian_mixture.py does the same several times faster, with metrics and snapshots.
"""

import argparse
import math
import os
import pathlib
import sys

# Before NumPy is imported: these matrices are so small that threads only wait for each other.
os.environ.setdefault('OMP_NUM_THREADS', '1')
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import ddgm.support.compatibility  # noqa: F401, isort: skip  (before Chainer 7.8.1, which is older than NumPy 2)

import chainer
import chainer.functions as F
import chainer.links as L
import numpy

N_LATENT, N_HIDDEN, N_EXPERTS = 4, 128, 4
BATCHSIZE, START_SIZE = 100, 1000


# ---- what is to be learnt

def draw_data(n, rng):
    """Points of ten Gaussians N((1.4, 0), diag(0.5², 0.05²)), the k-th turned by 2πk/10: (n, 2)."""
    angle = 2 * numpy.pi * rng.integers(10, size=n) / 10
    u, v = ((0.5, 0.05) * rng.standard_normal((n, 2)) + (1.4, 0)).T
    cos, sin = numpy.cos(angle), numpy.sin(angle)
    return numpy.stack([u * cos - v * sin, u * sin + v * cos], axis=1).astype(numpy.float32)


def draw_latent(n, rng):
    """z ~ U(−1, 1)⁴, from which the generator makes points: (n, 4)."""
    return rng.uniform(-1, 1, (n, N_LATENT)).astype(numpy.float32)


# ---- the two models

def weight_normalization(V, g):
    """W = g·V/‖V‖ with one norm an output unit (Salimans & Kingma 2016): (out, …) and (out,) to (out, …)."""
    return F.scale(V, g / F.sqrt(F.batch_l2_norm_squared(V)), axis=0)


class WeightNormalizedLinear(chainer.Link):
    """Wx + b under weight normalization: (N, in_size) to (N, out_size)."""

    def __init__(self, in_size, out_size, initialW):
        super().__init__()
        with self.init_scope():
            self.V = chainer.Parameter(initialW, (out_size, in_size))
            self.g = chainer.Parameter()
            self.b = chainer.Parameter()

    def forward(self, x):
        if not self.g.is_initialized:
            self.start_from(x)
        return F.linear(x, weight_normalization(self.V, self.g), self.b)

    def start_from(self, x):
        """Let each output unit have mean 0 and variance 1 on the first batch."""
        y = F.linear(x, weight_normalization(self.V, self.xp.ones(len(self.V), self.V.dtype))).array
        mean, standard_deviation = y.mean(axis=0), y.std(axis=0)
        for parameter, start in ((self.g, 1 / standard_deviation), (self.b, -mean / standard_deviation)):
            parameter.initialize(start.shape)
            parameter.array[...] = start


class FeatureExtractor(chainer.Chain):
    """f(x): 2 → 128 ELU → 128 tanh, weight-normalized."""

    def __init__(self, n_hidden, initialW):
        super().__init__()
        with self.init_scope():
            self.l1 = WeightNormalizedLinear(2, n_hidden, initialW)
            self.l2 = WeightNormalizedLinear(n_hidden, n_hidden, initialW)

    def forward(self, x):
        return F.tanh(self.l2(F.elu(self.l1(x))))


class DeepEnergyModel(chainer.Chain):
    """P(x) = exp(−E(x))/Z with E(x) = xᵀx/σ² − bᵀx − Σᵢ log(1 + exp(Wᵢᵀf(x) + cᵢ)): (N, D) to (N,)."""

    def __init__(self, feature_extractor, experts, b, sigma=1.0):
        super().__init__()
        self.sigma = sigma
        with self.init_scope():
            self.feature_extractor = feature_extractor  # f
            self.experts = experts  # W and c
            self.b = b

    def forward(self, x):
        quadratic_term = F.sum(x * x, axis=1) / self.sigma ** 2
        bias_term = -F.matmul(x, self.b)
        expert_term = -F.sum(F.softplus(self.experts(self.feature_extractor(x))), axis=1)
        return quadratic_term + bias_term + expert_term


class DeepGenerativeModel(chainer.Chain):
    """G(z): z → 128 BN ReLU → 128 BN ReLU → x."""

    def __init__(self, n_latent, n_hidden, n_visible, initialW):
        super().__init__()
        with self.init_scope():
            self.l1 = L.Linear(n_latent, n_hidden, initialW=initialW)
            self.bn1 = L.BatchNormalization(n_hidden)
            self.l2 = L.Linear(n_hidden, n_hidden, initialW=initialW)
            self.bn2 = L.BatchNormalization(n_hidden)
            self.l3 = L.Linear(n_hidden, n_visible, initialW=initialW)

    def forward(self, z):
        h = F.relu(self.bn1(self.l1(z)))
        h = F.relu(self.bn2(self.l2(h)))
        return self.l3(h)


def entropy_of(generative_model):
    """Σ ½ log(2πe γ² + 1e-8): each batch-normalized unit is read as a Gaussian of standard deviation γ (section 3.2).

    It stands for the entropy of what G draws, which has no closed form: ().
    """
    return sum(
        F.sum(0.5 * F.log(2 * math.pi * math.e * link.gamma ** 2 + 1e-8))
        for link in generative_model.links() if isinstance(link, L.BatchNormalization))


def build_models(rng):
    """An energy model and a generator."""
    initialW = chainer.initializers.Normal(0.05, rng=rng)
    energy_model = DeepEnergyModel(
        FeatureExtractor(N_HIDDEN, initialW), WeightNormalizedLinear(N_HIDDEN, N_EXPERTS, initialW),
        b=chainer.Parameter(initialW, 2))
    return energy_model, DeepGenerativeModel(N_LATENT, N_HIDDEN, 2, initialW)


# ---- the two updates

def make_optimizer(model):
    """Adam; the gradient of the whole model is clipped to a norm of 10."""
    optimizer = chainer.optimizers.Adam(alpha=2e-4, beta1=0.5).setup(model)
    optimizer.add_hook(chainer.optimizer_hooks.GradientClipping(10))
    return optimizer


def update_energy_model(optimizer, generative_model, x_positive, z):
    """Lower the energy of data x⁺ and raise that of samples x⁻: the gradient of −log P(x⁺) where G draws from P."""
    energy_model = optimizer.target
    with chainer.no_backprop_mode():
        x_negative = generative_model(z).array  # given, in this update: no graph leads back into G
    positive_phase = F.mean(energy_model(x_positive))
    negative_phase = F.mean(energy_model(x_negative))
    loss = positive_phase - negative_phase
    energy_model.cleargrads()
    loss.backward()
    optimizer.update()
    return {
        'energy/positive': positive_phase.array, 'energy/negative': negative_phase.array, 'energy/loss': loss.array}


def update_generative_model(optimizer, energy_model, z):
    """Move samples to where the energy is low, and keep them apart: KL(P_G ‖ P) less the constant log Z."""
    generative_model = optimizer.target
    negative_phase = F.mean(energy_model(generative_model(z)))
    entropy = entropy_of(generative_model)
    loss = negative_phase - entropy
    generative_model.cleargrads()
    loss.backward()
    optimizer.update()
    return {'generator/energy': negative_phase.array, 'generator/entropy': entropy.array, 'generator/loss': loss.array}


# ---- a run

def draw_picture(path, data, samples):
    """Both (N, 2), samples above data."""
    import matplotlib.figure  # only here, so that what imports this file for its models goes without
    figure = matplotlib.figure.Figure(figsize=(6, 6))
    axes = figure.add_subplot(xlim=(-4, 4), ylim=(-4, 4), aspect='equal')
    axes.scatter(*data.T, s=6, color='#bec3c7', label='data')
    axes.scatter(*samples.T, s=6, color='#e84c3d', label='samples')
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--iterations', type=int, default=10_000)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=pathlib.Path, default='result/plain_chainer.png')
    arguments = parser.parse_args(arguments)

    rng = numpy.random.default_rng(arguments.seed)  # every random number comes from it
    energy_model, generative_model = build_models(rng)
    with chainer.no_backprop_mode():
        energy_model(draw_data(START_SIZE, rng))  # from which weight normalization starts
    energy_optimizer, generator_optimizer = make_optimizer(energy_model), make_optimizer(generative_model)

    with chainer.using_config('type_check', False):  # a tenth faster
        for iteration in range(1, arguments.iterations + 1):
            x_positive, z = draw_data(BATCHSIZE, rng), draw_latent(BATCHSIZE, rng)
            losses = update_energy_model(energy_optimizer, generative_model, x_positive, z)
            z = draw_latent(BATCHSIZE, rng)
            losses.update(update_generative_model(generator_optimizer, energy_model, z))
            if iteration % 500 == 0:
                print((
                    '{:6d}  energy of data {energy/positive:8.3f}, of samples {energy/negative:8.3f},'
                    ' entropy {generator/entropy:8.3f}').format(iteration, **losses))

    with chainer.using_config('train', False), chainer.no_backprop_mode():
        samples = generative_model(draw_latent(400, rng)).array
    draw_picture(arguments.out, draw_data(600, rng), samples)


if __name__ == '__main__':
    main()
