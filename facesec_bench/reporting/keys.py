"""The grammar of score keys: "<measure>/<method>[@<surrogate>+<surrogate>]/<victim>"."""

from __future__ import annotations

import re
from typing import NamedTuple

from facesec_bench.records import RunCard

CLEAN = "clean"
CONTROL = "random_sign"

_BUDGET = re.compile(r"_eps(\d+(?:\.\d+)?)$")


class Budget(NamedTuple):
    """What a method may spend: `eps_255` is in steps of 1/255, None where there is no budget.

    Norms are "linf" (any pixel's change), "rms" (root mean square change of the image) and "none"; numbers compare
    within one norm only.
    """

    norm: str
    eps_255: float | None

    @property
    def order(self) -> tuple[int, float]:
        """Sorting key: L-inf by size, then root mean square by size, then methods without a budget."""
        return ("linf", "rms", "none").index(self.norm), self.eps_255 or 0.0

    @property
    def text(self) -> str:
        """As printed: "8/255", "8/255 rms" or "none"."""
        if self.eps_255 is None:
            return "none"
        return f"{self.eps_255:g}/255{' rms' if self.norm == 'rms' else ''}"


DEFAULT = Budget("linf", 8.0)
"""The budget of a method whose name carries none and whose card says nothing else."""

NO_BUDGET = Budget("none", None)


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
    """Whether `method` is the random-sign perturbation, at any budget: the control that no card needs to name.

    Other controls are told by their card's role: see `sections.methods`.
    """
    return stem(method) == CONTROL


def stem(method: str) -> str:
    """The method's name without its budget: "pgd_eps4" -> "pgd"."""
    return _BUDGET.sub("", method)


def budget(method: str, card: RunCard) -> Budget:
    """The budget a method was given. Its name says how much (`_eps4` at the end, else 8), its card entry in which norm.

    The name decides because a run holds a method at several budgets. An entry that says null and no norm has none, and
    neither has what recovers faces.
    """
    told = card.methods.get(method) or {}
    if "inversion" in card.data and "eps_255" not in told:
        return NO_BUDGET  # a picture from nothing changes none
    norm = told.get("norm")
    if norm not in ("linf", "rms"):
        if "eps_255" in told and told["eps_255"] is None:
            return NO_BUDGET
        norm = DEFAULT.norm
    suffix = _BUDGET.search(method)
    return Budget(norm, float(suffix.group(1)) if suffix else DEFAULT.eps_255)
