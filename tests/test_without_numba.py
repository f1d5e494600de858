"""Where numba is not installed, nothing changes and nothing is said, unless somebody asks for it."""

import importlib.util

import chainer
import numpy
import pytest
from conftest import refusal

from ddgm.fast import kernels
from ddgm.fast.kernels import on_cpu

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec('numba') is not None, reason='numba is installed: tests/test_compiled.py')


def test_numpy_computes():
    with chainer.using_config('use_numba', 'auto'):
        assert kernels.compiler() == (None, None)
        assert kernels.of(numpy.empty(3, dtype='f')) is on_cpu


def test_asked_for_it_refuses():
    with chainer.using_config('use_numba', 'always'):
        line = refusal(kernels.compiler)
    assert line == "numba can't be used (it is not installed: pip install numba): leave out --numba"


def test_a_run_says_nothing_of_it(run_script, monkeypatch):
    monkeypatch.setenv('DDGM_USE_NUMBA', 'auto')
    result = run_script('gaussian_mixture', '-n', 2, '-b', 20, '--no_score')
    assert result.returncode == 0, result.stderr
    assert 'numba' not in result.stdout + result.stderr


def test_a_run_that_asks_for_it_ends_in_a_line(run_script):
    result = run_script('gaussian_mixture', '-n', 2, '--numba')
    assert result.returncode == 2
    assert result.stderr.endswith("numba can't be used (it is not installed: pip install numba): leave out --numba\n")
    assert result.stderr.count('\n') == 1
