"""The embedded default: people who do not exist, drawn by DCGAN and told apart by SFace."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facesec_bench import assets, seeds
from facesec_bench.asset_cache import cache_folder
from facesec_bench.data import Dataset, Drawn, align, detection, nuisance
from facesec_bench.data.align import make_chip, misfit
from facesec_bench.data.assemble import digest, to_faces
from facesec_bench.data.chips import code_version
from facesec_bench.data.detection import YuNet
from facesec_bench.data.nuisance import rephotograph
from facesec_bench.data.read import LeftOut, Pixels
from facesec_bench.errors import ConfigError, DataError
from facesec_bench.files import write_atomically
from facesec_bench.progress import track

if TYPE_CHECKING:
    from facesec_bench.generators.dcgan import DCGAN
    from facesec_bench.interfaces import FRTarget

_BATCH = 8  # larger ones spend their time in fresh memory: 100 x 10 took 66 s at 32 and 55 s at 8
_PICTURE = 192
"""Side to which the generator's 64 pixels are enlarged, so that blur and JPEG act as on a photo; a chip's scale."""
_SURROUNDINGS = 44
"""Pixels added on each side of a picture."""
_LEAST_YIELD = 0.05
"""Give up when fewer candidates than this pass."""
_RETREAT = 0.8
"""A photo that failed is drawn again with so much of the jitter and change: at last it is the identity's own."""
_GREATEST_MISFIT = 8.0
"""Of an identity's first picture, in chip pixels, where the eyes are 53 apart; a profile misses by more."""
_BRIGHTNESS = (45.0, 215.0)


class Synthetic:
    """`identities` x `per_identity` photos of generated people; deterministic by seed.

    A latent is an identity if YuNet finds a face in it, neither in profile nor in the dark, and its SFace similarity to
    every other identity stays below `separation`. A photo of it is a jittered latent, re-photographed (`nuisance.py`),
    that SFace still matches to it: similarity at least `match`, and higher than to any other identity.

    Args:
        detector: finds the face; a high score_threshold keeps the generator's failures out.
        separation: greatest SFace similarity between two identities, in [-1, 1].
        match: least SFace similarity between a photo and its identity, in [-1, 1]; above `separation`.
        jitter: standard deviation of the noise added to a latent for a photo, uniform in [jitter / 2, jitter].
    """

    def __init__(
        self,
        detector: YuNet,
        identities: int = 100,
        per_identity: int = 10,
        seed: int = 0,
        separation: float = 0.4,
        match: float = 0.5,
        jitter: float = 0.3,
    ) -> None:
        if identities < 1 or per_identity < 1:
            raise ConfigError(f"identities is {identities} and per_identity {per_identity}; give at least 1 of each.")
        if not -1 < separation < match < 1:
            raise ConfigError(f"separation is {separation} and match {match}; wanted -1 < separation < match < 1.")
        if not jitter > 0:
            raise ConfigError(f"jitter is {jitter}; give a number above 0.")
        self.detector = detector
        self.identities = identities
        self.per_identity = per_identity
        self.seed = seed
        self.separation = separation
        self.match = match
        self.jitter = jitter

    def __call__(self) -> Dataset:
        """Draw the data set, or read it from the cache folder `synthetic` if it was drawn before.

        Raises:
            AssetError: dcgan, sface or yunet is missing.
            DataError: the generator cannot give so many separate identities.
        """
        entry = cache_folder() / "synthetic" / f"{self._fingerprint()}.npz"
        drawn = _load(entry)
        if drawn is None:
            drawn = self._draw()
            _store(entry, *drawn)
        chips, story = drawn
        rows = [(i, j) for i in range(self.identities) for j in range(self.per_identity)]
        faces = to_faces(list(chips), [f"syn{i:04d}/{j:02d}" for i, j in rows], [f"syn{i:04d}" for i, _ in rows])
        return Dataset(
            name="synthetic",
            faces=faces,
            skipped=(),
            digest=digest(faces),
            licence="MIT (generator); the faces belong to nobody",
            splits={},
            note="Faces from a generator (DCGAN), chosen with SFace, so SFace's clean figures on them are optimistic. "
            "SFace cut the identities apart, so thresholds and rates of SFace on them are biased too. " + story,
            drawn=Drawn(assets.digest("dcgan"), self.seed),
        )

    def _fingerprint(self) -> str:
        names = ("identities", "per_identity", "seed", "separation", "match", "jitter")
        settings = {name: getattr(self, name) for name in names}
        weights = [assets.digest("dcgan"), assets.digest("sface")]
        # The versions too: another build may round a similarity across a threshold.
        code = [code_version(sys.modules[__name__], nuisance, detection, align), torch.__version__, np.__version__]
        text = json.dumps([settings, self.detector.settings(), weights, code], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    @torch.no_grad()
    def _draw(self) -> tuple[Pixels, str]:
        from facesec_bench.generators.dcgan import DCGAN
        from facesec_bench.targets.sface import SFace

        studio = _Studio(DCGAN().eval(), SFace().eval(), self.detector)
        latents, anchors = self._find_identities(studio)
        identities = f"{self.identities} identities from {studio.tried} latents"
        studio.tried = 0
        chips = self._take_photos(studio, latents, anchors)
        return chips, f"{identities}, {len(chips)} photos from {studio.tried}."

    def _find_identities(self, studio: _Studio) -> tuple[Tensor, Tensor]:
        """Latents (N, 100) and SFace anchors (N, 128), taken greedily in the order drawn."""
        latents: list[Tensor] = []
        anchors = torch.empty(0, 128)
        most = round(self.identities / _LEAST_YIELD)
        for number in range(-(-most // _BATCH)):
            rng = seeds.generator(self.seed, "synthetic", "identities", number)
            batch = torch.randn(_BATCH, 100, generator=rng)
            for latent, shot in zip(batch, studio.shoot(batch, None), strict=True):
                if shot is None:
                    continue
                if len(anchors) and float((anchors @ shot.embedding).max()) >= self.separation:
                    continue
                latents.append(latent)
                anchors = torch.cat([anchors, shot.embedding[None]])
                if len(latents) == self.identities:
                    return torch.stack(latents), anchors
        raise DataError(
            f"Found {len(latents)} identities that SFace tells apart at {self.separation} in {studio.tried} latents, "
            f"wanted {self.identities}; raise separation or ask for fewer identities."
        )

    def _take_photos(self, studio: _Studio, latents: Tensor, anchors: Tensor) -> Pixels:
        """Chips (N * per_identity, 224, 224, 3), by identity; a photo that fails is drawn again with smaller noise."""
        chips: list[Pixels | None] = [None] * (self.identities * self.per_identity)
        missing = list(range(len(chips)))
        for attempt in range(round(1 / _LEAST_YIELD)):
            starts = range(0, len(missing), _BATCH)
            for start in track(starts, f"Drawing synthetic photos, round {attempt + 1}"):
                batch = missing[start : start + _BATCH]
                owners = torch.tensor([slot // self.per_identity for slot in batch])
                noise = torch.stack([self._noise(slot, attempt) for slot in batch])
                changes = [seeds.numpy_generator(self.seed, "synthetic", "photo", slot, attempt) for slot in batch]
                for slot, shot in zip(
                    batch, studio.shoot(latents[owners] + noise, changes, _RETREAT**attempt), strict=True
                ):
                    if shot is not None and self._is(anchors @ shot.embedding, slot // self.per_identity):
                        chips[slot] = shot.chip
            missing = [slot for slot in missing if chips[slot] is None]
            if not missing:
                return np.stack([chip for chip in chips if chip is not None])
        raise DataError(
            f"{len(missing)} of {len(chips)} synthetic photos still failed to match their identity after {attempt + 1} "
            f"attempts (match={self.match}, jitter={self.jitter}); lower one of the two."
        )

    def _noise(self, slot: int, attempt: int) -> Tensor:
        rng = seeds.generator(self.seed, "synthetic", "noise", slot, attempt)
        # Some latents sit on a cliff, where the usual jitter always gives another face: those stay closer to home.
        size = self.jitter * _RETREAT**attempt * (1 + torch.rand(1, generator=rng)) / 2
        return size * torch.randn(100, generator=rng)

    def _is(self, similarities: Tensor, owner: int) -> bool:
        return int(similarities.argmax()) == owner and float(similarities[owner]) >= self.match


@dataclass(frozen=True)
class _Shot:
    chip: Pixels
    embedding: Tensor


def _presentable(chip: Pixels, landmarks: NDArray[np.float64]) -> bool:
    """Neither a profile nor in the dark: what a person would hand in as a portrait."""
    return misfit(landmarks) < _GREATEST_MISFIT and _BRIGHTNESS[0] < float(chip.mean()) < _BRIGHTNESS[1]


@dataclass
class _Studio:
    """Generator, detector and judge at work together; counts the latents tried."""

    generator: DCGAN
    judge: FRTarget
    detector: YuNet
    tried: int = field(default=0)

    def shoot(
        self, latents: Tensor, changes: list[np.random.Generator] | None, strength: float = 1.0
    ) -> list[_Shot | None]:
        """(B, 100) -> a chip and its embedding for each latent, None where no face was found.

        Without `changes` the latents are candidates for an identity, and must be presentable too.
        """
        self.tried += len(latents)
        chips: dict[int, Pixels] = {}
        for i, image in enumerate(self.generator.generate(latents)):
            pixels = (image.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
            picture = _surrounded(cv2.resize(pixels, (_PICTURE, _PICTURE), interpolation=cv2.INTER_CUBIC))
            if changes is not None:
                picture = rephotograph(picture, changes[i], strength)
            try:
                face, _ = self.detector.pick(picture)
            except LeftOut:
                continue
            chip = make_chip(picture, face.landmarks)
            if changes is not None or _presentable(chip, face.landmarks):
                chips[i] = chip
        if not chips:
            return [None] * len(latents)
        stacked = torch.from_numpy(np.stack(list(chips.values()))).permute(0, 3, 1, 2) / 255
        embeddings = dict(zip(chips, self.judge.embed(stacked), strict=True))
        return [_Shot(chips[i], embeddings[i]) if i in chips else None for i in range(len(latents))]


def _surrounded(picture: NDArray[Any]) -> Pixels:
    """Continue a picture beyond its edge by its blurred mirror image: a chip is wider than what the generator draws."""
    side = _SURROUNDINGS
    wide = cv2.copyMakeBorder(picture, side, side, side, side, cv2.BORDER_REFLECT_101)
    inside = np.zeros(wide.shape[:2], np.float32)
    inside[side:-side, side:-side] = 1
    soft = cv2.GaussianBlur(cv2.dilate(inside, np.ones((9, 9))), (0, 0), 4)
    weight = np.maximum(inside, soft)[:, :, None]
    blurred = cv2.GaussianBlur(wide, (0, 0), side / 4)
    return np.asarray((weight * wide + (1 - weight) * blurred).round(), dtype=np.uint8)


def _load(entry: Path) -> tuple[Pixels, str] | None:
    """A cached set, or None where there is none or it is damaged (it is then drawn again)."""
    try:
        with np.load(entry, allow_pickle=False) as file:
            return file["chips"], str(file["story"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def _store(entry: Path, chips: Pixels, story: str) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, chips=chips, story=np.array(story))
    write_atomically(entry, buffer.getvalue())
