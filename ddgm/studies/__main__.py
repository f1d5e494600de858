"""Answer one of the questions that the post left open, by experiments of several seeds.

Prints tables and draws pictures into a folder of its own in that of --out.  What was measured before is not measured
again, nor trained again what another study trained there; so a study that was interrupted goes on where it was.
"""

import importlib
import os
import pathlib

from ddgm import command_line


def main(arguments=None):
    request = command_line.parse_study(__doc__, arguments)
    # Before NumPy is imported: as many runs go side by side as there are jobs.
    os.environ['OMP_NUM_THREADS'] = '1'

    from ddgm.studies import study
    module = importlib.import_module('ddgm.studies.' + request.name)
    study.carry_out(
        module, {'mnist': request.mnist, 'images': request.images}, request.seeds, request.jobs, request.iterations,
        pathlib.Path(request.out) / request.name, request.cases)


if __name__ == '__main__':
    command_line.run_script(main)
