"""A result as docs/results/*.json keeps it, for the documents' tables: what was measured, and what made it."""

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import subprocess
import sys

from benchmarks import ROOT

# What stands in a command in place of a flag's path.
NOT_TOLD = {'--mnist': 'folder', '--images': 'folder', '--data': 'folder', '--earlier': 'file'}
# What results are made by.
CODE = ('ddgm', *sorted(path.name for path in ROOT.glob('train_*.py')))


def write(name: str, tables: dict, packages=('Chainer', 'NumPy'), **made) -> None:
    """Write docs/results/``name``.json.

    Args:
        name: What the documents call it.
        tables: By their names, columns and rows; see ``benchmarks.results.tables``.
        packages: Whose versions are told, beside Python's.
        made: What is not known here of how it was made, ``seeds`` and ``iterations`` for example.
    """
    versions = ['Python ' + platform.python_version()] + [
        '{} {}'.format(package, importlib.metadata.version(package)) for package in packages]
    made = {
        'command': command(), 'commit': commit(),
        'date': datetime.date.today().isoformat(), 'seeds': None, 'iterations': None,
        'machine': '{} cores, {}'.format(os.cpu_count(), processor()), 'versions': ', '.join(versions), **made}
    path = ROOT / 'docs' / 'results' / (name + '.json')
    path.write_text(as_text(made, tables), encoding='utf-8')
    print('{}: now make tables'.format(path.relative_to(ROOT)))


def add(name: str, **made) -> None:
    """Add to how docs/results/``name``.json was made."""
    path = ROOT / 'docs' / 'results' / (name + '.json')
    content = json.loads(path.read_text(encoding='utf-8'))
    path.write_text(as_text({**content['made'], **made}, content['tables']), encoding='utf-8')


def as_text(made: dict, tables: dict) -> str:
    """The file's text: JSON, a line for each row of a table."""
    lines = []

    def kept(row):
        lines.append(json.dumps(row, ensure_ascii=False))
        return 'row {}'.format(len(lines) - 1)
    short = {name: {**table, 'columns': kept(table['columns']), 'rows': [*map(kept, table['rows'])]}
             for name, table in tables.items()}
    text = json.dumps({'made': made, 'tables': short}, indent=2, ensure_ascii=False)
    return re.sub('"row ([0-9]+)"', lambda match: lines[int(match[1])], text) + '\n'


def command() -> str:
    """What was started, without where results of the machine at hand go and data lies."""
    module = pathlib.Path(os.path.relpath(os.path.abspath(sys.argv[0]), ROOT)).with_suffix('')
    words = iter(sys.argv[1:])
    kept = ['python', '-m', '.'.join(part for part in module.parts if part != '__main__')]
    for word in words:
        if word in ('--out', '--jobs'):
            next(words)
        else:
            kept += [word, next(words) and NOT_TOLD[word]] if word in NOT_TOLD else [word]
    return ' '.join(kept)


def commit() -> str:
    """The commit of the code, marked where the code is not as it was committed; ``None`` outside a repository."""
    name = git('rev-parse', '--short', 'HEAD')
    return name and name + ('-dirty' if git('status', '--porcelain', '--', *CODE, 'benchmarks') else '')


def code_of(commit: str, paths: tuple) -> str:
    """What names code at a commit, the hashes of files and folders; ``None`` where one of them is not there."""
    hashes = [hash_of(commit, path) for path in paths]
    return None if None in hashes else ' '.join(hashes)


def hash_of(commit: str, path: str) -> str:
    """Of a file or folder; ``None`` where it is not there."""
    return git('rev-parse', '{}:{}'.format(commit, path))


def git(*words: str) -> str:
    """What git answers, or ``None`` where it fails."""
    outcome = subprocess.run(['git', *words], cwd=ROOT, capture_output=True, text=True)
    return None if outcome.returncode else outcome.stdout.strip()


def processor() -> str:
    """The processor's name, as far as the system tells.

    A virtual machine may tell nothing but a family's name, so the numbers of family and model stand behind it.
    """
    try:
        lines = pathlib.Path('/proc/cpuinfo').read_text().split('\n\n')[0].splitlines()
    except OSError:
        lines = []
    told = {name.strip(): value.strip() for name, _, value in (line.partition(':') for line in lines)}
    name = told.get('model name') or platform.processor() or platform.machine()
    if {'cpu family', 'model'} <= told.keys():
        name += ' (family {}, model {})'.format(told['cpu family'], told['model'])
    return name
