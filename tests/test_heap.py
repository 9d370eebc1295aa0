"""Freed memory is kept for the next step of a training."""

import subprocess
import sys

import pytest

CODE = """
import resource
import numpy as np
from msc_vision.learning.heap import keep_freed_memory
{call}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(50_000_000, np.uint8)
before = faults()
for _ in range(10):
    np.ones(50_000_000, np.uint8)
print(faults() - before)
"""


def new_pages(call):
    """Return how many pages the system hands out anew while the same large block is made ten times."""
    done = subprocess.run([sys.executable, "-c", CODE.format(call=call)], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is told to keep memory")
def test_a_large_block_is_not_fetched_anew_each_time():
    assert new_pages("assert keep_freed_memory()") < 0.1 * new_pages("")
