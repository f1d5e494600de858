"""The paper's two losses, in nats; means over a batch stand for expectations."""

from __future__ import annotations

from collections.abc import Iterable

import chainer

from ddgm.fast import functions as F


def mean_energy(energy: chainer.Variable) -> chainer.Variable:
    """The mean of E over a batch: the positive phase of data, the negative phase of samples.  (N,) to ()."""
    return F.mean(energy)


def energy_model_loss(positive_phase: chainer.Variable, negative_phase: chainer.Variable) -> chainer.Variable:
    """E[E(x⁺)] − E[E(x⁻)], () from (), ().

    Where x⁻ follows the model, its gradient is that of the negative log-likelihood (section 2 of the paper).
    """
    return positive_phase - negative_phase


def weighted_sum(entropies: Iterable[chainer.Variable], weights: Iterable[float]) -> chainer.Variable:
    """Σ weight·H, () from several H, (): the paper's has one, with weight 1; 0 of none."""
    terms = [H if weight == 1 else weight * H for H, weight in zip(entropies, weights)]
    return sum(terms[1:], terms[0]) if terms else 0.0


def generator_loss(negative_phase: chainer.Variable, entropy: chainer.Variable) -> chainer.Variable:
    """E[E(G(z))] − H, () from (), ().

    With the entropy of P_G for H it is the divergence KL(P_G ‖ P) less log Z (section 3.2 of the paper).
    """
    return negative_phase - entropy
