"""The only @hydra.main: configuration -> objects -> recipe -> run folder, MLflow, report."""

from __future__ import annotations

import copy
import os
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf, open_dict

from experiments.catalogue import entries
from experiments.rooms import check_rooms, package_roots
from facesec_bench.errors import ConfigError, FacesecError

check_rooms()
OmegaConf.register_new_resolver("results_folder", lambda: str(results_folder()), replace=True)

METHOD_GROUPS = (
    "evasion",
    "activation",
    "purifier",
    "detector",
    "robust",
    "inversion",
    "victim",
    "hardening",
    "answer",
    "embedding_defence",
)
"""Config groups whose entries are methods, handed to the recipe as a dict of objects by name."""

REPORT_ONLY = ("facesec_bench/reporting/", "facesec_bench/tracking.py", "experiments/cli")
"""Code that changes no number, so it stays out of the fingerprint."""

failures: list[str] = []
"""Errors of this process's runs and of single methods; the command line turns them into its exit code."""

trackers: list[Any] = []
"""The trackers of this process's runs; the command line closes a sweep through the last one."""


def results_folder() -> Path:
    """FACESEC_RESULTS, else results/ of the checkout this file lies in, else results/ of the working directory."""
    named = os.environ.get("FACESEC_RESULTS")
    if named:
        return Path(named).expanduser().resolve()
    root = Path(__file__).resolve().parent.parent
    return root / "results" if (root / "pyproject.toml").is_file() else Path.cwd() / "results"


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> None:
    """One run. Prints the run's folder as its last line; an error of ours is printed without a traceback."""
    before = len(failures)
    try:
        folder = execute(config)
    except (FacesecError, InstantiationException) as error:
        cause = error.__cause__ if isinstance(error, InstantiationException) else error
        if not isinstance(cause, FacesecError):
            raise
        failures.append(str(cause))
        print(f"facesec: {cause}", file=sys.stderr)
        return
    for failure in failures[before:]:
        print(f"facesec: a method could not run: {failure}", file=sys.stderr)
    print(folder)


def execute(config: DictConfig) -> Path:
    """Run the configured study and return its folder; a finished run of the same fingerprint and seed is reused.

    Raises:
        FacesecError: the reason in words; the run's card says "failed" with the same words.
    """
    if config.get("study") is None:
        known = ", ".join(sorted(p.stem for p in (Path(__file__).parent / "conf" / "experiment").glob("*.yaml")))
        raise ConfigError(f"Found no experiment, wanted one of: {known}. Try: facesec run experiment=quickstart")
    missing = sorted(key for key in OmegaConf.missing_keys(config) if not key.startswith("hydra"))
    if missing:
        raise ConfigError(f"Found no value for {', '.join(missing)}, wanted one. Add to the line: {missing[0]}=...")
    config = of_chosen(config)
    resolved: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    # Imported now: torch and the rooms take seconds, and a wrong line should fail before that.
    from experiments.session import Session

    return Session(config, resolved, package_roots(), REPORT_ONLY).run()


def of_chosen(config: DictConfig) -> DictConfig:
    """The configuration without what an experiment says of methods that the line left out, as `inversion=[gmi]` does.

    Raises:
        ConfigError: settings of a method that does not exist, which a misspelling leaves.
    """
    left = copy.deepcopy(config)
    with open_dict(left):
        for group in METHOD_GROUPS:
            for name, entry in list((left.get(group) or {}).items()):
                if "_target_" in entry:
                    continue
                if name not in entries(group):
                    known = ", ".join(entries(group))
                    raise ConfigError(f"Found settings of {group}.{name}, wanted one of: {known}.")
                del left[group][name]
    return left


def build_methods(config: DictConfig) -> dict[str, dict[str, Any]]:
    """Every configured method, by group and name."""
    return {
        group: {name: hydra.utils.instantiate(config[group][name], _convert_="all") for name in config[group]}
        for group in METHOD_GROUPS
        if config.get(group)
    }
