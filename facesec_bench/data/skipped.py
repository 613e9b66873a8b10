"""skipped.csv: every input that gave no face, or gave one only after a repair, by a named reason."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from facesec_bench.data import Skipped

LEFT_OUT: dict[str, str] = {
    "above_identity": "lies above the folder level that names the identity",
    "bad_row": "a row of the list that cannot be read",
    "broken_symlink": "a link to nothing",
    "corrupt": "opens as an image but cannot be decoded",
    "duplicate": "the same content as another photo, of this identity or of another",
    "empty_file": "zero bytes",
    "face_too_small": "every face found is smaller than min_face_px",
    "folder_seen": "a link to a folder that was already read (or to its own parent)",
    "hidden_folder": "a folder whose name begins with a dot, or __MACOSX",
    "missing": "named in the list but not there",
    "no_face": "no face found above score_threshold",
    "not_a_file": "a pipe, socket or device",
    "not_image": "not an image file",
    "outside_root": "named in the list but not under the root",
    "pair_lost": "a listed pair of which a photo was left out",
    "too_large": "more pixels or bytes than the limit (decompression bomb)",
    "too_small": "fewer pixels a side than can hold a face",
    "truncated": "the file ends before the image does",
    "unreadable": "the system refused to read it (permissions, disk)",
    "unsupported": "an image in a format or pixel type that is not read",
}
"""Reasons for which an input is left out (`used` is False), and what each means."""

REPAIRED: dict[str, str] = {
    "alpha": "transparency laid on white",
    "animated": "several frames; the first was used",
    "cmyk": "converted from CMYK to RGB",
    "colour_space": "converted from another colour space (YCbCr, Lab, HSV) to RGB",
    "exif_rotated": "turned upright as its EXIF orientation says",
    "exif_unreadable": "broken EXIF; used as stored",
    "grey": "one channel, repeated three times",
    "palette": "palette looked up",
    "several_faces": "more than one face; one was chosen",
    "sixteen_bit": "scaled from 16 to 8 bits a channel",
}
"""Reasons for which an input is remarked upon but used (`used` is True), and what each means."""


def write_skipped(path: Path, skipped: Iterable[Skipped]) -> None:
    """Write skipped.csv (columns path, reason, detail, used); a file with a header alone means nothing was skipped.

    File names need not be valid UTF-8: undecodable bytes are written as backslash escapes.
    """
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(Skipped._fields)
        for row in skipped:
            writer.writerow([row.path, row.reason, row.detail, str(row.used).lower()])


def count_by_reason(skipped: Iterable[Skipped]) -> dict[str, int]:
    """How many inputs bear each reason, left out and repaired alike; sorted by reason."""
    return dict(sorted(Counter(row.reason for row in skipped).items()))
