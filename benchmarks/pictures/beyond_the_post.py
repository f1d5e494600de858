"""The pictures of what leads beyond the post: log P(x) of ten Gaussians as three maps, and samples of packaged models.

They come from the models of the package and from a run of the published settings, so nothing is trained for them.
"""

import pathlib

import numpy

import ddgm
from ddgm.commands import sample
from ddgm.data.distributions import GaussianMixture
from ddgm.figures import post

# By their names, what of the package they are samples of; ``None``: the maps.
PICTURES = {
    'log_densities.png': None, 'convolutional_mnist_samples.png': 'digits', 'calibrated_icons_samples.png': 'icons'}
WIDTHS = {'log_densities.png': 1000}  # which fills a page of the README
LOWEST, HIGHEST = -12, 0  # between which the data's own log P lies, wherever data lies
_N_DATA, _N_SHOWN = 100_000, 300


def draw(folder: pathlib.Path, published) -> None:
    """Draw ``PICTURES`` in a folder; ``published`` is that of a finished run of ten Gaussians, preset `default`."""
    for name, model in PICTURES.items():
        if model:
            sample.main([model, '-n', '100', '--out', str(folder / name), '--overwrite'])
        else:
            draw_log_densities(folder / name, published)


def draw_log_densities(path: pathlib.Path, published) -> None:
    """log P(x) of the data, of a run of the published settings and of the packaged model, on one scale in nats."""
    data = GaussianMixture()
    log_densities = {
        'data': data.log_density,
        'published: default': ddgm.load(published).log_prob,
        'density, beyond the post': ddgm.load('ten_gaussians').log_prob}
    x = data.sample(_N_DATA, numpy.random.default_rng(0))
    post.draw_log_densities(path, {
        '{}\nmean over data: {:.1f} nats'.format(title, log_density(x).mean()).replace('-', '−'): log_density
        for title, log_density in log_densities.items()}, x[:_N_SHOWN], LOWEST, HIGHEST)
