#!/usr/bin/env python3
"""Whether the scripts still compute the bits that they computed at another commit: short runs of every preset.

Moving code changes no bit.  Each preset of each script runs for a few iterations, once from a checkout of COMMIT and
once from the files here, is stopped and resumed on the way, and every file of the two run folders is compared: log,
snapshots, models, samples, metrics and pictures.  Only times, versions and the folders' own names may differ.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys

import numpy

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ddgm import presets  # noqa: E402
from ddgm.runs.command_line import as_path, path_name  # noqa: E402

SMALL = {'images': ['--width', '0.1', '--batchsize', '8']}
UNSTABLE = ('elapsed_time', 'sha256', 'versions', 'data')


def run(checkout, out, task, preset, data):
    """Run a preset to its second iteration and resume it to its fourth, unless the folder has that already."""
    if (out / 'done').exists():
        return
    flags = [*SMALL.get(task, []), '--preset', preset, '--out', str(out / 'run')]
    if data:
        flags += ['--data', data]
    printed = ''
    for more in (['--iterations', '2', '--overwrite'], ['--iterations', '4', '--figure_interval', '1', '--resume']):
        command = [sys.executable, str(checkout / 'train_{}.py'.format(task)), *flags, '--log_interval', '1', *more]
        ended = subprocess.run(command, capture_output=True, text=True, env={**os.environ, 'OMP_NUM_THREADS': '2'})
        if ended.returncode:
            sys.exit('{}\n{}'.format(' '.join(command), ended.stderr))
        printed += ended.stdout
    (out / 'printed').write_text(re.sub(r'\S*{}\S*|[\d.]+ s\b'.format(re.escape(str(out))), '', printed))
    (out / 'done').touch()


def content(path):
    """What a file holds, without what differs from one run to the next."""
    if path.suffix == '.npz':
        with numpy.load(path) as arrays:
            return {
                name: (arrays[name].dtype.str, arrays[name].shape, arrays[name].tobytes())
                for name in arrays if name not in UNSTABLE}
    if path.name == 'log' or path.suffix == '.json':
        read = json.loads(path.read_text())
        entries = read if isinstance(read, list) else [read]
        return [{name: value for name, value in entry.items() if name not in UNSTABLE} for entry in entries]
    return path.read_bytes()


def differences(first, second):
    """The names of files that two folders do not have in common, or whose content differs."""
    files = [{path.relative_to(folder): path for path in folder.rglob('*') if path.is_file()}
             for folder in (first, second)]
    return sorted(
        str(name) for name in files[0].keys() | files[1].keys()
        if not (name in files[0] and name in files[1] and content(files[0][name]) == content(files[1][name])))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('commit', metavar='COMMIT')
    parser.add_argument('--mnist', metavar='DIR', type=path_name, required=True, help='the four IDX files')
    parser.add_argument('--images', metavar='DIR', type=path_name, required=True, help='folder of pictures')
    parser.add_argument('--out', metavar='DIR', type=as_path, default=pathlib.Path('result/same_bits'))
    arguments = parser.parse_args()
    commit = subprocess.run(
        ['git', 'rev-parse', '--short', arguments.commit], cwd=ROOT, check=True, capture_output=True,
        text=True).stdout.strip()
    out = arguments.out.resolve()
    checkout = out / commit / 'checkout'
    if not checkout.exists():
        checkout.mkdir(parents=True)
        archive = subprocess.run(['git', 'archive', commit], cwd=ROOT, check=True, capture_output=True)
        subprocess.run(['tar', '-x', '-C', str(checkout)], input=archive.stdout, check=True)
    data = {'mnist': arguments.mnist, 'images': arguments.images}
    failed = False
    for task, named in presets.PRESETS.items():
        for preset in named:
            folders = [out / commit / '{}-{}'.format(task, preset), out / 'here' / '{}-{}'.format(task, preset)]
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
            (folders[1] / 'done').unlink(missing_ok=True)
            run(checkout, folders[0], task, preset, data.get(task))
            run(ROOT, folders[1], task, preset, data.get(task))
            found = differences(*folders)
            failed = failed or bool(found)
            print('{:<20}{:<28}{}'.format(task, preset, ', '.join(found) or 'the same'), flush=True)
    sys.exit(failed)


if __name__ == '__main__':
    main()
