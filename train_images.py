#!/usr/bin/env python3
"""Learn 64×64 pictures from a folder: the post's icons."""

from ddgm import command_line


def main(arguments=None):
    request = command_line.parse('images', __doc__, arguments)

    # Only now Chainer, matplotlib and Pillow, so that --help and a mistyped flag answer at once.
    from ddgm import figures, randomness, run, run_folder
    from ddgm.data.images import ImageFolder
    from ddgm.evaluation.images import Scores
    from ddgm.networks.images import build_models

    folder = run_folder.open_run(request)
    pictures = ImageFolder(folder.data, folder.settings.batchsize)
    score = Scores(pictures.images)
    found = '{:,} pictures in {}'.format(len(pictures), folder.data)

    def draw_frame(path, x):
        figures.draw_small_grid(path, x[:25], columns=5)  # of all hundred the video would take tens of megabytes

    def draw_figures(folder, x, energy, metrics):
        figures.draw_grid(
            folder.figure('data.png'), pictures.sample(100, randomness.picture_generator(randomness.SHOWN_DATA)))
        figures.draw_grid(folder.figure('samples.png'), x)
        figures.draw_grid(folder.figure('nearest.png'), figures.beside(
            x[:50], pictures.images[score.nearest_training(x[:50])[1]] / 255))

    run.execute(
        folder,
        build_models=build_models,
        draw_data=pictures.sample,
        draw_frame=draw_frame,
        draw_figures=draw_figures,
        score=score,
        n_shown=100,
        n_colours=64,
        data_line='; '.join(filter(None, [found, pictures.report()])),
        fingerprint=pictures.fingerprint)


if __name__ == '__main__':
    command_line.run_script(main)
