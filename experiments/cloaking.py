"""Cloaking: every cloak against recognisers it never saw, what it costs, what it survives, and who adapts to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch import Tensor

from experiments.cloaking_adaptive import Retrainer, Tracker
from experiments.cloaking_judge import Judge
from experiments.cloaking_plan import Design, adapted_to, cards, held_out, plan
from experiments.cloaking_training import Training, training_photos
from experiments.cloaking_words import describe, note_insiders, note_unasked
from experiments.evasion import Make
from experiments.setting import Setting, Size, prepare
from experiments.watermark_defences import fail
from facesec_bench.data import Dataset
from facesec_bench.errors import FacesecError
from facesec_bench.interfaces import Evasion, FRTarget
from facesec_bench.metrics.scores import summarise
from facesec_bench.progress import track
from facesec_bench.protocols import cloaking as protocol
from facesec_bench.protocols.calibration import CalibrationStore
from facesec_bench.protocols.crafting import Entry
from facesec_bench.protocols.evasion import Evaluation
from facesec_bench.protocols.identification import clean_accuracy
from facesec_bench.records import Outcome, Score
from facesec_bench.runs import Run

Cloaks = dict[str, dict[str, Tensor]]
"""Method -> victim -> the kept cloaks that the victim judged, dodging."""


def cloaking(
    run: Run,
    dataset: Dataset,
    targets: dict[str, FRTarget],
    evasion: Mapping[str, Evasion] | None = None,
    *,
    make: Make,
    design: Design,
    size: Size,
    store: CalibrationStore,
    retrainer: Retrainer | None = None,
    training: Callable[[], Dataset] | None = None,
    device: torch.device | str = "cpu",
    lpips: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Outcome:
    """Run the study.

    Args:
        make: builds the control.
        retrainer, training: how a tracker adapts to a cloak, and photos of other people for it.

    Raises:
        ConfigError: a design that cannot be; see the message.
    """
    evasion = evasion or {}
    victims = held_out(targets, design)
    entries = plan(targets, victims, evasion, make, design)
    adaptive = adapted_to(evasion, design, retrainer is not None and training is not None)
    taught = _taught(run, dataset, design, retrainer, training) if adaptive and retrainer and training else None
    run.card.methods = cards(entries, run.card.methods)
    note_insiders(run, evasion, dataset.drawn)
    note_unasked(run, evasion, targets)
    if isinstance(lpips, torch.nn.Module):
        lpips.to(device)
    outcome, cloaks = Outcome(), Cloaks()
    setting = prepare(run, dataset, targets, outcome, design, size, store, device)
    judge = Judge(_fixed(run, setting, targets, victims, design, size, device, lpips), run.folder, size.examples)
    for name in victims:
        outcome.records += clean_accuracy(dataset.faces, setting.roles, setting.clean[name], victim=name)
    describe(run, setting, design, targets, victims)
    with run.stage("attack"):
        for entry in track(entries, "cloaking"):
            _judge(run, judge, entry, design, victims[0], outcome, cloaks if entry.method in adaptive else Cloaks())
    if taught is not None and retrainer is not None:
        with run.stage("adapt"):
            tracker = Tracker(judge, setting, tuple(victims), retrainer, taught, design.far, tuple(design.fars))
            for method, attack in adaptive.items():
                _adapt(run, tracker, method, attack, cloaks.get(method, {}), outcome)
    with run.stage("score"):
        outcome.scores |= scores(outcome, entries, design, adaptive, lpips is not None, run.seed)
    return outcome


def _taught(
    run: Run, attacked: Dataset, design: Design, retrainer: Retrainer, training: Callable[[], Dataset]
) -> Training:
    """The tracker's photos, told on the card before an hour is spent."""
    people, photos = design.training_people, design.training_photos
    taught = training_photos(training, attacked, seed=run.seed, people=people, photos=photos)
    run.card.data["tracker"] = taught.told(retrainer, attacked)
    if taught.shortfall:
        run.note(taught.shortfall)
    return taught


def _fixed(
    run: Run,
    setting: Setting,
    targets: dict[str, FRTarget],
    victims: Sequence[str],
    design: Design,
    size: Size,
    device: torch.device | str,
    lpips: Callable[[Tensor, Tensor], Tensor] | None,
) -> Evaluation:
    faces, roles, clean = setting.dataset.faces, setting.roles, setting.clean
    thresholds = {name: setting.calibrations[name].threshold(design.far) for name in victims}
    return Evaluation(faces, roles, targets, thresholds, clean, run.seed, device, size.batch_size, lpips)


def _judge(run: Run, judge: Judge, entry: Entry, design: Design, first: str, outcome: Outcome, cloaks: Cloaks) -> None:
    """One entry under every goal; pictures where it was crafted, and the first victim judges."""
    for kind in design.goals:
        try:
            kept, part = judge(entry, kind, first if entry.surrogates else None)
        except FacesecError as error:
            # One method that cannot run must not cost the others; the report says which and why.
            fail(run, f"{entry.method} on {'+'.join(entry.surrogates) or 'no surrogate'}, {kind}: {error}")
            continue
        outcome.records += part.records
        outcome.scores |= part.scores
        outcome.strips += part.strips
        if kind == "dodge":
            cloaks.setdefault(entry.method, {}).update(dict.fromkeys(entry.victims, kept))


def _adapt(
    run: Run, tracker: Tracker, method: str, attack: Evasion, kept: Mapping[str, Tensor], outcome: Outcome
) -> None:
    def failed(victim: str, error: FacesecError) -> None:
        fail(run, f"{method}: {victim} could not adapt to it: {error}")

    try:
        part = tracker(method, attack, kept, failed)
    except FacesecError as error:
        fail(run, f"{method}: no recogniser could adapt to it: {error}")
        return
    outcome.records += part.records
    outcome.scores |= part.scores


def scores(
    outcome: Outcome, entries: Sequence[Entry], design: Design, adaptive: Collection[str], lpips: bool, seed: int
) -> dict[str, Score]:
    """Every score: by victim, pooled over victims, and NaN with n = 0 for what a method owes and could not give."""
    victims = list(dict.fromkeys(victim for entry in entries for victim in entry.victims))
    methods = list(dict.fromkeys(entry.method for entry in entries))
    owed: dict[str, Score] = {}
    measures: set[str] = set()
    for method in methods:
        rows, whole = protocol.owed(design.goals, lpips=lpips, adaptive=method in adaptive)
        measures |= set(rows)
        keys = [f"{measure}/{method}/{victim}" for measure in rows for victim in (*victims, protocol.MEAN)]
        keys += [f"{measure}/{method}/{victim}" for measure in whole for victim in victims]
        owed |= dict.fromkeys(keys, Score(math.nan, math.nan, math.nan, 0))
    # What is said of a recogniser (its accuracy on clean photos) has no mean: "mean" is no recogniser.
    own = [record for record in outcome.records if record.method in methods and record.measure in measures]
    return owed | outcome.scores | summarise([*outcome.records, *protocol.pooled(own, victims)], seed)
