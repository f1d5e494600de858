"""The plane and the post's two distributions in it: samplers, the mixture's exact density, the roll's exact curve."""

import numpy

from ddgm.fast.threads import for_each


def cells_of_square(half_width, n):
    """The centres (n², 2) and the width of n×n cells that fill the square |x₁|, |x₂| ≤ ``half_width``, row by row."""
    width = 2 * half_width / n
    places = (numpy.arange(n) + 0.5) * width - half_width
    return numpy.stack(numpy.meshgrid(places, places), axis=-1).reshape(-1, 2), width


class GaussianMixture:
    """Ten elongated Gaussians like the petals of a flower; they overlap at the origin.

    Component k is N((1.4, 0), diag(0.5², 0.05²)) rotated by 2πk/10.
    """

    entropy = 1.43306  # differential, in nats, by quadrature
    n_components = 10
    distance = 1.4
    standard_deviations = numpy.array([0.5, 0.05])

    def __init__(self):
        self.angles = 2 * numpy.pi * numpy.arange(self.n_components) / self.n_components

    def sample(self, n, rng):
        """Draw n points from a NumPy generator: (n, 2) float32."""
        angles = self.angles[rng.integers(self.n_components, size=n)]
        u, v = (rng.standard_normal((n, 2)) * self.standard_deviations).T
        u += self.distance
        cos, sin = numpy.cos(angles), numpy.sin(angles)
        return numpy.stack([u * cos - v * sin, u * sin + v * cos], axis=1).astype(numpy.float32)

    def mahalanobis(self, x):
        """Distance of each point to each component in standard deviations: (N, 2) to (N, 10), float64."""
        x = numpy.asarray(x, dtype=numpy.float64)
        cos, sin = numpy.cos(self.angles), numpy.sin(self.angles)
        # Points turned back into each component's own axes.
        u = numpy.outer(x[:, 0], cos) + numpy.outer(x[:, 1], sin) - self.distance
        v = numpy.outer(x[:, 1], cos) - numpy.outer(x[:, 0], sin)
        return numpy.hypot(u / self.standard_deviations[0], v / self.standard_deviations[1])

    def log_density(self, x):
        """log p(x) in nats, exact: (N, 2) to (N,), float64."""
        log_components = -0.5 * self.mahalanobis(x) ** 2
        log_normalization = numpy.log(2 * numpy.pi * self.standard_deviations.prod() * self.n_components)
        return numpy.logaddexp.reduce(log_components, axis=1) - log_normalization


class SwissRoll:
    """A spiral without thickness: x = (r cos θ, r sin θ) with r = 3√u, θ = 4π√u.

    u = U(0, 3)/10 + k/10 with k uniform in 0…9, so u runs over [0, 1.2) and its density is a staircase at both ends.
    The data has no density in the plane.
    """

    n_steps = 10
    step_width = 3.0  # in steps: neighbours overlap

    def __init__(self):
        # u's distribution function is linear between multiples of 1/n_steps: a sum of n_steps uniform ones.
        self._knots = numpy.arange(self.n_steps + int(self.step_width)) / self.n_steps
        starts = numpy.arange(self.n_steps) / self.n_steps
        covered = (self._knots[:, None] - starts) * self.n_steps / self.step_width
        self._distribution = numpy.clip(covered, 0, 1).mean(axis=1)
        # Vertices 0.006 apart; a chord of that length leaves the curve by less than 1e-5 at radii that matter.
        self._s = numpy.linspace(0, numpy.sqrt(self._knots[-1]), 4001)
        self._vertices = self.curve(self._s)

    def sample(self, n, rng):
        """Draw n points from a NumPy generator: (n, 2) float32."""
        u = (rng.uniform(0, self.step_width, size=n) + rng.integers(self.n_steps, size=n)) / self.n_steps
        return self.curve(numpy.sqrt(u)).astype(numpy.float32)

    def curve(self, s):
        """The point of the spiral at s = √u: (N,) to (N, 2), float64."""
        radius, angle = 3 * s, 4 * numpy.pi * s
        return numpy.stack([radius * numpy.cos(angle), radius * numpy.sin(angle)], axis=-1)

    def nearest(self, x):
        """The nearest place on the curve of each point.

        (N, 2) to the distance (N,) and to the share of the data (N,) that lies before that place along the curve, both
        float64.
        """
        x = numpy.asarray(x, dtype=numpy.float64)
        u, v = self._vertices.T.copy()

        def nearest_vertices(first):
            part = x[first:first + 32]
            return ((part[:, :1] - u) ** 2 + (part[:, 1:] - v) ** 2).argmin(axis=1)
        nearest_vertex = numpy.concatenate([numpy.empty(0, int), *for_each(nearest_vertices, range(0, len(x), 32))])
        # The nearest place lies on one of the two chords that meet at the nearest vertex.
        distances, places = [], []
        for first in (numpy.maximum(nearest_vertex - 1, 0), numpy.minimum(nearest_vertex, len(self._s) - 2)):
            start, chord = self._vertices[first], self._vertices[first + 1] - self._vertices[first]
            along = numpy.clip(((x - start) * chord).sum(axis=1) / (chord ** 2).sum(axis=1), 0, 1)
            distances.append(numpy.linalg.norm(x - start - along[:, None] * chord, axis=1))
            places.append(self._s[first] + along * (self._s[1] - self._s[0]))
        distances, places = numpy.stack(distances), numpy.stack(places)
        better = distances.argmin(axis=0), numpy.arange(len(x))
        return distances[better], self.data_share(places[better])

    def pieces(self):
        """The curve cut into short pieces: their middles (4000, 2) and the shares of the data (4000,) on them."""
        return self.curve((self._s[1:] + self._s[:-1]) / 2), numpy.diff(self.data_share(self._s))

    def data_share(self, s):
        """The probability that a data point lies before s on the curve: (N,) to (N,), from 0 to 1."""
        return numpy.interp(s ** 2, self._knots, self._distribution)
