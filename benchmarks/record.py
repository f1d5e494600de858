"""A result as docs/results/*.json keeps it, for benchmarks/tables.py: what was measured, and what made it."""

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def write(name, tables, packages=('Chainer', 'NumPy'), **made):
    """Write docs/results/``name``.json.

    Args:
        name (str): What the documents call it.
        tables (dict): By their names, columns and rows; see benchmarks/tables.py.
        packages: Whose versions are told, beside Python's.
        made: What is not known here of how it was made, ``seeds`` and ``iterations`` for example.
    """
    commit = subprocess.run(
        ['git', 'describe', '--always', '--dirty'], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    versions = ['Python ' + platform.python_version()] + [
        '{} {}'.format(package, importlib.metadata.version(package)) for package in packages]
    made = {
        'command': ' '.join(['python', *sys.argv]), 'commit': commit or None,
        'date': datetime.date.today().isoformat(), 'seeds': None, 'iterations': None,
        'machine': '{} cores, {}'.format(os.cpu_count(), processor()), 'versions': ', '.join(versions), **made}
    path = ROOT / 'docs' / 'results' / (name + '.json')
    path.write_text(json.dumps({'made': made, 'tables': tables}, indent=2, ensure_ascii=False) + '\n', encoding='utf-8')
    print('{}: now python benchmarks/tables.py'.format(path.relative_to(ROOT)))


def processor():
    """The processor's name, as far as the system tells."""
    try:
        for line in pathlib.Path('/proc/cpuinfo').read_text().splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
