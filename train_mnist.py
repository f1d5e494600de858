#!/usr/bin/env python3
"""Learn handwritten digits: the post's MNIST pictures, the good one and the failures."""

from ddgm import command_line


def main(arguments=None):
    request = command_line.parse('mnist', __doc__, arguments)

    # Only now Chainer and matplotlib, so that --help and a mistyped flag answer at once.
    from ddgm import figures, randomness, run, run_folder
    from ddgm.data import mnist
    from ddgm.evaluation.mnist import Scores
    from ddgm.networks.mnist import build_models

    folder = run_folder.open_run(request)
    settings = folder.settings
    mnist.fetch(folder.data)
    data = mnist.MNIST(folder.data, settings.batchsize)
    score = Scores(data, settings.binarized)

    def draw_data(n, rng):
        return data.sample(n, rng, settings.binarized)

    def draw_frame(path, x):
        figures.draw_small_grid(path, to_images(x))

    def draw_figures(folder, x, energy, metrics):
        figures.draw_grid(
            folder.figure('data.png'), to_images(draw_data(100, randomness.picture_generator(randomness.SHOWN_DATA))))
        figures.draw_grid(folder.figure('samples.png'), to_images(x))
        figures.draw_grid(folder.figure('nearest.png'), figures.beside(
            to_images(x[:50]), to_images(data.train_images[score.nearest_training(x[:50])[1]] / 255)))

    def to_images(x):
        return x.reshape(-1, mnist.SIDE, mnist.SIDE)

    run.execute(
        folder,
        build_models=build_models,
        draw_data=draw_data,
        draw_frame=draw_frame,
        draw_figures=draw_figures,
        score=score,
        n_shown=100,
        draw_fresh=draw_data,
        fresh_name='binarized data' if settings.binarized else 'real data',
        n_colours=16,
        data_line='{:,} images in {}'.format(len(data.train_images), folder.data),
        fingerprint=data.fingerprint)


if __name__ == '__main__':
    command_line.run_script(main)
