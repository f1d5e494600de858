"""Make a model of the package out of a finished run: what sampling and densities need, and a card.

The folder ddgm/trained/models/NAME gets settings without paths, both networks in float32, the metrics, the card, and a
checksum of each.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib

import numpy

from benchmarks.results import record
from ddgm.evaluation import tasks
from ddgm.evaluation.metrics import N_SCORED
from ddgm.runs import command_line, run_files
from ddgm.runs.exit_status import run_script
from ddgm.support.errors import UsageError
from ddgm.support.files import open_atomically, read_json, write_arrays, write_json
from ddgm.support.serialization import arrays_of
from ddgm.support.tables import markdown, rounded
from ddgm.trained import loading, packaged


@dataclasses.dataclass(frozen=True)
class About:
    """What a card says that no run knows."""

    task: str
    title: str
    data: str
    not_for: tuple


_OF_THE_PLANE = 'Anything but these points: it has seen no others.'
MODELS = {
    'ten_gaussians': About(
        'gaussian_mixture', 'ten Gaussians in the plane, the petals of a flower',
        'drawn from a known density, `ddgm.data.distributions.GaussianMixture`: no licence', (_OF_THE_PLANE,)),
    'swiss_roll': About(
        'swiss_roll', 'a spiral in the plane',
        'drawn along a known curve, `ddgm.data.distributions.SwissRoll`: no licence', (_OF_THE_PLANE,)),
    'digits': About(
        'mnist', 'handwritten digits, 28×28 pixels in grey',
        'the 60,000 training images of MNIST, by Yann LeCun and Corinna Cortes: CC BY-SA 3.0', (
            'Telling digits from all other inputs: energies of three other presets rate those upside down nearly like '
            'digits (docs/question-detector.md).',
            'Log-densities: log Z is not known, so that only differences of energies mean something.',
            'Training a recognizer: some samples are no digit, and none has a label.')),
    'icons': About(
        'images', 'heads and shoulders of emoji, 64×64 pixels in colours',
        '686 pictures of Noto Emoji, by Google: Apache 2.0 (pictures), OFL 1.1 (font)', (
            'New emoji: many samples are blurred, and a grid of pixels shows in most.',
            'Pictures of people, or of anything else: it has seen these 686 alone.',
            'Log-densities: log Z is not known, so that only differences of energies mean something.')),
}
_NO_METRICS = {'iterations', 'seed', 'n_samples', 'classifier', 'n_reference', 'n_searched'}


def package(path, name: str, out: pathlib.Path, commit: str | None) -> None:
    """Write the model ``name`` of the run in a folder to ``out`` / ``name``.

    Raises ``UsageError`` where the run is of another task or not finished, or the folder is there.
    """
    about, run, folder = MODELS[name], loading.open_run(path), out / name
    if run.task != about.task:
        raise UsageError('{} is a run of {}, and {} one of {}'.format(path, run.task, name, about.task))
    if folder.exists():
        raise UsageError('{} is there already: remove it first'.format(folder))
    task, metrics = tasks.find(run.task), read_metrics(run)
    reference, models = run.open_reference(task), task.build_models(run.settings, numpy.random.default_rng(0))
    for file, model in zip(run_files.MODELS, models):
        if not run.load(file, model, 'repeat the run'):
            raise UsageError('{} has no {}: let it come to its end first'.format(path, file))
    real = reference.real_data(N_SCORED)
    real = {} if real is None else reference.score(real)
    told = read_json(run.path / run_files.SETTINGS)

    folder.mkdir(parents=True)
    kept = ['task', 'preset', *run.settings.types(), 'data_fingerprint', 'standardization', 'device', 'versions']
    write_json(folder / run_files.SETTINGS, {key: told[key] for key in kept if key in told})
    write_json(folder / run_files.METRICS, metrics)
    for file, model in zip(run_files.MODELS, models):
        arrays = {
            key: array.astype(numpy.float32) if array.dtype.kind == 'f' else array
            for key, array in arrays_of(model).items()}
        with open_atomically(folder / file) as opened:
            write_arrays(opened, arrays)
    (folder / packaged.CARD).write_text(
        card(name, run, told['versions'], commit, metrics, real, sum(map(n_numbers, models))), encoding='utf-8')
    (folder / packaged.CHECKSUMS).write_text(packaged.checksums_of(folder), encoding='ascii')
    print('{}: {:.2f} MB'.format(folder, sum(file.stat().st_size for file in folder.iterdir()) / 1e6))


def read_metrics(run):
    """What a finished run has scored; raises ``UsageError`` where it is not finished."""
    try:
        metrics = read_json(run.path / run_files.METRICS)
        if metrics['iterations'] == run.settings.iterations:
            return metrics
    except (ValueError, LookupError, TypeError):
        pass
    raise UsageError('{} is not finished: let it come to its end first'.format(run.path))


def n_numbers(model):
    return sum(array.size for array in arrays_of(model).values())


def card(name, run, versions, commit, metrics, real, n_parameters):
    """A model's card, Markdown."""
    about = MODELS[name]
    scores = [key for key, value in metrics.items() if isinstance(value, float) and key not in _NO_METRICS]
    facts = {'columns': ['', ''], 'rows': [
        ['data', about.data], ['command', '`{}`'.format(command_of(run))], ['commit', commit],
        ['seed', str(run.settings.seed)], ['iterations', run.settings.iterations],
        ['versions', ', '.join('{} {}'.format(*pair) for pair in versions.items() if pair[1])],
        ['numbers in both networks', n_parameters], ['licence of the weights', 'MIT, as the code']]}
    table = {'columns': ['metric', 'samples', 'real data'], 'rows': [
        ['`{}`'.format(key), rounded(metrics[key], 4), rounded(real.get(key), 4)] for key in scores]}
    return '\n'.join([
        '# {}: {}; preset {}'.format(name, about.title, run.preset), '', markdown(facts),
        'What {:,} samples of seed 0 score, beside fresh data where there is some to spare; docs/results.md tells what '
        'each\nmetric is.\n'.format(metrics['n_samples']), markdown(table),
        'It is not good for:\n', *map('- {}'.format, about.not_for), ''])


def command_of(run):
    """What was typed to make a run."""
    task = tasks.find(run.task)
    words = ['ddgm', run.task, '--preset', run.preset]
    if task.data and task.data.default is None:
        words += ['--data', 'folder']
    published = dataclasses.asdict(task.presets[run.preset].settings)
    for key, value in dataclasses.asdict(run.settings).items():
        if key == 'seed' or value != published[key]:
            words += ['--{}{}'.format('' if value else 'no-', key)] if isinstance(value, bool) else [
                '--' + key, str(value)]
    return ' '.join(words)


def parse(arguments=None) -> argparse.Namespace:
    parser = command_line.OneLineParser(prog='python -m benchmarks.results.package_models', description=__doc__)
    parser.add_argument('run', metavar='RUN', type=command_line.path_name, help='folder of a finished run')
    parser.add_argument('name', metavar='NAME', choices=MODELS, help='what it is called: ' + ', '.join(MODELS))
    parser.add_argument(
        '--commit', metavar='COMMIT', default=record.commit(),
        help='of the code that made the run (default: the present one)')
    parser.add_argument(
        '--out', metavar='DIR', type=command_line.as_path, default=packaged.FOLDER, help='(default: %(default)s)')
    return parser.parse_args(arguments)


def main(arguments=None) -> None:
    request = parse(arguments)
    package(request.run, request.name, request.out, request.commit)


if __name__ == '__main__':
    run_script(main)
