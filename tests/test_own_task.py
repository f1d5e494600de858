"""A task of a user's own, outside of the package: examples/own_data.py, and what else one may hand in."""

from __future__ import annotations

import dataclasses
import pickle
import re
import signal
import subprocess
import sys

import numpy
import pytest
from conftest import ROOT, assert_same_run, newest_iteration, refusal, until

from ddgm.compare import samples as sample_files
from ddgm.compare.__main__ import main as compare
from ddgm.evaluation import metrics, tasks
from ddgm.evaluation.reference import Reference
from ddgm.presets import Preset, Settings, setting
from ddgm.refine.__main__ import main as refine
from ddgm.runs import command_line, execution, run_folder, training_state
from ddgm.runs.processes import Processes
from ddgm.support import files

EXAMPLE = ROOT / 'examples' / 'own_data.py'


@pytest.fixture(scope='module')
def example():
    return sys.modules[tasks.load_task(EXAMPLE).build_models.__module__]


def test_a_killed_run_goes_on_to_the_same_bits_and_is_refined(example, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for module in (execution, training_state):
        monkeypatch.setattr(module, 'N_SCORED', 60)
    flags = [
        '-b', '8', '--channels=2', '--log_interval=3', '--snapshot_interval=4', '--figure_interval=5', '--out']
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLE), '-n', '100000', *flags, 'killed'], stdout=subprocess.DEVNULL)
    until(lambda: process.poll() is not None or newest_iteration(tmp_path / 'killed'))
    process.kill()
    assert process.wait() == -signal.SIGKILL
    last = str(newest_iteration(tmp_path / 'killed') + 6)
    example.main(['--resume', '-n', last, '-o', 'killed'])
    example.main(['-n', last, *flags, 'straight'])
    assert_same_run('killed', 'straight')
    assert files.read_json(tmp_path / 'straight' / 'settings.json')['channels'] == 2
    assert {path.name for path in (tmp_path / 'straight' / 'figures').glob('*.*')} == {
        'data.png', 'samples.png', 'curves.png', 'training.gif'}

    capsys.readouterr()
    refine(['straight', '-n', '2', '--step_size', '0.05', '--task', str(EXAMPLE)])
    line, = re.findall('Clipped to 0 … 1: .*% of the numbers, which ran from -.* to 1.*', capsys.readouterr().out)
    x = sample_files.read_file(tmp_path / 'result' / 'refined' / 'samples.npz')
    assert (x.min(), x.max()) == (0, 1)
    numpy.testing.assert_array_equal(example.Shapes().conform(x), x)
    scores = files.read_json(tmp_path / 'result' / 'refined' / 'metrics.json')
    assert {'bright', 'mmd2', 'energy_gap'} < scores.keys()
    compare(['straight', 'refined=result/refined/samples.npz', '--task', str(EXAMPLE)])
    compared = files.read_json(tmp_path / 'result' / 'comparison' / 'comparison.json')
    assert compared['task'] == 'shapes'
    assert [entry['name'] for entry in compared['entries']] == ['straight', 'refined']
    assert compared['entries'][1]['metrics']['bright'] == scores['bright']
    (tmp_path / 'other.py').write_text(EXAMPLE.read_text().replace("Task('shapes'", "Task('others'"))
    for command, arguments in (
            (refine, ['straight']), (refine, ['straight', '--task', 'other.py']),
            (own_task('others').run, ['--resume', '-o', 'straight'])):
        assert re.search("'shapes' is a task of .*: its own script .* by --task$", refusal(command, arguments))


@pytest.mark.parametrize(('source', 'line'), [
    ('x = 1\n1 / 0\n', r"own\.py, line 2: can't be imported \(ZeroDivisionError: division by zero\)"),
    ('x =', r"own\.py: can't be imported \(SyntaxError"), ('raise SystemExit(0)', 'own.py, line 1: .*SystemExit'),
    ('x = 1', r'own\.py: defines no TASK'), ('TASK = 1', r'own\.py: defines no TASK'),
    (None, r'own\.py: there is no such Python file: give the one that defines TASK to --task')])
def test_files_that_define_none(source, line, tmp_path):
    if source is not None:
        (tmp_path / 'own.py').write_text(source)
    assert re.search(line, refusal(tasks.load_task, tmp_path / 'own.py'))


@dataclasses.dataclass(frozen=True)
class OwnSettings(Settings):
    batchsize: int = 6
    depth: int = setting(2, flag='how deep', short='k', minimum=2, maximum=5)
    rate: float = setting(0.5, flag='how fast', maximum=1)
    mode: str = setting('soft', flag='which way', choices=('soft', 'hard'))
    wide: bool = setting(False, flag='whether', beyond=True)
    hidden: str = 'x'


class Normal(Reference):
    def draw_data(self, n, rng):
        return rng.standard_normal((n, 3)).astype(numpy.float32)


class own_task:
    """A task by some name, with what it takes to begin a run of it."""

    def __init__(self, name='own', data=None):
        self.task = tasks.Task(
            name, {'only': Preset('mine', OwnSettings(9, 3, 3, 3), 'no time')}, None, lambda *_: Normal(), data)

    def run(self, flags):
        return run_folder.open_run(command_line.parse(self.task, 'text', flags))


def test_own_settings_have_flags_and_ranges(tmp_path, capsys):
    """Also where annotations are postponed, as here; another default changes no range."""
    def settings(flags):
        return own_task().run([*flags.split(), '-o', str(tmp_path / 'run')]).settings
    assert settings('') == OwnSettings(9, 3, 3, 3)
    assert settings('-k 5 --rate 0.25 --mode hard --wide -b 2 -n 4') == OwnSettings(
        4, 3, 3, 3, batchsize=2, depth=5, rate=0.25, mode='hard', wide=True)
    for flags, line in (
            ('--depth 1', 'from 2 on'), ('--depth 6', 'up to 5'), ('--rate 1.5', 'from 0 to 1, not'), ('-b 1', '2 on'),
            ('--mode other', 'hard'), ('--hidden y', '--set hidden=VALUE'), ('--data x', 'unrecognized')):
        assert line in refusal(settings, flags)
    assert settings('--set hidden=y rate=0.25') == OwnSettings(9, 3, 3, 3, rate=0.25, hidden='y')
    for name, value in (('depth', 6), ('rate', 1.5), ('mode', 'other'), ('hidden', 1), ('batchsize', 1)):
        with pytest.raises(ValueError, match=name):
            OwnSettings(9, 3, 3, 3, **{name: value})
    assert {'energy_penalty', 'wide'} < OwnSettings.of_earlier_versions().keys()
    assert 'depth' not in OwnSettings.of_earlier_versions()
    with pytest.raises(SystemExit):
        own_task().run(['--help'])
    assert 'how deep' in capsys.readouterr().out


def test_own_data_has_its_folder(tmp_path):
    """One of pictures is kept apart from the run, sub-folders too, and has a cache."""
    (tmp_path / 'data').mkdir()
    own = own_task(data=tasks.DataFolder(None, 'pictures of mine', of_pictures=True))
    assert '--data is needed: pictures of mine' in refusal(own.run, [])
    flags = ['--data', str(tmp_path / 'data'), '--cache', 'none', '-o']
    assert 'lies in the folder of the data' in refusal(own.run, [*flags, str(tmp_path / 'data' / 'run')])
    folder = own.run([*flags, str(tmp_path / 'run')])
    assert (folder.data, folder.cache) == (str(tmp_path / 'data'), 'none')


def test_own_task_of_several_processes(example, tmp_path, monkeypatch):
    """What goes from one to the other can be pickled, though a task may hold what can't."""
    class Two(Processes):
        def exchange(self, value=None):
            return 2 * [pickle.loads(pickle.dumps(value))]
    monkeypatch.setattr(run_folder, 'join', lambda name: Two())
    folder = run_folder.open_run(command_line.parse(example.TASK, 'text', ['-o', str(tmp_path / 'run')]))
    assert folder.settings == example.TASK.presets['default'].settings


def test_what_a_reference_has_by_default(rng):
    """Scores by numbers alone: data beside itself is as good as real; shapes of data are known, others refused."""
    normal = Normal()
    real, far = normal.score(normal.real_data(300), lambda x: x[:, 0]), normal.score(normal.real_data(300) + 3)
    assert abs(real['mmd2']) < 0.01 < 0.3 < far['mmd2']
    assert real['coverage'] > 0.9 > 0.2 > far['coverage']
    assert abs(real['energy_gap']) < 0.3
    assert metrics.neighbour_scores(*2 * [rng.random((9, 3))]).keys() < real.keys()
    assert normal.conform(numpy.ones((2, 3))).dtype == numpy.float32
    assert 'the shape (N, 3), these have (2, 4)' in refusal(normal.conform, numpy.ones((2, 4)))
    assert normal.as_shown(numpy.ones((2, 1, 4, 5))).shape == (2, 4, 5)
