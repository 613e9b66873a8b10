"""From records to scores: one mean with its interval for each measure, method and target."""

from __future__ import annotations

import re
from collections.abc import Iterable

from facesec_bench.errors import FacesecError
from facesec_bench.metrics.intervals import identity_bootstrap
from facesec_bench.records import Record, Score

WHOLE_SET = "*"
"""Key of a record about a whole set (an AUC, a Frechet distance): no rows to resample, so its owner scores it."""

_PROPORTION = re.compile(r"_success$|^rank\d+_|^tar_|^base_")


def is_proportion(measure: str) -> bool:
    """Whether `measure` is a share of zeros and ones, such as "dodging_success" or "rank1_targeted"."""
    return _PROPORTION.search(measure) is not None


def summarise(records: Iterable[Record], seed: int) -> dict[str, Score]:
    """Mean and 95 % identity bootstrap of every (measure, method, target), by "<measure>/<method>/<target>".

    Records with key "*" are left to whoever made them. PSNR alone may hold NaN (image unchanged, see `quality.psnr`):
    those rows are left out and n says how many remain.

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
            values, identities, seed, proportion=is_proportion(measure), allow_nan=measure == "psnr"
        )
    except (FacesecError, ValueError) as error:
        raise FacesecError(f"{key}: {error}") from error
