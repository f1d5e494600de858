"""Kernels written in CUDA, compiled for the CPU by the C++ compiler that is there."""

import ctypes
import functools
import hashlib
import pathlib
import shutil
import subprocess
import tempfile

import numpy

import cupy
from cupy._watch import watched

C_TYPES = {
    'bool': 'bool', 'int8': 'signed char', 'uint8': 'unsigned char', 'int16': 'short', 'uint16': 'unsigned short',
    'int32': 'int', 'uint32': 'unsigned', 'int64': 'long long', 'uint64': 'unsigned long long', 'float32': 'float',
    'float64': 'double'}
HEAD = '''
#include <cmath>
#include <cstddef>
using std::exp; using std::expm1; using std::log; using std::log1p; using std::sqrt; using std::tanh; using std::pow;
using std::abs; using std::fabs; using std::floor; using std::isnan; using std::erf;
#define __device__
#define __forceinline__ inline
inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
    return (unsigned __int128)x * y >> 64;
}
template <class A> A rsqrt(A x) { return 1 / sqrt(x); }
template <class A, class B> auto min(A a, B b) -> decltype(a + b) { return b < a ? b : a; }
template <class A, class B> auto max(A a, B b) -> decltype(a + b) { return a < b ? b : a; }
template <class A> struct Raw {
    A *first; ptrdiff_t n;
    A &operator[](ptrdiff_t i) const { return first[i]; }
    ptrdiff_t size() const { return n; }
};
struct Index { ptrdiff_t n; ptrdiff_t size() const { return n; } };
'''
ELEMENTWISE = '''{head}
{letters}
{preamble}
extern "C" void run(ptrdiff_t all_, {arguments}) {{
    Index _ind{{all_}}; (void)_ind;
    {raws}
    for (ptrdiff_t i = 0; i < all_; ++i) {{
        {numbers}
        {operation};
    }}
}}
'''
REDUCTION = '''{head}
{letters}
{preamble}
extern "C" void run(ptrdiff_t n_, ptrdiff_t inner_, {arguments}) {{
    for (ptrdiff_t i = 0; i < n_; ++i) {{
        {kind} a = {identity};
        for (ptrdiff_t r_ = 0; r_ < inner_; ++r_) {{
            {inputs}
            {kind} b = {map};
            a = {reduce};
        }}
        ptrdiff_t r_ = 0;
        {inputs}
        {output}
        {post_map};
    }}
}}
'''


@functools.lru_cache(None)
def folder():
    """Where compiled kernels lie, for as long as this process runs."""
    kept = tempfile.TemporaryDirectory(prefix='kernels')
    folder.kept = kept  # removed with the process
    return pathlib.Path(kept.name)


@functools.lru_cache(None)
def compiled(source):
    """The function ``run`` of C++ source."""
    compiler = next(filter(None, map(shutil.which, ('c++', 'g++', 'clang++'))), None)
    if compiler is None:
        raise RuntimeError('kernels need a C++ compiler, and there is none')
    path = folder() / (hashlib.sha256(source.encode()).hexdigest()[:16] + '.cpp')
    path.write_text(source, encoding='utf-8')
    library = path.with_suffix('.so')
    subprocess.run(
        [compiler, '-std=c++14', '-O1', '-fPIC', '-shared', str(path), '-o', str(library)], check=True)
    return ctypes.CDLL(str(library)).run


def declared(parameters):
    """(raw, type, name) of each parameter that 'T x, raw T table' declares."""
    words = (part.split() for part in parameters.split(',') if part.strip())
    return [(each[0] == 'raw', *each[-2:]) for each in words]


def known(kind):
    """The NumPy type that a name means, ``None`` for a letter that stands for any."""
    return None if len(kind) == 1 else numpy.dtype(kind)


class Declaration:
    """The parameters of a kernel: what stands for which type, and how they are written in C++."""

    def __init__(self, in_params, out_params):
        self.inputs, self.outputs = declared(in_params), declared(out_params)
        self.parameters = self.inputs + self.outputs

    def types_of(self, arguments):
        """By letter, the type of what was given; ``TypeError`` where CuPy would not take it."""
        types = {}
        for (_, kind, _), argument in zip(self.parameters, arguments):
            if isinstance(argument, cupy.ndarray):
                expected = known(kind) or types.setdefault(kind, argument.dtype)
                if argument.dtype != expected:
                    raise TypeError('Type is mismatched. {} {} {}'.format(kind, argument.dtype, expected))
            elif not isinstance(argument, cupy._NUMBERS):
                raise TypeError('Unsupported type {}'.format(type(argument)))
        for (_, kind, _), argument in zip(self.parameters, arguments):
            if known(kind) is None:
                types.setdefault(kind, numpy.result_type(cupy._inside(argument)))
        return types

    def write(self, types, place):
        """In C++: what letters mean, the arguments, the raw arrays, and of each parameter its number at a place."""
        arguments, raws, numbers = [], [], []
        for number, (raw, kind, name) in enumerate(self.parameters):
            c_type = ('const ' if number < len(self.inputs) else '') + C_TYPES[str(known(kind) or types[kind])]
            arguments.append('{} *{n}_, ptrdiff_t {n}_size'.format(c_type, n=name))
            if raw:
                raws.append('Raw<{}> {n}{{{n}_, {n}_size}};'.format(c_type, n=name))
            else:
                at = place if number < len(self.inputs) else 'i'
                numbers.append('{} &{n} = {n}_[{at}];'.format(c_type, n=name, at=at))
        letters = ' '.join('using {} = {};'.format(kind, C_TYPES[str(dtype)]) for kind, dtype in types.items())
        return letters, ', '.join(arguments), ' '.join(raws), numbers

    def call(self, function, numbers, arrays):
        """Call a compiled function with whole numbers, and arrays in C order."""
        pairs = ((ctypes.c_void_p(array.ctypes.data), ctypes.c_ssize_t(array.size)) for array in arrays)
        function(*map(ctypes.c_ssize_t, numbers), *(each for pair in pairs for each in pair))


class ElementwiseKernel:
    """A kernel of one operation for each place of the broadcast arrays."""

    def __init__(self, in_params, out_params, operation, name='kernel', reduce_dims=True, preamble=''):
        self.declaration = Declaration(in_params, out_params)
        self.operation, self.preamble, self.name = operation, preamble, name

    @watched
    def __call__(self, *arguments, size=None):
        inputs, parameters = self.declaration.inputs, self.declaration.parameters
        if len(arguments) not in (len(inputs), len(parameters)):
            raise TypeError('Wrong number of arguments for {}'.format(self.name))
        types = self.declaration.types_of(arguments)
        shape = (size,) if size is not None else numpy.broadcast_shapes(*(
            numpy.shape(cupy._inside(argument)) for (raw, _, _), argument in zip(parameters, arguments) if not raw))
        results = arguments[len(inputs):] or tuple(
            cupy.ndarray(shape, known(kind) or types[kind]) for _, kind, _ in self.declaration.outputs)
        arrays = [
            lying(array, known(kind) or types[kind], None if raw else shape)
            for (raw, kind, _), array in zip(parameters, (*arguments[:len(inputs)], *results))]
        letters, declared, raws, numbers = self.declaration.write(types, 'i')
        function = compiled(ELEMENTWISE.format(
            head=HEAD, letters=letters, preamble=self.preamble, arguments=declared, raws=raws,
            numbers=' '.join(numbers), operation=self.operation))
        self.declaration.call(function, [int(numpy.prod(shape))], arrays)
        for result, array in zip(results, arrays[len(inputs):]):
            result._array[...] = array
        return results[0] if len(results) == 1 else results


class ReductionKernel:
    """A kernel that makes one number of many, or several: of all, or along axes."""

    def __init__(
            self, in_params, out_params, map_expr, reduce_expr, post_map_expr, identity, name='reduce_kernel',
            reduce_type=None, reduce_dims=True, preamble='', options=()):
        self.declaration, self.name, self.reduce_type = Declaration(in_params, out_params), name, reduce_type
        self.parts = {
            'map': map_expr, 'reduce': reduce_expr, 'post_map': post_map_expr, 'identity': identity,
            'preamble': preamble}

    @watched
    def __call__(self, *arguments, axis=None, keepdims=False):
        inputs, outputs = self.declaration.inputs, self.declaration.outputs
        types = self.declaration.types_of(arguments)
        arguments, given = arguments[:len(inputs)], arguments[len(inputs):]
        if len(outputs) > 1 and not given:
            raise NotImplementedError('CuPy returns the first of several results alone: give arrays for them')
        shape = numpy.broadcast_shapes(*(numpy.shape(cupy._inside(argument)) for argument in arguments))
        axes = tuple(range(len(shape))) if axis is None else tuple(
            each % len(shape) for each in numpy.atleast_1d(axis))
        order = [i for i in range(len(shape)) if i not in axes] + list(axes)
        arrays = [
            numpy.ascontiguousarray(lying(array, known(kind) or types[kind], shape).transpose(order))
            for (_, kind, _), array in zip(inputs, arguments)]
        dtypes = [known(kind) or types.setdefault(kind, types[inputs[0][1]]) for _, kind, _ in outputs]
        results = [numpy.zeros([1 if i in axes else n for i, n in enumerate(shape)], dtype) for dtype in dtypes]
        for result, array in zip(results, given):
            result[...] = array._array.reshape(result.shape)
        letters, declared, _, numbers = self.declaration.write(types, 'i * inner_ + r_')
        function = compiled(REDUCTION.format(
            head=HEAD, letters=letters, arguments=declared, inputs=' '.join(numbers[:-len(outputs)]),
            output=' '.join(numbers[-len(outputs):]), kind=self.reduce_type or C_TYPES[str(dtypes[0])], **self.parts))
        self.declaration.call(
            function, [results[0].size, int(numpy.prod([shape[i] for i in axes]))], [*arrays, *results])
        for result, array in zip(results, given):
            array._array[...] = result.reshape(array.shape)
        if given:
            return given[0]
        return cupy.ndarray._of(results[0] if keepdims else results[0].squeeze(axes))


def lying(array, dtype, shape):
    """A copy in C order, broadcast where a shape is given."""
    array = numpy.asarray(cupy._inside(array), dtype)
    return numpy.array(array if shape is None else numpy.broadcast_to(array, shape), order='C')
