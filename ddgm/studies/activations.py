"""Which activations may be others?  Those of f's output, of the hidden layers of the DEM and of those of the DGM.

The post: Leaky ReLU or ELU in the DEM; tanh on f's output, sigmoid might do, none was not tried; ReLU in the DGM.
"""

import functools

import numpy

from ddgm.evaluation.tasks import open_task
from ddgm.fast import functions as F
from ddgm.figures import plots
from ddgm.studies import study

PUBLISHED = {'output': 'tanh', 'energy': 'elu', 'generator': 'relu'}
CHANGES = {
    'as published': {},
    'f ends in sigmoid': {'output': 'sigmoid'},
    'f ends in nothing': {'output': 'none'},
    'Leaky ReLU in the DEM': {'energy': 'leaky_relu'},
    'ReLU in the DEM': {'energy': 'relu'},
    'ELU in the DGM': {'generator': 'elu'},
}
ITERATIONS, NEEDS = 5_000, ()
ACTIVATIONS = {
    'tanh': F.tanh, 'sigmoid': F.sigmoid, 'elu': F.elu, 'relu': F.relu, 'leaky_relu': lambda x: F.leaky_relu(x, 0.2),
    'none': lambda x: x}
SHOWN = {
    'gaussian_mixture': ('hq_2sigma', 'modes_2sigma', 'kl_generator_data', 'coverage', 'log_likelihood', 'energy_gap'),
    'swiss_roll': ('within_0.1', 'arc_kl', 'coverage', 'log_likelihood', 'energy_gap'),
}


def change_activations(energy_model, generative_model, output, energy, generator):
    """Give both models of the plane other activations, by their names."""
    output, energy, generator = (ACTIVATIONS[name] for name in (output, energy, generator))
    extractor = energy_model.feature_extractor
    extractor.forward = lambda x: output(extractor.l2(energy(extractor.l1(x))))
    G = generative_model

    # On the class, not the model: a model is copied for its samples, and a copy calls its own layers.
    class Changed(type(G)):
        def forward(self, z):
            return self.l3(generator(self.bn2(self.l2(generator(self.bn1(self.l1(z)))))))
    G.__class__ = Changed


CASES = {
    task + '/' + name: study.Case(
        task, change_models=functools.partial(change_activations, **{**PUBLISHED, **change}))
    for task in SHOWN for name, change in CHANGES.items()}


def measure(run: study.Run) -> dict:
    _, _, _, x, energy = run.finished()
    return {'metrics': run.reference.score(x, energy), 'x': x[:600].tolist()}


def tables(results: dict) -> dict:
    return {
        task: study.table_of_metrics('networks', names, cases) for task, names, cases in study.by_task(results, SHOWN)}


def draw(results: dict, out) -> None:
    for task, _, cases in study.by_task(results, SHOWN):
        plots.draw_comparison(
            out / 'activations_{}.png'.format(task), plots.Panel('data', open_task(task).shown_data(600)),
            [plots.Panel(case, numpy.array(runs[0]['x'])) for case, runs in cases.items()], [])
