"""Does the energy know digits from what is none?  AUROC of E on test digits against other inputs."""

import numpy

from ddgm.data.image_folder import ImageFolder
from ddgm.data.mnist import MNIST, SIDE
from ddgm.evaluation import metrics
from ddgm.figures import plots
from ddgm.studies import study
from ddgm.support import randomness
from ddgm.support.tables import rounded

CASES = {preset: study.Case('mnist', preset) for preset in ('post', 'grey', 'calibrated')}
ITERATIONS, NEEDS = 4_000, ('mnist', 'images')
N_INPUTS = 2000
N_MARKS = 4


def inputs_of(digits, icons, binarized, rng):
    """Test digits and what is not one, by name: (N, 784) in 0…1, binarised if the energy is that of binarised data."""
    clean = digits.test_images[rng.permutation(len(digits.test_images))[:N_INPUTS]].astype(numpy.float32) / 255
    square = clean.reshape(-1, SIDE, SIDE)
    chosen = icons[rng.integers(len(icons), size=len(clean))]
    inputs = {
        'test digits': clean,
        'uniform noise': rng.random(clean.shape, dtype=numpy.float32),
        'pixels of digits, each in its place': numpy.stack([rng.permutation(column) for column in clean.T], axis=1),
        'digits, pixels shuffled': clean[:, rng.permutation(clean.shape[1])],
        'digits upside down': square[:, ::-1].reshape(clean.shape),
        'digits inverted': 1 - clean,
        'two digits at once': numpy.maximum(clean, clean[rng.permutation(len(clean))]),
        'icons in grey': grey_28(chosen),
        'icons in grey, inverted': 1 - grey_28(chosen),
        'nothing': numpy.zeros_like(clean),
    }
    if binarized:
        inputs = {
            name: (rng.random(x.shape, dtype=numpy.float32) < x).astype(numpy.float32) for name, x in inputs.items()}
    return inputs


def grey_28(images):
    """(N, 3, 64, 64) uint8 to (N, 784) in 0…1: the middle 56 pixels, each 2×2 of them one."""
    grey = images.mean(axis=1)[:, 4:60, 4:60] / 255
    return grey.reshape(-1, SIDE, 2, SIDE, 2).mean(axis=(2, 4)).reshape(-1, SIDE * SIDE).astype(numpy.float32)


def measure(run: study.Run) -> dict:
    digits, icons = MNIST(run.data['mnist']), ImageFolder(run.data['images']).images
    inputs = inputs_of(digits, icons, run.settings.binarized, randomness.metric_generator(randomness.OTHER_INPUTS))
    trace = []
    for state in run.states(run.marks(N_MARKS)):
        _, _, _, x, energy = run.finish(state)
        energies = {name: energy(points) for name, points in {**inputs, 'own samples': x}.items()}
        of_digits = energies.pop('test digits')
        trace.append({'iteration': state.iteration, **{
            name: metrics.area_under_curve(of_digits, other) for name, other in energies.items()}})
    return {'trace': trace}


def names_in(results):
    return [name for name in next(iter(results.values()))[0]['trace'][0] if name != 'iteration']


def tables(results: dict) -> dict:
    return {'auroc': {
        'columns': ['test digits against', *map('`{}`'.format, results)],
        'rows': [
            [name, *(rounded([run['trace'][-1][name] for run in runs], 2) for runs in results.values())]
            for name in names_in(results)]}}


def draw(results: dict, out) -> None:
    plots.draw_plots(out / 'detector.png', [
        plots.Plot('{}: AUROC of E'.format(case), 'iteration', {
            name: study.curve(runs, name) for name in names_in(results)})
        for case, runs in results.items()], columns=3)
