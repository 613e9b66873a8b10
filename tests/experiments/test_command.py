"""The `facesec` command as a user types it, on real weights and generated faces, without a network."""

import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiments.catalogue import unknown_name
from experiments.cli import app
from facesec_bench.records import RunCard

TINY = [
    "experiment=evasion",
    "data.identities=6",
    "data.per_identity=5",
    "far=0.1",
    "fars=[0.1,0.001]",
    "size.identities=4",
    "size.sources_per_identity=1",
    "size.judges=2",
    "evasion=[pgd]",
    "evasion.pgd.steps=4",
    "target=[sface]",
    "study.design.curve.eps_255=[]",
    "study.lpips=null",
]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return tmp_path_factory.mktemp("results")


@pytest.fixture
def facesec(results, monkeypatch):
    """Run `facesec ...` in this process with every socket to a network refused."""

    def refuse(self, address):
        raise AssertionError(f"the network was touched: {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("FACESEC_OFFLINE", "1")
    monkeypatch.setenv("FACESEC_RESULTS", str(results))

    def call(*arguments):
        monkeypatch.delenv("FACESEC_SWEEP", raising=False)
        from experiments import run

        run.failures.clear()
        return CliRunner().invoke(app, list(arguments))

    return call


def last_line(result):
    return result.stdout.strip().splitlines()[-1]


@pytest.fixture
def first(facesec, results):
    """The folder of a finished tiny run; made once, found again by its fingerprint afterwards."""
    result = facesec("run", *TINY)
    assert result.exit_code == 0, result.output
    return results / "runs" / last_line(result).rpartition("/")[2]


@pytest.mark.assets("sface", "yunet", "dcgan")
def test_a_run_works_without_a_network_and_leaves_everything_a_reader_needs(first, results):
    card = RunCard.read(first)
    assert card.status == "finished" and card.code["version"] and card.targets["sface"]["digest"]
    for name in ("records.csv", "scores.json", "config.yaml", "skipped.csv", "roles.csv", "examples.json"):
        assert (first / name).stat().st_size > 0, name
    assert (results / "reports" / first.name / "report.html").is_file() and (results / "mlflow.db").is_file()
    scores = json.loads((first / "scores.json").read_text())
    assert scores["dodging_success/pgd/sface"]["value"] > scores["dodging_success/random_sign/sface"]["value"]
    assert [p["status"] for p in card.calibration["sface"]] == ["calibrated", "refused"]


@pytest.mark.assets("sface", "yunet", "dcgan")
def test_the_same_line_twice_runs_once_and_by_force_gives_the_same_bytes(facesec, first, results):
    again = facesec("run", *TINY)
    assert "Nothing to do" in again.stdout and last_line(again) == str(first)
    forced = facesec("run", *TINY, "force=true")
    other = results / "runs" / last_line(forced).rpartition("/")[2]
    assert other != first
    assert (other / "scores.json").read_bytes() == (first / "scores.json").read_bytes()
    assert (other / "records.csv").read_bytes() == (first / "records.csv").read_bytes()


@pytest.mark.assets("sface", "yunet", "dcgan")
def test_a_sweep_with_a_failing_job_finishes_the_others_and_exits_with_an_error(facesec, first, results):
    result = facesec("run", "-m", *TINY, "far=0.1,0.00001", "report=false")
    assert result.exit_code == 1
    assert "FAR 1e-05" in result.stderr and "Traceback" not in result.output
    from facesec_bench.tracking import MLflowTracker

    client = MLflowTracker(results)._mlflow().MlflowClient()
    experiment = client.get_experiment_by_name("evasion").experiment_id
    parents = client.search_runs([experiment], "tags.`facesec.level` = 'sweep'")
    assert [p.info.status for p in parents] == ["FAILED"]


@pytest.mark.assets("sface", "yunet", "dcgan")
def test_a_report_is_made_by_study_name_and_an_unknown_one_is_named(facesec, first, tmp_path):
    made = facesec("report", "evasion", "--out", str(tmp_path))
    assert made.exit_code == 0 and (tmp_path / "report.html").is_file()
    unknown = facesec("report", "nothing")
    assert unknown.exit_code == 1 and "wanted an experiment name (evasion" in unknown.stderr


@pytest.mark.assets("yunet")
def test_bad_photos_are_named_and_a_folder_without_faces_is_an_error_in_words(facesec, tmp_path, results):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "empty.jpg").write_bytes(b"")
    (tmp_path / "a" / "notes.txt").write_text("hello")
    result = facesec("run", "experiment=calibrate", "data=folder", f"data.root={tmp_path}")
    assert result.exit_code == 1 and "Traceback" not in result.output and "facesec:" in result.stderr


def test_a_missing_folder_is_an_error_in_words(facesec, tmp_path):
    result = facesec("run", "experiment=calibrate", "data=folder", f"data.root={tmp_path / 'nowhere'}")
    assert result.exit_code == 1 and "nowhere" in result.stderr and "Traceback" not in result.output


def test_a_value_that_only_the_user_can_give_is_asked_for_before_anything_is_loaded(facesec):
    result = facesec("run", "experiment=calibrate", "data=folder")
    assert result.exit_code == 1 and "Found no value for data.root" in result.stderr
    assert "Traceback" not in result.output


def test_an_error_inside_a_constructor_is_shown_as_itself(facesec, tmp_path):
    onnx = ["target=[onnx]", f"targets.onnx.path={tmp_path / 'none.onnx'}", "targets.onnx.name=mine"]
    result = facesec("run", "experiment=calibrate", "data=folder", f"data.root={tmp_path}", *onnx)
    assert result.exit_code == 1 and "full_key" not in result.stderr and "Traceback" not in result.output


def test_a_misspelt_name_is_an_error_that_lists_the_names_and_guesses_the_meant_one(facesec):
    for wrong, meant in (
        ("experiment=evason", "evasion"),
        ("inversion=[ppa,gmmi]", "gmi"),
        ("+target=[sfaec]", "sface"),
    ):
        failed = facesec("run", wrong)
        assert failed.exit_code == 1 and f"Did you mean {meant}?" in failed.stderr and "wanted one of" in failed.stderr
        assert len(failed.stderr.strip().splitlines()) == 1


def test_only_names_of_groups_are_looked_up():
    right = ["experiment=evasion", "target=[sface, dlib_resnet]", "evasion=null", "device=quick", "seed=1,2", "-m"]
    right += [
        "data.root=experiment=x",
        "target='glob(*)'",
        "inversion.gmi.steps=3",
        "evasion=[]",
        "data@study.public=lfw",
    ]
    assert unknown_name(right) == ""
    assert "data=flickr" in unknown_name([*right, "data@study.public=flickr"])
    assert unknown_name(["inversion=mine", "--config-dir=here"]) == "", "a name may be the user's own"


def test_no_experiment_is_an_error_that_lists_them(facesec):
    result = facesec("run", "seed=3")
    known = (
        "calibrate, cloaking, evasion, evasion_all, inversion, inversion_defences, quickstart, train_hidden, watermark"
    )
    assert result.exit_code == 1 and known in result.stderr


def test_help_and_list_load_no_torch_and_no_mlflow():
    code = (
        "import sys; from typer.testing import CliRunner; from experiments.cli import app;"
        "r = CliRunner().invoke(app, ['--help']); l = CliRunner().invoke(app, ['list']);"
        "assert r.exit_code == 0 == l.exit_code and 'pgd' in l.stdout;"
        "heavy = {'torch', 'mlflow', 'hydra', 'cv2', 'matplotlib', 'numpy'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


NO_NETWORK = """
import socket
def refuse(*args, **kwargs):
    raise OSError(f"the network was touched: {args}")
socket.socket.connect = socket.socket.connect_ex = refuse
socket.create_connection = socket.getaddrinfo = refuse
"""


@pytest.mark.assets("sface", "yunet", "dcgan", "dlib_resnet", "lpips_alex", "rivagan_encoder", "rivagan_decoder")
@pytest.mark.slow
def test_the_quickstart_runs_in_a_process_that_cannot_open_a_socket(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK)
    small = ["data.identities=12", "data.per_identity=5", "size.identities=3", "far=0.1", "fars=[0.1]"]
    small += ["activation.adversarial_watermark.steps=2", "evasion.clip2protect.steps=2"]
    small += ["inversion.ppa.steps=2", "inversion.ppa.pool=20", "inversion.template_inversion.pool=20"]
    small += ["inversion.template_inversion.stages.0.steps=2", "study.parts.inversion.public.identities=12"]
    done = subprocess.run(
        [sys.executable, "-m", "experiments.cli", "run", "experiment=quickstart", *small],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "FACESEC_RESULTS": str(tmp_path), "FACESEC_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "network was touched" not in done.stdout + done.stderr
    folder = done.stdout.strip().splitlines()[-1]
    scores = json.loads((Path(folder) / "scores.json").read_text())
    assert scores["dodging_success/pgd/sface"]["value"] > scores["dodging_success/random_sign/sface"]["value"]
    assert scores["lpips/pgd/sface"]["n"] == 6
    assert scores["tar_watermarked/adversarial_watermark_eps4/sface"]["value"] == 1.0
    assert scores["bit_accuracy/adversarial_watermark_eps4/sface"]["value"] >= 0.95
    cloaks = ("clean", "random_sign", "clip2protect", "mi_di_ti")
    assert {f"top1/{name}/sface_head" for name in ("random_latent", "best_of_random", "ppa")} <= set(scores)
    assert scores["queries/template_inversion/sface"]["value"] > 0
    told = json.loads((Path(folder) / "card.json").read_text())["threat_model"]
    assert {s.partition(".")[0] for s in told} >= {"Evasion", "Cloaking", "Watermark", "Inversion"}
    assert {f"dodging_psr/{name}/mean" for name in cloaks} <= set(scores)
    assert {f"interaction/{name}_eps4/sface" for name in ("random_sign", "pgd", "other_message")} <= set(scores)


def test_a_terminated_run_closes_its_card(tmp_path):
    """As a scheduler ends it: SIGTERM, in the middle of the study."""
    slow = [argument.replace("steps=4", "steps=100000") for argument in TINY]
    environment = os.environ | {"FACESEC_RESULTS": str(tmp_path), "FACESEC_OFFLINE": "1"}
    command = [sys.executable, "-m", "experiments.cli", "run", *slow, "tracking=none"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        said = process.stderr.readline()
        process.terminate()
        rest = process.communicate(timeout=120)[1]
    (folder,) = (tmp_path / "runs").iterdir()
    assert str(folder) in said
    card = RunCard.read(folder)
    assert (process.returncode, card.status, card.error) == (130, "failed", "interrupted")
    assert "Traceback" not in rest


def test_a_target_name_that_would_break_paths_and_keys_is_refused(facesec, monkeypatch):
    monkeypatch.setattr("facesec_bench.data.synthetic.Synthetic.__call__", lambda self: None)
    result = facesec("run", "experiment=calibrate", "target=[toy]", "targets.toy.name=../a@b")
    assert result.exit_code == 1 and "'../a@b', wanted letters" in result.stderr


def test_list_knows_plurals_and_refuses_an_unknown_group():
    shown = CliRunner().invoke(app, ["list", "targets"])
    assert shown.exit_code == 0 and "sface" in shown.stdout and "Apache" in shown.stdout
    assert CliRunner().invoke(app, ["list", "nonsense"]).exit_code == 2


def test_a_room_from_elsewhere_is_refused_with_its_path(monkeypatch):
    import attacks
    from experiments.rooms import check_rooms
    from facesec_bench.errors import ConfigError

    monkeypatch.setattr(attacks, "PROJECT", "somebody else")
    with pytest.raises(ConfigError, match=r"'attacks' was imported from .*__init__\.py"):
        check_rooms()


@pytest.mark.assets
@pytest.mark.photos
@pytest.mark.slow
def test_white_box_pgd_on_real_photos_succeeds_and_its_control_does_not(facesec, lfw100, results):
    result = facesec(
        "run",
        "experiment=evasion",
        "data=folder",
        f"data.root={lfw100}",
        "target=[sface]",
        "evasion=[pgd]",
        "evasion.pgd.steps=10",
        "size.sources_per_identity=1",
        "study.design.transfer=false",
        "study.design.curve.eps_255=[]",
        "report=false",
    )
    assert result.exit_code == 0, result.output
    scores = json.loads((results / "runs" / last_line(result).rpartition("/")[2] / "scores.json").read_text())
    for goal in ("dodging", "impersonation"):
        assert scores[f"{goal}_success/pgd/sface"]["value"] >= 0.95
        assert scores[f"{goal}_success/random_sign/sface"]["value"] < 0.05
    assert scores["auc/clean/sface"]["value"] >= 0.999


def test_skipped_files_are_listed_in_the_run(tmp_path):
    from facesec_bench.data import Skipped
    from facesec_bench.data.skipped import write_skipped

    write_skipped(tmp_path / "s.csv", [Skipped("a/b.jpg", "truncated", "ends early", False)])
    assert next(csv.DictReader((tmp_path / "s.csv").open()))["reason"] == "truncated"
