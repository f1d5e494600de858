"""ddgm.DensityEstimator: densities in the user's units, and what scikit-learn asks for."""

import math
import pickle

import numpy
import pytest
from conftest import refusal

import ddgm
from ddgm.trained.estimator import NotFittedError

SMALL = {'batchsize': 30, 'n_hidden': 8, 'proposals': 100, 'neighbours': 5}


def small(**changes):
    return ddgm.DensityEstimator(**{'iterations': 20, 'settings': SMALL, **changes})


def data(d, n=200):
    return numpy.random.default_rng(0).normal(size=(n, d))


@pytest.mark.parametrize('d', [1, 2])
def test_integral_in_the_users_units(d):
    """Of the density over all, which the midpoint rule tells, with columns of other spreads and far from 0."""
    scale, middle, n = numpy.array([0.1, 20.0])[:d], 5e5, 400
    estimator = small().fit(scale * data(d) + middle)
    places = (numpy.arange(n) + 0.5) / n * 16 - 8
    grid = numpy.stack(numpy.meshgrid(*d * [places]), axis=-1).reshape(-1, d)
    mass = numpy.exp(estimator.score_samples(scale * grid + middle)).sum() * (16 / n) ** d * scale.prod()
    assert mass == pytest.approx(1, abs=1e-3)


def test_other_units_of_three_columns():
    """The same points in other units have the same density, but for the volume of a unit."""
    x, scale = data(3), numpy.array([0.01, 1.0, 1000.0])
    settings = {**SMALL, 'proposals': 0}
    one, other = small(settings=settings).fit(x), small(settings=settings).fit(scale * x + 7)
    numpy.testing.assert_allclose(
        other.score_samples(scale * x + 7), one.score_samples(x) - math.log(10), atol=0.05)


def test_it_learns():
    """Better than before, on points that are held out."""
    settings = {**SMALL, 'proposals': 400, 'energy_learning_rate': 0.01}
    first, later = (small(iterations=n, settings=settings).fit(data(1)).score(data(1, 1000)) for n in (1, 100))
    assert later > first + 0.1
    assert later > -1.7  # the points' own is 0.28 better


def test_samples_and_scores():
    estimator = small().fit(data(1).astype(numpy.float32))
    assert (estimator.n_features_in_, estimator.n_iter_) == (1, 20)
    x = estimator.sample(5)
    assert (x.shape, x.dtype) == ((5, 1), numpy.float64)
    numpy.testing.assert_array_equal(x, estimator.sample(5))
    assert (x != estimator.sample(5, random_state=1)).all()
    assert estimator.sample().shape == (1, 1)
    scores = estimator.score_samples(x)
    assert (scores.shape, scores.dtype) == ((5,), numpy.float64)
    assert estimator.score(x) == pytest.approx(scores.mean())
    numpy.testing.assert_array_equal(pickle.loads(pickle.dumps(estimator)).score_samples(x), scores)
    numpy.testing.assert_array_equal(small().fit(data(1).astype(numpy.float32)).score_samples(x), scores)
    assert (small(random_state=numpy.random.default_rng(0)).fit(data(1)).score_samples(x) != scores).all()


@pytest.mark.parametrize(('parameters', 'told'), [
    ({'preset': 'post'}, "there is no preset 'post': give one of density, calibrated"),
    ({'iterations': 0}, 'iterations is 0'), ({'settings': {'hidden': 3}}, 'hidden'),
    ({'settings': {'batchsize': 1.5}}, 'batchsize is 1.5'), ({'random_state': -1}, 'random_state is -1'),
    ({'random_state': 'x'}, "random_state is 'x'"), ({'device': '@cupy:99'}, 'no such GPU here')])
def test_parameters_that_are_refused(parameters, told):
    assert told in refusal(small(**parameters).fit, data(2))


def test_what_is_refused():
    with pytest.raises(NotFittedError, match='call fit first') as caught:
        small().sample(3)
    assert isinstance(caught.value, (ValueError, AttributeError))
    with pytest.raises(ValueError, match='proposals are for points of one or two columns, and these have 3'):
        small(preset='density').fit(data(3))
    estimator = small().fit(data(2))
    with pytest.raises(ValueError, match=r'\(N, 2\), these have \(200, 3\)'):
        estimator.score_samples(data(3))
    with pytest.raises(ValueError, match='row 1, counted from 0'):
        estimator.score_samples([[0, 0], [0, math.nan]])
    with pytest.raises(ValueError, match="'depth' is no parameter of DensityEstimator"):
        estimator.set_params(depth=3)


def test_ctrl_c_leaves_it_as_it_was(monkeypatch):
    estimator = small().fit(data(2))
    before = estimator.model_
    monkeypatch.setattr(numpy, 'isfinite', lambda x: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        estimator.set_params(iterations=5).fit(data(2))
    assert estimator.model_ is before


def test_scikit_learn():
    pytest.importorskip('sklearn', reason='needs scikit-learn')
    from sklearn.base import clone
    from sklearn.exceptions import NotFittedError as TheirError
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.utils.validation import check_is_fitted

    x, estimator = 3 * data(1), small(iterations=2)
    copy = clone(estimator.set_params(random_state=3))
    assert copy is not estimator
    assert copy.get_params() == estimator.get_params()
    assert repr(copy) == 'DensityEstimator(iterations=2, random_state=3, settings={})'.format(SMALL)
    with pytest.raises(TheirError):
        check_is_fitted(copy)
    pipeline = make_pipeline(StandardScaler(), copy).fit(x)
    assert pipeline.score_samples(x).shape == (200,)
    assert pipeline.score(x) == pytest.approx(pipeline.score_samples(x).mean())
    search = GridSearchCV(pipeline, {'densityestimator__iterations': [1, 60]}, cv=2).fit(x)
    assert search.best_params_ == {'densityestimator__iterations': 60}
    assert search.best_estimator_.score(x) == pytest.approx(search.score(x))
