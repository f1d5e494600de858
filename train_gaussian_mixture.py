#!/usr/bin/env python3
"""Learn ten Gaussians in the plane: the post's first picture and video."""

import os

# Before NumPy is imported: these matrices are so small that threads only wait for each other.
os.environ.setdefault('OMP_NUM_THREADS', '1')

from ddgm import command_line  # noqa: E402


def main(arguments=None):
    request = command_line.parse('gaussian_mixture', __doc__, arguments)

    # Only now Chainer and matplotlib, so that --help and a mistyped flag answer at once.
    from ddgm import figures, randomness, run, run_folder
    from ddgm.data.toy import GaussianMixture
    from ddgm.evaluation.toy import score_gaussian_mixture
    from ddgm.networks.toy import build_models

    mixture = GaussianMixture()
    shown_data = mixture.sample(600, randomness.picture_generator(randomness.SHOWN_DATA))

    def draw_frame(path, x):
        figures.draw_points(path, shown_data, x, pixels=400)

    def draw_figures(folder, x, energy, metrics):
        figures.draw_points(folder.figure('samples.png'), shown_data, x)
        figures.draw_energy(folder.figure('energy.png'), energy, metrics['log_z'], x)

    run.execute(
        run_folder.open_run(request),
        build_models=build_models,
        draw_data=mixture.sample,
        draw_frame=draw_frame,
        draw_figures=draw_figures,
        score=score_gaussian_mixture,
        n_shown=400,
        draw_fresh=mixture.sample)


if __name__ == '__main__':
    command_line.run_script(main)
