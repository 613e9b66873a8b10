"""A study that is stopped is taken up where it was, and only by a run that would give the same."""

from dataclasses import replace

import torch

from experiments.inversion_kept import Kept, Recovered
from facesec_bench.records import RunCard
from facesec_bench.runs import Run

CHIPS = (torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 255).round() / 255
FOUND = Recovered(CHIPS, 40, 20, 1.5, ("one was not reached",))


def run(folder, name: str, status: str = "running", **changes) -> Run:
    card = replace(RunCard(name, "inversion", status, 0, {}, "print", ""), **changes)
    (folder / name).mkdir(exist_ok=True)
    card.write(folder / name)
    return Run(folder / name, card)


def stopped(folder) -> Run:
    first = run(folder, "first")
    Kept(first).put("gmi", "head", FOUND)
    return run(folder, "first", "failed")


def test_what_a_stopped_run_had_is_found_bit_for_bit_with_what_it_cost(tmp_path):
    stopped(tmp_path)
    found = Kept(run(tmp_path, "second")).find("gmi", "head")
    assert torch.equal(found.chips, CHIPS) and found[1:] == FOUND[1:]


def test_nothing_is_taken_from_another_configuration_or_seed_or_from_a_run_that_goes_on_or_by_force(tmp_path):
    stopped(tmp_path)
    for number, other in enumerate(
        ({"fingerprint": "other"}, {"seed": 1}, {"config": {"force": True}}, {"fingerprint": ""})
    ):
        assert Kept(run(tmp_path, f"other {number}", **other)).find("gmi", "head") is None
    run(tmp_path, "first", "running")
    assert Kept(run(tmp_path, "second")).find("gmi", "head") is None


def test_a_damaged_file_and_an_attack_that_was_not_run_are_not_found(tmp_path):
    first, second = stopped(tmp_path), run(tmp_path, "second")
    kept = Kept(second)
    assert kept.find("ppa", "head") is None and kept.find("gmi", "other") is None
    file = first.folder / "recovered" / "head" / "gmi.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    assert kept.find("gmi", "head") is None and kept.taken_up == 0


def test_at_the_end_nothing_stays_and_the_card_says_what_was_taken_up(tmp_path):
    first, second = stopped(tmp_path), run(tmp_path, "second")
    kept = Kept(second)
    kept.find("gmi", "head")
    kept.put("ppa", "head", FOUND)
    kept.clear()
    assert not (first.folder / "recovered").exists() and not (second.folder / "recovered").exists()
    assert len(second.card.notes) == 1 and "not run again" in second.card.notes[0]
    fresh = run(tmp_path, "third")
    Kept(fresh).clear()
    assert not fresh.card.notes


def test_where_an_attack_failed_the_others_are_kept_for_the_next_try(tmp_path):
    first = run(tmp_path, "first")
    kept = Kept(first)
    kept.put("gmi", "head", FOUND)
    first.card.failures.append("brep_mi on head: found nobody")
    kept.clear()
    run(tmp_path, "first", "finished", failures=first.card.failures)
    second = run(tmp_path, "second")
    run(tmp_path, "first", "running", failures=first.card.failures)
    assert Kept(second).find("gmi", "head") is None, "a run that goes on needs its own"
    run(tmp_path, "first", "finished", failures=first.card.failures)
    again = Kept(second)
    assert torch.equal(again.find("gmi", "head").chips, CHIPS)
    again.clear()
    assert not (first.folder / "recovered").exists(), "once all have run nothing stays"


def test_a_run_stopped_twice_hands_on_all_it_has(tmp_path):
    stopped(tmp_path)
    second = run(tmp_path, "second")
    Kept(second).put("ppa", "head", FOUND)
    run(tmp_path, "second", "failed")
    third = Kept(run(tmp_path, "third"))
    assert third.find("ppa", "head") is not None and third.find("gmi", "head") is not None
    assert len(third.stopped) == 2


def test_victims_and_methods_are_kept_apart(tmp_path):
    kept = Kept(run(tmp_path, "first"))
    for queries, (method, victim) in enumerate((m, v) for m in ("gmi", "ppa") for v in ("head", "head_mid")):
        kept.put(method, victim, FOUND._replace(queries=queries))
    run(tmp_path, "first", "failed")
    again = Kept(run(tmp_path, "second"))
    assert [again.find(m, v).queries for m in ("gmi", "ppa") for v in ("head", "head_mid")] == [0, 1, 2, 3]
