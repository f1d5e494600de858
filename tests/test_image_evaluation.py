"""The metrics of images, on cases whose value is known or beside a slow and plain computation; the classifier."""

import copy
import os
import subprocess
import sys
import types

import chainer
import chainer.functions as F
import numpy
import pytest
from conftest import HANGS_AFTER, ROOT

from ddgm.data.mnist import MNIST
from ddgm.evaluation import classifier, digits as digits_task, metrics, pictures as pictures_task
from ddgm.fast import noise
from ddgm.fast.links import Convolution2D
from ddgm.support import randomness
from ddgm.support.errors import UsageError

MNIST_FOLDER = ROOT.parent / 'shared' / 'data' / 'mnist'


@pytest.fixture(scope='module')
def digits(digits_folder):
    return MNIST(digits_folder)


@pytest.fixture(scope='module')
def trained(digits, tmp_path_factory):
    return classifier.load_or_train(digits, tmp_path_factory.mktemp('classifiers'), n_epochs=8)


# ---- plain functions

def test_distances_in_many_dimensions(rng):
    x, y = rng.normal(size=(7, 50)), rng.normal(size=(5, 50))
    expected = [[numpy.linalg.norm(a - b) for b in y] for a in x]
    numpy.testing.assert_allclose(metrics.pairwise_distances(x, y), expected, rtol=1e-12)
    numpy.testing.assert_allclose(metrics.pairwise_distances(x, x).diagonal(), 0, atol=1e-6)


@pytest.mark.parametrize('dtype', ['float32', 'float64'])
@pytest.mark.parametrize('d', [64, 784])
def test_distances_are_rounded_as_the_formula_is(rng, dtype, d):
    """To the bit, also among the points of one set, for which NumPy's product of a matrix with itself differs."""
    x, y = rng.random((600, d)).astype(dtype), rng.random((500, d)).astype(dtype)
    for first, second in ((x, x), (x, y)):
        a, b = first.astype(float), second.astype(float)
        squares = (a ** 2).sum(axis=1)[:, None] + (b ** 2).sum(axis=1) - 2 * a @ b.T
        numpy.testing.assert_array_equal(
            metrics.pairwise_distances(first, second), numpy.sqrt(numpy.maximum(squares, 0)))


def test_diversity(rng):
    x = rng.normal(size=(60, 20))
    expected = numpy.mean([numpy.linalg.norm(a - b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    assert metrics.mean_distance(x) == pytest.approx(expected)
    assert metrics.diversity(0.3 * x + 5, x) == pytest.approx(0.3)
    assert metrics.diversity(numpy.ones((60, 20)), x) == pytest.approx(0, abs=1e-6)


def test_divergence():
    assert metrics.divergence([0.5, 0.5, 0], [0.25, 0.25, 0.5]) == pytest.approx(numpy.log(2))
    assert metrics.divergence([0.2, 0.8], [0.2, 0.8]) == 0
    assert metrics.divergence([0.5, 0.5], [1, 0]) == numpy.inf


def test_frechet_distance_of_gaussians(rng):
    """Moments given exactly: ‖μ₁ − μ₂‖² + Σ (s₁ − s₂)² where both covariances have the same axes."""
    whitened = rng.normal(size=(400, 4))
    whitened -= whitened.mean(axis=0)
    whitened = whitened @ numpy.linalg.inv(numpy.linalg.cholesky(numpy.cov(whitened, rowvar=False))).T
    axes, _ = numpy.linalg.qr(rng.normal(size=(4, 4)))
    first, second, shift = numpy.array([1, 2, 0.5, 0]), numpy.array([2, 1, 0.5, 3]), numpy.array([1, -2, 0, 0.5])
    x, y = whitened * first @ axes, whitened * second @ axes + shift
    assert metrics.frechet_distance(x, y) == pytest.approx((shift ** 2).sum() + 1 + 1 + 0 + 9)
    # The root of a variance that is 0 but for rounding is 1e-8, not 1e-16.
    assert metrics.frechet_distance(x, x) == pytest.approx(0, abs=1e-6)


def test_frechet_distance_of_any_covariances(rng):
    """Beside the square root of C₁C₂ by its eigenvectors, complex arithmetic and all."""
    x, y = rng.normal(size=(50, 3)) @ rng.normal(size=(3, 3)), rng.normal(size=(50, 3)) @ rng.normal(size=(3, 3))
    c1, c2 = numpy.cov(x, rowvar=False), numpy.cov(y, rowvar=False)
    values, vectors = numpy.linalg.eig(c1 @ c2)
    root = vectors @ numpy.diag(numpy.sqrt(values.astype(complex))) @ numpy.linalg.inv(vectors)
    expected = ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum() + numpy.trace(c1 + c2 - 2 * root).real
    assert metrics.frechet_distance(x, y) == pytest.approx(expected)


def test_mode_score():
    certain = numpy.eye(4)[numpy.arange(40) % 4]
    uniform = numpy.full(4, 0.25)
    assert metrics.mode_score(certain, uniform) == pytest.approx(4)  # as many as classes
    assert metrics.mode_score(numpy.tile(uniform, (40, 1)), uniform) == pytest.approx(1)
    # All in one class: E KL(p(y|x) ‖ p_G) = 0, KL(p_G ‖ uniform) = log 4
    assert metrics.mode_score(numpy.tile([1.0, 0, 0, 0], (40, 1)), uniform) == pytest.approx(1 / 4)


def test_neighbour_scores_against_loops(rng):
    x, reference, k = rng.normal(size=(40, 3)), 1.5 * rng.normal(size=(30, 3)) + 0.5, 4

    def distance(a, b):
        return numpy.sqrt(((a - b) ** 2).sum())

    def radius(points, i):
        return sorted(distance(points[i], other) for other in points)[k]
    in_reference = [[distance(a, b) <= radius(reference, j) for j, b in enumerate(reference)] for a in x]
    in_samples = [[distance(a, b) <= radius(x, j) for j, b in enumerate(x)] for a in reference]
    scores = metrics.neighbour_scores(x, reference, k)
    assert scores['precision'] == pytest.approx(numpy.mean([any(row) for row in in_reference]))
    assert scores['recall'] == pytest.approx(numpy.mean([any(row) for row in in_samples]))
    assert scores['density'] == pytest.approx(numpy.sum(in_reference) / (k * len(x)))
    assert scores['coverage'] == pytest.approx(numpy.mean(numpy.any(in_reference, axis=0)))
    assert scores['coverage'] == metrics.coverage(x, reference, k)


def test_nearest(rng):
    x, others = rng.random((20, 12)), rng.random((3000, 12))
    distances, indexes = metrics.nearest(x, others)
    expected = metrics.pairwise_distances(x, others)
    numpy.testing.assert_array_equal(indexes, expected.argmin(axis=1))
    numpy.testing.assert_allclose(distances, expected.min(axis=1), rtol=1e-6)


# ---- digits

def test_classifier_learns_and_is_kept(digits, trained, tmp_path, capsys):
    network, weights_hash = trained
    assert network.accuracy > 0.9
    _, probabilities = network.features_and_probabilities(digits.test_images / numpy.float32(255))
    assert (probabilities.argmax(axis=1) == digits.test_labels).mean() == network.accuracy
    numpy.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)

    first, first_hash = classifier.load_or_train(digits, tmp_path, n_epochs=1)
    assert 'Training the classifier' in capsys.readouterr().out
    again, again_hash = classifier.load_or_train(digits, tmp_path, n_epochs=1)
    assert capsys.readouterr().out == ''
    assert (first_hash, first.accuracy) == (again_hash, again.accuracy)
    assert first_hash != weights_hash
    for (name, p), (_, q) in zip(sorted(first.namedparams()), sorted(again.namedparams())):
        numpy.testing.assert_array_equal(p.array, q.array, err_msg=name)
    path, = tmp_path.iterdir()
    assert digits.fingerprint in path.name
    assert first_hash in path.name

    # A damaged file is not that of its name any more.  In its middle are the largest weights.
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    classifier.load_or_train(digits, tmp_path, n_epochs=1)
    assert 'Training the classifier' in capsys.readouterr().out

    # Nor is a whole one whose weights are others than its name says.
    path.rename(str(path).replace(first_hash, weights_hash))
    classifier.load_or_train(digits, tmp_path, n_epochs=1)
    assert 'Training the classifier' in capsys.readouterr().out


KEPT = """
import sys

import ddgm
import numpy

from ddgm.evaluation import classifier

class data:
    fingerprint = 'digits'

classifier.train = lambda data, n_epochs, checkpoint: classifier.Classifier(numpy.random.default_rng(0))
classifier.load_or_train(data, sys.argv[1])
"""


def test_the_same_classifier_has_one_name(tmp_path):
    """In every process, though Chainer's order of parameters follows the hashes of their names, which Python varies."""
    orders = set()
    for hash_seed in '123':
        folder = tmp_path / hash_seed
        subprocess.run(
            [sys.executable, '-c', KEPT, str(folder)], check=True, cwd=ROOT, timeout=HANGS_AFTER,
            env={**os.environ, 'PYTHONHASHSEED': hash_seed})
        path, = folder.iterdir()
        with numpy.load(path) as file:
            orders.add(tuple(file))
    assert len(orders) > 1
    assert len({path.name for path in tmp_path.glob('*/*')}) == 1


def test_an_interrupted_training_goes_on_to_the_same_classifier(digits, tmp_path, monkeypatch):
    """With the epoch that was interrupted; a damaged checkpoint costs the epochs before it, and nothing else."""
    steps, n_batches = [], len(digits.train_images) // 128

    def update(self, step):
        steps.append(step)
        if step == stopped_at:
            raise KeyboardInterrupt
    monkeypatch.setattr(classifier.Progress, 'update', update)
    stopped_at = None
    _, straight = classifier.load_or_train(digits, tmp_path / 'straight', n_epochs=3)
    for folder, damage in (('stopped', False), ('damaged', True)):
        stopped_at = 2 * n_batches + 1
        with pytest.raises(KeyboardInterrupt):
            classifier.load_or_train(digits, tmp_path / folder, n_epochs=3)
        checkpoint, = (tmp_path / folder).iterdir()
        if damage:
            checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
        stopped_at = steps.clear()
        assert classifier.load_or_train(digits, tmp_path / folder, n_epochs=3)[1] == straight
        assert steps == list(range(1 if damage else 2 * n_batches + 1, 3 * n_batches + 1))
        assert not checkpoint.exists()


def test_maxima_are_chainers(rng):
    """Values and gradients, of numbers that are often equal, in either order of memory."""
    x, grad = rng.integers(3, size=(5, 3, 4, 6)).astype('f'), rng.normal(size=(5, 3, 2, 3)).astype('f')
    for array in (x, numpy.asfortranarray(x)):
        ours, theirs = chainer.Variable(array), chainer.Variable(x)
        for y in (classifier._Maxima()(ours), chainer.functions.max_pooling_2d(theirs, 2)):
            numpy.testing.assert_array_equal(y.array, x.reshape(5, 3, 2, 2, 3, 2).max(axis=(3, 5)))
            y.grad = grad
            y.backward()
        numpy.testing.assert_array_equal(ours.grad, theirs.grad)


def as_chainer_has_it(network, x, dtype):
    """The network's output in training by Chainer's own functions, in another number type: maxima of the ReLU."""
    def cast(*parameters):
        return [parameter.array.astype(dtype) for parameter in parameters]
    parameters = [chainer.Parameter(array) for array in cast(*(p for _, p in sorted(network.namedparams())))]
    c1_W, c1_b, c2_W, c2_b, l1_W, l1_b, l2_W, l2_b = parameters
    h = x.astype(dtype).reshape(-1, 1, 28, 28)
    for W, b in ((c1_W, c1_b), (c2_W, c2_b)):
        h = F.max_pooling_2d(F.relu(F.convolution_2d(h, W, b, pad=2)), 2)
    h = noise.dropout(F.relu(F.linear(h, l1_W, l1_b)), 0.5)
    return F.linear(h, l2_W, l2_b), parameters


def test_gradients_of_the_training_are_chainers(digits):
    """In float32 beside Chainer's own functions in float64."""
    network, x = classifier.Classifier(numpy.random.default_rng(0)), digits.train_images[:64] / numpy.float32(255)
    with chainer.using_config('noise_generator', numpy.random.default_rng(1)):
        loss = F.softmax_cross_entropy(network(x), digits.train_labels[:64].astype('i'))
    with chainer.using_config('noise_generator', numpy.random.default_rng(1)):
        y, parameters = as_chainer_has_it(network, x, 'd')
        expected = F.softmax_cross_entropy(y, digits.train_labels[:64].astype('i'))
    assert float(loss.array) == pytest.approx(float(expected.array), rel=1e-6)
    network.cleargrads()
    loss.backward()
    expected.backward()
    for (name, parameter), other in zip(sorted(network.namedparams()), parameters):
        numpy.testing.assert_allclose(
            parameter.grad, other.grad, rtol=0, atol=2e-6 * abs(other.grad).max(), err_msg=name)


def test_scores_keep_the_order_of_their_sums(digits, monkeypatch):
    """Outside training convolutions are those of everywhere else, to the bit."""
    network, x = classifier.Classifier(numpy.random.default_rng(0)), digits.test_images / numpy.float32(255)
    found = network.features_and_probabilities(x)
    monkeypatch.setattr(classifier._Convolution, 'forward', Convolution2D.forward)
    for array, other in zip(found, network.features_and_probabilities(x)):
        numpy.testing.assert_array_equal(array, other)


@pytest.mark.skipif(not MNIST_FOLDER.exists(), reason='MNIST is not there')
def test_the_packaged_classifier_is_that_of_mnist(tmp_path, monkeypatch):
    monkeypatch.delattr(classifier, 'train')
    data = MNIST(MNIST_FOLDER)
    network, _ = classifier.load_or_train(data, tmp_path)
    classifier.check_default_folder(data.fingerprint)
    _, probabilities = network.features_and_probabilities(data.test_images / numpy.float32(255))
    accuracy = (probabilities.argmax(axis=1) == data.test_labels).mean()
    assert accuracy == pytest.approx(network.accuracy, abs=2e-4)  # rounding may decide on an image or two
    assert accuracy > 0.98


@pytest.fixture
def score(digits_folder, trained, monkeypatch):
    monkeypatch.setattr(digits_task, 'load_or_train', lambda data: trained)
    return digits_task.Digits(digits_folder, binarized=True).score


def test_scores_of_real_digits(digits, score, trained):
    x = digits.train_images[:120] / numpy.float32(255)
    scores = score(x)
    assert not scores['collapsed']
    assert scores['diversity'] == pytest.approx(1, abs=0.05)
    shares, reference_shares = (
        numpy.bincount(labels, minlength=10) / 120 for labels in (digits.train_labels[:120], digits.test_labels))
    assert scores['class_kl'] == pytest.approx(metrics.divergence(shares, reference_shares), abs=0.05)
    assert sum(scores['class_histogram']) == pytest.approx(1)
    assert scores['mode_score'] > 4
    assert scores['nearest_train'] == 0  # they are training images
    assert scores['coverage'] > 0.8
    assert scores['classifier'] == trained[1]


def test_scores_of_the_posts_failure(digits, score, rng):
    """Every sample the average digit."""
    average = digits.train_images.mean(axis=0) / 255
    scores = score(numpy.tile(average, (120, 1)) + 0.001 * rng.normal(size=(120, 784)))
    assert scores['collapsed']
    assert scores['diversity'] < 0.05
    assert max(scores['class_histogram']) > 0.9
    assert scores['class_kl'] > 1
    assert scores['mode_score'] < 1
    assert scores['coverage'] < 0.2
    assert scores['frechet'] > 5 * scores['frechet_train_test']


def test_energy_gap_of_digits(digits, score):
    """The mean of E over samples, less that over held-out digits, binarized as the energy has seen them."""
    x = digits.train_images[:50] / numpy.float32(255)
    seen = []

    def energy(x):
        seen.append(x)
        return 2 * x.sum(axis=1)
    gap = score(x, energy)['energy_gap']
    samples, held_out = seen
    numpy.testing.assert_array_equal(samples, x)
    assert held_out.shape == (50, 784)
    assert set(numpy.unique(held_out)) == {0, 1}
    assert not held_out[:, digits.test_images.max(axis=0) == 0].any()
    assert gap == pytest.approx(2 * (samples.sum(axis=1).mean() - held_out.sum(axis=1).mean()))


# ---- pictures without labels

def discs(n, rng):
    y, x = numpy.mgrid[:64, :64]
    centres, radii = rng.uniform(24, 40, size=(2, n, 1, 1)), rng.uniform(8, 20, size=(n, 1, 1))
    inside = (x - centres[0]) ** 2 + (y - centres[1]) ** 2 < radii ** 2
    return numpy.where(inside[:, None], rng.integers(256, size=(n, 3, 1, 1)), 255).astype(numpy.uint8)


@pytest.fixture
def task_of(monkeypatch):
    """The task of pictures that are given as (N, 3, 64, 64) uint8."""
    def make(pictures):
        data = types.SimpleNamespace(images=pictures, fingerprint='', report=lambda: '', cache=None)
        data_class = type('Data', (types.SimpleNamespace,), {'__len__': lambda self: len(pictures)})
        monkeypatch.setattr(pictures_task, 'ImageFolder', lambda *arguments: data_class(**vars(data)))
        return pictures_task.Pictures('folder')
    return make


def test_scores_of_pictures(task_of, rng):
    score = task_of(discs(200, rng)).score
    scores = score(discs(200, rng) / numpy.float32(255))
    assert not scores['collapsed']
    assert scores['diversity'] == pytest.approx(1, abs=0.1)
    for suffix in ('', '_pixels'):
        assert scores['coverage' + suffix] > 0.7
        assert scores['frechet' + suffix] < 3 * scores['frechet_between_halves' + suffix]
    assert scores['nearest_train'] == pytest.approx(1, abs=0.2)

    average = score(numpy.tile(discs(200, rng).mean(axis=0) / 255, (50, 1, 1, 1)).astype(numpy.float32))
    assert average['collapsed']
    assert average['diversity'] < 1e-3
    assert average['coverage'] < 0.1
    assert average['frechet'] > 10 * scores['frechet']


def test_more_pictures_than_are_searched(task_of, rng, monkeypatch):
    """The nearest ones come from some of them, always the same; the picture of them from all."""
    monkeypatch.setattr(pictures_task, '_SEARCHED', 20)
    monkeypatch.setattr(pictures_task, '_REFERENCE', 25)
    pictures, x = discs(30, rng), discs(10, rng) / numpy.float32(255)
    task = task_of(pictures)
    scores = task.score(x)
    assert (scores['n_reference'], scores['n_searched']) == (25, 20)
    flat = pictures.reshape(30, -1) / 255
    searched = randomness.metric_generator(randomness.TRAINING_DATA).permutation(30)[:20]
    reference = flat[randomness.metric_generator(randomness.REFERENCE_DATA).permutation(30)[:25]]
    nearest = [min(numpy.linalg.norm(image - flat[i]) for i in searched) for image in x.reshape(10, -1)]
    within = [sorted(numpy.linalg.norm(image - other) for other in reference)[1] for image in reference]
    assert scores['nearest_train'] == pytest.approx(numpy.median(nearest) / numpy.median(within), rel=1e-5)
    numpy.testing.assert_array_equal(task.nearest_training(pictures / numpy.float32(255)), pictures / 255)

    monkeypatch.setattr(pictures_task, '_SEARCHED', 30)
    monkeypatch.setattr(pictures_task, '_REFERENCE', 30)
    assert not {'n_reference', 'n_searched'} & task_of(pictures).score(x).keys()


def test_energy_gap_of_pictures(task_of, rng):
    pictures = discs(30, rng)
    score = task_of(pictures).score
    x = discs(10, rng) / numpy.float32(255)
    gap = score(x, lambda x: x.mean(axis=(1, 2, 3)))['energy_gap']
    assert gap == pytest.approx(x.mean() - pictures.mean() / 255, rel=1e-4)


def test_reference_that_is_none():
    with pytest.raises(UsageError, match='more than 5'):
        metrics.check_reference(numpy.eye(5))
    with pytest.raises(UsageError, match='7 times the same'):
        metrics.check_reference(numpy.ones((7, 3)))
    metrics.check_reference(numpy.eye(6))
    one_other = numpy.ones((1200, 3))
    with pytest.raises(UsageError, match='1,200 times the same'):
        metrics.check_reference(one_other)
    one_other[1100, 1] = 0
    metrics.check_reference(one_other)


@pytest.mark.usefixtures('score')
def test_test_labels_that_lack_a_class(digits, monkeypatch):
    """No infinite number in a JSON file."""
    keep = digits.test_labels < 9
    digits = copy.copy(digits)
    digits.test_images, digits.test_labels = digits.test_images[keep], digits.test_labels[keep]
    monkeypatch.setattr(digits_task, 'MNIST', lambda folder, batchsize: digits)
    scores = digits_task.Digits('folder').score(digits.train_images[:100] / numpy.float32(255))
    assert scores['class_kl'] is None
    assert scores['mode_score'] is None


def test_nearest_training_picture(task_of, rng):
    pictures = discs(30, rng)
    x = pictures[[7, 3]] / numpy.float32(255)
    numpy.testing.assert_allclose(task_of(pictures).nearest_training(0.9 * x + 0.01), x, atol=1e-6)


def test_downscaled_pictures(rng):
    x = rng.random((2, 3, 64, 64))
    assert pictures_task.downscale(x)[1, 64 + 8 * 2 + 5] == pytest.approx(x[1, 1, 16:24, 40:48].mean())


def test_random_features_are_the_same_everywhere(rng):
    x = rng.random((3, 3, 64, 64)).astype(numpy.float32)
    first, second = (pictures_task.RandomFeatures().features_of(x) for _ in range(2))
    assert first.shape == (3, 64)
    numpy.testing.assert_array_equal(first, second)
    assert first.std(axis=0).max() > 0
