"""x⁻ as chains that go on from iteration to iteration under the energy, of which some begin anew at G's samples."""

from __future__ import annotations

import chainer
import numpy

from ddgm.beyond_the_paper import hamiltonian


class PersistentChains:
    """What takes the place of G's samples as x⁻: chains that follow P(x) = exp(−E(x))/Z (Tieleman 2008).

    In each iteration all of them make one move under E that Metropolis' rule accepts, so that no size of a move makes
    the density wrong.  Before it some begin anew at samples of the generator, so that no well is overlooked.

    Args:
        restarts (float): How many of them, as a share of all.

    Attributes:
        x (numpy.ndarray): Where they are, (N, …) float64; ``None`` before the first iteration, in which all begin.
        angle (float): The size of their next move.
    """

    def __init__(self, restarts: float):
        self.restarts, self.x, self.angle = restarts, None, hamiltonian.LARGEST_ANGLE

    def __call__(self, energy_model, x, rng):
        """The chains after a move under E, in place of samples x: an array (N, …) as x is one, on the same device."""
        samples = chainer.cuda.to_cpu(x).astype(numpy.float64)
        begins = (rng.random(len(x)) < self.restarts).reshape((-1,) + (1,) * (x.ndim - 1))
        here = samples if self.x is None else numpy.where(begins, samples, self.x)
        path = hamiltonian.Path(*hamiltonian.parts_of(energy_model, x.shape[1:]))
        (y, _, _), taken = path.moved(path.chains(path.inward(here)), 1.0, self.angle, rng)
        self.x, self.angle = path.outward(y), float(hamiltonian.adapted(self.angle, taken))
        return energy_model.device.send(self.x.astype(x.dtype))

    def serialize(self, serializer: chainer.AbstractSerializer) -> None:
        """Save or load where the chains are, and the size of their moves."""
        self.x = serializer('x', self.x)
        self.angle = serializer('angle', self.angle)
