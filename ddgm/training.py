"""The loop: one iteration updates the Deep Energy Model and the Deep Generative Model.

It knows nothing of logs, pictures and files; its caller looks at the models between two iterations.
"""

import chainer

from ddgm import functions, langevin, memory, noise, objectives, optimizers, randomness
from ddgm.differentiation import gradients


def make_optimizer(
        model, learning_rate=2e-4, beta1=0.5, beta2=0.999, eps=1e-8, gradient_norm=10.0, weight_decay=0.0, name='adam',
        decay_from=0, decay_power=1.0, averaged=False):
    """An optimizer of all parameters of one model, set up.

    Args:
        model (chainer.Link): The model.
        learning_rate (float): Adam's α or AdaGrad's learning rate.
        beta1 (float), beta2 (float), eps (float): Adam's.
        gradient_norm (float): To which the gradient of the whole model is clipped; 0: not clipped.
        weight_decay (float): Rate of the L2 penalty on all parameters.
        name (str): ``'adam'``, or ``'adagrad'`` as in the paper author's code.
        decay_from (int), decay_power (float): From that update on the rate falls as (decay_from/t)^decay_power.
        averaged (bool): Keep an average of the parameters over the last part of the run.
    """
    options = {
        'gradient_norm': gradient_norm, 'weight_decay': weight_decay, 'decay_from': decay_from,
        'decay_power': decay_power, 'averaged': averaged}
    if name == 'adam':
        optimizer = optimizers.Adam(**options, alpha=learning_rate, beta1=beta1, beta2=beta2, eps=eps)
    else:
        optimizer = optimizers.AdaGrad(**options, lr=learning_rate, eps=eps)
    return optimizer.setup(model)


def start_from_batch(model, inputs, rng):
    """Let a batch of inputs, a NumPy array, set what weight normalization takes from its first batch.

    ``rng`` is the source of the model's noise.
    """
    with chainer.no_backprop_mode(), noise.source(rng):
        model(model.device.send(inputs))


def train(
        energy_optimizer, generator_optimizer, draw_data, batchsize, seed, done, iterations, generator_first=False,
        energy_penalty=0.0, langevin_steps=0, langevin_step_size=1e-3, entropy_weight=1.0,
        neighbour_entropy_weight=0.0, neighbours=10, neighbour_batches=5, volume_entropy_weight=0.0):
    """Train both models, yielding after each iteration.

    The arguments from ``energy_penalty`` on lead beyond the paper; their defaults are the paper.

    Args:
        energy_optimizer, generator_optimizer: Chainer optimizers, set up with the two models.
        draw_data: Called as ``draw_data(n, rng)``; returns n data points as a float32 NumPy array.
        batchsize (int): Size of x⁺ and of x⁻.
        seed (int): With the iteration, the source of every random number.
        done (int): Iterations that these models have behind them.
        iterations (int): Iterations after which to stop, ``done`` included.
        generator_first (bool): Update the generator before the energy model.
        energy_penalty (float): Weight of :func:`ddgm.objectives.energy_penalty` in the DEM's loss.
        langevin_steps (int), langevin_step_size (float): Of :func:`ddgm.langevin.refine`, through which x⁻ goes before
            the DEM sees it.
        entropy_weight (float): Of the paper's entropy, which is read from γ.
        neighbour_entropy_weight (float): Of :func:`ddgm.functions.neighbour_entropy`, for points in the plane, of
            ``neighbours`` among ``neighbour_batches`` fresh batches of samples.
        volume_entropy_weight (float): Of :meth:`ddgm.models.DeepGenerativeModel.volume_entropy`.

    Yields:
        ``(iteration, observation)``: iteration counts from 1; the observation is a dict of 0-dimensional arrays in nats
        on the models' device, so nothing is read back inside the loop.
    """
    energy_model, generative_model = energy_optimizer.target, generator_optimizer.target
    device = energy_model.device

    def update_energy_model(rng):
        """Lower the energy of data, raise that of samples.  No graph leads from x⁻ back into G."""
        x_positive = device.send(draw_data(batchsize, rng))
        with chainer.no_backprop_mode():
            samples = generative_model(device.send(generative_model.draw_latent(batchsize, rng)))
        x_negative = langevin.refine(energy_model, samples.array, langevin_steps, langevin_step_size, rng)
        energies = energy_model.both_phases(x_positive, x_negative)
        positive_phase, negative_phase = map(objectives.mean_energy, energies)
        loss = objectives.energy_model_loss(positive_phase, negative_phase)
        if energy_penalty:
            loss = functions.total(loss, objectives.energy_penalty(*energies, energy_penalty))
        descend(energy_optimizer, loss)
        return {
            'energy/positive': positive_phase.array, 'energy/negative': negative_phase.array,
            'energy/loss': loss.array}

    def update_generative_model(rng):
        """Move fresh samples towards low energy and high entropy.  The DEM's weights need no gradient here."""
        z = device.send(generative_model.draw_latent(batchsize, rng))
        x_negative = generative_model(z)
        negative_phase = objectives.mean_energy(energy_model(x_negative))
        entropies = {'entropy': (generative_model.entropy(), entropy_weight)}
        if neighbour_entropy_weight:
            with chainer.no_backprop_mode():
                others = [
                    generative_model(device.send(generative_model.draw_latent(batchsize, rng))).array
                    for _ in range(neighbour_batches)]
            entropies['neighbour_entropy'] = (
                functions.neighbour_entropy(x_negative, device.xp.concatenate(others), neighbours),
                neighbour_entropy_weight)
        if volume_entropy_weight:
            entropies['volume_entropy'] = generative_model.volume_entropy(z), volume_entropy_weight
        loss = objectives.generator_loss(negative_phase, objectives.weighted_sum(*entropies.values()))
        descend(generator_optimizer, loss)
        return {
            'generator/loss': loss.array, 'generator/energy': negative_phase.array,
            **{'generator/' + name: entropy.array for name, (entropy, _) in entropies.items()}}

    def descend(optimizer, loss):
        """One step of one model; no other weight gets a gradient."""
        parameters = list(optimizer.target.params())
        for parameter, gradient in zip(parameters, gradients(loss, parameters)):
            parameter.grad = gradient
        optimizer.update()

    memory.keep_freed()
    updates = [update_energy_model, update_generative_model]
    if generator_first:
        updates.reverse()
    for iteration in range(done + 1, iterations + 1):
        rng = randomness.generator(seed, iteration)
        observation = {}
        with noise.source(rng):
            for update in updates:
                observation.update(update(rng))
        yield iteration, observation
