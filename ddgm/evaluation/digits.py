"""The task of handwritten digits: how good samples and an energy are, by a small classifier's features and labels."""

from __future__ import annotations

import math

import numpy
from numpy.random import Generator

from ddgm.data.mnist import MNIST, N_CLASSES, SIDE
from ddgm.evaluation import metrics
from ddgm.evaluation.classifier import check_default_folder, load_or_train
from ddgm.evaluation.pixels import from_0_to_1
from ddgm.evaluation.reference import Reference
from ddgm.support import randomness
from ddgm.support.errors import UsageError


class Digits(Reference):
    """28×28 images in grey, (N, 784), and what samples of them are held against.

    The reference is the test images as they are, whether a run binarizes its data or not, so that all runs, and
    samples of other programs, are scored alike.

    Args:
        folder: Of the four IDX files.
        binarized (bool): Whether data is binarized where it is drawn.
        batchsize (int): How many training images there have to be.

    Raises ``UsageError`` where the files are not what they should be, the test images can't be a reference or a
    classifier could not be kept.
    """

    value_range = 0, 1

    def __init__(self, folder, binarized: bool = False, batchsize: int = 1):
        self._data = data = MNIST(folder, batchsize)
        metrics.check_reference(data.test_images)
        check_default_folder(data.fingerprint)
        self._binarized = binarized
        self._test_shares = _shares(data.test_labels)
        self.fingerprint = data.fingerprint
        self.description = '{:,} images in {}'.format(len(data.train_images), folder)
        self.real_name = 'binarized data' if binarized else 'real data'

    def draw_data(self, n: int, rng: Generator) -> numpy.ndarray:
        return self._data.sample(n, rng, self._binarized)

    def as_shown(self, x: numpy.ndarray) -> numpy.ndarray:
        return x.reshape(-1, SIDE, SIDE)

    def conform(self, array: numpy.ndarray) -> numpy.ndarray:
        if array.shape[1:] in ((3, 28, 28), (28, 28, 3)):
            array = _without_colours(array)
        if array.shape[1:] not in ((784,), (28, 28), (1, 28, 28), (28, 28, 1)):
            raise UsageError(
                'digits have the shape (N, 784), (N, 28, 28) or (N, 1, 28, 28), these have {}'.format(array.shape))
        return from_0_to_1(array.reshape(len(array), -1))

    def score(self, x: numpy.ndarray, energy=None, settings=None) -> dict:
        """The metrics by name.  Where there is no classifier yet, one is trained."""
        classifier, classifier_hash = load_or_train(self._data)
        x = numpy.asarray(x, dtype=numpy.float32).reshape(len(x), -1)
        reference = self._data.held_out(len(x), randomness.metric_generator(randomness.REFERENCE_DATA))
        training = self._data.sample(len(x), randomness.metric_generator(randomness.TRAINING_DATA), binarized=False)
        features, probabilities = classifier.features_and_probabilities(x)
        reference_features, _ = classifier.features_and_probabilities(reference)
        training_features, _ = classifier.features_and_probabilities(training)
        shares = _shares(probabilities.argmax(axis=1))
        diversity = metrics.diversity(x, reference)
        scores = {
            'collapsed': diversity < metrics.COLLAPSED,
            'diversity': diversity,
            'class_kl': _finite(metrics.divergence(shares, self._test_shares)),
            'class_histogram': [float(share) for share in shares],
            'mode_score': metrics.mode_score(probabilities, self._test_shares) if self._test_shares.all() else None,
            'frechet': metrics.frechet_distance(features, reference_features),
            'frechet_train_test': metrics.frechet_distance(training_features, reference_features),
            **metrics.neighbour_scores(features, reference_features),
            'nearest_train': self._nearest_train(x, reference),
            'classifier': classifier_hash,
        }
        if energy is not None:
            held_out = self._data.held_out(
                len(x), randomness.metric_generator(randomness.REFERENCE_DATA),
                settings.binarized if settings else self._binarized)
            scores['energy_gap'] = float(energy(x).mean() - energy(held_out).mean())
        return scores

    def _nearest_train(self, x, reference):
        of_samples, of_reference = (numpy.median(self._nearest(images)[0]) for images in (x, reference))
        return float(of_samples / of_reference) if of_reference else None  # test images that are training images

    def nearest_training(self, x: numpy.ndarray) -> numpy.ndarray:
        """The nearest training images of (N, 784) images, in 0…1."""
        return self._data.train_images[self._nearest(x)[1]] / 255

    def _nearest(self, x):
        """Distances to, and indexes of, the nearest training images."""
        distances, indexes = metrics.nearest(255 * x, self._data.train_images)
        return distances / 255, indexes


def _without_colours(array):
    """Grey digits that were saved in three equal channels."""
    grey = array.take([0], axis=1 if array.shape[1] == 3 else 3)
    if (array != grey).any():
        raise UsageError('digits are grey, and these have colours: save the mean of their channels')
    return grey


def _finite(value):
    """``None`` for the infinite divergence from test images that lack a class; JSON knows no infinity."""
    return value if math.isfinite(value) else None


def _shares(labels):
    return numpy.bincount(labels, minlength=N_CLASSES) / len(labels)
