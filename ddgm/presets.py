"""The published configurations by name: plain numbers, so that ``--help`` can list them without importing Chainer."""

import dataclasses
import math
from typing import ClassVar


@dataclasses.dataclass(frozen=True)
class Settings:
    """Every number that decides a run's result, those that all tasks have; subclasses add a task's own.

    Intervals are in iterations; 0 means only at the end.  Raises ``ValueError`` for a value of the wrong type or size.
    """

    iterations: int
    log_interval: int
    snapshot_interval: int
    figure_interval: int
    seed: int = 0
    batchsize: int = 128  # of x⁺ and of x⁻
    n_latent: int = 10
    n_experts: int = 128
    sigma: float = 1.0
    optimizer: str = 'adam'
    energy_learning_rate: float = 2e-4
    generator_learning_rate: float = 2e-4
    beta1: float = 0.5  # Adam's
    beta2: float = 0.999
    eps: float = 1e-8  # Adam's and AdaGrad's
    gradient_norm: float = 10.0  # to which the gradient of one model is clipped; 0: not clipped
    energy_weight_decay: float = 0.0
    generator_first: bool = False  # of the two updates of an iteration
    population_batches: int = 400  # over which BatchNormalization's statistics are averaged after training

    # Beyond the paper; see ddgm.training.  As they stand here they change nothing.
    energy_penalty: float = 0.0  # on E², of both phases
    langevin_steps: int = 0  # by which x⁻ is refined before the DEM sees it
    langevin_step_size: float = 1e-3
    entropy_weight: float = 1.0  # of the paper's entropy, read from γ
    volume_entropy_weight: float = 0.0  # of the entropy that G's Jacobian tells
    decay_from: int = 0  # iteration from which on the learning rates fall as a power of the iteration; 0: they don't
    decay_power: float = 1.0
    averaged: bool = False  # whether the finished models are averages over the last part of the run

    # Those of them that have flags; runs of earlier versions lack them in their settings.json.
    BEYOND_THE_PAPER: ClassVar = (
        'energy_penalty', 'langevin_steps', 'langevin_step_size', 'entropy_weight', 'volume_entropy_weight',
        'decay_from', 'decay_power', 'averaged')
    # What a resumed run may change: how long it runs and what it shows, but not what it computes.
    CHANGEABLE: ClassVar = ('iterations', 'log_interval', 'snapshot_interval', 'figure_interval')
    # Of whole numbers but the seed: the video's frames are numbered with nine digits.
    LARGEST: ClassVar = 10 ** 9 - 1
    # Of a batch of one, BatchNormalization would make zeros.
    MINIMUM: ClassVar = {
        'seed': 0, 'log_interval': 0, 'snapshot_interval': 0, 'figure_interval': 0, 'batchsize': 2,
        'langevin_steps': 0, 'decay_from': 0, 'proposals': 0, 'proposals_from': 0, 'binary_latents': 0}
    CHOICES: ClassVar = {
        'optimizer': ('adam', 'adagrad'),
        'energy_normalization': ('none', 'weight', 'batch'),
        'generator_normalization': ('none', 'weight'),
        'network': ('post', 'last_commit', 'author'),
    }

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            allowed = type(value) is field.type
            if allowed and field.type is str:
                allowed = value in self.CHOICES[field.name]
            elif allowed and field.type is int:
                smallest, largest = self.limits(field.name)
                allowed = smallest <= value <= largest
            elif allowed:
                allowed = value >= 0
            if not allowed:
                raise ValueError('{} is {!r}'.format(field.name, value))
        if self.langevin_steps and not self.langevin_step_size:
            raise ValueError('langevin_step_size is 0, so langevin_steps would not move anything')

    @classmethod
    def limits(cls, name):
        """The smallest and the largest value of a setting that is a whole number."""
        return cls.MINIMUM.get(name, 1), math.inf if name == 'seed' else cls.LARGEST

    @classmethod
    def of_earlier_versions(cls):
        """The settings that runs of earlier versions lack, as they stand for such a run: they change nothing."""
        return {field.name: field.default for field in dataclasses.fields(cls) if field.name in cls.BEYOND_THE_PAPER}

    def deciding(self):
        """Those settings by name that decide what is computed up to an iteration."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in self.CHANGEABLE}


@dataclasses.dataclass(frozen=True)
class ToySettings(Settings):
    """Those of both tasks in the plane."""

    batchsize: int = 100
    n_latent: int = 4
    n_hidden: int = 128
    n_experts: int = 4
    start_size: int = 1000  # data points from which weight normalization starts

    # Beyond the paper.
    neighbour_entropy_weight: float = 0.0  # of the entropy that nearest neighbours tell
    neighbours: int = 10
    neighbour_batches: int = 5  # of fresh samples, among which the neighbours are looked for
    proposals: int = 0  # drawn in each iteration; x⁻ of the DEM are chosen among them
    proposal_deviation: float = 2.0  # of the Gaussian around the origin that they are drawn from
    near_deviation: float = 0.0  # of Gaussians around G's samples, where one half of them comes from; 0: none does
    proposals_from: int = 0  # iterations before proposals take the place of Langevin steps and of the penalty
    feature_layers: int = 2  # of f
    generator_layers: int = 2  # hidden ones
    binary_latents: int = 0  # numbers of z, besides n_latent, that are −1 or 1
    BEYOND_THE_PAPER: ClassVar = Settings.BEYOND_THE_PAPER + (
        'neighbour_entropy_weight', 'neighbours', 'neighbour_batches', 'feature_layers', 'generator_layers',
        'proposals', 'proposal_deviation', 'near_deviation', 'proposals_from', 'binary_latents')

    def __post_init__(self):
        super().__post_init__()
        if self.neighbour_entropy_weight and self.neighbours > self.neighbour_batches * self.batchsize:
            raise ValueError('neighbours is {}, and neighbour_batches times batchsize is {}'.format(
                self.neighbours, self.neighbour_batches * self.batchsize))
        if self.proposals and not self.proposals_from and (self.langevin_steps or self.energy_penalty):
            raise ValueError(
                'proposals is {} from the first iteration on, in place of langevin_steps and energy_penalty: they must '
                'be 0'.format(self.proposals))
        if self.proposals and not self.proposal_deviation:
            raise ValueError('proposals is {}, and proposal_deviation 0, so that all would be one point'.format(
                self.proposals))
        if self.volume_entropy_weight and self.n_latent + self.binary_latents > 2:
            raise ValueError(
                'volume_entropy_weight needs z of at most 2 numbers: preset calibrated has 2, this one {}'.format(
                    self.n_latent + self.binary_latents))


@dataclasses.dataclass(frozen=True)
class MNISTSettings(Settings):
    """Those of the handwritten digits."""

    energy_normalization: str = 'none'
    generator_normalization: str = 'none'
    binarized: bool = True  # afresh at each draw
    noise: float = 0.3  # standard deviation in the feature extractor
    start_size: int = 6000  # images, or z, from which weight normalization starts

    # Beyond the paper.
    convolutional: bool = False  # both networks
    BEYOND_THE_PAPER: ClassVar = Settings.BEYOND_THE_PAPER + ('convolutional',)

    def __post_init__(self):
        super().__post_init__()
        if self.convolutional and {self.energy_normalization, self.generator_normalization} != {'none'}:
            raise ValueError('convolutional is for presets without weight or batch normalization of the energy model')


@dataclasses.dataclass(frozen=True)
class ImageSettings(Settings):
    """Those of the 64×64 images."""

    network: str = 'post'
    width: float = 1.0  # factor of all numbers of channels
    linear_experts: bool = False
    weight_normalization: bool = False  # of both models
    dropout: float = 0.5  # in the feature extractor
    population_batches: int = 50
    start_size: int = 128  # images, or z, from which weight normalization starts


@dataclasses.dataclass(frozen=True)
class Preset:
    """The settings behind a name, and what ``--help`` says of it; ``takes`` is a time on two cores."""

    description: str
    settings: Settings
    takes: str


_LONG = Preset(
    "the long run of 2016 (train.py): 1,000 epochs of 500 iterations",
    ToySettings(iterations=500_000, log_interval=500, snapshot_interval=5_000, figure_interval=5_000),
    'half an hour to an hour')


def _mnist(**changes):
    return MNISTSettings(
        **{'iterations': 24_000, 'log_interval': 100, 'snapshot_interval': 1_000, 'figure_interval': 200, **changes})


def _images(**changes):
    return ImageSettings(
        **{'iterations': 4_000, 'log_interval': 20, 'snapshot_interval': 200, 'figure_interval': 40, **changes})


def _calibrated_toy(**changes):
    return ToySettings(**{
        'iterations': 10_000, 'log_interval': 100, 'snapshot_interval': 1_000, 'figure_interval': 100, 'batchsize': 400,
        'n_latent': 2, 'n_experts': 32, 'feature_layers': 3, 'generator_layers': 5, 'energy_learning_rate': 1e-3,
        'generator_learning_rate': 1e-3, 'energy_penalty': 0.003, 'langevin_steps': 10, 'entropy_weight': 0.0,
        'neighbour_entropy_weight': 1.0, 'decay_from': 1_500, 'averaged': True, **changes})


def _density(**changes):
    return _calibrated_toy(**{'proposals': 4_000, 'near_deviation': 0.1, 'binary_latents': 6, **changes})


# By task; the first of each is the script's default.
PRESETS = {
    'gaussian_mixture': {
        'default': Preset(
            "the 2016 code's networks and numbers",
            ToySettings(iterations=20_000, log_interval=100, snapshot_interval=2_000, figure_interval=200),
            'one to two minutes'),
        'post': Preset(
            "the post's video: 1,000 epochs of 10 iterations, a frame an epoch",
            ToySettings(iterations=10_000, log_interval=10, snapshot_interval=1_000, figure_interval=10),
            'two minutes'),
        'long': _LONG,
        'calibrated': Preset(
            "beyond the post: an energy that is a density; larger networks", _calibrated_toy(), 'ten minutes'),
        'density': Preset(
            "beyond the post: an energy with empty valleys, which can be sampled",
            _density(proposals_from=1_500, neighbour_entropy_weight=1.2), 'ten minutes'),
    },
    'swiss_roll': {
        'default': Preset(
            "the 2016 code's networks and numbers",
            ToySettings(iterations=20_000, log_interval=100, snapshot_interval=2_000, figure_interval=200),
            'one to two minutes'),
        'post': Preset(
            "the post's video: 1,000 epochs of 2 iterations, a frame an epoch",
            ToySettings(iterations=2_000, log_interval=2, snapshot_interval=200, figure_interval=2), 'two minutes'),
        'long': _LONG,
        'calibrated': Preset(
            "beyond the post: an energy that is a density; larger networks",
            _calibrated_toy(iterations=6_000, n_experts=4, energy_penalty=3e-4, neighbour_entropy_weight=0.35),
            'five minutes'),
        'density': Preset(
            "beyond the post: an energy with empty valleys, which can be sampled",
            _density(energy_penalty=0.0, langevin_steps=0), 'ten minutes'),
    },
    'mnist': {
        'post': Preset(
            "succeeds: plain layers, binarized data, as the code was until 2016-10-24; the post's good picture",
            _mnist(), 'ten to thirty minutes'),
        'grey': Preset(
            "weight normalization everywhere, data as it is",
            _mnist(energy_normalization='weight', generator_normalization='weight', binarized=False),
            'ten to thirty minutes'),
        'batch_normalized_energy': Preset(
            "BatchNormalization in the DEM, of which the post says that it fails; plain layers, binarized data",
            _mnist(iterations=4_000, energy_normalization='batch'), 'two to five minutes'),
        'weight_normalized_energy': Preset(
            "weight normalization in the DEM only, binarized data",
            _mnist(iterations=8_000, energy_normalization='weight'), 'three to ten minutes'),
        'last_commit': Preset(
            "the last commit of 2016-11-20: weight normalization everywhere, binarized data",
            _mnist(iterations=8_000, energy_normalization='weight', generator_normalization='weight'),
            'three to ten minutes'),
        'calibrated': Preset(
            "beyond the post: data as it is, larger batches, a penalty, high rates that fall, averaged models",
            _mnist(
                iterations=6_000, binarized=False, batchsize=256, energy_learning_rate=1e-3,
                generator_learning_rate=1e-3, energy_penalty=1e-4, decay_from=1_500, averaged=True),
            'five to twenty minutes'),
        'convolutional': Preset(
            "beyond the post: convolutions, a larger z, rates that stay; the rest as calibrated",
            _mnist(
                iterations=4_500, convolutional=True, binarized=False, batchsize=256, n_latent=32,
                energy_learning_rate=1e-3, generator_learning_rate=1e-3, energy_penalty=1e-4, averaged=True),
            'twenty to forty minutes'),
    },
    'images': {
        'post': Preset(
            "the post's networks and energy, with linear experts", _images(linear_experts=True),
            'two to seven hours (--width 0.25 -b 64: a quarter of an hour or more)'),
        'post_softplus': Preset("the post's networks with the paper's experts", _images(), 'two to seven hours'),
        'weight_normalized': Preset(
            "the post's networks under weight normalization, with linear experts",
            _images(linear_experts=True, weight_normalization=True), 'two to seven hours'),
        'last_commit': Preset(
            "the last commit of 2016-11-20: minibatch discrimination, 512 experts",
            _images(network='last_commit', n_experts=512), 'two to seven hours'),
        'calibrated': Preset(
            "beyond the post: its networks with a penalty, high rates that fall, averaged models",
            _images(
                linear_experts=True, energy_learning_rate=1e-3, generator_learning_rate=1e-3, energy_penalty=1e-4,
                decay_from=1_000, averaged=True),
            'two to seven hours (--width 0.25 -b 64: a quarter of an hour or more)'),
        'author': Preset(
            "the paper author's own: 5×5 kernels, experts alone, AdaGrad, generator first",
            _images(
                network='author', batchsize=64, n_latent=100, n_experts=1024, optimizer='adagrad',
                energy_learning_rate=1e-3, generator_learning_rate=2e-3, energy_weight_decay=1e-5, gradient_norm=0.0,
                eps=1e-3,  # the author's stands under the root: √(sum + 1e-6)
                generator_first=True),
            'three to ten hours'),
    },
}


def default_preset(task):
    """The name of the preset that a task's script uses unless told otherwise."""
    return next(iter(PRESETS[task]))


def settings_class(task):
    """The class of a task's settings."""
    return type(PRESETS[task][default_preset(task)].settings)
