"""Pages in HTML: they hold everything they show, and a browser shows all of it at any width."""

import base64
import html.parser
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest
from conftest import HANGS_AFTER
from PIL import Image

from benchmarks.pictures import page as post_page, post as post_pictures
from ddgm.figures import page
from ddgm.runs import command_line, run_folder

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)


class Reader(html.parser.HTMLParser):
    """What a browser would find: tags that are open, sources of pictures, links, and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.sources, self.links, self.text = [], [], [], ''
        self.alternatives, self.headers = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == 'img':
            self.alternatives.append(attributes['alt'])
            self.sources.append(attributes['src'])
        elif tag == 'a':
            self.links.append(attributes['href'])
        elif tag == 'th':
            self.headers.append(attributes['scope'])
        if tag not in ('img', 'meta', 'link'):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / 'a picture.png'
    Image.new('RGB', (1600, 40), 'red').save(path)
    return path


@pytest.fixture
def runs(tmp_path):
    """A folder of runs, of which one has ended before its time and the others are not there."""
    out = tmp_path / 'post'
    run = run_folder.open_run(command_line.parse(
        'gaussian_mixture', '', ['-n', '20', '--out', str(out / 'gaussian_mixture')]))
    run.prepare({'device': '@numpy'})
    run.unlock()
    for name in ('samples.png', 'energy.png', 'curves.png', 'training.gif'):
        Image.new('RGB', (30, 20), 'red').save(run.figure(name))
    (run.path / 'log').touch()
    (run.path / 'metrics.json').write_text(json.dumps({
        'iterations': 20, 'seed': 0, 'n_samples': 2_500, 'coverage': 0.25, 'kl_generator_data': 1.5}))
    return out


def test_page_holds_everything(picture, tmp_path):
    page.write(tmp_path / 'page.html', 'a < b', [
        page.heading('<h>'), page.paragraph('p & q'), page.quotation('"said"'), page.command('python x --y <z>'),
        page.pictures((picture, 'it\'s <red>'), (picture, 'it'), of='"a"'),
        page.links(tmp_path, [(tmp_path / 'a run' / 'log', 'the log')])])
    reader = Reader((tmp_path / 'page.html').read_text(encoding='utf-8'))
    assert not reader.open
    assert reader.sources == 2 * ['data:image/png;base64,' + reader.sources[0].split(',')[1]]
    assert reader.alternatives == ['"a": it\'s <red>', '"a": it']
    assert reader.links == ['a%20run/log']
    for text in ('a < b', '<h>', 'p & q', '"said"', 'python x --y <z>', 'it\'s <red>'):
        assert text in reader.text


def test_tables_show_numbers_as_the_terminal_does():
    text = page.table([
        ('samples', {'a': 0.123456, 'b': 3, 'c': None, 'd': -1.5, 'per_class': [1, 2], 'why': 'it is not known'}),
        ('real', {'a': 1e-05})])
    assert Reader(text).headers == 3 * ['col'] + 4 * ['row']
    rows = Reader(text).text.split('\n')
    assert rows[1:] == ['samplesreal', 'a0.12351e−05', 'b3−', 'c−−', 'd−1.5−', 'samples, why: it is not known']


def test_page_of_the_post(runs):
    path = post_page.write(runs, post_pictures.RUNS)
    reader = Reader(path.read_text(encoding='utf-8'))
    assert not reader.open
    assert all(source.startswith('data:image/') for source in reader.sources)
    assert len(reader.sources) == 4  # samples, energy, video, curves
    assert len({*reader.alternatives}) == 4
    assert all(text.startswith('Ten Gaussians in the plane: ') for text in reader.alternatives)
    assert [text for text in reader.links if not text.endswith('.md')] == ['gaussian_mixture', 'gaussian_mixture/log']
    for link in reader.links:
        assert (runs / link).exists()
    for words in (
            *(section.heading for section in post_page.SECTIONS), 'kl_generator_data', 'real data', 'seed 0',
            '0.25', 'not finished',
            'python train_mnist.py --preset post --iterations 24000 --out '):
        assert words in reader.text
    assert reader.text.count('not there yet') == len(post_pictures.RUNS) - 1
    assert {name for section in post_page.SECTIONS for name in section.runs} == {
        run.name for run in post_pictures.RUNS}


@pytest.mark.skipif(not CHROMIUM, reason='no Chromium: a browser does not look at the pages')
def test_pages_in_a_browser(runs, picture, tmp_path):
    """Every picture loads, nothing is wider than a phone or a screen, and nothing is complained of."""
    post_page.write(runs, post_pictures.RUNS)
    page.write(tmp_path / 'page.html', 'a' * 200, [
        page.pictures((picture, 'wide')), page.command('x' * 300),
        page.table([('a long title of a column {}'.format(i), {'some_metric': 0.5}) for i in range(12)])])
    for path in (runs / post_page.NAME, tmp_path / 'page.html'):
        seen = look_at(path, tmp_path)
        assert seen['complaints'] == []
        for view in seen['views']:
            assert view['width'] <= view['room']
            assert view['pictures']
            assert min(view['pictures']) > 0


LOOK = '''<!DOCTYPE html><title></title><script>
const views = [];
function look(width) {
  return new Promise(resolve => {
    const frame = document.createElement('iframe');
    frame.style.width = width + 'px'; frame.style.height = '800px'; frame.style.border = 0;
    frame.onload = () => {
      const page = frame.contentDocument;
      views.push({room: width, width: page.documentElement.scrollWidth,
                  pictures: [...page.images].map(image => image.complete * image.naturalWidth)});
      resolve();
    };
    frame.src = 'PAGE';
    document.body.append(frame);
  });
}
window.onload = async () => {
  await look(380); await look(1280);
  document.body.innerHTML = '<pre id="seen"></pre>';
  document.getElementById('seen').textContent = btoa(JSON.stringify(views));
};
</script><body></body>'''


def look_at(path, folder):
    """What a browser sees of a page in frames of two widths, and what its console says."""
    viewer = folder / 'viewer.html'
    viewer.write_text(LOOK.replace('PAGE', pathlib.Path(path).as_uri()), encoding='utf-8')
    command = [
        CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking',
        '--disable-component-update', '--disable-sync', '--allow-file-access-from-files', '--enable-logging=stderr',
        '--user-data-dir={}'.format(folder / 'browser'), '--virtual-time-budget=20000', '--dump-dom', viewer.as_uri()]
    outcome = subprocess.run(
        command, capture_output=True, text=True, timeout=HANGS_AFTER, env={**os.environ, 'HOME': str(folder)})
    seen = re.search(r'<pre id="seen">([^<]+)</pre>', outcome.stdout)
    assert seen, outcome.stderr
    complaints = [line for line in outcome.stderr.splitlines() if ':CONSOLE' in line]
    return {'views': json.loads(base64.b64decode(seen[1])), 'complaints': complaints}
