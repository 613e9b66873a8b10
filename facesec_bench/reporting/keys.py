"""The grammar of score keys: "<measure>/<method>[@<surrogate>+<surrogate>]/<victim>"."""

from __future__ import annotations

import re
from typing import NamedTuple

from facesec_bench.records import RunCard

DEFAULT_EPS_255 = 8.0
"""The budget of a method whose name carries none."""

CLEAN = "clean"
CONTROL = "random_sign"

_BUDGET = re.compile(r"_eps(\d+(?:\.\d+)?)$")


class ScoreKey(NamedTuple):
    """A score key taken apart. White box: `surrogates` is the victim alone. Clean and control: it is empty."""

    measure: str
    method: str
    surrogates: tuple[str, ...]
    victim: str

    @property
    def is_transfer(self) -> bool:
        """Whether the victim was not attacked directly; False for a control, which attacks nobody."""
        return bool(self.surrogates) and self.victim not in self.surrogates

    @property
    def is_white_box(self) -> bool:
        """Whether the victim alone was the surrogate."""
        return self.surrogates == (self.victim,)


def parse(key: str) -> ScoreKey:
    """Take a score key apart.

    Raises:
        ValueError: fewer than three parts.
    """
    parts = key.split("/")
    if len(parts) < 3:
        raise ValueError(f"A score key is measure/method/victim; found {key!r}.")
    measure, method, victim = parts[0], "/".join(parts[1:-1]), parts[-1]
    name, at, surrogates = method.partition("@")
    if at:
        return ScoreKey(measure, name, tuple(surrogates.split("+")), victim)
    return ScoreKey(measure, name, () if name == CLEAN or is_control(name) else (victim,), victim)


def is_control(method: str) -> bool:
    """Whether `method` is the random-sign perturbation, at any budget."""
    return stem(method) == CONTROL


def stem(method: str) -> str:
    """The method's name without its budget: "pgd_eps4" -> "pgd"."""
    return _BUDGET.sub("", method)


def eps_255(method: str, card: RunCard | None = None) -> float:
    """The method's budget in steps of 1/255: as the card says, else as the name says, else 8."""
    told = (card.methods.get(method) or {}).get("eps_255") if card else None
    if isinstance(told, int | float):
        return float(told)
    suffix = _BUDGET.search(method)
    return float(suffix.group(1)) if suffix else DEFAULT_EPS_255
