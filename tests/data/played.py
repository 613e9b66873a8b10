"""A detector that is played and pictures that are generated, so that a loader's tests need no weights and no person."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

from facesec_bench.data.detection import Face, YuNet
from facesec_bench.data.read import LeftOut
from facesec_bench.interfaces import CHIP_LANDMARKS, CHIP_SIZE


class Played(YuNet):
    """Finds a face in the middle of every picture but the black ones."""

    def settings(self) -> dict[str, object]:
        return {"played": True}

    def pick(self, pixels: np.ndarray) -> tuple[Face, list]:
        if pixels.max() == 0:
            raise LeftOut("no_face", "black")
        landmarks = np.array(CHIP_LANDMARKS) * min(pixels.shape[:2]) / CHIP_SIZE
        return Face(np.array([0, 0, 20, 20.0]), landmarks, 0.9), []


def picture(path: Path) -> Path:
    """A picture of noise that depends on its name alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng([*os.fsencode(path.as_posix())]).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path
