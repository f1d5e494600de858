"""The log: a JSON list at all times, cheap to extend, read up to where a crash left it."""

import json
import math
import resource
import sys

import pytest

from ddgm.runs.log import Log, curves_of


@pytest.fixture
def log(tmp_path):
    log = Log(tmp_path / 'log')
    log.keep(0)
    return log


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'log'


def test_json_list_at_all_times(log, path):
    assert json.loads(path.read_text()) == []
    entries = [{'iteration': i, 'energy/loss': i / 3} for i in range(1, 6)]
    for n, entry in enumerate(entries, 1):
        log.append(entry)
        assert json.loads(path.read_text()) == entries[:n]
    assert list(log) == entries
    log.flush()
    assert log.keep(2) == 2
    log.append(entries[4])
    assert json.loads(path.read_text()) == [entries[0], entries[1], entries[4]]


@pytest.mark.parametrize('missing', [1, 3, 10, 40])
def test_cut_short(log, path, missing):
    for i in range(1, 4):
        log.append({'iteration': i, 'energy/loss': 0.25})
    path.write_bytes(path.read_bytes()[:-missing])
    entries = list(log)
    assert len(entries) >= 2
    assert entries == [{'iteration': i, 'energy/loss': 0.25} for i in range(1, len(entries) + 1)]
    assert log.keep(3) == len(entries)
    assert json.loads(path.read_text()) == entries


@pytest.mark.parametrize('line', [
    b'[3]', b'7', b'{"epoch": 3}', b'{"iteration": "3"}', b'\xff', 60_000 * b'[', b'"' + 200_000 * b'x' + b'"'])
def test_what_is_no_entry_ends_it(log, path, line):
    log.append({'iteration': 1})
    path.write_bytes(path.read_bytes().replace(b'\n]', b',\n' + line + b',\n{"iteration": 2}\n]'))
    assert list(log) == [{'iteration': 1}]


def test_not_there(log, path):
    path.unlink()
    assert list(log) == []


@pytest.mark.skipif(sys.platform == 'win32', reason='no limits of files there')
@pytest.mark.parametrize('room', [0, 1, 10, 30])
def test_full_disk(log, path, room):
    """What does not fit leaves the log as it was; the next entry that fits goes in."""
    log.append({'iteration': 1, 'note': 'short'})
    size = path.stat().st_size
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, hard))
    try:
        with pytest.raises(OSError, match='large'):
            log.append({'iteration': 2, 'note': 200 * 'long'})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert json.loads(path.read_text()) == [{'iteration': 1, 'note': 'short'}]
    log.append({'iteration': 3})
    assert [entry['iteration'] for entry in json.loads(path.read_text())] == [1, 3]


# ---- as curves

def test_curves():
    curve = curves_of([
        {'iteration': 10, 'elapsed_time': 0.5, 'energy/positive': -1.0, 'energy/negative': 2, 'energy/loss': -3.0,
         'generator/loss': 4.0, 'generator/energy': 5.0, 'generator/entropy': 6.0},
        {'iteration': 20, 'elapsed_time': 0.7, 'energy/positive': -1.5, 'energy/negative': 2.5, 'energy/loss': -4.0,
         'generator/loss': 4.5, 'generator/energy': 5.5, 'generator/entropy': 6.5}])
    assert (curve.unit, [*curve.x]) == ('iteration', [10, 20])
    assert {name: [*values] for name, values in curve.values.items()} == {
        'energy/positive': [-1, -1.5], 'energy/negative': [2, 2.5], 'energy/loss': [-3, -4],
        'generator/loss': [4, 4.5], 'generator/energy': [5, 5.5], 'generator/entropy': [6, 6.5]}


def test_curves_with_gaps():
    curve = curves_of([
        {'iteration': 1, 'energy/loss': 1.0}, {'iteration': 2, 'generator/loss': None},
        {'iteration': 3, 'energy/loss': 'lost', 'generator/loss': 2.0}, {'iteration': 10 ** 400}])
    assert [*curve.x] == pytest.approx([1, 2, 3, math.nan], nan_ok=True)
    assert {name: [*values] for name, values in curve.values.items()} == {
        'energy/loss': pytest.approx([1, math.nan, math.nan, math.nan], nan_ok=True),
        'generator/loss': pytest.approx([math.nan, math.nan, 2, math.nan], nan_ok=True)}


def test_curves_of_an_empty_log():
    assert curves_of([]) is None
