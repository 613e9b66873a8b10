"""Labeled Faces in the Wild: a root of photos and the pairs of its verification protocol."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from facesec_bench.data import Dataset, Skipped
from facesec_bench.data.assemble import Row, assemble
from facesec_bench.data.detection import YuNet
from facesec_bench.data.folder import require_folder
from facesec_bench.errors import DataError

_SUFFIXES = (".jpg", ".png", ".jpeg")


class ListedPair(NamedTuple):
    """A line of pairs.txt: two photos as (name, number), and the line's number in the file."""

    first: tuple[str, int]
    second: tuple[str, int]
    line: int


class LFW:
    """`root/<Name>/<Name>_0001.jpg` and pairs.txt -> Dataset with `pairs`; only photos that a pair names are read.

    Huang, Ramesh, Berg and Learned-Miller, "Labeled Faces in the Wild", University of Massachusetts, 2007.

    Args:
        root: the folder that holds one folder for each person.
        pairs: the list; a relative path is looked for under `root`.
        detector: finds the face. LFW centres the person meant, so `choose: central`.
    """

    def __init__(self, root: str, detector: YuNet, pairs: str = "pairs.txt") -> None:
        self.root = Path(root)
        self.detector = detector
        self.pairs = self.root / pairs  # an absolute path stays as it is

    def __call__(self) -> Dataset:
        """Read the photos of the listed pairs. A pair that lost a photo is reported as `pair_lost`.

        Raises:
            DataError: no root, no list, a line that is no pair, or no face.
        """
        require_folder(self.root)
        listed, note = read_pairs(self.pairs)
        photos = sorted({photo for pair in listed for photo in (pair.first, pair.second)})
        keys = {photo: _key(self.root, *photo) for photo in photos}
        dataset = assemble(
            "lfw",
            [Row(key, self.root / key, name) for (name, _), key in keys.items()],
            self.detector,
            source=str(self.root),
            licence="research use (LFW)",
            note=note,
        )
        return _with_pairs(dataset, listed, keys, self.pairs.name)


def read_pairs(path: Path) -> tuple[list[ListedPair], str]:
    """The pairs of an LFW list, and a note where the list is shorter or longer than its header says.

    The header is "folds<TAB>pairs" or "pairs" (of each kind); then "name i j" for one person and "name i other j" for
    two.

    Raises:
        DataError: no such file or a line of another form.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read as the list of pairs ({error}); set data.pairs to LFW's pairs.txt."
        ) from error
    header: list[int] = []
    pairs: list[ListedPair] = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if number == 1 and 0 < len(words) <= 2 and all(word.isdecimal() for word in words):
            header = [int(word) for word in words]
        elif words:
            pairs.append(_pair(words, number, path))
    if not pairs:
        raise DataError(f"{path} holds no pair; wanted lines such as 'name 1 2' or 'name 1 other 2'.")
    told = 2 * header[-1] * (header[0] if len(header) == 2 else 1) if header else len(pairs)
    return pairs, "" if told == len(pairs) else f"{path.name} holds {len(pairs)} pairs, its header says {told}."


def _pair(words: list[str], number: int, path: Path) -> ListedPair:
    if len(words) == 3 and words[1].isdecimal() and words[2].isdecimal():
        return ListedPair((words[0], int(words[1])), (words[0], int(words[2])), number)
    if len(words) == 4 and words[1].isdecimal() and words[3].isdecimal():
        return ListedPair((words[0], int(words[1])), (words[2], int(words[3])), number)
    raise DataError(f"{path}, line {number}: found {' '.join(words)!r}, wanted 'name i j' or 'name i other j'.")


def _key(root: Path, name: str, number: int) -> str:
    """The photo's path under the root, by the first suffix that exists; the usual one if none does (then missing)."""
    stem = f"{name}/{name}_{number:04d}"
    return next((stem + s for s in _SUFFIXES if (root / (stem + s)).exists()), stem + _SUFFIXES[0])


def _with_pairs(
    dataset: Dataset, listed: list[ListedPair], keys: dict[tuple[str, int], str], list_name: str
) -> Dataset:
    present = set(dataset.faces.keys)
    kept: list[tuple[str, str, bool]] = []
    lost: list[Skipped] = []
    for pair in listed:
        first, second = keys[pair.first], keys[pair.second]
        gone = sorted({first, second} - present)
        if gone:
            detail = f"{first} and {second}: no chip of {' or '.join(gone)}"
            lost.append(Skipped(f"{list_name}:{pair.line}", "pair_lost", detail, used=False))
        else:
            kept.append((first, second, pair.first[0] == pair.second[0]))
    if not kept:
        raise DataError(f"All {len(listed)} pairs of {list_name} lost a photo; the first: {lost[0].detail}.")
    digest = hashlib.sha256(f"{dataset.digest}{kept!r}".encode()).hexdigest()  # other pairs, other thresholds
    return replace(dataset, pairs=tuple(kept), skipped=dataset.skipped + tuple(lost), digest=digest)
