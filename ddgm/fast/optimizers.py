"""Adam and AdaGrad for all parameters of a model at once.

A model's parameters lie one after the other in one array, and so do the optimizer's averages; an update passes over
them once, in parts that stay in the processor's cache, or on a GPU as a whole.  The states are those of Chainer's
optimizers, by the same names, so that snapshots of either can be read by the other.
"""

import math

import numpy
from chainer import optimizers

from ddgm.fast import kernels
from ddgm.fast.threads import for_each

_AVERAGE = 'average'  # the name of the averages among a parameter's states
_PART = 2 ** 18  # numbers of 4 bytes; five arrays of them are in use at a time, and fewer calls wait for each other


class _WholeModel:
    """What is added to an optimizer of Chainer's: one pass over all parameters, clipping and weight decay included.

    Args:
        gradient_norm (float): To which the whole model's gradient is clipped (Pascanu et al. 2013); 0: not clipped.
        weight_decay (float): Rate of the L2 penalty on all parameters, added to the clipped gradient.
        decay_from (int): Update from which on the learning rate falls as (decay_from/t)^decay_power, so that it does
            not depend on how long a run is to be; 0: it stays.
        decay_power (float): That power.
        averaged (bool): Keep an average of the parameters, for :meth:`averaged_model`.
        hyperparameters: Those of the Chainer optimizer that are in ``hyperparameter_names``; ``TypeError`` for others.
    """

    hyperparameter_names, state_names = (), ()
    # η of polynomial-decay averaging (Shamir & Zhang 2013): the average reaches back over some 1/(η + 1) of the run.
    averaging_power = 8

    def __init__(
            self, gradient_norm=0.0, weight_decay=0.0, decay_from=0, decay_power=1.0, averaged=False,
            **hyperparameters):
        unknown = set(hyperparameters) - set(self.hyperparameter_names)
        if unknown:
            raise TypeError('{} takes {}, not {}'.format(
                type(self).__name__, ', '.join(self.hyperparameter_names), ', '.join(sorted(unknown))))
        super().__init__(**hyperparameters)
        self.gradient_norm = gradient_norm
        self.weight_decay = weight_decay
        self.decay_from = decay_from
        self.decay_power = decay_power
        self.averaged = averaged
        self._parameters, self._views, self._places, self._parts, self._xp = [], [], [], [], numpy

    def update(self, lossfun=None, *args, **kwds):
        """Update all parameters from their ``grad``, or from the gradient of ``lossfun(*args, **kwds)``."""
        if lossfun is not None:
            loss = lossfun(*args, **kwds)
            self.target.cleargrads()
            loss.backward()
        self._gather()
        if any(parameter.grad is None for parameter in self._parameters):
            self.reallocate_cleared_grads()  # to zeros
        self.call_hooks('pre')
        self.t += 1
        gradients = [parameter.grad for parameter in self._parameters]
        if self._xp is not numpy:
            gradients = [self._xp.concatenate([gradient.ravel() for gradient in gradients])]
        rate = self._clipping_rate(gradients)
        # The weight of the newest parameters in their average; 1 in the first update.
        newest = (self.averaging_power + 1) / (self.averaging_power + self.t)

        def update(part_and_pieces):
            part, pieces = part_and_pieces
            gradient, factor = self._joined(gradients, pieces), rate
            if self.weight_decay:
                gradient, factor = gradient * rate + self.weight_decay * self._flat[part], 1
            states = [self._states[name][part] for name in self.state_names]
            self.update_part(self._flat[part], gradient, factor, *states)
            if self.averaged:
                average = self._states[_AVERAGE][part]
                average += newest * (self._flat[part] - average)
        if len(self._parts) == 1:
            update(*self._parts)
        else:
            for_each(update, self._parts)
        self.call_hooks('post')

    def update_part(self, parameters, gradient, factor, *states):
        """Update a part of all parameters and states in place, from ``factor`` times ``gradient``."""
        raise NotImplementedError

    @property
    def decay(self):
        """What the learning rate is multiplied with in the present update."""
        return min(1.0, self.decay_from / self.t) ** self.decay_power if self.decay_from else 1.0

    def averaged_model(self):
        """A copy of the model whose parameters are averages, or the model itself where there are none, or none yet."""
        if not self.averaged or not self.t:
            return self.target
        self._gather()
        averages = {name: parameter.update_rule.state[_AVERAGE] for name, parameter in self.target.namedparams()}
        copy = self.target.copy(mode='copy')
        for name, parameter in copy.namedparams():
            parameter.array = averages[name].copy()
        return copy

    def serialize(self, serializer):
        """Save or load the states, as the Chainer optimizer does."""
        self._gather()
        for parameter in self._parameters:
            parameter.update_rule.t = self.t
        super().serialize(serializer)

    def _clipping_rate(self, gradients):
        """What the gradient is multiplied with; on a GPU an array there, so that nothing waits for it."""
        if not self.gradient_norm:
            return 1
        squared_norms = [self._xp.vdot(gradient, gradient) for gradient in gradients]
        if self._xp is not numpy:
            return kernels.clipping_rate(*squared_norms, self.gradient_norm)
        norm = numpy.sqrt(sum(squared_norms))
        return self.gradient_norm / float(norm) if norm > self.gradient_norm else 1

    def _joined(self, gradients, pieces):
        """One part of the gradient."""
        pieces = [gradients[i].reshape(-1)[first:last] for i, first, last in pieces]
        return pieces[0] if len(pieces) == 1 else numpy.concatenate(pieces)

    def _gather(self):
        """Let all parameters that are updated lie in one array, unless they do already."""
        parameters = [
            parameter for parameter in self.target.params(include_uninit=False) if parameter.update_rule.enabled]
        if len(parameters) == len(self._parameters) and all(
                parameter.array is view for parameter, view in zip(parameters, self._views)):
            return
        xp = self._xp = parameters[0].xp
        ends = numpy.cumsum([parameter.size for parameter in parameters]).tolist()
        places = self._places = [slice(end - parameter.size, end) for parameter, end in zip(parameters, ends)]
        self._flat = xp.concatenate([parameter.array.ravel() for parameter in parameters])
        names = [*self.state_names, _AVERAGE] if self.averaged else self.state_names
        self._states = {name: xp.zeros_like(self._flat) for name in names}
        self._views = []
        for parameter, place in zip(parameters, places):
            parameter.array = self._flat[place].reshape(parameter.shape)
            self._views.append(parameter.array)
            rule = parameter.update_rule
            views = {name: state[place].reshape(parameter.shape) for name, state in self._states.items()}
            if rule.state is not None:
                for name in set(views) & set(rule.state):
                    views[name][...] = parameter.device.send(rule.state[name])
            rule._state = views
        self._parts = []
        for first in range(0, len(self._flat), _PART):
            part = slice(first, min(first + _PART, len(self._flat)))
            self._parts.append((part, [
                (i, max(part.start, place.start) - place.start, min(part.stop, place.stop) - place.start)
                for i, place in enumerate(places) if place.start < part.stop and part.start < place.stop]))
        if xp is not numpy:
            self._parts = [(slice(None), [(0, None, None)])]  # the whole of the one gradient that was joined before
        self._parameters = parameters


class Adam(_WholeModel, optimizers.Adam):
    """Adam (Kingma & Ba 2015), with eps added before the correction as in Chainer.

    ``alpha``, ``beta1``, ``beta2`` and ``eps`` are Chainer's.
    """

    hyperparameter_names, state_names = ('alpha', 'beta1', 'beta2', 'eps'), ('m', 'v')

    def update_part(self, parameters, gradient, factor, m, v):
        """m ← β₁m + (1 − β₁)g, v ← β₂v + (1 − β₂)g², θ ← θ − αₜ·m/(√v + ε)."""
        step_size = self.alpha * self.decay * math.sqrt(1 - self.beta2 ** self.t) / (1 - self.beta1 ** self.t)
        if self._xp is not numpy:
            kernels.adam(
                gradient, factor, step_size, self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2, self.eps,
                parameters, m, v)
            return
        m *= self.beta1
        new = gradient * ((1 - self.beta1) * factor)
        m += new
        v *= self.beta2
        numpy.multiply(gradient, gradient, out=new)
        new *= (1 - self.beta2) * factor ** 2
        v += new
        step = numpy.sqrt(v, out=new)
        step += self.eps
        numpy.divide(m, step, out=step)
        step *= step_size
        parameters -= step


class AdaGrad(_WholeModel, optimizers.AdaGrad):
    """AdaGrad (Duchi et al. 2011) with ``lr`` and ``eps``."""

    hyperparameter_names, state_names = ('lr', 'eps'), ('h',)

    def update_part(self, parameters, gradient, factor, h):
        """h ← h + g², θ ← θ − lr·g/(√h + ε)."""
        if self._xp is not numpy:
            kernels.adagrad(gradient, factor, self.lr * self.decay, self.eps, parameters, h)
            return
        gradient = gradient * factor
        h += gradient * gradient
        gradient *= self.lr * self.decay
        gradient /= numpy.sqrt(h) + self.eps
        parameters -= gradient
