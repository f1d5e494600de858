"""A batch that the ranks of a ChainerMN communicator share: each has a *shard*, its rows of it.

What couples the rows, a mean over them for instance, is made of sums over all ranks, so the mathematics are those of
one process with the whole batch.  Where ``chainer.config.shard`` is ``None`` the functions here return what they are
given.
"""

from __future__ import annotations

import dataclasses
import math

import chainer
import numpy
from chainer import backend

from ddgm.fast import kernels
from ddgm.fast.elementary import FirstOrderFunction


@dataclasses.dataclass(frozen=True)
class Shard:
    """Whose rows of a batch of this size are here.

    Every rank has at least two of them: of one alone, how an array lies in memory does not tell how all rows would lie,
    and so not which random numbers are whose.

    Attributes:
        communicator: ChainerMN's.
        batchsize (int): Rows of a whole batch.
    """

    communicator: object
    batchsize: int

    @property
    def rows(self) -> slice:
        """Those of this rank."""
        ends = [self.batchsize * rank // self.communicator.size for rank in range(self.communicator.size + 1)]
        return slice(ends[self.communicator.rank], ends[self.communicator.rank + 1])

    @property
    def size(self) -> int:
        """How many they are."""
        return self.rows.stop - self.rows.start

    @property
    def share(self) -> float:
        """What part of a batch they are."""
        return self.size / self.batchsize


def n_rows(here: int) -> int:
    """How many rows all ranks have, where that many are here: some of one batch, or of each of several."""
    shard = chainer.config.shard
    return here if shard is None else here // shard.size * shard.batchsize


def n_numbers(x: numpy.ndarray) -> int:
    """How many numbers the rows of all ranks have, where ``x``, (n, …), has those here."""
    return n_rows(len(x)) * math.prod(x.shape[1:])


def shard_of(x: numpy.ndarray | chainer.Variable) -> numpy.ndarray | chainer.Variable:
    """Of the rows of all ranks those here: (N, …) to (n, …), of one batch or of several one after the other.

    ``x`` is an array, or a variable, whose gradient is then that of its rows here and 0 elsewhere.
    """
    shard = chainer.config.shard
    if shard is None:
        return x
    if isinstance(x, chainer.Variable):
        return _ShardOf()(x)
    parts = [x[first:first + shard.batchsize][shard.rows] for first in range(0, len(x), shard.batchsize)]
    return parts[0] if len(parts) == 1 else backend.get_array_module(x).concatenate(parts)


def all_gather(x: numpy.ndarray | chainer.Variable) -> numpy.ndarray | chainer.Variable:
    """The rows of all ranks in the order of the batch, from those here: (n, …) to (N, …).

    ``x`` is an array, or a variable, whose gradient is then the sum of what all ranks have for its rows.
    """
    if chainer.config.shard is None:
        return x
    return _AllGather()(x) if isinstance(x, chainer.Variable) else all_reduce(_among_zeros(x))


def all_reduce(x: numpy.ndarray) -> numpy.ndarray:
    """The sum over all ranks of an array, on the device where it is; the same bits everywhere."""
    shard = chainer.config.shard
    if shard is None:
        return x
    xp, communicator = backend.get_array_module(x), shard.communicator
    if xp is numpy or not hasattr(communicator, 'nccl_comm'):
        return communicator.allreduce(x)
    return _all_reduce_by_nccl(communicator, xp.ascontiguousarray(x))


def _all_reduce_by_nccl(communicator, x):
    """As ChainerMN's own BatchNormalization does it, since ``communicator.allreduce`` would take MPI there."""
    from chainermn import nccl
    communicator._init_comms()
    result = backend.get_array_module(x).empty_like(x)
    kind = {numpy.dtype(numpy.float32): nccl.NCCL_FLOAT32, numpy.dtype(numpy.float64): nccl.NCCL_FLOAT64}[x.dtype]
    stream = chainer.backends.cuda.cupy.cuda.get_current_stream()  # on which x is computed
    communicator.nccl_comm.allReduce(x.data.ptr, result.data.ptr, x.size, kind, nccl.NCCL_SUM, stream.ptr)
    return result


def all_reduce_gradients(parameters: list[chainer.Parameter]) -> None:
    """Let the gradient of each parameter be the sum over all ranks, in one reduction; one that is missing is 0."""
    if chainer.config.shard is None:
        return
    xp = parameters[0].xp
    gradients = [xp.zeros_like(parameter.array) if parameter.grad is None else parameter.grad
                 for parameter in parameters]
    total = all_reduce(kernels.of(gradients[0]).concatenated(gradients))
    ends = numpy.cumsum([parameter.size for parameter in parameters]).tolist()
    for parameter, end in zip(parameters, ends):
        parameter.grad = total[end - parameter.size:end].reshape(parameter.shape)


def part_of_mean(loss: chainer.Variable) -> chainer.Variable:
    """A mean over the rows here as this rank's part of that over all rows, (): the sum of all parts is the mean."""
    shard = chainer.config.shard
    return loss if shard is None else loss * shard.share


def mean_of(means: list[float]) -> list[float]:
    """The means over all rows, from those over the rows here."""
    shard = chainer.config.shard
    return means if shard is None else all_reduce(numpy.array(means) * shard.share).tolist()


def in_the_order_of(x: numpy.ndarray, whole: numpy.ndarray) -> numpy.ndarray:
    """Numbers that were drawn for all rows, one after the other as ``x`` lies in memory: those of the rows here.

    ``x`` is (n, …), ``whole`` has as many numbers as all rows; the result has the shape of ``x``.
    """
    shape = n_rows(len(x)), *x.shape[1:]
    order = sorted(range(x.ndim), key=lambda axis: -x.strides[axis])
    return shard_of(whole.reshape([shape[axis] for axis in order]).transpose(*numpy.argsort(order)))


class _AllGather(FirstOrderFunction):

    needs_inputs = False

    def forward_array(self, x):
        return all_gather(x)

    def backward_arrays(self, indexes, inputs, grad_output):
        return shard_of(all_reduce(grad_output)),


class _ShardOf(FirstOrderFunction):

    needs_inputs = False

    def forward_array(self, x):
        return shard_of(x)

    def backward_arrays(self, indexes, inputs, grad_output):
        return _among_zeros(grad_output),


def _among_zeros(x):
    """The rows here at their places among all rows, and zeros at those of others."""
    shard, xp = chainer.config.shard, backend.get_array_module(x)
    n_batches = len(x) // shard.size
    whole = xp.zeros((n_batches, shard.batchsize, *x.shape[1:]), dtype=x.dtype)
    whole[:, shard.rows] = x.reshape(n_batches, shard.size, *x.shape[1:])
    return whole.reshape(-1, *x.shape[1:])
