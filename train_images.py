#!/usr/bin/env python3
"""Learn 64×64 pictures from a folder: the post's icons."""

from ddgm.evaluation import tasks
from ddgm.runs import command_line, exit_status


def main(arguments=None) -> None:
    request = command_line.parse(tasks.IMAGES, __doc__, arguments)

    # Only now Chainer, matplotlib and Pillow, so that --help and a mistyped flag answer at once.
    from ddgm.evaluation.pictures import Pictures
    from ddgm.figures import post
    from ddgm.networks.images import build_models
    from ddgm.runs import execution, run_folder

    folder = run_folder.open_run(request)
    pictures = Pictures(folder.data, folder.settings.batchsize, folder.cache)

    def draw_frame(path, x):
        post.draw_small_grid(path, x[:25], columns=5)  # of all hundred the video would take tens of megabytes

    def draw_figures(folder, x, energy):
        post.draw_grid(folder.figure('data.png'), pictures.shown_data(100))
        post.draw_grid(folder.figure('samples.png'), x)
        post.draw_grid(folder.figure('nearest.png'), post.beside(x[:50], pictures.nearest_training(x[:50])))

    execution.execute(folder, execution.Experiment(
        task=pictures, build_models=build_models, draw_frame=draw_frame, draw_figures=draw_figures, n_shown=100))


if __name__ == '__main__':
    exit_status.run_script(main)
