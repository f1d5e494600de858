"""A training step in PyTorch as it is usually written: modules, ``backward``, ``clip_grad_norm_``, Adam's defaults.

The networks are those of ``tests/torch_twin.py``, to which this project is held by ``tests/test_parity.py``.
"""

import contextlib
import itertools
import math
import os

import numpy
import torch
from torch import nn
from torch.nn import functional

from benchmarks.speed.sides import NotMeasured, problem
from benchmarks.speed.sides.case import POOL, WEIGHTS
from tests import torch_twin


class OwnNoise:
    """Drawn by PyTorch."""

    def gaussian(self, x, standard_deviation):
        return x + standard_deviation * torch.randn_like(x)

    def dropout(self, x, ratio):
        return functional.dropout(x, ratio)


class PlainPyTorch:
    """See :mod:`benchmarks.speed.sides`."""

    notes = ''
    adam_options = {}

    def __init__(self, case, folder):
        torch.set_num_threads(case.threads)
        if case.device >= 0:
            if not torch.cuda.is_available():
                raise NotMeasured('PyTorch sees no GPU')
            # Of its convolutions on a GPU PyTorch rounds the factors to ten bits unless told otherwise; CuPy does not.
            tf32 = os.environ.get('CUPY_TF32', '0') not in ('', '0')
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
        self.case, self.settings = case, case.settings
        self.device = torch.device('cpu' if case.device < 0 else 'cuda:{}'.format(case.device))
        self.pool = torch.from_numpy(numpy.load(folder / POOL)).to(self.device).unbind()
        models = torch_twin.build_models(case.task, self.settings)
        for model, name in zip(models, WEIGHTS):
            with numpy.load(folder / name) as arrays:
                model.load_state_dict({name: torch.from_numpy(arrays[name]) for name in arrays}, strict=True)
            model.to(self.device)
        self.energy_model, self.generative_model = models
        self.prepare()
        self.batches = itertools.cycle(self.pool)
        self.energy_optimizer, self.generator_optimizer = (
            torch.optim.Adam(
                model.parameters(), lr=learning_rate, betas=(self.settings.beta1, self.settings.beta2),
                **self.adam_options)
            for model, learning_rate in zip(
                models, (self.settings.energy_learning_rate, self.settings.generator_learning_rate)))
        self.iteration = 0

    def prepare(self):
        """What is done with models and data before the first step."""

    def context(self):
        return contextlib.nullcontext()

    def noise_calls(self):
        recorder = problem.NoiseRecorder()
        with torch.no_grad():
            # Running statistics of a BatchNormalization change, on which nothing in training depends.
            self.energy_model(self.pool[0], recorder)
        return recorder.calls

    def device_memory(self):
        return None if self.case.device < 0 else torch.cuda.max_memory_reserved(self.device)

    def step(self, draws=None):
        self.iteration += 1
        self.correct_eps()
        x_positive = next(self.batches)
        if draws is None:
            energy_losses = self.update_energy_model(x_positive)
            generator_losses = self.update_generative_model()
        else:
            draws = self.sent(draws)
            energy_losses = self.update_energy_model(
                x_positive, draws.energy_z, draws.positive_noise, draws.negative_noise)
            generator_losses = self.update_generative_model(draws.generator_z, draws.generator_noise)
        return self.read([*energy_losses, *generator_losses])

    def read(self, losses):
        return [loss.item() for loss in losses]

    def sent(self, draws):
        """As tensors on the device."""
        def send(value):
            if isinstance(value, list):
                return [send(array) for array in value]
            return torch.from_numpy(numpy.ascontiguousarray(value)).to(self.device)
        return problem.Draws(*map(send, draws))

    def correct_eps(self):
        """Let eps stand where Chainer has it, before the corrections for a start at 0, as the tests' twin does."""
        for optimizer in (self.energy_optimizer, self.generator_optimizer):
            optimizer.param_groups[0]['eps'] = (
                self.settings.eps / math.sqrt(1 - self.settings.beta2 ** self.iteration))

    def draw_latent(self):
        return 2 * torch.rand(self.settings.batchsize, self.settings.n_latent, device=self.device) - 1

    def energy(self, x, noise):
        """E(x) with noise of PyTorch's, where ``noise`` is ``None``, or with that which is given."""
        return self.energy_model(x, OwnNoise() if noise is None else problem.GivenNoise(noise))

    def update_energy_model(self, x_positive, z=None, positive_noise=None, negative_noise=None):
        """The losses of the energy model, three numbers."""
        x_negative = self.generative_model(self.draw_latent() if z is None else z).detach()
        positive_phase = self.energy(x_positive, positive_noise).mean()
        negative_phase = self.energy(x_negative, negative_noise).mean()
        loss = positive_phase - negative_phase
        self.descend(self.energy_model.parameters(), self.energy_optimizer, loss)
        return positive_phase, negative_phase, loss

    def update_generative_model(self, z=None, noise=None):
        """The losses of the generator, three numbers."""
        x_negative = self.generative_model(self.draw_latent() if z is None else z)
        negative_phase = self.energy(x_negative, noise).mean()
        entropy = torch_twin.entropy(self.generative_model)
        loss = negative_phase - entropy
        self.descend(self.generative_model.parameters(), self.generator_optimizer, loss)
        return negative_phase, entropy, loss

    def descend(self, parameters, optimizer, loss):
        """One step of one model."""
        optimizer.zero_grad()
        loss.backward()
        if self.settings.gradient_norm:
            nn.utils.clip_grad_norm_(parameters, self.settings.gradient_norm)
        optimizer.step()
