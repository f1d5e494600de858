"""The example that makes the folder of icons from a clone of Noto Emoji."""

import runpy
import subprocess
import sys

import pytest
from conftest import HANGS_AFTER, ROOT

SCRIPT = ROOT / 'examples' / 'noto_icons.py'
ICONS = ROOT.parent / 'shared' / 'data' / 'icons'


def make(*arguments):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, encoding='utf-8', timeout=HANGS_AFTER)


def test_names():
    if not ICONS.is_dir():
        pytest.skip('../shared/data is absent')
    assert runpy.run_path(str(SCRIPT))['names']() == sorted(path.name for path in ICONS.glob('*.png'))


def test_makes_the_folder_or_says_what_is_missing(tmp_path):
    names = runpy.run_path(str(SCRIPT))['names']()
    assert len(set(names)) == len(names) == 686
    folder = tmp_path / 'clone' / 'png' / '128'
    folder.mkdir(parents=True)
    for name in [*names[1:], 'emoji_u1f600.png']:
        (folder / name).write_bytes(name.encode())
    outcome = make(tmp_path / 'clone', tmp_path / 'icons')
    assert outcome.returncode == 1
    assert '1 of 686 icons are missing' in outcome.stderr
    assert not (tmp_path / 'icons').exists()
    (folder / names[0]).write_bytes(b'')
    assert make(tmp_path / 'clone', tmp_path / 'icons').returncode == 0
    assert sorted(path.name for path in (tmp_path / 'icons').iterdir()) == names
    assert 'exists' in make(tmp_path / 'clone', tmp_path / 'icons').stderr
