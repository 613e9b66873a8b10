"""Runs into a study: seeds of one fingerprint together, different fingerprints apart."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from facesec_bench.records import RunCard, Score
from facesec_bench.reporting.keys import ScoreKey, parse
from facesec_bench.reporting.runs import Run, read_run

_TOY = re.compile(r"(?<![a-z])toy(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class Group:
    """Finished runs that differ by their seed only. `label` is what footnotes print: "a"; its runs are "a1", "a2"."""

    label: str
    runs: tuple[Run, ...]
    scores: dict[ScoreKey, Score]

    @property
    def card(self) -> RunCard:
        """The card of the first seed; what it shares with the others is all but seed, times and folder."""
        return cards(self)[0]

    @property
    def refs(self) -> tuple[str, ...]:
        """The footnote of a number that all the seeds stand behind."""
        return (self.label,)

    def labelled(self) -> Iterator[tuple[str, Run, RunCard]]:
        """Each run with its own footnote."""
        for i, (run, card) in enumerate(zip(self.runs, cards(self), strict=True), start=1):
            yield (self.label if len(self.runs) == 1 else f"{self.label}{i}"), run, card


@dataclass(frozen=True)
class Study:
    """What a report is about.

    Attributes:
        groups: finished runs, by fingerprint, in the order given.
        unusable: runs whose numbers are not shown, each with its `problem`.
        superseded: earlier runs of a fingerprint and seed that was run again.
    """

    title: str
    groups: tuple[Group, ...]
    unusable: tuple[Run, ...]
    superseded: tuple[Run, ...]

    def scores(self) -> Iterator[tuple[Group, ScoreKey, Score]]:
        """Every score with the group it comes from."""
        for group in self.groups:
            for key, score in group.scores.items():
                yield group, key, score

    def targets(self) -> dict[str, str]:
        """Each target's note, by name, in the order of the runs."""
        notes: dict[str, str] = {}
        for group in self.groups:
            for name, card in group.card.targets.items():
                notes.setdefault(name, str(card.get("note") or ""))
        return notes

    def order(self, victim: str) -> tuple[int, str]:
        """Sorting key that keeps victims in the order of the cards."""
        names = list(self.targets())
        return (names.index(victim) if victim in names else len(names), victim)


def cards(group: Group) -> tuple[RunCard, ...]:
    """The cards of a group's runs."""
    return tuple(run.card for run in group.runs if run.card is not None)


def is_toy(name: str, note: str) -> bool:
    """Whether a target is the toy, by its name ("toy", "toy_b") or its own note."""
    return bool(_TOY.search(name) or _TOY.search(note))


def read_study(folders: Sequence[Path], title: str) -> Study:
    """Read run folders, in the order given; a folder named twice counts once."""
    runs = [read_run(folder) for folder in dict.fromkeys(folders)]
    latest: dict[str, dict[int, Run]] = {}
    superseded: list[Run] = []
    for run in runs:
        if run.card is None or run.problem:
            continue
        seeds = latest.setdefault(run.card.fingerprint, {})
        known = seeds.get(run.card.seed)
        if known is not None:
            known, run = sorted((known, run), key=_age)
            superseded.append(known)
        seeds[run.card.seed if run.card else 0] = run
    groups = tuple(_group(_letters(i), [seeds[s] for s in sorted(seeds)]) for i, seeds in enumerate(latest.values()))
    return Study(title, groups, tuple(r for r in runs if r.problem), tuple(superseded))


def _age(run: Run) -> tuple[str, str]:
    return (run.card.started if run.card else "", run.run_id)


def _letters(i: int) -> str:
    """0 -> a, 25 -> z, 26 -> aa."""
    return (_letters(i // 26 - 1) if i >= 26 else "") + "abcdefghijklmnopqrstuvwxyz"[i % 26]


def _group(label: str, runs: list[Run]) -> Group:
    keys = dict.fromkeys(key for run in runs for key in run.scores)
    return Group(label, tuple(runs), {parse(k): _mean([r.scores[k] for r in runs if k in r.scores]) for k in keys})


def _mean(scores: list[Score]) -> Score:
    """Mean over seeds. Its interval reaches from the lowest to the highest end of the seeds' own intervals: seeds share
    their photos, so an interval that shrank with the number of seeds would promise too much. n is one seed's."""
    if len(scores) == 1:
        return scores[0]
    low = [s.low for s in scores]
    high = [s.high for s in scores]
    ends = (math.nan, math.nan) if any(map(math.isnan, low + high)) else (min(low), max(high))
    return Score(sum(s.value for s in scores) / len(scores), *ends, min(s.n for s in scores))
