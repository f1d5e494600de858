"""What one iteration of training costs a GPU, counted on the stand-in for CuPy: launches, memory traffic, transfers.

``python tests/gpu_costs.py images 1 128`` prints every launch of a step of pictures, width 1 and batches of 128, by
kernel and by the line that asks for it.  The rules of what a call launches are those of CuPy 13 and 14.
"""

import collections
import contextlib
import dataclasses
import functools
import math
import pathlib
import sys
import typing

sys.path.append(str(pathlib.Path(__file__).parent.parent))

import numpy
from conftest import chainer

from ddgm import training
from ddgm.evaluation import tasks
from ddgm.presets import PRESETS
from ddgm.runs import training_state

READS = {
    'get', 'item', 'tolist', '__bool__', '__int__', '__index__', '__float__', 'nonzero', 'argwhere', 'flatnonzero',
    'unique', 'allclose', 'array_equal'}
PRODUCTS = {'dot', 'matmul', 'tensordot', 'inner', 'outer', 'vdot', 'einsum', 'kron'}
REDUCTIONS = {
    'sum', 'prod', 'max', 'min', 'amax', 'amin', 'mean', 'average', 'all', 'any', 'argmax', 'argmin', 'var', 'std',
    'count_nonzero', 'reduce', 'ReductionKernel'}
JOINED = {'concatenate', 'stack', 'hstack', 'vstack', 'column_stack', 'dstack'}
COPIES = {
    'array', 'asarray', 'asanyarray', 'ascontiguousarray', 'copy', 'astype', 'reshape', 'ravel', 'flatten', 'zeros',
    'zeros_like', 'setitem', 'copyto', 'fill', 'full', 'full_like', 'ones', 'ones_like'}
KINDS = ['elementwise', 'reductions', 'products', 'copies']


class Launch(typing.NamedTuple):
    """One kernel, or one call of cuBLAS, and the bytes it reads and writes."""

    kind: str
    name: str
    moved: int


def arrays_in(values):
    """The NumPy arrays behind those on the GPU in arguments or results."""
    for value in values:
        if isinstance(value, chainer.backends.cuda.ndarray):
            yield value._array
        elif isinstance(value, (list, tuple)):
            yield from arrays_in(value)


def n_bytes(*arrays):
    """Of memory that is touched: a broadcast array is read once."""
    return sum(
        array.itemsize * math.prod(n for n, stride in zip(array.shape, array.strides) if stride) for array in arrays)


def launches(name, call, arguments, result):
    """What a call launches."""
    given, made = list(arrays_in(arguments)), list(arrays_in([result]))
    moved = n_bytes(*given, *made)
    if name in READS or not made and name not in ('__setitem__', 'fill', 'copyto', 'set', 'scatter_add', 'sort'):
        return []
    owner = type(arguments[0]).__name__ if call.__name__ == '__call__' else ''
    if owner == 'ElementwiseKernel':
        return [Launch('elementwise', name, moved)]
    if owner == 'ReductionKernel':
        return [Launch('reductions', name, moved)]
    in_place = name.startswith('__i') and name != '__invert__'
    plain = name.strip('_') if not in_place else name.strip('_')[1:]
    if plain == 'rmatmul' or plain in PRODUCTS:
        return list(launches_of_product(plain, given, made[0]))
    if plain in REDUCTIONS:
        return [Launch('reductions', plain, moved)] * (2 if plain in ('var', 'std') else 1)
    if plain == 'setitem':
        return launches_of_setting(arguments)
    if plain in JOINED:
        same = len({array.dtype for array in given}) == 1
        if len(given) > 8 and same and made[0].nbytes < 2 ** 21 * len(given):
            return [Launch('copies', plain, moved)]
        return [Launch('copies', plain, 2 * array.nbytes) for array in given]
    if plain in ('empty', 'empty_like') or not made and plain != 'fill':
        return []
    is_view = all(any(numpy.may_share_memory(x, y) for y in given) for x in made)
    if is_view and owner != 'ufunc' and not in_place and plain not in ('fill', 'sort', 'scatter_add'):
        return []
    if plain in ('fill', 'zeros_like', 'ones_like', 'full_like'):
        moved = n_bytes(*made or given)
    return [Launch('copies' if plain in COPIES else 'elementwise', plain, moved)]


def launches_of_product(name, given, result):
    """Operands and results that lie as cuBLAS cannot take them are copied; a broadcast batch needs tables."""
    x, y = given[:2]
    if x.ndim == y.ndim == 1:  # CuPy makes a reduction of it
        yield Launch('reductions', name, n_bytes(x, y, result))
        return
    batched = name == 'matmul' and max(x.ndim, y.ndim) > 2
    for array in (x, y, result):
        if not (array.flags.c_contiguous or array.flags.f_contiguous and not batched):
            yield Launch('copies', name + ' copies', 2 * array.nbytes)
    if batched and x.shape[:-2] != y.shape[:-2]:
        yield from 3 * [Launch('elementwise', name + ' pointers', 8 * math.prod(result.shape[:-2]))]
    yield Launch('products', name, n_bytes(x, y, result))


def launches_of_setting(arguments):
    """One copy, but where x[i] += y has written its result already."""
    array, key, value = arguments
    place = array[key]._array
    values = list(arrays_in([value]))
    if values and values[0].ctypes.data == place.ctypes.data and values[0].strides == place.strides:
        return []
    return [Launch('copies', 'setitem', n_bytes(*values, place))]


class Counts:
    """What the calls inside a ``with`` block cost: ``launches`` (a launch and the line that asks for it), and numbers.

    ``sent`` and ``read`` are transfers to the device and back, ``bytes_sent`` their size.
    """

    def __init__(self):
        self.launches, self.sent, self.read, self.bytes_sent = [], [], [], 0

    def __enter__(self):
        from cupy import _watch
        _watch.watcher = self._see
        return self

    def __exit__(self, *exception):
        from cupy import _watch
        _watch.watcher = None

    def _see(self, name, call, arguments, options):
        result = call(*arguments, **options)
        line = caller()
        if name in READS:
            self.read.append(line)
        elif name == 'set' or name.startswith(('array', 'as')) and not list(arrays_in(arguments)):
            self.sent.append(line)
            self.bytes_sent += arguments[1].nbytes if name == 'set' else result.nbytes
        else:
            arguments = (*arguments, *options.values())
            if name in JOINED:
                arguments = list(arguments[0]) if isinstance(arguments[0], (list, tuple)) else arguments
                if len(arguments) > 8 and sum(map(n_bytes, arrays_in(arguments))) < 2 ** 21 * len(arguments):
                    self.sent.extend(3 * [line])
                    self.bytes_sent += 24 * len(arguments)
            self.launches.extend((launch, line) for launch in launches(name, call, arguments, result))
        return result

    def by_kind(self):
        """Numbers of launches in the order of ``KINDS``."""
        found = collections.Counter(launch.kind for launch, _ in self.launches)
        return [found[kind] for kind in KINDS]

    def moved(self):
        """Bytes that all launches read and write."""
        return sum(launch.moved for launch, _ in self.launches)


def caller():
    """The nearest lines of ddgm on the stack, ``file:line < file:line``."""
    frame, found = sys._getframe(1), []
    while frame is not None and len(found) < 2:
        path = pathlib.PurePath(frame.f_code.co_filename)
        if 'ddgm' in path.parts and path.name not in ('elementary.py', 'on_gpu.py', 'cuda_kernels.py'):
            found.append('{}:{}'.format(path.name, frame.f_lineno))
        frame = frame.f_back
    return ' < '.join(found)


class CountingGenerator(numpy.random.Generator):
    """A generator that adds up the bytes it draws."""

    drawn = 0

    def __getattribute__(self, name):
        method = super().__getattribute__(name)
        if name.startswith('_') or name in ('bit_generator', 'drawn', 'spawn') or not callable(method):
            return method

        @functools.wraps(method)
        def counted(*arguments, **options):
            result = method(*arguments, **options)
            CountingGenerator.drawn += getattr(result, 'nbytes', 8)
            return result
        return counted


@contextlib.contextmanager
def drawing_is_counted():
    """Of what iterations draw inside, as ``CountingGenerator.drawn``."""
    original = training.random_generator
    training.random_generator = lambda *key: CountingGenerator(original(*key).bit_generator)
    CountingGenerator.drawn = 0
    try:
        yield
    finally:
        training.random_generator = original


def measure(task, draw_data, warm_up=2, preset=None, **changes):
    """(:class:`Counts`, bytes drawn on the host) of an iteration on the stand-in, as the scripts compute it."""
    settings = (PRESETS[task][preset] if preset else next(iter(PRESETS[task].values()))).settings
    settings = dataclasses.replace(settings, **changes)
    device = chainer.get_device('@cupy:0')
    with chainer.using_device(device), drawing_is_counted():
        state = training_state.build_state(
            settings, functools.partial(tasks.build_models, task), draw_data, device)
        loop = training_state.iterations_of(state, draw_data, settings)
        for _ in range(warm_up):
            next(loop)
        CountingGenerator.drawn = 0
        with Counts() as counts:
            next(loop)
        return counts, CountingGenerator.drawn


def print_costs(counts, drawn):
    """A table of launches by kernel and line, and the sums."""
    table = collections.defaultdict(lambda: [0, 0])
    for launch, line in counts.launches:
        row = table[launch.kind, launch.name, line]
        row[0] += 1
        row[1] += launch.moved
    for (kind, name, line), (n, moved) in sorted(table.items(), key=lambda item: -item[1][0]):
        print('{:5} {:11} {:36} {:10.3f} MB  {}'.format(n, kind, name, moved / 1e6, line))
    for name, lines in (('sent', counts.sent), ('read', counts.read)):
        for line, n in collections.Counter(lines).most_common():
            print('{:5} {:11} {:36} {:13}  {}'.format(n, 'transfer', name, '', line))
    print('{} launches ({}), {:.1f} MB moved, {} sent ({:.1f} kB), {} read, {:.1f} kB drawn on the host'.format(
        len(counts.launches), ' + '.join('{} {}'.format(*each) for each in zip(counts.by_kind(), KINDS)),
        counts.moved() / 1e6, len(counts.sent), counts.bytes_sent / 1e3, len(counts.read), drawn / 1e3))


if __name__ == '__main__':
    import test_costs
    task = {'mixture': 'gaussian_mixture'}.get(sys.argv[1], sys.argv[1])
    sizes = dict(zip(('width', 'batchsize'), (float(sys.argv[2]), int(sys.argv[3])))) if len(sys.argv) > 2 else {}
    changes, draw_data = test_costs.TASKS[task]
    print_costs(*measure(task, draw_data, **{**changes, **sizes}))
