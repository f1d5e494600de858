#!/usr/bin/env python3
"""Measure everything that the documents show, and fill them: hours, so it can be stopped and started at will.

Results are measured in order of worth.  One that is recorded in docs/results/ from the present code is not measured
again; of one that was interrupted, what is finished in --out is kept, as long as the code stays the same.  So commit
first, and measure then.  What is about steps alone follows their code.  --list says what is left, and how long it
takes on two cores that do nothing else.

Other code may compute the same bits.  --same_bits finds out, by short runs of the code that a result was measured with
and of the present one, and records it of each result that need not be measured again.  What a GPU shows is measured by
benchmarks/gpu.py alone.
"""

import dataclasses
import importlib
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / 'benchmarks'), str(ROOT)]

import ddgm  # noqa: E402, F401, I001  (before Chainer)
import record  # noqa: E402
import same_bits  # noqa: E402
from post_pictures import make_small  # noqa: E402
from ddgm.runs.command_line import OneLineParser, as_path, path_name  # noqa: E402
from ddgm.runs.exit_status import run_script  # noqa: E402
from ddgm.support.errors import RunFailed, UsageError  # noqa: E402

RESULTS = ROOT / 'docs' / 'results'
# What decides how long a step takes: what starts, saves and logs a run is outside.  Presets are apart too: those that
# are timed are the post's, which stay.
STEP = tuple('ddgm/' + name for name in (
    'training.py', 'models.py', 'objectives.py', 'equations.py', 'links.py', 'networks', 'beyond_the_paper', 'fast',
    'data/toy.py', 'data/mnist.py', 'data/image_folder.py', 'support/compatibility.py', 'support/randomness.py'))


@dataclasses.dataclass(frozen=True)
class Result:
    """One file of docs/results/.

    Attributes:
        name (str): The file's.
        words (tuple): The command after ``python``; a study of the package records nothing by itself.
        minutes (int): About, on two cores.
        needs (tuple): Of ``'mnist'`` and ``'images'``, the folders of data that are handed over.
        keeps (bool): Whether it keeps what is finished, in ``--out``.
        steps (bool): Whether it is about steps alone, whatever scores, draws and compares runs.
        presets (tuple): What it trains, where its figures follow from the bits that training computes.
        cases (tuple): Of a study, those that are measured, or tasks whose are; none: all.
        pictures (tuple): Of a study, those that the documents show: its own name, that in docs/, and the width there.
    """

    name: str
    words: tuple
    minutes: int
    needs: tuple = ()
    keeps: bool = True
    steps: bool = False
    presets: tuple = ()
    cases: tuple = ()
    pictures: tuple = ()

    @property
    def study(self):
        return self.words[2] if self.words[:2] == ('-m', 'ddgm.studies') else None

    @property
    def program(self):
        """The file that measures it, ``None`` for a study of the package."""
        return None if self.study else next(word for word in self.words if word.endswith('.py'))

    @property
    def code(self):
        """The files and folders that decide what is measured."""
        return (*(STEP if self.steps else record.CODE), *([self.program] if self.program else []))

    @property
    def compared(self):
        """What benchmarks/same_bits.py compares of it: nothing, where times are measured."""
        return self.presets if self.study is None else (self.study,)


def study(name, study, minutes, needs=(), *flags, **more):
    return Result(name, ('-m', 'ddgm.studies', study, *flags), minutes, needs, **more)


ALL = (
    Result(
        'plane', ('benchmarks/quality.py', '--record'), 25,
        presets=('gaussian_mixture/default', 'swiss_roll/default')),
    Result(
        'density', ('benchmarks/density.py', '--record'), 45,
        presets=('gaussian_mixture/density', 'swiss_roll/density')),
    Result(
        'digits', ('benchmarks/published.py', '--record'), 60, ('mnist',),
        presets=('mnist/post', 'mnist/batch_normalized_energy', 'mnist/last_commit')),
    Result(
        'icons', ('benchmarks/published.py', '--record'), 85, ('images',),
        presets=('images/post', 'images/calibrated')),
    Result('beside_pytorch', ('benchmarks/beside_pytorch.py', '--record'), 10, presets=('gaussian_mixture/default',)),
    Result('speed', ('benchmarks/speed.py', '--record'), 35, keeps=False, steps=True),
    Result('speed_sizes', (
        'benchmarks/speed.py', '--scaling', '--record', '--sides', 'pytorch', 'pytorch_tuned'), 15, keeps=False,
        steps=True),
    Result('speed_startup', ('benchmarks/speed.py', '--startup', '--record', '--rounds', '2'), 10, keeps=False),
    Result('convolution', ('benchmarks/convolution.py', '--record'), 10, ('images',), keeps=False, steps=True),
    study('calibration', 'calibration', 60, cases=('gaussian_mixture', 'swiss_roll')),
    study('calibrated_digits', 'calibration', 90, ('mnist',), cases=('mnist',)),
    study('entropy', 'entropy', 20, pictures=(('entropy.png', 'studies_entropy.png', 1100),)),
    study('activations', 'activations', 15, pictures=(
        ('activations_gaussian_mixture.png', 'studies_activations.png', 900),)),
    study(
        'average_digit', 'digits', 10, ('mnist',), '-n', '600', '--seeds', '5', pictures=(
            ('digits.png', 'studies_digits.png', 1100), ('digits_samples.png', 'studies_digits_samples.png', 600))),
    study('collapses_of_digits', 'failures', 90, ('mnist',), '--seeds', '5', cases=('mnist',)),
    study('collapses_of_icons', 'failures', 35, ('images',), '--seeds', '5', cases=('images',)),
    study(  # of icons it trains a sixth of these iterations, the preset's own
        'collapses_of_icons_longer', 'failures', 30, ('images',), '--seeds', '5', '-n', '24000',
        cases=('images/last_commit',)),
    study('differences', 'differences', 60),
    study('detector', 'detector', 60, ('mnist', 'images'), pictures=(('detector.png', 'studies_detector.png', 1100),)),
    study('features_and_z', 'correlations', 30, ('mnist',), pictures=(
        ('correlations.png', 'studies_correlations.png', 1000),
        ('correlations_mnist_post.png', 'studies_experts.png', 500))),
    study('analogies', 'analogies', 60, ('mnist', 'images'), pictures=(
        ('analogies_mnist_calibrated.png', 'studies_analogies.png', 300),
        ('analogies_images_post.png', 'studies_analogies_icons.png', 500))),
    Result('processes', ('benchmarks/processes.py',), 15, ('mnist', 'images'), keeps=False),
    Result('scaling', ('benchmarks/scaling.py',), 1, keeps=False, steps=True),
    Result('rounding', ('benchmarks/rounding.py',), 5, ('mnist', 'images'), keeps=False),
    Result('large_data', ('benchmarks/large_data.py',), 5, keeps=False),
    Result('reliability', (
        '-m', 'pytest', 'tests/test_faults.py', 'tests/test_fuzz.py', 'tests/test_processes.py', '--thorough',
        '--record', '-n', 'auto', '--dist', 'worksteal'), 20, keeps=False),
)
# Rows that stand beside those of a study, from other results; and what is aimed at.
BESIDE = {
    ('calibration', 'gaussian_mixture'): [
        ['`default`', 20_000, 'plane.gaussian_mixture_20000.{}.ours'],
        ['real data', None, 'plane.gaussian_mixture_20000.{}.real data'],
        ['aim', None, {
            'log_likelihood': '≥ −1.6', 'kl_generator_data': '≤ 0.3', 'hq_2sigma': '≥ 0.82', 'coverage': '≥ 0.93',
            'mode_kl': '≤ 0.004'}]],
    ('calibration', 'swiss_roll'): [
        ['`default`', 20_000, 'plane.swiss_roll_20000.{}.ours'],
        ['aim', None, {'within_0.1': '≥ 0.95', 'coverage': '≥ 0.85'}]],
    ('calibrated_digits', 'mnist'): [
        ['aim', None, {'class_kl': '≤ 0.05', 'frechet': '≤ 62, a third of `post`'}],
        ['aim, `convolutional`', None, {'class_kl': '≤ 0.03', 'frechet': '≤ 25'}]],
}


def code_of(commit, paths):
    """What names code at a commit, the hashes of files and folders; ``None`` where one of them is not there."""
    hashes = [hash_of(commit, path) for path in paths]
    return None if None in hashes else ' '.join(hashes)


def hash_of(commit, path):
    return record.git('rev-parse', '{}:{}'.format(commit, path))


def commit_of(result):
    """The commit that a result was measured at, or the last one that is known to compute its bits; or ``None``."""
    try:
        made = json.loads((RESULTS / (result.name + '.json')).read_text(encoding='utf-8'))['made']
    except FileNotFoundError:
        return None
    commit = made.get('same_bits') or made['commit']
    return None if commit and commit.endswith('-dirty') else commit


def is_current(result):
    """Whether a result is there, and what the present code gives."""
    commit = commit_of(result)
    code = commit and code_of(commit, result.code)
    return code is not None and code == code_of('HEAD', result.code)


def keep_what_has_the_same_bits(results, data):
    """Record of each result whose code computes the same bits as the present one that it does.

    Where a program in benchmarks/ was changed itself, its result is not compared.
    """
    for result in results:
        commit = commit_of(result)
        if not commit or not result.compared or (
                result.study is None and hash_of(commit, result.program) != hash_of('HEAD', result.program)):
            continue
        print('\n{} ...'.format(result.name), flush=True)
        needed = {name: data[name] for name in result.needs if name in data}  # a study leaves out cases without data
        if same_bits.compare(commit, needed, ROOT / 'result' / 'same_bits', result.compared):
            record.add(result.name, same_bits=record.commit())


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
    if result.study:
        flags += ['--out', str(out / 'studies')]
        if result.cases:
            cases = importlib.import_module('ddgm.studies.' + result.study).CASES
            flags += ['--cases', *(
                case for case in cases if case in result.cases or case.split('/')[0] in result.cases)]
    elif result.keeps:
        flags += ['--out', str(out / result.name)]
    outcome = subprocess.run([sys.executable, *result.words, *flags], cwd=ROOT)
    if outcome.returncode:
        raise RunFailed('{} failed; the same command goes on'.format(' '.join(result.words)))
    if result.study:
        found = json.loads((out / 'studies' / result.study / 'tables.json').read_text(encoding='utf-8'))
        command = ['python', *result.words]
        if result.cases:
            command = ['python', 'benchmarks/measure.py', '--only', result.name]
        elif found['left_out']:
            raise RunFailed('{}: not measured: {}'.format(result.study, ', '.join(found['left_out'])))
        record.write(
            result.name, with_rows_beside(result.name, found['tables']), seeds=found['seeds'],
            iterations=found['iterations'],
            command=' '.join([*command, *(word for need in result.needs for word in ('--' + need, 'folder'))]))
        for name, copy, width in result.pictures:
            make_small(out / 'studies' / result.study / name, ROOT / 'docs' / copy, width)


def main():
    parser = OneLineParser(description=__doc__)
    parser.add_argument('--mnist', metavar='DIR', type=path_name, default='data/mnist', help='(default: %(default)s)')
    parser.add_argument('--images', metavar='DIR', type=path_name, help='folder of the icons')
    parser.add_argument('--only', metavar='NAME', nargs='+', help='only these files of docs/results/')
    parser.add_argument('--list', action='store_true', help='only say what is left')
    parser.add_argument(
        '--same_bits', action='store_true', help='measure nothing; keep what the present code would find again')
    parser.add_argument('--out', metavar='DIR', type=as_path, default=pathlib.Path('result/measured'))
    arguments = parser.parse_args()
    names = [result.name for result in ALL]
    unknown = sorted(set(arguments.only or ()) - set(names))
    if unknown:
        raise UsageError('--only: no {}: there are {}'.format(', '.join(unknown), ', '.join(names)))
    left = [result for result in ALL if not is_current(result)]
    due = [result for result in left if not arguments.only or result.name in arguments.only]
    data = {name: folder and os.path.abspath(folder) for name, folder in (
        ('mnist', arguments.mnist), ('images', arguments.images))}
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
    if arguments.same_bits:
        keep_what_has_the_same_bits(due, {name: folder for name, folder in data.items() if folder})
    else:
        for result in due:
            print('\n{} ...'.format(result.name), flush=True)
            measure(result, data, arguments.out.absolute() / code_of('HEAD', record.CODE).partition(' ')[0][:12])
    subprocess.run([sys.executable, 'benchmarks/tables.py'], cwd=ROOT, check=True)


if __name__ == '__main__':
    run_script(main)
