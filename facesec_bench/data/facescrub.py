"""FaceScrub: people of film, for victims or as public photos from another source than the victim's."""

from __future__ import annotations

from pathlib import Path

from facesec_bench.data import Dataset, Skipped
from facesec_bench.data.assemble import Row, assemble
from facesec_bench.data.detection import YuNet
from facesec_bench.data.folder import require_folder, walk
from facesec_bench.data.sample import at_least_one, sampled
from facesec_bench.errors import DataError

KINDS = ("actors", "actresses")


class FaceScrub:
    """`root/actors/<name>/*.jpg` and `root/actresses/<name>/*.jpg`, or `root/<name>/*.jpg` -> Dataset.

    For model inversion, on either side: many photos a person, so victims can be trained on them; or, beside a victim
    trained on CelebA, public photos of another source. The data sets are of well-known people, so some are in both:
    CelebA has numbers for them, so nothing here tells, and a cross-domain study must say so. Against a data set with
    names, such as LFW, a study compares them.

    Where a folder of the list's usual download holds `faces` and `images`, `faces` is read: the whole pictures show
    other people too.

    Ng and Winkler, "A data-driven approach to cleaning large face datasets", ICIP 2014.

    Args:
        root: the folder.
        detector: finds the face. The cut faces show one person, so `choose: central`.
        identities: so many people drawn by seed; null for all.
        per_identity: so many photos of each drawn by seed; null for all.
        seed: of those draws.

    Raises:
        ConfigError: a limit below 1.
    """

    def __init__(
        self,
        root: str,
        detector: YuNet,
        identities: int | None = None,
        per_identity: int | None = None,
        seed: int = 0,
    ) -> None:
        at_least_one(identities=identities, per_identity=per_identity)
        self.root, self.detector = Path(root), detector
        self.identities, self.per_identity, self.seed = identities, per_identity, seed

    def __call__(self) -> Dataset:
        """Read the photos.

        Raises:
            DataError: no folder, no folder of a person in it, or no face.
        """
        require_folder(self.root)
        rows: list[Row] = []
        skipped: list[Skipped] = []
        for home in homes(self.root):
            for found in _under(self.root, home):
                if isinstance(found, Skipped):
                    skipped.append(found)
                else:
                    rows.append(found)
        if not rows:
            held = ", ".join(sorted(path.name for path in self.root.iterdir())[:8]) or "nothing"
            raise DataError(
                f"{self.root} holds {held} and no photo of a person; wanted actors/<name>/*.jpg and "
                "actresses/<name>/*.jpg, or <name>/*.jpg. Set data.root to the folder above them."
            )
        chosen = sampled(rows, self.identities, self.per_identity, self.seed)
        people = len({row.identity for row in rows})
        return assemble(
            "facescrub",
            chosen,
            self.detector,
            source=str(self.root),
            licence="research use (FaceScrub); the pictures are their owners'",
            skipped=skipped,
            note=f"{len(chosen)} of {len(rows)} photos of {people} people, by seed {self.seed}.",
        )


def homes(root: Path) -> list[str]:
    """The folders that hold one folder for each person, relative to the root; "" is the root itself."""
    kinds = [kind for kind in KINDS if (root / kind).is_dir()]
    return [f"{kind}/faces" if (root / kind / "faces").is_dir() else kind for kind in kinds] or [""]


def _under(root: Path, home: str) -> list[Row | Skipped]:
    """Every photo of every person in one home, with keys relative to the root."""
    found: list[Row | Skipped] = []
    for entry in walk(root / home):
        if isinstance(entry, Skipped):
            found.append(entry._replace(path="/".join(filter(None, (home, entry.path)))))
            continue
        key = f"{home}/{entry}" if home else entry
        person, slash, _ = entry.partition("/")
        if slash:
            found.append(Row(key, root / key, person))
        else:
            found.append(Skipped(key, "above_identity", "lies above the folders of the people", used=False))
    return found
