"""The notebook of examples/: it runs from top to bottom, and what is kept of its outputs is small."""

import json

import pytest
from conftest import ROOT

PATH = ROOT / 'examples' / 'tour.ipynb'


def test_outputs_that_are_kept():
    """Those of a run from top to bottom, without what belongs to a machine."""
    cells = [cell for cell in json.loads(PATH.read_text(encoding='utf-8'))['cells'] if cell['cell_type'] == 'code']
    assert [cell['execution_count'] for cell in cells] == list(range(1, len(cells) + 1))
    assert PATH.stat().st_size < 200_000
    assert str(ROOT) not in PATH.read_text(encoding='utf-8')


@pytest.mark.slow
def test_it_runs():
    nbclient = pytest.importorskip('nbclient', reason='nbclient is not installed: pip install -r requirements-test.txt')
    nbformat = pytest.importorskip('nbformat')
    notebook = nbformat.read(str(PATH), 4)
    nbclient.NotebookClient(
        notebook, timeout=1800, kernel_name='python3', resources={'metadata': {'path': str(PATH.parent)}}).execute()
    printed = ''.join(
        output.get('text', '') for cell in notebook.cells for output in cell.get('outputs', [])).splitlines()
    sums, = (float(line.split()[7]) for line in printed if 'the density sums to' in line)
    assert sums == pytest.approx(1, abs=0.01)
    generator, refined = (
        float(line.split()[4]) for line in printed if line.startswith(('generator: mean', 'refined: mean')))
    # The entropy of ten Gaussians is 1.41 nats.
    assert abs(refined + 1.41) < abs(generator + 1.41)
