"""Negative label smoothing: the more confident on the right people, the less is told of anybody's face."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from facesec_bench.closed_set_training import Schooling, teach
from facesec_bench.errors import ConfigError
from facesec_bench.interfaces import Faces
from facesec_bench.targets.closed_set import ClosedSet


@dataclass(frozen=True)
class NegLs:
    """Teaches with (1 - a) CE + a mean_j(-log p_j), a below 0; a positive one, plain smoothing, helps attackers.

    Source: Struppek, Hintersdorf and Kersting, "Be Careful What You Smooth For", ICLR 2024. As in the released
    code, a is 0 for half of the training, falls along a line to `alpha` / 2 at three quarters, and is `alpha` then.

    Attributes:
        alpha: strength.
        suffix: the new network is called "<name>_<suffix>".

    Raises:
        ConfigError: an alpha of 1 or more.
    """

    alpha: float = -0.05
    suffix: str = "negls"

    def __post_init__(self) -> None:
        if not self.alpha < 1:
            raise ConfigError(f"negls: found alpha {self.alpha}, wanted below 1, and below 0 for a defence.")

    def __call__(self, network: ClosedSet, faces: Faces, how: Schooling, rng: torch.Generator) -> ClosedSet:
        """A new, taught network; the given, untaught one keeps its bits.

        Args:
            faces: photos of its people; identities are its classes.
            how: how long and how fast.
            rng: draws the batches.

        Raises:
            DataError, TrainingError: see `closed_set_training.teach`.
        """
        taught = copy.deepcopy(network)
        taught.name = f"{network.name}_{self.suffix}"
        teach(taught, faces, how, rng, objective=self.objective)
        return taught

    def objective(self, network: ClosedSet, chips: Tensor, people: Tensor, done: float) -> Tensor:
        """See `closed_set_training.Objective`."""
        return smoothed(network(chips), people, self.alpha * ramp(done))


def ramp(done: float) -> float:
    """Share of the steps done -> share of alpha: 0 to half of them, along a line to 1/2 at three quarters, then 1."""
    if done < 0.5:
        return 0.0
    return 2 * (done - 0.5) if done < 0.75 else 1.0


def smoothed(logits: Tensor, people: Tensor, alpha: float) -> Tensor:
    """(B, K) and (B,) -> (): (1 - alpha) CE + alpha mean_j(-log p_j), averaged over rows."""
    plain = functional.cross_entropy(logits, people)
    return (1 - alpha) * plain - alpha * logits.log_softmax(1).mean()
