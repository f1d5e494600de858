"""What do today's libraries learn of ten Gaussians in as many seconds of one core, beside the presets of this project?

Each library trains for SECONDS of CPU time on points that are drawn anew for each batch, as training here draws them.
A preset trains for as many iterations as take about that long where numba compiles them.  A method is tried twice: as
the library's own example has it, and with one change that suits this data better.  -n scales all: the seconds, and the
presets with the phases that they have.

It needs ebmkit, torchebm, zuko, PyTorch and scikit-learn; --cases leaves out those of a package that is not there.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import math
import statistics
import time
from collections.abc import Callable

import numpy

from benchmarks.results.plane import real_scores
from ddgm import presets
from ddgm.data.distributions import GaussianMixture, cells_of_square
from ddgm.evaluation import plane, tasks
from ddgm.evaluation.metrics import N_SCORED
from ddgm.studies import study
from ddgm.support import randomness
from ddgm.support.errors import UsageError
from ddgm.support.tables import rounded
from ddgm.trained.model import Model

TASK = 'gaussian_mixture'
ITERATIONS, NEEDS = 10_000, ()
SECONDS = 300  # of CPU time, with so many iterations
SQUARE = 6  # half the width of what an energy is cut off at, whose integral over the plane is none
N_PROPOSALS = 400_000  # of refined samples
N_OF_P = 25_000  # samples by which KL(P‖data) is told where P is no energy
COLUMNS = 'log_likelihood', 'kl_data_energy', 'kl_energy_data', 'kl_generator_data'


# ---- what a method is

@dataclasses.dataclass(frozen=True)
class Learned:
    """What a method has learned.

    Attributes:
        energy: E of points in nats, (N, 2) float64 to (N,) float64.
        draw: ``draw(n)`` draws n samples: (n, 2).
        updates (int): Of the parameters; ``None`` where there are none.
        exact (bool): Whether E is −log P, so that log Z is 0.
        refine: ``refine(x)`` moves samples under E, where that is wanted.
    """

    energy: Callable
    draw: Callable
    updates: int | None
    exact: bool = False
    refine: Callable | None = None


@dataclasses.dataclass(frozen=True)
class Method:
    """How a library learns.

    Attributes:
        packages (tuple): What it needs, as pip knows it.
        learn: ``learn(seed, seconds, **settings)`` returns what is :class:`Learned`.
        settings (dict): Those that the library recommends.
        source (str): Where it does.
        tuned (dict): What is changed of them in the second try.
    """

    packages: tuple
    learn: Callable
    settings: dict
    source: str
    tuned: dict


MODULES = {'ebmkit': 'ebm', 'scikit-learn': 'sklearn'}  # whose names are others than their packages'


def load(packages: tuple) -> None:
    """Import what a method needs; raises ``UsageError`` with what to install where some of that is not there."""
    missing = []
    for name in packages:
        try:
            importlib.import_module(MODULES.get(name, name))
        except ImportError:
            missing.append(name)
    if missing:
        raise UsageError('this needs {}: pip install {}; or choose other --cases'.format(
            ' and '.join(missing), ' '.join(missing)))


# ---- training for a time

def repeated(update: Callable, seconds: float) -> int:
    """Call ``update(share of the time that has passed)`` until so many seconds of CPU time have; how often it was."""
    begun, n = time.process_time(), 0
    while True:
        share = (time.process_time() - begun) / seconds
        if share >= 1:
            return n
        update(share)
        n += 1


def batches(seed: int, n: int):
    """Fresh points of the mixture without end, as tensors (n, 2)."""
    import torch
    rng = numpy.random.default_rng((seed, 1))
    while True:
        yield torch.from_numpy(GaussianMixture().sample(n, rng))


def begin(seed: int):
    """PyTorch, with one thread and its generator in a known state."""
    import torch
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    return torch


def of_arrays(function: Callable, sign: int = 1) -> Callable:
    """A function of tensors, (N, 2) to (N,), as one of arrays; times ``sign``."""
    import torch

    def wrapped(x):
        with torch.no_grad():
            values = [function(torch.from_numpy(part)).numpy() for part in numpy.array_split(
                numpy.asarray(x, dtype=numpy.float32), max(1, math.ceil(len(x) / 20_000)))]
        return sign * numpy.concatenate(values).astype(numpy.float64)
    return wrapped


# ---- the libraries

def by_ebmkit(
        seed: int, seconds: float, loss: str, hidden: tuple = (128, 128), sampler: str = 'LangevinDynamics',
        step_size: float = 0.01, steps: int = 60, **arguments) -> Learned:
    """An energy of ebmkit; ``arguments`` are those of its loss.

    Contrastive divergence draws its negatives by ``steps`` of the sampler, from a buffer.  Samples are 500 of them.
    """
    import ebm
    torch = begin(seed)
    if loss == 'ContrastiveDivergence':
        arguments = {
            'sampler': getattr(ebm, sampler)(step_size=step_size, steps=steps),
            'buffer': ebm.ReplayBuffer(capacity=8192, shape=(2,)), **arguments}
    trainer = ebm.Trainer(
        ebm.nets.MLPEnergy(dim=2, hidden=hidden), getattr(ebm, loss)(**arguments), lr=1e-3, device='cpu',
        ema_decay=0.999)
    points = batches(seed, 256)
    updates = repeated(lambda share: trainer.fit(points, steps=1, verbose=False), seconds)
    energy = trainer.ema.module

    def draw(n):
        return getattr(ebm, sampler)(step_size=step_size, steps=500).sample(energy, torch.randn(n, 2)).numpy()
    return Learned(of_arrays(energy), draw, updates)


def by_torchebm(seed: int, seconds: float, step_size: float, k_steps: int) -> Learned:
    """An energy of torchebm, by persistent contrastive divergence with ``k_steps``; samples are 500 such steps."""
    from torchebm import core, losses, samplers
    torch = begin(seed)

    class Energy(core.BaseModel):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Sequential(
                torch.nn.Linear(2, 128), torch.nn.SiLU(), torch.nn.Linear(128, 128), torch.nn.SiLU(),
                torch.nn.Linear(128, 1))

        def forward(self, x):
            return self.net(x).squeeze(-1)
    energy = Energy()
    sampler = samplers.LangevinDynamics(model=energy, step_size=step_size, noise_scale=1.0)
    loss = losses.ContrastiveDivergence(
        model=energy, sampler=sampler, k_steps=k_steps, persistent=True, buffer_size=8192)
    optimizer, points = torch.optim.Adam(energy.parameters(), lr=1e-3), batches(seed, 256)

    def update(share):
        value, _ = loss(next(points))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    updates = repeated(update, seconds)

    def draw(n):
        return sampler.sample(x=torch.randn(n, 2), n_steps=500).detach().numpy()
    return Learned(of_arrays(energy), draw, updates)


def by_zuko(
        seed: int, seconds: float, transforms: int = 3, hidden: tuple = (64, 64), bins: int = 8, batchsize: int = 64,
        falls: bool = False) -> Learned:
    """A neural spline flow of zuko; ``falls``: whether its learning rate falls to 0 as a cosine."""
    import zuko
    torch = begin(seed)
    flow = zuko.flows.NSF(features=2, transforms=transforms, hidden_features=hidden, bins=bins)
    optimizer, points = torch.optim.Adam(flow.parameters(), lr=1e-3), batches(seed, batchsize)

    def update(share):
        if falls:
            optimizer.param_groups[0]['lr'] = 1e-3 * (1 + math.cos(math.pi * share)) / 2
        loss = -flow().log_prob(next(points)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    updates = repeated(update, seconds)

    def draw(n):
        with torch.no_grad():
            return flow().sample((n,)).numpy()
    return Learned(of_arrays(lambda x: flow().log_prob(x), -1), draw, updates, exact=True)


def by_kernels(seed: int, seconds: float, points: int) -> Learned:
    """Kernels around so many points, whose width is found by cross-validation; however few seconds that takes."""
    from sklearn import model_selection, neighbors
    x = GaussianMixture().sample(points, numpy.random.default_rng((seed, 1))).astype(numpy.float64)
    search = model_selection.GridSearchCV(
        neighbors.KernelDensity(), {'bandwidth': numpy.geomspace(0.01, 0.1, 10)}, cv=5).fit(x)
    kernels = search.best_estimator_
    return Learned(
        lambda x: -kernels.score_samples(x), lambda n: kernels.sample(n, random_state=seed), None, exact=True)


CHAINS = {'loss': 'ContrastiveDivergence', 'step_size': 0.01, 'steps': 60, 'energy_reg': 0.1}
METHODS = {
    'KernelDensity': Method(
        ('scikit-learn',), by_kernels, {'points': 5_000}, 'its guide, with a grid search', {'points': 10_000}),
    'zuko, spline flow': Method(
        ('torch', 'zuko'), by_zuko, {'transforms': 3, 'hidden': (64, 64), 'bins': 8, 'batchsize': 64},
        'its tutorial "Train from data"',
        {'transforms': 5, 'hidden': (128, 128), 'bins': 16, 'batchsize': 256, 'falls': True}),
    'torchebm, persistent CD': Method(
        ('torch', 'torchebm'), by_torchebm, {'step_size': 0.1, 'k_steps': 10}, 'its example 02-persistent-cd',
        {'step_size': 0.001, 'k_steps': 40}),
    'ebmkit, persistent CD': Method(
        ('torch', 'ebmkit'), by_ebmkit, CHAINS, 'its example train_two_moons',
        {'step_size': 0.001, 'energy_reg': 0.001}),
    'ebmkit, persistent CD by MALA': Method(
        ('torch', 'ebmkit'), by_ebmkit, {**CHAINS, 'sampler': 'MALA'}, 'the same example, with its other sampler',
        {'step_size': 0.001, 'energy_reg': 0.001}),
    'ebmkit, energy discrepancy': Method(
        ('torch', 'ebmkit'), by_ebmkit,
        {'loss': 'EnergyDiscrepancy', 'sigma': 0.3, 'm_particles': 16, 'w_stable': 1.0, 'step_size': 0.01},
        'its example train_energy_discrepancy', {'sigma': 0.1, 'step_size': 0.001}),
    'ebmkit, NCE': Method(
        ('torch', 'ebmkit'), by_ebmkit,
        {'loss': 'NoiseContrastiveEstimation', 'noise_ratio': 4, 'step_size': 0.01}, 'its example benchmark_losses',
        {'noise_ratio': 16, 'hidden': (256, 256, 256), 'step_size': 0.001}),
    'ebmkit, score matching': Method(
        ('torch', 'ebmkit'), by_ebmkit, {'loss': 'SlicedScoreMatching', 'step_size': 0.01},
        'its example benchmark_losses', {'loss': 'ExactScoreMatching', 'step_size': 0.001}),
}
# The first is quick, and has all of its iterations however few the study has.
PRESETS = {
    'default': study.Case(TASK, length=2.0, least=20_000), 'calibrated': study.Case(TASK, 'calibrated'),
    'density': study.Case(TASK, 'density')}
REFINED = 'calibrated', 'density'
FIRST = 20  # iterations before the clock starts, in which numba compiles
TUNED = ', tuned'
# By the name of its case what learns, and with which settings.
LEARNERS = {
    name + ending: (method, {**method.settings, **changes}) for name, method in METHODS.items()
    for ending, changes in (('', {}), (TUNED, method.tuned))}
CASES = {**PRESETS, **dict.fromkeys(LEARNERS, study.Case(TASK, 'density'))}


# ---- this project

def by_preset(run: study.Run) -> Learned:
    """The models of a run of this project."""
    state, = run.states([run.settings.iterations], keeps=False)
    energy_model, generator, *_ = run.finish(state)
    model = Model(tasks.find(TASK), run.settings, energy_model, generator, preset=run.case.preset)
    refine = functools.partial(model.refine, proposals=N_PROPOSALS) if run.name in REFINED else None
    return Learned(model.energy, model.sample, run.settings.iterations, refine=refine)


def shortened(run: study.Run, iterations: int) -> study.Run:
    """The run with so many iterations, whose phases keep their shares of them."""
    whole = presets.PRESETS[TASK][run.case.preset].settings
    return dataclasses.replace(run, settings=dataclasses.replace(
        run.settings, iterations=iterations, **{
            phase: -(-getattr(whole, phase) * iterations // whole.iterations)
            for phase in ('proposals_from', 'decay_from')}))


# ---- measuring

def measure(run: study.Run) -> dict:
    """Seconds of training, and by kind of samples, drawn or refined too, scores and the seconds that drawing takes."""
    if run.name in LEARNERS:
        method, settings = LEARNERS[run.name]
        load(method.packages)
        learn = functools.partial(
            method.learn, run.settings.seed, SECONDS * run.settings.iterations / ITERATIONS, **settings)
    else:
        by_preset(shortened(run, FIRST))
        learn = functools.partial(by_preset, shortened(run, run.settings.iterations))
    learned, training = timed(learn)
    x, drawing = timed(learned.draw, N_SCORED)
    density, samples = scores_of_density(learned, x), {'drawn': {**scores_of_samples(x), 'seconds': drawing}}
    if learned.refine:
        refined, refining = timed(learned.refine, x)
        samples['refined'] = {**scores_of_samples(refined), 'seconds': drawing + refining}
    return {'seconds': training, 'updates': learned.updates, 'density': density, 'samples': samples}


def timed(function: Callable, *arguments) -> tuple:
    """What a function returns, and the CPU time that it takes, in seconds."""
    begun = time.process_time()
    return function(*arguments), time.process_time() - begun


def scores_of_samples(x: numpy.ndarray) -> dict:
    """KL of samples (N, 2) from the data; ``None`` where chains have run away."""
    if not numpy.isfinite(x).all():
        return {'kl_generator_data': None}
    return {'kl_generator_data': plane.score_gaussian_mixture(x)['kl_generator_data']}


def scores_of_density(learned: Learned, x: numpy.ndarray) -> dict:
    """Scores of P = exp(−E)/Z; where the integral over the plane is not found, of P within a square alone.

    ``x`` are samples, where E may have narrow wells.  ``cut_off`` is why the square was needed, or ``None``.
    """
    mixture = GaussianMixture()
    held_out = mixture.sample(N_SCORED, randomness.metric_generator(randomness.REFERENCE_DATA)).astype(numpy.float64)
    if learned.exact:
        return {**scores_of_exact(learned, held_out, mixture), 'cut_off': None}
    x = x[numpy.isfinite(x).all(axis=1)].astype(numpy.float64)
    scores = plane.score_energy(learned.energy, x, held_out, mixture.log_density)
    why = scores.get('log_z_missing')
    if why:
        scores = scores_within_square(learned.energy, held_out, mixture)
    return {**{name: scores.get(name) for name in COLUMNS[:3]}, 'cut_off': why}


def scores_within_square(energy: Callable, held_out: numpy.ndarray, mixture: GaussianMixture) -> dict:
    """The scores of P = exp(−E)/Z within the square, by the midpoint rule; data is never outside of it."""
    centres, width = cells_of_square(SQUARE, 100 * SQUARE)
    energies, log_data = energy(centres), mixture.log_density(centres)
    log_z = numpy.logaddexp.reduce(-energies) + 2 * math.log(width)
    log_p = -energies - log_z
    return {
        'log_likelihood': float(-energy(held_out).mean() - log_z),
        'kl_data_energy': float((numpy.exp(log_data) * (log_data - log_p)).sum() * width ** 2),
        'kl_energy_data': float((numpy.exp(log_p) * (log_p - log_data)).sum() * width ** 2)}


def scores_of_exact(learned: Learned, held_out: numpy.ndarray, mixture: GaussianMixture) -> dict:
    """The same where E is −log P: KL(data‖P) by the midpoint rule, KL(P‖data) by samples of P."""
    centres, width = cells_of_square(SQUARE, 100 * SQUARE)
    log_p = mixture.log_density(centres)
    centres, log_p = centres[log_p > -25], log_p[log_p > -25]  # what is left out holds less than 1e-8
    x = numpy.asarray(learned.draw(N_OF_P), dtype=numpy.float64)
    return {
        'log_likelihood': float(-learned.energy(held_out).mean()),
        'kl_data_energy': float((numpy.exp(log_p) * (log_p + learned.energy(centres))).sum() * width ** 2),
        'kl_energy_data': float((-learned.energy(x) - mixture.log_density(x)).mean())}


# ---- tables

def tables(results: dict) -> dict:
    """Scores, and the settings of the libraries."""
    rows = []
    for case, runs in results.items():
        for kind in runs[0]['samples']:
            n_whole = sum(run['density']['cut_off'] is None for run in runs)
            rows.append([
                ('`{}`'.format(case) if case in PRESETS else case) + (', refined' if kind == 'refined' else ''),
                statistics.median(rounded([run['seconds'] for run in runs], 2)),
                runs[0]['updates'] and round(statistics.median(run['updates'] for run in runs)),
                *(rounded([run['density'][name] for run in runs]) for name in COLUMNS[:3]),
                rounded([run['samples'][kind][COLUMNS[3]] for run in runs]),
                statistics.median(rounded([run['samples'][kind]['seconds'] for run in runs], 2)),
                '{} of {}'.format(n_whole, len(runs))])
    real = real_scores(TASK)
    rows.append(['real data', None, None, *(real[name] for name in COLUMNS), None, None])
    return {
        'scores': {
            'columns': [
                'method', 'seconds to train', 'updates', *map('`{}`'.format, COLUMNS), 'seconds to draw',
                'finite integral'],
            'rows': rows, 'made': {'iterations': None}},
        'settings': {
            'columns': ['method', 'as', 'settings', 'tuned: instead'],
            'rows': [[name, method.source, told(method.settings), told(method.tuned)]
                     for name, method in METHODS.items() if name in results or name + TUNED in results],
            'made': {'iterations': None}}}


def told(settings: dict) -> str:
    """Settings as a cell tells them."""
    return ', '.join('`{}={}`'.format(name, value) for name, value in settings.items())


def draw(results: dict, out) -> None:
    """No pictures."""
