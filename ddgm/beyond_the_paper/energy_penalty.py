"""A penalty on energies, which keeps them from running away."""

from ddgm.fast.elementary import FirstOrderFunction


class _MeanSquare(FirstOrderFunction):

    def forward_array(self, x):
        return self.xp.asarray((x * x).sum() / x.size, dtype=x.dtype)

    def backward_arrays(self, indexes, inputs, grad_output):
        x, = inputs
        return (grad_output * (2 / x.size) * x).astype(x.dtype),


def mean_square(x):
    """The mean of the squares of all numbers of an array, ()."""
    return _MeanSquare()(x)


def energy_penalty(positive_energies, negative_energies, weight):
    """weight·(E[E(x⁺)²] + E[E(x⁻)²]) in nats, () from the energies (N,) and (M,).

    Adding a constant to E changes no density, so this mostly chooses that constant and a scale; what it does to the
    density, ``python -m ddgm.studies calibration`` measures.
    """
    return weight * (mean_square(positive_energies) + mean_square(negative_energies))
