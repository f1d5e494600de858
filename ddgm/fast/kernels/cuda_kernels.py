"""What functions and optimizers compute on a GPU, each as one CUDA kernel instead of many.

Small networks keep a GPU waiting for the next launch, so launches count.  A kernel is the equation of the function that
calls it, for one number of each array; CuPy broadcasts the arrays and makes T their number type.  The letters are the
functions' own; g before a name means the gradient of the loss in it.

Of a ``raw`` array a kernel reads any number, by its place in C order; there ``i`` is the place of the other arrays.
"""

from __future__ import annotations

import functools
import typing

from chainer.backends import cuda


class Kernel(typing.NamedTuple):
    """An elementwise kernel as data: CuPy compiles it when it is first called with arrays of a type."""

    name: str
    in_params: str
    out_params: str
    operation: str
    preamble: str = ''

    def __call__(self, *arguments, size=None):
        """The results of arrays and numbers; in place where the arrays of the results follow them.

        Results lie in memory as the first array, as they do in NumPy, unless it is raw; CuPy's own functions return C
        order.  Arrays have as many axes as the first, or none.  Where all are raw, ``size`` is how many times the
        operation is done.
        """
        kernel = cuda.elementwise(
            self.in_params, self.out_params, self.operation, 'ddgm_' + self.name, preamble=self.preamble)
        first, are_given = arguments[0], len(arguments) > self.in_params.count(',') + 1
        if size is not None:
            return kernel(*arguments, size=size)
        if are_given or self.in_params.startswith('raw') or first.flags.c_contiguous:
            return kernel(*arguments)
        order, back = orders(first)
        results = kernel(*[
            argument.transpose(order) if getattr(argument, 'ndim', 0) == first.ndim else argument
            for argument in arguments])
        return tuple([y.transpose(back) for y in results]) if isinstance(results, tuple) else results.transpose(back)


class Reduction(typing.NamedTuple):
    """A sum over some axes, as data: of ``summand``, whose ``result`` is made of the sum, ``a``."""

    name: str
    in_params: str
    out_params: str
    summand: str
    result: str = ''
    sum_type: str | None = None
    preamble: str = ''

    def __call__(self, *arguments, axis=None):
        """The sums of arrays and numbers over these axes; where there are several, into arrays that follow them."""
        result = self.result or '{} = a'.format(self.out_params.split()[-1])
        return cuda.reduce(
            self.in_params, self.out_params, self.summand, 'a + b', result, '0', 'ddgm_' + self.name,
            reduce_type=self.sum_type, preamble=self.preamble)(*arguments, axis=axis)


# Three sums at once, of which CuPy wants one beginning.
_SUMS = '''
template <class T> struct Sums {
    T x, y, z;
    __device__ Sums(T x, T y = 0, T z = 0) : x(x), y(y), z(z) {}
    __device__ Sums operator+(const Sums &other) const { return Sums(x + other.x, y + other.y, z + other.z); }
};
'''
_several = functools.partial(Reduction, sum_type='Sums<T>', preamble=_SUMS)


def orders(x):
    """The axes of an array in the order in which they lie in memory, and what takes these back."""
    order = sorted(range(x.ndim), key=lambda axis: -x.strides[axis])
    return order, [order.index(axis) for axis in range(x.ndim)]


# ---- activations, of which x may still lack a bias

product = Kernel('product', 'T x, T y', 'T z', 'z = x * y')

elu = Kernel('elu', 'T x, T b', 'T y', 'T a = x + b; y = a > 0 ? a : expm1(a)')
elu_gradient = Kernel('elu_gradient', 'T y, T gy', 'T gx', 'gx = y > 0 ? gy : gy * (y + 1)')

relu = Kernel('relu', 'T x, T b', 'T y', 'T a = x + b; y = a < 0 ? T(0) : a')
relu_gradient = Kernel('relu_gradient', 'T y, T gy', 'T gx', 'gx = y > 0 ? gy : T(0)')

tanh = Kernel('tanh', 'T x, T b', 'T y', 'y = tanh(x + b)')
tanh_gradient = Kernel('tanh_gradient', 'T y, T gy', 'T gx', 'gx = gy * (1 - y * y)')

sigmoid = Kernel('sigmoid', 'T x, T b', 'T y', 'y = tanh((x + b) * T(0.5)) * T(0.5) + T(0.5)')
sigmoid_gradient = Kernel('sigmoid_gradient', 'T y, T gy', 'T gx', 'gx = gy * (y - y * y)')


# ---- arrays

@functools.cache
def concatenation(n):
    """The kernel that lays n arrays one after the other, given each and the place of its end."""
    choices = ' : '.join('i < end{0} ? x{0}[i - end{1}]'.format(i, i - 1) for i in range(1, n))
    return Kernel(
        'concatenation_{}'.format(n), ', '.join('raw T x{0}, int64 end{0}'.format(i) for i in range(n)), 'T y',
        'y = i < end0 ? x0[i] : {} : T(0)'.format(choices) if n > 1 else 'y = x0[i]')


rows_gradient = Kernel(
    'rows_gradient', 'raw T gy, int64 first, int64 last', 'T gx', 'gx = i < first || i >= last ? T(0) : gy[i - first]')


# ---- sums

mean = Reduction('mean', 'T x, T share', 'T y', 'x * share')
quotient = Kernel('quotient', 'T x, T divisor', 'T y', 'y = x / divisor')


add_observation = Kernel('add_observation', 'T x', 'T sum, T sum_of_squares', '''
    sum = sum + x;
    sum_of_squares = sum_of_squares + x * x''')


# ---- the energy

quadratic_term = Reduction('quadratic_term', 'T x, T scale', 'T energy', 'scale * x * x')
quadratic_term_gradient = Kernel(
    'quadratic_term_gradient', 'T x, T genergy, T scale', 'T gx', 'gx = scale * genergy * x')
bias_term = Reduction('bias_term', 'T x, T weight', 'T energy', '-x * weight')
bias_term_gradient = Kernel('bias_term_gradient', 'T x, T genergy, T weight', 'T gx', 'gx = -genergy * weight')
# −log(1 + exp(x)), the energy of one expert
expert_term = Reduction('expert_term', 'T x', 'T energy', '-((x > 0 ? x : T(0)) + log1p(exp(-fabs(x))))')
expert_term_gradient = Kernel(
    'expert_term_gradient', 'T x, T genergy', 'T gx', 'gx = -genergy * (tanh(x * T(0.5)) * T(0.5) + T(0.5))')


# ---- the entropy of γ

gaussian_entropy = Reduction(
    'gaussian_entropy', 'T gamma, T two_pi_e, T epsilon', 'T entropy',
    'T(0.5) * log(two_pi_e * gamma * gamma + epsilon)')
gaussian_entropy_gradient = Kernel(
    'gaussian_entropy_gradient', 'T gamma, T gentropy, T two_pi_e, T epsilon', 'T ggamma',
    'ggamma = gentropy * two_pi_e * gamma / (two_pi_e * gamma * gamma + epsilon)')


# ---- linear maps that take few numbers

linear = Kernel('linear', 'raw T x, raw T W, raw T b, int64 n_in, int64 n_out', 'T y', '''
    long long row = i / n_out, unit = i % n_out;
    y = 0;
    for (long long k = 0; k < n_in; ++k) y += x[row * n_in + k] * W[unit * n_in + k];
    y += b[unit]''')


# The last column is the gradient of b.
linear_gradients = Kernel(
    'linear_gradients', 'raw T x, raw T gy, int64 n, int64 n_in, int64 n_out', 'T sum', '''
    long long unit = i / (n_in + 1), k = i % (n_in + 1);
    sum = 0;
    for (long long row = 0; row < n; ++row) sum += gy[row * n_out + unit] * (k < n_in ? x[row * n_in + k] : T(1))''')


# ---- batch normalization.  Of vectors a thread adds up a unit of a batch; of images CuPy does.

moments = Kernel('moments', 'raw T x, int64 n, int64 n_units', 'T mean, T variance', '''
    long long first = i / n_units * n * n_units + i % n_units, end = first + n * n_units;
    mean = 0;
    for (long long j = first; j < end; j += n_units) mean += x[j];
    mean /= n;
    variance = 0;
    for (long long j = first; j < end; j += n_units) variance += (x[j] - mean) * (x[j] - mean);
    variance /= n''')
# In one pass: squares of what lies apart from a number of the same unit leave digits of a small variance.
moments_of_images = _several(
    'moments_of_images', 'T x, T one, T share', 'T mean, T variance',
    'Sums<T>(x * share, (x - one) * share, (x - one) * (x - one) * share)',
    'mean = a.x, variance = a.z > a.y * a.y ? a.z - a.y * a.y : 0')
# The first number of each unit also adds the moments of its batches to the running ones.
batch_normalization = Kernel(
    'batch_normalization',
    'T x, T mean, T variance, T gamma, T beta, T eps, raw T means, raw T variances, int64 n_batches, int64 n_units, '
    'int64 n_inside, T unbiased, T decay', 'T y, raw T running_mean, raw T running_variance', '''
    y = gamma * ((x - mean) / sqrt(variance + eps)) + beta;
    if (i % n_inside == 0 && i < n_inside * n_units) {
        long long unit = i / n_inside;
        for (long long j = unit; j < n_batches * n_units; j += n_units) {
            running_mean[unit] = decay * running_mean[unit] + (1 - decay) * means[j];
            running_variance[unit] = decay * running_variance[unit] + (1 - decay) * unbiased * variances[j];
        }
    }''')
unit_gradients = Kernel(
    'unit_gradients', 'raw T x, raw T gy, int64 n, int64 n_units, T mean, T variance, T eps', 'T ggamma, T gbeta', '''
    long long first = i / n_units * n * n_units + i % n_units, end = first + n * n_units;
    ggamma = 0;
    gbeta = 0;
    for (long long j = first; j < end; j += n_units) {
        ggamma += (x[j] - mean) * gy[j];
        gbeta += gy[j];
    }
    ggamma /= sqrt(variance + eps)''')
unit_gradients_of_images = _several(
    'unit_gradients_of_images', 'T x, T gy, T mean, T variance, T eps', 'T ggamma, T gbeta',
    'Sums<T>(gy * (x - mean) / sqrt(variance + eps), gy)', 'ggamma = a.x, gbeta = a.y')
batch_normalization_gradient = Kernel(
    'batch_normalization_gradient',
    'T x, T gy, T mean, T variance, T gamma, T ggamma, T gbeta, T share, T eps', 'T gx', '''
    T deviation = sqrt(variance + eps);
    gx = gamma / deviation * (gy - share * (ggamma * ((x - mean) / deviation) + gbeta))''')
sums_over_batches = Kernel(
    'sums_over_batches', 'raw T ggammas, raw T gbetas, int64 n_batches', 'T ggamma, T gbeta', '''
    ggamma = 0;
    gbeta = 0;
    for (long long j = i; j < n_batches * _ind.size(); j += _ind.size()) {
        ggamma += ggammas[j];
        gbeta += gbetas[j];
    }''')


# ---- weight normalization.  Where rows are short each number adds up its own.

weight_normalization = Kernel('weight_normalization', 'T V, T g, T norm', 'T W', 'W = g / norm * V')
norm = Reduction('norm', 'T V', 'T norm', 'V * V', 'norm = sqrt(a)')
weight_normalization_gradient = Kernel(
    'weight_normalization_gradient', 'T V, T g, T norm, T gW, T along', 'T gV',
    'gV = g / norm * (gW - along * V / norm)')
along = Reduction('along', 'T V, T norm, T gW', 'T along', 'gW * V / norm')
short_weight_normalization = Kernel(
    'short_weight_normalization', 'raw T V, raw T g, int64 n', 'T W, raw T norms', '''
    long long row = i / n;
    T norm = 0;
    for (long long j = row * n; j < (row + 1) * n; ++j) norm += V[j] * V[j];
    norm = sqrt(norm);
    W = g[row] / norm * V[i];
    if (i % n == 0) norms[row] = norm''')
short_weight_normalization_gradient = Kernel(
    'short_weight_normalization_gradient', 'raw T V, raw T g, raw T norms, raw T gW, int64 n', 'T gV, raw T gg', '''
    long long row = i / n;
    T norm = norms[row], along = 0;
    for (long long j = row * n; j < (row + 1) * n; ++j) along += gW[j] * V[j] / norm;
    gV = g[row] / norm * (gW[i] - along * V[i] / norm);
    if (i % n == 0) gg[row] = along''')


# ---- noise: from 16 random bits a number, which are sent, or drawn by Philox 4x64-10 (Salmon et al. 2011)

gaussian = Kernel('gaussian', 'T x, uint16 bits, raw T quantiles', 'T y', 'y = x + quantiles[bits]')
dropout = Kernel('dropout', 'T x, uint16 bits, int32 dropped, T scale', 'T y, T mask', '''
    mask = bits >= dropped ? scale : T(0);
    y = x * mask''')

# 4 words of 64 bits, those that NumPy's Philox of this key returns after ``block`` other fours.
_PHILOX = '''
__device__ void philox(
        unsigned long long key0, unsigned long long key1, unsigned long long block, unsigned long long *words) {
    unsigned long long a = block + 1, b = 0, c = 0, d = 0;
    for (int round = 0; round < 10; ++round) {
        const unsigned long long M0 = 0xD2E7470EE14C6C93ULL, M1 = 0xCA5A826395121157ULL;
        unsigned long long high0 = __umul64hi(M0, a), low0 = M0 * a, high1 = __umul64hi(M1, c), low1 = M1 * c;
        a = high1 ^ b ^ key0;
        b = low1;
        c = high0 ^ d ^ key1;
        d = low0;
        key0 += 0x9E3779B97F4A7C15ULL;
        key1 += 0xBB67AE8584CAA73BULL;
    }
    words[0] = a;
    words[1] = b;
    words[2] = c;
    words[3] = d;
}
'''
# A thread makes 16 numbers of a four, which lie apart, so that threads that lie side by side read what does.
_EACH = '''
    unsigned long long words[4];
    philox(key0, key1, i, words);
    #pragma unroll
    for (int k = 0; k < 16; ++k) {{
        long long j = i + k * _ind.size();
        int bits = words[k / 4] >> 16 * (k % 4) & 65535;
        if (j < n) {};
    }}'''
drawn_bits = Kernel(
    'drawn_bits', 'uint64 key0, uint64 key1, int64 n', 'raw uint16 y', _EACH.format('y[j] = bits'), _PHILOX)
drawn_gaussian = Kernel(
    'drawn_gaussian', 'raw T x, uint64 key0, uint64 key1, int64 n, raw T quantiles', 'raw T y',
    _EACH.format('y[j] = x[j] + quantiles[bits]'), _PHILOX)
# Units are on the last axis where there is a bias.
drawn_noisy_elu = Kernel(
    'drawn_noisy_elu', 'raw T x, raw T b, int64 n_units, uint64 key0, uint64 key1, int64 n, raw T quantiles',
    'raw T noisy, raw T y', _EACH.format('''{
            T a = n_units ? x[j] + b[j % n_units] : x[j];
            T activated = a > 0 ? a : expm1(a);
            y[j] = activated;
            noisy[j] = activated + quantiles[bits];
        }'''), _PHILOX)
drawn_dropout = Kernel(
    'drawn_dropout', 'raw T x, uint64 key0, uint64 key1, int64 n, int32 dropped, T scale', 'raw T y',
    _EACH.format('y[j] = bits >= dropped ? x[j] * scale : x[j] * T(0)'), _PHILOX)


@functools.cache
def with_key_from_memory(kernel):
    """A kernel that draws, for a key that is an array of two numbers."""
    return kernel._replace(
        name=kernel.name + '_of_array',
        in_params=kernel.in_params.replace('uint64 key0, uint64 key1', 'raw uint64 key'),
        operation=kernel.operation.replace('key0, key1', 'key[0], key[1]'))


# ---- the nearest of other points

@functools.cache
def neighbours(k):
    """The kernel that finds the square of the distance to the k-th, and the middle of all k less the point."""
    return Kernel(
        'neighbours_{}'.format(k), 'raw T x, raw T others, int64 n, int64 dimension', 'T radius, raw T shift', '''
        T squares[{k}];
        long long places[{k}];
        for (int m = 0; m < {k}; ++m) places[m] = -1;
        for (long long j = 0; j < n; ++j) {{
            T square = 0;
            for (long long d = 0; d < dimension; ++d) {{
                T difference = x[i * dimension + d] - others[j * dimension + d];
                square += difference * difference;
            }}
            if (places[{k} - 1] < 0 || square < squares[{k} - 1]) {{
                int m = {k} - 1;
                for (; m > 0 && (places[m - 1] < 0 || squares[m - 1] > square); --m) {{
                    squares[m] = squares[m - 1];
                    places[m] = places[m - 1];
                }}
                squares[m] = square;
                places[m] = j;
            }}
        }}
        radius = squares[{k} - 1];
        for (long long d = 0; d < dimension; ++d) {{
            T sum = 0;
            for (int m = 0; m < {k}; ++m) sum += others[places[m] * dimension + d];
            shift[i * dimension + d] = sum / {k} - x[i * dimension + d];
        }}'''.format(k=k))


# ---- optimizers

# The gradient is divided by the largest norm before.
clipping_rate = Reduction(
    'clipping_rate', 'T gradient, T limit', 'T rate', '(gradient / limit) * (gradient / limit)',
    'rate = a > 1 ? 1 / sqrt(a) : T(1)')
adam = Kernel(
    'adam', 'T gradient, T factor, T step_size, T beta1, T rest1, T beta2, T rest2, T eps', 'T parameter, T m, T v', '''
    T g = factor * gradient;
    m = beta1 * m + rest1 * g;
    v = beta2 * v + rest2 * g * g;
    parameter = parameter - step_size * m / (sqrt(v) + eps)''')
adagrad = Kernel('adagrad', 'T gradient, T factor, T lr, T eps', 'T parameter, T h', '''
    T g = factor * gradient;
    h = h + g * g;
    parameter = parameter - lr * g / (sqrt(h) + eps)''')
average = Kernel('average', 'T parameter, T newest', 'T average', 'average = average + newest * (parameter - average)')
decayed = Kernel(
    'decayed', 'T gradient, T factor, T parameter, T weight_decay', 'T sum',
    'sum = gradient * factor + weight_decay * parameter')
