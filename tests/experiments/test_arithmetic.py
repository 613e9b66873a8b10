"""A run loses no time on numbers next to nothing."""

import subprocess
import sys

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
