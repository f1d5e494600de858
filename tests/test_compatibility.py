"""Chainer imports and works on this Python and NumPy, without a word of warning."""

import subprocess
import sys

from conftest import ROOT

WORK = '''
import ddgm, chainer, numpy, io
import chainer.functions as F
model = chainer.links.Linear(3, 2)
optimizer = chainer.optimizers.Adam().setup(model)
before = model.W.array.copy()
optimizer.update(lambda: F.sum(F.as_strided(model(numpy.ones((4, 3), 'f')), (2, 2), (2, 1))))
assert (model.W.array != before).all()
file = io.BytesIO()
chainer.serializers.save_npz(file, model)
file.seek(0)
other = chainer.links.Linear(3, 2)
chainer.serializers.load_npz(file, other)
assert (other.W.array == model.W.array).all()
'''


def run(code, *flags):
    return subprocess.run([sys.executable, *flags, '-c', code], cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_chainer_works_silently():
    result = run(WORK)
    assert (result.returncode, result.stdout, result.stderr) == (0, '', '')


def test_mends_nothing_else():
    """NumPy gets at most the one name back, and no module but the environment check is stood in for."""
    result = run(
        'import sys, numpy\nnames, modules = set(dir(numpy)), set(sys.modules)\nimport ddgm\n'
        'assert set(dir(numpy)) - names <= {"sctypes"}\n'
        'assert {n for n in set(sys.modules) - modules if n.startswith("chainer")} == {"chainer._environment_check"}')
    assert result.returncode == 0, result.stderr


def test_second_call_changes_nothing():
    result = run(
        'import ddgm, chainer, sys\nfrom ddgm import compatibility\ncheck = chainer._environment_check\n'
        'compatibility.prepare_for_chainer()\nassert sys.modules["chainer._environment_check"] is check')
    assert result.returncode == 0, result.stderr


def test_cupy_is_not_needed():
    result = run('import sys\nsys.modules["cupy"] = None\n' + WORK)
    assert (result.returncode, result.stdout, result.stderr) == (0, '', '')
