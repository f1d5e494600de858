"""What functions and optimizers compute element by element on a GPU: each as one CUDA kernel instead of many.

Small networks keep a GPU waiting for the next launch, so launches count.  A kernel is the equation of the function that
calls it, for one number of each array; CuPy broadcasts the arrays and makes T their number type.  The letters are the
functions' own; g before a name means the gradient of the loss in it.  Sums are CuPy's.
"""

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

        Results lie in memory as the first array, as they do in NumPy; CuPy's own functions return C order.  Arrays have
        as many axes as the first, or none.  Where all are raw, ``size`` is how many times the operation is done.
        """
        kernel = cuda.elementwise(
            self.in_params, self.out_params, self.operation, 'ddgm_' + self.name, preamble=self.preamble)
        first = arguments[0]
        if size is not None:
            return kernel(*arguments, size=size)
        if first.flags.c_contiguous:
            return kernel(*arguments)
        order = sorted(range(first.ndim), key=lambda axis: -first.strides[axis])
        back = [order.index(axis) for axis in range(first.ndim)]
        results = kernel(*[
            argument.transpose(order) if getattr(argument, 'ndim', 0) == first.ndim else argument
            for argument in arguments])
        return tuple([y.transpose(back) for y in results]) if isinstance(results, tuple) else results.transpose(back)


# ---- activations

product = Kernel('product', 'T x, T y', 'T z', 'z = x * y')

elu = Kernel('elu', 'T x', 'T y, T slope', '''
    slope = expm1(x > 0 ? T(0) : x);
    y = x > 0 ? x : slope;
    slope = slope + 1''')

relu = Kernel('relu', 'T x', 'T y', 'y = x < 0 ? T(0) : x')
relu_gradient = Kernel('relu_gradient', 'T y, T gy', 'T gx', 'gx = y > 0 ? gy : T(0)')

tanh = Kernel('tanh', 'T x', 'T y', 'y = tanh(x)')
tanh_gradient = Kernel('tanh_gradient', 'T y, T gy', 'T gx', 'gx = gy * (1 - y * y)')

sigmoid = Kernel('sigmoid', 'T x', 'T y', 'y = tanh(x * T(0.5)) * T(0.5) + T(0.5)')
sigmoid_gradient = Kernel('sigmoid_gradient', 'T y, T gy', 'T gx', 'gx = gy * (y - y * y)')


# ---- the experts: −log(1 + exp(a)), the energy of one of them

expert = Kernel('expert', 'T a', 'T energy', 'energy = -((a > 0 ? a : T(0)) + log1p(exp(-fabs(a))))')
expert_gradient = Kernel(
    'expert_gradient', 'T a, T genergy', 'T ga', 'ga = -genergy * (tanh(a * T(0.5)) * T(0.5) + T(0.5))')


# ---- batch normalization: the sums over the batch lie between these

squared_deviation = Kernel('squared_deviation', 'T x, T mean', 'T square', 'square = (x - mean) * (x - mean)')
batch_normalization = Kernel(
    'batch_normalization', 'T x, T mean, T variance, T gamma, T beta, T eps', 'T y, T normalized', '''
    normalized = (x - mean) / sqrt(variance + eps);
    y = gamma * normalized + beta''')
batch_normalization_gradient = Kernel(
    'batch_normalization_gradient',
    'T normalized, T gy, T variance, T gamma, T ggamma, T gbeta, T share, T eps', 'T gx',
    'gx = gamma / sqrt(variance + eps) * (gy - share * (ggamma * normalized + gbeta))')
running_statistics = Kernel(
    'running_statistics', 'T mean, T variance, T unbiased, T decay', 'T running_mean, T running_variance', '''
    running_mean = decay * running_mean + (1 - decay) * mean;
    running_variance = decay * running_variance + (1 - decay) * unbiased * variance''')


# ---- weight normalization

weight_normalization = Kernel('weight_normalization', 'T V, T g, T norm', 'T W', 'W = g / norm * V')
weight_normalization_along = Kernel(
    'weight_normalization_along', 'T V, T norm, T gW', 'T along', 'along = gW * V / norm')
weight_normalization_gradient = Kernel(
    'weight_normalization_gradient', 'T V, T g, T norm, T gW, T along', 'T gV',
    'gV = g / norm * (gW - along * V / norm)')


# ---- noise: from 16 random bits a number

gaussian = Kernel('gaussian', 'T x, uint16 bits, raw T quantiles', 'T y', 'y = x + quantiles[bits]')
dropout = Kernel('dropout', 'T x, uint16 bits, float64 dropped, T scale', 'T y, T mask', '''
    mask = bits >= dropped ? scale : T(0);
    y = x * mask''')


# ---- optimizers

clipping_rate = Kernel('clipping_rate', 'T squared_norm, T limit', 'T rate', '''
    rate = sqrt(squared_norm);
    rate = rate > limit ? T(limit / rate) : T(1)''')
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
