"""A training step in PyTorch by someone who wants it fast, with eager execution.

What makes it faster than :mod:`plain_pytorch`: both phases as one batch where samples don't depend on each other, no
graph behind x⁻, no gradients of the energy model's weights in the generator's step, Adam in one fused call, gradients
scaled only where they are clipped, a faster dropout, the losses read back at once, fewer calls everywhere.
What is faster on one machine and slower on another, or for one size and not for another, is tried out before the start:
whether images lie in memory with their channels last.

Not used, since they change the numbers or the process: bfloat16 (``torch.set_float32_matmul_precision``), and
``torch.set_flush_denormal(True)``.  Nor is what is not public: oneDNN's matrix products, which are twice as fast as
MKL's on AMD's processors with AVX-512, but are reached from a linear layer by a private operator only.
"""

import math
import statistics
import time

import torch
from torch import nn
from torch.nn import functional

from benchmarks.speed.sides import problem
from benchmarks.speed.sides.plain_pytorch import PlainPyTorch


class OwnNoise:
    """Drawn by PyTorch."""

    def gaussian(self, x, standard_deviation):
        return torch.add(x, torch.randn_like(x), alpha=standard_deviation)

    def dropout(self, x, ratio):
        if x.is_cuda:
            return functional.dropout(x, ratio)
        # On a CPU its Bernoulli numbers take four times as long as uniform ones.
        return x * torch.rand_like(x).ge_(ratio).mul_(1 / (1 - ratio))


class Linear(nn.Module):
    """A linear layer, with or without weight normalization: the parameters of another, fewer calls."""

    def __init__(self, layer):
        super().__init__()
        self.normalized = nn.utils.parametrize.is_parametrized(layer)
        if self.normalized:
            self.g, self.V = layer.parametrizations.weight.original0, layer.parametrizations.weight.original1
        else:
            self.weight = layer.weight
        self.bias = layer.bias

    def forward(self, x):
        weight = torch._weight_norm(self.V, self.g, 0) if self.normalized else self.weight
        return functional.linear(x, weight, self.bias)


def replace_linear_layers(module):
    """Put :class:`Linear` in the place of all linear layers below a module."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear):
            setattr(module, name, Linear(child))
        else:
            replace_linear_layers(child)


class TunedPyTorch(PlainPyTorch):
    """See :mod:`benchmarks.speed.sides`.

    Args:
        channels_last (bool): Whether images lie so in memory; ``None``: where that is faster.
    """

    adam_options = {'fused': True}

    def __init__(self, case, folder, channels_last=None):
        if channels_last is None:
            channels_last = case.task == 'images' and self.try_channels_last(case, folder)
        self.channels_last = channels_last
        super().__init__(case, folder)

    def try_channels_last(self, case, folder):
        """Whether it is faster; ``notes`` tells the measured times."""
        without_it, with_it = times_of_a_step([TunedPyTorch(case, folder, value) for value in (False, True)])
        self.notes = '{} channels_last ({:.4g} ms, without {:.4g} ms)'.format(
            'with' if with_it < without_it else 'not', 1e3 * with_it, 1e3 * without_it)
        return with_it < without_it

    def prepare(self):
        for module in self.generative_model.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.num_batches_tracked = None  # counts for nothing where there is a momentum
        for model in (self.energy_model, self.generative_model):
            replace_linear_layers(model)
            if self.channels_last:
                model.to(memory_format=torch.channels_last)
        self.gammas = [
            module.weight for module in self.generative_model.modules()
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))]
        self.energy_parameters = list(self.energy_model.parameters())
        self.generator_parameters = list(self.generative_model.parameters())
        if self.channels_last:
            self.pool = [x.contiguous(memory_format=torch.channels_last) for x in self.pool]

    def draw_latent(self):
        return torch.rand(self.settings.batchsize, self.settings.n_latent, device=self.device).mul_(2).sub_(1)

    def energy(self, x, noise):
        model = self.energy_model
        noise = OwnNoise() if noise is None else problem.GivenNoise(noise)
        a = model.experts(model.feature_extractor(x, noise).flatten(1))
        expert_term = a.sum(1) if model.linear_experts else -functional.softplus(a).sum(1)
        x = x.flatten(1)
        return (x * (x / model.sigma ** 2 - model.b)).sum(1) + expert_term

    def energy_losses(self, x_positive, z, positive_noise, negative_noise):
        """The losses of the energy model, of which the last one is descended."""
        with torch.no_grad():
            x_negative = self.generative_model(self.draw_latent() if z is None else z)
        if self.case.couples_samples:
            positive_phase = self.energy(x_positive, positive_noise).mean()
            negative_phase = self.energy(x_negative, negative_noise).mean()
        else:
            noise = None
            if positive_noise is not None:
                noise = [torch.cat(pair) for pair in zip(positive_noise, negative_noise)]
            both = self.energy(torch.cat((x_positive, x_negative)), noise)
            positive_phase, negative_phase = both.view(2, -1).mean(1).unbind()
        return positive_phase, negative_phase, positive_phase - negative_phase

    def generator_losses(self, z, noise):
        """The same of the generator."""
        x_negative = self.generative_model(self.draw_latent() if z is None else z)
        negative_phase = self.energy(x_negative, noise).mean()
        gamma = torch.cat(self.gammas)
        entropy = torch.log(2 * math.pi * math.e * gamma * gamma + 1e-8).sum() * 0.5
        return negative_phase, entropy, negative_phase - entropy

    def update_energy_model(self, x_positive, z=None, positive_noise=None, negative_noise=None):
        losses = self.energy_losses(x_positive, z, positive_noise, negative_noise)
        self.descend(self.energy_parameters, self.energy_optimizer, losses[-1])
        return losses

    def update_generative_model(self, z=None, noise=None):
        for parameter in self.energy_parameters:
            parameter.requires_grad_(False)
        losses = self.generator_losses(z, noise)
        self.descend(self.generator_parameters, self.generator_optimizer, losses[-1])
        for parameter in self.energy_parameters:
            parameter.requires_grad_(True)
        return losses

    def descend(self, parameters, optimizer, loss):
        for parameter in parameters:
            parameter.grad = None
        loss.backward()
        if self.settings.gradient_norm:
            # What clip_grad_norm_ does, in fewer calls.
            gradients = [parameter.grad for parameter in parameters]
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
            if self.case.device >= 0:  # a GPU would have to be waited for to know whether it is needed
                torch._foreach_mul_(gradients, (self.settings.gradient_norm / (norm + 1e-6)).clamp_(max=1))
            elif norm > self.settings.gradient_norm:
                torch._foreach_mul_(gradients, self.settings.gradient_norm / (norm + 1e-6))
        optimizer.step()

    def read(self, losses):
        with torch.no_grad():
            return torch.stack(losses).tolist()


def times_of_a_step(sides):
    """The median seconds of each side, which take turns for about a second, or for three steps."""
    times = [[] for _ in sides]
    for side in sides:
        side.step()
    while len(times[0]) < 3 or sum(map(sum, times)) < 1:
        for side, seconds in zip(sides, times):
            start = time.perf_counter()
            side.step()
            seconds.append(time.perf_counter() - start)
    return [statistics.median(seconds) for seconds in times]
