"""What an inversion study does: which attacks meet which victims, and who judges them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from experiments.inversion_victims import VictimPlan
from facesec_bench.closed_set_training import Schooling
from facesec_bench.errors import ConfigError
from facesec_bench.interfaces import Faces, FRTarget
from facesec_bench.targets.closed_set import ClosedSet

Hardening = Callable[[ClosedSet, Faces, Schooling, torch.Generator], ClosedSet]
"""(untaught network, photos of its people, how, rng) -> a taught one: the config group `hardening`."""
Answer = Callable[[Tensor], Tensor]
"""(B, K) logits -> (B, K) logits as they leave the system: the config group `answer`."""
EmbeddingDefence = Callable[[FRTarget, Tensor, torch.Generator], FRTarget]
"""(recogniser, photos of other people, rng) -> a defended one with another name: the group `embedding_defence`."""


class Attack(Protocol):
    """An inversion: the config group `inversion`.

    Attributes:
        asks: "classifier" (a `ClassifierAccess`), "embedding" (an `EmbeddingAccess`) or "any".
        level: what it needs of it; by what is asked, where that is any.
    """

    asks: str
    level: Any

    def __call__(self, people: Tensor, victim: Any, public: Tensor, rng: torch.Generator) -> Tensor:
        """(B,) people and (N, 3, 224, 224) photos of others -> (B, 3, 224, 224) recoveries in [0, 1]."""
        ...


def uses(attack: Attack) -> tuple[str, ...]:
    """Names of the targets, beside the victim, that its pictures are fitted to; an attack without the attribute has
    none."""
    return tuple(getattr(attack, "uses", ()))


def level(attack: Attack, asks: str) -> str:
    """What it needs of a classifier or of an embedding."""
    return str(attack.level if isinstance(attack.level, str) else attack.level[asks])


@dataclass(frozen=True)
class Design:
    """The parts of a study.

    Attributes:
        far, fars: rate at which success is told first, and all that are calibrated.
        people: at most so many private people; None for all with two photos.
        held: share of each person's photos that nobody learns from.
        samples: recoveries of each person.
        evaluators: names of targets; the first one that a victim does not use judges what was recovered from it.
        least_victim, least_evaluator: accuracy on held photos below which no attack runs.
        recover: names of targets whose embeddings are attacked.
        harden: names of victims that every hardening is applied to.
        hardened_by: names of attacks that meet hardened victims; None for all of classifiers.
        filter: names of victims that every answer filter stands before.
        plausible: least confidence of the face detector for a recovery to count as a face.
        most: budget of queries of one attack on one victim; None for no end.
        examples: people shown in the report.
    """

    far: float = 0.01
    fars: Sequence[float] = (0.1, 0.01, 0.001)
    people: int | None = None
    held: float = 0.3
    samples: int = 2
    evaluators: Sequence[str] = ("mobilefacenet", "sface")
    least_victim: float = 0.8
    least_evaluator: float = 0.9
    recover: Sequence[str] = ()
    harden: Sequence[str] = ()
    hardened_by: Sequence[str] | None = None
    filter: Sequence[str] = ()
    plausible: float = 0.6
    most: int | None = None
    examples: int = 4

    def __post_init__(self) -> None:
        if self.samples < 1 or self.examples < 0 or not 0 <= self.plausible <= 1:
            raise ConfigError(
                f"Found samples {self.samples}, examples {self.examples} and plausible {self.plausible} in "
                "study.design, wanted 1 or more, 0 or more, and a confidence in [0, 1]."
            )
        if self.people is not None and not (isinstance(self.people, int) and self.people >= 2):
            raise ConfigError(f"Found study.design.people {self.people!r}, wanted 2 or more, or null for all.")
        if not 0 < self.held < 1:
            raise ConfigError(f"Found study.design.held {self.held}, wanted a share between 0 and 1.")
        if self.most is not None and self.most < 1:
            raise ConfigError(f"Found study.design.most {self.most}, wanted 1 query or more, or null for no end.")
        if not (0 <= self.least_victim <= 1 and 0 <= self.least_evaluator <= 1):
            raise ConfigError("Found a least accuracy in study.design outside [0, 1].")


@dataclass(frozen=True)
class Plan:
    """What was configured, by name.

    Attributes:
        attacks: the config group `inversion`.
        victims: the config group `victim`.
    """

    design: Design
    attacks: Mapping[str, Attack]
    victims: Mapping[str, VictimPlan]
    hardening: Mapping[str, Hardening] = field(default_factory=dict)
    answers: Mapping[str, Answer] = field(default_factory=dict)
    embedding_defences: Mapping[str, EmbeddingDefence] = field(default_factory=dict)

    def check(self, targets: Mapping[str, FRTarget]) -> None:
        """Refuse what cannot be, before anything is computed.

        Raises:
            ConfigError: no attack, nothing to attack, a name that is not configured, or no evaluator for a victim.
        """
        design = self.design
        if not self.attacks or not (self.victims or design.recover):
            raise ConfigError(
                "Found no attack or nothing to attack, wanted inversion=[...], and victim=[...] or "
                "study.design.recover=[...]."
            )
        known = {
            "recover": (design.recover, targets),
            "evaluators": (design.evaluators, targets),
            "harden": (design.harden, self.victims),
            "filter": (design.filter, self.victims),
            "hardened_by": (design.hardened_by or (), self.attacks),
        }
        for what, (names, among) in known.items():
            unknown = [name for name in names if name not in among]
            if unknown:
                more = ", or add it to target=[...]" if among is targets else ""
                raise ConfigError(f"Found {unknown} in study.design.{what}, wanted names among: {list(among)}{more}.")
        self._check_used()
        clash = set(self.victims) & set(targets)
        if clash:
            raise ConfigError(f"Found {sorted(clash)} both as a victim and as a target, wanted names of their own.")
        for name, plan in self.victims.items():
            self.evaluator(plan.recogniser, name, "classifier")
        for name in design.recover:
            self.evaluator(name, name, "embedding")

    def _check_used(self) -> None:
        """Refuse what would silently do nothing."""
        design = self.design
        pairs = {
            "hardening": (self.hardening, "harden", design.harden),
            "answer": (self.answers, "filter", design.filter),
            "embedding_defence": (self.embedding_defences, "recover", design.recover),
        }
        for group, (chosen, key, names) in pairs.items():
            if chosen and not names:
                raise ConfigError(
                    f"Found {group}={list(chosen)} and nothing that it defends, wanted names in study.design.{key}."
                )
            if names and not chosen and key != "recover":
                raise ConfigError(f"Found study.design.{key}={list(names)} and no {group}, wanted {group}=[...].")
        for asks, of, remedy in (
            ("classifier", self.victims, "an inversion of classifiers, or victim=[]"),
            ("embedding", design.recover, "an inversion of embeddings, or study.design.recover=[]"),
        ):
            if of and not self.of(asks):
                raise ConfigError(f"Found {list(of)} to attack and no attack that asks {asks}s, wanted {remedy}.")
        searches = {name: attack for name, attack in self.of("classifier").items() if attack.asks != "any"}
        if design.filter and all(level(attack, "classifier") == "white" for attack in searches.values()):
            raise ConfigError(
                f"Found answer={list(self.answers)} and no attack that it stands before: {list(searches)} "
                "have the weights. Wanted one that asks, such as mirror or brep_mi."
            )
        lost = set(design.hardened_by or ()) - set(self.of("classifier"))
        if lost:
            raise ConfigError(
                f"Found {sorted(lost)} in study.design.hardened_by, wanted attacks on classifiers: "
                f"{list(self.of('classifier'))}."
            )

    def evaluator(self, attacked: str | None, victim: str, kind: str) -> str:
        """Who judges what was recovered from `victim`, a "classifier" that uses the recogniser `attacked`, or that
        one's "embedding".

        Raises:
            ConfigError: every evaluator is what is attacked, or what an attack on victims fits its pictures to.
        """
        known = {name for attack in self.of(kind).values() for name in uses(attack)}
        barred = {attacked, *known}
        found = next((name for name in self.design.evaluators if name not in barred), None)
        if found is None:
            fitted = f" (or what an attack's students are made of: {sorted(known)})" if barred - {attacked} else ""
            raise ConfigError(
                f"Found no evaluator for {victim} in study.design.evaluators: {list(self.design.evaluators)}; wanted a "
                f"target other than {attacked}, which is attacked and cannot judge{fitted}."
            )
        return found

    def of(self, asks: str) -> dict[str, Attack]:
        """The attacks on classifiers, or on embeddings."""
        return {name: attack for name, attack in self.attacks.items() if attack.asks in (asks, "any")}

    def on_hardened(self) -> dict[str, Attack]:
        """The attacks that hardened victims meet."""
        own = self.of("classifier")
        chosen = self.design.hardened_by
        return own if chosen is None else {name: own[name] for name in chosen if name in own}
