"""The paper's two losses, in nats; means over a batch stand for expectations."""

from ddgm import functions


def mean_energy(energy):
    """The mean of E over a batch: the positive phase where it is data, the negative phase where it is samples.

    (N,) to ().
    """
    return functions.mean(energy)


def energy_model_loss(positive_phase, negative_phase):
    """E[E(x⁺)] − E[E(x⁻)], () from (), ().

    Where x⁻ follows the model, its gradient is that of the negative log-likelihood (section 2 of the paper).
    """
    return functions.difference(positive_phase, negative_phase)


def generator_loss(negative_phase, entropy):
    """E[E(G(z))] − H, () from (), ().

    With the entropy of P_G for H it is the divergence KL(P_G ‖ P) less log Z (section 3.2 of the paper).
    """
    return functions.difference(negative_phase, entropy)
