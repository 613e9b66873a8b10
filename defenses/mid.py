"""A variational bottleneck before the last layer: what it says of a photo is bounded (MID)."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from facesec_bench.closed_set_training import Schooling, teach
from facesec_bench.errors import ConfigError, TargetError
from facesec_bench.interfaces import Faces
from facesec_bench.targets.closed_set import BottleneckTrunk, ClosedSet


@dataclass(frozen=True)
class Mid:
    """Teaches with CE + beta KL(N(mean, deviation^2) || N(0, I)), the last layer seeing a draw of that distribution.

    Source: Wang, Zhang and Jia, "Improving Robustness to Model Inversion Attacks via Mutual Information
    Regularization", AAAI 2021; the bound is that of Alemi et al., ICLR 2017. The KL is summed over dimensions,
    averaged over photos, in nats. The last layer is linear, as there: cosines would not feel the mean shrink.

    Attributes:
        beta: weight of the KL.
        width: dimensions of the bottleneck; None takes half of the features.
        noisy: draw at test time too, as the model in the released code of BiDO does. Off, as the bound lies in the
            weights after training, a white box reads the mean either way, and noise would make one photo two answers;
            see `BottleneckTrunk` for which noise.
        suffix: the new network is called "<name>_<suffix>".

    Raises:
        ConfigError: a negative beta or a width below 1.
    """

    beta: float = 0.01
    width: int | None = None
    noisy: bool = False
    suffix: str = "mid"

    def __post_init__(self) -> None:
        if not self.beta >= 0 or (self.width is not None and self.width < 1):
            raise ConfigError(f"mid: found beta {self.beta} and width {self.width}, wanted 0 or more, and 1 or more.")

    def __call__(self, network: ClosedSet, faces: Faces, how: Schooling, rng: torch.Generator) -> ClosedSet:
        """A new, taught network with a bottleneck; the given, untaught one keeps its bits.

        Args:
            network: lends its trunk; its last layer has another width.
            faces: photos of its people; identities are its classes.
            how: how long and how fast.
            rng: draws weights, batches and noise.

        Raises:
            TargetError: it has a bottleneck already.
            DataError, TrainingError: see `closed_set_training.teach`.
        """
        if isinstance(network.trunk, BottleneckTrunk):
            raise TargetError(f"mid: found that {network.name} has a bottleneck, wanted a network without.")
        seed = int(torch.randint(2**31, (), generator=rng, device=rng.device))
        trunk = BottleneckTrunk(copy.deepcopy(network.trunk), self.width, self.noisy, seed)
        device = next(network.parameters()).device
        taught = ClosedSet(f"{network.name}_{self.suffix}", trunk, network.classes, seed=seed).to(device)
        teach(taught, faces, how, rng, objective=self.objective)
        return taught

    def objective(self, network: ClosedSet, chips: Tensor, people: Tensor, done: float) -> Tensor:
        """See `closed_set_training.Objective`; noise comes from torch's global generator, which `fit` seeds."""
        assert isinstance(network.trunk, BottleneckTrunk)
        mean, deviation = network.trunk.distribution(network.trunk.trunk.hidden(chips)[-1])
        drawn = mean + deviation * torch.randn_like(mean)
        return functional.cross_entropy(network.head(drawn), people) + self.beta * divergence(mean, deviation).mean()


def divergence(mean: Tensor, deviation: Tensor) -> Tensor:
    """(B, k) twice -> (B,): KL(N(mean, diag deviation^2) || N(0, I)) in nats."""
    return 0.5 * (mean.square() + deviation.square() - 1 - 2 * deviation.log()).sum(1)
