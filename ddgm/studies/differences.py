"""What do the choices of other implementations do?  The tables of docs/differences.md.

Each case is the default preset of a task in the plane with one thing changed.
"""

import chainer
import chainer.functions as F
import numpy

from ddgm.evaluation.tasks import open_task
from ddgm.fast.links import BatchNormalization
from ddgm.runs.training_state import finish
from ddgm.studies import study

ITERATIONS, NEEDS = 10_000, ()
SHOWN = {
    'gaussian_mixture': (
        'hq_2sigma', 'modes_2sigma', 'entropy_knn', 'kl_generator_data', 'coverage', 'log_likelihood'),
    'swiss_roll': ('within_0.1', 'median_distance', 'arc_kl', 'coverage', 'log_likelihood'),
}


# ---- the changes: each takes both models as this project builds them and changes one thing in them

def nothing(energy_model, generative_model):
    """As published."""


def entropy_weight(weight):
    """weight·H in the generator's loss."""
    def change(energy_model, generative_model):
        entropy = generative_model.entropy
        generative_model.entropy = lambda: weight * entropy()
    return change


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


CHANGES = {
    'none': nothing,
    'mean_entropy': entropy_weight(1 / 256),
    'entropy_0.02': entropy_weight(0.02),
    'entropy_0.0002': entropy_weight(2e-4),
    'entropy_0': entropy_weight(0.0),
    'no_gamma': no_gamma,
    'gram_matrix': gram_matrix,
    'per_dimension': per_dimension,
    'on_features': on_features,
}
CASES = {task + '/' + name: change for task in SHOWN for name, change in CHANGES.items()}


# ---- the study

def measure(case, seed, iterations, data, out):
    """The metrics of a run; ``None`` where its samples are no longer finite."""
    task = case.split('/')[0]
    settings = study.settings_of(task, 'default', seed, iterations)
    draw_data = study.open_data(task, data, settings)
    for state in study.states(task, settings, draw_data, [iterations], CASES[case]):
        _, _, _, x, energy = finish(state, settings)
    return {'metrics': open_task(task).score(x, energy) if numpy.isfinite(x).all() else None}


def tables(results):
    return {
        task: study.table_of_metrics('change', names, {'`{}`'.format(case): runs for case, runs in cases.items()})
        for task, names, cases in study.by_task(results, SHOWN)}


def draw(results, out):
    """No pictures."""
