"""A density in scikit-learn's way: fit, sample, score_samples; scikit-learn itself is not needed."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import numbers

import chainer
import numpy

from ddgm.data import points
from ddgm.data.standardization import Standardization
from ddgm.evaluation import tasks
from ddgm.runs import devices, training_state
from ddgm.support.errors import RunFailed, UsageError
from ddgm.support.terminal import Progress
from ddgm.trained.model import Model


class NotFittedError(ValueError, AttributeError):
    """An estimator is asked before it has been fitted."""


class DensityEstimator:
    """The density of points (N, d), d up to 64, with the methods of ``KernelDensity`` and ``GaussianMixture``.

    It goes through ``clone``, ``Pipeline`` and ``GridSearchCV``.  Points in and out are float64, in the units of the
    user's; inside they have mean 0 and standard deviation 1.

    Args:
        preset: ``'density'`` for one or two columns, ``'calibrated'`` for any number; ``None``: what suits the data.
        iterations: How long to train; ``None``: as the preset says.  The parts of a run keep their shares of it.
        random_state: A whole number from 0 on, or a NumPy generator that draws one; ``None``: another in each fit.
        settings: A dict of settings in place of the preset's, as ``{'batchsize': 100}``.
        device: Chainer device specifier.
        verbose: Show a progress bar.

    Attributes:
        n_features_in_ (int): d.
        model_ (ddgm.trained.model.Model): What was learned.
        n_iter_ (int): How long that took.
    """

    _estimator_type = 'density_estimator'

    def __init__(self, preset=None, iterations=None, random_state=0, settings=None, device='@numpy', verbose=False):
        self.preset = preset
        self.iterations = iterations
        self.random_state = random_state
        self.settings = settings
        self.device = device
        self.verbose = verbose

    # ---- parameters

    def get_params(self, deep=True) -> dict:
        """The arguments of the constructor by name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params) -> DensityEstimator:
        """Set some of them; raises ``UsageError``, a ``ValueError``, for a name that is none."""
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise UsageError('{!r} is no parameter of {}: there are {}'.format(
                    name, type(self).__name__, ', '.join(known)))
            setattr(self, name, value)
        return self

    def __repr__(self):
        defaults = inspect.signature(type(self)).parameters
        return '{}({})'.format(type(self).__name__, ', '.join(
            '{}={!r}'.format(name, value) for name, value in self.get_params().items()
            if value is not defaults[name].default))

    # ---- learning

    def fit(self, X, y=None) -> DensityEstimator:
        """Learn from points (N, d); ``y`` is not looked at.  Ctrl-C leaves the estimator as it was.

        Raises ``UsageError``, a ``ValueError``, for points that can't be learned from or a parameter that is none, and
        ``RunFailed`` where a loss is not finite.
        """
        X = points.check(X)
        units, (preset, settings) = Standardization.of(X), self._settings_for(X)
        inward = units.inward(X)

        def draw_data(n, rng):
            return inward[rng.integers(len(inward), size=n)]
        device = devices.open_device(self.device)
        state = training_state.build_state(settings, tasks.POINTS.build_models, draw_data, device)
        # What is not finite is found below; Chainer's type checks take a tenth of the time.
        with numpy.errstate(all='ignore'), chainer.using_config('type_check', False), \
                Progress(settings.iterations) if self.verbose else contextlib.nullcontext() as progress:
            for iteration, losses in training_state.iterations_of(state, draw_data, settings):
                state.iteration = iteration
                for name, loss in losses.items():
                    if not numpy.isfinite(float(loss)):
                        raise RunFailed('{} is not finite at iteration {}: give another random_state or a larger '
                                        'batchsize'.format(name, iteration))
                if progress:
                    progress.update(iteration)
            energy_model, generator, *_ = training_state.finish(state, settings, draw_data)
        self.model_ = Model(tasks.POINTS, settings, energy_model, generator, units, preset=preset)
        self.n_features_in_, self.n_iter_ = X.shape[1], settings.iterations
        return self

    def _settings_for(self, X):
        """The name of the preset, and the settings."""
        d, presets = X.shape[1], tasks.POINTS.presets
        name = self.preset or ('density' if d <= 2 else 'calibrated')
        if name not in presets:
            raise UsageError('there is no preset {!r}: give one of {}'.format(name, ', '.join(presets)))
        settings = presets[name].settings
        length = settings.iterations if self.iterations is None else self.iterations
        try:
            changes = dict(self.settings or {})
            for key in changes.keys() - settings.types().keys():
                raise ValueError('there is no {!r}: give some of {}'.format(key, ', '.join(settings.types())))
            # The iterations from which on proposals are drawn and the learning rates fall.
            parts = {
                part: -(-getattr(settings, part) * length // settings.iterations)
                for part in ('proposals_from', 'decay_from')}
            return name, dataclasses.replace(settings, **{
                'n_latent': max(2, d), 'iterations': length, **parts, **changes, 'n_visible': d,
                'seed': _seed_of(self.random_state)})
        except (TypeError, ValueError) as error:  # no dict, a name that is none, a value that does not fit
            raise UsageError('settings: {}'.format(error)) from error

    # ---- what was learned

    def sample(self, n_samples=1, random_state=None) -> numpy.ndarray:
        """Samples of the generator, (n_samples, d) float64; the same for the same ``random_state``.

        ``None``: that of the estimator.
        """
        seed = _seed_of(self.random_state if random_state is None else random_state)
        return self._fitted().sample(n_samples, seed)

    def score_samples(self, X) -> numpy.ndarray:
        """log P(x) in nats of the energy model, (N, d) to (N,) float64.

        Raises ``ValueError`` where log Z can't be told, or only with a standard error above 0.1.
        """
        return self._fitted().log_prob(points.as_points(X, n_columns=self.n_features_in_))

    def score(self, X, y=None) -> float:
        """The mean of :meth:`score_samples`, as of ``GaussianMixture``; ``KernelDensity`` has the sum."""
        return float(self.score_samples(X).mean())

    def _fitted(self):
        if not self.__sklearn_is_fitted__():
            raise NotFittedError('this DensityEstimator is not fitted yet: call fit first')
        return self.model_

    # ---- what scikit-learn asks for

    def __sklearn_is_fitted__(self):
        return hasattr(self, 'model_')

    def __sklearn_tags__(self):
        from sklearn.utils import InputTags, Tags, TargetTags
        return Tags(
            estimator_type=self._estimator_type, target_tags=TargetTags(required=False), transformer_tags=None,
            classifier_tags=None, regressor_tags=None, input_tags=InputTags())


def _seed_of(random_state):
    """A seed: the number itself, or one that a generator draws; ``None`` is a generator of its own."""
    if random_state is None:
        random_state = numpy.random.default_rng()
    if isinstance(random_state, numbers.Integral) and random_state >= 0:
        return int(random_state)
    draw = getattr(random_state, 'integers', getattr(random_state, 'randint', None))  # Generator, RandomState
    if draw is None:
        raise UsageError('random_state is {!r}: give a whole number from 0 on, a NumPy generator or None'.format(
            random_state))
    return int(draw(2 ** 31))
