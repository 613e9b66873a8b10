"""Identification: where does the true identity, or the target, stand in a gallery of one photo a person?

Untargeted rank-N: the true identity is not among the first N (counted where it was, when clean). Targeted rank-N: the
target is among the first N (counted where it was not, when clean). Definitions as in TIP-IM (Yang et al., ICCV 2021).
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from facesec_bench.interfaces import Faces
from facesec_bench.metrics.identification import ranks
from facesec_bench.protocols.crafting import GoalName
from facesec_bench.protocols.roles import Roles
from facesec_bench.records import Record

RANKS = (1, 5)
SUFFIX: dict[GoalName, str] = {"dodge": "untargeted", "impersonate": "targeted"}


def usable_ranks(roles: Roles) -> tuple[int, ...]:
    """The N of rank-N that mean something: a gallery of M people has no rank-N verdict for N >= M."""
    return tuple(n for n in RANKS if n < len(roles.identities))


def judge(
    faces: Faces, roles: Roles, kind: GoalName, perturbed: Tensor, clean: Tensor, *, method: str, victim: str
) -> list[Record]:
    """One record a counted source and N: "rank1_untargeted", "rank5_untargeted" or "..._targeted".

    Args:
        perturbed: (S, D) embeddings of the kept images, one per source.
        clean: (N, D) clean embeddings of all faces.
    """
    wanted = _wanted(faces, roles, kind)
    before = _ranks(faces, roles, clean[list(roles.sources)], clean, wanted)
    after = _ranks(faces, roles, perturbed, clean, wanted)
    records = []
    for row, source in enumerate(roles.sources):
        identity = faces.names[int(faces.identities[source])]
        for n in usable_ranks(roles):
            counts = before[row] <= n if kind == "dodge" else before[row] > n
            if counts:
                reached = after[row] > n if kind == "dodge" else after[row] <= n
                key = faces.keys[source]
                records.append(Record(key, identity, method, victim, f"rank{n}_{SUFFIX[kind]}", float(reached)))
    return records


def places(faces: Faces, roles: Roles, kind: GoalName, probes: Tensor, clean: Tensor) -> np.ndarray:
    """(S,) ranks from 1, whatever they were when clean: of the true identity (dodging) or of the target.

    Args:
        probes: (S, D) embeddings, one per source.
        clean: (N, D) clean embeddings of all faces.
    """
    return _ranks(faces, roles, probes, clean, _wanted(faces, roles, kind))


def clean_accuracy(faces: Faces, roles: Roles, clean: Tensor, *, victim: str) -> list[Record]:
    """Rank-1 accuracy of the unperturbed sources: "rank1_accuracy"."""
    found = _ranks(faces, roles, clean[list(roles.sources)], clean, _wanted(faces, roles, "dodge"))
    return [
        Record(
            faces.keys[source],
            faces.names[int(faces.identities[source])],
            "clean",
            victim,
            "rank1_accuracy",
            float(rank == 1),
        )
        for source, rank in zip(roles.sources, found, strict=True)
    ]


def _wanted(faces: Faces, roles: Roles, kind: GoalName) -> np.ndarray:
    if kind == "dodge":
        return faces.identities[list(roles.sources)].numpy()
    return np.array(roles.targets)


def _ranks(faces: Faces, roles: Roles, probes: Tensor, clean: Tensor, wanted: np.ndarray) -> np.ndarray:
    gallery = [roles.judges[i][0] for i in roles.identities]
    return ranks(probes.numpy(), wanted, clean[gallery].numpy(), np.array(roles.identities))
