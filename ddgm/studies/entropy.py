"""Does the γ entropy learn correctly?  The proxy beside the true entropy of P_G, in the plane.

Over training: the proxy H(γ), the entropy of samples, and the angle between the gradients that the two give G.  At the
end: what the weight of the entropy decides, its sum or mean over γ, and its place taken by the true entropy.
"""

import math

import chainer
import numpy

from ddgm.beyond_the_paper.entropies import neighbour_entropy
from ddgm.evaluation import metrics
from ddgm.fast.gradients import gradients
from ddgm.fast.links import BatchNormalization, Linear
from ddgm.figures import plots
from ddgm.studies import study
from ddgm.support.tables import rounded

N_GAMMAS = 256  # of G
CHANGES = {
    'weight 1 (sum)': {},
    'weight 1/256 (mean)': {'entropy_weight': 1 / N_GAMMAS},
    'weight 0.1': {'entropy_weight': 0.1},
    'weight 0.02': {'entropy_weight': 0.02},
    'weight 2e-4': {'entropy_weight': 2e-4},
    'weight 0': {'entropy_weight': 0.0},
    'neighbours': {'entropy_weight': 0.0, 'neighbour_entropy_weight': 1.0},
}
ITERATIONS, NEEDS = 5_000, ()
N_MARKS = 10
SHOWN = {
    'gaussian_mixture': ('hq_2sigma', 'modes_2sigma', 'entropy_knn', 'kl_generator_data', 'coverage', 'log_likelihood'),
    'swiss_roll': ('within_0.1', 'arc_kl', 'coverage', 'log_likelihood'),
}
CASES = {
    task + '/' + name: study.Case(task, changes=change) for task in SHOWN for name, change in CHANGES.items()}


def gradient_angles(generative_model, z, others):
    """Cosines of the angles between ∂H(γ) and the gradient of the neighbours' entropy: over all γ, and all of G.

    ``z`` and ``others`` (N, d), (M, d) are what the neighbours' entropy is computed from, in training mode as the loop
    does.  Also the share of the neighbours' gradient, in its square, that lies in the γ at all.
    """
    parameters = [parameter for _, parameter in sorted(generative_model.namedparams())]
    is_gamma = [
        any(parameter is link.gamma for link in generative_model.links() if isinstance(link, BatchNormalization))
        for parameter in parameters]
    with chainer.no_backprop_mode():
        fresh = generative_model(others).array
    neighbours = neighbour_entropy(generative_model(z), fresh, 20)
    flat = {}
    for name, loss in (('proxy', generative_model.entropy()), ('neighbours', neighbours)):
        found = [
            numpy.zeros_like(parameter.array) if gradient is None else gradient
            for parameter, gradient in zip(parameters, gradients(loss, parameters))]
        flat[name] = [
            numpy.concatenate([g.ravel() for g, chosen in zip(found, which) if chosen]).astype(float)
            for which in (is_gamma, [True] * len(found))]
    cosines = [metrics.cosine(a, b) for a, b in zip(flat['proxy'], flat['neighbours'])]
    gamma, everything = (numpy.dot(v, v) for v in flat['neighbours'])
    return {'cosine_gamma': cosines[0], 'cosine_all': cosines[1], 'share_in_gamma': float(gamma / everything)}


def shrunk(generative_model, z, factor):
    """By how much proxy and samples' entropy change where the last layer is scaled by a factor, in nats."""
    copy = generative_model.copy(mode='copy')
    last, = (link for link in copy.children() if isinstance(link, Linear) and link.out_size == 2)
    with chainer.using_config('train', False), chainer.no_backprop_mode():
        before = float(copy.entropy().array), metrics.entropy_knn(copy(z).array.astype(float))
        last.W.array *= factor
        last.b.array *= factor
        after = float(copy.entropy().array), metrics.entropy_knn(copy(z).array.astype(float))
    return [b - a for a, b in zip(before, after)]


def measure(run: study.Run) -> dict:
    trace = []
    rng = numpy.random.default_rng(0)  # of what is looked at, the same for each run
    for state in run.states(run.marks(N_MARKS)):
        _, generative_model, z, x, energy = run.finish(state)
        trace.append({
            'iteration': state.iteration, 'proxy': float(generative_model.entropy().array),
            'entropy': metrics.entropy_knn(x.astype(float)),
            **gradient_angles(
                generative_model.copy(mode='copy'), generative_model.draw_latent(1000, rng),
                generative_model.draw_latent(10_000, rng))})
    return {
        'trace': trace, 'metrics': run.reference.score(x, energy), 'halved': shrunk(generative_model, z, 0.5),
        'correlation': float(numpy.corrcoef(
            *([entry[key] for entry in trace[1:]] for key in ('proxy', 'entropy')))[0, 1])}


def tables(results: dict) -> dict:
    """For each task the entropy beside its proxy, and the metrics, as ``…_samples``; then what halving a layer does."""
    found, halved = {}, []
    for task, names, cases in study.by_task(results, SHOWN):
        def change(run, key):
            return run['trace'][-1][key] - run['trace'][1][key]

        def mean(run, key):
            return float(numpy.mean([entry[key] for entry in run['trace'][1:]]))
        found[task] = {
            'columns': [
                'entropy', 'correlation with the true entropy', 'change of H(γ), nats',
                'change of the true entropy, nats', 'cosine of the gradients, in γ', 'cosine over all of G',
                'share of the true gradient in γ'],
            'rows': [
                [case, rounded([run['correlation'] for run in runs], 2),
                 *(rounded([change(run, key) for run in runs]) for key in ('proxy', 'entropy')),
                 *(rounded([mean(run, key) for run in runs], 2)
                   for key in ('cosine_gamma', 'cosine_all', 'share_in_gamma'))]
                for case, runs in cases.items()],
            'seeds': False}
        found[task + '_samples'] = study.table_of_metrics('entropy', names, cases)
        changes = numpy.median([run['halved'] for runs in cases.values() for run in runs], axis=0)
        halved.append(['`{}`'.format(task), *map(rounded, [*changes, 2 * math.log(0.5)])])
    found['halved'] = {
        'columns': ['last layer halved', 'change of H(γ), nats', 'change of the true entropy, nats', '2 log ½'],
        'rows': halved}
    return found


def draw(results: dict, out) -> None:
    plots.draw_plots(out / 'entropy.png', [
        plots.Plot('{}: {}'.format(task, title), 'iteration', {
            case: study.curve(runs, key, 1) for case, runs in cases.items()})
        for task, _, cases in study.by_task(results, SHOWN)
        for key, title in (
            ('proxy', 'H(γ), nats'), ('entropy', 'entropy of samples, nats'),
            ('cosine_gamma', 'cosine of the gradients, in γ'))], columns=3)
