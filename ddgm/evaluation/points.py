"""Any points of the plane as the data, with metrics that need no more of it than these."""

from ddgm.evaluation import metrics
from ddgm.evaluation.toy import Plane, score_energy
from ddgm.support import randomness
from ddgm.support.errors import UsageError


class OwnPoints(Plane):
    """Points (M, 2) and what samples are held against: them, or a random choice of 2,500 where there are more.

    Attributes:
        window (tuple): The middle (x₁, x₂) and half the width of a square that shows them all.

    Raises ``UsageError`` where they can't be a reference.
    """

    def __init__(self, points):
        points = self.conform(points)
        lowest, highest = points.min(axis=0).astype(float), points.max(axis=0).astype(float)
        if len(points) <= metrics.NEIGHBOUR or (lowest == highest).all():
            raise UsageError('the metrics need more than {} points to compare with, which are not all one'.format(
                metrics.NEIGHBOUR))
        self.window = (*((lowest + highest) / 2), 0.55 * (highest - lowest).max())
        self.exact_energy = None
        self._points = points[randomness.metric_generator(randomness.REFERENCE_DATA).permutation(len(points))]

    def score(self, x, energy=None, settings=None):
        """The metrics of samples by name; with the energy of a run those of it too."""
        reference = self._points[:metrics.N_SCORED]
        scores = {
            'sliced_wasserstein_2': metrics.sliced_wasserstein_2(x, reference),
            'mmd2': metrics.mmd2(x, reference),
            **metrics.neighbour_scores(x, reference),
        }
        if energy is not None:
            scores.update(score_energy(energy, x, reference))
        return scores

    def real_data(self, n):
        """n points that samples are not held against, or ``None`` where there are fewer."""
        left = self._points[metrics.N_SCORED:]
        return left[:n] if len(left) >= n else None

    def shown_data(self, n):
        """n points for a picture, or all where there are fewer."""
        return self._points[:n]
