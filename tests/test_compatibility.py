"""Chainer imports and works on this Python and NumPy, without a word of warning."""

import os
import subprocess
import sys

import pytest
from conftest import HANGS_AFTER, ROOT

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


MENDED = '''
import warnings
import ddgm, numpy
import chainer
import chainer.functions as F
warnings.simplefilter('error')

# float, which NumPy 1.24 dropped: bilinear, corner on corner or about the middle; nearest.
x = numpy.array([[0, 2], [4, 6]], 'f').reshape(1, 1, 2, 2)
assert F.resize_images(x, (3, 3)).array.tolist() == [[[[0, 1, 2], [2, 3, 4], [4, 5, 6]]]]
assert F.resize_images(x, (1, 4), align_corners=False).array.tolist() == [[[[2, 2.5, 3.5, 4]]]]
assert F.resize_images(x, (1, 4), mode='nearest').array.tolist() == [[[[0, 0, 2, 2]]]]
v = chainer.Variable(x)
F.sum(F.resize_images(v, (3, 3))).backward()
assert v.grad.tolist() == [[[[2.25, 2.25], [2.25, 2.25]]]]

# A list of meshgrid, which NumPy 2 makes a tuple.
p = numpy.array([[[0.25, 0.75], [0.5, 0.5]]], 'f')
assert numpy.exp(chainer.distributions.Categorical(p).log_prob(numpy.array([[1, 0]])).array).tolist() == [[0.75, 0.5]]

# The last bits of whole numbers that don't fit, which NumPy 2 refuses.
parts = [numpy.array([1, 2], 'u1'), numpy.array([3], 'u1')]
for padding, expected in ((-1, 255), (263, 7), (9, 9), (numpy.uint8(3), 3)):
    for y in F.pad_sequence(parts, padding=padding).array, chainer.dataset.concat_examples(parts, padding=padding):
        assert y.dtype == 'u1' and y.tolist() == [[1, 2], [3, expected]]
assert F.pad_sequence([part.astype('f') for part in parts], padding=-1).array.tolist() == [[1, 2], [3, -1]]
assert F.pad_sequence([part.astype('u8') for part in parts], padding=-1).array[1, 1] == 2 ** 64 - 1
assert chainer.dataset.concat_examples([part.astype('e') for part in parts], padding=0.5).tolist() == [[1, 2], [3, 0.5]]
assert (chainer.Variable(parts[0]) - 1).array.tolist() == [0, 1]
assert (chainer.Variable(parts[0]) * -1).array.tolist() == [255, 254]
assert (2 - chainer.Variable(parts[0].astype('f'))).array.tolist() == [1, 0]

# The table of number types, which NumPy 2 dropped.
v = chainer.Variable(numpy.arange(4, dtype='f'))
F.sum(F.as_strided(v, (3, 2), (1, 1))).backward()
assert v.grad.tolist() == [1, 2, 2, 1]
'''
TRAINING = '''
import os, sys
import ddgm, chainer, numpy
import chainer.links as L
from chainer import datasets, iterators, serializers, training
from chainer.training import extensions
x = numpy.random.default_rng(0).normal(size=(40, 3)).astype('f')
data = datasets.TupleDataset(x, (x.sum(axis=1) > 0).astype('i'))
train, test = datasets.split_dataset_random(data, 30, seed=0)
out, = sys.argv[1:]


def train_for(epochs):
    model = L.Classifier(L.Linear(3, 2))
    optimizer = chainer.optimizers.Adam(0.1).setup(model)
    updater = training.StandardUpdater(iterators.SerialIterator(train, 10), optimizer)
    trainer = training.Trainer(updater, (epochs, 'epoch'), out=out)
    trainer.extend(extensions.Evaluator(iterators.SerialIterator(test, 10, repeat=False, shuffle=False), model))
    trainer.extend(extensions.LogReport())
    trainer.extend(extensions.PrintReport(['epoch', 'main/loss']))
    trainer.extend(extensions.PlotReport(['main/loss', 'validation/main/loss'], 'epoch', filename='loss.png'))
    trainer.extend(extensions.VariableStatisticsPlot(model, filename='weights.png'))
    trainer.extend(extensions.DumpGraph('main/loss'))
    trainer.extend(extensions.snapshot(n_retains=1, autoload=True))
    trainer.run()
    return model, trainer


train_for(2)
model, trainer = train_for(3)
assert trainer.updater.iteration == 9 and len(trainer.get_extension('LogReport').log) == 3
assert {'loss.png', 'weights.png', 'cg.dot', 'log', 'snapshot_iter_9'} <= set(os.listdir(out))
serializers.save_npz(os.path.join(out, 'model.npz'), model)
other = L.Classifier(L.Linear(3, 2))
serializers.load_npz(os.path.join(out, 'model.npz'), other)
assert (other.predictor.W.array == model.predictor.W.array).all()
'''


def run(code, *arguments):
    return subprocess.run(
        [sys.executable, '-c', code, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=HANGS_AFTER,
        env={**os.environ, 'MPLBACKEND': 'Agg'})


@pytest.mark.parametrize('code', [WORK, 'import sys\nsys.modules["cupy"] = None\n' + WORK, MENDED], ids=[
    'work', 'without CuPy', 'mended functions'])
def test_chainer_works_silently(code):
    """Of the mended functions, what fails or warns without, each against its value."""
    result = run(code)
    assert (result.returncode, result.stdout, result.stderr) == (0, '', '')


def test_trainer_of_chainer(tmp_path):
    """Chainer's own loop with its extensions, data sets and files, which a run goes on with from a snapshot."""
    result = run(TRAINING, str(tmp_path))
    assert (result.returncode, result.stderr) == (0, '')


def test_mends_nothing_else():
    """NumPy gets at most one name, until Chainer is imported; no module but the environment check is stood in for."""
    result = run(
        'import sys, numpy\nnames, modules = set(dir(numpy)), set(sys.modules)\nimport ddgm\n'
        'assert set(dir(numpy)) - names <= {"sctypes"}\n'
        'assert {n for n in set(sys.modules) - modules if n.startswith("chainer")} == {"chainer._environment_check"}\n'
        'import chainer\nassert hasattr(numpy, "sctypes") == ("sctypes" in names) and not hasattr(numpy, "float")')
    assert result.returncode == 0, result.stderr


def test_second_call_changes_nothing():
    result = run(
        'import ddgm, chainer, sys\nfrom ddgm import compatibility\ncheck = chainer._environment_check\n'
        'compatibility.prepare_for_chainer()\nassert sys.modules["chainer._environment_check"] is check')
    assert result.returncode == 0, result.stderr
