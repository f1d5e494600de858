#!/usr/bin/env python3
"""Learn a spiral in the plane: the post's second picture and video."""

import os

# Before NumPy is imported: these matrices are so small that threads only wait for each other.  Scoring has other work
# for all cores.
for name in ('OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'):
    os.environ.setdefault(name, '1')

from ddgm.evaluation import tasks  # noqa: E402
from ddgm.runs import command_line, exit_status  # noqa: E402


def main(arguments=None) -> None:
    request = command_line.parse(tasks.SWISS_ROLL, __doc__, arguments)

    # Only now Chainer and matplotlib, so that --help and a mistyped flag answer at once.
    from ddgm.evaluation import plane
    from ddgm.figures import post
    from ddgm.networks.toy import build_models
    from ddgm.runs import execution, run_folder

    task = plane.swiss_roll()
    shown_data = task.shown_data(600)

    def draw_figures(folder, x, energy):
        post.draw_points(folder.figure('samples.png'), shown_data, x)

    def draw_scored(folder, x, energy, metrics):
        post.draw_energy(folder.figure('energy.png'), energy, metrics.get('log_z'), x)

    execution.execute(run_folder.open_run(request), execution.Experiment(
        task=task, build_models=build_models, draw_frame=post.PointsPicture(shown_data, pixels=400).draw,
        draw_figures=draw_figures, draw_scored=draw_scored, n_shown=400))


if __name__ == '__main__':
    exit_status.run_script(main)
