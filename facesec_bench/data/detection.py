"""Finding the face in a photo: YuNet (Wu, Peng and Yu, "YuNet: a tiny millisecond-level face detector", 2023)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from facesec_bench import assets
from facesec_bench.data.read import LeftOut, Pixels, Remark
from facesec_bench.errors import ConfigError

_NMS_THRESHOLD = 0.3
_TOP_K = 5000
_MARGIN = 0.25  # of the longer side: what the second look adds around a tightly cropped face
_LARGE_PX = 256.0  # on the copy detected on; YuNet was trained on smaller faces


class Face(NamedTuple):
    """A detected face, in pixels of the photo given.

    Attributes:
        box: (4,) x, y, width, height.
        landmarks: (5, 2) in the order of `interfaces.CHIP_LANDMARKS`.
        score: the detector's confidence in [0, 1].
    """

    box: NDArray[np.float64]
    landmarks: NDArray[np.float64]
    score: float


class YuNet:
    """The detector with the choices a study has to state.

    Args:
        score_threshold: least confidence of a face, in [0, 1].
        min_face_px: least width and height of a face's box, in pixels of the photo as stored.
        min_side: photos whose longer side is less are enlarged to it before detection: landmarks are found on a grid
            of 8 pixels, so they jitter less on a larger copy.
        max_side: photos whose longer side is more are detected on a reduced copy; landmarks are scaled back.
        choose: among several faces take the "largest" box or the "central" one, nearest to the photo's centre.
        weights: an ONNX file in place of the asset `yunet`.
    """

    def __init__(
        self,
        score_threshold: float = 0.6,
        min_face_px: int = 20,
        min_side: int = 320,
        max_side: int = 640,
        choose: Literal["largest", "central"] = "largest",
        weights: str | None = None,
    ) -> None:
        if not 0 < score_threshold < 1:
            raise ConfigError(f"score_threshold is {score_threshold}; give a number between 0 and 1.")
        if not 0 < min_side <= max_side:
            raise ConfigError(f"min_side is {min_side} and max_side {max_side}; wanted 0 < min_side <= max_side.")
        if min_face_px < 1:
            raise ConfigError(f"min_face_px is {min_face_px}; give at least 1.")
        if choose not in ("largest", "central"):
            raise ConfigError(f"choose is {choose!r}; give largest or central.")
        self.score_threshold = score_threshold
        self.min_face_px = min_face_px
        self.min_side = min_side
        self.max_side = max_side
        self.choose = choose
        self.weights = weights
        self._net: Any = None

    def settings(self) -> dict[str, object]:
        """Everything that decides which chip a photo gives; part of the chip cache's key."""
        model = hashlib.sha256(Path(self.weights).read_bytes()).hexdigest() if self.weights else assets.digest("yunet")
        names = ("score_threshold", "min_face_px", "min_side", "max_side", "choose")
        return {name: getattr(self, name) for name in names} | {"model": model, "opencv": cv2.__version__}

    def find(self, pixels: Pixels) -> list[Face]:
        """All faces above `score_threshold` in an (H, W, 3) uint8 RGB photo, best score first.

        Where none is found, a smaller copy is tried (a face beyond some 300 px scores low), then one with a border
        around the photo: YuNet misses faces that fill the whole picture, as the crops of published data sets do.
        """
        faces = self._detect(pixels, self._longest(pixels)) or self._detect(pixels, self.min_side)
        if faces:
            return faces
        border = round(max(pixels.shape[:2]) * _MARGIN)
        framed = cv2.copyMakeBorder(pixels, border, border, border, border, cv2.BORDER_REPLICATE)
        shift = np.array([border, border], dtype=np.float64)
        return [
            Face(face.box - np.concatenate([shift, [0, 0]]), face.landmarks - shift, face.score)
            for face in self._detect(np.asarray(framed, dtype=np.uint8), self.min_side)
        ]

    def pick(self, pixels: Pixels) -> tuple[Face, list[Remark]]:
        """The one face to use, by `choose`, with a remark if there were several.

        Raises:
            LeftOut: no_face or face_too_small.
        """
        faces = self.find(pixels)
        if not faces:
            raise LeftOut("no_face", f"none with a score of {self.score_threshold} or more")
        large = [face for face in faces if min(face.box[2:]) >= self.min_face_px]
        if not large:
            widest = max(min(face.box[2:]) for face in faces)
            raise LeftOut("face_too_small", f"the largest is {widest:.0f} px; min_face_px is {self.min_face_px}")
        remarks = []
        if len(large) > 1:
            remarks.append(Remark("several_faces", f"{len(large)} faces; took the {self.choose} one", used=True))
        return self._refined(pixels, max(large, key=lambda face: self._rank(face, pixels.shape))), remarks

    def _refined(self, pixels: Pixels, face: Face) -> Face:
        """A large face again, on a copy of `min_side`.

        Measured on the same portraits at several sizes: up to some 200 px landmarks agree within a tenth of the eye
        distance; at 600 px they are off by up to a whole one and the score has fallen from 0.93 to 0.53.
        """
        if max(face.box[2:]) * self._longest(pixels) / max(pixels.shape[:2]) <= _LARGE_PX:
            return face
        others = self._detect(pixels, self.min_side)
        nearest = min(others, key=lambda other: _distance(other, face), default=face)
        return nearest if _distance(nearest, face) <= max(face.box[2:]) / 2 else face

    def _longest(self, pixels: Pixels) -> float:
        return float(np.clip(max(pixels.shape[:2]), self.min_side, self.max_side))

    def _rank(self, face: Face, shape: tuple[int, ...]) -> float:
        if self.choose == "largest":
            return float(face.box[2] * face.box[3])
        return -float(np.hypot(*(_centre(face) - np.array([shape[1], shape[0]]) / 2)))

    def _detect(self, pixels: Pixels, longest: float) -> list[Face]:
        """Faces on a copy whose longer side is `longest`, in pixels of the photo given."""
        height, width = pixels.shape[:2]
        scale = longest / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        if size != (width, height):
            how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
            pixels = np.asarray(cv2.resize(pixels, size, interpolation=how), dtype=np.uint8)
        net = self._loaded()
        net.setInputSize(size)
        _, rows = net.detect(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
        if rows is None:
            return []
        back = np.array([width / size[0], height / size[1]])
        return [_face(row.astype(np.float64), back) for row in rows if np.isfinite(row).all()]

    def _loaded(self) -> Any:
        if self._net is None:
            path = self.weights or str(assets.path("yunet"))
            level = cv2.utils.logging.getLogLevel()
            cv2.utils.logging.setLogLevel(
                cv2.utils.logging.LOG_LEVEL_ERROR
            )  # errors only: OpenCV 5 warns at every load that it ignores the target device
            try:
                self._net = cv2.FaceDetectorYN.create(
                    path, "", (self.min_side, self.min_side), self.score_threshold, _NMS_THRESHOLD, _TOP_K
                )
            finally:
                cv2.utils.logging.setLogLevel(level)
        return self._net


def _centre(face: Face) -> NDArray[np.float64]:
    return face.box[:2] + face.box[2:] / 2


def _distance(one: Face, other: Face) -> float:
    return float(np.hypot(*(_centre(one) - _centre(other))))


def _face(row: NDArray[np.float64], back: NDArray[np.float64]) -> Face:
    """A row of FaceDetectorYN: box, five (x, y) landmarks beginning with the eye on the image's left, score."""
    return Face(
        box=np.concatenate([row[:2] * back, row[2:4] * back]),
        landmarks=row[4:14].reshape(5, 2) * back,
        score=float(row[14]),
    )
