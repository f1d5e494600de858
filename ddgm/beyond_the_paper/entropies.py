"""Entropies of the generator's samples themselves, in place of the one that the paper reads from γ."""

import math

import numpy
from chainer import backend

from ddgm.fast import functions as F
from ddgm.fast.elementary import FirstOrderFunction


class _NeighbourEntropy(FirstOrderFunction):

    smallest_square = 1e-12  # of a distance, so that points that coincide have a finite entropy

    def __init__(self, others, k):
        self.others = others
        self.k = k

    def forward_array(self, x):
        dimension, others = x.shape[1], self.others
        centre, radius = getattr(self.kernels, 'nearest', nearest)(x, others, self.k)
        radius = self.xp.maximum(radius, x.dtype.type(self.smallest_square))
        self.score = (dimension + 2) / radius * (centre - x)
        log_ball = dimension / 2 * math.log(math.pi) - math.lgamma(dimension / 2 + 1)
        harmonic = sum(1 / i for i in range(self.k, len(others) + 1))  # digamma(M + 1) − digamma(k)
        return self.xp.asarray(
            harmonic + log_ball + dimension / 2 * self.xp.log(radius).mean(), dtype=x.dtype)

    def backward_arrays(self, indexes, inputs, grad_output):
        return (-grad_output / len(self.score)) * self.score,


def nearest(x, others, k):
    """The mean of the k points of ``others``, (M, D), that are nearest to each x, (N, D); the largest squared distance.

    An array (N, D), and one (N, 1).
    """
    # A coordinate at a time: exact for near points.
    squares = sum((x[:, i:i + 1] - others[:, i]) ** 2 for i in range(x.shape[1]))
    indexes = indexes_of_smallest(squares, k)
    radius = backend.get_array_module(x).take_along_axis(squares, indexes, axis=1).max(axis=1, keepdims=True)
    return others[indexes].mean(axis=1), radius


def indexes_of_smallest(values, k):
    """The indexes (N, k), in any order, of the k smallest numbers in each row of an array (N, M).

    A row falls into groups of 16.  The smallest numbers lie in the k groups with the smallest minima, so only those are
    searched; partitioning whole rows takes several times as long.
    """
    xp, size = backend.get_array_module(values), 16
    n_groups = values.shape[1] // size
    if k >= n_groups:
        return xp.argpartition(values, k - 1, axis=1)[:, :k]
    minima = values[:, :size * n_groups].reshape(-1, size, n_groups).min(axis=1)
    groups = xp.argpartition(minima, k - 1, axis=1)[:, :k]
    members = groups[:, None] + n_groups * xp.arange(size)[:, None]
    alone = xp.arange(size * n_groups, values.shape[1])  # in no group
    places = xp.concatenate(
        [members.reshape(len(values), -1), xp.broadcast_to(alone, (len(values), len(alone)))], axis=1)
    smallest = xp.argpartition(xp.take_along_axis(values, places, axis=1), k - 1, axis=1)[:, :k]
    return xp.take_along_axis(places, smallest, axis=1)


def neighbour_entropy(x, others, k):
    """The entropy of the distribution that points come from, in nats, by their distances to others from it.

    Kozachenko & Leonenko 1987: log of the volume of the ball around each x that reaches to its k-th neighbour among
    ``others``, in the mean, and digamma(M + 1) − digamma(k).  The gradient is not that of this estimate: since the
    density's own change adds nothing to −E[log p(x)], it is −∇ log p(x)/N, by the shift from x to the mean of its k
    neighbours, (D + 2)/r²·(mean − x) (Fukunaga & Hostetler 1975), which is less noisy than one distance.

    ``x`` is (N, D), a variable, ``others`` (M, D), an array, fresh points of the same distribution; the result ().
    Raises ``ValueError`` where M < k.
    """
    if len(others) < k:
        raise ValueError('{} points have no neighbour number {}'.format(len(others), k))
    return _NeighbourEntropy(others, k)(x)


class _LogVolume(FirstOrderFunction):

    smallest = 1e-12  # added to JᵀJ's diagonal: a generator that is flat somewhere has a finite entropy

    def forward_array(self, J):
        exact = J.astype(numpy.float64)  # JᵀJ squares how ill-conditioned J is
        gram = exact.transpose(0, 2, 1) @ exact + self.smallest * self.xp.eye(J.shape[2])
        self.gradient = (exact @ self.xp.linalg.inv(gram)).astype(J.dtype)
        return (0.5 * self.xp.linalg.slogdet(gram)[1]).astype(J.dtype)

    def backward_arrays(self, indexes, inputs, grad_output):
        return grad_output[:, None, None] * self.gradient,


def log_determinant(J):
    """½ log det JᵀJ, by how much a map with the Jacobian J stretches volumes, in nats.

    ``J`` is (N, out, in) with out ≥ in; the result (N,).  Where out = in that is log |det J|.
    """
    return _LogVolume()(J)


def volume_entropy(generative_model, z, difference=1e-2):
    """The entropy of P_G in nats, (), exact where G is one-to-one: log 2ᵈ + the mean of ½ log det JᵀJ.

    J is G's Jacobian at each of ``z``, (N, d) on the model's device, by central differences of this width; all of them
    pass as one batch, so that BatchNormalization takes them for one map.  Where G has more outputs than inputs the
    entropy is that on the surface that G draws; where G folds, it counts every layer.  Raises ``ValueError`` where G
    has fewer outputs than inputs.
    """
    n, d = z.shape
    xp = generative_model.xp
    steps = difference * xp.concatenate([xp.eye(d), -xp.eye(d)]).astype(z.dtype)
    x = generative_model((z + steps[:, None]).reshape(-1, d))
    x = F.reshape(x, (2, d, n, -1))
    if x.shape[3] < d:
        raise ValueError('{} numbers from {}: no volume of that dimension'.format(x.shape[3], d))
    jacobian = F.transpose((x[0] - x[1]) / (2 * difference), (1, 2, 0))
    return F.mean(log_determinant(jacobian)) + d * math.log(2)
