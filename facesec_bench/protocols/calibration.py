"""Calibration: thresholds from clean impostor pairs of one victim on one data set, fixed before any attack."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from facesec_bench.data import Dataset
from facesec_bench.errors import CalibrationError
from facesec_bench.files import write_atomically
from facesec_bench.interfaces import FRTarget
from facesec_bench.metrics.intervals import identity_bootstrap
from facesec_bench.metrics.verification import (
    auc,
    equal_error_rate,
    pair_scores,
    threshold_at_far,
    true_accept_rate,
)
from facesec_bench.records import Record, Score

VERSION = 1
"""Raise it when the procedure changes, so that stored calibrations of the old one are not reused."""


def far_name(far: float) -> str:
    """0.01 -> "1e-2", 0.05 -> "5e-2": how a false accept rate is spelt in a measure's name."""
    mantissa, exponent = f"{far:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


@dataclass(frozen=True)
class Calibration:
    """Thresholds of one target on one data set.

    Attributes:
        points: one entry per false accept rate asked for: far, status ("calibrated" or "refused"), threshold,
            far_measured with its Clopper-Pearson interval far_low..far_high, n_impostor, tar with its
            identity-bootstrap interval, n_genuine, reason (of a refusal).
        auc: area under the ROC curve over all pairs.
        eer: equal error rate over all pairs.
    """

    target: str
    target_digest: str
    data: str
    data_digest: str
    points: tuple[dict[str, Any], ...]
    auc: float
    eer: float
    n_genuine: int
    n_impostor: int
    version: int = VERSION

    def threshold(self, far: float) -> float:
        """The cosine at or above which a pair is accepted at this false accept rate.

        Raises:
            CalibrationError: if that rate was refused or not asked for.
        """
        for point in self.points:
            if abs(point["far"] - far) < 1e-12:
                if point["status"] == "calibrated":
                    return float(point["threshold"])
                raise CalibrationError(f"{self.target} on {self.data}: {point['reason']}")
        raise CalibrationError(
            f"{self.target} on {self.data}: FAR {far:g} was not calibrated; it has "
            f"{[p['far'] for p in self.points]}. Add it to `fars`."
        )

    def records(self) -> list[Record]:
        """The calibration as whole-set records, key "*"."""
        return [
            Record("*", "", "clean", self.target, measure, score.value) for measure, score in self.measures().items()
        ]

    def measures(self) -> dict[str, Score]:
        """Measure name -> score, for scores.json."""
        nan = float("nan")
        found = {
            "auc": Score(self.auc, nan, nan, self.n_genuine + self.n_impostor),
            "eer": Score(self.eer, nan, nan, self.n_genuine + self.n_impostor),
        }
        for point in self.points:
            if point["status"] != "calibrated":
                continue
            rate = far_name(point["far"])
            found[f"threshold_far_{rate}"] = Score(point["threshold"], nan, nan, point["n_impostor"])
            found[f"far_measured_far_{rate}"] = Score(
                point["far_measured"], point["far_low"], point["far_high"], point["n_impostor"]
            )
            found[f"tar_at_far_{rate}"] = Score(point["tar"], point["tar_low"], point["tar_high"], point["n_genuine"])
        return found


def calibrate(
    target: FRTarget, dataset: Dataset, embeddings: Tensor, fars: Sequence[float], *, seed: int = 0
) -> Calibration:
    """Calibrate `target` on the clean pairs of `dataset`.

    Args:
        embeddings: (N, D) of `dataset.faces` under `target`, in order.
        fars: false accept rates; one with too few impostor pairs becomes a refusal that names what was needed.

    Raises:
        CalibrationError: if there is no genuine or no impostor pair at all.
    """
    faces = dataset.faces
    position = {key: i for i, key in enumerate(faces.keys)}
    given = [(position[a], position[b]) for a, b, _ in dataset.pairs] or None
    pairs = pair_scores(embeddings.numpy(), faces.identities.numpy(), given)
    if not len(pairs.genuine) or not len(pairs.impostor):
        raise CalibrationError(
            f"{target.name} on {dataset.name}: found {len(pairs.genuine)} genuine and {len(pairs.impostor)} impostor "
            "pairs; wanted at least one of each. Give two identities or more, and two photos of one of them."
        )
    genuine_identities = faces.identities.numpy()[pairs.genuine_pairs[:, 0]]
    points = []
    for far in fars:
        point: dict[str, Any] = {"far": float(far), "n_impostor": len(pairs.impostor), "n_genuine": len(pairs.genuine)}
        try:
            found = threshold_at_far(pairs.impostor, far)
        except CalibrationError as refusal:
            points.append(point | {"status": "refused", "reason": str(refusal)})
            continue
        accepted = (pairs.genuine >= found.threshold).astype(float)
        tar = identity_bootstrap(accepted, genuine_identities, seed, proportion=True)
        points.append(
            point
            | {
                "status": "calibrated",
                "threshold": found.threshold,
                "far_measured": found.far_measured,
                "far_low": found.far_low,
                "far_high": found.far_high,
                "tar": true_accept_rate(pairs.genuine, found.threshold),
                "tar_low": tar.low,
                "tar_high": tar.high,
            }
        )
    return Calibration(
        target=target.name,
        target_digest=target.digest,
        data=dataset.name,
        data_digest=dataset.digest,
        points=tuple(points),
        auc=auc(pairs.genuine, pairs.impostor),
        eer=equal_error_rate(pairs.genuine, pairs.impostor),
        n_genuine=len(pairs.genuine),
        n_impostor=len(pairs.impostor),
    )


@dataclass(frozen=True)
class CalibrationStore:
    """Calibrations kept on disk, one file per (target weights, data, rates, procedure, code).

    Attributes:
        code: digest of the code that makes embeddings, so that a stored threshold is not used after it has changed.
    """

    folder: Path
    code: str = ""

    def _path(self, target: FRTarget, dataset: Dataset, fars: Sequence[float]) -> Path:
        rates = sorted(map(float, fars))
        identity = json.dumps([VERSION, self.code, target.name, target.digest, dataset.digest, rates])
        return self.folder / f"{target.name}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json"

    def load(self, target: FRTarget, dataset: Dataset, fars: Sequence[float]) -> Calibration | None:
        """The stored calibration, or None; a file that cannot be read is treated as absent and made again."""
        path = self._path(target, dataset, fars)
        try:
            fields: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return Calibration(**{**fields, "points": tuple(fields["points"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def save(self, calibration: Calibration, target: FRTarget, dataset: Dataset, fars: Sequence[float]) -> Path:
        """Write the calibration in one step."""
        path = self._path(target, dataset, fars)
        write_atomically(path, (json.dumps(asdict(calibration), indent=1) + "\n").encode())
        return path
