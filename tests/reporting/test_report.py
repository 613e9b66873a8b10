"""The report: every number with its run, nothing averaged that differs, nothing executed, the same bytes twice."""

from __future__ import annotations

import csv
import html.parser
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_run import write_run

from facesec_bench.errors import ConfigError
from facesec_bench.records import RunCard, Score, read_scores, write_scores
from facesec_bench.reporting import ReportFiles, build, figures, text_summary

HOSTILE = "<script>alert('x')</script> & \"quoted\" | *a* $b_c$ \\d {e} 50%"


def _report(out: Path, *runs: Path, title: str = "A fixture") -> tuple[ReportFiles, str, str]:
    files = build(runs, out, title)
    return files, files.html.read_text(encoding="utf-8"), files.markdown.read_text(encoding="utf-8")


def _rows(files: ReportFiles, slug: str) -> list[dict[str, str]]:
    (path,) = [p for p in files.csv if p.stem == slug]
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    methods = ("fgsm", "pgd", "pgd_eps4")
    return write_run(tmp_path_factory.mktemp("run"), target_names=("dlib_resnet", "sface", "toy"), method_names=methods)


@pytest.fixture(scope="module")
def report(run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ReportFiles, str, str]:
    return _report(tmp_path_factory.mktemp("report"), run)


def test_every_section_has_its_place_in_the_order_of_the_page(report: tuple[ReportFiles, str, str]) -> None:
    titles = re.findall(r'<h2><span class="no">\d+</span>(.*?)</h2>', report[1])
    assert titles == [
        "Threat model", "Clean accuracy and calibration", "White-box attacks", "Transfer between models",
        "Success against budget", "Image quality", "Examples", "Data and skipped inputs", "Reproducibility", "Ethics",
    ]  # fmt: skip


def test_the_white_box_table_holds_the_scores_of_the_run_to_the_last_bit(
    report: tuple[ReportFiles, str, str], run: Path
) -> None:
    scores = read_scores(run / "scores.json")
    row = next(r for r in _rows(report[0], "white-box") if (r["group"], r["Method"]) == ("sface", "pgd"))
    score = scores["dodging_success/pgd/sface"]
    assert [float(row[f"Dodging{x}"]) for x in ("", " low", " high", " n")] == list(score)
    assert row["runs"] == "a"


def test_the_control_stands_in_the_budget_it_spent(report: tuple[ReportFiles, str, str]) -> None:
    rows = [(r["Method"], r["ε"]) for r in _rows(report[0], "white-box") if r["group"] == "sface"]
    assert rows == [
        ("pgd_eps4", "4/255"), ("Random sign (control)", "4/255"), ("fgsm", "8/255"), ("pgd", "8/255"),
        ("Random sign (control)", "8/255"), ("No attack (base rate)", "–"),
    ]  # fmt: skip


def test_a_budget_is_printed_in_its_norm_and_compared_within_it(tmp_path: Path) -> None:
    methods = ("pgd", "pgd_l2", "pgd_l2_eps4", "fmn", "pgd_eps16")
    run = write_run(tmp_path, target_names=("sface",), method_names=methods, transfer=False, examples=0)
    scores = read_scores(run / "scores.json")
    for method, rate in (("pgd_l2", 0.99), ("fmn", 1.0), ("pgd", 0.5), ("pgd_eps16", 0.7)):
        for goal in ("dodging", "impersonation"):
            scores[f"{goal}_success/{method}/sface"] = Score(rate, rate - 0.01, rate, 80)
    write_scores(run / "scores.json", scores)
    files, page, markdown = _report(tmp_path / "out", run)
    budgets = {r["Method"]: r["ε"] for r in _rows(files, "white-box") if "control" not in r["Method"]}
    assert budgets.items() >= {
        "pgd": "8/255", "pgd_eps16": "16/255", "pgd_l2": "8/255 rms", "pgd_l2_eps4": "4/255 rms", "fmn": "none"
    }.items()  # fmt: skip
    told = {r["Method"]: r["ε"] for r in _rows(files, "quality") if "control" not in r["Method"]}
    assert told["fmn"] == "none" and told["pgd_l2"] == "8/255 rms"
    # The headline is of the L-inf budget alone, though the others succeed more often.
    assert "At 8/255, white-box pgd dodges sface in 50.0%" in page
    assert "**99" not in markdown and "**100" not in markdown and "**70" not in markdown
    points = {(r["Method"], r["ε"]) for r in _rows(files, "curves") if "sign" not in r["Method"]}
    assert points == {("pgd", "8/255"), ("pgd", "16/255"), ("pgd_l2 (rms)", "8/255 rms"), ("pgd_l2 (rms)", "4/255 rms")}


def test_every_ensemble_of_a_method_shares_one_row_of_the_heat_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = {}
    monkeypatch.setattr(figures, "heat_map", lambda slug, names, *rest: drawn.update({slug: (names, *rest)}) or "")
    run = write_run(tmp_path, method_names=("pgd", "fgsm"), weak=("effnet_arcface",), examples=0)
    files, page, _ = _report(tmp_path / "out", run)
    names, victims, cells, _ = drawn["transfer-dodging"]
    assert [n for n in names if n.startswith("pgd")] == [
        "pgd @ sface",
        "pgd @ dlib_resnet",
        "pgd @ mobilefacenet",
        "pgd @ effnet_arcface",
        "pgd @ ensemble",
    ]  # the order of the card
    scores = read_scores(run / "scores.json")
    members = {"sface": "dlib_resnet+mobilefacenet", "effnet_arcface": "sface+dlib_resnet+mobilefacenet"}
    for victim, who in members.items():
        cell = cells[names.index("pgd @ ensemble")][victims.index(victim)]
        assert cell.value == scores[f"dodging_success/pgd@{who}/{victim}"].value and not cell.outlined
    table = {(r["Method"], r["Surrogates"]): r for r in _rows(files, "transfer-dodging")}
    row = table["pgd", "dlib_resnet + mobilefacenet"]
    assert row["sface"] and not row["effnet_arcface"]
    assert "“ensemble”: in each column the ensemble of this study that leaves that victim out" in page


def test_rows_of_another_norm_are_marked_in_the_heat_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = {}
    monkeypatch.setattr(figures, "heat_map", lambda slug, names, *rest: drawn.update({slug: names}) or "")
    run = write_run(tmp_path, method_names=("pgd", "pgd_l2", "fmn"), examples=0)
    files, _, _ = _report(tmp_path / "out", run)
    assert {"pgd @ sface", "pgd_l2 (rms) @ sface", "fmn (no budget) @ sface"} <= set(drawn["transfer-dodging"])
    assert {r["Method"]: r["ε"] for r in _rows(files, "transfer-dodging")}["fmn"] == "none"


def test_ensembles_that_share_a_victim_keep_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = {}
    monkeypatch.setattr(figures, "heat_map", lambda slug, names, *rest: drawn.update({slug: names}) or "")
    run = write_run(tmp_path, method_names=("pgd",), transfer=True, examples=0)
    scores = read_scores(run / "scores.json")
    scores["dodging_success/pgd@dlib_resnet+mobilefacenet/sface"] = Score(0.1, 0.0, 0.2, 80)
    write_scores(run / "scores.json", scores)
    _report(tmp_path / "out", run)
    assert "pgd @ dlib_resnet + mobilefacenet" in drawn["transfer-dodging"]
    assert "pgd @ ensemble" not in drawn["transfer-dodging"] and "pgd @ ensemble" in drawn["transfer-impersonation"]


def test_distances_of_whole_sets_are_columns_where_they_were_taken(tmp_path: Path) -> None:
    run = write_run(tmp_path, target_names=("sface",), method_names=("pgd",), examples=0)
    files, _, _ = _report(tmp_path / "without", run)
    (row,) = [r for r in _rows(files, "quality") if r["Method"] == "pgd"]
    assert not any("FID" in name for name in row)
    assert (row["Fréchet in FR space, dodging ↓"], row["Fréchet in FR space, impersonation ↓ n"]) == ("0.21", "40")
    scores = read_scores(run / "scores.json")
    scores["fid_dodging/pgd/sface"] = Score(31.5, float("nan"), float("nan"), 40)
    write_scores(run / "scores.json", scores)
    files, _, _ = _report(tmp_path / "with", run)
    (row,) = [r for r in _rows(files, "quality") if r["Method"] == "pgd"]
    assert row["FID, dodging ↓"] == "31.5" and "FID, impersonation ↓" not in row


def test_toys_are_flagged(report: tuple[ReportFiles, str, str]) -> None:
    assert "(toy target)" in report[1] and "say nothing of a real recogniser" in report[1]


def test_a_refused_false_accept_rate_is_shown_by_name(report: tuple[ReportFiles, str, str]) -> None:
    refused = [r for r in _rows(report[0], "calibration") if r["Threshold"].startswith("refused")]
    assert {r["FAR asked"] for r in refused} == {"0.1%"}
    assert all("found 4500 impostor pairs, needed 10000" in r["Threshold"] for r in refused)


class _Page(html.parser.HTMLParser):
    """Collects tags, ids, and everything a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.fetched: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "data", "srcset", "poster", "action") or (name == "href" and tag in ("link", "use")):
                self.fetched.append(value or "")
            if name == "href" and tag == "a":
                self.links.append(value or "")


def test_the_page_asks_for_nothing_from_outside_and_every_footnote_lands(report: tuple[ReportFiles, str, str]) -> None:
    page = _Page()
    page.feed(report[1])
    assert page.fetched and all(x.startswith(("data:image/png;base64,", "#")) for x in page.fetched)
    assert not re.search(r"url\((?!#)|@import|https?:", report[1])
    assert {"script", "link", "iframe", "object"}.isdisjoint(page.tags)
    assert page.links and {x.removeprefix("#") for x in page.links} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_names_and_errors_are_escaped_in_every_format(tmp_path: Path) -> None:
    run = write_run(
        tmp_path, "hostile", target_names=("sface", "toy<b>"), method_names=("pgd<i>", "pgd<i>_eps4"),
        skipped=[(f"{HOSTILE}.jpg", "no_face", HOSTILE, False)], notes=[HOSTILE], threat_model=[HOSTILE],
        config={"x": "</pre><script>"},
    )  # fmt: skip
    failed = write_run(tmp_path, "failed", status="failed", error=HOSTILE, fingerprint="other")
    examples = json.loads((run / "examples.json").read_text())
    examples[0]["key"] = HOSTILE
    (run / "examples.json").write_text(json.dumps(examples))
    files, page, markdown = _report(tmp_path / "out", run, failed, title=HOSTILE)
    assert "alert(" in page and {"script", "i"}.isdisjoint(_tags(page))
    # An indented line is a code block, where Markdown shows everything as it is.
    for line in (x for x in markdown.splitlines() if not x.startswith("    ")):
        assert "<script" not in line and "<i>" not in line
        if line.startswith("| ") and "alert" in line:
            assert len(re.findall(r"(?<!\\)\|", line)) in (5, 9, 10)
    tex = (tmp_path / "out" / "tables" / "skipped-inputs.tex").read_text()
    assert r"\textless{}script\textgreater{}" in tex and r"\$b\_c\$ \textbackslash{}d \{e\} 50\%" in tex
    assert len(files.latex) == len(files.csv) > 5


def _tags(page: str) -> set[str]:
    parser = _Page()
    parser.feed(page)
    return set(parser.tags)


def test_a_run_took_as_long_as_its_study_and_not_the_sum_of_nested_stages(tmp_path: Path) -> None:
    run = write_run(tmp_path, examples=0)
    card = RunCard.read(run)
    card.seconds = {"study": 100.0, "attack": 90.0, "score": 5.0}
    card.write(run)
    _, page, _ = _report(tmp_path / "out", run)
    assert "1 min 40 s" in page and "3 min 15 s" not in page


def test_the_same_runs_give_the_same_bytes_within_five_seconds(
    report: tuple[ReportFiles, str, str], run: Path, tmp_path: Path
) -> None:
    began = time.process_time()
    again, _, _ = _report(tmp_path, run)
    assert time.process_time() - began < 5.0
    for one, two in zip(
        (report[0].html, report[0].markdown, *report[0].latex, *report[0].csv),
        (again.html, again.markdown, *again.latex, *again.csv),
        strict=True,
    ):
        assert one.read_bytes() == two.read_bytes(), one.name


def test_seeds_of_one_fingerprint_are_averaged_and_other_fingerprints_are_not(tmp_path: Path) -> None:
    options = {"target_names": ("sface",), "method_names": ("pgd",), "transfer": False, "examples": 0}
    runs = [write_run(tmp_path, f"s{seed}", seed, **options) for seed in (0, 1)]
    other = write_run(tmp_path, "other", fingerprint="0123" * 16, **options)
    for folder, rate in zip([*runs, other], (0.2, 0.6, 0.9), strict=True):
        scores = read_scores(folder / "scores.json")
        key = "dodging_success/pgd/sface"
        scores[key] = scores[key]._replace(value=rate, low=rate - 0.1, high=rate + 0.05)
        write_scores(folder / "scores.json", scores)
    files, page, _ = _report(tmp_path / "out", *runs, other)
    found = [(float(r["Dodging"]), float(r["Dodging low"]), float(r["Dodging high"]), r["runs"])
             for r in _rows(files, "white-box") if r["Method"] == "pgd"]  # fmt: skip
    assert found == [(pytest.approx(0.4), pytest.approx(0.1), pytest.approx(0.65), "a"),
                     (0.9, pytest.approx(0.8), pytest.approx(0.95), "b")]  # fmt: skip
    assert "a: 2 seeds, averaged" in page


def test_a_rerun_supersedes_and_is_not_averaged(tmp_path: Path) -> None:
    old = write_run(tmp_path, "old", started="2026-01-01T00:00:00", target_names=("sface",), examples=0)
    new = write_run(tmp_path, "new", started="2026-02-01T00:00:00", target_names=("sface",), examples=0)
    files, _, _ = _report(tmp_path / "out", new, old)
    status = {r["Run"].split()[0]: r["Status"] for r in _rows(files, "runs")}
    assert status == {"new": "finished", "old": "finished run again since"}


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        ({"status": "failed", "error": "TargetError: no gradient"}, "failed: TargetError: no gradient"),
        ({"status": "running"}, "still running, or killed before it could say so"),
    ],
)
def test_an_unfinished_run_is_shown_and_lends_no_number(tmp_path: Path, spoil: dict[str, str], told: str) -> None:
    good = write_run(tmp_path, "good", target_names=("sface",), method_names=("pgd",), examples=0)
    bad = write_run(tmp_path, "bad", fingerprint="bad", method_names=("secret",), target_names=("sface",), **spoil)
    files, page, markdown = _report(tmp_path / "out", good, bad)
    assert told in page and told.split(":")[0] in markdown
    assert "secret" not in {r["Method"] for r in _rows(files, "white-box")}


def test_a_missing_folder_and_broken_files_are_shown(tmp_path: Path) -> None:
    broken = write_run(tmp_path, "broken", target_names=("sface",))
    (broken / "scores.json").write_text("{")
    _, page, _ = _report(tmp_path / "out", broken, tmp_path / "nowhere")
    assert "no card.json in the folder nowhere" in page and "JSONDecodeError" in page
    assert "holds no numbers" in page and str(tmp_path) not in page


def test_pictures_outside_the_run_are_not_embedded(tmp_path: Path) -> None:
    run = write_run(tmp_path, "run", target_names=("sface",), examples=1)
    secret = run / "examples" / "0_source.png"
    secret.rename(tmp_path / "secret.png")
    examples = json.loads((run / "examples.json").read_text())
    examples[0]["source"] = "../secret.png"
    (run / "examples.json").write_text(json.dumps(examples))
    _, page, _ = _report(tmp_path / "out", run)
    assert page.count("data:image/png") == 2 and "outside the run&#39;s folder" in page


def test_no_run_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one run folder"):
        build([], tmp_path, "Nothing")


def test_importing_the_report_loads_neither_torch_nor_matplotlib_nor_mlflow() -> None:
    code = "import sys, facesec_bench.reporting; print({'torch', 'matplotlib', 'mlflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_summary_names_status_rates_and_refusals(run: Path, tmp_path: Path) -> None:
    text = text_summary(run)
    assert (
        "finished" in text
        and "white box" in text
        and "refused for dlib_resnet, sface, toy: FAR 0.001" in text
        and "random_sign" in text
    )
    failed = write_run(tmp_path, "failed", status="failed", error="out of memory")
    assert "failed: out of memory" in text_summary(failed)
    assert "no card.json" in text_summary(tmp_path / "nowhere")
