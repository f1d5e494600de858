"""Adam and AdaGrad for all parameters of a model at once.

A model's parameters lie one after the other in one array, and so do the optimizer's states; an update passes over
them once, in parts that stay in the processor's cache, or on a GPU as a whole.  The states are those of Chainer's
optimizers, by the same names, so that snapshots of either can be read by the other.

That pass is for parameters that follow the optimizer.  Those with hyperparameters, hooks or a count of updates of their
own, in float16, or with a scaled gradient are updated by Chainer, one by one.
"""

from __future__ import annotations

import collections
import math
import operator

import chainer
import numpy
from chainer import optimizers
from chainer.optimizer import Hyperparameter
from chainer.optimizers import ada_grad, adam

from ddgm.fast import kernels
from ddgm.fast.threads import for_each

_AVERAGE = 'average'  # the name of the averages among a parameter's states
_PART = 2 ** 18  # numbers of 4 bytes; five arrays of them are in use at a time, and fewer calls wait for each other


class _WholeModel:
    """What is added to an optimizer of Chainer's: one pass over all parameters, clipping and weight decay included.

    Args:
        hyperparameters: Those of the Chainer optimizer, by place or name; ``TypeError`` for others.
        gradient_norm (float): To which the whole model's gradient is clipped (Pascanu et al. 2013); 0: not clipped.
        weight_decay (float): Rate of the L2 penalty on all parameters, added to the clipped gradient.
        decay_from (int): Update from which on the learning rate falls as (decay_from/t)^decay_power, so that it does
            not depend on how long a run is to be; 0: it stays.
        decay_power (float): That power.
        averaged (bool): Keep an average of the parameters, for :meth:`averaged_model`.

    Attributes:
        whole_gradient (tuple): For the next update an array, (n,), and the views of it that the parameters have as
            gradients, one after the other; where there are such, they are not joined.
    """

    # Chainer's update rule, and its names of the learning rate and of the states
    rule_type, rate_name, state_names = None, '', ()
    # η of polynomial-decay averaging (Shamir & Zhang 2013): the average reaches back over some 1/(η + 1) of the run.
    averaging_power = 8

    def __init__(
            self, *hyperparameters: float, gradient_norm: float = 0.0, weight_decay: float = 0.0, decay_from: int = 0,
            decay_power: float = 1.0, averaged: bool = False, **named_hyperparameters):
        super().__init__(*hyperparameters, **named_hyperparameters)
        self.gradient_norm = gradient_norm
        self.weight_decay = weight_decay
        self.decay_from = decay_from
        self.decay_power = decay_power
        self.averaged = averaged
        self._followers, self._rules, self._views, self._flats, self._others = [], [], [], [], []
        self.whole_gradient = None, []

    def update(self, lossfun=None, *args, **kwds) -> None:
        """Update all parameters from their ``grad``, or from the gradient of ``lossfun(*args, **kwds)``."""
        if lossfun is not None:
            loss = lossfun(*args, **kwds)
            if getattr(self, '_use_cleargrads', True):
                self.target.cleargrads()
            else:
                self.target.zerograds()
            loss.backward(loss_scale=self._loss_scale)
        self._gather()
        if self._others or self._hookable._pre_update_hooks or self._loss_scale is not None:
            self.reallocate_cleared_grads()
        self.check_nan_in_grads()
        self.call_hooks('pre')
        if self._hookable._pre_update_hooks:
            self._gather()
        recording = chainer.config.recording
        numbers = self._count() if recording is None else recording.given(self._count, self._flats[0].array.dtype)
        if self.is_safe_to_update():
            self._step(*numbers)
        if self._others:
            self.reallocate_cleared_grads()
        self.call_hooks('post')
        self.update_loss_scale()

    def update_part(
            self, parameters: numpy.ndarray, gradient: numpy.ndarray, factor: float, step_size: float,
            *states: numpy.ndarray) -> None:
        """Update a part of all parameters and states, (n,), in place, from ``factor`` times ``gradient``, (n,)."""
        raise NotImplementedError

    def step_size(self) -> float:
        """Of the present update, as :meth:`update_part` takes it."""
        raise NotImplementedError

    def fixed(self) -> list | None:
        """What an update depends on beside numbers that change; ``None`` where Chainer or a hook has a part in it."""
        self._gather()
        hooks = self._hookable._pre_update_hooks or self._hookable._post_update_hooks
        if len(self._flats) != 1 or self._others or hooks or self._loss_scale is not None:
            return None
        hyperparameters = {**self.hyperparam.__dict__, self.rate_name: None}
        return [*self._flats, hyperparameters, self.gradient_norm, self.weight_decay, self.averaged]

    def knows_hyperparameters(self) -> bool:
        """Whether :meth:`update_part` can do what the hyperparameters ask for; otherwise Chainer does it."""
        return True

    @property
    def decay(self) -> float:
        """What the learning rate is multiplied with in the present update."""
        return min(1.0, self.decay_from / self.t) ** self.decay_power if self.decay_from else 1.0

    def averaged_model(self) -> chainer.Link:
        """A copy of the model whose parameters are averages, or the model itself where there are none, or none yet.

        Parameters that were never updated are as they are.
        """
        if not self.averaged or not self.t:
            return self.target
        self._gather()
        averages = {name: _average(parameter) for name, parameter in self.target.namedparams()}
        copy = self.target.copy(mode='copy')
        for name, parameter in copy.namedparams():
            if averages[name] is not None:
                parameter.array = averages[name].astype(parameter.dtype)
        return copy

    def serialize(self, serializer: chainer.AbstractSerializer) -> None:
        """Save or load the states, as the Chainer optimizer does."""
        self._gather()
        super().serialize(serializer)

    def __getstate__(self):
        """Of a copy: its parameters are arrays of their own, which it gathers anew."""
        return {**self.__dict__, '_followers': [], '_rules': [], '_views': [], '_flats': []}

    def _initialized(self):
        """The parameters that have their shape."""
        return [*self._followers, *(parameter for parameter in self._others if parameter.array is not None)]

    def _count(self):
        """Count an update: the size of its step, and the weight of the newest parameters in their average."""
        self.t += 1
        if self.is_safe_to_update():
            for rule in self._rules:
                rule.t = self.t
        newest = (self.averaging_power + 1) / (self.averaging_power + self.t)  # 1 in the first update
        return self.step_size() if self._flats else None, newest

    def _step(self, step_size, newest):
        """One update of all parameters and averages, from their gradients."""
        gradients = [flat.gradients(*self.whole_gradient) for flat in self._flats]
        if None in gradients:
            self.reallocate_cleared_grads()
            gradients = [flat.gradients(None, []) for flat in self._flats]
        self.whole_gradient = None, []
        rate = self._clipping_rate([gradient for of_flat in gradients for gradient in of_flat])

        def update(index_part_and_pieces):
            i, part, pieces = index_part_and_pieces
            flat = self._flats[i]
            parameters, gradient = flat.array[part], _joined(gradients[i], part, pieces)
            factor = rate if isinstance(rate, (int, float)) else rate.astype(parameters.dtype, copy=False)
            if self.weight_decay:
                gradient, factor = kernels.of(parameters).decayed(gradient, factor, parameters, self.weight_decay), 1
            states = [flat.states[name][part] for name in self.state_names]
            self.update_part(parameters, gradient, factor, step_size, *states)
            if self.averaged:
                kernels.of(parameters).average(flat.states[_AVERAGE][part], parameters, newest)
        parts = [(i, *part) for i, flat in enumerate(self._flats) for part in flat.parts]
        if len(parts) > 1 and isinstance(self._flats[0].array, numpy.ndarray):
            for_each(update, parts)
        else:  # what other threads ask of a GPU would not wait for what this one has
            for part in parts:
                update(part)
        if self._others:
            self._update_others(rate, newest)

    def _update_others(self, rate, newest):
        """The parameters that do not follow the optimizer, and their averages; frozen ones have them as well."""
        each_once = {id(parameter): parameter for parameter in self._others}.values()
        for parameter in each_once:
            if parameter.array is not None and (self.gradient_norm or self.weight_decay):
                gradient = parameter.grad * rate
                if self.weight_decay:
                    gradient = gradient + self.weight_decay * (parameter._loss_scale or 1) * parameter.array
                parameter.grad = parameter.xp.asarray(gradient, dtype=parameter.dtype)
        for parameter in self._others:
            self._update_by_its_rule(parameter)
        for parameter in each_once:
            average = _average(parameter)
            if average is not None:
                average += newest * (parameter.array - average)

    def _update_by_its_rule(self, parameter):
        """Update a parameter by its own hyperparameters and hooks, unless it is frozen."""
        rule = parameter.update_rule
        if rule is None or not rule.enabled:
            return
        if parameter.array is None:
            parameter.cleargrad()  # before which Chainer cannot read it
        hyperparam = rule.hyperparam
        if self.decay_from:
            rule.hyperparam = Hyperparameter(hyperparam)
            try:
                setattr(rule.hyperparam, self.rate_name, getattr(hyperparam, self.rate_name) * self.decay)
            except AttributeError:
                raise TypeError('decay_from: {} of {} has no {} that could fall'.format(
                    type(rule).__name__, parameter.name, self.rate_name)) from None
        try:
            parameter.update()
        finally:
            rule.hyperparam = hyperparam

    def _clipping_rate(self, gradients):
        """What the gradient is multiplied with; on a GPU an array there, so that nothing waits for it."""
        parameters = self._followers or self._initialized()
        if not self.gradient_norm or not parameters:
            return 1
        gradients += [
            _widened(parameter.grad) / (parameter._loss_scale or 1)
            for parameter in self._others if parameter.array is not None]
        return kernels.of(parameters[0].array).clipping_rate(gradients, self.gradient_norm)

    def _gather(self):
        """Let the parameters that follow the optimizer lie in one array for each dtype, unless they do already."""
        followers, rules, arrays, others = [], [], [], []
        rule_type = self.rule_type if self.knows_hyperparameters() else None
        t, inherited = self.t, {'_parent': self.hyperparam}
        for parameter in self.target.params():
            rule, array = parameter.update_rule, parameter.raw_array
            if (
                    type(rule) is rule_type and rule.enabled and rule.t == t and rule.hyperparam.__dict__ == inherited
                    and not rule._hookable._pre_update_hooks and not rule._hookable._post_update_hooks
                    and parameter._loss_scale is None and array is not None and array.dtype.char in 'fd'):
                followers.append(parameter)
                rules.append(rule)
                arrays.append(array)
            else:
                others.append(parameter)
        self._others = others
        if not (
                len(arrays) == len(self._views) and all(map(operator.is_, arrays, self._views))
                and all(map(operator.is_, rules, self._rules))):
            self._lay_out(followers)
        for parameter in self._others:
            self._start_states(parameter)

    def _lay_out(self, followers):
        """Copy parameters and states into new arrays, one for each dtype, of which they become views."""
        times = collections.Counter(map(id, followers))
        # Chainer updates a parameter that several links share several times.
        self._others += [parameter for parameter in followers if times[id(parameter)] > 1]
        followers = [parameter for parameter in followers if times[id(parameter)] == 1]
        devices = sorted({str(parameter.device) for parameter in [*followers, *self._others]})
        if len(devices) > 1:
            raise ValueError('{} updates a model on one device, not on {}'.format(
                type(self).__name__, ' and '.join(devices)))
        names = [*self.state_names, _AVERAGE] if self.averaged else self.state_names
        self._flats = [_Flat(parameters, names) for parameters in _by_type(followers).values()]
        for flat in self._flats:
            for parameter, place in zip(flat.parameters, flat.places):
                views = {name: state[place].reshape(parameter.shape) for name, state in flat.states.items()}
                self._fill(views, parameter)
                parameter.update_rule._state = views
                parameter.array = flat.array[place].reshape(parameter.shape)
        self._followers = followers
        self._rules = [parameter.update_rule for parameter in followers]
        self._views = [parameter.raw_array for parameter in followers]

    def _fill(self, views, parameter):
        """Take over a parameter's states; an average that begins later begins with what the parameter was until now."""
        states = parameter.update_rule.state or {}
        for name, view in views.items():
            if name in states:
                view[...] = parameter.device.send(states[name])
            elif name == _AVERAGE and self.t:
                view[...] = parameter.array

    def _start_states(self, parameter):
        """Let a parameter that its own rule updates have its states before they are loaded or averaged."""
        rule, array = parameter.update_rule, parameter.array
        if array is None or rule is None or not rule.enabled:
            return
        wide = _widened(array)
        if rule.state is None:
            rule._init_states(chainer.Parameter(wide) if rule._use_fp32_update else parameter)
        if self.averaged and _AVERAGE not in rule.state:
            rule.state[_AVERAGE] = wide.copy() if self.t else parameter.xp.zeros_like(wide)


class _Flat:
    """Parameters of one dtype that lie one after the other in one array, and so do their states.

    Attributes:
        array, states: (numbers of all parameters,), and as many by the name of a state.
        places: The slice of each parameter.
        parts: Slices of the whole, each with the pieces of parameters in it: index, first number, last number.
    """

    def __init__(self, parameters, state_names):
        xp = parameters[0].xp
        self.parameters, self.places = parameters, _places(parameters)
        self.array = xp.concatenate([parameter.array.ravel() for parameter in parameters])
        self.states = {name: xp.zeros_like(self.array) for name in state_names}
        self.parts = [(slice(None), [])]  # on a GPU: the whole of the one gradient that is joined before
        if xp is numpy:
            self.parts = [self._part(first) for first in range(0, len(self.array), _PART)]

    def _part(self, first):
        last = min(first + _PART, len(self.array))
        return slice(first, last), [
            (i, max(first, place.start) - place.start, min(last, place.stop) - place.start)
            for i, place in enumerate(self.places) if place.start < last and first < place.stop]

    def gradients(self, whole, views):
        """The parameters' gradients, or ``None`` where one is missing; on a GPU joined to one array.

        Where they are ``views`` of an array that holds nothing else, that ``whole`` takes their place.
        """
        gradients = [parameter.grad for parameter in self.parameters]
        if any(gradient is None for gradient in gradients):
            return None
        if not isinstance(self.array, numpy.ndarray):
            return [kernels.of(self.array).concatenated(gradients)]
        return [whole] if len(views) == len(gradients) and all(map(operator.is_, gradients, views)) else gradients


def _by_type(parameters):
    """Parameters by their dtype."""
    result = {}
    for parameter in parameters:
        result.setdefault(parameter.dtype, []).append(parameter)
    return result


def _places(parameters):
    """The slice that each parameter takes where all lie one after the other."""
    ends = numpy.cumsum([parameter.size for parameter in parameters]).tolist()
    return [slice(end - parameter.size, end) for parameter, end in zip(parameters, ends)]


def _joined(gradients, part, pieces):
    """One part of the gradient."""
    if len(gradients) == 1:
        return gradients[0].reshape(-1)[part]
    pieces = [gradients[i].reshape(-1)[first:last] for i, first, last in pieces]
    return pieces[0] if len(pieces) == 1 else numpy.concatenate(pieces)


def _widened(array):
    """In float32 where it has half of that."""
    return array.astype(numpy.float32) if array.dtype == numpy.float16 else array


def _average(parameter):
    """The average that is kept of a parameter, or ``None``."""
    rule = parameter.update_rule
    return None if rule is None or parameter.array is None or rule.state is None else rule.state.get(_AVERAGE)


class Adam(_WholeModel, optimizers.Adam):
    """Adam (Kingma & Ba 2015), with eps added before the correction as in Chainer.

    ``alpha``, ``beta1``, ``beta2`` and ``eps`` are Chainer's; with any of its further options Chainer updates.
    """

    rule_type, rate_name, state_names = adam.AdamRule, 'alpha', ('m', 'v')

    def knows_hyperparameters(self) -> bool:
        hyperparam = self.hyperparam
        return hyperparam.eta == 1 and not (
            hyperparam.weight_decay_rate or hyperparam.amsgrad or hyperparam.adabound)

    def step_size(self) -> float:
        """αₜ = α·√(1 − β₂ᵗ)/(1 − β₁ᵗ)."""
        beta1, beta2 = self.hyperparam.beta1, self.hyperparam.beta2
        return self.hyperparam.alpha * self.decay * math.sqrt(1 - beta2 ** self.t) / (1 - beta1 ** self.t)

    def update_part(
            self, parameters: numpy.ndarray, gradient: numpy.ndarray, factor: float, step_size: float,
            m: numpy.ndarray, v: numpy.ndarray) -> None:
        """m ← β₁m + (1 − β₁)g, v ← β₂v + (1 − β₂)g², θ ← θ − αₜ·m/(√v + ε)."""
        beta1, beta2, eps = self.hyperparam.beta1, self.hyperparam.beta2, self.hyperparam.eps
        kernels.of(parameters).adam(parameters, gradient, factor, step_size, beta1, beta2, eps, m, v)


class AdaGrad(_WholeModel, optimizers.AdaGrad):
    """AdaGrad (Duchi et al. 2011) with ``lr`` and ``eps``."""

    rule_type, rate_name, state_names = ada_grad.AdaGradRule, 'lr', ('h',)

    def step_size(self) -> float:
        """lr, as far as it has fallen."""
        return self.hyperparam.lr * self.decay

    def update_part(
            self, parameters: numpy.ndarray, gradient: numpy.ndarray, factor: float, step_size: float,
            h: numpy.ndarray) -> None:
        """h ← h + g², θ ← θ − lr·g/(√h + ε)."""
        kernels.of(parameters).adagrad(parameters, gradient, factor, step_size, self.hyperparam.eps, h)
