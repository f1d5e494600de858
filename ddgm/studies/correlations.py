"""What has f(x) to do with z?  Canonical correlations of f(G(z)) and z over training; which z move which experts."""

import chainer
import numpy

from ddgm.evaluation import metrics, sampling
from ddgm.figures import plots
from ddgm.studies import study
from ddgm.support.tables import rounded

CASES = {
    'gaussian_mixture/default': study.Case('gaussian_mixture'), 'swiss_roll/default': study.Case('swiss_roll'),
    'mnist/post': study.Case('mnist', 'post')}
ITERATIONS, NEEDS = 4_000, ()
N_MARKS = 4


def features(energy_model, x):
    """f(x) in test mode, (N, features)."""
    return sampling.in_test_mode(energy_model.feature_extractor, x, 500)


def moved_experts(energy_model, generative_model, z, difference=0.05):
    """How much each expert's term moves with each number of z, (experts, d): root mean square of ∂log(1 + exp aᵢ)/∂zⱼ.

    By central differences in test mode, so in nats over the range of z.
    """
    def terms(z):
        with chainer.using_config('train', False), chainer.no_backprop_mode():
            arguments = energy_model.experts(features(energy_model, sampling.sample(generative_model, z))).array
        return numpy.logaddexp(0, arguments.astype(float))
    columns = []
    for j in range(z.shape[1]):
        step = difference * numpy.eye(z.shape[1], dtype=z.dtype)[j]
        slope = (terms(z + step) - terms(z - step)) / (2 * difference)
        columns.append(numpy.sqrt((slope ** 2).mean(axis=0)))
    return numpy.stack(columns, axis=1)


def measure(run: study.Run) -> dict:
    trace, rng = [], numpy.random.default_rng(0)
    for state in run.states(run.marks(N_MARKS)):
        energy_model, generative_model, z, x, _ = run.finish(state)
        f = features(energy_model, x)
        half = len(z) // 2
        trace.append({
            'iteration': state.iteration,
            'f': metrics.canonical_correlations(f, z).tolist(),
            'x': metrics.canonical_correlations(x, z).tolist(),
            'chance': metrics.canonical_correlations(f, z[rng.permutation(len(z))]).tolist(),
            # How well z can be read from f by a linear map, on samples that the map has not seen.
            'read': held_out_share(f[:half], z[:half], f[half:], z[half:])})
    return {'trace': trace, 'moved': moved_experts(energy_model, generative_model, z[:500]).tolist()}


def held_out_share(f, z, new_f, new_z):
    """The share of the variance of new z that a linear map explains which least squares found: 1 − error/variance.

    Directions of f with less than a hundredth of its largest spread are left out: what least squares makes of them on
    the samples that it has seen is not true of others.
    """
    centre, target = f.mean(axis=0, dtype=float), z.mean(axis=0, dtype=float)
    weights = numpy.linalg.lstsq(f - centre, z - target, rcond=1e-2)[0]
    return float(1 - (((new_f - centre) @ weights + target - new_z) ** 2).mean() / new_z.var(axis=0).mean())


def concentration(moved):
    """How few z an expert listens to: the mean over experts of the largest share of its squared slopes; d⁻¹ to 1."""
    squares = numpy.asarray(moved) ** 2
    heard = squares.sum(axis=1) > 0
    return float((squares[heard].max(axis=1) / squares[heard].sum(axis=1)).mean())


def tables(results: dict) -> dict:
    rows = []
    for case, runs in results.items():
        def mean(key, at, runs=runs):
            return rounded([float(numpy.mean(run['trace'][at][key])) for run in runs], 2)
        rows.append([
            '`{}`'.format(case), mean('f', 0), mean('f', -1), mean('x', -1), mean('chance', -1), mean('read', 0),
            mean('read', -1), rounded([concentration(run['moved']) for run in runs], 2),
            rounded(1 / len(runs[0]['moved'][0]), 2)])
    return {'correlations': {
        'columns': [
            'run', 'f(G(z)) and z, at the start', 'f(G(z)) and z, at the end', 'G(z) and z', 'f and another z',
            'z read from f, at the start', 'z read from f, at the end', "an expert's largest share of one z",
            'if every z counted the same'],
        'rows': rows, 'seeds': False}}


def draw(results: dict, out) -> None:
    drawn = []
    for case, runs in results.items():
        iterations = [entry['iteration'] for entry in runs[0]['trace']]
        drawn.append(plots.Plot(case + ': canonical correlations', 'iteration', {
            name: (iterations, [[reduce(entry[key]) for entry in run['trace']] for run in runs])
            for name, key, reduce in (
                ('f(G(z)) and z, first', 'f', max), ('mean', 'f', numpy.mean), ('last', 'f', min),
                ('G(z) and z, mean', 'x', numpy.mean), ('f(G(z)) and another z, mean', 'chance', numpy.mean))}))
        moved = numpy.array(runs[0]['moved'])
        plots.draw_matrix(
            out / 'correlations_{}.png'.format(case.replace('/', '_')), moved[numpy.argsort(-moved.sum(axis=1))][:32],
            'which z move which experts, nats', 'number of z', 'expert, those that move most first')
    plots.draw_plots(out / 'correlations.png', drawn, columns=3)
