"""One run from its first iteration to its pictures: what all training scripts share around the loop."""

import contextlib
import math
import platform
import signal
import time

import chainer
import numpy

from ddgm import curves, figures, randomness, run_folder, sampling, training
from ddgm.errors import Interrupted, RunFailed, UsageError, one_line
from ddgm.files import write_json
from ddgm.metrics import N_SCORED
from ddgm.progress import Progress, print_table


class TrainingState:
    """Everything that a bit-exact continuation needs; the randomness follows from seed and iteration.

    Attributes:
        models (tuple): The DEM and the DGM.
        iteration (int): Iterations done.
        elapsed_time (float): Seconds spent training.
        n_logged (int): Entries in the log.
        summary (chainer.DictSummary): Of the iterations since the last log entry.
    """

    def __init__(self, energy_optimizer, generator_optimizer):
        self.models = energy_optimizer.target, generator_optimizer.target
        self.energy_optimizer = energy_optimizer
        self.generator_optimizer = generator_optimizer
        self.iteration = 0
        self.elapsed_time = 0.0
        self.n_logged = 0
        self.summary = chainer.DictSummary()

    def finished_models(self):
        """The DEM and the DGM as a run leaves them: averages where it keeps some, else as they are."""
        return self.energy_optimizer.averaged_model(), self.generator_optimizer.averaged_model()

    def serialize(self, serializer):
        """Save or load through a Chainer serializer; raises ``ValueError`` where a run can't be in that state."""
        self.iteration = serializer('iteration', self.iteration)
        for name, optimizer in (('energy', self.energy_optimizer), ('generator', self.generator_optimizer)):
            optimizer.target.serialize(serializer[name + '_model'])
            if self.iteration:  # before the first one an optimizer has no state
                optimizer.serialize(serializer[name + '_optimizer'])
        self.elapsed_time = serializer('elapsed_time', self.elapsed_time)
        self.n_logged = serializer('n_logged', self.n_logged)
        self.summary.serialize(serializer['summary'])
        for mean in self.summary.compute_mean().values():
            float(mean)  # raises where the sums are none, which Chainer would find out at the next log entry
        if self.iteration < 0 or {self.energy_optimizer.t, self.generator_optimizer.t} != {self.iteration}:
            raise ValueError('{} iterations, {} and {} updates'.format(
                self.iteration, self.energy_optimizer.t, self.generator_optimizer.t))


def execute(
        folder, build_models, draw_data, draw_frame, draw_figures, score, n_shown, draw_fresh=None,
        fresh_name='real data', n_colours=64, data_line=None, fingerprint=None):
    """Train, write the run folder, draw and score.

    Args:
        folder (ddgm.run_folder.RunFolder): What :func:`ddgm.run_folder.open_run` made of the user's request.
        build_models: ``build_models(settings, rng)`` returns a DEM and a DGM.
        draw_data: ``draw_data(n, rng)`` returns n data points as a float32 array.
        draw_frame: ``draw_frame(path, x)`` draws samples into a small PNG.
        draw_figures: ``draw_figures(folder, x, energy, metrics)`` draws the finished models' pictures from samples, the
            energy as a function of arrays, and the metrics.
        score: ``score(x, energy)`` returns the metrics of samples, a dict; ``energy`` may be ``None``.
        n_shown (int): Samples in a picture.
        draw_fresh: ``draw_fresh(n, rng)`` returns data to be scored beside the samples; ``None``: there is none.
        fresh_name (str): What its column is called.
        n_colours (int): Colours in the video.
        data_line (str): What is said of data that comes from files.
        fingerprint (str): Of such data.

    Raises:
        UsageError: The request can't be met; nothing was written.
        RunFailed: A loss, a parameter or an optimizer's state was no longer finite.
        Interrupted: By Ctrl-C or SIGTERM, after a snapshot.
    """
    try:
        state = _begin(folder, build_models, draw_data, data_line, fingerprint)
        generative_model = state.models[1]
        fixed_z = generative_model.draw_latent(n_shown, randomness.picture_generator(randomness.SHOWN_Z))

        def draw_present_frame():
            draw_frame(folder.frame(state.iteration), sampling.sample(generative_model, fixed_z))
        _train(folder, state, draw_data, draw_present_frame)
        try:
            _score_and_draw(
                folder, state, fixed_z, draw_present_frame, draw_figures, score, draw_fresh, fresh_name, n_colours)
        except KeyboardInterrupt:
            raise Interrupted(
                'interrupted after training, a snapshot is saved: score and draw with --resume') from None
    finally:
        folder.unlock()


def _begin(folder, build_models, draw_data, data_line, fingerprint):
    """The state from which the run goes on, in a folder that is made ready for it; tells the user about both."""
    folder.check_data(fingerprint)
    device = open_device(folder.device)
    settings = folder.settings
    state = build_state(settings, build_models, draw_data, device)
    lines = []
    if folder.resume:
        folder.lock()
        lines += folder.load_snapshot(state)
        if state.iteration > settings.iterations:
            raise UsageError('{} has run {} iterations: give that or more to --iterations'.format(
                folder.path, state.iteration))
        n_found = sum(entry['iteration'] <= state.iteration for entry in folder.log)
        if n_found < state.n_logged:
            lines.append('{}: only {} of its {} entries are left'.format(
                folder.path / run_folder.LOG, n_found, state.n_logged))
    folder.prepare(environment(device))
    state.n_logged = folder.log.keep(_last_entry_to_keep(state, settings.iterations))

    print('Device: {}'.format(device))
    print('# Minibatch-size: {}'.format(settings.batchsize))
    print('# iterations: {} of {} done, seed {}, preset {}'.format(
        state.iteration, settings.iterations, settings.seed, folder.preset))
    for line in [*lines, data_line] if data_line else lines:
        print(line)
    print('Run folder: {}'.format(folder.path), flush=True)
    return state


def open_device(specifier):
    """Make a Chainer device current and return it; raises ``UsageError`` where this machine lacks it."""
    try:
        device = chainer.get_device(specifier)
        device.use()
        float(device.xp.ones((2, 2)).dot(device.xp.ones(2)).sum())  # CuPy looks for cuBLAS and the compiler only now
    except Exception as error:  # CuPy missing, no driver, no such GPU: each raises a type of its own
        raise UsageError('--device {}: no such GPU here ({}): use --device -1, or see "GPU" in the README'.format(
            specifier, one_line(error))) from error
    return device


def environment(device):
    """What ``settings.json`` says beside the settings: the device and versions."""
    cupy = chainer.backends.cuda.cupy if chainer.backends.cuda.available else None
    return {
        'device': device.name,
        'versions': {
            'python': platform.python_version(), 'chainer': chainer.__version__, 'numpy': numpy.__version__,
            'cupy': cupy and cupy.__version__}}


def build_state(settings, build_models, draw_data, device):
    """Both models and their optimizers before the first iteration, weights and start drawn from the run's seed."""
    rng = randomness.generator(settings.seed, randomness.START)
    energy_model, generative_model = build_models(settings, rng)
    for model, draw_inputs in ((energy_model, draw_data), (generative_model, generative_model.draw_latent)):
        model.to_device(device)
        if any(not parameter.is_initialized for parameter in model.params()):  # weight normalization
            try:
                training.start_from_batch(model, draw_inputs(settings.start_size, rng), rng)
            except ValueError as error:
                raise UsageError('the data can\'t start this preset ({}): give other data or another --preset'.format(
                    error)) from error
    return start_state(settings, energy_model, generative_model)


def start_state(settings, energy_model, generative_model):
    """Two models, whatever their weights, with the optimizers that ``settings`` name, before the first iteration."""
    return TrainingState(*(
        training.make_optimizer(
            model, learning_rate, settings.beta1, settings.beta2, settings.eps, settings.gradient_norm, weight_decay,
            settings.optimizer, settings.decay_from, settings.decay_power, settings.averaged)
        for model, learning_rate, weight_decay in (
            (energy_model, settings.energy_learning_rate, settings.energy_weight_decay),
            (generative_model, settings.generator_learning_rate, 0.0))))


def iterations_of(state, draw_data, settings):
    """The loop of :func:`ddgm.training.train` from a state on, as ``settings`` say; the caller counts in the state."""
    loop_settings = (
        'batchsize', 'seed', 'iterations', 'generator_first', 'energy_penalty', 'langevin_steps', 'langevin_step_size',
        'entropy_weight', 'neighbour_entropy_weight', 'neighbours', 'neighbour_batches', 'volume_entropy_weight')
    return training.train(
        state.energy_optimizer, state.generator_optimizer, draw_data, done=state.iteration,
        **{name: getattr(settings, name) for name in loop_settings if hasattr(settings, name)})


def finish(state, settings):
    """The finished models with what is scored of them.

    Returns:
        tuple: The DEM; the DGM as it samples, with population statistics; z (N, d) and x (N, …) of its samples; E as a
        function of arrays.
    """
    energy_model, generative_model = state.finished_models()
    generative_model = sampling.with_population_statistics(
        generative_model, settings.batchsize, settings.population_batches)
    z = generative_model.draw_latent(N_SCORED, randomness.metric_generator(randomness.SCORED_Z))
    x = sampling.sample(generative_model, z)
    return energy_model, generative_model, z, x, sampling.energy_function(energy_model)


def _last_entry_to_keep(state, iterations):
    """The iteration up to which the log stays: the snapshot's, without the closing entry of a run that is extended."""
    # A closing entry leaves the summary full, for the entry that is due later.
    is_closed = state.iteration < iterations and state.summary.compute_mean()
    return state.iteration - 1 if is_closed else state.iteration


def _train(folder, state, draw_data, draw_present_frame):
    """Call the loop; between its iterations keep the log, snapshots and frames, and watch over the losses."""
    settings = folder.settings
    on_cpu = state.models[0].xp is numpy
    stopwatch = _Stopwatch(state.elapsed_time)
    loop = iterations_of(state, draw_data, settings)

    def save_snapshot():
        try:
            folder.save_snapshot(state)
        except FloatingPointError as error:
            raise _not_finite(error, state.iteration) from error

    def append_log_entry():
        means = {name: float(mean) for name, mean in state.summary.compute_mean().items()}
        _check_finite(means, state.iteration)
        entry = {'iteration': state.iteration, 'elapsed_time': stopwatch.read(), **means}
        folder.log.append(entry)
        state.n_logged += 1
        progress.log(entry)

    # What is not finite is found below and told in one line; NumPy's warnings would only come before it.  Chainer's
    # type checks take a tenth of the time, for shapes that are the same in every iteration.
    with numpy.errstate(all='ignore'), chainer.using_config('type_check', False), \
            _StopSignals() as stop_signals, Progress(settings.iterations) as progress:
        for iteration, observation in loop:
            state.iteration = iteration
            is_last = iteration == settings.iterations
            if on_cpu:  # on a GPU reading a loss would make the loop wait, so there it is looked at with the log
                observation = {name: float(value) for name, value in observation.items()}
                _check_finite(observation, iteration)
            state.summary.add(observation)
            progress.update(iteration)
            if _is_due(iteration, settings.log_interval):
                append_log_entry()
                state.summary = chainer.DictSummary()
            elif is_last:
                append_log_entry()  # the summary stays, for a run that is extended later
            state.elapsed_time = stopwatch.read()
            with stopwatch.paused():
                if _is_due(iteration, settings.figure_interval):
                    draw_present_frame()
                if is_last or stop_signals.received or _is_due(iteration, settings.snapshot_interval):
                    save_snapshot()
            if stop_signals.received:
                raise Interrupted('interrupted at iteration {}, a snapshot is saved: go on with --resume'.format(
                    iteration))


def _score_and_draw(
        folder, state, fixed_z, draw_present_frame, draw_figures, score, draw_fresh, fresh_name, n_colours):
    """Sample, score and draw with the finished models."""
    settings = folder.settings
    print('Scoring {:,} samples ...'.format(N_SCORED), flush=True)
    energy_model, generative_model, z, x, energy = finish(state, settings)
    folder.save(run_folder.ENERGY_MODEL, energy_model)
    folder.save(run_folder.GENERATIVE_MODEL, generative_model)
    folder.write_samples(x, z)
    metrics = score(x, energy)
    write_json(folder.path / run_folder.METRICS, {
        **metrics, 'iterations': state.iteration, 'seed': settings.seed, 'n_samples': N_SCORED})

    columns = [('samples', metrics)]
    if draw_fresh:
        fresh = draw_fresh(N_SCORED, randomness.metric_generator(randomness.FRESH_DATA))
        columns.append((fresh_name, score(fresh, None)))
    print_table(columns)
    if metrics.get('log_z', 0) is None:
        print('log Z is out of reach: exp(-E) is too steep or too wide for quadrature')

    print('Drawing ...', flush=True)
    draw_figures(folder, sampling.sample(generative_model, fixed_z), energy, metrics)
    logged = curves.from_log(folder.log)
    if logged:  # a log that was lost has been told of; an earlier picture of it stays
        figures.draw_curves(folder.figure('curves.png'), logged)
    draw_present_frame()
    figures.write_gif(folder.figure('training.gif'), folder.frames(state.iteration), n_colours)
    print('Pictures: {}'.format(folder.figure('')))


def _is_due(iteration, interval):
    return interval > 0 and iteration % interval == 0


def _check_finite(values, iteration):
    for name, value in values.items():
        if not math.isfinite(value):
            raise _not_finite(name, iteration)


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


class _StopSignals:
    """Notes Ctrl-C and SIGTERM, so that an iteration is finished and saved first however often they come."""

    def __enter__(self):
        self.received = False
        self._previous = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number, frame):
        self.received = True
