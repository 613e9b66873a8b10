"""Which runs a report is about: by experiment name, run id or folder."""

from __future__ import annotations

from pathlib import Path

from facesec_bench import runs
from facesec_bench.errors import DataError


def choose(runs_folder: Path, studies: list[str]) -> list[Path]:
    """The run folders meant by `studies`, oldest first.

    A name means every run of that experiment, but of finished runs only the newest of each fingerprint and seed, and an
    unfinished one only where no later run of the same fingerprint and seed is finished.

    Raises:
        DataError: if a word matches nothing; it lists the experiments that have runs.
    """
    runs.mark_interrupted(runs_folder)
    chosen: list[Path] = []
    for study in studies:
        direct = [p for p in (Path(study), runs_folder / study) if (p / "card.json").is_file()]
        found = direct[:1] or _newest(runs_folder, study)
        if not found:
            known = sorted({card.experiment for _, card in runs.find(runs_folder)})
            raise DataError(
                f"Found no run for {study!r} below {runs_folder}, wanted an experiment name "
                f"({', '.join(known) or 'none yet'}), a run id or a run folder. "
                "`facesec run experiment=quickstart` makes a first one."
            )
        chosen += [folder for folder in found if folder not in chosen]
    return chosen


def _newest(runs_folder: Path, experiment: str) -> list[Path]:
    latest: dict[tuple[str, int], tuple[Path, str]] = {}
    for folder, card in runs.find(runs_folder, experiment):  # oldest first
        key = (card.fingerprint, card.seed)
        if card.status == "finished" or latest.get(key, (folder, ""))[1] != "finished":
            latest[key] = (folder, card.status)
    return [folder for folder, _ in latest.values()]
