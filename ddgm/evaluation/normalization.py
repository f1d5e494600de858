"""log Z of an energy, by whatever tells it for data of one shape; see METRICS for its place among the metrics."""

from __future__ import annotations

import numpy

from ddgm.evaluation import quadrature


def log_z(energy, x: numpy.ndarray) -> float:
    """log Z = log ∫ exp(−E(x)) dx, in nats.

    Args:
        energy: E as a function of arrays, (N, …) to (N,) float64.
        x: Samples (N, …), which show where the mass lies.

    Raises ``ValueError`` with the reason where it can't be told.
    """
    if x.shape[1:] != (2,):
        raise ValueError('log Z is known in the plane alone')
    return quadrature.density(energy, x).log_z
