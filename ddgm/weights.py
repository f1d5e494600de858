"""Carry weights to PyTorch and back, as .npz files under the names of a state_dict (see ddgm/state_dict.py).

"export RUN DIR" writes the finished models of a run as energy_model.npz and generative_model.npz into DIR.
"import DIR OUT --like RUN" makes a run folder OUT of two such files, with the networks and settings of RUN: its samples
can be compared, and --resume trains it on from these weights.
"""

import dataclasses
import pathlib

from ddgm import command_line


def export_weights(run, directory):
    """Write the finished models of a run folder into a directory.

    Raises ``UsageError`` where the run is not finished or the directory can't be written to.
    """
    import numpy

    from ddgm import run_folder, state_dict, tasks
    from ddgm.errors import UsageError
    from ddgm.files import open_atomically, write_arrays

    folder = run_folder.read_run(run, 'give the folder of a run')
    models = tasks.build_models(folder.task, folder.settings, numpy.random.default_rng(0))
    for name, model in zip(run_folder.MODELS, models):
        if not folder.load(name, model, 'repeat the run'):
            raise UsageError('{} has no {}: let the run come to its end first'.format(folder.path, name))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, model in zip(run_folder.MODELS, models):
            with open_atomically(directory / name) as file:
                write_arrays(file, state_dict.export(model))
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

    from ddgm import metrics, randomness, run, run_folder, sampling, state_dict, tasks
    from ddgm.errors import UsageError
    from ddgm.files import read_arrays

    like = run_folder.read_run(like, 'give the folder of a run to --like')
    if run_folder.holds_run(out):
        raise UsageError('{} holds a run: give another folder to OUT'.format(out))
    folder = run_folder.open_run(command_line.Request(
        task=like.task, out=out, preset=like.preset, data=like.data, changes=dataclasses.asdict(like.settings)))
    folder.check_data(like.data_fingerprint)
    models = tasks.build_models(folder.task, folder.settings, numpy.random.default_rng(0))
    for name, model in zip(run_folder.MODELS, models):
        try:
            state_dict.load(model, read_arrays(directory / name), eps)
        except ValueError as error:
            raise UsageError('{}: can\'t be read ({})'.format(directory / name, error)) from error
        except UsageError as error:
            raise UsageError('{}: {}'.format(directory / name, error)) from error
    state = run.start_state(folder.settings, *models)
    try:
        folder.prepare(run.environment(chainer.get_device(folder.device)))
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
    request = command_line.parse_weights(__doc__, arguments)
    if request.action == 'export':
        export_weights(request.run, pathlib.Path(request.directory))
    else:
        import_weights(pathlib.Path(request.directory), request.out, request.like, request.eps)


if __name__ == '__main__':
    command_line.run_script(main)
