"""Weights as people save them: PyTorch's files, safetensors, Chainer's; prefixes, checkpoints; the peers' networks.

What needs PyTorch, safetensors or h5py is left out where they are missing; ``make test-parity`` has them.
"""

import argparse
import json
import pathlib
import re
import struct
import sys

import chainer
import numpy
import pytest
from chainer import functions as F, links as L, serializers
from conftest import ROOT, refusal
from fuzzing import safetensors_of
from test_pytorch_names import assert_same, started

from ddgm.models import DeepGenerativeModel
from ddgm.networks import toy
from ddgm.presets import PRESETS
from ddgm.runs.run_files import MODELS
from ddgm.support.serialization import arrays_of
from ddgm.weights import __main__ as weights, checkpoints, pytorch_names

SETTINGS = PRESETS['gaussian_mixture']['default'].settings


@pytest.fixture
def torch():
    return pytest.importorskip('torch', reason='PyTorch is installed by make test-parity')


@pytest.fixture
def exported(rng):
    """The arrays of both models of the mixture under PyTorch's names."""
    return [pytorch_names.export(model) for model in started('gaussian_mixture', 'default', rng)]


def loaded(index, *arguments, **options):
    """What a new model of the mixture has after loading, and what was left off the names."""
    model = toy.build_models(SETTINGS, numpy.random.default_rng(0))[index]
    beginning = pytorch_names.load(model, *arguments, **options)
    return beginning, pytorch_names.export(model)


def tensors(torch, arrays):
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


def under(beginning, arrays):
    return {beginning + name: array for name, array in arrays.items()}


# ---- which arrays of a file are meant

@pytest.mark.parametrize('beginning', ['', 'module.', '_orig_mod.', 'module._orig_mod.', 'netG.', 'a.b.model.'])
@pytest.mark.parametrize('index', [0, 1])
def test_what_all_names_begin_with(beginning, index, exported):
    found, arrays = loaded(index, under(beginning, exported[index]))
    assert found == beginning
    assert_same(arrays, exported[index])


def test_the_part_that_fits(exported):
    """Of both models in one, with an optimizer, a third network and a counter."""
    energy, generator = exported
    together = {
        **under('state_dict.netE.', energy), **under('state_dict.netG.', generator),
        'state_dict.netH.l1.weight': numpy.ones((3, 3)), 'opt.state.0.exp_avg': numpy.ones((128, 4)),
        'state_dict.n_averaged': numpy.array(3)}
    for index, beginning in enumerate(['state_dict.netE.', 'state_dict.netG.']):
        found, arrays = loaded(index, together)
        assert found == beginning
        assert_same(arrays, exported[index])


def test_several_that_fit(exported):
    """An average of the weights, for example: refused, unless both are the same."""
    _, generator = exported
    other = {name: array + 1 for name, array in generator.items()}
    message = refusal(loaded, 1, {**under('dgm.', generator), **under('ema.', other)}, cure='name it')
    assert message == 'it holds several that fit, dgm, ema: name it'
    assert loaded(1, {**under('dgm.', generator), **under('ema.', generator)})[0] == 'dgm.'
    part = checkpoints.part_of({**under('dgm.', generator), **under('ema.', other)}, 'ema')
    assert_same(loaded(1, part)[1], other)


def test_none_that_fits(exported):
    """What is there is listed, in a line that stays short; of a part that nearly fits, what differs."""
    energy, generator = exported
    message = refusal(loaded, 1, {**under('dem.', energy), **under('opt.state.', {'0': numpy.ones(3)})}, cure='name it')
    assert 'dem (10 arrays), opt' in message
    assert message.endswith(': name it')
    message = refusal(loaded, 1, {'layer{}.w'.format(i): numpy.ones(3) for i in range(1000)})
    assert 'layer11 and 988 more' in message
    nearly = under('model.dgm.', generator)
    del nearly['model.dgm.l2.weight']
    nearly['model.dgm.l1.bias'] = numpy.ones(3)
    assert refusal(loaded, 1, {**nearly, **under('model.dem.', energy)}) == (
        'the weights of model.dgm don\'t fit: missing: l2.weight; l1.bias is (3,), where (128,) is needed')


@pytest.mark.parametrize(('name', 'names'), [
    (None, ['a.b', 'a.c/d', 'ab_x/W']), ('a', ['b', 'c/d']), ('a.c', ['d']), ('ab_', ['x/W'])])
def test_parts_by_name(name, names):
    assert list(checkpoints.part_of(dict.fromkeys(['a.b', 'a.c/d', 'ab_x/W']), name)) == names


def test_no_such_part():
    message = refusal(checkpoints.part_of, dict.fromkeys(['a.b', 'a.c', 'd']), 'x')
    assert message == "there is no 'x': it holds a (2 arrays), d"


# ---- which file of a folder

@pytest.mark.parametrize(('files', 'name', 'expected'), [
    ('generative_model.npz energy_model.npz', None, ('generative_model.npz', None)),
    ('generative_model.pt energy_model.npz other.npz', None, ('generative_model.pt', None)),
    ('latest.pt events.out log.csv', None, ('latest.pt', None)),
    ('LATEST.PT', None, ('LATEST.PT', None)),
    ('netE.pt netG.pt', 'netG.pt', ('netG.pt', None)),
    ('a.pt b.pt', 'b.pt:dgm', ('b.pt', 'dgm')),
])
def test_files_of_a_folder(files, name, expected, tmp_path):
    for file in files.split():
        (tmp_path / file).touch()
    path, part = checkpoints.find(tmp_path, 'generative_model', ['energy_model', 'generative_model'], name)
    assert (path.name, part) == expected
    assert checkpoints.find(path, 'generative_model', (), 'dgm') == (path, 'dgm')


@pytest.mark.parametrize(('files', 'name', 'words'), [
    ('', None, ['holds no file of weights', '.safetensors']),
    ('energy_model.npz', None, ['holds no file of weights but those of other models']),
    ('netE.pt netG.pt', None, ['holds netE.pt, netG.pt']),
    ('generative_model.pt generative_model.npz', None, ['holds generative_model.npz, generative_model.pt']),
    ('netE.pt netG.pt', 'netX.pt', ['netX.pt', 'no such file']),
])
def test_files_that_are_not_certain(files, name, words, tmp_path):
    for file in files.split():
        (tmp_path / file).touch()
    message = refusal(
        checkpoints.find, tmp_path, 'generative_model', ['energy_model', 'generative_model'], name)
    for word in [*words, '--generative_model']:
        assert word in message
    assert 'no such file' in refusal(checkpoints.find, tmp_path / 'nowhere', 'generative_model', ())


# ---- safetensors

def test_safetensors(tmp_path, exported):
    path = tmp_path / 'model.safetensors'
    numbers = {
        'a': numpy.array([[1.5, -2], [3, 4]]), 'b': numpy.arange(3, dtype=numpy.float16), 'c': numpy.array(7),
        'd': numpy.array([True, False]), 'e': numpy.zeros((0, 3), dtype=numpy.float32)}
    path.write_bytes(safetensors_of(numbers))
    arrays = checkpoints.read(path)
    assert_same(arrays, numbers)
    assert [array.dtype for array in arrays.values()] == [array.dtype for array in numbers.values()]
    # The upper 16 bits of a float32: 1, −2, 3.140625.
    path.write_bytes(safetensors_of({'x': numpy.array([0x3f80, 0xc000, 0x4049], dtype=numpy.uint16)}))
    assert checkpoints.read(path)['x'].tolist() == [1, -2, 3.140625]
    path.write_bytes(safetensors_of(under('module.', exported[1])))
    assert_same(loaded(1, checkpoints.read(path))[1], exported[1])


def test_safetensors_as_the_package_writes_them(torch, tmp_path):
    package = pytest.importorskip('safetensors.torch', reason='safetensors is installed by make test-parity')
    rng = torch.Generator().manual_seed(0)
    written = {
        kind: (10 * torch.randn(3, 5, generator=rng)).to(getattr(torch, kind))
        for kind in ('float64', 'float32', 'float16', 'bfloat16', 'int64', 'int32', 'int16', 'int8', 'uint8', 'bool')}
    package.save_file(written, tmp_path / 'x.safetensors', metadata={'format': 'pt'})
    arrays = checkpoints.read(tmp_path / 'x.safetensors')
    assert arrays.keys() == written.keys()
    for kind, tensor in written.items():
        expected = tensor.float().numpy() if kind == 'bfloat16' else tensor.numpy()
        assert arrays[kind].dtype == expected.dtype
        numpy.testing.assert_array_equal(arrays[kind], expected)


def damaged_safetensors(**changes):
    """A file of one array whose entry in the header is another one."""
    sound = safetensors_of({'x': numpy.ones((2, 3), dtype=numpy.float32)})
    end = 8 + int.from_bytes(sound[:8], 'little')
    header = json.loads(sound[8:end])
    header['x'].update(changes)
    header = json.dumps(header).encode()
    return struct.pack('<Q', len(header)) + header + sound[end:]


@pytest.mark.parametrize(('content', 'words'), [
    (b'\xff' * 8 + b'{}', 'its header promises to be 18,446,744,073,709,551,615 bytes long'),
    (struct.pack('<Q', 3) + b'{}', 'its header promises to be 3 bytes long'),
    (struct.pack('<Q', 2) + b'{x', 'double quotes'),
    (struct.pack('<Q', 2) + b'{}' + b'more', '4 bytes follow that its header does not promise'),
    (struct.pack('<Q', 7) + b'{"x":3}', 'its header lacks a type, a shape or a place'),
    (damaged_safetensors()[:-1], 'promises the shape [2, 3] of x, where that does not lie'),
    (damaged_safetensors(shape=[2 ** 60, 3]), 'promises the shape [1152921504606846976, 3] of x'),
    (damaged_safetensors(shape=[-2, -3]), 'promises the shape [-2, -3] of x'),
    (damaged_safetensors(shape=None), 'lacks a type'), (damaged_safetensors(shape={}, data_offsets=[0, 4]), 'lacks a'),
    (damaged_safetensors(shape=[2, 3.0]), 'lacks a type'),
    (damaged_safetensors(data_offsets=[0]), 'promises the shape'),
    (damaged_safetensors(data_offsets=[8, 32]), 'promises the shape'),
    (damaged_safetensors(dtype='F8_E4M3'), 'x is of type F8_E4M3'), (damaged_safetensors(dtype=[]), 'lacks a type'),
    (b'version https://git-lfs.github.com/spec/v1', '"git lfs pull" brings the file'),
    (b'/annex/objects/SHA256E-s9--0.pt', '"git annex get" brings the file'),
    (b'text, no weights', 'of none of the formats'), (b'', 'of none of the formats'),
], ids=str)
def test_damaged_safetensors(content, words, tmp_path):
    path = tmp_path / 'x.safetensors'
    path.write_bytes(content)
    message = refusal(checkpoints.read, path)
    assert message.startswith('{}: can\'t be read ('.format(path))
    assert words in message


def test_link_of_git_annex(tmp_path):
    (tmp_path / 'energy_model.pt').symlink_to('../.git/annex/objects/0')
    path, _ = checkpoints.find(tmp_path, 'energy_model', ['generative_model'])
    for call, arguments in ((checkpoints.read, [path]), (checkpoints.find, [path, 'energy_model', []])):
        assert '"git annex get" brings the file' in refusal(call, *arguments)


# ---- PyTorch's own files

@pytest.mark.parametrize('options', [{}, {'_use_new_zipfile_serialization': False}], ids=['zip', 'pickle'])
def test_pytorch(options, torch, tmp_path, exported):
    """A checkpoint of both models with what is usual beside them, in both formats; bfloat16 and float16 too."""
    energy, generator = exported
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(3))])
    optimizer.param_groups[0]['params'][0].grad = torch.ones(3)
    optimizer.step()
    path = tmp_path / 'latest.pt'
    torch.save({
        'epoch': 3, 'best': numpy.float64(0.5), 'args': argparse.Namespace(lr=1e-3, path=pathlib.Path('x/y')),
        'lists': [1, [2.0]], 'state of numpy': numpy.random.default_rng(0).integers(9, size=624).astype('u4'),
        'model': {'logp_net': tensors(torch, energy), 'g': tensors(torch, generator)},
        'optimizer': optimizer.state_dict(), 'of numpy': [numpy.arange(6.0).reshape(2, 3), numpy.array(['a', None])],
        'turned': numpy.asfortranarray(numpy.arange(6).reshape(2, 3)).astype('>i2'),
        'half': {'x': torch.ones(2).half(), 'y': torch.ones(2).bfloat16()}},
        path, **options)
    arrays = checkpoints.read(path)
    for index, beginning in enumerate(['model.logp_net.', 'model.g.']):
        found, own = loaded(index, arrays)
        assert found == beginning
        assert_same(own, exported[index])
    assert arrays['optimizer.state.0.exp_avg'].shape == (3,)
    for name in ('of numpy.0', 'turned'):
        assert arrays[name].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert 'of numpy.1' not in arrays
    assert arrays['half.x'].tolist() == arrays['half.y'].tolist() == [1, 1]
    assert 'epoch' not in arrays


def test_wrappers_of_pytorch(torch, tmp_path, exported):
    """What PyTorch itself puts before the names."""
    import torch_twin
    generator = torch_twin.build_models('gaussian_mixture', SETTINGS)[1]
    generator.load_state_dict(tensors(torch, exported[1]))
    for wrapped, beginning in (
            (torch.nn.DataParallel(generator), 'module.'), (torch.compile(generator), '_orig_mod.'),
            (torch.optim.swa_utils.AveragedModel(generator), 'module.'),
            (torch.nn.DataParallel(torch.compile(generator)), 'module._orig_mod.')):
        torch.save(wrapped.state_dict(), tmp_path / 'x.pth')
        found, arrays = loaded(1, checkpoints.read(tmp_path / 'x.pth'))
        assert found == beginning
        assert_same(arrays, exported[1])


class Whole:
    """What a file holds that only its own program can load."""


def test_more_than_weights(torch, tmp_path):
    path = tmp_path / 'whole.pt'
    torch.save({'model': Whole()}, path)
    message = refusal(checkpoints.read, path)
    assert '{}: holds more than weights (test_checkpoints.Whole)'.format(path) in message
    assert 'state_dict()' in message


class Crafted:
    """A number type that NumPy refuses, with flags that it can't have."""

    def __reduce__(self):
        return numpy.dtype, ('V8', False, True), (3, '|', None, ('a',), {'a': (1, 2)}, 8, 1, 255)


def test_what_is_beside_weights_is_not_made(torch, tmp_path, capfd):
    torch.save({'x': torch.ones(2), 'other': Crafted()}, tmp_path / 'crafted.pt')
    assert [*checkpoints.read(tmp_path / 'crafted.pt')] == ['x']
    assert capfd.readouterr().err == ''


@pytest.mark.parametrize('keep', [0.3, 0.9, 0.999])
@pytest.mark.parametrize('options', [{}, {'_use_new_zipfile_serialization': False}], ids=['zip', 'pickle'])
def test_damaged_pytorch(keep, options, torch, tmp_path):
    path = tmp_path / 'cut.pt'
    torch.save({'x': torch.ones(1000)}, path, **options)
    path.write_bytes(path.read_bytes()[:int(keep * path.stat().st_size)])
    assert refusal(checkpoints.read, path).startswith('{}: '.format(path))
    assert ('its end is missing: copy it again' in refusal(checkpoints.read, path)) is (not options)


@pytest.mark.parametrize('kind', ['jit', 'export'])
def test_programs_of_pytorch(kind, torch, tmp_path):
    """They are not run; the line says how to save their weights, and does."""
    path, network = str(tmp_path / 'netG.pt2'), torch.nn.Linear(2, 3)
    if kind == 'jit':
        torch.jit.save(torch.jit.script(network), path)
    else:
        torch.export.save(torch.export.export(network, (torch.ones(1, 2),)), path)
    cure = re.search(r'not run here: save (.*) by torch.save', refusal(checkpoints.read, path))[1]
    torch.save(eval(cure, {'torch': torch}), tmp_path / 'weights.pt')
    assert checkpoints.read(tmp_path / 'weights.pt')['weight'].shape == (3, 2)


def test_without_pytorch(tmp_path, monkeypatch):
    """The message has the line that makes an .npz of it."""
    monkeypatch.setitem(sys.modules, 'torch', None)
    path = tmp_path / 'netG.pt'
    path.write_bytes(b'\x80\x02' + bytes(20))
    message = refusal(checkpoints.read, path)
    assert message.startswith('{}: only PyTorch reads its own format, and it is not installed here'.format(path))
    assert "torch.load('{}', 'cpu')".format(path) in message


def test_the_line_that_converts(torch, tmp_path, monkeypatch, exported):
    """It is sound Python."""
    path = tmp_path / 'netG.pt'
    torch.save(tensors(torch, exported[1]), path)
    monkeypatch.setitem(sys.modules, 'torch', None)
    line, = re.findall(r'python -c "(.*?)"  ', refusal(checkpoints.read, path))
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    exec(line, {})
    assert_same(checkpoints.read(tmp_path / 'weights.npz'), exported[1])


# ---- Chainer's files

class Described(DeepGenerativeModel):
    """A generator of Chainer with a part whose size is left to the first batch."""

    def __init__(self):
        super().__init__(n_latent=3)
        with self.init_scope():
            self.body = chainer.Sequential(L.Linear(3, 4), F.relu, L.BatchNormalization(4), F.relu)
            self.last = L.Linear(None, 2)
            self.scale = chainer.Parameter(1, ())

    def forward(self, z):
        return self.last(self.body(z)) * F.broadcast_to(self.scale, (len(z), 2))


@pytest.mark.parametrize('beginning', ['', 'updater/model:main/', 'gm_'])
def test_chainer_npz(beginning, tmp_path, rng):
    """To the same bits, under the names of ``save_npz``, of a trainer's snapshot, or of a part of another model."""
    model, other = Described(), Described()
    z = rng.standard_normal((6, 3)).astype(numpy.float32)
    model(z)
    arrays = arrays_of(model)
    assert 'body/1/avg_var' in arrays
    numpy.savez(tmp_path / 'model.npz', **under(beginning, arrays))
    read = checkpoints.part_of(checkpoints.read(tmp_path / 'model.npz'), beginning if beginning == 'gm_' else None)
    assert pytorch_names.load(other, read) == (beginning if '/' in beginning else '')
    with chainer.using_config('train', False):
        numpy.testing.assert_array_equal(other(z).array, model(z).array)
    del read[next(name for name in read if name.endswith('last/W'))]
    assert 'missing: last/W' in refusal(pytorch_names.load, Described(), read)


def test_norms_of_the_2016_code(rng):
    """There g is (n, 1); one of another length is refused."""
    energy_model = started('gaussian_mixture', 'default', rng)[0]
    arrays = arrays_of(energy_model)
    assert arrays['experts/g'].shape == (4,)
    arrays['experts/g'] = arrays['experts/g'][:, None]
    assert_same(loaded(0, arrays)[1], pytorch_names.export(energy_model))
    arrays['experts/g'] = numpy.ones(3)
    assert 'experts/g is (3,)' in refusal(loaded, 0, arrays)


def test_chainer_hdf5(tmp_path, rng):
    pytest.importorskip('h5py', reason='h5py is installed by make test-parity')
    model, other = Described(), Described()
    z = rng.standard_normal((6, 3)).astype(numpy.float32)
    model(z)
    path = tmp_path / 'generative_model.hdf5'
    serializers.save_hdf5(path, model)
    pytorch_names.load(other, checkpoints.read(path))
    with chainer.using_config('train', False):
        numpy.testing.assert_array_equal(other(z).array, model(z).array)
    path.write_bytes(path.read_bytes()[:2000])
    assert 'can\'t be read' in refusal(checkpoints.read, path)


def test_without_h5py(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'h5py', None)
    (tmp_path / 'x.hdf5').write_bytes(b'\x89HDF\r\n\x1a\n' + bytes(20))
    assert 'pip install h5py' in refusal(checkpoints.read, tmp_path / 'x.hdf5')


# ---- the commands

def test_import_of_checkpoints(torch, tmp_path, exported, quick_script, capsys):
    """One file of both; a folder of files by any names; each part is told in a line."""
    run = tmp_path / 'run'
    assert quick_script('gaussian_mixture', '-n', '1', '-b', '20', '-o', 'run').returncode == 0
    weights.main(['export', str(run), str(tmp_path / 'torch')])
    energy, generator = (tensors(torch, checkpoints.read(tmp_path / 'torch' / name)) for name in MODELS)
    (tmp_path / 'models').mkdir()
    torch.save({'state_dict': {**under('netE.', energy), **under('netG.', generator)}}, tmp_path / 'last.ckpt')
    torch.save(under('module.', energy), tmp_path / 'models' / 'netE.pt')
    torch.save({'G': generator, 'ema': {name: x + 1 for name, x in generator.items()}}, tmp_path / 'models' / 'both.pt')
    capsys.readouterr()
    for number, arguments in enumerate((
            ['last.ckpt'],
            ['last.ckpt', '--generative_model', 'state_dict.netG'],
            ['models', '--energy_model', 'netE.pt', '--generative_model', 'both.pt:G'])):
        out = tmp_path / 'out{}'.format(number)
        source, *flags = arguments
        weights.main(['import', str(tmp_path / source), str(out), '--like', str(run), *flags])
        for name in MODELS:
            assert_same(checkpoints.read(run / name), checkpoints.read(out / name))
        first, second, _ = capsys.readouterr().out.splitlines()
        if number == 0:
            assert first == (
                "{}/last.ckpt: 10 of 26 arrays are taken as the energy_model, without 'state_dict.netE.' before their "
                'names'.format(tmp_path))
            assert "16 of 26 arrays are taken as the generative_model, without 'state_dict.netG.'" in second
        if number == 2:
            assert "10 of 10 arrays are taken as the energy_model, without 'module.'" in first
    message = refusal(weights.main, [
        'import', str(tmp_path / 'models'), str(tmp_path / 'out'), '--like', str(run), '--energy_model', 'netE.pt',
        '--generative_model', 'both.pt'])
    assert message.endswith(
        'both.pt: it holds several that fit, G, ema: say which part by --generative_model')
    assert not (tmp_path / 'out').exists()


# ---- the peers, as docs/from-pytorch.md describes them

PAGE = (ROOT / 'docs' / 'from-pytorch.md').read_text(encoding='utf-8')


@pytest.fixture
def sample(tmp_path, capsys):
    """Sample as the page says, with a class of the page made smaller: z and x."""
    def sample(peer, source, small='', *flags):
        head, *described = re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL)
        classes = dict(re.match(r'# (\w+)\.py\n(.*)', text, re.DOTALL).groups() for text in described)
        (tmp_path / 'net.py').write_text(
            head + classes[peer] + '\n\ndef small():\n    return Generator({})\n'.format(small))
        weights.main([
            'sample', str(source), str(tmp_path / 'theirs' / 'samples.npz'), '--generator',
            str(tmp_path / 'net.py') + ':small', *flags])
        assert 'samples.npz: x (2500, ' in capsys.readouterr().out
        arrays = checkpoints.read(tmp_path / 'theirs' / 'samples.npz')
        return arrays['z'], arrays['x']
    return sample


def stirred(torch, network):
    """A network of PyTorch whose every number is some other one."""
    rng = torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(0.1 + abs(0.3 * torch.randn(tensor.shape, generator=rng)) if name.endswith('var')
                         else 0.3 * torch.randn(tensor.shape, generator=rng))
    return network.eval()


def outputs(torch, network, z):
    with torch.no_grad():
        return network(torch.from_numpy(z)).numpy()


def assert_close(x, expected):
    assert x.shape == expected.shape
    assert x.std() > 0
    numpy.testing.assert_allclose(x, expected, rtol=1e-4, atol=1e-4 * abs(expected).max())


def test_xplutoy(torch, sample, tmp_path):
    nn = torch.nn
    network = stirred(torch, nn.Sequential(*(nn.ModuleDict({
        'lin1': nn.Linear(8, 128), 'bn1': nn.BatchNorm1d(128, affine=False), 'relu1': nn.ReLU(),
        'lin2': nn.Linear(128, 128), 'bn2': nn.BatchNorm1d(128, affine=False), 'relu2': nn.ReLU(),
        'lin3': nn.Linear(128, 2)})[name] for name in ('lin1', 'bn1', 'relu1', 'lin2', 'bn2', 'relu2', 'lin3'))))
    names = {'0': 'lin1', '1': 'bn1', '3': 'lin2', '4': 'bn2', '6': 'lin3'}
    (tmp_path / 'runs').mkdir()
    torch.save(
        {re.sub(r'^\d', lambda match: names[match[0]], name): x for name, x in network.state_dict().items()},
        tmp_path / 'runs' / 'dgm_net.pt')
    z, x = sample('xplutoy', tmp_path / 'runs')
    assert_close(x, outputs(torch, network, z))
    assert abs(z.std() - 1) < 0.02  # normal


def test_crisp79(torch, sample, tmp_path):
    nn, n = torch.nn, 16
    project = nn.Sequential(nn.Linear(5, 16 * n, bias=False), nn.BatchNorm1d(16 * n), nn.ReLU())
    layers = []
    for channels in ((n, n // 2), (n // 2, n // 4), (n // 4, n // 8), (n // 8, 3)):
        layers += [nn.ConvTranspose2d(*channels, 5, 2, 2, output_padding=1, bias=False)]
        layers += [nn.Tanh()] if channels[1] == 3 else [nn.BatchNorm2d(channels[1]), nn.ReLU()]
    network = nn.ModuleDict({'project': project, 'deconv_layers': nn.Sequential(*layers)})
    stirred(torch, network)
    torch.save({
        'epoch': 200, 'dem': {'experts.weight': torch.ones(3, 3)}, 'dgm': network.state_dict(),
        'opt_e': torch.optim.Adam(network.parameters()).state_dict(), 'cfg': {'lr_e': 1e-4, 'resume': None}},
        tmp_path / 'latest.pt')
    z, x = sample('crisp79', tmp_path / 'latest.pt', '5, 16')
    assert 0 <= x.min() < x.max() <= 1
    expected = outputs(torch, nn.Sequential(project, nn.Unflatten(1, (n, 4, 4)), network['deconv_layers']), z[:20])
    assert_close(x[:20], (expected + 1) / 2)


def test_meg(torch, sample, tmp_path):
    nn = torch.nn
    network = nn.Sequential(
        nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    stirred(torch, network)
    (tmp_path / 'models').mkdir()
    for name in ('netE', 'netG'):
        torch.save(
            under('main.', network.state_dict()), tmp_path / 'models' / (name + '.pt'),
            _use_new_zipfile_serialization=False)
    assert 'netE.pt, netG.pt, so it is not clear' in refusal(sample, 'meg', tmp_path / 'models', '2, 8')
    z, x = sample('meg', tmp_path / 'models' / 'netG.pt', '2, 8')
    assert_close(x, outputs(torch, network, z))


def test_vera(torch, sample, tmp_path):
    """Two of z are the noise of the sample itself."""
    nn = torch.nn
    network = stirred(torch, nn.Sequential(
        nn.Linear(4, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8, bias=False), nn.BatchNorm1d(8),
        nn.ReLU(), nn.Linear(8, 2)))
    torch.save({
        'epoch': 1, 'kl': [], 'itr': 100, 'model': {
            'logp_net': {'0.weight': torch.ones(100, 2)}, 'g': {
                'logsigma': torch.tensor([-2.5]), 'stepsize': torch.tensor(0.25), 'post_logsigma': torch.ones(4),
                **under('g.', network.state_dict())}},
        'optimizer': {'e': torch.optim.Adam(network.parameters()).state_dict()}}, tmp_path / 'ckpt.pt')
    z, x = sample('vera', tmp_path / 'ckpt.pt', '4, 8')
    assert z.shape == (2500, 6)
    assert_close(x, outputs(torch, network, numpy.ascontiguousarray(z[:, :4])) + numpy.exp(-2.5) * z[:, 4:])


def test_taichi_iki(sample, tmp_path, rng):
    """Chainer's save_npz adds no suffix to the name of an open file."""
    arrays = {'em_experts/W': numpy.ones((128, 128)), 'em_ln_var': numpy.zeros(())}
    for name, shape in (('linear1', (128, 10)), ('linear2', (128, 128)), ('linear3', (784, 128))):
        arrays['gm_{}/W'.format(name)] = rng.normal(0, 0.1, size=shape)
        arrays['gm_{}/b'.format(name)] = rng.normal(0, 0.1, size=shape[0])
    with open(tmp_path / 'model_199', 'wb') as file:
        numpy.savez(file, **arrays)
    h, x = sample('taichi_iki', tmp_path / 'model_199', '', '--generative_model', 'gm_')
    assert -1 <= h.min() < -0.9
    for name in ('linear1', 'linear2'):
        h = numpy.tanh(h @ arrays['gm_{}/W'.format(name)].T + arrays['gm_{}/b'.format(name)])
    assert_close(x, 1 / (1 + numpy.exp(-h @ arrays['gm_linear3/W'].T - arrays['gm_linear3/b'])))


def test_musyoku(sample, tmp_path, rng):
    """Names and layers are those of this project's generator of the mixture."""
    h5py = pytest.importorskip('h5py', reason='h5py is installed by make test-parity')
    model = started('gaussian_mixture', 'default', rng)[1]
    arrays = arrays_of(model)
    names = {'l1': 'link_0', 'bn1': 'link_1', 'l2': 'link_3', 'bn2': 'link_4', 'l3': 'link_6'}
    (tmp_path / 'model').mkdir()
    with h5py.File(tmp_path / 'model' / 'generative_model.hdf5', 'w') as file:
        for name, array in arrays.items():
            link, _, attribute = name.partition('/')
            file['{}/{}'.format(names[link], attribute)] = array
    (tmp_path / 'model' / 'energy_model.hdf5').touch()
    z, x = sample('musyoku', tmp_path / 'model')
    with chainer.using_config('train', False):
        assert_close(x, model(z).array)


# ---- a user's file that fails

@pytest.mark.parametrize(('text', 'name', 'words'), [
    ('x = 1\ny = z\n', 'Generator', "net.py, line 2: can't be imported (NameError: name 'z' is not"),
    ('x = = 1\n', 'Generator', "net.py: can't be imported (SyntaxError"),
    ('x = 1\n', 'Generator', "net.py: has no 'Generator': give FILE:NAME to --generator"),
    ('def Generator():\n    return 3\n', 'Generator', 'net.py: Generator is no generator: derive it from'),
    ('import chainer\nGenerator = chainer.Chain\n', 'Generator', 'Generator is no generator: derive it from'),
    ('from test_checkpoints import Described\nclass Generator(Described):\n    def forward(self, z):\n'
     '        return self.last(z[0])\n', 'Generator', 'net.py, line 4: '),
    ('from test_checkpoints import Described\ndef Generator():\n    model = Described()\n'
     "    model.add_link('other', __import__('chainer').links.EmbedID(2, 2))\n    return model\n", 'Generator',
     'a EmbedID has no known equivalent in PyTorch'),
    ('from test_checkpoints import Described, F\nclass Generator(Described):\n    def forward(self, z):\n'
     '        return F.log(-abs(super().forward(z)))\n', 'Generator',
     'net.py: 2,500 of the 2,500 samples from weights.npz are not finite: mend its forward'),
])
def test_descriptions_that_fail(text, name, words, tmp_path, monkeypatch):
    """In one line, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'net.py').write_text(text)
    model = Described()
    model(numpy.ones((2, 3), dtype=numpy.float32))
    numpy.savez(tmp_path / 'weights.npz', **pytorch_names.export(model))
    message = refusal(weights.main, ['sample', 'weights.npz', 'out/samples.npz', '--generator', 'net.py:' + name])
    assert words in message
    assert not (tmp_path / 'out').exists()


def test_description_as_python_runs_it(tmp_path):
    """It may import what lies beside it, soon or late, and dataclasses find its names."""
    (tmp_path / 'theirs').mkdir()
    (tmp_path / 'theirs' / 'their_sizes.py').write_text('n_latent = 3\n')
    (tmp_path / 'theirs' / 'their_scale.py').write_text('scale = 2\n')
    (tmp_path / 'theirs' / 'their_network.py').write_text(
        'from __future__ import annotations\nimport dataclasses\nimport their_sizes\n'
        'from test_checkpoints import Described\n'
        '@dataclasses.dataclass\nclass Options:\n    n: int = their_sizes.n_latent\n'
        'class Generator(Described):\n    def forward(self, z):\n        import their_scale\n'
        '        assert z.shape[1] == Options().n\n        return their_scale.scale * super().forward(z)\n')
    model = Described()
    model(numpy.ones((2, 3), dtype=numpy.float32))
    numpy.savez(tmp_path / 'weights.npz', **pytorch_names.export(model))
    before = list(sys.path)
    weights.main(['sample', str(tmp_path / 'weights.npz'), str(tmp_path / 'samples.npz'), '--eps', '2e-5',
                  '--generator', str(tmp_path / 'theirs' / 'their_network.py') + ':Generator'])
    assert sys.path == before
    arrays = checkpoints.read(tmp_path / 'samples.npz')
    with chainer.using_config('train', False):
        numpy.testing.assert_allclose(arrays['x'], 2 * model(arrays['z']).array, rtol=1e-5, atol=1e-6)


def test_samples_over_what_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    numpy.savez('weights.npz', x=numpy.ones(3))
    before = (tmp_path / 'weights.npz').read_bytes()
    for out, words in (('weights.npz', 'is there already'), ('weights.txt', 'is no .npz file')):
        assert '{}: {}: give the name of a new .npz file to OUT'.format(out, words) == refusal(
            weights.main, ['sample', 'weights.npz', out, '--generator', 'net.py:Generator'])
    assert 'net.py: there is no such Python file' in refusal(
        weights.main, ['sample', 'weights.npz', 'out.npz', '--generator', 'net.py:Generator'])
    assert (tmp_path / 'weights.npz').read_bytes() == before
