"""Iterations that a CUDA graph replays have the bits of those that are computed call by call; on the stand-in for CuPy."""

import collections
import ctypes
import dataclasses
import functools
import shutil
import subprocess

import chainer
import numpy
import pytest
from conftest import is_stand_in

from ddgm.data.distributions import GaussianMixture
from ddgm.evaluation import tasks
from ddgm.fast import captured, optimizers
from ddgm.fast.kernels import products
from ddgm.fast.strategy import Fast
from ddgm.presets import PRESETS
from ddgm.runs import training_state
from ddgm.support.serialization import arrays_of, load_arrays

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not is_stand_in(), reason='CuPy itself, or no C++ compiler')]

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
    bool is_float = compute == 68 || compute == 77;
    if (given != &handle || (algorithm != -1 && algorithm != 99) || !(is_float || compute == 70) || atype != (is_float ? 0 : 1)
        || btype != atype || ctype != atype) return 7;
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
def has_cublas(cublas, monkeypatch):
    monkeypatch.setattr(products, 'load', lambda version: ctypes.CDLL(str(cublas)))


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
    """A run on the stand-in, and what it has observed."""

    def __init__(self, task='gaussian_mixture', preset='default', graph=True, **changes):
        self.state, self.settings, self.draw_data = begin(task, preset, **changes)
        self.told, self.observed = [], []
        self.strategy = Fast(graph=graph, tell=self.told.append)

    def go_on(self, until, between=lambda run: None):
        """Train up to an iteration; ``between(run)`` is called after each."""
        settings = dataclasses.replace(self.settings, iterations=until)
        with chainer.using_device(chainer.get_device(DEVICE)), numpy.errstate(all='ignore'):
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
    """How often graphs are captured and launched in a test."""
    from cupy.cuda import Stream, graph
    counts = collections.Counter()
    for owner, name in ((Stream, 'begin_capture'), (graph.Graph, 'launch')):
        def call(*arguments, name=name, original=getattr(owner, name)):
            counts[name] += 1
            return original(*arguments)
        monkeypatch.setattr(owner, name, call)
    return counts


# ---- the same bits

OF_THE_PLANE = {
    'default': {'n_hidden': 16}, 'post': {}, 'long': {}, 'calibrated': {'n_hidden': 12},
    'density': {'n_hidden': 12, 'proposals': 60, 'proposals_from': 3}}
PRESETS_TRIED = [
    *[('gaussian_mixture', preset) for preset in PRESETS['gaussian_mixture']],
    *[('mnist', preset) for preset in PRESETS['mnist']], *[('images', preset) for preset in PRESETS['images']]]


@pytest.mark.parametrize(('task', 'preset'), PRESETS_TRIED)
def test_replays_to_the_bits_of_each_call(task, preset, counted):
    """Two iterations are computed call by call, and two of each part of a run; the stand-in poisons what is free."""
    until = 6
    run = Run(task, preset).go_on(until)
    parts = 2 if preset == 'density' else 1
    assert run.told == []
    assert counted == {'begin_capture': parts, 'launch': until - 2 * parts}
    assert_same(run, Run(task, preset, graph=False).go_on(until))


def test_finds_a_number_that_is_frozen(counted, monkeypatch):
    monkeypatch.setattr(captured._Recording, 'given', lambda recording, count, dtype: count())
    run, other = Run().go_on(5), Run(graph=False).go_on(5)
    assert counted['launch'] == 3
    with pytest.raises(AssertionError, match='energy/loss'):
        assert_same(run, other)


@pytest.mark.parametrize('task', TASKS)
def test_resumes_to_the_same_bits(task, counted):
    first = next(iter(PRESETS[task]))
    whole, stopped, resumed = Run(task, first).go_on(8), Run(task, first).go_on(4), Run(task, first)
    load_arrays(resumed.state, arrays_of(stopped.state))
    resumed.go_on(8)
    resumed.observed = stopped.observed + resumed.observed
    assert_same(resumed, whole)
