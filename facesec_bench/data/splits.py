"""Identity-disjoint splits: nobody is in two parts, so a method cannot be judged on a face it learned from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from facesec_bench.errors import ConfigError, DataError
from facesec_bench.seeds import numpy_generator

ROLES = ("calibration", "attack")
"""What a user's split column may say: whose clean pairs set the thresholds, and who is attacked."""


def disjoint(names: Iterable[str], fractions: Mapping[str, float], seed: int) -> dict[str, str]:
    """Deal identities out to roles at random.

    The same names, fractions and seed give the same split, in whatever order the names come. Sizes are exact to
    rounding (largest remainder).

    Args:
        names: identities, each once.
        fractions: share of each role, such as {"gallery": 0.8, "unknown": 0.2}; they add up to 1.

    Returns:
        The role of each identity.

    Raises:
        ConfigError: fractions that are not positive or do not add up to 1.
        DataError: a repeated name, or so few identities that a role would be empty.
    """
    people = sorted(names)
    if len(set(people)) != len(people):
        raise DataError("A split wants each identity once; found a repeated name.")
    if not fractions or any(not share > 0 for share in fractions.values()):
        raise ConfigError(f"Fractions of a split must be above 0; found {dict(fractions)}.")
    if not math.isclose(sum(fractions.values()), 1.0, abs_tol=1e-6):
        raise ConfigError(
            f"Fractions of a split must add up to 1; {dict(fractions)} add up to {sum(fractions.values())}."
        )
    sizes = _sizes(len(people), fractions)
    empty = [role for role, size in sizes.items() if size == 0]
    if empty:
        raise DataError(
            f"{len(people)} identities split by {dict(fractions)} leave nobody for {', '.join(empty)}; "
            "give more identities or larger fractions."
        )
    order = numpy_generator(seed, "split", *sorted(fractions)).permutation(len(people))
    roles = [role for role, size in sizes.items() for _ in range(size)]
    drawn = {people[i]: role for i, role in zip(order.tolist(), roles, strict=True)}
    return {name: drawn[name] for name in people}


def _sizes(total: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers nearest to the shares that add up to `total`: largest remainder, ties in the order given."""
    exact = {role: total * share for role, share in fractions.items()}
    sizes = {role: math.floor(value + 1e-9) for role, value in exact.items()}
    by_remainder = sorted(exact, key=lambda role: sizes[role] - exact[role])
    for role in by_remainder[: total - sum(sizes.values())]:
        sizes[role] += 1
    return sizes


def from_column(identities: Mapping[str, str], roles: Mapping[str, str]) -> dict[str, str]:
    """The role of each identity, from the role of each photo that the user's file gave.

    Args:
        identities: identity name of each key.
        roles: role of each key (`Dataset.splits`).

    Raises:
        DataError: a photo without a role, a role that is not one of ROLES, or an identity in two roles (each named).
    """
    result: dict[str, str] = {}
    for key, name in identities.items():
        role = roles.get(key)
        if not role:
            raise DataError(f"{key} has no split; fill the split column for every photo, or for none.")
        if role not in ROLES:
            raise DataError(f"{key} has split {role!r}, wanted {' or '.join(ROLES)}.")
        if result.setdefault(name, role) != role:
            raise DataError(
                f"Identity {name!r} is in two splits, {result[name]!r} and {role!r} ({key}); "
                "identity-disjoint splits need all photos of a person in one."
            )
    return dict(sorted(result.items()))
