"""White-box inversion: prior x latent model x identity loss x rule x selection, on `search.minimise`.

The named attacks on classifiers and the one on templates are settings of this one; each YAML in conf/inversion says
which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from attacks.identity_losses import IdentityLoss, Loss
from attacks.inversion_choice import AT_ONCE, Access, View, best_of_pool, sureness, surest
from attacks.inversion_priors import GaussianSpace, Prior, PriorMaker, modules_of
from attacks.inversion_stages import Stage, apart, near
from attacks.jitter import Jitter, jittered
from facesec_bench.errors import AccessError, ConfigError
from facesec_bench.search import Objective, Part, Rule, borrowed, minimise

Students = Callable[[Access, Tensor, torch.Generator], list[tuple[Access, IdentityLoss]]]
"""(victim, public photos, rng) -> classifiers that learned to answer as the victim does, and the loss on each."""

_LOOK = 10
"""Steps between two looks at whether a picture has arrived."""


@dataclass(frozen=True)
class Inversion:
    """Recovers what a victim knows of a person's face.

    Attributes:
        prior: which pictures count as faces.
        loss: how far a picture is from the person; it says whether a classifier or an embedding is asked.
        rule: how a gradient becomes a move.
        steps: moves of all the prior's parameters; or else
        stages: one after the other, each from where the last one ended.
        pool: pictures drawn and asked of the victim at the start, each person's best of which begin the search; 0 draws
            the beginnings without looking.
        restarts: searches for each picture asked for, of which `views` chooses the best.
        distribution: search normal distributions over parameters, not points (KED-MI).
        pull: weight of the parameters' mean square, each layer's by itself: towards what the prior has most of.
        jitter: views over which the loss is averaged, one a step.
        views: random views over which the victim's confidence is averaged for the choice among restarts; 0 looks at the
            picture itself.
        pick: how far these views differ; None for as far as `jitter`.
        students: further classifiers on which the loss is taken too; LOMMA's model augmentation.
        stop: a picture of which the victim is at least this sure (probability or cosine) moves no further in its
            stage; None walks all steps.
        at_once: pictures searched together, restarts included; what is trained or asked once serves all of them.

    Raises:
        ConfigError: a number out of range.
    """

    prior: PriorMaker
    loss: IdentityLoss
    rule: Rule
    steps: int = 0
    stages: Sequence[Stage] = ()
    pool: int = 0
    restarts: int = 1
    distribution: bool = False
    pull: float = 0.0
    jitter: Jitter = field(default_factory=Jitter)
    views: int = 0
    pick: Jitter | None = None
    students: Students | None = None
    stop: float | None = None
    at_once: int = 64
    level: str = "white"

    def __post_init__(self) -> None:
        if min(self.steps, self.pool, self.views) < 0 or min(self.restarts, self.at_once) < 1 or not self.pull >= 0:
            raise ConfigError(
                f"inversion: found steps {self.steps}, pool {self.pool}, views {self.views}, pull {self.pull}, "
                f"restarts {self.restarts} and at_once {self.at_once}; wanted 0 or more, of the last two 1 or more."
            )
        if self.stages and (self.steps or self.distribution):
            raise ConfigError("inversion: found stages beside steps or a distribution, wanted stages alone.")
        if self.stop is not None and (not 0 < self.stop <= 1 or self.distribution):
            raise ConfigError(
                f"inversion: found stop {self.stop}, wanted a confidence above 0 and up to 1, and none for a "
                "distribution: it has no single picture that could arrive."
            )

    @property
    def asks(self) -> str:
        """ "classifier" or "embedding"."""
        return self.loss.asks

    @property
    def uses(self) -> tuple[str, ...]:
        """Names of the recognisers, beside the victim, that pictures are fitted to: none of them may judge."""
        return tuple(getattr(self.students, "uses", ()))

    def __call__(self, people: Tensor, victim: Access, public: Tensor, rng: torch.Generator) -> Tensor:
        """One picture for each row.

        Args:
            people: (B,) classes, or places among the templates; one may be asked for more than once.
            victim: asked at level "white".
            public: (N, 3, 224, 224) photos of other people.
            rng: draws beginnings and views.

        Returns:
            (B, 3, 224, 224) chips in [0, 1].

        Raises:
            AccessError: the victim's level forbids what the loss asks, or its budget is spent.
            ConfigError: a stage names a layer that the prior does not have.
        """
        if victim.level != "white":
            raise AccessError(f"inversion: found access level {victim.level!r}, wanted 'white': it follows gradients.")
        wanted = people.repeat_interleave(self.restarts)
        prior = self.prior.bind(victim, public, rng)
        with borrowed(*modules_of(prior)):
            losses = self._losses(victim, public, rng)
            begin = self._begin(prior, wanted, victim, rng).to(people.device)
            rows = torch.arange(len(wanted), device=people.device).split(self.at_once)
            chips = torch.cat([_Search(self, prior, losses, victim, rng, begin[r], wanted[r])() for r in rows])
            with torch.no_grad():
                return chips if self.restarts == 1 else surest(chips, people, victim, self._looks(rng))

    def _losses(self, victim: Access, public: Tensor, rng: torch.Generator) -> list[Loss]:
        """The loss on the victim and on each student."""
        taught = self.students(victim, public, rng) if self.students else []
        return [loss.bind(access, public, rng) for access, loss in [(victim, self.loss), *taught]]

    def _begin(self, prior: Prior, wanted: Tensor, victim: Access, rng: torch.Generator) -> Tensor:
        """(B, P): drawn, or of a drawn pool what the victim takes for the person most; distributions begin at 0, as in
        KED-MI."""
        if not self.pool:
            drawn = prior.draw(len(wanted), rng)
            return torch.zeros_like(drawn) if self.distribution else drawn
        with torch.no_grad():
            return best_of_pool(prior, prior.draw(self.pool, rng).to(wanted.device), victim, wanted)

    def _looks(self, rng: torch.Generator) -> list[View]:
        if not self.views:
            return [lambda chips: chips]
        jitter = self.jitter if self.pick is None else self.pick
        return [lambda chips: jitter.seen(chips, rng)] * self.views


@dataclass(frozen=True)
class _Search:
    """The search of some of the pictures: the attack's settings, what is bound, and where each picture begins."""

    attack: Inversion
    prior: Prior
    losses: Sequence[Loss]
    victim: Access
    rng: torch.Generator
    begin: Tensor
    wanted: Tensor

    def __call__(self) -> Tensor:
        """(B, 3, 224, 224)."""
        begin = self.begin
        for stage in self.attack.stages or (Stage(self.attack.steps),):
            part = self._part(begin, self.wanted, stage)
            params = minimise(
                part.objectives,
                part.space,
                self.attack.rule,
                stage.steps,
                self.rng,
                penalty=part.penalty,
                until=part.until,
                look_every=_LOOK,
                narrow=self._narrow(begin, stage),
            )
            space, begin = part.space, params
        with torch.no_grad():
            return torch.cat(
                [
                    self._given(who, space).render(few)
                    for few, who in zip(begin.split(AT_ONCE), self.wanted.split(AT_ONCE), strict=True)
                ]
            )

    def _given(self, who: Tensor, space: object) -> Prior | GaussianSpace:
        """What renders parameters of these people."""
        prior = self.prior.given(who)
        return GaussianSpace(prior, self.begin[:0], self.rng) if isinstance(space, GaussianSpace) else prior

    def _part(self, begin: Tensor, wanted: Tensor, stage: Stage) -> Part:
        prior, attack = self.prior.given(wanted), self.attack
        objectives = [jittered(_asked(loss, wanted), attack.jitter, self.rng) for loss in self.losses]
        space = GaussianSpace(prior, begin, self.rng) if attack.distribution else near(prior, begin, stage)

        def until(chips: Tensor) -> Tensor:
            return sureness(self.victim, chips, wanted) >= (attack.stop or 1.0)

        return Part(objectives, space, self._penalty(prior, space), until if attack.stop else None)

    def _penalty(self, prior: Prior, space: object) -> Objective | None:
        cost, pull = prior.cost, self.attack.pull

        def penalty(params: Tensor) -> Tensor:
            point = space.sample(params) if isinstance(space, GaussianSpace) else params
            far = torch.stack([point[:, part].square().mean(1) for part in apart(prior, point)]).sum(0)
            return pull * far + cost(point) if cost else pull * far

        return penalty if cost or pull else None

    def _narrow(self, begin: Tensor, stage: Stage) -> Callable[[Tensor], Part] | None:
        if self.attack.stop is None:
            return None
        return lambda rows: self._part(begin[rows], self.wanted[rows], stage)


def _asked(loss: Loss, wanted: Tensor) -> Objective:
    return lambda chips: loss(chips, wanted)
