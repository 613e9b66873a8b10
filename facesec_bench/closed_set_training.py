"""How closed-set recognisers come to know their people: `training.fit` on photos of them.

What a defence changes is the objective or the network; steps, photos and mirror images are the same for all, so that
two victims differ in the defence alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from facesec_bench.errors import ConfigError, DataError
from facesec_bench.interfaces import Faces
from facesec_bench.search import borrowed
from facesec_bench.targets.closed_set import BottleneckTrunk, ClosedSet, RecogniserTrunk
from facesec_bench.training import Point, fit

Objective = Callable[[ClosedSet, Tensor, Tensor, float], Tensor]
"""(network, chips (B, 3, 224, 224), people (B,), share of the steps done in [0, 1)) -> () to be made smaller. Where a
network imitates another, people are (B, K) probabilities."""

_AT_ONCE = 16
"""Photos embedded together outside of training."""


@dataclass(frozen=True)
class Schooling:
    """How long and how fast.

    Attributes:
        steps: of the optimiser.
        batch: photos a step, each mirrored or not at random.
        rule: "adam" or "sgd", the latter with momentum 0.9.
        learning_rate: falls to 0 along a cosine.
        weight_decay: of the optimiser.

    Raises:
        ConfigError: a number out of range, or another rule.
    """

    steps: int = 300
    batch: int = 32
    rule: str = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        if min(self.steps, self.batch) < 1 or not self.learning_rate > 0 or not self.weight_decay >= 0:
            raise ConfigError(
                f"schooling: found {self}, wanted steps, batch and a rate above 0, and no negative decay."
            )
        if self.rule not in ("adam", "sgd"):
            raise ConfigError(f"schooling: found the rule {self.rule!r}, wanted 'adam' or 'sgd'.")

    def optimiser(self, parameters: list[nn.Parameter]) -> Optimizer:
        """A fresh one."""
        if self.rule == "adam":
            return Adam(parameters, self.learning_rate, weight_decay=self.weight_decay)
        return SGD(parameters, self.learning_rate, momentum=0.9, weight_decay=self.weight_decay)

    def schedule(self, rule: Optimizer) -> CosineAnnealingLR:
        """The cosine."""
        return CosineAnnealingLR(rule, self.steps)


def cross_entropy(network: ClosedSet, chips: Tensor, people: Tensor, done: float) -> Tensor:
    """The plain objective; see `Objective`."""
    return functional.cross_entropy(network(chips), people)


def teach(
    network: ClosedSet,
    faces: Faces,
    how: Schooling,
    rng: torch.Generator,
    *,
    objective: Objective = cross_entropy,
    parts: Sequence[nn.Module] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Point]:
    """Train a closed-set recogniser in place.

    Args:
        faces: photos of its people; identities are its classes, 0 to K - 1.
        rng: draws batches and mirror images.
        objective: what is made smaller.
        parts: what trains; None for everything but a recogniser that is frozen.

    Returns:
        The curve of `training.fit`.

    Raises:
        DataError: a class without a photo, or an identity that is no class.
        TrainingError: see `training.fit`.
    """
    check_people(network, faces)
    trained = moving(network) if parts is None else list(parts)
    return _schooled(network, faces.images, faces.identities, how, rng, objective, trained, progress)


def teach_head(network: ClosedSet, faces: Faces, how: Schooling, rng: torch.Generator) -> list[Point]:
    """Train the last layer alone; every photo and its mirror image is looked at once, so it takes seconds.

    Args, returns and raises: as `teach`.
    """
    check_people(network, faces)
    return _headed(network, faces.images, faces.identities, how, rng)


def imitate(network: ClosedSet, chips: Tensor, answers: Tensor, how: Schooling, rng: torch.Generator) -> list[Point]:
    """Train a network to answer as another one did: Kullback-Leibler divergence at temperature 1, up to a constant.

    Args:
        chips: (N, 3, 224, 224) photos.
        answers: (N, K) probabilities.

    Returns and raises: as `teach`.
    """
    if _is_frozen(network):
        return _headed(network, chips, answers, how, rng)
    return _schooled(network, chips, answers, how, rng, cross_entropy, moving(network), None)


def _schooled(
    network: ClosedSet,
    chips: Tensor,
    answers: Tensor,
    how: Schooling,
    rng: torch.Generator,
    objective: Objective,
    parts: Sequence[nn.Module],
    progress: Callable[[int, int], None] | None,
) -> list[Point]:
    device = next(network.parameters()).device

    def batches(step: int, rng: torch.Generator) -> tuple[Tensor, Tensor, float]:
        rows = torch.randint(len(chips), (how.batch,), generator=rng, device=rng.device).cpu()
        flip = torch.rand(how.batch, generator=rng, device=rng.device).cpu() < 0.5
        some = torch.where(flip[:, None, None, None].to(chips.device), chips[rows].flip(-1), chips[rows])
        return some.to(device), answers[rows].to(device), step / how.steps

    return fit(
        parts,
        batches,
        lambda batch: objective(network, *batch),
        optimiser=how.optimiser,
        schedule=how.schedule,
        steps=how.steps,
        rng=rng,
        every=max(1, how.steps // 10),
        progress=progress,
    )


def _headed(network: ClosedSet, chips: Tensor, answers: Tensor, how: Schooling, rng: torch.Generator) -> list[Point]:
    device = next(network.parameters()).device
    with borrowed(network), torch.no_grad():
        both = [view for few in chips.split(_AT_ONCE) for view in (few, few.flip(-1))]
        known = torch.cat([network.features(few.to(device)) for few in both])
    wanted = torch.cat([few for few in answers.split(_AT_ONCE) for _ in range(2)]).to(device)

    def batches(step: int, rng: torch.Generator) -> Tensor:
        return torch.randint(len(known), (how.batch,), generator=rng, device=rng.device).to(device)

    return fit(
        network.last,
        batches,
        lambda rows: functional.cross_entropy(network.head(known[rows]), wanted[rows]),
        optimiser=how.optimiser,
        schedule=how.schedule,
        steps=how.steps,
        rng=rng,
        every=max(1, how.steps // 10),
    )


def _is_frozen(network: ClosedSet) -> bool:
    return isinstance(network.trunk, RecogniserTrunk) and network.trunk.frozen


def moving(network: ClosedSet) -> list[nn.Module]:
    """What of a network trains: all of it, or all but a frozen recogniser, behind a bottleneck too."""
    trunk = network.trunk
    inner = trunk.trunk if isinstance(trunk, BottleneckTrunk) else trunk
    frozen = isinstance(inner, RecogniserTrunk) and inner.frozen
    if isinstance(trunk, BottleneckTrunk):
        return [trunk.statistics if frozen else trunk, network.last]
    return [network.last] if frozen else [trunk, network.last]


def right(network: nn.Module, faces: Faces) -> Tensor:
    """(N,) bool: which photos a closed-set recogniser takes for whom they show."""
    device = next(network.parameters()).device
    with borrowed(network), torch.no_grad():
        found = torch.cat([network(few.to(device)).argmax(1).cpu() for few in faces.images.split(_AT_ONCE)])
    return found == faces.identities


def check_people(network: ClosedSet, faces: Faces) -> None:
    """Raise DataError unless the identities of the photos are the classes of the network, each with a photo."""
    found, wanted = set(faces.identities.tolist()), set(range(network.classes))
    if found != wanted:
        raise DataError(
            f"{network.name}: found photos of the classes {sorted(found)[:12]}, wanted some of each from 0 to "
            f"{network.classes - 1} and no other."
        )
