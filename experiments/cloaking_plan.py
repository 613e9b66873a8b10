"""The plan of a cloaking study: which cloak is crafted on whom, who judges it, and what the report says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments import catalogue
from experiments.cloaking_judge import Untouched
from experiments.evasion import CONTROL, Make, method_cards
from experiments.setting import PLAIN_BUDGET_255, budget, budget_name, whole_levels
from facesec_bench.errors import ConfigError
from facesec_bench.interfaces import Evasion, FRTarget
from facesec_bench.protocols import cloaking as protocol
from facesec_bench.protocols.crafting import Entry, GoalName

CLEAN = "clean"


@dataclass(frozen=True)
class Design:
    """What is compared with what.

    Attributes:
        far: the false accept rate at which success is judged; `fars` are all that are calibrated.
        not_victims: targets that craft but never judge, such as weak ones; one that comes with this project may be
            named where it is not among the run's targets.
        not_surrogates: targets that judge but never craft; likewise.
        adaptive: names of the methods to which a tracker adapts every victim; None for none.
        training_people, training_photos: of the tracker's own photos, how many people and at most how many of each.
        calibration_share: share of identities kept apart for calibration only; 0 calibrates on all clean pairs.
    """

    far: float = 0.01
    fars: Sequence[float] = (0.1, 0.01, 0.001)
    goals: Sequence[GoalName] = ("dodge", "impersonate")
    not_victims: Sequence[str] = ()
    not_surrogates: Sequence[str] = ()
    adaptive: Sequence[str] | None = None
    training_people: int = 20
    training_photos: int = 2
    calibration_share: float = 0.0


def held_out(targets: Mapping[str, FRTarget], design: Design) -> list[str]:
    """The targets that judge, each held out of what it judges.

    Raises:
        ConfigError: a name that no target bears, none is left, one has no surrogate, or one bears the name of the mean.
    """
    for what, names in (("not_victims", design.not_victims), ("not_surrogates", design.not_surrogates)):
        unknown = [name for name in names if name not in targets and name not in catalogue.entries("target")]
        if unknown:
            raise ConfigError(
                f"Found {unknown} in study.design.{what}, wanted names among the targets: {list(targets)}. A name that "
                f"nobody bears would leave nobody out; study.design.{what}=[] leaves nobody out."
            )
    victims = [name for name in targets if name not in design.not_victims]
    if not victims or protocol.MEAN in victims:
        raise ConfigError(f"Found {victims} as victims, wanted one or more, none of them called {protocol.MEAN!r}.")
    for victim in victims:
        if not _surrogates(targets, victim, design):
            raise ConfigError(
                f"Found no surrogate for {victim}, wanted another target to craft on: "
                "target=[sface,dlib_resnet,mobilefacenet]; study.design.not_surrogates may leave out too many."
            )
    return victims


def _surrogates(targets: Mapping[str, FRTarget], victim: str, design: Design) -> tuple[str, ...]:
    return tuple(name for name in targets if name != victim and name not in design.not_surrogates)


def plan(
    targets: Mapping[str, FRTarget],
    victims: Sequence[str],
    methods: Mapping[str, Evasion],
    make: Make,
    design: Design,
) -> list[Entry]:
    """The untouched photo, the control, and each method on every leave-one-out set; sets that victims share once.

    Raises:
        ConfigError: no method, one called like the untouched photo, or a budget between grey levels.
    """
    if CLEAN in methods or not set(methods) - {CONTROL}:
        raise ConfigError(f"Found the methods {list(methods)}, wanted one or more, none called {CLEAN!r}.")
    sets: dict[tuple[str, ...], tuple[str, ...]] = {}
    for victim in victims:
        surrogates = _surrogates(targets, victim, design)
        sets[surrogates] = (*sets.get(surrogates, ()), victim)
    control = make("evasion", CONTROL, eps_255=PLAIN_BUDGET_255)
    entries = [
        Entry(CLEAN, Untouched(), (), tuple(victims), None),
        Entry(CONTROL, control, (), tuple(victims), PLAIN_BUDGET_255),
    ]
    for name, method in methods.items():
        if name == CONTROL:  # it always runs
            continue
        linf, eps = getattr(method, "eps_255", None), budget(method)
        whole_levels([] if linf is None else [linf], name)
        entries += [Entry(budget_name(name, eps), method, on, by, eps) for on, by in sets.items()]
    return entries


def cards(entries: Sequence[Entry], known: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """For every method of the plan, by its name: what it is, its budget, its role and what it was asked to look like.

    Roles: "control", "cloak" (without the budget of a pixel attack) or "attack". A cloak whose pixels are bounded all
    the same says by how much: `shade_255`, the greatest change of any pixel.
    """
    found = method_cards(entries, {CLEAN: {"title": "The photo without a cloak."}, **known})
    for entry in entries:
        control = entry.method in (CLEAN, CONTROL)
        found[entry.method]["role"] = "control" if control else "cloak" if entry.eps_255 is None else "attack"
        for name, value in (("prompt", _prompt(entry.attack)), ("shade_255", getattr(entry.attack, "shade_255", None))):
            if value is not None:
                found[entry.method][name] = value
    return found


def _prompt(method: Evasion) -> str | None:
    """What a method was asked to make of a photo: by its guidance, or by itself where it paints makeup only."""
    return getattr(getattr(method, "guidance", None), "prompt", None) or getattr(method, "prompt", None)


def adapted_to(methods: Mapping[str, Evasion], design: Design, can: bool) -> dict[str, Evasion]:
    """The methods to which a tracker adapts, by name with the budget.

    Args:
        can: whether there are a retrainer and photos to train on.

    Raises:
        ConfigError: a name that is not configured, no dodging to undo, or nothing to adapt with.
    """
    names = list(design.adaptive or ())
    unknown = [name for name in names if name not in methods or name == CONTROL]
    if unknown:
        raise ConfigError(
            f"Found {unknown} in study.design.adaptive, wanted names among the configured methods: {list(methods)} "
            "(null for none)."
        )
    if names and (not can or "dodge" not in design.goals):
        raise ConfigError(
            "Found methods to adapt to, and no retrainer, no training photos or no dodging; wanted all three: "
            "retrainer=cloak_finetuning, or study.design.adaptive=null."
        )
    if names and (design.training_people < 2 or design.training_photos < 1):
        raise ConfigError(
            f"Found training_people {design.training_people} and training_photos {design.training_photos}, wanted at "
            "least 2 people and 1 photo of each."
        )
    return {budget_name(name, budget(methods[name])): methods[name] for name in names}
