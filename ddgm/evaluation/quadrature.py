"""The density of an energy in the plane: log Z and divergences, by quadrature."""

import functools
import math

import numpy

from ddgm.data.distributions import cells_of_square
from ddgm.fast.threads import for_each

# The square in the middle and the frames around it: half the width, and the number of cells in a row.
_GRIDS = [(6, 600)] + [(6 * 2 ** i, 192 if i < 3 else 96) for i in range(1, 13)]
_SMALLEST = 1e-7  # width of a cell; float32 tells apart little more
_MOST = 2 ** 23  # cells of one width
_FINER = 32  # how many times narrower the cells around a peak are made
_STEEP = 5  # nats by which E may fall within a cell from its centre on; a Gaussian so wide as a cell is summed well
_N_PEAKS = 100
_N_WITHIN = 20_000  # places within cells that are looked at in the end
_STEPS = numpy.array([[0, 0], [-1, -1], [-1, 0], [-1, 1], [0, -1], [0, 1], [1, -1], [1, 0], [1, 1]])


class Density:
    """P(x) = exp(−E(x))/Z on cells of the plane, so narrow where it has mass that sums over them tell its integrals.

    Attributes:
        log_z (float): log Z.
        centres (numpy.ndarray): Of all cells that hold mass, (K, 2).
        log_densities (numpy.ndarray): log P there, (K,), in nats.
        masses (numpy.ndarray): What each cell holds of P, (K,).
    """

    _NEGLIGIBLE = 1e-15  # of the mass, in one cell

    def __init__(self, log_z, cells, square):
        self.log_z = log_z
        centres, energies, log_masses = cells
        masses = numpy.exp(log_masses - _log_sum(log_masses))
        counts = masses > self._NEGLIGIBLE
        self.centres, self.log_densities, self.masses = centres[counts], -energies[counts] - log_z, masses[counts]
        self._square = square

    def divergence_from(self, log_density):
        """KL(P‖p), in nats: how much of P lies where another density has none.

        ``log_density`` is log p as a function of points, (N, 2) to (N,).  Raises ``ValueError`` where the outermost
        frame of cells still adds to it: then P has so heavy a tail that it is infinite.
        """
        parts = self.masses * (self.log_densities - _in_parts(log_density, self.centres))
        if abs(parts[abs(self.centres).max(axis=1) > _GRIDS[-2][0]].sum()) > 1e-3:
            raise ValueError('the tail of P is so heavy that KL(P‖p) is infinite')
        return float(parts.sum())

    def divergence_of(self, log_density):
        """KL(p‖P), in nats: how much of another density lies where P has none.

        p has its mass within the square in the middle, and no structure there that is narrower than two of its cells.
        """
        centres, width, energies = self._square
        log_p = _in_parts(log_density, centres)
        return float((numpy.exp(log_p) * (log_p + energies + self.log_z)).sum() * width ** 2)


def density(energy, points=None, tolerance=1e-5):
    """P of an energy, a function of points (N, 2), whose normalizer is found by the midpoint rule; a :class:`Density`.

    Cells are halved where there is mass.  They are 0.02 wide up to 6 from the origin, a 48th of their distance up to
    24, and a 24th further out, where frames of them reach to 24,576.  The cells of a frame are halved until that
    changes log Z by less than ``tolerance``.  A peak of exp(−E) that is narrower than its cell is found where E falls
    towards it from further away, or where one of ``points`` (N, 2) lies on it; the cells around it are made narrower
    first.  So are those that a thin band passes, which tells of itself by how steep E is beside it.  In the end places
    within the cells are held against their centres.

    Raises ``ValueError`` where exp(−E) is 0 everywhere, is not finite, is too steep, still has mass in the outermost
    frame, or has structure that the cells don't see.
    """
    frames, starts = _frames_and_valleys(energy)
    square = frames[0].centres, frames[0].width, frames[0].energies
    if points is not None:
        starts.append((points, energy(points), numpy.full(len(points), frames[0].width)))
    peaks, heights = _climb(energy, *map(numpy.concatenate, zip(*starts)))
    parts = [list(_resolved(energy, cells, peaks, heights, tolerance)) for cells in frames]
    _follow_bands(energy, parts, tolerance)
    log_z = _log_mass(energy, sum(parts, []), parts[-1], tolerance)
    cells = [each for part in parts for cells in part for each in cells.all()]
    cells = [numpy.concatenate(arrays) for arrays in zip(*cells)]
    _check_within(energy, *cells)
    return Density(log_z, cells, square)


def log_partition(energy, points=None, tolerance=1e-5):
    """log Z = log ∫ exp(−E(x)) dx over the plane, as :func:`density` finds it."""
    return density(energy, points, tolerance).log_z


def _frames_and_valleys(energy):
    """The cells of the square in the middle and of each frame, and where E is lowest among neighbours.

    Of those a triple for each: places (K, 2), energies (K,) and widths of the cells (K,).
    """
    frames, valleys, inner = [], [], 0
    for half_width, n in _GRIDS:
        centres, width = cells_of_square(half_width, n)
        energies = numpy.asarray(energy(centres), dtype=numpy.float64)
        lowest = _lowest_among_neighbours(energies)
        valleys.append((centres[lowest], energies[lowest], numpy.full(len(lowest), width)))
        in_frame = abs(centres).max(axis=1) > inner
        frames.append(_Cells(centres[in_frame], width, energies[in_frame], _falls(energies, n, width)[in_frame]))
        inner = half_width
    return frames, valleys


def _log_mass(energy, parts, outermost, tolerance):
    """log of the mass of all parts, whose cells are halved until that changes it by less than the tolerance."""
    unsettled, log_z = parts, _log_sum([cells.log_mass for cells in parts])
    while unsettled:
        _check_outermost(outermost, log_z, tolerance)
        # Cells that are not halved any more hold less than the tolerance, even if each holds exp(10) times what its
        # centre says.
        threshold = _threshold([cells.log_masses for cells in parts], log_z + math.log(tolerance) - 10)
        for cells in unsettled:
            cells.halve(energy, threshold)
        log_z = _log_sum([cells.log_mass for cells in parts])
        unsettled = [cells for cells in unsettled if not cells.is_settled(log_z, tolerance)]
    masses = [cells.mass(log_z) for cells in parts]
    return log_z + math.log(sum(masses))


def _check_outermost(parts, log_z, tolerance):
    """Raise ``ValueError`` where there is no mass, or the outermost frame still has some."""
    if log_z == -math.inf:
        raise ValueError('exp(-E) is 0 everywhere')
    if _log_sum([cells.log_mass for cells in parts]) > log_z + math.log(tolerance):
        raise ValueError('exp(-E) still has mass {:,} away from the origin'.format(_GRIDS[-2][0]))


def _check_within(energy, centres, energies, log_masses):
    """Raise ``ValueError`` where places within the cells tell of another mass than their centres do.

    Structure that is finer than the cells may look the same at all centres, however often they are halved.
    """
    rng = numpy.random.default_rng(0)
    shares = numpy.exp(log_masses - log_masses.max()).cumsum()
    chosen = numpy.searchsorted(shares, rng.random(_N_WITHIN) * shares[-1])
    widths = numpy.exp((log_masses[chosen] + energies[chosen]) / 2)
    places = centres[chosen] + (rng.random((_N_WITHIN, 2)) - 0.5) * widths[:, None]
    with numpy.errstate(over='ignore'):
        ratios = numpy.exp(energies[chosen] - energy(places))
    if not abs(ratios.mean() - 1) < 6 * ratios.std() / _N_WITHIN ** 0.5 + 1e-3:
        raise ValueError('exp(-E) has structure that is narrower than cells of {:.0e}'.format(numpy.median(widths)))


class _Cells:
    """Cells of one width: their centres (N, 2) and energies (N,), and those that are no longer halved."""

    def __init__(self, centres, width, energies, falls):
        self.centres, self.width, self.energies, self.falls = centres, width, energies, falls
        self._settled, self._log_settled, self.log_mass = [], -math.inf, _log_sum(self.log_masses)
        self._earlier = [self.log_mass]  # by the cells as they are and before they were halved, the last first
        if not self.log_mass < math.inf:
            raise ValueError('exp(-E) is not finite')

    def without(self, chosen):
        """The cells but for the chosen ones, (N,) bool."""
        return _Cells(self.centres[~chosen], self.width, self.energies[~chosen], self.falls[~chosen])

    def divided(self, energy, chosen, n):
        """The chosen cells, (N,) bool, each divided into n×n."""
        if self.width / n < _SMALLEST or chosen.sum() * n ** 2 > _MOST:
            raise ValueError('exp(-E) is too steep for cells of {:.0e}'.format(self.width))
        within, width = cells_of_square(self.width / 2, n)
        centres = (self.centres[chosen][:, None] + within).reshape(-1, 2)
        energies = numpy.asarray(energy(centres), dtype=numpy.float64)
        return _Cells(centres, width, energies, _falls(energies, n, width) if n > 2 else numpy.zeros((len(centres), 2)))

    def all(self):
        """Centres, energies and log masses of the cells of each width."""
        return [*self._settled, (self.centres, self.energies, self.log_masses)]

    @property
    def log_masses(self):
        """log of what each cell holds that is still halved: (N,)."""
        return 2 * math.log(self.width) - self.energies

    def halve(self, energy, threshold):
        """Halve the cells whose log mass is above the threshold, and settle the others."""
        log_masses = self.log_masses
        chosen = log_masses > threshold
        if chosen.any():
            finer = self.divided(energy, chosen, 2)
            settled = self.centres[~chosen], self.energies[~chosen], log_masses[~chosen]
            self._settled.append(settled)
            self._log_settled = numpy.logaddexp(self._log_settled, _log_sum(settled[2]))
            self.centres, self.width, self.energies = finer.centres, finer.width, finer.energies
            self.log_mass = float(numpy.logaddexp(self._log_settled, finer.log_mass))
        self._earlier.insert(0, self.log_mass)

    def is_settled(self, log_z, tolerance):
        """Whether halving has changed their mass by less than that share of Z, or what :meth:`mass` makes of it."""
        now, before, *more = [math.exp(min(log_mass - log_z, 700)) for log_mass in self._earlier[:3]]
        return abs(now - before) < tolerance or more != [] and abs(
            (4 * now - before) / 3 - (4 * before - more[0]) / 3) < tolerance

    def mass(self, log_z):
        """The share of Z, without the part of the error that falls as the square of the width (Richardson 1911).

        There is one where cells of several widths meet.
        """
        now, before = [math.exp(log_mass - log_z) for log_mass in self._earlier[:2]]
        return (4 * now - before) / 3


def _lowest_among_neighbours(energies):
    """The indexes (K,) of the cells of a square whose energy is lowest of the nine around, and of the lowest of all."""
    n = math.isqrt(len(energies))
    padded = numpy.pad(energies.reshape(n, n), 1, constant_values=-math.inf)  # at the edge the next frame tells
    lowest = numpy.ones((n, n), dtype=bool)
    for i, j in _STEPS[1:]:
        neighbour = padded[1 + i:n + 1 + i, 1 + j:n + 1 + j]
        # Of neighbours that are as low the first.
        lowest &= padded[1:-1, 1:-1] < neighbour if (i, j) < (0, 0) else padded[1:-1, 1:-1] <= neighbour
    return numpy.append(numpy.flatnonzero(lowest), energies.argmin())


def _climb(energy, places, energies, steps):
    """Where exp(−E) is highest around the best of some places, and log of that: (K, 2), (K,) and first steps (K,)."""
    best = energies.argsort()[:_N_PEAKS]
    places, steps = places[best], steps[best]
    for _ in range(64):
        around = places[:, None] + steps[:, None, None] * _STEPS
        energies = energy(around.reshape(-1, 2)).reshape(len(places), -1)
        best = energies.argmin(axis=1)
        places, energies = around[range(len(places)), best], energies[range(len(places)), best]
        steps = numpy.where(best == 0, steps / 2, steps)
    return places, -energies


def _resolved(energy, cells, peaks, heights, tolerance):
    """Cells as parts: around each peak that holds mass they are so narrow that half of them tell of it."""
    # Not even a cell as high as the peak all over would count beside the highest one, were that as narrow as can be.
    counts = heights + 2 * math.log(cells.width) > heights.max() + 2 * math.log(_SMALLEST) + math.log(tolerance)
    peaks, heights = peaks[counts], heights[counts]
    half = cells.width / 2
    nearest_half = (numpy.floor(peaks / half) + 0.5) * half
    hidden = -energy(nearest_half) < heights - 0.25
    around = numpy.zeros(len(cells.centres), dtype=bool)
    for cell in numpy.unique((numpy.floor(peaks[hidden] / cells.width) + 0.5) * cells.width, axis=0):
        around |= abs(cells.centres - cell).max(axis=1) < 2.5 * cells.width
    if not around.any():
        yield cells
    else:
        yield cells.without(around)
        yield from _resolved(energy, cells.divided(energy, around, _FINER), peaks, heights, tolerance)


def _follow_bands(energy, parts, tolerance):
    """Divide cells until none hides mass: by how steep E is where their centres lie, it may fall far within them."""
    while True:
        cells = [cells for part in parts for cells in part]
        log_z = _log_sum([each.log_mass for each in cells])
        _check_outermost(parts[-1], log_z, tolerance)
        threshold = _threshold([each.log_masses + each.falls[:, 0] for each in cells], log_z + math.log(tolerance))
        found = False
        for part in parts:
            for i, each in enumerate(part):
                chosen = (each.falls[:, 1] > _STEEP) & (each.log_masses + each.falls[:, 0] > threshold)
                if chosen.any():
                    found = True
                    part[i] = each.without(chosen)
                    part.append(each.divided(energy, chosen, 3))
        if not found:
            return


def _falls(energies, n, width):
    """How far E may fall within each of n×n cells from its centre on, if it is convex; and within those around it."""
    blocks = energies.reshape(-1, n, n)
    with numpy.errstate(invalid='ignore'):
        falls = sum(abs(slope) for slope in numpy.gradient(blocks, axis=(1, 2), edge_order=2)) / 2
    falls = numpy.nan_to_num(falls, nan=0.0, posinf=0.0)
    padded = numpy.pad(falls, ((0, 0), (1, 1), (1, 1)))
    around = functools.reduce(numpy.maximum, [padded[:, 1 + i:n + 1 + i, 1 + j:n + 1 + j] for i, j in _STEPS])
    return numpy.stack([falls.reshape(-1), around.reshape(-1)], axis=1)


def _threshold(parts, log_bound):
    """The highest log mass such that all cells up to it hold less than exp(log_bound) together; a list of (N,)."""
    log_masses = numpy.concatenate(parts)
    # Half of that for the many that hold next to nothing, so that few need to be sorted.
    negligible = log_bound - math.log(2 * len(log_masses))
    ordered = numpy.sort(log_masses[log_masses > negligible])
    n_below = numpy.searchsorted(numpy.exp(numpy.minimum(ordered - log_bound, 0)).cumsum(), 0.5)
    return ordered[n_below - 1] if n_below else negligible


def _in_parts(function, points, n=20_000):
    """A function of points (N, 2), of some at a time, on all cores."""
    parts = [points[first:first + n] for first in range(0, len(points), n)]
    return numpy.concatenate(for_each(function, parts))


def _log_sum(logarithms):
    logarithms = numpy.asarray(logarithms)
    highest = logarithms.max(initial=-math.inf)
    if not math.isfinite(highest):
        return float(highest)
    return float(highest + math.log(numpy.exp(logarithms - highest).sum()))
