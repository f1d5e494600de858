"""Whether the scripts still compute the bits that they computed at another commit: short runs of every preset.

Moving code changes no bit.  Each preset of each script runs for a few iterations, once from a checkout of COMMIT and
once from the files here, is stopped and resumed on the way, and every file of the two run folders is compared: log,
snapshots, models, samples, metrics and pictures.  Only times, versions and the folders' own names may differ.  Studies,
which --only can name, are compared by what a short one of one seed writes.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy

from benchmarks import ROOT
from ddgm import presets
from ddgm.data.distributions import GaussianMixture
from ddgm.runs.command_line import OneLineParser, as_path, path_name
from ddgm.runs.exit_status import run_script
from ddgm.studies.__main__ import STUDIES

SMALL = {'images': ['--width', '0.1', '--batchsize', '8']}
# Of a snapshot, ``run`` is what settings.json has too.  Of metrics, the name of a classifier says no more than they do;
# of a study, ``shown`` names a file.
UNSTABLE = ('elapsed_time', 'sha256', 'versions', 'data', 'run', 'classifier', 'shown')


def run(checkout, out, task, preset, data, numba):
    """Run a preset to its second iteration and resume it to its fourth."""
    flags = [*SMALL.get(task, []), '--preset', preset, '--out', str(out / 'run')]
    if data:
        flags += ['--data', data]
    printed = ''
    for more in (['--iterations', '2', '--overwrite'], ['--iterations', '4', '--figure_interval', '1', '--resume']):
        printed += printed_by([
            sys.executable, str(checkout / 'train_{}.py'.format(task)), *flags, '--log_interval', '1', *more], checkout,
            numba)
    (out / 'printed').write_text(without_chance(printed.replace(str(out), '')))


def run_study(checkout, out, name, data, numba):
    """A study of a few iterations: what it found of each case, and its tables."""
    flags = [word for task, folder in data.items() for word in ('--' + task, folder)]
    printed_by([
        sys.executable, '-m', 'ddgm.studies', name, '--seeds', '1', '-n', '20', '--out', str(out / 'result'), *flags],
        checkout, numba)
    (out / name).mkdir()
    for path in (out / 'result' / name.rpartition('.')[2]).glob('*.json'):  # as ddgm.studies names its folder
        path.rename(out / name / path.name)
    shutil.rmtree(out / 'result')


def printed_by(command, folder, numba):
    """What a command printed; ends the program where it fails."""
    ended = subprocess.run(
        command, cwd=folder, capture_output=True, text=True,
        env={**os.environ, 'OMP_NUM_THREADS': '2', 'DDGM_USE_NUMBA': numba})
    if ended.returncode:
        sys.exit('{}\n{}'.format(' '.join(command), ended.stderr))
    return ended.stdout


def without_chance(printed):
    """Lines without times, the machine's load, and a classifier's name, or what the first run alone tells of it."""
    return re.sub(
        r'\d+:\d\d:\d\d|[\d.]+ s\b|This machine is busy.*\n|classifier  .*\n|'
        r'Training the classifier.*\n.*classified rightly.*\n', '', printed)


def content(path):
    """What a file holds, without what differs from one run to the next."""
    if path.suffix == '.npz':
        with numpy.load(path) as arrays:
            return {
                name: (arrays[name].dtype.str, arrays[name].shape, arrays[name].tobytes())
                for name in arrays if name not in UNSTABLE}
    if path.name == 'log' or path.suffix == '.json':
        return stable(json.loads(path.read_text()))
    return path.read_bytes()


def stable(read):
    """What JSON holds, without what is unstable in it, however deep."""
    if isinstance(read, dict):
        return {name: stable(value) for name, value in read.items() if name not in UNSTABLE}
    return [*map(stable, read)] if isinstance(read, list) else read


def are_same(first, second):
    """Whether two files hold the same; of settings, those that both commits know: a new one has changed no bit yet."""
    contents = content(first), content(second)
    if first.name == 'settings.json':
        one, other = contents
        return all(one[name] == other[name] for name in one.keys() & other.keys())
    return contents[0] == contents[1]


def differences(first, second):
    """The names of files that two folders do not have in common, or whose content differs."""
    def name_of(path, folder):
        # Behind its seed the name of a study's result says by what code it was measured.
        return re.sub(r'(-seed\d+)-\w+(\.json)$', r'\1\2', str(path.relative_to(folder)))
    files = [{name_of(path, folder): path for path in folder.rglob('*') if path.is_file()}
             for folder in (first, second)]
    return sorted(
        name for name in files[0].keys() | files[1].keys()
        if not (name in files[0] and name in files[1] and are_same(files[0][name], files[1][name])))


def compare(commit, data, out, names, numba):
    """Print of each of ``names`` in which files the two differ; whether none does.

    Args:
        commit (str): What the files here are compared with.
        data (dict): Folders by task.
        out (pathlib.Path): What was run of that commit stays there for the next comparison.
        names: ``task/preset``, or that of a study.
        numba (str): Whether runs are compiled, as ``DDGM_USE_NUMBA`` says it.
    """
    commit = subprocess.run(
        ['git', 'rev-parse', '--short', commit], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
    checkout = out / commit / 'checkout'
    if not checkout.exists():
        checkout.mkdir(parents=True)
        archive = subprocess.run(['git', 'archive', commit], cwd=ROOT, check=True, capture_output=True)
        subprocess.run(['tar', '-x', '-C', str(checkout)], input=archive.stdout, check=True)
    all_same = True
    for name in names:
        kept_as = '-'.join([*name.split('/'), *sorted(data), numba])
        folders = [out / commit / kept_as, out / 'here' / kept_as]
        shutil.rmtree(folders[1], ignore_errors=True)
        for code, folder in zip((checkout, ROOT), folders):
            if (folder / 'done').exists():
                continue
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            if '/' in name:
                task, preset = name.split('/')
                if not (code / 'train_{}.py'.format(task)).exists():
                    continue
                run(code, folder, task, preset, data.get(task), numba)
            else:
                run_study(code, folder, name, data, numba)
            (folder / 'done').touch()
        found = differences(*folders)
        all_same = all_same and not found
        print('{:<44}{}'.format(name, ', '.join(found) or 'the same'), flush=True)
    return all_same


def main():
    parser = OneLineParser(prog='python -m benchmarks.checks.same_bits', description=__doc__)
    parser.add_argument('commit', metavar='COMMIT')
    parser.add_argument('--mnist', metavar='DIR', type=path_name, required=True, help='the four IDX files')
    parser.add_argument('--images', metavar='DIR', type=path_name, required=True, help='folder of pictures')
    parser.add_argument(
        '--only', metavar='NAME', nargs='+', help='a preset as in mnist/post, or a study (default: all presets)')
    parser.add_argument('--numba', action='store_true', help='compiled by numba (default: NumPy alone)')
    parser.add_argument('--out', metavar='DIR', type=as_path, default=pathlib.Path('result/same_bits'))
    arguments = parser.parse_args()
    every = ['{}/{}'.format(task, preset) for task, named in presets.PRESETS.items() for preset in named]
    unknown = set(arguments.only or ()) - {*every, *STUDIES}
    if unknown:
        parser.error('--only: no {}'.format(', '.join(sorted(unknown))))
    arguments.out.mkdir(parents=True, exist_ok=True)
    points = arguments.out.resolve() / 'points.npy'
    numpy.save(points, GaussianMixture().sample(500, numpy.random.default_rng(0)))
    data = {
        'mnist': os.path.abspath(arguments.mnist), 'images': os.path.abspath(arguments.images), 'points': str(points)}
    sys.exit(not compare(
        arguments.commit, data, arguments.out.resolve(), arguments.only or every,
        'always' if arguments.numba else 'never'))


if __name__ == '__main__':
    run_script(main)
