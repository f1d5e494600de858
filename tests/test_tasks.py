"""Which shapes and ranges of samples a task's reference takes, and what it makes of them."""

import numpy
import pytest

from ddgm.evaluation import tasks
from ddgm.support.errors import UsageError


@pytest.fixture(scope='module')
def references(digits_folder, pictures_folder):
    return {
        'gaussian_mixture': tasks.open_task('gaussian_mixture'),
        'swiss_roll': tasks.open_task('swiss_roll'),
        'mnist': tasks.open_task('mnist', str(digits_folder)),
        'images': tasks.open_task('images', str(pictures_folder))}


@pytest.mark.parametrize('task', ['gaussian_mixture', 'swiss_roll'])
def test_points(task, references):
    x = references[task].conform(numpy.array([[-300, 2], [1, 0]]))
    assert x.dtype == numpy.float32
    numpy.testing.assert_array_equal(x, [[-300, 2], [1, 0]])


@pytest.mark.parametrize('shape', [(784,), (28, 28), (1, 28, 28), (28, 28, 1)])
def test_digits(shape, references, rng):
    x = rng.random((5, 784))
    conformed = references['mnist'].conform(x.reshape(5, *shape))
    assert conformed.dtype == numpy.float32
    numpy.testing.assert_array_equal(conformed, x.astype(numpy.float32))
    numpy.testing.assert_array_equal(
        references['mnist'].as_shown(conformed), x.astype(numpy.float32).reshape(5, 28, 28))


@pytest.mark.parametrize('channels', [1, 3])
def test_digits_in_three_channels(channels, references, rng):
    """As savers of pictures write them: equal channels are grey, others are no digit."""
    x = rng.random((5, 28, 28)).astype(numpy.float32)
    coloured = numpy.stack([x, x, x], axis=channels)
    numpy.testing.assert_array_equal(references['mnist'].conform(coloured), x.reshape(5, 784))
    coloured[3].swapaxes(0, channels - 1)[2].flat[7] += 0.5
    with pytest.raises(UsageError, match='digits are grey, and these have colours'):
        references['mnist'].conform(coloured)


def test_pictures(references, rng):
    x = rng.random((5, 3, 64, 64))
    for array in (x, x.transpose(0, 2, 3, 1)):
        conformed = references['images'].conform(array)
        assert conformed.dtype == numpy.float32
        numpy.testing.assert_array_equal(conformed, x.astype(numpy.float32))


@pytest.mark.parametrize(('task', 'shape'), [
    ('gaussian_mixture', (10, 3)), ('gaussian_mixture', (10, 1)), ('gaussian_mixture', (10, 2, 1)),
    ('swiss_roll', (10, 784)), ('mnist', (10, 2)), ('mnist', (10, 32, 32)), ('mnist', (10, 3, 32, 32)),
    ('mnist', (10, 1, 784)), ('mnist', (10, 1024)), ('images', (10, 784)), ('images', (10, 64, 64)),
    ('images', (10, 3, 32, 32)), ('images', (10, 1, 64, 64)), ('images', (10, 4, 64, 64)), ('images', (10, 12288))])
def test_shapes_that_are_refused(task, shape, references):
    with pytest.raises(UsageError) as caught:
        references[task].conform(numpy.zeros(shape))
    assert str(shape) in str(caught.value)
    assert '\n' not in str(caught.value)
    assert {'mnist': '784', 'images': '64, 64'}.get(task, '(N, 2)') in str(caught.value).replace(str(shape), '')


of_images = pytest.mark.parametrize(('task', 'shape'), [('mnist', (6, 784)), ('images', (6, 3, 64, 64))])


def conform(references, task, shape, values, dtype):
    """The distinct pixels of an array that has these."""
    array = numpy.resize(numpy.array(values, dtype=dtype), shape)
    return numpy.unique(references[task].conform(array))


@pytest.mark.parametrize(('values', 'dtype', 'expected'), [
    *(([0, 51, 255], dtype, [0, 0.2, 1]) for dtype in ('u1', 'i4', 'u2', '>i8')),
    *(([0, 1], dtype, [0, 1]) for dtype in ('u1', 'i8', 'bool', 'f2', 'f8')),
    ([0, 1, 2], 'u1', [0, 1 / 255, 2 / 255]),  # levels are levels where one of them is above 1, in whichever sample
    ([-0.009, 0.5, 1.009], 'f4', [0, 0.5, 1])])
@of_images
def test_levels_and_shares(values, dtype, expected, task, shape, references):
    numpy.testing.assert_allclose(conform(references, task, shape, values, dtype), expected, atol=1e-6)


@pytest.mark.parametrize(('values', 'dtype', 'cure'), [
    *((values, dtype, r'save \(x \+ 1\) / 2') for values, dtype in (
        ([-1, 0.5, 1], 'f4'), ([-1, -0.5], 'f8'), ([-0.5, 0.9], 'f4'), ([-1.005, 1.005], 'f4'), ([-1, 1], 'i1'))),
    # Not taken for levels unasked: another program's scale may end at 200, too.
    *(([0, 0.5, highest], 'f4', 'save x / 255') for highest in (255, 254.5, 17)),
    *((values, dtype, 'undo what was done to them before training') for values, dtype in (
        ([0, 1.5], 'f4'), ([-2, 2], 'f4'), ([-2, 200], 'f4'), ([0, 65535], 'u2'), ([-128, 127], 'i1')))])
@of_images
def test_other_ranges(values, dtype, cure, task, shape, references):
    line = r'^pixels run from 0 to 1, these from \S+ to \S+: {}$'.format(cure)
    with pytest.raises(UsageError, match=line):
        conform(references, task, shape, values, dtype)
