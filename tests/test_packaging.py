"""What pip and uv are told: lists that agree, an environment whose pip builds Chainer, and the command ``ddgm``."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from conftest import HANGS_AFTER, ROOT, assert_same_run

import ddgm
import prepare_pip
from ddgm.__main__ import COMMANDS
from ddgm.presets import PRESETS

try:
    import tomllib
except ModuleNotFoundError:  # before Python 3.11; pytest brings it there
    import tomli as tomllib

PYPROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text(encoding='utf-8'))
PROJECT = PYPROJECT['project']


def listed(name):
    """The requirements in a file of pip's, and the other files that it names."""
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith('#')]
    return ({line for line in lines if not line.startswith('-r ')},
            [line[3:] for line in lines if line.startswith('-r ')])


def test_requirements_are_the_packages():
    """Each extra is what its file adds to that of the project; mpi has no file, since nothing asks for it yet."""
    assert listed('requirements.txt') == (set(PROJECT['dependencies']), [])
    extras = {name: set(requirements) for name, requirements in PROJECT['optional-dependencies'].items()}
    for cuda in ('12', '13'):
        assert listed('requirements-cuda{}.txt'.format(cuda)) == (extras['cuda' + cuda], ['requirements.txt'])
        assert listed('requirements-nccl{}.txt'.format(cuda)) == (
            extras['nccl' + cuda] - {'ddgm[cuda{}]'.format(cuda)}, ['requirements-cuda{}.txt'.format(cuda)])
    assert listed('requirements-compiled.txt') == (extras['compiled'], ['requirements.txt'])
    assert listed('requirements-test.txt') == (extras['test'], ['requirements.txt'])
    assert listed('requirements-pytorch.txt') == (extras['pytorch'] - {'ddgm[test]'}, ['requirements-test.txt'])
    assert listed('requirements-mpi.txt') == (extras['mpi'] | {'mpich', 'threadpoolctl'}, ['requirements-test.txt'])
    assert listed('requirements-docs.txt') == (extras['docs'], ['requirements.txt'])
    files = {path.name for path in ROOT.glob('requirements*.txt')}
    assert files == {'requirements.txt', *map('requirements-{}.txt'.format, extras)}
    assert listed('constraints.txt')[0] == set(PYPROJECT['tool']['uv']['build-constraint-dependencies'])


def test_one_list_of_pythons():
    minors = range(prepare_pip.OLDEST[1], prepare_pip.NEWEST[1] + 1)
    assert [name for name in PROJECT['classifiers'] if 'Python ::' in name] == [
        'Programming Language :: Python :: 3.{}'.format(minor) for minor in minors]
    assert PROJECT['requires-python'] == '>=3.{}'.format(minors[0])
    both = '`3.{}` to `3.{}`'.format(minors[0], minors[-1])
    for name in ('README.md', 'docs/installing.md'):
        assert both in (ROOT / name).read_text(encoding='utf-8')
    ci = (ROOT / '.ci' / 'run').read_text()
    assert 'for minor in {}; do'.format(' '.join(map(str, minors))) in ci
    assert ci.count('3.{}'.format(minors[-1])) >= 1


def test_wheel_holds_the_scripts():
    wheel = PYPROJECT['tool']['hatch']['build']['targets']['wheel']
    assert wheel['packages'] == ['ddgm']
    assert wheel['force-include'] == {
        path.name: 'ddgm/scripts/' + path.name for path in ROOT.glob('train_*.py')}


def test_command_finds_the_scripts_of_a_wheel(tmp_path):
    """In ``ddgm/scripts``, where beside the package another program has the name of one."""
    shutil.copytree(str(ROOT / 'ddgm'), str(tmp_path / 'ddgm'), ignore=shutil.ignore_patterns('__pycache__'))
    (tmp_path / 'train_mnist.py').write_text('raise SystemExit(3)')
    (tmp_path / 'ddgm' / 'scripts').mkdir()
    for path in ROOT.glob('train_*.py'):
        shutil.copy(str(path), str(tmp_path / 'ddgm' / 'scripts'))
    outcome = subprocess.run(
        [sys.executable, '-m', 'ddgm', 'mnist', '--version'], cwd=str(tmp_path), env={'PYTHONPATH': str(tmp_path)},
        capture_output=True, encoding='utf-8', timeout=HANGS_AFTER)
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, 'ddgm {}\n'.format(ddgm.__version__), '')


def plain_environment(*path):
    """Without ``OMP_NUM_THREADS``, which the tests set for all others: another number of threads gives other bits."""
    return {'PYTHONPATH': os.pathsep.join([str(ROOT), *path])}


def run_command(*arguments, cwd, path=()):
    return subprocess.run(
        [sys.executable, '-c', 'from ddgm.__main__ import main; main()', *map(str, arguments)], cwd=str(cwd),
        env=plain_environment(*path), capture_output=True, encoding='utf-8', timeout=HANGS_AFTER)


def test_command_lists_its_commands(tmp_path):
    assert set(PRESETS) < set(COMMANDS)
    for arguments in ([], ['--help']):
        outcome = run_command(*arguments, cwd=tmp_path)
        assert (outcome.returncode, outcome.stderr) == (0, '')
        assert re.findall(r'^  (\w+) +\S', outcome.stdout, re.MULTILINE) == list(COMMANDS)
        assert max(map(len, outcome.stdout.splitlines())) < 80
    outcome = run_command('minst', cwd=tmp_path)
    assert (outcome.returncode, outcome.stdout) == (2, '')
    assert outcome.stderr.count('\n') == 1
    assert "'minst' is no command: give one of gaussian_mixture, swiss_roll" in outcome.stderr


@pytest.mark.parametrize('arguments', [['--version'], *([task, '--version'] for task in PRESETS)])
def test_version(arguments, tmp_path):
    outcome = run_command(*arguments, cwd=tmp_path)
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, 'ddgm {}\n'.format(ddgm.__version__), '')


@pytest.mark.parametrize('name', COMMANDS)
def test_command_hands_over(name, tmp_path):
    outcome = run_command(name, '--no_such_flag', cwd=tmp_path)
    assert outcome.returncode == 2
    assert outcome.stderr.startswith('train_{}.py: '.format(name) if name in PRESETS else name + ': ')
    assert outcome.stderr.count('\n') == 1


@pytest.mark.slow
def test_command_is_the_script(run_script, tmp_path):
    """Where the user's folder has another program of that name."""
    (tmp_path / 'train_gaussian_mixture.py').write_text('raise SystemExit(3)')
    flags = ['-n', '20', '-b', '100']
    assert run_script('gaussian_mixture', *flags, '-o', 'script', env=plain_environment()).returncode == 0
    assert run_command('gaussian_mixture', *flags, '-o', 'command', cwd=tmp_path).returncode == 0
    assert_same_run(tmp_path / 'script', tmp_path / 'command')


def test_command_has_the_threads_of_the_script(tmp_path):
    program = 'import os; print(os.environ["OPENBLAS_NUM_THREADS"])'
    (tmp_path / 'sitecustomize.py').write_text('import atexit\natexit.register(lambda: exec({!r}))'.format(program))
    outcome = run_command('gaussian_mixture', '--version', cwd=tmp_path, path=[str(tmp_path)])
    assert outcome.stdout.splitlines()[-1] == '1'


@pytest.mark.slow
@pytest.mark.parametrize('pip', [[], ['--without-pip']], ids=['venv', 'uv'])
def test_environment_whose_pip_builds_chainer(pip, tmp_path):
    """From any folder, at a path with spaces, and where uv made an environment without pip."""
    environment = tmp_path / 'a folder' / 'of its own'
    subprocess.check_call([sys.executable, '-m', 'venv', *pip, str(environment)])
    python = str(environment / 'bin' / 'python')
    subprocess.check_call([python, str(ROOT / 'prepare_pip.py')], cwd=str(tmp_path))
    subprocess.check_call([python, str(ROOT / 'prepare_pip.py')], cwd=str(tmp_path))  # again changes nothing
    settings = (environment / 'pip.conf').read_text()
    address = (environment / 'ddgm-constraints.txt').as_uri()
    assert settings.split() == ['[global]', 'constraint', '=', address, 'build-constraint', '=', address]
    assert '%20' in address
    assert (environment / 'ddgm-constraints.txt').read_text() == (ROOT / 'constraints.txt').read_text()


def test_python_that_was_not_tried(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'version_info', (3, 8, 1))
    with pytest.raises(SystemExit, match=r'^Python 3\.8 is too old: 3\.9 or later is needed$'):
        prepare_pip.main()
    monkeypatch.setattr(sys, 'version_info', (3, 16, 0))
    monkeypatch.setattr(prepare_pip.shutil, 'copyfile', refuse)
    with pytest.raises(SystemExit, match='ddgm-constraints.txt: Permission denied: make an environment of your own'):
        prepare_pip.main()
    assert capsys.readouterr().out == (
        'Python 3.16 is newer than 3.15, the newest that was tried: packages may be missing for it\n')


def refuse(source, target):
    raise PermissionError(13, 'Permission denied')
