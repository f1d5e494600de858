"""How the scripts compute an iteration: phases joined, networks replayed, a batch over the ranks of a communicator.

:class:`ddgm.training.AsWritten`, the default of :func:`ddgm.training.train`, has the methods that the loop calls;
``mean_of`` is for the caller.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator

import chainer
import numpy

from ddgm.fast import kernels, memory, sharding
from ddgm.fast.elementary import Joined, are_calls_kept
from ddgm.fast.gradients import gradients
from ddgm.fast.replay import Replay

_ALIGNED = 256  # bytes, to which arrays on a GPU are aligned

class Fast:
    """One pass of both phases where the DEM allows it, no gradient that nobody wants, and networks that are replayed.

    Args:
        communicator: A ChainerMN communicator whose ranks share each batch; ``None``: this process is alone.
        batchsize (int): Of the whole batch, where there is a communicator.
        replay (bool): Whether networks that allow it are replayed, see :class:`ddgm.fast.replay.Replay`.  The bits are
            the same, unless numba compiles what is replayed.
    """

    def __init__(self, communicator=None, batchsize: int | None = None, replay: bool = True):
        self._shard = sharding.Shard(communicator, batchsize) if communicator else None
        self._replay = Replay() if replay else None
        memory.keep_freed()
        kernels.compiler()  # which refuses what it can't do

    @contextlib.contextmanager
    def iteration(self, rng: numpy.random.Generator, *models: chainer.Link) -> Iterator[None]:
        """A context for one iteration of ``models``, in which networks draw their noise from ``rng``."""
        with chainer.using_config('noise_generator', rng), chainer.using_config('shard', self._shard), \
                chainer.using_config('leaves_bias', True), \
                self._replay.of(*models) if self._replay else contextlib.nullcontext():
            yield

    def send(self, device: chainer.backend.Device, *batches: numpy.ndarray) -> list[numpy.ndarray]:
        """Of batches (N, …), arrays, the rows of this process, on the device; to a GPU in one transfer."""
        batches = [sharding.shard_of(x) for x in batches]
        if device.xp is numpy or not all(isinstance(x, numpy.ndarray) for x in batches):
            return [device.send(x) for x in batches]
        ends = list(itertools.accumulate([-(-x.nbytes // _ALIGNED) * _ALIGNED for x in batches]))
        packed = numpy.empty(ends[-1], dtype=numpy.uint8)
        places = [slice(start, start + x.nbytes) for start, x in zip([0, *ends], batches)]
        for place, x in zip(places, batches):
            packed[place] = numpy.ascontiguousarray(x).reshape(-1).view(numpy.uint8)
        packed = device.send(packed)
        return [packed[place].view(x.dtype).reshape(x.shape) for place, x in zip(places, batches)]

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
