"""A training step composed of what Chainer 7.8.1 ships, as it is usually written: links, functions, ``backward``.

The plane, the energy and both updates are those of examples/plain_chainer.py; here is what digits and images add.  Links
are called as in this project, so that its weights can be loaded by their paths.
"""

import contextlib
import functools
import itertools
import pathlib
import platform
import sys

import numpy

import ddgm  # noqa: F401, isort: skip  (before Chainer; after NumPy, which stays as it is without this project)

import chainer
import chainer.functions as F
import chainer.links as L

from speed_sides import problem
from speed_sides.case import CHAINER_WEIGHTS, LOSSES, POOL

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent / 'examples'))

import plain_chainer as example  # noqa: E402

# ---- layers, whose weights are loaded

WeightNormalizedLinear = functools.partial(example.WeightNormalizedLinear, initialW=0)


class WeightNormalizedConvolution2D(chainer.Link):

    def __init__(self, in_channels, out_channels, ksize, stride, pad):
        super().__init__()
        self.options = stride, pad
        with self.init_scope():
            self.V = chainer.Parameter(0, self.shape(in_channels, out_channels, ksize))
            self.g = chainer.Parameter(0, out_channels)
            self.b = chainer.Parameter(0, out_channels)

    def shape(self, in_channels, out_channels, ksize):
        return out_channels, in_channels, ksize, ksize

    def forward(self, x):
        return F.convolution_2d(x, example.weight_normalization(self.V, self.g), self.b, *self.options)


class WeightNormalizedDeconvolution2D(WeightNormalizedConvolution2D):

    def shape(self, in_channels, out_channels, ksize):
        return in_channels, out_channels, ksize, ksize

    def forward(self, x):
        W = F.swapaxes(example.weight_normalization(F.swapaxes(self.V, 0, 1), self.g), 0, 1)
        return F.deconvolution_2d(x, W, self.b, *self.options)


class MinibatchDiscrimination(chainer.Chain):

    def __init__(self, in_size, n_kernels=50, n_dimensions=5):
        super().__init__()
        self.shape = n_kernels, n_dimensions
        with self.init_scope():
            self.T = L.Linear(in_size, n_kernels * n_dimensions)

    def forward(self, x):
        M = F.reshape(self.T(x), (len(x), *self.shape))
        shape = len(x), len(x), *self.shape
        differences = F.broadcast_to(F.expand_dims(M, 0), shape) - F.broadcast_to(F.expand_dims(M, 1), shape)
        similarity = F.exp(-F.sum(F.absolute(differences), axis=3))
        return F.concat((x, F.sum(similarity, axis=1) - 1))


# ---- digits

class BatchNormalizedLinear(chainer.Chain):

    def __init__(self, in_size, out_size):
        super().__init__()
        with self.init_scope():
            self.l = L.Linear(in_size, out_size)
            self.bn = L.BatchNormalization(out_size)

    def forward(self, x):
        return self.bn(self.l(x))


class DigitFeatures(chainer.ChainList):

    def __init__(self, n_features, hidden, linear, standard_deviation):
        super().__init__(hidden(784, 1000), hidden(1000, 500), hidden(500, 250), linear(250, n_features))
        self.standard_deviation = standard_deviation

    def forward(self, x, noise):
        *hidden, last = self
        for layer in hidden:
            x = noise.gaussian(F.elu(layer(x)), self.standard_deviation)
        return F.tanh(last(x))


class Generator(chainer.Chain):

    def __init__(self, n_latent, n_hidden, n_visible, linear, output):
        super().__init__()
        self.output = output
        with self.init_scope():
            self.l1 = linear(n_latent, n_hidden)
            self.bn1 = L.BatchNormalization(n_hidden)
            self.l2 = linear(n_hidden, n_hidden)
            self.bn2 = L.BatchNormalization(n_hidden)
            self.l3 = linear(n_hidden, n_visible)

    def forward(self, z):
        h = F.relu(self.bn1(self.l1(z)))
        h = F.relu(self.bn2(self.l2(h)))
        return self.output(self.l3(h))


# ---- images

class ImageFeatures(chainer.Chain):

    def __init__(self, channels, convolution, ratio, last_commit):
        super().__init__()
        self.ratio, self.last_commit = ratio, last_commit
        with self.init_scope():
            self.convolutions = chainer.ChainList(*(
                convolution(n_in, n_out, 4, 2, 1) for n_in, n_out in zip(channels, channels[1:])))
            self.bns = chainer.ChainList(*map(L.BatchNormalization, channels[1:-1]))
            if last_commit:
                self.discrimination = MinibatchDiscrimination(channels[-1] * 4 * 4)

    def forward(self, x, noise):
        *hidden, last = self.convolutions
        for convolution, bn in zip(hidden, self.bns):
            h = convolution(x)
            x = noise.dropout(F.elu(bn(h)) if self.last_commit else bn(F.elu(h)), self.ratio)
        x = last(x)
        return F.tanh(self.discrimination(F.reshape(x, (len(x), -1))) if self.last_commit else x)


class ImageGenerator(chainer.Chain):

    def __init__(self, n_latent, channels, linear, deconvolution, last_commit):
        super().__init__()
        self.last_commit = last_commit
        n_first = channels[0] * 7 * 7
        with self.init_scope():
            self.linear = linear(n_latent, n_first)
            self.bn = L.BatchNormalization(n_first)
            self.deconvolutions = chainer.ChainList(*(
                deconvolution(n_in, n_out, 4, 2, pad) for n_in, n_out, pad in zip(channels, channels[1:], (0, 1, 1))))
            self.bns = chainer.ChainList(*map(L.BatchNormalization, channels[1:-1]))

    def activate(self, h, bn):
        return F.relu(bn(h)) if self.last_commit else bn(F.relu(h))

    def forward(self, z):
        h = F.reshape(self.activate(self.linear(z), self.bn), (len(z), -1, 7, 7))
        *hidden, last = self.deconvolutions
        for deconvolution, bn in zip(hidden, self.bns):
            h = self.activate(deconvolution(h), bn)
        return F.sigmoid(last(h))


# ---- the energy and the entropy

class EnergyModel(chainer.Chain):
    """E(x) = xᵀx/σ² − bᵀx − Σᵢ log(1 + exp(Wᵢᵀf(x) + cᵢ))."""

    def __init__(self, feature_extractor, experts, n_visible, sigma, linear_experts=False):
        super().__init__()
        self.sigma, self.linear_experts = sigma, linear_experts
        with self.init_scope():
            self.feature_extractor, self.experts = feature_extractor, experts
            self.b = chainer.Parameter(0, n_visible)

    def forward(self, x, noise):
        a = self.experts(self.feature_extractor(x, noise))
        expert_term = F.sum(a, axis=1) if self.linear_experts else -F.sum(F.softplus(a), axis=1)
        x = F.reshape(x, (len(x), -1))
        bias_term = F.sum(x * F.broadcast_to(self.b, x.shape), axis=1)
        return F.sum(x * x, axis=1) / self.sigma ** 2 - bias_term + expert_term


def entropy_of(generative_model):
    """H = Σ ½ log(2πe γ² + 1e-8) over all units of all BatchNormalizations."""
    return sum(
        F.sum(0.5 * F.log(2 * math.pi * math.e * link.gamma ** 2 + 1e-8))
        for link in generative_model.links() if isinstance(link, L.BatchNormalization))


def build_models(task, settings):
    """An energy model and a generative model."""
    if task == 'gaussian_mixture':
        energy_model = EnergyModel(
            PlaneFeatures(settings.n_hidden), WeightNormalizedLinear(settings.n_hidden, settings.n_experts), 2,
            settings.sigma)
        return energy_model, Generator(settings.n_latent, settings.n_hidden, 2, L.Linear, F.identity)
    if task == 'mnist':
        linear = WeightNormalizedLinear if settings.energy_normalization == 'weight' else L.Linear
        hidden = BatchNormalizedLinear if settings.energy_normalization == 'batch' else linear
        energy_model = EnergyModel(
            DigitFeatures(settings.n_experts, hidden, linear, settings.noise),
            linear(settings.n_experts, settings.n_experts), 784, settings.sigma)
        linear = WeightNormalizedLinear if settings.generator_normalization == 'weight' else L.Linear
        return energy_model, Generator(settings.n_latent, 500, 784, linear, F.sigmoid)

    def wide(*channels):
        return [max(1, round(settings.width * n)) for n in channels]
    linear, convolution, deconvolution = L.Linear, L.Convolution2D, L.Deconvolution2D
    if settings.weight_normalization:
        linear, convolution, deconvolution = (
            WeightNormalizedLinear, WeightNormalizedConvolution2D, WeightNormalizedDeconvolution2D)
    last_commit = settings.network == 'last_commit'
    channels = wide(32, 64, 192, 256) if last_commit else wide(32, 96, 256, 1024)
    n_features = channels[-1] * 16 + (50 if last_commit else 0)
    energy_model = EnergyModel(
        ImageFeatures([3, *channels], convolution, settings.dropout, last_commit),
        linear(n_features, settings.n_experts), 3 * 64 * 64, settings.sigma, settings.linear_experts)
    generative_model = ImageGenerator(
        settings.n_latent, [*wide(512, 256, 128), 3], linear, deconvolution, last_commit)
    return energy_model, generative_model


# ---- noise

class OwnNoise:
    """Drawn by Chainer and its arrays' library."""

    def gaussian(self, x, standard_deviation):
        return x + standard_deviation * x.xp.random.standard_normal(x.shape).astype(x.dtype)

    def dropout(self, x, ratio):
        return F.dropout(x, ratio)


class GivenNoise:
    """Arrays to add, or to multiply with, in the order in which a network asks for them."""

    def __init__(self, values):
        self.values = iter(values)

    def gaussian(self, x, standard_deviation):
        return x + next(self.values)

    def dropout(self, x, ratio):
        return x * next(self.values)


# ---- training

class PlainChainer:
    """See :mod:`speed_sides`."""

    notes = ''

    def __init__(self, case, folder):
        self.device = chainer.get_device('@numpy' if case.device < 0 else '@cupy:{}'.format(case.device))
        self.device.use()
        self.settings = settings = case.settings
        self.versions = {
            'python': platform.python_version(), 'chainer': chainer.__version__, 'numpy': numpy.__version__}
        self.pool = list(self.device.send(numpy.load(folder / POOL)))
        self.batches = itertools.cycle(self.pool)
        self.energy_model, self.generative_model = build_models(case.task, settings)
        optimizers = []
        for model, path, learning_rate in (
                (self.energy_model, CHAINER_WEIGHTS[0], settings.energy_learning_rate),
                (self.generative_model, CHAINER_WEIGHTS[1], settings.generator_learning_rate)):
            chainer.serializers.load_npz(folder / path, model)
            model.to_device(self.device)
            optimizer = chainer.optimizers.Adam(
                alpha=learning_rate, beta1=settings.beta1, beta2=settings.beta2, eps=settings.eps)
            optimizer.setup(model)
            if settings.gradient_norm:
                optimizer.add_hook(chainer.optimizer_hooks.GradientClipping(settings.gradient_norm))
            optimizers.append(optimizer)
        self.energy_optimizer, self.generator_optimizer = optimizers

    @contextlib.contextmanager
    def context(self):
        """Without the checks that this project's runs leave out too."""
        with chainer.using_config('type_check', False), chainer.using_device(self.device):
            yield

    def noise_calls(self):
        recorder = problem.NoiseRecorder()
        with chainer.no_backprop_mode(), self.context():
            # Running statistics of a BatchNormalization change, on which nothing in training depends.
            self.energy_model(self.pool[0], recorder)
        return recorder.calls

    def device_memory(self):
        if self.device.xp is numpy:
            return None
        return chainer.backends.cuda.cupy.get_default_memory_pool().total_bytes()

    def step(self, draws=None):
        x_positive = next(self.batches)
        if draws is None:
            energy_losses = self.update_energy_model(x_positive)
            generator_losses = self.update_generative_model()
        else:
            draws = self.sent(draws)
            energy_losses = self.update_energy_model(
                x_positive, draws.energy_z, draws.positive_noise, draws.negative_noise)
            generator_losses = self.update_generative_model(draws.generator_z, draws.generator_noise)
        return [*energy_losses, *generator_losses]

    def sent(self, draws):
        """As arrays on the device."""
        return problem.Draws(*(
            [self.device.send(array) for array in value] if isinstance(value, list) else self.device.send(value)
            for value in draws))

    def draw_latent(self):
        shape = self.settings.batchsize, self.settings.n_latent
        return self.device.xp.random.uniform(-1, 1, shape).astype(numpy.float32)

    def energy(self, x, noise):
        """E(x) with noise of Chainer's, where ``noise`` is ``None``, or with that which is given."""
        return self.energy_model(x, OwnNoise() if noise is None else GivenNoise(noise))

    def update_energy_model(self, x_positive, z=None, positive_noise=None, negative_noise=None):
        """The losses of the energy model, three floats."""
        x_negative = self.generative_model(self.draw_latent() if z is None else z).array
        positive_phase = F.mean(self.energy(x_positive, positive_noise))
        negative_phase = F.mean(self.energy(x_negative, negative_noise))
        loss = positive_phase - negative_phase
        self.descend(self.energy_model, self.energy_optimizer, loss)
        return float(positive_phase.array), float(negative_phase.array), float(loss.array)

    def update_generative_model(self, z=None, noise=None):
        """The losses of the generator, three floats."""
        x_negative = self.generative_model(self.draw_latent() if z is None else z)
        negative_phase = F.mean(self.energy(x_negative, noise))
        entropy = entropy_of(self.generative_model)
        loss = negative_phase - entropy
        self.descend(self.generative_model, self.generator_optimizer, loss)
        return float(negative_phase.array), float(entropy.array), float(loss.array)

    def descend(self, model, optimizer, loss):
        """One step of one model."""
        model.cleargrads()
        loss.backward()
        optimizer.update()
