"""The networks for points, of the plane or of any d numbers each, as ``forward`` methods that read like the diagrams.

Weights start at N(0, 0.05²) from a given NumPy generator and biases at 0, as in the 2016 code.

These networks are ``replayable``: for each way in which the loop calls ``forward`` the scripts call it once, and then
repeat what it did, so a breakpoint in it is hit so often.  With ``--no-replay`` it is called every time, to the same
bits where numba does not compile; see :mod:`ddgm.fast.replay`.
"""

import chainer
import numpy
from chainer import initializers

from ddgm.fast import functions as F, links as L
from ddgm.links import WeightNormalizedLinear
from ddgm.models import DeepEnergyModel, DeepGenerativeModel


class FeatureExtractor(chainer.Chain):
    """f(x): d → 128 ELU → 128 tanh, weight-normalized; in the plane d is 2."""

    def __init__(self, n_hidden, initial_weight, n_visible=2):
        super().__init__()
        with self.init_scope():
            self.l1 = WeightNormalizedLinear(n_visible, n_hidden, initial_weight)
            self.l2 = WeightNormalizedLinear(n_hidden, n_hidden, initial_weight)

    def forward(self, x):
        """(N, d) to (N, n_hidden) in −1…1."""
        return F.tanh(self.l2(F.elu(self.l1(x))))


class EnergyModel(DeepEnergyModel):
    """E(x) of points."""

    replayable = True


class GenerativeModel(DeepGenerativeModel):
    """G(z): z → 128 BN ReLU → 128 BN ReLU → d."""

    replayable = True

    def __init__(self, n_latent, n_hidden, initial_weight, n_visible=2):
        super().__init__(n_latent)
        with self.init_scope():
            self.l1 = L.Linear(n_latent, n_hidden, initialW=initial_weight)
            self.bn1 = L.BatchNormalization(n_hidden)
            self.l2 = L.Linear(n_hidden, n_hidden, initialW=initial_weight)
            self.bn2 = L.BatchNormalization(n_hidden)
            self.l3 = L.Linear(n_hidden, n_visible, initialW=initial_weight)

    def forward(self, z):
        """(N, n_latent) to (N, d)."""
        h = F.relu(self.bn1(self.l1(z)))
        h = F.relu(self.bn2(self.l2(h)))
        return self.l3(h)


# ---- beyond the paper: any number of layers, of the same names

class LayeredFeatureExtractor(chainer.Chain):
    """f(x): d → 128 ELU → … → 128 tanh, ``n_layers`` in all, weight-normalized."""

    def __init__(self, n_hidden, initial_weight, n_layers, n_visible=2):
        super().__init__()
        self.n_layers = n_layers
        sizes = [n_visible] + n_layers * [n_hidden]
        for i, (n_in, n_out) in enumerate(zip(sizes, sizes[1:]), 1):
            self.add_link('l{}'.format(i), WeightNormalizedLinear(n_in, n_out, initial_weight))

    def forward(self, x):
        """(N, d) to (N, n_hidden) in −1…1."""
        h = x
        for i in range(1, self.n_layers):
            h = F.elu(self['l{}'.format(i)](h))
        return F.tanh(self['l{}'.format(self.n_layers)](h))


class LayeredGenerativeModel(DeepGenerativeModel):
    """G(z): z → 128 BN ReLU → … → d, with ``n_layers`` hidden ones.

    The last ``n_binary`` numbers of z are −1 or 1.  Data may lie in pieces.  A continuous G would have to cross what is
    between them; from one of these z to another it jumps.
    """

    replayable = True

    def __init__(self, n_latent, n_hidden, initial_weight, n_layers, n_binary=0, n_visible=2):
        super().__init__(n_latent + n_binary)
        self.n_layers = n_layers
        self.n_binary = n_binary
        sizes = [self.n_latent] + n_layers * [n_hidden]
        for i, (n_in, n_out) in enumerate(zip(sizes, sizes[1:]), 1):
            self.add_link('l{}'.format(i), L.Linear(n_in, n_out, initialW=initial_weight))
            self.add_link('bn{}'.format(i), L.BatchNormalization(n_out))
        self.add_link('l{}'.format(n_layers + 1), L.Linear(n_hidden, n_visible, initialW=initial_weight))

    def draw_latent(self, n, rng):
        """As the paper's, and the sign alone of the last ``n_binary`` numbers."""
        z = super().draw_latent(n, rng)
        binary = z[:, self.n_latent - self.n_binary:]
        binary[...] = numpy.where(binary < 0, -1, 1)
        return z

    def forward(self, z):
        """(N, n_latent) to (N, d)."""
        h = z
        for i in range(1, self.n_layers + 1):
            h = F.relu(self['bn{}'.format(i)](self['l{}'.format(i)](h)))
        return self['l{}'.format(self.n_layers + 1)](h)


# ---- both

def build_models(settings, rng):
    """A DEM and a DGM, sized by ``settings``, weights drawn from the NumPy generator ``rng``."""
    initial_weight = initializers.Normal(0.05, rng=rng)
    sizes = settings.n_hidden, initial_weight
    if settings.feature_layers == 2:
        feature_extractor = FeatureExtractor(*sizes, settings.n_visible)
    else:
        feature_extractor = LayeredFeatureExtractor(*sizes, settings.feature_layers, settings.n_visible)
    energy_model = EnergyModel(
        feature_extractor, WeightNormalizedLinear(settings.n_hidden, settings.n_experts, initial_weight),
        n_visible=settings.n_visible, sigma=settings.sigma, initial_bias=initial_weight, joinable=True)
    if settings.generator_layers == 2 and not settings.binary_latents:
        return energy_model, GenerativeModel(settings.n_latent, *sizes, settings.n_visible)
    return energy_model, LayeredGenerativeModel(
        settings.n_latent, *sizes, settings.generator_layers, settings.binary_latents, settings.n_visible)
