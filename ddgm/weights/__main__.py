"""Carry weights to PyTorch and back, as .npz files under the names of a state_dict (see pytorch_names.py).

"export RUN DIR" writes the finished models of a run as energy_model.npz and generative_model.npz into DIR.
"import DIR OUT --like RUN" makes a run folder OUT of two such files, with the networks and settings of RUN: its samples
can be compared, and --resume trains it on from these weights.
"""

import argparse
import dataclasses
import pathlib

from ddgm.runs import command_line


def parse(arguments=None):
    """Read the command line: ``action`` and the arguments of either."""
    parser = command_line.OneLineParser(
        prog='python -m ddgm.weights', description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest='action', metavar='export|import', required=True)
    export = actions.add_parser('export', help='from a run to files for PyTorch', allow_abbrev=False)
    export.add_argument('run', metavar='RUN', type=command_line.folder_name, help='run folder')
    export.add_argument('directory', metavar='DIR', type=command_line.folder_name, help='where the two files go')
    import_ = actions.add_parser('import', help='from files that PyTorch wrote to a run folder', allow_abbrev=False)
    import_.add_argument('directory', metavar='DIR', type=command_line.folder_name, help='where the two files are')
    import_.add_argument('out', metavar='OUT', type=command_line.folder_name, help='a new run folder')
    import_.add_argument(
        '--like', metavar='RUN', type=command_line.folder_name, required=True,
        help='run folder whose networks and settings these are')
    import_.add_argument(
        '--eps', metavar='EPS', type=_eps, default=2e-5,
        help="of the BatchNorm modules in PyTorch, whose own default is 1e-5 (default: %(default)s, this project's)")
    return parser.parse_args(arguments)


def _eps(text):
    number = command_line.number_of(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError('give a small number like 1e-5, not {!r}'.format(text))
    return number


def export_weights(run, directory):
    """Write the finished models of a run folder into a directory.

    Raises ``UsageError`` where the run is not finished or the directory can't be written to.
    """
    import numpy

    from ddgm.evaluation import tasks
    from ddgm.runs import run_folder
    from ddgm.support.errors import UsageError
    from ddgm.support.files import open_atomically, write_arrays
    from ddgm.weights import pytorch_names

    folder = run_folder.read_run(run, 'give the folder of a run')
    models = tasks.build_models(folder.task, folder.settings, numpy.random.default_rng(0))
    for name, model in zip(run_folder.MODELS, models):
        if not folder.load(name, model, 'repeat the run'):
            raise UsageError('{} has no {}: let the run come to its end first'.format(folder.path, name))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, model in zip(run_folder.MODELS, models):
            with open_atomically(directory / name) as file:
                write_arrays(file, pytorch_names.export(model))
            print(directory / name)
    except OSError as error:
        raise UsageError('{}: can\'t be written to ({}): give another folder'.format(
            directory, error.strerror)) from error


def import_weights(directory, out, like, eps):
    """Make a run folder of two files of weights.

    Raises ``UsageError`` where they can't be read or don't fit the networks of ``like``, or ``out`` holds a run.
    """
    import chainer
    import numpy

    from ddgm.evaluation import metrics, sampling, tasks
    from ddgm.runs import run_folder, training_state
    from ddgm.support import randomness
    from ddgm.support.errors import UsageError
    from ddgm.support.files import read_arrays
    from ddgm.weights import pytorch_names

    like = run_folder.read_run(like, 'give the folder of a run to --like')
    if run_folder.holds_run(out):
        raise UsageError('{} holds a run: give another folder to OUT'.format(out))
    folder = run_folder.open_run(command_line.Request(
        task=like.task, out=out, preset=like.preset, data=like.data, changes=dataclasses.asdict(like.settings)))
    folder.check_data(like.data_fingerprint)
    models = tasks.build_models(folder.task, folder.settings, numpy.random.default_rng(0))
    for name, model in zip(run_folder.MODELS, models):
        try:
            pytorch_names.load(model, read_arrays(directory / name), eps)
        except ValueError as error:
            raise UsageError('{}: can\'t be read ({})'.format(directory / name, error)) from error
        except UsageError as error:
            raise UsageError('{}: {}'.format(directory / name, error)) from error
    state = training_state.start_state(folder.settings, *models)
    try:
        folder.prepare(training_state.environment(chainer.get_device(folder.device)))
        folder.log.keep(0)
        folder.save_snapshot(state)
        for name, model in zip(run_folder.MODELS, models):
            folder.save(name, model)
        z = models[1].draw_latent(metrics.N_SCORED, randomness.metric_generator(randomness.SCORED_Z))
        folder.write_samples(sampling.sample(models[1], z), z)
    finally:
        folder.unlock()
    print('Run folder: {}'.format(folder.path))


def main(arguments=None):
    request = parse(arguments)
    if request.action == 'export':
        export_weights(request.run, pathlib.Path(request.directory))
    else:
        import_weights(pathlib.Path(request.directory), request.out, request.like, request.eps)


if __name__ == '__main__':
    command_line.run_script(main)
