"""The arrays of a model under the names that the same network has in PyTorch, as its ``state_dict``.

=============================  ====================================================================================
here                           ``torch.nn``
=============================  ====================================================================================
Linear: W, b                   Linear: weight, bias
Convolution2D: W, b            Conv2d: weight, bias
Deconvolution2D: W, b          ConvTranspose2d: weight, bias; (in, out, k, k) in both
BatchNormalization: gamma,     BatchNorm1d or 2d: weight, bias, running_mean, running_var, num_batches_tracked; the
beta, avg_mean, avg_var, N     running variance is the unbiased one in both
WeightNormalizedLinear, …:     the layer under torch.nn.utils.parametrizations.weight_norm:
g, V, b                        parametrizations.weight.original0 and original1, bias; a ConvTranspose2d with dim=1
a model's own parameter: b     Parameter: b
its own persistent array:      buffer: sigma
sigma
=============================  ====================================================================================

A path such as ``/feature_extractor/l1/W`` becomes ``feature_extractor.l1.weight``.  What no ``state_dict`` holds has to
agree by itself: strides, paddings, BatchNormalization's momentum (0.1, that is 1 − decay) and eps (see :func:`load`).

:func:`load` reads Chainer's own names as well, those of ``chainer.serializers``.
"""

from __future__ import annotations

import collections
import math

import chainer
import chainer.links as L
import numpy

from ddgm.links import WeightNormalized, WeightNormalizedDeconvolution2D
from ddgm.support.errors import UsageError, some
from ddgm.weights import checkpoints

EPS = 2e-5  # of BatchNormalization in Chainer and in the 2016 code; PyTorch has 1e-5

_LAYER = {'W': 'weight', 'b': 'bias'}
_NAMES = (
    (L.Linear, _LAYER),
    (L.Convolution2D, _LAYER),
    (L.Deconvolution2D, _LAYER),
    (L.BatchNormalization, {
        'gamma': 'weight', 'beta': 'bias', 'avg_mean': 'running_mean', 'avg_var': 'running_var',
        'N': 'num_batches_tracked'}),
    (WeightNormalized, {
        'g': 'parametrizations.weight.original0', 'V': 'parametrizations.weight.original1', 'b': 'bias'}),
)
# torch.nn.utils.weight_norm, from before there were parametrizations.
_OLD_ENDINGS = {'weight_g': 'parametrizations.weight.original0', 'weight_v': 'parametrizations.weight.original1'}


def export(model: chainer.Link) -> dict[str, numpy.ndarray]:
    """The ``state_dict`` of the same network in PyTorch: NumPy arrays by name, copies, whatever the model's device.

    Raises ``ValueError`` for a link that has no equivalent, or before weight normalization has got its start from data.
    """
    arrays = {}
    for name, (link, attribute) in _places(model).items():
        value = getattr(link, attribute)
        if isinstance(value, chainer.Parameter):
            if not value.is_initialized:
                raise ValueError('{}: weight normalization has not seen its first batch'.format(name))
            value = value.array
        dtype = numpy.int64 if attribute == 'N' else None
        arrays[name] = numpy.array(chainer.cuda.to_cpu(value), dtype=dtype).reshape(_shape(link, attribute))
    return arrays


def load(model: chainer.Link, arrays: dict, eps: float = EPS, cure: str = 'give them alone') -> str:
    """Put the ``state_dict`` of the same network in PyTorch, as NumPy arrays by name, into a model.

    Names of the older ``torch.nn.utils.weight_norm`` are understood too, and ``num_batches_tracked``, which nothing
    here depends on, may be absent.  All names may begin alike, as ``module.`` or ``generator.``, and arrays that begin
    otherwise are left alone: the one beginning is taken whose names and shapes are exactly the model's.

    Args:
        model: Its device and number type stay as they are.
        arrays: By name, of any floating-point type.
        eps: Of the BatchNorm modules in PyTorch, whose default is 1e-5.  Where it is not the model's own, the
            running variances are changed by the difference, so that in test mode both compute the same.  With names of
            Chainer they stay as they are.
        cure: What the user can do where it is not certain which arrays are meant.

    Returns:
        What the names began with, mostly nothing.

    Raises:
        UsageError: Names or shapes differ, or a number is not finite; lists all of that.  Or the model has no arrays.
            The model stays as it was.
    """
    of_chainer = any(name.endswith(('/W', '/V', '/gamma')) for name in arrays)
    arrays = {_new_name(name): numpy.asarray(array) for name, array in arrays.items()}
    places = _chainer_places(model) if of_chainer else _places(model)
    if not places:
        raise UsageError('{} has no arrays that weights could be put into'.format(type(model).__name__))
    beginning = _beginning(arrays, places, '/' if of_chainer else '.', cure)
    arrays = _below(arrays, beginning)
    faults = _differences(arrays, places, None if of_chainer else eps)
    if faults:
        raise UsageError('the weights {}don\'t fit: {}'.format(
            beginning and 'of {} '.format(beginning[:-1]), '; '.join(faults)))
    for name, array in arrays.items():
        link, attribute = places[name]
        value = getattr(link, attribute)
        if attribute == 'N':
            link.N = int(array)
            continue
        if attribute == 'avg_var' and not of_chainer:
            array = array.astype(numpy.float64) + (eps - link.eps)
        elif attribute == 'g':
            array = array.ravel()
        if isinstance(value, chainer.Parameter):
            if not value.is_initialized:  # weight normalization's
                value.initialize(array.shape)
            value = value.array
        value[...] = link.device.send(array.astype(value.dtype))
    return beginning


def _beginning(arrays, places, separator, cure):
    """What the names of a model's arrays begin with: the one for which names and shapes fit, else the likeliest."""
    found = collections.Counter(
        name[:len(name) - len(place)] for name in arrays for place in places
        if name == place or name.endswith(separator + place))
    fitting = [beginning for beginning in found if _fits(_below(arrays, beginning), places)]
    if not fitting and 2 * max(found.values(), default=0) < len(places):
        raise UsageError('the weights don\'t fit: needed are {}, and it holds {}: {}'.format(
            checkpoints.summary(places), checkpoints.summary(arrays), cure))
    first, *others = fitting or [min(found, key=lambda beginning: (-found[beginning], len(beginning)))]
    for other in others:
        ones, twos = _below(arrays, first), _below(arrays, other)
        if any(not numpy.array_equal(ones[name], twos[name]) for name in ones.keys() & twos.keys()):
            raise UsageError('it holds several that fit, {}: {}'.format(
                ', '.join(sorted(beginning.rstrip('./') or 'what has no name' for beginning in fitting)), cure))
    return first


def _below(arrays, beginning):
    return {name[len(beginning):]: array for name, array in arrays.items() if name.startswith(beginning)}


def _fits(arrays, places):
    return not _missing(arrays, places) and all(
        name in places and _has_shape(array, *places[name]) for name, array in arrays.items())


def _places(model):
    """By PyTorch's names, the link and the attribute of every array of a model."""
    places = {}
    for prefix, link in _named_links(model):
        names = next((names for kind, names in _NAMES if isinstance(link, kind)), None)
        if names is None:
            if not isinstance(link, (chainer.Chain, chainer.ChainList)):
                raise ValueError('{}a {} has no known equivalent in PyTorch'.format(prefix, type(link).__name__))
            names = {name: name for name in sorted(link._params | link._persistent)}
        for attribute, name in names.items():
            if getattr(link, attribute, None) is not None:
                places[prefix + name] = link, attribute
    return places


def _chainer_places(model):
    """The same by Chainer's names."""
    return {
        '/'.join(filter(None, [*path.split('/'), attribute])): (link, attribute)
        for path, link in model.namedlinks() for attribute in sorted(link._params | link._persistent)
        if getattr(link, attribute, None) is not None}


def _named_links(link, prefix=''):
    """A link and all below it, each with what stands before its arrays' names."""
    yield prefix, link
    if isinstance(link, chainer.Sequential):  # PyTorch counts its functions too
        children = [(str(i), layer) for i, layer in enumerate(link) if isinstance(layer, chainer.Link)]
    elif isinstance(link, (chainer.Chain, chainer.ChainList)):
        children = [(child.name, child) for child in link.children()]
    else:
        return
    for name, child in children:
        yield from _named_links(child, '{}{}.'.format(prefix, name))


def _shape(link, attribute):
    """In PyTorch."""
    if attribute == 'N':
        return ()
    if isinstance(link, WeightNormalized) and attribute == 'g':
        unit_axis = 1 if isinstance(link, WeightNormalizedDeconvolution2D) else 0
        return tuple(link.n_out if axis == unit_axis else 1 for axis in range(link.V.ndim))
    if isinstance(link, WeightNormalized) and attribute == 'b':
        return link.n_out,
    value = getattr(link, attribute)
    if isinstance(value, chainer.Parameter) and not value.is_initialized:
        return None  # the first batch would tell
    return numpy.shape(value)


def _has_shape(array, link, attribute):
    """Whether an array is of the shape that is needed; Chainer's weight normalization has a norm in any."""
    shape = _shape(link, attribute)
    if attribute == 'g' and array.ndim == 1:
        return array.size == math.prod(shape)
    return shape is None or array.shape == shape


def _new_name(name):
    prefix, dot, ending = name.rpartition('.')
    return prefix + dot + _OLD_ENDINGS.get(ending, ending)


def _differences(arrays, places, eps):
    """What of names, shapes, types and values does not fit: a list of phrases.

    A running variance that was shifted to another eps may be below 0 by less than ``eps``, ``None``: the model's own.
    """
    extra = [name for name in arrays if name not in places]
    faults = [
        '{}: {}'.format(what, some(names, 12))
        for what, names in (('missing', _missing(arrays, places)), ('extra', extra)) if names]
    for name, place in places.items():
        if name not in arrays:
            continue
        array, (link, attribute) = arrays[name], place
        if not _has_shape(array, *place):
            faults.append('{} is {}, where {} is needed'.format(name, array.shape, _shape(*place)))
        elif array.dtype.kind not in ('iuf' if attribute == 'N' else 'f'):
            faults.append('{} is of type {}'.format(name, array.dtype))
        elif not numpy.isfinite(array).all():
            faults.append('{} is not finite'.format(name))
        elif attribute != 'N' and numpy.abs(array).max() > numpy.finfo(getattr(link, attribute).dtype).max:
            faults.append('{} has numbers beyond {}'.format(name, numpy.dtype(getattr(link, attribute).dtype)))
        elif attribute == 'avg_var' and array.min() < 0 and array.min() + (link.eps if eps is None else eps) <= 0:
            faults.append('{} is negative'.format(name))
    return faults


def _missing(arrays, places):
    return [name for name, (_, attribute) in places.items() if name not in arrays and attribute != 'N']
