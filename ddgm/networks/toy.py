"""The networks for points in the plane, as ``forward`` methods that read like the diagrams.

Weights start at N(0, 0.05²) from a given NumPy generator and biases at 0, as in the 2016 code.
"""

import chainer
import chainer.functions as F
import chainer.links as L
from chainer import initializers

from ddgm.links import BatchNormalization, WeightNormalizedLinear
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
        # Chainer's ELU, not functions.elu, which rounds otherwise: the README's figures were measured with it.
        return F.tanh(self.l2(F.elu(self.l1(x))))


class GenerativeModel(DeepGenerativeModel):
    """G(z): z → 128 BN ReLU → 128 BN ReLU → 2."""

    def __init__(self, n_latent, n_hidden, initial_weight):
        super().__init__(n_latent)
        with self.init_scope():
            self.l1 = L.Linear(n_latent, n_hidden, initialW=initial_weight)
            self.bn1 = BatchNormalization(n_hidden)
            self.l2 = L.Linear(n_hidden, n_hidden, initialW=initial_weight)
            self.bn2 = BatchNormalization(n_hidden)
            self.l3 = L.Linear(n_hidden, 2, initialW=initial_weight)

    def forward(self, z):
        """(N, n_latent) to (N, 2)."""
        h = F.relu(self.bn1(self.l1(z)))
        h = F.relu(self.bn2(self.l2(h)))
        return self.l3(h)


def build_models(settings, rng):
    """A DEM and a DGM, sized by ``settings``, weights drawn from the NumPy generator ``rng``."""
    initial_weight = initializers.Normal(0.05, rng=rng)
    energy_model = DeepEnergyModel(
        FeatureExtractor(settings.n_hidden, initial_weight),
        WeightNormalizedLinear(settings.n_hidden, settings.n_experts, initial_weight),
        n_visible=2, sigma=settings.sigma, initial_bias=initial_weight)
    return energy_model, GenerativeModel(settings.n_latent, settings.n_hidden, initial_weight)
