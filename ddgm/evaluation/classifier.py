"""The small classifier whose features and labels the metrics of digits use.

That of MNIST comes with this package, so that metrics compare on all machines.  For other data one is trained, once,
and then kept.  The file name carries a hash of the weights, which metrics name too, so that numbers from different
weights are never compared by mistake.
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
from ddgm.fast.convolution import convolution_2d
from ddgm.fast.elementary import FirstOrderFunction
from ddgm.fast.kernels.convolution_on_cpu import OverlappingRows
from ddgm.fast.links import Convolution2D
from ddgm.fast.threads import for_each
from ddgm.support import randomness
from ddgm.support.errors import UsageError
from ddgm.support.files import checksum, open_atomically, read_arrays, user_cache, write_arrays
from ddgm.support.serialization import arrays_of, load_arrays
from ddgm.support.terminal import Progress

N_EPOCHS = 3  # by which 98.8 % of MNIST's test images are classified rightly
_PACKAGED = pathlib.Path(__file__).parent  # the folder of that of MNIST
_BATCHSIZE = 128
_LEARNING_RATE = 2e-3  # at first
_AT_A_TIME = 500  # images that pass the network outside training


class _Maxima(FirstOrderFunction):
    """The largest of 2×2 pixels each: (N, C, H, W) with even H and W to (N, C, H/2, W/2), on the CPU.

    By comparison, in the order that convolutions have: in a quarter of the time of Chainer's, to the same bits.
    """

    needs_inputs = False

    def forward_array(self, x):
        self.squares = self._squares(self.kernels.channels_first(x))
        self.y = numpy.empty(self.squares.shape[2:], dtype=x.dtype)

        def compute(channel):
            rows = numpy.maximum(self.squares[0, :, channel], self.squares[1, :, channel])
            numpy.maximum(*rows, out=self.y[channel])
        for_each(compute, range(len(self.y)))
        return self.y.transpose(3, 0, 1, 2)

    def backward_arrays(self, indexes, inputs, grad_output):
        grad_output = self.kernels.channels_first(grad_output)
        channels, height, width, n = self.y.shape
        grad_x = numpy.empty((channels, 2 * height, 2 * width, n), dtype=grad_output.dtype)
        squares = self._squares(grad_x)

        def compute(channel):
            left = numpy.ones(self.y.shape[1:], dtype=bool)
            for place in numpy.ndindex(2, 2):  # of equal ones the first, as in Chainer
                chosen = self.squares[place][channel] == self.y[channel]
                chosen &= left
                left ^= chosen
                numpy.multiply(grad_output[channel], chosen, out=squares[place][channel])
        for_each(compute, range(channels))
        return grad_x.transpose(3, 0, 1, 2),

    @staticmethod
    def _squares(x):
        """A view of (C, H, W, N) by the place in its square: (2, 2, C, H/2, W/2, N)."""
        channels, height, width, n = x.shape
        return x.reshape(channels, height // 2, 2, width // 2, 2, n).transpose(2, 4, 0, 1, 3, 5)


class _Convolution(Convolution2D):
    """A convolution whose result is as large as the image; in training by overlapping rows, which are faster.

    What scores are made of keeps the order of sums that recorded scores have.
    """

    def forward(self, x):
        if not chainer.config.train:
            return super().forward(x)
        return convolution_2d(
            x, self.W, self.b, pad=self.pad[0],
            choose=lambda n, size, W, stride, pad: OverlappingRows(n, size, W.shape[2], pad))


class Classifier(chainer.Chain):
    """28×28 → Conv 16 → pool → Conv 32 → pool → 64 features → 10 classes; kernels of 5, ReLU.

    Attributes:
        accuracy (float): On the test images.
    """

    def __init__(self, rng):
        super().__init__()
        weight = initializers.HeNormal(rng=rng)
        with self.init_scope():
            self.c1 = _Convolution(1, 16, 5, pad=2, initialW=weight)
            self.c2 = _Convolution(16, 32, 5, pad=2, initialW=weight)
            self.l1 = L.Linear(32 * (SIDE // 4) ** 2, 64, initialW=weight)
            self.l2 = L.Linear(64, N_CLASSES, initialW=weight)
        self.add_persistent('accuracy', 0.0)

    def features_of(self, x):
        """(N, 784) to (N, 64)."""
        h = F.reshape(x, (len(x), 1, SIDE, SIDE))
        h = F.relu(_Maxima()(self.c1(h)))
        h = F.relu(_Maxima()(self.c2(h)))
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


class _Training:
    """A training that can be interrupted after any epoch: what Chainer's serializers save of it.

    Attributes:
        classifier (Classifier): What is trained.
        epoch (int): Epochs done.
    """

    def __init__(self, data, n_epochs):
        rng = randomness.metric_generator(randomness.CLASSIFIER)
        self.classifier, self.epoch = Classifier(rng), 0
        self._data, self._generators = data, rng.spawn(n_epochs)
        self._optimizer = optimizers.Adam(alpha=_LEARNING_RATE).setup(self.classifier)
        self._n_batches = max(1, len(data.train_images) // _BATCHSIZE)
        self.n_steps = n_epochs * self._n_batches

    def serialize(self, serializer):
        """Save or load; raises ``ValueError`` where a training of another length was saved."""
        if serializer('n_steps', self.n_steps) != self.n_steps:
            raise ValueError('a training of another length')
        self.epoch = serializer('epoch', self.epoch)
        self.classifier.serialize(serializer['classifier'])
        if self.epoch:  # before the first one an optimizer has no state
            self._optimizer.serialize(serializer['optimizer'])

    def go_on(self):
        """Train for an epoch; yields the number of steps done after each of them."""
        rng, data = self._generators[self.epoch], self._data
        order = rng.permutation(len(data.train_images))
        step = self.epoch * self._n_batches
        for indexes in numpy.array_split(order, self._n_batches):
            self._optimizer.alpha = _LEARNING_RATE * (1 - step / self.n_steps)
            images = data.train_images[indexes].astype(numpy.float32) / 255
            shifted = numpy.roll(
                images.reshape(-1, SIDE, SIDE), tuple(rng.integers(-2, 3, size=2)), axis=(1, 2))
            with chainer.using_config('type_check', False), chainer.using_config('noise_generator', rng):
                self._optimizer.update(
                    lambda x, y: F.softmax_cross_entropy(self.classifier(x), y), shifted.reshape(images.shape),
                    data.train_labels[indexes].astype(numpy.int32))
            step += 1
            yield step
        self.epoch += 1


def train(data, n_epochs=N_EPOCHS, checkpoint=None):
    """Train a classifier on the training images of ``data`` (:class:`ddgm.data.mnist.MNIST`), on the CPU.

    Each image is shifted by up to two pixels; the learning rate falls to 0.  After each epoch the training is saved in
    the file ``checkpoint``, from which it goes on to the same bits.
    """
    training = _Training(data, n_epochs)
    if checkpoint is not None:
        try:
            load_arrays(training, read_arrays(checkpoint))
        except (ValueError, KeyError, TypeError, AttributeError):  # there is none, or it is damaged, or of another kind
            training = _Training(data, n_epochs)
    with Progress(training.n_steps) as progress:
        while training.epoch < n_epochs:
            for step in training.go_on():
                progress.update(step)
            if checkpoint is not None:
                with open_atomically(checkpoint) as file:
                    write_arrays(file, arrays_of(training))
    classifier = training.classifier
    _, probabilities = classifier.features_and_probabilities(data.test_images.astype(numpy.float32) / 255)
    classifier.accuracy = float((probabilities.argmax(axis=1) == data.test_labels).mean())
    return classifier


def default_folder():
    """Where classifiers are kept: ``$XDG_CACHE_HOME/ddgm``, by default ``~/.cache/ddgm``."""
    return user_cache()


def check_default_folder(fingerprint):
    """Raise ``UsageError`` where none comes with this package for data of a fingerprint, and none could be kept.

    So a long run does not find out at its end.
    """
    if any(_PACKAGED.glob(_name_of(fingerprint) + '*.npz')):
        return
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

    Files whose content does not have the hash of their name are passed over.  A training that is interrupted goes on
    with the next call.
    """
    folder = pathlib.Path(folder or default_folder())
    name = _name_of(data.fingerprint)
    for path in [*_PACKAGED.glob(name + '*.npz'), *sorted(folder.glob(name + '*.npz'))]:
        # What is damaged, and what another version of this class made.
        with contextlib.suppress(ValueError, KeyError, TypeError):
            arrays = read_arrays(path)
            weights_hash = _hash(arrays)
            if path.stem == name + weights_hash:
                classifier = Classifier(numpy.random.default_rng(0))
                load_arrays(classifier, arrays)
                return classifier, weights_hash

    print('Training the classifier of the metrics, once (a minute or two; --no_score does without) ...', flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / '{}training.npz'.format(name)  # no classifier: its hash would be of twelve letters
    classifier = train(data, n_epochs, checkpoint)
    arrays = arrays_of(classifier)
    weights_hash = _hash(arrays)
    path = folder / '{}{}.npz'.format(name, weights_hash)
    with open_atomically(path) as file:
        write_arrays(file, arrays)
    checkpoint.unlink(missing_ok=True)
    print('{:.2%} of the test images are classified rightly; kept as {}'.format(classifier.accuracy, path), flush=True)
    return classifier, weights_hash


def _name_of(fingerprint):
    """How the names of files begin that hold classifiers for data of a fingerprint."""
    return 'classifier-{}-'.format(fingerprint)


def _hash(arrays):
    """Of arrays by name, in whatever order: Chainer's differs from one process to the next."""
    return checksum(arrays).tobytes().hex()[:12]
