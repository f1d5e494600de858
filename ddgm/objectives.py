"""The paper's two losses, in nats; means over a batch stand for expectations."""

import chainer.functions as F


def phase(energy):
    """The mean energy of a batch: the positive phase on data, the negative phase on samples.  (N,) to ()."""
    return F.mean(energy)


def energy_model_loss(positive_phase, negative_phase):
    """E[E(x⁺)] − E[E(x⁻)]: its gradient is that of the negative log-likelihood when x⁻ follows the model (section 2)."""
    return positive_phase - negative_phase


def generator_loss(negative_phase, entropy):
    """E[E(G(z))] − H: the Kullback-Leibler divergence from P to P_G up to log Z, with H the proxy entropy (section 3.2)."""
    return negative_phase - entropy
