"""The CUDA kernels: that nvcc compiles them, and that none is forgotten.

Their numbers on a GPU, or what stands in for one, are those of GPU twins: of functions, of optimizers, of whole steps.
"""

import itertools
import pathlib
import re
import shutil
import subprocess

import chainer
import numpy
import pytest
from conftest import ROOT
from test_fast_functions import CASES, kernels_used

from ddgm.fast import optimizers
from ddgm.fast.kernels import cuda_convolution, cuda_kernels

KINDS = cuda_kernels.Kernel, cuda_kernels.Reduction
MODULES = {
    module.__name__.rpartition('.')[2]: {
        name: kernel for name, kernel in vars(module).items() if isinstance(kernel, KINDS)}
    for module in (cuda_kernels, cuda_convolution)}
DECLARED = {name: kernel for kernels in MODULES.values() for name, kernel in kernels.items()}
# Those of a number of arrays or of neighbours.
WRITTEN = {name: [getattr(cuda_kernels, name)(n) for n in (1, 3)] for name in ('concatenation', 'neighbours')}
TYPES = {'float': numpy.float32, 'double': numpy.float64}
OTHER_TYPES = {
    'uint8': 'unsigned char', 'uint16': 'unsigned short', 'int32': 'int', 'int64': 'long long', 'float32': 'float',
    'uint64': 'unsigned long long'}

HEAD = '''
struct Index { long n; __device__ long size() const { return n; } };
'''
FUNCTION = '''
extern "C" __global__ void {kernel}_{T}(long all_, {arguments}) {{
    using T = {T};
    Index _ind{{all_}};
    for (ptrdiff_t i = blockIdx.x * blockDim.x + threadIdx.x; i < all_; i += gridDim.x * blockDim.x) {{
        {numbers}
        {operation};
    }}
}}
'''


def parameters_of(declaration):
    """(raw, type, name) of each parameter that 'T x, raw T table' declares."""
    return [(words[0] == 'raw', *words[-2:]) for words in (part.split() for part in declaration.split(','))]


def source():
    """A translation unit of all kernels for both number types, each a plain function, as CuPy would write it."""
    parts = [HEAD, *{kernel.preamble for kernel in DECLARED.values()}]
    for kernel in [*DECLARED.values(), *itertools.chain(*WRITTEN.values())]:
        operation = kernel.operation if hasattr(kernel, 'operation') else '{} a = {}; {}'.format(
            kernel.sum_type or 'T', kernel.summand, kernel.result or '{} = a'.format(kernel.out_params.split()[-1]))
        for T in TYPES:
            arguments, numbers = [], []
            for constant, declaration in (('const ', kernel.in_params), ('', kernel.out_params)):
                for raw, kind, parameter in parameters_of(declaration):
                    c_type = constant + OTHER_TYPES.get(kind, T)
                    arguments.append('{} *{}{}'.format(c_type, parameter, '' if raw else '_'))
                    if not raw:
                        numbers.append('{0} &{1} = {1}_[i];'.format(c_type, parameter))
            parts.append(FUNCTION.format(
                kernel=kernel.name, T=T, arguments=', '.join(arguments), numbers=' '.join(numbers),
                operation=operation))
    return ''.join(parts)


@pytest.fixture
def gpu():
    return chainer.get_device('@cupy:0')


def test_nvcc_compiles_them(tmp_path):
    if not shutil.which('nvcc'):
        pytest.skip('no nvcc')
    (tmp_path / 'kernels.cu').write_text(source())
    subprocess.run(['nvcc', '-std=c++17', '-ptx', 'kernels.cu', '-o', 'kernels.ptx'], cwd=tmp_path, check=True)
    entries = re.findall(r'\.entry (\w+)', (tmp_path / 'kernels.ptx').read_text())
    names = [*DECLARED, *[kernel.name for kernels in WRITTEN.values() for kernel in kernels]]
    assert sorted(entries) == sorted('{}_{}'.format(name, T) for name in names for T in TYPES)


# In test_fast_functions.py, test_optimizers.py, test_noise.py, test_training_state.py.
COMPARED_ELSEWHERE = {
    'sums_over_batches', 'clipping_rate', 'average', 'decayed', 'drawn_bits', 'drawn_gaussian',
    'drawn_noisy_elu', 'drawn_dropout', 'add_observation', 'from_levels'}
UPDATES = {'adam': optimizers.Adam, 'adagrad': optimizers.AdaGrad}


@pytest.mark.gpu
@pytest.mark.parametrize('gradient_norm', [0, 0.5])
@pytest.mark.parametrize('name', UPDATES)
def test_updates(name, gradient_norm, gpu, rng):
    """One kernel of all parameters; test_optimizers.py has the numbers."""
    link = chainer.links.Linear(3, 4)
    link.to_device(gpu)
    optimizer = UPDATES[name](gradient_norm=gradient_norm).setup(link)
    with kernels_used() as used:
        optimizer.update(lambda: chainer.functions.sum(link(gpu.xp.ones((2, 3), dtype=numpy.float32))))
    assert used == {'concatenation_2', name, *(['clipping_rate'] if gradient_norm else [])}


@pytest.mark.gpu
@pytest.mark.parametrize('n', [1, 7, 2 ** 31 - 1])
def test_places_may_pass_32_bits(n, gpu):
    kernel = cuda_kernels.Kernel('places', 'raw int64 places, int32 length', 'raw int64 found', '''
        ptrdiff_t place = places[i];
        found[2 * i + 1] = last_axis(place, length);
        found[2 * i] = place''', cuda_convolution.PREAMBLE)
    places = numpy.array([0, 6, 7, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 6, 3 * 2 ** 40 + 5])
    found = kernel(gpu.send(places), n, gpu.xp.empty((len(places), 2), dtype=numpy.int64), size=len(places))
    numpy.testing.assert_array_equal(found.get().T, divmod(places, n))


def test_none_is_forgotten():
    """Each kernel is called by the package, and compared with the CPU's way; its name is that of its variable."""
    text = ''.join(path.read_text(encoding='utf-8') for path in pathlib.Path(ROOT, 'ddgm').rglob('*.py'))
    for module, kernels in MODULES.items():
        assert kernels
        for name, kernel in kernels.items():
            assert kernel.name == name
            assert re.search(r'\b{}\.{}\b'.format(module, name), text), name
    for name in WRITTEN:
        assert re.search(r'\bcuda_kernels\.{}\b'.format(name), text), name
    assert {*COMPARED_ELSEWHERE, *UPDATES}.union(*(case.kernels for case in CASES.values())) >= set(DECLARED)
