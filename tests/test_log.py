"""The log: a JSON list at all times, cheap to extend, read up to where a crash left it."""

import json
import math
import resource
import sys

import numpy
import pytest

from ddgm.runs import log as log_module
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


# ---- a long log is cut in place

def entry(i):
    return {'iteration': i, 'elapsed_time': i / 8, 'energy/loss': -1e-7 / i}


@pytest.fixture(params=[0, 1, 2, 3, 500, 3000])
def many(request, log):
    """As many entries, at every tenth iteration."""
    for i in range(1, request.param + 1):
        log.append(entry(10 * i))
    return request.param


@pytest.mark.parametrize('last', [0, 9, 10, 15, 20, 4_444, 29_990, 30_000, 10 ** 9])
def test_cut_in_place(log, path, many, last):
    """No line but those of a bisection is parsed, and no other file is written."""
    number, expected = path.stat().st_ino, [entry(10 * i) for i in range(1, many + 1) if 10 * i <= last]
    assert log.count(last) == len(expected)
    assert log.keep(last) == len(expected)
    assert json.loads(path.read_text()) == list(log) == expected
    assert path.stat().st_ino == number
    log.append(entry(10 ** 6))
    assert json.loads(path.read_text()) == [*expected, entry(10 ** 6)]


def test_log_that_ends_where_it_should_is_not_touched(log, path):
    for i in range(1, 100):
        log.append(entry(i))
    path.chmod(0o444)
    before = path.stat().st_mtime_ns
    assert log.keep(99) == 99
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize('step', [0, 1, 2])
def test_crash_while_it_is_cut(log, path, monkeypatch, step):
    """Before it is closed, after a byte of the end, after the end."""
    for i in range(1, 1000):
        log.append(entry(i))

    def fail(file, content):
        file.write(content[:step])
        raise KeyboardInterrupt
    with monkeypatch.context() as context:
        context.setattr(log_module, '_write', fail)
        with pytest.raises(KeyboardInterrupt):
            log.keep(700)
    assert list(log) == [entry(i) for i in range(1, 701)]
    assert Log(path).keep(650) == 650
    assert json.loads(path.read_text()) == [entry(i) for i in range(1, 651)]


@pytest.mark.parametrize(('old', 'new'), [
    (b'"iteration": 431,', b'"iteration": 431;'), (b'"iteration": 431', b'"iteratiom": 431'),
    (b'{"iteration": 431', b'"iteration": 431'), (b',\n{"iteration": 431', b',{"iteration": 431'),
    (b'"iteration": 431', b'"iteration": 43\0'), (b'"iteration": 431', b'"iteration": 431.5'),
    (b'"iteration": 431', b'"iteration": --31')])
def test_damage_in_the_middle_of_a_long_log(log, path, old, new):
    """Found without parsing, unless it looks like a number; then the log is read up to there."""
    for i in range(1, 1000):
        log.append(entry(i))
    content = path.read_bytes()
    path.write_bytes(content.replace(old, new))
    assert path.read_bytes() != content
    one_line = b',{"iteration": 431' in new  # two entries on one line are two entries all the same
    looks_like_numbers = new.endswith((b'31.5', b'--31'))
    n = 999 if one_line else 430
    assert [number['iteration'] for number in log] == [*range(1, n + 1)]
    if not looks_like_numbers:
        assert log.count(999) == log.keep(999) == n
        assert json.loads(path.read_text()) == [entry(i) for i in range(1, n + 1)]


def test_entries_with_other_names(log, path):
    """Of another version, say: they are parsed, each."""
    log.append({'iteration': 1, 'note': 'text'})
    for i in range(2, 50):
        log.append(entry(i))
    assert log.count(20) == log.keep(20) == 20
    assert [number['iteration'] for number in json.loads(path.read_text())] == [*range(1, 21)]


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


def test_curves_of_a_few_entries_have_them_all():
    entries = [{'iteration': i, 'energy/loss': math.sin(i)} for i in range(1, 2 ** 15 + 1)]
    curve = curves_of(entries)
    assert [*curve.x] == [entry['iteration'] for entry in entries]
    assert [*curve.values['energy/loss']] == [entry['energy/loss'] for entry in entries]


@pytest.mark.parametrize('n', [2 ** 15 + 1, 2 ** 16, 100_003, 400_000])
def test_curves_of_many_entries_look_the_same(n, rng):
    """Each part of the axis has its lowest and its highest value, gaps and peaks of a single entry among them."""
    values = rng.normal(size=n)
    values[n // 2], values[n // 3], values[n // 5: n // 4] = 50, -50, math.nan
    curve = curves_of({'iteration': 10 * i, 'energy/loss': value, 'generator/loss': 0.5}
                      for i, value in enumerate(values.tolist(), 1))
    assert len(curve.x) < 50_000
    x, shown = numpy.array(curve.x), numpy.array(curve.values['energy/loss'])
    assert (x[0], x[-1]) == (10, 10 * n)
    assert (numpy.diff(x) > 0).all()
    assert (numpy.array(curve.values['generator/loss']) == 0.5).all()
    assert curve.values.keys() == {'energy/loss', 'generator/loss'}
    edges = numpy.linspace(0, n, 101).astype(int)
    for first, last in zip(edges, edges[1:]):
        inner, wider = values[first + 70:last - 70], shown[(x > 10 * first) & (x <= 10 * last)]
        assert len(inner) > 180
        if not numpy.isnan(inner).all():
            assert numpy.nanmin(wider) <= numpy.nanmin(inner)
            assert numpy.nanmax(wider) >= numpy.nanmax(inner)
    assert (shown.tolist().count(50), shown.tolist().count(-50)) == (1, 1)
    assert numpy.isin(shown[~numpy.isnan(shown)], values).all()
    assert numpy.isnan(shown[(x > 10 * n / 5 + 5000) & (x < 10 * n / 4 - 5000)]).all()


def test_curves_of_an_empty_log():
    assert curves_of([]) is None
