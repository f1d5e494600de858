"""Adam and AdaGrad step for step beside Chainer's own, with its hooks for clipping and weight decay."""

import io

import chainer
import numpy
import pytest
from chainer import optimizer_hooks, serializers

from ddgm.fast import optimizers

SHAPES = {'W': (7, 5), 'b': (7,), 'kernels': (3, 2, 4, 4), 'scale': (), 'row': (1, 13)}
HYPERPARAMETERS = {
    'Adam': {'alpha': 0.03, 'beta1': 0.6, 'beta2': 0.95, 'eps': 1e-3}, 'AdaGrad': {'lr': 0.1, 'eps': 1e-3}}
STATES = {'Adam': ('m', 'v'), 'AdaGrad': ('h',)}
NUMBERS = sum(int(numpy.prod(shape)) for shape in SHAPES.values())

both = pytest.mark.parametrize('name', HYPERPARAMETERS)


def build(device, dtype=numpy.float32):
    """A model of several parameters; always the same numbers."""
    rng = numpy.random.default_rng(3)
    model = chainer.Link()
    with model.init_scope():
        for name, shape in SHAPES.items():
            setattr(model, name, chainer.Parameter(rng.normal(size=shape).astype(dtype)))
    model.to_device(device)
    return model


def own(name, model, **options):
    return getattr(optimizers, name)(**HYPERPARAMETERS[name], **options).setup(model)


def of_chainer(name, model, gradient_norm=0.0, weight_decay=0.0):
    optimizer = getattr(chainer.optimizers, name)(**HYPERPARAMETERS[name]).setup(model)
    if gradient_norm:
        optimizer.add_hook(optimizer_hooks.GradientClipping(gradient_norm))
    if weight_decay:
        optimizer.add_hook(optimizer_hooks.WeightDecay(weight_decay))
    return optimizer


def set_gradients(model, step, size=1.0):
    """Others in each step, and the same for every model that gets them."""
    rng = numpy.random.default_rng((9, step))
    for _, parameter in sorted(model.namedparams()):
        gradient = (size * rng.normal(size=parameter.shape)).astype(parameter.dtype)
        parameter.grad = parameter.device.send(numpy.asarray(gradient))


def step(optimizer, first, last):
    for i in range(first, last):
        set_gradients(optimizer.target, i)
        optimizer.update()


def arrays_of(optimizer):
    """All parameters and states by name, on the CPU."""
    result = {}
    for name, parameter in optimizer.target.namedparams():
        result[name] = chainer.cuda.to_cpu(parameter.array).copy()
        for state, value in (parameter.update_rule.state or {}).items():
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
    pair = own(name, build(device, dtype), **options), of_chainer(name, build(device, dtype), **options)
    for i in range(20):
        for optimizer in pair:
            step(optimizer, i, i + 1)
        assert_close(*pair, rtol=1e-10 if dtype == numpy.float64 else 1e-4)
    before = build(device, dtype)
    assert all(bool((old.array != new.array).all()) for old, new in zip(before.params(), pair[0].target.params()))


@pytest.mark.parametrize('n', [1, 3, 16, 50, NUMBERS - 1, NUMBERS, NUMBERS + 1])
@both
def test_parts_of_any_size(name, n, monkeypatch):
    """Whether a part holds several parameters or a parameter takes several parts, every bit is the same."""
    device = chainer.get_device('@numpy')
    whole = own(name, build(device), weight_decay=0.1, gradient_norm=3.0)
    step(whole, 0, 5)
    monkeypatch.setattr(optimizers, '_PART', n)
    parted = own(name, build(device), weight_decay=0.1, gradient_norm=3.0)
    seen = []
    update_part = parted.update_part
    monkeypatch.setattr(
        parted, 'update_part', lambda parameters, *others: seen.append(parameters.size) or update_part(
            parameters, *others))
    step(parted, 0, 5)
    assert sum(seen) == 5 * NUMBERS
    assert len(seen) == 5 * -(-NUMBERS // n)
    assert_same(arrays_of(parted), arrays_of(whole))


@both
def test_parts_of_a_large_parameter(name):
    """More numbers than the published size of a part."""
    pair = []
    for make in (own, of_chainer):
        model = chainer.Link()
        with model.init_scope():
            model.b = chainer.Parameter(numpy.linspace(0, 1, 1001, dtype=numpy.float32))
            model.W = chainer.Parameter(numpy.linspace(-1, 1, 600_000, dtype=numpy.float32).reshape(1200, 500))
        pair.append(make(name, model, gradient_norm=10.0))
        step(pair[-1], 0, 2)
    assert pair[0].target.W.size > 2 * optimizers._PART
    assert_close(*pair, rtol=1e-4)


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
    pair = [make(name, build(device), weight_decay=0.1, gradient_norm=3.0) for make in (own, of_chainer)]
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
    optimizer.target.cleargrads()
    optimizer.update()
    for parameter in optimizer.target.params():
        parameter.grad = device.xp.zeros_like(parameter.array)
    optimizer.update()
    assert_same(
        {key: array for key, array in arrays_of(optimizer).items() if key[1:] in SHAPES},
        {'/' + key: chainer.cuda.to_cpu(getattr(build(device), key).array) for key in SHAPES})


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
    pair = [make(name, build(device), gradient_norm=3.0) for make in (own, of_chainer)]
    for optimizer in pair:
        model = optimizer.target

        def loss(x, weight, model=model):
            return weight * chainer.functions.sum(chainer.functions.linear(x, model.W, model.b) ** 2)
        set_gradients(model, 0, size=100.0)
        for _ in range(3):
            optimizer.update(loss, x, weight=0.3)
        assert model.kernels.grad is None or not model.kernels.grad.any()
    assert_close(*pair, rtol=1e-4)


@both
def test_replaced_parameter_is_taken_over(name, device):
    """Weights from elsewhere count from the next update on; the states stay."""
    pair = [make(name, build(device), gradient_norm=3.0) for make in (own, of_chainer)]
    for optimizer in pair:
        step(optimizer, 0, 3)
        optimizer.target.W.array = device.xp.full((7, 5), 0.25, dtype=numpy.float32)
        optimizer.target.b.array[...] = 0.5
        step(optimizer, 3, 6)
    assert_close(*pair, rtol=1e-4)


@both
def test_replaced_array_is_not_written_into(name):
    """An array that was given to a parameter belongs to its giver."""
    optimizer = own(name, build(chainer.get_device('@numpy')))
    step(optimizer, 0, 1)
    given = numpy.full((7, 5), 0.25, dtype=numpy.float32)
    optimizer.target.W.array = given
    step(optimizer, 1, 2)
    assert (given == 0.25).all()
    assert (optimizer.target.W.array != 0.25).all()


@pytest.mark.gpu
@both
def test_change_of_device(name):
    """To a GPU and back in the middle of a training."""
    pair = own(name, build(chainer.get_device('@numpy'))), own(name, build(chainer.get_device('@numpy')))
    for first, specifier in ((0, '@numpy'), (2, '@cupy:0'), (4, '@numpy')):
        pair[1].target.to_device(specifier)
        for optimizer in pair:
            step(optimizer, first, first + 2)
    assert_close(*pair, rtol=1e-4)


@both
def test_copies_of_a_model_have_their_own_weights(name, device):
    optimizer = own(name, build(device))
    step(optimizer, 0, 2)
    copy = optimizer.target.copy(mode='copy')
    before = [parameter.array.copy() for parameter in copy.params()]
    step(optimizer, 2, 4)
    for parameter, array in zip(copy.params(), before):
        device.xp.testing.assert_array_equal(parameter.array, array)


def save(optimizer):
    """Model and optimizer as an NPZ file in memory."""
    file = io.BytesIO()
    with numpy.errstate(all='raise'):
        serializers.save_npz(file, chainer.Sequential(optimizer.target))
    state = io.BytesIO()
    serializers.save_npz(state, optimizer)
    return file.getvalue(), state.getvalue()


def load(saved, optimizer):
    model, state = saved
    serializers.load_npz(io.BytesIO(model), chainer.Sequential(optimizer.target))
    serializers.load_npz(io.BytesIO(state), optimizer)
    return optimizer


@pytest.mark.parametrize('updated_before', [False, True])
@both
def test_saved_and_loaded_goes_on_to_the_same_bits(name, updated_before, device):
    """Into a new optimizer, or into one that has another past."""
    straight = own(name, build(device), gradient_norm=3.0)
    step(straight, 0, 4)
    saved = save(straight)
    step(straight, 4, 9)
    resumed = own(name, build(device), gradient_norm=3.0)
    if updated_before:
        step(resumed, 20, 22)
    load(saved, resumed)
    assert resumed.t == 4
    step(resumed, 4, 9)
    assert_same(arrays_of(resumed), arrays_of(straight))


@both
def test_saving_changes_nothing(name, device):
    pair = own(name, build(device)), own(name, build(device))
    save(pair[0])
    for optimizer in pair:
        step(optimizer, 0, 2)
    save(pair[0])
    for optimizer in pair:
        step(optimizer, 2, 4)
    assert_same(*map(arrays_of, pair))


@both
def test_saved_before_the_first_update(name, device):
    saved = save(own(name, build(device)))
    pair = load(saved, own(name, build(device))), own(name, build(device))
    for optimizer in pair:
        step(optimizer, 0, 2)
    assert_same(*map(arrays_of, pair))


@pytest.mark.parametrize(('saving', 'loading'), [(own, of_chainer), (of_chainer, own)])
@both
def test_snapshots_of_chainer(name, saving, loading, device):
    """By the same names, in both directions; both go on alike."""
    first = saving(name, build(device))
    step(first, 0, 4)
    second = load(save(first), loading(name, build(device)))
    assert_same(arrays_of(second), arrays_of(first))
    for optimizer in (first, second):
        step(optimizer, 4, 7)
    assert_close(second, first, rtol=1e-4)
    assert {name for _, parameter in second.target.namedparams() for name in parameter.update_rule.state} == set(
        STATES[name])


def test_same_names_in_a_file():
    device = chainer.get_device('@numpy')
    names = []
    for make in (own, of_chainer):
        optimizer = make('Adam', build(device))
        step(optimizer, 0, 2)
        with numpy.load(io.BytesIO(save(optimizer)[1])) as file:
            names.append({name: (file[name].shape, file[name].dtype) for name in file})
            assert {int(file[name]) for name in file if name.split('/')[-1] == 't'} == {2}
    assert names[0] == names[1]


@both
def test_damaged_snapshot_is_refused(name):
    """A state of another shape, or none at all."""
    device = chainer.get_device('@numpy')
    optimizer = own(name, build(device))
    step(optimizer, 0, 1)
    with numpy.load(io.BytesIO(save(optimizer)[1])) as file:
        arrays = dict(file)
    key = 'W/' + STATES[name][0]
    for damaged in ({**arrays, key: numpy.zeros(3)}, {k: v for k, v in arrays.items() if k != key}):
        with pytest.raises((ValueError, KeyError)):
            serializers.NpzDeserializer(damaged).load(own(name, build(device)))


@both
def test_parameters_that_get_their_shape_later(name):
    """As weight normalization's: the optimizer may be there before the first batch is."""
    model = build(chainer.get_device('@numpy'))
    with model.init_scope():
        model.later = chainer.Parameter(1.0)
    optimizer = own(name, model)
    model.later.initialize((3,))
    pair = optimizer, of_chainer(name, model.copy(mode='copy'))
    for each in pair:
        step(each, 0, 3)
    assert_close(*pair, rtol=1e-4)


@pytest.mark.parametrize('make', [own, of_chainer])
@both
def test_update_before_a_parameter_has_its_shape(name, make):
    """Chainer leaves it out until then."""
    model = build(chainer.get_device('@numpy'))
    with model.init_scope():
        model.later = chainer.Parameter(1.0)
    optimizer = make(name, model)
    for i in range(3):
        model.cleargrads()
        for other in (model.W, model.b, model.kernels, model.scale, model.row):
            other.grad = numpy.ones_like(other.array)
        if i == 1:
            model.later.initialize((3,))
            model.later.grad = numpy.ones(3, dtype=numpy.float32)
        optimizer.update()
        assert model.later.is_initialized == (i >= 1)
    assert (model.later.array < 1).all()


@both
def test_frozen_parameters(name, device):
    """``disable_update`` keeps a parameter as it is, and ``enable_update`` goes on with its states."""
    pair = [make(name, build(device)) for make in (own, of_chainer)]
    for optimizer in pair:
        rule = optimizer.target.W.update_rule
        step(optimizer, 0, 2)
        before = optimizer.target.W.array.copy()
        rule.enabled = False
        step(optimizer, 2, 4)
        device.xp.testing.assert_array_equal(optimizer.target.W.array, before)
    assert_close(*pair, rtol=1e-4)
    pair[0].target.enable_update()
    step(pair[0], 4, 5)
    assert (pair[0].target.W.array != before).all()


@both
def test_changed_hyperparameters_take_effect(name, device):
    pair = [make(name, build(device)) for make in (own, of_chainer)]
    for optimizer in pair:
        step(optimizer, 0, 3)
        if name == 'Adam':
            optimizer.alpha *= 0.1
            optimizer.beta1, optimizer.beta2 = 0.3, 0.9
        else:
            optimizer.lr *= 0.1
        optimizer.hyperparam.eps = 0.5
        step(optimizer, 3, 6)
    assert_close(*pair, rtol=1e-4)


@both
def test_changed_clipping_and_weight_decay_take_effect(name, device):
    changed = own(name, build(device), gradient_norm=3.0)
    step(changed, 0, 1)
    changed.gradient_norm, changed.weight_decay = 0.0, 0.2
    step(changed, 1, 2)
    other = of_chainer(name, build(device), gradient_norm=3.0)
    step(other, 0, 1)
    other.remove_hook('GradientClipping')
    other.add_hook(optimizer_hooks.WeightDecay(0.2))
    step(other, 1, 2)
    assert_close(changed, other, rtol=1e-4)


@both
def test_hooks_of_the_user(name, device):
    """Run before and after the update, in their order; what they do to the gradient counts."""
    seen = []

    class Hook:
        def __init__(self, name, timing):
            self.name, self.timing = name, timing

        def __call__(self, optimizer):
            seen.append((self.name, optimizer.t, chainer.cuda.to_cpu(optimizer.target.W.array).copy()))
    pair = [make(name, build(device)) for make in (own, of_chainer)]
    for optimizer in pair:
        optimizer.add_hook(Hook('first', 'pre'))
        optimizer.add_hook(optimizer_hooks.WeightDecay(0.3))
        optimizer.add_hook(optimizer_hooks.GradientClipping(2.0))
        optimizer.add_hook(Hook('last', 'post'))
        step(optimizer, 0, 3)
    assert_close(*pair, rtol=1e-4)
    assert [(name, t) for name, t, _ in seen[:6]] == [(name, t) for name, t, _ in seen[6:]]
    assert [name for name, _, _ in seen[:6]] == ['first', 'last'] * 3
    for (_, _, before), (_, _, after) in zip(seen[0:6:2], seen[1:6:2]):
        assert (before != after).all()


@both
def test_hook_of_the_user_where_there_is_no_gradient(name, device):
    """Chainer's hooks can't do with ``None``."""
    pair = [make(name, build(device)) for make in (own, of_chainer)]
    for optimizer in pair:
        optimizer.add_hook(optimizer_hooks.GradientClipping(2.0))
        set_gradients(optimizer.target, 0)
        optimizer.target.b.cleargrad()
        optimizer.update()
    assert_close(*pair, rtol=1e-4)


@both
def test_parameters_of_a_model_lie_one_after_the_other(name, device):
    """So that an update is one pass; each is a view, and so are the states."""
    optimizer = own(name, build(device))
    step(optimizer, 0, 1)
    for arrays in zip(*([parameter.array, *parameter.update_rule.state.values()] for parameter in
                        optimizer.target.params())):
        owner = arrays[0].base
        assert owner.size == NUMBERS
        assert all(array.base is owner for array in arrays)
    views = [parameter.array for parameter in optimizer.target.params()]
    step(optimizer, 1, 3)
    assert all(parameter.array is view for parameter, view in zip(optimizer.target.params(), views))


def test_unknown_hyperparameter_is_refused():
    with pytest.raises(TypeError):
        optimizers.Adam(learning_rate=1)


# ---- the end of training: a rate that falls, and averages

@both
def test_learning_rate_falls_as_a_power(name, device):
    """Each update is that of Chainer's optimizer whose rate somebody sets by hand."""
    mine, theirs = own(name, build(device), decay_from=4, decay_power=1.5), of_chainer(name, build(device))
    rate = 'alpha' if name == 'Adam' else 'lr'
    for t in range(1, 13):
        setattr(theirs, rate, HYPERPARAMETERS[name][rate] * min(1, (4 / t) ** 1.5))
        step(mine, t, t + 1)
        step(theirs, t, t + 1)
    assert_close(mine, theirs)


def test_learning_rate_falls_by_any_power():
    optimizer = own('Adam', build(chainer.get_device('@numpy')), decay_from=400, decay_power=200.0)
    step(optimizer, 1, 2)
    assert optimizer.decay == 1
    optimizer.t = 800
    assert optimizer.decay == 0.5 ** 200


def test_average_is_that_of_polynomial_decay(device):
    """θ̄ₜ = (1 − w)θ̄ₜ₋₁ + wθₜ with w = (η + 1)/(η + t): the mean of all θₛ by weights that rise as s^η."""
    optimizer = own('Adam', build(device), averaged=True)
    weights, history = [], []
    for t in range(1, 9):
        step(optimizer, t, t + 1)
        history.append({n: chainer.cuda.to_cpu(p.array).copy() for n, p in optimizer.target.namedparams()})
        weights.append(numpy.prod([float(t + i) for i in range(optimizer.averaging_power)]))
    for n, parameter in optimizer.averaged_model().namedparams():
        expected = sum(w * arrays[n].astype(float) for w, arrays in zip(weights, history)) / sum(weights)
        numpy.testing.assert_allclose(chainer.cuda.to_cpu(parameter.array), expected, rtol=1e-5, atol=1e-6)


def test_average_changes_neither_the_run_nor_its_model(device):
    averaging, plain = own('Adam', build(device), averaged=True), own('Adam', build(device))
    assert averaging.averaged_model() is averaging.target  # nothing to average yet
    step(averaging, 1, 5)
    step(plain, 1, 5)
    averaged = averaging.averaged_model()
    assert averaged is not averaging.target
    assert plain.averaged_model() is plain.target
    for parameter in averaged.params():
        parameter.array[...] = 0
    step(averaging, 5, 8)
    step(plain, 5, 8)
    for (n, mine), (_, theirs) in zip(averaging.target.namedparams(), plain.target.namedparams()):
        numpy.testing.assert_array_equal(chainer.cuda.to_cpu(mine.array), chainer.cuda.to_cpu(theirs.array), n)


def test_average_and_rate_survive_a_file(device):
    """A stopped run goes on to the same bits, its averages too."""
    options = {'averaged': True, 'decay_from': 2}
    whole = own('Adam', build(device), **options)
    step(whole, 1, 4)
    file = io.BytesIO()
    serializers.save_npz(file, whole)
    again = own('Adam', build(device), **options)
    for (_, mine), (_, theirs) in zip(again.target.namedparams(), whole.target.namedparams()):
        mine.array[...] = theirs.array
    file.seek(0)
    serializers.load_npz(file, again)
    for optimizer in (whole, again):
        step(optimizer, 4, 9)
    for (n, mine), (_, theirs) in zip(
            again.averaged_model().namedparams(), whole.averaged_model().namedparams()):
        numpy.testing.assert_array_equal(chainer.cuda.to_cpu(mine.array), chainer.cuda.to_cpu(theirs.array), n)
