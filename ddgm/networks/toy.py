"""The networks for points in the plane, as ``forward`` methods that read like the diagrams.

Weights start at N(0, 0.05²) from a given NumPy generator and biases at 0, as in the 2016 code.
"""

import chainer
from chainer import initializers

from ddgm.fast import functions as F, links as L
from ddgm.links import WeightNormalizedLinear
from ddgm.models import DeepEnergyModel, DeepGenerativeModel


class FeatureExtractor(chainer.Chain):
    """f(x): 2 → 128 ELU → 128 tanh, weight-normalized; or with more layers of 128 ELU."""

    def __init__(self, n_hidden, initial_weight, n_layers=2):
        super().__init__()
        self.n_layers = n_layers
        sizes = [2] + n_layers * [n_hidden]
        for i, (n_in, n_out) in enumerate(zip(sizes, sizes[1:]), 1):
            self.add_link('l{}'.format(i), WeightNormalizedLinear(n_in, n_out, initial_weight))

    def forward(self, x):
        """(N, 2) to (N, n_hidden) in −1…1."""
        h = x
        for i in range(1, self.n_layers):
            h = F.elu(self['l{}'.format(i)](h))
        return F.tanh(self['l{}'.format(self.n_layers)](h))


class GenerativeModel(DeepGenerativeModel):
    """G(z): z → 128 BN ReLU → 128 BN ReLU → 2; or with more layers of 128 BN ReLU."""

    def __init__(self, n_latent, n_hidden, initial_weight, n_layers=2):
        super().__init__(n_latent)
        self.n_layers = n_layers
        sizes = [n_latent] + n_layers * [n_hidden]
        for i, (n_in, n_out) in enumerate(zip(sizes, sizes[1:]), 1):
            self.add_link('l{}'.format(i), L.Linear(n_in, n_out, initialW=initial_weight))
            self.add_link('bn{}'.format(i), L.BatchNormalization(n_out))
        self.add_link('l{}'.format(n_layers + 1), L.Linear(n_hidden, 2, initialW=initial_weight))

    def forward(self, z):
        """(N, n_latent) to (N, 2)."""
        h = z
        for i in range(1, self.n_layers + 1):
            h = F.relu(self['bn{}'.format(i)](self['l{}'.format(i)](h)))
        return self['l{}'.format(self.n_layers + 1)](h)


def build_models(settings, rng):
    """A DEM and a DGM, sized by ``settings``, weights drawn from the NumPy generator ``rng``."""
    initial_weight = initializers.Normal(0.05, rng=rng)
    energy_model = DeepEnergyModel(
        FeatureExtractor(settings.n_hidden, initial_weight, settings.feature_layers),
        WeightNormalizedLinear(settings.n_hidden, settings.n_experts, initial_weight),
        n_visible=2, sigma=settings.sigma, initial_bias=initial_weight)
    return energy_model, GenerativeModel(
        settings.n_latent, settings.n_hidden, initial_weight, settings.generator_layers)
