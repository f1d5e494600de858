"""One run from its first iteration to its pictures: what all training scripts share around the loop."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import time
from collections.abc import Callable

import chainer
import numpy

from ddgm.beyond_the_paper import options
from ddgm.evaluation import likelihood, sampling
from ddgm.evaluation.metrics import N_SCORED
from ddgm.evaluation.reference import Reference
from ddgm.fast import kernels, threads
from ddgm.fast.strategy import Fast
from ddgm.figures import post
from ddgm.runs import devices, run_files, run_folder, stop_signals
from ddgm.runs.log import curves_of
from ddgm.runs.training_state import build_state, environment, finish, iterations_of
from ddgm.support import randomness, ranks
from ddgm.support.errors import Interrupted, RunFailed, UsageError, counted, lacks_memory, one_line, printable
from ddgm.support.files import read_json, write_json
from ddgm.support.serialization import arrays_of, load_arrays
from ddgm.support.terminal import Progress, duration, print_table

# What a user types to go on with a run that was stopped; `make demo` names itself.
_TO_GO_ON = os.environ.get('DDGM_TO_GO_ON', '--resume')


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What a training script brings to a run: data, networks, pictures.

    Attributes:
        task (Reference): The data and what samples are held against.
        build_models: ``build_models(settings, rng)`` returns a DEM and a DGM.
        draw_frame: ``draw_frame(path, x)`` draws samples into a small PNG, a frame of the video.
        draw_figures: ``draw_figures(folder, x, energy)`` draws the finished models' pictures from samples and the
            energy as a function of arrays.
        n_shown (int): Samples in a picture.
        n_colours (int): Colours in the video.
        draw_scored: ``draw_scored(folder, x, energy, metrics)`` draws those that need metrics too, after scoring;
            ``metrics`` is empty where that was left out.  ``None``: there are none.
    """

    task: Reference
    build_models: Callable
    draw_frame: Callable
    draw_figures: Callable
    n_shown: int
    n_colours: int = 64
    draw_scored: Callable | None = None


def execute(folder: run_folder.RunFolder, experiment: Experiment) -> None:
    """Train, draw and score, all into the run folder.

    Args:
        folder (ddgm.runs.run_folder.RunFolder): What :func:`ddgm.runs.run_folder.open_run` made of the user's request.
        experiment (Experiment): What to run there.

    Raises:
        UsageError: The request can't be met; nothing was written.
        RunFailed: A loss, a parameter or an optimizer's state was no longer finite, or the system refused something: no
            space on the disk, no memory.
        Interrupted: By a signal, or since nobody can read its output any more; after a snapshot.
    """
    choice = {None: chainer.config.use_numba, True: 'always', False: 'never'}[folder.numba]
    with chainer.using_config('use_numba', choice):
        _execute(folder, experiment)


def _execute(folder, experiment):
    processes = folder.processes
    try:
        state = _begin(folder, experiment)
        generative_model = state.models[1]
        fixed_z = generative_model.draw_latent(experiment.n_shown, randomness.picture_generator(randomness.SHOWN_Z))

        def draw_present_frame():
            experiment.draw_frame(
                folder.frame(state.iteration), folder.units.outward(sampling.sample(generative_model, fixed_z)))
            if folder.events is not None:
                folder.events.add_frame(folder.frame(state.iteration))
        _train(folder, state, experiment.task.draw_inputs, draw_present_frame)
        if not processes.is_first:
            return
        try:
            _draw_and_score(folder, experiment, state, fixed_z, draw_present_frame)
        except (KeyboardInterrupt, BrokenPipeError):
            raise Interrupted('interrupted after training, a snapshot is saved: draw and score with {}'.format(
                _TO_GO_ON)) from None
    except BrokenPipeError:
        raise
    except OSError as error:  # the disk is full or the folder went away
        raise RunFailed('the run stopped: {}; the last snapshot, if there was one, stays'.format(error)) from error
    except Exception as error:
        if not lacks_memory(error):
            raise
        enlarged = [name for name, value in folder.settings.changes_of(folder.published).items()
                    if type(value) is int and value > getattr(folder.published, name) and name != 'batchsize']
        flags = ['--' + name for name in ('batchsize', 'width') if folder.settings.told_of(name).flag]
        raise RunFailed('not enough memory ({}): give a smaller {}'.format(
            one_line(error), ' or '.join([*flags, *enlarged]))) from error
    finally:
        folder.unlock()


def _begin(folder, experiment):
    """The state from which the run goes on, in a folder that is made ready for it; tells the user about both."""
    folder.settle(experiment.task)
    processes, settings = folder.processes, folder.settings
    if len(set(processes.exchange(experiment.task.fingerprint))) > 1:
        raise UsageError('the processes read different data: give all of them the same')
    folder.check_data(experiment.task.fingerprint)
    device = devices.open_device(processes.device(folder.device), folder.tf32, folder.graph)
    if options.chains_of(settings) and (processes.size > 1 or device.xp is not numpy):
        raise UsageError('persistent chains (restarts {}) run on the CPU, in one process: leave out {}'.format(
            settings.restarts, '--communicator' if processes.size > 1 else '--device'))
    state = build_state(settings, experiment.build_models, experiment.task.draw_inputs, device)
    if processes.is_first:
        _prepare(folder, experiment, state, device)
    if processes.size > 1:
        load_arrays(state, processes.from_first(lambda: arrays_of(state)))
    return state


def _prepare(folder, experiment, state, device):
    """Make the folder ready, load what is there, and tell the user."""
    settings, lines = folder.settings, []
    if folder.resume:
        folder.lock()
        lines += folder.load_snapshot(state)
        if state.iteration > settings.iterations:
            raise UsageError('{} has run {} iterations: give that or more to --iterations'.format(
                folder.path, state.iteration))
        n_found = folder.log.count(state.iteration)
        if n_found < state.n_logged:
            lines.append('{}: only {} of its {} entries are left'.format(
                folder.path / run_files.LOG, n_found, state.n_logged))
    told, of_versions = folder.with_earlier_versions(
        {**environment(device), **folder.processes.environment()}, state.iteration)
    folder.prepare(told)
    state.n_logged = folder.begin_log(state)

    print('Device: {}'.format(devices.described(device, folder.device)))
    if folder.processes.size > 1:
        print('# processes: {}, communicator {}'.format(folder.processes.size, folder.processes.name))
    print('# Minibatch-size: {}'.format(settings.batchsize))
    print('# iterations: {} of {} done, seed {}, preset {}'.format(
        state.iteration, settings.iterations, settings.seed, folder.told_preset))
    compiled = kernels.compiler()[1] if device.xp is numpy else None
    for line in filter(None, [
            folder.why_shared(), _why_slow(), compiled, *lines, of_versions, experiment.task.description]):
        print(printable(line))
    print('Run folder: {}'.format(printable(folder.path)), flush=True)
    if state.iteration == settings.iterations:
        print('All iterations were done before: {} anew; a larger --iterations goes on'.format(
            'drawn and scored' if folder.is_scored else 'drawn'), flush=True)


def _why_slow():
    """A line where others keep this machine busy and the threads of products wait for one another, else ``None``."""
    load = ranks.load_of_others()
    if load is None or threads.number() == 1 or os.environ.get('OPENBLAS_NUM_THREADS') == '1':
        return None
    return ('This machine is busy (a load of {:.1f} on {}): threads wait for one another there, and a run with '
            'OMP_NUM_THREADS=1 may take a fraction of the time'.format(load, counted(ranks.n_cores(), 'core')))


def _train(folder, state, draw_data, draw_present_frame):
    """Call the loop; between its iterations keep the log, snapshots and frames, and watch over the losses.

    Of several processes the first keeps them, and all see the same losses.
    """
    settings, processes = folder.settings, folder.processes
    stopwatch = _Stopwatch(state.elapsed_time)
    # What is not finite is found below and told in one line; NumPy's warnings would only come before it.  Chainer's
    # type checks take a tenth of the time, for shapes that are the same in every iteration.
    with numpy.errstate(all='ignore'), chainer.using_config('type_check', False), processes.in_step(), \
            stop_signals.noted() as signals, Progress(settings.iterations) as progress:
        strategy = Fast(processes.communicator, settings.batchsize, folder.replay, folder.graph, progress.tell)
        journal = _Journal(folder, state, strategy, stopwatch, progress)
        for iteration, observation in iterations_of(state, draw_data, settings, strategy):
            state.iteration = iteration
            journal.note(observation)
            state.elapsed_time = stopwatch.read()
            with stopwatch.paused():
                if processes.is_first and _is_due(iteration, settings.figure_interval):
                    draw_present_frame()
                is_stopped = any(strategy.mean_of([float(bool(signals or progress.error))]))
                if iteration == settings.iterations or is_stopped or _is_due(iteration, settings.snapshot_interval):
                    journal.save_snapshot()
            if is_stopped:
                reason = 'nobody reads standard output ({}), so the run stopped'.format(
                    progress.error.strerror) if progress.error and not signals else 'interrupted'
                raise processes.by_all(Interrupted('{} at iteration {}, a snapshot is saved: go on with {}'.format(
                    reason, iteration, _TO_GO_ON)))


class _Journal:
    """What the loop observes, on its way into the state's summary, the log and the progress bar; and snapshots."""

    def __init__(self, folder, state, strategy, stopwatch, progress):
        self._folder, self._state, self._strategy = folder, state, strategy
        self._stopwatch, self._progress = stopwatch, progress
        self._on_cpu = state.models[0].xp is numpy

    def note(self, observation):
        """Take what an iteration observed, and write a log entry where one is due."""
        state, settings = self._state, self._folder.settings
        if self._on_cpu:  # on a GPU reading a loss would make the loop wait, so there it is looked at with the log
            state.summary.add(self._as_floats(observation, already_of_all=False))
        else:
            add_at_once(state.summary, observation, state.models[0].device)
        self._progress.update(state.iteration)
        if _is_due(state.iteration, settings.log_interval):
            self._append_entry()
            state.summary = chainer.DictSummary()
        elif state.iteration == settings.iterations:
            self._append_entry()  # the summary stays, for a run that is extended later

    def save_snapshot(self):
        """By the first process alone."""
        if self._folder.processes.is_first:
            try:
                self._folder.save_snapshot(self._state)
            except FloatingPointError as error:
                raise _not_finite(error, self._state.iteration) from error

    def _as_floats(self, means, already_of_all):
        """Means over the batch by name, which are finite."""
        means = {name: float(value) for name, value in means.items()}
        if not already_of_all:
            means = dict(zip(means, self._strategy.mean_of(list(means.values()))))
        for name, value in means.items():
            if not math.isfinite(value):
                raise self._folder.processes.by_all(_not_finite(name, self._state.iteration))
        return means

    def _append_entry(self):
        state = self._state
        means = self._as_floats(state.summary.compute_mean(), already_of_all=self._on_cpu)
        entry = {'iteration': state.iteration, 'elapsed_time': self._stopwatch.read(), **means}
        if self._folder.processes.is_first:
            self._folder.append(entry)
        state.n_logged += 1
        self._progress.log(entry)


def add_at_once(summary: chainer.DictSummary, observation: dict, device: chainer.backend.Device) -> None:
    """``summary.add(observation)``, of 0-dimensional arrays on a device, without a launch for each of them.

    The sums that Chainer keeps of each name become places of one array there.
    """
    names, parts = list(observation), [summary._summaries[name] for name in observation]
    numbers = list(observation.values())
    if getattr(summary, 'names', None) != names:
        sums = [[float(getattr(part, name)) for part in parts] for name in ('_x', '_x2')]
        summary.names, summary.sums = names, device.send(numpy.array(sums, dtype=numbers[0].dtype))
        for i, part in enumerate(parts):
            part._x, part._x2 = summary.sums[0, i, ...], summary.sums[1, i, ...]
    kernels.of(summary.sums).add_observation(numbers, summary.sums[0], summary.sums[1])
    for part in parts:
        part._n += 1


def _draw_and_score(folder, experiment, state, fixed_z, draw_present_frame):
    """Sample, draw and score with the finished models; scoring comes last, since it may take longest."""
    settings, task = folder.settings, experiment.task
    print('Trained: {:,} iterations in {}'.format(state.iteration, duration(state.elapsed_time)))
    print('Drawing ...', flush=True)
    energy_model, generative_model, z, x, energy = finish(state, settings, task.draw_data)
    folder.save(run_files.ENERGY_MODEL, energy_model)
    folder.save(run_files.GENERATIVE_MODEL, generative_model)
    folder.drop_metrics_of_others(state.iteration)
    folder.write_samples(x, z)
    x_of_model, x, energy = x, folder.units.outward(x), folder.units.taking_users(energy)
    shown = folder.units.outward(sampling.sample(generative_model, fixed_z))
    experiment.draw_figures(folder, shown, energy)
    logged = curves_of(folder.log)
    from ddgm.figures import plots  # only now matplotlib, which takes as long to import as Chainer
    if logged:  # a log that was lost has been told of; an earlier picture of it stays
        plots.draw_curves(folder.figure('curves.png'), logged)
    draw_present_frame()
    post.write_gif(folder.figure('training.gif'), folder.frames(state.iteration), experiment.n_colours)
    print('Pictures: {}'.format(printable(folder.path / run_files.FIGURES)), flush=True)

    def keep_metrics():
        write_json(folder.file(run_files.METRICS), {
            **metrics, 'iterations': state.iteration, 'seed': settings.seed, 'n_samples': N_SCORED})
    metrics = _score(folder, task, x, energy) if folder.is_scored else {}
    if folder.is_scored or not (folder.path / run_files.METRICS).exists():
        metrics = likelihood.beside(_told_likelihood(folder), metrics)
        keep_metrics()
    if folder.tells_likelihood:
        metrics = _with_likelihood(folder, task, energy_model, x_of_model, metrics)
        keep_metrics()
    if experiment.draw_scored:
        experiment.draw_scored(folder, shown, energy, metrics)


def _score(folder, task, x, energy):
    """The metrics of samples, which are printed beside those of real data."""
    print('Scoring {:,} samples ...'.format(N_SCORED), flush=True)
    metrics = task.score(x, energy, folder.settings)
    columns = [('samples', metrics)]
    real_data = task.real_data(N_SCORED)
    if real_data is not None:
        columns.append((task.real_name, task.score(real_data)))
    print_table(columns)
    return metrics


def _told_likelihood(folder):
    """What earlier metrics of these models tell of the likelihood, which took minutes."""
    with contextlib.suppress(ValueError, TypeError):
        return likelihood.recorded(read_json(folder.path / run_files.METRICS))
    return {}


def _with_likelihood(folder, task, energy_model, x, metrics):
    """The metrics and what annealing tells, which is printed; a log Z that they have stays."""
    print('Bracketing log Z ...', flush=True)
    found = likelihood.score(
        energy_model, x, *task.likelihood_data(), folder.standardization,
        n_steps=folder.settings.annealing_steps)
    print_table([('likelihood', found)])
    return likelihood.beside(found, metrics)


def _is_due(iteration, interval):
    return interval > 0 and iteration % interval == 0


def _not_finite(name, iteration):
    return RunFailed(
        '{} is not finite at iteration {}: the last good snapshot stays; see "When a run fails" in the README'.format(
            name, iteration))


class _Stopwatch:
    """Seconds of training, with pauses."""

    def __init__(self, elapsed):
        self._origin = time.perf_counter() - elapsed

    def read(self):
        return time.perf_counter() - self._origin

    @contextlib.contextmanager
    def paused(self):
        elapsed = self.read()
        yield
        self._origin = time.perf_counter() - elapsed
