"""log Z in many dimensions between two ends, where it is known, and where one end alone would mislead."""

import itertools
import math

import chainer
import numpy
import pytest
from chainer import functions as F, links as L

from ddgm.evaluation import annealing, quadrature, sampling
from ddgm.links import MinibatchDiscrimination
from ddgm.models import DeepEnergyModel

N = 64


def mixture(n_numbers, n_hidden, norm, rng):
    """Experts of f(x) = x: 2ⁿ Gaussians of equal shares whose means lie ``norm`` apart; with log Z, and samples."""
    W = numpy.linalg.qr(rng.standard_normal((n_numbers, n_hidden)))[0].T * 2 * norm
    experts = L.Linear(n_numbers, n_hidden, initialW=W, initial_bias=-(W ** 2).sum(axis=1) / 4)
    model = DeepEnergyModel(F.identity, experts, n_numbers)
    hidden = numpy.array(list(itertools.product([0, 1], repeat=n_hidden)))
    log_z = n_numbers / 2 * math.log(math.pi) + n_hidden * math.log(2)
    chosen = hidden[rng.integers(len(hidden), size=N)]
    return model, log_z, (chosen @ W / 2 + math.sqrt(0.5) * rng.standard_normal((N, n_numbers)))
