"""Calibrate: thresholds of every target on one data set, stored for all later studies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch

from facesec_bench.data import Dataset
from facesec_bench.errors import CalibrationError
from facesec_bench.interfaces import FRTarget
from facesec_bench.protocols.calibration import Calibration, CalibrationStore
from facesec_bench.protocols.calibration import calibrate as calibrate_target
from facesec_bench.protocols.embedding import embed_all
from facesec_bench.records import Outcome
from facesec_bench.runs import Run


def calibrate(
    run: Run,
    dataset: Dataset,
    targets: dict[str, FRTarget],
    *,
    fars: Sequence[float],
    store: CalibrationStore,
    device: torch.device | str = "cpu",
    batch_size: int = 32,
) -> Outcome:
    """Calibrate every target and return AUC, EER, and threshold, FAR and TAR at each rate.

    Raises:
        CalibrationError: if every rate was refused for a target (each refusal names what was needed).
    """
    outcome = Outcome()
    run.card.threat_model = [
        "No attack: thresholds are chosen on clean impostor pairs of each target at a stated false accept rate."
    ]
    for target in targets.values():
        found = calibrated(run, target, dataset, fars, store=store, device=device, batch_size=batch_size)
        add_to(outcome, found)
        if all(point["status"] == "refused" for point in found.points):
            raise CalibrationError(f"{target.name} on {dataset.name}: {found.points[0]['reason']}")
    return outcome


def calibrated(
    run: Run,
    target: FRTarget,
    dataset: Dataset,
    fars: Sequence[float],
    *,
    store: CalibrationStore,
    device: torch.device | str = "cpu",
    batch_size: int = 32,
) -> Calibration:
    """The stored calibration of this target, data set and rates, or a new one, stored; noted on the run's card."""
    found = store.load(target, dataset, fars)
    if found is None:
        chips = dataset.faces.images
        embeddings = embed_all(target, chips, device=device, batch_size=batch_size, label=f"calibrating {target.name}")
        found = calibrate_target(target, dataset, embeddings, fars)
        store.save(found, target, dataset, fars)
    run.card.calibration[target.name] = [dict(point) for point in found.points]
    return found


def add_to(outcome: Outcome, calibration: Calibration) -> None:
    """Put a calibration's measures among the scores and records, under method "clean"."""
    for measure, score in calibration.measures().items():
        outcome.whole_set(measure, "clean", calibration.target, score)


def restricted(dataset: Dataset, names: Iterable[str]) -> Dataset:
    """The part of a data set that shows these identities, with a digest of its own."""
    wanted = {dataset.faces.names.index(name) for name in names}
    rows = [i for i, identity in enumerate(dataset.faces.identities.tolist()) if identity in wanted]
    faces = dataset.faces.select(rows)
    kept = set(faces.keys)
    pairs = tuple(pair for pair in dataset.pairs if pair[0] in kept and pair[1] in kept)
    return replace(dataset, faces=faces, pairs=pairs, digest=f"{dataset.digest}:{','.join(sorted(names))}")
