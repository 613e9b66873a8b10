"""From the line that a user typed to protected photos: configuration, recognisers, thresholds, report."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import hydra
import torch
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from experiments.arithmetic import settle
from experiments.catalogue import CONF, entries
from experiments.protect import OtherPhoto, PhotoResult, Protector, other_photo, unfit, write
from experiments.protect_judges import Judge, embedding_code, threshold_of
from experiments.protect_plan import REPORT, Job, plan
from experiments.protect_words import CAVEATS, say_photo, say_summary, say_thresholds
from experiments.rooms import package_roots
from experiments.run import REPORT_ONLY, results_folder
from experiments.session import PACKAGES, pick_device
from facesec_bench import __version__, assets, runs
from facesec_bench.data.every_face import EveryFace
from facesec_bench.errors import ConfigError, FacesecError
from facesec_bench.interfaces import Faces, FRTarget
from facesec_bench.progress import track
from facesec_bench.protocols.calibration import CalibrationStore

STRONG = ("sface", "dlib_resnet", "mobilefacenet")
"""Held out by default: those that are no surrogates and whose weights are in the cache. A weak recogniser would make
any cloak look good."""
STRENGTHS = ("eps_255", "rms_255", "shade_255", "reach")
"""What --strength sets: the first of these that a method has."""
CROWDS = ((100, 2), (100, 10))
"""Made-up people and photos of each on which thresholds are measured where none is stored: the first that has enough
pairs."""
FALSE_ACCEPTS = 100
"""How many of those pairs shall pass for one person at the false accept rate asked for. The kernel refuses below 10;
with 100, that rate is known to within a fifth (Clopper-Pearson, 95 %, pairs taken as independent)."""
PHOTO_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif")
"""Names that promise a photo."""
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
    settle()
    _check(order)
    others = [path for path in (*order.references, order.victim) if path is not None]
    jobs = plan(order.photos, order.out, as_png=order.kind == "png", force=order.force, others=others)
    names, held_out = list(order.targets), _held_out(order)
    config = configured(order, [*names, *held_out])
    settings = method_settings(config, order)
    method = _built(order, lambda: hydra.utils.instantiate(settings, _convert_="all"))
    finder = EveryFace()
    called = _called(others)
    references = [other_photo(path, finder, called[path]) for path in order.references]
    victim = None if order.victim is None else other_photo(order.victim, finder, called[order.victim])
    judges: list[Judge] = []
    results = _unfit(order, jobs, finder, console)
    fit = [job for job in jobs if job not in results]
    try:
        if fit:
            judges, people = _judges(order, config, held_out)
            say_thresholds(console, judges)
            console.print(f"Method: {order.method}, {order.goal}.", markup=False, highlight=False)
            protector = Protector(
                method,
                judges,
                people,
                finder,
                references=references,
                victim=victim,
                exif=order.exif,
                quality=order.quality,
                kind=order.kind,
                seed=order.seed,
                device=pick_device(order.device),
            )
            for job in fit:
                try:
                    results[job] = protector(job, keep=partial(results.__setitem__, job))
                finally:
                    if job in results:
                        say_photo(console, results[job])
    finally:  # what was written stays known, also when a later photo broke the run off
        found = [results[job] for job in jobs if job in results]
        if any(result.written for result in found):  # a report alone would only stand in the way of the next try
            report = _report(order, settings, judges, found, references, victim)
            report["photos_asked_for"] = len(jobs)
            write(order.out / REPORT, (json.dumps(report, indent=1) + "\n").encode())
    say_summary(console, found)
    where = f"Report: {order.out / REPORT}" if any(result.written for result in found) else "Nothing was written."
    console.print(where, markup=False, highlight=False, soft_wrap=True)
    return sum(_failed(result, alone=len(found) == 1) for result in found)


def _called(paths: Sequence[Path]) -> dict[Path, str]:
    """What each photo is called in the output: the end of its path, as long as it takes to tell them apart."""
    names = {}
    for path in paths:
        others = [other.parts for other in paths if other != path]
        lengths = range(1, len(path.parts) + 1)
        enough = [n for n in lengths if all(other[-n:] != path.parts[-n:] for other in others)]
        names[path] = "/".join(path.parts[-enough[0] :]) if enough else path.as_posix()
    return names


def _failed(result: PhotoResult, *, alone: bool) -> bool:
    """Whether the user misses a file; among photos, one that neither is a photo nor is called one is no failure."""
    stray = result.reason == "not_image" and Path(result.source).suffix.lower() not in PHOTO_ENDINGS
    return result.written is None and (alone or not stray)


def _unfit(order: Order, jobs: Sequence[Job], finder: EveryFace, console: Console) -> dict[Job, PhotoResult]:
    """What cannot be protected, said before the minutes that the rest takes."""
    found = {}
    for job in track(jobs, "looking for faces"):
        result = unfit(job, finder, order.kind)
        if result is not None:
            found[job] = result
            say_photo(console, result)
    return found


def _judges(order: Order, config: DictConfig, held_out: Sequence[str]) -> tuple[list[Judge], Faces]:
    """The recognisers with their thresholds, and strangers for the method."""
    device, far, chosen = pick_device(order.device), float(config.far), _chose_data(order)
    loader = _built(order, lambda: hydra.utils.instantiate(config.data, _convert_="all"))
    targets = {name: _built(order, lambda n=name: _target(config, n, device)) for name in [*order.targets, *held_out]}
    people, stores = loader(), _stores()
    judges = [
        Judge(target, threshold_of(target, stores, far, lambda: people, device, only=chosen), name in held_out, device)
        for name, target in targets.items()
    ]
    return judges, _strangers(people.faces)


def _built(order: Order, build: Callable[[], Any]) -> Any:
    """What `build` gives, and the project's own words where it fails."""
    try:
        return build()
    except InstantiationException as error:
        if isinstance(error.__cause__, FacesecError):
            raise error.__cause__ from error
        raise ConfigError(f"{order.method}: {error}") from error


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
            config = hydra.compose("config", [*chosen, *far, *order.overrides])
            if _chose_data(order):
                return config
            identities, each = crowd(float(config.far))
            size = [f"data.identities={identities}", f"data.per_identity={each}"]
            return hydra.compose("config", [*chosen, *far, *size, *order.overrides])
    except (HydraException, OmegaConfBaseException) as error:
        words = " ".join(str(error).split())
        raise ConfigError(f"{words} Write --set KEY=VALUE as for `facesec run`.") from error


def crowd(far: float) -> tuple[int, int]:
    """How many made-up people, and photos of each, give enough pairs for `far`.

    Raises:
        ConfigError: no false accept rate, or one that even the largest crowd has too few pairs for.
    """
    if not 0 < far < 1:
        raise ConfigError(f"--far: found {far:g}, wanted a share of pairs of strangers, above 0 and below 1.")
    for people, each in CROWDS:
        pairs = people * (people - 1) // 2 * each**2
        if far * pairs >= FALSE_ACCEPTS:
            return people, each
    if far * pairs < 10:  # the kernel's own rule, told before the pairs are measured
        raise ConfigError(
            f"--far: found {far:g}, wanted {10 / pairs:.2g} or more for {pairs} pairs of made-up people; bring more "
            "photos of your own: --set data=folder --set data.root=PHOTOS"
        )
    return people, each


def _chose_data(order: Order) -> bool:
    return any(override.lstrip("+~").startswith("data") for override in order.overrides)


def _stores() -> list[CalibrationStore]:
    """Thresholds of `protect`, which outlive a release that leaves EMBEDDING_CODE alone, and those of `facesec run`."""
    kernel = package_roots()["facesec_bench"]
    whole = runs.code_digest({"facesec_bench": kernel}, REPORT_ONLY)
    return [
        CalibrationStore(assets.cache_folder() / "thresholds", code=embedding_code(kernel)),
        CalibrationStore(results_folder() / "calibrations", code=whole),
    ]


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
    rows = [
        asdict(c) | {"matched": c.matched, "matched_before": c.matched_before, "too_close": c.close}
        for c in face.comparisons
    ]
    return asdict(face) | {"comparisons": rows}
