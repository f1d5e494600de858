"""Loops over float32 arrays that numba compiles; :mod:`ddgm.fast.kernels.compiled` calls them.

They write into their last arguments, run without Python's lock, and start no threads.  Sums may be rounded in any
order; NaN and infinity pass through as in NumPy.
"""

import numpy

from ddgm.fast.kernels.jit import jit

_f4 = numpy.float32


# ---- activations

@jit
def _power_and_rest(x):
    """2ⁿ and r with exp(x) = 2ⁿ(1 + r), for x ≤ 0, by the polynomial of Cephes' expf: within 2e-7."""
    is_zero = x < _f4(-87)
    x = _f4(-87) if is_zero else x
    n = numpy.floor(x * _f4(1.44269504) + _f4(0.5))  # exp(x) = 2ⁿ·exp(r)
    r = x - n * _f4(0.693359375) + n * _f4(2.12194440e-4)
    y = _f4(1.9875691500e-4) * r + _f4(1.3981999507e-3)
    y = y * r + _f4(8.3334519073e-3)
    y = y * r + _f4(4.1665795894e-2)
    y = y * r + _f4(1.6666665459e-1)
    y = y * r + _f4(5.0000001201e-1)
    y = y * r * r + r
    power = numpy.int32((numpy.int32(n) + numpy.int32(127)) << numpy.int32(23)).view(numpy.float32)
    return _f4(0) if is_zero else power, y


@jit
def _exp(x):
    power, rest = _power_and_rest(x)
    return power * rest + power


@jit
def _expm1(x):
    power, rest = _power_and_rest(x)
    return power * rest + (power - _f4(1))


@jit
def _log1p(t):
    """log(1 + t) = 2·artanh(t/(2 + t)) for 0 ≤ t ≤ 1, by its series up to a power of 13: within 3e-7 of it."""
    s = t / (_f4(2) + t)
    q = s * s
    y = _f4(1 / 13) * q + _f4(1 / 11)
    y = y * q + _f4(1 / 9)
    y = y * q + _f4(1 / 7)
    y = y * q + _f4(1 / 5)
    y = y * q + _f4(1 / 3)
    return _f4(2) * (y * q * s + s)


@jit
def relu(x, y):
    for i in range(len(x)):
        y[i] = _f4(0) if x[i] < 0 else x[i]


@jit
def elu(x, y):
    for i in range(len(x)):
        low = _expm1(_f4(0) if x[i] > 0 else x[i])
        y[i] = low if x[i] < 0 else x[i]  # a zero keeps its sign


@jit
def tanh(x, y):
    for i in range(len(x)):
        low = _expm1(_f4(-2) * abs(x[i]))
        size = -low / (low + _f4(2))
        y[i] = -size if x[i] < 0 else size


@jit
def sigmoid(x, y):
    for i in range(len(x)):
        low = _exp(-abs(x[i]))
        share = _f4(1) / (_f4(1) + low)
        y[i] = low * share if x[i] < 0 else share


@jit
def relu_gradient(y, gy, gx):
    for i in range(len(y)):
        gx[i] = gy[i] if y[i] > 0 else gy[i] * _f4(0)


@jit
def elu_gradient(y, gy, gx):
    for i in range(len(y)):
        gx[i] = gy[i] * (_f4(1) if y[i] > 0 else y[i] + _f4(1))


@jit
def tanh_gradient(y, gy, gx):
    for i in range(len(y)):
        gx[i] = gy[i] * (_f4(1) - y[i] * y[i])


@jit
def sigmoid_gradient(y, gy, gx):
    for i in range(len(y)):
        gx[i] = gy[i] * (y[i] - y[i] * y[i])


# ---- weight normalization: a row for each unit

@jit
def weight_normalization(V, g, W, norm):
    for o in range(len(V)):
        v, w, square = V[o], W[o], _f4(0)
        for k in range(len(v)):
            square += v[k] * v[k]
        norm[o] = numpy.sqrt(square)
        factor = g[o] / norm[o]
        for k in range(len(v)):
            w[k] = factor * v[k]


@jit
def weight_normalization_gradient(V, g, norm, gW, gV, gg):
    for o in range(len(V)):
        v, gw, gv, along = V[o], gW[o], gV[o], _f4(0)
        for k in range(len(v)):
            along += gw[k] * v[k]
        along /= norm[o]
        gg[o] = along
        factor = g[o] / norm[o]
        of_v = factor * along / norm[o]
        for k in range(len(v)):
            gv[k] = factor * gw[k] - of_v * v[k]


# ---- linear maps of few inputs or few outputs, a sample a row

@jit
def spread(x, rows, factor, y):
    """y = factor·x·rows, of (N, few) and (few, many) to (N, many)."""
    for i in range(len(x)):
        out = y[i]
        for k in range(len(rows)):
            row, number = rows[k], factor * x[i, k]
            if k == 0:
                for j in range(len(row)):
                    out[j] = number * row[j]
            else:
                for j in range(len(row)):
                    out[j] += number * row[j]


@jit
def gather(x, rows, factor, y):
    """y = factor·x·rowsᵀ, of (N, many) and (few, many) to (N, few)."""
    for i in range(len(x)):
        numbers = x[i]
        for k in range(len(rows)):
            row, total = rows[k], _f4(0)
            for j in range(len(row)):
                total += numbers[j] * row[j]
            y[i, k] = factor * total


@jit
def add_outer(few, many, factor, total):
    """total += factor·fewᵀ·many, of (N, few) and (N, many) to (few, many)."""
    for i in range(len(few)):
        numbers = many[i]
        for k in range(len(total)):
            row, number = total[k], factor * few[i, k]
            for j in range(len(row)):
                row[j] += number * numbers[j]


@jit
def add_rows(x, total):
    for i in range(len(x)):
        row = x[i]
        for j in range(len(row)):
            total[j] += row[j]


@jit
def add_bias(x, b):
    for i in range(len(x)):
        row = x[i]
        for j in range(len(row)):
            row[j] += b[j]


@jit
def turn(x, y):
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            y[j, i] = x[i, j]


# ---- batch normalization

@jit
def batch_normalization(x, gamma, beta, eps, mean, variance, y):
    """Of one batch x (N, units)."""
    n, factor = _f4(len(x)), numpy.empty_like(mean)
    mean[:] = 0
    variance[:] = 0
    add_rows(x, mean)
    for j in range(len(mean)):
        mean[j] /= n
    for i in range(len(x)):
        row, out = x[i], y[i]
        for j in range(len(mean)):
            centred = row[j] - mean[j]
            out[j] = centred
            variance[j] += centred * centred
    for j in range(len(mean)):
        variance[j] /= n
        factor[j] = gamma[j] / numpy.sqrt(variance[j] + eps)
    for i in range(len(x)):
        out = y[i]
        for j in range(len(mean)):
            out[j] = out[j] * factor[j] + beta[j]


@jit
def batch_normalization_gradient(gy, x, gamma, eps, mean, variance, ggamma, gbeta, gx):
    n, factor, of_x, of_all = _f4(len(x)), numpy.empty_like(mean), numpy.empty_like(mean), numpy.empty_like(mean)
    ggamma[:] = 0
    gbeta[:] = 0
    for i in range(len(x)):
        row, grad = x[i], gy[i]
        for j in range(len(mean)):
            gbeta[j] += grad[j]
            ggamma[j] += grad[j] * (row[j] - mean[j])
    for j in range(len(mean)):
        inverse = _f4(1) / numpy.sqrt(variance[j] + eps)
        ggamma[j] *= inverse
        factor[j] = gamma[j] * inverse
        of_x[j] = ggamma[j] * inverse / n
        of_all[j] = gbeta[j] / n
    for i in range(len(x)):
        row, grad, out = x[i], gy[i], gx[i]
        for j in range(len(mean)):
            out[j] = factor[j] * (grad[j] - of_all[j] - of_x[j] * (row[j] - mean[j]))


@jit
def batch_normalization_of_images(x, gamma, beta, eps, first, last, means, variances, y):
    """Of batches of x (units, H·W, N), as images lie for convolutions, units from first to last."""
    n, places = x.shape[2] // len(means), x.shape[1]
    for unit in range(first, last):
        for batch in range(len(means)):
            mean, variance = 0.0, 0.0
            for i in range(places):
                row, total = x[unit, i, batch * n:(batch + 1) * n], _f4(0)
                for j in range(n):
                    total += row[j]
                mean += total
            mean = _f4(mean / (places * n))
            for i in range(places):
                row, total = x[unit, i, batch * n:(batch + 1) * n], _f4(0)
                for j in range(n):
                    total += (row[j] - mean) * (row[j] - mean)
                variance += total
            means[batch, unit], variances[batch, unit] = mean, variance / (places * n)
            factor = gamma[unit] / numpy.sqrt(variances[batch, unit] + eps)
            for i in range(places):
                row, out = x[unit, i, batch * n:(batch + 1) * n], y[unit, i, batch * n:(batch + 1) * n]
                for j in range(n):
                    out[j] = (row[j] - mean) * factor + beta[unit]


@jit
def batch_normalization_of_images_gradient(gy, x, gamma, eps, first, last, means, variances, ggammas, gbetas, gx):
    n, places = x.shape[2] // len(means), x.shape[1]
    for unit in range(first, last):
        for batch in range(len(means)):
            mean, inverse = means[batch, unit], _f4(1) / numpy.sqrt(variances[batch, unit] + eps)
            along, total = 0.0, 0.0
            for i in range(places):
                row, grad = x[unit, i, batch * n:(batch + 1) * n], gy[unit, i, batch * n:(batch + 1) * n]
                of_product, of_grad = _f4(0), _f4(0)
                for j in range(n):
                    of_product += grad[j] * (row[j] - mean)
                    of_grad += grad[j]
                along += of_product
                total += of_grad
            ggammas[batch, unit], gbetas[batch, unit] = along * inverse, total
            factor, of_x = gamma[unit] * inverse, ggammas[batch, unit] * inverse / _f4(places * n)
            of_all = gbetas[batch, unit] / _f4(places * n)
            for i in range(places):
                row, grad = x[unit, i, batch * n:(batch + 1) * n], gy[unit, i, batch * n:(batch + 1) * n]
                out = gx[unit, i, batch * n:(batch + 1) * n]
                for j in range(n):
                    out[j] = factor * (grad[j] - of_all - of_x * (row[j] - mean))


@jit
def running_statistics(moments, unbiased, decay, running_mean, running_variance):
    """``moments`` are (2, batches, units): means and variances."""
    means, variances = moments[0], moments[1]
    for batch in range(len(means)):
        for j in range(len(running_mean)):
            running_mean[j] = decay * running_mean[j] + (1 - decay) * means[batch, j]
            running_variance[j] = decay * running_variance[j] + (1 - decay) * unbiased * variances[batch, j]


# ---- the energy, a sample a row

@jit
def expert_term(a, energy):
    for i in range(len(a)):
        row, total = a[i], _f4(0)
        for k in range(len(row)):
            total += (_f4(0) if row[k] < 0 else row[k]) + _log1p(_exp(-abs(row[k])))
        energy[i] = -total


@jit
def expert_term_gradient(a, genergy, ga):
    for i in range(len(a)):
        row, out, number = a[i], ga[i], -genergy[i]
        for k in range(len(row)):
            low = _exp(-abs(row[k]))
            share = _f4(1) / (_f4(1) + low)
            out[k] = number * (low * share if row[k] < 0 else share)


_TWO_PI_E, _EPSILON = _f4(17.079468445347132), _f4(1e-8)  # as in ddgm.equations


@jit
def gaussian_entropy(gamma):
    total = _f4(0)
    for i in range(len(gamma)):
        total += _f4(0.5) * numpy.log(_TWO_PI_E * gamma[i] * gamma[i] + _EPSILON)
    return total


@jit
def gaussian_entropy_gradient(gamma, gentropy, ggamma):
    for i in range(len(gamma)):
        ggamma[i] = gentropy * _TWO_PI_E * gamma[i] / (_TWO_PI_E * gamma[i] * gamma[i] + _EPSILON)


@jit
def scale(x, factor, y):
    for i in range(len(x)):
        y[i] = factor * x[i]


@jit
def add_multiple(x, y, factor, z):
    for i in range(len(x)):
        z[i] = x[i] + factor * y[i]


@jit
def quadratic_term(x, factor, energy):
    for i in range(len(x)):
        total = _f4(0)
        for k in range(x.shape[1]):
            total += x[i, k] * x[i, k]
        energy[i] = factor * total


@jit
def scale_rows(x, factors, factor, y):
    for i in range(len(x)):
        for k in range(x.shape[1]):
            y[i, k] = factor * factors[i] * x[i, k]


# ---- noise, from 16 random bits a number

@jit
def dropout(x, bits, level, scale, y):
    for i in range(len(x)):
        y[i] = x[i] * (scale if bits[i] >= level else _f4(0))


# ---- minimal filtering, of some of the channels; see ddgm.fast.kernels.convolution_on_cpu.Winograd for the names

# One array is written to in each of these: of more, LLVM does not find out that they don't overlap.

@jit
def add(x, y, z):
    for i in range(len(x)):
        z[i] = x[i] + y[i]


@jit
def subtract(x, y, z):
    for i in range(len(x)):
        z[i] = x[i] - y[i]


@jit
def copy(x, y):
    for i in range(len(x)):
        y[i] = x[i]


@jit
def subtract_both(x, y, z, result):
    for i in range(len(x)):
        result[i] = x[i] - y[i] - z[i]


@jit
def image_to_parts(x, pad, D, first, last):
    """D (i, j, p, q, C, t, s, N) of images x (C, H, W, N)."""
    _, height, width, n = x.shape
    n_tiles = D.shape[6]
    nothing = numpy.zeros(width * n, x.dtype)
    rows = numpy.zeros((3, 4 * n_tiles + 4, n), x.dtype)
    for c in range(first, last):
        for t in range(D.shape[5]):
            for p in range(2):
                row = 4 * t + p - pad
                a = x[c, row].reshape(-1) if 0 <= row < height else nothing
                b = x[c, row + 2].reshape(-1) if 0 <= row + 2 < height else nothing
                e = x[c, row + 4].reshape(-1) if 0 <= row + 4 < height else nothing
                subtract(a, b, rows[0, pad:pad + width].reshape(-1))
                copy(b, rows[1, pad:pad + width].reshape(-1))
                subtract(e, b, rows[2, pad:pad + width].reshape(-1))
                for i in range(3):
                    for q in range(2):
                        for s in range(n_tiles):
                            k = 4 * s + q
                            subtract(rows[i, k], rows[i, k + 2], D[i, 0, p, q, c, t, s])
                            copy(rows[i, k + 2], D[i, 1, p, q, c, t, s])
                            subtract(rows[i, k + 4], rows[i, k + 2], D[i, 2, p, q, c, t, s])


@jit
def parts_to_image(D, pad, x, first, last):
    """The transpose of :func:`image_to_parts`."""
    _, height, width, n = x.shape
    n_tiles = D.shape[6]
    rows = numpy.empty((3, 4 * n_tiles + 4, n), x.dtype)
    padded = numpy.empty((4 * D.shape[5] + 4, width, n), x.dtype)
    for c in range(first, last):
        padded[:2] = 0
        for t in range(D.shape[5]):
            for p in range(2):
                for i in range(3):
                    rows[i, :2] = 0
                    for q in range(2):
                        for s in range(n_tiles):
                            k, left, right = 4 * s + q, D[i, 0, p, q, c, t, s], D[i, 2, p, q, c, t, s]
                            add(rows[i, k], left, rows[i, k])
                            subtract_both(D[i, 1, p, q, c, t, s], left, right, rows[i, k + 2])
                            copy(right, rows[i, k + 4])
                upper, lower = rows[0, pad:pad + width].reshape(-1), rows[2, pad:pad + width].reshape(-1)
                k, a = 4 * t + p, padded[4 * t + p].reshape(-1)
                add(a, upper, a)
                subtract_both(rows[1, pad:pad + width].reshape(-1), upper, lower, padded[k + 2].reshape(-1))
                copy(lower, padded[k + 4].reshape(-1))
        copy(padded[pad:pad + height].reshape(-1), x[c].reshape(-1))


@jit
def result_to_parts(y, M, first, last):
    """M (i, j, O, t, s, N) of results y (O, H', W', N)."""
    _, height, width, n = y.shape
    both, nothing = numpy.empty((width, n), y.dtype), numpy.zeros((width, n), y.dtype)
    for c in range(first, last):
        for t in range(M.shape[3]):
            upper, lower = y[c, 2 * t], y[c, 2 * t + 1] if 2 * t + 1 < height else nothing
            add(upper.reshape(-1), lower.reshape(-1), both.reshape(-1))
            for i in range(3):
                row = upper if i == 0 else both if i == 1 else lower
                for s in range(M.shape[4]):
                    k = 2 * s
                    right = row[k + 1] if k + 1 < width else nothing[0]
                    copy(row[k], M[i, 0, c, t, s])
                    add(row[k], right, M[i, 1, c, t, s])
                    copy(right, M[i, 2, c, t, s])


@jit
def parts_to_result(M, y, first, last):
    """The transpose of :func:`result_to_parts`."""
    _, height, width, n = y.shape
    for c in range(first, last):
        for row in range(height):
            for column in range(width):
                t, s, i, j, out = row // 2, column // 2, row % 2, column % 2, y[c, row, column]
                a, b = M[i, j, c, t, s], M[i, j + 1, c, t, s]
                d, e = M[i + 1, j, c, t, s], M[i + 1, j + 1, c, t, s]
                for m in range(n):
                    out[m] = (a[m] + d[m]) + (b[m] + e[m])


# ---- neighbours

@jit
def squared_distances(x, others, squares):
    """Of a point (D,) from others (D, M)."""
    squares[:] = 0
    for d in range(len(others)):
        row, number = others[d], x[d]
        for j in range(len(squares)):
            squares[j] += (row[j] - number) * (row[j] - number)


@jit
def nearest(x, others, k, centre, radius):
    """The mean of the k points of others (D, M) that are nearest to each x (N, D), and the largest squared distance."""
    squares, smallest = numpy.empty(others.shape[1], x.dtype), numpy.empty(k, x.dtype)
    which = numpy.zeros(k, numpy.int64)
    for i in range(len(x)):
        squared_distances(x[i], others, squares)
        smallest[:] = numpy.inf  # of those so far, in order
        for j in range(len(squares)):
            if squares[j] < smallest[k - 1]:
                place = k - 1
                while place > 0 and smallest[place - 1] > squares[j]:
                    smallest[place] = smallest[place - 1]
                    which[place] = which[place - 1]
                    place -= 1
                smallest[place] = squares[j]
                which[place] = j
        radius[i, 0] = smallest[k - 1]
        for d in range(len(others)):
            total = _f4(0)
            for j in range(k):
                total += others[d, which[j]]
            centre[i, d] = total / _f4(k)


@jit
def mean_of_gaussians(x, centres, factor, mean):
    """The mean over centres (D, M) of exp(factor·|x − c|²) for each x (N, D), with a factor below 0."""
    squares = numpy.empty(centres.shape[1], x.dtype)
    for i in range(len(x)):
        squared_distances(x[i], centres, squares)
        total = _f4(0)
        for j in range(len(squares)):
            total += _exp(factor * squares[j])
        mean[i] = total / _f4(len(squares))


# ---- optimizers

@jit
def adam(parameters, gradient, factor, step_size, beta1, rest1, beta2, rest2, eps, m, v):
    of_m, of_v = rest1 * factor, rest2 * factor * factor
    for i in range(len(parameters)):
        m[i] = beta1 * m[i] + of_m * gradient[i]
        v[i] = beta2 * v[i] + of_v * gradient[i] * gradient[i]
        parameters[i] -= step_size * m[i] / (numpy.sqrt(v[i]) + eps)
