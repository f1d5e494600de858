"""The networks for handwritten digits, as ``forward`` methods that read like the diagrams.

Weights start at N(0, 0.05²) from a given NumPy generator and biases at 0, as in the 2016 code.
"""

import chainer
from chainer import initializers

from ddgm.fast import functions as F, links as L
from ddgm.fast.noise import dequantized, noisy_elu
from ddgm.links import WeightNormalizedLinear
from ddgm.models import DeepEnergyModel, DeepGenerativeModel
from ddgm.networks.digit_density import DigitDensity

SIDE = 28
N_PIXELS = SIDE * SIDE


def _linear(in_size, out_size, initial_weight):
    return L.Linear(in_size, out_size, initialW=initial_weight)


class FeatureExtractor(chainer.ChainList):
    """f(x): 784 → 1000 ELU noise → 500 ELU noise → 250 ELU noise → 128 tanh.

    Args:
        sizes: Numbers of units from x to f(x).
        linear: Called as ``linear(in_size, out_size, initial_weight)``; returns a layer.
        noise (float): Standard deviation of the Gaussian noise, in training only.
        initial_weight: Chainer initializer.
    """

    def __init__(self, sizes, linear, noise, initial_weight):
        super().__init__(*(linear(n_in, n_out, initial_weight) for n_in, n_out in zip(sizes, sizes[1:])))
        self.noise = noise

    def forward(self, x):
        """(N, 784) to (N, features) in −1…1."""
        *hidden, last = self
        for layer in hidden:
            x = noisy_elu(layer(x), self.noise)
        return F.tanh(last(x))


class BatchNormalizedLinear(chainer.Chain):
    """A linear layer, then BatchNormalization: (N, in_size) to (N, out_size)."""

    def __init__(self, in_size, out_size, initial_weight):
        super().__init__()
        with self.init_scope():
            self.l = _linear(in_size, out_size, initial_weight)
            self.bn = L.BatchNormalization(out_size)

    def forward(self, x):
        return self.bn(self.l(x))


class BatchNormalizedFeatureExtractor(FeatureExtractor):
    """f(x) with BatchNormalization before each ELU: where the post saw the generator fail."""

    def __init__(self, sizes, noise, initial_weight):
        super().__init__(sizes[:-1], BatchNormalizedLinear, noise, initial_weight)
        self.append(_linear(*sizes[-2:], initial_weight))


class GenerativeModel(DeepGenerativeModel):
    """G(z): z → 500 BN ReLU → 500 BN ReLU → 784 sigmoid."""

    def __init__(self, n_latent, n_hidden, n_visible, linear, initial_weight):
        super().__init__(n_latent)
        with self.init_scope():
            self.l1 = linear(n_latent, n_hidden, initial_weight)
            self.bn1 = L.BatchNormalization(n_hidden)
            self.l2 = linear(n_hidden, n_hidden, initial_weight)
            self.bn2 = L.BatchNormalization(n_hidden)
            self.l3 = linear(n_hidden, n_visible, initial_weight)

    def forward(self, z):
        """(N, n_latent) to (N, 784) in 0…1."""
        h = F.relu(self.bn1(self.l1(z)))
        h = F.relu(self.bn2(self.l2(h)))
        return F.sigmoid(self.l3(h))


# ---- beyond the paper: convolutions, kernels of 4, stride 2

class ConvolutionalFeatureExtractor(chainer.Chain):
    """f(x): 28² → Conv 32·14² → Conv 64·7² → 256, each with ELU and noise, → n_features tanh."""

    def __init__(self, n_features, noise, initial_weight):
        super().__init__()
        self.noise = noise
        with self.init_scope():
            self.c1 = L.Convolution2D(1, 32, 4, 2, 1, initialW=initial_weight)
            self.c2 = L.Convolution2D(32, 64, 4, 2, 1, initialW=initial_weight)
            self.l1 = _linear(64 * 7 * 7, 256, initial_weight)
            self.l2 = _linear(256, n_features, initial_weight)

    def forward(self, x):
        """(N, 784) to (N, n_features) in −1…1."""
        h = F.reshape(x, (len(x), 1, SIDE, SIDE))
        for convolution in (self.c1, self.c2):
            h = noisy_elu(convolution(h), self.noise)
        h = noisy_elu(self.l1(F.reshape(h, (len(x), -1))), self.noise)
        return F.tanh(self.l2(h))


class ConvolutionalGenerativeModel(DeepGenerativeModel):
    """G(z): z → 64·7² BN ReLU → Deconv 32·14² BN ReLU → Deconv 28² sigmoid."""

    def __init__(self, n_latent, initial_weight):
        super().__init__(n_latent)
        with self.init_scope():
            self.l1 = _linear(n_latent, 64 * 7 * 7, initial_weight)
            self.bn1 = L.BatchNormalization(64 * 7 * 7)
            self.d1 = L.Deconvolution2D(64, 32, 4, 2, 1, initialW=initial_weight)
            self.bn2 = L.BatchNormalization(32)
            self.d2 = L.Deconvolution2D(32, 1, 4, 2, 1, initialW=initial_weight)

    def forward(self, z):
        """(N, n_latent) to (N, 784) in 0…1."""
        h = F.reshape(F.relu(self.bn1(self.l1(z))), (len(z), 64, 7, 7))
        h = F.relu(self.bn2(self.d1(h)))
        return F.reshape(F.sigmoid(self.d2(h)), (len(z), N_PIXELS))


class GenerativeModelOfGrey(ConvolutionalGenerativeModel):
    """The same for a density of grey levels: its samples have noise in training, as data has.

    Args:
        fixed (bool): Whether its BatchNormalization has the statistics that it has learned, in training too.
    """

    def __init__(self, n_latent, initial_weight, fixed):
        super().__init__(n_latent, initial_weight)
        self.fixed = fixed

    def forward(self, z):
        with chainer.using_config('train', chainer.config.train and not self.fixed):
            x = super().forward(z)
        return dequantized(255 * x, chainer.config.noise_generator) if chainer.config.train else x


def build_models(settings, rng):
    """A DEM and a DGM, as ``settings`` say, weights drawn from the NumPy generator ``rng``."""
    initial_weight = initializers.Normal(0.05, rng=rng)
    if settings.wells:
        features = FeatureExtractor(
            (2 * N_PIXELS, 300, 100, settings.n_experts), _linear, settings.noise, initial_weight)
        return (DigitDensity(features, settings.n_experts, N_PIXELS, initial_weight),
                GenerativeModelOfGrey(settings.n_latent, initial_weight, fixed=not settings.generator_learning_rate))
    if settings.convolutional:
        energy_model = DeepEnergyModel(
            ConvolutionalFeatureExtractor(settings.n_experts, settings.noise, initial_weight),
            _linear(settings.n_experts, settings.n_experts, initial_weight),
            n_visible=N_PIXELS, sigma=settings.sigma, initial_bias=initial_weight, joinable=True)
        return energy_model, ConvolutionalGenerativeModel(settings.n_latent, initial_weight)
    sizes = N_PIXELS, 1000, 500, 250, settings.n_experts
    linear = WeightNormalizedLinear if settings.energy_normalization == 'weight' else _linear
    if settings.energy_normalization == 'batch':
        feature_extractor = BatchNormalizedFeatureExtractor(sizes, settings.noise, initial_weight)
    else:
        feature_extractor = FeatureExtractor(sizes, linear, settings.noise, initial_weight)
    energy_model = DeepEnergyModel(
        feature_extractor, linear(settings.n_experts, settings.n_experts, initial_weight),
        n_visible=N_PIXELS, sigma=settings.sigma, initial_bias=initial_weight, joinable=True)
    linear = WeightNormalizedLinear if settings.generator_normalization == 'weight' else _linear
    return energy_model, GenerativeModel(settings.n_latent, 500, N_PIXELS, linear, initial_weight)
