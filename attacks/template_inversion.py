"""White-box inversion of a template: gradients through the recogniser into a prior's parameters, over random views.

Our own entry, of known parts: begin at the best of a pool and choose among restarts by random views as PPA (Struppek et
al., "Plug & Play Attacks", ICML 2022); then let a generator's features move within a bound, stage by stage, as IF-GMI
(Qiu et al., "A Closer Look at GAN Priors: Exploiting Intermediate Features for Enhanced Model Inversion Attacks", ECCV
2024).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from attacks.inversion_priors import GeneratorPrior, PointSpace, Prior, PriorMaker, modules_of
from attacks.jitter import Jitter, jittered
from facesec_bench.access import EmbeddingAccess, EmbeddingLevel
from facesec_bench.errors import AccessError, ConfigError
from facesec_bench.search import Rule, borrowed, minimise

_AT_ONCE = 32
"""Pictures looked at together outside the search."""


@dataclass(frozen=True)
class Stage:
    """One part of the search.

    Attributes:
        steps: moves.
        layers: of the generator that move; empty for all parameters of the prior.
        reach: greatest move of a parameter from where the stage begins, in the prior's units; None for any. IF-GMI
            bounds the sum of absolute moves; a box has no layer whose bound hangs on its size.

    Raises:
        ConfigError: a number out of range.
    """

    steps: int
    layers: Sequence[str] = ()
    reach: float | None = None

    def __post_init__(self) -> None:
        if self.steps < 0 or (self.reach is not None and not self.reach > 0):
            raise ConfigError(f"stage: found {self}, wanted steps of 0 or more and a reach above 0, or null for any.")


@dataclass(frozen=True)
class Near:
    """A prior's parameters near where they begin; see `interfaces.Space`.

    Attributes:
        points: the beginnings, and the prior.
        reach: (P,) greatest move of each parameter; 0 where it rests, infinite where it is free.
    """

    points: PointSpace
    reach: Tensor

    def start(self, rng: torch.Generator) -> Tensor:
        """(B, P)."""
        return self.points.start(rng)

    def render(self, params: Tensor) -> Tensor:
        """(B, P) -> (B, 3, 224, 224)."""
        return self.points.render(params)

    def project(self, params: Tensor) -> Tensor:
        """Within reach, and what the prior admits."""
        begin = self.points.begin
        return self.points.project(torch.maximum(torch.minimum(params, begin + self.reach), begin - self.reach))


@dataclass(frozen=True)
class TemplateInversion:
    """The attack.

    Attributes:
        prior: which pictures count as faces.
        rule: how a gradient becomes a move.
        stages: one after the other, each from where the last one ended.
        pool: pictures drawn and asked of the victim at the start, of which each person's best begin; 0 begins at draws.
        restarts: searches for each picture asked for, of which `views` chooses the best.
        jitter: views over which the loss is averaged, one a step.
        views: random views over which the cosine is averaged for the choice; 0 looks at the picture itself.
        pull: weight of the mean square of each layer's parameters: towards what the prior has most of.

    Raises:
        ConfigError: a number out of range, or no stage.
    """

    prior: PriorMaker
    rule: Rule
    stages: Sequence[Stage]
    pool: int = 400
    restarts: int = 4
    jitter: Jitter = field(default_factory=Jitter)
    views: int = 8
    pull: float = 0.0
    level: EmbeddingLevel = "white"
    asks: ClassVar[str] = "embedding"

    def __post_init__(self) -> None:
        if min(self.pool, self.views) < 0 or self.restarts < 1 or not self.pull >= 0 or not self.stages:
            raise ConfigError(
                "template inversion: wanted pool, views and pull of 0 or more, restarts above 0, and a stage or more."
            )

    def __call__(self, people: Tensor, victim: EmbeddingAccess, public: Tensor, rng: torch.Generator) -> Tensor:
        """One picture for each row.

        Args:
            people: (B,) places among the victim's templates; one may be asked for more than once.
            victim: asked at level "white".
            public: (N, 3, 224, 224) photos of other people, for priors that need them.
            rng: draws beginnings and views.

        Returns:
            (B, 3, 224, 224) chips in [0, 1].

        Raises:
            AccessError: the victim's level is not "white", or its budget is spent.
            ConfigError: a stage names a layer that the prior does not have.
        """
        if victim.level != "white":
            raise AccessError(
                f"template inversion: found access level {victim.level!r}, wanted 'white': it needs gradients."
            )
        wanted = people.repeat_interleave(self.restarts)
        prior = self.prior.bind(victim, public, rng)
        with borrowed(*modules_of(prior)):
            params = self._begin(prior, wanted, victim, rng).to(people.device)
            layers = layers_of(prior, params.shape[1])
            reaches = [reach_of(layers, stage, params) for stage in self.stages]
            for stage, reach in zip(self.stages, reaches, strict=True):
                params = minimise(
                    jittered(lambda chips: 1 - victim.similarity(chips, wanted), self.jitter, rng),
                    Near(PointSpace(prior, params), reach),
                    self.rule,
                    stage.steps,
                    rng,
                    penalty=self._penalty(prior, layers),
                )
            with torch.no_grad():
                chips = torch.cat([prior.render(few) for few in params.split(_AT_ONCE)])
                return self._best(chips, people, victim, rng)

    def _begin(self, prior: Prior, wanted: Tensor, victim: EmbeddingAccess, rng: torch.Generator) -> Tensor:
        """(B, P): drawn, or of a drawn pool what is most like the person; a person's j-th row has the j-th."""
        if not self.pool:
            return prior.draw(len(wanted), rng)
        drawn = prior.draw(self.pool, rng).to(wanted.device)
        with torch.no_grad():
            seen = torch.cat([victim.embed(prior.render(few)) for few in drawn.split(_AT_ONCE)])
        begin = drawn[torch.zeros_like(wanted)]
        for person in wanted.unique():
            own = (wanted == person).nonzero()[:, 0]
            order = (seen @ victim.enrolled[person].to(seen)).argsort(descending=True, stable=True)
            begin[own] = drawn[order[torch.arange(len(own), device=order.device) % self.pool]]
        return begin

    def _penalty(self, prior: Prior, layers: Mapping[str, slice]) -> Callable[[Tensor], Tensor] | None:
        cost = prior.cost
        if not self.pull:
            return cost

        def penalty(params: Tensor) -> Tensor:
            sizes = torch.stack([params[:, part].square().mean(1) for part in layers.values()]).sum(0)
            return self.pull * sizes + (cost(params) if cost else 0)

        return penalty

    def _best(self, chips: Tensor, people: Tensor, victim: EmbeddingAccess, rng: torch.Generator) -> Tensor:
        """Of the restarts of each person, as many as were asked for, the most alike first."""
        if self.restarts == 1:
            return chips
        wanted = people.repeat_interleave(self.restarts)
        alike = torch.zeros(len(chips), device=chips.device)
        for _ in range(max(1, self.views)):
            parts = zip(chips.split(_AT_ONCE), wanted.split(_AT_ONCE), strict=True)
            seen = [victim.similarity(self.jitter.seen(few, rng) if self.views else few, who) for few, who in parts]
            alike += torch.cat(seen)
        chosen = torch.empty_like(people)
        for person in people.unique():
            rows = (wanted == person).nonzero()[:, 0]
            own = (people == person).nonzero()[:, 0]
            chosen[own] = rows[alike[rows].argsort(descending=True, stable=True)[: len(own)]]
        return chips[chosen]


def layers_of(prior: Prior, count: int) -> dict[str, slice]:
    """Which of `count` parameters each layer of a generator's prior has; of another prior, one part without a name."""
    if not isinstance(prior, GeneratorPrior):
        return {"": slice(0, count)}
    one, begin, found = prior.generator.mean(1, torch.Generator().manual_seed(0)), 0, {}
    for layer in prior.layers:
        found[layer] = slice(begin, begin + one[layer].numel())
        begin = found[layer].stop
    return found


def reach_of(layers: Mapping[str, slice], stage: Stage, params: Tensor) -> Tensor:
    """(P,): how far each parameter may go in a stage.

    Raises:
        ConfigError: a layer that the prior does not have.
    """
    known = [layer for layer in layers if layer]
    unknown = [layer for layer in stage.layers if layer not in known]
    if unknown:
        raise ConfigError(f"stage: found layers {list(stage.layers)}, wanted some of the prior's own: {known}.")
    reach = torch.zeros_like(params[0])
    for layer, part in layers.items():
        if not stage.layers or layer in stage.layers:
            reach[part] = torch.inf if stage.reach is None else stage.reach
    return reach
