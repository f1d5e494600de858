"""The tools beside the package: what they decide and the commands that they run; not how long anything takes."""

import json
import sys

import numpy
import pytest
from conftest import ROOT
from PIL import Image

from ddgm.runs import command_line

sys.path.insert(0, str(ROOT / 'benchmarks'))

import post_pictures  # noqa: E402


@pytest.mark.parametrize('run', post_pictures.RUNS, ids=lambda run: run.name)
def test_commands_of_the_posts_pictures(run, tmp_path):
    script, *flags = run.command(tmp_path, 'somewhere' if run.task in command_line.DATA_FOLDERS else None)
    assert (ROOT / script).exists()
    request = command_line.parse(run.task, '', flags)
    assert request.settings().iterations == run.iterations()
    assert (request.preset, request.resume) == (run.preset(), False)
    (tmp_path / 'settings.json').touch()
    assert run.command(tmp_path, None)[-1] == '--resume'


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
