"""Whom the tracker learns from: other people than those whose photos are cloaked, and what the card says of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

import torch

from facesec_bench.data import Dataset
from facesec_bench.errors import DataError
from facesec_bench.interfaces import Faces
from facesec_bench.protocols.roles import MINIMUM_PHOTOS, Roles, assign


@dataclass(frozen=True)
class Training:
    """Photos of other people.

    Attributes:
        roles: its sources are the photos that the tracker cloaks.
        people: how many people were asked for.
    """

    data: Dataset
    roles: Roles
    people: int

    @property
    def shortfall(self) -> str:
        """What is missing, in words; empty if nothing."""
        found = len(self.roles.identities)
        if found >= self.people:
            return ""
        return (
            f"The tracker learned from {found} people instead of the {self.people} of study.design.training_people: "
            f"{self.data.name} has no more with {MINIMUM_PHOTOS} usable photos. Give study.training more people."
        )

    def told(self, retrainer: Callable[..., Any], attacked: Dataset) -> dict[str, Any]:
        """For the card: where the tracker learned, from how much, and how."""
        own = asdict(retrainer) if is_dataclass(retrainer) and not isinstance(retrainer, type) else {}
        return {
            "name": self.data.name,
            "digest": self.data.digest,
            "licence": self.data.licence,
            "generated": self.data.drawn is not None,
            "attacked_generated": attacked.drawn is not None,
            "people": len(self.roles.identities),
            "cloaks": len(self.roles.sources),
            "retrainer": getattr(retrainer, "__name__", type(retrainer).__name__),
            "settings": own,
        }


def training_photos(load: Callable[[], Dataset], attacked: Dataset, *, seed: int, people: int, photos: int) -> Training:
    """At most so many people with at most so many photos each, drawn by seed.

    Raises:
        DataError: the photos show somebody whom the test attacks or calibrates on, or fewer than two people.
    """
    data = other_people(load(), attacked)
    roles = assign(data.faces, seed=seed, sources_per_identity=photos, judges=1, identities=people)
    return Training(data, roles, people)


def other_people(found: Dataset, attacked: Dataset) -> Dataset:
    """The same photos, if they show nobody of the attacked ones.

    Names tell people apart but where both sets are generated: there they are numbers, and the seed tells.

    Raises:
        DataError: one seed, a photo in both, or a name in both.
    """
    if found.drawn is not None and found.drawn == attacked.drawn:
        raise DataError(
            f"Found the training faces drawn from seed {found.drawn.seed}, as the attacked ones are: two sets of one "
            "seed begin with the same people. Wanted other people: set study.training.seed to another number than "
            "data.seed."
        )
    shared = _prints(found.faces) & _prints(attacked.faces)
    if shared:
        raise DataError(
            f"Found {len(shared)} photos of {attacked.name} among the training photos ({found.name}) too, wanted other "
            "people: set study.training to photos of people who are not attacked."
        )
    names = _people(found.faces) & _people(attacked.faces)
    if names and (found.drawn is None or attacked.drawn is None):
        raise DataError(
            f"Found {len(names)} people by name both in {attacked.name} and in the training photos ({found.name}), "
            f"such as {min(names)!r}; wanted other people: leave them out of study.training, or give those who only "
            "share a name another one."
        )
    return found


def _prints(faces: Faces) -> set[bytes]:
    """One for each photo, of its 8-bit pixels."""
    eight_bit = ((image * 255).round().to(torch.uint8).contiguous() for image in faces.images)
    return {hashlib.sha256(image.numpy().tobytes()).digest() for image in eight_bit}


def _people(faces: Faces) -> set[str]:
    return {faces.names[i].casefold() for i in set(faces.identities.tolist())}
