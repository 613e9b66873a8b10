"""Recoveries of a study that may be stopped: what an attack gave is on the disk before the next one begins.

An attack depends on the study's configuration, code, data, weights and seed alone, never on the attacks before it; a
study of some hours that was stopped is therefore taken up where it was, and ends with the same numbers.
"""

from __future__ import annotations

import json
import shutil
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from facesec_bench import runs
from facesec_bench.files import write_atomically
from facesec_bench.runs import Run


class Recovered(NamedTuple):
    """What one attack on one victim gave and cost.

    Attributes:
        chips: (B, 3, 224, 224) in [0, 1], of 8 bits.
        queries, gradients: images asked about.
        seconds: wall time of the attack.
        notes: what it had to say of its pictures.
    """

    chips: Tensor
    queries: int
    gradients: int
    seconds: float
    notes: tuple[str, ...] = ()


class Kept:
    """The recoveries of a run, and of runs of the same fingerprint and seed that were stopped or had failures.

    Args:
        run: its folder takes the files until `clear`. With `force=true` no other run's are looked at.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.own = run, run.folder / "recovered"
        same = [] if run.card.config.get("force") or not run.card.fingerprint else runs.find(run.folder.parent)
        self.stopped = [
            folder / "recovered"
            for folder, card in same
            if (card.fingerprint, card.seed) == (run.card.fingerprint, run.seed)
            and (card.status == "failed" or (card.status == "finished" and card.failures))
            and folder != run.folder
        ]
        self.taken_up = 0

    def find(self, method: str, victim: str) -> Recovered | None:
        """What a stopped run had; None where there is nothing whole."""
        for folder in self.stopped:
            try:
                content = (folder / victim / f"{method}.safetensors").read_bytes()
                found = load(content)
                cost = json.loads(bytes(found["cost"].tolist()))
            except (OSError, SafetensorError, KeyError, ValueError):
                continue
            self.taken_up += 1
            return Recovered(found["chips"].float() / 255, **cost | {"notes": tuple(cost.get("notes", ()))})
        return None

    def put(self, method: str, victim: str, recovered: Recovered) -> None:
        """Write one down."""
        cost = {name: value for name, value in recovered._asdict().items() if name != "chips"}
        tensors = {
            "chips": (recovered.chips * 255).round().to(torch.uint8).contiguous(),
            "cost": torch.tensor(list(json.dumps(cost).encode()), dtype=torch.uint8),
        }
        write_atomically(self.own / victim / f"{method}.safetensors", save(tensors))

    def clear(self) -> None:
        """Forget them all, and say on the card how many came from a stopped run. Where an attack could not run, the
        others' are kept for the next try."""
        if self.taken_up:
            self.run.note(
                f"The run was taken up where an earlier one of the same configuration, code and seed was stopped: "
                f"attacks that were not run again and whose times are the earlier run's: {self.taken_up}."
            )
        if self.run.card.failures:
            return
        for folder in (self.own, *self.stopped):
            shutil.rmtree(folder, ignore_errors=True)
