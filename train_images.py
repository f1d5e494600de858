#!/usr/bin/env python3
"""Learn pictures: the post's icons, or your own, of 32×32, 64×64 or 128×128 pixels, grey or in colours."""

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
    settings = folder.settings
    grey = settings.grey if folder.resume or 'grey' in folder.asked else None  # the data decides it
    pictures = Pictures(folder.data, settings.batchsize, folder.cache, settings.size, grey)

    def draw_frame(path, x):
        # Of all hundred the video would take tens of megabytes.
        post.draw_small_grid(path, pictures.as_shown(x[:25]), columns=5)

    def draw_figures(folder, x, energy):
        post.draw_grid(folder.figure('data.png'), pictures.as_shown(pictures.shown_data(100)))
        post.draw_grid(folder.figure('samples.png'), pictures.as_shown(x))
        post.draw_grid(folder.figure('nearest.png'), pictures.as_shown(
            post.beside(x[:50], pictures.nearest_training(x[:50]))))

    execution.execute(folder, execution.Experiment(
        task=pictures, build_models=build_models, draw_frame=draw_frame, draw_figures=draw_figures, n_shown=100))


if __name__ == '__main__':
    exit_status.run_script(main)
