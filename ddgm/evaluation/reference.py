"""What is asked of the data of a task: points to learn from, and what samples are held against."""

from __future__ import annotations

from typing import ClassVar

import numpy
from numpy.random import Generator

from ddgm.evaluation import metrics
from ddgm.evaluation.pixels import Form
from ddgm.support import randomness


class Reference:
    """The data of a task and what samples are held against; a task's own class has a ``draw_data`` at least.

    Attributes:
        fingerprint (str): Tells data that comes from files from other data; ``None`` where it comes from none.
        description (str): A line about the data that a run prints, or ``None``.
        real_name (str): What :meth:`real_data` is called.
        shape (tuple): Of one data point; ``None``: of what ``draw_data`` returns.
        value_range (tuple): The lowest and the highest number that a data point can have; ``None``: there are none.
        decides (dict): Settings by name that follow from the data, such as its number of columns.
        standardization (ddgm.data.standardization.Standardization): Of points that a model learns in units of its own;
            ``None``: x is the same to the user and to the model.
        window (tuple): What a picture of the plane shows: the middle (x₁, x₂) and half the widths; ``None``: −4…4.
        exact_energy: −log p(x) of the data as a function of arrays, or ``None`` where it is not known.
    """

    fingerprint = description = shape = value_range = standardization = window = exact_energy = None
    decides: ClassVar = {}
    real_name = 'real data'

    def draw_data(self, n: int, rng: Generator) -> numpy.ndarray:
        """n data points to learn from, (n, …) float32, drawn from a NumPy generator."""
        raise NotImplementedError('{} has no draw_data(n, rng)'.format(type(self).__name__))

    def draw_inputs(self, n: int, rng: Generator) -> numpy.ndarray:
        """What training draws: the same, or where there are any its levels of 0…255, uint8, to be sent to a GPU."""
        return self.draw_data(n, rng)

    def score(self, x: numpy.ndarray, energy=None, settings=None) -> dict:
        """The metrics of samples by name, what JSON can hold; with the energy of a run of ``settings`` those of it too.

        These hold the numbers of samples, and no features of them, against as many data points.
        """
        reference = self.held_against(len(x))
        points, reference_points = self.measured(x), self.measured(reference)
        scores = {
            'sliced_wasserstein_2': metrics.sliced_wasserstein_2(points, reference_points),
            'mmd2': metrics.mmd2(points, reference_points),
            **metrics.neighbour_scores(points, reference_points),
        }
        if energy is not None:
            scores['energy_gap'] = float(energy(x).mean() - energy(reference).mean())
        return scores

    def measured(self, x: numpy.ndarray) -> numpy.ndarray:
        """Samples as (N, D), by whose distances these metrics go."""
        return x.reshape(len(x), -1)

    def held_against(self, n: int) -> numpy.ndarray:
        """The data points that n samples are held against."""
        return self.draw_data(n, randomness.metric_generator(randomness.REFERENCE_DATA))

    def known_data(self, n: int) -> list[numpy.ndarray]:
        """All data points that n samples may be copies of, arrays (M, …); as uint8 they are in 0…255."""
        return [self.held_against(n)]

    def real_data(self, n: int) -> numpy.ndarray | None:
        """n fresh data points to be scored beside samples, or ``None`` where there are none to spare."""
        return self.draw_data(n, randomness.metric_generator(randomness.FRESH_DATA))

    def likelihood_data(self) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Data that Gaussians are fitted to, and data whose likelihood is told; grey levels are uint8."""
        held_out, learned = self.held_against(metrics.N_SCORED), self.real_data(metrics.N_SCORED)
        return held_out if learned is None else learned, held_out

    def shown_data(self, n: int) -> numpy.ndarray:
        """n data points for a picture."""
        return self.draw_data(n, randomness.picture_generator(randomness.SHOWN_DATA))

    @property
    def form(self) -> Form:
        """What one data point is."""
        return Form(self.shape or self.shown_data(1).shape[1:], self.value_range)

    def as_shown(self, x: numpy.ndarray) -> numpy.ndarray:
        """Samples as the pictures take them: points (N, 2), or images (N, H, W) or (N, 3, H, W)."""
        return self.form.as_shown(x)

    def conform(self, array: numpy.ndarray) -> numpy.ndarray:
        """Samples from elsewhere as float32 in this project's shape; raises ``UsageError`` where they can't be that."""
        return self.form.conform(array)
