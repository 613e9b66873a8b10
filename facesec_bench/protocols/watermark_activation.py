"""The watermark-activation protocol: the four cells of the 2x2 table, judged on identical pairs.

Cells: clean x, perturbed x + delta, watermarked E(x, m), both E(x + delta, m); see `metrics.activation`. Unlike the
evasion study, every pair counts, also one that the victim rejects when clean: the table is of accept rates (TAR over
all genuine pairs), and its cells can only be subtracted if they rest on the same pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from facesec_bench.errors import CalibrationError, ConfigError
from facesec_bench.interfaces import Faces
from facesec_bench.metrics import activation
from facesec_bench.metrics.activation import CELLS
from facesec_bench.metrics.identification import ranks
from facesec_bench.metrics.verification import check_unit
from facesec_bench.protocols import fidelity, identification, verification
from facesec_bench.protocols.calibration import far_name
from facesec_bench.protocols.crafting import GoalName
from facesec_bench.protocols.roles import Roles
from facesec_bench.records import Record

Array = npt.NDArray[np.float64]


class _Trials(NamedTuple):
    """What one set of trials (pairs or photos) shares; `values` by measure are written under these keys."""

    keys: list[str]
    identities: list[str]
    method: str
    victim: str

    def records(self, measures: Mapping[str, Array]) -> list[Record]:
        """One record a trial and measure; a NaN marks a trial that the measure does not count, and leaves no record."""
        return [
            Record(key, identity, self.method, self.victim, measure, float(value))
            for measure, values in measures.items()
            for key, identity, value in zip(self.keys, self.identities, values, strict=True)
            if not np.isnan(value)
        ]


def judge(
    faces: Faces,
    roles: Roles,
    cells: Mapping[str, Tensor],
    clean: Tensor,
    *,
    kind: GoalName,
    method: str,
    victim: str,
    thresholds: Mapping[float, float],
    far: float,
) -> list[Record]:
    """The 2x2 table of one method and victim, one record a (source, judge) pair and measure.

    Dodging, against the person's own judges: "similarity_<cell>", "tar_<cell>", "tar_drop_<cell>", "interaction" (the
    last three also with "_far_<rate>" for every other rate) and "activation_success"; a source photo each:
    "rank1_<cell>", "rank1_drop_<cell>", "rank1_interaction". Impersonating, against the target's judges:
    "target_accept_<cell>", "target_gain_<cell>", "target_interaction", "target_activation_success"; against the own
    judges "own_accept_<cell>".

    Args:
        cells: by name of the cell, (S, D) embeddings of the kept images, one per source, as the victim's system makes
            them (behind its purifier, if it has one).
        clean: (N, D) clean embeddings of all faces; the judges' rows are what is enrolled.
        thresholds: false accept rate -> threshold of the victim, calibrated beforehand; accept at cosine >= threshold.
        far: the main rate, one of `thresholds`.

    Raises:
        CalibrationError: no threshold for the main rate.
        ConfigError: cells that are not the four, or not one row a source.
        ValueError: embeddings that are not unit vectors.
    """
    _check(cells, len(roles.sources), far, thresholds)
    trials, similarity = _pairs(faces, roles, cells, clean, "dodge", method, victim)
    if kind == "dodge":
        measures = {f"similarity_{cell}": similarity[cell] for cell in CELLS}
        for rate, threshold in thresholds.items():
            measures |= _accept_rates(similarity, threshold, _suffix(rate, far))
        measures["activation_success"] = activation.activation_success(**_accepted(similarity, thresholds[far]))
        return trials.records(measures) + _rank_one(faces, roles, cells, clean, method, victim)
    own = {f"own_accept_{cell}": v for cell, v in _accepted(similarity, thresholds[far]).items()}
    targets, towards = _pairs(faces, roles, cells, clean, "impersonate", method, victim)
    return targets.records(_target_rates(_accepted(towards, thresholds[far]))) + trials.records(own)


def owed(
    roles: Roles, kind: GoalName, *, method: str, victim: str, thresholds: Iterable[float], far: float
) -> list[str]:
    """The score keys that `judge` owes; one without a counted trial is reported as NaN with n = 0, never left out.

    Args:
        thresholds: the calibrated false accept rates (the mapping given to `judge` will do).
    """
    others = CELLS[1:]
    if kind == "dodge":
        measures = [f"similarity_{cell}" for cell in CELLS]
        for end in (_suffix(rate, far) for rate in thresholds):
            measures += [f"tar_{cell}{end}" for cell in CELLS]
            measures += [*(f"tar_drop_{cell}{end}" for cell in others), f"interaction{end}"]
        measures.append("activation_success")
        if 1 in identification.usable_ranks(roles):
            measures += [f"rank1_{cell}" for cell in CELLS]
            measures += [*(f"rank1_drop_{cell}" for cell in others), "rank1_interaction"]
    else:
        measures = [f"{who}_accept_{cell}" for who in ("target", "own") for cell in CELLS]
        measures += [f"target_gain_{cell}" for cell in others]
        measures += ["target_interaction", "target_activation_success"]
    return [f"{measure}/{method}/{victim}" for measure in measures]


def fidelity_records(
    kept: Mapping[str, Tensor],
    photos: Tensor,
    keys: Sequence[str],
    identities: Sequence[str],
    *,
    method: str,
    victim: str,
    lpips: fidelity.Distance | None,
    device: torch.device | str = "cpu",
    cells: Sequence[str] = CELLS[1:],
) -> list[Record]:
    """Quality of each cell but the clean one against the clean photo: "psnr_<cell>" (dB), "ssim_<cell>", ...

    Args:
        kept: by cell, (S, 3, H, W) as kept; the clean cell is not read and may be absent.
        photos: (S, 3, H, W) the clean photos.
        cells: those to measure; a caller that has seen some already names the others.

    Raises:
        ConfigError: a cell is missing.
    """
    missing = [cell for cell in cells if cell not in kept]
    if missing:
        raise ConfigError(f"{method}: found no images of the cells {missing}; wanted all of {list(cells)}.")
    records = []
    for cell in cells:
        found = fidelity.judge(
            kept[cell], photos, keys, identities, method=method, victim=victim, lpips=lpips, device=device
        )
        records += [record._replace(measure=f"{record.measure}_{cell}") for record in found]
    return records


def with_fallback(cells: Mapping[str, Tensor], flagged_watermarked: Tensor, flagged_both: Tensor) -> dict[str, Tensor]:
    """The cells of a system that keeps the unmarked upload: where a marked image is flagged, the upload is recognised.

    Args:
        cells: the four, (S, D) each.
        flagged_watermarked, flagged_both: (S,) bool, the detector's flags on E(x, m) and on E(x + delta, m).

    Returns:
        New cells; "clean" and "perturbed" as they were.

    Raises:
        ConfigError: cells that are not the four, or flags that are not (S,) bool.
    """
    _check_cells(cells, len(cells["clean"]) if "clean" in cells else 0)
    upload = {"watermarked": "clean", "both": "perturbed"}
    found = dict(cells)
    for cell, flags in (("watermarked", flagged_watermarked), ("both", flagged_both)):
        if flags.dtype != torch.bool or flags.shape != (len(cells[cell]),):
            raise ConfigError(
                f"with_fallback: found flags {tuple(flags.shape)} {flags.dtype} for {cell!r}, wanted one bool for each "
                f"of its {len(cells[cell])} images."
            )
        found[cell] = torch.where(flags.to(cells[cell].device)[:, None], cells[upload[cell]], cells[cell])
    return found


def _suffix(rate: float, far: float) -> str:
    return "" if rate == far else f"_far_{far_name(rate)}"


def _pairs(
    faces: Faces,
    roles: Roles,
    cells: Mapping[str, Tensor],
    clean: Tensor,
    kind: GoalName,
    method: str,
    victim: str,
) -> tuple[_Trials, dict[str, Array]]:
    """The pairs of one goal, and their cosines by cell."""
    pairs = verification.pairs(roles, faces, kind)
    rows, judges = [row for row, _ in pairs], [photo for _, photo in pairs]
    sources = [roles.sources[row] for row in rows]
    keys = [f"{faces.keys[s]}>{faces.keys[j]}" for s, j in zip(sources, judges, strict=True)]
    trials = _Trials(keys, [faces.names[int(faces.identities[s])] for s in sources], method, victim)
    enrolled = clean[judges].double().numpy()
    check_unit(enrolled)
    return trials, {cell: (cells[cell][rows].double().numpy() * enrolled).sum(axis=1) for cell in CELLS}


def _accepted(similarity: Mapping[str, Array], threshold: float) -> dict[str, Array]:
    return {cell: (similarity[cell] >= threshold).astype(np.float64) for cell in CELLS}


def _accept_rates(similarity: Mapping[str, Array], threshold: float, suffix: str) -> dict[str, Array]:
    accepted = _accepted(similarity, threshold)
    lost = activation.drops(**accepted)._asdict()
    measures = {f"tar_{cell}{suffix}": accepted[cell] for cell in CELLS}
    measures |= {f"tar_drop_{cell}{suffix}": values for cell, values in lost.items()}
    return measures | {f"interaction{suffix}": activation.interaction(**accepted)}


def _target_rates(accepted: Mapping[str, Array]) -> dict[str, Array]:
    """What is gained in acceptance is what is lost in rejection, so the measures of a dodger serve on rejections."""
    rejected = {cell: 1.0 - values for cell, values in accepted.items()}
    measures = {f"target_accept_{cell}": accepted[cell] for cell in CELLS}
    measures |= {f"target_gain_{cell}": values for cell, values in activation.drops(**rejected)._asdict().items()}
    measures["target_interaction"] = activation.interaction(**rejected)
    return measures | {"target_activation_success": activation.activation_success(**rejected)}


def _rank_one(
    faces: Faces, roles: Roles, cells: Mapping[str, Tensor], clean: Tensor, method: str, victim: str
) -> list[Record]:
    """Whether the person is found first in the gallery of one photo a person (`protocols.identification`)."""
    if 1 not in identification.usable_ranks(roles):
        return []
    sources = list(roles.sources)
    people = faces.identities[sources].numpy()
    gallery = clean[[roles.judges[i][0] for i in roles.identities]].numpy()
    first = {
        cell: (ranks(cells[cell].numpy(), people, gallery, roles.identities) == 1).astype(np.float64) for cell in CELLS
    }
    measures = {f"rank1_{cell}": values for cell, values in first.items()}
    measures |= {f"rank1_drop_{cell}": values for cell, values in activation.drops(**first)._asdict().items()}
    measures["rank1_interaction"] = activation.interaction(**first)
    trials = _Trials([faces.keys[s] for s in sources], [faces.names[i] for i in people], method, victim)
    return trials.records(measures)


def _check(cells: Mapping[str, Tensor], sources: int, far: float, thresholds: Mapping[float, float]) -> None:
    if far not in thresholds:
        raise CalibrationError(
            f"watermark activation: found thresholds at FAR {sorted(thresholds)}, wanted one at {far:g}; calibrate it."
        )
    _check_cells(cells, sources)
    for cell in CELLS:
        check_unit(cells[cell].double().numpy())


def _check_cells(cells: Mapping[str, Tensor], rows: int) -> None:
    found = {name: tuple(cell.shape) for name, cell in cells.items()}
    if set(found) != set(CELLS) or len(set(found.values())) != 1 or found["clean"][:1] != (rows,):
        raise ConfigError(f"watermark activation: found cells {found}, wanted {list(CELLS)}, each ({rows}, D).")
