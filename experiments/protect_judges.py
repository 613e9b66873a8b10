"""Who judges a protected photo: recognisers, their roles, and thresholds fixed before any face was changed."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from facesec_bench.data import Dataset
from facesec_bench.interfaces import Faces, FRTarget
from facesec_bench.protocols.calibration import Calibration, CalibrationStore, calibrate
from facesec_bench.protocols.embedding import embed_all

EMBEDDING_CODE = (
    "data/align.py",
    "data/assemble.py",
    "data/detection.py",
    "data/nuisance.py",
    "data/synthetic.py",
    "generators/dcgan.py",
    "interfaces.py",
    "metrics/verification.py",
    "protocols/calibration.py",
    "protocols/embedding.py",
    "targets",
)
"""The code of the kernel that decides a threshold measured here: how a chip is cut and drawn, what a recogniser makes
of it, which pairs count. A release that leaves it alone finds what an earlier one measured."""

MADE_UP = "synthetic"
"""The name of the data set of faces that this project generates."""


def embedding_code(kernel: Path) -> str:
    """sha256 over EMBEDDING_CODE in the folder of the kernel."""
    digest = hashlib.sha256()
    for name in EMBEDDING_CODE:
        place = kernel / name
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(path.relative_to(kernel).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


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
    stores: Sequence[CalibrationStore],
    far: float,
    people: Callable[[], Dataset],
    device: torch.device | str = "cpu",
    *,
    only: bool = False,
) -> Threshold:
    """The target's best stored calibration at `far`: photos that somebody brought before this project's made-up people,
    then more pairs. Without one, the pairs of `people` are measured and stored.

    A calibration names its data and does not say whether the faces brought are real; so neither does this.

    Args:
        stores: all are searched; the first is written to.
        only: nothing but `people` will do, as the user chose them.

    Raises:
        CalibrationError: too few pairs for `far`.
    """
    known = [found for store in stores for found in _stored(target, store, far, people() if only else None)]
    if known:
        best = max(known, key=lambda c: (c.data != MADE_UP, c.n_impostor))
        what = (
            "" if best.data == MADE_UP else ", photos that were brought; whether their faces are real is not recorded"
        )
        return _at(best, far, f"measured by an earlier run on {best.data}{what}")
    dataset = people()
    embeddings = embed_all(target, dataset.faces.images, device=device, label=f"calibrating {target.name}")
    found = calibrate(target, dataset, embeddings, [far])
    threshold = _at(found, far, f"measured now on the data set {dataset.name}")
    try:
        stores[0].save(found, target, dataset, [far])
    except OSError as error:
        warnings.warn(f"The threshold cannot be kept for the next run: {error}.", stacklevel=2)
    return threshold


def _at(found: Calibration, far: float, source: str) -> Threshold:
    return Threshold(found.threshold(far), far, found.data, found.n_impostor, source)


def _stored(target: FRTarget, store: CalibrationStore, far: float, of: Dataset | None) -> list[Calibration]:
    """What a store holds for the target at `far`, of any data set or of one."""
    found = []
    for path in sorted(store.folder.glob(f"{target.name}-*.json")):
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            fars = [point["far"] for point in fields["points"]]
            able = any(abs(p["far"] - far) < 1e-12 and p["status"] == "calibrated" for p in fields["points"])
            data = _named(str(fields["data"]), str(fields["data_digest"]))
        except (OSError, ValueError, TypeError, KeyError):
            continue
        if of is not None and data.digest != of.digest:
            continue
        # Asked for through the store, which also compares the weights and the code that makes embeddings.
        calibration = store.load(target, data, fars) if able else None
        if calibration is not None:
            found.append(calibration)
    return found


def _named(name: str, digest: str) -> Dataset:
    """A data set of which only the name and the digest matter."""
    nobody = Faces(torch.empty(0, 3, 1, 1), torch.empty(0, dtype=torch.int64), (), ())
    return Dataset(name, nobody, (), digest, "", {})
