"""Networks for an energy that is a density of digits in grey: one σ and a well at black for each pixel.

Grey levels are whole numbers, on which a density can be as high as it likes.  So all that the energy learns from has
uniform noise of the width of one level, data and the generator's samples alike.
"""

from __future__ import annotations

import chainer
import numpy
from chainer import initializers

from ddgm.fast import functions as F, links as L
from ddgm.fast.noise import GREY_LEVELS
from ddgm.models import DeepEnergyModel

SMALLEST_SCALE = 0.1  # of a pixel as f sees it, so that rare ones are not all it sees
# Of a well: where tanh bends, and its slope, which is how deep it can be.  Narrower ones say more of digits, but the
# chains that find log Z then take far more steps.
BLACK, WELL_WIDTH, WELL_SLOPE = 0.5 / GREY_LEVELS, 0.3, 4.0


class FeaturesAndDistances(chainer.Chain):
    """f(x): features, and beside them how far each pixel is from black, tanh(((x − black)/width)²).

    Args:
        features: A link from (N, 2·D) to (N, features); it sees x, whose mean is taken out, and the distances.
        n_visible (int): D.
    """

    def __init__(self, features, n_visible):
        super().__init__()
        self.add_persistent('mean', numpy.zeros(n_visible, dtype=chainer.get_dtype()))
        self.add_persistent('scale', numpy.ones(n_visible, dtype=chainer.get_dtype()))
        with self.init_scope():
            self.features = features

    def forward(self, x):
        """(N, D) to (N, features + D) in −1…1."""
        distances = F.tanh(((x - BLACK) / WELL_WIDTH) ** 2)
        return F.concat([self.features(F.concat([(x - self.mean) * self.scale, distances])), distances])


class ExpertsAndWells(chainer.Chain):
    """Arguments of the experts: W·features + c of the first, and of one for each pixel cᵢ − wᵢ·distance.

    Args:
        n_experts (int): Features, and experts of them.
        n_visible (int): Pixels.
        initial_weight: Chainer initializer of W.
    """

    def __init__(self, n_experts, n_visible, initial_weight):
        super().__init__()
        with self.init_scope():
            self.experts = L.Linear(n_experts, n_experts, initialW=initial_weight)
            self.slopes = chainer.Parameter(WELL_SLOPE, (n_visible,))
            self.depths = chainer.Parameter(initializers.NaN(chainer.get_dtype()))

    def forward(self, f):
        """(N, features + D) to (N, experts + D)."""
        n = f.shape[1] - self.slopes.size
        wells = F.bias(-F.scale(f[:, n:], self.slopes), self.depths)
        return F.concat([self.experts(f[:, :n]), wells])


class DigitDensity(DeepEnergyModel):
    """E(x) with σᵢ and bᵢ of each pixel's own Gaussian, and an expert for each pixel that makes a well at black.

    What it takes from data it has from the first batch, as weight normalization does: means and variances of the
    pixels, and the depths of their wells.  Until then these depths are uninitialized.  With small weights of the other
    experts it begins as the density of pixels by themselves.

    Args:
        features: A link from (N, 2·D) to (N, n_experts), whose last layer ends in tanh.
        n_experts (int): Experts of these features.
        n_visible (int): D, the pixels.
        initial_weight: Chainer initializer of W.
    """

    def __init__(self, features, n_experts, n_visible, initial_weight):
        super().__init__(
            FeaturesAndDistances(features, n_visible), ExpertsAndWells(n_experts, n_visible, initial_weight), n_visible,
            sigma=numpy.ones(n_visible), joinable=True)

    def forward(self, x):
        if not self.experts.depths.is_initialized:
            self._start_from(x)
        return super().forward(x)

    def _start_from(self, x):
        levels = (chainer.cuda.to_cpu(x) * GREY_LEVELS).clip(0, GREY_LEVELS - 1).astype(numpy.uint8)
        mean, variance = moments(levels)
        depths, _ = depths_of_wells(levels)
        self.experts.depths.initialize(depths.shape)
        for array, start in (
                (self.sigma, numpy.sqrt(2 * variance)), (self.b.array, mean / variance),
                (self.feature_extractor.mean, mean),
                (self.feature_extractor.scale, 1 / numpy.sqrt(variance + SMALLEST_SCALE ** 2)),
                (self.experts.depths.array, depths)):
            array[...] = self.device.send(start.astype(array.dtype))


# ---- the density of pixels by themselves

def moments(levels):
    """Mean and variance of each pixel of grey levels with uniform noise, in 0…1: (M, D) uint8 to (D,) each."""
    mean = levels.mean(axis=0)
    variance = numpy.square(levels, dtype=numpy.uint16).mean(axis=0) - mean ** 2 + 1 / 12
    return (mean + 0.5) / GREY_LEVELS, variance / GREY_LEVELS ** 2


def depths_of_wells(levels, n_rounds=100):
    """cᵢ of each pixel by itself, (D,), of greatest likelihood, and how much of its Gaussian's mass a well keeps.

    (1 + exp(cᵢ − w·t))·N(x) is N(x) + exp(cᵢ)·exp(−w·t)·N(x), a mixture whose shares expectation maximization finds.
    ``levels`` are (M, D) uint8.
    """
    mean, variance = moments(levels)
    deviation, step = numpy.sqrt(variance), 1e-3
    y = numpy.arange(-5, 5, step)
    kept = numpy.array([
        (well(m + s * y) * numpy.exp(-0.5 * y * y)).sum() * step / numpy.sqrt(2 * numpy.pi)
        for m, s in zip(mean, deviation)])
    counts = numpy.stack([numpy.bincount(pixel, minlength=GREY_LEVELS) for pixel in levels.T], axis=1)
    grid = ((numpy.arange(GREY_LEVELS) + 0.5) / GREY_LEVELS)[:, None]
    ratio, share = well(grid) / kept, numpy.full(len(mean), 0.5)
    for _ in range(n_rounds):
        of_well = share * ratio
        share = (counts * of_well / (of_well + 1 - share)).sum(axis=0) / len(levels)
        share = share.clip(1e-4, 1 - 1e-4)
    return numpy.log(share / (1 - share)) - numpy.log(kept), kept


def well(x):
    """exp(−w·t) of a pixel as wells begin, (…) to (…)."""
    return numpy.exp(-WELL_SLOPE * numpy.tanh(((x - BLACK) / WELL_WIDTH) ** 2))
