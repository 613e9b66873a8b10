"""CelebA in two parts: private people, whom a recogniser knows, and public photos, which an attacker may have."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal

import torch
from torch import Tensor

from facesec_bench.data import Dataset
from facesec_bench.data.assemble import Row, assemble
from facesec_bench.data.celeba_split import Listed, Parts, arrange, read_list
from facesec_bench.data.detection import YuNet
from facesec_bench.data.folder import require_folder
from facesec_bench.data.sample import at_least_one, drawn, sampled
from facesec_bench.errors import ConfigError, DataError
from facesec_bench.interfaces import Faces
from facesec_bench.seeds import generator

HELD_BACK = 0.1
"""Share of each private person's photos that is for test, as in the protocol (3,009 of 30,027)."""

EXTENSIONS = (".jpg", ".png", ".jpeg")
"""What a picture may end with where a list says otherwise."""


class CelebA:
    """`root/img_align_celeba/000001.jpg` and `root/identity_CelebA.txt` -> the private or the public part.

    For model inversion: victims are trained on `part: private`, priors on `part: public`, and nobody is in both. The
    parts are made from identity_CelebA.txt, by its counts, so they are the same on every machine: private are the
    `pool` people with most photos, public is everybody else. Or they are given as lists, then nobody's of the private
    list may be in the public one. Photos are compared by file name without extension, and one that is on disk with
    another extension than in a list is read.

    The private part says which photos nobody may learn from (`Dataset.held`): those of the list `test`, or a tenth of
    each person's by seed.

    People bear their numbers of identity_CelebA.txt ("id00020"), with lists and without, so parts made in different
    ways can be compared. Where all lists are given and that file is missing, they bear the lists' labels.

    Chips are made as from any folder: the face is found in the picture and aligned. The papers cut the middle 108
    pixels out of the aligned picture instead, so numbers here are comparable with one another, not with theirs.

    All chips are held in memory, 0.6 MB each: 18 GB for either part at full size.

    Liu, Luo, Wang and Tang, "Deep Learning Face Attributes in the Wild", ICCV 2015.

    Args:
        root: the folder that holds the pictures' folder and the lists.
        detector: finds the face. CelebA centres the person meant, so `choose: central`.
        part: "private" or "public".
        pool: how many people are private, however many of them are read: the public part does not depend on limits.
        identities: of the private people, so many drawn by seed; null for all.
        per_identity: of each private person's photos, so many drawn by seed; null for all. With given lists it counts
            photos of the list `train`; those of `test` all stay.
        public_images: of the public photos, so many drawn by seed; null for all.
        seed: of those draws, and of which private photos are for test.
        photos: name of the pictures' folder in `root`.
        train, test, public: lists in `root` (or absolute), lines `name.jpg label`; `public` may go without labels.
            `train` and `test` come together, one label to a person.

    Raises:
        ConfigError: another part, a limit below 1, `pool` below 2, or one of `train` and `test` without the other.
    """

    def __init__(
        self,
        root: str,
        detector: YuNet,
        part: Literal["private", "public"] = "private",
        pool: int = 1000,
        identities: int | None = None,
        per_identity: int | None = None,
        public_images: int | None = 30_000,
        seed: int = 0,
        photos: str = "img_align_celeba",
        train: str | None = None,
        test: str | None = None,
        public: str | None = None,
    ) -> None:
        if part not in ("private", "public"):
            raise ConfigError(f"part is {part!r}; give private or public.")
        if pool < 2:
            raise ConfigError(f"pool is {pool}; give at least 2 private people.")
        if (train is None) != (test is None):
            raise ConfigError("Found one of data.train and data.test; give both lists, or neither.")
        at_least_one(identities=identities, per_identity=per_identity, public_images=public_images)
        self.root, self.detector, self.part, self.pool = Path(root), detector, part, pool
        self.identities, self.per_identity, self.public_images = identities, per_identity, public_images
        self.seed, self.photos = seed, photos
        self.lists = {"train": train, "test": test, "public": public}

    def __call__(self) -> Dataset:
        """Read one part.

        Raises:
            DataError: a folder or list is missing, the parts overlap, there are too few people, or no face.
        """
        require_folder(self.root)
        self._require_photos()
        parts = self.parts()
        rows = self._private(parts) if self.part == "private" else self._public(parts)
        dataset = assemble(
            f"celeba {self.part}",
            rows,
            self.detector,
            source=f"{self.root} ({self.part})",
            licence="non-commercial research (CelebA)",
            note=self._note(len(rows)),
        )
        return dataset if self.part == "public" else _holding(dataset, self._for_test(dataset.faces, parts))

    def parts(self) -> Parts:
        """Both parts as lists, before any limit; no photo is read.

        Raises:
            DataError: a list is missing or has another form, or the parts overlap.
        """
        given = {name: self._given(name) for name in self.lists}
        path = self.root / "identity_CelebA.txt"
        what = "CelebA's list of identities, lines 'name.jpg number', or all of data.train, data.test and data.public"
        truth = () if all(given.values()) and not path.exists() else read_list(path, "id", what)
        return arrange(truth, self.pool, given["train"], given["test"], given["public"])

    def _for_test(self, faces: Faces, parts: Parts) -> Tensor:
        """(N,) bool: which private photos nobody may learn from, by the list `test` or by `held_back`."""
        if not parts.test:
            return held_back(faces, HELD_BACK, self.seed)
        stems = {entry.stem for entry in parts.test}
        return torch.tensor([PurePosixPath(key).stem in stems for key in faces.keys], dtype=torch.bool)

    def _given(self, name: str) -> tuple[Listed, ...]:
        file = self.lists[name]
        return () if file is None else read_list(self.root / file, "class", f"data.{name}, lines 'name.jpg label'")

    def _private(self, parts: Parts) -> list[Row]:
        rows = sampled([self._row(entry) for entry in parts.private], self.identities, self.per_identity, self.seed)
        people = {row.identity for row in rows}
        return rows + [self._row(entry) for entry in parts.test if entry.person in people]

    def _public(self, parts: Parts) -> list[Row]:
        if not parts.public:
            raise DataError(f"All people of {self.root} are private, wanted some public ones; lower data.pool.")
        listed = sorted(parts.public)
        return [self._row(entry) for entry in drawn(listed, self.public_images, self.seed, "public")]

    def _row(self, entry: Listed) -> Row:
        path = _on_disk(self.root / self.photos / entry.photo)
        return Row(f"{self.photos}/{path.name}", path, entry.person or f"photo {entry.stem}")

    def _require_photos(self) -> None:
        if not (self.root / self.photos).is_dir():
            held = ", ".join(sorted(path.name for path in self.root.iterdir())[:8]) or "nothing"
            raise DataError(
                f"{self.root} holds {held}; wanted the folder {self.photos} with CelebA's pictures (000001.jpg, ...). "
                "Set data.root to the folder above it, or data.photos to its name."
            )

    def _note(self, photos: int) -> str:
        who = "people of the list given" if self.lists["train"] else f"{self.pool} people with most photos"
        if self.part == "private":
            return f"Private part of CelebA: {photos} photos drawn by seed {self.seed} from those of the {who}."
        known = (self.root / "identity_CelebA.txt").exists()
        unknown = "" if known else " Whose they are could be checked by the lists' labels only."
        return f"Public part of CelebA: {photos} photos by seed {self.seed}, of none of the {who}.{unknown}"


def _on_disk(path: Path) -> Path:
    """The picture, if need be with another extension; as asked for where there is none."""
    return next((found for found in (path, *map(path.with_suffix, EXTENSIONS)) if found.exists()), path)


def _holding(dataset: Dataset, held: Tensor) -> Dataset:
    """The data set with what is for test; where to learn from is part of what it is, so the digest follows."""
    keys = frozenset(key for key, out in zip(dataset.faces.keys, held.tolist(), strict=True) if out)
    digest = hashlib.sha256(f"{dataset.digest}{sorted(keys)!r}".encode()).hexdigest()
    return replace(dataset, held=keys, digest=digest)


def held_back(faces: Faces, share: float, seed: int) -> Tensor:
    """(N,) bool: about `share` of each person's photos by seed, at least one and never all.

    Raises:
        ConfigError: a share outside (0, 1).
    """
    if not 0 < share < 1:
        raise ConfigError(f"The share held back is {share}; wanted one between 0 and 1.")
    held = torch.zeros(len(faces), dtype=torch.bool)
    for identity in faces.identities.unique().tolist():
        rows = (faces.identities == identity).nonzero().flatten()
        rng = generator(seed, "celeba for test", faces.names[identity])
        count = min(len(rows) - 1, max(1, round(share * len(rows))))
        held[rows[torch.randperm(len(rows), generator=rng)[:count]]] = True
    return held
