"""The loop: one iteration updates the Deep Energy Model and the Deep Generative Model.

It knows nothing of logs, pictures and files; its caller looks at the models between two iterations.
"""

import chainer

from ddgm import objectives
from ddgm.fast import batches, memory, noise, optimizers, static_graph
from ddgm.fast.differentiation import gradients
from ddgm.support import randomness


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


def gamma_entropy(generative_model, z, x, rng):
    """The paper's entropy, which :meth:`ddgm.models.DeepGenerativeModel.entropy` reads from γ."""
    return generative_model.entropy()


def train(
        energy_optimizer, generator_optimizer, draw_data, batchsize, seed, done, iterations, generator_first=False,
        refine=None, energy_term=None, entropies=None):
    """Train both models, yielding after each iteration.

    Under :func:`ddgm.fast.batches.shared` each process has its share of every batch, and what is observed are means
    over that.

    Args:
        energy_optimizer, generator_optimizer: Chainer optimizers, set up with the two models.
        draw_data: Called as ``draw_data(n, rng)``; returns n data points as a float32 NumPy array.
        batchsize (int): Size of x⁺ and of x⁻.
        seed (int): With the iteration, the source of every random number.
        done (int): Iterations that these models have behind them.
        iterations (int): Iterations after which to stop, ``done`` included.
        generator_first (bool): Update the generator before the energy model.
        refine: ``refine(energy_model, x, rng)`` returns the x⁻ that the DEM sees in place of G's samples, an array;
            ``None``: the samples themselves, as in the paper.
        energy_term: ``energy_term(E(x⁺), E(x⁻))`` returns what is added to the DEM's loss, (), from (N,) and (M,);
            ``None``: nothing, as in the paper.
        entropies (dict): By the name that the log gives it, a pair of an entropy of G and its weight in the DGM's loss;
            ``entropy(generative_model, z, x, rng)`` returns H in nats, (), of x = G(z).  ``None``: as in the paper,
            :func:`gamma_entropy` with weight 1.

    Yields:
        ``(iteration, observation)``: iteration counts from 1; the observation is a dict of 0-dimensional arrays in nats
        on the models' device, so nothing is read back inside the loop.
    """
    energy_model, generative_model = energy_optimizer.target, generator_optimizer.target
    device = energy_model.device
    entropies = entropies or {'entropy': (gamma_entropy, 1.0)}

    def draw_latent(rng):
        return device.send(batches.share_of(generative_model.draw_latent(batchsize, rng)))

    def update_energy_model(rng):
        """Lower the energy of data, raise that of samples.  No graph leads from x⁻ back into G."""
        x_positive = device.send(batches.share_of(draw_data(batchsize, rng)))
        with chainer.no_backprop_mode():
            x_negative = generative_model(draw_latent(rng)).array
        if refine:
            x_negative = refine(energy_model, x_negative, rng)
        energies = energy_model.both_phases(x_positive, x_negative)
        positive_phase, negative_phase = map(objectives.mean_energy, energies)
        loss = objectives.energy_model_loss(positive_phase, negative_phase)
        if energy_term:
            loss = loss + energy_term(*energies)
        descend(energy_optimizer, loss)
        return {
            'energy/positive': positive_phase.array, 'energy/negative': negative_phase.array,
            'energy/loss': loss.array}

    def update_generative_model(rng):
        """Move fresh samples towards low energy and high entropy.  The DEM's weights need no gradient here."""
        z = draw_latent(rng)
        x_negative = generative_model(z)
        negative_phase = objectives.mean_energy(energy_model(x_negative))
        observed = {name: entropy(generative_model, z, x_negative, rng) for name, (entropy, _) in entropies.items()}
        weights = [weight for _, weight in entropies.values()]
        loss = objectives.generator_loss(negative_phase, objectives.weighted_sum(observed.values(), weights))
        descend(generator_optimizer, loss)
        return {
            'generator/loss': loss.array, 'generator/energy': negative_phase.array,
            **{'generator/' + name: entropy.array for name, entropy in observed.items()}}

    def descend(optimizer, loss):
        """One step of one model; no other weight gets a gradient."""
        parameters = list(optimizer.target.params())
        for parameter, gradient in zip(parameters, gradients(batches.part_of_mean(loss), parameters)):
            parameter.grad = gradient
        optimizer.update()

    memory.keep_freed()
    updates = [update_energy_model, update_generative_model]
    if generator_first:
        updates.reverse()
    graphs = {}
    for iteration in range(done + 1, iterations + 1):
        rng = randomness.generator(seed, iteration)
        observation = {}
        with noise.source(rng), static_graph.recorded(graphs):
            for update in updates:
                observation.update(update(rng))
        yield iteration, observation
