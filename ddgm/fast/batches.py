"""What passes a network at a time: one batch, several joined ones, or one process's share of a batch.

Under :func:`shared` each rank of a ChainerMN communicator has its rows of every batch.  What couples the rows, a mean
over them for instance, is made of sums over all ranks, so the mathematics are those of one process with the whole
batch.  Outside of it the functions here return what they are given.
"""

import dataclasses
import math

import chainer
import numpy
from chainer import backend

from ddgm.fast.differentiation import FirstOrderFunction


def joined_batches(n):
    """A context in which what passes is n batches of one size, one after the other.

    What couples the samples of a batch, BatchNormalization and minibatch discrimination, keeps them apart.
    """
    return chainer.using_config('joined_batches', n)


def n_joined_batches():
    """How many batches pass at a time: one, outside :func:`joined_batches`."""
    return getattr(chainer.config, 'joined_batches', 1)


# ---- a batch among ranks

@dataclasses.dataclass(frozen=True)
class _Share:
    """Whose rows of a batch of this size are here."""

    communicator: object
    batchsize: int

    @property
    def rows(self):
        ends = [self.batchsize * rank // self.communicator.size for rank in range(self.communicator.size + 1)]
        return slice(ends[self.communicator.rank], ends[self.communicator.rank + 1])

    @property
    def size(self):
        return self.rows.stop - self.rows.start


def shared(communicator, batchsize):
    """A context in which a batch of that size is spread over the ranks of a ChainerMN communicator, or over none.

    Every rank has at least two rows of it: of one alone, how an array lies in memory does not tell how all rows would
    lie, and so not which random numbers are whose.
    """
    return chainer.using_config('share', communicator and _Share(communicator, batchsize))


def _share():
    return getattr(chainer.config, 'share', None)


def are_shared():
    """Whether rows of a batch may be in other processes."""
    return _share() is not None


def n_rows(here):
    """How many rows are in all processes, where that many are here: some of one batch, or of each of several."""
    share = _share()
    return here if share is None else here // share.size * share.batchsize


def share_of(x):
    """Of all rows of a batch, or of several batches one after the other, an array, those of this process."""
    share = _share()
    if share is None:
        return x
    parts = [x[first:first + share.batchsize][share.rows] for first in range(0, len(x), share.batchsize)]
    return parts[0] if len(parts) == 1 else backend.get_array_module(x).concatenate(parts)


def total(x):
    """The sum over all processes of an array, on the device where it is; the same bits everywhere."""
    share = _share()
    if share is None:
        return x
    xp, communicator = backend.get_array_module(x), share.communicator
    if xp is numpy or not hasattr(communicator, 'nccl_comm'):
        return communicator.allreduce(x)
    return _total_by_nccl(communicator, xp.ascontiguousarray(x))


def _total_by_nccl(communicator, x):
    """As ChainerMN's own BatchNormalization does it, since ``communicator.allreduce`` would take MPI there."""
    from chainermn import nccl
    communicator._init_comms()
    result = backend.get_array_module(x).empty_like(x)
    kind = {numpy.dtype(numpy.float32): nccl.NCCL_FLOAT32, numpy.dtype(numpy.float64): nccl.NCCL_FLOAT64}[x.dtype]
    communicator.nccl_comm.allReduce(
        x.data.ptr, result.data.ptr, x.size, kind, nccl.NCCL_SUM, chainer.cuda.Stream.null.ptr)
    return result


def part_of_mean(loss):
    """A mean over the rows here as this process's part of that over all rows, (): the sum of all parts is the mean."""
    share = _share()
    return loss if share is None else loss * (share.size / share.batchsize)


def mean_of(means):
    """The means over all rows, from those over the rows here: floats."""
    share = _share()
    if share is None:
        return means
    return total(numpy.array(means) * (share.size / share.batchsize)).tolist()


def gathered(x):
    """The rows of all processes in the order of the batch, an array, from those here: (n, …) to (N, …)."""
    return x if _share() is None else total(_among_zeros(x))


class _AllRows(FirstOrderFunction):

    needs_inputs = False

    def forward_array(self, x):
        return gathered(x)

    def backward_arrays(self, indexes, inputs, grad_output):
        return share_of(total(grad_output)),


class _RowsHere(FirstOrderFunction):

    needs_inputs = False

    def forward_array(self, x):
        return share_of(x)

    def backward_arrays(self, indexes, inputs, grad_output):
        return _among_zeros(grad_output),


def _among_zeros(x):
    """The rows here at their places among all rows, and zeros at those of others."""
    share, xp = _share(), backend.get_array_module(x)
    n_batches = len(x) // share.size
    whole = xp.zeros((n_batches, share.batchsize, *x.shape[1:]), dtype=x.dtype)
    whole[:, share.rows] = x.reshape(n_batches, share.size, *x.shape[1:])
    return whole.reshape(-1, *x.shape[1:])


def all_rows(x):
    """The same of a variable, whose gradients come back from all processes."""
    return x if _share() is None else _AllRows()(x)


def rows_here(x):
    """Back again, a variable: (N, …) to (n, …)."""
    return x if _share() is None else _RowsHere()(x)


def in_the_order_of(x, whole):
    """Numbers that were drawn for all rows, one after the other as ``x`` lies in memory: those of the rows here.

    ``x`` is an array (n, …), ``whole`` has as many numbers as all rows; the result has the shape of ``x``.
    """
    shape = n_rows(len(x)), *x.shape[1:]
    order = sorted(range(x.ndim), key=lambda axis: -x.strides[axis])
    return share_of(whole.reshape([shape[axis] for axis in order]).transpose(*numpy.argsort(order)))


def n_numbers(x):
    """How many numbers all rows have where ``x`` is those here."""
    return n_rows(len(x)) * math.prod(x.shape[1:])
