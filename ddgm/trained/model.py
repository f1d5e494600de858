"""What a run has learned, as an object: samples, energies and log-densities of arrays."""

from __future__ import annotations

import functools
import warnings

import chainer
import numpy

from ddgm.data.standardization import Units
from ddgm.evaluation import annealing, normalization, sampling
from ddgm.evaluation.pixels import Form
from ddgm.evaluation.tasks import Task
from ddgm.models import DeepEnergyModel, DeepGenerativeModel
from ddgm.presets import Settings
from ddgm.support import randomness
from ddgm.support.errors import UsageError
from ddgm.support.ranks import free_memory
from ddgm.trained import refinement

_N_LOOKED_AT = 2_500  # samples that show where the mass of the density lies
_AT_ONCE = 1_000  # samples, of which more than their own memory is taken


class Model:
    """A trained DEM and DGM; :func:`ddgm.load` makes one.

    Arrays in and out are NumPy's, in the user's units, whatever the models' device.  What is handed in as x may be
    float, or the levels 0 to 255 of pictures, in every shape that ``ddgm compare`` takes.

    Attributes:
        task (ddgm.evaluation.tasks.Task): What was learned.
        settings (ddgm.presets.Settings): With which numbers.
        preset (str): Their name, or ``None``.
        energy_model (ddgm.DeepEnergyModel), generator (ddgm.DeepGenerativeModel): The two ``Chain`` as they are, in the
            units that they were trained in.
        standardization (ddgm.data.standardization.Standardization): These units, or ``None`` where they are the user's.

    Args:
        log_z: log Z over x in the user's units, where it is known; else ``None``, or why it can't be known.

    Bad input raises ``ValueError``.
    """

    def __init__(
            self, task: Task, settings: Settings, energy_model: DeepEnergyModel, generator: DeepGenerativeModel,
            standardization=None, log_z: float | str | None = None, preset: str | None = None):
        self.task, self.settings, self.preset = task, settings, preset
        self.energy_model, self.generator = energy_model, generator
        self.standardization, self._units = standardization, standardization or Units()
        self._log_z = log_z
        self._energy = sampling.energy_function(energy_model)

    def __repr__(self):
        preset = self.task.presets.get(self.preset)
        return 'Model of {}, preset {}'.format(
            self.task.name, self.settings.told_beside(self.preset, preset and preset.settings))

    def sample(self, n: int, seed: int = 0) -> numpy.ndarray:
        """n samples x = G(z), (n, …) float32; points in units of the user's are float64.

        The same seed gives the same samples, on one machine with as many threads.  Seed 0 is that of a run's own
        samples.npz.

        >>> model.sample(3).shape
        (3, 2)
        """
        return self._drawn(n, seed, self._units.outward)

    def energy(self, x: numpy.ndarray) -> numpy.ndarray:
        """E(x) in nats, (N, …) to (N,) float64.

        >>> low, high = model.energy([[0, 2], [30, 40]])
        >>> bool(low < high)
        True
        """
        return self._energy_of(self._inward(x))

    @property
    def log_z(self) -> float:
        """log Z = log ∫ exp(−E(x)) dx in nats.

        Where a run's own metrics don't tell it, it is found once: by quadrature where x has one or two numbers, by
        importance sampling up to 64, and where that can't tell it or there are more, by annealing.  That takes up to
        some minutes.  Raises ``ValueError`` with the reason where it stays unknown; annealing tells both ends.

        >>> log_p = -model.energy([[0, 2]]) - model.log_z
        """
        if self._log_z is None:
            try:
                self._log_z = self._estimated_log_z()
            except ValueError as error:
                self._log_z = str(error)
        if isinstance(self._log_z, str):
            raise UsageError('log P(x) is not known: {}; differences of energies are'.format(self._log_z))
        return self._log_z

    def log_prob(self, x: numpy.ndarray) -> numpy.ndarray:
        """log P(x) = −E(x) − log Z in nats, (N, …) to (N,) float64.

        Raises ``ValueError`` with the reason where log Z is not known, see :attr:`log_z`.

        >>> model.log_prob([[0, 2], [30, 40]]).shape
        (2,)
        """
        return -self.energy(x) - self.log_z

    def refine(
            self, x: numpy.ndarray, steps: int = 500, step_size: float | None = None, proposals: int = 0,
            seed: int = 0) -> numpy.ndarray:
        """x after Metropolis-adjusted Langevin steps, which leave P(x) = exp(−E(x))/Z as it is: (N, …) to (N, …).

        Where the data has a range, what left it is clipped.  Warns where most of x were never moved, or come from few
        proposals.

        Args:
            x: What the steps begin with.
            steps: How many.
            step_size: Their size ε, in squared units of x (those of the energy model, where the user has others);
                ``None``: so that 57 in a hundred moves are taken.
            proposals: In the plane, points among which the energy model chooses what the steps begin with, as many as
                this for each 2,500 of x; 0: it is x.
            seed: Of the noise.

        >>> model.refine(model.sample(10), steps=2, step_size=0.01).shape
        (10, 2)
        """
        return self.refined(x, steps, step_size, proposals, seed)[0]

    def refined(
            self, x, steps, step_size, proposals, seed=0, tell=lambda line: None, warn=warnings.warn,
    ) -> tuple[numpy.ndarray, float]:
        """What :meth:`refine` returns, and the size of the steps.

        ``tell`` is called with lines about what goes on, ``warn`` with those about what is wrong.
        """
        _check_whole('steps', steps, 0)
        _check_whole('proposals', proposals, 0)
        _check_whole('seed', seed, 0)
        if step_size is not None and not 0 < step_size < numpy.inf:
            raise UsageError('step_size is {!r}: give a number above 0'.format(step_size))
        refinement.check_proposals(proposals, self.settings)
        with chainer.using_device(self.energy_model.device):
            moved, step_size = refinement.refine(
                self.energy_model, self._inward(x), self.settings, steps, step_size, proposals,
                randomness.metric_generator(randomness.REFINEMENT, seed), tell, warn)
        return self._units.outward(refinement.within(self.form.value_range, moved, tell)), step_size

    def as_shown(self, x: numpy.ndarray) -> numpy.ndarray:
        """Samples as pictures take them: points (N, 2), or images (N, H, W) or (N, 3, H, W).

        >>> model.as_shown(model.sample(5)).shape
        (5, 2)
        """
        return self.form.as_shown(x)

    @functools.cached_property
    def form(self) -> Form:
        """What one data point is."""
        if self.task.form is not None:
            return self.task.form(self.settings)
        return Form(self._drawn(1, 0).shape[1:])

    def _drawn(self, n, seed, outward=lambda x: x):
        """n samples in the units of the models, or as ``outward`` makes them."""
        _check_whole('n', n, 1)
        _check_whole('seed', seed, 0)
        rng, x = randomness.metric_generator(randomness.SCORED_Z, seed), None
        with chainer.using_device(self.generator.device):
            for first in range(0, n, _AT_ONCE):
                part = outward(sampling.sample(
                    self.generator, self.generator.draw_latent(min(_AT_ONCE, n - first), rng)))
                if x is None:
                    _check_fits(n, part[0].nbytes)
                    x = numpy.empty((n, *part.shape[1:]), part.dtype)
                x[first:first + len(part)] = part
        return x

    def _energy_of(self, x):
        """E of points in the units of the models."""
        with chainer.using_device(self.energy_model.device):
            return self._energy(x)

    def _estimated_log_z(self):
        """log Z over x in the user's units; raises ``ValueError`` with the reason where it can't be told."""
        x = self._drawn(_N_LOOKED_AT, 0)
        try:
            return normalization.log_z(self._energy_of, x) + self._units.log_volume
        except ValueError:
            if x[0].size <= 2:
                raise
            return annealing.of_model(
                self.energy_model, x, self._units.log_volume, n_steps=self.settings.annealing_steps).log_z

    def _inward(self, x):
        """What a user hands in, in the units of the models."""
        x = numpy.asarray(x)
        if x.dtype.kind not in 'fiub' or not x.size or not x.ndim:
            raise UsageError('x is {} of the shape {}: give numbers (N, …)'.format(x.dtype, x.shape))
        largest = numpy.finfo(numpy.float32).max
        if not -largest <= x.min() <= x.max() <= largest:  # which NaN is not
            n = len(x) - int((abs(x.reshape(len(x), -1)) <= largest).all(axis=1).sum())
            raise UsageError('{:,} of {:,} x are not finite: leave them out'.format(n, len(x)))
        if self.standardization is None:
            return self.form.conform(x)
        self.form.check(x)
        return self._units.inward(x)


def _check_whole(name, value, minimum):
    if isinstance(value, bool) or not isinstance(value, (int, numpy.integer)) or value < minimum:
        raise UsageError('{} is {!r}: give a whole number from {} on'.format(name, value, minimum))


def _check_fits(n, n_bytes):
    """Raise ``UsageError`` where n samples of that many bytes don't fit into memory."""
    free = free_memory()
    if free is not None and n * n_bytes > free:
        raise UsageError('{:,} samples take {:,.1f} GB, and {:,.1f} are free: draw fewer, by several seeds'.format(
            n, n * n_bytes / 1e9, free / 1e9))
