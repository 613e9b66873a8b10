"""Adversarial watermarking: photos that are recognised until they are marked, their controls, and defences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from experiments.setting import Setting, Size, budget, budget_name, embed_roles, prepare
from experiments.watermark_judge import RECOGNISE_FIRST, Judge, System, label_of, victims_of
from experiments.watermark_plan import ABOUT, Craft, Knowledge, Level, Make, Row, plan, with_remarks
from facesec_bench.data import Dataset
from facesec_bench.errors import CalibrationError, ConfigError, FacesecError
from facesec_bench.interfaces import Activation, FRTarget, Purifier, Watermark
from facesec_bench.metrics.scores import summarise
from facesec_bench.progress import track
from facesec_bench.protocols.bits import keep_marked
from facesec_bench.protocols.calibration import CalibrationStore, calibrate
from facesec_bench.protocols.crafting import Entry
from facesec_bench.protocols.embedding import embed_all
from facesec_bench.records import Outcome
from facesec_bench.runs import Run
from facesec_bench.seeds import generator
from facesec_bench.watermarks.messages import draw
from facesec_bench.watermarks.repetition import Repetition

SLACK = 0.02
"""By how much, in cosine, an attack that knows the consistency check's threshold stays above it."""


@dataclass(frozen=True)
class Design:
    """What is compared with what.

    Attributes:
        far: the false accept rate at which success is judged; `fars` are all that are calibrated.
        targets: names of the targets that take part; None for all.
        levels: what attackers know, of K1 to K5; the first target is studied at each, the others at K1 and K3.
        impersonate: whether K1 also has the goal of being taken for someone else once marked.
        eps_255: budgets beside the configured one, K1 on the first target.
        changes_at: budget -> settings of every activation there that differ from the configured ones, e.g. more steps.
        transfer: whether other targets judge, and leave-one-out ensembles are built.
        not_in_ensembles: targets that never sit in an ensemble, such as weak ones.
        message_length: payload in bits, repeated over the watermarker's own; None for all of them.
        calibration_share: share of identities kept apart for calibration only; 0 calibrates on all clean pairs.
    """

    far: float = 0.01
    fars: Sequence[float] = (0.1, 0.01, 0.001)
    targets: Sequence[str] | None = None
    levels: Sequence[Level] = ("K1", "K2", "K3", "K4", "K5")
    impersonate: bool = True
    eps_255: Sequence[float] = ()
    changes_at: Mapping[float, Mapping[str, Any]] = field(default_factory=dict)
    transfer: bool = True
    not_in_ensembles: Sequence[str] = ()
    message_length: int | None = None
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
    activation: Mapping[str, Activation],
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
    targets = _chosen(targets, design.targets)
    if design.message_length is not None:
        watermark = Repetition(watermark, design.message_length)
    if other_watermark.digest == watermark.digest:
        raise ConfigError(
            f"Found {watermark.name} as both watermark and other_watermark, wanted two: the other one is a control. "
            "Try other_watermark=spread_spectrum (or dwt_dct_svd)."
        )
    for network in (watermark, other_watermark, lpips):
        if isinstance(network, torch.nn.Module):
            network.to(device)
    outcome = Outcome()
    setting = prepare(
        run,
        dataset,
        targets,
        outcome,
        size=size,
        fars=sorted({*design.fars, design.far}, reverse=True),
        calibration_share=design.calibration_share,
        store=store,
        device=device,
    )
    changes_at = {float(eps): changes for eps, changes in design.changes_at.items()}
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
    )
    main = next((i for i, c in enumerate(crafts) if c.rows[0].role == "attack" and len(c.entry.surrogates) == 1), 0)
    with run.stage("defences"):
        unaware, adaptive = _defences(
            run,
            judge,
            setting,
            crafts[main],
            activation,
            make,
            known,
            purifier or {},
            detector or {},
            robust or {},
            training,
        )
    crafts[main] = with_remarks(crafts[main])
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
        run.card.failures.append(f"{crafted.label}: {error}")
        run.note(f"Failed: {run.card.failures[-1]}")
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
    )


def _defences(
    run: Run,
    judge: Judge,
    setting: Setting,
    main: Craft,
    activation: Mapping[str, Activation],
    make: Make,
    known: Knowledge,
    purifiers: Mapping[str, Purifier],
    detectors: Mapping[str, Any],
    robust: Mapping[str, Any],
    training: Callable[[], Dataset] | None,
) -> tuple[list[Row], list[Craft]]:
    """Put every defence among the judge's systems: (rows of the unaware attack, craftings that know the defence)."""
    first, eps = main.entry.victims[0], float(main.entry.eps_255 or 0)
    stem = next(name for name, method in activation.items() if budget_name(name, budget(method)) == main.rows[0].name)
    plain, method = judge.systems["", first], activation[stem]
    unaware: list[Row] = []
    adaptive: list[Craft] = []

    def add(system: System, attack: Any, surrogate: str, about: str) -> None:
        judge.systems[system.name, first] = system
        told = f"The attacker does not know of {system.name}."
        name = budget_name(f"{stem}_vs_{system.name}", eps)
        unaware.append(Row(name, "defence", defence=system.name, about=told))
        name = budget_name(f"{stem}_adaptive_{system.name}", eps)
        row = Row(name, "adaptive", defence=system.name, knowledge="K1", about=about)
        adaptive.append(Craft(Entry(name, attack, (surrogate,), (first,), eps), "dodge", (row,)))

    swapped = replace(plain, name=RECOGNISE_FIRST, recognise_first=True)
    add(swapped, make("evasion", "pgd", eps_255=eps), first, "What is left is plain dodging, without stealth.")
    for p in purifiers.values():
        add(replace(plain, name=p.name, purifier=p), known.armed(method, "K1", p), first, f"Goes through {p.name}.")
    for d in detectors.values():
        try:
            fitted = d.fit(_clean_agreement(judge, setting, plain, known))
        except CalibrationError as error:  # too few photos for its false-alarm rate must not cost the other rows
            run.card.failures.append(f"{d.name} was left out: {error}")
            run.note(f"Failed: {run.card.failures[-1]}")
            continue
        aware = make("activation", stem, eps_255=eps, consistency=fitted.threshold + SLACK)
        about = f"Keeps the two views {fitted.threshold + SLACK:.3f} alike."
        add(replace(plain, name=d.name, detector=fitted), known.armed(aware, "K1"), first, about)
    if robust and training is None:
        raise ConfigError("Found robust training without `training`, wanted photos of other people to train on.")
    for name, method_ in robust.items():
        assert training is not None  # by the check above; for type checkers
        chips = training().faces.images
        target = method_(plain.target, known.watermark, chips, generator(judge.seed, "robust", name))
        system, threshold = _retrained(judge, setting, plain, target, name)
        knows = replace(known, thresholds={**known.thresholds, target.name: threshold})
        judge.targets[target.name] = target
        add(system, knows.armed(method, "K1"), target.name, f"Crafted on {target.name} itself.")
    return unaware, adaptive


def _clean_agreement(judge: Judge, setting: Setting, plain: System, known: Knowledge) -> Tensor:
    """(n,) cosines of clean photos and their marked copies: the photos that hold or judge, never an attacked one."""
    rows = [i for i in setting.roles.photos if i not in setting.roles.sources]
    chips = setting.dataset.faces.images[rows]
    messages = draw(len(rows), known.watermark.bits, generator(judge.seed, "watermark", "consistency"))
    marked = keep_marked(known.watermark, chips, messages, batch_size=judge.batch_size, device=judge.device)
    embedded = embed_all(plain.target, marked, device=judge.device, batch_size=judge.batch_size)
    return (embedded * plain.clean[rows]).sum(dim=1)


def _retrained(judge: Judge, setting: Setting, plain: System, target: FRTarget, name: str) -> tuple[System, float]:
    """The retrained recogniser with thresholds of its own, from the same clean pairs at the same rates."""
    chips = setting.calibrated_on.faces.images
    embedded = embed_all(target, chips, device=judge.device, batch_size=judge.batch_size)
    found = calibrate(target, setting.calibrated_on, embedded, sorted(plain.thresholds, reverse=True))
    thresholds = {float(p["far"]): float(p["threshold"]) for p in found.points if p["status"] == "calibrated"}
    clean = embed_roles(target, setting.dataset, setting.roles, judge.device, judge.batch_size)
    return System(name, plain.victim, target, thresholds, clean), found.threshold(judge.far)


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
    plain = max((name for name in known_cards if row.name.startswith(name)), key=len, default="")
    other = row.marking == "other_watermarker"
    return (
        {"title": row.name, "source": ""}
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
        }
    )


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
