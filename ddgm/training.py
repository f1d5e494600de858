"""The loop: one iteration updates the Deep Energy Model and the Deep Generative Model.

It knows nothing of logs, pictures and files; its caller looks at the models between two iterations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import chainer
import numpy

from ddgm import objectives
from ddgm.fast import optimizers
from ddgm.fast.kernels import as_numbers

# The iteration whose generator draws what exists before the first one: the weights and the starting batch.
START = 0


def random_generator(seed: int, iteration: int) -> numpy.random.Generator:
    """The one source of random numbers of an iteration of the run with this seed; both are integers from 0 on.

    None of its state outlives the iteration, so a resumed run repeats the uninterrupted one without saving any.
    """
    return numpy.random.default_rng((seed, iteration))


def make_optimizer(
        model: chainer.Link, learning_rate: float = 2e-4, beta1: float = 0.5, beta2: float = 0.999, eps: float = 1e-8,
        gradient_norm: float = 10.0, weight_decay: float = 0.0, name: str = 'adam', decay_from: int = 0,
        decay_power: float = 1.0, averaged: bool = False) -> chainer.Optimizer:
    """An optimizer of all parameters of one model, set up.

    Args:
        model: The model.
        learning_rate: Adam's α or AdaGrad's learning rate.
        beta1, beta2, eps: Adam's.
        gradient_norm: To which the gradient of the whole model is clipped; 0: not clipped.
        weight_decay: Rate of the L2 penalty on all parameters.
        name: ``'adam'``, or ``'adagrad'`` as in the paper author's code.
        decay_from, decay_power: From that update on the rate falls as (decay_from/t)^decay_power.
        averaged: Keep an average of the parameters over the last part of the run.

    Raises ``ValueError`` for another name.

    >>> import ddgm
    >>> energy_model = ddgm.DeepEnergyModel(None, None, n_visible=2)
    >>> optimizer = ddgm.make_optimizer(energy_model, learning_rate=1e-3)
    >>> optimizer.target is energy_model
    True
    """
    options = {
        'gradient_norm': gradient_norm, 'weight_decay': weight_decay, 'decay_from': decay_from,
        'decay_power': decay_power, 'averaged': averaged}
    if name == 'adam':
        optimizer = optimizers.Adam(**options, alpha=learning_rate, beta1=beta1, beta2=beta2, eps=eps)
    elif name == 'adagrad':
        optimizer = optimizers.AdaGrad(**options, lr=learning_rate, eps=eps)
    else:
        raise ValueError("name is {!r}: give 'adam' or 'adagrad'".format(name))
    return optimizer.setup(model)


def start_from_batch(model: chainer.Link, inputs: numpy.ndarray, rng: numpy.random.Generator) -> None:
    """Let a batch of inputs, (N, …), set what weight normalization takes from its first batch.

    ``rng`` is the source of the model's noise.
    """
    with chainer.no_backprop_mode(), chainer.using_config('noise_generator', rng):
        model(as_numbers(model.device.send(inputs)))


def start_models(energy_model, generative_model, draw_data: Callable, n: int, rng: numpy.random.Generator) -> None:
    """Start those models that take something from their first batch: the DEM from n data points, the DGM from n z."""
    for model, draw_inputs in ((energy_model, draw_data), (generative_model, generative_model.draw_latent)):
        if any(not parameter.is_initialized for parameter in model.params()):
            start_from_batch(model, draw_inputs(n, rng), rng)


def gamma_entropy(generative_model, z, x, rng) -> chainer.Variable:
    """The paper's entropy, which :meth:`ddgm.models.DeepGenerativeModel.entropy` reads from γ."""
    return generative_model.entropy()


gamma_entropy.replayable = True  # see ddgm.fast.replay


class AsWritten:
    """How an iteration is computed: as the networks are written, each batch by itself, in this process alone.

    What is faster, or spread over several processes, has the same methods: :class:`ddgm.fast.strategy.Fast`.
    """

    def iteration(self, work: Callable, rng: numpy.random.Generator, *optimizers: chainer.Optimizer) -> dict:
        """``work(rng)``, the updates of one iteration, in which networks draw their noise from ``rng``."""
        with chainer.using_config('noise_generator', rng):
            return work(rng)

    def draw(
            self, device: chainer.backend.Device, rng: numpy.random.Generator, *draws: Callable) -> list[numpy.ndarray]:
        """Of batches ``draw(rng)``, (N, …), of NumPy's, what this process computes with, on the device."""
        return [device.send(draw(rng)) for draw in draws]

    def update(self, function: Callable, *arguments, **options) -> dict:
        """What an update returns that is called so, and with this strategy."""
        return function(*arguments, strategy=self, **options)

    def energies(self, energy_model, x_positive, x_negative) -> tuple[chainer.Variable, chainer.Variable]:
        """E(x⁺) and E(x⁻), (N,) and (M,), of arrays; in two passes, so that neither batch changes the other's."""
        return energy_model(x_positive), energy_model(x_negative)

    def descend(self, optimizer: chainer.Optimizer, loss: chainer.Variable) -> None:
        """One step of the optimizer's model down the gradient of ``loss``, (); no other weight gets a gradient."""
        parameters = list(optimizer.target.params())
        for parameter, gradient in zip(parameters, chainer.grad([loss], parameters)):
            parameter.grad_var = gradient
        optimizer.update()


def update_energy_model(
        optimizer: chainer.Optimizer, x_positive: numpy.ndarray, x_negative: numpy.ndarray, strategy: AsWritten,
        energy_term: Callable | None = None) -> dict:
    """Lower the energy of data x⁺ (N, …), raise that of samples x⁻ (M, …).

    Both are arrays, so no graph leads from x⁻ back into G.  Returns what :func:`train` yields of it.
    """
    energies = strategy.energies(optimizer.target, x_positive, x_negative)
    positive_phase, negative_phase = map(objectives.mean_energy, energies)
    loss = objectives.energy_model_loss(positive_phase, negative_phase)
    if energy_term:
        loss = loss + energy_term(*energies)
    strategy.descend(optimizer, loss)
    return {
        'energy/positive': positive_phase.array, 'energy/negative': negative_phase.array, 'energy/loss': loss.array}


def update_generative_model(
        optimizer: chainer.Optimizer, energy_model: chainer.Link, z: numpy.ndarray, rng: numpy.random.Generator,
        strategy: AsWritten, entropies: dict) -> dict:
    """Move fresh samples G(z), of z (N, d), towards low energy and high entropy.

    The DEM's weights need no gradient here.  Returns what :func:`train` yields of it.
    """
    generative_model = optimizer.target
    x_negative = generative_model(z)
    negative_phase = objectives.mean_energy(energy_model(x_negative))
    observed = {name: entropy(generative_model, z, x_negative, rng) for name, (entropy, _) in entropies.items()}
    weights = [weight for _, weight in entropies.values()]
    loss = objectives.generator_loss(negative_phase, objectives.weighted_sum(observed.values(), weights))
    strategy.descend(optimizer, loss)
    return {
        'generator/loss': loss.array, 'generator/energy': negative_phase.array,
        **{'generator/' + name: entropy.array for name, entropy in observed.items()}}


def train(
        energy_optimizer: chainer.Optimizer, generator_optimizer: chainer.Optimizer, *, draw_data: Callable,
        batchsize: int, seed: int, iterations: int, start: int = 0, generator_first: bool = False,
        refine: Callable | None = None, energy_term: Callable | None = None, entropies: dict | None = None,
        strategy: AsWritten | None = None) -> Iterator[tuple[int, dict]]:
    """Train both models, yielding after each iteration.

    A model whose weight normalization has not seen a batch yet is started from one: the DEM from data, the DGM from z.

    Args:
        energy_optimizer, generator_optimizer: Chainer optimizers, set up with the two models.
        draw_data: Called as ``draw_data(n, rng)``; returns n data points as a float32 NumPy array, (n, …), or pictures'
            levels of 0…255, uint8, which the models are given as float32 in 0…1.
        batchsize: Size of x⁺ and of x⁻.
        seed: With the iteration, the source of every random number.  Weights are there before: Chainer's initializers
            draw them from NumPy's global generator, unless they are given an ``rng``.
        iterations: Iterations after which to stop, ``start`` included.
        start: Iterations that these models have behind them.
        generator_first: Update the generator before the energy model.
        refine: ``refine(energy_model, x, rng)`` returns the x⁻ that the DEM sees in place of G's samples, an array;
            ``None``: the samples themselves, as in the paper.
        energy_term: ``energy_term(E(x⁺), E(x⁻))`` returns what is added to the DEM's loss, (), from (N,) and (M,);
            ``None``: nothing, as in the paper.
        entropies: By the name that the log gives it, a pair of an entropy of G and its weight in the DGM's loss;
            ``entropy(generative_model, z, x, rng)`` returns H in nats, (), of x = G(z).  ``None``: as in the paper,
            :func:`gamma_entropy` with weight 1.
        strategy: How an iteration is computed; ``None``: :class:`AsWritten`.  What is observed are means over
            what this process computes with.

    Yields:
        ``(iteration, observation)``: iteration counts from 1; the observation is a dict of 0-dimensional arrays in nats
        on the models' device, so nothing is read back inside the loop.

    >>> import ddgm, numpy
    >>> from ddgm.networks import toy
    >>> from ddgm.presets import PRESETS
    >>> settings = PRESETS['gaussian_mixture']['default'].settings
    >>> models = toy.build_models(settings, numpy.random.default_rng(0))
    >>> def draw_data(n, rng):
    ...     return rng.normal(size=(n, 2)).astype(numpy.float32)
    >>> for iteration, losses in ddgm.train(
    ...         *map(ddgm.make_optimizer, models), draw_data=draw_data, batchsize=100, seed=0, iterations=20):
    ...     pass
    >>> list(losses)
    ['energy/positive', 'energy/negative', 'energy/loss', 'generator/loss', 'generator/energy', 'generator/entropy']
    """
    energy_model, generative_model = energy_optimizer.target, generator_optimizer.target
    device = energy_model.device
    strategy = strategy or AsWritten()
    entropies = {'entropy': (gamma_entropy, 1.0)} if entropies is None else entropies
    start_models(energy_model, generative_model, draw_data, batchsize, random_generator(seed, START))

    def draw_positive(rng):
        return draw_data(batchsize, rng)

    def draw_latent(rng):
        return generative_model.draw_latent(batchsize, rng)

    def draw_phases(rng):
        x_positive, z = strategy.draw(device, rng, draw_positive, draw_latent)
        x_positive = as_numbers(x_positive)
        with chainer.no_backprop_mode():
            x_negative = generative_model(z).array
        return x_positive, refine(energy_model, x_negative, rng) if refine else x_negative

    updates = [
        lambda rng: strategy.update(
            update_energy_model, energy_optimizer, *draw_phases(rng), energy_term=energy_term),
        lambda rng: strategy.update(
            update_generative_model, generator_optimizer, energy_model, *strategy.draw(device, rng, draw_latent),
            rng, entropies=entropies)]
    if generator_first:
        updates.reverse()

    def work(rng):
        observation = {}
        for update in updates:
            observation.update(update(rng))
        return observation

    for iteration in range(start + 1, iterations + 1):
        # Where the caller has turned the graph or the training mode off, nothing would be learned.
        with chainer.force_backprop_mode(), chainer.using_config('train', True):
            observation = strategy.iteration(
                work, random_generator(seed, iteration), energy_optimizer, generator_optimizer)
        yield iteration, observation
