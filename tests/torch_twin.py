"""The paper's models and their training in plain PyTorch: a reference beside ddgm, with which it shares no code.

Modules are called as in ddgm, so that their ``state_dict`` has the names of ``ddgm.weights.pytorch_names``.
``settings`` is anything with the attributes of a preset.  The numbers of units and channels are those of the post and
its code.
"""

import collections
import math

import numpy
import torch
from torch import nn
from torch.nn import functional


def weight_norm(layer):
    """W = g·V/‖V‖ with one norm an output unit, whose axis is the second in a transposed convolution."""
    dim = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
    return nn.utils.parametrizations.weight_norm(layer, dim=dim)


def plain(layer):
    """The layer as it is."""
    return layer


def batch_norm(n, kind=nn.BatchNorm1d):
    """BatchNormalization with the eps of the 2016 code, and a momentum of 1 less its decay."""
    return kind(n, eps=2e-5, momentum=0.1)


class Noise:
    """What ddgm draws inside a network from the same NumPy generator: 16 random bits a number."""

    # The normal distribution's values at 65,536 equal steps of probability, as a table of variance 1.
    quantiles = torch.special.ndtri((torch.arange(2 ** 16, dtype=torch.float64) + 0.5) / 2 ** 16)
    quantiles /= quantiles.square().mean().sqrt()

    def __init__(self, rng):
        self.rng = rng

    def bits(self, shape):
        n = math.prod(shape)
        return self.rng.bit_generator.random_raw((n + 3) // 4).view(numpy.uint16)[:n].reshape(shape).astype(int)

    def gaussian(self, x, standard_deviation):
        """x + N(0, standard_deviation²)."""
        return x + standard_deviation * self.quantiles[self.bits(x.shape)].to(x.dtype)

    def dropout(self, x, ratio):
        """Images x with a share of their numbers set to 0 and the others enlarged."""
        # ddgm draws in the order in which arrays lie in memory, its convolutions' as (channels, height, width, N).
        kept = self.bits((*x.shape[1:], len(x))) >= ratio * 2 ** 16
        return x * torch.from_numpy(kept).movedim(-1, 0) / (1 - ratio)


# ---- the energy, the entropy, the losses

class EnergyModel(nn.Module):
    """E(x) = xᵀx/σ² − bᵀx − Σᵢ log(1 + exp(Wᵢᵀf(x) + cᵢ)); f(x) takes its :class:`Noise` too."""

    def __init__(self, feature_extractor, experts, n_visible, sigma=1.0, linear_experts=False, experts_alone=False):
        super().__init__()
        self.feature_extractor, self.experts = feature_extractor, experts
        self.sigma, self.linear_experts, self.experts_alone = sigma, linear_experts, experts_alone
        if not experts_alone:
            self.b = nn.Parameter(torch.zeros(n_visible))

    def forward(self, x, noise=None):
        a = self.experts(self.feature_extractor(x, noise).flatten(1))
        expert_term = a.sum(1) if self.linear_experts else -functional.softplus(a).sum(1)
        if self.experts_alone:
            return expert_term
        x = x.flatten(1)
        return (x * x).sum(1) / self.sigma ** 2 - x @ self.b + expert_term


def entropy(generative_model):
    """H = Σ ½ log(2πe γ² + 1e-8) over all units of all BatchNormalizations."""
    kinds = nn.BatchNorm1d, nn.BatchNorm2d
    gamma = torch.cat([module.weight for module in generative_model.modules() if isinstance(module, kinds)])
    return (0.5 * torch.log(2 * math.pi * math.e * gamma ** 2 + 1e-8)).sum()


# ---- the plane and digits: f(x) and G(z)

class PlaneFeatures(nn.Module):
    """2 → n ELU → n tanh, weight-normalized."""

    def __init__(self, n_hidden):
        super().__init__()
        self.l1 = weight_norm(nn.Linear(2, n_hidden))
        self.l2 = weight_norm(nn.Linear(n_hidden, n_hidden))

    def forward(self, x, noise):
        return torch.tanh(self.l2(functional.elu(self.l1(x))))


class DigitFeatures(nn.ModuleList):
    """784 → 1000 ELU noise → 500 ELU noise → 250 ELU noise → n tanh, with or without BatchNormalization before ELU."""

    def __init__(self, n_features, layer, noise, batch_normalized):
        sizes = 784, 1000, 500, 250, n_features
        super().__init__(layer(nn.Linear(n_in, n_out)) for n_in, n_out in zip(sizes, sizes[1:]))
        self.noise = noise
        if batch_normalized:
            for i, n in enumerate(sizes[1:-1]):
                self[i] = nn.Sequential(collections.OrderedDict(l=self[i], bn=batch_norm(n)))

    def forward(self, x, noise):
        *hidden, last = self
        for layer in hidden:
            x = functional.elu(layer(x))
            if self.training:
                x = noise.gaussian(x, self.noise)
        return torch.tanh(last(x))


class Generator(nn.Module):
    """z → n BN ReLU → n BN ReLU → x, for digits with a sigmoid."""

    def __init__(self, n_latent, n_hidden, n_visible, layer=plain, output=plain):
        super().__init__()
        self.l1, self.bn1 = layer(nn.Linear(n_latent, n_hidden)), batch_norm(n_hidden)
        self.l2, self.bn2 = layer(nn.Linear(n_hidden, n_hidden)), batch_norm(n_hidden)
        self.l3 = layer(nn.Linear(n_hidden, n_visible))
        self.output = output

    def forward(self, z):
        h = torch.relu(self.bn1(self.l1(z)))
        h = torch.relu(self.bn2(self.l2(h)))
        return self.output(self.l3(h))


# ---- images of the post and of its code's last commit

class MinibatchDiscrimination(nn.Module):
    """Appends Σ_{j≠i} exp(−‖Mᵢ − Mⱼ‖₁) for each of 50 kernels of 5 dimensions."""

    def __init__(self, n_features):
        super().__init__()
        self.T = nn.Linear(n_features, 50 * 5)

    def forward(self, x):
        M = self.T(x).view(-1, 50, 5)
        distances = (M[:, None] - M[None]).abs().sum(3)
        return torch.cat([x, torch.exp(-distances).sum(1) - 1], 1)


class ImageFeatures(nn.Module):
    """Four convolutions: ELU, BN, dropout after three (in the last commit BN, ELU, dropout), tanh after the last."""

    def __init__(self, channels, layer, dropout, last_commit):
        super().__init__()
        self.convolutions = nn.ModuleList(
            layer(nn.Conv2d(n_in, n_out, 4, 2, 1)) for n_in, n_out in zip(channels, channels[1:]))
        self.bns = nn.ModuleList(batch_norm(n, nn.BatchNorm2d) for n in channels[1:-1])
        self.discrimination = MinibatchDiscrimination(channels[-1] * 4 * 4) if last_commit else None
        self.dropout = dropout

    def forward(self, x, noise):
        *hidden, last = self.convolutions
        for convolution, bn in zip(hidden, self.bns):
            h = convolution(x)
            x = bn(functional.elu(h)) if self.discrimination is None else functional.elu(bn(h))
            if self.training:
                x = noise.dropout(x, self.dropout)
        x = last(x).flatten(1)
        return torch.tanh(x if self.discrimination is None else self.discrimination(x))


class ImageGenerator(nn.Module):
    """Linear to 7×7, three transposed convolutions; ReLU, BN after all but the last; in the last commit BN, ReLU."""

    def __init__(self, n_latent, channels, layer, last_commit):
        super().__init__()
        n_first = channels[0] * 7 * 7
        self.linear, self.bn = layer(nn.Linear(n_latent, n_first)), batch_norm(n_first)
        self.deconvolutions = nn.ModuleList(
            layer(nn.ConvTranspose2d(n_in, n_out, 4, 2, padding))
            for n_in, n_out, padding in zip(channels, channels[1:], (0, 1, 1)))
        self.bns = nn.ModuleList(batch_norm(n, nn.BatchNorm2d) for n in channels[1:-1])
        self.last_commit = last_commit

    def activate(self, h, bn):
        return torch.relu(bn(h)) if self.last_commit else bn(torch.relu(h))

    def forward(self, z):
        h = self.activate(self.linear(z), self.bn).unflatten(1, (-1, 7, 7))
        *hidden, last = self.deconvolutions
        for deconvolution, bn in zip(hidden, self.bns):
            h = self.activate(deconvolution(h), bn)
        return torch.sigmoid(last(h))


# ---- images of the paper's author

class AuthorFeatures(nn.Module):
    """Of pixels stretched to −1…1, four convolutions: ReLU after three, tanh after the last."""

    def __init__(self, channels):
        super().__init__()
        *hidden, self.last = (
            nn.Conv2d(n_in, n_out, 5, 2, 2) for n_in, n_out in zip(channels, channels[1:]))
        self.hidden = nn.ModuleList(hidden)

    def forward(self, x, noise):
        h = 2 * x - 1
        for convolution in self.hidden:
            h = torch.relu(convolution(h))
        return torch.tanh(self.last(h))


class AuthorGenerator(nn.Module):
    """Linear to 4×4, BN, ReLU; three transposed convolutions with BN and ReLU; a last one and tanh, from 0 to 1."""

    def __init__(self, n_latent, channels):
        super().__init__()
        n_first = channels[0] * 4 * 4
        self.linear, self.bn = nn.Linear(n_latent, n_first, bias=False), batch_norm(n_first)
        self.hidden = nn.ModuleList(
            nn.ConvTranspose2d(n_in, n_out, 5, 2, 2, output_padding=1, bias=False)
            for n_in, n_out in zip(channels, channels[1:-1]))
        self.bns = nn.ModuleList(batch_norm(n, nn.BatchNorm2d) for n in channels[1:-1])
        self.last = nn.ConvTranspose2d(*channels[-2:], 5, 2, 2, output_padding=1)

    def forward(self, z):
        h = torch.relu(self.bn(self.linear(z))).unflatten(1, (-1, 4, 4))
        for deconvolution, bn in zip(self.hidden, self.bns):
            h = torch.relu(bn(deconvolution(h)))
        return (torch.tanh(self.last(h)) + 1) / 2


# ---- models and training

def build_models(task, settings):
    """An energy model and a generative model, whose weights are PyTorch's own."""
    if task == 'mnist':
        layer = weight_norm if settings.energy_normalization == 'weight' else plain
        feature_extractor = DigitFeatures(
            settings.n_experts, layer, settings.noise, settings.energy_normalization == 'batch')
        energy_model = EnergyModel(
            feature_extractor, layer(nn.Linear(settings.n_experts, settings.n_experts)), 784, settings.sigma)
        layer = weight_norm if settings.generator_normalization == 'weight' else plain
        return energy_model, Generator(settings.n_latent, 500, 784, layer, torch.sigmoid)
    if task == 'images':
        return build_image_models(settings)
    energy_model = EnergyModel(
        PlaneFeatures(settings.n_hidden), weight_norm(nn.Linear(settings.n_hidden, settings.n_experts)), 2,
        settings.sigma)
    return energy_model, Generator(settings.n_latent, settings.n_hidden, 2)


def build_image_models(settings):
    """The same for images."""
    def wide(*channels):
        return [max(1, round(settings.width * n)) for n in channels]

    n_visible = 3 * 64 * 64
    if settings.network == 'author':
        channels = wide(128, 256, 512, 1024)
        energy_model = EnergyModel(
            AuthorFeatures([3, *channels]), nn.Linear(channels[-1] * 16, settings.n_experts), n_visible,
            experts_alone=True)
        return energy_model, AuthorGenerator(settings.n_latent, [*reversed(channels), 3])
    last_commit = settings.network == 'last_commit'
    layer = weight_norm if settings.weight_normalization else plain
    channels = wide(32, 64, 192, 256) if last_commit else wide(32, 96, 256, 1024)
    n_features = channels[-1] * 16 + (50 if last_commit else 0)
    energy_model = EnergyModel(
        ImageFeatures([3, *channels], layer, settings.dropout, last_commit),
        layer(nn.Linear(n_features, settings.n_experts)), n_visible, settings.sigma, settings.linear_experts)
    return energy_model, ImageGenerator(settings.n_latent, [*wide(512, 256, 128), 3], layer, last_commit)


def train(energy_model, generative_model, settings, draw_data, generator, iterations):
    """Train both models; yields the losses of each iteration.

    ``draw_data(n, rng)`` returns n data points as a NumPy array, ``generator(iteration)`` the NumPy generator of all
    that an iteration draws.
    """
    dtype = next(energy_model.parameters()).dtype

    def make_optimizer(model, learning_rate, weight_decay):
        options = {'lr': learning_rate, 'eps': settings.eps, 'weight_decay': weight_decay}
        if settings.optimizer == 'adagrad':
            return torch.optim.Adagrad(model.parameters(), **options)
        return torch.optim.Adam(model.parameters(), betas=(settings.beta1, settings.beta2), **options)

    energy_optimizer = make_optimizer(energy_model, settings.energy_learning_rate, settings.energy_weight_decay)
    generator_optimizer = make_optimizer(generative_model, settings.generator_learning_rate, 0)

    def update(model, optimizer, loss):
        optimizer.zero_grad()
        loss.backward()
        if settings.gradient_norm:
            nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_norm)
        optimizer.step()

    def draw_samples(rng):
        z = 2 * rng.random((settings.batchsize, settings.n_latent), dtype=numpy.float32) - 1
        return generative_model(torch.from_numpy(z).to(dtype))

    def update_energy_model(rng):
        x_positive = torch.from_numpy(draw_data(settings.batchsize, rng)).to(dtype)
        with torch.no_grad():
            x_negative = draw_samples(rng)
        noise = Noise(rng)
        positive_phase, negative_phase = energy_model(x_positive, noise).mean(), energy_model(x_negative, noise).mean()
        loss = positive_phase - negative_phase
        update(energy_model, energy_optimizer, loss)
        return {'energy/positive': positive_phase, 'energy/negative': negative_phase, 'energy/loss': loss}

    def update_generative_model(rng):
        negative_phase = energy_model(draw_samples(rng), Noise(rng)).mean()
        proxy = entropy(generative_model)
        loss = negative_phase - proxy
        update(generative_model, generator_optimizer, loss)
        return {'generator/energy': negative_phase, 'generator/entropy': proxy, 'generator/loss': loss}

    updates = [update_energy_model, update_generative_model]
    if settings.generator_first:
        updates.reverse()
    for iteration in range(1, iterations + 1):
        if settings.optimizer == 'adam':
            # Kingma & Ba 2015, before their section 2.1: with eps added to √v as it is, as in Chainer, the corrections
            # for a start at 0 go into the learning rate.  PyTorch corrects √v first, so there the same eps is larger.
            for optimizer in (energy_optimizer, generator_optimizer):
                optimizer.param_groups[0]['eps'] = settings.eps / math.sqrt(1 - settings.beta2 ** iteration)
        rng = generator(iteration)
        losses = {}
        for update_model in updates:
            losses.update(update_model(rng))
        yield {name: float(loss.detach()) for name, loss in losses.items()}
