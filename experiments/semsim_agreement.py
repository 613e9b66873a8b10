"""How well SemSim and other measures agree with people, on recoveries of photos that SemSim never learned from."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from experiments.semsim_answers import Answer, Pictures, picture
from facesec_bench.errors import DataError
from facesec_bench.files import write_atomically
from facesec_bench.metrics import quality
from facesec_bench.metrics.rank_correlation import Agreement, agreement
from facesec_bench.perception.semsim import SemSim
from facesec_bench.progress import track

Distance = Callable[[Tensor, Tensor], Tensor]
LESS_LEAKS_MORE = ("semsim", "mse", "lpips")
"""Measures of which less means that more leaks. Their sign is turned: 1 is perfect agreement for every measure."""


@dataclass(frozen=True)
class Comparison:
    """What came out.

    Attributes:
        agreements: unit ("reconstruction", and "group" where there are several) -> measure -> correlations with the
            share of people who recognised. Of groups, means are correlated, as the paper does with attacked models.
        recoveries: how many were compared.
        left_out: how many were not, as SemSim had learned from their originals.
        weights: digest of SemSim's.
    """

    agreements: dict[str, dict[str, Agreement]]
    recoveries: int
    left_out: int
    weights: str

    def write(self, path: Path) -> None:
        """As JSON; NaN as null."""
        rows = {
            unit: {
                measure: {name: _plain(score) for name, score in found._asdict().items()}
                for measure, found in m.items()
            }
            for unit, m in self.agreements.items()
        }
        about = {"recoveries": self.recoveries, "left_out": self.left_out, "weights": self.weights, "agreement": rows}
        write_atomically(path, (json.dumps(about, indent=1, allow_nan=False) + "\n").encode())


def compare(
    answers: Pictures, semsim: SemSim, *, lpips: Distance | None = None, seed: int = 0, resamples: int = 1000
) -> Comparison:
    """Correlate each measure with people's answers.

    Recoveries of originals that SemSim learned from are left out and counted: on those it would be judged on its own
    lesson. All measures are taken of the same recoveries; n tells where PSNR, which an exact copy has not, lost one.

    Args:
        lpips: the distance of that name; None leaves it out.

    Raises:
        DataError: no recovery is left, or one differs in size from its original.
    """
    taught = set(semsim.record["taught"])
    judged = [a for a, original in zip(answers.answers, answers.originals, strict=True) if original not in taught]
    if not judged:
        raise DataError(
            f"SemSim learned from the originals of all {len(answers.answers)} recoveries; give answers on other "
            "photos, or train with --held-out above 0."
        )
    originals = [o for o in answers.originals if o not in taught]
    table = measured(judged, semsim, lpips)
    share = np.array([answer.share for answer in judged])
    found = {"reconstruction": _agreements(table, share, originals, seed, resamples)}
    groups = sorted({answer.group for answer in judged})
    if len(groups) > 1:
        member = np.array([groups.index(answer.group) for answer in judged])
        means = {name: _means(values, member, len(groups)) for name, values in table.items()}
        found["group"] = _agreements(means, _means(share, member, len(groups)), groups, seed, resamples)
    return Comparison(found, len(judged), len(answers.answers) - len(judged), semsim.digest)


@torch.no_grad()
def measured(answers: Sequence[Answer], semsim: SemSim, lpips: Distance | None) -> dict[str, npt.NDArray[np.float64]]:
    """Measure -> (N,), as it is: distances low where much leaks.

    PSNR is NaN for an exact copy, as everywhere in this project; MSE orders the same recoveries with it.
    """
    rows: list[dict[str, float]] = []
    for answer in track(answers, "Measuring", total=len(answers)):
        a, b = (picture(path)[None] for path in (answer.original, answer.reconstruction))
        if a.shape != b.shape:
            raise DataError(
                f"{answer.reconstruction} is {b.shape[-1]}x{b.shape[-2]} pixels, its original {a.shape[-1]}x"
                f"{a.shape[-2]}; wanted one size, as PSNR and SSIM compare pixels. Resize one of them."
            )
        row = {
            "semsim": float(semsim(a, b)),
            "psnr": float(quality.psnr(b.numpy(), a.numpy())[0]),
            "ssim": float(quality.ssim(b.numpy(), a.numpy())[0]),
            "mse": float(((a.double() - b.double()) ** 2).mean()),
        }
        rows.append(row if lpips is None else {**row, "lpips": float(lpips(a, b))})
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _agreements(
    table: dict[str, npt.NDArray[np.float64]],
    share: npt.NDArray[np.float64],
    clusters: Sequence[str],
    seed: int,
    resamples: int,
) -> dict[str, Agreement]:
    return {
        name: agreement(-values if name in LESS_LEAKS_MORE else values, share, list(clusters), seed, resamples)
        for name, values in table.items()
    }


def _means(values: npt.NDArray[np.float64], member: npt.NDArray[np.int64], groups: int) -> npt.NDArray[np.float64]:
    """Mean of each group; NaN rows are left out, and a group of nothing else is NaN."""
    known = ~np.isnan(values)
    counts = np.bincount(member[known], minlength=groups)
    sums = np.bincount(member[known], weights=values[known], minlength=groups)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _plain(score: Any) -> dict[str, float | int | None]:
    return {name: None if value != value else value for name, value in score._asdict().items()}
