"""A training step composed of what Chainer 7.8.1 ships, as it is usually written: links, functions, ``backward``.

The plane, the energy and both updates are those of examples/plain_chainer.py; here is what digits and images add.
Links are called as in this project, so that its weights can be loaded by their paths.
"""

import contextlib
import itertools

import chainer
import chainer.functions as F
import chainer.links as L
import numpy

from benchmarks.speed.sides import problem
from benchmarks.speed.sides.case import CHAINER_WEIGHTS, LOSSES, POOL
from examples import plain_chainer as example

# ---- digits

class DigitFeatures(chainer.ChainList):

    def __init__(self, n_features, standard_deviation):
        super().__init__(L.Linear(784, 1000), L.Linear(1000, 500), L.Linear(500, 250), L.Linear(250, n_features))
        self.standard_deviation = standard_deviation

    def forward(self, x):
        *hidden, last = self
        for layer in hidden:
            x = self.noise.gaussian(F.elu(layer(x)), self.standard_deviation)
        return F.tanh(last(x))


class DigitGenerator(example.DeepGenerativeModel):

    def forward(self, z):
        return F.sigmoid(super().forward(z))


# ---- images

class ImageFeatures(chainer.Chain):

    def __init__(self, channels, ratio):
        super().__init__()
        self.ratio = ratio
        with self.init_scope():
            self.convolutions = chainer.ChainList(*(
                L.Convolution2D(n_in, n_out, 4, 2, 1) for n_in, n_out in zip(channels, channels[1:])))
            self.bns = chainer.ChainList(*map(L.BatchNormalization, channels[1:-1]))

    def forward(self, x):
        *hidden, last = self.convolutions
        for convolution, bn in zip(hidden, self.bns):
            x = self.noise.dropout(bn(F.elu(convolution(x))), self.ratio)
        return F.tanh(last(x))


class ImageGenerator(chainer.Chain):

    def __init__(self, n_latent, channels):
        super().__init__()
        n_first = channels[0] * 7 * 7
        with self.init_scope():
            self.linear = L.Linear(n_latent, n_first)
            self.bn = L.BatchNormalization(n_first)
            self.deconvolutions = chainer.ChainList(*(
                L.Deconvolution2D(n_in, n_out, 4, 2, pad)
                for n_in, n_out, pad in zip(channels, channels[1:], (0, 1, 1))))
            self.bns = chainer.ChainList(*map(L.BatchNormalization, channels[1:-1]))

    def forward(self, z):
        h = F.reshape(self.bn(F.relu(self.linear(z))), (len(z), -1, 7, 7))
        *hidden, last = self.deconvolutions
        for deconvolution, bn in zip(hidden, self.bns):
            h = bn(F.relu(deconvolution(h)))
        return F.sigmoid(last(h))


class ImageEnergyModel(example.DeepEnergyModel):
    """The energy of (N, 3, 64, 64), with Σᵢ (Wᵢᵀf(x) + cᵢ) for its experts."""

    def forward(self, x):
        expert_term = F.sum(self.experts(self.feature_extractor(x)), axis=1)
        x = F.reshape(x, (len(x), -1))
        return F.sum(x * x, axis=1) / self.sigma ** 2 - F.matmul(x, self.b) + expert_term


# ---- the models of a case, whose weights are loaded

def build_plane_models(settings):
    energy_model = example.DeepEnergyModel(
        example.FeatureExtractor(settings.n_hidden, initialW=0),
        example.WeightNormalizedLinear(settings.n_hidden, settings.n_experts, initialW=0), chainer.Parameter(0, 2),
        settings.sigma)
    return energy_model, example.DeepGenerativeModel(settings.n_latent, settings.n_hidden, 2, initialW=0)


def build_digit_models(settings):
    energy_model = example.DeepEnergyModel(
        DigitFeatures(settings.n_experts, settings.noise), L.Linear(settings.n_experts, settings.n_experts),
        chainer.Parameter(0, 784), settings.sigma)
    return energy_model, DigitGenerator(settings.n_latent, 500, 784, initialW=0)


def build_image_models(settings):
    def wide(*channels):
        return [max(1, round(settings.width * n)) for n in channels]
    channels = wide(32, 96, 256, 1024)
    energy_model = ImageEnergyModel(
        ImageFeatures([3, *channels], settings.dropout), L.Linear(channels[-1] * 16, settings.n_experts),
        chainer.Parameter(0, 3 * 64 * 64), settings.sigma)
    return energy_model, ImageGenerator(settings.n_latent, [*wide(512, 256, 128), 3])


BUILD_MODELS = {'gaussian_mixture': build_plane_models, 'mnist': build_digit_models, 'images': build_image_models}


# ---- noise: the ``noise`` of a feature extractor

class OwnNoise:
    """Drawn by Chainer and its arrays' library."""

    def gaussian(self, x, standard_deviation):
        return x + standard_deviation * x.xp.random.standard_normal(x.shape).astype(x.dtype)

    def dropout(self, x, ratio):
        return F.dropout(x, ratio)


# ---- training

class PlainChainer:
    """See :mod:`benchmarks.speed.sides`."""

    notes = ''

    def __init__(self, case, folder):
        self.device = chainer.get_device('@numpy' if case.device < 0 else '@cupy:{}'.format(case.device))
        self.device.use()
        self.settings = settings = case.settings
        self.pool = list(self.device.send(numpy.load(folder / POOL)))
        self.batches = itertools.cycle(self.pool)
        self.energy_model, self.generative_model = BUILD_MODELS[case.task](settings)
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
            self.energy_model.feature_extractor.noise = recorder
            self.energy_model(self.pool[0])
        return recorder.calls

    def device_memory(self):
        if self.device.xp is numpy:
            return None
        return chainer.backends.cuda.cupy.get_default_memory_pool().total_bytes()

    def step(self, draws=None):
        if draws is None:
            energy_z, generator_z, noise = self.draw_latent(), self.draw_latent(), OwnNoise()
        else:
            energy_z, generator_z = self.device.send((draws.energy_z, draws.generator_z))
            noise = problem.GivenNoise(self.device.send(
                [*draws.positive_noise, *draws.negative_noise, *draws.generator_noise]))
        self.energy_model.feature_extractor.noise = noise
        losses = {
            **example.update_energy_model(self.energy_optimizer, self.generative_model, next(self.batches), energy_z),
            **example.update_generative_model(self.generator_optimizer, self.energy_model, generator_z)}
        return [float(losses[name]) for name in LOSSES]

    def draw_latent(self):
        shape = self.settings.batchsize, self.settings.n_latent
        return self.device.xp.random.uniform(-1, 1, shape).astype(numpy.float32)
