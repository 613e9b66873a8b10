"""A run loses no time on numbers next to nothing."""

import subprocess
import sys

import torch

from experiments.arithmetic import settle

PROGRAM = """
from experiments.arithmetic import settle
settle()
import torch
torch.set_num_threads(2)
tiny = torch.full((1_000_000,), 1e-30)
print(int((tiny * tiny * 1e20).count_nonzero()), int((tiny * 1e-9 == 0).all()))
print(torch.are_deterministic_algorithms_enabled())
"""


def test_denormal_numbers_are_zero_in_every_thread_of_a_run():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "1", "True"]


def test_normal_numbers_stay():
    settle()
    assert float(torch.tensor(1e-37) * 2) == float(torch.tensor(2e-37)) > 0
