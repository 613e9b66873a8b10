"""YuNet on generated and real faces."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from facesec_bench.data.detection import YuNet
from facesec_bench.data.folder import Folder
from facesec_bench.data.read import LeftOut
from facesec_bench.errors import ConfigError

PHOTOS = Path(os.environ.get("FACESEC_PHOTOS", Path(__file__).parents[2].parent / "shared" / "data"))


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    from facesec_bench.generators.dcgan import DCGAN

    with torch.no_grad():
        image = DCGAN().eval().generate(torch.randn(2, 100, generator=torch.Generator().manual_seed(0)))[1]
    pixels = (image.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    return np.asarray(cv2.resize(pixels, (256, 256), interpolation=cv2.INTER_CUBIC))


@pytest.mark.assets("yunet", "dcgan")
def test_landmarks_keep_their_place_when_the_photo_is_scaled(picture: np.ndarray) -> None:
    face, _ = YuNet().pick(picture)
    eye_distance = np.linalg.norm(face.landmarks[1] - face.landmarks[0])
    assert face.landmarks[0, 0] < face.landmarks[1, 0]  # the first is the eye on the image's left, as in a chip
    for factor in (0.5, 3.0, 8.0):
        other, _ = YuNet().pick(np.asarray(cv2.resize(picture, None, fx=factor, fy=factor)))
        assert np.abs(other.landmarks / factor - face.landmarks).max() < 0.2 * eye_distance, factor


@pytest.mark.assets("yunet", "dcgan")
def test_largest_and_central_choose_different_faces_and_say_so(picture: np.ndarray) -> None:
    scene = np.full((600, 900, 3), 127, np.uint8)
    scene[:256, :256] = picture
    small = np.asarray(cv2.resize(picture, (160, 160)))
    scene[220:380, 370:530] = small
    largest, remarks = YuNet(choose="largest").pick(scene)
    central, _ = YuNet(choose="central").pick(scene)
    assert remarks[0].reason == "several_faces" and remarks[0].used
    assert largest.landmarks[:, 0].max() < 256
    assert central.landmarks[:, 0].min() > 370 and central.landmarks[:, 0].max() < 530


@pytest.mark.assets("yunet", "dcgan")
def test_no_face_and_a_small_face_are_told_apart(picture: np.ndarray) -> None:
    with pytest.raises(LeftOut, match="no_face"):
        YuNet().pick(np.full((200, 200, 3), 127, np.uint8))
    with pytest.raises(LeftOut, match="face_too_small"):
        YuNet(min_face_px=250).pick(picture)


@pytest.mark.assets("yunet", "dcgan")
def test_a_face_that_fills_the_photo_is_found(picture: np.ndarray) -> None:
    face, _ = YuNet().pick(picture)
    x, y, width, height = face.box.round().astype(int)
    tight = picture[max(0, y) : y + height, max(0, x) : x + width]
    YuNet().pick(np.ascontiguousarray(tight))


def test_settings_out_of_range_are_refused() -> None:
    for wrong in ({"score_threshold": 0}, {"min_side": 2000}, {"min_face_px": 0}, {"choose": "best"}):
        with pytest.raises(ConfigError):
            YuNet(**wrong)  # type: ignore[arg-type]


@pytest.mark.assets("yunet", "sface")
@pytest.mark.photos
@pytest.mark.skipif(not (PHOTOS / "lfw100").is_dir(), reason="no real photos: set FACESEC_PHOTOS")
def test_every_photo_of_lfw100_gives_a_face_and_sface_tells_people_apart() -> None:
    from facesec_bench.targets.sface import SFace

    faces = Folder(str(PHOTOS / "lfw100"), YuNet(choose="central"), max_per_identity=3)().faces
    assert len(faces) == 30
    with torch.no_grad():
        embeddings = SFace().eval().embed(faces.images)
    similarity = embeddings @ embeddings.T
    same = faces.identities[:, None] == faces.identities
    assert similarity[~same].max() < similarity[same].min()


@pytest.mark.assets("yunet")
@pytest.mark.photos
@pytest.mark.skipif(not (PHOTOS / "orl").is_dir(), reason="no real photos: set FACESEC_PHOTOS")
def test_small_grey_pgm_photos_give_faces() -> None:
    dataset = Folder(str(PHOTOS / "orl"), YuNet(), max_per_identity=1)()
    assert len(dataset.faces) == 40
    assert {row.reason for row in dataset.skipped} == {"grey"}
