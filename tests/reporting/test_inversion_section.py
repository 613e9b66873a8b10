"""The report of an inversion study, on made-up scores: victims, accuracy, acceptance, queries, defences, pictures."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

import pytest
from fake_inversion import ATTACKS, PEOPLE, VICTIMS, rate, whole, write_inversion
from fake_run import write_run
from hypothesis import given
from hypothesis import strategies as st

from facesec_bench.records import RunCard, Score, read_scores, read_strips
from facesec_bench.reporting import ReportFiles, build, figures, text_summary
from facesec_bench.reporting.document import Photos, Table
from facesec_bench.reporting.grouping import read_study
from facesec_bench.reporting.keys import budget
from facesec_bench.reporting.sections import inversion_accuracy, inversion_headline, inversion_photos
from facesec_bench.reporting.sections.inversion import UPPER_BOUND
from facesec_bench.reporting.sections.inversion_defences import lowered, pairs, price
from facesec_bench.reporting.sections.inversion_rows import attempts, victims

SECTIONS = [
    "Inversion: who is attacked and who judges", "Faces recovered from classifiers", "Faces recovered from embeddings",
    "Recoveries against queries", "Defences against inversion", "Recovered faces",
]  # fmt: skip
OTHERS = {"White-box attacks", "Transfer between models", "Success against budget", "Image quality", "Cloaks",
          "Photos side by side", "Activation by the watermark"}  # fmt: skip
ENCODERS = ("sface", "dlib_resnet", "mobilefacenet")
FAILED = ["ked_mi on sface_head: found no weights, wanted dcgan.", "dp_sgd on small_cnn: found batch norm."]


def _rows(files: ReportFiles, slug: str) -> list[dict[str, str]]:
    (path,) = [p for p in files.csv if p.stem == slug]
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _titles(page: str) -> list[str]:
    return re.findall(r'<h2><span class="no">\d+</span>(.*?)</h2>', page)


def _headline(run: Path) -> str:
    return " ".join(cell.text for cell in inversion_headline.sentences(read_study([run], "")))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inversion(tmp_path_factory.mktemp("run"), failures=FAILED)


@pytest.fixture(scope="module")
def files(run: Path, tmp_path_factory: pytest.TempPathFactory) -> ReportFiles:
    return build([run], tmp_path_factory.mktemp("report"), "A fixture")


@pytest.fixture(scope="module")
def page(files: ReportFiles) -> str:
    return files.html.read_text(encoding="utf-8")


def test_a_run_of_inversions_shows_their_sections_in_order_and_no_other_study_s(page: str) -> None:
    titles = _titles(page)
    assert [t for t in titles if t in SECTIONS] == SECTIONS and not OTHERS & set(titles)


def test_a_run_without_inversions_shows_none_of_their_sections(tmp_path: Path) -> None:
    run = write_run(tmp_path, target_names=("sface",), method_names=("pgd",), examples=0)
    assert not set(SECTIONS) & set(_titles(build([run], tmp_path / "out", "t").html.read_text(encoding="utf-8")))
    assert inversion_headline.sentences(read_study([run], "")) == [] and "judge" not in text_summary(run)


def test_victims_stand_beside_their_judge_and_what_they_know(files: ReportFiles, page: str) -> None:
    rows = {(r["group"], r["Recogniser"]): r for r in _rows(files, "inversion-victims")}
    assert list(rows) == [("Attacked", "sface_head"), ("Attacked", "small_cnn"), ("Attacked", "dlib_resnet"),
                          ("Judges", "mobilefacenet")]  # fmt: skip
    assert rows["Attacked", "sface_head"]["What it is"] == "classifier uses sface"
    assert rows["Attacked", "small_cnn"]["What it is"] == "classifier"
    assert rows["Attacked", "dlib_resnet"]["What it is"].startswith("verifier")
    assert float(rows["Attacked", "sface_head"]["Right on held photos"]) == 0.93
    assert float(rows["Judges", "mobilefacenet"]["Right on held photos"]) == 0.98
    assert "dp_sgd on small_cnn could not be taught: found batch norm." in page
    assert "mean over all recoveries of all people" in page and "2.50% (1/40)" in page and UPPER_BOUND not in page


def test_one_generator_for_both_is_called_an_upper_bound(tmp_path: Path) -> None:
    page = build([write_inversion(tmp_path, one_generator=True)], tmp_path / "out", "t").markdown.read_text()
    assert "read these rates as an upper bound" in page and "do not come from one generator" not in page


def test_controls_come_first_then_the_attacks_in_the_order_of_the_card(files: ReportFiles) -> None:
    assert [r["Attack"].removesuffix(" found no weights, wanted dcgan.")
            for r in _rows(files, "inversion-from-sface_head")] == [
        "random_latent (control)", "best_of_random (control)", "mean_face (control)", "gmi", "ppa", "brep_mi",
        "ked_mi",
    ]  # fmt: skip


def test_a_control_may_be_named_by_its_card(tmp_path: Path) -> None:
    run = write_inversion(tmp_path)
    card = RunCard.read(run)
    card.methods["ppa"]["role"] = "control"
    card.write(run)
    found = {x.name for x in attempts(read_study([run], "")) if x.is_control}
    assert found == {"ppa", "random_latent", "best_of_random", "mean_face"}


def test_the_table_holds_the_scores_of_the_run_to_the_last_bit(files: ReportFiles, run: Path) -> None:
    scores = read_scores(run / "scores.json")
    row = next(r for r in _rows(files, "inversion-from-sface_head") if r["Attack"] == "ppa")
    columns = {"top1": "Top-1", "top5": "Top-5", "top1_plausible": "Top-1 and a face", "plausibility": "Face score",
               "nn_distance": "Distance ↓", "confidence": "Victim's confidence"}  # fmt: skip
    for measure, column in columns.items():
        assert [float(row[f"{column}{x}"]) for x in ("", " low", " high", " n")] == list(
            scores[f"{measure}/ppa/sface_head"]
        )
    assert [float(row[c]) for c in ("Queries", "Gradients", "Seconds")] == [950.0, 600.0, 1.2] and row["runs"] == "a"
    templates = _rows(files, "inversion-from-dlib_resnet")[0]
    assert "Victim's confidence" not in templates and "Top-1" in templates


def test_an_attack_that_failed_says_so_and_costs_the_others_nothing(files: ReportFiles, page: str) -> None:
    assert "found no weights, wanted dcgan." in page
    row = next(r for r in _rows(files, "inversion-from-sface_head") if r["Attack"].startswith("ked_mi"))
    assert row["Top-1"] == "" and row["Top-1 n"] == "0" and row["Queries"] == ""
    assert ">failed<" in page
    assert not any(r["Attack"].startswith("ked_mi") for r in _rows(files, "inversion-from-small_cnn"))


def test_the_best_is_bold_only_among_attacks_and_only_when_clear(tmp_path: Path) -> None:
    clear = write_inversion(tmp_path, "clear")
    tight = write_inversion(tmp_path, "tight", scores={"top1/gmi/sface_head": rate(0.75)})
    control = write_inversion(tmp_path, "control", scores={"top1/best_of_random/sface_head": rate(0.99, 0.01)})
    found = {}
    for run in (clear, tight, control):
        text = build([run], tmp_path / f"out {run.name}", "t").markdown.read_text(encoding="utf-8")
        table = text[text.index("**Recovered from sface\\_head") : text.index("**Recovered from small")]
        found[run.name] = re.findall(r"\| (\w[\w\\() ]*?) \| (\*\*)?([\d.]+%)", table)
    bold = {name: [row[0] for row in rows if row[1]] for name, rows in found.items()}
    assert bold == {"clear": ["ppa"], "tight": [], "control": ["ppa"]}


def test_nearer_is_better_for_the_distance(tmp_path: Path) -> None:
    near = {"nn_distance/gmi/sface_head": Score(0.2, 0.1, 0.3, 80)}
    text = build([write_inversion(tmp_path, scores=near)], tmp_path / "out", "t").markdown.read_text(encoding="utf-8")
    table = text[text.index("**Recovered from sface\\_head") : text.index("**Recovered from small")]
    assert "**0.200**" in table and "**0.700**" not in table


def test_rows_of_two_data_sets_do_not_compete(tmp_path: Path) -> None:
    one = write_inversion(tmp_path, "one")
    other = write_inversion(tmp_path, "two", fingerprint="e" * 64)
    card = RunCard.read(other)
    card.data |= {"digest": "ee" * 32, "name": "other faces"}
    card.write(other)
    files = build([one, other], tmp_path / "out", "t")
    rows = _rows(files, "inversion-from-sface_head")
    assert list(dict.fromkeys(r["group"] for r in rows)) == ["fixture faces, 40 people", "other faces, 40 people"]
    text = files.markdown.read_text(encoding="utf-8")
    table = text[text.index("**Recovered from sface\\_head") : text.index("**Recovered from small")]
    assert table.count("**80.0%**") == 2


def test_the_attacked_encoder_and_the_unseen_ones_stand_apart(files: ReportFiles, run: Path) -> None:
    unseen = _rows(files, "inversion-accepted-classifiers-unseen")
    attacked = _rows(files, "inversion-accepted-classifiers-attacked")
    assert list(dict.fromkeys(r["group"] for r in unseen)) == [
        "from sface_head, shown to mobilefacenet (the judge)", "from sface_head, shown to dlib_resnet",
        "from small_cnn, shown to mobilefacenet (the judge)", "from small_cnn, shown to dlib_resnet",
        "from small_cnn, shown to sface",
    ]  # fmt: skip
    assert {r["group"] for r in attacked} == {"from sface_head, shown to sface"}
    row = next(r for r in attacked if r["Attack"] == "ppa")
    scores = read_scores(run / "scores.json")
    assert float(row["SAR II at FAR 1%"]) == scores["sar_type2_far_1e-2/ppa@sface_head/sface"].value
    assert float(row["SAR I at FAR 10%"]) == scores["sar_type1_far_1e-1/ppa@sface_head/sface"].value
    assert [name for name in row if re.fullmatch(r"SAR I+ at FAR \d+%", name)] == [
        "SAR I at FAR 10%", "SAR I at FAR 1%", "SAR II at FAR 10%", "SAR II at FAR 1%"
    ]  # fmt: skip
    own = _rows(files, "inversion-accepted-embeddings-attacked")
    assert {r["group"] for r in own} == {"from dlib_resnet, shown to dlib_resnet"}
    assert float(own[1]["Cosine to the person"]) == scores["cosine/template_inversion/dlib_resnet"].value


def test_a_recogniser_that_an_attack_s_students_are_made_of_is_not_called_unseen(tmp_path: Path) -> None:
    run = write_inversion(tmp_path, uses={"gmi": ["dlib_resnet"]})
    files = build([run], tmp_path / "report", "A fixture")
    place = "from sface_head, shown to dlib_resnet"
    of = {which: {r["Attack"].split(" ")[0] for r in _rows(files, f"inversion-accepted-classifiers-{which}")
                  if r["group"] == place} for which in ("unseen", "attacked")}  # fmt: skip
    assert "gmi" in of["attacked"] and "gmi" not in of["unseen"] and "ppa" in of["unseen"]


def test_a_defended_recogniser_judges_only_what_was_recovered_from_itself(tmp_path: Path) -> None:
    extra = {"cosine/ppa@sface_head/dlib_resnet_rotated": rate(0.3),
             "cosine/blobs@dlib_resnet/dlib_resnet_rotated": rate(0.3)}  # fmt: skip
    found = {v.name: v for v in victims(read_study([write_inversion(tmp_path, scores=extra)], ""))}
    assert found["sface_head"].encoders(False) == ["mobilefacenet", "dlib_resnet"]
    assert found["dlib_resnet"].encoders(True) == ["dlib_resnet"]
    assert found["dlib_resnet"].encoders(False) == ["mobilefacenet", "sface"]
    assert found["dlib_resnet_rotated"].encoders(True) == ["dlib_resnet", "dlib_resnet_rotated"]
    assert found["dlib_resnet_rotated"].encoders(False) == ["mobilefacenet", "sface"]


def test_where_the_card_does_not_say_what_a_victim_uses_only_the_judge_is_called_unseen(tmp_path: Path) -> None:
    run = write_inversion(tmp_path)
    card = RunCard.read(run)
    del card.methods["sface_head"]
    card.write(run)
    victim = next(v for v in victims(read_study([run], "")) if v.name == "sface_head")
    assert victim.encoders(False) == ["mobilefacenet"] and victim.encoders(True) == []


@pytest.mark.parametrize(
    ("before", "after", "called"),
    [((0.8, 0.7, 0.9), (0.3, 0.2, 0.4), "lowers"), ((0.8, 0.7, 0.9), (0.6, 0.5, 0.7), "not shown to lower"),
     ((0.8, 0.7, 0.9), (0.6, 0.5, 0.699), "lowers"), ((0.3, 0.2, 0.4), (0.8, 0.7, 0.9), "raises"),
     ((0.3, 0.2, 0.4), (0.3, 0.2, 0.4), "not shown to lower"),
     ((0.05, 0.02, 0.1), (0.0, 0.0, 0.01), "nothing to lower"),
     ((0.8, math.nan, math.nan), (0.3, 0.2, 0.4), "–"), ((0.8, 0.7, 0.9), (0.3, math.nan, math.nan), "–")],
)  # fmt: skip
def test_a_defence_is_called_by_what_the_intervals_carry(
    before: tuple[float, ...], after: tuple[float, ...], called: str
) -> None:
    assert lowered(Score(*before, 80), Score(*after, 80), 1 / PEOPLE) == called  # type: ignore[call-arg]
    assert lowered(None, Score(*after, 80)) == lowered(Score(*before, 80), None) == "–"  # type: ignore[call-arg]


@given(st.floats(0.1, 1), st.floats(0, 1), st.floats(0, 0.2), st.floats(0, 0.2))
def test_no_defence_lowers_and_raises_at_once_and_none_lowers_within_the_interval(
    before: float, after: float, one: float, other: float
) -> None:
    x, y = Score(before, before - one, before + one, 9), Score(after, after - other, after + other, 9)
    called = lowered(x, y)
    assert (called == "lowers") == (lowered(y, x) == "raises")
    assert called != "lowers" or after < before - one


@pytest.mark.parametrize(
    ("before", "after", "called"),
    [(0.95, (0.93, 0.9, 0.96), "at equal utility"), (0.95, (0.9, 0.85, 0.94), "at a cost"),
     (0.95, (0.99, 0.96, 1.0), "at higher utility"), (0.95, None, "at unknown cost"),
     (math.nan, (0.9, 0.85, 0.94), "at unknown cost"), (0.95, (0.9, math.nan, math.nan), "at unknown cost")],
)  # fmt: skip
def test_the_price_of_a_defence_is_called_by_the_interval_of_its_utility(
    before: float, after: tuple[float, ...] | None, called: str
) -> None:
    assert price(whole(before), Score(*after, 60) if after else None) == called  # type: ignore[call-arg]


def test_each_defence_stands_below_the_attacks_without_one(files: ReportFiles) -> None:
    rows = [(r["Defence"], r["Attack"], r["Called"], r["Utility: accuracy"], r["Top-1"])
            for r in _rows(files, "inversion-defences-sface_head")]  # fmt: skip
    assert rows == [
        ("None", "gmi", "–", "0.93", "0.35"), ("None", "ppa", "–", "0.93", "0.8"),
        ("None", "brep_mi", "–", "0.93", "0.3"),
        ("bido", "gmi", "not shown to lower, at equal utility", "0.91", "0.33"),
        ("bido", "ppa", "lowers, at equal utility", "0.91", "0.3"),
        ("dp_sgd epsilon 8, delta 1e-05", "ppa", "lowers, at a cost", "0.4", "0.02"),
        ("rounded", "brep_mi", "not shown to lower, at unknown cost", "", "0.3"),
    ]  # fmt: skip
    rotated = _rows(files, "inversion-defences-dlib_resnet")
    assert [(r["Defence"], float(r["Utility: TAR at FAR 1%"])) for r in rotated][1] == ("rotated", 0.985)
    assert "Cosine to the person, for the judge" in rotated[0]


def test_controls_that_ask_nothing_meet_no_defence_and_those_that_ask_do(tmp_path: Path) -> None:
    met = {}
    for control, queries in (("random_latent", 0.0), ("best_of_random", 5.0)):
        met |= {f"top1/{control}/sface_head_bido": rate(0.1), f"queries/{control}/sface_head_bido": whole(queries)}
    run = write_inversion(tmp_path, scores=met)
    found = [x.name for _, x in pairs(read_study([run], "")) if x.victim.defence == "bido"]
    assert found == ["best_of_random", "gmi", "ppa"]
    assert "4 defended systems met 5 attacks" in _headline(run)  # and the control is none


def test_an_attack_that_failed_on_a_defended_system_is_said_to(tmp_path: Path) -> None:
    run = write_inversion(tmp_path, failures=["brep_mi on sface_head_bido: found no start."])
    rows = _rows(build([run], tmp_path / "out", "t"), "inversion-defences-sface_head")
    row = next(r for r in rows if r["Defence"] == "bido" and r["Attack"].startswith("brep_mi"))
    assert (row["Attack"], row["Called"], row["Top-1 n"]) == ("brep_mi found no start.", "–", "0")


def test_every_asking_attack_is_a_dot_and_who_asks_nothing_stands_left_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    real = figures.against_queries
    monkeypatch.setattr(figures, "against_queries", lambda *given: drawn.append(given) or real(*given))
    files = build([write_inversion(tmp_path)], tmp_path / "out", "t")
    (_, panels, *_), (_, cosines, *_) = drawn
    assert [(p.title, len(p.dots), p.chance) for p in panels] == [
        ("sface_head", 6, 1 / PEOPLE), ("small_cnn", 6, 1 / PEOPLE), ("dlib_resnet", 3, 1 / PEOPLE)
    ]  # fmt: skip
    assert [p.title for p in cosines] == ["dlib_resnet"] and math.isnan(cosines[0].chance)
    assert [dot.filled for dot in panels[0].dots] == [False] * 3 + [True] * 3
    placed = {dot.label: dot.price.value for dot in figures._placed(panels[0].dots)}
    assert 0 < placed["random_latent"] == placed["mean_face"] < placed["best_of_random"] == 5.0
    rows = [r for r in _rows(files, "inversion-queries") if r["Victim"] == "sface_head"]
    assert {r["Attack"].partition(" ")[0]: float(r["Queries"]) for r in rows} == {m: x[1] for m, x in ATTACKS.items()}
    assert real(*drawn[0]) == real(*drawn[0])


def test_names_in_the_drawing_cover_neither_dots_nor_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes: list[object] = []
    place = figures._name_dots
    monkeypatch.setattr(figures, "_name_dots", lambda *given: boxes.extend(place(*given)))
    dots = [figures.Dot(f"control_{i}", whole(0.0), rate(0.02 + 0.005 * i), False) for i in range(3)]
    dots += [figures.Dot(f"attack_{i}", whole(100.0 * 2**i), rate(0.3 + 0.04 * i), True) for i in range(8)]
    figures.against_queries("crowd", [figures.Asked("", dots, 0.02)], "queries", "Top-1", True)
    assert len(boxes) == len(dots)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])  # type: ignore[attr-defined]


def test_only_controls_and_attacks_without_a_query_still_draw(tmp_path: Path) -> None:
    attacks = {"random_latent": (0.02, 0.0, 0.0), "gmi": (0.3, 0.0, 0.0)}
    run = write_inversion(tmp_path, attacks=attacks, templates={}, defended={}, victims={"small_cnn": None})
    titles = _titles(build([run], tmp_path / "out", "t").html.read_text(encoding="utf-8"))
    assert "Recoveries against queries" in titles and "Faces recovered from embeddings" not in titles
    assert "Defences against inversion" not in titles


def test_recoveries_stand_beside_the_private_photo_in_rows_of_one_width(tmp_path: Path) -> None:
    many = {f"attack_{i}": (0.1, 5.0, 0.0) for i in range(8)}
    run = write_inversion(tmp_path, attacks=many, victims={"small_cnn": None}, templates={}, defended={})
    section = inversion_photos.section(read_study([run], ""))
    assert section is not None
    grids = [block for block in section.blocks if isinstance(block, Photos)]
    assert [grid.columns for grid in grids] == [
        ("Private photo", *(f"attack_{i}" for i in part)) for part in (range(4), range(4, 8))
    ]
    assert all(len(grid.rows) == inversion_photos.PEOPLE and "3 of 4" in grid.caption for grid in grids)
    assert all(photo.uri for grid in grids for _, row in grid.rows for photo in row)
    assert len(read_strips(run / "strips.json")[0].shots) == 9
    assert "many do not look like faces" in section.blocks[0].sentences[0].text  # type: ignore[union-attr]


def test_the_headline_sets_the_best_attack_beside_the_best_control(run: Path) -> None:
    text = _headline(run)
    assert (
        "Recovered from sface_head (40 people), judged by mobilefacenet: ppa, the best of 3 inversions, shows the "
        "person in " in text
    )
    assert "80.0% ([72.0, 88.0], n=80); best_of_random, the best control, in 12.0%" in text
    assert "less, and the intervals do not overlap; a guess in 2.50%." in text
    assert "Counting only what passes for a face it is first with 64.0%" in text
    assert "from dlib_resnet (40 people), judged by mobilefacenet: template_inversion, the best of 2" in text
    assert "4 defended systems met 5 attacks: top-1 is lower in 2 of them, in 1 without a loss" in text


def test_the_headline_says_who_leads_among_faces_and_where_nothing_is_shown(tmp_path: Path) -> None:
    changed = {"top1_plausible/ppa/sface_head": rate(0.1), "top1/best_of_random/small_cnn": rate(0.75),
               "top1/best_of_random/sface_head": rate(0.99, 0.01)}  # fmt: skip
    text = _headline(write_inversion(tmp_path, scores=changed))
    assert "face it has 10.0% ([2.00, 18.0], n=80) and gmi is first with 28.0%" in text
    assert "75.0% ([67.0, 83.0], n=80): the intervals overlap, so no difference is shown" in text
    assert "99.0% ([98.0, 100], n=80): more, and the intervals do not overlap" in text


def test_the_headline_says_where_no_control_ran_where_attacks_tie_and_where_there_is_but_one(tmp_path: Path) -> None:
    tied = write_inversion(tmp_path, "tied", attacks={"gmi": (0.8, 5, 5), "ppa": (0.8, 5, 5)}, defended={})
    text = _headline(tied)
    assert "gmi, the first of 2 inversions, with as many as ppa, shows the person in 80.0%" in text
    assert "n=80); no control ran, so nothing says that this is more than chance; a guess in 2.50%" in text
    one = write_inversion(tmp_path, "one", attacks={"gmi": (0.8, 5, 5)}, templates={}, defended={})
    assert "gmi, the one inversion, shows" in _headline(one) and "passes for a face it has " in _headline(one)


def test_runs_of_one_method_are_told_apart_by_the_settings_that_differ(tmp_path: Path) -> None:
    folders = []
    for steps in (20, 100):
        folder = write_inversion(
            tmp_path, f"steps{steps}", attacks={"gmi": (steps / 200, 5, 5), "ppa": (0.1, 5, 5)}, templates={}
        )
        card = RunCard.read(folder)
        card.methods["gmi"]["config"] = {"rule": {"size": 0.1}, "steps": steps}
        card.methods["ppa"] = {"title": "PPA", "config": dict.fromkeys("abcde", steps)}
        card.fingerprint = f"{steps:064d}"
        card.write(folder)
        folders.append(folder)
    study = read_study(folders, "")
    table = next(b for b in inversion_accuracy.classifiers(study).blocks if isinstance(b, Table))
    told = {name: [r.cells[0].detail for r in table.rows if r.cells[0].text == name] for name in ("gmi", "ppa")}
    assert told["gmi"] == ["steps=20", "steps=100"]
    assert told["ppa"] == ["a=20, b=20, c=20 and 2 more", "a=100, b=100, c=100 and 2 more"]
    text = " ".join(cell.text for cell in inversion_headline.sentences(study))
    assert "gmi (steps=100), the best of 4 inversions" in text


def test_a_victim_on_which_every_attack_failed_is_told(tmp_path: Path) -> None:
    run = write_inversion(tmp_path, attacks={}, templates={}, defended={}, failures=[FAILED[0]])
    assert "No inversion of sface_head gave a number." in _headline(run)
    files = build([run], tmp_path / "out", "t")
    assert [r["Attack"].partition(" ")[0] for r in _rows(files, "inversion-from-sface_head")] == ["ked_mi"]
    assert "failed" in text_summary(run)


@pytest.mark.parametrize("measure", ["top5", "top1_plausible", "plausibility", "queries", "nn_distance", "frechet_fr"])
def test_a_measure_that_was_not_taken_leaves_the_rest_standing(tmp_path: Path, measure: str) -> None:
    missing = {f"{measure}/{attack}/sface_head": None for attack in ATTACKS}
    run = write_inversion(tmp_path, scores=missing, pictures=False)
    rows = _rows(build([run], tmp_path / "out", "t"), "inversion-from-sface_head")
    assert [float(r["Top-1"]) for r in rows if r["Attack"] == "ppa"] == [0.8] and "ppa" in text_summary(run)


def test_a_card_without_the_study_still_makes_a_report(tmp_path: Path) -> None:
    run = write_inversion(tmp_path)
    card = RunCard.read(run)
    card.data = {name: card.data[name] for name in ("name", "digest", "n_images", "n_identities")}
    card.write(run)
    files = build([run], tmp_path / "out", "t")
    assert "does not say whom the victims know" in files.html.read_text(encoding="utf-8")
    assert next(r for r in _rows(files, "inversion-from-sface_head") if r["Attack"] == "ppa")["Top-1"] == "0.8"


def test_what_recovers_faces_has_no_budget_in_pixels(run: Path) -> None:
    assert budget("ppa", RunCard.read(run)).text == "none"


def test_the_summary_for_a_terminal_names_judge_attack_and_verdict(run: Path) -> None:
    text = text_summary(run)
    assert re.search(r"sface_head +mobilefacenet +ppa +80\.0% \[72\.0, 88\.0\] +64\.0% \[56\.0, 72\.0\] +950", text)
    assert re.search(r"sface_head_bido +ppa +lowers, at equal utility +91\.0% +30\.0% \[22\.0, 38\.0\]", text)
    assert re.search(r"ked_mi +failed +failed +–", text)


def test_every_table_is_also_latex_and_the_same_runs_give_the_same_bytes(tmp_path: Path, run: Path) -> None:
    one, two = (build([run], tmp_path / name, "t") for name in ("one", "two"))
    assert one.html.read_bytes() == two.html.read_bytes()
    names = {path.stem for path in one.latex}
    assert names >= {"inversion-victims", "inversion-from-sface_head", "inversion-defences-sface_head",
                     "inversion-spread-classifiers", "inversion-accepted-embeddings-unseen"}  # fmt: skip
    assert names == {path.stem for path in one.csv} and len(one.latex) == len(names)


def test_the_gap_of_a_dot_is_to_the_nearest_edge_or_corner_of_the_words() -> None:
    from matplotlib.transforms import Bbox

    box = Bbox([[0, 0], [10, 4]])
    assert [figures._gap(box, *at) for at in ((5, 2), (13, 2), (5, -6), (13, 8), (-3, -4))] == [0, 3, 6, 5, 5]


def test_a_name_next_to_another_dot_is_moved_or_tied(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes: list[object] = []
    place = figures._name_dots
    monkeypatch.setattr(figures, "_name_dots", lambda *given: boxes.extend(place(*given)))
    # The second dot lies where the first one's name would stand: to its right, a little higher.
    dots = [figures.Dot("low", whole(100.0), rate(0.30), True), figures.Dot("high", whole(125.0), rate(0.33), True)]
    figures.against_queries("pair", [figures.Asked("", dots, 0.02)], "queries", "Top-1", True)
    high, low = boxes
    assert low.y1 < high.y0  # type: ignore[attr-defined]


def test_a_column_for_fid_stands_where_it_was_measured(tmp_path: Path, run: Path) -> None:
    name = "inversion-spread-classifiers"
    assert "FID ↓" not in _rows(build([run], tmp_path / "plain", "t"), name)[0]
    fid = {"fid/ppa/sface_head": Score(88.5, math.nan, math.nan, 80)}
    rows = _rows(build([write_inversion(tmp_path / "with", scores=fid)], tmp_path / "out", "t"), name)
    assert [r["FID ↓"] for r in rows if r["FID ↓"]] == ["88.5"]


def test_what_verifiers_accept_stands_beside_what_strangers_reach(run: Path, tmp_path: Path) -> None:
    rows = _rows(build([run], tmp_path, "t"), "inversion-accepted-classifiers-unseen")
    found = {float(r["SDs above strangers"]) for r in rows if r["Attack"] == "ppa"}
    assert found == {5 * ATTACKS["ppa"][0]}
    without = {f"above_strangers/{attack}@{v}/{e}": None for attack in ATTACKS for v in VICTIMS for e in ENCODERS}
    rows = _rows(
        build([write_inversion(tmp_path / "old", scores=without, templates={}, defended={})], tmp_path / "page", "t"),
        "inversion-accepted-classifiers-unseen",
    )
    assert "SDs above strangers" not in rows[0]


def test_runs_of_one_attack_stand_side_by_side_whatever_else_their_cards_name(tmp_path: Path) -> None:
    few = dict.fromkeys(("brep_mi", "gmi"), (0.5, 7.0, 7.0))
    runs = write_inversion(tmp_path, "one"), write_inversion(tmp_path, "two", attacks=few, fingerprint="b" * 16)
    rows = _rows(build(list(runs), tmp_path / "out", "t"), "inversion-from-sface_head")
    names = [r["Attack"].partition(" ")[0] for r in rows]
    assert names.count("gmi") == names.count("brep_mi") == 2
    assert names == sorted(names, key=names.index), names
