"""The small classifier whose features and labels the metrics of digits use: trained once, then kept.

Its file name carries a hash of its weights, which metrics name too, so that numbers from different weights are never
compared by mistake.
"""

import contextlib
import os
import pathlib

import chainer
import chainer.functions as F
import chainer.links as L
import numpy
from chainer import initializers, optimizers

from ddgm.data.mnist import N_CLASSES, SIDE
from ddgm.fast import noise
from ddgm.fast.links import Convolution2D
from ddgm.support import randomness
from ddgm.support.errors import UsageError
from ddgm.support.files import checksum, open_atomically, read_arrays, user_cache, write_arrays
from ddgm.support.serialization import arrays_of, load_arrays

N_EPOCHS = 6
_BATCHSIZE = 128
_AT_A_TIME = 500  # images that pass the network outside training


class Classifier(chainer.Chain):
    """28×28 → Conv 16 → pool → Conv 32 → pool → 64 features → 10 classes; kernels of 5, ReLU.

    Attributes:
        accuracy (float): On the test images.
    """

    def __init__(self, rng):
        super().__init__()
        weight = initializers.HeNormal(rng=rng)
        with self.init_scope():
            self.c1 = Convolution2D(1, 16, 5, pad=2, initialW=weight)
            self.c2 = Convolution2D(16, 32, 5, pad=2, initialW=weight)
            self.l1 = L.Linear(32 * (SIDE // 4) ** 2, 64, initialW=weight)
            self.l2 = L.Linear(64, N_CLASSES, initialW=weight)
        self.add_persistent('accuracy', 0.0)

    def features_of(self, x):
        """(N, 784) to (N, 64)."""
        h = F.reshape(x, (len(x), 1, SIDE, SIDE))
        h = F.max_pooling_2d(F.relu(self.c1(h)), 2)
        h = F.max_pooling_2d(F.relu(self.c2(h)), 2)
        return F.relu(self.l1(h))

    def forward(self, x):
        """(N, 784) to log p(y|x) up to a constant, (N, 10)."""
        return self.l2(noise.dropout(self.features_of(x), 0.5))

    def features_and_probabilities(self, x):
        """Of images (N, 784) in 0…1, NumPy arrays: (N, 64) and p(y|x) (N, 10), both float32."""
        features, probabilities = [], []
        with chainer.using_config('train', False), chainer.no_backprop_mode():
            for first in range(0, len(x), _AT_A_TIME):
                part = self.features_of(numpy.asarray(x[first:first + _AT_A_TIME], dtype=numpy.float32))
                features.append(part.array)
                probabilities.append(F.softmax(self.l2(part)).array)
        return numpy.concatenate(features), numpy.concatenate(probabilities)


def train(data, n_epochs=N_EPOCHS):
    """Train a classifier on the training images of ``data`` (:class:`ddgm.data.mnist.MNIST`), on the CPU.

    Each image is shifted by up to two pixels; the learning rate falls to 0.
    """
    rng = randomness.metric_generator(randomness.CLASSIFIER)
    classifier = Classifier(rng)
    optimizer = optimizers.Adam(alpha=2e-3)
    optimizer.setup(classifier)
    n_batches = max(1, len(data.train_images) // _BATCHSIZE)
    steps = n_epochs * n_batches
    with chainer.using_config('type_check', False), chainer.using_config('noise_generator', rng):
        for epoch in range(n_epochs):
            order = rng.permutation(len(data.train_images))
            for batch, indexes in enumerate(numpy.array_split(order, n_batches)):
                optimizer.alpha = 2e-3 * (1 - (epoch * n_batches + batch) / steps)
                images = data.train_images[indexes].astype(numpy.float32) / 255
                shifted = numpy.roll(
                    images.reshape(-1, SIDE, SIDE), tuple(rng.integers(-2, 3, size=2)), axis=(1, 2))
                optimizer.update(
                    lambda x, y: F.softmax_cross_entropy(classifier(x), y), shifted.reshape(images.shape),
                    data.train_labels[indexes].astype(numpy.int32))
    _, probabilities = classifier.features_and_probabilities(data.test_images.astype(numpy.float32) / 255)
    classifier.accuracy = float((probabilities.argmax(axis=1) == data.test_labels).mean())
    return classifier


def default_folder():
    """Where classifiers are kept: ``$XDG_CACHE_HOME/ddgm``, by default ``~/.cache/ddgm``."""
    return user_cache()


def check_default_folder():
    """Raise ``UsageError`` where no classifier could be kept, before a long run finds out at its end."""
    folder = default_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        reason = '' if os.access(folder, os.W_OK) else 'not writable'
    except OSError as error:
        reason = error.strerror
    if reason:
        raise UsageError(
            '{}: the classifier can\'t be kept there ({}): set XDG_CACHE_HOME to a folder of yours'.format(
                folder, reason))


def load_or_train(data, folder=None, n_epochs=N_EPOCHS):
    """The classifier for ``data`` and the hash of its weights; trained and kept in ``folder`` where there is none yet.

    Files whose content does not have the hash of their name are passed over.
    """
    folder = pathlib.Path(folder or default_folder())
    name = 'classifier-{}-'.format(data.fingerprint)
    for path in sorted(folder.glob(name + '*.npz')):
        # What is damaged, and what another version of this class made.
        with contextlib.suppress(ValueError, KeyError, TypeError):
            arrays = read_arrays(path)
            weights_hash = _hash(arrays)
            if path.stem == name + weights_hash:
                classifier = Classifier(numpy.random.default_rng(0))
                load_arrays(classifier, arrays)
                return classifier, weights_hash

    print('Training the classifier of the metrics, once (some minutes) ...', flush=True)
    classifier = train(data, n_epochs)
    arrays = arrays_of(classifier)
    weights_hash = _hash(arrays)
    path = folder / '{}{}.npz'.format(name, weights_hash)
    folder.mkdir(parents=True, exist_ok=True)
    with open_atomically(path) as file:
        write_arrays(file, arrays)
    print('{:.2%} of the test images are classified rightly; kept as {}'.format(classifier.accuracy, path), flush=True)
    return classifier, weights_hash


def _hash(arrays):
    """Of arrays by name, in whatever order: Chainer's differs from one process to the next."""
    return checksum(arrays).tobytes().hex()[:12]
