"""The published configurations by name: plain numbers, so that ``--help`` can list them without importing Chainer."""

import dataclasses
from typing import ClassVar


@dataclasses.dataclass(frozen=True)
class Settings:
    """Every number that decides a run's result; the networks' and optimizers' are those of the 2016 code.

    Intervals are in iterations; 0 means only at the end.  Raises ``ValueError`` for a number of the wrong type or size.
    """

    iterations: int
    log_interval: int
    snapshot_interval: int
    figure_interval: int
    seed: int = 0
    batchsize: int = 100  # of x⁺ and of x⁻
    start_size: int = 1000  # data points from which weight normalization starts
    n_latent: int = 4
    n_hidden: int = 128
    n_experts: int = 4
    sigma: float = 1.0
    alpha: float = 2e-4  # Adam's learning rate, for both models
    beta1: float = 0.5
    beta2: float = 0.999
    eps: float = 1e-8
    gradient_norm: float = 10.0  # to which the gradient of one model is clipped

    # What a resumed run may change: how long it runs and what it shows, but not what it computes.
    CHANGEABLE: ClassVar = ('iterations', 'log_interval', 'snapshot_interval', 'figure_interval')
    # Of a batch of one, BatchNormalization would make zeros.
    MINIMUM: ClassVar = {'seed': 0, 'log_interval': 0, 'snapshot_interval': 0, 'figure_interval': 0, 'batchsize': 2}

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            minimum = self.MINIMUM.get(field.name, 1 if field.type is int else 0)
            if type(value) is not field.type or value < minimum:
                raise ValueError('{} is {!r}'.format(field.name, value))


@dataclasses.dataclass(frozen=True)
class Preset:
    """A line for ``--help`` and the settings behind it."""

    description: str
    settings: Settings


DEFAULT = 'default'

_LONG = Preset(
    "the long run of 2016 (train.py): 1,000 epochs of 500 iterations; hours",
    Settings(iterations=500_000, log_interval=500, snapshot_interval=5_000, figure_interval=5_000))

PRESETS = {
    'gaussian_mixture': {
        DEFAULT: Preset(
            "the 2016 code's networks and numbers for about two minutes on two cores",
            Settings(iterations=20_000, log_interval=100, snapshot_interval=2_000, figure_interval=200)),
        'post': Preset(
            "the post's video: 1,000 epochs of 10 iterations, a frame an epoch",
            Settings(iterations=10_000, log_interval=10, snapshot_interval=1_000, figure_interval=10)),
        'long': _LONG,
    },
    'swiss_roll': {
        DEFAULT: Preset(
            "the 2016 code's networks and numbers for about two minutes on two cores",
            Settings(iterations=20_000, log_interval=100, snapshot_interval=2_000, figure_interval=200)),
        'post': Preset(
            "the post's video: 1,000 epochs of 2 iterations, a frame an epoch",
            Settings(iterations=2_000, log_interval=2, snapshot_interval=200, figure_interval=2)),
        'long': _LONG,
    },
}
