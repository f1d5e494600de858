"""Samples of a run's energy model itself: those of its generator, moved by Langevin steps that leave its density.

RUN is the folder of a run, which stays as it is, or the name of a model that comes with this package.  Its samples are
moved by Metropolis-adjusted Langevin steps under its energy model, and scored beside what they were.  Steps hardly lead
from one part of the data to another, so they keep how the generator shares its samples among the parts.  In the plane
--proposals lets the energy model decide that too.  Where data has a range, pixels from 0 to 1, what left it is clipped.
Writes samples.npz, metrics.json and samples.png.
"""

from ddgm.evaluation import tasks
from ddgm.runs import command_line, exit_status


def parse(arguments=None):
    """Read the command line: ``run``, ``steps``, ``step_size``, ``proposals``, ``out`` and ``task``."""
    parser = command_line.OneLineParser(
        prog='python -m ddgm.refine', description=__doc__, allow_abbrev=False)
    parser.add_argument('run', metavar='RUN', type=command_line.path_name, help='folder of a run, or name of a model')
    parser.add_argument(
        '-n', '--steps', metavar='N', type=command_line.whole_number(1), default=500,
        help='Langevin steps (default: %(default)s)')
    parser.add_argument(
        '--step_size', metavar='E', type=command_line.positive_number, default=None,
        help='their size ε, in squared units of x (default: so that 57 in a hundred moves are taken)')
    parser.add_argument(
        '--proposals', metavar='N', type=command_line.whole_number(1), default=0,
        help='in the plane: begin with points that the energy model chooses among N (default: begin with the samples)')
    parser.add_argument(
        '-o', '--out', metavar='DIR', type=command_line.path_name, default='result/refined',
        help='where the files go, in place of those of an earlier refinement (default: %(default)s)')
    parser.add_argument('--task', metavar='FILE', type=command_line.path_name, help=command_line.TASK_HELP)
    return parser.parse_args(arguments)


def main(arguments=None) -> None:
    request = parse(arguments)

    # Only now Chainer and matplotlib, so that --help and a mistyped flag answer at once.
    from ddgm.refine import refinement
    refinement.refine_run(
        request.run, request.steps, request.step_size, request.proposals, request.out,
        request.task and tasks.load_task(request.task))


if __name__ == '__main__':
    exit_status.run_script(main)
