"""The tools beside the package: what they decide and the commands that they run; not how long anything takes."""

import dataclasses
import importlib
import importlib.metadata
import importlib.util
import json
import math
import os
import pathlib
import subprocess
import sys
import types

import numpy
import pytest
from conftest import ROOT, is_stand_in, refusal
from PIL import Image

from benchmarks.checks import gpu, rounding, same_bits
from benchmarks.pictures import beyond_the_post, post as post_pictures
from benchmarks.results import (
    __main__ as measure,
    catalogue,
    density,
    fresh_seeds,
    likelihood,
    plane,
    plane_compiled,
    published,
    published_digits,
    published_icons,
    record,
    scale,
)
from benchmarks.speed import convolution, large_data
from ddgm.data.image_folder import ImageFolder
from ddgm.presets import PRESETS
from ddgm.runs import command_line
from ddgm.runs.log import Log
from ddgm.studies import study
from ddgm.studies.__main__ import STUDIES


@pytest.mark.parametrize('run', post_pictures.RUNS, ids=lambda run: run.name)
def test_commands_of_the_posts_pictures(run, tmp_path):
    script, *flags = run.command(tmp_path, 'somewhere' if run.task in command_line.DATA_FOLDERS else None)
    assert (ROOT / script).exists()
    request = command_line.parse(run.task, '', flags)
    assert request.settings().iterations == run.iterations()
    assert (request.preset, request.resume) == (run.preset(), False)
    (tmp_path / 'settings.json').touch()
    assert run.command(tmp_path, None)[-1] == '--resume'


@pytest.mark.parametrize('flag', ['--out', '--small'])
def test_pictures_among_the_icons(flag, tmp_path):
    assert 'give another folder to ' + flag in refusal(post_pictures.main, [
        '--out', str(tmp_path / 'post'), '--images', str(tmp_path / 'icons'), flag, str(tmp_path / 'icons' / 'post')])
    assert not list(tmp_path.iterdir())


def test_finished_runs_are_known(tmp_path):
    """By preset, length and the last picture, not by the mere presence of metrics."""
    run = post_pictures.RUNS[2]
    assert not run.is_done(tmp_path)
    (tmp_path / 'figures').mkdir()
    (tmp_path / 'settings.json').write_text(json.dumps({'preset': run.preset()}))
    (tmp_path / 'metrics.json').write_text(json.dumps({'iterations': run.iterations()}))
    assert not run.is_done(tmp_path)
    for name in (*run.copies, 'training.gif'):
        (tmp_path / 'figures' / name).touch()
    assert run.is_done(tmp_path)
    (tmp_path / 'metrics.json').write_text(json.dumps({'iterations': run.iterations() - 1}))
    assert not run.is_done(tmp_path)
    (tmp_path / 'metrics.json').write_text(json.dumps({'iterations': run.iterations()}))
    (tmp_path / 'settings.json').write_text(json.dumps({'preset': run.preset(), 'n_experts': 64}))
    assert not run.is_done(tmp_path)
    (tmp_path / 'settings.json').write_text(json.dumps({'preset': 'grey'}))
    assert not run.is_done(tmp_path)


def test_small_copies(tmp_path, rng):
    frames = tmp_path / 'figures' / 'frames'
    frames.mkdir(parents=True)
    for i in range(120):
        Image.fromarray(numpy.full((50, 50, 3), i, dtype=numpy.uint8)).save(frames / '{:09d}.png'.format(i))
    post_pictures.make_small(frames.parent / 'training.gif', tmp_path / 'small.gif')
    with Image.open(tmp_path / 'small.gif') as image:
        assert image.size == (240, 240)
        assert image.n_frames == 30
        image.seek(image.n_frames - 1)
        assert image.convert('RGB').getpixel((100, 100)) == (119, 119, 119)
    page = Image.new('RGB', (200, 300), 'white')
    page.paste((0, 0, 0), (50, 100, 150, 150))  # twice as wide as high
    page.save(tmp_path / 'page.png')
    post_pictures.make_small(tmp_path / 'page.png', tmp_path / 'small.png')
    with Image.open(tmp_path / 'small.png') as image:
        assert image.size == (440, 220)


def test_pictures_beyond_the_post_are_drawn_with_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(post_pictures, 'RUNS', [dataclasses.replace(run, copies={}) for run in post_pictures.RUNS])
    monkeypatch.setattr(post_pictures.Run, 'is_done', lambda run, out: True)
    monkeypatch.setattr(beyond_the_post, 'draw_log_densities', lambda path, published: Image.new(
        'RGB', (1200, 450)).save(path))
    out, small = tmp_path / 'out', tmp_path / 'small'
    post_pictures.main(['--out', str(out), '--small', str(small)])
    sizes = {}
    for path in small.iterdir():
        with Image.open(path) as image:
            sizes[path.name] = image.width
    assert sizes == {name: beyond_the_post.WIDTHS.get(name, 440) for name in beyond_the_post.PICTURES}


def test_three_densities_on_one_scale(tmp_path):
    """Here the packaged model stands for the run of the published settings, too."""
    beyond_the_post.draw_log_densities(tmp_path / 'maps.png', 'ten_gaussians')
    with Image.open(tmp_path / 'maps.png') as image:
        assert image.size == (1200, 450)


def test_scale_of_shuffled_data(digits_folder, pictures_folder, monkeypatch, rng):
    x = rng.standard_normal((50, 2, 3))
    mixed = scale.shuffled(x, rng)
    assert not numpy.array_equal(mixed, x)
    assert numpy.array_equal(numpy.sort(mixed, axis=0), numpy.sort(x, axis=0))
    # The density of a unit Gaussian at its own samples: −log 2πe in two dimensions.
    assert scale.log_likelihood_of_a_gaussian(rng.standard_normal((100_000, 2))) == pytest.approx(-2.838, abs=0.02)
    monkeypatch.setattr(scale, 'N_SCORED', 60)
    rows = scale.rows(str(digits_folder), str(pictures_folder))
    assert [row[0] for row in rows][:3] == ['`kl_generator_data`', '`log_likelihood`', '`kl_energy_data`']
    real, bad = ([row[i] for row in rows if row[2] == 'lower' and row[1] != 'icons'] for i in (3, 4))
    assert all(numpy.less(real, bad))


def test_convolutions_take_turns_and_are_recorded(tmp_path, pictures_folder, monkeypatch):
    """Both sides train; what was measured is written with what made it; the links are ours again."""
    monkeypatch.setattr(convolution, 'CASES', [('post', 0.03, 4, 2)])
    for link in convolution.LINKS:
        monkeypatch.setattr(link, 'forward', link.forward)
    monkeypatch.setattr(record, 'ROOT', tmp_path)
    (tmp_path / 'docs' / 'results').mkdir(parents=True)
    monkeypatch.setattr(sys, 'argv', [
        str(tmp_path / 'a' / 'convolution.py'), '--images', str(pictures_folder), '--record'])
    convolution.main()
    written = json.loads((tmp_path / 'docs' / 'results' / 'convolution.json').read_text())
    assert written['made']['command'] == 'python -m a.convolution --images folder --record'
    assert 'NumPy' in written['made']['versions']
    (case, ours, theirs, ratio, rounds), = written['tables']['steps']['rows']
    assert case == '`post`, width 0.03, batches of 4'
    assert ours > 0
    assert theirs > 0
    assert ratio['from'] <= ratio['value'] <= ratio['to']
    assert rounds == 2


def test_what_differs_between_two_runs(tmp_path):
    """Times, versions and places don't; a bit of an array, an entry of the log or a missing file does."""
    first, second = tmp_path / 'first', tmp_path / 'second'
    for i, folder in enumerate((first, second)):
        folder.mkdir()
        numpy.savez(folder / 'snapshot.npz', W=numpy.float32(0.5), elapsed_time=i)
        (folder / 'log').write_text(json.dumps([{'iteration': 1, 'energy/loss': 0.25, 'elapsed_time': i}]))
        (folder / 'settings.json').write_text(json.dumps({'seed': 0, 'versions': {'numpy': i}, 'new' * i: 1}))
    (first / 'a-seed0-20.json').write_text('{"shown": "x"}')
    (second / 'a-seed0-0123abcd.json').write_text('{"shown": "y"}')
    assert same_bits.differences(first, second) == []
    (second / 'a-seed0-0123abcd.json').write_text('{"found": 1}')
    numpy.savez(second / 'snapshot.npz', W=numpy.nextafter(numpy.float32(0.5), numpy.float32(1)))
    (second / 'log').write_text('[]')
    (second / 'samples.npz').touch()
    (second / 'settings.json').write_text(json.dumps({'seed': 1}))
    assert same_bits.differences(first, second) == [
        'a-seed0.json', 'log', 'samples.npz', 'settings.json', 'snapshot.npz']


def test_what_two_runs_print_differs_not_by_chance():
    """Times, the machine's load, a classifier's name, and that only the first of them trains it."""
    classifier = 'This machine is busy ...\nTraining the classifier ...\n99% are classified rightly; kept as x.npz\n'
    same = {same_bits.without_chance(
        '{}Trained: 4 iterations in {}, figures in {} s\nclassifier    {}\n'.format(*varying))
        for varying in (('', '0:00:02', 1.5, 'f28b'), (classifier, '0:12:00', 12, '2f6f'))}
    assert same == {'Trained: 4 iterations in , figures in \n'}


def test_random_pictures_are_always_the_same(tmp_path):
    names = ['000/000000.jpg', '000/000001.png', '002/020001.png']
    for folder in ('a', 'b'):
        for number in (0, 1, 20_001):
            large_data.make_picture(tmp_path / folder, number)
    data = ImageFolder(tmp_path / 'a')
    assert (data.paths, data.left_out) == (names, [])
    assert all((tmp_path / 'a' / name).read_bytes() == (tmp_path / 'b' / name).read_bytes() for name in names)


def test_log_that_is_measured_is_as_a_run_writes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(large_data, 'ENTRIES', 2000)
    large_data.write_log(tmp_path / 'log')
    entries = json.loads((tmp_path / 'log').read_text())
    assert [entry['iteration'] for entry in entries] == list(range(1, 2001))
    log = Log(tmp_path / 'again')
    log.keep(0)
    for entry in entries:
        log.append(entry)
    assert (tmp_path / 'again').read_bytes() == (tmp_path / 'log').read_bytes()


@pytest.mark.parametrize(('values', 'others', 'p'), [
    ([1, 2], [3, 4], 2 / 6), ([1, 4], [2, 3], 1), ([1, 2, 3, 4], [5, 6], 2 / 15), ([1, 3, 5], [2], 1),
    ([1, 1, 1, 1], [1, 1], 1), ([1, 2, 3], [9], 2 / 4), ([1, 1, 2], [2], 1)])
def test_rank_sums(values, others, p):
    """Of choices that can be counted by hand; in the last two ranks that is half of them, then all."""
    assert plane.rank_sum_p(values, others) == pytest.approx(p)
    assert plane.rank_sum_p([-value for value in values], [-value for value in others]) == pytest.approx(p)


def test_rank_sums_of_many():
    """Of all choices of half of them only the lowest and the highest are as far from the middle."""
    values = [*range(48)]
    assert plane.rank_sum_p(values[:24], values[24:]) == pytest.approx(2 / math.comb(48, 24))
    assert plane.rank_sum_p(values[::2], values[1::2]) == pytest.approx(0.81, abs=0.01)  # by its normal distribution


def test_metrics_with_numba_beside_those_without():
    runs = {how: [{'iterations': 9, 'within_0.1': value, 'coverage': None} for value in values]
            for how, values in (('numba', [1.0, 2.0, 3.0]), ('numpy', [4.0, 5.0, 6.0]))}
    table = plane_compiled.tables({'swiss_roll/' + how: found for how, found in runs.items()})['swiss_roll']
    assert table['columns'] == ['metric', 'with numba', 'NumPy alone', 'p']
    rows = {row[0]: row[1:] for row in table['rows']}
    assert rows['`within_0.1`'] == [
        {'value': 2.0, 'from': 1.5, 'to': 2.5}, {'value': 5.0, 'from': 4.5, 'to': 5.5}, 0.1]
    assert rows['`coverage`'] == [None, None, None]


def test_table_of_the_plane():
    """The 2016 code's two seeds are lower than all sixteen: of 153 choices two are as far from the middle."""
    names = plane.CODE_OF_2016['swiss_roll']
    runs = [{'iterations': 20_000, 'finished': dict.fromkeys(names, 1.0 + seed), 'running': {'coverage': 0.5}}
            for seed in range(16)]
    table = plane.table('swiss_roll', 1, runs, {'coverage': 0.964})
    assert table['made'] == {'iterations': 20_000}
    rows = {row[0]: row[1:] for row in table['rows']}
    assert rows['`coverage`'] == [
        {'value': 8.5, 'from': 4.75, 'to': 12.2}, '≥ 0.45', [0.577, 0.379], 0.01, 0.964, 0.5]
    assert rows['`blurred_js`'][2:] == [None, None, None, None]
    assert rows['`log_likelihood`'][2] == '−11.7 (seed 1 alone)'
    runs[3] = {'iterations': 20_000, 'finished': {'coverage': 3.5}, 'running': {}}
    of_each = plane.table_of_seeds('swiss_roll', [2, 5], runs[2:4])
    assert of_each['columns'][:3] == ['seed', '`within_0.05`', '`within_0.1`']
    assert of_each['rows'] == [[2, *len(names) * [3.0]], [5, *6 * [None], 3.5, None]]
    runs[3]['finished'] = {}
    assert plane.table('swiss_roll', 1, runs, {})['rows'][0][1:] == [None, None, [0.638, 0.402], None, None, None]


def test_plane_is_scored_twice(tmp_path, monkeypatch):
    """Half-way and at the end, each the finished samples and those of running statistics."""
    monkeypatch.setattr(study.training_state, 'N_SCORED', 100)
    run = study.run_of(plane, 'swiss_roll', 0, 4, {}, {}, tmp_path)
    monkeypatch.setattr(run.reference, 'score', lambda x, *energy: [float(x.mean()), len(energy)])
    measured = plane.measure(run)
    assert measured['seed'] == 0
    half, end = measured['scores']
    assert (half['iterations'], end['iterations']) == (2, 4)
    assert (half['finished'][1], half['running'][1]) == (2, 0)
    assert len({scores[kind][0] for scores in (half, end) for kind in ('finished', 'running')}) == 4


def test_table_of_likelihoods():
    """Where a bracket stays open there is no value, and a Gaussian has no log Z to tell."""
    runs = [{'iterations': 9, 'log_z_lower': -1.0 * seed, 'log_likelihood': value, 'log_likelihood_ppca': 3.0}
            for seed, value in ((1, None), (2, 4.0))]
    table = likelihood.tables({'mnist/post': runs})['mnist']
    assert table['columns'][:4] == ['energy, or Gaussian', 'iterations', '`log_z_lower`', '`log_z_upper`']
    assert table['rows'] == [
        ['`post`', 9, [-1.0, -2.0], [None, None], [None, 4.0], [None, None], [None, None]],
        ['ten principal components', None, None, None, 3.0, None, None]]


def test_density_is_scored_before_and_after_refinement(tmp_path, monkeypatch):
    monkeypatch.setattr(density, 'train_by_script', lambda run: tmp_path / 'run')
    monkeypatch.setattr(density, 'quietly', lambda main, run, *words: (
        (tmp_path / 'run-refined').mkdir(), (tmp_path / 'run-refined' / 'metrics.json').write_text('{"a": 2}'),
        (tmp_path / 'run-refined' / 'samples.png').touch()))
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'metrics.json').write_text('{"a": 1}')
    found = density.measure(None)
    assert [scores['a'] for scores in found['scores']] == [1, 2]
    density.draw({'swiss_roll': [found]}, tmp_path)
    assert (tmp_path / 'density_swiss_roll.png').exists()
    found['scores'] = [dict.fromkeys(density.SHOWN['swiss_roll'], score) for score in (0.5, 0.75)]
    monkeypatch.setattr(density, 'real_scores', lambda task: dict.fromkeys(density.SHOWN[task], 1.0))
    rows = {row[0]: row[1:] for row in density.tables({'swiss_roll': [found]})['swiss_roll']['rows']}
    assert rows == {
        'samples of the generator': 5 * [[0.5]], 'refined under the energy model': 5 * [[0.75]],
        'aim, refined': [None, '≥ 0.99', None, None, '≥ 0.95'], 'real data': 5 * [1.0]}


def test_presets_that_were_tuned_are_measured_as_they_are():
    """Each case has its preset's length, but icons, which are trained no longer than those of the post there."""
    for name, case in fresh_seeds.CASES.items():
        settings = case.settings(3, fresh_seeds.ITERATIONS)
        assert name == '{}/{}'.format(case.task, case.preset)
        if case.task != 'images':
            assert settings == dataclasses.replace(PRESETS[case.task][case.preset].settings, seed=3)
    assert settings == published_icons.CASES['calibrated'].settings(3, published_icons.ITERATIONS)
    fresh = [result for result in catalogue.ALL if result.name.startswith('fresh_')]
    assert [result.cases for result in fresh] == [(name,) for name in fresh_seeds.CASES]
    assert {result.words[-2:] for result in fresh} == {('--first_seed', '3')}


def test_fresh_seeds_are_scored_at_the_end(monkeypatch):
    """And those of the preset `density` as its own study does."""
    monkeypatch.setattr(density, 'measure', lambda run: 'refined too')
    run = types.SimpleNamespace(
        case=fresh_seeds.CASES['gaussian_mixture/density'], settings=types.SimpleNamespace(iterations=7),
        finished=lambda: (None, None, None, 'x', 'E'),
        reference=types.SimpleNamespace(score=lambda x, *energy: {'of': (x, *energy[:1])}, real_data=lambda n: 'real'))
    assert fresh_seeds.measure(run) == 'refined too'
    scores = [{'iterations': 7, 'of': ('x', 'E')}]
    for case, real in (('gaussian_mixture/calibrated', {}), ('mnist/calibrated', {'real': {'of': ('real',)}})):
        run.case = fresh_seeds.CASES[case]
        assert fresh_seeds.measure(run) == {'scores': scores, **real}


def test_tables_of_fresh_seeds(monkeypatch):
    def runs(task, *kinds):
        return [{'scores': [
            {**dict.fromkeys(fresh_seeds.SHOWN[task], kind + seed), 'iterations': 9, 'classifier': 'abc'}
            for kind in kinds], **({'real': {'frechet': 0.1}} if task == 'mnist' else {})} for seed in (0.25, 0.5)]
    monkeypatch.setattr(fresh_seeds, 'real_scores', lambda task: {'coverage': 1.0})
    found = fresh_seeds.tables({
        'gaussian_mixture/calibrated': runs('gaussian_mixture', 0), 'swiss_roll/density': runs('swiss_roll', 0, 1),
        'mnist/convolutional': runs('mnist', 2)})
    rows = {task: {row[0]: row[1:] for row in table['rows']} for task, table in found.items()}
    assert [*rows['gaussian_mixture']] == ['`calibrated`', 'aim, `calibrated`', 'real data']
    assert rows['gaussian_mixture']['real data'] == [*7 * [None], 1.0, None]
    assert rows['gaussian_mixture']['`calibrated`'] == [9, *8 * [[0.25, 0.5]]]
    assert rows['gaussian_mixture']['aim, `calibrated`'] == [
        None, '≥ −1.6', None, None, '≤ 0.3', '≥ 0.82', None, '≥ 0.93', '≤ 0.004']
    assert rows['swiss_roll'] == {
        '`density`': [9, *6 * [[0.25, 0.5]]], '`density`, refined': [9, *6 * [[1.25, 1.5]]],
        'aim, `density`, refined': [None, None, '≥ 0.99', None, None, '≥ 0.95', None],
        'real data': [*5 * [None], 1.0, None]}
    assert rows['mnist']['real data'] == [None, None, 0.1, *4 * [None]]
    assert found['mnist']['made'] == {'iterations': None, 'classifier': 'abc'}


def test_runs_of_scripts_go_on(tmp_path, monkeypatch):
    """The script gets what the case says; a finished run is left alone."""
    run, called = study.run_of(density, 'swiss_roll', 3, 7, {}, {}, tmp_path), []
    monkeypatch.setattr(density, 'quietly', lambda main, *words: called.append([str(word) for word in words]))
    folder = density.train_by_script(run)
    request = command_line.parse('swiss_roll', '', called[0])
    assert (request.preset, request.out) == ('density', str(folder))
    assert (request.settings().seed, request.settings().iterations, request.resume) == (3, 7, False)
    folder.mkdir()
    (folder / 'settings.json').touch()
    density.train_by_script(run)
    assert called[1] == [*called[0], '--resume']
    (folder / 'metrics.json').touch()
    density.train_by_script(run)
    assert len(called) == 2


def test_table_of_published_digits():
    names = published_digits.METRICS

    def runs(*lengths):
        return [{'scores': [
            {**dict.fromkeys(names, 0.5 + seed / 8), 'collapsed': seed == 2, 'classifier': 'abc', 'iterations': length}
            for length in lengths]} for seed in range(3)]
    real = {**dict.fromkeys(names, 0.5), 'collapsed': False, 'classifier': 'abc'}
    table = published.table(
        {'post': runs(2_400, 24_000), 'last_commit': runs(8_000)}, names, published_digits.AIMS, real)
    assert table['columns'] == [
        'metric', '`post`, 2,400 iterations', '`post`, 24,000 iterations', 'aim', 'real data',
        '`last_commit`, 8,000 iterations']
    rows = {row[0]: row[1:] for row in table['rows']}
    seeds = [0.5, 0.625, 0.75]
    assert rows['`collapsed`'] == ['1 of 3', '1 of 3', '0 of 3', '0 of 1', '1 of 3']
    assert rows['`recall`'] == [seeds, seeds, None, 0.5, seeds]
    assert rows['`classifier`'] == ['abc', 'abc', None, 'abc', 'abc']


def test_table_of_published_icons_has_two_aims():
    scores = {**dict.fromkeys(published_icons.METRICS, 0.5), 'frechet_between_halves': 0.02, 'iterations': 2_500}
    table = published_icons.tables({preset: [{'scores': [scores]}] for preset in published_icons.CASES})['published']
    assert table['columns'] == [
        'metric', '`post`, 2,500 iterations', 'aim', 'real data', '`calibrated`, 2,500 iterations',
        "`calibrated`'s aim"]
    rows = {row[0]: row[1:] for row in table['rows']}
    assert rows['`frechet`'] == [[0.5], None, 0.02, [0.5], '≤ half of `post`']
    assert rows['`diversity`'] == [[0.5], '≥ 0.7', None, [0.5], '≥ 0.9']


@pytest.mark.parametrize(('module', 'name', 'marks', 'has_real'), [
    (published_digits, 'post', [2_400, 24_000], True), (published_digits, 'last_commit', [8_000], True),
    (published_digits, 'batch_normalized_energy', [4_000], True), (published_icons, 'post', [2_500], False)])
def test_published_runs(module, name, marks, has_real):
    """When they are scored, and that real data is scored beside them."""
    reference = types.SimpleNamespace(
        score=lambda x, *energy: {'x': x}, real_data=lambda n: 'real' if has_real else None)
    run = types.SimpleNamespace(
        name=name, settings=module.CASES[name].settings(3, module.ITERATIONS), reference=reference,
        states=lambda marks: [types.SimpleNamespace(iteration=mark) for mark in marks],
        finish=lambda state: (None, None, None, state.iteration, None))
    assert module.measure(run) == {
        'scores': [{'iterations': mark, 'x': mark} for mark in marks], 'real': {'x': 'real'} if has_real else None}


# ---- measuring everything

@pytest.fixture
def project(tmp_path, monkeypatch):
    """A repository with a package, a program that measures and its result, where ``measure`` and ``record`` look."""
    def git(*words):
        subprocess.run(['git', '-c', 'user.name=a', '-c', 'user.email=b', *words], cwd=tmp_path, check=True,
                       capture_output=True)

    def commit():
        git('add', '-A')
        git('commit', '-m', 'x', '--allow-empty')
    for folder in ('ddgm/fast', 'benchmarks/results', 'docs/results'):
        (tmp_path / folder).mkdir(parents=True)
    for file in ('ddgm/code.py', 'ddgm/fast/code.py', 'benchmarks/results/tables.py'):
        (tmp_path / file).touch()
    (tmp_path / 'benchmarks' / 'one.py').write_text(
        "import json, pathlib, subprocess\n"
        "commit = subprocess.run(['git', 'rev-parse', '--short', 'HEAD'], capture_output=True, text=True).stdout\n"
        "pathlib.Path('docs/results/one.json').write_text(json.dumps({'made': {'commit': commit.strip()}}))\n"
        "print('measured')\n")
    git('init')
    commit()
    monkeypatch.setattr(record, 'ROOT', tmp_path)
    monkeypatch.setattr(record, 'CODE', ('ddgm',))
    monkeypatch.setattr(catalogue, 'STEP', ('ddgm/fast',))
    monkeypatch.setattr(measure, 'ROOT', tmp_path)
    monkeypatch.setattr(measure, 'RESULTS', tmp_path / 'docs' / 'results')
    monkeypatch.setattr(measure, 'ALL', (catalogue.Result('one', ('-m', 'benchmarks.one'), 90),))
    return tmp_path, commit


@pytest.mark.parametrize(('steps', 'file', 'stays'), [
    (False, 'README', True), (False, 'ddgm/code.py', False), (False, 'benchmarks/one.py', False),
    (True, 'ddgm/code.py', True), (True, 'ddgm/fast/code.py', False), (True, 'benchmarks/one.py', False)])
def test_results_of_the_present_code_are_not_measured_again(steps, file, stays, project, capfd, monkeypatch):
    """One of steps follows their code alone."""
    root, commit = project
    monkeypatch.setattr(measure, 'ALL', (dataclasses.replace(measure.ALL[0], steps=steps),))
    measure.main([])
    with open(root / file, 'a') as changed:
        changed.write('#')
    commit()
    assert 'measured' in capfd.readouterr().out
    measure.main([])
    printed = capfd.readouterr().out
    assert printed.startswith('1 of 1' if stays else '0 of 1')
    assert ('measured' in printed) != stays


def test_list_of_what_is_left(project, capfd):
    path = project[0] / 'docs' / 'results' / 'one.json'
    path.write_text('{"made": {"commit": null}}')
    measure.main(['--list'])
    assert capfd.readouterr().out == (
        '0 of 1 results are of the present code; left: 1.5 hours\n   90 min  one\n')
    assert refusal(measure.main, ['--only', 'two']) == '--only: no two: there are one'


def test_a_result_whose_packages_are_missing_is_left_out(project, capfd, monkeypatch):
    """In a line; the others are measured."""
    other = dataclasses.replace(measure.ALL[0], name='other', packages=('NumPy', 'no-such-package'))
    monkeypatch.setattr(measure, 'ALL', (other, *measure.ALL))
    measure.main([])
    printed = capfd.readouterr().out
    assert 'other is left out: it needs pip install no-such-package\n' in printed
    assert printed.count('measured') == 1


def test_nothing_is_measured_with_code_that_is_not_committed(project):
    root, _ = project
    (root / 'ddgm' / 'code.py').write_text('2')
    assert 'commit first' in refusal(measure.main, [])
    assert not list((root / 'docs' / 'results').iterdir())


@pytest.mark.parametrize(('is_same', 'program_stays'), [(True, True), (False, True), (True, False)])
def test_results_of_code_that_computes_the_same_bits_are_kept(is_same, program_stays, project, capfd, monkeypatch):
    """But not what a program measured that was changed itself."""
    root, commit = project
    result = dataclasses.replace(measure.ALL[0], presets=('a/b',))
    monkeypatch.setattr(measure, 'ALL', (result,))
    measure.main([])
    commit()
    measured, compared = measure.commit_of(result), []
    program = root / ('ddgm/code.py' if program_stays else 'benchmarks/one.py')
    program.write_text(program.read_text() + '#')
    commit()
    monkeypatch.setattr(same_bits, 'compare', lambda *arguments: compared.append(arguments) or is_same)
    path = root / 'docs' / 'results' / 'one.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), 'tables': {}}))
    measure.main(['--same_bits'])
    assert [(commit, data, *more) for commit, data, _, *more in compared] == program_stays * [
        (measured, {}, ('a/b',), 'never')]
    assert measure.is_current(result) == (is_same and program_stays)
    assert json.loads(path.read_text())['made']['commit'] == measured
    assert capfd.readouterr().out.count('measured') == 1


def test_a_result_stays_where_its_program_was_moved(project):
    root, commit = project
    measure.main([])
    commit()
    (root / 'benchmarks' / 'one.py').rename(root / 'benchmarks' / 'two.py')
    result = dataclasses.replace(measure.ALL[0], words=('-m', 'benchmarks.two'))
    commit()
    assert not measure.is_current(result)
    made = json.loads((root / 'docs' / 'results' / 'one.json').read_text())
    (root / 'docs' / 'results' / 'one.json').write_text(json.dumps({**made, 'tables': {}}))
    record.add('one', moved=record.git('rev-parse', 'HEAD'))
    assert measure.is_current(result)
    assert made['made']['commit'] in (root / 'docs' / 'results' / 'one.json').read_text()
    (root / 'benchmarks' / 'two.py').write_text('')
    commit()
    assert not measure.is_current(result)


def test_every_result_has_a_command():
    """Each file of docs/results/ but the summary, which holds references alone."""
    names = [result.name for result in catalogue.ALL]
    recorded = {path.stem for path in measure.RESULTS.glob('*.json')} - {'summary', 'gpu'}
    assert recorded <= set(names)
    assert len(names) == len(set(names))
    folders = {}
    for result in catalogue.ALL:
        assert result.study in (None, *STUDIES) or importlib.util.find_spec(result.study)
        if result.study:  # which names the folder of its files
            assert folders.setdefault(result.study.rpartition('.')[2], result.study) == result.study
        assert result.program or result.study in STUDIES
        assert all((ROOT / path).exists() for path in result.code)
        assert set(result.presets) <= {'{}/{}'.format(task, preset) for task in PRESETS for preset in PRESETS[task]}
        if result.presets:
            module = importlib.import_module(result.study)
            assert all(pathlib.Path(path).is_file() for path in getattr(module, 'CODE', ()))
            cases = measure.cases_of(result).values()
            assert {'{}/{}'.format(case.task, case.preset) for case in cases} == set(result.presets)
    copies = {copy for result in catalogue.ALL for _, copy, _ in result.pictures}
    assert {name for name in copies if name.startswith('studies_')} == {
        path.name for path in (ROOT / 'docs').glob('studies_*.png')}
    assert all((ROOT / 'docs' / name).exists() for name in copies)


def test_cases_of_a_result():
    longer, = (result for result in catalogue.ALL if result.name == 'collapses_of_icons_longer')
    assert measure.flag_of_cases(longer) == ['--cases', 'images/last_commit']
    digits, = (result for result in catalogue.ALL if result.name == 'calibrated_digits')
    assert measure.flag_of_cases(digits)[1] == 'mnist/calibrated'
    plane, = (result for result in catalogue.ALL if result.name == 'likelihood_in_the_plane')
    assert measure.flag_of_cases(plane)[1] == 'gaussian_mixture/default'  # of a study that is not ddgm.studies' own
    assert measure.flag_of_cases(catalogue.ALL[0]) == []
    fresh, = (result for result in catalogue.ALL if result.name == 'fresh_mnist_convolutional')
    assert measure.flag_of_cases(fresh) == ['--cases', 'mnist/convolutional']


def test_processor_of_a_virtual_machine(monkeypatch):
    """Of the first core, with what tells two machines apart that have one name."""
    monkeypatch.setattr(pathlib.Path, 'read_text', lambda path: (
        'model name\t: AMD EPYC\ncpu family\t: 25\nmodel\t\t: 1\n\nmodel name\t: other\n'))
    assert record.processor() == 'AMD EPYC (family 25, model 1)'


@pytest.mark.parametrize(('task', 'n'), [('gaussian_mixture', 3), ('mnist', 2), ('images', 1)])
def test_checksums_of_iterations(task, n, digits_folder, pictures_folder, monkeypatch, capsys):
    """The same twice, another after each iteration, and another one with another seed."""
    monkeypatch.setitem(rounding.RUNS, task, ('', n, {'batchsize': 8, **({'width': 0.05} if task == 'images' else {})}))
    data, printed = {'mnist': str(digits_folder), 'images': str(pictures_folder)}, []
    for seed in (0, 0, 1):
        rounding.print_checksums(task, data, seed)
        printed.append(capsys.readouterr().out.splitlines())
    assert len(set(printed[0])) == n
    assert rounding.verdict(*printed[:2]) == 'the same bits'
    assert rounding.verdict(*printed[1:]) == 'differ from iteration 1 on'
    assert rounding.verdict('aab', 'aac') == 'differ from iteration 3 on'


@pytest.mark.parametrize(('packages', 'numba'), [(('Chainer', 'NumPy'), 'never'), (catalogue.COMPILED, 'always')])
def test_a_study_is_recorded_with_its_pictures(packages, numba, tmp_path, monkeypatch):
    """Its runs are compiled where numba is among its packages, and nowhere else."""
    table = {'columns': ['case', 'found'], 'rows': [['a', [1, 2]]]}

    def carry_out(words, cwd, env):
        assert env['DDGM_USE_NUMBA'] == numba
        assert words[1:] == ['-m', 'ddgm.studies', 'entropy', '--mnist', 'digits', '--out', str(tmp_path)]
        out = tmp_path / 'entropy'
        out.mkdir(parents=True)
        (out / 'tables.json').write_text(json.dumps(
            {'seeds': [0, 1], 'iterations': 5, 'left_out': [], 'tables': {'runs': table}}))
        Image.new('RGB', (200, 100)).save(out / 'entropy.png')
        return subprocess.CompletedProcess(words, 0)
    (tmp_path / 'docs' / 'results').mkdir(parents=True)
    monkeypatch.setattr(measure, 'ROOT', tmp_path)
    monkeypatch.setattr(record, 'ROOT', tmp_path)
    monkeypatch.setattr(record, 'commit', lambda: '0123456')
    monkeypatch.setattr(importlib.metadata, 'version', lambda package: '1')
    monkeypatch.setattr(subprocess, 'run', carry_out)
    measure.measure(catalogue.study(
        'answer', 'entropy', 1, ('mnist',), pictures=(('entropy.png', 'copy.png', 50),), packages=packages), {
        'mnist': 'digits'}, tmp_path)
    recorded = json.loads((tmp_path / 'docs' / 'results' / 'answer.json').read_text())
    assert recorded['tables'] == {'runs': table}
    assert recorded['made']['command'] == 'python -m ddgm.studies entropy --mnist folder'
    assert (recorded['made']['seeds'], recorded['made']['iterations']) == ([0, 1], 5)
    assert ('numba' in recorded['made']['versions']) == (numba == 'always')
    with Image.open(tmp_path / 'docs' / 'copy.png') as image:
        assert image.size == (50, 25)


def test_rows_beside_those_of_a_study():
    tables = {name: {'columns': ['run', 'iterations', '`coverage`', '`log_likelihood`'], 'rows': []} for name in (
        'gaussian_mixture', 'swiss_roll', 'mnist')}
    rows = {name: table['rows'] for name, table in measure.with_rows_beside('calibration', tables).items()}
    assert rows['swiss_roll'] == [
        ['`default`', 20_000, {'from': 'plane.swiss_roll_20000.coverage.ours'},
         {'from': 'plane.swiss_roll_20000.log_likelihood.ours'}], ['aim, `calibrated`', None, '≥ 0.85', None]]
    assert rows['gaussian_mixture'][1] == [
        'real data', None, {'from': 'plane.gaussian_mixture_20000.coverage.real data'},
        {'from': 'plane.gaussian_mixture_20000.log_likelihood.real data'}]


def test_recorded_command_and_rows(monkeypatch):
    monkeypatch.setattr(sys, 'argv', [
        str(ROOT / 'benchmarks' / 'x' / '__main__.py'), '--record', '--out', '/somewhere', '--mnist', '/else',
        '--seeds', '3'])
    assert record.command() == 'python -m benchmarks.x --record --mnist folder --seeds 3'
    content = {'made': {'seeds': [0]}, 'tables': {'a': {'columns': ['x'], 'rows': [['row 0'], [[1, 2.5]]]}}}
    text = record.as_text(**content)
    assert json.loads(text) == content
    assert '        [[1, 2.5]]\n' in text


@pytest.mark.slow
def test_rehearsal_of_what_a_gpu_is_to_show(digits_folder, pictures_folder, tmp_path):
    """The commands, on what stands in for a GPU; a second time nothing is repeated."""
    command = [
        sys.executable, '-m', 'benchmarks.checks.gpu', '--rehearse', '--mnist', str(digits_folder), '--images',
        str(pictures_folder), '--out', str(tmp_path / 'gpu')]
    first, second = (subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900) for _ in range(2))
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    results = {name: json.loads((tmp_path / 'gpu' / (name + '.json')).read_text()) for name in gpu.STEPS}
    assert [row[1:3] for row in results['agreement']['rows']] == [
        [len({*presets} - ({'density'} if task == 'mnist' else set())), 2] for task, presets in PRESETS.items()]
    assert max(row[3] for row in results['agreement']['rows']) < 1e-9
    assert max(row[3] for row in results['agreement']['rows']) > 0  # another way of computing it
    assert results['tests']['rows'][0][2] == 0
    for name, presets in (('mnist', ['post']), ('images', ['post', 'calibrated'])):
        assert [row[:2] for row in results[name]['rows']] == [['{}, `{}`'.format(name, each), 2] for each in presets]
        for preset in presets:
            assert (tmp_path / 'gpu' / '{}_{}'.format(name, preset) / 'figures' / 'samples.png').exists()
    assert [len(row) for row in results['speed']['rows']] == 6 * [3]
    assert all(row[3:] == [0, 0] for row in results['bits']['rows'])  # resumed; captured
    assert all(value > 0 for row in results['constants']['rows'] for value in row[1:])
    assert '...' in first.stdout
    assert '...' not in second.stdout


def test_large_data_is_measured(tmp_path, monkeypatch):
    """Each piece once, on little data: the table's rows come from the right ones."""
    monkeypatch.setattr(large_data, 'ENTRIES', 100)
    monkeypatch.setattr(large_data, 'FRAMES', 5)
    measured = []
    monkeypatch.setattr(large_data, 'measure', lambda piece, *given: measured.append((piece, *given)) or (
        len(measured), 100 * len(measured)))
    rows = large_data.measure_run(tmp_path)['rows']
    assert [row[1:] for row in rows] == [[1, 100], [2, 200], [3, 300], [4, 400]]
    assert [piece for piece, *_ in measured] == ['resume', 'resume', 'curves', 'video']
    measured.clear()
    pictures = tmp_path / 'pictures'
    (pictures / '000').mkdir(parents=True)
    rows = {row[0]: row[1:] for row in large_data.measure_pictures(pictures, tmp_path)['rows']}
    assert rows['every other start, s'] == [6, 2, 4.05]
    assert rows['a batch of 64, ms'] == [35, 15, None]
    assert rows['scoring 2,500 samples, s'] == [8, 4, -0.104]
    assert rows['memory at the first, all processes, MB'] == [500, 100, None]
    assert [piece for piece, *_ in measured] == 2 * ['start', 'start', 'batch', 'score']


@pytest.mark.slow
@pytest.mark.parametrize('piece', large_data.PIECES)
def test_pieces_of_large_data_run(piece, tmp_path, pictures_folder, monkeypatch):
    monkeypatch.setattr(large_data, 'ENTRIES', 100)
    monkeypatch.setattr(large_data, 'FRAMES', 5)
    large_data.write_log(tmp_path / 'log')
    large_data.write_frames(tmp_path / 'run')
    seconds, memory = large_data.measure(piece, *{
        'resume': (tmp_path / 'log', 100), 'curves': (tmp_path / 'log', tmp_path / 'curves.png'),
        'video': (tmp_path / 'run', 5)}.get(piece, (pictures_folder, tmp_path / 'cache')))
    assert seconds > 0


@pytest.mark.skipif(importlib.util.find_spec('cupy') and not is_stand_in(), reason='CuPy is installed')
def test_gpu_command_without_a_gpu(tmp_path):
    outcome = subprocess.run(
        [sys.executable, '-m', 'benchmarks.checks.gpu', '--mnist', 'nowhere'], cwd=tmp_path, capture_output=True,
        text=True, env={**os.environ, 'PYTHONPATH': str(ROOT)})
    assert outcome.returncode == 2
    assert 'no such GPU here' in outcome.stderr
    assert outcome.stderr.count('\n') == 1
    assert not list(tmp_path.iterdir())
