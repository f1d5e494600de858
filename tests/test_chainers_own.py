"""Chainer's own tests of functions, links and optimizers, on those of ours that have the same names.

They run where the environment variable CHAINER_CHECKOUT names a checkout of Chainer v7.8.1, once with Chainer's and
once with ours in its place; judged are those that pass with Chainer's and reach ours.  A refusal is an error that our
own code raises in a line of its own.  This file is also the plugin of the pytest that runs them.
"""

import collections
import functools
import json
import os
import pathlib
import subprocess
import sys
import types

import chainer
import numpy
import pytest

from ddgm.fast import functions, links, optimizers

ROOT = pathlib.Path(__file__).parent.parent
CHECKOUT = os.environ.get('CHAINER_CHECKOUT')

NAMES = {
    'functions': [
        'linear', 'relu', 'elu', 'tanh', 'sigmoid', 'dropout', 'mean', 'convolution_2d', 'deconvolution_2d'],
    'links': ['Linear', 'BatchNormalization', 'Convolution2D', 'Deconvolution2D'],
    'optimizers': ['Adam', 'AdaGrad'],
}
FILES = [
    'functions_tests/activation_tests/test_elu.py', 'functions_tests/activation_tests/test_relu.py',
    'functions_tests/activation_tests/test_sigmoid.py', 'functions_tests/activation_tests/test_tanh.py',
    'functions_tests/connection_tests/test_convolution_2d.py',
    'functions_tests/connection_tests/test_deconvolution_2d.py', 'functions_tests/connection_tests/test_linear.py',
    'functions_tests/math_tests/test_average.py', 'functions_tests/noise_tests/test_dropout.py',
    'links_tests/connection_tests/test_convolution_2d.py', 'links_tests/connection_tests/test_deconvolution_2d.py',
    'links_tests/connection_tests/test_linear.py', 'links_tests/normalization_tests/test_batch_normalization.py',
    'optimizers_tests',
]
# Part of a test's name, and why it fails on ours.
KNOWN = {}


# ---- the plugin

_reached = []
_outcomes = {}


def pytest_addoption(parser):
    parser.addoption('--ours', action='store_true')
    parser.addoption('--outcomes')


def pytest_configure(config):
    chainer.global_config.noise_generator = numpy.random.default_rng(0)
    if config.getoption('--ours'):
        _replace_chainers()


def _replace_chainers():
    """Put ours in the place of Chainer's; ours go on to use Chainer's own for what they hand on."""
    original = types.ModuleType('chainer')
    vars(original).update(vars(chainer))
    for name in ('functions', 'links'):
        copy = types.ModuleType('chainer.' + name)
        vars(copy).update(vars(getattr(chainer, name)))
        setattr(original, name, copy)
    for name, module in sys.modules.items():
        if name.startswith('ddgm.') and getattr(module, 'chainer', None) is chainer:
            module.chainer = original
    for module in (functions, links, optimizers):
        kind = module.__name__.split('.')[-1]
        for name in NAMES[kind]:
            value = getattr(module, name)
            if isinstance(value, type):
                value.__init__ = _noticed(value.__init__)
            else:
                value = _noticed(value)
            setattr(getattr(chainer, kind), name, value)
    chainer.functions.average = chainer.functions.mean


def _noticed(function):
    @functools.wraps(function)
    def call(*arguments, **options):
        _reached.append(function)
        return function(*arguments, **options)
    return call


def pytest_runtest_setup(item):
    _reached.clear()
    numpy.random.seed(0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == 'call' or report.failed:
        outcome = report.outcome
        if call.excinfo is not None and outcome == 'failed':
            last = call.excinfo.traceback[-1]
            in_ours = str(last.path).startswith(str(ROOT / 'ddgm')) and str(last.statement).strip().startswith('raise ')
            outcome = 'refused' if in_ours else 'failed: {}'.format(call.excinfo.exconly(tryshort=True)[-300:])
        _outcomes[item.nodeid] = outcome, bool(_reached)
    return report


def pytest_sessionfinish(session):
    if session.config.getoption('--outcomes', None):
        pathlib.Path(session.config.getoption('--outcomes')).write_text(json.dumps(_outcomes), encoding='utf-8')


# ---- the test

def outcomes(path, *options):
    """Of each of Chainer's tests: how it ended, and whether it reached ours."""
    tests = pathlib.Path(CHECKOUT, 'tests')
    subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-p', 'ddgm', '-p', 'test_chainers_own', '-p', 'no:cacheprovider',
         '-c', os.devnull, '--rootdir', str(tests), '-W', 'ignore',
         '-m', 'not (gpu or multi_gpu or cudnn or chainerx or ideep)', '--outcomes', str(path),
         *options, *(str(tests / 'chainer_tests' / file) for file in FILES)],
        cwd=path.parent, env={**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), str(ROOT / 'tests')])},
        stdout=subprocess.PIPE, check=False)
    return json.loads(path.read_text(encoding='utf-8'))


@pytest.mark.skipif(not CHECKOUT, reason='CHAINER_CHECKOUT names no checkout of Chainer v7.8.1')
def test_chainers_own_tests(tmp_path, capsys):
    by_chainer, by_ours = outcomes(tmp_path / 'chainer.json'), outcomes(tmp_path / 'ours.json', '--ours')
    judged = {
        name: outcome for name, (outcome, reached) in by_ours.items() if reached and by_chainer[name][0] == 'passed'}
    counts = collections.Counter(outcome.split(':')[0] for outcome in judged.values())
    with capsys.disabled():
        print('\nChainer\'s own tests on ours: {} passed, {} refused, {} failed'.format(
            counts['passed'], counts['refused'], len(judged) - counts['passed'] - counts['refused']))
    failed = {name: outcome for name, outcome in judged.items() if outcome not in ('passed', 'refused')}
    unknown = {name: outcome for name, outcome in failed.items() if not any(part in name for part in KNOWN)}
    assert not unknown
    assert judged
    assert all(any(part in name for name in failed) for part in KNOWN)
