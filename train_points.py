#!/usr/bin/env python3
"""Learn the density of your own points, of one to some tens of columns."""

import os

# Before NumPy is imported: these matrices are so small that threads only wait for each other.  Scoring has other work
# for all cores.
for name in ('OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'):
    os.environ.setdefault(name, '1')

from ddgm.evaluation import tasks  # noqa: E402
from ddgm.runs import command_line, exit_status  # noqa: E402


def main(arguments=None) -> None:
    request = command_line.parse(tasks.POINTS, __doc__, arguments)

    # Only now Chainer and matplotlib, so that --help and a mistyped flag answer at once.
    from ddgm.evaluation.points import Points
    from ddgm.figures import points as pictures, post
    from ddgm.networks.toy import build_models
    from ddgm.runs import execution, run_folder

    folder = run_folder.open_run(request)
    points = Points(folder.data)
    shown_data = points.shown_data(600)

    def draw_frame(path, x):
        pictures.draw_samples(path, shown_data, x, points.window, pixels=400)

    def draw_figures(folder, x, energy):
        pictures.draw_samples(folder.figure('samples.png'), shown_data, x, points.window)

    def draw_scored(folder, x, energy, metrics):
        if points.shape == (2,):
            post.draw_energy(folder.figure('energy.png'), energy, metrics.get('log_z'), x, points.window)
        elif points.shape == (1,) and metrics.get('log_z') is not None:
            pictures.draw_density(folder.figure('energy.png'), energy, metrics['log_z'], shown_data, x)

    execution.execute(folder, execution.Experiment(
        task=points, build_models=build_models, draw_frame=draw_frame, draw_figures=draw_figures,
        draw_scored=draw_scored, n_shown=400))


if __name__ == '__main__':
    exit_status.run_script(main)
