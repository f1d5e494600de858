"""The networks for images, as ``forward`` methods that read like the diagrams.

Three published families: the post's of 2016-10-28, those of its code's last commit (2016-11-20), and the paper author's
own.  They are for 64×64 pixels in colours, and so are the diagrams.  Networks for 32×32 lack the layer that is nearest
to x; those for 128×128 have one more there, half as wide.  Grey images have C = 1 channel.

Weights start from a given NumPy generator: N(0, 0.05²) and biases 0, the author's N(0, 0.01²).
"""

import chainer
from chainer import initializers

from ddgm.fast import functions as F, links as L
from ddgm.links import (
    MinibatchDiscrimination,
    WeightNormalizedConvolution2D,
    WeightNormalizedDeconvolution2D,
    WeightNormalizedLinear,
)
from ddgm.models import DeepEnergyModel, DeepGenerativeModel

_LAYERS = {32: 3, 64: 4, 128: 5}  # strides of 2 between x and 4×4 pixels, by the side of x


class _Plain:
    """Layers without normalization."""

    def __init__(self, initial_weight):
        self.initial_weight = initial_weight

    def linear(self, in_size, out_size):
        return L.Linear(in_size, out_size, initialW=self.initial_weight)

    def convolution(self, in_channels, out_channels):
        return L.Convolution2D(in_channels, out_channels, 4, 2, 1, initialW=self.initial_weight)

    def deconvolution(self, in_channels, out_channels, pad):
        return L.Deconvolution2D(in_channels, out_channels, 4, 2, pad, initialW=self.initial_weight)


class _WeightNormalized(_Plain):
    """Layers under weight normalization."""

    def linear(self, in_size, out_size):
        return WeightNormalizedLinear(in_size, out_size, self.initial_weight)

    def convolution(self, in_channels, out_channels):
        return WeightNormalizedConvolution2D(in_channels, out_channels, 4, 2, 1, self.initial_weight)

    def deconvolution(self, in_channels, out_channels, pad):
        return WeightNormalizedDeconvolution2D(in_channels, out_channels, 4, 2, pad, self.initial_weight)


# ---- the post and its code's last commit: kernels of 4, stride 2

class PostFeatureExtractor(chainer.Chain):
    """f(x) of the post: Conv 3 → 32 → 96 → 256 → 1024; after the first three ELU, BN, dropout; after the last tanh.

    Args:
        channels: Numbers of channels from x to f(x).
        kind: Makes the convolutions.
        dropout (float): Share of numbers set to 0, in training only.
    """

    def __init__(self, channels, kind, dropout):
        super().__init__()
        self.dropout = dropout
        with self.init_scope():
            self.convolutions = chainer.ChainList(*map(kind.convolution, channels, channels[1:]))
            self.bns = chainer.ChainList(*map(L.BatchNormalization, channels[1:-1]))

    def forward(self, x):
        """(N, C, size, size) to (N, channels, 4, 4) in −1…1."""
        *hidden, last = self.convolutions
        for convolution, bn in zip(hidden, self.bns):
            x = F.dropout(bn(F.elu(convolution(x))), self.dropout)
        return F.tanh(last(x))


class LastCommitFeatureExtractor(PostFeatureExtractor):
    """f(x) of the last commit: Conv 3 → 32 → 64 → 192 → 256; after the first three BN, ELU, dropout; then flat.

    Last come minibatch discrimination, ``n_kernels`` of ``n_dimensions``, and tanh.
    """

    def __init__(self, channels, kind, dropout, n_flat, n_kernels, n_dimensions):
        super().__init__(channels, kind, dropout)
        with self.init_scope():
            self.discrimination = MinibatchDiscrimination(n_flat, n_kernels, n_dimensions, kind.initial_weight)

    def forward(self, x):
        """(N, C, size, size) to (N, features) in −1…1."""
        *hidden, last = self.convolutions
        for convolution, bn in zip(hidden, self.bns):
            x = F.dropout(F.elu(bn(convolution(x))), self.dropout)
        return F.tanh(self.discrimination(F.reshape(last(x), (len(x), -1))))


class PostGenerativeModel(DeepGenerativeModel):
    """G(z) of the post: Linear z → 512·7·7, Deconv → 256 → 128 → 3 sigmoid; ReLU, then BN, after all but the last.

    Args:
        channels: Numbers of channels from the first layer's to x's.
        first_side (int): Side of the first layer's images.
        pads: Padding of each deconvolution.
        kind: Makes the layers.
    """

    def __init__(self, n_latent, channels, first_side, pads, kind):
        super().__init__(n_latent)
        self.first_shape = channels[0], first_side, first_side
        n_first = channels[0] * first_side ** 2
        with self.init_scope():
            self.linear = kind.linear(n_latent, n_first)
            self.bn = L.BatchNormalization(n_first)
            self.deconvolutions = chainer.ChainList(*map(kind.deconvolution, channels, channels[1:], pads))
            self.bns = chainer.ChainList(*map(L.BatchNormalization, channels[1:-1]))

    def activate(self, h, bn):
        """What follows each layer but the last."""
        return bn(F.relu(h))

    def forward(self, z):
        """(N, n_latent) to (N, C, size, size) in 0…1."""
        *hidden, last = self.deconvolutions
        h = F.reshape(self.activate(self.linear(z), self.bn), (len(z), *self.first_shape))
        for deconvolution, bn in zip(hidden, self.bns):
            h = self.activate(deconvolution(h), bn)
        return F.sigmoid(last(h))


class LastCommitGenerativeModel(PostGenerativeModel):
    """G(z) of the last commit: as the post's, with BN before ReLU."""

    def activate(self, h, bn):
        return F.relu(bn(h))


# ---- the paper author's own: kernels of 5, stride 2

class AuthorFeatureExtractor(chainer.Chain):
    """f(x) of the paper's author: Conv 3 → 128 → 256 → 512 → 1024; ReLU after the first three, after the last tanh.

    The author's pixels run from −1 to 1; here they run from 0 to 1 everywhere, and f begins with 2x − 1.
    """

    def __init__(self, channels, initial_weight):
        super().__init__()
        *hidden, last = zip(channels, channels[1:])
        with self.init_scope():
            self.hidden = chainer.ChainList(*(
                L.Convolution2D(n_in, n_out, 5, 2, 2, initialW=initial_weight, initial_bias=0.1)
                for n_in, n_out in hidden))
            self.last = L.Convolution2D(*last, 5, 2, 2, initialW=initial_weight)

    def forward(self, x):
        """(N, C, size, size) to (N, channels, 4, 4) in −1…1."""
        h = 2 * x - 1
        for convolution in self.hidden:
            h = F.relu(convolution(h))
        return F.tanh(self.last(h))


class AuthorGenerativeModel(DeepGenerativeModel):
    """G(z) of the paper's author: Linear z → 1024·4·4, Deconv → 512 → 256 → 128 BN ReLU each, → 3 tanh."""

    def __init__(self, n_latent, channels, initial_weight):
        super().__init__(n_latent)
        self.first_shape = channels[0], 4, 4
        n_first = channels[0] * 16
        sides = [8 << i for i in range(len(channels) - 1)]
        with self.init_scope():
            # A bias before BatchNormalization would be cancelled by it.
            self.linear = L.Linear(n_latent, n_first, nobias=True, initialW=initial_weight)
            self.bn = L.BatchNormalization(n_first, initial_beta=0.1)
            self.hidden = chainer.ChainList(*(
                L.Deconvolution2D(n_in, n_out, 5, 2, 2, nobias=True, outsize=(side, side), initialW=initial_weight)
                for n_in, n_out, side in zip(channels, channels[1:-1], sides)))
            self.bns = chainer.ChainList(*(L.BatchNormalization(n, initial_beta=0.1) for n in channels[1:-1]))
            self.last = L.Deconvolution2D(*channels[-2:], 5, 2, 2, outsize=(sides[-1],) * 2, initialW=initial_weight)

    def forward(self, z):
        """(N, n_latent) to (N, C, size, size) in 0…1."""
        h = F.reshape(F.relu(self.bn(self.linear(z))), (len(z), *self.first_shape))
        for deconvolution, bn in zip(self.hidden, self.bns):
            h = F.relu(bn(deconvolution(h)))
        return 0.5 * F.tanh(self.last(h)) + 0.5


# ---- all of them

def build_models(settings, rng):
    """A DEM and a DGM, as ``settings`` say, weights drawn from the NumPy generator ``rng``."""
    n_layers, x_channels = _LAYERS[settings.size], 1 if settings.grey else 3
    n_visible = x_channels * settings.size ** 2

    def wide(*channels):
        return [max(1, round(settings.width * n)) for n in channels]

    if settings.network == 'author':
        initial_weight = initializers.Normal(0.01, rng=rng)
        channels = wide(64, 128, 256, 512, 1024)[-n_layers:]
        energy_model = DeepEnergyModel(
            AuthorFeatureExtractor([x_channels, *channels], initial_weight),
            L.Linear(channels[-1] * 4 * 4, settings.n_experts, initialW=initial_weight),
            n_visible=n_visible, experts_alone=True, joinable=True)
        return energy_model, AuthorGenerativeModel(settings.n_latent, [*channels[::-1], x_channels], initial_weight)

    initial_weight = initializers.Normal(0.05, rng=rng)
    kind = (_WeightNormalized if settings.weight_normalization else _Plain)(initial_weight)
    generator_channels = [*wide(512, 256, 128, 64)[:n_layers - 1], x_channels]
    if settings.network == 'post':
        channels = wide(16, 32, 96, 256, 1024)[-n_layers:]
        n_features = channels[-1] * 4 * 4
        feature_extractor = PostFeatureExtractor([x_channels, *channels], kind, settings.dropout)
        generative_class = PostGenerativeModel
    else:
        channels = wide(16, 32, 64, 192, 256)[-n_layers:]
        n_flat, n_kernels = channels[-1] * 4 * 4, 50
        n_features = n_flat + n_kernels
        feature_extractor = LastCommitFeatureExtractor(
            [x_channels, *channels], kind, settings.dropout, n_flat, n_kernels, n_dimensions=5)
        generative_class = LastCommitGenerativeModel
    energy_model = DeepEnergyModel(
        feature_extractor, kind.linear(n_features, settings.n_experts), n_visible=n_visible, sigma=settings.sigma,
        initial_bias=initial_weight, linear_experts=settings.linear_experts, joinable=True)
    pads = 0, *[1] * (n_layers - 2)  # from 7×7 pixels to 16×16, and then each side twice as long
    return energy_model, generative_class(settings.n_latent, generator_channels, 7, pads, kind)
