"""What a photo file carries beside its pixels, less the copies of the photo that hide in it.

A camera or an editor leaves small versions of the photo in the EXIF thumbnail, in the maker's note, in XMP and in text
chunks. They show the face as it was, so they do not go into a protected file; what counts as one is in
`hidden_picture`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

from PIL import ExifTags, Image, PngImagePlugin

from facesec_bench.data.hidden_picture import LONGEST, holds_picture, shows_picture

ORIENTATION = 0x0112
_INNER = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_RAW_PROFILE = "raw profile type"  # ImageMagick's EXIF, XMP and Photoshop blocks as text
_XMP_KEY = "XML:com.adobe.xmp"


@dataclass(frozen=True)
class Metadata:
    """The metadata of a photo, ready to be written again.

    Attributes:
        exif: an EXIF block without thumbnail and maker's note; empty where there is none.
        xmp: an XMP packet; empty where there is none.
        icc: a colour profile; empty where there is none.
        texts: the text chunks of a PNG.
        comment: the comment of a JPEG.
        dpi: resolution in dots an inch, or None.
        colour: raw PNG chunks that say what the colours mean (gAMA, cHRM, sRGB).
        located: whether EXIF or XMP say where the photo was taken.
        notes: what was left behind, in words.
    """

    exif: bytes = b""
    xmp: bytes = b""
    icc: bytes = b""
    texts: dict[str, str] = field(default_factory=dict)
    comment: bytes = b""
    dpi: tuple[float, float] | None = None
    colour: tuple[tuple[bytes, bytes], ...] = ()
    located: bool = False
    notes: tuple[str, ...] = ()

    def pngs(self, private: bool) -> PngImagePlugin.PngInfo:
        """The chunks of a PNG; text and XMP only where `private`."""
        info = PngImagePlugin.PngInfo()
        for name, content in self.colour:
            info.add(name, content)
        if private:
            for key, text in self.texts.items():
                info.add_itxt(key, text)
            if self.xmp:
                info.add_itxt(_XMP_KEY, self.xmp.decode("utf-8", "replace"))
        return info


def gather(image: Image.Image, orientation: int) -> Metadata:
    """The metadata of an opened and loaded image.

    Args:
        orientation: 1 to 8, as the photo was read; written explicitly, as it may come from a block that is dropped.
    """
    notes: list[str] = []
    info = image.info
    xmp = info.get("xmp") or info.get(_XMP_KEY) or b""
    xmp = xmp.encode("utf-8") if isinstance(xmp, str) else bytes(xmp)
    if holds_picture(xmp) or b"HasExtendedXMP" in xmp:
        notes.append("XMP dropped: it holds, or points to, what may be another picture of the face")
        xmp = b""
    exif = b""
    if image.format == "TIFF":
        notes.append("EXIF dropped: that of a TIFF is one with the layout of its pixels")
    else:
        exif = _exif(image, orientation, notes)
    comment = info.get("comment", b"")
    if not isinstance(comment, bytes) or holds_picture(comment):
        notes.append("the comment was dropped: it may hold another picture of the face")
        comment = b""
    return Metadata(
        exif=exif,
        xmp=xmp.rstrip(b"\0"),
        icc=info.get("icc_profile") or b"",
        texts=_texts(image, notes),
        comment=comment,
        dpi=info.get("dpi"),
        colour=_colour(info) if image.format == "PNG" else (),
        located=_located(exif, xmp),
        notes=tuple(notes),
    )


def _exif(image: Image.Image, orientation: int, notes: list[str]) -> bytes:
    try:
        found = image.getexif()
        thumbnail = bool(found.get_ifd(ExifTags.IFD.IFD1))
        inner = dict(found.get_ifd(ExifTags.IFD.Exif))
        maker = inner.pop(ExifTags.IFD.MakerNote, None) is not None
        if ExifTags.IFD.Interop in inner:  # its number is a place in the old block
            inner[ExifTags.IFD.Interop] = dict(found.get_ifd(ExifTags.IFD.Interop))
        fresh = _clean({k: v for k, v in found.items() if k not in _INNER}, notes)
        blocks = {ExifTags.IFD.Exif: inner, ExifTags.IFD.GPSInfo: dict(found.get_ifd(ExifTags.IFD.GPSInfo))}
        fresh.update({tag: cleaned for tag, part in blocks.items() if (cleaned := _clean(part, notes))})
        if orientation != 1 or ORIENTATION in fresh:
            fresh[ORIENTATION] = orientation
        block = _block(fresh) if fresh else b""
    except Exception as error:  # EXIF blocks are as often broken as photos are
        notes.append(f"EXIF dropped: it cannot be read ({type(error).__name__})")
        return _only_orientation(orientation)
    if thumbnail:
        notes.append("the thumbnail inside the EXIF was dropped: it shows the face unprotected")
    if maker:
        notes.append("the camera maker's note inside the EXIF was dropped: it may hold a preview of the face")
    if shows_picture(block):
        notes.append("EXIF dropped: another picture is hidden in it")
        return _only_orientation(orientation)
    return block


def _located(exif: bytes, xmp: bytes) -> bool:
    """Whether what is kept names a latitude (EXIF 2.32, tag 2 of the GPS directory; XMP exif:GPSLatitude)."""
    block = Image.Exif()
    block.load(exif)
    return ExifTags.GPS.GPSLatitude in block.get_ifd(ExifTags.IFD.GPSInfo) or b"GPSLatitude" in xmp


def _clean(part: dict[int, Any], notes: list[str]) -> dict[int, Any]:
    """The entries of an EXIF directory that hold no picture, nor data that only its maker can read."""
    kept = {}
    for tag, value in part.items():
        if _opaque(value):
            name = ExifTags.TAGS.get(tag, f"{tag:#06x}")
            notes.append(f"the entry {name} of the EXIF was dropped: it may hold another picture of the face")
        else:
            kept[tag] = value
    return kept


def _opaque(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_opaque(part) for part in value.values())
    if not isinstance(value, bytes | str):
        return isinstance(value, tuple) and len(value) > LONGEST
    if isinstance(value, bytes) and len(value) > LONGEST:
        try:
            value.replace(b"\0", b"").decode("utf-8")
        except UnicodeDecodeError:
            return True
    return holds_picture(value)


def _block(entries: dict[int, Any]) -> bytes:
    exif = Image.Exif()
    for tag, value in entries.items():
        exif[tag] = value
    return exif.tobytes()


def _only_orientation(orientation: int) -> bytes:
    return b"" if orientation == 1 else _block({ORIENTATION: orientation})


def _texts(image: Image.Image, notes: list[str]) -> dict[str, str]:
    kept = {}
    for key, text in getattr(image, "text", {}).items():
        if key == _XMP_KEY:
            continue
        if key.lower().startswith(_RAW_PROFILE) or holds_picture(str(text)):
            notes.append(f"the text block {key!r} was dropped: it may hold another picture of the face")
        else:
            kept[key] = str(text)
    return kept


def _colour(info: dict[Any, Any]) -> tuple[tuple[bytes, bytes], ...]:
    """PNG chunks without which a viewer would show other colours (PNG specification, 11.3.2)."""
    chunks = []
    if "gamma" in info:
        chunks.append((b"gAMA", struct.pack(">I", round(info["gamma"] * 100000))))
    if "chromaticity" in info:
        chunks.append((b"cHRM", struct.pack(">8I", *(round(v * 100000) for v in info["chromaticity"]))))
    if "srgb" in info:
        chunks.append((b"sRGB", bytes([info["srgb"]])))
    return tuple(chunks)
