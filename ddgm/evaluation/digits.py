"""The task of handwritten digits: how good samples and an energy are, by a small classifier's features and labels."""

from __future__ import annotations

import math

import numpy
from numpy.random import Generator

from ddgm.data.mnist import MNIST, N_CLASSES
from ddgm.evaluation import metrics
from ddgm.evaluation.classifier import check_default_folder, load_or_train
from ddgm.evaluation.pixels import DIGITS
from ddgm.evaluation.reference import Reference
from ddgm.fast.noise import dequantized
from ddgm.support import randomness


class Digits(Reference):
    """28×28 images in grey, (N, 784), and what samples of them are held against.

    The reference is the test images as they are, whether a run binarizes its data or not, so that all runs, and
    samples of other programs, are scored alike.

    Args:
        folder: Of the four IDX files.
        binarized (bool): Whether data is binarized where it is drawn.
        batchsize (int): How many training images there have to be.
        dequantized (bool): Whether it has uniform noise of the width of a grey level where it is drawn.

    Raises ``UsageError`` where the files are not what they should be, the test images can't be a reference or a
    classifier could not be kept.
    """

    form, value_range = DIGITS, DIGITS.value_range

    def __init__(self, folder, binarized: bool = False, batchsize: int = 1, dequantized: bool = False):
        self._data = data = MNIST(folder, batchsize)
        metrics.check_reference(data.test_images)
        check_default_folder(data.fingerprint)
        self._binarized, self._dequantized = binarized, dequantized
        self._test_shares = _shares(data.test_labels)
        self.fingerprint = data.fingerprint
        self.description = '; '.join(filter(None, [
            '{:,} images in {}'.format(len(data.train_images), folder), data.report]))
        self.real_name = 'binarized data' if binarized else 'real data'

    def draw_data(self, n: int, rng: Generator) -> numpy.ndarray:
        return self.draw_inputs(n, rng) if self._dequantized else self._data.sample(n, rng, self._binarized)

    def draw_inputs(self, n: int, rng: Generator) -> numpy.ndarray:
        levels = self._data.sample_levels(n, rng, self._binarized)
        return dequantized(levels, rng) if self._dequantized else levels

    def known_data(self, n: int) -> list[numpy.ndarray]:
        return [self._data.train_images, self._data.test_images]

    def likelihood_data(self) -> tuple[numpy.ndarray, numpy.ndarray]:
        return self._data.train_images, self._data.test_images

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


def _finite(value):
    """``None`` for the infinite divergence from test images that lack a class; JSON knows no infinity."""
    return value if math.isfinite(value) else None


def _shares(labels):
    return numpy.bincount(labels, minlength=N_CLASSES) / len(labels)
