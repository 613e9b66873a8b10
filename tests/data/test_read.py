"""Any file in, 8-bit RGB or a named reason out."""

from __future__ import annotations

import io
import os
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from facesec_bench.data import read
from facesec_bench.data.read import LeftOut
from facesec_bench.data.skipped import LEFT_OUT, REPAIRED

RAMP = np.linspace(0, 255, 48 * 64 * 3).reshape(48, 64, 3).astype(np.uint8)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def reasons(content: bytes) -> list[str]:
    remarks = read.decode(content).remarks
    assert all(r.used and r.reason in REPAIRED for r in remarks)
    return [r.reason for r in remarks]


def left_out(content: bytes) -> str:
    with pytest.raises(LeftOut) as caught:
        read.decode(content)
    assert caught.value.remark.reason in LEFT_OUT and not caught.value.remark.used and caught.value.remark.detail
    return caught.value.remark.reason


def test_a_plain_png_comes_back_bit_for_bit_without_a_remark() -> None:
    photo = read.decode(encoded(Image.fromarray(RAMP), "PNG"))
    assert photo.remarks == ()
    np.testing.assert_array_equal(photo.pixels, RAMP)


@pytest.mark.parametrize(
    ("mode", "format", "reason"),
    [
        ("L", "PNG", ["grey"]),
        ("1", "PNG", ["grey"]),
        ("P", "PNG", ["palette"]),
        ("RGBA", "PNG", ["alpha"]),
        ("LA", "PNG", ["alpha", "grey"]),
        ("CMYK", "JPEG", ["cmyk"]),
        ("YCbCr", "TIFF", ["colour_space"]),
        ("I;16", "PNG", ["sixteen_bit", "grey"]),
        ("I;16", "TIFF", ["sixteen_bit", "grey"]),
    ],
)
def test_every_pixel_type_becomes_rgb_with_a_named_repair(mode: str, format: str, reason: list[str]) -> None:
    image = (
        Image.fromarray(RAMP[:, :, 0].astype(np.uint16) * 257)
        if mode == "I;16"
        else Image.fromarray(RAMP).convert(mode)
    )
    content = encoded(image, format)
    assert reasons(content) == reason
    assert read.decode(content).pixels.shape == RAMP.shape


def test_sixteen_bits_are_scaled_by_their_full_range() -> None:
    wide = RAMP[:, :, 0].astype(np.uint16) * 257
    np.testing.assert_array_equal(read.decode(encoded(Image.fromarray(wide), "PNG")).pixels[:, :, 1], RAMP[:, :, 0])


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".ppm"])
def test_sixteen_bit_colour_is_noticed_although_pillow_calls_it_rgb(suffix: str) -> None:
    content = cv2.imencode(suffix, RAMP[:, :, ::-1].astype(np.uint16) * 257)[1].tobytes()
    assert reasons(content) == ["sixteen_bit"]
    np.testing.assert_allclose(read.decode(content).pixels, RAMP, atol=1)


def test_transparency_is_laid_on_white() -> None:
    clear = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    assert (read.decode(encoded(clear, "PNG")).pixels == 255).all()


@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, 3), (8, 1)])
def test_exif_orientation_turns_the_photo_upright(orientation: int, turns: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(Image.fromarray(RAMP), "PNG", exif=exif)
    assert reasons(content) == ["exif_rotated"]
    np.testing.assert_array_equal(read.decode(content).pixels, np.rot90(RAMP, turns))


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_an_animation_gives_its_first_frame(format: str) -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    content = encoded(frames[0], format, save_all=True, append_images=frames[1:])
    assert "animated" in reasons(content)
    red, _, blue = read.decode(content).pixels[16, 16]
    assert red > 200 and blue < 50


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_a_cut_file_is_left_out_whatever_its_format(format: str, share: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    content = encoded(noise, format)
    assert left_out(content[: max(12, int(len(content) * share))]) in ("truncated", "corrupt")


def test_half_a_jpeg_is_called_truncated() -> None:
    content = encoded(Image.fromarray(RAMP), "JPEG")
    assert left_out(content[: len(content) // 2]) == "truncated"


def test_any_damage_gives_a_photo_or_a_reason_and_never_another_error() -> None:
    rng = np.random.default_rng(0)
    for format in ("JPEG", "PNG", "GIF", "TIFF", "WEBP"):
        good = np.frombuffer(encoded(Image.fromarray(RAMP), format), np.uint8)
        for _ in range(60):
            bad = good.copy()
            bad[rng.integers(0, len(bad), 4)] = rng.integers(0, 256, 4)
            try:
                assert read.decode(bad.tobytes()).pixels.dtype == np.uint8
            except LeftOut as finding:
                assert finding.remark.reason in LEFT_OUT


def test_what_is_no_image_is_said_to_be_none() -> None:
    assert left_out(b"a shopping list") == "not_image"
    assert left_out(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n") == "not_image"
    assert left_out(b"\0\0\0\x18ftypheic" + bytes(50)) == "unsupported"


def test_one_pixel_is_too_small() -> None:
    assert left_out(encoded(Image.new("RGB", (1, 1)), "PNG")) == "too_small"


def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    for side in (10_000, 60_000):  # beyond our limit; beyond Pillow's own
        header = side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
        content = (
            b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
        )
        assert left_out(content) == "too_large"


def test_floating_point_pixels_are_refused_because_their_range_is_unknown() -> None:
    assert left_out(encoded(Image.fromarray(RAMP[:, :, 0].astype(np.float32)), "TIFF")) == "unsupported"


def reason_of_file(path: Path) -> str:
    with pytest.raises(LeftOut) as caught:
        read.read_content(path)
    return caught.value.remark.reason


def test_files_that_give_no_bytes_are_named_by_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert reason_of_file(tmp_path / "empty.jpg") == "empty_file"
    assert reason_of_file(tmp_path / "broken.jpg") == "broken_symlink"
    assert reason_of_file(tmp_path / "loop.jpg") == "unreadable"
    assert reason_of_file(tmp_path / "pipe.jpg") == "not_a_file"
    assert reason_of_file(tmp_path / "absent.jpg") == "missing"
    assert reason_of_file(tmp_path / "Thumbs.db") == "not_image"
    (tmp_path / "locked.jpg").write_bytes(b"x")

    def refuse(self: Path) -> bytes:  # root may read anything, so the refusal is played
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert reason_of_file(tmp_path / "locked.jpg") == "unreadable"
    monkeypatch.setattr(read, "MAX_BYTES", 0)
    assert reason_of_file(tmp_path / "locked.jpg") == "too_large"
