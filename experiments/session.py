"""One run from resolved configuration to closed folder."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import hydra
import torch
from omegaconf import DictConfig, OmegaConf

from experiments.arithmetic import settle
from experiments.resources import accepted
from experiments.rooms import ROOMS
from experiments.run import build_methods, failures, trackers
from facesec_bench import runs
from facesec_bench.data import Dataset
from facesec_bench.data.skipped import count_by_reason, write_skipped
from facesec_bench.errors import ConfigError
from facesec_bench.interfaces import FRTarget
from facesec_bench.protocols.calibration import CalibrationStore
from facesec_bench.records import Outcome, RunCard
from facesec_bench.reporting import build
from facesec_bench.reporting.summary import text_summary
from facesec_bench.runs import Run
from facesec_bench.tracking import Tracker

PACKAGES = (
    "torch",
    "torchvision",
    "torchmetrics",
    "lpips",
    "torchattacks",
    "foolbox",
    "numpy",
    "pillow",
    "scipy",
    "opencv-python-headless",
    "onnx2torch",
    "onnxruntime",
    "hydra-core",
    "mlflow",
)
"""Libraries whose versions are on the card and in the fingerprint."""


class Session:
    """Load, decide whether there is anything to do, run the recipe, write everything down."""

    def __init__(
        self, config: DictConfig, resolved: dict[str, Any], roots: Mapping[str, Path], report_only: tuple[str, ...]
    ) -> None:
        self.config, self.resolved, self.roots, self.report_only = config, resolved, roots, report_only
        self.results = Path(resolved["results"])
        self.device = pick_device(resolved["device"])

    def run(self) -> Path:
        """The folder of the finished run.

        Raises:
            FacesecError: with the run's card marked failed, if the run had begun.
        """
        settle()
        tracker = hydra.utils.instantiate(self.config.tracking, _convert_="all")
        trackers.append(tracker)
        tracker.mark_failed([folder.name for folder in runs.mark_interrupted(self.results / "runs")])
        study = hydra.utils.instantiate(self.config.study, _convert_="all")
        loader = hydra.utils.instantiate(self.config.data, _convert_="all")
        dataset: Dataset = loader()
        targets = self._targets()
        methods = build_methods(self.config)
        digests = self._digests(dataset, targets, study, methods)
        print_ = runs.fingerprint(self.resolved, digests)
        seed = int(self.resolved["seed"])
        known = runs.finished(self.results / "runs", print_, seed)
        if known is not None and not self.resolved["force"]:
            print("Nothing to do: this configuration and seed have a finished run (force=true runs it again).")
            self._report(known)
            return known
        folder = runs.new_folder(self.results / "runs", self.resolved["name"], print_, seed)
        run = Run(folder, self._card(folder, print_, seed, dataset, targets))
        run.card.write(folder)
        (folder / "config.yaml").write_text(OmegaConf.to_yaml(self.config, resolve=True), encoding="utf-8")
        write_skipped(folder / "skipped.csv", dataset.skipped)
        try:
            print(
                f"{self.resolved['name']}: {len(dataset.faces)} photos of {run.card.data['n_identities']} people, "
                f"targets {', '.join(targets)}; writing to {folder}",
                file=sys.stderr,
            )
            self._study(run, dataset, targets, study, methods, tracker)
        except BaseException as error:
            run.card.status = "failed"
            run.card.error = (
                "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"
            )
            run.card.finished = runs.now()
            run.card.write(folder)
            raise
        self._report(folder)
        failures.extend(run.card.failures)
        return folder

    def _study(
        self,
        run: Run,
        dataset: Dataset,
        targets: dict[str, FRTarget],
        study: Callable[..., Outcome],
        methods: dict[str, dict[str, Any]],
        tracker: Tracker,
    ) -> None:
        run.card.methods = {n: m for group in {"evasion", *methods} for n, m in self._method_cards(group).items()}
        kernel = runs.code_digest({"facesec_bench": self.roots["facesec_bench"]}, self.report_only)
        store = CalibrationStore(self.results / "calibrations", code=kernel)
        offered = {"make": self._make, "store": store, "device": self.device, **methods}
        with tracker.session(run.card, run.folder):
            with run.stage("study"):
                outcome = study(run, dataset, targets, **accepted(study, offered))
            outcome.write(run.folder)
            run.card.status, run.card.finished = "finished", runs.now()
            run.card.write(run.folder)

    def _targets(self) -> dict[str, FRTarget]:
        built: dict[str, FRTarget] = {}
        for key in self.config.get("targets") or {}:
            target = hydra.utils.instantiate(self.config.targets[key], _convert_="all")
            if isinstance(target, torch.nn.Module):
                target = target.to(self.device).eval()
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", target.name):
                raise ConfigError(
                    f"Found a target named {target.name!r}, wanted letters, digits, '_', '.' and '-': the name becomes "
                    "part of file names and of score keys, where '/', '@' and '+' have a meaning."
                )
            if target.name in built:
                raise ConfigError(f"Found two targets named {target.name!r}; give one of them another name.")
            built[target.name] = target
        if not built:
            raise ConfigError("Found no target, wanted at least one: target=[sface,dlib_resnet]")
        return built

    def _make(self, group: str, name: str, **changes: Any) -> Any:
        """A method of a group by name with changed settings; one that is not configured (a control) is read from its
        YAML. `eps_255` changes whichever budget the method has."""
        configured = self.config.get(group) or {}
        config = configured[name] if name in configured else _method_yaml(group, name, self.config)
        if "eps_255" in changes and config.get("rms_255") is not None:
            changes["rms_255"] = changes.pop("eps_255")
        return hydra.utils.instantiate(config, **changes, _convert_="all")

    def _digests(
        self, dataset: Dataset, targets: Mapping[str, FRTarget], study: Any, methods: Mapping[str, Any]
    ) -> dict[str, str]:
        """Everything but the configuration that can change a number: code, libraries, data, weights, the control."""
        digests = {
            "code": runs.code_digest(self.roots, self.report_only),
            "versions": json.dumps(_versions(), sort_keys=True),
            "control": _method_text("evasion", "random_sign") + _method_text("evasion", "pgd"),
            "data": dataset.digest,
        }
        digests |= {f"target:{name}": target.digest for name, target in targets.items()}
        return digests | _held_digests(study, "study") | _held_digests(methods, "methods")

    def _card(self, folder: Path, print_: str, seed: int, dataset: Dataset, targets: Mapping[str, FRTarget]) -> RunCard:
        faces = dataset.faces
        card = RunCard(
            run_id=folder.name,
            experiment=self.resolved["name"],
            status="running",
            seed=seed,
            config=self.resolved,
            fingerprint=print_,
            started=runs.now(),
            code=runs.git_state(self.roots["experiments"].parent) | {"process": runs.owner()},
            versions=_versions(),
            device=_device_name(self.device),
            data={
                "name": dataset.name,
                "digest": dataset.digest,
                "licence": dataset.licence,
                "note": dataset.note,
                "n_images": len(faces),
                "n_identities": len(set(faces.identities.tolist())),
                "skipped": count_by_reason(dataset.skipped),
            },
            targets={name: asdict(t.card) | {"digest": t.digest} for name, t in targets.items()},
        )
        return card

    def _method_cards(self, group: str) -> dict[str, dict[str, Any]]:
        from experiments.catalogue import header

        cards = {}
        controls = {"random_sign": {}, "pgd": {}} if group == "evasion" else {}
        for name in controls | (self.resolved.get(group) or {}):
            path = Path(__file__).parent / "conf" / group / f"{name}.yaml"
            about = header(path) if path.is_file() else {}
            config = (self.resolved.get(group) or {}).get(name, {})
            cards[name] = {
                "title": about.get("title", name),
                "source": about.get("source", ""),
                "config": config,
            }
        return cards

    def _report(self, folder: Path) -> None:
        if self.resolved["report"]:
            files = build(
                [folder],
                self.results / "reports" / folder.name,
                f"{self.resolved['name']} on {RunCard.read(folder).data['name']}".capitalize(),
            )
            print(text_summary(folder))
            print(f"Report: {files.html}")


_LOADERS = (".training", ".public")
"""Settings of studies that hold a loader of photos."""


def _held_digests(value: Any, name: str, depth: int = 8) -> dict[str, str]:
    """The digests of the weights and files that a study or a method was given, such as a cloak's generator, the photos
    of other people or a student's trunk, by where they sit."""
    if name.endswith(_LOADERS) and callable(value):  # what it loads is cached, so a second look is cheap
        value = value()
    digest = getattr(value, "digest", None)
    if isinstance(digest, str):
        return {name: digest}
    if not depth:
        return {}
    parts = [_held_digests(part, f"{name}.{key}", depth - 1) for key, part in _held(value).items()]
    return {place: found for part in parts for place, found in part.items()}


def _held(value: Any) -> dict[str, Any]:
    """What a partial recipe, a mapping, a list or one of our own objects holds, by name."""
    if isinstance(value, list | tuple):
        return {str(place): part for place, part in enumerate(value)}
    inside = getattr(value, "keywords", value if isinstance(value, Mapping) else None)
    if inside is not None:
        return {str(key): part for key, part in inside.items()}
    ours = type(value).__module__.split(".")[0] in ROOMS
    return dict(vars(value)) if ours and hasattr(value, "__dict__") else {}


def pick_device(wanted: str) -> torch.device:
    """ "auto" -> the GPU if there is one, else the CPU; any other name as given.

    Raises:
        ConfigError: if the named device is not there.
    """
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(wanted)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device={wanted}: {error}. Use device=cpu or device=auto.") from error
    return device


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({platform.machine()}, {torch.get_num_threads()} threads)"


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": platform.system()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _method_text(group: str, name: str) -> str:
    path = Path(__file__).parent / "conf" / group / f"{name}.yaml"
    if not path.is_file():
        raise ConfigError(f"Found no method {name!r} among {group}'s YAML files.")
    return path.read_text(encoding="utf-8")


def _method_yaml(group: str, name: str, root: DictConfig) -> DictConfig:
    """The YAML of a method, its interpolations resolved against the whole configuration."""
    config = OmegaConf.create(_method_text(group, name))
    assert isinstance(config, DictConfig)
    config._set_parent(root)
    return config
