"""The log: a JSON list at all times, cheap to extend, read up to where a crash left it."""

import json
import math
import os
import resource
import sys

import numpy
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


def entry(i):
    return {'iteration': i, 'elapsed_time': i / 8, 'energy/loss': -1e-7 / i}


def entries(n):
    return [entry(i) for i in range(1, n + 1)]


def in_place(path):
    """What the file holds for whoever reads JSON."""
    return json.loads(path.read_text())


def test_json_list_at_all_times(log, path):
    assert in_place(path) == []
    for i in range(1, 6):
        log.append(entry(i))
        assert in_place(path) == list(log) == entries(i)
        assert path.read_text().count('\n') == i + 2
    log.flush()
    assert log.count(2) == log.keep(2) == 2
    log.append(entry(5))
    assert in_place(path) == [entry(1), entry(2), entry(5)]


@pytest.mark.parametrize('content', [
    json.dumps(entries(5), indent=4), json.dumps(entries(5)), json.dumps(entries(5), separators=(',', ':')),
    '\r\n'.join(['[', *(json.dumps(entry) + ',' for entry in entries(4)), json.dumps(entry(5)), ']', '']),
    '\ufeff' + json.dumps(entries(5), indent=1), '\ufeff[\n{}\n]\n'.format(',\n'.join(map(json.dumps, entries(5)))),
    '\n\n' + json.dumps(entries(5)).replace('}, ', '}\n\n,')])
@pytest.mark.parametrize('last', [0, 3, 5, 9])
def test_any_layout(content, last, log, path):
    """Of a tool that has gone over it: it is read, kept and extended."""
    path.write_bytes(content.encode())
    n = min(last, 5)
    assert list(log) == entries(5)
    assert log.count(last) == log.keep(last) == n
    assert in_place(path) == entries(n)
    log.append(entry(9))
    assert in_place(path) == [*entries(n), entry(9)]
    assert [*path.parent.iterdir()] == [path]


@pytest.mark.parametrize('missing', range(0, 75, 6))
@pytest.mark.parametrize('indent', [None, 4])
def test_cut_short(log, path, missing, indent):
    """By a crash: all before the last entry are left, and there is nothing to be set aside."""
    for i in range(1, 4):
        log.append(entry(i))
    path.write_text((json.dumps(entries(3)) if indent else path.read_text())[:-missing or None])
    found = list(log)
    assert found in (entries(2), entries(3))
    assert log.keep(3) == len(found)
    assert in_place(path) == found
    assert [*path.parent.iterdir()] == [path]


@pytest.mark.parametrize('damage', [
    b'[3]', b'7', b'{"epoch": 3}', b'{"iteration": "3"}', b'\xff', 60_000 * b'[', b'"' + 200_000 * b'x' + b'"',
    b'{"iteration": 3;}', b'{"iteration": ' + 5000 * b'3' + b'}', b'\0\0\0', b'"iteration": 431'])
@pytest.mark.parametrize('last', [1, 3000])
def test_damage_in_the_middle(log, path, damage, last):
    """The log is read up to there, and what there was stays beside it, each time."""
    for i in range(1, 3001):
        log.append(entry(i))
    damaged = path.read_bytes().replace(b'\n{"iteration": 431,', b'\n' + damage + b',\n{"iteration": 431,')
    for name in ('log.damaged', 'log.damaged.1', 'log.damaged.2'):
        path.write_bytes(damaged)
        n = min(430, last)
        assert list(log) == entries(430)
        assert log.count(last) == log.keep(last) == n
        assert in_place(path) == entries(n)
        assert path.with_name(name).read_bytes() == damaged
    assert len([*path.parent.iterdir()]) == 4


@pytest.mark.parametrize('content', [
    b'text', b'{"iteration": 1}', b'[3, 4]', 'täxt'.encode('utf-16'), b'\0' * 100, None])
def test_what_can_not_be_read_at_all_is_set_aside(log, path, content):
    path.unlink()
    path.mkdir() if content is None else path.write_bytes(content)
    assert list(log) == []
    assert log.keep(9) == 0
    assert in_place(path) == []
    assert content is None or path.with_name('log.damaged').read_bytes() == content


def test_not_there(log, path):
    path.unlink()
    assert list(log) == []
    assert log.keep(9) == 0
    assert [*path.parent.iterdir()] == [path]


def test_log_that_ends_where_it_should_is_not_touched(log, path):
    for i in range(1, 100):
        log.append(entry(i))
    before = path.stat().st_mtime_ns, path.stat().st_ino
    assert log.keep(99) == 99
    assert before == (path.stat().st_mtime_ns, path.stat().st_ino)


@pytest.mark.parametrize('damage', [b'', b'text'])
def test_crash_while_it_is_written_anew(log, path, monkeypatch, damage):
    """All stays as it was."""
    for i in range(1, 10):
        log.append(entry(i))
    path.write_bytes(path.read_bytes() + damage)

    def crash(*paths):
        raise KeyboardInterrupt
    with monkeypatch.context() as context:
        context.setattr(os, 'fsync', crash)
        with pytest.raises(KeyboardInterrupt):
            log.keep(7)
    assert list(log) == entries(9)
    assert [*path.parent.iterdir()] == [path]
    assert Log(path).keep(6) == len(in_place(path)) == 6


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

def test_curves_with_gaps():
    curve = curves_of([
        {'iteration': 1, 'energy/loss': 1.0}, {'iteration': 2, 'generator/loss': None},
        {'iteration': 3, 'energy/loss': 'lost', 'generator/loss': 2.0}, {'iteration': 10 ** 400}])
    assert curve.unit == 'iteration'
    assert curve.x == pytest.approx([1, 2, 3, math.nan], nan_ok=True)
    assert curve.values == {
        'energy/loss': pytest.approx([1, math.nan, math.nan, math.nan], nan_ok=True),
        'generator/loss': pytest.approx([math.nan, math.nan, 2, math.nan], nan_ok=True)}


def test_curves_of_a_few_entries_have_them_all():
    entries = [{'iteration': i, 'energy/loss': math.sin(i)} for i in range(1, 2 ** 15 + 1)]
    curve = curves_of(entries)
    assert curve.x == [entry['iteration'] for entry in entries]
    assert curve.values['energy/loss'] == [entry['energy/loss'] for entry in entries]


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
