"""Event files of TensorBoard, as PyTorch and TensorFlow write them: one, several of a folder, folders of runs."""

import os

import numpy
import pytest
from fuzzing import event_file

import train_gaussian_mixture
from ddgm.compare import entries
from ddgm.runs.log import Curves, Log, curves_of
from ddgm.support.errors import UsageError

REASON = 'tensorboard is not installed: make test-parity'
event_pb2 = pytest.importorskip('tensorboard.compat.proto.event_pb2', reason=REASON)
event_file_loader = pytest.importorskip('tensorboard.backend.event_processing.event_file_loader', reason=REASON)
tensor_util = pytest.importorskip('tensorboard.util.tensor_util', reason=REASON)

XPLUTOY = ('dem_loss', 'dem_energy_g', 'dem_energy_x', 'dgm_loss')


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def save(tmp_path):
    """Write an event file of triples of a tag, a step and a value: ``save('runs/a', [('dem_loss', 10, 0.5)])``.

    A value that is a tensor's protobuf is what TensorFlow 2 writes.
    """
    def save(folder, scalars, number=1):
        path = tmp_path / folder / 'events.out.tfevents.{}.host'.format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        records = [event_pb2.Event(file_version='brain.Event:2').SerializeToString()]
        for tag, step, value in scalars:
            event = event_pb2.Event(step=step, wall_time=1478649600.1)
            if isinstance(value, float):
                event.summary.value.add(tag=tag, simple_value=value)
            else:
                event.summary.value.add(tag=tag).tensor.CopyFrom(value)
            records.append(event.SerializeToString())
        path.write_bytes(event_file(records))
        return path
    return save


def only(path):
    """The curves of what has one experiment."""
    entry, = entries.read([str(path)])
    log, = entry.logs
    return log


def test_scalars_of_xplutoy(save, capsys):
    path = save('runs', [(tag, 10 * step, step + i / 4) for step in range(3) for i, tag in enumerate(XPLUTOY)])
    expected = Curves('iteration', [0, 10, 20], {
        'energy/loss': [0, 1, 2], 'energy/negative': [0.25, 1.25, 2.25], 'energy/positive': [0.5, 1.5, 2.5],
        'generator/loss': [0.75, 1.75, 2.75]}, {'energy/loss': 'dem_loss', 'generator/loss': 'dgm_loss'})
    assert only(path) == only(path.parent) == expected
    assert capsys.readouterr().out == ''


def test_scalars_of_tensorflow(save):
    """They are tensors; a histogram, which has a shape, is none."""
    path = save('a', [
        ('train/e_loss', 1, tensor_util.make_tensor_proto(1.5)), ('e_loss', 1, tensor_util.make_tensor_proto([1.5, 2])),
        ('note', 1, tensor_util.make_tensor_proto('text'))])
    assert only(path).values == {'energy/loss': [1.5]}


def test_scalars_at_steps_of_their_own(save):
    curve = only(save('a', [('e_loss', 1, 0.5), ('g_loss', 2, 1.5), ('e_loss', 3, 2.5)]))
    assert (curve.points('energy/loss'), curve.points('generator/loss')) == (([1, 3], [0.5, 2.5]), ([2], [1.5]))


def test_resumed_run(save):
    """It has a file more, which repeats some steps."""
    save('a', [('e_loss', step, 0.0) for step in range(4)])
    path = save('a', [('e_loss', step, 1.0) for step in range(2, 6)], 2)
    assert only(path.parent).points('energy/loss') == ([0, 1, 2, 3, 4, 5], [0, 0, 1, 1, 1, 1])


@pytest.mark.parametrize('missing', [1, 20])
def test_file_of_a_program_that_was_killed(missing, save, capsys):
    path = save('a', [('e_loss', step, 0.5) for step in range(3)])
    path.write_bytes(path.read_bytes()[:-missing])
    assert only(path).x == [0, 1]
    assert 'bytes are no whole event and passed over' in capsys.readouterr().out


@pytest.mark.parametrize('content', [b'', b'text' * 20, b'\0' * 100])
def test_no_events(content, save):
    path = save('a', [])
    path.write_bytes(content)
    with pytest.raises(UsageError, match='leave it out'):
        only(path)


def test_event_that_is_none(save):
    path = save('a', [])
    path.write_bytes(path.read_bytes() + event_file([b'\xff' * 20]))
    with pytest.raises(UsageError, match='can\'t be read as a log'):
        only(path)


# ---- as entries

@pytest.mark.parametrize(('argument', 'names'), [
    ('runs', ['a', 'b']), ('runs/a', ['a']), ('theirs=runs/a', ['theirs']), ('theirs=runs', ['theirs/a', 'theirs/b']),
    ('runs/a/events.out.tfevents.1.host', ['a'])])
def test_folders(argument, names, save, capsys):
    """A run a folder; what holds nothing that is known, as hyperparameters do, is named and passed over."""
    for name in 'ab':
        save('runs/' + name, [('dem_loss', 1, 0.5)])
        save('runs/' + name, [('dem_loss', 2, 1.5)], 2)
        save('runs/{}/1478649600.1'.format(name), [('accuracy', 1, 0.5)])
    save('runs/tuning', [('accuracy', 1, 0.5)])
    found = entries.read([argument])
    assert [entry.name for entry in found] == names
    n = 1 if argument.endswith('host') else 2
    assert [len(log.x) for entry in found for log in entry.logs] == [n] * len(names)
    printed = capsys.readouterr().out
    assert ('runs/tuning: has no rows with a column that is known' in printed) is argument.endswith('runs')


@pytest.mark.parametrize('argument', ['runs', 'theirs=runs'])
def test_scalars_below_the_folder_of_a_run(argument, save):
    """As add_scalars of PyTorch's SummaryWriter writes them: their one name says nothing, and is named."""
    save('runs', [])
    for name in ('d', 'g'):
        save('runs/losses_' + name, [('losses', step, 0.5) for step in (1, 2)])
    with pytest.raises(UsageError) as caught:
        entries.read([argument])
    assert str(caught.value) == (
        'runs/losses_d: has no rows with a column that is known, as e_real, e_fake, e_loss, g_loss, generator_energy, '
        'entropy are (it has step, losses): leave it out, or write it under such a name, of TensorBoard by add_scalar')


def test_event_files_beside_samples(save, tmp_path):
    save('theirs', [('dem_loss', 1, 0.5)])
    numpy.save(tmp_path / 'theirs' / 'samples.npy', numpy.ones((10, 2)))
    entry, = entries.read(['theirs'])
    assert (entry.name, len(entry.x), entry.logs[0].x) == ('theirs', 10, [1])


# ---- of a run

@pytest.mark.usefixtures('without_scores')
def test_event_files_of_a_run(tmp_path, capsys):
    """A run that was killed and goes on with other intervals has one curve, that of its log, and its frames once."""
    run = tmp_path / 'run'

    def train(*arguments):
        train_gaussian_mixture.main(['-o', str(run), '-b', '4', '--snapshot_interval', '3', *arguments])

    def frames():
        path, = (run / 'tensorboard').iterdir()
        events = map(event_pb2.Event.FromString, event_file_loader.RawEventFileLoader(str(path)).Load())
        return [(event.step, value.image.encoded_image_string) for event in events for value in event.summary.value
                if value.HasField('image')]

    train('-n', '5', '--log_interval', '1', '--figure_interval', '2', '--tensorboard')
    os.remove(run / 'snapshot.npz')  # of iteration 5
    train('-n', '8', '--log_interval', '2', '--resume')
    log, expected = only(run / 'tensorboard'), curves_of(Log(run / 'log'))
    assert log.x == expected.x == [1, 2, 3, 4, 6, 8]
    for name, values in expected.values.items():
        assert log.values[name] == pytest.approx(values, rel=1e-6)
    drawn = frames()
    assert [step for step, _ in drawn] == [2, 4, 6, 8]
    for step, png in drawn:
        assert png == (run / 'figures' / 'frames' / '{:09d}.png'.format(step)).read_bytes()
    (run / 'tensorboard' / 'events.out.tfevents.1.host').write_text('of somebody else')
    train('-n', '1', '--overwrite')
    assert [path.name for path in (run / 'tensorboard').iterdir()] == ['events.out.tfevents.1.host']
