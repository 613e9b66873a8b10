"""Cloaking: is a person still found in a cloaked photo, by a recogniser that the cloak never saw?

Protection success rates (PSR) count every pair of a source and a judging photo, as the cloaking papers do (Hu et al.,
"Protecting Facial Privacy", CVPR 2022; Shamshad et al., "CLIP2Protect", CVPR 2023): a pair that the recogniser already
got wrong on the clean photo counts as protected, so a rate means little beside the one of the untouched photo.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from facesec_bench import distortions
from facesec_bench.interfaces import Faces
from facesec_bench.metrics.identification import ranks
from facesec_bench.protocols import bits, verification
from facesec_bench.protocols.crafting import GoalName, as_kept
from facesec_bench.protocols.identification import RANKS, SUFFIX, places, usable_ranks
from facesec_bench.protocols.roles import Roles
from facesec_bench.protocols.verification import MEASURE
from facesec_bench.records import Record
from facesec_bench.screenshot import screenshot

MEAN = "mean"
"""In place of a victim's name: all victims, their rows pooled."""

DISTORTIONS: Mapping[str, Callable[[Tensor, int], Tensor]] = {
    **{suffix: bits.DISTORTIONS[suffix] for suffix in ("_jpeg90", "_jpeg75", "_resize")},
    "_blur": lambda kept, seed: as_kept(distortions.blurred(kept, 1.0)),
    "_screenshot": lambda kept, seed: screenshot(kept),
}
"""By suffix of the measure: 8-bit images and a seed -> 8-bit images, as a photo on its way through a platform."""

PROTECTION = ("protection_baseline", "protection_oblivious", "protection_adaptive")
"""Of the uncloaked photo; of the cloaked one where the tracker does not know; where its recogniser has adapted."""


def success(
    faces: Faces,
    roles: Roles,
    kind: GoalName,
    embedded: Tensor,
    clean: Tensor,
    *,
    method: str,
    victim: str,
    threshold: float,
) -> list[Record]:
    """For every pair "<goal>_similarity" (cosine) and "<goal>_psr".

    The latter is 1 where the pair is rejected (dodging: cosine < threshold to the person's other photos) or accepted
    (impersonation: cosine >= threshold to photos of the target), else 0.

    Args:
        embedded: (S, D) embeddings of the kept cloaks, one per source.
        clean: (N, D) clean embeddings of all faces (rows without a role are not read).
        threshold: the victim's, calibrated beforehand; accept at cosine >= threshold.
    """
    judged = verification.judge(faces, roles, kind, embedded, clean, method=method, victim=victim, threshold=threshold)
    records = []
    for pair in judged:
        if pair.measure == f"{MEASURE[kind]}_similarity":
            accepted = pair.value >= threshold
            protected = accepted if kind == "impersonate" else not accepted
            records += [pair, pair._replace(measure=f"{MEASURE[kind]}_psr", value=float(protected))]
    return records


def only_psr(records: Iterable[Record], kind: GoalName, measure: str) -> list[Record]:
    """The "<goal>_psr" rows of `success` under another name, as after a distortion."""
    return [r._replace(measure=measure) for r in records if r.measure == f"{MEASURE[kind]}_psr"]


def identified(
    faces: Faces, roles: Roles, kind: GoalName, embedded: Tensor, clean: Tensor, *, method: str, victim: str
) -> list[Record]:
    """For every source and N "<goal>_psr_rank<N>", in a gallery of one photo a person.

    1 where no photo of the person is among the first N (dodging, the papers' Rank-N-U) or where one of the target is
    (impersonation, Rank-N-T), else 0. Every source counts, as in Hu et al. and Shamshad et al., also where that was so
    without a cloak; "rank<N>_untargeted" and "rank<N>_targeted" of `identification.judge` leave those out.

    Args:
        embedded, clean: as for `success`.
    """
    records = []
    for source, place in zip(roles.sources, places(faces, roles, kind, embedded, clean), strict=True):
        key, identity = faces.keys[source], faces.names[int(faces.identities[source])]
        for n in usable_ranks(roles):
            protected = place > n if kind == "dodge" else place <= n
            records.append(Record(key, identity, method, victim, f"{MEASURE[kind]}_psr_rank{n}", float(protected)))
    return records


def likeness(
    embedded: Tensor, sources: Tensor, keys: Sequence[str], identities: Sequence[str], *, method: str, victim: str
) -> list[Record]:
    """ "identity_similarity": cosine of each cloak to its own source under the victim; both (S, D) unit vectors."""
    cosines = (embedded * sources).sum(dim=1).tolist()
    return [
        Record(key, who, method, victim, "identity_similarity", cosine)
        for key, who, cosine in zip(keys, identities, cosines, strict=True)
    ]


def protection(
    faces: Faces, roles: Roles, cloaked: Tensor, clean: Tensor, *, measure: str, method: str, victim: str
) -> list[Record]:
    """Whether a tracker's gallery of nearest neighbours misses the person: one record a probe, 1 where it does.

    One person at a time is the user: the gallery holds their cloaked sources and everybody else's sources as they are,
    as many of each as there are (fewer of a person with few photos); the probes are the user's judging photos, clean.
    Protected means that the nearest photo of the gallery is somebody else's; a tie protects. Source: the 1-NN
    evaluation of Radiya-Dixit et al., "Data Poisoning Won't Save You From Facial Recognition", ICLR 2022, with one user
    at a time as there.

    Args:
        cloaked: (S, D) embeddings of what a user puts online, one per source; the clean ones for the baseline.
        clean: (N, D) clean embeddings of all faces, by the same recogniser.
    """
    sources = list(roles.sources)
    owners = faces.identities[sources]
    records = []
    for user in roles.identities:
        judges = list(roles.judges[user])
        gallery = torch.where((owners == user)[:, None], cloaked, clean[sources])
        found = ranks(clean[judges].numpy(), np.full(len(judges), user), gallery.numpy(), owners.numpy())
        records += [
            Record(faces.keys[judge], faces.names[user], method, victim, measure, float(rank > 1))
            for judge, rank in zip(judges, found, strict=True)
        ]
    return records


def pooled(records: Iterable[Record], victims: Sequence[str]) -> list[Record]:
    """The rows of all victims as rows of one called "mean", for measures and methods that every victim has judged.

    An identity keeps its name, so an interval resamples a person with all that all victims said of them.
    """
    rows = [record for record in records if record.key != "*" and record.target in victims]
    judged: dict[tuple[str, str], set[str]] = {}
    for record in rows:
        judged.setdefault((record.measure, record.method), set()).add(record.target)
    whole = {key for key, by in judged.items() if by == set(victims)}
    return [r._replace(key=f"{r.target}:{r.key}", target=MEAN) for r in rows if (r.measure, r.method) in whole]


def owed(goals: Sequence[GoalName], *, lpips: bool, adaptive: bool) -> tuple[list[str], list[str]]:
    """The measures that a method owes on each victim: (those with a mean over victims, those of whole sets)."""
    names = ["psnr", "ssim", "linf_255", "identity_similarity", *(["lpips"] if lpips else [])]
    for kind in goals:
        names += [f"{MEASURE[kind]}_similarity", *(f"{MEASURE[kind]}_psr{d}" for d in ("", *DISTORTIONS))]
        names += [f"{MEASURE[kind]}_psr_rank{n}" for n in RANKS]
        names += [f"rank{n}_{SUFFIX[kind]}" for n in RANKS]
        names += [f"lpips_{MEASURE[kind]}"] if lpips else []
    if "dodge" in goals:
        names += PROTECTION[:2]
    if adaptive:
        names += [PROTECTION[2], "adaptive_dodging_psr", "adaptive_dodging_similarity", "adaptive_tar_cost"]
    return names, [f"frechet_fr_{MEASURE[kind]}" for kind in goals]
