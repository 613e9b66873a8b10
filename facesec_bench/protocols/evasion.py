"""The evasion protocol: craft with one entry of the plan, keep the image, let every victim judge it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from facesec_bench.interfaces import Faces, FRTarget
from facesec_bench.protocols import fidelity, identification, verification
from facesec_bench.protocols.crafting import Entry, GoalName, as_kept, craft
from facesec_bench.protocols.embedding import embed_all
from facesec_bench.protocols.roles import Roles
from facesec_bench.protocols.verification import MEASURE
from facesec_bench.records import Example, Outcome, Record, Score

NAN = math.nan


@dataclass(frozen=True)
class Evaluation:
    """What stays fixed while methods change: faces, roles, victims, thresholds and clean embeddings.

    Attributes:
        thresholds: by target, calibrated before any attack at the stated false accept rate.
        clean: by target, (N, D) clean embeddings; rows of photos without a role are not read.
        lpips: per-image perceptual distance, or None to leave the measure out.
        inception: (B, 3, H, W) -> (B, 2048) features for FID, or None where the user gave no weights.
    """

    faces: Faces
    roles: Roles
    targets: dict[str, FRTarget]
    thresholds: dict[str, float]
    clean: dict[str, Tensor]
    seed: int
    device: torch.device | str = "cpu"
    batch_size: int = 16
    lpips: Callable[[Tensor, Tensor], Tensor] | None = None
    inception: Callable[[Tensor], Tensor] | None = None

    @property
    def sources(self) -> Faces:
        """The clean photos that get perturbed."""
        return self.faces.select(self.roles.sources)

    @property
    def source_names(self) -> list[str]:
        """Identity of each source, by name."""
        return [self.faces.names[i] for i in self.sources.identities.tolist()]


def clean_records(evaluation: Evaluation, goals: Sequence[GoalName]) -> list[Record]:
    """Base rates and clean rank-1 accuracy of every victim: what an attack is compared with."""
    e, records = evaluation, []
    for name in e.targets:
        records += identification.clean_accuracy(e.faces, e.roles, e.clean[name], victim=name)
        for kind in goals:
            records += verification.base_rates(
                e.faces, e.roles, kind, e.clean[name], victim=name, threshold=e.thresholds[name]
            )
    return records


def attack(evaluation: Evaluation, entry: Entry, goals: Sequence[GoalName], folder: Path, examples: int) -> Outcome:
    """Craft, keep and judge one entry for every goal.

    Args:
        folder: the run's folder; the first `examples` images of each goal are left below `folder/images`.
    """
    e, outcome = evaluation, Outcome()
    embedded: dict[str, list[Tensor]] = {victim: [] for victim in entry.victims}
    for kind in goals:
        chips = craft(entry, e.faces, e.roles, kind, e.targets, seed=e.seed, batch_size=e.batch_size, device=e.device)
        name = "+".join((entry.method, *entry.surrogates))
        paths = {row: folder / "images" / name / kind / f"{row}.png" for row in range(min(examples, len(chips)))}
        kept = as_kept(chips, paths)
        for victim in entry.victims:
            perturbed = embed_all(e.targets[victim], kept, device=e.device, batch_size=e.batch_size)
            embedded[victim].append(perturbed)
            outcome.records += _judge(e, entry, kind, victim, perturbed)
        outcome.examples += _examples(e, entry, kind, paths, embedded, folder)
        _fidelity(e, entry, kind, kept, {v: embedded[v][-1] for v in entry.victims}, outcome)
    return outcome


def _judge(e: Evaluation, entry: Entry, kind: GoalName, victim: str, perturbed: Tensor) -> list[Record]:
    method, clean = entry.label(victim), e.clean[victim]
    return verification.judge(
        e.faces, e.roles, kind, perturbed, clean, method=method, victim=victim, threshold=e.thresholds[victim]
    ) + identification.judge(e.faces, e.roles, kind, perturbed, clean, method=method, victim=victim)


def _fidelity(
    e: Evaluation, entry: Entry, kind: GoalName, kept: Tensor, embedded: dict[str, Tensor], outcome: Outcome
) -> None:
    """Distances of one goal's images; the pixels are the same whoever judges, so they are measured once."""
    sources = e.sources
    measured = fidelity.judge(
        kept,
        sources.images,
        [f"{kind}:{key}" for key in sources.keys],
        e.source_names,
        method=entry.label(entry.victims[0]),
        victim=entry.victims[0],
        lpips=e.lpips,
        device=e.device,
    )
    fid = fidelity.frechet(_features(e, kept), _features(e, sources.images)) if e.inception is not None else None
    for victim in entry.victims:
        method = entry.label(victim)
        outcome.records += [record._replace(method=method, target=victim) for record in measured]
        clean = e.clean[victim][list(e.roles.sources)]
        distances = {f"frechet_fr_{MEASURE[kind]}": fidelity.frechet(embedded[victim], clean)}
        if fid is not None:
            distances[f"fid_{MEASURE[kind]}"] = fid
        for measure, value in distances.items():
            outcome.whole_set(measure, method, victim, Score(value, NAN, NAN, len(kept)))


def _features(e: Evaluation, images: Tensor) -> Tensor:
    assert e.inception is not None
    return e.inception(images.to(e.device)).cpu()


def _examples(
    e: Evaluation,
    entry: Entry,
    kind: GoalName,
    paths: dict[int, Path],
    embedded: dict[str, list[Tensor]],
    folder: Path,
) -> list[Example]:
    """Grid rows for the first victim: source, perturbed, and the photo that judges."""
    victim, rows = entry.victims[0], []
    judged = dict(reversed(verification.pairs(e.roles, e.faces, kind)))  # the first judge of each source wins
    for row, path in paths.items():
        source, judge_index = e.roles.sources[row], judged[row]
        clean = e.clean[victim]
        rows.append(
            Example(
                key=e.faces.keys[source],
                goal=kind,
                method=entry.label(victim),
                target=victim,
                source=_photo(e.faces, source, folder),
                perturbed=path.relative_to(folder).as_posix(),
                reference=_photo(e.faces, judge_index, folder),
                similarity_clean=float(clean[source] @ clean[judge_index]),
                similarity_perturbed=float(embedded[victim][-1][row] @ clean[judge_index]),
                threshold=e.thresholds[victim],
            )
        )
    return rows


def _photo(faces: Faces, index: int, folder: Path) -> str:
    path = folder / "images" / "clean" / f"{index}.png"
    if not path.exists():
        as_kept(faces.images[index : index + 1], {0: path})
    return path.relative_to(folder).as_posix()


def without_pairs(evaluation: Evaluation, entries: Sequence[Entry], goals: Sequence[GoalName]) -> list[str]:
    """The score keys every entry owes; one without a counted pair is reported as NaN with n = 0, never left out."""
    ranks = identification.usable_ranks(evaluation.roles)
    return [
        f"{measure}/{entry.label(victim)}/{victim}"
        for entry in entries
        for victim in entry.victims
        for kind in goals
        for measure in (
            f"{MEASURE[kind]}_success",
            *(f"rank{n}_{'untargeted' if kind == 'dodge' else 'targeted'}" for n in ranks),
        )
    ]
