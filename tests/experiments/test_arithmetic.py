"""A run loses no time on numbers next to nothing."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
from experiments.arithmetic import settle
settle()
import torch
torch.set_num_threads(2)
tiny = torch.full((1_000_000,), 1e-30)
print(int((tiny * 1e-9).count_nonzero()), int((tiny * 1e-7).count_nonzero()))
print(torch.are_deterministic_algorithms_enabled())
"""


def test_denormal_numbers_are_zero_in_every_thread_of_a_run_and_normal_ones_stay():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "1000000", "True"]


PAGES = """
import sys
if sys.argv[1] == "settled":
    from experiments.arithmetic import settle
    settle()
import resource, torch
for _ in range(50):
    torch.ones(10_000_000).add_(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_memory_that_was_freed_is_not_asked_for_again():
    faults = [
        int(subprocess.run([sys.executable, "-c", PAGES, how], capture_output=True, text=True, check=True).stdout)
        for how in ("plain", "settled")
    ]
    assert faults[1] < faults[0] / 2
