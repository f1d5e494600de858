"""How good a density of the plane is the preset `density`, and what are samples of it worth?

Runs of the training scripts; then `python -m ddgm.refine` draws samples of each run's energy model.
"""

import contextlib
import importlib
import io
import json
import pathlib
import shutil

from benchmarks import ROOT
from benchmarks.results.aims import AIMS
from benchmarks.results.plane import real_scores
from ddgm.refine import __main__ as refine
from ddgm.studies import study
from ddgm.support.tables import rounded

SHOWN = {
    'gaussian_mixture': (
        'log_likelihood', 'kl_data_energy', 'kl_energy_data', 'kl_generator_data', 'hq_2sigma', 'entropy_knn',
        'coverage'),
    'swiss_roll': ('within_0.05', 'within_0.1', 'arc_kl', 'blurred_js', 'coverage'),
}
CASES = {task: study.Case(task, 'density') for task in SHOWN}
ITERATIONS, NEEDS = 10_000, ()
CODE = tuple(ROOT / 'train_{}.py'.format(task) for task in SHOWN)
N_PROPOSALS = 400_000


def train_by_script(run: study.Run) -> pathlib.Path:
    """Run a training script, or go on with the run that is there; returns its folder, of which no other key knows."""
    folder = run.path.with_suffix('')
    if not (folder / 'metrics.json').exists():
        flags = {
            '--preset': run.case.preset, '--seed': run.settings.seed, '--iterations': run.settings.iterations,
            '--figure_interval': 0, '--out': folder}
        resume = ['--resume'] if (folder / 'settings.json').exists() else []
        quietly(importlib.import_module('train_' + run.case.task).main, *sum(flags.items(), ()), *resume)
    return folder


def quietly(main, *words):
    """Call a command in this process, which prints nothing."""
    with contextlib.redirect_stdout(io.StringIO()):
        main([str(word) for word in words])


def measure(run: study.Run) -> dict:
    """Metrics of a run's own samples and of the refined ones."""
    folder = train_by_script(run)
    refined = folder.with_name(folder.name + '-refined')
    quietly(refine.main, folder, '--proposals', N_PROPOSALS, '--out', refined)
    return {
        'scores': [json.loads((path / 'metrics.json').read_text(encoding='utf-8')) for path in (folder, refined)],
        'picture': '{}/samples.png'.format(refined.name)}


def tables(results: dict) -> dict:
    found = {}
    for task, runs in results.items():
        names, real, rows = SHOWN[task], real_scores(task), []
        for i, (kind, aim, aims) in enumerate((
                ('samples of the generator', 'aim', 'density'),
                ('refined under the energy model', 'aim, refined', 'density, refined'))):
            rows.append([kind, *(rounded([run['scores'][i][name] for run in runs]) for name in names)])
            if aims in AIMS[task]:
                rows.append([aim, *map(AIMS[task][aims].get, names)])
        rows.append(['real data', *map(real.get, names)])
        found[task] = {'columns': ['samples', *map('`{}`'.format, names)], 'rows': rows}
    return found


def draw(results: dict, out) -> None:
    for task, runs in results.items():
        shutil.copy(out / runs[0]['picture'], out / 'density_{}.png'.format(task))
