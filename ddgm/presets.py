"""The published configurations by name: plain numbers, so that ``--help`` can list them without importing Chainer."""

import dataclasses
import functools
import math
import sys
import typing
from typing import ClassVar


@dataclasses.dataclass(frozen=True)
class Told:
    """What is known of a setting beside its type and its default.

    Attributes:
        flag (str): What ``--help`` says of the flag of its name; ``None``: it has no flag.
        short (str): A letter that is a flag for it, too.
        metavar (str): What ``--help`` calls its value; ``None``: N, X or NAME.
        minimum, maximum: Of a number; where they are ``None``, a whole number is from 1 on, any other from 0 on.
        choices (tuple): What it may be; ``None``: anything.
        beyond (bool): Whether it leads beyond the paper.  Its default does not, and runs of earlier versions lack it.
    """

    flag: str = None
    short: str = None
    metavar: str = None
    minimum: float = None
    maximum: float = None
    choices: tuple = None
    beyond: bool = False


def setting(default=dataclasses.MISSING, **told):
    """A field of :class:`Settings`, an int, float, bool or str, of which :class:`Told` knows more than a default."""
    return dataclasses.field(default=default, metadata={'told': Told(**told)})


_BELOW_1 = 0.999999  # the largest number that is taken where 1 would leave nothing


def _interval(what):
    return setting(flag="iterations between {}; 0: only at the end (default: the preset's)".format(what), minimum=0)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Every number that decides a run's result, those that all tasks have; subclasses add a task's own.

    Raises ``ValueError`` for a value of the wrong type or size.
    """

    iterations: int = setting(flag="updates of each of the two models (default: the preset's)", short='n')
    log_interval: int = _interval('log entries')
    snapshot_interval: int = _interval('snapshots')
    figure_interval: int = _interval('frames of the video')
    seed: int = setting(0, flag='of all random numbers (default: 0)', short='s', minimum=0, maximum=math.inf)
    batchsize: int = setting(  # of x⁺ and of x⁻; of one alone BatchNormalization would make zeros
        128, flag="data and samples an iteration, from 2 on (default: the preset's)", short='b', minimum=2)
    n_latent: int = 10
    n_experts: int = 128
    sigma: float = setting(1.0, minimum=1e-3, maximum=1e6)
    optimizer: str = setting('adam', choices=('adam', 'adagrad'))
    energy_learning_rate: float = 2e-4
    generator_learning_rate: float = 2e-4
    beta1: float = setting(0.5, maximum=_BELOW_1)  # Adam's
    beta2: float = setting(0.999, maximum=_BELOW_1)
    eps: float = setting(1e-8, minimum=1e-30)  # Adam's and AdaGrad's; of 0 a gradient of 0 would make NaN
    gradient_norm: float = 10.0  # to which the gradient of one model is clipped; 0: not clipped
    energy_weight_decay: float = 0.0
    generator_first: bool = False  # of the two updates of an iteration
    start_size: int = setting(1000, minimum=2)  # data points, or z, from which weight normalization starts
    population_batches: int = 400  # over which BatchNormalization's statistics are averaged after training

    # Beyond the paper; see ddgm.training.
    energy_penalty: float = setting(
        0.0, flag="weight of the energies' squares in the energy model's loss", beyond=True)
    langevin_steps: int = setting(
        0, flag='Langevin steps that refine x⁻ before the energy model sees it', minimum=0, beyond=True)
    langevin_step_size: float = setting(1e-3, flag='their size ε, in squared units of x', beyond=True)
    entropy_weight: float = setting(1.0, flag="of the paper's entropy, which is read from γ", beyond=True)
    volume_entropy_weight: float = setting(
        0.0, flag="of the entropy that the generator's Jacobian tells", beyond=True)
    decay_from: int = setting(
        0, flag='iteration from which on the learning rates fall; 0: they stay', minimum=0, beyond=True)
    decay_power: float = setting(1.0, flag='they fall as the iteration to the minus this power', beyond=True)
    averaged: bool = setting(False, flag='finish with averages over the last part of the run', beyond=True)
    annealing_steps: int = setting(
        250, flag='steps of annealing, by which log Z is found between two ends; more of them narrow the gap',
        beyond=True)

    # What a resumed run may change: how long it runs and what it shows, but not what it computes.
    CHANGEABLE: ClassVar = ('iterations', 'log_interval', 'snapshot_interval', 'figure_interval', 'annealing_steps')
    # Of whole numbers but the seed: the video's frames are numbered with nine digits.
    LARGEST: ClassVar = 10 ** 9 - 1

    def __post_init__(self):
        for name, kind in self.types().items():
            value = getattr(self, name)
            allowed = type(value) is kind
            if allowed and self.told_of(name).choices:
                allowed = value in self.told_of(name).choices
            elif allowed and kind in (int, float):
                smallest, largest = self.limits(name)
                allowed = smallest <= value <= largest
            if not allowed:
                raise ValueError('{} is {!r}'.format(name, value))
        if self.langevin_steps and not self.langevin_step_size:
            raise ValueError('langevin_step_size is 0, so langevin_steps would not move anything')

    @classmethod
    @functools.lru_cache(None)
    def types(cls):
        """The type of each setting by name, in their order."""
        types = typing.get_type_hints(cls)  # a field's own is a text where its module postpones annotations
        return {field.name: types[field.name] for field in dataclasses.fields(cls)}

    @classmethod
    def of_json(cls, values):
        """The settings that JSON values by name stand for; 1 may stand for 1.0, and 1.0 for 1, as other tools write.

        Raises ``KeyError`` where one is missing, ``ValueError`` or ``OverflowError`` where one can't be.
        """
        values, types = {**cls.of_earlier_versions(), **values}, cls.types()
        return cls(**{
            name: kind(values[name])
            if {kind, type(values[name])} == {int, float} and kind(values[name]) == values[name] else values[name]
            for name, kind in types.items()})

    @classmethod
    def told_of(cls, name):
        """What a class said of a setting, or one that it derives from: another default changes nothing of it."""
        fields = (base.__dict__.get('__dataclass_fields__', {}).get(name) for base in cls.__mro__)
        return next((field.metadata['told'] for field in fields if field and 'told' in field.metadata), Told())

    @classmethod
    def limits(cls, name):
        """The smallest and the largest value of a setting that is a number."""
        told = cls.told_of(name)
        smallest, largest = (1, cls.LARGEST) if cls.types()[name] is int else (0, sys.float_info.max)
        return (smallest if told.minimum is None else told.minimum), told.maximum or largest

    @classmethod
    def of_earlier_versions(cls):
        """The settings that runs of earlier versions lack, as they stand for such a run: they change nothing."""
        return {field.name: field.default for field in dataclasses.fields(cls) if cls.told_of(field.name).beyond}

    def changes_of(self, preset):
        """Those settings that :meth:`deciding` names and a preset has otherwise, but for the seed; none of ``None``."""
        theirs = (preset or self).deciding()
        return {name: value for name, value in self.deciding().items() if name != 'seed' and value != theirs[name]}

    def told_beside(self, name, preset):
        """A preset's name, and how these settings change it: "post, with n_experts 64"."""
        changes = self.changes_of(preset)
        return name if not changes else '{}, with {}'.format(
            name, ', '.join(map('{} {}'.format, changes, map(text_of, changes.values()))))

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
    n_visible: ClassVar = 2  # numbers of one x

    # Beyond the paper.
    neighbour_entropy_weight: float = setting(0.0, flag='of the entropy that nearest neighbours tell', beyond=True)
    neighbours: int = setting(10, flag='how many of them', beyond=True)
    neighbour_batches: int = setting(5, flag='of fresh samples, among which they are looked for', beyond=True)
    proposals: int = setting(
        0, flag='points drawn in each iteration, among which x⁻ of the energy model are chosen', minimum=0, beyond=True)
    proposal_deviation: float = setting(
        2.0, flag='standard deviation of the Gaussian around the origin that they are drawn from', beyond=True)
    near_deviation: float = setting(
        0.0, flag="of Gaussians around the generator's samples, for one half of them; 0: for none", beyond=True)
    proposals_from: int = setting(
        0, flag='iterations before the proposals take the place of Langevin steps and of the penalty', minimum=0,
        beyond=True)
    feature_layers: int = setting(2, flag='layers of f(x)', beyond=True)
    generator_layers: int = setting(2, flag='hidden layers of G(z)', beyond=True)
    binary_latents: int = setting(
        0, flag='numbers of z, besides the others, that are −1 or 1', minimum=0, beyond=True)

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
class PointSettings(ToySettings):
    """Those of a user's own points, of as many numbers each as the data has columns."""

    n_visible: int = setting(2, maximum=64)

    def __post_init__(self):
        super().__post_init__()
        if self.proposals and self.n_visible > 2:
            raise ValueError('proposals are for points of one or two columns, and these have {}: give --preset '
                             'calibrated, which has none'.format(self.n_visible))


@dataclasses.dataclass(frozen=True)
class MNISTSettings(Settings):
    """Those of the handwritten digits."""

    energy_normalization: str = setting('none', choices=('none', 'weight', 'batch'))
    generator_normalization: str = setting('none', choices=('none', 'weight'))
    binarized: bool = True  # afresh at each draw
    noise: float = 0.3  # standard deviation in the feature extractor
    start_size: int = 6000

    # Beyond the paper.
    convolutional: bool = setting(False, flag='both networks of convolutions', beyond=True)
    wells: bool = setting(
        False, flag='an energy with a σ and a well at black for each pixel, beside the generator of convolutions; data '
        'with uniform noise', beyond=True)
    restarts: float = setting(
        0.0, flag="share of x⁻, which then are chains under the energy, that begins anew at the generator's samples in "
        'each iteration; 0: x⁻ are the samples', maximum=1.0, beyond=True)
    generator_from: str = setting(
        '', flag='model of the package, or folder of a run, whose generator this one begins as', metavar='RUN',
        beyond=True)

    def __post_init__(self):
        super().__post_init__()
        if self.convolutional and {self.energy_normalization, self.generator_normalization} != {'none'}:
            raise ValueError('convolutional is for presets without weight or batch normalization of the energy model')
        if self.wells and (self.convolutional or {self.energy_normalization, self.generator_normalization} != {'none'}):
            raise ValueError('wells has networks of its own: leave out convolutional, energy_normalization and '
                             'generator_normalization')
        if self.restarts and self.langevin_steps:
            raise ValueError('restarts makes chains of x⁻, which langevin_steps would not move: one of them must be 0')


@dataclasses.dataclass(frozen=True)
class ImageSettings(Settings):
    """Those of the images."""

    network: str = setting('post', choices=('post', 'last_commit', 'author'))
    width: float = setting(
        1.0, flag='of all numbers of channels; 0.25 suits a machine without a GPU (default: 1)', metavar='FACTOR',
        minimum=0.001, maximum=16)
    linear_experts: bool = False
    weight_normalization: bool = False  # of both models
    dropout: float = setting(0.5, maximum=0.99)  # in the feature extractor
    population_batches: int = 50
    start_size: int = 128

    # Beyond the paper.
    size: int = setting(64, flag="side of the pictures in pixels (default: 64)", choices=(32, 64, 128), beyond=True)
    grey: bool = setting(
        False, flag='networks with one channel (default: where no picture has colours)', beyond=True)

    def __post_init__(self):
        super().__post_init__()
        if self.network == 'author' and (self.linear_experts or self.weight_normalization):
            raise ValueError('linear_experts and weight_normalization are for networks other than the author\'s')


def text_of(value):
    """A setting's value as ``--set`` takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclasses.dataclass(frozen=True)
class Preset:
    """The settings behind a name, and what ``--help`` says of it.

    Attributes:
        description (str): What it is.
        settings (Settings): Its numbers.
        takes (str): A time on two cores.
        likelihood (bool): Whether a run ends with its likelihood where it is not told otherwise.
    """

    description: str
    settings: Settings
    takes: str
    likelihood: bool = False


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


def _calibrated_toy(settings=ToySettings, **changes):
    return settings(**{
        'iterations': 10_000, 'log_interval': 100, 'snapshot_interval': 1_000, 'figure_interval': 100, 'batchsize': 400,
        'n_latent': 2, 'n_experts': 32, 'feature_layers': 3, 'generator_layers': 5, 'energy_learning_rate': 1e-3,
        'generator_learning_rate': 1e-3, 'energy_penalty': 0.003, 'langevin_steps': 10, 'entropy_weight': 0.0,
        'neighbour_entropy_weight': 1.0, 'decay_from': 1_500, 'averaged': True, **changes})


def _density(settings=ToySettings, **changes):
    return _calibrated_toy(settings, **{'proposals': 4_000, 'near_deviation': 0.1, 'binary_latents': 6, **changes})


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
            "beyond the post: an energy that covers the data, and what lies between; larger networks",
            _calibrated_toy(), 'ten minutes'),
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
            "beyond the post: an energy that covers the data, and what lies between; larger networks",
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
        'density': Preset(
            "beyond the post: an energy that is a density; the generator of the package's digits goes on learning",
            _mnist(
                iterations=120, log_interval=10, snapshot_interval=20, figure_interval=10, binarized=False, noise=0.0,
                n_latent=32, wells=True, restarts=0.05, generator_from='digits', start_size=60_000,
                energy_learning_rate=5e-4, generator_learning_rate=3e-5, decay_from=60, averaged=True,
                annealing_steps=600),
            'three to five minutes', likelihood=True),
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
    'points': {
        'density': Preset(
            "an energy with empty valleys, which can be sampled; the default of one or two columns",
            _density(PointSettings, proposals_from=1_500, neighbour_entropy_weight=1.2), 'ten minutes'),
        'calibrated': Preset(
            "an energy that learns from the generator's samples alone, of any number of columns; the default of more "
            "than two",
            _calibrated_toy(PointSettings), 'ten minutes'),
    },
}
