"""The methods of a watermark study as their run's card tells them, in the order and the blocks that tables print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from facesec_bench.records import Score
from facesec_bench.reporting import document
from facesec_bench.reporting.document import Cell, Row, head
from facesec_bench.reporting.grouping import Group, Study
from facesec_bench.reporting.keys import CLEAN, CONTROL, Budget, ScoreKey, budget, is_control, stem
from facesec_bench.reporting.labels import Label
from facesec_bench.reporting.sections.calibration import named


class Method(NamedTuple):
    """A method made on some surrogates, judged by a victim. `key` has no measure.

    `role` is "attack", "control", "defence" or "adaptive", `goal` "dodge" or "impersonate", `knowledge` "K1" to "K5" or
    "", `watermark` the watermarker that judges. `settings` is what differs from the configured method at this budget,
    `setting` the one thing that differs along a trade-off; both are mostly empty.
    """

    group: Group
    key: ScoreKey
    spent: Budget
    role: str
    goal: str
    knowledge: str
    defence: str
    watermark: str
    about: str
    settings: Mapping[str, Any]
    setting: Mapping[str, Any]

    @property
    def stem(self) -> str:
        """The name without its budget."""
        return stem(self.key.method)

    @property
    def is_control(self) -> bool:
        """Whether it attacks nothing and is there to be compared with."""
        return self.role == "control"

    @property
    def made_on(self) -> str:
        """The surrogates in words where they are not the victim alone; else empty."""
        own = not self.key.surrogates or self.key.is_white_box
        return "" if own else f"made on {' + '.join(self.key.surrogates)}"

    @property
    def order(self) -> tuple[object, ...]:
        """Sorting key: attacks before controls, by what the attacker knows, universal ones after; then by name."""
        kind_ = (self.is_control, "universal" in self.stem, self.knowledge or "K9", self.stem != CONTROL)
        return (*kind_, self.stem, self.key.surrogates, self.group.label)

    def score(self, measure: str) -> Score | None:
        """The score of a measure; None where it was not taken."""
        return self.group.scores.get(self.key._replace(measure=measure))

    def cell(self, measure: str, label: Label) -> Cell:
        """The score as a cell of a table."""
        if label.signed:
            return document.points(self.score(measure), self.group.refs)
        return document.number(self.score(measure), self.group.refs, label.proportion)


class Heading(NamedTuple):
    """Rows that may be compared: one victim, one watermarker, one data set."""

    victim: str
    watermark: str
    digest: str


def methods(
    study: Study, measures: Collection[str], roles: Collection[str], goal: str = "", varied: bool = False
) -> list[Method]:
    """Every method of these roles (and this goal) that was judged on one of these measures.

    Points of a trade-off are variants of one method and no methods of their own: `varied` asks for them, and them only.
    """
    found: dict[tuple[str, ScoreKey], Method] = {}
    for group, key, _ in study.scores():
        if key.measure in measures and key.method != CLEAN:
            line = key._replace(measure="")
            if (group.label, line) not in found:
                found[group.label, line] = _method(group, line)
    return [m for m in found.values() if m.role in roles and goal in ("", m.goal) and bool(m.setting) is varied]


def _method(group: Group, key: ScoreKey) -> Method:
    told = _told(group, key)

    def text(name: str, default: str = "") -> str:
        return str(told.get(name) or default)

    role = text("role", "control" if is_control(key.method) else "attack")
    goal, spent = text("goal", "dodge"), budget(key.method, group.card)
    knowledge, defence, watermark, about = map(text, ("knowledge", "defence", "watermark", "about"))
    settings, setting = _mapping(told, "settings"), _mapping(told, "setting")
    return Method(group, key, spent, role, goal, knowledge, defence, watermark, about, settings, setting)


def _told(group: Group, key: ScoreKey) -> Mapping[str, Any]:
    """The card's entry: a transfer's is named with its surrogates, a white box's is not.

    "pgd@sface" is what was made on sface and judged by others, and must not speak for the white box on sface.
    """
    card = group.card.methods
    transferred = {} if key.is_white_box else card.get(f"{key.method}@{'+'.join(key.surrogates)}")
    return transferred or card.get(key.method) or {}


def _mapping(told: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = told.get(name)
    return found if isinstance(found, Mapping) else {}


def blocks(study: Study, found: Iterable[Method]) -> dict[Heading, list[list[Method]]]:
    """Methods under their heading, one list a budget, each in printing order.

    A control that is judged by another watermarker stands beside the attacks of its run, for it is their control.
    """
    rows = list(found)
    places: dict[Heading, dict[Budget, list[Method]]] = {}
    for method in rows:
        heading = Heading(method.key.victim, _home(method), str(method.group.card.data.get("digest", "")))
        places.setdefault(heading, {}).setdefault(method.spent, []).append(method)
    ordered = sorted(places, key=lambda h: (study.order(h.victim), h.digest, h.watermark))
    return {
        h: [sorted(places[h][spent], key=lambda m: m.order) for spent in sorted(places[h], key=lambda b: b.order)]
        for h in ordered
    }


def _home(method: Method) -> str:
    """The watermarker a method is listed under: its own if any attack of the run is judged by it, else theirs."""
    entries = method.group.card.methods.values()
    # An attack without a watermarker is another study's.
    told = Counter(str(x["watermark"]) for x in entries if x.get("role") == "attack" and x.get("watermark"))
    if not told or method.watermark in told:
        return method.watermark
    return told.most_common(1)[0][0]


def heading_row(study: Study, heading: Heading) -> Row:
    """The heading in words; the data set is named where the study has several."""
    return head(heading_text(study, heading))


def heading_text(study: Study, heading: Heading) -> str:
    """ "sface, marked by rivagan"."""
    sets = {str(g.card.data.get("digest", "")): str(g.card.data.get("name", "?")) for g in study.groups}
    mark = f", marked by {heading.watermark}" if heading.watermark else ""
    return f"{named(heading.victim, study)}{mark}{f', {sets[heading.digest]}' if len(sets) > 1 else ''}"


def opening_cells(method: Method) -> tuple[Cell, Cell, Cell]:
    """Its name, what its maker knows, and its budget."""
    other = f"marked by {method.watermark}" if method.watermark and method.watermark != _home(method) else ""
    name = Cell(title(method), ", ".join(filter(None, [method.made_on, other])))
    return name, Cell(method.knowledge or "–"), Cell(method.spent.text)


def title(method: Method) -> str:
    """The name without its budget; a control says that it is one."""
    if method.is_control:
        return "Random sign (control)" if method.stem == CONTROL else f"{method.stem} (control)"
    return method.stem


def values(told: Mapping[str, Any]) -> str:
    """Settings in words: "steps 240, keep 0.78"."""
    return ", ".join(f"{name} {f'{x:g}' if isinstance(x, float) else x}" for name, x in told.items())


def kind(method: Method) -> str:
    """The kind of its table row."""
    return "control" if method.is_control else ""
