"""The 2x2 table of an attack that waits for a watermark: perturbed or not, marked or not.

Cells, in the order used everywhere: clean x, perturbed x + delta, watermarked E(x, m), both E(x + delta, m). Each cell
holds the verdict (1 accepted, 0 rejected) on the same N trials. An attack activated by the watermark loses little in
either margin and much in the corner, so the headline is what the corner loses beyond the sum of the margins.

Derived from the abstract of Yao, Jain and Liu, "Adversarial Watermarking for Face Recognition" (arXiv 2409.16056,
2024), which says that either alone has a negligible effect; the paper's own measures are not known to us.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

CELLS = ("clean", "perturbed", "watermarked", "both")
"""The four cells, in order."""


class Drops(NamedTuple):
    """What each cell loses against the clean one, (N,) each, in {-1, 0, 1}."""

    perturbed: Array
    watermarked: Array
    both: Array


def drops(clean: npt.ArrayLike, perturbed: npt.ArrayLike, watermarked: npt.ArrayLike, both: npt.ArrayLike) -> Drops:
    """Accepted when clean minus accepted in each other cell, trial by trial.

    Args:
        clean, perturbed, watermarked, both: (N,) verdicts, 0 or 1, on the same trials.

    Raises:
        ValueError: verdicts other than 0 and 1, or cells of different lengths.
    """
    a00, a10, a01, a11 = _verdicts(clean, perturbed, watermarked, both)
    return Drops(a00 - a10, a00 - a01, a00 - a11)


def interaction(
    clean: npt.ArrayLike, perturbed: npt.ArrayLike, watermarked: npt.ArrayLike, both: npt.ArrayLike
) -> Array:
    """What both together lose beyond the sum of what each loses alone, (N,), in {-2, ..., 2}.

    (a00 - a11) - (a00 - a10) - (a00 - a01) = a10 + a01 - a00 - a11: the interaction contrast of a 2x2 factorial
    design. 1 where a trial is accepted in all cells but the last; 0 where perturbation and mark act apart.

    Raises:
        ValueError: as `drops`.
    """
    lost = drops(clean, perturbed, watermarked, both)
    return lost.both - lost.perturbed - lost.watermarked


def activation_success(
    clean: npt.ArrayLike, perturbed: npt.ArrayLike, watermarked: npt.ArrayLike, both: npt.ArrayLike
) -> Array:
    """Where all but the last cell accept: 1 if the last one rejects, else 0; NaN where the trial does not count, (N,).

    For an attacker who wants to be accepted, give rejections (1 - verdict) in all four cells.

    Raises:
        ValueError: as `drops`.
    """
    a00, a10, a01, a11 = _verdicts(clean, perturbed, watermarked, both)
    return np.where(a00 * a10 * a01 == 1.0, 1.0 - a11, np.nan)


def _verdicts(*cells: npt.ArrayLike) -> tuple[Array, ...]:
    found = tuple(np.asarray(cell, dtype=np.float64) for cell in cells)
    shapes = [cell.shape for cell in found]
    if found[0].ndim != 1 or len(set(shapes)) != 1:
        raise ValueError(f"The four cells want (N,) verdicts on the same N trials; found {shapes}.")
    for name, cell in zip(CELLS, found, strict=True):
        if not np.isin(cell, (0.0, 1.0)).all():
            raise ValueError(f"Cell {name!r} wants verdicts of 0 or 1; found {cell[~np.isin(cell, (0.0, 1.0))][0]}.")
    return found
