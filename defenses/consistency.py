"""The consistency check: does a photo still look like itself once it is marked? (derived here; no paper)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import Tensor

from facesec_bench.errors import CalibrationError, ConfigError


@dataclass(frozen=True)
class Consistency:
    """Flags a photo whose marking changes what the recogniser sees.

    The statistic of a pair (upload, marked upload) is the cosine of its two embeddings under the recogniser that is to
    be protected; marking a clean photo leaves it close to 1, an adversarial watermark lives by moving it. The system
    must keep the upload, or mark it itself: from a marked photo alone nothing can be compared. It works on
    similarities, so that a caller embeds every photo once. One fitted detector serves one recogniser and one
    watermarker.

    Attributes:
        false_alarm: greatest expected share of clean photos that are flagged, in (0, 1).
        threshold: a pair below it is flagged; None until `fit`.

    Raises:
        ConfigError: a false-alarm rate outside (0, 1).
    """

    false_alarm: float = 0.05
    threshold: float | None = None
    name: str = "consistency"

    def __post_init__(self) -> None:
        if not 0 < self.false_alarm < 1:
            raise ConfigError(f"consistency: found false_alarm {self.false_alarm}, wanted above 0 and below 1.")

    @property
    def least_pairs(self) -> int:
        """How many clean pairs a fit needs: with fewer, no threshold keeps the false-alarm rate."""
        return math.ceil(1 / self.false_alarm - 1 - 1e-9)

    def fit(self, clean_similarities: Tensor) -> Consistency:
        """The detector with its threshold chosen on clean pairs; this one is left as it was.

        The threshold is the k-th smallest of the n similarities, k the largest whole number with k / (n + 1) at most
        `false_alarm`. A new clean pair, exchangeable with these, is flagged with probability at most that, in
        expectation over the draw of the pairs, whatever their distribution (the argument of split conformal
        prediction, Vovk et al., 2005). A plain quantile would flag more than it states when n is small. Equal values
        are not flagged.

        Args:
            clean_similarities: (n,) cosines of (x, E(x)) for clean photos that are not judged, best of other people.

        Raises:
            CalibrationError: fewer pairs than `least_pairs`, another shape, or a value that is not finite.
        """
        if clean_similarities.ndim != 1 or not bool(clean_similarities.isfinite().all()):
            raise CalibrationError(
                f"consistency: found similarities {tuple(clean_similarities.shape)}, wanted (n,) finite numbers."
            )
        n = len(clean_similarities)
        k = math.floor(self.false_alarm * (n + 1) + 1e-9)
        if k < 1:
            raise CalibrationError(
                f"consistency: found {n} clean pairs, wanted {self.least_pairs} or more for a false-alarm rate of "
                f"{self.false_alarm:g}; give more clean photos or a larger rate."
            )
        return replace(self, threshold=float(clean_similarities.sort().values[k - 1]))

    def flags(self, similarities: Tensor) -> Tensor:
        """(B,) cosines of (upload, marked upload) -> (B,) bool, true where the photo is flagged.

        A similarity that is not a number counts as flagged.

        Raises:
            CalibrationError: the detector was not fitted.
        """
        return ~(similarities >= self._fitted())

    def _fitted(self) -> float:
        if self.threshold is None:
            raise CalibrationError(
                "consistency: found no threshold, wanted a fitted detector; use the one that fit(clean_similarities) "
                "returns, one for each recogniser."
            )
        return self.threshold
