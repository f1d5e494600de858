"""The loop: one iteration updates the Deep Energy Model, then the Deep Generative Model.

It knows nothing of logs, pictures and files; its caller looks at the models between two iterations.
"""

import chainer
from chainer import optimizer_hooks, optimizers

from ddgm import objectives, randomness


def make_optimizer(model, alpha=2e-4, beta1=0.5, beta2=0.999, eps=1e-8, gradient_norm=10.0):
    """Adam on all parameters of one model, their gradient clipped to the norm ``gradient_norm`` as a whole."""
    optimizer = optimizers.Adam(alpha=alpha, beta1=beta1, beta2=beta2, eps=eps)
    optimizer.setup(model)
    optimizer.add_hook(optimizer_hooks.GradientClipping(gradient_norm))
    return optimizer


def start_from_data(energy_model, x):
    """Let a batch of data, a NumPy array, set what weight normalization takes from its first batch."""
    with chainer.no_backprop_mode():
        energy_model(energy_model.device.send(x))


def train(energy_optimizer, generator_optimizer, draw_data, batchsize, seed, done, iterations):
    """Train both models, yielding after each iteration.

    Args:
        energy_optimizer, generator_optimizer: Chainer optimizers, set up with the two models.
        draw_data: Called as ``draw_data(n, rng)``; returns n data points as a float32 NumPy array.
        batchsize (int): Size of x⁺ and of x⁻.
        seed (int): With the iteration, the source of every random number.
        done (int): Iterations that these models have behind them.
        iterations (int): Iterations after which to stop, ``done`` included.

    Yields:
        ``(iteration, observation)``: iteration counts from 1; the observation is a dict of 0-dimensional arrays in nats
        on the models' device, so nothing is read back inside the loop.
    """
    energy_model, generative_model = energy_optimizer.target, generator_optimizer.target
    device = energy_model.device

    for iteration in range(done + 1, iterations + 1):
        rng = randomness.generator(seed, iteration)

        # The Deep Energy Model: lower the energy of data, raise that of samples.  No graph leads from x⁻ back into G.
        x_positive = device.send(draw_data(batchsize, rng))
        with chainer.no_backprop_mode():
            x_negative = generative_model(device.send(generative_model.draw_latent(batchsize, rng)))
        positive_phase = objectives.mean_energy(energy_model(x_positive))
        negative_phase = objectives.mean_energy(energy_model(x_negative))
        energy_loss = objectives.energy_model_loss(positive_phase, negative_phase)
        energy_model.cleargrads()
        energy_loss.backward()
        energy_optimizer.update()

        # The Deep Generative Model: fresh samples, towards low energy and high entropy.
        x_negative = generative_model(device.send(generative_model.draw_latent(batchsize, rng)))
        generator_phase = objectives.mean_energy(energy_model(x_negative))
        entropy = generative_model.entropy()
        generator_loss = objectives.generator_loss(generator_phase, entropy)
        generative_model.cleargrads()
        generator_loss.backward()
        generator_optimizer.update()

        yield iteration, {
            'energy/positive': positive_phase.array,
            'energy/negative': negative_phase.array,
            'energy/loss': energy_loss.array,
            'generator/loss': generator_loss.array,
            'generator/energy': generator_phase.array,
            'generator/entropy': entropy.array,
        }
