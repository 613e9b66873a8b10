"""What a watermark study compares: attacks by what the attacker knows, their controls, and defences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from experiments.setting import budget, budget_name, whole_levels
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
    "K4": "The attacker knows the victim, neither watermarker nor message: crafted through another watermarker.",
    "K5": "As K1, without a gradient through the watermarker (BPDA).",
    "random_sign": "Does a change of this size do it, whatever it is?",
    "pgd": "What does plain dodging reach, with as many steps and no stealth? It fails unmarked too.",
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
        settings: what differs from the configured attack at this budget.
        setting: the one thing that differs along a trade-off.
    """

    name: str
    role: Literal["attack", "control", "defence", "adaptive"]
    marking: Marking = "deployed"
    defence: str = ""
    knowledge: str = ""
    about: str = ""
    health: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    setting: Mapping[str, Any] = field(default_factory=dict)


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
    trade_off: Mapping[str, Any],
) -> list[Craft]:
    """All that is crafted without a defence in sight. The first target is studied at every level, the others at K1.

    Args:
        eps_255: budgets beside the configured one.
        changes_at: budget -> settings that `make` changes there, to be told.
        trade_off: {"eps_255": budget, setting: values}: the first activation with one setting varied (and others
            fixed, where they have one value); empty for none.

    Raises:
        ConfigError: no activation is configured, or one has no budget, or one that is not a whole number of levels.
    """
    plain = budgets(activation, eps_255, trade_off)
    crafts: list[Craft] = []
    for (name, method), eps in zip(activation.items(), plain, strict=True):
        more = changes_at.get(eps, {})
        if getattr(method, "universal", False):
            crafts.append(
                _attack(name, method, known.armed(method, "K2"), "K2", eps, targets[:1], targets, transfer, more)
            )
            continue
        crafts += _levels(name, method, known, levels, eps, targets, transfer, not_in_ensembles, more)
        if impersonate:
            armed = known.armed(method, "K1")
            craft = _attack(f"{name}_impersonate", method, armed, "K1", eps, targets[:1], targets, transfer, more)
            crafts.append(replace(craft, kind="impersonate"))
        for other in (float(e) for e in eps_255 if e != eps):
            again, more = make("activation", name, eps_255=other), changes_at.get(other, {})
            crafts.append(
                _attack(name, again, known.armed(again, "K1"), "K1", other, targets[:1], targets, False, more)
            )
    first = next((n for n, m in activation.items() if not getattr(m, "universal", False)), None)
    if trade_off and first is not None:
        crafts += _trade_off(first, make, known, targets[0], **trade_off)
    used = sorted({*plain, *map(float, eps_255)})
    steps = max((getattr(method, "steps", 10) for method in activation.values()), default=10)
    return _merged(crafts) + [
        c for eps in used for c in _controls(make, eps, targets, steps, eps in plain, impersonate and eps in plain)
    ]


def budgets(
    activation: Mapping[str, Activation], eps_255: Sequence[float], trade_off: Mapping[str, Any]
) -> list[float]:
    """The configured budget of each activation, in their order; cheap, so that a study can ask before it calibrates.

    Raises:
        ConfigError: no activation is configured, or one has no budget, or one that is not a whole number of levels.
    """
    if not activation:
        raise ConfigError("Found no activation, wanted at least one: activation=[adversarial_watermark]")
    found = [budget(method) for method in activation.values()]
    plain = [eps for eps in found if eps is not None]
    if len(plain) < len(found):
        raise ConfigError("Found an activation without eps_255, wanted a budget: images are compared at equal ones.")
    whole_levels([*plain, *eps_255, *([trade_off["eps_255"]] if trade_off else [])], "activation")
    return plain


def _levels(
    name: str,
    method: Activation,
    known: Knowledge,
    levels: Sequence[Level],
    eps: float,
    targets: Sequence[str],
    transfer: bool,
    not_in_ensembles: Sequence[str],
    more: Mapping[str, Any],
) -> list[Craft]:
    crafts = []
    judged = transfer and "K3" in levels
    for level in levels:
        if level == "K3" or (level == "K5" and not known.watermark.differentiable):
            continue
        stem = name if level == "K1" else f"{name}_{level.lower()}"
        for target in targets if level == "K1" else targets[:1]:
            armed = known.armed(method, level)
            crafts.append(_attack(stem, method, armed, level, eps, (target,), targets, judged, more))
    members = [target for target in targets if target not in not_in_ensembles]
    for victim in targets if judged else ():
        others = tuple(m for m in members if m != victim)
        if len(others) > 1:
            crafts.append(_attack(name, method, known.armed(method, "K1"), "K3", eps, others, (victim,), True, more))
    return crafts


def _trade_off(name: str, make: Make, known: Knowledge, target: str, *, eps_255: float, **settings: Any) -> list[Craft]:
    """One crafting for each value of each setting that has several; settings with one value hold for all of them."""
    crafts = []
    fixed = {key: value for key, value in settings.items() if not isinstance(value, Sequence)}
    for setting, values in settings.items():
        for value in values if setting not in fixed else ():
            method = make("activation", name, eps_255=float(eps_255), **fixed, **{setting: value})
            stem = f"{name}_{setting}{value:g}"
            craft = _attack(
                stem, method, known.armed(method, "K1"), "K1", float(eps_255), (target,), (target,), False, fixed
            )
            row = replace(craft.rows[0], setting={setting: value}, health=False, about=_told({setting: value} | fixed))
            crafts.append(replace(craft, rows=(row,)))
    return crafts


def _attack(
    stem: str,
    method: Activation,
    armed: Evasion,
    level: str,
    eps: float,
    surrogates: Sequence[str],
    targets: Sequence[str],
    transfer: bool,
    settings: Mapping[str, Any],
) -> Craft:
    surrogates = tuple(surrogates)
    victims = tuple(targets) if surrogates[0] not in targets else surrogates
    if transfer and surrogates[0] in targets:
        victims = (*surrogates, *(t for t in targets if t not in surrogates))
    name = budget_name(stem, eps)
    about = ABOUT[level]
    if getattr(method, "universal", False):
        about += " One perturbation for each half of a batch of people, never crafted on them."
    if settings:
        about += f" Here {_told(settings)}"
    row = Row(name, "attack", knowledge=level, about=about, health=True, settings=dict(settings))
    return Craft(Entry(name, armed, surrogates, victims, eps), "dodge", (row,))


def _told(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {value}" for key, value in settings.items()) + "."


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


def _controls(make: Make, eps: float, targets: Sequence[str], steps: int, main: bool, impersonate: bool) -> list[Craft]:
    """Random sign at every budget, and for each goal; plain dodging at the main ones, on each target."""
    sign, everyone = make("evasion", "random_sign", eps_255=eps), tuple(targets)
    row = Row(budget_name("random_sign", eps), "control", about=ABOUT["random_sign"])
    controls = [Craft(Entry(row.name, sign, (), everyone, eps), "dodge", (row,))]
    if impersonate:
        other = replace(row, name=budget_name("random_sign_impersonate", eps))
        controls.append(Craft(Entry(other.name, sign, (), everyone, eps), "impersonate", (other,)))
    for target in targets if main else ():
        dodge = Row(budget_name("pgd", eps), "control", about=ABOUT["pgd"])
        method = make("evasion", "pgd", eps_255=eps, steps=steps)
        controls.append(Craft(Entry(dodge.name, method, (target,), (target,), eps), "dodge", (dodge,)))
    return controls


def with_remarks(craft: Craft) -> Craft:
    """The craft with its controls: the same photos, marked in other ways."""
    goal = "_impersonate" if craft.kind == "impersonate" else ""
    more = tuple(
        Row(budget_name(f"{marking}{goal}", craft.entry.eps_255), "control", marking=marking, about=ABOUT[marking])
        for marking in REMARKS
    )
    return replace(craft, rows=(*craft.rows, *more))
