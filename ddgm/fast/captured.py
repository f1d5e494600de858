"""An iteration on a GPU as a CUDA graph: computed as it is written twice, captured at the third, then replayed.

Small networks keep a GPU waiting for Python, which starts each kernel by a call of its own; a graph is one call.  Its
kernels have the arrays of the capture, so whatever changes from iteration to iteration has to come from one: data and
z, the keys of noise, an optimizer's step size.  What is captured asks ``chainer.config.recording`` for these.  They are
made on the host in the order of the capture, and sent at once before each launch.

While a graph is captured nothing is computed, so where that fails the models are as they were.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable

import chainer
import numpy

from ddgm.fast import kernels, transfers
from ddgm.fast.kernels.products import OwnHandle
from ddgm.fast.replay import Attributes
from ddgm.support.errors import one_line

WARM_UP = 2  # iterations as they are written: kernels are compiled and tables made


def drawn(device: chainer.backend.Device, rng: numpy.random.Generator, draw: Callable) -> numpy.ndarray:
    """``draw(rng)``, an array of NumPy's, on the device: in an iteration that is replayed, drawn anew each time."""
    recording = chainer.config.recording
    return device.send(draw(rng)) if recording is None else recording.drawn(rng, draw)


class Captured:
    """Computes iterations, and replays them where that is possible; the bits are the same.

    Args:
        tell: Called with a line where iterations can't be replayed, once for each reason.
    """

    def __init__(self, tell: Callable[[str], None]):
        self._tell, self._told = tell, set()
        self._stream = self._handle = self._refusal = None
        self._recording = self._work = self._fixed = None
        self._attributes = []

    def __call__(self, work: Callable, rng: numpy.random.Generator, *optimizers: chainer.Optimizer) -> dict:
        """What ``work(rng)`` returns, arrays () by name; it updates the models of these optimizers."""
        device = optimizers[0].target.device
        if not self._has_begun(device.xp):
            return work(rng)
        callers = device.xp.cuda.get_current_stream()
        self._stream.wait_event(callers.record())
        try:
            # The same products in every iteration, so that those of a resumed run have the bits of those replayed.
            with self._stream, self._handle.in_use():
                return self._computed(work, rng, optimizers, device)
        finally:
            callers.wait_event(self._stream.record())

    def _has_begun(self, xp):
        """Whether there is a stream, and what takes the place of CuPy's products on it."""
        if xp is numpy:
            self._say('the models are on a CPU')
        elif self._stream is None:
            self._stream = xp.cuda.Stream(non_blocking=True)
            try:
                self._handle = OwnHandle(xp, self._stream)
            except Exception as error:
                self._say(error)
        return self._handle is not None

    def _say(self, reason):
        line = one_line(reason)
        if line not in self._told:
            self._told.add(line)
            self._tell('No CUDA graph, so each kernel is started by itself: {}'.format(line))

    def _computed(self, work, rng, optimizers, device):
        if self._has_changed(work, optimizers):
            self._recording = None
        reason = self._refusal or self._why_not()
        if reason:
            self._recording = None
            self._say(reason)
            return work(rng)
        recording = self._recording = self._recording or _Recording(device)
        try:
            if recording.is_due:
                recording.capture(work, rng, self._stream, optimizers)
        except Exception as error:  # CuPy's, CUDA's, or of what is captured
            self._refusal = one_line(error) or type(error).__name__
            return self._computed(work, rng, optimizers, device)
        observation = recording.replayed(rng) if recording.graph else None
        if observation is None:  # nothing is captured yet, or a shape has changed
            recording = self._recording = _Recording(device) if recording.graph else recording
            observation = recording.as_written(work, rng)
        return observation

    def _has_changed(self, work, optimizers):
        """Whether a graph of the iteration before could not stand for this one."""
        if work is not self._work:  # another part of a run
            self._work, self._refusal = work, None
            self._attributes = [Attributes(optimizer.target) for optimizer in optimizers]
        were_assigned = [attributes.were_assigned() for attributes in self._attributes]
        before, self._fixed = self._fixed, [
            chainer.config.noise_from_host,
            *[optimizer.fixed() if hasattr(optimizer, 'fixed') else None for optimizer in optimizers]]
        return any(were_assigned) or self._fixed != before

    def _why_not(self):
        """Why an iteration can't be replayed, or ``None``."""
        if chainer.config.debug:
            return 'debug mode looks at each'
        links = [link for attributes in self._attributes for link in attributes.links]
        if chainer.get_function_hooks() or chainer._get_link_hooks() or any(
                link._n_local_link_hooks for link in links):
            return 'hooks look at each'
        if chainer.config.shard is not None:
            return 'several processes share a batch'
        return 'an optimizer has hooks, or updates parameters one by one' if None in self._fixed else None


@dataclasses.dataclass
class _Sent:
    """What is made on the host in each iteration and read on the device: how, of which shape and type, and where."""

    makers: list = dataclasses.field(default_factory=list)
    kinds: list = dataclasses.field(default_factory=list)
    places: list | None = None


class _Recording:
    """An iteration from the first time that it is computed to its graph.

    Attributes:
        graph: CuPy's, or ``None``.
    """

    def __init__(self, device):
        self.graph = None
        self._device, self._n_written = device, 0

    @property
    def is_due(self):
        """Whether the graph is to be captured."""
        return self.graph is None and self._n_written == WARM_UP

    def as_written(self, work, rng):
        """``work(rng)``, from which is known what will be sent."""
        self._n_written += 1
        self._draws, self._counts = _Sent(), _Sent()
        with chainer.using_config('recording', self):
            self._observation = work(rng)
        return self._observation

    def capture(self, work, rng, stream, optimizers):
        """Capture the graph of ``work``; the models and ``rng`` stay as they are, whatever is raised."""
        xp, kinds, n_draws = self._device.xp, self._draws.kinds + self._counts.kinds, len(self._draws.kinds)
        if None in kinds:
            raise ValueError('data is drawn on the GPU')
        parameters = [parameter for optimizer in optimizers for parameter in optimizer.target.params()]
        gradients, state = [parameter.grad for parameter in parameters], rng.bit_generator.state
        self._buffer = xp.zeros(transfers.n_bytes(kinds), dtype=numpy.uint8)
        places = transfers.unpacked(self._buffer, kinds)
        self._draws = _Sent(kinds=kinds[:n_draws], places=places[:n_draws])
        self._counts = _Sent(kinds=kinds[n_draws:], places=places[n_draws:])
        self._joined()  # whose kernel is so compiled
        xp.get_default_memory_pool().free_all_blocks()
        self._pool = xp.cuda.MemoryPool()  # which nobody else uses, for as long as there is the graph
        try:
            with xp.cuda.using_allocator(self._pool.malloc), chainer.using_config('recording', self):
                graph = self._captured(work, rng, stream)
            if rng.bit_generator.state != state or len(self._draws.makers + self._counts.makers) != len(kinds):
                raise ValueError('random numbers are drawn without ddgm.fast.captured.drawn')
        except BaseException:
            for parameter, gradient in zip(parameters, gradients):
                parameter.grad = gradient
            raise
        finally:
            rng.bit_generator.state = state
        self.graph = graph

    def _captured(self, work, rng, stream):
        stream.begin_capture()
        try:
            self._observation = work(rng)
            self._numbers = self._joined()
        except BaseException:
            with contextlib.suppress(Exception):  # what has failed may be the capture
                stream.end_capture()
            raise
        return stream.end_capture()

    def _joined(self):
        return kernels.of(self._buffer).concatenated(list(self._observation.values()))

    def replayed(self, rng):
        """What the iteration observes; ``None``, and nothing is done, where a shape is not that of the capture."""
        state = rng.bit_generator.state
        arrays = [draw(rng) for draw in self._draws.makers]
        if transfers.kinds_of(arrays) != self._draws.kinds:
            rng.bit_generator.state = state
            return None
        arrays += [count() for count in self._counts.makers]
        self._buffer[...] = self._device.send(transfers.packed(arrays))
        self.graph.launch()
        return dict(zip(self._observation, self._numbers.copy()))

    # ---- what is captured calls these

    def drawn(self, rng, draw):
        """``draw(rng)``, an array of NumPy's, on the device."""
        return self._taken(self._draws, draw, rng)

    def given(self, count, dtype):
        """The numbers that ``count()`` returns, an array on the device; it is called once in each iteration."""
        return self._taken(self._counts, lambda: numpy.array(count(), dtype=dtype))

    def _taken(self, sent, make, *arguments):
        sent.makers.append(make)
        if sent.places is not None:
            return sent.places[len(sent.makers) - 1]
        array = make(*arguments)
        sent.kinds.append((array.shape, array.dtype) if isinstance(array, numpy.ndarray) else None)
        return self._device.send(numpy.asarray(array, order='C') if sent.kinds[-1] else array)
