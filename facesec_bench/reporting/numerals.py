"""How numbers are written: three significant digits, percent for proportions, a dash where there is none."""

from __future__ import annotations

import math

from facesec_bench.records import Score

NONE = "–"

_NOISE = 1e-12
"""Below this a number is the rounding of sums that cancel, such as an interaction of 0."""


def three(x: float) -> str:
    """Three significant digits: 0.0123, 3.33, 97.5, 100, 1230; a dash for NaN."""
    if math.isnan(x):
        return NONE
    if math.isinf(x):
        return "∞" if x > 0 else "−∞"
    if abs(x) < _NOISE:
        return "0"
    text = f"{x:.0f}" if abs(x) >= 999.5 else f"{x:#.3g}".rstrip(".")
    return text.replace("-", "−") if text[-4:-2] != "e-" else text


def percent(x: float) -> str:
    """A proportion as a percentage: 0.975 -> "97.5%"."""
    return three(x) if math.isnan(x) else f"{three(100.0 * x)}%"


def interval(score: Score, proportion: bool) -> str:
    """The interval as "[92.1, 99.4]", in percent for proportions; empty where there is none."""
    if math.isnan(score.low) or math.isnan(score.high):
        return ""
    scale = 100.0 if proportion else 1.0
    return f"[{three(scale * score.low)}, {three(scale * score.high)}]"


def value(score: Score, proportion: bool) -> str:
    """The value alone."""
    return percent(score.value) if proportion else three(score.value)


def points(x: float) -> str:
    """A difference of proportions in percentage points, with its sign: 0.44 -> "+44.0"."""
    text = three(100.0 * x)
    return f"+{text}" if x > 0 and text != "0" else text


def seconds(total: float) -> str:
    """A duration as "42 s" or "3 min 20 s"."""
    whole = round(total)
    return f"{three(total)} s" if total < 60 else f"{whole // 60} min {whole % 60} s"
