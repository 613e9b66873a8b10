"""Verification: does the victim still accept (dodging) or now accept (impersonation) the pair, at its own threshold?

Only pairs on which an attack can succeed are counted: dodging counts pairs that the victim accepted when clean,
impersonation pairs that it rejected when clean. The share that already failed when clean is recorded as the base rate.
"""

from __future__ import annotations

from torch import Tensor

from facesec_bench.interfaces import Faces
from facesec_bench.protocols.crafting import GoalName
from facesec_bench.protocols.roles import Roles
from facesec_bench.records import Record

MEASURE: dict[GoalName, str] = {"dodge": "dodging", "impersonate": "impersonation"}


def pairs(roles: Roles, faces: Faces, kind: GoalName) -> list[tuple[int, int]]:
    """(row of the source, photo index of the judge): the person's judges when dodging, else the target's judges."""
    found: list[tuple[int, int]] = []
    for row, (source, target) in enumerate(zip(roles.sources, roles.targets, strict=True)):
        identity = int(faces.identities[source]) if kind == "dodge" else target
        found.extend((row, judge) for judge in roles.judges[identity])
    return found


def judge(
    faces: Faces,
    roles: Roles,
    kind: GoalName,
    perturbed: Tensor,
    clean: Tensor,
    *,
    method: str,
    victim: str,
    threshold: float,
) -> list[Record]:
    """One record a counted pair ("<goal>_success", 0 or 1) and one for every pair ("<goal>_similarity").

    Args:
        perturbed: (S, D) embeddings of the kept images, one per source.
        clean: (N, D) clean embeddings of all faces (rows without a role are not read).
        threshold: the victim's, calibrated beforehand; accept at cosine >= threshold.
    """
    measure = MEASURE[kind]
    records = []
    for row, judge_index in pairs(roles, faces, kind):
        source = roles.sources[row]
        key = f"{faces.keys[source]}>{faces.keys[judge_index]}"
        identity = faces.names[int(faces.identities[source])]
        before = float(clean[source] @ clean[judge_index])
        after = float(perturbed[row] @ clean[judge_index])
        records.append(Record(key, identity, method, victim, f"{measure}_similarity", after))
        counts = before >= threshold if kind == "dodge" else before < threshold
        if counts:
            reached = after < threshold if kind == "dodge" else after >= threshold
            records.append(Record(key, identity, method, victim, f"{measure}_success", float(reached)))
    return records


def base_rates(
    faces: Faces, roles: Roles, kind: GoalName, clean: Tensor, *, victim: str, threshold: float
) -> list[Record]:
    """The share of pairs on which the unperturbed photo already "succeeds": "base_dodging", "base_impersonation"."""
    records = []
    for row, judge_index in pairs(roles, faces, kind):
        source = roles.sources[row]
        similarity = float(clean[source] @ clean[judge_index])
        already = similarity < threshold if kind == "dodge" else similarity >= threshold
        key = f"{faces.keys[source]}>{faces.keys[judge_index]}"
        identity = faces.names[int(faces.identities[source])]
        records.append(Record(key, identity, "clean", victim, f"base_{MEASURE[kind]}", float(already)))
    return records
