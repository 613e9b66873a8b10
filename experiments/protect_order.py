"""From the line that a user typed to protected photos: configuration, recognisers, thresholds, report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import hydra
import torch
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from experiments.catalogue import CONF, entries
from experiments.protect import OtherPhoto, PhotoResult, Protector, other_photo
from experiments.protect_judges import Judge, threshold_of
from experiments.protect_plan import REPORT, plan
from experiments.protect_words import CAVEATS, say_photo, say_summary, say_thresholds
from experiments.rooms import package_roots
from experiments.run import REPORT_ONLY, results_folder
from experiments.session import PACKAGES, pick_device
from facesec_bench import __version__, assets, runs
from facesec_bench.data.every_face import EveryFace
from facesec_bench.errors import ConfigError, FacesecError
from facesec_bench.files import write_atomically
from facesec_bench.interfaces import Faces, FRTarget
from facesec_bench.protocols.calibration import CalibrationStore

STRONG = ("sface", "dlib_resnet", "mobilefacenet")
"""Held out by default: those that are no surrogates and whose weights are in the cache. A weak recogniser would make
any cloak look good."""
STRENGTHS = ("eps_255", "rms_255", "reach", "strength")
"""What --strength sets: the first of these that a method has."""
STRANGERS = 20
"""How many made-up people a method may use as decoys."""


@dataclass(frozen=True)
class Order:
    """The options of `facesec protect`, as typed; see its --help."""

    photos: Path
    out: Path
    method: str
    goal: Literal["dodge", "impersonate"] = "dodge"
    victim: Path | None = None
    references: Sequence[Path] = ()
    targets: Sequence[str] = ("sface", "dlib_resnet")
    held_out: Sequence[str] | None = None
    prompt: str | None = None
    strength: float | None = None
    overrides: Sequence[str] = ()
    far: float | None = None
    exif: Literal["keep", "drop"] = "keep"
    quality: int = 95
    kind: Literal["keep", "png"] = "keep"
    force: bool = False
    device: str = "auto"
    seed: int = 0


def protect(order: Order, console: Console) -> int:
    """Do it, print it, write the report. Returns the number of photos that were not written.

    Raises:
        FacesecError: in words, for everything but what is wrong with a single photo.
    """
    _check(order)
    others = [path for path in (*order.references, order.victim) if path is not None]
    jobs = plan(order.photos, order.out, as_png=order.kind == "png", force=order.force, others=others)
    names, held_out = list(order.targets), _held_out(order)
    config = configured(order, [*names, *held_out])
    settings = method_settings(config, order)
    device = pick_device(order.device)
    finder = EveryFace()
    references = [other_photo(path, finder) for path in order.references]
    victim = None if order.victim is None else other_photo(order.victim, finder)
    try:
        method = hydra.utils.instantiate(settings, _convert_="all")
        loader = hydra.utils.instantiate(config.data, _convert_="all")
        targets = [_target(config, name, device) for name in [*names, *held_out]]
    except InstantiationException as error:
        if isinstance(error.__cause__, FacesecError):
            raise error.__cause__ from error
        raise ConfigError(f"{order.method}: {error}") from error
    people = loader()
    store = CalibrationStore(
        results_folder() / "calibrations",
        code=runs.code_digest({"facesec_bench": package_roots()["facesec_bench"]}, REPORT_ONLY),
    )
    far = float(config.far)
    fars = sorted({far, *map(float, config.fars)}, reverse=True)
    judges = [
        Judge(t, threshold_of(t, store, far, fars, lambda: people, device), name in held_out, device)
        for name, t in zip([*names, *held_out], targets, strict=True)
    ]
    say_thresholds(console, judges)
    console.print(f"Method: {order.method}, {order.goal}.", markup=False, highlight=False)
    protector = Protector(
        method,
        judges,
        _strangers(people.faces),
        finder,
        references=references,
        victim=victim,
        exif=order.exif,
        quality=order.quality,
        kind=order.kind,
        seed=order.seed,
        device=device,
    )
    results: list[PhotoResult] = []
    try:
        for job in jobs:
            results.append(protector(job))
            say_photo(console, results[-1])
    finally:  # what was written stays known, also when a later photo broke the run off
        if results:
            report = _report(order, settings, judges, results, references, victim)
            write_atomically(order.out / REPORT, (json.dumps(report, indent=1) + "\n").encode())
    say_summary(console, results)
    console.print(f"Report: {order.out / REPORT}", markup=False, highlight=False, soft_wrap=True)
    return sum(result.written is None and result.reason != "not_image" for result in results)


def _check(order: Order) -> None:
    if (order.goal == "impersonate") != (order.victim is not None):
        found = "no --as PHOTO" if order.victim is None else "--as PHOTO with --goal dodge"
        raise ConfigError(f"Found {found}, wanted --goal impersonate --as PHOTO, or neither.")
    known = entries("evasion")
    if order.method not in known:
        raise ConfigError(f"Found method {order.method!r}, wanted one of: {', '.join(known)}.")
    for name in (*order.targets, *(order.held_out or ())):
        if name not in entries("target"):
            raise ConfigError(f"Found recogniser {name!r}, wanted one of: {', '.join(entries('target'))}.")
    if not order.targets:
        raise ConfigError("Found no recogniser to craft on, wanted at least one: --target sface")
    both = set(order.targets) & set(order.held_out or ())
    if both:
        raise ConfigError(f"Found {', '.join(sorted(both))} in --target and in --held-out; wanted each in one of them.")


def _held_out(order: Order) -> list[str]:
    if order.held_out is not None:
        return list(order.held_out)
    cached = {s.asset.name for s in assets.status() if s.state in ("cached", "user file")}
    return [name for name in STRONG if name in cached and name not in order.targets]


def configured(order: Order, targets: Sequence[str]) -> DictConfig:
    """The configuration that `facesec run` would have with this method, these targets and these overrides.

    Raises:
        ConfigError: an override that does not fit.
    """
    chosen = [f"target=[{','.join(targets)}]", f"evasion=[{order.method}]", "tracking=none", f"seed={order.seed}"]
    far = [] if order.far is None else [f"far={order.far}"]
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            return hydra.compose("config", [*chosen, *far, *order.overrides])
    except (HydraException, OmegaConfBaseException) as error:
        words = " ".join(str(error).split())
        raise ConfigError(f"{words} Write --set KEY=VALUE as for `facesec run`.") from error


def method_settings(config: DictConfig, order: Order) -> dict[str, Any]:
    """The method's settings with its prompt and its strength set.

    Raises:
        ConfigError: a value that is missing, or a prompt or strength that the method does not take.
    """
    try:
        settings = OmegaConf.to_container(config.evasion[order.method], resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "KEY"
        raise ConfigError(f"{order.method}: found no value for {key}; add --set {key}=VALUE.") from error
    assert isinstance(settings, dict)
    found: dict[str, Any] = {str(key): value for key, value in settings.items()}
    if order.prompt is not None and not _prompted(found, order.prompt):
        raise ConfigError(
            f"{order.method} takes no prompt; leave --prompt out, or choose a method that is led by words."
        )
    if order.strength is not None:
        named = [key for key in STRENGTHS if found.get(key) is not None]
        if not named:
            raise ConfigError(
                f"{order.method} has none of {', '.join(STRENGTHS)}; use --set with one of: {', '.join(found)}."
            )
        found[named[0]] = order.strength
    return found


def _prompted(settings: dict[Any, Any], prompt: str) -> bool:
    """Set every key `prompt` at any depth; whether there was one."""
    done = False
    for key, value in settings.items():
        if key == "prompt":
            settings[key], done = prompt, True
        elif isinstance(value, dict):
            done = _prompted(value, prompt) or done
    return done


def _target(config: DictConfig, name: str, device: torch.device) -> FRTarget:
    target = hydra.utils.instantiate(config.targets[name], _convert_="all")
    return target.to(device).eval() if isinstance(target, torch.nn.Module) else target


def _strangers(faces: Faces) -> Faces:
    """The first photo of each of the first STRANGERS people."""
    first: dict[int, int] = {}
    for row, identity in enumerate(faces.identities.tolist()):
        first.setdefault(identity, row)
    return faces.select(list(first.values())[:STRANGERS])


def _report(
    order: Order,
    settings: dict[str, Any],
    judges: Sequence[Judge],
    results: Sequence[PhotoResult],
    references: Sequence[OtherPhoto],
    victim: OtherPhoto | None,
) -> dict[str, Any]:
    def installed(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return "not installed"

    return {
        "facesec_bench": __version__,
        "made": runs.now(),
        "goal": order.goal,
        "method": {"name": order.method, "settings": settings},
        "seed": order.seed,
        "file": {"exif": order.exif, "quality": order.quality, "format": order.kind},
        "references": [reference.name for reference in references],
        "victim": None if victim is None else victim.name,
        "recognisers": {
            judge.name: {"role": judge.role, "digest": judge.target.digest, "note": judge.target.card.note}
            | {"threshold": asdict(judge.threshold)}
            for judge in judges
        },
        "photos": [asdict(result) | {"faces": [_face(f) for f in result.faces]} for result in results],
        "caveats": list(CAVEATS),
        "versions": {name: installed(name) for name in PACKAGES},
    }


def _face(face: Any) -> dict[str, Any]:
    rows = [asdict(c) | {"matched": c.matched, "matched_before": c.matched_before} for c in face.comparisons]
    return asdict(face) | {"comparisons": rows}
