"""Inversion: does a recovered picture show the person, to a recogniser that was not attacked?

Accuracy follows the protocol of KED-MI and LOMMA (Chen et al., ICCV 2021; Nguyen et al., CVPR 2023): every recovery
counts, its top-5 is the evaluator's, and intervals resample people. A recovery is judged as re-read from an 8-bit file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from facesec_bench.errors import ConfigError, DataError
from facesec_bench.interfaces import Faces
from facesec_bench.metrics.inversion import among_best, nearest_squared_distance, prdc
from facesec_bench.protocols.calibration import far_name
from facesec_bench.protocols.fidelity import frechet
from facesec_bench.records import Record
from facesec_bench.seeds import generator

LEAST_PEOPLE = 10
"""Below that the cosine between strangers and its spread are those of a few pairs of people."""

AGGREGATION = "mean over all recoveries of all people"
"""What a top-1 here is; GMI's own code counts a person whose best of five restarts is right."""


@dataclass(frozen=True)
class Private:
    """Photos of the people that a victim knows. Identities are its classes, 0 to K - 1.

    Attributes:
        taught: photos it learned from, or from which templates were enrolled.
        held: photos of the same people that nobody learned from.
        left_out: names of people with photos on one side alone, who are in neither.
    """

    taught: Faces
    held: Faces
    left_out: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the K people."""
        return self.taught.names

    @property
    def classes(self) -> int:
        """K."""
        return len(self.names)

    @property
    def shortfall(self) -> str:
        """Who is left out and why, in words; empty if nobody."""
        if not self.left_out:
            return ""
        who = "1 person was" if len(self.left_out) == 1 else f"{len(self.left_out)} people were"
        return f"{who} left out, such as {self.left_out[0]}: no photo to learn from, or none held back."


def divide(faces: Faces, *, people: int | None, held: float, seed: int, kept: Collection[str] = frozenset()) -> Private:
    """Choose people and part the photos of each into what is taught and what is held back.

    Whoever has no photo to learn from, or none held back, is left out and told; see `Private.shortfall`.

    Args:
        people: at most so many, drawn by seed among those with photos on both sides; None for all.
        held: share of each person's photos that is held back, rounded, at least one and never all. Not used with
            `kept`.
        kept: keys of the photos that the data set itself keeps back (`Dataset.held`): these are held, all others
            taught, and none is dealt. Empty where it keeps none.

    Raises:
        ConfigError: a share outside (0, 1), or fewer than two people wanted.
        DataError: fewer than two people with photos on both sides.
    """
    if not 0 < held < 1 or (people is not None and people < 2):
        raise ConfigError(
            f"inversion: found held={held} and people={people}, wanted 0 < held < 1 and 2 people or more."
        )
    rows: dict[int, list[int]] = {}
    for row, identity in enumerate(faces.identities.tolist()):
        rows.setdefault(identity, []).append(row)
    back = {
        identity: {row for row in own if faces.keys[row] in kept}
        if kept
        else _dealt(own, held, generator(seed, "private photos", faces.names[identity]))
        for identity, own in sorted(rows.items())
    }
    usable = [identity for identity in back if 0 < len(back[identity]) < len(rows[identity])]
    if len(usable) < 2:
        own_split = f" The data set itself keeps {len(kept)} photos back." if kept else ""
        raise DataError(
            f"inversion: found {len(usable)} people with two photos, one to learn from and one held back; wanted two "
            f"such people or more.{own_split}"
        )
    order = torch.randperm(len(usable), generator=generator(seed, "private people")).tolist()
    chosen = sorted(usable[i] for i in order[: people or len(usable)])
    return Private(
        _renumbered(faces, [row for i in chosen for row in rows[i] if row not in back[i]], chosen),
        _renumbered(faces, [row for i in chosen for row in rows[i] if row in back[i]], chosen),
        tuple(faces.names[i] for i in sorted(back.keys() - set(usable))),
    )


def _dealt(own: Sequence[int], share: float, rng: torch.Generator) -> set[int]:
    """About `share` of one person's rows, at least one and never all."""
    count = min(len(own) - 1, max(1, round(share * len(own))))
    return {own[i] for i in torch.randperm(len(own), generator=rng)[:count].tolist()}


def _renumbered(faces: Faces, rows: Sequence[int], chosen: Sequence[int]) -> Faces:
    part = faces.select(rows)
    columns = torch.tensor([chosen.index(i) for i in part.identities.tolist()], dtype=torch.int64)
    return Faces(part.images, columns, part.keys, tuple(faces.names[i] for i in chosen))


def templates(embedded: Tensor, identities: Tensor, classes: int) -> Tensor:
    """(N, D) unit embeddings -> (K, D): each person's mean, of unit length."""
    sums = torch.zeros(classes, embedded.shape[1], dtype=embedded.dtype).index_add(0, identities, embedded)
    return functional.normalize(sums, dim=1)


def named(embedded: Tensor, known: Tensor, identities: Tensor) -> Tensor:
    """(B,) bool: whose nearest template is their own; a tie counts against."""
    return torch.as_tensor(among_best((embedded @ known.T).numpy(), identities.numpy(), 1))


@dataclass(frozen=True)
class Encoder:
    """A recogniser that looks at recoveries.

    Attributes:
        taught, held: (N, D) of the private photos.
        thresholds: by false accept rate, those that could be calibrated.
    """

    name: str
    taught: Tensor
    held: Tensor
    thresholds: Mapping[float, float]

    def templates(self, private: Private) -> Tensor:
        """(K, D)."""
        return templates(self.taught, private.taught.identities, private.classes)

    def strangers(self, private: Private) -> Tensor:
        """(S,) cosines of every private photo to every other person's template: what somebody else's photo reaches."""
        photos = torch.cat([self.taught, self.held])
        whose = torch.cat([private.taught.identities, private.held.identities])
        others = whose[:, None] != torch.arange(private.classes)
        return (photos @ self.templates(private).T)[others]


def accuracy(
    private: Private, encoder: Encoder, embedded: Tensor, people: Tensor, *, method: str, victim: str
) -> list[Record]:
    """For every recovery "top1" and "top5" (1 or 0, by the evaluator's nearest template) and "nn_distance" (least
    squared Euclidean distance to a taught photo of the person, in the evaluator's embedding).

    Args:
        encoder: the evaluator; never what was attacked.
        embedded: (B, D) of the recoveries, by the evaluator.
        people: (B,) who each was to show.
    """
    scores, wanted = (embedded @ encoder.templates(private).T).numpy(), people.numpy()
    found: dict[str, np.ndarray] = {"top1": among_best(scores, wanted, 1)}
    if private.classes > 5:
        found["top5"] = among_best(scores, wanted, 5)
    found["nn_distance"] = nearest_squared_distance(
        embedded.numpy(), wanted, encoder.taught.numpy(), private.taught.identities.numpy()
    )
    return [
        record
        for measure, values in found.items()
        for record in per_recovery(private, people, values, measure, method, victim)
    ]


def acceptance(private: Private, encoder: Encoder, embedded: Tensor, people: Tensor, *, method: str) -> list[Record]:
    """What a verifier says: "cosine" to the person's template, "above_strangers" (how many standard deviations that is
    above the mean cosine of other people's photos to templates, where there are LEAST_PEOPLE or more), and the success
    attack rate (SAR) at every calibrated rate: "sar_type1_far_<rate>" against each taught photo,
    "sar_type2_far_<rate>" against each held one.

    Type I asks whether the recovery opens the door that was attacked, type II whether it shows the person (Mai et al.,
    "On the Reconstruction of Face Images from Deep Face Templates", TPAMI 2019).
    """
    cosines = (embedded * encoder.templates(private)[people]).sum(1).numpy()
    records = per_recovery(private, people, cosines, "cosine", method, encoder.name)
    strangers = encoder.strangers(private)
    if private.classes >= LEAST_PEOPLE and (deviation := float(strangers.std())) > 0:
        above = (cosines - float(strangers.mean())) / deviation
        records += per_recovery(private, people, above, "above_strangers", method, encoder.name)
    for kind, photos, known in (("type1", private.taught, encoder.taught), ("type2", private.held, encoder.held)):
        for row, person in enumerate(people.tolist()):
            own = (photos.identities == person).nonzero()[:, 0].tolist()
            for photo in own:
                cosine = float(embedded[row] @ known[photo])
                for far, threshold in encoder.thresholds.items():
                    measure = f"sar_{kind}_far_{far_name(far)}"
                    key = f"{_key(private, people, row)}>{photos.keys[photo]}"
                    name = private.names[person]
                    records.append(Record(key, name, method, encoder.name, measure, float(cosine >= threshold)))
    return records


def spread(private: Private, encoder: Encoder, embedded: Tensor) -> dict[str, float]:
    """Measures of the whole set, in the evaluator's embedding: "frechet_fr" to the private photos, and precision,
    recall, density and coverage with k = 3; empty where there are too few recoveries."""
    if len(embedded) < 5:
        return {}
    everyone = torch.cat([encoder.taught, encoder.held])
    found = prdc(everyone.numpy(), embedded.numpy())
    return {"frechet_fr": frechet(embedded, everyone), **found._asdict()}


def per_recovery(
    private: Private, people: Tensor, values: Sequence[float] | np.ndarray, measure: str, method: str, target: str
) -> list[Record]:
    """A record for each recovery; keys are "<person>#<turn>"."""
    return [
        Record(_key(private, people, row), private.names[int(people[row])], method, target, measure, float(value))
        for row, value in enumerate(values)
    ]


def plausible(
    chips: Tensor, scores: Callable[[Tensor], Sequence[float]], least: float
) -> tuple[list[float], list[bool]]:
    """A detector's confidence in each picture, 0 where it finds no face, and whether that is at least `least`."""
    found = [float(score) for score in scores(chips)]
    return found, [score >= least for score in found]


def _key(private: Private, people: Tensor, row: int) -> str:
    person = int(people[row])
    return f"{private.names[person]}#{int((people[:row] == person).sum())}"
