"""Reading one photo: any file in, 8-bit RGB or a named reason out.

What a file claims to be is never trusted: only the formats below are opened (Pillow would hand PostScript to an
interpreter), sizes are checked before a pixel is decoded, and every failure of a decoder becomes a reason.
"""

from __future__ import annotations

import io
import stat
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

Pixels = NDArray[np.uint8]
"""(H, W, 3) RGB."""
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
MAX_PIXELS = 80_000_000
"""Photos beyond this are refused unread; below Pillow's own alarm at 89 million."""
MAX_BYTES = 256 * 1024 * 1024
MIN_SIDE = 16
"""No detector finds a face in less, and no recogniser can use one."""

_JUNK = frozenset({"thumbs.db", "desktop.ini"})
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"P4", b"P5", b"P6", b"\0\0\0\x0cjP")
_ORIENTATION = 0x0112


class Remark(NamedTuple):
    """One finding about a photo. `used` is True for a repair, False where the photo is left out."""

    reason: str
    detail: str
    used: bool


class LeftOut(Exception):  # noqa: N818 - a finding that ends the reading of one photo, not an error of the run
    """This photo cannot be used; carries its reason (a key of `skipped.LEFT_OUT`) and detail."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.remark = Remark(reason, detail, used=False)


class Photo(NamedTuple):
    """A decoded photo: (H, W, 3) uint8 RGB, upright, and what had to be done to get there."""

    pixels: NDArray[np.uint8]
    remarks: tuple[Remark, ...]


def is_junk(name: str) -> bool:
    """Files that systems leave among photos: hidden files, .DS_Store, Thumbs.db, desktop.ini."""
    return name.startswith(".") or name.lower() in _JUNK


def read_content(path: Path) -> bytes:
    """The bytes of a photo file.

    Raises:
        LeftOut: not_image (junk by name), broken_symlink, missing, not_a_file, empty_file, too_large or unreadable.
    """
    if is_junk(path.name):
        raise LeftOut("not_image", "a hidden or system file")
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise LeftOut("not_a_file", "a folder, pipe, socket or device where a photo was expected")
        if status.st_size == 0:
            raise LeftOut("empty_file", "0 bytes")
        if status.st_size > MAX_BYTES:
            raise LeftOut("too_large", f"{status.st_size} bytes; the limit is {MAX_BYTES}")
        return path.read_bytes()
    except FileNotFoundError:
        reason = "broken_symlink" if path.is_symlink() else "missing"
        raise LeftOut(reason, "the link leads nowhere" if path.is_symlink() else "no such file") from None
    except OSError as error:  # PermissionError, a symlink loop, a failing disk
        raise LeftOut("unreadable", error.strerror or type(error).__name__) from error


def decode(content: bytes) -> Photo:
    """Bytes of an image file -> upright 8-bit RGB with remarks.

    Repairs: EXIF rotation, CMYK and other colour spaces, 16 bits a channel (full range scaled to 8), palette, grey,
    transparency (laid on white), animation (first frame).

    Raises:
        LeftOut: not_image, unsupported, truncated, corrupt, too_large or too_small.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata; the outcome is reported by reason instead
        image = _open(content)
        remarks = _first_remarks(image)
        try:
            image.load()
        except Exception as error:  # decoders of damaged files raise nearly anything
            raise _undecodable(error) from error
        image = _upright(image, remarks)
        return Photo(_to_rgb(image, remarks), tuple(remarks))


def _open(content: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        raise _unidentified(content) from None
    except Image.DecompressionBombError as error:
        raise LeftOut("too_large", str(error)) from error
    except Exception as error:
        raise _undecodable(error) from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise LeftOut("too_large", f"{width}x{height} pixels; the limit is {MAX_PIXELS} in all")
    if min(width, height) < MIN_SIDE:
        raise LeftOut("too_small", f"{width}x{height} pixels; the least is {MIN_SIDE} a side")
    return image


def _unidentified(content: bytes) -> LeftOut:
    if content[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1"):
        return LeftOut("unsupported", "HEIC; convert it to JPEG or PNG")
    if content.startswith(_MAGIC) or (content[:4] == b"RIFF" and content[8:12] == b"WEBP"):
        return LeftOut("truncated", f"begins as an image but its header is cut or damaged ({len(content)} bytes)")
    return LeftOut("not_image", "no image format that is read: " + ", ".join(FORMATS))


def _undecodable(error: Exception) -> LeftOut:
    text = f"{type(error).__name__}: {error}"[:200]
    cut = isinstance(error, EOFError) or any(w in text.lower() for w in ("truncated", "not enough", "unexpected end"))
    return LeftOut("truncated" if cut else "corrupt", text)


def _first_remarks(image: Image.Image) -> list[Remark]:
    """What only the undecoded file tells: frames and stored bit depth."""
    remarks = []
    try:
        frames = int(getattr(image, "n_frames", 1))
    except Exception as error:  # counting frames seeks through the file
        raise _undecodable(error) from error
    if frames > 1:
        remarks.append(Remark("animated", f"{frames} frames; the first was used", used=True))
    if _is_sixteen_bit(image):
        remarks.append(Remark("sixteen_bit", "scaled to 8 bits a channel", used=True))
    return remarks


def _is_sixteen_bit(image: Image.Image) -> bool:
    # Pillow gives 16-bit colour the mode "RGB" too; only the raw mode of the tile (or a PPM's maximum) tells.
    if image.mode.startswith("I"):
        return True
    for tile in getattr(image, "tile", ()):
        arguments = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if any((isinstance(a, str) and ";16" in a) for a in arguments):
            return True
        if image.format == "PPM" and isinstance(arguments[-1], int) and arguments[-1] > 255:
            return True
    return False


def _upright(image: Image.Image, remarks: list[Remark]) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
        if orientation in range(2, 9):
            remarks.append(Remark("exif_rotated", f"orientation {orientation}", used=True))
            return ImageOps.exif_transpose(image)
    except Exception as error:  # EXIF blocks are as often broken as photos are; the pixels are still good
        remarks.append(Remark("exif_unreadable", f"{type(error).__name__}: {error}"[:200], used=True))
    return image


def _to_rgb(image: Image.Image, remarks: list[Remark]) -> NDArray[np.uint8]:
    mode = image.mode
    if mode.startswith("I"):
        return _scale_sixteen(np.asarray(image), remarks)
    if mode == "F":
        raise LeftOut("unsupported", "floating-point pixels, whose range is not stated; convert to 8 or 16 bits")
    if mode == "P":
        remarks.append(Remark("palette", "palette looked up", used=True))
    if image.has_transparency_data:
        remarks.append(Remark("alpha", "transparency laid on white", used=True))
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    if mode in ("1", "L", "LA", "La"):
        remarks.append(Remark("grey", f"mode {mode}", used=True))
    elif mode == "CMYK":
        remarks.append(Remark("cmyk", "converted to RGB without its colour profile", used=True))
    elif mode in ("YCbCr", "LAB", "HSV"):
        remarks.append(Remark("colour_space", f"mode {mode}", used=True))
    return np.ascontiguousarray(np.asarray(image.convert("RGB")))


def _scale_sixteen(values: NDArray[np.generic], remarks: list[Remark]) -> NDArray[np.uint8]:
    # By the full range, not by this photo's own maximum: the same camera must give the same grey.
    wide = values.astype(np.int64)
    if wide.min() < 0 or wide.max() > 65535:
        raise LeftOut("unsupported", "integer pixels beyond 16 bits; convert to 8 or 16 bits")
    remarks.append(Remark("grey", "one channel of 16 bits", used=True))
    grey = np.round(wide / 257).astype(np.uint8)
    return np.ascontiguousarray(np.repeat(grey[:, :, None], 3, axis=2))
