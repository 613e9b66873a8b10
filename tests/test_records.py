import json
import math

import pytest

from facesec_bench import runs
from facesec_bench.records import (
    Record,
    RunCard,
    Score,
    read_records,
    read_scores,
    write_records,
    write_scores,
)


def card(**fields):
    given = {"run_id": "r", "experiment": "e", "status": "finished", "seed": 0, "config": {}, "fingerprint": "f"}
    return RunCard(**(given | {"started": "2026-01-01T00:00:00Z"} | fields))


def test_records_come_back_bit_for_bit(tmp_path):
    rows = [Record('a,"b">c', "Zoë", "pgd@x+y", "v", "psnr", 0.1 + 0.2), Record("*", "", "clean", "v", "auc", math.pi)]
    write_records(tmp_path / "r.csv", rows)
    assert read_records(tmp_path / "r.csv") == rows


def test_records_with_other_columns_are_refused(tmp_path):
    (tmp_path / "r.csv").write_text("key,value\na,1\n")
    with pytest.raises(ValueError, match="wanted"):
        read_records(tmp_path / "r.csv")


def test_a_score_without_a_value_is_null_in_the_file_and_nan_in_memory(tmp_path):
    write_scores(tmp_path / "s.json", {"m/a/v": Score(math.nan, math.nan, math.nan, 0), "m/b/v": Score(1, 0.5, 1, 3)})
    assert json.loads((tmp_path / "s.json").read_text())["m/a/v"]["value"] is None
    found = read_scores(tmp_path / "s.json")
    assert math.isnan(found["m/a/v"].value) and found["m/b/v"] == Score(1.0, 0.5, 1.0, 3)


def test_a_card_comes_back_as_it_was(tmp_path):
    written = card(notes=["a"], calibration={"t": [{"far": 0.1}]})
    written.write(tmp_path)
    assert RunCard.read(tmp_path) == written


def test_seed_device_and_paths_do_not_change_the_fingerprint_but_a_budget_or_a_digest_does():
    config = {"eps_255": 8, "seed": 0, "device": "cpu", "results": "a", "data": {"root": "x", "depth": 1}}
    digests = {"data": "d"}
    first = runs.fingerprint(config, digests)
    same = config | {"seed": 1, "device": "cuda", "results": "b", "data": {"root": "y", "depth": 1}}
    assert runs.fingerprint(same, digests) == first
    assert runs.fingerprint(config | {"eps_255": 4}, digests) != first
    assert runs.fingerprint(config, {"data": "e"}) != first
    weighed = [runs.fingerprint({"evasion": {"weights": {"sface": w}}}, digests) for w in (0.1, 1.0)]
    assert weighed[0] != weighed[1]  # no path, for all its name


def test_code_digest_changes_with_a_line_and_not_with_what_is_left_out(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "sub" / "b.py").write_text("y = 1\n")
    first = runs.code_digest({"room": tmp_path}, ("room/sub/",))
    (tmp_path / "sub" / "b.py").write_text("y = 2\n")
    assert runs.code_digest({"room": tmp_path}, ("room/sub/",)) == first
    (tmp_path / "a.py").write_text("x = 2\n")
    assert runs.code_digest({"room": tmp_path}, ("room/sub/",)) != first


def test_only_a_finished_run_of_the_same_fingerprint_and_seed_is_found(tmp_path):
    for name, fields in {
        "a": {},
        "b": {"status": "failed"},
        "c": {"seed": 1},
        "d": {"fingerprint": "g"},
        "e": {"failures": ["x"]},
    }.items():
        (tmp_path / name).mkdir()
        card(run_id=name, **fields).write(tmp_path / name)
    assert runs.finished(tmp_path, "f", 0) == tmp_path / "a"
    assert runs.finished(tmp_path, "f", 2) is None


def test_a_run_whose_process_is_gone_is_marked_interrupted_and_a_living_one_is_not(tmp_path):
    dead = runs.owner() | {"pid": 2**22 + 12345}
    for name, process in {"dead": dead, "alive": runs.owner(), "elsewhere": dead | {"host": "another"}}.items():
        (tmp_path / name).mkdir()
        card(status="running", code={"process": process}).write(tmp_path / name)
    assert runs.mark_interrupted(tmp_path) == [tmp_path / "dead"]
    assert RunCard.read(tmp_path / "dead").error.startswith("interrupted")


def test_two_runs_in_one_second_get_two_folders(tmp_path):
    assert len({runs.new_folder(tmp_path, "e", "f" * 64, 0) for _ in range(3)}) == 3


def test_an_unreadable_card_hides_no_other_run(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "card.json").write_text("{")
    card().write(tmp_path / "b")
    assert [folder.name for folder, _ in runs.find(tmp_path)] == ["b"]
