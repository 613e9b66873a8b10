"""How a GAN is trained for an inversion: critic and generator take turns in `training.fit`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Adam

from facesec_bench.access import ClassifierAccess
from facesec_bench.errors import ConfigError
from facesec_bench.generators.frame import Frame
from facesec_bench.training import Point, fit

T = TypeVar("T")
Turn = Literal["critic", "generator"]
_AT_ONCE = 32
"""Photos laid on the generator's frame, or asked of the victim, together."""


@dataclass(frozen=True)
class Duel:
    """How long and how fast.

    Attributes:
        steps: of both together; a critic's steps are `n_critic` of every `n_critic` + 1.
        batch: pictures of each kind a step.
        n_critic: the critic's steps for one of the generator.
        learning_rate: of Adam, for both; 2e-4 in all three papers' code.
        betas: of Adam; 0.5 and 0.999 in GMI and KED-MI, 0 and 0.9 in PLG-MI.

    Raises:
        ConfigError: a number out of range.
    """

    steps: int = 300
    batch: int = 16
    n_critic: int = 5
    learning_rate: float = 2e-4
    betas: Sequence[float] = (0.5, 0.999)

    def __post_init__(self) -> None:
        if self.steps < 0 or self.batch < 2 or self.n_critic < 1 or not self.learning_rate > 0:
            raise ConfigError(
                f"GAN: found {self}, wanted steps of 0 or more, a batch of 2 or more, n_critic of 1 or more and a rate "
                "above 0."
            )
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"GAN: found betas {self.betas}, wanted two numbers from 0 to below 1.")

    def turn(self, step: int) -> Turn:
        """Whose step this is, counted from 0, where both train."""
        return "generator" if step % (self.n_critic + 1) == self.n_critic else "critic"

    def settings(self) -> dict[str, Any]:
        """For a recipe."""
        return asdict(self) | {"betas": [float(beta) for beta in self.betas]}


def alternate(
    critic: nn.Module,
    generator: nn.Module | None,
    draw: Callable[[Turn, torch.Generator], T],
    losses: Mapping[Turn, Callable[[T], Tensor]],
    how: Duel,
    rng: torch.Generator,
) -> list[Point]:
    """Train critic and generator in turns, in place.

    One loss is one side's: it must hold the other's weights, the critic's by `fixed` and the generator's by painting
    without gradients. A weight that gets no gradient is left alone by Adam, its moments too.

    Args:
        generator: None where the critic trains alone and has all the steps.
        draw: (whose step, rng) -> a batch.
        losses: of each side, batch -> ().

    Returns:
        The curve of `training.fit`; its losses are of both sides.

    Raises:
        TrainingError: see `training.fit`.
    """

    def batches(step: int, rng: torch.Generator) -> tuple[Turn, T]:
        turn: Turn = how.turn(step) if generator is not None else "critic"
        return turn, draw(turn, rng)

    return fit(
        [critic] if generator is None else [critic, generator],
        batches,
        lambda batch: losses[batch[0]](batch[1]),
        optimiser=lambda parameters: Adam(parameters, how.learning_rate, betas=(how.betas[0], how.betas[1])),
        steps=how.steps,
        rng=rng,
        every=max(1, how.steps // 10),
    )


def copied(generator: object, device: torch.device) -> Any:
    """A generator's copy, so that the given one keeps its bits.

    Raises:
        ConfigError: it is no torch module.
    """
    if not isinstance(generator, nn.Module):
        raise ConfigError(f"GAN: found {type(generator).__name__}, wanted a generator that is a torch module.")
    return copy.deepcopy(generator).to(device)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, torch's own generator is seeded with this, for the weights that a network begins with."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def drawn_seed(rng: torch.Generator) -> int:
    """The one draw that a bound GAN takes from its caller's generator, trained or kept."""
    return int(torch.randint(2**62, (), generator=rng, device=rng.device))


def framed(chips: Tensor, frame: Frame) -> Tensor:
    """(N, 3, 224, 224) -> (N, 3, R, R): what of each chip the generator would paint."""
    return torch.cat([frame.to_picture(few) for few in chips.split(_AT_ONCE)])


def rows(count: int, batch: int, rng: torch.Generator) -> Tensor:
    """(batch,) of 0 to count - 1, each drawn for itself."""
    return torch.randint(count, (batch,), generator=rng, device=rng.device).cpu()


def answers(victim: ClassifierAccess, public: Tensor) -> Tensor:
    """(N, 3, 224, 224) -> (N, K) the victim's probabilities; each photo is asked once.

    Raises:
        AccessError: the victim gives none, or its budget is spent.
    """
    return torch.cat([victim.probabilities(few) for few in public.split(_AT_ONCE)])


def check(name: str, public: Tensor, **weights: float) -> None:
    """Raise ConfigError where there is no photo, or a weight is negative."""
    wrong = [key for key, value in weights.items() if not value >= 0]
    if wrong or not len(public):
        raise ConfigError(
            f"{name}: found {len(public)} public photos and {weights}, wanted some photos and weights of 0 or more."
        )
