"""Quickstart: small parts of several studies, in one run and one report."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from experiments.resources import accepted
from facesec_bench.data import Dataset
from facesec_bench.errors import ConfigError
from facesec_bench.interfaces import Evasion, FRTarget
from facesec_bench.records import Outcome
from facesec_bench.runs import Run

Part = Callable[..., Outcome]
Card = dict[str, Any]

TOLERANCE = 1e-4
"""Two parts that compute one number from the same photos may round it differently, and no more than this."""


def quickstart(
    run: Run,
    dataset: Dataset,
    targets: dict[str, FRTarget],
    evasion: Mapping[str, Evasion] | None = None,
    *,
    parts: Mapping[str, Part],
    methods: Mapping[str, Sequence[str]] | None = None,
    **offered: Any,
) -> Outcome:
    """Run the parts one after another on the same faces and targets.

    Args:
        parts: recipes by name, each with its own design.
        methods: by part, the names of the evasion methods that are its own; other parts see those that are nobody's.
            One name in two parts would be one row for two craftings: made on the judge, and with the judge held out.
        offered: whatever a recipe may ask for by name: other methods, `store`, `device`, ...

    Raises:
        ConfigError: a name in `methods` that is not configured, or that two parts claim; or two parts that write one
            row, score or card with different contents.
    """
    seen = shares(evasion or {}, parts, methods or {})
    known, whole = dict(run.card.methods), _Whole()
    for name, part in parts.items():
        run.card.methods, told = dict(known), len(run.card.threat_model)
        with run.stage(name):
            outcome = part(run, dataset, targets, **accepted(part, {**offered, "evasion": seen[name]}))
        whole.add(name, outcome, run.card.methods)
        # Every part has an attacker of its own, and one list holds them all.
        for first in run.card.threat_model[told : told + 1]:
            run.card.threat_model[told] = f"{name.capitalize()}. {first}"
    run.card.methods = whole.cards
    run.card.threat_model = list(dict.fromkeys(run.card.threat_model))
    return whole.outcome


def shares(
    evasion: Mapping[str, Evasion], parts: Mapping[str, Part], methods: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, Evasion]]:
    """The evasion methods that each part sees; see `quickstart`.

    Raises:
        ConfigError: as there.
    """
    owner: dict[str, str] = {}
    for part, names in methods.items():
        if part not in parts:
            raise ConfigError(f"Found {part!r} in study.methods, wanted names among the parts: {list(parts)}.")
        for name in names:
            if name not in evasion:
                raise ConfigError(
                    f"Found {name!r} in study.methods.{part}, wanted names among the configured methods: "
                    f"{list(evasion)}. Add it to evasion=[...], or set study.methods.{part}=[...]."
                )
            if owner.setdefault(name, part) != part:
                raise ConfigError(
                    f"Found {name!r} in study.methods.{owner[name]} and study.methods.{part}, wanted it in one of "
                    "them: a score names its method once."
                )
    return {
        part: {name: method for name, method in evasion.items() if owner.get(name, part) == part}
        if part not in methods
        else {name: evasion[name] for name in methods[part]}
        for part in parts
    }


@dataclass
class _Whole:
    """What the parts have written so far, and who wrote it."""

    outcome: Outcome = field(default_factory=Outcome)
    cards: dict[str, Card] = field(default_factory=dict)
    known: dict[tuple[str, ...], tuple[str, Any]] = field(default_factory=dict)

    def add(self, part: str, found: Outcome, cards: Mapping[str, Card]) -> None:
        """Add what a part wrote: what an earlier one wrote alike (a calibration, the control) stays written once.

        Raises:
            ConfigError: it differs.
        """
        rows = self.outcome.records
        rows += [r for r in found.records if self._new(part, ("record", r.measure, r.method, r.target, r.key), r.value)]
        scores = self.outcome.scores
        scores |= {key: score for key, score in found.scores.items() if self._new(part, ("score", key), score)}
        self.outcome.examples += found.examples
        self.outcome.strips += found.strips
        for method, card in cards.items():
            merged = self.cards.setdefault(method, {})
            # A field that is empty or missing tells nothing, so it contradicts nothing.
            told = {name: value for name, value in card.items() if value not in ("", {}, [])}
            merged |= {name: value for name, value in told.items() if self._new(part, ("card", method, name), value)}
            merged |= {name: value for name, value in card.items() if name not in merged}

    def _new(self, part: str, key: tuple[str, ...], content: Any) -> bool:
        """Whether nobody wrote this before."""
        writer, before = self.known.setdefault(key, (part, content))
        if not _alike(before, content):
            raise ConfigError(
                f"Found the {key[0]} {'/'.join(key[1:])} written by {writer} ({_short(before)}) and by {part} "
                f"({_short(content)}), wanted one name for one thing: give a method to one part "
                f"(study.methods.{part}=[...]), and parts that share a control the same size and goals, or budgets "
                "that differ."
            )
        return writer == part


def _alike(one: Any, other: Any) -> bool:
    """Whether two contents are the same up to rounding; NaN is like NaN."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE) or (one != one and other != other)
    return bool(one == other)


def _short(content: Any) -> str:
    text = str(tuple(content) if isinstance(content, tuple) else content)
    return text if len(text) <= 120 else f"{text[:117]}..."
