"""Memory that was freed is at hand for the next iteration."""

import platform
import subprocess
import sys

import numpy
import pytest
from conftest import ROOT

from ddgm.fast.memory import buffer

# Two megabytes at a time, twenty of them alive: how many pages the system hands out once this has been done before.
FAULTS = '''
import resource, sys
import numpy
import ddgm.fast.memory

if sys.argv[1] == 'keep':
    ddgm.fast.memory.keep_freed()
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    arrays = [numpy.ones(2 ** 18) for _ in range(20)]
    del arrays
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
'''


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason="only Linux's C library is told anything")
def test_freed_memory_is_kept():
    def faults(how):
        return int(subprocess.run(
            [sys.executable, '-c', FAULTS, how], cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    if faults('as it is') < 1000:
        pytest.skip('this system hands out memory in few large pages')
    assert faults('keep') < 100


def test_workspace_is_the_same_memory_in_any_shape():
    first = buffer('of this test', (3, 4), numpy.dtype('f4'))
    first[...] = 1
    again = buffer('of this test', (2, 2), numpy.dtype('f4'))
    assert numpy.shares_memory(first, again)
    assert again.shape == (2, 2)
    assert not numpy.shares_memory(first, buffer('of another one', (3, 4), numpy.dtype('f4')))
    larger = buffer('of this test', (100,), numpy.dtype('f8'))
    assert (larger.shape, larger.dtype) == ((100,), numpy.float64)
    assert not numpy.shares_memory(first, larger)
