"""Crafting: run one attack over the sources, and keep the image as a user would (an 8-bit PNG, read back)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facesec_bench.errors import TargetError
from facesec_bench.goals import Aim
from facesec_bench.interfaces import Evasion, Faces, FRTarget
from facesec_bench.protocols.roles import Roles
from facesec_bench.search import borrowed
from facesec_bench.seeds import generator

GoalName = Literal["dodge", "impersonate"]


@dataclass(frozen=True)
class Entry:
    """One line of the study: a method, what it is crafted on, and who judges it.

    Attributes:
        method: the method's name with its budget, as in "pgd" or "pgd_eps4".
        surrogates: names of the targets it sees; empty for a control that needs none.
        victims: names of the targets that judge it.
        eps_255: its declared budget, or None where it has none (minimum-norm attacks).
    """

    method: str
    attack: Evasion
    surrogates: tuple[str, ...]
    victims: tuple[str, ...]
    eps_255: float | None

    def label(self, victim: str) -> str:
        """The method column of a record: "pgd" in the white box and for controls, else "pgd@sface+dlib_resnet"."""
        if self.surrogates in ((), (victim,)):
            return self.method
        return f"{self.method}@{'+'.join(self.surrogates)}"


def plan(
    method: str,
    attack: Evasion,
    eps_255: float | None,
    targets: Sequence[str],
    *,
    white_box: bool,
    transfer: bool,
    ensemble_members: Sequence[str],
) -> list[Entry]:
    """Every surrogate set of one method: each target alone, and for each victim the ensemble of the other members.

    A victim is never among its surrogates unless `white_box` is true.
    """
    entries = []
    for surrogate in targets:
        own = (surrogate,) if white_box else ()
        others = tuple(v for v in targets if v != surrogate) if transfer else ()
        if own + others:
            entries.append(Entry(method, attack, (surrogate,), own + others, eps_255))
    for victim in targets if transfer else ():
        members = tuple(m for m in ensemble_members if m != victim)
        if len(members) >= 2:
            entries.append(Entry(method, attack, members, (victim,), eps_255))
    merged: dict[tuple[str, ...], Entry] = {}
    for entry in entries:  # two victims left out of nothing share one ensemble: craft it once
        known = merged.get(entry.surrogates)
        victims = entry.victims if known is None else known.victims + entry.victims
        merged[entry.surrogates] = Entry(method, attack, entry.surrogates, victims, eps_255)
    return list(merged.values())


def aim_for(faces: Faces, roles: Roles, kind: GoalName, rows: Sequence[int]) -> Aim:
    """The attacker's knowledge for some of the sources (`rows` index into `roles.sources`).

    Dodging: the person's own reference photo. Impersonating: the target's reference photo. The gallery is everyone's
    reference photo; judging photos are never shown to an attack.
    """
    gallery = faces.select([roles.reference[i] for i in roles.identities])
    labels = [int(faces.identities[roles.sources[r]]) if kind == "dodge" else roles.targets[r] for r in rows]
    references = faces.images[[roles.reference[identity] for identity in labels]]
    return Aim(kind=kind, references=references, labels=torch.tensor(labels), gallery=gallery)


def craft(
    entry: Entry,
    faces: Faces,
    roles: Roles,
    kind: GoalName,
    targets: dict[str, FRTarget],
    *,
    seed: int,
    batch_size: int = 16,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Perturb every source with one entry: (S, 3, 224, 224) float chips on the CPU, not yet rounded.

    Raises:
        TargetError: if the attack returns another shape, leaves [0, 1] or is not finite.
    """
    surrogates = [targets[name] for name in entry.surrogates]
    parts = []
    for start in range(0, len(roles.sources), batch_size):
        rows = list(range(start, min(start + batch_size, len(roles.sources))))
        sources = faces.select([roles.sources[r] for r in rows])
        rng = generator(seed, "attack", entry.method, "+".join(entry.surrogates), kind, start)
        with borrowed(*surrogates):
            chips = entry.attack(
                _to(sources, device), _aim_to(aim_for(faces, roles, kind, rows), device), surrogates, rng
            ).detach()
        parts.append(checked(chips.float().cpu(), sources.images.shape, entry.method))
    return torch.cat(parts)


def as_kept(chips: Tensor, paths: dict[int, Path] | None = None) -> Tensor:
    """Round to 8 bits, write PNG, read it back: (B, 3, H, W) exactly as a user would keep it.

    Args:
        paths: where to leave the PNG file of some rows; the others go through memory.
    """
    kept = []
    for row, chip in enumerate(chips):
        pixels = (chip.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        buffer, wanted = io.BytesIO(), bool(paths) and row in (paths or {})
        # PNG loses nothing at any level; a file that nobody keeps is not worth compressing.
        Image.fromarray(pixels).save(buffer, format="PNG", compress_level=6 if wanted else 0)
        if paths and row in paths:
            paths[row].parent.mkdir(parents=True, exist_ok=True)
            paths[row].write_bytes(buffer.getvalue())
        with Image.open(io.BytesIO(buffer.getvalue())) as image:
            kept.append(torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255)
    return torch.stack(kept)


def checked(chips: Tensor, shape: Sequence[int], method: str) -> Tensor:
    """The chips, if they can be scored.

    Raises:
        TargetError: another shape, values that are not finite or that leave [0, 1].
    """
    low, high = (float(chips.min()), float(chips.max())) if chips.numel() else (float("nan"), float("nan"))
    if chips.shape != torch.Size(shape) or not torch.isfinite(chips).all() or low < 0 or high > 1:
        raise TargetError(
            f"{method}: found chips {tuple(chips.shape)} in [{low:.3g}, {high:.3g}]; wanted "
            f"{tuple(shape)}, finite, in [0, 1]. The attack is at fault; nothing was scored."
        )
    return chips


def _to(faces: Faces, device: torch.device | str) -> Faces:
    return Faces(faces.images.to(device), faces.identities.to(device), faces.keys, faces.names)


def _aim_to(aim: Aim, device: torch.device | str) -> Aim:
    return Aim(aim.kind, aim.references.to(device), aim.labels.to(device), _to(aim.gallery, device))
