"""From records to scores: one mean with its interval for each measure, method and target."""

from __future__ import annotations

import re
from collections.abc import Iterable

from facesec_bench.errors import FacesecError
from facesec_bench.metrics.intervals import identity_bootstrap
from facesec_bench.records import Record, Score

WHOLE_SET = "*"
"""Key of a record about a whole set (an AUC, a Frechet distance): no rows to resample, so its owner scores it."""

_BOUNDED = {
    re.compile(r"^(tar|rank\d+)_drop_|^(adaptive_)?tar_cost|^target_gain_"): (-1.0, 1.0),
    re.compile(r"^((rank\d+|target)_)?interaction"): (-2.0, 2.0),
    re.compile(r"^bit_accuracy|^plausibility$"): (0.0, 1.0),
}
"""Bounded measures that are no share of zeros and ones: differences of verdicts, shares, detections.

A classifier's confidence is none of them: at 1 in float32 it is no verdict that another person might turn."""

_PROPORTION = re.compile(
    r"_success$|_psr(_|$)|^protection_|^rank\d+_|^tar_|^base_|^(target|own)_accept_|^exact_message|^false_alarm$"
    r"|^detection$|^top\d+(_|$)|^sar_|^(victim|evaluator)_accuracy$"
)


def bounds(measure: str) -> tuple[float, float] | None:
    """Least and greatest value of a bounded measure that is no proportion, such as "tar_drop_both"; else None."""
    return next((limits for pattern, limits in _BOUNDED.items() if pattern.search(measure)), None)


def attainable(measure: str) -> tuple[float, float] | None:
    """Where the mean of `measure` can lie by what it is for, or None: at most 1 for an interaction.

    One row of an interaction reaches 2, where the clean photo was rejected and both margins are accepted; but an attack
    cannot lose more than the clean cell accepts, and that is 1 at most.
    """
    limits = bounds(measure)
    return None if limits is None else (limits[0], min(limits[1], 1.0))


def is_proportion(measure: str) -> bool:
    """Whether `measure` is a share of zeros and ones, such as "dodging_success" or "tar_both" (not "tar_drop_both")."""
    return bounds(measure) is None and _PROPORTION.search(measure) is not None


def summarise(records: Iterable[Record], seed: int) -> dict[str, Score]:
    """Mean and 95 % identity bootstrap of every (measure, method, target), by "<measure>/<method>/<target>".

    Records with key "*" are left to whoever made them. PSNR alone ("psnr", "psnr_both", ...) may hold NaN (image
    unchanged, see `quality.psnr`): those rows are left out and n says how many remain.

    Raises:
        FacesecError: NaN in any other measure, or a key twice in one score; it names the score.
    """
    groups: dict[str, tuple[list[float], list[str]]] = {}
    seen: set[tuple[str, str, str, str]] = set()
    for record in records:
        if record.key == WHOLE_SET:
            continue
        row = (record.key, record.measure, record.method, record.target)
        if row in seen:
            raise FacesecError(
                f"{record.measure}/{record.method}/{record.target}: found two records of {record.key!r}, wanted one "
                "of each image or pair; two methods bear one name, or a protocol ran twice."
            )
        seen.add(row)
        values, identities = groups.setdefault(f"{record.measure}/{record.method}/{record.target}", ([], []))
        values.append(record.value)
        identities.append(record.identity)
    return {key: _score(key, *groups[key], seed) for key in sorted(groups)}


def _score(key: str, values: list[float], identities: list[str], seed: int) -> Score:
    measure = key.split("/", 1)[0]
    try:
        return identity_bootstrap(
            values,
            identities,
            seed,
            proportion=is_proportion(measure),
            bounds=bounds(measure),
            attainable=attainable(measure),
            allow_nan=measure.startswith("psnr"),
        )
    except (FacesecError, ValueError) as error:
        raise FacesecError(f"{key}: {error}") from error
