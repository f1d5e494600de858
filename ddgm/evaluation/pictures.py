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
from ddgm.evaluation import metrics, pixels, sampling
from ddgm.evaluation.reference import Reference
from ddgm.fast import functions as F, links as L
from ddgm.support import randomness

_AT_A_TIME = 100
_REFERENCE = 2_500  # pictures at most
_SEARCHED = 10_000  # pictures at most among which each sample's nearest one is looked for


class RandomFeatures(chainer.Chain):
    """A convolutional network with fixed random weights, the same everywhere: pictures of any size to 64 features.

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
        """(N, 3, H, W) or (N, 1, H, W) in 0…1 to (N, 64); grey counts as three equal channels."""
        h = F.relu(self.c1(F.broadcast_to(2 * x - 1, (len(x), 3, *x.shape[2:]))))
        h = F.relu(self.c2(h))
        return F.mean(F.relu(self.c3(h)), axis=(2, 3))

    def features_of(self, x: numpy.ndarray) -> numpy.ndarray:
        """The same for NumPy arrays of any number of images."""
        return sampling.in_test_mode(self, x, _AT_A_TIME)


def downscale(x: numpy.ndarray) -> numpy.ndarray:
    """(N, C, H, W) to (N, 64C): means over the fields of a grid of 8×8; of 64×64 pixels these are 8×8 each."""
    n, n_channels, height, width = x.shape
    return x.reshape(n, n_channels, 8, height // 8, 8, width // 8).mean(axis=(3, 5)).reshape(n, -1)


class Pictures(Reference):
    """Square images, (N, 3, size, size) in colours or (N, 1, size, size) in grey, and what samples are held against.

    Metrics without suffix are computed on the features of :class:`RandomFeatures`, those that end in ``_pixels`` on
    :func:`downscale`, ``diversity`` and ``nearest_train`` on all pixels.

    So that they take no longer the more pictures there are, at most 2,500 pictures are the reference, and the nearest
    ones are looked for among 10,000 at most; these are drawn from all, the same ones for every run.  ``n_reference``
    and ``n_searched`` tell so where there are more.

    Args:
        folder: Of pictures, or another form that :class:`ddgm.data.image_folder.ImageFolder` reads.
        batchsize (int): How many there have to be.
        cache: The folder for their pixels; see there.
        size (int): Pixels of a side.
        grey (bool): Whether they are grey; ``None``: where none of them has colours.

    Raises ``UsageError`` where there are too few or they can't be a reference.
    """

    value_range = 0, 1
    form = None  # of each its own

    def __init__(
            self, folder, batchsize: int = 2, cache: str | None = None, size: int = 64, grey: bool | None = False):
        self._data = data = ImageFolder(folder, batchsize, cache, size, grey)
        metrics.check_reference(data.images)
        self._spaces = {'': RandomFeatures().features_of, '_pixels': downscale}
        self.fingerprint = data.fingerprint
        found = '{:,} pictures in {}'.format(len(data), folder)
        kept = data.cache and 'pixels in {}'.format(data.cache.parent)
        is_grey = data.images.shape[1] == 1
        self.form, self.decides = pixels.pictures(size, is_grey), {'grey': is_grey}
        form = '{0}×{0} pixels in {1}'.format(size, 'grey' if is_grey else 'colours')
        self.description = '; '.join(filter(None, [found, kept, data.report(), form]))

    @functools.cached_property
    def _reference(self):
        # Made when something is scored: it takes four times the memory of the pictures.
        return self._chosen().astype(numpy.float32) / 255

    def _chosen(self):
        chosen = randomness.metric_generator(randomness.REFERENCE_DATA).permutation(len(self._data))[:_REFERENCE]
        return self._data.images[chosen]

    def likelihood_data(self) -> tuple[numpy.ndarray, numpy.ndarray]:
        return 2 * (self._chosen(),)

    def draw_data(self, n: int, rng: Generator) -> numpy.ndarray:
        return self._data.sample(n, rng)

    def draw_inputs(self, n: int, rng: Generator) -> numpy.ndarray:
        return self._data.sample_levels(n, rng)

    def real_data(self, n: int) -> None:
        return None  # nothing is held out: the reference is the pictures themselves

    def score(self, x: numpy.ndarray, energy=None, settings=None) -> dict:
        """Score (N, C, size, size) images, float32 in 0…1; N and the number of pictures above 5."""
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
        """The nearest pictures of (N, C, size, size) images, among all there are, in 0…1."""
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
