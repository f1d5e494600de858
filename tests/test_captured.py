"""What a CUDA graph replays has the bits of iterations that are computed call by call.

On the stand-in for CuPy captures refuse what CuPy refuses, memory that is free is poisoned, and calls are counted.
"""

import collections
import contextlib
import ctypes
import dataclasses
import functools
import shutil
import subprocess

import chainer
import numpy
import pytest
from conftest import is_stand_in

from ddgm import objectives
from ddgm.data.distributions import GaussianMixture
from ddgm.evaluation import tasks
from ddgm.fast import captured
from ddgm.fast.kernels import products
from ddgm.fast.strategy import Fast
from ddgm.presets import PRESETS
from ddgm.runs import training_state
from ddgm.support.serialization import arrays_of, load_arrays

pytestmark = pytest.mark.gpu
stand_in_alone = pytest.mark.skipif(not is_stand_in(), reason='CuPy itself, or no C++ compiler')

# What products are on a card, as cuBLAS has them: columns lie one after the other.
CUBLAS = '''
#include <cstddef>
template <class T> void multiply(
        int transa, int transb, int m, int n, int k, const void *alpha, const void *a, int lda, const void *b, int ldb,
        const void *beta, void *c, int ldc) {
    const T *A = (const T *)a, *B = (const T *)b;
    T *C = (T *)c;
    for (int i = 0; i < m; ++i) for (int j = 0; j < n; ++j) {
        T sum = 0;
        for (int l = 0; l < k; ++l)
            sum += A[transa ? l + i * lda : i + l * lda] * B[transb ? j + l * ldb : l + j * ldb];
        T &result = C[i + j * ldc];
        result = *(const T *)alpha * sum + (*(const T *)beta ? *(const T *)beta * result : 0);
    }
}
static int handle;
extern "C" {
int cublasCreate_v2(void **created) { *created = &handle; return 0; }
int cublasDestroy_v2(void *) { return 0; }
int cublasSetStream_v2(void *given, void *stream) { return given == &handle && stream ? 0 : 7; }
int cublasSetWorkspace_v2(void *given, void *memory, size_t n) { return given == &handle && memory && n ? 0 : 7; }
int cublasGemmStridedBatchedEx(
        void *given, int transa, int transb, int m, int n, int k, const void *alpha,
        const void *a, int atype, int lda, long long stridea, const void *b, int btype, int ldb, long long strideb,
        const void *beta, void *c, int ctype, int ldc, long long stridec, int batches, int compute, int algorithm) {
    bool is_float = compute == 68 || compute == 77, is_known = is_float || compute == 70;
    int type = is_float ? 0 : 1;
    if (given != &handle || !is_known || atype != type || btype != type || ctype != type || algorithm != -1) return 7;
    for (int i = 0; i < batches; ++i) {
        long long size = is_float ? 4 : 8;
        (is_float ? multiply<float> : multiply<double>)(
            transa, transb, m, n, k, alpha, (const char *)a + i * stridea * size, lda,
            (const char *)b + i * strideb * size, ldb, beta, (char *)c + i * stridec * size, ldc);
    }
    return 0;
}
int cublasGemmEx(
        void *given, int transa, int transb, int m, int n, int k, const void *alpha, const void *a, int atype, int lda,
        const void *b, int btype, int ldb, const void *beta, void *c, int ctype, int ldc, int compute, int algorithm) {
    return cublasGemmStridedBatchedEx(
        given, transa, transb, m, n, k, alpha, a, atype, lda, 0, b, btype, ldb, 0, beta, c, ctype, ldc, 0, 1, compute,
        algorithm);
}
}
'''
DEVICE = '@cupy:0'


@pytest.fixture(scope='session')
def cublas(tmp_path_factory):
    """The path of a library that has what is called of cuBLAS."""
    source = tmp_path_factory.mktemp('cublas') / 'cublas.cpp'
    source.write_text(CUBLAS)
    compiler = next(filter(None, map(shutil.which, ('c++', 'g++', 'clang++'))))
    subprocess.run([compiler, '-O1', '-fPIC', '-shared', source, '-o', source.with_suffix('.so')], check=True)
    return source.with_suffix('.so')


@pytest.fixture
def has_cublas(request, monkeypatch):
    if is_stand_in():
        path = request.getfixturevalue('cublas')
        monkeypatch.setattr(products, 'load', lambda version: ctypes.CDLL(str(path)))


def draw_digits(n, rng):
    return numpy.uint8(255) * (rng.random((n, 784)) < 0.2)


def draw_pictures(n, rng):
    return rng.integers(256, size=(n, 3, 64, 64), dtype=numpy.uint8)


# By task: its data, and what makes its presets small.
TASKS = {
    'gaussian_mixture': (GaussianMixture().sample, {'batchsize': 20, 'n_hidden': 16}),
    'mnist': (draw_digits, {'batchsize': 8}),
    'images': (draw_pictures, {'batchsize': 4, 'width': 0.03, 'n_experts': 8}),
}
# Every preset of these tasks, but for those that are others with another length, or run on the CPU alone.
PAIRS = [(task, preset) for task in TASKS for preset in PRESETS[task]
         if (task, preset) not in (('gaussian_mixture', 'post'), ('gaussian_mixture', 'long'), ('mnist', 'density'))]


def begin(task, preset, **changes):
    """A run before its first iteration: its state, settings, and how it draws data."""
    draw_data, small = TASKS[task]
    settings = PRESETS[task][preset].settings
    names = settings.types()
    settings = dataclasses.replace(settings, **{
        name: value for name, value in {**small, **changes}.items() if name in names})
    device = chainer.get_device(DEVICE)
    state = training_state.build_state(settings, functools.partial(tasks.build_models, task), draw_data, device)
    return state, settings, draw_data


class Run:
    """A run, and what it has observed; on a card one without a graph has the products of one that will be captured."""

    def __init__(self, task='gaussian_mixture', preset='default', graph=True, **changes):
        self.state, self.settings, self.draw_data = begin(task, preset, **changes)
        self.told, self.observed = [], []
        self.strategy = Fast(graph=graph or not is_stand_in(), tell=self.told.append)
        self.warm_up = captured.WARM_UP if graph else 10 ** 9

    def go_on(self, until, between=lambda run: None):
        """Train up to an iteration; ``between(run)`` is called after each."""
        settings = dataclasses.replace(self.settings, iterations=until)
        with chainer.using_device(chainer.get_device(DEVICE)), numpy.errstate(all='ignore'), \
                pytest.MonkeyPatch.context() as patch:
            patch.setattr(captured, 'WARM_UP', self.warm_up)
            for iteration, observation in training_state.iterations_of(
                    self.state, self.draw_data, settings, self.strategy):
                self.state.iteration = iteration
                self.observed.append(observation)
                between(self)
        return self

    def outcome(self):
        """All numbers that there are, NumPy's arrays by name: losses, weights, statistics, states."""
        arrays = {name: numpy.array(array) for name, array in arrays_of(self.state).items()}
        for i, observation in enumerate(self.observed):
            arrays.update({'{} {}'.format(i, name): value.get() for name, value in observation.items()})
        return arrays


def assert_same(run, other):
    outcome, expected = run.outcome(), other.outcome()
    assert outcome.keys() == expected.keys()
    for name, array in outcome.items():
        numpy.testing.assert_array_equal(array, expected[name], err_msg=name)


@pytest.fixture
def counted(has_cublas, monkeypatch):
    """How often graphs are captured and launched in a test; CuPy itself does not let itself be counted."""
    from cupy.cuda import Stream, graph
    counts = collections.Counter()
    if not is_stand_in():
        return counts

    def count(owner, name):
        original = getattr(owner, name)

        def call(*arguments):
            counts[name] += 1
            return original(*arguments)
        monkeypatch.setattr(owner, name, call)
    count(Stream, 'begin_capture')
    count(graph.Graph, 'launch')
    return counts


# ---- the same bits

@pytest.mark.parametrize(('task', 'preset'), PAIRS)
def test_replays_to_the_bits_of_each_call(task, preset, counted):
    """Each part of a run begins with two iterations call by call; the stand-in poisons memory that is free."""
    parts, changes = (2, {'proposals': 60, 'proposals_from': 3}) if preset == 'density' else (1, {})
    until = 4 + parts
    run = Run(task, preset, **changes).go_on(until)
    assert run.told == []
    assert not is_stand_in() or counted == {'begin_capture': parts, 'launch': until - 2 * parts}
    assert_same(run, Run(task, preset, graph=False, **changes).go_on(until))


def test_replays_noise_of_the_host(counted):
    with chainer.using_config('noise_from_host', True):
        run = Run('images', 'post').go_on(4)
        assert run.told == []
        assert_same(run, Run('images', 'post', graph=False).go_on(4))


@stand_in_alone
def test_finds_a_step_size_that_is_frozen(counted, monkeypatch):
    given, numbers = captured._Recording.given, []

    def frozen(recording, *arguments):
        array = given(recording, *arguments)
        if recording._counts.places is not None:
            return numbers[-2 + len(recording._counts.makers) - 1]
        numbers.append(array.get().tolist())
        return array
    monkeypatch.setattr(captured._Recording, 'given', frozen)
    run, other = Run().go_on(4), Run(graph=False).go_on(4)
    assert counted['launch'] == 2
    with pytest.raises(AssertionError, match='energy_model'):
        assert_same(run, other)


@pytest.mark.parametrize('task', TASKS)
def test_resumes_to_the_same_bits(task, counted):
    first = next(iter(PRESETS[task]))
    whole, stopped, resumed = Run(task, first).go_on(8), Run(task, first).go_on(4), Run(task, first)
    load_arrays(resumed.state, arrays_of(stopped.state))
    resumed.go_on(8)
    resumed.observed = stopped.observed + resumed.observed
    assert_same(resumed, whole)


# ---- what may change between two iterations

CHANGES = {  # what happens after the fourth iteration, and how many graphs there are then
    'rate': (lambda run: setattr(run.state.energy_optimizer.hyperparam, 'alpha', 0.01), 1),
    'hyperparameter': (lambda run: setattr(run.state.energy_optimizer.hyperparam, 'beta1', 0.9), 2),
    'clipping': (lambda run: setattr(run.state.generator_optimizer, 'gradient_norm', 0.1), 2),
    'number of a link': (lambda run: setattr(run.state.models[1].bn1, 'decay', 0.5), 2),
    'array of a parameter': (lambda run: setattr(run.state.models[0].b, 'array', run.state.models[0].b.array + 1), 2),
    'weights': (lambda run: load_arrays(run.state.models[0], arrays_of(Run(seed=1).state.models[0])), 1),
}


@pytest.mark.parametrize('name', CHANGES)
def test_follows_changes(name, counted):
    change, n_graphs = CHANGES[name]

    def between(run):
        if run.state.iteration == 4:
            change(run)
    run = Run().go_on(8, between)
    assert_same(run, Run(graph=False).go_on(8, between))
    assert not is_stand_in() or counted['begin_capture'] == n_graphs
    assert run.told == []


def test_follows_the_size_of_a_batch(counted):
    """The fifth has more points of data than the others."""
    def run(graph):
        run = Run(graph=graph)
        draw_data = run.draw_data
        run.draw_data = lambda n, rng: draw_data(30 if run.state.iteration == 4 else n, rng)
        return run.go_on(9)
    assert_same(run(True), run(False))
    assert not is_stand_in() or counted == {'begin_capture': 2, 'launch': 2 + 3}


# ---- what can't be captured

def read(x):
    return 0 * float(x.sum())


def sort(x):
    x.copy().sort()  # which waits, and so loses the capture
    return 0


def draw_here(x):
    return 1e-3 * chainer.config.noise_generator.random()


def invert(x):
    return 0 * chainer.backends.cuda.cupy.linalg.inv(chainer.backends.cuda.cupy.eye(2, dtype=x.dtype)).sum()


@stand_in_alone
@pytest.mark.parametrize(('use', 'told'), [
    (read, 'D2H'), (sort, 'StreamCaptureUnsupported'), (invert, 'cuBLAS'), (draw_here, 'captured.drawn')])
def test_goes_on_where_a_capture_fails(use, told, counted, monkeypatch):
    """With the bits of calls one by one."""
    mean_energy = objectives.mean_energy
    monkeypatch.setattr(objectives, 'mean_energy', lambda energy: mean_energy(energy) + use(energy.array))
    run = Run().go_on(5)
    assert_same(run, Run(graph=False).go_on(5))
    line, = run.told
    assert told in line
    assert counted == {'begin_capture': 1}


def test_an_interrupted_capture_leaves_the_models(has_cublas, monkeypatch):
    run, other, loss = Run(), Run().go_on(2), objectives.generator_loss

    def interrupt(*arguments):
        if run.state.iteration == 2:
            raise KeyboardInterrupt
        return loss(*arguments)
    monkeypatch.setattr(objectives, 'generator_loss', interrupt)
    with pytest.raises(KeyboardInterrupt):
        run.go_on(3)
    assert_same(run, other)
    for parameter, expected in zip(run.state.models[0].params(), other.state.models[0].params()):
        numpy.testing.assert_array_equal(parameter.grad.get(), expected.grad.get())



@contextlib.contextmanager
def hooked(optimizer):
    optimizer.add_hook(chainer.optimizer_hooks.WeightDecay(1e-3), 'decay')
    try:
        yield
    finally:
        optimizer.remove_hook('decay')


def optimizers_of_chainer(run):
    for name, model in zip(('energy_optimizer', 'generator_optimizer'), run.state.models):
        setattr(run.state, name, chainer.optimizers.Adam().setup(model))
    return contextlib.nullcontext()


@stand_in_alone
@pytest.mark.parametrize(('told', 'context'), [
    ('debug', lambda run: chainer.using_config('debug', True)),
    ('hooks', lambda run: chainer.FunctionHook()),
    ('hooks', lambda run: chainer.LinkHook()),
    ('an optimizer', lambda run: hooked(run.state.energy_optimizer)),
    ('an optimizer', optimizers_of_chainer)])
def test_some_want_to_see_each_call(told, context, counted):
    def run(graph):
        run = Run(graph=graph)
        with context(run):
            run.go_on(4)
        return run
    seen = run(True)
    assert_same(seen, run(False))
    line, = seen.told
    assert told in line
    assert not counted


@stand_in_alone
def test_says_that_cublas_is_missing(counted, monkeypatch):
    def load(version):
        raise OSError('libcublas.so.99: cannot open shared object file')
    monkeypatch.setattr(products, 'load', load)
    run = Run().go_on(4)
    assert_same(run, Run(graph=False).go_on(4))
    assert 'libcublas.so.99' in run.told[0]
    assert (len(run.told), len(counted)) == (1, 0)


# ---- what a replay costs, and products

@stand_in_alone
def test_a_replay_is_one_transfer_and_three_launches(counted):
    """The copy of what was sent, the graph, and a copy of what is observed."""
    import gpu_costs
    costs, counting = gpu_costs.Counts(), contextlib.ExitStack()

    def between(run):
        counting.close()
        if run.state.iteration == 3:
            counting.enter_context(costs)
    Run(preset='calibrated', n_hidden=12).go_on(4, between)
    assert [launch.kind for launch, _ in costs.launches] == ['copies', 'copies']
    assert (len(costs.sent), len(costs.read), counted['launch']) == (1, 0, 2)


@stand_in_alone
@pytest.mark.parametrize('dtype', [numpy.float32, numpy.float64])
def test_products_by_another_handle(dtype, has_cublas, rng):
    """Of matrices, as CuPy asks for them: cuBLAS sees each as its transpose, so the second operand comes first."""
    import cupy
    from cupy_backends.cuda.libs import cublas
    original = cublas.gemmEx
    kind, compute = (0, 68) if dtype == numpy.float32 else (1, 70)
    one, zero = numpy.ones((), dtype), numpy.zeros((), dtype)
    x, W = (rng.normal(size=shape).astype(dtype) for shape in ((5, 3, 4), (5, 2, 4)))
    y, each = numpy.empty((3, 2), dtype), numpy.empty((5, 4, 4), dtype)
    pointers = {name: array.ctypes.data for name, array in (
        ('x', x), ('W', W), ('y', y), ('each', each), ('one', one), ('zero', zero))}
    with products.OwnHandle(cupy, cupy.cuda.Stream(non_blocking=True)).in_use():
        assert cublas.gemmEx is not original
        cublas.gemmEx(
            0, 1, 0, 2, 3, 4, pointers['one'], pointers['W'], kind, 4, pointers['x'], kind, 4, pointers['zero'],
            pointers['y'], kind, 2, compute, -1)
        # A batched product names the type of its numbers in place of one to compute in.
        z = numpy.ascontiguousarray(x.transpose(0, 2, 1))
        cublas.gemmStridedBatchedEx(
            0, 0, 0, 4, 4, 3, pointers['one'], pointers['x'], kind, 4, 12, z.ctypes.data, kind, 3, 12,
            pointers['zero'], pointers['each'], kind, 4, 16, 5, kind, -1)
        with pytest.raises(RuntimeError, match='cublasGemmEx: status 7'):
            cublas.gemmEx(*[0] * 19)
    assert cublas.gemmEx is original
    numpy.testing.assert_allclose(y, x[0] @ W[0].T, rtol=1e-5)
    numpy.testing.assert_allclose(each, z @ x, rtol=1e-5)
