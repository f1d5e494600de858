"""How good samples and an energy are on handwritten digits, by the features and labels of a small classifier."""

import math

import numpy

from ddgm import metrics, randomness
from ddgm.classifier import check_default_folder, load_or_train
from ddgm.data.mnist import N_CLASSES


class Scores:
    """All metrics of images against as many held-out test images, by name.

    The reference is the test images as they are, whether a run binarizes its data or not, so that all runs, and
    samples of other programs, are scored alike.

    Args:
        data (ddgm.data.mnist.MNIST): Training and test images.
        binarized (bool): Whether the energy is that of binarized images.

    Raises ``UsageError`` where the test images can't be a reference or a classifier could not be kept.
    """

    def __init__(self, data, binarized):
        metrics.check_reference(data.test_images)
        check_default_folder()
        self._data = data
        self._binarized = binarized
        self._test_shares = _shares(data.test_labels)

    def __call__(self, x, energy=None):
        """Score (N, 784) images, and with an energy function that too.  Where there is no classifier yet, train one."""
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
                len(x), randomness.metric_generator(randomness.REFERENCE_DATA), self._binarized)
            scores['energy_gap'] = float(energy(x).mean() - energy(held_out).mean())
        return scores

    def _nearest_train(self, x, reference):
        of_samples, of_reference = (numpy.median(self.nearest_training(images)[0]) for images in (x, reference))
        return float(of_samples / of_reference) if of_reference else None  # test images that are training images

    def nearest_training(self, x):
        """Distances to, and indexes of, the nearest training images of (N, 784) images."""
        distances, indexes = metrics.nearest(255 * x, self._data.train_images)
        return distances / 255, indexes


def _finite(value):
    """``None`` for the infinite divergence from test images that lack a class; JSON knows no infinity."""
    return value if math.isfinite(value) else None


def _shares(labels):
    return numpy.bincount(labels, minlength=N_CLASSES) / len(labels)
