"""Measure everything that the documents show, and fill them: hours, so it can be stopped and started at will.

Results are measured in order of worth.  One that is recorded in docs/results/ from the present code is not measured
again; of one that was interrupted, what is finished in --out is kept, as long as the code stays the same.  So commit
first, and measure then.  What is about steps alone follows their code.  --list says what is left, and how long it
takes on two cores that do nothing else.

Other code may compute the same bits.  --same_bits finds out, by short runs of the code that a result was measured with
and of the present one, and records it of each result that need not be measured again.  What a GPU shows is measured by
`make gpu` alone.
"""

import importlib
import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys

from benchmarks import ROOT
from benchmarks.checks import same_bits
from benchmarks.pictures.post import make_small
from benchmarks.results import record
from benchmarks.results.catalogue import ALL, BESIDE
from ddgm.runs.command_line import OneLineParser, as_path, path_name
from ddgm.runs.exit_status import run_script
from ddgm.support.errors import RunFailed, UsageError

RESULTS = ROOT / 'docs' / 'results'


def commit_of(result):
    """The commit that a result was measured at, or the last one that is known to find it again; or ``None``."""
    try:
        made = json.loads((RESULTS / (result.name + '.json')).read_text(encoding='utf-8'))['made']
    except FileNotFoundError:
        return None
    commit = made.get('moved') or made.get('same_bits') or made['commit']
    return None if commit and commit.endswith('-dirty') else commit


def is_current(result):
    """Whether a result is there, and what the present code gives."""
    commit = commit_of(result)
    code = commit and record.code_of(commit, result.code)
    return code is not None and code == record.code_of('HEAD', result.code)


def keep_what_has_the_same_bits(results, data):
    """Record of each result whose code computes the same bits as the present one that it does.

    Where a program in benchmarks/ was changed itself, its result is not compared.
    """
    for result in results:
        commit = commit_of(result)
        program = result.program
        if not commit or not result.compared or (
                program and record.hash_of(commit, program) != record.hash_of('HEAD', program)):
            continue
        print('\n{} ...'.format(result.name), flush=True)
        needed = {name: data[name] for name in result.needs if name in data}  # a study leaves out cases without data
        if same_bits.compare(commit, needed, ROOT / 'result' / 'same_bits', result.compared, result.numba):
            record.add(result.name, same_bits=record.commit(), moved=None)


def with_rows_beside(name, tables):
    """The tables of a study, and below them the rows of ``BESIDE``."""
    for (of, table), rows in BESIDE.items():
        if of != name:
            continue
        for head, iterations, cells in rows:
            metrics = [column.strip('`') for column in tables[table]['columns'][2:]]
            tables[table]['rows'].append([head, iterations, *(
                {'from': cells.format(metric)} if isinstance(cells, str) else cells.get(metric) for metric in metrics)])
    return tables


def measure(result, data, out):
    """Carry out one result's command and record what it says; raises ``RunFailed`` where it fails."""
    flags = [word for name in result.needs for word in ('--' + name, data[name])]
    environment = dict(os.environ)
    if result.study:
        flags += ['--out', str(out), *flag_of_cases(result)]
        environment['DDGM_USE_NUMBA'] = result.numba
    if subprocess.run([sys.executable, *result.words, *flags], cwd=ROOT, env=environment).returncode:
        raise RunFailed('{} failed; the same command goes on'.format(' '.join(result.words)))
    if result.study:
        record_study(result, out / result.study.rpartition('.')[2])


def missing_packages(result):
    """The names, as pip knows them, of what a result needs and is not installed."""
    def is_missing(name):
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return True
        return False
    return [name for name in result.packages if is_missing(name)]


def flag_of_cases(result):
    """--cases, where a result is not of all."""
    return ['--cases', *cases_of(result)] if result.cases else []


def cases_of(result):
    """The cases that a study measures for a result, by name."""
    cases = importlib.import_module(result.study if result.program else 'ddgm.studies.' + result.study).CASES
    return {
        name: case for name, case in cases.items()
        if not result.cases or name in result.cases or name.split('/')[0] in result.cases}


def record_study(result, folder):
    """Record the tables and pictures that a study has left in its folder; raises ``RunFailed`` where cases lack."""
    found = json.loads((folder / 'tables.json').read_text(encoding='utf-8'))
    if found['left_out'] and not result.cases:
        raise RunFailed('{}: not measured: {}'.format(result.study, ', '.join(found['left_out'])))
    words = ['-m', 'benchmarks.results', '--only', result.name] if result.cases else result.words
    record.write(
        result.name, with_rows_beside(result.name, found['tables']), result.packages, seeds=found['seeds'],
        iterations=found['iterations'],
        command=' '.join(['python', *words, *(word for need in result.needs for word in ('--' + need, 'folder'))]))
    for name, copy, width in result.pictures:
        make_small(folder / name, ROOT / 'docs' / copy, width)


def parse(arguments=None):
    parser = OneLineParser(prog='python -m benchmarks.results', description=__doc__)
    parser.add_argument('--mnist', metavar='DIR', type=path_name, default='data/mnist', help='(default: %(default)s)')
    parser.add_argument('--images', metavar='DIR', type=path_name, help='folder of the icons')
    parser.add_argument('--only', metavar='NAME', nargs='+', help='only these files of docs/results/')
    parser.add_argument('--list', action='store_true', help='only say what is left')
    parser.add_argument(
        '--same_bits', action='store_true', help='measure nothing; keep what the present code would find again')
    parser.add_argument(
        '--out', metavar='DIR', type=as_path, default=pathlib.Path('result/measured'), help='(default: %(default)s)')
    arguments = parser.parse_args(arguments)
    names = [result.name for result in ALL]
    unknown = sorted(set(arguments.only or ()) - set(names))
    if unknown:
        raise UsageError('--only: no {}: there are {}'.format(', '.join(unknown), ', '.join(names)))
    return arguments


def main(arguments=None):
    arguments = parse(arguments)
    left = [result for result in ALL if not is_current(result)]
    due = [result for result in left if not arguments.only or result.name in arguments.only]
    print('{} of {} results are of the present code; left: {:.1f} hours'.format(
        len(ALL) - len(left), len(ALL), sum(result.minutes for result in due) / 60))
    for result in due:
        print('{:>5} min  {}'.format(result.minutes, result.name), flush=True)
    if arguments.list or not due:
        return
    if any('images' in result.needs for result in due) and not arguments.images:
        raise UsageError('this needs data: give its folder to --images, or results without to --only')
    if record.commit() is None or record.commit().endswith('-dirty'):
        raise UsageError('the code is not as it was committed: commit first, so that results can name their commit')
    data = {name: os.path.abspath(folder) for name, folder in (
        ('mnist', arguments.mnist), ('images', arguments.images)) if folder}
    if arguments.same_bits:
        keep_what_has_the_same_bits(due, data)
    else:
        for result in due:
            missing = missing_packages(result)
            if missing:
                print('\n{} is left out: it needs pip install {}'.format(result.name, ' '.join(missing)), flush=True)
                continue
            print('\n{} ...'.format(result.name), flush=True)
            measure(result, data, arguments.out.absolute())
    subprocess.run([sys.executable, '-m', 'benchmarks.results.tables'], cwd=ROOT, check=True)


if __name__ == '__main__':
    run_script(main)
