"""What makes the energy a density?  The calibrated presets, and what each of their pieces does.

Each run is scored on the way too, so that what does not last shows; digits beside the published preset.
"""

from ddgm.evaluation.tasks import open_task
from ddgm.figures import plots
from ddgm.runs.training_state import finish
from ddgm.studies import study

CHANGES = {
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
CASES = {'gaussian_mixture/' + name: change for name, change in CHANGES.items()}
CASES['swiss_roll/calibrated'] = {}
CASES['mnist/calibrated'] = {}
CASES['mnist/post'] = {}
ITERATIONS, NEEDS = 10_000, ()
LENGTH = {'swiss_roll': 0.6, 'mnist': 0.4}  # of a run, over that of the mixture
N_MARKS = 4
SHOWN = {
    'gaussian_mixture': (
        'log_likelihood', 'kl_generator_data', 'hq_2sigma', 'hq_3sigma', 'coverage', 'mode_kl', 'entropy_knn'),
    'swiss_roll': ('within_0.05', 'within_0.1', 'coverage', 'arc_kl', 'log_likelihood'),
    'mnist': ('class_kl', 'frechet', 'diversity', 'recall', 'coverage', 'energy_gap'),
}


def measure(case, seed, iterations, data, out):
    task, name = case.split('/')
    iterations = max(1, round(iterations * LENGTH.get(task, 1)))
    settings = study.settings_of(task, 'post' if name == 'post' else 'calibrated', seed, iterations, **CASES[case])
    reference = open_task(task, data.get(task), settings)
    trace = []
    marks = study.marks_of(iterations, N_MARKS)[1:]
    for state in study.states(task, settings, reference.draw_data, marks, kept=study.trained(out)):
        _, _, _, x, energy = finish(state, settings)
        trace.append({'iteration': state.iteration, **reference.score(x, energy, settings)})
    return {'trace': trace}


def report(results, out):
    drawn = []
    for task, names, cases in study.by_task(results, SHOWN):
        print(task + ', half-way and at the end\n')
        study.print_table(['', 'iterations', *map('`{}`'.format, names)], [
            [case, '{:,}'.format(runs[0]['trace'][at]['iteration']),
             *(study.show([run['trace'][at][key] for run in runs]) for key in names)]
            for case, runs in cases.items() for at in (len(runs[0]['trace']) // 2 - 1, -1)])
        drawn += [plots.Plot('{}: {}'.format(task, key), 'iteration', {
            case: ([entry['iteration'] for entry in runs[0]['trace']],
                   [[float('nan') if entry[key] is None else entry[key] for entry in run['trace']] for run in runs])
            for case, runs in cases.items()}) for key in names[:4]]
    plots.draw_plots(out / 'calibration.png', drawn)
