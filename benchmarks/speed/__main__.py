"""How long a training step takes, beside Chainer's own parts and beside PyTorch.

A step is one iteration of both models, its six losses read back.  Each side (benchmarks/speed/sides) is a process of
its own with its own library, all of them alive and idle but one: in each round every side has its turn of some untimed
and some timed steps, so that whatever else the machine does falls on all alike.  A round's ratio is this project's
median step over the other's; the tables show the median of all rounds, the smallest and the largest.  Before that all
sides have to compute the same: all losses of the first iterations, from the same weights, data, z and noise; otherwise
the command ends with status 1.

On the CPU two more take turns, whose time is the floor under this project's step on the machine: its matrix products
alone, and the memory around them alone (benchmarks/speed/sides/floor.py).
"""

import datetime
import importlib.util

from benchmarks import ROOT
from benchmarks.results import record
from benchmarks.speed import earlier, measuring, tables
from benchmarks.speed.sides import ON_GPU
from ddgm.runs.command_line import OneLineParser, as_path, positive_number, whole_number
from ddgm.runs.exit_status import run_script
from ddgm.support.files import write_json
from ddgm.support.tables import markdown


def parse(arguments=None):
    parser = OneLineParser(
        prog='python -m benchmarks.speed', description=__doc__, allow_abbrev=False,
        epilog='Without --task: gaussian_mixture and mnist as published, and images at full width and at a quarter.')
    parser.add_argument('--task', choices=measuring.TASKS, help='with its first preset')
    parser.add_argument('--batchsize', type=whole_number(2), nargs='+', metavar='N', help="(default: the preset's)")
    parser.add_argument('--width', type=positive_number, nargs='+', metavar='F', help='of images (default: 1)')
    parser.add_argument(
        '--threads', type=whole_number(1), nargs='+', metavar='N', help='(default: 2, of gaussian_mixture 1)')
    parser.add_argument('--seed', type=whole_number(0), metavar='N', help='of weights and random numbers (default: 0)')
    parser.add_argument(
        '--sides', choices=[*measuring.PEERS, *ON_GPU], nargs='+', default=measuring.PEERS, metavar='NAME',
        help='{} (default: all); on a GPU {}, too'.format(*map(', '.join, (measuring.PEERS, ON_GPU))))
    parser.add_argument(
        '--rounds', type=whole_number(1), metavar='N', help='(default: 15, of images 5, with --scaling 3)')
    parser.add_argument(
        '--seconds', type=positive_number, default=1.0, metavar='S', help='that a turn takes (default: %(default)s)')
    parser.add_argument(
        '--late', type=whole_number(0), default=0, metavar='N', help='untimed steps of each side before (default: 0)')
    parser.add_argument(
        '--check', type=whole_number(1), metavar='N',
        help='iterations in which all sides have to compute the same (default: 20, with --scaling 5)')
    parser.add_argument(
        '--device', type=whole_number(-1), default=-1, metavar='N', help='-1: the CPU (default); or the GPU')
    parser.add_argument('--scaling', action='store_true', help='series of batch sizes, widths and threads instead')
    parser.add_argument(
        '--startup', action='store_true', help='starts of the commands and parts of a whole run instead')
    parser.add_argument(
        '--busy', action='store_true', help='steps alone, and beside another process that computes, instead')
    parser.add_argument('--record', action='store_true', help='write docs/results/speed*.json')
    parser.add_argument(
        '--earlier', type=as_path, metavar='FILE',
        help='what --out wrote of the same cases at another time, whose rounds are recorded too')
    parser.add_argument('--out', type=as_path, metavar='FILE', help='everything that was measured, as JSON')
    parsed = parser.parse_args(arguments)
    changes = [
        '--' + name for name in ('batchsize', 'width', 'threads', 'seed')
        if getattr(parsed, name) is not None]
    if changes and not parsed.task:
        parser.error('{} needs --task'.format(changes[0]))
    if parsed.scaling + parsed.startup + parsed.busy + bool(parsed.task) > 1:
        parser.error('give one of --task, --scaling, --startup and --busy')
    if parsed.record and parsed.task:
        parser.error('--record is for all published cases, not for --task')
    if parsed.earlier and (not parsed.record or parsed.scaling or parsed.startup or parsed.busy):
        parser.error('--earlier is for --record of steps')
    return parsed


def cases_of(parsed):
    """Those that the command line asks for."""
    if not parsed.task:
        return measuring.published_cases(parsed.device)
    return [
        measuring.make_case(parsed.task, batchsize, width, threads, parsed.device, parsed.seed)
        for threads in parsed.threads or [None] for width in parsed.width or [None]
        for batchsize in parsed.batchsize or [None]]


def measure_startup(parsed, report):
    """Starts of the commands, and parts of a whole run."""
    report['startup'] = measuring.measure_startup(parsed.rounds or 15)
    report['demo'] = measuring.measure_demo(min(parsed.rounds or 5, 5))
    report['numba'] = measuring.measure_numba(min(parsed.rounds or 3, 3))
    tell(tables.start_tables(report))


def measure_series(parsed, report):
    """Cases in which one number grows."""
    report['series'] = {}
    for title, series in measuring.scaling_series(parsed.device).items():
        report['series'][title] = [measure_case(parsed, case, 3, 5) for case in series]
        tell(tables.size_tables({title: report['series'][title]}), title)
        keep(parsed, report)


def measure_busy(parsed, report):
    """Cases alone, and beside another process."""
    report['busy'] = []
    for case in measuring.busy_cases(parsed.device):
        alone = measure_case(parsed, case, 5, 5)
        with measuring.beside_another():
            report['busy'].append([alone, measure_case(parsed, case, 5, 5)])
        keep(parsed, report)
    tell(tables.busy_table(report['busy']))


def measure_cases(parsed, report):
    """Those that the command line asks for."""
    cases, report['cases'] = cases_of(parsed), []
    before = earlier.read(parsed.earlier, cases, report) if parsed.earlier else None
    for case in cases:
        report['cases'].append(measure_case(parsed, case, 5 if case.task == 'images' else 15, 20))
        tell({'case': tables.case_table(report['cases'][-1])}, case.describe())
        print('\n'.join(tables.lines_of(report['cases'][-1])))
        keep(parsed, report)
    return before


def measure_case(parsed, case, rounds, check):
    return measuring.measure(
        case, parsed.sides, parsed.rounds or rounds, parsed.seconds, parsed.late, parsed.check or check)


def tell(found, title=None):
    measuring.say('')
    for name, table in found.items():
        print('\n{}\n\n{}'.format(title or name, markdown(table)), end='', flush=True)


def keep(parsed, report):
    """Write what was measured so far."""
    if parsed.out:
        parsed.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(parsed.out, report)


def record_results(report, before):
    """What was measured as the documents take it, with what was measured before, or ``None``."""
    compiler = ['numba'] if importlib.util.find_spec('numba') else []
    made = {'packages': ('Chainer', 'NumPy', *compiler, 'torch'), 'seeds': [0]}
    if before:
        made['date'] = '{} and {}'.format(before['date'], report['date'])
    if 'startup' in report:
        made['seeds'] = [1]  # that of `make demo`
        record.write('speed_startup', tables.start_tables(report), **made)
    elif 'series' in report:
        record.write('speed_sizes', tables.size_tables(report['series']), **made)
        tables.draw_sizes(ROOT / 'docs' / 'speed_sizes.png', report['series'])
    elif 'busy' in report:
        record.write('speed_busy', tables.busy_table(report['busy']), **made)
    else:
        cases = [earlier.joined(case, before) for case in report['cases']] if before else report['cases']
        record.write('speed', tables.step_tables(cases), **made)


def main():
    parsed = parse()
    report = {
        'machine': measuring.describe_machine(), 'commit': record.commit(),
        'date': datetime.datetime.now().isoformat(' ', 'minutes')}
    print('{processor}, {cores} cores, {system}'.format(**report['machine']))
    if report['machine']['busy'] and report['machine']['busy'] > 0.5:
        print('In the last minute {:.1f} cores were busy: if they still are, the times will say little'.format(
            report['machine']['busy']))
    measure = (measure_startup if parsed.startup else measure_series if parsed.scaling else measure_busy if parsed.busy
               else measure_cases)
    before = measure(parsed, report)
    keep(parsed, report)
    if parsed.record:
        record_results(report, before)


if __name__ == '__main__':
    run_script(main)
