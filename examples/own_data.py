#!/usr/bin/env python3
"""A task of your own: 32×32 pictures in grey, with settings, networks, scores and pictures for them.

It is started as the training scripts are, with their flags and one of its own, --channels.  It keeps snapshots, a log
and a video, goes on by --resume, and runs in several processes.  "python -m ddgm.refine result/shapes --task
examples/own_data.py" refines its samples.
"""

import dataclasses
import functools
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))  # not needed where ddgm is installed

from ddgm.evaluation.reference import Reference  # isort: skip  (before Chainer)

import chainer
import numpy
from chainer import initializers

from ddgm.evaluation.pixels import Form
from ddgm.evaluation.tasks import Task
from ddgm.fast import functions as F, links as L
from ddgm.fast.noise import add_noise
from ddgm.figures import post
from ddgm.models import DeepEnergyModel, DeepGenerativeModel
from ddgm.presets import Preset, Settings, setting
from ddgm.runs import command_line, execution, exit_status, run_folder


@dataclasses.dataclass(frozen=True)
class ShapeSettings(Settings):
    """Those of all tasks, some of them with other defaults, and one more."""

    channels: int = setting(8, flag='of the layers at 16×16 pixels; twice and four times as many follow')
    batchsize: int = 64
    n_latent: int = 32
    energy_learning_rate: float = 1e-3
    generator_learning_rate: float = 1e-3
    energy_penalty: float = 1e-4
    population_batches: int = 50


class Shapes(Reference):
    """Bright and dark discs and bars, (N, 1, 32, 32) in 0…1.

    Beside a score of its own, the numbers of samples are held against those of data.
    """

    value_range = 0, 1

    def draw_data(self, n, rng):
        y, x = numpy.mgrid[:32, :32]
        across, down = rng.uniform(10, 22, (2, n, 1, 1))
        size, is_disc = rng.uniform(4, 9, (n, 1, 1)), rng.random((n, 1, 1)) < 0.5
        shapes = numpy.where(
            is_disc, numpy.hypot(x - across, y - down) < size, (abs(x - across) < 2) & (abs(y - down) < size))
        sign = rng.choice([-0.5, 0.5], (n, 1, 1, 1))
        return (0.5 + sign * shapes[:, None]).astype(numpy.float32)

    def score(self, x, energy=None, settings=None):
        return {'bright': float((x > 0.75).mean()), **super().score(x, energy, settings)}


class Generator(DeepGenerativeModel):
    """G(z): Linear z → 4n·4·4, Deconv → 2n → n, each BN ReLU; Deconv → 1, sigmoid."""

    def __init__(self, n_latent, n, weight):
        super().__init__(n_latent)
        with self.init_scope():
            self.l1, self.bn1 = L.Linear(n_latent, 4 * n * 16, initialW=weight), L.BatchNormalization(4 * n * 16)
            self.d2, self.bn2 = L.Deconvolution2D(4 * n, 2 * n, 4, 2, 1, initialW=weight), L.BatchNormalization(2 * n)
            self.d3, self.bn3 = L.Deconvolution2D(2 * n, n, 4, 2, 1, initialW=weight), L.BatchNormalization(n)
            self.d4 = L.Deconvolution2D(n, 1, 4, 2, 1, initialW=weight)

    def forward(self, z):
        h = F.relu(self.bn1(self.l1(z)))
        h = F.relu(self.bn2(self.d2(F.reshape(h, (len(z), -1, 4, 4)))))
        return F.sigmoid(self.d4(F.relu(self.bn3(self.d3(h)))))


def build_models(settings, rng):
    """A DEM and a DGM, weights drawn from the NumPy generator ``rng``."""
    n, weight = settings.channels, initializers.Normal(0.05, rng=rng)
    noise = functools.partial(add_noise, standard_deviation=0.3)
    features = chainer.Sequential(
        L.Convolution2D(1, n, 4, 2, 1, initialW=weight), F.elu, noise,
        L.Convolution2D(n, 2 * n, 4, 2, 1, initialW=weight), F.elu, noise,
        L.Convolution2D(2 * n, 4 * n, 4, 2, 1, initialW=weight), F.tanh)
    experts = L.Linear(4 * n * 16, settings.n_experts, initialW=weight)
    energy_model = DeepEnergyModel(features, experts, n_visible=32 * 32, sigma=settings.sigma)
    return energy_model, Generator(settings.n_latent, n, weight)


TASK = Task('shapes', {
    'default': Preset('discs and bars, small convolutions', ShapeSettings(
        iterations=2_000, log_interval=20, snapshot_interval=200, figure_interval=40), 'some minutes'),
}, build_models, open=lambda folder, settings, cache: Shapes(), form=lambda settings: Form((1, 32, 32), (0, 1)))


def main(arguments=None):
    folder, shapes = run_folder.open_run(command_line.parse(TASK, __doc__, arguments)), Shapes()

    def draw_frame(path, x):
        post.draw_small_grid(path, shapes.as_shown(x))

    def draw_figures(folder, x, energy):
        post.draw_grid(folder.figure('data.png'), shapes.as_shown(shapes.shown_data(100)))
        post.draw_grid(folder.figure('samples.png'), shapes.as_shown(x))

    execution.execute(folder, execution.Experiment(shapes, build_models, draw_frame, draw_figures, n_shown=100))


if __name__ == '__main__':
    exit_status.run_script(main)
