"""Evasion: every method x surrogate set x victim, in the white box and by transfer, beside its random-sign control."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from experiments.setting import PLAIN_BUDGET_255, Size, budget, budget_name, prepare, whole_levels
from facesec_bench.data import Dataset
from facesec_bench.errors import ConfigError, FacesecError
from facesec_bench.interfaces import Evasion, FRTarget
from facesec_bench.metrics.scores import summarise
from facesec_bench.progress import track
from facesec_bench.protocols.calibration import CalibrationStore
from facesec_bench.protocols.crafting import Entry, GoalName, plan
from facesec_bench.protocols.evasion import Evaluation, attack, clean_records, without_pairs
from facesec_bench.protocols.roles import Roles
from facesec_bench.records import Outcome, Score
from facesec_bench.runs import Run

CONTROL = "random_sign"
Make = Callable[..., Evasion]
"""("evasion", name, eps_255=budget) -> the method; see `experiments.session`."""


@dataclass(frozen=True)
class Curve:
    """White-box success against the budget: methods x surrogates x budgets beside the configured one.

    None stands for the first method or target that is configured.
    """

    methods: Sequence[str] | None = None
    surrogates: Sequence[str] | None = None
    eps_255: Sequence[float] = ()


@dataclass(frozen=True)
class Design:
    """What is compared with what.

    Attributes:
        far: the false accept rate at which success is judged.
        fars: all rates that are calibrated.
        white_box: whether a victim may be its own surrogate; those rows carry no "@".
        transfer: whether every surrogate is judged by the other targets, and leave-one-out ensembles are built.
        not_in_ensembles: targets that never sit in an ensemble, such as weak ones.
        calibration_share: share of identities kept apart for calibration only; 0 calibrates on all clean pairs.
    """

    far: float = 0.01
    fars: Sequence[float] = (0.1, 0.01, 0.001)
    goals: Sequence[GoalName] = ("dodge", "impersonate")
    white_box: bool = True
    transfer: bool = True
    not_in_ensembles: Sequence[str] = ()
    calibration_share: float = 0.0
    curve: Curve = field(default_factory=Curve)


def evasion(
    run: Run,
    dataset: Dataset,
    targets: dict[str, FRTarget],
    evasion: Mapping[str, Evasion],
    *,
    make: Make,
    design: Design,
    size: Size,
    store: CalibrationStore,
    device: torch.device | str = "cpu",
    lpips: Callable[[Tensor, Tensor], Tensor] | None = None,
    inception: Callable[[Tensor], Tensor] | None = None,
) -> Outcome:
    """Run the study.

    Args:
        make: builds a method at another budget, for the curve and for the control.

    Raises:
        ConfigError: a name in the design that is not among the targets or methods.
    """
    entries = plan_study(list(targets), evasion, make, design)
    run.card.methods = method_cards(entries, run.card.methods)
    outcome = Outcome()
    setting = prepare(run, dataset, targets, outcome, design, size, store, device)
    roles, clean = setting.roles, setting.clean
    thresholds = {name: found.threshold(design.far) for name, found in setting.calibrations.items()}
    _describe(run, dataset, roles, design, setting.apart)
    for network in (lpips, inception):
        if isinstance(network, torch.nn.Module):
            network.to(device)
    evaluation = Evaluation(
        dataset.faces, roles, targets, thresholds, clean, run.seed, device, size.batch_size, lpips, inception
    )
    outcome.records += clean_records(evaluation, design.goals)
    with run.stage("attack"):
        for entry in track(entries, "attacking"):
            _attack(run, evaluation, entry, design, size.examples if shown(entry, list(targets)) else 0, outcome)
    with run.stage("score"):
        outcome.scores |= summarise(outcome.records, run.seed)
        for key in without_pairs(evaluation, entries, design.goals):
            outcome.scores.setdefault(key, Score(math.nan, math.nan, math.nan, 0))
    return outcome


def plan_study(targets: list[str], methods: Mapping[str, Evasion], make: Make, design: Design) -> list[Entry]:
    """All entries: each method with all its surrogate sets, the budget curve, and a control for every budget used."""
    members = [name for name in targets if name not in design.not_in_ensembles]
    surrogates = targets[:1] if design.curve.surrogates is None else design.curve.surrogates
    curve_methods = list(methods)[:1] if design.curve.methods is None else design.curve.methods
    _check(surrogates, targets, "target")
    _check(curve_methods, methods, "evasion")
    entries: list[Entry] = []
    for name, method in methods.items():
        if name == CONTROL:  # it always runs, once a budget
            continue
        eps = budget(method)
        entries += plan(
            budget_name(name, eps),
            method,
            eps,
            targets,
            white_box=design.white_box,
            transfer=design.transfer,
            ensemble_members=members,
        )
    for name in curve_methods:
        for eps in design.curve.eps_255:
            for surrogate in surrogates if eps != budget(methods[name]) else ():
                others = [t for t in targets if t != surrogate] if design.transfer else []
                victims = (*([surrogate] if design.white_box else []), *others)
                entries.append(
                    Entry(budget_name(name, eps), make("evasion", name, eps_255=eps), (surrogate,), victims, float(eps))
                )
    used = sorted({entry.eps_255 for entry in entries if entry.eps_255 is not None} or {PLAIN_BUDGET_255})
    for entry in entries:
        eps = getattr(entry.attack, "eps_255", None)
        whole_levels([] if eps is None else [eps], entry.method)
    controls = [
        Entry(budget_name(CONTROL, e), make("evasion", CONTROL, eps_255=e), (), tuple(targets), e) for e in used
    ]
    return _distinct(entries + controls)


def _distinct(entries: list[Entry]) -> list[Entry]:
    seen: set[tuple[str, tuple[str, ...]]] = set()
    for entry in entries:
        if (entry.method, entry.surrogates) in seen:
            surrogates = "+".join(entry.surrogates) or "no surrogate"
            raise ConfigError(
                f"Found {entry.method} on {surrogates} twice, wanted each entry once: its images would be counted "
                "twice. Take the repeated budget out of the curve."
            )
        seen.add((entry.method, entry.surrogates))
    return entries


def method_cards(entries: Sequence[Entry], known: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """For every method of the plan, by its name with the budget: what it is (`known`, by plain name) and its budget."""
    cards = {}
    for entry in entries:
        plain = re.sub(r"_eps[0-9.e+-]+$", "", entry.method)
        rms = getattr(entry.attack, "rms_255", None) is not None
        norm = "none" if entry.eps_255 is None else "rms" if rms else "linf"
        cards[entry.method] = (
            {"title": plain, "source": ""}
            | known.get(plain, {})
            | {
                "eps_255": entry.eps_255,
                "norm": norm,
            }
        )
    return cards


def shown(entry: Entry, targets: list[str]) -> bool:
    """Whether an entry gets images in the report: at the plain budget, judged first by the first target."""
    if entry.eps_255 not in (PLAIN_BUDGET_255, None):
        return False
    sets = ((), (targets[0],))
    ensemble = len(entry.surrogates) > 1 and entry.victims[0] == targets[0]
    return entry.surrogates in sets or ensemble


def _attack(run: Run, evaluation: Evaluation, entry: Entry, design: Design, examples: int, outcome: Outcome) -> None:
    try:
        part = attack(evaluation, entry, design.goals, run.folder, examples)
    except FacesecError as error:
        # One method that cannot run must not cost the others; its scores stay NaN with n = 0 and the report says why.
        run.card.failures.append(f"{entry.method} on {'+'.join(entry.surrogates) or 'no surrogate'}: {error}")
        run.note(f"Failed: {run.card.failures[-1]}")
        return
    outcome.records += part.records
    outcome.scores |= part.scores
    outcome.examples += part.examples


def _check(names: Sequence[str], known: Sequence[str] | Mapping[str, object], kind: str) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(f"Found {unknown} in the design, wanted names among the configured {kind}s: {list(known)}.")


def _describe(run: Run, dataset: Dataset, roles: Roles, design: Design, apart: list[str]) -> None:
    """The threat model in words, from what the study really does."""
    calibrated_on = "the clean pairs given with this data set" if dataset.pairs else "all clean pairs of this data set"
    if apart:
        calibrated_on = f"the clean pairs of {len(apart)} identities kept apart"
    knowledge = []
    most = max(len(judges) for judges in roles.judges.values())
    if design.white_box:
        knowledge.append(
            "White box: the attacker knows the victim's weights and takes gradients through its alignment."
        )
    if design.transfer:
        knowledge.append("Transfer: the attacker never queries the victim and crafts on other targets (after the @).")
    run.card.threat_model += [
        "The attacker changes the aligned face of one photo at test time within a pixel budget and cannot touch the "
        "victim, its gallery or its threshold.",
        *knowledge,
        "Dodging: the person is no longer accepted against their other photos.",
        "Impersonation: the person is accepted as one chosen other person.",
        f"The attacker holds one photo of the person (or of the one to be taken for); up to {most} other "
        "photos of that person judge. No photo both crafts and judges.",
        f"A victim accepts at its own threshold, set before the attack at FAR {design.far:g} on {calibrated_on}.",
        "Images are judged after 8-bit rounding, as re-read from a PNG file.",
    ]
