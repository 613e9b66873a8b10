"""A photo comes out of `photo_file` as it went in, or not at all; no copy of the unprotected face hides in it."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, ImageOps, JpegImagePlugin, PngImagePlugin

from facesec_bench.data.hidden_picture import shows_picture
from facesec_bench.data.photo_file import encode, open_photo
from facesec_bench.data.read import LeftOut, decode

RNG = np.random.default_rng(0)
RGB = np.kron(RNG.integers(0, 256, (5, 7, 3)), np.ones((8, 8, 1))).astype(np.uint8)  # 40 x 56, flat 8 x 8 blocks
ALPHA = np.linspace(0, 255, 40 * 56).reshape(40, 56).astype(np.uint8)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PREVIEW = b"\xff\xd8\xff\xe0 a small picture of the face"


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def opened(content):
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def exif_with(**more):
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "a camera"
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.DateTimeOriginal: "2024:01:02 03:04:05"}
    exif[ExifTags.IFD.GPSInfo] = {1: "N", 2: (52.0, 30.0, 0.0)}
    for name, value in more.items():
        exif[getattr(ExifTags.Base, name)] = value
    return exif


def with_thumbnail(exif):
    """An EXIF block with a second directory that holds a JPEG, written by hand as Pillow writes none (TIFF 6.0)."""
    block = bytearray(exif.tobytes()[6:])  # less b"Exif\0\0"; little- or big-endian by its first letters
    end = "<" if block[:2] == b"II" else ">"
    first = struct.unpack_from(end + "I", block, 4)[0]
    count = struct.unpack_from(end + "H", block, first)[0]
    struct.pack_into(end + "I", block, first + 2 + 12 * count, len(block))
    start = len(block) + 2 + 3 * 12 + 4
    entries = [(0x0103, 3, 1, 6), (0x0201, 4, 1, start), (0x0202, 4, 1, len(PREVIEW))]
    block += struct.pack(end + "H", 3)
    for tag, kind, number, value in entries:
        block += struct.pack(end + "HHI", tag, kind, number)
        block += struct.pack(end + ("HH" if kind == 3 else "I"), *((value, 0) if kind == 3 else (value,)))
    return b"Exif\0\0" + bytes(block + struct.pack(end + "I", 0) + PREVIEW)


def changed(pixels):
    """One block of the photo made darker."""
    result = pixels.copy()
    result[8:16, 8:16] = result[8:16, 8:16] // 2
    return result


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(RGB),
        Image.fromarray(np.dstack([RGB, ALPHA])),
        Image.fromarray(RGB[:, :, 0]),
        Image.merge("LA", (Image.fromarray(RGB[:, :, 0]), Image.fromarray(ALPHA))),
    ],
    ids=lambda image: image.mode,
)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_unchanged_png_keeps_mode_and_every_stored_value(image, orientation):
    exif = exif_with(Orientation=orientation)
    photo = open_photo(saved(image, "PNG", exif=exif))
    again = opened(encode(photo, photo.pixels))
    assert again.mode == image.mode and again.getexif()[ExifTags.Base.Orientation] == orientation
    assert np.array_equal(np.asarray(again), np.asarray(image))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("exif", ["keep", "drop"])
def test_a_change_shows_the_same_way_up_with_and_without_exif(orientation, exif):
    photo = open_photo(saved(Image.fromarray(RGB), "PNG", exif=exif_with(Orientation=orientation)))
    wanted = changed(photo.pixels)
    content = encode(photo, wanted, exif=exif)
    assert np.array_equal(decode(content).pixels, wanted)
    assert (ExifTags.Base.Orientation in opened(content).getexif()) == (exif == "keep")


def test_pixels_beneath_full_transparency_are_kept_and_the_others_change():
    raw = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])
    raw[:, :12, 3] = 0
    photo = open_photo(saved(Image.fromarray(raw), "PNG"))
    again = np.asarray(opened(encode(photo, changed(photo.pixels))))
    assert np.array_equal(again[:, :12], raw[:, :12]) and np.array_equal(again[:, :, 3], raw[:, :, 3])
    assert np.array_equal(again[8:16, 12:16, :3], RGB[8:16, 12:16] // 2)


def test_a_grey_photo_gets_the_luminance_of_a_coloured_change():
    photo = open_photo(saved(Image.fromarray(np.full((32, 32), 100, np.uint8)), "PNG"))
    coloured = photo.pixels.copy()
    coloured[4, 4] = (200, 100, 100)
    again = np.asarray(opened(encode(photo, coloured)))
    assert again.shape == (32, 32) and again[4, 4] == round(100 + 0.299 * 100)
    again = again.copy()
    again[4, 4] = 100
    assert (again == 100).all()


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_stays_jpeg_with_its_subsampling_at_the_quality_asked_for(subsampling, progressive):
    image = Image.fromarray(RGB)
    content = saved(image, "JPEG", quality=80, subsampling=subsampling, progressive=progressive, comment=b"hello")
    photo = open_photo(content)
    again = opened(encode(photo, photo.pixels, quality=90))
    assert again.format == "JPEG" and JpegImagePlugin.get_sampling(again) == subsampling
    assert ("progressive" in again.info) == progressive and again.info["comment"] == b"hello"
    assert again.quantization == opened(saved(image, "JPEG", quality=90)).quantization
    assert open_photo(saved(image.convert("L"), "JPEG")).grey


@pytest.mark.parametrize("lossless", [False, True])
def test_webp_stays_lossless_or_lossy(lossless):
    photo = open_photo(saved(Image.fromarray(np.dstack([RGB, ALPHA])), "WEBP", lossless=lossless, exact=True))
    again = encode(photo, photo.pixels)
    assert (b"VP8L" in again) == lossless
    if lossless:
        assert np.array_equal(np.asarray(opened(again)), np.dstack([RGB, ALPHA]))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_metadata_is_kept_or_dropped_as_asked_and_the_profile_always_kept(kind):
    options = {"exif": exif_with(), "icc_profile": PROFILE}
    if kind == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_text("Author", "somebody")
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", "<x>somebody</x>")
    else:
        options["xmp"] = b"<x>somebody</x>"
    photo = open_photo(saved(Image.fromarray(RGB), kind, **options))
    kept, dropped = (encode(photo, photo.pixels, exif=how) for how in ("keep", "drop"))
    assert opened(kept).getexif().get_ifd(ExifTags.IFD.GPSInfo)[2] == (52.0, 30.0, 0.0)
    assert opened(kept).getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] == "2024:01:02 03:04:05"
    assert b"<x>somebody</x>" in kept
    assert not opened(dropped).getexif() and b"somebody" not in dropped and b"camera" not in dropped
    assert opened(kept).info["icc_profile"] == opened(dropped).info["icc_profile"] == PROFILE


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_whether_the_metadata_name_a_place_is_known(kind):
    xmp = b'<rdf:Description exif:GPSLatitude="52,30N"/>'
    image, nowhere = Image.fromarray(RGB), exif_with()
    del nowhere[ExifTags.IFD.GPSInfo]
    for options, located in (({"exif": exif_with()}, True), ({"exif": nowhere}, False), ({}, False)):
        assert open_photo(saved(image, kind, **options)).metadata.located == located
    if kind != "PNG":
        assert open_photo(saved(image, kind, xmp=xmp)).metadata.located


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_thumbnail_inside_the_exif_never_survives_and_this_is_said(kind):
    content = saved(Image.fromarray(RGB), kind, exif=with_thumbnail(exif_with()))
    assert opened(content).getexif().get_ifd(ExifTags.IFD.IFD1), "the test's own thumbnail must be readable"
    assert b"a small picture" in content
    photo = open_photo(content)
    again = encode(photo, photo.pixels)
    assert b"a small picture" not in again and not opened(again).getexif().get_ifd(ExifTags.IFD.IFD1)
    assert opened(again).getexif()[ExifTags.Base.Make] == "a camera"
    assert any("thumbnail" in note for note in photo.notes)


def test_previews_in_the_makers_note_xmp_and_text_never_survive():
    exif = exif_with()
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.MakerNote: b"x" * 20 + PREVIEW, ExifTags.Base.UserComment: PREVIEW}
    text = PngImagePlugin.PngInfo()
    text.add_text("preview", "/9j/4AAQ a small picture")
    text.add_text("Raw profile type exif", "a small picture")
    text.add_itxt("XML:com.adobe.xmp", "<xmpGImg:image>a small picture</xmpGImg:image>")
    photo = open_photo(saved(Image.fromarray(RGB), "PNG", exif=exif, pnginfo=text))
    assert b"a small picture" not in encode(photo, photo.pixels)
    assert len(photo.notes) == 5 and not shows_picture(photo.metadata.exif)


def test_pictures_behind_a_jpeg_are_dropped_and_this_is_said():
    first, second = Image.fromarray(RGB), Image.fromarray(RGB[::-1].copy())
    content = saved(first, "MPO", save_all=True, append_images=[second])
    photo = open_photo(content)
    assert opened(content).n_frames == 2 and photo.format == "JPEG"
    assert encode(photo, photo.pixels).count(b"\xff\xd8\xff") == 1
    assert any("behind the photo" in note for note in photo.notes)


def sixteen_bit_png():
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + bytes(32 * 6) for _ in range(32))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 32, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (saved(Image.fromarray(RGB).convert("CMYK"), "JPEG"), "CMYK"),
        (sixteen_bit_png(), "16 bits"),
        (saved(Image.fromarray(RGB[:, :, 0].astype(np.uint16) * 257), "PNG"), "16 bits"),
        (saved(Image.fromarray(RGB), "GIF", save_all=True, append_images=[Image.fromarray(RGB[::-1].copy())]), "frame"),
        (saved(Image.fromarray(RGB), "PNG", save_all=True, append_images=[Image.fromarray(RGB[::-1].copy())]), "frame"),
        (saved(Image.fromarray(RGB).convert("LAB"), "TIFF"), "colours"),
        (saved(Image.fromarray(RGB), "BMP"), "--format png"),
    ],
    ids=["cmyk", "16 bit RGB", "16 bit grey", "GIF", "APNG", "Lab", "BMP"],
)
def test_what_cannot_be_kept_is_refused_with_the_reason(content, words):
    with pytest.raises(LeftOut, match="unsupported") as refusal:
        open_photo(content)
    assert words in refusal.value.remark.detail


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "GIF", "JPEG", "PPM"])
def test_other_formats_become_png_when_asked(kind):
    image = Image.fromarray(RGB).quantize(16) if kind == "GIF" else Image.fromarray(RGB)
    content = saved(image, kind)
    photo = open_photo(content, "png")
    again = encode(photo, photo.pixels)
    assert again.startswith(b"\x89PNG") and np.array_equal(decode(again).pixels, decode(content).pixels)
    assert any("as asked" in note for note in photo.notes)


def test_a_palette_is_looked_up_without_loss_and_this_is_said():
    image = Image.fromarray(RGB).quantize(16)
    photo = open_photo(saved(image, "PNG", transparency=0))
    again = opened(encode(photo, photo.pixels))
    assert again.mode == "RGBA" and any("palette" in note for note in photo.notes)
    assert np.array_equal(np.asarray(again), np.asarray(opened(saved(image, "PNG", transparency=0)).convert("RGBA")))


def test_the_colours_of_a_png_keep_their_meaning():
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", struct.pack(">I", 45455))
    photo = open_photo(saved(Image.fromarray(RGB), "PNG", pnginfo=info, dpi=(300, 300)))
    again = opened(encode(photo, photo.pixels, exif="drop"))
    assert again.info["gamma"] == pytest.approx(0.45455) and again.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_broken_exif_costs_the_exif_not_the_photo():
    photo = open_photo(saved(Image.fromarray(RGB), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"))
    assert np.array_equal(decode(encode(photo, photo.pixels)).pixels, RGB)


def test_exif_transpose_of_pillow_agrees_with_what_is_undone_here():
    for orientation in range(2, 9):
        content = saved(Image.fromarray(RGB), "JPEG", quality=95, exif=exif_with(Orientation=orientation))
        photo = open_photo(content)
        shown = np.asarray(ImageOps.exif_transpose(opened(encode(photo, photo.pixels, quality=100))).convert("RGB"))
        assert np.abs(shown.astype(int) - photo.pixels).mean() < 10  # another way up differs by 60
