"""Who of CelebA is private and who is public: the lists of the inversion protocol, given or made.

The protocol that GMI (Zhang et al., CVPR 2020), KED-MI (Chen et al., ICCV 2021) and their successors share has 1000
private people with 27,018 photos to learn from and 3,009 for test, and 30,000 public photos of nobody among them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from facesec_bench.errors import DataError


class Listed(NamedTuple):
    """A photo's file name and whose it is; no person where the list does not say."""

    photo: str
    person: str

    @property
    def stem(self) -> str:
        """Which photo it is: lists of the protocol say 000001.png where CelebA says 000001.jpg."""
        return self.photo.rpartition(".")[0] or self.photo


@dataclass(frozen=True)
class Parts:
    """The lists.

    Attributes:
        private: photos of the private people, those for test left out where `test` names them.
        test: private photos nobody may learn from, as given by the user; empty where they are still to be dealt.
        public: photos that an attacker may have.
    """

    private: tuple[Listed, ...]
    test: tuple[Listed, ...]
    public: tuple[Listed, ...]


def read_list(path: Path, kind: str, what: str) -> tuple[Listed, ...]:
    """The lines `name.jpg label` of a list, or `name.jpg` alone.

    Args:
        kind: opens the person's name: "id" for identity_CelebA.txt, "class" for labels that a protocol gave anew. The
            number follows with zeros in front, so that sorted names keep the order of the labels.
        what: the setting and what the file is, for errors.

    Raises:
        DataError: no such file, no line, another form, or a photo listed twice.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); wanted {what}.") from error
    found: dict[str, Listed] = {}
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        if len(words) > 2 or "/" in words[0] or (len(words) == 2 and not words[1].isdecimal()):
            raise DataError(f"{path}, line {number}: found {line.strip()!r}, wanted 'name.jpg label' or 'name.jpg'.")
        entry = Listed(words[0], f"{kind}{int(words[1]):05d}" if len(words) == 2 else "")
        if entry.stem in found:
            raise DataError(f"{path}, line {number}: {words[0]} is listed twice; keep one line for each photo.")
        found[entry.stem] = entry
    if not found:
        raise DataError(f"{path} lists no photo; wanted {what}.")
    return tuple(found.values())


def most_photographed(listed: Sequence[Listed], pool: int) -> frozenset[str]:
    """The `pool` people with most photos in the list; of equals, those with the lower number.

    Raises:
        DataError: fewer people than that.
    """
    counts = Counter(entry.person for entry in listed)
    if len(counts) < pool:
        raise DataError(f"The list holds {len(counts)} identities, wanted {pool} private ones; lower data.pool.")
    return frozenset(sorted(counts, key=lambda person: (-counts[person], person))[:pool])


def arrange(
    truth: Sequence[Listed], pool: int, private: Sequence[Listed], test: Sequence[Listed], public: Sequence[Listed]
) -> Parts:
    """The three parts; each is as given, or made from identity_CelebA.txt where nothing was given.

    Photos are compared by file name without extension. With identity_CelebA.txt everybody bears the number that it
    gives, in given lists too: the name of a person does not depend on where the lists come from.

    Args:
        truth: identity_CelebA.txt; may be empty only where all the others are given.
        pool: how many people are private if `private` is not given.
        private, test: given together or not at all.

    Raises:
        DataError: a photo that `truth` does not list, labels that contradict it or are missing without it, or parts
            that overlap; see `refuse_overlap`.
    """
    person = {entry.stem: entry.person for entry in truth}
    if truth:
        _refuse_unknown({"train": private, "test": test, "public": public}, person)
        _refuse_labels((*private, *test), person)
    elif any(not entry.person for entry in (*private, *test)):
        raise DataError(
            "Found a line without label in data.train or data.test and no identity_CelebA.txt; wanted lines "
            "'name.jpg label', or that file in data.root."
        )
    private, test, public = (
        [entry._replace(person=person.get(entry.stem, entry.person)) for entry in entries]
        for entries in (private, test, public)
    )
    if not private:
        chosen = most_photographed(truth, pool)
        if shown := chosen & {entry.person for entry in public}:
            raise _overlap("the people with most photos, who are private,", "the public list", shown, "lists")
        private = [entry for entry in truth if entry.person in chosen]
    if not public:
        known = {entry.person for entry in (*private, *test)}
        public = [entry for entry in truth if entry.person not in known]
    parts = Parts(tuple(private), tuple(test), tuple(public))
    refuse_overlap(parts)
    return parts


def refuse_overlap(parts: Parts) -> None:
    """Raise DataError where a photo is in two lists, a private person is public too, or a test person is not private.

    Without identity_CelebA.txt people are compared by the labels of the lists, as far as these say.
    """
    lists = {"train": parts.private, "test": parts.test, "public": parts.public}
    photos = {name: {entry.stem: entry.photo for entry in entries} for name, entries in lists.items()}
    for one, other in (("train", "test"), ("train", "public"), ("test", "public")):
        if both := {photos[one][stem] for stem in photos[one].keys() & photos[other].keys()}:
            raise _overlap(f"the list {one}", f"the list {other}", both, "photos")
    strangers = {entry.person for entry in parts.test} - {entry.person for entry in parts.private}
    if strangers:
        raise DataError(f"{min(strangers)} is in the list test and not in train: nobody could recognise that person.")
    private = {entry.person for entry in (*parts.private, *parts.test)}
    public = {entry.person for entry in parts.public} - {""}
    if private & public:
        raise _overlap("the private part", "the public part", private & public, "people")


def _refuse_unknown(lists: Mapping[str, Sequence[Listed]], person: Mapping[str, str]) -> None:
    """Raise DataError for a listed photo of nobody known: whether it shows somebody private could not be told."""
    for name, entries in lists.items():
        unknown = sorted(entry.photo for entry in entries if entry.stem not in person)
        if unknown:
            raise DataError(
                f"Found {len(unknown)} photos of data.{name} that identity_CelebA.txt does not list, such as "
                f"{unknown[0]}; wanted file names as in it, whatever their extension, to tell whom they show. Mend the "
                "list, or get the whole identity_CelebA.txt."
            )


def _refuse_labels(listed: Sequence[Listed], person: Mapping[str, str]) -> None:
    """Raise DataError where a label of train and test stands for two people, or a person has two labels."""
    number: dict[str, str] = {}
    label: dict[str, str] = {}
    for entry in listed:
        if not entry.person:
            continue
        found = person[entry.stem]
        if number.setdefault(entry.person, found) != found:
            said = f"label {entry.person} on photos of {number[entry.person]} and {found}"
        elif label.setdefault(found, entry.person) != entry.person:
            said = f"{found} under the labels {label[found]} and {entry.person}"
        else:
            continue
        raise DataError(
            f"Found {said} ({entry.photo}) in data.train and data.test, by identity_CelebA.txt; wanted one label to a "
            "person. The lists and that file may count photos differently, or a line is wrong: mend the lists."
        )


def _overlap(one: str, other: str, both: set[str] | frozenset[str], what: str) -> DataError:
    return DataError(
        f"Found {len(both)} {what} both in {one} and in {other}, such as {min(both)}; wanted none, as who is private "
        "is not public. Mend the lists, or leave them out to have them made from identity_CelebA.txt."
    )
