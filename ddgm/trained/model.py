"""What a run has learned, as an object: samples, energies and log-densities of arrays."""

from __future__ import annotations

import chainer
import numpy

from ddgm.evaluation import normalization, sampling
from ddgm.evaluation.tasks import Task
from ddgm.models import DeepEnergyModel, DeepGenerativeModel
from ddgm.presets import Settings
from ddgm.support import randomness

_N_LOOKED_AT = 2_500  # samples that show where the mass of the density lies


class Model:
    """A trained DEM and DGM; :func:`ddgm.load` makes one.

    Arrays in and out are NumPy's, in the user's units, whatever the models' device.

    Attributes:
        task (ddgm.evaluation.tasks.Task): What was learned.
        settings (ddgm.presets.Settings): With which numbers.
        energy_model (ddgm.DeepEnergyModel), generator (ddgm.DeepGenerativeModel): The two ``Chain`` as they are, in the
            units that they were trained in.
        standardization (ddgm.data.standardization.Standardization): These units, or ``None`` where they are the user's.
    """

    def __init__(
            self, task: Task, settings: Settings, energy_model: DeepEnergyModel, generator: DeepGenerativeModel,
            standardization=None, log_z: float | None = None):
        self.task, self.settings = task, settings
        self.energy_model, self.generator = energy_model, generator
        self.standardization = standardization
        self._log_z = log_z
        self._energy = sampling.energy_function(energy_model)

    def sample(self, n: int, seed: int = 0) -> numpy.ndarray:
        """n samples x = G(z), (n, …) float32; points in units of the user's are float64.

        The same seed gives the same samples, on one machine with as many threads.
        """
        return self._outward(self._sample(n, seed))

    def _sample(self, n, seed):
        z = self.generator.draw_latent(n, numpy.random.default_rng([seed, randomness.SCORED_Z]))
        return sampling.sample(self.generator, z)

    def energy(self, x: numpy.ndarray) -> numpy.ndarray:
        """E(x) in nats, (N, …) to (N,) float64."""
        return self._energy(self._inward(x))

    @property
    def log_z(self) -> float | None:
        """log Z of exp(−E) over x, in nats; ``None`` where it is not known."""
        if self._log_z is None:
            log_volume = self.standardization.log_volume if self.standardization else 0.0
            self._log_z = log_volume + normalization.log_z(self._energy, self._sample(_N_LOOKED_AT, 0))
        return self._log_z

    def log_prob(self, x: numpy.ndarray) -> numpy.ndarray:
        """log P(x) = −E(x) − log Z in nats, (N, …) to (N,) float64.

        Raises ``ValueError`` with the reason where log Z is not known.
        """
        return -self.energy(x) - self.log_z

    def _inward(self, x):
        return self.standardization.inward(x) if self.standardization else numpy.asarray(x, dtype=chainer.get_dtype())

    def _outward(self, x):
        return self.standardization.outward(x) if self.standardization else x
