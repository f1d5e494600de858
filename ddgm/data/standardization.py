"""The units of a user's own points: what they are moved and divided by before a model sees them."""

from __future__ import annotations

import dataclasses

import numpy


@dataclasses.dataclass(frozen=True)
class Standardization:
    """Points (N, d) with mean and standard deviation of one and of another set of units.

    All of it is float64: points far from 0 would lose their differences in float32.

    Attributes:
        mean, scale (tuple): Of each of the d columns; no scale is 0.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]

    @classmethod
    def of(cls, points: numpy.ndarray) -> Standardization:
        """The mean and the standard deviation of each column of (N, d); a constant column keeps its own units."""
        points = numpy.asarray(points, dtype=numpy.float64)
        deviation = points.std(axis=0)
        return cls(tuple(points.mean(axis=0).tolist()), tuple(numpy.where(deviation > 0, deviation, 1).tolist()))

    @property
    def log_volume(self) -> float:
        """log of the user's volume in one of the model's: to be taken from a log-density of the model, in nats."""
        return float(numpy.log(self.scale).sum())

    def standardized(self, x: numpy.ndarray) -> numpy.ndarray:
        """The user's points in the model's units: (N, d) to float64."""
        return (numpy.asarray(x, dtype=numpy.float64) - self.mean) / self.scale

    def inward(self, x: numpy.ndarray) -> numpy.ndarray:
        """The user's points as the model takes them: (N, d) to float32."""
        return self.standardized(x).astype(numpy.float32)

    def outward(self, x: numpy.ndarray) -> numpy.ndarray:
        """The model's points in the user's units: (N, d) to float64."""
        return numpy.asarray(x, dtype=numpy.float64) * self.scale + self.mean
