"""Who judges a protected photo: recognisers, their roles, and thresholds fixed before any face was changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from facesec_bench.data import Dataset
from facesec_bench.interfaces import Faces, FRTarget
from facesec_bench.protocols.calibration import Calibration, CalibrationStore, calibrate
from facesec_bench.protocols.embedding import embed_all


@dataclass(frozen=True)
class Threshold:
    """The cosine at or above which a recogniser takes two photos for one person.

    Attributes:
        value: the threshold.
        far: the share of pairs of strangers it accepts.
        data: the data set on which this was measured.
        n_impostor: the number of pairs of strangers measured.
        source: where the calibration comes from, in words.
    """

    value: float
    far: float
    data: str
    n_impostor: int
    source: str


@dataclass(frozen=True)
class Judge:
    """A recogniser with its threshold and its role: it was used to craft, or it was held out."""

    target: FRTarget
    threshold: Threshold
    held_out: bool
    device: torch.device | str = "cpu"

    @property
    def name(self) -> str:
        """The recogniser's name."""
        return self.target.name

    @property
    def role(self) -> str:
        """The role, in words."""
        return "held out" if self.held_out else "used to craft"

    def embed(self, chips: Tensor) -> Tensor:
        """(B, 3, 224, 224) -> (B, D) unit vectors on the CPU, without gradients."""
        return embed_all(self.target, chips, device=self.device, label=f"looking with {self.name}")


def threshold_of(
    target: FRTarget,
    store: CalibrationStore,
    far: float,
    fars: Sequence[float],
    fallback: Callable[[], Dataset],
    device: torch.device | str = "cpu",
) -> Threshold:
    """The target's stored calibration at `far`, best first: real photos before made ones, then more pairs. Without one,
    its pairs on the fallback data set are measured and stored.

    Raises:
        CalibrationError: the fallback has too few pairs for `far`.
    """
    known = _stored(target, store, far)
    if known is not None:
        return _at(known, far, f"calibrated by an earlier run on {known.data}")
    dataset = fallback()
    embeddings = embed_all(target, dataset.faces.images, device=device, label=f"calibrating {target.name}")
    found = calibrate(target, dataset, embeddings, fars)
    threshold = _at(found, far, f"measured now on the data set {dataset.name}")
    store.save(found, target, dataset, fars)
    return threshold


def _at(found: Calibration, far: float, source: str) -> Threshold:
    return Threshold(found.threshold(far), far, found.data, found.n_impostor, source)


def _stored(target: FRTarget, store: CalibrationStore, far: float) -> Calibration | None:
    found = []
    for path in sorted(store.folder.glob(f"{target.name}-*.json")):
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            fars = [point["far"] for point in fields["points"]]
            able = any(abs(p["far"] - far) < 1e-12 and p["status"] == "calibrated" for p in fields["points"])
            data = _named(str(fields["data"]), str(fields["data_digest"]))
        except (OSError, ValueError, TypeError, KeyError):
            continue
        # Asked for through the store, which also compares the weights and the code that makes embeddings.
        calibration = store.load(target, data, fars) if able else None
        if calibration is not None:
            found.append(calibration)
    return max(found, key=lambda c: (c.data != "synthetic", c.n_impostor), default=None)


def _named(name: str, digest: str) -> Dataset:
    """A data set of which only the name and the digest matter."""
    nobody = Faces(torch.empty(0, 3, 1, 1), torch.empty(0, dtype=torch.int64), (), ())
    return Dataset(name, nobody, (), digest, "", {})
