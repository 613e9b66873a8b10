"""FFHQ: public faces of people nobody names, to learn a prior from."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from facesec_bench.data import Dataset, Skipped
from facesec_bench.data.assemble import Row, assemble
from facesec_bench.data.detection import YuNet
from facesec_bench.data.folder import require_folder, walk
from facesec_bench.data.read import is_junk
from facesec_bench.data.sample import at_least_one, drawn
from facesec_bench.errors import DataError

SIZES = ("images1024x1024", "thumbnails128x128", "in-the-wild-images")
"""The folders of the published data set; each holds every picture once more."""


class FFHQ:
    """`root/00000/00000.png`, or pictures anywhere under the root -> Dataset with every picture a person of its own.

    For model inversion as the public part: a prior learns from it what faces look like. It names nobody, so no victim
    can be trained on it and no pair be formed. Any other folder of single faces serves as well.

    The same picture under two names is left out both times, as `assemble` does with every picture of two people.

    Karras, Laine and Aila, "A Style-Based Generator Architecture for Generative Adversarial Networks", CVPR 2019.

    Args:
        root: one of the data set's folders, such as thumbnails128x128.
        detector: finds the face. FFHQ centres the person meant, so `choose: central`.
        images: so many pictures drawn by seed; null for all. A chip takes 0.6 MB of memory.
        seed: of the draw.
        licence: of the pictures.

    Raises:
        ConfigError: a limit below 1.
    """

    def __init__(
        self,
        root: str,
        detector: YuNet,
        images: int | None = None,
        seed: int = 0,
        licence: str = "CC BY-NC-SA 4.0 (FFHQ); each picture also under its own",
    ) -> None:
        at_least_one(images=images)
        self.root, self.detector = Path(root), detector
        self.images, self.seed, self.licence = images, seed, licence

    def __call__(self) -> Dataset:
        """Read the pictures.

        Raises:
            DataError: no folder, several sizes of the data set in it, no picture, or no face.
        """
        require_folder(self.root)
        sizes = [name for name in SIZES if (self.root / name).is_dir()]
        if len(sizes) > 1:
            raise DataError(
                f"{self.root} holds {' and '.join(sizes)}, the same people several times; wanted one of them. Set "
                f"data.root to {self.root / sizes[0]}."
            )
        found = list(walk(self.root))
        keys = [entry for entry in found if not isinstance(entry, Skipped) and not is_junk(entry.split("/")[-1])]
        if not keys:
            raise DataError(f"{self.root} holds no file; wanted pictures such as 00000/00000.png. Set data.root.")
        chosen = drawn(keys, self.images, self.seed, "pictures")
        return assemble(
            "ffhq",
            [Row(key, self.root / key, str(PurePosixPath(key).with_suffix(""))) for key in chosen],
            self.detector,
            source=str(self.root),
            licence=self.licence,
            skipped=[entry for entry in found if isinstance(entry, Skipped)],
            note=f"{len(chosen)} of {len(keys)} files, by seed {self.seed}; every picture counts as a person.",
        )
