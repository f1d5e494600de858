"""Every file of docs/results/: what measures it, what that takes, and what stands beside it."""

import dataclasses

from benchmarks import ROOT
from benchmarks.results import aims, record

# What decides how long a step takes: what starts, saves and logs a run is outside.  Presets are apart too: those that
# are timed are the post's, which stay.
STEP = tuple('ddgm/' + name for name in (
    'training.py', 'models.py', 'objectives.py', 'equations.py', 'links.py', 'networks', 'beyond_the_paper', 'fast',
    'data/distributions.py', 'data/mnist.py', 'data/image_folder.py', 'support/compatibility.py',
    'support/randomness.py'))

COMPILED = 'Chainer', 'NumPy', 'numba'  # the packages of a study whose runs are compiled


@dataclasses.dataclass(frozen=True)
class Result:
    """One file of docs/results/.

    Attributes:
        name (str): The file's.
        words (tuple): The command after ``python``; a study records nothing by itself.
        minutes (int): About, on two cores.
        needs (tuple): Of ``'mnist'`` and ``'images'``, the folders of data that are handed over.
        steps (bool): Whether it is about steps alone, whatever scores, draws and compares runs.
        presets (tuple): What it trains, where its figures follow from the bits that training computes.
        cases (tuple): Of a study, those that are measured, or tasks whose are; none: all.
        pictures (tuple): Of a study, those that the documents show: its own name, that in docs/, and the width there.
        packages (tuple): Whose versions are told of a study; it is left out where one of them is not installed.  With
            numba among them its runs are compiled; else they are not, since a compiled run has other bits.
    """

    name: str
    words: tuple
    minutes: int
    needs: tuple = ()
    steps: bool = False
    presets: tuple = ()
    cases: tuple = ()
    pictures: tuple = ()
    packages: tuple = ('Chainer', 'NumPy')

    @property
    def study(self):
        """The name that ``ddgm.studies`` knows it by; ``None`` where it is none."""
        return self.words[2] if self.words[:2] == ('-m', 'ddgm.studies') else None

    @property
    def numba(self):
        """Whether a study's runs are compiled, as ``DDGM_USE_NUMBA`` says it."""
        return 'always' if 'numba' in self.packages else 'never'

    @property
    def program(self):
        """The file that measures it, ``None`` for a study of the package."""
        for word in self.words:
            if word.startswith('benchmarks.'):
                path = word.replace('.', '/')
                return path + ('/__main__.py' if (ROOT / path).is_dir() else '.py')
            if word.endswith('.py'):
                return word
        return None

    @property
    def code(self):
        """The files and folders that decide what is measured."""
        return (*(STEP if self.steps else record.CODE), *([self.program] if self.program else []))

    @property
    def compared(self):
        """What ``benchmarks.checks.same_bits`` compares of it: nothing, where times are measured."""
        return self.presets or ((self.study,) if self.study else ())


def study(name, study, minutes, needs=(), *flags, **more):
    """The result of a study, by the name that ``ddgm.studies`` knows it by."""
    return Result(name, ('-m', 'ddgm.studies', study, *flags), minutes, needs, **more)


ALL = (
    study(
        'plane', 'benchmarks.results.plane', 25, (), '--seeds', '16',
        presets=('gaussian_mixture/default', 'swiss_roll/default')),
    study(
        'plane_compiled', 'benchmarks.results.plane_compiled', 40, (), '--first_seed', '30', '--seeds', '16',
        packages=COMPILED),
    study(
        'density', 'benchmarks.results.density', 45, presets=('gaussian_mixture/density', 'swiss_roll/density'),
        pictures=tuple((name, name, 440) for name in ('density_gaussian_mixture.png', 'density_swiss_roll.png'))),
    # Presets that were tuned with the seeds 0 to 2, on others: each by itself, since all of them take hours.
    *(study('fresh_' + case.replace('/', '_'), 'benchmarks.results.fresh_seeds', minutes, needs, '--first_seed', '3',
            cases=(case,), packages=COMPILED)
      for case, minutes, needs in (
          ('gaussian_mixture/calibrated', 10, ()), ('gaussian_mixture/density', 20, ()),
          ('swiss_roll/calibrated', 10, ()), ('swiss_roll/density', 20, ()), ('mnist/calibrated', 20, ('mnist',)),
          ('mnist/convolutional', 40, ('mnist',)), ('images/calibrated', 45, ('images',)))),
    study('estimator', 'benchmarks.results.estimator', 25, packages=('Chainer', 'NumPy', 'scikit-learn')),
    study(
        'digits', 'benchmarks.results.published_digits', 60, ('mnist',),
        presets=('mnist/post', 'mnist/batch_normalized_energy', 'mnist/last_commit')),
    study(
        'icons', 'benchmarks.results.published_icons', 85, ('images',),
        presets=('images/post', 'images/calibrated')),
    study('likelihood', 'benchmarks.results.likelihood', 270, ('mnist',), cases=('mnist',), packages=COMPILED),
    study(
        'likelihood_of_icons', 'benchmarks.results.likelihood', 240, ('images',), cases=('images',), packages=COMPILED),
    study(
        'likelihood_in_the_plane', 'benchmarks.results.likelihood', 30, (), '--first_seed', '3',
        cases=('gaussian_mixture', 'swiss_roll'), packages=COMPILED),
    study(
        'digit_density', 'benchmarks.results.digit_density', 40, ('mnist',), '--first_seed', '3',
        packages=(*COMPILED, 'scikit-learn')),
    study(
        'beside_pytorch', 'benchmarks.results.beside_pytorch', 10, presets=('gaussian_mixture/default',),
        pictures=(('comparison.png', 'comparison.png', 720),), packages=('Chainer', 'NumPy', 'torch')),
    study(
        'beside_libraries', 'benchmarks.results.beside_libraries', 35, (), '--jobs', '1', '-n', '1000',
        packages=('Chainer', 'NumPy', 'numba', 'torch', 'ebmkit', 'torchebm', 'zuko', 'scikit-learn')),
    Result('speed', ('-m', 'benchmarks.speed', '--record'), 35, steps=True),
    Result('speed_sizes', (
        '-m', 'benchmarks.speed', '--scaling', '--record', '--sides', 'ours_compiled', 'pytorch', 'pytorch_tuned'), 15,
        steps=True),
    Result('speed_busy', (
        '-m', 'benchmarks.speed', '--busy', '--record', '--sides', 'ours_compiled', 'pytorch_tuned'), 5, steps=True),
    Result('speed_startup', ('-m', 'benchmarks.speed', '--startup', '--record', '--rounds', '2'), 10),
    Result('convolution', ('-m', 'benchmarks.speed.convolution', '--record'), 10, ('images',), steps=True),
    study('calibration', 'calibration', 60, cases=('gaussian_mixture', 'swiss_roll')),
    study('calibrated_digits', 'calibration', 90, ('mnist',), cases=('mnist',)),
    study('entropy', 'entropy', 20, pictures=(('entropy.png', 'studies_entropy.png', 1100),)),
    study('activations', 'activations', 15, pictures=(
        ('activations_gaussian_mixture.png', 'studies_activations.png', 900),)),
    study(
        'average_digit', 'digits', 10, ('mnist',), '-n', '600', '--seeds', '5', pictures=(
            ('digits.png', 'studies_digits.png', 1100), ('digits_samples.png', 'studies_digits_samples.png', 600))),
    study('collapses_of_digits', 'failures', 90, ('mnist',), '--seeds', '5', cases=('mnist',)),
    study('collapses_of_icons', 'failures', 35, ('images',), '--seeds', '5', cases=('images',)),
    study(  # of icons it trains a sixth of these iterations, the preset's own
        'collapses_of_icons_longer', 'failures', 30, ('images',), '--seeds', '5', '-n', '24000',
        cases=('images/last_commit',)),
    study('differences', 'differences', 60),
    study('detector', 'detector', 60, ('mnist', 'images'), pictures=(('detector.png', 'studies_detector.png', 1100),)),
    study('features_and_z', 'correlations', 30, ('mnist',), pictures=(
        ('correlations.png', 'studies_correlations.png', 1000),
        ('correlations_mnist_post.png', 'studies_experts.png', 500))),
    study('analogies', 'analogies', 60, ('mnist', 'images'), pictures=(
        ('analogies_mnist_calibrated.png', 'studies_analogies.png', 300),
        ('analogies_images_post.png', 'studies_analogies_icons.png', 500))),
    Result('processes', ('-m', 'benchmarks.speed.processes'), 15, ('mnist', 'images')),
    Result('gpu_counts', ('-m', 'benchmarks.speed.gpu_counts'), 2, steps=True),
    Result('scaling', ('-m', 'benchmarks.speed.scaling'), 1, steps=True),
    Result('scale', ('-m', 'benchmarks.results.scale'), 2, ('mnist', 'images')),
    Result('rounding', ('-m', 'benchmarks.checks.rounding'), 5, ('mnist', 'images')),
    Result('large_data', ('-m', 'benchmarks.speed.large_data'), 5),
    Result('reliability', (
        '-m', 'pytest', 'tests/test_faults.py', 'tests/test_fuzz.py', 'tests/test_processes.py', '--thorough',
        '--record', '-n', 'auto', '--dist', 'worksteal'), 20),
)
_SCORES = 'log_likelihood', 'kl_data_energy', 'kl_energy_data', 'kl_generator_data'


def aim(task, preset):
    """The row below one of a preset that was tuned here."""
    return ['aim, `{}`'.format(preset), None, aims.AIMS[task][preset]]


# Rows that stand below those of a study, from other results; and what is aimed at.
BESIDE = {
    ('calibration', 'gaussian_mixture'): [
        ['`default`', 20_000, 'plane.gaussian_mixture_20000.{}.ours'],
        ['real data', None, 'plane.gaussian_mixture_20000.{}.real data'],
        aim('gaussian_mixture', 'calibrated')],
    ('calibration', 'swiss_roll'): [
        ['`default`', 20_000, 'plane.swiss_roll_20000.{}.ours'],
        aim('swiss_roll', 'calibrated')],
    ('calibrated_digits', 'mnist'): [aim('mnist', 'calibrated'), aim('mnist', 'convolutional')],
    ('fresh_gaussian_mixture_calibrated', 'gaussian_mixture'): [
        ['`default`', 20_000, 'plane.gaussian_mixture_20000.{}.ours']],
    ('fresh_swiss_roll_calibrated', 'swiss_roll'): [['`default`', 20_000, 'plane.swiss_roll_20000.{}.ours']],
    ('fresh_mnist_calibrated', 'mnist'): [['`post`', 4_000, 'calibrated_digits.mnist.post.{}']],
    ('fresh_images_calibrated', 'images'): [['`post`', 2_500, 'icons.published.{}.post, 2,500 iterations']],
    ('digit_density', 'samples'): [['aim, `calibrated`', None, {
        name: {'from': 'calibrated_digits.mnist.aim, calibrated.' + name} for name in ('frechet', 'class_kl')}]],
    ('beside_libraries', 'scores'): [
        ['`{}`, whole{}'.format(preset, ', refined' if 'refined' in row else ''), None, {
            metric: {'from': '{}.{}'.format(table, row.format(metric))} for metric in metrics}]
        for preset, table, row, metrics in (
            ('calibrated', 'calibration.gaussian_mixture', 'calibrated.{}', ('log_likelihood', 'kl_generator_data')),
            ('density', 'density.gaussian_mixture', 'samples of the generator.{}', _SCORES),
            ('density', 'density.gaussian_mixture', 'refined under the energy model.{}', _SCORES))],
}
