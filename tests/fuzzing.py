"""Damaged, misleading and hostile inputs for everything that reads a file, made from sound ones.

Run in a process of its own (``fault_runs.start``), whose memory and time are watched.
"""

import contextlib
import csv
import dataclasses
import gzip
import io
import itertools
import json
import pathlib
import re
import signal
import tarfile
import traceback
import zipfile

import numpy
from PIL import Image, PngImagePlugin

from ddgm.compare import comparison, entries
from ddgm.data.distributions import GaussianMixture
from ddgm.data.image_folder import ImageFolder
from ddgm.data.mnist import MNIST
from ddgm.evaluation import tasks
from ddgm.networks import toy
from ddgm.presets import PRESETS
from ddgm.runs import devices, run_folder, snapshots, training_state
from ddgm.runs.command_line import Request
from ddgm.runs.log import Log, curves_of
from ddgm.support.errors import UsageError
from ddgm.support.files import checksum
from ddgm.weights import checkpoints, pytorch_names

SECONDS = 20  # that one input may take
_NUMBERS = [0, 1, -1, 127, 255, 2 ** 15, 2 ** 16 - 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 63 - 1]
_JSON = [
    None, True, -1, 0, 1e308, float('nan'), float('inf'), 10 ** 400, '', '\0', 'x' * 10_000, '../..', [], [[]], {}, [1],
    {'task': {}}, 'é☃']


# ---- how inputs are changed

def damaged(content, rng):
    """Bytes that were cut, flipped, removed, doubled, inserted or overwritten, once or a few times."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        place = _place(content, rng)
        some = int(rng.integers(1, 64))
        kind = rng.integers(7)
        if kind == 0:
            del content[place:]
        elif kind == 1:
            del content[place:place + some]
        elif kind == 2:
            content[place:place] = rng.bytes(some)
        elif kind == 3:
            content[place:place] = content[_place(content, rng):][:some]
        elif kind == 4:
            number = int(rng.choice(_NUMBERS))
            size = int(rng.choice([1, 2, 4, 8]))
            content[place:place + size] = (number % 2 ** (8 * size)).to_bytes(size, rng.choice(['big', 'little']))
        elif kind == 5:
            content[place:place + some] = bytes(some)
        elif place < len(content):
            content[place] ^= 1 << rng.integers(8)
    return bytes(content)


def _place(content, rng):
    """Half the time near an end, where the headers are."""
    kind, near = rng.integers(4), int(rng.integers(128))
    return min(len(content), near) if kind == 0 else max(0, len(content) - near) if kind == 1 else int(
        rng.integers(len(content) + 1))


def damaged_inside(content, rng):
    """What a file compressed by gzip holds is damaged, and the file around it is sound."""
    return gzip.compress(damaged(gzip.decompress(content), rng), compresslevel=1)


def damaged_member(content, rng):
    """One array of an .npz file is damaged, or its name; the archive around it is sound."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = str(rng.choice(sorted(members)))
    if rng.random() < 0.7:
        members[name] = damaged(members[name], rng)
    else:
        other = ['../../outside.npy', '/outside.npy', 'no array', ' ', name + '.npy', 'C:\\outside.npy']
        members[str(rng.choice(other))] = members.pop(name)
    file, compression = io.BytesIO(), int(rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2]))
    with zipfile.ZipFile(file, 'w', compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def signed_again(content, rng):
    """Arrays of a snapshot are others, and its checksum says that they are right."""
    with numpy.load(io.BytesIO(content)) as file:
        arrays = dict(file)
    name = str(rng.choice(sorted(arrays)))
    others = [
        numpy.array(10 ** 12), numpy.array(-5), numpy.array(numpy.inf), numpy.array('text'), numpy.zeros((0, 3)),
        numpy.zeros((3, 1, 2), dtype=numpy.int8), numpy.array(json.dumps(_JSON[rng.integers(len(_JSON))])),
        numpy.array('[' * 100_000), numpy.array(1j)]
    arrays[name] = others[rng.integers(len(others))]
    if rng.random() < 0.2:
        del arrays[name]
    arrays.pop('sha256', None)
    return _bytes_of(numpy.savez, sha256=checksum(arrays), **arrays)


def _change(saved, rng):
    """Make one value below a dict or a list another one, or remove it."""
    place = rng.choice(sorted(saved)) if isinstance(saved, dict) else int(rng.integers(len(saved)))
    if isinstance(saved[place], (dict, list)) and saved[place] and rng.random() < 0.8:
        _change(saved[place], rng)
    elif rng.random() < 0.8:
        others = [*_JSON, *_NUMBERS]
        saved[place] = others[rng.integers(len(others))]
    else:
        del saved[place]


def changed_value(content, rng):
    """One value of a JSON object, or of one of its lines, is another one, or missing."""
    lines = [content.decode()] if content[:2] == b'{\n' else content.decode().split('\n')
    i = int(rng.integers(len(lines)))
    try:
        saved = json.loads(lines[i].rstrip(','))
    except ValueError:
        return damaged(content, rng)
    _change(saved, rng)
    lines[i] = json.dumps(saved) + ',' * (len(lines) > 1)
    return '\n'.join(lines).encode()


def changed_header(content, rng):
    """One value in the header of a safetensors file is another one, or missing, and the header's length is right."""
    end = 8 + int.from_bytes(content[:8], 'little')
    header = json.loads(content[8:end])
    _change(header, rng)
    new = json.dumps(header).encode()
    return len(new).to_bytes(8, 'little') + new + content[end:]


def edited(content, rng):
    """The same JSON, or lines of it, as an editor or another tool leaves it: laid out anew, in another encoding."""
    def laid_out(saved):
        text = json.dumps(saved, indent=[None, 1, 4, '\t'][rng.integers(4)], sort_keys=bool(rng.integers(2)))
        return re.sub(r'(\d)\.0(?![\d.])', r'\1', text) if rng.random() < 0.5 else text  # 1.0 as 1
    try:
        text = laid_out(json.loads(content))
    except ValueError:
        text = '\n'.join(json.dumps(json.loads(line)) for line in content.splitlines())
    if rng.random() < 0.5:
        text = text.replace('\n', '\r\n') + '\r\n'
    return text.encode(rng.choice(['utf-8', 'utf-8-sig', 'utf-16']))


def is_same_json(content, other):
    """Whether the bytes of two files hold the same, however it is laid out."""
    with contextlib.suppress(ValueError, RecursionError):
        one, two = (json.dumps(json.loads(it, parse_int=float), sort_keys=True) for it in (content, other))
        return one == two
    return False


def changed_list(content, rng):
    """The files that settings list as a run's own are also somebody else's."""
    saved = json.loads(content)
    others = [
        'notes.txt', 'figures', 'figures/../notes.txt', '../outside.txt', '/', '', '.', '..', 'figures/frames',
        'figures\\..\\notes.txt', 'log/../notes.txt', 'tensorboard/../notes.txt', 'figures/.hidden', 'notes.txt\n']
    saved['files'] = [*saved['files'], *rng.choice(others, size=5).tolist()]
    return json.dumps(saved).encode()


def cut(content, rng):
    """An archive that ends too early, or the last part of a split one."""
    place = int(rng.integers(1, len(content)))
    return content[:place] if rng.random() < 0.6 else content[place:]


def changed_table(content, rng):
    """Rows, cells and steps of a CSV file that disagree, come again, or are written as elsewhere."""
    separator = ';' if b';' in content else ','
    rows = list(csv.reader(io.StringIO(content.decode()), delimiter=separator))
    for _ in range(rng.integers(1, 4)):
        i, j, kind = int(rng.integers(len(rows))), int(rng.integers(1 + len(rows[0]))), rng.integers(7)
        if kind == 0:
            rows[i] = rows[i] + ['5']
        elif kind == 1:
            rows[i] = rows[i][:j]
        elif kind == 2:
            rows.insert(i, rows[0])
        elif kind == 3:
            rows += rows[1 + i:]  # its steps begin again
        elif kind == 4:
            rows[1:] = [rows[k] for k in rng.permutation(len(rows) - 1) + 1]
        else:
            cell = str(rng.choice(['nan', 'inf', '', '1.000', '1,5', '1_0', '١', '1e400', 'x', '#', '"']))
            for row in rows[1:] if kind == 5 else rows[i:i + 1]:
                row[j:j + 1] = [cell]
    file = io.StringIO()
    csv.writer(file, delimiter=str(rng.choice([separator, ';', '\t']))).writerows(rows)
    before = str(rng.choice(['', '', 'sep=;\n', '# made by hand\n']))
    return (before + file.getvalue()).encode(rng.choice(['utf-8', 'utf-8-sig', 'utf-16']))


def _bytes_of(save, *arguments, **options):
    """What a function writes into a file."""
    file = io.BytesIO()
    save(file, *arguments, **options)
    return file.getvalue()


# ---- the readers; each makes sound inputs in an empty folder

class Digits:
    """IDX files: one of the four at a time."""

    changes = damaged, damaged_inside

    def __init__(self, folder):
        rng = numpy.random.default_rng(0)
        self.folder, self.paths, self.sound = folder, [], []
        images, labels = rng.integers(256, size=(20, 28, 28)), rng.integers(10, size=20)
        for part in ('train', 't10k'):
            for kind, array in (('images-idx3', images), ('labels-idx1', labels)):
                header = bytes([0, 0, 8, array.ndim]) + b''.join(n.to_bytes(4, 'big') for n in array.shape)
                content = gzip.compress(header + array.astype(numpy.uint8).tobytes())
                self.paths.append(folder / '{}-{}-ubyte.gz'.format(part, kind))
                self.paths[-1].write_bytes(content)
                self.sound.append(content)

    def read(self, content, i):
        self.paths[i].write_bytes(content)
        try:
            MNIST(self.folder)
        finally:
            self.paths[i].write_bytes(self.sound[i])


class Pictures:
    """Pictures of 17 kinds."""

    changes = damaged,

    def __init__(self, folder):
        rng = numpy.random.default_rng(0)
        self.path, self.sound = folder / 'picture', []
        pixels = Image.fromarray(rng.integers(256, size=(40, 50, 4)).astype(numpy.uint8), 'RGBA')
        much_text = PngImagePlugin.PngInfo()
        much_text.add_text('text', 500_000 * 'x', zip=True)
        for mode, form, options in (
                ('RGBA', 'PNG', {}), ('P', 'PNG', {'transparency': 3}), ('I;16', 'PNG', {}), ('RGB', 'JPEG', {}),
                ('CMYK', 'JPEG', {}), ('P', 'GIF', {}), ('RGB', 'BMP', {}), ('RGB', 'PPM', {}), ('RGBA', 'TGA', {}),
                ('RGBA', 'WEBP', {}), ('RGBA', 'ICO', {}), ('RGB', 'PCX', {}), ('RGB', 'TIFF', {}),
                ('L', 'TIFF', {'compression': 'tiff_lzw'}), ('RGB', 'JPEG2000', {}), ('L', 'PNG', {'transparency': 3}),
                ('RGB', 'PNG', {'pnginfo': much_text})):
            picture = pixels.convert('L').convert('I').convert(mode) if mode == 'I;16' else pixels.convert(mode)
            self.sound.append(_bytes_of(picture.save, form, **options))

    def read(self, content, i):
        self.path.write_bytes(content)
        images = ImageFolder(self.path.parent, batchsize=1).images
        assert images.shape == (1, 3, 64, 64)


class PictureArchives:
    """Archives of pictures."""

    changes = damaged, cut

    def __init__(self, folder):
        rng = numpy.random.default_rng(0)
        self.path, self.sound = folder / 'pictures', []
        pixels = rng.integers(256, size=(3, 20, 20, 3)).astype(numpy.uint8)
        pictures = {'{}.png'.format(i): _bytes_of(Image.fromarray(one).save, 'PNG') for i, one in enumerate(pixels)}
        for mode in ('w', 'w:gz', 'w:bz2'):
            self.sound.append(_bytes_of(self._tape, pictures, mode))
        for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            file = io.BytesIO()
            with zipfile.ZipFile(file, 'w', compression) as archive:
                for name, content in pictures.items():
                    archive.writestr(name, content)
            self.sound.append(file.getvalue())

    def _tape(self, file, pictures, mode):
        with tarfile.open(fileobj=file, mode=mode) as archive:
            for name, content in pictures.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))

    def read(self, content, i):
        self.path.write_bytes(content)
        data = ImageFolder(self.path, batchsize=1)
        assert len(data.images) + len(data.left_out) <= 4
        if self.sound[i].startswith(content) or self.sound[i].endswith(content):  # a part is never taken for the whole
            assert len(data.images) == 3


class Snapshots:
    """Snapshots: a run trains on from what was loaded."""

    changes = damaged, damaged_member, signed_again

    def __init__(self, folder):
        self.folder = run_folder.open_run(Request(
            task='gaussian_mixture', out=str(folder / 'run'), changes={'n_hidden': 8, 'batchsize': 10}))
        self.folder.prepare({'device': '@numpy'})
        self.folder.log.keep(0)
        self.state = self._build()
        for iteration, losses in self._train(2):
            self.state.iteration = iteration
            self.state.summary.add(losses)
        self.folder.save_snapshot(self.state)
        self.path = self.folder.path / snapshots.NEWEST
        self.sound = [self.path.read_bytes()]

    def _build(self):
        return training_state.build_state(
            self.folder.settings, toy.build_models, GaussianMixture().sample, devices.open_device('@numpy'))

    def _train(self, n):
        return training_state.iterations_of(
            self.state, GaussianMixture().sample,
            dataclasses.replace(self.folder.settings, iterations=self.state.iteration + n))

    def read(self, content, i):
        self.path.write_bytes(content)
        try:
            self.folder.load_snapshot(self.state)
        except UsageError:
            self.state = self._build()
            raise
        with numpy.errstate(all='ignore'):
            for _ in self._train(1):
                pass
        json.dumps({name: float(mean) for name, mean in self.state.summary.compute_mean().items()})


class _Compared:
    """What ``compare`` reads, at ``path``, or as the folder ``compared``."""

    compared = None

    def read(self, content, i):
        self.path.write_bytes(content)
        return entries.read([str(self.compared or self.path)])


class Archives(_Compared):
    """Samples in .npz files."""

    changes = damaged, damaged_member

    def __init__(self, folder):
        self.path, x = folder / 'samples.npz', numpy.random.default_rng(0).normal(size=(30, 2))
        self.sound = [
            _bytes_of(save, x=x.astype(numpy.float32), z=x) for save in (numpy.savez, numpy.savez_compressed)]


class Arrays(_Compared):
    """Samples in .npy files."""

    changes = damaged,

    def __init__(self, folder):
        self.path = folder / 'samples.npy'
        self.sound = [
            _bytes_of(numpy.save, x) for x in (numpy.ones((30, 2)), numpy.zeros((3, 64, 64), dtype=numpy.uint8))]


class _ComparedPictures(_Compared):
    """The same, as images of digits or icons, of which compare says how it understands them."""

    changes = damaged,

    def read(self, content, i):
        with contextlib.redirect_stdout(None):
            entry, = super().read(content, i)
        assert entry.x.shape[1:] in ((28, 28, 3), (64, 64, 3))
        return entry


class SamplePictures(_ComparedPictures):
    """Samples as pictures in a folder."""

    def __init__(self, folder):
        rng = numpy.random.default_rng(0)
        self.path, self.compared, self.sound = folder / 'sample.png', folder, []
        for side, mode, form in ((28, 'L', 'PNG'), (28, '1', 'PNG'), (64, 'RGB', 'PNG'), (64, 'RGB', 'JPEG')):
            pixels = rng.integers(256, size=(side, side, 3)).astype(numpy.uint8)
            self.sound.append(_bytes_of(Image.fromarray(pixels).convert(mode).save, form))


class Grids(_ComparedPictures):
    """Samples in one picture."""

    def __init__(self, folder):
        self.path, self.sound = folder / 'grid.png', []
        for side, padding, ground in ((28, 2, 0), (28, 3, 0), (64, 1, 255)):
            size = [n * (side + padding) + padding for n in (3, 5)]
            canvas = numpy.full((*size, 3), ground, dtype=numpy.uint8)
            for row in range(3):
                for column in range(5 if row < 2 else 4):
                    top, left = (place * (side + padding) + padding + 4 for place in (row, column))
                    canvas[top:top + side - 8, left:left + side - 8] = 50 + 40 * row + 10 * column
            self.sound.append(_bytes_of(Image.fromarray(canvas).save, 'PNG'))

    def read(self, content, i):
        assert len(super().read(content, i).x) > 1


class Table(_Compared):
    """CSV files."""

    changes = damaged, changed_table, changed_table

    def __init__(self, folder):
        self.path = folder / 'losses.csv'
        self.sound = [
            b'iteration,E_real,E_fake,E_loss\n' + b''.join(b'%d,-1.5,2.25,%d\n' % (i, i) for i in range(30)),
            b'exp_name;epoch;DEM_energy_x\n' + b''.join(b'run%d;%d;-1\n' % (i % 3, i) for i in range(30)),
            b'epoch,step,e_loss\n' + b''.join(b'%d,%d,0.5\n' % (i // 10, i % 10) for i in range(30))]

    def read(self, content, i):
        with contextlib.redirect_stdout(None):
            found = super().read(content, i)
            if len(content) % 100 == 0:  # which takes longer than all before
                comparison.compare(found, None, None, str(self.path.with_name('comparison')))
        for log in (log for entry in found for log in entry.logs):
            assert {len(log.x)} == {*map(len, log.values.values())}
            assert not (numpy.diff(numpy.array(log.x)[numpy.isfinite(log.x)]) < 0).any()


class JsonLines(_Compared):
    """Logs in JSON: a list, and an object a line."""

    changes = damaged, changed_value, edited

    def __init__(self, folder):
        self.path = folder / 'metrics.jsonl'
        rows = [{'iteration': i, 'train': {'e_loss': -i}, 'g_loss': 1e-30, 'fid': None} for i in range(20)]
        self.sound = [json.dumps(rows).encode(), b''.join(json.dumps(row).encode() + b'\n' for row in rows)]


def _changed_event(content, rng):
    """One event is damaged or holds another value, and the checksums say that it is right."""
    from tensorboard.compat.proto.event_pb2 import Event
    records = []
    while content:
        size = int.from_bytes(content[:8], 'little')
        records.append(content[12:12 + size])
        content = content[16 + size:]
    i = int(rng.integers(len(records)))
    if rng.random() < 0.5:
        records[i] = damaged(records[i], rng)
    else:
        event = Event(step=int(rng.choice([-1, 0, 2 ** 63 - 1])))
        value = event.summary.value.add(tag=str(rng.choice(['dem_loss', 'step', '', 'x' * 10_000, 'a/fid', '\0'])))
        value.tensor.dtype = int(rng.choice([1, 2, 3, 7, 9, 10, 20]))
        value.tensor.tensor_content = rng.bytes(int(rng.integers(10)))
        if rng.random() < 0.5:
            value.tensor.tensor_shape.dim.add(size=int(rng.choice([-1, 1, 2 ** 40])))
        records[i] = event.SerializeToString()
    return event_file(records)


def event_file(records):
    """The bytes of an event file of TensorBoard that holds these serialized events."""
    from tensorboard.summary.writer.record_writer import RecordWriter
    file = io.BytesIO()
    writer = RecordWriter(file)
    for record in records:
        writer.write(record)
    return file.getvalue()


class EventFiles(_Compared):
    """Event files of TensorBoard."""

    changes = damaged, _changed_event

    def __init__(self, folder):
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.util.tensor_util import make_tensor_proto
        self.path, records = folder / 'events.out.tfevents.1', [Event(file_version='brain.Event:2').SerializeToString()]
        for i in range(10):
            event = Event(step=i)
            event.summary.value.add(tag='dem_loss', simple_value=-i)
            event.summary.value.add(tag='train/dgm_loss').tensor.CopyFrom(make_tensor_proto(i / 7))
            event.summary.value.add(tag='picture').image.encoded_image_string = bytes(20)
            records.append(event.SerializeToString())
        self.sound = [event_file(records)]


class Weights:
    """Weights in PyTorch's names and in our own."""

    changes = damaged, damaged_member

    def __init__(self, folder):
        self.folder = run_folder.open_run(Request(
            task='gaussian_mixture', out=str(folder), changes={'n_hidden': 8, 'batchsize': 10}))
        self.model = toy.build_models(self.folder.settings, numpy.random.default_rng(0))[1]
        self.folder.save('own.npz', self.model)
        self.sound = [
            _bytes_of(numpy.savez, **pytorch_names.export(self.model)), (folder / 'own.npz').read_bytes()]

    def read(self, content, i):
        path = self.folder.path / 'model.npz'
        path.write_bytes(content)
        if i:
            self.folder.load(path.name, self.model, 'repeat it')
        else:
            pytorch_names.load(self.model, checkpoints.read(path))


def safetensors_of(arrays):
    """The bytes of a safetensors file, written from its description."""
    types = {'float64': 'F64', 'float32': 'F32', 'float16': 'F16', 'int64': 'I64', 'uint16': 'BF16', 'bool': 'BOOL'}
    header, body = {'__metadata__': {'format': 'pt'}}, b''
    for name, array in arrays.items():
        header[name] = {
            'dtype': types[array.dtype.name], 'shape': array.shape,
            'data_offsets': [len(body), len(body) + array.nbytes]}
        body += array.tobytes()
    header = json.dumps(header).encode()
    return len(header).to_bytes(8, 'little') + header + body


class Safetensors:
    """Weights in safetensors files."""

    changes = damaged, changed_header

    def __init__(self, folder):
        self.path = folder / 'model.safetensors'
        settings = dataclasses.replace(PRESETS['gaussian_mixture']['default'].settings, n_hidden=8)
        self.model = toy.build_models(settings, numpy.random.default_rng(0))[1]
        self.sound = []
        for kind in ('f4', 'f8', 'f2'):
            self.sound.append(safetensors_of({
                'module.' + key: array if array.dtype == int else array.astype(kind)
                for key, array in pytorch_names.export(self.model).items()}))

    def read(self, content, i):
        self.path.write_bytes(content)
        pytorch_names.load(self.model, checkpoints.read(self.path))


class Settings:
    """Settings and metrics of a run."""

    changes = damaged, changed_value, edited

    def __init__(self, folder):
        self.folder = folder
        for task in sorted(PRESETS):
            it = run_folder.open_run(Request(
                task=task, out=str(folder / task), data='somewhere', preset=tasks.find(task).default_preset))
            it.prepare({'device': '@numpy', 'versions': {'numpy': '2'}})
            it.unlock()
        self.sound = [path.read_bytes() for path in sorted(folder.glob('*/settings.json'))]

    def read(self, content, i):
        path = self.folder / 'run'
        path.mkdir(exist_ok=True)
        (path / 'metrics.json').write_bytes(content)
        (path / 'settings.json').write_bytes(content)
        try:
            entries.read([str(path)])
            found = run_folder.open_run(Request(task=sorted(PRESETS)[i], out=str(path), resume=True))
        except UsageError as error:
            if is_same_json(content, self.sound[i]):
                raise AssertionError('nothing has changed') from error
            raise
        assert isinstance(found.device, str)
        assert isinstance(found.data, (str, type(None)))


class StartedOver:
    """Settings of a run that is started over."""

    changes = damaged, changed_value, edited, changed_list

    def __init__(self, folder):
        self.path = folder / 'run'
        self._start(overwrite=False)
        self.sound = [(self.path / 'settings.json').read_bytes()]
        self.theirs = [self.path / 'notes.txt', self.path / 'figures' / '.hidden', folder / 'outside.txt']
        for path in self.theirs:
            path.write_text('not to be lost')

    def _start(self, overwrite):
        folder = run_folder.open_run(Request(task='gaussian_mixture', out=str(self.path), overwrite=overwrite))
        try:
            folder.prepare({'device': '@numpy'})
        finally:
            folder.unlock()

    def read(self, content, i):
        (self.path / 'settings.json').write_bytes(content)
        try:
            self._start(overwrite=True)
        except UsageError:
            assert (self.path / 'settings.json').read_bytes() == content
            raise
        finally:
            assert {path.read_text() for path in self.theirs} == {'not to be lost'}


class Logs:
    """Logs: read, kept and extended."""

    changes = damaged, changed_value, edited

    def __init__(self, folder):
        self.path = folder / 'log'
        log = Log(self.path)
        log.keep(0)
        for i in range(20):
            log.append({'iteration': i, 'elapsed_time': i / 7, 'energy/loss': -1.5, 'generator/loss': 1e-30})
        self.sound = [self.path.read_bytes()]

    def read(self, content, i):
        self.path.write_bytes(content)
        log = Log(self.path)
        curves_of(log)
        n, aside = log.keep(15), self.path.with_name('log.damaged')
        log.append({'iteration': 16})
        assert len(list(log)) == len(json.loads(self.path.read_text())) == n + 1
        if aside.exists():
            assert aside.read_bytes() == content
            aside.unlink()
        elif content[:2] != b'\xff\xfe':  # no list of JSON loses an entry
            with contextlib.suppress(ValueError):
                whole = json.loads(content)
                assert n == len(list(itertools.takewhile(lambda entry: entry['iteration'] <= 15, whole)))


READERS = {reader.__name__: reader for reader in (
    Digits, Pictures, PictureArchives, Snapshots, Archives, Arrays, SamplePictures, Grids, Table, JsonLines, EventFiles,
    Weights, Safetensors, Settings, StartedOver, Logs)}


# ---- the process

def read_damaged(name, n, folder):
    """Give a reader n damaged inputs; ``result.json`` says what came of them, the first failure included.

    Of memory it says by how many bytes the process has grown, address space that was only asked for included.
    """
    folder = pathlib.Path(folder)
    (folder / 'files').mkdir()
    outcome = {'read': 0, 'refused': 0, 'failure': None}
    reader = READERS[name](folder / 'files')
    for i, content in enumerate(reader.sound):  # what is not damaged is read, and imports what reading needs
        reader.read(content, i)
    with contextlib.suppress(ImportError):
        import torch  # noqa: F401  (damage can make anything look like a file of PyTorch's)
    before = _peak()
    for i in range(n):
        rng = numpy.random.default_rng([20161028, i])
        kind = i % len(reader.sound)
        content = reader.changes[rng.integers(len(reader.changes))](reader.sound[kind], rng)
        signal.alarm(SECONDS)
        try:
            reader.read(content, kind)
            outcome['read'] += 1
        except UsageError as error:
            outcome['refused'] += 1
            if not str(error).isprintable():
                outcome['failure'] = 'input {}: {!r}'.format(i, str(error))
        except BaseException:
            outcome['failure'] = 'input {}: {}'.format(i, traceback.format_exc())
        signal.alarm(0)
        if outcome['failure']:
            (folder / 'failure').write_bytes(content)
            break
    outcome['growth'] = _peak() - before
    (folder / 'result.json').write_text(json.dumps(outcome))


def _peak():
    with open('/proc/self/status') as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith('VmPeak'))
