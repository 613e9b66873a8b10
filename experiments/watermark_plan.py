"""What a watermark study compares: attacks by what the attacker knows, their controls, and defences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from experiments.setting import budget, budget_name
from facesec_bench.errors import ConfigError
from facesec_bench.goals import Aim
from facesec_bench.interfaces import Activation, Evasion, Faces, FRTarget, Purifier, Watermark
from facesec_bench.protocols.crafting import Entry, GoalName
from facesec_bench.watermarks.straight_through import StraightThrough

Marking = Literal["deployed", "other_message", "other_watermarker", "gaussian_residual", "jpeg_before_marking"]
Level = Literal["K1", "K2", "K3", "K4", "K5"]

ABOUT: dict[str, str] = {
    "K1": "The attacker knows the victim, the watermarker and the message.",
    "K2": "The attacker knows the victim and the watermarker; the message is averaged over random ones.",
    "K3": "The attacker knows the watermarker and the message; the victim is unseen.",
    "K4": "The attacker knows the victim, and crafts through another watermarker than the one that marks.",
    "K5": "As K1, without a gradient through the watermarker (BPDA).",
    "random_sign": "Does a change of this size do it, whatever it is?",
    "pgd": "What does plain dodging reach? It is meant to fail unmarked too: an upper bound without stealth.",
    "other_message": "Does any message activate the photo? It is marked with another one.",
    "other_watermarker": "Does any watermark activate the photo? It is marked by another watermarker.",
    "gaussian_residual": "Does noise as strong as the watermark activate the photo?",
    "jpeg_before_marking": "Does the change survive JPEG 75 before it is marked?",
}
"""One sentence on each row: what the attacker knows, or which question a control answers."""

REMARKS: tuple[Marking, ...] = ("other_message", "other_watermarker", "gaussian_residual", "jpeg_before_marking")
"""Controls that mark the attack's own photos in another way."""


@dataclass(frozen=True)
class Armed:
    """An activation with all that its attacker knows, in the form of an evasion, so that `crafting.craft` serves it."""

    activation: Activation
    thresholds: Mapping[str, float]
    watermark: Watermark
    messages: Mapping[str, Tensor] | None
    purifier: Purifier | None = None

    def __call__(self, faces: Faces, aim: Aim, surrogates: Sequence[FRTarget], rng: torch.Generator) -> Tensor:
        """Perturbed, unmarked chips; see `interfaces.Activation`. `messages` are by the photo's key."""
        known = None if self.messages is None else torch.stack([self.messages[key] for key in faces.keys])
        return self.activation(
            faces,
            aim,
            surrogates,
            [self.thresholds[s.name] for s in surrogates],
            self.watermark,
            known,
            rng,
            purifier=self.purifier,
        )


@dataclass(frozen=True)
class Row:
    """One row of the tables: images that were crafted, how they are marked, and which system judges them.

    Attributes:
        name: the method's name, without surrogates.
        role: "attack", "control", "defence" (the attack does not know it) or "adaptive" (it does).
        defence: name of the defence that stands between, or "".
        about: what the row answers, one sentence.
        health: whether its bits are read after distortions too.
    """

    name: str
    role: Literal["attack", "control", "defence", "adaptive"]
    marking: Marking = "deployed"
    defence: str = ""
    knowledge: str = ""
    about: str = ""
    health: bool = False


@dataclass(frozen=True)
class Craft:
    """One crafting, and every row that its images serve.

    Attributes:
        entry: what is crafted, on what, and who judges.
        kind: the goal.
        rows: the rows that its images serve.
    """

    entry: Entry
    kind: GoalName
    rows: tuple[Row, ...]

    @property
    def label(self) -> str:
        """How a failure names it."""
        return f"{self.rows[0].name} on {'+'.join(self.entry.surrogates) or 'no surrogate'}"


@dataclass(frozen=True)
class Knowledge:
    """All that attackers of a study may know.

    Attributes:
        thresholds: by target, at the rate at which success is judged.
        messages: by key of the photo, (L,).
    """

    thresholds: Mapping[str, float]
    watermark: Watermark
    other: Watermark
    messages: Mapping[str, Tensor]

    def armed(self, activation: Activation, level: Level, purifier: Purifier | None = None) -> Armed:
        """The attack at a level of knowledge. K3 knows what K1 knows; what differs is its surrogates."""
        if level == "K2":
            return Armed(activation, self.thresholds, self.watermark, None, purifier)
        if level == "K4":
            return Armed(activation, self.thresholds, self.other, None, purifier)
        seen: Watermark = StraightThrough(self.watermark) if level == "K5" else self.watermark
        return Armed(activation, self.thresholds, seen, self.messages, purifier)


Make = Callable[..., Any]
"""(group, name, **changes) -> a method; see `experiments.session`."""


def plan(
    targets: Sequence[str],
    activation: Mapping[str, Activation],
    make: Make,
    known: Knowledge,
    *,
    levels: Sequence[Level],
    impersonate: bool,
    eps_255: Sequence[float],
    changes_at: Mapping[float, Mapping[str, Any]],
    transfer: bool,
    not_in_ensembles: Sequence[str],
) -> list[Craft]:
    """All that is crafted without a defence in sight. The first target is studied at every level, the others at K1.

    Args:
        eps_255: budgets beside the configured one.
        changes_at: budget -> settings that `make` changes there, to be told.

    Raises:
        ConfigError: no activation is configured, or one of them has no budget.
    """
    if not activation:
        raise ConfigError("Found no activation, wanted at least one: activation=[adversarial_watermark]")
    first, crafts = targets[0], []
    members = [name for name in targets if name not in not_in_ensembles]
    plain = [eps for a in activation.values() if (eps := budget(a)) is not None]
    if len(plain) != len(activation):
        raise ConfigError("Found an activation without eps_255, wanted a budget: images are compared at equal ones.")
    for name, method in activation.items():
        eps = float(budget(method) or 0)
        if getattr(method, "universal", False):
            crafts.append(_attack(name, method, known.armed(method, "K2"), "K2", eps, (first,), targets, transfer))
            continue
        for level in levels:
            if level == "K3" or (level == "K5" and not known.watermark.differentiable):
                continue
            stem = name if level == "K1" else f"{name}_{level.lower()}"
            white = targets if level == "K1" else (first,)
            for target in white:
                crafts.append(
                    _attack(stem, method, known.armed(method, level), level, eps, (target,), targets, transfer)
                )
        for victim in targets if transfer and "K3" in levels else ():
            others = tuple(m for m in members if m != victim)
            if len(others) > 1:
                crafts.append(_attack(name, method, known.armed(method, "K1"), "K3", eps, others, (victim,), True))
        if impersonate:
            stem = f"{name}_impersonate"
            armed = known.armed(method, "K1")
            craft = _attack(stem, method, armed, "K1", eps, (first,), targets, transfer)
            crafts.append(replace(craft, kind="impersonate", rows=craft.rows[:1]))
        for other in (e for e in eps_255 if e != eps):
            more = changes_at.get(float(other), {})
            again = make("activation", name, eps_255=other)
            craft = _attack(name, again, known.armed(again, "K1"), "K1", float(other), (first,), (first,), False)
            told = " Here " + ", ".join(f"{key} = {value}" for key, value in more.items()) + "." if more else ""
            crafts.append(replace(craft, rows=tuple(replace(r, about=r.about + told) for r in craft.rows)))
    budgets = sorted({*plain, *map(float, eps_255)})
    return _merged(crafts) + [c for eps in budgets for c in _controls(make, eps, targets, main=eps in plain)]


def _attack(
    stem: str,
    method: Activation,
    armed: Evasion,
    level: str,
    eps: float,
    surrogates: tuple[str, ...],
    targets: Sequence[str],
    transfer: bool,
) -> Craft:
    victims = tuple(targets) if surrogates[0] not in targets else surrogates
    if transfer and surrogates[0] in targets:
        victims = (*surrogates, *(t for t in targets if t not in surrogates))
    name = budget_name(stem, eps)
    row = Row(name, "attack", knowledge=level, about=ABOUT[level], health=True)
    universal = " One perturbation for all, never crafted on the person." if getattr(method, "universal", False) else ""
    return Craft(Entry(name, armed, surrogates, victims, eps), "dodge", (replace(row, about=row.about + universal),))


def _merged(crafts: Sequence[Craft]) -> list[Craft]:
    """Ensembles that two victims share are crafted once."""
    found: dict[tuple[str, GoalName, tuple[str, ...]], Craft] = {}
    for craft in crafts:
        key = (craft.entry.method, craft.kind, craft.entry.surrogates)
        known = found.get(key)
        if known is not None:
            more = (v for v in craft.entry.victims if v not in known.entry.victims)
            craft = replace(known, entry=replace(known.entry, victims=(*known.entry.victims, *more)))
        found[key] = craft
    return list(found.values())


def _controls(make: Make, eps: float, targets: Sequence[str], main: bool) -> list[Craft]:
    """Random sign at every budget; plain dodging at the main one, on each target."""
    sign = Row(budget_name("random_sign", eps), "control", about=ABOUT["random_sign"])
    controls = [
        Craft(Entry(sign.name, make("evasion", "random_sign", eps_255=eps), (), tuple(targets), eps), "dodge", (sign,))
    ]
    dodge = Row(budget_name("pgd", eps), "control", about=ABOUT["pgd"])
    method = make("evasion", "pgd", eps_255=eps)
    for target in targets if main else ():
        controls.append(Craft(Entry(dodge.name, method, (target,), (target,), eps), "dodge", (dodge,)))
    return controls


def with_remarks(craft: Craft) -> Craft:
    """The craft with its controls: the same photos, marked in other ways."""
    eps = craft.entry.eps_255
    more = tuple(
        Row(budget_name(marking, eps), "control", marking=marking, about=ABOUT[marking], health=False)
        for marking in REMARKS
    )
    return replace(craft, rows=(*craft.rows, *more))
