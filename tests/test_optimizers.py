"""Adam and AdaGrad step for step beside Chainer's own, with its hooks for clipping and weight decay."""

import copy
import pickle

import chainer
import numpy
import pytest
from chainer import optimizer_hooks, serializers

from ddgm.fast import optimizers

SHAPES = {'W': (7, 5), 'b': (7,), 'kernels': (3, 2, 4, 4), 'scale': (), 'row': (1, 13)}
RATE = {'Adam': 'alpha', 'AdaGrad': 'lr'}
HYPERPARAMETERS = {
    'Adam': {'alpha': 0.03, 'beta1': 0.6, 'beta2': 0.95, 'eps': 1e-3}, 'AdaGrad': {'lr': 0.1, 'eps': 1e-3}}
STATES = {'Adam': 'v', 'AdaGrad': 'h'}  # one of each
NUMBERS = sum(int(numpy.prod(shape)) for shape in SHAPES.values())

both = pytest.mark.parametrize('name', HYPERPARAMETERS)


def build(device='@numpy', dtype=numpy.float32):
    """A model of several parameters; always the same numbers."""
    rng = numpy.random.default_rng(3)
    model = chainer.Link()
    with model.init_scope():
        for name, shape in SHAPES.items():
            setattr(model, name, chainer.Parameter(rng.normal(size=shape).astype(dtype)))
    model.to_device(device)
    return model


def own(name, model, **options):
    return getattr(optimizers, name)(**{**HYPERPARAMETERS[name], **options}).setup(model)


def of_chainer(name, model, gradient_norm=0.0, weight_decay=0.0, **hyperparameters):
    optimizer = getattr(chainer.optimizers, name)(**{**HYPERPARAMETERS[name], **hyperparameters}).setup(model)
    if gradient_norm:
        optimizer.add_hook(optimizer_hooks.GradientClipping(gradient_norm))
    if weight_decay:
        optimizer.add_hook(optimizer_hooks.WeightDecay(weight_decay))
    return optimizer


def both_of(name, *of_model, **options):
    """Ours and Chainer's, each of a model of its own."""
    return [make(name, build(*of_model), **options) for make in (own, of_chainer)]


def set_gradients(model, step, size=1.0):
    """Others in each step, and the same for every model that gets them."""
    rng = numpy.random.default_rng((9, step))
    for _, parameter in sorted(model.namedparams(), key=lambda named: named[0]):
        if parameter.array is None:
            parameter.cleargrad()  # as a loss does
            continue
        gradient = (size * rng.normal(size=parameter.shape)).astype(parameter.dtype)
        parameter.grad = parameter.device.send(numpy.asarray(gradient))


def step(optimizer, first, last):
    for i in range(first, last):
        set_gradients(optimizer.target, i)
        optimizer.update()


def steps_of_both(pair, first, last, rtol=1e-4):
    """The same of both, compared after each."""
    for i in range(first, last):
        for optimizer in pair:
            step(optimizer, i, i + 1)
        assert_close(*pair, rtol=rtol)


def arrays_of(optimizer):
    """All parameters and states by name, on the CPU."""
    result = {}
    for name, parameter in optimizer.target.namedparams(include_uninit=False):
        result[name] = chainer.cuda.to_cpu(parameter.array).copy()
        for state, value in (getattr(parameter.update_rule, 'state', None) or {}).items():
            result[name + '/' + state] = chainer.cuda.to_cpu(value).copy()
    return result


def assert_close(optimizer, other, rtol=2e-5):
    ours, theirs = arrays_of(optimizer), arrays_of(other)
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        assert (array.dtype, array.shape) == (theirs[name].dtype, theirs[name].shape), name
        numpy.testing.assert_allclose(array, theirs[name], rtol=rtol, atol=rtol, err_msg=name)
    assert optimizer.t == other.t


def assert_same(arrays, others):
    assert arrays.keys() == others.keys()
    for name, array in arrays.items():
        numpy.testing.assert_array_equal(array, others[name], err_msg=name)


@pytest.mark.parametrize('options', [
    {}, {'gradient_norm': 3.0}, {'gradient_norm': 1e3}, {'weight_decay': 0.1},
    {'gradient_norm': 3.0, 'weight_decay': 0.1}], ids=str)
@pytest.mark.parametrize('dtype', [numpy.float32, numpy.float64])
@both
def test_same_steps_as_chainer(name, dtype, options, device):
    """Twenty of them, in each the parameters and the states; the gradient has a norm of about 12."""
    pair = both_of(name, device, dtype, **options)
    steps_of_both(pair, 0, 20, rtol=1e-10 if dtype == numpy.float64 else 1e-4)
    before = build(device, dtype)
    assert all(bool((old.array != new.array).all()) for old, new in zip(before.params(), pair[0].target.params()))


@pytest.mark.parametrize('n', [1, 3, 16, 50, NUMBERS - 1, NUMBERS, NUMBERS + 1])
@both
def test_parts_of_any_size(name, n, monkeypatch):
    """Whether a part holds several parameters or a parameter takes several parts, every bit is the same."""
    whole, parted = (own(name, build(), weight_decay=0.1, gradient_norm=3.0) for _ in range(2))
    step(whole, 0, 5)
    monkeypatch.setattr(optimizers, '_PART', n)
    seen, update_part = [], parted.update_part

    def noted(parameters, *others):
        seen.append(parameters.size)
        update_part(parameters, *others)
    monkeypatch.setattr(parted, 'update_part', noted)
    step(parted, 0, 5)
    assert sum(seen) == 5 * NUMBERS
    assert len(seen) == 5 * -(-NUMBERS // n)
    assert_same(arrays_of(parted), arrays_of(whole))


@pytest.mark.parametrize('n', [50, NUMBERS])
@both
def test_gradients_that_are_views_of_one_array(name, n, monkeypatch):
    """They are taken as a whole; where one of them is another array by then, all are taken as they are."""
    monkeypatch.setattr(optimizers, '_PART', n)
    pair = whole, apart = [own(name, build(), gradient_norm=3.0) for _ in range(2)]
    for i, key in enumerate(['none of them', 'W', 'row']):
        for optimizer in pair:
            set_gradients(optimizer.target, i)
        parameters = {parameter.name: parameter for parameter in whole.target.params()}
        gradient = numpy.concatenate([parameter.grad for parameter in parameters.values()], axis=None)
        ends = numpy.cumsum([parameter.size for parameter in parameters.values()])
        views = [part.reshape(parameter.shape) for part, parameter in zip(
            numpy.split(gradient, ends[:-1]), parameters.values())]
        whole.whole_gradient = gradient, views
        for each, view in zip(parameters.values(), views):
            each.grad = view
        if key in parameters:
            parameters[key].grad = getattr(apart.target, key).grad = 2 * parameters[key].grad
        for optimizer in pair:
            optimizer.update()
        assert_close(*pair)


@both
def test_gradient_stays_as_it_is(name, device):
    """That of a single parameter is no copy."""
    optimizer = own(name, chainer.links.Bias(shape=(2,)), gradient_norm=3.0)
    optimizer.target.to_device(device)
    optimizer.target.b.grad = device.xp.array([3, 4], dtype=numpy.float32)
    optimizer.update()
    assert optimizer.target.b.grad.tolist() == [3, 4]


@both
def test_order_of_a_gradient_in_memory(name, device):
    """Gradients that are transposed, or repeat one number, count by their shape."""
    pair = own(name, build(device)), own(name, build(device))
    for optimizer in pair:
        set_gradients(optimizer.target, 0)
    model = pair[1].target
    model.W.grad = device.xp.ascontiguousarray(model.W.grad.T).T
    model.kernels.grad = device.xp.ascontiguousarray(model.kernels.grad.transpose(1, 2, 3, 0)).transpose(3, 0, 1, 2)
    pair[0].target.b.grad = device.xp.full(7, 2, dtype=numpy.float32)
    model.b.grad = device.xp.broadcast_to(device.xp.full(1, 2, dtype=numpy.float32), 7)
    for optimizer in pair:
        optimizer.update()
    assert_same(*map(arrays_of, pair))


@both
def test_no_gradient_counts_as_zero(name, device):
    """As in Chainer: the averages go on, the penalty too."""
    pair = both_of(name, device, weight_decay=0.1, gradient_norm=3.0)
    for i in range(4):
        for optimizer in pair:
            set_gradients(optimizer.target, i)
            if i != 1:
                optimizer.target.kernels.cleargrad()
            optimizer.update()
        assert_close(*pair, rtol=1e-4)


@both
def test_no_gradient_at_all(name, device):
    """A norm of 0 divides nothing."""
    optimizer = own(name, build(device), gradient_norm=3.0)
    for clear in (optimizer.target.cleargrads, optimizer.target.zerograds):
        clear()
        optimizer.update()
    for parameter, other in zip(optimizer.target.params(), build(device).params()):
        device.xp.testing.assert_array_equal(parameter.array, other.array)


@pytest.mark.parametrize('value', [numpy.nan, numpy.inf])
@both
def test_gradient_that_is_not_finite_shows(name, value, device):
    """It ends in the parameters, where a run looks for it, clipped or not."""
    for gradient_norm in (0.0, 3.0):
        optimizer = own(name, build(device), gradient_norm=gradient_norm)
        set_gradients(optimizer.target, 0)
        optimizer.target.W.grad[2, 3] = value
        with numpy.errstate(all='ignore'):
            optimizer.update()
        assert not device.xp.isfinite(optimizer.target.W.array[2, 3])


@both
def test_loss_function(name, device, rng):
    """``update(lossfun, ...)`` takes the gradient itself, whatever gradients there were."""
    x = device.send(rng.normal(size=(4, 5)).astype(numpy.float32))
    pair = both_of(name, device, gradient_norm=3.0)
    for optimizer in pair:
        set_gradients(optimizer.target, 0, size=100.0)
        for _ in range(3):
            optimizer.update(
                lambda x, weight, model=optimizer.target:
                weight * chainer.functions.sum(chainer.functions.linear(x, model.W, model.b) ** 2), x, weight=0.3)
        assert not optimizer.target.kernels.grad.any()
    assert_close(*pair, rtol=1e-4)


@pytest.mark.gpu
@both
def test_change_of_device(name):
    """To a GPU and back in the middle of a training."""
    pair = own(name, build()), own(name, build())
    for first, specifier in ((0, '@numpy'), (2, '@cupy:0'), (4, '@numpy')):
        pair[1].target.to_device(specifier)
        for optimizer in pair:
            step(optimizer, first, first + 2)
    assert_close(*pair, rtol=1e-4)


def save(optimizer):
    """Model and optimizer as arrays by the names that they have in a file."""
    serializer = serializers.DictionarySerializer()
    serializer['model'].save(optimizer.target)
    serializer['optimizer'].save(optimizer)
    return {name: array.copy() for name, array in serializer.target.items()}


def load(saved, optimizer):
    serializers.NpzDeserializer(saved)['model'].load(optimizer.target)
    serializers.NpzDeserializer(saved)['optimizer'].load(optimizer)
    return optimizer


@pytest.mark.parametrize('updated_before', [False, True])
@pytest.mark.parametrize('at', [0, 4])
@both
def test_saved_and_loaded_goes_on_to_the_same_bits(name, at, updated_before, device):
    """Into a new optimizer, or into one that has another past; averages too.  Saving itself changes nothing."""
    straight, saving, resumed = (
        own(name, build(device), gradient_norm=3.0, averaged=True, decay_from=2) for _ in range(3))
    step(straight, 0, at)
    step(saving, 0, at)
    saved = save(saving)
    if updated_before:
        step(resumed, 20, 22)
    load(saved, resumed)
    assert resumed.t == at
    for optimizer in (straight, saving, resumed):
        step(optimizer, at, 9)
    for optimizer in (saving, resumed):
        assert_same(arrays_of(optimizer), arrays_of(straight))


@pytest.mark.parametrize('copied', [copy.deepcopy, lambda optimizer: pickle.loads(pickle.dumps(optimizer))])
@both
def test_copies_of_an_optimizer(name, copied):
    """With their model, before and after updates; each goes on by itself."""
    for at in (0, 3):
        optimizer = own(name, build(), averaged=True)
        optimizer.target.b.update_rule.add_hook(optimizer_hooks.WeightDecay(0.1))
        step(optimizer, 0, at)
        other = copied(optimizer)
        step(other, at, 6)
        assert optimizer.t == at
        step(optimizer, at, 6)
        assert_same(arrays_of(other), arrays_of(optimizer))


@pytest.mark.parametrize(('saving', 'loading'), [(own, of_chainer), (of_chainer, own)])
@both
def test_snapshots_of_chainer(name, saving, loading, device):
    """By the same names, in both directions; both go on alike."""
    first = saving(name, build(device))
    step(first, 0, 4)
    second = load(save(first), loading(name, build(device)))
    saved, other = save(first), save(second)
    assert {key: (array.shape, array.dtype) for key, array in saved.items()} == {
        key: (array.shape, array.dtype) for key, array in other.items()}
    assert {int(array) for key, array in saved.items() if key.split('/')[-1] == 't'} == {4}
    assert_same(arrays_of(second), arrays_of(first))
    steps_of_both((second, first), 4, 7)


@both
def test_damaged_snapshot_is_refused(name):
    """A state of another shape, or none at all."""
    optimizer = own(name, build())
    step(optimizer, 0, 1)
    saved = save(optimizer)
    key = 'optimizer/W/' + STATES[name]
    for damaged in ({**saved, key: numpy.zeros(3)}, {k: v for k, v in saved.items() if k != key}):
        with pytest.raises((ValueError, KeyError)):
            load(damaged, own(name, build()))


# ---- parameters that do not follow the optimizer: Chainer updates them, with what is ours

def with_other_parameters(device, dtype=numpy.float32):
    """A model with two more parameters: one without a shape, and one of another dtype."""
    model = build(device, dtype)
    with model.init_scope():
        model.later = chainer.Parameter(1.0)
        model.other = chainer.Parameter(numpy.linspace(-1, 1, 5, dtype=numpy.float64))
    model.to_device(device)
    return model


def hook(rule, parameter):
    if parameter.grad is not None:
        parameter.grad *= parameter.dtype.type(0.5)


def other_weights(optimizer):
    model = optimizer.target
    model.W.array = model.xp.full((7, 5), 0.25, dtype=model.W.dtype)
    model.b.array[...] = 0.5


def other_hyperparameters(optimizer):
    for name, value in {'alpha': 0.003, 'lr': 0.01, 'beta1': 0.3, 'beta2': 0.9, 'eps': 0.5}.items():
        setattr(optimizer.hyperparam, name, value)


CHANGES = {
    'weights': other_weights,
    'hyperparameters': other_hyperparameters,
    'a rate of 0': lambda optimizer: [
        setattr(optimizer.target.W.update_rule.hyperparam, rate, 0) for rate in RATE.values()],
    'a hook': lambda optimizer: optimizer.target.W.update_rule.add_hook(hook, name='half'),
    'a hook after': lambda optimizer: optimizer.target.W.update_rule.add_hook(hook, name='half', timing='post'),
    'frozen': lambda optimizer: setattr(optimizer.target.W.update_rule, 'enabled', False),
    'all frozen': lambda optimizer: optimizer.target.disable_update(),
    'a shape': lambda optimizer: optimizer.target.later.initialize((3,)),
    'another rule': lambda optimizer: setattr(
        optimizer.target.b, 'update_rule', chainer.optimizers.MomentumSGD(0.1).create_update_rule()),
    'no rule': lambda optimizer: setattr(optimizer.target.b, 'update_rule', None),
}


@pytest.mark.parametrize('options', [{}, {'gradient_norm': 3.0, 'weight_decay': 0.1}], ids=str)
@pytest.mark.parametrize(('specifier', 'dtype'), [
    ('@numpy', numpy.float16), ('@numpy', numpy.float32),
    pytest.param('@cupy:0', numpy.float32, marks=pytest.mark.gpu)])
@pytest.mark.parametrize('change', CHANGES)
@both
def test_change_is_obeyed_as_by_chainer(name, change, specifier, dtype, options):
    """From the next update on, before the first and later; thawed, a parameter goes on where it was."""
    pair = [make(name, with_other_parameters(specifier, dtype), **options) for make in (own, of_chainer)]
    rtol = 2e-2 if dtype == numpy.float16 else 1e-4
    if change != 'another rule':
        steps_of_both(pair, 0, 2, rtol)
    for optimizer in pair:
        CHANGES[change](optimizer)
    steps_of_both(pair, 2, 5, rtol)
    for optimizer in pair:
        optimizer.target.enable_update()
    steps_of_both(pair, 5, 7, rtol)
    for parameter, other in zip(*(optimizer.target.params() for optimizer in pair)):
        assert parameter.update_rule is None or parameter.update_rule.t == other.update_rule.t


@pytest.mark.parametrize('options', [
    {'amsgrad': True}, {'adabound': True}, {'eta': 0.5, 'weight_decay_rate': 0.1}], ids=str)
def test_further_options_of_chainer(options):
    pair = both_of('Adam', gradient_norm=3.0, **options)
    steps_of_both(pair, 0, 4)
    load(save(pair[1]), pair[0])
    steps_of_both(pair, 4, 6)


@both
def test_several_links_share_a_parameter(name):
    """Chainer updates it for each of them."""
    pair = []
    for make in (own, of_chainer):
        model = chainer.Sequential(build(), build())
        with model[1].init_scope():
            model[1].W = model[0].W
        pair.append(make(name, model))
    steps_of_both(pair, 0, 4)


@pytest.mark.filterwarnings('ignore:Non finite number found')
@pytest.mark.parametrize('scale', [8.0, None])
@both
def test_scaled_losses(name, scale):
    """By a number, or one that is found; in half precision with updates in single.  Infinite ones change nothing."""
    pair = both_of(name, '@numpy', numpy.float16)
    for optimizer in pair:
        optimizer.loss_scaling(scale=scale)
        optimizer.use_fp32_update()
        for factor in (1.0, 2.0, 1.0 if scale else numpy.inf, 3.0):
            with numpy.errstate(invalid='ignore'):
                optimizer.update(lambda W, factor=factor: chainer.functions.sum(W * W) * factor, optimizer.target.W)
    assert_close(*pair, rtol=1e-3)
    assert numpy.isfinite(pair[0].target.W.array).all()
    assert (pair[0].target.W.array != build(dtype=numpy.float16).W.array).all()


@pytest.mark.filterwarnings('ignore:GradientMethod.use_cleargrads')
@both
def test_gradients_that_are_cleared_to_zeros(name):
    optimizer, seen = own(name, build()), []
    optimizer.use_cleargrads(False)
    optimizer.target.zerograds = lambda: seen.append(optimizer.target.cleargrads())
    optimizer.update(chainer.functions.sum, optimizer.target.W)
    assert len(seen) == 1


@both
def test_what_is_ours_holds_for_parameters_with_their_own_rate(name):
    """A rate that falls and averages; an update rule without that rate is refused by name."""
    pair = [own(name, build(), averaged=True, decay_from=2) for _ in range(2)]
    for parameter in pair[1].target.params():
        setattr(parameter.update_rule.hyperparam, RATE[name], HYPERPARAMETERS[name][RATE[name]])
    steps_of_both(pair, 0, 6)
    pair[1].target.b.update_rule = chainer.optimizers.AdaDelta().create_update_rule()
    set_gradients(pair[1].target, 0)
    with pytest.raises(TypeError, match='decay_from: AdaDeltaRule of b has no {}'.format(RATE[name])):
        pair[1].update()


@both
def test_average_of_parameters_that_stand_still(name):
    """Frozen from the start, frozen later, without a shape until later: as if all had been updates of 0."""
    optimizer = own(name, with_other_parameters(chainer.get_device('@numpy')), averaged=True)
    optimizer.target.b.update_rule.enabled = False
    history = []
    for t in range(6):
        if t == 3:
            optimizer.target.W.update_rule.enabled = False
            optimizer.target.later.initialize((3,))
        step(optimizer, t, t + 1)
        history.append({n: p.array.copy() for n, p in optimizer.target.namedparams(include_uninit=False)})
    averaged = optimizer.averaged_model()
    numpy.testing.assert_array_equal(averaged.b.array, optimizer.target.b.array)
    for name, expected, first in (('W', 0, 1), ('later', 1, 4)):
        for t in range(first, 7):
            expected = expected + 9 / (8 + t) * (history[t - 1]['/' + name] - expected)
        numpy.testing.assert_allclose(getattr(averaged, name).array, expected, rtol=1e-5, atol=1e-6)


@both
def test_changed_clipping_and_weight_decay_take_effect(name, device):
    pair = changed, other = both_of(name, device, gradient_norm=3.0)
    steps_of_both(pair, 0, 1)
    changed.gradient_norm, changed.weight_decay = 0.0, 0.2
    other.remove_hook('GradientClipping')
    other.add_hook(optimizer_hooks.WeightDecay(0.2))
    steps_of_both(pair, 1, 2)


@both
def test_hooks_of_the_user(name, device):
    """Run before and after the update, in their order; what they do to the gradient counts, and none is missing."""
    def watching(when, seen):
        return lambda optimizer: seen.append(
            (when, optimizer.t, chainer.cuda.to_cpu(optimizer.target.W.array).copy()))
    pair, seen = both_of(name, device), ([], [])
    for optimizer, by_it in zip(pair, seen):
        optimizer.add_hook(watching('first', by_it), 'first', timing='pre')
        optimizer.add_hook(optimizer_hooks.WeightDecay(0.3))
        optimizer.add_hook(optimizer_hooks.GradientClipping(2.0))
        optimizer.add_hook(watching('last', by_it), 'last', timing='post')
        step(optimizer, 0, 2)
        set_gradients(optimizer.target, 2)
        optimizer.target.b.cleargrad()
        optimizer.update()
    assert_close(*pair, rtol=1e-4)
    for by_it in seen:
        assert [call[:2] for call in by_it] == [
            ('first', 0), ('last', 1), ('first', 1), ('last', 2), ('first', 2), ('last', 3)]
        assert all((before[2] != after[2]).all() for before, after in zip(by_it[::2], by_it[1::2]))


@both
def test_parameters_of_a_model_lie_one_after_the_other(name, device):
    """So that an update is one pass; each is a view, and so are the states.

    A copy has its own, and an array that is given to a parameter stays its giver's.
    """
    optimizer = own(name, build(device))
    step(optimizer, 0, 1)
    for arrays in zip(*([parameter.array, *parameter.update_rule.state.values()] for parameter in
                        optimizer.target.params())):
        owner = arrays[0].base
        assert owner.size == NUMBERS
        assert all(array.base is owner for array in arrays)
    views = [parameter.array for parameter in optimizer.target.params()]
    copied, before = optimizer.target.copy(mode='copy'), [view.copy() for view in views]
    step(optimizer, 1, 3)
    for parameter, array in zip(copied.params(), before):
        device.xp.testing.assert_array_equal(parameter.array, array)
    assert all(parameter.array is view for parameter, view in zip(optimizer.target.params(), views))
    optimizer.target.W.array = given = device.xp.full((7, 5), 0.25, dtype=numpy.float32)
    step(optimizer, 3, 4)
    assert bool((given == 0.25).all())


def test_hyperparameters_are_chainers():
    assert (optimizers.Adam(0.5, 0.2).beta1, optimizers.AdaGrad(0.5).lr) == (0.2, 0.5)
    with pytest.raises(TypeError, match='learning_rate'):
        optimizers.Adam(learning_rate=1)


# ---- the end of training: a rate that falls, and averages

@both
def test_learning_rate_falls_as_a_power(name, device):
    """Each update is that of Chainer's optimizer whose rate somebody sets by hand."""
    mine, theirs = own(name, build(device), decay_from=4, decay_power=1.5), of_chainer(name, build(device))
    for t in range(1, 13):
        setattr(theirs, RATE[name], HYPERPARAMETERS[name][RATE[name]] * min(1, (4 / t) ** 1.5))
        step(mine, t, t + 1)
        step(theirs, t, t + 1)
    assert_close(mine, theirs)
    mine.decay_power, mine.t = 200.0, 8
    assert mine.decay == 0.5 ** 200


def test_average_is_that_of_polynomial_decay(device):
    """θ̄ₜ = (1 − w)θ̄ₜ₋₁ + wθₜ with w = (η + 1)/(η + t): the mean of all θₛ by weights that rise as s^η.

    It changes neither the run nor its model.
    """
    optimizer, plain = own('Adam', build(device), averaged=True), own('Adam', build(device))
    assert optimizer.averaged_model() is optimizer.target  # nothing to average yet
    weights, history = [], []
    for t in range(1, 9):
        step(optimizer, t, t + 1)
        step(plain, t, t + 1)
        history.append({n: chainer.cuda.to_cpu(p.array).copy() for n, p in optimizer.target.namedparams()})
        weights.append(numpy.prod([float(t + i) for i in range(optimizer.averaging_power)]))
        averaged = optimizer.averaged_model()
        for n, parameter in averaged.namedparams():
            expected = sum(w * arrays[n].astype(float) for w, arrays in zip(weights, history)) / sum(weights)
            numpy.testing.assert_allclose(chainer.cuda.to_cpu(parameter.array), expected, rtol=1e-5, atol=1e-6)
            parameter.array[...] = 0
    assert plain.averaged_model() is plain.target
    for mine, theirs in zip(optimizer.target.params(), plain.target.params()):
        device.xp.testing.assert_array_equal(mine.array, theirs.array)
