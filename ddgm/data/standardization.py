"""The units of a user's own points: what they are moved and divided by before a model sees them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy


class Units:
    """Those of x that a user has; here the model's are the same."""

    log_volume = 0.0

    def inward(self, x: numpy.ndarray) -> numpy.ndarray:
        """The user's x, (N, …), as the model takes them."""
        return x

    def outward(self, x: numpy.ndarray) -> numpy.ndarray:
        """The model's x, (N, …), in the user's units."""
        return x

    def taking_users(self, energy: Callable) -> Callable:
        """A function of arrays in the model's units as one of arrays in the user's."""
        return lambda x: energy(self.inward(x))


@dataclasses.dataclass(frozen=True)
class Standardization(Units):
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

    @classmethod
    def of_json(cls, told: dict | None) -> Standardization | None:
        """What ``settings.json`` tells of, if anything; raises an error of many kinds where it is none."""
        if told is None:
            return None
        units = cls(*(tuple(map(float, told[name])) for name in ('mean', 'scale')))
        are_finite = numpy.isfinite(units.mean + units.scale).all()
        if len(units.mean) != len(units.scale) or not are_finite or min(units.scale) <= 0:
            raise ValueError('{!r} is no standardization'.format(told))
        return units

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
