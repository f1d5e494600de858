"""The paper's two models: a Deep Energy Model (DEM) and a Deep Generative Model (DGM)."""

import chainer
import numpy

from ddgm import equations
from ddgm.fast import functions as F


class DeepEnergyModel(chainer.Chain):
    """P(x) = exp(−E(x))/Z with E(x) = xᵀx/σ² − bᵀx − Σᵢ log(1 + exp(Wᵢᵀf(x) + cᵢ)).

    Args:
        feature_extractor: f, a callable from (N, …) to (N, features); its parameters are trained if it is a link.
        experts: A callable from (N, features) to the (N, experts) arguments Wᵢᵀf(x) + cᵢ.  ``None`` for both makes an
            energy without experts, that of a Gaussian of mean σ²b/2 and covariance (σ²/2)I.
        n_visible (int): Numbers in one x.
        sigma (float): σ; 1 in the 2016 code.  An array (n_visible,) has one σᵢ for each number of x, and Σᵢ xᵢ²/σᵢ²
            stands for xᵀx/σ²: it is saved with the parameters, but not trained.
        initial_bias: Chainer initializer of b.
        linear_experts (bool): Add Σᵢ (Wᵢᵀf(x) + cᵢ) as it is, as the 2016 code did for images until 2016-11-04, instead
            of −Σᵢ log(1 + exp(Wᵢᵀf(x) + cᵢ)).
        experts_alone (bool): Leave out xᵀx/σ² and −bᵀx, as the paper author's code for images does.
        joinable (bool): Whether E(x⁺) and E(x⁻) may come from one pass of both batches, one after the other: no sample
            changes another's energy, or what couples them keeps the two batches apart (``chainer.config.n_splits``), as
            the BatchNormalization of :mod:`ddgm.fast.links` and :class:`ddgm.links.MinibatchDiscrimination` do.

    >>> import ddgm, chainer, chainer.functions as F, chainer.links as L, numpy
    >>> features = chainer.Sequential(L.Linear(2, 64), F.tanh)
    >>> energy_model = ddgm.DeepEnergyModel(features, L.Linear(64, 8), n_visible=2)
    >>> energy_model(numpy.zeros((100, 2), dtype=numpy.float32)).shape
    (100,)
    """

    def __init__(
            self, feature_extractor, experts, n_visible, sigma=1.0, initial_bias=0, linear_experts=False,
            experts_alone=False, joinable=False):
        if (feature_extractor is None) != (experts is None):
            raise ValueError('feature_extractor and experts: give both, or None for both')
        if experts is None and experts_alone:
            raise ValueError('experts_alone: there are no experts')
        if not numpy.all(numpy.asarray(sigma) > 0):
            raise ValueError('sigma is {}, it has to be above 0'.format(sigma))
        if numpy.shape(sigma) not in ((), (n_visible,)):
            raise ValueError('sigma is of shape {}: give one number, or {}'.format(numpy.shape(sigma), n_visible))
        super().__init__()
        if numpy.ndim(sigma):
            self.add_persistent('sigma', numpy.array(sigma, dtype=chainer.get_dtype()))
        else:
            self.sigma = sigma
        self.linear_experts = linear_experts
        self.joinable = joinable
        with self.init_scope():
            self.feature_extractor = feature_extractor
            self.experts = experts
            self.b = None if experts_alone else chainer.Parameter(initial_bias, (n_visible,))

    def forward(self, x):
        """E(x) in nats, (N, …) to (N,)."""
        if self.b is None:
            return self.expert_term(x)
        gaussian = self.quadratic_term(x) + self.bias_term(x)
        return gaussian if self.experts is None else gaussian + self.expert_term(x)

    def quadratic_term(self, x):
        """xᵀx/σ², or Σᵢ xᵢ²/σᵢ², in nats, (N, …) to (N,)."""
        return equations.quadratic_term(x, self.sigma)

    def bias_term(self, x):
        """−bᵀx in nats, (N, …) to (N,)."""
        return equations.bias_term(x, self.b)

    def expert_term(self, x):
        """−Σᵢ log(1 + exp(Wᵢᵀf(x) + cᵢ)) in nats, or with linear experts Σᵢ (Wᵢᵀf(x) + cᵢ): (N, …) to (N,)."""
        a = self.experts(self.feature_extractor(x))
        return F.sum(a, axis=1) if self.linear_experts else equations.expert_term(a)


class DeepGenerativeModel(chainer.Chain):
    """x = G(z) with z ~ U(−1, 1)ᵈ: ancestral sampling in one pass.  Subclasses define the layers and ``forward``.

    Args:
        n_latent (int): d.

    >>> import ddgm, chainer.functions as F, chainer.links as L, numpy
    >>> class Generator(ddgm.DeepGenerativeModel):
    ...     def __init__(self):
    ...         super().__init__(n_latent=4)
    ...         with self.init_scope():
    ...             self.l1, self.bn, self.l2 = L.Linear(4, 64), L.BatchNormalization(64), L.Linear(64, 2)
    ...     def forward(self, z):
    ...         return self.l2(F.relu(self.bn(self.l1(z))))
    >>> generator = Generator()
    >>> generator(generator.draw_latent(100, numpy.random.default_rng(0))).shape
    (100, 2)
    """

    def __init__(self, n_latent):
        super().__init__()
        self.n_latent = n_latent

    def draw_latent(self, n, rng):
        """Draw n of z ~ U(−1, 1)ᵈ from a NumPy generator: (n, d) float32 on the CPU, whatever the model's device.

        The same generator gives the same z for every device.
        """
        return 2 * rng.random((n, self.n_latent), dtype=numpy.float32) - 1

    def entropy(self):
        """Proxy for the entropy of P_G in nats, (): every BatchNormalization γ read as a Gaussian's standard deviation.

        Its gradient flows into γ.  It can't see layers without BatchNormalization: shrinking the last one collapses G
        and leaves the proxy as it was.  Raises ``ValueError`` where there is no γ at all, or one has no size yet.
        """
        links = [link for link in self.links() if isinstance(link, chainer.links.BatchNormalization)]
        gammas = [link.gamma for link in links if getattr(link, 'gamma', None) is not None]
        if not gammas:
            raise ValueError('{} has no BatchNormalization {}to read its entropy from'.format(
                type(self).__name__, 'with a γ ' if links else ''))
        if any(not gamma.is_initialized for gamma in gammas):
            raise ValueError('a γ of {} has no size before a first batch has passed'.format(type(self).__name__))
        return equations.gaussian_entropy(*gammas)
