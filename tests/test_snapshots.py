"""Snapshots: two are kept; one that is damaged in any way is recognised, and the one before it is used."""

import os

import numpy
import pytest

from ddgm.runs import snapshots
from ddgm.runs.snapshots import EARLIER, NEWEST
from ddgm.support.errors import UsageError

RUN = {'task': 'gaussian_mixture', 'seed': 0}


class State:
    """With what a run's state has for snapshots."""

    def __init__(self, value, name='value'):
        self.value = numpy.asarray(value, dtype=numpy.float32)
        self.name = name

    def serialize(self, serializer):
        self.value = serializer(self.name, self.value)


@pytest.fixture
def folder(tmp_path):
    """With the snapshots of a state of ones and, before it, one of zeros."""
    for value in (0, 1):
        snapshots.save(tmp_path, State(numpy.full(1000, value)), RUN)
    return tmp_path


def loaded(folder):
    """The number in the state that is loaded, and what was passed over."""
    state = State(numpy.full(1000, -1))
    passed_over = snapshots.load(folder, state, RUN)
    assert len(set(state.value.tolist())) == 1
    return state.value[0], passed_over


def refusal(folder, run=RUN, name='value', cure='start over with --overwrite'):
    """The one line with which it can't go on."""
    with pytest.raises(UsageError, match=cure) as caught:
        snapshots.load(folder, State(numpy.full(1000, -1), name), run)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_there_and_back(folder):
    assert loaded(folder) == (1, {})
    assert sorted(os.listdir(folder)) == [NEWEST, EARLIER]


def test_none(tmp_path):
    assert loaded(tmp_path) == (-1, {})


def test_two_are_kept(folder):
    """And stay readable by Chainer's users, as an .npz of arrays."""
    for name, value in ((NEWEST, 1), (EARLIER, 0)):
        with numpy.load(folder / name) as file:
            assert (file['value'] == value).all()


def test_stopped_between_two_names(folder):
    """The earlier one has its new name and the new one not yet."""
    os.replace(folder / NEWEST, folder / EARLIER)
    assert loaded(folder) == (1, {})
    snapshots.save(folder, State(numpy.full(1000, 2)), RUN)
    assert loaded(folder) == (2, {})
    (folder / NEWEST).unlink()
    assert loaded(folder) == (1, {})


def test_failed_save_leaves_both(folder, monkeypatch):
    def fail(file, arrays):
        file.write(b'half of the ne')
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr(snapshots, 'write_arrays', fail)
    with pytest.raises(OSError, match='No space'):
        snapshots.save(folder, State(numpy.zeros(3)), RUN)
    assert sorted(os.listdir(folder)) == [NEWEST, EARLIER]
    assert loaded(folder) == (1, {})


def test_cut_at_every_twentieth(folder):
    path = folder / NEWEST
    content = path.read_bytes()
    for twentieth in range(20):
        path.write_bytes(content[:len(content) * twentieth // 20])
        value, passed_over = loaded(folder)
        assert value == 0
        assert list(passed_over) == [path]
        assert '\n' not in passed_over[path]


def test_flipped_bytes(folder, rng):
    """Of hundreds of damaged ones none is believed, but where the flip is in what no program reads."""
    path = folder / NEWEST
    content = path.read_bytes()
    n_harmless = 0
    for _ in range(300):
        damaged = bytearray(content)
        for place in rng.integers(len(content), size=rng.integers(1, 4)):
            damaged[place] ^= rng.integers(1, 256)
        path.write_bytes(damaged)
        value, passed_over = loaded(folder)
        assert (value, list(passed_over)) in ((0, [path]), (1, []))
        n_harmless += value
    assert n_harmless < 60  # dates, versions and attributes in the archive's lists


def test_other_number_with_a_right_archive(folder):
    """Which the checksums of the archive itself would believe."""
    with numpy.load(folder / NEWEST) as file:
        arrays = dict(file)
    arrays['value'][17] += 1e-6
    with open(folder / NEWEST, 'wb') as file:
        numpy.savez(file, **arrays)
    assert loaded(folder) == (0, {folder / NEWEST: 'its checksum is wrong'})


@pytest.mark.parametrize('content', [b'', b'PK', b'\x93NUMPY', b'{}'])
def test_both_damaged(folder, content):
    for name in snapshots.NAMES:
        (folder / name).write_bytes(content)
    line = refusal(folder)
    assert all('{}: damaged'.format(folder / name) in line for name in snapshots.NAMES)


def test_of_another_run(folder):
    line = refusal(folder, {'task': 'swiss_roll', 'seed': 0, 'width': 1.0}, cure='change settings.json back')
    assert 'another run (task gaussian_mixture, not swiss_roll, width None, not 1.0)' in line
    assert NEWEST in line
    assert '--overwrite' not in line  # the run is whole


def test_of_an_earlier_version_that_lacked_a_setting(folder):
    """It counts as what changes nothing."""
    state = State(numpy.zeros(1000))
    assert snapshots.load(folder, state, {**RUN, 'new': 0}, unless_told={'new': 0}) == {}
    assert state.value[0] == 1
    with pytest.raises(UsageError, match='another run .new 0, not 1.'):
        snapshots.load(folder, state, {**RUN, 'new': 1}, unless_told={'new': 0})


def test_of_another_network(folder):
    assert 'does not fit this run' in refusal(folder, name='other')


def test_of_an_older_version(folder):
    """Without format and checksum, as they were until snapshots had them."""
    with open(folder / NEWEST, 'wb') as file:
        numpy.savez(file, value=numpy.zeros(1000))
    assert 'older version' in refusal(folder)
    with open(folder / NEWEST, 'wb') as file:
        numpy.save(file, numpy.arange(5.0))
    assert 'not a snapshot' in refusal(folder)


def test_of_a_newer_version(folder, monkeypatch):
    monkeypatch.setattr(snapshots, 'FORMAT', snapshots.FORMAT + 1)
    snapshots.save(folder, State(numpy.zeros(1000)), RUN)
    monkeypatch.undo()
    assert 'another version' in refusal(folder)


def test_that_can_not_be_opened(folder):
    """It may be whole, so the run does not go on from an earlier one."""
    (folder / NEWEST).unlink()
    (folder / NEWEST).mkdir()
    assert 'can\'t be read' in refusal(folder)


@pytest.mark.parametrize('value', [numpy.nan, numpy.inf])
def test_number_that_is_not_finite(folder, value, monkeypatch):
    """It is not saved, and a file that has one is not gone on from."""
    numbers = numpy.full(1000, 2.0)
    numbers[17] = value
    with pytest.raises(FloatingPointError, match='value'):
        snapshots.save(folder, State(numbers), RUN)
    assert sorted(os.listdir(folder)) == [NEWEST, EARLIER]
    assert loaded(folder) == (1, {})
    with monkeypatch.context() as patch:
        patch.setattr(snapshots, '_check_finite', lambda arrays: None)
        snapshots.save(folder, State(numbers), RUN)
    assert 'does not fit this run' in refusal(folder)
