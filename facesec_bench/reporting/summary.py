"""The headline numbers of a run, for a terminal."""

from __future__ import annotations

from pathlib import Path

from facesec_bench.records import Score
from facesec_bench.reporting import labels, numerals, summary_activation, summary_cloaking, summary_inversion
from facesec_bench.reporting.keys import CLEAN, ScoreKey, is_control, parse
from facesec_bench.reporting.runs import Run, read_run

_SHOWN = ("dodging_success", "impersonation_success")


def text_summary(run: Path) -> str:
    """A short plain-text table of a run folder: clean accuracy, then each method and victim, the control last.

    A run that failed or cannot be read is said to be so; nothing is raised.
    """
    found = read_run(run)
    if found.card is None:
        return f"{found.run_id}: {found.problem}"
    card = found.card
    data = f"{card.data.get('name', '?')}, {card.data.get('n_images', '?')} images"
    title = f"{card.experiment} {card.run_id} ({card.status}, seed {card.seed}, {data})"
    lines = [title]
    if found.problem:
        lines.append(f"  {found.problem}")
    scores = {parse(key): score for key, score in found.scores.items()}
    lines += _clean(scores) + _attacks(scores)
    for rows in (*summary_activation.grids(run), *summary_cloaking.grids(run), *summary_inversion.grids(run)):
        lines += _grid(rows)
    lines += _refusals(found)
    return "\n".join(lines)


def _clean(scores: dict[ScoreKey, Score]) -> list[str]:
    measures = [m for m in labels.CLEAN if any(k.measure == m for k in scores)]
    victims = list(dict.fromkeys(k.victim for k in scores if k.method == CLEAN and k.measure in measures))
    rows = [[v, *(_short(scores, m, CLEAN, (), v, labels.CLEAN[m].proportion) for m in measures)] for v in victims]
    return _grid([["clean", *(labels.CLEAN[m].text for m in measures)], *rows]) if rows else []


def _attacks(scores: dict[ScoreKey, Score]) -> list[str]:
    """White box, then each victim's largest ensembles, then the control; the other transfers are counted."""
    measures = [m for m in _SHOWN if any(k.measure == m for k in scores)]
    lines = dict.fromkeys((k.method, k.surrogates, k.victim) for k in scores if k.measure in measures)
    largest: dict[str, int] = {}
    for _, surrogates, victim in lines:
        largest[victim] = max(len(surrogates), largest.get(victim, 0))
    shown = [x for x in lines if x[1] == (x[2],) or is_control(x[0]) or len(x[1]) == largest[x[2]] > 1]
    rows = []
    for method, surrogates, victim in sorted(shown, key=lambda x: (is_control(x[0]), len(x[1]), x[2], x[0])):
        made_on = "white box" if surrogates == (victim,) else f"{len(surrogates)} models" if surrogates else "nothing"
        values = [_short(scores, m, method, surrogates, victim, True) for m in measures]
        rows.append([victim, method, made_on, *values])
    more = len(lines) - len(shown)
    rest = [f"  and {more} more transfers in scores.json"] if more else []
    head = ["victim", "method", "made on", *(labels.SUCCESS[m].text for m in measures)]
    return [*_grid([head, *rows]), *rest] if rows else rest


def _short(
    scores: dict[ScoreKey, Score], measure: str, method: str, surrogates: tuple[str, ...], victim: str, share: bool
) -> str:
    score = scores.get(ScoreKey(measure, method, surrogates, victim))
    if score is None:
        return numerals.NONE
    return f"{numerals.value(score, share)} {numerals.interval(score, share)}".strip()


def _refusals(run: Run) -> list[str]:
    calibration = run.card.calibration if run.card else {}
    whose: dict[str, list[str]] = {}
    for target, points in calibration.items():
        for point in points:
            if point.get("status") == "refused":
                whose.setdefault(str(point.get("reason")), []).append(target)
    return [f"  refused for {', '.join(targets)}: {reason}" for reason, targets in whose.items()]


def _grid(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["", *("  " + "  ".join(x.ljust(w) for x, w in zip(row, widths, strict=True)).rstrip() for row in rows)]
