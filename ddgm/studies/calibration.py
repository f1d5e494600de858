"""What makes the energy a density?  The calibrated presets, and what each of their pieces does.

Each run is scored on the way too, so that what does not last shows; digits beside the published preset.
"""

from ddgm.figures import plots
from ddgm.studies import study
from ddgm.support.tables import rounded

# In shorter runs of the mixture, one piece changed at a time.
PIECES = {
    'calibrated': {},
    'no penalty': {'energy_penalty': 0.0},
    'penalty 0.03': {'energy_penalty': 0.03},
    'no refinement': {'langevin_steps': 0},
    '20 Langevin steps': {'langevin_steps': 20},
    'entropy of γ': {'neighbour_entropy_weight': 0.0, 'entropy_weight': 1.0},
    'entropy of the volume': {'neighbour_entropy_weight': 0.0, 'volume_entropy_weight': 1.0},
    'rates that stay': {'decay_from': 0},
    'models not averaged': {'averaged': False},
    'networks of the post': {'feature_layers': 2, 'generator_layers': 2, 'n_latent': 4},
}
SHORT = 'short, '
LONGER = 'twice as long'  # half-way it is `calibrated`, so that a table shows its end alone
CASES = {
    'gaussian_mixture/calibrated': study.Case('gaussian_mixture', 'calibrated'),
    'gaussian_mixture/' + LONGER: study.Case('gaussian_mixture', 'calibrated', length=2),
    **{'gaussian_mixture/' + SHORT + name: study.Case('gaussian_mixture', 'calibrated', change, 0.3)
       for name, change in PIECES.items()},
    'swiss_roll/calibrated': study.Case('swiss_roll', 'calibrated', length=0.6),
    'mnist/calibrated': study.Case('mnist', 'calibrated', length=0.6),
    'mnist/-b 128': study.Case('mnist', 'calibrated', {'batchsize': 128}, 0.4),
    'mnist/-b 128, no penalty': study.Case('mnist', 'calibrated', {'batchsize': 128, 'energy_penalty': 0.0}, 0.4),
    'mnist/convolutional': study.Case('mnist', 'convolutional', length=0.45),
    'mnist/post': study.Case('mnist', 'post', length=0.4),
}
ITERATIONS, NEEDS = 10_000, ()
N_MARKS = 4
SHOWN = {
    'gaussian_mixture': (
        'log_likelihood', 'kl_generator_data', 'hq_2sigma', 'hq_3sigma', 'coverage', 'mode_kl', 'entropy_knn'),
    'swiss_roll': ('within_0.05', 'within_0.1', 'coverage', 'arc_kl', 'log_likelihood'),
    'mnist': ('class_kl', 'frechet', 'diversity', 'recall', 'coverage', 'energy_gap'),
}


def measure(run: study.Run) -> dict:
    trace = []
    for state in run.states(run.marks(N_MARKS)[1:]):
        _, _, _, x, energy = run.finish(state)
        trace.append({'iteration': state.iteration, **run.reference.score(x, energy, run.settings)})
    return {'trace': trace}


def half_way(run):
    return run['trace'][len(run['trace']) // 2 - 1]


def at_the_end(run):
    return run['trace'][-1]


def parts(results):
    """For each task its name, what is shown of it, and its cases; the short runs by themselves, as ``pieces``."""
    for task, names, cases in study.by_task(results, SHOWN):
        short = {case[len(SHORT):]: runs for case, runs in cases.items() if case.startswith(SHORT)}
        whole = {case: runs for case, runs in cases.items() if not case.startswith(SHORT)}
        yield from ((part, names, found) for part, found in ((task, whole), ('pieces', short)) if found)


def tables(results: dict) -> dict:
    """A table a task, half-way and at the end; and ``pieces``, what one piece changed does."""
    found = {}
    for part, names, cases in parts(results):
        columns = [*map('`{}`'.format, names)]
        if part == 'pieces':
            rows = [[case, rounded([half_way(run)[names[0]] for run in runs]),
                     *(rounded([at_the_end(run)[name] for run in runs]) for name in names)]
                    for case, runs in cases.items()]
            found[part] = {
                'columns': ['one piece changed', columns[0] + ', half-way', *columns], 'rows': rows, 'seeds': False,
                'made': {'iterations': at_the_end(next(iter(cases.values()))[0])['iteration']}}
            continue
        looks = (('`{}`, half-way', half_way), ('`{}`', at_the_end))
        rows = [[label.format(case), entry(runs[0])['iteration'],
                 *(rounded([entry(run)[name] for run in runs]) for name in names)]
                for case, runs in cases.items() for label, entry in looks if (case, entry) != (LONGER, half_way)]
        made = {'iterations': None}
        if part == 'mnist':
            made['classifier'] = ', '.join(sorted({
                at_the_end(run)['classifier'] for runs in cases.values() for run in runs}))
        found[part] = {
            'columns': ['run', 'iterations', *columns], 'rows': rows, 'seeds': part != 'mnist', 'made': made}
    return found


def draw(results: dict, out) -> None:
    plots.draw_plots(out / 'calibration.png', [
        plots.Plot('{}: {}'.format(part, key), 'iteration', {
            case: ([entry['iteration'] for entry in runs[0]['trace']],
                   [[float('nan') if entry[key] is None else entry[key] for entry in run['trace']] for run in runs])
            for case, runs in cases.items()})
        for part, names, cases in parts(results) for key in names[:4]])
