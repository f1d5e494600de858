"""Flags, presets, help and exit statuses."""

import dataclasses
import functools
import io
import os
import re
import signal
import subprocess
import sys
import threading
import types

import pytest
from conftest import HANGS_AFTER, ROOT, refusal

from ddgm.compare import __main__ as compare
from ddgm.evaluation import tasks
from ddgm.evaluation.reference import Reference
from ddgm.fast import threads
from ddgm.prepare import __main__ as prepare
from ddgm.presets import PRESETS
from ddgm.runs import command_line, execution, exit_status, processes, run_folder, stop_signals
from ddgm.studies import __main__ as studies
from ddgm.support import ranks
from ddgm.support.errors import Interrupted, RunFailed, UsageError
from ddgm.weights import __main__ as weights


def test_defaults():
    request = command_line.parse('gaussian_mixture', 'text', [])
    assert request.out == 'result/gaussian_mixture'
    assert request.settings() == PRESETS['gaussian_mixture']['default'].settings
    assert not request.resume


def test_flags_change_the_preset():
    request = command_line.parse('swiss_roll', 'text', [
        '--preset', 'post', '-n', '5', '-b', '7', '-s', '3', '-d', '@cupy:1', '--log_interval', '1',
        '--snapshot_interval', '0', '--figure_interval', '2', '-o', 'x', '-r'])
    settings = request.settings()
    assert (settings.iterations, settings.batchsize, settings.seed) == (5, 7, 3)
    assert (settings.log_interval, settings.snapshot_interval, settings.figure_interval) == (1, 0, 2)
    assert (request.device, request.out, request.resume, request.preset) == ('@cupy:1', 'x', True, 'post')


@pytest.mark.parametrize('task', PRESETS)
def test_what_leads_beyond_the_paper_has_flags(task):
    """By the names of the settings; left out they change no preset."""
    default = command_line.parse(task, 'text', ['--data', 'x'] if task in ('images', 'points') else []).settings()
    for name in default.of_earlier_versions():
        value = getattr(default, name)
        choices = default.told_of(name).choices
        new = choices[-1] if choices else not value if isinstance(value, bool) else value + type(value)(1)
        changed = command_line.parse(task, 'text', [
            *(['--data', 'x'] if task in ('images', 'points') else []),
            *(['--preset', 'calibrated'] if name == 'volume_entropy_weight' and task != 'images' else []),
            *(['--{}{}'.format('' if new else 'no-', name)] if isinstance(value, bool) else
              ['--{}={}'.format(name, new)])]).settings()
        assert getattr(changed, name) == new


def test_the_published_presets_are_the_paper():
    for presets in PRESETS.values():
        for name, preset in presets.items():
            settings = preset.settings
            is_paper = settings.of_earlier_versions().items() <= dataclasses.asdict(settings).items()
            assert is_paper == (name not in ('calibrated', 'density', 'convolutional'))


@pytest.mark.parametrize('task', ['gaussian_mixture', 'swiss_roll'])
def test_published_lengths(task):
    """The two videos have 1,000 epochs, of 10 and of 2 iterations, a frame each; train.py has epochs of 500."""
    post, long = PRESETS[task]['post'].settings, PRESETS[task]['long'].settings
    epoch = {'gaussian_mixture': 10, 'swiss_roll': 2}[task]
    assert (post.iterations, post.figure_interval) == (1000 * epoch, epoch)
    assert long.iterations == 1000 * 500
    for name, preset in PRESETS[task].items():
        assert preset.settings.batchsize == (400 if name in ('calibrated', 'density') else 100)


def test_any_number_is_set():
    """Of whatever type, a flag's own name among them, and kept apart from what is not asked for."""
    request = command_line.parse('mnist', 'text', [
        '--set', 'n_experts=64', 'energy_learning_rate=1e-3', '-s', '3', '--set=binarized=false', '--set',
        'optimizer=adagrad', 'seed=3', 'eps=1e-3'])
    changes = {'n_experts': 64, 'energy_learning_rate': 1e-3, 'binarized': False, 'optimizer': 'adagrad', 'seed': 3,
               'eps': 1e-3}
    assert request.changes == changes
    assert request.settings() == dataclasses.replace(PRESETS['mnist']['post'].settings, **changes)


@pytest.mark.parametrize(('arguments', 'words'), [
    ('learning_rate=1', 'did you mean energy_learning_rate or generator_learning_rate?'),
    ('n-expert=1', 'did you mean n_experts?'), ('Sigma=1', 'did you mean sigma?'), ('xyzzy=1', '--help with --preset'),
    ('device=0', 'a flag: --device'), ('n_experts', 'give NAME=VALUE'), ('=1', "no setting ''"),
    ('n_experts=', 'n_experts: give a whole number from 1 on'), ('n_experts=6.4', 'n_experts: give a whole number'),
    ('n_experts=1_0', 'give a whole number'), ('n_experts=\u0661', 'give a whole number'),
    ('sigma=\u0661', 'sigma: give a number'), ('sigma=1_0', 'give a number'), ('sigma=nan', 'give a number'),
    ('sigma=inf', 'give a number'), ('sigma=0', 'give a number from 0.001 to 1e+06'), ('beta1=1', 'from 0 to 0.999999'),
    ('binarized=1', 'binarized: give true or false'), ('optimizer=sgd', 'optimizer: give one of adam, adagrad'),
    ('seed=1 seed=2', 'seed is to be both 1 and 2'), ('seed=1 -s 2', 'seed is to be both 2 and 1'),
    ('convolutional=true energy_normalization=weight', 'convolutional is for'),
    ('n_experts=4 --n_experts 5', '--n_experts is --set n_experts=VALUE here'),
    ('n_experts=4 --lr 5', '--set energy_learning_rate=VALUE generator_learning_rate=VALUE here')])
def test_numbers_that_are_set_wrongly(arguments, words):
    assert words in refusal(command_line.parse, 'mnist', 'text', ['--set', *arguments.split()])


@pytest.mark.parametrize('task', PRESETS)
def test_help_of_a_preset_lists_all_its_settings(task, monkeypatch, capsys):
    """As --set takes them, which makes the preset of any other; those that differ from the default are marked."""
    data = ['--data', 'x'] if task in ('images', 'points') else []
    default = next(iter(PRESETS[task]))
    for name, preset in PRESETS[task].items():
        lines = help_of(functools.partial(
            lambda flags, more: command_line.parse(task, 'text', [*flags, *more]), ['--preset', name]),
            monkeypatch, capsys, 80)
        assert max(map(len, lines)) <= 80
        found = [re.fullmatch(r'  ([ *]) (\w+ = \S*)(?:  \(or .*\))?', line) for line in lines]
        listed = {match[2].replace(' = ', '='): match[1] for match in found if match}
        assert len(listed) == len(preset.settings.types())
        request = command_line.parse(task, 'text', [*data, '--set', *listed])
        assert request.settings() == preset.settings
        others = dataclasses.asdict(PRESETS[task][default].settings)
        assert {text.split('=')[0] for text, mark in listed.items() if mark == '*'} == {
            key for key, value in dataclasses.asdict(preset.settings).items() if value != others[key]}


@pytest.mark.parametrize('arguments', [
    '-n 0', '-n -3', '-n abc', '-n 1.5', '-n 1000000000', '-b 1', '-b 100000000000000000000',
    '-s -1', '-s x', '--log_interval -1', '--figure_interval a',
    '--snapshot_interval -2', '--preset nothing', '-d cuda', '-d @cupy', '-d -2', '-d @chainerx:0',
    '-n 1_0', '-s \u0661', '-d \u0661', '--energy_penalty 1_0',
    '--energy_penalty -1', '--energy_penalty nan', '--decay_from -1', '--averaged=1', '--langevin_steps 2.5',
    '--resume --overwrite', '--no_such_flag',
    'something', '-n', '--iter 5', '--out='])
def test_bad_usage_is_one_line(arguments):
    with pytest.raises(UsageError) as caught:
        command_line.parse('gaussian_mixture', 'text', arguments.split())
    message = str(caught.value)
    assert '\n' not in message
    assert '--help' in message
    flag = re.search(r'-[^\s=]+', arguments)
    if flag and '--iter' not in arguments:
        assert flag.group() in message


@pytest.mark.parametrize('arguments', [
    '--volume_entropy_weight 1', '--volume_entropy_weight 1 --preset calibrated --binary_latents 1',
    '--neighbours 501 --neighbour_entropy_weight 1',
    '--proposals 10 --langevin_steps 2', '--proposals 10 --energy_penalty 1', '--proposals 10 --proposal_deviation 0',
    '--langevin_step_size 0 --langevin_steps 1'])
def test_settings_that_do_not_go_together(arguments):
    with pytest.raises(UsageError, match='^{} .*--help'.format(arguments.split()[0].lstrip('-'))):
        command_line.parse('gaussian_mixture', 'text', arguments.split())


def help_of(parse, monkeypatch, capsys, columns):
    monkeypatch.setenv('COLUMNS', str(columns))
    with pytest.raises(SystemExit) as caught:
        parse(['--help'])
    assert caught.value.code == 0
    return capsys.readouterr().out.splitlines()


def test_help_lists_every_preset(monkeypatch, capsys):
    text = ' '.join(' '.join(help_of(
        functools.partial(command_line.parse, 'gaussian_mixture', 'What it is.'), monkeypatch, capsys, 80)).split())
    assert ' What it is. ' in text
    for name, preset in PRESETS['gaussian_mixture'].items():
        assert ' {}: {:,} iterations, batches of {}, {} {}'.format(
            name, preset.settings.iterations, preset.settings.batchsize, preset.takes, preset.description) in text


@pytest.mark.parametrize('parse', [
    *(functools.partial(command_line.parse, task, 'What it is, in a sentence of its own: ' + 9 * 'a long one. ')
      for task in PRESETS),
    compare.parse, weights.parse, studies.parse, lambda arguments: weights.parse(['import', *arguments]),
    lambda arguments: weights.parse(['export', *arguments])])
def test_help_fits_eighty_columns(parse, monkeypatch, capsys):
    lines = help_of(parse, monkeypatch, capsys, 80)
    assert max(map(len, lines)) <= 80
    assert help_of(parse, monkeypatch, capsys, 200) == lines


def test_help_says_what_is_needed(monkeypatch, capsys):
    """--data where it has no default; no default of one preset for all."""
    lines = help_of(functools.partial(command_line.parse, 'images', 'text'), monkeypatch, capsys, 80)
    assert lines[0].endswith(' --data DIR [options]')
    text = ' '.join(' '.join(lines).split())
    assert ('folder of pictures, sub-folders count too; or a .zip or .tar of them, an array (.npy, .npz), or the '
            'binary files of CIFAR-10; needed, but for --resume') in text
    for task in ('gaussian_mixture', 'mnist'):
        text = ' '.join(' '.join(help_of(
            functools.partial(command_line.parse, task, 'text'), monkeypatch, capsys, 80)).split())
        assert 'data and samples an iteration, from 2 on (default: the preset\'s)' in text
        assert 'needed' not in text


@pytest.mark.parametrize(('arguments', 'meant'), [
    ('--gpu 0', '--gpu is --device here'), ('-g -1', '-g is --device here'), ('--gpu=1', '--gpu is --device here'),
    ('--batch-size 64', '--batch-size is --batchsize here'), ('--batch_size=64', '--batch_size is --batchsize here'),
    ('--epoch 20', '--epoch is --iterations, which counts updates, here'),
    ('-e 20', '-e is --iterations, which counts updates, here'),
    ('--log-interval 5', '--log-interval is --log_interval here'),
    ('--snapshot-interval 5', '--snapshot-interval is --snapshot_interval here'),
    ('--energy-penalty 5', '--energy-penalty is --energy_penalty here'),
    ('--no-cuda', '--no-cuda is --device -1 here'), ('--cuda', '--cuda is --device 0 here'),
    ('--dataroot x', '--dataroot is --data here'), ('--itertions 5', '--itertions is --iterations here'),
    ('--over-write', '--over-write is --overwrite here'),
    ('--device cuda', "-d/--device: 'cuda' is 0 or @cupy:0 here"),
    ('--device cuda:3', "-d/--device: 'cuda:3' is 3 or @cupy:3 here"),
    ('--device automatic', '-d/--device: give -1 or @numpy for the CPU, 0 or @cupy:0 for a GPU, auto for whichever is '
                           "there, not 'automatic'"),
    ('-d CPU', "-d/--device: 'CPU' is -1 or @numpy here"),
    ('--workers 5', 'unrecognized arguments: --workers 5'), ('20', 'unrecognized arguments: 20')])
def test_flags_of_other_programs(arguments, meant):
    with pytest.raises(UsageError) as caught:
        command_line.parse('mnist', 'text', arguments.split())
    assert str(caught.value).replace('argument ', '') == meant + ' (see --help)'


def test_a_flag_of_another_task_is_none():
    with pytest.raises(UsageError, match='^unrecognized arguments: --dataset x'):
        command_line.parse('gaussian_mixture', 'text', ['--dataset', 'x'])


def test_home_folder(monkeypatch):
    """``~`` in any path, for no shell replaces that of ``--out=~/x``."""
    monkeypatch.setenv('HOME', '/home/someone')
    monkeypatch.setenv('USERPROFILE', '/home/someone')  # Windows
    request = command_line.parse('mnist', 'text', ['--out=~/x', '--data=~'])
    assert (request.out, request.data) == ('/home/someone/x', '/home/someone')
    request = compare.parse(['a', '--reference', 'mnist:~/d', '--out=~/e'])
    assert (request.reference, request.out) == (('mnist', '/home/someone/d'), '/home/someone/e')
    request = weights.parse(['import', '~/a', '~/b', '--like=~/c'])
    assert (request.source, request.out, request.like) == ('/home/someone/a', '/home/someone/b', '/home/someone/c')
    request = weights.parse(['sample', '~/a', '~/b.npz', '--generator=~/c.py:G'])
    assert (request.source, request.out, request.generator) == (
        '/home/someone/a', '/home/someone/b.npz', '/home/someone/c.py:G')
    request = prepare.parse(['images', '--data=~/a', '--out=~/b'])
    assert (request.data, request.out) == ('/home/someone/a', '/home/someone/b')
    request = studies.parse(['digits', '--mnist=~/a', '--images=~/b', '--out=~/c'])
    assert (request.mnist, request.images, request.out) == ('/home/someone/a', '/home/someone/b', '/home/someone/c')


@pytest.mark.parametrize(('arguments', 'paths', 'reference', 'out'), [
    ('a', ['a'], (None, None), 'result/comparison'),
    ('a t=b.npy c.csv', ['a', 't=b.npy', 'c.csv'], (None, None), 'result/comparison'),
    ('a -o x', ['a'], (None, None), 'x'),
    ('--out x a b', ['a', 'b'], (None, None), 'x'),
    ('a --reference gaussian_mixture', ['a'], ('gaussian_mixture', None), 'result/comparison'),
    ('--reference swiss_roll a b', ['a', 'b'], ('swiss_roll', None), 'result/comparison'),
    ('a --reference mnist', ['a'], ('mnist', 'data/mnist'), 'result/comparison'),
    ('a --reference mnist:my/digits', ['a'], ('mnist', 'my/digits'), 'result/comparison'),
    ('a --reference images:C:/icons', ['a'], ('images', 'C:/icons'), 'result/comparison'),
])
def test_comparison(arguments, paths, reference, out):
    request = compare.parse(arguments.split())
    assert (request.paths, request.reference, request.out) == (paths, reference, out)


@pytest.mark.parametrize('reference', [
    'moons', 'images', 'images:', 'mnist:', 'gaussian_mixture:x', 'swiss_roll:', ':x', '', 'Mnist', 'mnist=x'])
def test_references_that_are_none(reference):
    with pytest.raises(UsageError) as caught:
        compare.parse(['a', '--reference', reference])
    message = str(caught.value)
    assert '\n' not in message
    for words in ('--reference', 'gaussian_mixture, swiss_roll, mnist:DIR, images:DIR', repr(reference), '--help'):
        assert words in message


@pytest.mark.parametrize('arguments', ['', '--out=', 'a --out=', 'a --reference', 'a --ref mnist', 'a --no_such_flag'])
def test_bad_comparison_is_one_line(arguments):
    with pytest.raises(UsageError) as caught:
        compare.parse(arguments.split())
    assert '\n' not in str(caught.value)
    assert '--help' in str(caught.value)


NO_MEMORY = (
    'cudaErrorMemoryAllocation: out of memory', 'CUBLAS_STATUS_ALLOC_FAILED', 'CUDA_ERROR_OUT_OF_MEMORY: out of memory')


def of_cuda(words):
    """An error as CuPy raises it of CUDA and its libraries, none of which is a ``MemoryError``."""
    return type('CUDARuntimeError', (RuntimeError,), {'__module__': 'cupy_backends.cuda.api.runtime'})(words)


@pytest.mark.parametrize(('error', 'status', 'line'), [
    (None, 0, None), (UsageError('bad flag'), 2, 'bad flag'), (RunFailed('not finite'), 1, 'not finite'),
    (Interrupted('saved'), 130, 'saved'), (KeyboardInterrupt(), 130, 'interrupted'),
    (OSError(28, 'No space left on device'), 1, ': stopped by the system: [Errno 28] No space left on device\n'),
    (MemoryError('1 TiB'), 1, ': not enough memory (1 TiB)\n'), (BrokenPipeError(), 130, None),
    *[(of_cuda(words), 1, ': not enough memory ({})\n'.format(words)) for words in NO_MEMORY],
    (SystemExit(0), 0, None), (UsageError('a\033[31m  b\r'), 2, ': a?[31m  b?\n')])
def test_exit_statuses(error, status, line, capsys):
    def main():
        if error is not None:
            raise error
    with pytest.raises(SystemExit) as caught:
        exit_status.run_script(main)
    assert caught.value.code == status
    written = capsys.readouterr().err
    assert written.count('\n') == (0 if line is None else 1)
    assert line is None or line in written


@pytest.mark.parametrize(('task', 'error', 'line'), [
    (tasks.GAUSSIAN_MIXTURE, OSError(28, 'No space left on device'),
     r'the run stopped: \[Errno 28\] No space left on device; the last snapshot, if there was one, stays'),
    (tasks.GAUSSIAN_MIXTURE, MemoryError('1 TiB'), r'not enough memory \(1 TiB\): give a smaller --batchsize'),
    (tasks.IMAGES, MemoryError('1 TiB'), r'not enough memory \(1 TiB\): give a smaller --batchsize or --width'),
    (tasks.IMAGES, of_cuda(NO_MEMORY[0]),
     r'not enough memory \({}\): give a smaller --batchsize or --width'.format(NO_MEMORY[0]))])
def test_what_a_run_says_of_the_system(task, error, line, tmp_path, monkeypatch):
    """It speaks of snapshots, which other commands have none of, and of those flags alone that the script has."""
    def fail(*arguments):
        raise error
    monkeypatch.setattr(execution, '_begin', fail)
    folder = run_folder.open_run(command_line.Request(task, str(tmp_path / 'run'), data='elsewhere'))
    with pytest.raises(RunFailed, match='^{}$'.format(line)):
        execution.execute(folder, types.SimpleNamespace(task=Reference()))


@pytest.mark.parametrize('error', [ZeroDivisionError(), of_cuda('cudaErrorIllegalAddress')])
def test_own_mistakes_keep_their_traceback(error):
    def main():
        raise error
    with pytest.raises(type(error)):
        exit_status.run_script(main)


@pytest.mark.parametrize(('n_cards', 'intra_rank', 'device'), [
    (4, 2, '@cupy:2'), (1, 2, '@cupy:0'), (None, 1, '@cupy:1')])
def test_the_gpu_of_a_process(n_cards, intra_rank, device, monkeypatch):
    """The next one of several, or the only one that it sees; of one that several see there is a line."""
    monkeypatch.setattr(processes, '_n_cards', lambda: n_cards)
    of_run = processes.Processes(types.SimpleNamespace(size=3, rank=intra_rank, intra_rank=intra_rank), 'pure_nccl')
    monkeypatch.setattr(of_run, 'exchange', lambda card: ['a', 'b', 'c'])
    assert of_run.device('0') == device
    monkeypatch.setattr(of_run, 'exchange', lambda card: ['a', 'b', 'a'])
    assert refusal(of_run.device, '0') == '--device 0: 3 processes would share 2 GPUs: start one process a GPU'


def status_of(main):
    with pytest.raises(SystemExit) as caught:
        exit_status.run_script(main)
    return caught.value.code


@pytest.mark.parametrize('name', ['stdout', 'stderr'])
@pytest.mark.parametrize('closed', [False, True])
def test_missing_stream(name, closed, monkeypatch):
    """None as pythonw has it, or closed."""
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, name, stream if closed else None)

    def main():
        print('hello', file=getattr(sys, name), flush=True)
        raise UsageError('bad')
    assert status_of(main) == 2
    getattr(sys, name).close()


def test_stream_of_a_notebook(monkeypatch):
    """Neither a file nor a terminal, without ``reconfigure``."""
    monkeypatch.setattr(sys, 'stdout', io.StringIO())
    assert status_of(lambda: print('hello')) == 0
    assert sys.stdout.getvalue() == 'hello\n'


def test_pipe_that_was_closed(monkeypatch, capfd):
    """Also where it is noticed at the end only, when what was printed is brought out."""
    for text in ('x', 100_000 * 'x'):
        reader, writer = os.pipe()
        os.close(reader)
        with open(writer, 'w') as stream, monkeypatch.context() as patch:
            patch.setattr(sys, 'stdout', stream)
            assert status_of(functools.partial(print, text)) == 130
    assert capfd.readouterr().err == ''


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals(number, capsys):
    """Each interrupts, but for one that was ignored at the start, as by nohup; handlers are as before afterwards."""
    def main():
        os.kill(os.getpid(), number)
        print('went on')
    before = signal.getsignal(number)
    assert status_of(main) == 130
    output, errors = capsys.readouterr()
    assert (output, errors.partition(': ')[2]) == ('', 'interrupted\n')
    assert signal.getsignal(number) == before
    signal.signal(number, signal.SIG_IGN)
    try:
        assert status_of(main) == 0
        assert capsys.readouterr() == ('went on\n', '')
        with stop_signals.noted() as received:
            main()
        assert not received
    finally:
        signal.signal(number, before)


def test_threads_have_no_signals():
    """As in a notebook that runs a script in one of its own."""
    statuses = []

    def main():
        with stop_signals.noted() as received:
            assert not received
    thread = threading.Thread(target=lambda: statuses.append(status_of(main)))
    thread.start()
    thread.join()
    assert statuses == [0]


# ---- what others have started or set

@pytest.mark.parametrize(('name', 'value'), [('CHAINER_DTYPE', 'bfloat16'), ('CHAINER_DEBUG', 'yes')])
def test_variables_that_chainer_can_not_read(name, value, monkeypatch, capsys):
    monkeypatch.setenv(name, value)
    assert status_of(lambda: None) == 2
    assert ': {} is {!r} in the environment'.format(name, value) in capsys.readouterr().err


@pytest.mark.parametrize('is_imported', [False, True])
@pytest.mark.parametrize('value', ['float16', 'mixed16', 'float64'])
def test_number_type_is_the_runs_own(value, is_imported):
    code = ('from ddgm.runs import exit_status\n{}'
            'exit_status.run_script(lambda: print(__import__("chainer").get_dtype()))')
    result = subprocess.run(
        [sys.executable, '-c', code.format('import chainer\n' if is_imported else '')], cwd=ROOT, text=True,
        capture_output=True, timeout=HANGS_AFTER, env={**os.environ, 'CHAINER_DTYPE': value})
    assert (result.stdout, result.returncode) == ('float32\n', 0)


@pytest.fixture
def two_ranks(monkeypatch):
    """Become one of two processes of one mpiexec: ``two_ranks(number)``."""
    monkeypatch.setattr(processes, '_PATIENCE', 0)

    def become(number, *flags):
        monkeypatch.setattr(sys, 'argv', ['train.py', *flags])
        for name, value in (('PMI_RANK', number), ('PMI_SIZE', 2)):
            monkeypatch.setenv(name, str(value))
    return become


def test_processes_without_a_communicator(two_ranks):
    """The first tells, and none starts."""
    two_ranks(0)
    assert re.search('mpiexec has started 2 processes.* --communicator naive', refusal(processes.join, None))
    two_ranks(1)
    with pytest.raises(processes.FailedElsewhere) as caught:
        processes.join(None)
    assert (caught.value.status, caught.value.line) == (2, None)


def test_mpi_of_another_mpiexec(two_ranks, monkeypatch):
    mpi = types.SimpleNamespace(MPI=types.SimpleNamespace(Get_library_version=lambda: 'Another MPI 1.0\n'))
    monkeypatch.setitem(sys.modules, 'mpi4py', mpi)
    monkeypatch.setitem(sys.modules, 'chainermn', types.SimpleNamespace(
        create_communicator=lambda name: types.SimpleNamespace(size=1, rank=0)))
    two_ranks(0, '--communicator')
    message = refusal(processes.join, 'naive')
    assert 'started 2 processes, of which mpi4py sees 1: its MPI is another one (Another MPI 1.0)' in message
    for number, line in ((0, 'told'), (1, None)):
        two_ranks(number, '--communicator')
        assert processes.outcome_of_all(2, 'told') == (2, line)


def test_no_gpus_communicator(two_ranks, monkeypatch):
    def fail(name):
        raise RuntimeError('no NCCL')
    monkeypatch.setitem(sys.modules, 'chainermn', types.SimpleNamespace(create_communicator=fail))
    two_ranks(0, '--communicator')
    assert 'pure_nccl: not available here (no NCCL): on CPUs give naive' in refusal(processes.join, 'pure_nccl')


@pytest.mark.parametrize(('load', 'n_threads', 'of_products', 'is_told'), [
    (9.5, 2, None, True), (1.5, 2, None, False), (9.5, 1, None, False), (9.5, 2, '1', False)])
def test_busy_machine(load, n_threads, of_products, is_told, monkeypatch):
    """A line at the start says so where threads would wait for one another."""
    monkeypatch.setattr(os, 'getloadavg', lambda: (load, 0, 0), raising=False)
    monkeypatch.setattr(ranks, 'n_cores', lambda: 2)
    monkeypatch.setattr(threads, 'number', lambda: n_threads)
    monkeypatch.delenv('OPENBLAS_NUM_THREADS', raising=False)
    if of_products:
        monkeypatch.setenv('OPENBLAS_NUM_THREADS', of_products)
    line = execution._why_slow()
    assert (line is not None) == is_told
    assert not is_told or 'a load of 9.5 on 2 cores' in line and 'OMP_NUM_THREADS=1' in line
