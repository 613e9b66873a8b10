"""White-box inversion of a classifier: prior x latent model x identity loss x rule x selection, on `search.minimise`.

The named attacks are settings of this one; each YAML in conf/inversion says which.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from attacks.identity_losses import IdentityLoss, Loss
from attacks.inversion_priors import GaussianSpace, PointSpace, Prior, PriorMaker, modules_of
from attacks.jitter import Jitter, jittered
from facesec_bench.access import ClassifierAccess, ClassifierLevel
from facesec_bench.errors import ConfigError
from facesec_bench.interfaces import Space
from facesec_bench.search import Objective, Part, Rule, borrowed, minimise

Students = Callable[[ClassifierAccess, Tensor, torch.Generator], list[tuple[ClassifierAccess, IdentityLoss]]]
"""(victim, public photos, rng) -> classifiers that learned to answer as the victim does, and the loss on each."""

_LOOK = 10
"""Steps between two looks at whether a picture has arrived."""
_AT_ONCE = 32
"""Pictures judged together outside the search."""


@dataclass(frozen=True)
class Inversion:
    """Recovers what a classifier knows of a person's face.

    Attributes:
        prior: which pictures count as faces.
        loss: how far a picture is from the person.
        rule: how a gradient becomes a move.
        steps: moves.
        pool: pictures drawn and asked of the victim at the start, each person's best of which begin the search; 0 draws
            the beginnings without looking.
        restarts: searches for each picture asked for, of which `views` chooses the best.
        distribution: search normal distributions over parameters, not points (KED-MI).
        jitter: views over which the loss is averaged, one a step.
        views: random views over which the victim's confidence is averaged for the choice among restarts; 0 looks at the
            picture itself.
        students: further classifiers on which the loss is taken too; LOMMA's model augmentation.
        at_once: pictures searched together, restarts included; what is trained or asked once serves all of them.
        stop: a picture whose confidence on the victim is at least this moves no further; None walks all steps.

    Raises:
        ConfigError: a number out of range.
    """

    prior: PriorMaker
    loss: IdentityLoss
    rule: Rule
    steps: int
    pool: int = 0
    restarts: int = 1
    distribution: bool = False
    jitter: Jitter = field(default_factory=Jitter)
    views: int = 0
    students: Students | None = None
    stop: float | None = None
    level: ClassifierLevel = "white"
    at_once: int = 64
    asks: ClassVar[str] = "classifier"

    def __post_init__(self) -> None:
        if min(self.steps, self.pool, self.views) < 0 or min(self.restarts, self.at_once) < 1:
            raise ConfigError("inversion: wanted steps, pool and views of 0 or more, and restarts and at_once above 0.")
        if self.stop is not None and (not 0 < self.stop <= 1 or self.distribution):
            raise ConfigError(
                f"inversion: found stop {self.stop}, wanted a confidence above 0 and up to 1, and none for a "
                "distribution: it has no single picture that could arrive."
            )

    def __call__(self, people: Tensor, victim: ClassifierAccess, public: Tensor, rng: torch.Generator) -> Tensor:
        """One picture for each row.

        Args:
            people: (B,) classes; a class may be asked for more than once.
            victim: asked at level "white".
            public: (N, 3, 224, 224) photos of other people.
            rng: draws beginnings and views.

        Returns:
            (B, 3, 224, 224) chips in [0, 1].

        Raises:
            AccessError: the victim's level forbids what the loss asks, or its budget is spent.
        """
        wanted = people.repeat_interleave(self.restarts)
        prior = self.prior.bind(victim, public, rng)
        with borrowed(*modules_of(prior)):
            losses = self._losses(victim, public, rng)
            begin = self._begin(prior, wanted, victim, rng).to(people.device)
            rows = torch.arange(len(wanted), device=people.device).split(self.at_once)
            chips = torch.cat([self._searched(prior, losses, victim, rng, begin[r], wanted[r]) for r in rows])
            return self._best(chips, people, victim, rng)

    def _searched(
        self,
        prior: Prior,
        losses: list[Loss],
        victim: ClassifierAccess,
        rng: torch.Generator,
        begin: Tensor,
        wanted: Tensor,
    ) -> Tensor:
        """(B, 3, 224, 224): one search of some of the pictures."""
        part = self._part(prior, losses, victim, rng, begin, wanted)
        params = minimise(
            part.objectives,
            part.space,
            self.rule,
            self.steps,
            rng,
            penalty=part.penalty,
            until=part.until,
            look_every=_LOOK,
            narrow=self._narrow(prior, losses, victim, rng, begin, wanted),
        )
        with torch.no_grad():
            return torch.cat(_rendered(part.space, params))

    def _losses(self, victim: ClassifierAccess, public: Tensor, rng: torch.Generator) -> list[Loss]:
        """The loss on the victim and on each student."""
        taught = self.students(victim, public, rng) if self.students else []
        return [loss.bind(access, public, rng) for access, loss in [(victim, self.loss), *taught]]

    def _begin(self, prior: Prior, wanted: Tensor, victim: ClassifierAccess, rng: torch.Generator) -> Tensor:
        """(B, P): drawn, or of a drawn pool what the victim takes for the person most; a person's j-th row has the
        j-th."""
        if not self.pool:
            return prior.draw(len(wanted), rng)
        drawn = prior.draw(self.pool, rng).to(wanted.device)
        with torch.no_grad():
            seen = torch.cat([victim.probabilities(prior.render(few)) for few in drawn.split(_AT_ONCE)])
        order = seen.argsort(0, descending=True)
        return drawn[order[_turn(wanted) % self.pool, wanted]]

    def _part(
        self,
        prior: Prior,
        losses: list[Loss],
        victim: ClassifierAccess,
        rng: torch.Generator,
        begin: Tensor,
        wanted: Tensor,
    ) -> Part:
        """The search of some of the pictures."""
        prior = prior.given(wanted)
        objectives = [jittered(_asked(loss, wanted), self.jitter, rng) for loss in losses]
        space = GaussianSpace(prior, begin, rng) if self.distribution else PointSpace(prior, begin)
        cost = prior.cost

        def penalty(params: Tensor) -> Tensor:
            assert cost is not None
            return cost(space.sample(params) if isinstance(space, GaussianSpace) else params)

        def until(chips: Tensor) -> Tensor:
            return victim.probabilities(chips).gather(1, wanted[:, None])[:, 0] >= (self.stop or 1.0)

        return Part(objectives, space, penalty if cost else None, until if self.stop else None)

    def _narrow(
        self,
        prior: Prior,
        losses: list[Loss],
        victim: ClassifierAccess,
        rng: torch.Generator,
        begin: Tensor,
        wanted: Tensor,
    ) -> Callable[[Tensor], Part] | None:
        if self.stop is None:
            return None
        return lambda rows: self._part(prior, losses, victim, rng, begin[rows], wanted[rows])

    def _best(self, chips: Tensor, people: Tensor, victim: ClassifierAccess, rng: torch.Generator) -> Tensor:
        """Of the restarts of each person, as many as were asked for, the surest first."""
        if self.restarts == 1:
            return chips
        wanted = people.repeat_interleave(self.restarts)
        sure = torch.stack(
            [
                torch.cat(
                    [
                        victim.probabilities(view(few)).gather(1, who[:, None])[:, 0]
                        for few, who in zip(chips.split(_AT_ONCE), wanted.split(_AT_ONCE), strict=True)
                    ]
                )
                for view in self._looks(rng)
            ]
        ).mean(0)
        chosen = torch.empty_like(people)
        for person in people.unique():
            rows = (wanted == person).nonzero()[:, 0]
            order = sure[rows].argsort(descending=True, stable=True)
            own = (people == person).nonzero()[:, 0]
            chosen[own] = rows[order[: len(own)]]
        return chips[chosen]

    def _looks(self, rng: torch.Generator) -> list[Callable[[Tensor], Tensor]]:
        if not self.views:
            return [lambda chips: chips]
        return [lambda chips: self.jitter.seen(chips, rng)] * self.views


def _rendered(space: Space, params: Tensor) -> list[Tensor]:
    return [space.render(few) for few in params.split(_AT_ONCE)]


def _asked(loss: Loss, wanted: Tensor) -> Objective:
    return lambda chips: loss(chips, wanted)


def _turn(wanted: Tensor) -> Tensor:
    """(B,): how many rows before this one want the same person."""
    same = wanted[:, None] == wanted[None, :]
    return same.tril(-1).sum(1)
