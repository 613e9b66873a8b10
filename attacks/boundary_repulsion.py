"""BREP-MI: inversion from labels alone (Kahla et al., "Label-Only Model Inversion Attacks via Boundary Repulsion", CVPR
2022): away from whatever nearby is taken for somebody else, to the middle of where the person is seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from attacks.inversion_priors import PointSpace, Prior, PriorMaker, modules_of
from facesec_bench.access import ClassifierAccess, ClassifierLevel
from facesec_bench.errors import ConfigError, DataError
from facesec_bench.search import GradientAt, borrowed, minimise

Right = Callable[[Tensor, Tensor], Tensor]
"""(params (M, P), rows (M,) of the batch they belong to) -> (M,) bool: is it taken for the person? M queries."""

_AT_ONCE = 64
"""Pictures asked about together."""


@dataclass
class Repulsion:
    """A `search.Rule`: points on a sphere around each row are asked about, and those taken for somebody else push.

    Where more than `share` of a row's points are right, its sphere grows by `growth` and the row stays; else it moves
    by a third of the radius, at most `longest`, times the mean over all points of their directions, right ones counting
    0 and wrong ones -1, unless it would leave the person there. (The released code moves in the step of growth too, and
    does not count a move that was taken back as a step.) A row whose sphere has not grown for `patience` steps rests.

    Attributes:
        radius: of the spheres at the beginning.
    """

    right: Right
    rng: torch.Generator
    points: int = 32
    radius: float = 2.0
    growth: float = 1.3
    share: float = 0.75
    longest: float = 3.0
    patience: int = 1000
    radii: Tensor | None = field(default=None, init=False)
    waited: Tensor | None = field(default=None, init=False)

    def reset(self) -> None:
        """Forget the spheres."""
        self.radii = self.waited = None

    def step(self, params: Tensor, gradient_at: GradientAt) -> Tensor:
        """Grow, move or rest."""
        if self.radii is None or self.waited is None:
            self.radii = torch.full((len(params),), self.radius, device=params.device)
            self.waited = torch.zeros(len(params), dtype=torch.int64, device=params.device)
        rows = (self.waited < self.patience).nonzero()[:, 0]
        if not len(rows):
            return params
        noise = torch.randn(len(rows), self.points, params.shape[1], generator=self.rng, device=self.rng.device)
        ways = functional.normalize(noise.to(params), dim=2)
        around = params[rows, None] + self.radii[rows, None, None] * ways
        right = self._asked(around.flatten(0, 1), rows.repeat_interleave(self.points)).view(len(rows), self.points)
        grown = right.float().mean(1) > self.share
        self.radii[rows[grown]] *= self.growth
        self.waited[rows] = torch.where(grown, 0, self.waited[rows] + 1)
        pushed = rows[~grown]
        if not len(pushed):
            return params
        wrong = (~right[~grown]).to(params)
        away = -(wrong[..., None] * ways[~grown]).mean(1)
        moved = params.clone()
        moved[pushed] += (self.radii[pushed] / 3).clamp_max(self.longest)[:, None] * away
        kept = self._asked(moved[pushed], pushed)
        moved[pushed[~kept]] = params[pushed[~kept]]
        return moved

    def _asked(self, params: Tensor, rows: Tensor) -> Tensor:
        pairs = zip(params.split(_AT_ONCE), rows.split(_AT_ONCE), strict=True)
        return torch.cat([self.right(few, whose) for few, whose in pairs])


@dataclass(frozen=True)
class BoundaryRepulsion:
    """The attack.

    Attributes:
        prior: which pictures count as faces.
        steps: at most.
        draws: pictures drawn at most for each person until one is taken for them.
        points, radius, growth, share, longest, patience: see `Repulsion`; defaults are those of the paper's code.

    Raises:
        ConfigError: a number out of range.
    """

    prior: PriorMaker
    steps: int = 100
    draws: int = 1000
    points: int = 32
    radius: float = 2.0
    growth: float = 1.3
    share: float = 0.75
    longest: float = 3.0
    patience: int = 1000
    level: ClassifierLevel = "hard_label"
    asks: ClassVar[str] = "classifier"

    def __post_init__(self) -> None:
        if self.steps < 0 or min(self.draws, self.points, self.patience) < 1 or not 0 < self.share <= 1:
            raise ConfigError(
                f"boundary repulsion: found steps {self.steps}, draws {self.draws}, points {self.points}, patience "
                f"{self.patience} and share {self.share}, wanted 0 steps or more, counts above 0 and a share up to 1."
            )
        if not min(self.radius, self.longest) > 0 or not self.growth > 1:
            raise ConfigError(
                f"boundary repulsion: found radius {self.radius}, longest {self.longest} and growth {self.growth}, "
                "wanted lengths above 0 and a growth above 1."
            )

    def __call__(self, people: Tensor, victim: ClassifierAccess, public: Tensor, rng: torch.Generator) -> Tensor:
        """One picture for each row, see `inversion.Inversion`. For whom no drawn picture is taken, the search cannot
        begin: a drawn picture stands there, and the victim's meter has a note.

        Raises:
            DataError: there is nobody for whom one is taken.
            AccessError: the victim's budget is spent.
        """
        prior = self.prior.bind(victim, public, rng)

        def right(params: Tensor, rows: Tensor) -> Tensor:
            return victim.labels(prior.render(prior.project(params))) == people[reached[rows]]

        rule = Repulsion(
            right, rng, self.points, self.radius, self.growth, self.share, self.longest, self.patience
        )  # fmt: skip
        with borrowed(*modules_of(prior)), torch.no_grad():
            found, reached = self._begin(prior, people, victim, rng)
            space = PointSpace(prior, found[reached])
            found[reached] = minimise(_no_gradient, space, rule, self.steps, rng)
            return torch.cat([prior.render(few) for few in found.split(_AT_ONCE)])

    def _begin(
        self, prior: Prior, people: Tensor, victim: ClassifierAccess, rng: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """(B, P): for each row a drawn picture that is taken for its person, or any; and the rows (R,) of the former.
        One pool serves all rows."""
        found: dict[int, Tensor] = {}
        drawn = 0
        while len(found) < len(people) and drawn < self.draws:
            pool = prior.draw(min(_AT_ONCE, self.draws - drawn), rng).to(people.device)
            drawn += len(pool)
            for params, label in zip(pool, victim.labels(prior.render(pool)).tolist(), strict=True):
                waiting = [row for row, person in enumerate(people.tolist()) if person == label and row not in found]
                if waiting:
                    found[waiting[0]] = params
        if not found:
            raise DataError(
                f"boundary repulsion: none of {drawn} drawn pictures was taken for any of the people asked for; wanted "
                "one for each picture. Raise draws in the attack's YAML, or take a prior that paints them."
            )
        missing = [row for row in range(len(people)) if row not in found]
        if missing:
            victim.meter.notes.append(
                f"of {drawn} drawn pictures too few were taken for the person of {len(missing)} of {len(people)} "
                "pictures, so that their search could not begin: drawn pictures stand there, and count."
            )
            found |= dict(zip(missing, prior.draw(len(missing), rng).to(people.device), strict=True))
        reached = [row for row in range(len(people)) if row not in missing]
        return torch.stack([found[row] for row in range(len(people))]), torch.tensor(reached, device=people.device)


def _no_gradient(images: Tensor) -> Tensor:
    raise AssertionError("Labels give no gradient.")
