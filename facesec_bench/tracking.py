"""MLflow: the only module that imports it. A run folder goes in, an MLflow run with nested runs comes out.

Mapping: MLflow experiment = study; a sweep is a parent run; a run is one run below it; each method x surrogate set is a
nested run with one metric a measure and victim.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from facesec_bench.records import RunCard, Score, read_scores

SWEEP_VARIABLE = "FACESEC_SWEEP"
"""Environment variable that names the sweep a job belongs to; the command line sets it, launchers hand it on."""

_OFFLINE = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}
_LONGEST_VALUE = 500
_BATCH = 100


class Tracker(Protocol):
    """What a run is logged to."""

    def session(self, card: RunCard, folder: Path) -> Any:
        """A context: entered when the run starts, left when its files are whole; an error marks it failed."""
        ...

    def close_sweep(self, failed: bool) -> None:
        """Close the sweep's parent run."""
        ...

    def mark_failed(self, run_ids: list[str]) -> None:
        """Close runs whose process died before it could."""
        ...


class NoTracker:
    """Keep the run folder and log nowhere else (`tracking=none`)."""

    @contextmanager
    def session(self, card: RunCard, folder: Path) -> Iterator[None]:
        """Nothing to open."""
        yield

    def close_sweep(self, failed: bool) -> None:
        """Nothing to close."""

    def mark_failed(self, run_ids: list[str]) -> None:
        """Nothing to close."""


class MLflowTracker:
    """Log runs to an SQLite store below `results` (MLflow 3 refuses ./mlruns); no telemetry, no network.

    Args:
        results: the results folder; the store is `mlflow.db`, artifacts go to `artifacts/`.
        uri: another tracking URI (a server, for many writers); None for the SQLite file.
    """

    def __init__(self, results: str | Path, uri: str | None = None) -> None:
        self.results = Path(results).resolve()
        self.uri = uri or store_uri(self.results)

    def _mlflow(self) -> Any:
        os.environ.update(_OFFLINE)
        import mlflow

        mlflow.set_tracking_uri(self.uri)
        return mlflow

    def _experiment(self, name: str) -> str:
        """Id of the experiment, made under a lock: a first touch by several processes corrupts a fresh SQLite store."""
        from filelock import FileLock

        self.results.mkdir(parents=True, exist_ok=True)
        mlflow = self._mlflow()
        with FileLock(self.results / "mlflow.lock"):
            found = mlflow.get_experiment_by_name(name)
            if found is not None:
                return str(found.experiment_id)
            location = (self.results / "artifacts").as_uri() if self.uri.startswith("sqlite") else None
            return str(mlflow.create_experiment(name, artifact_location=location))

    def _sweep_parent(self, client: Any, experiment: str) -> str | None:
        sweep = os.environ.get(SWEEP_VARIABLE)
        if not sweep:
            return None
        from filelock import FileLock

        with FileLock(self.results / "mlflow.lock"):
            known = client.search_runs(
                [experiment], f"tags.`facesec.sweep` = '{sweep}' and tags.`facesec.level` = 'sweep'"
            )
            if known:
                return str(known[0].info.run_id)
            tags = {"facesec.sweep": sweep, "facesec.level": "sweep"}
            return str(client.create_run(experiment, run_name=f"sweep {sweep}", tags=tags).info.run_id)

    @contextmanager
    def session(self, card: RunCard, folder: Path) -> Iterator[None]:
        """Open the MLflow run now, so that a running study is visible; fill it when the folder is whole."""
        os.environ.pop("MLFLOW_RUN_ID", None)  # it would override the parent (a known trap of MLflow)
        experiment = self._experiment(card.experiment)
        client = self._mlflow().MlflowClient()
        tags = _tags(card)
        parent = self._sweep_parent(client, experiment)
        if parent:
            tags["mlflow.parentRunId"] = parent
        run_id = client.create_run(experiment, run_name=card.run_id, tags=tags).info.run_id
        try:
            yield
            self._fill(client, experiment, run_id, card, folder)
        except BaseException:
            client.set_terminated(run_id, "FAILED")
            raise
        client.set_terminated(run_id, "FINISHED")

    def _fill(self, client: Any, experiment: str, run_id: str, card: RunCard, folder: Path) -> None:
        for key, value in _tags(card).items():
            client.set_tag(run_id, key, value)
        _log_batches(client, run_id, params=_flat(card.config))
        client.log_artifacts(run_id, str(folder))
        for method, scores in by_method(read_scores(folder / "scores.json")).items():
            tags = {
                "mlflow.parentRunId": run_id,
                "facesec.level": "method",
                "facesec.method": method.split("@")[0],
                "facesec.surrogates": method.partition("@")[2] or "white box or none",
                "facesec.run": card.run_id,
            }
            child = client.create_run(experiment, run_name=method, tags=tags).info.run_id
            _log_batches(client, child, metrics=_metrics(scores))
            client.set_terminated(child, "FINISHED")

    def close_sweep(self, failed: bool) -> None:
        """End the sweep's parent run, FAILED if any job failed; Hydra's own hook is not called after a failure."""
        sweep = os.environ.get(SWEEP_VARIABLE)
        if not sweep:
            return
        client = self._mlflow().MlflowClient()
        experiments = [e.experiment_id for e in client.search_experiments()]
        found = client.search_runs(experiments, f"tags.`facesec.sweep` = '{sweep}' and tags.`facesec.level` = 'sweep'")
        for parent in found:
            client.set_terminated(parent.info.run_id, "FAILED" if failed else "FINISHED")

    def mark_failed(self, run_ids: list[str]) -> None:
        """Close runs whose process died before it could; MLflow would show them as running for ever."""
        if not run_ids:
            return
        client = self._mlflow().MlflowClient()
        experiments = [e.experiment_id for e in client.search_experiments()]
        for name in run_ids:
            for run in client.search_runs(experiments, f"tags.`facesec.run` = '{name}' and status = 'RUNNING'"):
                client.set_terminated(run.info.run_id, "FAILED")


def store_uri(results: Path) -> str:
    """The absolute SQLite URI of the store below a results folder."""
    return f"sqlite:///{(results.resolve() / 'mlflow.db').as_posix()}"


def by_method(scores: dict[str, Score]) -> dict[str, dict[str, Score]]:
    """ "measure/method/victim" -> {method: {"measure/victim": score}}."""
    grouped: dict[str, dict[str, Score]] = {}
    for key, score in scores.items():
        measure, method, victim = key.split("/")
        grouped.setdefault(method, {})[f"{measure}/{victim}"] = score
    return grouped


def _metrics(scores: dict[str, Score]) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for name, score in scores.items():
        safe = re.sub(r"[^\w\-. :/]", "_", name)  # the characters that MLflow admits in a metric's name
        metrics |= {safe: score.value, f"{safe}/low": score.low, f"{safe}/high": score.high, f"{safe}/n": score.n}
    return metrics


def _log_batches(
    client: Any, run_id: str, metrics: dict[str, float] | None = None, params: dict[str, str] | None = None
) -> None:
    from mlflow.entities import Metric, Param

    values = [Metric(k, float(v), 0, 0) for k, v in (metrics or {}).items()]
    for start in range(0, len(values), 1000):
        client.log_batch(run_id, metrics=values[start : start + 1000])
    pairs = [Param(k, v) for k, v in (params or {}).items()]
    for start in range(0, len(pairs), _BATCH):
        client.log_batch(run_id, params=pairs[start : start + _BATCH])


def _tags(card: RunCard) -> dict[str, str]:
    return {
        "facesec.level": "run",
        "facesec.schema": card.schema,
        "facesec.run": card.run_id,
        "facesec.fingerprint": card.fingerprint,
        "facesec.seed": str(card.seed),
        "facesec.git_sha": str(card.code.get("git_sha")),
        "facesec.git_dirty": str(card.code.get("git_dirty")),
        "facesec.version": str(card.code.get("version")),
        "facesec.data_digest": str(card.data.get("digest")),
        "facesec.weight_digests": json.dumps({name: t.get("digest") for name, t in card.targets.items()}),
        "facesec.threat_model": " ".join(card.threat_model)[:5000],
        "facesec.device": card.device,
    }


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested configuration -> dotted parameters; the whole YAML is an artifact as well."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = str(value)[:_LONGEST_VALUE]
    return flat
