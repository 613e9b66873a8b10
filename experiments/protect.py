"""Protect photos: cloak every face and say, of the file as written, which recognisers still see the person."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.protect_judges import Judge
from experiments.protect_plan import Job
from facesec_bench.data.align import make_chip
from facesec_bench.data.detection import Face
from facesec_bench.data.every_face import EveryFace
from facesec_bench.data.paste import eye_distance, lay_on, overlap
from facesec_bench.data.photo_file import PhotoFile, encode, is_lossless, open_photo
from facesec_bench.data.read import LeftOut, Pixels, decode, read_content
from facesec_bench.errors import DataError, TargetError
from facesec_bench.files import write_atomically
from facesec_bench.goals import Aim
from facesec_bench.interfaces import Evasion, Faces
from facesec_bench.search import borrowed
from facesec_bench.seeds import generator

LEAST_EYES_PX = 16.0
"""Faces with less between the eyes are left alone: one photo pixel then stands for over three of the chip on which a
cloak is made, and what a recogniser would see of it is mostly lost."""
ITSELF = "this photo, unprotected"
MARGIN = 0.045
"""Of the distance from a threshold to 1: nearer than this a score is neither the one verdict nor the other. Thresholds
measured anew on other people moved by up to so much (docs/protect.md)."""
NOT_JUDGED = "written, but not judged: the run broke off before any recogniser had looked at the file"


@dataclass(frozen=True)
class Comparison:
    """One recogniser's similarity between a face and another photo, before and after.

    Attributes:
        target: the recogniser.
        role: "used to craft" or "held out".
        against: what the face is compared with: ITSELF or a file's name.
        person: "self" where that shows the same person, "other" where it shows the one to be taken for.
        crafted_on: whether the method was shown that photo.
        before: cosine of the untouched face; after: of the face in the written file.
        threshold: taken for one person at or above it.
    """

    target: str
    role: str
    against: str
    person: Literal["self", "other"]
    crafted_on: bool
    before: float
    after: float
    threshold: float

    @property
    def matched(self) -> bool:
        """Whether the written file is taken for that person."""
        return self.after >= self.threshold

    @property
    def close(self) -> bool:
        """Whether the written file is too near the threshold to say."""
        return abs(self.after - self.threshold) < MARGIN * (1 - self.threshold)

    @property
    def matched_before(self) -> bool:
        """Whether the untouched face was."""
        return self.before >= self.threshold


@dataclass(frozen=True)
class FaceResult:
    """What became of one face.

    Attributes:
        box: x, y, width, height in pixels of the upright photo.
        eyes_px: distance between the eyes.
        left_alone: why the face was not changed; empty where it was.
        found_again: whether the detector finds the face in the written file; else it was judged where it had been.
        rms_255: root mean square change of the chip, as cut from the written file, in grey levels.
        seconds: time to make the cloak.
    """

    box: tuple[float, ...]
    eyes_px: float
    left_alone: str = ""
    found_again: bool = False
    rms_255: float = 0.0
    seconds: float = 0.0
    comparisons: tuple[Comparison, ...] = ()


@dataclass(frozen=True)
class PhotoResult:
    """What became of one photo.

    Attributes:
        written: the file, or None where there is none; `refused` then says why.
        reason: a short fixed word of a refusal, as in skipped.csv.
        notes: what was done to the file beside the faces, in words.
        judged: False where it was written and nobody has looked at it since: `faces` is then empty.
    """

    source: str
    written: str | None = None
    reason: str = ""
    refused: str = ""
    notes: tuple[str, ...] = ()
    faces: tuple[FaceResult, ...] = ()
    judged: bool = True


@dataclass(frozen=True)
class OtherPhoto:
    """Another photo of the person, or one of the person to be taken for.

    Attributes:
        name: what it is called in the output.
        chip: (3, 224, 224), its largest face.
        digest: sha256 of its file, by which a photo is known as itself; empty if there is none.
    """

    name: str
    chip: Tensor
    digest: str = ""


@dataclass
class _Found:
    """A face while it is worked on: its chip when it was still untouched, and the references that show its person."""

    face: Face
    chip: NDArray[np.uint8]
    references: list[OtherPhoto] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def large(self) -> bool:
        return eye_distance(self.face.landmarks) >= LEAST_EYES_PX


class Protector:
    """Protects one photo after the other.

    Args:
        judges: recognisers; those not held out are the surrogates on which the method crafts.
        people: strangers, one photo each, for methods that want decoys.
        references: other photos of the person; the first one is shown to the method, all judge. Without one the method
            is shown the photo itself. A reference that is the photo itself, under whatever name, is left out.
        victim: the person to be taken for; None to dodge.
        exif, quality, kind: as `photo_file.encode` and `photo_file.open_photo` take them.
    """

    def __init__(
        self,
        method: Evasion,
        judges: Sequence[Judge],
        people: Faces,
        finder: EveryFace,
        *,
        references: Sequence[OtherPhoto] = (),
        victim: OtherPhoto | None = None,
        exif: Literal["keep", "drop"] = "keep",
        quality: int = 95,
        kind: Literal["keep", "png"] = "keep",
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.method, self.judges, self.people, self.finder = method, judges, people, finder
        self.references, self.victim = references, victim
        self.exif: Literal["keep", "drop"] = exif
        self.kind: Literal["keep", "png"] = kind
        self.quality, self.seed, self.device = quality, seed, device

    def __call__(self, job: Job, keep: Callable[[PhotoResult], None] = lambda result: None) -> PhotoResult:
        """Protect one photo. What is wrong with the photo is in the result; what is wrong with the method is raised.

        Args:
            keep: told of the photo once it is written and before it is judged, so that it is known should that fail.
        """
        try:
            photo, found, digest = _opened(job, self.finder, self.kind)
            if self.victim is not None and self.victim.digest == digest:
                raise LeftOut("unsupported", "it is the very photo given with --as, of the person to be taken for")
        except LeftOut as refusal:
            return _refused(job, refusal)
        references = [one for one in self.references if one.digest != digest]
        self._attribute([one for one in found if one.large], references)
        pixels = photo.pixels
        for number, one in enumerate(found):
            if one.large:
                pixels = self._cloaked(pixels, one, f"{job.name}#{number}")
        notes = self._notes(photo, found, references)
        write(job.target, encode(photo, pixels, quality=self.quality, exif=self.exif))
        keep(PhotoResult(job.name, str(job.target), notes=(*notes, NOT_JUDGED), judged=False))
        seen = decode(read_content(job.target)).pixels
        faces = tuple(self._result(one, seen) for one in found)
        return PhotoResult(job.name, str(job.target), notes=notes, faces=faces)

    def _notes(self, photo: PhotoFile, found: list[_Found], references: list[OtherPhoto]) -> tuple[str, ...]:
        """What is done to the file beside the faces, and to the references, in words."""
        notes = list(photo.notes)
        if self.exif == "drop":
            notes.append("EXIF (with the place), XMP and text dropped")
        elif photo.metadata.located:
            notes.append("its metadata still say where it was taken; --exif drop takes that out")
        if not is_lossless(photo):
            notes.append(f"compressed anew at quality {self.quality}: pixels beside the faces change a little too")
        large = [one.face.landmarks for one in found if one.large]
        if any(overlap(a, b) for i, a in enumerate(large) for b in large[:i]):
            notes.append("faces overlap: each was cloaked upon the ones to its left, and all judged at the end")
        for one in self.references:
            if not any(one is other for other in references):
                notes.append(f"the reference {one.name} is this very photo, so it is left out here")
        return tuple(notes)

    def _attribute(self, found: list[_Found], references: list[OtherPhoto]) -> None:
        """Give each reference to the face it shows: to the only one as the user says, else to the most similar one, if
        any recogniser takes the two for one person."""
        if len(found) < 2:
            for one in found:
                one.references = references
            return
        for reference in references:
            margins = torch.stack(
                [
                    judge.embed(_batch(*(one.chip for one in found))) @ judge.embed(reference.chip[None])[0]
                    - judge.threshold.value
                    for judge in self.judges
                ]
            )
            best = int(margins.mean(dim=0).argmax())
            if (margins[:, best] >= 0).any():
                found[best].references.append(reference)

    def _cloaked(self, pixels: Pixels, one: _Found, key: str) -> Pixels:
        """The photo with this face changed; the chip is cut anew, as an overlapping face may have changed it."""
        began = time.perf_counter()
        chip = _batch(make_chip(pixels, one.face.landmarks))
        faces = Faces(chip.to(self.device), torch.tensor([0], device=self.device), (key,), ("self",))
        surrogates = [judge.target for judge in self.judges if not judge.held_out]
        with borrowed(*surrogates):
            aim, rng = self._aim(chip, one), generator(self.seed, "protect", key)
            cloaked = self.method(faces, aim, surrogates, rng).detach().float().cpu()
        if cloaked.shape != chip.shape or not torch.isfinite(cloaked).all():
            raise TargetError(
                f"The method gave {tuple(cloaked.shape)}, finite: {bool(torch.isfinite(cloaked).all())}; wanted "
                f"{tuple(chip.shape)}, finite. The method is at fault; the photo was not written."
            )
        change = (cloaked.clamp(0, 1) - chip)[0].permute(1, 2, 0).numpy()
        result = lay_on(pixels, one.face.landmarks, change)
        one.seconds = round(time.perf_counter() - began, 2)
        return result

    def _aim(self, chip: Tensor, one: _Found) -> Aim:
        """What the method knows: a photo of the person (a reference, or this photo), strangers, and the victim."""
        own = one.references[0].chip[None] if one.references else chip
        shown = own if self.victim is None else torch.cat([own, self.victim.chip[None]])
        label = len(shown) - 1
        images = torch.cat([shown, self.people.images])
        names = ("self", "victim")[: len(shown)] + tuple(f"stranger {i}" for i in range(len(self.people)))
        gallery = Faces(images.to(self.device), torch.arange(len(names), device=self.device), names, names)
        kind: Literal["dodge", "impersonate"] = "dodge" if self.victim is None else "impersonate"
        labels = torch.tensor([label], device=self.device)
        return Aim(kind, gallery.images[label : label + 1], labels, gallery)

    def _result(self, one: _Found, seen: Pixels) -> FaceResult:
        """Judge a face in the written file as decoded."""
        if not one.large:
            return _too_small(one)
        box, eyes = _place(one)
        again = self.finder.closer(seen, one.face)
        chip = make_chip(seen, (again or one.face).landmarks)
        still = make_chip(seen, one.face.landmarks).astype(np.float64)
        rms = round(float(np.sqrt(((still - one.chip) ** 2).mean())), 2)
        comparisons = tuple(c for judge in self.judges for c in self._compare(judge, one, chip))
        return FaceResult(box, eyes, "", again is not None, rms, one.seconds, comparisons)

    def _compare(self, judge: Judge, one: _Found, chip: NDArray[np.uint8]) -> list[Comparison]:
        itself = OtherPhoto(ITSELF, _batch(one.chip)[0])
        guide = self.victim or (one.references[0] if one.references else itself)
        others = [itself, *one.references] if self.victim is None else [self.victim, itself, *one.references]
        cosines = judge.embed(_batch(one.chip, chip)) @ judge.embed(torch.stack([other.chip for other in others])).T
        return [
            Comparison(
                judge.name,
                judge.role,
                other.name,
                "other" if other is self.victim else "self",
                other is guide and not judge.held_out,
                float(cosines[0, i]),
                float(cosines[1, i]),
                judge.threshold.value,
            )
            for i, other in enumerate(others)
        ]


def unfit(job: Job, finder: EveryFace, kind: Literal["keep", "png"] = "keep") -> PhotoResult | None:
    """Why a photo cannot be protected, None where it can: told before any recogniser is loaded."""
    try:
        _opened(job, finder, kind)
    except LeftOut as refusal:
        return _refused(job, refusal)
    return None


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        DataError: it cannot be written (no right to, no space).
    """
    try:
        write_atomically(path, content)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error}); name another --out.") from error


class _TooSmall(LeftOut):
    """All faces are too small; carries them."""

    def __init__(self, found: list[_Found]) -> None:
        widest = max(eye_distance(one.face.landmarks) for one in found)
        super().__init__(
            "face_too_small", f"the largest face has {widest:.0f} px between the eyes, wanted {LEAST_EYES_PX:.0f}"
        )
        self.faces = tuple(_too_small(one) for one in found)


def _opened(job: Job, finder: EveryFace, kind: Literal["keep", "png"]) -> tuple[PhotoFile, list[_Found], str]:
    """The photo, its faces, one of them at least large enough, and the sha256 of its file.

    Raises:
        LeftOut: the photo cannot be read or kept, or has no such face.
    """
    content = read_content(job.source)
    photo = open_photo(content, kind)
    found = [_Found(face, make_chip(photo.pixels, face.landmarks)) for face in finder.find(photo.pixels)]
    if not found:
        raise LeftOut("no_face", "nothing in it looks like a face to the detector; nothing was written")
    if not any(one.large for one in found):
        raise _TooSmall(found)
    return photo, found, hashlib.sha256(content).hexdigest()


def _refused(job: Job, refusal: LeftOut) -> PhotoResult:
    reason, detail, _ = refusal.remark
    faces = refusal.faces if isinstance(refusal, _TooSmall) else ()
    return PhotoResult(job.name, reason=reason, refused=detail, faces=faces)


def _place(one: _Found) -> tuple[tuple[float, ...], float]:
    """Box and eye distance, as reported."""
    return tuple(round(float(v), 1) for v in one.face.box), round(eye_distance(one.face.landmarks), 1)


def _too_small(one: _Found) -> FaceResult:
    box, eyes = _place(one)
    return FaceResult(box, eyes, left_alone=f"too small: {eyes:.0f} px between the eyes, wanted {LEAST_EYES_PX:.0f}")


def other_photo(path: Path, finder: EveryFace, name: str = "") -> OtherPhoto:
    """A photo by its largest face.

    Args:
        name: what it is to be called; by default as its file.

    Raises:
        DataError: the photo cannot be read, or shows no face.
    """
    try:
        content = read_content(path)
        pixels = decode(content).pixels
    except LeftOut as refusal:
        raise DataError(f"{path}: {refusal}; wanted a photo of one person's face.") from refusal
    faces = finder.find(pixels)
    if not faces:
        raise DataError(f"{path}: found no face, wanted a photo of one person's face; take a clearer one.")
    largest = max(faces, key=lambda face: face.box[2] * face.box[3])
    chip = _batch(make_chip(pixels, largest.landmarks))[0]
    return OtherPhoto(name or path.name, chip, hashlib.sha256(content).hexdigest())


def _batch(*chips: NDArray[np.uint8]) -> Tensor:
    """uint8 chips -> (B, 3, 224, 224) in [0, 1]."""
    return torch.from_numpy(np.stack(chips)).permute(0, 3, 1, 2).float() / 255.0
