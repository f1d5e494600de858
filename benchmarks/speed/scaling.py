"""What reductions would cost on many GPUs, on paper, into docs/results/scaling.json: bytes and calls are counted here.

A reduction of n bytes among p processes takes 2(p − 1)/p·n/bandwidth + 2·log₂(p)·latency seconds: a ring moves as many
bytes, and a tree has as many steps, of which NCCL takes what is faster (the α–β model; Thakur et al. 2005).
"""

import math

import numpy

from benchmarks.results import record
from ddgm import presets, training
from ddgm.evaluation import tasks
from ddgm.fast.strategy import Fast

# Bytes and seconds.  NVLink 4 as NCCL's own tests report it for eight H100s, a bus bandwidth of some 370 GB/s of the
# 450 that the links have; between nodes one NDR link of 400 Gbit/s for each GPU, at nine tenths.
WITHIN = 370e9, 5e-6
BETWEEN = 45e9, 15e-6
GPUS_A_NODE = 8


class Counting:
    """Two ranks of which one is here: it counts what would be sent."""

    rank, size = 0, 2

    def __init__(self):
        self.sizes = []

    def allreduce(self, x):
        self.sizes.append(x.nbytes)
        return x


def reductions(task, preset, batchsize):
    """Bytes of each reduction of one iteration."""
    settings = presets.PRESETS[task][preset].settings
    rng = training.random_generator(0, training.START)
    models = tasks.build_models(task, settings, rng)
    communicator = Counting()
    shape = {'mnist': (784,), 'images': (3, 64, 64)}[task]

    def draw_data(n, rng):
        return rng.random((n, *shape), dtype=numpy.float32)
    strategy = Fast(communicator, batchsize)
    for _ in training.train(
            *map(training.make_optimizer, models), draw_data=draw_data, batchsize=batchsize, seed=0, iterations=1,
            strategy=strategy):
        strategy.mean_of([0.0])
    return communicator.sizes


def seconds(sizes, n_gpus):
    """Of all reductions of an iteration, one after the other."""
    bandwidth, latency = WITHIN if n_gpus <= GPUS_A_NODE else BETWEEN
    return sum(
        2 * (n_gpus - 1) / n_gpus * size / bandwidth + 2 * math.log2(n_gpus) * latency for size in sizes)


def main():
    counted, costs = [], []
    for name, task, preset in (('MNIST', 'mnist', 'post'), ('64×64 pictures at full width', 'images', 'post')):
        sizes = reductions(task, preset, 8)
        counted.append([name, len(sizes), sum(sizes) / 1e6, sum(sorted(sizes)[-2:]) / 1e6])
        costs.append([name, *(1000 * seconds(sizes, n) for n in (2, 8, 64, 512))])
    record.write('scaling', {
        'reductions': {
            'columns': ['an iteration of', 'reductions', 'MB in all', 'MB of gradients'], 'rows': counted},
        'model': {
            'columns': ['ms an iteration in reductions', '2 GPUs', '8 GPUs', '64 GPUs', '512 GPUs'], 'rows': costs}})


if __name__ == '__main__':
    main()
