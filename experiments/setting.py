"""What every study begins with: who has which role, thresholds before any attack, and clean embeddings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from experiments.calibrate import add_to, calibrated, restricted
from facesec_bench.data import Dataset
from facesec_bench.data.splits import disjoint, from_column
from facesec_bench.errors import ConfigError
from facesec_bench.interfaces import FRTarget
from facesec_bench.protocols.calibration import Calibration, CalibrationStore
from facesec_bench.protocols.embedding import embed_all
from facesec_bench.protocols.roles import Roles, assign, write_roles
from facesec_bench.records import Outcome
from facesec_bench.runs import Run

PLAIN_BUDGET_255 = 8.0
COPY_COSINE = 0.99
"""Two photos of one person at or above it are probably one photo, saved twice."""


@dataclass(frozen=True)
class Size:
    """How much is attacked: the config group `size`.

    Attributes:
        identities: at most this many, drawn by seed; None for all.
        sources_per_identity: photos perturbed of each.
        judges: photos that judge, of each; at most.
        examples: images of each shown entry and goal that are kept for the report.
        batch_size: images attacked together; it changes random draws, so it is part of the fingerprint.
    """

    identities: int | None = None
    sources_per_identity: int = 1
    judges: int = 4
    examples: int = 1
    batch_size: int = 16


class Rates(Protocol):
    """The part of a design that says how thresholds are set; see `experiments.evasion.Design`."""

    @property
    def far(self) -> float:
        """The false accept rate at which success is judged."""

    @property
    def fars(self) -> Sequence[float]:
        """Other rates that are calibrated."""

    @property
    def calibration_share(self) -> float:
        """Share of identities kept apart for calibration; 0 calibrates on all clean pairs."""


@dataclass(frozen=True)
class Setting:
    """What stays fixed while methods change.

    Attributes:
        calibrated_on: the data that set the thresholds; where a split was asked for, of nobody who is attacked.
        apart: names of identities kept apart for calibration.
        calibrations: by target.
        clean: by target, (N, D); rows of photos without a role are NaN, so reading one shows.
    """

    dataset: Dataset
    roles: Roles
    calibrated_on: Dataset
    apart: list[str]
    calibrations: dict[str, Calibration]
    clean: dict[str, Tensor]


def prepare(
    run: Run,
    dataset: Dataset,
    targets: Mapping[str, FRTarget],
    outcome: Outcome,
    design: Rates,
    size: Size,
    store: CalibrationStore,
    device: torch.device | str,
) -> Setting:
    """Assign roles, calibrate every target and embed the clean photos; calibrations are added to `outcome`.

    Raises:
        ConfigError: a calibration share beside a data set that comes with a split.
        DataError: too few identities with enough photos.
    """
    calibration_data, among, apart = _split(dataset, design.calibration_share, run.seed)
    fars = sorted({*design.fars, design.far}, reverse=True)
    roles = assign(
        dataset.faces,
        seed=run.seed,
        sources_per_identity=size.sources_per_identity,
        judges=size.judges,
        identities=size.identities,
        among=among,
    )
    write_roles(run.folder / "roles.csv", dataset.faces, roles, apart)
    calibrations, clean = {}, {}
    with run.stage("calibrate"):
        for name, target in targets.items():
            found = calibrated(
                run, target, calibration_data, fars, store=store, device=device, batch_size=size.batch_size
            )
            add_to(outcome, found)
            calibrations[name] = found
            clean[name] = embed_roles(target, dataset, roles, device, size.batch_size)
    _note_roles(run, roles)
    _note_copies(run, dataset, roles, clean)
    return Setting(dataset, roles, calibration_data, apart, calibrations, clean)


def _split(dataset: Dataset, share: float, seed: int) -> tuple[Dataset, set[int] | None, list[str]]:
    """(data to calibrate on, identities that may be attacked or None for all, names kept apart)."""
    if share == 0 and not dataset.splits:
        return dataset, None, []
    if share and dataset.splits:
        raise ConfigError(
            f"Found calibration_share={share:g} and a data set with a split of its own; wanted one of them. "
            "Set calibration_share=0 to use the split that came with the data."
        )
    if dataset.splits:
        parts = from_column(_identity_of(dataset), dataset.splits)
    else:
        parts = disjoint(dataset.faces.names, {"calibration": share, "attack": 1 - share}, seed)
    apart = [name for name, role in parts.items() if role == "calibration"]
    attacked = {i for i, name in enumerate(dataset.faces.names) if parts.get(name) == "attack"}
    return restricted(dataset, apart), attacked, apart


def _identity_of(dataset: Dataset) -> dict[str, str]:
    faces = dataset.faces
    return {key: faces.names[i] for key, i in zip(faces.keys, faces.identities.tolist(), strict=True)}


def embed_roles(
    target: FRTarget, dataset: Dataset, roles: Roles, device: torch.device | str, batch_size: int
) -> Tensor:
    """(N, D): clean embeddings of the photos that have a role; the other rows are NaN, so reading one shows."""
    rows = list(roles.photos)
    found = embed_all(target, dataset.faces.images[rows], device=device, batch_size=batch_size)
    clean = torch.full((len(dataset.faces), found.shape[1]), math.nan)
    clean[rows] = found
    return clean


def _note_copies(run: Run, dataset: Dataset, roles: Roles, clean: Mapping[str, Tensor]) -> None:
    """Say where two photos of a person look like copies of one (re-encoded, resized): then crafting sees the judge."""
    name, embeddings = next(iter(clean.items()))  # one recogniser is enough to find copies
    rows = list(roles.photos)
    identities = dataset.faces.identities[rows]
    alike = (embeddings[rows] @ embeddings[rows].T >= COPY_COSINE) & (identities[:, None] == identities)
    pairs = int(alike.triu(1).sum())
    if pairs:
        run.note(
            f"{pairs} pairs of photos of one person with different roles have a cosine of {COPY_COSINE} or more under "
            f"{name}: if they are copies of one photo, the photo that crafts also judges. Remove the copies."
        )


def budget(method: object) -> float | None:
    """The declared budget out of 255 (L-inf, or root mean square for L2 methods); None where there is none."""
    for name in ("eps_255", "rms_255"):
        value = getattr(method, name, None)
        if value is not None:
            return float(value)
    return None


def budget_name(name: str, eps: float | None) -> str:
    """A method's name carries its budget where that is not 8/255."""
    return name if eps is None or eps == PLAIN_BUDGET_255 else f"{name}_eps{eps:g}"


def whole_levels(eps_255: Sequence[float], whose: str) -> None:
    """Raise ConfigError for an L-inf budget that is not a whole number of grey levels, above 0 and up to 255."""
    for eps in eps_255:
        if not 0 < eps <= 255:
            raise ConfigError(f"{whose}: found a budget of {eps:g}/255, wanted above 0 and up to 255.")
        if float(eps) != int(eps):
            raise ConfigError(
                f"{whose}: found eps_255={eps:g}, wanted whole grey levels: images are judged as 8-bit files, and "
                "rounding would leave the budget."
            )


def _note_roles(run: Run, roles: Roles) -> None:
    for name, count in roles.left_out.items():
        run.note(f"{name} was not attacked: found {count} usable photos, wanted 3 (one to hold, to judge, to perturb).")
    if len(roles.sources) < 20:
        run.note(
            f"Only {len(roles.sources)} photos of {len(roles.identities)} identities were attacked: intervals are wide."
        )
