"""This project, called as a run calls it; it also writes what the other sides start from."""

import contextlib
import importlib.util
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
    use_numba = 'never'

    def __init__(self, case, folder):
        with chainer.using_config('use_numba', self.use_numba):
            try:
                kernels.compiler()
                device = devices.open_device('@numpy' if case.device < 0 else '@cupy:{}'.format(case.device))
            except UsageError as error:
                raise NotMeasured(str(error)) from error
            self._build(case, folder, device)

    def _build(self, case, folder, device):
        settings = case.settings

        def draw_start(n, rng):
            return problem.draw_data(case.task, settings, n, rng)
        state = training_state.build_state(settings, NETWORKS[case.task].build_models, draw_start, device)
        pool = problem.draw_pool(case, numpy.random.default_rng(0))
        self._write(folder, pool, state.models)
        batches = itertools.cycle(list(device.send(pool)))

        def draw_data(n, rng):
            return next(batches)
        self.device = device
        self.iterations = training.train(
            state.energy_optimizer, state.generator_optimizer, draw_data=draw_data, batchsize=settings.batchsize,
            seed=settings.seed, iterations=2 ** 62, generator_first=settings.generator_first, strategy=self.strategy())

    def strategy(self):
        return Fast()

    def _write(self, folder, pool, models):
        """What the other sides start from."""
        numpy.save(folder / POOL, pool)
        for model, weights, chainer_weights in zip(models, WEIGHTS, CHAINER_WEIGHTS):
            numpy.savez(folder / weights, **pytorch_names.export(model))
            chainer.serializers.save_npz(folder / chainer_weights, model, compression=False)

    @contextlib.contextmanager
    def context(self):
        """As around the loop of a run."""
        with numpy.errstate(all='ignore'), chainer.using_config('type_check', False), \
                chainer.using_config('use_numba', self.use_numba), chainer.using_device(self.device):
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


class Compiled(Ours):
    """The same where numba compiles."""

    use_numba = 'always'

    def _write(self, folder, pool, models):
        """Nothing: the others start from what NumPy made."""


class Captured(Ours):
    """The same where iterations are captured, and replayed by the GPU."""

    def strategy(self):
        if importlib.util.find_spec('ddgm.fast.captured') is None:
            raise NotMeasured('this version captures no iterations')
        return Fast(graph=True)

    def _write(self, folder, pool, models):
        """Nothing: the others start from what is computed call by call."""
