"""Why do some settings collapse on digits?  BatchNormalization, weight normalization, binarised or grey data.

Over training: diversity of the samples, the energy gap, and the norm of the gradient that G gets from the energy, per
sample and as a whole, beside that from the entropy.
"""

import chainer
import numpy

from ddgm import objectives
from ddgm.data.mnist import MNIST
from ddgm.evaluation import metrics
from ddgm.fast.gradients import gradients
from ddgm.figures import plots, post
from ddgm.studies import study
from ddgm.support import randomness
from ddgm.support.tables import rounded

CASES = {
    **{preset: study.Case('mnist', preset) for preset in (
        'post', 'grey', 'batch_normalized_energy', 'weight_normalized_energy', 'last_commit')},
    'weight_normalized_generator': study.Case('mnist', 'last_commit', {'energy_normalization': 'none'}),
}
ITERATIONS, NEEDS = 2_000, ()
N_MARKS = 10
# Of what is measured, its head in the table and in the plots.
QUANTITIES = {
    'diversity': '`diversity`',
    'energy_gap': 'energy gap, nats',
    'gradient_of_energy': "G's gradient from the energy",
    'gradient_of_entropy': "G's gradient from the entropy",
    'pull': 'slope ∂E/∂x at samples',
    'passed': "share behind G's sigmoids",
    'spread_of_pull': 'mean slope over mean size',
}


def gradient_norms(energy_model, generative_model, z):
    """Norms of G's gradients from both terms of its loss, and of ∂E/∂x at its samples, as training sees them.

    ``spread_of_pull`` is 1 where all samples are pulled in the same direction, which can't set them apart.  ``passed``
    is ‖x(1 − x)·∂E/∂x‖ over ‖∂E/∂x‖: a sigmoid near 0 or 1 passes little of what pulls at its output.
    """
    parameters = list(generative_model.params())
    x = generative_model(z)
    energy = objectives.mean_energy(energy_model(x))
    norms = {
        name: float(numpy.sqrt(sum(
            (gradient.astype(float) ** 2).sum() for gradient in gradients(loss, parameters) if gradient is not None)))
        for name, loss in (('gradient_of_energy', energy), ('gradient_of_entropy', generative_model.entropy()))}
    pulls = len(z) * gradients(energy, [x])[0].reshape(len(z), -1).astype(float)
    outputs = x.array.reshape(len(z), -1).astype(float)
    sizes = numpy.linalg.norm(pulls, axis=1)
    behind_sigmoids = numpy.linalg.norm(outputs * (1 - outputs) * pulls, axis=1)
    return {
        **norms, 'pull': float(numpy.median(sizes)),
        'spread_of_pull': float(numpy.linalg.norm(pulls.mean(axis=0)) / max(sizes.mean(), 1e-300)),
        'passed': float(numpy.median(behind_sigmoids / numpy.maximum(sizes, 1e-300)))}


def measure(run: study.Run) -> dict:
    settings, digits = run.settings, MNIST(run.data['mnist'])
    held_out = digits.held_out(1000, randomness.metric_generator(randomness.REFERENCE_DATA), settings.binarized)
    reference = digits.held_out(1000, randomness.metric_generator(randomness.REFERENCE_DATA))
    trace = []
    for state in run.states(run.marks(N_MARKS)):
        _, generative_model, z, x, energy = run.finish(state)
        with chainer.using_config('noise_generator', randomness.metric_generator(randomness.LOOKS)):
            # Of copies, so that looking moves no running statistics.
            norms = gradient_norms(*(model.copy(mode='copy') for model in state.models), z[:settings.batchsize])
        trace.append({
            'iteration': state.iteration, 'diversity': metrics.diversity(x[:1000], reference),
            'energy_gap': float(energy(x[:1000]).mean() - energy(held_out).mean()), **norms})
    return {'trace': trace, 'x': x[:20].tolist()}


def late(run, name, n):
    """The median of the last n looks at a run."""
    return float(numpy.median([entry[name] for entry in run['trace'][-n:]]))


def tables(results: dict) -> dict:
    return {'gradients': {
        'columns': ['preset', 'collapsed', *QUANTITIES.values()], 'seeds': False,
        'rows': [
            ['`{}`'.format(case),
             '{} of {}'.format(sum(late(run, 'diversity', 3) < metrics.COLLAPSED for run in runs), len(runs)),
             *(rounded([late(run, name, 5) for run in runs]) for name in QUANTITIES)]
            for case, runs in results.items()]}}


def draw(results: dict, out) -> None:
    plots.draw_plots(out / 'digits.png', [
        plots.Plot(
            title.replace('`', ''), 'iteration', {case: study.curve(runs, name, 1) for case, runs in results.items()},
            logarithmic=name in ('gradient_of_energy', 'pull', 'passed'))
        for name, title in QUANTITIES.items()], columns=4)
    post.draw_small_grid(
        out / 'digits_samples.png',
        numpy.array([x for runs in results.values() for x in runs[0]['x']]).reshape(-1, 28, 28), columns=20)
