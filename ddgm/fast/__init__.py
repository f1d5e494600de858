"""Chainer's functions, links and optimizers, faster; and what :func:`ddgm.training.train` may be handed for speed.

What passes a network beside its input stands in Chainer's configuration, as ``train`` does.  These are the entries that
are added to it, with what they are unless told otherwise: one process that computes what is written.
"""

import os

import chainer

# A NumPy generator, the source of what networks draw: noise, dropout.
chainer.global_config.noise_generator = None
# Whether that noise is drawn on the host for arrays on a GPU too, and sent, so that it is the CPU's; otherwise a GPU
# draws its own, and the generator goes on as if it had drawn it.
chainer.global_config.noise_from_host = False
# How many batches of one size pass, one after the other.  What couples the samples of a batch keeps them apart: split
# (ghost) batch statistics.
chainer.global_config.n_splits = 1
# Whether a linear map on a GPU may leave its bias to the next function.  That is so within an iteration of the loop
# alone: whoever keeps a result and looks at it after an update would find the new bias added.
chainer.global_config.leaves_bias = False
# While ddgm.fast.captured computes or captures an iteration that it will replay, whom to ask for what changes from one
# to the next; None: it will not be replayed.
chainer.global_config.recording = None
# Of a ddgm.fast.sharding.Shard, which rows of each batch this process has; None: all.
chainer.global_config.shard = None
# Whether what NumPy computes in float32 is compiled by numba: 'always', 'never', or 'auto' where it can be.
chainer.global_config.use_numba = os.environ.get('DDGM_USE_NUMBA', 'auto')
