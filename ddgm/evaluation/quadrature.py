"""The density of an energy in the plane: log Z and divergences, by quadrature."""

import functools
import math

import numpy

from ddgm.fast.threads import for_each

_N = 8  # intervals of a tile along each of its sides; two and four of them are intervals of coarser sums
# The square in the middle and the frames around it: half the width, and the number of tiles in a row.
_GRIDS = [(6, 75)] + [(6 * 2 ** i, 24 if i < 3 else 12) for i in range(1, 13)]
_SMALLEST = 1e-7  # distance of two places; float32 tells apart little more
_MOST = 2 ** 23  # places that are looked at within tiles
_FASTEST = 64  # by which an error falls where places are twice as close: that of Gregory's rule is of the sixth order
_BENT = 0.25  # nats by which E at a place may differ from its neighbours twice: exp(−E) is smooth up to there
_STEEP = 5  # nats by which E may fall within half an interval; a Gaussian so wide as an interval is summed well
_N_PEAKS = 100
_HIDDEN = 0.25  # nats by which a peak may be higher than the place next to it
_N_WITHIN = 20_000  # places between those of the tiles that are looked at in the end
_STEPS = numpy.array([[0, 0], [-1, -1], [-1, 0], [-1, 1], [0, -1], [0, 1], [1, -1], [1, 0], [1, 1]])


class Density:
    """P(x) = exp(−E(x))/Z at places of the plane, so close where it has mass that sums over them tell its integrals.

    Attributes:
        log_z (float): log Z.
        places (numpy.ndarray): All that hold mass, (K, 2).
        log_densities (numpy.ndarray): log P there, (K,), in nats.
        masses (numpy.ndarray): What each place stands for of P, (K,).
    """

    _NEGLIGIBLE = 1e-15  # of the mass, at one place

    def __init__(self, log_z, places, square):
        self.log_z = log_z
        places, energies, log_masses = places
        masses = numpy.exp(log_masses - _log_sum(log_masses))
        counts = masses > self._NEGLIGIBLE
        self.places, self.log_densities, self.masses = places[counts], -energies[counts] - log_z, masses[counts]
        self._square = square

    def divergence_from(self, log_density):
        """KL(P‖p), in nats: how much of P lies where another density has none.

        ``log_density`` is log p as a function of points, (N, 2) to (N,).  Raises ``ValueError`` where the outermost
        frame of tiles still adds to it: then P has so heavy a tail that it is infinite.
        """
        parts = self.masses * (self.log_densities - _in_parts(log_density, self.places))
        if abs(parts[abs(self.places).max(axis=1) > _GRIDS[-2][0]].sum()) > 1e-3:
            raise ValueError('the tail of P is so heavy that KL(P‖p) is infinite')
        return float(parts.sum())

    def divergence_of(self, log_density):
        """KL(p‖P), in nats: how much of another density lies where P has none.

        p has its mass within the square in the middle, and no structure there that is narrower than two intervals.
        """
        places, distance, energies = self._square
        log_p = _in_parts(log_density, places)
        return float((numpy.exp(log_p) * (log_p + energies + self.log_z)).sum() * distance ** 2)


def density(energy, points=None, tolerance=1e-5):
    """P of an energy, a function of points (N, 2), its normalizer by adaptive quadrature; a :class:`Density`.

    The plane falls into tiles, squares of 9×9 places, whose sums are those of the trapezoid rule with Gregory's
    weights at the ends.  The places are 0.02 apart up to 6 from the origin, a 48th of their distance up to 24, and a
    24th further out, where frames of tiles reach to 24,576.  A tile's error is told by its sums over every other and
    every fourth place, and by all that it may not see.  Those of the largest errors are divided into four, until all
    errors together are less than ``tolerance`` of Z.  What a tile may not see is

    - exp(−E) between places where it is not smooth: at an edge;
    - a peak that is narrower than an interval.  It is found where E falls towards it from further away, or where one of
      ``points`` (N, 2) lies on it;
    - a thin band, which tells of itself by how steep E is beside it.

    In the end places between those of the tiles are held against them.

    Raises ``ValueError`` where exp(−E) is 0 everywhere, is not finite, is too steep, still has mass in the outermost
    frame, or has structure that the tiles don't see.
    """
    tiles, square, starts = _frames_and_valleys(energy)
    if points is not None:
        starts.append((points, energy(points), numpy.full(len(points), square[1])))
    peaks = _climb(energy, *map(numpy.concatenate, zip(*starts)))
    tiles.estimate(*peaks)
    n_places = 0
    while True:
        log_z = tiles.log_z(tolerance)
        chosen = tiles.log_errors > _threshold(tiles.log_errors, log_z + math.log(tolerance))
        if not chosen.any():
            break
        narrowest = tiles.distances[chosen].min()
        n_places += chosen.sum() * _N_NEW
        if narrowest / 2 < _SMALLEST or n_places > _MOST:
            raise ValueError('exp(-E) is too steep for cells of {:.0e}'.format(narrowest))
        finer = tiles.divided(energy, chosen)
        finer.estimate(*peaks)
        tiles = tiles.where(~chosen).joined(finer)
    _check_between(energy, tiles, log_z)
    return Density(log_z, tiles.places_of_mass(log_z), square)


def log_partition(energy, points=None, tolerance=1e-5):
    """log Z = log ∫ exp(−E(x)) dx over the plane, as :func:`density` finds it."""
    return density(energy, points, tolerance).log_z


# ---- where to begin

def _frames_and_valleys(energy):
    """The tiles of the square in the middle and of each frame; the square; and where E is lowest among neighbours.

    Of those a triple for each: places (K, 2), energies (K,) and distances of places (K,).
    """
    frames, valleys, inner, square = [], [], 0, None
    for half_width, n_tiles in _GRIDS:
        n = n_tiles * _N
        axis, distance = numpy.linspace(-half_width, half_width, n + 1), 2 * half_width / n
        places = numpy.stack(numpy.meshgrid(axis, axis), axis=-1)
        is_known = abs(places).max(axis=2) > inner - 1.5 * distance  # with neighbours for those at the inner edge
        energies = numpy.full((n + 1, n + 1), -math.inf)
        energies[is_known] = _energies(energy, places[is_known])
        square = square or (places.reshape(-1, 2), distance, energies.ravel())
        lowest = _lowest_among_neighbours(energies) & is_known
        valleys.append((places[lowest], energies[lowest], numpy.full(lowest.sum(), distance)))
        corners = places[:-1:_N, :-1:_N]
        in_frame = abs(corners + _N / 2 * distance).max(axis=2) > inner
        of_tiles = numpy.lib.stride_tricks.sliding_window_view(energies, (_N + 1, _N + 1))[::_N, ::_N][in_frame]
        frames.append(_Tiles(
            corners[in_frame], numpy.full(len(of_tiles), distance), of_tiles, numpy.full(len(of_tiles), -math.inf)))
        inner = half_width
    return functools.reduce(_Tiles.joined, frames), square, valleys


def _lowest_among_neighbours(energies):
    """Which places of a square (n, n) have an energy that is the lowest of the nine around."""
    n = len(energies)
    padded = numpy.pad(energies, 1, constant_values=-math.inf)  # at the edge the next frame tells
    lowest = numpy.ones((n, n), dtype=bool)
    for i, j in _STEPS[1:]:
        neighbour = padded[1 + i:n + 1 + i, 1 + j:n + 1 + j]
        # Of neighbours that are as low the first.
        lowest &= energies < neighbour if (i, j) < (0, 0) else energies <= neighbour
    return lowest


def _climb(energy, places, energies, steps):
    """Where exp(−E) is highest around the best of some places, (K, 2), and log of that (K,)."""
    best = energies.argsort()[:_N_PEAKS]
    places, energies, steps = places[best], energies[best], steps[best]
    for _ in range(64):
        climbing = numpy.flatnonzero(steps > _SMALLEST / 4)
        if not len(climbing):
            break
        around = places[climbing, None] + steps[climbing, None, None] * _STEPS
        around_energies = energy(around.reshape(-1, 2)).reshape(len(climbing), -1)
        best = around_energies.argmin(axis=1)
        every = numpy.arange(len(climbing))
        places[climbing], energies[climbing] = around[every, best], around_energies[every, best]
        steps[climbing[best == 0]] /= 2
    return places, -energies


# ---- tiles

def _gregory(n):
    """The weights (n + 1,) of the trapezoid rule with Gregory's at both ends, exact for polynomials of degree 5."""
    at_an_end = numpy.array([95 / 288, 317 / 240, 23 / 30, 793 / 720, 157 / 160]) - 1
    weights = numpy.ones(n + 1)
    weights[:5] += at_an_end
    weights[-5:] += at_an_end[::-1]
    return weights


def _of_every(step, weights):
    """Weights of places that are so many times farther apart, with 0 for those between them: (n + 1,)."""
    found = numpy.zeros(_N + 1)
    found[::step] = step * numpy.asarray(weights)
    return found


_WEIGHTS = _gregory(_N)
_OF_EVERY_OTHER, _OF_EVERY_FOURTH = _of_every(2, _gregory(_N // 2)), _of_every(4, [1 / 3, 4 / 3, 1 / 3])
_CHANGES = numpy.stack([_WEIGHTS - _OF_EVERY_OTHER, _OF_EVERY_OTHER - _OF_EVERY_FOURTH], axis=1)
# The places of a tile and those halfway between them, in intervals, (17, 17, 2), and which of them are new.
_HALVES = numpy.stack(numpy.meshgrid(*2 * [numpy.arange(2 * _N + 1) / 2]), axis=-1)
_IS_NEW = (_HALVES % 1 != 0).any(axis=-1)
_N_NEW = _IS_NEW.sum()


class _Tiles:
    """Squares of 9×9 places.

    Attributes:
        corners (numpy.ndarray): Their lowest coordinates, (T, 2).
        distances (numpy.ndarray): Of two places along a side, (T,).
        energies (numpy.ndarray): (T, 9, 9), a row for each second coordinate.
        log_changes (numpy.ndarray): log of what their sums may be wrong by, (T,): a 64th of that of the tile which was
            divided, or more.
        log_masses (numpy.ndarray): log of the integral of exp(−E) over each, (T,), once it is estimated.
        log_errors (numpy.ndarray): log of what that may be wrong by, with all that they may not see, (T,).
    """

    def __init__(self, corners, distances, energies, log_changes, log_masses=None, log_errors=None):
        self.corners, self.distances, self.energies, self.log_changes = corners, distances, energies, log_changes
        self.log_masses, self.log_errors = log_masses, log_errors

    def where(self, chosen):
        """The chosen ones, (T,) bool."""
        return _Tiles(*[None if array is None else array[chosen] for array in vars(self).values()])

    def joined(self, others):
        """These and others."""
        return _Tiles(*[None if array is None else numpy.concatenate([array, other])
                        for array, other in zip(vars(self).values(), vars(others).values())])

    def divided(self, energy, chosen):
        """The chosen ones, (T,) bool, each divided into four."""
        corners, distances = self.corners[chosen], self.distances[chosen]
        places = corners[:, None] + distances[:, None, None] * _HALVES[_IS_NEW]
        energies = numpy.empty((len(corners), *_IS_NEW.shape))
        energies[:, ::2, ::2] = self.energies[chosen]
        energies[:, _IS_NEW] = _energies(energy, places.reshape(-1, 2)).reshape(len(corners), -1)
        quarters = [(i, j) for i in (0, _N) for j in (0, _N)]
        return _Tiles(
            numpy.concatenate([corners + distances[:, None] / 2 * (j, i) for i, j in quarters]),
            numpy.tile(distances / 2, 4),
            numpy.concatenate([energies[:, i:i + _N + 1, j:j + _N + 1] for i, j in quarters]),
            numpy.tile(self.log_changes[chosen], 4) - math.log(4 * _FASTEST))

    def estimate(self, peaks, heights):
        """Find the integrals and their errors, where exp(−E) has these peaks, (K, 2), and log of it is (K,)."""
        parts = [self.where(slice(first, first + 200)) for first in range(0, len(self.distances), 200)]
        found = for_each(lambda part: part._estimated(peaks, heights), parts)
        self.log_changes, self.log_masses, self.log_errors = map(numpy.concatenate, zip(*found))

    def _estimated(self, peaks, heights):
        highest = -self.energies.min(axis=(1, 2))
        highest = numpy.where(numpy.isfinite(highest), highest, 0)
        values, turned = numpy.exp(-self.energies - highest[:, None, None]), self.energies.swapaxes(1, 2)
        bent = _where_bent(self.energies, values) + _where_bent(turned, values.swapaxes(1, 2))
        with numpy.errstate(divide='ignore'):
            log_masses, log_changes, log_bent = map(numpy.log, (
                values @ _WEIGHTS @ _WEIGHTS, _changes(values) + _changes(values.swapaxes(1, 2)), bent))
        # An interval as high as a peak all over, or as E may fall beside a thin band.
        log_hidden = numpy.maximum(self._hidden(peaks, heights), _log_of_bands(self.energies)) - highest
        log_areas = highest + 2 * numpy.log(self.distances)
        log_changes = numpy.maximum(self.log_changes, log_changes + log_areas)
        log_errors = numpy.logaddexp.reduce([log_changes, log_bent + log_areas, log_hidden + log_areas])
        # What tells nothing of places twice as close is not handed on.
        is_smooth = log_bent + log_areas < log_changes
        return numpy.where(is_smooth, log_changes, -math.inf), log_masses + log_areas, log_errors

    def _hidden(self, peaks, heights):
        """log of exp(−E) at the highest peak that lies on each tile, or next to it, but is not seen: (T,)."""
        places = (peaks - self.corners[:, None]) / self.distances[:, None, None]  # in intervals
        is_near = (abs(places - _N / 2) <= _N / 2 + 1).all(axis=-1)
        tile, peak = is_near.nonzero()
        nearest = numpy.clip(numpy.rint(places[tile, peak]), 0, _N).astype(int)
        is_hidden = -self.energies[tile, nearest[:, 1], nearest[:, 0]] < heights[peak] - _HIDDEN
        found = numpy.full(len(self.distances), -math.inf)
        numpy.maximum.at(found, tile[is_hidden], heights[peak[is_hidden]])
        return found

    def log_z(self, tolerance):
        """log of all mass.  Raises ``ValueError`` where there is none, or the outermost frame still has some."""
        log_z = _log_sum(self.log_masses)
        if log_z == -math.inf:
            raise ValueError('exp(-E) is 0 everywhere')
        outermost = abs(self.corners + _N / 2 * self.distances[:, None]).max(axis=1) > _GRIDS[-2][0]
        if _log_sum(self.log_masses[outermost]) > log_z + math.log(tolerance):
            raise ValueError('exp(-E) still has mass {:,} away from the origin'.format(_GRIDS[-2][0]))
        return log_z

    def places_of_mass(self, log_z):
        """Of tiles that hold mass: places (K, 2), energies (K,) and log of what each stands for (K,)."""
        tiles = self.where(self.log_masses > log_z + math.log(Density._NEGLIGIBLE))
        places = tiles.corners[:, None] + tiles.distances[:, None, None] * _HALVES[::2, ::2].reshape(-1, 2)
        log_areas = 2 * numpy.log(tiles.distances)[:, None, None] + numpy.log(numpy.outer(_WEIGHTS, _WEIGHTS))
        return places.reshape(-1, 2), tiles.energies.ravel(), (log_areas - tiles.energies).ravel()


def _changes(values):
    """What the sums of rows of exp(−E), (T, 9, 9), may be wrong by, (T,).

    They change less from every other place to all than from every fourth to every other.  What is left is taken to fall
    in the same proportion, or half of it, but no faster than the rule's order allows: by chance two sums may agree.
    """
    last, before = (_WEIGHTS @ abs(values @ _CHANGES)).T
    ratios = numpy.clip(2 * last / numpy.maximum(before, 1e-300), 1 / _FASTEST, 1)
    return numpy.maximum(last, before) * ratios ** 2


def _where_bent(energies, values):
    """Sums (T,) of exp(−E), (T, 9, n), over all three places in a column where E is not nearly linear."""
    with numpy.errstate(invalid='ignore'):
        bend = abs(energies[:, 2:] - 2 * energies[:, 1:-1] + energies[:, :-2])
    highest = numpy.maximum(numpy.maximum(values[:, 2:], values[:, :-2]), values[:, 1:-1])
    return (highest * ~(bend < _BENT)).sum(axis=(1, 2))


def _log_of_bands(energies):
    """log of the sum, (T,), of what exp(−E) may be beside each place if E is convex and steep: it may fall far."""
    with numpy.errstate(invalid='ignore'):
        falls = sum(abs(slope) for slope in numpy.gradient(energies, axis=(1, 2), edge_order=2)) / 2
    falls = numpy.nan_to_num(falls, nan=0.0, posinf=0.0)
    n = energies.shape[1]
    padded = numpy.pad(falls, ((0, 0), (1, 1), (1, 1)))
    around = functools.reduce(numpy.maximum, [padded[:, 1 + i:n + 1 + i, 1 + j:n + 1 + j] for i, j in _STEPS])
    return numpy.logaddexp.reduce(
        numpy.where(around > _STEEP, falls - energies, -math.inf).reshape(len(energies), -1), axis=1)


def _check_between(energy, tiles, log_z):
    """Raise ``ValueError`` where places between those of the tiles tell of another log Z than these do.

    Structure that is finer than the intervals may look the same at all places, however often tiles are divided.
    """
    rng = numpy.random.default_rng(0)
    tiles = tiles.where(tiles.log_masses > log_z + math.log(Density._NEGLIGIBLE))
    # In proportion to what the trapezoid rule says of each square between four places.
    values = tiles.distances[:, None, None] ** 2 * numpy.exp(-tiles.energies - log_z)
    masses = (values[:, 1:, 1:] + values[:, 1:, :-1] + values[:, :-1, 1:] + values[:, :-1, :-1]) / 4
    shares = masses.cumsum()
    chosen = numpy.searchsorted(shares, rng.random(_N_WITHIN) * shares[-1])
    tile, row, column = numpy.unravel_index(chosen, masses.shape)
    distances = tiles.distances[tile]
    within = numpy.stack([column, row], axis=1) + rng.random((_N_WITHIN, 2))
    with numpy.errstate(over='ignore'):
        densities = numpy.exp(-energy(tiles.corners[tile] + distances[:, None] * within) - log_z)
    found = shares[-1] * distances ** 2 * densities / masses[tile, row, column]  # of Z, by each of them alone
    if not abs(found.mean() - 1) < 6 * found.std() / _N_WITHIN ** 0.5 + 1e-3:
        raise ValueError('exp(-E) has structure that is narrower than cells of {:.0e}'.format(numpy.median(distances)))


# ---- numbers

def _energies(energy, places):
    """E of places, (N, 2) to (N,) float64.  Raises ``ValueError`` where exp(−E) is not finite."""
    energies = numpy.asarray(energy(places), dtype=numpy.float64)
    if not energies.min() > -math.inf:
        raise ValueError('exp(-E) is not finite')
    return energies


def _threshold(log_errors, log_bound):
    """The highest of (N,) such that all up to it are less than half of exp(log_bound) together."""
    ordered = numpy.sort(log_errors)
    n_below = numpy.searchsorted(numpy.exp(numpy.minimum(ordered - log_bound, 0)).cumsum(), 0.5)
    return ordered[n_below - 1] if n_below else -math.inf


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
