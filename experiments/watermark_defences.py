"""Every defence of a watermark study, put among the judge's systems, with an attack that knows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from experiments.setting import Setting, budget_name, embed_roles
from experiments.watermark_judge import RECOGNISE_FIRST, Judge, System
from experiments.watermark_plan import Craft, Knowledge, Make, Row
from facesec_bench.data import Dataset
from facesec_bench.errors import ConfigError, FacesecError
from facesec_bench.interfaces import Activation, FRTarget, Purifier
from facesec_bench.protocols.bits import keep_marked
from facesec_bench.protocols.calibration import calibrate
from facesec_bench.protocols.crafting import Entry
from facesec_bench.protocols.embedding import embed_all
from facesec_bench.records import Outcome, Score
from facesec_bench.runs import Run
from facesec_bench.seeds import generator
from facesec_bench.watermarks.messages import draw

BAND: dict[str, float] = {"keep": 0.0, "activation_margin": 0.02, "stealth_margin": 0.04, "consistency_weight": 4.0}
"""Settings of the attack on the consistency check. What gets by it lies in a narrow band: just above the threshold
unmarked and just below it marked, so nothing may be asked beyond that, and agreement weighs more than the rest."""

SLACK = 0.005
"""By how much, in cosine, that attack stays above the check's threshold."""


@dataclass(frozen=True)
class Defences:
    """Defences by name, and photos of other people where they are needed.

    Attributes:
        purifier: before recogniser and watermarker.
        detector: compare upload and marked upload.
        robust: retrain the recogniser; need `training`.
        training: loads photos of people who are neither attacked nor used in calibration.
    """

    purifier: Mapping[str, Purifier]
    detector: Mapping[str, Any]
    robust: Mapping[str, Any]
    training: Callable[[], Dataset] | None


def fail(run: Run, why: str) -> None:
    """Something that could not run must not cost the rest: the card and the report say it."""
    run.card.failures.append(why)
    run.note(f"Failed: {why}")


def add_defences(
    run: Run,
    judge: Judge,
    setting: Setting,
    main: Craft,
    stem: str,
    method: Activation,
    make: Make,
    kinds: Defences,
    outcome: Outcome,
) -> tuple[list[Row], list[Craft]]:
    """(rows of the unaware attack, craftings that know the defence), all on the first victim.

    Raises:
        ConfigError: robust training without photos to train on.
    """
    if kinds.robust and kinds.training is None:
        raise ConfigError("Found robust training without `training`, wanted photos of other people to train on.")
    first, eps, known = main.entry.victims[0], float(main.entry.eps_255 or 0), judge.known
    plain = judge.systems["", first]
    unaware: list[Row] = []
    adaptive: list[Craft] = []

    def add(system: System, attack: Any, surrogate: str, about: str) -> None:
        judge.systems[system.name, first] = system
        name = budget_name(f"{stem}_vs_{system.name}", eps)
        unaware.append(Row(name, "defence", defence=system.name, about=f"The attacker does not know of {system.name}."))
        name = budget_name(f"{stem}_adaptive_{system.name}", eps)
        row = Row(name, "adaptive", defence=system.name, knowledge="K1", about=about)
        adaptive.append(Craft(Entry(name, attack, (surrogate,), (first,), eps), "dodge", (row,)))

    dodging = make("evasion", "pgd", eps_255=eps, steps=getattr(method, "steps", 10))
    swapped = replace(plain, name=RECOGNISE_FIRST, recognise_first=True)
    add(swapped, dodging, first, "What is left is plain dodging, without stealth.")
    for p in kinds.purifier.values():
        add(replace(plain, name=p.name, purifier=p), known.armed(method, "K1", p), first, f"Goes through {p.name}.")
    training = kinds.training() if kinds.training is not None and (kinds.robust or kinds.detector) else None
    for d in kinds.detector.values():
        try:
            agreement, whose = _clean_agreement(judge, setting, plain, training)
            fitted = d.fit(agreement)
        except FacesecError as error:  # too few photos for its false-alarm rate
            fail(run, f"{d.name} was left out: {error}")
            continue
        outcome.whole_set(
            f"threshold_{d.name}", "clean", first, Score(fitted.threshold, *[float("nan")] * 2, len(agreement))
        )
        run.note(f"The threshold of {d.name}, {fitted.threshold:.4f} on {first}, was set on {len(agreement)} {whose}.")
        alike = min(1.0, fitted.threshold + SLACK)
        aware = make("activation", stem, eps_255=eps, consistency=alike, **BAND)
        told = ", ".join(f"{key} = {value}" for key, value in BAND.items())
        about = f"Keeps the two views {alike:.3f} alike; here {told}."
        add(replace(plain, name=d.name, detector=fitted), known.armed(aware, "K1"), first, about)
    for name, retrain in kinds.robust.items():
        assert training is not None  # by the check above; for type checkers
        try:
            rng = generator(judge.seed, "robust", name)
            target = retrain(plain.target, known.watermark, training.faces.images, rng)
            system, threshold = _retrained(judge, setting, plain, target, name, outcome)
        except FacesecError as error:
            fail(run, f"{name} was left out: {error}")
            continue
        knows: Knowledge = replace(known, thresholds={**known.thresholds, target.name: threshold})
        judge.targets[target.name] = target
        add(system, knows.armed(method, "K1"), target.name, f"Crafted on {target.name} itself.")
    return unaware, adaptive


def _clean_agreement(judge: Judge, setting: Setting, plain: System, training: Dataset | None) -> tuple[Tensor, str]:
    """(n,) cosines of clean photos and their marked copies, and whose they are: other people where there are photos of
    some, else other photos of those who are attacked."""
    if training is not None:
        chips, whose = training.faces.images, f"photos of other people ({training.name})"
    else:
        rows = [i for i in setting.roles.photos if i not in setting.roles.sources]
        chips, whose = setting.dataset.faces.images[rows], "other photos of the people who are attacked"
    messages = draw(len(chips), judge.known.watermark.bits, generator(judge.seed, "watermark", "consistency"))
    marked = keep_marked(judge.known.watermark, chips, messages, batch_size=judge.batch_size, device=judge.device)
    before, after = (
        embed_all(plain.target, images, device=judge.device, batch_size=judge.batch_size) for images in (chips, marked)
    )
    return (before * after).sum(dim=1), whose


def _retrained(
    judge: Judge, setting: Setting, plain: System, target: FRTarget, name: str, outcome: Outcome
) -> tuple[System, float]:
    """The retrained recogniser with thresholds of its own, from the same clean pairs at the same rates."""
    chips = setting.calibrated_on.faces.images
    embedded = embed_all(target, chips, device=judge.device, batch_size=judge.batch_size)
    found = calibrate(target, setting.calibrated_on, embedded, sorted(plain.thresholds, reverse=True))
    for measure, score in found.measures().items():  # beside, not among, the victims' own
        outcome.whole_set(f"defended_{measure}", "clean", target.name, score)
    thresholds = {float(p["far"]): float(p["threshold"]) for p in found.points if p["status"] == "calibrated"}
    clean = embed_roles(target, setting.dataset, setting.roles, judge.device, judge.batch_size)
    return System(name, plain.victim, target, thresholds, clean), found.threshold(judge.far)
