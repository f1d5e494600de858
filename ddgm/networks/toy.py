"""The networks for points in the plane, as ``forward`` methods that read like the diagrams.

Weights start at N(0, 0.05²) from a given NumPy generator and biases at 0, as in the 2016 code.
"""

import chainer
from chainer import initializers

from ddgm import layers
from ddgm.links import BatchNormalization, Linear, WeightNormalizedLinear
from ddgm.models import DeepEnergyModel, DeepGenerativeModel


class FeatureExtractor(chainer.Chain):
    """f(x): 2 → 128 ELU → 128 tanh, weight-normalized."""

    def __init__(self, n_hidden, initial_weight):
        super().__init__()
        with self.init_scope():
            self.l1 = WeightNormalizedLinear(2, n_hidden, initial_weight)
            self.l2 = WeightNormalizedLinear(n_hidden, n_hidden, initial_weight)

    def forward(self, x):
        """(N, 2) to (N, n_hidden) in −1…1."""
        return layers.tanh(self.l2(layers.elu(self.l1(x))))


class GenerativeModel(DeepGenerativeModel):
    """G(z): z → 128 BN ReLU → 128 BN ReLU → 2."""

    def __init__(self, n_latent, n_hidden, initial_weight):
        super().__init__(n_latent)
        with self.init_scope():
            self.l1 = Linear(n_latent, n_hidden, initialW=initial_weight)
            self.bn1 = BatchNormalization(n_hidden)
            self.l2 = Linear(n_hidden, n_hidden, initialW=initial_weight)
            self.bn2 = BatchNormalization(n_hidden)
            self.l3 = Linear(n_hidden, 2, initialW=initial_weight)

    def forward(self, z):
        """(N, n_latent) to (N, 2)."""
        h = layers.relu(self.bn1(self.l1(z)))
        h = layers.relu(self.bn2(self.l2(h)))
        return self.l3(h)


def build_models(settings, rng):
    """A DEM and a DGM, sized by ``settings``, weights drawn from the NumPy generator ``rng``."""
    initial_weight = initializers.Normal(0.05, rng=rng)
    energy_model = DeepEnergyModel(
        FeatureExtractor(settings.n_hidden, initial_weight),
        WeightNormalizedLinear(settings.n_hidden, settings.n_experts, initial_weight),
        n_visible=2, sigma=settings.sigma, initial_bias=initial_weight)
    return energy_model, GenerativeModel(settings.n_latent, settings.n_hidden, initial_weight)
