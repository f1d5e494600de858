"""Langevin refinement on energies whose density is known."""

import chainer
import numpy
import pytest

from ddgm.beyond_the_paper import langevin
from ddgm.models import DeepEnergyModel


def gaussian(b, sigma, device):
    """The energy whose density is N(σ²b/2, σ²/2)."""
    model = DeepEnergyModel(None, None, n_visible=len(b), sigma=sigma)
    model.b.array[...] = b
    model.to_device(device)
    return model


@pytest.mark.parametrize('step_size', [0.02, 0.1])  # half the width of the density squared, too
def test_density_is_that_of_the_energy_whatever_the_step(step_size, device, rng):
    sigma, b = 0.5, numpy.array([2.0, -4.0])
    start = device.send(numpy.zeros((10_000, 2), dtype=numpy.float32))
    x = chainer.cuda.to_cpu(langevin.refine(gaussian(b, sigma, device), start, 60, step_size, rng))
    numpy.testing.assert_allclose(x.mean(axis=0), sigma ** 2 * b / 2, atol=0.015)
    numpy.testing.assert_allclose(x.var(axis=0), sigma ** 2 / 2, rtol=0.04)
    assert not start.any()


def test_refined_samples_stay_where_they_belong(rng):
    """Samples of the density itself are left in it, images too."""
    model = gaussian(numpy.zeros(12), 1.0, chainer.get_device('@numpy'))
    x = (rng.standard_normal((5000, 3, 2, 2)) * 0.5 ** 0.5).astype(numpy.float32)
    y = langevin.refine(model, x, 5, 0.1, rng)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert (y != x).mean() > 0.9
    assert y.var() == pytest.approx(0.5, rel=0.03)


def test_no_steps_draw_nothing(rng):
    state = rng.bit_generator.state
    x = numpy.ones((3, 2), dtype=numpy.float32)
    assert langevin.refine(gaussian([0, 0], 1.0, chainer.get_device('@numpy')), x, 0, 0.1, rng) is x
    assert rng.bit_generator.state == state


def test_networks_see_test_mode(rng):
    """No noise of the network's own comes in, and nothing of its running statistics changes."""
    modes = []

    class Watched(DeepEnergyModel):
        def forward(self, x):
            modes.append(chainer.config.train)
            return super().forward(x)
    langevin.refine(Watched(None, None, n_visible=2), numpy.ones((3, 2), dtype=numpy.float32), 2, 0.1, rng)
    assert modes == [False] * 3
