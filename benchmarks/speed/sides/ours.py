"""This project, called as a run calls it; it also writes what the other sides start from."""

import contextlib
import itertools

import chainer
import numpy

from benchmarks.speed.sides import NotMeasured, problem
from benchmarks.speed.sides.case import CHAINER_WEIGHTS, LOSSES, POOL, WEIGHTS
from ddgm import training
from ddgm.fast import kernels
from ddgm.fast.strategy import Fast
from ddgm.networks import images, mnist, toy
from ddgm.runs import devices, training_state
from ddgm.support.errors import UsageError
from ddgm.weights import pytorch_names

NETWORKS = {'gaussian_mixture': toy, 'mnist': mnist, 'images': images}


class Ours:
    """This project's training loop; see :mod:`benchmarks.speed.sides`."""

    notes = ''

    def __init__(self, case, folder):
        try:
            device = devices.open_device('@numpy' if case.device < 0 else '@cupy:{}'.format(case.device))
        except UsageError as error:
            raise NotMeasured(str(error)) from error
        settings = case.settings

        def draw_start(n, rng):
            return problem.draw_data(case.task, settings, n, rng)
        state = training_state.build_state(settings, NETWORKS[case.task].build_models, draw_start, device)
        pool = problem.draw_pool(case, numpy.random.default_rng(0))
        numpy.save(folder / POOL, pool)
        for model, weights, chainer_weights in zip(state.models, WEIGHTS, CHAINER_WEIGHTS):
            numpy.savez(folder / weights, **pytorch_names.export(model))
            chainer.serializers.save_npz(folder / chainer_weights, model, compression=False)

        batches = itertools.cycle(list(device.send(pool)))

        def draw_data(n, rng):
            return next(batches)
        self.device = device
        self.iterations = training.train(
            state.energy_optimizer, state.generator_optimizer, draw_data=draw_data, batchsize=settings.batchsize,
            seed=settings.seed, iterations=2 ** 62, generator_first=settings.generator_first, strategy=Fast())

    @contextlib.contextmanager
    def context(self):
        """As around the loop of a run."""
        with numpy.errstate(all='ignore'), chainer.using_config('type_check', False), \
                chainer.using_device(self.device):
            yield

    def noise_calls(self):
        return None

    def step(self, draws=None):
        _, observation = next(self.iterations)
        losses = [observation[name] for name in LOSSES]
        return kernels.of(losses[0]).concatenated(losses).tolist()  # in one read

    def device_memory(self):
        if self.device.xp is numpy:
            return None
        return chainer.backends.cuda.cupy.get_default_memory_pool().total_bytes()
