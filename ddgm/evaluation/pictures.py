"""The task of pictures from a folder, without labels: how good samples are beside them.

There is nothing held out: the reference is the pictures that the run learns from, and where another metric would take
test images, the pictures are compared with one another.
"""

from __future__ import annotations

import functools

import chainer
import numpy
from chainer import initializers
from numpy.random import Generator

from ddgm.data.image_folder import ImageFolder
from ddgm.evaluation import metrics, sampling
from ddgm.evaluation.pixels import from_0_to_1
from ddgm.evaluation.reference import Reference
from ddgm.fast import functions as F, links as L
from ddgm.support import randomness
from ddgm.support.errors import UsageError

_AT_A_TIME = 100
_REFERENCE = 2_500  # pictures at most
_SEARCHED = 10_000  # pictures at most among which each sample's nearest one is looked for


class RandomFeatures(chainer.Chain):
    """A convolutional network with fixed random weights, the same everywhere: 64×64 RGB to 64 features.

    Distances between its features see edges and colours rather than single pixels (Naeem et al. 2020 find such features
    good enough for nearest-neighbour metrics).
    """

    def __init__(self):
        super().__init__()
        weight = initializers.HeNormal(rng=randomness.metric_generator(randomness.RANDOM_NETWORK))
        with self.init_scope():
            self.c1 = L.Convolution2D(3, 16, 4, 2, 1, initialW=weight)
            self.c2 = L.Convolution2D(16, 32, 4, 2, 1, initialW=weight)
            self.c3 = L.Convolution2D(32, 64, 4, 2, 1, initialW=weight)

    def forward(self, x):
        """(N, 3, 64, 64) in 0…1 to (N, 64)."""
        h = F.relu(self.c1(2 * x - 1))
        h = F.relu(self.c2(h))
        return F.mean(F.relu(self.c3(h)), axis=(2, 3))

    def features_of(self, x: numpy.ndarray) -> numpy.ndarray:
        """The same for NumPy arrays of any number of images."""
        return sampling.in_test_mode(self, x, _AT_A_TIME)


def downscale(x: numpy.ndarray) -> numpy.ndarray:
    """(N, 3, 64, 64) to (N, 192): means of 8×8 pixels."""
    return x.reshape(len(x), 3, 8, 8, 8, 8).mean(axis=(3, 5)).reshape(len(x), -1)


class Pictures(Reference):
    """64×64 images in colours, (N, 3, 64, 64), and what samples of them are held against.

    Metrics without suffix are computed on the features of :class:`RandomFeatures`, those that end in ``_pixels`` on
    means of 8×8 pixels, ``diversity`` and ``nearest_train`` on all pixels.

    So that they take no longer the more pictures there are, at most 2,500 pictures are the reference, and the nearest
    ones are looked for among 10,000 at most; these are drawn from all, the same ones for every run.  ``n_reference``
    and ``n_searched`` tell so where there are more.

    Args:
        folder: Of pictures, or an archive, of which at most 2,500 are the reference.
        batchsize (int): How many there have to be.
        cache: The folder for their pixels; see :class:`ddgm.data.image_folder.ImageFolder`.

    Raises ``UsageError`` where there are too few or they can't be a reference.
    """

    value_range = 0, 1

    def __init__(self, folder, batchsize: int = 2, cache: str | None = None):
        self._data = data = ImageFolder(folder, batchsize, cache)
        metrics.check_reference(data.images)
        self._spaces = {'': RandomFeatures().features_of, '_pixels': downscale}
        self.fingerprint = data.fingerprint
        found = '{:,} pictures in {}'.format(len(data), folder)
        kept = data.cache and 'pixels in {}'.format(data.cache.parent)
        self.description = '; '.join(filter(None, [found, kept, data.report()]))

    @functools.cached_property
    def _reference(self):
        # Made when something is scored: it takes four times the memory of the pictures.
        chosen = randomness.metric_generator(randomness.REFERENCE_DATA).permutation(len(self._data))[:_REFERENCE]
        return self._data.images[chosen].astype(numpy.float32) / 255

    def draw_data(self, n: int, rng: Generator) -> numpy.ndarray:
        return self._data.sample(n, rng)

    def real_data(self, n: int) -> None:
        return None  # nothing is held out: the reference is the pictures themselves

    def conform(self, array: numpy.ndarray) -> numpy.ndarray:
        if array.shape[1:] == (64, 64, 3):
            array = array.transpose(0, 3, 1, 2)
        if array.shape[1:] != (3, 64, 64):
            raise UsageError(
                'pictures have the shape (N, 3, 64, 64) or (N, 64, 64, 3), these have {}'.format(array.shape))
        return from_0_to_1(array)

    def score(self, x: numpy.ndarray, energy=None, settings=None) -> dict:
        """Score (N, 3, 64, 64) images, float32 in 0…1; N and the number of pictures above 5."""
        reference = self._reference
        diversity = metrics.diversity(x.reshape(len(x), -1), reference.reshape(len(reference), -1))
        scores = {'collapsed': diversity < metrics.COLLAPSED, 'diversity': diversity}
        for suffix, represent in self._spaces.items():
            points, reference_points = represent(x), represent(reference)
            half = len(reference) // 2
            by_name = {
                'frechet': metrics.frechet_distance(points, reference_points),
                'frechet_between_halves': metrics.frechet_distance(reference_points[:half], reference_points[half:]),
                **metrics.neighbour_scores(points, reference_points),
            }
            scores.update((name + suffix, value) for name, value in by_name.items())
        scores['nearest_train'] = float(
            numpy.median(self._nearest(x, self._searched())[0]) / numpy.median(self._distances_within()))
        # Of how many pictures these numbers tell, where it is not all.
        for name, n in (('n_reference', _REFERENCE), ('n_searched', _SEARCHED)):
            if len(self._data) > n:
                scores[name] = n
        if energy is not None:
            scores['energy_gap'] = float(energy(x).mean() - energy(reference).mean())
        return scores

    def known_data(self, n: int) -> list[numpy.ndarray]:
        return [self._searched()]

    def nearest_training(self, x: numpy.ndarray) -> numpy.ndarray:
        """The nearest pictures of (N, 3, 64, 64) images, among all there are, in 0…1."""
        images = self._data.images
        return images[self._nearest(x, images)[1]] / 255

    def _searched(self):
        """Those pictures among which the nearest ones are looked for: the same ones for all samples of the data."""
        images = self._data.images
        if len(images) <= _SEARCHED:
            return images
        return images[randomness.metric_generator(randomness.TRAINING_DATA).permutation(len(images))[:_SEARCHED]]

    @staticmethod
    def _nearest(x, images):
        """Distances to, and indexes of, the nearest of some pictures."""
        distances, indexes = metrics.nearest(255 * x.reshape(len(x), -1), images.reshape(len(images), -1))
        return distances / 255, indexes

    def _distances_within(self):
        """Of each reference picture to the nearest other one that differs."""
        flat = self._reference.reshape(len(self._reference), -1)
        distances = metrics.pairwise_distances(flat, flat)
        distances[distances < 1e-3] = numpy.inf  # itself, and copies
        return distances.min(axis=1)
