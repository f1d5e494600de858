"""An earlier run of the same cases, from what its ``--out`` wrote: the ranges of both times, as one."""

import copy
import datetime
import pathlib
import statistics

from benchmarks.results import record
from benchmarks.results.catalogue import STEP
from ddgm.support.errors import UsageError
from ddgm.support.files import read_json

LARGEST = 2 ** 27  # bytes of a report, which has every step's time
SAME = 'task', 'preset', 'threads', 'device', 'settings'  # in two runs of a case
JOINED = 'turns', 'medians', 'ratios', 'compiled_ratios', 'floor_ratios'  # of a side, one a round


def read(path: pathlib.Path, cases: list, report: dict) -> dict:
    """The report of an earlier run of cases, with its ``date``.

    Raises ``UsageError`` where that was on another machine, with other code, or not of all these cases.
    """
    try:
        earlier = read_json(path, LARGEST)
        known, machine = [key(case) for case in earlier['cases']], earlier['machine']
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UsageError('{}: not what --out writes of cases ({})'.format(path, error)) from error
    for case in cases:
        if key({**vars(case), 'settings': vars(case.settings)}) not in known:
            raise UsageError('{}: has no {}'.format(path, case.describe()))
    here = report['machine']
    if any(machine.get(name) != here[name] for name in ('system', 'machine', 'processor', 'cores')):
        raise UsageError('{}: of another machine, {}, {} cores'.format(
            path, machine.get('processor'), machine.get('cores')))
    commits = earlier.get('commit'), report['commit']
    if all(commits) and commits[0] != commits[1] and len({record.code_of(commit, STEP) for commit in commits}) > 1:
        raise UsageError('{}: of other code, that of commit {}'.format(path, commits[0]))
    written = datetime.datetime.fromtimestamp(path.stat().st_mtime).isoformat(' ', 'minutes')
    return {'date': written, **earlier}


def key(case: dict) -> tuple:
    """What tells a case from others."""
    return tuple([str(case[name] if name != 'settings' else sorted(case[name].items())) for name in SAME])


def joined(case: dict, earlier: dict) -> dict:
    """A case with the rounds of an earlier run before its own, for all that both measured."""
    case, before = copy.deepcopy(case), next(each for each in earlier['cases'] if key(each) == key(case))
    for part in ('sides', 'floor'):
        for name, entry in case[part].items():
            other = before.get(part, {}).get(name, {})
            if 'turns' not in entry or 'turns' not in other:
                continue
            entry.update({name: other[name] + entry[name] for name in JOINED if name in other and name in entry})
            entry.update(
                step=statistics.median(entry['medians']), peak_memory=max(entry['peak_memory'], other['peak_memory']))
            if 'ratios' in entry:
                entry['ratio'] = statistics.median(entry['ratios'])
    return case
