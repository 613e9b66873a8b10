"""What a cloaking study says of itself: its threat model, and what a reader must know beside the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.cloaking_plan import Design
from experiments.setting import Setting
from facesec_bench.data import Drawn
from facesec_bench.interfaces import Evasion, FRTarget
from facesec_bench.runs import Run


def note_insiders(run: Run, methods: Mapping[str, Evasion], drawn: Drawn | None) -> None:
    """Say which cloaks paint with the very generator that drew the faces."""
    painters = {name: getattr(getattr(method, "generator", None), "digest", None) for name, method in methods.items()}
    inside = [name for name, digest in painters.items() if drawn is not None and digest == drawn.generator]
    if inside:
        run.note(
            f"Painted by the generator that drew the faces of this data set: {', '.join(inside)}. It finds these faces "
            "again almost exactly, which it cannot do with a photo of a real person: the quality and protection of "
            "such a cloak here say little of photos."
        )


def note_unasked(run: Run, methods: Mapping[str, Evasion], targets: Mapping[str, FRTarget]) -> None:
    """Say which methods leave out targets that the others craft on."""
    for method, made in methods.items():
        weights = getattr(made, "surrogate_weights", {})
        if unasked := [name for name in targets if weights.get(name) == 0]:
            run.note(f"{method} does not ask {', '.join(unasked)} where the others craft on it too: its weight is 0.")


def describe(
    run: Run, setting: Setting, design: Design, targets: Mapping[str, FRTarget], victims: Sequence[str]
) -> None:
    """The threat model in words, from what the study really does."""
    calibrated_on = (
        "the clean pairs given with this data set" if setting.dataset.pairs else "all clean pairs of this data set"
    )
    if setting.apart:
        calibrated_on = f"the clean pairs of {len(setting.apart)} identities kept apart"
    most = max(len(judges) for judges in setting.roles.judges.values())
    crafting = [name for name in targets if name not in design.not_surrogates]
    run.card.threat_model += [
        "A person changes a photo of their own face before it goes online, so that recognisers which nobody asked them "
        "about do not find them. They cannot touch the recogniser, its gallery or its threshold.",
        f"Held out: a cloak that {' or '.join(victims)} judges is crafted on all the others of "
        f"{', '.join(crafting)}; it never sees its judge.",
        "Protection success rate, dodging: the share of pairs with other photos of the person that are rejected; "
        "impersonation: the share of pairs with photos of one chosen other person that are accepted. All pairs count, "
        "so the rate of the photo without a cloak is its base line.",
        f"One photo is held by whoever crafts; up to {most} others of a person judge. No photo both crafts and judges.",
        f"A recogniser accepts at its own threshold, set before any cloak at FAR {design.far:g} on {calibrated_on}.",
        "Photos are judged after 8-bit rounding, and once more after each distortion.",
        "Gallery: a tracker holds the person's cloaked photos and everybody else's as they are; the person is "
        "protected where the nearest photo to a clean probe is somebody else's.",
    ]
    if "tracker" in run.card.data:
        run.card.threat_model += adaptive(run.card.data["tracker"])


def adaptive(tracker: Mapping[str, Any]) -> list[str]:
    """The tracker in words, from its entry on the card; see `cloaking_training.Training.told`."""
    settings = ", ".join(f"{name} {value}" for name, value in tracker["settings"].items())
    how = f"{tracker['retrainer']}: {settings}" if settings else tracker["retrainer"]
    told = [
        f"Adaptive: the tracker knows the cloak, makes {tracker['cloaks']} cloaks of {tracker['people']} other people "
        f"({tracker['name']}, digest {tracker['digest'][:12]}) on its own recognisers, fine-tunes on them ({how}), "
        "sets a threshold anew, and judges the same cloaked photos again."
    ]
    if tracker["generated"] and not tracker["attacked_generated"]:
        told.append(
            "The tracker learned from generated faces and judges photos of real people: one with real photos to learn "
            "from may do better, so what it reaches is a lower bound on what a tracker can do."
        )
    return told
