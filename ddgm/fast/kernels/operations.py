"""The operations of a block, and what runs a program of them, a table of numbers, on one array of all values."""

import numpy

from ddgm.fast.kernels import loops
from ddgm.fast.kernels.jit import jit

# A row of a program is one of these, two sizes, and places in memory.
(RELU, ELU, TANH, SIGMOID, RELU_GRADIENT, ELU_GRADIENT, TANH_GRADIENT, SIGMOID_GRADIENT, SCALE, ADD, ADD_BIAS, SPREAD,
 GATHER, ADD_OUTER, ADD_ROWS, EXPERTS, EXPERTS_GRADIENT, QUADRATIC, QUADRATIC_GRADIENT, TURN, WEIGHTS,
 WEIGHTS_GRADIENT, NORMALIZE, NORMALIZE_GRADIENT, REPEAT, MEAN, ENTROPY, ENTROPY_GRADIENT) = range(28)


@jit
def _numbers(memory, place, first, last, size):
    return memory[place + first * size:place + last * size]


@jit
def _matrix(memory, place, first, last, size):
    return _numbers(memory, place, first, last, size).reshape(last - first, size)


@jit
def _execute(memory, operation, number, first, last):
    """An operation on some of its rows."""
    code, k, u, a, b, c, d, e, f = (
        operation[0], operation[1], operation[2], operation[3], operation[4], operation[5], operation[6], operation[7],
        operation[8])
    if code <= ADD:
        x, y = _numbers(memory, a, first, last, k), _numbers(memory, b, first, last, k)
        if code == RELU:
            loops.relu(x, y)
        elif code == ELU:
            loops.elu(x, y)
        elif code == TANH:
            loops.tanh(x, y)
        elif code == SIGMOID:
            loops.sigmoid(x, y)
        elif code == RELU_GRADIENT:
            loops.relu_gradient(x, y, _numbers(memory, c, first, last, k))
        elif code == ELU_GRADIENT:
            loops.elu_gradient(x, y, _numbers(memory, c, first, last, k))
        elif code == TANH_GRADIENT:
            loops.tanh_gradient(x, y, _numbers(memory, c, first, last, k))
        elif code == SIGMOID_GRADIENT:
            loops.sigmoid_gradient(x, y, _numbers(memory, c, first, last, k))
        elif code == SCALE:
            loops.scale(x, number, y)
        else:
            loops.add_multiple(x, y, number, _numbers(memory, c, first, last, k))
        return
    x = _matrix(memory, a, first, last, k)
    if code == ADD_BIAS:
        loops.add_bias(x, memory[b:b + k])
    elif code == SPREAD:
        loops.spread(x, _matrix(memory, b, 0, k, u), number, _matrix(memory, c, first, last, u))
    elif code == GATHER:
        loops.gather(x, _matrix(memory, b, 0, u, k), number, _matrix(memory, c, first, last, u))
    elif code == ADD_OUTER:
        if first == 0:
            memory[c:c + k * u] = 0
        loops.add_outer(x, _matrix(memory, b, first, last, u), number, _matrix(memory, c, 0, k, u))
    elif code == ADD_ROWS:
        if first == 0:
            memory[b:b + k] = 0
        loops.add_rows(x, memory[b:b + k])
    elif code == EXPERTS:
        loops.expert_term(x, memory[b + first:b + last])
    elif code == EXPERTS_GRADIENT:
        loops.expert_term_gradient(x, memory[b + first:b + last], _matrix(memory, c, first, last, k))
    elif code == QUADRATIC:
        loops.quadratic_term(x, number, memory[b + first:b + last])
    elif code == QUADRATIC_GRADIENT:
        loops.scale_rows(x, memory[b + first:b + last], number, _matrix(memory, c, first, last, k))
    elif code == TURN:
        loops.turn(x, _matrix(memory, b, 0, k, last))
    elif code == WEIGHTS:
        loops.weight_normalization(
            x, memory[b + first:b + last], _matrix(memory, c, first, last, k), memory[d + first:d + last])
    elif code == WEIGHTS_GRADIENT:
        loops.weight_normalization_gradient(
            x, memory[b + first:b + last], memory[c + first:c + last], _matrix(memory, d, first, last, k),
            _matrix(memory, e, first, last, k), memory[f + first:f + last])
    elif code == NORMALIZE:
        loops.batch_normalization(
            x, memory[b:b + k], memory[c:c + k], number, memory[d:d + k], memory[d + k:d + 2 * k],
            _matrix(memory, e, first, last, k))
    elif code == NORMALIZE_GRADIENT:
        loops.batch_normalization_gradient(
            x, _matrix(memory, b, first, last, k), memory[c:c + k], number, memory[d:d + k], memory[d + k:d + 2 * k],
            memory[e:e + k], memory[e + k:e + 2 * k], _matrix(memory, f, first, last, k))
    elif code == REPEAT:
        memory[b:b + k] = number * memory[a] if number != 0 else numpy.float32(0)
    elif code == MEAN:
        memory[b] = number * memory[a:a + k].sum()
    elif code == ENTROPY:
        memory[b] = loops.gaussian_entropy(memory[a:a + k]) + (memory[b] if u else numpy.float32(0))
    else:
        loops.gaussian_entropy_gradient(memory[a:a + k], memory[b], memory[c:c + k])


@jit
def run(memory, program, numbers, groups):
    """Run a program, (operations, 9), with a number for each.

    ``groups`` are (first operation, last, rows, rows at a time): what is done for some rows before the next ones.
    """
    for group in range(len(groups)):
        n, step = groups[group, 2], groups[group, 3]
        for first in range(0, n, step):
            for i in range(groups[group, 0], groups[group, 1]):
                _execute(memory, program[i], numbers[i], first, min(first + step, n))
