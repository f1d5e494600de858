"""What likelihood do the energies of digits, icons and the plane give to data, with log Z between two ends?

Of digits the test images are told, of icons the training images, since none are held out, and of the plane as many
fresh points as are scored.  Beside digits and icons stand Gaussians of the same data, beside the plane the quadrature.
"""

from ddgm.evaluation import likelihood, quadrature
from ddgm.presets import PRESETS
from ddgm.studies import study
from ddgm.support.tables import rounded

ITERATIONS, NEEDS = 24_000, ()
NO_DENSITY = ('last_commit', 'author')  # of icons: an energy of a batch, and one without a finite integral
SMALL = {'width': 0.25, 'batchsize': 64}
CASES = {
    '{}/{}'.format(task, name): study.Case(
        task, name, SMALL if task == 'images' else {}, preset.settings.iterations / ITERATIONS)
    for task, names in (
        ('mnist', [name for name in PRESETS['mnist'] if name != 'density']),  # which has a study of its own
        ('images', [name for name in PRESETS['images'] if name not in NO_DENSITY]),
        ('gaussian_mixture', ('default', 'calibrated', 'density')), ('swiss_roll', ('default', 'calibrated')))
    for name, preset in PRESETS[task].items() if name in names}
OF_PICTURES = 'log_z_lower', 'log_z_upper', 'log_likelihood', 'bits_per_pixel', 'bits_per_pixel_lower'
COLUMNS = {
    'mnist': OF_PICTURES, 'images': OF_PICTURES,
    'gaussian_mixture': ('log_z_lower', 'log_z_upper', 'log_z_quadrature', 'log_likelihood'),
    'swiss_roll': ('log_z_lower', 'log_z_upper', 'log_z_quadrature', 'log_likelihood')}
GAUSSIANS = {
    'isotropic': 'Gaussian, the same in all directions', 'ppca': 'ten principal components', 'gaussian': 'Gaussian'}


def measure(run: study.Run) -> dict:
    energy_model, _, _, x, energy = run.finished()
    learned, held_out = run.reference.likelihood_data()
    scores = {'iterations': run.settings.iterations, **likelihood.score(
        energy_model, x, learned, held_out, n_steps=run.settings.annealing_steps)}
    if run.case.task in ('gaussian_mixture', 'swiss_roll'):
        try:
            scores['log_z_quadrature'] = quadrature.log_partition(energy, x)
        except ValueError:
            scores['log_z_quadrature'] = None
    return scores


def tables(results: dict) -> dict:
    found = {}
    for task, names, cases in study.by_task(results, COLUMNS):
        rows = [
            ['`{}`'.format(case), runs[0]['iterations'],
             *(rounded([run.get(name) for run in runs], 5) for name in names)]
            for case, runs in cases.items()]
        first = next(iter(cases.values()))[0]
        rows += [
            [title, None, *(rounded(first.get('{}_{}'.format(name, gaussian)), 5) for name in names)]
            for gaussian, title in GAUSSIANS.items() if 'log_likelihood_' + gaussian in first]
        found[task] = {
            'columns': ['energy, or Gaussian', 'iterations', *map('`{}`'.format, names)], 'rows': rows,
            'made': {'iterations': None}}
    return found


def draw(results: dict, out) -> None:
    """No pictures."""
