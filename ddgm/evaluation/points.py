"""Any points as the data, with metrics that need no more of it than these."""

from __future__ import annotations

import dataclasses

import numpy
from numpy.random import Generator

from ddgm.data import points as files
from ddgm.data.standardization import Standardization
from ddgm.evaluation import metrics, normalization
from ddgm.evaluation.reference import Reference
from ddgm.support import randomness
from ddgm.support.errors import UsageError, counted
from ddgm.support.files import checksum


def window_of(points: numpy.ndarray) -> tuple | None:
    """What shows all points of the plane, (N, 2): the middle (x₁, x₂) and half the widths; ``None`` of any others.

    It is a square, unless one width is over three times the other, as where the columns have units of their own.
    """
    if points.shape[1] != 2:
        return None
    lowest, highest = points.min(axis=0), points.max(axis=0)
    half = 0.55 * (highest - lowest)
    is_square = not half.min() or half.max() <= 3 * half.min()
    return tuple(numpy.append((lowest + highest) / 2, numpy.full(2, half.max()) if is_square else half).tolist())


class OwnPoints(Reference):
    """Points (M, d) and what samples are held against: them, or a random choice of 2,500 where there are more.

    All of it is float64, and distances are taken after the points' mean is subtracted: far from 0 even float64 squares
    would lose them.

    Attributes:
        units (ddgm.data.standardization.Standardization): In which the points have mean 0 and standard deviation 1.
        measured_in (ddgm.data.standardization.Standardization): Units of the distances that metrics go by.
        window (tuple): What shows them all, see :func:`window_of`.

    Raises ``UsageError`` where they can't be a reference.
    """

    def __init__(self, points: numpy.ndarray):
        points = files.as_points(points, 'points')
        self.shape = points.shape[1:]
        if len(points) <= metrics.NEIGHBOUR or (points == points[0]).all():
            raise UsageError('the metrics need more than {} points to compare with, which are not all one'.format(
                metrics.NEIGHBOUR))
        self.window = window_of(points)
        self.units = Standardization.of(points)
        self.measured_in = dataclasses.replace(self.units, scale=(1.0,) * points.shape[1])
        self._points = points[randomness.metric_generator(randomness.REFERENCE_DATA).permutation(len(points))]

    def measured(self, x: numpy.ndarray) -> numpy.ndarray:
        return self.measured_in.standardized(x)

    def score(self, x: numpy.ndarray, energy=None, settings=None) -> dict:
        scores = super().score(x, energy)
        if energy is not None:
            scores.update(self._score_density(x, energy))
        return scores

    def _score_density(self, x, energy):
        """log Z in the user's units and the log-likelihood of the reference; ``log_z_missing`` says why there is none.

        Where log Z comes by importance sampling, ``log_z_error`` is its standard error.
        """
        reference, units = self.held_against(len(x)), self.units
        try:
            log_z, error = normalization.estimate(
                lambda u: energy(units.outward(u)), units.standardized(numpy.concatenate([x, reference])))
        except ValueError as error:
            return {'log_z': None, 'log_likelihood': None, 'log_z_missing': str(error)}
        log_z += units.log_volume
        return {
            'log_z': log_z, 'log_likelihood': float(-energy(reference).mean() - log_z),
            **({'log_z_error': error} if error else {})}

    def held_against(self, n: int) -> numpy.ndarray:
        return self._points[:metrics.N_SCORED]

    def known_data(self, n: int) -> list[numpy.ndarray]:
        return [self._points]

    def real_data(self, n: int) -> numpy.ndarray | None:
        left = self._points[metrics.N_SCORED:]
        return left[:n] if len(left) >= n else None

    def shown_data(self, n: int) -> numpy.ndarray:
        return self._points[:n]

    def conform(self, array: numpy.ndarray) -> numpy.ndarray:
        super().conform(array)
        return array.astype(numpy.float64)


class Points(OwnPoints):
    """A file of points to learn from: a tenth of them, 2,500 at most, is held out, and samples are held against that.

    Metrics go by distances in standard deviations of the points, so that no column counts for more than another.

    Args:
        path: The file, which :func:`ddgm.data.points.load` reads.

    Raises ``UsageError`` where a model can't learn from it.
    """

    real_name = 'training data'

    def __init__(self, path):
        points, note = files.load(path)
        points = files.check(points, path)
        self.fingerprint = checksum({'points': points}).tobytes().hex()
        points = points[randomness.metric_generator(randomness.HELD_OUT).permutation(len(points))]
        n_held_out = max(metrics.NEIGHBOUR + 1, min(metrics.N_SCORED, len(points) // 10))
        self._points, self._learned = points[:n_held_out], points[n_held_out:]
        self.shape, self.window = points.shape[1:], window_of(points)
        self.units = self.measured_in = self.standardization = Standardization.of(self._learned)
        self._inward = self.units.inward(self._learned)
        self.decides = {'n_visible': points.shape[1], 'n_latent': max(2, points.shape[1])}
        self.description = '{:,} points of {} to learn from, {:,} held out{}'.format(
            len(self._learned), counted(points.shape[1], 'column'), n_held_out, note and '; ' + note)

    def draw_data(self, n: int, rng: Generator) -> numpy.ndarray:
        return self._inward[rng.integers(len(self._inward), size=n)]

    def real_data(self, n: int) -> numpy.ndarray:
        return self._learned[:n]

    def likelihood_data(self) -> tuple[numpy.ndarray, numpy.ndarray]:
        return self._learned, self._points

    def shown_data(self, n: int) -> numpy.ndarray:
        return self._learned[:n]


def preset_for(path) -> str:
    """The name of the preset that suits a file of points."""
    return 'density' if files.load(path)[0].shape[1] <= 2 else 'calibrated'
