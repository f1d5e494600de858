"""What one iteration of training costs a GPU, counted on the stand-in for CuPy: launches, memory traffic, transfers.

``python tests/gpu_costs.py images 1 128`` prints every launch of a step of pictures, width 1 and batches of 128, by
kernel and by the line that asks for it.  The rules of what a call launches are those of CuPy 13 and 14.
"""

import collections
import dataclasses
import functools
import math
import pathlib
import re
import sys
import typing

sys.path.append(str(pathlib.Path(__file__).parent.parent))

import numpy
import pytest
from conftest import chainer
from cupy import _watch
from cupy._watch import JOINED, READS, arrays_in

from ddgm import training
from ddgm.evaluation import tasks
from ddgm.presets import PRESETS
from ddgm.runs import training_state

REDUCTIONS = {
    'sum', 'prod', 'max', 'min', 'amax', 'amin', 'mean', 'average', 'all', 'any', 'argmax', 'argmin', 'var', 'std',
    'count_nonzero', 'reduce', 'linalg.norm'}
COPIES = {
    'array', 'asarray', 'asanyarray', 'ascontiguousarray', 'copy', 'astype', 'reshape', 'ravel', 'flatten', 'zeros',
    'zeros_like', 'setitem', 'copyto', 'fill', 'full', 'full_like', 'ones', 'ones_like'}


class Launch(typing.NamedTuple):
    """One kernel, or one call of cuBLAS, and the bytes it reads and writes."""

    kind: str
    name: str
    moved: int


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
    if name in (*_watch.PRODUCTS, 'vdot'):
        return list(launches_of_product(name, given, made[0]))
    owner = type(arguments[0]).__name__ if call.__name__ == '__call__' else ''
    if owner == 'ElementwiseKernel':
        moved -= n_bytes(*only_written(*arguments))
    in_place = name.startswith('__i') and name != '__invert__'
    if in_place or owner in ('ElementwiseKernel', 'ufunc'):  # arguments that overlap with results are copied
        return [Launch('elementwise', name, moved)] + [Launch('copies', name, 2 * x.nbytes) for x in given if any(
            x is not y and numpy.may_share_memory(x, y) for y in made)]
    if owner == 'ReductionKernel':
        return [Launch('reductions', name, moved)]
    plain = name.strip('_')
    if plain in REDUCTIONS:
        return [Launch('reductions', plain, moved)] * (2 if plain in ('var', 'std') else 1)
    if plain == 'setitem':
        return launches_of_setting(arguments)
    if plain in JOINED:
        if _watch.tables_sent(name, arguments):
            return [Launch('elementwise', plain, moved)]
        return [Launch('copies', plain, 2 * array.nbytes) for array in given]
    if plain in ('empty', 'empty_like') or not made and plain != 'fill':
        return []
    is_view = all(any(numpy.may_share_memory(x, y) for y in given) for x in made)
    if is_view and plain not in ('fill', 'sort', 'scatter_add'):
        return []
    if plain in ('fill', 'zeros_like', 'ones_like', 'full_like'):
        moved = n_bytes(*made or given)
    return [Launch('copies' if plain in COPIES else 'elementwise', plain, moved)]


def only_written(kernel, *arguments):
    """The arrays that are given to an elementwise kernel for its results, and that it does not read before."""
    given = arguments[len(kernel.declaration.inputs):]
    for (_, _, name), array in zip(kernel.declaration.outputs, given):
        first = re.search(r'\b{}(?:\[[^]]*\])? =([^;]*)'.format(name), kernel.operation)
        if not re.search(r'\b{}\b'.format(name), first[1]):
            yield from arrays_in([array])


def launches_of_product(name, given, result):
    """Operands and results that lie as cuBLAS cannot take them are copied; a broadcast batch needs tables."""
    x, y = given[:2]
    if name == 'vdot' or x.ndim == y.ndim == 1:  # CuPy stores the products, and CUB adds them up
        yield Launch('elementwise', name, 2 * x.nbytes + y.nbytes)
        yield Launch('reductions', name, x.nbytes)
        return
    function = _watch.cublas_function(name, given)
    batched = function != 'gemmEx'
    for array in (x, y, result):
        if not (array.flags.c_contiguous or array.flags.f_contiguous and not batched):
            yield Launch('copies', name + ' copies', 2 * array.nbytes)
    if function == 'gemmBatched':
        yield from 3 * (result.ndim - 2) * [Launch('elementwise', name + ' pointers', 8 * math.prod(result.shape[:-2]))]
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

    ``sent`` and ``read`` are transfers to the device and back, ``bytes_sent`` the size of the arrays among the former.
    """

    def __init__(self):
        self.launches, self.sent, self.read, self.bytes_sent = [], [], [], 0

    def __enter__(self):
        _watch.watcher = self._see
        return self

    def __exit__(self, *exception):
        _watch.watcher = None

    def _see(self, name, call, arguments, options):
        result = call(*arguments, **options)
        line = caller()
        if name in READS:
            self.read.append(line)
        elif _watch.sends(name, arguments):
            self.sent.append(line)
            self.bytes_sent += arguments[1].nbytes if name == 'set' else result.nbytes
        else:
            self.sent.extend([line] * _watch.tables_sent(name, arguments))
            arguments = (*arguments, *options.values())
            self.launches.extend((launch, line) for launch in launches(name, call, arguments, result))
        return result

    def moved(self):
        """Bytes that all launches read and write."""
        return sum(launch.moved for launch, _ in self.launches)


def caller():
    """The nearest line of ddgm on the stack, and the nearest of a network or the loop: ``file:line < file:line``."""
    frame, found = sys._getframe(1), []
    while frame is not None and len(found) < 2:
        path = pathlib.PurePath(frame.f_code.co_filename)
        if path.name != 'kernels.py' and 'ddgm' in path.parts and not (found and path.parent.name == 'fast'):
            found.append('{}:{}'.format(path.name, frame.f_lineno))
        frame = frame.f_back
    return ' < '.join(found)


class CountingGenerator(numpy.random.Generator):
    """A generator that adds up the bytes it draws, in ``drawn`` by the line that asks for them."""

    drawn = collections.Counter()

    def __getattribute__(self, name):
        method = super().__getattribute__(name)
        if name.startswith('_') or name in ('bit_generator', 'spawn', 'drawn'):
            return method

        @functools.wraps(method)
        def counted(*arguments, **options):
            result = method(*arguments, **options)
            self.drawn[caller()] += getattr(result, 'nbytes', 8)
            return result
        return counted


def measure(task, draw_data, warm_up=2, preset=None, **changes):
    """(:class:`Counts`, bytes drawn on the host by line) of an iteration on the stand-in, as the scripts compute it."""
    settings = (PRESETS[task][preset] if preset else next(iter(PRESETS[task].values()))).settings
    settings = dataclasses.replace(settings, **changes)
    device = chainer.get_device('@cupy:0')
    with chainer.using_device(device), pytest.MonkeyPatch.context() as patch:
        original = training.random_generator
        patch.setattr(training, 'random_generator', lambda *key: CountingGenerator(original(*key).bit_generator))
        state = training_state.build_state(
            settings, functools.partial(tasks.build_models, task), draw_data, device)
        loop = training_state.iterations_of(state, draw_data, settings)
        for _ in range(warm_up):
            next(loop)
        CountingGenerator.drawn.clear()
        with Counts() as counts:
            next(loop)
        return counts, dict(CountingGenerator.drawn)


def step_costs(task, draw_data):
    """Numbers of a step of a published preset: see ``STEP_COSTS``; of pictures, by batches of 128.

    What pictures move is a straight line in the size of the batch, so batches of 16 and 32 tell of 128.
    """
    def of(**changes):
        counts, drawn = measure(task, draw_data, 1, **changes)
        noise = sum(n for line, n in drawn.items() if line.startswith('noise.py'))
        return numpy.array([len(counts.launches), counts.moved(), len(counts.sent), noise, len(counts.read)])
    if task != 'images':
        return of()
    small, larger = (of(batchsize=n) for n in (16, 32))
    return small + 7 * (larger - small)


STEP_COSTS = 'launches', 'bytes moved', 'transfers to the GPU', 'bytes of noise drawn on the host', 'reads'


def traffic_of_pictures(draw_data):
    """By kernel, the bytes that a step of pictures moves, by batches of 128."""
    def of(batchsize):
        counts, _ = measure('images', draw_data, 1, batchsize=batchsize)
        moved = collections.Counter()
        for launch, _ in counts.launches:
            moved[launch.name] += launch.moved
        return moved
    small, larger = map(of, (16, 32))
    return {name: small[name] + 7 * (larger[name] - small[name]) for name in small}


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
    for line, n in drawn.items():
        print('{:5} {:11} {:36} {:10.3f} MB  {}'.format('', 'drawn', '', n / 1e6, line))
    kinds = collections.Counter(launch.kind for launch, _ in counts.launches)
    print('{} launches ({}), {:.1f} MB moved, {} sent ({:.1f} kB), {} read, {:.1f} kB drawn on the host'.format(
        len(counts.launches), ', '.join('{} {}'.format(n, kind) for kind, n in kinds.items()),
        counts.moved() / 1e6, len(counts.sent), counts.bytes_sent / 1e3, len(counts.read), sum(drawn.values()) / 1e3))


if __name__ == '__main__':
    import test_costs
    task = {'mixture': 'gaussian_mixture'}.get(sys.argv[1], sys.argv[1])
    sizes = dict(zip(('width', 'batchsize'), (float(sys.argv[2]), int(sys.argv[3])))) if len(sys.argv) > 2 else {}
    changes, draw_data = test_costs.TASKS[task]
    print_costs(*measure(task, draw_data, **{**changes, **sizes}))
