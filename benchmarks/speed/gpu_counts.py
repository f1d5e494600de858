"""What a step costs a GPU, counted without one on the stand-in for CuPy, into docs/results/gpu_counts.json."""

import sys

from benchmarks import ROOT
from benchmarks.checks.gpu import find_stand_in_first
from benchmarks.results import record
from ddgm.support.tables import rounded

TASKS = {
    'gaussian_mixture': 'ten Gaussians, `default`', 'mnist': 'digits, `post`',
    'images': 'pictures, `post`, width 1, batches of 128'}


def main():
    sys.path.append(str(ROOT / 'tests'))
    import gpu_costs
    import test_costs
    rows = []
    for task, name in TASKS.items():
        launches, moved, sent, noise, read = map(int, gpu_costs.step_costs(task, test_costs.TASKS[task][1]))
        rows.append([name, launches, rounded(moved / 1e6), sent, read, noise])
        print(*rows[-1], sep=', ', flush=True)
    record.write('gpu_counts', {'step': {
        'columns': [
            'one step, counted', 'launches', 'memory traffic, MB', 'transfers to the GPU', 'numbers read back',
            'bytes of noise drawn on the CPU'],
        'rows': rows}}, machine='a stand-in for CuPy, on a CPU')


if __name__ == '__main__':
    find_stand_in_first('benchmarks.speed.gpu_counts')
    main()
