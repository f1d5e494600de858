"""Which published settings collapse on digits and images, how often, and when?  The tables of collapses.

Now and then 1,000 samples from fixed z are compared with data; a run has collapsed where ``diversity`` ends below 0.25.
"""

from ddgm.data.mnist import MNIST
from ddgm.evaluation import metrics, sampling
from ddgm.figures import plots
from ddgm.studies import study
from ddgm.support import randomness
from ddgm.support.tables import rounded

ITERATIONS, NEEDS = 6_000, ()
SMALL = {'width': 0.125, 'batchsize': 32}  # of icons
CASES = {  # with the lengths of their runs, over that
    **{'mnist/' + preset: study.Case('mnist', preset, length=length, least=3) for preset, length in (
        ('batch_normalized_energy', 1 / 2), ('last_commit', 3 / 4), ('weight_normalized_energy', 3 / 4),
        ('post', 1 / 2), ('grey', 1))},
    **{'images/' + preset: study.Case('images', preset, SMALL, length=1 / 6, least=3) for preset in (
        'post', 'post_softplus', 'weight_normalized', 'last_commit')},
}
INTERVAL = {'mnist': 250, 'images': 100}  # iterations between two looks
N_SAMPLES = 1000


def collapse(trace):
    """The iteration from which on the diversity stays below the threshold to the end, or ``None``.

    Many runs look collapsed in their first thousands of iterations and recover, so the end of the run decides.

    Args:
        trace: Pairs of iteration and diversity, three at least.
    """
    diversities = [diversity for _, diversity in trace]
    # The middle one of three neighbouring checks, so that a single spike is passed over.
    smooth = diversities[:1] + [
        sorted(diversities[start:start + 3])[1]
        for start in (min(i - 1, len(trace) - 3) for i in range(1, len(trace)))]
    low = [diversity < metrics.COLLAPSED for diversity in smooth]
    if not low[-1]:
        return None
    return trace[len(low) - low[::-1].index(False) if False in low else 0][0]


def measure(run: study.Run) -> dict:
    task, trace = run.case.task, []
    rng = randomness.metric_generator(randomness.REFERENCE_DATA)
    reference = run.reference.draw_data(N_SAMPLES, rng) if task == 'images' else (
        MNIST(run.data['mnist']).held_out(N_SAMPLES, rng))
    marks = run.marks(max(3, round(run.settings.iterations / INTERVAL[task])))
    for state in run.states(marks[1:], keeps=False):
        _, generative_model = state.models
        x = sampling.sample(
            generative_model, generative_model.draw_latent(N_SAMPLES, randomness.metric_generator(randomness.SCORED_Z)))
        trace.append([state.iteration, metrics.diversity(*(
            points.reshape(len(points), -1) for points in (x, reference)))])
    return {'trace': trace}


def tables(results: dict) -> dict:
    """A table a task, of the same columns."""
    found = {}
    for task, _, cases in study.by_task(results, INTERVAL):
        rows = []
        for preset, runs in cases.items():
            starts = [collapse(run['trace']) for run in runs]
            rows.append([
                '`{}`'.format(preset), runs[0]['trace'][-1][0],
                '{} of {}'.format(sum(start is not None for start in starts), len(runs)),
                ', '.join('–' if start is None else '{:,}'.format(start) for start in starts),
                rounded([sorted(diversity for _, diversity in run['trace'][-3:])[1] for run in runs], 2)])
        found[task] = {
            'columns': ['preset', 'iterations', 'collapsed', 'from iteration', '`diversity` at the end'], 'rows': rows,
            'made': {'iterations': ', '.join(map('{0[0]} {0[1]}'.format, SMALL.items())) if task == 'images' else None}}
    return found


def draw(results: dict, out) -> None:
    plots.draw_plots(out / 'failures.png', [
        plots.Plot(case + ': diversity', 'iteration', {
            'seed {}'.format(seed): tuple(zip(*run['trace'])) for seed, run in enumerate(runs)})
        for case, runs in results.items()], columns=3)
