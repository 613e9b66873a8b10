"""Whether a block of metadata holds a picture: its first bytes, plain or as letters, or data too long to be words.

Which copies are found: a picture of the formats below that stands in the block as bytes, or as base64 or hexadecimal
that starts anywhere in a run; and any run too long to be words. Not found: a short run that was compressed or
encrypted first, or a picture cut into pieces of less than a signature.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator

LONGEST = 2000
"""Characters without a space beyond which text is taken for stored data, whatever it says; 1.5 kB in base64."""
_NAMES = (b"/9j/", b"iVBORw0KGgo", b"GImage:Data", b"xmpGImg:image", b"data:image")
_SIGNATURES = re.compile(
    rb"\xff\xd8\xff"  # JPEG
    rb"|\x89PNG\r\n"
    rb"|GIF8[79]a"
    rb"|RIFF.{4}WEBP"
    rb"|BM.{4}\0{4}.{2}\0\0.{1}\0\0\0"  # a BMP's reserved zeros, and offset and header below 64 kB and 256 bytes
    rb"|ftyp(?:avi[fs]|hei[cfmsx]|hev[cmsx]|mi[fa][12f]|msf1|jp2 |jxl )"  # AVIF, HEIF and kin
    rb"|\0\0\0\x0c(?:jP  |JXL )\r\n\x87\n"  # JPEG 2000, JPEG XL
    rb"|\xff\x4f\xff\x51",  # a bare JPEG 2000 code stream
    re.DOTALL,
)
_TIFF = re.compile(rb"II[*+]\0|MM\0[*+]")
_RUN = re.compile(rb"(?:[A-Za-z0-9+/_-]{16,}=*[\s\\]*)+[A-Za-z0-9+/_-]*")
"""A run of what base64 and hexadecimal are written in; lines may be broken, words of a language are shorter."""
_HEX = re.compile(rb"(?:[0-9A-Fa-f]{2}){8,}")
_UNBROKEN = re.compile(rb"[!#-&(-;=?-~]{%d,}" % LONGEST)
"""Printable ASCII without a space, a quote or an angle bracket."""


def holds_picture(content: bytes | str) -> bool:
    """Whether a picture, or what may be one, stands in a block of metadata."""
    raw = content.encode("utf-8", "replace") if isinstance(content, str) else content
    if shows_picture(raw) or _TIFF.search(raw):
        return True
    text = _plain(raw)
    if any(name in text for name in _NAMES) or _UNBROKEN.search(text):
        return True
    runs = [_letters(run[0]) for run in _RUN.finditer(text)]
    if any(len(run) > LONGEST for run in runs):
        return True
    return any(shows_picture(found) or _TIFF.search(found) for run in runs for found in _decoded(run))


def shows_picture(raw: bytes) -> bool:
    """Whether the signature of a picture stands in bytes; not that of TIFF, with which EXIF itself begins."""
    return _SIGNATURES.search(raw) is not None


def _plain(raw: bytes) -> bytes:
    """Text as a reader of it would see it: 16-bit letters as 8-bit ones, entities of XML resolved."""
    text = raw.replace(b"\0", b"")
    return html.unescape(text.decode("latin-1")).encode("latin-1", "replace") if b"&" in text else text


def _letters(run: bytes) -> bytes:
    """A run without its breaks and padding, in the usual alphabet of base64."""
    return re.sub(rb"[\s\\=]", b"", run).translate(bytes.maketrans(b"-_", b"+/"))


def _decoded(letters: bytes) -> Iterator[bytes]:
    """What a run may stand for; a picture may begin anywhere in it, so at each of four places in base64, two in hex."""
    for start in range(4):
        part = letters[start:]
        yield base64.b64decode(part[: len(part) // 4 * 4])
    for digits in _HEX.finditer(letters):
        for start in range(2):
            part = digits[0][start:]
            yield bytes.fromhex(part[: len(part) // 2 * 2].decode())
