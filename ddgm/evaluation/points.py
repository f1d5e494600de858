"""Any points of the plane as the data, with metrics that need no more of it than these."""

from __future__ import annotations

import numpy

from ddgm.evaluation import metrics
from ddgm.evaluation.plane import score_energy
from ddgm.evaluation.reference import Reference
from ddgm.support import randomness
from ddgm.support.errors import UsageError


class OwnPoints(Reference):
    """Points (M, 2) and what samples are held against: them, or a random choice of 2,500 where there are more.

    Attributes:
        window (tuple): The middle (x₁, x₂) and half the width of a square that shows them all.

    Raises ``UsageError`` where they can't be a reference.
    """

    shape = 2,

    def __init__(self, points: numpy.ndarray):
        points = self.conform(points)
        lowest, highest = points.min(axis=0).astype(float), points.max(axis=0).astype(float)
        if len(points) <= metrics.NEIGHBOUR or (lowest == highest).all():
            raise UsageError('the metrics need more than {} points to compare with, which are not all one'.format(
                metrics.NEIGHBOUR))
        self.window = (*((lowest + highest) / 2), 0.55 * (highest - lowest).max())
        self._points = points[randomness.metric_generator(randomness.REFERENCE_DATA).permutation(len(points))]

    def score(self, x: numpy.ndarray, energy=None, settings=None) -> dict:
        scores = super().score(x)
        if energy is not None:
            scores.update(score_energy(energy, x, self.held_against(len(x))))
        return scores

    def held_against(self, n: int) -> numpy.ndarray:
        return self._points[:metrics.N_SCORED]

    def known_data(self, n: int) -> list[numpy.ndarray]:
        return [self._points]

    def real_data(self, n: int) -> numpy.ndarray | None:
        left = self._points[metrics.N_SCORED:]
        return left[:n] if len(left) >= n else None

    def shown_data(self, n: int) -> numpy.ndarray:
        return self._points[:n]
