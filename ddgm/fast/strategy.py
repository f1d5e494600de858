"""How the scripts compute an iteration: phases joined, networks replayed, a batch over the ranks of a communicator.

:class:`ddgm.training.AsWritten`, the default of :func:`ddgm.training.train`, has the methods that the loop calls;
``mean_of`` is for the caller.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable

import chainer
import numpy

from ddgm.fast import kernels, memory, sharding, transfers
from ddgm.fast.captured import Captured
from ddgm.fast.elementary import Joined, are_calls_kept
from ddgm.fast.gradients import gradients
from ddgm.fast.replay import Replay


class Fast:
    """One pass of both phases where the DEM allows it, no gradient that nobody wants, and networks that are replayed.

    Args:
        communicator: A ChainerMN communicator whose ranks share each batch; ``None``: this process is alone.
        batchsize (int): Of the whole batch, where there is a communicator.
        replay (bool): Whether networks that allow it are replayed, see :class:`ddgm.fast.replay.Replay`.  The bits are
            the same, unless numba compiles what is replayed.
        graph (bool): Whether iterations on a GPU are replayed as a whole, see :mod:`ddgm.fast.captured`.
        tell: Called with a line where that can't be done.
    """

    def __init__(
            self, communicator=None, batchsize: int | None = None, replay: bool = True, graph: bool = False,
            tell: Callable[[str], None] = warnings.warn):
        self._shard = sharding.Shard(communicator, batchsize) if communicator else None
        self._replay = Replay() if replay else None
        self._captured = Captured(tell) if graph else None
        memory.keep_freed()
        kernels.compiler()  # which refuses what it can't do

    def iteration(self, work: Callable, rng: numpy.random.Generator, *optimizers: chainer.Optimizer) -> dict:
        """``work(rng)``, the updates of one iteration, in which networks draw their noise from ``rng``."""
        models = [optimizer.target for optimizer in optimizers]
        with chainer.using_config('noise_generator', rng), chainer.using_config('shard', self._shard), \
                chainer.using_config('leaves_bias', True), \
                self._replay.of(*models) if self._replay else contextlib.nullcontext():
            return self._captured(work, rng, *optimizers) if self._captured else work(rng)

    def draw(
            self, device: chainer.backend.Device, rng: numpy.random.Generator, *draws: Callable) -> list[numpy.ndarray]:
        """Of batches ``draw(rng)``, (N, …), the rows of this process, on the device; to a GPU in one transfer."""
        recording = chainer.config.recording
        if recording is not None:
            return [recording.drawn(rng, draw) for draw in draws]
        batches = [sharding.shard_of(draw(rng)) for draw in draws]
        if device.xp is numpy or not all(isinstance(x, numpy.ndarray) for x in batches):
            return [device.send(x) for x in batches]
        return transfers.unpacked(device.send(transfers.packed(batches)), transfers.kinds_of(batches))

    def update(self, function: Callable, *arguments, **options) -> dict:
        """What an update returns that is called so, and with this strategy."""
        if self._replay:
            return self._replay.update(function, self, *arguments, **options)
        return function(*arguments, strategy=self, **options)

    def energies(self, energy_model, x_positive, x_negative) -> tuple[chainer.Variable, chainer.Variable]:
        """E(x⁺) and E(x⁻), (N,) and (M,), of arrays: from one pass of both where the DEM is ``joinable``."""
        n = len(x_positive)
        if not getattr(energy_model, 'joinable', False) or len(x_negative) != n:
            return energy_model(x_positive), energy_model(x_negative)
        join = Joined() if are_calls_kept() else kernels.of(x_positive).joined
        with chainer.using_config('n_splits', 2):
            energy = energy_model(join(x_positive, x_negative))
        return energy[:n], energy[n:]

    def descend(self, optimizer: chainer.Optimizer, loss: chainer.Variable) -> None:
        """One step of the optimizer's model down the gradient of ``loss``, (); no other weight gets a gradient."""
        if self._replay and self._replay.takes_over(optimizer, loss):
            return
        parameters = list(optimizer.target.params())
        for parameter, gradient in zip(parameters, gradients(sharding.part_of_mean(loss), parameters)):
            parameter.grad = gradient
        sharding.all_reduce_gradients(parameters)
        optimizer.update()

    def mean_of(self, means: list[float]) -> list[float]:
        """The means over the whole batch, from those over the rows of this process."""
        with chainer.using_config('shard', self._shard):
            return sharding.mean_of(means)
