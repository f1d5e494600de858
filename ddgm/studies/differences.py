"""What do the choices of other implementations do?  The tables of docs/differences.md.

Each case is the default preset of a task in the plane with one thing changed.
"""

import chainer
import chainer.functions as F
import numpy

from ddgm.fast.links import BatchNormalization
from ddgm.studies import study

ITERATIONS, NEEDS = 10_000, ()
SHOWN = {
    'gaussian_mixture': (
        'hq_2sigma', 'modes_2sigma', 'entropy_knn', 'kl_generator_data', 'coverage', 'log_likelihood'),
    'swiss_roll': ('within_0.1', 'median_distance', 'arc_kl', 'coverage', 'log_likelihood'),
}


# ---- the changes: each takes both models as this project builds them and changes one thing in them

def no_gamma(energy_model, generative_model):
    """BatchNormalization without γ and β, and so an entropy without a gradient."""
    for name in ('bn1', 'bn2'):
        size = getattr(generative_model, name).avg_mean.size
        delattr(generative_model, name)
        with generative_model.init_scope():
            setattr(generative_model, name, BatchNormalization(size, use_gamma=False, use_beta=False))
    generative_model.entropy = lambda: chainer.Variable(numpy.zeros((), dtype=numpy.float32))


def gram_matrix(energy_model, generative_model):
    """Each sample's product with the sum of its batch in place of xᵀx; of a single point that is xᵀx again."""
    own = energy_model.quadratic_term

    def quadratic_term(x):
        if not chainer.config.train:
            return own(x)
        return F.sum(x * F.broadcast_to(F.sum(x, axis=0, keepdims=True), x.shape), axis=1) / energy_model.sigma ** 2
    energy_model.quadratic_term = quadratic_term


def per_dimension(energy_model, generative_model):
    """xᵀx/(σ²D), D = 2 numbers a point."""
    own = energy_model.quadratic_term
    energy_model.quadratic_term = lambda x: own(x) / x.shape[1]


def on_features(energy_model, generative_model):
    """f(x)ᵀf(x)/(σ²D), D = 128 features, in place of xᵀx/σ²."""
    own = energy_model.quadratic_term

    def quadratic_term(x):
        features = energy_model.feature_extractor(x)
        return own(features) / features.shape[1]
    energy_model.quadratic_term = quadratic_term


WEIGHTS = {'none': 1.0, 'mean_entropy': 1 / 256, 'entropy_0.02': 0.02, 'entropy_0.0002': 2e-4, 'entropy_0': 0.0}
CHANGES = {function.__name__: function for function in (no_gamma, gram_matrix, per_dimension, on_features)}
CASES = {
    '{}/{}'.format(task, name): case for task in SHOWN for name, case in {
        **{name: study.Case(task, changes={'entropy_weight': weight}) for name, weight in WEIGHTS.items()},
        **{name: study.Case(task, change_models=change) for name, change in CHANGES.items()}}.items()}


# ---- the study

def measure(run: study.Run) -> dict:
    """The metrics of a run; ``None`` where its samples are no longer finite."""
    _, _, _, x, energy = run.finished()
    return {'metrics': run.reference.score(x, energy) if numpy.isfinite(x).all() else None}


def tables(results: dict) -> dict:
    return {
        task: study.table_of_metrics('change', names, {'`{}`'.format(case): runs for case, runs in cases.items()})
        for task, names, cases in study.by_task(results, SHOWN)}


def draw(results: dict, out) -> None:
    """No pictures."""
