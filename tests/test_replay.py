"""The 2016 code, iteration by iteration: from its weights, on its data and noise, ours computes what it computed.

The records were made with that code (Python 2.7, Chainer 1.17.0), one for each family of networks; those of the plane
have their published sizes, the others are small.
"""

import pathlib
import typing

import chainer
import numpy
import pytest
from chainer import initializers
from test_training import run

from ddgm import training
from ddgm.evaluation import sampling
from ddgm.fast.links import BatchNormalization
from ddgm.fast.strategy import Fast
from ddgm.links import WeightNormalizedLinear
from ddgm.models import DeepEnergyModel
from ddgm.networks import images, mnist, toy
from ddgm.presets import PRESETS

FIXTURES = pathlib.Path(__file__).parent / 'fixtures'


class Family(typing.NamedTuple):
    """What one record is of."""

    build: typing.Callable  # from a NumPy generator to the DEM and the DGM
    names: dict  # our links' under the 2016 code's, which count positions in a sequence, activations included
    cancelled: tuple  # biases before a BatchNormalization


def build_mixture(rng):
    return toy.build_models(PRESETS['gaussian_mixture']['default'].settings, rng)


def build_digits(rng):
    initial_weight = initializers.Normal(0.05, rng=rng)
    energy_model = DeepEnergyModel(
        mnist.FeatureExtractor((64, 32, 16), WeightNormalizedLinear, 0.0, initial_weight),
        WeightNormalizedLinear(16, 16, initial_weight), n_visible=64)
    return energy_model, mnist.GenerativeModel(6, 24, 64, WeightNormalizedLinear, initial_weight)


def build_images_final(rng):
    layers = images._Plain(initializers.Normal(0.05, rng=rng))
    n_flat, n_kernels = 16 * 2 * 2, 5
    energy_model = DeepEnergyModel(
        images.LastCommitFeatureExtractor((3, 8, 12, 16), layers, 0.0, n_flat, n_kernels, n_dimensions=3),
        layers.linear(n_flat + n_kernels, 10), n_visible=3 * 16 * 16)
    return energy_model, images.LastCommitGenerativeModel(6, (16, 12, 8, 3), 2, (1, 1, 1), layers)


def build_images_post(rng):
    layers = images._Plain(initializers.Normal(0.05, rng=rng))
    energy_model = DeepEnergyModel(
        images.PostFeatureExtractor((3, 8, 12, 16), layers, 0.0), layers.linear(16 * 2 * 2, 10),
        n_visible=3 * 16 * 16, linear_experts=True)
    return energy_model, images.PostGenerativeModel(6, (16, 12, 8, 3), 2, (1, 1, 1), layers)


def in_order(start, *names):
    """Our links of one sequence of the 2016 code by its names, which count activations and noise too."""
    return {name: '{}_{}'.format(start, i) for i, name in enumerate(names) if name}


F, EXPERTS = '/feature_extractor/', {'/experts': 'experts_0'}
FULLY_CONNECTED = in_order('link', '/l1', '/bn1', None, '/l2', '/bn2', None, '/l3')
FAMILIES = {
    'mixture': Family(
        build_mixture, {**in_order('feature_extractor', F + 'l1', None, F + 'l2'), **EXPERTS, **FULLY_CONNECTED},
        ('/l1/b', '/l2/b')),
    'digits': Family(
        build_digits, {**in_order('feature_extractor', F + '0', None, F + '1'), **EXPERTS, **FULLY_CONNECTED},
        ('/l1/b', '/l2/b')),
    'images_final': Family(
        build_images_final,
        {
            **in_order(
                'feature_extractor', F + 'convolutions/0', F + 'bns/0', None, F + 'convolutions/1', F + 'bns/1', None,
                F + 'convolutions/2', None, F + 'discrimination/T'),
            **EXPERTS,
            **in_order(
                'link', '/linear', '/bn', None, None, '/deconvolutions/0', '/bns/0', None, '/deconvolutions/1',
                '/bns/1', None, '/deconvolutions/2'),
        },
        (F + 'convolutions/0/b', F + 'convolutions/1/b', '/linear/b', '/deconvolutions/0/b', '/deconvolutions/1/b')),
    'images_post': Family(
        build_images_post,
        {
            **in_order(
                'feature_extractor', F + 'convolutions/0', None, F + 'bns/0', F + 'convolutions/1', None, F + 'bns/1',
                F + 'convolutions/2'),
            **EXPERTS,
            **in_order(
                'link', '/linear', None, '/bn', None, '/deconvolutions/0', None, '/bns/0', '/deconvolutions/1', None,
                '/bns/1', '/deconvolutions/2'),
        },
        ()),
}

# Our observations under the 2016 code's names.
TRACE = {
    'energy/positive': 'energy_positive', 'energy/negative': 'energy_negative', 'generator/loss': 'kld',
    'generator/entropy': 'entropy'}


def load_record(name):
    with numpy.load(FIXTURES / (name + '_2016.npz')) as file:
        record = dict(file)
    if 'x_positive' not in record:  # see fixtures/shorten.py
        seed, position, *shape = record['x_positive/seed_position_shape'].tolist()
        generator = numpy.random.RandomState(seed)
        generator.random_sample(position)
        record['x_positive'] = generator.random_sample(shape).astype(numpy.float32)
    return record


def arrays_of_2016(family, model):
    """Our name, the record's and our array, of every parameter and running statistic of a model."""
    for path, link in model.namedlinks():
        if path in family.names:
            for name in list(link._params) + [name for name in link._persistent if name != 'N']:
                value = getattr(link, name)
                array = value.array if isinstance(value, chainer.Parameter) else value
                yield path + '/' + name, '{}/{}'.format(family.names[path], name), array
    if isinstance(model, DeepEnergyModel):
        yield '/b', 'b_0/W', model.b.array


def batch_normalizations(models):
    return [link for model in models for link in model.links() if isinstance(link, BatchNormalization)]


class CountEps(chainer.LinkHook):
    """Makes BatchNormalization count eps into its running variance, as Chainer 1.17 did."""

    name = 'CountEps'

    def forward_postprocess(self, arguments):
        link = arguments.link
        if isinstance(link, BatchNormalization):
            batches = chainer.config.n_splits
            n = arguments.args[0].size / link.gamma.size / batches
            link.avg_var += (1 - link.decay ** batches) * n / (n - 1) * link.eps


class RecordedLatent:
    """Stands in for a model's ``draw_latent``: returns the recorded z of both steps in turn."""

    def __init__(self, record):
        self._recorded = iter([
            z for pair in zip(record['z_energy_step'], record['z_generator_step']) for z in pair])

    def __call__(self, n, rng):
        return next(self._recorded).astype(chainer.config.dtype)


def started(family, record):
    """Both models, weight normalization started from the recorded V and batches."""
    rng = numpy.random.default_rng(0)
    models = family.build(rng)
    for model, half, inputs in zip(models, ('energy', 'generator'), ('x_start', 'z_start')):
        for path, link in model.namedlinks():
            if path in family.names and hasattr(link, 'V'):
                link.V.array[...] = record['{}_before/{}/V'.format(half, family.names[path])]
        if inputs in record:
            training.start_from_batch(model, record[inputs].astype(chainer.config.dtype), rng)
    return models


def replay(family, record, strategy):
    """Train from the recorded start on the recorded data and noise: both models and the trace of what they computed."""
    models = started(family, record)
    for model, half in zip(models, ('energy', 'generator')):
        for _, name, array in arrays_of_2016(family, model):
            array[...] = record['{}_before/{}'.format(half, name)].reshape(array.shape)
    models[1].draw_latent = RecordedLatent(record)
    recorded_x = iter(record['x_positive'])
    iterations, batchsize = record['x_positive'].shape[:2]

    def draw_data(n, rng):
        return next(recorded_x).astype(chainer.config.dtype)
    with CountEps():
        trace = [
            {name: float(value) for name, value in observation.items()} for observation in run(
                models, draw_data=draw_data, batchsize=batchsize, iterations=iterations, strategy=strategy)]
    return models, trace


def differences(record, trace):
    """The largest of all losses' differences from the record, for each iteration."""
    return numpy.max([
        abs(numpy.array([observation[ours] for observation in trace]) - record['trace/' + theirs])
        for ours, theirs in TRACE.items()], axis=0)


@pytest.mark.parametrize('name', ['mixture', 'digits'])
def test_start_is_that_of_the_2016_code(name):
    """g and b of weight normalization follow from V and the starting batch."""
    family, record = FAMILIES[name], load_record(name)
    compared = 0
    for model, half in zip(started(family, record), ('energy', 'generator')):
        for _, name_2016, array in arrays_of_2016(family, model):
            link_2016, which = name_2016.split('/')
            if which in ('g', 'b') and '{}_before/{}/V'.format(half, link_2016) in record:
                numpy.testing.assert_allclose(
                    array, record['{}_before/{}'.format(half, name_2016)].reshape(array.shape), rtol=1e-4, atol=1e-5,
                    err_msg=name_2016)
                compared += 1
    assert compared == 2 * {'mixture': 3, 'digits': 3 + 3}[name]


@pytest.mark.parametrize('name', FAMILIES)
def test_replay_of_the_2016_code(name):
    """From the same weights, data and noise: losses, final weights and test-mode samples within 1e-4.

    In float64, since in float32 one rounding may flip a ReLU.  A bias before BatchNormalization has the gradient 0;
    what rounding left of it in 2016 Adam made into steps as large as any other, and the running means followed.  The
    two cancel in test mode, where the recorded ones are used.
    """
    family, record = FAMILIES[name], load_record(name)
    with chainer.using_config('dtype', numpy.float64):
        models, trace = replay(family, record, training.AsWritten())
        assert len(trace) == len(record['trace/kld'])
        assert differences(record, trace).max() < 1e-4

        compared = set()
        for model, half in zip(models, ('energy', 'generator')):
            for our_name, name_2016, array in arrays_of_2016(family, model):
                key = '{}_after/{}'.format(half, name_2016)
                recorded, cancelled = record[key].reshape(array.shape), our_name in family.cancelled
                if cancelled:
                    before = record['{}_before/{}'.format(half, name_2016)]
                    numpy.testing.assert_allclose(array, before, atol=1e-9, rtol=0, err_msg=key)
                if cancelled or family.cancelled and our_name.endswith('/avg_mean'):
                    array[...] = recorded
                else:
                    numpy.testing.assert_allclose(array, recorded, atol=1e-4, rtol=0, err_msg=key)
                if our_name.endswith('/avg_var'):  # some are small
                    numpy.testing.assert_allclose(array, recorded, rtol=1e-4, err_msg=key)
                compared.add(key)
        assert compared == {key for key in record if '_after/' in key and not key.endswith('/N')}

        # Chainer 1.17 did without eps in test mode, where Chainer 7 adds it.
        for link in batch_normalizations(models):
            link.avg_var -= link.eps
        energy_model, generative_model = models
        numpy.testing.assert_allclose(
            sampling.sample(generative_model, record['z_test'].astype(numpy.float64)), record['x_test'], atol=1e-4,
            rtol=0)
        numpy.testing.assert_allclose(
            sampling.energy_function(energy_model)(record['x_positive'][0]), record['energy_test'], atol=1e-4, rtol=0)


@pytest.mark.parametrize('name', FAMILIES)
def test_replay_in_float32(name):
    """The same in the number type of training, as the scripts compute: close until a ReLU flips, and not far off."""
    record = load_record(name)
    _, trace = replay(FAMILIES[name], record, Fast())
    # Energies and entropies of some hundred nats are known to 3e-5.
    assert differences(record, trace)[:10].max() < 3e-4
    assert differences(record, trace).max() < 0.02
