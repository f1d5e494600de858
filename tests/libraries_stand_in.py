"""Stand-ins for the libraries of benchmarks/results/beside_libraries.py, as far as it calls them, and for PyTorch.

Whatever they are given to learn, their energy is ½‖x‖², and their samples are standard normal.
"""

import contextlib
import types

import numpy


class Tensor(numpy.ndarray):
    def numpy(self):
        return numpy.asarray(self)

    def detach(self):
        return self

    def backward(self):
        pass

    def mean(self):
        return tensor(numpy.asarray(self).mean())

    def __neg__(self):
        return tensor(-numpy.asarray(self))


def tensor(values):
    return numpy.asarray(values).view(Tensor)


def energy_of(x):
    return (x ** 2).sum(-1) / 2


class Anything:
    """Takes all arguments, and keeps them."""

    def __init__(self, *arguments, **named):
        self.arguments, self.named = arguments, named

    def parameters(self):
        return []


class Optimizer(Anything):
    def __init__(self, parameters, lr):
        self.param_groups = [{'lr': lr}]

    def zero_grad(self):
        pass

    step = zero_grad


class Network(Anything):
    def __call__(self, x):
        return energy_of(x)[:, None]


def torch():
    rng = numpy.random.default_rng(0)
    return types.SimpleNamespace(
        set_num_threads=lambda n: None, manual_seed=lambda seed: None, no_grad=contextlib.nullcontext,
        from_numpy=tensor, randn=lambda *shape: tensor(rng.standard_normal(shape)),
        optim=types.SimpleNamespace(Adam=Optimizer),
        nn=types.SimpleNamespace(Sequential=Network, Linear=Anything, SiLU=Anything))


# ---- ebmkit

class Trainer(Anything):
    def __init__(self, energy, loss, lr, device, ema_decay):
        self.energy, self.ema = energy, types.SimpleNamespace(module=energy)

    def fit(self, data, steps, verbose):
        for _ in range(steps):
            assert tuple(next(data).shape) == (256, 2)


class Chains(Anything):
    """A sampler of ebmkit's, and of torchebm's."""

    def sample(self, energy=None, x=None, n_steps=None):
        return x


def ebm():
    losses = ('ContrastiveDivergence', 'EnergyDiscrepancy', 'NoiseContrastiveEstimation', 'SlicedScoreMatching',
              'ExactScoreMatching')
    return types.SimpleNamespace(
        nets=types.SimpleNamespace(MLPEnergy=lambda dim, hidden: energy_of), Trainer=Trainer, ReplayBuffer=Anything,
        LangevinDynamics=Chains, MALA=Chains, **dict.fromkeys(losses, Anything))


# ---- torchebm

class BaseModel(Anything):
    def __call__(self, x):
        return self.forward(x)


class Loss(Anything):
    def __call__(self, x):
        return self.named['model'](x).mean(), x


def torchebm():
    return types.SimpleNamespace(
        core=types.SimpleNamespace(BaseModel=BaseModel), samplers=types.SimpleNamespace(LangevinDynamics=Chains),
        losses=types.SimpleNamespace(ContrastiveDivergence=Loss))


# ---- zuko

class Flow(Anything):
    def __call__(self):
        return self

    def log_prob(self, x):
        return -energy_of(x) - numpy.log(2 * numpy.pi)

    def sample(self, shape):
        import torch
        return torch.randn(*shape, self.named['features'])


def zuko():
    return types.SimpleNamespace(flows=types.SimpleNamespace(NSF=Flow))


def stand_in(name):
    """The module of that name, as ``import`` finds it in ``sys.modules``."""
    module = {'torch': torch, 'ebm': ebm, 'torchebm': torchebm, 'zuko': zuko}[name]()
    module.__spec__ = name  # importlib.util.find_spec asks for one
    return module
