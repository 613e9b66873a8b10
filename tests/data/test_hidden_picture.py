"""A picture in a photo's metadata is found in whatever way it is written there, and words are not taken for one."""

import base64
import hashlib
import io

import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin, features

from facesec_bench.data.hidden_picture import LONGEST, holds_picture
from facesec_bench.data.photo_file import encode, open_photo

KINDS = ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000", "AVIF"]
PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 40, 3)).astype(np.uint8))


def small(kind):
    """A picture so small that its length gives nothing away."""
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    buffer = io.BytesIO()
    Image.new("RGB", (12, 12), (200, 150, 120)).save(buffer, format=kind)
    return buffer.getvalue()


def broken(text, width=76, by="\n"):
    return by.join(text[i : i + width] for i in range(0, len(text), width))


WRITINGS = {
    "bytes": lambda raw: b"x" * 5 + raw,
    "base64": lambda raw: base64.b64encode(raw).decode(),
    "urlsafe": lambda raw: base64.urlsafe_b64encode(raw).decode(),
    "odd offset 1": lambda raw: "/" + base64.b64encode(raw).decode(),
    "odd offset 2": lambda raw: base64.b64encode(b"a" * 7 + raw).decode(),
    "odd offset 3": lambda raw: "abc" + base64.b64encode(b"ab" + raw).decode(),
    "lines": lambda raw: broken(base64.b64encode(raw).decode()),
    "indented": lambda raw: broken(base64.b64encode(raw).decode(), by="\r\n      "),
    "XML entities": lambda raw: broken(base64.b64encode(raw).decode(), by="&#xA;"),
    "all entities": lambda raw: "".join(f"&#{ord(letter)};" for letter in base64.b64encode(raw).decode()),
    "16-bit letters": lambda raw: b"UNICODE\0" + base64.b64encode(raw).decode().encode("utf-16-le"),
    "attribute": lambda raw: f'<a b:c="{base64.b64encode(raw).decode()}"/>',
    "hexadecimal": lambda raw: "picture:" + raw.hex(),
    "hexadecimal lines": lambda raw: broken(raw.hex().upper(), 72),
}


@pytest.mark.parametrize("writing", WRITINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_found_however_it_is_written(kind, writing):
    raw = small(kind)[: LONGEST // 4]  # its beginning, so that only the signature can give it away
    assert holds_picture(WRITINGS[writing](raw)), f"{kind} as {writing}"


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"heix", b"msf1"])
def test_heif_is_found_by_its_brand(brand):
    assert holds_picture(base64.b64encode(b"\0\0\0\x18ftyp" + brand + bytes(12)).decode())


RNG = np.random.default_rng(1)


@pytest.mark.parametrize(
    "stored",
    [
        base64.b64encode(RNG.bytes(LONGEST)).decode(),
        broken(base64.b64encode(RNG.bytes(LONGEST)).decode(), by="\n   "),
        base64.b85encode(RNG.bytes(LONGEST)).decode().replace("<", "0").replace(">", "1"),
        RNG.bytes(LONGEST).hex(),
    ],
    ids=["base64", "indented", "base85", "hexadecimal"],
)
def test_a_long_run_is_no_words_whatever_is_in_it(stored):
    assert holds_picture(f"<x>{stored}</x>")


@pytest.mark.parametrize(
    "words",
    [
        "",
        "a photo of my sister at the sea, BMW in the background, GIF89 is a format. " * 100,
        "https://example.org/an/extremely/long/address/with-words-in-it/and_numbers_0123456789?x=1&y=2",
        "Donaudampfschifffahrtsgesellschaftskapitaenswitwenrentenantragsformular " * 20,
        "\u6d77\u8fb9\u7684\u4e00\u5929" * 500,
        base64.b64encode(hashlib.sha512(b"x").digest()).decode() + " " + hashlib.sha512(b"y").hexdigest(),
        b"ASCII\0\0\0steps: 20, sampler: Euler, seed: 12345 " * 60,
        "<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:li stEvt:instanceID='xmp.iid:0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9'/>"
        * 9
        + " " * 3000,
    ],
)
def test_words_numbers_and_padding_are_no_picture(words):
    assert not holds_picture(words)


def saved(kind, **options):
    buffer = io.BytesIO()
    PHOTO.save(buffer, format=kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("hidden", ["WEBP", "GIF", "JPEG"])
def test_a_preview_in_xmp_exif_text_and_comment_does_not_come_through_and_each_is_said(kind, hidden):
    preview = base64.b64encode(small(hidden)[:400]).decode()
    xmp = f"<x:xmpmeta><rdf:li my:preview='{preview}'/></x:xmpmeta>"
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "a camera"
    exif[ExifTags.Base.ImageDescription] = preview
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.UserComment: b"ASCII\0\0\0" + preview.encode()}
    options = {"exif": exif}
    if kind == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp)
        options["pnginfo"].add_text("preview", preview, zip=True)
    else:
        options["xmp"] = xmp.encode()
    if kind == "JPEG":
        options["comment"] = preview.encode()
    photo = open_photo(saved(kind, **options))
    again = encode(photo, photo.pixels)
    assert preview.encode()[:40] not in again and b"a camera" in again
    said = " ".join(photo.notes)
    assert "XMP dropped" in said and "ImageDescription" in said and "UserComment" in said
    assert kind != "PNG" or "'preview'" in said
    assert kind != "JPEG" or "comment was dropped" in said


def test_a_large_block_that_is_no_text_does_not_come_through():
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "a camera"
    secret = np.random.default_rng(2).integers(128, 256, LONGEST + 1).astype(np.uint8).tobytes()
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.UserComment: secret}
    photo = open_photo(saved("PNG", exif=exif))
    again = encode(photo, photo.pixels)
    assert secret[:40] not in again and b"a camera" in again and any("UserComment" in note for note in photo.notes)
