#!/usr/bin/env python3
"""Learn handwritten digits: the post's MNIST pictures, the good one and the failures."""

from ddgm.evaluation import tasks
from ddgm.runs import command_line, exit_status


def main(arguments=None) -> None:
    request = command_line.parse(tasks.MNIST, __doc__, arguments)

    # Only now Chainer and matplotlib, so that --help and a mistyped flag answer at once.
    from ddgm.data import mnist
    from ddgm.evaluation.digits import Digits
    from ddgm.figures import post
    from ddgm.networks.mnist import build_models
    from ddgm.runs import execution, run_folder
    from ddgm.trained.loading import beginning

    folder = run_folder.open_run(request)
    mnist.fetch(folder.data)
    settings = folder.settings
    digits = Digits(folder.data, settings.binarized, settings.batchsize, settings.wells)

    def draw_frame(path, x):
        post.draw_small_grid(path, digits.as_shown(x))

    def draw_figures(folder, x, energy):
        post.draw_grid(folder.figure('data.png'), digits.as_shown(digits.shown_data(100)))
        post.draw_grid(folder.figure('samples.png'), digits.as_shown(x))
        post.draw_grid(folder.figure('nearest.png'), post.beside(
            digits.as_shown(x[:50]), digits.as_shown(digits.nearest_training(x[:50]))))

    execution.execute(folder, execution.Experiment(
        task=digits, build_models=beginning(build_models), draw_frame=draw_frame, draw_figures=draw_figures,
        n_shown=100, n_colours=16))


if __name__ == '__main__':
    exit_status.run_script(main)
