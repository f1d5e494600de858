"""What a step costs a GPU, counted without one on the stand-in for CuPy, into docs/results/gpu_counts.json."""

import collections
import re
import sys

from benchmarks import ROOT
from benchmarks.checks.gpu import find_stand_in_first
from benchmarks.results import record
from ddgm.support.tables import rounded

TASKS = {
    'gaussian_mixture': 'ten Gaussians, `default`', 'mnist': 'digits, `post`',
    'images': 'pictures, `post`, width 1, batches of 128'}

PARTS = {  # of memory traffic, by the beginnings of kernels' names; the first that fits counts
    'products of matrices': 'dot|matmul',
    'BatchNormalization': 'ddgm_(batch|moments|unit|sums_over)',
    'gathering for products, and their biases': 'ddgm_(differences|sums|kernel_sums|windows)|__iadd__',
    'activations': 'ddgm_(elu|relu|tanh|sigmoid)',
    'dropout': 'ddgm_drawn_dropout',
    'optimizers': 'ddgm_(adam|clipping|concatenation)',
    'sums of gradients of biases': 'sum',
    'the rest': ''}


def main():
    sys.path.append(str(ROOT / 'tests'))
    import gpu_costs
    import test_costs
    rows = []
    for task, name in TASKS.items():
        launches, moved, sent, noise, read = map(int, gpu_costs.step_costs(task, test_costs.TASKS[task][1]))
        rows.append([name, launches, rounded(moved / 1e6), sent, read, noise])
        print(*rows[-1], sep=', ', flush=True)
    traffic = collections.Counter()
    for kernel, moved in gpu_costs.traffic_of_pictures(test_costs.TASKS['images'][1]).items():
        traffic[next(part for part, names in PARTS.items() if re.match(names, kernel))] += moved
    record.write('gpu_counts', {
        'step': {
            'columns': [
                'one step, counted', 'launches', 'memory traffic, MB', 'transfers to the GPU', 'numbers read back',
                'bytes of noise drawn on the CPU'],
            'rows': rows},
        'traffic': {
            'columns': ['a step of pictures', 'memory traffic, MB'],
            'rows': [[part, rounded(traffic[part] / 1e6)] for part in PARTS]}}, machine='a stand-in for CuPy, on a CPU')


if __name__ == '__main__':
    find_stand_in_first('benchmarks.speed.gpu_counts')
    main()
