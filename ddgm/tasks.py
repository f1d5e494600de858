"""The four tasks by name, for what works with any of them: networks, reference data, metrics, arrays from elsewhere."""

import numpy

from ddgm import randomness
from ddgm.data.images import ImageFolder
from ddgm.data.mnist import MNIST, SIDE
from ddgm.data.toy import GaussianMixture, SwissRoll
from ddgm.errors import UsageError
from ddgm.evaluation import images as image_evaluation
from ddgm.evaluation import mnist as mnist_evaluation
from ddgm.evaluation import toy as toy_evaluation
from ddgm.networks import images, mnist, toy

_NETWORKS = {'gaussian_mixture': toy, 'swiss_roll': toy, 'mnist': mnist, 'images': images}


def build_models(task, settings, rng):
    """The DEM and the DGM of a task, as ``settings`` say, weights drawn from the NumPy generator ``rng``."""
    return _NETWORKS[task].build_models(settings, rng)


class _Plane:
    """What points of the plane, (N, 2), are held against; the other tasks' have the same methods.

    Attributes:
        exact_energy: −log p(x) of the data as a function of arrays, or ``None`` where it is not known.
        fingerprint (str): Of data that comes from files, else ``None``.
    """

    fingerprint = None

    def __init__(self, distribution, score, exact_energy=None):
        self._distribution, self._score, self.exact_energy = distribution, score, exact_energy

    def score(self, x, energy=None, settings=None):
        """The metrics of samples by name; with the energy of a run that has these ``settings``, those of it too."""
        return self._score(x, energy)

    def real_data(self, n):
        """n fresh data points to be scored beside samples, or ``None`` where there are none to spare."""
        return self._distribution.sample(n, randomness.metric_generator(randomness.FRESH_DATA))

    def shown_data(self, n):
        """n data points for a picture."""
        return self._distribution.sample(n, randomness.picture_generator(randomness.SHOWN_DATA))

    def as_shown(self, x):
        """Samples as the pictures take them: points, or images (N, H, W) or (N, 3, H, W)."""
        return x

    def conform(self, array):
        """Samples from elsewhere as float32 in this project's shape; raises ``UsageError`` where they can't be that."""
        if array.ndim != 2 or array.shape[1] != 2:
            raise UsageError('points of the plane have the shape (N, 2), these have {}'.format(array.shape))
        return array.astype(numpy.float32)


class _Digits:
    """28×28 images in grey, (N, 784)."""

    exact_energy = None

    def __init__(self, folder):
        self._data = MNIST(folder)
        self.fingerprint = self._data.fingerprint

    def score(self, x, energy=None, settings=None):
        binarized = energy is not None and settings.binarized
        return mnist_evaluation.Scores(self._data, binarized)(x, energy)

    def real_data(self, n):
        return self._data.sample(n, randomness.metric_generator(randomness.FRESH_DATA), binarized=False)

    def shown_data(self, n):
        return self._data.sample(n, randomness.picture_generator(randomness.SHOWN_DATA), binarized=False)

    def as_shown(self, x):
        return x.reshape(-1, SIDE, SIDE)

    def conform(self, array):
        if array.shape[1:] not in ((784,), (28, 28), (1, 28, 28), (28, 28, 1)):
            raise UsageError(
                'digits have the shape (N, 784), (N, 28, 28) or (N, 1, 28, 28), these have {}'.format(array.shape))
        return _from_0_to_1(array.reshape(len(array), -1))


class _Pictures:
    """64×64 images in colours, (N, 3, 64, 64)."""

    exact_energy = None

    def __init__(self, folder):
        self._data = ImageFolder(folder)
        self._score = image_evaluation.Scores(self._data.images)
        self.fingerprint = self._data.fingerprint

    def score(self, x, energy=None, settings=None):
        return self._score(x, energy)

    def real_data(self, n):
        return None  # nothing is held out: the reference is the pictures themselves

    def shown_data(self, n):
        return self._data.sample(n, randomness.picture_generator(randomness.SHOWN_DATA))

    def as_shown(self, x):
        return x

    def conform(self, array):
        if array.shape[1:] == (64, 64, 3):
            array = array.transpose(0, 3, 1, 2)
        if array.shape[1:] != (3, 64, 64):
            raise UsageError(
                'pictures have the shape (N, 3, 64, 64) or (N, 64, 64, 3), these have {}'.format(array.shape))
        return _from_0_to_1(array)


def _from_0_to_1(array):
    if array.dtype.kind in 'iu' and array.min() >= 0 and array.max() > 1:  # the levels of a picture file
        array = array / 255
    array = array.astype(numpy.float32)
    slack = 0.01  # what an interpolation may add
    if array.min() < -slack or array.max() > 1 + slack:
        raise UsageError('pixels run from 0 to 1, these from {:.3g} to {:.3g}{}'.format(
            array.min(), array.max(), ': save (x + 1) / 2' if array.min() >= -1 - slack and array.max() <= 1 + slack
            else ''))
    return array.clip(0, 1)


def open_reference(task, folder=None):
    """What samples of a task are held against; ``folder`` is that of the data where it comes from files.

    Raises ``UsageError`` where the data can't be read.
    """
    if task == 'mnist':
        return _Digits(folder)
    if task == 'images':
        return _Pictures(folder)
    if task == 'gaussian_mixture':
        mixture = GaussianMixture()
        return _Plane(mixture, toy_evaluation.score_gaussian_mixture, lambda x: -mixture.log_density(x))
    return _Plane(SwissRoll(), toy_evaluation.score_swiss_roll)
