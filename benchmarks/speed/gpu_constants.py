"""What calls, kernels of a graph, copies and products cost a GPU, into a JSON file: what a model of a step is made of.

The time of a call is Python's, which does not wait for the GPU; the others' are the GPU's.  Each is the best of five.
"""

import argparse
import json
import pathlib
import time

import cupy
import numpy


def seconds(call, n, wait):
    """Of one of n calls, with the GPU's work where it is waited for."""
    best = float('inf')
    for _ in range(5):
        cupy.cuda.Device().synchronize()
        start = time.perf_counter()
        for _ in range(n):
            call()
        if wait:
            cupy.cuda.Device().synchronize()
        best = min(best, (time.perf_counter() - start) / n)
    cupy.cuda.Device().synchronize()
    return best


def seconds_of_a_node(n):
    """Of a small kernel in a captured graph of n."""
    x, y = (cupy.zeros(64, dtype=numpy.float32) for _ in range(2))
    pool, stream = cupy.cuda.MemoryPool(), cupy.cuda.Stream(non_blocking=True)
    with stream, cupy.cuda.using_allocator(pool.malloc):
        cupy.add(x, x, y)  # compiled before
        stream.begin_capture()
        for _ in range(n):
            cupy.add(x, x, y)
        graph = stream.end_capture()
        return seconds(graph.launch, 5, wait=True) / n


def measure(small):
    """By name, numbers."""
    n, side, n_bytes = (10, 32, 2 ** 12) if small else (1000, 8192, 2 ** 30)
    x = cupy.ones((64, 64), dtype=numpy.float32)
    calls = {
        'elementwise': lambda: cupy.add(x, x), 'reduction': lambda: x.sum(axis=0), 'product': lambda: x.dot(x),
        'copy': x.copy, 'transfer of 16 kB': lambda: x.set(numpy.ones((64, 64), dtype=numpy.float32))}
    found = {'µs a call, ' + name: 1e6 * seconds(call, n, wait=False) for name, call in calls.items()}
    found['µs a node of a graph'] = 1e6 * seconds_of_a_node(n)
    large, other = (cupy.zeros(n_bytes // 4, dtype=numpy.float32) for _ in range(2))
    found['GB/s of a copy'] = 2 * n_bytes / seconds(lambda: cupy.copyto(other, large), 10, wait=True) / 1e9
    matrix = cupy.ones((side, side), dtype=numpy.float32)
    found['TFLOPS of a product'] = 2 * side ** 3 / seconds(lambda: matrix.dot(matrix), 10, wait=True) / 1e12
    return found


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=pathlib.Path)
    parser.add_argument('--small', action='store_true', help='a rehearsal, whose numbers say nothing')
    parsed = parser.parse_args()
    parsed.out.write_text(json.dumps(measure(parsed.small)), encoding='utf-8')
