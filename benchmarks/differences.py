#!/usr/bin/env python3
"""What the choices of other implementations do in the plane: the table of docs/differences.md.

Each row is the default preset of both 2-D tasks with one thing changed, trained by the project's own loop with several
seeds.  A run that was measured before is not measured again, so an interrupted study goes on where it was.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import multiprocessing
import os
import pathlib
import platform
import statistics
import sys

# Before NumPy is imported: these matrices are so small that threads only wait for each other.
os.environ['OMP_NUM_THREADS'] = '1'

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import ddgm  # noqa: E402, F401, I001  (before Chainer)
import chainer  # noqa: E402
import chainer.functions as F  # noqa: E402
import numpy  # noqa: E402
from ddgm import metrics, presets, randomness, run, sampling, training  # noqa: E402
from ddgm.data import toy as data  # noqa: E402
from ddgm.evaluation import toy as evaluation  # noqa: E402
from ddgm.files import write_json  # noqa: E402
from ddgm.links import BatchNormalization  # noqa: E402
from ddgm.networks import toy as networks  # noqa: E402

TASKS = {
    'gaussian_mixture': (data.GaussianMixture, evaluation.score_gaussian_mixture),
    'swiss_roll': (data.SwissRoll, evaluation.score_swiss_roll),
}
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


# ---- measuring

def measure(task, change, seed, iterations, path):
    """Train one run and write its metrics as JSON; ``null`` where its samples are no longer finite."""
    settings = dataclasses.replace(
        presets.PRESETS[task][presets.default_preset(task)].settings, seed=seed, iterations=iterations)
    data_class, score = TASKS[task]
    draw_data = data_class().sample

    def build_models(settings, rng):
        models = networks.build_models(settings, rng)
        CHANGES[change](*models)
        return models

    state = run.build_state(settings, build_models, draw_data, chainer.get_device('@numpy'))
    with chainer.using_config('type_check', False), numpy.errstate(all='ignore'):
        for _ in training.train(
                state.energy_optimizer, state.generator_optimizer, draw_data, settings.batchsize, settings.seed,
                done=0, iterations=settings.iterations):
            pass
        energy_model, generative_model = state.models
        finished = sampling.with_population_statistics(
            generative_model, settings.batchsize, settings.population_batches)
        x = sampling.sample(finished, finished.draw_latent(metrics.N_SCORED, randomness.metric_generator(stream=0)))
        scores = score(x, sampling.energy_function(energy_model)) if numpy.isfinite(x).all() else None
    write_json(path, scores)


def show(values):
    """The median of several seeds, then each; a run whose samples or log Z were not finite is a dash."""
    known = [value for value in values if value is not None]
    median = '–' if len(known) < len(values) else '**{:.3g}**'.format(statistics.median(known))
    return '{} ({})'.format(median, ', '.join('–' if value is None else '{:.3g}'.format(value) for value in values))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--iterations', type=int, default=10_000, metavar='N')
    parser.add_argument('--seeds', type=int, default=3, metavar='N', help='seeds 0 to N − 1 (default: %(default)s)')
    parser.add_argument('--jobs', type=int, default=2, metavar='N', help='runs at a time (default: %(default)s)')
    parser.add_argument('--out', type=pathlib.Path, default=pathlib.Path('result/differences'), metavar='DIR')
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    def path_of(task, change, seed):
        return arguments.out / '{}-{}-seed{}-{}.json'.format(task, change, seed, arguments.iterations)
    with concurrent.futures.ProcessPoolExecutor(
            arguments.jobs, mp_context=multiprocessing.get_context('spawn')) as pool:
        futures = [
            pool.submit(measure, task, change, seed, arguments.iterations, path_of(task, change, seed))
            for seed in range(arguments.seeds) for change in CHANGES for task in TASKS
            if not path_of(task, change, seed).exists()]
        for future in futures:
            future.result()

    print('Medians and seeds 0 to {}, {:,} iterations, Python {}, NumPy {}'.format(
        arguments.seeds - 1, arguments.iterations, platform.python_version(), numpy.__version__))
    for task, names in SHOWN.items():
        print('\n{}\n\n| change | {} |\n| --- |{}'.format(
            task, ' | '.join('`{}`'.format(name) for name in names), ' --- |' * len(names)))
        for change in CHANGES:
            scores = [json.loads(path_of(task, change, seed).read_text()) for seed in range(arguments.seeds)]
            print('| `{}` | {} |'.format(
                change, ' | '.join(show([score and score[name] for score in scores]) for name in names)))


if __name__ == '__main__':
    main()
