"""The tuned training step with its losses under ``torch.compile``, and so their gradients too."""

import os
import shutil

import torch

from benchmarks.speed.sides import NotMeasured
from benchmarks.speed.sides.tuned_pytorch import TunedPyTorch

COMPILERS = 'g++', 'clang++'


class CompiledPyTorch(TunedPyTorch):
    """See :mod:`benchmarks.speed.sides`; ``channels_last`` is what is faster without ``torch.compile``."""

    def __init__(self, case, folder, channels_last=None):
        compilers = [os.environ['CXX']] if 'CXX' in os.environ else COMPILERS
        if case.device < 0 and not any(map(shutil.which, compilers)):
            raise NotMeasured('torch.compile needs a C++ compiler: there is no {}'.format(' or '.join(compilers)))
        super().__init__(case, folder, channels_last)
        self.energy_losses = torch.compile(self.energy_losses)
        self.generator_losses = torch.compile(self.generator_losses)

    def step(self, draws=None):
        try:
            return super().step(draws)
        except torch._dynamo.exc.TorchDynamoException as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise NotMeasured('torch.compile: {}'.format(' '.join(lines[:2]))) from error
