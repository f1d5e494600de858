"""Thousands of damaged files for each reader: it reads them or says in one line why not, soon and in little memory."""

import json
import os

import fault_runs
import fuzzing
import pytest

pytestmark = pytest.mark.skipif(not os.path.isdir('/proc/self'), reason='what a process takes is read from /proc')


@pytest.mark.parametrize('reader', fuzzing.READERS)
def test_damaged_inputs(reader, tmp_path, thorough, tell):
    if reader == 'EventFiles':
        pytest.importorskip('tensorboard', reason='tensorboard is not installed: make test-parity')
    n = 10_000 if thorough else 300
    process = fault_runs.start(fuzzing.read_damaged, reader, n, str(tmp_path))
    process.join()
    assert process.exitcode == 0, process.exitcode  # -14: an input took too long
    outcome = json.loads((tmp_path / 'result.json').read_text())
    assert outcome['failure'] is None, outcome['failure']
    assert outcome['refused'] > n // 20 or reader == 'Logs'  # where what is no entry ends the log
    assert outcome['growth'] < 2 ** 30
    tell('damaged_files', fuzzing.READERS[reader].__doc__.split(':')[0].rstrip('.'), n, outcome['refused'],
         outcome['read'], round(outcome['growth'] / 1e6))
