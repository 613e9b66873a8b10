"""Adversarial watermarking: photos that are recognised until they are marked, their controls, and defences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from experiments.setting import Setting, Size, budget, budget_name, prepare
from experiments.watermark_defences import Defences, add_defences, fail
from experiments.watermark_judge import Judge, System, label_of, victims_of
from experiments.watermark_plan import ABOUT, Armed, Craft, Knowledge, Level, Make, Row, budgets, plan, with_remarks
from facesec_bench.data import Dataset
from facesec_bench.errors import ConfigError, FacesecError
from facesec_bench.interfaces import Activation, FRTarget, Purifier, Watermark
from facesec_bench.metrics.scores import summarise
from facesec_bench.progress import track
from facesec_bench.protocols.calibration import CalibrationStore
from facesec_bench.records import Outcome
from facesec_bench.runs import Run
from facesec_bench.seeds import generator
from facesec_bench.watermarks.messages import draw
from facesec_bench.watermarks.repetition import Repetition


@dataclass(frozen=True)
class Design:
    """What is compared with what.

    Attributes:
        far: the false accept rate at which success is judged; `fars` are all that are calibrated.
        targets: names of the targets that take part; None for all.
        levels: what attackers know, of K1 to K5; the first target is studied at each, the others at K1 and K3.
        impersonate: whether K1 also has the goal of being taken for someone else once marked.
        eps_255: budgets beside the configured one, K1 on the first target.
        changes_at: budget -> settings of every activation there in place of the configured ones, e.g. more steps; null
            for none. They are told on each row's card.
        trade_off: {"eps_255": budget, setting: values}: the first activation at K1 with one setting varied, so that
            what stealth, activation and bits cost one another shows as a curve; null for none.
        transfer: whether other targets judge, and leave-one-out ensembles are built.
        not_in_ensembles: targets that never sit in an ensemble, such as weak ones.
        message_length: payload in bits, repeated over the watermarker's own; None for all of them.
        distortions: whether the bits of attacked photos are also read after JPEG, resizing and noise.
        calibration_share: share of identities kept apart for calibration only; 0 calibrates on all clean pairs.
    """

    far: float = 0.01
    fars: Sequence[float] = (0.1, 0.01, 0.001)
    targets: Sequence[str] | None = None
    levels: Sequence[Level] = ("K1", "K2", "K3", "K4", "K5")
    impersonate: bool = True
    eps_255: Sequence[float] = ()
    changes_at: Mapping[float, Mapping[str, Any]] | None = None
    trade_off: Mapping[str, Any] | None = None
    transfer: bool = True
    not_in_ensembles: Sequence[str] = ()
    message_length: int | None = None
    distortions: bool = True
    calibration_share: float = 0.0

    def __post_init__(self) -> None:
        unknown = [level for level in self.levels if level not in ABOUT or not level.startswith("K")]
        if unknown or "K1" not in self.levels:
            raise ConfigError(f"Found levels {list(self.levels)}, wanted some of K1, K2, K3, K4, K5, with K1 in it.")


def watermark(
    run: Run,
    dataset: Dataset,
    targets: dict[str, FRTarget],
    *,
    activation: Mapping[str, Activation] | None = None,
    watermark: Watermark,
    other_watermark: Watermark,
    make: Make,
    design: Design,
    size: Size,
    store: CalibrationStore,
    purifier: Mapping[str, Purifier] | None = None,
    detector: Mapping[str, Any] | None = None,
    robust: Mapping[str, Any] | None = None,
    training: Callable[[], Dataset] | None = None,
    device: torch.device | str = "cpu",
    lpips: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Outcome:
    """Run the study.

    Args:
        watermark: marks and is read; attackers of K1, K2, K3 and K5 know it.
        other_watermark: the one that K4 knows, and the control "another watermarker".
        make: builds a method of a group with changed settings.
        purifier, detector, robust: defences by name, each in the same table, unaware and adaptive.
        training: photos of other people for the `robust` ones.

    Raises:
        ConfigError: a design that cannot be; see the message.
    """
    activation = activation or {}
    budgets(activation, design.eps_255, design.trade_off or {})
    targets = _chosen(targets, design.targets)
    for network in (watermark, other_watermark, lpips):
        if isinstance(network, torch.nn.Module):
            network.to(device)
    if design.message_length is not None:
        if not 1 <= design.message_length <= watermark.bits:
            raise ConfigError(
                f"Found study.design.message_length={design.message_length}, wanted 1 to {watermark.bits}, what "
                f"{watermark.name} carries (null for all of it)."
            )
        watermark = Repetition(watermark, design.message_length)
    if other_watermark.digest == watermark.digest:
        raise ConfigError(
            f"Found {watermark.name} as both watermark and other_watermark, wanted two: the other one is a control. "
            "Try watermark@other_watermark=spread_spectrum (or dwt_dct_svd)."
        )
    outcome = Outcome()
    setting = prepare(run, dataset, targets, outcome, design, size, store, device)
    changes_at = {float(eps): changes for eps, changes in (design.changes_at or {}).items()}
    make = _changing(make, changes_at)
    activation = {
        name: make("activation", name, eps_255=eps) if (eps := budget(method)) in changes_at else method
        for name, method in activation.items()
    }
    known = _knowledge(setting, targets, watermark, other_watermark, design, run.seed)
    judge = _judge(run, setting, targets, known, design, size, device, lpips)
    crafts = plan(
        list(targets),
        activation,
        make,
        known,
        levels=design.levels,
        impersonate=design.impersonate,
        eps_255=design.eps_255,
        changes_at=changes_at,
        transfer=design.transfer,
        not_in_ensembles=design.not_in_ensembles,
        trade_off=design.trade_off or {},
    )
    first = next(iter(activation))
    main = next(i for i, c in enumerate(crafts) if c.rows[0].role == "attack")
    crafts = [with_remarks(c) if _is_plain(c, first) else c for c in crafts]
    if not design.distortions:
        crafts = [replace(c, rows=tuple(replace(row, health=False) for row in c.rows)) for c in crafts]
    with run.stage("defences"):
        kinds = Defences(purifier or {}, detector or {}, robust or {}, training)
        unaware, adaptive = add_defences(
            run, judge, setting, crafts[main], first, activation[first], make, kinds, outcome
        )
    crafts[main] = replace(crafts[main], rows=(*crafts[main].rows, *unaware))
    crafts += adaptive
    run.card.methods = cards(crafts, run.card.methods, known)
    _describe(run, setting, design, known)
    with run.stage("attack"):
        for crafted in track(crafts, "attacking"):
            _run(run, judge, crafted, outcome)
    with run.stage("score"):
        outcome.scores |= summarise(outcome.records, run.seed)
    return outcome


def _chosen(targets: dict[str, FRTarget], names: Sequence[str] | None) -> dict[str, FRTarget]:
    unknown = [name for name in names or () if name not in targets]
    if unknown:
        raise ConfigError(f"Found {unknown} in the design, wanted names among the configured targets: {list(targets)}.")
    return {name: targets[name] for name in names} if names else targets


def _changing(make: Make, changes_at: Mapping[float, Mapping[str, Any]]) -> Make:
    """`make`, with the settings that an activation has at its budget."""

    def changed(group: str, name: str, **changes: Any) -> Any:
        at_budget = changes_at.get(float(changes["eps_255"]), {}) if group == "activation" else {}
        return make(group, name, **{**at_budget, **changes})

    return changed


def _run(run: Run, judge: Judge, crafted: Craft, outcome: Outcome) -> None:
    shown = crafted.rows[0].role == "attack" and len(crafted.entry.surrogates) == 1
    try:
        part = judge(crafted, shown)
    except FacesecError as error:
        # One method that cannot run must not cost the others; the report says which and why.
        fail(run, f"{crafted.label}: {error}")
        for row in crafted.rows:
            outcome.scores |= judge.owed(crafted, row)
        return
    outcome.records += part.records
    outcome.scores |= part.scores
    outcome.strips += part.strips


def _knowledge(
    setting: Setting,
    targets: Mapping[str, FRTarget],
    watermark: Watermark,
    other: Watermark,
    design: Design,
    seed: int,
) -> Knowledge:
    faces = setting.dataset.faces
    messages = {
        faces.keys[i]: draw(1, watermark.bits, generator(seed, "watermark", "message", faces.keys[i]))[0]
        for i in setting.roles.sources
    }
    thresholds = {name: setting.calibrations[name].threshold(design.far) for name in targets}
    return Knowledge(thresholds, watermark, other, messages)


def _judge(
    run: Run,
    setting: Setting,
    targets: dict[str, FRTarget],
    known: Knowledge,
    design: Design,
    size: Size,
    device: torch.device | str,
    lpips: Callable[[Tensor, Tensor], Tensor] | None,
) -> Judge:
    systems = {}
    for name, target in targets.items():
        points = setting.calibrations[name].points
        thresholds = {float(p["far"]): float(p["threshold"]) for p in points if p["status"] == "calibrated"}
        systems["", name] = System("", name, target, thresholds, setting.clean[name])
    return Judge(
        setting.dataset.faces,
        setting.roles,
        dict(targets),
        systems,
        known,
        design.far,
        run.seed,
        run.folder,
        device,
        size.batch_size,
        max(1, size.examples),
        lpips,
        lambda why: fail(run, why),
    )


def _is_plain(crafted: Craft, first: str) -> bool:
    """Whether it is the first activation in the white box at K1: the crafting that has its own controls."""
    row, entry = crafted.rows[0], crafted.entry
    named = row.name in (budget_name(stem, entry.eps_255) for stem in (first, f"{first}_impersonate"))
    return named and row.role == "attack" and len(entry.surrogates) == 1 and entry.surrogates[0] == entry.victims[0]


def cards(
    crafts: Sequence[Craft], known_cards: Mapping[str, dict[str, Any]], known: Knowledge
) -> dict[str, dict[str, Any]]:
    """For every row of the plan, by its name and by each name with surrogates: what the report says of it."""
    found: dict[str, dict[str, Any]] = {}
    for crafted in crafts:
        for row in crafted.rows:
            card = _card(crafted, row, known_cards, known)
            for victim in victims_of(crafted, row):
                label = label_of(crafted, row, victim)
                unseen = "@" in label
                level = "K3" if unseen and row.knowledge == "K1" else row.knowledge
                about = f"{row.about} The victim is unseen." if unseen and level != "K3" else row.about
                found[label] = card | {"knowledge": level, "about": ABOUT["K3"] if level == "K3" else about}
            found.setdefault(row.name, card)
    return found


def _card(crafted: Craft, row: Row, known_cards: Mapping[str, dict[str, Any]], known: Knowledge) -> dict[str, Any]:
    # Where a defence leaves nothing but plain dodging, the attack that knows it is PGD.
    named = "pgd" if row.role == "adaptive" and not isinstance(crafted.entry.attack, Armed) else row.name
    plain = max((name for name in known_cards if _begins(named, name)), key=len, default="")
    other = row.marking == "other_watermarker"
    return (
        {"title": row.about or row.name, "source": ""}
        | known_cards.get(plain, {})
        | {
            "eps_255": crafted.entry.eps_255,
            "norm": "linf",
            "goal": crafted.kind,
            "role": row.role,
            "knowledge": row.knowledge,
            "defence": row.defence,
            "watermark": (known.other if other else known.watermark).name,
            "about": row.about,
            "settings": dict(row.settings),
            "setting": dict(row.setting),
            "config": _settings(crafted.entry.attack),
        }
    )


def _begins(row: str, method: str) -> bool:
    """Whether a row's name is a method's, with nothing but what a study appends."""
    rest = row.removeprefix(method) if row.startswith(method) else None
    return rest is not None and (not rest or rest.startswith(("_eps", "_k", "_vs_", "_adaptive_", "_impersonate")))


def _settings(attack: Any) -> dict[str, Any]:
    """The settings of the attack that really ran."""
    method = getattr(attack, "activation", attack)
    found = {}
    for key, value in vars(method).items():
        found |= asdict(value) if is_dataclass(value) and not isinstance(value, type) else {key: value}
    return {key: value for key, value in found.items() if isinstance(value, int | float | str | bool | None)}


def _describe(run: Run, setting: Setting, design: Design, known: Knowledge) -> None:
    """The threat model in words, from what the study really does."""
    apart = f"{len(setting.apart)} identities kept apart" if setting.apart else "this data set"
    run.card.threat_model += [
        "The attacker changes the aligned face within a pixel budget before it is uploaded; the system then marks it "
        f"with an invisible watermark ({known.watermark.name}, {known.watermark.bits} bits).",
        "Success: the unmarked photo is still recognised, and the marked one is not.",
        "All four cells of the table (clean, perturbed, watermarked, both) rest on the same pairs of photos; every "
        "genuine pair counts. Enrolled photos are neither perturbed nor marked.",
        *(f"{level}: {ABOUT[level]}" for level in design.levels),
        f"A victim accepts at its own threshold, set before the attack at FAR {design.far:g} on clean pairs of "
        f"{apart}.",
        "Images are judged after 8-bit rounding, before and after marking.",
    ]
    if not known.watermark.differentiable:
        run.note(f"{known.watermark.name} has no gradient: every attack through it is BPDA, so K5 is K1.")
