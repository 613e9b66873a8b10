"""All faces of a photo of any size, each with landmarks as good as those of a portrait."""

from __future__ import annotations

import numpy as np

from facesec_bench.data.detection import Face, YuNet
from facesec_bench.data.read import LeftOut, Pixels

_SIDES = (640, 1920)
"""Longer sides of the copies that are searched: the small one finds large faces, the large one those of a group."""
_CONTEXT = 0.75
"""Of a face's longer side: what is cut around it, on each side, before its landmarks are measured."""
_SAME = 0.5
"""Two finds are one face where their centres are nearer than this share of the larger one's longer side."""


class EveryFace:
    """Finds all faces above `score_threshold`, in [0, 1]."""

    def __init__(self, score_threshold: float = 0.6) -> None:
        self._searchers = [YuNet(score_threshold, min_face_px=1, max_side=side) for side in _SIDES]
        self._closer = YuNet(score_threshold, min_face_px=1, choose="central")

    def find(self, pixels: Pixels) -> list[Face]:
        """(H, W, 3) uint8 RGB -> faces from left to right, none twice.

        A photo no larger than a copy is searched once. Faces smaller than some 1 / 100 of the longer side of a large
        photo are missed.
        """
        found: list[Face] = []
        for place, searcher in enumerate(self._searchers):
            if place and max(pixels.shape[:2]) <= _SIDES[place - 1]:
                break
            for coarse in searcher.find(pixels):
                face = self.closer(pixels, coarse) or coarse
                if not any(same(face, other) for other in found):
                    found.append(face)
        return sorted(found, key=lambda face: float(face.box[0]))

    def closer(self, pixels: Pixels, face: Face) -> Face | None:
        """The face again, measured on a cut around where it was found; None where it is not found there."""
        margin = _CONTEXT * max(face.box[2:])
        height, width = pixels.shape[:2]
        low = np.clip(np.floor(face.box[:2] - margin), 0, [width, height]).astype(int)
        high = np.clip(np.ceil(face.box[:2] + face.box[2:] + margin), 0, [width, height]).astype(int)
        if min(high - low) < 1:
            return None
        try:
            near, _ = self._closer.pick(np.ascontiguousarray(pixels[low[1] : high[1], low[0] : high[0]]))
        except LeftOut:
            return None
        moved = Face(near.box + np.concatenate([low, [0, 0]]), near.landmarks + low, near.score)
        return moved if same(moved, face) else None


def same(one: Face, other: Face) -> bool:
    """Whether two finds are of one face."""
    distance = np.hypot(*(one.box[:2] + one.box[2:] / 2 - other.box[:2] - other.box[2:] / 2))
    return bool(distance < _SAME * max(*one.box[2:], *other.box[2:]))
