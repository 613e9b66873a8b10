"""The report of an inversion study that ran: what the recipe writes is what the sections read; toys only."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from attacks.inversion_baselines import BestOfRandom, MeanFace
from attacks.inversion_priors import PixelPrior
from conftest import made_up_faces
from experiments.inversion import inversion
from experiments.inversion_plan import Design
from experiments.inversion_victims import HeadPlan
from facesec_bench.closed_set_training import Schooling, teach
from facesec_bench.data import Dataset
from facesec_bench.errors import FacesecError
from facesec_bench.protocols.calibration import CalibrationStore
from facesec_bench.records import RunCard, read_scores
from facesec_bench.reporting import ReportFiles, build, text_summary
from facesec_bench.runs import Run
from facesec_bench.targets.toy import ToyTarget

PEOPLE = 6


@dataclass
class Thief:
    """Has a private photo of everybody, and gives it back for one query."""

    photos: torch.Tensor
    asks: str = "any"
    broken: bool = False

    @property
    def level(self) -> dict[str, str]:
        return {"classifier": "hard_label", "embedding": "similarity"}

    def __call__(self, people: torch.Tensor, victim: Any, public: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        if self.broken:
            raise FacesecError("found no luck")
        chips = self.photos[people]
        victim.labels(chips) if hasattr(victim, "labels") else victim.similarity(chips, people)
        return chips


def _hardened(network: Any, faces: Any, how: Any, rng: Any) -> Any:
    teach(network, faces, how, rng)
    return network


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    private = Dataset("made up", made_up_faces(PEOPLE, 4, 0, size=224), (), "0", "none", {})
    others = made_up_faces(PEOPLE, 4, 7, size=224)
    public = Dataset("others", replace(others, names=tuple(f"other {i}" for i in range(PEOPLE))), (), "7", "none", {})
    photos = torch.stack([private.faces.images[(private.faces.identities == i).nonzero()[0, 0]] for i in range(PEOPLE)])
    looks: Iterator[int] = iter(range(10**6))
    detector = SimpleNamespace(find=lambda _: [SimpleNamespace(score=0.9)] if next(looks) % 2 else [])
    card = RunCard("toy-run", "inversion", "finished", 0, {"hardening": {"plain": {}}}, "f", "2026")
    card.data |= {"name": "made up", "digest": "0", "n_images": 24, "n_identities": PEOPLE}
    card.methods = {"head": {"title": "A head", "config": {"recogniser": "a"}}}
    design = Design(far=0.1, fars=(0.1,), evaluators=("b", "a"), samples=2, least_victim=0.0, recover=("a",),
                    harden=("head",), filter=("head",), examples=1)  # fmt: skip
    outcome = inversion(
        Run(folder, card),
        private,
        {"a": ToyTarget(0, "a"), "b": ToyTarget(1, "b")},
        {"thief": Thief(photos), "failing": Thief(photos, "classifier", broken=True), "mean_face": MeanFace(),
         "best_of_random": BestOfRandom(PixelPrior(side=8), 6)},
        {"head": HeadPlan("a", schooling=Schooling(steps=30, batch=12, learning_rate=0.05))},
        {"plain": _hardened},
        {"rounded": lambda logits: logits.round()},
        {"copied": lambda target, public, rng: target},
        public=lambda: public,
        detector=detector,  # type: ignore[arg-type]
        design=design,
        store=CalibrationStore(folder / "calibrations"),
        batch_size=12,
    )  # fmt: skip
    outcome.write(folder)
    card.write(folder)
    return folder


@pytest.fixture(scope="module")
def files(run: Path, tmp_path_factory: pytest.TempPathFactory) -> ReportFiles:
    return build([run], tmp_path_factory.mktemp("report"), "Toys")


def _rows(files: ReportFiles, slug: str) -> list[dict[str, str]]:
    (path,) = [p for p in files.csv if p.stem == slug]
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_what_the_recipe_writes_is_what_the_tables_read(files: ReportFiles, run: Path) -> None:
    scores = read_scores(run / "scores.json")
    for victim in ("head", "a"):
        rows = {r["Attack"].partition(" ")[0]: r for r in _rows(files, f"inversion-from-{victim}")}
        assert list(rows)[:3] == ["best_of_random", "mean_face", "thief"]
        for column, measure in (("Top-1", "top1"), ("Face score", "plausibility"), ("Queries", "queries")):
            assert float(rows["thief"][column]) == scores[f"{measure}/thief/{victim}"].value
    assert _rows(files, "inversion-from-head")[3]["Attack"] == "failing found no luck"
    assert next(r["group"] for r in _rows(files, "inversion-accepted-classifiers-attacked")) == "from head, shown to a"
    assert {r["group"] for r in _rows(files, "inversion-accepted-embeddings-unseen")} == {
        "from a, shown to b (the judge)"
    }


def test_every_defence_of_the_run_is_called(files: ReportFiles) -> None:
    found = {(r["Defence"], r["Attack"].partition(" ")[0]): r["Called"] for x in ("head", "a")
             for r in _rows(files, f"inversion-defences-{x}")}  # fmt: skip
    assert found["plain", "thief"] == "not shown to lower, at equal utility"
    assert found["rounded", "thief"].endswith("at equal utility") and ("copied", "thief") in found
    assert found["plain", "failing"] == "–" and ("plain", "mean_face") not in found


def test_the_page_and_the_terminal_tell_the_same_victims(files: ReportFiles, run: Path) -> None:
    page, text = files.html.read_text(encoding="utf-8"), text_summary(run)
    assert "2 inversions of head and a, with" in page and "Photos side by side" not in page
    assert "Recovered from head (6 people), judged by b: thief, the one inversion, shows the person in 100%" in page
    assert "not kept" not in page and page.count('alt="Private photo') == 5  # two victims and three defended ones
    assert all(name in text for name in ("head_plain", "head_rounded", "a_copied", "failing"))
