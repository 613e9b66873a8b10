"""Points of several runs into lines over the budget: joined where the runs agree, apart where they do not."""

from __future__ import annotations

from facesec_bench.records import Score
from facesec_bench.reporting.grouping import Group
from facesec_bench.reporting.keys import Budget

Place = tuple[str, str, str]  # (measure, victim, data)
Point = tuple[Budget, Score, Group]
Lines = dict[Place, dict[str, list[Point]]]  # place -> label -> points


def join(found: Lines) -> Lines:
    """Lines of two budgets or more, each sorted by budget; a name whose runs clash becomes a line for each run."""
    clashes = _clashes(found)
    joined: Lines = {}
    for (measure, victim, data), methods in found.items():
        lines = _split(methods, {name for digest, name in clashes if digest == data})
        kept = {x: points for x, points in lines.items() if len({p[0] for p in points}) > 1}
        joined[measure, victim, data] = kept
    return joined


def _clashes(found: Lines) -> set[tuple[str, str]]:
    """(data, method) of which two runs say different things at one budget: these are never joined into one line."""
    said: dict[tuple[str, str, str, str, Budget], set[Score]] = {}
    for (measure, victim, data), methods in found.items():
        for name, points in methods.items():
            for spent, score, _ in points:
                said.setdefault((data, name, measure, victim, spent), set()).add(score)
    return {key[:2] for key, scores in said.items() if len(scores) > 1}


def _split(methods: dict[str, list[Point]], clashing: set[str]) -> dict[str, list[Point]]:
    """Runs are joined into one line while they agree or say different budgets; else there is a line for each run."""
    lines: dict[str, list[Point]] = {}
    for name, points in methods.items():
        for point in points:
            lines.setdefault(f"{name} [{point[2].label}]" if name in clashing else name, []).append(point)
    unique = {name: {p[0]: p for p in points}.values() for name, points in lines.items()}
    return {name: sorted(points, key=lambda p: p[0].order) for name, points in unique.items()}
