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


def energy_penalty(positive_phase, negative_phase, weight):
    """weight·(E[E(x⁺)²] + E[E(x⁻)²]), () from the energies (N,) and (M,): it keeps the energy from running away.

    Beyond the paper.  Adding a constant to E changes no density, so this mostly chooses that constant and a scale; what
    it does to the density, ``python -m ddgm.studies calibration`` measures.
    """
    return functions.scaled(
        functions.total(functions.mean_square(positive_phase), functions.mean_square(negative_phase)), weight)


def weighted_sum(*entropies):
    """Σ weight·H, () from pairs of H, (), and its weight."""
    terms = [entropy if weight == 1 else functions.scaled(entropy, weight) for entropy, weight in entropies]
    return terms[0] if len(terms) == 1 else functions.total(*terms)


def generator_loss(negative_phase, entropy):
    """E[E(G(z))] − H, () from (), ().

    With the entropy of P_G for H it is the divergence KL(P_G ‖ P) less log Z (section 3.2 of the paper).
    """
    return functions.difference(negative_phase, entropy)
