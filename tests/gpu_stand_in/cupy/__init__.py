"""A strict stand-in for CuPy, which computes on the CPU: for tests on machines without a GPU.

Its arrays refuse what CuPy's refuse: to be mixed with NumPy's, and to become one without being asked.  Functions and
methods are those that CuPy 13 and 14 both have, with the parameters that both know (``interface.txt``); NumPy computes
them.  Kernels are compiled for the CPU.  It says nothing of speed, of memory on a card, or of rounding.
"""

import functools
import inspect
import pathlib
import sys
import weakref

import numpy
from numpy import (  # noqa: F401
    bool_,
    complex64,
    complex128,
    float16,
    float32,
    float64,
    generic,
    inf,
    int8,
    int16,
    int32,
    int64,
    nan,
    newaxis,
    pi,
    uint8,
    uint16,
    uint32,
    uint64,
)

from cupy._watch import watched

__version__ = '13.0.0'
HERE = pathlib.Path(__file__).resolve().parent


def _read_interface():
    """The signature of each function and method, and the numbers of arrays of each ufunc."""
    signatures, ufuncs = {}, {}
    for line in (HERE.parent / 'interface.txt').read_text(encoding='utf-8').splitlines()[1:]:
        name, _, declared = line.partition('(')
        if declared:
            signatures[name] = inspect.signature(eval('lambda {}: 0'.format(declared[:-1])))
        else:
            name, _, *numbers = line.split()
            ufuncs[name] = tuple(map(int, numbers))
    return signatures, ufuncs


_SIGNATURES, _UFUNCS = _read_interface()
_OWNERS = weakref.WeakValueDictionary()  # arrays that others are views of, by what they hold, which stays while they do
_LIVING = weakref.WeakValueDictionary()  # arrays that the program holds, by their identity
_NUMBERS = (bool, int, float, complex, numpy.generic)


def _inside(value):
    """What NumPy computes with in place of an argument; ``TypeError`` where CuPy would not take it."""
    if isinstance(value, ndarray):
        return value._array
    if isinstance(value, numpy.ndarray):
        raise TypeError('Unsupported type {}'.format(type(value)))
    if isinstance(value, (list, tuple)):
        return type(value)(map(_inside, value))
    if isinstance(value, dict):
        return {name: _inside(each) for name, each in value.items()}
    return value


def _outside(value):
    """A result of NumPy as CuPy has it: what would be a number is an array without axes."""
    if isinstance(value, (numpy.ndarray, numpy.generic)):
        return ndarray._of(numpy.asarray(value))
    if isinstance(value, (list, tuple)):
        return type(value)(*map(_outside, value)) if hasattr(value, '_fields') else type(value)(map(_outside, value))
    return value


def _bound(name, arguments, options):
    """Raise ``TypeError`` where CuPy does not know these arguments of a function or method."""
    if name not in _SIGNATURES:
        raise AttributeError('CuPy 13 and 14 do not both have {}'.format(name))
    try:
        _SIGNATURES[name].bind(*arguments, **options)
    except TypeError as error:
        raise TypeError('{} of CuPy: {}'.format(name, error)) from None


class ndarray:
    """An array on the GPU, but for where it lies."""

    __array_priority__ = 100
    __hash__ = None

    def __init__(self, shape, dtype=float, memptr=None, strides=None, order='C'):
        if memptr is not None or strides is not None:
            raise NotImplementedError('this stand-in has no memory of a card')
        self._array = numpy.empty(shape, dtype, order)
        _LIVING[id(self)] = self

    @classmethod
    def _of(cls, array):
        new = cls.__new__(cls)
        new._array = array
        _LIVING[id(new)] = new
        return new

    # -- what CuPy refuses, and what must be asked for

    def __array__(self, *arguments, **options):
        raise TypeError(
            'Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array '
            'explicitly.')

    def __array_ufunc__(self, function, method, *arguments, **options):
        found = _ufunc(function.__name__)
        return (found if method == '__call__' else getattr(found, method))(*arguments, **options)

    def __array_function__(self, function, types, arguments, options):
        return __getattr__(function.__name__)(*arguments, **options)

    @watched
    def get(self, stream=None, order='C', out=None, blocking=True):
        if out is None:
            return numpy.array(self._array, order=order)
        out[...] = self._array
        return out

    @watched
    def set(self, arr, stream=None):
        if not isinstance(arr, numpy.ndarray):
            raise TypeError('Only numpy.ndarray can be set to cupy.ndarray')
        self._array[...] = arr

    @watched
    def __bool__(self):
        return bool(self._array)

    @watched
    def __int__(self):
        return int(self._array)

    @watched
    def __index__(self):
        return self._array.__index__()

    @watched
    def __float__(self):
        return float(self._array)

    @watched
    def item(self, *arguments):
        return self._array.item(*arguments)

    @watched
    def tolist(self):
        return self._array.tolist()

    def __repr__(self):
        return repr(self._array)

    __str__ = __repr__

    def __reduce__(self):
        return array, (self._array,)

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        return self.copy()

    # -- shape and place

    dtype = property(lambda self: self._array.dtype)
    ndim = property(lambda self: self._array.ndim)
    size = property(lambda self: self._array.size)
    itemsize = property(lambda self: self._array.itemsize)
    nbytes = property(lambda self: self._array.nbytes)
    strides = property(lambda self: self._array.strides)
    flags = property(lambda self: self._array.flags)
    device = property(lambda self: cuda.Device(0))
    T = property(lambda self: self.transpose())

    @property
    def base(self):
        owner = self._array.base
        if owner is None:
            return None
        if id(owner) not in _OWNERS:
            _OWNERS[id(owner)] = new = ndarray._of(numpy.asarray(owner))
            return new
        return _OWNERS[id(owner)]

    @property
    def shape(self):
        return self._array.shape

    @shape.setter
    def shape(self, shape):
        self._array.shape = shape

    @property
    def data(self):
        raise NotImplementedError('this stand-in has no memory of a card')

    def reduced_view(self, dtype=None):
        return self

    @watched
    def scatter_add(self, slices, value):
        numpy.add.at(self._array, _inside(slices), _inside(value))

    def __len__(self):
        return len(self._array)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    @watched
    def __getitem__(self, key):
        key = _inside(key if isinstance(key, tuple) else (key,))
        if not any(each is Ellipsis for each in key):
            key += (Ellipsis,)  # so that a number too is a view, as in CuPy
        return _outside(self._array[key])

    @watched
    def __setitem__(self, key, value):
        value = _inside(value)
        if not isinstance(value, (numpy.ndarray, *_NUMBERS)):
            raise TypeError('Unsupported type {}'.format(type(value)))
        self._array[_inside(key)] = value

    def __getattr__(self, name):
        name = 'ndarray.' + name
        if name not in _SIGNATURES:
            raise AttributeError('arrays of CuPy 13 and 14 do not both have {}'.format(name))
        return functools.partial(_method, self, name)


@watched
def _method(self, name, *arguments, **options):
    _bound(name, arguments, options)
    return _outside(getattr(self._array, name.partition('.')[2])(*_inside(arguments), **_inside(options)))


def _operator(name):
    def operate(self, *others):
        for other in others:
            if not isinstance(other, (ndarray, numpy.ndarray, *_NUMBERS)):
                return NotImplemented
        result = getattr(self._array, name)(*map(_inside, others))
        if result is NotImplemented:
            return result
        return self if name.startswith('__i') and name != '__invert__' else _outside(result)
    operate.__name__ = name
    return watched(operate)


for _name in ('add', 'sub', 'mul', 'truediv', 'floordiv', 'mod', 'pow', 'matmul', 'and', 'or', 'xor', 'lshift',
              'rshift'):
    for _kind in ('__{}__', '__r{}__', '__i{}__'):
        setattr(ndarray, _kind.format(_name), _operator(_kind.format(_name)))
for _name in ('neg', 'pos', 'abs', 'invert', 'lt', 'le', 'gt', 'ge', 'eq', 'ne'):
    setattr(ndarray, '__{}__'.format(_name), _operator('__{}__'.format(_name)))


# ---- functions

class ufunc:
    """A function of numbers, which takes arrays on the GPU and numbers."""

    def __init__(self, name):
        self.__name__ = self.name = name
        self.nin, self.nout = _UFUNCS[name]
        self._function = getattr(numpy, name)

    @watched
    def __call__(self, *arguments, out=None, dtype=None):
        if not self.nin <= len(arguments) <= self.nin + self.nout:
            raise TypeError('Wrong number of arguments for {}'.format(self.name))
        out = tuple(arguments[self.nin:]) or out
        options = {'out': _inside(out)} if out is not None else {}
        return self._finish(self._function(*map(_taken, arguments[:self.nin]), dtype=dtype, **options), out)

    @watched
    def reduce(self, array, axis=0, dtype=None, out=None, keepdims=False):
        return self._finish(self._function.reduce(_inside(array), axis, dtype, _inside(out), keepdims), out)

    def _finish(self, result, out):
        if isinstance(out, tuple) and len(out) == 1:
            out, = out
        return out if out is not None else _outside(result)


def _taken(value):
    """An argument of a ufunc, which takes no lists either."""
    if not isinstance(value, (ndarray, *_NUMBERS)):
        raise TypeError('Unsupported type {}'.format(type(value)))
    return _inside(value)


@functools.lru_cache(None)
def _ufunc(name):
    if name not in _UFUNCS:
        raise TypeError('CuPy 13 and 14 do not both have the ufunc {}'.format(name))
    return ufunc(name)


@functools.lru_cache(None)
def _function(name, computed_by):
    def function(*arguments, **options):
        if name in ('split', 'array_split') and isinstance(arguments[1], numpy.ndarray):
            arguments = (arguments[0], arguments[1].tolist(), *arguments[2:])  # the places, which CuPy reads one by one
        _bound(name, arguments, options)
        return _outside(computed_by(*_inside(arguments), **_inside(options)))
    function.__name__ = name
    return watched(function)


class _Part:
    """A part of CuPy, such as ``linalg``."""

    def __init__(self, name):
        self._name = name

    def __getattr__(self, name):
        return _function('{}.{}'.format(self._name, name), getattr(getattr(numpy, self._name), name))


def __getattr__(name):
    if name in _UFUNCS:
        return _ufunc(name)
    if name in _SIGNATURES:
        return _function(name, getattr(numpy, name))
    raise AttributeError('CuPy 13 and 14 do not both have {}'.format(name))


linalg = _Part('linalg')


@watched
def array(obj, dtype=None, copy=True, order='K', subok=False, ndmin=0, *, blocking=False):
    """The one way from NumPy, with :func:`asarray` and its kin; of orders, C and Fortran's alone outlive it."""
    copied = numpy.array(_given(obj), dtype, order=order, ndmin=ndmin)
    kept = isinstance(obj, ndarray) or copied.flags.f_contiguous
    return ndarray._of(copied if kept else numpy.ascontiguousarray(copied))


@watched
def asarray(a, dtype=None, order=None, *, blocking=False):
    if isinstance(a, ndarray):
        return ndarray._of(numpy.asarray(a._array, dtype, order))
    return array(a, dtype, order=order or 'K')


asanyarray = asarray


@watched
def ascontiguousarray(a, dtype=None):
    return ndarray._of(numpy.ascontiguousarray(a._array if isinstance(a, ndarray) else numpy.array(a), dtype))


def _given(value):
    return value if isinstance(value, numpy.ndarray) else _inside(value)


def asnumpy(a, stream=None, order='C', out=None, *, blocking=True):
    return a.get(stream, order, out, blocking) if isinstance(a, ndarray) else numpy.asarray(a, order=order)


def get_array_module(*arrays):
    from chainer import Variable
    return sys.modules[__name__] if any(isinstance(each, (ndarray, Variable)) for each in arrays) else numpy


def memoize(for_each_device=False):
    return functools.lru_cache(None)


def fuse(*arguments, **options):
    return lambda function: function


class _Pool:
    """Named by Chainer, asked for what it does not use alone."""

    def free_all_blocks(self, stream=None):
        pass


def get_default_memory_pool():
    return _Pool()


get_default_pinned_memory_pool = get_default_memory_pool

from cupy import cuda, random, testing  # noqa: E402, F401
from cupy._kernels import ElementwiseKernel, ReductionKernel  # noqa: E402, F401
