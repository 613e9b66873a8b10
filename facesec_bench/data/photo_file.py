"""A photo file that is changed and written again in its own format: nothing is converted silently.

Kept faithfully: JPEG, PNG and WebP, in colour or grey, with alpha, orientation, colour profile and metadata. Refused
with the reason: CMYK and other colour spaces, 16 bits a channel, animations, and (unless PNG is asked for) the rest.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, JpegImagePlugin

from facesec_bench.data import metadata
from facesec_bench.data.metadata import Metadata
from facesec_bench.data.read import FORMATS, LeftOut, Pixels, Remark, decode

WRITTEN = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}
"""Formats that are written, and the ending of each."""
_REFUSED = {
    "sixteen_bit": "16 bits a channel would be cut to 8; save it with 8 bits a channel first",
    "animated": "only one of its frames would be changed; save that frame as a photo first",
    "cmyk": "CMYK colours would be converted; save it as RGB first",
    "colour_space": "its colours would be converted; save it as RGB first",
}
_TURNED_BACK = {  # EXIF orientation -> the transposition from upright to stored
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@dataclass(frozen=True)
class PhotoFile:
    """A photo and all that is needed to write it as it came.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, upright, transparency laid on white: what a recogniser sees.
        beneath: (H, W, 4) uint8 RGBA, upright, where the photo has transparency; else None.
        grey: whether one channel is stored.
        format: the format to write, a key of WRITTEN.
        orientation: EXIF orientation of the stored pixels, 1 to 8.
        options: what Pillow's writer is told (subsampling, lossless, ...).
        notes: what will not be as it was, in words.
    """

    pixels: Pixels
    beneath: NDArray[np.uint8] | None
    grey: bool
    format: str
    orientation: int
    metadata: Metadata
    options: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def open_photo(content: bytes, wanted: Literal["keep", "png"] = "keep") -> PhotoFile:
    """Read a photo so that `encode` can write it again.

    Args:
        wanted: "keep" the file's own format, or write "png".

    Raises:
        LeftOut: what `read.decode` refuses, and "unsupported" for what cannot be kept faithfully, with the remedy.
    """
    photo = decode(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in `read.decode`: odd metadata is said in words
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        own = "JPEG" if image.format == "MPO" else str(image.format)
        _refuse(photo.remarks, str(image.format))
        if wanted == "keep" and own not in WRITTEN:
            raise LeftOut("unsupported", f"{own} is not written; ask for PNG with --format png")
        target = own if wanted == "keep" else "PNG"
        options = _options(image, content, own, target)
        orientation = _orientation(image)
        grey = image.mode in ("1", "L", "LA", "La")
        beneath = _beneath(image, orientation) if image.has_transparency_data else None
        if own == "PNG":
            image.load()  # text may stand after the pixels
        about = metadata.gather(image, orientation)
    notes = (*_notes(image, own, target, photo.remarks, options), *about.notes)
    return PhotoFile(photo.pixels, beneath, grey, target, orientation, about, options, notes)


def encode(photo: PhotoFile, pixels: Pixels, *, quality: int = 95, exif: Literal["keep", "drop"] = "keep") -> bytes:
    """The file of `photo` with its pixels replaced by `pixels` (as `photo.pixels`: upright, on white).

    Where a pixel is as it was, a lossless format keeps it to the bit, also beneath transparency. A grey photo gets the
    luminance of the change.

    Args:
        quality: of JPEG and of lossy WebP, 1 to 100.
        exif: "keep" EXIF, XMP, text and comments, or "drop" them; the colour profile stays, as it decides the colours.
            Without EXIF nothing says how to turn the photo, so it is then stored upright.
    """
    image = _image(photo, pixels)
    about, keep = photo.metadata, exif == "keep"
    if keep and photo.orientation in _TURNED_BACK:
        image = image.transpose(_TURNED_BACK[photo.orientation])
    options: dict[str, Any] = dict(photo.options)
    if about.icc:
        options["icc_profile"] = about.icc
    if keep and about.exif:
        options["exif"] = about.exif
    if about.dpi and photo.format != "WEBP":
        options["dpi"] = about.dpi
    if photo.format == "PNG":
        options["pnginfo"] = about.pngs(private=keep)
    elif keep and about.xmp:
        options["xmp"] = about.xmp
    if photo.format == "JPEG" and keep and about.comment:
        options["comment"] = about.comment
    if photo.format == "JPEG" or (photo.format == "WEBP" and not options.get("lossless")):
        options["quality"] = quality
    buffer = io.BytesIO()
    image.save(buffer, format=photo.format, **options)
    return buffer.getvalue()


def is_lossless(photo: PhotoFile) -> bool:
    """Whether a pixel that is not changed is written to the bit."""
    return photo.format == "PNG" or bool(photo.options.get("lossless"))


def _refuse(remarks: tuple[Remark, ...], stored: str) -> None:
    for remark in remarks:
        if remark.reason == "animated" and stored == "MPO":
            continue  # a JPEG with a preview or a depth map behind it, as telephones write
        if remark.reason in _REFUSED:
            raise LeftOut("unsupported", _REFUSED[remark.reason])


def _orientation(image: Image.Image) -> int:
    try:
        value = int(image.getexif().get(metadata.ORIENTATION, 1))
    except Exception:  # as in `read.decode`: broken EXIF turns nothing
        return 1
    return value if value in _TURNED_BACK else 1


def _beneath(image: Image.Image, orientation: int) -> NDArray[np.uint8]:
    """(H, W, 4) upright RGBA as stored, not laid on white."""
    turned = ImageOps.exif_transpose(image) if orientation != 1 else image
    return np.asarray(turned.convert("RGBA"), dtype=np.uint8)


def _image(photo: PhotoFile, pixels: Pixels) -> Image.Image:
    if photo.beneath is None:
        image = Image.fromarray(pixels)
        return image.convert("L") if photo.grey else image
    change = pixels.astype(np.int16) - photo.pixels
    change[photo.beneath[:, :, 3] == 0] = 0  # nobody sees it
    raw = photo.beneath.copy()
    raw[:, :, :3] = np.clip(raw[:, :, :3] + change, 0, 255).astype(np.uint8)
    image = Image.fromarray(raw)
    if not photo.grey:
        return image
    return Image.merge("LA", (image.convert("RGB").convert("L"), image.getchannel("A")))


def _options(image: Image.Image, content: bytes, own: str, target: str) -> dict[str, Any]:
    if target == "JPEG":
        options: dict[str, Any] = {"progressive": "progressive" in image.info}
        if image.mode != "L":
            sampling = JpegImagePlugin.get_sampling(image)
            options["subsampling"] = 0 if sampling == -1 else sampling
        return options
    if target == "WEBP":
        return {"lossless": True, "exact": True} if _lossless_webp(content) else {}
    return {}


def _lossless_webp(content: bytes) -> bool:
    """Whether the picture of a WebP file is a VP8L chunk (RIFF: four letters, a little-endian size, padded to even)."""
    place = 12
    while place + 8 <= len(content):
        name, size = content[place : place + 4], int.from_bytes(content[place + 4 : place + 8], "little")
        if name in (b"VP8L", b"VP8 "):
            return name == b"VP8L"
        place += 8 + size + size % 2
    return False


def _notes(
    image: Image.Image, own: str, target: str, remarks: tuple[Remark, ...], options: dict[str, Any]
) -> list[str]:
    notes = []
    if own != target:
        notes.append(f"written as {target}, as asked: it was {own}")
    if image.format == "MPO" and target == "JPEG":
        notes.append(
            "further pictures behind the photo (a preview, a depth or gain map) were dropped: they show the face"
        )
    reasons = {remark.reason for remark in remarks}
    if "palette" in reasons:
        notes.append("its palette was looked up: written in full colour")
    if image.mode == "1":
        notes.append("black and white: written in 8-bit grey")
    if "exif_unreadable" in reasons:
        notes.append("its EXIF is broken: the photo was taken as it is stored")
    if target == "JPEG" and image.mode != "L" and JpegImagePlugin.get_sampling(image) == -1:
        notes.append("its unusual chroma subsampling was written as 4:4:4")
    return notes
