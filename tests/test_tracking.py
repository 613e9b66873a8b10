"""MLflow end to end on a small store: what a user sees in the UI."""

import multiprocessing
import re

import pytest

from facesec_bench import tracking
from facesec_bench.records import RunCard, Score, write_scores
from facesec_bench.tracking import MLflowTracker, by_method, store_uri

SCORES = {
    "dodging_success/pgd/sface": Score(0.9, 0.8, 1.0, 40),
    "dodging_success/pgd@sface+dlib_resnet/mobilefacenet": Score(0.5, 0.4, 0.6, 40),
    "tar_at_far_1e-2/clean/sface": Score(1.0, 0.7, 1.0, 450),
}


@pytest.fixture(autouse=True, scope="module")
def no_sweep():
    """These runs belong to no sweep, whatever ran before in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(tracking.SWEEP_VARIABLE, raising=False)
        yield


def finished_run(folder, run_id="run-1"):
    folder.mkdir(parents=True, exist_ok=True)
    card = RunCard(run_id, "evasion", "finished", 7, {"eps_255": 8, "design": {"far": 0.01}}, "f" * 64, "now")
    card.code = {"git_sha": "abc", "git_dirty": True, "version": "0"}
    card.data, card.targets = {"digest": "d" * 64}, {"sface": {"digest": "w" * 64}}
    card.threat_model = ["White box."]
    card.write(folder)
    write_scores(folder / "scores.json", SCORES)
    return card


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    tracker = MLflowTracker(results)
    with tracker.session(finished_run(results / "runs" / "run-1"), results / "runs" / "run-1"):
        pass
    return results, tracker._mlflow().MlflowClient()


def runs_of(client):
    experiment = client.get_experiment_by_name("evasion").experiment_id
    return {r.data.tags["mlflow.runName"]: r for r in client.search_runs([experiment])}


def test_a_run_has_one_nested_run_for_each_method_and_surrogate_set(logged):
    found = runs_of(logged[1])
    assert set(found) == {"run-1", "pgd", "pgd@sface+dlib_resnet", "clean"}
    parent = found.pop("run-1").info.run_id
    assert all(run.data.tags["mlflow.parentRunId"] == parent for run in found.values())


def test_metrics_carry_value_interval_and_count_under_names_mlflow_admits(logged):
    metrics = runs_of(logged[1])["pgd"].data.metrics
    assert metrics == {
        "dodging_success/sface": 0.9,
        "dodging_success/sface/low": 0.8,
        "dodging_success/sface/high": 1.0,
        "dodging_success/sface/n": 40.0,
    }
    assert all(re.fullmatch(r"[\w\-. :/]+", name) for name in metrics)


def test_tags_and_parameters_say_what_was_run(logged):
    run = runs_of(logged[1])["run-1"]
    assert run.data.params == {"eps_255": "8", "design.far": "0.01"}
    assert run.data.tags["facesec.git_sha"] == "abc" and run.data.tags["facesec.git_dirty"] == "True"
    assert run.data.tags["facesec.data_digest"] == "d" * 64 and "w" * 64 in run.data.tags["facesec.weight_digests"]
    assert run.data.tags["facesec.threat_model"] == "White box." and run.info.status == "FINISHED"


def test_the_run_folder_is_the_artifact(logged):
    results, client = logged
    names = {a.path for a in client.list_artifacts(runs_of(client)["run-1"].info.run_id)}
    assert {"card.json", "scores.json"} <= names
    assert (results / "artifacts").is_dir()


def test_a_run_that_raises_is_failed_in_mlflow_too(logged, tmp_path):
    results, client = logged
    with pytest.raises(RuntimeError), MLflowTracker(results).session(finished_run(tmp_path / "x", "run-2"), tmp_path):
        raise RuntimeError("killed")
    assert runs_of(client)["run-2"].info.status == "FAILED"


def test_a_run_whose_process_died_is_closed_as_failed(logged, tmp_path):
    results, client = logged
    session = MLflowTracker(results).session(finished_run(tmp_path / "x", "run-3"), tmp_path / "x")
    session.__enter__()
    assert runs_of(client)["run-3"].info.status == "RUNNING"
    MLflowTracker(results).mark_failed(["run-3", "never"])
    assert runs_of(client)["run-3"].info.status == "FAILED"


def test_jobs_of_one_sweep_share_a_parent_that_is_failed_if_a_job_failed(logged, tmp_path, monkeypatch):
    results, client = logged
    monkeypatch.setenv(tracking.SWEEP_VARIABLE, "sweep1")
    tracker = MLflowTracker(results)
    for name in ("job-1", "job-2"):
        with tracker.session(finished_run(tmp_path / name, name), tmp_path / name):
            pass
    tracker.close_sweep(failed=True)
    found = runs_of(client)
    parent = found["sweep sweep1"]
    assert parent.info.status == "FAILED"
    assert {found[n].data.tags["mlflow.parentRunId"] for n in ("job-1", "job-2")} == {parent.info.run_id}


def _log_one(results, number):
    folder = results / "runs" / f"p{number}"
    with MLflowTracker(results).session(finished_run(folder, f"p{number}"), folder):
        pass


@pytest.mark.slow
def test_four_processes_may_touch_a_fresh_store_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    jobs = [context.Process(target=_log_one, args=(tmp_path, i)) for i in range(4)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(120)
    assert [job.exitcode for job in jobs] == [0, 0, 0, 0]
    found = runs_of(MLflowTracker(tmp_path)._mlflow().MlflowClient())
    assert {f"p{i}" for i in range(4)} <= set(found)


def test_scores_are_grouped_by_method():
    assert by_method(SCORES)["pgd"] == {"dodging_success/sface": SCORES["dodging_success/pgd/sface"]}


def test_the_store_uri_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert store_uri(tmp_path / "results") == f"sqlite:///{(tmp_path / 'results' / 'mlflow.db').as_posix()}"
