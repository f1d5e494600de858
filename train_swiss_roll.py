#!/usr/bin/env python3
"""Learn a spiral in the plane: the post's second picture and video."""

import os

# Before NumPy is imported: these matrices are so small that threads only wait for each other.
os.environ.setdefault('OMP_NUM_THREADS', '1')

from ddgm import command_line  # noqa: E402


def main(arguments=None):
    request = command_line.parse('swiss_roll', __doc__, arguments)

    # Only now Chainer and matplotlib, so that --help and a mistyped flag answer at once.
    from ddgm import figures, randomness, run, run_folder
    from ddgm.data.toy import SwissRoll
    from ddgm.evaluation.toy import score_swiss_roll
    from ddgm.networks.toy import build_models

    roll = SwissRoll()
    shown_data = roll.sample(600, randomness.picture_generator(randomness.SHOWN_DATA))

    def draw_frame(path, x):
        figures.draw_points(path, shown_data, x, pixels=400)

    def draw_figures(folder, x, energy, metrics):
        figures.draw_points(folder.figure('samples.png'), shown_data, x)
        figures.draw_energy(folder.figure('energy.png'), energy, metrics['log_z'], x)

    run.execute(
        run_folder.open_run(request),
        build_models=build_models,
        draw_data=roll.sample,
        draw_frame=draw_frame,
        draw_figures=draw_figures,
        score=score_swiss_roll,
        n_shown=400,
        draw_fresh=roll.sample)


if __name__ == '__main__':
    command_line.run_script(main)
