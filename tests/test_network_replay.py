"""Networks that are recorded and replayed compute what they compute as written, to the last bit."""

import contextlib
import itertools

import chainer
import chainer.functions
import numpy
import pytest
from chainer import link_hooks

from ddgm import training
from ddgm.data.distributions import GaussianMixture
from ddgm.evaluation import tasks
from ddgm.fast import functions as F, links as L
from ddgm.fast.gradients import gradients
from ddgm.fast.replay import Replay
from ddgm.fast.strategy import Fast
from ddgm.presets import PRESETS

PLANE = [(task, name) for task in ('gaussian_mixture', 'swiss_roll') for name in PRESETS[task] if name != 'long']


def models_of(task, preset):
    """A DEM and a DGM that have had their first batch, the same at every call."""
    rng = numpy.random.default_rng(0)
    settings = PRESETS[task][preset].settings
    pair = tasks.build_models(task, settings, rng)
    training.start_from_batch(pair[0], rng.normal(size=(50, 2)).astype(numpy.float32), rng)
    return pair


@pytest.fixture
def x(rng):
    return rng.normal(size=(5, 2)).astype(numpy.float32)


class Network(chainer.Chain):
    """A network whose ``layers(self, x)`` a test chooses; it counts how often it is computed as written."""

    replayable = True

    def __init__(self, layers):
        super().__init__()
        self.layers, self.calls, self.scale = layers, itertools.count(), 1.0
        with self.init_scope():
            self.l1 = L.Linear(2, 3, initialW=numpy.arange(6, dtype=numpy.float32).reshape(3, 2) / 6)
            self.bn = L.BatchNormalization(3)

    def forward(self, x):
        next(self.calls)
        return self.layers(self, x)

    @property
    def computed(self):
        return int(repr(self.calls)[len('count('):-1])


def of_layers(network, x):
    h = network.l1(x)
    return F.tanh(network.bn(h)) + h


def everything(network, x, in_context):
    """Outputs, gradients and running statistics of three passes, as arrays."""
    results = []
    parameters = list(network.params())
    with in_context:
        for scale in (1, 2, 3):
            variable = chainer.Variable(scale * x)
            y = network(variable)
            results += [y.array, *gradients(F.mean(y * y), [variable, *parameters])]
            results += gradients(F.mean(network(scale * x)), parameters)
            with chainer.no_backprop_mode():
                results.append(network(scale * x).array)
    return results + [
        array for link in network.links() if isinstance(link, chainer.links.BatchNormalization)
        for array in (link.avg_mean, link.avg_var)]


def assert_same(results, expected):
    for array, other in zip(results, expected):
        assert (array is None) == (other is None)
        if array is not None:
            assert array.dtype == other.dtype
            numpy.testing.assert_array_equal(array, other)


@pytest.mark.parametrize('which', [0, 1], ids=['energy', 'generator'])
@pytest.mark.parametrize(('task', 'preset'), PLANE)
def test_the_networks_of_the_plane_keep_their_bits(task, preset, which, rng):
    pair, twins = models_of(task, preset), models_of(task, preset)
    size = pair[1].n_latent if which else 2
    x = rng.normal(size=(20, size)).astype(numpy.float32)
    replay, as_written = Replay(), pair[which].forward
    assert_same(
        everything(pair[which], x, replay.of(pair[which])), everything(twins[which], x, contextlib.nullcontext()))
    with replay.of(pair[which]), pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair[which].forward, '_as_written', None)  # so that it can't be called again
        everything(pair[which], x, contextlib.nullcontext())
    assert pair[which].forward == as_written


def test_whatever_a_network_may_depend_on_is_recorded_by_itself(rng):
    network, x = Network(of_layers), rng.normal(size=(6, 2)).astype(numpy.float32)
    twin = Network(of_layers)

    def results(network):
        with chainer.no_backprop_mode():
            without = network(x).array
        with chainer.using_config('n_splits', 2):
            joined = network(x).array
        # Chainer's own BatchNormalization, in test mode
        with chainer.using_config('train', False):
            tested = network(x).array
        fewer = network(x[:4]).array
        return [without, joined, tested, fewer, network(x).array]
    with Replay().of(network):
        first, again = results(network), results(network)
    assert network.computed == 6  # each of five once, and test mode once more
    assert_same(first + again, results(twin) + results(twin))


def test_two_passes_before_their_gradients(rng):
    """What a pass keeps for its gradients is its own."""
    network, twin = Network(of_layers), Network(of_layers)
    first, second = rng.normal(size=(2, 5, 2)).astype(numpy.float32)

    def results(network):
        y = [network(x) for x in (first, second, first)]
        return [array for each in y for array in gradients(F.mean(each * each), list(network.params()))]
    with Replay().of(network):
        for _ in range(2):
            assert_same(results(network), results(twin))


def chainers_function(network, x):
    return F.tanh(chainer.functions.sin(network.l1(x)))


def chainers_result(network, x):
    return chainer.functions.sin(network.l1(x))


def array_of_its_own(network, x):
    return F.linear(x, numpy.full((3, 2), len(network.name or 'a'), dtype=numpy.float32)) + network.l1(x)


def nothing_at_all(network, x):
    return chainer.as_variable(x)


@pytest.mark.parametrize(('layers', 'replayable'), [
    *((layers, True) for layers in (chainers_function, chainers_result, array_of_its_own, nothing_at_all)),
    (of_layers, False)])
def test_what_is_not_known_is_computed_as_written(layers, replayable, x):
    """And what does not promise that it is known."""
    network = Network(layers)
    network.replayable = replayable
    with Replay().of(network):
        results = [network(x).array for _ in range(3)]
    assert network.computed == 3
    assert_same(results, 3 * [Network(layers)(x).array])


def test_links_without_weights_are_computed_as_written(x):
    """Until they have some."""
    network = Network(lambda network, x: network.late(x))
    with network.init_scope():
        network.late = L.Linear(None, 3)
    with Replay().of(network):
        for _ in range(3):
            network(x)
    assert network.late.W.is_initialized
    assert network.computed == 2


def test_hooks_and_debug_mode_see_each_function_and_link(x):
    network = Network(of_layers)
    with Replay().of(network):
        network(x)
        network(x)
        with chainer.function_hooks.TimerHook() as hook:
            network(x)
        with chainer.using_config('debug', True):
            network(x)
        with link_hooks.TimerHook() as of_links:
            network(x)
        of_layer = link_hooks.TimerHook()
        network.l1.add_hook(of_layer)
        network(x)
    assert len(hook.call_history) == 4
    assert len(of_links.call_history) == 3  # the network and both layers
    assert len(of_layer.call_history) == 1
    assert network.computed == 5


def test_chainers_backward_passes_through_a_replay(x):
    network, twin = Network(of_layers), Network(of_layers)
    with Replay().of(network):
        network(x)
        twin(x)
        for each in (network, twin):
            each.cleargrads()
            F.mean(each(x)).backward()
    assert_same([p.grad for p in network.params()], [p.grad for p in twin.params()])
    with Replay().of(network):
        network(x)
        with pytest.raises(RuntimeError, match='no second derivative'):
            F.mean(network(x)).backward(enable_double_backprop=True)


def test_changed_weights_are_seen(x):
    network = Network(of_layers)
    with Replay().of(network):
        network(x)
        network.l1.W.array = numpy.ones((3, 2), dtype=numpy.float32)
        replayed = network(x).array
    assert network.computed == 1
    assert_same([replayed], [network(x).array])


def replaced_parameter(network):
    with network.l1.init_scope():
        network.l1.W = chainer.Parameter(numpy.ones((3, 2), dtype=numpy.float32))


@pytest.mark.parametrize('change', [
    lambda network: setattr(network, 'l1', L.Linear(2, 3, initialW=1)), replaced_parameter,
    lambda network: setattr(network, 'scale', 2.5), lambda network: setattr(network.bn, 'eps', 0.5),
    lambda network: network.factors.__setitem__(0, 3.0)], ids=['link', 'parameter', 'number', 'of a link', 'of a list'])
def test_whatever_a_forward_reads_ends_the_replay(change, x):
    """When it is assigned, within an iteration or between two."""
    def layers(network, x):
        return network.scale * network.factors[0] * of_layers(network, x)
    network, twin = Network(layers), Network(layers)
    network.factors, twin.factors = [1.0, 2.0], [1.0, 2.0]
    replay = Replay()
    with replay.of(network):
        network(x)
        change(network)
        within = network(x).array
        assert network.computed == 2
    change(twin)
    assert_same([within], [twin(x).array])
    with replay.of(network):
        assert_same([network(x).array], [twin(x).array])
    assert network.computed == 2


def losses_of(strategy, change):
    """Of a run that is interfered with after its second iteration."""
    energy_model, generative_model = models_of('gaussian_mixture', 'default')
    optimizers = map(training.make_optimizer, (energy_model, generative_model))
    losses = []
    for iteration, observation in training.train(
            *optimizers, draw_data=GaussianMixture().sample, batchsize=20, seed=0, iterations=5, strategy=strategy):
        losses.append([float(value) for value in observation.values()])
        if iteration == 2:
            change(energy_model)
    return losses


def test_a_loop_that_replays_sees_what_is_assigned_between_two_iterations():
    def narrower(energy_model):
        energy_model.sigma = 0.1
    assert losses_of(Fast(), narrower) == losses_of(Fast(replay=False), narrower)
    assert losses_of(Fast(), narrower)[-1][0] > 10 + losses_of(Fast(), lambda energy_model: None)[-1][0]


def test_nothing_is_left_in_the_model(x):
    """Between two iterations it may be copied, pickled or called."""
    network = Network(of_layers)
    replay = Replay()
    with contextlib.suppress(ZeroDivisionError), replay.of(network):
        network(x)
        raise ZeroDivisionError
    assert 'forward' not in vars(network)
    network.forward = lambda x: 2 * x  # of the user's own
    with replay.of(network):
        assert_same([network(x)], [2 * x])
