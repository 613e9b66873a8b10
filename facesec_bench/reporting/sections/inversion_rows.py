"""The rows of an inversion study: whom it attacked, who judged, and what each attack scored."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from facesec_bench.records import Score
from facesec_bench.reporting import document, numerals
from facesec_bench.reporting.document import Cell, Row
from facesec_bench.reporting.grouping import Group, Study
from facesec_bench.reporting.keys import CLEAN, ScoreKey
from facesec_bench.reporting.labels import Label

CONTROLS = ("random_latent", "best_of_random", "mean_face")
"""Methods that search nothing, in printing order; a name may go on: "best_of_random_ffhq". A card may name others."""

Setting = tuple[str, str, str]
"""Digest of the private photos, how many people, digest of the public photos: rows of one setting may be compared."""

_TOLD = 3
"""Settings that tell a run from another; more would be a configuration, which the page shows elsewhere."""
_STUDY = "inversion"
_FAILURE = re.compile(r"(?P<method>\S+) on (?P<victim>\S+): (?P<why>.*)", re.DOTALL)
_NOTHING = Score(math.nan, math.nan, math.nan, 0)


class Victim(NamedTuple):
    """What was attacked in one run.

    Attributes:
        origin: the victim without its defence; its own name where it has none.
        defence: name of its defence, or "".
        is_embedding: whether a recogniser's templates were attacked, and no classifier.
    """

    group: Group
    name: str
    origin: str
    defence: str
    is_embedding: bool

    @property
    def evaluator(self) -> str:
        """Name of the recogniser that judges, or "" where the card does not say."""
        return str(told(self.group).get("evaluators", {}).get(self.origin, ""))

    @property
    def recogniser(self) -> str | None:
        """Name of the recogniser that it is or uses, "" for none; None where the card does not say."""
        if self.is_embedding:
            return self.origin
        entry = self.group.card.methods.get(self.origin)
        return None if entry is None else str((entry.get("config") or {}).get("recogniser") or "")

    @property
    def accuracy(self) -> Score | None:
        """The share of held photos that it names rightly."""
        measure = "evaluator_accuracy" if self.is_embedding else "victim_accuracy"
        return self.group.scores.get(ScoreKey(measure, CLEAN, (), self.name))

    @property
    def utility(self) -> Score | None:
        """What a defence may cost: the accuracy of a classifier, the TAR at FAR 1% of a verifier."""
        if not self.is_embedding:
            return self.accuracy
        return self.group.scores.get(ScoreKey("tar_at_far_1e-2", CLEAN, (), self.name))

    @property
    def chance(self) -> float:
        """Top-1 of a guess, 1/K; NaN where the card does not say K."""
        people = told(self.group).get("people")
        return 1 / float(people) if people else math.nan

    @property
    def setting(self) -> Setting:
        """Whom it knows and what an attacker may learn from."""
        about = told(self.group)
        return str(self.group.card.data.get("digest", "")), str(about.get("people")), str(about.get("public_digest"))

    def encoders(self, attacked: bool) -> list[str]:
        """Recognisers that looked at what was recovered from it: those that it uses, or those that it does not.

        The evaluator comes first. A defended recogniser looks at what was recovered from itself only. Where the card
        does not say what the victim uses, only the evaluator is known to be another.
        """
        defended, uses = told_defended(self.group), self.recogniser
        found = {k.victim for k in self.group.scores if k.measure == "cosine" and k.surrogates == (self.name,)}
        looked = {x for x in found if x == self.name or x not in defended}
        kin = {x for x in looked if uses and str(defended.get(x, {}).get("victim", x)) == uses}
        others = looked - kin if uses is not None else looked & {self.evaluator}
        return sorted(kin if attacked else others, key=lambda x: (x != self.evaluator, x))


class Attempt(NamedTuple):
    """One method on one victim.

    Attributes:
        settings: what tells it from runs of the same method beside it, as "steps=20"; empty where nothing does.
    """

    victim: Victim
    name: str
    settings: str = ""

    @property
    def is_control(self) -> bool:
        """Whether it searches nothing and is there to be compared with."""
        return is_control(self.victim.group, self.name)

    @property
    def title(self) -> str:
        """Its name in print."""
        return f"{self.name} (control)" if self.is_control else self.name

    def encoders(self, attacked: bool) -> list[str]:
        """Of the victim's encoders those that its pictures were fitted to, or the others: an attack's students are
        made of recognisers too."""
        asked = (self.victim.group.card.methods.get(self.name) or {}).get("uses") or ()
        others = self.victim.encoders(False)
        if not attacked:
            return [name for name in others if name not in asked]
        return [*self.victim.encoders(True), *(name for name in others if name in asked)]

    @property
    def failure(self) -> str:
        """Why it could not run, from the card; empty if it could."""
        found = (failed for failed in failures(self.victim.group) if failed[:2] == (self.name, self.victim.name))
        return next((why for _, _, why in found), "")

    def score(self, measure: str, encoder: str = "") -> Score | None:
        """The score on the victim, or on one of its encoders; None where it was not taken."""
        key = ScoreKey(measure, self.name, (self.victim.name,), encoder or self.victim.name)
        return self.victim.group.scores.get(key)

    def cell(self, measure: str, label: Label, encoder: str = "") -> Cell:
        """The score as a cell of a table; what failed says so."""
        score = self.score(measure, encoder)
        if score is None and self.failure:
            return Cell("failed", "n=0", self.victim.group.refs, score=_NOTHING)
        return document.number(score, self.victim.group.refs, label.proportion)

    def spent(self, measure: str) -> Cell:
        """A cost as a cell: one number for the whole attack, so without interval or n."""
        score = self.score(measure)
        return Cell(numerals.NONE) if score is None else Cell(
            numerals.value(score, False), refs=self.victim.group.refs, score=score
        )  # fmt: skip

    def opening(self) -> Cell:
        """Its name, and why it failed or what tells it from its like: the first cell of its row."""
        return Cell(self.title, (self.failure if self.score("top1") is None else "") or self.settings)

    @property
    def row_kind(self) -> str:
        """The kind of its table row."""
        return "control" if self.is_control else ""


def attempts(study: Study) -> list[Attempt]:
    """Every attack on every victim, scored or failed: controls first, then in the order of the cards."""
    return [attempt for victim in victims(study) for attempt in _on(victim)]


def victims(study: Study) -> list[Victim]:
    """Whom the runs attacked, in the order of the cards; the plain ones first."""
    found = [victim for group in study.groups if is_inversion(group) for victim in _victims(group)]
    return sorted(found, key=lambda victim: bool(victim.defence))


def is_inversion(group: Group) -> bool:
    """Whether a run recovered faces, or was to."""
    return bool(told(group)) or any(key.measure == "top1" for key in group.scores)


def told(group: Group) -> Mapping[str, Any]:
    """What the card says of the study."""
    found = group.card.data.get(_STUDY)
    return found if isinstance(found, Mapping) else {}


def told_defended(group: Group) -> Mapping[str, Mapping[str, Any]]:
    """By the name of what was defended: its victim, the defence, and what privacy it is said to give."""
    found = group.card.data.get("defended")
    return found if isinstance(found, Mapping) else {}


def failures(group: Group) -> list[tuple[str, str, str]]:
    """(method, victim, why) of what could not run: an attack on a victim, or a defence of one."""
    return [found.groups() for text in group.card.failures if (found := _FAILURE.match(text))]  # type: ignore[misc]


def is_control(group: Group, name: str) -> bool:
    """Whether a method is one of CONTROLS, or a control by its card."""
    role = str((group.card.methods.get(name) or {}).get("role") or "")
    return role == "control" or any(name == known or name.startswith(f"{known}_") for known in CONTROLS)


def unfit(group: Group) -> list[tuple[str, str, str]]:
    """(defence, victim, why) of defences that could not be taught."""
    configured = group.card.config.get("hardening") or {}
    return [found for found in failures(group) if found[0] in configured]


def together(found: list[Attempt]) -> dict[str, dict[Setting, list[Attempt]]]:
    """Attempts by the victim's name and, within it, by setting, in printing order: runs of one method side by side."""
    names = list(dict.fromkeys(attempt.name for attempt in found))
    places: dict[str, dict[Setting, list[Attempt]]] = {}
    for attempt in found:
        places.setdefault(attempt.victim.name, {}).setdefault(attempt.victim.setting, []).append(attempt)
    return {
        name: {setting: _apart(sorted(own, key=lambda x: _order(x, names))) for setting, own in settings.items()}
        for name, settings in places.items()
    }


def _apart(own: list[Attempt]) -> list[Attempt]:
    """The same, each run of a method that stands there more than once with the settings that they do not share."""
    configs = [_flat((x.victim.group.card.methods.get(x.name) or {}).get("config") or {}) for x in own]
    told = []
    for attempt, config in zip(own, configs, strict=True):
        others = [theirs for x, theirs in zip(own, configs, strict=True) if x.name == attempt.name]
        keys = [key for key in config if any(theirs.get(key) != config[key] for theirs in others)]
        more = f" and {len(keys) - _TOLD} more" if len(keys) > _TOLD else ""
        told.append(attempt._replace(settings=", ".join(f"{key}={config[key]}" for key in keys[:_TOLD]) + more))
    return told


def _flat(config: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """{"rule": {"size": 1}} -> {"rule.size": 1}"""
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= _flat(value, f"{within}{key}.") if isinstance(value, Mapping) else {f"{within}{key}": value}
    return found


def heading(own: list[Attempt], of: int, text: str = "") -> list[Row]:
    """The head of a setting's rows: `text`, and the data set where there are several; none where it would be empty."""
    victim = own[0].victim
    several = f"{victim.group.card.data.get('name', '?')}, {victim.setting[1]} people" if of > 1 else ""
    words = ", ".join(filter(None, [text, several]))
    return [document.head(words)] if words else []


def slug(*words: str) -> str:
    """A name that is safe in a file's name: victims are named by who configures a run."""
    return "-".join(re.sub(r"[^a-z0-9_]+", "-", word.lower()).strip("-") for word in words)


def _victims(group: Group) -> list[Victim]:
    defended = told_defended(group)
    scored = [key.victim for key in group.scores if key.measure == "top1"]
    plain = [name for name in (*told(group).get("evaluators", {}), *scored) if name not in defended]
    found = []
    for name in dict.fromkeys((*plain, *defended)):
        about = defended.get(name) or {}
        origin = str(about.get("victim") or name)
        embedded = ScoreKey("evaluator_accuracy", CLEAN, (), origin) in group.scores
        found.append(Victim(group, name, origin, str(about.get("defence") or ""), embedded))
    return found


def _on(victim: Victim) -> list[Attempt]:
    scored = [k.method for k in victim.group.scores if k.measure == "top1" and k.surrogates == (victim.name,)]
    known = {defence for defence, _, _ in unfit(victim.group)}
    failed = [method for method, on, _ in failures(victim.group) if on == victim.name and method not in known]
    names = list(victim.group.card.methods)
    return sorted((Attempt(victim, name) for name in dict.fromkeys((*scored, *failed))), key=lambda x: _order(x, names))


def _order(attempt: Attempt, names: list[str]) -> tuple[object, ...]:
    """Controls first, then by the place among `names`."""
    own = next((i for i, known in enumerate(CONTROLS) if attempt.name.startswith(known)), len(CONTROLS))
    place = names.index(attempt.name) if attempt.name in names else len(names)
    return not attempt.is_control, own, place, attempt.name, attempt.victim.group.label
